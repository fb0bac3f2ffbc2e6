"""The fused loss against equations 1 to 3 written as loops, closed forms, and its invariances."""

import math
from itertools import combinations

import pytest
import torch
import torch.nn.functional as F

from emoviews.errors import UsageError
from emoviews.losses.pairwise_nt_xent import PairwiseNTXent, pairwise_nt_xent

BOTH = pytest.mark.parametrize("negatives", ["both", "cross_view"])


def naive(projections, temperature, negatives, present=None):
    """Equations 1 to 3, an anchor at a time: the mean over pairs, and each pair's loss."""
    views = list(projections)
    batch = len(projections[views[0]])
    present = {view: torch.ones(batch, dtype=torch.bool) for view in views} | (present or {})
    pairs = {}
    for v, w in combinations(views, 2):
        both = [i for i in range(batch) if present[v][i] and present[w][i]]
        if len(both) < 2:
            continue
        anchors = []
        for anchor_view, other_view in ((v, w), (w, v)):
            for i in both:

                def similarity(view, j, anchor=projections[anchor_view][i]):
                    return torch.cosine_similarity(anchor, projections[view][j], dim=0) / temperature

                against = [similarity(other_view, j) for j in both]
                if negatives == "both":
                    against += [similarity(anchor_view, j) for j in both if j != i]
                anchors.append(-torch.log(similarity(other_view, i).exp() / torch.stack(against).exp().sum()))
        pairs[f"{v}|{w}"] = torch.stack(anchors).mean()
    return torch.stack(list(pairs.values())).mean(), pairs


def random_projections(views, batch, dim, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return {
        f"view{v}": torch.randn(batch, dim, generator=generator, dtype=dtype).requires_grad_() for v in range(views)
    }


def compare(projections, temperature, negatives, present=None):
    loss, parts = PairwiseNTXent(temperature, negatives)(projections, present=present)
    expected, expected_parts = naive(projections, temperature, negatives, present)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-9)
    assert list(parts) == list(expected_parts)
    for pair, part in parts.items():
        assert not part.requires_grad
        assert part.item() == pytest.approx(expected_parts[pair].item(), abs=1e-9)
    vectors = list(projections.values())
    got = torch.autograd.grad(3 * loss, vectors, allow_unused=True, materialize_grads=True)
    want = torch.autograd.grad(3 * expected, vectors, allow_unused=True, materialize_grads=True)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


@BOTH
@pytest.mark.parametrize("views", [2, 3, 4, 5, 6])
def test_equals_equations_1_to_3(views, negatives):
    compare(random_projections(views, batch=4, dim=5), 0.5, negatives)


@BOTH
@pytest.mark.parametrize("views", [2, 3, 4, 5, 6])
def test_equals_equations_on_what_is_present(views, negatives):
    generator = torch.Generator().manual_seed(views)
    projections = random_projections(views, batch=6, dim=4)
    present = {view: torch.rand(6, generator=generator) < 0.7 for view in projections}
    present["view0"] = torch.tensor([True, True, True, False, True, True])
    present["view1"] = torch.tensor([True, True, False, True, True, True])
    compare(projections, 0.25, negatives, present)


@BOTH
def test_pairs_with_fewer_than_two_common_utterances_are_left_out(negatives):
    projections = random_projections(3, batch=4, dim=3)
    present = {
        "view0": torch.tensor([True, True, True, False]),
        "view2": torch.tensor([False, False, True, True]),
    }
    _, parts = PairwiseNTXent(0.5, negatives)(projections, present=present)
    assert list(parts) == ["view0|view1", "view1|view2"]
    compare(projections, 0.5, negatives, present)


@BOTH
def test_rows_of_missing_views_are_never_read(negatives):
    loss = PairwiseNTXent(0.5, negatives)
    projections = random_projections(3, batch=5, dim=4)
    present = {"view1": torch.tensor([True, False, True, True, True])}
    clean = loss(projections, present=present)[0]
    gradients = torch.autograd.grad(clean, list(projections.values()))
    spoilt = {view: vectors.detach().clone() for view, vectors in projections.items()}
    spoilt["view1"][1] = torch.nan
    for vectors in spoilt.values():
        vectors.requires_grad_()
    value = loss(spoilt, present=present)[0]
    assert value == clean
    for a, b in zip(torch.autograd.grad(value, list(spoilt.values())), gradients, strict=True):
        assert torch.equal(a, b)
    assert torch.equal(gradients[1][1], torch.zeros(4, dtype=torch.float64))


