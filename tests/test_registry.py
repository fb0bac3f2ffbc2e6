"""How members of a family are found, and how a view is written, parsed and constructed."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections import Counter
from importlib.metadata import EntryPoint
from types import ModuleType

import numpy as np
import pytest

from emoviews.errors import UsageError
from emoviews.experiments import EXPERIMENTS
from emoviews.registry import Registry
from emoviews.types import FEATURES
from emoviews.views import VIEWS, View, make_view, parse_view, split_view_list
from emoviews.views.mel_spectrogram import MelSpectrogram

RAMP = np.array([1, 2, 3], np.float32)


class OtherPackagesView(View):
    """What another package would register."""

    name = "other"
    version = 1
    axes = (FEATURES,)

    @property
    def shape(self):
        return (2,)

    def compute(self, samples):
        return samples[:2]


class WrongShapeView(OtherPackagesView):
    def compute(self, samples):
        return samples[:3]


class NotFiniteView(OtherPackagesView):
    def compute(self, samples):
        return samples[:2] / 0


@pytest.fixture
def entry_points(monkeypatch):
    """Make other packages register `{name: value}` under `emoviews.views`."""

    def register(**values):
        points = [EntryPoint(name, value, "emoviews.views") for name, value in values.items()]
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [p for p in points if p.group == group])

    return register


class TestRegistry:
    def test_the_listing_of_the_folder_is_the_registry(self):
        names = VIEWS.names()
        assert names == sorted(names)
        assert {"compare_2016", "egemaps", "mel_spectrogram", "mfcc"} <= set(names)
        assert not any(name.startswith("_") for name in names)

    def test_a_file_is_imported_only_when_its_member_is_used(self):
        code = (
            "import sys; from emoviews.views import VIEWS; VIEWS.names(); "
            "print('emoviews.views.mfcc' in sys.modules); VIEWS.load('mfcc'); print('emoviews.views.mfcc' in sys.modules)"
        )
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert out.split() == ["False", "True"]

    def test_loads_the_member(self):
        assert VIEWS.load("mel_spectrogram") is MelSpectrogram

    def test_a_near_miss_is_named(self):
        with pytest.raises(UsageError) as error:
            VIEWS.load("mel_spectogram")
        message = str(error.value)
        assert message.startswith(
            "There is no view called 'mel_spectogram'. Did you mean 'mel_spectrogram'? Known: compare_2016, "
        )
        assert error.value.exit_code == 2

    def test_nothing_near_lists_the_names_alone(self):
        with pytest.raises(UsageError, match=r"^There is no view called 'zzz'\. Known: .*mfcc"):
            VIEWS.load("zzz")

    def test_names_with_hyphens_are_files_with_underscores(self):
        assert {"pretraining-data", "sparse"} <= set(EXPERIMENTS.names())
        assert EXPERIMENTS.load("pretraining-data").name == "pretraining-data"
        assert not any("_" in name for name in EXPERIMENTS.names())
        with pytest.raises(
            UsageError, match=r"no experiment called .pretraining_data.\. Did you mean .pretraining-data.\?"
        ):
            EXPERIMENTS.load("pretraining_data")
        with pytest.raises(UsageError, match="no view called 'mel-spectrogram'"):
            VIEWS.load("mel-spectrogram")

    @pytest.mark.parametrize("name", ["", "_mel", "__init__", "os", "mfcc.VIEW"])
    def test_what_is_no_member_is_refused(self, name):
        with pytest.raises(UsageError, match="There is no view called"):
            VIEWS.load(name)


class TestEntryPoints:
    def test_other_packages_register_members(self, entry_points):
        entry_points(other="a_package_that_is_not_imported:VIEW")
        assert "other" in VIEWS.names()
        assert "mfcc" in VIEWS.names()

    def test_their_value_points_at_the_member_itself(self, entry_points):
        entry_points(other="collections:Counter")
        assert VIEWS.load("other") is Counter

    def test_their_views_are_constructed_and_checked_as_ours(self, entry_points, monkeypatch):
        package = ModuleType("another_package")
        package.VIEW = OtherPackagesView
        monkeypatch.setitem(sys.modules, "another_package", package)
        entry_points(other="another_package:VIEW")
        assert make_view("other")(RAMP).tolist() == [1, 2]
        with pytest.raises(UsageError, match=r"View 'other' has no parameter bands\. Its parameters: speed"):
            make_view("other", {"bands": 3})

    def test_other_groups_are_not_listed(self, entry_points):
        entry_points(other="collections:Counter")
        assert "other" not in Registry("emoviews.losses", "LOSS", "loss").names()

    def test_nothing_can_take_the_place_of_our_own(self, entry_points):
        entry_points(mfcc="collections:Counter")
        assert VIEWS.load("mfcc").name == "mfcc"
        assert VIEWS.names().count("mfcc") == 1

    def test_their_names_are_hinted_at(self, entry_points):
        entry_points(prosody="collections:Counter")
        with pytest.raises(UsageError, match="Did you mean 'prosody'"):
            VIEWS.load("prosodi")


class TestWriting:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", []),
            ("egemaps", ["egemaps"]),
            (" egemaps , mfcc,", ["egemaps", "mfcc"]),
            ("mfcc(bands=40, coefficients=13),egemaps", ["mfcc(bands=40, coefficients=13)", "egemaps"]),
            ("a(b=(1, 2), c=3), d", ["a(b=(1, 2), c=3)", "d"]),
        ],
    )
    def test_a_list_is_split_outside_parentheses(self, text, expected):
        assert split_view_list(text) == expected

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("egemaps", ("egemaps", {})),
            ("egemaps()", ("egemaps", {})),
            (" mfcc ( bands = 40 ) ", ("mfcc", {"bands": 40})),
            (
                "mfcc(maximum_seconds=None, mask_padding=False)",
                ("mfcc", {"maximum_seconds": None, "mask_padding": False}),
            ),
            ("mfcc(floor=1e-8)", ("mfcc", {"floor": 1e-8})),
            ("mfcc(padding=fixed, scale='htk')", ("mfcc", {"padding": "fixed", "scale": "htk"})),
            ("a(model=microsoft/wavlm-base)", ("a", {"model": "microsoft/wavlm-base"})),
            ("a(model=/data/my model=2)", ("a", {"model": "/data/my model=2"})),
            ("a(layers=(1, 2))", ("a", {"layers": (1, 2)})),
        ],
    )
    def test_a_view_is_read(self, text, expected):
        assert parse_view(text) == expected

    @pytest.mark.parametrize("text", ["mfcc(bands=40", "mfcc(bands=40) x", "mfcc("])
    def test_an_open_parenthesis_is_refused(self, text):
        with pytest.raises(UsageError, match=r"Can't read the view .*expected name\(parameter=value, \.\.\.\)"):
            parse_view(text)

    def test_a_value_without_its_parameter_is_refused(self):
        with pytest.raises(UsageError, match=r"Can't read '40' in the view 'mfcc\(40\)': expected parameter=value"):
            parse_view("mfcc(40)")

    def test_what_is_written_is_constructed(self):
        view = make_view(*parse_view("mfcc(bands=40, coefficients=13, scale=htk, maximum_seconds=None)"))
        parameters = view.parameters
        assert (parameters.bands, parameters.coefficients, parameters.scale, parameters.maximum_seconds) == (
            40,
            13,
            "htk",
            None,
        )


class TestMakeView:
    def test_unknown_parameters_are_named_beside_the_known(self):
        with pytest.raises(
            UsageError, match=r"View 'mfcc' has no parameter banks, hop\. Its parameters: bands, coefficients, "
        ):
            make_view("mfcc", {"hop": 1, "banks": 2})

    def test_a_view_without_parameters_says_so(self):
        with pytest.raises(UsageError, match=r"View 'egemaps' has no parameter bands\. Its parameters: speed\."):
            make_view("egemaps", {"bands": 3})

    @pytest.mark.parametrize(
        ("parameter", "value"),
        [
            ("bands", "many"),
            ("bands", 40.0),
            ("bands", True),
            ("bands", None),
            ("floor", "low"),
            ("floor", True),
            ("mask_padding", 1),
            ("mask_padding", "yes"),
            ("maximum_seconds", "long"),
            ("scale", "bark"),
            ("padding", None),
        ],
    )
    def test_a_value_of_another_type_is_refused(self, parameter, value):
        with pytest.raises(UsageError) as error:
            make_view("mel_spectrogram", {parameter: value})
        assert f"View 'mel_spectrogram': {parameter}={value!r} is not of type" in str(error.value)

    @pytest.mark.parametrize("parameters", [{"maximum_seconds": 10}, {"maximum_seconds": None}, {"minimum_hz": 100}])
    def test_an_int_is_a_float_and_none_is_allowed_where_it_is(self, parameters):
        make_view("mel_spectrogram", parameters)

    def test_what_the_view_refuses_is_wrong_use(self):
        with pytest.raises(UsageError, match=r"^View 'mel_spectrogram': bands must be at least 1, got 0\.$") as error:
            make_view("mel_spectrogram", {"bands": 0})
        assert error.value.exit_code == 2


class TestCallingAView:
    def test_a_shape_other_than_the_declared_is_our_defect(self):
        with pytest.raises(ValueError, match=r"View 'other' gave shape \(3,\), declared \(2,\)"):
            WrongShapeView()(RAMP)

    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    def test_values_that_are_not_finite_are_our_defect(self):
        with pytest.raises(ValueError, match="View 'other' gave values that are not finite"):
            NotFiniteView()(RAMP)
