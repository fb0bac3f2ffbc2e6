"""The utterance table's contract: what is kept, filled in, refused, and survives a round trip through each format."""

from __future__ import annotations

import gzip
import os
import string
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emoviews.corpora import iemocap, msp_podcast
from emoviews.errors import TableError
from emoviews.table import (
    COLUMNS,
    ORIGINAL,
    UNDECIDED,
    alike,
    apply_label_map,
    join_tables,
    keep_labels,
    make_table,
    original_emotions,
    read_table,
    relabel,
    table_hash,
    write_table,
)

CORPORA = {"iemocap": iemocap, "msp_podcast": msp_podcast}
FORMATS = ["csv", "tsv", "parquet"]


def write(folder: Path, text: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


# --- what a table is


def test_missing_columns_get_their_defaults():
    table = make_table([{"path": "/a/x.wav"}])
    assert tuple(table.columns) == COLUMNS
    assert table.loc[0, ["id", "path"]].tolist() == ["x", "/a/x.wav"]
    assert table.loc[0, ["start_seconds", "end_seconds", "channel"]].isna().all()
    text = ["speaker", "group", "split", "emotion", "text", "language", "gender"]
    assert table.loc[0, text].tolist() == [""] * 7


def test_text_stays_text():
    rows = [
        {"path": "a.wav", "speaker": "001", "emotion": "None", "text": "NA", "id": "1e3", "age": 27},
        {"path": "b.wav", "speaker": None, "emotion": float("nan"), "text": pd.NA, "id": "nan"},
    ]
    table = make_table(rows)
    assert table[["speaker", "emotion", "text", "id"]].values.tolist() == [
        ["001", "None", "NA", "1e3"],
        ["", "", "", "nan"],
    ]
    assert all(type(value) is str for value in table["emotion"])


@pytest.mark.parametrize("format", FORMATS)
def test_text_stays_text_in_files(tmp_path, format):
    table = make_table([{"path": tmp_path / "a.wav", "speaker": "001", "emotion": "None", "text": 'NA, "so"\tN/A'}])
    write_table(table, tmp_path / f"t.{format}")
    pd.testing.assert_frame_equal(read_table(tmp_path / f"t.{format}"), table, check_dtype=False)


def test_times_and_channels_become_numbers():
    table = make_table([{"path": "a.wav", "start_seconds": "1.5", "end_seconds": 2, "channel": "1"}, {"path": "b.wav"}])
    assert table[["start_seconds", "end_seconds", "channel"]].dtypes.eq(float).all()
    assert table.loc[0, ["start_seconds", "end_seconds", "channel"]].tolist() == [1.5, 2.0, 1.0]


def test_group_defaults_to_speaker_row_by_row():
    table = make_table([{"path": "a.wav", "speaker": "s1"}, {"path": "b.wav", "speaker": "s2", "group": "g"}])
    assert table["group"].tolist() == ["s1", "g"]


def test_further_columns_are_kept_after_the_known_ones():
    table = make_table([{"age": 27, "path": "a.wav", "intensity": "strong"}])
    assert list(table.columns) == [*COLUMNS, "age", "intensity"]
    assert table.loc[0, ["age", "intensity"]].tolist() == ["27", "strong"]


def test_any_index_of_a_data_frame_is_ignored():
    given = pd.DataFrame({"path": ["a.wav", "b.wav"], "start_seconds": [1.0, 2.0], "emotion": ["x", "y"]}, index=[9, 9])
    table = make_table(given, "/r")
    assert table.index.tolist() == [0, 1]
    assert table[["path", "start_seconds", "emotion"]].values.tolist() == [
        ["/r/a.wav", 1.0, "x"],
        ["/r/b.wav", 2.0, "y"],
    ]
    assert given.index.tolist() == [9, 9]
    assert list(given.columns) == ["path", "start_seconds", "emotion"]


def test_relative_paths_belong_to_the_folder_and_are_normalised(tmp_path, monkeypatch):
    assert make_table([{"path": "a/../b.wav"}], "/data")["path"].tolist() == ["/data/b.wav"]
    assert make_table([{"path": "/x/b.wav"}], "/data")["path"].tolist() == ["/x/b.wav"]
    monkeypatch.chdir(tmp_path)
    assert make_table([{"path": "b.wav"}])["path"].tolist() == [str(tmp_path / "b.wav")]


@pytest.mark.parametrize(
    ("rows", "ids"),
    [
        (["/d/one.wav", "/d/two.flac"], ["one", "two"]),
        (["/d/anna/1.wav", "/d/bert/1.wav", "/d/bert/2.wav"], ["anna/1.wav", "bert/1.wav", "bert/2.wav"]),
        (["/d/1.wav", "/d/1.flac"], ["1.wav", "1.flac"]),
        ([("/d/1.wav", 0.0, None), ("/d/1.wav", 2.5, None)], ["1@0", "1@2.5"]),
        ([("/d/1.wav", None, 0), ("/d/1.wav", None, 1)], ["1#0", "1#1"]),
        ([("/d/1.wav", 3, 0), ("/d/1.wav", 3, 1)], ["1@3#0", "1@3#1"]),
        (
            [("/d/1.wav", 3, None, 4.5), ("/d/1.wav", 3, None, 9), ("/d/1.wav", 9, None, 10)],
            ["1@3-4.5", "1@3-9", "1@9"],
        ),
        ([("/d/1.wav", None, 1, 4), ("/d/1.wav", None, 1, 9), ("/d/1.wav", None, 0, 9)], ["1-4#1", "1-9#1", "1#0"]),
    ],
)
def test_default_ids_tell_rows_apart(rows, ids):
    rows = [(row,) if isinstance(row, str) else row for row in rows]
    columns = ["path", "start_seconds", "channel", "end_seconds"]
    table = make_table([dict(zip(columns, row, strict=False)) for row in rows])
    assert table["id"].tolist() == ids


def test_further_columns_may_be_called_as_they_like():
    table = make_table([{"path": "a.wav", "emotion": "joy", "Emotion": "Freude", "Path": "x"}])
    assert table.loc[0, ["emotion", "Emotion", "Path"]].tolist() == ["joy", "Freude", "x"]


def test_an_empty_table_is_a_table():
    table = make_table(pd.DataFrame({"path": []}))
    assert len(table) == 0
    assert tuple(table.columns) == COLUMNS


# --- what is refused


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"file": "a.wav", "label": "x"}], r"no column 'path' \(its columns: file, label\)\. Name the column"),
        ([], r"no column 'path' \(its columns: none\)"),
        ([{"path": "a.wav"}, {"path": " "}], "Row 3 of the table has an empty 'path'"),
        ([{"path": "a.wav"}, {"path": "a.wav"}], "The recording .*a.wav stands in rows 2 and 3. Keep one row of each"),
        ([{"path": f"{i}.wav", "id": "x"} for i in range(9)], r"'x' .*\(rows 2, 3, 4, 5, 6 and 4 more\)"),
        (
            [{"path": "a.wav", "start_seconds": 1, "end_seconds": 2.5, "channel": 1}] * 3,
            r"a\.wav, from 1 s to 2\.5 s, channel 1 stands in rows 2, 3 and 4\. .*add a column 'id' with a name of its own",
        ),
        ([{"path": "a.wav", "end_seconds": 2}] * 2, r"a\.wav, from 0 s to 2 s stands in rows"),
        ([{"path": "a.wav", "start_seconds": 2}] * 2, r"a\.wav, from 2 s to its end stands in rows"),
        (
            [{"path": "a@2.wav"}, {"path": "a.wav", "start_seconds": 2}],
            "Rows 2 and 3 would all have the id 'a@2'. Give each row an 'id' of its own",
        ),
        ([{"path": "a.wav", "id": "1"}, {"path": "b.wav", "id": ""}], "Row 3 has an empty 'id'; fill it or drop"),
        ([{"path": "a.wav", "start_seconds": "1,5"}], r"Row 2: 'start_seconds' is '1,5'; expected a time in seconds"),
        ([{"path": "a.wav", "start_seconds": -1}], "Row 2: 'start_seconds' is '-1'"),
        ([{"path": "a.wav", "end_seconds": "inf"}], "Row 2: 'end_seconds' is 'inf'"),
        ([{"path": "a.wav", "end_seconds": "nan"}], "Row 2: 'end_seconds' is 'nan'"),
        ([{"path": "a.wav"}, {"path": "b.wav", "channel": "left"}], "Row 3: 'channel' is 'left'; expected a channel"),
        ([{"path": "a.wav", "channel": 0.5}], "Row 2: 'channel' is '0.5'"),
        ([{"path": "a.wav", "channel": -1}], "Row 2: 'channel' is '-1'"),
        ([{"path": "a.wav", "end_seconds": 0}], r"Row 2: 'end_seconds' \(0\) is not after 'start_seconds' \(0\)"),
        ([{"path": "a.wav", "start_seconds": 2, "end_seconds": 1.5}], r"\(1\.5\) is not after 'start_seconds' \(2\)"),
        (
            [{"path": "a.wav", "Emotion": "x"}],
            "has the column 'Emotion'; expected 'emotion', spelt like that. Rename it",
        ),
        ([{"path": "a.wav", " speaker": "x"}], "has the column ' speaker'; expected 'speaker'"),
        ([{"PATH": "a.wav"}], "has the column 'PATH'; expected 'path'"),
        ([{"path": "a.wav", "split": "dev"}], "Row 2: 'split' is 'dev'; expected one of train, val, test, or empty"),
    ],
)
def test_refused_rows_are_named(rows, message):
    with pytest.raises(TableError, match=message):
        make_table(rows)


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(TableError, match=r"t\.csv does not exist\. To make one from a folder: emoviews corpus folder"):
        read_table(tmp_path / "t.csv")
    with pytest.raises(TableError, match="is a folder"):
        read_table(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "can't be read as a table"),
        ("t.csv", b"path,speaker\na.wav,J\xe4rvi\n", r"t\.csv is not UTF-8 text.* Save it again as 'CSV UTF-8'"),
        ("t.csv", b"path,emotion\na.wav,x\nb.wav,y,z\n", "can't be read as a table: .*line 3"),
        ("t.parquet", b"path\na.wav\n", "can't be read as a table"),
        (
            "t.csv",
            b"name;emotion\na.wav;x\n",
            r"t\.csv: The table has no .*\(its columns: name, emotion\)\. Name the column",
        ),
        ("t.csv", b'path,start_seconds\na.wav,"1,5"\n', r"t\.csv: Row 2: 'start_seconds' is '1,5'"),
        ("t.csv", b"path;start_seconds\na.wav;1.234,5\n", r"t\.csv: Row 2: 'start_seconds' is '1\.234,5'"),
        (
            "t.XLSX",
            b"PK",
            r"t\.XLSX is a spreadsheet\. Tables are \.csv, \.tsv or \.parquet: open it, choose 'Save as'",
        ),
        (
            "t.txt",
            b"Dear all,\nwe came\nas, you, know\n",
            r"t\.txt can't be read as a table: .*\. Tables are \.csv, \.tsv or",
        ),
        ("t.csv", b"path,emotion\na.wav,x\n,y\n", r"t\.csv: Row 3 of the table has an empty 'path'"),
        ("t.csv", b"path,emotion\na.wav,happy,\nb.wav,sad,\n", r"t\.csv: rows have more fields than the header"),
        ("t.tsv", b"path\temotion\na.wav\thappy\tloud\n", r"t\.tsv: rows have more fields .*Name every column"),
    ],
)
def test_unreadable_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError, match=message):
        read_table(tmp_path / name)


