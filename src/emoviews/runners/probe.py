"""Run a probe: what an encoder's embeddings know of emotion, speaker, sentence and duration."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoviews import metrics
from emoviews.finetuning import embed
from emoviews.jobs import JobResult, ProbeJob
from emoviews.runners import OnEpoch
from emoviews.runners._common import check_fingerprints, initial_encoder
from emoviews.seeds import derive_seed
from emoviews.workspace import Workspace


def run(job: ProbeJob, workspace: Workspace, on_epoch: OnEpoch) -> JobResult:
    """Linear probes on an encoder's embeddings, standardised by what each probe is trained on.

    Emotion and sentence: trained on the training part, tested on the test group's unseen speakers. Duration: ridge
    regression of log seconds, the same way (its input clipped at 4 deviations). Speaker: which of the validation and test
    speakers, none of whom pre-training was trained on; trained on half of their sentences and tested on the other half, both
    ways. The chance of an accuracy is that of always giving the most frequent answer.
    """
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    fold = workspace.fold_of(job)
    check_fingerprints(workspace, (job.view,))
    label = job.view[0]
    encoder, scaler = initial_encoder(job.init, job.view, job.preset, job.seed, workspace, fold)
    embedded = embed(workspace.data(label), encoder, scaler=scaler, device=workspace.config.device).cpu().numpy()
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
    return JobResult(job, 0.0, workspace.config.device, metrics=tuple(rows))
