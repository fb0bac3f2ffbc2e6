"""Store + indices → ragged batches.

A `ViewData` is one view of a table's utterances. Small views are read into memory once, end to end; large ones stay on disk
and each batch is gathered from the memory map. Either way a batch is `values` with all frames end to end and their `offsets`;
nothing is padded. Features are z-scored while a batch is gathered, with statistics of the fold's training part only.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from emoviews.errors import UsageError
from emoviews.store import ViewStore
from emoviews.types import FRAMES, ViewBatch, ViewSpec

RESIDENT_BYTES: Final = 1_000_000_000
"""A view whose float32 values fit in this is kept in memory."""

Item = TypeVar("Item")
Indices = NDArray[np.int64] | Sequence[int]


@dataclass(frozen=True)
class Scaler:
    """z-scores: `(values - mean) / deviation`, each of the view's shape without `frames`.

    Layered views are scaled a layer and feature at a time, spectrograms a band at a time, functionals a feature at a time.
    """

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]


class ViewData:
    """One view of n utterances, in the order of `keys`.

    Attributes:
        spec: of the view.
        keys: the utterances' keys in the store.
        lengths: `(n,)` frames an utterance (1 for functionals).
    """

    def __init__(self, store: ViewStore, keys: Sequence[str], resident_bytes: int = RESIDENT_BYTES) -> None:
        self.spec: ViewSpec = store.spec
        self.keys = list(keys)
        self.lengths = store.lengths(self.keys)
        self._store = store
        self._axis = self.spec.axes.index(FRAMES) if self.spec.has_frames else 0
        per_frame = int(np.prod([size for size in self.spec.shape if size]))
        self._resident: NDArray[np.float32] | None = None
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)])
        if int(self._starts[-1]) * per_frame * 4 <= resident_bytes:
            self._resident = self._gather(range(len(self.keys)))

    def __len__(self) -> int:
        return len(self.keys)

    def batch(self, indices: Indices, scaler: Scaler | None = None) -> ViewBatch:
        """The utterances at `indices`, in that order, z-scored where a scaler is given; float32 on the CPU."""
        values = self._select(indices) if self._resident is not None else self._gather(indices)
        if scaler is not None:
            shape = self._broadcast_shape()
            values -= scaler.mean.reshape(shape)
            values /= scaler.deviation.reshape(shape)
        offsets = np.concatenate([[0], np.cumsum(self.lengths[np.asarray(indices, dtype=np.int64)])])
        return ViewBatch(torch.from_numpy(values), torch.from_numpy(offsets))

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
                part = index[start : start + 512]
                yield self._gather(part) if self._resident is None else self._select(part)
            return
        for i in index:
            if self._resident is None:
                yield self._store[self.keys[i]]
            else:
                yield self._resident[(slice(None),) * self._axis + (slice(self._starts[i], self._starts[i + 1]),)]

    def _select(self, indices: Indices) -> NDArray[np.float32]:
        """Batch from memory, by one fancy index along the frames."""
        assert self._resident is not None
        index = np.asarray(indices, dtype=np.int64)
        lengths = self.lengths[index]
        ends = np.cumsum(lengths)
        frames = np.arange(ends[-1] if len(ends) else 0) + np.repeat(self._starts[index] - (ends - lengths), lengths)
        values: NDArray[np.float32] = np.take(self._resident, frames, axis=self._axis)
        return values

    def _gather(self, indices: Iterable[int]) -> NDArray[np.float32]:
        """Batch from the store, each utterance converted to float32 in its place."""
        index = list(indices)
        lengths = self.lengths[index]
        shape = list(self.spec.shape)
        if self.spec.has_frames:
            shape[self._axis] = int(lengths.sum())
        else:
            shape.insert(0, len(index))
        values = np.empty(shape, dtype=np.float32)
        start = 0
        for i, length in zip(index, lengths, strict=True):
            where = (slice(None),) * self._axis + (slice(start, start + length),)
            values[where] = self._store[self.keys[i]]
            start += length
        return values

    def _broadcast_shape(self) -> tuple[int, ...]:
        """The scaler's shape with `frames` (or the batch, for functionals) put back as 1."""
        if not self.spec.has_frames:
            return (1, *self.spec.shape)
        return tuple(1 if axis == FRAMES else size for axis, size in zip(self.spec.axes, self.spec.shape, strict=True))


def shuffled_batches(
    indices: Indices, batch_size: int, generator: np.random.Generator, drop_last: bool
) -> list[NDArray[np.int64]]:
    """Cut a random order into batches; the last incomplete one is dropped only if it is not the only one."""
    order = generator.permutation(np.asarray(indices, dtype=np.int64))
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    if drop_last and len(batches) > 1 and len(batches[-1]) < batch_size:
        batches.pop()
    return batches


def prefetched(items: Iterable[Item], depth: int = 2) -> Iterator[Item]:
    """Draw from `items` on a thread, `depth` ahead, so that reading overlaps with computing.

    An error raised there is raised here; leaving the loop early ends the thread.
    """
    line: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(depth)
    stop = threading.Event()

    def put(entry: tuple[Item | None, BaseException | None]) -> bool:
        while not stop.is_set():
            try:
                line.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def draw() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((None, StopIteration()))
        except BaseException as error:  # handed over to the consumer, whatever it is
            put((None, error))

    thread = threading.Thread(target=draw, daemon=True, name="emoviews-prefetch")
    thread.start()
    try:
        while True:
            item, error = line.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]  # an entry holds an item wherever it holds no error
    finally:
        stop.set()
        thread.join()
