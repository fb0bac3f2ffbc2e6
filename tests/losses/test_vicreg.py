"""VICReg against its equations written as loops over numbers, closed forms, and what each term does."""

import math
from itertools import combinations

import pytest
import torch

from emoviews.errors import UsageError
from emoviews.losses.vicreg import VICReg, vicreg_terms


def naive_pair(a, b, target, eps):
    """s, v + v′ and c + c′ of two lists of rows of scalars, one number at a time."""
    n, d = len(a), len(a[0])
    invariance = sum((a[i][j] - b[i][j]) ** 2 for i in range(n) for j in range(d)) / (n * d)
    variance = covariance = 0
    for rows in (a, b):
        mean = [sum(rows[i][j] for i in range(n)) / n for j in range(d)]

        def product(j, k, rows=rows, mean=mean):
            return sum((rows[i][j] - mean[j]) * (rows[i][k] - mean[k]) for i in range(n)) / (n - 1)

        variance = variance + sum(torch.relu(target - (product(j, j) + eps).sqrt()) for j in range(d)) / d
        covariance = covariance + sum(product(j, k) ** 2 for j in range(d) for k in range(d) if j != k) / d
    return invariance, variance, covariance


def naive(projections, weights=(25.0, 25.0, 1.0), target=1.0, eps=1e-4, present=None):
    """The mean over pairs and every part."""
    views = list(projections)
    batch = len(projections[views[0]])
    present = {view: torch.ones(batch, dtype=torch.bool) for view in views} | (present or {})
    pairs, terms = {}, []
    for v, w in combinations(views, 2):
        both = [i for i in range(batch) if present[v][i] and present[w][i]]
        if len(both) < 2:
            continue
        a, b = ([projections[view][i] for i in both] for view in (v, w))
        terms.append(naive_pair(a, b, target, eps))
        pairs[f"{v}|{w}"] = sum(weight * term for weight, term in zip(weights, terms[-1], strict=True))
    means = [sum(column) / len(terms) for column in zip(*terms, strict=True)]
    parts = pairs | dict(zip(("invariance", "variance", "covariance"), means, strict=True))
    return sum(pairs.values()) / len(pairs), parts


def random_projections(views, batch, dim, seed=0, spread=1.0):
    generator = torch.Generator().manual_seed(seed)
    return {
        f"view{v}": (spread * torch.randn(batch, dim, generator=generator, dtype=torch.float64)).requires_grad_()
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
    projections = random_projections(views, batch=5, dim=3)
    deviations = torch.stack([v.detach().std(dim=0) for v in projections.values()])
    assert deviations.min() < 1 < deviations.max()  # on both sides of the hinge
    compare(VICReg(), projections)


def test_equals_the_equations_for_other_parameters():
    loss = VICReg(2.0, 3.0, 0.5, target_deviation=2.0, eps=1e-2)
    compare(loss, random_projections(3, batch=5, dim=3), weights=(2.0, 3.0, 0.5), target=2.0, eps=1e-2)


@pytest.mark.parametrize("views", [2, 3, 4])
def test_equals_the_equations_on_what_is_present(views):
    generator = torch.Generator().manual_seed(views)
    projections = random_projections(views, batch=6, dim=3)
    present = {view: torch.rand(6, generator=generator) < 0.7 for view in projections}
    present["view0"] = torch.tensor([True, True, True, False, True, True])
    present["view1"] = torch.tensor([True, True, False, True, True, True])
    compare(VICReg(), projections, present)


def test_pairs_with_fewer_than_two_common_utterances_are_left_out():
    present = {"view0": torch.tensor([True, True, True, False]), "view2": torch.tensor([False, False, True, True])}
    compare(VICReg(), random_projections(3, batch=4, dim=3), present)


def test_gradcheck():
    vectors = torch.stack([v.detach() for v in random_projections(3, batch=4, dim=3).values()]).requires_grad_()
    assert torch.autograd.gradcheck(vicreg_terms, vectors)


def test_closed_form_of_what_is_as_it_should_be():
    # Deviation 2, no correlation, and equal in all views: nothing to do.
    view = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64) * 2 * math.sqrt(3 / 4)
    value, _ = VICReg()({"a": view, "b": view.clone(), "c": view.clone()})
    assert value.item() == 0


