"""How things are trained, as frozen values: the one place where each default stands. Importing this does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from emoviews.errors import UsageError

Scaling = Literal["zscore", "none"]
"""How features are scaled: z-scores by the statistics of the fold's training part, or not at all."""

Validation = Literal["full", "budget", "none"]
"""Where the labels that stop a fine-tuning come from: the whole validation group (the paper), the label budget, nowhere."""

Precision = Literal["float32", "mixed"]
"""Of the matrix products of a pre-training: all in float32, or in what a GPU is quickest in (`pretraining.computed_in`)."""


@dataclass(frozen=True)
class PretrainingConfig:
    """How the encoders are aligned; the defaults are the paper's (section 3.3).

    Attributes:
        loss: registered name of the loss.
        temperature: of the loss (the paper tries 0.1, 0.25, 0.5 and 1.0; 0.5 was best).
        negatives: `both` (SimCLR's 2N - 1 terms) or `cross_view` (the other view's N terms, as in CMC).
        batch_size: utterances a step.
        epochs: at most.
        patience: epochs without a lower validation loss before stopping.
        learning_rate: Adam's.
    """

    loss: str = "pairwise_nt_xent"
    temperature: float = 0.5
    negatives: Literal["both", "cross_view"] = "both"
    batch_size: int = 128
    epochs: int = 100
    patience: int = 30
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        if self.batch_size < 2:
            raise UsageError(f"A contrastive batch needs at least 2 utterances; got batch_size={self.batch_size}.")
        _check_positive(
            temperature=self.temperature,
            epochs=self.epochs,
            patience=self.patience,
            learning_rate=self.learning_rate,
        )


@dataclass(frozen=True)
class FineTuningConfig:
    """How a classifier is trained.

    Adam, 1e-3 and the decay are the paper's (section 3.3); it does not give batch size, epochs and patience.

    Attributes:
        batch_size: utterances a step.
        epochs: at most.
        patience: epochs without a better validation UAR before stopping.
        learning_rate: Adam's, at the start.
        decay: the learning rate's factor after every `decay_patience` epochs without a better validation UAR.
        decay_patience: see `decay`.
    """

    batch_size: int = 32
    epochs: int = 100
    patience: int = 30
    learning_rate: float = 1e-3
    decay: float = 0.9
    decay_patience: int = 5

    def __post_init__(self) -> None:
        _check_positive(
            batch_size=self.batch_size,
            epochs=self.epochs,
            patience=self.patience,
            learning_rate=self.learning_rate,
            decay=self.decay,
            decay_patience=self.decay_patience,
        )


@dataclass(frozen=True)
class LabelBudget:
    """How many labels a training may use: a share of each class, or a number a class; all when neither is given."""

    fraction: float | None = None
    per_class: int | None = None

    def __post_init__(self) -> None:
        if self.fraction is not None and self.per_class is not None:
            raise UsageError("Give either a label fraction or labels per class, not both.")
        if self.fraction is not None and not 0 < self.fraction <= 1:
            raise UsageError(f"A label fraction lies above 0 and at most at 1; got {self.fraction:g}.")
        if self.per_class is not None and self.per_class < 1:
            raise UsageError(f"Labels per class must be 1 or more; got {self.per_class}.")


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise UsageError(f"{name} must be above 0; got {value:g}.")
