"""Corpora: published collections of emotional speech, one file each.

A corpus turns a root folder into an utterance table. To add one, put one file here that defines a subclass of `Corpus` and
`CORPUS = ThatClass()`; the file name is the corpus' name. Parsers are written from the corpus' own documentation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import pandas as pd

from emoviews.registry import Registry

CORPORA = Registry("emoviews.corpora", "CORPUS", "corpus")


@dataclass(frozen=True)
class ParsedCorpus:
    """An utterance table and what was odd about the folder.

    Attributes:
        table: an utterance table as `table.make_table` returns it: absolute paths, text columns without missing values.
        warnings: one sentence each, e.g. a count that differs from the published one, with both numbers.
    """

    table: pd.DataFrame
    warnings: tuple[str, ...] = ()


class Corpus(ABC):
    """One published collection.

    Attributes:
        name: the registered name (= the file name).
        title: its full name.
        licence: the terms it is distributed under, in a phrase.
        citation: the reference its authors ask for.
        url: its home page.
        presets: name → what the preset selects or relabels, in a phrase. May be empty.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    licence: ClassVar[str]
    citation: ClassVar[str]
    url: ClassVar[str]
    presets: ClassVar[Mapping[str, str]] = MappingProxyType({})

    @abstractmethod
    def parse(self, root: Path, preset: str | None = None) -> ParsedCorpus:
        """Parse the release below `root`.

        Raises:
            CorpusError: `root` is missing or does not look like this corpus (the message says what was looked for).
            UsageError: `preset` is not one of `presets` (use `check_preset`).
        """

    def check_preset(self, preset: str | None) -> None:
        """Refuse a preset this corpus does not have.

        Raises:
            UsageError: names the presets there are.
        """
        from emoviews.errors import UsageError

        if preset is not None and preset not in self.presets:
            have = ", ".join(self.presets) or "none"
            raise UsageError(f"The corpus {self.name!r} has no preset {preset!r}. Its presets: {have}.")
