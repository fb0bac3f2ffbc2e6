"""What to expect of new speakers: each number against a plain loop over the speakers who are left out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import pandas as pd
import pytest
import scipy.optimize

from emoviews import expectation
from emoviews.calibration import fit_temperature, scaled
from emoviews.expectation import (
    ADAPTIVELY,
    ALONE,
    DRAWS_AT_ONCE,
    FEWEST_LABELS,
    UNCALIBRATED,
    Recordings,
    _calibration_error_by_chance,
    _mode_report,
    _parts,
    _stretches,
    _with_few_files,
    evaluated,
)
from emoviews.fusion import Fusion
from emoviews.metrics import expected_calibration_error, uar
from emoviews.recognition import FitReport, ModeReport
from emoviews.semisupervised import SemiSupervisedConfig, fit_semisupervised
from emoviews.statistics import uar_interval
from emoviews.table import make_table

LABELS = ("anger", "joy", "sadness")
SPEAKERS, EACH = 6, 24


def world(each: int = EACH) -> tuple[pd.DataFrame, dict[str, np.ndarray], np.ndarray]:
    """Speakers who differ in voice, of whom the last shows joy as others show anger and the other way round.

    Two of three recordings are labelled.
    """
    random = np.random.default_rng(0)
    who, felt = np.repeat(np.arange(SPEAKERS), each), np.tile(np.arange(each) % 3, SPEAKERS)
    shown = np.where((who == SPEAKERS - 1) & (felt < 2), 1 - felt, felt)
    values = 1.5 * random.normal(size=(3, 10))[shown] + 2 * random.normal(size=(SPEAKERS, 10))[who]
    values = values + random.normal(size=values.shape)
    known = random.random(len(felt)) < 2 / 3
    targets = np.where(known, felt, -1)
    rows = [
        {"path": f"{n}.wav", "speaker": f"S{w}", "emotion": LABELS[f] if k else ""}
        for n, (w, f, k) in enumerate(zip(who, felt, known, strict=True))
    ]
    return make_table(rows), {"mfcc": values}, targets


def recordings(
    table: pd.DataFrame, views: Mapping[str, np.ndarray], targets: np.ndarray, keys: Sequence[str]
) -> Recordings:
    return Recordings(table, Fusion(views, list(table["speaker"]), list(table["text"])), targets, keys)


def expected(
    table: pd.DataFrame, views: Mapping[str, np.ndarray], targets: np.ndarray
) -> tuple[FitReport, dict[str, float]]:
    keys = [str(row) for row in range(len(table))]
    data = recordings(table, views, targets, keys)
    return evaluated(data, LABELS, SemiSupervisedConfig(), run=True, allow_overlap=False)


@cache
def found() -> tuple[FitReport, dict[str, float]]:
    return expected(*world())


@cache
def by_hand() -> dict[str, np.ndarray]:
    """Mode → `(labelled, classes)` of what was left out, before calibration; and "one", of one recording each.

    Most recordings without a label are of speakers who have others, so the labels of what trains are left out by file.
    """
    table, views, targets = world()
    speakers = list(table["speaker"])
    said = {
        mode: np.zeros((len(table), 3))
        for mode in ("inductive", "speaker-adaptive", "transductive", "transductive, alone", "one")
    }
    for name in sorted(set(speakers)):
        out = np.array([speaker == name for speaker in speakers])
        rest = {label: values[~out] for label, values in views.items()}
        own = {label: values[out] for label, values in views.items()}
        others = [speaker for speaker in speakers if speaker != name]
        model = fit_semisupervised(Fusion(rest, others), targets[~out], 3)
        same = [name] * int(out.sum())
        said["inductive"][out] = model.probabilities(own, "inductive")
        said["speaker-adaptive"][out] = model.probabilities(own, "speaker-adaptive", same)
        for row in np.flatnonzero(out):
            one = {label: values[[row]] for label, values in views.items()}
            said["one"][row] = model.probabilities(one, "speaker-adaptive", ["x"])
    parts = np.array(_parts(targets, list(table["path"])))
    for name in set(parts):
        out = parts == name
        model = fit_semisupervised(Fusion(views, speakers), np.where(out, -1, targets), 3)
        said["transductive"][out] = model.probabilities(views, "speaker-adaptive", speakers)[out]
        said["transductive, alone"][out] = model.probabilities(views, "inductive")[out]
    return {mode: p[targets >= 0] for mode, p in said.items()}


def labelled() -> tuple[list[str], np.ndarray]:
    """Truth and speaker of the labelled recordings."""
    table, _, targets = world()
    known = targets >= 0
    return [LABELS[t] for t in targets[known]], np.array(table["speaker"])[known]


def left_out(mode: str) -> np.ndarray:
    """With what each labelled recording was left out."""
    table, _, targets = world()
    parts = _parts(targets, list(table["path"]))
    return np.array(parts if mode.startswith("transductive") else table["speaker"])[targets >= 0]


def guesses(probabilities: np.ndarray) -> list[str]:
    return [LABELS[best] for best in probabilities.argmax(axis=1)]


WEIGHT = 1 / (1 + (EACH / 5) ** 2)
"""Of judging alone, where a speaker has `EACH` recordings."""


def temperatures_by_hand(mode: str, used: np.ndarray) -> tuple[float, float]:
    """The mode's temperature and that of the same recordings alone; the labelled ones `used` are then the likeliest."""
    truth, raw = [t for t, u in zip(labelled()[0], used, strict=True) if u], by_hand()
    of_these = "transductive, alone" if mode.startswith("transductive") else "inductive"
    alone = fit_temperature(truth, raw[of_these][used], LABELS)
    if mode == of_these:
        return alone, alone
    code = np.array([LABELS.index(t) for t in truth])

    def loss(log: float) -> float:
        said = scaled(raw[mode][used], np.exp(log) ** (1 - WEIGHT) * alone**WEIGHT)
        return float(-np.log(said[np.arange(len(code)), code]).sum() + 0.5 * log**2)

    return float(np.exp(scipy.optimize.minimize_scalar(loss, bounds=(-3, 3), method="bounded").x)), alone