# --- files


def test_files_as_spreadsheets_write_them(tmp_path):
    bom = write(tmp_path, "\ufeffpath,emotion\r\na.wav, happy \r\n\r\nb.wav\r\n")
    table = read_table(bom)
    assert table[["path", "emotion"]].values.tolist() == [
        [str(tmp_path / "a.wav"), "happy"],
        [str(tmp_path / "b.wav"), ""],
    ]
    tab = read_table(write(tmp_path, "path\ttext\na.wav\tyes, no\n", "t.tab"))
    assert tab.loc[0, "text"] == "yes, no"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "\ufeffpath;start_seconds;text\r\na.wav;0,5;yes, no\r\n"),
        ("t.csv", '\n"path";"start_seconds";"text"\n"a.wav";"0,5";"yes, no"\n'),
        ("t.csv", '"path";"start_seconds";"text";"so, so"\n"a.wav";"0.5";"yes, no";1\n'),
        ("t.csv", "path\tstart_seconds\ttext\na.wav\t0,5\tyes, no\n"),
        ("t.txt", "path\tstart_seconds\ttext\na.wav\t0,5\tyes, no\n"),
        ("t.tsv", "path\tstart_seconds\ttext\na.wav\t0.5\tyes, no\n"),
        ("t.txt", 'path,start_seconds,text\na.wav,0.5,"yes, no"\n'),
        ("t.csv", 'path,start_seconds,text,a;b\na.wav,0.5,"yes, no",1\n'),
    ],
)
def test_the_header_says_what_tells_columns_apart(tmp_path, name, text):
    assert read_table(write(tmp_path, text, name)).loc[0, ["id", "start_seconds", "text"]].tolist() == [
        "a@0.5",
        0.5,
        "yes, no",
    ]


