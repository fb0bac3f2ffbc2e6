"""The paper's speech view: a special case of speech_model, which tests/views/test_speech_model.py holds to transformers."""

import numpy as np
import pytest

from emoviews.errors import CheckpointError, UsageError
from emoviews.views import make_view
from emoviews.views.wav2vec2 import Wav2Vec2Parameters

pytestmark = pytest.mark.usefixtures("offline")


def test_the_papers_model():
    assert Wav2Vec2Parameters().model == "facebook/wav2vec2-base"
    assert Wav2Vec2Parameters().maximum_seconds == 15


def test_is_speech_model_under_its_own_name(make_checkpoint, make_speech):
    folder, samples = str(make_checkpoint()), make_speech(16_000)
    view, general = make_view("wav2vec2", {"model": folder}), make_view("speech_model", {"model": folder})
    assert np.array_equal(view(samples), general(samples))
    assert view.spec.name == "wav2vec2"
    assert view.spec.shape == (4, 0, 16)
    assert view.spec.frame_rate == 50
    assert view.spec.fingerprint != general.spec.fingerprint


def test_layers_and_features_come_from_the_configuration(make_checkpoint, make_speech):
    folder = make_checkpoint(num_hidden_layers=2, hidden_size=24)
    view = make_view("wav2vec2", {"model": str(folder)})
    assert view.spec.shape == (3, 0, 24)
    assert view(make_speech(1600)).shape == (3, 4, 24)


def test_the_papers_input(make_checkpoint, make_speech):
    """15 s, zero-padded, padding kept: 749 frames for every recording, under another fingerprint than true lengths."""
    folder = str(make_checkpoint())
    paper = make_view("wav2vec2", {"model": folder, "padding": "fixed", "mask_padding": False})
    assert paper(make_speech(16_000)).shape == (4, 749, 16)
    assert paper(make_speech(16 * 16_000)).shape == (4, 749, 16)
    assert paper.spec.fingerprint != make_view("wav2vec2", {"model": folder}).spec.fingerprint


def test_without_network_the_message_says_what_to_do(offline):
    with pytest.raises(CheckpointError) as error:
        make_view("wav2vec2")
    message = str(error.value)
    assert "'facebook/wav2vec2-base' (revision 'main') is neither a folder nor in the Hugging Face cache" in message
    assert str(offline) in message
    assert "Download it once where there is network: hf download facebook/wav2vec2-base." in message
    assert "wav2vec2(model=FOLDER)" in message


def test_other_kinds_of_model_are_refused(make_checkpoint):
    with pytest.raises(
        UsageError, match=r"is a model of type 'hubert'; the view 'wav2vec2' takes the types wav2vec2\."
    ):
        make_view("wav2vec2", {"model": str(make_checkpoint("hubert"))})
