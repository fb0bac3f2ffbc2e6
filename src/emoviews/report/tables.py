"""The report's tables: saved rows in, data frames out; and how a frame is shown and written.

`emoviews.experiments` makes each experiment's own tables; here stand those that several sections share: who was recognised
how well, the paired difference between two methods, confusions, and what was run.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoviews import metrics, statistics
from emoviews.experiments.sparse import BUDGET, METHODS, RULES, Answers, complete_repeats
from emoviews.report import latex
from emoviews.results import Results
from emoviews.store import write_atomically
from emoviews.types import ViewSpec

SUPERVISED: Final = METHODS["finetuning", "random", False]
PRETRAINED: Final = METHODS["finetuning", "pretrained", False]

LONGEST_FLOAT: Final = 40
"""Rows that fit on a printed page."""

N_RESAMPLES: Final = 2_000
"""Of a difference's bootstrap: its interval's ends then move by about 2 % of its width with another seed."""


@dataclass(frozen=True)
class Column:
    """How a column is shown.

    Attributes:
        heading: what stands above it.
        show: value → text.
        numeric: right-aligned.
    """

    heading: str
    show: Callable[[Any], str] = str
    numeric: bool = False


@dataclass(frozen=True)
class Cell:
    """One cell as shown; a second line in `text` is set smaller, `strong` marks the best of a column."""

    text: str
    numeric: bool = False
    strong: bool = False

    @property
    def lines(self) -> list[str]:
        """The text's lines."""
        return self.text.split("\n")

    @property
    def is_long(self) -> bool:
        """Whether the text may be wrapped."""
        return not self.numeric and len(self.text) > 40