@BOTH
def test_masks_that_hide_nothing_change_nothing(negatives):
    projections = random_projections(3, batch=5, dim=4)
    present = {view: torch.ones(5, dtype=torch.bool) for view in projections}
    loss = PairwiseNTXent(0.5, negatives)
    assert loss(projections, present=present)[0] == loss(projections)[0]


def test_two_views_are_simclr_by_cross_entropy():
    projections = random_projections(2, batch=7, dim=5)
    u = F.normalize(torch.cat(list(projections.values())), dim=1)
    logits = (u @ u.T / 0.2).masked_fill(torch.eye(14, dtype=torch.bool), -torch.inf)
    expected = F.cross_entropy(logits, (torch.arange(14) + 7) % 14)
    assert PairwiseNTXent(0.2)(projections)[0].item() == pytest.approx(expected.item(), abs=1e-12)


def test_two_views_across_are_clip_by_cross_entropy():
    a, b = (F.normalize(vectors, dim=1) for vectors in random_projections(2, batch=7, dim=5).values())
    logits, targets = a @ b.T / 0.2, torch.arange(7)
    expected = (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2
    loss = PairwiseNTXent(0.2, "cross_view")({"a": a, "b": b})[0]
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)


@BOTH
def test_gradcheck(negatives):
    vectors = torch.randn(3, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pairwise_nt_xent(x.unbind(), 0.3, negatives)[0], vectors)


def test_the_two_denominators_differ():
    projections = random_projections(3, batch=128, dim=128, dtype=torch.float32)
    both = PairwiseNTXent(negatives="both")(projections)[0]
    cross_view = PairwiseNTXent(negatives="cross_view")(projections)[0]
    # log(2N − 1) = 5.54 and log N = 4.85 where all similarities are 0; E exp(s/τ) − 1 ≈ 1/(2τ²·dim) more here.
    assert both.item() == pytest.approx(math.log(255) + 2 / 128, abs=0.02)
    assert cross_view.item() == pytest.approx(math.log(128) + 2 / 128, abs=0.02)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_closed_forms(temperature):
    views, batch = 3, 8
    one_hot = torch.eye(batch, dtype=torch.float64)
    agreeing = {f"view{v}": one_hot * (v + 1) for v in range(views)}  # scale does not matter
    collapsed = {f"view{v}": torch.ones(batch, 4, dtype=torch.float64) for v in range(views)}
    # Orthonormal and equal in all views: similarity 1 to the positive, 0 to all of the 2(N − 1) or N − 1 negatives.
    both, cross = (PairwiseNTXent(temperature, negatives) for negatives in ("both", "cross_view"))
    assert both(agreeing)[0].item() == pytest.approx(math.log1p(2 * (batch - 1) * math.exp(-1 / temperature)))
    assert cross(agreeing)[0].item() == pytest.approx(math.log1p((batch - 1) * math.exp(-1 / temperature)))
    # One vector for all: the positive is one of 2N − 1, or N, equals.
    assert both(collapsed)[0].item() == pytest.approx(math.log(2 * batch - 1))
    assert cross(collapsed)[0].item() == pytest.approx(math.log(batch))


@BOTH
def test_order_of_views_and_utterances_and_scale_do_not_matter(negatives):
    loss = PairwiseNTXent(0.5, negatives)
    projections = random_projections(3, batch=6, dim=4)
    value = loss(projections)[0].item()
    shuffled = torch.tensor([3, 1, 5, 0, 2, 4])
    scale = torch.linspace(0.1, 100, 6, dtype=torch.float64).unsqueeze(1)
    assert loss(dict(reversed(projections.items())))[0].item() == pytest.approx(value, abs=1e-12)
    assert loss({k: v[shuffled] for k, v in projections.items()})[0].item() == pytest.approx(value, abs=1e-12)
    assert loss({k: v * scale for k, v in projections.items()})[0].item() == pytest.approx(value, abs=1e-12)


@BOTH
def test_small_temperature_in_float32(negatives):
    narrow = random_projections(3, batch=32, dim=2, dtype=torch.float32)  # few dimensions: similarities near ±1
    wide = {view: vectors.detach().double().requires_grad_() for view, vectors in narrow.items()}
    loss, exact = (PairwiseNTXent(0.01, negatives)(p)[0] for p in (narrow, wide))
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)
    got, want = (torch.autograd.grad(x, list(p.values())) for x, p in ((loss, narrow), (exact, wide)))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-4)


