"""How alike the views become: PWCCA of unseen speakers' embeddings, each score beside what unrelated embeddings score."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from emoviews.alignment import OUTLYING
from emoviews.experiments import Experiment
from emoviews.experiments.alignment import BY_FOLD, KINDS, OF_FEW, SCORES
from emoviews.report import figures
from emoviews.report.blocks import Block, Heading, Made, Panel, Picture, Section, Text
from emoviews.report.run import Run
from emoviews.report.sections.representations import LOOKS, NAMES, decimals
from emoviews.report.tables import Cell, Column, Table, count, listed, percent, span

_PAPER_SIDE: Final = (
    "The paper does not say whose weights its scores have, on which recordings they were computed, or whether the embeddings "
    "were reduced; so its numbers are to be compared in their order rather than their height."
)


def section(run: Run, experiment: Experiment, made: Made) -> tuple[Section, list[Block]]:
    """Of the experiment `alignment`."""
    scores, by_fold = made[SCORES], made[BY_FOLD]
    intro = (
        "Projection-weighted canonical correlation (PWCCA) says how much of one view's embeddings can be had from another "
        "view's by a linear map: 1 is all, and 0 would be nothing. But 0 is never reached: with few recordings some directions "
        "correlate by chance. So beside each score stands its null, the score of the same embeddings when one view's "
        "recordings are shuffled; only what lies above it is likeness."
    )
    weights = (
        "A pair is written first ~ second, and the weights are the first view's: its directions count by how much of the first "
        "view's embeddings they account for. The scores by the other side's weights are in the table of details. Each view "
        "was first reduced to the principal components that hold 99 % of its variance."
    )
    blocks: list[Block] = [Text((intro, weights))]
    scored = scores[scores["pwcca"].notna()]
    if not scored.empty:
        blocks += [_picture(scored), _matrix(scores)]
        if "paper" in scores.columns:
            blocks.append(Text((_PAPER_SIDE,)))
        blocks.append(_details(scored))
    blocks += _without(by_fold, scored)
    if not (few := made.get(OF_FEW, pd.DataFrame())).empty:
        blocks.append(_of_few(few))
    every = "PWCCA of every fold, pair and encoder, with its null, its standard error and what was left out."
    blocks.append(Table.plain("alignment-by-fold", every, by_fold, on_page=False))
    return Section(experiment.title, tuple(blocks)), _verdict(scored)


def _pair(row: Any) -> str:
    return f"{row['first']} ~ {row['second']}"


def _matrix(scores: pd.DataFrame) -> Table:
    """As the paper's table 3: encoders by pairs, the null as a second line, the paper's rows below ours."""
    rows = scores.to_dict("records")
    found = {(_pair(row), row["encoder"]): row for row in rows}
    pairs = list(dict.fromkeys(_pair(row) for row in rows))
    kinds = [kind for kind in KINDS if any(row["encoder"] == kind for row in rows)]
    shown = []
    for kind in kinds:
        cells = [Cell(NAMES[kind])]
        for pair in pairs:
            row = found.get((pair, kind))
            no_score = row is None or np.isnan(row["pwcca"])
            text = "–" if row is None or no_score else f"{_three(row['pwcca'])}\nnull {_three(row['null_mean'])}"
            cells.append(Cell(text, True))
        shown.append(tuple(cells))
    if "paper" in scores.columns:
        for kind in kinds:
            values = [found[pair, kind]["paper"] if (pair, kind) in found else np.nan for pair in pairs]
            shown.append((Cell(f"Paper: {NAMES[kind]}"), *(Cell(_three(value), True) for value in values)))
    headings = (Cell("Encoders"), *(Cell(pair, True) for pair in pairs))
    caption = f"PWCCA between views, {_over(scores)}; below each score its null (mean of 20 permutations)."
    return Table("alignment", caption, scores, headings, tuple(shown))


def _details(scores: pd.DataFrame) -> Table:
    rows = scores.to_dict("records")
    shown = scores.assign(
        pair=[f"{row['first']}\n~ {row['second']}" for row in rows],
        folds_span=[span(row["lowest_fold"], row["highest_fold"], _three) for row in rows],
        components=[f"{count(row['components_first'])} and {count(row['components_second'])}" for row in rows],
    )
    columns = {
        "pair": Column("Views"),
        "encoder": Column("Encoders", lambda kind: NAMES[kind]),
        "pwcca": Column("PWCCA", _three, True),
        "folds_span": Column("Folds", str, True),
        "error": Column("Error", _three, True),
        "null_mean": Column("Null", _three, True),
        "pwcca_second": Column("2nd side", _three, True),
        "pwcca_mean": Column("Both", _three, True),
        "components": Column("Components", str, True),
        "left_out": Column("Left out", count, True),
        "pwcca_all": Column("With them", _three, True),
    }
    caption = (
        f"The same in detail, {_over(scores)}. Error: standard error over recordings, from 20 draws of half of them without "
        "replacement (of more where half would be too few); recordings of one speaker are not independent, so for new "
        "speakers it is larger. 2nd side: by the second view's weights. Both: mean of the two. Components: kept of the first "
        "and the second view. Left out: recordings, of all folds, whose embedding in either view lies more than "
        f"{OUTLYING:g} times as far from the median as 90 % of them; one of them can hold nearly all variance and decide the "
        "score alone, as the last column, the score with them, shows. The CSV file has every fold."
    )
    return Table.of("alignment-details", caption, shown, columns)


def _over(scores: pd.DataFrame) -> str:
    fewest, most = int(scores["folds"].min()), int(scores["folds"].max())
    folds = f"{most} fold{'s' * (most != 1)}" if fewest == most else f"{fewest} to {most} folds"
    return f"mean over {folds}, each on its test group's unseen speakers"


_TOO_FEW: Final = re.compile(r"needs (\d+) utterances, (\d+) for each of (\d+) principal components; there are (\d+)")
"""What a refusal for want of recordings says (`emoviews.alignment.pwcca`)."""


def _without(by_fold: pd.DataFrame, scored: pd.DataFrame) -> list[Block]:
    """The folds that have no score, and why: in one sentence where recordings were too few, else in a table."""
    missing = by_fold[by_fold["pwcca"].isna()]
    if missing.empty:
        return []
    others = "." if scored.empty else "; the means above are over the other folds."
    told = [f"{len(missing)} of {len(by_fold)} comparisons have no score{others}"]
    few = missing["error"].map(_TOO_FEW.search)
    if found := [[int(number) for number in match.groups()] for match in few.dropna()]:
        needed, each, components, there = (_from_to(numbers) for numbers in zip(*found, strict=True))
        where = "all" if len(found) == len(missing) else len(found)
        told.append(
            f"In {where} of them recordings were too few: {each} are needed for each principal component, of which there are "
            f"{components}, so {needed} recordings; the test groups have {there}. With fewer, unrelated views would score high "
            "as well. Test on larger groups (fewer folds)."
        )
    frame = missing.assign(
        pair=[_pair(row) for row in missing.to_dict("records")], encoder=missing["encoder"].map(NAMES)
    )
    frame = frame[["fold", "pair", "encoder", "error"]]
    columns = {
        "fold": Column("Fold"),
        "pair": Column("Views"),
        "encoder": Column("Encoders"),
        "error": Column("Why"),
    }
    blocks: list[Block] = [Heading("Folds without a score"), Text((" ".join(told),))]
    other = frame[few.isna()].sort_values(["fold", "pair"], kind="stable", ignore_index=True)
    if not other.empty:
        blocks.append(Table.of("alignment-without-score", "Comparisons without a score, and why.", other, columns))
    return blocks


def _of_few(few: pd.DataFrame) -> Table:
    """What the recordings that there are suffice for."""
    rows = few.to_dict("records")
    shown = few.assign(
        pair=[_pair(row) for row in rows],
        held=[f"{percent(row['few_held_first'], 0)} and {percent(row['few_held_second'], 0)}" for row in rows],
    )
    columns = {
        "pair": Column("Views"),
        "encoder": Column("Encoders", lambda kind: NAMES[kind]),
        "few_pwcca": Column("PWCCA", _three, True),
        "few_null_mean": Column("Null", _three, True),
        "few_null_max": Column("Largest null", _three, True),
        "few_components": Column("Components", count, True),
        "held": Column("Variance held, %", str, True),
        "n": Column("Recordings", count, True),
        "folds": Column("Folds", count, True),
    }
    caption = (
        "Where recordings are too few for the components of 99 % of the variance: PWCCA of the strongest components alone, as "
        "many as there are 5 recordings for; means over folds, of the null the largest too. It says how alike the views' main "
        "directions are, and is to be compared with its null, not with a score of all components. Variance held: by these "
        "components, of the first and of the second view."
    )
    return Table.of("alignment-of-few", caption, few, columns, shown=shown)


def _from_to(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def _picture(scores: pd.DataFrame) -> Picture:
    told = [
        f"{_pair(row)}, {NAMES[row['encoder']]}: {_three(row['pwcca'])} (null {_three(row['null_mean'])})"
        for row in scores.to_dict("records")
    ]
    caption = (
        f"PWCCA between views, {_over(scores)}. Line: lowest to highest fold. Grey: the null, from its mean to the largest of "
        "all permutations and folds; a score within it is no likeness."
    )
    alt = f"Dot chart of PWCCA by pair of views and encoders. {'; '.join(told)}."
    return Picture(caption, (Panel("alignment", alignment_dots(scores), alt),))


@figures.styled
def alignment_dots(scores: pd.DataFrame) -> Figure:
    """PWCCA, one row a pair of views and encoders, with its folds' range and its null, from 0 to 1.

    Args:
        scores: `first, second, encoder, pwcca, lowest_fold, highest_fold, null_mean, null_max`.
    """
    groups: Any = scores.groupby(["first", "second"], sort=False)
    figure = Figure(figsize=(5.8, 1.2 + 0.3 * len(scores) + 0.35 * len(groups)), layout="constrained")
    axes = figure.subplots()
    place, names = 0.0, {}
    for pair, rows in groups:
        names[place + (len(rows) - 1) / 2] = "\n~ ".join(pair)
        for row in rows.to_dict("records"):
            look = LOOKS[row["encoder"]]
            null: Any = {"linewidth": 7, "color": "#BDBDBD", "zorder": 1, "solid_capstyle": "butt"}
            axes.plot([row["null_mean"], row["null_max"]], [place, place], **null)
            axes.plot(row["null_mean"], place, color=figures.GREY, marker="|", markersize=11, markeredgewidth=1.6)
            axes.plot(
                [row["lowest_fold"], row["highest_fold"]], [place, place], color=look.colour, linewidth=1.4, zorder=3
            )
            fill = "white" if row["encoder"] == "random" else look.colour
            axes.plot(
                row["pwcca"],
                place,
                color=look.colour,
                marker=look.marker,
                markerfacecolor=fill,
                markersize=7.5,
                zorder=4,
            )
            place += 1
        place += 0.8
    axes.set_yticks(list(names), list(names.values()))
    axes.set_ylim(place - 0.9, -0.7)
    axes.set_xlim(0, 1.01)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("PWCCA")
    for kind in (kind for kind in KINDS if kind in set(scores["encoder"])):
        look, fill = LOOKS[kind], "white" if kind == "random" else LOOKS[kind].colour
        marker: Any = {"marker": look.marker, "markerfacecolor": fill, "markersize": 7.5}
        axes.plot([], [], color=look.colour, label=f"{NAMES[kind]} encoders", **marker)
    axes.plot([], [], color="#BDBDBD", linewidth=7, label="null (shuffled)")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _verdict(scores: pd.DataFrame) -> list[Block]:
    """Whether pre-training made the views more alike, in words."""
    wide = scores.assign(pair=[_pair(row) for row in scores.to_dict("records")]).pivot(
        index="pair", columns="encoder", values=["pwcca", "null_mean"]
    )
    if wide.empty or ("pwcca", "pretrained") not in wide.columns:
        return []
    told = []
    for pair, row in wide.iterrows():
        others = [
            f"{NAMES[kind]} {decimals(row['pwcca', kind])} (null {decimals(row['null_mean', kind])})"
            for kind in KINDS
            if ("pwcca", kind) in wide.columns and not np.isnan(row["pwcca", kind])
        ]
        told.append(Markup("<strong>{}</strong>: {}.").format(str(pair), listed(others)))
    intro = "How alike two views' embeddings of unseen speakers are (PWCCA, from 0 to 1; null: what chance gives):"
    return [Text((intro,)), Text(tuple(told), is_list=True)]


def _three(value: float) -> str:
    """PWCCA as the paper gives it.

    >>> _three(0.65249), _three(float("nan"))
    ('0.652', '–')
    """
    return "–" if np.isnan(value) else f"{value:.3f}"
