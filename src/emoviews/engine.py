"""How jobs are run: a function of the jobs and a workspace, nothing else. Which jobs there are is decided elsewhere.

    run_jobs(jobs, workspace) → one JobResult a job

The workspace holds what jobs share: the table, its folds, the extracted views, the pre-trained checkpoints. It is described
by a small picklable `WorkspaceConfig`, from which any process can open it.
"""

from __future__ import annotations

import hashlib
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from emoviews import metrics, splits
from emoviews.batching import Scaler, ViewData
from emoviews.checkpoints import Checkpoint, ViewCheckpoint, load_checkpoint, save_checkpoint
from emoviews.configs import LabelBudget, Scaling
from emoviews.encoders import DEFAULT_ENCODER, Encoder, make_encoder
from emoviews.errors import CheckpointError, EmoViewsError, StoreError, TableError, UsageError
from emoviews.extraction import locate
from emoviews.finetuning import embed, finetune, predict_probabilities
from emoviews.heads import Classifier, ProjectionHead
from emoviews.jobs import RANDOM, BaselineJob, FineTuningJob, Job, JobResult, Predictions, PretrainingJob, ProbeJob
from emoviews.presets import get_preset
from emoviews.pretraining import ViewModel, pretrain
from emoviews.seeds import derive_seed, torch_seed
from emoviews.store import Source, ViewStore
from emoviews.table import table_hash
from emoviews.types import ViewSpec
from emoviews.views import ViewRequest

CHECKPOINTS = "checkpoints"
BASELINE_REGULARISATION = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Values of C that a baseline's validation chooses from; without validation the middle one is used."""


@dataclass(frozen=True)
class WorkspaceConfig:
    """From which any process opens the same workspace.

    Attributes:
        table: the utterance table, labels already mapped.
        corpus: its name, for people.
        store: root folder of the extracted views.
        views: which views, by label.
        folder: the run folder; checkpoints go below it.
        folds: a number merges the groups into so many folds, `official` takes the table's column `split`; None makes every
            group a fold of its own.
        scaling: `zscore` (statistics of the fold's training part) or `none`.
        device: `cpu`, `cuda`, ….
        threads: of each job on the CPU, in whichever process it runs: other numbers of threads give other last bits.
        checkpoints: pre-training job → folder, for checkpoints that do not lie below the run folder.
        allow_speaker_overlap: turn a speaker on both sides of a split from an error into a warning.
    """

    table: pd.DataFrame
    corpus: str
    store: Path
    views: tuple[ViewRequest, ...]
    folder: Path
    folds: int | Literal["official"] | None = None
    scaling: Scaling = "zscore"
    device: str = "cpu"
    threads: int = 1
    checkpoints: Mapping[str, Path] | None = None
    allow_speaker_overlap: bool = False


