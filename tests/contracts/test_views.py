"""Every registered view through the view protocol.

Views whose parameters name a `model` need a checkpoint to be constructed; here only their declarations are checked, their
output in their own tests.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import subprocess
import sys
import typing

import numpy as np
import pytest

from emoviews.audio import at_speed
from emoviews.errors import MissingExtraError, UsageError
from emoviews.types import FRAMES, SAMPLING_RATE, VIEW_AXES
from emoviews.views import VIEWS, View, make_view

ALL_VIEWS = VIEWS.names()


def needs_model(name):
    return "model" in {field.name for field in dataclasses.fields(VIEWS.load(name).Parameters)}


SIGNAL_VIEWS = [name for name in ALL_VIEWS if not needs_model(name)]


def tone(seconds):
    times = np.arange(round(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    return (0.5 * np.sin(2 * np.pi * 220 * times)).astype(np.float32)


def noise(seconds, level=0.1):
    return (level * np.random.default_rng(0).standard_normal(round(seconds * SAMPLING_RATE))).astype(np.float32)


def click(seconds):
    samples = np.zeros(round(seconds * SAMPLING_RATE), np.float32)
    samples[samples.size // 2] = 1
    return samples


HARD_SIGNALS = {
    "tone": tone(1),
    "noise": noise(1),
    "click": click(1),
    "very quiet": noise(1, level=1e-6),
    "silence": np.zeros(SAMPLING_RATE, np.float32),
    "constant": np.full(SAMPLING_RATE, 0.5, np.float32),
    "full-scale square": np.sign(tone(1) + np.float32(1e-9)),
}


@pytest.fixture(scope="module", params=SIGNAL_VIEWS)
def view(request):
    try:
        return make_view(request.param)
    except MissingExtraError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", ALL_VIEWS)
class TestDeclaration:
    def test_is_a_view_under_its_own_name(self, name):
        member = VIEWS.load(name)
        assert issubclass(member, View)
        assert member.name == name
        assert member.__doc__

    def test_axes_and_version(self, name):
        member = VIEWS.load(name)
        assert member.axes in VIEW_AXES
        assert type(member.version) is int
        assert member.version >= 1

    def test_parameters_are_frozen_with_defaults_and_survive_json(self, name):
        cls = VIEWS.load(name).Parameters
        assert cls.__dataclass_params__.frozen
        for field in dataclasses.fields(cls):
            assert field.default is not dataclasses.MISSING, field.name
        parameters = cls(model="a/model") if needs_model(name) else cls()
        written = dataclasses.asdict(parameters)
        assert cls(**json.loads(json.dumps(written))) == parameters


def installed(name):
    try:
        make_view(name)
    except MissingExtraError:
        return False
    return True


def other_value(hint, value):
    """Another value of a parameter's type, near the given one."""
    if typing.get_origin(hint) is typing.Literal:
        return next(choice for choice in typing.get_args(hint) if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value - 1
    if isinstance(value, float):
        return value * 0.9
    raise AssertionError(f"No rule to change a parameter of type {hint}; add one here.")


class TestSpec:
    def test_states_what_the_view_declares(self, view):
        spec = view.spec
        assert (spec.name, spec.version, spec.axes, spec.shape) == (view.name, view.version, view.axes, view.shape)
        assert spec.has_frames == (FRAMES in view.axes)
        assert spec.dtype == ("float16" if spec.has_frames else "float32")
        assert (spec.frame_rate is not None) == spec.has_frames
        assert [size == 0 for size in spec.shape] == [axis == FRAMES for axis in spec.axes]
        assert len(spec.feature_names) in (0, spec.shape[-1])
        assert len(set(spec.feature_names)) == len(spec.feature_names)
        assert spec.preparation

    def test_may_be_asked_for_as_int8_where_it_has_frames(self, view):
        if not view.spec.has_frames:
            with pytest.raises(UsageError, match="can't be stored_as=int8"):
                make_view(view.name, {"stored_as": "int8"})
            return
        given = {**dataclasses.asdict(view.parameters), "stored_as": "int8"}
        eight = make_view(view.name, given).spec
        assert (eight.dtype, eight.parameters) == ("int8", view.spec.parameters)
        assert eight.fingerprint != view.spec.fingerprint
        with pytest.raises(UsageError, match="can't be stored_as=int4; expected int8"):
            make_view(view.name, {**given, "stored_as": "int4"})

    def test_may_be_asked_for_of_a_recording_played_faster(self, view):
        given = dataclasses.asdict(view.parameters)
        fast = make_view(view.name, {**given, "speed": 1.1})
        assert fast.spec.fingerprint != view.spec.fingerprint
        assert make_view(view.name, {**given, "speed": 1}).spec.fingerprint == view.spec.fingerprint
        samples = np.random.default_rng(0).normal(0, 0.1, 20_000).astype(np.float32)
        np.testing.assert_array_equal(fast(samples), view(at_speed(samples, 1.1)))
        with pytest.raises(UsageError, match=r"speed=3; expected a number from 0\.5 to 2"):
            make_view(view.name, {**given, "speed": 3})

    def test_changes_with_every_parameter(self, view):
        hints = typing.get_type_hints(view.Parameters)
        fingerprints = [view.spec.fingerprint]
        for field in dataclasses.fields(view.Parameters):
            changed = {field.name: other_value(hints[field.name], getattr(view.parameters, field.name))}
            if field.name == "mask_padding":  # means something with padding only
                changed["padding"] = "fixed"
            fingerprints.append(make_view(view.name, changed).spec.fingerprint)
        assert len(set(fingerprints)) == len(fingerprints)

    def test_survives_json(self, view):
        again = make_view(view.name, json.loads(json.dumps(dict(view.spec.parameters))))
        assert again.spec == view.spec
        assert again.spec.fingerprint == view.spec.fingerprint


def test_fingerprints_are_the_same_in_another_process():
    here = {name: make_view(name).spec.fingerprint for name in SIGNAL_VIEWS if installed(name)}
    code = "import sys; from emoviews.views import make_view; print(*[make_view(n).spec.fingerprint for n in sys.argv[1:]])"
    there = subprocess.run(
        [sys.executable, "-c", code, *here],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert there == list(here.values())


class TestOutput:
    @pytest.mark.parametrize("seconds", [0.1, 0.37, 3, 20])
    @pytest.mark.parametrize("signal", [tone, noise])
    def test_shape_type_and_frame_rate(self, view, signal, seconds):
        values = view(signal(seconds))  # calling a view checks the declared shape
        assert values.dtype == np.float32
        assert values.ndim == len(view.axes)
        if view.spec.has_frames:
            longest = getattr(view.parameters, "maximum_seconds", None) or np.inf
            assert values.shape[view.axes.index(FRAMES)] == pytest.approx(
                min(seconds, longest) * view.frame_rate, abs=2
            )

    @pytest.mark.parametrize("signal", HARD_SIGNALS)
    def test_is_finite_and_fits_the_store(self, view, signal):
        values = view(HARD_SIGNALS[signal])
        assert np.isfinite(values.astype(view.spec.dtype)).all()

    def test_is_deterministic_and_leaves_its_input_alone(self, view):
        samples = noise(1)
        before = samples.copy()
        first = view(samples)
        np.testing.assert_array_equal(samples, before)
        view(tone(2))  # a view has no memory
        np.testing.assert_array_equal(view(samples), first)

    def test_takes_read_only_and_strided_input(self, view):
        samples = noise(1)
        expected = view(samples)
        every_other = np.repeat(samples, 2)[::2]
        every_other.flags.writeable = False
        np.testing.assert_array_equal(view(every_other), expected)

    def test_does_not_hand_out_its_own_memory(self, view):
        first = view(noise(1))
        kept = first.copy()
        view(tone(1))
        np.testing.assert_array_equal(first, kept)

    def test_survives_pickling(self, view):
        samples = noise(0.5)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(view))(samples), view(samples))


