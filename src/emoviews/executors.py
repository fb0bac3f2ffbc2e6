"""Run jobs where there is room: in this process, or spread over local processes.

Pre-training jobs go first, since others start from their encoders. Each result is handed on as soon as it is there; the
driver saves it at once, so a stopped run loses only what was running.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool

import threadpoolctl
import torch

from emoviews.engine import Workspace, WorkspaceConfig, run_jobs
from emoviews.extraction import available_cores
from emoviews.jobs import Job, JobResult, PretrainingJob
from emoviews.progress import Progress
from emoviews.results import Results


def run_planned(
    jobs: Sequence[Job],
    workspace: Workspace,
    results: Results,
    *,
    workers: int | None = None,
    what: str = "train",
    on_epoch: Callable[[Job, dict[str, float]], None] = lambda job, row: None,
) -> list[JobResult]:
    """Run the jobs that are not finished yet, saving each result as it comes; those that failed are returned.

    Args:
        jobs: what to run; equal jobs count once.
        workspace: what they are run against.
        results: where they are saved.
        workers: processes; all cores when None. With 1 everything runs in this process, on all cores.
        what: the word on the progress bar.
        on_epoch: is told every pre-training epoch's numbers, where jobs run in this process.
    """
    finished = results.finished()
    pending = {job.id: job for job in jobs if job.id not in finished}
    failed: list[JobResult] = []
    with Progress(len(pending), what, "jobs") as progress:
        for phase in ([PretrainingJob], [c for c in {type(j) for j in pending.values()} if c is not PretrainingJob]):
            todo = [job for job in pending.values() if type(job) in phase]
            count = min(workers or available_cores(), len(todo))
            run = (
                _run_here(todo, workspace, on_epoch) if count <= 1 else _run_in_processes(todo, workspace.config, count)
            )
            for result in run:
                results.add([result])
                if result.error:
                    failed.append(result)
                progress.advance()
    return failed


def _run_here(
    jobs: Sequence[Job], workspace: Workspace, on_epoch: Callable[[Job, dict[str, float]], None]
) -> Iterator[JobResult]:
    yield from run_jobs(jobs, workspace, on_epoch)


_workspace: Workspace | None = None  # of a worker process, opened once


def _start_worker(config: WorkspaceConfig, threads: int) -> None:
    global _workspace
    torch.set_num_threads(threads)
    threadpoolctl.threadpool_limits(threads)
    _workspace = Workspace(config)


def _work(job: Job) -> JobResult:
    assert _workspace is not None
    return next(run_jobs([job], _workspace))


def _run_in_processes(jobs: Sequence[Job], config: WorkspaceConfig, workers: int) -> Iterator[JobResult]:
    """One job a task. A job whose process dies is tried once more, alone; then it is recorded as failed."""
    context = multiprocessing.get_context("spawn")  # fork is not safe beside the threads of torch and BLAS
    waiting, retried = list(jobs), set[str]()
    while waiting:
        alone = waiting[0].id in retried
        batch = waiting[:1] if alone else [job for job in waiting if job.id not in retried]
        count = 1 if alone else workers
        executor = concurrent.futures.ProcessPoolExecutor(
            count, mp_context=context, initializer=_start_worker, initargs=(config, max(1, available_cores() // count))
        )
        done: set[str] = set()
        try:
            futures = {executor.submit(_work, job): job for job in batch}
            for future in concurrent.futures.as_completed(futures):
                job = futures[future]
                try:
                    yield future.result()
                    done.add(job.id)
                except BrokenProcessPool:
                    if alone:
                        done.add(job.id)
                        yield JobResult(job, 0.0, config.device, error="its process died (out of memory, or a crash)")
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
        waiting = [job for job in waiting if job.id not in done]
        if waiting and not alone:
            print(f"A worker process died; {len(waiting)} jobs are tried again, one at a time.", file=sys.stderr)
            retried |= {job.id for job in waiting}