class Workspace:
    """What jobs share. Opening it checks that the store has the views and that no fold leaks."""

    def __init__(self, config: WorkspaceConfig) -> None:
        """Open.

        Raises:
            StoreError: utterances have not been extracted; the message gives the command.
            UsageError: too few groups for folds.
            LeakageError: training and test data share a speaker, a group or a recording.
        """
        self.config = config
        self.warnings: list[str] = []
        self.specs = {request.label: request.make().spec for request in config.views}
        self._stores = {label: ViewStore(config.store, spec) for label, spec in self.specs.items()}
        usable, self.sources = self._present(config.table)
        self.table = config.table[usable].reset_index(drop=True)
        self.table_hash = self._hash()
        self._data: dict[str, ViewData] = {}
        self._means: dict[str, NDArray[np.float64]] = {}
        self._scalers: dict[tuple[str, str], Scaler | None] = {}
        labels = sorted(set(self.table["emotion"]) - {""})
        self.labels: tuple[str, ...] = tuple(labels)
        numbers = {label: number for number, label in enumerate(labels)}
        self.targets: NDArray[np.int64] = np.array([numbers.get(e, -1) for e in self.table["emotion"]], dtype=np.int64)
        # Folds are those of the whole table, so that a recording that can't be used moves no other to another fold.
        whole = self._make_folds(config.table, usable)
        ids = list(config.table["id"])
        self.hashes = {fold.name: splits.split_hash(fold, ids) for fold in whole}
        self.folds = {fold.name: _restricted(fold, usable) for fold in whole}
        for fold in self.folds.values():
            for part in ("train", "test"):
                if part not in fold.parts:
                    raise StoreError(
                        f"Fold {fold.name}: no recording of its {part} part can be used. {self.warnings[0]}"
                    )
            if absent := self.absent(fold.test):
                self.warnings.append(f"Fold {fold.name}: no test utterance is labelled {', '.join(absent)}.")
        self.leaks = {name: self.audit(fold.parts) for name, fold in self.folds.items()}

    def _hash(self) -> str:
        """Twelve hexadecimal digits over what jobs read of the table: its contract's hash, the recordings, their texts."""
        digest = hashlib.sha256(table_hash(self.table).encode())
        for source, text in zip(self.sources, self.table["text"], strict=True):
            digest.update(f"{source.key}\x1f{text}\x1e".encode())
        return digest.hexdigest()[:12]

    def absent(self, indices: NDArray[np.int64]) -> list[str]:
        """Labels that none of these utterances has."""
        return [self.labels[i] for i in sorted(set(range(len(self.labels))) - set(self.targets[indices].tolist()))]

    def _present(self, table: pd.DataFrame) -> tuple[NDArray[np.bool_], list[Source]]:
        """Which rows every view has, and their sources; rows whose extraction failed are left out and said to be."""
        sources = locate(table, self.config.store)
        stores = list(self._stores.items())
        lacking = {label: [s for s in sources if s.key and not s.error and s.key not in view] for label, view in stores}
        for label, missing in lacking.items():
            if missing:
                raise StoreError(
                    f"{len(missing)} of {len(table)} utterances have no {label} in {self.config.store} (first: "
                    f"{missing[0].path}). Run: emoviews extract TABLE --store {self.config.store} --views {label}"
                )
        usable = np.array([bool(s.key) and all(s.key in view for _, view in stores) for s in sources], dtype=bool)
        if not usable.any():
            first = next((s.error for s in sources if s.error), "the table is empty")
            raise StoreError(f"No utterance of the table can be used: {first}")
        if not usable.all():
            self.warnings.append(
                f"{(~usable).sum()} of {len(table)} utterances could not be extracted and are left out "
                f"(first: {next(s.error for s, u in zip(sources, usable, strict=True) if not u)})"
            )
        kept = [source for source, good in zip(sources, usable, strict=True) if good]
        return usable, kept

    def _make_folds(self, table: pd.DataFrame, usable: NDArray[np.bool_]) -> list[splits.Fold]:
        """Leave one group out among those with a usable labelled recording; the others can't be tested and always train."""
        folds = self.config.folds
        if folds == "official":
            return [splits.official_split(list(table["split"]))]
        group = table["group"]
        with_labels = set(group[usable & (table["emotion"] != "")]) or set(group[usable])
        tested = group.isin(with_labels).to_numpy()
        rows, rest = np.flatnonzero(tested), np.flatnonzero(~tested)
        left = usable[rest]
        if left.any():
            n = group[rest[left]].nunique()
            self.warnings.append(
                f"{n} groups without any label ({left.sum()} recordings) are trained on, never tested."
            )
        if lost := sorted(set(group[rest]) - set(group[usable])):
            self.warnings.append(f"No recording of {', '.join(lost)} can be used: there is no fold that tests them.")
        groups = list(table["group"].iloc[rows])
        if folds is not None:
            groups = splits.merge_groups(groups, folds)
        return [
            replace(
                fold,
                train=np.sort(np.concatenate([rows[fold.train], rest])),
                validation=rows[fold.validation],
                test=rows[fold.test],
            )
            for fold in splits.leave_one_group_out(groups)
        ]

    def audit(self, parts: Mapping[str, NDArray[np.int64]], validation_within_train: bool = False) -> list[splits.Leak]:
        """What the parts share that they may; every job audits the very rows it uses.

        Raises:
            LeakageError: they share a speaker, a group or a recording.
        """
        found = splits.leakage_audit(
            {name: rows for name, rows in parts.items() if len(rows)},
            self.table,
            self._keys,
            allow_speaker_overlap=self.config.allow_speaker_overlap,
            validation_within_train=validation_within_train,
        )
        return splits.require_no_leakage(found)

    @cached_property
    def _keys(self) -> list[str]:
        return [source.key for source in self.sources]

    @cached_property
    def durations(self) -> NDArray[np.float64]:
        """Seconds of each utterance, `(n,)`."""
        return np.array([source.duration_seconds for source in self.sources])

    def data(self, label: str) -> ViewData:
        """A view of all utterances, read once."""
        if label not in self._data:
            self._data[label] = ViewData(self._stores[label], [source.key for source in self.sources])
        return self._data[label]

    def means(self, label: str) -> NDArray[np.float64]:
        """A view averaged over frames (and layers), read once: `(n, features)`."""
        if label not in self._means:
            data = self.data(label)
            rows = [data.batch([i]).values.numpy() for i in range(len(data))]
            self._means[label] = np.stack([row.reshape(-1, row.shape[-1]).mean(axis=0) for row in rows]).astype(float)
        return self._means[label]

    def scaler(self, label: str, fold: splits.Fold) -> Scaler | None:
        """z-scores from the fold's training part, labelled or not; computed once."""
        key = (label, fold.name)
        if key not in self._scalers:
            fitted = self.data(label).fit_scaler(fold.train) if self.config.scaling == "zscore" else None
            self._scalers[key] = fitted
        return self._scalers[key]

    def checkpoint(self, job_id: str) -> Checkpoint:
        """What the pre-training job left.

        Raises:
            CheckpointError: it left nothing, or the folder holds what another job left.
        """
        folder = self.checkpoint_folder(job_id)
        found = load_checkpoint(folder)
        if found.made.get("job_id") != job_id:
            raise CheckpointError(
                f"{folder} holds the checkpoint of job {found.made.get('job_id')}; expected that of {job_id}. Pre-train again, "
                "or name the folder that holds it."
            )
        return found

    def foreign_jobs(self) -> dict[str, dict[str, Any]]:
        """Descriptions of the pre-training jobs whose checkpoints lie elsewhere, by id."""
        found = {}
        for job_id, folder in (self.config.checkpoints or {}).items():
            if (folder / "emoviews.json").is_file():
                made = load_checkpoint(folder).made
                if made.get("job_id") == job_id:
                    found[job_id] = made["job"]
        return found

    def checkpoint_folder(self, job_id: str) -> Path:
        """Where a pre-training job leaves its encoders."""
        return (self.config.checkpoints or {}).get(job_id, self.config.folder / CHECKPOINTS / job_id)

    def fold_of(self, job: Job) -> splits.Fold:
        """The job's fold, refused unless table and split are the job's.

        Raises:
            UsageError: the job was made for another table, split or scaling.
        """
        if job.scaling != self.config.scaling:
            raise UsageError(f"The job wants scaling {job.scaling!r}; this run's is {self.config.scaling!r}.")
        if job.table != self.table_hash or self.hashes.get(job.fold) != job.split:
            raise UsageError(
                f"The job is for table {job.table}, fold {job.fold} with split {job.split}; here the table is "
                f"{self.table_hash} and that fold's split {self.hashes.get(job.fold, 'does not exist')}."
            )
        return self.folds[job.fold]


