"""What encoders are pre-trained for: the paper's loss against others, tuned and frozen, with few labels and with all.

Not part of the paper, which has one loss. For every fold the encoders are pre-trained with each objective, alike but for it:
same training part, initial weights and batches. Each loss has the settings of its own paper, which nobody has tuned here. The
same classifiers are trained on each: on the same labels, folds and seeds, and by the very jobs of the experiment `sparse` where
it pre-trains with the same loss. Beside them stand an encoder trained from scratch and a random one that stays frozen.

SupCon uses labels. It is pre-trained anew for each label budget and repeat, with exactly the labels that its classifiers are
then trained with (`runners.pretraining.seen_labels`), and with no others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from emoviews.configs import LabelBudget
from emoviews.experiments import Experiment, Plan, with_labels
from emoviews.experiments.sparse import Answers
from emoviews.jobs import RANDOM, FineTuningJob, Job, PretrainingJob
from emoviews.results import Results
from emoviews.seeds import derive_seed

FEW_LABELS: Final = 0.1
"""Of the plan's shares of labels the one nearest to this is compared at, and the largest."""

PAPER: Final = "NT-Xent (the paper's)"
SUPERVISED: Final = "supervised from scratch"
RANDOM_FROZEN: Final = "random, frozen"

LOSSES: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    PAPER: ("pairwise_nt_xent", {"negatives": "both"}),
    "NT-Xent, cross-view": ("pairwise_nt_xent", {"negatives": "cross_view"}),
    "VICReg": ("vicreg", {}),
    "Barlow Twins": ("barlow_twins", {}),
    "SupCon, labels": ("supcon", {}),
}
"""Objective → its loss and what is set of it, in the order of the tables' rows."""

ENCODERS: Final = ("tuned", "frozen")

METHODS: Final = (
    SUPERVISED,
    *(f"{objective}, {encoder}" for encoder in ENCODERS for objective in LOSSES),
    RANDOM_FROZEN,
)
"""What the tables call the classifiers, in the order of their rows."""

SCORES: Final = "UAR by objective"


class Objectives(Experiment):
    """Which loss to pre-train with."""

    name = "objectives"
    title = "Which loss to pre-train with"
    source = ""

    def jobs(self, plan: Plan) -> list[Job]:
        found: dict[str, Job] = {}
        for fold, shared in plan.pretrainings().items():
            for repeat in range(plan.repeats):
                common = plan.common(fold, derive_seed(plan.seed, "classifier", fold, repeat))
                for budget in budgets(plan):
                    pretrainings = [pretraining(plan, shared, objective, budget, repeat) for objective in LOSSES]
                    tunings = [
                        FineTuningJob(*common, view, plan.finetuning, init, frozen, budget, plan.validation, repeat)
                        for view in plan.views.items()
                        for init in (RANDOM, *(job.id for job in pretrainings))
                        for frozen in (False, True)
                    ]
                    found |= {job.id: job for job in (*pretrainings, *tunings)}
        return list(found.values())

    def why_no_jobs(self, plan: Plan) -> str:
        """No share of labels to compare with."""
        return "none: it compares with shares of the labels, see --fractions"

    def tables(self, results: Results) -> dict[str, pd.DataFrame]:
        jobs = classifiers(results)
        if jobs.empty:
            return {}
        answers = Answers(results, jobs["job_id"])
        rows = []
        for (view, rule, fraction, name), group in jobs.groupby(["view", "validation", "label_fraction", "name"]):
            interval = answers.interval(group)
            rows.append(
                {
                    "view": view,
                    "validation": rule,
                    "label_fraction": fraction,
                    "method": name,
                    "n_labels": group["n_labels"].mean(),
                    "mean_uar": group["uar"].mean(),
                    "pooled_uar": interval.estimate,
                    "low": interval.low,
                    "high": interval.high,
                    "mean_wa": group["wa"].mean(),
                    "n_jobs": len(group),
                    "folds": group["fold"].nunique(),
                    "repeats": group["repeat"].nunique(),
                    "speakers": answers.of(group["job_id"])["speaker"].nunique(),
                }
            )
        table = pd.DataFrame(rows)
        table["place"] = table["method"].map(METHODS.index)
        order = ["view", "validation", "place", "label_fraction"]
        return {SCORES: table.sort_values(order, ignore_index=True).drop(columns="place")}


def budgets(plan: Plan) -> list[LabelBudget]:
    """The two budgets that are compared at, as the experiment `sparse` has them; one where they are the same, or none."""
    if not plan.fractions:
        return []
    few = min(sorted(plan.fractions), key=lambda fraction: abs(fraction - FEW_LABELS))
    return [LabelBudget() if f == 1 else LabelBudget(f) for f in sorted({few, max(plan.fractions)})]


def pretraining(plan: Plan, shared: PretrainingJob, objective: str, budget: LabelBudget, repeat: int) -> PretrainingJob:
    """The pre-training that a classifier of this budget and repeat starts from.

    Args:
        plan: of the run.
        shared: the plan's own pre-training of the fold.
        objective: of `LOSSES`.
        budget: of the classifier.
        repeat: likewise.
    """
    loss, settings = LOSSES[objective]
    # What is set of the plan's own loss, such as a temperature, holds for that loss alone.
    own = plan.pretraining.loss_settings if plan.pretraining.loss == loss else {}
    config = plan.pretraining.with_loss(loss, **{**own, **settings})
    job = PretrainingJob(*plan.common(shared.fold, shared.seed), shared.views, config)
    return with_labels(plan, job, budget, plan.validation, repeat) if loss == "supcon" else job


def classifiers(results: Results) -> pd.DataFrame:
    """The experiment's finished classifiers: the tidy rows of their test parts, with a `name` of `METHODS`, and `encoder`."""
    tidy = results.tidy(Objectives.name)
    tidy = tidy[(tidy["kind"] == "finetuning") & (tidy["split"] == "test") & tidy["uar"].notna()]
    frozen = tidy["frozen"].astype(bool)
    rows = zip(tidy["init"], tidy["objective"], tidy["negatives"], frozen, strict=True)
    return tidy.assign(name=[_name(*row) for row in rows], encoder=frozen.map({False: ENCODERS[0], True: ENCODERS[1]}))


def _name(init: str, loss: str, negatives: str | None, frozen: bool) -> str:
    if init == RANDOM:
        return RANDOM_FROZEN if frozen else SUPERVISED
    (objective,) = (
        name
        for name, (own, settings) in LOSSES.items()
        if own == loss and settings.get("negatives") in (None, negatives)
    )
    return f"{objective}, {ENCODERS[frozen]}"


EXPERIMENT = Objectives()
