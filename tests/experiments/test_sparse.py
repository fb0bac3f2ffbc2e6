"""Few labels: which jobs there are, and a table that can be computed again from the saved predictions alone."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from emoviews.configs import FineTuningConfig, LabelBudget, PretrainingConfig
from emoviews.executors import run_planned
from emoviews.experiments import EXPERIMENTS, Plan, plan_for
from emoviews.jobs import JobResult, Predictions
from emoviews.results import Results
from emoviews.runners._common import budget_indices

SPARSE = EXPERIMENTS.load("sparse")
FOLDS = {"A": "1" * 12, "B": "2" * 12, "C": "3" * 12}
VIEWS = {"mfcc": "a" * 12, "egemaps": "b" * 12}
PLAN = Plan("toy", "table", FOLDS, VIEWS, fractions=(0.1, 1.0), repeats=2)


def test_the_same_plan_gives_the_same_jobs() -> None:
    ids = [job.id for job in SPARSE.jobs(PLAN)]
    assert ids == [job.id for job in SPARSE.jobs(dataclasses.replace(PLAN))]
    assert len(set(ids)) == len(ids)
    for change in ({"seed": 1}, {"validation": "budget"}, {"scaling": "none"}, {"preset": "paper-text"}):
        others = {job.id for job in SPARSE.jobs(dataclasses.replace(PLAN, **change))}
        shared = others & set(ids)
        assert len(shared) == (len(FOLDS) if change == {"validation": "budget"} else 0), (
            "only pre-training has no labels"
        )


def test_how_many_jobs_there_are() -> None:
    kinds = Counter(job.kind for job in SPARSE.jobs(PLAN))
    runs = 3 * 2 * 2 * 2  # folds, views, fractions, repeats
    # Logistic regression and SVM; all labels leave nothing to draw, so their repeats would be the same job.
    assert kinds == {"pretraining": 3, "finetuning": 4 * runs, "baseline": 4 * (runs - 3 * 2)}


def test_pretraining_is_of_the_folds_own_split_and_shared() -> None:
    jobs = SPARSE.jobs(PLAN)
    first = {job.fold: job for job in jobs if job.kind == "pretraining"}
    for job in jobs:
        assert job.split == FOLDS[job.fold]
        if getattr(job, "init", "") not in ("", "random"):
            assert job.init == first[job.fold].id


def test_methods_of_one_repeat_get_the_same_labels_and_seeds_others(toy: Any, tmp_path: Path) -> None:
    from emoviews.runners._common import subset_seed

    def drawn(seed: int) -> dict[Any, set[bytes]]:
        found = defaultdict(set)
        plan = plan_for(workspace, "toy", fractions=(0.1, 0.3), repeats=2, seed=seed)
        for job in SPARSE.jobs(plan):
            if job.kind != "pretraining":
                train, _ = budget_indices(workspace, workspace.folds[job.fold], job.budget, "none", subset_seed(job))
                found[job.fold, job.budget.fraction, job.repeat].add(train.tobytes())
        return found

    workspace = toy.workspace(tmp_path)
    first, other = drawn(0), drawn(1)
    assert all(len(subsets) == 1 for subsets in first.values())
    assert len(set.union(*first.values())) == len(first) == 5 * 2 * 2
    assert not any(first[key] & other[key] for key in first)


@pytest.fixture(scope="module")
def results(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Made-up answers to every job of the plan, right with a chance that depends on the method; folds of other sizes."""
    with Results(tmp_path_factory.mktemp("sparse")) as database:
        rng = np.random.default_rng(0)
        table, labels = toy.table, ("anger", "neutral", "sadness")
        jobs = SPARSE.jobs(PLAN)
        database.plan("sparse", jobs)
        database.add_utterances(table, [1.0] * len(table))
        for job in jobs:
            if job.kind == "pretraining":
                database.add([JobResult(job, 1.0, "cpu", metrics=(("test", "retrieval_chance", 0.1),))])
                continue
            rows = table[table["group"] == job.fold]
            rows = rows[
                (rows["emotion"] != "anger")
                | (rows["text"] < {"A": "sentence 2", "B": "sentence 5"}.get(job.fold, "z"))
            ]
            right = rng.random(len(rows)) < (0.9 if getattr(job, "init", "") not in ("", "random") else 0.5)
            said = np.where(right, rows["emotion"], rng.choice(labels, len(rows)))
            uar = balanced_accuracy_score(rows["emotion"], said)
            metrics = (
                ("train", "n_labels", 6.0 if job.budget == LabelBudget(0.1) else 60.0),
                ("train", "epochs_run", 11.0),
                ("test", "uar", uar),
                ("test", "wa", accuracy_score(rows["emotion"], said)),
                ("test", "n", float(len(rows))),
            )
            answers = Predictions(
                tuple(rows["id"]), tuple(rows["emotion"]), tuple(said), labels, np.full((len(rows), 3), 1 / 3)
            )
            database.add([JobResult(job, 1.0, "cpu", metrics=metrics, predictions=answers)])
        yield database


