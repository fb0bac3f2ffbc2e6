"""Extracted views on disk: content-addressed, unpadded, memory-mapped, resumable.

    STORE/
      sources/<writer>.jsonl            which file, size, time and segment holds which audio (a cache; may be deleted)
      <view>-<fingerprint>/
        spec.json                       everything that determined the arrays, and the store's format version
        <writer>-<number>.safetensors   a shard: one tensor an utterance, its name the hash of the audio (and in a store of
                                        int8 a second one, its name ending in `.scale`)

An utterance is keyed by a hash of its decoded samples, so a corpus that moved, or a recording that two tables share, is not
extracted twice. A shard is written under a temporary name and renamed, so it appears whole or not at all; it describes itself
(ids, shapes, a checksum an utterance), and the index is nothing but the shards' headers. Writers never touch each other's
files, so several processes may fill one store, also on a network folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import math
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow
import safetensors.numpy
from numpy.typing import NDArray

from emoviews.errors import StoreError
from emoviews.types import FRAMES, ViewSpec

FORMAT: Final = 1
"""Version of the layout above; a store of another version is refused."""

SPEC: Final = "spec.json"

_DTYPE_NAMES: Final = {"float16": "F16", "float32": "F32", "int8": "I8"}  # what safetensors calls them
_SCALE: Final = ".scale"
_FLOAT16_MAXIMUM: Final = float(np.finfo(np.float16).max)


def to_storage(values: NDArray[np.float32], spec: ViewSpec) -> NDArray[Any]:
    """The array as `ViewStore.add` takes it: float16 or float32, as the view's specification says; float32 for int8.

    Raises:
        StoreError: a value does not fit float16 (more than 65 504 in magnitude).
    """
    if spec.dtype == "float16" and (largest := float(np.abs(values).max(initial=0.0))) > _FLOAT16_MAXIMUM:
        raise StoreError(
            f"The view {spec.name!r} has a value of {largest:.4g}, which overflows the float16 it is stored in "
            f"(at most {_FLOAT16_MAXIMUM:g})."
        )
    return np.ascontiguousarray(values, dtype=_given_as(spec))


def _given_as(spec: ViewSpec) -> str:
    return "float32" if spec.dtype == "int8" else spec.dtype


def quantised(values: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Whole numbers from -127 to 127 and what to multiply them by, one scale for each layer of the utterance.

    The largest magnitude of a layer becomes 127, so the error of a value is at most half of a 127th of that.

    Args:
        values: `(layers, frames, features)`, or `(frames, features)`, which is one layer.

    Returns:
        `values`' shape, and `(layers,)`; 1 for a layer of zeros.

    >>> quantised(np.array([[0.5, -2.0]], dtype=np.float32))[0].tolist()
    [[32, -127]]
    """
    layers = values.reshape(len(values) if values.ndim == 3 else 1, -1)
    largest = np.abs(layers).max(axis=1)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    whole = np.rint(layers / scale[:, None]).clip(-127, 127).astype(np.int8)
    return whole.reshape(values.shape), scale


@dataclass(frozen=True)
class _Entry:
    """Where an utterance lies: shard number, first byte, shape, checksum, first byte of its scales (-1: it has none)."""

    shard: int
    start: int
    shape: tuple[int, ...]
    checksum: int
    scale_start: int


