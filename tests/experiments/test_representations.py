"""What the embeddings know: which probes and maps there are, and tables that are the means of saved rows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from emoviews.configs import FineTuningConfig, PretrainingConfig
from emoviews.executors import run_planned
from emoviews.experiments import EXPERIMENTS, Plan, kept_supervised, plan_for
from emoviews.experiments.representations import GROUPS, MAPS, PRETRAINING, PROBES, RETRIEVAL, map_points
from emoviews.jobs import RANDOM, JobResult, MapJob, PretrainingJob, ProbeJob
from emoviews.results import Results

REPRESENTATIONS = EXPERIMENTS.load("representations")
FOLDS = {"A": "1" * 12, "B": "2" * 12, "C": "3" * 12}
VIEWS = {"mfcc": "a" * 12, "egemaps": "b" * 12}
PLAN = Plan("toy", "table", FOLDS, VIEWS)


def test_a_probe_for_every_fold_view_and_start_and_maps_of_the_last_fold() -> None:
    jobs = REPRESENTATIONS.jobs(PLAN)
    assert [job.id for job in jobs] == [job.id for job in REPRESENTATIONS.jobs(PLAN)]
    first = {job.fold: job for job in jobs if isinstance(job, PretrainingJob)}
    assert first == PLAN.pretrainings(), "shared with the other experiments"
    kept = {(fold, view): kept_supervised(PLAN, fold, view) for fold in FOLDS for view in VIEWS}
    assert {job.id for job in kept.values()} < {job.id for job in jobs}
    probes, maps = ([job for job in jobs if isinstance(job, kind)] for kind in (ProbeJob, MapJob))
    expected = {(f, v, i) for f in FOLDS for v in VIEWS.items() for i in (RANDOM, first[f].id, kept[f, v[0]].id)}
    assert {(job.fold, job.view, job.init) for job in probes} == expected
    assert {(job.fold, job.view, job.init) for job in maps} == {key for key in expected if key[0] == "C"}
    assert len(jobs) == 3 + 6 + 18 + 6
    # The random encoder is the one that the pre-trained one was before.
    assert {(job.fold, job.seed) for job in probes} == {(fold, job.seed) for fold, job in first.items()}
    assert {job.seed for job in maps} == {first["C"].seed}


def test_the_tables_are_means_over_folds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    jobs = REPRESENTATIONS.jobs(PLAN)
    start = {RANDOM: RANDOM} | {job.id: "pretrained" if job.kind == "pretraining" else "supervised" for job in jobs}
    made: list[dict[str, Any]] = []
    retrieved = []
    with Results(tmp_path) as results:
        assert REPRESENTATIONS.tables(results) == {}
        results.plan("representations", jobs)
        for job in jobs:
            if isinstance(job, ProbeJob):
                names = ("probe_speaker_accuracy", "silhouette_emotion", "purity_emotion")
                values = {name: float(rng.random()) for name in names}
                values |= {"probe_speaker_chance": 0.25, "purity_emotion_chance": 0.2}
                made.append({"view": job.view[0], "encoder": start[job.init], "fold": job.fold} | values)
                metrics = [("test", name, value) for name, value in values.items()]
            elif isinstance(job, PretrainingJob):
                retrieved.append(float(rng.random()))
                metrics = [
                    ("train", "epochs_run", 7.0),
                    ("train", "best_epoch", 4.0),
                    ("test", "retrieval a to b", retrieved[-1]),
                    ("test", "retrieval_random a to b", 0.02),
                    ("test", "retrieval_chance", 0.01),
                ]
            elif isinstance(job, MapJob):
                metrics = [("test", "n", 10.0), ("test", "map_of", 12.0), ("test", "map_perplexity", 3.0)]
            else:
                metrics = [("test", "uar", 0.5)]
            points = (("x-1", 1.0, -2.0),) if isinstance(job, MapJob) else ()
            results.add([JobResult(job, 1.0, "cpu", metrics=tuple(metrics), points=points)])
        tables = REPRESENTATIONS.tables(results)
        points = map_points(results, "representations")
        assert map_points(results, "another").empty
    kinds = [RANDOM, "pretrained", "supervised"]
    frame = pd.DataFrame(made)

    probes = tables[PROBES]
    assert probes["probe"].unique().tolist() == ["speaker (accuracy)"], "what was not measured has no row"
    assert probes[["view", "encoder"]].to_numpy().tolist() == [[v, k] for v in ("egemaps", "mfcc") for k in kinds]
    for row in probes.to_dict("records"):
        values = frame[(frame["view"] == row["view"]) & (frame["encoder"] == row["encoder"])]["probe_speaker_accuracy"]
        assert row["mean"] == pytest.approx(values.mean())
        assert (row["lowest fold"], row["highest fold"]) == (values.min(), values.max())
        assert (row["chance"], row["folds"]) == (0.25, 3)

    groups = tables[GROUPS]
    assert groups[["view", "label", "encoder"]].to_numpy().tolist() == [
        [v, "emotion", k] for v in ("egemaps", "mfcc") for k in kinds
    ]
    for row in groups.to_dict("records"):
        mine = frame[(frame["view"] == row["view"]) & (frame["encoder"] == row["encoder"])]
        for name in ("silhouette", "purity"):
            values = mine[f"{name}_emotion"]
            assert row[name] == pytest.approx(values.mean())
            assert (row[f"{name}_low"], row[f"{name}_high"]) == (values.min(), values.max())
        assert (row["chance"], row["folds"]) == (pytest.approx(0.2), 3)

    (row,) = tables[RETRIEVAL].to_dict("records")
    assert row == pytest.approx(
        {"pair": "a to b", "random": 0.02, "pre-trained": np.mean(retrieved), "chance": 0.01, "folds": 3}
    )
    epochs = tables[PRETRAINING]
    assert epochs["fold"].tolist() == ["A", "B", "C"]
    assert epochs["epochs_run"].tolist() == [7.0] * 3
    assert epochs["best_epoch"].tolist() == [4.0] * 3

    maps = tables[MAPS]
    assert maps[["view", "encoder"]].to_numpy().tolist() == [[v, k] for v in ("egemaps", "mfcc") for k in kinds]
    for row in maps.to_dict("records"):
        assert (row["fold"], row["n"], row["map_of"], row["map_perplexity"]) == ("C", 10, 12, 3)
        mine = frame[(frame["view"] == row["view"]) & (frame["encoder"] == row["encoder"]) & (frame["fold"] == "C")]
        assert row["silhouette_emotion"] == mine["silhouette_emotion"].item(), "that of the very fold on the map"
        assert np.isnan(row["purity_speaker"])
    assert set(points["job_id"]) == set(maps["job_id"])
    assert points[["id", "x", "y", "emotion"]].drop_duplicates().to_numpy().tolist() == [["x-1", 1.0, -2.0, ""]]


def test_the_whole_experiment_on_a_small_corpus(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)
    plan = plan_for(
        workspace,
        "toy",
        pretraining=PretrainingConfig(batch_size=16, epochs=2),
        finetuning=FineTuningConfig(batch_size=16, epochs=2),
    )
    plan = dataclasses.replace(plan, folds={"A": plan.folds["A"]})
    jobs = REPRESENTATIONS.jobs(plan)
    with Results(tmp_path) as results:
        results.plan("representations", jobs)
        results.add_utterances(workspace.table, list(workspace.durations))
        assert run_planned(jobs, workspace, results, workers=1) == []
        tables = REPRESENTATIONS.tables(results)
        points = map_points(results, "representations")
    probes = tables[PROBES]
    assert len(probes) == 4 * 2 * 3  # probes, views, encoders
    assert probes["encoder"].tolist()[:3] == ["random", "pretrained", "supervised"]
    assert tables[GROUPS]["label"].unique().tolist() == ["emotion"], "a fold of one speaker has no groups by speaker"
    assert len(tables[RETRIEVAL]) == 2
    assert (tables[RETRIEVAL]["chance"] == 1 / 24).all()
    maps = tables[MAPS]
    assert (maps["n"].tolist(), maps["fold"].unique().tolist()) == ([24] * 6, ["A"])
    assert points.groupby("job_id")["id"].nunique().tolist() == [24] * 6
    said = points.drop_duplicates("id").set_index("id")[["emotion", "speaker"]]
    assert (said["speaker"] == "A").all()
    assert (said["emotion"] == toy.table.set_index("id")["emotion"].reindex(said.index)).all()
