"""How long jobs will take, found by running a little of each kind.

Of each kind of job, view and way of training, one bank of middle size is run for two epochs and thrown away; the others are
taken to cost the same for each utterance and epoch. When a training stops is not known beforehand, so an estimate has two
ends: that every training stops as soon as it may, and that none does.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from threadpoolctl import threadpool_limits

from emoviews.engine import banks, run_jobs
from emoviews.jobs import RANDOM, FineTuningJob, Job, PretrainingJob
from emoviews.progress import readable_seconds
from emoviews.workspace import Workspace

TRIED_EPOCHS: Final = 2
TRIED_UTTERANCES: Final = 256
"""Of a pre-training that is tried."""


@dataclass(frozen=True)
class Estimate:
    """Seconds on the clock: at least, if every training stops as early as it may, and at most."""

    low_seconds: float
    high_seconds: float

    def __str__(self) -> str:
        """
        >>> print(Estimate(30.0, 100.0))
        30 s to 1 min 40 s
        """
        return f"{readable_seconds(self.low_seconds)} to {readable_seconds(self.high_seconds)}"


def estimate(jobs: Sequence[Job], workspace: Workspace, workers: int) -> Estimate:
    """The time that `jobs` will take together.

    Args:
        jobs: those that have to be run.
        workspace: against which they will be run.
        workers: processes.
    """
    groups: dict[Hashable, list[tuple[Job, ...]]] = defaultdict(list)
    for bank in banks(jobs):
        groups[_alike(bank[0])].append(bank)
    low = high = 0.0
    for found in groups.values():
        found.sort(key=lambda bank: _passes(bank[0], workspace, 1))
        tried = _shortened(found[len(found) // 2])
        with _scratch(workspace):
            results = list(run_jobs(tried, workspace))
        if any(result.error for result in results):
            continue  # it will fail as fast in the run, and say why there
        rate = sum(result.seconds for result in results) / sum(
            _passes(job, workspace, _epochs(job)[1]) for job in tried
        )
        for job in (job for bank in found for job in bank):
            fewest, most = _epochs(job)
            low += rate * _passes(job, workspace, fewest)
            high += rate * _passes(job, workspace, most)
    return Estimate(low / workers, high / workers)


def _alike(job: Job) -> Hashable:
    """What jobs that cost the same for each utterance and epoch have in common."""
    views = getattr(job, "views", None) or (getattr(job, "view", None),)
    return job.kind, views, getattr(job, "method", ""), getattr(job, "frozen", False), bool(getattr(job, "init", ""))


def _passes(job: Job, workspace: Workspace, epochs: int) -> float:
    """Passes of an utterance through an encoder; one that trains counts three times, for its way back."""
    fold = workspace.folds[job.fold]
    train, validation, test = len(fold.train), len(fold.validation), len(fold.test)
    if isinstance(job, PretrainingJob):
        train = min(train, job.size or train)
        return epochs * (3 * train + validation) + 2 * test
    budget = getattr(job, "budget", None)
    if budget is not None and budget.fraction is not None:
        train = max(len(workspace.labels), round(train * budget.fraction))
    elif budget is not None and budget.per_class is not None:
        train = min(train, budget.per_class * len(workspace.labels))
    if isinstance(job, FineTuningJob):
        validation = validation if job.validation == "full" else 0
        return epochs * (3 * train + validation) + test
    return train + validation + test


def _epochs(job: Job) -> tuple[int, int]:
    """Fewest and most epochs it may take."""
    if not isinstance(job, FineTuningJob | PretrainingJob):
        return 1, 1
    most = job.config.epochs
    stops = not isinstance(job, FineTuningJob) or job.validation != "none"
    return (min(most, job.config.patience + 1) if stops else most), most


def _shortened(bank: Sequence[Job]) -> list[Job]:
    """The same trainings for two epochs, from random weights: what they start from may not be there yet."""
    found: list[Job] = []
    for job in bank:
        changes: dict[str, Any] = {}
        if isinstance(job, FineTuningJob):
            changes = {"config": replace(job.config, epochs=min(job.config.epochs, TRIED_EPOCHS)), "keep": False}
        elif isinstance(job, PretrainingJob):
            size = min(job.size or TRIED_UTTERANCES, TRIED_UTTERANCES)
            changes = {"config": replace(job.config, epochs=min(job.config.epochs, TRIED_EPOCHS)), "size": size}
        if getattr(job, "init", ""):
            changes["init"] = RANDOM
        if hasattr(job, "inits"):
            changes["inits"] = (RANDOM,) * len(job.inits)
        found.append(replace(job, **changes))
    return found


@contextmanager
def _scratch(workspace: Workspace) -> Iterator[None]:
    """The workspace with a run folder that is thrown away, and as many threads as jobs get."""
    before, threads = workspace.config, torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(before.threads):
        workspace.config = replace(before, folder=Path(folder), checkpoints=None)
        torch.set_num_threads(before.threads)
        try:
            yield
        finally:
            workspace.config = before
            torch.set_num_threads(threads)
