"""Pre-trained checkpoints in the format of transformers: found, pinned, and read without running anyone's code.

A checkpoint is a local folder or a name on the Hugging Face hub. A name is looked up in the hub's local cache first and
downloaded only if it is not there, so that a model which once worked goes on working without network and does not change
when its authors push; to move on, name another revision.

Finding reads the small JSON files alone. The weights are read when a view first computes:

- safetensors where there are any;
- else the old `pytorch_model.bin`, unpickled by `torch.load(weights_only=True)` and kept as safetensors in the user cache
  folder, keyed by the content of the `.bin`. transformers would start a background thread that asks the hub's conversion
  service for such a model; its loader is not used here, so there is nothing to switch off;
- never `auto_map` code that comes with a checkpoint.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import platformdirs
import torch
from torch import Tensor

from emoviews.errors import CheckpointError, UsageError

CONTENT_HASH: Final = "sha256:"
"""How the pin of a local folder begins; a hub commit has no prefix."""

_CONFIG: Final = "config.json"
_PREPROCESSOR: Final = "preprocessor_config.json"
_PROCESSOR: Final = "processor_config.json"  # newer checkpoints keep the preprocessor's settings inside this one
_INDEX: Final = ".index.json"
_WEIGHTS: Final = (
    "model.safetensors",
    f"model.safetensors{_INDEX}",
    "pytorch_model.bin",
    f"pytorch_model.bin{_INDEX}",
)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that has been found. Nothing but its JSON files has been parsed.

    Attributes:
        name: the hub name or the folder, as it was asked for.
        pin: what identifies the content: the hub's commit, or `sha256:` and the hash of a folder's files.
        folder: where `config.json` lies; for a hub name the snapshot in the cache.
        config: `config.json`.
        preprocessor: the settings of the feature extractor, None where the checkpoint has none.
    """

    name: str
    pin: str
    folder: Path
    config: Mapping[str, Any]
    preprocessor: Mapping[str, Any] | None

    @property
    def is_local(self) -> bool:
        """Whether it was given as a folder, and so is pinned by its content."""
        return self.pin.startswith(CONTENT_HASH)

    def read_weights(self) -> dict[str, Tensor]:
        """All tensors by the names they are stored under, mapped from disk where possible. Downloads what is missing.

        Raises:
            CheckpointError: no weights, weights that are damaged, that hold more than tensors, that can't be downloaded, or
                that changed since the checkpoint was found.
        """
        if self.is_local:
            files = _weight_files(self.name, _local_files(self.folder))
            if _content_hash(self.folder, files) != self.pin:
                raise CheckpointError(
                    f"The files in {self.name} changed after the view was made, when their content hash was {self.pin}. "
                    "Start again."
                )
        else:
            try:
                files = _weight_files(self.name, _cached_files(self.name, self.pin))
            except CheckpointError:
                files = _weight_files(self.name, _downloaded_files(self.name, self.pin))
        tensors: dict[str, Tensor] = {}
        for file in files:
            tensors.update(_read_safetensors(file if file.suffix == ".safetensors" else _converted(file)))
        return tensors


