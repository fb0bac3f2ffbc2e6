"""Checkpoints: a folder with one safetensors file (tensors prefixed by view) and `emoviews.json`. Never pickle.

`emoviews.json` names everything that made the weights: the views' specifications and fingerprints, the encoders and their
parameters, label order, split hash, package versions, the licences of the views. Loading compares, and refuses with both
values what does not match.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import platform
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from emoviews import __version__
from emoviews.batching import Scaler
from emoviews.errors import CheckpointError
from emoviews.store import write_atomically, write_failed
from emoviews.types import ViewSpec

FORMAT: Final = 1


@dataclass(frozen=True)
class ViewCheckpoint:
    """One view of a checkpoint.

    Attributes:
        spec: of the view the encoder was trained on.
        encoder: the encoder's registered name and its parameters.
        tensors: the encoder's state.
        scaler: z-scores of its input, None where it takes raw values.
    """

    spec: ViewSpec
    encoder: tuple[str, Mapping[str, Any]]
    tensors: Mapping[str, Tensor]
    scaler: Scaler | None


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
        if label not in self.views:
            raise CheckpointError(f"The checkpoint has the views {', '.join(self.views)}, not {label}.")
        found = self.views[label].spec.fingerprint
        if found != fingerprint:
            raise CheckpointError(
                f"The checkpoint's {label} was trained on the extraction {found}; the store's is {fingerprint}. Extract with "
                "the parameters the checkpoint names in its emoviews.json, or pre-train again."
            )
        return self.views[label]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; the folder appears whole or not at all, and replaces an earlier one.

    Raises:
        StoreError: the disk is full or the folder can't be written.
    """
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
    notes = {
        "format": FORMAT,
        "kind": "encoders",
        "views": views,
        "made": dict(checkpoint.made),
        "versions": versions(),
    }
    staging = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        staging.mkdir(parents=True)
        save_tensors(staging / "model.safetensors", tensors, {})
        write_atomically(staging / "emoviews.json", (json.dumps(notes, indent=1, ensure_ascii=False) + "\n").encode())
        if folder.exists():
            shutil.rmtree(folder)
        staging.rename(folder)
    except OSError as error:
        raise write_failed(folder, error, sum(t.numel() * 4 for t in tensors.values())) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CheckpointError: the folder holds none, one of another format, or one that is damaged.
    """
    path = folder / "emoviews.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no checkpoint (no emoviews.json). Make one with: emoviews pretrain")
    try:
        notes = json.loads(path.read_text())
        if notes["format"] != FORMAT:
            raise CheckpointError(
                f"{folder} has checkpoint format {notes['format']}; this version reads format {FORMAT}."
            )
        tensors, _ = load_tensors(folder / "model.safetensors")
        views = {}
        for label, entry in notes["views"].items():
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry["spec"].items()}
            spec = ViewSpec(**fields)
            if spec.fingerprint != entry["fingerprint"]:
                raise CheckpointError(
                    f"{path}: the specification of {label} gives fingerprint {spec.fingerprint}, the file says "
                    f"{entry['fingerprint']}; one of them was changed."
                )
            own = {k.removeprefix(f"{label}/"): t for k, t in tensors.items() if k.startswith(f"{label}/")}
            scaler = None
            if "scaler/mean" in own:
                scaler = Scaler(_array(own["scaler/mean"]), _array(own["scaler/deviation"]))
            state = {k.removeprefix("encoder/"): t for k, t in own.items() if k.startswith("encoder/")}
            encoder = (entry["encoder"]["name"], entry["encoder"]["parameters"])
            views[label] = ViewCheckpoint(spec, encoder, state, scaler)
        return Checkpoint(views, notes["made"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} can't be read as a checkpoint: {type(error).__name__}: {error}") from error


def save_tensors(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
    """Write tensors and JSON notes as one safetensors file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, safetensors.torch.save(plain, {"notes": json.dumps(notes)}))


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
        raise CheckpointError(f"{path} can't be read: {error}") from error


def versions() -> dict[str, str]:
    """The versions a result depends on."""
    packages = ("torch", "numpy", "scikit-learn", "transformers", "opensmile")
    found = {"emoviews": __version__, "python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _array(tensor: Tensor) -> Any:
    return tensor.numpy()
