"""CREMA-D: codes, the silent recording, the odd name, Git LFS; from https://github.com/CheyneyComputerScience/CREMA-D."""

from itertools import product
from pathlib import Path

import pytest

from emoviews.corpora import CORPORA
from emoviews.errors import CorpusError

CREMAD = CORPORA.load("cremad")
DEMOGRAPHICS = (
    '"ActorID","Age","Sex","Race","Ethnicity"\n1001,51,"Male","Caucasian","Not Hispanic"\n'
    '1076,25,"Female","Caucasian","Not Hispanic"\n1040,42,"Male","Caucasian","Not Hispanic"\n'
)


def release(root: Path, *names: str, demographics: bool = True) -> Path:
    (root / "AudioWAV").mkdir(parents=True)
    for name in names:
        (root / "AudioWAV" / name).touch()
    if demographics:
        (root / "VideoDemographics.csv").write_text(DEMOGRAPHICS)
    return root


def test_reads_names_and_demographics(tmp_path: Path) -> None:
    root = release(tmp_path, "1001_IEO_DIS_MD.wav", "1040_ITH_SAD_X.wav", "._1001_IEO_DIS_MD.wav")
    (root / "AudioMP3").mkdir()
    (root / "AudioMP3" / "1001_IEO_DIS_MD.mp3").touch()
    table = CREMAD.parse(root).table
    assert table["id"].tolist() == ["1001_IEO_DIS_MD", "1040_ITH_SAD_X"]
    columns = ["speaker", "group", "emotion", "gender", "language", "sentence", "level", "age", "text"]
    assert table.loc[0, columns].tolist() == [
        "1001", "1001", "disgust", "male", "en", "IEO", "medium", "51", "It's eleven o'clock.",
    ]  # fmt: skip
    assert table.loc[1, ["emotion", "level"]].tolist() == ["sad", "unspecified"]


def test_the_silent_recording_is_left_out_with_a_warning(tmp_path: Path) -> None:
    parsed = CREMAD.parse(release(tmp_path, "1076_MTI_SAD_XX.wav", "1076_MTI_NEU_XX.wav"))
    assert parsed.table["id"].tolist() == ["1076_MTI_NEU_XX"]
    assert parsed.warnings[-1] == "1076_MTI_SAD_XX is silent in the release and left out."


def test_counts_are_those_of_the_paper_the_silent_recording_included(tmp_path: Path) -> None:
    sentences = ["IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI"]
    names = []
    for emotion, count in {"ANG": 1271, "DIS": 1271, "FEA": 1271, "HAP": 1271, "SAD": 1271, "NEU": 1087}.items():
        every = [f"{a}_{s}_{emotion}_{v}.wav" for s, v, a in product(sentences, ["XX", "HI"], range(1001, 1092))]
        names += every[:count]
    assert len(names) == 7442
    parsed = CREMAD.parse(release(tmp_path, *names))
    assert len(parsed.table) == 7441
    assert parsed.warnings == ("1076_MTI_SAD_XX is silent in the release and left out.",)
    (tmp_path / "AudioWAV" / names[0]).unlink()
    assert CREMAD.parse(tmp_path).warnings[0] == (
        "CREMA-D has 7442 utterances as published, this copy 7441. Published / here: anger 1271 / 1270."
    )


def test_says_where_gender_comes_from_when_it_is_missing(tmp_path: Path) -> None:
    parsed = CREMAD.parse(release(tmp_path, "1001_DFA_ANG_XX.wav", demographics=False))
    assert parsed.warnings[0] == f"{tmp_path / 'VideoDemographics.csv'} is missing, so 'gender' and 'age' are empty."
    assert parsed.table["gender"].tolist() == [""]


def test_pointing_at_the_audio_folder_still_finds_the_demographics(tmp_path: Path) -> None:
    root = release(tmp_path, "1001_DFA_ANG_XX.wav")
    assert CREMAD.parse(root / "AudioWAV").table["gender"].tolist() == ["male"]


def test_a_clone_without_lfs_is_refused(tmp_path: Path) -> None:
    root = release(tmp_path, "1001_DFA_ANG_XX.wav")
    (root / "AudioWAV" / "1001_DFA_ANG_XX.wav").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(CorpusError, match=r"is a Git LFS pointer, not a recording; .* git lfs pull"):
        CREMAD.parse(root)


def test_demographics_of_another_form_are_refused(tmp_path: Path) -> None:
    root = release(tmp_path, "1001_DFA_ANG_XX.wav")
    (root / "VideoDemographics.csv").write_text("ActorID,Age\n1001,51\n")
    with pytest.raises(CorpusError, match="lacks the column Sex that the label table of CREMA-D has"):
        CREMAD.parse(root)