@pytest.mark.parametrize("mode", ADAPTIVELY)
def test_what_is_left_out_is_calibrated_by_the_others(mode: str) -> None:
    (truth, _), raw, groups = labelled(), by_hand()[mode], left_out(mode)
    weight = 0.0 if mode in ALONE else WEIGHT
    errors = {}
    for whose in ("others", "own", "all"):
        calibrated = np.empty_like(raw)
        for name in set(groups):
            out = groups == name
            used = {"others": ~out, "own": out, "all": out | True}[whose]
            own, alone = temperatures_by_hand(mode, used)
            calibrated[out] = scaled(raw[out], own ** (1 - weight) * alone**weight)
        errors[whose] = expected_calibration_error(truth, calibrated, LABELS)
    error = found()[0].modes[mode].calibration_error
    assert error == pytest.approx(errors["others"], abs=1e-6)
    assert abs(errors["own"] - errors["others"]) > 1e-3, "else this could not tell them apart"
    assert abs(errors["all"] - errors["others"]) > 1e-3, "else this could not tell them apart"


def test_where_all_are_judged_alone_the_modes_relative_to_speakers_have_their_temperatures() -> None:
    table, views, targets = world()
    data = recordings(table, views, targets, [str(row) for row in range(len(table))])
    report, temperatures = evaluated(
        data, LABELS, SemiSupervisedConfig(), run=True, allow_overlap=False, modes=ALONE, workers=1
    )
    assert list(report.modes) == list(ALONE)
    assert not report.by_files
    assert report.modes["inductive"] == found()[0].modes["inductive"]
    assert report.modes["transductive, alone"] == found()[0].modes["transductive, alone"]
    (truth, speakers), raw = labelled(), by_hand()["transductive, alone"]
    assert report.modes["transductive, alone"].uar == uar_interval(truth, guesses(raw), list(speakers))
    assert temperatures["transductive, alone"] == pytest.approx(fit_temperature(truth, raw, LABELS), rel=1e-9)
    assert temperatures["transductive"] == temperatures["transductive, alone"] != temperatures["inductive"]
    assert temperatures["speaker-adaptive"] == temperatures["inductive"] != 1.0


@pytest.mark.parametrize("mode", ["inductive", "speaker-adaptive", "transductive"])
def test_the_interval_resamples_speakers(mode: str) -> None:
    (truth, speakers), guess = labelled(), guesses(by_hand()[mode])
    interval = found()[0].modes[mode].uar
    assert interval == uar_interval(truth, guess, list(speakers))
    recordings = uar_interval(truth, guess, range(len(truth)))
    assert interval.estimate == recordings.estimate
    assert interval.high - interval.low > 1.3 * (recordings.high - recordings.low), "one speaker is judged far worse"


def test_each_mode_has_its_own_temperature() -> None:
    temperatures = found()[1]
    assert set(temperatures) == set(ADAPTIVELY)
    for mode, temperature in temperatures.items():
        by_itself, _ = temperatures_by_hand(mode, np.ones(len(labelled()[0]), dtype=bool))
        assert temperature == pytest.approx(by_itself, rel=1e-4)
    assert len({round(temperature, 3) for temperature in temperatures.values()}) == 4, (
        "else this could not tell them apart"
    )


def test_few_recordings_of_a_speaker_are_less_help_than_all() -> None:
    (truth, speakers), report = labelled(), found()[0]
    assert list(report.by_files) == [1, 3, 10]
    assert report.by_files[1] == uar_interval(truth, guesses(by_hand()["one"]), list(speakers))
    few, many = (report.by_files[k].estimate for k in (1, 10))
    assert few + 0.05 < many, "speakers differ more than emotions do"
    assert many <= report.modes["speaker-adaptive"].uar.estimate + 0.05
    assert found()[0].by_files == expected(*world())[0].by_files, "the draw is the same each time"


@pytest.mark.parametrize(("each", "counts"), [(6, [1, 3]), (10, [1, 3]), (11, [1, 3, 10])])
def test_as_many_recordings_as_speakers_have_are_not_few(each: int, counts: list[int]) -> None:
    assert list(expected(*world(each))[0].by_files) == counts


