"""Figure 4: which recordings to pre-train on. All, those with a target emotion, those with another emotion.

For each kind of data: encoders aligned on it, then tuned with the same few labels as in the experiment `sparse` (and by the
very same jobs, where both pre-train on all recordings). The paper's sets differ in size as well as in emotions: its 2 001
out-of-distribution utterances of IEMOCAP stand against 5 499 with target emotions. So each is also drawn to the size of the
smallest of the three in the fold's training part.

A recording on whose emotion the annotators did not agree, or that nobody annotated, is not one with another emotion; such
recordings join those with another emotion in a fourth set only, where the table has any.

Stopping is by validation utterances of the same kind (`runners.pretraining.chosen_rows`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import pandas as pd

from emoviews import statistics
from emoviews.configs import LabelBudget
from emoviews.experiments import Experiment, Plan
from emoviews.experiments.sparse import Answers
from emoviews.jobs import RANDOM, FineTuningJob, Job, PretrainingData, PretrainingJob
from emoviews.results import Results
from emoviews.seeds import derive_seed

MOST_LABELS: Final = 0.25
"""Shares of the labels up to this one are compared; the paper's are 2, 5, 10 and 25 %."""

TARGET: Final = "target emotions"
OTHERS: Final = "other emotions"
SUPERVISED: Final = "no pre-training"
DATA: Final[dict[PretrainingData, str]] = {
    "all": "all recordings",
    "target": TARGET,
    "out_of_distribution": OTHERS,
    "out_of_distribution+undecided": "other or unknown emotions",
}
"""Kind of data → what the tables call it, in the order of their rows."""

COMPARED: Final[tuple[PretrainingData, ...]] = ("all", "target", "out_of_distribution")
"""The paper's three sets, which are also compared at equal size."""

SIZES: Final = "Recordings to pre-train on"
SCORES: Final = "UAR by pre-training data"

OWN_SIZE: Final = "all there are"
EQUAL_SIZE: Final = "equal size"
"""How many recordings of each kind: all, or as many as the smallest of the three sets has."""


class PretrainingDataExperiment(Experiment):
    """Which recordings to pre-train on."""

    name = "pretraining-data"
    title = "Which recordings to pre-train on"
    source = "Figure 4"

    def jobs(self, plan: Plan) -> list[Job]:
        fractions = [fraction for fraction in plan.fractions if fraction <= MOST_LABELS]
        found: list[Job] = []
        for fold, pretraining in plan.pretrainings().items():
            pretrainings = _pretrainings(pretraining, plan.pretraining_sizes.get(fold, {}))
            if not pretrainings or not fractions:
                continue
            found += pretrainings
            for view in plan.views.items():
                for fraction in fractions:
                    for repeat in range(plan.repeats):
                        # As in `sparse`, so that equal trainings are one job.
                        common = plan.common(fold, derive_seed(plan.seed, "classifier", fold, repeat))
                        budget, rule = LabelBudget(fraction), plan.validation
                        found += [
                            FineTuningJob(*common, view, plan.finetuning, init, False, budget, rule, repeat)
                            for init in (RANDOM, *(job.id for job in pretrainings))
                        ]
        return found

    def why_no_jobs(self, plan: Plan) -> str:
        """No share of labels that it compares with, no other emotions, or too few of them."""
        if not any(fraction <= MOST_LABELS for fraction in plan.fractions):
            return f"none: it compares with at most {MOST_LABELS:.0%} of the labels, see --fractions"
        others = [of_fold.get("out_of_distribution", (0, 0)) for of_fold in plan.pretraining_sizes.values()]
        if not any(n for pair in others for n in pair):
            return "none: no recording has another emotion than the target emotions, see --labels and --label-map"
        return "none: in no fold two recordings of each kind train, and two validate; see --folds"

    def tables(self, results: Results) -> dict[str, pd.DataFrame]:
        jobs = compared_jobs(results)
        tables = {SIZES: sizes(results), SCORES: _scores(results, jobs)}
        return {title: table for title, table in tables.items() if not table.empty}


