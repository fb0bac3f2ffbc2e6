"""Presets: what they build has the paper's sizes."""

import pytest
import torch

from emoviews.encoders import ENCODERS
from emoviews.errors import UsageError
from emoviews.heads import Classifier, ProjectionHead
from emoviews.presets import get_preset, preset_names
from emoviews.views import VIEWS


def count(module):
    return sum(p.numel() for p in module.parameters())


def encoder(preset, name, shape):
    return ENCODERS.load(name)(shape, **get_preset(preset).encoders.get(name, {}))


@pytest.mark.parametrize(
    ("preset", "mlp", "classifier"),
    [("default", 55_680, 516), ("paper-text", 55_680, 516), ("paper-table", 11_392, 17_028)],
)
def test_sizes(preset, mlp, classifier):
    chosen = get_preset(preset)
    assert chosen.name == preset
    assert count(encoder(preset, "mlp", (88,))) == mlp
    assert count(encoder(preset, "layer_mix", (13, 0, 768))) == 114_957
    assert count(encoder(preset, "temporal_cnn", (0, 64))) == 34_784
    assert count(Classifier(128, 4, chosen.classifier_hidden)) == classifier
    assert ProjectionHead(128, **chosen.projection)(torch.zeros(2, 128)).shape == (2, 128)


@pytest.mark.parametrize("preset", ["paper-text", "paper-table"])
def test_the_papers_pad_and_average_over_the_padding(preset):
    padded = {"padding": "fixed", "mask_padding": False}
    assert get_preset(preset).views == {"mel_spectrogram": padded, "wav2vec2": padded}
    assert get_preset("default").views == {}
    for view, parameters in get_preset(preset).views.items():
        assert VIEWS.load(view).Parameters(**parameters).maximum_seconds == 15


def test_every_name_is_known():
    assert {get_preset(name).name for name in preset_names()} == {"default", "paper-table", "paper-text"}


def test_unknown_preset():
    with pytest.raises(UsageError, match=r"no preset called 'paper-tabel'. Did you mean 'paper-table'.*Known: default"):
        get_preset("paper-tabel")
