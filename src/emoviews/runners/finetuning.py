"""Run fine-tunings, a bank at a time: draw the labels, train a classifier on each encoder, test it."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from emoviews import splits
from emoviews.batching import Scaler
from emoviews.checkpoints import Checkpoint, Head, ViewCheckpoint, save_checkpoint
from emoviews.encoders import DEFAULT_ENCODER
from emoviews.ensembles import Member, finetune_many, predict_many
from emoviews.errors import TrainingError
from emoviews.finetuning import FineTuningHistory, finetune, predict_probabilities
from emoviews.heads import Classifier
from emoviews.jobs import RANDOM, FineTuningJob, JobResult
from emoviews.presets import get_preset
from emoviews.runners import recorded
from emoviews.runners._common import (
    budget_indices,
    check_fingerprints,
    classified,
    curve_rows,
    initial_encoder,
    require_same_labels,
    subset_seed,
)
from emoviews.seeds import derive_seed, torch_seed
from emoviews.workspace import Workspace


@dataclass(frozen=True)
class _Prepared:
    """A job with its model and its labels."""

    job: FineTuningJob
    fold: splits.Fold
    member: Member
    scaler: Scaler | None

    @property
    def alike(self) -> Hashable:
        """What models that are trained together have in common."""
        scaler = self.scaler and (self.scaler.mean.tobytes(), self.scaler.deviation.tobytes())
        member = self.member
        # An encoder that can't be stacked is trained by itself.
        alone = None if member.encoder.banks else self.job.id
        return self.job.view, self.job.frozen, self.job.config, scaler, len(member.train), len(member.validation), alone


def run_bank(jobs: Sequence[FineTuningJob], workspace: Workspace) -> list[JobResult]:
    """Train and test the classifiers of a bank (as `engine.banks` puts them together); a result each.

    A job that can't be prepared, trained or tested is recorded with its error and costs the others nothing.
    """
    results: dict[str, JobResult] = {}
    together: dict[Hashable, list[_Prepared]] = {}
    shared = _Shared(workspace)
    for job in jobs:
        with recorded([job], workspace, results):
            prepared = _prepare(job, workspace, shared)
            together.setdefault(prepared.alike, []).append(prepared)
    for group in together.values():
        with recorded([prepared.job for prepared in group], workspace, results):
            outcomes = _train(group, workspace)
            trained = [(p, o) for p, o in zip(group, outcomes, strict=True) if isinstance(o, FineTuningHistory)]
            answers = _answers([prepared for prepared, _ in trained], workspace)
            for prepared, outcome in zip(group, outcomes, strict=True):
                with recorded([prepared.job], workspace, results):
                    if isinstance(outcome, TrainingError):
                        raise outcome
            for (prepared, history), answer in zip(trained, answers, strict=True):
                with recorded([prepared.job], workspace, results):
                    if not all(np.isfinite(probabilities).all() for probabilities in answer.values()):
                        raise TrainingError(
                            "The trained model's probabilities are no numbers: its last step went astray. Try a lower learning "
                            f"rate (now {prepared.job.config.learning_rate:g})."
                        )
                    results[prepared.job.id] = _result(prepared, history, answer, workspace)
    return [results[job.id] for job in jobs]


class _Shared:
    """What several jobs of a bank need alike, found once: encoders that were trained before, and label subsets."""

    def __init__(self, workspace: Workspace) -> None:
        self.encoder = cache(
            lambda init, view, preset, seed, fold: initial_encoder(
                init, view, preset, seed, workspace, workspace.folds[fold]
            )
        )
        self.labels = cache(
            lambda fold, budget, validation, seed: budget_indices(
                workspace, workspace.folds[fold], budget, validation, seed
            )
        )


def _prepare(job: FineTuningJob, workspace: Workspace, shared: _Shared) -> _Prepared:
    """Draw the labels, make or load the encoder, put a classifier on it.

    Raises:
        EmoViewsError: the job is for something else, its labels can't be drawn, or its encoder can't be loaded.
    """
    fold = workspace.fold_of(job)
    check_fingerprints(workspace, (job.view,))
    if job.init != RANDOM:
        require_same_labels(job, workspace.trained_by(job.init), workspace)
    train, validation = shared.labels(fold.name, job.budget, job.validation, subset_seed(job))
    # What was trained before is the same whatever the job's seed. Frozen, jobs share the very encoder, which is applied once.
    seed = job.seed if job.init == RANDOM else 0
    encoder, scaler = shared.encoder(job.init, job.view, job.preset, seed, fold.name)
    encoder = encoder if job.frozen else copy.deepcopy(encoder)
    with torch_seed(derive_seed(job.seed, "classifier", job.view[0])):
        hidden = get_preset(job.preset).classifier_hidden
        classifier = Classifier(encoder.dim, len(workspace.labels), hidden=hidden)
    return _Prepared(job, fold, Member(encoder, classifier, train, validation, job.seed), scaler)


def _train(group: Sequence[_Prepared], workspace: Workspace) -> list[FineTuningHistory | TrainingError]:
    """Train what is alike: together, or alone where the encoder takes no stacked weights."""
    job, member, scaler = group[0].job, group[0].member, group[0].scaler
    data, targets, device = workspace.data(job.view[0]), workspace.targets, workspace.config.device
    if member.encoder.banks:
        members = [prepared.member for prepared in group]
        return list(finetune_many(data, targets, members, job.config, scaler=scaler, frozen=job.frozen, device=device))
    model = (member.encoder, member.classifier, member.train, member.validation)
    one = partial(finetune, data, targets, *model, job.config, scaler=scaler, frozen=job.frozen)
    return [one(seed=member.seed, device=device)]


def _answers(group: Sequence[_Prepared], workspace: Workspace) -> list[dict[bytes, NDArray[np.float32]]]:
    """Each model's probabilities for its validation and its test utterances, by the bytes of their indices."""
    found: list[dict[bytes, NDArray[np.float32]]] = [{} for _ in group]
    if not group:
        return found
    label, device, scaler = group[0].job.view[0], workspace.config.device, group[0].scaler
    data, members = workspace.data(label), [prepared.member for prepared in group]
    validation = [np.asarray(member.validation, dtype=np.int64) for member in members]
    for rows in (validation, [_tested(prepared, workspace) for prepared in group]):
        if not len(rows[0]):
            continue
        if members[0].encoder.banks:
            given = predict_many(data, members, rows, scaler=scaler, device=device)
        else:
            model = (members[0].encoder, members[0].classifier, rows[0])
            given = [predict_probabilities(data, *model, scaler=scaler, device=device)]
        for of_model, index, probabilities in zip(found, rows, given, strict=True):
            of_model[index.tobytes()] = probabilities
    return found


