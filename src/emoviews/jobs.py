"""A job: a pure, hashable description of one training and its test. Nothing here trains.

A job names everything its numbers depend on: corpus and table, the views' fingerprints, the fold and the hash of its split,
the configuration and the seeds. Its id is a hash of that description; equal descriptions are one job, whichever experiment
asks for it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

from emoviews.configs import FineTuningConfig, LabelBudget, PretrainingConfig, Scaling, Validation

BaselineMethod = Literal["logistic_regression", "linear_svm"]

PretrainingData = Literal["all", "target", "out_of_distribution", "out_of_distribution+undecided"]
"""All utterances; those with a target emotion; those with another emotion, which the label map dropped; these and all whose
emotion nobody knows: the annotators did not agree, or were never asked."""

RANDOM = "random"
"""The `init` of an encoder that was not trained before; otherwise `init` is the id of the job whose encoder is used."""


@dataclass(frozen=True)
class Job:
    """What all jobs have in common.

    Attributes:
        corpus: a name for people.
        table: hash of the utterance table and its recordings (`workspace.Workspace.table_hash`).
        fold: name of the test group.
        split: `splits.split_hash` of the fold.
        preset: name of the architecture's preset.
        seed: of everything random in it.
        scaling: of the features, `zscore` (statistics of the fold's training part) or `none`.
    """

    kind: ClassVar[str]

    corpus: str
    table: str
    fold: str
    split: str
    preset: str
    seed: int
    scaling: Scaling

    @property
    def description(self) -> dict[str, Any]:
        """Everything that determines the job, as JSON values."""
        return {"kind": self.kind, **asdict(self)}

    @cached_property
    def id(self) -> str:
        """Sixteen hexadecimal digits over the description."""
        text = json.dumps(_canonical(self.description), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class PretrainingJob(Job):
    """Align the encoders of several views on a fold's training part, its validation group deciding when to stop.

    Attributes:
        views: (label, fingerprint) of each view.
            One view alone: two augmented versions of it are aligned (SimCLR), the baseline of a single view; how they are
            made is `augmentation.Augmentation`'s default for the view's axes.
        config: the optimisation.
        data: which utterances of the training and validation parts.
        size: how many of the training utterances at most, drawn by the seed; all when None. The same share of the
            validation utterances is drawn, so that a small set is not stopped by a better measured loss than it would have.
        budget, validation, repeat, label_seed: for a loss that uses labels, `budget`, `validation`, `repeat` and `seed` of the
            fine-tunings that start from this job: it sees the labels that they see. None for other losses.
    """

    kind: ClassVar[str] = "pretraining"

    views: tuple[tuple[str, str], ...]
    config: PretrainingConfig
    data: PretrainingData = "all"
    size: int | None = None
    budget: LabelBudget | None = None
    validation: Validation | None = None
    repeat: int | None = None
    label_seed: int | None = None

    @property
    def description(self) -> dict[str, Any]:
        """Everything that determines the job, as JSON values; nothing of other losses, nor of labels where it uses none."""
        labels = ("budget", "validation", "repeat", "label_seed")
        found = {n: v for n, v in super().description.items() if not (n in labels and v is None)}
        return found | {"config": self.config.description}


@dataclass(frozen=True)
class FineTuningJob(Job):
    """Train a classifier on one view with a label budget, test it on the fold's test group.

    Attributes:
        view: (label, fingerprint).
        init: `random`, or the id of the pre-training job whose encoder is used.
        budget: the labels.
        validation: `full` (the whole validation group, labelled, as in the paper), `budget` (taken out of the same labels) or
            `none` (all epochs are trained).
        frozen: only the head is trained.
        config: the optimisation.
        repeat: number of the label subset.
        keep: leave the trained encoder and classifier as a checkpoint, to be exported, or for jobs whose `init` names this one.
    """

    kind: ClassVar[str] = "finetuning"

    view: tuple[str, str]
    config: FineTuningConfig
    init: str = RANDOM
    frozen: bool = False
    budget: LabelBudget = LabelBudget()
    validation: Validation = "full"
    repeat: int = 0
    keep: bool = False


@dataclass(frozen=True)
class BaselineJob(Job):
    """A simple classifier on standardised features: a view's own (averaged over frames), or what an encoder makes of them.

    Its one hyper-parameter, the regularisation, is chosen on the same validation data that stops the neural trainings.

    Attributes:
        view: (label, fingerprint).
        method: the classifier.
        budget, validation, repeat: as for `FineTuningJob`.
        init: empty for the view's own features; for a probe on a frozen encoder's embeddings `random`, or the id of a
            pre-training job.
    """

    kind: ClassVar[str] = "baseline"

    view: tuple[str, str]
    method: BaselineMethod
    budget: LabelBudget = LabelBudget()
    validation: Validation = "full"
    repeat: int = 0
    init: str = ""


@dataclass(frozen=True)
class ProbeJob(Job):
    """What an encoder's embeddings know: linear probes for emotion, speaker, sentence and duration; silhouette and purity.

    Attributes:
        view: (label, fingerprint).
        init: `random`, or the id of a pre-training or fine-tuning job.
    """

    kind: ClassVar[str] = "probe"

    view: tuple[str, str]
    init: str = RANDOM


@dataclass(frozen=True)
class MapJob(Job):
    """A map in two dimensions (t-SNE) of an encoder's embeddings of the fold's test group.

    Attributes:
        view: (label, fingerprint).
        init: `random`, or the id of a pre-training or fine-tuning job.
    """

    kind: ClassVar[str] = "map"

    view: tuple[str, str]
    init: str = RANDOM


@dataclass(frozen=True)
class AlignmentJob(Job):
    """How alike two views' embeddings of the fold's test group are (PWCCA).

    Attributes:
        views: two of (label, fingerprint).
        inits: of their encoders, in the same order: `random`, or the id of a pre-training or fine-tuning job.
    """

    kind: ClassVar[str] = "alignment"

    views: tuple[tuple[str, str], tuple[str, str]]
    inits: tuple[str, str] = (RANDOM, RANDOM)


def _canonical(value: Any) -> Any:
    """The value with whole numbers as integers: 1 and 1.0 are equal in a job, and so must be in its id."""
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass(frozen=True)
class Predictions:
    """A classifier's answers on the test group.

    Attributes:
        ids: utterance ids, `(n,)`.
        y_true, y_pred: labels, `(n,)`.
        labels: order of the classes.
        probabilities: `(n, classes)`.
    """

    ids: tuple[str, ...]
    y_true: tuple[str, ...]
    y_pred: tuple[str, ...]
    labels: tuple[str, ...]
    probabilities: Any


@dataclass(frozen=True)
class JobResult:
    """What came of a job.

    Attributes:
        job: the description.
        seconds: it took.
        device: it ran on.
        error: why it failed, or why it was refused; empty if neither.
        refused: there is too little data for what the job measures, which is an answer and not a failure.
        metrics: (split, name, value); the split is `train`, `validation` or `test`.
        curves: (epoch counted from 1, name, value).
        predictions: of classifiers, on the test group.
        points: (utterance id, x, y) of a map.
    """

    job: Job
    seconds: float
    device: str
    error: str = ""
    refused: bool = False
    metrics: tuple[tuple[str, str, float], ...] = ()
    curves: tuple[tuple[int, str, float], ...] = ()
    predictions: Predictions | None = None
    points: tuple[tuple[str, float, float], ...] = ()


def starts_from(job: Job) -> tuple[str, ...]:
    """Ids of the jobs whose encoders this one needs."""
    inits = [getattr(job, "init", ""), *getattr(job, "inits", ())]
    return tuple(dict.fromkeys(init for init in inits if init not in ("", RANDOM)))
