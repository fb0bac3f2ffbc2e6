"""What the benchmarks share: timing in turns, the machine's measured limits, recordings, Markdown tables.

Every benchmark is a script that prints Markdown and compares ways to do one thing in one run, beside what the machine allows.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from emoviews.audio import AUDIO_SUFFIXES
from emoviews.processes import hardware
from emoviews.seeds import derive_seed
from emoviews.splits import select_budget

Name = TypeVar("Name")

ROUNDS = 5
RECORDINGS = "EMOVIEWS_BENCHMARK_RECORDINGS"
"""The environment variable that names a folder of real recordings."""


def medians(ways: Mapping[Name, Callable[[], object]], rounds: int = ROUNDS, device: str = "cpu") -> dict[Name, float]:
    """Median seconds of each way; they take turns, so that what else the machine does falls on all alike.

    The first round warms up and does not count. Work queued on a CUDA device is waited for.
    """
    times: dict[Name, list[float]] = {name: [] for name in ways}
    for number in range(1 + rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if device != "cpu":
                torch.cuda.synchronize(device)
            if number > 0:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(taken) for name, taken in times.items()}


def repeated(way: Callable[[], object], seconds: float = 0.1) -> tuple[Callable[[], None], int]:
    """A way that is done so often that it lasts about `seconds`, and how often: for what a clock can't resolve."""
    way()
    started = time.perf_counter()
    way()
    count = max(1, round(seconds / max(time.perf_counter() - started, 1e-9)))

    def many() -> None:
        for _ in range(count):
            way()

    return many, count


@dataclass(frozen=True)
class Limits:
    """What a machine can do at most, in float32 and as measured now.

    Attributes:
        bytes_a_second: of reading memory.
        operations_a_second: of a matrix product (a multiplication and an addition are two).
    """

    bytes_a_second: float
    operations_a_second: float

    def seconds(self, n_bytes: float, n_operations: float) -> float:
        """The least time for so much of both, one after the other."""
        return n_bytes / self.bytes_a_second + n_operations / self.operations_a_second

    def __str__(self) -> str:
        return f"{self.bytes_a_second / 1e9:.0f} GB/s read, {self.operations_a_second / 1e9:.0f} GFLOP/s"


def measure_limits(threads: int, device: str = "cpu") -> Limits:
    """Sum 256 MB (on CUDA 4 GB), multiply 4096 × 512 by 512 × 512 (in the cache of a core) or, on CUDA, 8192 × 8192 matrices.

    torch's number of threads is left at `threads`.
    """
    torch.set_num_threads(threads)
    large = torch.ones(2**26 if device == "cpu" else 2**30, device=device)
    rows, columns = (4096, 512) if device == "cpu" else (8192, 8192)
    a, b = torch.randn(rows, columns, device=device), torch.randn(columns, columns, device=device)
    product, count = repeated(lambda: a @ b)
    times = medians({"read": large.sum, "multiply": product}, device=device)
    return Limits(large.nbytes / times["read"], count * 2 * rows * columns**2 / times["multiply"])


def machine() -> str:
    """One line: processor, cores that may be used, memory, system, torch."""
    return f"{hardware()}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"


def load() -> str:
    """How busy the machine is, where it says so: processes that want a core, in the mean over the last minute."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; the first column is text, the others are numbers.

    >>> print(table(["way", "ms"], [["plain", "2.0"]]))
    | way | ms |
    |---|--:|
    | plain | 2.0 |
    """
    lines = [head, *rows]
    text = ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]
    return "\n".join([text[0], "|---|" + "--:|" * (len(head) - 1), *text[1:]])


def recorded(limit: int, folder: Path | None = None) -> list[Path]:
    """Up to `limit` audio files spread over a folder, or over the one that the environment names; none where neither is.

    Raises:
        SystemExit: the folder has no audio file.
    """
    if folder is None:
        if RECORDINGS not in os.environ:
            return []
        folder = Path(os.environ[RECORDINGS])
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    if not files:
        raise SystemExit(f"There is no audio file below {folder}.")
    chosen = np.unique(np.linspace(0, len(files) - 1, min(limit, len(files))).round().astype(int))
    return [files[i] for i in chosen]


def random_wav2vec2(folder: Path) -> None:
    """wav2vec2-base as transformers configures it by default, with random weights: 12 layers of 768, 94 million parameters."""
    import transformers

    torch.manual_seed(0)
    transformers.Wav2Vec2Model(transformers.Wav2Vec2Config()).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)


def wav2vec2_operations(n_samples: int) -> int:
    """Multiplications and additions of the matrix products in wav2vec2-base for a recording at 16 000 Hz."""
    n, channels, operations = n_samples, 1, 0
    for kernel, stride in ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)):  # Baevski et al. 2020, section 4.2
        n = (n - kernel) // stride + 1
        operations += 2 * n * 512 * channels * kernel
        channels = 512
    operations += 2 * n * 512 * 768  # the feature projection
    operations += 2 * n * 768 * (768 // 16) * 128  # the positional convolution: 128 frames, 16 groups
    a_layer = 4 * 768 * 768 + 2 * 768 * 3072  # query, key, value, output; two of the feed-forward network
    return operations + 12 * (2 * n * a_layer + 2 * 2 * n * n * 768)  # and the two products of attention


def recordings_parser(description: str) -> argparse.ArgumentParser:
    """A parser of what every comparison on a corpus takes: its table, the store of its views, and which emotions count."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--labels", default="", help="separated by commas; all by default")
    return parser


def names_in(text: str, column: Iterable[str]) -> list[str]:
    """The names in a text, separated by commas; all that a column has where there are none."""
    return [name for name in text.split(",") if name] or sorted(set(column) - {""})


def drawn_targets(
    code: NDArray[np.int64], emotions: Sequence[str], fraction: float, name: str, repeat: int
) -> NDArray[np.int64]:
    """`(rows,)` a share of the codes, drawn by class; -1 where none is. The same for a name and repeat in every comparison."""
    budget = select_budget(emotions, fraction=fraction, seed=derive_seed("few labels", name, repeat))
    targets = np.full(len(code), -1)
    targets[budget] = code[budget]
    return targets
