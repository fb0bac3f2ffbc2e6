"""What is taken for no speech: sounds made for the purpose, and new speakers' recordings, which should not be.

    python benchmarks/compare_non_speech.py TABLE --store STORE [--speakers 2]

For each pair of speakers (`--speakers`; in the order of their names) a recogniser learns from all others, labelled wholly, and
judges what it has never heard: recordings of the two, and noise, hum, clicks, tones, chords, melodies of 1, 4 and 10 s. Printed
is of how many it gives no emotion, and how far they lie (1: the limit). `sung vowel` is a synthetic voice with formants and
vibrato: hard to tell from speech by design.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from _common import recordings_parser, table
from numpy.typing import NDArray
from scipy.signal import lfilter

from emoviews import EmotionRecognizer
from emoviews.recognition import TOO_FAR, distances, views_of
from emoviews.table import make_table, read_table

RATE = 16_000
Sound = NDArray[np.float64]


def tones(pitches: NDArray[np.float64], partials: int) -> Sound:
    """A pitch a sample, in Hz, with partials that fall by 1/n."""
    phase = 2 * np.pi * np.cumsum(pitches) / RATE
    return np.sum([np.sin(n * phase) / n for n in range(1, partials + 1)], axis=0)


def melody(random: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Notes of 0.25 s, one pitch a sample."""
    scale = 220 * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12]) / 12)
    return np.repeat(random.choice(scale, n // (RATE // 4) + 1), RATE // 4)[:n]


def pink(random: np.random.Generator, n: int) -> Sound:
    spectrum = np.fft.rfft(random.normal(size=n))
    return np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), n)


def clicks(random: np.random.Generator, n: int) -> Sound:
    found = np.zeros(n)
    found[random.integers(0, n, max(1, 5 * n // RATE))] = 1.0
    return found


def sung(random: np.random.Generator, n: int) -> Sound:
    """A melody with vibrato through three formants."""
    time_axis = np.arange(n) / RATE
    sound = tones(melody(random, n) * (1 + 0.02 * np.sin(2 * np.pi * 5.5 * time_axis)), 40)
    for centre, width in ((700, 90), (1200, 110), (2600, 160)):
        radius, angle = np.exp(-np.pi * width / RATE), 2 * np.pi * centre / RATE
        sound = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], sound)
    return sound


SOUNDS: dict[str, Callable[[np.random.Generator, int], Sound]] = {
    "white noise": lambda random, n: random.normal(size=n),
    "pink noise": pink,
    "hum of 50 Hz": lambda random, n: tones(np.full(n, 50.0), 8) + 0.01 * random.normal(size=n),
    "clicks": clicks,
    "tone": lambda random, n: tones(np.full(n, random.uniform(200, 1000)), 1),
    "chord": lambda random, n: sum((tones(np.full(n, 220 * r), 6) for r in (1, 5 / 4, 3 / 2)), np.zeros(n)),
    "sweep": lambda random, n: tones(np.geomspace(100, 4000, n), 1),
    "melody of pure tones": lambda random, n: tones(melody(random, n), 1),
    "melody of rich tones": lambda random, n: tones(melody(random, n), 12),
    "sung vowel": sung,
}


def main() -> None:
    parser = recordings_parser(__doc__ or "")
    parser.add_argument("--speakers", type=int, default=2, help="that are left out at a time")
    options = parser.parse_args()
    frame = read_table(options.table)
    if options.labels:
        frame = frame[frame["emotion"].isin(options.labels.split(","))].reset_index(drop=True)
    names = sorted(set(frame["speaker"]))
    far: dict[str, list[float]] = {}
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        made = []
        for name, sound in SOUNDS.items():
            for seconds in (1, 4, 10):
                values = sound(np.random.default_rng(seconds), seconds * RATE)
                path = Path(folder) / f"{name} {seconds}.wav"
                soundfile.write(path, 0.3 * values / np.abs(values).max(), RATE)
                made.append({"id": f"{name} {seconds}", "path": str(path), "emotion": name})
        sounds = make_table(made)
        for start in range(0, len(names), options.speakers):
            out = names[start : start + options.speakers]
            new, rest = frame["speaker"].isin(out), ~frame["speaker"].isin(out)
            recogniser = EmotionRecognizer(store=options.store, evaluate=False).fit(frame[rest].reset_index(drop=True))
            fitted = recogniser.fitted_
            for what, store in ((frame[new].reset_index(drop=True), options.store), (sounds, None)):
                found = views_of(what, fitted.needed("inductive"), store, None)
                usable = [not problem for problem in found.problems]
                kinds = what["emotion"][usable] if store is None else ["speech of new speakers"] * sum(usable)
                for kind, distance in zip(kinds, distances(fitted, found.vectors), strict=True):
                    far.setdefault(kind, []).append(float(distance))
            print(f"# without {', '.join(out)}: {time.monotonic() - started:.0f} s", flush=True)
    rows = [
        [kind, str(len(own)), str(sum(d > TOO_FAR for d in own)), f"{min(own):.2f} to {max(own):.2f}"]
        for kind, own in far.items()
    ]
    print(table(["Sound", "n", "no emotion given", "distance"], rows))


if __name__ == "__main__":
    main()
