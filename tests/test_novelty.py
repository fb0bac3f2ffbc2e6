"""Other channels and no speech lie farther from the training recordings than new voices do."""

from __future__ import annotations

import numpy as np
import pytest

from emoviews.novelty import FEWEST, Limits, distances, fit_limits, shift

Views = dict[str, np.ndarray]


def voices(count: int, each: int, seed: int) -> tuple[Views, list[str]]:
    """Speakers whose recordings lie around a place of their own, half as far as recordings spread."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(count), each)
    places = 0.5 * rng.normal(size=(count, 40))
    return {"mfcc": places[who] + rng.normal(size=(len(who), 40))}, [f"S{w}" for w in who]


def spreads(views: Views) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {name: (values.mean(axis=0), values.std(axis=0)) for name, values in views.items()}


def limits_of(views: Views, speakers: list[str]) -> Limits:
    return fit_limits(views, speakers, speakers)


def test_a_channel_moves_recordings_farther_than_a_new_voice_does() -> None:
    heard, speakers = voices(8, 30, seed=0)
    limits = limits_of(heard, speakers)
    channel = np.random.default_rng(1).normal(size=40)
    for seed in range(10, 30):
        for each in (FEWEST, 20):
            new, _ = voices(1, each, seed)
            assert shift(spreads(heard), new) < limits.shift
            assert shift(spreads(heard), {"mfcc": new["mfcc"] + channel}) > limits.shift


def test_a_channel_shows_where_no_single_recording_is_far() -> None:
    heard, speakers = voices(8, 30, seed=0)
    limits = limits_of(heard, speakers)
    moved = {"mfcc": voices(1, 20, seed=3)[0]["mfcc"] + 1.0}
    assert (distances(spreads(heard), moved) < limits.outlier).all()
    assert shift(spreads(heard), moved) > limits.shift


def test_few_recordings_are_not_moved_by_chance() -> None:
    """Of one place, five recordings or five hundred: the same shift."""
    rng = np.random.default_rng(0)
    heard = {"mfcc": rng.normal(size=(1000, 300))}
    for n in (5, 500):
        found = [shift(spreads(heard), {"mfcc": 0.5 + rng.normal(size=(n, 300))}) for _ in range(20)]
        assert np.mean(found) == pytest.approx(0.5, abs=0.05)


def test_every_view_counts_as_one() -> None:
    wide, narrow = np.zeros((6, 1000)), np.ones((6, 2))
    scale = {"wide": (np.zeros(1000), np.ones(1000)), "narrow": (np.zeros(2), np.ones(2))}
    assert shift(scale, {"wide": wide, "narrow": narrow}) == pytest.approx(np.sqrt(0.5))
    assert distances(scale, {"wide": wide, "narrow": narrow}) == pytest.approx(np.sqrt(0.5))


def test_training_speakers_do_not_shift_themselves() -> None:
    heard, speakers = voices(
        30, 20, seed=0
    )  # more than the parts that are left out: each speaker is looked at all the same
    limits = limits_of(heard, speakers)
    for name in sorted(set(speakers)):
        own = {"mfcc": heard["mfcc"][[speaker == name for speaker in speakers]]}
        assert shift(spreads(heard), own) < limits.shift


@pytest.mark.parametrize("speakers", [[""] * 40, ["Ann"] * 40, [f"S{n}" for n in range(40)]])
def test_without_speakers_of_several_recordings_nothing_is_called_shifted(speakers: list[str]) -> None:
    heard, _ = voices(2, 20, seed=0)
    limits = limits_of(heard, speakers)
    assert limits.shift == np.inf
    assert 0 < limits.outlier < np.inf


def test_copies_widen_what_is_usual() -> None:
    heard, speakers = voices(8, 30, seed=0)
    copies = [{"mfcc": heard["mfcc"] + step} for step in (-2.0, 2.0)]
    narrow, wide = (fit_limits(heard, speakers, speakers, some) for some in ([], copies))
    assert wide.outlier < narrow.outlier, "distances are counted in deviations, which copies make larger"
    other = {"mfcc": heard["mfcc"], "wide": heard["mfcc"]}
    assert fit_limits(other, speakers, speakers, copies).outlier > wide.outlier, "a view without copies keeps its own"


def test_a_recording_without_a_speaker_takes_nothing_from_the_others() -> None:
    heard, speakers = voices(8, 30, seed=0)
    missing = ["", *speakers[1:]]
    whole, without_one = limits_of(heard, speakers), limits_of(heard, missing)
    assert without_one.shift == pytest.approx(whole.shift, rel=0.05)
    assert without_one.outlier == pytest.approx(whole.outlier, rel=0.05)


def test_two_voices_do_not_say_how_far_voices_lie_apart() -> None:
    assert limits_of(*voices(2, 30, seed=0)).shift == np.inf
    assert limits_of(*voices(3, 30, seed=0)).shift < np.inf
