"""Recordings over another channel than those learnt from: how many are judged right, how surely, and whether it is noticed.

    python benchmarks/compare_channels.py TABLE --store STORE --labels anger,happiness,neutral,sadness [--fraction 0.1]

For each pair of speakers (`--speakers`; in the order of their names) a recogniser learns from all others, of whose recordings a
share is labelled (`--fraction`; all by default), or from a few of them (`--voices`, the next in order). Some recordings of the
two (`--each`, drawn at random) are judged as they are, band-passed like a telephone call, with noise, in a room, quieter,
overdriven, and with a tilted spectrum; but for quieter and overdriven the level stays. `warned` is the share of speakers for
whom `predict` warns, of all their recordings and of five drawn at random; the last rows are recordings as they are, of one
emotion throughout, for which it should not.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.signal
import soundfile
from _common import recordings_parser, table
from numpy.typing import NDArray

from emoviews import EmotionRecognizer, audio
from emoviews.metrics import uar
from emoviews.recognition import TOO_FAR, Fitted, recognised, shifts, views_of
from emoviews.seeds import derive_seed
from emoviews.semisupervised import MODES, Mode
from emoviews.splits import select_budget
from emoviews.table import read_table
from emoviews.types import SAMPLING_RATE as RATE

Sound = NDArray[np.float64]
RANDOM = np.random.default_rng(0)
QUICK = 5


def telephone(samples: Sound) -> Sound:
    filtered: Sound = scipy.signal.sosfilt(scipy.signal.butter(4, [300, 3400], "band", fs=RATE, output="sos"), samples)
    return filtered


def noise(decibels: float) -> Callable[[Sound], Sound]:
    def add(samples: Sound) -> Sound:
        power = np.mean(samples**2) / 10 ** (decibels / 10)
        return samples + RANDOM.normal(size=len(samples)) * np.sqrt(power)

    return add


def room(samples: Sound) -> Sound:
    """Half a second of reverberation, 60 dB down at its end."""
    times = np.arange(RATE // 2) / RATE
    response = RANDOM.normal(size=len(times)) * np.exp(-np.log(1000) * times / 0.5)
    response[0] = 6.0
    heard: Sound = scipy.signal.fftconvolve(samples, response)[: len(samples)]
    return heard


def same_level(change: Callable[[Sound], Sound]) -> Callable[[Sound], Sound]:
    def changed(samples: Sound) -> Sound:
        found = change(samples)
        return found * np.sqrt(np.mean(samples**2) / np.mean(found**2))

    return changed


CHANNELS: dict[str, Callable[[Sound], Sound]] = {
    "as they are": lambda samples: samples,
    "telephone (300 to 3400 Hz)": same_level(telephone),
    "noise, 20 dB below": same_level(noise(20)),
    "noise, 10 dB below": same_level(noise(10)),
    "a room of 0.5 s": same_level(room),
    "20 dB quieter": lambda samples: 0.1 * samples,
    "overdriven by 10 dB": lambda samples: np.clip(3.2 * samples, -1, 1),
    "high frequencies raised": same_level(lambda samples: np.convolve(samples, [1, -0.7])[: len(samples)]),
}


def changed(frame: pd.DataFrame, change: Callable[[Sound], Sound], folder: Path) -> pd.DataFrame:
    """The same recordings, changed and written to a folder."""
    paths = []
    for number, (path, start, end, channel) in enumerate(
        frame[["path", "start_seconds", "end_seconds", "channel"]].itertuples(index=False, name=None)
    ):
        decoded = audio.decode(path, start, end, channel)
        samples = audio.prepare(decoded.samples, decoded.sampling_rate).astype(np.float64)
        paths.append(str(folder / f"{number}.wav"))
        soundfile.write(paths[-1], np.clip(change(samples), -1, 1), RATE, subtype="FLOAT")
    return frame.assign(path=paths, start_seconds=np.nan, end_seconds=np.nan, channel=np.nan)


def count_warnings(
    own: dict[str, list[float]], fitted: Fitted, vectors: dict[str, Sound], rows: NDArray[np.int64]
) -> None:
    """Whether all of a speaker's recordings are warned of, and ten times five of them."""
    draws = [RANDOM.choice(rows, QUICK, replace=False) for _ in range(10)]
    for column, some in [("warned", rows), *(("warned of five", few) for few in draws)]:
        given = {label: values[some] for label, values in vectors.items()}
        own[column].append(bool(shifts(fitted, given, [""] * len(some))[0] > TOO_FAR))