@pytest.mark.parametrize("grouped", [True, False])
def test_modes_relative_to_the_speaker_are_tested_where_one_is_known(grouped: bool) -> None:
    """Some recordings have no speaker; where they have no group either, they are not tested."""
    table, views, targets = world()
    missing = np.arange(len(table)) // 3 % 3 == 0
    some = table.assign(speaker=table["speaker"].where(~missing, ""))
    some["group"] = table["speaker"] if grouped else some["speaker"]
    data = recordings(some, views, targets, [str(row) for row in range(len(table))])
    report, temperatures = evaluated(data, LABELS, SemiSupervisedConfig(), run=True, allow_overlap=not grouped)
    assert not report.overlap, "who is known needs no other test"
    assert list(report.modes) == list(ADAPTIVELY)
    assert report.modes["inductive"].resampled == ("speakers and groups" if grouped else "speakers")
    adaptive = report.modes["speaker-adaptive"]
    assert adaptive.resampled == "speakers"
    assert sum(n for _, n in adaptive.by_speaker.values()) == np.sum((targets >= 0) & ~missing)
    assert list(report.by_files) == [1, 3, 10]
    assert len({1.0, *temperatures.values()}) == 5


@pytest.mark.parametrize("named", [8, EACH])
def test_a_mode_relative_to_the_speaker_that_few_can_test_has_the_inductive_temperature(named: int) -> None:
    """Too few labelled recordings have a speaker, or all of them have the same."""
    table, views, targets = world()
    missing = np.arange(len(table)) // 3 % 3 == 0
    some = table.assign(speaker=table["speaker"].where(~missing, ""), group=table["speaker"])
    few = np.where(missing | (np.arange(len(table)) < named), targets, -1)
    assert (named == EACH) == (np.sum((few >= 0) & ~missing) >= FEWEST_LABELS)
    data = recordings(some, views, few, [str(row) for row in range(len(table))])
    report, temperatures = evaluated(data, LABELS, SemiSupervisedConfig(), run=True, allow_overlap=False)
    assert set(report.modes) == set(ALONE)
    assert not report.by_files
    assert any("What to expect where recordings are judged relative to their speaker" in note for note in report.notes)
    assert temperatures["speaker-adaptive"] == temperatures["inductive"] != 1.0
    assert temperatures["transductive"] == temperatures["transductive, alone"] != 1.0


def test_labels_are_hidden_as_they_are_missing() -> None:
    """Where most recordings without a label are of speakers who have none, what trains is tested by speaker."""
    table, views, targets = world()
    few = np.where(table["speaker"] < "S2", targets, -1)
    report, temperatures = expected(table, views, few)
    known = few >= 0
    raw = np.zeros((len(table), 3))
    for name in ("S0", "S1"):
        out = np.array(table["speaker"] == name)
        model = fit_semisupervised(Fusion(views, list(table["speaker"])), np.where(out, -1, few), 3)
        raw[out] = model.probabilities(views, "inductive")[out]
    truth = [LABELS[t] for t in few[known]]
    alone = report.modes["transductive, alone"]
    assert alone.uar == uar_interval(truth, guesses(raw[known]), list(table["speaker"][known]))
    assert temperatures["transductive, alone"] == pytest.approx(fit_temperature(truth, raw[known], LABELS), rel=1e-9)
    assert (alone.folds, report.folds, alone.hidden) == (2, 2, "no_label")
    usual = found()[0].modes["transductive, alone"]
    assert (usual.folds, usual.hidden) == (5, "labels_kept")


def nameless() -> tuple[pd.DataFrame, dict[str, np.ndarray], np.ndarray]:
    """`world`, in which only labelled recordings have a speaker."""
    table, views, targets = world()
    unknown = targets < 0
    blank = {name: table[name].where(~unknown, "") for name in ("speaker", "group")}
    return table.assign(**blank), views, targets


def test_where_those_without_a_label_have_no_speaker_speakers_are_hidden_too() -> None:
    table, views, targets = nameless()
    report, temperatures = expected(table, views, targets)
    assert list(report.modes) == ["inductive", "speaker-adaptive", "transductive, alone"]
    parts, known = np.array(_parts(targets, list(table["path"]))), np.flatnonzero(targets >= 0)
    raw = np.zeros((len(table), 3))
    for name in set(parts):
        out = parts == name
        whose = list(table["speaker"].where(~out, ""))
        model = fit_semisupervised(Fusion(views, whose), np.where(out, -1, targets), 3)
        raw[out] = model.probabilities(views, "inductive")[out]
    truth, alone = [LABELS[t] for t in targets[known]], report.modes["transductive, alone"]
    assert alone.uar == uar_interval(truth, guesses(raw[known]), list(table["speaker"][known]))
    assert temperatures["transductive, alone"] == pytest.approx(fit_temperature(truth, raw[known], LABELS), rel=1e-9)
    assert temperatures["transductive"] == temperatures["speaker-adaptive"] != temperatures["inductive"]
    assert (alone.folds, alone.hidden) == (5, "nameless")
    assert "47 recordings without a speaker: not used to find out what to expect of new speakers." in report.notes


