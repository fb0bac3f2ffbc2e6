"""Checkpoints: a folder with one safetensors file (tensors prefixed by view) and `emoviews.json`. Never pickle.

`emoviews.json` names everything that made the weights: the views' specifications and fingerprints, the encoders and their
parameters, label order, split hash, package versions, the licences of the views; and digests, of the weights and of all that it
says itself. Loading compares, and refuses with both values what does not match.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import safetensors

from emoviews import __version__
from emoviews.errors import CheckpointError
from emoviews.store import write_atomically, write_failed
from emoviews.types import ViewSpec

if (
    TYPE_CHECKING
):  # a recogniser's bundle is read by the same functions, and needs no torch, which takes seconds to import
    from torch import Tensor

    from emoviews.batching import Scaler

FORMAT: Final = 1
NOTES: Final = "emoviews.json"
DIGEST: Final = "sha256"
"""What `emoviews.json` calls the digest of all else that it says (`described`). Older versions wrote none."""


@dataclass(frozen=True)
class ViewCheckpoint:
    """One view of a checkpoint.

    Attributes:
        spec: of the view the encoder was trained on.
        encoder: the encoder's registered name and its parameters.
        tensors: the encoder's state.
        scaler: z-scores of its input, None where it takes raw values.
        head: what classifies its output; None where it was pre-trained only.
    """

    spec: ViewSpec
    encoder: tuple[str, Mapping[str, Any]]
    tensors: Mapping[str, Tensor]
    scaler: Scaler | None
    head: Head | None = None


@dataclass(frozen=True)
class Head:
    """The classifier on a fine-tuned encoder.

    Attributes:
        labels: the classes, in the order of its outputs.
        hidden: sizes of its hidden layers (`heads.Classifier`).
        tensors: its state.
    """

    labels: tuple[str, ...]
    hidden: tuple[int, ...]
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """Trained encoders of several views, and what made them.

    Attributes:
        views: by the view's label.
        made: whatever else determined the weights (split hash, fold, configuration, seed, curves), JSON values.
    """

    views: Mapping[str, ViewCheckpoint]
    made: Mapping[str, Any]

    def view(self, label: str, fingerprint: str) -> ViewCheckpoint:
        """The named view, refused unless it was made from the same extraction.

        Raises:
            CheckpointError: no such view, or another fingerprint; both values are named.
        """
        same = [view for view in self.views.values() if view.spec.fingerprint == fingerprint]
        if same:  # the same extraction, in whatever words it was asked for
            return same[0]
        if label not in self.views:
            raise CheckpointError(f"The checkpoint has the views {', '.join(self.views)}, not {label}.")
        raise CheckpointError(
            f"The checkpoint's {label} was trained on the extraction {self.views[label].spec.fingerprint}; the store's is "
            f"{fingerprint}. Extract with the parameters the checkpoint names in its emoviews.json, or pre-train again."
        )


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; one that is there is replaced, and stays whole until the new one is.

    The tensors' file is named after its content, and `emoviews.json` names it: writing that is the one step that replaces the
    old checkpoint. Nothing else in the folder is touched.

    Raises:
        StoreError: the disk is full or the folder can't be written.
    """
    import torch

    tensors: dict[str, Tensor] = {}
    views: dict[str, Any] = {}
    for label, view in checkpoint.views.items():
        tensors |= {f"{label}/encoder/{name}": tensor for name, tensor in view.tensors.items()}
        if view.scaler is not None:
            tensors[f"{label}/scaler/mean"] = torch.from_numpy(view.scaler.mean)
            tensors[f"{label}/scaler/deviation"] = torch.from_numpy(view.scaler.deviation)
        name, parameters = view.encoder
        views[label] = {
            "spec": dataclasses.asdict(view.spec),
            "fingerprint": view.spec.fingerprint,
            "encoder": {"name": name, "parameters": dict(parameters)},
            "licence": view.spec.licence,
        }
        if view.head is not None:
            tensors |= {f"{label}/head/{name}": tensor for name, tensor in view.head.tensors.items()}
            views[label]["head"] = {"labels": list(view.head.labels), "hidden": list(view.head.hidden)}
    write_folder(folder, _encode(tensors, {}), "encoders", FORMAT, {"views": views, "made": dict(checkpoint.made)})


