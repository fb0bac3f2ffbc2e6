"""Few labels: who was best with how many, whether pre-training helped, speaker by speaker, and what is confused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import pandas as pd
from markupsafe import Markup

from emoviews.experiments import Experiment
from emoviews.experiments.sparse import BASELINES, BUDGET, METHODS, SCORES, Answers
from emoviews.report import figures, tables
from emoviews.report.blocks import Block, Heading, Made, Panel, Picture, Section, Text
from emoviews.report.run import Run
from emoviews.report.sections._answers import calibration_blocks, confusion_blocks, gender_blocks, speaker_blocks
from emoviews.report.sections._budgets import KINDS, NUMBERS, SHARES, best_rows, of_kind, rules_of, where
from emoviews.report.sections._comparison import difference_tables, paper_tables, t_note, verdict
from emoviews.report.tables import (
    PRETRAINED,
    SUPERVISED,
    Cell,
    Column,
    Table,
    budget_name,
    count,
    interval,
    listed,
    named_budgets,
    percent,
    points,
    slug,
)

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


def section(run: Run, experiment: Experiment, made: Made) -> tuple[Section, list[Block]]:
    """Of the experiment `sparse`."""
    scores = _cut(made[SCORES])
    jobs = tables.classifiers(run.results, experiment.name)
    given = tables.answers(run.results, jobs["job_id"])
    gaps = tables.differences(jobs, given)
    about = _about(run, scores, jobs, given)
    rules = rules_of(scores)
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
    for kind, heading in ((SHARES, "A share of each class's labels"), (NUMBERS, "A number of labels a class")):
        blocks += _kind_blocks(run, of_kind(scores, kind), kind, heading, about)
    blocks += _rule_blocks(run, scores, tables.rule_differences(jobs, given), about)
    if not gaps.empty:
        blocks += [Heading("Pre-trained against supervised"), *difference_tables(gaps), *paper_tables(scores, gaps)]
    blocks += speaker_blocks(run, scores, jobs, given)
    blocks += gender_blocks(jobs, given)
    blocks += confusion_blocks(run, scores, jobs, given)
    blocks += calibration_blocks(run, scores, jobs)
    blocks += [Heading("All numbers"), _all_scores(scores, about)]
    return Section(experiment.title, tuple(blocks)), [_best_methods(scores), *_baselines(scores), *verdict(gaps)]


def _cut(scores: pd.DataFrame) -> pd.DataFrame:
    """With Student's intervals cut to what UAR can be, 0 to 1: over two repeats they are wider than that."""
    ends = [f"t_{end}_{unit}" for end in ("low", "high") for unit in ("repeats", "trainings")]
    return scores.assign(**{name: scores[name].clip(0.0, 1.0) for name in ends})


def _about(run: Run, scores: pd.DataFrame, jobs: pd.DataFrame, given: Answers) -> str:
    """Over how much data: the end of most captions. Counted are those that were tested, a job of each fold."""
    folds, repeats = int(scores["folds"].max()), int(scores["repeats"].max())
    tests = f"{folds} fold{'s' * (folds > 1)}, {repeats} repeat{'s' * (repeats > 1)} (label draws and seeds)"
    answers = given.rows[given.rows["job_id"].isin(jobs.drop_duplicates("fold")["job_id"])]
    speakers = answers["speaker"].nunique()
    return f"Test: {int(answers['n'].sum())} labelled recordings of {speakers} speaker{'s' * (speakers > 1)}; {tests}"


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
    unstopped = jobs[(jobs["validation"] == "budget") & ~jobs["job_id"].isin(_validation_rows(run)["job_id"])]
    if not unstopped.empty:
        names = listed(list(dict.fromkeys(named_budgets(tables.in_order(unstopped)))))
        yield (
            f"Validation “budget”: {len(unstopped)} trainings ({names}) had one label a class and so none left to "
            "validate on: they ran all their epochs, or were regularised with a middle value."
        )
    # How many classes validate is not saved; fewer labels than classes can't hold them all.
    rows = jobs.merge(_validation_rows(run), on="job_id")
    partial = rows[(rows["validation"] == "budget") & (rows["n_validation"] < len(run.labels))]
    if not partial.empty:
        names = listed(list(dict.fromkeys(named_budgets(tables.in_order(partial)))))
        yield (
            f"Validation “budget”: at least {len(partial)} more trainings ({names}) had fewer labels to validate on than "
            f"there are emotions: an emotion with one label trains, and none is left to validate. Their UAR on validation "
            "is the mean over the other emotions."
        )
    if jobs["method"].isin(BASELINES).any():
        yield (
            "The linear models weight each emotion by the inverse of its frequency (class_weight “balanced”), so that rare "
            "ones count as much as frequent ones; the cross-entropy of the networks does not. On uneven classes that favours "
            "the linear models' UAR."
        )
    if jobs["init"].eq("pretrained").any():
        yield (
            "All repeats of a fold start from the same pre-training: what varies between them is the labels drawn and the "
            "seed of the classifier, and no interval over repeats holds the variance of pre-training."
        )
    for fold in run.folds.to_dict("records"):
        if absent := [label for label in run.labels if fold[f"n_{label}"] == 0]:
            yield (
                f"Fold {fold['fold']}: no test recording is labelled {listed(absent)}; its UAR is the mean over the "
                "other emotions."
            )


