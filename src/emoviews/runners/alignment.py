"""Run an alignment: embed the fold's unseen speakers with two views' encoders and score how alike the embeddings are."""

from __future__ import annotations

from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

from emoviews.alignment import ROWS_PER_COMPONENT, Side, permutation_null, pwcca, subsampling_error, typical
from emoviews.errors import EmoViewsError, TooFewError
from emoviews.finetuning import embed
from emoviews.jobs import AlignmentJob, JobResult
from emoviews.runners import OnEpoch
from emoviews.runners._common import check_fingerprints, initial_encoder
from emoviews.seeds import derive_seed
from emoviews.workspace import Workspace

INTERVAL_ERRORS: Final = 1.96
"""Standard errors on either side of a score: 95 % of a normal distribution."""


def run(job: AlignmentJob, workspace: Workspace, on_epoch: OnEpoch) -> JobResult:
    """PWCCA of the two views' embeddings of the whole test group, labelled or not, without outlying utterances.

    The metrics, all of the split `test`: `pwcca` (weights of the job's first view) with `pwcca_error` (standard error by
    subsampling), `pwcca_low` and `pwcca_high` (1.96 errors, within 0 and 1; all three absent where utterances are too few to
    subsample), `pwcca_null_mean`, `_sd` and `_max` (of 20 permutations); `pwcca_second` and `pwcca_mean` (weights of the
    second view; mean of both) with their `_null_mean`; `components_first` and `components_second` (principal components
    kept), `n` (utterances scored), `left_out` (those that `alignment.typical` leaves out) and `pwcca_all` (the score with
    these).

    With too few utterances for that the job is refused, with a message that says how many there are and how many it needs; its
    metrics are then of as many principal components as there are utterances for (`alignment.ROWS_PER_COMPONENT`):
    `few_pwcca` with its `few_null_mean` and `few_null_max`, `few_components` (at most, of a view), `few_held_first` and
    `few_held_second` (shares of variance), `n` and `left_out`.
    """
    fold = workspace.fold_of(job)
    check_fingerprints(workspace, job.views)
    if job.views[0] == job.views[1] and job.inits[0] == job.inits[1]:
        raise EmoViewsError(f"An alignment compares two views; both of this job's are {job.views[0][0]}.")
    embedded: list[NDArray[np.float32]] = []
    for view, init in zip(job.views, job.inits, strict=True):
        encoder, scaler = initial_encoder(init, view, job.preset, job.seed, workspace, fold)
        rows = embed(workspace.data(view[0]), encoder, scaler=scaler, device=workspace.config.device, indices=fold.test)
        embedded.append(rows.cpu().numpy()[fold.test])
    first, second = embedded
    metrics = {"pwcca_all": pwcca(first, second, rows_per_component=0).score}
    kept = typical(first, second)
    first, second = first[kept], second[kept]
    seed = derive_seed(job.seed, "alignment")
    rows_of: tuple[tuple[str, str, float], ...]
    try:
        pwcca(first, second)
    except TooFewError as refusal:
        outlying = int((~kept).sum())
        left_out = f" ({outlying} outlying utterances are left out.)" if outlying else ""
        rows_of = tuple(("test", name, value) for name, value in _of_few(first, second, outlying, seed).items())
        return JobResult(job, 0.0, workspace.config.device, error=f"{refusal}{left_out}", refused=True, metrics=rows_of)
    for side in get_args(Side):
        name = "pwcca" if side == "first" else f"pwcca_{side}"
        found = pwcca(first, second, side=side)
        null = permutation_null(first, second, side=side, seed=seed)
        metrics |= {name: found.score, f"{name}_null_mean": null.mean}
        if side == "first":
            metrics |= {"pwcca_null_sd": null.sd, "pwcca_null_max": null.largest, "n": float(found.n)}
            metrics |= {"components_first": float(found.components[0]), "components_second": float(found.components[1])}
            error = subsampling_error(first, second, seed=seed)
            if np.isfinite(error):
                low, high = (found.score + times * error for times in (-INTERVAL_ERRORS, INTERVAL_ERRORS))
                metrics |= {"pwcca_error": error, "pwcca_low": max(low, 0.0), "pwcca_high": min(high, 1.0)}
    metrics["left_out"] = float((~kept).sum())
    rows_of = tuple(("test", name, value) for name, value in metrics.items())
    return JobResult(job, 0.0, workspace.config.device, metrics=rows_of)


def _of_few(first: NDArray[Any], second: NDArray[Any], left_out: int, seed: int) -> dict[str, float]:
    """The score of as many components as there are utterances for, with its null; nothing where that is none."""
    most = len(first) // ROWS_PER_COMPONENT
    if most < 1:
        return {}
    found = pwcca(first, second, most_components=most)
    null = permutation_null(first, second, most_components=most, seed=seed)
    return {
        "few_pwcca": found.score,
        "few_null_mean": null.mean,
        "few_null_max": null.largest,
        "few_components": float(most),
        "few_held_first": found.held[0],
        "few_held_second": found.held[1],
        "n": float(found.n),
        "left_out": float(left_out),
    }
