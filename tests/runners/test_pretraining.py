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
from emoviews.experiments import plan_for, with_labels
from emoviews.jobs import BaselineJob, FineTuningJob, Job, JobResult, PretrainingData, PretrainingJob
from emoviews.results import Results
from emoviews.runners.pretraining import chosen_rows, seen_labels
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


# Losses that use labels


def supcon_job(workspace: Workspace, **changes: Any) -> PretrainingJob:
    """For the classifiers of half the labels, repeat 1."""
    labels = {"budget": LabelBudget(0.5), "validation": "full", "repeat": 1, "label_seed": 9, **changes}
    return dataclasses.replace(job(workspace), config=QUICK.with_loss("supcon"), **labels)


def tuning_of(pretraining: PretrainingJob, workspace: Workspace, **changes: Any) -> FineTuningJob:
    """The classifier that it is for."""
    common = plan_for(workspace, "toy").common(pretraining.fold, pretraining.label_seed or 0)
    settings = {name: getattr(pretraining, name) for name in ("budget", "validation", "repeat")}
    config = FineTuningConfig(epochs=1)
    return FineTuningJob(*common, pretraining.views[0], config, init=pretraining.id, **{**settings, **changes})


def trained(workspace: Workspace, pretraining: PretrainingJob) -> dict[str, torch.Tensor]:
    (result,) = run(workspace, pretraining)
    assert not result.error, result.error
    views = workspace.checkpoint(pretraining.id).views
    return {f"{view} {name}": tensor for view, found in views.items() for name, tensor in found.tensors.items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("rule", ["full", "budget", "none"])
@pytest.mark.parametrize("budget", [LabelBudget(0.5), LabelBudget(None, 3), LabelBudget()])
def test_the_labels_that_are_seen_are_those_the_classifier_is_trained_with(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: Any, budget: LabelBudget
) -> None:
    """Against what the fine-tuning itself hands to its training."""
    from emoviews.runners import finetuning as tuner

    workspace = toy.workspace(tmp_path)
    pretraining = supcon_job(workspace, budget=budget, validation=rule)
    prepared: list[Any] = []
    monkeypatch.setattr(tuner, "_train", lambda group, _: prepared.extend(group) or [])
    monkeypatch.setattr(tuner, "_answers", lambda group, _: [])
    tuned = dataclasses.replace(tuning_of(pretraining, workspace), init="random")
    tuner.run_bank([tuned], workspace)
    (member,) = [p.member for p in prepared]
    seen = seen_labels(pretraining, workspace, workspace.folds["A"])
    assert seen is not None
    shown = np.flatnonzero(seen >= 0)
    stops = member.validation if rule == "full" else []
    assert shown.tolist() == sorted([*member.train, *stops])
    assert np.array_equal(seen[shown], workspace.targets[shown])
    assert not set(shown) & set(workspace.folds["A"].test)
    if rule != "full":
        assert set(shown) <= set(workspace.folds["A"].train)


@pytest.mark.parametrize("rule", ["full", "budget", "none"])
def test_no_label_outside_the_budget_changes_a_bit_of_the_weights(toy: Any, tmp_path: Path, rule: Any) -> None:
    workspace = toy.workspace(tmp_path / "a")
    pretraining = supcon_job(workspace, validation=rule)
    clean = trained(workspace, pretraining)
    seen = seen_labels(pretraining, workspace, workspace.folds["A"])
    assert seen is not None
    for name, rows, unchanged in (("b", seen < 0, True), ("c", seen >= 0, False)):
        poisoned = toy.workspace(tmp_path / name)
        # Within the budget not all alike: SupCon asks which labels are equal, not what they are.
        poisoned.targets[rows] = (poisoned.targets[rows] + 1 + np.arange(rows.sum()) % 2) % 3
        assert same(clean, trained(poisoned, pretraining)) == unchanged, name


@pytest.mark.parametrize("rule", ["budget", "none"])
def test_a_table_with_other_labels_of_held_out_speakers_gives_the_same_bits(
    toy: Any, tmp_path: Path, rule: Any
) -> None:
    """The table itself is poisoned: all labels of the test group, and of the validation group where the rule asks for none."""
    clean = toy.workspace(tmp_path / "a")
    table = toy.table.copy()
    held_out = [*clean.folds["A"].test, *clean.folds["A"].validation]
    table.loc[held_out, "emotion"] = np.roll(table.loc[held_out, "emotion"].to_numpy(), 5)
    other = dataclasses.replace(toy, table=table).workspace(tmp_path / "b")
    first, second = (supcon_job(workspace, validation=rule) for workspace in (clean, other))
    assert first.table != second.table
    assert same(trained(clean, first), trained(other, second))


def test_labels_that_do_not_belong_to_the_loss_are_refused(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)

    def error(pretraining: PretrainingJob) -> str:
        return run(workspace, pretraining)[0].error

    assert "pairwise_nt_xent uses no labels; this pre-training was given a label budget" in error(
        dataclasses.replace(supcon_job(workspace), config=QUICK)
    )
    for name in ("budget", "validation", "repeat", "label_seed"):
        assert "supcon uses labels: a pre-training with it needs the label budget" in error(
            supcon_job(workspace, **{name: None})
        )
    assert "no two of them the same" in error(supcon_job(workspace, budget=LabelBudget(None, 1), validation="none"))
    assert not workspace.checkpoint_folder(supcon_job(workspace).id).exists()


def test_what_starts_from_it_has_its_labels_or_is_refused(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)
    pretraining = supcon_job(workspace)
    tuned = tuning_of(pretraining, workspace)
    probe = BaselineJob(
        *plan_for(workspace, "toy").common("A", 9),
        *(tuned.view, "logistic_regression", LabelBudget(0.5), "full", 1, pretraining.id),
    )
    assert [result.error for result in run(workspace, pretraining, tuned, probe)] == ["", "", ""]
    for changes, says in (
        ({"budget": LabelBudget(0.25)}, "with budget LabelBudget(fraction=0.5"),
        ({"budget": LabelBudget()}, "this training has budget LabelBudget(fraction=None"),
        ({"validation": "budget"}, "with validation full; this training has validation budget"),
        ({"repeat": 0}, "with repeat 1; this training has repeat 0"),
        ({"seed": 3}, "with seed of the labels 9; this training has seed of the labels 3"),
    ):
        for start in (tuned, probe):
            (result,) = run(workspace, dataclasses.replace(start, **changes))
            assert says in result.error, changes
    scratch = dataclasses.replace(tuned, init="random", budget=LabelBudget(0.25))
    assert not run(workspace, scratch)[0].error
    table = toy.table.copy()
    table.loc[0, "emotion"] = "sadness"
    other = dataclasses.replace(toy, table=table).workspace(tmp_path)
    assert "with table" in run(other, dataclasses.replace(tuned, table=other.table_hash))[0].error


def test_with_all_labels_one_pretraining_serves_all_repeats(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)
    plan = plan_for(workspace, "toy")
    shared = supcon_job(workspace, budget=None, validation=None, repeat=None, label_seed=None)
    everything = [with_labels(plan, shared, LabelBudget(), "full", repeat) for repeat in (0, 1)]
    assert everything[0] == everything[1]
    for budget, rule in ((LabelBudget(0.5), "full"), (LabelBudget(), "budget")):
        first, second = (with_labels(plan, shared, budget, rule, repeat) for repeat in (0, 1))  # type: ignore[arg-type]
        assert first.id != second.id
    later = tuning_of(everything[0], workspace, repeat=4)
    later = dataclasses.replace(later, seed=123)
    assert [result.error for result in run(workspace, everything[0], later)] == ["", ""]


def test_retrieval_is_centred_where_the_loss_leaves_the_place_free(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emoviews.runners import pretraining as runner

    workspace = toy.workspace(tmp_path)
    asked: list[bool] = []
    retrieval = runner._retrieval

    def spy(*arguments: Any) -> dict[str, float]:
        asked.append(arguments[-1])
        return retrieval(*arguments)

    monkeypatch.setattr(runner, "_retrieval", spy)
    for loss in ("pairwise_nt_xent", "vicreg", "barlow_twins"):
        assert not run(workspace, dataclasses.replace(job(workspace), config=QUICK.with_loss(loss)))[0].error
    assert asked == [False, False, True, True, True, True]
    rows = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    shifts = 50 * torch.randn(2, 8, generator=torch.Generator().manual_seed(1))
    projected = {"a": rows + shifts[0], "b": 2 * rows + shifts[1]}

    def of_block(models: Any, data: Any, test: Any, *_: Any) -> dict[str, torch.Tensor]:
        return {name: vectors[test] for name, vectors in projected.items()}

    monkeypatch.setattr(runner, "_projected", of_block)
    found = {centred: retrieval({}, {}, np.arange(40), "cpu", None, centred) for centred in (False, True)}
    assert found[True] == {"a to b": 1.0, "b to a": 1.0}
    assert max(found[False].values()) < 0.2
