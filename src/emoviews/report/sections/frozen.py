"""Tuned against frozen encoders, and what they must beat: from scratch, random, one view alone, linear models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from emoviews import statistics
from emoviews.experiments import EXPERIMENTS, Experiment
from emoviews.experiments.frozen import METHODS, SCORES, SIMCLR_FROZEN, SIMCLR_TUNED, classifiers
from emoviews.experiments.sparse import Answers
from emoviews.experiments.temperature import FROZEN, SUPERVISED, TUNED
from emoviews.report import figures, tables
from emoviews.report.blocks import Block, Heading, Made, Panel, Picture, Section, Text
from emoviews.report.run import Run
from emoviews.report.sections._comparison import family_of, smallest_p_note
from emoviews.report.sections.temperature import (
    PAPER_IS_ELSEWHERE,
    Show,
    over_folds,
    table_of_rows,
    with_interval,
    without_spread,
)
from emoviews.report.tables import Cell, Table, count, interval, p_value, percent, points, share, slug

RANDOM_FROZEN: Final = METHODS["finetuning", "random", True]
PROBE: Final = METHODS["logistic_regression", "pretrained", False]
RANDOM_PROBE: Final = METHODS["logistic_regression", "random", False]
LINEAR: Final = METHODS["logistic_regression", "", False]

_NOTES: Final = {
    SUPERVISED: "encoder and classifier trained together on the labels, from random weights",
    TUNED: "the encoder starts from contrastive pre-training on all views, and is trained on with the labels",
    SIMCLR_TUNED: "the same, but pre-trained on this view alone, between two augmented versions of each recording",
    FROZEN: "the pre-trained encoder stays as it is, only the classifier is trained",
    SIMCLR_FROZEN: "the same with the encoder that was pre-trained on this view alone",
    RANDOM_FROZEN: "an encoder that was never trained stays as it is: what its architecture alone gives",
    PROBE: "logistic regression on what the pre-trained encoder gives",
    RANDOM_PROBE: "logistic regression on what the untrained encoder gives",
    LINEAR: "on the view's features, averaged over time; no encoder",
}

_COMPARED: Final = (
    (TUNED, FROZEN),
    (TUNED, SUPERVISED),
    (TUNED, SIMCLR_TUNED),
    (FROZEN, RANDOM_FROZEN),
    (FROZEN, SIMCLR_FROZEN),
    (PROBE, RANDOM_PROBE),
    (PROBE, LINEAR),
)
"""Pairs whose difference answers a question: does tuning help, and pre-training, and the other views?"""


def section(run: Run, experiment: Experiment, made: Made) -> tuple[Section, list[Block]]:
    """Of the experiment `frozen`."""
    scores = made[SCORES]
    jobs = classifiers(run.results)
    gaps = differences(jobs, tables.answers(run.results, jobs["job_id"]))
    views = [str(view) for view in dict.fromkeys(scores["view"])]
    has_paper = "paper_uar" in scores.columns
    shown = [method for method in METHODS.values() if method in set(scores["method"])]
    blocks: list[Block] = [
        Text((_intro(scores),)),
        Text(tuple(Markup("<strong>{}</strong>: {}.").format(m, _NOTES[m]) for m in shown), is_list=True),
        _picture(run, scores, views, has_paper),
    ]
    blocks += [_score_table(scores[scores["view"] == view], view, has_paper) for view in views]
    if not has_paper:
        blocks.append(Text((PAPER_IS_ELSEWHERE,)))
    if not gaps.empty:
        blocks += [Heading("What tuning, pre-training and the other views add"), _difference_table(gaps)]
    return Section(experiment.title, tuple(blocks)), _headline(run, scores)


def _intro(scores: pd.DataFrame) -> str:
    temperatures = sorted(set(scores["temperature"].dropna()))
    said = f" (temperature {temperatures[0]:g})" if len(temperatures) == 1 else ""
    return (
        f"With all labels: what did pre-training{said} alone teach the encoder, and what is left to learn from labels? A "
        "frozen encoder's score means little until it is held against one that was never trained. Logistic regression weights "
        "each emotion by the inverse of its frequency (class_weight “balanced”); the cross-entropy of the networks does not, "
        "which on uneven classes favours the linear models' UAR."
    )


def _score_table(scores: pd.DataFrame, view: str, has_paper: bool) -> Table:
    shown: dict[str, Show] = {
        "Method": lambda row: str(row["method"]),
        "UAR %": lambda row: with_interval(row, "uar"),
        "WA %": lambda row: with_interval(row, "wa"),
        "Folds": lambda row: count(row["folds"]),
    }
    if has_paper:
        shown |= {
            "Paper\nUAR %": lambda row: percent(row["paper_uar"], 2),
            "Paper\nWA %": lambda row: percent(row["paper_wa"], 2),
        }
    caption = f"{view}: test UAR and WA with all labels. {over_folds(scores)}."
    return table_of_rows(f"frozen-{slug(view)}", caption, scores, shown)


def differences(jobs: pd.DataFrame, given: Answers) -> pd.DataFrame:
    """`report.tables.differences` of the pairs that answer a question, Holm's correction over those of each view.

    Args:
        jobs: of `experiments.frozen.classifiers`.
        given: of `report.tables.answers`.

    Returns:
        `first, second, view, difference, low, high, p_sign_flip, p_holm, n_speakers, n_pairs`.
    """
    kept = ["view", "difference", "low", "high", "p_sign_flip", "n_speakers", "n_pairs"]
    found = []
    for first, second in _COMPARED:
        gap = tables.differences(jobs, given, first, second)
        if not gap.empty:
            found.append(gap[kept].assign(first=first, second=second))
    if not found:
        return pd.DataFrame()
    table = pd.concat(found, ignore_index=True)
    table["p_holm"] = table.groupby("view")["p_sign_flip"].transform(statistics.holm)
    return table[["first", "second", *kept[:5], "p_holm", *kept[5:]]]


def _difference_table(gaps: pd.DataFrame) -> Table:
    """One row a pair of methods, one column a view."""
    found = {(row["first"], row["second"], row["view"]): row for row in gaps.to_dict("records")}
    views = [str(view) for view in dict.fromkeys(gaps["view"])]
    headings = (Cell("UAR of"), *(Cell(view, True) for view in views))
    rows = []
    for first, second in dict.fromkeys(zip(gaps["first"], gaps["second"], strict=True)):
        cells = [Cell(f"{first}\nminus {second}")]
        for view in views:
            row = found.get((first, second, view))
            cells.append(Cell("–" if row is None else _difference(row), True))
        rows.append(tuple(cells))
    n, pairs = int(gaps["n_speakers"].max()), sorted(set(gaps["n_pairs"]))
    caption = (
        "Differences in percentage points, on the same test recordings, pooled over folds "
        f"({' or '.join(map(str, pairs))} pairs of trainings with the same seeds; what depends on no seed has one a fold); "
        f"95 % interval by a bootstrap that draws speakers ({n}) for both methods together; p of the sign-flip test on the "
        f"speakers' differences, after Holm's correction for the {family_of(gaps)} tests of a view."
        f"{smallest_p_note(n, family_of(gaps))}"
    )
    return Table("frozen-differences", caption, gaps, headings, tuple(rows))


def _difference(row: Mapping[Any, Any]) -> str:
    return f"{points(row['difference'])}\n({interval(row['low'], row['high'], points)})\np {p_value(row['p_holm'])}"


def _headline(run: Run, scores: pd.DataFrame) -> list[Block]:
    """The main scores of each view, in words."""
    lines = []
    for view, rows in scores.groupby("view", sort=False):
        uar = rows.set_index("method")["uar"]
        told = [
            f"{m} {percent(uar[m])}\u00a0%"
            for m in (TUNED, FROZEN, SUPERVISED, RANDOM_FROZEN, LINEAR)
            if m in uar.index
        ]
        lines.append(Markup("<strong>{}</strong>: {}.").format(view, ", ".join(told)))
    folds, trainings = int(scores["folds"].max()), int(scores["trainings"].max())
    each = "one training each" if trainings == 1 else f"up to {trainings} trainings each"
    intro = f"UAR with all labels, mean over {folds} folds with {each}:"
    if "sparse" in run.experiments:
        title = EXPERIMENTS.load("sparse").title
        intro = f"{intro[:-1]} (under “{title}” scores are pooled over folds instead, and over all repeats):"
    return [Text((intro,)), Text(tuple(lines), is_list=True)]


def _picture(run: Run, scores: pd.DataFrame, views: Sequence[str], has_paper: bool) -> Picture:
    panels = []
    for view in views:
        rows = scores[scores["view"] == view].to_dict("records")
        told = "; ".join(f"{row['method']} {percent(row['uar'])} %" for row in rows)
        alt = f"Dot chart of test UAR with all labels, {view}: {told}; chance {percent(run.chance)} %."
        panels.append(Panel(f"frozen-{slug(view)}", uar_by_method(scores, [view], run.chance), alt))
    theirs = " Hollow diamonds: the paper's values." if has_paper else ""
    caption = (
        f"Test UAR of each method with all labels; bars: 95 % intervals.{theirs} {over_folds(scores)}."
        f"{without_spread(scores, 'uar')}"
    )
    return Picture(caption, tuple(panels), Panel("frozen", uar_by_method(scores, views, run.chance), ""))


@figures.styled
def uar_by_method(scores: pd.DataFrame, views: Sequence[str], chance: float) -> Figure:
    """Test UAR of each method with its interval, one panel a view and one row a method.

    Args:
        scores: `view, method, uar, uar_low, uar_high` and, where the paper's numbers belong beside, `paper_uar`; all panels
            share the scale that fits all.
        views: the panels to draw.
        chance: UAR of guessing.
    """
    methods = [method for method in METHODS.values() if method in set(scores["method"])]
    width, _ = figures.PANEL_INCHES
    figure = Figure(figsize=(width + 3.4 * (len(views) - 1), 1.3 + 0.34 * len(methods)), layout="constrained")
    panels = figure.subplots(1, len(views), sharex=True, sharey=True, squeeze=False)[0]
    places = {method: place for place, method in enumerate(methods)}
    shown = scores[[c for c in ("uar", "uar_low", "uar_high", "paper_uar") if c in scores.columns]].to_numpy(
        dtype=float
    )
    for axes, view in zip(panels, views, strict=True):
        for row in scores[scores["view"] == view].to_dict("records"):
            look, place = figures.style_of(row["method"]), places[row["method"]]
            axes.hlines(place, 100 * row["uar_low"], 100 * row["uar_high"], color=look.colour, linewidth=1.6, zorder=2)
            face = look.colour if figures.has_spread(row["uar_low"], row["uar_high"]) else "white"
            dot: Any = {"color": look.colour, "marker": look.marker, "markerfacecolor": face, "markeredgewidth": 1.4}
            axes.plot(100 * row["uar"], place, markersize=8, zorder=3, **dot)
            # Below ours, so that equal scores hide neither.
            paper = 100 * row.get("paper_uar", np.nan)
            axes.plot(paper, place + 0.3, color=figures.BLACK, marker="D", markerfacecolor="none", zorder=4)
        axes.axvline(100 * chance, color=figures.BLACK, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
        axes.set_title(view)
        axes.set_xlim(*figures.uar_limits(shown, chance))
        axes.set_yticks(list(places.values()), methods)
        axes.set_ylim(len(methods) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("test UAR in % (mean over folds)")
    handles = [
        Line2D([], [], color=figures.BLACK, linewidth=0.9, linestyle=(0, (1, 2)), label=f"chance ({share(chance)})")
    ]
    if "paper_uar" in scores.columns:
        handles.append(
            Line2D([], [], color=figures.BLACK, marker="D", markerfacecolor="none", linestyle="none", label="paper")
        )
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure
