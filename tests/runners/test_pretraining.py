"""The pre-training runner: which utterances a job gets, of one view alone, and what it leaves."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emoviews.augmentation import Augmentation
from emoviews.configs import FineTuningConfig, LabelBudget, PretrainingConfig
from emoviews.engine import run_jobs
from emoviews.experiments import plan_for
from emoviews.jobs import FineTuningJob, Job, JobResult, PretrainingData, PretrainingJob
from emoviews.results import Results
from emoviews.runners.pretraining import chosen_rows
from emoviews.seeds import derive_seed
from emoviews.table import keep_labels
from emoviews.workspace import PRETRAINING_DATA, Workspace

QUICK = PretrainingConfig(batch_size=16, epochs=2)


def dropped(toy: Any, undecided: Any = (), unlabelled: Any = ()) -> Any:
    """The corpus with `sadness` dropped, some of its utterances undecided or never labelled."""
    table = toy.table.copy()
    table.loc[list(undecided), "emotion"] = "undecided"
    table.loc[list(unlabelled), "emotion"] = ""
    return dataclasses.replace(toy, table=keep_labels(table, ["anger", "neutral"]))


def job(workspace: Workspace, views: int = 2, fold: str = "A", seed: int = 5, **changes: Any) -> PretrainingJob:
    chosen = tuple((label, spec.fingerprint) for label, spec in workspace.specs.items())[:views]
    return PretrainingJob(*plan_for(workspace, "toy").common(fold, seed), chosen, QUICK, **changes)


def run(workspace: Workspace, *jobs: Job) -> list[JobResult]:
    return list(run_jobs(jobs, workspace))


def emotions(workspace: Workspace, rows: Any) -> set[str]:
    return set(workspace.table["original_emotion"].iloc[rows])


def test_each_kind_of_data_is_of_its_emotions(toy: Any, tmp_path: Path) -> None:
    sad = np.flatnonzero(toy.table["emotion"] == "sadness")
    corpus = dropped(toy, undecided=sad[8:11], unlabelled=sad[16:18])  # of speakers B, who validates, and C
    workspace = corpus.workspace(tmp_path)
    rows = {data: chosen_rows(job(workspace, data=data), workspace, workspace.folds["A"]) for data in PRETRAINING_DATA}
    assert [(len(t), len(v)) for t, v in rows.values()] == [(72, 24), (48, 16), (22, 5), (24, 8)]
    assert workspace.pretraining_sizes["A"] == {data: (len(t), len(v)) for data, (t, v) in rows.items()}
    for part in (0, 1):
        assert emotions(workspace, rows["target"][part]) == {"anger", "neutral"}
        assert emotions(workspace, rows["out_of_distribution"][part]) == {"sadness"}
        both = [*rows["target"][part], *rows["out_of_distribution+undecided"][part]]
        assert sorted(both) == sorted(rows["all"][part])
    (result,) = run(workspace, job(workspace, data="out_of_distribution"))
    assert ("train", "n", 22.0) in result.metrics
    assert workspace.checkpoint(result.job.id).made["n_validation"] == 5


def test_an_undecided_recording_that_is_a_target_is_one(toy: Any, tmp_path: Path) -> None:
    table = toy.table.copy()
    table.loc[[24, 48, 60], "emotion"] = "undecided"
    workspace = dataclasses.replace(toy, table=table).workspace(tmp_path)
    assert workspace.pretraining_sizes["A"]["out_of_distribution+undecided"] == (0, 0)


def test_a_size_draws_by_the_seed_and_the_same_share_of_both_parts(toy: Any, tmp_path: Path) -> None:
    workspace = dropped(toy).workspace(tmp_path)
    fold = workspace.folds["A"]

    def rows(data: PretrainingData = "target", seed: int = 5, size: int | None = 12) -> tuple[Any, Any]:
        return chosen_rows(job(workspace, data=data, seed=seed, size=size), workspace, fold)

    train, validation = rows()
    assert (len(train), len(validation)) == (12, 4)  # a quarter of 48 and of 16
    assert set(train) < set(rows(size=None)[0])
    assert set(train) < set(rows(size=20)[0]), "a smaller draw is part of a larger one"
    assert np.array_equal(train, rows()[0])
    assert not np.array_equal(train, rows(seed=6)[0])
    assert (np.diff(train) > 0).all()
    assert [len(part) for part in rows(size=2)] == [2, 2], "two at least validate"
    assert [len(part) for part in rows(size=99)] == [48, 16], "no more than there are"
    (result,) = run(workspace, job(workspace, data="target", size=12))
    assert ("train", "n", 12.0) in result.metrics
    assert "got size=0" in run(workspace, job(workspace, size=0))[0].error


def test_a_kind_with_too_few_is_a_clear_error(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)
    message = run(workspace, job(workspace, data="out_of_distribution"))[0].error
    assert message.startswith(
        "Fold A: pre-training needs at least 2 recordings with another emotion to train on; 0 of 72"
    )
    sad = np.flatnonzero(toy.table["emotion"] == "sadness")
    few = dropped(toy, unlabelled=sad[8:15]).workspace(tmp_path)  # B, who validates, keeps one
    message = run(few, job(few, data="out_of_distribution"))[0].error
    assert "recordings with another emotion to validate on; 1 of 24 are" in message


def test_one_view_is_pretrained_with_itself_and_a_classifier_starts_from_it(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path, views=3)
    for number, (label, spec) in enumerate(workspace.specs.items()):
        pretraining = dataclasses.replace(job(workspace), views=((label, spec.fingerprint),))
        common = plan_for(workspace, "toy").common("A", derive_seed(0, number))
        tuned = FineTuningJob(
            *common, pretraining.views[0], FineTuningConfig(epochs=2), init=pretraining.id, budget=LabelBudget(0.5)
        )
        first, second = run(workspace, pretraining, tuned)
        assert not first.error, first.error
        assert not second.error, second.error
        names = {name for split, name, _ in first.metrics if split == "test"}
        pair = f"{label} copy 1 to {label} copy 2"
        assert {f"retrieval {pair}", f"retrieval_random {pair}", "retrieval_chance"} <= names
        made = workspace.checkpoint(pretraining.id).made
        assert made["augmentation"] == Augmentation(spec.axes).description
        assert list(workspace.checkpoint(pretraining.id).views) == [label]
        with Results(tmp_path / str(number)) as results:
            results.add([first, second])
            tidy = results.tidy()
        assert set(tidy["init"].dropna()) == {"simclr"}
    (both,) = run(workspace, job(workspace))
    assert "augmentation" not in workspace.checkpoint(both.job.id).made


def test_a_killed_pretraining_of_one_view_goes_on_to_the_same_checkpoint(toy: Any, tmp_path: Path) -> None:
    def tensors(folder: Path, stop: bool) -> dict[str, torch.Tensor]:
        workspace = toy.workspace(folder)
        alone = job(workspace, views=1)

        def killed(job: Job, row: Any) -> None:
            if stop:
                raise KeyboardInterrupt

        if stop:
            with pytest.raises(KeyboardInterrupt):
                list(run_jobs([alone], workspace, killed))
            assert [p.name for p in (folder / "checkpoints").iterdir()] == [f"{alone.id}.unfinished"]
        assert not run(workspace, alone)[0].error
        (view,) = workspace.checkpoint(alone.id).views.values()
        return dict(view.tensors)

    undisturbed, resumed = tensors(tmp_path / "a", False), tensors(tmp_path / "b", True)
    assert undisturbed.keys() == resumed.keys()
    assert all(torch.equal(undisturbed[name], resumed[name]) for name in undisturbed)


def test_retrieval_of_more_utterances_than_are_projected_at_a_time(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emoviews.runners import pretraining as runner

    def found(folder: Path) -> dict[str, float]:
        workspace = toy.workspace(folder)
        return {f"{split} {name}": value for split, name, value in run(workspace, job(workspace))[0].metrics}

    whole = found(tmp_path / "a")
    monkeypatch.setattr(runner, "_BLOCK", 7)
    assert found(tmp_path / "b") == pytest.approx(whole)
