"""Tuned against frozen encoders: which jobs there are, and tables computed anew from saved predictions."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn.metrics import accuracy_score, recall_score

from emoviews.configs import FineTuningConfig, LabelBudget, PretrainingConfig
from emoviews.executors import run_planned
from emoviews.experiments import EXPERIMENTS, Plan, plan_for
from emoviews.experiments.frozen import METHODS, SCORES, SIMCLR_FROZEN, SIMCLR_TUNED, classifiers
from emoviews.jobs import BaselineJob, FineTuningJob, JobResult, Predictions, PretrainingJob
from emoviews.results import Results

PAPER_TASK: Any = {"labels": ["angry", "happy", "neutral", "sad"], "folds": dict.fromkeys(map(str, range(5)), "")}
FROZEN = EXPERIMENTS.load("frozen")
FOLDS = {fold: fold * 12 for fold in "ABC"}
VIEWS = {"mel_spectrogram": "a" * 12, "egemaps": "b" * 12}
PLAN = Plan("toy", "table", FOLDS, VIEWS, repeats=1)
LABELS = ("anger", "neutral", "sadness")


def test_which_jobs_there_are() -> None:
    jobs = FROZEN.jobs(PLAN)
    assert [job.id for job in jobs] == [job.id for job in FROZEN.jobs(dataclasses.replace(PLAN))]
    assert len({job.id for job in jobs}) == len(jobs) == 3 * (1 + 2 * (1 + 6 + 3))
    together = PLAN.pretrainings()
    for fold in FOLDS:
        starts = {"random": "random", together[fold].id: "pretrained", "": ""}
        for view in VIEWS.items():
            (simclr,) = [j for j in jobs if isinstance(j, PretrainingJob) and j.views == (view,) and j.fold == fold]
            assert simclr.seed == together[fold].seed, "both start from the same random encoder"
            assert simclr.config == PLAN.pretraining
            here = starts | {simclr.id: "simclr"}
            mine = [j for j in jobs if j.fold == fold and getattr(j, "view", None) == view]
            tuned = {(here[j.init], j.frozen) for j in mine if isinstance(j, FineTuningJob)}
            assert tuned == {
                (start, frozen) for start in ("random", "pretrained", "simclr") for frozen in (False, True)
            }
            linear = {(j.method, here[j.init]) for j in mine if isinstance(j, BaselineJob)}
            assert linear == {("logistic_regression", start) for start in ("random", "pretrained", "")}
            assert len(mine) == 9
            assert {(j.budget, j.validation, j.repeat) for j in mine} == {(LabelBudget(), "full", 0)}  # type: ignore[attr-defined]


def test_all_but_simclr_are_shared_with_the_experiment_on_few_labels() -> None:
    plan = dataclasses.replace(PLAN, fractions=(0.1, 1.0), repeats=2)
    sparse = {job.id for job in EXPERIMENTS.load("sparse").jobs(plan)}
    jobs = FROZEN.jobs(plan)
    alone = {job.id for job in jobs if isinstance(job, PretrainingJob) and len(job.views) == 1}
    own = [job for job in jobs if job.id not in sparse]
    assert len(own) == 3 * 2 * (1 + 2 * 2)
    assert all(job.id in alone or getattr(job, "init", "") in alone for job in own)


def test_other_seeds_are_trained_too_and_averaged_within_a_fold(toy: Any, tmp_path: Path) -> None:
    plan = dataclasses.replace(PLAN, repeats=10)
    jobs = FROZEN.jobs(plan)
    trained = [job for job in jobs if isinstance(job, FineTuningJob)]
    assert {job.repeat for job in trained} == {0, 1, 2}, "as many as SEEDS"
    assert len({job.seed for job in trained}) == 3 * 3
    linear = [(job.init, job.repeat) for job in jobs if isinstance(job, BaselineJob)]
    assert {repeat for init, repeat in linear if init != "random"} == {0}, "the same whatever the seed"
    assert {repeat for init, repeat in linear if init == "random"} == {0, 1, 2}
    scores = {(fold, repeat): random for (fold, repeat), random in zip(
        [(f, r) for f in FOLDS for r in range(3)], np.random.default_rng(0).random(9), strict=True)}  # fmt: skip
    chosen = [job for job in trained if job.init == "random" and not job.frozen and job.view[0] == "egemaps"]
    with Results(tmp_path) as database:
        database.plan("frozen", chosen)
        # One fold has a training less: it counts no less for that.
        chosen = [job for job in chosen if (job.fold, job.repeat) != ("A", 2)]
        database.describe(views={view: {"name": view} for view in VIEWS})
        database.add(
            JobResult(job, 1.0, "cpu", metrics=(("test", "uar", s), ("test", "wa", s), ("test", "n", 9.0)))
            for job in chosen
            for s in [scores[job.fold, job.repeat]]
        )
        (row,) = FROZEN.tables(database)[SCORES].to_dict("records")
    of_folds = [np.mean([scores[fold, r] for r in range(3) if (fold, r) != ("A", 2)]) for fold in FOLDS]
    assert row["uar"] == pytest.approx(np.mean(of_folds))
    assert row["uar_low"] == pytest.approx(
        max(0.0, scipy.stats.t.interval(0.95, 2, np.mean(of_folds), scipy.stats.sem(of_folds))[0])
    )
    assert (row["folds"], row["trainings"]) == (3, 3)


def fill(database: Results, toy: Any, corpus: str = "toy", temperature: float = 0.5, failed: str = "") -> None:
    """Made-up answers to every job, right with a chance of its own; folds of other sizes, one that lacks a class."""
    plan = dataclasses.replace(PLAN, pretraining=PretrainingConfig(temperature=temperature))
    table, jobs, found = toy.table, FROZEN.jobs(plan), []
    database.plan("frozen", jobs)
    database.describe(corpus=corpus, **PAPER_TASK, views={view: {"name": view} for view in VIEWS})
    for job in jobs:
        random = np.random.default_rng(int(job.id, 16) % 2**32)
        if job.id == failed:
            found.append(JobResult(job, 1.0, "cpu", error="it broke"))
            continue
        if isinstance(job, PretrainingJob):
            found.append(JobResult(job, 1.0, "cpu", metrics=(("test", "retrieval_chance", 0.1),)))
            continue
        rows = table[(table["group"] == job.fold) & ((job.fold != "B") | (table["emotion"] != "anger"))]
        rows = rows.iloc[: {"A": 24, "B": 16, "C": 19}[job.fold]]
        truth = rows["emotion"].to_numpy()
        said = np.where(random.random(len(rows)) < random.random(), truth, random.choice(LABELS, len(rows)))
        uar = float(np.mean([(said[truth == label] == label).mean() for label in sorted(set(truth))]))
        metrics = (("test", "uar", uar), ("test", "wa", float((said == truth).mean())), ("validation", "uar", 0.4))
        given = Predictions(tuple(rows["id"]), tuple(truth), tuple(said), LABELS, np.full((len(rows), 3), 1 / 3))
        found.append(JobResult(job, 1.0, "cpu", metrics=metrics, predictions=given))
    database.add(found)


@pytest.fixture(scope="module")
def results(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    with Results(tmp_path_factory.mktemp("frozen")) as database:
        fill(database, toy)
        yield database


def named(results: Results) -> dict[str, tuple[str, str]]:
    """Job → view and the method's name, from the saved descriptions alone."""
    rows = results.frame("SELECT job_id, description FROM jobs")
    jobs = {i: json.loads(text) for i, text in zip(rows["job_id"], rows["description"], strict=True)}
    found = {}
    for i, job in jobs.items():
        if job["kind"] == "pretraining":
            continue
        start = job["init"]
        if start in jobs:
            start = "simclr" if len(jobs[start]["views"]) == 1 else "pre-trained"
        if job["kind"] == "baseline":
            name = f"{start}, probe" if start else "logistic regression"
        else:
            name = f"{start}, {'frozen' if job['frozen'] else 'tuned'}".replace("simclr", "single-view SimCLR")
        found[i] = (job["view"][0], name.replace("random, tuned", "supervised from scratch"))
    return found


