"""Any recording or array → float32 `(samples,)` at 16 000 Hz (the paper, section 3.2): the one way audio enters.

Files are decoded block by block, and only the segment that is asked for, so that a stretch of a 3-hour file costs the
memory of the stretch. libsndfile reads wav, flac, ogg, mp3 and their like; PyAV (the extra `[video]`) reads mp4, m4a
and what else holds sound beside pictures. Both are held to one rule: a segment equals the same slice of the whole
decode, whatever the codec, so that utterances cut from one file tile it without gaps or overlaps (but for the noise
that AAC's decoder makes up by chance where the encoder says "noise here": it differs with the place where decoding
starts).

What is wrong with a recording is an `AudioError` that names the file; a wrong argument is a `UsageError`. A wav, flac,
mp3 or mp4 that ends before its header says (a copy that broke off) is refused, with both numbers, when the missing
part is asked for; ogg declares no length, and of the rarer formats libsndfile reads what is there.
"""

from __future__ import annotations

import hashlib
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import soundfile
import soxr
from numpy.typing import ArrayLike, NDArray

from emoviews.errors import AudioError, MissingExtraError, UsageError
from emoviews.types import SAMPLING_RATE

PREPARATION: Final = "1: mean of the channels, or the one named; soxr HQ to 16000 Hz; float32"
"""What happens to audio before a view sees it. Part of every view's fingerprint: change it when samples change."""

MINIMUM_SECONDS: Final = 0.1
"""Less than this is not an utterance: a few frames, from which no view can be computed with sense."""

SILENCE_PEAK: Final = 1e-4
"""A recording whose peak, its mean removed, is below this (-80 dBFS, about 3 steps of 16-bit audio) is silent."""

TOLERANCE_SECONDS: Final = 0.1
"""How far a table's `end_seconds` or a file's header may exceed the audio: rounding and codec padding, not an error."""

SOUNDFILE_SUFFIXES: Final = frozenset(
    {".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64"}
    | {".rf64", ".sph", ".nist"}
)
"""Suffixes of what libsndfile reads."""

VIDEO_SUFFIXES: Final = frozenset(
    {".mp4", ".m4a", ".m4v", ".mov", ".3gp", ".aac", ".webm", ".mkv", ".mka", ".avi", ".wma", ".amr"}
)
"""Suffixes of what is read through PyAV, the extra `[video]`."""

AUDIO_SUFFIXES: Final = SOUNDFILE_SUFFIXES | VIDEO_SUFFIXES
"""Suffixes, lower case and with their dot, by which a folder's recordings are found. Reading goes by content."""

_BLOCK_VALUES: Final = 2**16
"""Values decoded at a time, all channels together: small beside any segment, large beside the cost of a call."""

_RATES: Final = (1_000, 1_000_000)
"""Hz. A header beyond these lies, and resampling would turn a small file into one that fills the memory."""


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says.

    Attributes:
        duration_seconds: length of the whole file.
        sampling_rate: the file's own, in Hz.
        channels: their number.
        n_samples: samples a channel, at `sampling_rate`.
    """

    duration_seconds: float
    sampling_rate: int
    channels: int
    n_samples: int


@dataclass(frozen=True)
class Decoded:
    """Mono audio at its file's own rate.

    Attributes:
        samples: `(samples,)` float32.
        sampling_rate: in Hz.
    """

    samples: NDArray[np.float32]
    sampling_rate: int


def probe(path: str | os.PathLike[str]) -> AudioInfo:
    """Read a file's rate, channels and length from its header.

    The length is what the header declares: `decode` finds out whether it is true. Only where a header gives none that
    can be trusted (flac written to a pipe, mp3 without a length tag, mkv, webm, raw aac) is it counted by decoding,
    which takes time but no memory.

    Raises:
        AudioError: the file is missing, a folder, empty, or no audio that can be read.
        MissingExtraError: the file needs PyAV, which is not installed.
    """
    with closing(_open(Path(path))) as source:
        n_samples = source.n_samples
        if n_samples is None:
            n_samples = sum(len(block) for block in source.blocks(0, None))
        rate = source.sampling_rate
        return AudioInfo(n_samples / rate, rate, source.channels, n_samples)


def sampling_rate(path: str | os.PathLike[str]) -> int:
    """A file's own, in Hz, from its header; errors as `probe`, which may have to decode the file to know its length."""
    with closing(_open(Path(path))) as source:
        return source.sampling_rate


