"""Which recordings to pre-train on: the jobs, what they share with others, and a table made anew from predictions."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from emoviews.configs import FineTuningConfig, LabelBudget, PretrainingConfig
from emoviews.executors import run_planned
from emoviews.experiments import EXPERIMENTS, Plan, plan_for
from emoviews.experiments.pretraining_data import (
    EQUAL_SIZE,
    OTHERS,
    OWN_SIZE,
    SCORES,
    SIZES,
    SUPERVISED,
    TARGET,
    can_pretrain,
    compared_jobs,
)
from emoviews.jobs import RANDOM, FineTuningJob, JobResult, Predictions, PretrainingJob
from emoviews.results import Results
from emoviews.table import keep_labels

DATA = EXPERIMENTS.load("pretraining-data")
SPARSE = EXPERIMENTS.load("sparse")
FOLDS = {"A": "1" * 12, "B": "2" * 12, "C": "3" * 12}
VIEWS = {"mfcc": "a" * 12, "egemaps": "b" * 12}


def counts(train: tuple[int, int, int], validation: tuple[int, int, int] = (30, 20, 10)) -> dict[Any, tuple[int, int]]:
    """Of target emotions, other emotions and unknown ones → of the kinds of data."""
    pairs = list(zip(train, validation, strict=True))
    target, others, unknown = pairs

    def together(*parts: tuple[int, int]) -> tuple[int, int]:
        return sum(p[0] for p in parts), sum(p[1] for p in parts)

    return {
        "all": together(*pairs),
        "target": target,
        "out_of_distribution": others,
        "out_of_distribution+undecided": together(others, unknown),
    }


# In A others are fewest, in B the target emotions are; C has no unknown ones.
SIZES_OF = {"A": counts((60, 20, 10)), "B": counts((15, 40, 5)), "C": counts((50, 30, 0), (20, 10, 0))}
PLAN = Plan("toy", "table", FOLDS, VIEWS, fractions=(0.1, 0.25, 0.5, 1.0), repeats=2, pretraining_sizes=SIZES_OF)


def pretrainings(fold: str, plan: Plan = PLAN) -> list[PretrainingJob]:
    return [job for job in DATA.jobs(plan) if isinstance(job, PretrainingJob) and job.fold == fold]


def test_the_same_plan_gives_the_same_jobs_once() -> None:
    ids = [job.id for job in DATA.jobs(PLAN)]
    assert ids == [job.id for job in DATA.jobs(dataclasses.replace(PLAN))]
    assert len(set(ids)) == len(ids)
    assert not set(ids) & {job.id for job in DATA.jobs(dataclasses.replace(PLAN, seed=1))}


@pytest.mark.parametrize(
    ("fold", "found"),
    [
        (
            "A",
            [
                *(
                    ("all", None),
                    ("target", None),
                    ("out_of_distribution", None),
                    ("out_of_distribution+undecided", None),
                ),
                *(("all", 20), ("target", 20)),
            ],
        ),
        (
            "B",
            [
                *(
                    ("all", None),
                    ("target", None),
                    ("out_of_distribution", None),
                    ("out_of_distribution+undecided", None),
                ),
                *(("all", 15), ("out_of_distribution", 15)),
            ],
        ),
        ("C", [("all", None), ("target", None), ("out_of_distribution", None), ("all", 30), ("target", 30)]),
    ],
)
def test_each_set_is_pretrained_whole_and_at_the_size_of_the_smallest(fold: str, found: list[Any]) -> None:
    jobs = pretrainings(fold)
    assert [(job.data, job.size) for job in jobs] == found
    assert len({(job.seed, job.config, job.views) for job in jobs}) == 1, "they differ in their data alone"
    assert jobs[0] == PLAN.pretrainings()[fold], "that on all recordings is everybody's"


def test_classifiers_are_those_of_the_sparse_experiment() -> None:
    jobs = DATA.jobs(PLAN)
    tuned = [job for job in jobs if isinstance(job, FineTuningJob)]
    kinds = Counter(job.fold for job in tuned)
    per_start = 2 * 2 * 2  # views, the two shares up to a quarter, repeats
    assert kinds == {"A": 7 * per_start, "B": 7 * per_start, "C": 6 * per_start}
    assert {job.budget for job in tuned} == {LabelBudget(0.1), LabelBudget(0.25)}
    assert not any(job.frozen for job in tuned)
    assert {job.validation for job in tuned} == {PLAN.validation}
    shared = {job.id for job in SPARSE.jobs(PLAN)} & {job.id for job in jobs}
    # The pre-training of each fold, and its classifiers from that and from random weights.
    assert len(shared) == 3 + 3 * 2 * per_start
    starts = {job.id for job in jobs if isinstance(job, PretrainingJob)}
    assert {job.init for job in tuned} == {RANDOM, *starts}


def test_where_nothing_is_out_of_distribution_there_are_no_jobs() -> None:
    none = {fold: counts((60, 0, 10)) for fold in FOLDS}
    assert DATA.jobs(dataclasses.replace(PLAN, pretraining_sizes=none)) == []
    assert DATA.jobs(dataclasses.replace(PLAN, pretraining_sizes={})) == []
    assert DATA.jobs(dataclasses.replace(PLAN, fractions=(0.5, 1.0))) == [], "all shares are above a quarter"


@pytest.mark.parametrize(
    ("few", "compared"),
    [
        (counts((60, 1, 10)), False),
        (counts((1, 60, 10)), False),
        (counts((60, 20, 10), (20, 1, 0)), False),
        (counts((60, 20, 10), (0, 9, 0)), False),
        (counts((60, 2, 10), (20, 2, 0)), True),
        (counts((60, 20, 10), (0, 0, 0)), True),  # an official partition without validation
    ],
)
def test_a_fold_with_too_few_of_a_kind_is_left_out(few: Any, compared: bool) -> None:
    plan = dataclasses.replace(PLAN, pretraining_sizes={**SIZES_OF, "B": few})
    assert {job.fold for job in DATA.jobs(plan)} == ({"A", "B", "C"} if compared else {"A", "C"})
    assert compared == all(can_pretrain(few, data) for data in ("target", "out_of_distribution"))


@pytest.fixture(scope="module")
def results(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Made-up answers to every job: right most often after pre-training on target emotions, never alike."""
    skill = {"all": 0.75, "target": 0.9, "out_of_distribution": 0.6, "out_of_distribution+undecided": 0.55}
    with Results(tmp_path_factory.mktemp("pretraining_data")) as database:
        rng = np.random.default_rng(0)
        labels = ("anger", "neutral", "sadness")
        jobs = DATA.jobs(PLAN)
        database.plan("pretraining-data", jobs)
        database.plan("another", jobs[:9])
        database.describe(pretraining_sizes=PLAN.pretraining_sizes, labels=list(labels))
        database.add_utterances(toy.table, [1.0] * len(toy.table))
        by_id = {job.id: job for job in jobs}
        done = []
        for job in jobs:
            if isinstance(job, PretrainingJob):
                n = float(job.size or SIZES_OF[job.fold][job.data][0])
                done.append(JobResult(job, 1.0, "cpu", metrics=(("train", "n", n), ("test", "retrieval_chance", 0.1))))
                continue
            assert isinstance(job, FineTuningJob)
            rows = toy.table[toy.table["group"] == job.fold]
            rows = rows[(rows["emotion"] != "anger") | (rows["text"] < {"A": "sentence 2"}.get(job.fold, "z"))]
            start = by_id.get(job.init)
            right = rng.random(len(rows)) < (skill[start.data] if isinstance(start, PretrainingJob) else 0.3)
            said = np.where(right, rows["emotion"], rng.choice(labels, len(rows)))
            metrics = (
                ("train", "n_labels", 8.0 if job.budget == LabelBudget(0.1) else 20.0),
                ("test", "uar", balanced_accuracy_score(rows["emotion"], said)),
                ("test", "wa", accuracy_score(rows["emotion"], said)),
                ("test", "n", float(len(rows))),
            )
            answers = Predictions(
                tuple(rows["id"]), tuple(rows["emotion"]), tuple(said), labels, np.full((len(rows), 3), 1 / 3)
            )
            done.append(JobResult(job, 1.0, "cpu", metrics=metrics, predictions=answers))
        database.add(done)
        yield database