@dataclass(frozen=True)
class Table:
    """A table with its exact values and the way they are shown.

    Attributes:
        slug: name of its files.
        caption: what it shows, over how much data.
        raw: the values as computed; goes to the CSV file.
        headings: of the shown columns.
        rows: the shown cells.
        on_page: False for a table that is written as a file only.
    """

    slug: str
    caption: str
    raw: pd.DataFrame
    headings: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    on_page: bool = True
    kind: str = "table"

    @classmethod
    def of(
        cls,
        slug: str,
        caption: str,
        raw: pd.DataFrame,
        columns: Mapping[str, Column],
        on_page: bool = True,
        shown: pd.DataFrame | None = None,
    ) -> Table:
        """A frame shown row by row, in the columns named; `shown` has them where they are made for the eye and not kept."""
        frame = raw if shown is None else shown
        headings = tuple(Cell(column.heading, column.numeric) for column in columns.values())
        cells = [[Cell(c.show(value), c.numeric) for value in frame[name]] for name, c in columns.items()]
        return cls(slug, caption, raw, headings, tuple(zip(*cells, strict=True)), on_page)

    @classmethod
    def plain(cls, slug: str, caption: str, raw: pd.DataFrame, on_page: bool = True) -> Table:
        """A frame whose columns nobody has described: numbers with three decimals, headings as they are named."""
        columns = {}
        for name, dtype in raw.dtypes.items():
            numeric = pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)
            columns[str(name)] = Column(str(name).replace("_", " "), plain_number if numeric else str, numeric)
        return cls.of(slug, caption, raw, columns, on_page)

    def markdown(self) -> str:
        """The shown table in Markdown, its caption above."""
        rows = [self.headings, *self.rows]
        shown = [[_markdown_cell(cell) for cell in row] for row in rows]
        rule = ["---:" if cell.numeric else "---" for cell in self.headings]
        lines = [f"| {' | '.join(row)} |" for row in [shown[0], rule, *shown[1:]]]
        return "\n".join([self.caption, "", *lines, ""])

    def latex(self) -> str:
        """The shown table in LaTeX, with its caption and the label `tab:SLUG`; its first line names the packages it needs.

        It is fitted into the text width of an article (`latex.layout`); one that is too wide even in small type is shrunk. A
        table of more than `LONGEST_FLOAT` rows is a longtable, which may be broken across pages and can't be shrunk.
        """
        layout = latex.layout(
            [cell.lines for cell in self.headings], [[cell.lines for cell in row] for row in self.rows]
        )
        lines = [
            latex.row([_latex_cell(cell, p) for cell, p in zip(row, layout.paragraphs, strict=True)])
            for row in self.rows
        ]
        columns = zip(layout.headings, self.headings, strict=True)
        heading = latex.row(
            [latex.stacked([latex.escape(x) for x in stack], "r" if c.numeric else "l") for stack, c in columns]
        )
        numeric = [cell.numeric for cell in self.headings]
        align = "".join(latex.column(n, p) for n, p in zip(numeric, layout.paragraphs, strict=True))
        is_long = len(self.rows) > LONGEST_FLOAT
        is_shrunk = layout.is_too_wide and not is_long
        title = [rf"\caption{{{latex.escape(self.caption)}}}", rf"\label{{tab:{self.slug}}}"]
        size = [rf"\{layout.size}", rf"\setlength{{\tabcolsep}}{{{layout.gap}pt}}"]
        body = [r"\toprule", heading, r"\midrule", *([r"\endhead"] if is_long else []), *lines, r"\bottomrule"]
        if is_long:
            top = ["{", *size, rf"\begin{{longtable}}{{{align}}}", f"{title[0]}{title[1]} {latex.END}"]
            end = [r"\end{longtable}", "}"]
        else:
            before, after = ([part] for part in latex.SHRUNK) if is_shrunk else ([], [])
            top = [r"\begin{table}", r"\centering", *title, *size, *before, rf"\begin{{tabular}}{{{align}}}"]
            end = [r"\end{tabular}", *after, r"\end{table}"]
        return "\n".join([latex.needs(is_long, any(layout.paragraphs), layout.is_too_wide), *top, *body, *end, ""])

    def write(self, folder: Path) -> None:
        """Write `SLUG.csv` with the exact values, and as shown `SLUG.md` and `SLUG.tex`."""
        write_atomically(folder / f"{self.slug}.csv", self.raw.to_csv(index=False).encode())
        write_atomically(folder / f"{self.slug}.md", self.markdown().encode())
        write_atomically(folder / f"{self.slug}.tex", self.latex().encode())


def _markdown_cell(cell: Cell) -> str:
    text = " ".join(cell.lines).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return f"**{text}**" if cell.strong else text


def _latex_cell(cell: Cell, paragraph: float) -> str:
    """A cell's lines one below the other; in a column of paragraphs each is broken where it must be."""
    lines = [latex.escape(line) for line in cell.lines]
    text = latex.paragraphs(lines) if paragraph else latex.stacked(lines, "r" if cell.numeric else "l")
    return rf"\textbf{{{text}}}" if cell.strong else text


def slug(text: str) -> str:
    """Text as the name of a file or an anchor.

    >>> slug("wav2vec2(model=/my models)")
    'wav2vec2-model-my-models'
    """
    return re.sub(r"[^0-9a-z_]+", "-", text.casefold()).strip("-") or "untitled"


def percent(value: float, digits: int = 1) -> str:
    """A fraction in per cent, without the sign; a dash for NaN.

    >>> percent(0.48611), percent(-0.25, 0), percent(float("nan"))
    ('48.6', '−25', '–')
    """
    return "–" if math.isnan(value) else f"{100 * value:.{digits}f}".replace("-", "−")


def points(value: float) -> str:
    """A difference of fractions in percentage points, signed.

    >>> points(0.0321), points(-0.0321), points(float("nan"))
    ('+3.2', '−3.2', '–')
    """
    if math.isnan(value):
        return "–"
    shown = f"{100 * value:+.1f}"
    return "0.0" if float(shown) == 0 else shown.replace("-", "−")