def test_a_packed_text_is_unpacked(tmp_path):
    with gzip.open(tmp_path / "t.csv.gz", "wt", encoding="utf-8") as file:
        file.write("path,speaker\na.wav,Ann\n")
    assert read_table(tmp_path / "t.csv.gz")["speaker"].tolist() == ["Ann"]


def test_one_column_alone_is_a_table(tmp_path):
    assert read_table(write(tmp_path, "path\na;b.wav\n"))["path"].tolist() == [str(tmp_path / "a;b.wav")]


def test_no_table_is_written_by_the_name_of_a_spreadsheet(tmp_path):
    with pytest.raises(TableError, match=r"t\.xlsx: Tables are \.csv, \.tsv or \.parquet\. Name it t\.csv"):
        write_table(make_table([{"path": "a.wav"}]), tmp_path / "t.xlsx")
    assert os.listdir(tmp_path) == []


def test_names_are_alike_however_their_accents_are_coded():
    assert alike(["José", "Jose\u0301", "JOSE\u0301", "Jose"]) == [["JOSE\u0301", "Jose\u0301", "José"]]


def test_parquet_of_other_tools(tmp_path):
    given = pd.DataFrame({"path": ["a.wav", "b.wav"], "start_seconds": [0.5, None], "speaker": pd.Categorical([7, 8])})
    given.to_parquet(tmp_path / "t.pq")
    table = read_table(tmp_path / "t.pq")
    assert table["speaker"].tolist() == ["7", "8"]
    np.testing.assert_array_equal(table["start_seconds"], [0.5, np.nan])


