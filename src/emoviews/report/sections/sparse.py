"""Few labels: who was best with how many, whether pre-training helped, speaker by speaker, and what is confused."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
from markupsafe import Markup

from emoviews.experiments import Experiment
from emoviews.experiments.sparse import BASELINES, METHODS
from emoviews.report import figures, tables
from emoviews.report.blocks import Block, Heading, Made, Panel, Picture, Section, Text
from emoviews.report.run import Run
from emoviews.report.tables import (
    PRETRAINED,
    SUPERVISED,
    Cell,
    Column,
    Table,
    count,
    listed,
    p_value,
    percent,
    points,
    share,
    slug,
    span,
)

MOST_SPEAKERS: Final = 40
"""Rows in the figure and the table of speakers; of more, the lowest and the highest are shown."""
MOST_CLASSES: Final = 6
"""Classes up to which two confusion matrices stand side by side."""

_METHOD_NOTES: Final = {
    SUPERVISED: "the view's encoder and a classifier, trained together on the labelled recordings alone",
    PRETRAINED: "the same, but the encoder starts from contrastive pre-training on training recordings without labels",
    METHODS["finetuning", "pretrained", True]: "the pre-trained encoder stays as it is, only the classifier is trained",
    METHODS["finetuning", "random", True]: "the encoder was never trained: what its architecture alone gives",
    METHODS["logistic_regression", "pretrained", False]: "logistic regression on what the pre-trained encoder gives",
    METHODS["logistic_regression", "random", False]: "logistic regression on what the untrained encoder gives",
    METHODS["logistic_regression", "", False]: "on the view's features, averaged over time; the simple baseline",
    METHODS["linear_svm", "", False]: "on the same features",
}
_BASELINE_NAMES: Final = tuple(METHODS[name, "", False] for name in BASELINES)


def section(run: Run, experiment: Experiment, made: Made) -> tuple[Section, list[Block]]:
    """Of the experiment `sparse`."""
    scores = next(iter(made.values()))
    jobs = tables.classifiers(run.results, experiment.name)
    given = tables.answers(run.results, jobs["job_id"])
    gaps = tables.differences(jobs, given)
    about = _about(run, scores)
    views = [str(view) for view in dict.fromkeys(scores["view"])]
    methods = [m for m in METHODS.values() if m in set(scores["method"])]
    blocks: list[Block] = [
        Text(tuple(Markup("<strong>{}</strong>: {}.").format(m, _METHOD_NOTES[m]) for m in methods), is_list=True)
    ]
    blocks.append(_uar_picture(run, scores, views, about))
    blocks += [_score_table(scores[scores["view"] == view], view) for view in views]
    if not gaps.empty:
        blocks += [Heading("Pre-trained against supervised"), _difference_table(gaps)]
    blocks += _speaker_blocks(run, scores, jobs, given)
    blocks += _confusion_blocks(run, scores, jobs, given)
    blocks += [Heading("All numbers"), _all_scores(scores, about)]
    return Section(experiment.title, tuple(blocks)), [_best_methods(scores), *_baselines(scores), *_verdict(gaps)]


def _about(run: Run, scores: pd.DataFrame) -> str:
    """Over how much data: the end of most captions."""
    folds, repeats = int(scores["folds"].max()), int(scores["repeats"].max())
    tests = f"{folds} folds, {repeats} repeat{'s' * (repeats > 1)} (label draws and seeds)"
    if run.folds.empty:
        return tests
    speakers = len(run.fold_of_speaker) + run.unknown_speakers
    tested = int(run.folds["recordings"].sum() - run.folds["unlabelled"].sum())
    return f"Test: {tested} labelled recordings of {speakers} speakers; {tests}"


def _uar_picture(run: Run, scores: pd.DataFrame, views: Sequence[str], about: str) -> Picture:
    panels = []
    for view in views:
        lines = []
        for method, line in scores[scores["view"] == view].groupby("method", sort=False):
            rows = line.sort_values("n_labels").to_dict("records")
            ends = [
                f"{percent(row['pooled_uar'])} % with {count(row['n_labels'])} labels" for row in (rows[0], rows[-1])
            ]
            lines.append(f"{method} from {' to '.join(ends)}")
        alt = f"Line chart of UAR by number of labels, {view}: {'; '.join(lines)}; chance {percent(run.chance)} %."
        panels.append(Panel(f"uar-by-labels-{slug(view)}", figures.uar_by_labels(scores, [view], run.chance), alt))
    caption = (
        "UAR against the number of labelled training recordings (logarithmic). Points: UAR pooled over folds, mean over "
        "repeats. Shaded: 95 % interval by a bootstrap over speakers, of the two methods that are to be compared; those of "
        f"the others are in the tables. {about}."
    )
    return Picture(caption, tuple(panels), Panel("uar-by-labels", figures.uar_by_labels(scores, views, run.chance), ""))


def _score_table(scores: pd.DataFrame, view: str) -> Table:
    """Methods by shares of labels, for one view."""
    shares = {float(row["label_fraction"]): float(row["n_labels"]) for row in scores.to_dict("records")}
    found = {(row["method"], row["label_fraction"]): row for row in scores.to_dict("records")}
    winners = {(row["method"], row["label_fraction"]) for row in _best_rows(scores).to_dict("records")}
    headings = [Cell("Method"), *(Cell(f"{share(f)}\n{count(shares[f])} labels", True) for f in sorted(shares))]
    rows = []
    for method in dict.fromkeys(scores["method"]):
        cells = [Cell(str(method))]
        for fraction in sorted(shares):
            row = found.get((method, fraction))
            text = "–" if row is None else f"{percent(row['pooled_uar'])}\n({span(row['low'], row['high'])})"
            cells.append(Cell(text, True, (method, fraction) in winners))
        rows.append(tuple(cells))
    caption = f"{view}: UAR in % and its 95 % interval, by share of labels; the highest of each column in bold."
    return Table(f"uar-{slug(view)}", caption, scores, tuple(headings), tuple(rows))


def _all_scores(scores: pd.DataFrame, about: str) -> Table:
    columns = {
        "view": Column("View"),
        "method": Column("Method"),
        "label_fraction": Column("Share", share, True),
        "n_labels": Column("Labels", count, True),
        "pooled_uar": Column("UAR %", percent, True),
        "low": Column("from", percent, True),
        "high": Column("to", percent, True),
        "mean_uar": Column("Mean of folds %", percent, True),
        "mean_wa": Column("WA %", percent, True),
        "mean_macro_f1": Column("Macro F1 %", percent, True),
        "epochs_run": Column("Epochs", count, True),
        "n_jobs": Column("Trainings", count, True),
    }
    caption = (
        "UAR: pooled over folds, mean over repeats, with its 95 % interval. Mean of folds: each fold's own UAR, mean over "
        f"folds and repeats, as in the paper; WA (plain accuracy) and macro F1 likewise. {about}."
    )
    return Table.of("uar-by-share-of-labels", caption, scores, columns)


def _best_rows(scores: pd.DataFrame) -> pd.DataFrame:
    """The row with the highest UAR for each share of labels."""
    return scores.loc[scores.groupby("label_fraction")["pooled_uar"].idxmax()].sort_values("label_fraction")


def _best_methods(scores: pd.DataFrame) -> Table:
    best = _best_rows(scores)[["label_fraction", "n_labels", "pooled_uar", "low", "high", "method", "view"]]
    best["interval"] = [span(low, high) for low, high in zip(best["low"], best["high"], strict=True)]
    columns = {
        "label_fraction": Column("Share", share, True),
        "n_labels": Column("Labels", count, True),
        "pooled_uar": Column("UAR %", percent, True),
        "interval": Column("95 % interval", str, True),
        "method": Column("Best method"),
        "view": Column("View"),
    }
    caption = (
        "The best method at each share of the training labels. It was picked by the very test scores shown, so expect a little "
        "less for new speakers; where intervals overlap, another method may be as good."
    )
    return Table.of("best-method", caption, best, columns)


def _baselines(scores: pd.DataFrame) -> list[Block]:
    if not set(scores["method"]) & set(_BASELINE_NAMES):
        return []
    best = _best_rows(scores)
    won = int(best["method"].isin(_BASELINE_NAMES).sum())
    how_often = (
        "at no share" if not won else "at every share" if won == len(best) else f"at {won} of {len(best)} shares"
    )
    return [
        Text(
            (
                f"A simple linear model on averaged features ({' or '.join(_BASELINE_NAMES)}) scored highest {how_often} of "
                "the labels.",
            )
        )
    ]


def _outcome(row: Mapping[Any, Any]) -> str:
    """What a difference's interval says of the first method."""
    if math.isnan(row["low"]) or math.isnan(row["high"]):
        return "no interval"
    return "better" if row["low"] > 0 else "worse" if row["high"] < 0 else "undecided"


