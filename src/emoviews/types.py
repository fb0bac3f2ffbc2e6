"""The small frozen values that travel between the parts, and the names of the axes, defined once.

Nothing here imports torch when the module is loaded, so that `import emoviews` stays quick.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import Tensor

SAMPLING_RATE: Final = 16_000
"""Hz. Every view is computed from mono audio at this rate (the paper, section 3.2)."""

BATCH: Final = "batch"
MODELS: Final = "models"
LAYERS: Final = "layers"
FRAMES: Final = "frames"
FEATURES: Final = "features"
CLASSES: Final = "classes"
DIM: Final = "dim"

VIEW_AXES: Final = ((LAYERS, FRAMES, FEATURES), (FRAMES, FEATURES), (FEATURES,))
"""The axes a view may declare."""


@dataclass(frozen=True)
class ViewSpec:
    """Everything that determines a view's output: two views with the same `fingerprint` give the same arrays.

    Attributes:
        name: the registered name, e.g. `mel_spectrogram`.
        version: raised only when the view's output changes for the same parameters.
        parameters: every parameter by name (JSON values), defaults included.
        axes: one of `VIEW_AXES`.
        shape: size of each axis; 0 for `frames`, which differs between utterances.
        dtype: what the store keeps: `float16` for frame-level views and `float32` for functionals, or `int8` where that was
            asked for (`store.quantised`).
        frame_rate: frames a second, None without a `frames` axis.
        feature_names: names along `features`, empty where they have none.
        weights: what pins pre-trained weights (a hub commit or a content hash); empty for a view without weights.
        preparation: the audio preparation before the view (`audio.PREPARATION`).
        licence: what restricts the use of the view's output, empty if nothing does. Not part of the fingerprint.
    """

    name: str
    version: int
    parameters: Mapping[str, Any]
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    frame_rate: float | None
    feature_names: tuple[str, ...] = ()
    weights: str = ""
    preparation: str = ""
    licence: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.axes not in VIEW_AXES:
            raise ValueError(f"View {self.name!r} declares axes {self.axes}; expected one of {VIEW_AXES}.")
        if len(self.shape) != len(self.axes):
            raise ValueError(f"View {self.name!r} has shape {self.shape} for axes {self.axes}.")

    @classmethod
    def of(cls, written: Mapping[str, Any]) -> ViewSpec:
        """The specification that was written as JSON, which has lists for tuples.

        >>> from dataclasses import asdict
        >>> spec = ViewSpec("demo", 1, {}, ("features",), (3,), "float32", None)
        >>> ViewSpec.of(json.loads(json.dumps(asdict(spec)))) == spec
        True
        """
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in written.items()}
        return cls(**fields)

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits over name, version, parameters, weights and audio preparation."""
        made_by = [self.name, self.version, dict(self.parameters), self.weights, self.preparation]
        made_by += [self.dtype] * (self.dtype == "int8")  # what is read is not what the view gave
        text = json.dumps(made_by, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def has_frames(self) -> bool:
        """Whether utterances differ in length along a `frames` axis."""
        return FRAMES in self.axes


@dataclass(frozen=True)
class ViewBatch:
    """A batch of one view, ragged: the frames of all utterances end to end, nothing padded.

    Attributes:
        values: `(layers, frames, features)` or `(frames, features)` with all frames of the batch along `frames`; for a
            view of functionals `(batch, features)`.
        offsets: `(batch + 1,)` int64 on the CPU: utterance i owns frames `offsets[i]` to `offsets[i + 1]`. For
            functionals each utterance owns one row, so it is `arange(batch + 1)`.
    """

    values: Tensor
    offsets: Tensor

    def __len__(self) -> int:
        return self.offsets.numel() - 1

    @property
    def lengths(self) -> Tensor:
        """Frames an utterance, `(batch,)`."""
        return self.offsets.diff()

    def to(self, device: Any, dtype: Any = None) -> ViewBatch:
        """The same batch with its values elsewhere; the offsets stay on the CPU, where shapes are decided."""
        return ViewBatch(self.values.to(device=device, dtype=dtype, non_blocking=True), self.offsets)
