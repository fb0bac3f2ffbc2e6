"""What every loss promises beyond the contract: masks, precision, order, and what it refuses."""

import pytest
import torch

from emoviews.losses import make_loss
from emoviews.losses._common import common_utterances, normalised, terms_of_pairs

NAMES = ("barlow_twins", "pairwise_nt_xent", "supcon", "vicreg")
EVERY = pytest.mark.parametrize("name", NAMES)
PAIRWISE = pytest.mark.parametrize("name", sorted(set(NAMES) - {"supcon"}))
LABELS = torch.tensor([0, 1, 0, -1, 1, -1])


def random_projections(views, batch, dim, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return {
        f"view{v}": torch.randn(batch, dim, generator=generator, dtype=dtype).requires_grad_() for v in range(views)
    }


@EVERY
@pytest.mark.parametrize("views", [2, 3, 4])
def test_order_of_views_and_utterances_does_not_matter(name, views):
    loss, projections = make_loss(name), random_projections(views, batch=6, dim=4)
    present = {"view0": torch.tensor([True, True, False, True, True, True])}
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    for masks in (None, present):
        shuffled = {view: mask[order] for view, mask in (masks or {}).items()}
        value, parts = loss(projections, LABELS, masks)
        other, _ = loss({k: v[order] for k, v in projections.items()}, LABELS[order], shuffled)
        assert other.item() == pytest.approx(value.item(), abs=1e-12)
        other, other_parts = loss(dict(reversed(projections.items())), LABELS, masks)
        assert other.item() == pytest.approx(value.item(), abs=1e-12)
        for part, of_part in parts.items():
            same = part if part in other_parts else "|".join(reversed(part.split("|")))
            assert other_parts[same].item() == pytest.approx(of_part.item(), abs=1e-12)


@EVERY
def test_rows_of_missing_views_are_never_read(name):
    loss, projections = make_loss(name), random_projections(3, batch=6, dim=4)
    present = {"view1": torch.tensor([True, False, True, True, True, True])}
    clean, _ = loss(projections, LABELS, present)
    gradients = torch.autograd.grad(clean, list(projections.values()))
    spoilt = {view: vectors.detach().clone() for view, vectors in projections.items()}
    spoilt["view1"][1] = torch.nan
    for vectors in spoilt.values():
        vectors.requires_grad_()
    value, _ = loss(spoilt, LABELS, present)
    assert value == clean
    for a, b in zip(torch.autograd.grad(value, list(spoilt.values())), gradients, strict=True):
        assert torch.equal(a, b)
    assert torch.equal(gradients[1][1], torch.zeros(4, dtype=torch.float64))
    assert gradients[1][0].abs().max() > 0


@EVERY
def test_masks_that_hide_nothing_change_nothing(name):
    loss, projections = make_loss(name), random_projections(3, batch=6, dim=4)
    present = {view: torch.ones(6, dtype=torch.bool) for view in projections}
    value, parts = loss(projections, LABELS, present)
    plain, plain_parts = loss(projections, LABELS)
    assert value == plain
    assert parts == plain_parts


@EVERY
def test_a_batch_of_which_utterances_are_wholly_missing_is_a_smaller_batch(name):
    loss, projections = make_loss(name), random_projections(3, batch=6, dim=4)
    there = torch.tensor([True, True, False, True, False, True])
    value, parts = loss(projections, LABELS, dict.fromkeys(projections, there))
    smaller, smaller_parts = loss({k: v[there] for k, v in projections.items()}, LABELS[there])
    assert value.item() == pytest.approx(smaller.item(), abs=1e-12)
    assert {k: v.item() for k, v in parts.items()} == pytest.approx({k: v.item() for k, v in smaller_parts.items()})


@PAIRWISE
def test_labels_are_ignored(name):
    loss, projections = make_loss(name), random_projections(3, batch=6, dim=4)
    assert loss(projections, LABELS)[0] == loss(projections)[0]


@PAIRWISE
@pytest.mark.parametrize("views", [2, 3, 4])
def test_the_loss_is_the_mean_over_pairs_of_views(name, views):
    loss, projections = make_loss(name), random_projections(views, batch=6, dim=4)
    value, parts = loss(projections)
    pairs = {part: number.item() for part, number in parts.items() if "|" in part}
    assert len(pairs) == views * (views - 1) / 2
    assert sum(pairs.values()) / len(pairs) == pytest.approx(value.item(), abs=1e-12)
    for pair, number in pairs.items():
        alone, _ = loss({view: projections[view] for view in pair.split("|")})
        assert number == pytest.approx(alone.item(), abs=1e-12)


@PAIRWISE
def test_pairs_with_fewer_than_two_common_utterances_are_left_out(name):
    loss, projections = make_loss(name), random_projections(3, batch=4, dim=3)
    present = {
        "view0": torch.tensor([True, True, True, False]),
        "view2": torch.tensor([False, False, True, True]),
    }
    value, parts = loss(projections, present=present)
    assert [part for part in parts if "|" in part] == ["view0|view1", "view1|view2"]
    rows = {"view0|view1": slice(0, 3), "view1|view2": slice(2, 4)}
    alone = [loss({view: projections[view][kept] for view in pair.split("|")})[0].item() for pair, kept in rows.items()]
    assert value.item() == pytest.approx(sum(alone) / 2, abs=1e-12)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_and_narrow_projections_are_computed_in_float32(name, dtype):
    loss = make_loss(name)
    narrow = {k: v.detach().to(dtype).requires_grad_() for k, v in random_projections(3, 6, 16).items()}
    for present in (None, {"view0": torch.tensor([True, True, True, True, True, False])}):
        exact, _ = loss({k: v.float() for k, v in narrow.items()}, LABELS, present)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value, parts = loss(narrow, LABELS, present)
            under_autocast, _ = loss({k: v.float() for k, v in narrow.items()}, LABELS, present)
        assert value.dtype == torch.float32
        assert {part.dtype for part in parts.values()} == {torch.float32}
        assert value == exact == under_autocast
        gradients = torch.autograd.grad(value, list(narrow.values()))
        assert all(g.dtype == dtype and g.isfinite().all() for g in gradients)


@EVERY
def test_float32_is_close_to_float64(name):
    loss, wide = make_loss(name), random_projections(3, batch=6, dim=4)
    narrow = {view: vectors.detach().float().requires_grad_() for view, vectors in wide.items()}
    value, exact = loss(narrow, LABELS)[0], loss(wide, LABELS)[0]
    assert (value.dtype, exact.dtype) == (torch.float32, torch.float64)
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)
    got, want = (torch.autograd.grad(x, list(p.values())) for x, p in ((value, narrow), (exact, wide)))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5)


