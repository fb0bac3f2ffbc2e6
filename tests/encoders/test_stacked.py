"""Many models at once against one after the other."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from emoviews.encoders import ENCODERS, Encoder
from emoviews.encoders._dropout import Dropout, draw_apart
from emoviews.encoders._stacked import BankBatch, Linear, linear, stack
from emoviews.types import FEATURES, FRAMES, LAYERS, ViewBatch

SIZES = {LAYERS: 3, FRAMES: 0, FEATURES: 6}
BANKS = [name for name in ENCODERS.names() if ENCODERS.load(name).banks]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("way", ["shared", "each its own", "equal stretches", "unequal stretches"])
@pytest.mark.parametrize("with_bias", [True, False])
def test_linear_and_its_derivatives_are_those_of_each_model(way: str, with_bias: bool) -> None:
    weight, bias = random(3, 4, 5).requires_grad_(), random(3, 4, seed=1).requires_grad_()
    values = (random(3, 7, 5, seed=2) if way == "each its own" else random(12, 5, seed=2)).requires_grad_()
    stretches = {"equal stretches": [0, 4, 8, 12], "unequal stretches": [0, 2, 11, 12]}.get(way)
    offsets = torch.tensor(stretches) if stretches else None
    parts = (
        [values[a:b] for a, b in pairwise(stretches)]
        if stretches
        else [values] * 3
        if way == "shared"
        else list(values)
    )
    biases = bias if with_bias else [None] * 3
    each = [nn.functional.linear(v, w, b) for v, w, b in zip(parts, weight, biases, strict=True)]
    want = torch.cat(each) if stretches else torch.stack(each)
    got = linear(values, weight, bias if with_bias else None, offsets)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    inputs = [values, weight, *([bias] if with_bias else [])]
    for mine, its in zip(*(torch.autograd.grad(out.tanh().sum(), inputs) for out in (got, want)), strict=True):
        torch.testing.assert_close(mine, its, rtol=0, atol=1e-12)
        assert mine.is_contiguous()


def test_linear_of_one_model_is_torchs() -> None:
    mine, its = Linear(5, 4), nn.Linear(5, 4)
    its.load_state_dict(mine.state_dict())
    values = torch.randn(3, 5)
    assert torch.equal(mine(values), its(values))


def test_linear_refuses_stretches_of_another_number_of_models() -> None:
    with pytest.raises(ValueError, match="Expected stretches of 3 models, got 2"):
        linear(random(6, 5), random(3, 4, 5), None, torch.tensor([0, 2, 6]))


def bank(name: str) -> list[Encoder]:
    torch.manual_seed(0)
    encoder = ENCODERS.load(name)
    return [encoder(tuple(SIZES[axis] for axis in encoder.axes)).double().eval() for _ in range(4)]


def batch(encoder: Encoder, number: int, utterances: int = 3) -> ViewBatch:
    """Utterances of different lengths, and other ones for each number."""
    lengths = [5 * number + 3 * i + 1 for i in range(utterances)] if FRAMES in encoder.axes else [1] * utterances
    shape = [size or sum(lengths) for size in encoder.shape]
    values = random(*shape, seed=number) if FRAMES in encoder.axes else random(utterances, *shape, seed=number)
    return ViewBatch(values, torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()]))


def together(encoder: Encoder, batches: list[ViewBatch], sharing: tuple[int, ...]) -> BankBatch:
    axis = encoder.axes.index(FRAMES) if FRAMES in encoder.axes else 0
    lengths = torch.cat([b.lengths for b in batches])
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    return BankBatch(torch.cat([b.values for b in batches], dim=axis), offsets, sharing)


def test_every_encoder_of_ours_can_be_stacked() -> None:
    assert {"mlp", "temporal_cnn", "layer_mix"} <= set(BANKS)
    assert not Encoder.banks


@pytest.mark.parametrize("name", BANKS)
@pytest.mark.parametrize("sharing", [(1, 1, 1, 1), (4,), (2, 1, 1), (1, 3)])
def test_a_stacked_encoder_is_its_models_one_by_one(name: str, sharing: tuple[int, ...]) -> None:
    encoders = bank(name)
    batches = [batch(encoders[0], number) for number in range(len(sharing))]
    of_model = [b for b, n in zip(batches, sharing, strict=True) for _ in range(n)]
    stacked = stack(encoders)
    got = stacked(together(encoders[0], batches, sharing)).reshape(4, 3, -1)
    want = torch.stack([encoder(b) for encoder, b in zip(encoders, of_model, strict=True)])
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    gradients = torch.autograd.grad(got.tanh().sum(), list(stacked.parameters()))
    for m, encoder in enumerate(encoders):
        alone = torch.autograd.grad(want[m].tanh().sum(), list(encoder.parameters()), retain_graph=True)
        for mine, its in zip(gradients, alone, strict=True):
            torch.testing.assert_close(mine[m], its, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", BANKS)
@pytest.mark.parametrize("sharing", [(1, 1, 1, 1), (4,), (2, 1, 1)])
def test_every_model_draws_the_dropout_it_would_draw_alone(name: str, sharing: tuple[int, ...]) -> None:
    encoders = bank(name)
    for encoder in encoders:
        encoder.train()
        for module in encoder.modules():
            if isinstance(module, Dropout):
                module.p = 0.4
    batches = [batch(encoders[0], number) for number in range(len(sharing))]
    of_model = [b for b, n in zip(batches, sharing, strict=True) for _ in range(n)]
    stacked = stack(encoders)
    draw_apart(stacked, [torch.Generator().manual_seed(m) for m in range(4)])
    got = stacked(together(encoders[0], batches, sharing)).reshape(4, 3, -1)
    for m, (encoder, b) in enumerate(zip(encoders, of_model, strict=True)):
        torch.manual_seed(m)
        torch.testing.assert_close(got[m], encoder(b), rtol=0, atol=1e-12)


def test_a_stack_shares_no_memory_with_its_models() -> None:
    models = [Linear(2, 2), Linear(2, 2)]
    stacked = stack(models)
    before = models[0].weight.clone()
    with torch.no_grad():
        stacked.weight.zero_()
    assert torch.equal(models[0].weight, before)


def test_batches_that_are_shared_are_repeated() -> None:
    values = torch.arange(6.0).unsqueeze(1)
    both = BankBatch(values, torch.tensor([0, 1, 3, 4, 6]), (1, 2))  # two batches of two utterances
    each = both.a_batch_each()
    assert each.values.flatten().tolist() == [0, 1, 2, 3, 4, 5, 3, 4, 5]
    assert each.offsets.tolist() == [0, 1, 3, 4, 6, 7, 9]
    assert each.sharing == (1, 1, 1)
    assert each.a_batch_each() is each
