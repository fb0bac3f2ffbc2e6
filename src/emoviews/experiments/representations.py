"""Figures 5 and 6: maps (t-SNE) of unseen speakers' embeddings, and in numbers what the embeddings know.

Three encoders a view: as initialised, pre-trained, and trained with all labels. For every fold linear probes for emotion,
speaker, sentence and duration, and whether the embeddings lie together by emotion and by speaker (silhouette, purity of the
nearest neighbours), all on the test group; for the last fold, as in the paper, a map. How often an utterance's nearest
projection in another view is its own, what the contrastive loss asks for, stands beside.
"""

from __future__ import annotations

from typing import Any, Final

import pandas as pd

from emoviews.experiments import Experiment, Plan, kept_supervised
from emoviews.jobs import RANDOM, Job, MapJob, ProbeJob
from emoviews.results import Results

PROBES: Final = "Linear probes on unseen speakers"
GROUPS: Final = "Groups among unseen speakers' embeddings"
RETRIEVAL: Final = "Retrieval across views, top 1"
MAPS: Final = "Maps"
PRETRAINING: Final = "Pre-training"

KINDS: Final = (RANDOM, "pretrained", "supervised")
"""The encoders, in the order they are shown."""
LABELS: Final = ("emotion", "speaker")
"""What embeddings may lie together by."""

_PROBES: Final = {
    "emotion (UAR)": ("probe_emotion_uar", "probe_emotion_chance"),
    "speaker (accuracy)": ("probe_speaker_accuracy", "probe_speaker_chance"),
    "sentence (accuracy)": ("probe_sentence_accuracy", "probe_sentence_chance"),
    "duration (R2)": ("probe_duration_r2", None),
}


class Representations(Experiment):
    """What the embeddings know."""

    name = "representations"
    title = "What the embeddings know"
    source = "Figures 5 and 6"

    def jobs(self, plan: Plan) -> list[Job]:
        found: list[Job] = []
        last = list(plan.folds)[-1]
        for fold, pretraining in plan.pretrainings().items():
            kept = {view: kept_supervised(plan, fold, view) for view in plan.views}
            found += [pretraining, *kept.values()]
            common = plan.common(fold, pretraining.seed)
            for view in plan.views.items():
                inits = (RANDOM, pretraining.id, kept[view[0]].id)
                found += [ProbeJob(*common, view, init) for init in inits]
                if fold == last:
                    found += [MapJob(*common, view, init) for init in inits]
        return found

    def tables(self, results: Results) -> dict[str, pd.DataFrame]:
        """Means over folds of the probes, of silhouette and purity, of retrieval; what each map shows; the pre-trainings."""
        tidy = results.tidy(self.name)
        if tidy.empty:
            return {}
        test = tidy[tidy["split"] == "test"]
        pretraining = test[test["kind"] == "pretraining"]
        return {
            PROBES: _probes(test[test["kind"] == "probe"]),
            GROUPS: _groups(test[test["kind"] == "probe"]),
            RETRIEVAL: _retrieval(pretraining),
            MAPS: _maps(test),
            PRETRAINING: pretraining[["fold", "epochs_run", "best_epoch", "seed"]].reset_index(drop=True),
        }


def map_points(results: Results, experiment: str) -> pd.DataFrame:
    """The points of an experiment's maps with what was said of them: `job_id, id, x, y, emotion, speaker`, by id."""
    return results.frame(
        "SELECT points.job_id, points.id, x, y, COALESCE(emotion, '') AS emotion, COALESCE(speaker, '') AS speaker "
        "FROM points JOIN plans ON plans.job_id = points.job_id AND experiment = ? "
        "LEFT JOIN utterances ON utterances.id = points.id ORDER BY points.job_id, points.id",
        (experiment,),
    )


def _probes(rows: pd.DataFrame) -> pd.DataFrame:
    """`probe, view, encoder, mean, lowest fold, highest fold, chance, folds`; what was not measured has no row."""
    found = []
    for (view, init), group in rows.groupby(["view", "init"], sort=True):
        for name, (column, chance) in _PROBES.items():
            if column in group.columns and group[column].notna().any():
                values = group[column].dropna()
                found.append(
                    {
                        "view": view,
                        "encoder": init,
                        "probe": name,
                        "mean": values.mean(),
                        "lowest fold": values.min(),
                        "highest fold": values.max(),
                        "chance": group[chance].mean() if chance else 0.0,
                        "folds": len(values),
                    }
                )
    return _ordered(found, ["probe", "view", "encoder"])


def _groups(rows: pd.DataFrame) -> pd.DataFrame:
    """`view, encoder, label, silhouette` and `purity` (means), each with its `_low` and `_high` (folds), `chance, folds`."""
    found = []
    for (view, init), group in rows.groupby(["view", "init"], sort=True):
        for label in LABELS:
            if f"silhouette_{label}" not in group.columns or group[f"silhouette_{label}"].isna().all():
                continue
            row: dict[str, Any] = {"view": view, "encoder": init, "label": label}
            for name in ("silhouette", "purity"):
                values = group[f"{name}_{label}"].dropna()
                row |= {name: values.mean(), f"{name}_low": values.min(), f"{name}_high": values.max()}
            found.append(row | {"chance": group[f"purity_{label}_chance"].mean(), "folds": len(values)})
    return _ordered(found, ["view", "label", "encoder"])


def _retrieval(rows: pd.DataFrame) -> pd.DataFrame:
    """`pair, random, pre-trained, chance, folds`."""
    found = []
    for column in [c for c in rows.columns if c.startswith("retrieval ") and rows[c].notna().any()]:
        pair = column.removeprefix("retrieval ")
        found.append(
            {
                "pair": pair,
                "random": rows[f"retrieval_random {pair}"].mean(),
                "pre-trained": rows[column].mean(),
                "chance": rows["retrieval_chance"].mean(),
                "folds": rows[column].notna().sum(),
            }
        )
    return pd.DataFrame(found)


def _maps(test: pd.DataFrame) -> pd.DataFrame:
    """`job_id, view, encoder, fold, n, map_of, map_perplexity`, and that fold's silhouettes and purities where known."""
    rows = test[test["kind"] == "map"]
    if rows.empty:
        return pd.DataFrame()
    measures = [f"{name}_{label}" for label in LABELS for name in ("silhouette", "purity")]
    keys = ["view", "init", "fold"]
    probes = test[test["kind"] == "probe"].reindex(columns=[*keys, *measures])
    maps = rows[["job_id", *keys, "n", "map_of", "map_perplexity"]].merge(probes, on=keys, how="left")
    return _ordered(maps.rename(columns={"init": "encoder"}).to_dict("records"), ["view", "encoder"])


def _ordered(rows: list[Any], by: list[str]) -> pd.DataFrame:
    """Rows with encoders, labels and probes in the order they are shown, views by name."""
    if not rows:
        return pd.DataFrame()
    known = (("encoder", KINDS), ("label", LABELS), ("probe", tuple(_PROBES)))
    order = {column: {name: number for number, name in enumerate(names)} for column, names in known}
    return pd.DataFrame(rows).sort_values(
        by,
        key=lambda column: column.map(order[str(column.name)]) if column.name in order else column,
        ignore_index=True,
    )


EXPERIMENT = Representations()
