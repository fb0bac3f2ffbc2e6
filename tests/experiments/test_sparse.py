"""Few labels: which jobs there are, and a table that can be computed again from the saved predictions alone."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from emoviews.configs import FineTuningConfig, LabelBudget, PretrainingConfig
from emoviews.errors import UsageError
from emoviews.executors import run_planned
from emoviews.experiments import EXPERIMENTS, Plan, plan_for
from emoviews.experiments.sparse import BUDGET, SCORES, Answers, complete_repeats, pooled_interval
from emoviews.jobs import JobResult, Predictions
from emoviews.results import Results
from emoviews.runners._common import budget_indices, subset_seed

SPARSE = EXPERIMENTS.load("sparse")
FOLDS = {"A": "1" * 12, "B": "2" * 12, "C": "3" * 12}
VIEWS = {"mfcc": "a" * 12, "egemaps": "b" * 12}
PLAN = Plan("toy", "table", FOLDS, VIEWS, fractions=(0.1, 1.0), per_class=(4,), repeats=2)


def test_the_same_plan_gives_the_same_jobs() -> None:
    ids = [job.id for job in SPARSE.jobs(PLAN)]
    assert ids == [job.id for job in SPARSE.jobs(dataclasses.replace(PLAN))]
    assert len(set(ids)) == len(ids)
    for change in ({"seed": 1}, {"validations": ("none",)}, {"scaling": "none"}, {"preset": "paper-text"}):
        others = {job.id for job in SPARSE.jobs(dataclasses.replace(PLAN, **change))}
        shared = others & set(ids)
        assert len(shared) == (len(FOLDS) if change == {"validations": ("none",)} else 0), (
            "only pre-training has no labels"
        )


def test_how_many_jobs_there_are() -> None:
    jobs = SPARSE.jobs(PLAN)
    kinds = Counter(job.kind for job in jobs)
    pairs, budgets = 3 * 2, 3  # of folds and views; 10 % and 100 %, 4 a class
    runs = pairs * budgets * 2  # repeats
    rules = Counter((job.kind, job.validation) for job in jobs if job.kind != "pretraining")
    assert rules["finetuning", "full"] == rules["finetuning", "budget"] == 4 * runs
    # Logistic regression and SVM. With all labels nothing is drawn, so that under “full” the repeats would be equal but for
    # the random encoder's probe; under “budget” other labels validate. Probes are run under the first rule alone.
    assert rules["baseline", "full"] == 2 * (runs - pairs) + (runs - pairs) + runs
    assert rules["baseline", "budget"] == 2 * runs
    assert kinds["pretraining"] == 3
    assert {job.validation for job in jobs if job.kind == "baseline" and job.init} == {"full"}


def test_every_budget_under_every_rule() -> None:
    found = {(job.budget, job.validation) for job in SPARSE.jobs(PLAN) if job.kind == "finetuning"}
    budgets = (LabelBudget(0.1), LabelBudget(), LabelBudget(per_class=4))
    assert found == {(budget, rule) for budget in budgets for rule in ("full", "budget")}
    one = SPARSE.jobs(dataclasses.replace(PLAN, validations=("budget",)))
    assert {job.validation for job in one if job.kind != "pretraining"} == {"budget"}
    assert any(job.kind == "baseline" and job.init for job in one), "probes go with the first rule, whichever it is"


def test_the_default_plan_asks_for_the_budgets_of_the_issue() -> None:
    plan = Plan("toy", "table", FOLDS, VIEWS)
    assert [budget.fraction for budget in plan.budgets[:7]] == [0.01, 0.02, 0.05, 0.1, 0.25, 0.5, None]
    assert [budget.per_class for budget in plan.budgets] == [None] * 7 + [5, 10, 20, 40]
    assert plan.validations == ("full", "budget")


def test_a_fold_is_not_asked_for_more_a_class_than_it_has() -> None:
    plan = dataclasses.replace(PLAN, per_class=(2, 4, 9), rarest={"A": 4, "B": 3, "C": 1})
    folds = {
        n: {j.fold for j in SPARSE.jobs(plan) if j.kind == "finetuning" and j.budget.per_class == n} for n in (2, 4, 9)
    }
    assert folds == {2: {"A", "B"}, 4: {"A"}, 9: set()}
    shares = {job.fold for job in SPARSE.jobs(plan) if job.kind == "finetuning" and job.budget.fraction == 0.1}
    assert shares == set(FOLDS), "of a share at least one a class is taken"
    assert plan.budgets_asked() == {
        "fractions": [0.1, 1.0],
        "per_class": [2, 4, 9],
        "validations": ["full", "budget"],
        "repeats": 2,
        "rarest": {"A": 4, "B": 3, "C": 1},
    }


def test_the_plan_of_a_corpus_knows_its_rarest_class(toy: Any, tmp_path: Path) -> None:
    """Speaker A alone has 2 recordings of anger more than the others' none; nothing that is asked can then fail."""
    table = toy.table.copy()
    rare = (table["emotion"] == "anger") & (table["text"] > "sentence 1")
    workspace = dataclasses.replace(toy, table=table[~rare].reset_index(drop=True)).workspace(tmp_path)
    plan = plan_for(workspace, "toy", fractions=(), per_class=(6, 7, 8, 24, 25), repeats=1)
    assert plan.rarest == dict.fromkeys("ABCDE", 3 * 2), "three speakers train, with two angry recordings each"
    jobs = [job for job in SPARSE.jobs(plan) if job.kind == "finetuning"]
    assert {job.budget.per_class for job in jobs} == {6}
    for job in jobs:
        train, _ = budget_indices(workspace, workspace.folds[job.fold], job.budget, "none", subset_seed(job))
        assert len(train) == 3 * 6
    with pytest.raises(UsageError, match="Can't choose 7 labels per class: the training part has only 6 of 'anger'"):
        budget_indices(workspace, workspace.folds["A"], LabelBudget(per_class=7), "none", 0)


