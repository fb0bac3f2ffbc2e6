"""Audio: formats and rates against independent readers, physical signals, tiling segments, what bad input gets."""

from __future__ import annotations

import builtins
import math
import os
import struct
import subprocess
import sys
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import scipy.io.wavfile
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from emoviews import audio
from emoviews.audio import AudioError, crop, crop_or_pad, decode, load, prepare, probe
from emoviews.errors import EmoViewsError, MissingExtraError, UsageError

RNG = np.random.default_rng(2)
TONES = (200, 400, 600, 0, 1_000, 0)
"""Hz, one a channel. Of the low-frequency channel, the fourth of six or (ogg) the last, codecs keep little: silent."""
RATES = (8_000, 16_000, 22_050, 44_100, 48_000, 96_000)


def tone(frequency: float, rate: int, seconds: float, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)


def noise(rate: int, seconds: float, channels: int = 1) -> np.ndarray:
    values = 0.1 * RNG.standard_normal((round(rate * seconds), channels))
    return values[:, 0] if channels == 1 else values


def write(path: Path, samples: np.ndarray, rate: int, **format: str) -> Path:
    """In pieces: libsndfile 1.2.2 overflows its stack on a long Vorbis write."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(path, "w", rate, channels, **format) as file:
        for start in range(0, len(samples), 8_192):
            file.write(samples[start : start + 8_192])
    return path


def encode(path: Path, samples: np.ndarray, rate: int, codec: str = "aac", **options: str) -> Path:
    """Through PyAV, packets with their true times. `samples`: (samples,) or (samples, channels)."""
    av = pytest.importorskip("av")
    columns = samples.reshape(len(samples), -1)
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[columns.shape[1]]
    title = options.pop("title", "")
    with av.open(str(path), "w", options=options) as container:
        container.metadata["title"] = title
        stream = container.add_stream(codec, rate=rate)
        stream.layout = layout
        if codec == "aac":  # ffmpeg's encoder would replace noise by a random generator in the decoder
            stream.codec_context.options = {"aac_pns": "0"}
            stream.bit_rate = 128_000 * columns.shape[1]
        stream.codec_context.open()
        size, kind = stream.codec_context.frame_size or 1024, stream.codec_context.format.name
        for start in range(0, len(columns), size):
            piece = columns[start : start + size]
            if kind == "fltp":
                values = np.ascontiguousarray(piece.T, dtype=np.float32)
            else:
                values = np.round(piece * 32767).astype(np.int16).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(values, format=kind, layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def level_and_frequency(samples: np.ndarray, rate: int = 16_000) -> tuple[float, float]:
    """Amplitude and frequency (Hz) of the strongest tone, away from the edges, by a windowed FFT."""
    middle = samples[len(samples) // 4 : -len(samples) // 4].astype(np.float64)
    window = np.hanning(len(middle))
    spectrum = np.abs(np.fft.rfft(middle * window)) * 2 / window.sum()
    peak = int(np.argmax(spectrum))
    return float(spectrum[peak]), peak * rate / len(middle)


# --- formats --------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::scipy.io.wavfile.WavFileWarning")
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_wav_equals_an_independent_reader(tmp_path: Path, subtype: str, rate: int) -> None:
    path = write(tmp_path / "a.wav", noise(rate, 0.2, 2), rate, subtype=subtype)
    found_rate, values = scipy.io.wavfile.read(path)
    if values.dtype.kind == "i":  # 24-bit comes left-aligned in 32
        values = values / 2.0 ** (8 * values.dtype.itemsize - 1)
    elif values.dtype.kind == "u":
        values = (values - 128.0) / 128
    decoded = decode(path)
    assert decoded.sampling_rate == found_rate == rate
    assert decoded.samples.dtype == np.float32
    np.testing.assert_allclose(decoded.samples, values.mean(axis=1), atol=1e-7)
    np.testing.assert_array_equal(decode(path, channel=1).samples, values[:, 1].astype(np.float32))


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(
    ("name", "format", "tolerance"),
    [
        ("a.flac", {}, 2**-15),
        ("a.aiff", {}, 2**-15),
        ("a.au", {}, 2**-15),
        ("a.sph", {"format": "NIST"}, 2**-15),
        ("a.ogg", {}, 0.05),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}, 0.05),
        ("a.mp3", {}, 0.05),
    ],
)
def test_each_format_gives_the_mean_and_the_channels(
    tmp_path: Path, name: str, format: dict[str, str], tolerance: float, channels: int
) -> None:
    if name == "a.mp3" and channels > 2:
        pytest.skip("mp3 has two channels at most")
    columns = np.stack([tone(f, 48_000, 0.5, 0.3) for f in TONES[:channels]], axis=1)
    path = write(tmp_path / name, columns, 48_000, **format)
    info = probe(path)
    assert (info.sampling_rate, info.channels, info.n_samples, info.duration_seconds) == (48_000, channels, 24_000, 0.5)
    inside = slice(2_000, -2_000)  # lossy codecs ring at the ends
    np.testing.assert_allclose(decode(path).samples[inside], columns.mean(axis=1)[inside], atol=tolerance)
    for channel in range(channels):
        found = decode(path, channel=channel).samples
        np.testing.assert_allclose(found[inside], columns[inside, channel], atol=tolerance)
    assert load(path).shape == (8_000,)


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
@pytest.mark.parametrize(
    ("name", "codec"), [("a.m4a", "aac"), ("a.mkv", "aac"), ("a.aac", "aac"), ("a.mov", "pcm_s16le")]
)
def test_video_containers(tmp_path: Path, name: str, codec: str, rate: int, channels: int) -> None:
    columns = np.stack([tone(f, rate, 1.5, 0.3) for f in TONES[:channels]], axis=1)
    path = encode(tmp_path / name, columns, rate, codec)
    info = probe(path)
    assert (info.sampling_rate, info.channels) == (rate, channels)
    assert info.duration_seconds == pytest.approx(1.5, abs=3_000 / rate)  # AAC works in frames of 1024
    decoded = decode(path)
    assert len(decoded.samples) == pytest.approx(info.n_samples, abs=1_100)
    delay = 1_024 if name == "a.aac" else 0  # raw AAC does not say how long its encoder primes
    inside = slice(delay + 2_500, delay + len(columns) - 2_500)
    expected = columns.mean(axis=1)[2_500:-2_500]
    np.testing.assert_allclose(decoded.samples[inside], expected, atol=0.03)
    if channels == 2:
        np.testing.assert_allclose(decode(path, channel=1).samples[inside], columns[2_500:-2_500, 1], atol=0.03)


def test_a_file_is_opened_by_its_content(tmp_path: Path) -> None:
    wav = write(tmp_path / "right.wav", tone(300, 16_000, 0.5), 16_000)
    wrong = tmp_path / "wrong.mp4"
    wrong.write_bytes(wav.read_bytes())
    bare = tmp_path / "bare"
    bare.write_bytes(wav.read_bytes())
    for path in (wrong, bare):
        np.testing.assert_array_equal(load(path), load(wav))
    m4a = encode(tmp_path / "right.m4a", tone(300, 16_000, 0.5), 16_000)
    disguised = tmp_path / "disguised.wav"
    disguised.write_bytes(m4a.read_bytes())
    np.testing.assert_array_equal(load(disguised), load(m4a))


def test_suffixes_are_lower_case_and_dotted() -> None:
    assert {".wav", ".flac", ".ogg", ".mp3", ".m4a", ".mp4", ".webm"} <= audio.AUDIO_SUFFIXES
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in audio.AUDIO_SUFFIXES)


# --- physics --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_stays_a_tone(tmp_path: Path, rate: int) -> None:
    path = write(tmp_path / "a.wav", tone(1_000, rate, 2), rate, subtype="FLOAT")
    samples = load(path)
    assert samples.dtype == np.float32
    assert samples.shape == (32_000,)
    level, frequency = level_and_frequency(samples)
    assert level == pytest.approx(0.5, abs=1e-3)
    assert frequency == pytest.approx(1_000, abs=0.5)
    inside = samples[4_000:-4_000].astype(np.float64)
    assert np.sqrt(np.mean(inside**2)) == pytest.approx(0.5 / math.sqrt(2), rel=1e-4)
    # No delay either: sample i is still the tone at i / 16 000 s.
    np.testing.assert_allclose(inside, tone(1_000, 16_000, 2)[4_000:-4_000], atol=1e-4)


@pytest.mark.parametrize(("frequency", "rate"), [(10_000, 44_100), (8_500, 44_100), (12_000, 48_000), (30_000, 96_000)])
def test_a_tone_above_nyquist_is_gone(tmp_path: Path, frequency: int, rate: int) -> None:
    both = tone(frequency, rate, 2) + tone(1_000, rate, 2)
    samples = load(write(tmp_path / "a.wav", both, rate, subtype="FLOAT")).astype(np.float64)
    rest = samples[4_000:-4_000] - tone(1_000, 16_000, 2)[4_000:-4_000]
    assert 20 * np.log10(np.abs(rest).max() / 0.5) < -80


def test_a_tone_near_the_top_of_the_band_is_kept() -> None:
    level, frequency = level_and_frequency(prepare(tone(7_000, 44_100, 2), 44_100))
    assert (level, frequency) == (pytest.approx(0.5, abs=2e-3), pytest.approx(7_000, abs=0.5))


# --- segments -------------------------------------------------------------------------------------------------------------

LONG = (
    ("a.wav", {}, 44_100),
    ("a.flac", {}, 22_050),
    ("a.ogg", {}, 44_100),
    ("b.ogg", {}, 16_000),
    ("a.opus", {"format": "OGG", "subtype": "OPUS"}, 48_000),
    ("a.mp3", {}, 44_100),
    ("b.mp3", {"bitrate_mode": "VARIABLE"}, 16_000),
    ("a.m4a", None, 44_100),
    ("fragments.mp4", None, 16_000),
    ("a.mkv", None, 44_100),  # its packets stand at whole milliseconds
)


@pytest.fixture(scope="module", params=LONG, ids=lambda row: f"{row[0]}-{row[2]}")
def long_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, int]:
    """A file of about 3.3 s of noise, the hardest signal to find one's place in, and its whole decode."""
    name, format, rate = request.param
    path = tmp_path_factory.mktemp("long") / name
    samples = noise(rate, 3.3)
    if format is None:
        flags = {"movflags": "frag_keyframe+empty_moov", "frag_duration": "500000"} if name == "fragments.mp4" else {}
        encode(path, samples, rate, **flags)
    else:
        write(path, samples, rate, **format)
    whole = decode(path)
    assert whole.sampling_rate == rate
    return path, whole.samples, rate


