"""The log-mel spectrogram, held to librosa, to closed forms and to a naive loop."""

from __future__ import annotations

import itertools

import librosa
import numpy as np
import pytest
import scipy.signal

from emoviews.errors import UsageError
from emoviews.types import SAMPLING_RATE
from emoviews.views import make_view
from emoviews.views._length import LengthParameters
from emoviews.views._mel import MelParameters, band_edges_hz, hz_to_mel, mel_filters, mel_to_hz

TIMES = np.arange(2 * SAMPLING_RATE) / SAMPLING_RATE
SIGNALS = {
    "noise": 0.1 * np.random.default_rng(0).standard_normal(TIMES.size),
    "loud tone": np.sin(2 * np.pi * 1234.5 * TIMES),
    "tone on a bin": 0.5 * np.sin(2 * np.pi * 1000 * TIMES),
    "sweep": scipy.signal.chirp(TIMES, 50, TIMES[-1], 7900),
    "click": np.where(np.arange(TIMES.size) == 12345, 1.0, 0.0),
    "very quiet": 1e-6 * np.random.default_rng(1).standard_normal(TIMES.size),
}


def librosa_log_mel(samples, parameters):
    power = librosa.feature.melspectrogram(
        y=samples,
        sr=SAMPLING_RATE,
        n_fft=parameters.window_samples,
        hop_length=parameters.hop_samples,
        pad_mode="constant",
        n_mels=parameters.bands,
        fmin=parameters.minimum_hz,
        fmax=parameters.maximum_hz,
        htk=parameters.scale == "htk",
        norm=None if parameters.norm == "none" else "slaney",
    )
    return np.log(np.maximum(power, parameters.floor)).T


