"""How things are trained, as frozen values: the one place where each default stands. Importing this does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Final, Literal

from emoviews.errors import UsageError

Scaling = Literal["zscore", "none"]
"""How features are scaled: z-scores by the statistics of the fold's training part, or not at all."""

Validation = Literal["full", "budget", "none"]
"""Where the labels that stop a fine-tuning come from: the whole validation group (the paper), the label budget, nowhere."""

Precision = Literal["float32", "mixed"]
"""Of the matrix products of a pre-training: all in float32, or in what a GPU is quickest in (`pretraining.computed_in`)."""


LOSS_SETTINGS: Final[Mapping[str, Mapping[str, float | str]]] = MappingProxyType(
    {
        "pairwise_nt_xent": MappingProxyType({"temperature": 0.5, "negatives": "both"}),
        "supcon": MappingProxyType({"temperature": 0.1}),
        "vicreg": MappingProxyType({"invariance_weight": 25.0, "variance_weight": 25.0, "covariance_weight": 1.0}),
        "barlow_twins": MappingProxyType({"redundancy_weight": 5e-3}),
    }
)
"""Loss → what can be set of it, with the values of its paper, which are those of the loss' own signature."""


@dataclass(frozen=True)
class PretrainingConfig:
    """How the encoders are aligned; the defaults are the paper's (section 3.3).

    What belongs to a loss is None for all other losses, and refused there. None asks for the value of the loss' own paper
    (`LOSS_SETTINGS`), which then stands in the configuration.

    Attributes:
        loss: registered name of the loss.
        temperature: of pairwise_nt_xent (the paper tries 0.1, 0.25, 0.5 and 1.0; 0.5 was best) and of supcon.
        negatives: of pairwise_nt_xent: `both` (SimCLR's 2N - 1 terms) or `cross_view` (the other view's N terms, as in CMC).
        invariance_weight: of vicreg.
        variance_weight: of vicreg.
        covariance_weight: of vicreg.
        redundancy_weight: of barlow_twins.
        batch_size: utterances a step.
        epochs: at most.
        patience: epochs without a lower validation loss before stopping.
        learning_rate: Adam's.
    """

    loss: str = "pairwise_nt_xent"
    temperature: float | None = None
    negatives: Literal["both", "cross_view"] | None = None
    invariance_weight: float | None = None
    variance_weight: float | None = None
    covariance_weight: float | None = None
    redundancy_weight: float | None = None
    batch_size: int = 128
    epochs: int = 100
    patience: int = 30
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        if self.batch_size < 2:
            raise UsageError(f"A contrastive batch needs at least 2 utterances; got batch_size={self.batch_size}.")
        # A loss of another package is not known here; its constructor says what it takes (`losses.make_loss`).
        if (known := LOSS_SETTINGS.get(self.loss)) is not None:
            if others := [name for name in self.loss_settings if name not in known]:
                raise UsageError(
                    f"The loss {self.loss} has no {others[0]} (got {getattr(self, others[0])}); it has "
                    f"{', '.join(known)}. Leave {others[0]} out, or name another loss."
                )
            for name, value in known.items():
                if getattr(self, name) is None:
                    object.__setattr__(self, name, value)
        if self.temperature is not None:
            _check_positive(temperature=self.temperature)
        _check_positive(epochs=self.epochs, patience=self.patience, learning_rate=self.learning_rate)

    @property
    def loss_settings(self) -> dict[str, Any]:
        """What is set of the loss, by the name that its constructor has for it."""
        return {name: value for name in _OF_LOSSES if (value := getattr(self, name)) is not None}

    @property
    def description(self) -> dict[str, Any]:
        """The configuration as JSON values, without what belongs to other losses."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def with_loss(self, loss: str, **settings: Any) -> PretrainingConfig:
        """The same optimisation of another loss, with that one's own settings: those given, else those of its paper.

        >>> PretrainingConfig(epochs=20).with_loss("supcon").description
        {'loss': 'supcon', 'temperature': 0.1, 'batch_size': 128, 'epochs': 20, 'patience': 30, 'learning_rate': 0.001}
        """
        own: dict[str, Any] = {**dict.fromkeys(_OF_LOSSES), **settings}
        return replace(self, loss=loss, **own)


_OPTIMISATION: Final = {"loss", "batch_size", "epochs", "patience", "learning_rate"}
_OF_LOSSES: Final = tuple(f.name for f in fields(PretrainingConfig) if f.name not in _OPTIMISATION)


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

    def is_drawn(self, validation: Validation) -> bool:
        """Whether another repeat has other labels to train with: not if it has all of them, and none are taken to validate."""
        return self != LabelBudget() or validation == "budget"


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise UsageError(f"{name} must be above 0; got {value:g}.")
