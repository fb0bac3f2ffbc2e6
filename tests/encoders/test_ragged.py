"""The mean over ragged frames against a loop, and what a batch is refused for."""

from itertools import pairwise

import pytest
import torch

from emoviews.encoders._ragged import check_batch, segment_mean
from emoviews.types import FEATURES, FRAMES, LAYERS, ViewBatch


def test_segment_mean_equals_a_loop():
    lengths = torch.tensor([1, 7, 3, 200, 1])
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(int(offsets[-1]), 4, dtype=torch.float64, generator=generator, requires_grad=True)
    weights = torch.randn(5, 4, dtype=torch.float64, generator=generator)
    loop = torch.stack([values[a:b].mean(0) for a, b in pairwise(offsets.tolist())])
    mean = segment_mean(values, offsets)
    torch.testing.assert_close(mean, loop, rtol=0, atol=1e-14)
    got, want = (torch.autograd.grad((out * weights).sum(), values)[0] for out in (mean, loop))
    torch.testing.assert_close(got, want, rtol=0, atol=1e-14)


def test_segment_mean_of_several_models_is_that_of_each():
    values, offsets = torch.randn(3, 6, 4), torch.tensor([0, 1, 4, 6])
    torch.testing.assert_close(segment_mean(values, offsets), torch.stack([segment_mean(v, offsets) for v in values]))


def test_segment_mean_is_accurate_in_float32_over_long_utterances():
    values = torch.rand(6000, 3, generator=torch.Generator().manual_seed(0)) + 100
    mean = segment_mean(values, torch.tensor([0, 5999, 6000]))
    torch.testing.assert_close(mean[0].double(), values[:5999].double().mean(0), rtol=1e-5, atol=0)


def batch(values_shape, offsets):
    return ViewBatch(torch.zeros(values_shape), offsets if isinstance(offsets, torch.Tensor) else torch.tensor(offsets))


def test_check_batch_takes_what_fits():
    check_batch(batch((13, 5, 8), [0, 2, 5]), (13, 0, 8), (LAYERS, FRAMES, FEATURES))
    check_batch(batch((5, 8), [0, 2, 5]), (0, 8), (FRAMES, FEATURES))
    check_batch(batch((2, 8), [0, 1, 2]), (8,), (FEATURES,))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (batch((5, 9), [0, 5]), r"shape \(frames any, features 8\), got \(5, 9\)"),
        (batch((1, 5, 8), [0, 5]), r"shape \(frames any, features 8\), got \(1, 5, 8\)"),
        (batch((5, 8), torch.tensor([0, 5], dtype=torch.int32)), "int64 on the CPU.*torch.int32"),
        (batch((5, 8), [0]), r"at least one utterance; got shape \(1,\)"),
        (batch((5, 8), [0, 4]), "from 0 to the 5 rows of the batch, got 0 to 4"),
        (batch((5, 8), [1, 5]), "from 0 to the 5 rows of the batch, got 1 to 5"),
        (batch((5, 8), [0, 2, 2, 5]), "Utterance 1 of the batch has 0 frames; every utterance needs at least one"),
    ],
)
def test_check_batch_refuses(wrong, message):
    with pytest.raises(ValueError, match=message):
        check_batch(wrong, (0, 8), (FRAMES, FEATURES))


def test_check_batch_names_the_axes_of_functionals():
    with pytest.raises(ValueError, match=r"shape \(batch any, features 8\), got \(2, 7\)"):
        check_batch(batch((2, 7), [0, 1, 2]), (8,), (FEATURES,))
