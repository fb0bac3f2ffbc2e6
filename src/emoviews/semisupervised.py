"""A classifier from a few labels and many recordings without: a speaker-adaptive teacher, a graph, and students.

    labels ──► teacher (speaker-adaptive vectors) ──► a guess for every training recording
                                                        │  neighbours agree on it, labelled ones stay as they are,
                                                        ▼  classes keep their shares
                                           soft labels of all training recordings
                              ┌─────────────────────────┴─────────────────────────┐
              speaker-adaptive students                             inductive students (`students`)
    predict with k recordings of a speaker, which                  predict one recording of an
    then agree with their neighbours among them                    unknown speaker, as it is

Relative to their speaker, emotions are far easier to tell than as they are, and the training recordings have speakers; so the
teacher works there, and what it knows is handed to the students who will have to do without. Where the labels say that speakers
show one emotion each (`fusion.confounding`), being relative to the speaker would erase it, and all work on vectors as they are.

The teacher looks at all views together. So does a student, and beside it one looks at each view that was designed for emotion
and voice, by itself: their errors differ, and their mean is better than any of them.

What the inductive students lack is voices: a handful of speakers trains them. So they may learn from copies of every
recording, played slower and faster, with the soft label of the original: pitch and formants move as if somebody else spoke
(`copies`).
"""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from emoviews.errors import UsageError
from emoviews.fusion import (
    Fusion,
    Space,
    ViewMap,
    apart,
    beside_another,
    confounding,
    judges_alone,
    repeated,
    rows_by,
    vectors_in,
)
from emoviews.propagation import Softmax, balanced_weights, fit_softmax, match_shares, neighbour_graph, softmax
from emoviews.students import fit_students

Floats = NDArray[np.float64]
Mode = Literal["inductive", "speaker-adaptive"]
MODES: Final[tuple[Mode, ...]] = ("inductive", "speaker-adaptive")

CONFOUNDED: Final = 0.5
"""From this `fusion.confounding` on, the speaker is taken to stand for the emotion and is not removed."""

REPEATED: Final = 0.75
"""From this `fusion.repeated` on, sentences are taken to be said with several emotions each, unless the labels tell otherwise
(by any `fusion.confounding`). To be rid of what tells sentences apart gains a few points; where that is the emotion, all is
lost."""

FEWEST_BESIDE: Final = 10
"""Recordings beside another one of their speaker, from which on recordings are seen relative to their speaker. With fewer, how
much a speaker's recordings differ is hardly known; where each is of another speaker, nothing would be left of them."""

SHARE_PRIOR: Final = 1.0
"""Labels of each class added before the classes' shares are taken from them."""

ENOUGH_RECORDINGS: Final = 5.0
"""Of one speaker, at which judging them relative to the speaker counts as much as judging each alone. With one or three, what
is usual for the speaker is hardly known, and each alone is judged better; with ten it is the other way round."""


@dataclass(frozen=True)
class SemiSupervisedConfig:
    """How a classifier is made of few labels.

    Attributes:
        strength: of the classifiers, scikit-learn's C, for vectors whose mean squared length is 1.
        unlabelled_weight: of a recording without a label beside one with, in training the students; 0 trains on labels alone.
        neighbours: of each recording in the graph; 0 for none.
        self_weight: of a recording's own prediction beside its neighbours', in affinities (`propagation.Graph`).
        smooth_predictions: let a speaker's recordings agree with their neighbours when they are predicted.
        inductive_strength: of the inductive students, who learn from all recordings with equal weight.
        sharpness: power to which the evidence in the soft labels (over the classes' shares) is taken for them; 1 leaves it.
        remove_text: shrink what tells sentences apart, where the table says what is said, speakers say the same again and again
            (`REPEATED`), and the labels do not show that sentences stand for emotions.
        match_shares: keep the shares that classes have among the labels, in labelling the others.
        rounds: of labelling the recordings without a label; from the second on the student of the one before is the teacher.
        views_apart: beside all views together, judge by each that `fusion.judges_alone`, and average.
        dimensions: principal components of each view, and of all together.
    """

    strength: float = 30.0
    unlabelled_weight: float = 0.3
    inductive_strength: float = 10.0
    sharpness: float = 2.0
    neighbours: int = 8
    self_weight: float = 1.0
    smooth_predictions: bool = True
    remove_text: bool = True
    match_shares: bool = True
    rounds: int = 2
    views_apart: bool = True
    dimensions: int = 100

    def __post_init__(self) -> None:
        """Refuse what no classifier can be made with.

        Raises:
            UsageError: what is named, what may be given, and what was.
        """
        for field in dataclasses.fields(self):
            value, whole = getattr(self, field.name), isinstance(field.default, int)
            if isinstance(field.default, bool):
                continue
            above = field.name in ("strength", "inductive_strength", "sharpness")
            least = 1 if field.name == "dimensions" else 0
            number = isinstance(value, numbers.Integral if whole else numbers.Real) and not isinstance(value, bool)
            if not (number and (value > 0 if above else value >= least) and value < np.inf):
                kind = "a whole number" if whole else "a number"
                bound = "above 0" if above else f"of at least {least}"
                raise UsageError(
                    f"{field.name}: expected {kind} {bound}, got {value!r}. Leave it out for the default, {field.default}."
                )


