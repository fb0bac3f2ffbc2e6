"""Feature augmentations: two random versions of one utterance's view, for contrastive training of a single view.

SimCLR (Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020, the paper's [24])
pulls two augmented versions of one example together. What is done to an utterance depends on its view's axes:

- (frames, features), a spectrogram or cepstra: a crop in time (as COLA's pairs of segments: Saeed, Grangier and Zeghidour,
  ICASSP 2021, the paper's [29]), masks over frames and over neighbouring features (SpecAugment: Park et al., Interspeech 2019),
  and a constant added to all values: in a log spectrum a gain.
- (layers, frames, features), a speech model's: the crop, the masks over frames (as wav2vec 2.0 masks its own, Baevski et al.,
  2020), and features dropped for the whole utterance. A feature is dropped in all layers at once, since a transformer's layers
  add to one vector and the next layer would give away the last one's. Neighbouring features have nothing in common, so bands
  of them are not masked.
- (features,), functionals: features replaced by those of another utterance of the batch (SCARF: Bahri et al., ICLR 2022; VIME,
  Yoon et al., NeurIPS 2020, does the same), and Gaussian noise.

What is masked or dropped takes the feature's mean over the batch, and sizes of noise and gain are counted in its standard
deviations there, so that the same happens whether or not the features are z-scored; on z-scored ones these are about 0 and 1.

All draws come from the generator given, on the CPU: the same generator gives the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoviews.errors import UsageError
from emoviews.types import FEATURES, FRAMES, LAYERS, VIEW_AXES, ViewBatch


@dataclass(frozen=True)
class Augmentation:
    """How one view's utterances are augmented; call it with a batch.

    Attributes:
        axes: of the view; what does not belong to them is not done.
        crop: smallest share of the frames that is kept; the share is uniform from it to 1.
        frame_masks: number of masks over frames.
        frame_mask_share: longest of these masks, as a share of the frames kept; each length up to it is as likely.
        band_masks: number of masks over neighbouring features of a (frames, features) view.
        band_mask_share: broadest of these masks, as a share of the features. SpecAugment's is 27 of 80 bands; ours is narrower,
            since the encoder sees about two seconds, not ten, in which what is masked could stand elsewhere.
        gain: standard deviation of the constant added to a (frames, features) utterance, in standard deviations of a feature.
        dropped: probability with which a feature of a layered view is dropped.
        replaced: probability with which a functional is replaced. SCARF replaces 0.6 in one of the two versions; 0.35 in each
            leaves as many (0.65² ≈ 0.4) as they are in both.
        noise: standard deviation of the noise on functionals, in standard deviations of a feature.

    Raises:
        UsageError: unknown axes, a share or probability outside 0 to 1, or a negative number.

    >>> from emoviews.types import ViewBatch
    >>> batch = ViewBatch(torch.arange(8.0).reshape(4, 2), torch.tensor([0, 3, 4]))
    >>> augment = Augmentation(("frames", "features"), crop=0.3)
    >>> augment(batch, np.random.default_rng(0)).lengths
    tensor([2, 1])
    """

    axes: tuple[str, ...]
    crop: float = 0.6
    frame_masks: int = 2
    frame_mask_share: float = 0.15
    band_masks: int = 1
    band_mask_share: float = 0.25
    gain: float = 0.25
    dropped: float = 0.2
    replaced: float = 0.35
    noise: float = 0.1

    def __post_init__(self) -> None:
        if self.axes not in VIEW_AXES:
            raise UsageError(f"There is no augmentation for the axes {self.axes}; expected one of {VIEW_AXES}.")
        for name in ("crop", "frame_mask_share", "band_mask_share", "dropped", "replaced"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"An augmentation's {name} lies between 0 and 1; got {getattr(self, name):g}.")
        for name in ("frame_masks", "band_masks", "gain", "noise"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UsageError(f"An augmentation's {name} is 0 or more; got {getattr(self, name):g}.")

    @property
    def description(self) -> dict[str, object]:
        """Every parameter by name, as JSON values."""
        return {f.name: list(self.axes) if f.name == "axes" else getattr(self, f.name) for f in fields(self)}

    def __call__(self, batch: ViewBatch, generator: np.random.Generator) -> ViewBatch:
        """A random version of every utterance; the batch itself is not changed.

        Args:
            batch: values on the CPU, scaled or not.
            generator: decides everything random.
        """
        if self.axes == (FEATURES,):
            return ViewBatch(
                noisy(replaced(batch.values, self.replaced, generator), self.noise, generator), batch.offsets
            )
        layered = self.axes == (LAYERS, FRAMES, FEATURES)
        features = batch.values.shape[-1]
        cut = cropped(batch, self.crop, generator)
        lengths = cut.lengths.numpy()
        hidden_frames = frame_masks(lengths, self.frame_masks, self.frame_mask_share, generator)
        if layered:
            hidden_features = generator.random((len(batch), features)) < self.dropped
        else:
            hidden_features = band_masks(len(batch), features, self.band_masks, self.band_mask_share, generator)
        values = masked(cut, hidden_frames, hidden_features)
        return ViewBatch(values if layered else gained(values, lengths, self.gain, generator), cut.offsets)


def cropped(batch: ViewBatch, smallest: float, generator: np.random.Generator) -> ViewBatch:
    """A stretch from anywhere in every utterance: a share of its frames, uniform from `smallest` to 1, and at least one."""
    offsets = batch.offsets.numpy()
    lengths = np.diff(offsets)
    kept = np.maximum(1, np.round(lengths * generator.uniform(smallest, 1.0, len(lengths)))).astype(np.int64)
    starts = offsets[:-1] + generator.integers(0, lengths - kept + 1)
    ends = np.cumsum(kept)
    frames = np.arange(ends[-1]) + np.repeat(starts - (ends - kept), kept)
    values = batch.values.index_select(batch.values.ndim - 2, torch.from_numpy(frames))
    return ViewBatch(values, torch.from_numpy(np.concatenate([[0], ends])))


def frame_masks(
    lengths: NDArray[np.int64], masks: int, share: float, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Which frames are masked: `masks` stretches an utterance, each of at most `share` of it and never all of it.

    Args:
        lengths: `(batch,)` frames an utterance.
        masks: how many; they may overlap.
        share: longest of them.
        generator: decides.

    Returns:
        `(frames,)` over all utterances end to end.
    """
    first = np.cumsum(lengths) - lengths
    position = np.arange(lengths.sum()) - np.repeat(first, lengths)  # of each frame within its utterance
    hidden = np.zeros(len(position), dtype=bool)
    for _ in range(masks):
        widths = generator.integers(0, np.minimum(np.floor(share * lengths), lengths - 1).astype(np.int64) + 1)
        starts = generator.integers(0, lengths - widths + 1)
        since = position - np.repeat(starts, lengths)
        hidden |= (since >= 0) & (since < np.repeat(widths, lengths))
    return hidden


