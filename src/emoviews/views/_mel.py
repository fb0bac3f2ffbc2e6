"""The log-mel spectrogram that `mel_spectrogram` and `mfcc` share: pure functions, then one object that holds the constants.

Frame t is centred on sample `t * hop`: half a window of zeros stands before and after the signal (librosa's `center=True,
pad_mode="constant"`), so a signal of n samples has `1 + n // hop` frames and even the shortest one has a frame. The power
spectrum of a frame under a periodic Hann window, `|rfft|**2` without scaling, is weighted by triangular mel filters; the
natural logarithm of what is above a floor is the output.

The transform runs in float64 although the output is float32: a loud tone leaves the far bands 140 dB down, where the rounding
of a float32 transform is the larger part and moves the logarithm by up to 0.1. It costs 1 ms for 15 s of audio.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from emoviews.types import SAMPLING_RATE
from emoviews.views._length import LengthParameters, fit_length

_BLOCK_FRAMES: Final = 64
"""Frames computed at a time: with a 400-sample window the temporaries take half a megabyte and stay in the cache of a core."""


@dataclass(frozen=True, kw_only=True)
class MelParameters(LengthParameters):
    """The log-mel spectrogram. The defaults are the paper's (section 3.2) where it states them.

    It states neither the mel scale nor the filters' norm nor the floor; these defaults are librosa's scale and norm, and a
    floor just below the power that the rounding of 16-bit audio leaves in a band.

    Attributes:
        bands: mel bands.
        minimum_hz: lower edge of the first band.
        maximum_hz: upper edge of the last band.
        window_samples: length of the window and of the Fourier transform (400 = 25 ms).
        hop_samples: from one frame to the next (160 = 10 ms).
        scale: `slaney` (linear below 1 kHz, logarithmic above; Slaney's Auditory Toolbox, 1998) or `htk`
            (2595 log10(1 + f / 700)).
        norm: `slaney` divides each filter by half its width in Hz, so that noise of equal power per Hz gives equal bands;
            `none` leaves all peaks at 1.
        floor: the least power: the output is `log(max(power, floor))`. Power is that of samples in [-1, 1].

    Raises:
        ValueError: a value out of its range, or so many bands that one of them lies between two bins of the transform.
    """

    bands: int = 64
    minimum_hz: float = 60.0
    maximum_hz: float = 7800.0
    window_samples: int = 400
    hop_samples: int = 160
    scale: Literal["slaney", "htk"] = "slaney"
    norm: Literal["slaney", "none"] = "slaney"
    floor: float = 1e-10

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("minimum_hz", "maximum_hz", "floor"):
            object.__setattr__(self, name, float(getattr(self, name)))
        nyquist_hz = SAMPLING_RATE / 2
        if self.bands < 1:
            raise ValueError(f"bands must be at least 1, got {self.bands}.")
        if not 0 <= self.minimum_hz < self.maximum_hz <= nyquist_hz:
            raise ValueError(
                f"Expected 0 <= minimum_hz < maximum_hz <= {nyquist_hz:g}, got {self.minimum_hz:g} and {self.maximum_hz:g}."
            )
        if self.window_samples < 2:
            raise ValueError(f"window_samples must be at least 2, got {self.window_samples}.")
        if not 1 <= self.hop_samples <= self.window_samples:
            raise ValueError(
                f"hop_samples must be between 1 and window_samples ({self.window_samples}), so that no sample is left out; "
                f"got {self.hop_samples}."
            )
        if self.scale not in ("slaney", "htk"):
            raise ValueError(f"scale must be 'slaney' or 'htk', got {self.scale!r}.")
        if self.norm not in ("slaney", "none"):
            raise ValueError(f"norm must be 'slaney' or 'none', got {self.norm!r}.")
        if not 1e-30 <= self.floor <= 1:
            raise ValueError(f"floor must be between 1e-30 and 1, got {self.floor:g}.")
        if empty := int((mel_filters(self).max(axis=1) == 0).sum()):
            raise ValueError(
                f"{empty} of the {self.bands} bands lie between two bins of a {self.window_samples}-sample transform and "
                "would always be empty; use fewer bands or a longer window."
            )


def hz_to_mel(frequency_hz: NDArray[np.float64], scale: Literal["slaney", "htk"]) -> NDArray[np.float64]:
    """Frequency in Hz → mel, any shape.

    >>> hz_to_mel(np.array([0.0, 1000.0, 6400.0]), "slaney").round(6).tolist()
    [0.0, 15.0, 42.0]
    >>> hz_to_mel(np.array([0.0, 6300.0]), "htk").tolist()
    [0.0, 2595.0]
    """
    if scale == "htk":
        return 2595.0 * np.log10(1.0 + frequency_hz / 700.0)
    # 15 mel up to 1 kHz, then 27 mel for every factor of 6.4.
    logarithmic = 15.0 + 27.0 * np.log(np.maximum(frequency_hz, 1000.0) / 1000.0) / math.log(6.4)
    return np.where(frequency_hz < 1000.0, frequency_hz * 0.015, logarithmic)


def mel_to_hz(mel: NDArray[np.float64], scale: Literal["slaney", "htk"]) -> NDArray[np.float64]:
    """The inverse of `hz_to_mel`, any shape.

    >>> mel_to_hz(np.array([0.0, 15.0, 42.0]), "slaney").round(6).tolist()
    [0.0, 1000.0, 6400.0]
    """
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    return np.where(mel < 15.0, mel / 0.015, 1000.0 * np.exp((np.maximum(mel, 15.0) - 15.0) * math.log(6.4) / 27.0))


def band_edges_hz(parameters: MelParameters) -> NDArray[np.float64]:
    """`(bands + 2,)`: band i rises from edge i to its centre, edge i + 1, and falls to edge i + 2; equal steps in mel."""
    lowest, highest = hz_to_mel(np.array([parameters.minimum_hz, parameters.maximum_hz]), parameters.scale)
    return mel_to_hz(np.linspace(lowest, highest, parameters.bands + 2), parameters.scale)


def mel_filters(parameters: MelParameters) -> NDArray[np.float64]:
    """The triangular filters, `(bands, window_samples // 2 + 1)`: weights on the bins of the power spectrum."""
    bins_hz = np.fft.rfftfreq(parameters.window_samples, 1 / SAMPLING_RATE)
    edges_hz = band_edges_hz(parameters)
    corners = np.lib.stride_tricks.sliding_window_view(edges_hz, 3)  # (bands, 3): where it begins, peaks and ends
    filters = np.stack([np.interp(bins_hz, corner, (0.0, 1.0, 0.0)) for corner in corners])
    if parameters.norm == "slaney":
        filters *= 2.0 / (edges_hz[2:] - edges_hz[:-2])[:, None]
    return filters


def band_names(parameters: MelParameters) -> tuple[str, ...]:
    """The bands by their centres.

    >>> band_names(MelParameters())[:2]
    ('105.1 Hz', '150.2 Hz')
    """
    return tuple(f"{centre_hz:.1f} Hz" for centre_hz in band_edges_hz(parameters)[1:-1])


class LogMel:
    """Signals to log-mel spectrograms, with the window and filters made once.

    With `padding="fixed"`, `mask_padding` drops the frames that lie wholly in the padding.
    """

    def __init__(self, parameters: MelParameters) -> None:
        self.parameters = parameters
        # The periodic Hann window; importing scipy.signal for it would take longer than all the rest of starting a worker.
        turns = np.arange(parameters.window_samples) / parameters.window_samples
        self._window = 0.5 - 0.5 * np.cos(2 * np.pi * turns)
        self._filters = np.ascontiguousarray(mel_filters(parameters).T, dtype=np.float32)  # (bins, bands)

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """`(samples,)` of any length → `(frames, bands)`, cropped, padded and masked as the parameters say."""
        signal = fit_length(samples, self.parameters)
        log_mel = self.spectrogram(signal)
        if self.parameters.padding == "fixed" and self.parameters.mask_padding:
            # Frame t reaches back to sample t * hop - window // 2; it is dropped if even that lies in the padding.
            half = self.parameters.window_samples // 2
            return log_mel[: -(-(len(samples) + half) // self.parameters.hop_samples)]
        return log_mel

    def spectrogram(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """`(samples,)` → `(1 + samples // hop_samples, bands)`."""
        window, hop = self.parameters.window_samples, self.parameters.hop_samples
        half = window // 2
        n_frames = 1 + len(samples) // hop
        padded = np.zeros(len(samples) + window)
        padded[half : half + len(samples)] = samples
        frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop][:n_frames]  # (frames, window)

        power = np.empty((_BLOCK_FRAMES, window // 2 + 1), np.float32)
        out = np.empty((n_frames, self.parameters.bands), np.float32)
        for start in range(0, n_frames, _BLOCK_FRAMES):
            spectrum = scipy.fft.rfft(frames[start : start + _BLOCK_FRAMES] * self._window)  # (block, bins) complex
            parts = spectrum.view(np.float64)  # (block, 2 * bins): real and imaginary parts in turn
            parts *= parts
            block = power[: len(spectrum)]
            np.add(parts[:, 0::2], parts[:, 1::2], out=block, casting="same_kind")
            np.matmul(block, self._filters, out=out[start : start + _BLOCK_FRAMES])
        np.maximum(out, np.float32(self.parameters.floor), out=out)
        return np.log(out, out=out)
