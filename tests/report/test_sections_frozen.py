"""The section on frozen encoders shows what the saved predictions say; its cells are computed anew here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn.metrics import accuracy_score, recall_score

from emoviews.experiments import EXPERIMENTS, Plan
from emoviews.experiments.temperature import PAPER_FOLDS, PAPER_LABELS
from emoviews.jobs import JobResult, Predictions, PretrainingJob
from emoviews.report import tables as report_tables
from emoviews.report.blocks import Heading, Picture, Section, Text
from emoviews.report.run import Run
from emoviews.report.sections import section_of
from emoviews.report.sections.frozen import uar_by_method
from emoviews.report.sections.temperature import with_interval, without_spread
from emoviews.report.tables import Table
from emoviews.results import Results
from emoviews.statistics import holm

FROZEN = EXPERIMENTS.load("frozen")
VIEWS = ("egemaps", "mel_spectrogram")
LABELS = ("anger", "neutral", "sadness")
PLAN = Plan("toy", "table", {f: f * 12 for f in "ABCDE"}, {view: view[0] * 12 for view in VIEWS}, repeats=1)
METHODS = [
    *("supervised from scratch", "pre-trained, tuned", "single-view SimCLR, tuned", "pre-trained, frozen"),
    *("single-view SimCLR, frozen", "random, frozen", "pre-trained, probe", "random, probe", "logistic regression"),
]


@pytest.fixture(autouse=True)
def _small_bootstraps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_tables, "N_RESAMPLES", 200)


def fill(database: Results, toy: Any, corpus: str = "toy", only: str = "", failed: str = "") -> None:
    """Made-up answers to every job, right with a chance of its own; speakers are halves of the folds."""
    table, found = toy.table.copy(), []
    table["speaker"] += (np.arange(len(table)) % 2).astype(str)
    jobs = [job for job in FROZEN.jobs(PLAN) if only in ("", getattr(job, "method", "neural"))]
    database.plan("frozen", jobs)
    database.add_utterances(table, [1.0] * len(table))
    database.describe(corpus=corpus, labels=LABELS, views={view: {"name": view} for view in VIEWS})
    if corpus.casefold().startswith("iemocap"):  # the paper's numbers stand beside its own task alone
        database.describe(labels=sorted(PAPER_LABELS), folds=dict.fromkeys(map(str, range(PAPER_FOLDS)), ""))
    for job in jobs:
        random = np.random.default_rng(int(job.id, 16) % 2**32)
        if isinstance(job, PretrainingJob) or job.id == failed:
            found.append(JobResult(job, 1.0, "cpu", error="it broke" if job.id == failed else ""))
            continue
        rows = table[table["group"] == job.fold].iloc[: 24 - 2 * "ABCDE".index(job.fold)]
        truth = rows["emotion"].to_numpy()
        said = np.where(random.random(len(rows)) < random.random(), truth, random.choice(LABELS, len(rows)))
        uar = float(np.mean([(said[truth == label] == label).mean() for label in sorted(set(truth))]))
        metrics = (("test", "uar", uar), ("test", "wa", float((said == truth).mean())), ("train", "n_labels", 9.0))
        given = Predictions(tuple(rows["id"]), tuple(truth), tuple(said), LABELS, np.full((len(rows), 3), 1 / 3))
        found.append(JobResult(job, 1.0, "cpu", metrics=metrics, predictions=given))
    database.add(found)


def made(folder: Path, toy: Any, **changes: Any) -> tuple[Section, list[Any], pd.DataFrame]:
    """The section, what the summary takes, and every answer with its job's view, fold and method and its speaker."""
    with Results(folder) as database:
        fill(database, toy, **changes)
        section, summary = section_of(Run.of(database), FROZEN, FROZEN.tables(database))
        rows = database.frame(
            "SELECT p.job_id, y_true, y_pred, speaker, description FROM predictions p JOIN jobs USING (job_id) "
            "JOIN utterances u ON u.id = p.id"
        )
        start = database.frame("SELECT job_id, description FROM jobs")
    starts = {i: json.loads(text) for i, text in zip(start["job_id"], start["description"], strict=True)}
    jobs = [json.loads(text) for text in rows["description"]]

    def name(job: dict[str, Any]) -> str:
        init = job["init"]
        if init in starts:
            init = "pre-trained" if len(starts[init]["views"]) > 1 else "single-view SimCLR"
        if job["kind"] == "baseline":
            return f"{init}, probe" if init else "logistic regression"
        if (init, job["frozen"]) == ("random", False):
            return "supervised from scratch"
        return f"{init}, {'frozen' if job['frozen'] else 'tuned'}"

    rows["view"], rows["fold"] = [job["view"][0] for job in jobs], [job["fold"] for job in jobs]
    return section, summary, rows.assign(method=[name(job) for job in jobs])


