"""What the classifiers answered: speaker by speaker, by gender, which emotion for which, and how sure they were."""

from __future__ import annotations

import math
from typing import Final

import pandas as pd

from emoviews.experiments.sparse import BUDGET, Answers
from emoviews.report import figures, tables
from emoviews.report.blocks import Block, Heading, Panel, Picture
from emoviews.report.run import Run
from emoviews.report.sections._budgets import best_rows, fewest_and_most, rules_of, where
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
    percent,
    plain_number,
    points,
    share,
    slug,
)

MOST_SPEAKERS: Final = 40
"""Rows in the figure and the table of speakers; of more, the lowest and the highest are shown."""
MOST_CLASSES: Final = 6
"""Classes up to which two confusion matrices stand side by side."""


def speaker_blocks(run: Run, scores: pd.DataFrame, jobs: pd.DataFrame, given: Answers) -> list[Block]:
    """Each speaker's UAR in the view that was best with the most labels, under the first rule."""
    rule = rules_of(scores)[0]
    mine = where(scores, validation=rule)
    best = best_rows(mine[mine["n_labels"] == mine["n_labels"].max()]).iloc[-1]
    view, winner, budget = best["view"], str(best["method"]), budget_name(*best[BUDGET])
    every = tables.speaker_scores(jobs, given)
    here = where(every.assign(budget=named_budgets(every)), view=view, validation=rule, budget=budget)
    methods = [m for m in dict.fromkeys([SUPERVISED, PRETRAINED, winner]) if m in set(here["name"])]
    known = run.utterances[run.utterances["speaker"] != ""].groupby("speaker")
    genders = known["gender"].agg(lambda found: ", ".join(sorted(set(found) - {""}))).rename("gender")
    frame = here.pivot(index="speaker", columns="name", values="uar")[methods]
    frame = frame.join(here.groupby("speaker")["n"].first()).join(genders).join(run.fold_of_speaker.rename("fold"))
    frame = frame.sort_values(winner, ascending=False, kind="stable").rename_axis("speaker").reset_index()
    frame[["gender", "fold"]] = frame[["gender", "fold"]].fillna("")
    shown, note = frame, ""
    if len(frame) > MOST_SPEAKERS:
        half = MOST_SPEAKERS // 2
        shown = pd.concat([frame.head(half), frame.tail(half)])
        note = f" Of {len(frame)} speakers the {half} highest and the {half} lowest are shown; all are in the CSV file."
    setting = f"{view}, validation “{rule}”, budget {budget}"
    low, high = (count(end) for end in (frame["n"].min(), frame["n"].max()))
    caption = (
        f"UAR of each test speaker ({setting}; mean over repeats), sorted by the best method there, {winner}. One "
        f"speaker's score rests on {low if low == high else f'{low} to {high}'} recordings and is rough by "
        f"itself.{note}"
    )
    ends = percent(frame[winner].min()), percent(frame[winner].max())
    alt = f"Dot chart of each speaker's UAR with {listed(methods)}; with {winner} from {ends[0]} to {ends[1]} %."
    columns = {
        "speaker": Column("Speaker"),
        **({"gender": Column("Gender")} if frame["gender"].any() else {}),
        "fold": Column("Tested in fold"),
        "n": Column("Recordings", count, True),
        **{method: Column(f"{method}, UAR %", percent, True) for method in methods},
    }
    drawn = figures.speaker_dots(here, [str(name) for name in shown["speaker"]], methods, run.chance)
    return [
        Heading("Speaker by speaker"),
        Picture(caption, (Panel("speakers", drawn, alt),)),
        Table.of("speakers", f"UAR of each test speaker: {setting}, mean over repeats.{note}", shown, columns),
        Table.plain(
            "speakers-all", "UAR of each test speaker with every method, mean over repeats.", every, on_page=False
        ),
    ]


def gender_blocks(jobs: pd.DataFrame, given: Answers) -> list[Block]:
    """UAR of each gender and the gap, with the fewest and with the most labels."""
    found = tables.gender_scores(fewest_and_most(jobs), given)
    if found.empty:
        return []
    genders = [str(name).removeprefix("uar_") for name in found if str(name).startswith("uar_")]
    shown = found.assign(budget=named_budgets(found))
    columns = {
        "view": Column("View"),
        "validation": Column("Validation"),
        "budget": Column("Budget", str, True),
        "name": Column("Method"),
    }
    for gender in genders:
        ends = zip(*(found[f"{part}_{gender}"] for part in ("uar", "low", "high")), strict=True)
        shown[gender] = [f"{percent(uar)}\n({interval(low, high)})" for uar, low, high in ends]
        speakers = count(found[f"n_speakers_{gender}"].max())
        columns[gender] = Column(f"{gender}, UAR %\n{speakers} speakers", str, True)
    if "gap" in found:
        ends = zip(found["gap"], found["gap_low"], found["gap_high"], strict=True)
        shown["between"] = [f"{points(gap)}\n({interval(low, high, points)})" for gap, low, high in ends]
        columns["between"] = Column(f"{genders[0]} minus {genders[1]}\nin points", str, True)
    caption = (
        "UAR by the speakers' gender as the table gives it, with the fewest and with the most labels: pooled over "
        "folds, mean over repeats, 95 % intervals by a bootstrap over the speakers of each gender, drawn apart for "
        "the difference. With few speakers of a gender a gap may be theirs and not the gender's."
    )
    return [Heading("By gender"), Table.of("genders", caption, found, columns, shown=shown)]


