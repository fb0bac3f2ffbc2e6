"""For mkdocstrings: examples in docstrings (`>>>`) become a section of their own, so that they are shown as code."""

from __future__ import annotations

from typing import Any

import griffe


def sectioned(text: str) -> str:
    r"""The docstring with its `>>>` blocks below the heading that Google's style gives them.

    >>> print(sectioned("Add.\n\n>>> 1 + 1\n2\n\nMore."))
    Add.
    <BLANKLINE>
    Examples:
        >>> 1 + 1
        2
    <BLANKLINE>
    More.
    """
    out: list[str] = []
    inside = False
    for line in text.splitlines():
        if line.startswith(">>>") and not inside:
            inside = True
            out.append("Examples:")
        elif not line.strip():
            inside = False
        out.append(f"    {line}" if inside else line)
    return "\n".join(out)


class Doctests(griffe.Extension):
    """Changes every docstring as it is read."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called by griffe for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = sectioned(obj.docstring.value)
