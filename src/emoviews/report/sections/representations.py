"""What the embeddings know: maps of unseen speakers, what embeddings lie together by, linear probes, retrieval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
from emoviews.jobs import PretrainingData
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
"""As the experiment's table names the one probe whose score is no share."""
_REST: Final = "#6E6E6E", "x"
"""Colour and marker of recordings without one of the labels."""


def section(run: Run, experiment: Experiment, made: Made) -> tuple[Section, list[Block]]:
    """Of the experiment `representations`."""
    probes, groups, retrieval, maps = (made.get(name, pd.DataFrame()) for name in (PROBES, GROUPS, RETRIEVAL, MAPS))
    intro = (
        "Three encoders of each view are looked into: as initialised (random), pre-trained without labels, and trained with "
        "all labels of the training part (supervised). What is shown is what they make of recordings of the test group, whose "
        "speakers none of them has met."
    )
    blocks: list[Block] = [Text((intro,))]
    if not maps.empty:
        blocks += _map_blocks(run, experiment, maps)
    if not groups.empty:
        blocks += _group_blocks(groups)
    compared = _compared(probes, retrieval)
    if not compared.empty:
        blocks += [Heading("What can be read off them"), *_probe_blocks(run, probes, retrieval, compared)]
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
        rest = _rest_of_emotions(run)
        on_page = Panel(name, maps_figure(parts, run.labels, rest, upright=True), alt)
        blocks.append(Picture(caption, (on_page,), Panel(name, maps_figure(parts, run.labels, rest), ""), stacked=True))
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


def _rest_of_emotions(run: Run) -> str:
    """What recordings without one of the run's labels are, as far as is known.

    The database holds the label after the label map: empty both where nobody gave one and where another emotion was dropped.
    How many there are of each kind is noted for every fold's training and validation parts.
    """
    every = run.description.get("pretraining_sizes", {}).values()
    counts = {data: sum(sum(of_fold.get(data, (0, 0))) for of_fold in every) for data in _OTHERS}
    if len(every) < 2:  # then nobody counted those of the test group
        return "another emotion or no label"
    dropped, together = (counts[data] for data in _OTHERS)
    return "another emotion" if dropped == together > 0 else "another emotion or no label" if dropped else "no label"


_OTHERS: Final[tuple[PretrainingData, ...]] = ("out_of_distribution", "out_of_distribution+undecided")


def _map_told(row: dict[Any, Any]) -> str:
    numbers = [
        f"purity by {label} {percent(row[f'purity_{label}'])} %" for label in LABELS if pd.notna(row[f"purity_{label}"])
    ]
    return f"{_encoder(row['encoder'])}: {listed(numbers)}" if numbers else _encoder(row["encoder"])


