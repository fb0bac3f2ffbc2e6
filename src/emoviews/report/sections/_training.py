"""How the trainings went: losses, learning curves, when they stopped."""

from __future__ import annotations

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
    lines = tables.curves(run.results, jobs, ["train_loss", "validation_loss"])
    blocks: list[Block] = []
    if not lines.empty:
        low, high = count(jobs["epochs_run"].min()), count(jobs["epochs_run"].max())
        ran = low if low == high else f"{low} to {high}"
        alt = f"Line chart of training and validation loss by epoch in {len(jobs)} pre-trainings of {ran} epochs."
        caption = (
            f"Contrastive loss by epoch, one line for each of {len(jobs)} pre-trainings. The weights of the marked epoch are "
            "kept: that of the lowest validation loss. The loss grows with the size of a batch, so the two are comparable "
            "only where batches have the same size."
        )
        kept = {str(job): float(epoch) for job, epoch in zip(jobs["job_id"], jobs["best_epoch"], strict=True)}
        blocks.append(Picture(caption, (Panel("pretraining-curves", figures.pretraining_curves(lines, kept), alt),)))
    at_best = lines.merge(jobs[["job_id", "best_epoch"]], on="job_id").query("epoch == best_epoch")
    raw = jobs[["fold", "view", "pretraining_data", "temperature", "epochs_run", "best_epoch", "seed", "job_id"]]
    raw = raw.merge(at_best.drop(columns=["epoch", "best_epoch"]), on="job_id", how="left")
    raw = raw.merge(run.jobs[["job_id", "seconds"]], on="job_id", how="left")
    columns = {
        "fold": Column("Fold"),
        "pretraining_data": Column("Recordings"),
        "temperature": Column("Temperature", "{:g}".format, True),
        "epochs_run": Column("Epochs run", count, True),
        "best_epoch": Column("Kept", count, True),
        "train_loss": Column("Training loss", plain_number, True),
        "validation_loss": Column("Validation loss", plain_number, True),
        "seconds": Column("Time", seconds, True),
    }
    caption = "Pre-trainings, named by the fold whose test groups they leave out; losses are those of the kept epoch."
    return [*blocks, Table.of("pretraining", caption, raw, columns)]


def _finetuning_blocks(run: Run) -> list[Block]:
    """Validation curves of one fold and repeat, with the fewest and the most labels."""
    rows = run.tidy[run.tidy["label_fraction"].notna() & (run.tidy["split"] == "test")]
    names = {"random": SUPERVISED, "pretrained": PRETRAINED}
    jobs = rows[(rows["kind"] == "finetuning") & ~rows["frozen"].fillna(False).astype(bool) & rows["init"].isin(names)]
    if jobs.empty:
        return []
    fold, repeat = jobs["fold"].min(), jobs["repeat"].min()
    jobs = jobs[(jobs["fold"] == fold) & (jobs["repeat"] == repeat)]
    jobs = jobs[jobs["label_fraction"].isin([jobs["label_fraction"].min(), jobs["label_fraction"].max()])]
    jobs = jobs.assign(name=jobs["init"].map(names))
    lines = tables.curves(run.results, jobs, ["validation_uar"]).dropna(subset="validation_uar")
    if lines.empty:
        return []
    lines = lines.merge(jobs[["job_id", "view", "name", "label_fraction", "best_epoch"]], on="job_id")
    lines["kept"] = lines["epoch"] == lines["best_epoch"]
    panels = []
    for view in sorted(set(lines["view"])):
        mine = lines[lines["view"] == view]
        best = mine.groupby(["name", "label_fraction"], as_index=False)["validation_uar"].max().to_dict("records")
        told = [f"{b['name']}, {share(b['label_fraction'])}: at most {percent(b['validation_uar'])} %" for b in best]
        drawn = figures.finetuning_curves(mine, f"Fine-tuning, {view}", run.chance)
        alt = f"Line chart of the validation UAR by epoch on {view}. {'; '.join(told)}."
        panels.append(Panel(f"finetuning-curves-{slug(view)}", drawn, alt))
    caption = (
        f"UAR on the validation recordings during fine-tuning, for example in fold {fold}, repeat {count(repeat)}, with the "
        "smallest (dotted) and the largest (solid) share of labels. The weights of the marked epoch are kept. Dotted black: "
        "chance."
    )
    return [Picture(caption, tuple(panels))]
