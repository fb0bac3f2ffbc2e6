"""Dropout that costs less than the layers it follows, and gives every model of a bank the draws it would get alone.

On a CPU `torch.nn.Dropout` draws a float for every value, which takes longer than the matrix product before it (layers here are
small). Sixteen random bits a value are enough: one 64-bit draw serves four. The probability is rounded to a multiple of 2⁻¹⁶.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn

_STEPS: Final = 2**16


@dataclass(frozen=True)
class Draws:
    """Random numbers that say which values are dropped.

    Attributes:
        numbers: of the values' shape; a value is kept where its number is above the threshold.
        threshold: see there.
        scale: what is kept is multiplied by it, so that the mean stays.
    """

    numbers: Tensor
    threshold: float
    scale: float

    def apply_(self, values: Tensor) -> Tensor:
        """Drop values in place; what is kept is not scaled."""
        # where(numbers > threshold, values, 0), but in one vectorised pass: a boolean mask would take four times as long
        dropped: Tensor = torch.ops.aten.threshold_backward.grad_input(
            values, self.numbers, self.threshold, grad_input=values
        )
        return dropped


class Dropout(nn.Dropout):
    """As `torch.nn.Dropout`, several times as fast on a CPU.

    Attributes:
        generators: for a bank on a CPU, of each model; empty: torch's global one.
    """

    generators: Sequence[torch.Generator] = ()

    def forward(self, values: Tensor, stretches: Tensor | None = None) -> Tensor:
        """Each value is 0 with the probability, else divided by that of being kept.

        Args:
            values: of any shape; with generators `(models, rows, dim)`, or `(rows, dim)` with their stretches.
            stretches: `(models + 1,)` int64 on the CPU: model m owns the rows from `stretches[m]` to `stretches[m + 1]`.

        Returns:
            The same shape.
        """
        if values.device.type != "cpu":  # one pass there, in whichever dtype
            return nn.functional.dropout(values, self.p, self.training)
        draws = self.draw(tuple(values.shape), values, stretches)
        if draws is None:
            return values
        kept: Tensor = torch.ops.aten.threshold_backward(values, draws.numbers, draws.threshold)  # as Draws.apply_
        return kept * draws.scale

    def draw(self, shape: tuple[int, ...], like: Tensor, stretches: Tensor | None = None) -> Draws | None:
        """What decides about values of this shape (dtype and device those of `like`); None where nothing is dropped."""
        if not self.training or self.p == 0:
            return None
        if like.device.type != "cpu":
            numbers = torch.rand(shape, dtype=like.dtype, device=like.device)
            return Draws(numbers, self.p, 1 / max(1 - self.p, 1 / _STEPS))
        dropped = round(self.p * _STEPS)  # of _STEPS
        count = torch.Size(shape).numel()
        if not self.generators:
            bits = _bits(count, None)
        else:
            models = len(self.generators)
            sizes = [count // models] * models
            if stretches is not None:
                sizes = [shape[-1] * (b - a) for a, b in pairwise(stretches.tolist())]
            bits = torch.cat([_bits(size, g) for size, g in zip(sizes, self.generators, strict=True)])
        scale = _STEPS / max(_STEPS - dropped, 1)  # whatever it is where everything is dropped
        return Draws(bits.to(like.dtype).view(shape), dropped - _STEPS // 2 - 0.5, scale)


def _bits(count: int, generator: torch.Generator | None) -> Tensor:
    """`(count,)` int16, uniform on -2¹⁵ … 2¹⁵ - 1."""
    words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    return words.view(torch.int16)[:count]


def draw_apart(model: nn.Module, generators: Sequence[torch.Generator]) -> None:
    """Let every dropout of a stacked model draw from its models' generators."""
    for module in model.modules():
        if isinstance(module, Dropout):
            module.generators = generators
