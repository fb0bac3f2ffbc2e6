"""What the parsers share: finding a release, listing its files, reading its text, and saying where it deviates.

A corpus of 260 000 files is listed, never asked for file by file: `walk_files` and `index_by_stem` read each folder
once. Hidden files are ignored everywhere, among them the `._*` companions that macOS puts into archives.
"""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import pandas as pd

from emoviews.errors import CorpusError
from emoviews.progress import shorten

Row = dict[str, object]
"""One utterance by column name, as `table.make_table` takes it."""

GENDERS: Final = {"f": "female", "female": "female", "m": "male", "male": "male"}
"""How corpora write gender, in lower case, and what our tables say."""


def find_release(
    root: Path,
    is_release: Callable[[Path], bool],
    *,
    title: str,
    looked_for: str,
    inner: Collection[str] = (),
) -> Path:
    """The folder that holds the release: `root`, the folder it is a part of, or the only one at most two levels below it.

    Args:
        root: what the user pointed at.
        is_release: whether a folder is the release's top folder.
        title: the corpus' name in messages.
        looked_for: what tells the release, for messages, e.g. `a folder 'wav' with files like 03a01Fa.wav`.
        inner: names of folders inside the release that people also point at; for these the parent is tried.

    Raises:
        CorpusError: `root` is missing or no folder, nothing looks like the release, or two copies do.
    """
    check_folder(root, title=title, looked_for=looked_for)
    above = root.absolute().parent
    if root.absolute().name in inner and is_release(above):
        return above
    if is_release(root):
        return root
    level = [root]
    for _ in range(2):
        level = [folder for parent in level for folder in visible_folders(parent)]
        found = [folder for folder in level if is_release(folder)]
        if len(found) > 1:
            raise CorpusError(
                f"{root} holds more than one folder that looks like {title}: {shorten(map(str, found))}. Give one of them."
            )
        if found:
            return found[0]
    raise unlike(root, title=title, looked_for=looked_for)


def check_folder(root: Path, *, title: str, looked_for: str) -> None:
    """Refuse a root that is no folder.

    Raises:
        CorpusError: says what was looked for.
    """
    if not root.is_dir():
        kind = "is a file" if root.is_file() else "does not exist"
        raise CorpusError(f"{root} {kind}; expected the folder of {title}; looked for {looked_for}.")


def unlike(root: Path, *, title: str, looked_for: str) -> CorpusError:
    """The error for a folder that is not the corpus: what was looked for and what is there."""
    names = sorted(entry.name for entry in _visible(root))
    held = f"it holds {shorten(names)}" if names else "it is empty"
    return CorpusError(
        f"{root} does not look like {title}: looked for {looked_for}, but {held}. Give the top folder of the unpacked release."
    )


def visible_folders(folder: Path) -> list[Path]:
    """The folders directly inside `folder`, sorted by name, without hidden ones."""
    return sorted(Path(entry.path) for entry in _visible(folder) if entry.is_dir())


def visible_files(folder: Path, suffixes: Collection[str]) -> list[str]:
    """Paths of the files directly inside `folder` that end in one of `suffixes` (lower case), sorted, without hidden ones."""
    wanted = tuple(suffixes)
    return sorted(e.path for e in _visible(folder) if e.name.lower().endswith(wanted) and not e.is_dir())


def walk_files(root: Path, suffixes: Collection[str]) -> list[str]:
    """Paths of all files below `root` that end in one of `suffixes` (lower case), sorted, without hidden files and folders.

    Linked folders are followed, each real folder once, so a link back to its own parent ends the walk.
    """
    wanted = tuple(suffixes)
    found: list[str] = []
    seen: set[str] = set()
    waiting = [os.fspath(root)]
    while waiting:
        folder = waiting.pop()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        # Sorted, so that of two links to one folder always the same one is followed.
        for entry in sorted(_visible(folder), key=lambda e: e.name, reverse=True):
            if entry.is_dir():
                waiting.append(entry.path)
            elif entry.name.lower().endswith(wanted):
                found.append(entry.path)
    return sorted(found)


def index_by_stem(files: Iterable[str], suffixes: Sequence[str]) -> dict[str, str]:
    """File name without suffix → path; of two files that differ in suffix alone, the one whose suffix stands first.

    >>> index_by_stem(["clips/dia0_utt0.mp4", "clips/dia0_utt0.wav"], suffixes=(".wav", ".mp4"))
    {'dia0_utt0': 'clips/dia0_utt0.wav'}
    """
    index: dict[str, str] = {}
    for path in sorted(files, key=lambda p: suffixes.index(os.path.splitext(p)[1].lower())):
        index.setdefault(stem_of(path), path)
    return index