@pytest.mark.parametrize(("scale", "norm"), list(itertools.product(["slaney", "htk"], ["slaney", "none"])))
@pytest.mark.parametrize("signal", SIGNALS)
def test_equals_librosa(signal, scale, norm):
    samples = SIGNALS[signal].astype(np.float32)
    view = make_view("mel_spectrogram", {"scale": scale, "norm": norm})
    np.testing.assert_allclose(view(samples), librosa_log_mel(samples, view.parameters), rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore:n_fft=400 is too large:UserWarning")  # librosa, of the single sample
@pytest.mark.parametrize("n_samples", [1, 1600, 1601, 1759, 1760, 5920, 64 * 160 - 1, 64 * 160, 65 * 160])
def test_equals_librosa_at_every_kind_of_length(n_samples):
    samples = SIGNALS["noise"][:n_samples].astype(np.float32)
    view = make_view("mel_spectrogram")
    values = view(samples)
    assert values.shape == (1 + n_samples // 160, 64)
    np.testing.assert_allclose(values, librosa_log_mel(samples, view.parameters), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "parameters",
    [
        {"bands": 40, "window_samples": 512, "hop_samples": 128},
        {"window_samples": 800},
        {"minimum_hz": 0, "maximum_hz": 8000},
    ],
)
def test_equals_librosa_with_other_parameters(parameters):
    samples = SIGNALS["noise"].astype(np.float32)
    view = make_view("mel_spectrogram", parameters)
    np.testing.assert_allclose(view(samples), librosa_log_mel(samples, view.parameters), rtol=0, atol=1e-4)


def test_equals_a_naive_loop():
    samples = SIGNALS["noise"][:800].astype(np.float32)
    parameters = MelParameters(window_samples=401, hop_samples=150, bands=8)
    padded = np.concatenate([np.zeros(200), samples, np.zeros(201)])
    n = np.arange(401)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / 401)
    expected = []
    for start in range(0, 801, 150):
        frame = padded[start : start + 401] * hann
        power = [abs(np.sum(frame * np.exp(-2j * np.pi * k * n / 401))) ** 2 for k in range(201)]
        expected.append(np.log(mel_filters(parameters) @ power))
    view = make_view("mel_spectrogram", {"window_samples": 401, "hop_samples": 150, "bands": 8})
    np.testing.assert_allclose(view(samples), expected, rtol=0, atol=1e-4)


def test_level_of_white_noise_is_that_of_its_variance():
    """The mean power of white noise in a band is variance x sum of squares of the window x sum of the filter's weights."""
    noise = (0.1 * np.random.default_rng(2).standard_normal(60 * SAMPLING_RATE)).astype(np.float32)
    view = make_view("mel_spectrogram", {"norm": "none", "maximum_seconds": None})
    power = np.exp(view(noise).astype(np.float64)).mean(axis=0)
    hann_power = 400 * 3 / 8
    np.testing.assert_allclose(power, 0.01 * hann_power * mel_filters(view.parameters).sum(axis=1), rtol=0.1)


def test_a_tone_is_loudest_in_the_band_named_after_it():
    view = make_view("mel_spectrogram")
    for band in (5, 30, 60):
        frequency_hz = float(view.feature_names[band].removesuffix(" Hz"))
        tone = np.sin(2 * np.pi * frequency_hz * TIMES).astype(np.float32)
        assert view(tone)[100].argmax() == band


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_mel_scale_equals_librosa_and_is_inverted(scale):
    frequencies_hz = np.linspace(0, 8000, 999)
    mel = hz_to_mel(frequencies_hz, scale)
    np.testing.assert_allclose(mel, librosa.hz_to_mel(frequencies_hz, htk=scale == "htk"), atol=1e-9)
    np.testing.assert_allclose(mel_to_hz(mel, scale), frequencies_hz, atol=1e-8)


def test_band_edges_are_the_papers():
    edges_hz = band_edges_hz(MelParameters())
    assert edges_hz.shape == (66,)
    np.testing.assert_allclose(edges_hz[[0, -1]], [60, 7800])


def test_float16_is_off_by_at_most_what_the_docstring_says():
    for signal in SIGNALS.values():
        values = make_view("mel_spectrogram")(signal.astype(np.float32))
        assert np.abs(values.astype(np.float16).astype(np.float32) - values).max() <= 0.008


class TestLength:
    samples = SIGNALS["noise"][:20_000].astype(np.float32)

    def test_longer_signals_are_cropped(self):
        view = make_view("mel_spectrogram", {"maximum_seconds": 0.5})
        np.testing.assert_array_equal(view(self.samples), view(self.samples[:8000]))

    def test_none_never_crops(self):
        noise = np.tile(SIGNALS["noise"].astype(np.float32), 10)
        assert len(make_view("mel_spectrogram", {"maximum_seconds": None})(noise)) == 1 + noise.size // 160
        assert len(make_view("mel_spectrogram")(noise)) == 1501

    def test_the_papers_input_keeps_the_frames_of_the_padding(self):
        view = make_view("mel_spectrogram", {"padding": "fixed", "mask_padding": False})
        values = view(self.samples)
        assert values.shape == (1501, 64)
        silent = values == np.log(np.float32(1e-10))
        assert silent[127:].all()  # frame 127 begins at sample 127 * 160 - 200 = 20 120
        assert not silent[:126].any()

    @pytest.mark.parametrize("n_samples", [1600, 1719, 1720, 1721, 7_999, 15_900, 16_000, 20_000])
    def test_masking_drops_exactly_the_frames_wholly_in_the_padding(self, n_samples):
        samples = self.samples[:n_samples]
        fixed = {"padding": "fixed", "maximum_seconds": 1.0}
        kept = make_view("mel_spectrogram", fixed)(samples)
        everything = make_view("mel_spectrogram", {**fixed, "mask_padding": False})(samples)
        with_signal = [
            t for t in range(101) if any(0 <= i < min(n_samples, 16_000) for i in range(t * 160 - 200, t * 160 + 200))
        ]
        assert len(everything) == 101
        assert len(kept) == len(with_signal)
        np.testing.assert_array_equal(kept, everything[with_signal])

    def test_frames_of_the_signal_do_not_depend_on_the_padding(self):
        plain = make_view("mel_spectrogram")(self.samples)
        padded = make_view("mel_spectrogram", {"padding": "fixed"})(self.samples)
        assert 0 <= len(padded) - len(plain) <= 2
        np.testing.assert_allclose(padded[: len(plain)], plain, atol=1e-5)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"bands": 0}, "bands must be at least 1, got 0"),
        ({"bands": 200}, "of the 200 bands lie between two bins of a 400-sample transform"),
        ({"minimum_hz": 7800.0}, "got 7800 and 7800"),
        ({"minimum_hz": -1.0}, "got -1 and 7800"),
        ({"maximum_hz": 9000.0}, "maximum_hz <= 8000, got 60 and 9000"),
        ({"maximum_hz": float("nan")}, "got 60 and nan"),
        ({"window_samples": 1}, "window_samples must be at least 2, got 1"),
        ({"hop_samples": 0}, "between 1 and window_samples (400), so that no sample is left out; got 0"),
        ({"hop_samples": 401}, "got 401"),
        ({"scale": "bark"}, "scale must be 'slaney' or 'htk', got 'bark'"),
        ({"norm": "area"}, "norm must be 'slaney' or 'none', got 'area'"),
        ({"floor": 0.0}, "floor must be between 1e-30 and 1, got 0"),
    ],
)
def test_wrong_mel_parameters(parameters, message):
    with pytest.raises(ValueError) as error:
        MelParameters(**parameters)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"maximum_seconds": 0.05}, "maximum_seconds must be at least 0.1, got 0.05"),
        ({"maximum_seconds": float("inf")}, "got inf"),
        ({"maximum_seconds": float("nan")}, "got nan"),
        ({"padding": "zeros"}, "padding must be 'none' or 'fixed', got 'zeros'"),
        ({"padding": "fixed", "maximum_seconds": None}, "needs maximum_seconds"),
        ({"mask_padding": False}, "but padding='none' makes none"),
    ],
)
def test_wrong_lengths(parameters, message):
    with pytest.raises(ValueError) as error:
        LengthParameters(**parameters)
    assert message in str(error.value)


def test_whole_numbers_and_floats_make_one_fingerprint():
    written = make_view("mel_spectrogram", {"maximum_seconds": 10, "minimum_hz": 60, "floor": 1})
    meant = make_view("mel_spectrogram", {"maximum_seconds": 10.0, "minimum_hz": 60.0, "floor": 1.0})
    assert written.spec.fingerprint == meant.spec.fingerprint


def test_two_dimensional_input_is_refused():
    with pytest.raises(UsageError, match=r"takes \(samples,\), got an array of shape \(2, 1600\)"):
        make_view("mel_spectrogram")(np.zeros((2, 1600), np.float32))