@settings(max_examples=15, deadline=None, derandomize=True)
@given(boundary=st.floats(0.0001, 3.2999))
def test_segments_tile_the_file(long_file: tuple[Path, np.ndarray, int], boundary: float) -> None:
    path, whole, _ = long_file
    tiled = np.concatenate([decode(path, None, boundary).samples, decode(path, boundary, math.nan).samples])
    # mp3 decoders differ in the last bit of a float after a seek.
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=5e-7 if path.suffix == ".mp3" else 0)


def test_a_segment_is_the_slice_of_the_whole(long_file: tuple[Path, np.ndarray, int]) -> None:
    path, whole, rate = long_file
    # The last half second finely: there libsndfile's own Vorbis seek is off.
    for start in (*np.arange(0, 2.7, 0.31), *np.arange(2.7, 3.2, 0.021)):
        for length in (0.05, 0.4):
            stop = min(round((start + length) * rate), len(whole))
            found = decode(path, start, start + length if stop < len(whole) else None).samples
            np.testing.assert_allclose(found, whole[round(start * rate) : stop], rtol=0, atol=5e-7)


def test_blocks_equal_one_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Block boundaries are no events, for Vorbis neither, where soundfile's own seek after each read makes them one."""
    for name in ("a.ogg", "a.flac", "a.mp3"):
        path = write(tmp_path / name, noise(16_000, 20, 2), 16_000)
        expected = soundfile.read(path, dtype="float32")[0].mean(axis=1)
        monkeypatch.setattr(audio, "_BLOCK_VALUES", 1_554)
        found, segment = decode(path).samples, decode(path, 7.3, 15.2).samples
        monkeypatch.undo()
        np.testing.assert_allclose(found, expected, atol=1e-6)
        np.testing.assert_allclose(segment, expected[116_800:243_200], atol=1e-6)