def signed(value: float) -> str:
    """An effect size.

    >>> signed(0.4321), signed(-1.5), signed(0.0), signed(float("nan"))
    ('+0.43', '−1.50', '0.00', '–')
    """
    if math.isnan(value):
        return "–"
    shown = f"{value:+.2f}"
    return "0.00" if float(shown) == 0 else shown.replace("-", "−")


def span(low: float, high: float, show: Callable[[float], str] = percent) -> str:
    """The two ends of an interval.

    >>> span(0.38, 0.592), span(-0.04, 0.101, points)
    ('38.0 to 59.2', '−4.0 to +10.1')
    """
    return "no interval" if math.isnan(low) or math.isnan(high) else f"{show(low)} to {show(high)}"


def interval(low: float, high: float, show: Callable[[float], str] = percent) -> str:
    """A confidence interval. One without width comes of values that are all equal, and is no sign of certainty.

    >>> interval(0.38, 0.592), interval(1.0, 1.0)
    ('38.0 to 59.2', 'no spread')
    """
    return "no spread" if low == high else span(low, high, show)


def share(fraction: float) -> str:
    """A share, with as many digits as it needs and a space that is never broken.

    >>> share(0.025) == f"2.5{chr(160)}%"
    True
    """
    return f"{100 * fraction:.3g}\u00a0%"


def budget_name(fraction: float, per_class: float) -> str:
    """A label budget: a share, or where that is NaN a number of labels a class; never broken into lines.

    >>> budget_name(0.025, float("nan")) == f"2.5{chr(160)}%"
    True
    >>> budget_name(float("nan"), 5.0).replace(chr(160), " ")
    '5 a class'
    """
    return f"{per_class:.0f}\u00a0a\u00a0class" if math.isnan(fraction) else share(fraction)


def named_budgets(frame: pd.DataFrame) -> list[str]:
    """`budget_name` of each row."""
    return [budget_name(*pair) for pair in zip(*(frame[name] for name in BUDGET), strict=True)]


def listed(parts: Sequence[str]) -> str:
    """Words as a list.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def p_value(value: float) -> str:
    """A p-value.

    >>> p_value(0.0312), p_value(0.00001)
    ('0.031', '< 0.001')
    """
    if math.isnan(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def count(value: float) -> str:
    """A count or a mean of counts, which is rounded from 10 on.

    >>> count(1704.0), count(17.6), count(4.5)
    ('1704', '18', '4.5')
    """
    if math.isnan(value):
        return "–"
    return f"{value:.0f}" if value >= 10 or abs(value - round(value)) < 0.05 else f"{value:.1f}"


def plain_number(value: float) -> str:
    """A number nobody has described.

    >>> plain_number(3), plain_number(0.12345)
    ('3', '0.123')
    """
    if isinstance(value, (int, np.integer)):
        return str(value)
    return "–" if math.isnan(value) else f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3f}"


def seconds(value: float) -> str:
    """A duration in the unit that suits it.

    >>> seconds(42.3), seconds(600.0), seconds(7260.0)
    ('42.3 s', '10 min 0 s', '2 h 1 min')
    """
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


# What the classifiers answered ---------------------------------------------------------------------------------------------


def classifiers(results: Results, experiment: str) -> pd.DataFrame:
    """The finished classifiers of an experiment, in the order of `METHODS`: the tidy rows of their test parts, and a `name`."""
    tidy = results.tidy(experiment)
    tidy = tidy[(tidy["split"] == "test") & tidy["uar"].notna()]
    described = zip(tidy["method"], tidy["init"].fillna(""), tidy["frozen"].fillna(False).astype(bool), strict=True)
    named = tidy.assign(name=[METHODS.get(key, " ".join(map(str, key))) for key in described])
    order = [*METHODS.values(), *sorted(set(named["name"]) - set(METHODS.values()))]
    return named.sort_values("name", key=lambda names: names.map(order.index), kind="stable", ignore_index=True)


def answers(results: Results, jobs: Iterable[str]) -> Answers:
    """What these classifiers answered, counted by speaker."""
    return Answers(results, jobs)


SETTING: Final = ["view", "validation", *BUDGET]
"""Columns that name what methods are compared under."""


_COMPARED: Final = ["job_id", "fold", "repeat", "uar", "n_labels"]
"""What two methods are compared by."""


def in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows by view, rule, and budget: shares before numbers a class, each ascending; otherwise in the order given."""
    keys = [
        frame["labels_per_class"].fillna(0),
        frame["label_fraction"].fillna(2),
        *([frame["validation"].map(RULES.index)] if "validation" in frame else []),
        pd.factorize(frame["view"], sort=True)[0],
    ]
    return frame.iloc[np.lexsort([np.asarray(key) for key in keys])].reset_index(drop=True)


