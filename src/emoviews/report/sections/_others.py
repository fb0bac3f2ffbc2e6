"""Scores of trainings that belong to no experiment of the paper."""

from __future__ import annotations

from emoviews.experiments import EXPERIMENTS
from emoviews.report.blocks import Section
from emoviews.report.run import Run
from emoviews.report.tables import (
    Table,
)


def section(run: Run) -> Section | None:
    """Scores of jobs that belong to no registered experiment, such as those of `emoviews finetune`."""
    of_experiments = set(run.rows.loc[run.rows["experiment"].isin(EXPERIMENTS.names()), "job_id"])
    tidy = run.tidy
    rows = tidy[(tidy["split"] == "test") & tidy["uar"].notna() & ~tidy["job_id"].isin(of_experiments)]
    if rows.empty:
        return None
    keys = ["view", "method", "init", "frozen", "label_fraction", "labels_per_class", "validation"]
    groups = rows.assign(**{key: rows[key].astype(object).where(rows[key].notna(), "") for key in keys}).groupby(
        keys, sort=False
    )
    frame = groups.agg(
        n_labels=("n_labels", "mean"),
        mean_uar=("uar", "mean"),
        mean_wa=("wa", "mean"),
        mean_macro_f1=("macro_f1", "mean"),
        folds=("fold", "nunique"),
        trainings=("job_id", "nunique"),
    ).reset_index()
    caption = "Trainings outside the paper's experiments: means over folds and repeats, as fractions."
    return Section("Other trainings", (Table.plain("other-trainings", caption, frame),))
