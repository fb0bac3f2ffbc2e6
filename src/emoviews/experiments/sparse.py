"""Figure 3: few labels. Supervised from scratch against pre-trained, on the same label subsets, with simple baselines beside.

For every fraction, fold and repeat: each view's encoder trained from scratch, pre-trained and tuned, pre-trained and frozen
(the paper's head on an encoder that stays as it is), random and frozen; a probe on the embeddings of the last two by logistic
regression, which does not depend on how a head is trained; logistic regression and a linear SVM on standardised features. The
interval of a mean is a bootstrap that resamples speakers, since utterances of one speaker are not independent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pandas as pd

from emoviews import statistics
from emoviews.configs import LabelBudget
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


class Sparse(Experiment):
    """Few labels."""

    name = "sparse"
    title = "Few labels"
    source = "Figure 3"

    def jobs(self, plan: Plan) -> list[Job]:
        pretrainings = plan.pretrainings()
        found: list[Job] = list(pretrainings.values())
        for fold, pretraining in pretrainings.items():
            for view in plan.views.items():
                for fraction in plan.fractions:
                    budget = LabelBudget() if fraction == 1.0 else LabelBudget(fraction)
                    for repeat in range(plan.repeats):
                        common = plan.common(fold, derive_seed(plan.seed, "classifier", fold, repeat))
                        for init in (RANDOM, pretraining.id):
                            for frozen in (False, True):
                                config, rule = plan.finetuning, plan.validation
                                found.append(FineTuningJob(*common, view, config, init, frozen, budget, rule, repeat))
                        # All labels leave nothing to draw, and these have no random start: one repeat says it all.
                        if fraction < 1.0 or repeat == 0:
                            simple: list[tuple[BaselineMethod, str]] = [(method, "") for method in BASELINES]
                            simple += [("logistic_regression", init) for init in (RANDOM, pretraining.id)]
                            found += [
                                BaselineJob(*common, view, method, budget, plan.validation, repeat, init)
                                for method, init in simple
                            ]
        return found

    def tables(self, results: Results) -> dict[str, pd.DataFrame]:
        tidy = results.tidy(self.name)
        tidy = tidy[(tidy["split"] == "test") & tidy["uar"].notna()]
        if tidy.empty:
            return {}
        predictions = results.frame("SELECT job_id, id, y_true, y_pred FROM predictions")
        by_job = {str(job): rows for job, rows in predictions.groupby("job_id")}
        speakers = results.speakers()
        rows = []
        keys = ["view", "method", "init", "frozen", "label_fraction"]
        tidy = tidy.assign(init=tidy["init"].fillna(""), frozen=tidy["frozen"].fillna(False).astype(float))
        for key, group in tidy.groupby(keys, sort=False):
            view, method, init, frozen, fraction = (key[0], str(key[1]), str(key[2]), key[3], key[4])
            interval = pooled_interval(group, by_job, speakers)
            rows.append(
                {
                    "view": view,
                    "method": METHODS[(method, init, frozen == 1.0)],
                    "label_fraction": fraction,
                    "pooled_uar": interval.estimate,
                    "low": interval.low,
                    "high": interval.high,
                    "mean_uar": group["uar"].mean(),
                    "mean_wa": group["wa"].mean(),
                    "mean_macro_f1": group["macro_f1"].mean(),
                    "n_labels": group["n_labels"].mean(),
                    "n_jobs": len(group),
                    "folds": group["fold"].nunique(),
                    "repeats": group["repeat"].nunique(),
                    "epochs_run": group["epochs_run"].mean(),
                }
            )
        table = pd.DataFrame(rows)
        order = {name: number for number, name in enumerate(METHODS.values())}
        table = table.sort_values(
            ["view", "method", "label_fraction"],
            key=lambda c: c.map(order) if c.name == "method" else c,
            ignore_index=True,
        )
        return {"UAR by share of labels": table}


def pooled_interval(
    group: pd.DataFrame, predictions: Mapping[str, pd.DataFrame], speakers: Mapping[str, str]
) -> statistics.Interval:
    """95 % interval of the UAR pooled over folds and averaged over repeats, by a bootstrap that resamples speakers."""
    repeat_of = dict(zip(group["job_id"], group["repeat"], strict=True))
    pooled = pd.concat([predictions[job] for job in group["job_id"]])
    runs = pooled["job_id"].map(repeat_of)
    return statistics.uar_interval(pooled["y_true"], pooled["y_pred"], pooled["id"].map(speakers), runs)


EXPERIMENT = Sparse()
