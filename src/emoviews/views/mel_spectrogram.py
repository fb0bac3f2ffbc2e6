"""Log-mel spectrogram: 25 ms window, 10 ms hop, 64 bands from 60 to 7800 Hz (the paper, section 3.2).

How a frame is computed, and what the paper leaves open, is said in `views/_mel.py`. Held to
`log(max(librosa.feature.melspectrogram(...), floor))` within 1e-4.

The store keeps float16: values lie between log(1e-10) = -23 and about 10, where float16 is off by at most 0.008 (0.03 dB).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emoviews.types import FEATURES, FRAMES, SAMPLING_RATE
from emoviews.views import View
from emoviews.views._mel import LogMel, MelParameters, band_names


class MelSpectrogram(View):
    """`(samples,)` → `(frames, features)`, natural log of power, one feature a mel band, 100 frames a second by default."""

    name = "mel_spectrogram"
    title = "log mel spectrogram: 64 bands, 100 frames a second"
    version = 1
    axes = (FRAMES, FEATURES)
    Parameters = MelParameters
    parameters: MelParameters

    def __init__(self, parameters: MelParameters | None = None) -> None:
        super().__init__(parameters)
        self.frame_rate = SAMPLING_RATE / self.parameters.hop_samples
        self.feature_names = band_names(self.parameters)
        self._log_mel = LogMel(self.parameters)

    @property
    def shape(self) -> tuple[int, ...]:
        """`(0, bands)`."""
        return (0, self.parameters.bands)

    def compute(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """`(samples,)` → `(frames, bands)`; a signal of n samples has `1 + n // hop_samples` frames."""
        return self._log_mel(samples)


VIEW = MelSpectrogram
