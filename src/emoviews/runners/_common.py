"""What the runners of several kinds share: which labels a job may use, where its encoder comes from, how it is tested."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoviews import metrics, splits
from emoviews.batching import Scaler
from emoviews.checkpoints import ViewCheckpoint
from emoviews.configs import LabelBudget
from emoviews.encoders import DEFAULT_ENCODER, Encoder, make_encoder
from emoviews.errors import CheckpointError, StoreError, TableError, UsageError
from emoviews.finetuning import embed
from emoviews.jobs import RANDOM, BaselineJob, FineTuningJob, JobResult, Predictions, PretrainingJob
from emoviews.presets import get_preset
from emoviews.seeds import derive_seed, torch_seed
from emoviews.types import ViewSpec
from emoviews.workspace import Workspace


def fresh_encoder(spec: ViewSpec, preset_name: str, seed: int) -> Encoder:
    """A randomly initialised encoder for a view; equal seeds give equal weights."""
    name = DEFAULT_ENCODER[spec.axes]
    with torch_seed(derive_seed(seed, "encoder", spec.fingerprint)):
        return make_encoder(spec, name, **get_preset(preset_name).encoders.get(name, {}))


def restored_encoder(view: ViewCheckpoint) -> Encoder:
    """The encoder of a checkpoint.

    Raises:
        CheckpointError: the weights do not fit the encoder that the checkpoint names.
    """
    name, parameters = view.encoder
    encoder = make_encoder(view.spec, name, **parameters)
    try:
        encoder.load_state_dict(dict(view.tensors))
    except RuntimeError as error:
        raise CheckpointError(f"The checkpoint's weights do not fit its encoder {name!r}: {error}") from error
    return encoder


def initial_encoder(
    init: str, view: tuple[str, str], preset: str, seed: int, workspace: Workspace, fold: splits.Fold
) -> tuple[Encoder, Scaler | None]:
    """A fresh encoder with the fold's scaler, or a pre-trained one with the scaler it was trained with.

    Raises:
        CheckpointError: the checkpoint is of another view, extraction or split, or saw the test group.
    """
    label, fingerprint = view
    if init == RANDOM:
        return fresh_encoder(workspace.specs[label], preset, seed), workspace.scaler(label, fold)
    checkpoint = workspace.checkpoint(init)
    made_for = checkpoint.made.get("job", {}).get("split")
    if made_for != workspace.hashes[fold.name]:
        raise CheckpointError(
            f"The checkpoint was pre-trained on split {made_for}, this fold's is {workspace.hashes[fold.name]}: its training "
            "data may hold this fold's test recordings. Pre-train on the same table and folds."
        )
    made = checkpoint.made["job"]
    for name, mine in (("preset", preset), ("scaling", workspace.config.scaling)):
        if made.get(name) != mine:
            raise CheckpointError(
                f"The checkpoint was pre-trained with {name} {made.get(name)!r}; this run has {mine!r}. Give --{name} "
                f"{made.get(name)}, or pre-train again."
            )
    found = checkpoint.view(label, fingerprint)
    return restored_encoder(found), found.scaler


def embedded_table(
    init: str, view: tuple[str, str], preset: str, seed: int, workspace: Workspace, fold: splits.Fold
) -> NDArray[np.float32]:
    """What an encoder (`initial_encoder`) makes of every utterance of the table, without dropout: `(n, dim)`."""

    def compute() -> NDArray[np.float32]:
        encoder, scaler = initial_encoder(init, view, preset, seed, workspace, fold)
        rows = embed(workspace.data(view[0]), encoder, scaler=scaler, device=workspace.config.device)
        found: NDArray[np.float32] = rows.cpu().numpy()
        return found

    # What was trained before is the same whatever the job's seed.
    return workspace.embedded((init, view, preset, seed if init == RANDOM else 0, fold.name), compute)


def budget_indices(
    workspace: Workspace, fold: splits.Fold, budget: LabelBudget, validation: str, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Utterances whose labels a training may use, and those that validate it.

    The seed alone decides the subset, so that all methods of a repeat use the same labels.

    Raises:
        UsageError: fewer than two classes, or a budget that a class can't fill.
        TableError: the training part has labels of one class alone, or the validation part has none.
    """
    if len(workspace.labels) < 2:
        have = ", ".join(workspace.labels) or "none"
        raise UsageError(f"Learning needs utterances of at least 2 emotions; the table's labels: {have}.")
    targets = workspace.targets
    labelled = fold.train[targets[fold.train] >= 0]
    # A class that this fold can't learn is warned of where the workspace is opened.
    if (found := len(np.unique(targets[labelled]))) < 2:
        raise TableError(
            f"Fold {fold.name}: learning needs training utterances of at least 2 emotions; it has labels of {found}. Merge "
            "groups (--folds), or label more."
        )
    emotions = list(workspace.table["emotion"])
    chosen = splits.select_budget(
        [emotions[i] for i in labelled], fraction=budget.fraction, per_class=budget.per_class, seed=seed
    )
    train = labelled[chosen]
    if validation == "budget":
        inner_train, inner_validation = splits.validation_from_budget([emotions[i] for i in train], seed=seed)
        parts = {"train": train[inner_train], "validation": train[inner_validation], "test": fold.test}
        workspace.audit(parts, validation_within_train=True)
        return parts["train"], parts["validation"]
    if validation == "none":
        workspace.audit({"train": train, "test": fold.test})
        return train, np.array([], dtype=np.int64)
    other = fold.validation[targets[fold.validation] >= 0]
    if len(other) == 0:
        raise TableError(
            f"Fold {fold.name}: no utterance of its validation part has a label. Take the labels that validate out of the "
            "budget (validation 'budget'), or do without (validation 'none')."
        )
    workspace.audit({"train": train, "validation": other, "test": fold.test})
    return train, other


