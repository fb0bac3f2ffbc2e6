"""A small formant synthesiser: phonemes, a pitch contour and a voice → samples.

The source-filter theory of speech (Fant, 1960, *Acoustic Theory of Speech Production*) in the arrangement of Klatt's cascade
synthesiser (Klatt, 1980, "Software for a cascade/parallel formant synthesizer", JASA 67, 971-995):

- the glottal source is the LF model of the differentiated flow (Fant, Liljencrants & Lin, 1985, STL-QPSR 4), its shape driven
  by the single parameter Rd (Fant, 1995, "The LF-model revisited", STL-QPSR 2-3): 0.3 is a pressed, 2.7 a lax, breathy voice.
  The differentiated flow already contains the radiation from the lips. Every glottal cycle has its own length (jitter) and
  strength (shimmer); aspiration noise is strongest while the glottis is open;
- the vocal tract is a cascade of resonators, one a formant, up to half the sampling rate, and one pole-zero pair for nasals;
- fricatives and the bursts of stops are band-limited noise made in front of the tract, so they bypass it.

Vowel targets are the men's averages of Peterson & Barney (1952, JASA 24, 175-184), consonant targets those of Klatt's table II;
both are for a tract of 17 cm and scale with its length.

Control values change every `FRAME_SAMPLES` (5 ms), which is how Klatt's synthesiser works too; only the cycle boundaries are
placed at a finer grain. All is computed in float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.fft import irfft, rfft
from scipy.optimize import brentq
from scipy.signal import butter, lfilter, resample_poly, sosfilt

from emoviews.types import SAMPLING_RATE

Array = NDArray[np.float64]

FRAME_SAMPLES: Final = 80
FRAME_SECONDS: Final = FRAME_SAMPLES / SAMPLING_RATE
REFERENCE_TRACT_CENTIMETRES: Final = 17.0
"""The tract length that the formant targets below belong to."""

RD_RANGE: Final = (0.35, 2.7)
_RD_GRID: Final = np.linspace(*RD_RANGE, 48)
_TABLE_SAMPLES: Final = 4096  # one LF cycle in the wave table
_OVERSAMPLING: Final = 4  # the LF pulse is not band-limited: it is drawn at 64 kHz and decimated


# Phonemes -----------------------------------------------------------------------------------------------------------------

Manner = Literal["vowel", "glide", "nasal", "fricative", "stop", "silence"]


@dataclass(frozen=True)
class Phoneme:
    """What the tract does for one speech sound.

    Attributes:
        manner: how it is made.
        formants_hertz: targets of the first three formants for a tract of 17 cm.
        seconds: its usual length, for a stop with the closure.
        voicing_decibels: strength of the voice against a vowel's; -inf for voiceless sounds.
        noise_hertz: lower and upper edge of its frication or burst, or None.
        noise_decibels: strength of that noise, relative to the voice of a vowel.
    """

    manner: Manner
    formants_hertz: tuple[float, float, float]
    seconds: float
    voicing_decibels: float = 0.0
    noise_hertz: tuple[float, float] | None = None
    noise_decibels: float = -np.inf


_OFF: Final = -np.inf
_LABIAL: Final = (800.0, 7000.0)
_ALVEOLAR: Final = (3800.0, 7800.0)
_PALATAL: Final = (2000.0, 6000.0)
_VELAR: Final = (1500.0, 3500.0)

PHONEMES: Final[Mapping[str, Phoneme]] = MappingProxyType(
    {
        "a": Phoneme("vowel", (730, 1090, 2440), 0.105),
        "e": Phoneme("vowel", (530, 1840, 2480), 0.095),
        "i": Phoneme("vowel", (270, 2290, 3010), 0.085),
        "o": Phoneme("vowel", (570, 840, 2410), 0.100),
        "u": Phoneme("vowel", (300, 870, 2240), 0.085),
        "w": Phoneme("glide", (290, 610, 2150), 0.055, -4),
        "y": Phoneme("glide", (260, 2070, 3020), 0.055, -4),
        "r": Phoneme("glide", (310, 1060, 1380), 0.050, -4),
        "l": Phoneme("glide", (310, 1050, 2880), 0.055, -4),
        "m": Phoneme("nasal", (480, 1270, 2130), 0.065, -8),
        "n": Phoneme("nasal", (480, 1340, 2470), 0.060, -8),
        "f": Phoneme("fricative", (340, 1100, 2080), 0.090, _OFF, _LABIAL, -23),
        "s": Phoneme("fricative", (320, 1390, 2530), 0.100, _OFF, _ALVEOLAR, -15),
        "sh": Phoneme("fricative", (300, 1840, 2750), 0.100, _OFF, _PALATAL, -14),
        "v": Phoneme("fricative", (220, 1100, 2080), 0.060, -9, _LABIAL, -32),
        "z": Phoneme("fricative", (240, 1390, 2530), 0.070, -10, _ALVEOLAR, -24),
        "p": Phoneme("stop", (400, 1100, 2150), 0.085, _OFF, _LABIAL, -18),
        "t": Phoneme("stop", (400, 1600, 2600), 0.080, _OFF, _ALVEOLAR, -12),
        "k": Phoneme("stop", (300, 1990, 2850), 0.085, _OFF, _VELAR, -10),
        "b": Phoneme("stop", (200, 1100, 2150), 0.065, -16, _LABIAL, -24),
        "d": Phoneme("stop", (200, 1600, 2600), 0.060, -16, _ALVEOLAR, -18),
        "g": Phoneme("stop", (200, 1990, 2850), 0.065, -16, _VELAR, -16),
        "": Phoneme("silence", (500, 1500, 2500), 0.0, _OFF),
    }
)
"""The sounds a sentence may use, by the letters they are written with; `""` is a pause."""

_SCHWA: Final = np.array([500.0, 1500.0, 2500.0])  # the neutral tract: odd quarter waves of 17 cm
_HIGHER_FORMANTS: Final = np.array([3500.0, 4500.0, 5500.0, 6500.0, 7500.0])
_BANDWIDTHS: Final = np.array([70.0, 90.0, 130.0, 200.0, 280.0, 400.0, 500.0, 600.0])
_NASAL_POLE_HERTZ: Final = 270.0  # this and the next two: Klatt (1980), table I and section on nasals
_NASAL_ZERO_HERTZ: Final = 450.0
_NASAL_BANDWIDTH: Final = 100.0
_NASAL_FORMANT_BANDWIDTHS: Final = np.array([90.0, 250.0, 300.0])


@dataclass(frozen=True)
class Segment:
    """One phoneme of an utterance.

    Attributes:
        phoneme: a key of `PHONEMES`.
        seconds: how long it lasts.
        emphasis_decibels: added to its level; stressed syllables are louder.
    """

    phoneme: str
    seconds: float
    emphasis_decibels: float = 0.0


@dataclass(frozen=True)
class Voice:
    """How an utterance is voiced, constant over it.

    Attributes:
        tract_centimetres: length of the vocal tract; formants are inversely proportional to it.
        formant_factors: individual deviation of F1, F2 and F3, about 1.
        rd: glottal shape after Fant (1995), within `RD_RANGE`; pressed 0.35, modal 1, lax 2.7.
        breathiness_decibels: aspiration noise relative to the glottal excitation, -40 (clear) to -10 (whispery).
        jitter: mean absolute difference of successive periods over the mean period ("jitter, local"), 0.01 = 1 %.
        shimmer: the same of successive amplitudes.
        articulation: 1 reaches the vowel targets, 0 leaves every vowel a schwa.
        onset_seconds: how long the voice takes to set in, and to change its strength.
    """

    tract_centimetres: float
    formant_factors: tuple[float, float, float]
    rd: float
    breathiness_decibels: float
    jitter: float
    shimmer: float
    articulation: float
    onset_seconds: float


# The glottal source -------------------------------------------------------------------------------------------------------


def lf_times(rd: float) -> tuple[float, float, float]:
    """When the flow peaks, when the glottis closes, and the time constant of the return, in periods (Fant's Tp, Te, Ta).

    They follow from Rd by Fant's regressions (1995, eqs. 2 to 4) for Ra, Rk and Rg.
    """
    ra = (-1 + 4.8 * rd) / 100
    rk = (22.4 + 11.8 * rd) / 100
    rg = rk / (4 * (0.11 * rd / (0.5 + 1.2 * rk) - ra))
    peak = 1 / (2 * rg)
    return peak, peak * (1 + rk), ra


def lf_pulse(rd: float, phase: Array) -> Array:
    """One cycle of differentiated glottal flow, the LF model with a period and a closing excitation Ee of 1.

    Args:
        rd: shape.
        phase: `(n,)` within [0, 1), 0 being the opening of the glottis.

    Returns:
        `(n,)`; it is -1 at the moment of closure, its minimum or close to it, and its integral over the cycle is 0.

    >>> phase = np.arange(4096) / 4096
    >>> pulse = lf_pulse(1.0, phase)
    >>> print(f"{pulse.min():.2f} {abs(pulse.mean()):.3f}")
    -1.00 0.000
    """
    peak, closing, ra = lf_times(rd)
    closed = 1 - closing
    omega = np.pi / peak
    # Return phase: the rate follows from continuity at the moment of closure.
    rate = brentq(lambda r: r * ra - 1 + np.exp(-r * closed), 1e-3 + 0.5 / ra, 2 / ra)
    tail = np.exp(-rate * closed)
    return_area = -((1 - tail) / rate - closed * tail) / (rate * ra)
    sine, cosine = np.sin(omega * closing), np.cos(omega * closing)

    def total_area(growth: float) -> float:
        """Flow at the end of the cycle; it has to come back to 0 (no direct current)."""
        rise = growth * sine - omega * cosine + omega * np.exp(-growth * closing)
        return float(-rise / (sine * (growth**2 + omega**2)) + return_area)

    growth = brentq(total_area, -50.0, 200.0)
    opening = -np.exp(growth * (phase - closing)) * np.sin(omega * phase) / sine
    returning = -(np.exp(-rate * np.maximum(phase - closing, 0)) - tail) / (rate * ra)
    pulse: Array = np.where(phase < closing, opening, returning)
    return pulse


@cache
def _pulse_table() -> Array:
    """`(len(_RD_GRID), _TABLE_SAMPLES)`: LF cycles by Rd, from closure to closure.

    Closures are what a period is measured by. Were cycles counted from the opening, every change of Rd would be jitter.
    """
    phase = np.arange(_TABLE_SAMPLES) / _TABLE_SAMPLES
    return np.stack([lf_pulse(rd, (phase + lf_times(rd)[1]) % 1) for rd in _RD_GRID])


def cycle_onsets(f0_hertz: Array, jitter: float, rng: np.random.Generator) -> Array:
    """Where every glottal cycle begins, which is at a closure.

    Args:
        f0_hertz: `(frames,)` fundamental frequency, also where the voice is off.
        jitter: as in `Voice`. Periods get independent normal deviations of relative size s; the mean absolute difference of
            two of them is 2s/√π, hence s = jitter·√π/2.
        rng: draws the deviations.

    Returns:
        `(cycles + 1,)` in seconds, rising from 0; the last one is at or beyond the end of the frames.
    """
    ideal_phase = np.concatenate([[0.0], np.cumsum(f0_hertz) * FRAME_SECONDS])
    cycles = int(np.ceil(ideal_phase[-1])) + 1
    # One cycle more than the frames hold, at the last frame's frequency, so that every sample lies within a cycle.
    boundaries = np.arange(len(ideal_phase)) * FRAME_SECONDS
    beyond = boundaries[-1] + (cycles - ideal_phase[-1]) / f0_hertz[-1]
    ideal = np.interp(np.arange(cycles + 1), [*ideal_phase, cycles], [*boundaries, beyond])
    deviation = np.clip(rng.standard_normal(cycles) * jitter * np.sqrt(np.pi) / 2, -0.3, 0.3)
    onsets = np.concatenate([[0.0], np.cumsum(np.diff(ideal) * (1 + deviation))])
    onsets *= ideal[-1] / onsets[-1]  # keep the rhythm: jitter must not stretch the utterance
    return onsets


def glottal_source(f0_hertz: Array, voicing: Array, aspiration: Array, voice: Voice, rng: np.random.Generator) -> Array:
    """The excitation of the tract.

    Args:
        f0_hertz: `(frames,)` fundamental frequency.
        voicing: `(frames,)` amplitude of the voice, 1 for a vowel, 0 for none.
        aspiration: `(frames,)` amplitude of noise from an open glottis, over and above the voice's own breathiness.
        voice: its `rd`, `jitter`, `shimmer` and `breathiness_decibels` are used.
        rng: draws the perturbations and the noise.

    Returns:
        `(frames · FRAME_SAMPLES,)`
    """
    samples = len(f0_hertz) * FRAME_SAMPLES
    onsets = cycle_onsets(f0_hertz, voice.jitter, rng)
    cycles = len(onsets) - 1
    strength = np.clip(1 + rng.standard_normal(cycles + 1) * voice.shimmer * np.sqrt(np.pi) / 2, 0.3, 1.7)
    # A weak voice is a lax one: Rd rises by up to 0.8 where the voice sets in or dies away.
    at_onsets = np.interp(onsets[:-1], _frame_centres(len(f0_hertz)), voicing)
    rd = voice.rd + 0.8 * np.clip(1 - at_onsets, 0, 1) ** 2 + 0.05 * rng.standard_normal(cycles)
    step = _RD_GRID[1] - _RD_GRID[0]
    row = np.clip(np.rint((rd - _RD_GRID[0]) / step), 0, len(_RD_GRID) - 1).astype(np.intp)

    time = np.arange(samples * _OVERSAMPLING) / (SAMPLING_RATE * _OVERSAMPLING)
    phase = np.interp(time, onsets, np.arange(cycles + 1.0))
    cycle = np.minimum(phase.astype(np.intp), cycles - 1)
    column = ((phase - cycle) * _TABLE_SAMPLES).astype(np.intp) % _TABLE_SAMPLES
    # A closure is the end of one cycle and the start of the next, so it has a strength of its own.
    pulses = _pulse_table()[row[cycle], column] * np.interp(phase, np.arange(cycles + 1.0), strength)
    voiced: Array = resample_poly(pulses, 1, _OVERSAMPLING)

    # The glottis is widest about 0.3 of a period before it closes.
    open_glottis = 0.5 + 0.5 * np.cos(2 * np.pi * (phase[::_OVERSAMPLING] + 0.3))
    noise = rng.standard_normal(samples)
    breath = 10 ** (voice.breathiness_decibels / 20) * (0.3 + 0.7 * open_glottis) * noise
    source: Array = _to_samples(voicing) * (voiced + breath) + _to_samples(aspiration) * noise
    return source


# The tract ----------------------------------------------------------------------------------------------------------------


def resonators(frequencies_hertz: Array, bandwidths_hertz: Array) -> Array:
    """Digital resonators of unit gain at 0 Hz (Klatt, 1980, eq. 1), by their denominators.

    Args:
        frequencies_hertz: any shape.
        bandwidths_hertz: the same shape.

    Returns:
        that shape + `(3,)`: 1, a1, a2. The numerator is their sum.
    """
    radius = np.exp(-np.pi * bandwidths_hertz / SAMPLING_RATE)
    cosine = np.cos(2 * np.pi * frequencies_hertz / SAMPLING_RATE)
    return np.stack([np.ones_like(radius), -2 * radius * cosine, radius**2], axis=-1)


_TAIL_FRAMES: Final = 11  # 55 ms of ringing: a bandwidth of 70 Hz has decayed by 105 dB


def filter_frames(signal: Array, denominators: Array) -> Array:
    """A cascade of resonators that changes every frame: frames overlap by half and are added (Hann windows sum to 1).

    Fading between the outputs of constant filters is free of the clicks that changing a recursion's coefficients makes, and
    it is a few array operations instead of a loop over samples or frames.

    Args:
        signal: `(frames · FRAME_SAMPLES,)`
        denominators: `(frames, sections, 3)` of `resonators`; a frame's filter holds at the frame's centre.

    Returns:
        `(frames · FRAME_SAMPLES,)`
    """
    frames, sections = denominators.shape[:2]
    half = FRAME_SAMPLES // 2
    windows = np.tile(0.5 - 0.5 * np.cos(np.pi * (np.arange(2 * FRAME_SAMPLES) + 0.5) / FRAME_SAMPLES), (frames, 1))
    windows[0, :FRAME_SAMPLES] = 1  # nothing to fade from before the first centre, nothing to fade to after the last
    windows[-1, FRAME_SAMPLES:] = 1
    excitation = sliding_window_view(np.pad(signal, half), 2 * FRAME_SAMPLES)[::FRAME_SAMPLES] * windows
    # One polynomial of the whole cascade a frame; on the unit circle its values are the inverse of the response.
    polynomial = np.zeros((frames, 2 * sections + 1))
    polynomial[:, 0] = 1
    for section in range(sections):
        shifted = polynomial.copy()
        for delay in (1, 2):
            shifted[:, delay:] += denominators[:, section, delay, None] * polynomial[:, :-delay]
        polynomial = shifted
    size = (2 + _TAIL_FRAMES) * FRAME_SAMPLES
    response = polynomial.sum(axis=1, keepdims=True) / rfft(polynomial, size, axis=1)
    filtered = irfft(rfft(excitation, size, axis=1) * response, size, axis=1)
    out = np.zeros((frames + 1 + _TAIL_FRAMES, FRAME_SAMPLES))
    for hop in range(2 + _TAIL_FRAMES):
        out[hop : hop + frames] += filtered[:, hop * FRAME_SAMPLES : (hop + 1) * FRAME_SAMPLES]
    return out.reshape(-1)[half : half + len(signal)]


def _tract(formants: Array, nasality: Array, scale: float) -> Array:
    """`(frames, 3)` formants in Hz and `(frames,)` nasality in 0..1 → denominators `(frames, sections, 3)`."""
    higher = _HIGHER_FORMANTS * scale
    higher = higher[higher < 0.48 * SAMPLING_RATE]  # a shorter tract has fewer formants below half the sampling rate
    frames = len(formants)
    frequencies = np.concatenate([formants, np.broadcast_to(higher, (frames, len(higher)))], axis=1)
    bandwidths = np.tile(_BANDWIDTHS[: frequencies.shape[1]], (frames, 1))
    bandwidths[:, :3] += nasality[:, None] * (_NASAL_FORMANT_BANDWIDTHS - _BANDWIDTHS[:3])
    return resonators(frequencies, bandwidths)


def _nasalise(source: Array, nasality: Array) -> Array:
    """Fade to the source seen through the open nose, a pole-zero pair, by `(frames,)` nasality in 0..1."""
    pole = resonators(np.array(_NASAL_POLE_HERTZ), np.array(_NASAL_BANDWIDTH))
    zero = resonators(np.array(_NASAL_ZERO_HERTZ), np.array(_NASAL_BANDWIDTH))
    weight = _to_samples(nasality)
    nasal: Array = lfilter(zero * pole.sum() / zero.sum(), pole, source)
    return (1 - weight) * source + weight * nasal


# From segments to samples -------------------------------------------------------------------------------------------------


def segment_starts(segments: Sequence[Segment]) -> Array:
    """`(segments + 1,)` seconds: where each segment starts, and where the last one ends."""
    return np.concatenate([[0.0], np.cumsum([s.seconds for s in segments])])


def count_frames(segments: Sequence[Segment]) -> int:
    """Frames that hold all segments."""
    return int(np.ceil(segment_starts(segments)[-1] / FRAME_SECONDS))


_FADE_SECONDS: Final = 0.09  # the voice dies away before a pause


def voicing_track(segments: Sequence[Segment], onset_seconds: float) -> Array:
    """`(frames,)` amplitude of the voice: 1 in an unstressed vowel, 0 where the vocal folds rest."""
    decibels = [PHONEMES[s.phoneme].voicing_decibels + s.emphasis_decibels for s in segments]
    amplitude = _smooth(_hold(segments, 10 ** (np.array(decibels) / 20)), onset_seconds)
    centres = _frame_centres(len(amplitude))
    for segment, start in zip(segments, segment_starts(segments), strict=False):
        if PHONEMES[segment.phoneme].manner == "silence":
            dying = (centres > start - _FADE_SECONDS) & (centres < start + onset_seconds)
            amplitude[dying] *= np.clip((start - centres[dying]) / _FADE_SECONDS, 0.1, 1)
    return amplitude


def render(segments: Sequence[Segment], f0_hertz: Array, voice: Voice, rng: np.random.Generator) -> Array:
    """Speak.

    Args:
        segments: the phonemes and pauses in order.
        f0_hertz: `(count_frames(segments),)`; its values where there is no voice are not heard.
        voice: how to speak.
        rng: draws all that is random.

    Returns:
        `(frames · FRAME_SAMPLES,)` at `SAMPLING_RATE`; a vowel's amplitude is of the order of 1.
    """
    scale = REFERENCE_TRACT_CENTIMETRES / voice.tract_centimetres
    voicing = voicing_track(segments, voice.onset_seconds)
    nasality = _smooth(_hold(segments, [PHONEMES[s.phoneme].manner == "nasal" for s in segments]), 0.03)
    source = glottal_source(f0_hertz, voicing, _aspiration_track(segments), voice, rng)
    tract = _tract(_formant_tracks(segments, voice, scale), nasality, scale)
    return filter_frames(_nasalise(source, nasality), tract) + _frication(segments, len(f0_hertz), scale, rng)


def _formant_tracks(segments: Sequence[Segment], voice: Voice, scale: float) -> Array:
    """`(frames, 3)` Hz: targets are held over the middle 40 % of a segment, with straight transitions between."""
    starts = segment_starts(segments)
    spoken = [i for i, s in enumerate(segments) if PHONEMES[s.phoneme].manner != "silence"]
    times, targets = [], []
    for i in spoken:
        phoneme = PHONEMES[segments[i].phoneme]
        target = np.array(phoneme.formants_hertz)
        if phoneme.manner == "vowel":
            target = _SCHWA + voice.articulation * (target - _SCHWA)
        for part in (0.3, 0.7):
            times.append(starts[i] + part * segments[i].seconds)
            targets.append(target)
    centres = _frame_centres(count_frames(segments))
    tracks = np.stack([np.interp(centres, times, track) for track in np.array(targets).T], axis=1)
    smooth = np.stack([_smooth(track, 0.03) for track in tracks.T], axis=1)
    # F1 stays above the lowest resonance that the walls of a closed tract allow.
    hertz: Array = np.maximum(smooth * np.array(voice.formant_factors) * scale, 180.0)
    return hertz


def _aspiration_track(segments: Sequence[Segment]) -> Array:
    """`(frames,)`: the puff after a voiceless stop, while the glottis is still open."""
    track = np.zeros(count_frames(segments))
    ends = segment_starts(segments)[1:]
    for segment, end in zip(segments, ends, strict=True):
        phoneme = PHONEMES[segment.phoneme]
        if phoneme.manner == "stop" and np.isinf(phoneme.voicing_decibels):
            first = int((end - 0.25 * segment.seconds) / FRAME_SECONDS)
            track[first : int((end + 0.005) / FRAME_SECONDS)] = 0.06
    return _smooth(track, 0.015)


def _frication(segments: Sequence[Segment], frames: int, scale: float, rng: np.random.Generator) -> Array:
    """`(frames · FRAME_SAMPLES,)`: noise of fricatives over their length, of stops as a burst at the release."""
    out = np.zeros(frames * FRAME_SAMPLES)
    for segment, start in zip(segments, segment_starts(segments), strict=False):
        phoneme = PHONEMES[segment.phoneme]
        if phoneme.noise_hertz is None:
            continue
        if phoneme.manner == "stop":
            length = 0.022
            begin = start + max(segment.seconds - 1.2 * length, 0.0)
        else:
            length = segment.seconds + 0.02
            begin = start - 0.01
        first, count = max(int(begin * SAMPLING_RATE), 0), int(length * SAMPLING_RATE)
        count = min(count, len(out) - first)
        # A burst is sudden and dies away; a fricative swells and fades.
        ramp = np.linspace(0, 1, count)
        window = np.exp(-5 * ramp) * (1 - ramp) if phoneme.manner == "stop" else np.sin(np.pi * ramp) ** 0.7
        low, high = (min(edge * scale**0.5, 0.49 * SAMPLING_RATE) for edge in phoneme.noise_hertz)
        noise = sosfilt(butter(2, (low, high), "bandpass", fs=SAMPLING_RATE, output="sos"), rng.standard_normal(count))
        decibels = phoneme.noise_decibels + segment.emphasis_decibels / 2  # noise grows less with effort than the voice
        out[first : first + count] += 10 ** (decibels / 20) * window * noise
    return out


def _frame_centres(frames: int) -> Array:
    return (np.arange(frames, dtype=np.float64) + 0.5) * FRAME_SECONDS


def _hold(segments: Sequence[Segment], values: Sequence[float] | Array) -> Array:
    """`(segments,)` → `(frames,)`, each value over its segment."""
    index = np.searchsorted(segment_starts(segments)[1:-1], _frame_centres(count_frames(segments)), side="right")
    held: Array = np.asarray(values, dtype=np.float64)[index]
    return held


def _smooth(track: Array, seconds: float) -> Array:
    """Moving average with a Hann window of about `seconds`; the ends keep their values."""
    half = max(round(seconds / FRAME_SECONDS / 2), 1)
    window = np.hanning(2 * half + 3)[1:-1]
    padded = np.pad(track, half, mode="edge")
    return np.convolve(padded, window / window.sum(), mode="valid")


def _to_samples(track: Array) -> Array:
    """`(frames,)` → `(frames · FRAME_SAMPLES,)`, linear between the frames' centres."""
    frames = len(track)
    time = (np.arange(frames * FRAME_SAMPLES) + 0.5) / SAMPLING_RATE
    return np.interp(time, _frame_centres(frames), track)