def _restricted(fold: splits.Fold, usable: NDArray[np.bool_]) -> splits.Fold:
    """The fold over the usable rows alone, numbered anew."""
    position = np.cumsum(usable) - 1

    def part(rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return position[rows[usable[rows]]]

    return replace(fold, train=part(fold.train), validation=part(fold.validation), test=part(fold.test))


def run_jobs(
    jobs: Sequence[Job], workspace: Workspace, on_epoch: Callable[[Job, dict[str, float]], None] = lambda job, row: None
) -> Iterator[JobResult]:
    """Run jobs in this process, in order. A job that fails is recorded with its error; the others go on.

    The error is a message where EmoViews has one, else the traceback: a defect, or a device out of memory, in one of a
    thousand jobs must not cost the rest of the night.
    """
    for job in jobs:
        started = time.perf_counter()
        try:
            result = _RUNNERS[type(job)](job, workspace, lambda row, job=job: on_epoch(job, row))
        except EmoViewsError as error:
            result = JobResult(job, 0.0, workspace.config.device, error=str(error))
        except Exception:
            result = JobResult(job, 0.0, workspace.config.device, error=traceback.format_exc())
        yield replace(result, seconds=time.perf_counter() - started)


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


def budget_indices(
    workspace: Workspace, fold: splits.Fold, budget: LabelBudget, validation: str, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Utterances whose labels a training may use, and those that validate it.

    The seed alone decides the subset, so that all methods of a repeat use the same labels.

    Raises:
        UsageError: fewer than two classes, or a budget that a class can't fill.
        TableError: the training part lacks a class altogether, or the validation part has no label.
    """
    if len(workspace.labels) < 2:
        have = ", ".join(workspace.labels) or "none"
        raise UsageError(f"Learning needs utterances of at least 2 emotions; the table's labels: {have}.")
    targets = workspace.targets
    labelled = fold.train[targets[fold.train] >= 0]
    if absent := workspace.absent(labelled):
        raise TableError(
            f"Fold {fold.name}: no training utterance is labelled {', '.join(absent)}; merge or drop that label."
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


def _run_pretraining(
    job: PretrainingJob, workspace: Workspace, on_epoch: Callable[[dict[str, float]], None]
) -> JobResult:
    fold = workspace.fold_of(job)
    preset = get_preset(job.preset)
    labels = [label for label, _ in job.views]
    _check_fingerprints(workspace, job.views)
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
    return JobResult(job, 0.0, workspace.config.device, metrics=tuple(rows), curves=_curve_rows(history.curves))


def _run_finetuning(
    job: FineTuningJob, workspace: Workspace, on_epoch: Callable[[dict[str, float]], None]
) -> JobResult:
    fold = workspace.fold_of(job)
    _check_fingerprints(workspace, (job.view,))
    label, device = job.view[0], workspace.config.device
    train, validation = budget_indices(workspace, fold, job.budget, job.validation, _subset_seed(job))
    encoder, scaler = _initial_encoder(job.init, job.view, job.preset, job.seed, workspace, fold)
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
    return _classified(job, workspace, fold, train, validation, probabilities, rows, _curve_rows(history.curves))


def _run_baseline(job: BaselineJob, workspace: Workspace, on_epoch: Callable[[dict[str, float]], None]) -> JobResult:
    fold = workspace.fold_of(job)
    _check_fingerprints(workspace, (job.view,))
    train, validation = budget_indices(workspace, fold, job.budget, job.validation, _subset_seed(job))
    if job.init:
        encoder, scaler = _initial_encoder(job.init, job.view, job.preset, job.seed, workspace, fold)
        embedded = embed(workspace.data(job.view[0]), encoder, scaler=scaler, device=workspace.config.device)
        features = standardised(embedded.cpu().numpy(), fold)
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
    return _classified(job, workspace, fold, train, validation, probabilities, rows, ())


def _run_probe(job: ProbeJob, workspace: Workspace, on_epoch: Callable[[dict[str, float]], None]) -> JobResult:
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
    _check_fingerprints(workspace, (job.view,))
    label = job.view[0]
    encoder, scaler = _initial_encoder(job.init, job.view, job.preset, job.seed, workspace, fold)
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


_RUNNERS: Mapping[type[Job], Callable[..., JobResult]] = {
    PretrainingJob: _run_pretraining,
    FineTuningJob: _run_finetuning,
    BaselineJob: _run_baseline,
    ProbeJob: _run_probe,
}


def standardised(features: NDArray[Any], fold: splits.Fold) -> NDArray[np.float64]:
    """Features `(n, features)` of all utterances, z-scored by the fold's training part."""
    center, spread = features[fold.train].mean(axis=0), features[fold.train].std(axis=0)
    scaled: NDArray[np.float64] = (features - center) / np.where(spread > 1e-12, spread, 1.0)
    return scaled


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


def _classified(
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


def _initial_encoder(
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


def _check_fingerprints(workspace: Workspace, views: Sequence[tuple[str, str]]) -> None:
    for label, fingerprint in views:
        have = workspace.specs[label].fingerprint if label in workspace.specs else "not there"
        if have != fingerprint:
            raise StoreError(f"The job needs {label} with fingerprint {fingerprint}; this run's is {have}.")


def _subset_seed(job: FineTuningJob | BaselineJob) -> int:
    """Which labels are drawn depends on seed, fold and repeat alone, so that methods are compared on the same ones."""
    return derive_seed(job.seed, "labels", job.fold, job.repeat)


def _curve_rows(curves: Sequence[Mapping[str, float]]) -> tuple[tuple[int, str, float], ...]:
    return tuple((epoch + 1, name, value) for epoch, row in enumerate(curves) for name, value in row.items())
