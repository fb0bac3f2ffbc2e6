"""Checkpoints: what is written comes back, and what does not fit or is damaged is refused with both values named."""

from __future__ import annotations

import dataclasses
import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from emoviews import checkpoints
from emoviews.batching import Scaler
from emoviews.checkpoints import (
    Checkpoint,
    ViewCheckpoint,
    described,
    holds_checkpoint,
    load_checkpoint,
    load_tensors,
    save_checkpoint,
    save_tensors,
)
from emoviews.encoders import make_encoder
from emoviews.errors import CheckpointError, StoreError
from emoviews.runners._common import restored_encoder
from emoviews.types import ViewSpec

FRAMES = ViewSpec(
    *("mfcc", 1, {"coefficients": 5, "band_hz": (60.0, 7800.0)}, ("frames", "features"), (0, 5), "float16", 100.0),
    licence="for research only",
)
FUNCTIONALS = ViewSpec("egemaps", 2, {}, ("features",), (4,), "float32", None, ("a", "b", "c", "d"), "weights")
LABELS = {"mfcc": FRAMES, "speech_model(model=some/where)": FUNCTIONALS}


@pytest.fixture
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    views = {}
    for label, spec in LABELS.items():
        name, parameters = ("mlp", {"hidden": [3], "dim": 2}) if spec is FUNCTIONALS else ("temporal_cnn", {})
        encoder = make_encoder(spec, name, **parameters)
        scaler = Scaler(np.arange(4, dtype=np.float32), np.full(4, 2, np.float32)) if spec is FUNCTIONALS else None
        views[label] = ViewCheckpoint(spec, (name, parameters), encoder.state_dict(), scaler)
    return Checkpoint(views, {"job_id": "abc", "job": {"split": "0123", "seed": 2**62}, "curves": [0.1, 1 / 3]})


def notes_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "emoviews.json").read_text(encoding="utf-8"))


def rewrite(folder: Path, **changes: Any) -> None:
    """As if it had been written so, with the digest of that."""
    (folder / "emoviews.json").write_bytes(described(notes_of(folder) | changes))


def weights_file(folder: Path) -> Path:
    (file,) = folder.glob("*.safetensors")
    return file


def test_what_is_written_comes_back(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "deep" / "c", checkpoint)
    read = load_checkpoint(tmp_path / "deep" / "c")
    assert read.made == checkpoint.made
    assert list(read.views) == list(checkpoint.views)
    for label, view in checkpoint.views.items():
        again = read.view(label, view.spec.fingerprint)
        assert again.spec.fingerprint == view.spec.fingerprint
        assert again.spec.licence == view.spec.licence
        assert dataclasses.replace(again.spec, parameters=view.spec.parameters) == view.spec
        assert again.encoder == view.encoder
        assert again.tensors.keys() == view.tensors.keys()
        assert all(torch.equal(tensor, view.tensors[name]) for name, tensor in again.tensors.items())
        encoder = restored_encoder(again).state_dict()
        assert all(torch.equal(tensor, encoder[name]) for name, tensor in view.tensors.items())
        if view.scaler is None:
            assert again.scaler is None
        else:
            assert again.scaler is not None
            np.testing.assert_array_equal(again.scaler.mean, view.scaler.mean)
            np.testing.assert_array_equal(again.scaler.deviation, view.scaler.deviation)


def test_it_is_one_safetensors_file_and_notes_that_name_what_made_it(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint)
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".json", ".safetensors"]
    tensors = safetensors.torch.load_file(weights_file(tmp_path))
    assert {name.split("/encoder/")[0].split("/scaler/")[0] for name in tensors} == set(LABELS)
    for (
        file
    ) in tmp_path.iterdir():  # every pickle begins with b"\x80" and a protocol, a zip archive of torch's with b"PK"
        assert file.read_bytes()[:1] != b"\x80"
        assert file.read_bytes()[:2] != b"PK"
    notes = notes_of(tmp_path)
    assert notes["made"]["job"]["split"] == "0123"
    assert notes["views"]["mfcc"]["licence"] == "for research only"
    assert notes["views"]["mfcc"]["fingerprint"] == FRAMES.fingerprint
    assert {"emoviews", "python", "torch", "numpy"} <= set(notes["versions"])


def test_another_one_replaces_it_and_leaves_the_rest_of_the_folder(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """A fold's folder may be named like one that holds recordings."""
    (tmp_path / "recording.wav").write_text("mine")
    (tmp_path / "model.safetensors").write_text("mine too")
    save_checkpoint(tmp_path, checkpoint)
    save_checkpoint(tmp_path, dataclasses.replace(checkpoint, made={"job_id": "def"}))
    assert load_checkpoint(tmp_path).made == {"job_id": "def"}
    (tmp_path / "model.safetensors").unlink()
    assert (tmp_path / "recording.wav").read_text() == "mine"
    first = weights_file(tmp_path)
    view = checkpoint.views["mfcc"]
    other = {name: tensor + 1 for name, tensor in view.tensors.items()}
    save_checkpoint(tmp_path, Checkpoint({"mfcc": dataclasses.replace(view, tensors=other)}, {}))
    assert weights_file(tmp_path) != first
    assert list(load_checkpoint(tmp_path).views) == ["mfcc"]


@pytest.mark.parametrize("write", [0, 1])
def test_a_failed_replacement_leaves_the_old_one_whole(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    save_checkpoint(tmp_path, checkpoint)
    real, calls = checkpoints.write_atomically, []

    def full(path: Path, blob: bytes) -> None:
        calls.append(path)
        if len(calls) > write:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, blob)

    monkeypatch.setattr(checkpoints, "write_atomically", full)
    view = checkpoint.views["mfcc"]
    other = {name: tensor + 1 for name, tensor in view.tensors.items()}
    with pytest.raises(StoreError, match="No space left"):
        save_checkpoint(tmp_path, Checkpoint({"mfcc": dataclasses.replace(view, tensors=other)}, {}))
    read = load_checkpoint(tmp_path)
    assert read.made == checkpoint.made
    assert all(torch.equal(t, view.tensors[n]) for n, t in read.views["mfcc"].tensors.items())


def test_another_view_or_extraction_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match=r"has the views mfcc, speech_model\(.*\), not egemaps"):
        checkpoint.view("egemaps", "111111111111")
    assert checkpoint.view("in other words", FRAMES.fingerprint) is checkpoint.views["mfcc"]
    with pytest.raises(CheckpointError) as caught:
        checkpoint.view("mfcc", "000000000000")
    assert FRAMES.fingerprint in str(caught.value)
    assert "000000000000" in str(caught.value)


