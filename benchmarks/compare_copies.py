"""Copies of the training recordings, from which the inductive students learn as well: which kind helps? Prints Markdown tables.

    python benchmarks/compare_copies.py TABLE --store STORE --labels anger,happiness --speakers Ann,Bob,Cy

It needs real recordings, extracted: `emoviews extract TABLE --store STORE --views egemaps,compare_2016,mfcc`. Every speaker
tests once, and the others train; labels are drawn by share and class. Two copies of each kind are made of every recording:
played slower and faster, with the voice moved by two semitones, softer and louder, with noise, and with stretches and a band
masked as SpecAugment masks a spectrogram. The test recordings are judged one by one (the inductive mode), as they
are and 10 dB quieter; the speaker-adaptive mode learns from no copies.

Besides EmoViews it needs librosa (`pip install librosa`), which moves the pitch.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import scipy.signal
from _common import drawn_targets, names_in, recordings_parser, table
from compare_channels import Sound, changed, noise, same_level
from numpy.typing import NDArray

from emoviews import audio
from emoviews.fusion import Fusion
from emoviews.metrics import uar
from emoviews.recognition import may_be_copied, read_vectors, views_of
from emoviews.semisupervised import fit_semisupervised
from emoviews.table import read_table
from emoviews.types import SAMPLING_RATE as RATE
from emoviews.views import ViewRequest

Views = dict[str, NDArray[np.float64]]
RANDOM = np.random.default_rng(0)


def speed(times: float, samples: Sound) -> Sound:
    return audio.at_speed(samples.astype(np.float32), times).astype(np.float64)


def pitch(semitones: float, samples: Sound) -> Sound:
    moved: Sound = librosa.effects.pitch_shift(samples, sr=RATE, n_steps=semitones)
    return moved


def gain(decibels: float, samples: Sound) -> Sound:
    return samples * 10 ** (decibels / 20)


def masked(samples: Sound) -> Sound:
    """Two stretches of at most 15 % silent, and a band of a quarter of the mel range below 7.5 kHz missing."""
    found = samples.copy()
    for _ in range(2):
        width = int(RANDOM.uniform(0, 0.15) * len(found))
        start = int(RANDOM.integers(0, len(found) - width + 1))
        found[start : start + width] = 0
    low, high = librosa.hz_to_mel([50, 7500])
    first = RANDOM.uniform(low, high - (high - low) / 4)
    edges = librosa.mel_to_hz([first, first + (high - low) / 4])
    without: Sound = scipy.signal.sosfilt(scipy.signal.butter(4, edges, "bandstop", fs=RATE, output="sos"), found)
    return without


# kind → the two copies
KINDS: dict[str, tuple[Callable[[Sound], Sound], Callable[[Sound], Sound]]] = {
    "0.9 and 1.1 times the speed": (partial(speed, 0.9), partial(speed, 1.1)),
    "pitch 2 semitones down and up": (partial(pitch, -2.0), partial(pitch, 2.0)),
    "10 dB softer, 5 dB louder": (partial(gain, -10.0), partial(gain, 5.0)),
    "noise 20 and 30 dB below": (same_level(noise(20)), same_level(noise(30))),
    "stretches and a band masked, twice": (masked, masked),
    "speeds, the slower 10 dB softer": (lambda samples: gain(-10.0, speed(0.9, samples)), partial(speed, 1.1)),
}
TOGETHER = {
    "no copies": (),
    **{kind: (kind,) for kind in KINDS},
    "speeds and pitch": ("0.9 and 1.1 times the speed", "pitch 2 semitones down and up"),
    "speeds and loudness": ("0.9 and 1.1 times the speed", "10 dB softer, 5 dB louder"),
}


def heard(frame: pd.DataFrame, change: Callable[[Sound], Sound], requests: list[ViewRequest]) -> Views:
    """The views of all recordings, changed."""
    with tempfile.TemporaryDirectory() as folder:
        found = views_of(changed(frame, change, Path(folder)), requests, Path(folder) / "store")
    assert not any(found.problems), found.problems
    return found.vectors


def main() -> None:
    parser = recordings_parser(__doc__ or "")
    parser.add_argument("--views", default="egemaps,compare_2016,mfcc")
    parser.add_argument("--speakers", default="", help="separated by commas; all by default")
    parser.add_argument("--fractions", default="0.02,0.1,1")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    frame = read_table(options.table)
    wanted = names_in(options.labels, frame["emotion"])
    voices = names_in(options.speakers, frame["speaker"])
    frame = frame[frame["emotion"].isin(wanted) & frame["speaker"].isin(voices)].reset_index(drop=True)
    code = np.array([wanted.index(emotion) for emotion in frame["emotion"]])
    requests = [ViewRequest.parse(name) for name in options.views.split(",")]
    copied = [request for request in requests if may_be_copied(request)]
    started = time.monotonic()
    views = {
        "as they are": read_vectors(frame, options.store, requests),
        "10 dB quieter": heard(frame, partial(gain, -10.0), requests),
    }
    copies = {kind: [heard(frame, change, copied) for change in changes] for kind, changes in KINDS.items()}
    print(f"# extracted: {time.monotonic() - started:.0f} s", flush=True)
    fractions = [float(text) for text in options.fractions.split(",")]
    said: defaultdict[tuple[str, str, float, str], list[float]] = defaultdict(list)
    for voice in voices:
        train, test = np.flatnonzero(frame["speaker"] != voice), np.flatnonzero(frame["speaker"] == voice)
        speakers, texts = [list(frame[column].iloc[train]) for column in ("speaker", "text")]
        for fraction in fractions:
            for repeat in range(options.repeats if fraction < 1 else 1):
                targets = drawn_targets(code[train], list(frame["emotion"].iloc[train]), fraction, voice, repeat)
                for name, kinds in TOGETHER.items():
                    part = {view: values[train] for view, values in views["as they are"].items()}
                    others = [{view: x[train] for view, x in copy.items()} for kind in kinds for copy in copies[kind]]
                    model = fit_semisupervised(Fusion(part, speakers, texts, others), targets, len(wanted))
                    for level, values in views.items():
                        held = {view: x[test] for view, x in values.items()}
                        guess = model.probabilities(held, "inductive").argmax(axis=1)
                        said[name, level, fraction, voice].append(uar(code[test], guess))
        print(f"# {voice}: {time.monotonic() - started:.0f} s", flush=True)
    lines = []
    for name in TOGETHER:
        each = [[[np.mean(said[name, level, f, v]) for v in voices] for f in fractions] for level in views]
        lines.append([name, *(f"{100 * np.mean(values):.1f}" for level in each for values in level)])
    head = ["copies", *(f"{level}, {100 * fraction:g} %" for level in views for fraction in fractions)]
    print(f"\n{table(head, lines)}")
    print(
        f"\nUAR % on speakers who did not train. {len(frame)} recordings, {len(voices)} speakers, {options.repeats} repeats."
    )


if __name__ == "__main__":
    main()
