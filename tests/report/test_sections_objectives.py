"""The section on losses shows what the saved predictions say; its cells are computed anew here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn.metrics import recall_score

from emoviews.experiments import EXPERIMENTS, Plan
from emoviews.experiments.objectives import METHODS, PAPER, RANDOM_FROZEN, SUPERVISED
from emoviews.jobs import JobResult, Predictions, PretrainingJob
from emoviews.report import tables as report_tables
from emoviews.report import write_report
from emoviews.report.blocks import Picture, Section, Text
from emoviews.report.run import Run
from emoviews.report.sections import section_of
from emoviews.report.sections.objectives import uar_by_objective
from emoviews.report.tables import Table, points
from emoviews.results import Results
from emoviews.statistics import holm

OBJECTIVES = EXPERIMENTS.load("objectives")
VIEWS = ("egemaps", "mel_spectrogram")
LABELS = ("anger", "neutral", "sadness")
PLAN = Plan("toy", "table", {f: f * 12 for f in "ABCDE"}, {view: view[0] * 12 for view in VIEWS}, repeats=2)


@pytest.fixture(autouse=True)
def _small_bootstraps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_tables, "N_RESAMPLES", 200)


def fill(database: Results, toy: Any, failed: str = "") -> None:
    """Made-up answers to every job, right with a chance of its own; speakers are halves of the folds."""
    table, found = toy.table.copy(), []
    table["speaker"] += (np.arange(len(table)) % 2).astype(str)
    jobs = OBJECTIVES.jobs(PLAN)
    database.plan("objectives", jobs)
    database.add_utterances(table, [1.0] * len(table))
    database.describe(corpus="toy", labels=LABELS, experiments=["objectives"])
    for job in jobs:
        random = np.random.default_rng(int(job.id, 16) % 2**32)
        if isinstance(job, PretrainingJob):
            metrics: Any = (("train", "epochs_run", 2.0), ("train", "best_epoch", 1.0), ("train", "n", 9.0))
            curves = ((1, "train_loss", 2.0), (1, "validation_loss", 1.0), (2, "train_loss", 1.0))
            found.append(JobResult(job, 1.0, "cpu", metrics=metrics, curves=curves))
            continue
        if job.id == failed:
            found.append(JobResult(job, 1.0, "cpu", error="it broke"))
            continue
        rows = table[table["group"] == job.fold].iloc[: 24 - 2 * "ABCDE".index(job.fold)]
        truth = rows["emotion"].to_numpy()
        said = np.where(random.random(len(rows)) < random.random(), truth, random.choice(LABELS, len(rows)))
        uar = float(np.mean([(said[truth == label] == label).mean() for label in sorted(set(truth))]))
        n = 72.0 if job.budget.fraction is None else 6.0  # type: ignore[attr-defined]
        metrics = (("test", "uar", uar), ("test", "wa", float((said == truth).mean())), ("train", "n_labels", n))
        given = Predictions(tuple(rows["id"]), tuple(truth), tuple(said), LABELS, np.full((len(rows), 3), 1 / 3))
        found.append(JobResult(job, 1.0, "cpu", metrics=metrics, predictions=given))
    database.add(found)


def method_of(job: dict[str, Any], jobs: dict[str, dict[str, Any]]) -> str:
    """From the saved descriptions alone."""
    if job["init"] == "random":
        return "random, frozen" if job["frozen"] else "supervised from scratch"
    config = jobs[job["init"]]["config"]
    names = {"vicreg": "VICReg", "barlow_twins": "Barlow Twins", "supcon": "SupCon, labels"}
    if config["loss"] == "pairwise_nt_xent":
        name = PAPER if config["negatives"] == "both" else "NT-Xent, cross-view"
    else:
        name = names[config["loss"]]
    return f"{name}, {'frozen' if job['frozen'] else 'tuned'}"


@pytest.fixture(scope="module")
def shown(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Section, list[Any], pd.DataFrame]:
    """The section, what the summary takes, and every answer with its job's view, budget and method and its speaker."""
    with pytest.MonkeyPatch.context() as monkeypatch, Results(tmp_path_factory.mktemp("objectives")) as database:
        monkeypatch.setattr(report_tables, "N_RESAMPLES", 200)
        fill(database, toy)
        section, summary = section_of(Run.of(database), OBJECTIVES, OBJECTIVES.tables(database))
        rows = database.frame(
            "SELECT p.job_id, y_true, y_pred, speaker, description FROM predictions p JOIN jobs USING (job_id) "
            "JOIN utterances u ON u.id = p.id"
        )
        every = database.frame("SELECT job_id, description FROM jobs")
    jobs = {i: json.loads(text) for i, text in zip(every["job_id"], every["description"], strict=True)}
    mine = [jobs[i] for i in rows["job_id"]]
    rows["view"], rows["repeat"] = [job["view"][0] for job in mine], [job["repeat"] for job in mine]
    rows["fraction"] = [job["budget"]["fraction"] or 1.0 for job in mine]
    return section, summary, rows.assign(method=[method_of(job, jobs) for job in mine])


def tables(section: Section) -> dict[str, Table]:
    return {block.slug: block for block in section.blocks if isinstance(block, Table)}


def uar(rows: pd.DataFrame) -> float:
    """Pooled over folds, mean over repeats."""
    return float(
        np.mean(
            [
                recall_score(of["y_true"], of["y_pred"], average="macro", labels=sorted(set(of["y_true"])))
                for _, of in rows.groupby("repeat")
            ]
        )
    )


