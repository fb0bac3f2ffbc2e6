"""Recognisers, encoders and classifiers → ONNX graphs, for onnxruntime in whatever language.

A graph takes views of one or more recordings, `(batch, ...)` with the view's own axes after `batch`; recordings of a batch are
equally long, their number and length are free. What comes before (audio → view) is not in it.

A recogniser's inductive mode is one graph of all views that it looks at. Everything between the clipped z-scores of a view and
its logits is linear (`fusion.Space`, `propagation.Softmax`), so it is one matrix here, `(features, classes)`: the graph is as
small as the views are wide. Encoders are written one graph a view, with their z-scores, and with their classifier where they
have one.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emoviews import __version__
from emoviews.bundles import KIND, load_fitted
from emoviews.calibration import LOWEST
from emoviews.checkpoints import NOTES, ViewCheckpoint, load_checkpoint
from emoviews.encoders import make_encoder
from emoviews.errors import MissingExtraError, UsageError
from emoviews.fusion import CLIP, QUANTILES, Space, ViewMap
from emoviews.heads import Classifier
from emoviews.inference import GRAPH, input_name, made_from
from emoviews.propagation import FLOOR, Softmax
from emoviews.recognition import Fitted, voiced_feature
from emoviews.store import write_atomically, write_failed
from emoviews.types import FRAMES, ViewSpec

Floats = NDArray[np.float64]

_EXAMPLE_FRAMES: Final = 24
"""Of the example that a graph is traced with; any number does."""


def export_onnx(folder: Path, out: Path | None = None) -> list[Path]:
    """Write what a folder holds as ONNX graphs: a recogniser as `model.onnx`, encoders as `VIEW.onnx`, one for each view.

    Args:
        folder: that `emoviews fit`, `emoviews pretrain` or `emoviews finetune --save-models` wrote.
        out: where to; the same folder when None.

    Raises:
        UsageError: the folder holds neither, or an encoder that has no plain form.
        CheckpointError: it is damaged.
        MissingExtraError: onnx or onnxscript is not installed.
    """
    path = folder / NOTES
    if not path.is_file():
        raise UsageError(
            f"{folder} holds nothing to export (no {NOTES}). Expected a folder that emoviews fit, emoviews pretrain or "
            "emoviews finetune --save-models wrote."
        )
    out = out or folder
    if json.loads(path.read_text(encoding="utf-8")).get("kind") == KIND:
        fitted = load_fitted(folder)
        views = {request.label: {"request": str(request)} for request in fitted.needed("inductive")}
        specs = {label: fitted.specs[label] for label in views}
        notes = {
            "kind": KIND,
            "labels": list(fitted.labels),
            "mode": "inductive",
            "temperature": fitted.temperatures["inductive"],
        }
        return [_write(RecognizerGraph(fitted), specs, views, notes, folder, out / GRAPH)]
    written = []
    for label, view in load_checkpoint(folder).views.items():
        labels = {"labels": list(view.head.labels)} if view.head else {}
        place = out / f"{input_name(label)}.onnx"
        notes = {"kind": "encoder", **labels}
        written.append(_write(EncoderGraph(view), {label: view.spec}, {label: {}}, notes, folder, place))
    return written


class RecognizerGraph(nn.Module):
    """Views → `probabilities` `(batch, classes)`, calibrated, and `distance` `(batch,)` (`inference.Graph.judge`)."""

    outputs = ("probabilities", "distance")

    def __init__(self, fitted: Fitted) -> None:
        super().__init__()
        members = fitted.model.modes["inductive"].members
        self.labels = [request.label for request in fitted.needed("inductive")]
        self.members = nn.ModuleList(_Member(space, classifier) for space, classifier in members)
        self.temperature = fitted.temperatures["inductive"]
        self.outlier = fitted.limits.outlier
        self.voiced = voiced_feature(fitted.specs)

    def forward(self, *views: Tensor) -> tuple[Tensor, Tensor]:
        """In the order of `labels`, `(batch, ...)` each."""
        given = dict(zip(self.labels, views, strict=True))
        vectors = {label: _vectors(values) for label, values in given.items()}
        logs: list[Tensor] = []
        spreads: dict[str, Tensor] = {}
        for member in self.members:
            logits, squares = member(vectors)
            # log(p + FLOOR), but for a constant that the next softmax takes out: exporters drop a summand so close to 0
            logs.append((logits.softmax(1) / FLOOR + 1).log())
            spreads = squares | spreads
        together = torch.stack(logs).mean(0).softmax(1)
        probabilities = (together.clamp(min=LOWEST).log() / self.temperature).softmax(1)
        distance = torch.stack(list(spreads.values())).mean(0).sqrt() / self.outlier
        if self.voiced:
            label, feature = self.voiced
            distance = torch.where(vectors[label][:, feature] <= 0, torch.inf, distance)
        return probabilities, distance


class EncoderGraph(nn.Module):
    """A view → `embedding` `(batch, dim)`, and `probabilities` `(batch, classes)` where there is a classifier."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, view: ViewCheckpoint) -> None:
        super().__init__()
        name, parameters = view.encoder
        encoder = make_encoder(view.spec, name, **parameters)
        encoder.load_state_dict(dict(view.tensors))
        self.encoder, self.classifier = encoder.plain(), None
        self.outputs: tuple[str, ...] = ("embedding",)
        if view.head is not None:
            self.classifier = Classifier(encoder.dim, len(view.head.labels), view.head.hidden)
            self.classifier.load_state_dict(dict(view.head.tensors))
            self.outputs = ("embedding", "probabilities")
        self.scaled = view.scaler is not None
        if view.scaler is not None:
            for part in ("mean", "deviation"):
                values = torch.from_numpy(np.array(getattr(view.scaler, part)))
                self.register_buffer(part, values.unsqueeze(-2) if FRAMES in view.spec.axes else values)

    def forward(self, values: Tensor) -> tuple[Tensor, ...]:
        """`(batch, ...)`, the view's axes after `batch`."""
        if self.scaled:
            values = (values - self.mean) / self.deviation
        embedding = self.encoder(values)
        return (embedding,) if self.classifier is None else (embedding, self.classifier(embedding).softmax(1))


