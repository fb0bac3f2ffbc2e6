"""Configurations: the paper's values as defaults, and impossible ones refused when they are made."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from typing import Any

import pytest

from emoviews.configs import LOSS_SETTINGS, FineTuningConfig, LabelBudget, PretrainingConfig
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
        (PretrainingConfig, {"loss": "supcon", "temperature": -1.0}, "temperature must be above 0; got -1"),
        (
            PretrainingConfig,
            {"loss": "vicreg", "temperature": 0.5},
            "vicreg has no temperature (got 0.5); it has invariance_",
        ),
        (
            PretrainingConfig,
            {"loss": "supcon", "negatives": "both"},
            "supcon has no negatives (got both); it has temperature",
        ),
        (PretrainingConfig, {"redundancy_weight": 0.0}, "pairwise_nt_xent has no redundancy_weight (got 0.0)"),
        (PretrainingConfig, {"loss": "barlow_twins", "variance_weight": 1.0}, "barlow_twins has no variance_weight"),
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


def test_a_loss_has_its_own_settings_with_the_values_of_its_signature() -> None:
    from emoviews.losses import LOSSES

    assert set(LOSS_SETTINGS) == set(LOSSES.names())
    for loss, values in LOSS_SETTINGS.items():
        parameters = inspect.signature(LOSSES.load(loss)).parameters
        assert {name: parameters[name].default for name in values} == dict(values)
        config = PretrainingConfig(loss=loss)
        assert config.loss_settings == dict(values)
        assert config.description == {
            "loss": loss, **values, "batch_size": 128, "epochs": 100, "patience": 30, "learning_rate": 1e-3
        }  # fmt: skip
    assert PretrainingConfig(loss="supcon", temperature=0.3).loss_settings == {"temperature": 0.3}


def test_another_loss_keeps_the_optimisation_and_nothing_else() -> None:
    config = PretrainingConfig(temperature=0.2, epochs=7, learning_rate=0.1)
    assert config.with_loss("supcon") == PretrainingConfig("supcon", epochs=7, learning_rate=0.1)
    assert config.with_loss("vicreg", variance_weight=0.0).loss_settings["variance_weight"] == 0.0
    assert config.with_loss("supcon").with_loss("pairwise_nt_xent").temperature == 0.5
    with pytest.raises(UsageError, match="has no temperature"):
        dataclasses.replace(config, loss="vicreg")
    elsewhere = PretrainingConfig("of_another_package", temperature=2.0)
    assert elsewhere.loss_settings == {"temperature": 2.0}


def test_labels_are_drawn_unless_all_train() -> None:
    assert [LabelBudget().is_drawn(rule) for rule in ("full", "none", "budget")] == [False, False, True]
    assert all(budget.is_drawn("full") for budget in (LabelBudget(0.1), LabelBudget(None, 4)))


def test_configurations_do_not_need_torch() -> None:
    code = "import sys, emoviews.configs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
