"""The temperature of the contrastive loss: every view's scores by temperature, tuned and frozen, and the average ranks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from emoviews.experiments import Experiment
from emoviews.experiments.temperature import FROZEN, RANKS, SCORES, SUPERVISED, TEMPERATURES, TUNED
from emoviews.report import figures
from emoviews.report.blocks import Block, Heading, Made, Panel, Picture, Section, Text
from emoviews.report.run import Run
from emoviews.report.tables import Cell, Table, count, interval, listed, percent, share, slug

PAPER_IS_ELSEWHERE = (
    "The paper's numbers are of the four classes of IEMOCAP, each session tested once; they are not shown beside these."
)


def section(run: Run, experiment: Experiment, made: Made) -> tuple[Section, list[Block]]:
    """Of the experiment `temperature`."""
    scores, ranks = made[SCORES], made[RANKS]
    views = [str(view) for view in dict.fromkeys(scores["view"])]
    has_paper = "paper_test_uar" in scores.columns
    intro = (
        "The contrastive loss divides similarities by a temperature τ: with a small τ only the most similar other recordings "
        "are pushed away, with a large τ all of them alike. For each τ the encoders were pre-trained anew, from the same "
        "initial weights, and fine-tuned with all labels of the training part, once tuned and once frozen."
    )
    blocks: list[Block] = [Text((intro,)), _picture(run, scores, views)]
    blocks += [_score_table(scores[scores["view"] == view], view, has_paper) for view in views]
    blocks += [Heading("Average ranks"), _rank_table(ranks, len(views), has_paper)]
    if has_paper:
        slip = (
            "In the paper's table 4 the test scores of the frozen spectrogram encoder at τ = 0.5 (50.34 and 48.43) are to the "
            "digit those of the tuned eGeMAPS encoder at τ = 1, and three points above that encoder's other temperatures: "
            "probably a slip in copying."
        )
        blocks.append(Text((slip,)))
    else:
        blocks.append(Text((PAPER_IS_ELSEWHERE,)))
    return Section(experiment.title, tuple(blocks)), _verdict(scores, ranks)


def over_folds(scores: pd.DataFrame) -> str:
    """Over how much data: the end of most captions."""
    most = int(scores["folds"].max())
    trainings = int(scores["trainings"].max())
    each = "one training each" if trainings == 1 else f"each the mean of up to {trainings} trainings with other seeds"
    said = f"Mean over {most} fold{'s' * (most > 1)}, {each}; 95 % interval: Student's t over the folds"
    if (scores["folds"] < most).any():
        said += ". Rows with fewer folds are means over other test recordings and can't be compared with the rest"
    return said


def without_spread(scores: pd.DataFrame, name: str) -> str:
    """A sentence on the scores whose interval can't be drawn; empty where there are none.

    Args:
        scores: with the columns NAME`_low` and NAME`_high`.
        name: of a score.
    """
    if figures.has_spread(scores[f"{name}_low"], scores[f"{name}_high"]).all():
        return ""
    return " A hollow marker or a line without a band has no interval: there is one fold, or all folds have the same score."


def _row_name(method: str, temperature: float) -> str:
    """A row of the table in words."""
    return method if math.isnan(temperature) else f"{method}, τ = {temperature:g}"


def _score_table(scores: pd.DataFrame, view: str, has_paper: bool) -> Table:
    shown: dict[str, Show] = {
        "Method": lambda row: str(row["method"]),
        "τ": lambda row: _temperature(row["temperature"]),
        "UAR %\nvalidation": lambda row: percent(row["validation_uar"]),
        "WA %\nvalidation": lambda row: percent(row["validation_wa"]),
        "UAR %\ntest": lambda row: with_interval(row, "test_uar"),
        "WA %\ntest": lambda row: with_interval(row, "test_wa"),
        "Folds": lambda row: count(row["folds"]),
    }
    if has_paper:
        shown |= {
            "Paper UAR\nvalidation": lambda row: percent(row["paper_validation_uar"], 2),
            "Paper WA\nvalidation": lambda row: percent(row["paper_validation_wa"], 2),
            "Paper UAR\ntest": lambda row: percent(row["paper_test_uar"], 2),
            "Paper WA\ntest": lambda row: percent(row["paper_test_wa"], 2),
        }
    caption = f"{view}: UAR and WA by temperature, with all labels. {over_folds(scores)}."
    return table_of_rows(f"temperature-{slug(view)}", caption, scores, shown)


Show = Callable[[Mapping[Any, Any]], str]
"""A row → what a cell shows."""


def table_of_rows(slug: str, caption: str, raw: pd.DataFrame, shown: Mapping[str, Show]) -> Table:
    """A table whose cells are made of whole rows, such as an estimate with its interval below.

    Args:
        slug: name of its files.
        caption: above it.
        raw: the exact values.
        shown: heading → what stands below it; all but the first column are numbers.
    """
    headings = tuple(Cell(heading, numeric=place > 0) for place, heading in enumerate(shown))
    rows = [
        tuple(Cell(show(row), numeric=place > 0) for place, show in enumerate(shown.values()))
        for row in raw.to_dict("records")
    ]
    return Table(slug, caption, raw, headings, tuple(rows))


def with_interval(row: Mapping[Any, Any], name: str) -> str:
    """A score in per cent, its interval on the line below."""
    return f"{percent(row[name])}\n({interval(row[f'{name}_low'], row[f'{name}_high'])})"


def _temperature(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:g}"


def _rank_table(ranks: pd.DataFrame, n_views: int, has_paper: bool) -> Table:
    def rank(value: float) -> str:
        return "–" if math.isnan(value) else f"{value:.2f}"

    names = {"rank_validation": "Validation", "rank_test": "Test"}
    if has_paper:
        names |= {"paper_rank_validation": "Paper: validation", "paper_rank_test": "Paper: test"}
    headings = (Cell("Method"), Cell("τ", True), *(Cell(heading, True) for heading in names.values()))
    best = {name: ranks[name].min() for name in names}
    rows = [
        (
            Cell(str(row["method"])),
            Cell(_temperature(row["temperature"]), True),
            *(Cell(rank(row[name]), True, row[name] == best[name]) for name in names),
        )
        for row in ranks.to_dict("records")
    ]
    n, columns = int(ranks["rank_test"].notna().sum()), 2 * n_views
    caption = (
        f"Average ranks, from 1 (best) to {n}: the methods are ranked by each of {columns} columns (UAR and WA of every view), "
        "and the ranks averaged; equal scores share theirs. The lowest of each column in bold. A row that lacks a view or a "
        "fold is not ranked."
    )
    return Table("temperature-ranks", caption, ranks, headings, tuple(rows))


def _verdict(scores: pd.DataFrame, ranks: pd.DataFrame) -> list[Block]:
    """Which temperature the validation recordings ask for, and what it then reached on the test."""
    pretrained = ranks[ranks["temperature"].notna() & ranks["rank_validation"].notna()]
    if pretrained.empty:
        return []
    best = pretrained.sort_values("rank_validation", kind="stable").iloc[0]
    method, temperature = str(best["method"]), float(best["temperature"])
    mine = scores[(scores["method"] == method) & (scores["temperature"] == temperature)]
    plain = scores[scores["method"] == SUPERVISED].set_index("view")["test_uar"].to_dict()
    told = [
        f"{row['view']} {percent(row['test_uar'])}\u00a0% (from scratch {percent(plain.get(row['view'], math.nan))}\u00a0%)"
        for row in mine.to_dict("records")
    ]
    trainings = int(mine["trainings"].max())
    words = (
        f"Of the temperatures, τ = {temperature:g} ({'frozen' if method == FROZEN else 'tuned'}) ranks best on validation "
        f"(average rank {best['rank_validation']:.2f}). With all labels its test UAR is: {listed(told)}; each is the mean of "
        f"{count(mine['folds'].max())} folds with {trainings} training{'s' * (trainings > 1)} each. Other seeds alone may "
        "change such an order."
    )
    return [Text((words,))]


def _picture(run: Run, scores: pd.DataFrame, views: Sequence[str]) -> Picture:
    panels = []
    for view in views:
        mine = scores[scores["view"] == view]
        told = [
            f"{_row_name(row['method'], row['temperature'])}: {percent(row['test_uar'])} %"
            for row in mine.to_dict("records")
        ]
        alt = f"Test UAR by temperature, {view}. {'; '.join(told)}; chance {percent(run.chance)} %."
        panels.append(Panel(f"temperature-{slug(view)}", uar_by_temperature(scores, [view], run.chance), alt))
    caption = (
        "Test UAR by the temperature of pre-training, with all labels; bars and the shaded band show 95 % intervals. The line "
        f"is the encoder trained from scratch, which has no temperature. {over_folds(scores)}."
        f"{without_spread(scores, 'test_uar')}"
    )
    return Picture(caption, tuple(panels), Panel("temperature", uar_by_temperature(scores, views, run.chance), ""))


@figures.styled
def uar_by_temperature(scores: pd.DataFrame, views: Sequence[str], chance: float) -> Figure:
    """Test UAR against temperature, one panel a view: points for tuned and frozen encoders, a line for those from scratch.

    Args:
        scores: `view, method, temperature, test_uar, test_uar_low, test_uar_high`; all panels share the scale that fits all.
        views: the panels to draw.
        chance: UAR of guessing.
    """
    width, height = figures.PANEL_INCHES
    figure = Figure(figsize=(width * len(views), height), layout="constrained")
    panels = figure.subplots(1, len(views), sharey=True, squeeze=False)[0]
    limits = figures.uar_limits(scores[["test_uar", "test_uar_low", "test_uar_high"]], chance)
    for axes, view in zip(panels, views, strict=True):
        _draw_view(axes, scores[scores["view"] == view], chance)
        axes.set_title(view)
        axes.set_ylim(*limits)
    panels[0].set_ylabel("test UAR in % (mean over folds)")
    handles = [Line2D([], [], color=figures.style_of(SUPERVISED).colour, label=SUPERVISED)]
    for method in (TUNED, FROZEN):
        look = figures.style_of(method)
        handles.append(Line2D([], [], color=look.colour, marker=look.marker, linestyle=look.dashes, label=method))
    handles.append(
        Line2D([], [], color=figures.BLACK, linewidth=0.9, linestyle=(0, (1, 2)), label=f"chance ({share(chance)})")
    )
    figure.legend(handles=handles, loc="outside lower center", ncols=2 if len(views) == 1 else 4, handlelength=3.2)
    return figure


def _draw_view(axes: Axes, rows: pd.DataFrame, chance: float) -> None:
    places = {temperature: place for place, temperature in enumerate(TEMPERATURES)}
    for line in rows[rows["method"] == SUPERVISED].to_dict("records"):
        colour = figures.style_of(SUPERVISED).colour
        axes.axhspan(100 * line["test_uar_low"], 100 * line["test_uar_high"], color=colour, alpha=0.12, linewidth=0)
        axes.axhline(100 * line["test_uar"], color=colour, linewidth=1.6, zorder=2)
    for method, aside in ((TUNED, -0.06), (FROZEN, 0.06)):  # side by side, so that neither hides the other's interval
        mine, look = rows[rows["method"] == method], figures.style_of(method)
        uar, low, high = (100 * mine[f"test_uar{end}"].to_numpy(dtype=float) for end in ("", "_low", "_high"))
        x = mine["temperature"].map(places).to_numpy(dtype=float) + aside
        axes.errorbar(
            x,
            uar,
            yerr=np.stack([uar - low, high - uar]),
            color=look.colour,
            marker=look.marker,
            linestyle=look.dashes,
            markersize=7,
            elinewidth=1.1,
            capsize=3.5,
            zorder=3,
        )
        hollow = ~figures.has_spread(low, high)
        edge: Any = {"linestyle": "none", "markerfacecolor": "white", "markeredgewidth": 1.4, "zorder": 4}
        axes.plot(x[hollow], uar[hollow], color=look.colour, marker=look.marker, markersize=7, **edge)
    axes.axhline(100 * chance, color=figures.BLACK, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    axes.set_xticks(list(places.values()), [f"{temperature:g}" for temperature in places])
    axes.set_xlim(-0.4, len(places) - 0.6)
    axes.grid(axis="x", visible=False)
    axes.set_xlabel("temperature τ of pre-training")
