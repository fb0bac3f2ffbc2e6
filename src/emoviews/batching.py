"""Store + indices → ragged batches.

A `ViewData` is one view of a table's utterances. Small views are read into memory once, end to end; large ones stay on disk
and each batch is gathered from the memory map. Either way a batch is `values` with all frames end to end and their `offsets`;
nothing is padded. Features are z-scored while a batch is gathered, with statistics of the fold's training part only.

Widening float16 and scaling are one pass: a hundred kilobytes at a time are converted into their place in the batch and
scaled there while they are still in the processor's cache. torch does it rather than NumPy, which converts float16 a number
at a time. An encoder that passes over a layered view in blocks anyway can do this itself (`stored_batch`): then the batch
takes no memory at all, and is twice as narrow when it is read.

On a GPU with room for it a view is kept whole, as narrow as it is stored (`HeldView`): then nothing but the numbers of the
wanted utterances is moved for a batch, and it is gathered, widened and scaled where it is needed.
"""

from __future__ import annotations

import collections
import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Final, TypeVar, cast

import numpy as np
import pyarrow
import torch
import torch.utils.dlpack
from numpy.typing import NDArray
from torch import Tensor, nn

from emoviews.errors import UsageError
from emoviews.store import ViewStore
from emoviews.types import FRAMES, ViewBatch, ViewSpec

PREFETCH_BYTES: Final = 500_000_000
"""Batches that wait for a training take no more than this together, unless a single one does."""

RESIDENT_BYTES: Final = 1_000_000_000
"""A view whose float32 values fit in this is kept in memory."""

_PIECE_VALUES: Final = 2**15 - 1
"""Numbers that are converted and scaled at a time: 128 kB of float32, far inside a core's cache. The most that torch computes
on one thread however many it has, so that reading ahead does not fight with the training for its threads."""

_BLOCK_VALUES: Final = 2**18
"""Numbers of a layered view that an encoder reads at a time from the store: a megabyte of float32, half of a core's
second-level cache."""

HELD_SHARE: Final = 0.7
"""A view is kept on a GPU where it takes no more than this share of the memory that is free; the rest is for computing."""

Item = TypeVar("Item")
Indices = NDArray[np.int64] | Sequence[int]


@dataclass(frozen=True)
class Scaler:
    """z-scores: `(values - mean) / deviation`, each of the view's shape without `frames`.

    Layered views are scaled a layer and feature at a time, spectrograms a band at a time, functionals a feature at a time.
    """

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]


class StoredValues:
    """`(layers, frames, features)` of a batch that stay in the store; widened and scaled a block at a time, in the cache.

    It has what an encoder asks of a tensor before it reads it, `shape`, `dtype`, `device` and `to`. Its memory is the page
    cache's, which the system takes back as it needs.
    """

    device = torch.device("cpu")

    def __init__(
        self,
        utterances: Sequence[Tensor],
        offsets: Tensor,
        scaler: Scaler | None,
        factors: Sequence[Tensor | None] | None = None,
    ) -> None:
        """Keep hold of them.

        Args:
            utterances: each `(layers, frames, features)`, as stored.
            offsets: those of the batch.
            scaler: z-scores.
            factors: of each utterance, what to multiply its layers by, `(layers,)`, where they are stored as int8.
        """
        self._factors = list(factors) if factors is not None else [None] * len(utterances)
        layers, _, features = utterances[0].shape
        self.shape = torch.Size([layers, int(offsets[-1]), features])
        self.dtype = utterances[0].dtype
        self._utterances, self._starts = list(utterances), offsets.tolist()
        self._statistics = None
        if scaler is not None:
            mean, deviation = torch.from_numpy(scaler.mean), torch.from_numpy(scaler.deviation)
            self._statistics = mean.unsqueeze(1), deviation.unsqueeze(1)  # (layers, 1, features)

    def split(self, frames: Sequence[int], axis: int) -> list[StoredValues]:
        """As `Tensor.split`, between utterances and along the frames only.

        Raises:
            ValueError: another axis, or a part that does not end where an utterance does.
        """
        ends = np.cumsum([0, *frames]).tolist()
        if axis != 1 or not set(ends) <= set(self._starts) or ends[-1] != self._starts[-1]:
            raise ValueError(
                f"Expected parts along axis 1 that end where utterances do, at {self._starts}; got {ends}."
            )
        cuts = [self._starts.index(end) for end in ends]
        parts = []
        for first, last in pairwise(cuts):
            offsets = torch.tensor(self._starts[first : last + 1])
            part = StoredValues(self._utterances[first:last], offsets - offsets[0], None, self._factors[first:last])
            part._statistics = self._statistics
            parts.append(part)
        return parts

    def touch(self) -> None:
        """Read a number of each page, so that whoever reads them next does not wait for the disk."""
        for utterance in self._utterances:
            utterance.view(-1)[:: 4096 // utterance.itemsize].sum()

    def blocks(self, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        """Some frames of one utterance at a time: where they lie in the batch, and `(layers, frames·features)`.

        The matrix is overwritten by the next.
        """
        layers, _, features = self.shape
        step = max(1, _BLOCK_VALUES // (layers * features))
        scratch = torch.empty(layers * step * features, dtype=dtype)
        slope = shift = None
        if self._statistics is not None:  # one pass over a block instead of two: x / deviation - mean / deviation
            slope = self._statistics[1].to(dtype).reciprocal()
            shift = self._statistics[0].to(dtype).neg().mul_(slope)
        for first, utterance, factor in zip(self._starts, self._utterances, self._factors, strict=False):
            for start in range(0, utterance.shape[1], step):
                part = utterance[:, start : start + step]
                block = scratch[: part.numel()].view(part.shape).copy_(part)
                if factor is not None:
                    block.mul_(factor.view(-1, 1, 1))
                if slope is not None and shift is not None:
                    torch.addcmul(shift, block, slope, out=block)
                yield slice(first + start, first + start + part.shape[1]), block.flatten(1)

    def to(self, device: Any, dtype: torch.dtype | None = None, non_blocking: bool = False) -> StoredValues | Tensor:
        """Itself on the CPU; elsewhere a tensor there, moved as narrow as it is stored, an utterance at a time."""
        device = torch.device(device)
        return self if device.type == "cpu" else self.tensor_on(device, dtype, non_blocking)

    def tensor_on(self, device: torch.device, dtype: torch.dtype | None = None, non_blocking: bool = False) -> Tensor:
        """The values in a tensor on any device."""
        values = torch.empty(self.shape, dtype=dtype or torch.float32, device=device)
        for first, utterance, factor in zip(self._starts, self._utterances, self._factors, strict=False):
            place = values[:, first : first + utterance.shape[1]]
            place.copy_(utterance.to(device, non_blocking=non_blocking))
            if factor is not None:
                place.mul_(factor.view(-1, 1, 1).to(device))
        if self._statistics is not None:
            values.sub_(self._statistics[0].to(device)).div_(self._statistics[1].to(device))
        return values


class HeldView:
    """A view of n utterances on one device, all frames end to end and as narrow as they are stored.

    Attributes:
        values: `(layers, frames, features)`, `(frames, features)` or `(n, features)`, in the dtype of the store.
        lengths: `(n,)` int64 on the CPU, frames an utterance (1 for functionals).
    """

    def __init__(self, values: Tensor, lengths: Tensor, factors: Tensor | None = None) -> None:
        """`factors`: `(n, layers)` or `(n, 1)`, of each utterance what to multiply by where int8 is stored, on the device."""
        self.values, self.lengths = values, lengths
        self._factors = factors
        self._starts = nn.functional.pad(lengths.cumsum(0), (1, 0))

    def batch(self, indices: Indices, scaler: Scaler | None = None) -> ViewBatch:
        """The utterances at `indices`, in that order, z-scored where a scaler is given; float32 on the device."""
        chosen = torch.from_numpy(np.asarray(indices, dtype=np.int64))
        device, lengths = self.values.device, self.lengths[chosen]
        offsets = nn.functional.pad(lengths.cumsum(0), (1, 0))
        total = int(offsets[-1])
        utterance = torch.arange(len(chosen), device=device).repeat_interleave(lengths.to(device), output_size=total)
        frames = torch.arange(total, device=device) + (self._starts[chosen] - offsets[:-1]).to(device)[utterance]
        values = self._gathered(frames)
        if self._factors is not None:
            factors = self._factors[chosen.to(device)][utterance].T.unsqueeze(-1)  # (layers, frames, 1)
            values = values * (factors if values.ndim == 3 else factors[0])
        if scaler is None:
            return ViewBatch(values.float(), offsets)
        slope = torch.from_numpy(1 / scaler.deviation)
        shift = -torch.from_numpy(scaler.mean) * slope
        if values.ndim == 3:
            slope, shift = slope.unsqueeze(1), shift.unsqueeze(1)
        # One pass, in float32 whatever the dtype of the values: x / deviation - mean / deviation.
        return ViewBatch(torch.addcmul(shift.to(device), values, slope.to(device)), offsets)

    def _gathered(self, frames: Tensor) -> Tensor:
        """These frames, as stored; of a layered view a layer at a time, which is twice as fast as along the second axis."""
        if self.values.ndim == 2:
            return self.values.index_select(0, frames)
        layers, _, features = self.values.shape
        found = self.values.new_empty(layers, len(frames), features)
        for layer, out in zip(self.values, found, strict=True):
            torch.index_select(layer, 0, frames, out=out)
        return found


class ViewData:
    """One view of n utterances, in the order of `keys`.

    Attributes:
        spec: of the view.
        keys: the utterances' keys in the store.
        lengths: `(n,)` frames an utterance (1 for functionals).
        in_memory: whether its float32 values are kept in memory, from the first use on.
    """

    def __init__(self, store: ViewStore, keys: Sequence[str], resident_bytes: int = RESIDENT_BYTES) -> None:
        self.spec: ViewSpec = store.spec
        self.keys = list(keys)
        self.lengths = store.lengths(self.keys)
        self._store = store
        self._axis = self.spec.axes.index(FRAMES) if self.spec.has_frames else 0
        self._held: dict[torch.device, HeldView | None] = {}
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)])
        per_frame = math.prod(size for size in self.spec.shape if size)
        self.in_memory = int(self._starts[-1]) * per_frame * 4 <= resident_bytes

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def _resident(self) -> Tensor | None:
        """All of it, end to end and not scaled, once somebody wants more than lengths; None where it stays in the store."""
        return self._read(np.arange(len(self))) if self.in_memory else None

    def batch(self, indices: Indices, scaler: Scaler | None = None) -> ViewBatch:
        """The utterances at `indices`, in that order, z-scored where a scaler is given; float32 on the CPU."""
        index = np.asarray(indices, dtype=np.int64)
        return ViewBatch(self._gather(index, scaler), self._offsets(index))

    def batch_on(self, device: str, indices: Indices, scaler: Scaler | None = None) -> ViewBatch:
        """As `batch`, on a GPU: from there where the view is kept there, else moved as narrow as it is stored."""
        if (held := self.held(device)) is not None:
            return held.batch(indices, scaler)
        return self.stored_batch(indices, scaler).to(device)

    def stored_batch(self, indices: Indices, scaler: Scaler | None = None) -> ViewBatch:
        """As `batch`, but the values of a layered view that is not in memory stay in the store: they are `StoredValues`.

        128 utterances of 4.5 s × 13 × 768 would take 1.2 GB.
        """
        if self.in_memory or len(self.spec.shape) < 3:
            return self.batch(indices, scaler)
        index = np.asarray(indices, dtype=np.int64)
        offsets = self._offsets(index)
        found = [self._store.stored(self.keys[i]) for i in index]
        factors = [None if factor is None else torch.from_numpy(factor) for _, factor in found]
        values = StoredValues([_shared(array) for array, _ in found], offsets, scaler, factors)
        values.touch()
        return ViewBatch(cast(Tensor, values), offsets)

    @property
    def stored_bytes(self) -> int:
        """What the utterances take in the store."""
        return (
            int(self._starts[-1])
            * math.prod(size for size in self.spec.shape if size)
            * np.dtype(self.spec.dtype).itemsize
        )

    def held(self, device: str) -> HeldView | None:
        """All of it on a GPU, put there once and kept; None on a CPU, and where the GPU has no room (`HELD_SHARE`)."""
        where = torch.device(device)
        if where.type == "cpu":
            return None
        if where not in self._held:
            free, _ = torch.cuda.mem_get_info(where)
            self._held[where] = self.hold(where) if self.stored_bytes <= HELD_SHARE * free else None
        return self._held[where]

    def hold(self, device: torch.device) -> HeldView:
        """All of it on a device, whether there is room or not."""
        shape = list(self.spec.shape)
        if self.spec.has_frames:
            shape[self._axis] = int(self._starts[-1])
        else:
            shape.insert(0, len(self))
        values, factors = torch.empty(shape, dtype=getattr(torch, self.spec.dtype), device=device), []
        for start, length, key in zip(self._starts.tolist(), self.lengths.tolist(), self.keys, strict=False):
            stored, factor = self._store.stored(key)
            place = values.narrow(self._axis, start, length)
            place.copy_(_shared(stored).view(place.shape))
            if factor is not None:
                factors.append(torch.from_numpy(factor).flatten())
        lengths = torch.from_numpy(np.asarray(self.lengths, dtype=np.int64))
        return HeldView(values, lengths, torch.stack(factors).to(device) if factors else None)

    def _offsets(self, index: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(np.concatenate([[0], np.cumsum(self.lengths[index])]))

    def fit_scaler(self, indices: Indices) -> Scaler:
        """Mean and deviation over all frames of the utterances at `indices`, in one pass, in float64.

        Blocks are joined as in Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
        variances", 1979: no large sums are subtracted from each other, however far the mean is from 0. A
        feature whose deviation is below the rounding of its mean to float32 never varies; it gets deviation 1, so that it
        becomes 0 instead of noise.

        Raises:
            UsageError: there are no utterances.
        """
        if len(indices) == 0:
            raise UsageError("Scaling needs utterances to take its statistics from; got none.")
        shape = [size for size in self.spec.shape if size]
        count, mean, squares = 0, np.zeros(shape), np.zeros(shape)  # squares: of the deviations from the mean, summed
        for block in self._blocks(indices):
            n = block.shape[self._axis]
            # One layer at a time, so that float64 copies stay small enough for the processor's cache.
            layers = [(slice(None), block)] if block.ndim == 2 else list(enumerate(block))
            for where, frames in layers:
                values = frames.astype(np.float64)  # (frames, features)
                block_mean = values.mean(axis=0)
                values -= block_mean
                values *= values
                difference = block_mean - mean[where]
                mean[where] += difference * (n / (count + n))
                squares[where] += values.sum(axis=0) + difference**2 * (count * n / (count + n))
            count += n
        deviation = np.sqrt(squares / count)
        deviation[deviation <= np.finfo(np.float32).eps * np.abs(mean)] = 1.0
        return Scaler(mean.astype(np.float32), deviation.astype(np.float32))

    def _blocks(self, indices: Indices) -> Iterator[NDArray[Any]]:
        """The utterances at `indices`, one after the other; functionals some hundred rows at a time."""
        index = np.asarray(indices, dtype=np.int64)
        if not self.spec.has_frames:
            for start in range(0, len(index), 512):
                yield self._select(index[start : start + 512]).numpy()
            return
        for i in index:
            if self._resident is None:
                yield self._store[self.keys[i]]
            else:
                yield self._resident.narrow(self._axis, int(self._starts[i]), int(self.lengths[i])).numpy()

    def _gather(self, index: NDArray[np.int64], scaler: Scaler | None = None) -> Tensor:
        """Batch: what is in memory is copied and scaled, what is in the store is converted and scaled in one pass."""
        if self._resident is None and self.spec.has_frames:
            return self._read(index, scaler)
        values = self._select(index)
        if scaler is not None:
            self._fill(values, values, scaler)
        return values

    def _read(self, index: NDArray[np.int64], scaler: Scaler | None = None) -> Tensor:
        """Batch, from the store; functionals are not scaled."""
        if not self.spec.has_frames:
            rows = [self._store[self.keys[i]] for i in index]
            return torch.from_numpy(np.stack(rows) if rows else np.empty((0, *self.spec.shape), np.float32))
        shape = list(self.spec.shape)
        shape[self._axis] = int(self.lengths[index].sum())
        values = torch.empty(shape, dtype=torch.float32)
        start = 0
        for i in index:
            length = int(self.lengths[i])
            place = values.narrow(self._axis, start, length)
            self._fill(place, _shared(self._store[self.keys[i]]), scaler)
            start += length
        return values

    def _select(self, index: NDArray[np.int64]) -> Tensor:
        """Batch, not scaled, from memory; functionals also from the store."""
        if self._resident is None:
            return self._read(index)
        lengths = self.lengths[index]
        ends = np.cumsum(lengths)
        frames = np.arange(ends[-1] if len(ends) else 0) + np.repeat(self._starts[index] - (ends - lengths), lengths)
        return self._resident.index_select(self._axis, torch.from_numpy(frames))

    def _fill(self, place: Tensor, values: Tensor, scaler: Scaler | None) -> None:
        """Convert `values` into `place` and scale them there, a layer at a time."""
        statistics = None if scaler is None else (torch.from_numpy(scaler.mean), torch.from_numpy(scaler.deviation))
        if place.ndim == 2:
            _fill(place, values, statistics)
            return
        for layer in range(len(place)):
            of_layer = None if statistics is None else (statistics[0][layer], statistics[1][layer])
            _fill(place[layer], values[layer], of_layer)


def _shared(array: NDArray[Any]) -> Tensor:
    """A tensor on the same memory. `torch.from_numpy` warns about arrays that can't be written to, as those of a map are."""
    kind = {"float16": pyarrow.float16(), "float32": pyarrow.float32(), "int8": pyarrow.int8()}[array.dtype.name]
    buffer = pyarrow.py_buffer(np.ascontiguousarray(array))
    flat: Tensor = torch.utils.dlpack.from_dlpack(pyarrow.Array.from_buffers(kind, array.size, [None, buffer]))
    return flat.view(array.shape)


def _fill(place: Tensor, values: Tensor, statistics: tuple[Tensor, Tensor] | None) -> None:
    """Convert `values` into `place`, both `(frames, features)`, and scale them there, piece by piece.

    Args:
        place: float32.
        values: of any floating dtype.
        statistics: mean and deviation, each `(features,)`; None scales nothing.
    """
    step = max(1, _PIECE_VALUES // place.shape[1])
    for piece, out in zip(torch.split(values, step), torch.split(place, step), strict=True):
        if statistics is None:
            out.copy_(piece)
        else:
            torch.sub(piece, statistics[0], out=out).div_(statistics[1])  # in float32, whatever the dtype of the piece


def shuffled_batches(
    indices: Indices, batch_size: int, generator: np.random.Generator, drop_last: bool
) -> list[NDArray[np.int64]]:
    """Cut a random order into batches; the last incomplete one is dropped only if it is not the only one."""
    order = generator.permutation(np.asarray(indices, dtype=np.int64))
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    if drop_last and len(batches) > 1 and len(batches[-1]) < batch_size:
        batches.pop()
    return batches


def prefetched(items: Iterable[Item], depth: int = 2, maximum_bytes: int = PREFETCH_BYTES) -> Iterator[Item]:
    """Draw from `items` on a thread, so that reading overlaps with computing.

    An error raised there is raised here, after the items before it; leaving the loop early ends the thread.

    Args:
        items: drawn one at a time. A `ViewBatch`, or a mapping of them, counts with its bytes, anything else with none.
        depth: items that may wait at most.
        maximum_bytes: what may wait, the item that is being drawn included (taken to be as large as the last one). One may
            wait in any case, so that beside the item in use there is never more than the larger of this and one item.
    """
    waiting: collections.deque[tuple[Item, int]] = collections.deque()
    changed = threading.Condition()
    stopped, ended = False, False
    failure: BaseException | None = None

    def has_room(size: int) -> bool:
        bytes_waiting = sum(n for _, n in waiting)
        return stopped or not waiting or (len(waiting) < depth and bytes_waiting + size <= maximum_bytes)

    def draw() -> None:
        nonlocal ended, failure
        size = 0
        stream = iter(items)
        try:
            while True:
                with changed:
                    while not has_room(size):
                        changed.wait()
                    if stopped:
                        return
                item = next(stream)
                size = _size_in_bytes(item)
                with changed:
                    waiting.append((item, size))
                    changed.notify_all()
                del item  # else this thread would keep it alive until it has drawn the next
        except StopIteration:
            pass
        except BaseException as error:  # handed over to the consumer, whatever it is
            failure = error
        finally:
            with changed:
                ended = True
                changed.notify_all()

    thread = threading.Thread(target=draw, daemon=True, name="emoviews-prefetch")
    thread.start()
    try:
        while True:
            with changed:
                changed.wait_for(lambda: waiting or ended)
                if not waiting:
                    break
                item, _ = waiting.popleft()
                changed.notify_all()
            yield item
            del item  # likewise
        if failure is not None:
            raise failure
    finally:
        with changed:
            stopped = True
            changed.notify_all()
        thread.join()


def _size_in_bytes(item: object) -> int:
    if isinstance(item, ViewBatch):
        return 0 if isinstance(item.values, StoredValues) else item.values.nbytes
    return sum(map(_size_in_bytes, item.values())) if isinstance(item, Mapping) else 0