def test_of_those_without_a_label_who_have_a_speaker_what_trained_is_tested_with_speakers() -> None:
    """Most of them have none, which says nothing of how the others are judged."""
    table, views, targets = world()
    unknown = (targets < 0) & (np.arange(len(table)) % 4 > 0)
    some = table.assign(**{name: table[name].where(~unknown, "") for name in ("speaker", "group")})
    report, temperatures = expected(some, views, targets)
    assert {mode: one.hidden for mode, one in report.modes.items() if "transductive" in mode} == {
        "transductive": "labels_kept",
        "transductive, alone": "nameless",
    }
    assert len({*temperatures.values(), 1.0}) == 5
    parts, known = np.array(_parts(targets, list(table["path"]))), np.flatnonzero(targets >= 0)
    raw, whose = np.zeros((len(table), 3)), list(some["speaker"])
    named = np.flatnonzero(some["speaker"] != "")
    for name in set(parts):
        out = named[parts[named] == name]
        model = fit_semisupervised(Fusion(views, whose), np.where(parts == name, -1, targets), 3)
        own = {label: values[named] for label, values in views.items()}
        said = model.probabilities(own, "speaker-adaptive", [whose[row] for row in named])
        raw[out] = said[np.searchsorted(named, out)]
    truth = [LABELS[t] for t in targets[known]]
    assert report.modes["transductive"].uar == uar_interval(truth, guesses(raw[known]), list(table["speaker"][known]))
    assert any(f"Who speaks is not known of {unknown.sum()} recordings without a label." in n for n in report.notes)
    assert (report.n_recordings, report.n_speakers) == (len(table), SPEAKERS)


def test_recordings_whose_label_was_dropped_are_of_no_emotion_that_is_learnt() -> None:
    """They have one, so what to expect of the others says nothing of them."""
    table, views, targets = world()
    dropped = table.assign(original_emotion=table["emotion"].where(targets >= 0, "fear"))
    assert list(expected(dropped, views, targets)[0].modes) == ["inductive", "speaker-adaptive"]
    dropped.loc[np.flatnonzero(targets < 0)[0], "original_emotion"] = ""
    assert expected(dropped, views, targets)[0].modes == found()[0].modes


def test_that_some_are_of_speakers_without_any_label_is_said() -> None:
    """Labels are hidden as most are missing; of the others that promises too much."""
    table, views, targets = world()
    few = np.where(table["speaker"] == "S0", -1, targets)
    notes = expected(table, views, few)[0].notes
    others, missing = int((table["speaker"] == "S0").sum()), int((few < 0).sum())
    assert any(
        f"{others} of the {missing} recordings without a label are of speakers who have none" in n for n in notes
    )
    assert not any("of speakers who have none at all" in note for note in found()[0].notes)


def test_nothing_is_said_of_unlabelled_recordings_where_there_are_none() -> None:
    table, views, targets = world()
    rows = np.flatnonzero(targets >= 0)
    given = table.iloc[rows].reset_index(drop=True), {label: v[rows] for label, v in views.items()}, targets[rows]
    report, temperatures = expected(*given)
    assert list(report.modes) == ["inductive", "speaker-adaptive"]
    assert temperatures["transductive"] == temperatures["speaker-adaptive"] != 1.0
    assert temperatures["transductive, alone"] == temperatures["inductive"] != 1.0


def test_folds_by_file_say_nothing_of_speakers() -> None:
    """Labels of one known speaker and of unknown ones."""
    table, views, targets = world()
    nobody = table["speaker"] > "S2"
    some = table.assign(**{name: table[name].where(~nobody, "") for name in ("speaker", "group")})
    labels = np.where(nobody | (table["speaker"] == "S0"), targets, -1)
    data = recordings(some, views, labels, [str(row) for row in range(len(table))])
    report, temperatures = evaluated(data, LABELS, SemiSupervisedConfig(), run=True, allow_overlap=True)
    assert report.notes[0].startswith("SPEAKER OVERLAP: tested")
    assert set(report.modes) == set(ALONE)
    assert not report.by_files
    assert report.modes["inductive"].resampled == "speakers and files"
    assert temperatures["speaker-adaptive"] == temperatures["inductive"] != 1.0


def noted(data: Recordings, allow: bool = False) -> tuple[FitReport, str]:
    report = evaluated(data, LABELS, SemiSupervisedConfig(), run=True, allow_overlap=allow)[0]
    return report, " ".join(report.notes)


def test_the_calibration_error_that_chance_gives() -> None:
    """Few recordings of exactly right probabilities seem to be off, many don't; right probabilities seem as off as that."""
    random = np.random.default_rng(1)
    sure = random.dirichlet([1, 1, 1], 4000)
    few, many = (_calibration_error_by_chance(sure[:n], LABELS) for n in (40, 4000))
    assert many < 0.02 < 0.08 < few < 0.25
    drawn = [
        expected_calibration_error([LABELS[random.choice(3, p=p)] for p in sure[start : start + 40]], part, LABELS)
        for start in range(0, 4000, 40)
        for part in [sure[start : start + 40]]
    ]
    assert np.mean(drawn) == pytest.approx(few, abs=0.02)
    for mode in found()[0].modes.values():
        assert 0 < mode.error_by_chance < 0.2


