"""How long the few-label fine-tunings of one view take on real recordings, and in how much memory; prints a Markdown table.

    python benchmarks/time_sparse.py TABLE --store STORE [--view egemaps] [--with mel_spectrogram] [--folds 5]
        [--labels anger,happiness] [--repeats 10] [--fractions 0.01,0.1,1] [--checkpoints RUN/checkpoints]

The tuned fine-tunings of the experiment `sparse` under the paper's rule (a whole validation group decides when to stop):
supervised and pre-trained, every share, fold and repeat, each to its own early stop, through the executor and all cores, as
`emoviews reproduce` runs them. The pre-trainings they start from are run first, and timed apart; with `--checkpoints` those of
a run of the same table are used.

Passes are utterances that went forwards and backwards through an encoder; one that validates counts a third. The share of the
machine's matrix rate is what they cost in products against what all cores multiply, both on the clock. Memory is that of this
process and its workers together (proportional set size), at its peak.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import torch
from _common import measure_limits, table
from torch.utils.flop_counter import FlopCounterMode

from emoviews.encoders import make_encoder
from emoviews.executors import run_planned
from emoviews.experiments import plan_for
from emoviews.experiments.sparse import Sparse
from emoviews.jobs import FineTuningJob
from emoviews.processes import available_cores
from emoviews.results import Results
from emoviews.table import read_table, relabel
from emoviews.views import ViewRequest
from emoviews.workspace import Workspace, WorkspaceConfig


class Memory:
    """The most that this process and its children took together while it was watched, in bytes."""

    def __init__(self) -> None:
        self.peak, self._ended = 0, threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        this = psutil.Process()
        while not self._ended.wait(1.0):
            total = 0
            for process in [this, *this.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue  # it ended in between
            self.peak = max(self.peak, total)

    def __enter__(self) -> Memory:
        self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._watcher.join()


def forward_operations(workspace: Workspace, label: str) -> float:
    """Of the products of an utterance of mean length, forwards."""
    data = workspace.data(label)
    encoder = make_encoder(data.spec)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        encoder(data.batch(range(len(data))))
    return counter.get_total_flops() / len(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--view", default="egemaps")
    parser.add_argument("--with", dest="partner", default="mel_spectrogram", help="the view it is aligned with")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--labels", default="", help="separated by commas; all by default")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--fractions", default="0.01,0.02,0.05,0.1,0.25,0.5,1")
    parser.add_argument("--checkpoints", type=Path)
    options = parser.parse_args()
    (frame,) = relabel([read_table(options.table)], {}, tuple(filter(None, options.labels.split(","))))
    requests = tuple(ViewRequest.parse(name) for name in sorted({options.view, options.partner}, reverse=True))
    label = ViewRequest.parse(options.view).label
    limits = measure_limits(available_cores())
    with tempfile.TemporaryDirectory() as folder:
        config = WorkspaceConfig(frame, options.table.stem, options.store, requests, Path(folder), folds=options.folds)
        workspace = Workspace(config)
        asked = {
            "fractions": tuple(map(float, options.fractions.split(","))),
            "per_class": (),
            "repeats": options.repeats,
        }
        plan = plan_for(workspace, options.table.stem, validations=("full",), **asked)
        before = list(plan.pretrainings().values())
        if options.checkpoints is not None:
            found = {job.id: options.checkpoints / job.id for job in before}
            workspace = Workspace(replace(config, checkpoints=found))
            before = []
        jobs = [
            job
            for job in Sparse().jobs(plan)
            if isinstance(job, FineTuningJob) and job.view[0] == label and not job.frozen
        ]
        with Results(Path(folder)) as results, Memory() as memory:
            results.remember(workspace.foreign_jobs())
            started = time.perf_counter()
            run_planned(before, workspace, results)
            pretrained = time.perf_counter()
            failed = run_planned(jobs, workspace, results)
            taken = time.perf_counter() - pretrained
            tidy = results.tidy()
        forward = forward_operations(workspace, label)
        tidy = tidy[(tidy["split"] == "test") & (tidy["kind"] == "finetuning")]
        n_validation = {n: int((workspace.targets[f.validation] >= 0).sum()) for n, f in workspace.folds.items()}
        passes: dict[float, list[float]] = defaultdict(list)
        for _, row in tidy.iterrows():
            an_epoch = row["n_labels"] + n_validation[row["fold"]] / 3
            passes[row["label_fraction"] if row["label_fraction"] > 0 else 1.0].append(row["epochs_run"] * an_epoch)
    everything = sum(map(sum, passes.values()))
    rows = [
        [
            f"{100 * share:g} %",
            len(found),
            f"{tidy[np.isclose(tidy['label_fraction'].fillna(1.0), share)]['epochs_run'].mean():.0f}",
            f"{sum(found):.0f}",
        ]
        for share, found in sorted(passes.items())
    ]
    took = f"{len(jobs)} fine-tunings ({len(failed)} failed) in {taken:.0f} s on {available_cores()} cores"
    print(f"{options.view}: {took}; {limits}.")
    if before:
        print(f"{len(before)} pre-trainings before them: {pretrained - started:.0f} s.")
    share = 3 * forward * everything / taken / limits.operations_a_second
    rate = f"{everything / taken:.0f} passes a second; {100 * share:.0f} % of the matrix rate"
    print(f"{rate}. Peak memory {memory.peak / 1e9:.2f} GB.\n")
    print(table(["share of the labels", "fine-tunings", "epochs, mean", "passes"], rows))


if __name__ == "__main__":
    main()
