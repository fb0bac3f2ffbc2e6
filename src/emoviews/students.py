"""The inductive student: classifiers of recordings as they are, and which of them are averaged.

A member looks at some of the views, fused into one space, and is taught by the soft labels of the training recordings. Which
members to average depends on the data: with few voices views fused and learnt from copies do best; the more voices there are,
the more is gained from views with thousands of features, and from letting each view judge by itself. So the training speakers
decide. Each in turn is left out, the members learn from the others, and the mixture that agrees best with the soft labels of
those left out (mean unweighted average recall) is taken. What fuses the views needs no labels and is fitted once, to all
training recordings; the classifiers are fitted anew without the speakers who judge them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emoviews.fusion import Fusion, Space, named, rows_by
from emoviews.metrics import uar
from emoviews.propagation import Softmax, balanced_weights, fit_softmax
from emoviews.splits import at_most

Floats = NDArray[np.float64]
Member = tuple[str, ...]
"""The views that a classifier looks at."""
Mixture = tuple[Member, ...]
"""Classifiers whose log-probabilities are averaged."""

LEADING: Final = "egemaps"
"""The view that was designed for emotion and needs the fewest labels. Alone, and without what tells sentences apart, it errs
elsewhere than all views together."""

PARTS: Final = 5
"""Into which more training speakers than these are merged, to be left out in turn."""


def mixtures(views: Sequence[str], copied: Sequence[str] = ()) -> list[Mixture]:
    """What may be averaged: views together and the leading one; with them each view that has no copies; each view by itself.

    >>> mixtures(["egemaps", "mfcc"])
    [(('egemaps', 'mfcc'), ('egemaps',)), (('egemaps',), ('mfcc',))]
    >>> mixtures(["egemaps", "wide"], copied=["egemaps"])
    [(('egemaps',),), (('egemaps',), ('wide',))]
    """
    together = tuple(copied or views)
    first: Mixture = tuple(dict.fromkeys([together, *((view,) for view in together if named(view) == LEADING)]))
    apart: Mixture = tuple((view,) for view in views)
    without_copies: Mixture = tuple((view,) for view in views if view not in together)
    return list(dict.fromkeys([first, first + without_copies, apart]))


def fit_students(
    recordings: Fusion, soft: Floats, strength: float, dimensions: int, *, remove_text: bool
) -> tuple[tuple[Space, Softmax], ...]:
    """The members of the mixture that suits the training recordings best.

    Args:
        recordings: what trains. With fewer than two speakers the first of `mixtures` is taken.
        soft: `(rows, classes)` their soft labels; a row of zeros teaches nothing.
        strength: of the classifiers, scikit-learn's C.
        dimensions: principal components of each view, and of all together.
        remove_text: shrink what tells sentences apart, for whom looks at the leading view alone.
    """
    candidates = mixtures(list(recordings.views), list(recordings.copies[0]) if recordings.copies else [])
    students: dict[Member, _Student] = {}
    for member in dict.fromkeys(member for mixture in candidates for member in mixture):
        without_text = remove_text and [*map(named, member)] == [LEADING]
        space, vectors = recordings.space(
            member, adaptive=False, remove_text=without_text, copied=True, dimensions=dimensions
        )
        students[member] = _Student(space, vectors, soft, strength)
    best = _chosen(candidates, students, recordings.speakers, soft) if len(candidates) > 1 else candidates[0]
    return tuple((students[member].space, students[member].classifier) for member in best)


class _Student:
    """A member, and what it takes to fit its classifier again to a part of the recordings."""

    def __init__(self, space: Space, vectors: Floats, soft: Floats, strength: float) -> None:
        """`vectors` `(copies · rows, dim)`, those of the recordings themselves first."""
        self.space, self.vectors, self.soft, self.strength = space, vectors, soft, strength
        self.classifier = self.fitted(np.flatnonzero(soft.sum(axis=1) > 0))

    def fitted(self, rows: NDArray[np.int64]) -> Softmax:
        """A classifier that learns from these recordings and their copies alone."""
        n = len(self.soft)
        times = len(self.vectors) // n
        everywhere = np.concatenate([rows + copy * n for copy in range(times)])
        targets = np.tile(self.soft[rows], (times, 1))
        weights = balanced_weights(targets)
        return fit_softmax(self.vectors[everywhere], targets, weights, self.strength)


def _chosen(
    candidates: Sequence[Mixture], students: Mapping[Member, _Student], speakers: Sequence[str], soft: Floats
) -> Mixture:
    """The mixture with the highest mean UAR against the soft labels of speakers who were left out."""
    taught = soft.sum(axis=1) > 0
    judging = np.flatnonzero([teaches and speaker != "" for teaches, speaker in zip(taught, speakers, strict=True)])
    names = [speakers[row] for row in judging.tolist()]
    if len(set(names)) < 2:
        return candidates[0]
    parts = rows_by(at_most(names, PARTS))
    scores = np.zeros((len(candidates), len(parts)))
    for number, part in enumerate(parts):
        held = judging[part]
        learning = taught.copy()
        learning[held] = False
        logs = {}
        for member, student in students.items():
            classifier = student.fitted(np.flatnonzero(learning))  # from zeros: nothing of what is left out is in it
            logs[member] = classifier.log_probabilities(student.vectors[held])
        truth = soft[held].argmax(axis=1)
        for place, mixture in enumerate(candidates):
            scores[place, number] = uar(truth, np.mean([logs[member] for member in mixture], axis=0).argmax(axis=1))
    return candidates[int(scores.mean(axis=1).argmax())]
