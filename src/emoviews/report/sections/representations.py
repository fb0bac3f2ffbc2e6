"""What the embeddings know: maps of unseen speakers, what embeddings lie together by, linear probes, retrieval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from emoviews.experiments import Experiment
from emoviews.experiments.representations import GROUPS, KINDS, LABELS, MAPS, PROBES, RETRIEVAL, map_points
from emoviews.experiments.sparse import METHODS
from emoviews.report import figures
from emoviews.report.blocks import Block, Heading, Made, Panel, Picture, Section, Text
from emoviews.report.run import Run
from emoviews.report.tables import PRETRAINED, SUPERVISED, Column, Table, count, listed, percent, slug, span

NAMES: Final = {"random": "random", "pretrained": "pre-trained", "supervised": "supervised"}
"""The encoders in words."""

LOOKS: Final = {
    "random": figures.style_of(METHODS["finetuning", "random", True]),
    "pretrained": figures.style_of(PRETRAINED),
    "supervised": figures.style_of(SUPERVISED),
}
"""As the classifiers that use them look elsewhere in the report."""
_COLOURS: Final = (
    *(figures.VERMILION, figures.BLUE, figures.GREEN, figures.ORANGE),
    *(figures.SKY, figures.PURPLE, figures.BLACK, figures.GREY),
)
_MARKERS: Final = "os^DvPX*"
_MOST_NAMED: Final = 16
"""Labels up to which a map's legend names them."""
_DURATION: Final = "duration (R2)"


def section(run: Run, experiment: Experiment, made: Made) -> tuple[Section, list[Block]]:
    """Of the experiment `representations`."""
    probes, groups, retrieval, maps = (made.get(name, pd.DataFrame()) for name in (PROBES, GROUPS, RETRIEVAL, MAPS))
    intro = (
        "Three encoders of each view are looked into: as initialised (random), pre-trained without labels, and trained with "
        "all labels of the training part (supervised). What is shown is what they make of recordings of speakers whom none "
        "of them has met."
    )
    blocks: list[Block] = [Text((intro,))]
    if not maps.empty:
        blocks += _map_blocks(run, experiment, maps)
    if not groups.empty:
        blocks += _group_blocks(groups)
    compared = _compared(probes, retrieval)
    if not compared.empty:
        blocks += [Heading("What can be read off them"), *_probe_blocks(probes, retrieval, compared)]
    return Section(experiment.title, tuple(blocks)), _knowledge(compared)


# Maps ----------------------------------------------------------------------------------------------------------------------


def _map_blocks(run: Run, experiment: Experiment, maps: pd.DataFrame) -> list[Block]:
    points = map_points(run.results, experiment.name)
    fold = str(maps["fold"].iloc[0])
    blocks: list[Block] = [Heading(f"Maps of the speakers of fold {fold}")]
    explained = (
        "A map (t-SNE) puts recordings whose embeddings are alike next to each other. Only nearness can be read off it: the "
        "axes have no unit, and distances between groups, their sizes and their densities mean nothing. Look for whether "
        "neighbours share an emotion, or a speaker; the table below the maps counts that in the embeddings themselves."
    )
    blocks.append(Text((explained,)))
    for view, rows in maps.groupby("view", sort=False):
        mine = rows.assign(place=rows["encoder"].map(KINDS.index)).sort_values("place")
        parts = {
            str(kind): points[points["job_id"] == job]
            for kind, job in zip(mine["encoder"], mine["job_id"], strict=True)
        }
        told = "; ".join(_map_told(row) for row in mine.to_dict("records"))
        n, of = int(mine["n"].max()), int(mine["map_of"].max())
        how_many = f"all {n} test recordings" if n == of else f"{n} of the {of} test recordings, drawn at random,"
        caption = (
            f"{view}: {how_many} of fold {fold}, by t-SNE of the z-scored embeddings (perplexity "
            f"{mine['map_perplexity'].iloc[0]:.3g}); every point is one recording. "
            "Coloured by emotion (left) and again by speaker (right)."
        )
        if points["speaker"].nunique() > _MOST_NAMED:
            caption += " The speakers are too many to be named."
        alt = f"Scatter plots (t-SNE) of {view}, one row an encoder, coloured by emotion and by speaker. {told}."
        name = f"map-{slug(str(view))}"
        on_page = Panel(name, maps_figure(parts, run.labels, upright=True), alt)
        blocks.append(Picture(caption, (on_page,), Panel(name, maps_figure(parts, run.labels), ""), stacked=True))
    columns = {
        "view": Column("View"),
        "encoder": Column("Encoder", _encoder),
        "n": Column("Points", count, True),
        **{
            f"{measure}_{label}": Column(f"{heading}, {label}", show, True)
            for label in LABELS
            for measure, heading, show in (("silhouette", "Silhouette", decimals), ("purity", "Purity %", percent))
        },
    }
    caption = (
        f"The maps in numbers, fold {fold}, from the embeddings themselves. Silhouette: from −1 to 1, at 0 the groups lie "
        "within each other. Purity: how many of a recording's 10 nearest neighbours share its label."
    )
    blocks.append(Table.of("maps", caption, maps, columns))
    return blocks


