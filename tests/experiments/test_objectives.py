"""Losses to pre-train with: which jobs there are, whose labels they see, and the table computed anew from saved predictions."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import recall_score

from emoviews.configs import FineTuningConfig, LabelBudget, PretrainingConfig
from emoviews.estimates import estimate
from emoviews.executors import run_planned
from emoviews.experiments import EXPERIMENTS, Plan, plan_for
from emoviews.experiments.objectives import LOSSES, METHODS, SCORES, budgets, classifiers
from emoviews.jobs import FineTuningJob, PretrainingJob
from emoviews.results import Results

OBJECTIVES = EXPERIMENTS.load("objectives")
VIEWS = {"mel_spectrogram": "a" * 12, "egemaps": "b" * 12}
PLAN = Plan("toy", "table", {fold: fold * 12 for fold in "AB"}, VIEWS, repeats=3)


def test_which_jobs_there_are() -> None:
    jobs = OBJECTIVES.jobs(PLAN)
    assert [job.id for job in jobs] == [job.id for job in OBJECTIVES.jobs(dataclasses.replace(PLAN))]
    pretrainings = [job for job in jobs if isinstance(job, PretrainingJob)]
    tunings = [job for job in jobs if isinstance(job, FineTuningJob)]
    # Four without labels; SupCon for each repeat with few labels, and once with all of them.
    assert len(pretrainings) == 2 * (4 + 3 + 1)
    assert len(tunings) == 2 * 3 * 2 * 2 * (1 + 5) * 2
    assert len({job.id for job in jobs}) == len(jobs) == len(pretrainings) + len(tunings)
    for fold in "AB":
        mine = [job for job in pretrainings if job.fold == fold]
        assert len({job.seed for job in mine}) == 1, "all start from the same weights, and see the same batches"
        assert {(job.config.loss, job.config.negatives) for job in mine} == {
            ("pairwise_nt_xent", "both"),
            ("pairwise_nt_xent", "cross_view"),
            *((loss, None) for loss in ("vicreg", "barlow_twins", "supcon")),
        }
        optimisations = {
            (j.config.batch_size, j.config.epochs, j.config.patience, j.config.learning_rate) for j in mine
        }
        assert len(optimisations) == 1
    known = {job.id: job for job in pretrainings}
    for job in tunings:
        start = known.get(job.init)
        if start is not None and start.config.loss == "supcon":
            drawn = job.budget != LabelBudget()
            assert start.budget == job.budget
            assert start.validation == job.validation == "full"
            assert not drawn or (start.repeat, start.label_seed) == (job.repeat, job.seed)
        elif start is not None:
            assert (start.budget, start.validation, start.repeat, start.label_seed) == (None, None, None, None)


def test_classifiers_of_the_papers_loss_are_those_of_the_experiment_on_few_labels() -> None:
    sparse = {job.id for job in EXPERIMENTS.load("sparse").jobs(PLAN)}
    jobs = OBJECTIVES.jobs(PLAN)
    papers = {job.id for job in PLAN.pretrainings().values()}
    shared = [job for job in jobs if job.id in papers or getattr(job, "init", "") in ("random", *papers)]
    assert {job.id for job in shared} == {job.id for job in jobs} & sparse
    assert len(shared) == 2 + 2 * 3 * 2 * 2 * 2 * 2


def test_what_the_plan_asks_of_the_papers_loss_is_asked_of_no_other() -> None:
    cold = dataclasses.replace(PLAN, pretraining=PretrainingConfig(temperature=0.1, epochs=9))
    found = {job.config for job in OBJECTIVES.jobs(cold) if isinstance(job, PretrainingJob)}
    assert {config.epochs for config in found} == {9}
    assert {config.temperature for config in found if config.loss == "pairwise_nt_xent"} == {0.1}
    other = dataclasses.replace(PLAN, pretraining=PretrainingConfig("vicreg", variance_weight=3.0))
    found = {job.config for job in OBJECTIVES.jobs(other) if isinstance(job, PretrainingJob)}
    assert {config.variance_weight for config in found if config.loss == "vicreg"} == {3.0}
    assert {config.temperature for config in found if config.loss == "pairwise_nt_xent"} == {0.5}


@pytest.mark.parametrize(
    ("fractions", "expected"),
    [
        (PLAN.fractions, [LabelBudget(0.1), LabelBudget()]),
        ((0.02, 0.25, 0.5), [LabelBudget(0.02), LabelBudget(0.5)]),
        ((1.0,), [LabelBudget()]),
        ((), []),
    ],
)
def test_two_budgets_are_compared_at(fractions: Any, expected: list[LabelBudget]) -> None:
    plan = dataclasses.replace(PLAN, fractions=fractions)
    assert budgets(plan) == expected
    assert bool(OBJECTIVES.jobs(plan)) == bool(expected)
    assert "--fractions" in OBJECTIVES.why_no_jobs(plan)


def test_it_is_not_of_the_paper() -> None:
    assert OBJECTIVES.source == ""
    assert {name for name in EXPERIMENTS.names() if not EXPERIMENTS.load(name).source} == {"objectives"}


@pytest.fixture(scope="module")
def whole(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The whole experiment on a small corpus: workspace, plan, run folder."""
    folder = tmp_path_factory.mktemp("objectives")
    workspace = toy.workspace(folder)
    plan = plan_for(
        workspace,
        "toy",
        pretraining=PretrainingConfig(batch_size=16, epochs=1),
        finetuning=FineTuningConfig(batch_size=16, epochs=1),
        repeats=2,
    )
    plan = dataclasses.replace(plan, folds={fold: plan.folds[fold] for fold in "AB"})
    jobs = OBJECTIVES.jobs(plan)
    with Results(folder) as results:
        results.plan("objectives", jobs)
        results.add_utterances(workspace.table, list(workspace.durations))
        results.describe(corpus="toy", labels=list(workspace.labels))
        failed = run_planned(jobs, workspace, results, workers=1)
    assert [result.error for result in failed] == []
    return workspace, plan, folder


