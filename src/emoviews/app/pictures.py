"""Drawings for the page: SVG whose text and lines take the colour of the text around them, so they suit light and dark.

The colours of emotions have at least 3:1 of contrast with both backgrounds; markers and line styles tell emotions apart where
colours can't. Each drawing comes in two widths, as text that is scaled down to a phone can't be read.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from emoviews.app.judging import Judgement
from emoviews.labelled_map import LabelledMap
from emoviews.types import SAMPLING_RATE
from emoviews.views._mel import LogMel, MelParameters, band_edges_hz

COLOURS: Final = (
    *("#2B7BBA", "#D55E00", "#0A9370", "#B8569B", "#A17600"),
    *("#7A7A7A", "#C4374B", "#6A6FD0", "#8A6D4B"),
)
"""Of the emotions, in their order; more than nine begin again, with other markers and dashes."""
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
DASHES: Final[Any] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (4, 1.5, 1, 1.5)))
WIDE, NARROW = 9.6, 3.9
"""Inches; a drawing fills the width there is, so these decide how large its text looks."""

_INK: Final = "#010203"
"""Stands for the colour of the surrounding text."""

_LOOK: Final[Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "emoviews",
    "text.parse_math": False,
}


def timeline(judgement: Judgement) -> str:
    """Waveform, mel spectrogram and, of a long recording, probabilities over time, above one another on one time axis."""
    timed = len(judgement.times_seconds) > 0
    heights = [1.0, 1.5, 2.2] if timed else [1.0, 1.5]

    def draw(width: float) -> Figure:
        figure = Figure(figsize=(width, 1.1 * sum(heights) + 0.5 * timed), layout="constrained")
        panels: list[Axes] = list(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights))
        _waveform(panels[0], judgement.samples)
        _spectrogram(panels[1], judgement.samples)
        if timed:
            _over_time(panels[2], judgement, 3 if width < WIDE else 6)
        panels[-1].set_xlabel("Time in seconds")
        panels[-1].set_xlim(0, judgement.seconds)
        figure.align_ylabels(panels)
        return figure

    parts = "Waveform and mel spectrogram" + (", and below them the probability of each emotion over time" * timed)
    return both_widths(draw, f"{parts}, of {judgement.seconds:.1f} seconds.{_in_words(judgement)}")


def map_of(labelled: LabelledMap, labels: Sequence[str], place: NDArray[np.float64]) -> str:
    """The labelled recordings, by emotion, and a new one among them."""

    def draw(width: float) -> Figure:
        figure = Figure(figsize=(min(width, 6.0), 4.6 if width == WIDE else 4.4), layout="constrained")
        axes: Axes = figure.subplots()
        for number, label in enumerate(labels):
            x, y = labelled.positions[labelled.classes == number].T
            axes.scatter(x, y, s=26, alpha=0.8, linewidths=0, label=label, **_look(number, "marker"))
        axes.scatter(place[0], place[1], s=330, marker="*", color=_INK, zorder=3, label="this recording")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.margins(0.08)
        figure.legend(loc="outside lower center", ncols=3, handletextpad=0.3, columnspacing=1.0)
        return figure

    distances = np.linalg.norm(labelled.positions - place, axis=1)
    nearest = [labels[labelled.classes[row]] for row in np.argsort(distances, kind="stable")[:5]]
    return both_widths(
        draw,
        f"Map of {len(labelled.positions)} labelled recordings with the new one among them. Its nearest neighbours are "
        f"labelled {', '.join(nearest)}.",
    )


def both_widths(draw: Callable[[float], Figure], description: str) -> str:
    """A drawing for wide and for narrow screens, of which style sheets show one, with one description for both."""
    found = []
    for name, width in (("wide", WIDE), ("narrow", NARROW)):
        with mpl.rc_context(_LOOK):
            found.append(_svg(draw(width), f"ev-{name}", description))
    return "".join(found)


def _svg(figure: Figure, css_class: str, description: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, dpi=80, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Two drawings on one page must not share the names that they refer to.
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{css_class}-", text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px system-ui, sans-serif", text)
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    head = f'<svg class="{css_class}" role="img" aria-label="{escape(description, quote=True)}" {box[0]}'
    return f"{head} xmlns:xlink='http://www.w3.org/1999/xlink'>{text.partition('>')[2]}"


def _look(number: int, *parts: str) -> dict[str, Any]:
    """How an emotion looks, by its number."""
    every = {"marker": MARKERS[number % len(MARKERS)], "linestyle": DASHES[number % len(DASHES)]}
    return {"color": COLOURS[number % len(COLOURS)], **{part: every[part] for part in parts}}


def _waveform(axes: Axes, samples: NDArray[np.float32]) -> None:
    step = max(1, len(samples) // 800)
    parts = samples[: len(samples) // step * step].reshape(-1, step)
    seconds = (np.arange(len(parts)) + 0.5) * step / SAMPLING_RATE
    axes.fill_between(seconds, parts.min(axis=1), parts.max(axis=1), color=_INK, alpha=0.7, linewidth=0)
    peak = max(float(np.abs(samples).max()), 1e-6)
    axes.set_ylim(-peak, peak)
    axes.set_yticks([])
    axes.set_ylabel("Waveform")
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(bottom=False)


def _spectrogram(axes: Axes, samples: NDArray[np.float32]) -> None:
    parameters = MelParameters()
    values = LogMel(parameters).spectrogram(samples).T  # (bands, frames)
    step = max(1, values.shape[1] // 800)
    values = values[:, : values.shape[1] // step * step].reshape(len(values), -1, step).mean(axis=2)
    low, high = np.quantile(values, [0.05, 0.995])
    extent = (0.0, len(samples) / SAMPLING_RATE, 0.0, float(len(values)))
    axes.imshow(values, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=low, vmax=high)
    centres = band_edges_hz(parameters)[1:-1]
    ticks = (250, 1000, 4000)
    axes.set_yticks(
        [float(np.interp(hz, centres, np.arange(len(centres)) + 0.5)) for hz in ticks], ["250", "1 k", "4 k"]
    )
    axes.set_ylabel("Mel, Hz")


def _over_time(axes: Axes, judgement: Judgement, columns: int) -> None:
    middles = judgement.times_seconds.mean(axis=1)
    for number, label in enumerate(judgement.labels):
        look = _look(number, "marker", "linestyle")
        axes.plot(middles, judgement.over_time[:, number], linewidth=1.6, markersize=3.5, label=label, **look)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    axes.set_ylabel("Probability")
    axes.grid(axis="y", alpha=0.25, linewidth=0.5)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.28), ncols=columns, handlelength=2.6, columnspacing=1.2)


def _in_words(judgement: Judgement) -> str:
    """Stretches of one emotion after the other, for those who can't see the lines."""
    said: list[list[Any]] = []
    for (start, end), row in zip(judgement.times_seconds, judgement.over_time, strict=True):
        name = "no emotion given" if np.isnan(row[0]) else judgement.labels[int(row.argmax())]
        if said and said[-1][0] == name:
            said[-1][2] = end
        else:
            said.append([name, start, end])
    shown = [f"{name} ({start:.0f} to {end:.0f} s)" for name, start, end in said[:12]]
    return f" Most probable, one after the other: {', '.join(shown)}{', …' * (len(said) > 12)}." if shown else ""
