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

from emoviews import statistics
from emoviews.experiments.sparse import METHODS
from emoviews.metrics import mean_recall
from emoviews.results import Results
from emoviews.store import write_atomically
from emoviews.types import ViewSpec

SUPERVISED: Final = METHODS["finetuning", "random", False]
PRETRAINED: Final = METHODS["finetuning", "pretrained", False]

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
        cls, slug: str, caption: str, raw: pd.DataFrame, columns: Mapping[str, Column], on_page: bool = True
    ) -> Table:
        """A frame shown row by row, in the columns named."""
        headings = tuple(Cell(column.heading, column.numeric) for column in columns.values())
        shown = [[Cell(c.show(value), c.numeric) for value in raw[name]] for name, c in columns.items()]
        return cls(slug, caption, raw, headings, tuple(zip(*shown, strict=True)), on_page)

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

    def write(self, folder: Path) -> None:
        """Write `SLUG.csv` with the exact values and `SLUG.md` as shown."""
        write_atomically(folder / f"{self.slug}.csv", self.raw.to_csv(index=False).encode())
        write_atomically(folder / f"{self.slug}.md", self.markdown().encode())


def _markdown_cell(cell: Cell) -> str:
    text = " ".join(cell.lines).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return f"**{text}**" if cell.strong else text


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


def span(low: float, high: float, show: Callable[[float], str] = percent) -> str:
    """The two ends of an interval.

    >>> span(0.38, 0.592), span(-0.04, 0.101, points)
    ('38.0 to 59.2', '−4.0 to +10.1')
    """
    return "no interval" if math.isnan(low) or math.isnan(high) else f"{show(low)} to {show(high)}"


def share(fraction: float) -> str:
    """A share, with as many digits as it needs and a space that is never broken.

    >>> share(0.025) == f"2.5{chr(160)}%"
    True
    """
    return f"{100 * fraction:.3g}\u00a0%"


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
    """The finished classifiers of an experiment: the tidy rows of their test parts, with the method's `name`."""
    tidy = results.tidy(experiment)
    tidy = tidy[(tidy["split"] == "test") & tidy["uar"].notna()]
    described = zip(tidy["method"], tidy["init"].fillna(""), tidy["frozen"].fillna(False).astype(bool), strict=True)
    return tidy.assign(name=[METHODS.get(key, " ".join(map(str, key))) for key in described])


def answers(results: Results, jobs: Iterable[str]) -> pd.DataFrame:
    """How often each classifier gave which answer for which speaker: `job_id, speaker, y_true, y_pred, n`.

    An utterance without a speaker is a speaker of its own, as in `Results.speakers`.
    """
    counted = results.frame(
        "SELECT p.job_id, COALESCE(NULLIF(u.speaker, ''), p.id) AS speaker, p.y_true, p.y_pred, COUNT(*) AS n "
        "FROM predictions AS p LEFT JOIN utterances AS u ON u.id = p.id GROUP BY 1, 2, 3, 4"
    )
    return counted[counted["job_id"].isin(set(jobs))].reset_index(drop=True)


def speaker_scores(jobs: pd.DataFrame, given: pd.DataFrame) -> pd.DataFrame:
    """Each test speaker's UAR with each method: `view, name, label_fraction, speaker, uar, n`.

    A speaker's UAR is the mean of the recalls of the classes that the speaker has; repeats are averaged.

    Args:
        jobs: of `classifiers`.
        given: of `answers`.
    """
    right = given["n"].where(given["y_true"] == given["y_pred"], 0)
    cells = given.assign(right=right).groupby(["job_id", "speaker", "y_true"], sort=False)[["n", "right"]].sum()
    cells["uar"] = cells["right"] / cells["n"]
    scores = cells.groupby(level=["job_id", "speaker"]).agg(n=("n", "sum"), uar=("uar", "mean")).reset_index()
    scores = scores.merge(jobs[["job_id", "view", "name", "label_fraction"]], on="job_id")
    keys = ["view", "name", "label_fraction", "speaker"]
    return scores.groupby(keys).agg(uar=("uar", "mean"), n=("n", "mean")).reset_index()


