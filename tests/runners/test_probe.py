"""What embeddings lie together by: silhouette and purity against scikit-learn, a naive loop, and closed forms."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_samples
from sklearn.preprocessing import StandardScaler

from emoviews.configs import LabelBudget
from emoviews.engine import run_jobs
from emoviews.errors import UsageError
from emoviews.experiments import plan_for
from emoviews.jobs import RANDOM, BaselineJob, ProbeJob
from emoviews.runners import _common
from emoviews.runners.probe import grouping, z_scored


def by_hand(scaled: np.ndarray, labels: np.ndarray, k: int = 10) -> tuple[float, float]:
    """Silhouette and purity by loops over pairs."""
    n = len(labels)
    distances = np.array([[np.sqrt(((a - b) ** 2).sum()) for b in scaled] for a in scaled])
    silhouettes, shares = [], []
    for i in range(n):
        others = [j for j in range(n) if j != i]
        nearest = sorted(others, key=lambda j: distances[i, j])[:k]
        shares.append(np.mean([labels[j] == labels[i] for j in nearest]))
        own = [distances[i, j] for j in others if labels[j] == labels[i]]
        away = min(
            np.mean([distances[i, j] for j in others if labels[j] == label]) for label in set(labels) - {labels[i]}
        )
        silhouettes.append((away - np.mean(own)) / max(away, np.mean(own)) if own else 0.0)
    return float(np.mean(silhouettes)), float(np.mean(shares))


def test_silhouette_and_purity_by_loops() -> None:
    rng = np.random.default_rng(0)
    labels = np.array(["a", "b", "c"])[rng.integers(0, 3, 60)]
    rows = (
        rng.normal(size=(60, 5)) * [1, 10, 100, 1, 1] + np.array([{"a": 0, "b": 1, "c": 3}[x] for x in labels])[:, None]
    )
    found = grouping(rows, labels)
    silhouette, purity = by_hand(StandardScaler().fit_transform(rows), labels)
    assert found.silhouette == pytest.approx(silhouette)
    assert found.purity == pytest.approx(purity)
    assert found.silhouette == pytest.approx(silhouette_samples(StandardScaler().fit_transform(rows), labels).mean())


def test_purity_of_nothing_is_chance_and_of_everything_one() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], [30, 60, 110])
    noise = [grouping(rng.normal(size=(200, 8)), labels) for _ in range(10)]
    assert noise[0].chance == pytest.approx(sum(m * (m - 1) for m in (30, 60, 110)) / (200 * 199))
    assert np.mean([found.purity for found in noise]) == pytest.approx(noise[0].chance, abs=0.02)
    assert np.mean([found.silhouette for found in noise]) == pytest.approx(0.0, abs=0.03)
    apart = grouping(np.eye(3)[labels] * 1e3 + rng.normal(size=(200, 3)), labels)
    assert apart.purity == 1.0
    assert apart.silhouette > 0.99


def test_one_extreme_recording_squeezes_nothing() -> None:
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1], 50)
    rows = rng.normal(size=(100, 6)) + 3 * labels[:, None]
    before = grouping(rows, labels)
    rows[7] = 1e6  # in every dimension
    after = grouping(rows, labels)
    assert after.silhouette == pytest.approx(before.silhouette, abs=0.05)
    assert after.purity == pytest.approx(before.purity, abs=0.03)
    plain = silhouette_samples(StandardScaler().fit_transform(rows), labels).mean()
    assert abs(plain - before.silhouette) > 0.3, "where it would"


def test_z_scores() -> None:
    rows = np.random.default_rng(3).normal(size=(80, 4)) * [1, 5, 0, 2] + [0, 3, 0.3, 1]
    rows = rows.astype(np.float32)
    rows[::7, 2] = np.nextafter(rows[::7, 2], np.float32(1))  # what another batch makes of equal inputs
    scaled = z_scored(rows)
    assert (scaled[:, 2] == 0).all()
    expected = StandardScaler().fit_transform(rows.astype(float))
    np.testing.assert_allclose(scaled[:, [0, 1, 3]], expected[:, [0, 1, 3]], atol=1e-9)


def test_one_label_groups_nothing() -> None:
    rows = np.arange(12.0).reshape(6, 2)
    for labels in (["a"] * 6, list("abcdef")):
        with pytest.raises(UsageError, match="at least two labels, and fewer than the 6 rows"):
            grouping(rows, np.array(labels))


def test_what_an_encoder_makes_of_the_table_is_computed_once(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Baselines on the same embeddings give the rows that they give alone, and embed once."""
    workspace = toy.workspace(tmp_path)
    view = next((label, spec.fingerprint) for label, spec in workspace.specs.items())
    embedded: list[int] = []
    plain = _common.embed

    def counted(*given: Any, **named: Any) -> torch.Tensor:
        embedded.append(1)
        return plain(*given, **named)

    monkeypatch.setattr(_common, "embed", counted)
    common = plan_for(workspace, "toy").common
    jobs = [
        BaselineJob(*common("A", seed), view, "logistic_regression", LabelBudget(fraction), init=RANDOM)
        for seed in (5, 6)
        for fraction in (0.2, 0.5, None)
    ]
    together = list(run_jobs([*jobs, ProbeJob(*common("A", 5), view)], workspace))
    assert len(embedded) == 2, "one a seed"
    alone = [next(run_jobs([job], toy.workspace(tmp_path))) for job in jobs]
    assert [r.metrics for r in together[:-1]] == [r.metrics for r in alone]
    monkeypatch.setattr("emoviews.workspace.EMBEDDED_BYTES", 1)  # room for one
    embedded.clear()
    list(run_jobs([jobs[0], jobs[3], jobs[0]], toy.workspace(tmp_path)))
    small = toy.workspace(tmp_path)
    for job in (jobs[0], jobs[3], jobs[0]):
        next(run_jobs([job], small))
    assert len(embedded) == 2 + 3
    assert len(small._embedded) == 1


def test_the_test_group_alone_is_grouped(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = toy.table.copy()
    table.loc[table.index[::5], "emotion"] = ""
    table["group"] = ["one" if speaker in "AB" else speaker for speaker in table["speaker"]]
    workspace = dataclasses.replace(toy, table=table).workspace(tmp_path)
    rows = np.random.default_rng(4).normal(size=(120, 6)).astype(np.float32) + workspace.targets[:, None]
    monkeypatch.setattr("emoviews.runners._common.embed", lambda *given, **named: torch.from_numpy(rows))
    view = next((label, spec.fingerprint) for label, spec in workspace.specs.items())
    found: dict[str, dict[str, float]] = {}
    for fold in ("one", "C"):
        (result,) = run_jobs([ProbeJob(*plan_for(workspace, "toy").common(fold, 5), view)], workspace)
        assert not result.error, result.error
        found[fold] = {name: value for _, name, value in result.metrics}
    tested = table[table["group"] == "one"]
    labelled = tested[tested["emotion"] != ""]
    assert len(tested) > len(labelled) > 30
    for label, members in (("emotion", labelled), ("speaker", tested)):
        silhouette, purity = by_hand(
            StandardScaler().fit_transform(rows[members.index].astype(float)), members[label].to_numpy()
        )
        assert found["one"][f"silhouette_{label}"] == pytest.approx(silhouette, abs=1e-6)
        assert found["one"][f"purity_{label}"] == pytest.approx(purity, abs=1e-6)
    assert found["one"]["purity_speaker_chance"] == pytest.approx(23 / 47)
    assert "silhouette_emotion" in found["C"]
    assert not {"silhouette_speaker", "purity_speaker"} & set(found["C"]), "one speaker has no groups"