def test_pretraining_is_of_the_folds_own_split_and_shared() -> None:
    jobs = SPARSE.jobs(PLAN)
    first = {job.fold: job for job in jobs if job.kind == "pretraining"}
    for job in jobs:
        assert job.split == FOLDS[job.fold]
        if getattr(job, "init", "") not in ("", "random"):
            assert job.init == first[job.fold].id


def test_methods_of_one_repeat_get_the_same_labels_and_seeds_others(toy: Any, tmp_path: Path) -> None:
    def drawn(seed: int) -> dict[Any, set[bytes]]:
        found = defaultdict(set)
        plan = plan_for(workspace, "toy", fractions=(0.1, 0.3), per_class=(4,), repeats=2, seed=seed)
        for job in SPARSE.jobs(plan):
            if job.kind != "pretraining":
                train, _ = budget_indices(workspace, workspace.folds[job.fold], job.budget, "none", subset_seed(job))
                found[job.fold, job.budget, job.repeat].add(train.tobytes())
        return found

    workspace = toy.workspace(tmp_path)
    first, other = drawn(0), drawn(1)
    assert all(len(subsets) == 1 for subsets in first.values())
    assert len(set.union(*first.values())) == len(first) == 5 * 3 * 2
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
        found = []
        for job in jobs:
            if job.kind == "pretraining":
                found.append(JobResult(job, 1.0, "cpu", metrics=(("test", "retrieval_chance", 0.1),)))
                continue
            rows = table[table["group"] == job.fold]
            rows = rows[
                (rows["emotion"] != "anger")
                | (rows["text"] < {"A": "sentence 2", "B": "sentence 5"}.get(job.fold, "z"))
            ]
            right = rng.random(len(rows)) < (0.9 if getattr(job, "init", "") not in ("", "random") else 0.5)
            said = np.where(right, rows["emotion"], rng.choice(labels, len(rows)))
            uar = balanced_accuracy_score(rows["emotion"], said)
            n_labels = {LabelBudget(0.1): 6.0, LabelBudget(): 60.0}.get(job.budget, 12.0)
            metrics = (
                ("train", "n_labels", n_labels),
                ("train", "epochs_run", 11.0),
                ("test", "uar", uar),
                ("test", "wa", accuracy_score(rows["emotion"], said)),
                ("test", "n", float(len(rows))),
            )
            answers = Predictions(
                tuple(rows["id"]), tuple(rows["emotion"]), tuple(said), labels, np.full((len(rows), 3), 1 / 3)
            )
            found.append(JobResult(job, 1.0, "cpu", metrics=metrics, predictions=answers))
        database.add(found)
        yield database


