"""A recogniser comes back as it was; what does not match is refused, with both values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emoviews import cli
from emoviews.bundles import load_recognizer, save_recognizer
from emoviews.checkpoints import described
from emoviews.errors import CheckpointError
from emoviews.recognizer import EmotionRecognizer
from emoviews.table import read_table
from emoviews.types import SAMPLING_RATE, ViewSpec

TEMPERATURES = ("inductive", "speaker-adaptive", "transductive")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    cli.main(["corpus", "synthetic", str(folder / "audio"), "--out", str(folder / "t.csv"), "--preset", "tiny"])
    recognizer = EmotionRecognizer(views=("mfcc",), store=folder / "store", workers=1)
    save_recognizer(folder / "model", recognizer.fit(read_table(folder / "t.csv")))
    return folder


@pytest.fixture
def bundle(world: Path, tmp_path: Path) -> Path:
    for path in (world / "model").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def change(bundle: Path, **changes: object) -> None:
    """As if it had been written so, with the digest of that."""
    notes = json.loads((bundle / "emoviews.json").read_text())
    (bundle / "emoviews.json").write_bytes(described({**notes, **changes}))


@pytest.mark.parametrize("mode", ["inductive", "speaker-adaptive"])
def test_it_comes_back_as_it_was(world: Path, mode: str) -> None:
    table = read_table(world / "t.csv")
    again = load_recognizer(world / "model", mode)
    first = EmotionRecognizer(views=("mfcc",), store=world / "store", workers=1, mode=mode).fit(table)
    again.set_params(store=world / "store")
    assert again.predict_proba(table) == pytest.approx(first.predict_proba(table), abs=1e-9)
    assert again.fitted_.report == first.fitted_.report
    assert list(again.fitted_.report.by_files) == [1, 3, 10]
    assert again.fitted_.speeds == first.fitted_.speeds == again.speeds
    assert again.fitted_.sampling_rate == first.fitted_.sampling_rate == SAMPLING_RATE
    assert list(again.classes_) == list(first.classes_)


def test_an_older_one_has_no_temperature_for_what_trained_and_is_judged_alone(bundle: Path, world: Path) -> None:
    new = load_recognizer(bundle).fitted_.temperatures
    saved = {"inductive": 3.0, "speaker-adaptive": 2.0, "transductive": 0.5}
    assert set(new) == {*saved, "transductive, alone"}
    change(bundle, temperatures=saved)
    assert load_recognizer(bundle).fitted_.temperatures == {**saved, "transductive, alone": 3.0}


@pytest.mark.parametrize("values", [[10, 2, 33, 4], [False, True, False, True], [1.0, 2.0, 3.0, 4.0]])
def test_labels_keep_their_type(world: Path, tmp_path: Path, values: list[float]) -> None:
    table = read_table(world / "t.csv")
    number = table["emotion"].map({e: n for n, e in enumerate(sorted(set(table["emotion"])))})
    y = np.array(values)[number]
    recognizer = EmotionRecognizer(views=("mfcc",), store=world / "store", workers=1, evaluate=False).fit(table, y)
    save_recognizer(tmp_path, recognizer)
    again = load_recognizer(tmp_path).set_params(store=world / "store")
    assert again.classes_.dtype == recognizer.classes_.dtype == y.dtype
    assert again.predict(table).tolist() == recognizer.predict(table).tolist()
    assert again.score(table, y) > 0.7


def test_nothing_in_it_is_pickled(world: Path) -> None:
    assert sorted(path.suffix for path in (world / "model").iterdir()) == [".json", ".md", ".safetensors"]
    notes = json.loads((world / "model" / "emoviews.json").read_text())
    assert notes["kind"] == "recognizer"
    assert set(notes["views"]["mfcc"]) == {"request", "spec", "fingerprint", "licence"}


def test_what_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no recogniser"):
        load_recognizer(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "encoders"}, "has kind 'encoders'; expected 'recognizer'"),
        ({"format": 99}, "has format 99; expected 5"),
        ({"format": 4}, "has format 4; expected 5. Make it again with: emoviews fit"),
        (
            {"labels": ["anger", "happiness"]},
            r"the labels anger, happiness; its classifier was trained on anger, happiness, n",
        ),
        ({"labels": ["sadness", "neutral", "happiness", "anger"]}, "labels sadness, .* was trained on anger, "),
        ({"limits": {"outlier": -1.0, "shift": 1.0}}, r"expected an outlier from 0 to 8\.45 and a shift above 0"),
        (
            {"limits": {"outlier": 1e9, "shift": 1.0}},
            r"has the Limits\(outlier=1000000000.0.*expected an outlier from 0",
        ),
        ({"limits": {"outlier": 1.0, "shift": 0.0}}, "expected an outlier from 0"),
        (
            {"temperatures": dict.fromkeys(TEMPERATURES, float("nan"))},
            r"expected numbers from 0\.05 to 20\. It was changed",
        ),
        ({"temperatures": dict.fromkeys(TEMPERATURES, 0.0)}, "expected numbers from 0.05 to 20"),
        ({"temperatures": dict.fromkeys(TEMPERATURES, 50.0)}, "expected numbers from 0.05 to 20"),
        ({"sampling_rate": 10**9}, "the sampling rate 1000000000; expected a number from 0 to 16000"),
        ({"modes": {}}, "can't be read as a recogniser"),
        ({"configuration": {"strength": -1.0}}, "can't be read as a recogniser .*strength: expected a number above 0"),
    ],
)
def test_what_does_not_match_is_refused(bundle: Path, changes: dict[str, object], said: str) -> None:
    change(bundle, **changes)
    with pytest.raises(CheckpointError, match=said):
        load_recognizer(bundle)


@pytest.mark.parametrize(
    ("mode", "key", "value", "said"),
    [
        ("inductive", "bandwidth", -1.0, "has the bandwidths {'inductive': -1.0, .*; expected finite numbers from 0"),
        ("speaker-adaptive", "bandwidth", float("inf"), "expected finite numbers from 0"),
        ("inductive", "adaptive", True, "the modes' adaptive .*; expected False for the inductive one"),
    ],
)
def test_a_mode_that_no_fit_makes_is_refused(bundle: Path, mode: str, key: str, value: object, said: str) -> None:
    modes = json.loads((bundle / "emoviews.json").read_text())["modes"]
    modes[mode][key] = value
    change(bundle, modes=modes)
    with pytest.raises(CheckpointError, match=said):
        load_recognizer(bundle)


@pytest.mark.parametrize("place", ["modes", "by_files"])
def test_an_expected_recall_that_can_not_be_is_refused(bundle: Path, place: str) -> None:
    report = json.loads((bundle / "emoviews.json").read_text())["report"]
    scored = report["by_files"]["3"] if place == "by_files" else report["modes"]["inductive"]["uar"]
    scored["estimate"] = 1.5
    change(bundle, report=report)
    with pytest.raises(CheckpointError, match=r"has the expected UARs .*1\.5.*; expected numbers from 0 to 1"):
        load_recognizer(bundle)


def changed(notes: dict[str, Any], *place: str, value: object) -> dict[str, Any]:
    """The same, but for what stands at a place."""
    first, *rest = place
    return {**notes, first: changed(notes[first], *rest, value=value) if rest else value}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("report", "modes", "inductive", "uar", "estimate"), 0.99),
        (("report", "by_files", "3", "estimate"), 0.99),
        (("temperatures", "inductive"), 2.0),
        (("limits", "outlier"), 5.0),
        (("modes", "speaker-adaptive", "adaptive"), False),
        (("modes", "speaker-adaptive", "bandwidth"), 0.5),
        (("views", "mfcc", "licence"), "none"),
        (("made", "corpus"), "another"),
        (("unheard_of",), 1),
    ],
)
def test_a_description_that_was_changed_is_refused(bundle: Path, place: tuple[str, ...], value: object) -> None:
    """Each value might be a `fit`'s: nothing but the digest tells that it is not this one's."""
    notes = changed(json.loads((bundle / "emoviews.json").read_text()), *place, value=value)
    (bundle / "emoviews.json").write_text(json.dumps(notes))
    with pytest.raises(
        CheckpointError, match=r"was changed after .* is \w{64}, expected \w{64}\. Get a whole copy, or fit"
    ):
        load_recognizer(bundle)
    del notes["sha256"]
    (bundle / "emoviews.json").write_text(json.dumps(notes))
    load_recognizer(bundle)


def test_how_a_description_is_laid_out_does_not_count(bundle: Path) -> None:
    notes = json.loads((bundle / "emoviews.json").read_text())
    (bundle / "emoviews.json").write_text(json.dumps(notes, sort_keys=True, indent=7))
    assert (bundle / "emoviews.json").read_bytes() != described(notes)
    load_recognizer(bundle)


def test_an_older_description_has_no_digest(bundle: Path) -> None:
    notes = json.loads((bundle / "emoviews.json").read_text())
    del notes["sha256"]
    (bundle / "emoviews.json").write_text(json.dumps(notes))
    load_recognizer(bundle)


def test_what_only_another_version_says_of_a_test_is_passed_over(bundle: Path) -> None:
    notes = json.loads((bundle / "emoviews.json").read_text())
    expected = load_recognizer(bundle).fitted_.report
    notes["report"]["unheard_of"] = notes["report"]["modes"]["inductive"]["unheard_of"] = True
    (bundle / "emoviews.json").write_bytes(described(notes))
    assert load_recognizer(bundle).fitted_.report == expected


def test_damaged_weights_are_refused(bundle: Path) -> None:
    (weights,) = bundle.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match=r"is damaged: its SHA-256 is .*, expected"):
        load_recognizer(bundle)


def test_another_view_of_the_same_name_is_refused(bundle: Path) -> None:
    notes = json.loads((bundle / "emoviews.json").read_text())
    view = notes["views"]["mfcc"]
    view["spec"]["version"] = 99
    change(bundle, views=notes["views"])
    with pytest.raises(CheckpointError, match=r"gives fingerprint .*, the file says"):
        load_recognizer(bundle)
    spec = ViewSpec(**{k: tuple(v) if isinstance(v, list) else v for k, v in view["spec"].items()})
    view["fingerprint"] = spec.fingerprint
    change(bundle, views=notes["views"])
    with pytest.raises(
        CheckpointError, match=f"was fitted on mfcc with fingerprint {spec.fingerprint}; this installation"
    ):
        load_recognizer(bundle)


def test_another_opensmile_is_refused(tmp_path: Path, world: Path) -> None:
    pytest.importorskip("opensmile")
    recognizer = EmotionRecognizer(views=("egemaps",), store=world / "store", workers=1, evaluate=False)
    save_recognizer(tmp_path, recognizer.fit(read_table(world / "t.csv")))
    notes = json.loads((tmp_path / "emoviews.json").read_text())
    assert "non-commercial" in notes["views"]["egemaps"]["licence"]
    change(tmp_path, versions={**notes["versions"], "opensmile": "0.0.1"})
    with pytest.raises(CheckpointError, match=r"was made with opensmile 0\.0\.1; here it is"):
        load_recognizer(tmp_path)
