"""The page: sections made of text, tables and figures, rendered as one HTML file that needs nothing else.

What the page says of a run in words follows from the rows as well: which method was best, whether an interval includes 0,
what the audit let pass, which jobs failed. Words that hold for every run stand in the template.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Final

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from emoviews.errors import UsageError
from emoviews.experiments import EXPERIMENTS, Experiment
from emoviews.experiments.sparse import BASELINES, METHODS
from emoviews.report import figures, tables
from emoviews.report.tables import (
    PRETRAINED,
    SUPERVISED,
    Cell,
    Column,
    Table,
    count,
    p_value,
    percent,
    plain_number,
    points,
    seconds,
    share,
    slug,
    span,
)
from emoviews.results import FILE, Results
from emoviews.store import write_atomically, write_failed

PAGE: Final = "report.html"
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


@dataclass(frozen=True)
class Text:
    """A paragraph, or with several items a list."""

    items: tuple[str, ...]
    is_list: bool = False
    kind: str = "text"


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    text: str
    kind: str = "heading"


@dataclass(frozen=True)
class Panel:
    """A drawing, the name of its files, and what it shows in words, for those who can't see it."""

    slug: str
    figure: Figure
    alt: str

    @cached_property
    def svg(self) -> bytes:
        """The drawing as a file."""
        return figures.svg(self.figure)

    def inline(self) -> Markup:
        """The drawing as an HTML element."""
        return Markup(figures.inline_svg(self.svg, self.slug))


@dataclass(frozen=True)
class Picture:
    """Panels that stand side by side where the page is wide enough.

    Attributes:
        caption: what it shows, over how much data.
        panels: from left to right.
        whole: all panels as one drawing for the files; None: each panel is a file.
        stacked: panels are always one below the other.
    """

    caption: str
    panels: tuple[Panel, ...]
    whole: Panel | None = None
    stacked: bool = False
    kind: str = "picture"

    @property
    def files(self) -> tuple[Panel, ...]:
        """What is written to the folder of figures."""
        return self.panels if self.whole is None else (self.whole,)


Block = Text | Heading | Table | Picture


@dataclass(frozen=True)
class Section:
    """A part of the page with an entry in its list of contents."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def id(self) -> str:
        """The anchor."""
        return slug(self.title)


@dataclass(frozen=True)
class Run:
    """What the sections are made of, read once.

    Attributes:
        results: the open database.
        description: what `Results.describe` noted.
        jobs: of `tables.planned_jobs`.
        n_left_out: finished jobs that no experiment asks for any more.
        experiments: which experiment planned how many jobs.
        utterances: who said what is predicted.
        labels: the classes.
    """

    results: Results
    description: Mapping[str, Any]
    jobs: pd.DataFrame
    n_left_out: int
    experiments: Mapping[str, int]
    utterances: pd.DataFrame
    labels: tuple[str, ...]

    @classmethod
    def of(cls, results: Results) -> Run:
        """Read a run.

        Raises:
            UsageError: nothing has been planned in it.
        """
        jobs = tables.planned_jobs(results)
        if jobs.empty:
            raise UsageError(
                f"{results.path} holds no planned job. Fill it with: emoviews reproduce TABLE --out {results.path.parent}"
            )
        plans = results.frame("SELECT experiment, COUNT(*) AS n FROM plans GROUP BY 1")
        utterances = results.frame('SELECT id, speaker, "group", emotion, gender, duration_seconds FROM utterances')
        description = results.description()
        labels = description.get("labels") or sorted(set(utterances["emotion"]) - {""})
        counts = dict(zip(plans["experiment"], plans["n"], strict=True))
        n_left_out = len(results.finished() - set(jobs["job_id"]))
        return cls(results, description, jobs, n_left_out, counts, utterances, tuple(labels))

    @property
    def chance(self) -> float:
        """UAR of guessing."""
        return 1.0 / max(1, len(self.labels))

    @cached_property
    def folds(self) -> pd.DataFrame:
        """Of `tables.folds`."""
        return tables.folds(self.description, self.utterances, self.labels)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The finished jobs' tidy rows; a job of two experiments stands there twice, one of none is left out."""
        tidy = self.results.tidy()
        return tidy[tidy["experiment"] != ""]

    @property
    def tidy(self) -> pd.DataFrame:
        """The finished jobs' tidy rows, each once."""
        return self.rows.drop_duplicates(["job_id", "split"])

    @cached_property
    def fold_of_speaker(self) -> pd.Series[str]:
        """Fold that tests each known speaker; several, joined by commas, for one who occurs in several."""
        fold_of = {g: fold for fold, groups in self.description.get("test_groups", {}).items() for g in groups}
        known = self.utterances[self.utterances["speaker"] != ""]
        folds = known["group"].map(lambda group: fold_of.get(group, ""))
        return folds.groupby(known["speaker"]).agg(lambda found: ", ".join(sorted(set(found))))

    @property
    def shared_speakers(self) -> int:
        """Speakers whom one fold tests and another trains on."""
        return int(self.fold_of_speaker.str.contains(", ", regex=False).sum())

    @property
    def unknown_speakers(self) -> int:
        """Recordings without a speaker."""
        return int((self.utterances["speaker"] == "").sum())


