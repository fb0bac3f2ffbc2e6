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
from emoviews.presets import get_preset
from emoviews.pretraining import ViewModel, augmented_copies, pretrain
from emoviews.runners import OnEpoch
from emoviews.runners._common import check_fingerprints, curve_rows, fresh_encoder
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
    before = _retrieval(models, data, fold.test, workspace.config.device, augment)
    history = pretrain(
        data,
        models,
        train,
        validation,
        job.config,
        seed=job.seed,
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
    after = _retrieval(models, data, fold.test, workspace.config.device, augment)
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


def _retrieval(
    models: Mapping[str, ViewModel],
    data: Mapping[str, ViewData],
    test: NDArray[np.int64],
    device: str,
    augment: Augmentation | None,
) -> dict[str, float]:
    """How often an unseen utterance's nearest projection elsewhere is its own: top-1 accuracy a pair of views or copies."""
    blocks = [_projected(models, data, test[i : i + _BLOCK], device, augment) for i in range(0, len(test), _BLOCK)]
    projected = {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}
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
    """Normalised projections `(batch, dim)` of each view, or of the two augmented copies of the only one."""
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
                found[name] = nn.functional.normalize(model.head(model.encoder(copy.to(device))), dim=1)
    return found
