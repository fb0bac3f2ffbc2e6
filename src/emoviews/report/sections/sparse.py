"""Few labels: who was best with how many, whether pre-training helped, speaker by speaker, and what is confused."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import pandas as pd
from markupsafe import Markup

from emoviews.experiments import Experiment
from emoviews.experiments.sparse import BASELINES, BUDGET, METHODS, RULES, SCORES, Answers
from emoviews.report import figures, tables
from emoviews.report.blocks import Block, Heading, Made, Panel, Picture, Section, Text
from emoviews.report.run import Run
from emoviews.report.tables import (
    PRETRAINED,
    SUPERVISED,
    Cell,
    Column,
    Table,
    budget_name,
    count,
    listed,
    named_budgets,
    p_value,
    percent,
    plain_number,
    points,
    signed,
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

_RULE_NOTES: Final = {
    "full": "the paper's rule: a whole labelled validation group decides when to stop, beside the labels of the budget",
    "budget": "the labels that decide when to stop come out of the budget, about a fifth of each class",
    "none": "no labels decide when to stop; every training runs all its epochs",
}

_SHARES, _NUMBERS = "shares", "numbers"
_KINDS: Final = {_SHARES: "label_fraction", _NUMBERS: "labels_per_class"}
"""The two kinds of budget, and the column that names a budget of that kind."""


def section(run: Run, experiment: Experiment, made: Made) -> tuple[Section, list[Block]]:
    """Of the experiment `sparse`."""
    scores = made[SCORES]
    jobs = tables.classifiers(run.results, experiment.name)
    given = tables.answers(run.results, jobs["job_id"])
    gaps = tables.differences(jobs, given)
    about = _about(run, scores)
    rules = _rules(scores)
    methods = [m for m in METHODS.values() if m in set(scores["method"])]
    blocks: list[Block] = [
        Text(tuple(Markup("<strong>{}</strong>: {}.").format(m, _METHOD_NOTES[m]) for m in methods), is_list=True)
    ]
    if len(rules) > 1:
        blocks.append(
            Text(("Each was trained under several rules of validation, which are never mixed in one column or line:",))
        )
    blocks.append(
        Text(
            tuple(Markup("<strong>Validation “{}”</strong>: {}.").format(r, _RULE_NOTES[r]) for r in rules),
            is_list=True,
        )
    )
    if remarks := list(_remarks(run, scores, jobs)):
        blocks.append(Text(tuple(remarks), is_list=True))
    for kind, heading in ((_SHARES, "A share of each class's labels"), (_NUMBERS, "A number of labels a class")):
        blocks += _kind_blocks(run, _of_kind(scores, kind), kind, heading, about)
    blocks += _rule_blocks(run, scores, tables.rule_differences(jobs, given), about)
    if not gaps.empty:
        blocks += [Heading("Pre-trained against supervised"), *_difference_tables(gaps), *_paper_tables(scores, gaps)]
    blocks += _speaker_blocks(run, scores, jobs, given)
    blocks += _gender_blocks(jobs, given)
    blocks += _confusion_blocks(run, scores, jobs, given)
    blocks += _calibration_blocks(run, scores, jobs)
    blocks += [Heading("All numbers"), _all_scores(scores, about)]
    return Section(experiment.title, tuple(blocks)), [_best_methods(scores), *_baselines(scores), *_verdict(gaps)]


def _rules(scores: pd.DataFrame) -> list[str]:
    return [rule for rule in RULES if rule in set(scores["validation"])]


def _of_kind(scores: pd.DataFrame, kind: str) -> pd.DataFrame:
    return scores[scores[_KINDS[kind]].notna()]


def _about(run: Run, scores: pd.DataFrame) -> str:
    """Over how much data: the end of most captions."""
    folds, repeats = int(scores["folds"].max()), int(scores["repeats"].max())
    tests = f"{folds} folds, {repeats} repeat{'s' * (repeats > 1)} (label draws and seeds)"
    if run.folds.empty:
        return tests
    speakers = len(run.fold_of_speaker) + run.unknown_speakers
    tested = int(run.folds["recordings"].sum() - run.folds["unlabelled"].sum())
    return f"Test: {tested} labelled recordings of {speakers} speakers; {tests}"


def _remarks(run: Run, scores: pd.DataFrame, jobs: pd.DataFrame) -> Iterator[str]:
    """What a reader of these numbers should know of this run: budgets not filled, nothing to validate on, absent classes."""
    every = set(jobs["fold"])
    for number, rows in jobs[jobs["labels_per_class"].notna()].groupby("labels_per_class"):
        if lacking := sorted(every - set(rows["fold"])):
            yield (
                f"{count(float(str(number)))} labels a class: only {_folds(sorted(set(rows['fold'])))}, since in the "
                f"training part of {_folds(lacking)} a class has fewer. Its scores are of other test speakers than "
                "those beside them."
            )
    asked = run.description.get("budgets", {})
    missing = [n for n in asked.get("per_class", []) if n not in set(jobs["labels_per_class"].dropna())]
    rarest = max(asked.get("rarest", {}).values(), default=0)
    if missing := [number for number in missing if number > rarest]:
        yield (
            f"{listed([str(n) for n in missing])} labels a class {'were' if len(missing) > 1 else 'was'} asked for and "
            f"left out: in no fold has every class so many training recordings (at most {rarest})."
        )
    unstopped = jobs[(jobs["validation"] == "budget") & ~jobs["job_id"].isin(_validated(run))]
    if not unstopped.empty:
        names = listed(list(dict.fromkeys(named_budgets(tables.in_order(unstopped)))))
        yield (
            f"Validation “budget”: {len(unstopped)} trainings ({names}) had one label a class and so none left to "
            "validate on: they ran all their epochs, or were regularised with a middle value."
        )
    for fold in run.folds.to_dict("records"):
        if absent := [label for label in run.labels if fold[f"n_{label}"] == 0]:
            yield (
                f"Fold {fold['fold']}: no test recording is labelled {listed(absent)}; its UAR is the mean over the "
                "other emotions."
            )


def _folds(names: Sequence[str]) -> str:
    return f"fold{'s' * (len(names) > 1)} {listed(names)}"


def _validated(run: Run) -> set[str]:
    """Jobs that had a label to validate on."""
    tidy = run.tidy
    return set(tidy.loc[(tidy["split"] == "validation") & (tidy["n"] > 0), "job_id"])


def _kind_blocks(run: Run, scores: pd.DataFrame, kind: str, heading: str, about: str) -> list[Block]:
    """A picture and a table for each view and rule, of one kind of budget."""
    if scores.empty:
        return []
    views, rules = [str(view) for view in dict.fromkeys(scores["view"])], _rules(scores)
    name = "uar-by-labels" if kind == _SHARES else "uar-by-labels-per-class"
    panels = []
    for rule in rules:
        for view in views:
            lines = [
                f"{method} from {_ends(line)}"
                for method, line in _where(scores, view=view, validation=rule).groupby("method", sort=False)
            ]
            alt = (
                f"Line chart of UAR by number of labels, {view}, validation {rule}: {'; '.join(lines)}; chance "
                f"{percent(run.chance)} %."
            )
            drawn = figures.uar_by_labels(scores, [view], [rule], run.chance, titled_by_rule=len(rules) > 1)
            panels.append(Panel(f"{name}-{slug(view)}-{rule}", drawn, alt))
    counted = (
        "of which those that validate are a part under “budget”" if "budget" in rules else "without those that validate"
    )
    caption = (
        f"UAR against the number of labels (logarithmic), {counted}. Points: UAR pooled over folds, mean over repeats. "
        "Shaded: 95 % interval by a bootstrap over speakers, of the two methods that are to be compared; those of the "
        f"others are in the tables. {about}."
    )
    whole = figures.uar_by_labels(scores, views, rules, run.chance, titled_by_rule=len(rules) > 1)
    blocks: list[Block] = [Heading(heading), Picture(caption, tuple(panels), Panel(name, whole, ""))]
    return blocks + [
        _score_table(_where(scores, view=view, validation=rule), view, rule, kind) for rule in rules for view in views
    ]


def _where(frame: pd.DataFrame, **values: str) -> pd.DataFrame:
    """The rows that have these values."""
    for name, value in values.items():
        frame = frame[frame[name] == value]
    return frame


def _ends(line: pd.DataFrame) -> str:
    """The first and the last point of a line in words."""
    rows = line.sort_values("n_labels").to_dict("records")
    ends = [f"{percent(row['pooled_uar'])} % with {count(row['n_labels'])} labels" for row in (rows[0], rows[-1])]
    return " to ".join(ends)


def _score_table(scores: pd.DataFrame, view: str, rule: str, kind: str) -> Table:
    """Methods by budgets, for one view and rule."""
    column = _KINDS[kind]
    labels = {float(row[column]): float(row["n_labels"]) for row in scores.to_dict("records")}
    names = {float(row[column]): budget_name(row[BUDGET[0]], row[BUDGET[1]]) for row in scores.to_dict("records")}
    found = {(row["method"], row[column]): row for row in scores.to_dict("records")}
    winners = {(row["method"], row[column]) for row in _best_rows(scores).to_dict("records")}
    headings = [Cell("Method"), *(Cell(f"{names[b]}\n{count(labels[b])} labels", True) for b in sorted(labels))]
    rows = []
    for method in dict.fromkeys(scores["method"]):
        cells = [Cell(str(method))]
        for budget in sorted(labels):
            row = found.get((method, budget))
            text = "–" if row is None else f"{percent(row['pooled_uar'])}\n({span(row['low'], row['high'])})"
            cells.append(Cell(text, True, (method, budget) in winners))
        rows.append(tuple(cells))
    what = "share of each class's labels" if kind == _SHARES else "number of labels a class"
    caption = (
        f"{view}, validation “{rule}”: UAR in % and its 95 % interval, by {what}; the highest of each column in bold."
    )
    end = "" if kind == _SHARES else "-per-class"
    return Table(f"uar{end}-{slug(view)}-{rule}", caption, scores, tuple(headings), tuple(rows))


def _rule_blocks(run: Run, scores: pd.DataFrame, gaps: pd.DataFrame, about: str) -> list[Block]:
    """What the labels of a whole validation group are worth: both rules in one picture, and their difference."""
    if gaps.empty:
        return []
    views = [str(view) for view in dict.fromkeys(gaps["view"])]
    panels = []
    shares = _of_kind(scores, _SHARES) if scores["label_fraction"].notna().any() else scores
    shares = shares[shares["validation"].isin(["full", "budget"])]
    for view in views:
        lines = [
            f"{method}, validation {rule}, from {_ends(line)}"
            for (method, rule), line in _where(shares, view=view).groupby(["method", "validation"], sort=False)
            if method in figures.BANDED
        ]
        drawn = figures.uar_by_rule(shares, [view], run.chance)
        panels.append(
            Panel(f"uar-by-rule-{slug(view)}", drawn, f"Line chart of UAR by rule, {view}: {'; '.join(lines)}.")
        )
    caption = (
        "UAR of the two methods under both rules. Solid and filled: a fully labelled validation group decides when to "
        "stop, as in the paper, with its 95 % interval shaded; dashed and hollow: the labels that decide come out of "
        f"the budget. {about}."
    )
    n = len(gaps)
    higher, lower = int((gaps["low"] > 0).sum()), int((gaps["high"] < 0).sum())
    told = (
        f"What a fully labelled validation group is worth: with it UAR was {points(gaps['difference'].mean())} points "
        f"higher on average; the 95 % interval lies above 0 in {higher}, below 0 in {lower} and includes it in "
        f"{n - higher - lower} of {n} comparisons."
    )
    whole = figures.uar_by_rule(shares, views, run.chance)
    blocks: list[Block] = [
        Heading("What the labels of the validation group are worth"),
        Text((told,)),
        Picture(caption, tuple(panels), Panel("uar-by-rule", whole, "")),
    ]
    return blocks + [_rule_table(_of_kind(gaps, kind), kind) for kind in _KINDS if not _of_kind(gaps, kind).empty]


def _rule_table(gaps: pd.DataFrame, kind: str) -> Table:
    """Views and methods by budgets of one kind: what the fully labelled validation group adds."""
    found = {
        (row["view"], row["name"], budget): row
        for row, budget in zip(gaps.to_dict("records"), named_budgets(gaps), strict=True)
    }
    labels = gaps.assign(budget=named_budgets(gaps)).groupby("budget", sort=False)["n_labels"].mean()
    headings = [Cell("Method"), *(Cell(f"{budget}\n{count(n)} labels", True) for budget, n in labels.items())]
    rows = []
    for view, name in dict.fromkeys((view, name) for view, name, _ in found):
        cells = [Cell(f"{name}\n{view}")]
        for budget in labels.index:
            row = found.get((view, name, budget))
            text = "–" if row is None else f"{points(row['difference'])}\n({span(row['low'], row['high'], points)})"
            clear = row is not None and (row["low"] > 0 or row["high"] < 0)
            cells.append(Cell(text, True, clear))
        rows.append(tuple(cells))
    caption = (
        "UAR with validation “full” minus UAR with validation “budget”, in percentage points, on the same folds, "
        "draws of labels and test recordings. Interval: bootstrap that draws speakers "
        f"({int(gaps['n_speakers'].max())}) for both rules together; in bold where it excludes 0."
    )
    end = "" if kind == _SHARES else "-per-class"
    return Table(f"full-minus-budget{end}", caption, gaps, tuple(headings), tuple(rows))


def _all_scores(scores: pd.DataFrame, about: str) -> Table:
    rows = scores.to_dict("records")
    shown = scores.assign(
        name=[f"{row['method']}\n{row['view']}" for row in rows],
        budget=named_budgets(scores),
        pooled=[f"{percent(row['pooled_uar'])}\n({span(row['low'], row['high'])})" for row in rows],
        mean=[f"{percent(row['mean_uar'])}\n({span(row['t_low_repeats'], row['t_high_repeats'])})" for row in rows],
    )
    columns = {
        "name": Column("Method"),
        "validation": Column("Validation"),
        "budget": Column("Budget", str, True),
        "n_labels": Column("Labels", count, True),
        "pooled": Column("UAR %\n(over speakers)", str, True),
        "mean": Column("Mean UAR %\n(over repeats)", str, True),
        "mean_wa": Column("WA %", percent, True),
        "mean_macro_f1": Column("F1 %", percent, True),
        "epochs_run": Column("Epochs", count, True),
        "n_jobs": Column("Trainings", count, True),
    }
    caption = (
        "UAR: pooled over folds, mean over repeats, with a 95 % interval by a bootstrap over speakers. Mean UAR: each "
        "fold's own, mean over folds and repeats, as in the paper, with Student's 95 % interval over the repeats "
        "(each the mean of its folds): it says what other draws of labels and seeds would give for the same speakers. "
        f"WA (plain accuracy) and macro F1 likewise. The CSV file has the interval over all trainings too. {about}."
    )
    return Table.of("uar-by-labels", caption, scores, columns, shown=shown)


def _best_rows(scores: pd.DataFrame) -> pd.DataFrame:
    """The row with the highest UAR for each budget, of the rows of one rule."""
    best = scores.loc[scores.groupby(BUDGET, dropna=False)["pooled_uar"].idxmax()]
    return best.sort_values(["labels_per_class", "label_fraction"], na_position="first")


def _best_methods(scores: pd.DataFrame) -> Table:
    """A row a budget, the best method under each rule beside the other's."""
    rules = _rules(scores)
    best = pd.concat([_best_rows(_where(scores, validation=rule)) for rule in rules])
    raw = best[["validation", *BUDGET, "n_labels", "pooled_uar", "low", "high", "method", "view"]].reset_index(
        drop=True
    )
    raw.insert(1, "budget", named_budgets(raw))
    found = {(row["budget"], row["validation"]): row for row in raw.to_dict("records")}
    headings = [Cell("Budget"), Cell("Labels", True)]
    for rule in rules:
        headings += [Cell(f"UAR %\nvalidation {rule}", True), Cell(f"Best method\nvalidation {rule}")]
    rows = []
    for budget, group in raw.groupby("budget", sort=False):
        cells = [Cell(str(budget)), Cell(count(group["n_labels"].mean()), True)]
        for rule in rules:
            if (row := found.get((budget, rule))) is None:
                cells += [Cell("–", True), Cell("–")]
                continue
            cells.append(Cell(f"{percent(row['pooled_uar'])}\n({span(row['low'], row['high'])})", True))
            cells.append(Cell(f"{row['method']}\n{row['view']}"))
        rows.append(tuple(cells))
    caption = (
        "The best method with each label budget, and its 95 % interval. It was picked by the very test scores shown, "
        "so expect a little less for new speakers; where intervals overlap, another method may be as good."
    )
    if "full" in rules:
        caption += " Under “full” a fully labelled group was used besides, which the budget does not count."
    return Table("best-method", caption, raw, tuple(headings), tuple(rows))


