"""Losses over the projections of several views, one file each.

A loss is an `nn.Module` called as `loss(projections, labels=None, present=None)` that returns `(scalar, parts)`:

- `projections`: view → `(batch, dim)`, the same `dim` for all views, row i being the same utterance in each;
- `labels`: `(batch,)` int64, −1 for unlabelled, or None; most losses ignore them;
- `present`: view → `(batch,)` bool, False where an utterance lacks the view (its row is then never read), or None;
- `parts`: name → detached scalar, e.g. `mel_spectrogram|egemaps` for a pair of views, `variance` for a term.

What a loss is beside that, it says in the class attributes of `Loss`.

To add one, put one file here that defines the module and `LOSS = ThatClass`; the file name is its name.
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, Final

from torch import nn

from emoviews.errors import UsageError
from emoviews.registry import Registry

LOSSES = Registry("emoviews.losses", "LOSS", "loss")

_ANY: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Loss(nn.Module):
    """What is minimised over the projections of several views.

    Attributes:
        uses_labels: whether it reads `labels`. One that does is never trained without any, and what starts from an encoder
            trained with it has to use the same labels.
        ignores_shift: whether the same vector added to all projections leaves it as it is. The projections' cosines then say
            nothing until they are centred.
    """

    uses_labels: ClassVar[bool] = False
    ignores_shift: ClassVar[bool] = False


def make_loss(name: str, **settings: Any) -> Loss:
    """Construct the loss called `name`.

    Raises:
        UsageError: there is none, it takes no such setting, or not this value of it.
    """
    loss: type[Loss] = LOSSES.load(name)
    takes = [name for name, p in inspect.signature(loss).parameters.items() if p.kind not in _ANY]
    if unknown := sorted(set(settings) - set(takes)):
        raise UsageError(f"The loss {name} has no {unknown[0]}; it has {', '.join(takes) or 'no settings'}.")
    return loss(**settings)
