"""Views of an utterance → one vector, in one of two ways: as it is, or relative to what is usual for its speaker.

Each view is one vector an utterance (functionals as they are, frames by their statistics over time). Fusion is linear: z-scores
by the training recordings, principal components, directions that only tell which sentence is said shrunk, views end to end,
principal components again. Nothing here needs a label, so all recordings serve, labelled or not.

Speaker-adaptive vectors use the mean and variance of the speaker's own recordings. With few of them these are shrunk towards
those of the training recordings, feature by feature, by as much as speakers differ in it (empirical Bayes: Efron and Morris,
"Data analysis using Stein's estimator and its generalizations", JASA 70, 1975), so that it works from one recording on.

What this removes must not be what is to be learnt: where speakers (or sentences) show one emotion each, their means are the
emotions. `confounding` says from the labels there are whether that is so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import scipy  # scipy.stats takes most of a second to import; SciPy loads it at the first use
from numpy.typing import NDArray

from emoviews.errors import UsageError

Floats = NDArray[np.float64]

CLIP: Final = 5.0
"""z-scores beyond this are artefacts (a pitch tracker that lost its voice) and would move a mean of few recordings."""

VARIANCE_PRIOR: Final = 10.0
"""In recordings: how much the pooled variance within speakers weighs beside a speaker's own."""

TEXT_SHRINKAGE: Final = 4.0
"""How many times the variance between sentences is added to the unit noise before whitening."""

DIMENSIONS: Final = 100
"""Principal components of each view, and of all views together."""

VIEW_WEIGHTS: Final[Mapping[str, float]] = {"egemaps": 1.0, "compare_2016": 0.5}
"""Length of a view's vectors in the concatenation; eGeMAPS, designed for emotion, counts most. Others have `OTHER_WEIGHT`."""

OTHER_WEIGHT: Final = 0.35

QUANTILES: Final = (0.1, 0.5, 0.9)
"""Over time, of a view with frames."""


def named(label: str) -> str:
    """The view's name in its label, whatever its parameters.

    >>> named("mfcc(bands=40)")
    'mfcc'
    """
    return label.partition("(")[0]


def time_statistics(frames: NDArray[np.floating]) -> Floats:
    """`(frames, features)` → `(7 · features,)`: mean, deviation, three quantiles, size and deviation of the change.

    >>> time_statistics(np.ones((3, 2))).shape
    (14,)
    """
    values = np.asarray(frames, dtype=np.float64)
    change = np.diff(values, axis=0) if len(values) > 1 else np.zeros((1, values.shape[1]))
    quantiles = np.quantile(values, QUANTILES, axis=0)
    parts = [values.mean(axis=0), values.std(axis=0), *quantiles, np.abs(change).mean(axis=0), change.std(axis=0)]
    return np.concatenate(parts)


@dataclass(frozen=True)
class ViewMap:
    """What fusion does to the vectors of one view.

    Attributes:
        mean, deviation: `(features,)` of the training recordings.
        within: `(features,)` variance of the z-scores within a speaker, pooled over the training speakers.
        prior: `(features,)` in recordings, how much the training mean weighs beside a speaker's own; from `within` and the
            variance between speakers.
        center: `(features,)` subtracted after the speaker's statistics.
        matrix: `(features, dim)` into the common space.
    """

    mean: Floats
    deviation: Floats
    within: Floats
    prior: Floats
    center: Floats
    matrix: Floats

    def standardised(self, values: Floats) -> Floats:
        """z-scores by the training recordings, `(rows, features)` both."""
        scores: Floats = values - self.mean  # in place from here on: views may have thousands of features
        scores /= self.deviation
        return np.clip(scores, -CLIP, CLIP, out=scores)

    def adapted(self, scores: Floats, speakers: Sequence[str]) -> Floats:
        """z-scores relative to each speaker's own statistics, shrunk by their number."""
        adapted = np.empty_like(scores)
        for rows in rows_by(speakers):
            own, n = scores[rows], len(rows)
            mean = own.mean(axis=0) * n / (n + self.prior)
            variance = (n * own.var(axis=0) + VARIANCE_PRIOR * self.within) / (n + VARIANCE_PRIOR)
            adapted[rows] = (own - mean) / np.sqrt(np.maximum(variance, 1e-6))
        return np.clip(adapted, -CLIP, CLIP, out=adapted)

    def scores_as(self, other: ViewMap) -> bool:
        """Whether z-scores are the same, relative to the speaker or not."""
        parts = ("mean", "deviation", "within", "prior")
        return all(np.array_equal(getattr(self, part), getattr(other, part)) for part in parts)


