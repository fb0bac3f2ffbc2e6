"""The report says what the database holds: its numbers are computed anew here, from the saved predictions by scikit-learn."""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from emoviews import metrics
from emoviews.configs import FineTuningConfig, LabelBudget
from emoviews.errors import StoreError, UsageError
from emoviews.experiments import Experiment, Plan
from emoviews.experiments.representations import EXPERIMENT as REPRESENTATIONS
from emoviews.experiments.sparse import EXPERIMENT as SPARSE
from emoviews.experiments.sparse import METHODS
from emoviews.jobs import RANDOM, FineTuningJob, Job, JobResult, Predictions, PretrainingJob, ProbeJob
from emoviews.report import figures, page, tables, write_report
from emoviews.report.sections import sparse as sparse_section
from emoviews.results import Results
from emoviews.statistics import uar_interval
from emoviews.types import ViewSpec

SCRATCH, TUNED = METHODS["finetuning", RANDOM, False], METHODS["finetuning", "pretrained", False]


@dataclass(frozen=True)
class Made:
    """A made-up run. Speakers have unequal numbers of unequal classes, so that every way of averaging gives another number.

    Attributes:
        skill: method's name → how often an answer is right, beyond guessing.
    """

    views: tuple[str, ...] = ("mel_spectrogram", "egemaps")
    labels: tuple[str, ...] = ("anger", "neutral", "sadness")
    folds: tuple[tuple[str, ...], ...] = (("s1", "s2"), ("s3", "s4"), ("s5", "s6"))
    fractions: tuple[float, ...] = (0.1, 1.0)
    repeats: int = 2
    validation: Any = "full"
    experiments: tuple[Experiment, ...] = (SPARSE, REPRESENTATIONS)
    skill: dict[str, float] = field(default_factory=dict)
    run: tuple[str, ...] = ("pretraining", "finetuning", "baseline", "probe")
    fail: int = 0
    speaker: Any = str
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
                    gender = "female" if number else "male"
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
            validation=self.validation,
            fractions=self.fractions,
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
    probabilities = np.full((len(tested), len(made.labels)), 1 / len(made.labels))
    found = Predictions(tuple(tested["id"]), tuple(tested["emotion"]), tuple(answers), made.labels, probabilities)
    fraction = job.budget.fraction or 1.0  # type: ignore[attr-defined]
    scores = [
        ("test", name, value) for name, value in metrics.evaluate(tested["emotion"], answers, made.labels).items()
    ]
    scores += [("train", "n_labels", 60 * fraction + fold), ("validation", "n", 17.0), ("validation", "uar", 0.5)]
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


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build(tmp_path_factory.mktemp("run"))
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def shown(run: Path) -> Page:
    return Page(run / "report.html")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are not rendered, which takes most of the time, and bootstraps are small, for tests of words."""
    monkeypatch.setattr(figures, "png", lambda figure: b"")
    monkeypatch.setattr(figures, "svg", lambda figure: b'<svg viewBox="0 0 1 1"></svg>')
    monkeypatch.setattr(tables, "N_RESAMPLES", 200)
    monkeypatch.setitem(uar_interval.__kwdefaults__, "n_resamples", 200)


def saved(folder: Path) -> pd.DataFrame:
    """Every answer with its job, straight from SQLite: independent of `Results.tidy` and `report.tables`."""
    with sqlite3.connect(folder / "results.sqlite") as connection:
        rows = pd.read_sql_query(
            "SELECT p.job_id, p.id, y_true, y_pred, speaker, description FROM predictions p JOIN jobs USING (job_id) "
            "JOIN utterances u ON u.id = p.id WHERE status = 'done'",
            connection,
        )
    jobs = [json.loads(text) for text in rows["description"]]
    rows["view"] = [job["view"][0] for job in jobs]
    rows["fold"], rows["repeat"] = [job["fold"] for job in jobs], [job["repeat"] for job in jobs]
    rows["label_fraction"] = [job["budget"]["fraction"] or 1.0 for job in jobs]

    def name(job: dict[str, Any]) -> str:
        start = job["init"] if job["init"] in ("", RANDOM) else "pretrained"
        return METHODS[job.get("method", "finetuning"), start, job.get("frozen", False)]

    rows["method"] = [name(job) for job in jobs]
    return rows


def sklearn_uar(rows: pd.DataFrame) -> float:
    return float(recall_score(rows["y_true"], rows["y_pred"], average="macro", labels=sorted(set(rows["y_true"]))))


def pooled(rows: pd.DataFrame) -> float:
    return float(np.mean([sklearn_uar(repeat) for _, repeat in rows.groupby("repeat")]))


KEYS = ["view", "method", "label_fraction"]


def test_scores_are_those_of_the_saved_predictions(run: Path, shown: Page) -> None:
    answers = saved(run)
    table = pd.read_csv(run / "tables" / "uar-by-share-of-labels.csv")
    groups = {tuple(key): rows for key, rows in answers.groupby(KEYS)}
    assert len(table) == len(groups) == 2 * len(METHODS) * 2
    differs = 0
    for row in table.to_dict("records"):
        rows = groups[tuple(row[k] for k in KEYS)]
        by_job = [job for _, job in rows.groupby("job_id")]
        assert row["pooled_uar"] == pytest.approx(pooled(rows), abs=1e-12)
        assert row["mean_uar"] == pytest.approx(np.mean([sklearn_uar(job) for job in by_job]), abs=1e-12)
        assert row["mean_wa"] == pytest.approx(np.mean([accuracy_score(j["y_true"], j["y_pred"]) for j in by_job]))
        f1 = np.mean([f1_score(j["y_true"], j["y_pred"], average="macro") for j in by_job])
        assert row["mean_macro_f1"] == pytest.approx(f1)
        assert row["n_jobs"] == len(by_job)
        assert row["low"] <= row["pooled_uar"] <= row["high"]
        differs += abs(row["pooled_uar"] - row["mean_uar"]) > 1e-3
        methods = {cells[0]: cells for cells in shown.tables[f"uar-{row['view']}"][1:]}
        column = 1 + sorted(set(table["label_fraction"])).index(row["label_fraction"])
        expected = f"{100 * pooled(rows):.1f} ({100 * row['low']:.1f} to {100 * row['high']:.1f})"
        assert methods[row["method"]][column] == expected
    assert differs > 5  # the data do tell the two ways of averaging apart


def test_every_shown_number_is_also_in_the_long_table(run: Path, shown: Page) -> None:
    table = pd.read_csv(run / "tables" / "uar-by-share-of-labels.csv")
    columns = ["pooled_uar", "low", "high", "mean_uar", "mean_wa", "mean_macro_f1"]
    for cells, row in zip(shown.tables["uar-by-share-of-labels"][1:], table.to_dict("records"), strict=True):
        assert cells[:2] == [row["view"], row["method"]]
        assert cells[4:10] == [f"{100 * row[c]:.1f}" for c in columns]
        assert cells[2] == f"{100 * row['label_fraction']:g}\u00a0%"
    # 60 labels at most plus the fold's number: 61 on average, and a tenth of it.
    assert sorted(set(table["n_labels"])) == [7.0, 61.0]


def test_best_method_of_each_share(run: Path, shown: Page) -> None:
    groups = {tuple(key): pooled(rows) for key, rows in saved(run).groupby(KEYS)}
    for cells in shown.tables["best-method"][1:]:
        fraction = float(cells[0].removesuffix("\u00a0%")) / 100
        best = max((key for key in groups if key[2] == fraction), key=lambda key: groups[key])
        assert (cells[5], cells[4], cells[2]) == (best[0], best[1], f"{100 * groups[best]:.1f}")
    assert len(shown.tables["best-method"]) == 3


def test_best_is_by_the_pooled_score(run: Path) -> None:
    scores = pd.read_csv(run / "tables" / "uar-by-share-of-labels.csv").query("label_fraction == 1.0").head(2)
    scores = scores.assign(pooled_uar=[0.5, 0.6], mean_uar=[0.9, 0.1])
    (row,) = sparse_section._best_methods(scores).rows
    assert [cell.text for cell in row][2] == "60.0"
    assert row[4].text == scores["method"].iloc[1]


def test_bold_marks_the_best_of_each_column(run: Path) -> None:
    lines = (run / "tables" / "uar-egemaps.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][2:]
    for column in (1, 2):
        values = [float(row[column].strip("*").split()[0]) for row in cells]
        bold = [i for i, row in enumerate(cells) if row[column].startswith("**")]
        assert bold == [int(np.argmax(values))]


def test_differences_are_paired_by_speaker(run: Path) -> None:
    answers = saved(run)
    table = pd.read_csv(run / "tables" / "pre-trained-minus-supervised.csv")
    assert len(table) == 4
    for row in table.to_dict("records"):
        here = answers[(answers["view"] == row["view"]) & (answers["label_fraction"] == row["label_fraction"])]
        tuned, scratch = here[here["method"] == TUNED], here[here["method"] == SCRATCH]
        assert row["difference"] == pytest.approx(pooled(tuned) - pooled(scratch), abs=1e-12)
        speakers = sorted(set(here["speaker"]))
        gaps = [pooled(tuned[tuned["speaker"] == s]) - pooled(scratch[scratch["speaker"] == s]) for s in speakers]
        flipped = [abs(np.dot(signs, gaps)) for signs in itertools.product([1, -1], repeat=len(gaps))]
        p = np.mean([f >= abs(sum(gaps)) - 1e-9 for f in flipped])
        assert row["p_sign_flip"] == pytest.approx(p)
        assert row["n_speakers"] == 6
        assert row["n_pairs"] == 6
    order = table.sort_values("p_sign_flip")
    holm = np.maximum.accumulate(np.minimum(1, order["p_sign_flip"] * [4, 3, 2, 1]))
    np.testing.assert_allclose(order["p_holm"], holm)


def test_the_interval_of_a_difference_is_a_bootstrap_of_speakers(run: Path) -> None:
    """A plain loop over resamples of the rows themselves, with Student's t for 6 speakers, gives nearly the same width."""
    row = pd.read_csv(run / "tables" / "pre-trained-minus-supervised.csv").iloc[0]
    answers = saved(run)
    here = answers[(answers["view"] == row["view"]) & (answers["label_fraction"] == row["label_fraction"])]
    sides = [
        here[here["method"] == name].assign(right=lambda rows: rows["y_true"] == rows["y_pred"])
        for name in (TUNED, SCRATCH)
    ]
    speakers = sorted(set(here["speaker"]))
    parts = [{s: side[side["speaker"] == s] for s in speakers} for side in sides]
    random, values = np.random.default_rng(3), []
    for _ in range(150):
        drawn = random.choice(speakers, len(speakers))
        uars = [pd.concat([part[s] for s in drawn]).groupby(["repeat", "y_true"])["right"].mean() for part in parts]
        values.append(uars[0].mean() - uars[1].mean())
    half = 2.5706 * np.std(values) * np.sqrt(6 / 5)
    assert (row["high"] - row["low"]) / 2 == pytest.approx(half, rel=0.25)
    assert (row["high"] + row["low"]) / 2 == pytest.approx(row["difference"])