def golden_signal():
    """Two seconds of a buzz at 120 Hz with vibrato and a swelling loudness, over a little noise; closed forms alone."""
    times = np.arange(2 * SAMPLING_RATE) / SAMPLING_RATE
    phase = 2 * np.pi * (120 * times + 0.6 * np.sin(2 * np.pi * 5 * times))
    buzz = sum(np.sin(k * phase) / k for k in range(1, 25))
    hiss = np.modf(np.sin(np.arange(times.size) * 12.9898) * 43.758)[0]
    return (0.15 * (0.6 + 0.4 * np.sin(2 * np.pi * 1.5 * times)) * buzz + 0.005 * hiss).astype(np.float32)


GOLDEN = {
    ("mel_spectrogram", 1): (
        (201, 64),
        {(0, 10): -3.5121, (50, 0): -1.8181, (100, 20): -4.3226, (100, 63): -11.7924, (200, 30): -6.6622},
    ),
    ("mfcc", 1): (
        (201, 20),
        {(0, 1): 17.7728, (50, 0): -64.8625, (100, 1): 26.4219, (100, 19): 0.1446, (200, 5): 1.3350},
    ),
    ("egemaps", 1): (
        (88,),
        {
            0: 25.3576,  # F0semitoneFrom27.5Hz_sma3nz_amean
            10: 0.900266,  # loudness_sma3_amean
            20: 0.188258,  # spectralFlux_sma3_amean
            22: 38.0339,  # mfcc1_sma3_amean
            30: 0.0573692,  # jitterLocal_sma3nz_amean
            34: 5.89216,  # HNRdBACF_sma3nz_amean
            81: 1.50754,  # loudnessPeaksPerSec
            87: -20.9958,  # equivalentSoundLevel_dBp
        },
    ),
    ("compare_2016", 1): (
        (6373,),
        {
            3658: 119.713,  # F0final_sma_amean
            4127: 1.92,  # F0final_sma_ff0_meanSegLen
            4177: 0.0808909,  # pcm_RMSenergy_sma_amean
            5166: 38.0601,  # mfcc_sma[1]_amean
        },
    ),
}
"""(view, version) → shape and a few values of its output for `golden_signal`, with the default parameters."""


@pytest.mark.parametrize(
    "name", [name for name in SIGNAL_VIEWS if VIEWS.load(name).__module__.startswith("emoviews.views.")]
)
def test_output_of_a_version_does_not_change(name):
    """A view whose output changes raises its `version`, else stores made before would be taken for its own.

    If this fails and the change is meant: raise `version`, and write the new numbers under it.
    """
    key = (name, VIEWS.load(name).version)
    assert key in GOLDEN, f"{key} has no golden numbers; add a few of its values for golden_signal()."
    if not installed(name):
        pytest.skip(f"{name} needs an extra that is not installed.")
    values = make_view(name)(golden_signal())
    shape, picked = GOLDEN[key]
    assert values.shape == shape
    assert {index: values[index] for index in picked} == pytest.approx(picked, rel=1e-3, abs=1e-3)