def _baselines(scores: pd.DataFrame) -> list[Block]:
    if not set(scores["method"]) & set(_BASELINE_NAMES):
        return []
    told = []
    for rule in _rules(scores):
        best = _best_rows(_where(scores, validation=rule))
        won = int(best["method"].isin(_BASELINE_NAMES).sum())
        often = "with no" if not won else "with every" if won == len(best) else f"with {won} of {len(best)}"
        told.append(f"{often} budget{'s' * (0 < won < len(best))} under validation “{rule}”")
    return [
        Text(
            (
                f"A simple linear model on averaged features ({' or '.join(_BASELINE_NAMES)}) scored highest "
                f"{listed(told)}.",
            )
        )
    ]


def _outcome(row: Mapping[Any, Any]) -> str:
    """What a difference's interval says of the first method."""
    if math.isnan(row["low"]) or math.isnan(row["high"]):
        return "no interval"
    return "better" if row["low"] > 0 else "worse" if row["high"] < 0 else "undecided"


def _verdict(gaps: pd.DataFrame) -> list[Block]:
    """Whether pre-training helped, in words, rule by rule."""
    if gaps.empty:
        return []
    blocks: list[Block] = []
    for rule in _rules(gaps):
        blocks += _rule_verdict(_where(gaps, validation=rule), rule)
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
        if not left and n * _smallest_p(gaps) > 0.05:
            first += f" With {int(gaps['n_speakers'].max())} test speakers and {n} tests none can."
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


