"""Parameters: counted from the modules, held to the sums that one writes down by hand."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from emoviews.errors import UsageError
from emoviews.experiments import EXPERIMENTS, Plan
from emoviews.experiments.parameters import (
    ALL_VIEWS,
    FROZEN,
    HERE,
    PAPER_VIEWS,
    PRETRAINING,
    RECOUNTED,
    TUNED,
    counts,
    n_parameters,
    recounted,
    wav2vec2_base_parameters,
)
from emoviews.presets import get_preset
from emoviews.results import Results
from emoviews.types import ViewSpec

PARAMETERS = EXPERIMENTS.load("parameters")
WAV2VEC2 = 94_371_712  # the published 95 M of wav2vec 2.0 base, without the heads of its pre-training


def linear(inputs: int, *sizes: int) -> int:
    """Weights and biases of fully connected layers."""
    widths = (inputs, *sizes)
    return sum(a * b + b for a, b in pairwise(widths))


LAYER_MIX = 13 + linear(768, 128, 128)
CNN = 3 * 64 * 48 + 48 + 3 * 48 * 48 + 48 + 3 * 48 * 128 + 128
PROJECTION = linear(128, 256, 128)


def spec(name: str, label: str = "") -> ViewSpec:
    axes, shape = PAPER_VIEWS[name]
    return ViewSpec(label or name, 1, {}, axes, shape, "float32", None)


def test_nothing_is_trained_for_it() -> None:
    assert PARAMETERS.jobs(Plan("toy", "table", {"A": "1"}, {"egemaps": "2"})) == []


@pytest.mark.parametrize(
    ("preset", "mlp", "classifier"),
    [
        ("default", linear(88, 256, 128), linear(128, 6)),
        ("paper-text", linear(88, 256, 128), linear(128, 6)),
        ("paper-table", linear(88, 128), linear(128, 128, 6)),
    ],
)
def test_counts_are_the_sums_written_down_by_hand(preset: str, mlp: int, classifier: int) -> None:
    table = counts({name: spec(name) for name in PAPER_VIEWS}, get_preset(preset), 6)
    found = table.set_index(["view", "training"])[["frozen", "trainable"]].T.to_dict("list")
    assert found == {
        ("wav2vec2", TUNED): [WAV2VEC2, LAYER_MIX + classifier],
        ("wav2vec2", FROZEN): [WAV2VEC2 + LAYER_MIX, classifier],
        ("mel_spectrogram", TUNED): [0, CNN + classifier],
        ("mel_spectrogram", FROZEN): [CNN, classifier],
        ("egemaps", TUNED): [0, mlp + classifier],
        ("egemaps", FROZEN): [mlp, classifier],
        (ALL_VIEWS, PRETRAINING): [WAV2VEC2, LAYER_MIX + CNN + mlp + 3 * PROJECTION],
    }
    parts = table["extractor_parameters"] + table["encoder_parameters"] + table["head_parameters"]
    assert (parts == table["frozen"] + table["trainable"]).all()
    assert table["encoder"].tolist() == [n for n in ("layer_mix", "temporal_cnn", "mlp") for _ in "ab"] + [
        "all encoders"
    ]


def test_the_papers_presets_reach_what_the_paper_prints_where_its_table_is_consistent() -> None:
    table = recounted().set_index(["view", "training"])
    ours = table[["paper-table_frozen", "paper-table_trainable"]] / 1e6
    for row in (("wav2vec2", TUNED), ("wav2vec2", FROZEN)):
        assert round(ours.loc[row, "paper-table_trainable"], 3) == table.loc[row, "paper_trainable_millions"]
    assert round(ours.loc[("wav2vec2", TUNED), "paper-table_frozen"], 1) == 94.4
    for view in ("mel_spectrogram", "egemaps"):
        assert (
            round(ours.loc[(view, FROZEN), "paper-table_frozen"], 3)
            == table.loc[(view, FROZEN), "paper_frozen_millions"]
        )
    assert len(table) == 7
    assert table["note"].str.len().min() > 40


def test_the_numbers_in_the_notes_are_right() -> None:
    notes = recounted().set_index(["view", "training"])["note"]
    text = linear(88, 256, 128)
    table_encoders = LAYER_MIX + CNN + linear(88, 128)
    for key, values in {
        ("wav2vec2", TUNED): [LAYER_MIX, linear(128, 128, 4), LAYER_MIX + linear(128, 128, 4)],
        ("wav2vec2", FROZEN): [WAV2VEC2 + LAYER_MIX, 94_400_000 + 115_000],
        ("mel_spectrogram", TUNED): [CNN],
        ("mel_spectrogram", FROZEN): [linear(198, 128, 4)],
        ("egemaps", TUNED): [linear(88, 128), text],
        ("egemaps", FROZEN): [linear(88, 128), linear(128, 128, 10), linear(128, 128, 4)],
        (ALL_VIEWS, PRETRAINING): [
            *(table_encoders, 3 * PROJECTION, table_encoders + 3 * PROJECTION),
            LAYER_MIX + CNN + text,
        ],
    }.items():
        for value in values:
            assert f"{value / 1e6:.3f}" in notes[key], (key, value)
    assert f"{linear(128, 4) / 1e6:.4f}" in notes["wav2vec2", TUNED]


def test_wav2vec2_is_the_architecture_of_the_published_model() -> None:
    convolutions = 10 * 512 + 4 * 3 * 512**2 + 2 * 2 * 512**2 + 2 * 512  # without bias; a group norm after the first
    projection = 2 * 512 + linear(512, 768)
    position = 768 * 48 * 128 + 128 + 768  # grouped convolution with weight norm, and its bias
    layer = 4 * linear(768, 768) + linear(768, 3072, 768) + 2 * 2 * 768
    masked = 768
    assert (
        wav2vec2_base_parameters() == convolutions + projection + position + 2 * 768 + 12 * layer + masked == WAV2VEC2
    )


def test_other_speech_models_are_not_guessed() -> None:
    other = ViewSpec("speech_model", 1, {}, *PAPER_VIEWS["wav2vec2"], "float16", 50.0)
    large = dataclasses.replace(spec("wav2vec2"), shape=(25, 0, 1024))
    for unknown in (other, large):
        table = counts({"a": unknown, "egemaps": spec("egemaps")}, get_preset("default"), 4)
        assert table["frozen"].isna().tolist() == [True, True, False, False, True]
        assert table["trainable"].notna().all()


def test_fewer_than_two_classes_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 2 classes, got 1"):
        counts({"egemaps": spec("egemaps")}, get_preset("default"), 1)


def test_counting_takes_no_random_numbers() -> None:
    before = torch.random.get_rng_state()
    recounted()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert n_parameters(torch.nn.Linear(3, 2, bias=False)) == 6


def test_the_run_says_its_views_preset_and_classes(tmp_path: Path) -> None:
    views = {
        "egemaps": spec("egemaps"),
        "mel_spectrogram(bands=40)": dataclasses.replace(spec("mel_spectrogram"), shape=(0, 40)),
    }
    with Results(tmp_path) as results:
        assert list(PARAMETERS.tables(results)) == [RECOUNTED], "a folder that says nothing of its run"
        results.describe(
            views={label: dataclasses.asdict(view) for label, view in views.items()},
            labels=list("abcde"),
            configuration={"preset": "paper-table"},
        )
        tables = PARAMETERS.tables(results)
    assert list(tables) == [HERE, RECOUNTED]
    pd.testing.assert_frame_equal(tables[HERE], counts(views, get_preset("paper-table"), 5))
    row = tables[HERE].set_index(["view", "training"]).loc[("mel_spectrogram(bands=40)", TUNED)]
    assert row["trainable"] == CNN - 3 * 24 * 48 + linear(128, 128, 5)
    assert np.isfinite(tables[HERE]["frozen"]).all()
