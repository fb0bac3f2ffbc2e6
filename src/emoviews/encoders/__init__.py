"""View-level encoders, one file each: a `ViewBatch` of one view → `(batch, dim)`.

To add one, put one file here that defines a subclass of `Encoder` and `ENCODER = ThatClass`; the file name is its name. No
BatchNorm inside encoders: training many models at once, distributed training and cached-gradient training would no longer
equal the plain one. Nothing pads before an encoder does.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from emoviews.batching import Indices, Scaler, ViewData
from emoviews.errors import UsageError
from emoviews.registry import Registry
from emoviews.types import FEATURES, FRAMES, LAYERS, ViewBatch, ViewSpec

ENCODERS = Registry("emoviews.encoders", "ENCODER", "encoder")

DEFAULT_ENCODER = {
    (LAYERS, FRAMES, FEATURES): "layer_mix",
    (FRAMES, FEATURES): "temporal_cnn",
    (FEATURES,): "mlp",
}
"""The encoder used for a view of these axes unless another is named."""


class Encoder(nn.Module):
    """A view-level encoder.

    Attributes:
        name: the registered name (= the file name).
        axes: the view axes it takes.
        dim: size of its output.
        banks: whether its parameters may be stacked, `(models, ...)`, so that it is many models at once: it then maps a
            `BankBatch` to their vectors, `(models · batch, dim)` or `(models, batch, dim)`, and has no buffers
            (`emoviews.encoders._stacked`). Otherwise its models are trained one at a time.
        together: how many models of a bank are trained at a time on a CPU: where one model alone fills the processor, more
            would only push what lies between its layers out of the cache.
        gathers: whether the values of a `BankBatch` may be `_stacked.GatheredRows`.
        reads_stored: whether the values of its batches may be `batching.StoredValues`, which it reads in blocks.
    """

    name: ClassVar[str]
    axes: ClassVar[tuple[str, ...]]
    banks: ClassVar[bool] = False
    together: ClassVar[int] = 1_000
    gathers: ClassVar[bool] = False
    reads_stored: ClassVar[bool] = False
    dim: int

    def __init__(self, shape: tuple[int, ...]) -> None:
        """`shape`: the view's declared shape (0 for `frames`); keyword parameters follow in subclasses."""
        super().__init__()
        self.shape = shape

    def forward(self, batch: ViewBatch) -> Tensor:
        """`ViewBatch` → `(batch, dim)`."""
        raise NotImplementedError

    def plain(self) -> nn.Module:
        """The same function of tensors alone, with the same weights and without dropout: what can be exported.

        It maps utterances of one length, `(batch, ...)` with the view's axes after `batch`, to `(batch, dim)`.

        Raises:
            UsageError: the encoder has no such form.
        """
        raise UsageError(
            f"The encoder {self.name!r} can't be exported: it has no method plain (encoders.Encoder.plain)."
        )

    def read(self, data: ViewData, indices: Indices, scaler: Scaler | None, device: str = "cpu") -> ViewBatch:
        """A batch for it, read from `data`: on the device, or on the CPU in memory, or in the store where it reads there."""
        if torch.device(device).type != "cpu":
            return data.batch_on(device, indices, scaler)
        return data.stored_batch(indices, scaler) if self.reads_stored else data.batch(indices, scaler)


def make_encoder(spec: ViewSpec, name: str | None = None, **parameters: Any) -> Encoder:
    """Construct an encoder for a view: `name`, or the default for its axes.

    Initial weights come from torch's global generator; seed it (`torch.manual_seed`) for repeatable ones.

    Raises:
        UsageError: no such encoder, or one for other axes.
    """
    encoder: type[Encoder] = ENCODERS.load(name or DEFAULT_ENCODER[spec.axes])
    if encoder.axes != spec.axes:
        raise UsageError(f"Encoder {encoder.name!r} takes axes {encoder.axes}; view {spec.name!r} has {spec.axes}.")
    return encoder(spec.shape, **parameters)
