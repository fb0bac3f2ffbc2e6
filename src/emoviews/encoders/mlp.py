"""The encoder for functionals: a multi-layer perceptron.

The paper, section 3.2: "A two-layered MLP with 256 and 128 neurons is used as a view-level encoder" of eGeMAPS-88; its table
of parameters (supplement, 7.1) has room for one layer only, 88·128 + 128 = 11 392. Both are to be had: `hidden=(256,)`, the
default, and `hidden=()`.

ReLU follows every layer, the last one too. The paper does not say; the encoder of functionals in its authors' public tools
(XR2Learn/Enablers-2-4-Training, `LinearEncoder`) ends in ReLU, and so do the encoders of the other two views.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from emoviews.encoders import Encoder
from emoviews.encoders._dropout import Dropout
from emoviews.encoders._ragged import check_batch
from emoviews.encoders._stacked import BankBatch, Linear
from emoviews.errors import UsageError
from emoviews.types import FEATURES, ViewBatch


class MLP(Encoder):
    """Linear layers, each with ReLU and dropout."""

    name = "mlp"
    axes = (FEATURES,)
    banks = True

    def __init__(
        self, shape: tuple[int, ...], hidden: Sequence[int] = (256,), dim: int = 128, dropout: float = 0.0
    ) -> None:
        """Construct it for a view of shape `(features,)`.

        Args:
            shape: the view's declared shape.
            hidden: sizes of the hidden layers; may be empty.
            dim: size of the output.
            dropout: probability, after each layer.

        Raises:
            UsageError: a size below 1, or a dropout outside [0, 1).
        """
        super().__init__(shape)
        if min([*hidden, dim]) < 1 or not 0 <= dropout < 1:
            raise UsageError(
                f"mlp needs sizes of at least 1 and a dropout in [0, 1), got hidden={tuple(hidden)}, dim={dim}, "
                f"dropout={dropout}."
            )
        self.dim = dim
        sizes = [shape[-1], *hidden, dim]
        self.layers = nn.Sequential()
        for inputs, outputs in pairwise(sizes):
            self.layers.extend([Linear(inputs, outputs), nn.ReLU(inplace=True), Dropout(dropout)])

    def forward(self, batch: ViewBatch) -> Tensor:
        """Values `(batch, features)` → `(batch, dim)`; of a bank `(models, batch, dim)`."""
        check_batch(batch, self.shape, self.axes)
        values = batch.values
        if isinstance(batch, BankBatch) and len(batch.sharing) > 1:
            values = batch.a_batch_each().values.view(batch.models, -1, self.shape[-1])  # (models, batch, features)
        encoded: Tensor = self.layers(values.to(next(self.parameters()).dtype))
        return encoded

    def plain(self) -> nn.Module:
        """`(batch, features)` → `(batch, dim)`."""
        return nn.Sequential(*(layer for layer in self.layers if not isinstance(layer, Dropout)))


ENCODER = MLP