def tables(section: Section) -> dict[str, Table]:
    return {block.slug: block for block in section.blocks if isinstance(block, Table)}


def words(blocks: Any) -> str:
    return " ".join(str(item) for block in blocks if isinstance(block, Text) for item in block.items)


def uar(rows: pd.DataFrame) -> float:
    return float(recall_score(rows["y_true"], rows["y_pred"], average="macro", labels=sorted(set(rows["y_true"]))))


def expected_cells(rows: pd.DataFrame) -> list[str]:
    """UAR and WA with intervals, folds."""
    jobs = [job for _, job in rows.groupby("job_id")]
    cells = []
    for values in ([uar(j) for j in jobs], [accuracy_score(j["y_true"], j["y_pred"]) for j in jobs]):
        ends = scipy.stats.t.interval(0.95, len(jobs) - 1, np.mean(values), scipy.stats.sem(values))
        low, high = (100 * min(1.0, max(0.0, end)) for end in ends)
        cells.append(f"{100 * np.mean(values):.1f}\n({low:.1f} to {high:.1f})")
    return [*cells, str(len(jobs))]


@pytest.fixture(scope="module")
def shown(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Section, list[Any], pd.DataFrame]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(report_tables, "N_RESAMPLES", 200)
        return made(tmp_path_factory.mktemp("frozen"), toy)


def test_every_cell_is_that_of_the_saved_predictions(shown: Any) -> None:
    section, _, rows = shown
    for view in VIEWS:
        table = tables(section)[f"frozen-{view}"]
        assert [cells[0].text for cells in table.rows] == METHODS
        for cells in table.rows:
            mine = rows[(rows["view"] == view) & (rows["method"] == cells[0].text)]
            assert [cell.text for cell in cells[1:]] == expected_cells(mine)
        assert "fewer folds" not in table.caption


