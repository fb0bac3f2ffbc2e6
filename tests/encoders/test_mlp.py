"""The MLP against its formula, and the paper's two sizes."""

import pytest
import torch

from emoviews.encoders.mlp import MLP
from emoviews.errors import UsageError
from emoviews.types import ViewBatch


@pytest.mark.parametrize(("hidden", "count"), [((), 11_392), ((256,), 88 * 256 + 256 + 256 * 128 + 128)])
def test_parameter_counts(hidden, count):
    assert sum(p.numel() for p in MLP((88,), hidden=hidden).parameters()) == count


def test_relu_follows_every_layer():
    encoder = MLP((3,), hidden=(4,), dim=2).double()
    values = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    first, second = (layer for layer in encoder.layers if isinstance(layer, torch.nn.Linear))
    hidden = (values @ first.weight.T + first.bias).clamp(min=0)
    expected = (hidden @ second.weight.T + second.bias).clamp(min=0)
    torch.testing.assert_close(encoder(ViewBatch(values, torch.arange(6))), expected, rtol=0, atol=1e-14)


def test_dropout_is_a_parameter():
    batch = ViewBatch(torch.ones(1, 3), torch.arange(2))
    encoder = MLP((3,), hidden=(500,), dim=500, dropout=0.5)
    assert not torch.equal(encoder(batch), encoder(batch))
    encoder.eval()
    assert torch.equal(encoder(batch), encoder(batch))


@pytest.mark.parametrize("wrong", [{"hidden": (0,)}, {"dim": 0}, {"dropout": 1.0}])
def test_refuses(wrong):
    with pytest.raises(UsageError, match=r"mlp needs sizes of at least 1 .* got hidden="):
        MLP((88,), **wrong)