def test_one_group_of_several_speakers_is_called_what_it_is() -> None:
    table, views, targets = world()
    one = table.assign(group="one")
    _, notes = noted(recordings(one, views, targets, [str(row) for row in range(len(table))]))
    assert "Labels from one group (column 'group')" in notes
    assert "Leave the column out to test by speaker." in notes


def test_that_one_speaker_has_most_labels_is_said() -> None:
    table, views, targets = world()
    keys = [str(row) for row in range(len(table))]
    few = np.where((table["speaker"] == "S0") | (np.arange(len(table)) % EACH < 4), targets, -1)
    counts = table["speaker"][few >= 0].value_counts()
    said = f"{counts['S0']} of the {counts.sum()} labelled recordings that test it are of one speaker"
    assert (said in noted(recordings(table, views, few, keys))[1]) == (counts["S0"] > 0.6 * counts.sum())
    fewer = np.where((table["speaker"] == "S0") | (np.arange(len(table)) % EACH < 3), targets, -1)
    counts = table["speaker"][fewer >= 0].value_counts()
    assert counts["S0"] > 0.6 * counts.sum()
    said = f"{counts['S0']} of the {counts.sum()} labelled recordings that test it are of one speaker"
    assert said in noted(recordings(table, views, fewer, keys))[1]
    assert "are of one speaker" not in noted(recordings(table, views, targets, keys))[1]


def test_groups_of_one_recording_each_are_no_speakers() -> None:
    table, views, targets = world()
    each = table.assign(speaker="", group=table["id"])
    keys = [str(row) for row in range(len(table))]
    report, notes = noted(recordings(each, views, targets, keys))
    assert not report.modes
    assert "Recordings without a speaker: folds by file would test on voices that trained" in notes
    pairs = table.assign(speaker="", group=table["speaker"])
    report, notes = noted(recordings(pairs, views, targets, keys))
    assert report.modes["inductive"].resampled == "groups"
    assert report.strangers == "recordings of other groups"
    assert "if a speaker is in two groups, the scores are too good" in notes


def test_where_labels_are_of_unknown_speakers_the_way_out_is_said() -> None:
    table, views, targets = world()
    nobody = table["speaker"] > "S2"
    some = table.assign(**{name: table[name].where(~nobody, "") for name in ("speaker", "group")})
    keys = [str(row) for row in range(len(table))]
    report, notes = noted(recordings(some, views, np.where(nobody, targets, -1), keys))
    assert not report.modes
    assert "No labelled recording has a speaker" in notes
    assert "--allow-speaker-overlap" in notes
    rare = np.where(nobody | (np.arange(len(table)) % EACH < 3), targets, -1)  # a few labels of three speakers
    assert len({*table["speaker"][~nobody & (rare >= 0)]}) > 1
    report, notes = noted(recordings(some, views, rare, keys))
    assert "at least 10 are needed to say what to expect" in notes
    assert "or allow tests by file (--allow-speaker-overlap)" in notes
    assert not report.overlap
    assert noted(recordings(some, views, rare, keys), allow=True)[0].overlap


def test_an_emotion_that_is_not_tested_is_named() -> None:
    table, views, targets = world()
    nobody = targets == 0
    some = table.assign(**{name: table[name].where(~nobody, "") for name in ("speaker", "group")})
    report, notes = noted(recordings(some, views, targets, [str(row) for row in range(len(table))]))
    assert report.modes
    assert report.strangers == "new speakers"
    assert "None of the tested recordings is labelled anger: the numbers are of the other emotions." in notes
    assert "--allow-speaker-overlap" not in notes, "which would change nothing"


def test_one_emotion_or_one_speaker_tests_nothing() -> None:
    table, views, targets = world()
    shown = np.where((table["speaker"] == "S0") | ((table["speaker"] == "S1") & (targets == 0)), targets, -1)
    report, notes = noted(recordings(table, views, shown, [str(row) for row in range(len(table))]))
    assert report.folds == 1, "without the first speaker there is one emotion to learn from"
    assert not report.modes
    assert "of two speakers and two emotions" in notes


@pytest.mark.parametrize("allow", [False, True])
def test_labels_of_one_known_speaker_test_nothing_and_calibrate_nothing(allow: bool) -> None:
    table, views, targets = world()
    one = np.where(table["speaker"] == "S0", targets, -1)
    data = recordings(table, views, one, [str(row) for row in range(len(table))])
    report, temperatures = evaluated(data, LABELS, SemiSupervisedConfig(), run=True, allow_overlap=allow)
    assert not report.modes
    assert set(temperatures.values()) == {1.0}
    assert report.notes[0].startswith("Labels from 1 speaker: ")
    assert UNCALIBRATED in report.notes


