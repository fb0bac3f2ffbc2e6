"""The command line as a user meets it: what it prints, what it leaves behind, and the exit code of every mistake."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.signal
import soundfile

from emoviews import cli
from emoviews.table import read_table, write_table
from emoviews.types import SAMPLING_RATE

VIEWS = "mel_spectrogram,mfcc"
QUICK = ["--training.epochs", "2", "--workers", "1"]


def run(*arguments: object) -> int:
    """Exit code of one command, run in this process."""
    try:
        cli.main([str(a) for a in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny synthetic corpus, its table and its store."""
    folder = tmp_path_factory.mktemp("world")
    assert run("corpus", "synthetic", folder / "audio", "--out", folder / "t.csv", "--preset", "tiny") == 0
    assert run("extract", folder / "t.csv", "--store", folder / "store", "--views", VIEWS, "--workers", 1) == 0
    return folder


@pytest.fixture
def table(world: Path) -> pd.DataFrame:
    return pd.read_csv(world / "t.csv", dtype=str, keep_default_na=False)


def write(table: pd.DataFrame, world: Path, name: str) -> Path:
    path = world / name
    table.to_csv(path, index=False)
    return path


def tone(path: Path, seconds: float = 1.0, amplitude: float = 0.3) -> Path:
    t = np.arange(int(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    soundfile.write(path, amplitude * np.sin(2 * np.pi * 220 * t), SAMPLING_RATE)
    return path


# What must work


def test_corpus_prints_counts_licence_and_citation(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("corpus", "synthetic", world / "audio", "--out", world / "again.csv", "--preset", "tiny") == 0
    printed = capsys.readouterr().out
    assert "by emotion: anger" in printed
    assert "Licence:" in printed
    assert "Citation:" in printed
    assert (world / "again.csv").read_text() == (world / "t.csv").read_text()


def test_the_whole_job(world: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    common = ["--store", world / "store", "--folds", 3, *QUICK]
    assert run("pretrain", world / "t.csv", "--views", VIEWS, "--out", tmp_path / "c", *common) == 0
    checkpoints = sorted(p.parent for p in (tmp_path / "c").glob("*/emoviews.json"))
    assert len(checkpoints) == 3
    made = json.loads((checkpoints[0] / "emoviews.json").read_text())
    assert set(made["views"]) == {"mel_spectrogram", "mfcc"}
    assert made["made"]["test_group_left_out"] == checkpoints[0].name.split("+")
    capsys.readouterr()
    finetune = ["finetune", world / "t.csv", "--view", "mfcc", "--out", tmp_path / "r", *common]
    assert run(*finetune, "--init", tmp_path / "c", "--labels-per-class", 2) == 0
    first = capsys.readouterr().out
    assert "mean UAR" in first
    rows = pd.read_csv(tmp_path / "r" / "results.csv")
    test = rows[rows["split"] == "test"]
    assert set(test["init"]) == {"pretrained"}
    assert set(test["n_labels"]) == {2 * rows["n_labels"].nunique() * len(made_labels(world))}
    database = (tmp_path / "r" / "results.sqlite").read_bytes()
    assert run(*finetune, "--init", tmp_path / "c", "--labels-per-class", 2) == 0
    assert capsys.readouterr().out == first, "a finished job was run again, or printed otherwise"
    assert (tmp_path / "r" / "results.sqlite").stat().st_size == len(database)
    assert run(*finetune, "--label-fraction", 0.5, "--frozen", "--validation", "budget", "--repeats", 2) == 0
    rows = pd.read_csv(tmp_path / "r" / "results.csv")
    assert set(rows["init"]) == {"random", "pretrained"}


def test_a_loss_with_labels_from_pretraining_to_test(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--store", world / "store", "--folds", 3, "--workers", 1]
    pretrain = ["pretrain", world / "t.csv", "--views", VIEWS, *common, "--training.epochs", 1]
    supcon = [*pretrain, "--training.loss", "supcon", "--training.temperature", 0.2, "--labels-per-class", 3]
    assert run(*supcon, "--out", tmp_path / "c") == 0
    config = capsys.readouterr().err
    assert "labels_per_class: 3" in config
    assert "negatives" not in config, "what belongs to another loss is not in force"
    folder = next(p.parent for p in (tmp_path / "c").glob("*/emoviews.json"))
    job = json.loads((folder / "emoviews.json").read_text())["made"]["job"]
    assert job["config"]["temperature"] == 0.2
    assert (job["budget"], job["validation"], job["repeat"]) == ({"fraction": None, "per_class": 3}, "full", 0)
    finetune = [
        "finetune",
        world / "t.csv",
        "--view",
        "mfcc",
        *common,
        "--training.epochs",
        1,
        "--init",
        tmp_path / "c",
    ]
    assert run(*finetune, "--out", tmp_path / "r", "--labels-per-class", 3) == 0
    fails(
        capsys, 1, "pre-trained with labels, with budget", *finetune, "--out", tmp_path / "s", "--labels-per-class", 4
    )
    fails(capsys, 1, "validation full; this training", *finetune, "--out", tmp_path / "t", "--labels-per-class", 3,
          "--validation", "none")  # fmt: skip


def test_settings_and_labels_of_another_loss_are_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain = ["pretrain", world / "t.csv", "--views", VIEWS, "--store", world / "store", "--out", tmp_path / "c"]
    fails(capsys, 2, "vicreg has no temperature", *pretrain, "--training.loss", "vicreg", "--training.temperature", 0.5)
    fails(capsys, 2, "pairwise_nt_xent has no variance_weight", *pretrain, "--training.variance-weight", 3)
    fails(
        capsys, 2, "must be 0 or a positive", *pretrain, "--training.loss", "vicreg", "--training.variance-weight", -3
    )
    fails(capsys, 2, "Did you mean 'supcon'", *pretrain, "--training.loss", "subcon")
    fails(capsys, 2, "uses no labels. Leave --labels-per-class out", *pretrain, "--labels-per-class", 3)
    fails(capsys, 2, "uses no labels. Leave --repeat out", *pretrain, "--training.loss", "barlow_twins", "--repeat", 0)
    fails(capsys, 2, "repeat must be 0 or more; got -1", *pretrain, "--training.loss", "supcon", "--repeat", -1)
    reproduce = ["reproduce", world / "t.csv", "--views", VIEWS, "--store", world / "store", "--out", tmp_path / "r"]
    fails(capsys, 2, "supcon uses labels, and the paper's experiments", *reproduce, "--pretraining.loss", "supcon")
    assert list(tmp_path.iterdir()) == []


def made_labels(world: Path) -> set[str]:
    return set(pd.read_csv(world / "t.csv", dtype=str, keep_default_na=False)["emotion"])


def test_a_config_file_and_the_printed_configuration(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text("training:\n  epochs: 1\nfolds: 3\nworkers: 1\n")
    arguments = ["finetune", world / "t.csv", "--view", "mfcc", "--store", world / "store", "--out", tmp_path / "r"]
    assert run(*arguments, "--config", tmp_path / "c.yaml") == 0
    assert "epochs: 1" in capsys.readouterr().err
    curves = pd.read_csv(tmp_path / "r" / "results.csv")
    assert set(curves["epochs_run"]) == {1.0}


@pytest.mark.parametrize(
    "how", [["--label-map.-1.0", ""], ["--label-map.-1.0="], ["--label-map.-1", "", "--label-map.-1.0", ""]]
)
def test_a_label_map_can_not_name_dots(world: Path, capsys: pytest.CaptureFixture[str], how: list[str]) -> None:
    fails(capsys, 2, "can't name '-1.0', which has a dot", "fit", world / "t.csv", "--out", world / "no", *how)


@pytest.mark.parametrize(("text", "name"), [('label_map: {-1: ""}', "-1"), ('label-map: {"-1.0": happiness}', "-1.0")])
def test_a_label_map_in_a_file_may_name_numbers(world: Path, tmp_path: Path, text: str, name: str) -> None:
    table = pd.read_csv(world / "t.csv", dtype=str).assign(emotion=lambda t: t["emotion"].replace("sadness", name))
    table["path"] = [str(world / path) for path in table["path"]]
    table.to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "c.yaml").write_text(text)
    fit = ["fit", tmp_path / "t.csv", "--out", tmp_path / "m", "--store", world / "store", "--views", "mfcc"]
    assert run(*fit, "--config", tmp_path / "c.yaml") == 0
    assert name not in json.loads((tmp_path / "m" / "emoviews.json").read_text())["labels"]


@pytest.mark.parametrize(
    ("text", "said"), [("- a", "expected a value for each option, got list"), ("a: [", "expected YAML")]
)
def test_a_configuration_that_is_none(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (tmp_path / "c.yaml").write_text(text)
    fails(capsys, 2, said, "fit", world / "t.csv", "--out", tmp_path / "m", "--config", tmp_path / "c.yaml")


def test_suggestions_do_not_replace_what_they_are_made_of(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = world / "t.csv"
    before = table.read_text()
    fails(capsys, 2, "is the table itself, whose other rows would be lost", "suggest", "m", table, "--out", table)
    fails(capsys, 2, "it is a folder", "suggest", "m", table, "--out", tmp_path)
    fails(capsys, 2, "where the labels are kept", "label", table, "--merge", f"{table}.labels.jsonl")
    assert table.read_text() == before


def test_label_map_and_labels(world: Path, tmp_path: Path) -> None:
    arguments = ["finetune", world / "t.csv", "--view", "mfcc", "--store", world / "store", "--folds", 3, *QUICK]
    assert run(*arguments, "--out", tmp_path / "a", "--label-map.anger", "loud", "--label-map.sadness=") == 0
    rows = pd.read_csv(tmp_path / "a" / "results.csv")
    assert (rows["uar"].notna()).any()
    assert run(*arguments, "--out", tmp_path / "b", "--labels", "anger,sadness") == 0


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    for what, member in (
        ("views", "wav2vec2"),
        ("corpora", "iemocap"),
        ("encoders", "layer_mix"),
        ("losses", "pairwise_nt_xent"),
    ):
        assert run("list", what) == 0
        assert member in capsys.readouterr().out


def test_check_finds_what_is_wrong(world: Path, table: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", world / "t.csv", "--store", world / "store", "--workers", 1) == 0
    assert "No problem found." in capsys.readouterr().out
    table.loc[1, "path"] = table.loc[0, "path"]
    table.loc[2, "path"] = "missing.wav"
    path = write(table, world, "wrong.csv")
    assert run("check", path, "--store", world / "store", "--workers", 1) == 1
    printed = capsys.readouterr().err
    assert "missing.wav" in printed
    assert f"the same recording: {table.loc[0, 'id']}, {table.loc[1, 'id']}" in printed


def test_check_names_what_is_spelt_in_two_ways_and_labels_that_contradict(
    world: Path, table: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    table.loc[0, "speaker"] = table.loc[0, "group"] = table.loc[1, "speaker"].lower()
    table.loc[2, "emotion"] = table.loc[3, "emotion"].upper()
    table.loc[5, ["path", "emotion"]] = table.loc[4, "path"], "sadness"
    path = write(table, world, "spelt.csv")
    assert run("check", path, "--store", world / "store", "--workers", 1) == 1
    printed = " ".join(capsys.readouterr().err.split())
    assert "The speakers 'S01', 's01' differ in upper and lower case" in printed
    assert "The emotions 'HAPPINESS', 'happiness' differ in upper and lower case" in printed
    assert f"{table.loc[5, 'id']}, labelled {' and '.join(sorted((table.loc[4, 'emotion'], 'sadness')))}" in printed


def test_dry_run_trains_nothing(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["reproduce", world / "t.csv", "--views", VIEWS, "--store", world / "store", "--folds", 3]
    assert run(*arguments, "--out", tmp_path / "r", "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "sparse: " in printed
    assert "objectives: " not in printed, "it is not of the paper, so it has to be named"
    assert not (tmp_path / "r").exists()


# What bad input gets: one clear message, exit code 1 or 2, nothing half-written


def fails(capsys: pytest.CaptureFixture[str], code: int, says: str, *arguments: object) -> None:
    capsys.readouterr()
    assert run(*arguments) == code
    message = capsys.readouterr().err
    assert says in message.replace("\n", " ")
    assert "Traceback" not in message


def test_wrong_use(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fails(capsys, 2, "Unknown command", "trian")
    fails(capsys, 2, "--out", "pretrain", world / "t.csv")
    fails(capsys, 2, "--bogus", "extract", world / "t.csv", "--bogus", "1")
    fails(capsys, 2, "Did you mean 'egemaps'", "extract", world / "t.csv", "--views", "egemap")
    fails(capsys, 2, "has no parameter bans", "extract", world / "t.csv", "--views", "mfcc(bans=3)")
    fails(capsys, 2, "no corpus called", "corpus", "iemocab", world, "--out", world / "x.csv")
    arguments = ["finetune", world / "t.csv", "--view", "mfcc", "--store", world / "store", "--out", world / "nothing"]
    fails(capsys, 2, "not both", *arguments, "--label-fraction", "0.1", "--labels-per-class", "2")
    fails(capsys, 2, "got 2", *arguments, "--label-fraction", "2")
    fails(capsys, 2, "no fold 'nobody'", *arguments, "--fold", "nobody")
    fails(capsys, 2, "epochs must be above 0", *arguments, "--training.epochs", "0")
    fails(capsys, 2, "No row has the emotion 'joy'", *arguments, "--labels", "joy")
    fails(capsys, 2, "names 'joy'", *arguments, "--label-map.joy", "happiness")
    assert not (world / "nothing").exists()


def test_bad_tables(world: Path, table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ["--store", tmp_path / "store"]
    fails(capsys, 2, "does not exist", "extract", world / "nowhere.csv", *store)
    fails(capsys, 2, "no column 'path'", "extract", write(table.drop(columns="path"), world, "bad.csv"), *store)
    twice = table.copy()
    twice.loc[3, "id"] = twice.loc[0, "id"]
    fails(
        capsys,
        2,
        f"{table.loc[0, 'id']!r} stands in more than one row (rows 2 and 5)",
        "extract",
        write(twice, world, "bad.csv"),
        *store,
    )
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing", "no such file"),
        ("empty", "empty"),
        ("text", "bad.wav"),
        ("silent", "silen"),
        ("one_sample", "bad.wav"),
        ("nan", "bad.wav"),
    ],
)
def test_a_bad_recording_alone_and_among_good_ones(
    name: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.wav"
    if name == "empty":
        bad.touch()
    elif name == "text":
        bad.write_text("this is no sound")
    elif name == "silent":
        soundfile.write(bad, np.zeros(SAMPLING_RATE), SAMPLING_RATE)
    elif name == "one_sample":
        soundfile.write(bad, np.ones(1) * 0.5, SAMPLING_RATE)
    elif name == "nan":
        soundfile.write(bad, np.full(SAMPLING_RATE, np.nan), SAMPLING_RATE, subtype="FLOAT")
    table = tmp_path / "t.csv"
    table.write_text("path\nbad.wav\n")
    views = ["--views", "mel_spectrogram", "--store", tmp_path / "store", "--workers", 1]
    fails(capsys, 1, says, "extract", table, *views)
    tone(tmp_path / "good.wav")
    table.write_text("path\nbad.wav\ngood.wav\n")
    assert run("extract", table, *views) == 0
    assert says in capsys.readouterr().err
    assert "bad.wav" in (tmp_path / "store" / "failed.csv").read_text()
    fails(capsys, 1, says, "extract", table, *views, "--strict")


def test_unsuited_labels_and_groups(
    world: Path, table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--store", world / "store", *QUICK]

    def finetune(changed: pd.DataFrame, name: str) -> list[object]:
        return ["finetune", write(changed, world, name), "--view", "mfcc", "--out", tmp_path / name, *common]

    fails(capsys, 2, "at least 2 emotions", *finetune(table.assign(emotion=""), "none.csv"))
    fails(capsys, 2, "group", *finetune(table.assign(speaker="one", group="one"), "group.csv"))
    fails(capsys, 2, "have no group", *finetune(table.assign(speaker="", group=""), "nogroup.csv"))
    once = table.copy()
    once.loc[0, "emotion"] = "boredom"
    assert run(*finetune(once, "once.csv"), "--folds", 3) == 0
    said = capsys.readouterr().err
    assert "Fold S01+S04: no training utterance is labelled boredom" in said
    assert "Fold S02+S05: no test utterance is labelled boredom" in said


def test_not_extracted_or_from_another_store_version(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["finetune", world / "t.csv", "--view", "mfcc", "--out", tmp_path / "r", *QUICK]
    fails(capsys, 1, "emoviews extract", *arguments, "--store", tmp_path / "empty")
    assert run("extract", world / "t.csv", "--store", tmp_path / "old", "--views", "mfcc", "--workers", 1) == 0
    (spec,) = (tmp_path / "old").glob("mfcc-*/spec.json")
    spec.write_text(spec.read_text().replace('"format": 1', '"format": 99'))
    fails(capsys, 1, "store format 99", *arguments, "--store", tmp_path / "old")
    fails(capsys, 1, "store format 99", "extract", world / "t.csv", "--store", tmp_path / "old", "--views", "mfcc")


def test_a_checkpoint_that_does_not_fit(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--store", world / "store", *QUICK]
    made = tmp_path / "c"
    assert run("pretrain", world / "t.csv", "--views", VIEWS, "--out", made, "--folds", 3, *common) == 0
    fold = next(made.glob("*/emoviews.json")).parent.name
    finetune = ["finetune", world / "t.csv", "--view", "mfcc", "--out", tmp_path / "r", *common]
    fails(capsys, 1, "holds no checkpoint", *finetune, "--init", tmp_path / "nowhere")
    fails(capsys, 1, "holds no checkpoint", *finetune, "--folds", 4, "--init", made)
    other = ["--view", "mfcc(coefficients=13)"]
    assert run("extract", world / "t.csv", "--store", world / "store", "--views", other[1], "--workers", 1) == 0
    changed = [*finetune[:2], *other, *finetune[4:], "--folds", 3, "--fold", fold, "--init", made]
    fails(capsys, 1, "has the views", *changed)


def test_nothing_slow_is_imported_for_help() -> None:
    code = "import sys, emoviews.cli; print(sorted({'torch', 'pandas', 'transformers', 'sklearn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_speakers_from_paths(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for emotion in ("anger", "joy"):
        for speaker in ("ann", "bob", "cy"):
            (tmp_path / "own" / emotion).mkdir(parents=True, exist_ok=True)
            tone(tmp_path / "own" / emotion / f"{speaker}-{emotion}.wav")
    arguments = ["corpus", "folder", tmp_path / "own", "--out", tmp_path / "t.csv"]
    assert run(*arguments) == 0
    assert run("check", tmp_path / "t.csv", "--store", tmp_path / "store", "--workers", 1) == 1
    assert "--speaker" in capsys.readouterr().err
    assert run(*arguments, "--speaker", r"/(\w+)-") == 0
    written = pd.read_csv(tmp_path / "t.csv", dtype=str)
    assert sorted(set(written["speaker"])) == sorted(set(written["group"])) == ["ann", "bob", "cy"]
    fails(capsys, 2, "finds no speaker in 4 of 6 paths, e.g. anger/bob-anger.wav", *arguments, "--speaker", "ann")
    fails(capsys, 2, "no regular expression", *arguments, "--speaker", "(")


def test_speakers_without_labels(
    world: Path, table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = table.assign(emotion=table["emotion"].where(table["speaker"].isin(["S01", "S02", "S03"]), ""))
    arguments = ["--store", world / "store", *QUICK]
    path = write(few, world, "few.csv")
    assert run("pretrain", path, "--views", VIEWS, "--out", tmp_path / "c", *arguments) == 0
    finetune = ["finetune", path, "--view", "mfcc", "--out", tmp_path / "r", *arguments]
    assert run(*finetune, "--init", tmp_path / "c") == 0
    printed = capsys.readouterr()
    assert "3 groups without any label (36 recordings): trained on, never tested." in printed.err
    rows = pd.read_csv(tmp_path / "r" / "results.csv")
    assert set(rows["fold"]) == {"S01", "S02", "S03"}
    assert set(rows["temperature"]) == {0.5}, "what the checkpoint was made with is not in the rows"
    assert set(rows["pretraining_data"]) == {"all"}
    fails(
        capsys, 1, "pre-trained with preset 'default'", *finetune, "--init", tmp_path / "c", "--preset", "paper-table"
    )
    fails(capsys, 1, "scaling", *finetune, "--init", tmp_path / "c", "--scaling", "none")


def test_wrong_use_is_said_before_any_work(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--store", world / "store", "--out", tmp_path / "r"]
    fails(capsys, 2, "at least 2; got mfcc", "pretrain", world / "t.csv", "--views", "mfcc", *common)
    fails(capsys, 2, "at least 2; got mfcc", "reproduce", world / "t.csv", "--views", "mfcc", *common)
    fails(capsys, 2, "repeats must be 1", "reproduce", world / "t.csv", "--views", VIEWS, "--repeats", "0", *common)
    fails(capsys, 2, "no loss called", "pretrain", world / "t.csv", "--views", VIEWS, "--training.loss", "no", *common)
    fails(capsys, 2, "no device 'gpu'", "pretrain", world / "t.csv", "--views", VIEWS, "--device", "gpu", *common)
    fails(
        capsys,
        2,
        "--precision mixed is for GPUs",
        "pretrain",
        world / "t.csv",
        "--views",
        VIEWS,
        "--precision",
        "mixed",
        *common,
    )
    fails(capsys, 2, "no such file", "pretrain", world / "t.csv", "--config", tmp_path / "c.yaml", *common)
    (tmp_path / "empty.csv").write_text("path,emotion\n")
    fails(capsys, 2, "has no rows", "check", tmp_path / "empty.csv", "--store", tmp_path / "store")
    assert not (tmp_path / "r").exists()


def test_long_recordings_are_said_to_be_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tone(tmp_path / "long.wav", seconds=16)
    (tmp_path / "t.csv").write_text("path\nlong.wav\n")
    arguments = ["extract", tmp_path / "t.csv", "--store", tmp_path / "store", "--workers", 1, "--views"]
    assert run(*arguments, "mfcc") == 0
    assert "1 recording longer than a view takes" in capsys.readouterr().err
    assert run(*arguments, "mfcc(maximum_seconds=20)") == 0
    assert "longer" not in capsys.readouterr().err


# The recogniser


@pytest.fixture(scope="session")
def model(world: Path) -> Path:
    """A recogniser of the tiny corpus."""
    fit = [
        "fit",
        world / "t.csv",
        "--out",
        world / "model",
        "--store",
        world / "store",
        "--views",
        "mfcc",
        "--workers",
        1,
    ]
    assert run(*fit) == 0
    return world / "model"


def test_fit_says_what_to_expect(world: Path, model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = read_table(world / "t.csv")
    table.loc[::9, "emotion"] = ""
    write_table(table, tmp_path / "t.csv")
    how = ["--store", world / "store", "--views", "mfcc", "--workers", 1, "--out", tmp_path / "m"]
    assert run("fit", tmp_path / "t.csv", *how, "--label-map.happiness", "joy", "--labels", "joy,sadness") == 0
    printed = capsys.readouterr()
    assert "Expected on new speakers, inductive: UAR" in printed.out
    assert "Expected on new speakers, speaker-adaptive: UAR" in printed.out
    assert printed.out.count("  of a single new speaker: UAR ") == 2, "not of recordings that trained"
    assert "95 % interval" in printed.out
    assert "by gender: female" in printed.out
    assert f"(joy {sum(table['emotion'] == 'happiness')}, sadness {sum(table['emotion'] == 'sadness')})" in printed.out
    few = "with few recordings of a speaker, the one that is judged included: 1: UAR "
    (line,) = (line for line in printed.out.splitlines() if few in line)
    assert ", 3: UAR " in line
    assert ", 10: UAR " in line
    assert "No speech model among them" in printed.err
    made = json.loads((tmp_path / "m" / "emoviews.json").read_text())
    assert made["labels"] == ["joy", "sadness"]
    assert "Expected on the unlabelled recordings learnt from, transductive: UAR" in printed.out
    assert set(made["report"]["modes"]) == {"inductive", "speaker-adaptive", "transductive", "transductive, alone"}
    assert set(made["made"]["corpus_licences"]) == {"synthetic"}
    assert "Licence of the corpus synthetic" in printed.err


def test_predict_reads_folders_tables_and_files(
    world: Path, model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    capsys.readouterr()
    common = ["--store", world / "store", "--workers", 1]
    assert run("predict", model, world / "audio", *common, "--format", "csv", "--out", tmp_path / "p.csv") == 0
    assert set(pd.read_csv(tmp_path / "p.csv")["mode"]) == {"transductive, alone"}
    assert "fit learnt from 72 of 72 recordings" in capsys.readouterr().err
    for path in sorted((world / "audio").rglob("*.wav")):  # the same, a little softer: recordings it has never heard
        samples, rate = soundfile.read(path, dtype="float32")
        new = tmp_path / "new" / path.relative_to(world / "audio")
        new.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(new, 0.9 * samples, rate)
    (tmp_path / "new.csv").write_text((world / "t.csv").read_text().replace("audio/", "new/"))
    assert run("predict", model, tmp_path / "new", *common, "--format", "csv", "--out", tmp_path / "p.csv") == 0
    rows = pd.read_csv(tmp_path / "p.csv")
    assert len(rows) == 72
    assert set(rows["mode"]) == {"inductive"}
    assert rows[[c for c in rows if c.startswith("p_")]].sum(axis=1).to_numpy() == pytest.approx(1.0, abs=1e-4)
    assert run("predict", model, tmp_path / "new.csv", *common, "--format", "json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["mode"] for line in lines} == {"speaker-adaptive"}, "the table names the speakers"
    assert len(lines) == 72
    one = rows["path"][0]
    assert run("predict", model, one, "--same-speaker") == 0
    printed = capsys.readouterr()
    assert "Mode: speaker-adaptive" in printed.out
    assert "one utterance" not in printed.err
    samples, rate = soundfile.read(one)
    soundfile.write(tmp_path / "long.wav", np.resize(samples, 25 * rate), rate)
    (tmp_path / "two.csv").write_text(f"path,start_seconds,end_seconds\nlong.wav,,\n{one},0,1\n")
    assert run("predict", model, tmp_path / "two.csv") == 0
    printed = capsys.readouterr()
    assert "Longer than 20 s, and yet judged as one utterance: 1 recording." in printed.err
    soundfile.write(tmp_path / "silent.wav", np.zeros(25 * rate), rate)
    assert run("predict", model, one, tmp_path / "silent.wav") == 0
    assert "Longer than" not in capsys.readouterr().err, "it was not judged"
    assert "nan" not in printed.out
    assert run("predict", model, one, "--same-speaker", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["speaker"] == "this speaker", (
        "a warning speaks of the recordings of this speaker"
    )
    assert run("predict", model, one, "--mode", "speaker-adaptive") == 2
    assert "needs to know who speaks" in capsys.readouterr().err


@pytest.mark.parametrize("format", ["csv", "json", "table"])
def test_predict_names_the_recordings_that_came_over_another_channel(
    format: str, world: Path, model: Path, table: pd.DataFrame, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = table.groupby("speaker").head(6).query("speaker in ('S01', 'S02')").reset_index(drop=True)
    band = scipy.signal.butter(4, [300, 3400], "band", fs=SAMPLING_RATE, output="sos")
    for path, speaker in zip(rows["path"], rows["speaker"], strict=True):
        samples, rate = soundfile.read(world / path)
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(
            tmp_path / path, 0.9 * (scipy.signal.sosfilt(band, samples) if speaker == "S02" else samples), rate
        )
    write(rows, tmp_path, "t.csv")
    capsys.readouterr()
    assert run("predict", model, tmp_path / "t.csv", "--mode", "inductive", "--format", format, "--workers", 1) == 0
    printed = capsys.readouterr()
    assert "Warning: Don't rely on these answers: the recordings of S02 are, as a whole, unlike" in printed.err
    if format == "table":
        return
    if format == "csv":
        said = pd.read_csv(io.StringIO(printed.out), keep_default_na=False)
    else:
        said = pd.DataFrame([json.loads(line) for line in printed.out.splitlines()])
    assert list(said)[-5:] == ["channel", "speaker", "mode", "problem", "warning"], "columns that were there stay"
    judged = said[said["problem"] == ""]
    assert set(judged["speaker"]) == {"S01", "S02"}
    assert list(judged["warning"] != "") == list(judged["speaker"] == "S02")


def test_predict_slides_windows_over_each_channel(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, table: pd.DataFrame, world: Path
) -> None:
    speech = np.concatenate([soundfile.read(world / path)[0] for path in table["path"][:3]])
    soundfile.write(tmp_path / "call.wav", np.stack([speech, np.zeros_like(speech)], axis=1), SAMPLING_RATE)
    capsys.readouterr()
    windows = ["--window-seconds", 2, "--hop-seconds", 1, "--split-channels", "--format", "csv"]
    assert run("predict", model, tmp_path / "call.wav", *windows, "--out", tmp_path / "p.csv") == 0
    assert "recordings get no emotion" in capsys.readouterr().err
    rows = pd.read_csv(tmp_path / "p.csv")
    assert set(rows["channel"]) == {0.0, 1.0}
    assert rows.loc[rows["channel"] == 1, "problem"].str.contains("silent").all()
    heard = rows[rows["channel"] == 0]
    assert heard["emotion"].notna().sum() > len(heard) / 2
    assert heard["end_seconds"].max() == pytest.approx(len(speech) / SAMPLING_RATE, abs=1e-3)
    assert run("predict", model, tmp_path / "call.wav", "--hop-seconds", 1) == 2


def test_predict_says_in_which_mode_it_judges_where_some_have_no_speaker(
    world: Path, model: Path, table: pd.DataFrame, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    some = write(table.head(3).assign(speaker=["Ann", "Ann", ""]), world, "some-speakers.csv")
    told = "1 of 3 recordings have no speaker, so all are judged alone (inductive)."
    capsys.readouterr()
    assert run("predict", model, some) == 0
    assert told in capsys.readouterr().err
    assert run("predict", model, some, "--mode", "inductive") == 0
    assert told not in capsys.readouterr().err, "that was asked for"
    fails(capsys, 2, "1 of 3 recordings have no speaker", "predict", model, some, "--mode", "speaker-adaptive")
    one = world / table["path"][0]
    assert run("predict", model, one) == 0
    assert "no speaker" not in capsys.readouterr().err
    asked = ["predict", model, one, "--same-speaker"]
    fails(
        capsys, 2, "judge all recordings together, --mode inductive, to judge each alone", *asked, "--mode", "inductive"
    )
    fails(capsys, 2, "--backend onnx, which is inductive, to judge each alone", *asked, "--backend", "onnx")


def test_windows_with_gaps_are_warned_of(
    world: Path, model: Path, table: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    windows = ["predict", model, world / table["path"][0], "--window-seconds", 0.5, "--hop-seconds"]
    gaps = "Windows of 0.5 s every 0.7 s leave gaps that nothing judges"
    capsys.readouterr()
    assert run(*windows, 0.7) == 0
    assert gaps in capsys.readouterr().err
    assert run(*windows, 0.5) == 0
    assert "gaps" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    ["check t.csv", "extract t.csv", "pretrain t.csv --out x", "finetune t.csv --view mfcc", "reproduce t.csv --out x",
     "fit t.csv --out x", "predict m a.wav", "suggest m t.csv", "label t.csv", "demo --out x"],
)  # fmt: skip
@pytest.mark.parametrize("workers", ["0", "-2"])
def test_no_workers(command: str, workers: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fails(capsys, 2, f"Expected at least 1 worker, got {workers}.", *command.split(), f"--workers={workers}")


def test_predict_never_writes_over_what_it_reads(
    model: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    held = ["a.wav", "no-suffix"]
    recording = tone(tmp_path / "folder" / "a.wav")
    (tmp_path / "folder" / "no-suffix").write_bytes(recording.read_bytes())
    table = tmp_path / "t.csv"
    table.write_text("path\nfolder/a.wav\nfolder/no-suffix\n")
    contents = {name: (tmp_path / "folder" / name).read_bytes() for name in held}
    for place in (recording, tmp_path / "folder", table):
        for name in held if place == table else ["a.wav"]:
            assert run("predict", model, place, "--out", tmp_path / "folder" / name) == 2
            assert "name another file for the answers" in " ".join(capsys.readouterr().err.split())
    assert run("predict", model, table, "--out", table) == 2
    assert contents == {name: (tmp_path / "folder" / name).read_bytes() for name in held}
    assert table.read_text().startswith("path\n")


def test_predict_replaces_its_answers_and_nothing_else(
    model: Path, world: Path, table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused before anything is judged: no recording of these can be."""
    recording = world / table["path"][0]
    (tmp_path / "bad.wav").write_text("no audio")
    mine = {"notes.csv": "mine", "table.csv": "path,emotion\nx.wav,joy\n", "run.json": "{}", "no-suffix": "mine"}
    for name, text in mine.items():
        (tmp_path / name).write_text(text)
        fails(
            capsys, 2, f"{tmp_path / name} is there and holds no answers of `predict`; name another file",
            "predict", model, tmp_path / "bad.wav", "--out", tmp_path / name,
        )  # fmt: skip
        assert (tmp_path / name).read_text() == text
    fails(capsys, 2, "is a folder; name a file", "predict", model, tmp_path / "bad.wav", "--out", tmp_path)
    for what, place in (("recogniser", model), ("store", world / "store")):
        fails(
            capsys, 2, f"lies in the folder of the {what}, {place}; name a file elsewhere",
            "predict", model, tmp_path / "bad.wav", "--out", place / "sub" / "new.csv", "--store", world / "store",
        )  # fmt: skip
        assert not (place / "sub").exists()
    for name in ("a.csv", "a.tsv", "a.parquet", "a.json", "a.jsonl", "a"):
        for _ in range(2):
            assert run("predict", model, recording, "--out", tmp_path / name) == 0


def test_the_default_store_is_no_place_for_answers(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    (tmp_path / "bad.wav").write_text("no audio")
    place = tmp_path / "cache" / "emoviews" / "store" / "a.csv"
    fails(capsys, 2, "lies in the folder of the store", "predict", model, tmp_path / "bad.wav", "--out", place)
    assert not (tmp_path / "cache").exists()


def test_the_suffix_says_the_format(
    model: Path, world: Path, table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict = ["predict", model, world / table["path"][0], world / table["path"][1], "--out"]
    for name in ("a.csv", "a.tsv", "a.tab", "a.parquet", "a.pq"):
        assert run(*predict, tmp_path / name) == 0
        again = read_table(tmp_path / name)
        assert list(again["path"]) == [str(world / path) for path in table["path"][:2]]
        assert set(again["mode"]) == {"transductive, alone"}
    assert "\t" in (tmp_path / "a.tsv").read_text()
    assert run(*predict, tmp_path / "a.json") == 0
    array = json.loads((tmp_path / "a.json").read_text())
    assert run(*predict, tmp_path / "a.jsonl", "--format", "json") == 0
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()] == array
    assert run(*predict, tmp_path / "a", "--format", "json") == 0
    assert (tmp_path / "a").read_text() == (tmp_path / "a.jsonl").read_text()
    assert run(*predict, tmp_path / "b") == 0
    assert (tmp_path / "b").read_text() == (tmp_path / "a.csv").read_text()
    fails(capsys, 2, "Known are .csv, .tsv,", *predict, tmp_path / "a.txt")
    fails(capsys, 2, "is the name of a spreadsheet", *predict, tmp_path / "a.xlsx", "--format", "csv")
    fails(capsys, 2, "--format json contradicts --out", *predict, tmp_path / "new.csv", "--format", "json")
    fails(capsys, 2, "is the name of a recording", *predict, tmp_path / "new.wav", "--format", "csv")
    assert not {"a.txt", "a.xlsx", "new.csv", "new.wav"} & {path.name for path in tmp_path.iterdir()}


def test_a_segment_beyond_its_file_is_one_row_with_a_reason(
    model: Path, world: Path, table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speech = np.concatenate([soundfile.read(world / path)[0] for path in table["path"][:3]])
    soundfile.write(tmp_path / "a.wav", speech, SAMPLING_RATE)
    (tmp_path / "t.csv").write_text("path,start_seconds,end_seconds\na.wav,1,900\na.wav,0,2\n")
    predict = ["predict", model, tmp_path / "t.csv", "--window-seconds", 1, "--format", "csv"]
    assert run(*predict, "--store", world / "store", "--workers", 1) == 0
    printed = capsys.readouterr()
    said = pd.read_csv(io.StringIO(printed.out), keep_default_na=False)
    assert list(said["id"]) == ["a@1", "a@0@0", "a@0@1"]
    assert list(said["problem"] != "") == [True, False, False]
    assert "the segment ends beyond the end of the file" in said["problem"][0]
    assert "1 of 3 recordings get no emotion" in printed.err


def test_tables_of_spreadsheets(
    model: Path, world: Path, table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"{world / path};0,1;{path}, so\n" for path in table["path"][:2])
    for name, separator in (("a.csv", ";"), ("b.csv", "\t"), ("b.txt", "\t")):
        (tmp_path / name).write_text(f"\ufeffpath;start_seconds;text\n{rows}".replace(";", separator))
        capsys.readouterr()
        assert run("predict", model, tmp_path / name, "--format", "csv") == 0
        assert list(pd.read_csv(io.StringIO(capsys.readouterr().out))["start_seconds"]) == [0.1, 0.1]
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    said = "t.xlsx is a spreadsheet. Tables are .csv, .tsv or .parquet: open it, choose 'Save as'"
    fails(capsys, 2, said, "predict", model, tmp_path / "t.xlsx")
    fails(capsys, 2, said, "fit", tmp_path / "t.xlsx", "--out", tmp_path / "m")
    (tmp_path / "notes.txt").write_text("Dear all\n")
    fails(capsys, 2, "no rows", "predict", model, tmp_path / "notes.txt")
    fails(capsys, 2, "Name it x.csv", "suggest", model, world / "t.csv", "--out", tmp_path / "x.xlsx")


def test_a_recording_that_stands_in_two_rows_is_named(
    world: Path, model: Path, table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = world / table["path"][0]
    (tmp_path / "t.csv").write_text(f"path,emotion\n{path},anger\n{world / table['path'][1]},joy\n{path},joy\n")
    said = f"The recording {path} stands in rows 2 and 4. Keep one row of each recording;"
    fails(capsys, 2, said, "predict", model, tmp_path / "t.csv")
    fails(capsys, 2, said, "fit", tmp_path / "t.csv", "--out", tmp_path / "m")


def test_check_doubts_what_fit_would_learn(
    world: Path, table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--store", world / "store", "--workers", 1]
    assert run("check", write(table.assign(split=["test", *["train"] * 71]), world, "parts.csv"), *common) == 0
    printed = capsys.readouterr()
    assert "1 recording of the part 'test' (column 'split'): `fit` learns" in printed.err
    assert "by gender: female 36, male 36" in printed.out
    odd = table.assign(mode="inductive", confidence="0.5", p_anger="0.5")
    odd.loc[odd["emotion"] == "anger", "emotion"] = "undecided"
    odd.loc[odd["emotion"] == "sadness", "emotion"] = "unknown"
    odd.loc[0, "gender"] = "Male" if odd.loc[0, "gender"] == "female" else "Female"
    assert run("check", write(odd, world, "odd.csv"), *common) == 1
    printed = capsys.readouterr()
    assert "There are problems" in printed.out
    assert "'unknown' is learnt as an emotion like any other (18 labels)." in printed.err
    assert """or say so: --label-map '{"unknown": ""}'""" in printed.err
    assert "undecided" not in printed.err, "fit takes it for no label"
    assert "The labels look like answers of `predict`" in printed.err
    assert "The speaker 'S01' has the genders" in printed.err
    assert "The genders" in printed.err


def test_the_command_that_a_doubt_names_is_taken(
    world: Path, table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = table.assign(path=[str(world / path) for path in table["path"]])
    odd.loc[odd["emotion"] == "anger", "emotion"] = ["unknown", "NaN", *["anger"] * 15, "Anger"]
    odd.loc[odd["emotion"] == "sadness", "emotion"] = ["Sadness", *["sadness"] * 17]
    fit = ["fit", write(odd, tmp_path, "odd.csv"), "--store", world / "store", "--views", "mfcc", "--workers", 1]
    assert run(*fit, "--out", tmp_path / "m") == 0
    (note,) = (line for line in capsys.readouterr().err.splitlines() if "both this and the renaming" in line)
    assert run(*fit, "--out", tmp_path / "m", *shlex.split(note[note.index("--label-map") :])) == 0
    printed = capsys.readouterr()
    assert "(anger 16, happiness 18, neutral 18, sadness 18)" in printed.out
    assert "like any other" not in printed.err


def test_the_mode_of_each_stands_where_they_differ(
    model: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(world / "t.csv", dtype=str)
    known = world / table["path"][0]
    samples, rate = soundfile.read(known)
    soundfile.write(tmp_path / "new.wav", 0.9 * samples, rate)
    assert run("predict", model, known, tmp_path / "new.wav") == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert "mode" in head
    assert rows[0].rstrip().endswith("transductive, alone")
    assert rows[1].rstrip().endswith("inductive")
    assert run("predict", model, known) == 0
    assert "mode" not in capsys.readouterr().out.splitlines()[0]


def test_predict_refuses_what_it_can_not_judge(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, table: pd.DataFrame, world: Path
) -> None:
    strange = write(table.assign(emotion="boredom"), world, "strange.csv")
    assert run("predict", model, strange) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert (
        f"The table has labels that {model} does not know: boredom. These recordings too get one of what it knows:"
        in said
    )
    (tmp_path / "text.wav").write_text("no audio")
    assert run("predict", model, tmp_path / "text.wav") == 1
    assert "no audio that can be read" in capsys.readouterr().err
    assert run("predict", tmp_path, tmp_path / "text.wav") == 1
    assert "holds no recogniser" in capsys.readouterr().err


def test_suggest_orders_what_has_no_label(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, table: pd.DataFrame, world: Path
) -> None:
    some = write(table.assign(emotion=table["emotion"].where(table.index % 4 == 0, "")), world, "some.csv")
    common = ["--store", world / "store", "--workers", 1]
    assert (
        run("suggest", model, some, "--budget", 12, "--strategy", "mixture", "--out", tmp_path / "next.csv", *common)
        == 0
    )
    chosen = read_table(tmp_path / "next.csv")
    assert len(chosen) == 12
    assert set(chosen["emotion"]) == {""}
    assert set(chosen["speaker"]) == set(table["speaker"]), "the mixture spreads over speakers"
    assert set(chosen["guess"]) <= set(table["emotion"])
    assert all(Path(path).is_file() for path in chosen["path"])
    capsys.readouterr()
    assert run("suggest", model, some, "--budget", 3, "--strategy", "margin", *common) == 0
    assert len(capsys.readouterr().out.strip().splitlines()) == 4
    gone = write(
        read_table(some).assign(path=lambda t: t["path"].where(t.index % 4 != 1, "gone.wav")), world, "gone.csv"
    )
    assert run("suggest", model, gone, "--budget", 1000) == 0
    printed = capsys.readouterr()
    n_gone, n_unlabelled = sum(table.index % 4 == 1), sum(table.index % 4 > 0)
    assert len(printed.out.strip().splitlines()) == 1 + n_unlabelled - n_gone
    assert f"{n_gone} recordings that can't be used passed over" in printed.err
    assert run("suggest", model, world / "t.csv", *common) == 2
    assert "Every recording has a label" in capsys.readouterr().err
    assert run("suggest", model, some, "--budget", 0, *common) == 2


def test_fit_refuses_what_can_not_be_learnt(
    table: pd.DataFrame, world: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    common = ["--store", world / "store", "--views", "mfcc", "--workers", 1, "--out", tmp_path / "m"]
    one = write(table.assign(emotion="anger"), world, "one.csv")
    assert run("fit", one, *common) == 2
    assert "at least 2 emotions" in capsys.readouterr().err
    nobody = write(table.drop(columns=["speaker", "group"], errors="ignore"), world, "nobody.csv")
    assert run("fit", nobody, *common) == 0
    printed = capsys.readouterr()
    assert "Expected" not in printed.out
    assert "--allow-speaker-overlap" in printed.err
    assert run("fit", nobody, *common, "--allow-speaker-overlap") == 0
    shown = capsys.readouterr().out
    assert "SPEAKER OVERLAP" in shown
    assert "of unknown speakers, 72 of them labelled" in shown
    assert "(bootstrap over files)" in shown
    ratings = write(table.assign(emotion=[f"{1 + row / 8}" for row in range(len(table))]), world, "ratings.csv")
    fails(capsys, 2, "got ratings: 63 of 72 labels", "fit", ratings, *common)


def test_one_of_something_is_no_plural(
    table: pd.DataFrame, world: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    one = table.assign(emotion=table["emotion"].where(table["speaker"] == "S01", ""))
    one.loc[one.index[0], "emotion"] = "unknown"
    common = ["--store", world / "store", "--views", "mfcc", "--workers", 1, "--out", tmp_path / "m"]
    assert run("fit", write(one, world, "one.csv"), *common) == 0
    printed = capsys.readouterr()
    assert "unknown 1), of 1 speaker\n" in printed.out
    assert "'unknown' is learnt as an emotion like any other (1 label)." in printed.err
    assert "Labels from 1 speaker:" in printed.err


def test_names_with_square_brackets_are_shown_as_they_are(
    capsys: pytest.CaptureFixture[str], world: Path, tmp_path: Path
) -> None:
    table = read_table(world / "t.csv").assign(emotion="[/b]", group="[red]g[/red]")
    write_table(table, tmp_path / "t.csv")
    run("check", tmp_path / "t.csv", "--store", world / "store", "--workers", 1)
    shown = capsys.readouterr().out
    assert f"[/b] {len(table)}" in shown
    assert f"[red]g[/red] {len(table)}" in shown


def test_nothing_of_the_user_s_is_overwritten(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, world: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "README.md").write_text("mine")
    fails(capsys, 2, "holds no recogniser", "fit", world / "t.csv", "--out", own, "--store", world / "store")
    assert (own / "README.md").read_text() == "mine"
    recording = tmp_path / "a.wav"
    tone(recording)
    before = recording.read_bytes()
    fails(capsys, 2, "name another file", "predict", model, recording, "--out", recording)
    assert recording.read_bytes() == before
    fails(capsys, 2, "hop", "predict", model, recording, "--window-seconds", 2, "--hop-seconds", 0)
