"""The paper's whole protocol on a tiny synthetic corpus: rows, page, and what a kill leaves."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score

from emoviews import cli
from emoviews.experiments import EXPERIMENTS

VIEWS = "mel_spectrogram,mfcc"
QUICK = ["--pretraining.epochs", 2, "--pretraining.batch-size", 16, "--finetuning.epochs", 2, "--repeats", 1]
FEW = ["--fractions", "0.25,1", "--per-class", "2", "--folds", 3, "--label-map.happiness", ""]


def run(*arguments: object) -> int:
    try:
        cli.main([str(a) for a in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny corpus with its views."""
    folder = tmp_path_factory.mktemp("protocol")
    assert run("corpus", "synthetic", folder / "audio", "--out", folder / "t.csv", "--preset", "tiny") == 0
    # A label that is dropped is what pre-training on other emotions needs.
    table = pd.read_csv(folder / "t.csv", dtype=str, keep_default_na=False)
    assert set(table["emotion"]) == {"anger", "happiness", "neutral", "sadness"}
    assert run("extract", folder / "t.csv", "--store", folder / "store", "--views", VIEWS, "--workers", 1) == 0
    return folder


def command(world: Path, out: Path, *more: object) -> list[object]:
    return [
        "reproduce",
        world / "t.csv",
        "--store",
        world / "store",
        "--views",
        VIEWS,
        "--out",
        out,
        *QUICK,
        *FEW,
        *more,
    ]


@pytest.fixture(scope="module")
def undisturbed(world: Path) -> Path:
    """A run that nothing stopped."""
    assert run(*command(world, world / "run", "--workers", 1)) == 0
    return world / "run"


def rows(folder: Path) -> dict[str, pd.DataFrame]:
    """Everything in the database but times, in a fixed order."""
    with sqlite3.connect(folder / "results.sqlite") as database:
        found = {
            name: pd.read_sql_query(f"SELECT * FROM {name}", database)
            for name in ("jobs", "metrics", "curves", "predictions", "points", "plans")
        }
    found["jobs"] = found["jobs"].drop(columns="seconds")
    return {name: f.sort_values(list(f.columns), ignore_index=True) for name, f in found.items()}


def test_every_experiment_of_the_paper_is_planned_run_and_shown(undisturbed: Path) -> None:
    found = rows(undisturbed)
    failed = found["jobs"][found["jobs"]["status"] != "done"]
    # Alignment needs more utterances than a tiny corpus has, and says so; nothing else fails.
    assert set(failed["error"].str.contains("PWCCA")) <= {True}
    papers = {name for name in EXPERIMENTS.names() if EXPERIMENTS.load(name).source}
    assert set(found["plans"]["experiment"]) == papers - {"parameters"}, "others are run where they are named"
    planned = found["plans"].merge(found["jobs"])
    compared = planned[(planned["experiment"] == "pretraining-data") & (planned["status"] == "done")]
    trained_on = {
        (d["data"], d["size"]) for d in map(json.loads, compared["description"]) if d["kind"] == "pretraining"
    }
    assert {data for data, _ in trained_on} == {"all", "target", "out_of_distribution"}
    assert {size is None for _, size in trained_on} == {True, False}, "at their own sizes and at equal ones"
    page = (undisturbed / "report.html").read_text()
    for name in papers:
        assert EXPERIMENTS.load(name).title in page
    for kind in ("csv", "md", "tex"):
        assert list((undisturbed / "tables").glob(f"*.{kind}"))
    for kind in ("svg", "png"):
        assert list((undisturbed / "figures").glob(f"*.{kind}"))


def test_rows_follow_from_the_saved_predictions(undisturbed: Path) -> None:
    tidy = pd.read_csv(undisturbed / "results.csv")
    test = tidy[(tidy["split"] == "test") & tidy["uar"].notna()].drop_duplicates("job_id").set_index("job_id")
    predictions = rows(undisturbed)["predictions"].groupby("job_id")
    assert set(test.index) == set(predictions.groups)
    for job, given in predictions:
        assert test.loc[job, "uar"] == pytest.approx(balanced_accuracy_score(given["y_true"], given["y_pred"]))
        assert test.loc[job, "wa"] == pytest.approx((given["y_true"] == given["y_pred"]).mean())