def uar_of(truth: pd.Series[str], said: pd.Series[str]) -> float:
    """UAR over the classes that occur, by scikit-learn."""
    return float(recall_score(truth, said, average="macro", labels=sorted(set(truth))))


def test_the_table_is_computed_again_from_the_saved_predictions(results: Results) -> None:
    table = FROZEN.tables(results)[SCORES]
    assert table["method"].tolist() == [*METHODS.values()] * 2
    assert table["view"].tolist() == ["egemaps"] * 9 + ["mel_spectrogram"] * 9
    jobs = named(results)
    said = results.frame("SELECT job_id, y_true, y_pred FROM predictions")
    for _, row in table.iterrows():
        mine = [i for i, name in jobs.items() if name == (row["view"], row["method"])]
        assert len(mine) == row["folds"] == 3
        by_fold = [g for _, g in said[said["job_id"].isin(mine)].groupby("job_id")]
        for measure, score in (("uar", uar_of), ("wa", accuracy_score)):
            values = [score(g["y_true"], g["y_pred"]) for g in by_fold]
            low, high = scipy.stats.t.interval(0.95, 2, np.mean(values), scipy.stats.sem(values))
            found = [row[measure], row[f"{measure}_low"], row[f"{measure}_high"]]
            assert found == pytest.approx([np.mean(values), max(0.0, low), min(1.0, high)])
    learnt = table["method"].str.contains("pre-trained|SimCLR")
    assert (table["temperature"][learnt] == 0.5).all()
    assert table["temperature"][~learnt].isna().all()
    assert "paper_uar" not in table.columns


