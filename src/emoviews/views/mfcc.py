"""Mel-frequency cepstral coefficients: the orthonormal DCT-II of the log-mel spectrogram, c0 included, no liftering.

Davis and Mermelstein, "Comparison of parametric representations for monosyllabic word recognition", 1980. The logarithm is
natural; `librosa.feature.mfcc`, which works in decibels, gives these values times 10 / ln 10 = 4.343 (while no band falls
80 dB below the loudest, where it clips). Deltas are left to the encoder, which convolves over time.

The store keeps float16: c0 is at most 23 * sqrt(bands) = 184 in size for 64 bands, where float16 is off by at most 0.06.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from emoviews.types import FEATURES, FRAMES, SAMPLING_RATE
from emoviews.views import View
from emoviews.views._mel import LogMel, MelParameters


@dataclass(frozen=True, kw_only=True)
class MfccParameters(MelParameters):
    """The log-mel spectrogram's parameters, and how much of its cepstrum is kept.

    Attributes:
        coefficients: kept from c0 on; at most `bands`.

    Raises:
        ValueError: as `MelParameters`, or more coefficients than bands.
    """

    coefficients: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.coefficients <= self.bands:
            raise ValueError(f"coefficients must be between 1 and bands ({self.bands}), got {self.coefficients}.")


class Mfcc(View):
    """`(samples,)` → `(frames, features)`, c0 first, 100 frames a second by default."""

    name = "mfcc"
    title = "mel-frequency cepstral coefficients, 100 frames a second"
    version = 1
    axes = (FRAMES, FEATURES)
    Parameters = MfccParameters
    parameters: MfccParameters

    def __init__(self, parameters: MfccParameters | None = None) -> None:
        super().__init__(parameters)
        self.frame_rate = SAMPLING_RATE / self.parameters.hop_samples
        self.feature_names = tuple(f"c{i}" for i in range(self.parameters.coefficients))
        self._log_mel = LogMel(self.parameters)
        cosines = scipy.fft.dct(np.eye(self.parameters.bands), type=2, norm="ortho")  # (bands, coefficients)
        self._cosines = np.ascontiguousarray(cosines[:, : self.parameters.coefficients], dtype=np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        """`(0, coefficients)`."""
        return (0, self.parameters.coefficients)

    def compute(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """`(samples,)` → `(frames, coefficients)`; a signal of n samples has `1 + n // hop_samples` frames."""
        log_mel = self._log_mel(samples)  # (frames, bands)
        return log_mel @ self._cosines


VIEW = Mfcc
