"""Named choices of model: ours, and the paper's two, since its text and its table of parameters contradict each other.

- `paper-text`: what sections 3.2 and 3.3 say: an MLP of 256 and 128 for eGeMAPS, a linear classifier.
- `paper-table`: what the table of parameters (supplement, 7.1) adds up to: one layer of 128 for eGeMAPS (11 392 parameters),
  a classifier with one hidden layer of 128 (17 028 for 4 classes). The table's other two heads fit no consistent reading.
- `default`: as `paper-text`, but nothing is padded.

Both of the paper's pad every recording with zeros to 15 s and average over the padding as well.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from emoviews.encoders import DEFAULT_ENCODER, ENCODERS
from emoviews.errors import UsageError
from emoviews.types import ViewSpec


@dataclass(frozen=True)
class ModelPreset:
    """What differs from the defaults of views, encoders and heads.

    Attributes:
        name: the preset's name.
        encoders: encoder name → keyword parameters of its constructor.
        classifier_hidden: hidden layers of the classifier.
        projection: keyword parameters of the projection head.
        views: view name → parameters.
    """

    name: str
    encoders: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    classifier_hidden: tuple[int, ...] = ()
    projection: Mapping[str, Any] = field(default_factory=dict)
    views: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


_PADDED = {"padding": "fixed", "mask_padding": False}
_PAPER_VIEWS = {"mel_spectrogram": _PADDED, "wav2vec2": _PADDED}

_PRESETS = {
    preset.name: preset
    for preset in (
        ModelPreset("default"),
        ModelPreset("paper-text", encoders={"mlp": {"hidden": (256,)}}, views=_PAPER_VIEWS),
        ModelPreset("paper-table", encoders={"mlp": {"hidden": ()}}, classifier_hidden=(128,), views=_PAPER_VIEWS),
    )
}


def preset_names() -> list[str]:
    """All presets.

    >>> preset_names()
    ['default', 'paper-table', 'paper-text']
    """
    return sorted(_PRESETS)


def get_preset(name: str) -> ModelPreset:
    """The preset called `name`.

    >>> get_preset("paper-table").classifier_hidden
    (128,)

    Raises:
        UsageError: no such preset; the message lists them and the nearest one.
    """
    if name not in _PRESETS:
        near = difflib.get_close_matches(name, _PRESETS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"There is no preset called {name!r}.{hint} Known: {', '.join(preset_names())}.")
    return _PRESETS[name]


def encoder_description(spec: ViewSpec, preset: str) -> dict[str, Any]:
    """The encoder that a preset gives a view, with every parameter written out, as JSON values.

    >>> from emoviews.types import FEATURES
    >>> flat = ViewSpec("egemaps", 1, {}, (FEATURES,), (88,), "float32", None)
    >>> encoder_description(flat, "default")
    {'name': 'mlp', 'hidden': [256], 'dim': 128, 'dropout': 0.0}
    """
    name = DEFAULT_ENCODER[spec.axes]
    _, *parameters = inspect.signature(ENCODERS.load(name)).parameters.values()  # the first is the view's shape
    given = {p.name: p.default for p in parameters} | dict(get_preset(preset).encoders.get(name, {}))
    return {"name": name, **{key: list(v) if isinstance(v, tuple) else v for key, v in given.items()}}
