"""What extraction costs: seconds per second of audio, for each view, with 1 and 2 processes; prints a Markdown table.

    python benchmarks/bench_extraction.py [--table TABLE | --folder FOLDER] [--limit 100]
        [--views mel_spectrogram,mfcc,egemaps] [--processes 1,2] [--wav2vec2]

Without a table or a folder the recordings of the synthetic corpus are used. Beside each view stands the plain loop: read the
file, compute the view, append the array to a list, on one thread and without a store. `--wav2vec2` adds the full-size base
model with random weights, which costs as much as the real one. Times are from the call of `extract` to its end, the start of
the processes included: some seconds, however much there is to do. What that start takes by itself is measured on 16
recordings of 0.1 s and printed beside; take enough recordings (`--limit`) for it not to matter.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import threadpoolctl
import torch

from emoviews.audio import AUDIO_SUFFIXES, load
from emoviews.corpora import CORPORA
from emoviews.extraction import extract
from emoviews.table import make_table, read_table
from emoviews.types import SAMPLING_RATE
from emoviews.views import ViewRequest, split_view_list


def recordings(options: argparse.Namespace, scratch: Path) -> pd.DataFrame:
    if options.table is not None:
        table = read_table(options.table)
    elif options.folder is not None:
        files = sorted(path for path in options.folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
        table = make_table({"path": str(path)} for path in files)
    else:
        table = CORPORA.load("synthetic").parse(scratch / "synthetic", None).table
    # Spread over the table, since corpora are sorted by speaker and emotion.
    chosen = np.unique(np.linspace(0, len(table) - 1, min(options.limit, len(table))).round().astype(int))
    return table.iloc[chosen].reset_index(drop=True)


def short_recordings(folder: Path) -> pd.DataFrame:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(16):
        soundfile.write(folder / f"{i}.wav", 0.1 * rng.standard_normal(SAMPLING_RATE // 10), SAMPLING_RATE)
    return make_table({"path": str(path)} for path in sorted(folder.iterdir()))


def random_wav2vec2(folder: Path) -> ViewRequest:
    """wav2vec2-base as transformers configures it by default: 12 layers of 768, 94 million parameters."""
    import transformers

    torch.manual_seed(0)
    transformers.Wav2Vec2Model(transformers.Wav2Vec2Config()).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return ViewRequest("wav2vec2", {"model": str(folder)}, "wav2vec2, random weights")


def plain_loop(table: pd.DataFrame, request: ViewRequest) -> float:
    """Seconds of the loop that most code has."""
    view = request.make()
    view.prepare()
    columns = table[["path", "start_seconds", "end_seconds", "channel"]]
    arrays = []
    started = time.perf_counter()
    for row in columns.itertuples(index=False, name=None):
        arrays.append(view(load(*row)))
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--table", type=Path)
    source.add_argument("--folder", type=Path)
    parser.add_argument("--limit", type=int, default=100, help="recordings, spread over the table")
    parser.add_argument("--views", default="mel_spectrogram,mfcc,egemaps")
    parser.add_argument("--processes", default="1,2")
    parser.add_argument("--wav2vec2", action="store_true", help="the full-size base model with random weights as well")
    options = parser.parse_args()
    torch.set_num_threads(1)

    with tempfile.TemporaryDirectory() as name, threadpoolctl.threadpool_limits(1):
        scratch = Path(name)
        requests = [ViewRequest.parse(text) for text in split_view_list(options.views)]
        if options.wav2vec2:
            requests.append(random_wav2vec2(scratch / "model"))
        table, short = recordings(options, scratch), short_recordings(scratch / "short")
        rows, audio_seconds, n = [], 0.0, 0
        for request in requests:
            plain = plain_loop(table, request)
            timed = []
            for workers in map(int, options.processes.split(",")):
                store = scratch / f"{request.label}-{workers}"
                started = extract(short, store, [request], workers=workers).wall_seconds
                report = extract(table, store, [request], workers=workers)
                audio_seconds, n = report.audio_seconds, report.n_computed
                timed.append((workers, report.wall_seconds, started))
            rows.append(f"| {request.label} | plain loop | {plain:.2f} | | {plain / audio_seconds:.5f} | 1.00 |")
            for workers, taken, started in timed:
                rows.append(
                    f"| | {workers} process{'es' if workers > 1 else ''} | {taken:.2f} | {started:.2f} | "
                    f"{taken / audio_seconds:.5f} | {plain / taken:.2f} |"
                )
    print(f"{n} recordings, {audio_seconds:.1f} s of audio; every process on one thread\n")
    print("| view | by | seconds | start alone, s | seconds per second of audio | times as fast as the plain loop |")
    print("|---|---|--:|--:|--:|--:|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