def test_only_pairs_that_both_methods_have_are_compared(tmp_path: Path) -> None:
    folder = build(tmp_path, Made(views=("egemaps",), experiments=(SPARSE,), fractions=(1.0,)))
    with Results(folder) as results:
        jobs = tables.classifiers(results, "sparse")
        given = tables.answers(results, jobs["job_id"])
        whole = tables.differences(jobs, given)
        missing = jobs[(jobs["name"] == TUNED) & (jobs["fold"] == "fold 0") & (jobs["repeat"] == 0)].index
        part = tables.differences(jobs.drop(missing), given)
        assert part["n_pairs"].item() == whole["n_pairs"].item() - 1
        answers = saved(folder)
        answers = answers[~((answers["fold"] == "fold 0") & (answers["repeat"] == 0))]
        by_method = {name: pooled(rows) for name, rows in answers.groupby("method")}
        assert part["difference"].item() == pytest.approx(by_method[TUNED] - by_method[SCRATCH], abs=1e-12)
        assert tables.differences(jobs[jobs["name"] == TUNED], given).empty


def test_speakers(run: Path, shown: Page) -> None:
    answers = saved(run)
    every = pd.read_csv(run / "tables" / "speakers-all.csv")
    groups = {tuple(key): rows for key, rows in answers.groupby(["view", "method", "label_fraction", "speaker"])}
    assert len(every) == len(groups)
    for row in every.to_dict("records"):
        rows = groups[row["view"], row["name"], row["label_fraction"], row["speaker"]]
        assert row["uar"] == pytest.approx(pooled(rows), abs=1e-12)
        assert row["n"] == rows["id"].nunique()
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
        here = answers[(answers["view"] == view) & (answers["method"] == method) & (answers["label_fraction"] == 1.0)]
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
            "Pre-trained against supervised",
            "Speaker by speaker",
            "Which emotions are confused",
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
        "emoviews 9.9, torch 2.x",
        "results.sqlite",
        "6 speakers; 3 folds, 2 repeats",
    ):
        assert words in shown.text
    for view in Made().views:
        assert spec(view).fingerprint in shown.text
    assert shown.headings[0] == "Speech emotion with few labels: made <up> & more"
    kinds = {row[0]: row[1:5] for row in shown.tables["jobs"][1:]}
    assert kinds["pretraining"] == ["3", "3", "0", "0"]
    assert kinds["finetuning"] == ["96", "96", "0", "0"]
    assert [row[0] for row in shown.tables["folds"][1:]] == ["fold 0", "fold 1", "fold 2"]
    assert [row[-1] for row in shown.tables["folds"][1:]] == ["hash0", "hash1", "hash2"]