# Any text but surrounding spaces, which are trimmed, and what no file can hold.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=("Cs",)), max_size=12).map(
    str.strip
)
names = st.text(string.ascii_letters + string.digits + "_-. ö", min_size=1, max_size=8).map(lambda s: f"x{s}x.wav")
times = st.one_of(st.none(), st.floats(0, 5000).map(lambda t: round(t, 4)))


@pytest.mark.parametrize("format", FORMATS)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(names, texts, texts, texts, times, st.sampled_from([None, 0, 3])), min_size=1, max_size=6)
)
def test_what_is_written_is_read_back(tmp_path, format, rows):
    columns = ["path", "emotion", "text", "further", "start_seconds", "channel"]
    table = make_table(pd.DataFrame(rows, columns=columns).assign(id=range(len(rows))), tmp_path)
    write_table(table, tmp_path / f"t.{format}")
    again = read_table(tmp_path / f"t.{format}")
    if "further" not in again:  # a column without any value is not written
        assert (table["further"] == "").all()
        again["further"] = pd.Series([""] * len(again), dtype=object)
    pd.testing.assert_frame_equal(again, table, check_dtype=False)


def test_a_carriage_return_in_a_text_does_not_end_its_row(tmp_path):
    table = make_table([{"path": "/a.wav", "text": "one\rtwo"}]).assign(age=27)
    write_table(table, tmp_path / "t.csv")
    assert read_table(tmp_path / "t.csv").loc[0, ["text", "age"]].tolist() == ["one\rtwo", "27"]


def test_a_written_table_moves_with_its_folder(tmp_path):
    (tmp_path / "old").mkdir()
    table = make_table([{"path": "wav/a.wav"}, {"path": "/elsewhere/b.wav"}], tmp_path / "old")
    write_table(table, tmp_path / "old" / "t.csv")
    assert (tmp_path / "old" / "t.csv").read_text() == "id,path\na,wav/a.wav\nb,/elsewhere/b.wav\n"
    (tmp_path / "old").rename(tmp_path / "new")
    assert read_table(tmp_path / "new" / "t.csv")["path"].tolist() == [
        str(tmp_path / "new" / "wav" / "a.wav"),
        "/elsewhere/b.wav",
    ]