class ViewStore:
    """One view's folder of a store: `key → array`, read through memory maps.

    >>> import tempfile
    >>> spec = ViewSpec("demo", 1, {}, ("features",), (3,), "float32", None)
    >>> folder = tempfile.TemporaryDirectory()
    >>> view = ViewStore(Path(folder.name), spec)
    >>> view.add({"a": np.arange(3, dtype=np.float32)})
    >>> view["a"]
    array([0., 1., 2.], dtype=float32)
    >>> folder.cleanup()
    """

    def __init__(self, root: str | Path, spec: ViewSpec) -> None:
        """Open (nothing is created until something is added).

        Raises:
            StoreError: the folder was written in another format version, or a shard is damaged.
        """
        self.spec = spec
        self.folder = Path(root) / f"{spec.name}-{spec.fingerprint}"
        self._writer = f"{os.getpid():x}{uuid.uuid4().hex[:8]}"
        self._written = 0
        self._shards: list[tuple[Path, int]] = []  # with their sizes in bytes
        self._known: set[str] = set()
        self._maps: dict[int, NDArray[np.uint8]] = {}
        self._entries: dict[str, _Entry] = {}
        self._checked: set[str] = set()
        self._check_format()
        self.refresh()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def refresh(self) -> None:
        """Take in shards that this or another process has added since.

        Raises:
            StoreError: a shard is damaged; the message names it.
        """
        names = {name for name in _listed(self.folder) if name.endswith(".safetensors")}
        for name in sorted(names - self._known):
            with contextlib.suppress(FileNotFoundError):  # deleted since it was listed
                self._index(self.folder / name)

    def __getitem__(self, key: str) -> NDArray[Any]:
        """The utterance's array, a read-only view of the map; of int8 a copy in float32.

        Raises:
            KeyError: the store lacks the utterance.
            StoreError: its bytes are not what was written.
        """
        values, scale = self.stored(key)
        if scale is None:
            return values
        return values.astype(np.float32) * scale.reshape(-1, *[1] * (values.ndim - 1))

    def stored(self, key: str) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
        """The utterance's array as it lies in the map, read-only, and what to multiply each layer by (`quantised`) or None.

        Its checksum is compared at the first touch.

        Raises:
            KeyError: the store lacks the utterance.
            StoreError: its bytes are not what was written.
        """
        entry = self._entries[key]
        dtype, shard = np.dtype(self.spec.dtype), self._map(entry.shard)
        raw = shard[entry.start : entry.start + math.prod(entry.shape) * dtype.itemsize]
        scale = None
        if entry.scale_start >= 0:
            layers = entry.shape[0] if len(entry.shape) == 3 else 1
            scale = shard[entry.scale_start : entry.scale_start + 4 * layers].copy().view(np.float32)
        if key not in self._checked:
            if _checksum(raw, scale) != entry.checksum:
                raise _damaged(self._shards[entry.shard][0], f"the bytes of {key} do not match their checksum")
            self._checked.add(key)
        return raw.view(dtype).reshape(entry.shape), scale

    def lengths(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """Frames of each utterance, `(len(keys),)`; 1 for a view without frames. Nothing but the index is read."""
        if FRAMES not in self.spec.axes:
            return np.ones(len(keys), dtype=np.int64)
        axis = self.spec.axes.index(FRAMES)
        return np.array([self._entries[key].shape[axis] for key in keys], dtype=np.int64)

    def add(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write one shard with these utterances (arrays as `to_storage` gives them); those already there are left out.

        Raises:
            StoreError: the disk is full or the folder can't be written. Nothing is left half-written.
            ValueError: an array is not of the type and shape that the view's specification declares.
        """
        new = {key: np.ascontiguousarray(array) for key, array in arrays.items() if key not in self._entries}
        expected, kept = _given_as(self.spec), self.spec.dtype
        stored = kept if expected == kept else f"{kept}, from {expected},"
        for key, array in new.items():  # a shard that no reader accepts must not come into being
            if array.dtype != expected or not _fits(array.shape, self.spec):
                raise ValueError(
                    f"{key} is {array.dtype} of shape {array.shape}; {self.spec.name!r} is stored as {stored} of shape "
                    f"{self.spec.shape} (0: any length)."
                )
        if not new:
            return
        scales: dict[str, NDArray[np.float32]] = {}
        if self.spec.dtype == "int8":
            for key, array in new.items():
                new[key], scales[key] = quantised(array)
        checksums = {key: _checksum(array, scales.get(key)) for key, array in new.items()}
        metadata = {"format": str(FORMAT), "fingerprint": self.spec.fingerprint, "crc32": json.dumps(checksums)}
        blob = safetensors.numpy.save(new | {key + _SCALE: scale for key, scale in scales.items()}, metadata)
        path = self.folder / f"{self._writer}-{self._written:06d}.safetensors"
        try:
            self._write_spec()
            write_atomically(path, blob)
        except OSError as error:
            raise write_failed(path, error, len(blob)) from error
        self._written += 1
        self._index(path)

    def verify(self) -> list[str]:
        """Compare every utterance with its checksum; one sentence for each that is damaged, empty if all is well."""
        problems = []
        for key in self._entries:
            self._checked.discard(key)
            try:
                self[key]
            except StoreError as error:
                problems.append(str(error))
        return problems

    def _check_format(self) -> None:
        path = self.folder / SPEC
        try:
            found = json.loads(path.read_text(encoding="utf-8"))["format"]
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise _unreadable(path, error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{path} is damaged: it should be a JSON object with the store's 'format'. Delete the folder {self.folder} "
                "and run `emoviews extract` again."
            ) from error
        if found != FORMAT:
            raise self._other_format(found)

    def _write_spec(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / SPEC
        if not path.exists():
            write_atomically(path, json.dumps({"format": FORMAT, **dataclasses.asdict(self.spec)}, indent=1).encode())

    def _index(self, path: Path) -> None:
        """Take a shard's utterances into the index: its header is read and its size checked, before anything maps it."""
        try:
            size, found = _read_header(path, self.spec)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unreadable(path, error) from error
        except _OtherFormatError as error:
            raise self._other_format(error.found) from error
        except ValueError as error:
            raise _damaged(path, str(error)) from error
        number = len(self._shards)
        self._shards.append((path, size))
        self._known.add(path.name)
        for key, place in found.items():
            self._entries.setdefault(key, _Entry(number, *place))

    def _map(self, number: int) -> NDArray[np.uint8]:
        """The bytes of a shard; its size is compared once more, since reading a map beyond a file's end kills a process."""
        if number not in self._maps:
            path, size = self._shards[number]
            try:
                # Not np.memmap, which keeps a file descriptor a map: a store of a thousand shards would run out of them.
                with pyarrow.memory_map(os.fsencode(path)) as file:
                    found = file.size()
                    buffer = file.read_buffer() if found == size else None
            except OSError as error:
                raise _unreadable(path, error) from error
            if buffer is None:
                raise _damaged(path, f"it has {found} bytes, and had {size} when it was opened")
            self._maps[number] = np.frombuffer(buffer, dtype=np.uint8)
        return self._maps[number]

    def _other_format(self, found: object) -> StoreError:
        return StoreError(
            f"{self.folder} has store format {found}; this version of EmoViews reads and writes format {FORMAT}. "
            "Use the version that wrote it, or extract into another folder."
        )


class _OtherFormatError(Exception):
    """A shard is of another version of the layout."""

    def __init__(self, found: object) -> None:
        self.found = found


def _checksum(values: NDArray[Any], scale: NDArray[np.float32] | None) -> int:
    found = zlib.crc32(values.data)
    return found if scale is None else zlib.crc32(scale.data, found)


def _read_header(path: Path, spec: ViewSpec) -> tuple[int, dict[str, tuple[int, tuple[int, ...], int, int]]]:
    """Size of a shard in bytes, and each utterance's place (as in `_Entry`, without the shard), all from its header.

    Raises:
        OSError: the file can't be read.
        ValueError: it is no whole shard of this view.
        _OtherFormatError: it is one in another format.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        header_bytes = int.from_bytes(file.read(8), "little")
        if header_bytes > size - 8:
            raise ValueError(f"it is cut off, with {size} bytes")
        blob = file.read(header_bytes)
    try:
        header = json.loads(blob)
        metadata = header.pop("__metadata__")
        if metadata["format"] != str(FORMAT):
            raise _OtherFormatError(metadata["format"])
        checksums, fingerprint = json.loads(metadata["crc32"]), metadata["fingerprint"]
        end = 8 + header_bytes + max(item["data_offsets"][1] for item in header.values())
        begin = {key: 8 + header_bytes + item["data_offsets"][0] for key, item in header.items()}
        scaled = spec.dtype == "int8"
        values = {key: item for key, item in header.items() if not (scaled and key.endswith(_SCALE))}
        dtypes = {item["dtype"] for item in values.values()}
        found = {
            key: (begin[key], tuple(item["shape"]), checksums[key], begin[key + _SCALE] if scaled else -1)
            for key, item in values.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its header can't be read ({type(error).__name__}: {error})") from error
    if fingerprint != spec.fingerprint:
        raise ValueError(f"it belongs to an extraction with fingerprint {fingerprint}, not {spec.fingerprint}")
    if size != end:
        raise ValueError(f"it has {size} bytes, its header says {end}")
    if dtypes != {_DTYPE_NAMES[spec.dtype]}:
        raise ValueError(f"its tensors are {', '.join(sorted(dtypes))}, expected {_DTYPE_NAMES[spec.dtype]}")
    if strange := [shape for _, shape, _, _ in found.values() if not _fits(shape, spec)]:
        raise ValueError(f"it has a tensor of shape {strange[0]}, expected {spec.shape} (0: any length)")
    return size, found


def _fits(shape: tuple[int, ...], spec: ViewSpec) -> bool:
    """Whether an array of this shape can be one of the view's; every axis has at least one entry."""
    return len(shape) == len(spec.shape) and all(
        got > 0 and expected in (0, got) for got, expected in zip(shape, spec.shape, strict=True)
    )


def _listed(folder: Path) -> list[str]:
    """Names in a folder, sorted; none where it does not exist.

    Raises:
        StoreError: it can't be read.
    """
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unreadable(folder, error) from error


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(
        f"The shard {path} is damaged: {why}. Delete that file and run `emoviews extract` again; only its utterances are "
        "computed anew."
    )


def _unreadable(path: Path, error: OSError) -> StoreError:
    """For what is perhaps whole, so that nobody is told to delete it."""
    return StoreError(f"{path} can't be read: {error.strerror or error}.")


@dataclass(frozen=True)
class Source:
    """One stretch of one file, as the cache of sources knows it.

    Attributes:
        path, size, mtime_ns: the file as it was.
        start_seconds, end_seconds, channel: the segment; NaN where the table names none.
        key: hash of its decoded samples, empty if it could not be decoded.
        duration_seconds: of the decoded segment.
        error: why it could not be used, empty if it could.
    """

    path: str
    size: int
    mtime_ns: int
    start_seconds: float
    end_seconds: float
    channel: float
    key: str = ""
    duration_seconds: float = 0.0
    error: str = ""

    @property
    def place(self) -> tuple[object, ...]:
        """Path and segment, whatever the file holds."""
        return (self.identity[0], *self.identity[3:])

    @property
    def identity(self) -> tuple[object, ...]:
        """What must agree for the cached key to hold (NaN, which equals nothing, becomes None)."""
        numbers = (self.start_seconds, self.end_seconds, self.channel)
        return (self.path, self.size, self.mtime_ns, *(None if math.isnan(n) else n for n in numbers))


class Sources:
    """The cache `file, size, time, segment → hash of the audio`: lets a table be found in the store without decoding it.

    Each writer appends to a file of its own; a line cut short by a kill is passed over. Where two speak of one recording,
    the later one holds: it may have succeeded where the other failed.
    """

    def __init__(self, root: str | Path) -> None:
        self.folder = Path(root) / "sources"
        self._known: dict[tuple[object, ...], tuple[float, Source]] = {}  # with the time when it was noted
        self._pending: list[str] = []
        self._own = self.folder / f"{os.getpid():x}{uuid.uuid4().hex[:8]}.jsonl"
        self._read: dict[str, int] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take in what other processes have added since.

        Raises:
            StoreError: the folder can't be read.
        """
        for name in _listed(self.folder):
            if not name.endswith(".jsonl") or name == self._own.name:
                continue
            start = self._read.get(name, 0)
            try:
                with (self.folder / name).open("rb") as file:
                    file.seek(start)
                    blob = file.read()
            except FileNotFoundError:  # deleted since it was listed, which is allowed
                continue
            except OSError as error:
                raise _unreadable(self.folder / name, error) from error
            whole = blob[: blob.rfind(b"\n") + 1]  # a line that is being written is read next time
            self._read[name] = start + len(whole)
            for line in whole.split(b"\n"):
                # What can't be understood is a line of a killed writer, or of another version.
                with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
                    entry = json.loads(line)
                    noted, source = float(entry.pop("noted")), Source(**entry)
                    if noted >= self._known.get(source.identity, (-math.inf, source))[0]:
                        self._known[source.identity] = noted, source

    def find(self, source: Source) -> Source | None:
        """The cached entry of the same file, size, time and segment, if there is one."""
        known = self._known.get(source.identity)
        return None if known is None else known[1]

    def latest(self) -> dict[tuple[object, ...], Source]:
        """Path and segment (`Source.place`) → the latest usable entry, whatever the file's size and time then were."""
        usable = sorted((entry for entry in self._known.values() if not entry[1].error), key=lambda entry: entry[0])
        return {source.place: source for _, source in usable}

    def add(self, source: Source) -> None:
        """Remember a source; on disk after `flush`. What is known already, e.g. an earlier failure, is not written twice."""
        known = self.find(source)
        if known is None or (known.key, known.error) != (source.key, source.error):
            now = time.time()
            self._known[source.identity] = now, source
            self._pending.append(json.dumps({"noted": now, **vars(source)}) + "\n")

    def flush(self) -> None:
        """Append what is pending to this writer's file.

        Raises:
            StoreError: the disk is full or the folder can't be written.
        """
        if not self._pending:
            return
        text = "".join(self._pending)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._own.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise write_failed(self._own, error, len(text)) from error
        self._pending.clear()


def write_atomically(path: Path, blob: bytes) -> None:
    """Write a file that appears whole or not at all, and is on the disk when this returns.

    Raises:
        OSError: it can't be written; nothing is left of it. `write_failed` makes a message of it.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    with contextlib.suppress(OSError):  # not every system opens folders; then its own time of writing them has to do
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_failed(path: Path, error: OSError, size: int) -> StoreError:
    """The message for a failed write: a full disk is the usual reason, and says how much was wanted."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        folder = next(p for p in path.parents if p.exists())
        free = shutil.disk_usage(folder).free
        return StoreError(
            f"No space left for {path}: {size / 1e6:.1f} MB wanted, {free / 1e6:.1f} MB free. What was written before is "
            "kept; make room and run the same command again, it goes on from there."
        )
    return StoreError(f"{path} can't be written: {error.strerror or error}.")


def remove_leftovers(folder: Path, older_than_seconds: float = 86_400.0) -> None:
    """Delete temporary files that a killed writer left behind more than a day ago."""
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > older_than_seconds:
                path.unlink()