def test_every_score_and_difference_is_that_of_the_saved_predictions(shown: Any) -> None:
    section, _, rows = shown
    assert set(tables(section)) == {f"objectives-{view}-full" for view in VIEWS}
    for view in VIEWS:
        table = tables(section)[f"objectives-{view}-full"]
        assert [cells[0].text for cells in table.rows] == list(METHODS)
        assert [heading.lines[0] for heading in table.headings[1:]] == ["UAR %", f"minus {PAPER}"] * 2
        for cells in table.rows:
            method = cells[0].text
            kind = "frozen" if method.endswith("frozen") else "tuned"
            for place, fraction in ((1, 0.1), (3, 1.0)):
                at = rows[(rows["view"] == view) & (rows["fraction"] == fraction)]
                own, reference = at[at["method"] == method], at[at["method"] == f"{PAPER}, {kind}"]
                assert cells[place].lines[0] == f"{100 * uar(own):.1f}"
                if method == f"{PAPER}, {kind}":
                    assert cells[place + 1].text == "–"
                else:
                    assert cells[place + 1].lines[0] == points(uar(own) - uar(reference))


def test_tests_are_paired_by_speaker_and_corrected_within_a_budget(shown: Any) -> None:
    section, _, rows = shown
    for view in VIEWS:
        raw = tables(section)[f"objectives-{view}-full"].raw
        assert (
            "Holm's correction for the 5 methods of a budget and kind of encoder"
            in tables(section)[f"objectives-{view}-full"].caption
        )
        compared = raw[raw["p_sign_flip"].notna()]
        assert len(compared) == 2 * 2 * 5
        for row in compared.to_dict("records"):
            kind = "frozen" if row["method"].endswith("frozen") else "tuned"
            at = rows[(rows["view"] == view) & (rows["fraction"] == row["label_fraction"])]
            gaps = []
            for speaker in sorted(set(at["speaker"])):
                sides = [
                    at[(at["method"] == method) & (at["speaker"] == speaker)]
                    for method in (row["method"], f"{PAPER}, {kind}")
                ]
                gaps.append(uar(sides[0]) - uar(sides[1]))
            test = scipy.stats.permutation_test(
                (gaps,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
            )
            assert row["p_sign_flip"] == pytest.approx(test.pvalue)
            assert (row["n_speakers"], row["n_pairs"]) == (10, 10)
            assert row["low_gap"] < row["difference"] < row["high_gap"]
        kinds = compared["method"].str.endswith("frozen")
        for _, family in compared.groupby([kinds, compared["label_fraction"]]):
            assert len(family) == 5
            np.testing.assert_allclose(family["p_holm"], holm(family["p_sign_flip"]))


def test_the_summary_counts_what_the_intervals_say(shown: Any) -> None:
    section, summary, _ = shown
    words = " ".join(str(item) for block in summary if isinstance(block, Text) for item in block.items)
    raw = pd.concat([table.raw for table in tables(section).values()])
    raw = raw[raw["p_sign_flip"].notna() & ~raw["method"].isin([SUPERVISED, RANDOM_FROZEN])]
    for kind in ("tuned", "frozen"):
        mine = raw[raw["method"].str.endswith(kind)]
        undecided = len(mine) - (mine["low_gap"] > 0).sum() - (mine["high_gap"] < 0).sum()
        below = (mine["p_holm"] < 0.05).sum()
        assert f"undecided in {undecided} of {len(mine)} comparisons" in words
        assert f"{below or 'none'} of the tests below 0.05 after Holm" in words


def test_the_figure_draws_the_table(shown: Any) -> None:
    section, _, _ = shown
    (picture,) = [block for block in section.blocks if isinstance(block, Picture)]
    raw = [table.raw for table in tables(section).values()]
    figure = uar_by_objective(raw, 1 / 3)
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == list(METHODS)
    for axes, of_view in zip(figure.axes, raw, strict=True):
        drawn = sorted(line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1)
        np.testing.assert_allclose(drawn, sorted(100 * of_view["pooled_uar"]))
    for panel, of_view in zip(picture.panels, raw, strict=True):
        assert all(f"{100 * uar:.1f} %" in panel.alt for uar in of_view["pooled_uar"])


def test_the_page_and_what_is_missing(toy: Any, tmp_path: Path) -> None:
    failed = next(job for job in OBJECTIVES.jobs(PLAN) if getattr(job, "init", "") == "random")
    with Results(tmp_path) as database:
        fill(database, toy, failed=failed.id)
        section, _ = section_of(Run.of(database), OBJECTIVES, OBJECTIVES.tables(database))
    captions = [table.caption for table in tables(section).values()]
    assert sum("fewer trainings can't be compared" in caption for caption in captions) == 1
    page = write_report(tmp_path).read_text()
    assert "Which loss to pre-train with" in page
    assert "Which loss to pre-train with (" not in page, "it is of no table of the paper"
    assert (tmp_path / "tables" / "objectives-egemaps-full.csv").is_file()
    pretrainings = pd.read_csv(tmp_path / "tables" / "pretraining.csv")
    assert set(pretrainings["objective"]) == {"pairwise_nt_xent", "vicreg", "barlow_twins", "supcon"}
    assert "nan" not in (tmp_path / "tables" / "pretraining.md").read_text()


def test_one_method_alone_has_nothing_to_be_compared_with(toy: Any, tmp_path: Path) -> None:
    jobs = [job for job in OBJECTIVES.jobs(PLAN) if getattr(job, "init", "") == "random" and not job.frozen]  # type: ignore[attr-defined]
    with Results(tmp_path) as database:
        fill(database, toy)
        database.plan("objectives", jobs)
        section, summary = section_of(Run.of(database), OBJECTIVES, OBJECTIVES.tables(database))
    assert summary == []
    assert all(len(table.headings) == 3 for table in tables(section).values())