def decode(
    path: str | os.PathLike[str],
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    channel: float | None = None,
) -> Decoded:
    """Decode a file, or a segment of it, to mono at the file's own rate.

    A time t is sample round(t * rate), so that segments which share a boundary tile the file. What is decoded is not
    judged: silence and values that are not finite come back as they are (`load` refuses them).

    Args:
        path: of the file.
        start_seconds: where the segment starts; None or NaN for the file's start.
        end_seconds: where it ends (excluded); None or NaN for the file's end. At most 0.1 s beyond the end is cut off.
        channel: the one to take, counted from 0; None or NaN for the mean of all.

    Raises:
        AudioError: the file is missing, a folder, empty, no audio that can be read, or shorter than its header
            declares; it has no such channel; the segment lies beyond its end.
        UsageError: a negative time or channel, or an end that is not after its start.
        MissingExtraError: the file needs PyAV, which is not installed.
    """
    cut = _Cut.of(start_seconds, end_seconds, channel)
    with closing(_open(Path(path))) as source:
        samples = _gather(_mono_blocks(source, cut), cut.length(source))
        return Decoded(samples, source.sampling_rate)


def prepare(samples: ArrayLike, sampling_rate: float) -> NDArray[np.float32]:
    """Turn an array into what views take: float32 `(samples,)` at 16 000 Hz.

    Args:
        samples: `(samples,)` or `(samples, channels)`, whose mean is taken. Floats are taken as they are; signed
            integers of b bits are divided by 2**(b-1), unsigned ones are moved down by as much before (8-bit wav), so
            that both lie in [-1, 1).
        sampling_rate: of `samples`, in Hz.

    Returns:
        round(n * 16000 / sampling_rate) samples. Audio that is float32, mono and at 16 000 Hz already comes back as it
        is, not copied.

    Raises:
        UsageError: another shape or type, more channels than samples, or a sampling rate that is none.

    >>> prepare(np.array([[16384, 0], [-32768, 0]], dtype=np.int16), 16_000)
    array([ 0.25, -0.5 ], dtype=float32)
    """
    array = np.asarray(samples)
    if array.ndim not in (1, 2) or 0 in array.shape[1:]:
        raise UsageError(f"Expected audio of shape (samples,) or (samples, channels), got {array.shape}.")
    if array.ndim == 2 and 0 < array.shape[0] < array.shape[1]:
        raise UsageError(f"Expected audio of shape (samples, channels), got {array.shape}: transpose it.")
    if not _RATES[0] <= sampling_rate <= _RATES[1]:
        raise UsageError(f"Expected a sampling rate of {_RATES[0]} to {_RATES[1]} Hz, got {sampling_rate:g}.")
    mono = _mix(_as_float32(array[:, None] if array.ndim == 1 else array), None)
    if sampling_rate == SAMPLING_RATE:
        return mono
    resampled: NDArray[np.float32] = soxr.resample(mono, sampling_rate, SAMPLING_RATE, quality="HQ")
    return resampled


