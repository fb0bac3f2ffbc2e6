"""The encoder for spectrograms: convolutions over time with the bands as channels, mean over time.

The paper, section 3.2, says "a CNN backbone with three layers" and no more; its table of parameters (supplement, 7.1) gives
it 0.035 M. Ours has 34 784 for 64 bands: three convolutions of 3 frames to 48, 48 and 128 channels, each with a stride of 2,
ReLU and dropout. Striding from the first layer on keeps it cheap: a training pass over 250 frames is about 11 MFLOP.

Every utterance gives exactly what it would give alone: `ceil(frames / stride)` frames a layer, as if zeros stood before its
first and after its last frame, whatever its neighbours in the batch.

The layers are so small that moving data would cost more than computing with it: gathering the windows of a convolution takes as
long as the product over them, and scattering their gradient longer. So nothing is gathered. Each utterance lies in a slot,
followed by a few rows of zeros (3 % of all for 250 frames), and slots begin at multiples of all strides together. Then `stride`
neighbouring rows, read as one longer row, are a matrix whose row t is the part of window t that begins there, and the
convolution is one matrix product for each such part: for a kernel of 3 and a stride of 2, one over the pair that a window
begins in and one over the last row of the pair before. The slots of the output are `stride` times as short, and what the
products left in the rows of zeros is set to zero again. `benchmarks/bench_encoders.py` compares formulations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable

from emoviews.encoders import Encoder
from emoviews.encoders._dropout import Draws, Dropout
from emoviews.encoders._ragged import check_batch, segment_mean, spread
from emoviews.encoders._stacked import BankBatch, GatheredRows
from emoviews.errors import UsageError
from emoviews.types import FEATURES, FRAMES, ViewBatch

_PIECE_ROWS = 512
"""Rows of a piece of a long product on a GPU."""


class TemporalCNN(Encoder):
    """Strided convolutions over time, each with ReLU and dropout → mean over frames."""

    name = "temporal_cnn"
    axes = (FRAMES, FEATURES)
    banks = True
    together = 4
    gathers = True

    def __init__(
        self,
        shape: tuple[int, ...],
        channels: Sequence[int] = (48, 48, 128),
        kernels: Sequence[int] = (3, 3, 3),
        strides: Sequence[int] = (2, 2, 2),
        dropout: float = 0.2,
    ) -> None:
        """Construct it for a view of shape `(0, features)`.

        Args:
            shape: the view's declared shape.
            channels: size after each layer; the last is the size of the output.
            kernels: frames each layer sees at a time.
            strides: frames each layer moves on by.
            dropout: probability, after each layer.

        Raises:
            UsageError: lists of different lengths or none, a number below 1, or a dropout outside [0, 1).
        """
        super().__init__(shape)
        if not len(channels) == len(kernels) == len(strides) > 0 or min(*channels, *kernels, *strides) < 1:
            raise UsageError(
                "temporal_cnn needs channels, kernels and strides of one length, every number at least 1; got "
                f"channels={tuple(channels)}, kernels={tuple(kernels)}, strides={tuple(strides)}."
            )
        if not 0 <= dropout < 1:
            raise UsageError(f"temporal_cnn needs a dropout in [0, 1), got {dropout}.")
        self.dim = channels[-1]
        inputs = [shape[-1], *channels[:-1]]
        # Modules of torch for their parameters, initial values and printed form; `convolve` does the computing.
        self.layers = nn.ModuleList(
            nn.Conv1d(i, o, kernel, stride)
            for i, o, kernel, stride in zip(inputs, channels, kernels, strides, strict=True)
        )
        self.dropout = Dropout(dropout)

    def forward(self, batch: ViewBatch) -> Tensor:
        """Values `(frames, features)` → `(batch, dim)`.

        Of a bank, `(models · batch, dim)`, or `(models, batch, dim)` where all its models share the batch.
        """
        check_batch(batch, self.shape, self.axes)
        batches = 0  # that lie end to end, one for each model; 0 where there is one, for one model or for all
        if isinstance(batch, BankBatch) and len(batch.sharing) > 1:
            batch = batch.a_batch_each()
            batches = batch.models
        layers = cast("list[nn.Conv1d]", list(self.layers))
        equal = batches if _together(batch.values) else 0
        slots = lay_out(batch.lengths, [(layer.kernel_size[0], layer.stride[0]) for layer in layers], equal)
        hidden = slots[0].place(batch.values, batch.offsets).to(layers[0].weight.dtype)  # stores keep float16
        for layer, inside in zip(layers, slots[1:], strict=True):
            hidden = convolve(
                hidden, layer.weight, cast(Tensor, layer.bias), layer.stride[0], inside, batches, self.dropout
            )
        return segment_mean(hidden, slots[-1].starts, slots[-1].lengths)

    def plain(self) -> nn.Module:
        """`(batch, frames, features)` → `(batch, dim)`."""
        return _Plain(self)


class _Plain(nn.Module):
    """The usual convolutions; all utterances of a batch are equally long, so zeros stand around each as they are padded."""

    def __init__(self, encoder: TemporalCNN) -> None:
        super().__init__()
        self.layers = encoder.layers

    def forward(self, values: Tensor) -> Tensor:
        hidden = values.transpose(1, 2)  # (batch, features, frames)
        for layer in cast("list[nn.Conv1d]", list(self.layers)):
            before = (layer.kernel_size[0] - 1) // 2
            hidden = F.relu(layer(F.pad(hidden, (before, layer.kernel_size[0] - 1 - before))))
        return hidden.mean(2)


@dataclass(frozen=True)
class Slots:
    """Where the utterances of a batch lie: each in a slot of its own, its frames first, zeros after them.

    Attributes:
        starts: `(batch + 1,)` int64 on the CPU: slot i is of the rows `starts[i]` to `starts[i + 1]`.
        lengths: `(batch,)` frames of each utterance.
    """

    starts: Tensor
    lengths: Tensor

    def gaps(self, device: torch.device) -> Tensor:
        """The rows that belong to no utterance, ascending, on a device."""
        empty = self.starts.diff() - self.lengths  # (batch,)
        before = F.pad(empty.cumsum(0), (1, 0))
        first = self.starts[:-1] + self.lengths - before[:-1]
        rows = int(before[-1])
        return torch.arange(rows, device=device) + spread(first, empty, rows, device)

    def place(self, values: Tensor | GatheredRows, offsets: Tensor) -> Tensor:
        """Frames end to end, `(frames, features)`, → `(rows, features)`."""
        where = torch.device("cpu") if isinstance(values, GatheredRows) else values.device
        rows = int(self.starts[-1])
        before = spread((self.starts - offsets)[:-1], self.starts.diff(), rows, where)
        frames = (torch.arange(rows, device=where) - before).clamp_(max=len(values) - 1)  # anything in the gaps
        return values.index_select(0, frames).index_fill_(0, self.gaps(values.device), 0.0)

    def stretches(self, batches: int) -> Tensor | None:
        """`(batches + 1,)`: where each of so many batches of equally many utterances begins; None for 0."""
        return self.starts[:: len(self.lengths) // batches] if batches else None


def lay_out(lengths: Tensor, layers: Sequence[tuple[int, int]], equal: int = 0) -> list[Slots]:
    """Slots of the input and of each layer's output.

    Args:
        lengths: `(batch,)` frames of each utterance.
        layers: (kernel, stride) of each.
        equal: so many batches, of equally many utterances, take equally many rows each; the last slot of each is larger
            where it must. 0: as they come.

    >>> [(s.starts.tolist(), s.lengths.tolist()) for s in lay_out(torch.tensor([5, 2]), [(3, 2), (3, 2)])]
    [([0, 8, 12], [5, 2]), ([0, 4, 6], [3, 1]), ([0, 2, 3], [2, 1])]
    """
    step = prod(stride for _, stride in layers)
    of_layer, room, scale = [lengths], torch.zeros_like(lengths), 1
    for kernel, stride in layers:
        # A window reaches (kernel - 1) // 2 rows before its first frame, which are the zeros of the slot before, and
        # the rest after it.
        left = (kernel - 1) // 2
        here = of_layer[-1]
        room = torch.maximum(room, scale * (here + max(left, kernel - 1 - left)))
        of_layer.append((here + stride - 1).div(stride, rounding_mode="floor"))
        scale *= stride
    slots = (room + step - 1).div(step, rounding_mode="floor")  # in rows of the last layer
    if equal:
        of_batch = slots.view(equal, -1)
        rows = of_batch.sum(1)
        of_batch[:, -1] += rows.max() - rows
    starts, scales = F.pad(slots.cumsum(0), (1, 0)), [step]
    for _, stride in layers:
        scales.append(scales[-1] // stride)
    return [Slots(starts * scale, length) for scale, length in zip(scales, of_layer, strict=True)]


def convolve(
    values: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride: int,
    out: Slots,
    batches: int = 0,
    dropout: Dropout | None = None,
) -> Tensor:
    """Convolve each utterance over time, with zeros around it; then ReLU; then dropout.

    Frame t of the output sees frames `t·stride − (kernel − 1)//2` and the `kernel − 1` after it.

    Args:
        values: `(rows, features)` in slots; or `(models, rows, features)`.
        weight: `(channels, features, kernel)`, as `torch.nn.Conv1d` has it; or stacked `(models, channels, features, kernel)`.
        bias: `(channels,)` or `(models, channels)`.
        stride: frames from one window to the next.
        out: the slots of the output (`lay_out`).
        batches: for stacked weights and values `(rows, features)`: so many batches, of equally many utterances, lie end
            to end, one for each model. 0: there is one, for all models.
        dropout: of the output; None for none.

    Returns:
        `(rows of the output, channels)`; where all models share the batch, `(models, rows of the output, channels)`.
    """
    stretches = out.stretches(batches)
    bounds = stretches.tolist() if stretches is not None else []
    models = weight.shape[:-3] if stretches is None else ()  # where they share the batch, each has its own output
    shape = (*models, int(out.starts[-1]), weight.shape[-3])
    draws = dropout.draw(shape, values, stretches) if dropout is not None else None
    gaps = out.gaps(values.device)
    convolved: Tensor = _Convolve.apply(values, weight, bias, stride, shape, gaps, bounds, draws)  # type: ignore[no-untyped-call]
    return convolved


@dataclass(frozen=True)
class _Part:
    """The part of a window that lies within one long row (of `stride` rows): a matrix product of the convolution.

    Attributes:
        shift: which long row, counted from the one that has the output's number.
        columns: of the long row.
        taps: columns of the weights, `(channels, kernel · features)`.
    """

    shift: int
    columns: slice
    taps: slice

    def rows(self) -> tuple[slice, slice]:
        """Of the output, and the long rows that they read: where one is outside, it would read zeros, or give a gap."""
        if self.shift < 0:
            return slice(-self.shift, None), slice(None, self.shift)
        return slice(None, -self.shift or None), slice(self.shift, None)


def _parts(kernel: int, stride: int, features: int) -> list[_Part]:
    """The parts of a window, the one of the output's own long row first: it has a row for every row of the output."""
    left = (kernel - 1) // 2
    found: dict[int, list[int]] = {}
    for tap in range(kernel):
        found.setdefault((tap - left) // stride, []).append(tap)
    parts = []
    for shift, taps in sorted(found.items(), key=lambda item: abs(item[0])):
        column = (taps[0] - left) % stride
        columns = slice(column * features, (column + len(taps)) * features)
        parts.append(_Part(shift, columns, slice(taps[0] * features, (taps[-1] + 1) * features)))
    return parts


class _Convolve(Function):
    """Convolution, bias, ReLU, zeros in the gaps, dropout: for one model, or for each of many its own products.

    Whatever became 0 on the way passes no gradient back, and that can be told from the output. What is kept is scaled by
    scaling the weights.
    """

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        weight: Tensor,
        bias: Tensor,
        stride: int,
        shape: tuple[int, ...],
        gaps: Tensor,
        bounds: list[int],
        draws: Draws | None,
    ) -> Tensor:
        channels, features, kernel = weight.shape[-3:]
        ctx.scale = draws.scale if draws is not None else 1.0
        taps = weight.transpose(-1, -2).reshape(-1, channels, kernel * features) * ctx.scale  # (models, channels, ...)
        bias = bias.view(-1, channels) * ctx.scale
        ctx.parts = _parts(kernel, stride, features)
        out = values.new_empty(shape)
        ctx.each = _Each(bounds, len(taps), together=_together(values))
        add_product = torch.baddbmm if ctx.each.together else torch.addmm
        rows = ctx.each.rows(_long_rows(values, shape[-2])), ctx.each.rows(out)
        for x, y, w, b in zip(*rows, ctx.each.weights(taps), ctx.each.weights(bias.unsqueeze(1)), strict=True):
            for number, part in enumerate(ctx.parts):
                written, read = part.rows()
                begun = y[..., written, :] if number else b
                add_product(begun, x[..., read, part.columns], w[..., part.taps].mT, out=y[..., written, :])
        out.relu_().index_fill_(-2, gaps, 0.0)
        if draws is not None:
            draws.apply_(out)
        ctx.save_for_backward(values, taps, out)
        ctx.shape = weight.shape
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, taps, out = ctx.saved_tensors
        gradient = torch.ops.aten.threshold_backward(gradient, out, 0.0)  # where(out > 0, gradient, 0), in one pass
        rows, each = out.shape[-2], ctx.each
        for_taps, for_bias = torch.empty_like(taps), taps.new_empty(taps.shape[:2])
        for_values, for_inputs = None, each.nothing()
        if ctx.needs_input_grad[0]:
            # Together, models that read the same rows need a place each to write to.
            apart = (each.models,) if each.together and values.ndim == 2 and not each.bounds else ()
            for_values = values.new_zeros(*apart, *values.shape)
            for_inputs = each.rows(_long_rows(for_values, rows))
        product, add_product = (_long_products, torch.baddbmm) if each.together else (_product, torch.addmm)
        of_rows = each.rows(_long_rows(values, rows)), for_inputs, each.rows(gradient)
        of_weights = [each.weights(tensor) for tensor in (taps, for_taps, for_bias)]
        for x, for_x, g, w, for_w, for_b in zip(*of_rows, *of_weights, strict=True):
            torch.sum(g, -2, out=for_b)
            for part in ctx.parts:
                written, read = part.rows()
                product(g[..., written, :], x[..., read, part.columns], for_w[..., part.taps])
                if for_x is not None:
                    there = for_x[..., read, part.columns]
                    add_product(there, g[..., written, :], w[..., part.taps], out=there)
        if for_values is not None:
            for_values = for_values.sum_to_size(values.shape)
        *models, channels, features, kernel = ctx.shape
        for_weight = for_taps.mul_(ctx.scale).view(*models, channels, kernel, features).transpose(-1, -2).contiguous()
        return for_values, for_weight, for_bias.mul_(ctx.scale).view(*models, channels), None, None, None, None, None


