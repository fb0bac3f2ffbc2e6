"""The section on the temperature shows what the saved rows say; its cells are computed anew here, by scikit-learn and SciPy."""

from __future__ import annotations

import json
from collections.abc import Collection
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
from emoviews.report.blocks import Picture, Section, Text
from emoviews.report.run import Run
from emoviews.report.sections import section_of
from emoviews.report.sections.temperature import uar_by_temperature
from emoviews.report.tables import Table
from emoviews.results import Results

TEMPERATURE = EXPERIMENTS.load("temperature")
VIEWS = ("egemaps", "mel_spectrogram")
LABELS = ("anger", "neutral", "sadness")
PLAN = Plan("toy", "table", {f: f * 12 for f in "ABC"}, {view: view[0] * 12 for view in VIEWS}, repeats=1)


def fill(
    database: Results, toy: Any, corpus: str = "toy", failed: Collection[str] = (), validated: bool = True
) -> None:
    """Made-up answers to every job, right with a chance of its own."""
    table, jobs, found = toy.table, TEMPERATURE.jobs(PLAN), []
    database.plan("temperature", jobs)
    database.add_utterances(table, [1.0] * len(table))
    database.describe(corpus=corpus, labels=LABELS, views={view: {"name": view} for view in VIEWS})
    if corpus.casefold().startswith("iemocap"):  # the paper's numbers stand beside its own task alone
        database.describe(labels=sorted(PAPER_LABELS), folds=dict.fromkeys(map(str, range(PAPER_FOLDS)), ""))
    for job in jobs:
        random = np.random.default_rng(int(job.id, 16) % 2**32)
        if isinstance(job, PretrainingJob) or job.id in failed:
            found.append(JobResult(job, 1.0, "cpu", error="it broke" if job.id in failed else ""))
            continue
        rows = table[table["group"] == job.fold].iloc[: {"A": 24, "B": 22, "C": 19}[job.fold]]
        truth = rows["emotion"].to_numpy()
        said = np.where(random.random(len(rows)) < random.random(), truth, random.choice(LABELS, len(rows)))
        uar = float(np.mean([(said[truth == label] == label).mean() for label in sorted(set(truth))]))
        metrics = [("test", "uar", uar), ("test", "wa", float((said == truth).mean()))]
        if validated:
            metrics += [("validation", "uar", random.random()), ("validation", "wa", random.random())]
        given = Predictions(tuple(rows["id"]), tuple(truth), tuple(said), LABELS, np.full((len(rows), 3), 1 / 3))
        found.append(JobResult(job, 1.0, "cpu", metrics=tuple(metrics), predictions=given))
    database.add(found)


def made(folder: Path, toy: Any, **changes: Any) -> tuple[Section, list[Any], pd.DataFrame]:
    """The section, what the summary takes, and every answer with its job's view, method, temperature and validation score."""
    with Results(folder) as database:
        fill(database, toy, **changes)
        section, summary = section_of(Run.of(database), TEMPERATURE, TEMPERATURE.tables(database))
        rows = database.frame(
            "SELECT p.job_id, y_true, y_pred, description FROM predictions p JOIN jobs USING (job_id)"
        )
        start = database.frame("SELECT job_id, description FROM jobs")
        noted = database.frame("SELECT job_id, name, value FROM metrics WHERE split = 'validation'")
    starts = {i: json.loads(text) for i, text in zip(start["job_id"], start["description"], strict=True)}
    jobs = [json.loads(text) for text in rows["description"]]
    rows["view"] = [job["view"][0] for job in jobs]
    kinds = {False: "pre-trained, tuned", True: "pre-trained, frozen"}
    rows["method"] = ["supervised from scratch" if job["init"] == "random" else kinds[job["frozen"]] for job in jobs]
    rows["tau"] = [f"{starts[j['init']]['config']['temperature']:g}" if j["init"] in starts else "–" for j in jobs]
    for name in ("uar", "wa"):
        rows[f"validation_{name}"] = rows["job_id"].map(noted[noted["name"] == name].set_index("job_id")["value"])
    return section, summary, rows


def tables(section: Section) -> dict[str, Table]:
    return {block.slug: block for block in section.blocks if isinstance(block, Table)}


def words(blocks: Any) -> str:
    return " ".join(str(item) for block in blocks if isinstance(block, Text) for item in block.items)


