"""How alike the views become: which pairs are compared, and tables that are means of saved rows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from emoviews.configs import FineTuningConfig, LabelBudget, PretrainingConfig
from emoviews.executors import run_planned
from emoviews.experiments import EXPERIMENTS, Plan, kept_supervised, plan_for
from emoviews.experiments.alignment import BY_FOLD, MEASURES, PAPER, SCORES
from emoviews.jobs import RANDOM, AlignmentJob, FineTuningJob, JobResult
from emoviews.results import Results

PAPER_TASK: Any = {"labels": ["angry", "happy", "neutral", "sad"], "folds": dict.fromkeys(map(str, range(5)), "")}
ALIGNMENT = EXPERIMENTS.load("alignment")
FOLDS = {"A": "1" * 12, "B": "2" * 12, "C": "3" * 12}
VIEWS = {"wav2vec2": "a" * 12, "egemaps": "b" * 12, "mel_spectrogram": "c" * 12}
PLAN = Plan("toy", "table", FOLDS, VIEWS)


def test_every_pair_of_views_and_kind_of_encoder_in_every_fold() -> None:
    jobs = ALIGNMENT.jobs(PLAN)
    assert [job.id for job in jobs] == [job.id for job in ALIGNMENT.jobs(PLAN)]
    first = PLAN.pretrainings()
    kept = {(fold, view): kept_supervised(PLAN, fold, view) for fold in FOLDS for view in VIEWS}
    pairs = [("wav2vec2", "egemaps"), ("wav2vec2", "mel_spectrogram"), ("egemaps", "mel_spectrogram")]
    expected = {
        (fold, (a, VIEWS[a]), (b, VIEWS[b]), inits)
        for fold in FOLDS
        for a, b in pairs
        for inits in (
            (RANDOM, RANDOM),
            (first[fold].id, first[fold].id),
            (kept[fold, a].id, kept[fold, b].id),
        )
    }
    found = [job for job in jobs if isinstance(job, AlignmentJob)]
    assert {(job.fold, *job.views, job.inits) for job in found} == expected
    assert len(found) == len(expected) == 27
    # The random encoder is the one that the pre-trained one was before.
    assert {(job.fold, job.seed) for job in found} == {(fold, job.seed) for fold, job in first.items()}
    ids = {job.id for job in jobs}
    assert {job.id for job in (*first.values(), *kept.values())} < ids
    one = dataclasses.replace(PLAN, views={"egemaps": "b" * 12})
    assert ALIGNMENT.jobs(one) == [], "one view has no pair"


def test_a_kept_encoder_is_that_of_the_plain_training_on_all_labels() -> None:
    plan = dataclasses.replace(PLAN, validation="budget", finetuning=FineTuningConfig(epochs=7), seed=3)
    job = kept_supervised(plan, "B", "egemaps")
    assert isinstance(job, FineTuningJob)
    assert (job.init, job.frozen, job.budget, job.repeat, job.keep) == (RANDOM, False, LabelBudget(), 0, True)
    assert (job.view, job.validation, job.config, job.split) == (
        ("egemaps", "b" * 12),
        "budget",
        plan.finetuning,
        FOLDS["B"],
    )
    plain = dataclasses.replace(job, keep=False)
    sparse = EXPERIMENTS.load("sparse").jobs(dataclasses.replace(plan, fractions=(1.0,), repeats=1))
    same = [other for other in sparse if other.description | {"keep": True} == job.description]
    assert len(same) >= 1, "the training of sparse with all labels, but for its encoder being kept"
    assert same[0].id == plain.id


def fill(
    folder: Path, corpus: str = "toy", views: tuple[str, ...] = tuple(VIEWS)
) -> tuple[dict[str, Any], pd.DataFrame]:
    """The tables of made-up results, and what was made up; in fold C the supervised encoders have no score."""
    plan = dataclasses.replace(PLAN, views={view: VIEWS.get(view.partition("(")[0], "d" * 12) for view in views})
    rng = np.random.default_rng(0)
    made = []
    with Results(folder) as results:
        assert ALIGNMENT.tables(results) == {}
        jobs = ALIGNMENT.jobs(plan)
        kinds = {RANDOM: RANDOM} | {job.id: "pretrained" if job.kind == "pretraining" else "supervised" for job in jobs}
        results.describe(corpus=corpus, **PAPER_TASK, views={view: {"name": view.partition("(")[0]} for view in views})
        results.plan("alignment", jobs)
        for job in jobs:
            if not isinstance(job, AlignmentJob):
                results.add([JobResult(job, 1.0, "cpu")])
                continue
            row = {
                "first": job.views[0][0],
                "second": job.views[1][0],
                "encoder": kinds[job.inits[0]],
                "fold": job.fold,
            }
            if row["encoder"] == "supervised" and job.fold == "C":
                results.add([JobResult(job, 1.0, "cpu", error="too few: 3 and 5")])
                made.append(row)
                continue
            values = {name: float(rng.random()) for name in MEASURES}
            made.append(row | values)
            results.add([JobResult(job, 1.0, "cpu", metrics=tuple(("test", k, v) for k, v in values.items()))])
        other = AlignmentJob(*plan.common("A", 99), jobs[-1].views, (RANDOM, RANDOM))  # type: ignore[union-attr]
        results.add([JobResult(other, 1.0, "cpu", metrics=(("test", "pwcca", 9.0),))])  # of an earlier configuration
        return ALIGNMENT.tables(results), pd.DataFrame(made)


def test_the_tables_are_means_over_folds(tmp_path: Path) -> None:
    tables, made = fill(tmp_path)
    by_fold, scores = tables[BY_FOLD], tables[SCORES]
    keys = ["first", "second", "encoder", "fold"]
    pd.testing.assert_frame_equal(
        by_fold.sort_values(keys, ignore_index=True)[[*keys, *MEASURES]],
        made.sort_values(keys, ignore_index=True)[[*keys, *MEASURES]],
        check_dtype=False,
    )
    failed = by_fold[by_fold["pwcca"].isna()]
    assert set(zip(failed["encoder"], failed["fold"], failed["error"], strict=True)) == {
        ("supervised", "C", "too few: 3 and 5")
    }
    assert len(scores) == 9
    assert scores["encoder"].tolist()[:3] == ["pretrained", "supervised", RANDOM], "in the order of the paper's rows"
    means = {
        "pwcca": "pwcca",
        "error": "pwcca_error",
        "null_mean": "pwcca_null_mean",
        "pwcca_second": "pwcca_second",
        "second_null_mean": "pwcca_second_null_mean",
        "pwcca_mean": "pwcca_mean",
        "mean_null_mean": "pwcca_mean_null_mean",
        "components_first": "components_first",
        "components_second": "components_second",
        "n": "n",
        "pwcca_all": "pwcca_all",
    }
    for row in scores.to_dict("records"):
        mine = [
            m for m in made.to_dict("records") if all(m[k] == row[k] for k in keys[:3]) and not np.isnan(m["pwcca"])
        ]
        assert row["folds"] == len(mine) == (2 if row["encoder"] == "supervised" else 3)
        assert row["folds_without"] == 3 - len(mine)
        for column, name in means.items():
            assert row[column] == pytest.approx(np.mean([m[name] for m in mine])), column
        assert row["lowest_fold"] == min(m["pwcca"] for m in mine)
        assert row["highest_fold"] == max(m["pwcca"] for m in mine)
        assert row["null_max"] == max(m["pwcca_null_max"] for m in mine)
        assert row["left_out"] == pytest.approx(sum(m["left_out"] for m in mine))
    assert "paper" not in scores


def test_the_papers_numbers_stand_beside_iemocap_alone(tmp_path: Path) -> None:
    scores = fill(tmp_path, corpus="iemocap-4", views=("egemaps", "wav2vec2(layers=12)", "mfcc"))[0][SCORES]
    found = {(r["first"], r["second"], r["encoder"]): r["paper"] for r in scores.to_dict("records")}
    assert found["egemaps", "wav2vec2(layers=12)", "pretrained"] == 0.652, "in whatever order and words"
    assert found["egemaps", "wav2vec2(layers=12)", RANDOM] == 0.299
    assert np.isnan(found["egemaps", "mfcc", RANDOM]), "a pair the paper does not have"
    # Table 3, read off the paper: rows Pairwise-CL, Supervised, Random.
    columns = {("wav2vec2", "egemaps"): "0.652 0.686 0.299", ("wav2vec2", "mel_spectrogram"): "0.782 0.657 0.389"}
    columns |= {("mel_spectrogram", "egemaps"): "0.640 0.644 0.390"}
    for pair, numbers in columns.items():
        kinds = ("pretrained", "supervised", RANDOM)
        assert PAPER[frozenset(pair)] == dict(zip(kinds, map(float, numbers.split()), strict=True))


def test_a_small_corpus_says_what_it_lacks(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)
    plan = plan_for(
        workspace,
        "toy",
        pretraining=PretrainingConfig(batch_size=16, epochs=1),
        finetuning=FineTuningConfig(batch_size=16, epochs=1),
    )
    plan = dataclasses.replace(plan, folds={"A": plan.folds["A"]})
    jobs = ALIGNMENT.jobs(plan)
    with Results(tmp_path) as results:
        results.describe(corpus="toy")
        results.plan("alignment", jobs)
        failed = run_planned(jobs, workspace, results, workers=1)
        tables = ALIGNMENT.tables(results)
        status = results.frame("SELECT job_id, status FROM jobs").set_index("job_id")["status"]
        assert results.finished() == set(status.index), "what was refused would be tried again"
    assert not failed, "too little data is an answer"
    refused = {job.kind for job in jobs if status[job.id] == "refused"}
    assert refused == {"alignment"}, "the encoders were trained, kept and found"
    assert (status == "refused").sum() == 3
    for message in tables[BY_FOLD]["error"]:
        assert "PWCCA of these views needs" in message
        assert "there are 24" in message or "there are 23" in message
    assert tables[SCORES]["pwcca"].isna().all()
    assert tables[SCORES]["folds"].tolist() == [0, 0, 0]
