"""Which recordings to pre-train on: all, those with target emotions or others; as many as there are, or equally many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from emoviews import statistics
from emoviews.experiments import Experiment
from emoviews.experiments.pretraining_data import (
    DATA,
    EQUAL_SIZE,
    MOST_LABELS,
    OTHERS,
    OWN_SIZE,
    SCORES,
    SIZES,
    SUPERVISED,
    TARGET,
    compared_jobs,
)
from emoviews.report import figures, tables
from emoviews.report.blocks import Block, Heading, Made, Panel, Picture, Section, Text
from emoviews.report.figures import Style
from emoviews.report.run import Run
from emoviews.report.sections._comparison import family_of, smallest_p_note
from emoviews.report.tables import (
    Cell,
    Column,
    Table,
    count,
    interval,
    listed,
    p_value,
    percent,
    points,
    share,
    signed,
    slug,
)

_UNKNOWN: Final = DATA["out_of_distribution+undecided"]
_LOOKS: Final = {
    SUPERVISED: Style(figures.GREY, "v", (0, (1, 1.2))),
    DATA["all"]: Style(figures.BLACK, "D", (0, (5, 1.5))),
    TARGET: Style(figures.BLUE, "s", "-"),
    OTHERS: Style(figures.VERMILION, "o", "-"),
    _UNKNOWN: Style(figures.ORANGE, "X", (0, (4, 1.5, 1, 1.5))),
}
_BANDED: Final = (TARGET, OTHERS)
"""The two whose comparison is the question; more bands would hide each other."""


def section(run: Run, experiment: Experiment, made: Made) -> tuple[Section, list[Block]]:
    """Of the experiment `pretraining-data`; without jobs, the reason."""
    sizes, scores = made.get(SIZES, pd.DataFrame()), made.get(SCORES, pd.DataFrame())
    intro = (
        "Pre-training needs no labels, but which recordings it gets may matter. Target emotions are those that the classifier "
        "is to tell apart; other emotions are those whose labels were dropped. The encoders were pre-trained on one or the "
        "other, then tuned with the same few labelled recordings; a pre-training stops by validation recordings of its own "
        "kind."
    )
    if not scores.empty:
        intro += (
            " There are fewer recordings of one kind than of the other, so each was also drawn to the size of the smallest. "
            "All repeats of a fold start from the same pre-training: the intervals hold no variance of pre-training."
        )
    blocks: list[Block] = [Text((intro,))]
    if reasons := _left_out(sizes):
        blocks.append(Text(tuple(reasons), is_list=len(reasons) > 1))
    if not sizes.empty:
        blocks.append(_size_table(sizes))
    if scores.empty:
        if not reasons:
            why = f"There is no finished training with at most {share(MOST_LABELS)} of the labels, so nothing can be compared."
            blocks.append(Text((why,)))
        return Section(experiment.title, tuple(blocks)), []
    gaps = differences(run, compared_jobs(run.results))
    blocks.append(_picture(run, scores))
    blocks += [_score_table(scores[scores["view"] == view], str(view)) for view in dict.fromkeys(scores["view"])]
    caption = (
        "UAR pooled over folds and averaged over repeats, its 95 % interval (bootstrap over speakers), and the mean of the "
        "folds' own UAR and WA, as in the paper."
    )
    blocks.append(Table.plain("uar-by-pretraining-data", caption, scores, on_page=False))
    if not gaps.empty:
        blocks += [Heading("Target emotions against other emotions"), _difference_table(gaps)]
    return Section(experiment.title, tuple(blocks)), _verdict(gaps)


def _left_out(sizes: pd.DataFrame) -> list[str]:
    """Why folds are not compared, in words."""
    if sizes.empty:
        return []
    train = sizes.pivot(index="fold", columns="data", values="n_train")
    if (train[OTHERS] == 0).all():
        unknown = int(train[_UNKNOWN].max())
        more = (
            f" (Up to {unknown} training recordings a fold have no known emotion; they are not counted as others.)"
            if unknown
            else ""
        )
        return [
            "Nothing was compared: no recording has an emotion other than the target emotions. To try it, drop an emotion by a "
            f"label map with an empty target (--label-map) or name the target emotions (--labels).{more}"
        ]
    validation = sizes.pivot(index="fold", columns="data", values="n_validation")
    reasons = []
    for part, found in (("train", train), ("validate", validation)):
        for name in (TARGET, OTHERS):
            few = found[(found[name] < 2) & (found[DATA["all"]] >= 2)].index.tolist()
            if few:
                reasons.append(
                    f"Fold{'s' * (len(few) > 1)} {listed([str(fold) for fold in few])}: left out, with fewer than 2 recordings "
                    f"of {name} to {part} on."
                )
    return reasons


def _size_table(sizes: pd.DataFrame) -> Table:
    """A row a fold, a column a kind of data: recordings to train on, and in parentheses to validate on."""
    found = {(row["fold"], row["data"]): row for row in sizes.to_dict("records")}
    names = list(dict.fromkeys(sizes["data"]))
    headings = (Cell("Fold"), *(Cell(name.capitalize(), True) for name in names))
    rows = []
    for fold in dict.fromkeys(sizes["fold"]):
        cells = [found[fold, name] for name in names]
        counts = (Cell(f"{count(c['n_train'])} ({count(c['n_validation'])})", True) for c in cells)
        rows.append((Cell(str(fold)), *counts))
    caption = (
        "Recordings of each kind in the training part of each fold, and in parentheses in its validation part. Where the "
        "annotators did not agree, or nobody annotated, the emotion is unknown."
    )
    return Table("pretraining-data-sizes", caption, sizes, headings, tuple(rows))


def differences(run: Run, jobs: pd.DataFrame) -> pd.DataFrame:
    """UAR after pre-training on target emotions minus after other emotions: as `tables.differences`, a `size` in front.

    The tests over speakers are corrected by Holm over the budgets and both sizes of each view.

    Args:
        run: the run.
        jobs: of `compared_jobs`.
    """
    given = tables.answers(run.results, jobs["job_id"])
    found = []
    for size in (OWN_SIZE, EQUAL_SIZE):
        gaps = tables.differences(jobs[jobs["size"] == size], given, TARGET, OTHERS)
        if not gaps.empty:
            gaps.insert(0, "size", size)
            found.append(gaps)
    if not found:
        return pd.DataFrame()
    together = pd.concat(found, ignore_index=True)
    corrected = {"p_holm": "p_sign_flip", "p_wilcoxon_holm": "p_wilcoxon"}
    by_view = together.groupby("view")
    return together.assign(**{name: by_view[p].transform(statistics.holm) for name, p in corrected.items()})


def _outcome(row: Any) -> str:
    if math.isnan(row["low"]) or math.isnan(row["high"]):
        return "no interval"
    return TARGET if row["low"] > 0 else OTHERS if row["high"] < 0 else "undecided"


def _difference_table(gaps: pd.DataFrame) -> Table:
    rows = gaps.to_dict("records")
    shown = gaps.assign(
        interval=[interval(row["low"], row["high"], points) for row in rows], outcome=[_outcome(row) for row in rows]
    )
    columns = {
        "size": Column("Recordings"),
        "view": Column("View"),
        "label_fraction": Column("Share", share, True),
        "n_labels": Column("Labels", count, True),
        "difference": Column("Difference", points, True),
        "interval": Column("95 % interval", str, True),
        "outcome": Column("Better"),
        "d_z": Column("d_z", signed, True),
        "p_sign_flip": Column("p, speakers", p_value, True),
        "p_holm": Column("p, Holm", p_value, True),
        "p_mann_whitney": Column("p, U test", p_value, True),
    }
    n, family = int(gaps["n_speakers"].max()), family_of(gaps)
    caption = (
        f"UAR after pre-training on {TARGET} minus UAR after pre-training on {OTHERS}, in percentage points, on the same "
        f"folds, labels and test recordings ({n} speakers). Interval: bootstrap that draws speakers for both together. p, "
        f"speakers: sign-flip test on the speakers' differences; d_z: their Cohen's d; p, Holm: the same p, "
        f"corrected for the {family} tests of a view.{smallest_p_note(n, family)} p, U test: the paper's Mann-Whitney "
        "test, which takes every fold and repeat as independent and so answers a smaller question."
    )
    return Table.of("target-minus-other-emotions", caption, shown, columns)


def _score_table(scores: pd.DataFrame, view: str) -> Table:
    """Of one view: a row for each size and kind of data, a column a share of the labels."""
    labels = scores.groupby("label_fraction")["n_labels"].mean()
    shares = sorted(labels.index.astype(float))
    found = {(row["size"], row["pretraining_data"], row["label_fraction"]): row for row in scores.to_dict("records")}
    headings = (
        *(Cell("Recordings"), Cell("Pre-trained on"), Cell("Number", True)),
        *(Cell(f"{share(f)}\n{count(float(labels[f]))} labels", True) for f in shares),
    )
    rows = []
    for (size, name), group in scores.groupby(["size", "pretraining_data"], sort=False):
        here = [found.get((size, name, f)) for f in shares]
        cells = ("–" if r is None else f"{percent(r['pooled_uar'])}\n({interval(r['low'], r['high'])})" for r in here)
        number = Cell(count(float(group["n_pretraining"].mean())), True)
        rows.append((Cell(str(size)), Cell(str(name)), number, *(Cell(cell, True) for cell in cells)))
    caption = (
        f"{view}: UAR in % and its 95 % interval, by share of labels and by what was pre-trained on. Number: recordings "
        f"pre-trained on, mean over folds. {_about(scores)}."
    )
    return Table(f"pretraining-data-{slug(view)}", caption, scores, headings, tuple(rows))


def _about(scores: pd.DataFrame) -> str:
    folds, repeats = int(scores["folds"].max()), int(scores["repeats"].max())
    return f"{folds} fold{'s' * (folds > 1)}, {repeats} repeat{'s' * (repeats > 1)}"


def _verdict(gaps: pd.DataFrame) -> list[Block]:
    """Whether the emotions of the recordings pre-trained on mattered, in words."""
    if gaps.empty:
        return []
    told = []
    for size, rows in gaps.groupby("size", sort=False):
        outcomes = [_outcome(row) for row in rows.to_dict("records")]
        parts = [f"{name} better in {n}" for name in (TARGET, OTHERS) if (n := outcomes.count(name))]
        where = "with all there are" if size == OWN_SIZE else "with equally many"
        told.append(
            f"{where}, {listed([*parts, f'undecided in {len(rows) - sum(map(outcomes.count, (TARGET, OTHERS)))}'])}"
        )
    n = int((gaps["p_holm"] < 0.05).sum())
    words = Markup("<strong>{}</strong> {}").format(
        "Pre-training on recordings with target emotions, against others:",
        f"{'; '.join(told)} of {len(gaps) // gaps['size'].nunique()} comparisons each. After Holm's correction "
        f"{n or 'none'} of the {len(gaps)} differences stay{'s' * (n <= 1)} below p = 0.05.",
    )
    return [Text((words,))]


def _picture(run: Run, scores: pd.DataFrame) -> Picture:
    views = [str(view) for view in dict.fromkeys(scores["view"])]
    sizes = [size for size in (OWN_SIZE, EQUAL_SIZE) if size in set(scores["size"])]
    panels = []
    for size in sizes:
        for view in views:
            mine = scores[(scores["view"] == view) & (scores["size"] == size)]
            told = []
            for name, line in mine.groupby("pretraining_data", sort=False):
                rows = line.sort_values("n_labels").to_dict("records")
                ends = [
                    f"{percent(row['pooled_uar'])} % with {count(row['n_labels'])} labels"
                    for row in (rows[0], rows[-1])
                ]
                told.append(f"{name} from {' to '.join(ends)}")
            alt = f"Line chart of UAR by number of labels, {view}, {size}: {'; '.join(told)}."
            drawn = uar_by_data(scores, [view], [size], run.chance)
            panels.append(Panel(f"pretraining-data-{slug(view)}-{slug(size)}", drawn, alt))
    caption = (
        "UAR by the number of labelled training recordings (logarithmic) and by what the encoder was pre-trained on: all "
        "recordings there are of each kind, and equally many of each. Points: UAR pooled over folds, mean over repeats; "
        f"{figures.intervals_told(scores)}, by a bootstrap over speakers. {_about(scores)}."
    )
    return Picture(caption, tuple(panels), Panel("pretraining-data", uar_by_data(scores, views, sizes, run.chance), ""))


@figures.styled
def uar_by_data(scores: pd.DataFrame, views: Sequence[str], sizes: Sequence[str], chance: float) -> Figure:
    """UAR against the number of labels, one column of panels a view, one row a size, one line a kind of pre-training data.

    Args:
        scores: `size, view, pretraining_data, label_fraction, n_labels, pooled_uar, low, high`; all panels share the scale that
            fits all of it.
        views: the columns to draw.
        sizes: the rows to draw.
        chance: UAR of guessing.
    """
    width, height = figures.PANEL_INCHES
    figure = Figure(figsize=(width * len(views), height * len(sizes)), layout="constrained")
    panels = figure.subplots(len(sizes), len(views), sharey=True, squeeze=False)
    banded = scores if figures.is_alone(scores) else scores[scores["pretraining_data"].isin(_BANDED)]
    limits = figures.uar_limits(scores["pooled_uar"], banded[["low", "high"]], chance)
    for row, size in zip(panels, sizes, strict=True):
        for axes, view in zip(row, views, strict=True):
            _draw(axes, scores[(scores["view"] == view) & (scores["size"] == size)], chance)
            axes.set_title(f"{view}, {size}")
            axes.set_ylim(*limits)
        row[0].set_ylabel("UAR in % (mean of per-class recalls)")
    for axes in panels[-1]:
        axes.set_xlabel("labelled training recordings (and their share)")
    drawn = set(scores.loc[scores["view"].isin(views) & scores["size"].isin(sizes), "pretraining_data"])
    shown = [name for name in _LOOKS if name in drawn]
    handles = [
        Line2D([], [], color=_LOOKS[n].colour, marker=_LOOKS[n].marker, linestyle=_LOOKS[n].dashes, label=n)
        for n in shown
    ]
    guess = Line2D([], [], color=figures.BLACK, linewidth=0.9, linestyle=(0, (1, 2)), label=f"chance ({share(chance)})")
    figure.legend(
        handles=[*handles, guess], loc="outside lower center", ncols=2 if len(views) == 1 else 3, handlelength=3.2
    )
    return figure


def _draw(axes: Axes, rows: pd.DataFrame, chance: float) -> None:
    lines = []
    for name in (name for name in _LOOKS if name in set(rows["pretraining_data"])):
        mine, important = rows[rows["pretraining_data"] == name], name in _BANDED
        lines.append(figures.Line(mine, _LOOKS[name], 2.0 if important else 1.2, important))
    figures.draw_lines(axes, lines)
    axes.axhline(100 * chance, color=figures.BLACK, linewidth=0.9, linestyle=(0, (1, 2)), zorder=2)
    labels = rows.groupby("label_fraction")["n_labels"].mean()
    figures.dress_label_axis(axes, labels.rename(index=share))