def load(
    path: str | os.PathLike[str],
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    channel: float | None = None,
) -> NDArray[np.float32]:
    """Decode a file or a segment of it, resample it to 16 000 Hz and make sure that it can be used.

    The same as `decode`, `prepare` and `check_usable` one after the other, but resampled while it is decoded: a long
    segment takes the memory of its 16 000 Hz samples alone. Beyond a segment's edges the resampling filter sees zeros.

    Args:
        path: of the file.
        start_seconds: see `decode`.
        end_seconds: see `decode`.
        channel: see `decode`.

    Returns:
        `(samples,)` float32 at 16 000 Hz, finite, not silent, at least 0.1 s long.

    Raises:
        AudioError: as `decode` and `check_usable`.
        UsageError: as `decode`.
        MissingExtraError: as `decode`.
    """
    cut = _Cut.of(start_seconds, end_seconds, channel)
    with closing(_open(Path(path))) as source:
        blocks, expected = _mono_blocks(source, cut), cut.length(source)
        if source.sampling_rate != SAMPLING_RATE:
            blocks = _resample(blocks, source.sampling_rate)
            expected = None if expected is None else math.ceil(expected * SAMPLING_RATE / source.sampling_rate)
        samples = _gather(blocks, expected)
    check_usable(samples, f"{path}{cut}")
    return samples


def at_speed(samples: NDArray[np.float32], speed: float) -> NDArray[np.float32]:
    """Play a recording faster or slower: its pitch and its formants move with its tempo.

    Args:
        samples: `(samples,)` float32 at 16 000 Hz.
        speed: how many times as fast, above 0.

    Returns:
        `(samples / speed,)` float32 at 16 000 Hz, filled up with zeros to `MINIMUM_SECONDS`.

    >>> len(at_speed(np.ones(16_000, dtype=np.float32), 2.0))
    8000
    """
    played: NDArray[np.float32] = soxr.resample(samples, SAMPLING_RATE * speed, SAMPLING_RATE, quality="HQ")
    missing = math.ceil(MINIMUM_SECONDS * SAMPLING_RATE) - len(played)
    return np.pad(played, (0, missing)) if missing > 0 else played


def content_hash(samples: NDArray[np.float32], sampling_rate: int) -> str:
    """32 hexadecimal digits (BLAKE2b) over decoded samples and their rate: names a recording by what is heard.

    The same on every machine, whatever the file is called and however it was stored without loss.

    Args:
        samples: `(samples,)` float32, as `decode` returns them.
        sampling_rate: in Hz.
    """
    digest = hashlib.blake2b(f"{sampling_rate} Hz float32 ".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(samples, dtype="<f4").data)
    return digest.hexdigest()


def check_usable(samples: NDArray[np.float32], what: str = "The recording") -> None:
    """Refuse audio from which no view can be computed.

    Args:
        samples: `(samples,)` float32 at 16 000 Hz.
        what: how the message calls it, e.g. the path.

    Raises:
        AudioError: no samples, less than `MINIMUM_SECONDS`, values that are not finite, or a peak below `SILENCE_PEAK`
            once the mean (a constant offset, which is no sound) is removed.

    >>> check_usable(np.zeros(16_000, dtype=np.float32), "silence.wav")
    Traceback (most recent call last):
    emoviews.errors.AudioError: silence.wav is silent: all its samples are 0. Leave it out, ...
    """
    if samples.size == 0:
        raise AudioError(f"{what} has no samples. Leave it out, or correct its segment.")
    seconds = samples.size / SAMPLING_RATE
    if seconds < MINIMUM_SECONDS:
        raise AudioError(
            f"{what} is {seconds:.3g} s long ({samples.size} samples at {SAMPLING_RATE} Hz); at least {MINIMUM_SECONDS} s are "
            "needed. Leave it out, or widen its segment."
        )
    lowest, highest = float(samples.min()), float(samples.max())  # a NaN anywhere makes both NaN
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        bad = np.flatnonzero(~np.isfinite(samples))
        raise AudioError(
            f"{what} has {bad.size} samples of {samples.size} that are not finite (NaN or infinite), the first near "
            f"{bad[0] / SAMPLING_RATE:.3f} s. Leave it out, or export it again."
        )
    mean = float(samples.mean(dtype=np.float64))
    if (peak := max(highest - mean, mean - lowest)) < SILENCE_PEAK:
        found = (
            f"all its samples are {lowest:g}" if lowest == highest else f"its peak is {20 * math.log10(peak):.0f} dBFS"
        )
        raise AudioError(f"{what} is silent: {found}. Leave it out, or choose another channel or segment.")


