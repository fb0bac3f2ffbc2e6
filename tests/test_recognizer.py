"""EmotionRecognizer as scikit-learn's tools use it, what `fit` says of itself, and what bad input gets.

Of scikit-learn's estimator checks those apply that don't feed numbers as X: recordings are tables or paths. They are listed
in `CHECKS`.
"""

from __future__ import annotations

import inspect
import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn
import soundfile
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks

from emoviews import calibration, cli
from emoviews.errors import AudioError, TableError, UsageError
from emoviews.recognition import DIRECTLY, NARROW, UNLIKE, as_table, labels_of, recognise
from emoviews.recognizer import EmotionRecognizer
from emoviews.table import apply_label_map, read_table
from emoviews.types import SAMPLING_RATE

CHECKS = [
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
    "check_do_not_raise_errors_in_init_or_set_param",
    "check_mixin_order",
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny synthetic corpus and the store of its MFCC."""
    folder = tmp_path_factory.mktemp("recognizer")
    cli.main(["corpus", "synthetic", str(folder / "audio"), "--out", str(folder / "t.csv"), "--preset", "tiny"])
    return folder


@pytest.fixture
def table(world: Path) -> pd.DataFrame:
    return read_table(world / "t.csv")


def made(world: Path, **changes: object) -> EmotionRecognizer:
    given = {"views": ("mfcc",), "store": world / "store", "workers": 1, "evaluate": False, **changes}
    return EmotionRecognizer(**given)


def noise(path: Path, seconds: float = 1.0, rate: int = SAMPLING_RATE, channels: int = 1) -> Path:
    samples = np.random.default_rng(0).normal(size=(int(seconds * rate), channels))
    soundfile.write(path, 0.2 * samples, rate)
    return path


@pytest.mark.parametrize("name", CHECKS)
def test_checks_of_scikit_learn(name: str) -> None:
    check = getattr(estimator_checks, name, None)
    if check is None:
        pytest.skip(f"scikit-learn {sklearn.__version__} has no {name}")
    first = (
        EmotionRecognizer
        if "constructible" in name and "estimator_orig" not in inspect.signature(check).parameters
        else None
    )
    check("EmotionRecognizer", first or EmotionRecognizer(views=("mfcc",)))


def test_cross_validation_with_groups_in_a_pipeline(world: Path, table: pd.DataFrame) -> None:
    pipeline = make_pipeline(FunctionTransformer(), made(world))
    scores = cross_val_score(pipeline, table, table["emotion"], groups=table["speaker"], cv=LeaveOneGroupOut())
    assert len(scores) == table["speaker"].nunique()
    assert scores.mean() > 0.35, "chance is 0.25"


def test_groups_and_speakers_are_routed(world: Path, table: pd.DataFrame) -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        recognizer = made(world).set_fit_request(groups=True)
        paths = np.array(table["path"], dtype=object)
        scores = cross_val_score(
            recognizer, paths, list(table["emotion"]), cv=LeaveOneGroupOut(), params={"groups": list(table["speaker"])}
        )
    assert len(scores) == table["speaker"].nunique()
    assert np.isfinite(scores).all()


def test_folds_follow_the_groups_that_were_given(world: Path, table: pd.DataFrame) -> None:
    found = made(world, evaluate=True).fit(list(table["path"]), list(table["emotion"]), list(table["speaker"]))
    assert found.fitted_.report.folds == table["speaker"].nunique()
    pairs = [str(int(name[-1]) // 2) for name in table["speaker"]]
    found = made(world, evaluate=True).fit(table, groups=pairs)
    assert found.fitted_.report.folds == len(set(pairs))


def test_groups_that_share_a_speaker_or_a_recording_are_left_out_together(world: Path, table: pd.DataFrame) -> None:
    cut = table.assign(group=[f"{name} {row % 2}" for row, name in enumerate(table["speaker"])])
    report = made(world, evaluate=True).fit(cut).fitted_.report
    assert report.folds == table["speaker"].nunique()
    assert any("share a speaker or a recording" in note for note in report.notes)
    again = table.assign(
        id="again " + table["id"], speaker="again " + table["speaker"], group="again " + table["group"]
    )
    report = made(world, evaluate=True).fit(pd.concat([table, again], ignore_index=True)).fitted_.report
    assert report.folds == table["speaker"].nunique()


def test_some_recordings_without_a_speaker_take_no_part_in_what_to_expect(world: Path, table: pd.DataFrame) -> None:
    some = table.assign(**{name: table[name].where(table.index % 9 > 0, "") for name in ("speaker", "group")})
    fitted = made(world, evaluate=True).fit(some).fitted_
    report, temperatures = fitted.report, fitted.temperatures
    assert temperatures["transductive"] == temperatures["speaker-adaptive"] != temperatures["inductive"]
    assert (report.folds, report.n_recordings) == (table["speaker"].nunique(), len(table))
    assert sum(report.n_labels.values()) == len(table)
    assert report.notes[0].startswith("8 recordings without a speaker")
    n = sum(n for _, n in report.modes["speaker-adaptive"].by_speaker.values())
    assert n == len(table) - 8
    assert list(report.modes) == ["inductive", "speaker-adaptive"], "all have a label"


def test_folds_by_recording_do_not_follow_the_order_of_the_table(world: Path, table: pd.DataFrame) -> None:
    emotions = sorted(set(table["emotion"]))
    five = table[table["emotion"].isin(emotions[:3])].sort_values("emotion", kind="stable")
    order = five.groupby("emotion").cumcount() * 5 + five["emotion"].map({e: i for i, e in enumerate(emotions)})
    turns = five.assign(order=order).sort_values("order").drop(columns="order").reset_index(drop=True)
    turns = turns.assign(speaker="", group="", gender=[("female", "male")[row % 2] for row in range(len(turns))])
    report = made(world, evaluate=True, allow_speaker_overlap=True).fit(turns).fitted_.report
    assert report.folds == 5
    assert report.modes["inductive"].uar.estimate > 0.4, "chance is 1/3"
    assert not any("gender" in warning for warning in report.modes["inductive"].warnings), "nobody knows who speaks"


def test_one_recording_of_a_speaker_is_as_certain_as_a_recording_alone(world: Path, table: pd.DataFrame) -> None:
    recognizer = made(world, mode="speaker-adaptive").fit(table)
    fitted = recognizer.fitted_
    recognizer.fitted_ = replace(
        fitted, heard=frozenset(), temperatures={**fitted.temperatures, "inductive": 4.0, "speaker-adaptive": 0.25}
    )
    each = table.assign(speaker=table["id"], group="")
    together = recognizer.predict_proba(each)
    alone = recognizer.set_params(mode="inductive").predict_proba(each)
    assert together.max(axis=1).mean() == pytest.approx(alone.max(axis=1).mean(), abs=0.05)
    many = recognizer.set_params(mode="speaker-adaptive").predict_proba(table)
    assert many.max(axis=1).mean() > alone.max(axis=1).mean() + 0.2


def test_recordings_that_trained_have_a_temperature_of_their_own(world: Path, table: pd.DataFrame) -> None:
    recognizer = made(world).fit(table)
    fitted = recognizer.fitted_

    def certainty(mode: str, heard: bool, **temperatures: float) -> np.ndarray:
        each = {**dict.fromkeys(fitted.temperatures, 1.0), **{k.replace("_", "-"): v for k, v in temperatures.items()}}
        recognizer.fitted_ = replace(fitted, temperatures=each, heard=fitted.heard if heard else frozenset())
        return recognizer.set_params(mode=mode).predict_proba(table)

    plain = certainty("speaker-adaptive", heard=True)
    weight = fitted.model.weight_alone(list(table["speaker"]))[0]
    for heard, own, other in ((True, "transductive", "speaker_adaptive"), (False, "speaker_adaptive", "transductive")):
        assert certainty("speaker-adaptive", heard, **{other: 8.0}) == pytest.approx(plain)
        expected = calibration.scaled(plain, 8.0 ** (1 - weight))
        assert certainty("speaker-adaptive", heard, **{own: 8.0}) == pytest.approx(expected)
    alone, unsure = certainty("inductive", heard=True), {"transductive, alone": 8.0}
    assert certainty("inductive", heard=True, transductive=8.0, inductive=8.0) == pytest.approx(alone)
    assert certainty("inductive", heard=True, **unsure) == pytest.approx(calibration.scaled(alone, 8.0))
    assert certainty("inductive", heard=False, **unsure) == pytest.approx(alone)
    assert certainty("speaker-adaptive", heard=False, **unsure) == pytest.approx(plain)
    halfway = calibration.scaled(plain, 8.0**weight)
    assert certainty("speaker-adaptive", heard=True, **unsure) == pytest.approx(halfway), "as much as each alone counts"


def test_parameters_travel(world: Path) -> None:
    recognizer = made(world, mode="speaker-adaptive")
    assert clone(recognizer).get_params() == recognizer.get_params()
    with pytest.raises(NotFittedError):
        recognizer.predict(["a.wav"])


def test_labels_given_beside_paths_and_unlabelled_recordings(world: Path, table: pd.DataFrame) -> None:
    y = [emotion if row % 2 else None for row, emotion in enumerate(table["emotion"])]
    recognizer = made(world).fit(list(table["path"]), y, list(table["speaker"]))
    assert recognizer.fitted_.report.n_recordings == len(table)
    assert sum(recognizer.fitted_.report.n_labels.values()) == len(table) // 2
    p = recognizer.predict_proba(list(table["path"]))
    assert p.shape == (len(table), 4)
    assert np.allclose(p.sum(axis=1), 1)
    assert (recognizer.classes_[p.argmax(axis=1)] == recognizer.predict(list(table["path"]))).all()


TYPES = {
    "text": (["anger", "happiness", "neutral", "sadness"], np.str_),
    "integers": ([10, 2, 33, 4], np.integer),
    "small integers": (np.array([10, 2, 33, 4], dtype=np.int16), np.int16),
    "floats": ([10.0, 2.0, -2.0, 4.0], np.floating),
}


@pytest.mark.parametrize("name", [*TYPES, "booleans"])
def test_labels_come_back_as_they_were_given(name: str, world: Path, table: pd.DataFrame) -> None:
    number = table["emotion"].map({e: n for n, e in enumerate(sorted(set(table["emotion"])))}).to_numpy()
    values, kind = TYPES.get(name, ([False, True, False, True], np.bool_))
    y = np.asarray(values)[number]
    paths = list(table["path"])
    recognizer = made(world).fit(paths, y)
    classes = np.unique(y)
    assert recognizer.classes_.dtype == classes.dtype, "as scikit-learn's classifiers have it"
    assert recognizer.classes_.tolist() == classes.tolist(), "in the order of numbers, not of text"
    predicted = recognizer.predict(paths)
    assert issubclass(predicted.dtype.type, kind)
    assert (predicted == y).mean() > 0.7, "it has heard them; chance is 0.25 to 0.5"
    expected = balanced_accuracy_score(y, predicted)
    assert recognizer.score(paths, y) == pytest.approx(expected)
    assert recognizer.score(paths, list(y)) == pytest.approx(expected)
    assert recognizer.score(table.assign(emotion=[str(v) for v in y])) == pytest.approx(expected), "a table's are text"
    assert (recognizer.predict_proba(paths).argmax(axis=1) == np.searchsorted(classes, predicted)).all()


def test_integers_in_an_array_of_objects_are_integers(world: Path, table: pd.DataFrame) -> None:
    number = table["emotion"].map({e: n for n, e in enumerate(sorted(set(table["emotion"])))})
    some = number.where(table.index % 2 == 0)  # pandas makes 0.0, 1.0, …, NaN of it
    for y in (some.astype("Int64"), [None if v != v else int(v) for v in some]):
        recognizer = made(world).fit(table, y)
        assert recognizer.classes_.dtype == np.int64
        assert sum(recognizer.fitted_.report.n_labels.values()) == len(table) / 2
        assert recognizer.score(table, y) == recognizer.score(table, some), "1 and 1.0 are one class"


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT, "", "  "])
def test_what_is_no_label(missing: object) -> None:
    assert labels_of(["joy", missing, "anger"]) == ["joy", None, "anger"]
    assert list(as_table(["a.wav", "b.wav"], ["joy", missing], [missing, 7])["emotion"]) == ["joy", ""]


@pytest.mark.parametrize("kind", [int, float])
def test_minus_one_among_whole_numbers_is_no_label_and_that_is_said(
    kind: type, world: Path, table: pd.DataFrame
) -> None:
    number = table["emotion"].map({e: n for n, e in enumerate(sorted(set(table["emotion"])))}).to_numpy()
    y = np.where(np.arange(len(table)) % 3 == 0, number, -1).astype(kind)
    report = made(world).fit(table, y).fitted_.report
    assert list(report.n_labels) == [str(kind(n)) for n in range(4)]
    assert sum(report.n_labels.values()) == len(table) // 3
    assert report.notes[0].startswith(
        f"-1 among whole numbers means that there is no label ({len(table) * 2 // 3} labels)"
    )
    with pytest.raises(TableError, match=r"the table's: 1(\.0)?\. Among whole numbers -1 means that there is no label"):
        made(world).fit(table, np.where(number > 1, 1, -1).astype(kind))
    assert labels_of(["-1", "1"]) == ["-1", "1"]
    assert labels_of([-1.0, float("nan"), 1.0]) == [None, None, 1.0], "pandas makes floats of integers with gaps"
    assert labels_of([-1.0, 0.5]) == [-1.0, 0.5]
    assert not any("-1" in note for note in made(world).fit(table).fitted_.report.notes)


@pytest.mark.parametrize("word", ["-1", "-1.0", "unknown", "NaN", "None", "null", "N/A", "na", "?"])
def test_words_that_may_mean_that_there_is_no_label_are_learnt_and_named(
    word: str, world: Path, table: pd.DataFrame
) -> None:
    some = table.assign(emotion=table["emotion"].where(table.index % 4 > 0, word))
    for report in (
        made(world).fit(some).fitted_.report,
        made(world).fit(list(some["path"]), list(some["emotion"])).fitted_.report,
    ):
        assert report.n_labels[word] == len(table) // 4
        (note,) = [note for note in report.notes if "like any other" in note]
        assert note.startswith(f"{word!r} is learnt as an emotion like any other ({len(table) // 4} labels).")
        assert note.endswith(f'leave the cell empty (in Python: None), or say so: --label-map \'{{"{word}": ""}}\'')
    left_out = made(world).fit(table.assign(emotion=table["emotion"].where(table.index % 4 > 0, ""))).fitted_.report
    assert not any("like any other" in note for note in left_out.notes)


@pytest.mark.parametrize("decimal", [".", ","])
def test_ratings_are_no_emotions(decimal: str, table: pd.DataFrame) -> None:
    ratings = 1 + 0.25 * (np.arange(len(table)) % 4)
    texts = [f"{rating}".replace(".", decimal) for rating in ratings]
    said = rf"got ratings: 54 of 72 labels are numbers that are not whole, the first 1{re.escape(decimal)}25"
    with pytest.raises(UsageError, match=said):
        EmotionRecognizer().fit(table.assign(emotion=texts))
    with pytest.raises(UsageError, match=r"got ratings: 53 of 70 labels.*low, middle and high"):
        EmotionRecognizer().fit(table.assign(emotion=["", "nan", *texts[2:]]))
    with pytest.raises(UsageError, match=r"the first 1\.25"):
        EmotionRecognizer().fit(table, np.where(np.arange(len(table)) % 3, ratings, np.nan))


def test_numbers_that_name_emotions_are_taken(world: Path, table: pd.DataFrame) -> None:
    number = table["emotion"].map({e: n for n, e in enumerate(sorted(set(table["emotion"])))})
    for texts in (number.map("{:.1f}".format), number.map({0: "0.5", 1: "1.5", 2: "2.5", 3: "neutral"})):
        assert len(made(world).fit(table.assign(emotion=texts)).classes_) == 4


def test_most_emotions_with_one_label_are_asked_about(world: Path, table: pd.DataFrame) -> None:
    def notes(emotions: list[str]) -> list[str]:
        return [n for n in made(world).fit(table.assign(emotion=emotions)).fitted_.report.notes if "Only one" in n]

    many = [f"{row:02d}" if row < 60 else "last" for row in range(len(table))]
    (note,) = notes(many)
    assert note.startswith("Only one recording each is labelled 00, 01, 02, 03, 04 and 55 more: too few to learn from.")
    assert "These are 60 of 61 emotions; are they ratings or words" in note
    (note,) = notes(["once", *table["emotion"][1:]])
    assert "These are" not in note


@pytest.mark.parametrize(("y", "got"), [(["joy", 1], "int and str"), ([1, True], "bool and int"), ([b"joy"], "bytes")])
def test_labels_of_several_types_are_refused(y: list[object], got: str) -> None:
    with pytest.raises(UsageError, match=f"Expected labels of one type.*; got {got}"):
        labels_of(y)


def test_score_of_a_speaker_with_all_recordings(world: Path, table: pd.DataFrame) -> None:
    recognizer = made(world, mode="speaker-adaptive").fit(table)
    some = table["emotion"].where(table.index % 4 == 0, "")
    predicted = recognizer.predict(table)
    known = (some != "").to_numpy()
    expected = balanced_accuracy_score(some[known], predicted[known])
    paths = list(table["path"])
    assert recognizer.score(table.assign(emotion=some)) == pytest.approx(expected), (
        "those without a label are heard too"
    )
    assert recognizer.score(paths, list(some), speakers=list(table["speaker"])) == pytest.approx(expected)
    with pytest.raises(UsageError, match="needs to know who speaks"):
        recognizer.score(paths, list(some))
    with sklearn.config_context(enable_metadata_routing=True):
        routed = made(world, mode="speaker-adaptive").set_fit_request(groups=True).set_score_request(speakers=True)
        who = list(table["speaker"])
        given = {"groups": who, "speakers": who}
        scores = cross_val_score(
            routed, np.array(paths, dtype=object), list(table["emotion"]), cv=LeaveOneGroupOut(), params=given
        )
    wordless = table.assign(text="")  # which paths don't say
    without = cross_val_score(
        made(world, mode="speaker-adaptive"), wordless, table["emotion"], groups=who, cv=LeaveOneGroupOut()
    )
    assert scores == pytest.approx(without)


def test_score_without_any_label(world: Path, table: pd.DataFrame) -> None:
    recognizer = made(world).fit(table)
    for X, y in ((list(table["path"]), None), (table, [None] * len(table))):
        with pytest.raises(UsageError, match="None of the 72 recordings has a label to compare with"):
            recognizer.score(X, y)


def test_score_warns_of_an_emotion_that_did_not_train(world: Path, table: pd.DataFrame) -> None:
    recognizer = made(world).fit(table)
    with pytest.warns(UserWarning, match="joy did not train, so recordings of it count as missed"):
        recognizer.score(table.head(3), ["joy", *table["emotion"][1:3]])


def test_sentences_that_stand_for_emotions_are_told(world: Path, table: pd.DataFrame) -> None:
    tied = table.assign(text=table["emotion"] + (table.index % 2).astype(str))
    told = ["the words may be learnt" in " ".join(made(world).fit(t).fitted_.report.notes) for t in (table, tied)]
    assert told == [False, True]


def test_directly_and_by_way_of_a_store_is_the_same(world: Path, table: pd.DataFrame) -> None:
    recognizer = made(world).fit(table)
    by_store = recognizer.predict_proba(table.head(4))
    directly = recognizer.set_params(store=None).predict_proba(table.head(4))
    assert directly == pytest.approx(by_store, abs=1e-9)
    assert recognizer.predict_proba(table.head(1)) == pytest.approx(by_store[:1], abs=1e-9), (
        "inductive rows are independent"
    )


def test_fit_reports_what_to_expect(world: Path, table: pd.DataFrame) -> None:
    some = table.assign(emotion=table["emotion"].where(table.index % 5 > 0, ""))
    for given, n in ((table, len(table)), (some, len(table) - 15)):
        report = made(world, evaluate=True).fit(given).fitted_.report
        assert report.folds == 6
        trained = {"transductive": 5, "transductive, alone": 5} if n < len(table) else {}
        folds = {mode: found.folds for mode, found in report.modes.items()}
        assert folds == {"inductive": 6, "speaker-adaptive": 6, **trained}, "of what trained where some have no label"
        assert len(report.split_hash) == 12
        for found in report.modes.values():
            assert found.uar.low < found.uar.estimate < found.uar.high
            assert 0 <= found.calibration_error < 0.5
            assert sum(n for _, n in found.by_speaker.values()) == n
            assert set(found.by_gender) == {"female", "male"}
        assert any(f"Only {n} labelled recordings" in note for note in report.notes)


def test_expected_scores_do_not_come_from_training_speakers(world: Path, table: pd.DataFrame) -> None:
    random = np.random.default_rng(0)
    shuffled = table.assign(emotion=random.permutation(table["emotion"]))
    found = made(world, evaluate=True).fit(shuffled).fitted_.report.modes["inductive"]
    assert found.uar.estimate < 0.45, "labels that mean nothing can't be predicted on new speakers"


def test_sub_groups_that_differ_are_warned_of(world: Path, table: pd.DataFrame) -> None:
    wrong = table["speaker"] == "S01"
    turned = {"anger": "sadness", "sadness": "anger", "happiness": "neutral", "neutral": "happiness"}
    odd = table.assign(emotion=table["emotion"].where(~wrong, table["emotion"].map(turned)))
    warnings = made(world, evaluate=True).fit(odd).fitted_.report.modes["speaker-adaptive"].warnings
    assert any("differs by speaker beyond chance" in warning and "for S01 (n 12)" in warning for warning in warnings)


# What bad input gets


def test_labels_of_one_class(world: Path, table: pd.DataFrame) -> None:
    with pytest.raises(TableError, match="at least 2 emotions; the table's: anger"):
        made(world).fit(table.assign(emotion=table["emotion"].where(table["emotion"] == "anger", "")))
    with pytest.raises(TableError, match="at least 2 emotions; the table's: none"):
        made(world).fit(list(table["path"]))


def test_no_speakers(world: Path, table: pd.DataFrame) -> None:
    nobody = table.assign(speaker="", group="")
    report = made(world, evaluate=True).fit(nobody).fitted_.report
    assert not report.modes
    assert "--allow-speaker-overlap" in " ".join(report.notes)
    allowed = made(world, evaluate=True, allow_speaker_overlap=True).fit(nobody).fitted_.report
    assert set(allowed.modes) == {"inductive"}, "nothing relative to speakers"
    assert "nothing was learnt relative to speakers" in " ".join(allowed.notes)
    assert "SPEAKER OVERLAP" in " ".join(allowed.notes)


def test_all_labels_from_one_speaker(world: Path, table: pd.DataFrame) -> None:
    one = table.assign(emotion=table["emotion"].where(table["speaker"] == "S01", ""))
    report = made(world, evaluate=True).fit(one).fitted_.report
    assert not report.modes
    assert "Labels from 1 speaker" in " ".join(report.notes)


def test_too_few_labels_to_test(world: Path, table: pd.DataFrame) -> None:
    rows = table.groupby("emotion").head(2).index
    few = table.assign(emotion=table["emotion"].where(table.index.isin(rows), ""))
    few.loc[table.index[-1], "emotion"] = "anger"
    report = made(world, evaluate=True).fit(few).fitted_.report
    assert not report.modes
    assert "at least 10 are needed" in " ".join(report.notes)


@pytest.mark.parametrize("named", [False, True])
def test_a_recogniser_that_knows_nothing_relative_to_speakers_does_not_say_so(
    named: bool, world: Path, table: pd.DataFrame
) -> None:
    """Nor does `fit` announce modes in which it will not judge: no speaker is known, or each shows one emotion."""
    whose = table["emotion"] + (table.index % 3).astype(str) if named else ""
    recognizer = made(world, evaluate=True, allow_speaker_overlap=not named)
    report = recognizer.fit(table.assign(speaker=whose, group=whose)).fitted_.report
    assert set(report.modes) == {"inductive"}
    assert not report.by_files
    assert report.modes["inductive"].resampled == ("speakers" if named else "files")
    asked = table.iloc[:12].assign(speaker="x")
    adaptive = recognizer.set_params(mode="speaker-adaptive").recognise(asked)
    alone = recognizer.set_params(mode="inductive").recognise(asked)
    assert set(adaptive.modes) == set(alone.modes) == {"transductive, alone"}
    assert adaptive.probabilities == pytest.approx(alone.probabilities)
    assert "Every recording is judged alone" in adaptive.warnings[0]
    assert not any("judged alone" in warning for warning in alone.warnings)


def test_the_adaptive_mode_needs_speakers(world: Path, table: pd.DataFrame) -> None:
    recognizer = made(world, mode="speaker-adaptive").fit(table)
    with pytest.raises(UsageError, match="needs to know who speaks; 2 of 2 recordings have no speaker"):
        recognizer.predict(list(table["path"][:2]))
    assert len(recognizer.predict(list(table["path"][:2]), speakers=["x", "x"])) == 2
    assert len(recognizer.predict(list(table["path"][:1]), speakers=["x"])) == 1, "it works from one recording on"
    with pytest.raises(UsageError, match="There is no mode 'both'"):
        recognizer.set_params(mode="both").predict(table)


def test_recordings_without_speech_get_a_reason(world: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    recognizer = made(world).fit(table).set_params(store=None)
    silence = tmp_path / "silence.wav"
    soundfile.write(silence, np.zeros(SAMPLING_RATE), SAMPLING_RATE)
    (tmp_path / "text.wav").write_text("This is no audio.")
    good = list(table["path"][:1])
    bad = [str(p) for p in (silence, noise(tmp_path / "short.wav", 0.05), tmp_path / "text.wav", tmp_path / "gone.wav")]
    tone = tmp_path / "tone.wav"
    soundfile.write(tone, 0.3 * np.sin(2 * np.pi * 440 * np.arange(2 * SAMPLING_RATE) / SAMPLING_RATE), SAMPLING_RATE)
    bad += [str(tone)]
    found = recognizer.recognise(good + bad)
    assert found.problems[0] == ""
    for problem, said in zip(
        found.problems[1:], ("silent", "0.05 s long", "no audio", "no file", "no speech"), strict=True
    ):
        assert said in problem
    assert np.isnan(found.probabilities[1:]).all()
    with pytest.raises(AudioError, match="silent"):
        recognizer.predict(good + bad)
    assert len(recognizer.predict([good[0], str(tone)])) == 2, "scikit-learn's predict judges everything it can read"
    frame = found.frame(as_table(good + bad))
    assert list(frame["emotion"] != "") == [True] + [False] * 5


def test_another_channel_is_noticed(world: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    """A new speaker's recordings over a telephone; the same ones as they are, and recordings that trained, pass."""
    import scipy.signal

    out = (table["speaker"] == "S06").to_numpy()
    recognizer = made(world).fit(table[~out].reset_index(drop=True)).set_params(store=None)
    new = table[out].reset_index(drop=True)
    band = scipy.signal.butter(4, [300, 3400], "band", fs=SAMPLING_RATE, output="sos")
    for number, path in enumerate(new["path"]):
        samples, _ = soundfile.read(path)
        soundfile.write(tmp_path / f"{number}.wav", scipy.signal.sosfilt(band, samples), SAMPLING_RATE)
    called = new.assign(path=[str(tmp_path / f"{number}.wav") for number in range(len(new))])
    found = recognizer.recognise(called)
    (warning,) = found.warnings
    assert set(found.frame(called)["warning"]) == {UNLIKE}
    with pytest.warns(UserWarning, match="S06 are, as a whole, unlike those it learnt from") as told_of:
        recognizer.predict(called)
    assert told_of[0].filename == __file__, "the line that asked"
    both = pd.concat([called, table[~out].head(8)], ignore_index=True)
    told = recognizer.recognise(both).frame(both)["warning"]
    assert list(told != "") == [True] * len(called) + [False] * 8, "only those that it concerns"
    (adaptive,) = recognise(recognizer.fitted_, called, "speaker-adaptive").warnings
    assert adaptive.startswith("Expect fewer of these answers to be right: the recordings of S06")
    assert warning.startswith(
        "Don't rely on these answers: the recordings of S06 are, as a whole, unlike those it learnt from"
    )
    assert "a telephone" in warning
    (unnamed,) = recognizer.recognise(list(called["path"])).warnings
    assert "answers: these recordings are" in unnamed
    assert not recognizer.recognise(new).warnings
    assert not recognizer.recognise(called.head(4)).warnings, "four recordings say nothing"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recognizer.predict(new)
    assert not recognizer.recognise(table[~out].reset_index(drop=True)).warnings


def test_a_recording_of_a_narrower_band_is_pointed_out(world: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    """Of one recording no more than its sampling rate tells that it came over a telephone."""
    import soxr

    recognizer = made(world).fit(table).set_params(store=None)
    assert recognizer.fitted_.sampling_rate == SAMPLING_RATE
    paths = []
    for number, path in enumerate(table["path"][: DIRECTLY + 1]):
        samples, rate = soundfile.read(path)
        paths.append(str(tmp_path / f"{number}.wav"))
        soundfile.write(paths[-1], soxr.resample(samples, rate, 8_000), 8_000)
    one = recognizer.recognise(paths[0])
    assert one.warnings == (
        "Don't rely on this answer: with 8000 samples a second, where those it learnt from have 16000 or more, all above 4 kHz "
        "is missing, as over a telephone.",
    )
    assert one.unlike == (NARROW,)
    some = recognizer.recognise([*paths, table["path"].iloc[-1]])  # by way of a store
    judged = some.problems.count("") - 1  # some may be called no speech
    assert judged > 10
    assert some.warnings[-1].startswith(f"Don't rely on the answers for {judged} of {judged + 1} recordings: with 8000")
    assert some.unlike.count(NARROW) == judged
    assert some.unlike[-1] == ""
    soundfile.write(tmp_path / "silent.wav", np.zeros(8_000), 8_000)
    silent = recognizer.recognise(str(tmp_path / "silent.wav"))
    assert (silent.warnings, silent.unlike) == ((), ("",)), "it was not judged"
    (adaptive,) = recognise(recognizer.fitted_, as_table(paths[:2], None, ["x", "x"]), "speaker-adaptive").warnings
    assert adaptive.startswith("Expect less of these answers")
    mixed = made(world).fit(pd.concat([table, table.head(1).assign(id="8 kHz", path=paths[0])], ignore_index=True))
    assert mixed.fitted_.sampling_rate == 8_000
    assert not mixed.set_params(store=None).recognise(paths[1]).warnings


@pytest.mark.parametrize(("speakers", "told"), [(2, True), (3, False)])
def test_fit_says_when_another_channel_can_not_be_noticed(
    world: Path, table: pd.DataFrame, speakers: int, told: bool
) -> None:
    some = table[table["speaker"].isin(sorted(set(table["speaker"]))[:speakers])].reset_index(drop=True)
    notes = made(world, evaluate=False).fit(some).fitted_.report.notes
    assert any("another channel can't be noticed later" in note for note in notes) == told


def test_96_khz_stereo_is_what_it_is(world: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    samples, rate = soundfile.read(table["path"][0])
    import soxr

    high = soxr.resample(samples, rate, 96_000, quality="VHQ")
    soundfile.write(tmp_path / "high.wav", np.stack([high, high], axis=1), 96_000, subtype="FLOAT")
    recognizer = made(world).fit(table).set_params(store=None)
    one, two = (recognizer.predict_proba([path]) for path in (table["path"][0], str(tmp_path / "high.wav")))
    assert two == pytest.approx(one, abs=0.1)


def test_two_hours_are_not_one_emotion(world: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(8000 * 7200, dtype=np.int16), 8000)
    found = made(world).fit(table).set_params(store=None).recognise([str(path)])
    assert "--window-seconds 4" in found.problems[0]


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("strength", [-1.0, 0, float("nan"), float("inf"), "1", None, True], "a number above 0"),
        ("unlabelled_weight", [-0.1, float("nan"), "0.3", None], "a number of at least 0"),
        ("neighbours", [-1, 2.5, float("nan"), "8", None, True], "a whole number of at least 0"),
        ("speeds", [[0], [-1.1], [float("nan")], ["0.9"], "0.9", 0.9, [1.0], [3], [True]], "numbers from 0.5 to 2"),
    ],
)
def test_parameters_are_checked(name: str, values: list[object], expected: str, table: pd.DataFrame) -> None:
    for value in values:
        recognizer = EmotionRecognizer(**{name: value})
        with pytest.raises(UsageError, match=f"^{name}: expected {expected}.*got {re.escape(repr(value))}"):
            recognizer.fit(table)


def test_parameters_of_numpy_and_at_their_ends_are_taken(world: Path, table: pd.DataFrame) -> None:
    given = {"strength": np.float32(3), "neighbours": np.int64(1000), "unlabelled_weight": 0, "speeds": np.array([0.9])}
    some = table.assign(emotion=table["emotion"].where(table.index % 2 == 0, ""))
    model = made(world, **given).fit(some).fitted_.model
    assert (model.config.strength, model.config.neighbours) == (3, 1000)
    assert made(world, neighbours=0, speeds=()).fit(some).score(table) > 0.4


def test_views_in_one_text(world: Path, table: pd.DataFrame) -> None:
    one = made(world, views="mfcc").fit(table)
    assert (one.predict_proba(table) == made(world).fit(table).predict_proba(table)).all()
    two = made(world, views="mfcc, mfcc(coefficients=13, bands=40)").fit(table)
    assert [request.label for request in two.fitted_.requests] == ["mfcc", "mfcc(bands=40, coefficients=13)"]
    for views, said in (
        ((), "Name at least one view"),
        (("mfcc", "mfcc"), "named twice"),
        ([1], "Expected views as text.*got 1"),
        ("mfc", "Did you mean 'mfcc'"),
    ):
        with pytest.raises(UsageError, match=said):
            made(world, views=views).fit(table)


@pytest.mark.parametrize("workers", [0, -1])
def test_no_workers(world: Path, table: pd.DataFrame, workers: int) -> None:
    recognizer = made(world).fit(table).set_params(workers=workers, store=None)
    for work in (lambda: recognizer.predict(table.head(1)), lambda: recognizer.fit(table)):
        with pytest.raises(UsageError, match=f"Expected at least 1 worker, got {workers}. Leave it out"):
            work()


# What `fit` says of labels from which little can be learnt


def test_what_may_not_be_meant_is_said(world: Path, table: pd.DataFrame) -> None:
    other = np.where(table.index % 2 > 0, table["speaker"].str.lower(), table["speaker"])
    again = table.head(3).assign(id="again " + table["id"].head(3), emotion=["anger", "sadness", "neutral"])
    cases = {
        "Names of speakers that differ in upper and lower case, spaces or the coding of accents alone": table.assign(
            speaker=other, group=other
        ),
        "2 recordings with several labels that contradict each other": pd.concat([table, again]),
        "8 recordings of the part 'test' (column 'split'): `fit` learns from what is in the table": table.assign(
            split=np.where(table.index < 8, "test", "train")
        ),
        "The labels look like answers of `predict`": table.assign(confidence="0.4", mode="inductive", p_anger="0.4"),
    }
    assert table["emotion"].head(3).tolist() == ["anger"] * 3, "else they contradict otherwise"
    usual = " ".join(made(world).fit(table).fitted_.report.notes)
    for said, given in cases.items():
        assert said not in usual
        notes = " ".join(made(world).fit(given).fitted_.report.notes)
        assert said in notes
        assert "S01" not in notes, "notes are on model cards"


def test_what_annotators_did_not_agree_on_has_no_label(world: Path, table: pd.DataFrame) -> None:
    given = table.assign(emotion=table["emotion"].where(table["emotion"] != "neutral", "undecided"))
    report = made(world).fit(given).fitted_.report
    assert list(report.n_labels) == ["anger", "happiness", "sadness"]
    assert report.n_recordings == len(table)
    assert "18 recordings whose annotators did not agree ('undecided'): no label." in report.notes
    named = made(world).fit(table, list(given["emotion"])).fitted_.report
    assert "undecided" in named.n_labels, "who gives labels by hand means them"
    assert any(note.startswith("'undecided' is learnt as an emotion like any other") for note in named.notes)


def test_where_labels_stand_is_said(world: Path, table: pd.DataFrame) -> None:
    with pytest.raises(TableError, match=r"Labels stand in the column 'emotion'; other columns are .*label"):
        made(world).fit(table.rename(columns={"emotion": "label"}))
    with pytest.raises(TableError, match=r"Labels stand in the column 'emotion'; other columns are label\. Label more"):
        made(world).fit(apply_label_map(table.assign(label="x", emotion="", corpus="own"), {}))


def test_labels_that_are_alike_are_named(world: Path, table: pd.DataFrame) -> None:
    y = [
        e if row % 2 else {"anger": "Anger", "sadness": "sadness "}.get(e, e) for row, e in enumerate(table["emotion"])
    ]
    (note,) = [n for n in made(world).fit(table, y).fitted_.report.notes if "differ in upper and lower case" in n]
    assert note.startswith("The emotions 'Anger', 'anger'; 'sadness', 'sadness ' differ in")
    assert not any("differ" in note for note in made(world).fit(table).fitted_.report.notes)


def test_a_label_that_stands_once_or_for_one_speaker_is_named(world: Path, table: pd.DataFrame) -> None:
    first = table["speaker"].iloc[0]
    kept = (table["emotion"] != "sadness") | (table["speaker"] == first)
    happy = table.index[table["emotion"] == "happiness"][0]
    kept &= (table["emotion"] != "happiness") | (table.index == happy)
    found = made(world).fit(table.assign(emotion=table["emotion"].where(kept, ""))).fitted_.report.notes
    assert "Only one recording each is labelled happiness: too few to learn from. Label more of them." in found
    (voice,) = [note for note in found if "come from one speaker" in note]
    assert voice.startswith("All labels of sadness come from one speaker, so")
    assert first not in voice, "a card names nobody"
    unknown = table.assign(emotion=table["emotion"].where(kept, ""), speaker="", group="")
    assert not any("come from one speaker" in note for note in made(world).fit(unknown).fitted_.report.notes)


def test_lengths_must_agree(table: pd.DataFrame) -> None:
    with pytest.raises(UsageError, match=r"Expected one emotion a recording: 72 recordings, 1 emotion\."):
        as_table(table, ["anger"])
    with pytest.raises(UsageError, match="Expected an utterance table or paths"):
        as_table(np.zeros((3, 2)))
    with pytest.raises(UsageError, match="takes no sample_weight"):
        EmotionRecognizer().score(table, sample_weight=[1])
