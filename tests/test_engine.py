"""The engine: nothing of the test group reaches a training, budgets are paired, baselines and probes say what they should."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from emoviews.configs import FineTuningConfig, LabelBudget, PretrainingConfig
from emoviews.encoders.temporal_cnn import TemporalCNN
from emoviews.engine import BANK, banks, run_jobs
from emoviews.errors import LeakageError, StoreError, UsageError
from emoviews.experiments import plan_for
from emoviews.jobs import RANDOM, BaselineJob, FineTuningJob, Job, JobResult, PretrainingJob, ProbeJob
from emoviews.runners import baseline as baseline_runner
from emoviews.runners import finetuning as finetuning_runner
from emoviews.runners._common import budget_indices, fresh_encoder, initial_encoder, standardised, subset_seed
from emoviews.runners.baseline import BASELINE_REGULARISATION
from emoviews.workspace import Workspace

PRETRAINING = PretrainingConfig(batch_size=16, epochs=3)
FINETUNING = FineTuningConfig(batch_size=8, epochs=3)
MEL, MFCC, EGEMAPS = 0, 1, 2


def common(workspace: Workspace, fold: str = "A", seed: int = 5) -> tuple[Any, ...]:
    return plan_for(workspace, "toy").common(fold, seed)


def view(workspace: Workspace, number: int = MEL) -> tuple[str, str]:
    label = list(workspace.specs)[number]
    return label, workspace.specs[label].fingerprint


def pretraining(workspace: Workspace, fold: str = "A", **changes: Any) -> PretrainingJob:
    views = tuple((label, spec.fingerprint) for label, spec in workspace.specs.items())
    return PretrainingJob(*common(workspace, fold), views, PRETRAINING, **changes)


def finetuning(workspace: Workspace, fold: str = "A", **changes: Any) -> FineTuningJob:
    return FineTuningJob(*common(workspace, fold), view(workspace), FINETUNING, **changes)


def run(workspace: Workspace, *jobs: Job) -> list[JobResult]:
    return list(run_jobs(jobs, workspace))


def one(workspace: Workspace, job: Job) -> JobResult:
    (result,) = run(workspace, job)
    assert not result.error, result.error
    return result


def error(workspace: Workspace, job: Job) -> str:
    (result,) = run(workspace, job)
    assert result.error
    assert not result.metrics
    return result.error


def metric(result: JobResult, split: str, name: str) -> float:
    return {(s, n): value for s, n, value in result.metrics}[split, name]


def relabelled(toy: Any, rows: Any, emotions: Any) -> Any:
    table = toy.table.copy()
    table.loc[rows, "emotion"] = emotions
    return dataclasses.replace(toy, table=table)


# Leakage


def test_a_speaker_in_two_groups_fails_loudly(toy: Any, tmp_path: Path) -> None:
    mixed = dataclasses.replace(toy, table=toy.table.assign(group=["g1", "g2", "g3"] * 40))
    with pytest.raises(LeakageError, match=r"test and train share 5 speakers, e\.g\. 'A'"):
        mixed.workspace(tmp_path)
    allowed = mixed.workspace(tmp_path, allow_speaker_overlap=True)
    assert any(leak.column == "speaker" for leak in allowed.leaks["g1"])


def test_a_recording_in_two_groups_fails_loudly(toy: Any, tmp_path: Path) -> None:
    keys = [*toy.keys[:-1], toy.keys[0]]
    arrays = {label: [*values[:-1], values[0]] for label, values in toy.arrays.items()}
    copied = dataclasses.replace(toy, keys=keys, arrays=arrays).write(tmp_path / "store")
    first, last = toy.table["id"].iloc[[0, -1]]
    with pytest.raises(LeakageError, match="share 1 recording") as caught:
        copied.workspace(tmp_path)
    assert first in str(caught.value)
    assert last in str(caught.value)


def test_shared_texts_are_a_warning_that_is_kept(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)
    assert {leak.column for leak in workspace.leaks["A"]} == {"text"}


def poisoned(toy: Any, store: Path, group: str, *, features: bool = False, labels: bool = False) -> Any:
    """The same corpus, one group's features and labels being others."""
    rows = np.flatnonzero(toy.table["group"] == group)
    corpus = toy
    if features:
        changed = {
            label: [9.0 - 3.0 * array if n in rows else array for n, array in enumerate(arrays)]
            for label, arrays in toy.arrays.items()
        }
        corpus = dataclasses.replace(corpus, arrays=changed)
    if labels:
        corpus = relabelled(corpus, rows, np.roll(toy.table["emotion"].iloc[rows], 5))
    return corpus.write(store)


