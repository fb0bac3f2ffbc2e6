"""How the trainings went: losses, learning curves, when they stopped."""

from __future__ import annotations

from typing import Final

import pandas as pd

from emoviews.experiments.sparse import RULES
from emoviews.report import figures, tables
from emoviews.report.blocks import Block, Panel, Picture, Section
from emoviews.report.run import Run
from emoviews.report.tables import (
    PRETRAINED,
    SUPERVISED,
    Column,
    Table,
    count,
    percent,
    plain_number,
    seconds,
    share,
    slug,
)


def section(run: Run) -> Section | None:
    """None where nothing was trained."""
    blocks = [*_pretraining_blocks(run), *_finetuning_blocks(run)]
    return Section("How the trainings went", tuple(blocks)) if blocks else None


def _pretraining_blocks(run: Run) -> list[Block]:
    jobs = run.tidy[run.tidy["kind"] == "pretraining"].drop_duplicates("job_id")
    if jobs.empty:
        return []
    drawn, others = _most_shared(run, jobs)
    lines = tables.curves(run.results, jobs, ["train_loss", "validation_loss"])
    mine = lines[lines["job_id"].isin(drawn["job_id"])]
    blocks: list[Block] = []
    if not mine.empty:
        low, high = count(drawn["epochs_run"].min()), count(drawn["epochs_run"].max())
        ran = low if low == high else f"{low} to {high}"
        alt = f"Line chart of training and validation loss by epoch in {len(drawn)} pre-trainings of {ran} epochs."
        caption = (
            f"Loss by epoch, one line for each of {len(drawn)} pre-trainings. The weights of the marked "
            "epoch are kept: that of the lowest validation loss. The loss grows with the size of a batch, so the two "
            f"are comparable only where batches have the same size.{others}"
        )
        kept = {str(job): float(epoch) for job, epoch in zip(drawn["job_id"], drawn["best_epoch"], strict=True)}
        blocks.append(Picture(caption, (Panel("pretraining-curves", figures.pretraining_curves(mine, kept), alt),)))
    at_best = lines.merge(jobs[["job_id", "best_epoch"]], on="job_id").query("epoch == best_epoch")
    raw = jobs[["fold", *_KIND, "epochs_run", "best_epoch", "seed", "job_id"]]
    raw = raw.merge(at_best.drop(columns=["epoch", "best_epoch"]), on="job_id", how="left")
    raw = raw.merge(run.jobs[["job_id", "seconds"]], on="job_id", how="left")
    columns = {
        "fold": Column("Fold"),
        "view": Column("Views"),
        "pretraining_data": Column("Recordings", lambda data: str(data).replace("_", " ")),
        **({"pretraining_size": Column("At most", count, True)} if raw["pretraining_size"].notna().any() else {}),
        **({"objective": Column("Loss")} if raw["objective"].nunique() > 1 else {}),
        **(
            {"negatives": Column("Negatives", lambda of: "–" if pd.isna(of) else str(of))}
            if raw["negatives"].nunique() > 1
            else {}
        ),
        "temperature": Column("Temperature", lambda t: "–" if pd.isna(t) else f"{t:g}", True),
        **({"label_fraction": Column("Labels", percent, True)} if raw["label_fraction"].notna().any() else {}),
        **({"repeat": Column("Repeat", count, True)} if raw["label_fraction"].notna().any() else {}),
        "epochs_run": Column("Epochs run", count, True),
        "best_epoch": Column("Kept", count, True),
        "train_loss": Column("Training loss", plain_number, True),
        "validation_loss": Column("Validation loss", plain_number, True),
        "seconds": Column("Time", seconds, True),
    }
    caption = "Pre-trainings, named by the fold whose test groups they leave out; losses are those of the kept epoch."
    limits = {d["config"]["epochs"] for d in run.jobs["description"].dropna() if d["kind"] == "pretraining"}
    if stopped := int((raw["epochs_run"] >= max(limits)).sum()):
        caption += (
            f" {stopped} of {len(raw)} were stopped by the most epochs allowed ({max(limits)}): longer might go lower."
        )
    return [*blocks, Table.of("pretraining", caption, raw, columns)]


