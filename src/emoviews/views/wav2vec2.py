"""The paper's speech view: thirteen layers of a frozen wav2vec 2.0 base model (section 3.2).

`facebook/wav2vec2-base`, pre-trained on unlabelled speech and never fine-tuned for recognition (`-960h` is another model);
768 features a layer, 50 frames a second. The paper crops or zero-pads to 15 s: that is `padding="fixed"`. The default
computes every recording at its true length: 64 instead of 229 GFLOP for 4.5 s, and, because of the group norm of this model's
first layer, another view (see `speech_model`, of which this is a special case).
"""

from __future__ import annotations

from dataclasses import dataclass

from emoviews.views.speech_model import SpeechModel, SpeechModelParameters


@dataclass(frozen=True, kw_only=True)
class Wav2Vec2Parameters(SpeechModelParameters):
    """As `SpeechModelParameters`, with the paper's model.

    Attributes:
        model: hub name or folder of a wav2vec 2.0 checkpoint; layers and features are its own.
    """

    model: str = "facebook/wav2vec2-base"


class Wav2Vec2(SpeechModel):
    """Layers of a frozen wav2vec 2.0 model, float32 `(layers, frames, features)`; see `SpeechModel` for errors."""

    name = "wav2vec2"
    title = "layers of wav2vec 2.0 base, the paper's view"
    version = 1
    Parameters = Wav2Vec2Parameters
    model_types = ("wav2vec2",)


VIEW = Wav2Vec2