def _folds(names: Sequence[str]) -> str:
    return f"fold{'s' * (len(names) > 1)} {listed(names)}"


def _validation_rows(run: Run) -> pd.DataFrame:
    """The jobs that had a label to validate on: `job_id, n_validation`."""
    tidy = run.tidy
    rows = tidy.loc[(tidy["split"] == "validation") & (tidy["n"] > 0), ["job_id", "n"]]
    return rows.rename(columns={"n": "n_validation"})


def _kind_blocks(run: Run, scores: pd.DataFrame, kind: str, heading: str, about: str) -> list[Block]:
    """A picture and a table for each view and rule, of one kind of budget."""
    if scores.empty:
        return []
    views, rules = [str(view) for view in dict.fromkeys(scores["view"])], rules_of(scores)
    name = "uar-by-labels" if kind == SHARES else "uar-by-labels-per-class"
    panels = []
    for rule in rules:
        for view in views:
            lines = [
                f"{method} from {_ends(line)}"
                for method, line in where(scores, view=view, validation=rule).groupby("method", sort=False)
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
    told = figures.intervals_told(scores)
    others = "" if figures.is_alone(scores) else "; those of the others are in the tables"
    caption = (
        f"UAR against the number of labels (logarithmic), {counted}. Points: UAR pooled over folds, mean over repeats. "
        f"{told[0].upper()}{told[1:]}, by a bootstrap over speakers{others}. {about}."
    )
    whole = figures.uar_by_labels(scores, views, rules, run.chance, titled_by_rule=len(rules) > 1)
    blocks: list[Block] = [Heading(heading), Picture(caption, tuple(panels), Panel(name, whole, ""))]
    return blocks + [
        _score_table(where(scores, view=view, validation=rule), view, rule, kind) for rule in rules for view in views
    ]


def _ends(line: pd.DataFrame) -> str:
    """The first and the last point of a line in words."""
    rows = line.sort_values("n_labels").to_dict("records")
    ends = [f"{percent(row['pooled_uar'])} % with {count(row['n_labels'])} labels" for row in (rows[0], rows[-1])]
    return " to ".join(ends)


def _score_table(scores: pd.DataFrame, view: str, rule: str, kind: str) -> Table:
    """Methods by budgets, for one view and rule."""
    column = KINDS[kind]
    labels = {float(row[column]): float(row["n_labels"]) for row in scores.to_dict("records")}
    names = {float(row[column]): budget_name(row[BUDGET[0]], row[BUDGET[1]]) for row in scores.to_dict("records")}
    found = {(row["method"], row[column]): row for row in scores.to_dict("records")}
    winners = {(row["method"], row[column]) for row in best_rows(scores).to_dict("records")}
    headings = [Cell("Method"), *(Cell(f"{names[b]}\n{count(labels[b])} labels", True) for b in sorted(labels))]
    rows = []
    for method in dict.fromkeys(scores["method"]):
        cells = [Cell(str(method))]
        for budget in sorted(labels):
            row = found.get((method, budget))
            text = "–" if row is None else f"{percent(row['pooled_uar'])}\n({interval(row['low'], row['high'])})"
            cells.append(Cell(text, True, (method, budget) in winners))
        rows.append(tuple(cells))
    what = "share of each class's labels" if kind == SHARES else "number of labels a class"
    caption = (
        f"{view}, validation “{rule}”: UAR in % and its 95 % interval, by {what}; the highest of each column in bold."
    )
    end = "" if kind == SHARES else "-per-class"
    return Table(f"uar{end}-{slug(view)}-{rule}", caption, scores, tuple(headings), tuple(rows))


def _rule_blocks(run: Run, scores: pd.DataFrame, gaps: pd.DataFrame, about: str) -> list[Block]:
    """What the labels of a whole validation group are worth: both rules in one picture, and their difference."""
    if gaps.empty:
        return []
    views = [str(view) for view in dict.fromkeys(gaps["view"])]
    panels = []
    shares = of_kind(scores, SHARES) if scores["label_fraction"].notna().any() else scores
    shares = shares[shares["validation"].isin(["full", "budget"])]
    for view in views:
        lines = [
            f"{method}, validation {rule}, from {_ends(line)}"
            for (method, rule), line in where(shares, view=view).groupby(["method", "validation"], sort=False)
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
    return blocks + [_rule_table(of_kind(gaps, kind), kind) for kind in KINDS if not of_kind(gaps, kind).empty]


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
            text = "–" if row is None else f"{points(row['difference'])}\n({interval(row['low'], row['high'], points)})"
            clear = row is not None and (row["low"] > 0 or row["high"] < 0)
            cells.append(Cell(text, True, clear))
        rows.append(tuple(cells))
    caption = (
        "UAR with validation “full” minus UAR with validation “budget”, in percentage points, on the same folds, "
        "draws of labels and test recordings. Interval: bootstrap that draws speakers "
        f"({int(gaps['n_speakers'].max())}) for both rules together; in bold where it excludes 0. What depends on no draw "
        "(a linear model of all labels under “full”) was run once, and is compared with the first draw of the other rule."
    )
    end = "" if kind == SHARES else "-per-class"
    return Table(f"full-minus-budget{end}", caption, gaps, tuple(headings), tuple(rows))


def _all_scores(scores: pd.DataFrame, about: str) -> Table:
    rows = scores.to_dict("records")
    shown = scores.assign(
        name=[f"{row['method']}\n{row['view']}" for row in rows],
        budget=named_budgets(scores),
        pooled=[f"{percent(row['pooled_uar'])}\n({interval(row['low'], row['high'])})" for row in rows],
        mean=[f"{percent(row['mean_uar'])}\n({interval(row['t_low_repeats'], row['t_high_repeats'])})" for row in rows],
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
        f"(each the mean of its folds{t_note(int(scores['repeats'].max()))}): it says what other draws of labels and seeds "
        "would give for the same speakers. "
        f"WA (plain accuracy) and macro F1 likewise. The CSV file has the interval over all trainings too. {about}."
    )
    return Table.of("uar-by-labels", caption, scores, columns, shown=shown)


def _best_methods(scores: pd.DataFrame) -> Table:
    """A row a budget, the best method under each rule beside the other's."""
    rules = rules_of(scores)
    best = pd.concat([best_rows(where(scores, validation=rule)) for rule in rules])
    kept = ["validation", *BUDGET, "n_labels", "pooled_uar", "low", "high", "method", "view", "n_jobs"]
    raw = best[kept].reset_index(drop=True)
    named = raw.assign(budget=named_budgets(raw))
    found = {(row["budget"], row["validation"]): row for row in named.to_dict("records")}
    headings = [Cell("Budget"), Cell("Labels", True)]
    for rule in rules:
        headings += [Cell(f"UAR %\nvalidation {rule}", True), Cell(f"Best method\nvalidation {rule}")]
    rows = []
    for budget, group in named.groupby("budget", sort=False):
        cells = [Cell(str(budget)), Cell(count(group["n_labels"].mean()), True)]
        for rule in rules:
            if (row := found.get((budget, rule))) is None:
                cells += [Cell("–", True), Cell("–")]
                continue
            cells.append(Cell(f"{percent(row['pooled_uar'])}\n({interval(row['low'], row['high'])})", True))
            cells.append(Cell(f"{row['method']}\n{row['view']}; {count(row['n_jobs'])} trainings"))
        rows.append(tuple(cells))
    caption = (
        "The best method with each label budget, and its 95 % interval. It was picked by the very test scores shown, "
        "so expect a little less for new speakers; where intervals overlap, another method may be as good. Below the "
        "method stand the view and the number of trainings, of all folds and repeats."
    )
    if "full" in rules:
        caption += " Under “full” a fully labelled group was used besides, which the budget does not count."
    return Table("best-method", caption, raw, tuple(headings), tuple(rows))


def _baselines(scores: pd.DataFrame) -> list[Block]:
    if not set(scores["method"]) & set(_BASELINE_NAMES):
        return []
    told = []
    for rule in rules_of(scores):
        best = best_rows(where(scores, validation=rule))
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
