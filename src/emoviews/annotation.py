"""Which recordings to label next: the few that a recogniser learns most from.

Each strategy puts unlabelled recordings in an order, the best first, so that somebody may stop labelling whenever they like.

    random      as they come, shuffled: what every other strategy has to beat
    margin      those about which the recogniser is least sure: the smallest gap between its two highest probabilities
                (Scheffer, Decomain, Wrobel, "Active Hidden Markov Models for Information Extraction", IDA 2001)
    core_set    those farthest from all that is labelled, one after the other: greedy k-centres (Sener, Savarese, "Active
                Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR 2018, algorithm 1)
    mixture     core_set among the less sure half of each speaker's recordings, speakers with the fewest labels first, so that
                the labels spread over voices

Uncertainty alone picks near-copies of one hard case, distance alone picks outliers, and both may pick a single speaker's. None
of them is better than `random` everywhere: with few labels often none is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoviews.errors import AudioError, UsageError
from emoviews.extraction import unusable
from emoviews.recognition import Recognised
from emoviews.seeds import derive_seed

Strategy = Literal["random", "margin", "core_set", "mixture"]


@dataclass(frozen=True)
class Pool:
    """Recordings, labelled and not.

    Attributes:
        embedded: `(n, dim)` what the recogniser sees of each.
        labelled: `(n,)` bool.
        speakers: of each; recordings whose speaker is not known share the name "".
        probabilities: `(n, classes)` what the recogniser says; None where there is none yet.
    """

    embedded: NDArray[np.float64]
    labelled: NDArray[np.bool_]
    speakers: Sequence[str]
    probabilities: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        sizes = {len(self.embedded), len(self.labelled), len(self.speakers)}
        sizes |= {len(self.probabilities)} if self.probabilities is not None else set()
        if len(sizes) > 1:
            raise ValueError(f"Expected one entry a recording everywhere, got {sorted(sizes)}.")

    @property
    def candidates(self) -> NDArray[np.int64]:
        """Positions of those without a label, ascending."""
        return np.flatnonzero(~self.labelled)


def suggest(pool: Pool, budget: int, strategy: Strategy = "random", *, seed: int = 0) -> NDArray[np.int64]:
    """Positions of the recordings to label next, the best first; fewer than the budget where fewer are left.

    Args:
        pool: the recordings.
        budget: how many.
        strategy: one of `STRATEGIES`.
        seed: of `random`, and of the first recording where nothing is labelled yet.

    Raises:
        UsageError: a budget below 1, an unknown strategy, one that needs a recogniser without its probabilities, or nothing
            left to label.

    >>> line = Pool(np.array([[0.0], [1.0], [5.0], [9.0]]), np.array([True, False, False, False]), ["a", "a", "b", "b"])
    >>> suggest(line, 2, "core_set").tolist()
    [3, 2]
    """
    if strategy not in STRATEGIES:
        raise UsageError(f"There is no strategy {strategy!r}; there are {', '.join(STRATEGIES)}.")
    _require(budget, pool.labelled)
    return STRATEGIES[strategy](pool, min(budget, len(pool.candidates)), seed)


def drawn(table: pd.DataFrame, budget: int, *, seed: int = 0) -> tuple[pd.DataFrame, int]:
    """The rows of a table to label next by `random`, which asks no recogniser; and how many were drawn that can't be used.

    In the order of `shuffled`. Only what is drawn is decoded: files that can't be read, or are silent, are passed over.

    Args:
        table: recordings; those with an emotion are taken for labelled.
        budget: how many.
        seed: of the order.

    Raises:
        AudioError: none of the recordings without a label can be used.
        UsageError: a budget below 1, or nothing left to label.
    """
    labelled = np.array(table["emotion"] != "", dtype=bool)
    _require(budget, labelled)
    order = shuffled(labelled, seed)
    good: list[int] = []
    problems: list[str] = []
    for row, problem in zip(order, unusable(table.iloc[order]), strict=True):
        if problem:
            problems.append(problem)
        else:
            good.append(row)
            if len(good) == budget:
                break
    if not good:
        raise AudioError(f"None of the recordings without a label can be used. The first: {problems[0]}")
    return table.iloc[good], len(problems)


def suggested(
    table: pd.DataFrame,
    found: Recognised,
    budget: int,
    strategy: Literal["margin", "core_set", "mixture"],
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """The rows of a table to label next, the best first, with the columns `guess` and `confidence`.

    Recordings of which the recogniser says that nobody speaks in them, and those that can't be read, are not suggested. For
    `random`, which needs no recogniser, see `drawn`.

    Args:
        table: recordings; those with an emotion are taken for labelled.
        found: what a recogniser makes of them.
        budget: how many.
        strategy: one of `STRATEGIES`.
        seed: see `suggest`.

    Raises:
        AudioError: nothing can be suggested, since no recording without a label can be judged.
        UsageError: see `suggest`.
    """
    usable = np.flatnonzero([not problem for problem in found.problems])
    labelled = np.array(table["emotion"] != "", dtype=bool)
    if not labelled.all() and labelled[usable].all():
        first = next(why for why, known in zip(found.problems, labelled, strict=True) if why and not known)
        raise AudioError(f"None of the recordings without a label can be judged. The first: {first}")
    probabilities = found.probabilities[usable]
    speakers = list(table["speaker"].iloc[usable])
    pool = Pool(found.embedded[usable], labelled[usable], speakers, probabilities)
    chosen = usable[suggest(pool, budget, strategy, seed=seed)]
    best = found.probabilities[chosen]
    guess = np.array(found.labels, dtype=object)[best.argmax(axis=1)]
    return table.iloc[chosen].assign(guess=guess, confidence=best.max(axis=1))


def shuffled(labelled: NDArray[np.bool_], seed: int = 0) -> NDArray[np.int64]:
    """Positions of all recordings without a label, `(n,)` bool → `(unlabelled,)`, in the order of the strategy `random`.

    >>> sorted(shuffled(np.array([True, False, False])).tolist())
    [1, 2]
    """
    return np.random.default_rng(derive_seed(seed, "suggest")).permutation(np.flatnonzero(~labelled))


def margins(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """The gap between the two highest probabilities, `(n, classes)` → `(n,)`; 0 is as unsure as can be.

    >>> margins(np.array([[0.5, 0.5], [0.9, 0.1]])).tolist()
    [0.0, 0.8]
    """
    highest = np.sort(probabilities, axis=1)[:, -2:]
    gap: NDArray[np.float64] = highest[:, 1] - highest[:, 0]
    return gap


def _require(budget: int, labelled: NDArray[np.bool_]) -> None:
    if budget < 1:
        raise UsageError(f"Expected a budget of at least 1 recording, got {budget}.")
    if labelled.all():
        raise UsageError("Every recording has a label; there is nothing left to suggest.")


def _random(pool: Pool, budget: int, seed: int) -> NDArray[np.int64]:
    return shuffled(pool.labelled, seed)[:budget]


def _margin(pool: Pool, budget: int, seed: int) -> NDArray[np.int64]:
    unsure = _margins(pool, "margin")[pool.candidates]
    return pool.candidates[np.argsort(unsure, kind="stable")[:budget]]


def _core_set(pool: Pool, budget: int, seed: int) -> NDArray[np.int64]:
    distances = _Distances(pool, seed)
    chosen: list[int] = []
    for _ in range(budget):
        chosen.append(distances.farthest(pool.candidates))
        distances.add(chosen[-1])
    return np.array(chosen, dtype=np.int64)


def _mixture(pool: Pool, budget: int, seed: int) -> NDArray[np.int64]:
    unsure = _margins(pool, "mixture") if pool.probabilities is not None else np.zeros(len(pool.embedded))
    speakers = np.array(pool.speakers, dtype=object)
    names = sorted(set(speakers[pool.candidates]))
    labels = {name: int(pool.labelled[speakers == name].sum()) for name in names}
    left = {name: pool.candidates[speakers[pool.candidates] == name] for name in names}
    distances = _Distances(pool, seed)
    chosen: list[int] = []
    while len(chosen) < budget:
        name = min((n for n in names if len(left[n])), key=lambda n: (labels[n], n))
        rows = left[name]
        half = rows[np.argsort(unsure[rows], kind="stable")[: -(-len(rows) // 2)]]
        chosen.append(distances.farthest(np.sort(half)))
        distances.add(chosen[-1])
        left[name] = rows[rows != chosen[-1]]
        labels[name] += 1
    return np.array(chosen, dtype=np.int64)


def _margins(pool: Pool, strategy: str) -> NDArray[np.float64]:
    if pool.probabilities is None:
        raise UsageError(
            f"The strategy {strategy!r} needs a recogniser that says how sure it is, so some labels. Use core_set or random "
            "for the first."
        )
    return margins(pool.probabilities)


class _Distances:
    """Of every recording to the nearest that is labelled or chosen, in units of each dimension's spread."""

    def __init__(self, pool: Pool, seed: int) -> None:
        spread = pool.embedded.std(axis=0)
        self._points = pool.embedded / np.where(spread > 0, spread, 1.0)
        self._nearest = np.full(len(self._points), np.inf)
        self._first = int(np.random.default_rng(derive_seed(seed, "suggest first")).integers(2**31))
        for row in np.flatnonzero(pool.labelled):
            self.add(int(row))

    def add(self, row: int) -> None:
        """It is labelled, or will be."""
        squares = np.square(self._points - self._points[row]).sum(axis=1)
        np.minimum(self._nearest, squares, out=self._nearest)
        self._nearest[row] = -1.0  # not again, not even where another lies in the same place

    def farthest(self, rows: NDArray[np.int64]) -> int:
        """The one of these that is farthest; any where there is nothing to be far from."""
        nearest = self._nearest[rows]
        return int(rows[self._first % len(rows)] if np.isinf(nearest).all() else rows[int(nearest.argmax())])


STRATEGIES: Final[Mapping[str, Callable[[Pool, int, int], NDArray[np.int64]]]] = {
    "random": _random,
    "margin": _margin,
    "core_set": _core_set,
    "mixture": _mixture,
}
"""Name → how it chooses."""