def crop(samples: NDArray[np.float32], n_samples: int) -> NDArray[np.float32]:
    """The first `n_samples` of `(samples,)`, or all there are; a view, not a copy.

    Raises:
        UsageError: `n_samples` is less than 1.
    """
    if n_samples < 1:
        raise UsageError(f"Expected a length of at least 1 sample, got {n_samples}.")
    return samples[:n_samples]


def crop_or_pad(samples: NDArray[np.float32], n_samples: int) -> NDArray[np.float32]:
    """Cut `(samples,)` at the end, or add zeros there, to exactly `n_samples` (the paper: 15 s, section 3.2).

    Raises:
        UsageError: `n_samples` is less than 1.

    >>> crop_or_pad(np.ones(2, dtype=np.float32), 3), crop_or_pad(np.ones(4, dtype=np.float32), 3)
    (array([1., 1., 0.], dtype=float32), array([1., 1., 1.], dtype=float32))
    """
    cropped = crop(samples, n_samples)
    return np.pad(cropped, (0, n_samples - len(cropped))) if len(cropped) < n_samples else cropped


# --- from seconds and channels to blocks of mono samples ------------------------------------------------------------------


@dataclass(frozen=True)
class _Cut:
    """Which part of a file: checked, and free of NaN."""

    start_seconds: float | None
    end_seconds: float | None
    channel: int | None

    @classmethod
    def of(cls, start_seconds: float | None, end_seconds: float | None, channel: float | None) -> _Cut:
        start, end, channel = (None if v is None or math.isnan(v) else v for v in (start_seconds, end_seconds, channel))
        for name, value in (("start_seconds", start), ("end_seconds", end)):
            if value is not None and not 0 <= value < math.inf:
                raise UsageError(f"Expected {name} of 0 or more, got {value:g}.")
        if end is not None and end <= (start or 0.0):
            raise UsageError(f"Expected end_seconds after start_seconds, got {start or 0.0:g} to {end:g}.")
        if channel is not None and (channel < 0 or channel % 1):
            raise UsageError(f"Expected a channel number (0, 1, ...), got {channel:g}.")
        return cls(start, end, None if channel is None else int(channel))

    def __str__(self) -> str:
        """What follows the path in a message."""
        parts = []
        if self.start_seconds is not None or self.end_seconds is not None:
            end = "its end" if self.end_seconds is None else f"{self.end_seconds:g} s"
            parts.append(f"{self.start_seconds or 0.0:g} s to {end}")
        if self.channel is not None:
            parts.append(f"channel {self.channel}")
        return f" ({', '.join(parts)})" if parts else ""

    def samples(self, sampling_rate: int) -> tuple[int, int | None]:
        """First sample, and the one after the last (None: the file's end)."""
        stop = None if self.end_seconds is None else round(self.end_seconds * sampling_rate)
        return round((self.start_seconds or 0.0) * sampling_rate), stop

    def length(self, source: _Source) -> int | None:
        """Samples to expect; None where the file does not say. A bound for memory, never a claim to believe."""
        start, stop = self.samples(source.sampling_rate)
        ends = [end for end in (stop, source.n_samples) if end is not None]
        return max(0, min(ends) - start) if ends else None


def _mono_blocks(source: _Source, cut: _Cut) -> Iterator[NDArray[np.float32]]:
    """The cut's samples, block by block, and a check at the end that they are all there."""
    if cut.channel is not None and cut.channel >= source.channels:
        have = "one channel, 0" if source.channels == 1 else f"channels 0 to {source.channels - 1}"
        raise AudioError(f"{source.path} has no channel {cut.channel}; it has {have} (counted from 0).")
    start, stop = cut.samples(source.sampling_rate)
    reached = start
    for block in source.blocks(start, stop):
        reached += len(block)
        yield _mix(block, cut.channel)
    _check_extent(source, cut, start, stop, reached)


