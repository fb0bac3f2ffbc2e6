"""Run jobs where there is room: in this process, or spread over local processes.

Jobs are handed out in banks (`engine.banks`), those that others start from first. What came of a bank is saved as soon as it is
there, in one transaction, so a stopped run loses only the banks that were running, and runs them again as they were.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import threadpoolctl
import torch

from emoviews.batching import HELD_SHARE
from emoviews.checkpoints import holds_checkpoint
from emoviews.engine import banks, depths, run_jobs
from emoviews.estimates import cost_of
from emoviews.jobs import FineTuningJob, Job, JobResult, PretrainingJob, starts_from
from emoviews.processes import available_cores, spread, survives, worker_count, worker_processes
from emoviews.progress import LINE_EVERY_SECONDS, Progress
from emoviews.results import Results
from emoviews.workspace import Workspace, WorkspaceConfig

GPU_PROCESS_BYTES: Final = 2_000_000_000
"""What a process takes of a GPU beside the views: what CUDA needs for itself, a bank, and its batches."""

GPU_PROCESSES: Final = 4
"""Processes that share a GPU at most: a few keep it busy, each takes seconds to start on it."""

Bank = tuple[Job, ...]


def run_planned(
    jobs: Sequence[Job],
    workspace: Workspace,
    results: Results,
    *,
    workers: int | None = None,
    what: str = "train",
    on_epoch: Callable[[Job, Mapping[str, float]], None] | None = None,
) -> list[JobResult]:
    """Run the jobs that are not finished yet, saving each bank's results as they come; those that failed are returned.

    A job that starts from one which failed is not run; its error names that one. A finished job whose checkpoint is gone is run
    again where something still needs it. Of a bank that is finished in part, the rest is run.

    Args:
        jobs: what to run; equal jobs count once. Which are trained together depends on this list alone.
        workspace: what they are run against.
        results: where they are saved.
        workers: processes; when None all cores, on a GPU as many as it has room for. With 1 everything runs in this process.
            The number of processes changes no number; that of threads a job (`WorkspaceConfig.threads`) changes last bits.
        what: the word on the progress bar.
        on_epoch: is told every pre-training epoch's numbers, where jobs run in this process. None says them, a line every
            few seconds, as worker processes do.

    Raises:
        EmoViewsError: results can't be saved, or worker processes can't be started.
    """
    on_epoch = on_epoch or EpochLines()
    finished = results.finished()
    asked = {job.id: job for job in jobs}
    pending = {name for name in asked if name not in finished}
    pending |= _lost(asked, pending, workspace)
    depth = depths(jobs)
    failed: dict[str, JobResult] = {}

    def save(bank: Sequence[JobResult]) -> None:
        results.add(bank)
        failed.update({result.job.id: result for result in bank if result.error and not result.refused})

    rest = [tuple(job for job in bank if job.id in pending) for bank in banks(jobs, workspace.config.device)]
    for level in sorted({depth[name] for name in pending}):
        ready: list[Bank] = []
        for bank in rest:
            # A bank's jobs are all of one depth.
            if bank and depth[bank[0].id] == level:
                hopeless = [found for job in bank if (found := _hopeless(job, failed, workspace.config.device))]
                if hopeless:
                    save(hopeless)
                if able := tuple(job for job in bank if job.id not in failed):
                    ready.append(able)
        ready.sort(key=_share_of_labels, reverse=True)
        # A bar a level: what a pass costs differs between them.
        doing = "pre-train" if level == 0 else "train and test"
        cost = {job.id: cost_of(job, workspace) for bank in ready for job in bank}
        with Progress(len(cost), f"{what}: {doing}", "jobs", sum(cost.values())) as progress:
            for bank_results in _run(ready, workspace, workers, on_epoch):
                save(bank_results)
                progress.advance(len(bank_results), sum(cost[result.job.id] for result in bank_results))
    return list(failed.values())


def _hopeless(job: Job, failed: Mapping[str, JobResult], device: str) -> JobResult | None:
    """The result of a job that starts from one which failed."""
    for start in starts_from(job):
        if start in failed:
            kind = "pre-training" if isinstance(failed[start].job, PretrainingJob) else "training"
            error = f"The {kind} it starts from (job {start}) failed: {failed[start].error}"
            return JobResult(job, 0.0, device, error=error)
    return None


def _share_of_labels(bank: Bank) -> float:
    """Banks with most labels take longest; they go first, so that no process is left alone with one at the end."""
    budget = getattr(bank[0], "budget", None)
    if budget is None or budget.per_class is not None:
        return 0.0
    return 1.0 if budget.fraction is None else float(budget.fraction)


def _lost(asked: Mapping[str, Job], pending: set[str], workspace: Workspace) -> set[str]:
    """Finished jobs whose checkpoint is gone, but for those from which nothing remains to be started."""
    leaving = {
        name: [i for i, other in asked.items() if name in starts_from(other)]
        for name, job in asked.items()
        if isinstance(job, PretrainingJob) or (isinstance(job, FineTuningJob) and job.keep)
    }
    lost: set[str] = set()
    while True:
        # What is run again needs, in its turn, what it starts from.
        more = {
            name
            for name, starts in leaving.items()
            if name not in pending | lost
            and (not starts or any(i in pending | lost for i in starts))
            and not holds_checkpoint(workspace.checkpoint_folder(name), name)
        }
        if not more:
            return lost
        lost |= more


def _run(
    todo: Sequence[Bank],
    workspace: Workspace,
    workers: int | None,
    on_epoch: Callable[[Job, Mapping[str, float]], None],
) -> Iterator[list[JobResult]]:
    count = min(processes_for(workspace, workers), len(todo))
    if count <= 1:
        before = torch.get_num_threads()
        with threadpoolctl.threadpool_limits(workspace.config.threads):
            torch.set_num_threads(workspace.config.threads)
            try:
                for bank in todo:
                    yield list(run_jobs(bank, workspace, on_epoch))
            finally:
                torch.set_num_threads(before)
    else:
        yield from _run_in_processes(todo, workspace.config, count)


def processes_for(workspace: Workspace, workers: int | None) -> int:
    """How many processes run jobs: so many as are asked for; else all cores, or as many as a GPU has room for.

    Each process keeps the views on the GPU.

    Raises:
        UsageError: fewer than one is asked for.
    """
    device = torch.device(workspace.config.device)
    if workers is not None or device.type == "cpu":
        return worker_count(workers)
    each = GPU_PROCESS_BYTES + 2 * sum(workspace.data(label).stored_bytes for label in workspace.specs)
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(available_cores(), GPU_PROCESSES, int(HELD_SHARE * free / each)))


class EpochLines:
    """Says how the pre-trainings of this process go, a line on standard error every few seconds."""

    def __init__(self) -> None:
        self._epochs: dict[str, int] = {}
        self._last = time.monotonic()

    def __call__(self, job: Job, row: Mapping[str, float]) -> None:
        """Take an epoch's numbers (epochs are counted from where this process began)."""
        self._epochs[job.id] = self._epochs.get(job.id, 0) + 1
        now = time.monotonic()
        if isinstance(job, PretrainingJob) and now - self._last >= LINE_EVERY_SECONDS:
            self._last = now
            name = next(name for name in ("validation_loss", "train_loss") if name in row)
            done = f"{self._epochs[job.id]} epochs (of at most {job.config.epochs}), {name.replace('_', ' ')} {row[name]:.4f}"
            print(f"pre-train without {job.fold}: {done}", file=sys.stderr, flush=True)