_KIND: Final = [
    *("view", "pretraining_data", "pretraining_size", "objective", "negatives", "temperature"),
    *("label_fraction", "labels_per_class", "repeat"),
]
"""What pre-trainings of a fold differ in."""


def _most_shared(run: Run, jobs: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The kind of pre-training that most experiments ask for, and a sentence on the others: losses of two don't compare."""
    experiments = run.rows[run.rows["kind"] == "pretraining"].groupby("job_id")["experiment"].nunique()
    shared = jobs["job_id"].map(experiments)
    kinds = jobs.assign(shared=shared).groupby(_KIND, dropna=False, sort=False)
    if kinds.ngroups == 1:
        return jobs, ""
    _, drawn = max(kinds, key=lambda kind: (kind[1]["shared"].max(), len(kind[1])))
    more = f" Drawn is the kind that most experiments start from; {kinds.ngroups - 1} more are in the table."
    return drawn, more


def _finetuning_blocks(run: Run) -> list[Block]:
    """Validation curves of one fold and repeat, with the smallest and the largest share of labels, a panel a view and rule."""
    jobs = _example_jobs(run)
    lines = tables.curves(run.results, jobs, ["validation_uar"]).dropna(subset="validation_uar")
    if lines.empty:
        return []
    line = ["view", "validation", "name", "label_fraction"]
    lines = lines.merge(jobs[["job_id", *line, "best_epoch"]], on="job_id")
    lines["kept"] = lines["epoch"] == lines["best_epoch"]
    panels = []
    for rule in [rule for rule in RULES if rule in set(lines["validation"])]:
        for view in sorted(set(lines["view"])):
            mine = lines[(lines["view"] == view) & (lines["validation"] == rule)]
            if mine.empty:
                continue
            best = mine.groupby(["name", "label_fraction"], as_index=False)["validation_uar"].max().to_dict("records")
            told = [
                f"{b['name']}, {share(b['label_fraction'])}: at most {percent(b['validation_uar'])} %" for b in best
            ]
            drawn = figures.finetuning_curves(mine, f"Fine-tuning, {view}\n{figures.RULE_TITLES[rule]}", run.chance)
            alt = f"Line chart of the validation UAR by epoch on {view}, validation {rule}. {'; '.join(told)}."
            panels.append(Panel(f"finetuning-curves-{slug(view)}-{rule}", drawn, alt))
    caption = (
        f"UAR on the validation recordings during fine-tuning, for example in fold {jobs['fold'].iloc[0]}, repeat "
        f"{count(jobs['repeat'].iloc[0])}, with the smallest (dotted) and the largest (solid) share of labels. The "
        "weights of the marked epoch are kept. Dotted black: chance. A training that had no label to validate on has "
        "no line."
    )
    return [Picture(caption, tuple(panels))]


def _example_jobs(run: Run) -> pd.DataFrame:
    """Tuned fine-tunings of the first fold and repeat of an experiment in which each line would be one training."""
    rows = run.rows[run.rows["label_fraction"].notna() & (run.rows["split"] == "test")]
    names = {"random": SUPERVISED, "pretrained": PRETRAINED}
    rows = rows[(rows["kind"] == "finetuning") & ~rows["frozen"].fillna(False).astype(bool) & rows["init"].isin(names)]
    rows = rows.assign(name=rows["init"].map(names))
    for experiment in sorted(set(rows["experiment"]), key=lambda name: (name != "sparse", name)):
        jobs: pd.DataFrame = rows[rows["experiment"] == experiment]
        jobs = jobs[(jobs["fold"] == jobs["fold"].min()) & (jobs["repeat"] == jobs["repeat"].min())]
        jobs = jobs[jobs["label_fraction"].isin([jobs["label_fraction"].min(), jobs["label_fraction"].max()])]
        if not jobs.duplicated(["view", "validation", "name", "label_fraction"]).any():
            return jobs
    return pd.DataFrame(columns=rows.columns)
