"""Run a pre-training: align the views' encoders, save them, and see how often an unseen utterance finds itself.

An utterance finds itself in another view; where there is one view alone, in another augmented version of itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emoviews import splits
from emoviews.augmentation import Augmentation
from emoviews.batching import ViewData
from emoviews.checkpoints import Checkpoint, ViewCheckpoint, save_checkpoint
from emoviews.encoders import DEFAULT_ENCODER
from emoviews.errors import UsageError
from emoviews.heads import ProjectionHead
from emoviews.jobs import JobResult, PretrainingData, PretrainingJob
from emoviews.losses import LOSSES
from emoviews.presets import get_preset
from emoviews.pretraining import ViewModel, augmented_copies, pretrain
from emoviews.runners import OnEpoch
from emoviews.runners._common import budget_indices, check_fingerprints, curve_rows, fresh_encoder, subset_seed
from emoviews.seeds import derive_seed, torch_seed
from emoviews.types import ViewBatch
from emoviews.workspace import Workspace

DATA: Final[Mapping[PretrainingData, str]] = {
    "all": "recordings",
    "target": "recordings with a target emotion",
    "out_of_distribution": "recordings with another emotion",
    "out_of_distribution+undecided": "recordings with another emotion or none that is known",
}
"""What the kinds of pre-training data are called in messages."""

_BLOCK: Final = 256  # utterances projected at a time; fixed, as augmented versions depend on their neighbours


def run(job: PretrainingJob, workspace: Workspace, on_epoch: OnEpoch) -> JobResult:
    """Pre-train on the fold's training part; the checkpoint goes to the job's folder."""
    fold = workspace.fold_of(job)
    preset = get_preset(job.preset)
    labels = [label for label, _ in job.views]
    check_fingerprints(workspace, job.views)
    augment = Augmentation(workspace.specs[labels[0]].axes) if len(labels) == 1 else None
    train, validation = chosen_rows(job, workspace, fold)
    targets = seen_labels(job, workspace, fold)
    workspace.audit({"pretraining": np.concatenate([train, validation]), "test": fold.test})
    models, encoders = {}, {}
    for label in labels:
        spec = workspace.specs[label]
        encoder = fresh_encoder(spec, job.preset, job.seed)
        with torch_seed(derive_seed(job.seed, "projection head", spec.fingerprint)):
            head = ProjectionHead(encoder.dim, **preset.projection)
        models[label] = ViewModel(encoder, head, workspace.scaler(label, fold))
        encoders[label] = (DEFAULT_ENCODER[spec.axes], dict(preset.encoders.get(DEFAULT_ENCODER[spec.axes], {})))
    data = {label: workspace.data(label) for label in labels}
    folder = workspace.checkpoint_folder(job.id)
    centred = LOSSES.load(job.config.loss).ignores_shift
    before = _retrieval(models, data, fold.test, workspace.config.device, augment, centred)
    history = pretrain(
        data,
        models,
        train,
        validation,
        job.config,
        seed=job.seed,
        labels=targets,
        device=workspace.config.device,
        precision=workspace.config.precision,
        state=folder.with_name(f"{folder.name}.unfinished"),
        state_of=job.id,
        augment=augment,
        on_epoch=on_epoch,
    )
    views = {
        label: ViewCheckpoint(workspace.specs[label], encoders[label], model.encoder.state_dict(), model.scaler)
        for label, model in models.items()
    }
    made = {
        "job_id": job.id,
        "job": job.description,
        "best_epoch": history.best_epoch,
        "test_group_left_out": list(np.unique(workspace.table["group"].to_numpy()[np.asarray(fold.test)])),
        "n_train": len(train),
        "n_validation": len(validation),
    }
    if augment is not None:
        made["augmentation"] = augment.description
    save_checkpoint(folder, Checkpoint(views, made))
    after = _retrieval(models, data, fold.test, workspace.config.device, augment, centred)
    best = history.curves[history.best_epoch - 1]
    rows = [("train", "epochs_run", float(history.epochs_run)), ("train", "best_epoch", float(history.best_epoch))]
    rows += [("train", "n", float(len(train))), ("train", "loss", best["train_loss"])]
    if "validation_loss" in best:
        rows.append(("validation", "loss", best["validation_loss"]))
    rows += [("test", f"retrieval_random {pair}", value) for pair, value in before.items()]
    rows += [("test", f"retrieval {pair}", value) for pair, value in after.items()]
    rows.append(("test", "retrieval_chance", 1.0 / len(fold.test)))
    ran_on = workspace.config.device + (", mixed precision" if workspace.config.precision == "mixed" else "")
    return JobResult(job, 0.0, ran_on, metrics=tuple(rows), curves=curve_rows(history.curves))


def chosen_rows(
    job: PretrainingJob, workspace: Workspace, fold: splits.Fold
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The utterances that a pre-training trains on and validates on, ascending positions in the table.

    Both are of the job's kind of data, as in the paper, whose sets have sessions of their own to validate: stopping by
    utterances that were left out on purpose would let them back in. Where `size` leaves a share of the training utterances, the
    same share of the validation utterances is drawn, at least two.

    Raises:
        UsageError: fewer than two of the kind where the fold has some to train or to validate on.
    """
    train, validation = (workspace.select(rows, job.data) for rows in (fold.train, fold.validation))
    for part, rows, every in (("train", train, fold.train), ("validate", validation, fold.validation)):
        if job.data != "all" and len(rows) < 2 <= len(every):
            raise UsageError(
                f"Fold {fold.name}: pre-training needs at least 2 {DATA[job.data]} to {part} on; {len(rows)} of {len(every)} "
                "are. Merge groups (--folds), or pre-train on all recordings."
            )
    if job.size is not None and job.size < len(train):
        share = job.size / len(train)
        train = splits.draw_rows(train, job.size, seed=job.seed)
        validation = splits.draw_rows(validation, max(2, round(share * len(validation))), seed=job.seed)
    return train, validation