def speaker_scores(jobs: pd.DataFrame, given: Answers) -> pd.DataFrame:
    """Each test speaker's UAR with each method: `view, validation, label_fraction, labels_per_class, name, speaker, uar, n`.

    A speaker's UAR is the mean of the recalls of the classes that the speaker has; repeats are averaged.

    Args:
        jobs: of `classifiers`.
        given: of `answers`.
    """
    rows = given.of(jobs["job_id"])
    right = rows["n"].where(rows["y_true"] == rows["y_pred"], 0)
    cells = rows.assign(right=right).groupby(["job_id", "speaker", "y_true"], sort=False)[["n", "right"]].sum()
    cells["uar"] = cells["right"] / cells["n"]
    scores = cells.groupby(level=["job_id", "speaker"]).agg(n=("n", "sum"), uar=("uar", "mean")).reset_index()
    scores = scores.merge(jobs[["job_id", "name", *SETTING]], on="job_id")
    keys = [*SETTING, "name", "speaker"]
    return scores.groupby(keys, dropna=False).agg(uar=("uar", "mean"), n=("n", "mean")).reset_index()


def differences(jobs: pd.DataFrame, given: Answers, first: str = PRETRAINED, second: str = SUPERVISED) -> pd.DataFrame:
    """UAR of `first` minus UAR of `second` for each view, rule and budget, paired by fold, repeat and speaker.

    The difference is that of the UARs pooled over folds and averaged over repeats; its interval is a bootstrap that draws
    speakers for both methods together. The sound tests are of the speakers' differences, each the mean over its repeats:
    sign-flip and Wilcoxon's signed ranks, with Holm's correction over the budgets of one view and rule (whether pre-training
    helps is asked of each view by itself), and Cohen's d_z. The paper's test (section 4.2) is Mann-Whitney's U, with Cliff's δ.
    It does not say of what: here of the repeats within each fold, of all trainings (every fold and repeat), and of the repeats'
    means over folds. All take values on the same test speakers as independent.

    Args:
        jobs: of `classifiers`; only folds and repeats that both methods have finished are compared.
        given: of `answers`.
        first: a method's name.
        second: likewise.

    Returns:
        `view, validation, label_fraction, labels_per_class, n_labels, difference, low, high`, of the speakers `d_z,
        p_sign_flip, p_holm` (its correction), `p_wilcoxon, p_wilcoxon_holm`; of all trainings `p_mann_whitney, cliffs_delta`;
        of the repeats `p_mann_whitney_repeats, cliffs_delta_repeats`; of the repeats in each fold `p_mann_whitney_folds` (JSON:
        fold → p) and `folds_below_05`; and `n_speakers, n_pairs, n_repeats, n_folds`.
    """
    rows = []
    for key, group in jobs[[*_COMPARED, *SETTING, "name"]].groupby(SETTING, dropna=False):
        if (sides := _paired(group, "name", first, second)) is None:
            continue
        of_trainings = [side["uar"].to_numpy() for side in sides]
        of_repeats = [complete_repeats(side) for side in sides]
        within = {
            str(fold): statistics.mann_whitney_u(*(side.loc[side["fold"] == fold, "uar"].to_numpy() for side in sides))
            for fold in sorted(set(sides[0]["fold"]))
        }
        gap, of_speakers = _gap(sides, given)
        rows.append(
            dict(zip(SETTING, key, strict=True))
            | gap
            | {
                "d_z": statistics.cohens_dz(of_speakers),
                "p_sign_flip": statistics.sign_flip_test(of_speakers).p_value,
                "p_wilcoxon": statistics.wilcoxon_signed_rank(of_speakers).p_value,
                "p_mann_whitney": statistics.mann_whitney_u(*of_trainings).p_value,
                "cliffs_delta": statistics.cliffs_delta(*of_trainings),
                "p_mann_whitney_repeats": statistics.mann_whitney_u(*of_repeats).p_value,
                "cliffs_delta_repeats": statistics.cliffs_delta(*of_repeats),
                "p_mann_whitney_folds": json.dumps({fold: test.p_value for fold, test in within.items()}),
                "folds_below_05": sum(test.p_value < 0.05 for test in within.values()),
                "n_speakers": len(of_speakers),
                "n_pairs": len(sides[0]),
                "n_repeats": len(of_repeats[0]),
                "n_folds": len(within),
            }
        )
    if not rows:
        return pd.DataFrame()
    found = in_order(pd.DataFrame(rows))
    for name, p in (("p_wilcoxon_holm", "p_wilcoxon"), ("p_holm", "p_sign_flip")):
        found.insert(
            list(found).index(p) + 1, name, found.groupby(["view", "validation"])[p].transform(statistics.holm)
        )
    return found


