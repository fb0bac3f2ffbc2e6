"""What pre-training costs on all layers of a speech model: a step, and the memory of a whole training; prints Markdown.

    python benchmarks/bench_pretraining.py [--batch 128] [--gigabytes 50] [--device cuda]

The step is forward and backward of the layer-mix encoder, 13 layers × 768 features, utterances of 100 to 350 frames (4.5 s in
the mean). The plain step is what most code has: all utterances padded to 15 s and their layers stacked (which is not timed),
multiplied by their weights and summed, Conv1d, the mean over the true frames. All ways are checked against each other before
they are timed. The floor is reading the values twice (forward, and once more for the gradient of the layers' weights) and the
products of the convolutions.

The memory is that of `pretrain` on a store of 50 GB, in a process of its own. The store takes next to no room on the disk: its
values are all zeros, and its files have holes. Only memory that the system can't take back counts (anonymous memory).

`--device cuda` puts the values on the device first; `bench_gpu.py` times whole epochs there.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from _common import measure_limits, medians, table
from torch import Tensor

from emoviews.batching import Scaler, ViewData
from emoviews.configs import PretrainingConfig
from emoviews.encoders import make_encoder
from emoviews.encoders.layer_mix import LayerMix
from emoviews.heads import ProjectionHead
from emoviews.pretraining import ViewModel, pretrain
from emoviews.processes import available_cores, keep_freed_memory
from emoviews.store import FORMAT, ViewStore
from emoviews.types import ViewBatch, ViewSpec

LAYERS, FEATURES, PADDED_FRAMES = 13, 768, 749
SPEECH = ViewSpec("wav2vec2", 1, {}, ("layers", "frames", "features"), (LAYERS, 0, FEATURES), "float16", 50.0)
FUNCTIONALS = ViewSpec("egemaps", 1, {}, ("features",), (88,), "float32", None)
STEPS = 8


def step_table(batch_size: int, threads: int, device: str) -> str:
    """One step, in all ways."""
    limits = measure_limits(threads, device)
    lengths = torch.randint(100, 351, (batch_size,))
    offsets = F.pad(lengths.cumsum(0), (1, 0))
    frames = int(offsets[-1])
    encoder = LayerMix((LAYERS, 0, FEATURES), dropout=0.0).to(device)
    parameters = list(encoder.parameters())
    first, second = encoder.pointwise[0], encoder.pointwise[3]
    with tempfile.TemporaryDirectory() as name:
        store = ViewStore(Path(name), SPEECH)
        generator = np.random.default_rng(0)
        for i, length in enumerate(lengths.tolist()):
            store.add({f"u{i}": generator.standard_normal((LAYERS, length, FEATURES), np.float32).astype(np.float16)})
        data = ViewData(store, [f"u{i}" for i in range(batch_size)], resident_bytes=0)
        everything = range(batch_size)
        batch = data.batch(everything).to(device)
        padded = torch.zeros(batch_size, LAYERS, PADDED_FRAMES, FEATURES, device=device)
        for i, utterance in enumerate(batch.values.split(lengths.tolist(), 1)):
            padded[i, :, : utterance.shape[1]] = utterance
        mask = (torch.arange(PADDED_FRAMES) < lengths.unsqueeze(1)).unsqueeze(1).to(device)

        def plain() -> Tensor:
            weights = encoder.layer_weights / encoder.layer_weights.sum()
            mixed = (padded * weights[None, :, None, None]).sum(1)  # (batch, frames, features)
            hidden = F.relu(F.conv1d(mixed.transpose(1, 2), first.weight.unsqueeze(2), first.bias))
            hidden = F.relu(F.conv1d(hidden, second.weight.unsqueeze(2), second.bias))
            return (hidden * mask).sum(2) / lengths.to(device).unsqueeze(1)

        def gradients(way: Callable[[], Tensor]) -> tuple[Tensor, ...]:
            return torch.autograd.grad(way().square().sum(), parameters)

        narrow = ViewBatch(batch.values.half(), offsets)
        ways: dict[str, Callable[[], Tensor]] = {
            "padded to 15 s, multiplied and summed, Conv1d": plain,
            "emoviews, values in memory": lambda: encoder(batch),
            "emoviews, float16 values in memory": lambda: encoder(narrow),
        }
        if device == "cpu" and getattr(encoder, "reads_stored", False):
            # z-scores that change nothing, at full price, so that this way too can be checked against the others
            ones = np.ones((LAYERS, FEATURES), np.float32)
            stored = data.stored_batch(everything, Scaler(0 * ones, ones))
            ways["emoviews, values in the store, scaled as they are read"] = lambda: encoder(stored)
        expected = gradients(plain)
        for way in list(ways.values())[1:]:
            torch.testing.assert_close(way(), plain(), rtol=1e-3, atol=1e-4)
            for got, want in zip(gradients(way), expected, strict=True):  # as a whole: a ReLU may open in one way alone
                assert float((got - want).norm() / want.norm()) < 1e-3
        del expected
        times = medians({name: lambda way=way: gradients(way) for name, way in ways.items()}, device=device)  # type: ignore[misc]
        if device == "cpu":
            scaler = data.fit_scaler(everything)
            times |= medians(
                {"reading and scaling the batch, on a thread beside it": lambda: data.batch(everything, scaler)}
            )
    operations = 2 * frames * (2 * FEATURES * 128 + 3 * 128 * 128 + FEATURES * 128)
    floor = limits.seconds(2 * LAYERS * frames * FEATURES * 4, operations)
    plain_time, *_ = times.values()
    rows = [
        [name, f"{taken:.3f}", f"{plain_time / taken:.1f}", f"{taken / floor:.1f}"] for name, taken in times.items()
    ]
    rows.append(["floor", f"{floor:.3f}", f"{plain_time / floor:.1f}", "1.0"])
    title = f"A step: batch {batch_size}, {frames} frames, {LAYERS} × {FEATURES}, {threads} threads, {device}; {limits}"
    return f"{title}\n\n{table(['way', 'seconds', 'plain / this', 'this / floor'], rows)}"


def sparse_store(folder: Path, n_bytes: float) -> list[str]:
    """Zeros of 100 to 350 frames in files with holes: the keys."""
    store, generator = ViewStore(folder, SPEECH), np.random.default_rng(0)
    store.folder.mkdir(parents=True)
    checksums: dict[int, int] = {}
    keys: list[str] = []
    size = 0
    while size < n_bytes:
        header: dict[str, object] = {}
        end, sums = 0, {}
        for _ in range(12):
            frames = int(generator.integers(100, 351))
            start, end = end, end + LAYERS * frames * FEATURES * 2
            checksums.setdefault(frames, zlib.crc32(bytes(end - start)))
            key = f"u{len(keys):06}"
            keys.append(key)
            header[key] = {"dtype": "F16", "shape": [LAYERS, frames, FEATURES], "data_offsets": [start, end]}
            sums[key] = checksums[frames]
        header["__metadata__"] = {
            "format": str(FORMAT),
            "fingerprint": SPEECH.fingerprint,
            "crc32": json.dumps(sums),
        }
        blob = json.dumps(header).encode()
        blob += b" " * (-len(blob) % 8)
        with (store.folder / f"{keys[-1]}.safetensors").open("wb") as file:
            file.write(struct.pack("<Q", len(blob)) + blob)
            file.truncate(8 + len(blob) + end)
        size += end
    return keys


def anonymous_bytes() -> int:
    """Memory of this process that is no file's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("RssAnon")))


