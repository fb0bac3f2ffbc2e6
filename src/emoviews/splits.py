"""Who trains, who validates, who tests; how many labels; and the proof that test speakers stay unseen.

Folds leave one group out (a speaker, or an IEMOCAP session as in the paper, section 3.1); a label budget takes a few labels
of the training part (section 4.2); `leakage_audit` checks what came out, whoever made it. All row indices are positions in
the utterance table, `(rows,)` int64, ascending.

Draws come from SHA-256 and not from a random generator: the same seed then gives the same labels with every version of
Python and NumPy, and two runs with the same `split_hash` are comparable years apart.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from emoviews.errors import LeakageError, UsageError
from emoviews.progress import counted

PARTS: Final = ("train", "validation", "test", "pretraining", "budget")
"""Parts that `leakage_audit` knows: the rows that fine-tuning trains on, that choose its checkpoint and that test it; all rows
that pre-training saw; the rows whose labels were used, where they are audited beside `train`."""


@dataclass(frozen=True, eq=False)
class Fold:
    """One division of the utterance table into rows that train, validate and test.

    Attributes:
        name: the group that tests, or `official`.
        train: `(rows,)` int64, positions in the table.
        validation: likewise; empty where nothing validates.
        test: likewise.
        test_group: the group left out; empty for an official split.
        validation_group: the group that validates; empty for none and where an official split says which rows do.
    """

    name: str
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    test_group: str = ""
    validation_group: str = ""

    @property
    def parts(self) -> dict[str, NDArray[np.int64]]:
        """The rows by part, as `leakage_audit` takes them. Parts without rows are left out."""
        every = {"train": self.train, "validation": self.validation, "test": self.test}
        return {part: rows for part, rows in every.items() if len(rows)}


def leave_one_group_out(groups: Sequence[str], validation: Literal["next", "none"] = "next") -> list[Fold]:
    """One fold a group: it tests, the next one validates, the others train.

    The paper leaves one of IEMOCAP's five sessions out, validates on "another" and trains on three; which one validates is
    not said. Here it is the next in alphabetical order, cyclically, so that every group also validates exactly once.

    Args:
        groups: `(rows,)` the group of each row (the table's column `group`).
        validation: `next`, or `none` for no validation part (the other groups all train).

    Returns:
        Folds in alphabetical order of their test group; the rows' order does not matter.

    Raises:
        UsageError: a row without a group, or fewer groups than parts: 3 with validation, 2 without.

    >>> fold = leave_one_group_out(["Ann", "Bob", "Cy", "Ann"])[0]
    >>> fold.name, fold.test.tolist(), fold.validation_group, fold.train.tolist()
    ('Ann', [0, 3], 'Bob', [2])
    """
    if validation not in ("next", "none"):
        raise UsageError(f"Expected validation 'next' or 'none', got {validation!r}.")
    names, of_row = np.unique(np.asarray(_named(groups), dtype=object), return_inverse=True)
    needed = 3 if validation == "next" else 2
    if len(names) < needed:
        parts = "one to test, one to validate and one to train" if needed == 3 else "one to test and one to train"
        raise UsageError(
            f"Expected at least {needed} groups ({parts}), got {len(names)}: {', '.join(names) or 'no rows'}. Add recordings "
            f"of other speakers, or fill in a finer column 'group'."
        )
    folds = []
    for i, name in enumerate(names):
        test = of_row == i
        validates = (i + 1) % len(names) if validation == "next" else -1
        valid = of_row == validates
        folds.append(
            Fold(
                name,
                train=np.flatnonzero(~test & ~valid),
                validation=np.flatnonzero(valid),
                test=np.flatnonzero(test),
                test_group=name,
                validation_group=names[validates] if validation == "next" else "",
            )
        )
    return folds


MOST_FOLDS: Final = 10
"""More groups are merged into so many folds, where a fold is only there to be left out."""


def merge_groups(groups: Sequence[str], n_groups: int) -> list[str]:
    """Merge groups into `n_groups` of about the same size, so that many speakers don't mean as many folds.

    Greedy: from the largest group to the smallest, each joins the smallest merged group so far. Sizes decide, then names, so
    the order of the rows does not matter.

    Args:
        groups: `(rows,)` the group of each row.
        n_groups: how many to merge them into.

    Returns:
        `(rows,)` the merged group of each row, named after its members in alphabetical order.

    Raises:
        UsageError: a row without a group, more merged groups than there are groups, or two merged groups of one name.

    >>> merge_groups(["KS0", "EB0", "EB0", "EB0", "IC0", "IC0"], 2)
    ['IC0+KS0', 'EB0', 'EB0', 'EB0', 'IC0+KS0', 'IC0+KS0']
    """
    sizes = Counter(_named(groups))
    if not 1 <= n_groups <= len(sizes):
        raise UsageError(f"Can't merge {len(sizes)} groups into {n_groups}; expected a number from 1 to {len(sizes)}.")
    members: list[list[str]] = [[] for _ in range(n_groups)]
    rows = [0] * n_groups
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        smallest = rows.index(min(rows))
        members[smallest].append(name)
        rows[smallest] += sizes[name]
    merged = {name: "+".join(sorted(together)) for together in members for name in together}
    if len(set(merged.values())) < n_groups:
        raise UsageError(
            "Two merged groups would have the same name, as a group's name holds a '+'. Rename that group."
        )
    return [merged[name] for name in groups]


def at_most(groups: Sequence[str], n_groups: int) -> list[str]:
    """The groups as they are, or merged into `n_groups` (`merge_groups`) where they are more.

    >>> at_most(["a", "b", "b"], 2), at_most(["a", "b", "c"], 2)
    (['a', 'b', 'b'], ['a+c', 'b', 'a+c'])
    """
    return merge_groups(groups, n_groups) if len(set(groups)) > n_groups else list(groups)


def official_split(
    split: Sequence[str], groups: Sequence[str] | None = None, labelled: ArrayLike | None = None
) -> Fold:
    """The fold that a corpus prescribes, from the table's column `split` (train, val or test; empty: in no part).

    Args:
        split: `(rows,)` train, val, test or nothing.
        groups: `(rows,)`; where no row is marked `val`, the last group of the training rows with a labelled row validates and
            does not train. Without groups, or where the training rows are of one, nothing validates.
        labelled: `(rows,)` bool, rows with a label; all when None.

    Raises:
        UsageError: another word in the column, or no row that trains or none that tests.

    >>> official_split(["train", "val", "test", "train", ""]).train.tolist()
    [0, 3]
    >>> fold = official_split(["train", "train", "test"], ["Ann", "Bob", "Cy"])
    >>> fold.train.tolist(), fold.validation.tolist(), fold.validation_group
    ([0], [1], 'Bob')
    """
    of_row = np.asarray(list(split), dtype=object)
    if unknown := sorted(set(of_row) - {"train", "val", "test", ""}):
        raise UsageError(f"Expected 'train', 'val', 'test' or nothing in the column 'split', got {unknown[0]!r}.")
    train, validation, test = (np.flatnonzero(of_row == part) for part in ("train", "val", "test"))
    if not len(train) or not len(test):
        raise UsageError(
            f"An official split needs rows that train and rows that test; the column 'split' has {len(train)} 'train' and "
            f"{len(test)} 'test'. Fill it in, or test by leaving groups out."
        )
    of_groups = list(groups) if groups is not None else [""] * len(of_row)
    named = {of_groups[row] for row in train} - {""}
    group = ""
    if not len(validation) and len(named) >= 2:
        has_label = np.ones(len(of_row), dtype=bool) if labelled is None else np.asarray(labelled, dtype=bool)
        group = max({of_groups[row] for row in train if has_label[row]} - {""} or named)
        validates = np.array([of_groups[row] == group for row in train])
        train, validation = train[~validates], train[validates]
    return Fold("official", train, validation, test, validation_group=group)


def cross_corpus_split(
    name: str, groups: Sequence[str], split: Sequence[str], *, of_test: ArrayLike, labelled: ArrayLike
) -> Fold:
    """The fold that trains and validates on one corpus and tests on another.

    All labelled rows of the test corpus test; its unlabelled rows are in no part, and its own column `split` is not asked. An
    official partition of the training corpus is respected: its `val` rows validate, its `test` rows are left out, and where
    some rows are marked `train`, those without a mark are left out too (in MSP-Podcast they share speakers with the test rows).
    Without `val` rows, the last group with a labelled row validates: in the cyclic order of `leave_one_group_out` the one
    before the test corpus, were that the last group of all.

    Args:
        name: of the test corpus, which names the fold.
        groups: `(rows,)` the group of each row of both corpora.
        split: `(rows,)` train, val, test or nothing.
        of_test: `(rows,)` bool, the rows of the test corpus.
        labelled: `(rows,)` bool, rows with a label.

    Raises:
        UsageError: no labelled row to test, no row to train, or no `val` row and fewer than 2 groups, or rows without a group.

    >>> fold = cross_corpus_split("other", ["Ann", "Bob", "Cy"], [""] * 3, of_test=[0, 0, 1], labelled=[1, 1, 1])
    >>> fold.train.tolist(), fold.validation.tolist(), fold.test.tolist(), fold.validation_group
    ([0], [1], [2], 'Bob')
    """
    is_test, has_label = np.asarray(of_test, dtype=bool), np.asarray(labelled, dtype=bool)
    part = np.where(is_test, "", np.asarray(list(split), dtype=object))
    test = np.flatnonzero(is_test & has_label)
    if not len(test):
        raise UsageError(f"No utterance of {name} that can be used has a label, so there is nothing to test on.")
    trains = (part == "train") if (part == "train").any() else (part == "") & ~is_test
    validates, group = part == "val", ""
    if not validates.any():
        named = np.asarray(_named([g for g, here in zip(groups, trains, strict=True) if here]), dtype=object)
        of_row = np.full(len(part), "", dtype=object)
        of_row[trains] = named
        names = sorted(set(of_row[trains & has_label])) or sorted(set(named))
        if len(set(named)) < 2:
            raise UsageError(
                f"Expected at least 2 groups to train on (the last one validates), or rows marked 'val' in the column 'split'; "
                f"got {len(set(named))}: {', '.join(names) or 'no rows'}. Fill in the column 'speaker', 'group' or 'split'."
            )
        group = names[-1]
        validates = of_row == group
        trains = trains & ~validates
    if not trains.any():
        raise UsageError(
            "No row is left to train on: the column 'split' marks all of them 'val' or 'test'. Mark some 'train'."
        )
    return Fold(name, np.flatnonzero(trains), np.flatnonzero(validates), test, validation_group=group)


def draw_rows(rows: NDArray[np.int64], size: int, *, seed: int) -> NDArray[np.int64]:
    """At most `size` of the rows, whatever their labels; for one seed a smaller draw is part of every larger one.

    Args:
        rows: `(rows,)` positions in the table.
        size: how many; all rows where there are no more.
        seed: which.

    Returns:
        Positions in the table, ascending.

    Raises:
        UsageError: a size below 1.

    >>> draw_rows(np.array([3, 5, 8, 9]), 2, seed=0).tolist()
    [5, 8]
    """
    if size < 1:
        raise UsageError(f"Expected at least one row to draw, got size={size}.")
    return np.array(sorted(_shuffled([int(row) for row in rows], f"rows|{seed}")[:size]), dtype=np.int64)


def select_budget(
    labels: Sequence[str], *, fraction: float | None = None, per_class: int | None = None, seed: int
) -> NDArray[np.int64]:
    """Choose the few rows whose labels a fine-tuning may use, class by class.

    For one seed a smaller budget is part of every larger one, so that comparisons between budgets are paired, and what is
    chosen of a class does not depend on the other classes.

    Args:
        labels: `(rows,)` the labels of the training part; empty ones are unlabelled and never chosen.
        fraction: of each class, above 0 and at most 1; at least one row a class: `max(1, round(fraction * n))`. The paper's p
            (section 4.2).
        per_class: exactly so many rows of each class. Without either, all labelled rows.
        seed: which rows; another seed, another draw.

    Returns:
        Positions in `labels`, ascending.

    Raises:
        UsageError: no labelled row, both or an impossible budget, or a class with fewer than `per_class` rows.

    >>> labels = ["sad", "happy", "sad", "", "sad", "happy", "sad"]
    >>> [labels[row] for row in select_budget(labels, fraction=0.5, seed=0)]
    ['sad', 'happy', 'sad']
    """
    if fraction is not None and per_class is not None:
        raise UsageError(f"Expected one label budget, got two: fraction={fraction} and per_class={per_class}.")
    if fraction is not None and not 0 < fraction <= 1:
        raise UsageError(f"Expected a label fraction above 0 and at most 1 (0.05 for 5 %), got {fraction}.")
    if per_class is not None and per_class < 1:
        raise UsageError(f"Expected at least one label per class, got {per_class}.")
    rows_of = _rows_by_label(labels)
    if per_class is not None and (
        few := {label: len(rows) for label, rows in rows_of.items() if len(rows) < per_class}
    ):
        label = min(few, key=lambda label: (few[label], label))
        raise UsageError(
            f"Can't choose {counted(per_class, 'label')} per class: the training part has only {few[label]} of {label!r}. Ask "
            f"for at most {few[label]}, or label more of it."
        )
    chosen: list[int] = []
    for label, rows in rows_of.items():
        wanted = per_class or (len(rows) if fraction is None else max(1, round(fraction * len(rows))))
        chosen += _shuffled(rows, f"budget|{seed}|{label}")[:wanted]
    return np.array(sorted(chosen), dtype=np.int64)


def validation_from_budget(
    labels: Sequence[str], *, seed: int, share: float = 0.2
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split the labels of a budget into some that train and some that validate, class by class.

    For `validation="budget"`: a fine-tuning with few labels must not stop early on a fully labelled validation group, as the
    paper's does. The speakers of the two parts overlap; tell `leakage_audit` with `validation_within_train`.

    Args:
        labels: `(rows,)` the labels of the budget; empty ones are left out.
        seed: which rows.
        share: of each class that validates, between 0 and 1: `round(share * n)`, but at least one row, and one is left to
            train. A class with one row trains and has none to validate; when all do, the validation part is empty.

    Returns:
        Positions in `labels` of the rows that train and of those that validate, both ascending.

    Raises:
        UsageError: no labelled row, or a share not between 0 and 1.

    >>> train, validation = validation_from_budget(["sad"] * 5 + ["happy"], seed=0)
    >>> len(train), len(validation)
    (5, 1)
    """
    if not 0 < share < 1:
        raise UsageError(f"Expected a share between 0 and 1, got {share}.")
    train: list[int] = []
    validation: list[int] = []
    for label, rows in _rows_by_label(labels).items():
        held_out = min(max(1, round(share * len(rows))), len(rows) - 1)
        order = _shuffled(rows, f"validation|{seed}|{label}")
        validation += order[:held_out]
        train += order[held_out:]
    return np.array(sorted(train), dtype=np.int64), np.array(sorted(validation), dtype=np.int64)


def split_hash(fold: Fold, ids: Sequence[str]) -> str:
    """Twelve hexadecimal digits over which utterances train, validate and test.

    Args:
        fold: the division.
        ids: `(rows,)` the ids of the table that the fold's positions refer to.

    Returns:
        The same digits for the same three sets of ids, whatever the order of the table or the fold's name.

    >>> fold = leave_one_group_out(["Ann", "Bob"], validation="none")[0]
    >>> split_hash(fold, ["a1", "b1"])
    '...'
    """
    id_of = list(ids)
    sets = {part: sorted(id_of[row] for row in rows) for part, rows in fold.parts.items()}
    return hashlib.sha256(json.dumps(sets, sort_keys=True).encode()).hexdigest()[:12]


_NOUN: Final = {"id": "row", "speaker": "speaker", "group": "group", "audio": "recording", "text": "text"}
_ADVICE: Final = {
    "id": "Each row may stand in one part only.",
    "speaker": "Give all recordings of a speaker one 'group'.",
    "group": "Make folds by 'group'.",
    "audio": "Drop the copies, or give them one 'group'.",
}


@dataclass(frozen=True)
class Leak:
    """One thing that two parts share and should not, or that can't be audited.

    Attributes:
        parts: the two parts; for rows that can't be audited, the parts that have some; `("groups",)` from `audit_groups`.
        column: `id` (the same row in both), `speaker`, `group`, `audio` (the same recording) or `text`.
        count: how many values the parts share; the number of rows without a speaker where `example` is empty.
        example: one shared value, for recordings the ids of two rows; empty where the speaker is unknown.
        severity: an `error` makes the scores worthless, a `warning` should be known to whoever reads them.
    """

    parts: tuple[str, ...]
    column: str
    count: int
    example: str
    severity: Literal["error", "warning"]

    def __str__(self) -> str:
        names = " and ".join(self.parts)
        if not self.example:
            return (
                f"speaker unknown in {self.count} rows of {names}: whether parts share these speakers can't be audited"
            )
        return f"{names} share {self.count} {_NOUN[self.column]}{'s' * (self.count > 1)}, e.g. {self.example!r}"


def leakage_audit(
    parts: Mapping[str, ArrayLike],
    table: pd.DataFrame,
    audio_hashes: Sequence[str] | None,
    *,
    allow_speaker_overlap: bool = False,
    validation_within_train: bool = False,
) -> list[Leak]:
    """Look for what `test` shares with every other part, and `validation` with `train` and `budget`.

    The same row, speaker, group or recording in two parts is an error; the same text is a warning, as in acted corpora all
    speakers say the same sentences. Texts are compared without case and runs of spaces. Missing values are never equal; rows
    without a speaker are one warning.

    Args:
        parts: the rows that were really used, by the names in `PARTS`: positions in the table, in any order.
        table: the utterance table (columns `id`, `speaker`, `group`, `text`).
        audio_hashes: `(rows,)` a hash of each row's decoded samples, empty where unknown; None: recordings aren't compared.
        allow_speaker_overlap: for official splits that share speakers on purpose (MELD's): speakers and groups become
            warnings.
        validation_within_train: for validation rows that come out of the label budget: between `validation` and `train` or
            `budget`, only a row in both is an error and a recording in both a warning; speaker, group and text are meant to
            be shared.

    Returns:
        What was found, errors first; empty if nothing was.

    Raises:
        UsageError: an unknown part, parts of which no two are compared, or hashes for another number of rows.

    >>> table = pd.DataFrame({"id": ["a", "b"], "speaker": ["Ann", "Ann"], "group": ["1", "2"], "text": ["", ""]})
    >>> for leak in leakage_audit({"train": [0], "test": [1]}, table, None):
    ...     print(leak.severity, "|", leak)
    error | test and train share 1 speaker, e.g. 'Ann'
    """
    if unknown := [part for part in parts if part not in PARTS]:
        raise UsageError(f"Can't audit a part called {unknown[0]!r}; expected {', '.join(PARTS)}.")
    pairs = [("test", part) for part in parts if part != "test" and "test" in parts]
    pairs += [("validation", part) for part in ("train", "budget") if part in parts and "validation" in parts]
    if not pairs:
        raise UsageError(f"Nothing to audit: no two of the parts given ({', '.join(parts) or 'none'}) are compared.")
    columns = _audited(table, audio_hashes)
    rows_of = {part: np.asarray(rows, dtype=np.int64) for part, rows in parts.items()}
    values = {part: {c: {v[row] for row in rows} - {""} for c, v in columns.items()} for part, rows in rows_of.items()}

    severities: dict[str, Literal["error", "warning"]] = dict.fromkeys(columns, "error")
    severities["text"] = "warning"
    if allow_speaker_overlap:
        severities["speaker"] = severities["group"] = "warning"
    leaks = []
    for first, second in pairs:
        here = severities
        if first == "validation" and validation_within_train:
            here = {"id": "error", "audio": "warning"}
        for column, severity in here.items():
            if shared := values[first][column] & values[second][column]:
                example = min(shared)
                if column == "audio":  # nobody recognises a hash
                    rows = (min(r for r in rows_of[p] if columns["audio"][r] == example) for p in (first, second))
                    example = " and ".join(columns["id"][row] for row in rows)
                leaks.append(Leak((first, second), column, len(shared), example, severity))
    without = {part: {row for row in rows if columns["speaker"][row] == ""} for part, rows in rows_of.items()}
    if any(without.values()):
        names = tuple(part for part, rows in without.items() if rows)
        leaks.append(Leak(names, "speaker", len(set().union(*without.values())), "", "warning"))
    return sorted(leaks, key=lambda leak: leak.severity)


def audit_groups(table: pd.DataFrame, audio_hashes: Sequence[str] | None) -> list[Leak]:
    """Look for what different groups of a table share, before any fold is made from them.

    A speaker or a recording in two groups is an error, as folds by group would then leak; a text is a warning. Texts, missing
    values and unknown speakers are treated as in `leakage_audit`; rows without a group are left out.

    Args:
        table: the utterance table (columns `id`, `speaker`, `group`, `text`).
        audio_hashes: as in `leakage_audit`.

    Returns:
        At most one `Leak` a column, errors first; `count` is the number of values that occur in more than one group.

    Raises:
        UsageError: hashes for another number of rows.

    >>> table = pd.DataFrame({"id": ["a", "b"], "speaker": ["Ann", "Ann"], "group": ["1", "2"], "text": ["", ""]})
    >>> print(audit_groups(table, None)[0])
    groups share 1 speaker, e.g. 'Ann'
    """
    columns = _audited(table, audio_hashes)
    leaks = []
    for column in ("speaker", "audio", "text"):
        rows_of: defaultdict[str, dict[str, int]] = defaultdict(dict)  # value → group → its first row
        for row, (value, group) in enumerate(zip(columns[column], columns["group"], strict=True)):
            if value and group:
                rows_of[value].setdefault(group, row)
        if shared := [value for value, rows in rows_of.items() if len(rows) > 1]:
            example = min(shared)
            if column == "audio":
                example = " and ".join(columns["id"][row] for row in list(rows_of[example].values())[:2])
            leaks.append(Leak(("groups",), column, len(shared), example, "warning" if column == "text" else "error"))
    pairs = zip(columns["speaker"], columns["group"], strict=True)
    if unknown := sum(speaker == "" != group for speaker, group in pairs):
        leaks.append(Leak(("groups",), "speaker", unknown, "", "warning"))
    return sorted(leaks, key=lambda leak: leak.severity)


def require_no_leakage(leaks: Sequence[Leak]) -> list[Leak]:
    """Stop where `leakage_audit` found an error; give the warnings back, to be shown and kept with the results.

    Raises:
        LeakageError: names the parts, the column, how many values they share and one of them.

    >>> require_no_leakage([Leak(("test", "train"), "text", 3, "good morning", "warning")])
    [Leak(...)]
    """
    if errors := [leak for leak in leaks if leak.severity == "error"]:
        found = "; ".join(map(str, errors))
        advice = " ".join(_ADVICE[column] for column in dict.fromkeys(leak.column for leak in errors))
        raise LeakageError(f"The parts are not disjoint, so no score would mean anything: {found}. {advice}")
    return list(leaks)


def _named(groups: Sequence[str]) -> list[str]:
    """The groups as a list, each row with one."""
    names = list(groups)
    if empty := sum(not name for name in names):
        raise UsageError(
            f"{empty} of {len(names)} rows have no group, so it can't be known which fold may test them. Fill in the column "
            "'speaker' or 'group', or drop these rows."
        )
    return names


def _audited(table: pd.DataFrame, audio_hashes: Sequence[str] | None) -> dict[str, list[str]]:
    """The values of each row that parts must not share, by column, empty where unknown."""
    if audio_hashes is not None and len(audio_hashes) != len(table):
        raise UsageError(f"Expected one audio hash a row: {len(table)} rows, {len(audio_hashes)} hashes.")
    columns: dict[str, list[str]] = {column: table[column].tolist() for column in ("id", "speaker", "group")}
    columns["audio"] = list(audio_hashes) if audio_hashes is not None else [""] * len(table)
    columns["text"] = [" ".join(text.casefold().split()) for text in table["text"]]
    return columns


def _rows_by_label(labels: Sequence[str]) -> dict[str, list[int]]:
    rows_of: defaultdict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(labels):
        if label:
            rows_of[label].append(row)
    if not rows_of:
        raise UsageError("Expected labelled rows, got none. Fill in the column 'emotion' of some training recordings.")
    return rows_of


def _shuffled(rows: list[int], key: str) -> list[int]:
    """The rows of one class in an order that depends on the key and on how many rows there are, on nothing else."""
    order = sorted(range(len(rows)), key=lambda i: hashlib.sha256(f"{key}|{i}".encode()).digest())
    return [rows[i] for i in order]