@dataclass(frozen=True)
class ModeModel:
    """What predicts in one mode.

    Attributes:
        members: each a space (views → vectors) and a classifier (vectors → logits); the mean of their log-probabilities counts.
        bandwidth: squared distance at which neighbours' affinity is 1 / e; 0 where predictions are not smoothed.
    """

    members: tuple[tuple[Space, Softmax], ...]
    bandwidth: float = 0.0

    def log_probabilities(self, views: Mapping[str, Floats], speakers: Sequence[str] | None = None) -> Floats:
        """`(rows, classes)` mean over the members, before recordings agree with their neighbours."""
        return self.judged(views, speakers)[0]

    def judged(self, views: Mapping[str, Floats], speakers: Sequence[str] | None = None) -> tuple[Floats, Floats]:
        """`log_probabilities`, and the vectors in the first member's space, `(rows, dim)`, by which neighbours are found."""
        vectors = vectors_in([space for space, _ in self.members], views, speakers)
        each = [classifier.log_probabilities(own) for (_, classifier), own in zip(self.members, vectors, strict=True)]
        return np.mean(each, axis=0), vectors[0]

    def vectors(self, views: Mapping[str, Floats], speakers: Sequence[str] | None = None) -> Floats:
        """`(rows, dimensions)` all that the members see of each recording, end to end."""
        return np.hstack(vectors_in([space for space, _ in self.members], views, speakers))

    @property
    def dimensions(self) -> int:
        """Of `vectors`."""
        return sum(space.dimensions for space, _ in self.members)

    @property
    def linear(self) -> Softmax:
        """The mean of the members' logits, as one classifier of `vectors`; to draw, not to judge."""
        weights, intercepts = zip(*((member.weights, member.intercept) for _, member in self.members), strict=True)
        return Softmax(np.vstack(weights) / len(weights), np.mean(intercepts, axis=0))

    @property
    def maps(self) -> Mapping[str, ViewMap]:
        """Each view that is used, as the first member that uses it standardises it, which is as all do."""
        return {name: view for space, _ in reversed(self.members) for name, view in space.maps.items()}

    @property
    def adaptive(self) -> bool:
        """Whether recordings are judged relative to their speaker."""
        return self.members[0][0].adaptive


@dataclass(frozen=True)
class SemiSupervised:
    """A fitted classifier.

    Attributes:
        modes: mode → what predicts in it.
        config: how it was made.
        speaker_confounding: 0 to 1, how far the speaker decides the label among the labelled recordings.
        text_confounding: likewise the text.
    """

    modes: Mapping[Mode, ModeModel]
    config: SemiSupervisedConfig
    speaker_confounding: float
    text_confounding: float

    def probabilities(self, views: Mapping[str, Floats], mode: Mode, speakers: Sequence[str] | None = None) -> Floats:
        """`(rows, classes)`.

        Args:
            views: view → `(rows, features)`.
            mode: inductive judges every row alone; speaker-adaptive uses all rows of its speaker, and where they are few
                (`ENOUGH_RECORDINGS`) also what is said of each alone.
            speakers: `(rows,)`, for the speaker-adaptive mode.
        """
        model = self.modes[mode]
        if speakers is None or not model.adaptive:
            return softmax(model.log_probabilities(views))
        speakers = apart(speakers)
        (together, vectors), alone = model.judged(views, speakers), self.modes["inductive"].log_probabilities(views)
        found = np.empty_like(together)
        weights = self.weight_alone(speakers)[:, None]
        for rows in rows_by(speakers):
            found[rows] = softmax((1 - weights[rows]) * together[rows] + weights[rows] * alone[rows])
            if model.bandwidth > 0:
                graph, _ = neighbour_graph(vectors[rows], self.config.neighbours, model.bandwidth)
                found[rows] = graph.smooth(found[rows], self.config.self_weight)
        return found

    def weight_alone(self, speakers: Sequence[str]) -> Floats:
        """`(rows,)` 0 to 1, how much judging a recording alone counts beside judging it with its speaker's others."""
        weights = np.zeros(len(speakers))
        if self.modes["speaker-adaptive"].adaptive:
            for rows in rows_by(apart(speakers)):
                weights[rows] = 1 / (1 + (len(rows) / ENOUGH_RECORDINGS) ** 2)
        return weights

    def alone(self, views: Mapping[str, Floats], label: str) -> Floats:
        """`(rows, classes)` what one view says in the inductive mode, were all others those of an average recording.

        Vectors are sums over views, centred on the training recordings, so the others' part is 0. This is a view's part in
        the whole, not a classifier that was trained on the view.

        Args:
            views: view → `(rows, features)`; the others are not looked at.
            label: of the view.
        """
        logs = []
        for space, classifier in self.modes["inductive"].members:
            if label in space.maps:
                vectors = Space(space.adaptive, {label: space.maps[label]}).vectors(views)
            else:
                vectors = np.zeros((len(views[label]), space.dimensions))
            logs.append(classifier.log_probabilities(vectors))
        return softmax(np.mean(logs, axis=0))


