"""The report's figures, drawn from tables alone.

Colours are Okabe and Ito's ("Color Universal Design", 2008), told apart by most colour-blind people; every method also has a
marker and a line style of its own, so that a grey print still tells them apart. SVG text stays text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, ParamSpec

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from emoviews.experiments.sparse import METHODS
from emoviews.report.tables import PRETRAINED, SUPERVISED, count, named_budgets, share

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#7A7A7A"


@dataclass(frozen=True)
class Style:
    """How a method looks in every figure."""

    colour: str
    marker: str
    dashes: Any


_STYLES: Final = (
    Style(VERMILION, "o", "-"),
    Style(BLUE, "s", "-"),
    Style(SKY, "D", (0, (5, 1.5))),
    Style(GREY, "v", (0, (1, 1.2))),
    Style(GREEN, "^", (0, (4, 1.5, 1, 1.5))),
    Style(PURPLE, "P", (0, (4, 1.5, 1, 1.5, 1, 1.5))),
    Style(ORANGE, "X", (0, (2, 1))),
    Style(BLACK, "*", (0, (6, 2))),
)
BANDED: Final = (SUPERVISED, PRETRAINED)
"""The two methods whose comparison is the question; only their intervals are shaded, six bands would hide each other."""

PANEL_INCHES: Final = (5.2, 4.3)

_LOOK: Final[Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "emoviews",
    "text.parse_math": False,  # a label may hold a dollar sign
}

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw with the look that all figures share."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(_LOOK):
            return draw(*args, **kwargs)

    return drawn


def style_of(method: str) -> Style:
    """A method's look; one that is not among the paper's experiments gets one of the last two."""
    names = list(METHODS.values())
    return _STYLES[names.index(method)] if method in names else _STYLES[-1 - len(method) % 2]


def svg(figure: Figure) -> bytes:
    """The figure as a standalone SVG file. The first drawing arranges it; later ones keep that arrangement."""
    buffer = io.BytesIO()
    with mpl.rc_context(_LOOK):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        figure.set_layout_engine("none")
    return buffer.getvalue()


def png(figure: Figure) -> bytes:
    """The figure as a PNG file, 200 dots an inch."""
    buffer = io.BytesIO()
    with mpl.rc_context(_LOOK):
        figure.savefig(buffer, format="png", dpi=200, facecolor="white")
    return buffer.getvalue()


def inline_svg(file: bytes, name: str) -> str:
    """An SVG file as an element of an HTML page: without prolog and fixed size, its ids made the page's own by `name`.

    The element is hidden from screen readers; the page gives the figure's text alternative.
    """
    text = file.decode()
    head, body = text[text.index("<svg") :].split(">", 1)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'\bhref="#', f'href="#{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {spaces} {box[0]} aria-hidden="true">{body}'


RULE_TITLES: Final = {
    "full": "validation: a whole labelled group",
    "budget": "validation: out of the budget",
    "none": "no validation",
}
"""What stops a training, as a panel's title says it."""


@styled
def uar_by_labels(
    table: pd.DataFrame, views: Sequence[str], rules: Sequence[str], chance: float, titled_by_rule: bool = True
) -> Figure:
    """UAR against the number of labels (logarithmic), one column of panels a view, one row a rule, one line a method.

    Args:
        table: of the experiment `sparse`, budgets of one kind alone (shares or numbers a class): `view, validation, method,
            label_fraction, labels_per_class, n_labels, pooled_uar, low, high`; all panels share the scale that fits the whole
            table.
        views: the columns of panels to draw.
        rules: the rows.
        chance: UAR of guessing.
        titled_by_rule: whether a panel's title names the rule.
    """
    figure, panels = _grid(len(views), len(rules))
    banded = table[table["method"].isin(BANDED)]
    limits = _uar_limits(table["pooled_uar"], banded[["low", "high"]], chance)
    handles: dict[str, Line2D] = {}
    for axes, (rule, view) in zip(panels.flat, [(rule, view) for rule in rules for view in views], strict=True):
        rows = table[(table["view"] == view) & (table["validation"] == rule)]
        for method, line in rows.groupby("method", sort=False):
            important = method in BANDED
            handle = _budget_line(axes, line, str(method), is_banded=important, linewidth=2.0 if important else 1.2)
            handles[str(method)] = handle
        guess = _dress_budget_axes(axes, rows, limits, chance)
        axes.set_title(f"{view}\n{RULE_TITLES[rule]}" if titled_by_rule else view)
    for axes in panels[:, 0]:
        axes.set_ylabel("UAR in % (mean of per-class recalls)")
    order = [name for name in METHODS.values() if name in handles] + [n for n in handles if n not in METHODS.values()]
    figure.legend(
        [*(handles[name] for name in order), guess],
        [*order, f"chance ({share(chance)})"],
        loc="outside lower center",
        ncols=2 if len(views) == 1 else 4,
        handlelength=3.2,
    )
    return figure