def find_checkpoint(model: str, revision: str = "main", *, view: str) -> Checkpoint:
    """Find a checkpoint by hub name or folder, and pin its content. An existing folder goes before a hub name.

    Args:
        model: a folder with `config.json` and weights, or a hub name, `owner/name`.
        revision: branch, tag or commit on the hub.
        view: the view that asks, for messages.

    Raises:
        UsageError: neither a folder nor a name that the hub knows, or a revision for a folder.
        CheckpointError: the checkpoint can't be had without network, is incomplete, or needs code of its own.
    """
    if model.startswith(CONTENT_HASH):
        raise UsageError(
            f"This {view} view was made from a local folder, known only by its content, {model}. "
            f"Pass the folder that holds it: {view}(model=FOLDER)."
        )
    folder = Path(model).expanduser()
    if folder.is_dir():
        if revision != "main":
            raise UsageError(f"{model} is a local folder, which has no revision {revision!r}; leave `revision` out.")
        files = _local_files(folder)
        config_path = files(_CONFIG)
        if config_path is None:
            raise CheckpointError(f"{model} has no {_CONFIG}; expected the folder of a transformers checkpoint.")
        pin = _content_hash(folder, _weight_files(model, files))
        preprocessor = _preprocessor(files)
    elif folder.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1 or "\\" in model:
        raise UsageError(
            f"There is no folder {model}. Expected the folder of a transformers checkpoint, or a hub name."
        )
    else:
        config_path = _hub_config(model, revision, view)
        folder = config_path.parent
        pin = folder.name  # the cache keeps a snapshot under its commit
        if not re.fullmatch("[0-9a-f]{40}", pin):
            raise CheckpointError(f"Expected the commit of {model} in the cache path {config_path}, got {pin!r}.")
        preprocessor = _preprocessor(_cached_files(model, pin))
        if preprocessor is None:
            with contextlib.suppress(CheckpointError):  # without network: as if there was none, which the views refuse
                preprocessor = _preprocessor(_downloaded_files(model, pin))
    config = _read_json(config_path)
    if config.get("auto_map"):
        raise CheckpointError(
            f"{model} comes with program code of its own ({_CONFIG} names it under 'auto_map'), which is never run. "
            "Use a checkpoint of an architecture that transformers itself provides."
        )
    return Checkpoint(model, pin, folder, config, preprocessor)


_Files = Callable[[str], Path | None]
"""A file of a checkpoint by its name, None where it is not there."""


def _local_files(folder: Path) -> _Files:
    return lambda name: folder / name if (folder / name).is_file() else None


def _cached_files(repository: str, commit: str) -> _Files:
    """Files of one commit that the hub's cache holds."""

    def find(name: str) -> Path | None:
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            return _hub_file(repository, name, commit, download=False)
        except LocalEntryNotFoundError:
            return None

    return find


def _downloaded_files(repository: str, commit: str) -> _Files:
    """Files of one commit, downloaded where the cache lacks them.

    Raises:
        CheckpointError: the hub can't be reached.
    """

    def find(name: str) -> Path | None:
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            return _hub_file(repository, name, commit, download=True)
        except EntryNotFoundError as error:
            if not isinstance(error, LocalEntryNotFoundError):
                return None  # the hub says that the repository has no such file
            reason: Exception = error
        except Exception as error:  # whatever else the network, a proxy or the hub does
            reason = error
        raise CheckpointError(
            f"{name} of {repository} is not in the Hugging Face cache and could not be downloaded ({_reason(reason)}). "
            f"Download it once where there is network: hf download {repository}."
        ) from reason

    return find


def _hub_file(repository: str, name: str, revision: str, *, download: bool) -> Path:
    import huggingface_hub

    return Path(huggingface_hub.hf_hub_download(repository, name, revision=revision, local_files_only=not download))


def _hub_config(repository: str, revision: str, view: str) -> Path:
    """`config.json` of a hub name: from the cache, else downloaded."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        try:
            return _hub_file(repository, _CONFIG, revision, download=False)
        except LocalEntryNotFoundError:
            return _hub_file(repository, _CONFIG, revision, download=True)
    except HFValidationError as error:
        raise UsageError(
            f"{repository!r} is neither a folder nor a hub name; expected a folder or owner/name."
        ) from error
    except RepositoryNotFoundError as error:  # also what a gated or private model gives
        raise UsageError(
            f"{repository!r} is not a folder, and the Hugging Face hub has no such model or shows it to its members only. "
            "Check the name; for a private or gated model log in first: hf auth login."
        ) from error
    except RevisionNotFoundError as error:
        raise UsageError(
            f"{repository!r} has no revision {revision!r} on the hub; expected a branch, tag or commit."
        ) from error
    except EntryNotFoundError as error:
        if not isinstance(error, LocalEntryNotFoundError):
            raise CheckpointError(
                f"{repository} has no {_CONFIG} on the hub: it is no transformers checkpoint."
            ) from error
        reason: Exception = error
    except Exception as error:  # whatever else the network, a proxy or the hub does
        reason = error
    raise CheckpointError(
        f"{repository!r} (revision {revision!r}) is neither a folder nor in the Hugging Face cache "
        f"({constants.HF_HUB_CACHE}), and it could not be downloaded ({_reason(reason)}). Download it once where there is "
        f"network: hf download {repository}. Or pass a folder that holds it: {view}(model=FOLDER)."
    ) from reason


def _reason(error: BaseException) -> str:
    """The first line of the innermost cause: `LocalEntryNotFoundError` hides whether it was a switch or a failure."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _preprocessor(files: _Files) -> Mapping[str, Any] | None:
    if path := files(_PREPROCESSOR):
        return _read_json(path)
    if path := files(_PROCESSOR):
        inner = _read_json(path).get("feature_extractor")
        return inner if isinstance(inner, dict) else None
    return None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} can't be read as JSON ({error}). Get the checkpoint again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a JSON {type(content).__name__}; expected an object.")
    return content