def test_load_of_a_segment_is_the_slice_resampled(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", noise(44_100, 5, 2), 44_100)
    part = decode(path, 1.5, 4.25, channel=1)
    np.testing.assert_allclose(load(path, 1.5, 4.25, 1.0), soxr.resample(part.samples, 44_100, 16_000), atol=1e-6)
    np.testing.assert_array_equal(load(path, 1.5, 4.25, 1), prepare(part.samples, 44_100))


def test_nan_means_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(16_000, 1, 2), 16_000)
    np.testing.assert_array_equal(load(path, math.nan, math.nan, np.float64("nan")), load(path))


def test_a_little_beyond_the_end_is_cut_off(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(16_000, 1), 16_000)
    assert decode(path, 0.5, 1.09).samples.shape == (8_000,)
    with pytest.raises(AudioError, match=r"a\.wav \(0\.5 s to 1\.2 s\): the segment ends beyond .* 1\.000 s long"):
        decode(path, 0.5, 1.2)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.m4a", "a.mkv"])
def test_a_segment_beyond_the_end_is_refused(tmp_path: Path, name: str) -> None:
    samples = noise(16_000, 1)
    path = (
        encode(tmp_path / name, samples, 16_000)
        if name in ("a.m4a", "a.mkv")
        else write(tmp_path / name, samples, 16_000)
    )
    for start, end in ((1.5, None), (1.5, 1.8), (5_000, 5_001)):
        with pytest.raises(AudioError, match=rf"{name} .*the segment starts at or beyond the end"):
            load(path, start, end)


