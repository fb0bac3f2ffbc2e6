"""Run a probe: what an encoder's embeddings know of emotion, speaker, sentence and duration, and what they are grouped by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emoviews import metrics
from emoviews.alignment import OUTLYING, relative_distances
from emoviews.errors import UsageError
from emoviews.jobs import JobResult, ProbeJob
from emoviews.runners import OnEpoch
from emoviews.runners._common import check_fingerprints, embedded_table
from emoviews.seeds import derive_seed
from emoviews.workspace import Workspace

NEIGHBOURS: Final = 10
"""Of each utterance, whose labels `grouping` counts."""


def run(job: ProbeJob, workspace: Workspace, on_epoch: OnEpoch) -> JobResult:
    """Linear probes on an encoder's embeddings, standardised by what each probe is trained on; silhouette and purity.

    Emotion and sentence: trained on the training part, tested on the test group's unseen speakers. Duration: ridge
    regression of log seconds, the same way (its input clipped at 4 deviations). Speaker: which of the validation and test
    speakers, none of whom pre-training was trained on; trained on half of their sentences and tested on the other half, both
    ways. The chance of an accuracy is that of always giving the most frequent answer.

    Silhouette and purity (`grouping`) need no training: whether the test group's embeddings lie together by emotion and by
    speaker. `silhouette_emotion`, `purity_emotion`, `purity_emotion_chance`, and so for `speaker`; absent where the test
    group has one label only.
    """
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    fold = workspace.fold_of(job)
    check_fingerprints(workspace, (job.view,))
    embedded = embedded_table(job.init, job.view, job.preset, job.seed, workspace, fold)
    train, test = fold.train, fold.test
    rows: list[tuple[str, str, float]] = []

    def said(known: NDArray[np.int64], asked: NDArray[np.int64], names: NDArray[Any]) -> NDArray[Any]:
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
        answers: NDArray[Any] = probe.fit(embedded[known], names[known]).predict(embedded[asked])
        return answers

    def largest_share(names: NDArray[Any]) -> float:
        return float(np.unique(names.astype(str), return_counts=True)[1].max()) / len(names)

    targets = workspace.targets
    known, asked = train[targets[train] >= 0], test[targets[test] >= 0]
    if len(set(targets[known])) > 1 and len(asked):
        rows.append(("test", "probe_emotion_uar", metrics.uar(targets[asked], said(known, asked, targets))))
        rows.append(("test", "probe_emotion_chance", 1.0 / len(workspace.labels)))
    text = workspace.table["text"].to_numpy()
    shared = test[np.isin(text[test], text[train]) & (text[test] != "")]
    if len(shared) and len(set(text[shared])) > 1:
        spoken = train[text[train] != ""]
        right = said(spoken, shared, text) == text[shared]
        rows.append(("test", "probe_sentence_accuracy", float(right.mean())))
        rows.append(("test", "probe_sentence_chance", largest_share(text[shared])))
    seconds = np.log(np.maximum(workspace.durations, 0.05))
    # A voice unlike all in training can lie tens of deviations out, where a line says nothing: clipped.
    clip = FunctionTransformer(np.clip, kw_args={"a_min": -4.0, "a_max": 4.0})
    fitted = make_pipeline(StandardScaler(), clip, Ridge(alpha=10.0)).fit(embedded[train], seconds[train])
    residual = seconds[test] - fitted.predict(embedded[test])
    variance = float(seconds[test].var())
    if variance > 0:
        rows.append(("test", "probe_duration_r2", 1.0 - float((residual**2).mean()) / variance))
    unseen = np.concatenate([fold.validation, test])
    speakers = workspace.table["speaker"].to_numpy()
    unseen = unseen[speakers[unseen] != ""]
    names = sorted(set(speakers[unseen]))
    if len(names) > 1:
        # Halves by sentence where sentences are known, so that the probe can't lean on what was said.
        sentences = np.array(
            [derive_seed("half", t or i) % 2 for t, i in zip(text, workspace.table["id"], strict=True)]
        )
        half = unseen[sentences[unseen] == 0], unseen[sentences[unseen] == 1]
        if all(set(speakers[h]) == set(names) for h in half):
            both = [(said(a, b, speakers) == speakers[b]).mean() for a, b in (half, half[::-1])]
            rows.append(("test", "probe_speaker_accuracy", float(np.mean(both))))
            rows.append(("test", "probe_speaker_chance", largest_share(speakers[unseen])))
    for what, members, labels in (("emotion", asked, targets), ("speaker", test[speakers[test] != ""], speakers)):
        if 1 < len(set(labels[members])) < len(members):
            found = grouping(embedded[members], labels[members])
            rows.append(("test", f"silhouette_{what}", found.silhouette))
            rows.append(("test", f"purity_{what}", found.purity))
            rows.append(("test", f"purity_{what}_chance", found.chance))
    return JobResult(job, 0.0, workspace.config.device, metrics=tuple(rows))


@dataclass(frozen=True)
class Grouping:
    """Whether embeddings lie together by label.

    Attributes:
        silhouette: -1 to 1, 0 where the groups lie within each other (Rousseeuw 1987; Euclidean).
        purity: share of the nearest neighbours that have the utterance's own label.
        chance: that share if neighbours were drawn at random from the other utterances.
    """

    silhouette: float
    purity: float
    chance: float


def grouping(embedded: NDArray[Any], labels: NDArray[Any]) -> Grouping:
    """Silhouette and purity of z-scored embeddings: no training, and no map in two dimensions.

    Args:
        embedded: `(n, dim)`.
        labels: `(n,)`, of at least two values, fewer than n.

    Raises:
        UsageError: fewer than two labels, or every row has its own.

    >>> rows = np.array([[0.0], [0.1], [5.0], [5.1]])
    >>> grouping(rows, np.array(["a", "a", "b", "b"]))
    Grouping(silhouette=0.979..., purity=0.333..., chance=0.333...)
    """
    from sklearn.metrics import silhouette_score
    from sklearn.neighbors import NearestNeighbors

    n, counts = len(labels), np.unique(labels, return_counts=True)[1]
    if not 1 < len(counts) < n:
        raise UsageError(f"Expected at least two labels, and fewer than the {n} rows; got {len(counts)}.")
    scaled = z_scored(embedded)
    nearest = NearestNeighbors(n_neighbors=min(NEIGHBOURS, n - 1)).fit(scaled).kneighbors(return_distance=False)
    return Grouping(
        silhouette=float(silhouette_score(scaled, labels)),
        purity=float((labels[nearest] == labels[:, None]).mean()),
        chance=float((counts * (counts - 1)).sum() / (n * (n - 1))),
    )


def z_scored(embedded: NDArray[Any]) -> NDArray[np.float64]:
    """`(n, dim)` with mean 0 and deviation 1 in each dimension over these rows; 0 in a dimension that is constant.

    Outlying rows (`alignment.relative_distances`) are first pulled in to the limit, `alignment.OUTLYING`: else one recording
    with an extreme value could make up the deviation of every dimension, and squeeze all others together.
    """
    wide = embedded.astype(np.float64)
    center = np.median(wide, axis=0)
    pull = np.minimum(1.0, OUTLYING / np.maximum(relative_distances(wide), OUTLYING))
    wide = center + (wide - center) * pull[:, None]
    spread = wide.std(axis=0)
    # An encoder's float32 outputs differ in their last digits with the batch they are computed in; that is no deviation.
    varies = spread > 1e-5 * np.abs(wide).max(axis=0)
    scaled: NDArray[np.float64] = np.where(varies, (wide - wide.mean(axis=0)) / np.where(varies, spread, 1.0), 0.0)
    return scaled