def _smallest_p(gaps: pd.DataFrame) -> float:
    """The smallest p that an exact paired test of so many speakers can have."""
    return float(2.0 ** (1 - min(int(gaps["n_speakers"].max()), 60)))


def _difference_tables(gaps: pd.DataFrame) -> list[Block]:
    """The sound comparison: intervals and tests over speakers, a table a rule."""
    return [_difference_table(_where(gaps, validation=rule), rule) for rule in _rules(gaps)]


def _difference_table(gaps: pd.DataFrame, rule: str) -> Table:
    rows = gaps.to_dict("records")
    shown = gaps.assign(
        budget=named_budgets(gaps),
        interval=[span(row["low"], row["high"], points) for row in rows],
        outcome=[_outcome(row) for row in rows],
    )
    columns = {
        "view": Column("View"),
        "budget": Column("Budget", str, True),
        "n_labels": Column("Labels", count, True),
        "difference": Column("Difference", points, True),
        "interval": Column("95 % interval", str, True),
        "outcome": Column("Pre-trained is"),
        "d_z": Column("d_z", signed, True),
        "p_sign_flip": Column("p, sign-flip", p_value, True),
        "p_holm": Column("Holm", p_value, True),
        "p_wilcoxon": Column("p, Wilcoxon", p_value, True),
        "p_wilcoxon_holm": Column("Holm", p_value, True),
    }
    n, smallest = int(gaps["n_speakers"].max()), _smallest_p(gaps)
    limit = ""
    if smallest * len(gaps) > 0.01:
        corrected = min(1.0, smallest * len(gaps))
        limit = f" With {n} speakers no p can be below {smallest:.2g}, and none below {corrected:.2g} when corrected."
    caption = (
        f"Validation “{rule}”: UAR of “{PRETRAINED}” minus UAR of “{SUPERVISED}”, in percentage points, on the same "
        f"folds, labels and test recordings ({n} speakers, {count(gaps['n_pairs'].max())} pairs of trainings a row). "
        "Interval: bootstrap that draws speakers for both methods together. Tests: of the speakers' differences, "
        "repeats averaged within a speaker; d_z: their mean over their standard deviation; Holm: p corrected for the "
        f"{len(gaps)} tests of this table.{limit}"
    )
    return Table.of(f"pre-trained-minus-supervised-{rule}", caption, shown, columns)


