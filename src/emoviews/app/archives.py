"""Recordings out of a zip that anybody may have made: nothing is written outside the folder, or beyond the limits.

No name from inside is used on disk: each recording becomes `0.wav`, `1.flac`, …, and its name is only shown. What the headers
say of sizes is enough to refuse and not to believe: bytes are counted as they come, too.
"""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from emoviews import audio
from emoviews.errors import UsageError

_BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class Limits:
    """What the pages take.

    Attributes:
        seconds: of one recording.
        megabytes: of one file that is sent.
        unpacked_megabytes: of all recordings in the zips that are sent at a time.
        files: recordings at a time.
    """

    seconds: float = 600.0
    megabytes: int = 200
    unpacked_megabytes: int = 2000
    files: int = 1000


def unpack(
    archives: Sequence[Path], folder: Path, limits: Limits, loose: int = 0
) -> list[tuple[list[tuple[str, Path]], int]]:
    """Unpack the recordings of zips, which share the limits. Nothing is unpacked before all of them have been looked through.

    Args:
        archives: the zips.
        folder: an empty one.
        limits: how much, of all zips together.
        loose: how many recordings come beside the zips and count as well.

    Returns:
        For each zip, name inside it and file of each recording, in its order; and how many other files were left out.

    Raises:
        UsageError: one is no zip, damaged, encrypted or compressed in a way Python can't undo; it has a path that leads out
            of its folder or a link, or no recordings; together they hold too many or too much. Nothing is left in the folder
            then.
    """
    listed = []
    for archive in archives:
        with _readable(archive) as opened:
            listed.append(_listed(opened, archive.name))
    entries = [entry for recordings, _ in listed for entry in recordings]
    if (n := loose + len(entries)) > limits.files:
        raise UsageError(f"These are {n} recordings; at most {limits.files} are taken at a time.")
    left = limits.unpacked_megabytes * 10**6
    if sum(entry.file_size for entry in entries) > left:
        raise _too_much(archives, limits)
    found: list[tuple[list[tuple[str, Path]], int]] = []
    number = 0
    try:
        for archive, (recordings, others) in zip(archives, listed, strict=True):
            inside = []
            with _readable(archive) as opened:
                for entry in recordings:
                    path = folder / f"{number}{PurePosixPath(entry.filename).suffix.lower()}"
                    number += 1
                    with opened.open(entry) as source, open(path, "wb") as target:
                        while block := source.read(_BLOCK_BYTES):
                            left -= len(block)
                            if left < 0:
                                raise _too_much(archives, limits)
                            target.write(block)
                    inside.append((entry.filename, path))
            found.append((inside, others))
    except UsageError:
        _clear(folder)
        raise
    return found


@contextmanager
def _readable(archive: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(archive) as opened:
            yield opened
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise UsageError(f"{archive.name} can't be unpacked: {error}. Make the zip again.") from error


def _listed(opened: zipfile.ZipFile, title: str) -> tuple[list[zipfile.ZipInfo], int]:
    """The recordings in a zip, and how many other files."""
    files = [entry for entry in opened.infolist() if not entry.is_dir()]
    for entry in files:
        _refuse_hostile(entry, title)
    recordings = [entry for entry in files if _is_recording(entry.filename)]
    if not recordings:
        raise UsageError(f"{title} has no recordings ({', '.join(sorted(audio.AUDIO_SUFFIXES))}).")
    return recordings, len(files) - len(recordings)


def _too_much(archives: Sequence[Path], limits: Limits) -> UsageError:
    what = f"{archives[0].name} holds" if len(archives) == 1 else f"These {len(archives)} zips together hold"
    return UsageError(
        f"{what} more than {limits.unpacked_megabytes} MB when unpacked; that much is not taken at a time. Send it in parts, "
        "or use: emoviews predict MODEL FOLDER"
    )


def _refuse_hostile(entry: zipfile.ZipInfo, title: str) -> None:
    name = entry.filename
    windows = PureWindowsPath(name)  # takes both kinds of slash
    if windows.is_absolute() or windows.drive or windows.root or ".." in windows.parts:
        raise UsageError(
            f"{title} has the path {name!r}, which leads out of the zip's own folder. No honest tool makes such a zip; nothing "
            "of it was used."
        )
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise UsageError(
            f"{title} has a link, {name!r}. Put the recording itself into the zip; nothing of it was used."
        )
    if entry.flag_bits & 0x1:
        raise UsageError(f"{title} is encrypted. Make a zip without a password; nothing of it was used.")


def _is_recording(name: str) -> bool:
    path = PurePosixPath(name)
    # macOS puts a "._name" beside every file, which looks like a recording and is none.
    return path.suffix.lower() in audio.AUDIO_SUFFIXES and not path.name.startswith(".")


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(exist_ok=True)