def fit_semisupervised(
    recordings: Fusion,
    targets: NDArray[np.int64],
    classes: int,
    config: SemiSupervisedConfig = SemiSupervisedConfig(),
) -> SemiSupervised:
    """Fit to training recordings.

    Args:
        recordings: what trains. Where hardly a speaker has several (`FEWEST_BESIDE`), no recording is seen relative to its
            speaker. The inductive students learn from the copies, if there are any.
        targets: `(rows,)` class numbers, -1 where there is no label.
        classes: how many.
        config: how.
    """
    views, speakers, texts = recordings.views, recordings.speakers, recordings.texts
    labelled = targets >= 0
    known = np.flatnonzero(labelled)
    names = [str(target) for target in targets[known]]
    by_speaker, by_text = (confounding([values[row] for row in known.tolist()], names) for values in (speakers, texts))
    remove_text = config.remove_text and by_text == 0 and repeated(texts, apart(speakers)) >= REPEATED
    relative = beside_another(speakers) >= FEWEST_BESIDE and by_speaker < CONFOUNDED
    alone = [[name] for name in views if config.views_apart and judges_alone(name, views)]
    (space, vectors), *by_themselves = (
        recordings.space(looked_at, adaptive=relative, remove_text=remove_text, dimensions=config.dimensions)
        for looked_at in (list(views), *alone)
    )
    sure = np.zeros((len(targets), classes))
    sure[known, targets[known]] = 1.0
    soft, weights = sure, balanced_weights(sure)
    adaptive = fit_softmax(vectors[known], sure[known], weights[known], config.strength)  # the first round's teacher
    graph, bandwidth = neighbour_graph(vectors, config.neighbours)
    rounds = config.rounds if config.unlabelled_weight > 0 and not labelled.all() else 0
    for _ in range(rounds):
        soft = adaptive.probabilities(vectors)
        soft[known] = sure[known]
        soft = graph.smooth(soft, config.self_weight, labelled)
        if config.match_shares:
            counts = sure.sum(axis=0)
            shares = np.where(counts > 0, counts + SHARE_PRIOR, 0.0)
            soft = match_shares(soft, shares / shares.sum())
            soft[known] = sure[known]
        weights = np.where(labelled, 1.0, config.unlabelled_weight) * balanced_weights(soft)
        adaptive = fit_softmax(vectors, soft, weights, config.strength, adaptive)
    taught = np.flatnonzero(soft.sum(axis=1) > 0)
    judges = (
        (space, adaptive),
        *((s, fit_softmax(own[taught], soft[taught], weights[taught], config.strength)) for s, own in by_themselves),
    )
    smoothing = bandwidth if config.smooth_predictions and config.neighbours else 0.0
    if relative or recordings.copies:
        shares = np.maximum(soft[taught].mean(axis=0), 1e-9)
        # What is sharpened is the evidence, not the shares.
        target = shares * (soft[taught] / shares) ** config.sharpness
        sharp = np.zeros_like(soft)
        sharp[taught] = target / target.sum(axis=1, keepdims=True)
        inductive = fit_students(
            recordings, sharp, config.inductive_strength, config.dimensions, remove_text=remove_text
        )
    else:
        inductive = judges
    modes: dict[Mode, ModeModel] = {"inductive": ModeModel(inductive)}
    # Where nothing is judged relative to its speaker, the students of more voices know best in both modes.
    modes["speaker-adaptive"] = (
        modes["inductive"] if recordings.copies and not relative else ModeModel(judges, smoothing)
    )
    return SemiSupervised(modes, config, by_speaker, by_text)
