"""Utterance table × views → store, in parallel.

The driver hands small groups of recordings to worker processes, which decode, hash and compute; it alone writes shards,
every few seconds, so a killed extraction loses seconds of work and goes on where it stopped. Nothing is padded and nothing
is batched: a recording is computed alone, on one thread, so its arrays depend neither on its neighbours (for wav2vec 2.0,
whose first layer normalises over time, padding would change every frame) nor on the number of processes (matrix products
on two threads differ from those on one in the last bits).

One bad recording never ends an extraction: it is listed in the report and in `STORE/failed.csv`. Several extractions, on
one machine or on several, may fill one store: each sees within seconds what the others have written, and leaves it out.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import csv
import io
import itertools
import math
import os
import random
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import threadpoolctl
from numpy.typing import NDArray

from emoviews import audio
from emoviews.errors import AudioError, EmoViewsError, StoreError
from emoviews.processes import spread, survives, worker_count, worker_processes
from emoviews.progress import Progress, readable_seconds
from emoviews.store import Source, Sources, ViewStore, remove_leftovers, to_storage, write_atomically, write_failed
from emoviews.types import ViewSpec
from emoviews.views import View, ViewRequest

if TYPE_CHECKING:  # worker processes need no pandas, which takes longer to import than all else here
    import pandas as pd

MAXIMUM_SECONDS: Final = 600.0
"""Longer utterances are refused: they are sessions that nobody has cut, and functionals over them mean little."""

FLUSH_SECONDS: Final = (
    15.0  # at most; the first shards come sooner, so that short extractions can be resumed and shared
)
"""So much work at most is lost to a kill, or done twice by two extractions into one store."""

FLUSH_BYTES: Final = 64_000_000
"""Size of a shard, where it is reached before its time."""

_GROUP_SIZE: Final = 8
"""Recordings handed over at a time: enough to hide the cost of that, few enough for smooth progress."""


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
        n_present: rows that the store already held, or that another process added meanwhile; nothing computed.
        n_computed: rows computed now (where the store held the audio's views under another name: decoded only).
        failures: rows that could not be used.
        audio_seconds: of the rows computed now.
        wall_seconds: from start to end.
        n_cropped: rows computed now that are longer than a view's `maximum_seconds`, of which it sees the start alone.
    """

    n_utterances: int
    n_present: int
    n_computed: int
    failures: tuple[Failure, ...]
    audio_seconds: float
    wall_seconds: float
    n_cropped: int = 0


@dataclass(frozen=True)
class _Task:
    """A row of the table to be computed."""

    row: int
    source: Source


@dataclass(frozen=True)
class _Outcome:
    """What became of a task: arrays by the number of the view; `present` if another process has been quicker."""

    row: int
    source: Source
    arrays: Mapping[int, NDArray[Any]] = field(default_factory=dict)
    present: bool = False


