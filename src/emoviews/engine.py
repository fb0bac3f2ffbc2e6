"""The boundary between which jobs there are and how they are run.

    banks(jobs, device)        → which jobs are run together
    run_jobs(jobs, workspace)  → one JobResult a job

Which jobs there are is decided by `emoviews.experiments`; where they run by `emoviews.executors`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

from emoviews.jobs import FineTuningJob, Job, JobResult, PretrainingJob, starts_from
from emoviews.runners import run_bank
from emoviews.workspace import Workspace

BANK: Final = 24
"""Models trained together at most: in larger banks, weights and what Adam keeps of them fall out of a processor's cache."""

GPU_BANK: Final = 512
"""The same on a GPU, which is the quicker the more it has to do at a time; where it has no room, a bank is halved there."""


def banks(jobs: Sequence[Job], device: str = "cpu") -> list[tuple[Job, ...]]:
    """Put together what is trained together; every job is in one bank, and those that can't be put together in one alone.

    It depends on the jobs, their order and the kind of device, and on nothing else: not on what is finished, not on the number
    of processes. A bank is of fine-tunings of one view and fold, one kind of architecture and label budget, so that its models
    take the same number of steps. No job is in a bank with one that it starts from.
    """
    most = BANK if device == "cpu" else GPU_BANK
    depth = depths(jobs)
    found: dict[Hashable, list[Job]] = {}
    for job in dict.fromkeys(jobs):
        key: Hashable = job.id
        if isinstance(job, FineTuningJob):
            same = replace(job, seed=0, init="", repeat=0, keep=False)
            key = (same, depth[job.id])
        found.setdefault(key, []).append(job)
    return [tuple(part) for alike in found.values() for part in _parts(alike, most)]


def _parts(jobs: Sequence[Job], most: int) -> list[Sequence[Job]]:
    """Cut into as few parts as a bank of `most` jobs allows, of sizes as equal as can be."""
    count = -(-len(jobs) // most)
    bounds = [len(jobs) * i // count for i in range(count + 1)]
    return [jobs[a:b] for a, b in pairwise(bounds)]


def depths(jobs: Sequence[Job]) -> dict[str, int]:
    """Job → how far along a chain of jobs it is, each starting from the encoder of the one before.

    0 for a pre-training; others come one after the last fine-tuning that they start from, and 1 at the least. Jobs that are not
    in the list count as finished.
    """
    known = {job.id: job for job in jobs}
    found: dict[str, int] = {}

    def depth(job: Job) -> int:
        if job.id not in found:
            before = [depth(known[start]) for start in starts_from(job) if start in known]
            found[job.id] = 0 if isinstance(job, PretrainingJob) else 1 + max(before, default=0)
        return found[job.id]

    # A fine-tuning that starts from a pre-training (depth 0) and one from random weights are trained together.
    return {job.id: depth(job) for job in jobs}


def run_jobs(
    jobs: Sequence[Job],
    workspace: Workspace,
    on_epoch: Callable[[Job, Mapping[str, float]], None] = lambda job, row: None,
) -> Iterator[JobResult]:
    """Run jobs in this process, a bank at a time. A job that fails is recorded with its error; the others go on.

    The seconds of a job that was trained with others are its share of the bank's.
    """
    for bank in banks(jobs, workspace.config.device):
        started = time.perf_counter()
        results = run_bank(bank, workspace, on_epoch)
        seconds = (time.perf_counter() - started) / len(bank)
        yield from (replace(result, seconds=seconds) for result in results)