def _check_extent(source: _Source, cut: _Cut, start: int, stop: int | None, reached: int) -> None:
    """Refuse a file that ended before it said, and a segment that lies beyond the file's end."""
    rate, declared, path = source.sampling_rate, source.n_samples, source.path
    if stop is not None and stop <= start:
        raise AudioError(f"{path}{cut}: the segment is shorter than one sample at {rate} Hz. Correct its times.")
    if stop is not None and reached >= stop:
        return
    tolerance = round(TOLERANCE_SECONDS * rate)
    wanted = min((end for end in (stop, declared) if end is not None), default=reached)
    if declared is not None and start < declared and reached + tolerance < wanted:
        raise AudioError(_cut_off(path, source.n_readable(reached), declared, rate))
    if reached == start:
        if start == 0:
            size = path.stat().st_size
            raise AudioError(
                f"{path} has no samples, in a file of {size} bytes. If that is a recording that broke off, ffmpeg can write "
                "its header anew: ffmpeg -i FILE NEW.wav"
            )
        length = "" if declared is None else f", which is {declared / rate:.3f} s long"
        raise AudioError(
            f"{path}{cut}: the segment starts at or beyond the end of the file{length}. Correct its times."
        )
    if stop is not None and reached + tolerance < stop:
        raise AudioError(
            f"{path}{cut}: the segment ends beyond the end of the file, which is {reached / rate:.3f} s long. "
            "Correct its times."
        )


def _cut_off(path: Path, decoded: int, declared: int | None, rate: int, reason: str = "") -> str:
    declares = "no length" if declared is None else f"{declared} samples ({declared / rate:.2f} s)"
    return (
        f"{path} is damaged or cut off: its header declares {declares}, and {decoded} samples ({decoded / rate:.2f} s) can be "
        f"decoded{reason}. Get a whole copy, or save it again, cut there."
    )


def _reason(error: Exception) -> str:
    """What libsndfile or FFmpeg says, without its prefix, number and path."""
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return str(text).removeprefix("Error : ").rstrip(".")


def _mix(block: NDArray[np.float32], channel: int | None) -> NDArray[np.float32]:
    """`(samples, channels)` → contiguous `(samples,)`: one channel, or the mean of all."""
    if channel is not None or block.shape[1] == 1:
        return np.ascontiguousarray(block[:, channel or 0])
    mixed = block[:, 0].copy()
    for other in block.T[1:]:  # several times faster than a mean over so short an axis
        mixed += other
    mixed /= np.float32(block.shape[1])
    return mixed


