"""SupCon against L_out written as loops, closed forms, what it equals without labels, and its invariances."""

import math

import pytest
import torch
import torch.nn.functional as F

from emoviews.errors import UsageError
from emoviews.losses.pairwise_nt_xent import PairwiseNTXent
from emoviews.losses.supcon import SupCon, supcon

LABELS = torch.tensor([0, 1, 0, -1, 1, -1, 7])


def naive(projections, temperature, labels=None, present=None):
    """L_out an anchor, a positive at a time: the mean over anchors with a positive, and that of each view."""
    items = []
    for view, vectors in projections.items():
        for i, vector in enumerate(vectors):
            if present is None or view not in present or present[view][i]:
                items.append((view, i, -1 if labels is None else int(labels[i]), vector))
    losses = {}
    for a, (view, i, label, anchor) in enumerate(items):
        similarities = {
            b: torch.cosine_similarity(anchor, item[3], dim=0) / temperature for b, item in enumerate(items) if b != a
        }
        denominator = sum(similarity.exp() for similarity in similarities.values())
        positives = [b for b in similarities if items[b][1] == i or (label >= 0 and items[b][2] == label)]
        if positives:
            terms = [torch.log(similarities[p].exp() / denominator) for p in positives]
            losses.setdefault(view, []).append(-sum(terms) / len(positives))
    every = [loss for of_view in losses.values() for loss in of_view]
    return sum(every) / len(every), {view: sum(of_view) / len(of_view) for view, of_view in losses.items()}