def differences(
    jobs: pd.DataFrame, given: pd.DataFrame, first: str = PRETRAINED, second: str = SUPERVISED
) -> pd.DataFrame:
    """UAR of `first` minus UAR of `second` for each view and share of labels, paired by fold, repeat and speaker.

    The difference is that of the UARs pooled over folds and averaged over repeats; its interval is a bootstrap that draws
    speakers for both methods together. `p_sign_flip` tests the differences of the speakers, `p_holm` is it after Holm's
    correction over all rows; `p_mann_whitney` is the paper's test (section 4.2), which takes every fold and repeat as
    independent.

    Args:
        jobs: of `classifiers`; only folds and repeats that both methods have finished are compared.
        given: of `answers`.
        first: a method's name.
        second: likewise.

    Returns:
        `view, label_fraction, n_labels, difference, low, high, p_sign_flip, p_holm, p_mann_whitney, n_speakers, n_pairs`.
    """
    pair = ["fold", "repeat"]
    rows = []
    for (view, fraction), group in jobs.groupby(["view", "label_fraction"]):
        sides = [group[group["name"] == name].drop_duplicates(pair) for name in (first, second)]
        common = sides[0][pair].merge(sides[1][pair])
        if common.empty:
            continue
        sides = [side.merge(common, on=pair) for side in sides]
        counts = _tensors(given, sides)
        speakers = np.arange(counts[0][0].shape[1])
        interval = statistics.clustered_bootstrap(_pooled_gap(*counts), speakers, n_resamples=N_RESAMPLES)
        gap = mean_recall(*counts[0]) - mean_recall(
            *counts[1]
        )  # (repeats, speakers), NaN where a speaker was not tested
        tested = ~np.isnan(gap)
        of_speakers = np.where(tested, gap, 0).sum(axis=0) / tested.sum(axis=0)
        rows.append(
            {
                "view": view,
                "label_fraction": fraction,
                "n_labels": sides[0]["n_labels"].mean(),
                "difference": interval.estimate,
                "low": interval.low,
                "high": interval.high,
                "p_sign_flip": statistics.sign_flip_test(of_speakers).p_value,
                "p_mann_whitney": statistics.mann_whitney_u(sides[0]["uar"], sides[1]["uar"]).p_value,
                "n_speakers": len(speakers),
                "n_pairs": len(common),
            }
        )
    found = pd.DataFrame(rows)
    if not found.empty:
        found.insert(7, "p_holm", statistics.holm(found["p_sign_flip"]))
    return found


Counts = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Right answers and rows, each `(repeats, speakers, classes)`."""


def _pooled_gap(first: Counts, second: Counts) -> Callable[[NDArray[np.int64]], float]:
    """The difference of two pooled UARs, averaged over repeats, as a function of the speakers drawn."""

    def gap(drawn: NDArray[np.int64]) -> float:
        times = np.bincount(drawn, minlength=first[0].shape[1]).astype(float)
        found = mean_recall(times @ first[0], times @ first[1]) - mean_recall(times @ second[0], times @ second[1])
        known = found[~np.isnan(found)]  # a repeat none of whose speakers was drawn has no UAR
        return float(known.mean()) if known.size else math.nan

    return gap


def _tensors(given: pd.DataFrame, sides: Sequence[pd.DataFrame]) -> tuple[Counts, Counts]:
    """The counts of each side, over the same repeats, speakers and classes."""
    parts = [given.merge(side[["job_id", "repeat"]], on="job_id") for side in sides]
    together = pd.concat(parts, keys=range(len(parts)), names=["side"])
    codes = [pd.factorize(together[c], sort=True) for c in ("repeat", "speaker", "y_true")]
    shape = (len(parts), *(len(values) for _, values in codes))
    cell = np.ravel_multi_index((together.index.get_level_values("side"), *(code for code, _ in codes)), shape)
    n = together["n"].to_numpy(dtype=float)
    hit = (together["y_true"] == together["y_pred"]).to_numpy()
    size = math.prod(shape)
    right = np.bincount(cell, weights=n * hit, minlength=size).reshape(shape)
    total = np.bincount(cell, weights=n, minlength=size).reshape(shape)
    return (right[0], total[0]), (right[1], total[1])


def confusion_counts(jobs: pd.DataFrame, given: pd.DataFrame, labels: Sequence[str]) -> NDArray[np.int64]:
    """Answers pooled over the folds and repeats of `jobs`: `(classes, classes)`, true by predicted."""
    mine = given[given["job_id"].isin(set(jobs["job_id"]))]
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
    """Every planned job once: `job_id, kind, status, error, seconds, device, description`.

    The status of a job that has not been run is `not run`; its kind is unknown (empty) and its description None.
    """
    jobs = results.frame("SELECT job_id, description, status, error, seconds, device FROM jobs")
    jobs["description"] = [json.loads(text) for text in jobs["description"]]
    jobs["kind"] = [description["kind"] for description in jobs["description"]]
    joined = results.frame("SELECT DISTINCT job_id FROM plans").merge(jobs, on="job_id", how="left")
    joined["status"] = joined["status"].fillna("not run")
    for column in ("kind", "error", "device"):
        joined[column] = joined[column].astype(object).fillna("")
    joined["seconds"] = joined["seconds"].astype(float).fillna(0.0)
    return joined


def job_counts(jobs: pd.DataFrame) -> pd.DataFrame:
    """Jobs by kind: `kind, planned, done, failed, not_run, seconds`."""
    rows = []
    for kind, group in jobs.groupby(jobs["kind"].replace("", "not run yet")):
        status = group["status"].value_counts()
        words = {"done": "done", "failed": "failed", "not_run": "not run"}
        row: dict[str, Any] = {"kind": kind, "planned": len(group)}
        rows.append(
            row | {k: int(status.get(word, 0)) for k, word in words.items()} | {"seconds": group["seconds"].sum()}
        )
    return pd.DataFrame(rows)


def settings(jobs: pd.DataFrame) -> pd.DataFrame:
    """What the jobs of each kind share: `setting` and one column a kind; several values are several configurations.

    What jobs differ in by design (fold, split, seed, view, start, label budget, repeat) is left out.
    """
    by_design = {"kind", "fold", "split", "seed", "view", "views", "init", "frozen", "budget", "repeat", "method"}
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
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in described.items()}
        spec = ViewSpec(**fields)
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
