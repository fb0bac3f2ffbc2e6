"""The workspace: what jobs share. The table, its folds, the extracted views, the pre-trained checkpoints.

It is described by a small picklable `WorkspaceConfig`, from which any process can open it.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoviews import splits
from emoviews.batching import Scaler, ViewData
from emoviews.checkpoints import Checkpoint, load_checkpoint
from emoviews.configs import Precision, Scaling
from emoviews.errors import CheckpointError, LeakageError, StoreError, UsageError
from emoviews.extraction import locate
from emoviews.jobs import Job, PretrainingData
from emoviews.progress import counted
from emoviews.store import Source, ViewStore
from emoviews.table import UNDECIDED, join_tables, original_emotions, table_hash
from emoviews.views import ViewRequest

CHECKPOINTS = "checkpoints"

EMBEDDED_BYTES: Final = 200_000_000
"""Embeddings of the whole table that are kept at most: thousands of baselines look at what a few encoders make of it."""

PRETRAINING_DATA: Final[tuple[PretrainingData, ...]] = get_args(PretrainingData)
"""All kinds of pre-training data."""


@dataclass(frozen=True)
class WorkspaceConfig:
    """From which any process opens the same workspace.

    Attributes:
        table: the utterance table, labels already mapped.
        corpus: its name, for people.
        store: root folder of the extracted views.
        views: which views, by label.
        folder: the run folder; checkpoints go below it.
        folds: a number merges the groups into so many folds, `official` takes the table's column `split`, `groups` makes
            every group a fold of its own. None is `official` where the column marks rows that train and rows that test, and
            `groups` elsewhere.
        scaling: `zscore` (statistics of the fold's training part) or `none`.
        device: `cpu`, `cuda`, ….
        precision: of pre-trainings' matrix products; `mixed` needs a GPU.
        threads: of each job on the CPU, in whichever process it runs: other numbers of threads give other last bits.
        checkpoints: pre-training job → folder, for checkpoints that do not lie below the run folder.
        allow_speaker_overlap: turn a speaker on both sides of a split from an error into a warning.
        test_table: the utterances of another corpus, labels already mapped, for a test across corpora: the only fold trains and
            validates on `table` and tests on every labelled utterance of this (`splits.cross_corpus_split`).
        test_corpus: its name, which is also the fold's.
    """

    table: pd.DataFrame
    corpus: str
    store: Path
    views: tuple[ViewRequest, ...]
    folder: Path
    folds: int | Literal["official", "groups"] | None = None
    scaling: Scaling = "zscore"
    device: str = "cpu"
    precision: Precision = "float32"
    threads: int = 1
    checkpoints: Mapping[str, Path] | None = None
    allow_speaker_overlap: bool = False
    test_table: pd.DataFrame | None = None
    test_corpus: str = "test"


class Workspace:
    """What jobs share. Opening it checks that the store has the views and that no fold leaks."""

    def __init__(self, config: WorkspaceConfig) -> None:
        """Open.

        Raises:
            StoreError: utterances have not been extracted; the message gives the command.
            UsageError: too few groups for folds; a test table together with `folds`, with labels that the training table does
                not have, or without any.
            LeakageError: training and test data share a speaker, a group or a recording.
        """
        self.config = config
        self.warnings: list[str] = []
        self.specs = {request.label: request.make().spec for request in config.views}
        self._stores = {label: ViewStore(config.store, spec) for label, spec in self.specs.items()}
        whole = config.table
        if config.test_table is not None:
            whole = join_tables(whole, config.test_table, (config.corpus, config.test_corpus))
        usable, self.sources = self._present(whole)
        self.table = whole[usable].reset_index(drop=True)
        self.table_hash = self._hash()
        self._data: dict[str, ViewData] = {}
        self._means: dict[str, NDArray[np.float64]] = {}
        self._scalers: dict[tuple[str, str], Scaler | None] = {}
        self._embedded: dict[Hashable, NDArray[np.float32]] = {}
        self._trained_by: dict[str, dict[str, Any]] = {}
        self._audited: dict[Any, list[splits.Leak]] = {}
        labels = sorted(set(whole["emotion"][: len(config.table)][usable[: len(config.table)]]) - {""})
        self._check_test_labels(labels)
        self.labels: tuple[str, ...] = tuple(labels)
        numbers = {label: number for number, label in enumerate(labels)}
        self.targets: NDArray[np.int64] = np.array([numbers.get(e, -1) for e in self.table["emotion"]], dtype=np.int64)
        # Folds are those of the whole table, so that a recording that can't be used moves no other to another fold.
        folds = self._make_folds(whole, usable)
        ids = list(whole["id"])
        self.hashes = {fold.name: splits.split_hash(fold, ids) for fold in folds}
        self.folds = {fold.name: _restricted(fold, usable) for fold in folds}
        for fold in self.folds.values():
            for part in ("train", "test"):
                if part not in fold.parts:
                    raise StoreError(
                        f"Fold {fold.name}: no recording of its {part} part can be used. {self.warnings[0]}"
                    )
            self._warn_of_absent_labels(fold)
        self.leaks = {name: self.audit(fold.parts) for name, fold in self.folds.items()}

    def _hash(self) -> str:
        """Twelve hexadecimal digits over what jobs read of the table: its contract's hash, the recordings, their texts."""
        digest = hashlib.sha256(table_hash(self.table).encode())
        for source, text in zip(self.sources, self.table["text"], strict=True):
            digest.update(f"{source.key}\x1f{text}\x1e".encode())
        return digest.hexdigest()[:12]

    def require_learnable(self, jobs: Iterable[Job]) -> None:
        """Refuse classifiers that can only fail, before any time is spent.

        Raises:
            UsageError: a fold's training part has labels of fewer than two emotions, its test part none, or its validation part
                none where all of it is to decide when to stop.
        """
        rules = {(job.fold, rule) for job in jobs if (rule := getattr(job, "validation", None))}
        for name, rule in sorted(rules):
            fold = self.folds[name]
            kinds = {part: len(self.labels) - len(self.absent(rows)) for part, rows in fold.parts.items()}
            if kinds["train"] < 2:
                raise UsageError(
                    f"Fold {name}: learning needs training utterances of at least 2 emotions; it has labels of "
                    f"{kinds['train']}. Merge groups (--folds), label more, or name other folds (--fold)."
                )
            if kinds["test"] < 1:
                raise UsageError(
                    f"Fold {name}: no test utterance has a label. Label some, or name other folds (--fold)."
                )
            if rule == "full" and kinds.get("validation", 0) < 1:
                raise UsageError(
                    f"Fold {name}: no utterance of its validation part has a label, so it can't decide when to stop. Take the "
                    "labels that validate out of the few (--validations budget; of finetune: --validation budget), or do "
                    "without (none)."
                )

    def _warn_of_absent_labels(self, fold: splits.Fold) -> None:
        """Name each part of a fold that lacks a label; scores are over the classes that are there."""
        nouns = {"train": "training", "validation": "validation", "test": "test"}
        consequences = {
            "train": "it can't be learnt there, and every test utterance of it counts as missed",
            "validation": "what is chosen by the validation UAR is chosen without it",
            "test": "that fold's test UAR is over the other classes",
        }
        for part, rows in fold.parts.items():
            absent = self.absent(rows)
            if absent and len(absent) == len(self.labels):
                self.warnings.append(f"Fold {fold.name}: no {nouns[part]} utterance has a label.")
            elif absent:
                named = ", ".join(absent)
                self.warnings.append(
                    f"Fold {fold.name}: no {nouns[part]} utterance is labelled {named}; {consequences[part]}."
                )

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
                own = set(self.config.table["path"])
                name = "TABLE" if any(source.path in own for source in missing) else "TEST_TABLE"
                request = next(request for request in self.config.views if request.label == label)
                raise StoreError(
                    f"{len(missing)} of {len(table)} utterances have no {request} in {self.config.store} (first: "
                    f"{missing[0].path}). Run: emoviews extract {name} --store {self.config.store} --views "
                    f"{shlex.quote(str(request))}"
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
        if self.config.test_table is not None:
            return [self._cross_corpus_fold(table, usable)]
        folds = self.config.folds
        if self.official:
            labelled = usable & (table["emotion"] != "").to_numpy()
            official = splits.official_split(list(table["split"]), list(table["group"]), labelled)
            self._say_which_group_validates(official)
            return [official]
        group = table["group"]
        with_labels = set(group[usable & (table["emotion"] != "")]) or set(group[usable])
        tested = group.isin(with_labels).to_numpy()
        rows, rest = np.flatnonzero(tested), np.flatnonzero(~tested)
        left = usable[rest]
        if left.any():
            n = group[rest[left]].nunique()
            self.warnings.append(
                f"{counted(n, 'group')} without any label ({counted(left.sum(), 'recording')}): trained on, never tested."
            )
        if lost := sorted(set(group[rest]) - set(group[usable])):
            self.warnings.append(f"No recording of {', '.join(lost)} can be used: there is no fold that tests them.")
        groups = list(table["group"].iloc[rows])
        if isinstance(folds, int):
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

    def _say_which_group_validates(self, fold: splits.Fold) -> None:
        if fold.validation_group:
            self.warnings.append(
                f"The table has no official 'val' rows: its last group, {fold.validation_group}, validates and does not train."
            )

    @property
    def official(self) -> bool:
        """Whether the fold is the one that the table's column `split` prescribes."""
        folds = self.config.folds
        if folds is None and self.config.test_table is None:
            return {"train", "test"} <= set(self.config.table["split"])
        return folds == "official"

    def _cross_corpus_fold(self, table: pd.DataFrame, usable: NDArray[np.bool_]) -> splits.Fold:
        """Train and validate on the table, test on the test table."""
        if self.config.folds is not None:
            raise UsageError(
                f"folds={self.config.folds!r} divides one corpus; with a test table there is one fold, which trains on the one "
                "and tests on the other. Give one of the two."
            )
        fold = splits.cross_corpus_split(
            self.config.test_corpus,
            list(table["group"]),
            list(table["split"]),
            of_test=np.arange(len(table)) >= len(self.config.table),
            labelled=usable & (table["emotion"] != "").to_numpy(),
        )
        self._say_which_group_validates(fold)
        used = np.concatenate([fold.train, fold.validation])
        if left_out := len(self.config.table) - len(used):
            self.warnings.append(
                f"{counted(left_out, 'row')} of {self.config.corpus} left out, as its column 'split' says."
            )
        return fold

    def _check_test_labels(self, labels: Sequence[str]) -> None:
        """Refuse a test table whose labels no training can learn."""
        if self.config.test_table is None:
            return
        emotions = self.config.test_table["emotion"]
        if unknown := sorted(set(emotions) - {"", *labels}):
            names = ", ".join(f"{label} ({counted((emotions == label).sum(), 'utterance')})" for label in unknown)
            raise UsageError(
                f"{self.config.test_corpus} has labels that {self.config.corpus} does not train: {names}; it trains "
                f"{', '.join(labels) or 'none'}. Rename them, or drop them by an empty target: --label-map.{unknown[0]} LABEL"
            )

    def select(self, rows: NDArray[np.int64], data: PretrainingData) -> NDArray[np.int64]:
        """Those of the rows that belong to a kind of pre-training data.

        What is out of distribution had the label of another emotion, which the label map dropped. A recording on which the
        annotators did not agree (`table.UNDECIDED`), or that nobody annotated, may well have a target emotion; it counts with
        the variant `out_of_distribution+undecided` only.

        Args:
            rows: `(rows,)` positions in the table.
            data: which kind.
        """
        if data == "all":
            return rows
        target = self.targets[rows] >= 0
        if data == "target":
            return rows[target]
        if data == "out_of_distribution+undecided":
            return rows[~target]
        originals = original_emotions(self.table).to_numpy()[rows]
        return rows[~target & ~np.isin(originals, ["", UNDECIDED])]

    @cached_property
    def pretraining_sizes(self) -> dict[str, dict[PretrainingData, tuple[int, int]]]:
        """Fold → kind of pre-training data → how many utterances of it train and how many validate."""
        return {
            name: {d: (len(self.select(fold.train, d)), len(self.select(fold.validation, d))) for d in PRETRAINING_DATA}
            for name, fold in self.folds.items()
        }

    def audit(self, parts: Mapping[str, NDArray[np.int64]], validation_within_train: bool = False) -> list[splits.Leak]:
        """What the parts share that they may; every job audits the very rows it uses. The same rows are audited once.

        Raises:
            LeakageError: they share a speaker, a group or a recording.
        """
        of_rows = {name: np.asarray(rows, dtype=np.int64).tobytes() for name, rows in parts.items()}
        key = (validation_within_train, tuple(of_rows.items()))
        if key not in self._audited:
            self._audited[key] = self._audit(parts, validation_within_train)
        return self._audited[key]

    def _audit(self, parts: Mapping[str, NDArray[np.int64]], validation_within_train: bool) -> list[splits.Leak]:
        found = splits.leakage_audit(
            {name: rows for name, rows in parts.items() if len(rows)},
            self.table,
            self._keys,
            allow_speaker_overlap=self.config.allow_speaker_overlap,
            validation_within_train=validation_within_train,
        )
        try:
            return splits.require_no_leakage(found)
        except LeakageError as error:
            if self.config.test_table is None:
                raise
            if self.config.allow_speaker_overlap or not any(leak.column in ("speaker", "group") for leak in found):
                raise
            raise LeakageError(
                f"{error} If {self.config.corpus} and {self.config.test_corpus} merely give two people the same name, rename "
                "the speakers of one, or allow it (--allow-speaker-overlap)."
            ) from error

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

    def embedded(self, made_by: Hashable, embed: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        """What an encoder makes of every utterance, `(n, dim)`; computed once, unless too many others came between.

        Args:
            made_by: everything that decides the encoder and its input.
            embed: computes it.
        """
        if made_by not in self._embedded:
            found = embed()
            most = max(1, EMBEDDED_BYTES // found.nbytes)
            while len(self._embedded) >= most:
                self._embedded.pop(next(iter(self._embedded)))
            self._embedded[made_by] = found
        self._embedded[made_by] = self._embedded.pop(made_by)  # the latest used is last
        return self._embedded[made_by]

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

    def trained_by(self, job_id: str) -> dict[str, Any]:
        """Description of the job whose checkpoint this is, read once: thousands of classifiers start from a few encoders.

        Raises:
            CheckpointError: as `checkpoint`.
        """
        if job_id not in self._trained_by:
            self._trained_by[job_id] = self.checkpoint(job_id).made["job"]
        return self._trained_by[job_id]

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