# --- memory ---------------------------------------------------------------------------------------------------------------


def sparse_wav(path: Path, seconds: int, rate: int = 8_000) -> Path:
    """8-bit mono, its samples a hole in the file, but for 4 s of a tone from the middle on."""
    n_bytes = rate * seconds
    with path.open("wb") as file:
        file.write(
            b"RIFF"
            + struct.pack("<I", 36 + n_bytes)
            + b"WAVEfmt "
            + struct.pack("<IHHIIHH", 16, 1, 1, rate, rate, 1, 8)
        )
        file.write(b"data" + struct.pack("<I", n_bytes))
        file.seek(44 + n_bytes // 2)
        file.write((128 + 100 * tone(300, rate, 4, 1)).astype(np.uint8).tobytes())
        file.truncate(44 + n_bytes)
    return path


def test_a_segment_of_three_hours_costs_its_segment(tmp_path: Path) -> None:
    path = sparse_wav(tmp_path / "long.wav", 3 * 3600)
    load(path, 5_401, 5_403)  # what is allocated once and for all
    tracemalloc.start()
    samples = load(path, 5_401, 5_403)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert samples.shape == (32_000,)
    assert peak < 1_000_000  # bytes; the whole would be 345 MB
    assert level_and_frequency(samples)[1] == pytest.approx(300, abs=1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell a process's peak")
def test_three_hours_of_flac_stay_small_in_a_process(tmp_path: Path) -> None:
    """Counts what the C libraries take as well."""
    path, rate = tmp_path / "long.flac", 8_000
    with soundfile.SoundFile(path, "w", rate, 1, subtype="PCM_16") as file:
        silence = np.zeros(rate * 600, dtype=np.int16)
        for i in range(18):
            file.write(np.round(16_000 * tone(300, rate, 4, 1)).astype(np.int16) if i == 9 else silence[: rate * 4])
            file.write(silence[rate * 4 :])
    code = (
        "import sys; from emoviews.audio import load;"
        "peak = lambda: int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1]) * 1024;"
        "before = peak(); [load(sys.argv[1], 5400 + s, 5402 + s) for s in (0.1, 0.9, 1.7)]; print(peak() - before)"
    )
    printed = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    assert int(printed) < 20_000_000  # bytes; the whole would add 345 MB


def test_a_long_segment_is_resampled_while_it_is_decoded(tmp_path: Path) -> None:
    rate = 44_100
    path = write(tmp_path / "a.wav", np.tile(noise(rate, 2), 60), rate, subtype="PCM_U8")
    tracemalloc.start()
    samples = load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert samples.shape == (120 * 16_000,)
    assert peak < 1.1 * samples.nbytes + 2_000_000  # the decoded samples alone would take 2.8 times as much


@settings(max_examples=20, deadline=None, derandomize=True)
@given(data=st.data(), rate=st.sampled_from((8_000, 11_025, 22_050, 44_100, 48_000, 96_000)))
def test_resampling_in_blocks_equals_one_shot(data: st.DataObject, rate: int) -> None:
    samples = np.random.default_rng(0).standard_normal(data.draw(st.integers(1, 30_000))).astype(np.float32)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(samples)), max_size=6)))
    blocks = [np.ascontiguousarray(block) for block in np.split(samples, cuts)]
    found = np.concatenate(list(audio._resample(blocks, rate)))
    expected = soxr.resample(samples, rate, 16_000)
    assert found.shape == expected.shape
    assert abs(len(found) - len(samples) * 16_000 / rate) <= 0.5 + 1e-9
    np.testing.assert_allclose(found, expected, atol=1e-6)


