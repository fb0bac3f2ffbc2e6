"""Utterance table × views → store, in parallel.

The driver hands small groups of recordings to worker processes, which decode, hash and compute; it alone writes shards, every
few seconds, so a killed extraction loses seconds of work and goes on where it stopped. Nothing is padded and nothing is
batched: a recording is computed alone, so its arrays do not depend on its neighbours (for wav2vec 2.0, whose first layer
normalises over time, padding would change every frame).

One bad recording never ends an extraction: it is listed in the report and in `STORE/failed.csv`.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import csv
import io
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import threadpoolctl
from numpy.typing import NDArray

from emoviews import audio
from emoviews.errors import AudioError, EmoViewsError, StoreError
from emoviews.progress import Progress
from emoviews.store import Source, Sources, ViewStore, remove_leftovers, to_storage, write_atomically, write_failed
from emoviews.views import View, ViewRequest

FLUSH_SECONDS: Final = 15.0
FLUSH_BYTES: Final = 64_000_000
_GROUP_SIZE: Final = (
    8  # recordings a task: enough to hide the cost of handing tasks over, few enough for smooth progress
)


@dataclass(frozen=True)
class Failure:
    """A recording that could not be used."""

    id: str
    path: str
    error: str


@dataclass(frozen=True)
class ExtractionReport:
    """What an extraction did.

    Attributes:
        n_utterances: rows of the table.
        n_present: rows that the store already held, nothing computed.
        n_computed: rows computed now.
        failures: rows that could not be used.
        audio_seconds: of the rows computed now.
        wall_seconds: from start to end.
    """

    n_utterances: int
    n_present: int
    n_computed: int
    failures: tuple[Failure, ...]
    audio_seconds: float
    wall_seconds: float


@dataclass(frozen=True)
class _Task:
    row: int
    source: Source


@dataclass(frozen=True)
class _Outcome:
    row: int
    source: Source
    arrays: Mapping[int, NDArray[Any]] = field(default_factory=dict)


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def extract(
    table: pd.DataFrame,
    store: Path,
    views: Sequence[ViewRequest],
    *,
    workers: int | None = None,
    strict: bool = False,
    warn: Callable[[str], None] = lambda message: None,
) -> ExtractionReport:
    """Compute what the store lacks of these views for every row of the table.

    Args:
        table: as `table.make_table` returns it.
        store: root folder of the store; created where missing.
        views: which; none only checks that the recordings can be used.
        workers: processes; all cores when None. With 1 everything runs in this process.
        strict: stop at the first bad recording instead of listing it.
        warn: takes a sentence worth telling while the work goes on.

    Raises:
        StoreError: the store is damaged, of another version or the disk is full; what was finished before is kept.
        AudioError: with `strict`, the first bad recording.
    """
    started = time.monotonic()
    made = [request.make() for request in views]
    stores = [ViewStore(store, view.spec) for view in made]
    sources = Sources(store)
    for folder in (store, *(view_store.folder for view_store in stores)):
        remove_leftovers(folder)
    tasks, failures, present = _plan(table, stores, sources)
    workers = min(workers or available_cores(), max(1, len(tasks) // _GROUP_SIZE))
    ids, paths = list(table["id"]), list(table["path"])
    computed, seconds = 0, 0.0
    writer = _Writer(stores, sources)
    with Progress(len(tasks), "extract", "recordings") as progress, writer:
        run = _run_here(made, stores, tasks) if workers == 1 else _run_in_processes(views, stores, tasks, workers, warn)
        with contextlib.closing(run) as outcomes:
            for outcome in outcomes:
                progress.advance()
                if outcome.source.error:
                    failure = Failure(ids[outcome.row], paths[outcome.row], outcome.source.error)
                    if strict:
                        raise AudioError(failure.error)
                    failures.append(failure)
                else:
                    computed += 1
                    seconds += outcome.source.duration_seconds
                writer.take(outcome)
    write_failures(store, failures)
    return ExtractionReport(len(table), present, computed, tuple(failures), seconds, time.monotonic() - started)


def locate(table: pd.DataFrame, store: Path) -> list[Source]:
    """The source of every row: from the cache, else by decoding the recording (once; then it is cached).

    A row that can't be decoded comes back with its `error` set and no key.
    """
    sources = Sources(store)
    found = []
    wanted = [_source_of(row) for row in _rows(table)]
    unknown = sum(not s.error and sources.find(s) is None for s in wanted)
    with Progress(unknown, "look up recordings", "recordings") as progress:
        for source in wanted:
            cached = None if source.error else sources.find(source)
            if cached is None and not source.error:
                cached = _decode(source)[0]
                sources.add(cached)
                progress.advance()
            found.append(cached or source)
    with contextlib.suppress(StoreError):  # a read-only store can still be read
        sources.flush()
    return found


def write_failures(store: Path, failures: Sequence[Failure]) -> None:
    """Write `STORE/failed.csv` (id, path, error), or remove an earlier one when nothing failed."""
    path = store / "failed.csv"
    if not failures:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["id", "path", "error"])
    writer.writerows([failure.id, failure.path, failure.error] for failure in failures)
    blob = text.getvalue().encode()
    try:
        store.mkdir(parents=True, exist_ok=True)
        write_atomically(path, blob)
    except OSError as error:
        raise write_failed(path, error, len(blob)) from error


class _Writer:
    """Gathers outcomes and writes a shard a view every few seconds or megabytes; what is gathered is written on any exit."""

    def __init__(self, stores: Sequence[ViewStore], sources: Sources) -> None:
        self.stores, self.sources = stores, sources
        self._arrays: list[dict[str, NDArray[Any]]] = [{} for _ in stores]
        self._bytes = 0
        self._flushed = time.monotonic()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self._flush()
        elif not issubclass(kind, StoreError):  # after a failed write there is no point in another
            with contextlib.suppress(StoreError):
                self._flush()

    def take(self, outcome: _Outcome) -> None:
        self.sources.add(outcome.source)
        for number, array in outcome.arrays.items():
            self._arrays[number][outcome.source.key] = array
            self._bytes += array.nbytes
        if self._bytes > FLUSH_BYTES or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        for view_store, arrays in zip(self.stores, self._arrays, strict=True):
            view_store.refresh()  # another process may have written the same recordings meanwhile
            view_store.add(arrays)
            arrays.clear()
        self.sources.flush()  # last: a source that is known must be in the store
        self._bytes, self._flushed = 0, time.monotonic()


def _rows(table: pd.DataFrame) -> Iterator[tuple[str, float, float, float]]:
    columns = ["path", "start_seconds", "end_seconds", "channel"]
    yield from table[columns].itertuples(index=False, name=None)


def _source_of(row: tuple[str, float, float, float]) -> Source:
    path, start, end, channel = row
    try:
        status = os.stat(path)
    except OSError:
        return Source(path, 0, 0, start, end, channel, error=f"{path}: there is no such file.")
    return Source(path, status.st_size, status.st_mtime_ns, start, end, channel)


def _plan(table: pd.DataFrame, stores: Sequence[ViewStore], sources: Sources) -> tuple[list[_Task], list[Failure], int]:
    """What is left to do: rows whose audio is unknown, or lacks one of the views. Earlier failures are tried again."""
    tasks, failures, present = [], [], 0
    for row, (name, values) in enumerate(zip(table["id"], _rows(table), strict=True)):
        source = _source_of(values)
        known = sources.find(source)
        if source.error:
            failures.append(Failure(name, source.path, source.error))
        elif known is not None and not known.error and all(known.key in view_store for view_store in stores):
            present += 1
        else:
            tasks.append(_Task(row, source))
    # Two processes that fill one store from one table start at different rows, so that they share the work.
    first = random.SystemRandom().randrange(len(tasks)) if tasks else 0
    return tasks[first:] + tasks[:first], failures, present


def _decode(source: Source) -> tuple[Source, NDArray[np.float32] | None]:
    """Decode and prepare a recording: its source with key and duration, and `(samples,)` unless it can't be used."""
    try:
        decoded = audio.decode(source.path, source.start_seconds, source.end_seconds, source.channel)
        key = audio.content_hash(decoded.samples, decoded.sampling_rate)
        source = replace(source, key=key, duration_seconds=len(decoded.samples) / decoded.sampling_rate)
        samples = audio.prepare(decoded.samples, decoded.sampling_rate)
        audio.check_usable(samples, source.path)
    except Exception as error:  # whatever a decoder throws at one recording, the others go on
        return replace(source, error=_explain(error, source)), None
    return source, samples