@pytest.fixture(scope="module")
def shown(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Section, list[Any], pd.DataFrame]:
    return made(tmp_path_factory.mktemp("temperature"), toy)


def expected_cells(rows: pd.DataFrame) -> list[str]:
    """Validation UAR and WA, test UAR and WA with intervals, folds."""
    jobs = [job for _, job in rows.groupby("job_id")]
    cells = [f"{100 * np.mean([j[f'validation_{m}'].iloc[0] for j in jobs]):.1f}" for m in ("uar", "wa")]
    uars = [recall_score(j["y_true"], j["y_pred"], average="macro", labels=sorted(set(j["y_true"]))) for j in jobs]
    for values in (uars, [accuracy_score(j["y_true"], j["y_pred"]) for j in jobs]):
        ends = scipy.stats.t.interval(0.95, len(jobs) - 1, np.mean(values), scipy.stats.sem(values))
        low, high = (100 * min(1.0, max(0.0, end)) for end in ends)
        cells.append(f"{100 * np.mean(values):.1f}\n({low:.1f} to {high:.1f})")
    return [*cells, str(len(jobs))]


def test_every_cell_is_that_of_the_saved_predictions(shown: Any) -> None:
    section, _, rows = shown
    for view in VIEWS:
        table = tables(section)[f"temperature-{view}"]
        assert [heading.text for heading in table.headings][:4] == [
            "Method",
            "τ",
            "UAR %\nvalidation",
            "WA %\nvalidation",
        ]
        assert len(table.rows) == 9
        for cells in table.rows:
            mine = rows[(rows["view"] == view) & (rows["method"] == cells[0].text) & (rows["tau"] == cells[1].text)]
            assert [cell.text for cell in cells[2:]] == expected_cells(mine)
        assert "Mean over 3 folds" in table.caption
        assert "fewer folds" not in table.caption


def test_the_ranks_are_shown_and_the_best_of_each_column_is_bold(shown: Any) -> None:
    section, _, rows = shown
    table = tables(section)["temperature-ranks"]
    columns = {}
    for view, mine in rows.groupby("view"):
        by_job = mine.groupby(["method", "tau", "job_id"])
        uar = by_job.apply(
            lambda j: recall_score(j["y_true"], j["y_pred"], average="macro", labels=sorted(set(j["y_true"])))
        )
        wa = by_job.apply(lambda j: accuracy_score(j["y_true"], j["y_pred"]))
        columns |= {f"{view} uar": uar.groupby(level=[0, 1]).mean(), f"{view} wa": wa.groupby(level=[0, 1]).mean()}
    ranks = pd.DataFrame(columns).rank(ascending=False).mean(axis=1)
    for cells in table.rows:
        assert cells[3].text == f"{ranks[cells[0].text, cells[1].text]:.2f}"
        assert cells[3].strong == (ranks[cells[0].text, cells[1].text] == ranks.min())
    assert any(cells[2].strong for cells in table.rows)
    assert "to 9" in table.caption
    assert "each of 4 columns" in table.caption


def test_the_summary_names_the_temperature_that_validates_best(shown: Any) -> None:
    _, summary, rows = shown
    scores = rows.groupby(["view", "method", "tau"])[["validation_uar", "validation_wa"]].mean().unstack("view")
    ranks = scores.rank(ascending=False).mean(axis=1)
    method, tau = ranks.drop("supervised from scratch", level=0).idxmin()
    said = words(summary)
    assert "each is the mean of 3 folds with 1 training each." in said
    assert f"τ = {tau} ({method.removeprefix('pre-trained, ')}) ranks best on validation" in said
    assert f"(average rank {ranks[method, tau]:.2f})" in said
    for view in VIEWS:
        best = expected_cells(rows[(rows["view"] == view) & (rows["method"] == method) & (rows["tau"] == tau)])
        plain = expected_cells(rows[(rows["view"] == view) & (rows["method"] == "supervised from scratch")])
        test, scratch = (cells[2].split("\n")[0] for cells in (best, plain))
        assert f"{view} {test}\u00a0% (from scratch {scratch}\u00a0%)" in said