def _paper_tables(scores: pd.DataFrame, gaps: pd.DataFrame) -> list[Block]:
    """The paper's comparison, a table a rule: mean UAR with t intervals, and the U test in both readings of its unit."""
    sides = scores[scores["method"].isin([SUPERVISED, PRETRAINED])]
    of_method = {
        (row["view"], row["validation"], budget, row["method"]): row
        for row, budget in zip(sides.to_dict("records"), named_budgets(sides), strict=True)
    }
    found: list[Block] = []
    for rule in _rules(gaps):
        mine = _where(gaps, validation=rule)
        kept = ["view", "validation", *BUDGET, "n_labels", "n_repeats", "n_pairs"]
        raw = mine[kept].assign(budget=named_budgets(mine)).reset_index(drop=True)
        for method, name in ((SUPERVISED, "supervised"), (PRETRAINED, "pretrained")):
            rows = [
                of_method[view, rule, budget, method] for view, budget in zip(raw["view"], raw["budget"], strict=True)
            ]
            for column in ("mean_uar", "t_low_repeats", "t_high_repeats", "t_low_trainings", "t_high_trainings"):
                raw[f"{name}_{column}"] = [row[column] for row in rows]
        tests = ["p_mann_whitney_repeats", "cliffs_delta_repeats", "p_mann_whitney", "cliffs_delta"]
        raw[tests] = mine[tests].to_numpy()
        shown = raw.copy()
        for name in ("supervised", "pretrained"):
            ends = zip(
                *(raw[f"{name}_{column}"] for column in ("mean_uar", "t_low_repeats", "t_high_repeats")), strict=True
            )
            shown[name] = [f"{percent(mean)}\n({span(low, high)})" for mean, low, high in ends]
        repeats, pairs = count(mine["n_repeats"].max()), count(mine["n_pairs"].max())
        columns = {
            "view": Column("View"),
            "budget": Column("Budget", str, True),
            "supervised": Column("Supervised\nmean UAR %", str, True),
            "pretrained": Column("Pre-trained\nmean UAR %", str, True),
            "p_mann_whitney_repeats": Column(f"p, U test\n{repeats} against {repeats} repeats", p_value, True),
            "cliffs_delta_repeats": Column("Cliff's δ\nrepeats", signed, True),
            "p_mann_whitney": Column(f"p, U test\n{pairs} against {pairs} trainings", p_value, True),
            "cliffs_delta": Column("Cliff's δ\ntrainings", signed, True),
        }
        caption = (
            f"Validation “{rule}”, the paper's way (section 4.2): mean UAR over folds and repeats with Student's 95 % "
            "interval, and the Mann-Whitney U test. The paper does not say what its test counts, so both readings are "
            "here: the repeats, each averaged over its folds (so are the intervals), and all trainings. Either way "
            "values on the same test speakers are taken as independent: a small p says that other draws of labels and "
            "seeds would give the same order, not that other speakers would. Not corrected for the number of tests. "
            "δ: share of pairs in which pre-trained is better minus share in which it is worse."
        )
        found.append(Table.of(f"paper-comparison-{rule}", caption, raw, columns, shown=shown))
    return found