def test_others_are_of_the_same_speaker_each_once() -> None:
    speakers = ["Ann", "Bob"] * (DRAWS_AT_ONCE + 3) + ["Cy", "Cy"]
    asked = np.flatnonzero(np.arange(len(speakers)) % 3 > 0)
    heard: dict[int, dict[int, list[int]]] = {}

    class Listener:
        """Says of each row which number it has; notes with whom it came."""

        def probabilities(self, views: Mapping[str, np.ndarray], mode: str, names: Sequence[str]) -> np.ndarray:
            assert mode == "speaker-adaptive"
            numbers = views["number"][:, 0].astype(int)
            for name in dict.fromkeys(names):
                row, *others = (n for n, own in zip(numbers.tolist(), names, strict=True) if own == name)
                heard.setdefault(1 + len(others), {})[row] = others
            return views["number"]

    views = {"number": np.arange(len(speakers), dtype=float)[:, None]}
    found = _with_few_files(Listener(), views, speakers, asked, (1, 2, 5), np.random.default_rng(0))  # type: ignore[arg-type]
    for said in found.values():
        assert said[:, 0].tolist() == asked.tolist()
    assert set(heard[1]) == set(asked.tolist())
    assert set(heard[2]) == set(asked.tolist())
    many = [row for row in asked.tolist() if speakers[row] != "Cy"]
    assert list(heard[5]) == many, "of Cy there are two in all"
    for row, others in heard[5].items():
        assert len({row, *others}) == 5
        assert {speakers[other] for other in others} == {speakers[row]}
        assert others[:1] == heard[2][row], "those of fewer are among those of more"
    assert len({tuple(others) for others in heard[5].values()}) > len(many) / 2, "each has others"


def test_scores_are_of_the_recordings_of_each_speaker() -> None:
    (truth, speakers), guess = labelled(), guesses(by_hand()["speaker-adaptive"])
    for name, (score, n) in found()[0].modes["speaker-adaptive"].by_speaker.items():
        own = np.flatnonzero(speakers == name)
        assert n == len(own)
        assert score == pytest.approx(uar([truth[row] for row in own], [guess[row] for row in own]))


@pytest.mark.parametrize(("right", "told"), [(0.1, True), (0.6, False)])
def test_a_mode_that_only_guesses_is_warned_of(right: float, told: bool) -> None:
    truth = np.tile(np.arange(3), 60)
    guess = np.where(np.random.default_rng(0).random(180) < right, truth, (truth + 1) % 3)
    tested = pd.DataFrame({"speaker": [f"S{n % 6}" for n in range(180)], "gender": ""})
    report = _mode_report(tested, list(tested["speaker"]), [LABELS[n] for n in truth], np.eye(3)[guess], LABELS)
    assert ("It does no better than guessing (0.333)." in report.warnings) == told


PEOPLE = np.repeat(np.arange(8), 24)


def scored(genders: Sequence[str], right: np.ndarray) -> ModeReport:
    """Eight speakers with 24 recordings each, all of two emotions; `right` of them are recognised."""
    truth = ["anger" if n % 2 else "joy" for n in range(len(PEOPLE))]
    said = np.array([[0.2, 0.8] if (t == "joy") == r else [0.8, 0.2] for t, r in zip(truth, right, strict=True)])
    speakers = [f"S{who}" for who in PEOPLE]
    tested = pd.DataFrame({"speaker": speakers, "gender": list(genders)})
    return _mode_report(tested, speakers, truth, said, ("anger", "joy"))


def differences(report: ModeReport) -> list[str]:
    return [warning for warning in report.warnings if warning.startswith("UAR differs")]