Made = Mapping[str, pd.DataFrame]
"""What an experiment's `tables` gives."""


def write_report(folder: Path) -> Path:
    """Write `report.html`, `tables/` and `figures/` into a run folder, from its saved rows alone; files there are replaced.

    Args:
        folder: the run folder, which holds `results.sqlite`.

    Returns:
        The page.

    Raises:
        UsageError: the folder holds no results, or nothing was planned in it.
        StoreError: the files can't be written.
    """
    if not (folder / FILE).is_file():
        raise UsageError(
            f"{folder} holds no results ({FILE} is missing). Make them with: emoviews reproduce TABLE --out {folder}"
        )
    with Results(folder) as results:
        run = Run.of(results)
        sections, headline = _sections(run)
        page = _render(run, sections, headline)
    try:
        for name in ("tables", "figures"):
            (folder / name).mkdir(exist_ok=True)
        for block in (*headline, *(block for section in sections for block in section.blocks)):
            if isinstance(block, Table):
                block.write(folder / "tables")
            elif isinstance(block, Picture):
                for panel in block.files:
                    write_atomically(folder / "figures" / f"{panel.slug}.svg", panel.svg)
                    write_atomically(folder / "figures" / f"{panel.slug}.png", figures.png(panel.figure))
        write_atomically(folder / PAGE, page)
    except OSError as error:
        raise write_failed(folder / PAGE, error, len(page)) from error
    return folder / PAGE


def _sections(run: Run) -> tuple[list[Section], list[Block]]:
    """The run's sections, and what the summary takes from them."""
    made: list[Section] = []
    headline: list[Block] = []
    for name in _registered(run):
        experiment: Experiment = EXPERIMENTS.load(name)
        found = {title: table for title, table in experiment.tables(run.results).items() if not table.empty}
        if found:
            section, summary = SECTIONS.get(name, _plain_section)(run, experiment, found)
            made.append(section)
            headline += summary
    others = [_other_scores(run), _training(run), _what_was_run(run)]
    return [*made, *(section for section in others if section is not None)], headline


def _registered(run: Run) -> list[str]:
    """The planned experiments that are registered, `sparse` first: the others explain its numbers."""
    planned = set(run.experiments) & set(EXPERIMENTS.names())
    return sorted(planned, key=lambda name: (name != "sparse", name))


def _render(run: Run, sections: Sequence[Section], headline: Sequence[Block]) -> bytes:
    source = resources.files("emoviews.report").joinpath("page.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(source).render(
        corpus=run.description.get("corpus", "a run"),
        version=run.description.get("versions", {}).get("emoviews", ""),
        experiments=[f"{e.title} ({e.source} of the paper)" for e in map(EXPERIMENTS.load, _registered(run))],
        labels=run.labels,
        chance=share(run.chance),
        shared_speakers=run.shared_speakers,
        notices=list(_notices(run)),
        any_done=bool((run.jobs["status"] == "done").any()),
        headline=headline,
        sections=sections,
        leaks=_leaks(run),
        warnings=run.description.get("warnings", []),
        rules=_validation_rules(run),
        licences=run.description.get("licences", {}),
    )
    return page.encode()


