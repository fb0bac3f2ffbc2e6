"""Table 5 (supplement, 7.1): how many parameters are trained and how many stay frozen.

Nothing is trained for it: the modules are constructed as a training would construct them, without memory (torch's meta device),
and counted. The paper's table contradicts its text and itself; the notes beside its rows say where, and what would fit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

import pandas as pd
import torch
from torch import nn

from emoviews.encoders import DEFAULT_ENCODER, Encoder, make_encoder
from emoviews.experiments import Experiment, Plan
from emoviews.heads import Classifier, ProjectionHead
from emoviews.jobs import Job
from emoviews.presets import ModelPreset, get_preset
from emoviews.results import Results
from emoviews.types import FEATURES, FRAMES, LAYERS, ViewSpec

HERE: Final = "Parameters of this run"
RECOUNTED: Final = "The paper's table, counted again"

TUNED: Final = "fine-tuning, encoder tuned"
FROZEN: Final = "fine-tuning, encoder frozen"
PRETRAINING: Final = "pre-training"

ALL_VIEWS: Final = "all"
"""The view of a pre-training's row."""

PAPER_CLASSES: Final = 4
"""Neutral, angry, sad, happy with excited (section 3.1)."""

PAPER_VIEWS: Final = {
    "wav2vec2": ((LAYERS, FRAMES, FEATURES), (13, 0, 768)),
    "mel_spectrogram": ((FRAMES, FEATURES), (0, 64)),
    "egemaps": ((FEATURES,), (88,)),
}
"""The paper's views (section 3.2): registered name → axes and shape."""

PAPER_PRESETS: Final = ("paper-table", "paper-text")

_PAPER: Final = (
    (
        *("wav2vec2", TUNED, 94.4, 0.132),
        "The encoder (0.115) and a head with a hidden layer of 128 (0.017) make 0.132. The text's head is linear, 0.0005.",
    ),
    (
        *("wav2vec2", FROZEN, 94.515, 0.017),
        "The paper's 94.515 adds up two rounded numbers, 94.4 and 0.115; the exact sum is 94.487.",
    ),
    (
        *("mel_spectrogram", TUNED, 0.0, 0.061),
        "The paper's sum of 0.035 and 0.026. Its CNN is not described beyond three layers; ours is as large.",
    ),
    (
        *("mel_spectrogram", FROZEN, 0.035, 0.026),
        "A head of 0.026 with a hidden layer of 128 needs an encoder about 198 wide; that of wav2vec 2.0 is 128 wide.",
    ),
    (
        *("egemaps", TUNED, 0.0, 0.029),
        "The paper's sum of 0.011 and 0.018. With the text's MLP (256 and 128) the encoder alone has 0.056.",
    ),
    (
        *("egemaps", FROZEN, 0.011, 0.018),
        "0.011 is one layer of 128, the text has two (256 and 128). 0.018 fits a head with a hidden layer of 128 for 10 "
        "classes; for 4 classes it is 0.017.",
    ),
    (
        *(ALL_VIEWS, PRETRAINING, 94.5, 0.202),
        "No sum of parts gives 0.202: the table's three encoders have 0.161 and three projection heads (256 and 128) 0.198, "
        "together 0.359; the three encoders with the text's MLP, without heads, have 0.205. The frozen part is wav2vec 2.0, "
        "94.4 in the first row.",
    ),
)
"""The paper's table 5, in millions (view, training, frozen, trainable), and what explains the difference."""


class Parameters(Experiment):
    """How many parameters are trained."""

    name = "parameters"
    title = "Parameters"
    source = "Table 5"

    def jobs(self, plan: Plan) -> list[Job]:
        """None: the modules are counted, not trained."""
        return []

    def why_no_jobs(self, plan: Plan) -> str:
        """Nothing is missing."""
        return "it is counted, not trained"

    def tables(self, results: Results) -> dict[str, pd.DataFrame]:
        """What this run's trainings hold, where the run says its preset and classes; and the paper's table, counted again."""
        description = results.description()
        views = {label: ViewSpec.of(described) for label, described in description.get("views", {}).items()}
        preset, labels = description.get("configuration", {}).get("preset"), description.get("labels", [])
        found = {}
        if views and preset is not None and len(labels) >= 2:
            found[HERE] = counts(views, get_preset(preset), len(labels))
        found[RECOUNTED] = recounted()
        return found