# --- arrays ---------------------------------------------------------------------------------------------------------------


def test_prepare_leaves_16_khz_alone() -> None:
    samples = noise(16_000, 1).astype(np.float32)
    assert prepare(samples, 16_000) is samples or np.shares_memory(prepare(samples, 16_000), samples)
    np.testing.assert_array_equal(prepare(samples.astype(np.float64), 16_000), samples)
    np.testing.assert_array_equal(prepare(list(samples), 16_000.0), samples)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32, np.int64, np.uint16])
def test_prepare_scales_integers(dtype: type) -> None:
    limits = np.iinfo(dtype)
    middle = (limits.max + 1 + limits.min) // 2
    found = prepare(np.array([limits.min, middle, limits.max], dtype=dtype), 16_000)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [-1, 0, 1 - 2 / 2 ** (8 * np.dtype(dtype).itemsize)], atol=1e-7)


def test_prepare_takes_the_mean_of_channels() -> None:
    columns = noise(16_000, 0.2, 6)
    np.testing.assert_allclose(prepare(columns, 16_000), columns.mean(axis=1), atol=1e-7)
    np.testing.assert_allclose(prepare(columns, 48_000), prepare(columns.mean(axis=1), 48_000), atol=1e-6)
    before = columns.copy()
    prepare(columns, 16_000)
    np.testing.assert_array_equal(columns, before)


def test_prepare_of_nothing_is_nothing() -> None:
    assert prepare(np.zeros(0), 44_100).shape == prepare(np.zeros((0, 2)), 16_000).shape == (0,)


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.zeros((2, 16_000)), 16_000, r"\(2, 16000\): transpose it"),
        (np.zeros((2, 3, 4)), 16_000, r"\(samples, channels\), got \(2, 3, 4\)"),
        (np.zeros((5, 0)), 16_000, r"got \(5, 0\)"),
        (np.float32(1), 16_000, r"got \(\)"),
        (np.zeros(10, dtype=complex), 16_000, "floats or integers, got complex128"),
        (np.zeros(10, dtype=bool), 16_000, "floats or integers, got bool"),
        (np.zeros(10), 0, "1000 to 1000000 Hz, got 0"),
        (np.zeros(10), math.nan, "got nan"),
    ],
)
def test_prepare_refuses(samples: np.ndarray, rate: float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        prepare(samples, rate)


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 50), n_samples=st.integers(1, 50))
def test_crop_or_pad(n: int, n_samples: int) -> None:
    samples = np.arange(1, n + 1, dtype=np.float32)
    found = crop_or_pad(samples, n_samples)
    assert (found.shape, found.dtype) == ((n_samples,), np.float32)
    np.testing.assert_array_equal(found, [i + 1 if i < n else 0 for i in range(n_samples)])
    np.testing.assert_array_equal(crop(samples, n_samples), samples[:n_samples])


@pytest.mark.parametrize("function", [crop, crop_or_pad])
def test_crop_refuses_no_length(function) -> None:
    with pytest.raises(UsageError, match="at least 1 sample, got 0"):
        function(np.zeros(5, dtype=np.float32), 0)


def test_content_hash_names_what_is_heard(tmp_path: Path) -> None:
    samples = np.round(noise(22_050, 0.5) * 32_768) / 32_768
    hashes = set()
    for name in ("a.wav", "b.wav", "c.flac", "d.aiff"):
        decoded = decode(write(tmp_path / name, samples, 22_050))
        hashes.add(audio.content_hash(decoded.samples, decoded.sampling_rate))
    assert len(hashes) == 1
    (digits,) = hashes
    assert len(digits) == 32
    assert int(digits, 16) >= 0
    changed = samples.astype(np.float32)
    changed[100] += 1e-4
    assert audio.content_hash(changed, 22_050) != digits != audio.content_hash(samples.astype(np.float32), 22_051)
    # A store that was keyed by another version of this function would be extracted again: it must never change.
    assert audio.content_hash(np.arange(4, dtype=np.float32), 16_000) == "662c9f66a1284ab079b8d7e1d81b5a3c"
    assert audio.content_hash(np.arange(8, dtype=np.float32)[::2] / 2, 16_000) == "662c9f66a1284ab079b8d7e1d81b5a3c"