def jobs_of(size: str, name: str) -> list[FineTuningJob]:
    """The classifiers a row of the table is made of, by the plan alone."""
    names = {
        "all recordings": "all",
        TARGET: "target",
        OTHERS: "out_of_distribution",
        "other or unknown emotions": "out_of_distribution+undecided",
    }
    smallest = {"A": 20, "B": 15, "C": 30}
    starts = {}
    for fold in FOLDS:
        for job in pretrainings(fold):
            n = job.size or SIZES_OF[fold][job.data][0]
            is_equal = n == smallest[fold] and job.data != "out_of_distribution+undecided"
            if (job.size is None) if size == OWN_SIZE else is_equal:
                starts[job.id] = job.data
    tuned = [job for job in DATA.jobs(PLAN) if isinstance(job, FineTuningJob)]
    if name == SUPERVISED:
        return [job for job in tuned if job.init == RANDOM]
    return [job for job in tuned if starts.get(job.init) == names[name]]


def test_the_table_can_be_computed_again_from_the_saved_predictions(results: Results) -> None:
    table = DATA.tables(results)[SCORES]
    assert table["size"].unique().tolist() == [OWN_SIZE, EQUAL_SIZE]
    own = table[(table["size"] == OWN_SIZE) & (table["view"] == "mfcc")]
    assert own["pretraining_data"].unique().tolist() == [
        *("no pre-training", "all recordings", "target emotions", "other emotions", "other or unknown emotions")
    ]
    equal = table[(table["size"] == EQUAL_SIZE) & (table["view"] == "mfcc")]
    assert equal["pretraining_data"].unique().tolist() == ["no pre-training", "all recordings", TARGET, OTHERS]
    assert len(table) == 2 * 2 * (5 + 4)  # views, shares
    said = results.frame("SELECT job_id, y_true, y_pred FROM predictions")
    for row in table.to_dict("records"):
        mine = [
            job
            for job in jobs_of(row["size"], row["pretraining_data"])
            if job.view[0] == row["view"] and job.budget.fraction == row["label_fraction"]
        ]
        assert len(mine) == row["n_jobs"] == row["folds"] * row["repeats"]
        answers = said[said["job_id"].isin([job.id for job in mine])]
        by_job = [g for _, g in answers.groupby("job_id")]
        assert row["mean_uar"] == pytest.approx(np.mean([balanced_accuracy_score(g.y_true, g.y_pred) for g in by_job]))
        assert row["mean_wa"] == pytest.approx(np.mean([(g.y_true == g.y_pred).mean() for g in by_job]))
        repeats = answers["job_id"].map({job.id: job.repeat for job in mine})
        pooled = [balanced_accuracy_score(g.y_true, g.y_pred) for _, g in answers.groupby(repeats)]
        assert row["pooled_uar"] == pytest.approx(np.mean(pooled))
        assert row["low"] < row["pooled_uar"] < row["high"]
        assert row["n_labels"] == (8 if row["label_fraction"] == 0.1 else 20)


