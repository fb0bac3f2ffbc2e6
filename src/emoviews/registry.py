"""How views, corpora, encoders and losses are found: one file each, its name is the registered name.

The folder's listing is the registry, so adding a member is adding one file and nothing else; a file is imported only when
its member is first used. Other packages register through entry points (`emoviews.views`, `emoviews.corpora`,
`emoviews.encoders`, `emoviews.losses`) whose name is the registered name and whose value points at the member itself.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import pkgutil
from dataclasses import dataclass
from typing import Any

from emoviews.errors import UsageError


@dataclass(frozen=True)
class Registry:
    """The members of one family.

    Attributes:
        package: the folder that is listed, e.g. `emoviews.views`; also the entry-point group.
        attribute: the module attribute every file of the folder defines, e.g. `VIEW`.
        noun: what a member is called in messages, e.g. `view`.
        hyphens: names have a hyphen where file names, which can't, have an underscore.
    """

    package: str
    attribute: str
    noun: str
    hyphens: bool = False

    def names(self) -> list[str]:
        """All registered names, sorted. Files that start with an underscore are helpers, not members.

        >>> Registry("emoviews.losses", "LOSS", "loss").names()
        [...'pairwise_nt_xent'...]
        """
        return sorted(set(self._files()) | set(self._entry_points()))

    def load(self, name: str) -> Any:
        """The member called `name`, imported on first use.

        Raises:
            UsageError: no such member; the message lists the names and the nearest one.
        """
        if name in (files := self._files()):
            return getattr(importlib.import_module(f"{self.package}.{files[name]}"), self.attribute)
        if name in (points := self._entry_points()):
            return points[name].load()
        names = self.names()
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"There is no {self.noun} called {name!r}.{hint} Known: {', '.join(names)}.")

    def _files(self) -> dict[str, str]:
        """Registered name → module."""
        folder = importlib.import_module(self.package).__path__
        modules = [m.name for m in pkgutil.iter_modules(folder) if not m.name.startswith("_")]
        return {module.replace("_", "-") if self.hyphens else module: module for module in modules}

    def _entry_points(self) -> dict[str, importlib.metadata.EntryPoint]:
        return {point.name: point for point in importlib.metadata.entry_points(group=self.package)}