def _map_told(row: dict[Any, Any]) -> str:
    numbers = [
        f"purity by {label} {percent(row[f'purity_{label}'])} %" for label in LABELS if pd.notna(row[f"purity_{label}"])
    ]
    return f"{_encoder(row['encoder'])}: {listed(numbers)}" if numbers else _encoder(row["encoder"])


@figures.styled
def maps_figure(parts: dict[str, pd.DataFrame], labels: Sequence[str], upright: bool = False) -> Figure:
    """Maps of one view's encoders, coloured by emotion and again by speaker.

    Args:
        parts: encoder → `x, y, emotion, speaker`, in the order of the panels.
        labels: the emotions, in the order of their colours.
        upright: encoders one below the other (for a page), not side by side (for print).
    """
    speakers = sorted({name for part in parts.values() for name in part["speaker"]} - {""})
    named = {"emotion": list(labels), "speaker": speakers}
    legends = {
        label: _legend(names, any((part[label] == "").any() for part in parts.values()))
        for label, names in named.items()
    }
    per_row = 2 if upright else 7
    rows_of_names = sum if not upright else max  # one below the other in print, side by side on a page
    room = 0.3 + 0.2 * rows_of_names(math.ceil(len(handles) / per_row) for handles in legends.values())
    across, down = (2, len(parts)) if upright else (len(parts), 2)
    figure = Figure(figsize=(3.0 * across, 2.7 * down + room), layout="constrained", dpi=220)
    halves: Any = [figure] * 2 if upright else figure.subfigures(2, 1)
    grid: Any = figure.subplots(down, 2, squeeze=False).T if upright else [half.subplots(1, across) for half in halves]
    for half, panels, label in zip(halves, grid, LABELS, strict=True):
        for axes, (kind, part) in zip(np.atleast_1d(panels), parts.items(), strict=True):
            _draw_map(axes, part, label, named[label])
            axes.set_title(f"{NAMES[kind]}, by {label}", fontsize=10)
        look: Any = {"handles": legends[label], "ncols": per_row, "handletextpad": 0.2, "fontsize": 9}
        if upright:
            panels[-1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), **look)
        else:
            half.legend(loc="outside lower center", **look)
    return figure


def _draw_map(axes: Axes, part: pd.DataFrame, label: str, names: Sequence[str]) -> None:
    look: Any = {"linestyle": "none", "markeredgewidth": 0, "alpha": 0.75, "rasterized": True}
    rest = part[~part[label].isin(names)]
    axes.plot(rest["x"], rest["y"], color="#BBBBBB", marker=".", markersize=3, **look)
    for name in names:
        mine, (colour, marker) = part[part[label] == name], _mark(names.index(name))
        axes.plot(mine["x"], mine["y"], color=colour, marker=marker, markersize=3.4, **look)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color("#C8C8C8")