def test_figures_are_files_and_have_text_alternatives(run: Path, shown: Page) -> None:
    assert len(shown.images) >= 9
    assert all(len(str(image["aria-label"])) > 40 for image in shown.images)
    names = {path.stem for path in (run / "figures").glob("*.svg")}
    assert names == {path.stem for path in (run / "figures").glob("*.png")}
    assert {"uar-by-labels", "speakers", "representations", "pretraining-curves", "finetuning-curves-egemaps"} <= names
    for path in (run / "figures").glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    for path in (run / "figures").glob("*.svg"):
        assert "<text" in path.read_text()  # text stays text


def small(**changes: Any) -> Made:
    return replace(Made(views=("egemaps",), experiments=(SPARSE,), fractions=(0.1,), repeats=1), **changes)


def test_a_report_of_the_same_rows_is_the_same(tmp_path: Path, quick: None) -> None:
    first = write_report(build(tmp_path / "a", small())).read_bytes()
    assert write_report(build(tmp_path / "b", small())).read_bytes() == first


@pytest.mark.parametrize(
    ("tuned", "scratch", "words"),
    [
        (1.0, 0.0, "was better in 1 of 1 comparisons"),
        (0.0, 1.0, "was worse in 1 of 1 comparisons"),
        (0.5, 0.5, "includes 0 in the one comparison made"),
    ],
)
def test_the_verdict_follows_the_interval(
    tmp_path: Path, quick: None, tuned: float, scratch: float, words: str
) -> None:
    folder = build(tmp_path, small(skill={TUNED: tuned, SCRATCH: scratch}, recordings=40))
    shown = Page(write_report(folder))
    assert words in shown.text
    row = pd.read_csv(folder / "tables" / "pre-trained-minus-supervised.csv").iloc[0]
    assert {"better": row["low"] > 0, "worse": row["high"] < 0}.get(row["outcome"], row["low"] <= 0 <= row["high"])
    assert shown.tables["pre-trained-minus-supervised"][1][5] == row["outcome"]


