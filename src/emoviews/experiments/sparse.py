"""Figure 3: few labels. Supervised from scratch against pre-trained, on the same label subsets, with simple baselines beside.

For every label budget (a share of each class, or a number a class), fold and repeat: each view's encoder trained from scratch,
pre-trained and tuned, pre-trained and frozen (the paper's head on an encoder that stays as it is), random and frozen; a
logistic regression and a linear SVM on standardised features; and a probe on the embeddings of the last two encoders by
logistic regression, which does not depend on how a head is trained.

All of it under each rule of `Plan.validations`: with 2 % of the labels the paper still stops on a fully labelled validation
group (`full`), which is not few-label learning; `budget` takes those labels out of the same few. Two rules are two results
and are never averaged. Only the probes, which say what an encoder keeps and are nothing that anybody would use, are run under
the first rule alone: each has to embed the whole corpus.

The interval of a pooled UAR is a bootstrap that resamples speakers, since utterances of one speaker are not independent; the
paper's mean and its t interval over repeats stand beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoviews import statistics
from emoviews.configs import LabelBudget, Validation
from emoviews.experiments import Experiment, Plan
from emoviews.jobs import RANDOM, BaselineJob, BaselineMethod, FineTuningJob, Job
from emoviews.results import Results
from emoviews.seeds import derive_seed

METHODS: Final = {
    ("finetuning", "random", False): "supervised from scratch",
    ("finetuning", "pretrained", False): "pre-trained, tuned",
    ("finetuning", "pretrained", True): "pre-trained, frozen",
    ("finetuning", "random", True): "random, frozen",
    ("logistic_regression", "pretrained", False): "pre-trained, probe",
    ("logistic_regression", "random", False): "random, probe",
    ("logistic_regression", "", False): "logistic regression",
    ("linear_svm", "", False): "linear SVM",
}
"""(method, init, frozen) → what the table calls it, in the order of its rows."""

BASELINES: Final[tuple[BaselineMethod, ...]] = ("logistic_regression", "linear_svm")

RULES: Final[tuple[str, ...]] = get_args(Validation)
"""The rules in the order of tables: the paper's first."""

BUDGET: Final = ["label_fraction", "labels_per_class"]
"""Columns that name a label budget; one of them is NaN."""

SCORES: Final = "UAR by labels"
"""Title of the experiment's table."""


class Sparse(Experiment):
    """Few labels."""

    name = "sparse"
    title = "Few labels"
    source = "Figure 3"

    def jobs(self, plan: Plan) -> list[Job]:
        pretrainings = plan.pretrainings()
        found: list[Job] = list(pretrainings.values())
        for fold, pretraining in pretrainings.items():
            asked = [budget for budget in plan.budgets if plan.can_fill(fold, budget)]
            for view in plan.views.items():
                for rule in dict.fromkeys(plan.validations):
                    starts = (RANDOM, pretraining.id)
                    simple: list[tuple[BaselineMethod, str]] = [(method, "") for method in BASELINES]
                    if rule == plan.validations[0]:
                        simple += [("logistic_regression", init) for init in starts]
                    for budget in asked:
                        for repeat in range(plan.repeats):
                            common = plan.common(fold, derive_seed(plan.seed, "classifier", fold, repeat))
                            found += [
                                FineTuningJob(*common, view, plan.finetuning, init, frozen, budget, rule, repeat)
                                for init in starts
                                for frozen in (False, True)
                            ]
                            found += [
                                BaselineJob(*common, view, method, budget, rule, repeat, init)
                                for method, init in simple
                                if repeat == 0 or differs(budget, rule, init)
                            ]
        return found

    def tables(self, results: Results) -> dict[str, pd.DataFrame]:
        tidy = results.tidy(self.name)
        tidy = tidy[(tidy["split"] == "test") & tidy["uar"].notna()]
        if tidy.empty:
            return {}
        answers = Answers(results, tidy["job_id"])
        rows = []
        keys = ["view", "validation", "method", "init", "frozen", *BUDGET]
        tidy = tidy.assign(init=tidy["init"].fillna(""), frozen=tidy["frozen"].fillna(False).astype(float))
        for key, group in tidy.groupby(keys, sort=False, dropna=False):
            view, rule, method, init, frozen, fraction, per_class = key
            pooled = answers.interval(group)
            of_repeats = statistics.mean_interval(complete_repeats(group))
            of_trainings = statistics.mean_interval(group["uar"])
            rows.append(
                {
                    "view": view,
                    "validation": rule,
                    "method": METHODS[(str(method), str(init), frozen == 1.0)],
                    "label_fraction": fraction,
                    "labels_per_class": per_class,
                    "n_labels": group["n_labels"].mean(),
                    "pooled_uar": pooled.estimate,
                    "low": pooled.low,
                    "high": pooled.high,
                    "mean_uar": group["uar"].mean(),
                    "t_low_repeats": of_repeats.low,
                    "t_high_repeats": of_repeats.high,
                    "t_low_trainings": of_trainings.low,
                    "t_high_trainings": of_trainings.high,
                    "mean_wa": group["wa"].mean(),
                    "mean_macro_f1": group["macro_f1"].mean(),
                    "n_jobs": len(group),
                    "folds": group["fold"].nunique(),
                    "repeats": group["repeat"].nunique(),
                    "epochs_run": group["epochs_run"].mean(),
                }
            )
        table = pd.DataFrame(rows)
        return {SCORES: table.iloc[_order(table)].reset_index(drop=True)}


