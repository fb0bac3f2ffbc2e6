"""Augmentations: what they may and may not change, how often, and that the same seed gives the same bits."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
import torch

from emoviews.augmentation import (
    Augmentation,
    band_masks,
    cropped,
    frame_masks,
    gained,
    masked,
    noisy,
    replaced,
)
from emoviews.errors import UsageError
from emoviews.types import FEATURES, FRAMES, LAYERS, VIEW_AXES, ViewBatch

LENGTHS = np.array([1, 2, 9, 40, 17])
NOTHING: dict[str, Any] = {
    "crop": 1.0,
    "frame_masks": 0,
    "band_masks": 0,
    "gain": 0.0,
    "dropped": 0.0,
    "replaced": 0.0,
    "noise": 0.0,
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def make(axes: tuple[str, ...], lengths: np.ndarray = LENGTHS, features: int = 12, seed: int = 0) -> ViewBatch:
    """Values all of which differ, far from 0 and of another spread for each feature."""
    rows = int(lengths.sum()) if FRAMES in axes else len(lengths)
    shape = (3, rows, features) if LAYERS in axes else (rows, features)
    values = torch.from_numpy(rng(seed).normal(5.0, 1.0, shape)) * torch.linspace(0.5, 4, features)
    counts = lengths if FRAMES in axes else np.ones(len(lengths), dtype=int)
    return ViewBatch(values, torch.from_numpy(np.concatenate([[0], np.cumsum(counts)])))


def pieces(batch: ViewBatch) -> list[torch.Tensor]:
    """The utterances one by one: a naive reading of the offsets."""
    ends = batch.offsets.tolist()
    return [batch.values[..., a:b, :] for a, b in itertools.pairwise(ends)]


@pytest.mark.parametrize("axes", VIEW_AXES)
def test_equal_generators_give_equal_bits_and_others_do_not(axes: tuple[str, ...]) -> None:
    batch, augment = make(axes), Augmentation(axes)
    first, again, other = (augment(batch, rng(seed)) for seed in (3, 3, 4))
    assert torch.equal(first.values, again.values)
    assert torch.equal(first.offsets, again.offsets)
    assert first.values.shape != other.values.shape or not torch.equal(first.values, other.values)


@pytest.mark.parametrize("axes", VIEW_AXES)
def test_the_batch_itself_is_not_changed_and_the_kind_of_numbers_stays(axes: tuple[str, ...]) -> None:
    batch = make(axes).to("cpu", torch.float32)
    values, offsets = batch.values.clone(), batch.offsets.clone()
    made = Augmentation(axes)(batch, rng())
    assert torch.equal(batch.values, values)
    assert torch.equal(batch.offsets, offsets)
    assert made.values.dtype == torch.float32
    assert made.offsets.dtype == torch.int64
    assert len(made) == len(batch)
    assert int(made.lengths.min()) >= 1
    assert made.values.shape[-2] == int(made.offsets[-1])
    assert torch.isfinite(made.values).all()


@pytest.mark.parametrize("axes", VIEW_AXES)
def test_with_everything_switched_off_nothing_changes(axes: tuple[str, ...]) -> None:
    batch = make(axes)
    made = Augmentation(axes, **NOTHING)(batch, rng())
    assert torch.equal(made.values, batch.values)
    assert torch.equal(made.offsets, batch.offsets)


@pytest.mark.parametrize("axes", VIEW_AXES)
def test_scaling_before_or_after_is_the_same(axes: tuple[str, ...]) -> None:
    """So it does to raw features what it does to z-scored ones."""
    batch, augment = make(axes), Augmentation(axes)
    factor, shift = torch.linspace(0.1, 30, 12).double(), torch.linspace(-9, 9, 12).double()
    scaled = augment(ViewBatch(batch.values * factor + shift, batch.offsets), rng(1)).values
    torch.testing.assert_close(scaled, augment(batch, rng(1)).values * factor + shift)


@pytest.mark.parametrize("axes", [VIEW_AXES[0], VIEW_AXES[1]])
def test_a_crop_is_one_stretch_of_each_utterance(axes: tuple[str, ...]) -> None:
    batch = make(axes)
    starts, shares = [], []
    for seed in range(200):
        for number, (whole, part) in enumerate(zip(pieces(batch), pieces(cropped(batch, 0.5, rng(seed))), strict=True)):
            n, kept = whole.shape[-2], part.shape[-2]
            places = [i for i in range(n - kept + 1) if torch.equal(whole[..., i : i + kept, :], part)]
            assert len(places) == 1, "not a stretch of this utterance"
            assert max(1, round(0.5 * n)) <= kept <= n
            if number == 3:
                shares.append(kept / n)
                if kept < n:
                    starts.append(places[0] / (n - kept))
    assert np.mean(starts) == pytest.approx(0.5, abs=0.07)
    assert (min(starts), max(starts)) == (0, 1), "the ends are never reached"
    assert np.mean(shares) == pytest.approx(0.75, abs=0.03)
    assert min(shares) < 0.53
    assert max(shares) > 0.97


def test_masks_over_frames_against_a_naive_reading() -> None:
    lengths = np.array([100, 1, 37])
    counts = np.zeros(100)
    for seed in range(400):
        hidden = frame_masks(lengths, 1, 0.2, rng(seed))
        assert hidden.shape == (138,)
        for part, n in zip(np.split(hidden, [100, 101]), lengths, strict=True):
            where = np.flatnonzero(part)
            assert len(where) <= 0.2 * n, "longer than asked"
            if len(where):
                assert where[-1] - where[0] == len(where) - 1, "not one stretch"
        counts += hidden[:100]
    # Lengths of 0 to 20, each as likely: 10 of 100 frames on average; the edges are hidden less often than the middle.
    assert counts.sum() / 400 == pytest.approx(10, abs=0.6)
    assert counts[0] < counts[50]
    assert frame_masks(lengths, 0, 0.2, rng()).sum() == 0
    assert frame_masks(np.array([3, 1]), 1, 1.0, rng()).sum() <= 2, "a whole utterance is hidden"


def test_several_masks_hide_more_than_one() -> None:
    one, three = (np.mean([frame_masks(np.array([200]), n, 0.1, rng(s)).mean() for s in range(200)]) for n in (1, 3))
    assert one == pytest.approx(0.05, abs=0.006)
    assert 0.12 < three < 0.15  # a little below three times: they overlap


def test_bands_are_neighbours_and_of_each_utterance_its_own() -> None:
    hidden = band_masks(500, 40, 1, 0.25, rng())
    assert hidden.shape == (500, 40)
    widths = hidden.sum(axis=1)
    assert set(widths) == set(range(11))
    for row in hidden[widths > 0]:
        where = np.flatnonzero(row)
        assert where[-1] - where[0] == len(where) - 1
    assert hidden.any(axis=0).all(), "some bands are never masked"


@pytest.mark.parametrize("axes", [VIEW_AXES[0], VIEW_AXES[1]])
def test_what_is_masked_gets_the_features_mean_and_nothing_else_changes(axes: tuple[str, ...]) -> None:
    batch = make(axes)
    frames, features = rng(1).random(69) < 0.3, rng(2).random((5, 12)) < 0.3
    got = masked(batch, frames, features)
    mean = batch.values.mean(dim=-2)
    frame = 0
    for utterance, n in enumerate(LENGTHS):
        for _ in range(n):
            for feature in range(12):
                hidden = frames[frame] or features[utterance, feature]
                expected = mean[..., feature] if hidden else batch.values[..., frame, feature]
                assert torch.equal(got[..., frame, feature], expected)
            frame += 1


def test_a_gain_is_one_number_an_utterance() -> None:
    batch = make((FRAMES, FEATURES), np.full(2000, 2))
    added = (gained(batch.values, np.full(2000, 2), 0.25, rng()) - batch.values) / batch.values.std(dim=0, correction=0)
    by_utterance = added.reshape(2000, 2, 12)
    torch.testing.assert_close(by_utterance, by_utterance[:, :1, :1].expand(2000, 2, 12))
    assert by_utterance[:, 0, 0].std().item() == pytest.approx(0.25, abs=0.015)
    assert by_utterance[:, 0, 0].mean().item() == pytest.approx(0, abs=0.02)


def test_replaced_features_are_another_utterances() -> None:
    values = make((FEATURES,), np.ones(300)).values
    made = replaced(values, 0.35, rng())
    assert (made != values).double().mean().item() == pytest.approx(0.35, abs=0.02)
    for column in range(12):
        assert set(made[:, column].tolist()) <= set(values[:, column].tolist())
    assert torch.equal(replaced(values, 0.0, rng()), values)
    assert (replaced(values, 1.0, rng()) != values).all(), "some are replaced by themselves"
    assert torch.equal(replaced(values[:1], 1.0, rng()), values[:1]), "there is nobody else"


def test_noise_has_the_size_that_is_asked_for() -> None:
    values = make((FEATURES,), np.ones(3000)).values
    added = (noisy(values, 0.1, rng()) - values) / values.std(dim=0, correction=0)
    np.testing.assert_allclose(added.std(dim=0).numpy(), 0.1, atol=0.006)
    assert abs(np.corrcoef(added.numpy().T)[0, 1]) < 0.06


def test_layers_lose_the_same_features_for_the_whole_utterance_and_get_no_gain() -> None:
    batch = make((LAYERS, FRAMES, FEATURES), np.full(400, 3))
    augment = Augmentation((LAYERS, FRAMES, FEATURES), **{**NOTHING, "dropped": 0.2, "gain": 1.0})
    changed = (augment(batch, rng()).values != batch.values).reshape(3, 400, 3, 12)
    assert (changed == changed[:1, :, :1]).all()
    assert changed[0, :, 0].double().mean().item() == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("axes", VIEW_AXES)
def test_copies_stay_nearer_to_their_own_utterance_than_to_others(axes: tuple[str, ...]) -> None:
    """What contrastive training needs: a random version still tells which utterance it is of."""
    centres = rng(5).normal(size=(60, 40))
    lengths = np.full(60, 30) if FRAMES in axes else np.ones(60, dtype=int)
    values = np.repeat(centres, lengths, axis=0)
    values = values + rng(6).normal(size=values.shape) / 2
    values = np.stack([values] * 3) if LAYERS in axes else values
    batch = ViewBatch(torch.from_numpy(values), torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)])))
    augment = Augmentation(axes)
    means = [
        torch.stack([p.mean(dim=tuple(range(p.ndim - 1))) for p in pieces(augment(batch, rng(s)))]) for s in (0, 1)
    ]
    a, b = (torch.nn.functional.normalize(m, dim=1) for m in means)
    assert ((a @ b.T).argmax(dim=1) == torch.arange(60)).double().mean() > 0.5  # by chance 1 of 60


@pytest.mark.parametrize(
    ("axes", "parameters", "message"),
    [
        ((FEATURES, FRAMES), {}, r"no augmentation for the axes \('features', 'frames'\); expected one of"),
        ((FEATURES,), {"crop": 1.5}, "crop lies between 0 and 1; got 1.5"),
        ((FEATURES,), {"replaced": -0.1}, "replaced lies between 0 and 1; got -0.1"),
        ((FEATURES,), {"noise": float("nan")}, "noise is 0 or more; got nan"),
        ((FEATURES,), {"frame_masks": -1}, "frame_masks is 0 or more; got -1"),
    ],
)
def test_parameters_out_of_range_are_refused(axes: Any, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Augmentation(axes, **parameters)


def test_the_description_names_every_parameter() -> None:
    described = Augmentation((FEATURES,), noise=0.5).description
    assert json.loads(json.dumps(described)) == described
    assert (described["axes"], described["noise"], described["crop"]) == (["features"], 0.5, 0.6)
