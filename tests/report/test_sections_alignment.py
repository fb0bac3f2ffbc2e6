"""The section on alignment: every number that is shown is computed anew from the database's rows."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emoviews.experiments import EXPERIMENTS, Plan
from emoviews.experiments.alignment import FEW_MEASURES, MEASURES
from emoviews.jobs import RANDOM, AlignmentJob, JobResult
from emoviews.report.blocks import Block, Picture, Section, Text
from emoviews.report.run import Run
from emoviews.report.sections.alignment import alignment_dots, section
from emoviews.report.tables import Table
from emoviews.results import Results

ALIGNMENT = EXPERIMENTS.load("alignment")
VIEWS = {"mel_spectrogram": "a" * 12, "egemaps": "b" * 12, "wav2vec2": "c" * 12}
PLAN = Plan("toy", "table", {"A": "1", "B": "2", "C": "3"}, VIEWS)
NAMES = {"pretrained": "pre-trained", "supervised": "supervised", "random": "random"}
Made = tuple[Section, list[Block]]


TOO_FEW = (
    "PWCCA of these views needs {} utterances, 5 for each of {} principal components; there are 41. With fewer, no."
)


def make(folder: Path, fail: str = "", corpus: str = "toy", why: str = "it broke") -> Made:
    """The section of made-up rows; `fail` names a fold, or `ABC` all of them, that has no score."""
    with Results(folder) as results:
        jobs = ALIGNMENT.jobs(PLAN)
        results.plan("alignment", jobs)
        labels, folds = ["neutral", "angry", "sad", "happy"], dict.fromkeys(["1", "2", "3", "4", "5"], "")
        results.describe(corpus=corpus, labels=labels, folds=folds, views={view: {"name": view} for view in VIEWS})
        for n, job in enumerate(jobs):
            rng = np.random.default_rng(int(job.id, 16) % 2**32)
            few = {name: float(rng.random()) for name in FEW_MEASURES} | {"n": 41.0}
            values = {name: float(rng.random()) for name in MEASURES if name not in few} | {
                "left_out": float(rng.integers(9))
            }
            failed = isinstance(job, AlignmentJob) and job.fold in fail
            metrics = tuple(("test", name, value) for name, value in values.items())
            if not failed:
                done = JobResult(job, 1.0, "cpu", metrics=metrics)
            elif why == "it broke":
                done = JobResult(job, 1.0, "cpu", error=why)
            else:
                measured = tuple(("test", name, value) for name, value in few.items())
                done = JobResult(job, 1.0, "cpu", error=why.format(5 * n, n), refused=True, metrics=measured)
            results.add([done])
        found = ALIGNMENT.tables(results)
        return section(Run.of(results), ALIGNMENT, found)


def scores(folder: Path) -> dict[tuple[str, str], dict[str, list[float]]]:
    """(`first ~ second`, encoder) → name → a value a fold, straight from the database."""
    with sqlite3.connect(folder / "results.sqlite") as database:
        described = {name: json.loads(text) for name, text in database.execute("SELECT job_id, description FROM jobs")}
        rows = list(database.execute("SELECT job_id, name, value FROM metrics"))
    kinds = {"pretraining": "pretrained", "finetuning": "supervised"}
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for name, metric, value in rows:
        job = described[name]
        if job["kind"] == "alignment":
            start = job["inits"][0]
            encoder = "random" if start == RANDOM else kinds[described[start]["kind"]]
            pair = " ~ ".join(label for label, _ in job["views"])
            found.setdefault((pair, encoder), {}).setdefault(metric, []).append(value)
    return found


def tables(made: Made) -> dict[str, Table]:
    return {block.slug: block for block in made[0].blocks if isinstance(block, Table)}


def words(blocks: Any) -> str:
    return " ".join(str(item) for block in blocks if isinstance(block, Text) for item in block.items)


def test_every_number_is_that_of_the_rows(tmp_path: Path) -> None:
    made, rows = make(tmp_path), scores(tmp_path)
    shown = tables(made)
    matrix = shown["alignment"]
    pairs = [cell.text for cell in matrix.headings[1:]]
    assert pairs == ["egemaps ~ wav2vec2", "mel_spectrogram ~ egemaps", "mel_spectrogram ~ wav2vec2"]
    assert [row[0].text for row in matrix.rows] == ["pre-trained", "supervised", "random"]
    for row, encoder in zip(matrix.rows, ("pretrained", "supervised", "random"), strict=True):
        for cell, pair in zip(row[1:], pairs, strict=True):
            mine = rows[pair, encoder]
            assert cell.text == f"{np.mean(mine['pwcca']):.3f}\nnull {np.mean(mine['pwcca_null_mean']):.3f}"
    details = shown["alignment-details"]
    headings = [cell.text for cell in details.headings]
    assert len(details.rows) == len(rows) == 9
    for cells in details.rows:
        row = dict(zip(headings, (cell.text for cell in cells), strict=True))
        encoder = next(kind for kind, name in NAMES.items() if name == row["Encoders"])
        mine = rows[row["Views"].replace("\n", " "), encoder]
        columns = {"PWCCA": "pwcca", "Error": "pwcca_error", "Null": "pwcca_null_mean", "2nd side": "pwcca_second"}
        columns |= {"Both": "pwcca_mean", "With them": "pwcca_all"}
        for heading, name in columns.items():
            assert row[heading] == f"{np.mean(mine[name]):.3f}", heading
        assert row["Folds"] == f"{min(mine['pwcca']):.3f} to {max(mine['pwcca']):.3f}"
        assert row["Left out"] == f"{sum(mine['left_out']):.0f}"
    # The summary gives two decimals.
    told = re.sub("<[^>]*>", "", words(made[1]))
    for (pair, encoder), mine in rows.items():
        own = told.partition(f"{pair}: ")[2].partition(").")[0] + ")"
        assert f"{NAMES[encoder]} {np.mean(mine['pwcca']):.2f} (null {np.mean(mine['pwcca_null_mean']):.2f})" in own
    assert not {"alignment-without-score", "alignment-of-few"} & set(shown)
    assert shown["alignment-by-fold"].raw.shape[0] == 27


def test_the_figure_shows_the_table(tmp_path: Path) -> None:
    made, rows = make(tmp_path), scores(tmp_path)
    (picture,) = [block for block in made[0].blocks if isinstance(block, Picture)]
    for (pair, encoder), mine in rows.items():
        assert f"{pair}, {NAMES[encoder]}: {np.mean(mine['pwcca']):.3f}" in picture.panels[0].alt
    frame = tables(made)["alignment"].raw
    axes = alignment_dots(frame).axes[0]
    marked = [line for line in axes.lines if line.get_marker() not in ("|", "None")]
    dots = sorted(float(x) for line in marked for x in np.asarray(line.get_xdata(), dtype=float))
    np.testing.assert_allclose(dots, sorted(np.mean(mine["pwcca"]) for mine in rows.values()))
    assert axes.get_xlim()[0] == 0


def test_folds_without_a_score_are_named_with_the_reason(tmp_path: Path) -> None:
    made = make(tmp_path, fail="B")
    missing = tables(made)["alignment-without-score"]
    assert {row[0].text for row in missing.rows} == {"B"}
    assert {row[-1].text for row in missing.rows} == {"it broke"}
    assert "9 of 27 comparisons have no score; the means above are over the other folds." in words(made[0].blocks)
    rows = scores(tmp_path)
    assert all(len(mine["pwcca"]) == 2 for mine in rows.values())
    assert "mean over 2 folds" in tables(made)["alignment"].caption


def test_no_score_at_all(tmp_path: Path) -> None:
    made = make(tmp_path, fail="ABC")
    assert set(tables(made)) == {"alignment-without-score", "alignment-by-fold"}
    assert not [block for block in made[0].blocks if isinstance(block, Picture)]
    assert made[1] == []
    assert "27 of 27 comparisons have no score." in words(made[0].blocks)
    assert "above" not in words(made[0].blocks[2:])


def test_folds_with_too_few_recordings_are_one_sentence(tmp_path: Path) -> None:
    made = make(tmp_path, fail="B", why=TOO_FEW)
    assert "alignment-without-score" not in tables(made)
    told = words(made[0].blocks)
    assert "9 of 27 comparisons have no score" in told
    numbers = sorted(
        n for n, job in enumerate(ALIGNMENT.jobs(PLAN)) if isinstance(job, AlignmentJob) and job.fold == "B"
    )
    low, high = numbers[0], numbers[-1]
    assert (
        f"of which there are {low} to {high}, so {5 * low} to {5 * high} recordings; the test groups have 41." in told
    )
    assert "In all of them recordings were too few: 5 are needed" in told
    assert len(tables(made)["alignment-by-fold"].raw) == 27
    rows, shown = scores(tmp_path), tables(made)["alignment-of-few"]
    headings = [cell.text for cell in shown.headings]
    assert len(shown.rows) == 9
    for cells in shown.rows:
        row = dict(zip(headings, (cell.text for cell in cells), strict=True))
        mine = rows[row["Views"], next(kind for kind, name in NAMES.items() if name == row["Encoders"])]
        for heading, name in (("PWCCA", "few_pwcca"), ("Null", "few_null_mean"), ("Largest null", "few_null_max")):
            assert row[heading] == f"{mine[name][0]:.3f}"
        assert (row["Recordings"], row["Folds"]) == ("41", "1")


@pytest.mark.parametrize("corpus", ["iemocap-4", "toy"])
def test_the_paper_stands_beside_iemocap(tmp_path: Path, corpus: str) -> None:
    made = make(tmp_path, corpus=corpus)
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in tables(made)["alignment"].rows}
    if corpus == "toy":
        assert set(rows) == set(NAMES.values())
        assert "The paper does not say" not in words(made[0].blocks)
    else:
        # Table 3; our pairs are egemaps ~ wav2vec2, mel ~ egemaps, mel ~ wav2vec2.
        assert rows["Paper: pre-trained"] == ["0.652", "0.640", "0.782"]
        assert rows["Paper: supervised"] == ["0.686", "0.644", "0.657"]
        assert rows["Paper: random"] == ["0.299", "0.390", "0.389"]
        assert "The paper does not say" in words(made[0].blocks)