@styled
def uar_by_rule(table: pd.DataFrame, views: Sequence[str], chance: float) -> Figure:
    """UAR of the two methods that are to be compared under every rule of validation, one panel a view.

    Args:
        table: as for `uar_by_labels`.
        views: the panels.
        chance: UAR of guessing.
    """
    figure, panels = _grid(len(views), 1)
    rows = table[table["method"].isin(BANDED)]
    limits = _uar_limits(rows["pooled_uar"], rows[["low", "high"]], chance)
    rules = list(dict.fromkeys(rows["validation"]))
    handles: dict[str, Line2D] = {}
    for axes, view in zip(panels[0], views, strict=True):
        mine = rows[rows["view"] == view]
        for (method, rule), line in mine.groupby(["method", "validation"], sort=False):
            look: dict[str, Any] = {}
            if rule != rules[0]:
                look = {"linestyle": (0, (2.5, 1.5)), "markerfacecolor": "white", "markeredgecolor": None}
            name = f"{method}; {RULE_TITLES[str(rule)]}"
            handles[name] = _budget_line(axes, line, str(method), is_banded=rule == rules[0], linewidth=1.8, **look)
        guess = _dress_budget_axes(axes, mine, limits, chance)
        axes.set_title(view)
    panels[0, 0].set_ylabel("UAR in % (mean of per-class recalls)")
    names = [*handles, f"chance ({share(chance)})"]
    handle = [*handles.values(), guess]
    figure.legend(handle, names, loc="outside lower center", ncols=min(2, len(views)), handlelength=3.2)
    return figure


def _grid(columns: int, rows: int) -> tuple[Figure, Any]:
    width, height = PANEL_INCHES
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, sharey=True, squeeze=False)


def _uar_limits(points: pd.Series[float], ends: pd.DataFrame, chance: float) -> tuple[float, float]:
    """Of an axis in per cent, a little beyond all points and ends of intervals."""
    values = np.concatenate([points.to_numpy(), ends.to_numpy().ravel(), [chance]])
    return 100 * max(0.0, float(np.nanmin(values)) - 0.03), 100 * min(1.0, float(np.nanmax(values)) + 0.03)


def _budget_line(
    axes: Axes, line: pd.DataFrame, method: str, is_banded: bool, linewidth: float, **changes: Any
) -> Line2D:
    """One method's UAR by number of labels, with its interval shaded."""
    look, line = style_of(method), line.sort_values("n_labels")
    x, y = line["n_labels"].to_numpy(), 100 * line["pooled_uar"].to_numpy()
    if is_banded:
        low, high = 100 * line["low"].to_numpy(), 100 * line["high"].to_numpy()
        if len(line) > 1:
            axes.fill_between(x, low, high, color=look.colour, alpha=0.15, linewidth=0)
        else:
            axes.vlines(x, low, high, color=look.colour, alpha=0.3, linewidth=6)
    style: dict[str, Any] = {"linestyle": look.dashes, "markeredgecolor": "white", "markeredgewidth": 0.6, **changes}
    if style["markeredgecolor"] is None:
        style |= {"markeredgecolor": look.colour, "markeredgewidth": 1.1}
    (drawn,) = axes.plot(
        x, y, color=look.colour, marker=look.marker, linewidth=linewidth, zorder=4 if method in BANDED else 3, **style
    )
    return drawn


