"""The paper's loss, equations 1 to 3: NT-Xent between every pair of views, averaged.

For a pair of views (v, w) of N utterances, temperature τ and cosine similarity s, the projection of utterance i in view v as
anchor is to find its partner in view w (eq. 1):

    ℓ(v, w, i) = −log( exp(s(vᵢ, wᵢ)/τ) / Σ_negatives and positive exp(s(vᵢ, ·)/τ) )

The pair's loss is the mean over both directions and all anchors (eq. 2), the loss the mean over the V(V−1)/2 pairs (eq. 3).
Two readings of the denominator exist. `negatives="both"`, the default: the 2N − 1 other vectors of the two views, as in
SimCLR (Chen et al. 2020), which the paper cites and whose form its authors' tools have. `negatives="cross_view"`: the N
vectors of the other view, as in CMC (Tian et al. 2020), which it follows in spirit.

All pairs share one Gram matrix G = u uᵀ/τ of the normalised vectors of all views. With L[v, w, i] = logsumexp over j of block
(v, w) in row i, without the anchor itself,

    ℓ(v, w, i) = logaddexp(L[v, w, i], L[v, v, i]) − G[vᵢ, wᵢ]        (cross_view: L[v, w, i] − G[vᵢ, wᵢ])

and the gradient in G is a softmax a block, scaled by a row, which is written down here rather than left to autograd: that
takes about half the time (`benchmarks/bench_losses.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from emoviews.errors import UsageError
from emoviews.losses import Loss
from emoviews.losses._common import (
    check_present,
    check_projections,
    common_utterances,
    full_precision,
    normalised,
    through_normalised,
)

Negatives = Literal["both", "cross_view"]


class PairwiseNTXent(Loss):
    """NT-Xent between every pair of views, averaged over pairs."""

    def __init__(self, temperature: float = 0.5, negatives: Negatives = "both") -> None:
        """Construct the loss.

        Args:
            temperature: τ > 0; the paper tried 0.1, 0.25, 0.5 and 1.0, and 0.5 was best.
            negatives: what the denominator holds, see the module's text.

        Raises:
            UsageError: a temperature that is not positive and finite, or other negatives.
        """
        super().__init__()
        if not 0 < temperature < float("inf"):
            raise UsageError(f"The temperature must be a positive number, got {temperature}. The paper's is 0.5.")
        if negatives not in get_args(Negatives):
            raise UsageError(f"negatives must be one of {', '.join(get_args(Negatives))}; got {negatives!r}.")
        self.temperature = temperature
        self.negatives: Negatives = negatives

    def forward(
        self,
        projections: Mapping[str, Tensor],
        labels: Tensor | None = None,
        present: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of one batch.

        Where utterances lack views, a pair's loss is over exactly the utterances that have both, positives and negatives
        alike, as if the batch held no others; pairs with fewer than two of them are left out of the mean. Rows of missing
        views are never read, whatever they hold.

        Computed in float32, or float64 if the projections are, also under autocast. The gradient can't be differentiated
        again.

        Args:
            projections: view → `(batch, dim)`, two views at least, row i being the same utterance in each.
            labels: ignored.
            present: view → `(batch,)` bool, False where an utterance lacks the view; views not named lack nothing.

        Returns:
            The loss, and for every pair of views `a|b` its detached loss, both directions averaged.

        Raises:
            ValueError: fewer than two views or utterances, shapes that differ, masks that don't fit, or no pair of views
                with two utterances that have both.
        """
        views = list(projections)
        check_projections(projections)
        masks = check_present(projections, present)
        if all(bool(mask.all()) for mask in masks.values()):
            loss, directed = pairwise_nt_xent(list(projections.values()), self.temperature, self.negatives)
            mutual = (directed + directed.T) / 2
            pairs = combinations(range(len(views)), 2)
            return loss, {f"{views[v]}|{views[w]}": mutual[v, w] for v, w in pairs}

        # Every pair has other utterances, so other negatives: nothing is shared, and each is a batch of two views.
        losses: dict[str, Tensor] = {}
        for (a, b), both in common_utterances(masks).items():
            vectors = [projections[a][both], projections[b][both]]
            losses[f"{a}|{b}"], _ = pairwise_nt_xent(vectors, self.temperature, self.negatives)
        return torch.stack(list(losses.values())).mean(), {pair: loss.detach() for pair, loss in losses.items()}

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, negatives={self.negatives!r}"


