"""The temperature: which jobs there are, the paper's ranks from its own scores, tables computed anew from saved rows."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterator
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
from emoviews.experiments.temperature import (
    FROZEN,
    PAPER,
    PAPER_RANKS,
    RANKS,
    ROWS,
    SCORES,
    SUPERVISED,
    TEMPERATURES,
    TUNED,
    is_of_paper_corpus,
)
from emoviews.jobs import FineTuningJob, JobResult, Predictions, PretrainingJob
from emoviews.results import Results
from emoviews.statistics import average_ranks

PAPER_TASK: Any = {"labels": ["angry", "happy", "neutral", "sad"], "folds": dict.fromkeys(map(str, range(5)), "")}
TEMPERATURE = EXPERIMENTS.load("temperature")
FOLDS = {fold: fold * 12 for fold in "ABC"}
VIEWS = {"mel_spectrogram": "a" * 12, "egemaps": "b" * 12}
PLAN = Plan("toy", "table", FOLDS, VIEWS, repeats=1)
LABELS = ("anger", "neutral", "sadness")


def test_every_fold_has_a_pretraining_a_temperature_that_differs_in_nothing_else() -> None:
    jobs = [job for job in TEMPERATURE.jobs(PLAN) if isinstance(job, PretrainingJob)]
    assert len(jobs) == 3 * 4
    for fold in FOLDS:
        mine = [job for job in jobs if job.fold == fold]
        assert tuple(job.config.temperature for job in mine) == TEMPERATURES == (0.1, 0.25, 0.5, 1.0)
        same = {dataclasses.replace(job, config=dataclasses.replace(job.config, temperature=9.0)) for job in mine}
        assert len(same) == 1


@pytest.mark.parametrize("own", [0.1, 0.5])
def test_the_plans_own_pretraining_and_the_trainings_with_all_labels_are_shared(own: float) -> None:
    plan = dataclasses.replace(
        PLAN, pretraining=PretrainingConfig(temperature=own), fractions=(0.1, 1.0), repeats=2, validation="full"
    )
    mine = {job.id: job for job in TEMPERATURE.jobs(plan)}
    assert {job.id for job in plan.pretrainings().values()} <= set(mine)
    sparse = {job.id for job in EXPERIMENTS.load("sparse").jobs(plan)}
    starts = {"random", *(job.id for job in plan.pretrainings().values())}
    shared = [
        job for job in mine.values() if isinstance(job, FineTuningJob) and job.init in starts
    ]  # from scratch, and the plan's own temperature tuned and frozen
    assert len(shared) == 3 * 2 * 3 * 2
    assert {job.id for job in shared} <= sparse


def test_every_view_is_fine_tuned_from_every_temperature_and_from_scratch() -> None:
    jobs = TEMPERATURE.jobs(PLAN)
    assert [job.id for job in jobs] == [job.id for job in TEMPERATURE.jobs(dataclasses.replace(PLAN))]
    of = {job.id: job.config.temperature for job in jobs if isinstance(job, PretrainingJob)}
    trained = [job for job in jobs if isinstance(job, FineTuningJob)]
    found = [(job.fold, job.view[0], of.get(job.init, job.init), job.frozen) for job in trained]
    assert len(set(found)) == len(found) == 3 * 2 * 9
    assert {(init, frozen) for *_, init, frozen in found} == {
        ("random", False),
        *((temperature, frozen) for temperature in TEMPERATURES for frozen in (False, True)),
    }
    assert {(job.budget, job.repeat, job.validation) for job in trained} == {(LabelBudget(), 0, "full")}
    folds = {job.id: job.fold for job in jobs}
    assert all(folds[job.init] == job.fold for job in trained if job.init != "random")


def test_a_loss_without_a_temperature_has_no_jobs() -> None:
    plan = dataclasses.replace(PLAN, pretraining=PretrainingConfig("vicreg"))
    assert TEMPERATURE.jobs(plan) == []
    assert TEMPERATURE.why_no_jobs(plan) == "none: the loss vicreg has no temperature"


def test_other_seeds_are_trained_too() -> None:
    jobs = TEMPERATURE.jobs(dataclasses.replace(PLAN, repeats=10))
    trained = [job for job in jobs if isinstance(job, FineTuningJob)]
    assert len({job.id for job in trained}) == 3 * 2 * 9 * 3
    assert {job.repeat for job in trained} == {0, 1, 2}
    assert len(jobs) - len(trained) == 3 * 4, "from the same pre-trainings"


def test_the_papers_ranks_follow_from_the_papers_scores() -> None:
    columns = np.array([[PAPER[view][row] for view in PAPER] for row in ROWS])  # (rows, views, measures)
    for split, part in enumerate((slice(0, 2), slice(2, 4))):
        found = average_ranks(columns[:, :, part].reshape(len(ROWS), -1))
        np.testing.assert_allclose(found.round(2), [PAPER_RANKS[row][split] for row in ROWS], atol=1e-9)


def test_tables_1_and_2_of_the_paper_are_parts_of_table_4() -> None:
    table_1 = """62.11 59.43 53.39 52.09 49.97 48.1 | 62.24 61.51 51.2 49.94 51.38 49.69 | 62.38 61.59 50.69 50.17 50.77 47.99
        | 63.11 61.36 53.37 51.97 52.96 49.16 | 62.35 60.88 51.97 49.61 50.34 48.43"""
    rows = [(SUPERVISED, None), *((TUNED, temperature) for temperature in TEMPERATURES)]
    for row, line in zip(rows, table_1.split("|"), strict=True):
        test = [value for view in ("wav2vec2", "mel_spectrogram", "egemaps") for value in PAPER[view][row][2:]]
        assert test == [float(value) for value in line.split()]
    table_2 = {"wav2vec2": (55.43, 53.97), "mel_spectrogram": (50.34, 48.43), "egemaps": (49.65, 48.97)}
    assert {view: PAPER[view][FROZEN, 0.5][2:] for view in PAPER} == table_2


def fill(
    database: Results, toy: Any, corpus: str = "toy", failed: Collection[str] = (), validated: bool = True
) -> None:
    """Made-up answers to every job, right with a chance of its own; folds of other sizes, one that lacks a class."""
    table, jobs, found = toy.table, TEMPERATURE.jobs(PLAN), []
    database.plan("temperature", jobs)
    database.describe(corpus=corpus, **PAPER_TASK, views={view: {"name": view} for view in VIEWS})
    for job in jobs:
        random = np.random.default_rng(int(job.id, 16) % 2**32)
        if job.id in failed:
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
        metrics = [("test", "uar", uar), ("test", "wa", float((said == truth).mean())), ("train", "n_labels", 60.0)]
        if validated:
            metrics += [("validation", "uar", random.random()), ("validation", "wa", random.random())]
        given = Predictions(tuple(rows["id"]), tuple(truth), tuple(said), LABELS, np.full((len(rows), 3), 1 / 3))
        found.append(JobResult(job, 1.0, "cpu", metrics=tuple(metrics), predictions=given))
    database.add(found)


@pytest.fixture(scope="module")
def results(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    with Results(tmp_path_factory.mktemp("temperature")) as database:
        fill(database, toy)
        yield database


def described(results: Results) -> dict[str, tuple[str, str, float | None, str]]:
    """Job → view, method, temperature and fold, from the saved descriptions alone."""
    jobs = results.frame("SELECT job_id, description FROM jobs")
    jobs = {i: json.loads(text) for i, text in zip(jobs["job_id"], jobs["description"], strict=True)}
    found = {}
    for i, job in jobs.items():
        if job["kind"] == "finetuning":
            method = SUPERVISED if job["init"] == "random" else FROZEN if job["frozen"] else TUNED
            temperature = jobs[job["init"]]["config"]["temperature"] if job["init"] in jobs else None
            found[i] = (job["view"][0], method, temperature, job["fold"])
    return found


def uar_of(truth: pd.Series[str], said: pd.Series[str]) -> float:
    """UAR over the classes that occur, by scikit-learn."""
    return float(recall_score(truth, said, average="macro", labels=sorted(set(truth))))


def test_the_scores_are_means_of_the_folds_with_their_t_intervals(results: Results) -> None:
    table = TEMPERATURE.tables(results)[SCORES]
    assert len(table) == 2 * 9
    jobs = described(results)
    said = results.frame("SELECT job_id, y_true, y_pred FROM predictions")
    noted = results.frame("SELECT * FROM metrics WHERE split = 'validation'")
    for _, row in table.iterrows():
        key = (row["view"], row["method"], None if np.isnan(row["temperature"]) else row["temperature"])
        mine = [i for i, job in jobs.items() if job[:3] == key]
        assert len(mine) == row["folds"] == 3
        by_fold = [g for _, g in said[said["job_id"].isin(mine)].groupby("job_id")]
        for measure, score in (("uar", uar_of), ("wa", accuracy_score)):
            values = [score(g["y_true"], g["y_pred"]) for g in by_fold]
            assert row[f"test_{measure}"] == pytest.approx(np.mean(values))
            low, high = scipy.stats.t.interval(0.95, 2, np.mean(values), scipy.stats.sem(values))
            assert row[f"test_{measure}_low"] == pytest.approx(max(0.0, low))
            assert row[f"test_{measure}_high"] == pytest.approx(min(1.0, high))
            validation = noted[(noted["name"] == measure) & noted["job_id"].isin(mine)]["value"]
            assert row[f"validation_{measure}"] == pytest.approx(validation.mean())
    assert not any(column.startswith("paper") for column in table.columns)
    rows = list(zip(table["method"][:9], table["temperature"][:9].fillna(0), strict=True))
    assert rows == [(method, temperature or 0) for method, temperature in ROWS]


def test_the_ranks_are_those_of_pandas(results: Results) -> None:
    tables = TEMPERATURE.tables(results)
    for split in ("validation", "test"):
        wide = tables[SCORES].assign(temperature=tables[SCORES]["temperature"].fillna(0))
        wide = wide.pivot(index=["method", "temperature"], columns="view", values=[f"{split}_uar", f"{split}_wa"])
        expected = wide.rank(ascending=False).mean(axis=1)
        for _, row in tables[RANKS].iterrows():
            key = (row["method"], 0 if np.isnan(row["temperature"]) else row["temperature"])
            assert row[f"rank_{split}"] == pytest.approx(expected[key])


def test_the_papers_numbers_stand_beside_those_of_its_corpus(toy: Any, tmp_path: Path) -> None:
    with Results(tmp_path) as database:
        fill(database, toy, "IEMOCAP-4")
        tables = TEMPERATURE.tables(database)
    scores = tables[SCORES].set_index(["view", "method", "temperature"])
    assert scores.loc[("egemaps", TUNED, 0.5), "paper_test_uar"] == pytest.approx(0.5296)
    assert scores.loc[("mel_spectrogram", FROZEN, 0.25), "paper_validation_wa"] == pytest.approx(0.4781)
    ranks = tables[RANKS].set_index(["method", "temperature"])
    assert ranks.loc[(TUNED, 1.0), "paper_rank_validation"] == 3.5
    assert ranks.loc[(TUNED, 0.5), "paper_rank_test"] == 1.83


@pytest.mark.parametrize(
    "differs",
    [{"corpus": "nemo"}, {"test_corpus": "emodb"}, {"labels": ["angry", "sad"]}, {"folds": {"1": ""}}],
    ids=str,
)
def test_the_papers_numbers_stand_beside_no_other_task(toy: Any, tmp_path: Path, differs: dict[str, Any]) -> None:
    with Results(tmp_path) as database:
        fill(database, toy, "iemocap-4")
        assert is_of_paper_corpus(database)
        database.describe(**differs)
        assert not is_of_paper_corpus(database)
        assert "paper_test_uar" not in TEMPERATURE.tables(database)[SCORES]


def test_a_view_that_the_paper_lacks_has_none_of_its_numbers(toy: Any, tmp_path: Path) -> None:
    with Results(tmp_path) as database:
        fill(database, toy, "iemocap")
        database.describe(views={"mel_spectrogram": {"name": "mfcc"}, "egemaps": {"name": "egemaps"}})
        scores = TEMPERATURE.tables(database)[SCORES]
    assert scores.groupby("view")["paper_test_uar"].count().to_dict() == {"egemaps": 9, "mel_spectrogram": 0}


def test_what_failed_is_missing_and_its_row_not_ranked(toy: Any, tmp_path: Path) -> None:
    jobs = TEMPERATURE.jobs(PLAN)
    of = {job.id: job.config.temperature for job in jobs if isinstance(job, PretrainingJob)}
    trained = [job for job in jobs if isinstance(job, FineTuningJob) and job.view[0] == "egemaps"]
    one_fold = [job for job in trained if job.init == "random" and job.fold == "A"]
    all_folds = [job for job in trained if of.get(job.init) == 0.1 and job.frozen]
    with Results(tmp_path) as database:
        fill(database, toy, failed=[job.id for job in one_fold + all_folds])
        tables = TEMPERATURE.tables(database)
    folds = tables[SCORES].set_index(["view", "method"])["folds"]
    assert (folds["egemaps", SUPERVISED], folds["mel_spectrogram", SUPERVISED]) == (2, 3)
    assert len(tables[SCORES]) == 2 * 9 - 1
    ranks = tables[RANKS]
    order = list(zip(ranks["method"], ranks["temperature"].fillna(0), strict=True))
    assert order == [(method, temperature or 0) for method, temperature in ROWS]
    unranked = ranks[ranks["rank_test"].isna()]
    assert list(unranked["method"]) == [SUPERVISED, FROZEN]
    assert unranked["rank_validation"].isna().all()
    assert ranks["rank_test"].dropna().sum() == pytest.approx(7 * 8 / 2), "the others are ranked from 1 to 7"


def test_one_fold_has_no_interval_and_without_validation_there_is_no_rank_of_it(toy: Any, tmp_path: Path) -> None:
    with Results(tmp_path) as database:
        assert TEMPERATURE.tables(database) == {}
        fill(database, toy, validated=False)
        database.plan("temperature", [job for job in TEMPERATURE.jobs(PLAN) if job.fold == "A"])
        tables = TEMPERATURE.tables(database)
    scores = tables[SCORES]
    assert scores[["test_uar_low", "test_wa_high", "validation_uar"]].isna().all(axis=None)
    assert scores[["test_uar", "test_wa"]].notna().all(axis=None)
    assert tables[RANKS]["rank_validation"].isna().all()
    assert tables[RANKS]["rank_test"].notna().all()


def test_the_whole_experiment_on_a_small_corpus(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)
    config = FineTuningConfig(batch_size=16, epochs=1)
    plan = plan_for(workspace, "toy", pretraining=PretrainingConfig(batch_size=16, epochs=1), finetuning=config)
    plan = dataclasses.replace(plan, folds={"A": plan.folds["A"]})
    jobs = TEMPERATURE.jobs(plan)
    with Results(tmp_path) as results:
        results.plan("temperature", jobs)
        assert run_planned(jobs, workspace, results, workers=1) == []
        table = TEMPERATURE.tables(results)[SCORES]
    assert len(table) == 2 * 9
    assert table[["test_uar", "validation_uar"]].notna().all(axis=None)
    tuned = table[table["method"] == TUNED].groupby("view")["temperature"].apply(list)
    assert tuned.tolist() == [list(TEMPERATURES)] * 2