def test_no_checkpoint_at_all(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no checkpoint .*emoviews pretrain"):
        load_checkpoint(tmp_path / "nowhere")


def test_another_format_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint)
    rewrite(tmp_path, format=99)
    with pytest.raises(CheckpointError, match="checkpoint format 99; this version reads format 1"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1, "weights": 3}', "\udcff"])
def test_damaged_notes_are_refused(checkpoint: Checkpoint, tmp_path: Path, text: str) -> None:
    save_checkpoint(tmp_path, checkpoint)
    (tmp_path / "emoviews.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match="can't be read as a checkpoint"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("views", [[], {"mfcc": {}}, {"mfcc": {"spec": {"name": "mfcc"}}}])
def test_notes_that_lack_something_are_refused(checkpoint: Checkpoint, tmp_path: Path, views: Any) -> None:
    save_checkpoint(tmp_path, checkpoint)
    rewrite(tmp_path, views=views)
    with pytest.raises(CheckpointError, match="can't be read as a checkpoint"):
        load_checkpoint(tmp_path)


def test_an_edited_specification_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint)
    views = notes_of(tmp_path)["views"]
    views["mfcc"]["spec"]["parameters"]["coefficients"] = 6
    rewrite(tmp_path, views=views)
    edited = dataclasses.replace(FRAMES, parameters={**FRAMES.parameters, "coefficients": 6})
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tmp_path)
    assert edited.fingerprint in str(caught.value)
    assert FRAMES.fingerprint in str(caught.value)


def test_a_changed_description_is_refused_and_an_older_one_has_no_digest(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path, checkpoint)
    notes = notes_of(tmp_path) | {"made": {"job_id": "def"}}
    (tmp_path / "emoviews.json").write_text(json.dumps(notes), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"was changed after .* is \w{64}, expected \w{64}\. Pre-train again\."):
        load_checkpoint(tmp_path)
    del notes["sha256"]
    (tmp_path / "emoviews.json").write_text(json.dumps(notes, sort_keys=True), encoding="utf-8")
    assert load_checkpoint(tmp_path).made == {"job_id": "def"}


def test_the_digest_is_of_what_is_read_back() -> None:
    """Names that are no text come back as text, in another order; numbers, infinities and letters as they were."""
    notes = {"by": {1: 0.1 + 0.2, 3: float("inf"), 10: (2**62, "ż")}, "none": None}
    first = described(notes)
    assert described(json.loads(first)) == first
    assert described({**notes, "none": 0}) != first


@pytest.mark.parametrize("damage", ["cut", "changed", "missing"])
def test_damaged_weights_are_refused(checkpoint: Checkpoint, tmp_path: Path, damage: str) -> None:
    save_checkpoint(tmp_path, checkpoint)
    file = weights_file(tmp_path)
    blob = bytearray(file.read_bytes())
    blob[-1] ^= 1
    file.write_bytes(blob[:-40] if damage == "cut" else blob)
    if damage == "missing":
        file.unlink()
    with pytest.raises(CheckpointError, match=r"SHA-256 is .*, expected |No such file"):
        load_checkpoint(tmp_path)


def test_weights_of_another_architecture_are_refused(checkpoint: Checkpoint) -> None:
    view = dataclasses.replace(checkpoint.views["mfcc"], encoder=("temporal_cnn", {"channels": [4, 4, 4]}))
    with pytest.raises(CheckpointError, match="do not fit its encoder 'temporal_cnn'"):
        restored_encoder(view)


def test_whose_checkpoint_it_is(checkpoint: Checkpoint, tmp_path: Path) -> None:
    assert not holds_checkpoint(tmp_path, "abc")
    save_checkpoint(tmp_path, checkpoint)
    assert holds_checkpoint(tmp_path, "abc")
    assert not holds_checkpoint(tmp_path, "abd")
    weights_file(tmp_path).unlink()
    assert not holds_checkpoint(tmp_path, "abc")


def test_tensors_and_notes_in_one_file(tmp_path: Path) -> None:
    tensors = {"a/b": torch.arange(6.0).reshape(2, 3).T, "step": torch.tensor(3.0)}
    notes = {"best": float("inf"), "curve": [0.1 + 0.2]}
    save_tensors(tmp_path / "new" / "t.safetensors", tensors, notes)
    read, found = load_tensors(tmp_path / "new" / "t.safetensors")
    assert found == notes
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
    (tmp_path / "cut").write_bytes((tmp_path / "new" / "t.safetensors").read_bytes()[:50])
    for name in ("cut", "missing"):
        with pytest.raises(CheckpointError, match=f"{name} can't be read"):
            load_tensors(tmp_path / name)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="can't be written"):
        save_tensors(tmp_path / "file" / "t.safetensors", tensors, notes)