def test_one_view_without_representations(tmp_path: Path, quick: None) -> None:
    shown = Page(write_report(build(tmp_path, small())))
    assert "What the embeddings know" not in shown.headings
    assert "Few labels" in shown.headings
    assert "uar-egemaps" in shown.tables


def test_representations_alone(tmp_path: Path, quick: None) -> None:
    folder = build(tmp_path, Made(experiments=(REPRESENTATIONS,)))
    shown = Page(write_report(folder))
    assert "Few labels" not in shown.headings
    with sqlite3.connect(folder / "results.sqlite") as connection:
        query = "SELECT description, value FROM metrics JOIN jobs USING (job_id) WHERE name = 'probe_speaker_accuracy'"
        rows = [(json.loads(d), value) for d, value in connection.execute(query)]
    before = np.mean([v for d, v in rows if d["view"][0] == "egemaps" and d["init"] == RANDOM])
    after = np.mean([v for d, v in rows if d["view"][0] == "egemaps" and d["init"] != RANDOM])
    assert f"speaker {100 * before:.1f} → {100 * after:.1f} %" in shown.text
    assert ["speaker (accuracy)", "egemaps", "random", f"{100 * before:.1f}"] in [
        row[:4] for row in shown.tables["probes"]
    ]


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
    assert waiting == 12
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