@figures.styled
def maps_figure(parts: dict[str, pd.DataFrame], labels: Sequence[str], rest: str, upright: bool = False) -> Figure:
    """Maps of one view's encoders, coloured by emotion and again by speaker.

    Args:
        parts: encoder → `x, y, emotion, speaker`, in the order of the panels.
        labels: the emotions, in the order of their colours.
        rest: what recordings with none of them are.
        upright: encoders one below the other (for a page), not side by side (for print).
    """
    speakers = sorted({name for part in parts.values() for name in part["speaker"]} - {""})
    named = {"emotion": list(labels), "speaker": speakers}
    rests = {"emotion": rest, "speaker": "speaker not known"}
    legends = {
        label: _legend(names, rests[label] if any((part[label] == "").any() for part in parts.values()) else "")
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
    colour, marker = _REST
    axes.plot(rest["x"], rest["y"], color=colour, marker=marker, markersize=3.6, **{**look, "markeredgewidth": 0.9})
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


def _legend(names: Sequence[str], rest: str) -> list[Line2D]:
    """Handles of the labels, where they are not too many, and of the recordings with none of them; empty: there are none."""
    marks = [(*_mark(number), 0.0, name) for number, name in enumerate(names)] if len(names) <= _MOST_NAMED else []
    marks += [(*_REST, 1.2, rest)] if rest else []
    return [
        Line2D([], [], color=colour, marker=marker, linestyle="none", markersize=5.5, markeredgewidth=edge, label=name)
        for colour, marker, edge, name in marks
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


def _probe_blocks(run: Run, probes: pd.DataFrame, retrieval: pd.DataFrame, compared: pd.DataFrame) -> list[Block]:
    intro = (
        "A linear probe is a simple model that tries to read one property off an encoder's output: it shows what the encoder "
        f"keeps. Those for emotion, sentence and duration are trained on training recordings and tested on the test group. The "
        f"probe for speakers tells the speakers of the validation and of the test group{_how_many_speakers(run)} from each "
        "other: it is trained on one half of their sentences and tested on the other half, both ways. None of the encoders was "
        f"trained on them, {_selected_on(run)}. Retrieval asks what the contrastive loss asks for: is the nearest projection "
        "in another view that of the same recording?"
    )
    told = [
        f"{row['what']}, {row['where']}: "
        + ", ".join(f"{NAMES[kind]} {_unit(row['what'])(row[kind])}" for kind in KINDS if pd.notna(row[kind]))
        for row in compared.to_dict("records")
    ]
    alt = f"Dot chart of probes and retrieval by encoder. {'; '.join(told)}."
    folds = int(max([*probes.get("folds", []), *retrieval.get("folds", [])]))
    caption = (
        f"What the encoders' outputs tell of unseen speakers' recordings; mean over {folds} fold{'s' * (folds > 1)}. Short "
        "lines: chance. R² of duration, on a scale of its own: the part of the variance of log duration that is predicted; "
        "below 0 it is worse than always answering the mean, and far below it is drawn at the edge with its value. The "
        "supervised encoder has no projection to retrieve by."
    )
    blocks: list[Block] = [Text((intro,)), Picture(caption, (Panel("representations", probe_dots(compared), alt),))]
    for name, rows, what, show in (
        ("probes", probes[probes["probe"] != _DURATION] if not probes.empty else probes, "in per cent", percent),
        ("probes-duration", probes[probes["probe"] == _DURATION] if not probes.empty else probes, "as R²", decimals),
    ):
        if not rows.empty:
            unit = " %" if show is percent else ""
            columns = {
                "probe": Column("Probe", _probe_name),
                "view": Column("View"),
                "encoder": Column("Encoder", _encoder),
                "mean": Column(f"Mean{unit}", show, True),
                "lowest fold": Column("Lowest fold", show, True),
                "highest fold": Column("Highest fold", show, True),
                "chance": Column("Chance", show, True),
                "folds": Column("Folds", count, True),
            }
            of_speakers = " Speakers: those of the validation and of the test group." if show is percent else ""
            caption = f"Linear probes on unseen speakers, {what}.{of_speakers}"
            blocks.append(Table.of(name, caption, rows, columns))
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


def _probe_name(name: str) -> str:
    return name.replace("R2", "R²")


def _unit(what: str) -> Callable[[float], str]:
    """How a score is shown: R² as it is, all else in per cent."""
    return decimals if what == _probe_name(_DURATION) else percent


def _how_many_speakers(run: Run) -> str:
    """In parentheses; empty where the run does not say which group validates a fold."""
    if len(run.folds) < 3:
        return ""
    # Each fold is validated by the next one's test group, cyclically (`splits.leave_one_group_out`).
    of_fold = run.folds["speakers"].to_numpy(dtype=int)
    both = of_fold + np.roll(of_fold, -1)
    return f" ({both.min()} in each fold)" if both.min() == both.max() else f" ({both.min()} to {both.max()}, by fold)"


def _selected_on(run: Run) -> str:
    """What the validation speakers were used for after all."""
    rows = run.rows[(run.rows["experiment"] == "representations") & (run.rows["kind"] == "finetuning")]
    supervised = (
        ", and the supervised one by its UAR on their labels" if set(rows["validation"].dropna()) == {"full"} else ""
    )
    return f"but the epoch of the pre-trained one was chosen by its loss on the validation speakers{supervised}"


def _compared(probes: pd.DataFrame, retrieval: pd.DataFrame) -> pd.DataFrame:
    """`what, where, chance` and one column an encoder (NaN where it was not measured) of all probes and retrievals."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in probes.to_dict("records"):
        names = {"what": _probe_name(row["probe"]), "where": row["view"]}
        entry = found.setdefault((row["probe"], row["view"]), names)
        entry |= {row["encoder"]: row["mean"], "chance": row["chance"]}
    rows = list(found.values())
    for row in retrieval.to_dict("records"):
        ends = {"random": row["random"], "pretrained": row["pre-trained"], "chance": row["chance"]}
        rows.append({"what": "retrieval (top 1)", "where": row["pair"], **ends})
    return pd.DataFrame(rows, columns=["what", "where", *KINDS, "chance"])


@figures.styled
def probe_dots(rows: pd.DataFrame) -> Figure:
    """What embeddings know, one row a probe and view (or pair of views), one marker an encoder; R² in a panel of its own.

    Args:
        rows: `what, where, random, pretrained, supervised, chance`, fractions, in the order to be shown; NaN is left out.
            An R² far below 0 is drawn at the edge with its number.
    """
    is_r2 = rows["what"] == _probe_name(_DURATION)
    parts = [part for part in (rows[~is_r2], rows[is_r2]) if not part.empty]
    figure = Figure(figsize=(5.8, 1.0 + 0.5 * len(rows) + 0.6 * len(parts)), layout="constrained")
    ratios = [len(part) for part in parts]
    for axes, part in zip(
        figure.subplots(len(parts), 1, height_ratios=ratios, squeeze=False)[:, 0], parts, strict=True
    ):
        if part["what"].iloc[0] == _probe_name(_DURATION):
            lowest = float(np.nanmin(part[[*KINDS, "chance"]].to_numpy(dtype=float)))
            _draw_probes(axes, part, max(min(0.0, lowest), -0.3) - 0.04, 1.01)
            axes.set_xlabel("R² (share of the variance of log duration)")
        else:
            in_percent = part.assign(**{name: 100 * part[name] for name in (*KINDS, "chance")})
            _draw_probes(axes, in_percent, -3.0, 103.0)
            axes.set_xlabel("score in % (UAR, accuracy, share found)")
    handles = [Line2D([], [], color=figures.BLACK, marker="|", markersize=13, linestyle="none", label="chance")]
    for kind in (kind for kind in KINDS if rows[kind].notna().any()):
        handles.append(Line2D([], [], linestyle="none", label=f"{NAMES[kind]} encoder", **_encoder_mark(kind)))
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


_BESIDE: Final = {kind: 0.26 * (place - 1) for place, kind in enumerate(KINDS)}
"""How far an encoder's marker stands above or below its row, so that equal scores hide none."""


def _encoder_mark(kind: str) -> dict[str, Any]:
    look = LOOKS[kind]
    fill = "white" if kind == "random" else look.colour
    return {"color": look.colour, "marker": look.marker, "markerfacecolor": fill, "markersize": 7}


def _draw_probes(axes: Axes, rows: pd.DataFrame, low: float, high: float) -> None:
    """Dots on a scale from `low` to `high`; what lies below is drawn at the edge with its number."""
    y = np.arange(len(rows), dtype=float)
    axes.hlines(y[1:] - 0.5, low, high, color="#E4E4E4", linewidth=0.8, zorder=1)
    axes.vlines(rows["chance"], y - 0.4, y + 0.4, color=figures.BLACK, linewidth=1.2, zorder=2)
    for kind in KINDS:
        scores = rows[kind].to_numpy(dtype=float)
        inside = np.clip(scores, low, high)
        axes.plot(inside, y + _BESIDE[kind], linestyle="none", clip_on=False, zorder=3, **_encoder_mark(kind))
        for place, score in zip(y, scores, strict=True):
            if score < low:
                where: Any = {"xytext": (8, 0), "textcoords": "offset points", "va": "center", "fontsize": 8}
                beside = (low, place + _BESIDE[kind])
                axes.annotate(f"◂ {decimals(score)}", beside, color=LOOKS[kind].colour, **where)
    names = [f"{what}\n{where}" for what, where in zip(rows["what"], rows["where"], strict=True)]
    axes.set_yticks(y, names, fontsize=9)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(low, high)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0, pad=9)  # room for markers at the edge


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
