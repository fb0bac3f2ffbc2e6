"""The section on pre-training data: its numbers are made anew from the saved predictions; without jobs it says why."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score

from emoviews.experiments import Plan
from emoviews.experiments.pretraining_data import (
    EQUAL_SIZE,
    EXPERIMENT,
    OTHERS,
    OWN_SIZE,
    SCORES,
    TARGET,
    compared_jobs,
)
from emoviews.jobs import FineTuningJob, JobResult, Predictions, PretrainingJob
from emoviews.report.blocks import Picture, Section, Text
from emoviews.report.run import Run
from emoviews.report.sections import section_of
from emoviews.report.sections.pretraining_data import differences, uar_by_data
from emoviews.report.tables import Table
from emoviews.results import Results

LABELS = ("anger", "neutral", "sadness")
FOLDS = {"one": "1" * 12, "two": "2" * 12, "three": "3" * 12}
SPEAKERS = {"one": ("s1", "s2"), "two": ("s3", "s4"), "three": ("s5", "s6")}
SIZES = {
    "all": (90, 60),
    "target": (60, 40),
    "out_of_distribution": (20, 15),
    "out_of_distribution+undecided": (30, 20),
}
SKILL = {"all": 0.6, "target": 0.9, "out_of_distribution": 0.3, "out_of_distribution+undecided": 0.4}
PLAN = Plan(
    "toy",
    "table",
    FOLDS,
    {"mel_spectrogram": "a" * 12, "egemaps": "b" * 12},
    fractions=(0.02, 0.1, 0.25, 1.0),
    repeats=2,
    pretraining_sizes=dict.fromkeys(FOLDS, SIZES),
)


def utterances() -> pd.DataFrame:
    rows = []
    for speaker, label, n in itertools.product(itertools.chain(*SPEAKERS.values()), LABELS, range(7)):
        # Speakers have unequal numbers of unequal classes, so that every way of averaging gives another number.
        if n < 7 - (LABELS.index(label) + int(speaker[1])) % 4:
            rows.append({"id": f"{speaker}_{label}_{n}", "speaker": speaker, "group": speaker, "emotion": label})
    return pd.DataFrame(rows).assign(gender="")


def fill(database: Results, skill: Mapping[str, float] = SKILL) -> None:
    rng, table = np.random.default_rng(1), utterances()
    jobs = EXPERIMENT.jobs(PLAN)
    data_of = {job.id: job.data for job in jobs if isinstance(job, PretrainingJob)}
    database.plan(EXPERIMENT.name, jobs)
    database.add_utterances(table, [1.0] * len(table))
    database.describe(corpus="toy", labels=list(LABELS), pretraining_sizes=PLAN.pretraining_sizes)
    done = []
    for job in jobs:
        if isinstance(job, PretrainingJob):
            n = float(job.size or SIZES[job.data][0])
            done.append(JobResult(job, 1.0, "cpu", metrics=(("train", "n", n), ("test", "retrieval_chance", 0.1))))
            continue
        assert isinstance(job, FineTuningJob)
        rows = table[table["speaker"].isin(SPEAKERS[job.fold])]
        chance = skill.get(data_of.get(job.init, ""), 0.2) + 0.3 * (job.budget.fraction or 0)
        said = np.where(rng.random(len(rows)) < chance, rows["emotion"], rng.choice(LABELS, len(rows)))
        metrics = (
            ("train", "n_labels", 400 * (job.budget.fraction or 1.0)),
            ("test", "uar", balanced_accuracy_score(rows["emotion"], said)),
            ("test", "wa", float((rows["emotion"] == said).mean())),
        )
        answers = Predictions(
            tuple(rows["id"]), tuple(rows["emotion"]), tuple(said), LABELS, np.full((len(rows), 3), 1 / 3)
        )
        done.append(JobResult(job, 1.0, "cpu", metrics=metrics, predictions=answers))
    database.add(done)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Results(tmp_path_factory.mktemp("section")) as database:
        fill(database)
        yield Run.of(database)


def made(run: Run) -> tuple[Section, str]:
    tables = EXPERIMENT.tables(run.results)
    section, summary = section_of(run, EXPERIMENT, tables)
    return section, " ".join(item for block in summary if isinstance(block, Text) for item in block.items)


def table_of(section: Section, slug: str) -> Table:
    (found,) = (block for block in section.blocks if isinstance(block, Table) and block.slug == slug)
    return found


def test_the_differences_can_be_computed_again_from_the_saved_predictions(run: Run) -> None:
    gaps = differences(run, compared_jobs(run.results))
    assert len(gaps) == 2 * 2 * 3  # sizes, views, shares
    jobs = {job.id: job for job in EXPERIMENT.jobs(PLAN)}
    said = run.results.frame("SELECT job_id, id, y_true, y_pred FROM predictions")
    said["speaker"] = said["id"].str[:2]
    for row in gaps.to_dict("records"):
        pooled, of_speakers = [], []
        for data in ("target", "out_of_distribution"):
            # Others are the smallest set, so the whole of it stands in both comparisons.
            size = 20 if (row["size"], data) == (EQUAL_SIZE, "target") else None
            mine = {
                name: job
                for name, job in jobs.items()
                if isinstance(job, FineTuningJob)
                and (job.view[0], job.budget.fraction) == (row["view"], row["label_fraction"])
                and isinstance(start := jobs.get(job.init), PretrainingJob)
                and (start.data, start.size) == (data, size)
            }
            assert len(mine) == 3 * 2
            repeats = {name: job.repeat for name, job in mine.items()}
            given = said[said["job_id"].isin(mine)]
            given = given.assign(repeat=given["job_id"].map(repeats))
            pooled.append(np.mean([balanced_accuracy_score(g.y_true, g.y_pred) for _, g in given.groupby("repeat")]))
            of_speakers.append(
                given.groupby(["speaker", "repeat"])[["y_true", "y_pred"]]
                .apply(lambda g: balanced_accuracy_score(g.y_true, g.y_pred))
                .groupby("speaker")
                .mean()
            )
        assert row["difference"] == pytest.approx(pooled[0] - pooled[1])
        assert row["low"] < row["difference"] < row["high"]
        gap = (of_speakers[0] - of_speakers[1]).to_numpy()
        signs = np.array(list(itertools.product([1, -1], repeat=6)))
        p = (np.abs(signs @ gap) >= abs(gap.sum()) - 1e-9).mean()
        assert row["p_sign_flip"] == pytest.approx(p)
    # Holm over both sizes of a view together, by its definition.
    for _, of_view in gaps.groupby("view"):
        largest = 0.0
        for place, row in enumerate(of_view.sort_values("p_sign_flip", kind="stable").to_dict("records")):
            largest = max(largest, min(1.0, row["p_sign_flip"] * (6 - place)))
            assert row["p_holm"] == pytest.approx(largest)


def test_tables_show_what_was_computed(run: Run) -> None:
    section, _ = made(run)
    scores = EXPERIMENT.tables(run.results)[SCORES]
    pd.testing.assert_frame_equal(table_of(section, "uar-by-pretraining-data").raw, scores)
    for view in PLAN.views:
        shown = table_of(section, f"pretraining-data-{view}")
        assert [cell.text for cell in shown.headings[3:]] == [
            "2\u00a0%\n8 labels",
            "10\u00a0%\n40 labels",
            "25\u00a0%\n100 labels",
        ]
        assert len(shown.rows) == 5 + 4
        for cells in shown.rows:
            size, name, number = (cell.text for cell in cells[:3])
            here = scores[(scores["view"] == view) & (scores["size"] == size) & (scores["pretraining_data"] == name)]
            here = here.sort_values("label_fraction").to_dict("records")
            assert [cell.text for cell in cells[3:]] == [
                f"{100 * r['pooled_uar']:.1f}\n({100 * r['low']:.1f} to {100 * r['high']:.1f})" for r in here
            ]
            assert number == ("–" if np.isnan(here[0]["n_pretraining"]) else f"{here[0]['n_pretraining']:.0f}")
        assert "3 folds, 2 repeats" in shown.caption
    sizes = table_of(section, "pretraining-data-sizes")
    assert [[cell.text for cell in row] for row in sizes.rows] == [
        [fold, "90 (60)", "60 (40)", "20 (15)", "30 (20)"] for fold in FOLDS
    ]
    differences_table = table_of(section, "target-minus-other-emotions")
    assert "6 speakers" in differences_table.caption
    assert "corrected for the 6 tests of a view. With 6 speakers no p can be below 0.031" in differences_table.caption


def test_the_picture_has_a_panel_a_view_and_size_and_says_what_it_shows(run: Run) -> None:
    section, _ = made(run)
    (picture,) = (block for block in section.blocks if isinstance(block, Picture))
    assert "shaded: 95 % interval" in picture.caption
    assert [panel.slug for panel in picture.panels] == [
        f"pretraining-data-{view}-{size}"
        for size in ("all-there-are", "equal-size")
        for view in ("egemaps", "mel_spectrogram")
    ]
    scores = EXPERIMENT.tables(run.results)[SCORES]
    first = scores[
        (scores["size"] == OWN_SIZE) & (scores["view"] == "egemaps") & (scores["pretraining_data"] == TARGET)
    ]
    ends = f"{TARGET} from {100 * first['pooled_uar'].iloc[0]:.1f} % with 8.0 labels to"
    assert ends.replace("8.0", "8") in picture.panels[0].alt
    assert picture.whole is not None
    assert len(picture.whole.figure.axes) == 4
    for axes in picture.whole.figure.axes:
        drawn = {tuple(line.get_ydata()) for line in axes.get_lines()}
        view, size = axes.get_title("left").split(", ")
        mine = scores[(scores["view"] == view) & (scores["size"] == size) & (scores["pretraining_data"] == OTHERS)]
        assert tuple(100 * mine["pooled_uar"]) in drawn


@pytest.mark.parametrize(
    ("skill", "said"),
    [
        (SKILL, "target emotions better in"),
        ({**SKILL, "target": 0.3, "out_of_distribution": 0.9}, "other emotions better in"),
        (dict.fromkeys(SKILL, 0.6), "undecided in"),
    ],
)
def test_the_summary_says_which_was_better(tmp_path: Path, skill: dict[str, float], said: str) -> None:
    with Results(tmp_path) as database:
        fill(database, skill)
        run = Run.of(database)
        _, summary = made(run)
        gaps = differences(run, compared_jobs(database))
    assert said in summary
    for size, start in ((OWN_SIZE, "with all there are, "), (EQUAL_SIZE, "with equally many, ")):
        mine = gaps[gaps["size"] == size]
        counts = {TARGET: (mine["low"] > 0).sum(), OTHERS: (mine["high"] < 0).sum()}
        words = summary.partition(start)[2].partition(";")[0]
        for name, n in counts.items():
            assert (f"{name} better in {n}" in words) == bool(n)
        assert f"undecided in {6 - sum(counts.values())}" in words
    assert "of 6 comparisons each" in summary


def described(folder: Path, sizes: Mapping[str, Mapping[str, tuple[int, int]]]) -> str:
    """What the section says of a run without any job of this experiment."""
    with Results(folder) as database:
        database.plan("another", EXPERIMENT.jobs(PLAN)[:1])
        database.describe(labels=list(LABELS), pretraining_sizes=sizes)
        section, summary = section_of(Run.of(database), EXPERIMENT, EXPERIMENT.tables(database))
    assert summary == []
    assert not any(isinstance(block, Picture) for block in section.blocks)
    return " ".join(item for block in section.blocks if isinstance(block, Text) for item in block.items)


def test_without_other_emotions_it_says_so_and_what_to_do(tmp_path: Path) -> None:
    none = {"all": (90, 60), "target": (90, 60), "out_of_distribution": (0, 0), "out_of_distribution+undecided": (0, 0)}
    words = described(tmp_path / "a", dict.fromkeys(FOLDS, none))
    assert "Nothing was compared: no recording has an emotion other than the target emotions." in words
    assert "--label-map" in words
    assert "drawn to the size" not in words
    assert "no known emotion" not in words
    some = {**none, "target": (83, 60), "out_of_distribution+undecided": (7, 0)}
    assert "Up to 7 training recordings a fold have no known emotion" in described(tmp_path / "b", {"one": some})


def test_folds_that_are_left_out_are_named_with_the_reason(tmp_path: Path) -> None:
    few = {**SIZES, "out_of_distribution": (1, 15)}
    alone = {**SIZES, "target": (60, 1)}
    words = described(tmp_path, {"one": SIZES, "two": few, "three": few, "four": alone})
    assert "Folds three and two: left out, with fewer than 2 recordings of other emotions to train on." in words
    assert "Fold four: left out, with fewer than 2 recordings of target emotions to validate on." in words


def test_without_few_labels_there_is_nothing_to_compare(tmp_path: Path) -> None:
    assert "at most 25" in described(tmp_path, {"one": SIZES})


def test_one_share_of_labels_alone_has_bars(run: Run) -> None:
    scores = EXPERIMENT.tables(run.results)[SCORES]
    scores = scores[scores["label_fraction"] == scores["label_fraction"].min()]
    axes = uar_by_data(scores, ["egemaps"], [OWN_SIZE], 0.25).axes[0]
    mine = scores[(scores["view"] == "egemaps") & (scores["size"] == OWN_SIZE)]
    bars = [segment for c in axes.collections for segment in c.get_segments()]  # type: ignore[attr-defined]
    assert {tuple(bar[:, 1].round(9)) for bar in bars} == {
        (round(100 * low, 9), round(100 * high, 9)) for low, high in zip(mine["low"], mine["high"], strict=True)
    }
    assert len({bar[0, 0] for bar in bars}) == len(mine)