_workspace: Workspace | None = None  # of a worker process, opened once
_lines: EpochLines | None = None


def _start_worker(config: WorkspaceConfig) -> None:
    global _workspace, _lines
    _lines = EpochLines()
    torch.set_num_threads(config.threads)
    threadpoolctl.threadpool_limits(config.threads)
    _workspace = Workspace(config)


def _work(bank: Bank) -> list[JobResult]:
    assert _workspace is not None
    assert _lines is not None
    return list(run_jobs(bank, _workspace, _lines))


def _run_in_processes(todo: Sequence[Bank], config: WorkspaceConfig, workers: int) -> Iterator[list[JobResult]]:
    """One bank a task. When a process dies, the banks that were running are tried once more, each in a process of its own."""
    start = (_start_worker, (config,))
    waiting = iter(todo)
    while True:
        lost: list[Bank] = []
        with worker_processes(workers, *start) as executor:
            yield from spread(executor, waiting, _work, workers + 1, lost)  # one more, so that no process waits
        if not lost:
            return
        jobs = sum(map(len, lost))
        print(f"A worker process died; {jobs} jobs are tried again, {len(lost)} banks one at a time.", file=sys.stderr)
        for bank in lost:
            with worker_processes(1, *start) as executor:
                found = survives(executor, bank, _work)
            error = "its process died (out of memory, or a crash)"
            yield found or [JobResult(job, 0.0, config.device, error=error) for job in bank]
