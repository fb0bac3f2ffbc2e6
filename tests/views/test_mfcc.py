"""MFCC, held to librosa and to the definition of the DCT."""

from __future__ import annotations

import librosa
import numpy as np
import pytest

from emoviews.types import SAMPLING_RATE
from emoviews.views import make_view
from emoviews.views.mfcc import MfccParameters

NOISE = (0.1 * np.random.default_rng(0).standard_normal(2 * SAMPLING_RATE)).astype(np.float32)
TIMES = np.arange(2 * SAMPLING_RATE) / SAMPLING_RATE
TONE = (np.sin(2 * np.pi * 440 * TIMES) + NOISE).astype(np.float32)


@pytest.mark.parametrize("samples", [NOISE, TONE], ids=["noise", "tone"])
@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_equals_librosa_from_the_signal(samples, scale):
    """librosa works in decibels: 10 / ln 10 times the natural logarithm of power; no band here reaches its clip at -80 dB."""
    decibels = librosa.feature.mfcc(
        y=samples,
        sr=SAMPLING_RATE,
        n_mfcc=20,
        n_fft=400,
        hop_length=160,
        pad_mode="constant",
        n_mels=64,
        fmin=60,
        fmax=7800,
        htk=scale == "htk",
    )
    values = make_view("mfcc", {"scale": scale})(samples)
    np.testing.assert_allclose(values * 10 / np.log(10), decibels.T, rtol=0, atol=2e-3)


def test_is_the_transform_of_the_mel_view_of_the_same_parameters():
    parameters = {"bands": 40, "padding": "fixed", "maximum_seconds": 3.0, "mask_padding": False}
    log_mel = make_view("mel_spectrogram", parameters)(NOISE)
    values = make_view("mfcc", {**parameters, "coefficients": 13})(NOISE)
    assert values.shape == (301, 13)
    k, m = np.arange(13)[:, None], np.arange(40)
    cosines = np.cos(np.pi * k * (2 * m + 1) / 80) * np.where(
        k == 0, np.sqrt(1 / 40), np.sqrt(2 / 40)
    )  # the definition
    np.testing.assert_allclose(values, log_mel @ cosines.T, rtol=0, atol=1e-4)


def test_all_coefficients_keep_the_energy_of_the_log_mel_spectrogram():
    log_mel = make_view("mel_spectrogram")(NOISE)
    values = make_view("mfcc", {"coefficients": 64})(NOISE)
    np.testing.assert_allclose(np.square(values).sum(axis=1), np.square(log_mel).sum(axis=1), rtol=1e-5)


def test_float16_is_off_by_at_most_what_the_docstring_says():
    values = make_view("mfcc")(np.concatenate([np.zeros(8000, np.float32), TONE]))
    assert np.abs(values).max() > 180  # digital silence reaches the bound of c0
    assert np.abs(values.astype(np.float16).astype(np.float32) - values).max() <= 0.0625


@pytest.mark.parametrize("coefficients", [0, 65])
def test_as_many_coefficients_as_bands_at_most(coefficients):
    with pytest.raises(ValueError, match=rf"coefficients must be between 1 and bands \(64\), got {coefficients}"):
        MfccParameters(coefficients=coefficients)
