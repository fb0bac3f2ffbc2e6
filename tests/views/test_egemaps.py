"""eGeMAPS, held to opensmile bit for bit and to physical signals."""

from __future__ import annotations

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from emoviews.errors import AudioError, MissingExtraError
from emoviews.types import SAMPLING_RATE
from emoviews.views import make_view

opensmile = pytest.importorskip("opensmile")

RNG = np.random.default_rng(0)
TIMES = np.arange(int(1.5 * SAMPLING_RATE)) / SAMPLING_RATE


def voice(pitch_hz, amplitude=0.3):
    """A buzz of 20 harmonics with a falling spectrum."""
    buzz = sum(np.sin(2 * np.pi * k * pitch_hz * TIMES) / k for k in range(1, 21))
    return (amplitude * buzz / np.abs(buzz).max()).astype(np.float32)


SIGNALS = {
    "noise": (0.1 * RNG.standard_normal(TIMES.size)).astype(np.float32),
    "voice": voice(150),
    "full scale": voice(150, amplitude=1.0),
    "clipped": np.clip(voice(150, amplitude=3.0), -1, 1),
    "beyond full scale": voice(150, amplitude=2.0),
    "a tenth of a second": voice(150)[:1600],
    "silence": np.zeros(8000, np.float32),
}


@pytest.fixture(scope="module")
def view():
    return make_view("egemaps")


@pytest.fixture(scope="module")
def smile():
    return opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)


@pytest.mark.parametrize("signal", SIGNALS)
def test_equals_opensmile_exactly(view, smile, signal):
    samples = SIGNALS[signal]
    expected = smile.process_signal(np.clip(samples, -32767 / 32768, 32767 / 32768), SAMPLING_RATE)
    assert view.feature_names == tuple(expected.columns)
    np.testing.assert_array_equal(view(samples), expected.to_numpy()[0])


def test_without_the_clip_the_loudest_samples_would_change_sign(view, smile):
    samples = SIGNALS["clipped"]
    assert samples.max() == 1.0
    unclipped = smile.process_signal(samples, SAMPLING_RATE)
    loudness = "loudness_sma3_amean"
    clean = view(samples)[view.feature_names.index(loudness)]
    assert abs(unclipped[loudness].iloc[0] / clean - 1) > 0.05


def test_pitch_is_in_semitones_above_27_5_hz(view):
    mean_pitch = view.feature_names.index("F0semitoneFrom27.5Hz_sma3nz_amean")
    assert view(voice(220))[mean_pitch] == pytest.approx(36, abs=0.1)
    assert view(voice(110))[mean_pitch] == pytest.approx(24, abs=0.1)


def test_a_long_signal_is_never_cropped(view):
    quiet_then_loud = np.concatenate([0.01 * np.tile(SIGNALS["noise"], 11), SIGNALS["voice"]])
    assert quiet_then_loud.size > 15 * SAMPLING_RATE
    assert not np.array_equal(view(quiet_then_loud), view(quiet_then_loud[: 15 * SAMPLING_RATE]))


def test_threads_do_not_disturb_each_other(view):
    signals = [SIGNALS["noise"], SIGNALS["voice"]] * 4
    alone = [view(samples) for samples in signals]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(view, signals))
    np.testing.assert_array_equal(together, alone)


def test_too_short_is_refused_where_opensmile_gives_nan(view, smile):
    samples = SIGNALS["noise"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isnan(smile(samples[:959], SAMPLING_RATE)).all()
    with pytest.raises(AudioError, match=r"0\.060 s of audio are too short for the view 'egemaps': opensmile needs at"):
        view(samples[:959])
    assert np.isfinite(view(samples[:960])).all()


def test_a_value_that_is_not_finite_is_an_error_about_the_recording(monkeypatch):
    broken = make_view("egemaps")
    values = np.zeros((1, 88, 1), np.float32)
    values[0, [3, 5]] = np.nan
    monkeypatch.setattr(broken, "_smile", lambda samples, sampling_rate: values)
    with pytest.raises(
        AudioError, match=f"2 of the 88 features of the view 'egemaps' \\(the first: {broken.feature_names[3]}"
    ):
        broken(SIGNALS["noise"])


def test_without_opensmile_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(
        MissingExtraError, match=r"'egemaps' needs the package opensmile.*pip install 'emoviews\[egemaps\]'"
    ):
        make_view("egemaps")


def test_licence_travels_with_the_view(view):
    assert "non-commercial" in view.spec.licence
    assert "models trained on them" in view.spec.licence
