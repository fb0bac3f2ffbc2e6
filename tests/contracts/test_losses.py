"""Every registered loss keeps the contract of `emoviews.losses`."""

import pytest
import torch

from emoviews.errors import UsageError
from emoviews.losses import LOSSES, Loss, make_loss

BATCH, DIM = 16, 8
VIEWS = ("mel_spectrogram", "egemaps", "wav2vec2")

EVERY = pytest.mark.parametrize("name", LOSSES.names())


def projections(noise, seed=0):
    """What the views agree on plus `noise` of their own."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(BATCH, DIM, generator=generator)
    return {view: (shared + noise * torch.randn(BATCH, DIM, generator=generator)).requires_grad_() for view in VIEWS}


LABELS = torch.arange(BATCH) % 4


@EVERY
def test_gives_a_finite_scalar_with_named_parts(name):
    loss = make_loss(name)
    assert isinstance(loss, Loss)
    value, parts = loss(projections(1), labels=LABELS)
    assert value.shape == ()
    assert value.isfinite()
    assert value.requires_grad
    assert parts
    for key, part in parts.items():
        assert isinstance(key, str)
        assert part.shape == ()
        assert part.isfinite()
        assert not part.requires_grad


@EVERY
def test_labels_may_be_absent(name):
    assert make_loss(name)(projections(1))[0].isfinite()
    assert make_loss(name)(projections(1), labels=torch.full((BATCH,), -1))[0].isfinite()


@EVERY
def test_gradient_reaches_every_view(name):
    batch = projections(1)
    make_loss(name)(batch, labels=LABELS)[0].backward()
    for view, vectors in batch.items():
        assert vectors.grad is not None, view
        assert vectors.grad.isfinite().all()
        assert vectors.grad.abs().max() > 0, view


@EVERY
def test_order_of_the_batch_does_not_matter(name):
    loss, batch = make_loss(name), projections(1)
    order = torch.randperm(BATCH, generator=torch.Generator().manual_seed(0))
    shuffled = {view: vectors[order] for view, vectors in batch.items()}
    torch.testing.assert_close(loss(shuffled, labels=LABELS[order])[0], loss(batch, labels=LABELS)[0])


@EVERY
def test_views_that_agree_cost_less(name):
    # Without labels: these have nothing to do with what the views share, and a loss that draws labels together says so.
    loss = make_loss(name)
    assert loss(projections(0.1))[0] < loss(projections(100.0))[0]


@EVERY
def test_missing_views_are_never_read(name):
    loss, batch = make_loss(name), projections(1)
    present = {view: torch.arange(BATCH) % 5 != i for i, view in enumerate(VIEWS)}
    clean, _ = loss(batch, labels=LABELS, present=present)
    spoilt = {view: torch.where(present[view].unsqueeze(1), v, torch.nan) for view, v in batch.items()}
    value, _ = loss(spoilt, labels=LABELS, present=present)
    assert value.isfinite()
    torch.testing.assert_close(value, clean)


@EVERY
def test_says_whether_it_uses_labels(name):
    loss, batch = make_loss(name), projections(1)
    differs = bool(loss(batch, labels=LABELS)[0] != loss(batch)[0])
    assert loss.uses_labels == differs
    none, _ = loss(batch, labels=torch.full((BATCH,), -1))
    assert torch.equal(none, loss(batch)[0])


@EVERY
def test_says_whether_a_shift_of_all_projections_matters(name):
    loss, batch = make_loss(name), projections(1)
    shift = 3 * torch.randn(DIM, generator=torch.Generator().manual_seed(1))
    value, _ = loss({view: vectors + shift for view, vectors in batch.items()}, labels=LABELS)
    assert loss.ignores_shift == torch.isclose(value, loss(batch, labels=LABELS)[0], rtol=1e-3)


@EVERY
def test_refuses_a_setting_that_it_does_not_have(name):
    with pytest.raises(UsageError, match=f"The loss {name} has no bogus; it has "):
        make_loss(name, bogus=1.0)


def test_refuses_an_unknown_loss():
    with pytest.raises(UsageError, match=r"no loss called 'pairwise_ntxent'. Did you mean 'pairwise_nt_xent'"):
        make_loss("pairwise_ntxent")
