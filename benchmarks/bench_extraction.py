"""What extraction costs: seconds per second of audio, for each view, with one process and with all cores; prints Markdown.

    python benchmarks/bench_extraction.py [--table TABLE | --folder FOLDER] [--limit N] [--rounds 5]
        [--views wav2vec2,egemaps,mel_spectrogram,mfcc]

Without a table or a folder, the folder that EMOVIEWS_BENCHMARK_RECORDINGS names, else the recordings of the synthetic corpus.
Beside each view stands the plain loop: one recording after the other is read and computed in one process, and its array kept
in a list. For wav2vec 2.0 (the full-size base model with random weights, which costs as much as the real one) that is
transformers' `AutoModel` on all threads, at true length; for the other views it is the view itself, whose libraries use one
thread. The start of worker processes, some seconds however much there is to do, is measured on 16 recordings of 0.1 s and taken
off; reading and loading a model is not in the plain loop's time either.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from _common import ROUNDS, load, measure_limits, medians, random_wav2vec2, recorded, table, wav2vec2_operations
from bench_speech_model import plain_loop

from emoviews import audio
from emoviews.corpora import CORPORA
from emoviews.extraction import extract
from emoviews.processes import available_cores
from emoviews.table import make_table, read_table
from emoviews.types import SAMPLING_RATE
from emoviews.views import ViewRequest, split_view_list

LIMITS = {"wav2vec2": 40, "egemaps": 240, "compare_2016": 240}
"""Recordings at most: some seconds' work."""

CHEAP_LIMIT = 2400
"""For the other views."""


def recordings(options: argparse.Namespace, scratch: Path) -> pd.DataFrame:
    if options.table is not None:
        return read_table(options.table)
    if files := recorded(CHEAP_LIMIT, options.folder):
        return make_table({"path": str(path)} for path in files)
    return CORPORA.load("synthetic").parse(scratch / "synthetic", None).table


def spread(found: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Some rows, spread over the table, since corpora are sorted by speaker and emotion."""
    chosen = np.unique(np.linspace(0, len(found) - 1, min(limit, len(found))).round().astype(int))
    return found.iloc[chosen].reset_index(drop=True)


def short_recordings(folder: Path) -> pd.DataFrame:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(16):
        soundfile.write(folder / f"{i}.wav", 0.1 * rng.standard_normal(SAMPLING_RATE // 10), SAMPLING_RATE)
    return make_table({"path": str(path)} for path in sorted(folder.iterdir()))


def plain(found: pd.DataFrame, request: ViewRequest) -> Callable[[], object]:
    """The loop that most code has."""
    speech = request.name == "wav2vec2"
    compute = plain_loop(Path(request.parameters["model"]), padded=False) if speech else request.make()
    columns = found[["path", "start_seconds", "end_seconds", "channel"]]

    def loop() -> object:
        torch.set_num_threads(available_cores())
        return [compute(audio.load(*row)) for row in columns.itertuples(index=False, name=None)]

    return loop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--table", type=Path)
    source.add_argument("--folder", type=Path)
    parser.add_argument(
        "--limit", type=int, help="recordings at most, spread over all; fewer for costly views by default"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--views", default="wav2vec2,egemaps,mel_spectrogram,mfcc")
    options = parser.parse_args()
    cores = available_cores()
    limits = measure_limits(cores)

    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        requests = [ViewRequest.parse(text) for text in split_view_list(options.views)]
        if any(request.name == "wav2vec2" for request in requests):
            random_wav2vec2(scratch / "model")
            random = ViewRequest("wav2vec2", {"model": str(scratch / "model")}, "wav2vec2, random weights")
            requests = [random if request.name == "wav2vec2" else request for request in requests]
        everything, short = recordings(options, scratch), short_recordings(scratch / "short")
        stores = (scratch / f"store{number}" for number in itertools.count())
        rows = []
        for request in requests:
            found = spread(everything, options.limit or LIMITS.get(request.name, CHEAP_LIMIT))
            columns = found[["path", "start_seconds", "end_seconds", "channel"]]
            n_samples = [len(audio.load(*row)) for row in columns.itertuples(index=False, name=None)]
            audio_seconds = sum(n_samples) / SAMPLING_RATE
            operations = sum(map(wav2vec2_operations, n_samples))

            def extracted(what: pd.DataFrame, workers: int, request: ViewRequest = request) -> Callable[[], object]:
                return lambda: extract(what, next(stores), [request], workers=workers)

            ways = {"plain loop": plain(found, request)}
            for workers in sorted({1, cores}):
                ways[f"{workers} process{'es' if workers > 1 else ''}"] = extracted(found, workers)
            before = load()
            times = medians(ways, options.rounds)
            starts = medians({workers: extracted(short, workers) for workers in sorted({1, cores})}, options.rounds)
            started = dict(zip(ways, [0.0, *starts.values()], strict=True))
            for way, wall in times.items():
                taken = wall - started[way]
                share = f"{operations / limits.operations_a_second / taken:.0%}" if request.name == "wav2vec2" else ""
                ratio = f"{times['plain loop'] / taken:.2f}"
                cells = [f"{audio_seconds:.0f}", f"{wall:.2f}", f"{started[way]:.2f}", f"{taken / audio_seconds:.5f}"]
                rows.append([request.label, way, *cells, ratio, share, before])
    print(f"{cores} cores, {limits}; every process on one thread, medians of {options.rounds}\n")
    head = ["view", "by", "audio, s", "seconds", "start alone, s", "seconds per second of audio", "plain loop / this"]
    print(table([*head, "share of the matrix rate", "load before"], rows))


if __name__ == "__main__":
    main()
