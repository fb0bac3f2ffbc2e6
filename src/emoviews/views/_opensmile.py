"""Functionals by opensmile: one vector for a whole utterance. Shared by `egemaps` and `compare_2016`.

opensmile (Eyben, Woellmer and Schuller, 2010) is the reference implementation of both feature sets, and the values here are
its own, bit for bit. It is an optional package under a research licence.

It turns the signal into 16-bit integers, `int16(sample * 32768)`, so +1.0 would become -32768, a click at the loudest sample.
The signal is therefore clipped to +-32767/32768 first. The same cast truncates: what is quieter than 1/32768 is silence to it.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from emoviews.errors import AudioError, MissingExtraError
from emoviews.types import FEATURES, SAMPLING_RATE
from emoviews.views import View

MINIMUM_SAMPLES: Final = 960
"""One 60 ms frame, the longest window in both feature sets; opensmile gives nothing but NaN for a shorter signal."""

_LOUDEST: Final = np.float32(32767 / 32768)


class OpensmileFunctionals(View):
    """`(samples,)` → `(features,)`, the functionals of one opensmile feature set over the whole utterance.

    Attributes:
        feature_set: the name of a member of `opensmile.FeatureSet`.
        n_features: how many functionals it has.
    """

    axes = (FEATURES,)
    licence = (
        "Computed with openSMILE, (c) audEERING GmbH: research and other non-commercial use only; its licence covers the "
        "extracted features and models trained on them."
    )
    feature_set: ClassVar[str]
    n_features: ClassVar[int]

    def __init__(self, parameters: object = None) -> None:
        """Load opensmile and read the feature set's configuration.

        Raises:
            MissingExtraError: opensmile is not installed.
        """
        super().__init__(parameters)
        try:
            import opensmile
        except ImportError as error:
            raise MissingExtraError(f"The view {self.name!r}", package="opensmile", extra="egemaps") from error
        self._smile = opensmile.Smile(opensmile.FeatureSet[self.feature_set], opensmile.FeatureLevel.Functionals)
        self.feature_names = tuple(self._smile.feature_names)

    @property
    def shape(self) -> tuple[int, ...]:
        """`(n_features,)`."""
        return (self.n_features,)

    def compute(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """`(samples,)` → `(n_features,)`, never cropped.

        Raises:
            AudioError: the signal is shorter than one 60 ms frame, or opensmile's result is not finite.
        """
        if len(samples) < MINIMUM_SAMPLES:
            raise AudioError(
                f"{len(samples) / SAMPLING_RATE:.3f} s of audio are too short for the view {self.name!r}: opensmile needs at "
                f"least {MINIMUM_SAMPLES / SAMPLING_RATE:.3f} s. Leave the recording out or take a longer segment."
            )
        clipped = np.clip(samples, -_LOUDEST, _LOUDEST)
        # Calling the object returns the array (channels, features, frames) and skips the data frame of `process_signal`.
        values: NDArray[np.float32] = self._smile(clipped, SAMPLING_RATE)[0, :, 0]
        if not np.isfinite(values).all():
            names = [name for name, value in zip(self.feature_names, values, strict=True) if not np.isfinite(value)]
            raise AudioError(
                f"opensmile gave no finite value for {len(names)} of the {self.n_features} features of the view "
                f"{self.name!r} (the first: {names[0]}). Leave the recording out or check its signal."
            )
        return values
