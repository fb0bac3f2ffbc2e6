"""What goes on top of an encoder: a projection head for pre-training, a classifier for fine-tuning.

The paper, sections 2.1 and 3.3: one projection head a view, an MLP of two layers of 256 and 128, dropped after
pre-training; then "a linear classification head with softmax activation". The softmax is part of the cross-entropy, so the
classifier returns logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from emoviews.encoders._stacked import Linear
from emoviews.errors import UsageError


class ProjectionHead(nn.Module):
    """Vector → the space of the contrastive loss: linear, ReLU, linear.

    The authors' public tools (XR2Learn/Enablers-2-4-Training, `NonLinearProjection`) put BatchNorm after the ReLU;
    the paper does not mention it, so it is off unless asked for. With it, a projection depends on the whole batch.
    """

    def __init__(self, dim: int, hidden: int = 256, out: int = 128, batch_norm: bool = False) -> None:
        """Construct it for vectors of size `dim`.

        Args:
            dim: size of the encoder's output.
            hidden: size of the hidden layer.
            out: size of the projection.
            batch_norm: normalise over the batch after the ReLU.

        Raises:
            UsageError: a size below 1.
        """
        super().__init__()
        _check_sizes("A projection head", dim, hidden, out)
        self.layers = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU())
        if batch_norm:
            self.layers.append(nn.BatchNorm1d(hidden))
        self.layers.append(nn.Linear(hidden, out))

    def forward(self, encoded: Tensor) -> Tensor:
        """`(batch, dim)` → `(batch, out)`."""
        projected: Tensor = self.layers(encoded)
        return projected


class Classifier(nn.Module):
    """Vector → one logit a class.

    Linear, as the paper's text says, or with hidden layers and ReLU: its table of parameters (supplement, 7.1) gives the
    head of wav2vec 2.0 0.017 M, which is `hidden=(128,)` for 4 classes, 17 028.
    """

    def __init__(self, dim: int, classes: int, hidden: Sequence[int] = ()) -> None:
        """Construct it for vectors of size `dim`.

        Args:
            dim: size of the encoder's output.
            classes: number of classes.
            hidden: sizes of hidden layers, none for a linear classifier.

        Raises:
            UsageError: a size below 1, or fewer than two classes.
        """
        super().__init__()
        _check_sizes("A classifier", dim, *hidden)
        if classes < 2:
            raise UsageError(f"A classifier needs at least 2 classes, got {classes}. Label a second class.")
        sizes = [dim, *hidden]
        self.layers = nn.Sequential()
        for inputs, outputs in pairwise(sizes):
            self.layers.extend([Linear(inputs, outputs), nn.ReLU()])
        self.layers.append(Linear(sizes[-1], classes))

    def forward(self, encoded: Tensor) -> Tensor:
        """`(batch, dim)` → logits `(batch, classes)`; stacked (`encoders._stacked`): `(models, batch, ...)` both."""
        logits: Tensor = self.layers(encoded)
        return logits


def _check_sizes(what: str, *sizes: int) -> None:
    if min(sizes) < 1:
        raise UsageError(f"{what} needs sizes of at least 1, got {sizes}.")