def _dress_budget_axes(axes: Axes, rows: pd.DataFrame, limits: tuple[float, float], chance: float) -> Line2D:
    """The logarithmic axis with the budgets' names, and the line of chance, which is returned."""
    guess = axes.axhline(100 * chance, color=BLACK, linewidth=0.9, linestyle=(0, (1, 2)), zorder=2)
    axes.set_xscale("log")
    named = rows.assign(budget=named_budgets(rows)).groupby("budget")["n_labels"].mean()
    ticks = _spread_ticks(named)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(list(ticks), [f"{count(n)}\n{name}" for name, n in ticks.items()])
    axes.set_xlabel("labels in the budget (and its name)")
    axes.set_ylim(*limits)
    return guess


def _spread_ticks(labels: pd.Series[float]) -> pd.Series[float]:
    """Those of the numbers of labels, from the largest down, whose names have room on a logarithmic axis."""
    room = 0.1 * np.log(labels.max() / labels.min())
    kept: list[Any] = []
    for budget in labels.sort_values(ascending=False).index:
        if not kept or np.log(labels[kept[-1]] / labels[budget]) > room:
            kept.append(budget)
    return labels[kept]


FEWEST_OF_A_BIN: Final = 0.01
"""Share of the answers below which a bin's accuracy is noise that hides the others."""


@styled
def reliability(bins: pd.DataFrame, title: str) -> Figure:
    """How right answers are, by how sure the classifier was: on the diagonal its probabilities can be taken at their word.

    Args:
        bins: `name, budget, n, confidence, accuracy`, one line for each method and budget; the last budget is drawn filled
            and solid, others hollow and dashed. A marker's area grows with the bin's share of the answers, and bins with
            less than `FEWEST_OF_A_BIN` are left out.
        title: above the axes.
    """
    figure = Figure(figsize=(PANEL_INCHES[0], PANEL_INCHES[1] + 0.5), layout="constrained")
    axes = figure.subplots()
    handles = axes.plot([0, 100], [0, 100], color=BLACK, linewidth=0.9, linestyle=(0, (1, 2)), label="calibrated")
    budgets = list(dict.fromkeys(bins["budget"]))
    groups: Any = bins.groupby(["name", "budget"], sort=False)
    for (method, budget), rows in groups:
        share_of = rows["n"] / rows["n"].sum()
        look, rows = style_of(str(method)), rows[share_of >= FEWEST_OF_A_BIN].sort_values("confidence")
        hollow = budget != budgets[-1]
        line: Any = {"color": look.colour, "linewidth": 1.3, "linestyle": (0, (2.5, 1.5)) if hollow else "-"}
        face = "white" if hollow else look.colour
        x, y = 100 * rows["confidence"], 100 * rows["accuracy"]
        axes.plot(x, y, **line)
        area = 8 + 220 * share_of[rows.index]
        axes.scatter(x, y, area, marker=look.marker, zorder=3, facecolor=face, edgecolor=look.colour)
        label = f"{method}, {budget}"
        handles.append(Line2D([], [], label=label, marker=look.marker, markerfacecolor=face, **line))
    axes.set_xlim(0, 101)
    axes.set_ylim(0, 101)
    axes.set_title(title)
    axes.set_xlabel("probability of the answer in % (mean of a bin)")
    axes.set_ylabel("answers that are right in %")
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