def right_of(shares: Sequence[float]) -> np.ndarray:
    """`(rows,)` whether a recording is recognised, of each speaker this share of each emotion, the same ones each time."""
    return np.array([n % 24 // 2 < 12 * shares[who] for n, who in enumerate(PEOPLE)])


FEMALE = ["female" if who % 2 else "male" for who in PEOPLE]


def test_genders_that_differ_beyond_chance_are_warned_of() -> None:
    differ = right_of([0.4, 0.9, 0.45, 0.95, 0.5, 0.85, 0.42, 0.8])
    [by_speaker, by_gender] = differences(scored(FEMALE, differ))
    assert by_speaker.startswith("UAR differs by speaker beyond chance")
    assert by_gender.startswith("UAR differs by gender beyond chance (p = 0.0")
    assert "for male (n 96), " in by_gender
    # The same differences between people, which do not go with their gender.
    assert not any("gender" in w for w in scored(["female" if who < 4 else "male" for who in PEOPLE], differ).warnings)


def test_one_odd_cell_is_no_other_gender() -> None:
    """Of a speaker the usual one counts, also where a cell is empty or spelt otherwise."""
    even = right_of([0.5] * 8)
    even[0] = not even[0]
    odd = ["n/a" if row == 0 else "" if row % 3 == 1 else (FEMALE[row].upper() if row % 2 else FEMALE[row][0]) if row % 5 == 0 else FEMALE[row] for row in range(len(FEMALE))]  # fmt: skip # noqa: E501
    found, clean = scored(odd, even), scored(FEMALE, even)
    assert found == clean
    assert set(found.by_gender) == {"female", "male"}
    assert not differences(found)


def test_of_few_speakers_no_difference_of_genders_is_told() -> None:
    """With three women and a man, one arrangement in four differs as much."""
    few = PEOPLE < 4
    genders = ["male" if who == 0 else "female" for who in PEOPLE[few]]
    right = right_of([0.1, 1, 1, 1, 0, 0, 0, 0])[few]
    truth = ["anger" if n % 2 else "joy" for n in range(len(right))]
    said = np.array([[0.2, 0.8] if (t == "joy") == r else [0.8, 0.2] for t, r in zip(truth, right, strict=True)])
    speakers = [f"S{who}" for who in PEOPLE[few]]
    tested = pd.DataFrame({"speaker": speakers, "gender": genders})
    found = _mode_report(tested, speakers, truth, said, ("anger", "joy"))
    assert [warning.partition(" beyond")[0] for warning in differences(found)] == ["UAR differs by speaker"]
    table, views, targets = world()
    few_speakers = table.assign(gender=["male" if name == "S0" else "female" for name in table["speaker"]])
    told = "6 speakers: too few to tell whether genders are recognised equally well."
    assert any(told in note for note in expected(few_speakers, views, targets)[0].notes)
    nobody = few_speakers.assign(speaker="", group=table["speaker"])
    assert (
        "Whether genders are recognised equally well can't be told where speakers are unknown."
        in expected(nobody, views, targets)[0].notes
    )
    enough = table.assign(gender=["male" if name < "S3" else "" for name in table["speaker"]])
    assert not any("genders" in note for note in expected(enough, views, targets)[0].notes)


def test_several_tests_of_a_mode_are_corrected_and_those_not_made_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """p is 0.03 of speakers, 0.2 of genders: by Holm 0.06 together, 0.03 of speakers alone."""
    monkeypatch.setattr(
        expectation, "_differ_by_chance", lambda right, truth, names, clusters: 0.2 if clusters else 0.03
    )
    even = right_of([0.6] * 8)
    assert not differences(scored(FEMALE, even))
    [warning] = differences(scored([""] * len(FEMALE), even))
    assert "by speaker beyond chance (p = 0.030)" in warning
    monkeypatch.setattr(
        expectation, "_differ_by_chance", lambda right, truth, names, clusters: 0.03 if clusters else 1.0
    )
    once = pd.DataFrame({"speaker": [f"S{n}" for n in range(len(FEMALE))], "gender": FEMALE})  # nothing to shuffle
    truth = ["anger" if n % 2 else "joy" for n in range(len(FEMALE))]
    said = np.array([[0.8, 0.2] if t == "anger" else [0.2, 0.8] for t in truth])
    [warning] = differences(_mode_report(once, list(once["speaker"]), truth, said, ("anger", "joy")))
    assert "by gender beyond chance (p = 0.030)" in warning


def test_an_interval_that_holds_chance_is_warned_of() -> None:
    truth = np.tile(np.arange(3), 20)
    guess = np.where(np.random.default_rng(0).random(60) < 0.42, truth, (truth + 1) % 3)
    speakers = np.repeat([f"S{n}" for n in range(4)], 15)
    guess[speakers == "S0"] = (truth[speakers == "S0"] + 1) % 3
    guess[speakers == "S3"] = truth[speakers == "S3"]
    tested = pd.DataFrame({"speaker": speakers, "gender": ""})
    report = _mode_report(tested, list(speakers), [LABELS[n] for n in truth], np.eye(3)[guess], LABELS)
    assert report.uar.low < 1 / 3 < report.uar.estimate
    assert "It may do no better than guessing (0.333), which lies in the interval." in report.warnings
    surer = _mode_report(tested, list(speakers), [LABELS[n] for n in truth], np.eye(3)[truth], LABELS)
    assert surer.uar.low > 1 / 3
    assert not surer.warnings


def test_chance_is_the_same_in_every_process() -> None:
    """The order of a set of texts is not."""
    program = (
        "import numpy as np; from emoviews.expectation import _differ_by_chance; random = np.random.default_rng(0); "
        "print(_differ_by_chance(random.random(90) < 0.5, list('abc') * 30, [str(n) for n in random.integers(0, 5, 90)], None))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in range(3)
    }
    assert len(said) == 1


# Windows of one file


def windows(seconds: float = 2.0) -> tuple[pd.DataFrame, dict[str, np.ndarray], np.ndarray]:
    """24 files of unknown speakers, each with twelve windows that are nearly one and have one label, which means nothing."""
    random = np.random.default_rng(0)
    file, turn = np.repeat(np.arange(24), 12), np.tile(np.arange(12), 24)
    values = random.normal(size=(24, 60))[file] + 0.1 * random.normal(size=(len(file), 60))
    rows = [
        {"path": f"{f}.wav", "start_seconds": t, "end_seconds": t + seconds, "emotion": LABELS[f % 3]}
        for f, t in zip(file, turn, strict=True)
    ]
    return make_table(rows), {"mfcc": values}, file % 3


def without_speakers(
    table: pd.DataFrame, views: Mapping[str, np.ndarray], targets: np.ndarray, keys: Sequence[str] = ()
) -> FitReport:
    keys = keys or [str(row) for row in range(len(table))]
    data = recordings(table, views, targets, keys)
    return evaluated(data, LABELS, SemiSupervisedConfig(), run=True, allow_overlap=True)[0]


def test_windows_of_a_file_and_copies_are_tested_together_and_are_one_in_the_interval() -> None:
    table, views, targets = windows()
    apart = table.assign(path=[f"/{row}.wav" for row in range(len(table))], start_seconds=np.nan, end_seconds=np.nan)
    assert without_speakers(apart, views, targets).modes["inductive"].uar.estimate > 0.9, "recognised by their file"
    copies = [str(row // 12) for row in range(len(table))]
    for report in (without_speakers(table, views, targets), without_speakers(apart, views, targets, keys=copies)):
        found = report.modes["inductive"].uar
        assert found.estimate < 0.6, "the label of a file that did not train means nothing"
        assert found.high - found.low > 0.25, "24 files, not 288 recordings"


def test_labels_of_one_file_test_nothing() -> None:
    table, views, targets = windows()
    report = without_speakers(table.assign(path="one.wav"), views, np.arange(len(targets)) % 3)
    assert not report.modes
    assert any(note.startswith("Labels from 1 file: ") for note in report.notes)


def test_parts_have_the_same_share_of_each_class_and_no_file_twice() -> None:
    random = np.random.default_rng(1)
    targets, files = random.integers(-1, 3, 300), [str(n) for n in random.integers(0, 60, 300)]
    parts = np.array(_parts(targets, files))
    assert len(set(parts)) == 5
    assert len({*zip(parts, files, strict=True)}) == len(set(files))
    for target in range(-1, 3):
        sizes = [np.sum((targets == target) & (parts == part)) for part in set(parts)]
        assert max(sizes) - min(sizes) < 0.5 * np.mean(sizes)
    assert set(_parts(np.array([0, 1, 0, 1, -1]), list("aabbb"))) == {"part 0", "part 1"}
    assert _parts(np.array([0, 1]), list("ab")) == ["part 0", "part 0"]


def test_rows_of_a_file_whose_times_overlap_share_a_stretch() -> None:
    nan = np.nan
    rows = [
        ("a", 0, 4, nan, 1),
        ("a", 6, 8, nan, 2),  # begins when the last but one ended
        ("a", 3.95, 5, nan, 4),  # a word in another's last syllable
        ("a", 1, 2, nan, 1),  # within
        ("a", 7, 9, nan, 2),
        ("b", 0, 4, nan, 3),
        ("c", nan, nan, 0, 5),  # the whole channel
        ("c", 50, 60, 0, 5),
        ("c", 50, 60, 1, 6),
    ]
    names = ("path", "start_seconds", "end_seconds", "channel")
    table = pd.DataFrame([row[:4] for row in rows], columns=[*names])
    found, expected = _stretches(table), [row[4] for row in rows]
    assert len(set(found)) == 6
    assert len({*zip(found, expected, strict=True)}) == 6


def test_groups_with_times_of_a_file_that_overlap_are_left_out_together() -> None:
    table, views, targets = world()
    start = np.arange(len(table), dtype=float)
    apart = table.assign(path="one.wav", start_seconds=start, end_seconds=start + 1)
    assert expected(apart, views, targets)[0].folds == SPEAKERS
    over = apart.assign(end_seconds=start + 1 + 0.5 * (np.arange(len(table)) == EACH - 1))
    report = expected(over, views, targets)[0]
    assert report.folds == SPEAKERS - 1
    assert any("share a speaker or a recording" in note for note in report.notes)


def test_threads_change_nothing_but_the_time() -> None:
    table, views, targets = world()
    data = recordings(table, views, targets, [str(row) for row in range(len(table))])
    one, three = (
        evaluated(data, LABELS, SemiSupervisedConfig(), run=True, allow_overlap=False, workers=workers)
        for workers in (1, 3)
    )
    assert one == three


def test_threads_are_few_since_each_takes_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    table, views, targets = world()
    asked: list[int] = []

    class Pool(expectation.ThreadPool):
        def __init__(self, threads: int) -> None:
            asked.append(threads)
            super().__init__(threads)

    monkeypatch.setattr(expectation, "ThreadPool", Pool)
    for judge in ("_judge_new", "_judge_trained"):
        monkeypatch.setattr(expectation, judge, lambda *_: None)
    data = recordings(table, views, targets, [str(row) for row in range(len(table))])
    for workers in (1, 2, 64):
        evaluated(data, LABELS, SemiSupervisedConfig(), run=True, allow_overlap=False, workers=workers)
    assert asked == [1, 2, 4]


def test_views_are_left_as_they_are() -> None:
    """Folds share them, on several threads."""
    table, views, targets = world()
    copies = [{label: 1.1 * values for label, values in views.items()}]
    for values in (*views.values(), *copies[0].values()):
        values.setflags(write=False)
    keys = [str(row) for row in range(len(table))]
    data = Recordings(table, Fusion(views, list(table["speaker"]), list(table["text"]), copies), targets, keys)
    assert evaluated(data, LABELS, SemiSupervisedConfig(), run=True, allow_overlap=True)[0].modes