def seen_labels(job: PretrainingJob, workspace: Workspace, fold: splits.Fold) -> NDArray[np.int64] | None:
    """The labels that a pre-training may see: `(n,)` by position in the table, −1 elsewhere; None if it uses none.

    They are those that train the fine-tunings it is for, and where a whole validation group stops these ("full") that group's,
    for the validation loss. Labels that were taken out of the budget to validate are not trained on here either.

    Raises:
        UsageError: a loss that uses labels without a budget, or a budget for one that uses none.
    """
    uses_labels = LOSSES.load(job.config.loss).uses_labels
    given = (job.budget, job.validation, job.repeat, job.label_seed)
    if not uses_labels:
        if given != (None,) * len(given):
            raise UsageError(f"The loss {job.config.loss} uses no labels; this pre-training was given a label budget.")
        return None
    if job.budget is None or None in given:
        raise UsageError(
            f"The loss {job.config.loss} uses labels: a pre-training with it needs the label budget, rule of validation, "
            "repeat and seed of the fine-tunings that it is for."
        )
    train, validation = budget_indices(workspace, fold, job.budget, str(job.validation), subset_seed(job))
    seen = np.full(len(workspace.table), -1, dtype=np.int64)
    rows = np.concatenate([train, validation]) if job.validation == "full" else train
    seen[rows] = workspace.targets[rows]
    return seen


def _retrieval(
    models: Mapping[str, ViewModel],
    data: Mapping[str, ViewData],
    test: NDArray[np.int64],
    device: str,
    augment: Augmentation | None,
    centred: bool,
) -> dict[str, float]:
    """How often an unseen utterance's nearest projection elsewhere is its own: top-1 accuracy a pair of views or copies.

    Nearest is the largest cosine, which a loss of cosines has trained. Where a loss leaves the projections' place free, a large
    mean would make all cosines alike: there each view's mean over these utterances is taken off first (`centred`).
    """
    blocks = [_projected(models, data, test[i : i + _BLOCK], device, augment) for i in range(0, len(test), _BLOCK)]
    projected = {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}
    if centred:
        projected = {name: rows - rows.mean(dim=0) for name, rows in projected.items()}
    projected = {name: nn.functional.normalize(rows, dim=1) for name, rows in projected.items()}
    found = {}
    for a in projected:
        for b in projected:
            if a != b:
                nearest = (projected[a] @ projected[b].T).argmax(dim=1).cpu()
                found[f"{a} to {b}"] = float((nearest == torch.arange(len(test))).float().mean())
    return found


def _projected(
    models: Mapping[str, ViewModel],
    data: Mapping[str, ViewData],
    indices: NDArray[np.int64],
    device: str,
    augment: Augmentation | None,
) -> dict[str, Tensor]:
    """Projections `(batch, dim)` of each view, or of the two augmented copies of the only one."""
    found = {}
    for label, model in models.items():
        model.encoder.to(device).eval()
        model.head.to(device).eval()
        copies: dict[str, ViewBatch]
        if augment is None:
            copies = {label: model.encoder.read(data[label], indices, model.scaler, device)}
        else:
            batch = data[label].batch(indices, model.scaler)
            copies = augmented_copies(batch, label, augment, "retrieval")
        with torch.inference_mode():
            for name, copy in copies.items():
                found[name] = model.head(model.encoder(copy.to(device)))
    return found
