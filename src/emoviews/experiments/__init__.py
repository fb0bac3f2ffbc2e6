"""Experiments, the paper's and others, one file each: which jobs it consists of, and how saved rows become its table.

An experiment never trains: it yields jobs from a `Plan`, and reads the results database. To add one, put one file here that
defines a subclass of `Experiment` and `EXPERIMENT = ThatClass()`; the file name is its name, with hyphens for underscores.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final

import numpy as np
import pandas as pd

from emoviews.configs import FineTuningConfig, LabelBudget, PretrainingConfig, Scaling, Validation
from emoviews.jobs import FineTuningJob, Job, PretrainingData, PretrainingJob
from emoviews.registry import Registry
from emoviews.results import Results
from emoviews.seeds import derive_seed
from emoviews.workspace import Workspace

SEEDS: Final = 3
"""Trainings of each fold at most in experiments with all labels: nothing is drawn there but weights and orders of batches,
which alone can move a fold's UAR by ten points. Fewer where a plan has fewer repeats."""

EXPERIMENTS = Registry("emoviews.experiments", "EXPERIMENT", "experiment", hyphens=True)


@dataclass(frozen=True)
class Plan:
    """What every experiment of one run shares.

    Attributes:
        corpus: a name for people.
        table: hash of the utterance table.
        folds: fold → hash of its split.
        views: label → fingerprint.
        preset: name of the architecture's preset.
        pretraining: how encoders are aligned.
        finetuning: how classifiers are trained.
        validation: where the labels that stop a training come from, in experiments with all labels.
        validations: the same for experiments with few labels, each rule a result of its own; the first is the main one.
        fractions: shares of each class's training labels.
        per_class: numbers of labels a class.
        rarest: fold → training labels of the rarest class that it has any of. A larger number a class is not asked of that
            fold, since it could not be filled; a fold that is not named can fill any.
        repeats: label subsets for each budget and fold.
        seed: from which all others are derived.
        scaling: of the features.
        pretraining_sizes: fold → data → how many utterances could be pre-trained on, and how many validate.
    """

    corpus: str
    table: str
    folds: Mapping[str, str]
    views: Mapping[str, str]
    preset: str = "default"
    pretraining: PretrainingConfig = PretrainingConfig()
    finetuning: FineTuningConfig = FineTuningConfig()
    validation: Validation = "full"
    validations: Sequence[Validation] = ("full", "budget")
    fractions: Sequence[float] = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
    per_class: Sequence[int] = (5, 10, 20, 40)
    rarest: Mapping[str, int] = field(default_factory=dict)
    repeats: int = 10
    seed: int = 0
    scaling: Scaling = "zscore"
    pretraining_sizes: Mapping[str, Mapping[PretrainingData, tuple[int, int]]] = field(default_factory=dict)

    def common(self, fold: str, seed: int) -> tuple[str, str, str, str, str, int, Scaling]:
        """The fields that all jobs have, in their order."""
        return (self.corpus, self.table, fold, self.folds[fold], self.preset, seed, self.scaling)

    @property
    def budgets(self) -> tuple[LabelBudget, ...]:
        """Shares of the labels, then numbers a class, each ascending; the share 1 is no limit at all."""
        shares = [LabelBudget() if fraction == 1 else LabelBudget(fraction) for fraction in sorted(set(self.fractions))]
        return (*shares, *(LabelBudget(per_class=number) for number in sorted(set(self.per_class))))

    @property
    def seeds(self) -> range:
        """The repeats of experiments with all labels (`SEEDS`)."""
        return range(min(self.repeats, SEEDS))

    def can_fill(self, fold: str, budget: LabelBudget) -> bool:
        """Whether every class of the fold's training part has the labels that a number a class asks for."""
        return budget.per_class is None or budget.per_class <= self.rarest.get(fold, budget.per_class)

    def budgets_asked(self) -> dict[str, Any]:
        """What was asked of the experiments with few labels, as JSON values for the results database.

        `fractions`, `per_class`, `validations`, `repeats`, and `rarest`, from which a report says what could not be filled.
        """
        return {
            "fractions": sorted(set(self.fractions)),
            "per_class": sorted(set(self.per_class)),
            "validations": list(self.validations),
            "repeats": self.repeats,
            "rarest": dict(self.rarest),
        }

    def pretrainings(self) -> dict[str, PretrainingJob]:
        """The one pre-training of each fold that most experiments start from."""
        views = tuple(sorted(self.views.items()))
        return {
            fold: PretrainingJob(
                *self.common(fold, derive_seed(self.seed, "pretraining", fold)), views, self.pretraining
            )
            for fold in self.folds
        }


def plan_for(workspace: Workspace, corpus: str, **settings: object) -> Plan:
    """A plan over all folds and views of a workspace."""
    views = {label: spec.fingerprint for label, spec in workspace.specs.items()}
    scaling, sizes = workspace.config.scaling, workspace.pretraining_sizes
    found = (corpus, workspace.table_hash, workspace.hashes, views)
    return Plan(*found, scaling=scaling, pretraining_sizes=sizes, rarest=_rarest(workspace), **settings)  # type: ignore[arg-type]


def _rarest(workspace: Workspace) -> dict[str, int]:
    """Fold → training labels of the class that has fewest there, of those that have any."""
    classes = len(workspace.labels)
    found = {}
    for name, fold in workspace.folds.items():
        targets = workspace.targets[fold.train]
        counts = np.bincount(targets[targets >= 0], minlength=classes)
        found[name] = int(counts[counts > 0].min(initial=len(targets))) if counts.any() else 0
    return found


class Experiment(ABC):
    """One experiment.

    Attributes:
        name: the registered name (= the file name).
        title: its heading in the report.
        source: the table or figure of the paper it reproduces; empty for one that the paper does not have, which is run when it
            is named, and not by default.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]

    @abstractmethod
    def jobs(self, plan: Plan) -> list[Job]:
        """All jobs, those that others start from included. The same plan gives the same list."""

    def why_no_jobs(self, plan: Plan) -> str:
        """What to say where `jobs` gives none."""
        return "none"

    @abstractmethod
    def tables(self, results: Results) -> dict[str, pd.DataFrame]:
        """Title → table, from saved rows only."""


def with_labels(
    plan: Plan, job: PretrainingJob, budget: LabelBudget, validation: Validation, repeat: int
) -> PretrainingJob:
    """A pre-training with a loss that uses labels: with those of the plan's classifiers of this budget, rule and repeat.

    Where these have the same labels in all repeats, one pre-training is for all of them.
    """
    drawn = repeat if budget.is_drawn(validation) else 0
    seed = derive_seed(plan.seed, "classifier", job.fold, drawn)
    return replace(job, budget=budget, validation=validation, repeat=drawn, label_seed=seed)


def kept_supervised(plan: Plan, fold: str, view: str) -> FineTuningJob:
    """The supervised training on all labels of a fold whose encoder other jobs look into (`init`: its id)."""
    common = plan.common(fold, derive_seed(plan.seed, "classifier", fold, 0))
    return FineTuningJob(
        *common, (view, plan.views[view]), plan.finetuning, budget=LabelBudget(), validation=plan.validation, keep=True
    )