def _mark(number: int) -> tuple[str, str]:
    """Colour and marker of the label with this number: 64 different pairs, the first 8 differing in both."""
    return _COLOURS[number % 8], _MARKERS[(number + number // 8) % 8]


def _legend(names: Sequence[str], is_partial: bool) -> list[Line2D]:
    marks = [(*_mark(number), name) for number, name in enumerate(names)] if len(names) <= _MOST_NAMED else []
    marks += [("#BBBBBB", ".", "not known")] * is_partial
    return [
        Line2D([], [], color=colour, marker=marker, linestyle="none", markersize=5.5, markeredgewidth=0, label=name)
        for colour, marker, name in marks
    ]


# Silhouette and purity -----------------------------------------------------------------------------------------------------


def _group_blocks(groups: pd.DataFrame) -> list[Block]:
    shown = groups.assign(
        silhouette_folds=[
            span(a, b, decimals) for a, b in zip(groups["silhouette_low"], groups["silhouette_high"], strict=True)
        ],
        purity_folds=[span(a, b) for a, b in zip(groups["purity_low"], groups["purity_high"], strict=True)],
    )
    columns = {
        "view": Column("View"),
        "label": Column("Groups by"),
        "encoder": Column("Encoder", _encoder),
        "silhouette": Column("Silhouette", decimals, True),
        "silhouette_folds": Column("Folds, from to", str, True),
        "purity": Column("Purity %", percent, True),
        "purity_folds": Column("Folds, from to", str, True),
        "chance": Column("Chance %", percent, True),
        "folds": Column("Folds", count, True),
    }
    caption = (
        "What unseen speakers' embeddings lie together by, mean over folds. Silhouette: how much nearer a recording is to "
        "those of its own emotion (or speaker) than to those of the nearest other, from −1 to 1; at 0 the groups lie within "
        "each other. Purity: how many of a recording's 10 nearest neighbours share its label; chance: how many would if they "
        "were drawn at random. Both in the z-scored embeddings of the test group, extreme ones pulled in first, not on the map."
    )
    return [Heading("What they lie together by"), Table.of("groups", caption, shown, columns)]


# Probes and retrieval ------------------------------------------------------------------------------------------------------


def _probe_blocks(probes: pd.DataFrame, retrieval: pd.DataFrame, compared: pd.DataFrame) -> list[Block]:
    intro = (
        "A linear probe is a simple model that tries to read one property off an encoder's output: it shows what the encoder "
        "keeps. It is trained on training recordings and tested on unseen speakers; the probe for speakers on one half of the "
        "unseen speakers' sentences, tested on the other half. Retrieval asks what the contrastive loss asks for: is the "
        "nearest projection in another view that of the same recording?"
    )
    told = [
        f"{row['what']}, {row['where']}: "
        + ", ".join(f"{NAMES[kind]} {decimals(row[kind])}" for kind in KINDS if pd.notna(row[kind]))
        for row in compared.to_dict("records")
    ]
    alt = f"Dot chart of probes and retrieval by encoder. {'; '.join(told)}."
    folds = int(max([*probes.get("folds", []), *retrieval.get("folds", [])]))
    caption = (
        f"What the encoders' outputs tell of unseen speakers' recordings; mean over {folds} fold{'s' * (folds > 1)}, as "
        "fractions. R² of duration: share of the variance of log duration that is predicted; below 0 it is worse than always "
        "answering the mean, and drawn at the edge with its value. The supervised encoder has no projection to retrieve by."
    )
    blocks: list[Block] = [Text((intro,)), Picture(caption, (Panel("representations", probe_dots(compared), alt),))]
    for name, rows, what, show in (
        ("probes", probes[probes["probe"] != _DURATION] if not probes.empty else probes, "in per cent", percent),
        ("probes-duration", probes[probes["probe"] == _DURATION] if not probes.empty else probes, "as R²", decimals),
    ):
        if not rows.empty:
            unit = " %" if show is percent else ""
            columns = {
                "probe": Column("Probe"),
                "view": Column("View"),
                "encoder": Column("Encoder", _encoder),
                "mean": Column(f"Mean{unit}", show, True),
                "lowest fold": Column("Lowest fold", show, True),
                "highest fold": Column("Highest fold", show, True),
                "chance": Column("Chance", show, True),
                "folds": Column("Folds", count, True),
            }
            blocks.append(Table.of(name, f"Linear probes on unseen speakers, {what}.", rows, columns))
    if not retrieval.empty:
        columns = {
            "pair": Column("From view to view"),
            "random": Column("Random %", percent, True),
            "pre-trained": Column("Pre-trained %", percent, True),
            "chance": Column("Chance %", percent, True),
            "folds": Column("Folds", count, True),
        }
        caption = (
            "How often an unseen recording's nearest projection in the other view is its own (top 1), in per cent."
        )
        blocks.append(Table.of("retrieval", caption, retrieval, columns))
    return blocks


def _compared(probes: pd.DataFrame, retrieval: pd.DataFrame) -> pd.DataFrame:
    """`what, where, chance` and one column an encoder (NaN where it was not measured) of all probes and retrievals."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in probes.to_dict("records"):
        entry = found.setdefault((row["probe"], row["view"]), {"what": row["probe"], "where": row["view"]})
        entry |= {row["encoder"]: row["mean"], "chance": row["chance"]}
    rows = list(found.values())
    for row in retrieval.to_dict("records"):
        ends = {"random": row["random"], "pretrained": row["pre-trained"], "chance": row["chance"]}
        rows.append({"what": "retrieval (top 1)", "where": row["pair"], **ends})
    return pd.DataFrame(rows, columns=["what", "where", *KINDS, "chance"])


@figures.styled
def probe_dots(rows: pd.DataFrame) -> Figure:
    """What embeddings know, one row a probe and view (or pair of views), one marker an encoder, from 0 to 1.

    Args:
        rows: `what, where, random, pretrained, supervised, chance`, fractions, in the order to be shown; NaN is left out.
            Values outside the scale (an R2 can be far below 0) are drawn at its edge with their number.
    """
    values = rows[[*KINDS, "chance"]].to_numpy(dtype=float)
    low = max(float(min(0.0, np.nanmin(values))), -0.3) - 0.04
    figure = Figure(figsize=(5.8, 1.4 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    y = np.arange(len(rows))
    scores = rows[list(KINDS)].to_numpy(dtype=float)
    inside = np.clip(scores, low, 1)
    axes.hlines(y, np.nanmin(inside, axis=1), np.nanmax(inside, axis=1), color="#C8C8C8", linewidth=2, zorder=1)
    axes.plot(rows["chance"], y, color=figures.BLACK, marker="|", markersize=13, linestyle="none", label="chance")
    for column, kind in enumerate(KINDS):
        if not np.isnan(scores[:, column]).all():
            look = LOOKS[kind]
            fill = "white" if kind == "random" else look.colour
            axes.plot(
                inside[:, column],
                y,
                color=look.colour,
                marker=look.marker,
                markerfacecolor=fill,
                linestyle="none",
                markersize=7.5,
                clip_on=False,
                label=f"{NAMES[kind]} encoder",
            )
    for row, ends in enumerate(scores):
        if beyond := [decimals(value) for value in ends if value < low]:
            beside = (max(0.0, float(np.nanmax(inside[row]))), row)
            axes.annotate(f"◂ {listed(beyond)}", beside, xytext=(9, 0), textcoords="offset points", va="center")
    names = [f"{what}\n{where}" for what, where in zip(rows["what"], rows["where"], strict=True)]
    axes.set_yticks(y, names, fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(low, 1.01)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("score (UAR, accuracy or R²)")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _knowledge(compared: pd.DataFrame) -> list[Block]:
    """What pre-training changed in the encoders, in words."""
    both = compared.dropna(subset=["random", "pretrained"])
    probes = both[both["what"].str.contains("UAR|accuracy")]
    lines = []
    for view in dict.fromkeys(probes["where"]):
        told = [
            f"{row['what'].partition(' (')[0]} {percent(row['random'])} → {percent(row['pretrained'])} %"
            for row in probes[probes["where"] == view].to_dict("records")
        ]
        lines.append(Markup("<strong>{}</strong>: {}.").format(view, ", ".join(told)))
    if not lines:
        return []
    intro = "What a linear probe reads off the encoders for unseen speakers, before → after pre-training:"
    return [Text((intro,)), Text(tuple(lines), is_list=True)]


def _encoder(kind: Any) -> str:
    return NAMES.get(str(kind), str(kind))


def decimals(value: float) -> str:
    """A score with two decimals.

    >>> decimals(-0.123), decimals(float("nan"))
    ('−0.12', '–')
    """
    if np.isnan(value):
        return "–"
    shown = f"{value:.2f}"
    return "0.00" if float(shown) == 0 else shown.replace("-", "−")
