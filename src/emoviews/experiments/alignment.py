"""Table 3: how alike two views' embeddings of unseen speakers are, by PWCCA (`emoviews.alignment`).

For every fold and pair of views three pairs of encoders: pre-trained together, trained with all labels each on its own, and
never trained. Each embeds the fold's test group. The paper does not say whose directions weigh its scores, on which
utterances they were computed, nor what unrelated embeddings would score; here the first view's weigh (the other side and the
mean of both stand beside), and every score has its permutation null.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import combinations
from types import MappingProxyType
from typing import Any, Final

import pandas as pd

from emoviews.experiments import Experiment, Plan, kept_supervised
from emoviews.experiments.temperature import is_of_paper_corpus, view_names
from emoviews.jobs import RANDOM, AlignmentJob, Job
from emoviews.results import Results

SCORES: Final = "PWCCA"
BY_FOLD: Final = "PWCCA by fold"
OF_FEW: Final = "PWCCA of as many components as the recordings allow"

KINDS: Final = ("pretrained", "supervised", RANDOM)
"""The encoders, in the order of the paper's rows."""

PAPER: Final[Mapping[frozenset[str], Mapping[str, float]]] = MappingProxyType(
    {
        frozenset({"wav2vec2", "egemaps"}): dict(zip(KINDS, (0.652, 0.686, 0.299), strict=True)),
        frozenset({"wav2vec2", "mel_spectrogram"}): dict(zip(KINDS, (0.782, 0.657, 0.389), strict=True)),
        frozenset({"mel_spectrogram", "egemaps"}): dict(zip(KINDS, (0.640, 0.644, 0.390), strict=True)),
    }
)
"""The paper's table 3: registered names of the views → encoders → PWCCA."""

FEW_MEASURES: Final = (
    "few_pwcca",
    "few_null_mean",
    "few_null_max",
    "few_components",
    "few_held_first",
    "few_held_second",
)
"""Of folds with too few recordings for the principal components of 99 % of the variance: of as many as they suffice for."""

MEASURES: Final = (
    "pwcca",
    "pwcca_error",
    "pwcca_low",
    "pwcca_high",
    "pwcca_null_mean",
    "pwcca_null_sd",
    "pwcca_null_max",
    "pwcca_second",
    "pwcca_second_null_mean",
    "pwcca_mean",
    "pwcca_mean_null_mean",
    "components_first",
    "components_second",
    "n",
    "left_out",
    "pwcca_all",
    *FEW_MEASURES,
)


