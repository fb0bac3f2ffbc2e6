"""Barlow Twins against its equations written as loops over numbers, closed forms, and its invariances."""

from itertools import combinations

import numpy as np
import pytest
import torch

from emoviews.errors import UsageError
from emoviews.losses.barlow_twins import BarlowTwins, barlow_twins_terms


def naive_pair(a, b, eps):
    """Σⱼ (1 − Cⱼⱼ)² and Σ_{j≠k} Cⱼₖ² of two lists of rows of scalars, one number at a time."""
    n, d = len(a), len(a[0])

    def columns(rows):
        found = []
        for j in range(d):
            mean = sum(rows[i][j] for i in range(n)) / n
            found.append([rows[i][j] - mean for i in range(n)])
        return found

    def norm(column):
        return (sum(x**2 for x in column) / n + eps).sqrt() * n**0.5

    invariance = redundancy = 0
    for j, x in enumerate(columns(a)):
        for k, y in enumerate(columns(b)):
            correlation = sum(x[i] * y[i] for i in range(n)) / (norm(x) * norm(y))
            if j == k:
                invariance = invariance + (1 - correlation) ** 2
            else:
                redundancy = redundancy + correlation**2
    return invariance, redundancy


def naive(projections, weight=5e-3, eps=1e-5, present=None):
    """The mean over pairs and every part."""
    views = list(projections)
    batch = len(projections[views[0]])
    present = {view: torch.ones(batch, dtype=torch.bool) for view in views} | (present or {})
    pairs, terms = {}, []
    for v, w in combinations(views, 2):
        both = [i for i in range(batch) if present[v][i] and present[w][i]]
        if len(both) < 2:
            continue
        terms.append(naive_pair(*([projections[view][i] for i in both] for view in (v, w)), eps))
        pairs[f"{v}|{w}"] = terms[-1][0] + weight * terms[-1][1]
    means = [sum(column) / len(terms) for column in zip(*terms, strict=True)]
    return sum(pairs.values()) / len(pairs), pairs | dict(zip(("invariance", "redundancy"), means, strict=True))