def trained(toy: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, validation: str = "full") -> dict[str, Any]:
    """Everything that a fold's trainings arrive at, and what they say of the test group."""
    workspace = toy.workspace(folder, views=3)
    states: list[torch.Tensor] = []
    plain = finetuning_runner.finetune_many

    def spied(data: Any, labels: Any, members: Any, *rest: Any, **named: Any) -> Any:
        histories = plain(data, labels, members, *rest, **named)
        for member in members:
            states.extend([*member.encoder.state_dict().values(), *member.classifier.state_dict().values()])
        return histories

    monkeypatch.setattr(finetuning_runner, "finetune_many", spied)
    first = pretraining(workspace)
    budget = LabelBudget(0.5)
    tuned = [
        finetuning(workspace, init=init, frozen=frozen, budget=budget, validation=validation)
        for init, frozen in ((RANDOM, False), (first.id, False), (first.id, True))
    ]
    baseline = BaselineJob(*common(workspace), view(workspace, EGEMAPS), "linear_svm", budget, validation)
    results = run(workspace, first, *tuned, baseline)
    assert not any(result.error for result in results)
    fold = workspace.folds["A"]
    scalers = [workspace.scaler(label, fold) for label in workspace.specs]
    checkpoint = workspace.checkpoint(first.id)
    monkeypatch.setattr(finetuning_runner, "finetune_many", plain)
    return {
        "checkpoint": [v.tensors[name] for v in checkpoint.views.values() for name in sorted(v.tensors)],
        "classifiers": states,
        "scalers": [torch.from_numpy(a) for s in scalers if s for a in (s.mean, s.deviation)],
        "baseline's features": [
            torch.from_numpy(standardised(workspace.means(label), fold)[fold.train]) for label in workspace.specs
        ],
        "budget": [torch.from_numpy(i) for i in budget_indices(workspace, fold, budget, validation, 1)],
        "curves": [r.curves for r in results],
        "before the test": [tuple(m for m in r.metrics if m[0] != "test") for r in results],
        "test": [tuple(m for m in r.metrics if m[0] == "test") for r in results],
    }


def same(a: dict[str, Any], b: dict[str, Any]) -> None:
    for name in ("checkpoint", "classifiers", "scalers", "baseline's features", "budget"):
        assert len(a[name]) == len(b[name]) > 0
        assert all(torch.equal(x, y) for x, y in zip(a[name], b[name], strict=True)), name
    assert a["curves"] == b["curves"]
    assert a["before the test"] == b["before the test"]