def confusion_blocks(run: Run, scores: pd.DataFrame, jobs: pd.DataFrame, given: Answers) -> list[Block]:
    """Confusions with the most labels, under the first rule."""
    rule = rules_of(scores)[0]
    mine = where(scores, validation=rule)
    most = mine.sort_values("n_labels").iloc[-1]
    budget = budget_name(*most[BUDGET])
    chosen = where(jobs.assign(budget=named_budgets(jobs)), validation=rule, budget=budget)
    panels, rows = [], []
    for view in dict.fromkeys(scores["view"]):
        for method in (SUPERVISED, PRETRAINED):
            these = where(chosen, view=view, name=method)
            if these.empty:
                continue
            counts = tables.confusion_counts(these, given, run.labels)
            recalls = [
                f"{label} {percent(counts[i, i] / counts[i].sum(), 0)} %"
                for i, label in enumerate(run.labels)
                if counts[i].sum()
            ]
            alt = f"Confusion matrix of {method} on {view}; recognised: {', '.join(recalls)}."
            drawn = figures.confusion(counts, run.labels, f"{view}\n{method}")
            panels.append(Panel(f"confusion-{slug(str(view))}-{slug(method)}", drawn, alt))
            for label, answers in zip(run.labels, counts.tolist(), strict=True):
                answered = {f"n_{other}": n for other, n in zip(run.labels, answers, strict=True)}
                named = {
                    "view": view,
                    "validation": rule,
                    **dict(zip(BUDGET, most[BUDGET], strict=True)),
                    "method": method,
                }
                rows.append({**named, "y_true": label, **answered})
    if not panels:
        return []
    n = int(chosen["repeat"].nunique())
    times = "once" if n == 1 else f"{n} times, once a repeat"
    caption = (
        f"Which emotion is taken for which, with the budget {budget} and validation “{rule}”: per cent of each true "
        f"emotion (row), and the number of answers, pooled over folds; every recording counts {times}. The mean of a "
        "diagonal is the UAR."
    )
    return [
        Heading("Which emotions are confused"),
        Picture(caption, tuple(panels), stacked=len(run.labels) > MOST_CLASSES),
        Table.plain("confusion", caption, pd.DataFrame(rows), on_page=False),
    ]


def calibration_blocks(run: Run, scores: pd.DataFrame, jobs: pd.DataFrame) -> list[Block]:
    """Whether a probability can be taken at its word, with the fewest and with the most labels."""
    chosen = fewest_and_most(jobs[jobs["name"].isin([SUPERVISED, PRETRAINED])])
    if chosen.empty:
        return []
    found, bins = tables.calibration(run.results, chosen, run.labels)
    panels = []
    bins = bins.assign(budget=named_budgets(bins))
    fewest_first = sorted(set(bins["budget"]), key=lambda name: chosen.loc[chosen["budget"] == name, "n_labels"].mean())
    bins = bins.sort_values("budget", key=lambda names: names.map(fewest_first.index), kind="stable")
    for rule in rules_of(scores):
        for view in dict.fromkeys(scores["view"]):
            mine = where(bins, view=view, validation=rule)
            if mine.empty:
                continue
            here = where(found.assign(budget=named_budgets(found)), view=view, validation=rule)
            told = [f"{r['name']}, {r['budget']}: {percent(r['ece'])} %" for r in here.to_dict("records")]
            alt = f"Reliability diagram, {view}, validation {rule}; expected calibration errors: {'; '.join(told)}."
            drawn = figures.reliability(mine, f"{view}\n{figures.RULE_TITLES[rule]}")
            panels.append(Panel(f"reliability-{slug(str(view))}-{rule}", drawn, alt))
    caption = (
        "How often an answer is right, by the probability that the classifier gave it, in 15 bins of equal width; all "
        "folds and repeats together. Below the diagonal it is surer than it should be. Larger markers hold more "
        f"answers; bins with less than {share(figures.FEWEST_OF_A_BIN)} of them are not drawn (they are in the CSV file)."
    )
    columns = {
        "view": Column("View"),
        "validation": Column("Validation"),
        "budget": Column("Budget", str, True),
        "name": Column("Method"),
        "confidence": Column("Mean probability %", percent, True),
        "accuracy": Column("Right %", percent, True),
        "ece": Column("ECE %", percent, True),
        "brier": Column("Brier score", plain_number, True),
        "log_loss": Column("Log loss", plain_number, True),
    }
    uniform = f"{1 - 1 / len(run.labels):.3f} and {math.log(len(run.labels)):.3f}"
    listing = (
        "Calibration of the probabilities, with the fewest and with the most labels: mean probability of the answers "
        "given and share of them that is right; ECE, expected calibration error (15 bins): how far the two are apart "
        "in a bin; Brier score (summed over classes, 0 to 2) and log loss (nats), which also ask for answers that "
        f"tell apart. Equal probabilities for all classes have {uniform}. Of all folds' answers together, mean over "
        "repeats; lower is better."
    )
    shown = found.assign(budget=named_budgets(found))
    return [
        Heading("How far probabilities can be trusted"),
        Picture(caption, tuple(panels)),
        Table.of("calibration", listing, found, columns, shown=shown),
        Table.plain("reliability", caption, bins.drop(columns="budget"), on_page=False),
    ]