def test_a_block_far_below_the_rest_of_its_row_does_not_vanish():
    # At τ = 0.01 the similarities to view c are exp(200) times those to view b, more than float32 spans.
    a = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    loss, parts = PairwiseNTXent(0.01, "cross_view")({"a": a, "b": -a, "c": a})
    assert loss.item() == pytest.approx(math.log(2), rel=1e-5)
    assert parts["a|b"].item() == pytest.approx(math.log(2), rel=1e-5)


def test_zero_vectors_are_safe():
    projections = random_projections(2, batch=4, dim=3)
    zeroed = {k: (v.detach() * torch.tensor([[0.0], [1], [1], [1]])).requires_grad_() for k, v in projections.items()}
    compare_value = naive(zeroed, 0.5, "both")[0].item()
    loss = PairwiseNTXent(0.5)(zeroed)[0]
    assert loss.item() == pytest.approx(compare_value, abs=1e-12)
    for gradient in torch.autograd.grad(loss, list(zeroed.values())):
        assert torch.equal(gradient[0], torch.zeros(3, dtype=torch.float64))
        assert gradient[1:].abs().min() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_and_narrow_projections_are_computed_in_float32(dtype):
    narrow = {k: v.detach().to(dtype).requires_grad_() for k, v in random_projections(3, 8, 16).items()}
    exact, _ = PairwiseNTXent(0.1)({k: v.float() for k, v in narrow.items()})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = PairwiseNTXent(0.1)(narrow)
        under_autocast, _ = PairwiseNTXent(0.1)({k: v.float() for k, v in narrow.items()})
    assert loss.dtype == torch.float32
    assert loss == exact == under_autocast
    loss.backward()
    assert all(v.grad.dtype == dtype and v.grad.isfinite().all() for v in narrow.values())


def test_a_second_backward_pass_gives_the_same_gradient():
    projections = random_projections(2, batch=4, dim=3)
    loss, _ = PairwiseNTXent()(projections)
    first, second = (torch.autograd.grad(loss, list(projections.values()), retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_without_gradients_the_value_is_the_same():
    projections = random_projections(3, batch=4, dim=3)
    with torch.no_grad():
        value, _ = PairwiseNTXent()(projections)
    assert not value.requires_grad
    assert value == PairwiseNTXent()(projections)[0]


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_refuses_a_temperature_that_is_not_positive(temperature):
    with pytest.raises(UsageError, match=r"must be a positive number, got .*The paper's is 0\.5"):
        PairwiseNTXent(temperature)


def test_refuses_unknown_negatives():
    with pytest.raises(UsageError, match="one of both, cross_view; got 'all'"):
        PairwiseNTXent(negatives="all")


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(4, 3)], "at least two views, got view0"),
        ([], "at least two views, got none"),
        ([(4, 3), (4, 2)], r"one shape \(batch, dim\); got view0 \(4, 3\), view1 \(4, 2\)"),
        ([(4, 3), (5, 3)], r"one shape \(batch, dim\); got view0 \(4, 3\), view1 \(5, 3\)"),
        ([(4,), (4,)], r"one shape \(batch, dim\)"),
        ([(1, 3), (1, 3)], "at least 2 utterances, got a batch of 1"),
    ],
)
def test_refuses_projections_that_do_not_fit(shapes, message):
    with pytest.raises(ValueError, match=message):
        PairwiseNTXent()({f"view{i}": torch.ones(shape) for i, shape in enumerate(shapes)})


@pytest.mark.parametrize(
    ("present", "message"),
    [
        ({"view9": torch.ones(4, dtype=torch.bool)}, "names view9; the views are view0, view1"),
        ({"view0": torch.ones(3, dtype=torch.bool)}, r"must be \(4,\) bool a view; view0 has \(3,\) torch.bool"),
        ({"view1": torch.ones(4)}, r"view1 has \(4,\) torch.float32"),
        ({"view1": torch.tensor([True, False, False, False])}, "No two views have 2 utterances in common"),
    ],
)
def test_refuses_masks_that_do_not_fit(present, message):
    with pytest.raises(ValueError, match=message):
        PairwiseNTXent()(random_projections(2, batch=4, dim=3), present=present)
