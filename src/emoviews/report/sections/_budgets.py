"""Label budgets and rules of validation, as the parts of the section on few labels pick their rows by them."""

from __future__ import annotations

from typing import Final

import pandas as pd

from emoviews.experiments.sparse import BUDGET, RULES
from emoviews.report.tables import named_budgets

SHARES, NUMBERS = "shares", "numbers"
KINDS: Final = {SHARES: "label_fraction", NUMBERS: "labels_per_class"}
"""The two kinds of budget, and the column that names a budget of that kind."""


def rules_of(scores: pd.DataFrame) -> list[str]:
    """The rules that occur, the paper's first."""
    return [rule for rule in RULES if rule in set(scores["validation"])]


def of_kind(scores: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows with a budget of one kind."""
    return scores[scores[KINDS[kind]].notna()]


def where(frame: pd.DataFrame, **values: str) -> pd.DataFrame:
    """The rows that have these values."""
    for name, value in values.items():
        frame = frame[frame[name] == value]
    return frame


def best_rows(scores: pd.DataFrame) -> pd.DataFrame:
    """The row with the highest UAR for each budget, of the rows of one rule."""
    best = scores.loc[scores.groupby(BUDGET, dropna=False)["pooled_uar"].idxmax()]
    return best.sort_values(["labels_per_class", "label_fraction"], na_position="first")


def fewest_and_most(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with the budget of the fewest labels and with that of the most."""
    named = frame.assign(budget=named_budgets(frame))
    labels = named.groupby("budget")["n_labels"].mean()
    return named[named["budget"].isin([labels.idxmin(), labels.idxmax()])]
