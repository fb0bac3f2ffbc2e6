"""What wav2vec 2.0 costs: seconds of computing a second of audio, for the full-size base model with random weights.

The loop most code has (transformers' `AutoModel`) and our view, both zero-padded to 15 s (`padding="fixed"`) and at true length
(the default). The padded arrays are compared, so that the times are for the same result. All in one process; processes beside
each other are `bench_extraction.py`'s.

    python benchmarks/bench_speech_model.py [--seconds 4.5] [--recordings 3]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers
from _common import ROUNDS, measure_limits, medians, random_wav2vec2, table, wav2vec2_operations
from numpy.typing import NDArray

from emoviews.processes import available_cores
from emoviews.types import SAMPLING_RATE
from emoviews.views import make_view

Compute = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def plain_loop(folder: Path, *, padded: bool) -> Compute:
    """What most code has: transformers, one recording at a time. Padded, it gives 749 frames for every recording."""
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    projected = []
    model.feature_projection.register_forward_hook(lambda module, inputs, output: projected.append(output[0]))

    def compute(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        projected.clear()
        length = {"padding": "max_length", "max_length": 15 * SAMPLING_RATE} if padded else {}
        values = extractor(samples, sampling_rate=SAMPLING_RATE, return_tensors="pt", **length)
        with torch.no_grad():
            hidden = model(values.input_values, output_hidden_states=True).hidden_states
        return torch.cat([projected[0], *hidden[1:]]).numpy()

    return compute


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.5, help="mean length of a recording (IEMOCAP: 4.5)")
    parser.add_argument("--recordings", type=int, default=3)
    arguments = parser.parse_args()
    generator = np.random.default_rng(0)
    lengths = np.linspace(0.5, 1.5, arguments.recordings) if arguments.recordings > 1 else [1.0]
    n_samples = [round(arguments.seconds * share * SAMPLING_RATE) for share in lengths]
    recordings = [generator.standard_normal(n).astype(np.float32) for n in n_samples]
    audio_seconds = sum(n_samples) / SAMPLING_RATE
    true_length = sum(map(wav2vec2_operations, n_samples))
    padded = wav2vec2_operations(15 * SAMPLING_RATE) * len(recordings)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        random_wav2vec2(folder)
        paper = make_view("wav2vec2", {"model": name, "padding": "fixed", "mask_padding": False})
        ways = {
            "AutoModel, padded to 15 s": (plain_loop(folder, padded=True), padded),
            "AutoModel, true length": (plain_loop(folder, padded=False), true_length),
            "view, padded to 15 s": (paper, padded),
            "view, true length": (make_view("wav2vec2", {"model": name}), true_length),
        }
        difference = np.abs(ways["AutoModel, padded to 15 s"][0](recordings[0]) - paper(recordings[0])).max()
        print(
            f"wav2vec2-base, random weights; {len(recordings)} recordings of about {arguments.seconds:g} s, medians of "
            f"{ROUNDS}. Largest difference between the two padded ways: {difference:g}.\n"
        )
        rows = []
        for threads in sorted({1, available_cores()}):
            limits = measure_limits(threads)

            def over_all(compute: Compute) -> Callable[[], object]:
                return lambda: [compute(samples) for samples in recordings]

            times = medians({way: over_all(compute) for way, (compute, _) in ways.items()})
            plain = times["AutoModel, true length"]
            for way, taken in times.items():
                share = ways[way][1] / limits.operations_a_second / taken
                rows.append([threads, way, f"{taken / audio_seconds:.3f}", f"{share:.0%}", f"{plain / taken:.2f}"])
    head = [
        "threads",
        "way",
        "seconds a second of audio",
        "share of the matrix rate",
        "AutoModel at true length / this",
    ]
    print(table(head, rows))


if __name__ == "__main__":
    main()