@dataclass(frozen=True)
class Space:
    """The common space of all views.

    Attributes:
        adaptive: whether vectors are relative to their speaker.
        maps: view → what is done to it.
    """

    adaptive: bool
    maps: Mapping[str, ViewMap]

    @property
    def dimensions(self) -> int:
        """Of its vectors."""
        return len(next(iter(self.maps.values())).matrix.T)

    def vectors(self, views: Mapping[str, Floats], speakers: Sequence[str] | None = None) -> Floats:
        """`(rows, dim)`.

        Args:
            views: view → `(rows, features)`.
            speakers: `(rows,)`; rows of one speaker are adapted together. Needed by an adaptive space alone.

        Raises:
            UsageError: no speakers for an adaptive space.
        """
        return vectors_in([self], views, speakers)[0]


def vectors_in(
    spaces: Sequence[Space], views: Mapping[str, Floats], speakers: Sequence[str] | None = None
) -> list[Floats]:
    """`Space.vectors` of several spaces, `(rows, dim)` each; what they do alike to a view's vectors is done once."""
    if speakers is None and any(space.adaptive for space in spaces):
        raise UsageError("A speaker-adaptive space needs to know which recordings are of one speaker; got no speakers.")
    found: list[list[Floats]] = [[] for _ in spaces]
    for name in dict.fromkeys(name for space in spaces for name in space.maps):
        scored: list[tuple[Space, Floats]] = []  # spaces whose z-scores of this view differ, and these
        for own, space in zip(found, spaces, strict=True):
            if name not in space.maps:
                continue
            view = space.maps[name]
            same = [s for other, s in scored if other.adaptive == space.adaptive and view.scores_as(other.maps[name])]
            if same:
                [scores] = same
            else:
                scores = view.standardised(views[name])
                if space.adaptive and speakers is not None:
                    scores = view.adapted(scores, speakers)
                scored.append((space, scores))
            own.append((scores - view.center) @ view.matrix)
    return [np.sum(parts, axis=0) for parts in found]


class Fusion:
    """Training recordings, labelled or not, and the spaces that their views span.

    What is found of a view is kept, since several spaces need it and none of it depends on labels: classifiers that learn from
    the same recordings under other labels share it. So may threads; at worst two find the same at once.
    """

    def __init__(
        self,
        views: Mapping[str, Floats],
        speakers: Sequence[str],
        texts: Sequence[str] | None = None,
        copies: Sequence[Mapping[str, Floats]] = (),
    ) -> None:
        """Nothing is computed yet.

        Args:
            views: view → `(rows, features)`.
            speakers: `(rows,)`, equal where the speaker is; empty where unknown.
            texts: `(rows,)` what is said, empty where unknown.
            copies: the same recordings as other voices might say them; of some or all of the views.
        """
        self.views, self.copies = views, copies
        self.speakers, self.texts = list(speakers), [""] * len(speakers) if texts is None else list(texts)
        self._whose = apart(speakers)
        # view, copies, adaptive, remove_text, dimensions → its map, and what that makes of the recordings
        self._parts: dict[tuple[str, tuple[int, ...], bool, bool, int], tuple[ViewMap, Floats]] = {}

    def at(self, rows: NDArray[np.int64]) -> Fusion:
        """Some of the recordings."""
        views, *copies = ({name: v[rows] for name, v in views.items()} for views in (self.views, *self.copies))
        speakers, texts = ([values[row] for row in rows.tolist()] for values in (self.speakers, self.texts))
        return Fusion(views, speakers, texts, copies)

    def space(
        self,
        names: Collection[str],
        *,
        adaptive: bool,
        remove_text: bool = False,
        copied: bool = False,
        dimensions: int = DIMENSIONS,
    ) -> tuple[Space, Floats]:
        """The common space of some views.

        Args:
            names: of the views.
            adaptive: relative to the speaker.
            remove_text: shrink what tells sentences apart.
            copied: fit it to the copies of the recordings as well.
            dimensions: principal components kept, at most, of each view and of all together.

        Returns:
            The space, and the vectors of the training recordings in it, `(rows, dim)`; with copies `(copies · rows, dim)`,
            those of the recordings themselves first.
        """
        copies = tuple(number for number, copy in enumerate(self.copies) if copied and set(names) <= set(copy))
        parts = {}
        for name in names:
            key = name, copies, adaptive, remove_text, dimensions
            if key not in self._parts:
                values = self.views[name]
                if copies:
                    values = np.vstack([values, *(self.copies[number][name] for number in copies)])
                times = 1 + len(copies)
                texts = self.texts * times if remove_text else None
                self._parts[key] = _part(name, values, self._whose * times, texts, adaptive, dimensions)
            parts[name] = self._parts[key]
        return _fused(parts, dimensions, adaptive)


