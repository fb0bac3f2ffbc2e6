"""What the embeddings know: which probes there are, and tables that are the means of saved rows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emoviews.configs import PretrainingConfig
from emoviews.executors import run_planned
from emoviews.experiments import EXPERIMENTS, Plan, plan_for
from emoviews.jobs import RANDOM, JobResult, ProbeJob
from emoviews.results import Results

REPRESENTATIONS = EXPERIMENTS.load("representations")
FOLDS = {"A": "1" * 12, "B": "2" * 12, "C": "3" * 12}
VIEWS = {"mfcc": "a" * 12, "egemaps": "b" * 12}
PLAN = Plan("toy", "table", FOLDS, VIEWS)


def test_a_probe_for_every_fold_view_and_start() -> None:
    jobs = REPRESENTATIONS.jobs(PLAN)
    assert [job.id for job in jobs] == [job.id for job in REPRESENTATIONS.jobs(PLAN)]
    first = {job.fold: job for job in jobs if job.kind == "pretraining"}
    probes = [job for job in jobs if isinstance(job, ProbeJob)]
    assert len(jobs) == 3 + 3 * 2 * 2
    found = {(job.fold, job.view, job.init) for job in probes}
    assert found == {(f, v, i) for f in FOLDS for v in VIEWS.items() for i in (RANDOM, first[f].id)}
    # The random encoder is the one that the pre-trained one was before.
    assert {(job.fold, job.seed) for job in probes} == {(fold, job.seed) for fold, job in first.items()}
    assert first == PLAN.pretrainings(), "shared with the other experiments"


def test_the_tables_are_means_over_folds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    jobs = REPRESENTATIONS.jobs(PLAN)
    kept: dict[tuple[str, str], list[float]] = {}
    retrieved = []
    with Results(tmp_path) as results:
        assert REPRESENTATIONS.tables(results) == {}
        results.plan("representations", jobs)
        for job in jobs:
            if isinstance(job, ProbeJob):
                value = float(rng.random())
                kept.setdefault((job.view[0], "random" if job.init == RANDOM else "pretrained"), []).append(value)
                metrics = (("test", "probe_speaker_accuracy", value), ("test", "probe_speaker_chance", 0.25))
            else:
                retrieved.append(float(rng.random()))
                metrics = (
                    ("train", "epochs_run", 7.0),
                    ("train", "best_epoch", 4.0),
                    ("test", "retrieval a to b", retrieved[-1]),
                    ("test", "retrieval_random a to b", 0.02),
                    ("test", "retrieval_chance", 0.01),
                )
            results.add([JobResult(job, 1.0, "cpu", metrics=metrics)])
        tables = REPRESENTATIONS.tables(results)
    probes = tables["Linear probes on unseen speakers"]
    assert probes["probe"].unique().tolist() == ["speaker (accuracy)"], "what was not measured has no row"
    for _, row in probes.iterrows():
        values = kept[row["view"], row["encoder"]]
        assert row["mean"] == pytest.approx(np.mean(values))
        assert (row["lowest fold"], row["highest fold"]) == (min(values), max(values))
        assert (row["chance"], row["folds"]) == (0.25, 3)
    assert len(probes) == len(kept) == 4
    (row,) = tables["Retrieval across views, top 1"].to_dict("records")
    assert row == pytest.approx(
        {"pair": "a to b", "random": 0.02, "pre-trained": np.mean(retrieved), "chance": 0.01, "folds": 3}
    )
    epochs = tables["Pre-training"]
    assert epochs["fold"].tolist() == ["A", "B", "C"]
    assert epochs["epochs_run"].tolist() == [7.0] * 3
    assert epochs["best_epoch"].tolist() == [4.0] * 3


def test_the_whole_experiment_on_a_small_corpus(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)
    plan = plan_for(workspace, "toy", pretraining=PretrainingConfig(batch_size=16, epochs=2))
    plan = dataclasses.replace(plan, folds={"A": plan.folds["A"]})
    jobs = REPRESENTATIONS.jobs(plan)
    with Results(tmp_path) as results:
        results.plan("representations", jobs)
        assert run_planned(jobs, workspace, results, workers=1) == []
        tables = REPRESENTATIONS.tables(results)
    probes = tables["Linear probes on unseen speakers"]
    assert len(probes) == 4 * 2 * 2  # probes, views, encoders
    assert probes["encoder"].tolist()[:2] == ["random", "pretrained"]
    assert len(tables["Retrieval across views, top 1"]) == 2
    assert (tables["Retrieval across views, top 1"]["chance"] == 1 / 24).all()