def test_the_figure_draws_the_table(toy: Any, tmp_path: Path) -> None:
    with Results(tmp_path) as database:
        fill(database, toy)
        scores = TEMPERATURE.tables(database)["Scores by temperature"]
    figure = uar_by_temperature(scores, VIEWS, 1 / 3)
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(VIEWS)
    for axes, view in zip(figure.axes, VIEWS, strict=True):
        mine = scores[scores["view"] == view]
        for method, container in zip(("pre-trained, tuned", "pre-trained, frozen"), axes.containers, strict=True):
            line, _, (bars,) = container.lines
            rows = mine[mine["method"] == method]
            np.testing.assert_allclose(line.get_ydata(), 100 * rows["test_uar"])
            ends = np.array([segment[:, 1] for segment in bars.get_segments()])
            np.testing.assert_allclose(ends, 100 * rows[["test_uar_low", "test_uar_high"]])
        levels = {line.get_ydata()[0] for line in axes.lines if len(set(line.get_ydata())) == 1}
        plain = mine.loc[mine["method"] == "supervised from scratch", "test_uar"].item()
        assert {round(100 * plain, 9), round(100 / 3, 9)} <= {round(level, 9) for level in levels}
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.1", "0.25", "0.5", "1"]


def test_pictures_have_words_for_those_who_cannot_see_them(shown: Any) -> None:
    section, _, rows = shown
    (picture,) = [block for block in section.blocks if isinstance(block, Picture)]
    assert [panel.slug for panel in picture.panels] == [f"temperature-{view}" for view in VIEWS]
    mine = rows[(rows["view"] == "egemaps") & (rows["method"] == "pre-trained, frozen") & (rows["tau"] == "0.25")]
    uar = expected_cells(mine)[2].split("\n")[0]
    assert f"pre-trained, frozen, τ = 0.25: {uar} %" in picture.panels[0].alt
    assert b"temperature" in picture.files[0].svg


def test_the_papers_numbers_beside_its_own_corpus_alone(shown: Any, toy: Any, tmp_path: Path) -> None:
    section, _, _ = shown
    assert "they are not shown beside these" in words(section.blocks)
    assert not any("Paper" in heading.text for table in tables(section).values() for heading in table.headings)
    section, _, _ = made(tmp_path, toy, corpus="iemocap-4")
    assert "are not shown beside these" not in words(section.blocks)
    assert "slip in copying" in words(section.blocks)
    rows = {(c[0].text, c[1].text): [x.text for x in c[-4:]] for c in tables(section)["temperature-egemaps"].rows}
    assert rows["pre-trained, tuned", "0.5"] == ["50.66", "50.13", "52.96", "49.16"]
    assert rows["supervised from scratch", "–"] == ["48.62", "48.10", "49.97", "48.10"]
    ranks = {(c[0].text, c[1].text): [x.text for x in c[-2:]] for c in tables(section)["temperature-ranks"].rows}
    assert ranks["pre-trained, tuned", "0.25"] == ["3.00", "3.67"]


def test_what_is_missing_is_said(toy: Any, tmp_path: Path) -> None:
    jobs = [job for job in TEMPERATURE.jobs(PLAN) if getattr(job, "view", ("",))[0] == "egemaps"]
    plain = [job for job in jobs if getattr(job, "init", "") == "random"]
    failed = [plain[0].id, *(job.id for job in jobs[1:] if getattr(job, "init", "") == getattr(jobs[1], "init", "-"))]
    section, summary, rows = made(tmp_path, toy, failed=failed, validated=False)
    table = tables(section)["temperature-egemaps"]
    assert "fewer folds" in table.caption
    assert "fewer folds" not in tables(section)["temperature-mel_spectrogram"].caption
    cells = [cell.text for cell in table.rows[0]]
    assert cells[2:4] == ["–", "–"]
    assert cells[-1] == "2"
    assert cells[4] == expected_cells(rows[(rows["view"] == "egemaps") & (rows["tau"] == "–")])[2]
    assert summary == [], "without validation nothing says which temperature to take"
    assert tables(section)["temperature-ranks"].rows[0][3].text == "–"


def test_equal_folds_are_drawn_hollow() -> None:
    frame = pd.DataFrame(
        {"view": "egemaps", "method": "pre-trained, tuned", "temperature": [0.1, 0.25, 0.5]}
        | {"test_uar": [0.5, 0.7, 0.6], "test_uar_low": [0.5, 0.6, np.nan], "test_uar_high": [0.5, 0.8, np.nan]}
    )
    (axes,) = uar_by_temperature(frame, ["egemaps"], 0.25).axes
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert sorted(float(y) for line in hollow for y in np.asarray(line.get_ydata())) == pytest.approx([50.0, 60.0])
