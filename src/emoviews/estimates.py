"""How long jobs will take, found by running a little of each kind.

Of each kind of job, view and way of training, one bank of middle size is run for one epoch and again for three, and thrown
away. The difference is what an epoch costs, the rest is what a job costs however long it trains (its encoder applied once where
it is frozen, its test); the other banks are taken to cost the same for each utterance. When a training stops is not known
beforehand, so an estimate has two ends: that every training stops as soon as it may, and that none does.
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

from emoviews.configs import LabelBudget
from emoviews.engine import banks, run_jobs
from emoviews.errors import EmoViewsError
from emoviews.jobs import RANDOM, FineTuningJob, Job, PretrainingJob
from emoviews.progress import readable_seconds
from emoviews.runners.pretraining import chosen_rows
from emoviews.workspace import Workspace

TRIED_EPOCHS: Final = (1, 3)
TRIED_UTTERANCES: Final = 256
"""Of a pre-training that is tried."""


@dataclass(frozen=True)
class Estimate:
    """Seconds on the clock: at least, if every training stops as early as it may, and at most."""

    low_seconds: float
    high_seconds: float

    def __str__(self) -> str:
        """
        >>> print(Estimate(30.0, 100.0), Estimate(30.0, 30.0), sep="; ")
        30 s to 1 min 40 s, depending on when trainings stop; about 30 s
        """
        low, high = readable_seconds(self.low_seconds), readable_seconds(self.high_seconds)
        return f"about {low}" if low == high else f"{low} to {high}, depending on when trainings stop"


def estimate(jobs: Sequence[Job], workspace: Workspace, workers: int) -> Estimate:
    """The time that `jobs` will take together.

    Args:
        jobs: those that have to be run.
        workspace: against which they will be run.
        workers: processes.
    """
    groups: dict[Hashable, list[tuple[Job, ...]]] = defaultdict(list)
    for bank in banks(jobs, workspace.config.device):
        groups[_alike(bank[0])].append(bank)
    low = high = 0.0
    with _scratch(workspace):
        for found in groups.values():
            found.sort(key=lambda bank: sum(_passes(bank[0], workspace)))
            tried = found[len(found) // 2]
            _tried(tried, workspace, TRIED_EPOCHS[0])  # reads the view, and what else is done once a process
            seconds = [_tried(tried, workspace, epochs) for epochs in TRIED_EPOCHS]
            if min(seconds) < 0:
                continue  # it will fail as fast in the run, and say why there
            an_epoch = max(0.0, (seconds[1] - seconds[0]) / (TRIED_EPOCHS[1] - TRIED_EPOCHS[0]))
            once = max(0.0, seconds[0] - TRIED_EPOCHS[0] * an_epoch)
            of_tried = [_passes(_shortened(job, 1), workspace) for job in tried]
            rates = [
                spent / max(sum(p), 1.0) for spent, p in zip((once, an_epoch), zip(*of_tried, strict=True), strict=True)
            ]
            for job in (job for bank in found for job in bank):
                passes = _passes(job, workspace)
                fewest, most = _epochs(job)
                low += rates[0] * passes[0] + fewest * rates[1] * passes[1]
                high += rates[0] * passes[0] + most * rates[1] * passes[1]
    return Estimate(low / workers, high / workers)


def _tried(bank: Sequence[Job], workspace: Workspace, epochs: int) -> float:
    """Seconds that a bank takes for so many epochs; negative where a job of it fails."""
    results = list(run_jobs([_shortened(job, epochs) for job in bank], workspace))
    return -1.0 if any(result.error for result in results) else sum(result.seconds for result in results)


def _alike(job: Job) -> Hashable:
    """What jobs that cost the same for each utterance and epoch have in common."""
    views = getattr(job, "views", None) or (getattr(job, "view", None),)
    return job.kind, views, getattr(job, "method", ""), getattr(job, "frozen", False), bool(getattr(job, "init", ""))


def _passes(job: Job, workspace: Workspace) -> tuple[float, float]:
    """Passes of an utterance through an encoder: once a job, and in each epoch; one with a way back counts three times."""
    fold = workspace.folds[job.fold]
    train, validation, test = len(fold.train), len(fold.validation), len(fold.test)
    if isinstance(job, PretrainingJob):
        try:
            parts = chosen_rows(job, workspace, fold)
        except EmoViewsError:
            return 0.0, 0.0  # as it will say in the run
        train, validation = map(len, parts)
        return 2.0 * test, 3.0 * train + validation
    budget = getattr(job, "budget", None)
    if budget is not None and budget.fraction is not None:
        train = max(len(workspace.labels), round(train * budget.fraction))
    elif budget is not None and budget.per_class is not None:
        train = min(train, budget.per_class * len(workspace.labels))
    if isinstance(job, FineTuningJob):
        validation = validation if job.validation == "full" else 0
        return float(train + validation + test), 3.0 * train + validation
    return float(train + validation + test), 0.0


def cost_of(job: Job, workspace: Workspace) -> float:
    """What a job costs beside others, roughly: frames passed through an encoder, were all its epochs trained.

    A frozen encoder is passed once, and its head costs next to nothing; an utterance of functionals is one frame.
    """
    if job.fold not in workspace.folds:
        return 1.0  # it will be refused
    once, an_epoch = _passes(job, workspace)
    if getattr(job, "frozen", False):
        an_epoch /= 100
    labels = [label for label, _ in getattr(job, "views", ()) or (getattr(job, "view", ("", "")),)]
    frames = sum(float(workspace.data(label).lengths.mean()) for label in labels if label in workspace.specs)
    return (once + _epochs(job)[1] * an_epoch) * max(frames, 1.0)


def _epochs(job: Job) -> tuple[int, int]:
    """Fewest and most epochs it may take."""
    if not isinstance(job, FineTuningJob | PretrainingJob):
        return 0, 0
    most = job.config.epochs
    stops = not isinstance(job, FineTuningJob) or job.validation != "none"
    return (min(most, job.config.patience + 1) if stops else most), most


def _shortened(job: Job, epochs: int) -> Job:
    """The same training for a few epochs, from random weights: what it starts from may not be there yet."""
    changes: dict[str, Any] = {}
    if isinstance(job, FineTuningJob):
        changes = {"config": replace(job.config, epochs=epochs), "keep": False}
    elif isinstance(job, PretrainingJob):
        size = min(job.size or TRIED_UTTERANCES, TRIED_UTTERANCES)
        changes = {"config": replace(job.config, epochs=epochs), "size": size}
        if job.budget is not None:
            changes["budget"] = LabelBudget()  # of a few labels, so few utterances might have none
    if getattr(job, "init", ""):
        changes["init"] = RANDOM
    if hasattr(job, "inits"):
        changes["inits"] = (RANDOM,) * len(job.inits)
    return replace(job, **changes)


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