def _weight_files(name: str, files: _Files) -> list[Path]:
    """The files that together hold the weights: safetensors before `.bin`, one file before shards."""
    for candidate in _WEIGHTS:
        path = files(candidate)
        if path is None:
            continue
        if not candidate.endswith(_INDEX):
            return [path]
        weight_map = _read_json(path).get("weight_map")
        shards = sorted(set(weight_map.values())) if isinstance(weight_map, dict) else []
        found = [files(shard) if shard == os.path.basename(shard) else None for shard in shards]
        if not shards or None in found:
            lacking = [shard for shard, file in zip(shards, found, strict=True) if file is None]
            raise CheckpointError(
                f"{name}: {candidate} names {lacking or 'no files'}, which are not there. Get them again."
            )
        return [file for file in found if file is not None]
    raise CheckpointError(f"{name} has no weights; expected one of {', '.join(_WEIGHTS)}.")


def _content_hash(folder: Path, weights: list[Path]) -> str:
    """`sha256:` over names and contents of the files that decide what a model computes. The folder's own name is not in it."""
    settings = [path for name in (_CONFIG, _PREPROCESSOR, _PROCESSOR) if (path := folder / name).is_file()]
    digest = hashlib.sha256()
    for path in (*settings, *weights):
        digest.update(f"{path.name} {_file_hash(path)}\n".encode())
    return CONTENT_HASH + digest.hexdigest()


def _file_hash(path: Path) -> str:
    status = path.stat()
    return _file_hash_of(str(path.resolve()), status.st_size, status.st_mtime_ns)


@functools.cache
def _file_hash_of(path: str, size: int, mtime_ns: int) -> str:
    """Hash of a file's content, once a process for the same path, size and time (0.3 to 1 s for 400 MB)."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} can't be read as safetensors ({error}). Delete it and get it again.") from error
    return tensors


def _converted(path: Path) -> Path:
    """The safetensors file made from an old `.bin`, made now if this content was never met before."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    target = platformdirs.user_cache_path("emoviews") / "converted-weights" / f"{_file_hash(path)}.safetensors"
    if target.is_file():
        return target
    tensors = _unpickle(path)
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, suffix=".partial")
        os.close(handle)
        save_file(tensors, temporary, metadata={"format": "pt"})
        os.replace(temporary, target)
    except (OSError, SafetensorError) as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise CheckpointError(
            f"The weights of {path} could not be converted into {target.parent} ({error}). Make room or make the folder "
            "writable; another place is chosen by the environment variable XDG_CACHE_HOME."
        ) from error
    return target


def _unpickle(path: Path) -> dict[str, Tensor]:
    """The tensors of an old checkpoint; storage that two of them share is copied, which safetensors asks for."""
    if torch.__version__ < "2.6":  # CVE-2025-32434: weights_only could be got round
        raise CheckpointError(
            f"{path} is a pickle, which torch {torch.__version__} does not read safely; expected torch 2.6 or newer. "
            "Upgrade torch, or use a checkpoint in safetensors."
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a damaged or hostile pickle may raise anything; nothing of it has been run
        raise CheckpointError(
            f"{path} is damaged or holds more than tensors ({_reason(error)}); it was not loaded. Get it again, or use a "
            "checkpoint in safetensors."
        ) from error
    tensors = content if isinstance(content, Mapping) else {}
    if not tensors or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise CheckpointError(f"{path} holds a {type(content).__name__}; expected a dictionary of tensors.")
    return {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