def test_the_table_can_be_computed_again_from_the_saved_predictions(results: Results) -> None:
    table = SPARSE.tables(results)[SCORES]
    assert len(table) == 2 * 3 * (8 + 6)  # views, budgets, methods of either rule
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
            fraction = 1.0 if job.budget == LabelBudget() else job.budget.fraction or 0.0
            asked = (fraction, job.budget.per_class or 0.0)
            here = (row["view"], row["validation"], row["method"])
            shown = tuple(0.0 if np.isnan(row[column]) else row[column] for column in BUDGET)
            if (job.view[0], job.validation, method) == here and asked == shown:
                mine.append(name)
        assert len(mine) == row["n_jobs"] == row["folds"] * row["repeats"]
        answers = said[said["job_id"].isin(mine)]
        uars = [balanced_accuracy_score(g["y_true"], g["y_pred"]) for _, g in answers.groupby("job_id")]
        assert row["mean_uar"] == pytest.approx(np.mean(uars))
        repeat = answers["job_id"].map(lambda name: jobs[name].repeat)
        pooled = [balanced_accuracy_score(g["y_true"], g["y_pred"]) for _, g in answers.groupby(repeat)]
        assert row["pooled_uar"] == pytest.approx(np.mean(pooled))
        of_job = {name: uar for (name, _), uar in zip(answers.groupby("job_id"), uars, strict=True)}
        of_repeats = [np.mean([of_job[n] for n in mine if jobs[n].repeat == r]) for r in {jobs[n].repeat for n in mine}]
        for unit, values in (("repeats", of_repeats), ("trainings", uars)):
            ends = (row[f"t_low_{unit}"], row[f"t_high_{unit}"])
            if len(values) == 1:
                assert np.isnan(ends).all()
            else:
                half = scipy.stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
                assert ends == pytest.approx((np.mean(values) - half, np.mean(values) + half))
        was = [(g["y_true"] == g["y_pred"]).mean() for _, g in answers.groupby("job_id")]
        assert row["mean_wa"] == pytest.approx(np.mean(was))
        assert row["n_labels"] == {0.1: 6, 1.0: 60}.get(row["label_fraction"], 12)
        assert row["epochs_run"] == 11


def test_the_interval_is_that_of_the_answers_themselves(results: Results) -> None:
    """Counting in the database gives what `pooled_interval` finds from every single answer."""
    tidy = results.tidy("sparse")
    test = tidy[(tidy["split"] == "test") & (tidy["method"] == "linear_svm") & (tidy["labels_per_class"] == 4)]
    group = test[(test["view"] == "mfcc") & (test["validation"] == "budget")]
    predictions = results.frame("SELECT job_id, id, y_true, y_pred FROM predictions")
    by_job = {str(job): rows for job, rows in predictions.groupby("job_id")}
    ours = Answers(results, group["job_id"]).interval(group)
    plain = pooled_interval(group, by_job, results.speakers())
    assert len(group) == 6
    assert (ours.estimate, ours.low, ours.high) == pytest.approx((plain.estimate, plain.low, plain.high), abs=1e-12)


def test_intervals_hold_the_estimate_and_tell_the_methods_apart(results: Results) -> None:
    table = SPARSE.tables(results)[SCORES]
    assert ((table["low"] <= table["pooled_uar"]) & (table["pooled_uar"] <= table["high"])).all()
    assert ((table["high"] - table["low"]) > 0.01).all()
    of = table[table["label_fraction"] == 0.1].set_index(["view", "validation", "method"])
    for name in VIEWS:
        for rule in ("full", "budget"):
            good, bad = of.loc[(name, rule, "pre-trained, tuned")], of.loc[(name, rule, "supervised from scratch")]
            assert good["low"] > bad["pooled_uar"]


