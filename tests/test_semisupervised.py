"""Recordings without labels help; what speakers stand for is found out; modes keep apart."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from emoviews.fusion import Fusion, apart, rows_by
from emoviews.metrics import uar
from emoviews.semisupervised import FEWEST_BESIDE, ModeModel, SemiSupervisedConfig, fit_semisupervised


def world(seed: int = 0, nested: bool = False) -> tuple[dict[str, np.ndarray], np.ndarray, list[str], list[str]]:
    """Eight speakers, three emotions; `nested`: each speaker shows one."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(8), 30)
    felt = who % 3 if nested else np.tile(np.arange(30) % 3, 8)
    emotions = 1.2 * np.random.default_rng(99).normal(size=(3, 10))
    latent = emotions[felt] + (0.3 if nested else 2) * rng.normal(size=(8, 10))[who] + rng.normal(size=(240, 10))
    picture = np.random.default_rng(7).normal(size=(2, 10, 14))
    return {"egemaps": latent @ picture[0], "mfcc": latent @ picture[1]}, felt, [f"S{w}" for w in who], [""] * 240


def few(felt: np.ndarray, speakers: list[str], each: int) -> np.ndarray:
    targets = np.full(len(felt), -1)
    for label in range(3):
        rows = np.flatnonzero(felt == label)
        targets[rows[:: len(rows) // each][:each]] = label
    return targets


def test_recordings_without_labels_help() -> None:
    scores = []
    for config in (SemiSupervisedConfig(), SemiSupervisedConfig(unlabelled_weight=0.0, smooth_predictions=False)):
        own = []
        for seed in range(4):
            views, felt, speakers, texts = world(seed)
            train, test = np.arange(180), np.arange(180, 240)
            part = {name: values[train] for name, values in views.items()}
            model = fit_semisupervised(
                Fusion(part, speakers[:180], texts[:180]), few(felt[train], speakers, 4), 3, config
            )
            held = {name: values[test] for name, values in views.items()}
            p = model.probabilities(held, "speaker-adaptive", speakers[180:])
            own.append(uar(felt[test], p.argmax(axis=1)))
        scores.append(np.mean(own))
    assert scores[0] > scores[1] + 0.03


@pytest.mark.parametrize("several", [1, 2, FEWEST_BESIDE, FEWEST_BESIDE + 1])
def test_speakers_of_one_recording_each_are_judged_alone(several: int) -> None:
    """One speaker has several, which may be too few to tell how a speaker's recordings differ."""
    views, felt, _, _ = world()
    speakers = ["Ann"] * several + [f"S{row}" for row in range(several, 240)]
    model = fit_semisupervised(Fusion(views, speakers), few(felt, speakers, 20), 3)
    assert model.modes["speaker-adaptive"].adaptive == (several > FEWEST_BESIDE)
    said = model.probabilities(views, "speaker-adaptive", speakers)
    assert uar(felt, said.argmax(axis=1)) > 0.5
    if several <= FEWEST_BESIDE:
        assert said == pytest.approx(fit_semisupervised(Fusion(views, [""] * 240), few(felt, speakers, 20), 3).probabilities(views, "inductive"))  # fmt: skip # noqa: E501


def test_copies_stand_for_voices_that_are_not_there() -> None:
    """Few speakers whose voices happen to go with emotions: copies with other voices keep a student from learning the voice."""
    rng = np.random.default_rng(0)
    voice, emotions = rng.normal(size=12), 1.5 * rng.normal(size=(3, 12))

    def said(count: int, spread: float) -> tuple[np.ndarray, np.ndarray, list[str]]:
        felt = np.tile(np.arange(60) % 3, count)
        who = np.repeat(np.arange(count), 60)
        values = (
            emotions[felt] + np.outer(spread * rng.normal(size=count)[who], voice) + rng.normal(size=(len(felt), 12))
        )
        return values, felt, [f"S{w}" for w in who]

    scores = {}
    for _ in range(4):
        values, felt, speakers = said(3, 0.3)
        new, asked, _ = said(8, 4.0)
        targets, texts = few(felt, speakers, 6), [""] * len(felt)
        moved = [{"mfcc": values + step * voice} for step in (-3.0, 3.0)]
        for name, copies in (("with", moved), ("without", [])):
            views = {"mfcc": values, "compare_2016": values}
            model = fit_semisupervised(Fusion(views, speakers, texts, copies), targets, 3)
            p = model.probabilities({"mfcc": new, "compare_2016": new}, "inductive")
            scores.setdefault(name, []).append(uar(asked, p.argmax(axis=1)))
            used = {n for space, _ in model.modes["inductive"].members for n in space.maps}
            assert used == ({"mfcc"} if copies else {"mfcc", "compare_2016"})
    assert np.mean(scores["with"]) > np.mean(scores["without"]) + 0.05


def test_speakers_that_show_one_emotion_each_are_not_removed() -> None:
    views, felt, speakers, texts = world(nested=True)
    model = fit_semisupervised(Fusion(views, speakers, texts), few(felt, speakers, 10), 3)
    assert model.speaker_confounding > 0.5
    assert not model.modes["speaker-adaptive"].adaptive
    p = model.probabilities(views, "speaker-adaptive", speakers)
    assert uar(felt, p.argmax(axis=1)) > 0.7
    crossed, felt, speakers, texts = world()
    model = fit_semisupervised(Fusion(crossed, speakers, texts), few(felt, speakers, 10), 3)
    assert model.modes["speaker-adaptive"].adaptive


def test_inductive_rows_do_not_see_each_other_and_speakers_do_not_mix() -> None:
    views, felt, speakers, texts = world()
    model = fit_semisupervised(Fusion(views, speakers, texts), few(felt, speakers, 8), 3)
    whole = model.probabilities(views, "inductive")
    assert model.probabilities({n: v[5:6] for n, v in views.items()}, "inductive") == pytest.approx(whole[5:6])
    adaptive = model.probabilities(views, "speaker-adaptive", speakers)
    for rows in rows_by(speakers)[:2]:
        own = model.probabilities({n: v[rows] for n, v in views.items()}, "speaker-adaptive", ["x"] * len(rows))
        assert own == pytest.approx(adaptive[rows])
    assert np.isfinite(model.probabilities({n: v[:1] for n, v in views.items()}, "speaker-adaptive", ["x"])).all()


def test_unknown_speakers_are_nobody_in_particular() -> None:
    views, felt, _, texts = world()
    model = fit_semisupervised(Fusion(views, [""] * 240, texts), few(felt, [], 8), 3)
    assert not model.modes["inductive"].adaptive
    assert not model.modes["speaker-adaptive"].adaptive
    assert len(set(apart(["", "a", "", "a"]))) == 3


def test_designed_views_also_judge_by_themselves() -> None:
    views, felt, speakers, texts = world()
    views |= {"compare_2016": views["egemaps"] + 0.1 * np.random.default_rng(1).normal(size=(240, 14))}
    targets = few(felt, speakers, 8)
    model = fit_semisupervised(Fusion(views, speakers, texts), targets, 3).modes["speaker-adaptive"]
    assert [list(space.maps) for space, _ in model.members] == [[*views], ["egemaps"], ["compare_2016"]]
    each = [ModeModel((member,)).log_probabilities(views, speakers) for member in model.members]
    assert model.log_probabilities(views, speakers) == pytest.approx(np.mean(each, axis=0))
    assert model.judged(views, speakers)[1] == pytest.approx(model.members[0][0].vectors(views, speakers))
    together = fit_semisupervised(Fusion(views, speakers, texts), targets, 3, SemiSupervisedConfig(views_apart=False))
    assert [list(space.maps) for space, _ in together.modes["speaker-adaptive"].members] == [[*views]]


@pytest.mark.parametrize(
    ("said", "removed"),
    [
        ("every sentence with all emotions", True),
        ("each once", False),
        ("every sentence with one emotion", False),
        ("each once with one emotion", False),
        ("by unknown speakers", False),
    ],
)
def test_what_tells_sentences_apart_goes_where_they_do_not_tell_the_emotion(said: str, removed: bool) -> None:
    views, felt, speakers, _ = world()
    turn = np.arange(240) % 30
    if said == "each once":
        texts = [f"text {n}" for n in turn]
        felt = np.concatenate([np.roll(felt[:30], speaker) for speaker in range(8)])
    elif said == "each once with one emotion":
        texts = [f"text {n}" for n in turn]
    elif said == "every sentence with one emotion":
        texts = [f"text {label} {n % 2}" for label, n in zip(felt, turn, strict=True)]
    else:
        texts = [f"text {n // 3 % 5}" for n in turn]
    if said == "by unknown speakers":
        speakers = [""] * 240
    targets = few(felt, speakers, 8)
    one, two = (
        fit_semisupervised(Fusion(views, speakers, given), targets, 3).probabilities(
            views, "speaker-adaptive", speakers
        )
        for given in (texts, [""] * 240)
    )
    assert bool((one == two).all()) != removed


@pytest.mark.parametrize("field", ["neighbours", "unlabelled_weight"])
def test_parts_can_be_turned_off(field: str) -> None:
    views, felt, speakers, texts = world()
    config = dataclasses.replace(SemiSupervisedConfig(), **{field: 0})
    model = fit_semisupervised(Fusion(views, speakers, texts), few(felt, speakers, 8), 3, config)
    p = model.probabilities(views, "speaker-adaptive", speakers)
    assert np.allclose(p.sum(axis=1), 1)
    assert uar(felt, p.argmax(axis=1)) > 0.5


def test_it_repeats_bit_for_bit() -> None:
    views, felt, speakers, texts = world()
    one, two = (
        fit_semisupervised(Fusion(views, speakers, texts), few(felt, speakers, 5), 3).probabilities(views, "inductive")
        for _ in range(2)
    )
    assert (one == two).all()
