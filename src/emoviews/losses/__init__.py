"""Losses over the projections of several views, one file each.

A loss is an `nn.Module` called as `loss(projections, labels=None, present=None)` that returns `(scalar, parts)`:

- `projections`: view → `(batch, dim)`, the same `dim` for all views, row i being the same utterance in each;
- `labels`: `(batch,)` int64, −1 for unlabelled, or None; most losses ignore them;
- `present`: view → `(batch,)` bool, False where an utterance lacks the view (its row is then never read), or None;
- `parts`: name → detached scalar, e.g. `mel_spectrogram|egemaps` for a pair of views, `variance` for a term.

To add one, put one file here that defines the module and `LOSS = ThatClass`; the file name is its name.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from emoviews.registry import Registry

LOSSES = Registry("emoviews.losses", "LOSS", "loss")


def make_loss(name: str, **parameters: Any) -> nn.Module:
    """Construct the loss called `name`."""
    loss: nn.Module = LOSSES.load(name)(**parameters)
    return loss
