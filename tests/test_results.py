"""The results database: its schema, whole transactions, and a tidy table that says what the jobs said."""

from __future__ import annotations

import dataclasses
import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from emoviews.configs import FineTuningConfig, LabelBudget, PretrainingConfig
from emoviews.errors import EmoViewsError, UsageError
from emoviews.jobs import BaselineJob, FineTuningJob, JobResult, Predictions, PretrainingJob, ProbeJob
from emoviews.results import FILE, SCHEMA_VERSION, TIDY_COLUMNS, Results

COMMON = ("corpus", "table", "A", "abc123", "default", 2**62 + 1, "zscore")
VIEW = ("mfcc", "0123456789ab")
PRETRAINING = PretrainingJob(*COMMON, (("egemaps", "f" * 12), VIEW), PretrainingConfig(temperature=0.1), "target")
TUNED = FineTuningJob(*COMMON, VIEW, FineTuningConfig(), PRETRAINING.id, True, LabelBudget(0.05), "budget", 3)
SCRATCH = FineTuningJob(*COMMON, VIEW, FineTuningConfig())
BASELINE = BaselineJob(*COMMON, VIEW, "linear_svm", LabelBudget(None, 2))
PROBE = ProbeJob(*COMMON, VIEW, PRETRAINING.id)


def classified(job: Any, uar: float = 0.5, **changes: Any) -> JobResult:
    scores = [(s, n, v) for s in ("validation", "test") for n, v in (("uar", uar), ("wa", 0.25), ("n", 2.0))]
    metrics = [("train", "n_labels", 9.0), ("train", "epochs_run", 40.0), ("train", "best_epoch", 10.0), *scores]
    probabilities = np.array([[0.2, 0.8], [1 / 3, 2 / 3]], dtype=np.float32)
    said = Predictions(("u1", "u2"), ("sad", "angry"), ("sad", "sad"), ("angry", "sad"), probabilities)
    curves = ((1, "train_loss", 1.5), (2, "train_loss", 0.5))
    return JobResult(job, 1.5, "cpu", metrics=tuple(metrics), curves=curves, predictions=said, **changes)


ALL = (
    JobResult(
        PRETRAINING,
        2.0,
        "cpu",
        metrics=(("train", "n", 7.0), ("train", "epochs_run", 31.0), ("test", "retrieval_chance", 0.5)),
    ),
    classified(TUNED, 0.75),
    classified(SCRATCH),
    dataclasses.replace(classified(BASELINE), metrics=(("train", "regularisation", 0.1), ("test", "uar", 0.4))),
    JobResult(PROBE, 0.5, "cpu", metrics=(("test", "probe_emotion_uar", 0.3),)),
)


@pytest.fixture
def results(tmp_path: Path) -> Any:
    with Results(tmp_path / "run") as database:
        yield database


@pytest.fixture
def full(results: Results) -> Results:
    results.plan("sparse", [result.job for result in ALL[:4]])
    results.plan("representations", [PRETRAINING, PROBE])
    results.add(ALL)
    return results