def random_projections(views, batch, dim, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(batch, dim, generator=generator, dtype=torch.float64)
    return {
        f"view{v}": (shared + torch.randn(batch, dim, generator=generator, dtype=torch.float64)).requires_grad_()
        for v in range(views)
    }


def compare(loss, projections, present=None, **parameters):
    value, parts = loss(projections, present=present)
    expected, expected_parts = naive(projections, present=present, **parameters)
    assert value.item() == pytest.approx(expected.item(), abs=1e-9)
    assert list(parts) == list(expected_parts)
    for name, part in parts.items():
        assert not part.requires_grad
        assert part.item() == pytest.approx(expected_parts[name].item(), abs=1e-9)
    vectors = list(projections.values())
    got = torch.autograd.grad(3 * value, vectors, allow_unused=True, materialize_grads=True)
    want = torch.autograd.grad(3 * expected, vectors, allow_unused=True, materialize_grads=True)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


@pytest.mark.parametrize("views", [2, 3, 4])
def test_equals_the_equations(views):
    compare(BarlowTwins(), random_projections(views, batch=5, dim=3))


def test_equals_the_equations_for_other_parameters():
    compare(BarlowTwins(0.3, eps=0.1), random_projections(3, batch=5, dim=3), weight=0.3, eps=0.1)


@pytest.mark.parametrize("views", [2, 3, 4])
def test_equals_the_equations_on_what_is_present(views):
    generator = torch.Generator().manual_seed(views)
    projections = random_projections(views, batch=6, dim=3)
    present = {view: torch.rand(6, generator=generator) < 0.7 for view in projections}
    present["view0"] = torch.tensor([True, True, True, False, True, True])
    present["view1"] = torch.tensor([True, True, False, True, True, True])
    compare(BarlowTwins(), projections, present)


def test_pairs_with_fewer_than_two_common_utterances_are_left_out():
    present = {"view0": torch.tensor([True, True, True, False]), "view2": torch.tensor([False, False, True, True])}
    compare(BarlowTwins(), random_projections(3, batch=4, dim=3), present)


def test_equals_the_correlations_of_numpy():
    a, b = (vectors.detach().numpy() for vectors in random_projections(2, batch=9, dim=4).values())
    correlations = np.corrcoef(a, b, rowvar=False)[:4, 4:]
    terms = barlow_twins_terms(torch.from_numpy(np.stack([a, b])), eps=1e-14)[:, 0]
    assert terms[0].item() == pytest.approx(((1 - np.diag(correlations)) ** 2).sum(), abs=1e-9)
    assert terms[1].item() == pytest.approx((correlations**2).sum() - (np.diag(correlations) ** 2).sum(), abs=1e-9)


def test_gradcheck():
    vectors = torch.stack([v.detach() for v in random_projections(3, batch=4, dim=3).values()]).requires_grad_()
    assert torch.autograd.gradcheck(barlow_twins_terms, vectors)


def test_closed_forms():
    # Two components that are not correlated. Equal views: nothing to do. Exchanged: C is 0 on the diagonal and 1 beside it.
    # Of the other sign: C is −1 on the diagonal.
    view = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    loss = BarlowTwins(0.1, eps=1e-14)
    assert loss({"a": view, "b": view.clone(), "c": view.clone()})[0].item() == pytest.approx(0, abs=1e-12)
    assert loss({"a": view, "b": view.flip(1)})[0].item() == pytest.approx(2 + 0.1 * 2)
    assert loss({"a": view, "b": -view})[0].item() == pytest.approx(2 * 2**2)


def test_closed_form_of_components_that_are_copies():
    component = torch.tensor([2.0, -2, 2, -2], dtype=torch.float64).unsqueeze(1)
    terms = barlow_twins_terms(component.expand(2, 4, 5), eps=1e-14)
    assert terms[:, 0].tolist() == pytest.approx([0, 5 * 4])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_component_is_correlated_with_nothing(dtype):
    projections = {view: vectors.detach().to(dtype) for view, vectors in random_projections(2, 100, 3).items()}
    alone, _ = BarlowTwins()({view: vectors[:, :2] for view, vectors in projections.items()})
    for vectors in projections.values():
        vectors[:, 2] = 0.1  # which has no exact mean
        vectors.requires_grad_()
    value, _ = BarlowTwins()(projections)
    assert value.item() == pytest.approx(alone.item() + 1, rel=1e-5)
    for gradient in torch.autograd.grad(value, list(projections.values())):
        assert gradient.abs().max() < 1


def test_scale_and_shift_of_components_do_not_matter_but_for_eps():
    projections = random_projections(3, batch=6, dim=3)
    loss = BarlowTwins(eps=1e-14)
    factor = torch.tensor([0.1, 7, 100], dtype=torch.float64)
    moved = dict(projections, view1=projections["view1"] * factor - 3 * factor)
    assert loss(moved)[0].item() == pytest.approx(loss(projections)[0].item(), abs=1e-9)


def test_components_permuted_in_all_views_do_not_matter_and_in_one_they_do():
    projections = random_projections(2, batch=6, dim=3)
    value = BarlowTwins()(projections)[0].item()
    permuted = {view: vectors[:, [2, 0, 1]] for view, vectors in projections.items()}
    assert BarlowTwins()(permuted)[0].item() == pytest.approx(value, abs=1e-12)
    assert BarlowTwins()(dict(projections, view0=permuted["view0"]))[0].item() > value + 0.1


def test_training_by_it_gives_uncorrelated_components_that_agree():
    vectors = [v.detach().requires_grad_() for v in random_projections(2, batch=32, dim=4).values()]
    optimizer, loss = torch.optim.Adam(vectors, lr=0.05), BarlowTwins(0.1)
    for _ in range(500):
        optimizer.zero_grad()
        loss(dict(zip("ab", vectors, strict=True)))[0].backward()
        optimizer.step()
    a, b = (v.detach().numpy() for v in vectors)
    np.testing.assert_allclose(np.corrcoef(a, b, rowvar=False)[:4, 4:], np.eye(4), atol=0.02)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_refuses_a_weight_that_is_negative_or_not_finite(weight):
    with pytest.raises(UsageError, match=rf"must be 0 or a positive number, got {weight}\. The paper's is 5e-3"):
        BarlowTwins(weight)


@pytest.mark.parametrize("eps", [0.0, -1.0, float("nan"), float("inf")])
def test_refuses_an_eps_that_is_not_positive(eps):
    with pytest.raises(UsageError, match=rf"eps must be a positive number, got {eps}\. Its authors' code has 1e-5"):
        BarlowTwins(eps=eps)


def test_is_described_by_its_parameters():
    assert repr(BarlowTwins(0.1, 0.2)) == "BarlowTwins(redundancy_weight=0.1, eps=0.2)"
