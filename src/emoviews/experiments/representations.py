"""Figures 5 and 6, in numbers: what the embeddings of unseen speakers know before and after pre-training.

Linear probes for emotion, speaker, sentence and duration on the encoders as initialised and as pre-trained, and how often an
utterance's nearest projection in another view is its own (what the contrastive loss asks for), on test groups alone.
"""

from __future__ import annotations

import pandas as pd

from emoviews.experiments import Experiment, Plan
from emoviews.jobs import RANDOM, Job, ProbeJob
from emoviews.results import Results

_PROBES = {
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
        pretrainings = plan.pretrainings()
        found: list[Job] = list(pretrainings.values())
        for fold, pretraining in pretrainings.items():
            common = plan.common(fold, pretraining.seed)
            found += [ProbeJob(*common, view, init) for view in plan.views.items() for init in (RANDOM, pretraining.id)]
        return found

    def tables(self, results: Results) -> dict[str, pd.DataFrame]:
        tidy = results.tidy(self.name)
        if tidy.empty:
            return {}
        test = tidy[tidy["split"] == "test"]
        probes, retrieval = [], []
        for (view, init), group in test[test["kind"] == "probe"].groupby(["view", "init"], sort=True):
            for name, (column, chance) in _PROBES.items():
                if column in group.columns and group[column].notna().any():
                    values = group[column].dropna()
                    probes.append(
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
        pretraining = test[test["kind"] == "pretraining"]
        for column in [c for c in pretraining.columns if c.startswith("retrieval ") and pretraining[c].notna().any()]:
            pair = column.removeprefix("retrieval ")
            retrieval.append(
                {
                    "pair": pair,
                    "random": pretraining[f"retrieval_random {pair}"].mean(),
                    "pre-trained": pretraining[column].mean(),
                    "chance": pretraining["retrieval_chance"].mean(),
                    "folds": pretraining[column].notna().sum(),
                }
            )
        table = pd.DataFrame(probes)
        if not table.empty:
            order = {name: number for number, name in enumerate(_PROBES)}
            table = table.sort_values(
                ["probe", "view", "encoder"],
                ascending=[True, True, False],
                key=lambda c: c.map(order) if c.name == "probe" else c,
                ignore_index=True,
            )
        epochs = pretraining[["fold", "epochs_run", "best_epoch", "seed"]].reset_index(drop=True)
        return {
            "Linear probes on unseen speakers": table,
            "Retrieval across views, top 1": pd.DataFrame(retrieval),
            "Pre-training": epochs,
        }


EXPERIMENT = Representations()
