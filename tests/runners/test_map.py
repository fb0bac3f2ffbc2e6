"""Maps: the unseen speakers alone, the same draw for every encoder, neighbours that stay neighbours."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.manifold import trustworthiness

from emoviews.engine import run_jobs
from emoviews.experiments import plan_for
from emoviews.jobs import JobResult, MapJob
from emoviews.runners import map as runner
from emoviews.runners.probe import z_scored
from emoviews.workspace import Workspace


def job(workspace: Workspace, fold: str = "A", number: int = 0) -> MapJob:
    label = list(workspace.specs)[number]
    return MapJob(*plan_for(workspace, "toy").common(fold, 5), (label, workspace.specs[label].fingerprint))


def run(workspace: Workspace, asked: MapJob) -> JobResult:
    (result,) = run_jobs([asked], workspace)
    return result


def plant(monkeypatch: pytest.MonkeyPatch, embedded: np.ndarray) -> None:
    monkeypatch.setattr(runner, "embed", lambda *given, **named: torch.from_numpy(embedded))


def test_the_map_is_of_the_unseen_speakers(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)
    result = run(workspace, job(workspace, "B"))
    assert not result.error
    assert {("test", "n", 24.0), ("test", "map_of", 24.0)} < set(result.metrics)
    assert {name: value for _, name, value in result.metrics}["map_perplexity"] == pytest.approx(23 / 3)
    assert [name for name, _, _ in result.points] == list(workspace.table["id"][workspace.folds["B"].test])
    assert {name[0] for name, _, _ in result.points} == {"B"}
    assert np.isfinite([point[1:] for point in result.points]).all()
    assert run(workspace, job(workspace, "B")).points == result.points


def test_neighbours_stay_neighbours(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = toy.workspace(tmp_path)
    centers = np.random.default_rng(0).normal(size=(3, 16)) * 10
    rows = centers[workspace.targets] + np.random.default_rng(1).normal(size=(120, 16))
    plant(monkeypatch, rows)
    points = np.array([point[1:] for point in run(workspace, job(workspace)).points])
    test = workspace.folds["A"].test
    assert trustworthiness(z_scored(rows[test]), points, n_neighbors=5) > 0.9
    distances = np.linalg.norm(points[:, None] - points[None], axis=2) + np.diag([np.inf] * 24)
    targets = workspace.targets[test]
    assert (targets[distances.argmin(axis=1)] == targets).all()


def test_of_many_utterances_a_draw_is_shown(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MOST_POINTS", 10)
    workspace = toy.workspace(tmp_path)
    results = [run(workspace, job(workspace, number=number)) for number in (0, 1)]
    shown = [[name for name, _, _ in result.points] for result in results]
    assert shown[0] == shown[1], "the same utterances for every encoder"
    assert len(set(shown[0])) == 10
    assert set(shown[0]) < set(workspace.table["id"][workspace.folds["A"].test])
    for result in results:
        assert {("test", "n", 10.0), ("test", "map_of", 24.0)} < set(result.metrics)


def test_what_can_not_be_mapped(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = toy.workspace(tmp_path)
    plant(monkeypatch, np.full((120, 8), 0.7))
    assert "gives all 24 test utterances of fold A the same embedding" in run(workspace, job(workspace)).error
    table = toy.table.assign(group=["few" if i < 4 else g for i, g in enumerate(toy.table["group"])])
    few = dataclasses.replace(toy, table=table).workspace(tmp_path, allow_speaker_overlap=True)
    assert "at least 5 test utterances; fold few has 4" in run(few, job(few, "few")).error
