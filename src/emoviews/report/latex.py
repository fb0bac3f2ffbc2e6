"""Tables as LaTeX: what pdfLaTeX, XeLaTeX and LuaLaTeX all set as it stands on the page, in the text width of an article."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    \begin{tabular}[t]{@{}r@{}}48.6\\{\scriptsize (38.0 to 59.2)}\end{tabular}
    >>> print(stacked(["48.6"], "r"))
    48.6
    """
    if len(lines) == 1:
        return lines[0]
    small = [lines[0], *(rf"{{\scriptsize {line}}}" for line in lines[1:])]
    return rf"\begin{{tabular}}[t]{{@{{}}{align}@{{}}}}{END.join(small)}\end{{tabular}}"


def paragraphs(lines: Sequence[str]) -> str:
    r"""Escaped lines of a cell that may be broken, those after the first smaller.

    >>> print(paragraphs(["pre-trained, tuned", "egemaps"]))
    pre-trained, tuned\newline {\scriptsize egemaps}
    """
    return r"\newline ".join([lines[0], *(rf"{{\scriptsize {line}}}" for line in lines[1:])])


def row(cells: Sequence[str]) -> str:
    r"""Escaped cells as a row of a table.

    >>> print(row(["a", "1"]))
    a & 1 \\
    """
    return f"{' & '.join(cells)} {END}"


TEXT_WIDTH: Final = 340.0
"""Points of a line in LaTeX's article class, at its 10 points of type on letter or A4 paper, less 5 for wrong guesses."""

_DIGIT: Final = {"footnotesize": 4.3, "scriptsize": 4.05}
"""Points of a digit in the two sizes of Computer Modern, and a little for bold type."""

_GAPS: Final = {"footnotesize": 3.0, "scriptsize": 2.0}
"""Points on either side of a column."""


@dataclass(frozen=True)
class Layout:
    """How a table is fitted into the text.

    Attributes:
        size: of the type: `footnotesize` or `scriptsize`.
        gap: points on either side of a column.
        headings: of each column, in lines.
        paragraphs: of each column, its width in points where its text is to be broken into lines; else 0.
        is_too_wide: whether the table has to be shrunk all the same.
    """

    size: str
    gap: float
    headings: list[list[str]]
    paragraphs: list[float]
    is_too_wide: bool


def layout(headings: Sequence[Sequence[str]], rows: Sequence[Sequence[Sequence[str]]]) -> Layout:
    """Fit a table into the text of an article: long headings in several lines, then long texts, then smaller type.

    Args:
        headings: lines of each heading.
        rows: lines of each cell.

    >>> layout([["a"], ["b"]], [[["x"], ["1"]]])
    Layout(size='footnotesize', gap=3.0, headings=[['a'], ['b']], paragraphs=[0.0, 0.0], is_too_wide=False)
    >>> layout([["why"], ["n"]], [[["word " * 40], ["1"]]]).paragraphs
    [323.7, 0.0]
    """
    bodies = [[line for row in rows for line in row[column]] for column in range(len(headings))]
    natural = [max(map(width, body), default=1.0) for body in bodies]
    narrowest = [max((width(word) for line in body for word in line.split(" ")), default=1.0) for body in bodies]
    texts = [column for column, body in enumerate(bodies) if _is_text(body)]
    found = Layout("", 0.0, [], [], True)
    for size, digit in _DIGIT.items():
        room = (TEXT_WIDTH - 2 * _GAPS[size] * len(headings)) / digit
        stacks = [list(heading) for heading in headings]
        if sum(map(_widest, natural, stacks)) > room:
            stacks = [_wrapped(h, n) for h, n in zip(headings, natural, strict=True)]
        widths = list(map(_widest, natural, stacks))
        paragraphs = [0.0] * len(headings)
        if sum(widths) > room and texts:
            left = room - sum(wide for column, wide in enumerate(widths) if column not in texts)
            for column, fair in _shared(left, {column: widths[column] for column in texts}).items():
                given = max(fair, narrowest[column], *map(width, stacks[column]))
                if given < widths[column]:
                    paragraphs[column], widths[column] = round(given * digit, 1), given
        found = Layout(size, _GAPS[size], stacks, paragraphs, sum(widths) > room + 0.01)
        if not found.is_too_wide:
            break
    return found


def width(text: str) -> float:
    """About how wide a text is set, in digits.

    >>> width("12"), round(width("(1.5 %)"), 2)
    (2.0, 6.05)
    """
    return sum(
        0.6 if c in "ijltfr.,:;'()[]|! -" else 1.65 if c in "mwMW%−+→×~" else 1.4 if c.isupper() else 1.0 for c in text
    )


def _is_text(lines: Sequence[str]) -> bool:
    """Whether a column has words that may be broken into lines, and not numbers and intervals alone."""
    return any(" " in line for line in lines) and any(line[:1].isalpha() for line in lines)


def _widest(body: float, heading: Sequence[str]) -> float:
    return max(body, *map(width, heading))


def _wrapped(heading: Sequence[str], wide: float) -> list[str]:
    """A heading's lines, broken between words where they are wider than what stands below."""
    lines: list[str] = []
    for given in heading:
        start = len(lines)
        for word in given.split(" "):
            if len(lines) > start and width(f"{lines[-1]} {word}") <= wide:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
    return lines


def _shared(room: float, wanted: dict[int, float]) -> dict[int, float]:
    """Room for texts: the short get what they want, the long share the rest."""
    given: dict[int, float] = {}
    for done, (name, wide) in enumerate(sorted(wanted.items(), key=lambda item: item[1])):
        fair = (room - sum(given.values())) / (len(wanted) - done)
        given[name] = min(wide, fair)
    return given


SHRUNK: Final = (r"\resizebox{\linewidth}{!}{%", "}")
"""Before and after a tabular that is too wide."""


def column(numeric: bool, paragraph: float) -> str:
    r"""A column's place in the preamble; `paragraph` is its width in points where its text is broken, else 0.

    >>> print(column(True, 0), column(False, 0), column(False, 90.5))
    r l >{\raggedright\arraybackslash}p{90.5pt}
    """
    return rf">{{\raggedright\arraybackslash}}p{{{paragraph}pt}}" if paragraph else "r" if numeric else "l"


def needs(is_long: bool, has_paragraphs: bool, is_too_wide: bool) -> str:
    r"""The comment that names the packages a table needs.

    >>> print(needs(False, False, True))
    % Needs \usepackage{booktabs,graphicx}
    """
    also = {"longtable": is_long, "array": has_paragraphs, "graphicx": is_too_wide and not is_long}
    packages = ",".join(["booktabs", *(name for name, needed in also.items() if needed)])
    wide = "; wider than an article's text: set it on a landscape page" if is_too_wide and is_long else ""
    return rf"% Needs \usepackage{{{packages}}}{wide}"
