"""Pre-trained against supervised: the sound comparison over speakers, and the paper's over repeats."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
import scipy  # scipy.stats takes most of a second to import; SciPy loads it at the first use
from markupsafe import Markup

from emoviews.experiments.sparse import BUDGET
from emoviews.report.blocks import Block, Text
from emoviews.report.sections._budgets import rules_of, where
from emoviews.report.tables import (
    PRETRAINED,
    SUPERVISED,
    Column,
    Table,
    budget_name,
    count,
    interval,
    listed,
    named_budgets,
    p_value,
    percent,
    points,
    signed,
)


def _outcome(row: Mapping[Any, Any]) -> str:
    """What a difference's interval says of the first method."""
    if math.isnan(row["low"]) or math.isnan(row["high"]):
        return "no interval"
    return "better" if row["low"] > 0 else "worse" if row["high"] < 0 else "undecided"


def verdict(gaps: pd.DataFrame) -> list[Block]:
    """Whether pre-training helped, in words, rule by rule."""
    if gaps.empty:
        return []
    blocks: list[Block] = []
    for rule in rules_of(gaps):
        blocks += _rule_verdict(where(gaps, validation=rule), rule)
    return blocks


def _rule_verdict(gaps: pd.DataFrame, rule: str) -> list[Block]:
    rows = gaps.to_dict("records")
    outcomes = [_outcome(row) for row in rows]
    n, better, worse = len(rows), outcomes.count("better"), outcomes.count("worse")
    if "no interval" in outcomes:
        first = "Whether pre-training helped can't be told from this run: one test speaker gives no interval."
    elif not better and not worse:
        where = f"in each of {n} comparisons" if n > 1 else "in the one comparison made"
        first = (
            "Pre-training neither clearly helped nor clearly hurt: the 95 % interval of its difference to supervised "
            f"training includes 0 {where}."
        )
    else:
        parts = [f"{word} in {times}" for word, times in (("better", better), ("worse", worse)) if times]
        parts += [f"undecided, with a 95 % interval that includes 0, in {n - better - worse}"] * (n > better + worse)
        first = (
            f"Pre-trained and tuned, compared with supervised training on the same labels, was {listed(parts)} of {n} "
            "comparisons."
        )
    if n >= 5 and (better or worse):
        left = int((gaps["p_holm"] < 0.05).sum())
        first += (
            " About one such interval in twenty excludes 0 by chance alone; after Holm's correction "
            f"{left or 'none'} of the {n} tests stay{'s' * (left <= 1)} below p = 0.05."
        )
        speakers = int(gaps["n_speakers"].max())
        if not left and family_of(gaps) * _smallest_p(speakers) > 0.05:
            first += f" With {speakers} test speakers and {family_of(gaps)} tests of a view none can."
    lines = []
    for view in dict.fromkeys(gaps["view"]):
        told = []
        for outcome in dict.fromkeys(outcomes):
            these = [row for row, o in zip(rows, outcomes, strict=True) if row["view"] == view and o == outcome]
            if not these:
                continue
            names = listed([budget_name(row[BUDGET[0]], row[BUDGET[1]]) for row in these])
            low, high = (points(end([row["difference"] for row in these])) for end in (min, max))
            told.append(
                Markup("<em>{}</em> with {}: {}").format(outcome, names, low if low == high else f"{low} to {high}")
            )
        lines.append(Markup("<strong>{}</strong>: {}.").format(view, Markup("; ").join(told)))
    intro = (
        "Pre-trained minus supervised by label budget, in percentage points of UAR (smallest to largest difference):"
    )
    head = Markup("Validation “{}”: <strong>{}</strong>").format(rule, first)
    return [Text((head,)), Text((intro,)), Text(tuple(lines), is_list=True)]


def _smallest_p(n_speakers: int) -> float:
    """The smallest p that an exact paired test of so many speakers can have."""
    return float(2.0 ** (1 - min(n_speakers, 60)))


def smallest_p_note(n_speakers: int, family: int) -> str:
    """A sentence on what the tests can't show with so few speakers; empty where there are enough.

    >>> smallest_p_note(6, 3)
    ' With 6 speakers no p can be below 0.031, and none below 0.094 when corrected.'
    >>> smallest_p_note(40, 3)
    ''
    """
    smallest = _smallest_p(n_speakers)
    if smallest * family <= 0.01:
        return ""
    corrected = min(1.0, smallest * family)
    return (
        f" With {n_speakers} speakers no p can be below {smallest:.2g}, and none below {corrected:.2g} when corrected."
    )


def family_of(gaps: pd.DataFrame) -> int:
    """How many tests are corrected together: those of a view, of one rule."""
    return int(gaps["view"].value_counts().max())


def difference_tables(gaps: pd.DataFrame) -> list[Block]:
    """The sound comparison: intervals and tests over speakers, a table a rule."""
    return [_difference_table(where(gaps, validation=rule), rule) for rule in rules_of(gaps)]


