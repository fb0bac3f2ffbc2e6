"""Saved rows → TensorBoard or MLflow: curves, scores and descriptions of a run folder's jobs, for whoever looks there.

One way, from `results.sqlite` alone: a tracker never sees a training, so it can't slow one down or make it fail, and it shows
what the report shows. A job that is there already is not written again, so the same command brings a tracker up to date.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from emoviews.errors import EmoViewsError, MissingExtraError, UsageError
from emoviews.results import FILE, TIDY_COLUMNS, Results

_SCORES: Final = ("split", "n", "uar", "wa", "macro_f1", "epochs_run", "best_epoch", "n_labels")
_DESCRIBING: Final = tuple(name for name in TIDY_COLUMNS if name not in _SCORES)
JOB_TAG: Final = "emoviews.job_id"
_BATCH: Final = 1000
"""Metrics that MLflow takes at a time."""


@dataclass(frozen=True)
class Tracked:
    """A finished job, as trackers show it.

    Attributes:
        job_id: its id.
        name: `experiment/view/init/fold/repeat` and the beginning of the id, what it has of these.
        parameters: the tidy table's columns about it that have a value.
        curves: (epoch counted from 1, name, value).
        scores: `split/name` → value.
    """

    job_id: str
    name: str
    parameters: dict[str, str]
    curves: list[tuple[int, str, float]]
    scores: dict[str, float]


def to_tensorboard(run: Path, out: Path) -> tuple[int, int]:
    """Write event files, a folder a job; how many were written, and how many were there.

    Raises:
        UsageError: the run folder holds no results.
        MissingExtraError: tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams
    except ImportError as error:
        raise MissingExtraError("TensorBoard's files", package="tensorboard", extra="track") from error

    written = present = 0
    for job in tracked(run):
        folder = out / job.name
        if folder.is_dir():
            present += 1
            continue
        unfinished = out / f".{job.job_id}.{os.getpid()}"  # a killed export leaves no half of a job
        shutil.rmtree(unfinished, ignore_errors=True)
        with SummaryWriter(str(unfinished)) as writer:
            for epoch, name, value in job.curves:
                writer.add_scalar(name, value, epoch)
            for name, value in job.scores.items():
                writer.add_scalar(name, value, 0)
            for summary in hparams(job.parameters, dict.fromkeys(job.scores, 0.0)):  # type: ignore[no-untyped-call]
                writer.file_writer.add_summary(summary)
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.replace(unfinished, folder)
        written += 1
    return written, present


def to_mlflow(run: Path, uri: str) -> tuple[int, int]:
    """Write a run a job to an MLflow tracking server or database; how many were written, and how many were there.

    Args:
        run: the run folder; its name is the experiment's.
        uri: where MLflow keeps its runs, e.g. `sqlite:///mlflow.db` or `http://localhost:5000`.

    Raises:
        UsageError: the run folder holds no results.
        MissingExtraError: mlflow is not installed.
        EmoViewsError: MLflow can't write there.
    """
    try:
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise MissingExtraError("Export to MLflow", package="mlflow", extra="track") from error

    written = present = 0
    jobs = list(tracked(run))
    try:
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        name = run.resolve().name
        found = client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else client.create_experiment(name)
        for job in jobs:
            # A killed export leaves a run that is not FINISHED; it is written anew.
            filters = f"tags.`{JOB_TAG}` = '{job.job_id}' and attributes.status = 'FINISHED'"
            if client.search_runs([experiment], filters, max_results=1):
                present += 1
                continue
            started = client.create_run(experiment, run_name=job.name, tags={JOB_TAG: job.job_id}).info.run_id
            now = int(time.time() * 1000)
            rows = [*job.curves, *((0, name, value) for name, value in job.scores.items())]
            metrics = [Metric(_mlflow_name(name), value, now, step) for step, name, value in rows]
            params = [Param(name, value) for name, value in job.parameters.items()]
            client.log_batch(started, params=params, tags=[RunTag("emoviews.run", str(run))])
            for first in range(0, len(metrics), _BATCH):
                client.log_batch(started, metrics=metrics[first : first + _BATCH])
            client.set_terminated(started)
            written += 1
    except MlflowException as error:
        raise EmoViewsError(
            f"MLflow can't write to {uri}: {error}. What was written is kept; the same command goes on."
        ) from error
    return written, present


def tracked(run: Path) -> Iterator[Tracked]:
    """The finished jobs of a run folder that left numbers.

    Raises:
        UsageError: it holds no results.
    """
    if not (run / FILE).is_file():
        raise UsageError(
            f"{run} holds no results ({FILE} is missing). Expected a folder that emoviews finetune, emoviews pretrain or "
            "emoviews reproduce filled."
        )
    with Results(run) as results:
        tidy = results.tidy()
        metrics = results.frame("SELECT job_id, split, name, value FROM metrics WHERE value IS NOT NULL")
        curves = results.frame("SELECT job_id, epoch, name, value FROM curves WHERE value IS NOT NULL ORDER BY epoch")
    of_job = {str(job): rows for job, rows in metrics.groupby("job_id")}
    drawn = {str(job): rows for job, rows in curves.groupby("job_id")}
    for row in tidy[list(_DESCRIBING)].drop_duplicates("job_id").to_dict("records"):
        job_id = str(row["job_id"])
        parameters = {str(k): _said(v) for k, v in row.items() if v == v and v not in (None, "")}
        parts = [
            parameters.get(k, "") for k in ("experiment", "kind", "view", "init", "label_fraction", "fold", "repeat")
        ]
        name = "/".join(re.sub(r"[^\w.+=-]+", "_", part) for part in [*parts, job_id[:8]] if part)
        scores = {
            f"{s}/{n}": float(v) for s, n, v in of_job[job_id][["split", "name", "value"]].itertuples(index=False)
        }
        own = drawn.get(job_id)
        points = [] if own is None else list(own[["epoch", "name", "value"]].itertuples(index=False, name=None))
        yield Tracked(job_id, name, parameters, points, scores)


def _said(value: Any) -> str:
    """A number that is whole without a point.

    >>> _said(0.05), _said(3.0), _said("a")
    ('0.05', '3', 'a')
    """
    return f"{value:g}" if isinstance(value, float) else str(value)


def _mlflow_name(name: str) -> str:
    """What MLflow takes as a metric's name."""
    return re.sub(r"[^\w./ -]", "_", name)