def rule_differences(jobs: pd.DataFrame, given: Answers, first: str = "full", second: str = "budget") -> pd.DataFrame:
    """UAR under one rule of validation minus UAR under another, paired as in `differences`.

    Returns:
        `view, name, label_fraction, labels_per_class, n_labels, difference, low, high, n_speakers, n_pairs`; empty where a
        rule was not run.
    """
    rows = []
    keys = ["view", "name", *BUDGET]
    for key, group in jobs[[*_COMPARED, *SETTING, "name"]].groupby(keys, dropna=False, sort=False):
        if (sides := _paired(group, "validation", first, second)) is not None:
            gap, of_speakers = _gap(sides, given)
            counted = {"n_speakers": len(of_speakers), "n_pairs": len(sides[0])}
            rows.append(dict(zip(keys, key, strict=True)) | gap | counted)
    return in_order(pd.DataFrame(rows)) if rows else pd.DataFrame()


def _paired(group: pd.DataFrame, column: str, first: str, second: str) -> list[pd.DataFrame] | None:
    """The jobs of two values of a column, the same folds and repeats in the same order; None where they share none."""
    pair = ["fold", "repeat"]
    sides = [group[group[column] == value].drop_duplicates(pair) for value in (first, second)]
    common = sides[0][pair].merge(sides[1][pair])
    return None if common.empty else [common.merge(side, on=pair, how="left") for side in sides]


def _gap(sides: Sequence[pd.DataFrame], given: Answers) -> tuple[dict[str, float], NDArray[np.float64]]:
    """The difference of two pooled UARs with its interval, and that of each speaker, `(speakers,)`."""
    counts = given.counts(sides)
    pooled = [statistics.mean_uar(*side) for side in counts]
    interval = statistics.weighted_bootstrap(
        lambda drawn: pooled[0](drawn) - pooled[1](drawn), counts[0][0].shape[1], n_resamples=N_RESAMPLES
    )
    # (repeats, speakers), NaN where a speaker was not tested
    gap = metrics.mean_recall(*counts[0]) - metrics.mean_recall(*counts[1])
    tested = ~np.isnan(gap)
    of_speakers = np.where(tested, gap, 0).sum(axis=0) / tested.sum(axis=0)
    found = {"difference": interval.estimate, "low": interval.low, "high": interval.high}
    return {"n_labels": float(sides[0]["n_labels"].mean())} | found, of_speakers


