"""Losses to pre-train with, each against the paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from emoviews import statistics
from emoviews.experiments import Experiment
from emoviews.experiments.objectives import (
    ENCODERS,
    LOSSES,
    METHODS,
    PAPER,
    RANDOM_FROZEN,
    SCORES,
    SUPERVISED,
    classifiers,
)
from emoviews.experiments.sparse import Answers
from emoviews.report import figures, tables
from emoviews.report.blocks import Block, Made, Panel, Picture, Section, Text
from emoviews.report.run import Run
from emoviews.report.sections._comparison import smallest_p_note
from emoviews.report.sections.temperature import Show, table_of_rows
from emoviews.report.tables import Table, count, interval, listed, p_value, percent, points, share, slug

_NOTES: Final = {
    PAPER: "each recording is to find its own other view among all vectors of the batch",
    "NT-Xent, cross-view": "the same, among the vectors of the other view alone",
    "VICReg": "the views of a recording are to agree, in components that vary and are not correlated",
    "Barlow Twins": "each component is to be correlated with itself in the other view, and with no other",
    "SupCon, labels": (
        "as the first, but recordings with the same label are drawn together as well; it sees the labels that its classifier "
        "is then trained with, and no others"
    ),
}

_FAMILY: Final = ["view", "validation", "label_fraction", "encoder"]
"""What the tests that are corrected together have in common."""


def section(run: Run, experiment: Experiment, made: Made) -> tuple[Section, list[Block]]:
    """Of the experiment `objectives`."""
    scores = made[SCORES]
    jobs = classifiers(run.results)
    gaps = differences(jobs, tables.answers(run.results, jobs["job_id"]))
    groups = [group for _, group in scores.groupby(["view", "validation"], sort=False)]
    intro = (
        "The paper has one loss. Here the encoders are pre-trained with others too, alike but for the loss: the same "
        "recordings, initial weights and batches, and for each loss the settings of its own paper, none of them tuned. On each "
        "encoder the same classifiers are trained, with the same labels and seeds."
    )
    notes = tuple(Markup("<strong>{}</strong>: {}.").format(name, _NOTES[name]) for name in LOSSES)
    blocks: list[Block] = [Text((intro,)), Text(notes, is_list=True), _picture(run, groups)]
    blocks += [_table(group, gaps) for group in groups]
    return Section(experiment.title, tuple(blocks)), _verdict(gaps)


def differences(jobs: pd.DataFrame, given: Answers) -> pd.DataFrame:
    """`report.tables.differences` of each method to the paper's loss: tuned to tuned, frozen to frozen.

    Supervised training from scratch stands among the tuned, the random encoder among the frozen. Holm's correction is over the
    methods of one view, rule, budget and kind of encoder.

    Args:
        jobs: of `experiments.objectives.classifiers`.
        given: of `report.tables.answers`.

    Returns:
        `method, encoder, view, validation, label_fraction, n_labels, difference, low, high, d_z, p_sign_flip, p_holm,
        p_wilcoxon, n_speakers, n_pairs`; empty where nothing can be compared.
    """
    kept = ["view", "validation", "label_fraction", "n_labels", "difference", "low", "high", "d_z", "p_sign_flip"]
    kept += ["p_wilcoxon", "n_speakers", "n_pairs"]
    found = []
    for encoder, beside in zip(ENCODERS, (SUPERVISED, RANDOM_FROZEN), strict=True):
        reference = f"{PAPER}, {encoder}"
        for method in (beside, *(f"{objective}, {encoder}" for objective in LOSSES)):
            gap = pd.DataFrame() if method == reference else tables.differences(jobs, given, method, reference)
            if not gap.empty:
                found.append(gap[kept].assign(method=method, encoder=encoder))
    if not found:
        return pd.DataFrame()
    table = pd.concat(found, ignore_index=True)
    p_holm = table.groupby(_FAMILY)["p_sign_flip"].transform(statistics.holm)
    table.insert(list(table).index("p_sign_flip") + 1, "p_holm", p_holm)
    return table[["method", "encoder", *(name for name in table if name not in ("method", "encoder"))]]


def _table(scores: pd.DataFrame, gaps: pd.DataFrame) -> Table:
    """A row a method of one view and rule; for each budget its UAR and the difference to the paper's loss."""
    keys = ["view", "validation", "label_fraction", "method"]
    raw = (
        scores
        if gaps.empty
        else scores.merge(gaps.drop(columns=["encoder", "n_labels"]), "left", on=keys, suffixes=("", "_gap"))
    )
    view, rule = str(raw["view"].iloc[0]), str(raw["validation"].iloc[0])
    found = {(row["method"], row["label_fraction"]): row for row in raw.to_dict("records")}
    shown: dict[str, Show] = {"Method": lambda row: str(row["method"])}
    for fraction, group in raw.groupby("label_fraction"):
        budget = f"{share(float(str(fraction)))}, {count(group['n_labels'].mean())} labels"
        shown[f"UAR %\n{budget}"] = lambda row, f=fraction: _score(found.get((row["method"], f)))  # type: ignore[misc]
        if not gaps.empty:
            shown[f"minus {PAPER}\n{budget}"] = lambda row, f=fraction: _gap(found.get((row["method"], f)))  # type: ignore[misc]
    caption = (
        f"{view}, validation “{rule}”: test UAR in %, pooled over {count(raw['folds'].max())} folds and averaged over "
        f"{count(raw['repeats'].max())} repeats; 95 % interval by a bootstrap that draws speakers "
        f"({count(raw['speakers'].max())})."
    )
    if (raw["n_jobs"] < raw["n_jobs"].max()).any():
        caption += " Rows with fewer trainings can't be compared with the rest."
    if not gaps.empty:
        mine = gaps[(gaps["view"] == view) & (gaps["validation"] == rule)]
        n, family = int(mine["n_speakers"].max()), int(mine.groupby(_FAMILY).size().max())
        caption += (
            f" Differences in percentage points, paired by fold, repeat and speaker, tuned minus “{PAPER}, tuned” and frozen "
            f"minus “{PAPER}, frozen”; p of the sign-flip test on the speakers' differences, after Holm's correction for the "
            f"{family} methods of a budget and kind of encoder.{smallest_p_note(n, family)}"
        )
    one_a_row = raw.drop_duplicates("method")
    table = table_of_rows(f"objectives-{slug(view)}-{rule}", caption, one_a_row, shown)
    return Table(table.slug, table.caption, raw, table.headings, table.rows)