def main() -> None:
    parser = recordings_parser(__doc__ or "")
    parser.add_argument("--speakers", type=int, default=2, help="that are left out at a time")
    parser.add_argument("--each", type=int, default=24, help="recordings of a speaker")
    parser.add_argument("--voices", type=int, default=0, help="to learn from; all others by default")
    parser.add_argument("--fraction", type=float, default=1.0, help="of the recordings that is labelled")
    options = parser.parse_args()
    frame = read_table(options.table)
    if options.labels:
        frame = frame[frame["emotion"].isin(options.labels.split(","))].reset_index(drop=True)
    names = sorted(set(frame["speaker"]))
    found: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    started = time.monotonic()
    for start in range(0, len(names), options.speakers):
        out = names[start : start + options.speakers]
        others = [n for n in names[start:] + names[:start] if n not in out][: options.voices or None]
        rest = frame[frame["speaker"].isin(others)].reset_index(drop=True)
        seed = derive_seed("few labels", *out)
        labelled = select_budget(list(rest["emotion"]), fraction=options.fraction, seed=seed)
        rest.loc[rest.index.difference(labelled), "emotion"] = ""
        new = frame[frame["speaker"].isin(out)].groupby("speaker").sample(options.each, random_state=0)
        fitted = EmotionRecognizer(store=options.store, evaluate=False).fit(rest).fitted_
        requests = tuple({request.label: request for mode in MODES for request in fitted.needed(mode)}.values())
        for channel, change in CHANNELS.items():
            with tempfile.TemporaryDirectory() as folder:
                heard = changed(new.reset_index(drop=True), change, Path(folder))
                views = views_of(heard, requests, Path(folder) / "store")
            own = found[channel]
            modes: dict[Mode, str] = {"inductive": "inductive", "speaker-adaptive": "adaptive"}
            for mode, short in modes.items():
                said = recognised(fitted, heard, views, mode, judge_all=True)
                guess = np.array(fitted.labels, dtype=object)[said.probabilities.argmax(axis=1)]
                for name in out:
                    rows = np.flatnonzero(heard["speaker"] == name)
                    own[short].append(uar(heard["emotion"].iloc[rows], guess[rows]))
                    own[f"{short} sure"].append(float(said.probabilities[rows].max(axis=1).mean()))
            for name in out:
                count_warnings(own, fitted, views.vectors, np.flatnonzero(heard["speaker"] == name))
        whole = frame[frame["speaker"].isin(out)].reset_index(drop=True)
        views = views_of(whole, requests, options.store)
        for name in out:
            for emotion in sorted(set(frame["emotion"])):
                rows = np.flatnonzero((whole["speaker"] == name) & (whole["emotion"] == emotion))
                count_warnings(found[f"as they are, {emotion} alone"], fitted, views.vectors, rows)
        print(f"# without {', '.join(out)}: {time.monotonic() - started:.0f} s", flush=True)
    columns = ["inductive", "inductive sure", "adaptive", "adaptive sure", "warned", "warned of five"]
    rows_ = [
        [channel, *(f"{100 * np.mean(own[column]):.0f}" if own[column] else "" for column in columns)]
        for channel, own in found.items()
    ]
    print(table(["Channel, %", *columns], rows_))


if __name__ == "__main__":
    main()