def band_masks(
    batch: int, features: int, masks: int, share: float, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Which features are masked for a whole utterance: `masks` runs of neighbours of at most `share` of all.

    Returns:
        `(batch, features)`.
    """
    rows = frame_masks(np.full(batch, features), masks, share, generator)
    return rows.reshape(batch, features)


def masked(batch: ViewBatch, frames: NDArray[np.bool_], features: NDArray[np.bool_]) -> Tensor:
    """The values with masked frames and features at each feature's mean over the batch.

    Args:
        batch: values `([layers,] frames, features)`.
        frames: `(frames,)` those to mask.
        features: `(batch, features)` those to mask in all frames of an utterance.
    """
    of_frame = np.repeat(np.arange(len(features)), batch.lengths.numpy())
    hidden = torch.from_numpy(frames[:, np.newaxis] | features[of_frame]).to(batch.values.dtype)
    # hidden: (frames, features), alike in all layers. Products by 0 and 1 are exact, and faster than `torch.where`.
    return (batch.values * (1 - hidden)).addcmul_(hidden, batch.values.mean(dim=-2, keepdim=True))


def gained(values: Tensor, lengths: NDArray[np.int64], deviation: float, generator: np.random.Generator) -> Tensor:
    """`(frames, features)` with a constant added to each utterance, normal, in standard deviations of each feature."""
    draws = torch.from_numpy(np.repeat(generator.normal(0.0, deviation, len(lengths)), lengths)).to(values.dtype)
    return values + draws.unsqueeze(1) * values.std(dim=0, correction=0)


def replaced(values: Tensor, probability: float, generator: np.random.Generator) -> Tensor:
    """`(batch, features)` with values replaced, each with `probability`, by another utterance's value of the same feature."""
    batch, features = values.shape
    here = torch.from_numpy(generator.random((batch, features)) < probability)
    if batch == 1:  # there is no other
        return values.clone()
    # 1 to batch - 1 rows further on, cyclically: any other row, each as likely.
    rows = (np.arange(batch)[:, np.newaxis] + generator.integers(1, batch, (batch, features))) % batch
    return torch.where(here, values.gather(0, torch.from_numpy(rows)), values)


def noisy(values: Tensor, deviation: float, generator: np.random.Generator) -> Tensor:
    """`(batch, features)` with normal noise, in standard deviations of each feature over the batch."""
    noise = torch.from_numpy(generator.normal(0.0, deviation, tuple(values.shape))).to(values.dtype)
    return values + noise * values.std(dim=0, correction=0)