def rows(results: Results, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(f"file:{results.path}?mode=ro", uri=True) as other:  # as another program would read it
        found = other.execute(query).fetchall()
    other.close()
    return found


def test_the_schema_is_the_contract(results: Results) -> None:
    def columns(table: str) -> list[str]:
        return [row[1] for row in rows(results, f"PRAGMA table_info({table})")]

    assert columns("jobs") == ["job_id", "description", "status", "error", "seconds", "device", "versions"]
    assert columns("metrics") == ["job_id", "split", "name", "value"]
    assert columns("curves") == ["job_id", "epoch", "name", "value"]
    assert columns("predictions") == ["job_id", "id", "y_true", "y_pred", "probabilities"]
    assert rows(results, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    assert rows(results, "PRAGMA journal_mode") == [("delete",)]


def test_what_is_added_is_there(full: Results) -> None:
    (job,) = rows(full, f"SELECT * FROM jobs WHERE job_id = '{TUNED.id}'")
    assert json.loads(job[1]) == json.loads(json.dumps(TUNED.description))
    assert job[2:6] == ("done", "", 1.5, "cpu")
    assert {"emoviews", "torch", "python"} <= set(json.loads(job[6]))
    assert rows(full, f"SELECT epoch, value FROM curves WHERE job_id = '{TUNED.id}' ORDER BY epoch") == [
        (1, 1.5),
        (2, 0.5),
    ]
    said = rows(full, f"SELECT id, y_true, y_pred, probabilities FROM predictions WHERE job_id = '{TUNED.id}'")
    assert [row[:3] for row in said] == [("u1", "sad", "sad"), ("u2", "angry", "sad")]
    assert json.loads(said[0][3]) == pytest.approx({"angry": 0.2, "sad": 0.8}, abs=1e-7)
    assert full.finished() == {result.job.id for result in ALL}


def test_a_folder_is_for_one_configuration(results: Results) -> None:
    results.claim({})  # which claims nothing
    results.claim({"table": "a", "seed": 1})
    results.claim({"table": "a", "seed": 1})
    with pytest.raises(
        UsageError, match=r"another configuration: [0-9a-f]{12}, this one is [0-9a-f]{12}.*differ in seed"
    ):
        results.claim({"table": "a", "seed": 2})
    with pytest.raises(UsageError, match=r"holds a run of `emoviews reproduce` \([0-9a-f]{12}\)"):
        results.claim({})


def test_a_failed_job_is_not_finished_and_adding_again_replaces(results: Results) -> None:
    results.add([JobResult(TUNED, 0.1, "cpu", error="no such thing")])
    assert results.finished() == set()
    assert rows(results, "SELECT status, error FROM jobs") == [("failed", "no such thing")]
    assert results.tidy().empty
    results.add([classified(TUNED)])
    assert results.finished() == {TUNED.id}
    shorter = dataclasses.replace(classified(TUNED, 0.9), curves=(), predictions=None)
    results.add([shorter])
    assert rows(results, "SELECT value FROM metrics WHERE name = 'uar' AND split = 'test'") == [(0.9,)]
    assert rows(results, "SELECT (SELECT count(*) FROM curves), (SELECT count(*) FROM predictions)") == [(0, 0)]


def test_a_batch_is_saved_whole_or_not_at_all(results: Results) -> None:
    results.add([classified(SCRATCH)])
    before = rows(results, "SELECT * FROM metrics")
    twice = dataclasses.replace(classified(TUNED), metrics=(("test", "uar", 0.1), ("test", "uar", 0.2)))
    with pytest.raises(EmoViewsError, match=r"can't be written: UNIQUE .* is kept"):
        results.add([classified(SCRATCH, 0.9), classified(BASELINE), twice])

    def broken() -> Any:
        yield classified(BASELINE)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        results.add(broken())
    assert rows(results, "SELECT * FROM metrics") == before
    assert results.finished() == {SCRATCH.id}
    results.add([classified(BASELINE)])  # and the connection still works
    assert results.finished() == {SCRATCH.id, BASELINE.id}


def test_a_kill_loses_nothing_that_was_saved(tmp_path: Path) -> None:
    code = f"""
import os, signal, sys
from pathlib import Path
from emoviews.jobs import JobResult, ProbeJob
from emoviews.results import Results

def job(n):
    return JobResult(ProbeJob(*{COMMON[:5]!r}, n, "zscore", {VIEW!r}), 0.0, "cpu", metrics=(("test", "uar", n / 10),))

def last():
    yield job(3)
    os.kill(os.getpid(), signal.SIGKILL)

results = Results(Path({str(tmp_path)!r}))
results.add([job(0), job(1)])
results.add([job(2)])
results.add(last())
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    with Results(tmp_path) as results:
        assert sorted(results.tidy()["uar"]) == [0.0, 0.1, 0.2]
        assert sorted(results.tidy()["seed"]) == [0, 1, 2]


def test_the_tidy_table_says_what_the_jobs_said(full: Results) -> None:
    tidy = full.tidy()
    assert list(tidy.columns[: len(TIDY_COLUMNS)]) == list(TIDY_COLUMNS)
    test = tidy[tidy["split"] == "test"].set_index(["experiment", "job_id"])
    tuned = test.loc[("sparse", TUNED.id)]
    expected = {
        "kind": "finetuning",
        "method": "finetuning",
        "corpus": "corpus",
        "view": "mfcc",
        "init": "pretrained",
        "frozen": True,
        "objective": "pairwise_nt_xent",  # of the pre-training it starts from, and so are the next two
        "negatives": "both",
        "temperature": 0.1,
        "pretraining_data": "target",
        "validation": "budget",
        "label_fraction": 0.05,
        "n_labels": 9.0,
        "fold": "A",
        "repeat": 3.0,
        "seed": 2**62 + 1,  # would not survive as a float
        "n": 2.0,
        "uar": 0.75,
        "wa": 0.25,
        "split_hash": "abc123",
        "preset": "default",
        "scaling": "zscore",
        "epochs_run": 40.0,
        "best_epoch": 10.0,
    }
    assert {name: tuned[name] for name in expected} == expected
    assert np.isnan(tuned["labels_per_class"])
    scratch = test.loc[("sparse", SCRATCH.id)]
    assert (scratch["init"], scratch["frozen"], scratch["label_fraction"]) == ("random", False, 1.0)
    assert np.isnan(scratch["temperature"])
    assert pd.isna(scratch["objective"])
    assert pd.isna(scratch["pretraining_data"])
    baseline = test.loc[("sparse", BASELINE.id)]
    assert (baseline["method"], baseline["labels_per_class"], baseline["regularisation"]) == ("linear_svm", 2.0, 0.1)
    assert np.isnan(baseline["label_fraction"])
    assert pd.isna(baseline["init"])
    pretraining = test.loc[("representations", PRETRAINING.id)]
    assert (pretraining["view"], pretraining["epochs_run"], pretraining["temperature"]) == ("egemaps+mfcc", 31.0, 0.1)
    assert test.loc[("representations", PROBE.id)]["probe_emotion_uar"] == 0.3


def test_its_rows_do_not_depend_on_other_jobs(tmp_path: Path) -> None:
    whole = pd.DataFrame()
    for number, result in enumerate(ALL):
        with Results(tmp_path / str(number)) as alone:
            alone.add([ALL[0], result] if result.job in (TUNED, PROBE) else [result])
            mine = alone.tidy()
            whole = pd.concat([whole, mine[mine["job_id"] == result.job.id]])
    with Results(tmp_path / "all") as together:
        together.add(ALL)
        columns = ["job_id", "split", "uar", "n", "n_labels", "epochs_run", "temperature", "probe_emotion_uar"]
        a, b = (t[columns].sort_values(["job_id", "split"], ignore_index=True) for t in (together.tidy(), whole))
    pd.testing.assert_frame_equal(a, b)
    kinds = dict(zip(zip(b["job_id"], b["split"], strict=True), b["n"], strict=True))
    assert kinds[(PRETRAINING.id, "train")] == 7.0
    assert (TUNED.id, "train") not in kinds, "a row without anything of its own"


def test_an_experiment_is_what_was_planned_last(full: Results) -> None:
    assert set(full.tidy("representations")["job_id"]) == {PRETRAINING.id, PROBE.id}
    assert set(full.tidy("sparse")["job_id"]) == {result.job.id for result in ALL[:4]}
    full.plan("sparse", [SCRATCH, SCRATCH])
    assert set(full.tidy("sparse")["job_id"]) == {SCRATCH.id}
    tidy = full.tidy()
    assert set(tidy["job_id"]) == {result.job.id for result in ALL}, "finished jobs are kept"
    assert set(tidy.loc[tidy["job_id"] == TUNED.id, "experiment"]) == {""}
    assert full.tidy("nothing").empty


def test_exports_equal_each_other_and_the_database(full: Results) -> None:
    parquet, csv = full.export()
    a, b, tidy = pd.read_parquet(parquet), pd.read_csv(csv), full.tidy()
    assert list(a.columns) == list(b.columns) == list(tidy.columns)
    assert a["seed"].tolist() == b["seed"].tolist() == tidy["seed"].tolist() == [2**62 + 1] * len(tidy)
    numbers = [name for name in tidy.columns if pd.api.types.is_float_dtype(tidy[name])]
    assert {"uar", "temperature", "labels_per_class", "repeat"} <= set(numbers)
    for name in numbers:
        np.testing.assert_allclose(a[name], tidy[name], rtol=0)
        np.testing.assert_allclose(b[name].astype(float), tidy[name], rtol=1e-15)
    for name in set(tidy.columns) - set(numbers):
        expected = [None if pd.isna(value) else str(value) for value in tidy[name]]
        assert [None if pd.isna(value) else str(value) for value in a[name]] == expected, name
        found = b[name].fillna("") if name == "experiment" else b[name]
        assert [None if pd.isna(value) else str(value) for value in found] == expected, name
    stored = dict(rows(full, "SELECT job_id, value FROM metrics WHERE name = 'uar' AND split = 'test'"))
    test = b[(b["split"] == "test") & b["uar"].notna()]
    assert dict(zip(test["job_id"], test["uar"], strict=True)) == stored
    assert sorted(p.name for p in full.path.parent.iterdir()) == ["results.csv", "results.parquet", FILE]


def test_columns_without_any_value_are_numbers_too(results: Results) -> None:
    results.add([classified(SCRATCH)])
    parquet, _ = results.export()
    assert pd.read_parquet(parquet)["temperature"].dtype == np.float64
    assert Results(results.path.parent / "empty").tidy().columns.tolist() == list(TIDY_COLUMNS)


def test_who_speaks_and_what_was_run(results: Results, toy: Any) -> None:
    table = toy.table.copy()
    table.loc[0, ["speaker", "group"]] = ""
    table.loc[1, "speaker"] = ""
    results.add_utterances(table.assign(group=table["group"].replace("A", "session 1")), range(len(table)))
    speakers = results.speakers()
    first, second, third = toy.table["id"][:3]
    # Who is unknown counts as the group's only speaker, and without a group as somebody of their own.
    assert (speakers[first], speakers[second], speakers[third]) == (first, "session 1", "A")
    assert rows(results, f"SELECT duration_seconds, emotion FROM utterances WHERE id = '{second}'") == [(1.0, "anger")]
    results.describe(labels=["a", "b"], folds={"A": "1"})
    results.describe(labels=["c"])
    assert results.description() == {"labels": ["c"], "folds": {"A": "1"}}


def test_opening_again_changes_nothing(full: Results) -> None:
    before = full.path.read_bytes()
    with Results(full.path.parent) as other:
        assert other.finished() == full.finished()
    assert full.path.read_bytes() == before


def test_what_is_no_results_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 100)
    with pytest.raises(EmoViewsError, match=r"can't be used as a results database: file is not a database"):
        Results(tmp_path)
    assert (tmp_path / FILE).read_bytes() == b"no database" * 100
    for number, statement in enumerate(("PRAGMA user_version = 7", "CREATE TABLE jobs (mine TEXT)")):
        folder = tmp_path / str(number)
        folder.mkdir()
        with sqlite3.connect(folder / FILE) as other:
            other.execute(statement)
        other.close()
        version = 7 if number == 0 else 0
        with pytest.raises(
            EmoViewsError, match=f"has schema version {version}; this version of EmoViews uses {SCHEMA_VERSION}"
        ):
            Results(folder)
    (tmp_path / "file").touch()
    with pytest.raises(EmoViewsError, match="can't be used as a results database"):
        Results(tmp_path / "file")


def test_a_database_that_somebody_else_writes_to(full: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    full.frame("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(full.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(EmoViewsError, match=r"can't be written: database is locked\. What was saved before is kept"):
        full.add([classified(TUNED)])
    other.execute("ROLLBACK")
    other.close()
    full.add([classified(TUNED)])