def _as_float32(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Any real numbers → float32; integers to [-1, 1)."""
    half = 2.0 ** (8 * samples.dtype.itemsize - 1)
    if samples.dtype.kind == "f":
        return samples.astype(np.float32, copy=False)
    if samples.dtype.kind == "i":
        return samples.astype(np.float32) / np.float32(half)
    if samples.dtype.kind == "u":
        return ((samples.astype(np.float64) - half) / half).astype(np.float32)
    raise UsageError(f"Expected audio as floats or integers, got {samples.dtype}.")


def _resample(blocks: Iterable[NDArray[np.float32]], sampling_rate: int) -> Iterator[NDArray[np.float32]]:
    """The same samples as `soxr.resample` of the whole, block by block."""
    stream = soxr.ResampleStream(sampling_rate, SAMPLING_RATE, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    # Flushed by a call of its own: flushed together with a block, soxr 1.1 may end one sample short.
    yield stream.resample_chunk(np.empty(0, dtype=np.float32), last=True)


def _gather(blocks: Iterator[NDArray[np.float32]], expected: int | None) -> NDArray[np.float32]:
    """Put blocks end to end. The array grows with what really comes: `expected` only keeps it from growing too far."""
    first, second = next(blocks, np.empty(0, dtype=np.float32)), next(blocks, None)
    if second is None:
        return first  # most utterances are one block: nothing to copy
    samples, n_samples = np.empty(0, dtype=np.float32), 0
    for block in chain((first, second), blocks):
        needed = n_samples + len(block)
        if needed > len(samples):
            room = 2 * needed if expected is None or expected < needed else min(2 * needed, expected)
            samples.resize(room, refcheck=False)
        samples[n_samples:needed] = block
        n_samples = needed
    samples.resize(n_samples, refcheck=False)
    return samples


# --- the two readers ------------------------------------------------------------------------------------------------------


class _Source(ABC):
    """An open file.

    Attributes:
        path: of the file.
        sampling_rate: its own, in Hz.
        channels: their number.
        n_samples: what the header declares, None where it gives no number that means anything.
    """

    path: Path
    sampling_rate: int
    channels: int
    n_samples: int | None

    @abstractmethod
    def blocks(self, start: int, stop: int | None) -> Iterator[NDArray[np.float32]]:
        """Samples `start` to `stop` (None: the end) as `(samples, channels)` blocks, as far as there are any."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def n_readable(self, reached: int) -> int:
        """How many samples the file really has, known that reading ended at `reached`."""
        return reached

    def check_rate(self) -> None:
        """Refuse a header whose sampling rate can't be one."""
        if not _RATES[0] <= self.sampling_rate <= _RATES[1]:
            self.close()
            raise AudioError(
                f"{self.path} has a sampling rate of {self.sampling_rate} Hz in its header; expected {_RATES[0]} to "
                f"{_RATES[1]} Hz. Export it again."
            )


def _open(path: Path) -> _Source:
    """Open a file by what is in it; the suffix decides only what libsndfile does not know."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(12)
            declared_share = _declared_share_of_riff(file, head, size)
    except FileNotFoundError:
        raise AudioError(f"There is no file {path}.") from None
    except IsADirectoryError:
        raise AudioError(f"{path} is a folder; expected an audio file.") from None
    except OSError as error:
        if path.is_dir():  # Windows calls it a lack of permission
            raise AudioError(f"{path} is a folder; expected an audio file.") from None
        raise AudioError(f"{path} can't be read: {error.strerror or error}.") from error
    if size == 0:
        raise AudioError(f"{path} is empty (0 bytes). Get a whole copy, or leave it out.")
    if head[4:8] == b"ftyp" or head[:4] == b"\x1a\x45\xdf\xa3":  # the mp4 family; Matroska and WebM
        return _AvSource(path)
    try:
        return _SoundFileSource(path, declared_share)
    except soundfile.SoundFileError as error:
        if path.suffix.lower() in VIDEO_SUFFIXES:
            return _AvSource(path)
        raise AudioError(
            f"{path} is no audio that can be read, or damaged ({_reason(error)}). If it is audio, convert it to wav, e.g.: "
            "ffmpeg -i FILE NEW.wav"
        ) from error


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]
    """A `SoundFile` that is read from one place onwards.

    Soundfile seeks after every read of a file that says it is seekable. In Vorbis and mp3 that restarts the decoder,
    which changes samples at each block's start, and in a flac that is cut off it turns a short read into a failed seek.
    """

    def seekable(self) -> bool:
        return False


class _SoundFileSource(_Source):
    """A file that libsndfile reads."""

    _PREROLL: Final = {"VORBIS": 2**18, "MPEG_LAYER_III": 2**15}
    """Samples read and dropped before a segment, by subtype, where libsndfile 1.2.2 does not seek exactly.

    Vorbis (its issue 885): the first block is wrong, and on the last page the place is, by what the encoder trimmed
    there. A page holds at most 255 packets of, in practice, at most 1024 new samples: from this far back a seek ends
    on an earlier page. mp3: a frame uses bits of up to some ten frames before it; those in front of the place are not
    all read."""

    def __init__(self, path: Path, declared_share: float) -> None:
        self.path = path
        self._raw: BinaryIO | None = None
        try:
            self._file = _Sequential(os.fspath(path))
        except TypeError as error:  # `.raw`, by its name alone
            raise soundfile.SoundFileRuntimeError("samples without a header") from error
        self.sampling_rate, self.channels = self._file.samplerate, self._file.channels
        self.check_rate()
        frames = self._file.frames
        # libsndfile's "unknown" is 2**63 - 1.
        self.n_samples = max(0, round(frames * declared_share)) if frames < 2**62 else None
        if self._file.format == "MP3" and not _has_length_tag(path):
            # libsndfile then guesses the length from the first frame's bit rate and never reads beyond it. Opened
            # through Python's file object, how far it came can be seen at the end.
            self.n_samples = None
            self._file.close()
            self._raw = path.open("rb")
            self._file = _Sequential(self._raw)

    def blocks(self, start: int, stop: int | None) -> Iterator[NDArray[np.float32]]:
        file, position = self._file, 0
        if start >= file.frames and self._raw is None:
            return
        preroll = self._PREROLL.get(file.subtype, 0)
        if preroll < start < file.frames:
            try:
                position = file.seek(start - preroll)
            except soundfile.SoundFileError as error:
                declares = "no length" if self.n_samples is None else f"{self.n_samples / self.sampling_rate:.2f} s"
                raise AudioError(
                    f"{self.path} can't be read from {start / self.sampling_rate:.2f} s on ({_reason(error)}): it ends before, "
                    f"or is damaged there (its header declares {declares}). Correct the segment's times, or get a whole copy."
                ) from error
        size = max(1, _BLOCK_VALUES // self.channels)
        while stop is None or position < stop:
            ahead = min(size, file.frames - position, size if stop is None else stop - position)
            if ahead <= 0:  # also where a damaged header makes no sense
                break
            try:
                block = file.read(ahead, dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                reason = f" ({_reason(error)})"
                text = _cut_off(self.path, file.tell(), self.n_samples, self.sampling_rate, reason)
                raise AudioError(text) from error
            if len(block) == 0:
                break
            position += len(block)
            if position > start:
                yield block[max(0, start - (position - len(block))) :]
        if self._raw is not None and (stop is None or position < stop):
            self._check_all_was_read(position)

    def _check_all_was_read(self, position: int) -> None:
        assert self._raw is not None
        left = self.path.stat().st_size - self._raw.tell()
        if left > 8192:  # more than tags at the end and a frame or two
            raise AudioError(
                f"{self.path} is an mp3 of variable bit rate without the tag that gives its length: reading ends at "
                f"{position / self.sampling_rate:.2f} s with {left} bytes left. Convert it, e.g.: ffmpeg -i FILE NEW.flac"
            )

    def n_readable(self, reached: int) -> int:
        return min(reached, int(self._file.frames))

    def close(self) -> None:
        self._file.close()
        if self._raw is not None:
            self._raw.close()


def _declared_share_of_riff(file: BinaryIO, head: bytes, size: int) -> float:
    """How many times the audio in a wav file its header declares; 1 for every other file.

    libsndfile takes the smaller of what is declared and what is there, so that a wav file whose copy broke off would
    pass as a short one. Sizes close to 2 GiB and above are what programs write that don't know the length yet (ffmpeg
    to a pipe 0xFFFFFFFF, SoX 0x7FFFF000, arecord 0x80000000): there the file's length is the truth.
    """
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return 1.0
    for _ in range(64):  # a real file has a handful of chunks
        chunk = file.read(8)
        n_bytes = int.from_bytes(chunk[4:], "little")
        if len(chunk) < 8:
            break
        if chunk[:4] == b"data":
            present = size - file.tell()
            return n_bytes / present if present < n_bytes < 0x7FFF_0000 and present > 0 else 1.0
        file.seek(n_bytes + n_bytes % 2, os.SEEK_CUR)
    return 1.0


def _has_length_tag(path: Path) -> bool:
    """Whether an mp3 file has the tag that gives its length, in its first frame (behind an ID3 tag, if any)."""
    with path.open("rb") as file:
        head = file.read(10)
        id3 = 0
        if head[:3] == b"ID3":
            id3 = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        file.seek(id3)
        frame = file.read(4096)
    return any(tag in frame for tag in (b"Xing", b"Info", b"VBRI"))


class _AvSource(_Source):
    """The first sound track of a file that PyAV (FFmpeg) reads.

    The first sample that FFmpeg gives is time 0: the encoder's priming, which it drops, and a track's late start count
    for nothing.
    """

    _PREROLL_SECONDS: Final = 0.5
    """Decoded and dropped before a segment, so that the decoder's overlap and its bit reservoir have settled."""

    def __init__(self, path: Path) -> None:
        try:
            import av
        except ImportError:
            raise MissingExtraError(f"Reading {path}", package="av", extra="video") from None
        self.path = path
        self._errors = av.FFmpegError
        try:
            self._container = av.open(os.fspath(path), metadata_errors="ignore")  # tags in old encodings
        except self._errors as error:
            raise AudioError(self._damaged(error)) from error
        if not self._container.streams.audio:
            self._container.close()
            raise AudioError(f"{path} has no sound track.")
        self._stream = self._container.streams.audio[0]
        try:
            self._first = next(self._container.decode(self._stream), None)
        except self._errors as error:
            self._container.close()
            raise AudioError(self._damaged(error)) from error
        # The first frame, not the header, has the last word: HE-AAC is decoded at twice the rate that its header names.
        found = self._first or self._stream
        self.sampling_rate, self.channels = found.sample_rate, found.layout.nb_channels
        self.check_rate()
        self._samples_a_tick = float((self._stream.time_base or 0) * self.sampling_rate)
        # Only the mp4 family says to the sample where each packet stands. Elsewhere (milliseconds in Matroska and
        # WebM, bit rates in raw AAC) a seek lands somewhere near, so that segments are reached by decoding from the
        # file's start.
        self._exact = "mp4" in self._container.format.name and 0 < self._samples_a_tick <= 1
        self.n_samples = None
        if self._exact and self._stream.duration is not None:
            self.n_samples = round(self._stream.duration * self._samples_a_tick)

    def blocks(self, start: int, stop: int | None) -> Iterator[NDArray[np.float32]]:
        if self._first is None:
            return
        frames, position = self._frames_from(start)
        try:
            for frame in frames:
                if stop is not None and position >= stop:
                    break
                if frame.sample_rate != self.sampling_rate or frame.layout.nb_channels != self.channels:
                    raise AudioError(
                        f"{self.path} changes at {position / self.sampling_rate:.2f} s from {self.sampling_rate} Hz and "
                        f"{self.channels} channels to {frame.sample_rate} Hz and {frame.layout.nb_channels}. Convert it to "
                        "wav, e.g.: ffmpeg -i FILE NEW.wav"
                    )
                values = frame.to_ndarray()  # (channels, samples) where planar, else (1, samples * channels)
                block = values.T if frame.format.is_planar else values.reshape(-1, self.channels)
                first, last = max(0, start - position), len(block) if stop is None else min(len(block), stop - position)
                position += len(block)
                if first < last:
                    yield _as_float32(block[first:last])
        except self._errors as error:
            reason = f" ({_reason(error)})"
            raise AudioError(_cut_off(self.path, position, self.n_samples, self.sampling_rate, reason)) from error

    def _frames_from(self, start: int) -> tuple[Iterator[Any], int]:
        """Frames that begin at or before `start`, and the sample at which the first of them stands."""
        assert self._first is not None
        from_first = chain([self._first], self._container.decode(self._stream))
        target = start - round(self._PREROLL_SECONDS * self.sampling_rate)
        if not self._exact or self._first.pts is None or target <= self._first.samples:
            return from_first, 0
        try:
            self._container.seek(self._first.pts + int(target / self._samples_a_tick), stream=self._stream)
            frames = self._container.decode(self._stream)
            landed = next(frames, None)
        except self._errors as error:
            raise AudioError(self._damaged(error)) from error
        if landed is None or landed.pts is None:
            return iter(()), start
        return chain([landed], frames), round((landed.pts - self._first.pts) * self._samples_a_tick)

    def _damaged(self, error: Exception) -> str:
        return f"{self.path} is no sound or video that can be read, or damaged ({_reason(error)}). Get a whole copy."

    def close(self) -> None:
        self._container.close()
