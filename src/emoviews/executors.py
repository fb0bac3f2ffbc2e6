"""Run jobs where there is room: in this process, or spread over local processes.

Pre-training jobs go first, since others start from their encoders. Each result is handed on as soon as it is there; the
driver saves it at once, so a stopped run loses only what was running.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import threadpoolctl
import torch

from emoviews.checkpoints import holds_checkpoint
from emoviews.engine import run_jobs
from emoviews.jobs import Job, JobResult, PretrainingJob
from emoviews.processes import available_cores, spread, survives, worker_processes
from emoviews.progress import LINE_EVERY_SECONDS, Progress
from emoviews.results import Results
from emoviews.workspace import Workspace, WorkspaceConfig


def run_planned(
    jobs: Sequence[Job],
    workspace: Workspace,
    results: Results,
    *,
    workers: int | None = None,
    what: str = "train",
    on_epoch: Callable[[Job, Mapping[str, float]], None] | None = None,
) -> list[JobResult]:
    """Run the jobs that are not finished yet, saving each result as it comes; those that failed are returned.

    A job whose pre-training failed is not run; its error names that pre-training. A finished pre-training whose checkpoint is
    gone is run again where something still needs it.

    Args:
        jobs: what to run; equal jobs count once.
        workspace: what they are run against.
        results: where they are saved.
        workers: processes; all cores when None. With 1 everything runs in this process. The number of processes changes no
            number; that of threads a job (`WorkspaceConfig.threads`) changes last bits.
        what: the word on the progress bar.
        on_epoch: is told every pre-training epoch's numbers, where jobs run in this process. None says them, a line every
            few seconds, as worker processes do.

    Raises:
        EmoViewsError: results can't be saved, or worker processes can't be started.
    """
    on_epoch = on_epoch or EpochLines()
    finished = results.finished()
    asked = {job.id: job for job in jobs}
    pending = {i: job for i, job in asked.items() if i not in finished}
    pending |= {job.id: job for job in _lost(asked, pending, workspace)}
    first = [job for job in pending.values() if isinstance(job, PretrainingJob)]
    failed: list[JobResult] = []

    def run(jobs: Sequence[Job], what: str) -> None:
        # A bar a phase: the time left of short jobs can't be told from the rate of long ones.
        with Progress(len(jobs), what, "jobs") as progress:
            for result in _run(jobs, workspace, workers, on_epoch):
                save(result)
                progress.advance()

    def save(result: JobResult) -> None:
        results.add([result])
        if result.error:
            failed.append(result)

    run(first, f"{what}: pre-train")
    why = {result.job.id: result.error for result in failed}
    ready = []
    for job in pending.values():
        init = getattr(job, "init", "")
        if init in why:
            error = f"The pre-training it starts from (job {init}) failed: {why[init]}"
            save(JobResult(job, 0.0, workspace.config.device, error=error))
        elif not isinstance(job, PretrainingJob):
            ready.append(job)
    run(ready, f"{what}: train and test")
    return failed


def _lost(asked: Mapping[str, Job], pending: Mapping[str, Job], workspace: Workspace) -> list[Job]:
    """Finished pre-trainings without a checkpoint, but for those from which nothing remains to be started."""
    lost: list[Job] = []
    for name, job in asked.items():
        if isinstance(job, PretrainingJob) and name not in pending:
            starts = [i for i, other in asked.items() if getattr(other, "init", "") == name]
            needed = not starts or any(i in pending for i in starts)
            if needed and not holds_checkpoint(workspace.checkpoint_folder(name), name):
                lost.append(job)
    return lost


def _run(
    jobs: Sequence[Job],
    workspace: Workspace,
    workers: int | None,
    on_epoch: Callable[[Job, Mapping[str, float]], None],
) -> Iterator[JobResult]:
    count = min(workers or available_cores(), len(jobs))
    if count <= 1:
        before = torch.get_num_threads()
        with threadpoolctl.threadpool_limits(workspace.config.threads):
            torch.set_num_threads(workspace.config.threads)
            try:
                yield from run_jobs(jobs, workspace, on_epoch)
            finally:
                torch.set_num_threads(before)
    else:
        yield from _run_in_processes(jobs, workspace.config, count)


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


def _work(job: Job) -> JobResult:
    assert _workspace is not None
    assert _lines is not None
    return next(run_jobs([job], _workspace, _lines))


def _run_in_processes(jobs: Sequence[Job], config: WorkspaceConfig, workers: int) -> Iterator[JobResult]:
    """One job a task. When a process dies, the jobs that were running are tried once more, each in a process of its own."""
    start = (_start_worker, (config,))
    waiting = iter(jobs)
    while True:
        lost: list[Job] = []
        with worker_processes(workers, *start) as executor:
            yield from spread(executor, waiting, _work, workers + 1, lost)  # one more, so that no process waits
        if not lost:
            return
        print(f"A worker process died; {len(lost)} jobs are tried again, one at a time.", file=sys.stderr)
        for job in lost:
            with worker_processes(1, *start) as executor:
                result = survives(executor, job, _work)
            yield result or JobResult(job, 0.0, config.device, error="its process died (out of memory, or a crash)")