def write_folder(folder: Path, blob: bytes, kind: str, format_: int, notes: Mapping[str, Any]) -> None:
    """Write weights and the notes that name them; what is there is replaced, and stays whole until the new notes are written.

    Args:
        folder: is made where it is not there; nothing else in it is touched.
        blob: a safetensors file.
        kind: of folder.
        format_: its version.
        notes: the rest of `emoviews.json`; the weights' file, the versions of all packages and the digests are added.

    Raises:
        StoreError: the disk is full or the folder can't be written.
    """
    digest = hashlib.sha256(blob).hexdigest()
    weights = folder / f"model-{digest[:12]}.safetensors"
    named = {"format": format_, "kind": kind, "weights": {"file": weights.name, "sha256": digest}}
    text = described({**named, **notes, "versions": versions()})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(weights, blob)
        write_atomically(folder / NOTES, text)
        for old in folder.glob("model-*.safetensors"):
            if old != weights:
                old.unlink()
    except OSError as error:
        raise write_failed(folder, error, len(blob)) from error


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CheckpointError: the folder holds none, one of another format, or one that is damaged.
    """
    import safetensors.torch

    path = folder / NOTES
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no checkpoint (no {NOTES}). Make one with: emoviews pretrain")
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
        if notes["format"] != FORMAT:
            raise CheckpointError(
                f"{folder} has checkpoint format {notes['format']}; this version reads format {FORMAT}. Use the version that "
                "wrote it, or pre-train again."
            )
        compare_notes(path, notes)
        tensors = safetensors.torch.load(read_weights(folder / notes["weights"]["file"], notes["weights"]["sha256"]))
        views = {label: _view(path, label, entry, tensors) for label, entry in notes["views"].items()}
        return Checkpoint(views, notes["made"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"{folder} can't be read as a checkpoint ({type(error).__name__}: {error}). Pre-train again."
        ) from error


def holds_checkpoint(folder: Path, job_id: str) -> bool:
    """Whether the folder holds the checkpoint that this job left, rather than none, another job's or a damaged one."""
    try:
        return load_checkpoint(folder).made.get("job_id") == job_id
    except CheckpointError:
        return False


def save_tensors(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
    """Write tensors and JSON notes as one safetensors file, whole or not at all.

    Raises:
        StoreError: the disk is full or the folder can't be written.
    """
    blob = _encode(tensors, notes)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, blob)
    except OSError as error:
        raise write_failed(path, error, len(blob)) from error


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            return tensors, json.loads((file.metadata() or {}).get("notes", "{}"))
    except (OSError, safetensors.SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} can't be read: {error}. Delete it and run the same command again.") from error


def versions() -> dict[str, str]:
    """The versions a result depends on."""
    packages = ("torch", "numpy", "scikit-learn", "transformers", "opensmile")
    found = {"emoviews": __version__, "python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _encode(tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> bytes:
    import safetensors.torch

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    blob: bytes = safetensors.torch.save(plain, {"notes": json.dumps(notes)})
    return blob


def read_weights(path: Path, digest: str, remedy: str = "Pre-train again.") -> bytes:
    """The bytes of a weights file, compared with their digest.

    Raises:
        CheckpointError: they are others; it ends in the remedy.
    """
    blob = path.read_bytes()
    found = hashlib.sha256(blob).hexdigest()
    if found != digest:
        raise CheckpointError(f"{path} is damaged: its SHA-256 is {found}, expected {digest}. {remedy}")
    return blob


def described(notes: Mapping[str, Any]) -> bytes:
    """`emoviews.json` as it is written: the notes, JSON values, with the digest of what they say in place of any before."""
    return (json.dumps({**notes, DIGEST: _digest(notes)}, indent=1, ensure_ascii=False) + "\n").encode()


def compare_notes(path: Path, notes: Mapping[str, Any], remedy: str = "Pre-train again.") -> None:
    """Compare what `emoviews.json` says with its digest, if it has one.

    Raises:
        CheckpointError: it says something else than was written; it ends in the remedy.
    """
    if DIGEST in notes and (found := _digest(notes)) != notes[DIGEST]:
        raise CheckpointError(
            f"{path} was changed after it was written, or is damaged: the SHA-256 of what it says is {found}, expected "
            f"{notes[DIGEST]}. {remedy}"
        )


def _digest(notes: Mapping[str, Any]) -> str:
    """SHA-256 over what notes say, `DIGEST` aside; how they are spaced and in which order names stand does not count."""
    said = json.loads(json.dumps({name: value for name, value in notes.items() if name != DIGEST}))  # all names as text
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def pinned_spec(path: Path, label: str, entry: Mapping[str, Any], remedy: str = "Pre-train again.") -> ViewSpec:
    """The specification of a view as `emoviews.json` has it.

    Raises:
        CheckpointError: it has another fingerprint than stands beside it; it ends in the remedy.
    """
    spec = ViewSpec.of(entry["spec"])
    if spec.fingerprint != entry["fingerprint"]:
        raise CheckpointError(
            f"{path}: the specification of {label} gives fingerprint {spec.fingerprint}, the file says "
            f"{entry['fingerprint']}; one of them was changed. {remedy}"
        )
    return spec


def _view(path: Path, label: str, entry: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ViewCheckpoint:
    from emoviews.batching import Scaler

    spec = pinned_spec(path, label, entry)
    own = {k.removeprefix(f"{label}/"): t for k, t in tensors.items() if k.startswith(f"{label}/")}
    scaler = None
    if "scaler/mean" in own:
        scaler = Scaler(own["scaler/mean"].numpy(), own["scaler/deviation"].numpy())
    state = {k.removeprefix("encoder/"): t for k, t in own.items() if k.startswith("encoder/")}
    head = None
    if named := entry.get("head"):
        weights = {k.removeprefix("head/"): t for k, t in own.items() if k.startswith("head/")}
        head = Head(tuple(named["labels"]), tuple(named["hidden"]), weights)
    return ViewCheckpoint(spec, (entry["encoder"]["name"], entry["encoder"]["parameters"]), state, scaler, head)
