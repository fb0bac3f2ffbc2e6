"""Experiments of the paper, one file each: which jobs it consists of, and how saved rows become its table.

An experiment never trains: it yields jobs from a `Plan`, and reads the results database. To add one, put one file here that
defines a subclass of `Experiment` and `EXPERIMENT = ThatClass()`; the file name is its name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from emoviews.configs import FineTuningConfig, PretrainingConfig, Scaling, Validation
from emoviews.jobs import Job, PretrainingJob
from emoviews.registry import Registry
from emoviews.results import Results
from emoviews.seeds import derive_seed
from emoviews.workspace import Workspace

EXPERIMENTS = Registry("emoviews.experiments", "EXPERIMENT", "experiment")


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
        validation: where the labels that stop a training come from.
        fractions: shares of each class's training labels.
        repeats: label subsets for each fraction and fold.
        seed: from which all others are derived.
        scaling: of the features.
    """

    corpus: str
    table: str
    folds: Mapping[str, str]
    views: Mapping[str, str]
    preset: str = "default"
    pretraining: PretrainingConfig = PretrainingConfig()
    finetuning: FineTuningConfig = FineTuningConfig()
    validation: Validation = "full"
    fractions: Sequence[float] = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
    repeats: int = 10
    seed: int = 0
    scaling: Scaling = "zscore"

    def common(self, fold: str, seed: int) -> tuple[str, str, str, str, str, int, Scaling]:
        """The fields that all jobs have, in their order."""
        return (self.corpus, self.table, fold, self.folds[fold], self.preset, seed, self.scaling)

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
    scaling = workspace.config.scaling
    return Plan(corpus, workspace.table_hash, workspace.hashes, views, scaling=scaling, **settings)  # type: ignore[arg-type]


class Experiment(ABC):
    """One experiment.

    Attributes:
        name: the registered name (= the file name).
        title: its heading in the report.
        source: the table or figure of the paper it reproduces.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]

    @abstractmethod
    def jobs(self, plan: Plan) -> list[Job]:
        """All jobs, those that others start from included. The same plan gives the same list."""

    @abstractmethod
    def tables(self, results: Results) -> dict[str, pd.DataFrame]:
        """Title → table, from saved rows only."""
