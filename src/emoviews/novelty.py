"""What is unlike the training recordings: a single one (no speech, music), or all of a speaker together (another channel).

A recording's distance is the root mean square of its z-scores. A shift is the root mean square of the mean z-scores of several
recordings: over a telephone, in noise or far from the microphone every recording of a speaker is moved the same way, farther
than a new voice in the channel of the training would be. What is usual is measured on training speakers, each against the
others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emoviews.fusion import CLIP, rows_by, spread
from emoviews.splits import MOST_FOLDS, at_most

Floats = NDArray[np.float64]
Spreads = Mapping[str, tuple[Floats, Floats]]
"""View → mean and deviation of the training recordings, `(features,)` both."""

OUTLIER_FACTOR: Final = 1.3
"""How many times farther out than 99 % of the recordings of any speaker who did not count a recording must lie to be
called unlike them. None of 2 235 recordings of nEMO by speakers who did not count does, at most 0.84 as far; noise, clicks,
tones, chords, melodies and a synthetic singer lie 1.16 times as far, or farther (`benchmarks/compare_non_speech.py`)."""

SHIFT_FACTOR: Final = 1.2
"""How many times farther than any training speaker's from the others' the recordings of a speaker must be moved to be called
shifted (`benchmarks/compare_channels.py`)."""

FEWEST: Final = 5
"""Recordings of a speaker whose shift can be told."""

FEWEST_SPEAKERS: Final = 3
"""From which it can be told how far voices lie from each other: by two women every man would be called another channel."""


@dataclass(frozen=True)
class Limits:
    """What is still like the training recordings.

    Attributes:
        outlier: distance of a recording.
        shift: of a speaker's recordings together; infinite where fewer than `FEWEST_SPEAKERS` training speakers are known with
            `FEWEST` recordings each.
    """

    outlier: float
    shift: float


def fit_limits(
    vectors: Mapping[str, Floats],
    groups: Sequence[str],
    speakers: Sequence[str],
    copies: Sequence[Mapping[str, Floats]] = (),
) -> Limits:
    """Measure each group's recordings against the others', so that a new voice is not taken for noise.

    Without two groups the training recordings are measured against themselves, which is too near, and the factor is squared.

    Args:
        vectors: view → `(rows, features)` of the training recordings.
        groups: `(rows,)`, empty where unknown.
        speakers: `(rows,)`, likewise.
        copies: of the same recordings, that train as well; of some or all of the views.
    """

    def spreads_of(kept: NDArray[np.int64]) -> Spreads:
        heard = {n: np.vstack([v[kept], *(copy[n][kept] for copy in copies if n in copy)]) for n, v in vectors.items()}
        return {n: spread(v) for n, v in heard.items()}

    every = np.arange(len(groups))
    named = np.flatnonzero([group != "" for group in groups])  # the others are always among those measured against
    names = [groups[row] for row in named.tolist()]
    parts = [named[rows] for rows in rows_by(at_most(names, MOST_FOLDS))]
    if len(parts) < 2:
        return Limits(OUTLIER_FACTOR**2 * float(np.quantile(distances(spreads_of(every), vectors), 0.99)), np.inf)
    farthest, moved = [], []
    for rows in parts:
        spreads, own = spreads_of(np.delete(every, rows)), {n: v[rows] for n, v in vectors.items()}
        farthest.append(float(np.quantile(distances(spreads, own), 0.99)))
        for name, several in by_speaker([speakers[row] for row in rows.tolist()]):
            if name:
                moved.append(shift(spreads, {n: v[several] for n, v in own.items()}))
    known = len(moved) >= FEWEST_SPEAKERS
    return Limits(OUTLIER_FACTOR * max(farthest), SHIFT_FACTOR * max(moved) if known else np.inf)


def by_speaker(speakers: Sequence[str]) -> list[tuple[str, NDArray[np.int64]]]:
    """Each speaker with the rows, of whom there are `FEWEST` or more; the unknown together, with an empty name.

    >>> [(name, len(rows)) for name, rows in by_speaker(["Ann"] * 5 + ["Bob"] * 4 + [""] * 6)]
    [('Ann', 5), ('', 6)]
    """
    return [(speakers[int(rows[0])], rows) for rows in rows_by(speakers) if len(rows) >= FEWEST]


def distances(spreads: Spreads, vectors: Mapping[str, Floats]) -> Floats:
    """`(rows,)` root mean square z-score over all views, each view counting as one."""
    each = [np.mean(scores**2, axis=1) for scores in _scores(spreads, vectors)]
    found: Floats = np.sqrt(np.mean(each, axis=0))
    return found


def shift(spreads: Spreads, vectors: Mapping[str, Floats]) -> float:
    """Root mean square over all views, each counting as one, of the mean z-scores of several recordings.

    What the mean of so few would be moved by chance is taken off.
    """
    moved = []
    for scores in _scores(spreads, vectors):
        by_chance = np.mean(scores.var(axis=0, ddof=1)) / len(scores)
        moved.append(np.mean(scores.mean(axis=0) ** 2) - by_chance)
    return float(np.sqrt(max(0.0, np.mean(moved))))


def _scores(spreads: Spreads, vectors: Mapping[str, Floats]) -> list[Floats]:
    """z-scores of each view, clipped, since a feature that hardly varies in training would decide alone."""
    return [np.clip((vectors[n] - mean) / deviation, -CLIP, CLIP) for n, (mean, deviation) in spreads.items()]
