"""A table of one's own: read, checked, missing recordings left out."""

from pathlib import Path

import pytest

from emoviews.corpora import CORPORA
from emoviews.errors import CorpusError, TableError, UsageError

TABLE = CORPORA.load("table")


def write(root: Path, text: str, *recordings: str) -> Path:
    for name in recordings:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    path = root / "mine.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_keeps_order_text_and_further_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "path,speaker,emotion,mood\nb.wav,001,None,1.50\na.wav,NA,,x\n", "a.wav", "b.wav")
    parsed = TABLE.parse(path)
    assert parsed.warnings == ()
    assert parsed.table["path"].tolist() == [str(tmp_path / "b.wav"), str(tmp_path / "a.wav")]
    assert parsed.table["emotion"].tolist() == ["None", ""]
    assert parsed.table["group"].tolist() == ["001", "NA"]
    assert parsed.table["mood"].tolist() == ["1.50", "x"]


def test_missing_recordings_are_left_out_with_a_warning(tmp_path: Path) -> None:
    rows = "".join(f"d/{i}.wav\n" for i in range(8))
    path = write(tmp_path, "path\n" + rows, "d/3.wav")
    parsed = TABLE.parse(path)
    assert parsed.table["id"].tolist() == ["3"]
    assert parsed.table.index.tolist() == [0]
    (warning,) = parsed.warnings
    assert warning.startswith("7 of 8 recordings named in the labels are missing and left out: ")
    assert str(tmp_path / "d" / "0.wav") in warning
    assert warning.endswith("and 2 more.")


def test_no_recording_at_all_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "path\nelsewhere/a.wav\n")
    with pytest.raises(CorpusError, match="Not one of the 1 recordings"):
        TABLE.parse(path)


def test_no_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="has no rows"):
        TABLE.parse(write(tmp_path, "path\n"))


@pytest.mark.parametrize(("root", "kind"), [("", "is a folder"), ("none.csv", "does not exist")])
def test_what_is_no_file_is_refused(tmp_path: Path, root: str, kind: str) -> None:
    with pytest.raises(CorpusError, match=rf"{kind}; looked for a table file"):
        TABLE.parse(tmp_path / root)


def test_a_broken_table_names_its_row(tmp_path: Path) -> None:
    path = write(tmp_path, "path,split\na.wav,dev\n", "a.wav")
    with pytest.raises(TableError, match="Row 2: 'split' is 'dev'"):
        TABLE.parse(path)


def test_no_presets(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Its presets: none"):
        TABLE.parse(tmp_path / "mine.csv", "small")