def test_the_table_is_computed_again_from_the_saved_predictions(whole: Any) -> None:
    _, _, folder = whole
    with Results(folder) as results:
        table, jobs = OBJECTIVES.tables(results)[SCORES], classifiers(results)
        said = results.frame("SELECT job_id, y_true, y_pred FROM predictions")
    assert table["method"].tolist() == [m for m in METHODS for _ in range(2)] * 2
    assert sorted(set(table["label_fraction"])) == [0.1, 1.0]
    keys = ["view", "label_fraction", "name"]
    for (view, fraction, name), group in jobs.groupby(keys):
        (row,) = table[
            (table["view"] == view) & (table["label_fraction"] == fraction) & (table["method"] == name)
        ].to_dict("records")
        pooled = []
        for _, repeat in group.groupby("repeat"):
            answers = said[said["job_id"].isin(repeat["job_id"])]
            pooled.append(recall_score(answers["y_true"], answers["y_pred"], average="macro"))
        assert row["pooled_uar"] == pytest.approx(np.mean(pooled))
        assert row["mean_uar"] == pytest.approx(group["uar"].mean())
        assert row["low"] <= row["pooled_uar"] <= row["high"]
        assert (row["n_jobs"], row["folds"], row["repeats"], row["speakers"]) == (4, 2, 2, 2)
        assert row["n_labels"] == (72 if fraction == 1 else 6)
    assert len(set(jobs["name"])) == 2 * len(LOSSES) + 2


def test_the_estimate_knows_pretrainings_that_use_labels(whole: Any) -> None:
    workspace, plan, _ = whole
    jobs = [j for j in OBJECTIVES.jobs(plan) if isinstance(j, PretrainingJob) and j.config.loss == "supcon"]
    assert estimate(jobs, workspace, workers=1).high_seconds > 0


def test_without_rows_there_is_no_table(tmp_path: Path) -> None:
    with Results(tmp_path) as results:
        assert OBJECTIVES.tables(results) == {}
        assert isinstance(classifiers(results), pd.DataFrame)