def _pretrainings(everything: PretrainingJob, sizes: Mapping[PretrainingData, tuple[int, int]]) -> list[PretrainingJob]:
    """A fold's pre-trainings; none where one of the three sets is too small.

    A set that is the smallest of the three already is trained once: its job serves both comparisons.

    Args:
        everything: the fold's pre-training on all recordings.
        sizes: kind of data → recordings that train and that validate.
    """
    if not all(can_pretrain(sizes, data) for data in COMPARED):
        return []
    smallest = min(sizes[data][0] for data in COMPARED)
    found = [replace(everything, data=data) for data in COMPARED]
    others, with_unknown = (
        sizes.get(data, (0, 0)) for data in ("out_of_distribution", "out_of_distribution+undecided")
    )
    if with_unknown != others:
        found.append(replace(everything, data="out_of_distribution+undecided"))
    equal = [replace(everything, data=data, size=smallest) for data in COMPARED if sizes[data][0] > smallest]
    return [*found, *equal]


def can_pretrain(sizes: Mapping[PretrainingData, tuple[int, int]], data: PretrainingData) -> bool:
    """Whether a set has two recordings at least to train on, and to validate on where the fold validates at all."""
    train, validation = sizes.get(data, (0, 0))
    return train >= 2 and (validation >= 2 or sizes["all"][1] == 0)


def sizes(results: Results) -> pd.DataFrame:
    """How many recordings of each kind each fold has: `fold, data, n_train, n_validation`, from the run's description."""
    described = results.description().get("pretraining_sizes", {})
    rows = [
        {"fold": fold, "data": DATA[data], "n_train": of_fold[data][0], "n_validation": of_fold[data][1]}
        for fold, of_fold in described.items()
        for data in DATA
    ]
    return pd.DataFrame(rows, columns=["fold", "data", "n_train", "n_validation"])


def compared_jobs(results: Results) -> pd.DataFrame:
    """The finished classifiers, a row for each comparison they are in: the tidy rows of their test parts, and three columns.

    `name` is what was pre-trained on, `size` is `OWN_SIZE` or `EQUAL_SIZE`, `n_pretraining` the number of recordings. A fold's
    smallest set and the classifiers without pre-training are in both comparisons.
    """
    tidy = results.tidy(PretrainingDataExperiment.name)
    key = ["fold", "pretraining_data", "pretraining_size"]
    train = tidy[(tidy["kind"] == "pretraining") & (tidy["split"] == "train")]
    trained = train[[*key, "n"]].rename(columns={"n": "n_pretraining"})
    jobs = tidy[(tidy["kind"] == "finetuning") & (tidy["split"] == "test") & tidy["uar"].notna()]
    if jobs.empty or trained.empty:
        return pd.DataFrame()
    jobs = jobs.merge(trained, on=key, how="left")
    drawn = jobs["pretraining_size"].notna()
    smallest = jobs["fold"].map(trained.dropna().groupby("fold")["pretraining_size"].max())
    supervised = jobs["pretraining_data"].isna()
    jobs = jobs.assign(name=jobs["pretraining_data"].map(DATA).fillna(SUPERVISED))
    both = supervised | (jobs["pretraining_data"].isin(COMPARED) & (jobs["n_pretraining"] == smallest))
    return pd.concat(
        [jobs[~drawn].assign(size=OWN_SIZE), jobs[drawn | both].assign(size=EQUAL_SIZE)], ignore_index=True
    )


def _scores(results: Results, jobs: pd.DataFrame) -> pd.DataFrame:
    """A row for each size, view, kind of data and share of labels."""
    if jobs.empty:
        return jobs
    answers = Answers(results, jobs["job_id"])
    order = [SUPERVISED, *DATA.values()]
    rows = []
    for (size, view, name, fraction), group in jobs.groupby(["size", "view", "name", "label_fraction"]):
        ((hits, totals),) = answers.counts([group])
        interval = statistics.counted_uar_interval(hits, totals)
        rows.append(
            {
                "size": size,
                "view": view,
                "pretraining_data": name,
                "label_fraction": fraction,
                "pooled_uar": interval.estimate,
                "low": interval.low,
                "high": interval.high,
                "mean_uar": group["uar"].mean(),
                "mean_wa": group["wa"].mean(),
                "n_labels": group["n_labels"].mean(),
                "n_pretraining": group.drop_duplicates("fold")["n_pretraining"].mean(),
                "n_jobs": len(group),
                "folds": group["fold"].nunique(),
                "repeats": group["repeat"].nunique(),
            }
        )
    found = pd.DataFrame(rows)
    found["place"] = found["pretraining_data"].map(order.index)
    ordered = found.sort_values(["size", "view", "place", "label_fraction"], ignore_index=True)
    return ordered.drop(columns="place")


EXPERIMENT = PretrainingDataExperiment()
