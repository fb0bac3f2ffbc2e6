"""Barlow Twins: the components of two views are correlated with themselves and with nothing else; no negatives.

Zbontar, Jing, Misra, LeCun and Deny, "Barlow Twins: Self-Supervised Learning via Redundancy Reduction", ICML 2021,
arXiv:2103.03230, equations 1 and 2. For the projections Z and Z′ of N utterances in two views, each component centred over the
batch:

    Cⱼₖ = Σᵢ zᵢⱼ z′ᵢₖ / (√(Σᵢ zᵢⱼ²) √(Σᵢ z′ᵢₖ²))                        correlation, between −1 and 1
    ℓ(Z, Z′) = Σⱼ (1 − Cⱼⱼ)² + λ Σ_{j≠k} Cⱼₖ²                        invariance + λ redundancy

The loss is the mean of ℓ over the pairs of views; the paper has two.

One deviation from equation 2, which is its authors' code's (a BatchNorm without scale and shift): ε is added to the variances
1/N Σᵢ zᵢⱼ², so that a component that is constant, for which the equation is not defined, is correlated with nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from emoviews.errors import UsageError
from emoviews.losses import Loss
from emoviews.losses._common import terms_of_pairs, weighted_over_pairs


class BarlowTwins(Loss):
    """Distance of the correlation matrix of every pair of views from the identity, averaged over pairs."""

    ignores_shift = True

    def __init__(self, redundancy_weight: float = 5e-3, eps: float = 1e-5) -> None:
        """Construct the loss.

        Args:
            redundancy_weight: λ ≥ 0; the paper's is 5e-3, for 8192 components.
            eps: ε > 0, added to variances; as in its authors' code.

        Raises:
            UsageError: a weight that is negative or not finite, or an ε that is not positive and finite.
        """
        super().__init__()
        if not 0 <= redundancy_weight < float("inf"):
            raise UsageError(
                f"redundancy_weight must be 0 or a positive number, got {redundancy_weight}. The paper's is 5e-3."
            )
        if not 0 < eps < float("inf"):
            raise UsageError(f"eps must be a positive number, got {eps}. Its authors' code has 1e-5.")
        self.redundancy_weight = redundancy_weight
        self.eps = eps

    def forward(
        self,
        projections: Mapping[str, Tensor],
        labels: Tensor | None = None,
        present: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of one batch.

        Where utterances lack views, a pair's loss is over exactly the utterances that have both, as if the batch held no
        others; pairs with fewer than two of them are left out of the mean. Rows of missing views are never read, whatever they
        hold.

        Computed in float32, or float64 if the projections are, also under autocast.

        Args:
            projections: view → `(batch, dim)`, two views at least, row i being the same utterance in each.
            labels: ignored.
            present: view → `(batch,)` bool, False where an utterance lacks the view; views not named lack nothing.

        Returns:
            The loss, and detached: for every pair of views `a|b` its loss, and of the mean over pairs the terms `invariance`
            and `redundancy` before the latter is weighted.

        Raises:
            ValueError: fewer than two views or utterances, shapes that differ, masks that don't fit, or no pair of views
                with two utterances that have both.
        """
        pairs, terms = terms_of_pairs(projections, present, lambda stacked: barlow_twins_terms(stacked, self.eps))
        return weighted_over_pairs(pairs, terms, {"invariance": 1.0, "redundancy": self.redundancy_weight})

    def extra_repr(self) -> str:
        return f"redundancy_weight={self.redundancy_weight}, eps={self.eps}"


def barlow_twins_terms(vectors: Tensor, eps: float = 1e-5) -> Tensor:
    """The two terms of every pair of views, unweighted: Σⱼ (1 − Cⱼⱼ)² and Σ_{j≠k} Cⱼₖ².

    Args:
        vectors: `(views, batch, dim)`, at least two views and two utterances.
        eps: ε.

    Returns:
        `(2, pairs)`, the pairs in the order of `itertools.combinations`.

    >>> view = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])  # two components that are not correlated
    >>> barlow_twins_terms(torch.stack([view, 5 * view + 1, view.flip(1)])).round()
    tensor([[0., 2., 2.],
            [0., 2., 2.]])
    """
    views, batch, dim = vectors.shape
    first, second = torch.triu_indices(views, views, 1, device=vectors.device)
    centred = vectors - vectors.mean(dim=1, keepdim=True)
    scaled = centred * (centred.square().mean(dim=1, keepdim=True) + eps).rsqrt()
    correlations = torch.bmm(scaled[first].mT, scaled[second]) / batch  # (pairs, dim, dim)
    invariance = (1 - correlations.diagonal(dim1=1, dim2=2)).square().sum(dim=1)
    diagonal = torch.eye(dim, dtype=torch.bool, device=vectors.device)
    redundancy = correlations.masked_fill(diagonal, 0).square().sum(dim=(1, 2))
    return torch.stack([invariance, redundancy])


LOSS = BarlowTwins