def stem_of(path: str) -> str:
    """The file name without folders and suffix.

    >>> stem_of("wav/03a01Fa.wav")
    '03a01Fa'
    """
    return os.path.splitext(os.path.basename(path))[0]


def exist(paths: Iterable[str]) -> list[bool]:
    """Whether each file is there, with one listing a folder.

    What a listing lacks is asked for by name, as file systems may take a name written otherwise (case, accents).
    """
    listings: dict[str, frozenset[str]] = {}
    there = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in listings:
            listings[folder] = frozenset(os.listdir(folder)) if os.path.isdir(folder) else frozenset()
        there.append(name in listings[folder] or os.path.exists(path))
    return there


def decode(data: bytes, legacy: Literal["cp1252", "gb18030"] = "cp1252") -> str:
    """Text of unknown encoding: UTF-16 if it has its mark or its zero bytes, UTF-8 if it is valid, else `legacy`.

    `gb18030` contains GBK and GB2312; `cp1252` contains the printable part of Latin-1. Bytes that even the legacy encoding
    does not know become the replacement character: a transcript is worth keeping with one letter wrong.

    >>> decode("快乐".encode("utf-16")), decode("快乐".encode("gbk"), "gb18030"), decode("It’s".encode("cp1252"))
    ('快乐', '快乐', 'It’s')
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    if data[1::2].count(0) > len(data) // 8:  # ASCII letters as UTF-16, little endian, whose mark was lost
        return data.decode("utf-16-le", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode(legacy, errors="replace")


def read_columns(
    path: Path, columns: Collection[str], *, title: str, separator: str = ",", quotes: bool = True
) -> pd.DataFrame:
    """Read a corpus' own label table as text and check that it has `columns`.

    Args:
        path: a delimited text file.
        columns: the columns that have to be there; further ones are kept.
        title: the corpus' name in messages.
        separator: between columns.
        quotes: whether cells may be quoted; if not, a quotation mark is a letter like any other.

    Raises:
        CorpusError: the file can't be read as a table, or a column is missing.
    """
    try:
        text = decode(path.read_bytes())
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
        frame = pd.read_csv(io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, quoting=quoting)
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise CorpusError(f"{path} can't be read as the label table of {title}: {error}") from error
    frame.columns = frame.columns.str.strip()
    if missing := [column for column in columns if column not in frame.columns]:
        raise CorpusError(
            f"{path} lacks the column {', '.join(missing)} that the label table of {title} has; "
            f"its columns: {', '.join(map(str, frame.columns))}. Is it the table of another release?"
        )
    return frame.fillna("")  # rows that end early


def compare_counts(labels: Iterable[str], published: Mapping[str, int], title: str) -> list[str]:
    """One sentence if the number of utterances or of any label differs from the published one, else nothing.

    Args:
        labels: one an utterance, as the release lists them (before anything is left out).
        published: label → number of utterances.
        title: the corpus' name in messages.

    >>> compare_counts(["anger", "anger"], {"anger": 2, "fear": 1}, "The corpus")
    ['The corpus has 3 utterances as published, this copy 2. Published / here: fear 1 / 0.']
    """
    here = Counter(labels)
    names = [*published, *sorted(set(here) - set(published))]
    different = [
        f"{name} {published.get(name, 0)} / {here[name]}" for name in names if published.get(name, 0) != here[name]
    ]
    if not different:
        return []
    totals = f"{title} has {sum(published.values())} utterances as published, this copy {here.total()}."
    return [f"{totals} Published / here: {', '.join(different)}."]


def report_missing(names: Sequence[str], listed: int, title: str) -> list[str]:
    """One sentence on the recordings that the labels name but the folder lacks, nothing if it has all.

    Args:
        names: of the missing recordings.
        listed: how many recordings the labels name.
        title: the corpus' name in messages.

    Raises:
        CorpusError: the labels name no recording, or not one of them is there.
    """
    if listed == 0:
        raise CorpusError(
            f"The labels of {title} name not one recording; expected one a line. Unpack the release again."
        )
    if not names:
        return []
    if len(names) == listed:
        raise CorpusError(
            f"Not one of the {listed} recordings that the labels of {title} name is there: looked for "
            f"{shorten(names)}. Unpack the audio beside the labels."
        )
    return [f"{len(names)} of {listed} recordings named in the labels are missing and left out: {shorten(names)}."]


def _visible(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    """What a folder holds, in any order, without hidden entries and the folder that macOS adds to archives."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.name != "__MACOSX":
                    yield entry
    except OSError as error:
        raise CorpusError(f"The folder {folder} can't be listed: {error}. Check its permissions.") from error
