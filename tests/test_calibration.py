"""Temperature scaling changes how sure, never what; few rows are not trusted."""

from __future__ import annotations

import numpy as np
import pytest

from emoviews.calibration import fit_temperature, scaled
from emoviews.errors import UsageError
from emoviews.metrics import expected_calibration_error


def made(rows: int, temperature: float) -> tuple[list[str], np.ndarray]:
    """Labels drawn from probabilities, which are then told `1 / temperature` times as surely."""
    rng = np.random.default_rng(0)
    true = rng.dirichlet([1, 1, 1], size=rows)
    labels = ["abc"[rng.choice(3, p=p)] for p in true]
    return labels, scaled(true, 1 / temperature)


def test_the_temperature_is_found_and_calibrates() -> None:
    labels, told = made(4000, 2.5)
    temperature = fit_temperature(labels, told, "abc")
    assert temperature == pytest.approx(2.5, rel=0.1)
    before, after = (expected_calibration_error(labels, p, "abc") for p in (told, scaled(told, temperature)))
    assert after < before / 3


def test_few_rows_leave_it_near_one() -> None:
    sure = np.array([[0.9, 0.1]] * 3)
    assert fit_temperature(["a"] * 3, sure, "ab") > 0.4
    assert fit_temperature(["a"] * 300, sure[[0] * 300], "ab") < 0.4
    assert fit_temperature([], np.zeros((0, 2)), "ab") == 1.0


def test_no_decision_changes() -> None:
    _, told = made(50, 1.0)
    for temperature in (0.2, 5.0):
        assert (scaled(told, temperature).argmax(axis=1) == told.argmax(axis=1)).all()
        assert np.allclose(scaled(told, temperature).sum(axis=1), 1)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Expected probabilities of shape \(1, 2\), got \(2, 2\)"):
        fit_temperature(["a"], np.full((2, 2), 0.5), "ab")
    with pytest.raises(UsageError, match="'c' is none of"):
        fit_temperature(["c"], np.full((1, 2), 0.5), "ab")
