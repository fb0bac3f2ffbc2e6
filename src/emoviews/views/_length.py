"""How long the signal of a frame-level view may be: cropping, and the paper's fixed, zero-padded input.

The paper (section 3.2) gives wav2vec 2.0 and the spectrogram 15 s, cropped or zero-padded. Padding costs time and, unless its
frames are dropped again, is averaged into the utterance's vector, so the default here crops only; `padding="fixed",
mask_padding=False` is the paper's input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emoviews.audio import MINIMUM_SECONDS, crop, crop_or_pad
from emoviews.types import SAMPLING_RATE


@dataclass(frozen=True, kw_only=True)
class LengthParameters:
    """The length of the signal that a view is computed from.

    Attributes:
        maximum_seconds: longer signals are cropped to this; None never crops.
        padding: `none` computes the signal at its own length; `fixed` zero-pads shorter ones to `maximum_seconds`.
        mask_padding: with `padding="fixed"`, whether the frames of the padding are dropped once they are computed; each view
            says which frames those are. False keeps them.

    Raises:
        ValueError: a length below 0.1 s or not finite; `fixed` without a length; padding to be kept where none is made.
    """

    maximum_seconds: float | None = 15.0
    padding: Literal["none", "fixed"] = "none"
    mask_padding: bool = True

    def __post_init__(self) -> None:
        if self.maximum_seconds is not None:
            # 10 and 10.0 are one length, so they must also be one value in the JSON that is fingerprinted.
            object.__setattr__(self, "maximum_seconds", float(self.maximum_seconds))
            if not MINIMUM_SECONDS <= self.maximum_seconds < math.inf:
                raise ValueError(f"maximum_seconds must be at least {MINIMUM_SECONDS}, got {self.maximum_seconds}.")
        if self.padding not in ("none", "fixed"):
            raise ValueError(f"padding must be 'none' or 'fixed', got {self.padding!r}.")
        if self.padding == "fixed" and self.maximum_seconds is None:
            raise ValueError("padding='fixed' needs maximum_seconds, the length to pad to; got None.")
        if self.padding == "none" and not self.mask_padding:
            raise ValueError(
                "mask_padding=False keeps the padding's frames, but padding='none' makes none; use 'fixed'."
            )


def fit_length(samples: NDArray[np.float32], parameters: LengthParameters) -> NDArray[np.float32]:
    """Crop, and zero-pad if asked to: `(samples,)` → `(samples,)`.

    >>> fit_length(np.ones(4000, np.float32), LengthParameters(maximum_seconds=0.2)).shape
    (3200,)
    >>> fit_length(np.ones(4000, np.float32), LengthParameters(maximum_seconds=0.5, padding="fixed")).shape
    (8000,)
    """
    if parameters.maximum_seconds is None:
        return samples
    n_samples = round(parameters.maximum_seconds * SAMPLING_RATE)
    return crop_or_pad(samples, n_samples) if parameters.padding == "fixed" else crop(samples, n_samples)