def _notices(run: Run) -> Iterator[str]:
    status, n = run.jobs["status"].value_counts(), len(run.jobs)
    if failed := int(status.get("failed", 0)):
        yield f"{failed} of {n} jobs failed; their scores are missing below. The errors stand under “What was run”."
    if waiting := int(status.get("not run", 0)):
        yield f"{waiting} of {n} jobs have not been run yet; the numbers below are of the others."
    if shared := run.shared_speakers:
        yield (
            f"{shared} speaker{'s' * (shared > 1)} occur in training and in test: the scores below are not those for an "
            "unknown speaker, and probably higher."
        )
    if unknown := run.unknown_speakers:
        yield (
            f"{unknown} recordings have no speaker. Each counts as a speaker of its own, so the intervals are probably too "
            "narrow, and nobody can check whether training and test share speakers."
        )
    yield from map(str, run.description.get("warnings", []))


# The experiment "sparse" ---------------------------------------------------------------------------------------------------


def _sparse(run: Run, experiment: Experiment, made: Made) -> tuple[Section, list[Block]]:
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
            f"Pre-trained and tuned, compared with supervised training on the same labels, was {_and(parts)} of {n} "
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


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


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
    alt = f"Dot chart of each speaker's UAR with {_and(methods)}; with {winner} from {ends[0]} to {ends[1]} %."
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


# The experiment "representations" ------------------------------------------------------------------------------------------


def _representations(run: Run, experiment: Experiment, made: Made) -> tuple[Section, list[Block]]:
    probes = made.get("Linear probes on unseen speakers", pd.DataFrame())
    retrieval = made.get("Retrieval across views, top 1", pd.DataFrame())
    intro = (
        "A linear probe is a simple model that tries to read one property off an encoder's output: it shows what the encoder "
        "keeps. It is trained on training recordings and tested on speakers whom neither the encoder nor the probe has met; "
        "the probe for speakers on one half of the unseen speakers' sentences, tested on the other half. Retrieval asks what "
        "the contrastive loss asks for: is the nearest projection in another view that of the same recording?"
    )
    compared = _before_and_after(probes, retrieval)
    blocks: list[Block] = [Text((intro,))]
    if not compared.empty:
        told = [
            f"{row['what']}, {row['where']}: {percent(row['before'])} to {percent(row['after'])} %"
            for row in compared.to_dict("records")
        ]
        alt = f"Dot chart of probes and retrieval, random encoder to pre-trained encoder. {'; '.join(told)}."
        folds = int(max([*probes.get("folds", []), *retrieval.get("folds", [])]))
        caption = (
            "What the encoders' outputs tell of unseen speakers' recordings before pre-training (random weights) and after; "
            f"mean over {folds} folds. R² of duration: share of the variance of log duration that is predicted; below 0 it "
            "is worse than always answering the mean, and drawn at the edge with its value."
        )
        blocks.append(Picture(caption, (Panel("representations", figures.before_and_after(compared), alt),)))
    if not probes.empty:
        names = {"random": "random", "pretrained": "pre-trained"}
        columns = {
            "probe": Column("Probe"),
            "view": Column("View"),
            "encoder": Column("Encoder", lambda encoder: names.get(encoder, str(encoder))),
            "mean": Column("Mean %", percent, True),
            "lowest fold": Column("Lowest fold", percent, True),
            "highest fold": Column("Highest fold", percent, True),
            "chance": Column("Chance", percent, True),
            "folds": Column("Folds", count, True),
        }
        blocks.append(Table.of("probes", "Linear probes on unseen speakers, in per cent.", probes, columns))
    if not retrieval.empty:
        columns = {
            "pair": Column("From view to view"),
            "random": Column("Random %", percent, True),
            "pre-trained": Column("Pre-trained %", percent, True),
            "chance": Column("Chance %", percent, True),
            "folds": Column("Folds", count, True),
        }
        caption = (
            "How often an unseen recording's nearest projection in the other view is its own (top 1), in per cent."
        )
        blocks.append(Table.of("retrieval", caption, retrieval, columns))
    return Section(experiment.title, tuple(blocks)), _knowledge(compared)


