"""What was written is re-checked: a byte that changed is found in each kind of folder, and nothing is found in whole ones."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from emoviews import cli
from emoviews.checkpoints import NOTES
from emoviews.errors import UsageError
from emoviews.results import FILE, Results
from emoviews.verification import verify


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two views, and a recogniser."""
    folder = tmp_path_factory.mktemp("verified")
    cli.main(["corpus", "synthetic", str(folder / "audio"), "--out", str(folder / "t.csv"), "--preset", "tiny"])
    fit = ["fit", str(folder / "t.csv"), "--store", str(folder / "store"), "--out", str(folder / "model")]
    cli.main([*fit, "--views", "mfcc", "--workers", "1"])
    return folder


def flip(path: Path, place: int = -5) -> None:
    """Change one byte."""
    blob = bytearray(path.read_bytes())
    blob[place] ^= 1
    path.write_bytes(blob)


def test_a_store_is_read_array_by_array(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = verify(world / "store")
    assert [found.what for found in whole] == ["a view of a store, arrays of 72 recordings"] * 3, (
        "and copies at two speeds"
    )
    assert not any(found.problems for found in whole)
    store = shutil.copytree(world / "store", tmp_path / "store")
    shard = next(next(store.glob("mfcc-*")).glob("*.safetensors"))
    flip(shard)
    with pytest.raises(SystemExit) as stop:
        cli.main(["verify", str(store)])
    said = capsys.readouterr()
    assert stop.value.code == 1
    assert shard.parent.name in said.out
    assert said.out.count("as it was written") == 2
    assert "1 problem; see above" in said.err
    assert len(verify(shard.parent)[0].problems) == 1, "one view alone"
    (moved,) = verify(shutil.copytree(shard.parent, tmp_path / "mfcc-0"))
    assert "one of them was changed" in moved.problems[0]
    (shard.parent / "spec.json").write_text("{")
    assert "can't be read" in verify(shard.parent)[0].problems[0]


def test_a_recogniser_is_compared_with_its_digests(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(world / "model")[0].what == "a recogniser, weights and description (emoviews.json)"
    assert not verify(world / "model")[0].problems
    model = shutil.copytree(world / "model", tmp_path / "model")
    notes = json.loads((model / NOTES).read_text())
    notes["report"]["modes"]["inductive"]["uar"]["estimate"] = 0.99
    (model / NOTES).write_text(json.dumps(notes))
    (problem,) = verify(model)[0].problems
    assert "emoviews.json was changed after it was written" in problem
    del notes["sha256"]
    (model / NOTES).write_text(json.dumps(notes))
    capsys.readouterr()
    cli.main(["verify", str(model)])
    assert "weights alone (its description, emoviews.json, can't be compared: it has no" in capsys.readouterr().out
    flip(next(model.glob("*.safetensors")))
    (found,) = verify(model)
    assert found.what == "a recogniser"
    assert "is damaged" in found.problems[0]


def test_a_run_and_its_checkpoints(tmp_path: Path) -> None:
    with Results(tmp_path):
        pass
    assert [(found.what, found.problems) for found in verify(tmp_path)] == [("results of 0 jobs", ())]
    (tmp_path / "checkpoints" / "a").mkdir(parents=True)
    (tmp_path / "checkpoints" / "a" / NOTES).write_text("{}")
    assert verify(tmp_path)[1].what == "a checkpoint"
    assert verify(tmp_path)[1].problems
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("PRAGMA user_version = 1")
    assert "schema version 1" in verify(tmp_path)[0].problems[0]
    (tmp_path / FILE).write_bytes(np.random.default_rng(0).bytes(4096))
    assert "can't be read as a results database" in verify(tmp_path)[0].problems[0]


def test_any_other_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="no store, recogniser, checkpoint or run folder"):
        verify(tmp_path)
    with pytest.raises(SystemExit) as stop:
        cli.main(["verify", str(tmp_path / "none")])
    assert stop.value.code == 2
    assert "there is no such folder" in capsys.readouterr().err
