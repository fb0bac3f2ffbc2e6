"""Work in processes that may die: the rest goes on, and whose task ended one is found.

A decoder may crash and a training may run out of memory; both take their process with them, and `concurrent.futures` then
gives up the whole pool. Here the tasks that were running are handed back, to be tried alone.

The processes keep the memory that they have freed. The GNU C library gives arrays of megabytes back to the system at once, and
takes them from it anew, page by page, for the next recording or batch; that costs a tenth of a speech model's time and half of
a large batch's, and more where the machine is busy.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import multiprocessing
import os
import platform
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from emoviews.errors import EmoViewsError, UsageError

Task = TypeVar("Task")
Result = TypeVar("Result")


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_count(workers: int | None) -> int:
    """How many processes are wanted: all cores when None.

    Raises:
        UsageError: fewer than one.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"Expected at least 1 worker, got {workers}. Leave it out for one a core.")
    return workers or available_cores()


def hardware() -> str:
    """One line: processor, cores that may be used, memory, graphics cards that torch sees, system."""
    import torch

    name = platform.processor() or platform.machine()
    memory = ""
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    with contextlib.suppress(AttributeError, OSError, ValueError):
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB of memory"
    cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    cores = available_cores()
    return ", ".join([f"{name}, {cores} core{'s' * (cores > 1)}{memory}", *cards, platform.system()])


def keep_freed_memory() -> None:
    """Let this process keep freed memory for its next use, up to the most that it ever needed.

    What the environment variables MALLOC_MMAP_MAX_, MALLOC_TRIM_THRESHOLD_ and MALLOC_TOP_PAD_ do, which must be there before
    Python starts. Nothing happens where the C library is another one than GNU's.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    set_option = ctypes.CDLL(None).mallopt
    # M_MMAP_MAX, M_TRIM_THRESHOLD and M_TOP_PAD, as malloc.h numbers them
    for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 2**26)):
        set_option(option, value)


@contextlib.contextmanager
def worker_processes(count: int, start: Callable[..., None], arguments: Sequence[Any]) -> Iterator[ProcessPoolExecutor]:
    """So many processes, each of which has run `start(*arguments)`.

    Raises:
        EmoViewsError: they can't be started.
    """
    # fork is not safe beside the threads of torch and BLAS
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(count, mp_context=context, initializer=_start, initargs=(start, arguments))
    try:
        try:
            for future in [executor.submit(_started) for _ in range(count)]:
                future.result()
        except BrokenProcessPool as error:
            raise EmoViewsError(
                "Worker processes can't be started; the reason stands above. In a script of your own, put what it does under "
                "`if __name__ == '__main__':`, as they import it; or go on with workers=1 (--workers 1)."
            ) from error
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def spread(
    executor: ProcessPoolExecutor,
    tasks: Iterator[Task],
    work: Callable[[Task], Result],
    in_flight: int,
    lost: list[Task],
) -> Iterator[Result]:
    """Results of `work(task)` as they come, until the tasks end or a process dies.

    Args:
        executor: from `worker_processes`.
        tasks: drawn from as results come; what was not drawn when a process died is still there.
        work: a function that the processes can import.
        in_flight: tasks handed over at a time.
        lost: gets the tasks that were handed over when a process died.
    """
    running: dict[Future[Result], Task] = {}
    alive = True
    while True:
        while alive and len(running) < in_flight:
            task = next(tasks, None)
            if task is None:
                break
            try:
                running[executor.submit(work, task)] = task
            except BrokenProcessPool:
                alive = False
                lost.append(task)
        if not running:
            return
        done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
        for future in done:
            task = running.pop(future)
            try:
                result = future.result()
            except BrokenProcessPool:
                alive = False
                lost.append(task)
            else:
                yield result


def survives(executor: ProcessPoolExecutor, task: Task, work: Callable[[Task], Result]) -> Result | None:
    """`work(task)` in a process that it may take down; None where it does."""
    try:
        return executor.submit(work, task).result()
    except BrokenProcessPool:
        return None


def _start(start: Callable[..., None], arguments: Sequence[Any]) -> None:
    """End without a traceback at Ctrl-C, and with the driver even where that was killed; keep freed memory; then start.

    Without the second, a worker would wait for work, and hold its memory, for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    driver = multiprocessing.parent_process()
    assert driver is not None

    def end_with_driver() -> None:
        driver.join()
        os._exit(1)

    threading.Thread(target=end_with_driver, daemon=True, name="emoviews-driver-watch").start()
    keep_freed_memory()
    start(*arguments)


def _started() -> None:
    """Done by any worker that has started."""
