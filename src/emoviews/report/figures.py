"""The report's figures, drawn from tables alone.

Colours are Okabe and Ito's ("Color Universal Design", 2008) and two of Paul Tol's, told apart by most colour-blind people;
every method also has a marker and a line style of its own, so that a grey print still tells them apart. SVG text stays text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from types import MappingProxyType
from typing import Any, Final, ParamSpec

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

from emoviews.errors import UsageError
from emoviews.experiments.frozen import SIMCLR_FROZEN, SIMCLR_TUNED
from emoviews.experiments.sparse import BUDGET, METHODS
from emoviews.report.tables import PRETRAINED, SUPERVISED, count, named_budgets, share

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#7A7A7A"
WINE, OLIVE = "#882255", "#999933"


@dataclass(frozen=True)
class Style:
    """How a method looks in every figure."""

    colour: str
    marker: str
    dashes: Any


LOOKS: Final = MappingProxyType(
    {
        METHODS["finetuning", "random", False]: Style(VERMILION, "o", "-"),
        METHODS["finetuning", "pretrained", False]: Style(BLUE, "s", "-"),
        METHODS["finetuning", "pretrained", True]: Style(SKY, "D", (0, (5, 1.5))),
        METHODS["finetuning", "random", True]: Style(GREY, "v", (0, (1, 1.2))),
        METHODS["logistic_regression", "pretrained", False]: Style(GREEN, "^", (0, (4, 1.5, 1, 1.5))),
        METHODS["logistic_regression", "random", False]: Style(PURPLE, "P", (0, (4, 1.5, 1, 1.5, 1, 1.5))),
        METHODS["logistic_regression", "", False]: Style(ORANGE, "X", (0, (2, 1))),
        METHODS["linear_svm", "", False]: Style(BLACK, "*", (0, (6, 2))),
        SIMCLR_TUNED: Style(WINE, "p", (0, (3, 1))),
        SIMCLR_FROZEN: Style(OLIVE, "<", (0, (3, 1, 1, 1, 1, 1))),
    }
)
"""How each method of the paper's experiments looks, by its name in the tables."""
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
    """A method's look.

    Raises:
        UsageError: the method has none; two methods that look alike would be taken for one.
    """
    if method not in LOOKS:
        raise UsageError(f"No look is known for the method {method!r}. Give it one in report.figures.LOOKS.")
    return LOOKS[method]


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
    # In print the height is limited; what then is free of the width lies at the right.
    return f'<svg {spaces} {box[0]} preserveAspectRatio="xMinYMin meet" aria-hidden="true">{body}'


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
            table. With one budget alone all methods have their intervals as bars, side by side.
        views: the columns of panels to draw.
        rules: the rows.
        chance: UAR of guessing.
        titled_by_rule: whether a panel's title names the rule.
    """
    figure, panels = _grid(len(views), len(rules))
    banded = table if is_alone(table) else table[table["method"].isin(BANDED)]
    limits = uar_limits(table["pooled_uar"], banded[["low", "high"]], chance)
    handles: dict[str, Line2D] = {}
    for axes, (rule, view) in zip(panels.flat, [(rule, view) for rule in rules for view in views], strict=True):
        rows = table[(table["view"] == view) & (table["validation"] == rule)]
        by_method = {str(method): line for method, line in rows.groupby("method", sort=False)}
        lines = [Line(r, style_of(m), 2.0 if m in BANDED else 1.2, m in BANDED) for m, r in by_method.items()]
        handles |= dict(zip(by_method, draw_lines(axes, lines), strict=True))
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
    limits = uar_limits(rows["pooled_uar"], rows[["low", "high"]], chance)
    rules = list(dict.fromkeys(rows["validation"]))
    handles: dict[str, Line2D] = {}
    for axes, view in zip(panels[0], views, strict=True):
        mine = rows[rows["view"] == view]
        hollow: dict[str, Any] = {
            "linestyle": (0, (2.5, 1.5)),
            "markerfacecolor": "white",
            "markeredgecolor": None,
        }
        names, lines = [], []
        for (method, rule), line in mine.groupby(["method", "validation"], sort=False):
            names.append(f"{method}; {RULE_TITLES[str(rule)]}")
            is_first = rule == rules[0]
            lines.append(Line(line, style_of(str(method)), 1.8, is_first, {} if is_first else hollow))
        handles |= dict(zip(names, draw_lines(axes, lines), strict=True))
        guess = _dress_budget_axes(axes, mine, limits, chance)
        axes.set_title(view)
    panels[0, 0].set_ylabel("UAR in % (mean of per-class recalls)")
    labels = [*handles, f"chance ({share(chance)})"]
    figure.legend(
        [*handles.values(), guess], labels, loc="outside lower center", ncols=min(2, len(views)), handlelength=3.2
    )
    return figure


def _grid(columns: int, rows: int) -> tuple[Figure, Any]:
    width, height = PANEL_INCHES
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, sharey=True, squeeze=False)


def uar_limits(*values: ArrayLike) -> tuple[float, float]:
    """Of an axis in per cent: 3 points beyond all values, so that no marker or bar lies on the frame.

    Args:
        values: fractions; NaN is left out.

    >>> uar_limits([0.5, float("nan")], 1.0)
    (47.0, 103.0)
    """
    every = np.concatenate([np.ravel(np.asarray(given, dtype=float)) for given in values])
    return 100 * float(np.nanmin(every)) - 3, 100 * float(np.nanmax(every)) + 3


def has_spread(low: ArrayLike, high: ArrayLike) -> NDArray[np.bool_]:
    """Whether an interval says how sure a score is. One without ends or width must not look like certainty.

    >>> has_spread([0.4, 0.5, float("nan")], [0.6, 0.5, float("nan")])
    array([ True, False, False])
    """
    width: NDArray[np.float64] = np.asarray(high, dtype=float) - np.asarray(low, dtype=float)
    return np.greater(width, 1e-9)  # false for NaN


def dodged(place: int, of: int) -> float:
    """The factor by which one of several points with one x on a logarithmic axis is moved, so that they stand side by side.

    >>> [round(dodged(place, 3), 2) for place in range(3)]
    [0.84, 1.0, 1.2]
    """
    return float(np.exp((place - (of - 1) / 2) * min(0.18, 0.9 / of)))


def _banded_line(axes: Axes, line: Line) -> Line2D:
    rows, look = line.rows.sort_values("n_labels"), line.look
    x, (y, low, high) = rows["n_labels"].to_numpy(dtype=float), _in_percent(rows)
    if line.is_banded:
        axes.fill_between(x, low, high, color=look.colour, alpha=0.15, linewidth=0)
    (drawn,) = axes.plot(x, y, linewidth=line.linewidth, zorder=4 if line.is_banded else 3, **_style(line))
    return drawn


def _lone_point(axes: Axes, line: Line, place: int, of: int) -> Line2D:
    """The one point with its interval as a bar, as a band would have no width; the `place`-th of `of` side by side."""
    x, (y, low, high) = line.rows["n_labels"].to_numpy(dtype=float) * dodged(place, of), _in_percent(line.rows)
    axes.vlines(x, low, high, color=line.look.colour, linewidth=1.8, zorder=2.5)
    (drawn,) = axes.plot(x, y, markersize=8.5, zorder=4, **_style(line))
    return drawn


def _in_percent(rows: pd.DataFrame) -> list[NDArray[np.float64]]:
    return [100 * rows[name].to_numpy(dtype=float) for name in ("pooled_uar", "low", "high")]


def _style(line: Line) -> dict[str, Any]:
    look, edge = line.look, {"markeredgecolor": "white", "markeredgewidth": 0.6}
    style: dict[str, Any] = {
        "color": look.colour,
        "marker": look.marker,
        "linestyle": look.dashes,
        **edge,
        **line.changes,
    }
    if style["markeredgecolor"] is None:
        style |= {"markeredgecolor": look.colour, "markeredgewidth": 1.1}
    return style


def is_alone(rows: pd.DataFrame) -> bool:
    """Whether all rows have the same budget, so that no line can be drawn."""
    return len(rows.drop_duplicates([name for name in BUDGET if name in rows])) == 1


def intervals_told(rows: pd.DataFrame) -> str:
    """How `draw_lines` shows intervals, for a caption."""
    return "bars: 95 % intervals" if is_alone(rows) else "shaded: 95 % interval of the two that are to be compared"


@dataclass(frozen=True)
class Line:
    """UAR by number of labels, as it is to be drawn.

    Attributes:
        rows: `n_labels, pooled_uar, low, high` and the columns of the budget.
        look: colour, marker and dashes.
        linewidth: in points.
        is_banded: whether its interval is shaded; more than two bands would hide each other.
        changes: of the look.
    """

    rows: pd.DataFrame
    look: Style
    linewidth: float
    is_banded: bool
    changes: Mapping[str, Any] = field(default_factory=dict)


def draw_lines(axes: Axes, lines: Sequence[Line]) -> list[Line2D]:
    """Lines with bands; where there is one budget alone, points side by side, each with its interval as a bar."""
    if is_alone(pd.concat([line.rows for line in lines])):
        return [_lone_point(axes, line, place, len(lines)) for place, line in enumerate(lines)]
    return [_banded_line(axes, line) for line in lines]


def _dress_budget_axes(axes: Axes, rows: pd.DataFrame, limits: tuple[float, float], chance: float) -> Line2D:
    """The logarithmic axis with the budgets' names, and the line of chance, which is returned."""
    guess = axes.axhline(100 * chance, color=BLACK, linewidth=0.9, linestyle=(0, (1, 2)), zorder=2)
    named = rows.assign(budget=named_budgets(rows)).groupby("budget")["n_labels"].mean()
    dress_label_axis(axes, _spread_ticks(named))
    axes.set_xlabel("labels in the budget (and its name)")
    axes.set_ylim(*limits)
    return guess


def dress_label_axis(axes: Axes, ticks: pd.Series[float]) -> None:
    """The logarithmic axis of numbers of labels; one number alone stands in the middle.

    Args:
        axes: whose x axis.
        ticks: name of a budget → its number of labels.
    """
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(list(ticks), [f"{count(n)}\n{name}" for name, n in ticks.items()])
    if len(ticks) == 1:
        axes.set_xlim(ticks.iloc[0] / 2.5, ticks.iloc[0] * 2.5)
        axes.grid(axis="x", visible=False)


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
    for place, method in enumerate(methods):
        look, beside = style_of(method), 0.2 * (place - (len(methods) - 1) / 2)  # so that equal scores hide none
        dots: Any = {"color": look.colour, "marker": look.marker, "linestyle": "none", "markersize": 6}
        axes.plot(shown[method], rows + beside, label=method, **dots)
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