class _Member(nn.Module):
    """One of the classifiers whose log-probabilities are averaged, from the views' vectors."""

    intercept: Tensor

    def __init__(self, space: Space, classifier: Softmax) -> None:
        super().__init__()
        self.maps = nn.ModuleDict(
            {input_name(label): _ViewLogits(view, classifier) for label, view in space.maps.items()}
        )
        self.labels = list(space.maps)
        self.register_buffer("intercept", _float32(classifier.intercept))

    def forward(self, vectors: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """View → `(batch, features)`; logits `(batch, classes)`, and of each view the mean square of its z-scores."""
        found = {label: self.maps[input_name(label)](vectors[label]) for label in self.labels}
        logits = self.intercept + torch.stack([logits for logits, _ in found.values()]).sum(0)
        return logits, {label: squares for label, (_, squares) in found.items()}


class _ViewLogits(nn.Module):
    """z-scores of a view's vectors, clipped, and what they add to the logits."""

    mean: Tensor
    deviation: Tensor
    weights: Tensor
    shift: Tensor

    def __init__(self, view: ViewMap, classifier: Softmax) -> None:
        super().__init__()
        weights = view.matrix @ classifier.weights  # (features, classes)
        self.register_buffer("mean", _float32(view.mean))
        self.register_buffer("deviation", _float32(view.deviation))
        self.register_buffer("weights", _float32(weights))
        self.register_buffer("shift", _float32(view.center @ weights))

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        scores = ((vectors - self.mean) / self.deviation).clamp(-CLIP, CLIP)
        return scores @ self.weights - self.shift, scores.square().mean(1)


def _vectors(values: Tensor) -> Tensor:
    """`(batch, ...)` → `(batch, features)`, as `recognizer.as_vectors` makes them of one recording."""
    if values.ndim == 4:
        values = values.mean(1)
    return values if values.ndim == 2 else _time_statistics(values)


def _time_statistics(frames: Tensor) -> Tensor:
    """`(batch, frames, features)` → `(batch, 7 · features)`: `fusion.time_statistics`, of frames of one length."""
    change = frames[:, 1:] - frames[:, :-1]
    last = torch.ones_like(frames[0, 1:, 0]).sum()  # frames - 1, as the graph counts them
    changes = last.clamp(min=1)
    mean, mean_change = frames.mean(1, keepdim=True), change.sum(1, keepdim=True) / changes
    ordered = frames.sort(dim=1).values
    quantiles = []
    for share in QUANTILES:
        place = last * share
        below = place.floor()
        low, high = (ordered.index_select(1, at.long().reshape(1))[:, 0] for at in (below, place.ceil()))
        quantiles.append(low + (high - low) * (place - below))
    parts = [
        mean[:, 0],
        (frames - mean).square().mean(1).sqrt(),
        *quantiles,
        change.abs().sum(1) / changes,
        ((change - mean_change).square().sum(1) / changes).sqrt(),
    ]
    return torch.cat(parts, dim=1)


def _write(
    model: RecognizerGraph | EncoderGraph,
    specs: Mapping[str, ViewSpec],
    views: Mapping[str, Mapping[str, str]],
    notes: Mapping[str, Any],
    folder: Path,
    place: Path,
) -> Path:
    """Export a model whose inputs are the views `specs`, in that order; `views` and `notes` become metadata."""
    described = {
        label: {
            **views[label],
            "input": input_name(label),
            "axes": ["batch", *spec.axes],
            "fingerprint": spec.fingerprint,
            "licence": spec.licence,
        }
        for label, spec in specs.items()
    }
    metadata = {**notes, "views": described, "source": made_from(folder), "emoviews": __version__}
    program = _exported(model.eval(), list(specs.values()), [input_name(label) for label in specs])
    for name, value in metadata.items():
        program.model.metadata_props[name] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    blob = program.model_proto.SerializeToString()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, blob)
    except OSError as error:
        raise write_failed(place, error, len(blob)) from error
    return place


def _exported(model: RecognizerGraph | EncoderGraph, specs: Sequence[ViewSpec], names: Sequence[str]) -> Any:
    """What torch's exporter makes of the model, with its words kept back: they are about its own insides."""
    for package in ("onnx", "onnxscript"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtraError("The export to ONNX", package=package, extra="onnx") from error
    examples = tuple(torch.randn(2, *(size or _EXAMPLE_FRAMES for size in spec.shape)) for spec in specs)
    batch = torch.export.Dim("batch")
    free = [
        {0: batch} | {n: torch.export.Dim(f"{name}_frames") for n, axis in enumerate(spec.axes, 1) if axis == FRAMES}
        for spec, name in zip(specs, names, strict=True)
    ]
    loud = logging.getLogger("torch.onnx"), logging.getLogger("onnxscript")
    before = [logger.level for logger in loud]
    try:
        for logger in loud:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.onnx.export(
                model,
                examples,
                input_names=list(names),
                output_names=list(model.outputs),
                dynamic_shapes={"views": tuple(free)} if isinstance(model, RecognizerGraph) else tuple(free),
                dynamo=True,
                verbose=False,
            )
    finally:
        for logger, level in zip(loud, before, strict=True):
            logger.setLevel(level)


def _float32(values: Floats) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
