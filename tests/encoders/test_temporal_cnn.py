"""The ragged convolution against Conv1d on each utterance alone, and what a training pass costs."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.utils.flop_counter import FlopCounterMode

from emoviews.encoders.temporal_cnn import TemporalCNN, convolve
from emoviews.errors import UsageError
from emoviews.types import ViewBatch


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def ragged(utterances):
    lengths = torch.tensor([len(u) for u in utterances])
    return torch.cat(utterances), torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_convolve_equals_conv1d_on_each_utterance_alone(kernel, stride):
    weight = random(5, 3, kernel).requires_grad_()
    bias = random(5, seed=1).requires_grad_()
    utterances = [random(n, 3, seed=n).requires_grad_() for n in (1, 2, 3, 4, 5, 9, 16, 1)]
    values, offsets = ragged(utterances)
    out, new_offsets = convolve(values, offsets, weight, bias, stride)
    alone = []
    for utterance in utterances:
        padded = F.pad(utterance.T, ((kernel - 1) // 2, kernel))  # more zeros at the end than any window needs
        full = F.conv1d(padded.unsqueeze(0), weight, bias, stride)[0].T
        alone.append(full[: -(-len(utterance) // stride)])
    expected, expected_offsets = ragged(alone)
    assert torch.equal(new_offsets, expected_offsets)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    inputs = (weight, bias, *utterances)
    got, want = (torch.autograd.grad(o.tanh().sum(), inputs, materialize_grads=True) for o in (out, expected))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_convolve_leaves_its_input_alone():
    values, offsets = ragged([random(3, 2), random(4, 2)])
    before = values.clone()
    convolve(values, offsets, random(1, 2, 3), random(1), 1)
    assert torch.equal(values, before)


def test_neighbours_do_not_leak():
    encoder = TemporalCNN((0, 4), dropout=0).double()
    quiet, loud = random(11, 4), 1e6 * random(13, 4)
    for place, utterances in enumerate([(quiet, loud), (loud, quiet), (loud, quiet, loud)]):
        encoded = encoder(ViewBatch(*ragged(utterances)))[(0, 1, 1)[place]]
        torch.testing.assert_close(encoded, encoder(ViewBatch(*ragged([quiet])))[0], rtol=0, atol=1e-12)


def test_default_has_the_size_the_paper_gives():
    encoder = TemporalCNN((0, 64))
    assert sum(p.numel() for p in encoder.parameters()) == 34_784  # "0.035 M"
    assert encoder.dim == 128


def test_a_training_pass_over_250_frames_costs_under_20_mflop():
    encoder = TemporalCNN((0, 64))
    batch = ViewBatch(torch.randn(250, 64), torch.tensor([0, 250]))
    with FlopCounterMode(display=False) as counter:
        encoder(batch).sum().backward()
    # 2 flop a product; backward: ∂weight in all layers, ∂input in all but the first.
    products = [125 * 3 * 64 * 48, 63 * 3 * 48 * 48, 32 * 3 * 48 * 128]
    assert counter.get_total_flops() == 2 * (2 * products[0] + 3 * products[1] + 3 * products[2])
    assert counter.get_total_flops() < 20e6


def test_other_shapes_of_network():
    encoder = TemporalCNN((0, 6), channels=[8, 5], kernels=[5, 4], strides=[4, 1])
    assert encoder(ViewBatch(torch.randn(9, 6), torch.tensor([0, 1, 9]))).shape == (2, 5)


def test_half_precision_values_are_widened():
    encoder = TemporalCNN((0, 6)).eval()
    values, offsets = torch.randn(9, 6).half(), torch.tensor([0, 1, 9])
    encoded = encoder(ViewBatch(values, offsets))
    assert encoded.dtype == torch.float32
    torch.testing.assert_close(encoded, encoder(ViewBatch(values.float(), offsets)))


def test_several_encoders_at_once_equal_one_by_one():
    encoders = [TemporalCNN((0, 5), (4, 3), (3, 3), (2, 2), dropout=0).double() for _ in range(3)]
    parameters, buffers = stack_module_state(encoders)
    batch = ViewBatch(random(9, 5), torch.tensor([0, 1, 4, 9]))

    def score(p, b):
        return functional_call(encoders[0], (p, b), (batch,)).square().sum()

    gradients = vmap(grad(score))(parameters, buffers)
    for i, encoder in enumerate(encoders):
        encoder(batch).square().sum().backward()
        for name, parameter in encoder.named_parameters():
            torch.testing.assert_close(gradients[name][i], parameter.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"channels": (48, 128)}, "of one length"),
        ({"channels": (), "kernels": (), "strides": ()}, "of one length"),
        ({"strides": (2, 0, 2)}, "every number at least 1"),
        ({"dropout": 1.0}, r"dropout in \[0, 1\), got 1.0"),
    ],
)
def test_refuses(wrong, message):
    with pytest.raises(UsageError, match=message):
        TemporalCNN((0, 64), **wrong)