def differs(budget: LabelBudget, rule: Validation, init: str) -> bool:
    """Whether a baseline's repeats differ: in the labels drawn, in those that validate, or in the encoder's random start."""
    return budget.is_drawn(rule) or init == RANDOM


def _order(table: pd.DataFrame) -> NDArray[np.int64]:
    """Views by name, then rules, methods, shares before numbers a class, each ascending."""
    methods = {name: number for number, name in enumerate(METHODS.values())}
    keys = [
        table["labels_per_class"].fillna(0),
        table["label_fraction"].fillna(2),
        table["method"].map(methods),
        table["validation"].map(RULES.index),
        pd.factorize(table["view"], sort=True)[0],
    ]
    return np.lexsort([np.asarray(key) for key in keys])


def complete_repeats(jobs: pd.DataFrame) -> NDArray[np.float64]:
    """UAR of each repeat, the mean over folds: `(repeats,)`. A repeat without one of the folds is left out.

    Args:
        jobs: `fold, repeat, uar` of one method and budget.

    Returns:
        The repeats in order; where none is complete, the mean of them all alone.
    """
    by_repeat = jobs.groupby(["repeat", "fold"])["uar"].mean().unstack().dropna()
    if by_repeat.empty:
        return np.array([jobs["uar"].mean()])
    return by_repeat.mean(axis=1).to_numpy(dtype=float)


Counts = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Right answers and rows, each `(repeats, speakers, classes)`."""


class Answers:
    """What some classifiers answered, counted by speaker: thousands of trainings with hundreds of answers each.

    Attributes:
        rows: `job_id, speaker, gender, y_true, y_pred, n`. Where the speaker is unknown it is the group, as in
            `Results.speakers`.
    """

    def __init__(self, results: Results, jobs: Iterable[str]) -> None:
        """Count in the database, so that no single answer is read."""
        self.rows = results.frame(
            "SELECT p.job_id, COALESCE(NULLIF(u.speaker, ''), NULLIF(u.\"group\", ''), p.id) AS speaker, "
            "COALESCE(u.gender, '') AS gender, "
            "p.y_true, p.y_pred, COUNT(*) AS n FROM predictions AS p LEFT JOIN utterances AS u ON u.id = p.id "
            "WHERE p.job_id IN (SELECT value FROM json_each(?)) GROUP BY 1, 2, 3, 4, 5",
            (json.dumps(sorted(set(jobs))),),
        )
        self._positions: dict[Any, Any] = self.rows.groupby("job_id", sort=False).indices

    def of(self, jobs: Iterable[str]) -> pd.DataFrame:
        """The rows of these jobs, those without answers left out."""
        found = [self._positions[job] for job in jobs if job in self._positions]
        return self.rows.iloc[np.concatenate(found) if found else []]

    def counts(self, sides: Sequence[pd.DataFrame], gender: str | None = None) -> list[Counts]:
        """Counts of each set of jobs (`job_id, repeat`), all over the same repeats, speakers and classes.

        Args:
            sides: the sets.
            gender: of the recordings that are counted; all when None.
        """
        together = pd.concat([self.of(side["job_id"]).assign(side=number) for number, side in enumerate(sides)])
        repeats = {job: repeat for side in sides for job, repeat in zip(side["job_id"], side["repeat"], strict=True)}
        together = together.assign(repeat=together["job_id"].map(repeats))
        if gender is not None:
            together = together[together["gender"] == gender]
        return tally(together, together["side"].to_numpy(), len(sides))

    def interval(self, jobs: pd.DataFrame) -> statistics.Interval:
        """95 % interval of the UAR of these jobs (`job_id, repeat`), as `pooled_interval`."""
        return statistics.counted_uar_interval(*self.counts([jobs])[0])


def tally(rows: pd.DataFrame, side: NDArray[np.int64], n_sides: int) -> list[Counts]:
    """Right answers and rows by repeat, speaker and class.

    Args:
        rows: `repeat, speaker, y_true, y_pred, n`.
        side: `(rows,)` to which of the results each row belongs.
        n_sides: how many results there are.
    """
    codes = [pd.factorize(rows[name], sort=True) for name in ("repeat", "speaker", "y_true")]
    shape = (n_sides, *(len(values) for _, values in codes))
    cell = np.ravel_multi_index((side, *(code for code, _ in codes)), shape)
    n = rows["n"].to_numpy(dtype=float)
    right = np.where((rows["y_true"] == rows["y_pred"]).to_numpy(), n, 0.0)
    size = int(np.prod(shape))
    hits, totals = (np.bincount(cell, weights=w, minlength=size).reshape(shape) for w in (right, n))
    return list(zip(hits, totals, strict=True))


def pooled_interval(
    group: pd.DataFrame, predictions: Mapping[str, pd.DataFrame], speakers: Mapping[str, str]
) -> statistics.Interval:
    """95 % interval of the UAR pooled over folds and averaged over repeats, by a bootstrap that resamples speakers."""
    repeat_of = dict(zip(group["job_id"], group["repeat"], strict=True))
    pooled = pd.concat([predictions[job] for job in group["job_id"]])
    runs = pooled["job_id"].map(repeat_of)
    return statistics.uar_interval(pooled["y_true"], pooled["y_pred"], pooled["id"].map(speakers), runs)


EXPERIMENT = Sparse()