def _before_and_after(probes: pd.DataFrame, retrieval: pd.DataFrame) -> pd.DataFrame:
    """`what, where, before, after, chance` of all probes and retrievals that have both."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in probes.to_dict("records"):
        entry = found.setdefault((row["probe"], row["view"]), {"what": row["probe"], "where": row["view"]})
        entry |= {"before" if row["encoder"] == "random" else "after": row["mean"], "chance": row["chance"]}
    rows = list(found.values())
    for row in retrieval.to_dict("records"):
        ends = {"before": row["random"], "after": row["pre-trained"], "chance": row["chance"]}
        rows.append({"what": "retrieval (top 1)", "where": row["pair"], **ends})
    frame = pd.DataFrame(rows, columns=["what", "where", "before", "after", "chance"])
    return frame.dropna(ignore_index=True)


def _knowledge(compared: pd.DataFrame) -> list[Block]:
    """What pre-training changed in the encoders, in words."""
    probes = compared[compared["what"].str.contains("UAR|accuracy")]
    lines = []
    for view in dict.fromkeys(probes["where"]):
        told = [
            f"{row['what'].partition(' (')[0]} {percent(row['before'])} → {percent(row['after'])} %"
            for row in probes[probes["where"] == view].to_dict("records")
        ]
        lines.append(Markup("<strong>{}</strong>: {}.").format(view, ", ".join(told)))
    if not lines:
        return []
    intro = "What a linear probe reads off the encoders for unseen speakers, before → after pre-training:"
    return [Text((intro,)), Text(tuple(lines), is_list=True)]


# Any other experiment ------------------------------------------------------------------------------------------------------


def _plain_section(run: Run, experiment: Experiment, made: Made) -> tuple[Section, list[Block]]:
    """The experiment's own tables as they are."""
    blocks = [
        Table.plain(f"{slug(experiment.name)}-{slug(title)}", f"{title}.", table) for title, table in made.items()
    ]
    return Section(experiment.title, tuple(blocks)), []


SECTIONS: Final[Mapping[str, Callable[[Run, Experiment, Made], tuple[Section, list[Block]]]]] = {
    "sparse": _sparse,
    "representations": _representations,
}
"""Experiment → its section, and what the summary says of it; any other is shown by `_plain_section`."""


def _other_scores(run: Run) -> Section | None:
    """Scores of jobs that belong to no registered experiment, such as those of `emoviews finetune`."""
    of_experiments = set(run.rows.loc[run.rows["experiment"].isin(EXPERIMENTS.names()), "job_id"])
    tidy = run.tidy
    rows = tidy[(tidy["split"] == "test") & tidy["uar"].notna() & ~tidy["job_id"].isin(of_experiments)]
    if rows.empty:
        return None
    keys = ["view", "method", "init", "frozen", "label_fraction", "labels_per_class", "validation"]
    groups = rows.assign(**{key: rows[key].astype(object).where(rows[key].notna(), "") for key in keys}).groupby(
        keys, sort=False
    )
    frame = groups.agg(
        n_labels=("n_labels", "mean"),
        mean_uar=("uar", "mean"),
        mean_wa=("wa", "mean"),
        mean_macro_f1=("macro_f1", "mean"),
        folds=("fold", "nunique"),
        trainings=("job_id", "nunique"),
    ).reset_index()
    caption = "Trainings outside the paper's experiments: means over folds and repeats, as fractions."
    return Section("Other trainings", (Table.plain("other-trainings", caption, frame),))


# Training ------------------------------------------------------------------------------------------------------------------


def _training(run: Run) -> Section | None:
    blocks = [*_pretraining_blocks(run), *_finetuning_blocks(run)]
    return Section("How the trainings went", tuple(blocks)) if blocks else None


def _pretraining_blocks(run: Run) -> list[Block]:
    jobs = run.tidy[run.tidy["kind"] == "pretraining"].drop_duplicates("job_id")
    if jobs.empty:
        return []
    lines = tables.curves(run.results, jobs, ["train_loss", "validation_loss"])
    blocks: list[Block] = []
    if not lines.empty:
        low, high = count(jobs["epochs_run"].min()), count(jobs["epochs_run"].max())
        ran = low if low == high else f"{low} to {high}"
        alt = f"Line chart of training and validation loss by epoch in {len(jobs)} pre-trainings of {ran} epochs."
        caption = (
            f"Contrastive loss by epoch, one line for each of {len(jobs)} pre-trainings. The weights of the marked epoch are "
            "kept: that of the lowest validation loss. The loss grows with the size of a batch, so the two are comparable "
            "only where batches have the same size."
        )
        kept = {str(job): float(epoch) for job, epoch in zip(jobs["job_id"], jobs["best_epoch"], strict=True)}
        blocks.append(Picture(caption, (Panel("pretraining-curves", figures.pretraining_curves(lines, kept), alt),)))
    at_best = lines.merge(jobs[["job_id", "best_epoch"]], on="job_id").query("epoch == best_epoch")
    raw = jobs[["fold", "view", "pretraining_data", "temperature", "epochs_run", "best_epoch", "seed", "job_id"]]
    raw = raw.merge(at_best.drop(columns=["epoch", "best_epoch"]), on="job_id", how="left")
    raw = raw.merge(run.jobs[["job_id", "seconds"]], on="job_id", how="left")
    columns = {
        "fold": Column("Fold"),
        "pretraining_data": Column("Recordings"),
        "temperature": Column("Temperature", "{:g}".format, True),
        "epochs_run": Column("Epochs run", count, True),
        "best_epoch": Column("Kept", count, True),
        "train_loss": Column("Training loss", plain_number, True),
        "validation_loss": Column("Validation loss", plain_number, True),
        "seconds": Column("Time", seconds, True),
    }
    caption = "Pre-trainings, named by the fold whose test groups they leave out; losses are those of the kept epoch."
    return [*blocks, Table.of("pretraining", caption, raw, columns)]


