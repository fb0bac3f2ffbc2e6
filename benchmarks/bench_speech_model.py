"""What wav2vec 2.0 costs: seconds of computing a second of audio, for the full-size base model with random weights.

Three ways over the same recordings: the plain loop most code uses (transformers' `AutoModel` on 15 s, zero-padded), our view
with the same padding (`padding="fixed"`, the same work and arrays), and our view at true length (the default). The arrays of
the first two are compared, so that the times are for the same result.

    python benchmarks/bench_speech_model.py [--seconds 4.5] [--recordings 3] [--repeats 3]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from emoviews.types import SAMPLING_RATE
from emoviews.views import make_view

Recordings = list[NDArray[np.float32]]


def make_checkpoint(folder: Path) -> None:
    """wav2vec2-base as transformers configures it by default: 12 layers of 768, 94 million parameters."""
    torch.manual_seed(0)
    transformers.Wav2Vec2Model(transformers.Wav2Vec2Config()).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)


def plain_loop(folder: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """The padded loop: 13 layers of 749 frames for every recording."""
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    projected = []
    model.feature_projection.register_forward_hook(lambda module, inputs, output: projected.append(output[0]))

    def compute(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        projected.clear()
        values = extractor(
            samples,
            sampling_rate=SAMPLING_RATE,
            padding="max_length",
            max_length=15 * SAMPLING_RATE,
            return_tensors="pt",
        )
        with torch.no_grad():
            hidden = model(values.input_values, output_hidden_states=True).hidden_states
        return torch.cat([projected[0], *hidden[1:]]).numpy()

    return compute


def seconds_per_second(
    compute: Callable[[NDArray[np.float32]], NDArray[np.float32]], recordings: Recordings, repeats: int
) -> float:
    """Median over `repeats` of computing time divided by the audio's own length."""
    compute(recordings[0])
    length = sum(map(len, recordings)) / SAMPLING_RATE
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for samples in recordings:
            compute(samples)
        times.append((time.perf_counter() - start) / length)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.5, help="mean length of a recording (IEMOCAP: 4.5)")
    parser.add_argument("--recordings", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    generator = np.random.default_rng(0)
    lengths = np.linspace(0.5, 1.5, arguments.recordings) if arguments.recordings > 1 else [1.0]
    recordings = [
        generator.standard_normal(round(arguments.seconds * share * SAMPLING_RATE)).astype(np.float32)
        for share in lengths
    ]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_checkpoint(folder)
        paper = make_view("wav2vec2", {"model": name, "padding": "fixed", "mask_padding": False})
        ways = {
            "AutoModel, padded to 15 s": plain_loop(folder),
            "view, padded to 15 s": paper,
            "view, true length": make_view("wav2vec2", {"model": name}),
        }
        difference = np.abs(ways["AutoModel, padded to 15 s"](recordings[0]) - paper(recordings[0])).max()
        print(
            f"wav2vec2-base, random weights, torch {torch.__version__}; {arguments.recordings} recordings of about ",
            end="",
        )
        print(f"{arguments.seconds:g} s. Largest difference between the two padded ways: {difference:g}.\n")
        print("| threads | way | seconds a second of audio | times the plain loop's speed |")
        print("|---:|---|---:|---:|")
        for threads in sorted({1, cores}):
            torch.set_num_threads(threads)
            plain = None
            for way, compute in ways.items():
                cost = seconds_per_second(compute, recordings, arguments.repeats)
                plain = plain or cost
                print(f"| {threads} | {way} | {cost:.3f} | {plain / cost:.2f} |", flush=True)


if __name__ == "__main__":
    main()
