"""Labels that people give by listening: a journal on disk, whose turn is which recording, how well annotators agree.

The journal `TABLE.labels.jsonl` stands beside the table and only grows: one JSON object a line, on disk before the page says
so. An undo is a line as well. Everything else (what is answered, what comes next) is read off the journal, so a killed program
loses nothing and goes on where it was. The table itself is changed by `merged` alone, when somebody asks for it.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
import pandas as pd

from emoviews.errors import MissingExtraError, StoreError, TableError, UsageError
from emoviews.progress import counted
from emoviews.table import write_table

Action = Literal["label", "cannot_tell", "skip", "undo"]

NAME_CHARACTERS: Final = 60
"""At most, of an annotator's name."""


class TurnError(UsageError):
    """An answer that does not follow on the annotator's last one: the page is open twice, and the other went on."""


@dataclass(frozen=True)
class Entry:
    """A line of the journal.

    Attributes:
        id: of the recording.
        annotator: who.
        action: `label`; `cannot_tell`, an answer too; `skip`, to be asked again at the end; `undo` of the one before.
        emotion: of a label, else empty.
        time: in UTC, ISO 8601.
    """

    id: str
    annotator: str
    action: Action
    emotion: str = ""
    time: str = ""


def journal_of(table: Path) -> Path:
    """Where a table's labels are kept.

    >>> journal_of(Path("corpus/table.csv")).name
    'table.csv.labels.jsonl'
    """
    return table.with_name(table.name + ".labels.jsonl")


def read_journal(path: Path) -> list[Entry]:
    """Every entry; none where there is no file. A last line that a crash cut off was never confirmed and is left out.

    Raises:
        StoreError: a line that is none.
    """
    if not path.is_file():
        return []
    *lines, last = path.read_bytes().split(b"\n")
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entries.append(_entry(line))
        except (ValueError, TypeError) as error:
            raise StoreError(
                f"{path}, line {number} is no entry of a journal of labels ({error}). Mend or remove it, keep the others."
            ) from error
    with suppress(ValueError, TypeError):
        entries.append(_entry(last))
    return entries


def _entry(line: bytes) -> Entry:
    entry = Entry(**json.loads(line))
    if entry.action not in get_args(Action) or not all(isinstance(value, str) for value in asdict(entry).values()):
        raise ValueError(f"the action {entry.action!r}, or a value that is no text")
    return entry


def stack_of(entries: Iterable[Entry], annotator: str) -> list[Entry]:
    """What an annotator did and did not undo, in order.

    >>> stack_of([Entry("a", "Ann", "label", "joy"), Entry("b", "Ann", "skip"), Entry("b", "Ann", "undo")], "Ann")[-1].id
    'a'
    """
    stack: list[Entry] = []
    for entry in entries:
        if entry.annotator != annotator:
            continue
        if entry.action != "undo":
            stack.append(entry)
        elif stack:
            stack.pop()
    return stack


def waiting(order: Sequence[str], stack: Sequence[Entry]) -> list[str]:
    """The ids that an annotator has still to answer: those not seen yet in their order, then those skipped, the oldest first.

    >>> waiting(["a", "b", "c"], [Entry("a", "Ann", "skip"), Entry("b", "Ann", "label", "joy")])
    ['c', 'a']
    """
    answered = {entry.id for entry in stack if entry.action != "skip"}
    skipped = dict.fromkeys(entry.id for entry in reversed(stack) if entry.action == "skip")  # the newest first
    known = set(order)
    later = [name for name in reversed(skipped) if name not in answered and name in known]
    return [name for name in order if name not in answered and name not in skipped] + later


def answers(entries: Sequence[Entry]) -> dict[str, dict[str, str]]:
    """Annotator → id → emotion, empty for "can't tell"; the newest answer counts."""
    people = dict.fromkeys(entry.annotator for entry in entries)
    return {
        person: {entry.id: entry.emotion for entry in stack_of(entries, person) if entry.action != "skip"}
        for person in people
    }


FEW: Final = 30
"""Below so many recordings that two have labelled, alpha may change by tenths with the next ones."""


@dataclass(frozen=True)
class Agreement:
    """How far annotators agree on what several of them labelled.

    Attributes:
        alpha: Krippendorff's, nominal: 1 is perfect, 0 is chance; NaN where it is not defined.
        n: recordings with labels of at least two annotators.
        agreeing: of these, those on which all say the same.
        disagreements: id → annotator → emotion.
        why: alpha is not defined, in words; empty where it is.
    """

    alpha: float
    n: int
    agreeing: int
    disagreements: Mapping[str, Mapping[str, str]]
    why: str = ""

    def __str__(self) -> str:
        if not self.n:
            return f"Agreement: {self.why}."
        alpha = f"is not defined: {self.why}" if self.why else f"= {self.alpha:.3f}"
        return (
            f"Krippendorff's alpha (nominal) {alpha}; {counted(self.n, 'recording')} labelled by two or more, the same label "
            f"for {self.agreeing}.{' From so few it says little.' * (self.n < FEW)}"
        )


