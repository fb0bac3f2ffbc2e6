"""Run a baseline: a linear classifier on standardised features, or on an encoder's embeddings."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoviews import metrics
from emoviews.jobs import RANDOM, BaselineJob, JobResult
from emoviews.runners import OnEpoch
from emoviews.runners._common import (
    budget_indices,
    check_fingerprints,
    classified,
    embedded_table,
    require_same_labels,
    standardised,
    subset_seed,
)
from emoviews.workspace import Workspace

BASELINE_REGULARISATION = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Values of C that a baseline's validation chooses from; without validation the middle one is used."""


def run(job: BaselineJob, workspace: Workspace, on_epoch: OnEpoch) -> JobResult:
    """Fit with each regularisation, keep the one that validates best, test it."""
    fold = workspace.fold_of(job)
    check_fingerprints(workspace, (job.view,))
    train, validation = budget_indices(workspace, fold, job.budget, job.validation, subset_seed(job))
    if job.init not in ("", RANDOM):
        require_same_labels(job, workspace.trained_by(job.init), workspace)
    if job.init:
        features = standardised(embedded_table(job.init, job.view, job.preset, job.seed, workspace, fold), fold)
    else:
        features = standardised(workspace.means(job.view[0]), fold)
    targets = workspace.targets
    middle = BASELINE_REGULARISATION[len(BASELINE_REGULARISATION) // 2]
    strengths = BASELINE_REGULARISATION if len(validation) else (middle,)
    fitted = {c: _fit_linear(job.method, features[train], targets[train], c, job.seed) for c in strengths}
    chosen = middle
    if len(validation):
        reached = {
            c: metrics.uar(targets[validation], model.predict(features[validation])) for c, model in fitted.items()
        }
        # The best on validation; among equals the one nearest the middle.
        chosen = max(strengths, key=lambda c: (reached[c], -abs(np.log(c / middle))))
    model = fitted[chosen]

    def probabilities(indices: NDArray[np.int64]) -> NDArray[np.float32]:
        # A class without a training label keeps probability 0; an SVM gives its normalised scores, not probabilities.
        if job.method == "logistic_regression":
            given = model.predict_proba(features[indices])
        else:
            scores = np.atleast_2d(model.decision_function(features[indices]).T).T
            scores = np.hstack([-scores, scores]) if scores.shape[1] == 1 else scores
            given = np.exp(scores - scores.max(axis=1, keepdims=True))
            given /= given.sum(axis=1, keepdims=True)
        full = np.zeros((len(indices), len(workspace.labels)), dtype=np.float32)
        full[:, model.classes_] = given
        return full

    rows = [("train", "regularisation", float(chosen))]
    return classified(job, workspace, fold, train, validation, probabilities, rows, ())


def _fit_linear(method: str, features: NDArray[np.float64], targets: NDArray[np.int64], c: float, seed: int) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    if method == "logistic_regression":
        return LogisticRegression(C=c, max_iter=2000, class_weight="balanced").fit(features, targets)
    with warnings.catch_warnings():
        # With little regularisation its last digits creep; nobody who runs a baseline can act on being told so.
        warnings.simplefilter("ignore", ConvergenceWarning)
        machine = LinearSVC(C=c, max_iter=20_000, class_weight="balanced", random_state=seed % 2**31)
        return machine.fit(features, targets)