def test_one_speaker_gives_no_interval(tmp_path: Path, quick: None) -> None:
    shown = Page(write_report(build(tmp_path, small(folds=(("s1",),)))))
    assert "one test speaker gives no interval" in shown.text
    assert shown.tables["uar-egemaps"][1][1].endswith("(no interval)")


def test_unknown_and_shared_speakers_are_said(tmp_path: Path, quick: None) -> None:
    shown = Page(write_report(build(tmp_path / "unknown", small(speaker=lambda s: "" if s in ("s1", "s2") else s))))
    assert "recordings have no speaker" in shown.text
    shown = Page(write_report(build(tmp_path / "shared", small(speaker=lambda s: "Ann" if s in ("s1", "s3") else s))))
    assert "1 speaker occur in training and in test" in shown.text
    assert "a speaker who never occurs in training" not in shown.text


def test_of_many_speakers_the_ends_are_shown(tmp_path: Path, quick: None) -> None:
    folds = tuple(tuple(f"s{i}" for i in range(start, 60, 3)) for start in range(3))
    folder = build(tmp_path, small(folds=folds))
    shown = Page(write_report(folder))
    assert len(shown.tables["speakers"]) - 1 == sparse_section.MOST_SPEAKERS
    assert "Of 60 speakers the 20 highest and the 20 lowest are shown" in shown.text
    assert pd.read_csv(folder / "tables" / "speakers.csv")["speaker"].nunique() == sparse_section.MOST_SPEAKERS
    assert pd.read_csv(folder / "tables" / "speakers-all.csv")["speaker"].nunique() == 60


@pytest.mark.parametrize(("rule", "words"), [("budget", "as few as 6"), ("none", "no labels decide when to stop")])
def test_other_validation_rules_are_explained(tmp_path: Path, quick: None, rule: str, words: str) -> None:
    shown = Page(write_report(build(tmp_path, small(validation=rule))))
    assert f"Validation “{rule}”" in shown.text
    assert words in shown.text
    assert "Validation “full”" not in shown.text


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
    assert "12 of earlier configurations are in the database and left out" in shown.text
    assert set(pd.read_csv(tmp_path / "tables" / "uar-by-share-of-labels.csv")["n_jobs"]) == {3}
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
    uar = sklearn_uar(saved(tmp_path))
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


def test_values_far_below_the_scale_are_written_at_its_edge() -> None:
    rows = [{"what": "duration (R2)", "where": "egemaps", "before": -16.26, "after": 0.1, "chance": 0.0}]
    assert "◂ −1626" in figures.svg(figures.before_and_after(pd.DataFrame(rows))).decode()


def test_methods_look_different_in_colour_marker_and_line() -> None:
    looks = [figures.style_of(name) for name in METHODS.values()]
    for part in ("colour", "marker"):
        assert len({getattr(look, part) for look in looks}) == len(METHODS)
    thin = [look.dashes for look, name in zip(looks, METHODS.values(), strict=True) if name not in figures.BANDED]
    assert len(set(map(str, thin))) == len(thin)