# --- what bad input gets --------------------------------------------------------------------------------------------------


def refused(path: Path, *arguments: float | None) -> str:
    """The message, after a check that it is ours and names the file."""
    with pytest.raises(AudioError) as caught:
        load(path, *arguments)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_missing_folder_and_empty(tmp_path: Path) -> None:
    assert "There is no file" in refused(tmp_path / "none.wav")
    assert "is a folder" in refused(tmp_path)
    (tmp_path / "empty.wav").touch()
    assert "is empty (0 bytes)" in refused(tmp_path / "empty.wav")
    with pytest.raises(AudioError, match="There is no file"):
        probe(tmp_path / "none.wav")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_unreadable(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(16_000, 1), 16_000)
    path.chmod(0)
    assert "can't be read: Permission denied" in refused(path)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.raw", "a.mp4", "a"])
def test_text_under_an_audio_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("speaker,emotion\n001,anger\n" * 50)
    assert "or damaged" in refused(path)


def test_one_sample_and_too_short(tmp_path: Path) -> None:
    message = refused(write(tmp_path / "one.wav", np.array([0.5]), 16_000))
    assert "(1 samples at 16000 Hz); at least 0.1 s are needed" in message
    assert "no samples" in refused(write(tmp_path / "one44.wav", np.array([0.5]), 44_100))
    path = write(tmp_path / "short.wav", noise(16_000, 1), 16_000)
    assert "(0.2 s to 0.25 s) is 0.05 s long (800 samples" in refused(path, 0.2, 0.25)
    assert load(path, 0.2, 0.3).shape == (1_600,)


