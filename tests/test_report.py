"""The report says what the database holds: its numbers are computed anew here, from the saved predictions by scikit-learn."""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss, recall_score

from emoviews import metrics
from emoviews.checkpoints import versions
from emoviews.configs import FineTuningConfig, LabelBudget
from emoviews.errors import StoreError, UsageError
from emoviews.experiments import Experiment, Plan
from emoviews.experiments.frozen import METHODS as FROZEN_METHODS
from emoviews.experiments.representations import EXPERIMENT as REPRESENTATIONS
from emoviews.experiments.sparse import EXPERIMENT as SPARSE
from emoviews.experiments.sparse import METHODS
from emoviews.jobs import RANDOM, FineTuningJob, Job, JobResult, Predictions, PretrainingJob, ProbeJob
from emoviews.report import figures, latex, page, tables, write_report
from emoviews.report.sections import sparse as sparse_section
from emoviews.report.sections._answers import MOST_SPEAKERS
from emoviews.results import Results
from emoviews.statistics import counted_uar_interval
from emoviews.types import ViewSpec

SCRATCH, TUNED = METHODS["finetuning", RANDOM, False], METHODS["finetuning", "pretrained", False]


@dataclass(frozen=True)
class Made:
    """A made-up run. Speakers have unequal numbers of unequal classes, so that every way of averaging gives another number.

    Attributes:
        skill: method's name → how often an answer is right, beyond guessing.
        too_few: up to so many labels, none is left to validate on out of the budget.
    """

    views: tuple[str, ...] = ("mel_spectrogram", "egemaps")
    labels: tuple[str, ...] = ("anger", "neutral", "sadness")
    folds: tuple[tuple[str, ...], ...] = (("s1", "s2"), ("s3", "s4"), ("s5", "s6"))
    fractions: tuple[float, ...] = (0.1, 1.0)
    per_class: tuple[int, ...] = (4,)
    repeats: int = 2
    validations: tuple[Any, ...] = ("full", "budget")
    rarest: dict[str, int] = field(default_factory=dict)
    too_few: float = 0
    experiments: tuple[Experiment, ...] = (SPARSE, REPRESENTATIONS)
    skill: dict[str, float] = field(default_factory=dict)
    run: tuple[str, ...] = ("pretraining", "finetuning", "baseline", "probe")
    fail: int = 0
    speaker: Any = str
    gender: Any = lambda number: "female" if number else "male"
    recordings: int = 8

    def utterances(self) -> pd.DataFrame:
        rows = []
        for fold, speakers in enumerate(self.folds):
            for number, speaker in enumerate(speakers):
                for i in range(self.recordings + 3 * fold + number):
                    emotion = (
                        ("", *self.labels)[i % (len(self.labels) + 1)] if i > 5 else self.labels[i % len(self.labels)]
                    )
                    name = self.speaker(speaker)
                    gender = self.gender(number)
                    rows.append((f"{speaker}-{i}", name, f"group {speaker}", emotion, gender, fold))
        return pd.DataFrame(rows, columns=["id", "speaker", "group", "emotion", "gender", "fold"])

    def plan(self) -> Plan:
        folds = {f"fold {i}": f"hash{i}" for i in range(len(self.folds))}
        fingerprints = {view: spec(view).fingerprint for view in self.views}
        return Plan(
            "made up",
            "table0",
            folds,
            fingerprints,
            validation=self.validations[0],
            validations=self.validations,
            fractions=self.fractions,
            per_class=self.per_class,
            rarest=self.rarest,
            repeats=self.repeats,
        )


def spec(view: str) -> ViewSpec:
    return ViewSpec(
        view, 1, {"bands": 64}, ("frames", "features"), (0, 64), "float16", 100.0, licence="a <b>licence</b>"
    )


def result(job: Job, made: Made, table: pd.DataFrame, pretrainings: set[str]) -> JobResult:
    """What a job might have left, drawn with a seed that is the job's."""
    random = np.random.default_rng(int(job.id, 16) % 2**32)
    fold = int(job.fold.removeprefix("fold "))
    if isinstance(job, PretrainingJob):
        curves = [
            (e, name, 5 - e / 10 + random.random() / 9) for e in (1, 2, 3) for name in ("train_loss", "validation_loss")
        ]
        pairs = [f"{a} to {b}" for a in made.views for b in made.views if a != b]
        scores = [
            ("test", f"{kind} {pair}", random.random()) for kind in ("retrieval", "retrieval_random") for pair in pairs
        ]
        scores += [("train", "epochs_run", 3.0), ("train", "best_epoch", 2.0), ("test", "retrieval_chance", 0.1)]
        return JobResult(job, 2.0, "cpu", metrics=tuple(scores), curves=tuple(curves))
    if isinstance(job, ProbeJob):
        names = ("emotion_uar", "speaker_accuracy", "sentence_accuracy", "duration_r2")
        scores = [("test", f"probe_{name}", random.random()) for name in names]
        scores += [("test", f"probe_{name}_chance", 0.2) for name in ("emotion", "speaker", "sentence")]
        return JobResult(job, 0.1, "cpu", metrics=tuple(scores))
    tested = table[(table["fold"] == fold) & (table["emotion"] != "")]
    init = getattr(job, "init", "")
    start = init if init in ("", RANDOM) else "pretrained"
    method = METHODS[getattr(job, "method", "finetuning"), start, getattr(job, "frozen", False)]
    skill = made.skill.get(method, 0.3)
    guesses = random.choice(made.labels, len(tested))
    answers = np.where(random.random(len(tested)) < skill, tested["emotion"], guesses)
    shares = random.dirichlet(np.ones(len(made.labels)), len(tested))
    shares.sort(axis=1)
    others = np.array([[label for label in made.labels if label != answer] + [answer] for answer in answers])
    probabilities = np.take_along_axis(shares, others.argsort(axis=1), axis=1)  # the answer has the largest
    found = Predictions(tuple(tested["id"]), tuple(tested["emotion"]), tuple(answers), made.labels, probabilities)
    budget = job.budget  # type: ignore[attr-defined]
    n_labels = len(made.labels) * budget.per_class if budget.per_class else 60 * (budget.fraction or 1.0) + fold
    scores = [
        ("test", name, value) for name, value in metrics.evaluate(tested["emotion"], answers, made.labels).items()
    ]
    scores += [("train", "n_labels", n_labels)]
    if job.validation == "full" or (job.validation == "budget" and n_labels > made.too_few):  # type: ignore[attr-defined]
        scores += [("validation", "n", 17.0), ("validation", "uar", 0.5)]
    curves = []
    if job.kind == "finetuning":
        scores += [("train", "epochs_run", 4.0), ("train", "best_epoch", 3.0)]
        curves = [(epoch, "validation_uar", random.random()) for epoch in range(1, 5)]
    return JobResult(job, 0.5, "cpu", metrics=tuple(scores), curves=tuple(curves), predictions=found)


def build(folder: Path, made: Made = Made()) -> Path:
    table, plan = made.utterances(), made.plan()
    with Results(folder) as results:
        results.add_utterances(table, [2.0] * len(table))
        groups = {f"fold {i}": [f"group {s}" for s in speakers] for i, speakers in enumerate(made.folds)}
        results.describe(
            corpus="made <up> & more",
            table="table0",
            n_utterances=len(table),
            labels=list(made.labels),
            folds=dict(plan.folds),
            test_groups=groups,
            views={view: {**spec(view).__dict__} for view in made.views},
            licences={view: spec(view).licence for view in made.views},
            warnings=["1 of 50 utterances could not be <read>"],
            leaks={fold: ["test and train share 3 texts, e.g. 'a < b'"] for fold in plan.folds},
            versions={"emoviews": "9.9", "torch": "2.x"},
            budgets=plan.budgets_asked(),
        )
        jobs = {job.id: job for experiment in made.experiments for job in experiment.jobs(plan)}
        for experiment in made.experiments:
            results.plan(experiment.name, experiment.jobs(plan))
        known = {i for i, job in jobs.items() if job.kind == "pretraining"}
        found = [result(job, made, table, known) for job in jobs.values() if job.kind in made.run]
        spoilt = [replace(r, error="it broke at <x> | y", metrics=(), predictions=None) for r in found[-made.fail :]]
        results.add([*found[: len(found) - made.fail], *spoilt] if made.fail else found)
        results.export()
    return folder