def test_differences_are_paired_and_corrected_together(shown: Any) -> None:
    section, _, rows = shown
    table = tables(section)["frozen-differences"]
    assert len(table.raw) == 7 * len(VIEWS)
    assert "Holm's correction for the 7 tests of a view" in table.caption
    for row in table.raw.to_dict("records"):
        first, second = (
            rows[(rows["view"] == row["view"]) & (rows["method"] == row[side])] for side in ("first", "second")
        )
        assert row["difference"] == pytest.approx(uar(first) - uar(second)), "pooled over folds"
        gaps = [uar(first[first["speaker"] == s]) - uar(second[second["speaker"] == s]) for s in set(first["speaker"])]
        test = scipy.stats.permutation_test(
            (gaps,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
        )
        assert row["p_sign_flip"] == pytest.approx(test.pvalue)
        assert (row["n_speakers"], row["n_pairs"]) == (10, 5)
        assert row["low"] < row["difference"] < row["high"]
    for _, of_view in table.raw.groupby("view"):
        np.testing.assert_allclose(of_view["p_holm"], holm(of_view["p_sign_flip"]))
    by_key = {(r["first"], r["second"], r["view"]): r for r in table.raw.to_dict("records")}
    for cells in table.rows:
        first, second = cells[0].text.split("\nminus ")
        for view, cell in zip(VIEWS, cells[1:], strict=True):
            row = by_key[first, second, view]
            ends = [f"{100 * row[name]:+.1f}".replace("-", "−") for name in ("difference", "low", "high")]
            p = "< 0.001" if row["p_holm"] < 0.001 else f"{row['p_holm']:.3f}"
            assert cell.text == f"{ends[0]}\n({ends[1]} to {ends[2]})\np {p}"


def test_the_summary_and_the_text_alternative_give_the_tables_numbers(shown: Any) -> None:
    section, summary, rows = shown
    (picture,) = [block for block in section.blocks if isinstance(block, Picture)]
    for view, panel in zip(VIEWS, picture.panels, strict=True):
        cells = {m: expected_cells(rows[(rows["view"] == view) & (rows["method"] == m)])[0] for m in METHODS}
        said = [f"{method} {cells[method].split(chr(10))[0]}" for method in METHODS]
        assert all(f"{each} %" in panel.alt for each in said)
        assert all(f"{said[place]}\u00a0%" in words(summary) for place in (0, 1, 3, 5, 8))
    assert "mean over 5 folds with one training each:" in words(summary)
    assert "With 10 speakers no p can be below 0.002, and none below 0.014 when corrected." in (
        tables(section)["frozen-differences"].caption
    )
    assert "(temperature 0.5)" in words(section.blocks)
    assert all(f"<strong>{method}</strong>" in words(section.blocks) for method in METHODS)


def test_the_figure_draws_the_table(toy: Any, tmp_path: Path) -> None:
    for corpus in ("toy", "iemocap-4"):
        with Results(tmp_path / corpus) as database:
            fill(database, toy, corpus)
            scores = FROZEN.tables(database)["Tuned and frozen encoders"]
        figure = uar_by_method(scores, VIEWS, 1 / 3)
        assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == METHODS
        for axes, view in zip(figure.axes, VIEWS, strict=True):
            mine = scores[scores["view"] == view].set_index("method").loc[METHODS]
            points = {line.get_ydata()[0]: line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1}
            np.testing.assert_allclose([points[place] for place in range(9)], 100 * mine["uar"])
            bars = [collection.get_segments()[0][:, 0] for collection in axes.collections]
            np.testing.assert_allclose(bars, 100 * mine[["uar_low", "uar_high"]])
            paper = {place for place, value in points.items() if place % 1 and not np.isnan(value)}
            assert len(paper) == (3 if corpus == "iemocap-4" else 0)


def test_the_papers_numbers_beside_its_own_corpus_alone(shown: Any, toy: Any, tmp_path: Path) -> None:
    section, _, _ = shown
    assert "they are not shown beside these" in words(section.blocks)
    assert not any("Paper" in heading.text for table in tables(section).values() for heading in table.headings)
    section, _, _ = made(tmp_path, toy, corpus="IEMOCAP-10")
    assert "are not shown beside these" not in words(section.blocks)
    rows = {
        cells[0].text: [cell.text for cell in cells[-2:]] for cells in tables(section)["frozen-mel_spectrogram"].rows
    }
    assert rows["pre-trained, frozen"] == ["50.34", "48.43"]
    assert rows["supervised from scratch"] == ["53.39", "52.09"]
    assert rows["random, frozen"] == ["–", "–"]


def test_what_is_missing_is_said(toy: Any, tmp_path: Path) -> None:
    job = next(
        j for j in FROZEN.jobs(PLAN) if getattr(j, "view", ("",))[0] == "egemaps" and getattr(j, "init", "-") == ""
    )
    section, _, rows = made(tmp_path / "failed", toy, failed=job.id)
    assert tables(section)["frozen-egemaps"].rows[-1][-1].text == "4"
    assert "fewer folds" in tables(section)["frozen-egemaps"].caption
    assert "fewer folds" not in tables(section)["frozen-mel_spectrogram"].caption
    assert "(4 or 5 pairs of trainings" in tables(section)["frozen-differences"].caption
    assert len(rows["method"].unique()) == 9


def test_one_method_alone_has_nothing_to_be_compared_with(toy: Any, tmp_path: Path) -> None:
    jobs = {job.id for job in FROZEN.jobs(PLAN) if getattr(job, "init", "-") == ""}
    with Results(tmp_path) as database:
        fill(database, toy)
        database.plan("frozen", [job for job in FROZEN.jobs(PLAN) if job.id in jobs])
        section, _ = section_of(Run.of(database), FROZEN, FROZEN.tables(database))
    assert not any(isinstance(block, Heading) for block in section.blocks)
    assert set(tables(section)) == {"frozen-egemaps", "frozen-mel_spectrogram"}
    assert "temperature" not in words(section.blocks)


def test_equal_folds_are_drawn_hollow_and_called_without_spread() -> None:
    rows = [("egemaps", "pre-trained, tuned", 0.5, 0.4, 0.6), ("egemaps", "pre-trained, frozen", 1.0, 1.0, 1.0)]
    frame = pd.DataFrame(rows, columns=["view", "method", "uar", "uar_low", "uar_high"])
    (axes,) = uar_by_method(frame, ["egemaps"], 0.25).axes
    faces = [
        line.get_markerfacecolor() for line in axes.lines if line.get_marker() in ("s", "D") and len(line.get_xdata())
    ]
    assert [face == "white" for face in faces if face != "none"] == [False, True]
    assert axes.get_xlim()[1] > 100, "no bar ends on the frame"
    assert "hollow marker" in without_spread(frame, "uar")
    assert without_spread(frame.head(1), "uar") == ""
    assert with_interval(frame.iloc[1].to_dict(), "uar") == "100.0\n(no spread)"
