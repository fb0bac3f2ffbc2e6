"""audformat databases, made with the reference implementation and read back; tables written and read back."""

import builtins
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoviews.corpora import CORPORA
from emoviews.errors import CorpusError, MissingExtraError
from emoviews.table import make_table

audformat = pytest.importorskip("audformat")
from emoviews.corpora.audformat import to_audformat  # noqa: E402

AUDFORMAT = CORPORA.load("audformat")


def fill(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def database() -> "audformat.Database":
    """As emodb is published: labels in one table, speakers in another, gender a property of the speaker, two splits."""
    db = audformat.Database("mini", languages=["de"], license="CC0-1.0")
    db.schemes["emotion"] = audformat.Scheme(labels=["anger", "neutral"])
    db.schemes["speaker"] = audformat.Scheme(
        "int", labels={3: {"gender": "male", "age": 31}, 8: {"gender": "female", "age": 34}}
    )
    db.schemes["transcription"] = audformat.Scheme(labels={"a01": "Der Lappen", "a02": "Das will sie"})
    files = ["wav/b.wav", "wav/a.wav", "wav/c.wav"]
    db["files"] = audformat.Table(audformat.filewise_index(files))
    db["files"]["speaker"] = audformat.Column(scheme_id="speaker")
    db["files"]["speaker"].set([8, 3, 8])
    db["files"]["transcription"] = audformat.Column(scheme_id="transcription")
    db["files"]["transcription"].set(["a02", "a01", "a01"])
    db.splits["tr"], db.splits["te"] = audformat.Split("train"), audformat.Split("test")
    for split, chosen, emotions in (("tr", files[:2], ["anger", "neutral"]), ("te", files[2:], [None])):
        db[f"emotion.{split}"] = audformat.Table(audformat.filewise_index(chosen), split_id=split)
        db[f"emotion.{split}"]["emotion"] = audformat.Column(scheme_id="emotion")
        db[f"emotion.{split}"]["emotion"].set(emotions)
    return db


def test_reads_a_database(tmp_path: Path) -> None:
    database().save(str(fill(tmp_path, "wav/a.wav", "wav/b.wav", "wav/c.wav")))
    parsed = AUDFORMAT.parse(tmp_path)
    assert parsed.warnings == ()
    columns = ["id", "speaker", "group", "split", "emotion", "text", "language", "gender", "age"]
    assert parsed.table[columns].to_numpy().tolist() == [
        ["a", "3", "3", "train", "neutral", "Der Lappen", "deu", "male", "31"],
        ["b", "8", "8", "train", "anger", "Das will sie", "deu", "female", "34"],
        ["c", "8", "8", "test", "", "Der Lappen", "deu", "female", "34"],
    ]
    assert parsed.table["path"].tolist() == [str(tmp_path / "wav" / f"{name}.wav") for name in "abc"]
    assert parsed.table["start_seconds"].isna().all()


def test_segments(tmp_path: Path) -> None:
    db = audformat.Database("segments")
    index = audformat.segmented_index(["a.wav", "a.wav", "b.wav", "b.wav"], [1.5, 0, 0, 2], [3.25, 1.5, None, None])
    db["t"] = audformat.Table(index)
    db["t"]["emotion"] = audformat.Column()
    db["t"]["emotion"].set(["sad", "glad", "sad", "glad"])
    db.save(str(fill(tmp_path, "a.wav", "b.wav")))
    table = AUDFORMAT.parse(tmp_path).table
    np.testing.assert_array_equal(table["start_seconds"], [0, 1.5, 2, np.nan])
    np.testing.assert_array_equal(table["end_seconds"], [1.5, 3.25, np.nan, np.nan])
    assert table["emotion"].tolist() == ["glad", "sad", "glad", "sad"]


def test_missing_files_are_left_out_with_a_warning(tmp_path: Path) -> None:
    database().save(str(fill(tmp_path, "wav/a.wav")))
    parsed = AUDFORMAT.parse(tmp_path)
    assert parsed.table["id"].tolist() == ["a"]
    assert parsed.warnings[0].startswith("2 of 3 recordings named in the labels are missing and left out: ")


def test_raters_that_differ_are_refused(tmp_path: Path) -> None:
    db = database()
    db["emotion.tr"]["second"] = audformat.Column(scheme_id="emotion")
    db["emotion.tr"]["second"].set(["neutral", "neutral"])
    db.save(str(fill(tmp_path, "wav/a.wav")))
    with pytest.raises(CorpusError, match=r"can't be read: Found overlapping .*keep the table of agreed labels"):
        AUDFORMAT.parse(tmp_path)


def test_a_database_without_emotions_is_refused(tmp_path: Path) -> None:
    db = database()
    db.drop_tables(["emotion.tr", "emotion.te"])
    db.save(str(fill(tmp_path, "wav/a.wav")))
    with pytest.raises(CorpusError, match="no labels of a scheme or column 'emotion'; its schemes: emotion, speaker"):
        AUDFORMAT.parse(tmp_path)


def test_a_damaged_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / "db.yaml").write_text("name: [")
    with pytest.raises(CorpusError, match="can't be read"):
        AUDFORMAT.parse(tmp_path)


@pytest.mark.parametrize("segmented", [False, True])
def test_a_table_survives_the_way_there_and_back(tmp_path: Path, segmented: bool) -> None:
    fill(tmp_path, "x/a.wav", "x/b.wav", "c.wav")
    rows = [
        {
            "id": "first",
            "path": "x/a.wav",
            "speaker": "001",
            "emotion": "None",
            "split": "train",
            "text": "é",
            "gender": "female",
        },
        {
            "id": "second",
            "path": "x/b.wav",
            "speaker": "002",
            "emotion": "",
            "split": "val",
            "group": "g",
            "language": "pl",
        },
        {"id": "third", "path": "c.wav", "emotion": "sad", "split": "test", "channel": 1},
        {"id": "fourth", "path": "c.wav" if segmented else str(tmp_path / "d.wav"), "channel": 0, "emotion": "glad"},
    ]
    fill(tmp_path, "d.wav")
    if segmented:
        rows[2] |= {"start_seconds": 0.1, "end_seconds": 2.7182818}
        rows[3] |= {"start_seconds": 3, "end_seconds": 4}
    table = make_table(rows, tmp_path)
    db = to_audformat(table, "mine", root=tmp_path)
    assert db.is_portable
    assert db["utterances"].is_segmented == segmented
    db.save(str(tmp_path))
    back = AUDFORMAT.parse(tmp_path).table.drop(columns="age")
    expected = table.set_index("id").loc[back["id"]].reset_index()
    pd.testing.assert_frame_equal(back[expected.columns], expected, check_dtype=False)


def test_without_a_root_paths_stay_absolute(tmp_path: Path) -> None:
    db = to_audformat(make_table([{"path": "a.wav", "emotion": "sad"}], tmp_path), "mine")
    assert list(db.files) == [str(tmp_path / "a.wav")]
    assert not db.is_portable


def test_the_extra_is_named_when_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: object, **more: object) -> object:
        if name == "audformat":
            raise ImportError(name)
        return real(name, *args, **more)

    (tmp_path / "db.yaml").touch()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'emoviews\[audformat\]'"):
        AUDFORMAT.parse(tmp_path)
    with pytest.raises(MissingExtraError, match=r"needs the package audformat"):
        to_audformat(make_table([{"path": "a.wav"}]), "mine")
