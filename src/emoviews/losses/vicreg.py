"""VICReg: views that agree, in components that vary and are not correlated; no negatives.

Bardes, Ponce and LeCun, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning", ICLR 2022,
arXiv:2105.04906, equations 1 to 6. For the projections of N utterances, Z = (z₁, …, z_N) of d components in one view and Z′ in
another:

    v(Z) = 1/d Σⱼ max(0, γ − √(Var(z·ⱼ) + ε))            variance: a hinge that keeps each component's deviation at γ
    C(Z) = 1/(N − 1) Σᵢ (zᵢ − z̄)(zᵢ − z̄)ᵀ
    c(Z) = 1/d Σ_{j≠k} C(Z)²ⱼₖ                            covariance
    s(Z, Z′) = 1/(N·d) Σᵢ ‖zᵢ − z′ᵢ‖²                     invariance
    ℓ(Z, Z′) = λ s(Z, Z′) + μ (v(Z) + v(Z′)) + ν (c(Z) + c(Z′))

The loss is the mean of ℓ over the pairs of views; the paper has two. Variances are those with N − 1.

The invariance is a mean over components, as in the paper's algorithm 1 and its authors' code, for which the weights were
chosen; equation 5 sums over them, which is `invariance_weight=25 * d`. The variance is that of equation 6 and algorithm 1; the
code halves it, which is `variance_weight=12.5`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from emoviews.errors import UsageError
from emoviews.losses import Loss
from emoviews.losses._common import terms_of_pairs, weighted_over_pairs


class VICReg(Loss):
    """Invariance, variance and covariance of every pair of views, averaged over pairs."""

    ignores_shift = True

    def __init__(
        self,
        invariance_weight: float = 25.0,
        variance_weight: float = 25.0,
        covariance_weight: float = 1.0,
        target_deviation: float = 1.0,
        eps: float = 1e-4,
    ) -> None:
        """Construct the loss; the defaults are the paper's.

        Args:
            invariance_weight: λ ≥ 0.
            variance_weight: μ ≥ 0.
            covariance_weight: ν ≥ 0.
            target_deviation: γ > 0, the standard deviation above which a component is left alone.
            eps: ε > 0, added to variances: it bounds the gradient of the deviation of a component that is constant.

        Raises:
            UsageError: a weight that is negative or not finite, all weights 0, or a deviation or ε that is not positive and
                finite.
        """
        super().__init__()
        weights = {
            "invariance_weight": invariance_weight,
            "variance_weight": variance_weight,
            "covariance_weight": covariance_weight,
        }
        for name, weight in weights.items():
            if not 0 <= weight < float("inf"):
                raise UsageError(f"{name} must be 0 or a positive number, got {weight}. The paper's are 25, 25 and 1.")
        if not any(weights.values()):
            raise UsageError("All weights of VICReg are 0, so there is nothing to train. The paper's are 25, 25 and 1.")
        for name, value, usual in (("target_deviation", target_deviation, "1"), ("eps", eps, "1e-4")):
            if not 0 < value < float("inf"):
                raise UsageError(f"{name} must be a positive number, got {value}. The paper's is {usual}.")
        self.invariance_weight = invariance_weight
        self.variance_weight = variance_weight
        self.covariance_weight = covariance_weight
        self.target_deviation = target_deviation
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
            projections: view → `(batch, dim)`, two views at least, row i being the same utterance in each; not normalised.
            labels: ignored.
            present: view → `(batch,)` bool, False where an utterance lacks the view; views not named lack nothing.

        Returns:
            The loss, and detached: for every pair of views `a|b` its loss, and of the mean over pairs the terms `invariance`,
            `variance` and `covariance` before they are weighted.

        Raises:
            ValueError: fewer than two views or utterances, shapes that differ, masks that don't fit, or no pair of views
                with two utterances that have both.
        """
        pairs, terms = terms_of_pairs(
            projections, present, lambda stacked: vicreg_terms(stacked, self.target_deviation, self.eps)
        )
        weights = {
            "invariance": self.invariance_weight,
            "variance": self.variance_weight,
            "covariance": self.covariance_weight,
        }
        return weighted_over_pairs(pairs, terms, weights)

    def extra_repr(self) -> str:
        return (
            f"invariance_weight={self.invariance_weight}, variance_weight={self.variance_weight}, "
            f"covariance_weight={self.covariance_weight}, target_deviation={self.target_deviation}, eps={self.eps}"
        )


def vicreg_terms(vectors: Tensor, target_deviation: float = 1.0, eps: float = 1e-4) -> Tensor:
    """The three terms of every pair of views, unweighted: s(Z, Z′), v(Z) + v(Z′), c(Z) + c(Z′).

    Args:
        vectors: `(views, batch, dim)`, at least two views and two utterances.
        target_deviation: γ.
        eps: ε.

    Returns:
        `(3, pairs)`, the pairs in the order of `itertools.combinations`.

    >>> views = torch.stack([torch.zeros(4, 2), torch.ones(4, 2)])  # collapsed, each view to a vector of its own
    >>> vicreg_terms(views, eps=1e-4)[:, 0]
    tensor([1.0000, 1.9800, 0.0000])
    """
    views, batch, dim = vectors.shape
    first, second = torch.triu_indices(views, views, 1, device=vectors.device)
    invariance = (vectors[first] - vectors[second]).square().mean(dim=(1, 2))
    centred = vectors - vectors.mean(dim=1, keepdim=True)
    covariances = torch.bmm(centred.mT, centred) / (batch - 1)  # (views, dim, dim)
    deviations = (covariances.diagonal(dim1=1, dim2=2) + eps).sqrt()  # (views, dim)
    variance = (target_deviation - deviations).relu().mean(dim=1)
    diagonal = torch.eye(dim, dtype=torch.bool, device=vectors.device)
    covariance = covariances.masked_fill(diagonal, 0).square().sum(dim=(1, 2)) / dim
    return torch.stack([invariance, variance[first] + variance[second], covariance[first] + covariance[second]])


LOSS = VICReg
