"""How answers are written, by suffix, and what they never replace."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoviews.answers import COLUMNS, SUFFIXES, kind_of, require_replaceable, written
from emoviews.errors import UsageError
from emoviews.recognition import Recognised
from emoviews.table import make_table, read_table

KINDS = sorted(set(SUFFIXES.values()))


@pytest.fixture
def results() -> pd.DataFrame:
    """Two answers, one of them none."""
    table = make_table([{"path": "/a, b.wav", "speaker": "ü\tö"}, {"path": "/c.wav", "start_seconds": 1.5}])
    return pd.DataFrame(
        {
            **{name: table[name] for name in ("id", "path", "start_seconds", "end_seconds")},
            "emotion": ["joy", ""],
            "confidence": [0.123456789, np.nan],
            "p_joy": [0.123456789, np.nan],
            **{name: table[name] for name in ("channel", "speaker")},
            "mode": ["inductive", "transductive, alone"],
            "problem": ["", "Stille"],
            "warning": ["", ""],
        }
    )


def test_the_columns_are_those_of_what_is_recognised() -> None:
    found = Recognised(("joy", "pain"), np.array([[0.4, 0.6]]), ("",), ("inductive",), np.zeros((1, 2)), ("",), ())
    frame = found.frame(make_table([{"path": "a.wav"}]))
    assert [name for name in frame if not name.startswith("p_")] == list(COLUMNS)


def test_json_is_one_array_or_one_object_a_line_and_missing_is_null(results: pd.DataFrame) -> None:
    lines = [json.loads(line) for line in written(results, "lines").decode().splitlines()]
    assert [(line["emotion"], line["confidence"]) for line in lines] == [("joy", 0.123457), ("", None)]
    assert json.loads(written(results, "json")) == lines
    assert "ü" in written(results, "lines").decode(), "and no escapes"


@pytest.mark.parametrize("suffix", [suffix for suffix, kind in SUFFIXES.items() if kind in ("csv", "tsv", "parquet")])
def test_what_is_written_as_a_table_is_read_as_one(results: pd.DataFrame, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(written(results, kind_of(path, "table")))
    again = read_table(path)
    text = ["id", "path", "speaker", "emotion", "mode", "problem"]
    assert again[text].values.tolist() == results[text].values.tolist()
    assert float(again["confidence"][0]) == 0.123457
    assert again["start_seconds"][1] == 1.5
    if SUFFIXES[suffix] == "tsv":
        assert path.read_text().startswith("id\tpath\t")
    if SUFFIXES[suffix] == "parquet":
        assert pd.read_parquet(io.BytesIO(path.read_bytes()))["confidence"].dtype == float


@pytest.mark.parametrize(
    ("name", "format", "kind"),
    [
        *((f"a{suffix}", "table", kind) for suffix, kind in SUFFIXES.items()),
        ("a", "table", "csv"),
        ("A.CSV", "csv", "csv"),
        ("a", "csv", "csv"),
        ("a", "json", "lines"),
        ("a.json", "json", "json"),
        ("a.jsonl", "json", "lines"),
        ("a.dat", "csv", "csv"),
        ("a.dat", "json", "lines"),
    ],
)
def test_the_suffix_says_the_kind_and_the_format_where_it_does_not(name: str, format: str, kind: str) -> None:
    assert kind_of(Path(name), format) == kind


@pytest.mark.parametrize(
    ("name", "format", "why"),
    [
        ("a.txt", "table", r"by the suffix \.txt\. Known are \.csv, \.tsv, .* and \.ndjson; or say --format csv or"),
        ("a.xlsx", "table", r"the name of a spreadsheet\. Name it a\.csv"),
        ("a.ODS", "csv", r"the name of a spreadsheet\. Name it a\.csv"),
        ("y.csv", "json", r"--format json contradicts --out y\.csv\. Leave --format out, or"),
        ("y.json", "csv", "--format csv contradicts"),
        ("y.tsv", "csv", "--format csv contradicts"),
        ("y.pq", "json", "--format json contradicts"),
        ("new.wav", "table", r"the name of a recording; name another file for the answers: new\.csv"),
        ("new.MP3", "csv", "the name of a recording"),
    ],
)
def test_suffixes_that_say_something_else_are_refused(name: str, format: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        kind_of(Path(name), format)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_may_be_replaced_whatever_their_name(results: pd.DataFrame, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(written(results, kind))
    require_replaceable(path, [], [])
    if kind == "csv":  # as an editor on Windows may save it
        path.write_bytes(b"\xef\xbb\xbf" + written(results, kind))
        require_replaceable(path, [], [])
    path.write_bytes(written(results.assign(remark="mine"), kind))
    with pytest.raises(UsageError, match="holds no answers"):
        require_replaceable(path, [], [])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"mine",
        b"path,emotion\na.wav,joy\n",
        b"{",
        b"[\n",
        b"[1]",
        b'{"a": 1}',
        b"PAR1 not really",
        b"\xff\xfe\x00",
    ],
)
def test_anything_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(
        UsageError, match=r"a\.csv is there and holds no answers of `predict`; name another file .* move it"
    ):
        require_replaceable(path, [], [])


def test_places_that_are_not_for_answers(results: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder; name a file for the answers"):
        require_replaceable(tmp_path, [], [])
    with pytest.raises(UsageError, match="holds no answers"):
        require_replaceable(Path("/dev/null"), [], [])
    (tmp_path / "model").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "model")
    for place in (tmp_path / "model" / "new.csv", tmp_path / "link" / "deep" / "new.csv"):
        with pytest.raises(UsageError, match=r"lies in the folder of the recogniser, .*model; name a file elsewhere"):
            require_replaceable(place, [], [("recogniser", tmp_path / "model")])
    require_replaceable(tmp_path / "models.csv", [], [("recogniser", tmp_path / "model")])
    with pytest.raises(UsageError, match="is a recording, or one of the tables to read; name another file"):
        require_replaceable(tmp_path / "missing", [tmp_path / "x", tmp_path / "missing"], [])
    (tmp_path / "a.csv").write_bytes(written(results, "csv"))
    with pytest.raises(UsageError, match="one of the tables to read"):
        require_replaceable(tmp_path / "a.csv", [tmp_path / "a.csv"], [])
    with pytest.raises(UsageError, match=r"no file can be made in .*a\.csv; name another"):
        require_replaceable(tmp_path / "a.csv" / "b.csv", [], [])
    require_replaceable(tmp_path / "made" / "later" / "b.csv", [], [])