@styled
def speaker_dots(scores: pd.DataFrame, speakers: Sequence[str], methods: Sequence[str], chance: float) -> Figure:
    """Each speaker's UAR with a few methods, one row a speaker.

    Args:
        scores: `name, speaker, uar` of one view and share of labels.
        speakers: the rows, from top to bottom.
        methods: which of the names.
        chance: UAR of guessing.
    """
    figure = Figure(figsize=(PANEL_INCHES[0], 1.4 + 0.26 * len(speakers)), layout="constrained")
    axes = figure.subplots()
    wide = 100 * scores.pivot(index="speaker", columns="name", values="uar").reindex(index=list(speakers))
    rows = np.arange(len(speakers))
    shown = wide.reindex(columns=list(methods))
    axes.hlines(rows, shown.min(axis=1), shown.max(axis=1), color="#C8C8C8", linewidth=2, zorder=1)
    for method in methods:
        look = style_of(method)
        axes.plot(
            shown[method], rows, color=look.colour, marker=look.marker, linestyle="none", markersize=7, label=method
        )
    axes.axvline(100 * chance, color=BLACK, linewidth=0.9, linestyle=(0, (1, 2)), zorder=2, label="chance")
    axes.set_yticks(rows, list(speakers))
    axes.set_ylim(len(speakers) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("UAR in %")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def confusion(counts: NDArray[np.int64], labels: Sequence[str], title: str) -> Figure:
    """Answers by true label, in per cent of each row, with the counts.

    Args:
        counts: `(classes, classes)`, true by predicted.
        labels: `(classes,)`.
        title: above the matrix.
    """
    n = len(labels)
    side = 2.4 + 0.62 * n
    figure = Figure(figsize=(side, side - 0.5), layout="constrained")
    axes = figure.subplots()
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    edges = np.arange(n + 1) - 0.5
    axes.pcolormesh(edges, edges, shares, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1.5)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    for i in range(n):
        for j in range(n):
            dark = shares[i, j] > 0.55
            axes.text(
                j,
                i,
                f"{100 * shares[i, j]:.0f} %\n({counts[i, j]})",
                ha="center",
                va="center",
                fontsize=9.5,
                color="white" if dark else "#222222",
            )
    turned: Any = (
        {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if max(map(len, labels)) > 6 or n > 6 else {}
    )
    axes.set_xticks(range(n), list(labels), **turned)
    axes.set_yticks(range(n), list(labels))
    axes.set_xlabel("answer")
    axes.set_ylabel("true emotion")
    axes.set_title(title)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


@styled
def pretraining_curves(curves: pd.DataFrame, best_epochs: Mapping[str, float]) -> Figure:
    """The loss by epoch: one thin line a pre-training, the kept epoch marked.

    Args:
        curves: `job_id, epoch, train_loss, validation_loss`.
        best_epochs: job → the epoch whose weights are kept.
    """
    figure = Figure(figsize=PANEL_INCHES, layout="constrained")
    axes = figure.subplots()
    for job, rows in curves.groupby("job_id"):
        rows = rows.sort_values("epoch")
        _loss_line(axes, rows, "train_loss", BLUE, (0, (4, 1.5)))
        _loss_line(axes, rows, "validation_loss", VERMILION, "-")
        kept = rows[rows["epoch"] == best_epochs.get(str(job))]
        axes.plot(kept["epoch"], kept["validation_loss"], color=VERMILION, marker="o", linestyle="none")
    handles = [
        Line2D([], [], color=BLUE, linestyle=(0, (4, 1.5)), label="training"),
        Line2D([], [], color=VERMILION, label="validation"),
        Line2D([], [], color=VERMILION, marker="o", linestyle="none", label="kept"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    axes.set_title("Pre-training")
    axes.set_xlabel("epoch")
    axes.set_ylabel("contrastive loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _loss_line(axes: Axes, rows: pd.DataFrame, name: str, colour: str, dashes: Any) -> None:
    alone = "." if len(rows) == 1 else "none"
    axes.plot(rows["epoch"], rows[name], color=colour, linestyle=dashes, linewidth=1.1, marker=alone)


@styled
def finetuning_curves(curves: pd.DataFrame, title: str, chance: float) -> Figure:
    """UAR on the validation recordings by epoch: one line a method and share of labels.

    Args:
        curves: `name, label_fraction, epoch, validation_uar, kept` (whether it is the epoch whose weights are kept).
        title: above the axes.
        chance: UAR of guessing.
    """
    figure = Figure(figsize=PANEL_INCHES, layout="constrained")
    axes = figure.subplots()
    fractions = sorted(curves["label_fraction"].unique())
    groups: Any = curves.groupby(["name", "label_fraction"])
    for (method, fraction), rows in groups:
        look, rows = style_of(str(method)), rows.sort_values("epoch")
        dashes = "-" if fraction == fractions[-1] else (0, (1.5, 1.2))
        label = f"{method}, {share(fraction)}"
        axes.plot(
            rows["epoch"], 100 * rows["validation_uar"], color=look.colour, linestyle=dashes, label=label, linewidth=1.3
        )
        kept = rows[rows["kept"]]
        axes.plot(kept["epoch"], 100 * kept["validation_uar"], color=look.colour, marker=look.marker, linestyle="none")
    axes.axhline(100 * chance, color=BLACK, linewidth=0.9, linestyle=(0, (1, 2)))
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation UAR in %")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=2)
    return figure
