"""The results database: one SQLite file a run folder, one writer (the driver), one transaction a batch of jobs.

    jobs(job_id, description, status, error, seconds, device, versions)     description is the whole job, as JSON
    metrics(job_id, split, name, value)
    curves(job_id, epoch, name, value)
    predictions(job_id, id, y_true, y_pred, probabilities)                  probabilities by label, as JSON
    points(job_id, id, x, y)                                                of maps (t-SNE)
    plans(experiment, job_id)                                               which experiment asked for which job
    utterances(id, speaker, group, emotion, gender, duration_seconds)       who said what is predicted, for intervals
    run(name, value)                                                        what was run, as JSON, for the report

The tidy table is a view of these, exported as Parquet and CSV. A finished job is never run again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pandas as pd

from emoviews.checkpoints import versions
from emoviews.errors import EmoViewsError, UsageError
from emoviews.jobs import RANDOM, Job, JobResult

FILE: Final = "results.sqlite"
SCHEMA_VERSION: Final = 2

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (job_id TEXT PRIMARY KEY, description TEXT NOT NULL, status TEXT NOT NULL,
    error TEXT NOT NULL, seconds REAL NOT NULL, device TEXT NOT NULL, versions TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS metrics (job_id TEXT NOT NULL, split TEXT NOT NULL, name TEXT NOT NULL, value REAL,
    PRIMARY KEY (job_id, split, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS curves (job_id TEXT NOT NULL, epoch INTEGER NOT NULL, name TEXT NOT NULL, value REAL,
    PRIMARY KEY (job_id, epoch, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS predictions (job_id TEXT NOT NULL, id TEXT NOT NULL, y_true TEXT NOT NULL, y_pred TEXT NOT NULL,
    probabilities TEXT NOT NULL, PRIMARY KEY (job_id, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS points (job_id TEXT NOT NULL, id TEXT NOT NULL, x REAL NOT NULL, y REAL NOT NULL,
    PRIMARY KEY (job_id, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS utterances (id TEXT PRIMARY KEY, speaker TEXT NOT NULL, "group" TEXT NOT NULL,
    emotion TEXT NOT NULL, gender TEXT NOT NULL, duration_seconds REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS run (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS plans (experiment TEXT NOT NULL, job_id TEXT NOT NULL, PRIMARY KEY (experiment, job_id))
    WITHOUT ROWID;
"""

TIDY_COLUMNS: Final = (
    "experiment",
    "kind",
    "method",
    "corpus",
    "view",
    "init",
    "frozen",
    "objective",
    "negatives",
    "temperature",
    "pretraining_data",
    "pretraining_size",
    "validation",
    "label_fraction",
    "labels_per_class",
    "n_labels",
    "fold",
    "repeat",
    "seed",
    "split",
    "n",
    "uar",
    "wa",
    "macro_f1",
    "split_hash",
    "preset",
    "scaling",
    "epochs_run",
    "best_epoch",
    "job_id",
)


PER_JOB: Final = ("n_labels", "epochs_run", "best_epoch", "regularisation")
"""Metrics of the training part that are a job's and not a split's."""

_NUMBERS: Final = (
    "temperature",
    "pretraining_size",
    "label_fraction",
    "labels_per_class",
    "n_labels",
    "repeat",
    "n",
    "uar",
    "wa",
    "macro_f1",
)


