"""Run jobs where there is room: in this process, or spread over local processes.

Pre-training jobs go first, since others start from their encoders. Each result is handed on as soon as it is there; the
driver saves it at once, so a stopped run loses only what was running.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import threadpoolctl
import torch

from emoviews.checkpoints import holds_checkpoint
from emoviews.engine import Workspace, WorkspaceConfig, run_jobs
from emoviews.errors import EmoViewsError
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

    A job whose pre-training failed is not run; its error names that pre-training. A finished pre-training whose checkpoint is
    gone is run again where something still needs it.

    Args:
        jobs: what to run; equal jobs count once.
        workspace: what they are run against.
        results: where they are saved.
        workers: processes; all cores when None. With 1 everything runs in this process, on all cores. Runs with the same
            number of threads a job give the same numbers, bit for bit.
        what: the word on the progress bar.
        on_epoch: is told every pre-training epoch's numbers, where jobs run in this process.

    Raises:
        EmoViewsError: results can't be saved, or worker processes can't be started.
    """
    finished = results.finished()
    asked = {job.id: job for job in jobs}
    pending = {i: job for i, job in asked.items() if i not in finished}
    pending |= {job.id: job for job in _lost(asked, pending, workspace)}
    first = [job for job in pending.values() if isinstance(job, PretrainingJob)]
    failed: list[JobResult] = []
    with Progress(len(pending), what, "jobs") as progress:

        def save(result: JobResult) -> None:
            results.add([result])
            if result.error:
                failed.append(result)
            progress.advance()

        for result in _run(first, workspace, workers, on_epoch):
            save(result)
        why = {result.job.id: result.error for result in failed}
        ready = []
        for job in pending.values():
            init = getattr(job, "init", "")
            if init in why:
                error = f"The pre-training it starts from (job {init}) failed: {why[init]}"
                save(JobResult(job, 0.0, workspace.config.device, error=error))
            elif not isinstance(job, PretrainingJob):
                ready.append(job)
        for result in _run(ready, workspace, workers, on_epoch):
            save(result)
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
    on_epoch: Callable[[Job, dict[str, float]], None],
) -> Iterator[JobResult]:
    count = min(workers or available_cores(), len(jobs))
    if count <= 1:
        yield from run_jobs(jobs, workspace, on_epoch)
    else:
        yield from _run_in_processes(jobs, workspace.config, count)


_workspace: Workspace | None = None  # of a worker process, opened once


def _start_worker(config: WorkspaceConfig, threads: int) -> None:
    global _workspace
    torch.set_num_threads(threads)
    threadpoolctl.threadpool_limits(threads)
    _workspace = Workspace(config)


def _is_ready() -> bool:
    return _workspace is not None


def _work(job: Job) -> JobResult:
    assert _workspace is not None
    return next(run_jobs([job], _workspace))


def _run_in_processes(jobs: Sequence[Job], config: WorkspaceConfig, workers: int) -> Iterator[JobResult]:
    """One job a task. When a process dies, the jobs that were running are tried once more, each in a process of its own."""
    threads = max(1, available_cores() // workers)
    waiting = list(jobs)
    while waiting:
        suspects: list[Job] = []
        with _processes(min(workers, len(waiting)), config, threads) as executor:
            yield from _drain(executor, waiting, workers + 1, suspects)  # one more, so that no process waits
        if suspects:
            print(f"A worker process died; {len(suspects)} jobs are tried again, one at a time.", file=sys.stderr)
        for job in suspects:
            with _processes(1, config, threads) as executor:
                try:
                    yield executor.submit(_work, job).result()
                except BrokenProcessPool:
                    yield JobResult(job, 0.0, config.device, error="its process died (out of memory, or a crash)")


@contextlib.contextmanager
def _processes(count: int, config: WorkspaceConfig, threads: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that have opened the workspace."""
    context = multiprocessing.get_context("spawn")  # fork is not safe beside the threads of torch and BLAS
    executor = ProcessPoolExecutor(count, mp_context=context, initializer=_start_worker, initargs=(config, threads))
    try:
        try:
            for future in [executor.submit(_is_ready) for _ in range(count)]:
                future.result()
        except BrokenProcessPool as error:
            raise EmoViewsError(
                "The worker processes can't be started; the reason stands above. In a script of your own, put what it does "
                "under `if __name__ == '__main__':`, as they import it; or go on with workers=1 (--workers 1)."
            ) from error
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _drain(
    executor: ProcessPoolExecutor, waiting: list[Job], in_flight: int, suspects: list[Job]
) -> Iterator[JobResult]:
    """Run jobs (taken off the list) until done or a process dies; then `suspects` holds those that were running."""
    running: dict[concurrent.futures.Future[JobResult], Job] = {}
    broken = False
    while running or (waiting and not broken):
        while waiting and len(running) < in_flight and not broken:
            try:
                running[executor.submit(_work, waiting[0])] = waiting[0]
                waiting.pop(0)
            except BrokenProcessPool:
                broken = True
        done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
        for future in done:
            job = running.pop(future)
            try:
                yield future.result()
            except BrokenProcessPool:
                broken = True
                suspects.append(job)