def _finetuning_blocks(run: Run) -> list[Block]:
    """Validation curves of one fold and repeat, with the fewest and the most labels."""
    rows = run.tidy[run.tidy["label_fraction"].notna() & (run.tidy["split"] == "test")]
    names = {"random": SUPERVISED, "pretrained": PRETRAINED}
    jobs = rows[(rows["kind"] == "finetuning") & ~rows["frozen"].fillna(False).astype(bool) & rows["init"].isin(names)]
    if jobs.empty:
        return []
    fold, repeat = jobs["fold"].min(), jobs["repeat"].min()
    jobs = jobs[(jobs["fold"] == fold) & (jobs["repeat"] == repeat)]
    jobs = jobs[jobs["label_fraction"].isin([jobs["label_fraction"].min(), jobs["label_fraction"].max()])]
    jobs = jobs.assign(name=jobs["init"].map(names))
    lines = tables.curves(run.results, jobs, ["validation_uar"]).dropna(subset="validation_uar")
    if lines.empty:
        return []
    lines = lines.merge(jobs[["job_id", "view", "name", "label_fraction", "best_epoch"]], on="job_id")
    lines["kept"] = lines["epoch"] == lines["best_epoch"]
    panels = []
    for view in sorted(set(lines["view"])):
        mine = lines[lines["view"] == view]
        best = mine.groupby(["name", "label_fraction"], as_index=False)["validation_uar"].max().to_dict("records")
        told = [f"{b['name']}, {share(b['label_fraction'])}: at most {percent(b['validation_uar'])} %" for b in best]
        drawn = figures.finetuning_curves(mine, f"Fine-tuning, {view}", run.chance)
        alt = f"Line chart of the validation UAR by epoch on {view}. {'; '.join(told)}."
        panels.append(Panel(f"finetuning-curves-{slug(view)}", drawn, alt))
    caption = (
        f"UAR on the validation recordings during fine-tuning, for example in fold {fold}, repeat {count(repeat)}, with the "
        "smallest (dotted) and the largest (solid) share of labels. The weights of the marked epoch are kept. Dotted black: "
        "chance."
    )
    return [Picture(caption, tuple(panels))]


# What was run --------------------------------------------------------------------------------------------------------------