def test_writing_makes_the_folder_keeps_the_rights_and_leaves_no_other_file(tmp_path):
    write_table(make_table([{"path": "a.wav"}]), tmp_path / "new" / "t.csv")
    assert os.listdir(tmp_path / "new") == ["t.csv"]
    plain = tmp_path / "plain"
    plain.touch()
    assert (tmp_path / "new" / "t.csv").stat().st_mode == plain.stat().st_mode


def test_a_failed_write_leaves_the_old_table(tmp_path, monkeypatch):
    path = tmp_path / "t.csv"
    write_table(make_table([{"path": "a.wav"}]), path)
    before = path.read_text()

    def full_disk(self, file, **options):
        Path(file).write_text("half a ta")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_table(make_table([{"path": "b.wav"}]), path)
    assert path.read_text() == before
    assert os.listdir(tmp_path) == ["t.csv"]


# --- labels and the hash


def labelled(*emotions):
    return make_table([{"path": f"{i}.wav", "emotion": emotion} for i, emotion in enumerate(emotions)])


def test_a_label_map_merges_renames_and_drops_labels_without_rows():
    table = labelled("happy", "excited", "other", "", "sad")
    mapped = apply_label_map(table, {"happy": "happiness", "excited": "happiness", "other": ""})
    assert mapped["emotion"].tolist() == ["happiness", "happiness", "", "", "sad"]
    assert table["emotion"].tolist() == ["happy", "excited", "other", "", "sad"]
    swapped = apply_label_map(table, {"happy": "sad", "sad": "happy"})
    assert swapped["emotion"].tolist() == ["sad", "excited", "other", "", "happy"]


def test_a_label_map_with_an_unknown_label_is_refused():
    with pytest.raises(TableError, match=r"names 'hapy', which no row has. Labels: happy, sad\."):
        apply_label_map(labelled("happy", "sad"), {"hapy": "x"})
    with pytest.raises(TableError, match=r"Labels: none\."):
        apply_label_map(labelled("", ""), {"": "neutral"})


def test_kept_labels_keep_all_rows():
    assert keep_labels(labelled("happy", "sad", "", "other"), ["sad", "happy"])["emotion"].tolist() == [
        "happy",
        "sad",
        "",
        "",
    ]
    with pytest.raises(TableError, match=r"No row has the emotion 'angry'. Labels: happy\."):
        keep_labels(labelled("happy"), ["angry"])


def test_the_hash_covers_what_a_training_depends_on_and_nothing_else():
    rows = [{"path": f"{i}.wav", "emotion": "sad", "speaker": f"s{i}", "text": "yes"} for i in range(3)]
    table = make_table(rows)
    same = make_table(rows, "/elsewhere").assign(text="no")
    assert table_hash(same) == table_hash(table)
    assert len(table_hash(table)) == 12
    for column in ("id", "emotion", "speaker", "group", "split"):
        other = table.copy()
        other.loc[1, column] = "train"
        assert table_hash(other) != table_hash(table)
    assert table_hash(table.iloc[[1, 0, 2]]) != table_hash(table)


# --- what a label was, and two corpora in one table


def test_what_a_row_was_labelled_first_stays():
    table = labelled("happy", "excited", "fear", "", UNDECIDED)
    mapped = keep_labels(apply_label_map(table, {"excited": "happy", "fear": ""}), ["happy"])
    assert mapped["emotion"].tolist() == ["happy", "happy", "", "", ""]
    assert original_emotions(mapped).tolist() == ["happy", "excited", "fear", "", "undecided"]
    assert original_emotions(table).equals(table["emotion"])
    assert ORIGINAL not in table.columns


@pytest.mark.parametrize("format", FORMATS)
def test_what_a_row_was_labelled_first_survives_a_file(tmp_path, format):
    mapped = keep_labels(labelled("happy", "fear"), ["happy"])
    write_table(mapped, tmp_path / f"t.{format}")
    again = apply_label_map(read_table(tmp_path / f"t.{format}"), {"happy": "joy"})
    assert (again["emotion"].tolist(), original_emotions(again).tolist()) == (["joy", ""], ["happy", "fear"])


