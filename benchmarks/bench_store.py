"""Reading a store against reading the same bytes raw, in one run on one core; prints Markdown tables.

    python benchmarks/bench_store.py [--utterances 1000] [--seconds 4.5] [--folder DIR]

Three stores are filled with noise, of the shapes that a spectrogram, eGeMAPS and wav2vec 2.0 have; the last is a tenth as
long, since it is 150 times as large. Every utterance is copied out in one random order: through `ViewStore` when it was just
opened (each checksum is compared), through it again, and from one flat file that holds the same bytes, mapped, and read with
`np.fromfile`. Medians of 5 passes, files in the page cache. The goal is at most 1.5 times the mapped file after the first
touch. The second table: batches as a training draws them, scaled, against the plain loop.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch read it

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from _common import ROUNDS, medians, table

from emoviews.batching import Scaler, ViewData
from emoviews.store import ViewStore
from emoviews.types import ViewSpec

SHARD_BYTES = 64_000_000
SPECS = (
    ViewSpec("spectrogram", 1, {}, ("frames", "features"), (0, 64), "float16", 100.0),
    ViewSpec("functionals", 1, {}, ("features",), (88,), "float32", None),
    ViewSpec("wav2vec2", 1, {}, ("layers", "frames", "features"), (13, 0, 768), "float16", 50.0),
)


def noise(spec: ViewSpec, n: int, mean_seconds: float) -> Iterator[tuple[str, np.ndarray]]:
    """Lengths spread as in a corpus of speech, from a fifth of the mean to three times it."""
    rng = np.random.default_rng(0)
    block = rng.standard_normal(2_000_000).astype(spec.dtype)
    for i in range(n):
        seconds = mean_seconds * float(np.clip(rng.gamma(3, 1 / 3), 0.2, 3))
        shape = tuple(size or max(1, round(seconds * (spec.frame_rate or 0))) for size in spec.shape)
        yield f"u{i:06}", np.resize(block[rng.integers(1000) :], shape)


def fill(
    folder: Path, spec: ViewSpec, n: int, mean_seconds: float
) -> tuple[list[str], Path, dict[str, tuple[int, int]]]:
    """A store and a flat file of the same bytes: the keys, the file, and key → first byte and number of bytes."""
    store, flat, places = ViewStore(folder, spec), folder / f"{spec.name}.bin", {}
    shard: dict[str, np.ndarray] = {}
    with flat.open("wb") as file:
        for key, array in noise(spec, n, mean_seconds):
            places[key] = (file.tell(), array.nbytes)
            file.write(array.tobytes())
            shard[key] = array
            if sum(a.nbytes for a in shard.values()) > SHARD_BYTES:
                store.add(shard)
                shard = {}
    store.add(shard)
    return list(places), flat, places


def read(folder: Path, spec: ViewSpec, keys: list[str], flat: Path, places: dict[str, tuple[int, int]]) -> list[float]:
    order = list(np.random.default_rng(1).permutation(keys))
    target = np.empty(max(size for _, size in places.values()), dtype=np.uint8)
    touched = ViewStore(folder, spec)
    mapped = np.memmap(flat, dtype=np.uint8, mode="r")
    assert all(touched[key].tobytes() == mapped[at : at + size].tobytes() for key, (at, size) in places.items())

    def through(store: ViewStore) -> None:
        for key in order:
            array = store[key]
            target[: array.nbytes].view(array.dtype).reshape(array.shape)[...] = array

    def raw_map() -> None:
        for key in order:
            at, size = places[key]
            target[:size] = mapped[at : at + size]

    def raw_file() -> None:
        for key in order:
            at, size = places[key]
            np.fromfile(flat, dtype=np.uint8, count=size, offset=at)

    opened: list[ViewStore] = []

    def open_store() -> None:
        opened[:] = [ViewStore(folder, spec)]

    ways = {
        "open": open_store,
        "first": lambda: through(opened[0]),
        "later": lambda: through(touched),
        "raw map": raw_map,
        "raw file": raw_file,
    }
    return list(medians(ways).values())


def draw(folder: Path, spec: ViewSpec, keys: list[str], batch_size: int) -> list[float]:
    store = ViewStore(folder, spec)
    resident, mapped = ViewData(store, keys), ViewData(store, keys, resident_bytes=0)
    axis = spec.axes.index("frames") if spec.has_frames else 0
    scaler: Scaler = mapped.fit_scaler(range(len(keys)))
    shape = [1 if name == "frames" else size for name, size in zip(spec.axes, spec.shape, strict=True)]
    mean, deviation = scaler.mean.reshape(shape), scaler.deviation.reshape(shape)
    order = np.random.default_rng(2).permutation(len(keys))
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]

    def plain() -> None:
        for batch in batches:
            arrays = [store[keys[i]].astype(np.float32) for i in batch]
            joined = np.concatenate(arrays, axis=axis) if spec.has_frames else np.stack(arrays)
            (joined - mean) / deviation

    def batched(data: ViewData) -> None:
        for batch in batches:
            data.batch(batch, scaler)

    ways = {
        "resident": lambda: batched(resident),
        "mapped": lambda: batched(mapped),
        "plain": plain,
        "scaler": lambda: mapped.fit_scaler(range(len(keys))),
    }
    return list(medians(ways).values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=4.5, help="mean length (IEMOCAP: 4.5)")
    parser.add_argument("--folder", type=Path, help="where the stores are made and removed again; a temporary folder")
    options = parser.parse_args()

    torch.set_num_threads(1)
    reading, drawing = [], []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        for spec in SPECS:
            n = max(1, options.utterances // 10) if len(spec.axes) == 3 else options.utterances
            keys, flat, places = fill(folder, spec, n, options.seconds)
            n_bytes = sum(size for _, size in places.values())
            opening, touch, later, raw_map, raw_file = read(folder, spec, keys, flat, places)
            rates = (f"{n_bytes / t / 1e9:.2f}" for t in (touch, later, raw_map, raw_file))
            ratios = (f"{t / raw_map:.2f}" for t in (touch, later))
            reading.append([spec.name, f"{n_bytes / 1e6:.0f}", f"{1e3 * opening:.1f}", *rates, *ratios])
            batch_size = min(128, n) if len(spec.axes) < 3 else 16  # as fits in memory
            resident, mapped, plain, scaler = draw(folder, spec, keys, batch_size)
            n_batches = -(-n // batch_size)
            each = (f"{1e3 * t / n_batches:.2f}" for t in (resident, mapped, plain))
            ratio, rate = f"{plain / mapped:.2f}", f"{n_bytes / scaler / 1e9:.2f}"
            drawing.append([f"{spec.name}, batches of {batch_size}", *each, ratio, rate])
    title = (
        f"{options.utterances} utterances of {options.seconds} s in the mean, one thread, medians of {ROUNDS} passes"
    )
    first = ["view", "MB", "open, ms", "first, GB/s", "later, GB/s", "raw map, GB/s", "raw file, GB/s"]
    print(title, table([*first, "first / map", "later / map"], reading), sep="\n\n", end="\n\n")
    print(
        table(["view", "in memory, ms", "from the map, ms", "plain loop, ms", "plain / map", "scaler, GB/s"], drawing)
    )


if __name__ == "__main__":
    main()