def _what_was_run(run: Run) -> Section:
    blocks: list[Block] = [_facts(run)]
    if not run.folds.empty:
        columns = {
            "fold": Column("Fold"),
            "groups": Column("Test groups"),
            "speakers": Column("Speakers", count, True),
            **{f"n_{label}": Column(label, count, True) for label in run.labels},
            "unlabelled": Column("no label", count, True),
            "split_hash": Column("Split hash"),
        }
        caption = (
            "The folds: whose recordings each tests, and how many of each emotion. Another fold's test groups validate, the "
            "rest train. Equal split hashes are equal splits."
        )
        blocks.append(Table.of("folds", caption, run.folds, columns))
    views = tables.views(run.description)
    if not views.empty:
        columns = {
            "view": Column("View"),
            "fingerprint": Column("Fingerprint"),
            "version": Column("Version", str, True),
            "axes": Column("Axes"),
            "parameters": Column("Parameters"),
            "weights": Column("Weights"),
        }
        caption = "The views, which is what the encoders see. Equal fingerprints are equal inputs."
        blocks.append(Table.of("views", caption, views, columns))
    found = tables.settings(run.jobs)
    caption = "The settings by kind of job; several values in one cell are several configurations."
    blocks.append(Table.plain("settings", caption, found))
    columns = {
        "kind": Column("Jobs"),
        "planned": Column("Planned", count, True),
        "done": Column("Done", count, True),
        "failed": Column("Failed", count, True),
        "not_run": Column("Not run", count, True),
        "seconds": Column("Time", seconds, True),
    }
    caption = "The jobs, each one training and its test. Time is the sum over jobs; in parallel it took less."
    blocks.append(Table.of("jobs", caption, tables.job_counts(run.jobs), columns))
    failed = run.jobs[run.jobs["status"] == "failed"]
    if not failed.empty:
        frame = failed.groupby(["kind", "error"], sort=False)["job_id"].agg(["count", "first"]).reset_index()
        columns = {
            "kind": Column("Jobs"),
            "count": Column("Failed", count, True),
            "error": Column("Error"),
            "first": Column("First job"),
        }
        blocks.append(Table.of("failures", "Jobs that failed, by error.", frame, columns))
    return Section("What was run", tuple(blocks))


def _facts(run: Run) -> Table:
    n, status = len(run.utterances), run.jobs["status"].value_counts()
    labelled = int(run.utterances["emotion"].isin(run.labels).sum())
    seeds = {description["seed"] for description in run.jobs["description"].dropna()}
    unknown = f"{len(run.fold_of_speaker)}, and {run.unknown_speakers} recordings without one"
    left_out = (
        f"; {run.n_left_out} of earlier configurations are in the database and left out" if run.n_left_out else ""
    )
    facts = {
        "Corpus": run.description.get("corpus", "–"),
        "Utterance table (hash)": run.description.get("table", "–"),
        "Recordings": f"{n}, together {run.utterances['duration_seconds'].sum() / 3600:.2f} h; {labelled} with a label",
        "Labels": ", ".join(run.labels) or "–",
        "Speakers": unknown if run.unknown_speakers else str(len(run.fold_of_speaker)),
        "Folds": str(len(run.folds)),
        "Experiments": ", ".join(f"{name} ({jobs} jobs)" for name, jobs in run.experiments.items()) or "–",
        "Jobs": ", ".join(f"{status.get(word, 0)} {word}" for word in ("done", "failed", "not run")) + left_out,
        "Training time": f"{seconds(float(run.jobs['seconds'].sum()))}, summed over jobs",
        "Devices": ", ".join(sorted(set(run.jobs["device"]) - {""})) or "–",
        "Seed": f"{run.description.get('seed', '–')}; {len(seeds)} seeds of jobs derive from it and stand in results.csv",
        "Configuration": json.dumps(run.description.get("configuration", {}), ensure_ascii=False) or "–",
        "Versions": ", ".join(f"{name} {version}" for name, version in run.description.get("versions", {}).items())
        or "–",
    }
    frame = pd.DataFrame(list(facts.items()), columns=["what", "value"])
    return Table.of("run", "The run.", frame, {"what": Column("What"), "value": Column("Value")})


# Checks --------------------------------------------------------------------------------------------------------------------


def _leaks(run: Run) -> list[str] | None:
    """What the leakage audit let pass, each with its folds; None where the run does not say."""
    if "leaks" not in run.description:
        return None
    by_fold = run.description["leaks"]
    found: dict[str, list[str]] = {}
    for fold, leaks in by_fold.items():
        for leak in leaks:
            found.setdefault(str(leak), []).append(fold)
    return [
        f"{leak} ({'every fold' if len(folds) == len(by_fold) else f'fold {_and(folds)}'})"
        for leak, folds in found.items()
    ]


def _validation_rules(run: Run) -> list[dict[str, str]]:
    """The rules by which trainings were stopped, with the labels that they used: `name, used, fewest`."""
    rows = run.tidy[run.tidy["kind"].isin(["finetuning", "baseline"])]
    found = []
    for rule in sorted(set(rows["validation"].dropna())):
        mine = rows[rows["validation"] == rule]
        used = mine.loc[mine["split"] == "validation", "n"].mean()
        found.append({"name": rule, "used": count(used), "fewest": count(mine["n_labels"].min())})
    return found