def agreement(given: Mapping[str, Mapping[str, str]]) -> Agreement:
    """Krippendorff's alpha over annotators ("Content Analysis", 4th edition, chapter 12); "can't tell" counts as no label.

    Args:
        given: annotator → id → emotion, as `answers` has it.

    Raises:
        MissingExtraError: the package krippendorff is not installed.
    """
    by_id: dict[str, dict[str, str]] = {}
    for person, own in given.items():
        for name, emotion in own.items():
            if emotion:
                by_id.setdefault(name, {})[person] = emotion
    shared = {name: said for name, said in by_id.items() if len(said) > 1}
    apart = {name: said for name, said in shared.items() if len(set(said.values())) > 1}
    n, agreeing = len(shared), len(shared) - len(apart)
    if not shared:
        return Agreement(np.nan, 0, 0, {}, "no recording has labels of two annotators yet")
    emotions = sorted({emotion for said in shared.values() for emotion in said.values()})
    if len(emotions) < 2:
        return Agreement(np.nan, n, agreeing, apart, f"all of them have the same label, {emotions[0]}")
    try:
        import krippendorff
    except ImportError as error:
        raise MissingExtraError("The agreement of annotators", package="krippendorff", extra="app") from error
    codes = [
        [emotions.index(said[person]) if person in said else np.nan for said in shared.values()] for person in given
    ]
    alpha = float(krippendorff.alpha(reliability_data=codes, level_of_measurement="nominal"))
    return Agreement(alpha, n, agreeing, apart)


class Journal:
    """The journal of one table, held by one program at a time."""

    def __init__(self, table: Path, order: Sequence[str], labels: Sequence[str]) -> None:
        """Take the journal and read it.

        Args:
            table: its file.
            order: ids, the first to label first.
            labels: the emotions there are to choose from.

        Raises:
            UsageError: another program holds it, there are no labels, or the journal has one that is none of them.
            StoreError: it can't be read or written.
            MissingExtraError: the package filelock is not installed.
        """
        try:
            import filelock
        except ImportError as error:
            raise MissingExtraError("The journal of labels", package="filelock", extra="app") from error
        self.path, self.order, self.labels = journal_of(table), tuple(order), tuple(labels)
        self._known, self._turn = set(order), threading.Lock()
        self._lock = filelock.FileLock(f"{self.path}.lock")
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise UsageError(
                f"{table} is being labelled by another `emoviews label`, which is still running. Open the address that it "
                "printed (several people can label on one page), or stop it first."
            ) from error
        except OSError as error:
            raise StoreError(f"{self.path} can't be written: {error}. The labels need a folder to write to.") from error
        try:
            self.entries = read_journal(self.path)
            foreign = Counter(e for own in answers(self.entries).values() for e in own.values() if e)
            if unknown := sorted(set(foreign) - set(labels)):
                raise UsageError(
                    f"{self.path} has {foreign[unknown[0]]} labels {unknown[0]!r}, which is none of {', '.join(labels)}. "
                    f"Add it: --labels {','.join([*labels, *unknown])}"
                )
            self._end_line()
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Let others have it."""
        self._lock.release()

    def stack(self, annotator: str) -> list[Entry]:
        """What an annotator did and did not undo."""
        return stack_of(self.entries, annotator)

    def add(self, annotator: str, expected: int, name: str, action: Action, emotion: str = "") -> None:
        """Write an annotator's answer, or undo the last one; it is on disk when this returns.

        Args:
            annotator: who.
            expected: the length of the annotator's `stack` as the page knows it.
            name: the recording's id; of an undo, that of the entry undone.
            action: what.
            emotion: of a label.

        Raises:
            UsageError: a name, an action or an emotion that is none.
            TurnError: the annotator went on elsewhere.
            StoreError: it can't be written; nothing is kept of it then.
        """
        require_name(annotator)
        if action not in get_args(Action):
            raise UsageError(f"There is no action {action!r}; there are {', '.join(get_args(Action))}.")
        if action == "label" and emotion not in self.labels:
            raise UsageError(f"The label {emotion!r} is none of {', '.join(self.labels)}. Nothing was saved.")
        if name not in self._known:
            raise UsageError("The table does not have this recording. Nothing was saved.")
        with self._turn:
            stack = self.stack(annotator)
            if len(stack) != expected or (action == "undo" and (not stack or stack[-1].id != name)):
                raise TurnError(
                    f"{annotator} has gone on in another window. Nothing was saved from this one; it now shows what the other "
                    "does."
                )
            now = datetime.now(UTC).isoformat(timespec="seconds")
            entry = Entry(name, annotator, action, emotion if action == "label" else "", now)
            self._write(json.dumps(asdict(entry), ensure_ascii=False).encode() + b"\n")
            self.entries.append(entry)

    def _write(self, line: bytes) -> None:
        handle = -1
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            before = os.fstat(handle).st_size
            try:
                if os.write(handle, line) != len(line):
                    raise OSError("the disk is full")
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, before)
                raise
        except OSError as error:
            raise StoreError(
                f"{self.path} can't be written ({error}), so this answer was not saved; those before it are. Make room, then "
                "answer again."
            ) from error
        finally:
            if handle >= 0:
                os.close(handle)

    def _end_line(self) -> None:
        """Remove a last line that a crash cut off, or end one that somebody's editor left open; the next goes behind it."""
        if not self.path.is_file() or (content := self.path.read_bytes()).endswith(b"\n") or not content:
            return
        begin = content.rfind(b"\n") + 1
        try:
            _entry(content[begin:])
        except (ValueError, TypeError):
            os.truncate(self.path, begin)
        else:
            self._write(b"\n")