def test_how_many_recordings_were_pretrained_on(results: Results) -> None:
    table = (
        DATA.tables(results)[SCORES]
        .drop_duplicates(["size", "pretraining_data"])
        .set_index(["size", "pretraining_data"])
    )
    found = table["n_pretraining"]
    assert found[OWN_SIZE, "all recordings"] == pytest.approx(np.mean([90, 60, 80]))
    assert found[OWN_SIZE, OTHERS] == pytest.approx(np.mean([20, 40, 30]))
    assert found[OWN_SIZE, "other or unknown emotions"] == pytest.approx(np.mean([30, 45]))
    assert {found[EQUAL_SIZE, name] for name in ("all recordings", TARGET, OTHERS)} == {np.mean([20, 15, 30])}
    assert np.isnan(found[EQUAL_SIZE, SUPERVISED])
    sizes = DATA.tables(results)[SIZES]
    assert len(sizes) == 3 * 4
    row = sizes[(sizes["fold"] == "A") & (sizes["data"] == OTHERS)].iloc[0]
    assert (row["n_train"], row["n_validation"]) == (20, 20)


def test_the_smallest_set_is_in_both_comparisons(results: Results) -> None:
    jobs = compared_jobs(results)
    twice = jobs[jobs.duplicated("job_id", keep=False)]
    assert set(twice["name"]) == {SUPERVISED, TARGET, OTHERS}
    assert set(twice.loc[twice["name"] == TARGET, "fold"]) == {"B"}
    assert set(twice.loc[twice["name"] == OTHERS, "fold"]) == {"A", "C"}
    assert not jobs.duplicated(["job_id", "size"]).any()