class Results:
    """A run folder's database. Open it, use it, close it; or use it as a context manager."""

    def __init__(self, folder: str | Path) -> None:
        """Open, creating what is missing.

        Raises:
            EmoViewsError: the file is not a results database, of another version, or can't be written.
        """
        folder = Path(folder)
        self.path = folder / FILE
        self._note: Callable[[int], str] | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, isolation_level=None)
        except (sqlite3.Error, OSError) as error:
            raise EmoViewsError(f"{self.path} can't be used as a results database: {error}.") from error
        try:
            self._prepare()
        except sqlite3.Error as error:
            self.close()
            raise EmoViewsError(
                f"{self.path} can't be used as a results database: {error}. Name another folder."
            ) from error
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        """Make the tables of a new database, or check that this is one of ours."""
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version == SCHEMA_VERSION:
            return
        if version != 0 or self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise EmoViewsError(
                f"{self.path} has schema version {version}; this version of EmoViews uses {SCHEMA_VERSION}. Name another "
                "folder."
            )
        # One transaction: a kill leaves an empty file, which is a new database the next time.
        self._connection.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version = {SCHEMA_VERSION};COMMIT;")

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def plan(self, experiment: str, jobs: Iterable[Job]) -> None:
        """Note which jobs an experiment consists of, in place of what it consisted of before.

        Rows of another configuration would otherwise be averaged with these. They stay in the database, of no experiment.
        """
        with self._transaction() as connection:
            connection.execute("DELETE FROM plans WHERE experiment = ?", (experiment,))
            rows = [(experiment, job.id) for job in jobs]
            connection.executemany("INSERT OR IGNORE INTO plans VALUES (?, ?)", rows)

    def claim(self, configuration: Mapping[str, Any]) -> None:
        """Note which configuration this folder is for, so that rows of two are never mixed.

        Args:
            configuration: JSON values by name; empty for what belongs to no configuration and only goes to unclaimed folders.

        Raises:
            UsageError: the folder is claimed for another configuration; both hashes and what differs are named.
        """
        self.check_claim(configuration)
        if configuration:
            self.describe(claim=configuration)

    def check_claim(self, configuration: Mapping[str, Any]) -> None:
        """What `claim` does, but for the note: refuse a folder that is for another configuration.

        Raises:
            UsageError: see there.
        """
        earlier = self.description().get("claim")
        if earlier is None:
            return
        if not configuration:
            raise UsageError(
                f"{self.path.parent} holds a run of `emoviews reproduce` ({_short_hash(earlier)}). Name another --out."
            )
        if differ := sorted(k for k in {*earlier, *configuration} if earlier.get(k) != configuration.get(k)):
            raise UsageError(
                f"{self.path.parent} holds a run of another configuration: {_short_hash(earlier)}, this one is "
                f"{_short_hash(configuration)}. They differ in {', '.join(differ)}. Name another --out, or give what that run "
                "had."
            )

    def remember(self, descriptions: Mapping[str, Mapping[str, Any]]) -> None:
        """Note jobs that ran for another folder (id → description), so that rows which start from them can name them."""
        with self._transaction() as connection:
            rows = [(name, json.dumps(found, sort_keys=True)) for name, found in descriptions.items()]
            connection.executemany("INSERT OR IGNORE INTO jobs VALUES (?, ?, 'elsewhere', '', 0, '', '{}')", rows)

    @contextlib.contextmanager
    def session(self, workers: int) -> Iterator[None]:
        """Note a stretch of work on the clock: when it began, how long it took, how many jobs it finished.

        It is noted with every batch of jobs (`add`), so that a kill leaves what it had come to.
        """
        started = time.time()
        when = datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds")
        earlier, finished = self.description().get("sessions", []), 0

        def note(jobs: int) -> str:
            nonlocal finished
            finished += jobs
            entry = {"started": when, "seconds": time.time() - started, "jobs": finished, "workers": workers}
            return json.dumps([*earlier, entry])

        self._note = note
        try:
            yield
        finally:
            self._note = None

    def describe(self, **values: Any) -> None:
        """Note what was run: JSON values by name."""
        with self._transaction() as connection:
            rows = [(name, json.dumps(value)) for name, value in values.items()]
            connection.executemany("INSERT OR REPLACE INTO run VALUES (?, ?)", rows)

    def description(self) -> dict[str, Any]:
        """What `describe` noted."""
        return {name: json.loads(value) for name, value in self._connection.execute("SELECT name, value FROM run")}

    def add_utterances(self, table: pd.DataFrame, durations: Sequence[float]) -> None:
        """Note who speaks in each utterance (`durations` in seconds, in the table's order)."""
        columns = ["id", "speaker", "group", "emotion", "gender"]
        rows = [(*r, float(d)) for r, d in zip(table[columns].itertuples(index=False), durations, strict=True)]
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO utterances VALUES (?, ?, ?, ?, ?, ?)", rows)

    def speakers(self) -> dict[str, str]:
        """Utterance id → speaker; its group where the speaker is unknown."""
        rows = self._connection.execute('SELECT id, speaker, "group" FROM utterances')
        return {name: speaker or group or name for name, speaker, group in rows}

    def finished(self) -> set[str]:
        """Ids of the jobs that are done, or refused for want of data, and never run again."""
        rows = self._connection.execute("SELECT job_id FROM jobs WHERE status IN ('done', 'refused')")
        return {row[0] for row in rows}

    def add(self, results: Iterable[JobResult]) -> None:
        """Write what came of a batch of jobs, all or nothing."""
        made_with, batch = json.dumps(versions()), list(results)
        with self._transaction() as connection:
            for result in batch:
                job = result.job.id
                for name in ("jobs", "metrics", "curves", "predictions", "points"):
                    connection.execute(f"DELETE FROM {name} WHERE job_id = ?", (job,))
                status = "refused" if result.refused else "failed" if result.error else "done"
                description = json.dumps(result.job.description, sort_keys=True)
                row = (job, description, status, result.error, result.seconds, result.device, made_with)
                connection.execute("INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?)", row)
                connection.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?)", [(job, *m) for m in result.metrics])
                connection.executemany("INSERT INTO curves VALUES (?, ?, ?, ?)", [(job, *c) for c in result.curves])
                connection.executemany("INSERT INTO predictions VALUES (?, ?, ?, ?, ?)", _prediction_rows(result))
                connection.executemany("INSERT INTO points VALUES (?, ?, ?, ?)", [(job, *p) for p in result.points])
            if self._note is not None:
                connection.execute("INSERT OR REPLACE INTO run VALUES ('sessions', ?)", (self._note(len(batch)),))

    def frame(self, query: str, parameters: tuple[Any, ...] = ()) -> pd.DataFrame:
        """The answer to an SQL query."""
        return pd.read_sql_query(query, self._connection, params=parameters)

    def tidy(self, experiment: str | None = None) -> pd.DataFrame:
        """One row a job and split with `TIDY_COLUMNS`; all experiments, or one.

        A pre-training's `objective` (its loss), `temperature` and `pretraining_data` stand in the rows of what starts from it.
        What a job used up or chose for itself (`PER_JOB`) stands in each of its rows; a split with nothing else has no row.
        """
        jobs = self.frame("SELECT job_id, description, status FROM jobs")
        known = {i: json.loads(d) for i, d in zip(jobs["job_id"], jobs["description"], strict=True)}
        described = {i: known[i] for i in jobs["job_id"][jobs["status"] == "done"]}
        plans = self.frame("SELECT experiment, job_id FROM plans")
        metrics = self.frame("SELECT * FROM metrics")
        if metrics.empty:
            return pd.DataFrame(columns=list(TIDY_COLUMNS))
        wide = metrics.pivot_table(
            index=["job_id", "split"], columns="name", values="value", dropna=False
        ).reset_index()
        wide = wide.dropna(axis=0, how="all", subset=[c for c in wide.columns if c not in ("job_id", "split")])
        wide = wide[wide["job_id"].isin(described)]
        described_frame = pd.DataFrame([_tidy_row(i, d, known) for i, d in described.items()])
        wide = wide.merge(described_frame, on="job_id")
        per_job = [column for column in PER_JOB if column in wide.columns]
        wide = wide.dropna(how="all", subset=sorted(set(metrics["name"]) - set(per_job)))
        stored = metrics[metrics["name"].isin(per_job)].pivot(index="job_id", columns="name", values="value")
        for column in per_job:
            wide[column] = wide["job_id"].map(stored[column])
        wide = wide.merge(plans, on="job_id", how="left")
        wide["experiment"] = wide["experiment"].fillna("")
        if experiment is not None:
            wide = wide[wide["experiment"] == experiment]
        wide = wide.reindex(columns=[*TIDY_COLUMNS, *sorted(set(wide.columns) - set(TIDY_COLUMNS))])
        wide[list(_NUMBERS)] = wide[list(_NUMBERS)].astype(float)  # also where a run has no value at all
        order = ["experiment", "kind", "method", "view", "init", "frozen", "label_fraction", "fold", "repeat", "split"]
        return wide.sort_values(order, kind="stable", ignore_index=True)

    def export(self) -> tuple[Path, Path]:
        """Write the tidy table as `results.parquet` and `results.csv` beside the database."""
        tidy = self.tidy()
        parquet, csv = self.path.with_name("results.parquet"), self.path.with_name("results.csv")
        for path in (parquet, csv):
            temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            if path is parquet:
                tidy.to_parquet(temporary, index=False)
            else:
                tidy.to_csv(temporary, index=False)
            os.replace(temporary, path)
        return parquet, csv

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._rollback()
            raise EmoViewsError(f"{self.path} can't be written: {error}. What was saved before is kept.") from error
        except BaseException:
            self._rollback()
            raise

    def _rollback(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def _short_hash(value: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits over JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def _prediction_rows(result: JobResult) -> list[tuple[str, str, str, str, str]]:
    found = result.predictions
    if found is None:
        return []
    rows = zip(found.ids, found.y_true, found.y_pred, found.probabilities, strict=True)
    return [
        (result.job.id, i, t, p, json.dumps({c: round(float(v), 7) for c, v in zip(found.labels, q, strict=True)}))
        for i, t, p, q in rows
    ]


def _tidy_row(job_id: str, job: dict[str, Any], all_jobs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The descriptive columns of one job."""
    inits = [i for i in (job.get("init"), *job.get("inits", ())) if i]
    start = job if job["kind"] == "pretraining" else all_jobs.get(inits[0] if inits else "", {})
    # A classifier may start from a fine-tuned encoder, and that one from a pre-trained.
    pretraining = start if start.get("kind") == "pretraining" else all_jobs.get(start.get("init", ""), {})
    budget = job.get("budget") or {}
    view = job["view"][0] if "view" in job else "+".join(label for label, _ in job["views"])
    return {
        "job_id": job_id,
        "kind": job["kind"],
        "method": job.get("method", job["kind"]),
        "corpus": job["corpus"],
        "view": view,
        "init": _start_name(start) if inits and inits[0] != RANDOM else (RANDOM if inits else None),
        "frozen": job.get("frozen"),
        "objective": pretraining.get("config", {}).get("loss"),
        **{name: pretraining.get("config", {}).get(name) for name in ("negatives", "temperature")},
        "pretraining_data": pretraining.get("data"),
        "pretraining_size": pretraining.get("size"),
        "validation": job.get("validation"),
        "label_fraction": 1.0 if budget == {"fraction": None, "per_class": None} else budget.get("fraction"),
        "labels_per_class": budget.get("per_class"),
        "fold": job["fold"],
        "repeat": job.get("repeat"),
        "seed": job["seed"],
        "split_hash": job["split"],
        "preset": job["preset"],
        "scaling": job["scaling"],
    }


def _start_name(start: dict[str, Any]) -> str:
    """What `init` says in the tidy table: `pretrained`, `simclr` (of one view) or `supervised`."""
    if start.get("kind") == "finetuning":
        return "supervised" if start["init"] == RANDOM else "tuned"
    return "simclr" if len(start.get("views", ())) == 1 else "pretrained"
