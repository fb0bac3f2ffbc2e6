"""What the losses share: the checks of what they are given, full precision, normalisation, and the pairs of views."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Final

import torch
from torch import Tensor

EPS: Final = 1e-12
"""Vectors of this norm or less count as zero, as in `torch.nn.functional.normalize`."""


def check_projections(projections: Mapping[str, Tensor]) -> None:
    """Refuse what is not two views or more of two utterances or more, all of one shape.

    Raises:
        ValueError: it is not.
    """
    if len(projections) < 2:
        raise ValueError(f"A loss over views needs at least two views, got {', '.join(projections) or 'none'}.")
    shapes = {view: tuple(vectors.shape) for view, vectors in projections.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 2 for shape in shapes.values()):
        got = ", ".join(f"{view} {shape}" for view, shape in shapes.items())
        raise ValueError(f"All views must have projections of one shape (batch, dim); got {got}.")
    batch = next(iter(shapes.values()))[0]
    if batch < 2:
        raise ValueError(f"A loss over views needs at least 2 utterances, got a batch of {batch}. Drop the last batch.")


def check_present(projections: Mapping[str, Tensor], present: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """The mask of every view, `(batch,)`; all True where none is given.

    Raises:
        ValueError: a mask of a view that there is not, of another shape or another type.
    """
    present = present or {}
    if unknown := set(present) - set(projections):
        raise ValueError(f"`present` names {', '.join(sorted(unknown))}; the views are {', '.join(projections)}.")
    masks = {}
    for view, vectors in projections.items():
        mask = present.get(view)
        if mask is None:
            mask = torch.ones(len(vectors), dtype=torch.bool, device=vectors.device)
        if mask.dtype != torch.bool or mask.shape != vectors.shape[:1]:
            raise ValueError(
                f"`present` must be ({len(vectors)},) bool a view; {view} has {tuple(mask.shape)} {mask.dtype}."
            )
        masks[view] = mask
    return masks


def common_utterances(masks: Mapping[str, Tensor]) -> dict[tuple[str, str], Tensor]:
    """For every pair of views with two utterances or more that have both: which these are, `(batch,)`.

    Raises:
        ValueError: there is no such pair.
    """
    found = {(a, b): masks[a] & masks[b] for a, b in combinations(masks, 2)}
    found = {pair: both for pair, both in found.items() if int(both.sum()) >= 2}
    if not found:
        raise ValueError(
            "No two views have 2 utterances in common in this batch, so there is nothing to align. Use a larger batch, or "
            "leave out the utterances that have one view only."
        )
    return found


def full_precision(vectors: Sequence[Tensor]) -> Tensor:
    """`(batch, dim)` a view → `(views, batch, dim)`, float32 where they are narrower."""
    stacked = torch.stack(list(vectors))
    return stacked.float() if stacked.dtype in (torch.float16, torch.bfloat16) else stacked


def normalised(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """`(n, dim)` → the vectors at length 1 and, `(n, 1)`, what they were multiplied by; zero vectors stay zero, by 0."""
    norms = vectors.norm(dim=1, keepdim=True)
    inverse = norms.reciprocal().masked_fill_(norms <= EPS, 0)
    return vectors * inverse, inverse


def through_normalised(for_u: Tensor, u: Tensor, inverse: Tensor) -> Tensor:
    """The gradient in the vectors, from that in u, which is overwritten: what points along u changes nothing."""
    return for_u.addcmul_(u, (for_u * u).sum(dim=1, keepdim=True), value=-1).mul_(inverse)


def terms_of_pairs(
    projections: Mapping[str, Tensor], present: Mapping[str, Tensor] | None, terms: Callable[[Tensor], Tensor]
) -> tuple[list[str], Tensor]:
    """The terms of a loss for every pair of views, over exactly the utterances that have both.

    Args:
        projections: view → `(batch, dim)`.
        present: view → `(batch,)` bool, or None.
        terms: `(views, batch, dim)` of utterances that have all of these views → `(terms, pairs)`, the pairs in the order of
            `itertools.combinations`; called in float32, or float64 if the projections are, also under autocast.

    Returns:
        The pairs, `a|b`, without those that have fewer than two utterances in common, and `(terms, pairs)`.

    Raises:
        ValueError: what `check_projections`, `check_present` and `common_utterances` refuse.
    """
    check_projections(projections)
    masks = check_present(projections, present)
    with torch.autocast(next(iter(masks.values())).device.type, enabled=False):
        if all(bool(mask.all()) for mask in masks.values()):
            names = [f"{a}|{b}" for a, b in combinations(projections, 2)]
            return names, terms(full_precision(list(projections.values())))
        # Every pair has other utterances, so other means: nothing is shared, and each is a batch of two views.
        found = {
            f"{a}|{b}": terms(full_precision([projections[a][both], projections[b][both]]))
            for (a, b), both in common_utterances(masks).items()
        }
        return list(found), torch.cat(list(found.values()), dim=1)


def weighted_over_pairs(
    pairs: Sequence[str], terms: Tensor, weights: Mapping[str, float]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean over pairs of views of a weighted sum of terms, and what a loss tells of it.

    Args:
        pairs: their names.
        terms: `(terms, pairs)`, of `terms_of_pairs`.
        weights: name of each term → its weight, in the order of `terms`.

    Returns:
        The loss, and detached: for every pair its loss, and each term's mean over pairs before it is weighted.
    """
    losses: Tensor = sum(weight * term for weight, term in zip(weights.values(), terms, strict=True))
    parts = dict(zip(pairs, losses.detach(), strict=True))
    return losses.mean(), parts | dict(zip(weights, terms.detach().mean(dim=1), strict=True))