def gender_scores(
    jobs: pd.DataFrame, given: Answers, methods: Sequence[str] = (SUPERVISED, PRETRAINED)
) -> pd.DataFrame:
    """UAR of the recordings of each gender, and where there are two the gap between them.

    A gender's UAR is pooled over folds and averaged over repeats, its interval a bootstrap over its speakers. The gap is the
    first gender in alphabetical order minus the second; the speakers of each are drawn apart.

    Args:
        jobs: of `classifiers`.
        given: of `answers`.
        methods: which of the names.

    Returns:
        `view, validation, label_fraction, labels_per_class, name`, for each gender `uar_GENDER, low_GENDER, high_GENDER,
        n_speakers_GENDER`, and `gap, gap_low, gap_high`; empty where the table names fewer than two genders.
    """
    genders = sorted(set(given.rows["gender"]) - {""})
    if len(genders) < 2:
        return pd.DataFrame()
    rows = []
    keys = [*SETTING, "name"]
    for key, group in jobs[jobs["name"].isin(methods)].groupby(keys, dropna=False, sort=False):
        counts = {gender: given.counts([group], gender)[0] for gender in genders}
        row: dict[str, Any] = dict(zip(keys, key, strict=True))
        for gender, (hits, totals) in counts.items():
            found = statistics.counted_uar_interval(hits, totals, n_resamples=N_RESAMPLES)
            row |= {f"uar_{gender}": found.estimate, f"low_{gender}": found.low, f"high_{gender}": found.high}
            row[f"n_speakers_{gender}"] = hits.shape[1]
        if len(genders) == 2:
            sides = [statistics.mean_uar(*counts[gender]) for gender in genders]
            sizes = (counts[genders[0]][0].shape[1], counts[genders[1]][0].shape[1])
            gap = statistics.unpaired_bootstrap(sides[0], sides[1], sizes, n_resamples=N_RESAMPLES)
            row |= {"gap": gap.estimate, "gap_low": gap.low, "gap_high": gap.high}
        rows.append(row)
    return in_order(pd.DataFrame(rows)) if rows else pd.DataFrame()