def _speaker_blocks(run: Run, scores: pd.DataFrame, jobs: pd.DataFrame, given: Answers) -> list[Block]:
    """Each speaker's UAR in the view that was best with the most labels, under the first rule."""
    rule = _rules(scores)[0]
    mine = _where(scores, validation=rule)
    best = _best_rows(mine[mine["n_labels"] == mine["n_labels"].max()]).iloc[-1]
    view, winner, budget = best["view"], str(best["method"]), budget_name(*best[BUDGET])
    every = tables.speaker_scores(jobs, given)
    every.insert(2, "budget", named_budgets(every))
    here = _where(every, view=view, validation=rule, budget=budget)
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
    where = f"{view}, validation “{rule}”, budget {budget}"
    low, high = (count(end) for end in (frame["n"].min(), frame["n"].max()))
    caption = (
        f"UAR of each test speaker ({where}; mean over repeats), sorted by the best method there, {winner}. One "
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
        Table.of("speakers", f"UAR of each test speaker: {where}, mean over repeats.{note}", shown, columns),
        Table.plain(
            "speakers-all", "UAR of each test speaker with every method, mean over repeats.", every, on_page=False
        ),
    ]


def _fewest_and_most(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with the budget of the fewest labels and with that of the most."""
    named = frame.assign(budget=named_budgets(frame))
    labels = named.groupby("budget")["n_labels"].mean()
    return named[named["budget"].isin([labels.idxmin(), labels.idxmax()])]


def _gender_blocks(jobs: pd.DataFrame, given: Answers) -> list[Block]:
    found = tables.gender_scores(_fewest_and_most(jobs), given)
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
        shown[gender] = [f"{percent(uar)}\n({span(low, high)})" for uar, low, high in ends]
        speakers = count(found[f"n_speakers_{gender}"].max())
        columns[gender] = Column(f"{gender}, UAR %\n{speakers} speakers", str, True)
    if "gap" in found:
        ends = zip(found["gap"], found["gap_low"], found["gap_high"], strict=True)
        shown["between"] = [f"{points(gap)}\n({span(low, high, points)})" for gap, low, high in ends]
        columns["between"] = Column(f"{genders[0]} minus {genders[1]}\nin points", str, True)
    caption = (
        "UAR by the speakers' gender as the table gives it, with the fewest and with the most labels: pooled over "
        "folds, mean over repeats, 95 % intervals by a bootstrap over the speakers of each gender, drawn apart for "
        "the difference. With few speakers of a gender a gap may be theirs and not the gender's."
    )
    return [Heading("By gender"), Table.of("genders", caption, found, columns, shown=shown)]


def _confusion_blocks(run: Run, scores: pd.DataFrame, jobs: pd.DataFrame, given: Answers) -> list[Block]:
    rule = _rules(scores)[0]
    mine = _where(scores, validation=rule)
    most = mine.sort_values("n_labels").iloc[-1]
    budget = budget_name(*most[BUDGET])
    chosen = _where(jobs.assign(budget=named_budgets(jobs)), validation=rule, budget=budget)
    panels, rows = [], []
    for view in dict.fromkeys(scores["view"]):
        for method in (SUPERVISED, PRETRAINED):
            these = _where(chosen, view=view, name=method)
            if these.empty:
                continue
            counts = tables.confusion_counts(these, given, run.labels)
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
                named = {"view": view, "validation": rule, "budget": budget, "method": method}
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


def _calibration_blocks(run: Run, scores: pd.DataFrame, jobs: pd.DataFrame) -> list[Block]:
    """Whether a probability can be taken at its word, with the fewest and with the most labels."""
    chosen = _fewest_and_most(jobs[jobs["name"].isin([SUPERVISED, PRETRAINED])])
    if chosen.empty:
        return []
    found, bins = tables.calibration(run.results, chosen, run.labels)
    panels = []
    bins = bins.assign(budget=named_budgets(bins))
    fewest_first = sorted(set(bins["budget"]), key=lambda name: chosen.loc[chosen["budget"] == name, "n_labels"].mean())
    bins = bins.sort_values("budget", key=lambda names: names.map(fewest_first.index), kind="stable")
    for rule in _rules(scores):
        for view in dict.fromkeys(scores["view"]):
            mine = _where(bins, view=view, validation=rule)
            if mine.empty:
                continue
            here = _where(found.assign(budget=named_budgets(found)), view=view, validation=rule)
            told = [f"{r['name']}, {r['budget']}: {percent(r['ece'])} %" for r in here.to_dict("records")]
            alt = f"Reliability diagram, {view}, validation {rule}; expected calibration errors: {'; '.join(told)}."
            drawn = figures.reliability(mine, f"{view}\n{figures.RULE_TITLES[rule]}")
            panels.append(Panel(f"reliability-{slug(str(view))}-{rule}", drawn, alt))
    caption = (
        "How often an answer is right, by the probability that the classifier gave it, in 15 bins of equal width; all "
        "folds and repeats together. Below the diagonal it is surer than it should be. Larger markers hold more "
        "answers."
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
    ]
