"""Speed of the signal views against plain references, in one run on one core; prints a Markdown table.

    python benchmarks/bench_views.py [FOLDER]

FOLDER: any audio files, of which up to 20 are taken, cropped to 15 s (EMOVIEWS_BENCHMARK_RECORDINGS names one as well);
without it, noise of 3 and 15 s is used. The numbers
are medians of 5 passes over all clips.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch read it

import argparse
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import torch
from _common import ROUNDS, medians, recorded, table

from emoviews.errors import MissingExtraError
from emoviews.types import SAMPLING_RATE
from emoviews.views import make_view

WINDOW = torch.hann_window(400)
FILTERS = torch.from_numpy(librosa.filters.mel(sr=SAMPLING_RATE, n_fft=400, n_mels=64, fmin=60, fmax=7800))


def librosa_mel(samples: np.ndarray) -> np.ndarray:
    power = librosa.feature.melspectrogram(
        y=samples, sr=SAMPLING_RATE, n_fft=400, hop_length=160, n_mels=64, fmin=60, fmax=7800, pad_mode="constant"
    )
    return np.log(np.maximum(power, 1e-10)).T


def librosa_mfcc(samples: np.ndarray) -> np.ndarray:
    return librosa.feature.mfcc(S=librosa_mel(samples).T, n_mfcc=20).T


def torch_mel(samples: np.ndarray) -> np.ndarray:
    """In float32: its far bands differ from librosa's by up to 0.1 where a loud tone stands alone."""
    spectrum = torch.stft(torch.from_numpy(samples), 400, 160, window=WINDOW, pad_mode="constant", return_complex=True)
    power = FILTERS @ (spectrum.real.square() + spectrum.imag.square())
    return power.clamp_min_(1e-10).log_().T.numpy()


def opensmile_frame(feature_set: str) -> Callable[[np.ndarray], np.ndarray]:
    """The documented way: a data frame a clip."""
    import opensmile

    smile = opensmile.Smile(opensmile.FeatureSet[feature_set], opensmile.FeatureLevel.Functionals)
    return lambda samples: smile.process_signal(samples, SAMPLING_RATE).to_numpy()[0]


def clips(folder: Path | None) -> list[np.ndarray]:
    files = recorded(20, folder)
    if files:
        return [librosa.load(path, sr=SAMPLING_RATE, duration=15)[0] for path in files]
    rng = np.random.default_rng(0)
    return [(0.1 * rng.standard_normal(s * SAMPLING_RATE)).astype(np.float32) for s in (3, 3, 3, 15)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    torch.set_num_threads(1)
    signals = clips(parser.parse_args().folder)
    audio_seconds = sum(samples.size for samples in signals) / SAMPLING_RATE

    rows: list[tuple[str, str, Callable[[np.ndarray], np.ndarray]]] = [
        ("mel_spectrogram", "EmoViews", make_view("mel_spectrogram")),
        ("", "librosa", librosa_mel),
        ("", "torch.stft, float32", torch_mel),
        ("mfcc", "EmoViews", make_view("mfcc")),
        ("", "librosa", librosa_mfcc),
    ]
    for name, feature_set in (("egemaps", "eGeMAPSv02"), ("compare_2016", "ComParE_2016")):
        try:
            rows.append((name, "EmoViews", make_view(name)))
        except MissingExtraError as error:
            print(error)
        else:
            rows.append(("", "opensmile, process_signal", opensmile_frame(feature_set)))

    def over_all(compute: Callable[[np.ndarray], np.ndarray]) -> Callable[[], object]:
        return lambda: [compute(samples) for samples in signals]

    times = medians({number: over_all(compute) for number, (*_, compute) in enumerate(rows)})
    cells = []
    for (view, by, _), taken in zip(rows, times.values(), strict=True):
        share = taken / audio_seconds
        cells.append([view, by, f"{1000 * taken / len(signals):.2f}", f"{share:.6f}", f"{1 / share:,.0f}"])
    print(f"{len(signals)} clips, {audio_seconds:.1f} s of audio, one thread, medians of {ROUNDS} passes\n")
    print(table(["view", "computed by", "ms a clip", "seconds per second of audio", "times real time"], cells))


if __name__ == "__main__":
    main()