def test_the_table_can_be_computed_again_from_the_saved_predictions(results: Results) -> None:
    table = SPARSE.tables(results)["UAR by share of labels"]
    assert len(table) == 2 * 8 * 2
    assert table["method"].unique().tolist() == [
        *("supervised from scratch", "pre-trained, tuned", "pre-trained, frozen", "random, frozen"),
        *("pre-trained, probe", "random, probe", "logistic regression", "linear SVM"),
    ]
    jobs = {job.id: job for job in SPARSE.jobs(PLAN) if job.kind != "pretraining"}
    said = results.frame("SELECT job_id, y_true, y_pred FROM predictions")
    for _, row in table.iterrows():
        mine = []
        for name, job in jobs.items():
            method = getattr(job, "method", "").replace("logistic_regression", "logistic regression")
            method = method.replace("linear_svm", "linear SVM")
            if method and job.init:
                method = f"{'random' if job.init == 'random' else 'pre-trained'}, probe"
            if not method:
                start = "random" if job.init == "random" else "pre-trained"
                method = f"{start}, {'frozen' if job.frozen else 'tuned'}"
                method = "supervised from scratch" if method == "random, tuned" else method
            fraction = 1.0 if job.budget.fraction is None else job.budget.fraction
            if (job.view[0], method, fraction) == (row["view"], row["method"], row["label_fraction"]):
                mine.append(name)
        assert len(mine) == row["n_jobs"] == row["folds"] * row["repeats"]
        answers = said[said["job_id"].isin(mine)]
        uars = [balanced_accuracy_score(g["y_true"], g["y_pred"]) for _, g in answers.groupby("job_id")]
        assert row["mean_uar"] == pytest.approx(np.mean(uars))
        repeat = answers["job_id"].map(lambda name: jobs[name].repeat)
        pooled = [balanced_accuracy_score(g["y_true"], g["y_pred"]) for _, g in answers.groupby(repeat)]
        assert row["pooled_uar"] == pytest.approx(np.mean(pooled))
        was = [(g["y_true"] == g["y_pred"]).mean() for _, g in answers.groupby("job_id")]
        assert row["mean_wa"] == pytest.approx(np.mean(was))
        assert row["n_labels"] == (6 if row["label_fraction"] == 0.1 else 60)
        assert row["epochs_run"] == 11


def test_intervals_hold_the_estimate_and_tell_the_methods_apart(results: Results) -> None:
    table = SPARSE.tables(results)["UAR by share of labels"].set_index(["view", "method", "label_fraction"])
    assert ((table["low"] <= table["pooled_uar"]) & (table["pooled_uar"] <= table["high"])).all()
    assert ((table["high"] - table["low"]) > 0.01).all()
    for name in VIEWS:
        good = table.loc[(name, "pre-trained, tuned", 0.1)]
        bad = table.loc[(name, "supervised from scratch", 0.1)]
        assert good["low"] > bad["pooled_uar"]


def test_without_results_there_is_no_table(tmp_path: Path) -> None:
    with Results(tmp_path) as empty:
        assert SPARSE.tables(empty) == {}


def test_the_whole_experiment_on_a_small_corpus(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path, views=2)
    plan = plan_for(
        workspace,
        "toy",
        pretraining=PretrainingConfig(batch_size=16, epochs=2),
        finetuning=FineTuningConfig(batch_size=8, epochs=2),
        fractions=(0.1,),
        repeats=1,
    )
    plan = dataclasses.replace(plan, folds={fold: plan.folds[fold] for fold in "AB"})
    with Results(tmp_path) as results:
        results.plan("sparse", SPARSE.jobs(plan))
        results.add_utterances(workspace.table, list(workspace.durations))
        assert run_planned(SPARSE.jobs(plan), workspace, results, workers=1) == []
        table = SPARSE.tables(results)["UAR by share of labels"]
    assert len(table) == 2 * 8
    assert table["n_jobs"].tolist() == [2] * 16
    assert set(table["n_labels"]) == {6.0}
    neural = table["method"].isin(
        ["supervised from scratch", "pre-trained, tuned", "pre-trained, frozen", "random, frozen"]
    )
    assert table.drop(columns="epochs_run").notna().all(axis=None)
    assert (table["epochs_run"].notna() == neural).all()