class Alignment(Experiment):
    """How alike the views' embeddings are."""

    name = "alignment"
    title = "How alike the views become"
    source = "Table 3"

    def jobs(self, plan: Plan) -> list[Job]:
        if len(plan.views) < 2:
            return []
        found: list[Job] = []
        for fold, pretraining in plan.pretrainings().items():
            kept = {view: kept_supervised(plan, fold, view) for view in plan.views}
            found += [pretraining, *kept.values()]
            common = plan.common(fold, pretraining.seed)
            for a, b in combinations(plan.views, 2):
                views = (a, plan.views[a]), (b, plan.views[b])
                inits = (pretraining.id, pretraining.id), (kept[a].id, kept[b].id), (RANDOM, RANDOM)
                found += [AlignmentJob(*common, views, pair) for pair in inits]
        return found

    def tables(self, results: Results) -> dict[str, pd.DataFrame]:
        """One row a pair of views and encoders, and one a fold, with the reason where a fold has no score.

        The first: `first, second` (the views), `encoder`, `pwcca` (mean over folds) with its `lowest_fold` and
        `highest_fold`, `error` (mean over folds of the standard error over utterances), `null_mean` and `null_max` (mean and
        largest over folds and permutations); the same means by the second view's weights and of both sides
        (`pwcca_second`, `second_null_mean`, `pwcca_mean`, `mean_null_mean`); means of `components_first`,
        `components_second` and `n`; `left_out` (outlying utterances of all folds) and `pwcca_all` (the mean with them);
        `folds`, `folds_without`; `paper` where the run is of the paper's corpus.

        The second: `first, second, encoder, fold`, `MEASURES` and `error`, a message.

        The third, where a fold has too few recordings: `first, second, encoder`, means over these folds of `FEW_MEASURES` (of
        `few_null_max` the largest) and `n`, and `folds`.
        """
        by_fold = _by_fold(results, self.name)
        if by_fold.empty:
            return {}
        rows = []
        for key, group in by_fold.groupby(["first", "second", "encoder"], sort=False):
            scored = group[group["pwcca"].notna()]
            rows.append(
                {
                    **dict(zip(("first", "second", "encoder"), key, strict=True)),
                    "pwcca": scored["pwcca"].mean(),
                    "lowest_fold": scored["pwcca"].min(),
                    "highest_fold": scored["pwcca"].max(),
                    "error": scored["pwcca_error"].mean(),
                    "null_mean": scored["pwcca_null_mean"].mean(),
                    "null_max": scored["pwcca_null_max"].max(),
                    "pwcca_second": scored["pwcca_second"].mean(),
                    "second_null_mean": scored["pwcca_second_null_mean"].mean(),
                    "pwcca_mean": scored["pwcca_mean"].mean(),
                    "mean_null_mean": scored["pwcca_mean_null_mean"].mean(),
                    "components_first": scored["components_first"].mean(),
                    "components_second": scored["components_second"].mean(),
                    "n": scored["n"].mean(),
                    "left_out": scored["left_out"].sum(),
                    "pwcca_all": scored["pwcca_all"].mean(),
                    "folds": len(scored),
                    "folds_without": len(group) - len(scored),
                }
            )
        table = pd.DataFrame(rows)
        if is_of_paper_corpus(results):
            names = view_names(results)
            pairs = [frozenset({names[a], names[b]}) for a, b in zip(table["first"], table["second"], strict=True)]
            found = [PAPER.get(pair, {}).get(kind) for pair, kind in zip(pairs, table["encoder"], strict=True)]
            table["paper"] = pd.Series(found, dtype=float)
        return {SCORES: table, BY_FOLD: by_fold, OF_FEW: _of_few(by_fold)}


def _of_few(by_fold: pd.DataFrame) -> pd.DataFrame:
    few = by_fold[by_fold["few_pwcca"].notna()]
    groups = few.groupby(["first", "second", "encoder"], sort=False)
    table = groups[[*FEW_MEASURES, "n"]].mean()
    table["few_null_max"] = groups["few_null_max"].max()
    return table.assign(folds=groups.size()).reset_index()


def _by_fold(results: Results, experiment: str) -> pd.DataFrame:
    """`first, second, encoder, fold`, `MEASURES` and `error` of every alignment that was tried, failed ones included."""
    jobs = results.frame(
        "SELECT jobs.job_id, description, error, experiment FROM jobs LEFT JOIN plans "
        "ON plans.job_id = jobs.job_id AND experiment = ?",
        (experiment,),
    )
    described = {name: json.loads(text) for name, text in zip(jobs["job_id"], jobs["description"], strict=True)}
    rows: list[dict[str, Any]] = []
    for name, error in zip(*(jobs.loc[jobs["experiment"].notna(), c] for c in ("job_id", "error")), strict=True):
        job = described[name]
        if job["kind"] == "alignment":
            (first, _), (second, _) = job["views"]
            start = described.get(job["inits"][0], {"kind": RANDOM})["kind"]
            encoder = {"pretraining": "pretrained", "finetuning": "supervised"}.get(start, start)
            row = {"job_id": name, "first": first, "second": second, "encoder": encoder, "fold": job["fold"]}
            rows.append({**row, "error": error})
    if not rows:
        return pd.DataFrame()
    metrics = results.frame("SELECT job_id, name, value FROM metrics WHERE split = 'test'")
    wide = metrics.pivot(index="job_id", columns="name", values="value").reindex(columns=list(MEASURES))
    found = pd.DataFrame(rows).join(wide, on="job_id").drop(columns="job_id")
    found = found[["first", "second", "encoder", "fold", *MEASURES, "error"]]
    order = {kind: number for number, kind in enumerate(KINDS)}
    return found.sort_values(
        ["first", "second", "encoder", "fold"],
        key=lambda column: column.map(order) if column.name == "encoder" else column,
        ignore_index=True,
    )


EXPERIMENT = Alignment()