def test_without_results_there_is_no_table_but_the_sizes_that_are_described(tmp_path: Path) -> None:
    with Results(tmp_path) as empty:
        assert DATA.tables(empty) == {}
        empty.describe(pretraining_sizes={"A": counts((60, 0, 0))})
        assert list(DATA.tables(empty)) == [SIZES]


def test_the_whole_experiment_on_a_small_corpus(toy: Any, tmp_path: Path) -> None:
    table = keep_labels(toy.table, ["anger", "neutral"])
    workspace = dataclasses.replace(toy, table=table).workspace(tmp_path)
    plan = plan_for(
        workspace,
        "toy",
        pretraining=PretrainingConfig(batch_size=16, epochs=2),
        finetuning=FineTuningConfig(batch_size=8, epochs=2),
        fractions=(0.2, 1.0),
        repeats=1,
    )
    plan = dataclasses.replace(plan, folds={fold: plan.folds[fold] for fold in "AB"})
    jobs = DATA.jobs(plan)
    assert Counter(job.kind for job in jobs) == {"pretraining": 2 * 5, "finetuning": 2 * 6 * 2}
    with Results(tmp_path) as results:
        results.plan(DATA.name, jobs)
        results.add_utterances(workspace.table, list(workspace.durations))
        results.describe(pretraining_sizes=plan.pretraining_sizes)
        assert run_planned(jobs, workspace, results, workers=1) == []
        found = DATA.tables(results)[SCORES]
        trained = results.tidy(DATA.name)
    assert len(found) == 2 * (4 + 4)
    assert (found["n_jobs"] == 2).all()
    assert set(found.loc[found["size"] == EQUAL_SIZE, "n_pretraining"].dropna()) == {24}
    trained = trained[(trained["kind"] == "pretraining") & (trained["split"] == "train")]
    assert Counter(trained["n"]) == {72.0: 2, 48.0: 2, 24.0: 6}
    assert isinstance(found, pd.DataFrame)


def test_why_there_is_nothing_to_compare() -> None:
    few = dataclasses.replace(PLAN, fractions=(1.0,))
    assert DATA.jobs(few) == []
    assert "at most 25% of the labels, see --fractions" in DATA.why_no_jobs(few)
    sizes = {"all": (90, 60), "target": (90, 60), "out_of_distribution": (0, 0)}
    for others, why in (((0, 0), "no recording has another emotion"), ((5, 1), "in no fold two recordings of each")):
        plan = dataclasses.replace(
            PLAN, pretraining_sizes={fold: {**sizes, "out_of_distribution": others} for fold in PLAN.folds}
        )
        assert DATA.jobs(plan) == []
        assert why in DATA.why_no_jobs(plan)