def _score(row: Mapping[Any, Any] | None) -> str:
    return "–" if row is None else f"{percent(row['pooled_uar'])}\n({interval(row['low'], row['high'])})"


def _gap(row: Mapping[Any, Any] | None) -> str:
    if row is None or pd.isna(row["difference"]):
        return "–"
    return f"{points(row['difference'])}\n({interval(row['low_gap'], row['high_gap'], points)})\np {p_value(row['p_holm'])}"


def _verdict(gaps: pd.DataFrame) -> list[Block]:
    """How many of the comparisons with the paper's loss are clear, in words."""
    own = gaps if gaps.empty else gaps[~gaps["method"].isin([SUPERVISED, RANDOM_FROZEN])]
    if own.empty:
        return []
    lines = []
    for encoder in ENCODERS:
        rows = own[own["encoder"] == encoder]
        if rows.empty:
            continue
        better, worse = rows[rows["low"] > 0], rows[rows["high"] < 0]
        left = int((rows["p_holm"] < 0.05).sum())
        told = [
            f"{word} in {len(clear)} ({listed(sorted({str(m).removesuffix(f', {encoder}') for m in clear['method']}))})"
            for word, clear in (("better", better), ("worse", worse))
            if len(clear)
        ]
        outcome = listed([*told, f"undecided in {len(rows) - len(better) - len(worse)}"])
        line = Markup(
            "<strong>{}</strong>: {} of {} comparisons by 95 % intervals; {} of the tests below 0.05 after Holm."
        )
        lines.append(line.format(encoder, outcome, len(rows), left or "none"))
    return [Text((f"Other losses than “{PAPER}”, over views and budgets:",)), Text(tuple(lines), is_list=True)]