def subset_seed(job: FineTuningJob | BaselineJob | PretrainingJob) -> int:
    """Which labels are drawn depends on seed, fold and repeat alone, so that methods are compared on the same ones.

    Of a pre-training that uses labels it is that of the fine-tunings it is for.
    """
    seed = job.label_seed if isinstance(job, PretrainingJob) else job.seed
    return derive_seed(seed, "labels", job.fold, job.repeat)


def require_same_labels(job: FineTuningJob | BaselineJob, made: Mapping[str, Any], workspace: Workspace) -> None:
    """Refuse an encoder that was pre-trained with other labels than the job's: it would know more than the job says.

    Args:
        job: starts from the encoder.
        made: description of the job that trained the encoder. A pre-training without labels suits any, and so does a
            fine-tuning that was kept, whose labels are its own.
        workspace: of the job.

    Raises:
        CheckpointError: the budgets, the rules of validation or the drawn subsets differ, or the tables that they are of.
    """
    if made["kind"] != PretrainingJob.kind or made.get("budget") is None:
        return
    theirs = {
        "table": made["table"],
        "budget": LabelBudget(**made["budget"]),
        "validation": made["validation"],
        "repeat": made["repeat"],
        "seed of the labels": made["label_seed"],
    }
    mine = {
        "table": workspace.table_hash,
        "budget": job.budget,
        "validation": job.validation,
        "repeat": job.repeat,
        "seed of the labels": job.seed,
    }
    if not job.budget.is_drawn(job.validation):
        for drawn in ("repeat", "seed of the labels"):
            theirs.pop(drawn)
    for name, value in theirs.items():
        if mine[name] != value:
            raise CheckpointError(
                f"The encoder was pre-trained with labels, with {name} {value}; this training has {name} {mine[name]}, so it "
                "would know labels that are not its own. Pre-train with the labels of this one, or give this one those of the "
                "encoder."
            )


def check_fingerprints(workspace: Workspace, views: Sequence[tuple[str, str]]) -> None:
    for label, fingerprint in views:
        have = workspace.specs[label].fingerprint if label in workspace.specs else "not there"
        if have != fingerprint:
            raise StoreError(f"The job needs {label} with fingerprint {fingerprint}; this run's is {have}.")


def standardised(features: NDArray[Any], fold: splits.Fold) -> NDArray[np.float64]:
    """Features `(n, features)` of all utterances, z-scored by the fold's training part."""
    center, spread = features[fold.train].mean(axis=0), features[fold.train].std(axis=0)
    scaled: NDArray[np.float64] = (features - center) / np.where(spread > 1e-12, spread, 1.0)
    return scaled


def classified(
    job: FineTuningJob | BaselineJob,
    workspace: Workspace,
    fold: splits.Fold,
    train: NDArray[np.int64],
    validation: NDArray[np.int64],
    probabilities: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    rows: list[tuple[str, str, float]],
    curves: tuple[tuple[int, str, float], ...],
) -> JobResult:
    """Test a classifier: metrics on validation and test, predictions on test."""
    targets = workspace.targets
    test = np.asarray(fold.test, dtype=np.int64)
    test = test[targets[test] >= 0]
    if len(test) == 0:
        raise TableError(f"Fold {fold.name}: no test utterance has a label.")
    rows = [*rows, ("train", "n_labels", float(len(train) + (len(validation) if job.validation == "budget" else 0)))]
    found = None
    for split, indices in (("validation", validation), ("test", test)):
        if not len(indices):
            continue
        given = probabilities(indices)
        names = np.array(workspace.labels, dtype=object)
        y_true, y_pred = names[targets[indices]], names[given.argmax(axis=1)]
        rows += [(split, name, value) for name, value in metrics.evaluate(y_true, y_pred, workspace.labels).items()]
        if split == "test":
            ids = workspace.table["id"].to_numpy()[indices]
            found = Predictions(tuple(ids), tuple(y_true), tuple(y_pred), workspace.labels, given)
    return JobResult(job, 0.0, workspace.config.device, metrics=tuple(rows), curves=curves, predictions=found)


def curve_rows(curves: Sequence[Mapping[str, float]]) -> tuple[tuple[int, str, float], ...]:
    return tuple((epoch + 1, name, value) for epoch, row in enumerate(curves) for name, value in row.items())
