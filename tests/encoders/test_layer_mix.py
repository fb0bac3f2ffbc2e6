"""The layer mix against multiply-and-sum, its derivatives, and the encoder against Conv1d as the paper describes it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from emoviews.batching import StoredValues, ViewData
from emoviews.encoders.layer_mix import LayerMix, mix_layers
from emoviews.errors import UsageError
from emoviews.store import ViewStore, to_storage
from emoviews.types import ViewBatch, ViewSpec


def plain_mix(weights, values):
    return (weights[:, None, None] * values).sum(0)


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def test_parameter_count_is_the_papers():
    assert sum(p.numel() for p in LayerMix((13, 0, 768)).parameters()) == 114_957


@pytest.mark.parametrize("frames", [1, 63, 64, 65, 200])  # around the block of 64
def test_mix_equals_multiply_and_sum(frames):
    weights, values = random(5).requires_grad_(), random(5, frames, 3, seed=1).requires_grad_()
    target = random(frames, 3, seed=2)
    mixed, plain = mix_layers(weights, values), plain_mix(weights, values)
    torch.testing.assert_close(mixed, plain, rtol=0, atol=1e-12)
    got, want = (torch.autograd.grad((out * target).sum(), (weights, values)) for out in (mixed, plain))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_mix_of_a_strided_view_equals_multiply_and_sum():
    weights, values = random(4), random(3, 70, 4, seed=1).permute(2, 1, 0)
    torch.testing.assert_close(mix_layers(weights, values), plain_mix(weights, values), rtol=0, atol=1e-12)


def test_gradients_of_any_order():
    inputs = (random(3).requires_grad_(), random(3, 4, 2, seed=1).requires_grad_())
    assert torch.autograd.gradcheck(mix_layers, inputs)
    assert torch.autograd.gradgradcheck(mix_layers, inputs)


def test_values_without_gradient_get_none():
    weights, values = random(3).requires_grad_(), random(3, 4, 2, seed=1)
    mix_layers(weights, values).sum().backward()
    torch.testing.assert_close(weights.grad, values.sum((1, 2)))
    assert values.grad is None


def test_narrow_values_are_widened_not_the_weights_narrowed():
    weights, values = random(5, dtype=torch.float32).requires_grad_(), random(5, 130, 3, seed=1).half()
    mixed, plain = mix_layers(weights, values), plain_mix(weights, values.float())
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, plain)
    got, want = (torch.autograd.grad(out.square().sum(), weights)[0] for out in (mixed, plain))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-4)


def test_gradient_in_float32_is_accurate_over_many_frames():
    weights, values = torch.zeros(2, requires_grad=True), torch.rand(2, 20_000, 32)
    mix_layers(weights, values).sum().backward()
    torch.testing.assert_close(weights.grad.double(), values.double().sum((1, 2)), rtol=1e-6, atol=0)


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_what_stays_in_the_store_is_encoded_as_what_was_read(tmp_path, scaled, dtype):
    """Outputs and gradients, in float64, over utterances of several blocks and of one."""
    spec = ViewSpec("large", 1, {}, ("layers", "frames", "features"), (3, 0, 700), dtype, 50.0)
    store, rng = ViewStore(tmp_path, spec), np.random.default_rng(0)
    given = {f"k{n}": (5 + rng.standard_normal((3, n, 700))).astype(np.float32) for n in (300, 1, 124)}
    store.add({key: to_storage(values, spec) for key, values in given.items()})
    data = ViewData(store, ["k300", "k1", "k124"], resident_bytes=0)
    scaler = data.fit_scaler([0, 1]) if scaled else None
    encoder = LayerMix(spec.shape, hidden=6, dim=4).double().eval()
    batches = [read([2, 0, 1, 0], scaler) for read in (data.batch, data.stored_batch)]
    assert isinstance(batches[1].values, StoredValues)
    assert encoder.read(data, [0], None).values.shape == (3, 300, 700)
    assert isinstance(encoder.read(data, [0], None).values, StoredValues)
    target = random(4, 4)
    outputs = [encoder(batch) for batch in batches]
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-6)  # one is scaled in float32, the other in float64
    gradients = [torch.autograd.grad((out * target).sum(), list(encoder.parameters())) for out in outputs]
    for plain, stored in zip(*gradients, strict=True):
        torch.testing.assert_close(stored, plain, rtol=1e-5, atol=1e-6)


def test_encoder_equals_the_papers_description():
    """Padded batch, broadcast weights, Conv1d with a kernel of 1, mean over the true frames."""
    encoder = LayerMix((3, 0, 5), hidden=6, dim=4).double().eval()
    with torch.no_grad():
        encoder.layer_weights.copy_(torch.tensor([1.0, 2.0, 0.5]))
    utterances = [random(3, n, 5, seed=n) for n in (4, 9, 1)]
    batch = ViewBatch(torch.cat(utterances, dim=1), torch.tensor([0, 4, 13, 14]))
    first, second = encoder.pointwise[0], encoder.pointwise[3]
    for utterance, encoded in zip(utterances, encoder(batch), strict=True):
        mixed = plain_mix(encoder.layer_weights / 3.5, utterance).T.unsqueeze(0)  # (1, features, frames)
        hidden = F.relu(F.conv1d(mixed, first.weight.unsqueeze(2), first.bias))
        hidden = F.relu(F.conv1d(hidden, second.weight.unsqueeze(2), second.bias))
        torch.testing.assert_close(encoded, hidden.mean(2).squeeze(0), rtol=0, atol=1e-12)


def test_autocast_leaves_the_mix_in_full_precision():
    weights, values = random(3, dtype=torch.float32).requires_grad_(), random(3, 4, 2, seed=1, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = mix_layers(weights, values)
    torch.testing.assert_close(mixed, plain_mix(weights, values))
    mixed.sum().backward()
    torch.testing.assert_close(weights.grad, values.sum((1, 2)))


@pytest.mark.parametrize("wrong", [{"hidden": 0}, {"dim": 0}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_refuses(wrong):
    with pytest.raises(UsageError, match=r"layer_mix needs .* got hidden="):
        LayerMix((3, 0, 5), **wrong)