def require_name(annotator: str) -> None:
    """Refuse what is no name of an annotator.

    Raises:
        UsageError: it is empty, too long, starts or ends with a space, or has characters that can't be seen.
    """
    if (
        not annotator
        or annotator != annotator.strip()
        or len(annotator) > NAME_CHARACTERS
        or not annotator.isprintable()
    ):
        raise UsageError(f"Expected a name of 1 to {NAME_CHARACTERS} characters, got {annotator[:80]!r}.")


def labelling_order(table: pd.DataFrame, entries: Sequence[Entry], suggested: Sequence[str]) -> list[str]:
    """The ids to label: those without an emotion, and those that the journal knows, so that a second annotator gets them too.

    What the journal knows comes first, in its order: the next annotator hears the same recordings, and agreement shows early.

    Args:
        table: the utterance table.
        entries: of its journal.
        suggested: ids in the order in which they should come; the others follow in the order of the table.

    Raises:
        TableError: nothing is to be labelled.
    """
    known = dict.fromkeys(entry.id for entry in entries)
    wanted = [name for name, emotion in zip(table["id"], table["emotion"], strict=True) if not emotion or name in known]
    if not wanted:
        raise TableError(
            "Every recording of the table has an emotion; there is nothing to label. Empty the column 'emotion' where you "
            "doubt it."
        )
    ranks = {name: rank for rank, name in enumerate(dict.fromkeys([*known, *suggested]))}
    return sorted(wanted, key=lambda name: ranks.get(name, len(ranks)))


@dataclass(frozen=True)
class Merge:
    """What `merged` made of a journal.

    Attributes:
        table: the utterance table with the labels.
        filled: recordings that got an emotion.
        conflicts: id → the emotion the table had and keeps, and the annotators' other one.
        agreement: of the annotators; the recordings they disagree on are left as they were.
        cannot_tell: recordings of which an annotator said so, and nobody anything else.
        unknown: ids of the journal that the table does not have.
    """

    table: pd.DataFrame
    filled: int
    conflicts: Mapping[str, tuple[str, str]]
    agreement: Agreement
    cannot_tell: int
    unknown: tuple[str, ...]


def merged(table: pd.DataFrame, entries: Sequence[Entry]) -> Merge:
    """Put the labels on which all who gave one agree into the column `emotion`. What stands there stays."""
    given = answers(entries)
    by_id: dict[str, set[str]] = {}
    for own in given.values():
        for name, emotion in own.items():
            by_id.setdefault(name, set()).update({emotion} - {""})
    emotions, filled, conflicts = list(table["emotion"]), 0, {}
    for row, name in enumerate(table["id"]):
        said = by_id.get(name, set())
        if len(said) == 1 and not emotions[row]:
            (emotions[row],) = said
            filled += 1
        elif len(said) == 1 and (other := next(iter(said))) != emotions[row]:
            conflicts[name] = (emotions[row], other)
    return Merge(
        table.assign(emotion=pd.Series(emotions, index=table.index, dtype=object)),
        filled,
        conflicts,
        agreement(given),
        sum(not said for said in by_id.values()),
        tuple(sorted(set(by_id) - set(table["id"]))),
    )


def write_merged(merge: Merge, out: Path) -> Path | None:
    """Write the table with its labels; what stood at `out` is kept beside it, and where is returned."""
    kept = None
    if out.exists():
        kept = next(p for n in count(1) if not (p := out.with_name(f"{out.name}.before-{n}")).exists())
        shutil.copy2(out, kept)
    write_table(merge.table, out)
    return kept
