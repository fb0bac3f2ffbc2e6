"""Recordings out of a zip that anybody may have made: nothing is written outside the folder, or beyond the limits.

No name from inside is used on disk: each recording becomes `0.wav`, `1.flac`, …, and its name is only shown. What the headers
say of sizes is not believed; bytes are counted as they come.
"""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
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
        unpacked_megabytes: of all recordings in a zip.
        files: recordings at a time.
    """

    seconds: float = 600.0
    megabytes: int = 200
    unpacked_megabytes: int = 2000
    files: int = 1000


def unpack(archive: Path, folder: Path, limits: Limits) -> tuple[list[tuple[str, Path]], int]:
    """Unpack the recordings of a zip.

    Args:
        archive: the zip.
        folder: an empty one.
        limits: how much.

    Returns:
        Name inside the zip and file of each recording, in the order of the zip; and how many other files were left out.

    Raises:
        UsageError: it is no zip, damaged, encrypted or compressed in a way Python can't undo; it has a path that leads out of
            its folder or a link; it holds too many recordings, too much, or none. Nothing is left in the folder then.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            return _unpacked(opened, archive.name, folder, limits)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        _clear(folder)
        raise UsageError(f"{archive.name} can't be unpacked: {error}. Make the zip again.") from error
    except UsageError:
        _clear(folder)
        raise


def _unpacked(opened: zipfile.ZipFile, title: str, folder: Path, limits: Limits) -> tuple[list[tuple[str, Path]], int]:
    files = [entry for entry in opened.infolist() if not entry.is_dir()]
    for entry in files:
        _refuse_hostile(entry, title)
    recordings = [entry for entry in files if _is_recording(entry.filename)]
    if not recordings:
        raise UsageError(f"{title} has no recordings ({', '.join(sorted(audio.AUDIO_SUFFIXES))}).")
    if len(recordings) > limits.files:
        raise UsageError(f"{title} has {len(recordings)} recordings; at most {limits.files} are taken at a time.")
    left = limits.unpacked_megabytes * 10**6
    found = []
    for number, entry in enumerate(recordings):
        path = folder / f"{number}{PurePosixPath(entry.filename).suffix.lower()}"
        with opened.open(entry) as source, open(path, "wb") as target:
            while block := source.read(_BLOCK_BYTES):
                left -= len(block)
                if left < 0:
                    raise UsageError(
                        f"{title} holds more than {limits.unpacked_megabytes} MB when it is unpacked; that much is not taken "
                        "at a time. Send it in parts, or use: emoviews predict MODEL FOLDER"
                    )
                target.write(block)
        found.append((entry.filename, path))
    return found, len(files) - len(recordings)


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
