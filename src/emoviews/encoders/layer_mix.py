"""The encoder for all layers of a speech model: a learnable mean of layers, two pointwise convolutions, mean over time.

The paper, section 3.2 ("wav2vec 2.0"), after Pepino, Riera and Ferrer, "Emotion Recognition from Speech Using wav2vec 2.0
Embeddings", Interspeech 2021, section 3: the layers are averaged with learnable weights (all 1 at the start, divided by
their sum), then come two convolutions with a kernel of one frame, each with ReLU and dropout, then the mean over the
utterance's frames. A convolution over one frame is a linear layer on `(frames, features)`, and is written as one.

For 13 layers of 768 features that is 13 + (768·128 + 128) + (128·128 + 128) = 114 957 parameters, the paper's 0.132 M less
its head of 0.017 M (supplement, 7.1).

The layers are a hundred times larger than everything after them (13 × 768 numbers a frame against 128), so the mix decides
the speed. It is one pass over the layers, written for that purpose, with a backward pass that reads them once more. They may
stay in the store (`batching.StoredValues`): each pass then widens and scales them a block at a time, in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from emoviews.batching import StoredValues
from emoviews.encoders import Encoder
from emoviews.encoders._dropout import Dropout
from emoviews.encoders._ragged import check_batch, segment_mean
from emoviews.encoders._stacked import BankBatch, Linear, linear
from emoviews.errors import UsageError
from emoviews.types import FEATURES, FRAMES, LAYERS, ViewBatch

_BLOCK_FRAMES = 64
"""Frames mixed at a time on a CPU. 64 × 768 float32 are 200 kB: the product walks over the layers and adds to its output
once a layer, so the output block has to stay in the cache. Summing ∂weights in blocks also makes it 20 times as accurate
in float32 as one sum over all frames and features."""


class LayerMix(Encoder):
    """Learnable mean of layers → two pointwise convolutions → mean over frames.

    Values may be of a narrower dtype than the parameters (stores keep float16): they are widened a block at a time as they
    are read, which on a CPU is 2 to 3 times faster than widening them first.
    """

    name = "layer_mix"
    axes = (LAYERS, FRAMES, FEATURES)
    banks = True
    together = 2  # mixed frames of more would fill gigabytes, and the caches with them
    reads_stored = True

    def __init__(self, shape: tuple[int, ...], hidden: int = 128, dim: int = 128, dropout: float = 0.2) -> None:
        """Construct it for a view of shape `(layers, 0, features)`.

        Args:
            shape: the view's declared shape.
            hidden: size after the first pointwise convolution.
            dim: size after the second, the size of the output.
            dropout: probability, after each of the two.

        Raises:
            UsageError: a size below 1, or a dropout outside [0, 1).
        """
        super().__init__(shape)
        if min(hidden, dim) < 1 or not 0 <= dropout < 1:
            raise UsageError(
                f"layer_mix needs hidden and dim of at least 1 and a dropout in [0, 1), got hidden={hidden}, dim={dim}, "
                f"dropout={dropout}."
            )
        layers, _, features = shape
        self.dim = dim
        self.layer_weights = nn.Parameter(torch.ones(layers))
        self.pointwise = nn.Sequential(
            Linear(features, hidden),
            nn.ReLU(inplace=True),
            Dropout(dropout),
            Linear(hidden, dim),
            nn.ReLU(inplace=True),
            Dropout(dropout),
        )

    def forward(self, batch: ViewBatch) -> Tensor:
        """Values `(layers, frames, features)` → `(batch, dim)`; of a bank `(models · batch, dim)`."""
        check_batch(batch, self.shape, self.axes)
        weights = self.layer_weights / self.layer_weights.sum(-1, keepdim=True)
        if not isinstance(batch, BankBatch):
            return segment_mean(self.pointwise(mix_layers(weights, batch.values)), batch.offsets)
        hidden, offsets = _mix_batches(weights, batch)  # (frames of all models, features)
        stretches = offsets[:: (len(offsets) - 1) // batch.models]
        for layer in self.pointwise:
            if isinstance(layer, Linear):
                hidden = linear(hidden, layer.weight, layer.bias, stretches)
            else:
                hidden = layer(hidden, stretches) if isinstance(layer, Dropout) else layer(hidden)
        return segment_mean(hidden, offsets)

    def plain(self) -> nn.Module:
        """`(batch, layers, frames, features)` → `(batch, dim)`."""
        return _Plain(self)


class _Plain(nn.Module):
    def __init__(self, encoder: LayerMix) -> None:
        super().__init__()
        self.layer_weights = encoder.layer_weights
        self.pointwise = nn.Sequential(*(layer for layer in encoder.pointwise if not isinstance(layer, Dropout)))

    def forward(self, values: Tensor) -> Tensor:
        weights = self.layer_weights / self.layer_weights.sum()
        mixed = (values * weights[:, None, None]).sum(1)  # (batch, frames, features)
        encoded: Tensor = self.pointwise(mixed).mean(1)
        return encoded


def _mix_batches(weights: Tensor, batch: BankBatch) -> tuple[Tensor, Tensor]:
    """Mix the layers for each model of a bank; models that share a batch are mixed in one pass over it.

    Args:
        weights: `(models, layers)`.
        batch: values `(layers, frames, features)`.

    Returns:
        `(frames of all models, features)` and the offsets of all their utterances.
    """
    parts, lengths = [], []
    values_of: Any = batch.values  # a tensor, or `StoredValues`
    batches = zip(
        values_of.split(batch.stretches.diff().tolist(), 1),
        batch.lengths.chunk(len(batch.sharing)),
        strict=True,
    )
    for (values, each), models in zip(batches, torch.split(weights, list(batch.sharing)), strict=True):
        mixed: Tensor = _Mix.apply(models, values)  # type: ignore[no-untyped-call]
        parts.append(mixed.flatten(0, 1))  # (models · frames, features)
        lengths.append(each.repeat(len(models)))
    rows = parts[0] if len(parts) == 1 else torch.cat(parts)
    return rows, torch.nn.functional.pad(torch.cat(lengths).cumsum(0), (1, 0))


def mix_layers(weights: Tensor, values: Tensor | StoredValues) -> Tensor:
    """`Σ_layer weights[layer] · values[layer]`, in the dtype of the weights.

    Differentiable in both arguments, any number of times.

    Args:
        weights: `(layers,)`.
        values: `(layers, frames, features)`, of any floating dtype; or in the store, then without a derivative in them.

    Returns:
        `(frames, features)`.

    >>> mix_layers(torch.tensor([0.5, 2.0]), torch.tensor([[[2.0, 4.0]], [[1.0, 0.0]]]))
    tensor([[3., 2.]])
    """
    mixed: Tensor = _Mix.apply(weights.unsqueeze(0), values)  # type: ignore[no-untyped-call]
    return mixed.squeeze(0)


def _blocks(values: Tensor | StoredValues, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of frames, each as a matrix `(layers, block·features)`: a view of the values unless it is widened."""
    if isinstance(values, StoredValues):
        yield from values.blocks(dtype)
        return
    frames = values.shape[1]
    step = _BLOCK_FRAMES if values.device.type == "cpu" else max(frames, 1)
    for start in range(0, frames, step):
        block = slice(start, min(start + step, frames))
        yield block, values[:, block].to(dtype).flatten(1)


