"""EmoViews: recognise emotion in speech when only a few recordings are labelled.

The flow goes one way, and a module imports only from what stands before it here:

    audio, table, corpora       recordings and labels become an utterance table
    views, store, extraction    every recording becomes several arrays, kept on disk
    batching, encoders, heads   ragged batches, and the small networks that read them
    losses, pretraining         encoders whose views of one utterance agree; no labels
    finetuning                  a classifier from the few labels there are
    splits, metrics, statistics speaker-disjoint folds, scores, intervals and tests
    jobs, runners, results      what is run, how, and what is kept of it
    experiments, report         the paper's tables and figures, from saved rows only
    fusion, semisupervised      a classifier from few labels and many recordings without
    recognizer, bundles         the recogniser for people: fit, predict, save, load
    exporting, hub, tracking    what others take: ONNX graphs, the Hugging Face hub, TensorBoard and MLflow
    cli                         one thin function a command

The names below are imported when they are first used, so `import emoviews` takes milliseconds and loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from emoviews.audio import load
    from emoviews.batching import ViewData
    from emoviews.bundles import load_recognizer, save_recognizer
    from emoviews.encoders import make_encoder
    from emoviews.extraction import extract, locate
    from emoviews.finetuning import finetune
    from emoviews.hub import from_pretrained, push_to_hub
    from emoviews.losses import make_loss
    from emoviews.metrics import uar
    from emoviews.pretraining import pretrain
    from emoviews.recognizer import EmotionRecognizer
    from emoviews.results import Results
    from emoviews.store import ViewStore
    from emoviews.table import make_table, read_table
    from emoviews.views import ViewRequest, make_view

__version__ = "0.1.0"

__all__ = [
    "EmotionRecognizer",
    "Results",
    "ViewData",
    "ViewRequest",
    "ViewStore",
    "extract",
    "finetune",
    "from_pretrained",
    "load",
    "load_recognizer",
    "locate",
    "make_encoder",
    "make_loss",
    "make_table",
    "make_view",
    "pretrain",
    "push_to_hub",
    "read_table",
    "save_recognizer",
    "uar",
]

_HOMES: Final = {
    "EmotionRecognizer": "recognizer",
    "Results": "results",
    "ViewData": "batching",
    "ViewRequest": "views",
    "ViewStore": "store",
    "extract": "extraction",
    "finetune": "finetuning",
    "from_pretrained": "hub",
    "load": "audio",
    "load_recognizer": "bundles",
    "locate": "extraction",
    "make_encoder": "encoders",
    "make_loss": "losses",
    "make_table": "table",
    "make_view": "views",
    "pretrain": "pretraining",
    "push_to_hub": "hub",
    "read_table": "table",
    "save_recognizer": "bundles",
    "uar": "metrics",
}
"""Public name → the module that defines it."""


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562).

    Raises:
        AttributeError: there is no such name.
    """
    if name not in _HOMES:
        raise AttributeError(f"module 'emoviews' has no attribute {name!r}; it has {', '.join(__all__)}.")
    value = getattr(import_module(f"emoviews.{_HOMES[name]}"), name)
    globals()[name] = value  # the next use finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