def calibration(results: Results, jobs: pd.DataFrame, labels: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How far the probabilities of some classifiers can be taken at their word.

    Scores are of the answers of all folds of a repeat together, averaged over repeats; the bins of a reliability diagram hold
    the answers of all repeats.

    Args:
        results: the open database, which has the probabilities.
        jobs: of `classifiers`, those to be read: every single answer is.
        labels: the classes.

    Returns:
        `view, validation, label_fraction, labels_per_class, name, n_labels, ece, brier, log_loss, confidence, accuracy,
        n, repeats` (n: answers a repeat); and `view, validation, label_fraction, labels_per_class, name, bin, n, confidence,
        accuracy`, bins counted from 0, those without an answer left out.
    """
    scores, bins = [], []
    keys = [*SETTING, "name"]
    for key, group in jobs.groupby(keys, dropna=False, sort=False):
        named = dict(zip(keys, key, strict=True))
        rows = results.frame(
            "SELECT job_id, y_true, probabilities FROM predictions WHERE job_id IN (SELECT value FROM json_each(?))",
            (json.dumps(sorted(group["job_id"])),),
        ).merge(group[["job_id", "repeat"]], on="job_id")
        if rows.empty:
            continue
        p = np.array([[given[label] for label in labels] for given in map(json.loads, rows["probabilities"])])
        truth = rows["y_true"].to_numpy(dtype=object)
        of_repeats = []
        for repeat in sorted(set(rows["repeat"])):
            mine = (rows["repeat"] == repeat).to_numpy()
            measures = (metrics.expected_calibration_error, metrics.brier, metrics.log_loss)
            of_repeats.append([measure(truth[mine], p[mine], labels) for measure in measures])
        ece, brier, log_loss = np.mean(of_repeats, axis=0)
        everything = metrics.reliability(truth, p, labels)
        weights = everything.n / everything.n.sum()
        scores.append(
            named
            | {"n_labels": group["n_labels"].mean(), "ece": ece, "brier": brier, "log_loss": log_loss}
            | {
                "confidence": float(np.nansum(weights * everything.confidence)),
                "accuracy": float(np.nansum(weights * everything.accuracy)),
                "n": len(rows) / len(of_repeats),
                "repeats": len(of_repeats),
            }
        )
        bins += [
            named | {"bin": i, "n": n, "confidence": everything.confidence[i], "accuracy": everything.accuracy[i]}
            for i, n in enumerate(everything.n.tolist())
            if n
        ]
    if not scores:
        return pd.DataFrame(), pd.DataFrame()
    return in_order(pd.DataFrame(scores)), in_order(pd.DataFrame(bins))


def confusion_counts(jobs: pd.DataFrame, given: Answers, labels: Sequence[str]) -> NDArray[np.int64]:
    """Answers pooled over the folds and repeats of `jobs`: `(classes, classes)`, true by predicted."""
    mine = given.of(jobs["job_id"])
    table = mine.pivot_table(index="y_true", columns="y_pred", values="n", aggfunc="sum", fill_value=0)
    order = pd.Index(labels)
    counts: NDArray[np.int64] = table.reindex(index=order, columns=order, fill_value=0).to_numpy(dtype=np.int64)
    return counts


def curves(results: Results, jobs: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Learning curves: `job_id, epoch` and one column a name, for the jobs given."""
    marks = ", ".join("?" * len(names))
    rows = results.frame(f"SELECT job_id, epoch, name, value FROM curves WHERE name IN ({marks})", tuple(names))
    rows = rows[rows["job_id"].isin(set(jobs["job_id"]))]
    wide = rows.pivot(index=["job_id", "epoch"], columns="name", values="value").reset_index()
    return wide.reindex(columns=["job_id", "epoch", *names])


# What was run --------------------------------------------------------------------------------------------------------------


def planned_jobs(results: Results) -> pd.DataFrame:
    """Every planned job once: `job_id, kind, status, error, seconds, device, versions, description`.

    The status of a job that has not been run is `not run`; its kind is unknown (empty) and its description None.
    """
    jobs = results.frame("SELECT job_id, description, status, error, seconds, device, versions FROM jobs")
    jobs["description"] = [json.loads(text) for text in jobs["description"]]
    jobs["kind"] = [description["kind"] for description in jobs["description"]]
    joined = results.frame("SELECT DISTINCT job_id FROM plans").merge(jobs, on="job_id", how="left")
    joined["status"] = joined["status"].fillna("not run")
    for column in ("kind", "error", "device", "versions"):
        joined[column] = joined[column].astype(object).fillna("")
    joined["seconds"] = joined["seconds"].astype(float).fillna(0.0)
    return joined


def time_by_experiment(results: Results) -> pd.DataFrame:
    """`experiment, jobs, seconds`: the jobs that were run, and the sum of their times. A job of two experiments is in both."""
    return results.frame(
        "SELECT experiment, COUNT(*) AS jobs, SUM(seconds) AS seconds FROM plans JOIN jobs USING (job_id) "
        "WHERE status != 'elsewhere' GROUP BY 1 ORDER BY seconds DESC, experiment"
    )


def version_sets(jobs: pd.DataFrame) -> pd.DataFrame:
    """The sets of package versions that the jobs were made with: `jobs` (how many) and one column a package, most jobs first.

    Args:
        jobs: of `planned_jobs`. Those without versions, which were never run, are left out.
    """
    counts = jobs.loc[~jobs["versions"].isin(["", "{}"]), "versions"].value_counts()
    rows = [{"jobs": int(n), **json.loads(str(text))} for text, n in counts.items()]
    return pd.DataFrame(rows).fillna("–") if rows else pd.DataFrame(columns=["jobs"])


def dotted(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Options of options under one name, as on the command line.

    >>> dotted({"seed": 0, "pretraining": {"epochs": 4, "loss": "a"}})
    {'seed': 0, 'pretraining.epochs': 4, 'pretraining.loss': 'a'}
    """
    found: dict[str, Any] = {}
    for name, value in options.items():
        nested = isinstance(value, Mapping) and bool(value)
        found |= dotted(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return found


def job_counts(jobs: pd.DataFrame) -> pd.DataFrame:
    """Jobs by kind: `kind, planned, done, refused, failed, not_run, seconds`."""
    rows = []
    for kind, group in jobs.groupby(jobs["kind"].replace("", "not run yet")):
        status = group["status"].value_counts()
        words = {"done": "done", "refused": "refused", "failed": "failed", "not_run": "not run"}
        row: dict[str, Any] = {"kind": kind, "planned": len(group)}
        rows.append(
            row | {k: int(status.get(word, 0)) for k, word in words.items()} | {"seconds": group["seconds"].sum()}
        )
    return pd.DataFrame(rows)


def settings(jobs: pd.DataFrame) -> pd.DataFrame:
    """What the jobs of each kind share: `setting` and one column a kind; several values are several configurations.

    What jobs differ in by design (fold, split, seed, view, start, pre-training data, label budget, repeat) is left out.
    """
    by_design = {
        *("kind", "fold", "split", "seed", "view", "views", "init", "inits", "frozen", "budget", "repeat", "method"),
        *("data", "size", "keep", "label_seed"),
    }
    found: dict[str, dict[str, dict[str, None]]] = {}
    for description in jobs["description"].dropna():
        shared = {k: v for k, v in description.items() if k not in by_design and k != "config"}
        for name, value in (shared | description.get("config", {})).items():
            values = found.setdefault(name, {}).setdefault(description["kind"], {})
            values["none" if value is None else str(value)] = None
    kinds = sorted({kind for of_setting in found.values() for kind in of_setting})
    rows = [
        {"setting": name, **{kind: ", ".join(of_setting.get(kind, ["–"])) for kind in kinds}}
        for name, of_setting in found.items()
    ]
    return pd.DataFrame(rows, columns=["setting", *kinds])


def folds(description: Mapping[str, Any], utterances: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """Who tests in each fold: `fold, groups, speakers, recordings, n_LABEL…, unlabelled, split_hash`."""
    rows = []
    for fold, split_hash in description.get("folds", {}).items():
        groups = description.get("test_groups", {}).get(fold, [])
        test = utterances[utterances["group"].isin(groups)]
        per_label = test["emotion"].value_counts()
        row = {"fold": fold, "groups": ", ".join(groups), "speakers": (test["speaker"].replace("", pd.NA)).nunique()}
        row |= {"recordings": len(test)} | {f"n_{label}": int(per_label.get(label, 0)) for label in labels}
        rows.append(row | {"unlabelled": int(per_label.get("", 0)), "split_hash": split_hash})
    return pd.DataFrame(rows)


def views(description: Mapping[str, Any]) -> pd.DataFrame:
    """The inputs: `view, fingerprint, name, version, parameters, axes, weights, licence`."""
    rows = []
    for label, described in description.get("views", {}).items():
        spec = ViewSpec.of(described)
        rows.append(
            {
                "view": label,
                "fingerprint": spec.fingerprint,
                "name": spec.name,
                "version": spec.version,
                "axes": " × ".join(
                    f"{axis} {size or ''}".strip() for axis, size in zip(spec.axes, spec.shape, strict=True)
                ),
                "parameters": ", ".join(f"{k} {v}" for k, v in spec.parameters.items()) or "none",
                "weights": spec.weights or "none",
                "licence": spec.licence,
            }
        )
    return pd.DataFrame(rows)