def _picture(run: Run, groups: Sequence[pd.DataFrame]) -> Picture:
    panels = []
    for group in groups:
        view, rule = group["view"].iloc[0], group["validation"].iloc[0]
        rows = group.to_dict("records")
        told = "; ".join(f"{r['method']} with {share(r['label_fraction'])} {percent(r['pooled_uar'])} %" for r in rows)
        alt = f"Dot chart of test UAR on {view}, validation {rule}: {told}; chance {percent(run.chance)} %."
        panels.append(Panel(f"objectives-{slug(view)}-{rule}", uar_by_objective([group], run.chance), alt))
    caption = (
        "Test UAR of the classifiers, pooled over folds and averaged over repeats; bars: 95 % intervals over speakers. "
        "Hollow: few labels; filled: the most."
    )
    return Picture(caption, tuple(panels), Panel("objectives", uar_by_objective(groups, run.chance), ""))


@figures.styled
def uar_by_objective(groups: Sequence[pd.DataFrame], chance: float) -> Figure:
    """Test UAR of each method with its interval, a row a method, a marker a budget.

    Args:
        groups: a panel each: `view, method, label_fraction, pooled_uar, low, high` of one view and rule.
        chance: UAR of guessing.
    """
    together = pd.concat(groups)
    methods = [method for method in METHODS if method in set(together["method"])]
    budgets = sorted(set(together["label_fraction"]))
    width, _ = figures.PANEL_INCHES
    figure = Figure(figsize=(width + 3.4 * (len(groups) - 1), 1.3 + 0.4 * len(methods)), layout="constrained")
    panels = figure.subplots(1, len(groups), sharex=True, sharey=True, squeeze=False)[0]
    limits = figures.uar_limits(together[["pooled_uar", "low", "high"]].to_numpy(dtype=float), chance)
    for axes, group in zip(panels, groups, strict=True):
        for row in group.to_dict("records"):
            number = budgets.index(row["label_fraction"])
            place = methods.index(row["method"]) + (0.3 * (number - (len(budgets) - 1) / 2))
            is_most = number == len(budgets) - 1
            colour = figures.BLUE if row["method"].endswith(ENCODERS[0]) else figures.SKY
            colour = figures.VERMILION if row["method"] in (SUPERVISED, RANDOM_FROZEN) else colour
            axes.hlines(place, 100 * row["low"], 100 * row["high"], color=colour, linewidth=1.4, zorder=2)
            look: Any = {"marker": "o", "color": colour, "markerfacecolor": colour if is_most else "white"}
            axes.plot(100 * row["pooled_uar"], place, markersize=6, zorder=3, **look)
        axes.axvline(100 * chance, color=figures.BLACK, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
        axes.set_title(str(group["view"].iloc[0]))
        axes.set_xlim(*limits)
        axes.set_yticks(range(len(methods)), methods)
        axes.set_ylim(len(methods) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("test UAR in %")
    marks = [
        Line2D([], [], color=figures.BLACK, marker="o", linestyle="none", label=f"{share(budget)} of the labels")
        for budget in budgets
    ]
    for mark in marks[:-1]:
        mark.set_markerfacecolor("white")
    guess = Line2D([], [], color=figures.BLACK, linewidth=0.9, linestyle=(0, (1, 2)), label=f"chance ({share(chance)})")
    figure.legend(handles=[*marks, guess], loc="outside lower center", ncols=3)
    return figure
