"""Every registered encoder keeps the contract of `emoviews.encoders`."""

import pytest
import torch
from torch import nn

from emoviews.encoders import DEFAULT_ENCODER, ENCODERS, Encoder, make_encoder
from emoviews.errors import UsageError
from emoviews.types import FEATURES, FRAMES, LAYERS, VIEW_AXES, ViewBatch, ViewSpec

SIZES = {LAYERS: 3, FRAMES: 0, FEATURES: 10}
LENGTHS = (5, 1, 40, 2, 17)

EVERY = pytest.mark.parametrize("name", ENCODERS.names())


def build(name):
    torch.manual_seed(0)
    encoder = ENCODERS.load(name)
    return encoder(tuple(SIZES[axis] for axis in encoder.axes))


def utterances(encoder, dtype=torch.float32):
    """One array an utterance, with the encoder's axes."""
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn([{FRAMES: n}.get(axis, SIZES[axis]) for axis in encoder.axes], generator=generator, dtype=dtype)
        for n in LENGTHS
    ]


def collate(encoder, arrays):
    """Ragged: frames end to end; functionals one row each."""
    if FRAMES not in encoder.axes:
        return ViewBatch(torch.stack(arrays), torch.arange(len(arrays) + 1))
    axis = encoder.axes.index(FRAMES)
    lengths = torch.tensor([array.shape[axis] for array in arrays])
    return ViewBatch(torch.cat(arrays, dim=axis), torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]))


@EVERY
def test_name_axes_and_output(name):
    encoder = build(name)
    assert isinstance(encoder, Encoder)
    assert encoder.name == name
    assert encoder.axes in VIEW_AXES
    encoded = encoder(collate(encoder, utterances(encoder)))
    assert encoded.shape == (len(LENGTHS), encoder.dim)
    assert encoded.dtype == torch.float32
    assert encoded.isfinite().all()


@EVERY
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_an_utterance_is_encoded_as_it_would_be_alone(name, dtype, tolerance):
    encoder = build(name).to(dtype).eval()
    arrays = utterances(encoder, dtype)
    together = encoder(collate(encoder, arrays))
    alone = torch.cat([encoder(collate(encoder, [array])) for array in arrays])
    torch.testing.assert_close(together, alone, rtol=0, atol=tolerance)
    backwards = encoder(collate(encoder, arrays[::-1]))
    torch.testing.assert_close(backwards, together.flip(0), rtol=0, atol=tolerance)


@EVERY
def test_utterances_get_different_vectors(name):
    encoder = build(name).eval()
    encoded = encoder(collate(encoder, utterances(encoder)))
    assert torch.pdist(encoded).min() > 1e-4


@EVERY
def test_gradient_reaches_every_parameter(name):
    encoder = build(name)
    batch = collate(encoder, utterances(encoder))
    (encoder(batch) * torch.randn(encoder.dim)).square().sum().backward()
    for parameter_name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@EVERY
def test_has_no_batch_norm(name):
    assert not [module for module in build(name).modules() if isinstance(module, nn.modules.batchnorm._NormBase)]


@EVERY
def test_eval_mode_is_deterministic_and_changes_no_state(name):
    encoder = build(name).eval()
    batch = collate(encoder, utterances(encoder))
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    assert torch.equal(encoder(batch), encoder(batch))
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


@EVERY
def test_state_round_trip(name):
    encoder, other = build(name).eval(), build(name).eval()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(torch.rand_like(parameter))
    batch = collate(encoder, utterances(encoder))
    assert not torch.equal(other(batch), encoder(batch))
    other.load_state_dict(encoder.state_dict())
    assert torch.equal(other(batch), encoder(batch))


@EVERY
def test_initial_weights_follow_the_global_generator(name):
    first, second = build(name).state_dict(), build(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@EVERY
def test_refuses_a_batch_of_another_shape(name):
    encoder = build(name)
    batch = collate(encoder, utterances(encoder))
    with pytest.raises(ValueError, match="Expected values of shape"):
        encoder(ViewBatch(batch.values[..., 1:], batch.offsets))


def spec(axes, shape):
    return ViewSpec("made_up", 1, {}, axes, shape, "float32", None)


@pytest.mark.parametrize(
    ("axes", "shape", "parameters", "count"),
    [
        ((LAYERS, FRAMES, FEATURES), (13, 0, 768), {}, 114_957),
        ((FEATURES,), (88,), {"hidden": ()}, 11_392),
    ],
)
def test_parameter_counts_of_the_paper(axes, shape, parameters, count):
    encoder = make_encoder(spec(axes, shape), **parameters)
    assert encoder.name == DEFAULT_ENCODER[axes]
    assert sum(p.numel() for p in encoder.parameters()) == count


def test_refuses_an_encoder_for_other_axes():
    with pytest.raises(UsageError, match="Encoder 'mlp' takes axes"):
        make_encoder(spec((FRAMES, FEATURES), (0, 64)), "mlp")


def test_refuses_an_unknown_encoder():
    with pytest.raises(UsageError, match=r"no encoder called 'temporal_cn'. Did you mean 'temporal_cnn'"):
        make_encoder(spec((FRAMES, FEATURES), (0, 64)), "temporal_cn")
