"""Dropout: the share and the mean of what is kept, independence, and the generators it draws from."""

from __future__ import annotations

import pytest
import torch

from emoviews.encoders._dropout import Dropout, draw_apart


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5, 0.9])
def test_the_share_dropped_and_the_mean_kept(p: float) -> None:
    torch.manual_seed(0)
    n = 1_000_000
    out = Dropout(p)(torch.ones(1000, 1000))
    share = float((out == 0).float().mean())
    assert abs(share - p) < 5 * (p * (1 - p) / n) ** 0.5 + 2**-16  # five standard errors and the rounding
    assert out.unique().tolist() == pytest.approx([0.0, 1 / (1 - p)], rel=1e-3)
    assert abs(float(out.double().mean()) - 1) < 5 * (p / (1 - p) / n) ** 0.5


def test_neighbours_are_dropped_independently() -> None:
    """Four values come out of one 64-bit draw."""
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(400_000)) != 0).double()
    for lag in (1, 2, 3, 4, 8):
        assert abs(float(torch.corrcoef(torch.stack([kept[:-lag], kept[lag:]]))[0, 1])) < 5 / 400_000**0.5


def test_the_gradient_goes_where_the_values_went() -> None:
    values = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    out = Dropout(0.3)(values)
    (gradient,) = torch.autograd.grad(out.sum(), values)
    torch.testing.assert_close(out, values * gradient)
    assert out.dtype == torch.float64


def test_nothing_is_dropped_where_nothing_is_to_be() -> None:
    values = torch.randn(4, 4)
    assert Dropout(0.0)(values) is values
    assert Dropout(0.5).eval()(values) is values
    assert float(Dropout(1.0)(values).abs().sum()) == 0


@pytest.mark.parametrize("stretches", [None, torch.tensor([0, 1, 7, 9])])
def test_each_model_draws_from_its_own_generator(stretches: torch.Tensor | None) -> None:
    dropout = Dropout(0.5)
    values = torch.ones(3, 3, 5) if stretches is None else torch.ones(9, 5)
    draw_apart(dropout, [torch.Generator().manual_seed(m) for m in range(3)])
    out = dropout(values, stretches)
    parts = list(out) if stretches is None else [out[a:b] for a, b in ((0, 1), (1, 7), (7, 9))]
    for m, part in enumerate(parts):
        torch.manual_seed(m)
        assert torch.equal(part, Dropout(0.5)(torch.ones_like(part)))