def apart(speakers: Sequence[str]) -> list[str]:
    """Give each recording of an unknown speaker a speaker of its own, whose name starts with a NUL.

    >>> len(set(apart(["Ann", "", "", "Ann"])))
    3
    """
    return [speaker or f"\x00{row}" for row, speaker in enumerate(speakers)]


def beside_another(speakers: Sequence[str]) -> int:
    """How many recordings there are beside another one of their speaker: they tell how a speaker's recordings differ.

    >>> beside_another(["Ann", "Ann", "Ann", "Bob", "", ""])
    2
    """
    named_speakers = [speaker for speaker in speakers if speaker]
    return len(named_speakers) - len(set(named_speakers))


def _part(
    name: str,
    values: Floats,
    speakers: Sequence[str],
    texts: Sequence[str] | None,
    adaptive: bool,
    dimensions: int,
) -> tuple[ViewMap, Floats]:
    """What is done to a view's vectors before views come together, and what that makes of these, `(rows, dim)`."""
    mean, deviation = spread(values)
    zero = np.zeros(len(mean))
    view = ViewMap(mean, deviation, within=zero, prior=zero, center=zero, matrix=np.zeros((len(mean), 0)))
    scores = view.standardised(values)
    within, prior = _speaker_prior(scores, speakers)
    view = replace(view, within=within, prior=prior)
    if adaptive:
        scores = view.adapted(scores, speakers)
    center = scores.mean(axis=0)
    scores -= center
    matrix = principal_axes(scores, dimensions)
    projected = scores @ matrix
    if texts is not None:
        shrink = _text_shrinkage(projected, texts)
        matrix, projected = matrix @ shrink, projected @ shrink
    length = np.sqrt(np.mean(np.sum(projected**2, axis=1)))
    scale = VIEW_WEIGHTS.get(named(name), OTHER_WEIGHT) / max(float(length), 1e-12)
    return replace(view, center=center, matrix=matrix * scale), projected * scale


def _fused(parts: Mapping[str, tuple[ViewMap, Floats]], dimensions: int, adaptive: bool) -> tuple[Space, Floats]:
    """The principal components of views end to end."""
    together = np.hstack([projected for _, projected in parts.values()])
    axes = principal_axes(together, dimensions)
    axes = axes / max(float(np.sqrt(np.mean(np.sum((together @ axes) ** 2, axis=1)))), 1e-12)
    fused, start = {}, 0
    for name, (view, _) in parts.items():
        stop = start + view.matrix.shape[1]
        fused[name] = replace(view, matrix=view.matrix @ axes[start:stop])
        start = stop
    return Space(adaptive, fused), together @ axes


def judges_alone(name: str, views: Collection[str]) -> bool:
    """Whether a view was designed for emotion and voice, so that it is worth hearing by itself beside all together.

    >>> [judges_alone(name, ["egemaps", "mfcc"]) for name in ("egemaps", "mfcc")], judges_alone("egemaps", ["egemaps"])
    ([True, False], False)
    """
    return len(views) > 1 and named(name) in VIEW_WEIGHTS


def spread(values: Floats) -> tuple[Floats, Floats]:
    """`(rows, features)` → mean and deviation for z-scores, `(features,)` both; 1 where a feature does not vary.

    >>> [part.tolist() for part in spread(np.array([[1.0, 5.0], [3.0, 5.0]]))]
    [[2.0, 5.0], [1.0, 1.0]]
    """
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    return mean, np.where(deviation > 1e-7 * (1 + np.abs(mean)), deviation, 1.0)


def principal_axes(centered: Floats, count: int) -> Floats:
    """`(features, dim)` orthonormal, the largest variance first; by way of the smaller Gram matrix."""
    rows, features = centered.shape
    count = min(count, rows, features)
    if count == 0:
        return np.zeros((features, 0))
    small = centered @ centered.T if rows < features else centered.T @ centered
    # Those that are kept alone: with a thousand rows in half the time of all.
    values, vectors = scipy.linalg.eigh(small, subset_by_index=[len(small) - count, len(small) - 1])
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = values > 1e-9 * max(float(values[0]), 1e-300)  # the others are rounding
    values, vectors = values[kept], vectors[:, kept]
    axes: Floats = centered.T @ vectors / np.sqrt(values) if rows < features else vectors
    return axes