def _difference_table(gaps: pd.DataFrame, rule: str) -> Table:
    rows = gaps.to_dict("records")
    shown = gaps.assign(
        budget=named_budgets(gaps),
        interval=[interval(row["low"], row["high"], points) for row in rows],
        outcome=[_outcome(row) for row in rows],
    )
    columns = {
        "view": Column("View"),
        "budget": Column("Budget", str, True),
        "n_labels": Column("Labels", count, True),
        "difference": Column("Difference", points, True),
        "interval": Column("95 % interval", str, True),
        "outcome": Column("Pre-trained\nis"),
        "d_z": Column("d_z", signed, True),
        "p_sign_flip": Column("p\nsign-flip", p_value, True),
        "p_holm": Column("p, Holm\nsign-flip", p_value, True),
        "p_wilcoxon": Column("p\nWilcoxon", p_value, True),
        "p_wilcoxon_holm": Column("p, Holm\nWilcoxon", p_value, True),
    }
    n, family = int(gaps["n_speakers"].max()), family_of(gaps)
    caption = (
        f"Validation “{rule}”: UAR of “{PRETRAINED}” minus UAR of “{SUPERVISED}”, in percentage points, on the same "
        f"folds, labels and test recordings ({n} speakers, {count(gaps['n_pairs'].max())} pairs of trainings a row). "
        "Interval: bootstrap that draws speakers for both methods together. Tests: of the speakers' differences, "
        "repeats averaged within a speaker; d_z: their mean over their standard deviation; Holm: p corrected for the "
        f"{family} tests of a view in this table.{smallest_p_note(n, family)}"
    )
    return Table.of(f"pre-trained-minus-supervised-{rule}", caption, shown, columns)


def t_note(n_repeats: int) -> str:
    """How wide Student's interval over so many repeats is, and that it is cut to what UAR can be.

    >>> t_note(2)
    ', cut to 0 and 100 %; wide, as 2 repeats leave 1 degree of freedom: 12.7 standard errors to either side'
    """
    if n_repeats < 2:
        return ", of which one repeat gives none"
    freedom, times = n_repeats - 1, float(scipy.stats.t.ppf(0.975, n_repeats - 1))
    return (
        f", cut to 0 and 100 %; wide, as {n_repeats} repeats leave {freedom} degree{'s' * (freedom > 1)} of freedom: "
        f"{times:.1f} standard errors to either side"
    )


def paper_tables(scores: pd.DataFrame, gaps: pd.DataFrame) -> list[Block]:
    """The paper's comparison, a table a rule: mean UAR with t intervals, and the U test in the readings of its unit."""
    sides = scores[scores["method"].isin([SUPERVISED, PRETRAINED])]
    of_method = {
        (row["view"], row["validation"], budget, row["method"]): row
        for row, budget in zip(sides.to_dict("records"), named_budgets(sides), strict=True)
    }
    found: list[Block] = []
    for rule in rules_of(gaps):
        mine = where(gaps, validation=rule)
        kept = ["view", "validation", *BUDGET, "n_labels", "n_repeats", "n_pairs", "n_folds"]
        raw, budgets = mine[kept].reset_index(drop=True), named_budgets(mine)
        for method, name in ((SUPERVISED, "supervised"), (PRETRAINED, "pretrained")):
            rows = [of_method[view, rule, budget, method] for view, budget in zip(raw["view"], budgets, strict=True)]
            for column in ("mean_uar", "t_low_repeats", "t_high_repeats", "t_low_trainings", "t_high_trainings"):
                raw[f"{name}_{column}"] = [row[column] for row in rows]
        tests = ["p_mann_whitney_folds", "folds_below_05", "p_mann_whitney", "cliffs_delta"]
        tests += ["p_mann_whitney_repeats", "cliffs_delta_repeats"]
        raw[tests] = mine[tests].to_numpy()
        shown = raw.assign(budget=budgets)
        for name in ("supervised", "pretrained"):
            ends = zip(
                *(raw[f"{name}_{column}"] for column in ("mean_uar", "t_low_repeats", "t_high_repeats")), strict=True
            )
            shown[name] = [f"{percent(mean)}\n({interval(low, high)})" for mean, low, high in ends]
        can = 2 / math.comb(2 * int(mine["n_repeats"].max()), int(mine["n_repeats"].max())) < 0.05
        counted = [f"{row['folds_below_05']} of {row['n_folds']}" for row in raw.to_dict("records")]
        shown["within"] = counted if can else ["–"] * len(raw)  # so few repeats can't differ that much
        repeats, pairs = count(mine["n_repeats"].max()), count(mine["n_pairs"].max())
        columns = {
            "view": Column("View"),
            "budget": Column("Budget", str, True),
            "supervised": Column("Supervised\nmean UAR %", str, True),
            "pretrained": Column("Pre-trained\nmean UAR %", str, True),
            "within": Column("Folds with p < 0.05\nU test in each", str, True),
            "p_mann_whitney": Column(f"p, U test\n{pairs} against {pairs} trainings", p_value, True),
            "cliffs_delta": Column("Cliff's δ\ntrainings", signed, True),
            "p_mann_whitney_repeats": Column(f"p, U test\n{repeats} against {repeats} repeats", p_value, True),
            "cliffs_delta_repeats": Column("Cliff's δ\nrepeats", signed, True),
        }
        n = int(mine["n_repeats"].max())
        smallest = 2 / math.comb(2 * n, n)
        limit = f" With {n} repeats no p within a fold, nor of {n} means, can be below {smallest:.2g}." if n < 5 else ""
        if n == 1:
            limit = " One repeat gives no test within a fold, nor of means: its p is always 1."
        caption = (
            f"Validation “{rule}”, the paper's way (section 4.2): mean UAR over folds and repeats with Student's 95 % "
            "interval, and the Mann-Whitney U test. The paper does not say what its test counts, so its readings are "
            "here: the repeats of each fold (how many folds differ; each p is in the CSV file), all trainings, and the "
            f"repeats averaged over folds (so are the intervals{t_note(n)}).{limit} In all of them values on the same test "
            "speakers, and encoders from one pre-training a fold, are taken as independent: a small p says that other draws of "
            "labels and seeds would give the same order, not that other speakers or another pre-training would. Not "
            "corrected for the number of tests. δ: share of pairs in which pre-trained is better minus share in which it "
            "is worse."
        )
        found.append(Table.of(f"paper-comparison-{rule}", caption, raw, columns, shown=shown))
    return found