@dataclass(frozen=True)
class Parts:
    """Parameters of what makes up one view's models.

    Attributes:
        encoder_name: the registered name.
        extractor: of the speech model that gives the view, which is never trained; NaN where it is not known here.
        encoder: of the view-level encoder.
        classifier: of the head for fine-tuning.
        projection: of the head for pre-training.
    """

    encoder_name: str
    extractor: float
    encoder: int
    classifier: int
    projection: int


def parts(spec: ViewSpec, preset: ModelPreset, classes: int) -> Parts:
    """Count the modules of one view.

    Args:
        spec: the view.
        preset: which encoders and heads.
        classes: number of classes, at least 2.

    Raises:
        UsageError: fewer than two classes.
    """
    name = DEFAULT_ENCODER[spec.axes]
    with torch.device("meta"):  # shapes without memory or random numbers
        encoder: Encoder = make_encoder(spec, name, **preset.encoders.get(name, {}))
        classifier = Classifier(encoder.dim, classes, hidden=preset.classifier_hidden)
        projection = ProjectionHead(encoder.dim, **preset.projection)
    return Parts(name, _extractor(spec), n_parameters(encoder), n_parameters(classifier), n_parameters(projection))


def counts(views: Mapping[str, ViewSpec], preset: ModelPreset, classes: int) -> pd.DataFrame:
    """Frozen and trainable parameters of every training of these views.

    Args:
        views: label → view.
        preset: which encoders and heads.
        classes: number of classes, at least 2.

    Returns:
        `view, encoder, training, frozen, trainable, extractor_parameters, encoder_parameters, head_parameters`: two rows a
        view, then one of the pre-training of all views. Frozen parameters are those of a speech model that gives a view, as in
        the paper, and of a frozen encoder; NaN where a speech model can't be counted.

    Raises:
        UsageError: fewer than two classes.
    """
    found = {label: parts(spec, preset, classes) for label, spec in views.items()}
    rows = []
    for label, of in found.items():
        encoder_rows = (
            (TUNED, of.extractor, of.encoder + of.classifier),
            (FROZEN, of.extractor + of.encoder, of.classifier),
        )
        for training, frozen, trainable in encoder_rows:
            sizes = (of.extractor, of.encoder, of.classifier)
            rows.append((label, of.encoder_name, training, frozen, trainable, *sizes))
    extractors = math.fsum(of.extractor for of in found.values())
    encoders, heads = (sum(getattr(of, name) for of in found.values()) for name in ("encoder", "projection"))
    together = (extractors, encoders + heads, extractors, encoders, heads)
    rows.append((ALL_VIEWS, "all encoders", PRETRAINING, *together))
    columns = ["view", "encoder", "training", "frozen", "trainable"]
    return pd.DataFrame(rows, columns=[*columns, "extractor_parameters", "encoder_parameters", "head_parameters"])


def recounted() -> pd.DataFrame:
    """The paper's table 5 beside what our modules count for the paper's three views and four classes.

    Returns:
        `view, training, paper_frozen_millions, paper_trainable_millions`, `frozen` and `trainable` of each of the paper's
        presets, `note`.
    """
    table = pd.DataFrame(
        _PAPER, columns=["view", "training", "paper_frozen_millions", "paper_trainable_millions", "note"]
    )
    views = {name: ViewSpec(name, 1, {}, axes, shape, "float32", None) for name, (axes, shape) in PAPER_VIEWS.items()}
    for preset in PAPER_PRESETS:
        ours = counts(views, get_preset(preset), PAPER_CLASSES)[["view", "training", "frozen", "trainable"]]
        table = table.merge(ours.rename(columns={c: f"{preset}_{c}" for c in ("frozen", "trainable")}), validate="1:1")
    return table[[c for c in table.columns if c != "note"] + ["note"]]


def n_parameters(module: nn.Module) -> int:
    """All parameters of a module.

    >>> n_parameters(nn.Linear(3, 2))
    8
    """
    return sum(parameter.numel() for parameter in module.parameters())


def _extractor(spec: ViewSpec) -> float:
    """Parameters of the frozen speech model that gives the view; 0 for a view that is computed, NaN for an unknown model."""
    if LAYERS not in spec.axes:
        return 0.0
    is_base = spec.name == "wav2vec2" and spec.shape == PAPER_VIEWS["wav2vec2"][1]
    return float(wav2vec2_base_parameters()) if is_base else math.nan


@cache
def wav2vec2_base_parameters() -> int:
    """Parameters of wav2vec 2.0 base, from its architecture alone: the defaults of transformers are this model."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    with torch.device("meta"):
        return n_parameters(Wav2Vec2Model(Wav2Vec2Config()))


EXPERIMENT = Parameters()
