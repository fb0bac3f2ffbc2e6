"""Many models at once: the ordinary modules with the parameters of several models stacked, `(models, ...)`.

`stack` makes one module out of several alike; `Linear` and `linear` take weights of one model or of many; a `BankBatch` says
which rows are whose. So that there is one definition of every model, and a bank of them is that definition with larger
parameters. Everything between the products (gathering frames, ReLU, dropout, means over frames) runs once over the rows of all
models end to end.

A product of stacked weights has its own backward pass. It gives gradients laid out as the weights are, which an optimiser
reads without a copy (autograd's are transposed), and where the models have different numbers of rows (frames of different
utterances) each product writes into its stretch of one result, so that nothing is padded and each has the shape that it has
for one model.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable

from emoviews.types import ViewBatch

Module = TypeVar("Module", bound=nn.Module)


class GatheredRows:
    """Rows of a tensor that are copied only when somebody says into which order, so that they are copied once.

    It has what an encoder asks of a tensor `(rows, features)` before it lays the rows out.
    """

    def __init__(self, source: Tensor, index: Tensor) -> None:
        """`source`: `(any, features)`; `index`: `(rows,)` int64 on the CPU, its rows in their order here."""
        self.source, self.index = source, index
        self.shape = torch.Size([len(index), *source.shape[1:]])
        self.dtype, self.device = source.dtype, source.device

    def __len__(self) -> int:
        return len(self.index)

    def index_select(self, axis: int, index: Tensor) -> Tensor:
        """As `Tensor.index_select` along the first axis; the only way to get at the numbers."""
        if axis != 0:
            raise ValueError(f"Rows are gathered along axis 0, got {axis}.")
        return self.source.index_select(0, self.index.index_select(0, index).to(self.device))


@dataclass(frozen=True)
class BankBatch(ViewBatch):
    """Batches of one view for the models of a bank, end to end, of equally many utterances each.

    The values may be `GatheredRows` for encoders that say so (`Encoder.gathers`).

    Attributes:
        sharing: of each batch, how many consecutive models take it: `(1, 1, 1)` is a batch for each of three models, `(3,)`
            one batch for all three.
    """

    sharing: tuple[int, ...]

    @property
    def models(self) -> int:
        """How many models take these batches."""
        return sum(self.sharing)

    @property
    def stretches(self) -> Tensor:
        """`(batches + 1,)`: batch b owns the frames `stretches[b]` to `stretches[b + 1]`."""
        return self.offsets[:: len(self) // len(self.sharing)]

    def a_batch_each(self) -> BankBatch:
        """The same with a batch for each model: batches that are shared are repeated. Frames must be the first axis."""
        if len(self.sharing) == self.models:
            return self
        values: Any = self.values
        gathered = isinstance(values, GatheredRows)
        rows = values.index if gathered else values
        parts = [part for part, n in zip(torch.split(rows, self.stretches.diff().tolist()), self.sharing, strict=True)
                 for _ in range(n)]  # fmt: skip
        values = GatheredRows(values.source, torch.cat(parts)) if gathered else torch.cat(parts)
        per_batch = self.lengths.view(len(self.sharing), -1)
        lengths = per_batch.repeat_interleave(torch.tensor(self.sharing), dim=0).flatten()
        return BankBatch(values, F.pad(lengths.cumsum(0), (1, 0)), (1,) * self.models)


def stack(modules: Sequence[Module]) -> Module:
    """One module with the parameters of all, stacked: `(models, ...)` each. It shares no memory with them.

    >>> stack([Linear(3, 2), Linear(3, 2)]).weight.shape
    torch.Size([2, 2, 3])
    """
    stacked = copy.deepcopy(modules[0])
    each = [dict(module.named_parameters()) for module in modules]
    with torch.no_grad():
        for name, parameter in stacked.named_parameters():
            parameter.data = torch.stack([parameters[name] for parameters in each])
    return stacked


class Linear(nn.Linear):
    """`torch.nn.Linear` for one model or, stacked, for many (`linear`)."""

    def forward(self, values: Tensor) -> Tensor:
        """`(rows, in)` → `(rows, out)`; stacked: `(rows, in)` or `(models, rows, in)` → `(models, rows, out)`."""
        return linear(values, self.weight, self.bias)


def linear(values: Tensor, weight: Tensor, bias: Tensor | None, stretches: Tensor | None = None) -> Tensor:
    """`values @ weight.T + bias`, for one model or for each of many.

    Args:
        values: `(rows, in)`, or with stacked weights `(models, rows, in)`.
        weight: `(out, in)`, or stacked `(models, out, in)`.
        bias: `(out,)` or `(models, out)`, or None.
        stretches: `(models + 1,)` int64 on the CPU, for stacked weights and values `(rows, in)` of which each model owns a
            stretch, from `stretches[m]` to `stretches[m + 1]`. None: all models read all rows.

    Returns:
        `(rows, out)` for one model and where each model owns a stretch of the rows; else `(models, rows, out)`.

    Raises:
        ValueError: stretches that are not one a model.

    >>> two = torch.tensor([[[1.0]], [[10.0]]])  # (models, out, in)
    >>> rows = torch.tensor([[1.0], [2.0], [3.0]])
    >>> linear(rows, two, None).flatten(1)
    tensor([[ 1.,  2.,  3.],
            [10., 20., 30.]])
    >>> linear(rows, two, None, torch.tensor([0, 1, 3])).flatten()
    tensor([ 1., 20., 30.])
    """
    if weight.ndim == 2:
        return F.linear(values, weight, bias)
    if bias is None:
        bias = weight.new_zeros(weight.shape[:2])
    if stretches is None:
        of_each = values.expand(len(weight), *values.shape) if values.ndim == 2 else values
        out: Tensor = _Equal.apply(of_each, weight, bias)  # type: ignore[no-untyped-call]
        return out
    if len(stretches) != len(weight) + 1:
        raise ValueError(f"Expected stretches of {len(weight)} models, got {len(stretches) - 1}.")
    bounds = stretches.tolist()
    if len({b - a for a, b in pairwise(bounds)}) == 1:
        of_each = values.view(len(weight), -1, values.shape[-1])
        equal: Tensor = _Equal.apply(of_each, weight, bias)  # type: ignore[no-untyped-call]
        return equal.flatten(0, 1)
    unequal: Tensor = _Unequal.apply(values, weight, bias, bounds)  # type: ignore[no-untyped-call]
    return unequal


class _Equal(Function):
    """`(models, rows, in)`, `(models, out, in)`, `(models, out)` → `(models, rows, out)`: one batched product."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(values, weight)
        return torch.baddbmm(bias.unsqueeze(1), values, weight.mT)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        values, weight = ctx.saved_tensors
        for_values = torch.bmm(gradient, weight) if ctx.needs_input_grad[0] else None
        return for_values, torch.bmm(gradient.mT, values), gradient.sum(1)


class _Unequal(Function):
    """`(rows, in)` of which each model owns a stretch → `(rows, out)`: a product for each model into its part of the result."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, bounds: list[int]) -> Tensor:
        ctx.save_for_backward(values, weight)
        ctx.bounds = bounds
        out = values.new_empty(len(values), weight.shape[1])
        for (a, b), w, c in zip(pairwise(bounds), weight, bias, strict=True):
            torch.addmm(c, values[a:b], w.T, out=out[a:b])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        values, weight = ctx.saved_tensors
        for_values = torch.empty_like(values) if ctx.needs_input_grad[0] else None
        for_weight, for_bias = torch.empty_like(weight), weight.new_empty(weight.shape[:2])
        for m, (a, b) in enumerate(pairwise(ctx.bounds)):
            if for_values is not None:
                torch.mm(gradient[a:b], weight[m], out=for_values[a:b])
            torch.mm(gradient[a:b].T, values[a:b], out=for_weight[m])
            torch.sum(gradient[a:b], 0, out=for_bias[m])
        return for_values, for_weight, for_bias, None