def test_rows_are_in_the_order_of_views_rules_methods_and_budgets(results: Results) -> None:
    table = SPARSE.tables(results)[SCORES]
    assert list(dict.fromkeys(table["view"])) == ["egemaps", "mfcc"]
    first = table[table["view"] == "egemaps"]
    assert list(dict.fromkeys(first["validation"])) == ["full", "budget"]
    assert first["label_fraction"].fillna(-1).tolist()[:3] == [0.1, 1.0, -1]
    assert first["labels_per_class"].fillna(-1).tolist()[:3] == [-1, -1, 4]


def test_a_repeat_that_lacks_a_fold_has_no_mean() -> None:
    jobs = pd.DataFrame({"fold": list("ABAB"), "repeat": [0, 0, 1, 1], "uar": [0.2, 0.4, 0.5, 0.7]})
    assert complete_repeats(jobs) == pytest.approx([0.3, 0.6])
    assert complete_repeats(jobs.head(3)) == pytest.approx([0.3])
    assert complete_repeats(jobs.iloc[[0, 3]]) == pytest.approx([0.45]), "none is complete"


def test_unknown_speakers_are_counted_by_group(tmp_path: Path) -> None:
    with Results(tmp_path) as database:
        table = pd.DataFrame(
            [("u1", "s", "g", "x", ""), ("u2", "", "g2", "x", "female"), ("u3", "", "", "x", "")],
            columns=["id", "speaker", "group", "emotion", "gender"],
        )
        database.add_utterances(table, [1.0] * 3)
        (job,) = SPARSE.jobs(
            dataclasses.replace(PLAN, folds={"A": "1"}, views={"mfcc": "a"}, fractions=(), per_class=())
        )
        found = Predictions(("u1", "u2", "u3"), ("x",) * 3, ("x", "y", "x"), ("x", "y"), np.full((3, 2), 0.5))
        database.add([JobResult(job, 1.0, "cpu", predictions=found)])
        rows = Answers(database, [job.id, "another"]).of([job.id, "another"])
        assert set(zip(rows["speaker"], rows["gender"], rows["y_pred"], strict=True)) == {
            ("s", "", "x"),
            ("g2", "female", "y"),
            ("u3", "", "x"),
        }
        assert dict(database.speakers()) == {"u1": "s", "u2": "g2", "u3": "u3"}
        assert Answers(database, []).of(["another"]).empty


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
        fractions=(0.01,),
        per_class=(5, 25),  # the second is more than any fold has
        repeats=1,
    )
    plan = dataclasses.replace(plan, folds={fold: plan.folds[fold] for fold in "AB"})
    jobs = SPARSE.jobs(plan)
    with Results(tmp_path) as results:
        results.plan("sparse", jobs)
        results.add_utterances(workspace.table, list(workspace.durations))
        assert run_planned(jobs, workspace, results, workers=1) == []
        table = SPARSE.tables(results)[SCORES]
        tidy = results.tidy("sparse")
    assert len(table) == 2 * 2 * (8 + 6)
    assert table["n_jobs"].tolist() == [2] * 56
    # Labels that validate are of the budget's own: 1 % is one of each class, 5 a class are 15 in all.
    assert set(table.loc[table["label_fraction"] == 0.01, "n_labels"]) == {3.0}
    assert set(table.loc[table["labels_per_class"] == 5, "n_labels"]) == {15.0}
    # One label of a class trains and none is left to validate; of five, one validates.
    validated = tidy[(tidy["split"] == "validation") & (tidy["validation"] == "budget")]
    assert set(validated["n"]) == {3.0}
    assert set(validated["labels_per_class"]) == {5.0}
    neural = table["method"].isin(
        ["supervised from scratch", "pre-trained, tuned", "pre-trained, frozen", "random, frozen"]
    )
    spread = ["t_low_repeats", "t_high_repeats"]  # of one repeat there is none
    assert table.drop(columns=["epochs_run", *BUDGET, *spread]).notna().all(axis=None)
    assert table[spread].isna().all(axis=None)
    assert (table["epochs_run"].notna() == neural).all()