class Page(HTMLParser):
    """The parts of a page that the tests look at; it refuses tags that are not closed in order."""

    VOID = frozenset(["meta", "link", "br", "hr", "img", "input", "path", "use", "circle", "line"])

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.resources: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.headings: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.words: list[str] = []
        self.language = ""
        self._table = ""
        self.feed(self.source)
        self.close()
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        self._note(tag, given)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, dict(attrs))

    def _note(self, tag: str, given: dict[str, str | None]) -> None:
        if given.get("id"):
            self.ids.append(str(given["id"]))
        if tag == "a":
            self.links.append(str(given["href"]))
        elif tag != "use":
            self.resources += [
                str(v) for k, v in given.items() if k in ("src", "href", "xlink:href", "data", "srcset") and v
            ]
        if tag in ("script", "link", "iframe", "object", "embed", "base"):
            self.resources.append(f"<{tag}>")
        if given.get("role") == "img":
            self.images.append(given)
        if tag == "html":
            self.language = given.get("lang") or ""
        if tag == "figure" and (given.get("id") or "").startswith("table-"):
            self._table = str(given["id"]).removeprefix("table-")
            self.tables[self._table] = []
        if tag == "tr":
            self.tables[self._table].append([])
        if tag in ("th", "td"):
            self.tables[self._table][-1].append("")
        if tag == "small":
            self.tables[self._table][-1][-1] += " "
        if tag in ("h1", "h2", "h3"):
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            return
        self.words.append(data)
        if {"th", "td"} & set(self.open[-2:]):
            self.tables[self._table][-1][-1] += data
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings[-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def with_small_bootstraps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "N_RESAMPLES", 200)
    monkeypatch.setitem(counted_uar_interval.__kwdefaults__, "n_resamples", 200)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build(tmp_path_factory.mktemp("run"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        with_small_bootstraps(monkeypatch)
        write_report(folder)
    return folder


@pytest.fixture(scope="module")
def shown(run: Path) -> Page:
    return Page(run / "report.html")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are neither drawn nor rendered, which takes most of the time, and bootstraps are small, for tests of words."""
    for name in ("uar_by_labels", "uar_by_rule", "speaker_dots", "confusion", "reliability", "finetuning_curves"):
        monkeypatch.setattr(figures, name, lambda *args, **kwargs: Figure())
    monkeypatch.setattr(figures, "png", lambda figure: b"")
    monkeypatch.setattr(figures, "svg", lambda figure: b'<svg viewBox="0 0 1 1"></svg>')
    with_small_bootstraps(monkeypatch)


def saved(folder: Path, experiment: str = "sparse") -> pd.DataFrame:
    """Every answer of an experiment with its job, straight from SQLite: independent of `Results.tidy` and `report.tables`."""
    with sqlite3.connect(folder / "results.sqlite") as connection:
        rows = pd.read_sql_query(
            "SELECT p.job_id, p.id, y_true, y_pred, probabilities, speaker, gender, description FROM predictions p "
            "JOIN jobs USING (job_id) JOIN plans USING (job_id) JOIN utterances u ON u.id = p.id "
            "WHERE status = 'done' AND experiment = ?",
            connection,
            params=(experiment,),
        )
    jobs = [json.loads(text) for text in rows["description"]]
    rows["view"] = [job["view"][0] for job in jobs]
    rows["fold"], rows["repeat"] = [job["fold"] for job in jobs], [job["repeat"] for job in jobs]
    rows["validation"] = [job["validation"] for job in jobs]
    rows["budget"] = [budget_of(job["budget"]["fraction"], job["budget"]["per_class"]) for job in jobs]

    def name(job: dict[str, Any]) -> str:
        start = job["init"] if job["init"] in ("", RANDOM) else "pretrained"
        return METHODS[job.get("method", "finetuning"), start, job.get("frozen", False)]

    rows["method"] = [name(job) for job in jobs]
    return rows


def budget_of(fraction: float | None, per_class: float | None) -> str:
    """As it is shown."""
    if per_class and per_class == per_class:
        return f"{per_class:.0f}\u00a0a\u00a0class"
    return f"{100 * (fraction or 1.0):g}\u00a0%"


def read(run: Path, name: str) -> pd.DataFrame:
    """A table's CSV file, with the budget as it is shown."""
    table = pd.read_csv(run / "tables" / f"{name}.csv")
    table["budget"] = [
        budget_of(None if f != f else f, c)
        for f, c in zip(table["label_fraction"], table["labels_per_class"], strict=True)
    ]
    return table.rename(columns={"name": "method"})


def uar_by(rows: pd.DataFrame, by: list[str]) -> pd.Series[float]:
    """UAR of each group of answers: the mean over true labels of the share that is right."""
    right = rows.assign(right=rows["y_true"] == rows["y_pred"])
    return right.groupby([*by, "y_true"])["right"].mean().groupby(by).mean()


def pooled(rows: pd.DataFrame) -> float:
    return float(uar_by(rows, ["repeat"]).mean())


def uars(rows: pd.DataFrame, by: str) -> list[float]:
    """UAR of each fold and repeat; `by` is `trainings`, or `repeats` for the mean of each repeat over folds."""
    of_trainings = uar_by(rows, ["repeat", "fold"])
    return list(of_trainings if by == "trainings" else of_trainings.groupby("repeat").mean())


def shown_number(text: str) -> float:
    return float(text.replace("−", "-").replace("+", ""))


KEYS = ["view", "validation", "method", "budget"]
BUDGETS = ["10\u00a0%", "100\u00a0%", "4\u00a0a\u00a0class"]
N_GROUPS = 2 * 3 * (len(METHODS) + len(METHODS) - 2)  # views, budgets, methods under each rule


def test_scores_are_those_of_the_saved_predictions(run: Path, shown: Page) -> None:
    answers = saved(run)
    table = read(run, "uar-by-labels")
    groups = {tuple(key): rows for key, rows in answers.groupby(KEYS)}
    assert len(table) == len(groups) == N_GROUPS
    assert {tuple(row[k] for k in KEYS) for row in table.to_dict("records")} == set(groups)
    differs = 0
    for row in table.to_dict("records"):
        rows = groups[tuple(row[k] for k in KEYS)]
        by_job = [job for _, job in rows.groupby("job_id")]
        assert row["pooled_uar"] == pytest.approx(pooled(rows), abs=1e-12)
        assert row["mean_uar"] == pytest.approx(np.mean(uars(rows, "trainings")), abs=1e-12)
        for unit in ("repeats", "trainings"):
            values = uars(rows, unit)
            ends = (row[f"t_low_{unit}"], row[f"t_high_{unit}"])
            if len(values) == 1:
                assert np.isnan(ends).all()
            else:
                expected = scipy.stats.t.interval(0.95, len(values) - 1, np.mean(values), scipy.stats.sem(values))
                assert ends == pytest.approx(np.clip(expected, 0, 1), abs=1e-12)
        assert row["n_jobs"] == len(by_job)
        if row["view"] == "egemaps" and row["budget"] == BUDGETS[0]:  # scikit-learn takes its time
            pairs = [(job["y_true"], job["y_pred"]) for job in by_job]
            recalls = [recall_score(*pair, average="macro", labels=sorted(set(pair[0]))) for pair in pairs]
            assert row["mean_uar"] == pytest.approx(np.mean(recalls))
            assert row["mean_wa"] == pytest.approx(np.mean([accuracy_score(*pair) for pair in pairs]))
            assert row["mean_macro_f1"] == pytest.approx(np.mean([f1_score(*pair, average="macro") for pair in pairs]))
        assert row["low"] <= row["pooled_uar"] <= row["high"]
        differs += abs(row["pooled_uar"] - row["mean_uar"]) > 1e-3
        kind = "uar-per-class" if row["budget"].endswith("class") else "uar"
        methods = {cells[0]: cells for cells in shown.tables[f"{kind}-{row['view']}-{row['validation']}"]}
        column = [cell.split(" ")[0] for cell in methods["Method"]].index(row["budget"])
        expected_cell = f"{100 * pooled(rows):.1f} ({100 * row['low']:.1f} to {100 * row['high']:.1f})"
        assert methods[row["method"]][column] == expected_cell
    cut = [table[f"t_low_{unit}"] == 0 for unit in ("repeats", "trainings")]
    assert any(rows.any() for rows in cut), "over two repeats an interval can be wider than what UAR can be"
    assert differs > 5  # the data do tell the two ways of averaging apart


def test_the_rules_are_in_tables_of_their_own(run: Path, shown: Page) -> None:
    for view in Made().views:
        full, budget = (shown.tables[f"uar-{view}-{rule}"] for rule in ("full", "budget"))
        assert full[0] == budget[0]
        assert full[1][1] != budget[1][1]
        probes = {"pre-trained, probe", "random, probe"}
        assert {row[0] for row in full[1:]} - {row[0] for row in budget[1:]} == probes
    assert all(
        name.endswith(("full", "budget")) for name in shown.tables if name.startswith(("uar-egemaps", "uar-mel"))
    )


def test_every_shown_number_is_also_in_the_long_table(run: Path, shown: Page) -> None:
    table = read(run, "uar-by-labels")
    for cells, row in zip(shown.tables["uar-by-labels"][1:], table.to_dict("records"), strict=True):
        assert cells[:3] == [f"{row['method']} {row['view']}", row["validation"], row["budget"]]
        assert cells[4] == f"{100 * row['pooled_uar']:.1f} ({100 * row['low']:.1f} to {100 * row['high']:.1f})"
        ends = [100 * row[f"t_{end}_repeats"] for end in ("low", "high")]
        told = "no interval" if np.isnan(ends).any() else f"{ends[0]:.1f} to {ends[1]:.1f}".replace("-", "−")
        assert cells[5] == f"{100 * row['mean_uar']:.1f} ({told})"
        assert cells[6:8] == [f"{100 * row[c]:.1f}" for c in ("mean_wa", "mean_macro_f1")]
    # 60 labels at most plus the fold's number: 61 on average, a tenth of it, and 4 of each of 3 classes.
    assert sorted(set(table["n_labels"])) == [7.0, 12.0, 61.0]


def test_best_method_of_each_budget_and_rule(run: Path, shown: Page) -> None:
    groups = {tuple(key): pooled(rows) for key, rows in saved(run).groupby(KEYS)}
    assert [cells[0] for cells in shown.tables["best-method"][1:]] == BUDGETS
    for cells in shown.tables["best-method"][1:]:
        for rule, (score, method) in {"full": cells[2:4], "budget": cells[4:6]}.items():
            best = max((key for key in groups if key[1] == rule and key[3] == cells[0]), key=lambda key: groups[key])
            n = 3 if method.startswith("l") and rule == "full" and cells[0] == BUDGETS[1] else 6
            assert method == f"{best[2]} {best[0]}; {n} trainings"
            assert score.split(" ")[0] == f"{100 * groups[best]:.1f}"


def test_best_is_by_the_pooled_score(run: Path) -> None:
    scores = pd.read_csv(run / "tables" / "uar-by-labels.csv").query("label_fraction == 1.0 and validation == 'full'")
    scores = scores.head(2).assign(pooled_uar=[0.5, 0.6], mean_uar=[0.9, 0.1])
    (row,) = sparse_section._best_methods(scores).rows
    assert row[2].lines[0] == "60.0"
    assert row[3].lines[0] == scores["method"].iloc[1]


def test_bold_marks_the_best_of_each_column(run: Path) -> None:
    for rule in ("full", "budget"):
        lines = (run / "tables" / f"uar-egemaps-{rule}.md").read_text().splitlines()
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][2:]
        for column in (1, 2):
            values = [float(row[column].strip("*").split()[0]) for row in cells]
            bold = [i for i, row in enumerate(cells) if row[column].startswith("**")]
            assert bold == [int(np.argmax(values))]


def sides_of(answers: pd.DataFrame, row: dict[str, Any]) -> list[pd.DataFrame]:
    """The answers of the pre-trained and of the supervised classifiers that a row compares."""
    here = answers[
        (answers[["view", "validation", "budget"]] == [row[k] for k in ("view", "validation", "budget")]).all(axis=1)
    ]
    return [here[here["method"] == name] for name in (TUNED, SCRATCH)]


@pytest.mark.parametrize("rule", ["full", "budget"])
def test_differences_are_paired_by_speaker(run: Path, shown: Page, rule: str) -> None:
    answers = saved(run)
    table = read(run, f"pre-trained-minus-supervised-{rule}")
    assert len(table) == 2 * 3
    for cells, row in zip(
        shown.tables[f"pre-trained-minus-supervised-{rule}"][1:], table.to_dict("records"), strict=True
    ):
        assert (row["validation"], cells[0], cells[1]) == (rule, row["view"], row["budget"])
        tuned, scratch = sides_of(answers, row)
        assert row["difference"] == pytest.approx(pooled(tuned) - pooled(scratch), abs=1e-12)
        assert shown_number(cells[3]) == pytest.approx(100 * (pooled(tuned) - pooled(scratch)), abs=0.051)
        speakers = sorted(set(tuned["speaker"]))
        gaps = [pooled(tuned[tuned["speaker"] == s]) - pooled(scratch[scratch["speaker"] == s]) for s in speakers]
        flipped = [abs(np.dot(signs, gaps)) for signs in itertools.product([1, -1], repeat=len(gaps))]
        p = np.mean([f >= abs(sum(gaps)) - 1e-9 for f in flipped])
        assert row["p_sign_flip"] == pytest.approx(p)
        other = np.array([gap for gap in np.round(gaps, 9) if gap != 0])
        ranks = np.sign(other) * scipy.stats.rankdata(np.abs(other))
        flipped = [abs(np.dot(signs, ranks)) for signs in itertools.product([1, -1], repeat=len(other))]
        assert row["p_wilcoxon"] == pytest.approx(np.mean(np.array(flipped) >= abs(sum(ranks))))
        assert row["d_z"] == pytest.approx(scipy.stats.ttest_1samp(gaps, 0).statistic / np.sqrt(6))
        assert shown_number(cells[6]) == pytest.approx(row["d_z"], abs=0.0051)
        assert (row["n_speakers"], row["n_pairs"], row["n_repeats"]) == (6, 6, 2)
    for name, corrected in (("p_sign_flip", "p_holm"), ("p_wilcoxon", "p_wilcoxon_holm")):
        for _, of_view in table.groupby("view"):
            order = of_view.sort_values(name)
            holm = np.maximum.accumulate(np.minimum(1, order[name] * [3, 2, 1]))
            np.testing.assert_allclose(order[corrected], holm)


@pytest.mark.parametrize("rule", ["full", "budget"])
def test_the_papers_test_in_its_readings(run: Path, shown: Page, rule: str) -> None:
    answers = saved(run)
    table = read(run, f"paper-comparison-{rule}")
    headings = shown.tables[f"paper-comparison-{rule}"][0]
    assert "U test in each" in headings[4]
    assert "6 against 6 trainings" in headings[5]
    assert "2 against 2 repeats" in headings[7]
    for cells, row in zip(shown.tables[f"paper-comparison-{rule}"][1:], table.to_dict("records"), strict=True):
        sides = sides_of(answers, row)
        for end, unit in (("_repeats", "repeats"), ("", "trainings")):
            a, b = (np.round(uars(side, unit), 9) for side in sides)
            assert len(a) == {"repeats": 2, "trainings": 6}[unit]
            assert row[f"p_mann_whitney{end}"] == pytest.approx(scipy.stats.mannwhitneyu(a, b).pvalue)
            delta = np.mean([np.sign(x - y) for x in a for y in b])
            assert row[f"cliffs_delta{end}"] == pytest.approx(delta)
        within = json.loads(row["p_mann_whitney_folds"])
        for fold, p in within.items():
            a, b = (np.round(uars(side[side["fold"] == fold], "trainings"), 9) for side in sides)
            assert len(a) == 2
            assert p == pytest.approx(scipy.stats.mannwhitneyu(a, b).pvalue)
        assert (len(within), row["folds_below_05"]) == (row["n_folds"], sum(p < 0.05 for p in within.values()))
        assert cells[4] == "–", "two repeats can't differ that much"
        for name, side, cell in zip(("pretrained", "supervised"), sides, (cells[3], cells[2]), strict=True):
            of_repeats = uars(side, "repeats")
            ends = scipy.stats.t.interval(0.95, 1, np.mean(of_repeats), scipy.stats.sem(of_repeats))
            assert row[f"{name}_mean_uar"] == pytest.approx(np.mean(of_repeats))
            cut = np.clip(ends, 0, 1)
            assert (row[f"{name}_t_low_repeats"], row[f"{name}_t_high_repeats"]) == pytest.approx(cut)
            assert cell.split(" ")[0] == f"{100 * np.mean(of_repeats):.1f}"


def test_full_minus_budget_is_paired_by_repeat(run: Path, shown: Page) -> None:
    answers = saved(run)
    for name, budgets in (("full-minus-budget", BUDGETS[:2]), ("full-minus-budget-per-class", BUDGETS[2:])):
        table = read(run, name)
        assert len(table) == 2 * 6 * len(budgets)
        for row in table.to_dict("records"):
            here = answers[
                (answers[["view", "method", "budget"]] == [row[k] for k in ("view", "method", "budget")]).all(axis=1)
            ]
            full, budget = (here[here["validation"] == rule] for rule in ("full", "budget"))
            # With all labels a linear baseline's repeats are one under “full”, and that is compared.
            budget = budget[budget["repeat"].isin(set(full["repeat"]))]
            assert row["difference"] == pytest.approx(pooled(full) - pooled(budget), abs=1e-12)
            assert row["n_pairs"] == full["job_id"].nunique() == budget["job_id"].nunique()
            assert row["low"] < row["difference"] < row["high"]
            cells = {cells[0]: cells[1:] for cells in shown.tables[name][1:]}[f"{row['method']} {row['view']}"]
            expected = f"{100 * row['difference']:+.1f}".replace("-", "−")
            assert cells[budgets.index(row["budget"])].split(" ")[0] in (expected, "0.0")
    higher = pd.concat([read(run, "full-minus-budget"), read(run, "full-minus-budget-per-class")])
    assert f"lies above 0 in {(higher['low'] > 0).sum()}, below 0 in {(higher['high'] < 0).sum()}" in shown.text


def test_genders(run: Path, shown: Page) -> None:
    answers = saved(run)
    table = read(run, "genders")
    assert set(table["budget"]) == {"10\u00a0%", "100\u00a0%"}  # the fewest and the most labels
    assert len(table) == 2 * 2 * 2 * 2
    for cells, row in zip(shown.tables["genders"][1:], table.to_dict("records"), strict=True):
        here = answers[(answers[KEYS] == [row[k] for k in KEYS]).all(axis=1)]
        uar = {gender: pooled(rows) for gender, rows in here.groupby("gender")}
        for gender in ("female", "male"):
            assert row[f"uar_{gender}"] == pytest.approx(uar[gender], abs=1e-12)
            assert row[f"n_speakers_{gender}"] == 3
            assert row[f"low_{gender}"] <= uar[gender] <= row[f"high_{gender}"]
        assert row["gap"] == pytest.approx(uar["female"] - uar["male"], abs=1e-12)
        assert (row["gap_low"] + row["gap_high"]) / 2 == pytest.approx(row["gap"])
        assert cells[4].split(" ")[0] == f"{100 * uar['female']:.1f}"
        assert shown_number(cells[6].split(" ")[0]) == pytest.approx(100 * row["gap"], abs=0.051)


def test_the_interval_of_a_gap_between_genders_draws_the_speakers_of_each(run: Path) -> None:
    row = read(run, "genders").iloc[0]
    answers = saved(run)
    here = answers[(answers[KEYS] == [row[k] for k in KEYS]).all(axis=1)]
    here = here.assign(right=here["y_true"] == here["y_pred"])
    random, variances = np.random.default_rng(0), []
    for _, rows in here.groupby("gender"):
        parts = dict(list(rows.groupby("speaker")))
        values = []
        for _ in range(200):
            drawn = pd.concat([parts[s] for s in random.choice(sorted(parts), len(parts))])
            values.append(drawn.groupby(["repeat", "y_true"])["right"].mean().mean())
        variances.append(np.var(values) * 3 / 2)
    freedom = sum(variances) ** 2 / sum(v**2 / 2 for v in variances)
    half = scipy.stats.t.ppf(0.975, freedom) * np.sqrt(sum(variances))
    assert (row["gap_high"] - row["gap_low"]) / 2 == pytest.approx(half, rel=0.25)


def test_no_genders_no_table(tmp_path: Path, quick: None) -> None:
    shown = Page(write_report(build(tmp_path, small(gender=lambda number: ""))))
    assert "By gender" not in shown.headings
    assert "genders" not in shown.tables


def test_calibration_is_that_of_the_saved_probabilities(run: Path, shown: Page) -> None:
    answers, labels = saved(run), list(Made().labels)
    table = read(run, "calibration")
    assert len(table) == 2 * 2 * 2 * 2
    for cells, row in zip(shown.tables["calibration"][1:], table.to_dict("records"), strict=True):
        here = answers[(answers[KEYS] == [row[k] for k in KEYS]).all(axis=1)]
        eces, briers, losses = [], [], []
        for _, rows in here.groupby("repeat"):
            p = pd.DataFrame([json.loads(text) for text in rows["probabilities"]])[labels]
            sure, right = p.max(axis=1), p.idxmax(axis=1).to_numpy() == rows["y_true"].to_numpy()
            gaps = pd.DataFrame({"gap": right - sure, "bin": np.ceil(15 * sure)}).groupby("bin")["gap"].sum().abs()
            eces.append(gaps.sum() / len(rows))
            truth = pd.get_dummies(rows["y_true"])[labels].to_numpy()
            briers.append(((p.to_numpy() - truth) ** 2).sum(axis=1).mean())
            losses.append(log_loss(rows["y_true"], p.div(p.sum(axis=1), axis=0), labels=labels))
        scores = (row["ece"], row["brier"], row["log_loss"])
        assert scores == pytest.approx((np.mean(eces), np.mean(briers), np.mean(losses)), abs=1e-6)
        assert row["accuracy"] == pytest.approx(accuracy_score(here["y_true"], here["y_pred"]))
        assert cells[5:7] == [f"{100 * row['accuracy']:.1f}", f"{100 * row['ece']:.1f}"]
        assert cells[7:] == [f"{row['brier']:.3f}", f"{row['log_loss']:.3f}"]


def test_the_points_of_a_reliability_diagram(run: Path) -> None:
    answers, labels = saved(run), list(Made().labels)
    with Results(run) as results:
        jobs = tables.classifiers(results, "sparse")
        mine = jobs[(jobs["name"] == TUNED) & (jobs["view"] == "egemaps") & (jobs["label_fraction"] == 1.0)]
        _, bins = tables.calibration(results, mine[mine["validation"] == "budget"], labels)
    here = answers[(answers[KEYS] == ["egemaps", "budget", TUNED, BUDGETS[1]]).all(axis=1)]
    sure = np.array([max(json.loads(text).values()) for text in here["probabilities"]])
    right = (here["y_true"] == here["y_pred"]).to_numpy()
    assert bins["n"].sum() == len(here)
    for row in bins.to_dict("records"):
        inside = (sure > row["bin"] / 15) & (sure <= (row["bin"] + 1) / 15)
        assert row["n"] == inside.sum()
        assert row["accuracy"] == pytest.approx(right[inside].mean())
        assert row["confidence"] == pytest.approx(sure[inside].mean())
    written = read(run, "reliability")
    written = written[(written[KEYS] == ["egemaps", "budget", TUNED, BUDGETS[1]]).all(axis=1)]
    assert written["n"].tolist() == bins["n"].tolist()


def test_the_interval_of_a_difference_is_a_bootstrap_of_speakers(run: Path) -> None:
    """A plain loop over resamples of the rows themselves, with Student's t for 6 speakers, gives nearly the same width."""
    row = read(run, "pre-trained-minus-supervised-full").iloc[0]
    sides = [
        side.assign(right=lambda rows: rows["y_true"] == rows["y_pred"]) for side in sides_of(saved(run), row.to_dict())
    ]
    speakers = sorted(set(sides[0]["speaker"]))
    parts = [{s: side[side["speaker"] == s] for s in speakers} for side in sides]
    random, values = np.random.default_rng(3), []
    for _ in range(150):
        drawn = random.choice(speakers, len(speakers))
        means = [pd.concat([part[s] for s in drawn]).groupby(["repeat", "y_true"])["right"].mean() for part in parts]
        values.append(means[0].mean() - means[1].mean())
    half = 2.5706 * np.std(values) * np.sqrt(6 / 5)
    assert (row["high"] - row["low"]) / 2 == pytest.approx(half, rel=0.25)
    assert (row["high"] + row["low"]) / 2 == pytest.approx(row["difference"])


def test_only_pairs_that_both_methods_have_are_compared(tmp_path: Path) -> None:
    folder = build(tmp_path, small(fractions=(1.0,), repeats=2))
    with Results(folder) as results:
        jobs = tables.classifiers(results, "sparse")
        given = tables.answers(results, jobs["job_id"])
        whole = tables.differences(jobs, given)
        missing = jobs[(jobs["name"] == TUNED) & (jobs["fold"] == "fold 0") & (jobs["repeat"] == 0)].index
        part = tables.differences(jobs.drop(missing), given)
        assert part["n_pairs"].tolist() == (whole["n_pairs"] - 1).tolist()
        answers = saved(folder)
        answers = answers[~((answers["fold"] == "fold 0") & (answers["repeat"] == 0))]
        for row in part.to_dict("records"):
            here = answers[answers["view"] == row["view"]]
            by_method = {name: pooled(rows) for name, rows in here.groupby("method")}
            assert row["difference"] == pytest.approx(by_method[TUNED] - by_method[SCRATCH], abs=1e-12)
        assert tables.differences(jobs[jobs["name"] == TUNED], given).empty


def test_speakers(run: Path, shown: Page) -> None:
    answers = saved(run)
    every = read(run, "speakers-all")
    expected = uar_by(answers, [*KEYS, "speaker", "repeat"]).groupby([*KEYS, "speaker"]).mean()
    said = answers.groupby([*KEYS, "speaker"])["id"].nunique()
    assert len(every) == len(expected)
    for row in every.to_dict("records"):
        key = (*(row[k] for k in KEYS), row["speaker"])
        assert row["uar"] == pytest.approx(expected[key], abs=1e-12)
        assert row["n"] == said[key]
    cells = shown.tables["speakers"]
    assert {row[0] for row in cells[1:]} == {"s1", "s2", "s3", "s4", "s5", "s6"}
    assert {row[0]: row[1:3] for row in cells[1:]}["s4"] == ["female", "fold 1"]
    winner = [float(row[-1]) for row in cells[1:]]
    assert winner == sorted(winner, reverse=True)


def test_confusion(run: Path) -> None:
    answers = saved(run)
    table = pd.read_csv(run / "tables" / "confusion.csv")
    labels = list(Made().labels)
    for (view, method), rows in table.groupby(["view", "method"]):
        here = answers[(answers[KEYS] == [view, "full", method, BUDGETS[1]]).all(axis=1)]
        expected = confusion_matrix(here["y_true"], here["y_pred"], labels=labels)
        np.testing.assert_array_equal(rows[[f"n_{label}" for label in labels]].to_numpy(), expected)
    assert set(table["method"]) == {SCRATCH, TUNED}


def test_the_page_stands_alone(run: Path, shown: Page) -> None:
    assert shown.language == "en"
    assert shown.resources == []
    assert "@import" not in shown.source
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", shown.source))
    outside = [link for link in shown.links if not link.startswith("#")]
    assert outside == ["https://arxiv.org/abs/2406.07900"]  # followed only when clicked
    assert len(shown.ids) == len(set(shown.ids))
    assert {link[1:] for link in shown.links if link.startswith("#")} <= set(shown.ids)
    used = set(re.findall(r'xlink:href="#([^"]*)"', shown.source)) | set(re.findall(r"url\(#([^)]*)\)", shown.source))
    assert used <= set(shown.ids)


def test_the_page_has_every_section(run: Path, shown: Page) -> None:
    expected = [
        *[
            "Summary",
            "Few labels",
            "A share of each class's labels",
            "A number of labels a class",
            "What the labels of the validation group are worth",
            "Pre-trained against supervised",
            "Speaker by speaker",
            "By gender",
            "Which emotions are confused",
            "How far probabilities can be trusted",
        ],
        *["All numbers", "What the embeddings know", "How the trainings went", "What was run", "Checks and limits"],
        *["Leakage audit", "Warnings", "How to read the numbers", "Licences, files and source"],
    ]
    assert [heading for heading in shown.headings if heading in expected] == expected
    for words in (
        "Guessing gives 33.3",
        "test and train share 3 texts, e.g. 'a < b' (every fold)",
        "1 of 50 utterances could not be <read>",
        "a <b>licence</b>",
        "Validation “full”",
        "17 labels on average",
        f"torch {versions()['torch']}",
        "results.sqlite",
        "6 speakers; 3 folds, 2 repeats",
    ):
        assert words in shown.text
    for view in Made().views:
        assert spec(view).fingerprint in shown.text
    assert shown.headings[0] == "Speech emotion with few labels: made <up> & more"
    kinds = {row[0]: row[1:5] for row in shown.tables["jobs"][1:]}
    assert kinds["pretraining"] == ["3", "3", "0", "0"]
    plan = Made().plan()
    finetunings = {job.id for e in Made().experiments for job in e.jobs(plan) if job.kind == "finetuning"}
    assert len(finetunings) >= 3 * 2 * 4 * 3 * 2 * 2  # folds, views, starts, budgets, rules, repeats
    assert kinds["finetuning"] == [str(len(finetunings))] * 2 + ["0", "0"]
    assert [row[0] for row in shown.tables["folds"][1:]] == ["fold 0", "fold 1", "fold 2"]
    assert [row[-1] for row in shown.tables["folds"][1:]] == ["hash0", "hash1", "hash2"]


def test_figures_are_files_and_have_text_alternatives(run: Path, shown: Page) -> None:
    assert len(shown.images) >= 9 + 12  # of both kinds of budget and both rules, both rules together, reliability
    assert all(len(str(image["aria-label"])) > 40 for image in shown.images)
    names = {path.stem for path in (run / "figures").glob("*.svg")}
    assert names == {path.stem for path in (run / "figures").glob("*.png")}
    assert {"uar-by-labels", "uar-by-labels-per-class", "uar-by-rule", "speakers", "representations"} <= names
    assert {"pretraining-curves", "finetuning-curves-egemaps-budget", "reliability-egemaps-full"} <= names
    for path in (run / "figures").glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    for path in (run / "figures").glob("*.svg"):
        assert "<text" in path.read_text()  # text stays text


def small(**changes: Any) -> Made:
    few = Made(
        experiments=(SPARSE,),
        fractions=(0.1,),
        per_class=(),
        repeats=1,
        validations=("full",),
        run=("pretraining", "finetuning"),
    )
    return replace(few, **changes)


def test_a_report_of_the_same_rows_is_the_same(tmp_path: Path, quick: None) -> None:
    first = write_report(build(tmp_path / "a", small())).read_bytes()
    assert write_report(build(tmp_path / "b", small())).read_bytes() == first


@pytest.mark.parametrize(
    ("tuned", "scratch", "words"),
    [
        (1.0, 0.0, "was better in 2 of 2 comparisons"),
        (0.0, 1.0, "was worse in 2 of 2 comparisons"),
        (0.5, 0.5, "includes 0 in each of 2 comparisons"),
    ],
)
def test_the_verdict_follows_the_interval(
    tmp_path: Path, quick: None, tuned: float, scratch: float, words: str
) -> None:
    folder = build(tmp_path, small(skill={TUNED: tuned, SCRATCH: scratch}, recordings=40))
    shown = Page(write_report(folder))
    assert words in shown.text
    row = pd.read_csv(folder / "tables" / "pre-trained-minus-supervised-full.csv").iloc[0]
    outcome = shown.tables["pre-trained-minus-supervised-full"][1][5]
    assert {"better": row["low"] > 0, "worse": row["high"] < 0, "undecided": row["low"] <= 0 <= row["high"]}[outcome]


def test_one_view_without_representations(tmp_path: Path, quick: None) -> None:
    shown = Page(write_report(build(tmp_path, small())))
    assert "What the embeddings know" not in shown.headings
    assert "Few labels" in shown.headings
    assert "uar-egemaps-full" in shown.tables


def test_one_experiment_alone(tmp_path: Path, quick: None) -> None:
    shown = Page(write_report(build(tmp_path, Made(experiments=(REPRESENTATIONS,)))))
    assert "Few labels" not in shown.headings
    assert "What the embeddings know" in shown.headings


def test_labels_are_escaped_everywhere(tmp_path: Path) -> None:
    labels = ("a<b>&amp;", "$x|y$", "speaker")
    folder = build(tmp_path, small(labels=labels))
    shown = Page(write_report(folder))
    assert "<b>" not in shown.source
    assert "(a<b>&amp;, $x|y$ or speaker)" in shown.text
    assert list(pd.read_csv(folder / "tables" / "folds.csv").columns[4:7]) == [f"n_{label}" for label in labels]
    line = (folder / "tables" / "folds.md").read_text().splitlines()[2]
    assert r"$x\|y$" in line
    assert line.replace(r"\|", "").count("|") == len(shown.tables["folds"][0]) + 1


def test_failed_and_waiting_jobs_are_said(tmp_path: Path, quick: None) -> None:
    made = small(run=("pretraining", "finetuning"), fail=3)
    shown = Page(write_report(build(tmp_path, made)))
    total = len(SPARSE.jobs(made.plan()))
    waiting = sum(job.kind == "baseline" for job in SPARSE.jobs(made.plan()))
    assert waiting == 24
    assert f"3 of {total} jobs failed" in shown.text
    assert f"{waiting} of {total} jobs have not been run yet" in shown.text
    assert shown.tables["failures"][1][:3] == ["finetuning", "3", "it broke at <x> | y"]


def test_nothing_finished(tmp_path: Path, quick: None) -> None:
    shown = Page(write_report(build(tmp_path, small(run=()))))
    assert "No job has finished yet" in shown.text
    assert "Few labels" not in shown.headings
    assert shown.tables["jobs"][1][0] == "not run yet"


def test_everything_failed(tmp_path: Path, quick: None) -> None:
    made = small(run=("pretraining",), fail=3)
    shown = Page(write_report(build(tmp_path, made)))
    assert "No job has finished yet" in shown.text
    assert shown.tables["failures"][1][1] == "3"


def test_hardware_the_clock_and_the_configuration(run: Path, shown: Page, tmp_path: Path, quick: None) -> None:
    facts = dict(shown.tables["run"][1:])
    assert not {"Hardware", "Time on the clock", "Configuration"} & set(facts), "older folders do not say"
    assert "configuration" not in shown.tables
    build(tmp_path, small())
    sessions = [
        {"started": "2025-01-01T00:00:00", "seconds": s, "jobs": 3, "workers": w} for s, w in ((100, 1), (20, 4))
    ]
    configuration = {"pretraining": {"epochs": 4, "loss": "a"}, "per_class": [5, 10], "seed": 0}
    with Results(tmp_path) as results:
        results.describe(hardware="a <small> machine", sessions=sessions, configuration=configuration)
    page = Page(write_report(tmp_path))
    facts = dict(page.tables["run"][1:])
    assert facts["Hardware"] == "a <small> machine"
    assert facts["Time on the clock"] == "2 min 0 s, in 2 sessions with 1 or 4 workers"
    options = dict(page.tables["configuration"][1:])
    assert options == {"pretraining.epochs": "4", "pretraining.loss": "a", "per_class": "5,10", "seed": "0"}


def test_time_by_experiment(run: Path, shown: Page) -> None:
    with sqlite3.connect(run / "results.sqlite") as connection:
        seconds = dict(connection.execute("SELECT job_id, seconds FROM jobs"))
        plans = list(connection.execute("SELECT experiment, job_id FROM plans"))
    table = pd.read_csv(run / "tables" / "time-by-experiment.csv").set_index("experiment")
    assert set(table.index) == {"sparse", "representations"}
    for experiment, row in table.iterrows():
        mine = [seconds[job] for name, job in plans if name == experiment and job in seconds]
        assert (row["jobs"], row["seconds"]) == (len(mine), pytest.approx(sum(mine)))
    assert table["seconds"].sum() > sum(seconds.values()), "pre-trainings are in both"
    assert [row[0] for row in shown.tables["time-by-experiment"][1:]] == ["sparse", "representations"]


def test_several_sets_of_versions_are_listed_and_warned_of(run: Path, shown: Page, tmp_path: Path, quick: None) -> None:
    assert "versions" not in shown.tables
    assert "different sets of package versions" not in shown.text
    build(tmp_path, small())
    with sqlite3.connect(tmp_path / "results.sqlite") as connection:
        (n,) = connection.execute("SELECT COUNT(*) FROM jobs").fetchone()
        query = "UPDATE jobs SET versions = ? WHERE rowid IN (SELECT rowid FROM jobs LIMIT 2)"
        connection.execute(query, (json.dumps({"torch": "0.1", "old": "7"}),))
    page = Page(write_report(tmp_path))
    heading, *rows = page.tables["versions"]
    found = {dict(zip(heading, row, strict=True))["torch"]: row[0] for row in rows}
    assert found == {versions()["torch"]: str(n - 2), "0.1": "2"}
    warnings = page.text.partition("explicitly allowed")[2]
    assert "made with 2 different sets of package versions" in warnings
    assert dict(page.tables["run"][1:])["Versions"] == "2 sets, listed below"


def test_jobs_with_too_few_data_are_warned_of_in_the_same_words(tmp_path: Path, quick: None) -> None:
    build(tmp_path, small())
    with sqlite3.connect(tmp_path / "results.sqlite") as connection:
        connection.execute(
            "UPDATE jobs SET status = 'refused', error = 'there are <9>' WHERE rowid IN (SELECT rowid FROM jobs WHERE "
            "description LIKE '%finetuning%' LIMIT 2)"
        )
        connection.execute("DELETE FROM run WHERE name = 'warnings'")
    page = Page(write_report(tmp_path))
    assert "2 jobs (finetuning) had too few data: there are <9> Likewise the others." in page.text
    assert ", 2 too few data, 0 failed" in dict(page.tables["run"][1:])["Jobs"]
    assert "refused" not in page.text
    assert "None." not in page.text


def test_what_is_not_printed_is_named(run: Path, shown: Page) -> None:
    for name in shown.tables:
        told = f"tables/{name}.csv" in shown.source
        assert told == (len(shown.tables[name]) - 1 > 40)
    assert "tables/uar-by-labels.csv" in shown.source


def test_one_speaker_gives_no_interval(tmp_path: Path, quick: None) -> None:
    shown = Page(write_report(build(tmp_path, small(folds=(("s1",),)))))
    assert "one test speaker gives no interval" in shown.text
    assert shown.tables["uar-egemaps-full"][1][1].endswith("(no interval)")


def test_unknown_and_shared_speakers_are_said(tmp_path: Path, quick: None) -> None:
    shown = Page(write_report(build(tmp_path / "unknown", small(speaker=lambda s: "" if s in ("s1", "s2") else s))))
    assert "recordings without a speaker" in shown.text
    shown = Page(write_report(build(tmp_path / "shared", small(speaker=lambda s: "Ann" if s in ("s1", "s3") else s))))
    assert "1 speaker in training and in test" in shown.text
    assert "a speaker who never occurs in training" not in shown.text


def test_of_many_speakers_the_ends_are_shown(tmp_path: Path, quick: None) -> None:
    folds = tuple(tuple(f"s{i}" for i in range(start, 60, 3)) for start in range(3))
    folder = build(tmp_path, small(folds=folds))
    shown = Page(write_report(folder))
    assert len(shown.tables["speakers"]) - 1 == MOST_SPEAKERS
    assert "Of 60 speakers the 20 highest and the 20 lowest are shown" in shown.text
    assert pd.read_csv(folder / "tables" / "speakers.csv")["speaker"].nunique() == MOST_SPEAKERS
    assert pd.read_csv(folder / "tables" / "speakers-all.csv")["speaker"].nunique() == 60


@pytest.mark.parametrize(("rule", "words"), [("budget", "as few as 6"), ("none", "no labels decide when to stop")])
def test_other_validation_rules_are_explained(tmp_path: Path, quick: None, rule: str, words: str) -> None:
    shown = Page(write_report(build(tmp_path, small(validations=(rule,)))))
    assert f"Validation “{rule}”" in shown.text
    assert words in shown.text
    assert "Validation “full”" not in shown.text


def test_a_budget_that_only_some_folds_can_fill_is_said(tmp_path: Path, quick: None) -> None:
    made = small(per_class=(2, 4, 9), rarest={"fold 0": 3, "fold 1": 5, "fold 2": 4})
    folder = build(tmp_path, made)
    shown = Page(write_report(folder))
    assert (
        "4 labels a class: only folds fold 1 and fold 2, since in the training part of fold fold 0 a class"
        in shown.text
    )
    assert "9 labels a class was asked for and left out: in no fold has every class so many training" in shown.text
    assert "recordings (at most 5)" in shown.text
    scores = read(folder, "uar-by-labels").groupby("budget")["folds"].first()
    assert scores.to_dict() == {"10\u00a0%": 3, "2\u00a0a\u00a0class": 3, "4\u00a0a\u00a0class": 2}


def test_budgets_that_all_folds_fill_are_not_remarked_on(run: Path, shown: Page) -> None:
    assert "since in the training part" not in shown.text
    assert "asked for and left out" not in shown.text
    assert "none left to validate on" not in shown.text
    assert "its UAR is the mean over the other" not in shown.text


def test_trainings_without_a_label_to_validate_on_are_said(tmp_path: Path, quick: None) -> None:
    shown = Page(write_report(build(tmp_path, small(validations=("full", "budget"), per_class=(1, 5), too_few=3))))
    n = 3 * 2 * 4  # folds, views, fine-tunings
    assert f"{n} trainings (1 a class) had one label a class and so none left to validate on" in shown.text
    assert "fewer labels to validate on" not in shown.text


def test_trainings_that_validate_on_fewer_labels_than_emotions_are_said(tmp_path: Path, quick: None) -> None:
    build(tmp_path, small(validations=("full", "budget"), fractions=(0.1, 1.0)))
    with sqlite3.connect(tmp_path / "results.sqlite") as connection:
        connection.execute(
            "UPDATE metrics SET value = 2 WHERE split = 'validation' AND name = 'n' AND job_id IN (SELECT job_id FROM jobs "
            "WHERE json_extract(description, '$.budget.fraction') = 0.1)"
        )
    n = 3 * 2 * 4  # folds, views, fine-tunings; those under “full” are not counted
    shown = Page(write_report(tmp_path))
    assert f"at least {n} more trainings (10 %) had fewer labels to validate on than there are emotions" in shown.text


def test_an_interval_without_width_does_not_look_certain(tmp_path: Path, quick: None) -> None:
    shown = Page(write_report(build(tmp_path, small(skill=dict.fromkeys(METHODS.values(), 1.0)))))
    assert shown.tables["uar-egemaps-full"][1][1] == "100.0 (no spread)"
    assert shown.tables["pre-trained-minus-supervised-full"][1][4] == "no spread"


def test_a_test_group_without_a_class_is_said(tmp_path: Path, quick: None) -> None:
    folder = build(tmp_path, small())
    with sqlite3.connect(folder / "results.sqlite") as connection:
        connection.execute("UPDATE utterances SET emotion = '' WHERE emotion = 'anger' AND speaker IN ('s3', 's4')")
    shown = Page(write_report(folder))
    assert (
        "Fold fold 1: no test recording is labelled anger; its UAR is the mean over the other emotions." in shown.text
    )


def test_only_the_configuration_planned_last_is_shown(tmp_path: Path, quick: None) -> None:
    made = small()
    build(tmp_path, made)
    plan = replace(made.plan(), finetuning=FineTuningConfig(epochs=7))
    with Results(tmp_path) as results:
        jobs = SPARSE.jobs(plan)
        results.plan("sparse", jobs)
        results.add([result(job, made, made.utterances(), set()) for job in jobs if job.kind == "finetuning"])
    shown = Page(write_report(tmp_path))
    settings = dict(zip(shown.tables["settings"][0], zip(*shown.tables["settings"][1:], strict=True), strict=True))
    assert settings["finetuning"][settings["setting"].index("epochs")] == "7"
    assert "24 of earlier configurations are in the database and left out" in shown.text
    assert set(pd.read_csv(tmp_path / "tables" / "uar-by-labels.csv")["n_jobs"]) == {3}
    assert "Other trainings" not in shown.headings


def test_trainings_outside_experiments(tmp_path: Path, quick: None) -> None:
    made = small()
    plan = made.plan()
    job = FineTuningJob(
        *plan.common("fold 1", 5), ("egemaps", "f"), FineTuningConfig(), budget=LabelBudget(per_class=4), repeat=0
    )
    with Results(tmp_path) as results:
        results.plan("finetune", [job])
        results.add_utterances(made.utterances(), [1.0] * len(made.utterances()))
        results.add([result(job, made, made.utterances(), set())])
    shown = Page(write_report(tmp_path))
    uar = uars(saved(tmp_path, "finetune"), "trainings")[0]
    assert "Other trainings" in shown.headings
    assert f"{uar:.3f}" in shown.tables["other-trainings"][1]


def test_an_experiment_without_its_own_section_shows_its_tables(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Alignment(Experiment):
        name, title, source = "novel", "How alike views are", "Table 3"

        def jobs(self, plan: Plan) -> list[Job]:
            return []

        def tables(self, results: Results) -> dict[str, pd.DataFrame]:
            return {"PWCCA": pd.DataFrame({"pair": ["a <-> b"], "score": [0.65234]}), "Empty": pd.DataFrame()}

    class Registered:
        def names(self) -> Sequence[str]:
            return ["novel"]

        def load(self, name: str) -> Experiment:
            return Alignment()

    build(tmp_path, small())
    with sqlite3.connect(tmp_path / "results.sqlite") as connection:
        connection.execute("UPDATE plans SET experiment = 'novel'")
    monkeypatch.setattr(page, "EXPERIMENTS", Registered())
    shown = Page(write_report(tmp_path))
    assert "How alike views are" in shown.headings
    assert shown.tables["novel-pwcca"] == [["pair", "score"], ["a <-> b", "0.652"]]


def test_no_results_no_report(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"results.sqlite is missing.*emoviews reproduce"):
        write_report(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    with Results(tmp_path):
        pass
    with pytest.raises(UsageError, match=r"no planned job.*emoviews reproduce"):
        write_report(tmp_path)


def test_a_folder_that_can_not_be_written_is_one_clear_error(tmp_path: Path, quick: None) -> None:
    build(tmp_path, small(run=()))
    (tmp_path / "tables").write_text("in the way")
    with pytest.raises(StoreError, match="can't be written"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_the_same_table_gives_the_same_svg() -> None:
    counts = np.array([[3, 1], [0, 4]])
    first, second = (figures.svg(figures.confusion(counts, ["a", "b"], "title")) for _ in range(2))
    assert first == second


def test_methods_look_different_in_colour_marker_and_line() -> None:
    names = list({*METHODS.values(), *FROZEN_METHODS.values()})
    looks = [figures.style_of(name) for name in names]
    for part in ("colour", "marker"):
        assert len({getattr(look, part) for look in looks}) == len(names) == 10
    thin = [look.dashes for look, name in zip(looks, names, strict=True) if name not in figures.BANDED]
    assert len(set(map(str, thin))) == len(thin)
    with pytest.raises(UsageError, match=r"'magic'.*LOOKS"):
        figures.style_of("magic")


def uar_rows(fractions: Sequence[float]) -> pd.DataFrame:
    names = (SCRATCH, TUNED, METHODS["linear_svm", "", False])
    rows = [
        ("egemaps", "full", name, fraction, np.nan, 20 * fraction, 0.4 + 0.1 * place, 0.3, 0.6 + 0.1 * place)
        for place, name in enumerate(names)
        for fraction in fractions
    ]
    columns = ["view", "validation", "method", "label_fraction", "labels_per_class", "n_labels", "pooled_uar"]
    return pd.DataFrame(rows, columns=[*columns, "low", "high"])


def test_one_budget_alone_has_bars_side_by_side_in_the_middle() -> None:
    rows = uar_rows([1.0])
    (axes,) = figures.uar_by_labels(rows, ["egemaps"], ["full"], 0.25).axes
    bars = [segment for c in axes.collections if isinstance(c, LineCollection) for segment in c.get_segments()]
    np.testing.assert_allclose([bar[:, 1] for bar in bars], 100 * rows[["low", "high"]])
    x = [bar[0, 0] for bar in bars]
    assert len(set(x)) == 3
    assert np.log(x).mean() == pytest.approx(np.log(20))
    assert np.log(axes.get_xlim()).mean() == pytest.approx(np.log(20))
    assert axes.get_ylim()[0] < 30 < 80 < axes.get_ylim()[1]
    assert figures.intervals_told(rows).startswith("bars")


def test_several_budgets_have_bands_of_the_two_that_are_compared() -> None:
    (axes,) = figures.uar_by_labels(uar_rows([0.1, 1.0]), ["egemaps"], ["full"], 0.25).axes
    assert len(axes.collections) == 2
    assert not any(isinstance(found, LineCollection) for found in axes.collections)


def test_no_bar_ends_on_the_frame() -> None:
    low, high = figures.uar_limits([0.0, 1.0], float("nan"), 0.25)
    assert low < 0 < 100 < high


def test_hidden_dots_of_speakers_stand_side_by_side() -> None:
    scores = pd.DataFrame({"name": [SCRATCH, TUNED], "speaker": "s1", "uar": 0.5})
    (axes,) = figures.speaker_dots(scores, ["s1"], [SCRATCH, TUNED], 0.25).axes
    places = [float(np.asarray(line.get_ydata())[0]) for line in axes.lines[:2]]
    assert places[0] != places[1]
    assert sum(places) == pytest.approx(0)


HOSTILE = '50 % of R&D_1: a|b <c> #1 $x$ ~y ^z {w} \\v "q" [u] * − 1 → 2 × 3\u00a0% τ “d” – ł'


def test_latex_escapes_what_latex_would_take_for_commands() -> None:
    """Undone by the rules of LaTeX, the text is as it was."""
    escaped = latex.escape(HOSTILE)
    undone = escaped
    for command, symbol in {
        r"$\rightarrow$": "→",
        r"$\times$": "×",
        r"$\tau$": "τ",
        "$-$": "−",
        r"\textbackslash{}": "\x00",
        r"\textasciitilde{}": "\x01",
        r"\textasciicircum{}": "^",
        r"\textless{}": "<",
        r"\textgreater{}": ">",
        r"\textbar{}": "|",
        "{[}": "[",
        "{]}": "]",
        "{*}": "*",
        "~": "\u00a0",
        "``": "“",
        "''": "”",
        "--": "–",
        **{rf"\{c}": c for c in "#$%&_{}"},
    }.items():
        undone = undone.replace(command, symbol)
    assert undone.replace("\x00", "\\").replace("\x01", "~") == HOSTILE.replace('"', "”")
    for command in re.findall(r"\\[a-zA-Z]+\{\}|\$[^$]*\$(?<!\\\$)|\\[#$%&_{}]", escaped):
        escaped = escaped.replace(command, "", 1)
    assert not set(escaped) & set("#$%&_^\\|<>"), "nothing that LaTeX reads as a command is left"


def test_a_table_in_latex() -> None:
    raw = pd.DataFrame({"name_": [HOSTILE, "[b"], "value": [1.5, -2.0]})
    columns = {"name_": tables.Column("a_b\nc"), "value": tables.Column("UAR %", tables.points, True)}
    table = tables.Table.of("my-table", "10 % & more", raw, columns)
    lines = table.latex().splitlines()
    assert lines[0] == r"% Needs \usepackage{booktabs}"
    assert lines[1:5] == [r"\begin{table}", r"\centering", r"\caption{10 \% \& more}", r"\label{tab:my-table}"]
    assert lines[5:9] == [r"\footnotesize", r"\setlength{\tabcolsep}{3.0pt}", r"\begin{tabular}{lr}", r"\toprule"]
    assert lines[9] == r"\begin{tabular}[t]{@{}l@{}}a\_b\\{\scriptsize c}\end{tabular} & UAR \% \\"
    assert lines[10] == r"\midrule"
    assert lines[11].endswith(r" & +150.0 \\")
    assert lines[12] == r"{[}b & $-$200.0 \\"
    assert lines[13:] == [r"\bottomrule", r"\end{tabular}", r"\end{table}"]


def test_a_wide_table_in_latex_breaks_its_headings_and_texts_and_is_shrunk_last() -> None:
    def table(columns: int, text: str) -> list[str]:
        raw = pd.DataFrame({"why": [text], **{f"n{i}": [0.5] for i in range(columns)}})
        shown = {"why": tables.Column("Why")}
        shown |= {f"n{i}": tables.Column("a long heading", tables.percent, True) for i in range(columns)}
        return tables.Table.of("wide", "Wide.", raw, shown).latex().splitlines()

    lines = table(2, "word " * 50)
    assert lines[0] == r"% Needs \usepackage{booktabs,array}"
    (width,) = re.findall(r"p\{([0-9.]+)pt\}", lines[7])
    assert 200 < float(width) < latex.TEXT_WIDTH
    lines = table(9, "short")
    assert lines[0] == r"% Needs \usepackage{booktabs}"
    assert r"a long\\{\scriptsize heading}" in lines[9] or r"a\\{\scriptsize long}" in lines[9]
    lines = table(40, "short")
    assert lines[0] == r"% Needs \usepackage{booktabs,graphicx}"
    assert lines[7] == latex.SHRUNK[0]
    assert lines[5] == r"\scriptsize"


def test_every_latex_table_of_a_run_is_well_formed(run: Path) -> None:
    """Environments and braces close in order, rows have as many cells as columns, symbols are ones that pdfLaTeX knows."""
    files = sorted((run / "tables").glob("*.tex"))
    assert {path.stem for path in files} == {path.stem for path in (run / "tables").glob("*.csv")}
    long = 0
    for path in files:
        first, text = path.read_text().split("\n", 1)
        environments = {"booktabs": r"\toprule", "longtable": r"\begin{longtable}", "array": "raggedright"}
        environments |= {"graphicx": r"\resizebox"}
        assert first.startswith(r"% Needs \usepackage{booktabs")
        for package, command in environments.items():
            assert (package in first) == (command in text)
        text = text.replace(latex.SHRUNK[0], r"\resizebox{\linewidth}{!}{")
        assert text.count(r"\caption{") == text.count(rf"\label{{tab:{path.stem}}}") == 1
        open_environments: list[str] = []
        for word, name in re.findall(r"\\(begin|end)\{([a-z]+)\}", text):
            if word == "begin":
                open_environments.append(name)
            else:
                assert open_environments.pop() == name
        assert open_environments == []
        bare = re.sub(r"\\[\\{}%&_#$]", "", text.replace(r"\\", ""))
        depth = 0
        for character in bare:
            depth += {"{": 1, "}": -1}.get(character, 0)
            assert depth >= 0
        assert depth == 0
        assert not re.search(r"[%#]", re.sub(r"\\[%#]", "", text))
        assert all(unicodedata.category(c)[0] in "LM" for c in text if ord(c) > 127)
        lines = text.splitlines()
        rows = [line for line in lines if line.endswith(r" \\") and not line.startswith(r"\caption")]
        cells = [len(re.split(r"(?<!\\)&", row)) for row in rows]
        assert len(set(cells)) == 1
        long += r"\begin{longtable}" in text
        assert (r"\begin{longtable}" in text) == (len(rows) - 1 > tables.LONGEST_FLOAT)
    assert long >= 2


def test_a_table_of_many_rows_has_a_window_of_its_own(run: Path, shown: Page) -> None:
    assert len(shown.tables["uar-by-labels"]) > 60
    box = shown.source.index('id="table-uar-by-labels"')
    assert 'class="scroll tall unprinted"' in shown.source[box : box + 2000]
    assert 'class="scroll tall' not in shown.source[: box - 1]