class _Mix(Function):
    """`mixed[m, f, d] = Σ_l weights[m, l] · values[l, f, d]`, for several models m at once.

    `_Mix` and `_Contract` are linear in both arguments and each is the other's derivative, so the two make derivatives of
    any order. Products are written to given outputs, which autocast leaves in the dtype of the weights.
    """

    @staticmethod
    def forward(weights: Tensor, values: Tensor | StoredValues) -> Tensor:
        """`(models, layers)`, `(layers, frames, features)` → `(models, frames, features)`."""
        mixed = weights.new_empty(weights.shape[0], *values.shape[1:])
        for block, matrix in _blocks(values, weights.dtype):
            torch.mm(weights, matrix, out=mixed[:, block].view(len(weights), -1))
        return mixed

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor | StoredValues], output: Tensor) -> None:
        _save(ctx, *inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        weights, values = _saved(ctx)
        for_weights = _Contract.apply(gradient, values) if ctx.needs_input_grad[0] else None  # type: ignore[no-untyped-call]
        for_values = _outer(weights, gradient, values.dtype) if ctx.needs_input_grad[1] else None
        return for_weights, for_values


class _Contract(Function):
    """`out[m, l] = Σ_f,d gradient[m, f, d] · values[l, f, d]`: the derivative of `_Mix` in its weights."""

    @staticmethod
    def forward(gradient: Tensor, values: Tensor | StoredValues) -> Tensor:
        """`(models, frames, features)`, `(layers, frames, features)` → `(models, layers)`."""
        if isinstance(values, Tensor) and values.device.type != "cpu":
            # One product over all frames would keep a few of a GPU's cores busy; one a frame keeps all of them.
            with torch.autocast(values.device.type, enabled=False):
                return torch.bmm(gradient.transpose(0, 1), values.to(gradient.dtype).permute(1, 2, 0)).sum(0)
        out = gradient.new_zeros(gradient.shape[0], values.shape[0])
        for block, matrix in _blocks(values, gradient.dtype):
            out.addmm_(gradient[:, block].flatten(1), matrix.T)
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor | StoredValues], output: Tensor) -> None:
        _save(ctx, *inputs)

    @staticmethod
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor | None, Tensor | None]:
        gradient, values = _saved(ctx)
        for_gradient = _Mix.apply(weights, values) if ctx.needs_input_grad[0] else None  # type: ignore[no-untyped-call]
        for_values = _outer(weights, gradient, values.dtype) if ctx.needs_input_grad[1] else None
        return for_gradient, for_values


def _save(ctx: Any, first: Tensor, values: Tensor | StoredValues) -> None:
    """Keep both for the backward pass; what stays in the store is no tensor, and is read there once more."""
    ctx.stored = None if isinstance(values, Tensor) else values
    ctx.save_for_backward(first, *([values] if isinstance(values, Tensor) else []))


def _saved(ctx: Any) -> tuple[Tensor, Any]:
    first, *values = ctx.saved_tensors
    return first, values[0] if values else ctx.stored


def _outer(weights: Tensor, gradient: Tensor, dtype: torch.dtype) -> Tensor:
    """The derivative of `Σ gradient · _Mix(weights, values)` in the values."""
    return torch.einsum("ml,mfd->lfd", weights, gradient).to(dtype)


ENCODER = LayerMix