def random_projections(views, batch=7, dim=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return {
        f"view{v}": torch.randn(batch, dim, generator=generator, dtype=dtype).requires_grad_() for v in range(views)
    }


def compare(projections, temperature, labels=None, present=None):
    value, parts = SupCon(temperature)(projections, labels, present)
    expected, expected_parts = naive(projections, temperature, labels, present)
    assert value.item() == pytest.approx(expected.item(), abs=1e-9)
    assert list(parts) == list(expected_parts)
    for view, part in parts.items():
        assert not part.requires_grad
        assert part.item() == pytest.approx(expected_parts[view].item(), abs=1e-9)
    vectors = list(projections.values())
    got = torch.autograd.grad(3 * value, vectors, allow_unused=True, materialize_grads=True)
    want = torch.autograd.grad(3 * expected, vectors, allow_unused=True, materialize_grads=True)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


@pytest.mark.parametrize("views", [2, 3, 4])
@pytest.mark.parametrize("labels", [None, LABELS, torch.full((7,), -1), torch.zeros(7, dtype=torch.int64)])
def test_equals_the_equation(views, labels):
    compare(random_projections(views), 0.3, labels)


@pytest.mark.parametrize("views", [2, 3, 4])
@pytest.mark.parametrize("labels", [None, LABELS])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_the_equation_on_what_is_present(views, labels, seed):
    generator = torch.Generator().manual_seed(seed)
    projections = random_projections(views)
    compare(projections, 0.3, labels, {view: torch.rand(7, generator=generator) < 0.7 for view in projections})


def test_an_anchor_without_a_positive_is_a_negative_of_the_others():
    projections = random_projections(2, batch=3)
    present = {"view1": torch.tensor([True, True, False])}
    compare(projections, 0.3, None, present)
    value, _ = SupCon(0.3)(projections, present=present)
    without, _ = SupCon(0.3)({view: vectors[:2] for view, vectors in projections.items()})
    assert value > without


def test_a_view_in_which_no_anchor_has_a_positive_has_no_part():
    projections = random_projections(3, batch=3)
    present = {"view2": torch.zeros(3, dtype=torch.bool)}
    assert list(SupCon()(projections, present=present)[1]) == ["view0", "view1"]


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("labels", [None, torch.full((7,), -1)])
def test_two_views_without_labels_are_nt_xent(temperature, labels):
    projections = random_projections(2)
    value, parts = SupCon(temperature)(projections, labels)
    expected, pairs = PairwiseNTXent(temperature, "both")(projections)
    assert value.item() == pytest.approx(expected.item(), abs=1e-12)
    assert sum(parts.values()).item() / 2 == pytest.approx(pairs["view0|view1"].item(), abs=1e-12)
    got, want = (torch.autograd.grad(x, list(projections.values())) for x in (value, expected))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_three_views_without_labels_are_not_the_mean_over_pairs():
    projections = random_projections(3)
    expected, _ = PairwiseNTXent(0.5)(projections)
    # Every denominator holds a third view's vectors too.
    assert SupCon(0.5)(projections)[0] > expected + 0.1


def test_labels_of_one_utterance_each_are_no_labels():
    projections = random_projections(3)
    assert SupCon()(projections, torch.arange(7))[0] == SupCon()(projections)[0]


def test_what_labels_are_called_does_not_matter():
    projections = random_projections(3)
    value, _ = SupCon()(projections, LABELS)
    renamed = torch.tensor([5, 0, 5, -1, 0, -3, 2])
    assert SupCon()(projections, renamed)[0] == value
    assert SupCon()(projections, renamed.to(torch.int32))[0] == value


def test_equals_cross_entropy_against_the_positives():
    u = F.normalize(torch.cat(list(random_projections(2).values())), dim=1)
    labels = torch.tensor([0, 1, 0, 2, 1, 2, 7]).repeat(2)
    logits = (u @ u.T / 0.2).masked_fill(torch.eye(14, dtype=torch.bool), -1e9)
    targets = (labels.unsqueeze(1) == labels).double().fill_diagonal_(0)
    expected = F.cross_entropy(logits, targets / targets.sum(dim=1, keepdim=True))
    value, _ = SupCon(0.2)(random_projections(2), labels[:7])
    assert value.item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("groups", [[0, 0, 1, 2, 1, 1], [0, 0, 0, 0, 0, 0], [0, 1, 2, 3, 3, 4]])
def test_gradcheck(groups):
    vectors = random_projections(1, batch=6)["view0"]
    assert torch.autograd.gradcheck(lambda x: supcon(x, torch.tensor(groups), 0.3)[0], vectors)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_closed_forms(temperature):
    views, classes, each = 3, 4, 5
    labels = torch.arange(classes).repeat(each)
    one_hot = torch.eye(classes, dtype=torch.float64)[labels]
    loss = SupCon(temperature)
    # A vector a class, orthonormal: similarity 1 to the views · each − 1 positives, 0 to all others.
    sorted_out = {f"view{v}": one_hot * (v + 1) for v in range(views)}  # scale does not matter
    positives, negatives = views * each - 1, views * each * (classes - 1)
    expected = math.log(positives + negatives * math.exp(-1 / temperature))
    assert loss(sorted_out, labels)[0].item() == pytest.approx(expected)
    # One vector for all: each positive is one of all the others.
    collapsed = {f"view{v}": torch.ones(classes * each, 4, dtype=torch.float64) for v in range(views)}
    assert loss(collapsed, labels)[0].item() == pytest.approx(math.log(views * classes * each - 1))


def test_classes_apart_cost_less_than_any_other_vectors():
    # Equal vectors within a class and classes at the corners of a simplex are the least there is (Graf et al. 2021).
    labels = torch.arange(6) % 3
    simplex = torch.eye(3, dtype=torch.float64) - 1 / 3
    least = {view: simplex[labels].clone().requires_grad_() for view in ("a", "b")}
    value, _ = SupCon(0.5)(least, labels)
    assert all(g.abs().max() < 1e-12 for g in torch.autograd.grad(value, list(least.values())))
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        near = {k: v + 0.1 * torch.randn(6, 3, generator=generator, dtype=torch.float64) for k, v in least.items()}
        assert SupCon(0.5)(near, labels)[0] > value


def test_scale_does_not_matter():
    projections = random_projections(3)
    scale = torch.linspace(0.1, 100, 7, dtype=torch.float64).unsqueeze(1)
    scaled = {view: vectors * scale for view, vectors in projections.items()}
    assert SupCon()(scaled, LABELS)[0].item() == pytest.approx(SupCon()(projections, LABELS)[0].item(), abs=1e-12)


def test_zero_vectors_are_safe():
    scale = torch.tensor([[0.0], [1], [1], [1], [1], [1], [1]], dtype=torch.float64)
    zeroed = {k: (v.detach() * scale).requires_grad_() for k, v in random_projections(2).items()}
    value, _ = SupCon(0.5)(zeroed, LABELS)
    assert value.item() == pytest.approx(naive(zeroed, 0.5, LABELS)[0].item(), abs=1e-12)
    for gradient in torch.autograd.grad(value, list(zeroed.values())):
        assert torch.equal(gradient[0], torch.zeros(4, dtype=torch.float64))
        assert gradient[1:].abs().min() > 0


def test_small_temperature_in_float32():
    narrow = random_projections(3, batch=32, dim=2, dtype=torch.float32)  # few dimensions: similarities near ±1
    wide = {view: vectors.detach().double().requires_grad_() for view, vectors in narrow.items()}
    labels = torch.arange(32) % 5
    value, exact = (SupCon(0.01)(p, labels)[0] for p in (narrow, wide))
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)
    got, want = (torch.autograd.grad(x, list(p.values())) for x, p in ((value, narrow), (exact, wide)))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_refuses_a_temperature_that_is_not_positive(temperature):
    with pytest.raises(UsageError, match=r"must be a positive number, got .*The paper's is 0\.1"):
        SupCon(temperature)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(7), r"must be \(batch,\) integers; got \(7,\) torch.float32"),
        (torch.zeros(7, dtype=torch.bool), r"got \(7,\) torch.bool"),
        (torch.zeros(7, 1, dtype=torch.int64), r"got \(7, 1\) torch.int64"),
        (torch.zeros(6, dtype=torch.int64), r"a label \(or −1\) for each of 7 utterances; got 6"),
    ],
)
def test_refuses_labels_that_do_not_fit(labels, message):
    with pytest.raises(ValueError, match=message):
        SupCon()(random_projections(2), labels)


@pytest.mark.parametrize(
    "present",
    [
        {"view1": torch.zeros(7, dtype=torch.bool)},
        {"view0": torch.arange(7) < 3, "view1": torch.arange(7) >= 3},
        {"view0": torch.zeros(7, dtype=torch.bool), "view1": torch.zeros(7, dtype=torch.bool)},
    ],
)
def test_refuses_a_batch_in_which_nothing_has_a_positive(present):
    with pytest.raises(ValueError, match="No utterance of this batch has two views or another one of its label"):
        SupCon()(random_projections(2), present=present)


def test_is_described_by_its_temperature():
    assert repr(SupCon(0.2)) == "SupCon(temperature=0.2)"
