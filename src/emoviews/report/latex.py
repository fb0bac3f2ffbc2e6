"""Text as LaTeX: what pdfLaTeX, XeLaTeX and LuaLaTeX all set as it stands on the page, with no package but booktabs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

END: Final = r"\\"
"""Ends a row of a table."""

_ESCAPES: Final = str.maketrans(
    {
        **{c: f"\\{c}" for c in "#$%&_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        # In the old default encoding OT1 these three would be set as other characters.
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': "''",
        # A bracket after the end of a row would be taken for the space between rows.
        "[": "{[}",
        "]": "{]}",
        "*": "{*}",
        "\u00a0": "~",
        "\u2009": r"\,",
        "\u202f": r"\,",
        "\u2013": "--",
        "\u2014": "---",
        "\u2018": "`",
        "\u2019": "'",
        "\u201c": "``",
        "\u201d": "''",
        "\u2026": r"\ldots{}",
        "\u00b7": r"$\cdot$",
        "\u00d7": r"$\times$",
        "\u00b1": r"$\pm$",
        "\u00b0": r"$^{\circ}$",
        "\u00b2": "$^2$",
        "\u00b3": "$^3$",
        "\u00b5": r"$\mu$",
        "\u2212": "$-$",
        "\u2190": r"$\leftarrow$",
        "\u2192": r"$\rightarrow$",
        "\u2194": r"$\leftrightarrow$",
        "\u221a": r"$\surd$",
        "\u2248": r"$\approx$",
        "\u2260": r"$\neq$",
        "\u2264": r"$\leq$",
        "\u2265": r"$\geq$",
        "\u03b1": r"$\alpha$",
        "\u03b2": r"$\beta$",
        "\u03b3": r"$\gamma$",
        "\u03b4": r"$\delta$",
        "\u03b5": r"$\epsilon$",
        "\u03ba": r"$\kappa$",
        "\u03bb": r"$\lambda$",
        "\u03bc": r"$\mu$",
        "\u03c0": r"$\pi$",
        "\u03c1": r"$\rho$",
        "\u03c3": r"$\sigma$",
        "\u03c4": r"$\tau$",
        "\u0394": r"$\Delta$",
        "\u03a3": r"$\Sigma$",
    }
)


def escape(text: str) -> str:
    r"""Text with every character that LaTeX takes for a command written out, and symbols as mathematics.

    Letters with accents stay: LaTeX has read UTF-8 by itself since 2018.

    >>> print(escape("50 % of R&D_1, \u2212 3 \u00d7 \u03c4"))
    50 \% of R\&D\_1, $-$ 3 $\times$ $\tau$
    """
    return text.translate(_ESCAPES)


def stacked(lines: Sequence[str], align: str) -> str:
    r"""Escaped lines of one cell, one below the other, those after the first smaller.

    >>> print(stacked(["48.6", "(38.0 to 59.2)"], "r"))
    \begin{tabular}[t]{@{}r@{}}48.6\\{\footnotesize (38.0 to 59.2)}\end{tabular}
    """
    small = [lines[0], *(rf"{{\footnotesize {line}}}" for line in lines[1:])]
    return rf"\begin{{tabular}}[t]{{@{{}}{align}@{{}}}}{END.join(small)}\end{{tabular}}"


def row(cells: Sequence[str]) -> str:
    r"""Escaped cells as a row of a table.

    >>> print(row(["a", "1"]))
    a & 1 \\
    """
    return f"{' & '.join(cells)} {END}"
