"""Alignments: the unseen speakers alone are embedded, outlying ones are left out, and too few are refused."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emoviews import alignment
from emoviews.engine import run_jobs
from emoviews.errors import EmoViewsError
from emoviews.experiments import plan_for
from emoviews.experiments.alignment import FEW_MEASURES
from emoviews.jobs import RANDOM, AlignmentJob, JobResult
from emoviews.runners import alignment as runner
from emoviews.runners._common import fresh_encoder
from emoviews.seeds import derive_seed
from emoviews.workspace import Workspace

SEED = 5


def job(workspace: Workspace, **changes: Any) -> AlignmentJob:
    views = tuple((label, spec.fingerprint) for label, spec in workspace.specs.items())[:2]
    return AlignmentJob(*plan_for(workspace, "toy").common("A", SEED), views, **changes)  # type: ignore[arg-type]


def run(workspace: Workspace, asked: AlignmentJob) -> JobResult:
    (result,) = run_jobs([asked], workspace)
    return result


def metrics(result: JobResult) -> dict[str, float]:
    assert not result.error, result.error
    assert {split for split, _, _ in result.metrics} == {"test"}
    return {name: value for _, name, value in result.metrics}


def plant(monkeypatch: pytest.MonkeyPatch, workspace: Workspace, *arrays: np.ndarray) -> list[np.ndarray]:
    """The runner sees these embeddings of all utterances, whatever the encoders; the rows it asked for are noted."""
    asked: list[np.ndarray] = []
    given = dict(zip((workspace.data(label) for label in workspace.specs), arrays, strict=False))

    def embed(data: Any, encoder: Any, *, indices: np.ndarray, **named: Any) -> torch.Tensor:
        asked.append(indices)
        rows = np.zeros_like(given[data])
        rows[indices] = given[data][indices]
        return torch.from_numpy(rows)

    monkeypatch.setattr(runner, "embed", embed)
    return asked


def related(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two views of 120 utterances with two of three dimensions in common."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(120, 2))
    views = [np.hstack([z + 0.2 * rng.normal(size=(120, 2)), rng.normal(size=(120, 1))]) for _ in range(2)]
    return views[0] @ rng.normal(size=(3, 5)), views[1] @ rng.normal(size=(3, 4))


def test_the_unseen_speakers_and_no_others_are_scored(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = toy.workspace(tmp_path)
    test = workspace.folds["A"].test
    x, y = related()
    asked = plant(monkeypatch, workspace, x, y)
    found = metrics(run(workspace, job(workspace)))
    assert [list(rows) for rows in asked] == [list(test)] * 2
    x, y = x[test], y[test]
    assert alignment.typical(x, y).all()
    for side, name in (("first", "pwcca"), ("second", "pwcca_second"), ("mean", "pwcca_mean")):
        assert found[name] == pytest.approx(alignment.pwcca(x, y, side=side).score)  # type: ignore[arg-type]
        null = alignment.permutation_null(x, y, side=side, seed=derive_seed(SEED, "alignment"))  # type: ignore[arg-type]
        assert found[f"{name}_null_mean"] == pytest.approx(null.mean)
    # Not what the other rows, or the views in another order, would give.
    assert found["pwcca"] != pytest.approx(found["pwcca_second"], abs=1e-6)
    assert (found["n"], found["left_out"]) == (24.0, 0.0)
    assert (found["components_first"], found["components_second"]) == (3.0, 2.0) == alignment.pwcca(x, y).components
    assert found["pwcca_all"] == found["pwcca"]
    seed = derive_seed(SEED, "alignment")
    null = alignment.permutation_null(x, y, seed=seed)
    assert (found["pwcca_null_mean"], found["pwcca_null_sd"], found["pwcca_null_max"]) == (
        null.mean,
        null.sd,
        null.largest,
    )
    error = alignment.subsampling_error(x, y, seed=seed)
    assert found["pwcca_error"] == pytest.approx(error)
    assert found["pwcca_low"] == pytest.approx(found["pwcca"] - 1.96 * error)
    assert found["pwcca_high"] == pytest.approx(min(1.0, found["pwcca"] + 1.96 * error))


def test_an_outlying_utterance_is_left_out_and_said_to_be(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = toy.workspace(tmp_path)
    test = workspace.folds["A"].test
    x, y = related()
    y[test[3]] *= 1e4
    plant(monkeypatch, workspace, x, y)
    found = metrics(run(workspace, job(workspace)))
    assert (found["n"], found["left_out"]) == (23.0, 1.0)
    kept = np.delete(test, 3)
    assert found["pwcca"] == pytest.approx(alignment.pwcca(x[kept], y[kept]).score)
    # With it one component holds all variance, and the score is that of one recording.
    everything = alignment.pwcca(x[test], y[test], rows_per_component=0)
    assert everything.components[1] == 1
    assert found["pwcca_all"] == pytest.approx(everything.score)
    assert abs(found["pwcca_all"] - found["pwcca"]) > 0.05


def test_too_few_utterances_fail_with_both_numbers(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = toy.workspace(tmp_path)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(120, 6)), rng.normal(size=(120, 2))
    plant(monkeypatch, workspace, x, y)
    result = run(workspace, job(workspace))
    assert "needs 30 utterances, 5 for each of 6 principal components; there are 24" in result.error
    assert result.refused
    # What they suffice for: 24 utterances for four components.
    test = workspace.folds["A"].test
    x, y = x[test], y[test]
    found = {name: value for _, name, value in result.metrics}
    assert set(found) == {*FEW_MEASURES, "n", "left_out"}
    assert (found["few_components"], found["n"], found["left_out"]) == (4.0, 24.0, 0.0)
    expected = alignment.pwcca(x, y, most_components=4)
    assert expected.components == (4, 2)
    assert (found["few_pwcca"], found["few_held_first"], found["few_held_second"]) == (expected.score, *expected.held)
    null = alignment.permutation_null(x, y, most_components=4, seed=derive_seed(SEED, "alignment"))
    assert (found["few_null_mean"], found["few_null_max"]) == (null.mean, null.largest)


def test_just_enough_utterances_have_no_error(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = toy.workspace(tmp_path, folds=5)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 4))
    plant(monkeypatch, workspace, x, x + 1e-3 * rng.normal(size=(120, 4)))
    assert {"pwcca_error", "pwcca_low", "pwcca_high"} <= set(metrics(run(workspace, job(workspace))))
    monkeypatch.setattr(runner, "subsampling_error", lambda *given, **named: float("nan"))
    assert not {"pwcca_error", "pwcca_low", "pwcca_high"} & set(metrics(run(workspace, job(workspace))))


def test_each_view_has_its_own_encoder_and_start(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing planted: what the encoders of the job's seed make of the test group, computed here again."""
    monkeypatch.setattr(runner, "pwcca", partial(alignment.pwcca, rows_per_component=0))
    monkeypatch.setattr(runner, "subsampling_error", lambda *given, **named: float("nan"))
    workspace = toy.workspace(tmp_path)
    test = workspace.folds["A"].test
    found = metrics(run(workspace, job(workspace)))
    embedded = []
    for label in workspace.specs:
        encoder = fresh_encoder(workspace.specs[label], "default", SEED).eval()
        with torch.inference_mode():
            rows = encoder(workspace.data(label).batch(test, workspace.scaler(label, workspace.folds["A"])))
        embedded.append(rows.numpy())
    kept = alignment.typical(embedded[0], embedded[1])
    expected = alignment.pwcca(embedded[0][kept], embedded[1][kept], rows_per_component=0)
    assert found["pwcca"] == pytest.approx(expected.score, abs=1e-4)
    assert (found["components_first"], found["components_second"]) == expected.components
    missing = run(workspace, job(workspace, inits=(RANDOM, "0123456789abcdef")))
    assert "no checkpoint" in missing.error


def job_views(workspace: Workspace) -> Any:
    return tuple((label, spec.fingerprint) for label, spec in workspace.specs.items())


def test_a_view_is_not_compared_with_itself(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)
    one = job_views(workspace)[0]
    asked = AlignmentJob(*plan_for(workspace, "toy").common("A", SEED), (one, one))
    with pytest.raises(EmoViewsError, match=r"compares two views; both of this job's are mel_spectrogram"):
        runner.run(asked, workspace, lambda row: None)
