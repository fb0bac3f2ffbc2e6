"""What encoders share over ragged batches: a check of the input, and the mean over each utterance's frames."""

from __future__ import annotations

import torch
from torch import Tensor

from emoviews.types import FRAMES, ViewBatch


def check_batch(batch: ViewBatch, shape: tuple[int, ...], axes: tuple[str, ...]) -> None:
    """Refuse a batch that does not fit a view of this shape, or whose offsets don't cover its rows.

    Args:
        batch: the batch.
        shape: size of each axis of the view, 0 for `frames`.
        axes: the names of those axes.

    Raises:
        ValueError: another number of axes or another size; offsets that are not int64 on the CPU, don't run from 0 to
            the number of rows, or give an utterance no row at all.
    """
    # Functionals have no frames axis; their rows are the utterances themselves.
    expected = shape if FRAMES in axes else (0, *shape)
    names = axes if FRAMES in axes else ("batch", *axes)
    got = tuple(batch.values.shape)
    if len(got) != len(expected) or any(e not in (0, g) for e, g in zip(expected, got, strict=True)):
        wanted = ", ".join(f"{name} {size or 'any'}" for name, size in zip(names, expected, strict=True))
        raise ValueError(f"Expected values of shape ({wanted}), got {got}.")
    offsets, rows = batch.offsets, got[-2]
    if offsets.dtype != torch.int64 or offsets.device.type != "cpu" or offsets.ndim != 1 or len(offsets) < 2:
        raise ValueError(
            "Expected offsets of shape (batch + 1,), int64 on the CPU, for at least one utterance; got shape "
            f"{tuple(offsets.shape)}, {offsets.dtype} on {offsets.device}."
        )
    if int(offsets[0]) != 0 or int(offsets[-1]) != rows:
        raise ValueError(f"Offsets must run from 0 to the {rows} rows of the batch, got {offsets[0]} to {offsets[-1]}.")
    if int(batch.lengths.min()) < 1:
        empty = int(batch.lengths.argmin())
        raise ValueError(
            f"Utterance {empty} of the batch has {int(batch.lengths[empty])} frames; every utterance needs at least one. "
            "Leave it out of the batch."
        )


def spread(numbers: Tensor, counts: Tensor, total: int, device: torch.device) -> Tensor:
    """Each number as often as its count says, `(total,)`, on a device that nobody waits for.

    Args:
        numbers: `(n,)` on the CPU.
        counts: `(n,)` int64 on the CPU.
        total: their sum.
        device: where the result is wanted, and computed.
    """
    numbers, counts = (t.to(device, non_blocking=True) for t in (numbers, counts))
    return numbers.repeat_interleave(counts, output_size=total)


def segment_mean(values: Tensor, offsets: Tensor, counts: Tensor | None = None) -> Tensor:
    """Mean over the frames of each utterance.

    One `index_add` and its backward, one gather: on a CPU it trains 2 to 5 times faster than `segment_reduce` and
    `embedding_bag` and is as accurate; a loop over slices would cost a copy of all frames for every utterance in the backward
    pass.

    Hundreds of frames are summed in float32 at least, also where they are narrower (autocast).

    Args:
        values: `(frames, dim)`, the frames of all utterances end to end; or `(models, frames, dim)`.
        offsets: `(batch + 1,)` int64 on the CPU; no utterance is empty.
        counts: `(batch,)` how many frames of each utterance count, where the others are zeros; all when None.

    Returns:
        `(batch, dim)`, or `(models, batch, dim)`.

    >>> segment_mean(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 2, 3]))
    tensor([[2.],
            [5.]])
    """
    if values.dtype in (torch.float16, torch.bfloat16):
        values = values.float()
    lengths = offsets.diff()
    utterance = spread(torch.arange(len(lengths)), lengths, values.shape[-2], values.device)  # (frames,): 0 0 0 1 1 2 …
    shape = (*values.shape[:-2], len(lengths), values.shape[-1])
    sums = values.new_zeros(shape).index_add(-2, utterance, values)  # (batch, dim)
    return sums / (lengths if counts is None else counts).to(values.device, values.dtype).unsqueeze(1)