def extract(
    table: pd.DataFrame,
    store: str | Path,
    views: Sequence[ViewRequest],
    *,
    workers: int | None = None,
    strict: bool = False,
    device: str = "cpu",
    warn: Callable[[str], None] = lambda message: None,
) -> ExtractionReport:
    """Compute what the store lacks of these views for every row of the table.

    Args:
        table: as `table.make_table` returns it.
        store: root folder of the store; created where missing.
        views: which; none only checks that the recordings can be used.
        workers: processes of one thread each; all cores when None. With 1, or few recordings, all runs in this process.
        strict: stop at the first bad recording instead of listing it.
        device: of views that are computed by a model.
        warn: takes a sentence worth telling while the work goes on.

    Raises:
        StoreError: the store is damaged, of another version or the disk is full; what was finished before is kept.
        AudioError: with `strict`, the first bad recording.
        UsageError: fewer than one worker.
        CheckpointError: a view's weights can't be had.
    """
    store, workers = Path(store), worker_count(workers)
    started = time.monotonic()
    made = [request.make(device) for request in views]
    stores = [ViewStore(store, view.spec) for view in made]
    sources = Sources(store)
    for folder in (store, *(view_store.folder for view_store in stores)):
        remove_leftovers(folder)
    ids, paths = list(table["id"]), list(table["path"])
    tasks, failed, present = _plan(table, stores, sources)
    if strict and failed:
        raise AudioError(next(iter(failed.values())))
    workers = min(workers, max(1, len(tasks) // _GROUP_SIZE))
    if tasks:
        for view in made:  # what is wrong with a model is not the recordings' fault, and is said before any work
            view.prepare()
    computed, cropped, seconds = 0, 0, 0.0
    limit = min(
        (v.parameters.maximum_seconds or math.inf for v in made if hasattr(v.parameters, "maximum_seconds")),
        default=math.inf,
    )
    writer = _Writer(stores, sources)
    with Progress(len(tasks), "extract", "recordings") as progress, writer:
        run = (
            _run_here(made, stores, sources, tasks)
            if workers == 1
            else _run_in_processes(views, stores, sources, tasks, workers, device, warn)
        )
        with contextlib.closing(run) as outcomes:
            for outcome in outcomes:
                progress.advance()
                if outcome.present:
                    present += 1
                elif outcome.source.error:
                    if strict:
                        raise AudioError(outcome.source.error)
                    failed[outcome.row] = outcome.source.error
                else:
                    computed += 1
                    seconds += outcome.source.duration_seconds
                    cropped += outcome.source.duration_seconds > limit
                writer.take(outcome)
    failures = tuple(Failure(ids[row], paths[row], failed[row]) for row in sorted(failed))
    write_failures(store, failures)
    return ExtractionReport(len(table), present, computed, failures, seconds, time.monotonic() - started, cropped)


def locate(table: pd.DataFrame, store: str | Path) -> list[Source]:
    """The source of every row: from the cache, else by decoding the recording (once; then it is cached).

    A file that is gone is what it was when it was last seen: training needs the store, not the recordings. A row that can't
    be decoded comes back with its `error` set and no key.
    """
    sources = Sources(store)
    found = []
    wanted = _sources_of(table)
    latest = sources.latest() if any(s.error for s in wanted) else {}
    unknown = sum(not s.error and sources.find(s) is None for s in wanted)
    with Progress(unknown, "look up recordings", "recordings") as progress:
        for source in wanted:
            cached = latest.get(source.place) if source.error else sources.find(source)
            if cached is None and not source.error:
                cached = _decode(source)[0]
                sources.add(cached)
                progress.advance()
            found.append(cached or source)
    with contextlib.suppress(StoreError):  # a read-only store can still be read
        sources.flush()
    return found


def unusable(table: pd.DataFrame) -> Iterator[str]:
    """Why each row can't be used, empty where it can: one recording after the other is decoded as it is asked for.

    For a few rows; `extract` without views says it of a whole table, by several processes, and keeps what it found.
    """
    for row in range(len(table)):
        (source,) = _sources_of(table.iloc[[row]])
        yield source.error or _decode(source)[0].error


def write_failures(store: Path, failures: Sequence[Failure]) -> None:
    """Write `STORE/failed.csv` (id, path, error), or remove an earlier one when nothing failed.

    Raises:
        StoreError: it can't be written.
    """
    path = store / "failed.csv"
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["id", "path", "error"])
    writer.writerows([failure.id, failure.path, failure.error] for failure in failures)
    blob = text.getvalue().encode(errors="surrogateescape")  # file names that are no UTF-8 come out as they are
    try:
        if failures:
            store.mkdir(parents=True, exist_ok=True)
            write_atomically(path, blob)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise write_failed(path, error, len(blob)) from error


class _Writer:
    """Gathers outcomes; writes a shard a view every few seconds or megabytes, and on any exit what it has gathered."""

    def __init__(self, stores: Sequence[ViewStore], sources: Sources) -> None:
        self.stores, self.sources = stores, sources
        self._arrays: list[dict[str, NDArray[Any]]] = [{} for _ in stores]
        self._bytes = 0
        self._started = self._flushed = time.monotonic()

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
        now = time.monotonic()
        patience = min(FLUSH_SECONDS, max(2.0, (now - self._started) / 4))
        if self._bytes > FLUSH_BYTES or now - self._flushed > patience:
            self._flush()

    def _flush(self) -> None:
        for view_store, arrays in zip(self.stores, self._arrays, strict=True):
            view_store.refresh()  # another process may have written the same recordings meanwhile
            view_store.add(arrays)
            arrays.clear()
        self.sources.flush()  # last: a source that is known must be in the store
        self.sources.refresh()  # so that what other processes have done meanwhile is left out
        self._bytes, self._flushed = 0, time.monotonic()


def _sources_of(table: pd.DataFrame) -> list[Source]:
    """The source of every row, its file looked at once however many rows it has; with `error` set where it can't be."""
    status: dict[str, tuple[int, int, str]] = {}
    found = []
    columns = ["path", "start_seconds", "end_seconds", "channel"]
    for path, start, end, channel in table[columns].itertuples(index=False, name=None):
        if path not in status:
            status[path] = _status(path)
        size, mtime_ns, error = status[path]
        found.append(Source(path, size, mtime_ns, start, end, channel, error=error))
    return found


def _status(path: str) -> tuple[int, int, str]:
    """Size, time of the last change, and what is wrong with a file."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return 0, 0, f"{path}: there is no such file."
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        return 0, 0, f"{path}: {getattr(error, 'strerror', None) or error}."
    return status.st_size, status.st_mtime_ns, ""


def _present(source: Source, stores: Sequence[ViewStore], sources: Sources) -> Source | None:
    """The source with its key if nothing is left to do for it, as far as this process has seen.

    With views that is so where they are in the store, even if another view once failed; without, where the audio is good.
    """
    known = sources.find(source)
    if known is None or not known.key:
        return None
    done = all(known.key in view_store for view_store in stores) if stores else not known.error
    return known if done else None


def _plan(
    table: pd.DataFrame, stores: Sequence[ViewStore], sources: Sources
) -> tuple[list[_Task], dict[int, str], int]:
    """What is left to do, rows that are no file, and the number of those there. Earlier failures are tried again."""
    tasks, failed, present = [], {}, 0
    for row, source in enumerate(_sources_of(table)):
        if source.error:
            failed[row] = source.error
        elif _present(source, stores, sources):
            present += 1
        else:
            tasks.append(_Task(row, source))
    # In an order of its own, so that extractions that fill one store seldom work on the same recordings; whole groups are
    # moved, so that segments of one file stay together.
    groups = _grouped(tasks)
    random.SystemRandom().shuffle(groups)
    return [task for group in groups for task in group], failed, present


def _grouped(tasks: Sequence[_Task]) -> list[tuple[_Task, ...]]:
    return [tuple(tasks[i : i + _GROUP_SIZE]) for i in range(0, len(tasks), _GROUP_SIZE)]


def _decode(source: Source) -> tuple[Source, NDArray[np.float32] | None]:
    """Decode and prepare a recording: its source with key and duration, and `(samples,)` unless it can't be used."""
    try:
        refuse_sessions(source.path, source.start_seconds, source.end_seconds)
        decoded = audio.decode(source.path, source.start_seconds, source.end_seconds, source.channel)
        key = audio.content_hash(decoded.samples, decoded.sampling_rate)
        source = replace(source, key=key, duration_seconds=len(decoded.samples) / decoded.sampling_rate)
        samples = audio.prepare(decoded.samples, decoded.sampling_rate)
        audio.check_usable(samples, source.path)
    except Exception as error:  # whatever a decoder throws at one recording, the others go on
        return replace(source, error=_explain(error, source)), None
    return source, samples


def _compute(
    tasks: Iterable[_Task], views: Sequence[tuple[View, ViewSpec]], existing: Sequence[frozenset[str] | ViewStore]
) -> Iterator[_Outcome]:
    """Decode recordings, and compute the views that the store lacks (their specifications, which take time, are given).

    The next recording is read and resampled on a thread while this one is computed, so that a slow disk or network is not
    waited for.
    """
    with concurrent.futures.ThreadPoolExecutor(1, "emoviews-reader") as reader:
        ahead: tuple[_Task, concurrent.futures.Future[tuple[Source, NDArray[np.float32] | None]]] | None = None
        for task in itertools.chain(tasks, [None]):
            reading = None if task is None else (task, reader.submit(_decode, task.source))
            if ahead is not None:
                yield _compute_one(ahead[0], *ahead[1].result(), views, existing)
            ahead = reading


def _compute_one(
    task: _Task,
    source: Source,
    samples: NDArray[np.float32] | None,
    views: Sequence[tuple[View, ViewSpec]],
    existing: Sequence[frozenset[str] | ViewStore],
) -> _Outcome:
    if samples is None:
        return _Outcome(task.row, source)
    arrays, errors = {}, []
    for number, (view, spec) in enumerate(views):
        if source.key in existing[number]:
            continue
        try:
            arrays[number] = to_storage(view(samples), spec)
        except Exception as error:  # likewise a model; the other views are kept
            errors.append(_explain(error, source))
    return _Outcome(task.row, replace(source, error=" ".join(errors)), arrays)


def refuse_sessions(path: str, start_seconds: float, end_seconds: float) -> None:
    """Refuse, before decoding it, what can only be a whole session taken for an utterance.

    Args:
        path: of the file.
        start_seconds: of the utterance in it; NaN for its beginning.
        end_seconds: likewise; NaN for its end.

    Raises:
        AudioError: it lasts longer than `MAXIMUM_SECONDS`, or can't be read. (Times beyond the file's end are for `decode`.)
    """
    start = 0.0 if math.isnan(start_seconds) else start_seconds
    end = math.inf if math.isnan(end_seconds) else end_seconds
    if end - start > MAXIMUM_SECONDS:
        end = min(end, audio.probe(path).duration_seconds)
    if end - start > MAXIMUM_SECONDS:
        raise AudioError(
            f"{path} lasts {readable_seconds(end - start)}; an utterance may last at most "
            f"{readable_seconds(MAXIMUM_SECONDS)}, since one emotion for more means nothing. Give a table one row an "
            "utterance, with start_seconds and end_seconds, or let predict slide windows over it: --window-seconds 4 "
            "--hop-seconds 1"
        )


def _explain(error: Exception, source: Source) -> str:
    message = str(error) if isinstance(error, EmoViewsError) else f"{type(error).__name__}: {error}"
    return message if source.path in message else f"{source.path}: {message}"


def _run_here(
    views: Sequence[View], stores: Sequence[ViewStore], sources: Sources, tasks: Sequence[_Task]
) -> Generator[_Outcome, None, None]:
    """Compute in this process."""
    specified = [(view, view.spec) for view in views]
    known: collections.deque[_Outcome] = collections.deque()

    def lacking() -> Iterator[_Task]:
        """The tasks, without what another extraction has added by the time a task is drawn."""
        for task in tasks:
            if found := _present(task.source, stores, sources):
                known.append(_Outcome(task.row, found, present=True))
            else:
                yield task

    with _one_thread():
        for outcome in _compute(lacking(), specified, stores):
            yield outcome
            while known:
                yield known.popleft()
    yield from known


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let numeric libraries compute on one thread, as in the processes of an extraction with several."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 1
    with threadpoolctl.threadpool_limits(1):
        try:
            if torch:
                torch.set_num_threads(1)
            yield
        finally:
            if torch:
                torch.set_num_threads(threads)


# What a worker process keeps between tasks.
_views: list[tuple[View, ViewSpec]] = []
_existing: Sequence[frozenset[str]] = ()


def _start_worker(requests: Sequence[ViewRequest], existing: Sequence[frozenset[str]], device: str) -> None:
    global _views, _existing
    _views = [(view, view.spec) for view in (request.make(device) for request in requests)]
    _existing = existing
    threadpoolctl.threadpool_limits(1)  # last: it reaches the libraries that the views have loaded
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _work(tasks: Sequence[_Task]) -> list[_Outcome]:
    return list(_compute(tasks, _views, _existing))


def _run_in_processes(
    requests: Sequence[ViewRequest],
    stores: Sequence[ViewStore],
    sources: Sources,
    tasks: Sequence[_Task],
    workers: int,
    device: str,
    warn: Callable[[str], None],
) -> Generator[_Outcome, None, None]:
    """Spread groups of tasks over processes.

    Where a process dies, all that was being computed is computed again, one recording at a time; where one dies again, the
    few recordings that this leaves are computed in a process each, which says who did it. Then the others go on.
    """
    start = (_start_worker, (requests, [frozenset(view_store) for view_store in stores], device))
    known: collections.deque[_Outcome] = collections.deque()

    # The last recordings go one at a time, so that no process has a whole group left when the others are done.
    last = max(0, len(tasks) - workers * _GROUP_SIZE)
    handed_over = [*_grouped(tasks[:last]), *((task,) for task in tasks[last:])]

    def lacking() -> Iterator[tuple[_Task, ...]]:
        """The groups, without what another extraction has added by the time a group is drawn."""
        for group in handed_over:
            found = [_present(task.source, stores, sources) for task in group]
            known.extend(_Outcome(t.row, s, present=True) for t, s in zip(group, found, strict=True) if s)
            if left := tuple(task for task, source in zip(group, found, strict=True) if not source):
                yield left

    def spread_over(groups: Iterator[tuple[_Task, ...]], in_flight: int) -> Generator[_Outcome, None, list[_Task]]:
        lost: list[tuple[_Task, ...]] = []
        with worker_processes(workers, *start) as executor:
            for outcomes in spread(executor, groups, _work, in_flight, lost):
                yield from outcomes
                while known:
                    yield known.popleft()
        return [task for group in lost for task in group]

    groups = lacking()
    while suspects := (yield from spread_over(groups, 3 * workers)):
        warn("A worker process died; looking for the recording that ends it.")
        singles = iter([(task,) for task in suspects])
        while culprits := (yield from spread_over(singles, workers)):
            for task in culprits:
                with worker_processes(1, *start) as executor:
                    outcomes = survives(executor, (task,), _work)
                why = "the process that computed its views died (out of memory, or a crash in a decoder)"
                dead = _Outcome(task.row, replace(task.source, error=f"{task.source.path}: {why}."))
                yield outcomes[0] if outcomes else dead
    yield from known