def confounding(factor: Sequence[str], labels: Sequence[str]) -> float:
    """How far a factor (the speaker, the text) decides the label, from the labelled recordings: 0 not at all, 1 wholly.

    Pairs of recordings with the same value of the factor are compared: how much more often do they agree in their label than
    two recordings do by chance? Where that excess could well be chance (binomial test, 5 %), it is 0.

    Args:
        factor: `(rows,)`, empty where unknown.
        labels: `(rows,)`.

    >>> confounding(["Ann", "Ann", "Ann", "Bob", "Bob", "Bob"], ["sad", "sad", "sad", "glad", "glad", "glad"])
    1.0
    >>> confounding(["Ann", "Ann", "Bob", "Bob"], ["sad", "glad", "sad", "glad"])
    0.0
    """
    counts: dict[str, Counter[str]] = {}
    for value, label in zip(factor, labels, strict=True):
        if value:
            counts.setdefault(value, Counter())[label] += 1
    totals: Counter[str] = Counter()
    for own in counts.values():
        totals.update(own)
    n = sum(totals.values())
    if n < 2:
        return 0.0
    chance = sum(c * (c - 1) for c in totals.values()) / (n * (n - 1))
    pairs = sum(sum(own.values()) * (sum(own.values()) - 1) // 2 for own in counts.values())
    agreeing = sum(c * (c - 1) // 2 for own in counts.values() for c in own.values())
    # Pairs overlap; a value with m recordings has m - 1 independent comparisons, which the test takes.
    independent = sum(sum(own.values()) - 1 for own in counts.values())
    if pairs == 0 or chance >= 1:
        return 0.0
    share = agreeing / pairs
    hits = round(share * independent)
    if scipy.stats.binomtest(hits, independent, chance, alternative="greater").pvalue > 0.05:
        return 0.0
    return float(max(0.0, (share - chance) / (1 - chance)))


def repeated(texts: Sequence[str], speakers: Sequence[str]) -> float:
    """Share of the recordings with a text that are not their speaker's only one of it; 0 where no text is known.

    Who is recorded with a sentence again and again says it with several emotions. Where each is said once, as in a list of
    items made for one emotion each, sentences may stand for emotions, which no label need show.

    >>> repeated(["Hello", "Hello", "Bye", ""], ["Ann", "Ann", "Ann", "Ann"])
    0.666...
    """
    said = Counter((speaker, text) for speaker, text in zip(speakers, texts, strict=True) if text)
    return sum(n for n in said.values() if n > 1) / max(1, said.total())


def rows_by(names: Sequence[str]) -> list[NDArray[np.int64]]:
    """The rows of each name, in order of appearance.

    >>> [rows.tolist() for rows in rows_by(["b", "a", "b"])]
    [[0, 2], [1]]
    """
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)
    return [np.array(found, dtype=np.int64) for found in rows.values()]


def _speaker_prior(scores: Floats, speakers: Sequence[str]) -> tuple[Floats, Floats]:
    """Pooled variance within speakers, and in how many recordings a speaker's own mean weighs as much as that of all."""
    groups, means, within = rows_by(speakers), [], np.zeros(scores.shape[1])
    several = sum(
        len(rows) for rows in groups if len(rows) > 1
    )  # an only recording does not show how a speaker's differ
    for rows in groups:
        own = scores[rows]
        means.append(own.mean(axis=0))
        if len(own) > 1:
            within += len(own) * own.var(axis=0) / several
    if len(groups) < 2:
        return np.maximum(within, 1e-6), np.ones(scores.shape[1])
    noise = within * np.mean([1 / len(rows) for rows in groups])
    between = np.maximum(np.var(means, axis=0, ddof=1) - noise, 0.01 * np.maximum(within, 1e-6))
    return np.maximum(within, 1e-6), np.clip(within / between, 0.0, 100.0)


def _text_shrinkage(projected: Floats, texts: Sequence[str]) -> Floats:
    """`(dim, dim)` that shrinks the directions in which the sentences differ; the identity where none is said repeatedly."""
    dim = projected.shape[1]
    groups = [projected[rows] for rows in rows_by(texts) if len(rows) >= 3 and texts[rows[0]]]
    if len(groups) < 2:
        return np.eye(dim)
    rows = sum(len(own) for own in groups)
    means = np.stack([own.mean(axis=0) for own in groups])
    means -= means.mean(axis=0)
    residuals = np.concatenate([own - own.mean(axis=0) for own in groups])
    noise = residuals.T @ residuals / (rows - len(groups)) * np.mean([1 / len(own) for own in groups])
    between = means.T @ means / len(groups) - noise
    values, vectors = np.linalg.eigh((between + between.T) / 2)
    unit = float(np.mean(np.sum(projected**2, axis=1))) / dim
    factors = 1 / np.sqrt(1 + TEXT_SHRINKAGE * np.maximum(values, 0.0) / unit)
    shrink: Floats = (vectors * factors) @ vectors.T
    return shrink