def test_what_the_test_group_holds_changes_no_bit_of_a_training(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = trained(toy, tmp_path / "clean", monkeypatch)
    other = trained(
        poisoned(toy, tmp_path / "store", "A", features=True, labels=True), tmp_path / "poisoned", monkeypatch
    )
    same(clean, other)
    assert all(a != b for a, b in zip(clean["test"], other["test"], strict=True)), "the poison did not take"


def test_the_validation_groups_labels_are_not_touched_by_a_budget_of_its_own(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = trained(toy, tmp_path / "clean", monkeypatch, "budget")
    other = trained(poisoned(toy, tmp_path / "store", "B", labels=True), tmp_path / "other", monkeypatch, "budget")
    same(clean, other)
    assert clean["test"] == other["test"]


def test_the_training_group_does_change_it(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail."""
    clean = trained(toy, tmp_path / "clean", monkeypatch)
    other = trained(poisoned(toy, tmp_path / "store", "C", features=True), tmp_path / "other", monkeypatch)
    for name in ("checkpoint", "classifiers", "scalers", "baseline's features"):
        assert not all(torch.equal(x, y) for x, y in zip(clean[name], other[name], strict=True))


# Label budgets


def test_a_budget_is_the_same_for_all_methods_and_nested(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = toy.workspace(tmp_path)
    drawn: list[Any] = []
    plain = budget_indices

    def spied(*given: Any) -> Any:
        drawn.append(plain(*given))
        return drawn[-1]

    for runner in (finetuning_runner, baseline_runner):
        monkeypatch.setattr(runner, "budget_indices", spied)
    one(workspace, pretraining(workspace))
    init = pretraining(workspace).id
    sizes = []
    for fraction in (0.05, 0.25, 0.5):
        budget = LabelBudget(fraction)
        run(
            workspace,
            finetuning(workspace, budget=budget, repeat=2),
            finetuning(workspace, budget=budget, repeat=2, init=init, frozen=True),
            BaselineJob(*common(workspace), view(workspace, MFCC), "linear_svm", budget, repeat=2),
        )
        rows = drawn[-3:]
        assert all(np.array_equal(rows[0][0], other[0]) for other in rows)
        emotions = workspace.table["emotion"].iloc[rows[0][0]].value_counts()
        assert emotions.tolist() == [max(1, round(fraction * 24))] * 3  # of 24 of a class in 3 training groups
        sizes.append(set(rows[0][0]))
    assert sizes[0] < sizes[1] < sizes[2] <= set(workspace.folds["A"].train)
    for job in (finetuning(workspace, repeat=3), finetuning(workspace, fold="B", repeat=2)):
        half = dataclasses.replace(job, budget=LabelBudget(0.5))
        one(workspace, half)
        assert set(drawn[-1][0]) != sizes[2]


def test_validation_out_of_the_budget(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)
    fold = workspace.folds["A"]
    both, _ = budget_indices(workspace, fold, LabelBudget(None, 5), "none", 3)
    train, validation = budget_indices(workspace, fold, LabelBudget(None, 5), "budget", 3)
    assert sorted([*train, *validation]) == sorted(both)
    assert not set(train) & set(validation)
    assert len(validation) == 3
    result = one(workspace, finetuning(workspace, budget=LabelBudget(None, 5), validation="budget"))
    assert metric(result, "train", "n_labels") == 15
    assert metric(result, "validation", "n") == 3
    none = one(workspace, finetuning(workspace, budget=LabelBudget(None, 5), validation="none"))
    assert {split for split, _, _ in none.metrics} == {"train", "test"}
    assert metric(none, "train", "epochs_run") == metric(none, "train", "best_epoch") == FINETUNING.epochs


def test_full_validation_is_the_whole_group(toy: Any, tmp_path: Path) -> None:
    some = relabelled(toy, [24, 25], "")
    workspace = some.workspace(tmp_path)
    _, validation = budget_indices(workspace, workspace.folds["A"], LabelBudget(0.1), "full", 0)
    assert set(validation) == set(range(26, 48))
    silent = relabelled(toy, range(24, 48), "")
    split = silent.table.assign(split=["test"] * 24 + ["val"] * 24 + ["train"] * 72)
    none = dataclasses.replace(silent, table=split).workspace(tmp_path, folds="official")
    job = finetuning(none, fold="official")
    assert "no utterance of its validation part has a label" in error(none, job)
    assert not run(none, finetuning(none, fold="official", validation="budget"))[0].error


def test_groups_without_labels_train_and_are_never_tested(toy: Any, tmp_path: Path) -> None:
    workspace = relabelled(toy, range(24, 48), "").workspace(tmp_path)  # all of speaker B
    assert sorted(workspace.folds) == ["A", "C", "D", "E"]
    for fold in workspace.folds.values():
        assert set(range(24, 48)) <= set(fold.train)
    assert set(workspace.folds["A"].validation) == set(range(48, 72))
    assert workspace.warnings == ["1 group without any label (24 recordings): trained on, never tested."]
    assert not run(workspace, finetuning(workspace))[0].error


def test_a_group_of_which_nothing_can_be_used_is_no_fold(toy: Any, tmp_path: Path) -> None:
    gone = dataclasses.replace(toy, errors=dict.fromkeys(range(24, 48), "not found")).write(tmp_path / "s")
    workspace = gone.workspace(tmp_path)  # all of speaker B
    assert sorted(workspace.folds) == ["A", "C", "D", "E"]
    assert workspace.folds["A"].validation_group == "C"
    assert sorted(np.concatenate(list(workspace.folds["A"].parts.values()))) == list(range(96))
    assert "No recording of B can be used: there is no fold that tests them." in workspace.warnings
    pretrained = pretraining(workspace)
    one(workspace, pretrained)
    one(workspace, finetuning(workspace, init=pretrained.id))
    # What is left of B has no label: it trains.
    table = relabelled(gone, [24], "").table
    left = dataclasses.replace(gone, table=table, errors=dict.fromkeys(range(25, 48), "cut off")).write(tmp_path / "l")
    workspace = left.workspace(tmp_path)
    assert sorted(workspace.folds) == ["A", "C", "D", "E"]
    assert all(24 in fold.train for fold in workspace.folds.values())
    split = toy.table.assign(split=["train"] * 24 + ["test"] * 24 + ["train"] * 72)
    with pytest.raises(StoreError, match="Fold official: no recording of its test part can be used"):
        dataclasses.replace(gone, table=split).workspace(tmp_path, folds="official")


def test_a_class_with_one_example(toy: Any, tmp_path: Path) -> None:
    workspace = relabelled(toy, [119], "disgust").workspace(tmp_path)  # said once, by speaker E
    result = one(workspace, finetuning(workspace, budget=LabelBudget(0.1), validation="budget"))
    assert metric(result, "train", "n_labels") == 3 * 2 + 1
    assert metric(one(workspace, finetuning(workspace)), "test", "n") == 24
    assert "only 1 of 'disgust'" in error(workspace, finetuning(workspace, budget=LabelBudget(None, 2)))


def test_a_class_that_one_group_alone_has(toy: Any, tmp_path: Path) -> None:
    """The other folds are trained on the classes that are there, and every part that lacks it is named at the start."""
    workspace = relabelled(toy, [119], "disgust").workspace(tmp_path)  # speaker E, who validates fold D
    test, validation, train = (
        "no test utterance is labelled disgust; that fold's test UAR is over the other classes.",
        "no validation utterance is labelled disgust; what is chosen by the validation UAR is chosen without it.",
        "no training utterance is labelled disgust; it can't be learnt there, and every test utterance of it counts as "
        "missed.",
    )
    said = {
        fold: [w.removeprefix(f"Fold {fold}: ") for w in workspace.warnings if f" {fold}: " in w] for fold in "ABCDE"
    }
    assert said == {**{fold: [validation, test] for fold in "ABC"}, "D": [train, test], "E": [train, validation]}
    baseline = BaselineJob(*common(workspace, "E"), view(workspace), "logistic_regression")
    for job in (finetuning(workspace, fold="E"), baseline):
        result = one(workspace, job)
        given = result.predictions
        assert (given.labels, sum(t == "disgust" for t in given.y_true)) == (workspace.labels, 1)
        # over the four classes that are tested, of which the one that was never heard is missed
        recalls = [np.mean([p == label for t, p in zip(given.y_true, given.y_pred, strict=True) if t == label])
                   for label in sorted(set(given.y_true))]  # fmt: skip
        assert len(recalls) == len(workspace.labels)
        assert metric(result, "test", "uar") == pytest.approx(np.mean(recalls))
    alone = toy.table.assign(emotion=["joy"] * 96 + ["anger"] * 24)
    single = dataclasses.replace(toy, table=alone).workspace(tmp_path)
    assert "Fold E: learning needs training utterances of at least 2 emotions; it has labels of 1" in error(
        single, finetuning(single, fold="E")
    )


def test_labels_that_can_not_be_learnt(toy: Any, tmp_path: Path) -> None:
    none = relabelled(toy, range(120), "").workspace(tmp_path)
    single = relabelled(toy, range(120), "joy").workspace(tmp_path)
    for job in (finetuning(none), BaselineJob(*common(none), view(none), "logistic_regression")):
        assert "at least 2 emotions; the table's labels: none" in error(none, job)
    for job in (finetuning(single), BaselineJob(*common(single), view(single), "linear_svm")):
        assert "at least 2 emotions; the table's labels: joy" in error(single, job)
    one(none, pretraining(none))  # which needs no labels
    split = relabelled(toy, range(24), "")
    split = dataclasses.replace(split, table=split.table.assign(split=["test"] * 24 + ["val"] * 24 + ["train"] * 72))
    test = split.workspace(tmp_path, folds="official")
    assert "Fold official: no test utterance has a label" in error(test, finetuning(test, fold="official"))


def test_groups(toy: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"at least 3 groups .*got 1: all"):
        dataclasses.replace(toy, table=toy.table.assign(speaker="all", group="all")).workspace(tmp_path)
    assert sorted(toy.workspace(tmp_path, folds=3).folds) == ["A+D", "B+E", "C"]
    split = toy.table.assign(split=["test"] * 24 + ["val"] * 24 + ["train"] * 72)
    official = dataclasses.replace(toy, table=split).workspace(tmp_path, folds="official")
    result = one(official, finetuning(official, fold="official"))
    assert result.predictions is not None
    assert list(result.predictions.ids) == list(toy.table["id"][:24])


# The store, the table and the checkpoint a job was made for


def test_utterances_that_were_not_extracted(toy: Any, tmp_path: Path) -> None:
    corpus = toy.write(tmp_path / "store")
    for folder in (tmp_path / "store").glob("mfcc-*"):
        for file in folder.glob("*.safetensors"):
            file.unlink()
    corpus.workspace(tmp_path, views=1)
    with pytest.raises(StoreError) as caught:
        corpus.workspace(tmp_path)
    label = next(request.label for request in corpus.config(tmp_path).views if request.name == "mfcc")
    assert f"120 of 120 utterances have no {label}" in str(caught.value)
    assert f"Run: emoviews extract TABLE --store {tmp_path / 'store'} --views '{label}'" in str(caught.value)


def test_recordings_that_failed_are_left_out_and_said_to_be(toy: Any, tmp_path: Path) -> None:
    corpus = dataclasses.replace(toy, errors={3: "it is silent", 30: "cut off"}).write(tmp_path / "store")
    workspace = corpus.workspace(tmp_path)
    assert len(workspace.table) == len(workspace.sources) == len(workspace.data(view(workspace)[0])) == 118
    assert workspace.warnings == ["2 of 120 utterances could not be extracted and are left out (first: it is silent)"]
    assert metric(one(workspace, finetuning(workspace)), "test", "n") == 23
    assert workspace.hashes == toy.workspace(tmp_path).hashes  # so that a checkpoint of other views still fits
    with pytest.raises(StoreError, match="No utterance of the table can be used: nothing to hear"):
        dataclasses.replace(toy, errors=dict.fromkeys(range(120), "nothing to hear")).write(tmp_path / "s").workspace(
            tmp_path
        )


def test_a_job_for_something_else_is_refused(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)
    job = finetuning(workspace)
    label, fingerprint = view(workspace)
    message = error(workspace, dataclasses.replace(job, view=(label, "0" * 12)))
    assert fingerprint in message
    assert "0" * 12 in message
    assert "have" not in error(workspace, dataclasses.replace(job, view=("egemaps", "0" * 12)))
    for change, here in (("table", workspace.table_hash), ("split", workspace.hashes["A"])):
        message = error(workspace, dataclasses.replace(job, **{change: "another"}))
        assert "another" in message
        assert here in message
    assert "does not exist" in error(workspace, dataclasses.replace(job, fold="nobody"))
    assert "wants scaling 'none'; this run's is 'zscore'" in error(workspace, dataclasses.replace(job, scaling="none"))


def test_a_job_is_of_its_recordings_labels_and_texts(toy: Any, tmp_path: Path) -> None:
    here = toy.workspace(tmp_path).table_hash
    again = toy.write(tmp_path / "again").workspace(tmp_path)
    assert again.table_hash == here
    keys = dataclasses.replace(toy, keys=["f" * 32, *toy.keys[1:]]).write(tmp_path / "keys")
    others = [keys, relabelled(toy, [3], "joy"), dataclasses.replace(toy, table=toy.table.assign(text="hello"))]
    assert len({here, *(other.workspace(tmp_path).table_hash for other in others)}) == 4


def test_a_checkpoint_of_another_split_or_job_is_refused(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)
    jobs = {fold: pretraining(workspace, fold) for fold in "AB"}
    assert not any(result.error for result in run(workspace, *jobs.values()))
    for job in (
        finetuning(workspace, "A", init=jobs["B"].id),
        ProbeJob(*common(workspace, "A"), view(workspace), jobs["B"].id),
    ):
        message = error(workspace, job)
        assert workspace.hashes["A"] in message
        assert workspace.hashes["B"] in message
    swapped = {jobs["A"].id: workspace.checkpoint_folder(jobs["B"].id)}
    workspace.config = dataclasses.replace(workspace.config, checkpoints=swapped)
    message = error(workspace, finetuning(workspace, init=jobs["A"].id))
    assert f"the checkpoint of job {jobs['B'].id}; expected that of {jobs['A'].id}" in message
    assert "holds no checkpoint" in error(workspace, finetuning(workspace, init="0" * 16))


# What jobs leave


def test_a_pretraining_leaves_a_checkpoint_that_names_what_made_it(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)
    job = pretraining(workspace)
    result = one(workspace, job)
    made = workspace.checkpoint(job.id).made
    assert made["job"]["split"] == workspace.hashes["A"]
    assert (made["test_group_left_out"], made["n_train"], made["n_validation"]) == (["A"], 72, 24)
    assert metric(result, "train", "epochs_run") == 3
    assert metric(result, "test", "retrieval_chance") == pytest.approx(1 / 24)
    mel, mfcc = (view(workspace, n)[0] for n in (MEL, MFCC))
    names = {name for split, name, _ in result.metrics if split == "test"}
    assert {f"retrieval {mel} to {mfcc}", f"retrieval_random {mfcc} to {mel}"} <= names
    assert {epoch for epoch, _, _ in result.curves} == {1, 2, 3}
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [job.id]


def test_an_interrupted_pretraining_keeps_its_state_beside_the_checkpoint(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)
    jobs = [pretraining(workspace, fold) for fold in "AB"]
    folders = {job.id: tmp_path / f"session.{number}" for number, job in enumerate(jobs)}  # names with a dot
    workspace.config = dataclasses.replace(workspace.config, checkpoints=folders)

    def stop(job: Job, row: dict[str, float]) -> None:
        raise KeyboardInterrupt

    for job in jobs:
        with pytest.raises(KeyboardInterrupt):
            list(run_jobs([job], workspace, stop))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["session.0.unfinished", "session.1.unfinished"]
    run(workspace, *jobs)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["session.0", "session.1"]


@pytest.mark.parametrize(("data", "n"), [("all", 72), ("target", 69), ("out_of_distribution+undecided", 3)])
def test_pretraining_data(toy: Any, tmp_path: Path, data: Any, n: int) -> None:
    workspace = relabelled(toy, [30, 31, 50, 60, 70], "").workspace(tmp_path)
    job = pretraining(workspace, data=data)
    assert metric(one(workspace, job), "train", "n") == n
    assert workspace.checkpoint(job.id).made["n_validation"] == {72: 24, 69: 22, 3: 2}[n]


def test_predictions_are_of_the_test_group_and_scored_as_scikit_learn_does(toy: Any, tmp_path: Path) -> None:
    workspace = relabelled(toy, [2, 9], "").workspace(tmp_path)
    result = one(workspace, finetuning(workspace))
    said = result.predictions
    assert said is not None
    expected = [i for i in range(24) if i not in (2, 9)]
    assert list(said.ids) == toy.table["id"].iloc[expected].tolist()
    assert list(said.y_true) == toy.table["emotion"].iloc[expected].tolist()
    assert [said.labels[i] for i in said.probabilities.argmax(axis=1)] == list(said.y_pred)
    np.testing.assert_allclose(said.probabilities.sum(axis=1), 1, atol=1e-6)
    assert metric(result, "test", "uar") == pytest.approx(balanced_accuracy_score(said.y_true, said.y_pred))
    assert metric(result, "test", "wa") == pytest.approx(accuracy_score(said.y_true, said.y_pred))
    assert metric(result, "test", "macro_f1") == pytest.approx(f1_score(said.y_true, said.y_pred, average="macro"))


def test_equal_jobs_give_equal_numbers_and_seeds_count(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)
    job = finetuning(workspace, budget=LabelBudget(0.2))
    first, second = (one(toy.workspace(tmp_path), job) for _ in range(2))
    assert (first.metrics, first.curves) == (second.metrics, second.curves)
    assert one(workspace, dataclasses.replace(job, seed=6)).curves != first.curves
    spec = workspace.specs[view(workspace)[0]]
    weights = [fresh_encoder(spec, "default", seed).state_dict()["layers.0.weight"] for seed in (1, 1, 2)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_scaling_is_of_the_training_part(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)
    label, _ = view(workspace)
    scaler = workspace.scaler(label, workspace.folds["B"])
    frames = np.concatenate([toy.arrays[label][i].astype(np.float16) for i in (*range(24), *range(72, 120))])
    assert scaler is not None
    np.testing.assert_allclose(scaler.mean, frames.astype(float).mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(scaler.deviation, frames.astype(float).std(axis=0), rtol=1e-5)
    raw = toy.workspace(tmp_path, scaling="none")
    assert raw.scaler(label, raw.folds["B"]) is None
    assert finetuning(raw).id != finetuning(workspace).id
    assert one(raw, finetuning(raw)).curves != one(workspace, finetuning(workspace)).curves


def test_a_defect_is_recorded_with_its_traceback_and_the_others_go_on(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = toy.workspace(tmp_path)
    plain = finetuning_runner.classified

    def broken(*given: Any, **named: Any) -> Any:
        monkeypatch.setattr(finetuning_runner, "classified", plain)
        raise MemoryError("no room")

    monkeypatch.setattr(finetuning_runner, "classified", broken)
    bad, good = run(workspace, finetuning(workspace), finetuning(workspace, repeat=1))
    assert "Traceback" in bad.error
    assert "MemoryError: no room" in bad.error
    assert not good.error
    assert good.seconds > 0


# Banks


def test_banks_are_of_trainings_that_take_the_same_steps(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path, views=3)
    first = pretraining(workspace)
    budget = LabelBudget(0.25)
    alike = [
        dataclasses.replace(finetuning(workspace, init=init, repeat=repeat, budget=budget), seed=repeat)
        for repeat in range(3)
        for init in (RANDOM, first.id)
    ]
    job = alike[0]
    others = [
        dataclasses.replace(job, **change)
        for change in (
            {"frozen": True},
            {"budget": LabelBudget(0.5)},
            {"validation": "budget"},
            {"view": view(workspace, MFCC)},
            {"preset": "paper-table"},
            {"config": dataclasses.replace(FINETUNING, epochs=4)},
        )
    ]
    others.append(finetuning(workspace, "B", budget=budget))
    rest = [first, BaselineJob(*common(workspace), view(workspace), "linear_svm", budget)]
    found = banks([*alike[:3], *others, *rest, *alike[3:], *alike])
    assert found[0] == tuple(alike)
    assert found[1:] == [(other,) for other in [*others, *rest]]


def test_a_large_bank_is_cut_into_equal_parts(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)
    jobs = [finetuning(workspace, repeat=repeat) for repeat in range(2 * BANK + 1)]
    found = banks(jobs)
    assert [job for bank in found for job in bank] == jobs
    assert len(found) == 3
    assert max(map(len, found)) - min(map(len, found)) <= 1
    assert banks(jobs, "cuda") == [tuple(jobs)]  # a GPU takes them all; where it has no room, it halves them


def test_no_job_is_in_a_bank_with_one_it_starts_from(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)
    first = finetuning(workspace, keep=True)
    second = finetuning(workspace, init=first.id, keep=True)
    third = finetuning(workspace, init=second.id)
    beside = finetuning(workspace, repeat=1)
    assert banks([third, beside, second, first]) == [(third,), (beside, first), (second,)]


def test_a_bank_gives_the_rows_of_its_jobs_run_alone(toy: Any, tmp_path: Path) -> None:
    """Supervised, pre-trained, kept, of several repeats: what they are trained with changes no bit."""
    workspace = toy.workspace(tmp_path)
    first = pretraining(workspace)
    one(workspace, first)
    for frozen in (False, True):
        for rule in ("full", "budget"):
            jobs = [
                finetuning(
                    workspace,
                    init=init,
                    repeat=repeat,
                    frozen=frozen,
                    validation=rule,
                    budget=LabelBudget(0.25),
                    keep=init == RANDOM,
                )
                for repeat in range(2)
                for init in (RANDOM, first.id)
            ]
            assert banks(jobs) == [tuple(jobs)]
            for job, result in zip(jobs, run(workspace, *jobs), strict=True):
                alone = one(workspace, job)
                assert result.job == job
                assert not result.error
                assert (result.metrics, result.curves) == (alone.metrics, alone.curves)
                assert result.predictions is not None
                assert alone.predictions is not None
                np.testing.assert_array_equal(result.predictions.probabilities, alone.predictions.probabilities)
                assert result.seconds > 0


def test_one_job_of_a_bank_may_fail(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One can't be prepared, the weights of another are not numbers; the rest is as if they were not there."""
    workspace = toy.workspace(tmp_path)
    jobs = [finetuning(workspace, repeat=repeat) for repeat in range(3)]
    foreign = finetuning(workspace, init="0" * 16)
    plain = finetuning_runner._prepare

    def broken(job: Any, *given: Any) -> Any:
        prepared = plain(job, *given)
        if job.repeat == 1:
            with torch.no_grad():
                prepared.member.classifier.layers[0].weight[0, 0] = torch.nan
        return prepared

    clean = run(workspace, *jobs)
    monkeypatch.setattr(finetuning_runner, "_prepare", broken)
    results = run(workspace, jobs[0], foreign, jobs[1], jobs[2])
    assert [result.job for result in results] == [jobs[0], foreign, jobs[1], jobs[2]]
    assert "holds no checkpoint" in results[1].error
    assert "The fine-tuning loss is nan in epoch 1; try a lower learning rate" in results[2].error
    assert "Traceback" not in results[2].error
    for mine, its in ((results[0], clean[0]), (results[3], clean[2])):
        assert (mine.error, mine.metrics, mine.curves) == ("", its.metrics, its.curves)


def test_encoders_that_can_not_be_stacked_are_trained_one_at_a_time(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = toy.workspace(tmp_path)
    jobs = [finetuning(workspace, repeat=repeat, budget=LabelBudget(0.25)) for repeat in range(2)]
    together = run(workspace, *jobs)
    monkeypatch.setattr(TemporalCNN, "banks", False)
    apart = run(workspace, *jobs)
    for mine, its in zip(apart, together, strict=True):
        assert not mine.error
        assert [m[:2] for m in mine.metrics] == [m[:2] for m in its.metrics]
        np.testing.assert_allclose([c[2] for c in mine.curves], [c[2] for c in its.curves], atol=1e-4)


def test_a_kept_encoder_is_what_others_start_from(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)
    kept = finetuning(workspace, keep=True, budget=LabelBudget(0.5))
    alone = finetuning(workspace, budget=LabelBudget(0.5))
    assert one(workspace, kept).metrics == one(workspace, alone).metrics
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [kept.id]
    checkpoint = workspace.checkpoint(kept.id)
    assert checkpoint.made["job"] == json.loads(json.dumps(kept.description))
    assert (checkpoint.made["n_train"], checkpoint.made["n_validation"]) == (36, 24)
    assert checkpoint.made["test_group_left_out"] == ["A"]
    encoder, scaler = initial_encoder(kept.id, kept.view, "default", 0, workspace, workspace.folds["A"])
    fresh = fresh_encoder(workspace.specs[kept.view[0]], "default", kept.seed)
    name = "layers.0.weight"
    assert not torch.equal(encoder.state_dict()[name], fresh.state_dict()[name])
    fitted = workspace.scaler(kept.view[0], workspace.folds["A"])
    assert scaler is not None
    assert fitted is not None
    np.testing.assert_array_equal(scaler.mean, fitted.mean)
    # A head on the kept encoder, frozen, finds the emotions that the encoder was trained to tell.
    follower = one(workspace, finetuning(workspace, init=kept.id, frozen=True))
    assert metric(follower, "train", "epochs_run") == FINETUNING.epochs
    assert workspace.hashes["B"] in error(workspace, finetuning(workspace, "B", init=kept.id))
    assert "preset" in error(workspace, dataclasses.replace(finetuning(workspace, init=kept.id), preset="paper-text"))


# Baselines and probes


@pytest.mark.parametrize("number", [MFCC, EGEMAPS])
@pytest.mark.parametrize("method", ["logistic_regression", "linear_svm"])
def test_a_baseline_is_what_scikit_learn_gives(toy: Any, tmp_path: Path, method: Any, number: int) -> None:
    some = (toy.table["emotion"] == "anger") & (toy.table["text"] > "sentence 2")
    workspace = relabelled(toy, some, "").workspace(tmp_path, views=3)  # classes of other sizes
    job = BaselineJob(*common(workspace), view(workspace, number), method, LabelBudget(0.25), repeat=1)
    result = one(workspace, job)
    fold = workspace.folds["A"]
    train, validation = budget_indices(workspace, fold, job.budget, "full", subset_seed(job))
    kept = np.float16 if number == MFCC else np.float32
    rows = [np.atleast_2d(a.astype(kept)).astype(np.float32).mean(axis=0) for a in toy.arrays[job.view[0]]]
    features, emotions = np.stack(rows).astype(float), workspace.table["emotion"].to_numpy()
    test = fold.test[emotions[fold.test] != ""]
    scaler = StandardScaler().fit(features[fold.train])  # all training recordings, labelled or not
    best: tuple[float, float] | None = None
    for c in BASELINE_REGULARISATION:
        if method == "logistic_regression":
            model: Any = LogisticRegression(C=c, max_iter=2000, class_weight="balanced")
        else:
            model = LinearSVC(C=c, max_iter=20_000, class_weight="balanced", random_state=5)
        model.fit(scaler.transform(features[train]), emotions[train])
        together = make_pipeline(scaler, model)
        score = balanced_accuracy_score(emotions[validation], together.predict(features[validation]))
        rank = (score, -abs(np.log10(c / 0.1)))
        if best is None or rank > best:
            best, chosen, said = rank, c, together.predict(features[test])
            if method == "logistic_regression":
                scores = together.predict_proba(features[test])
            else:
                scores = np.exp(together.decision_function(features[test]))
                scores /= scores.sum(axis=1, keepdims=True)
    assert result.predictions is not None
    assert list(result.predictions.y_pred) == list(said)
    np.testing.assert_allclose(result.predictions.probabilities, scores, atol=1e-4)
    assert metric(result, "train", "regularisation") == chosen
    assert metric(result, "test", "uar") == pytest.approx(balanced_accuracy_score(emotions[test], said))
    unvalidated = one(workspace, dataclasses.replace(job, validation="none"))
    assert metric(unvalidated, "train", "regularisation") == 0.1


def test_a_baseline_of_two_classes(toy: Any, tmp_path: Path) -> None:
    two = relabelled(toy, toy.table["emotion"] == "anger", "").workspace(tmp_path)
    for method in ("logistic_regression", "linear_svm"):
        result = one(two, BaselineJob(*common(two), view(two), method))
        assert result.predictions is not None
        said = [result.predictions.labels[i] for i in result.predictions.probabilities.argmax(axis=1)]
        assert said == list(result.predictions.y_pred)
        assert metric(result, "test", "uar") > 0.6


def planted(
    toy: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, columns: Sequence[str], noise: float = 0.01
) -> dict[str, float]:
    """Probes on embeddings that hold these columns of the table, one-hot, and noise."""
    workspace = toy.workspace(folder)
    table = workspace.table.assign(duration=np.log(workspace.durations))
    rng = np.random.default_rng(3)
    parts = [rng.normal(size=(120, 6)) * noise]
    for column in columns:
        names, codes = np.unique(table[column].to_numpy().astype(str), return_inverse=True)
        parts.append(table[[column]].to_numpy() if column == "duration" else np.eye(len(names))[codes])
    embedded = torch.from_numpy(np.hstack(parts).astype(np.float32))
    monkeypatch.setattr("emoviews.runners._common.embed", lambda *given, **named: embedded)
    found = one(workspace, ProbeJob(*common(workspace), view(workspace), RANDOM)).metrics
    assert {split for split, _, _ in found} == {"test"}
    return {name: value for _, name, value in found}


@pytest.mark.parametrize(
    ("column", "name", "chance"),
    [
        ("emotion", "probe_emotion_uar", 1 / 3),
        ("speaker", "probe_speaker_accuracy", 1 / 2),
        ("text", "probe_sentence_accuracy", 1 / 8),
        ("duration", "probe_duration_r2", 0.0),
    ],
)
def test_a_probe_finds_what_is_there_and_nothing_where_nothing_is(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str, name: str, chance: float
) -> None:
    others = {"emotion", "speaker", "text"} - {column}
    if column != "duration":
        assert planted(toy, tmp_path, monkeypatch, [column])[name] == 1.0
        assert planted(toy, tmp_path, monkeypatch, [], noise=1.0).get(f"{name.rsplit('_', 1)[0]}_chance") == chance
    else:
        assert planted(toy, tmp_path, monkeypatch, [column])[name] > 0.9
    without = planted(toy, tmp_path, monkeypatch, sorted(others))[name]
    assert without < chance + 0.3  # 24 test utterances: a standard error of up to 0.1
    assert planted(toy, tmp_path, monkeypatch, [], noise=1.0)[name] < chance + 0.3


def test_probes_leave_out_what_the_table_does_not_say(toy: Any, tmp_path: Path) -> None:
    table = toy.table.assign(text="", emotion="", speaker="")
    workspace = dataclasses.replace(toy, table=table).workspace(tmp_path)
    found = one(workspace, ProbeJob(*common(workspace), view(workspace), RANDOM))
    assert {name for _, name, _ in found.metrics} == {"probe_duration_r2"}