def test_no_samples(tmp_path: Path) -> None:
    assert "has no samples, in a file of 44 bytes" in refused(write(tmp_path / "a.wav", np.zeros(0), 16_000))
    assert probe(tmp_path / "a.wav").n_samples == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_not_finite(tmp_path: Path, bad: float, rate: int) -> None:
    samples = noise(rate, 1)
    samples[rate // 2] = bad
    message = refused(write(tmp_path / "a.wav", samples, rate, subtype="FLOAT"))
    assert "not finite" in message
    assert "near 0.5" in message if rate == 16_000 else "near 0.4" in message  # the filter spreads it
    assert "16000 samples of 16000" in refused(write(tmp_path / "b.wav", np.full(16_000, bad), 16_000, subtype="FLOAT"))


def test_silence(tmp_path: Path) -> None:
    assert "is silent: all its samples are 0" in refused(write(tmp_path / "zero.wav", np.zeros(16_000), 16_000))
    offset = write(tmp_path / "offset.wav", np.full(16_000, 0.25), 16_000)
    assert "is silent: all its samples are 0.25" in refused(offset)
    quiet = write(tmp_path / "quiet.wav", 0.25 + tone(300, 16_000, 1, 0.9e-4), 16_000, subtype="FLOAT")
    assert "is silent: its peak is -81 dBFS" in refused(quiet)
    faint = write(tmp_path / "faint.wav", tone(300, 16_000, 1, 1.2e-4), 16_000, subtype="FLOAT")
    assert load(faint).shape == (16_000,)
    half = write(tmp_path / "half.wav", np.stack([np.zeros(16_000), noise(16_000, 1)], axis=1), 16_000)
    assert "(channel 0) is silent" in refused(half, None, None, 0)


def test_a_segment_of_less_than_a_sample(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(16_000, 1), 16_000)
    assert "(0.5 s to 0.50001 s): the segment is shorter than one sample at 16000 Hz" in refused(path, 0.5, 0.50001)


def test_no_such_channel(tmp_path: Path) -> None:
    stereo = write(tmp_path / "a.wav", noise(16_000, 1, 2), 16_000)
    assert "has no channel 2; it has channels 0 to 1 (counted from 0)" in refused(stereo, None, None, 2)
    mono = write(tmp_path / "b.wav", noise(16_000, 1), 16_000)
    assert "has no channel 1; it has one channel, 0" in refused(mono, None, None, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1.0, None, None), "start_seconds of 0 or more, got -1"),
        ((None, math.inf, None), "end_seconds of 0 or more, got inf"),
        ((2.0, 1.0, None), "got 2 to 1"),
        ((None, 0.0, None), "got 0 to 0"),
        ((None, None, -1), r"channel number \(0, 1, ...\), got -1"),
        ((None, None, 0.5), "got 0.5"),
    ],
)
def test_wrong_use(tmp_path: Path, arguments: tuple, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(tmp_path / "a.wav", *arguments)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.m4a"])
def test_cut_off(tmp_path: Path, name: str) -> None:
    """Whole: refused with both numbers. A segment that is there is still read; one that is not is refused."""
    samples = noise(16_000, 4)
    path = (
        encode(tmp_path / name, samples, 16_000, movflags="faststart")
        if name == "a.m4a"
        else write(tmp_path / name, samples, 16_000)
    )
    good = load(path, 0.5, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    message = refused(path)
    assert "damaged or cut off" in message
    assert "declares 64000 samples (4.00 s)" in message
    decoded = int(message.split(", and ")[1].split()[0])
    assert 20_000 < decoded < 33_500
    assert probe(path).n_samples == 64_000
    np.testing.assert_allclose(load(path, 0.5, 1), good, atol=5e-7)
    assert "cut off" in (late := refused(path, 3, 3.5)) or "can't be read from 3.00 s on" in late


def test_damaged_inside(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", noise(16_000, 2), 16_000)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
    path.write_bytes(data)
    assert "damaged or cut off: its header declares 32000 samples" in refused(path)


@pytest.mark.parametrize("placeholder", [0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF, 0x80000000])
def test_a_wav_written_to_a_pipe(tmp_path: Path, placeholder: int) -> None:
    path = write(tmp_path / "a.wav", noise(16_000, 1), 16_000)
    expected, data = load(path), bytearray(path.read_bytes())
    data[4:8] = data[40:44] = struct.pack("<I", placeholder)
    path.write_bytes(data)
    np.testing.assert_array_equal(load(path), expected)
    assert probe(path).n_samples == 16_000


def test_a_header_that_lies(tmp_path: Path) -> None:
    """No memory is taken on the word of a header. Longer than one block, so that the array has to grow."""
    wav = write(tmp_path / "a.wav", noise(16_000, 5), 16_000)
    data = bytearray(wav.read_bytes())
    data[40:44] = struct.pack("<I", 0x70000000)
    wav.write_bytes(data)
    flac = write(tmp_path / "a.flac", noise(16_000, 5), 16_000)
    data = bytearray(flac.read_bytes())
    data[21], data[22:26] = data[21] | 0x0F, b"\xff" * 4  # STREAMINFO: 36 bits of total samples
    flac.write_bytes(data)
    for path, declared in ((wav, 0x70000000 // 2), (flac, 2**36 - 1)):
        tracemalloc.start()
        message = refused(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 3_000_000
        assert abs(int(message.split("declares ")[1].split()[0]) - declared) <= 1
        assert "and 80000 samples (5.00 s) can be decoded" in message
        assert load(path, 0.2, 0.5).shape == (4_800,)
    data[21], data[22:26] = data[21] & 0xF0, bytes(4)  # 0: the length is not known, as when written to a pipe
    flac.write_bytes(data)
    assert load(flac).shape == (80_000,)
    assert probe(flac).n_samples == 80_000
    assert "can't be read from 9.00 s on" in refused(flac, 9, 10)


def test_a_wav_whose_size_was_never_written(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(16_000, 1), 16_000)
    data = bytearray(path.read_bytes())
    data[40:44] = bytes(4)
    path.write_bytes(data)
    assert "has no samples, in a file of 32044 bytes. If that is a recording that broke off, ffmpeg" in refused(path)


def test_an_impossible_rate(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(16_000, 1), 16_000)
    data = bytearray(path.read_bytes())
    data[24:28] = struct.pack("<I", 7)
    path.write_bytes(data)
    assert "sampling rate of 7 Hz in its header; expected 1000 to 1000000 Hz" in refused(path)


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_without_the_tag_of_its_length(tmp_path: Path, mode: str) -> None:
    """libsndfile guesses its length, and at a variable bit rate stops there: five sixths would be lost."""
    rate = 44_100
    samples = np.concatenate([noise(rate, 3), np.zeros(rate * 10), tone(300, rate, 5)])
    path = write(tmp_path / "a.mp3", samples, rate, bitrate_mode=mode, compression_level=0.5)
    whole, data = decode(path).samples, path.read_bytes()
    second_frame = data.index(data[:2], 200)
    assert b"Info" in data[:second_frame] or b"Xing" in data[:second_frame]
    id3 = b"ID3\x03\x00\x00" + bytes((0, 0, 39, 8)) + bytes(5_000)
    path.write_bytes(id3 + data)  # a tag behind other data is still found
    assert audio._has_length_tag(path)
    np.testing.assert_array_equal(decode(path).samples, whole)
    path.write_bytes(data[second_frame:])
    if mode == "VARIABLE":
        assert "variable bit rate without the tag" in refused(path)
        assert "variable bit rate without the tag" in refused(path, 14, 15)
        assert load(path, 0.5, 1).shape == (8_000,)
    else:
        found = decode(path).samples
        assert len(found) == pytest.approx(len(samples), abs=3_000)
        assert probe(path).n_samples == len(found)
        np.testing.assert_allclose(decode(path, 14, 15).samples, found[14 * rate : 15 * rate], atol=5e-7)
        assert "starts at or beyond the end" in refused(path, 100, 101)


def test_no_sound_track(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))
    assert "has no sound track" in refused(path)


def test_tags_in_an_old_encoding(tmp_path: Path) -> None:
    """PyAV would refuse them with a UnicodeDecodeError."""
    path = encode(tmp_path / "a.m4a", noise(16_000, 1), 16_000, title="Gruss")
    path.write_bytes(path.read_bytes().replace(b"Gruss", b"Gru\xdf\xff"))
    assert b"Gru\xdf" in path.read_bytes()
    assert load(path).shape[0] >= 16_000


def test_a_damaged_video(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", noise(16_000, 1), 16_000)
    path.write_bytes(path.read_bytes()[:3_000])  # its index stood at the end
    assert "or damaged" in refused(path)


def test_without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "a.m4a", noise(16_000, 1), 16_000)
    real = builtins.__import__

    def without(name: str, *rest, **named):
        if name == "av":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"a\.m4a needs the package av.*emoviews\[video\]"):
        load(path)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_no_damage_escapes_as_another_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any bytes of a file overwritten or cut: audio comes back or one of our errors, never another exception."""
    folder = tmp_path_factory.getbasetemp()
    name = data.draw(st.sampled_from(("fuzz.wav", "fuzz.flac", "fuzz.ogg", "fuzz.mp3", "fuzz.m4a", "fuzz.aiff")))
    path = folder / name
    if not path.exists():
        samples = np.random.default_rng(0).standard_normal(8_000) * 0.1
        encode(path, samples, 16_000) if name == "fuzz.m4a" else write(path, samples, 16_000)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 100))
    new = data.draw(st.binary(max_size=40))
    content[at : at + len(new)] = new
    damaged = folder / f"damaged{path.suffix}"
    damaged.write_bytes(content[: data.draw(st.integers(1, len(content)) | st.just(len(content)))])
    try:
        samples = load(damaged)
    except EmoViewsError as error:
        message = str(error)
    else:
        assert samples.dtype == np.float32
        return
    assert str(damaged) in message


@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_what_is_played_faster_is_shorter_and_higher(speed: float) -> None:
    seconds = np.arange(2 * audio.SAMPLING_RATE) / audio.SAMPLING_RATE
    tone = np.sin(2 * np.pi * 200 * seconds).astype(np.float32)
    played = audio.at_speed(tone, speed)
    assert len(played) == pytest.approx(len(tone) / speed, abs=1)
    expected = np.sin(2 * np.pi * 200 * speed * np.arange(len(played)) / audio.SAMPLING_RATE)
    inside = slice(1000, -1000)
    np.testing.assert_allclose(played[inside], expected[inside], atol=1e-3)


def test_what_is_played_faster_stays_long_enough_for_a_view() -> None:
    shortest = np.ones(round(audio.MINIMUM_SECONDS * audio.SAMPLING_RATE), dtype=np.float32)
    assert len(audio.at_speed(shortest, 2.0)) == len(shortest)


def test_importing_audio_is_light() -> None:
    code = "import sys, emoviews.audio; print(*({'av', 'torch', 'pandas', 'scipy'} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == ""
