"""What was run: corpus, folds, views, settings, jobs and failures."""

from __future__ import annotations

import json

import pandas as pd

from emoviews.report import tables
from emoviews.report.blocks import Block, Section
from emoviews.report.run import Run
from emoviews.report.tables import (
    Column,
    Table,
    count,
    seconds,
)


def section(run: Run) -> Section:
    """The last section of every page."""
    blocks: list[Block] = [_facts(run)]
    if not run.folds.empty:
        columns = {
            "fold": Column("Fold"),
            "groups": Column("Test groups"),
            "speakers": Column("Speakers", count, True),
            **{f"n_{label}": Column(label, count, True) for label in run.labels},
            "unlabelled": Column("no label", count, True),
            "split_hash": Column("Split hash"),
        }
        caption = (
            "The folds: whose recordings each tests, and how many of each emotion. Another fold's test groups validate, the "
            "rest train. Equal split hashes are equal splits."
        )
        blocks.append(Table.of("folds", caption, run.folds, columns))
    views = tables.views(run.description)
    if not views.empty:
        columns = {
            "view": Column("View"),
            "fingerprint": Column("Fingerprint"),
            "version": Column("Version", str, True),
            "axes": Column("Axes"),
            "parameters": Column("Parameters"),
            "weights": Column("Weights"),
        }
        caption = "The views, which is what the encoders see. Equal fingerprints are equal inputs."
        blocks.append(Table.of("views", caption, views, columns))
    found = tables.settings(run.jobs)
    caption = "The settings by kind of job; several values in one cell are several configurations."
    blocks.append(Table.plain("settings", caption, found))
    columns = {
        "kind": Column("Jobs"),
        "planned": Column("Planned", count, True),
        "done": Column("Done", count, True),
        "refused": Column("Too few data", count, True),
        "failed": Column("Failed", count, True),
        "not_run": Column("Not run", count, True),
        "seconds": Column("Time", seconds, True),
    }
    caption = "The jobs, each one training and its test. Time is the sum over jobs; in parallel it took less."
    blocks.append(Table.of("jobs", caption, tables.job_counts(run.jobs), columns))
    failed = run.jobs[run.jobs["status"] == "failed"]
    if not failed.empty:
        frame = failed.groupby(["kind", "error"], sort=False)["job_id"].agg(["count", "first"]).reset_index()
        columns = {
            "kind": Column("Jobs"),
            "count": Column("Failed", count, True),
            "error": Column("Error"),
            "first": Column("First job"),
        }
        blocks.append(Table.of("failures", "Jobs that failed, by error.", frame, columns))
    return Section("What was run", tuple(blocks))


def _facts(run: Run) -> Table:
    n, status = len(run.utterances), run.jobs["status"].value_counts()
    labelled = int(run.utterances["emotion"].isin(run.labels).sum())
    seeds = {description["seed"] for description in run.jobs["description"].dropna()}
    unknown = f"{len(run.fold_of_speaker)}, and {run.unknown_speakers} recordings without one"
    left_out = (
        f"; {run.n_left_out} of earlier configurations are in the database and left out" if run.n_left_out else ""
    )
    facts = {
        "Corpus": run.description.get("corpus", "–"),
        "Utterance table (hash)": run.description.get("table", "–"),
        "Recordings": f"{n}, together {run.utterances['duration_seconds'].sum() / 3600:.2f} h; {labelled} with a label",
        "Labels": ", ".join(run.labels) or "–",
        "Speakers": unknown if run.unknown_speakers else str(len(run.fold_of_speaker)),
        "Folds": str(len(run.folds)),
        "Experiments": ", ".join(f"{name} ({jobs} jobs)" for name, jobs in run.experiments.items()) or "–",
        "Jobs": ", ".join(f"{status.get(word, 0)} {word}" for word in ("done", "refused", "failed", "not run"))
        + left_out,
        "Training time": f"{seconds(float(run.jobs['seconds'].sum()))}, summed over jobs",
        "Devices": ", ".join(sorted(set(run.jobs["device"]) - {""})) or "–",
        "Seed": f"{run.description.get('seed', '–')}; {len(seeds)} seeds of jobs derive from it and stand in results.csv",
        "Configuration": json.dumps(run.description.get("configuration", {}), ensure_ascii=False) or "–",
        "Versions": ", ".join(f"{name} {version}" for name, version in run.description.get("versions", {}).items())
        or "–",
    }
    frame = pd.DataFrame(list(facts.items()), columns=["what", "value"])
    return Table.of("run", "The run.", frame, {"what": Column("What"), "value": Column("Value")})
