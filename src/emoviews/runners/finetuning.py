"""Run a fine-tuning: draw the labels, train a classifier on the encoder, test it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emoviews.finetuning import finetune, predict_probabilities
from emoviews.heads import Classifier
from emoviews.jobs import FineTuningJob, JobResult
from emoviews.presets import get_preset
from emoviews.runners import OnEpoch
from emoviews.runners._common import (
    budget_indices,
    check_fingerprints,
    classified,
    curve_rows,
    initial_encoder,
    subset_seed,
)
from emoviews.seeds import derive_seed, torch_seed
from emoviews.workspace import Workspace


def run(job: FineTuningJob, workspace: Workspace, on_epoch: OnEpoch) -> JobResult:
    """Train and test one classifier."""
    fold = workspace.fold_of(job)
    check_fingerprints(workspace, (job.view,))
    label, device = job.view[0], workspace.config.device
    train, validation = budget_indices(workspace, fold, job.budget, job.validation, subset_seed(job))
    encoder, scaler = initial_encoder(job.init, job.view, job.preset, job.seed, workspace, fold)
    with torch_seed(derive_seed(job.seed, "classifier", label)):
        classifier = Classifier(encoder.dim, len(workspace.labels), hidden=get_preset(job.preset).classifier_hidden)
    history = finetune(
        workspace.data(label),
        workspace.targets,
        encoder,
        classifier,
        train,
        validation,
        job.config,
        scaler=scaler,
        frozen=job.frozen,
        seed=job.seed,
        device=device,
    )

    def probabilities(indices: NDArray[np.int64]) -> NDArray[np.float32]:
        return predict_probabilities(workspace.data(label), encoder, classifier, indices, scaler=scaler, device=device)

    rows = [("train", "epochs_run", float(len(history.curves))), ("train", "best_epoch", float(history.best_epoch))]
    return classified(job, workspace, fold, train, validation, probabilities, rows, curve_rows(history.curves))
