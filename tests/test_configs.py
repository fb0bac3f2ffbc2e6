"""Configurations: the paper's values as defaults, and impossible ones refused when they are made."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import pytest

from emoviews.configs import FineTuningConfig, LabelBudget, PretrainingConfig
from emoviews.errors import UsageError


def test_the_defaults_are_the_papers() -> None:
    pretraining = {"temperature": 0.5, "batch_size": 128, "epochs": 100, "patience": 30, "learning_rate": 1e-3}
    assert pretraining.items() <= dataclasses.asdict(PretrainingConfig()).items()
    finetuning = {"learning_rate": 1e-3, "decay": 0.9, "decay_patience": 5}
    assert finetuning.items() <= dataclasses.asdict(FineTuningConfig()).items()
    assert LabelBudget() == LabelBudget(None, None)


@pytest.mark.parametrize(
    ("kind", "values", "says"),
    [
        (PretrainingConfig, {"batch_size": 1}, "at least 2 utterances; got batch_size=1"),
        (PretrainingConfig, {"temperature": 0.0}, "temperature must be above 0; got 0"),
        (PretrainingConfig, {"temperature": float("nan")}, "temperature must be above 0; got nan"),
        (PretrainingConfig, {"epochs": 0}, "epochs must be above 0; got 0"),
        (PretrainingConfig, {"patience": -1}, "patience must be above 0; got -1"),
        (PretrainingConfig, {"learning_rate": float("nan")}, "learning_rate must be above 0; got nan"),
        *(
            (FineTuningConfig, {name: 0}, f"{name} must be above 0; got 0")
            for name in ("batch_size", "epochs", "patience", "learning_rate", "decay", "decay_patience")
        ),
        (LabelBudget, {"fraction": 0.1, "per_class": 2}, "either a label fraction or labels per class, not both"),
        (LabelBudget, {"fraction": 0.0}, "above 0 and at most at 1; got 0"),
        (LabelBudget, {"fraction": 1.5}, "above 0 and at most at 1; got 1.5"),
        (LabelBudget, {"fraction": float("nan")}, "above 0 and at most at 1; got nan"),
        (LabelBudget, {"per_class": 0}, "must be 1 or more; got 0"),
    ],
)
def test_impossible_values_are_refused(kind: Any, values: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        kind(**values)
    assert says in str(caught.value)


def test_configurations_do_not_need_torch() -> None:
    code = "import sys, emoviews.configs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