@EVERY
def test_without_gradients_the_value_is_the_same(name):
    loss, projections = make_loss(name), random_projections(3, batch=6, dim=4)
    with torch.inference_mode():
        value, _ = loss(projections, LABELS)
    assert not value.requires_grad
    assert value == loss(projections, LABELS)[0]


@EVERY
def test_a_second_backward_pass_gives_the_same_gradient(name):
    projections = random_projections(2, batch=6, dim=3)
    value, _ = make_loss(name)(projections, LABELS)
    first, second = (torch.autograd.grad(value, list(projections.values()), retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@EVERY
def test_what_is_the_same_for_every_utterance_gives_no_number_that_is_not_finite(name):
    loss = make_loss(name)
    for vectors in (torch.zeros(6, 4), torch.full((6, 4), 0.1), torch.full((6, 4), 1e4)):
        constant = {f"view{v}": vectors.clone().requires_grad_() for v in range(3)}
        value, _ = loss(constant, LABELS)
        assert value.isfinite()
        assert all(g.isfinite().all() for g in torch.autograd.grad(value, list(constant.values())))


@EVERY
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
def test_refuses_projections_that_do_not_fit(name, shapes, message):
    with pytest.raises(ValueError, match=message):
        make_loss(name)({f"view{i}": torch.ones(shape) for i, shape in enumerate(shapes)})


@EVERY
@pytest.mark.parametrize(
    ("present", "message"),
    [
        ({"view9": torch.ones(4, dtype=torch.bool)}, "names view9; the views are view0, view1"),
        ({"view0": torch.ones(3, dtype=torch.bool)}, r"must be \(4,\) bool a view; view0 has \(3,\) torch.bool"),
        ({"view1": torch.ones(4)}, r"view1 has \(4,\) torch.float32"),
    ],
)
def test_refuses_masks_that_do_not_fit(name, present, message):
    with pytest.raises(ValueError, match=message):
        make_loss(name)(random_projections(2, batch=4, dim=3), present=present)


@PAIRWISE
def test_refuses_a_batch_in_which_no_two_views_meet(name):
    present = {"view1": torch.tensor([True, False, False, False])}
    with pytest.raises(ValueError, match=r"No two views have 2 utterances in common in this batch, so .* larger batch"):
        make_loss(name)(random_projections(2, batch=4, dim=3), present=present)


def test_common_utterances_are_those_that_have_both_views():
    a, b = torch.tensor([True, True, True, False]), torch.tensor([False, True, True, True])
    found = common_utterances({"a": a, "b": b, "c": ~a})
    assert list(found) == [("a", "b")]
    assert found["a", "b"].tolist() == [False, True, True, False]


def test_terms_are_asked_for_once_where_nothing_is_missing():
    asked = []

    def terms(stacked):
        asked.append(tuple(stacked.shape))
        return stacked.new_zeros(2, len(stacked) * (len(stacked) - 1) // 2)

    projections = random_projections(3, batch=4, dim=2)
    assert terms_of_pairs(projections, None, terms)[0] == ["view0|view1", "view0|view2", "view1|view2"]
    assert asked == [(3, 4, 2)]
    terms_of_pairs(projections, {"view0": torch.tensor([True, True, True, False])}, terms)
    assert asked[1:] == [(2, 3, 2), (2, 3, 2), (2, 4, 2)]


def test_normalised_vectors_have_length_one_or_zero():
    u, inverse = normalised(torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 1e-13]]))
    torch.testing.assert_close(u, torch.tensor([[0.6, 0.8], [0.0, 0.0], [0.0, 0.0]]))
    torch.testing.assert_close(inverse, torch.tensor([[0.2], [0.0], [0.0]]))
