"""Draw a map: the embeddings of the fold's unseen speakers in two dimensions, by t-SNE.

Van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 9, 2008 (the paper's Figures 5 and 6). Near points are alike;
distances between groups, their sizes and their densities mean nothing, so what can be counted is counted in the embeddings
themselves (`runners.probe`).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emoviews.errors import EmoViewsError
from emoviews.finetuning import embed
from emoviews.jobs import JobResult, MapJob
from emoviews.runners import OnEpoch
from emoviews.runners._common import check_fingerprints, initial_encoder
from emoviews.runners.probe import z_scored
from emoviews.seeds import derive_seed
from emoviews.workspace import Workspace

MOST_POINTS: Final = 2_000
"""Utterances on a map; of more, a seeded draw. More points hide each other, and t-SNE's time grows faster than they do."""
FEWEST_POINTS: Final = 5
LARGEST_PERPLEXITY: Final = 30.0


def run(job: MapJob, workspace: Workspace, on_epoch: OnEpoch) -> JobResult:
    """A map of the fold's test group, labelled or not; embeddings are z-scored over the points shown.

    The metrics, of the split `test`: `n` (points), `map_of` (utterances of the test group), `map_perplexity`. The seed alone
    decides which utterances are drawn, so that the maps of several encoders show the same ones.

    Raises:
        EmoViewsError: fewer than 5 utterances, or an encoder that gives all of them the same embedding.
    """
    fold = workspace.fold_of(job)
    check_fingerprints(workspace, (job.view,))
    shown = drawn(fold.test, MOST_POINTS, derive_seed(job.seed, "map"))
    if len(shown) < FEWEST_POINTS:
        raise EmoViewsError(
            f"A map needs at least {FEWEST_POINTS} test utterances; fold {fold.name} has {len(shown)}. Use fewer folds."
        )
    encoder, scaler = initial_encoder(job.init, job.view, job.preset, job.seed, workspace, fold)
    rows = embed(workspace.data(job.view[0]), encoder, scaler=scaler, device=workspace.config.device, indices=shown)
    embedded = z_scored(rows.cpu().numpy()[shown])
    if not embedded.any():
        raise EmoViewsError(
            f"The encoder of {job.view[0]} gives all {len(shown)} test utterances of fold {fold.name} the same embedding, so "
            "there is nothing to map. Was it trained with too high a learning rate?"
        )
    perplexity = min(LARGEST_PERPLEXITY, (len(shown) - 1) / 3)
    points = tsne(embedded, perplexity, derive_seed(job.seed, "t-SNE"))
    ids = workspace.table["id"].to_numpy()[shown]
    return JobResult(
        job,
        0.0,
        workspace.config.device,
        metrics=(
            ("test", "n", float(len(shown))),
            ("test", "map_of", float(len(fold.test))),
            ("test", "map_perplexity", perplexity),
        ),
        points=tuple((str(name), float(x), float(y)) for name, (x, y) in zip(ids, points, strict=True)),
    )


def drawn(rows: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """At most so many of the rows, drawn without replacement, in their order.

    >>> drawn(np.arange(4), 9, 0).tolist(), len(drawn(np.arange(40), 9, 0))
    ([0, 1, 2, 3], 9)
    """
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def tsne(embedded: NDArray[Any], perplexity: float, seed: int) -> NDArray[np.float64]:
    """t-SNE of `(n, dim)` in two dimensions, `(n, 2)`, begun at the first two principal components."""
    from sklearn.manifold import TSNE

    model = TSNE(perplexity=perplexity, init="pca", random_state=seed % 2**32)
    points: NDArray[np.float64] = model.fit_transform(embedded.astype(np.float64))
    return points
