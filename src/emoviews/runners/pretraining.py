"""Run a pre-training: align the views' encoders, save them, and see how often an unseen utterance finds itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from emoviews.batching import ViewData
from emoviews.checkpoints import Checkpoint, ViewCheckpoint, save_checkpoint
from emoviews.encoders import DEFAULT_ENCODER
from emoviews.finetuning import embed
from emoviews.heads import ProjectionHead
from emoviews.jobs import JobResult, PretrainingJob
from emoviews.presets import get_preset
from emoviews.pretraining import ViewModel, pretrain
from emoviews.runners import OnEpoch
from emoviews.runners._common import check_fingerprints, curve_rows, fresh_encoder
from emoviews.seeds import derive_seed, torch_seed
from emoviews.workspace import Workspace


def run(job: PretrainingJob, workspace: Workspace, on_epoch: OnEpoch) -> JobResult:
    """Pre-train on the fold's training part; the checkpoint goes to the job's folder."""
    fold = workspace.fold_of(job)
    preset = get_preset(job.preset)
    labels = [label for label, _ in job.views]
    check_fingerprints(workspace, job.views)
    train, validation = (_of_kind(workspace, part, job.data) for part in (fold.train, fold.validation))
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
    before = _retrieval(models, data, fold.test, workspace.config.device)
    history = pretrain(
        data,
        models,
        train,
        validation,
        job.config,
        seed=job.seed,
        device=workspace.config.device,
        state=folder.with_name(f"{folder.name}.unfinished"),
        state_of=job.id,
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
    save_checkpoint(folder, Checkpoint(views, made))
    after = _retrieval(models, data, fold.test, workspace.config.device)
    best = history.curves[history.best_epoch - 1]
    rows = [("train", "epochs_run", float(history.epochs_run)), ("train", "best_epoch", float(history.best_epoch))]
    rows += [("train", "n", float(len(train))), ("train", "loss", best["train_loss"])]
    if "validation_loss" in best:
        rows.append(("validation", "loss", best["validation_loss"]))
    rows += [("test", f"retrieval_random {pair}", value) for pair, value in before.items()]
    rows += [("test", f"retrieval {pair}", value) for pair, value in after.items()]
    rows.append(("test", "retrieval_chance", 1.0 / len(fold.test)))
    return JobResult(job, 0.0, workspace.config.device, metrics=tuple(rows), curves=curve_rows(history.curves))


def _retrieval(
    models: Mapping[str, ViewModel], data: Mapping[str, ViewData], test: Sequence[int] | NDArray[np.int64], device: str
) -> dict[str, float]:
    """How often an unseen utterance's nearest projection in another view is its own: top-1 accuracy a pair of views."""
    index = np.asarray(test, dtype=np.int64)
    projected = {}
    for label, model in models.items():
        embedded = embed(data[label], model.encoder, scaler=model.scaler, device=device, indices=index)
        model.head.to(device).eval()
        with torch.inference_mode():
            projected[label] = nn.functional.normalize(model.head(embedded[torch.from_numpy(index)]), dim=1)
    found = {}
    for a in models:
        for b in models:
            if a != b:
                nearest = (projected[a] @ projected[b].T).argmax(dim=1).cpu()
                found[f"{a} to {b}"] = float((nearest == torch.arange(len(index))).float().mean())
    return found


def _of_kind(workspace: Workspace, indices: Sequence[int] | NDArray[np.int64], data: str) -> NDArray[np.int64]:
    index = np.asarray(indices, dtype=np.int64)
    if data == "all":
        return index
    labelled = workspace.targets[index] >= 0
    return index[labelled if data == "target" else ~labelled]