def test_a_finished_run_is_not_run_again(world: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (undisturbed / "results.sqlite").stat().st_size, rows(undisturbed)
    with sqlite3.connect(undisturbed / "results.sqlite") as database:
        seconds = database.execute("SELECT job_id, seconds FROM jobs WHERE status = 'done' ORDER BY 1").fetchall()
    run(*command(world, undisturbed, "--workers", 1))
    with sqlite3.connect(undisturbed / "results.sqlite") as database:
        again = database.execute("SELECT job_id, seconds FROM jobs WHERE status = 'done' ORDER BY 1").fetchall()
    assert again == seconds
    for name, frame in rows(undisturbed).items():
        pd.testing.assert_frame_equal(frame, before[1][name])


@pytest.mark.parametrize("dry", [True, False])
def test_another_configuration_is_refused_before_any_work(
    world: Path, undisturbed: Path, dry: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*command(world, undisturbed, "--seed", 1, *["--dry-run"] * dry)) == 2
    said = capsys.readouterr()
    assert "They differ in seed" in said.err.replace("\n", " ")
    assert "Estimated time" not in said.out
    other = world / "renamed.csv"
    pd.read_csv(world / "t.csv", dtype=str, keep_default_na=False).drop(columns="corpus").to_csv(other, index=False)
    arguments = command(world, undisturbed, *["--dry-run"] * dry)
    assert run(arguments[0], other, *arguments[2:]) == 2
    assert "They differ in corpus" in capsys.readouterr().err.replace("\n", " ")


def test_lists_that_were_emptied_stay_empty(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["reproduce", world / "t.csv", "--store", world / "store", "--out", tmp_path / "run", "--dry-run"]
    chosen = ["--views", VIEWS, "--experiments", "sparse", "--fractions", "0.2", "--per-class", ",", "--repeats", 1]
    assert run(*common, *chosen, "--folds", 3, "--fold", "S01+S04") == 0
    said = capsys.readouterr()
    printed = "\n".join(line for line in said.err.splitlines() if not line.startswith(("#", "Warning")))
    assert "per_class: []" in printed
    (tmp_path / "c.yaml").write_text(printed)
    assert run(*common, "--config", tmp_path / "c.yaml") == 0
    assert capsys.readouterr().out.splitlines()[0] == said.out.splitlines()[0]


def test_other_folds_are_another_run(world: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command(world, undisturbed, "--fold", "S01+S04")) == 2
    assert "They differ in folds" in capsys.readouterr().err.replace("\n", " ")


def test_the_printed_configuration_gives_the_same_jobs(
    world: Path, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*command(world, undisturbed, "--dry-run")) == 0
    said = capsys.readouterr()
    counted = [line for line in said.out.splitlines() if "jobs" in line]
    assert "0 different jobs" not in counted[-1]
    (tmp_path / "c.yaml").write_text(
        "\n".join(line for line in said.err.splitlines() if not line.startswith(("#", "Warning")))
    )
    assert run("reproduce", world / "t.csv", "--out", undisturbed, "--config", tmp_path / "c.yaml", "--dry-run") == 0
    again = capsys.readouterr().out
    assert [line for line in again.splitlines() if "jobs" in line] == counted
    assert "Estimated" not in again, "every job is finished"


def test_an_experiment_without_jobs_has_its_page(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*command(world, tmp_path / "run", "--experiments", "parameters")) == 0
    assert "parameters: 0 jobs (it is counted, not trained)" in capsys.readouterr().out
    assert "the exact sum is 94.487" in (tmp_path / "run" / "report.html").read_text()


def test_how_long_it_took_is_kept(undisturbed: Path) -> None:
    with sqlite3.connect(undisturbed / "results.sqlite") as database:
        described = {name: json.loads(value) for name, value in database.execute("SELECT name, value FROM run")}
        jobs, seconds = database.execute("SELECT COUNT(*), SUM(seconds) FROM jobs").fetchone()
    (session,) = described["sessions"]
    assert (session["jobs"], session["workers"]) == (jobs, 1)
    assert session["seconds"] >= 0.9 * seconds  # one process: the clock holds all of it
    assert datetime.fromisoformat(session["started"]).tzinfo is not None
    assert "core" in described["hardware"]


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill", "ctrl-c"])
def test_a_stopped_run_ends_with_the_same_rows(world: Path, undisturbed: Path, tmp_path: Path, how: int) -> None:
    out = tmp_path / "run"
    arguments = [str(a) for a in command(world, out, "--workers", 1)]
    # It waits for the signal once a batch of classifiers is saved, so that it is never done before this process is on again.
    code = (
        "import signal, sys, time; from emoviews import cli, results; add = results.Results.add\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # what a shell starts in the background ignores it
        "def wait(self, batch):\n"
        "    add(self, batch)\n"
        "    if len(self.frame('SELECT job_id FROM predictions LIMIT 1')): time.sleep(60)\n"
        "results.Results.add = wait; cli.main(sys.argv[1:])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    # Stopped once classifiers have been trained, of which many are left.
    while process.poll() is None and count(out, "predictions") == 0:
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()[1]
    os.kill(process.pid, how)
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    stopped, whole = rows(out), rows(undisturbed)
    assert 0 < len(stopped["jobs"]) < len(whole["jobs"])
    run(*arguments)
    with sqlite3.connect(out / "results.sqlite") as database:
        sessions = json.loads(database.execute("SELECT value FROM run WHERE name = 'sessions'").fetchone()[0])
    assert [s["jobs"] for s in sessions] == [len(stopped["jobs"]), len(whole["jobs"]) - len(stopped["jobs"])]
    assert all(s["seconds"] > 0 for s in sessions)
    for name, frame in rows(out).items():
        pd.testing.assert_frame_equal(frame, whole[name])


def count(folder: Path, table: str) -> int:
    """Rows so far; none before there is a database."""
    try:
        with sqlite3.connect(f"file:{folder / 'results.sqlite'}?mode=ro", uri=True, timeout=0) as database:
            return int(database.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