def _compute(task: _Task, views: Sequence[View], existing: Sequence[frozenset[str] | ViewStore]) -> _Outcome:
    """Decode one recording and compute the views that the store lacks."""
    source, samples = _decode(task.source)
    if samples is None:
        return _Outcome(task.row, source)
    lacking = [n for n, keys in enumerate(existing) if source.key not in keys]
    try:
        return _Outcome(task.row, source, {n: to_storage(views[n](samples), views[n].spec) for n in lacking})
    except Exception as error:  # likewise a model
        return _Outcome(task.row, replace(source, error=_explain(error, source)))


def _explain(error: Exception, source: Source) -> str:
    message = str(error) if isinstance(error, EmoViewsError) else f"{type(error).__name__}: {error}"
    return message if source.path in message else f"{source.path}: {message}"


def _run_here(
    views: Sequence[View], stores: Sequence[ViewStore], tasks: Sequence[_Task]
) -> Generator[_Outcome, None, None]:
    for task in tasks:
        yield _compute(task, views, stores)


# What a worker process keeps between tasks.
_views: list[View] = []
_existing: Sequence[frozenset[str]] = ()


def _start_worker(requests: Sequence[ViewRequest], existing: Sequence[frozenset[str]], threads: int) -> None:
    global _views, _existing
    _views = [request.make() for request in requests]
    _existing = existing
    threadpoolctl.threadpool_limits(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def _work(tasks: Sequence[_Task]) -> list[_Outcome]:
    return [_compute(task, _views, _existing) for task in tasks]


def _run_in_processes(
    requests: Sequence[ViewRequest],
    stores: Sequence[ViewStore],
    tasks: Sequence[_Task],
    workers: int,
    warn: Callable[[str], None],
) -> Generator[_Outcome, None, None]:
    """Spread groups of tasks over processes; when one dies, find the recording that kills it and go on without it."""
    existing = [frozenset(view_store) for view_store in stores]
    threads = max(1, available_cores() // workers)

    def pool(n: int) -> concurrent.futures.ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")  # fork is not safe beside the threads of torch and BLAS
        return concurrent.futures.ProcessPoolExecutor(
            n, mp_context=context, initializer=_start_worker, initargs=(requests, existing, threads)
        )

    groups = [tuple(tasks[i : i + _GROUP_SIZE]) for i in range(0, len(tasks), _GROUP_SIZE)]
    while groups:
        suspects: list[tuple[_Task, ...]] = []
        executor = pool(workers)
        try:
            yield from _drain(executor, groups, 3 * workers, suspects)
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
        if suspects:
            warn("A worker process died; looking for the recording that ends it.")
            for task in (task for group in suspects for task in group):
                yield from _alone(pool(1), task)


def _drain(
    executor: concurrent.futures.ProcessPoolExecutor,
    groups: list[tuple[_Task, ...]],
    in_flight: int,
    suspects: list[tuple[_Task, ...]],
) -> Iterator[_Outcome]:
    """Run groups (taken off the list) until done or the pool breaks; then `suspects` holds what was running."""
    running: dict[concurrent.futures.Future[list[_Outcome]], tuple[_Task, ...]] = {}
    broken = False
    while running or (groups and not broken):
        while groups and len(running) < in_flight and not broken:
            try:
                running[executor.submit(_work, groups[0])] = groups[0]
                groups.pop(0)
            except BrokenProcessPool:
                broken = True
        done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
        for future in done:
            group = running.pop(future)
            try:
                yield from future.result()
            except BrokenProcessPool:
                broken = True
                suspects.append(group)


def _alone(executor: concurrent.futures.ProcessPoolExecutor, task: _Task) -> Iterator[_Outcome]:
    """Run one recording in a process of its own, which it may take down."""
    try:
        yield from executor.submit(_work, (task,)).result()
    except BrokenProcessPool:
        why = "the process that computed its views died (out of memory, or a crash in a decoder)"
        yield _Outcome(task.row, replace(task.source, error=f"{task.source.path}: {why}."))
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
