"""What a page is made of: sections of text, tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from emoviews.report import figures
from emoviews.report.tables import (
    Table,
    slug,
)


@dataclass(frozen=True)
class Text:
    """A paragraph, or with several items a list."""

    items: tuple[str, ...]
    is_list: bool = False
    kind: str = "text"


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    text: str
    kind: str = "heading"


@dataclass(frozen=True)
class Panel:
    """A drawing, the name of its files, and what it shows in words, for those who can't see it."""

    slug: str
    figure: Figure
    alt: str

    @cached_property
    def svg(self) -> bytes:
        """The drawing as a file."""
        return figures.svg(self.figure)

    def inline(self) -> Markup:
        """The drawing as an HTML element."""
        return Markup(figures.inline_svg(self.svg, self.slug))


@dataclass(frozen=True)
class Picture:
    """Panels that stand side by side where the page is wide enough.

    Attributes:
        caption: what it shows, over how much data.
        panels: from left to right.
        whole: all panels as one drawing for the files; None: each panel is a file.
        stacked: panels are always one below the other.
    """

    caption: str
    panels: tuple[Panel, ...]
    whole: Panel | None = None
    stacked: bool = False
    kind: str = "picture"

    @property
    def files(self) -> tuple[Panel, ...]:
        """What is written to the folder of figures."""
        return self.panels if self.whole is None else (self.whole,)


Block = Text | Heading | Table | Picture


@dataclass(frozen=True)
class Section:
    """A part of the page with an entry in its list of contents."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def id(self) -> str:
        """The anchor."""
        return slug(self.title)


Made = Mapping[str, pd.DataFrame]
"""What an experiment's `tables` gives."""
