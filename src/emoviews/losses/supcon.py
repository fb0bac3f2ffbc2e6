"""SupCon: an utterance's views, and all utterances of its label, are drawn together; everything else is pushed away.

Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, arXiv:2004.11362, equation 2 (L_out). The normalised
projections zᵢ of all utterances in all views are one set I. With the temperature τ, A(i) = I without i, and P(i) those of A(i)
that are of the same utterance or of one with the same label:

    ℓ(i) = −1/|P(i)| Σ_{p∈P(i)} log( exp(zᵢ·zₚ/τ) / Σ_{a∈A(i)} exp(zᵢ·zₐ/τ) )

For an utterance without label, P(i) are its own other views alone. So with no labels at all this is SimCLR of all views at
once, and of two views exactly `pairwise_nt_xent` with `negatives="both"`. Of more views it is not: that one contrasts a pair of
views at a time, this one has the vectors of all views in every denominator.

The paper has two augmented copies of each image and labels for all; views, missing views and missing labels are ours. Its sum
over anchors is a mean here, as in its authors' code (without that code's factor, a ratio of two temperatures), over the anchors
that have a positive. One without (an utterance of a single view, unlabelled or alone with its label) is still a negative of the
others.

With the Gram matrix G = u uᵀ/τ of the normalised vectors, ℓ(i) is the logsumexp of row i without the diagonal, less the mean of
G over the positives. Its gradient in G is the row's softmax less 1/|P(i)| at the positives, which is written down here rather
than left to autograd: that takes about a quarter less time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from emoviews.errors import UsageError
from emoviews.losses import Loss
from emoviews.losses._common import (
    check_present,
    check_projections,
    full_precision,
    normalised,
    through_normalised,
)


class SupCon(Loss):
    """Supervised contrastive loss over all views at once."""

    uses_labels = True

    def __init__(self, temperature: float = 0.1) -> None:
        """Construct the loss.

        Args:
            temperature: τ > 0; the paper's is 0.1.

        Raises:
            UsageError: a temperature that is not positive and finite.
        """
        super().__init__()
        if not 0 < temperature < float("inf"):
            raise UsageError(f"The temperature must be a positive number, got {temperature}. The paper's is 0.1.")
        self.temperature = temperature

    def forward(
        self,
        projections: Mapping[str, Tensor],
        labels: Tensor | None = None,
        present: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of one batch.

        What an utterance lacks is neither anchor, positive nor negative. Rows of missing views are never read, whatever they
        hold.

        Computed in float32, or float64 if the projections are, also under autocast. The gradient can't be differentiated
        again.

        Args:
            projections: view → `(batch, dim)`, two views at least, row i being the same utterance in each.
            labels: `(batch,)` integers, −1 (or less) for unlabelled; None where nothing is labelled.
            present: view → `(batch,)` bool, False where an utterance lacks the view; views not named lack nothing.

        Returns:
            The loss, and for every view its detached mean over the anchors in that view, if one of them has a positive.

        Raises:
            ValueError: fewer than two views or utterances, shapes that differ, labels or masks that don't fit, or no anchor
                that has a positive.
        """
        check_projections(projections)
        masks = check_present(projections, present)
        kept = torch.stack(list(masks.values()))  # (views, batch)
        groups = _groups(projections, labels).expand_as(kept)[kept]
        whole = bool(kept.all())
        if not whole and len(torch.unique(groups)) == len(groups):
            raise ValueError(
                "No utterance of this batch has two views or another one of its label, so there is nothing to draw together. "
                "Use a larger batch, or leave out the utterances that have one view only."
            )
        with torch.autocast(kept.device.type, enabled=False):
            stacked = full_precision(list(projections.values()))
            vectors = stacked.flatten(0, 1) if whole else stacked[kept]
            loss, losses, anchors = supcon(vectors, groups, self.temperature)
        of_view = [int(mask.sum()) for mask in masks.values()]  # rows are ordered by view
        found = zip(projections, torch.split(losses, of_view), torch.split(anchors, of_view), strict=True)
        return loss, {view: own[chosen].mean() for view, own, chosen in found if bool(chosen.any())}

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}"


def supcon(vectors: Tensor, groups: Tensor, temperature: float = 0.1) -> tuple[Tensor, Tensor, Tensor]:
    """Mean of ℓ over the anchors that have a positive.

    Zero vectors have similarity 0 to everything and get no gradient.

    Args:
        vectors: `(n, dim)`, two at least; need not be normalised.
        groups: `(n,)` integers; what has the same is each other's positive.
        temperature: τ.

    Returns:
        The loss, a scalar, NaN where no anchor has a positive; ℓ of every anchor `(n,)`, 0 where it has none; and `(n,)` bool,
        whether it has one. Only the first has a gradient.

    >>> loss, _, _ = supcon(torch.ones(4, 2), torch.tensor([0, 0, 1, 1]))  # nothing can be told from anything
    >>> torch.isclose(loss, torch.log(torch.tensor(3.0)))
    tensor(True)
    """
    found: tuple[Tensor, Tensor, Tensor] = _SupCon.apply(vectors, groups, temperature)  # type: ignore[no-untyped-call]
    return found


class _SupCon(Function):
    """The loss with its gradient, which is computed at once while the exponentials are there."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, groups: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
        u, inverse = normalised(vectors)
        gram = torch.mm(u, u.T).div_(temperature)  # (n, n)
        shares = (groups.unsqueeze(1) == groups).fill_diagonal_(False).to(gram.dtype)
        counts = shares.sum(dim=1, keepdim=True)
        shares.div_(counts.clamp(min=1))  # 1/|P(i)| at the positives
        attraction = torch.linalg.vecdot(gram, shares)
        largest = gram.fill_diagonal_(-torch.inf).amax(dim=1, keepdim=True)
        exponentials = gram.sub_(largest).exp_()
        sums = exponentials.sum(dim=1, keepdim=True)
        anchors = counts.squeeze(1) > 0
        losses = (sums.log() + largest).squeeze(1).sub_(attraction).masked_fill_(~anchors, 0)
        loss = losses.sum() / anchors.sum()
        ctx.mark_non_differentiable(losses, anchors)

        if ctx.needs_input_grad[0]:
            for_gram = exponentials.div_(sums).sub_(shares).mul_((anchors.to(gram.dtype) / anchors.sum()).unsqueeze(1))
            for_u = torch.mm(for_gram, u).addmm_(for_gram.T, u).div_(temperature)  # G holds u twice
            ctx.save_for_backward(through_normalised(for_u, u, inverse))
        return loss, losses, anchors

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor, None, None]:
        (for_vectors,) = ctx.saved_tensors
        return gradient * for_vectors, None, None


def _groups(projections: Mapping[str, Tensor], labels: Tensor | None) -> Tensor:
    """`(batch,)`: the label, and a negative number of its own for each utterance that has none."""
    vectors = next(iter(projections.values()))
    own = -1 - torch.arange(len(vectors), device=vectors.device)
    if labels is None:
        return own
    if labels.dtype.is_floating_point or labels.dtype.is_complex or labels.dtype == torch.bool or labels.ndim != 1:
        raise ValueError(f"`labels` must be (batch,) integers; got {tuple(labels.shape)} {labels.dtype}.")
    if labels.shape != own.shape:
        raise ValueError(f"There must be a label (or −1) for each of {len(own)} utterances; got {len(labels)}.")
    return torch.where(labels < 0, own, labels)


LOSS = SupCon
