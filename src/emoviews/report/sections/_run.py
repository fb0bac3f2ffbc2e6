"""What was run: corpus, folds, views, settings, jobs and failures."""

from __future__ import annotations

from typing import Any, Final

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
    if options := tables.dotted(run.description.get("configuration", {})):
        frame = pd.DataFrame([(name, _shown(value)) for name, value in options.items()], columns=["option", "value"])
        caption = "Configuration: the options in force, named as on the command line."
        columns = {"option": Column("Option"), "value": Column("Value")}
        blocks.append(Table.of("configuration", caption, frame, columns))
    if not run.folds.empty:
        columns = {
            "fold": Column("Fold"),
            "groups": Column("Test groups"),
            "speakers": Column("Speakers", count, True),
            **{f"n_{label}": Column(label, count, True) for label in run.labels},
            "unlabelled": Column("no label", count, True),
            "split_hash": Column("Split hash"),
        }
        validates = "Another fold's test groups validate, the rest train."
        if len(run.folds) == 1:
            validates = "What trains and what validates is said by the table's column “split”, or by a warning below."
        caption = (
            f"The folds: whose recordings each tests, and how many of each emotion. {validates} Equal split hashes are equal "
            "splits."
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
    if not run.jobs.empty:
        blocks += _job_blocks(run)
    return Section("What was run", tuple(blocks))


def _job_blocks(run: Run) -> list[Block]:
    """What was trained, how long it took, and what failed."""
    blocks: list[Block] = []
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
    spent = tables.time_by_experiment(run.results)
    if not spent.empty:
        columns = {
            "experiment": Column("Experiment"),
            "jobs": Column("Jobs", count, True),
            "seconds": Column("Time", seconds, True),
        }
        caption = (
            "Time by experiment: the sum of its jobs' times. A job of two experiments, such as a pre-training, was run once "
            "and counts in each, so the sum of the column is more than the whole."
        )
        blocks.append(Table.of("time-by-experiment", caption, spent, columns))
    if len(run.versions) > 1:
        caption = (
            "The sets of package versions with which jobs were made. Their numbers may differ for that reason alone."
        )
        blocks.append(Table.plain("versions", caption, run.versions))
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
    return blocks


def _shown(value: Any) -> str:
    """An option's value as on the command line."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


WORDS: Final = {"done": "done", "refused": "too few data", "failed": "failed", "not run": "not run"}
"""A job's status in words: one word for each, wherever it is shown."""


def _on_the_clock(run: Run) -> str:
    """How long the run took, over all sessions; a killed one left no note."""
    sessions = run.description.get("sessions", [])
    workers = sorted({int(session["workers"]) for session in sessions})
    many = f"{' or '.join(map(str, workers))} worker{'s' * (workers != [1])}"
    total = seconds(float(sum(session["seconds"] for session in sessions)))
    return f"{total}, in {len(sessions)} session{'s' * (len(sessions) > 1)} with {many}"


def _versions(run: Run) -> str:
    if len(run.versions) > 1:
        return f"{len(run.versions)} sets, listed below"
    # What the jobs were made with; a run without jobs has only what it noted of itself.
    described = run.description.get("versions", {})
    made = run.versions.drop(columns="jobs").to_dict("records")[0] if len(run.versions) else described
    return ", ".join(f"{name} {version}" for name, version in made.items()) or "–"


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
        **({"Tested on": str(other)} if (other := run.description.get("test_corpus")) else {}),
        "Utterance table (hash)": run.description.get("table", "–"),
        "Recordings": f"{n}, together {run.utterances['duration_seconds'].sum() / 3600:.2f} h; {labelled} with a label",
        "Labels": ", ".join(run.labels) or "–",
        "Speakers": unknown if run.unknown_speakers else str(len(run.fold_of_speaker)),
        "Folds": str(len(run.folds)),
        "Experiments": ", ".join(f"{name} ({jobs} jobs)" for name, jobs in run.experiments.items()) or "–",
        "Jobs": ", ".join(f"{status.get(word, 0)} {shown}" for word, shown in WORDS.items()) + left_out,
        **({"Hardware": str(run.description["hardware"])} if run.description.get("hardware") else {}),
        **({"Time on the clock": _on_the_clock(run)} if run.description.get("sessions") else {}),
        "Training time": f"{seconds(float(run.jobs['seconds'].sum()))}, summed over jobs",
        "Devices": ", ".join(sorted(set(run.jobs["device"]) - {""})) or "–",
        "Seed": f"{run.description.get('seed', '–')}; {len(seeds)} seeds of jobs derive from it and stand in results.csv",
        "Versions": _versions(run),
    }
    frame = pd.DataFrame(list(facts.items()), columns=["what", "value"])
    return Table.of("run", "The run.", frame, {"what": Column("What"), "value": Column("Value")})