def _product(g: Tensor, x: Tensor, out: Tensor) -> None:
    """`(rows, channels)`, `(rows, columns)` → `(channels, columns)`: their product over the rows."""
    torch.mm(g.T, x, out=out)


def _long_products(g: Tensor, x: Tensor, out: Tensor) -> None:
    """The same for every model, `(models, ...)`, on a GPU.

    One product a model over ten thousands of rows would be the work of one of its cores; so it is cut into pieces.
    """
    models, rows, channels = g.shape
    pieces = rows // _PIECE_ROWS
    torch.bmm(g[:, pieces * _PIECE_ROWS :].mT, x[:, pieces * _PIECE_ROWS :], out=out)  # the rest, or zeros
    if pieces:
        cut = [t[:, : pieces * _PIECE_ROWS].reshape(models * pieces, _PIECE_ROWS, -1) for t in (g, x)]
        out.add_(torch.bmm(cut[0].mT, cut[1]).view(models, pieces, channels, -1).sum(1))


def _together(values: Tensor | GatheredRows) -> bool:
    """Whether the products of all models are one: on a GPU, where a small one costs its launch."""
    return values.device.type != "cpu"


@dataclass(frozen=True)
class _Each:
    """How a convolution goes through its models: one after the other (a CPU), or all together (a GPU).

    Attributes:
        bounds: where each model's rows begin and end; empty where each has its own entry along the first axis, or all
            read the same rows.
        models: how many there are.
        together: whether they are one batched product.
    """

    bounds: list[int]
    models: int
    together: bool

    def rows(self, rows: Tensor) -> list[Tensor]:
        """The rows of each model: its stretch, its own entry along the first axis, or all. Together: `(models, ...)`."""
        if self.together:
            return [rows.view(self.models, -1, rows.shape[-1]) if self.bounds else rows.expand(self.models, -1, -1)]
        if self.bounds:
            return [rows[a:b] for a, b in pairwise(self.bounds)]
        return list(rows) if rows.ndim == 3 else [rows] * self.models

    def weights(self, weights: Tensor) -> list[Tensor]:
        """`(models, ...)`, of each model or together."""
        return [weights] if self.together else list(weights)

    def nothing(self) -> list[Any]:
        """In place of rows that are not wanted."""
        return [None] * (1 if self.together else self.models)


def _long_rows(values: Tensor, rows: int) -> Tensor:
    """`(..., rows · stride, features)` → `(..., rows, stride · features)`."""
    return values.view(*values.shape[:-2], rows, -1)


ENCODER = TemporalCNN