def pairwise_nt_xent(
    vectors: Sequence[Tensor], temperature: float = 0.5, negatives: Negatives = "both"
) -> tuple[Tensor, Tensor]:
    """Mean NT-Xent over all ordered pairs of views, every utterance having all of them.

    Zero vectors have similarity 0 to everything and get no gradient.

    Args:
        vectors: `(batch, dim)` a view, at least two views and two utterances; need not be normalised.
        temperature: τ.
        negatives: `both` or `cross_view`.

    Returns:
        The loss, a scalar, and the loss of every direction `(views, views)`: anchors in the row's view, partners in the
        column's; 0 on the diagonal. Only the first has a gradient.

    >>> same = torch.eye(4)  # one view of utterances that have nothing in common; two more agree with it wholly
    >>> loss, directed = pairwise_nt_xent([same, same, same], temperature=0.5)
    >>> torch.isclose(loss, torch.log1p(2 * 3 * torch.exp(torch.tensor(-1 / 0.5))))
    tensor(True)
    """
    with torch.autocast(vectors[0].device.type, enabled=False):
        stacked = full_precision(vectors)  # (views, batch, dim)
        loss, directed = _PairwiseNTXent.apply(stacked, temperature, negatives == "both")  # type: ignore[no-untyped-call]
    return loss, directed


class _PairwiseNTXent(Function):
    """The loss with its gradient, which is computed at once while the exponentials are there."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, temperature: float, both: bool) -> tuple[Tensor, Tensor]:
        views, batch, dim = vectors.shape
        u, inverse = normalised(vectors.view(views * batch, dim))
        gram = torch.mm(u, u.T).div_(temperature).fill_diagonal_(-torch.inf).view(views, batch, views, batch)
        positives = gram.diagonal(dim1=1, dim2=3).clone()  # (views, views, batch)

        # Each block by its own maximum: relative to that of a whole row, a block would vanish at small temperatures.
        largest = gram.amax(dim=-1, keepdim=True)  # (views, batch, views, 1)
        exponentials = gram.sub_(largest).exp_()
        largest = largest.squeeze(-1).transpose(1, 2)  # (views, views, batch)
        blocks = exponentials.sum(dim=-1).transpose(1, 2).log().add_(largest)  # L[v, w, i]
        within = blocks.diagonal(dim1=0, dim2=1).T.unsqueeze(1)  # L[v, v, i], (views, 1, batch)
        denominators = torch.logaddexp(blocks, within) if both else blocks
        directed = (denominators - positives).mean(dim=-1).fill_diagonal_(0)  # (views, views)
        loss = directed.sum() / (views * (views - 1))
        ctx.mark_non_differentiable(directed)

        if ctx.needs_input_grad[0]:
            # ∂ℓ(v, w, i)/∂G is exp(G − denominator) over blocks (v, w) and, with `both`, (v, v), less 1 at the positive.
            # `scale` turns the exponentials of a block into that, for all the directions the block takes part in.
            weights = torch.full_like(directed, 1 / (views * (views - 1) * batch)).fill_diagonal_(0).unsqueeze(-1)
            scale = (largest - denominators).exp_().mul_(weights)  # (views, views, batch)
            if both:
                own = largest.diagonal(dim1=0, dim2=1).T.unsqueeze(1)
                shares = (own - denominators).exp_().mul_(weights).sum(dim=1)  # (views, batch)
                scale.diagonal(dim1=0, dim2=1).copy_(shares.T)
            for_gram = exponentials.mul_(scale.transpose(1, 2).unsqueeze(-1))
            for_gram.diagonal(dim1=1, dim2=3).sub_(weights)
            for_gram = for_gram.view(views * batch, views * batch)
            for_u = torch.mm(for_gram, u).addmm_(for_gram.T, u).div_(temperature)  # G holds u twice
            ctx.save_for_backward(through_normalised(for_u, u, inverse).view_as(vectors))
        return loss, directed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Any) -> tuple[Tensor, None, None]:
        (for_vectors,) = ctx.saved_tensors
        return gradient * for_vectors, None, None


LOSS = PairwiseNTXent
