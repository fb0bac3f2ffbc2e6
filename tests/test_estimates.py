"""Estimates of time: what is counted, and that known costs are found again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from emoviews import estimates
from emoviews.configs import FineTuningConfig, LabelBudget, PretrainingConfig
from emoviews.estimates import estimate
from emoviews.experiments import plan_for
from emoviews.jobs import BaselineJob, FineTuningJob, Job, JobResult, PretrainingJob
from emoviews.runners._common import budget_indices
from emoviews.runners.pretraining import chosen_rows
from emoviews.workspace import Workspace

CONFIG = FineTuningConfig(epochs=50, patience=9)


@pytest.fixture
def workspace(toy: Any, tmp_path: Path) -> Workspace:
    return toy.workspace(tmp_path / "run")


def finetuning(workspace: Workspace, **changes: Any) -> FineTuningJob:
    label = next(iter(workspace.specs))
    common = plan_for(workspace, "toy").common("A", 5)
    return FineTuningJob(*common, (label, workspace.specs[label].fingerprint), CONFIG, **changes)


def costing(monkeypatch: pytest.MonkeyPatch, once: float, an_epoch: float) -> list[Job]:
    """Jobs that take known times, instead of running; what was tried."""
    tried: list[Job] = []

    def run(jobs: Sequence[Job], workspace: Workspace) -> Iterator[JobResult]:
        for job in jobs:
            tried.append(job)
            epochs = getattr(job, "config", CONFIG).epochs
            yield JobResult(job, once + an_epoch * epochs, "cpu")

    monkeypatch.setattr(estimates, "run_jobs", run)
    return tried


def test_known_costs_are_found_again(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = costing(monkeypatch, once=2.0, an_epoch=0.25)
    jobs = [finetuning(workspace, repeat=repeat) for repeat in range(6)]
    found = estimate(jobs, workspace, workers=2)
    # At least patience and one epochs, at most all.
    assert found.low_seconds == pytest.approx(6 * (2.0 + 0.25 * 10) / 2)
    assert found.high_seconds == pytest.approx(6 * (2.0 + 0.25 * 50) / 2)
    assert {job.config.epochs for job in tried if isinstance(job, FineTuningJob)} == {1, 3}
    none = [dataclasses.replace(job, validation="none") for job in jobs]  # nothing stops these
    found = estimate(none, workspace, workers=1)
    assert found.low_seconds == found.high_seconds == pytest.approx(6 * (2.0 + 0.25 * 50))


def test_a_job_of_no_epochs_costs_what_it_cost(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    costing(monkeypatch, once=2.0, an_epoch=0.0)
    label = next(iter(workspace.specs))
    view = (label, workspace.specs[label].fingerprint)
    common = plan_for(workspace, "toy").common("A", 5)
    jobs = [BaselineJob(*common, view, "logistic_regression", repeat=repeat) for repeat in range(3)]
    assert estimate(jobs, workspace, workers=1).high_seconds == pytest.approx(6.0)


@pytest.mark.parametrize("budget", [LabelBudget(), LabelBudget(0.25), LabelBudget(per_class=3)])
def test_counted_are_the_utterances_that_a_training_reads(workspace: Workspace, budget: LabelBudget) -> None:
    job = finetuning(workspace, budget=budget)
    train, validation = budget_indices(workspace, workspace.folds["A"], budget, "full", 0)
    test = len(workspace.folds["A"].test)
    once, epoch = estimates._passes(job, workspace)
    assert (once, epoch) == (len(train) + len(validation) + test, 3 * len(train) + len(validation))
    _, without = estimates._passes(dataclasses.replace(job, validation="none"), workspace)
    assert without == 3 * len(train)


@pytest.mark.parametrize(("data", "size"), [("all", None), ("all", 30), ("target", None), ("target", 10)])
def test_a_pretraining_counts_the_rows_that_it_draws(toy: Any, tmp_path: Path, data: Any, size: int | None) -> None:
    from emoviews.table import relabel

    (table,) = relabel([toy.table], {"sadness": ""}, ())
    workspace = dataclasses.replace(toy, table=table).workspace(tmp_path / "run")
    plan = plan_for(workspace, "toy", pretraining=PretrainingConfig(epochs=4))
    job: PretrainingJob = dataclasses.replace(plan.pretrainings()["A"], data=data, size=size)
    fold = workspace.folds["A"]
    train, validation = chosen_rows(job, workspace, fold)
    assert len(train) == {None: 72 if data == "all" else 48}.get(size, size)
    assert estimates._passes(job, workspace) == (2 * len(fold.test), 3 * len(train) + len(validation))


def test_what_fails_is_left_out_and_nothing_is_left_behind(workspace: Workspace) -> None:
    folder, config = workspace.config.folder, workspace.config
    good = finetuning(workspace, budget=LabelBudget(0.25))
    bad = finetuning(workspace, budget=LabelBudget(per_class=1000), init="0" * 16, frozen=True)
    alone = estimate([good], workspace, workers=1)
    assert 0 < alone.low_seconds <= alone.high_seconds
    together = estimate([good, bad], workspace, workers=1)
    assert together.high_seconds < 100 * alone.high_seconds
    assert estimate([bad], workspace, workers=1).high_seconds == 0
    assert workspace.config == config
    assert not folder.exists() or not list(folder.iterdir())