def _verdict(gaps: pd.DataFrame) -> list[Block]:
    """Whether pre-training helped, in words."""
    if gaps.empty:
        return []
    rows = gaps.to_dict("records")
    outcomes = [_outcome(row) for row in rows]
    n, better, worse = len(rows), outcomes.count("better"), outcomes.count("worse")
    if "no interval" in outcomes:
        first = "Whether pre-training helped can't be told from this run: one test speaker gives no interval."
    elif not better and not worse:
        where = f"in each of {n} comparisons" if n > 1 else "in the one comparison made"
        first = (
            "Pre-training neither clearly helped nor clearly hurt: the 95 % interval of its difference to supervised training "
            f"includes 0 {where}."
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
    lines = []
    for view in dict.fromkeys(gaps["view"]):
        told = []
        for outcome in dict.fromkeys(outcomes):
            these = [
                f"{share(row['label_fraction'])}: {points(row['difference'])} ({span(row['low'], row['high'], points)})"
                for row, found in zip(rows, outcomes, strict=True)
                if row["view"] == view and found == outcome
            ]
            told += [Markup("<em>{}</em> at {}").format(outcome, "; ".join(these))] * bool(these)
        lines.append(Markup("<strong>{}</strong>: {}.").format(view, Markup(". ").join(told)))
    intro = (
        "Pre-trained minus supervised at each share of the labels, in percentage points of UAR, with 95 % intervals:"
    )
    return [Text((Markup("<strong>{}</strong>").format(first),)), Text((intro,)), Text(tuple(lines), is_list=True)]


def _difference_table(gaps: pd.DataFrame) -> Table:
    rows = gaps.to_dict("records")
    shown = gaps.assign(
        interval=[span(row["low"], row["high"], points) for row in rows], outcome=[_outcome(row) for row in rows]
    )
    columns = {
        "view": Column("View"),
        "label_fraction": Column("Share", share, True),
        "n_labels": Column("Labels", count, True),
        "difference": Column("Difference", points, True),
        "interval": Column("95 % interval", str, True),
        "outcome": Column("Pre-trained is"),
        "p_sign_flip": Column("p, speakers", p_value, True),
        "p_holm": Column("p, Holm", p_value, True),
        "p_mann_whitney": Column("p, U test", p_value, True),
    }
    n = int(gaps["n_speakers"].max())
    smallest = 2.0 ** (1 - min(n, 60))
    limit = f", which can't be below {smallest:.3g} with {n} speakers" if smallest > 0.01 else ""
    caption = (
        f"UAR of “{PRETRAINED}” minus UAR of “{SUPERVISED}”, in percentage points, on the same folds, labels and test "
        f"recordings ({n} speakers, {count(gaps['n_pairs'].max())} pairs of trainings a row). Interval: bootstrap that draws "
        f"speakers for both methods together. p, speakers: sign-flip test on the speakers' differences{limit}; p, Holm: the "
        f"same, corrected for {len(gaps)} tests. p, U test: the paper's Mann-Whitney test, which takes every fold and repeat "
        "as independent and so answers a smaller question."
    )
    return Table.of("pre-trained-minus-supervised", caption, shown, columns)


def _speaker_blocks(run: Run, scores: pd.DataFrame, jobs: pd.DataFrame, given: pd.DataFrame) -> list[Block]:
    """Each speaker's UAR in the view that was best with the most labels."""
    best = _best_rows(scores).iloc[-1]
    view, fraction, winner = best["view"], best["label_fraction"], str(best["method"])
    every = tables.speaker_scores(jobs, given)
    here = every[(every["view"] == view) & (every["label_fraction"] == fraction)]
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
    where = f"{view}, {share(fraction)} of the labels"
    low, high = (count(end) for end in (frame["n"].min(), frame["n"].max()))
    caption = (
        f"UAR of each test speaker ({where}; mean over repeats), sorted by the best method there, {winner}. One speaker's "
        f"score rests on {low if low == high else f'{low} to {high}'} recordings and is rough by itself.{note}"
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
        Table.of("speakers", f"UAR of each test speaker: {where}, mean over repeats.{note}", shown, columns),
        Table.plain(
            "speakers-all", "UAR of each test speaker with every method, mean over repeats.", every, on_page=False
        ),
    ]


def _confusion_blocks(run: Run, scores: pd.DataFrame, jobs: pd.DataFrame, given: pd.DataFrame) -> list[Block]:
    most = scores["label_fraction"].max()
    panels, rows = [], []
    for view in dict.fromkeys(scores["view"]):
        for method in (SUPERVISED, PRETRAINED):
            mine = jobs[(jobs["view"] == view) & (jobs["name"] == method) & (jobs["label_fraction"] == most)]
            if mine.empty:
                continue
            counts = tables.confusion_counts(mine, given, run.labels)
            recalls = [
                f"{label} {percent(counts[i, i] / counts[i].sum(), 0)} %"
                for i, label in enumerate(run.labels)
                if counts[i].sum()
            ]
            alt = f"Confusion matrix of {method} on {view}; recognised: {', '.join(recalls)}."
            drawn = figures.confusion(counts, run.labels, f"{view}, {method}")
            panels.append(Panel(f"confusion-{slug(str(view))}-{slug(method)}", drawn, alt))
            for label, answers in zip(run.labels, counts.tolist(), strict=True):
                answered = {f"n_{other}": n for other, n in zip(run.labels, answers, strict=True)}
                rows.append({"view": view, "method": method, "label_fraction": most, "y_true": label, **answered})
    if not panels:
        return []
    n = int(scores.loc[scores["label_fraction"] == most, "repeats"].max())
    times = "once" if n == 1 else f"{n} times, once a repeat"
    caption = (
        f"Which emotion is taken for which, with {share(most)} of the labels: per cent of each true emotion (row), and the "
        f"number of answers, pooled over folds; every recording counts {times}. The mean of a diagonal is the UAR."
    )
    return [
        Heading("Which emotions are confused"),
        Picture(caption, tuple(panels), stacked=len(run.labels) > MOST_CLASSES),
        Table.plain("confusion", caption, pd.DataFrame(rows), on_page=False),
    ]