def train(folder: Path, n_keys: int, batch_size: int, threads: int) -> None:
    """Two epochs of `STEPS` steps; prints the peak of this process's memory in bytes and seconds of the second epoch."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    keys = [f"u{i:06}" for i in range(n_keys)]
    data = {spec.name: ViewData(ViewStore(folder, spec), keys) for spec in (SPEECH, FUNCTIONALS)}
    models = {}
    for name, view in data.items():
        encoder = make_encoder(view.spec)
        models[name] = ViewModel(encoder, ProjectionHead(encoder.dim), view.fit_scaler(range(2 * batch_size)))
    peak, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.003):
            peak = max(peak, anonymous_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    times = []
    validation = range(STEPS * batch_size, (STEPS + 1) * batch_size)
    started = time.perf_counter()
    pretrain(
        data,
        models,
        range(STEPS * batch_size),
        validation,
        PretrainingConfig(epochs=2, batch_size=batch_size),
        seed=0,
        on_epoch=lambda row: times.append(time.perf_counter() - started),
    )
    ended.set()
    watcher.join()
    print(json.dumps([peak, times[1] - times[0]]))


def memory_table(gigabytes: float, batch_size: int, threads: int) -> str:
    """Peak memory and speed of a training on a large store."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys = sparse_store(folder, 1e9 * gigabytes)
        generator = np.random.default_rng(0)
        ViewStore(folder, FUNCTIONALS).add({key: generator.standard_normal(88).astype(np.float32) for key in keys})
        call = [sys.executable, __file__, "--train", name, str(len(keys)), str(batch_size), str(threads)]
        output = subprocess.run(call, check=True, capture_output=True, text=True).stdout
    peak, seconds = json.loads(output)
    utterances = (STEPS + 1) * batch_size
    rows = [[f"{gigabytes:g} GB", len(keys), f"{peak / 1e9:.2f}", f"{seconds / utterances * len(keys):.0f}"]]
    head = ["store of wav2vec2 and egemaps", "utterances", "peak of anonymous memory, GB", "seconds an epoch of all"]
    title = f"`pretrain`, batch {batch_size}, {threads} threads: two epochs of {STEPS} steps, the second of them timed"
    return f"{title}\n\n{table(head, rows)}"


def main() -> None:
    if sys.argv[1:2] == ["--train"]:
        train(Path(sys.argv[2]), *map(int, sys.argv[3:]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--gigabytes", type=float, default=50, help="size of the store; 0 leaves the memory out")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.manual_seed(0)
    keep_freed_memory()
    for threads in sorted({1, options.threads}):  # `reproduce` trains on one thread in each of its processes
        print(step_table(options.batch, threads, options.device), end="\n\n", flush=True)
    if options.gigabytes and os.path.exists("/proc/self/status"):
        print(memory_table(options.gigabytes, options.batch, options.threads))


if __name__ == "__main__":
    main()
