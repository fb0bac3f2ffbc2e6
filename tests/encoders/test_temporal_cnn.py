"""The ragged convolution against Conv1d on each utterance alone, and what a training pass costs."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from emoviews.encoders import temporal_cnn
from emoviews.encoders._stacked import BankBatch, stack
from emoviews.encoders.temporal_cnn import TemporalCNN, convolve, lay_out
from emoviews.errors import UsageError
from emoviews.types import ViewBatch


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def ragged(utterances):
    lengths = torch.tensor([len(u) for u in utterances])
    return torch.cat(utterances), torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])


def slotted(utterances, layers):
    """Utterances in slots, and the slots of their layers."""
    values, offsets = ragged(utterances)
    slots = lay_out(offsets.diff(), layers)
    return slots[0].place(values, offsets), slots


def taken_out(out, slots):
    """The frames of each utterance."""
    return [out[a : a + n] for a, n in zip(slots.starts.tolist(), slots.lengths.tolist(), strict=False)]


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_convolve_equals_conv1d_on_each_utterance_alone(kernel, stride):
    weight = random(5, 3, kernel).requires_grad_()
    bias = random(5, seed=1).requires_grad_()
    utterances = [random(n, 3, seed=n).requires_grad_() for n in (1, 2, 3, 4, 5, 9, 16, 1)]
    values, slots = slotted(utterances, [(kernel, stride)])
    out = taken_out(convolve(values, weight, bias, stride, slots[1]), slots[1])
    for utterance, got in zip(utterances, out, strict=True):
        padded = F.pad(utterance.T, ((kernel - 1) // 2, kernel))  # more zeros at the end than any window needs
        full = F.relu(F.conv1d(padded.unsqueeze(0), weight, bias, stride))[0].T
        expected = full[: -(-len(utterance) // stride)]
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
        inputs = (weight, bias, utterance)
        gradients = (torch.autograd.grad(o.tanh().sum(), inputs, retain_graph=True) for o in (got, expected))
        for a, b in zip(*gradients, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "layers", [[(3, 2), (3, 2), (3, 2)], [(5, 4), (4, 1)], [(2, 3), (7, 1), (3, 2)], [(1, 1)], [(9, 2), (9, 3)]]
)
def test_several_layers_equal_conv1d_on_each_utterance_alone(layers):
    kernels, strides = zip(*layers, strict=True)
    encoder = TemporalCNN((0, 4), [5] * len(layers), kernels, strides, dropout=0).double()
    utterances = [random(n, 4, seed=n) for n in (1, 2, 3, 7, 8, 9, 31, 32, 33, 100, 1)]
    got = encoder(ViewBatch(*ragged(utterances)))
    want = []
    for utterance in utterances:
        hidden = utterance.T.unsqueeze(0)
        for layer in encoder.layers:
            (kernel,), (stride,), frames = layer.kernel_size, layer.stride, hidden.shape[2]
            padded = F.pad(hidden, ((kernel - 1) // 2, kernel))
            hidden = F.relu(F.conv1d(padded, layer.weight, layer.bias, stride))[:, :, : -(-frames // stride)]
        want.append(hidden[0].mean(1))
    torch.testing.assert_close(got, torch.stack(want), rtol=0, atol=1e-12)
    mine, its = (torch.autograd.grad(o.tanh().sum(), list(encoder.parameters())) for o in (got, torch.stack(want)))
    for a, b in zip(mine, its, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_slots_hold_their_utterances_and_zeros():
    lengths = torch.arange(1, 60)
    for slots in lay_out(lengths, [(3, 2), (5, 2), (3, 2)]):
        rows = torch.zeros(int(slots.starts[-1]))
        for start, n in zip(slots.starts.tolist(), slots.lengths.tolist(), strict=False):
            rows[start : start + n] += 1
        assert rows.max() == 1
        assert torch.equal(slots.gaps(torch.device("cpu")), (rows == 0).nonzero().flatten())
    waste = lay_out(torch.tensor([250]), [(3, 2)] * 3)[0].starts[-1] / 250
    assert waste < 1.03


def test_dropout_follows_relu_and_leaves_the_mean():
    encoder = TemporalCNN((0, 4), (300,), (3,), (2,), dropout=0.25).double()
    batch = ViewBatch(*ragged([random(n, 4, seed=n) for n in (50, 80)]))
    torch.manual_seed(0)
    noisy = torch.stack([encoder(batch) for _ in range(50)])
    quiet = encoder.eval()(batch)
    assert abs(float((noisy.mean() / quiet.mean()).detach()) - 1) < 0.01
    assert not torch.equal(noisy[0], noisy[1])


def test_gradient_with_dropout_is_that_of_the_values_kept():
    encoder = TemporalCNN((0, 4), (6, 5), (3, 3), (2, 2), dropout=0.3).double()
    batch = ViewBatch(*ragged([random(n, 4, seed=n) for n in (9, 4)]))

    state = {name: parameter.detach().clone().requires_grad_() for name, parameter in encoder.named_parameters()}

    def run(*tensors):
        torch.manual_seed(3)
        return functional_call(encoder, dict(zip(state, tensors, strict=True)), (batch,)).tanh().sum()

    assert torch.autograd.gradcheck(run, tuple(state.values()))


def test_convolve_leaves_its_input_alone():
    values, slots = slotted([random(3, 2), random(4, 2)], [(3, 1)])
    before = values.clone()
    convolve(values, random(1, 2, 3), random(1), 1, slots[1])
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
    counted, needed = counter.get_total_flops(), 2 * (2 * products[0] + 3 * products[1] + 3 * products[2])
    assert needed <= counted < 1.03 * needed  # some rows of zeros are multiplied, too
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


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("kernels", "strides"), [((3, 3, 3), (2, 2, 2)), ((5, 3, 2), (1, 3, 2))])
def test_products_together_as_on_a_gpu_are_those_one_after_the_other(
    shared: bool, kernels: tuple[int, ...], strides: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of unlike length, with gradients in input and parameters."""
    torch.manual_seed(0)
    shape = {"channels": (6, 5, 7), "kernels": kernels, "strides": strides, "dropout": 0.0}
    bank = stack([TemporalCNN((0, 8), **shape).double() for _ in range(3)])
    lengths = torch.randint(1, 30, (4 if shared else 12,))
    offsets = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    values = torch.randn(int(offsets[-1]), 8, dtype=torch.float64, requires_grad=True)
    found = []
    for together in (False, True):
        monkeypatch.setattr(temporal_cnn, "_together", lambda values, together=together: together)
        monkeypatch.setattr(temporal_cnn, "_PIECE_ROWS", 8)
        out = bank(BankBatch(values, offsets, (3,) if shared else (1, 1, 1))).reshape(3, 4, 7)
        weighted = (out * torch.arange(out.numel()).view_as(out)).sum()
        found.append([out.detach(), *torch.autograd.grad(weighted, [values, *bank.parameters()])])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