def _tested(prepared: _Prepared, workspace: Workspace) -> NDArray[np.int64]:
    """The labelled utterances of the test group."""
    test = np.asarray(prepared.fold.test, dtype=np.int64)
    return test[workspace.targets[test] >= 0]


def _result(
    prepared: _Prepared, history: FineTuningHistory, answers: dict[bytes, NDArray[np.float32]], workspace: Workspace
) -> JobResult:
    """Score a trained classifier; where its encoder is to be kept, leave it as a checkpoint."""
    job, fold, member = prepared.job, prepared.fold, prepared.member
    train, validation = np.asarray(member.train), np.asarray(member.validation)
    rows = [("train", "epochs_run", float(len(history.curves))), ("train", "best_epoch", float(history.best_epoch))]
    curves = curve_rows(history.curves)
    result = classified(job, workspace, fold, train, validation, lambda index: answers[index.tobytes()], rows, curves)
    if job.keep:
        _keep(prepared, history.best_epoch, workspace)
    return result


def _keep(prepared: _Prepared, best_epoch: int, workspace: Workspace) -> None:
    """Leave encoder and classifier where a pre-training would leave its encoders."""
    job, encoder = prepared.job, prepared.member.encoder
    spec = workspace.specs[job.view[0]]
    name = DEFAULT_ENCODER[spec.axes]
    made_as = (name, dict(get_preset(job.preset).encoders.get(name, {})))
    made = {
        "job_id": job.id,
        "job": job.description,
        "best_epoch": best_epoch,
        "test_group_left_out": list(np.unique(workspace.table["group"].to_numpy()[prepared.fold.test])),
        "n_train": len(prepared.member.train),
        "n_validation": len(prepared.member.validation),
    }
    head = Head(workspace.labels, get_preset(job.preset).classifier_hidden, prepared.member.classifier.state_dict())
    view = ViewCheckpoint(spec, made_as, encoder.state_dict(), prepared.scaler, head)
    save_checkpoint(workspace.checkpoint_folder(job.id), Checkpoint({job.view[0]: view}, made))
