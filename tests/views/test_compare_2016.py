"""ComParE 2016, held to opensmile bit for bit."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from emoviews.errors import AudioError, MissingExtraError
from emoviews.types import SAMPLING_RATE
from emoviews.views import make_view

opensmile = pytest.importorskip("opensmile")

NOISE = np.random.default_rng(0).standard_normal(SAMPLING_RATE).astype(np.float32)


@pytest.fixture(scope="module")
def view():
    return make_view("compare_2016")


@pytest.mark.parametrize(
    "samples", [0.1 * NOISE, NOISE, 0.1 * NOISE[:1600]], ids=["noise", "clipping", "a tenth of a second"]
)
def test_equals_opensmile_exactly(view, samples):
    smile = opensmile.Smile(opensmile.FeatureSet.ComParE_2016, opensmile.FeatureLevel.Functionals)
    expected = smile.process_signal(np.clip(samples, -32767 / 32768, 32767 / 32768), SAMPLING_RATE)
    assert view.feature_names == tuple(expected.columns)
    assert view.shape == (6373,)
    np.testing.assert_array_equal(view(samples), expected.to_numpy()[0])


def test_too_short(view):
    with pytest.raises(AudioError, match=r"too short for the view 'compare_2016'"):
        view(NOISE[:959])
    assert np.isfinite(view(NOISE[:960])).all()


def test_without_opensmile_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(MissingExtraError, match=r"'compare_2016' needs the package opensmile"):
        make_view("compare_2016")