def test_the_hash_knows_what_a_dropped_label_was_and_is_else_as_before():
    table = labelled("happy", "fear", "sad")
    one, other = (keep_labels(labelled("happy", dropped, "sad"), ["happy", "sad"]) for dropped in ("fear", UNDECIDED))
    never = labelled("happy", "", "sad")
    assert len({table_hash(t) for t in (table, one, other, never)}) == 4
    assert table_hash(keep_labels(table, ["happy", "fear", "sad"])) == table_hash(table)
    assert table_hash(apply_label_map(table, {"sad": "happy"})) == table_hash(labelled("happy", "fear", "happy"))


def test_both_corpora_with_an_undecided_label_call_it_so():
    assert {CORPORA[name].EMOTIONS["xxx" if name == "iemocap" else "X"] for name in CORPORA} == {UNDECIDED}


def test_one_label_map_for_corpora_that_name_emotions_differently():
    mine, yours = labelled("anger", "joy", "boredom"), labelled("angry", "happy", "")
    found = relabel([mine, yours], {"angry": "anger", "happy": "joy", "boredom": ""})
    assert [t["emotion"].tolist() for t in found] == [["anger", "joy", ""], ["anger", "joy", ""]]
    assert [original_emotions(t).tolist() for t in found] == [["anger", "joy", "boredom"], ["angry", "happy", ""]]
    kept = relabel([mine, yours], {"angry": "anger"}, ["anger", "joy"])
    assert [t["emotion"].tolist() for t in kept] == [["anger", "joy", ""], ["anger", "", ""]]
    with pytest.raises(
        TableError, match=r"names 'fear', which no row has. Labels: anger, angry, boredom, happy, joy\."
    ):
        relabel([mine, yours], {"fear": ""})
    with pytest.raises(TableError, match="No row has the emotion 'fear'"):
        relabel([mine, yours], {}, ["fear"])


def test_joined_tables_keep_every_row_and_say_whose_it_is():
    first = make_table([{"path": f"/a/{i}.wav", "speaker": s, "age": 3} for i, s in enumerate("pq")])
    second = make_table([{"path": f"/b/{i}.wav", "speaker": s, "start_seconds": 1.5} for i, s in enumerate("rs", 7)])
    joined = join_tables(first, second, ("one", "two"))
    assert joined["id"].tolist() == ["0", "1", "7@1.5", "8@1.5"]
    assert joined["group"].tolist() == list("pqrs")
    assert joined["corpus"].tolist() == ["one", "one", "two", "two"]
    assert joined["age"].tolist() == ["3", "3", "", ""]
    assert joined["start_seconds"].tolist()[2:] == [1.5, 1.5]
    assert np.isnan(joined["start_seconds"][0])
    assert joined.index.tolist() == [0, 1, 2, 3]
    assert list(first.columns) == [*COLUMNS, "age"], "the tables given are not changed"


def test_joined_tables_tell_equal_ids_and_groups_apart_and_keep_speakers():
    first = make_table([{"path": f"/a/{i}.wav", "speaker": f"0{i}"} for i in range(2)])
    second = make_table([{"path": f"/b/{i}.wav", "speaker": f"0{i}"} for i in range(1, 3)]).assign(corpus=["", "three"])
    joined = join_tables(first, second, ("one", "two"))
    assert joined["id"].tolist() == ["0", "1", "two/1", "two/2"]
    assert joined["group"].tolist() == ["00", "01", "two/01", "two/02"]
    assert joined["speaker"].tolist() == ["00", "01", "01", "02"]
    assert joined["corpus"].tolist() == ["one", "one", "two", "three"]


def test_joined_tables_keep_first_labels_of_either():
    first, second = keep_labels(labelled("happy", "fear"), ["happy"]), labelled("sad").assign(id="z")
    joined = join_tables(first, second, ("one", "two"))
    assert joined[ORIGINAL].tolist() == ["happy", "fear", "sad"]


def test_ids_that_can_not_be_told_apart_are_refused():
    first = make_table([{"path": "a.wav", "id": "x"}, {"path": "b.wav", "id": "two/x"}])
    second = make_table([{"path": "c.wav", "id": "x"}])
    with pytest.raises(TableError, match="The id 'two/x' stands in both tables, even with 'two' in front"):
        join_tables(first, second, ("one", "two"))