def test_closed_forms_of_what_has_collapsed():
    a = torch.full((8, 4), 3.0, dtype=torch.float64)
    value, parts = VICReg(eps=1e-4)({"a": a, "b": a - 2})
    # Each of two views has no deviation but √ε; all components are 2 apart.
    assert parts["variance"].item() == pytest.approx(2 * (1 - 1e-2))
    assert parts["invariance"].item() == pytest.approx(4)
    assert parts["covariance"].item() == 0
    assert value.item() == pytest.approx(25 * 4 + 25 * 2 * 0.99)


def test_closed_form_of_components_that_are_copies():
    # All d components equal, of variance σ²: the d(d − 1) covariances are σ², so c = (d − 1) σ⁴ a view.
    component = torch.tensor([2.0, -2, 2, -2], dtype=torch.float64).unsqueeze(1)
    terms = vicreg_terms(component.expand(2, 4, 5))
    assert terms[:, 0].tolist() == pytest.approx([0, 0, 2 * 4 * (16 / 3) ** 2])


def test_the_hinge_lets_go_of_what_varies_enough():
    projections = random_projections(2, batch=6, dim=3, spread=10)
    _, parts = VICReg()(projections)
    assert parts["variance"].item() == 0
    _, parts = VICReg(target_deviation=100)(projections)
    assert parts["variance"].item() > 0


def test_a_shift_of_all_views_does_not_matter():
    projections = random_projections(3, batch=6, dim=3)
    shift = torch.tensor([5.0, -3, 100], dtype=torch.float64)
    moved = {view: vectors + shift for view, vectors in projections.items()}
    assert VICReg()(moved)[0].item() == pytest.approx(VICReg()(projections)[0].item(), abs=1e-9)


def test_a_rotation_leaves_the_invariance_and_permuted_components_leave_everything():
    projections = random_projections(2, batch=6, dim=3)
    rotation, _ = torch.linalg.qr(random_projections(1, 3, 3, seed=1)["view0"].detach())
    value, parts = VICReg()(projections)
    _, rotated = VICReg()({view: vectors @ rotation for view, vectors in projections.items()})
    assert rotated["invariance"].item() == pytest.approx(parts["invariance"].item(), abs=1e-12)
    assert rotated["covariance"].item() != pytest.approx(parts["covariance"].item(), abs=1e-3)
    permuted, _ = VICReg()({view: vectors[:, [2, 0, 1]] for view, vectors in projections.items()})
    assert permuted.item() == pytest.approx(value.item(), abs=1e-12)


def test_training_by_it_spreads_and_decorrelates_what_had_collapsed():
    vectors = [(1e-3 * v.detach()).requires_grad_() for v in random_projections(2, batch=32, dim=4).values()]
    optimizer, loss = torch.optim.Adam(vectors, lr=0.05), VICReg()
    for _ in range(500):
        optimizer.zero_grad()
        value, parts = loss(dict(zip("ab", vectors, strict=True)))
        value.backward()
        optimizer.step()
    assert parts["invariance"] < 1e-3
    assert vectors[0].std(dim=0).min() > 0.95
    assert torch.corrcoef(vectors[0].detach().T).fill_diagonal_(0).abs().max() < 0.05


@pytest.mark.parametrize("name", ["invariance_weight", "variance_weight", "covariance_weight"])
@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_refuses_a_weight_that_is_negative_or_not_finite(name, weight):
    with pytest.raises(UsageError, match=rf"{name} must be 0 or a positive number, got {weight}\. .* 25, 25 and 1"):
        VICReg(**{name: weight})


def test_refuses_no_weight_at_all():
    with pytest.raises(UsageError, match="All weights of VICReg are 0, so there is nothing to train"):
        VICReg(0, 0, 0)


@pytest.mark.parametrize(("name", "usual"), [("target_deviation", "1"), ("eps", "1e-4")])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_refuses_a_deviation_or_eps_that_is_not_positive(name, usual, value):
    with pytest.raises(UsageError, match=rf"{name} must be a positive number, got {value}. The paper's is {usual}\."):
        VICReg(**{name: value})


def test_is_described_by_its_parameters():
    assert repr(VICReg(2, 3, 4, 5, 6)) == (
        "VICReg(invariance_weight=2, variance_weight=3, covariance_weight=4, target_deviation=5, eps=6)"
    )