def test_the_papers_numbers_stand_beside_those_of_its_corpus(toy: Any, tmp_path: Path) -> None:
    for temperature, tuned in ((0.5, 0.5337), (0.25, 0.5069), (0.3, np.nan)):
        with Results(tmp_path / str(temperature)) as database:
            fill(database, toy, "iemocap-4", temperature)
            table = FROZEN.tables(database)[SCORES].set_index(["view", "method"])["paper_uar"]
        expected = {"supervised from scratch": 0.5339, "pre-trained, tuned": tuned, SIMCLR_TUNED: np.nan}
        expected |= {SIMCLR_FROZEN: np.nan, "random, frozen": np.nan, "logistic regression": np.nan}
        for method, value in expected.items():
            assert table["mel_spectrogram", method] == pytest.approx(value, nan_ok=True)


def test_what_failed_is_missing(toy: Any, tmp_path: Path) -> None:
    job = next(j for j in FROZEN.jobs(PLAN) if isinstance(j, BaselineJob) and not j.init)
    with Results(tmp_path) as database:
        assert FROZEN.tables(database) == {}
        fill(database, toy, failed=job.id)
        folds = FROZEN.tables(database)[SCORES].set_index(["view", "method"])["folds"]
        assert len(classifiers(database)) == 3 * 2 * 9 - 1
    assert folds[job.view[0], "logistic regression"] == 2
    assert folds.sum() == 18 * 3 - 1


def test_the_whole_experiment_on_a_small_corpus(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)
    plan = plan_for(
        workspace,
        "toy",
        pretraining=PretrainingConfig(batch_size=16, epochs=1),
        finetuning=FineTuningConfig(batch_size=16, epochs=1),
    )
    jobs = FROZEN.jobs(dataclasses.replace(plan, folds={"A": plan.folds["A"]}))
    with Results(tmp_path) as results:
        results.plan("frozen", jobs)
        results.describe(corpus="toy")
        assert run_planned(jobs, workspace, results, workers=1) == []
        table = FROZEN.tables(results)[SCORES]
    assert table["method"].tolist() == [*METHODS.values()] * 2
    assert table[["uar", "wa"]].notna().all(axis=None)
    assert table[["uar_low", "wa_high"]].isna().all(axis=None), "one fold has no interval"
