"""Suggestions: what each strategy promises, against plain definitions."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emoviews import audio
from emoviews.annotation import STRATEGIES, Pool, drawn, margins, shuffled, suggest, suggested
from emoviews.errors import AudioError, UsageError
from emoviews.recognition import Recognised
from emoviews.table import make_table

N = 60
EVERY = pytest.mark.parametrize("strategy", list(STRATEGIES))


@pytest.fixture
def pool() -> Pool:
    rng = np.random.default_rng(0)
    given = rng.dirichlet([1.0] * 4, N)
    speakers = [f"S{i}" for i in rng.integers(0, 5, N)]
    return Pool(rng.standard_normal((N, 8)) * rng.uniform(0.1, 100, 8), rng.random(N) < 0.2, speakers, given)


@EVERY
def test_every_strategy_orders_what_is_not_labelled(pool: Pool, strategy: str) -> None:
    everything = suggest(pool, 10_000, strategy)  # type: ignore[arg-type]
    assert sorted(everything) == pool.candidates.tolist()
    # whoever stops earlier has labelled the same ones
    for budget in (1, 7):
        assert suggest(pool, budget, strategy).tolist() == everything[:budget].tolist()  # type: ignore[arg-type]
    assert suggest(pool, 5, strategy, seed=0).tolist() == everything[:5].tolist()  # type: ignore[arg-type]


def test_random_depends_on_the_seed_alone(pool: Pool) -> None:
    first, second = (suggest(pool, 10, "random", seed=seed).tolist() for seed in (0, 1))
    assert first != second
    other = dataclasses.replace(pool, embedded=-pool.embedded, probabilities=None)
    assert suggest(other, 10, "random", seed=0).tolist() == first


def test_margin_takes_the_least_sure(pool: Pool) -> None:
    assert pool.probabilities is not None
    gaps = [sorted(p)[-1] - sorted(p)[-2] for p in pool.probabilities]
    np.testing.assert_allclose(margins(pool.probabilities), gaps)
    assert suggest(pool, 9, "margin").tolist() == sorted(pool.candidates, key=lambda i: gaps[i])[:9]


def test_core_set_is_greedy_k_centres(pool: Pool) -> None:
    points = pool.embedded / pool.embedded.std(axis=0)
    centres = list(np.flatnonzero(pool.labelled))
    for found in suggest(pool, 12, "core_set"):
        distance = {i: min(np.linalg.norm(points[i] - points[c]) for c in centres) for i in pool.candidates}
        assert distance[found] == pytest.approx(max(distance.values()))
        centres.append(found)


def test_core_set_spreads_better_than_chance(pool: Pool) -> None:
    """The largest distance of any recording to its nearest label: greedy k-centres is within twice of the least."""
    points = pool.embedded / pool.embedded.std(axis=0)

    def radius(chosen: np.ndarray) -> float:
        centres = points[np.concatenate([np.flatnonzero(pool.labelled), chosen])]
        return float(np.linalg.norm(points[:, None] - centres[None], axis=2).min(axis=1).max())

    others = [radius(suggest(pool, 15, "random", seed=seed)) for seed in range(20)]
    assert radius(suggest(pool, 15, "core_set")) < min(others)


def test_mixture_spreads_over_speakers_and_stays_among_the_unsure(pool: Pool) -> None:
    skewed = dataclasses.replace(pool, speakers=["S0"] * 40 + ["S1"] * 15 + ["S2"] * 5)
    speakers = np.array(skewed.speakers)
    before = {name: int(pool.labelled[speakers == name].sum()) for name in ("S0", "S1", "S2")}
    chosen = suggest(skewed, 12, "mixture")
    after = {name: before[name] + int((speakers[chosen] == name).sum()) for name in before}
    left = {name: int((~pool.labelled[speakers == name]).sum()) for name in before}
    full = [after[name] for name in after if after[name] < before[name] + left[name]]
    assert max(full) - min(full) <= 1 or max(full) <= max(before.values())
    assert pool.probabilities is not None
    gaps = margins(pool.probabilities)
    first = chosen[0]
    own = [i for i in pool.candidates if speakers[i] == speakers[first]]
    assert gaps[first] <= np.median(gaps[own])
    # without a recogniser it still spreads
    blind = suggest(dataclasses.replace(skewed, probabilities=None), 12, "mixture")
    assert len(set(speakers[blind])) == 3


@EVERY
def test_nothing_labelled_yet(pool: Pool, strategy: str) -> None:
    fresh = dataclasses.replace(pool, labelled=np.zeros(N, dtype=bool))
    assert len(set(suggest(fresh, 20, strategy).tolist())) == 20  # type: ignore[arg-type]


def test_copies_are_not_suggested_twice_and_do_not_stop_it() -> None:
    copies = Pool(np.zeros((5, 2)), np.array([True, False, False, False, False]), ["a"] * 5)
    assert sorted(suggest(copies, 4, "core_set").tolist()) == [1, 2, 3, 4]


def test_what_can_not_be_judged_is_not_suggested() -> None:
    rows = [{"path": f"{n}.wav", "speaker": "Ann", "emotion": "joy" if n < 2 else ""} for n in range(6)]
    table = make_table(rows)
    sure = np.array([0.9, 0.8, 0.6, np.nan, 0.55, 0.99])
    problems = ("", "", "", "3.wav: nobody speaks in it", "", "")
    found = Recognised(
        ("joy", "fear"), np.stack([sure, 1 - sure], 1), problems, ("inductive",) * 6, sure[:, None], problems, ()
    )
    chosen = suggested(table, found, 10, "margin")
    assert list(chosen["id"]) == ["4", "2", "5"]
    assert list(chosen["guess"]) == ["joy"] * 3
    assert chosen["confidence"].tolist() == [0.55, 0.6, 0.99]
    none = Recognised(
        found.labels, found.probabilities, ("", "", *["silent"] * 4), found.modes, found.embedded, problems, ()
    )
    with pytest.raises(AudioError, match=r"without a label can be judged\. The first: silent"):
        suggested(table, none, 10, "margin")


def test_drawn_recordings_come_in_the_order_of_random_and_no_other_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"path": f"{n}.wav", "emotion": "joy" if n < 2 else ""} for n in range(12)]
    table = make_table(rows, tmp_path)
    for path in table["path"]:
        soundfile.write(path, np.sin(np.arange(8000.0)), 16000)
    Path(table["path"][4]).write_text("no audio")
    Path(table["path"][7]).unlink()
    soundfile.write(table["path"][9], np.zeros(8000), 16000)
    decoded: list[str] = []
    decode = audio.decode
    monkeypatch.setattr(audio, "decode", lambda path, *part: (decoded.append(path), decode(path, *part))[1])
    for seed in range(5):
        order = shuffled(np.arange(12) < 2, seed).tolist()
        decoded.clear()
        chosen, passed_over = drawn(table, 3, seed=seed)
        good = [row for row in order if row not in (4, 7, 9)]
        assert list(chosen.index) == good[:3]
        seen = order[: order.index(good[2]) + 1]
        assert passed_over == len(seen) - 3
        assert decoded == [table["path"][row] for row in seen if row not in (4, 7)]  # those are refused before
    assert len(drawn(table, 50)[0]) == 7
    with pytest.raises(AudioError, match=r"without a label can be used\. The first: .*9\.wav is silent"):
        drawn(table.iloc[[0, 9]], 1)
    with pytest.raises(UsageError, match="at least 1 recording, got 0"):
        drawn(table, 0)
    with pytest.raises(UsageError, match="nothing left to suggest"):
        drawn(table.head(2), 1)


def test_refusals(pool: Pool) -> None:
    with pytest.raises(UsageError, match="at least 1 recording, got 0"):
        suggest(pool, 0)
    with pytest.raises(UsageError, match="no strategy 'entropy'; there are random, margin, core_set, mixture"):
        suggest(pool, 1, "entropy")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="nothing left to suggest"):
        suggest(dataclasses.replace(pool, labelled=np.ones(N, dtype=bool)), 1)
    with pytest.raises(UsageError, match=r"'margin' needs a recogniser .* Use core_set or random"):
        suggest(dataclasses.replace(pool, probabilities=None), 1, "margin")
    with pytest.raises(ValueError, match=r"one entry a recording everywhere, got \[59, 60\]"):
        dataclasses.replace(pool, labelled=np.zeros(59, dtype=bool))
