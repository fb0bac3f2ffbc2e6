"""Table 2: what pre-training alone has learnt. Tuned against frozen encoders with every label, and what they must beat.

The paper compares the pre-trained encoder tuned and frozen. A frozen encoder says little by itself: even random weights keep
some of the emotion, and so do a view's averages. So beside the two stand, on the same folds and labels:

- the encoder trained from scratch;
- the encoder as initialised, frozen;
- logistic regression on the view's own features (averaged over frames);
- logistic regression on the embeddings of the pre-trained and of the random encoder, which does not depend on how a head is
  trained;
- the encoder pre-trained on its view alone: SimCLR (Chen et al., ICML 2020) between two augmented versions of an utterance,
  which shows what the other views add.

One training a fold and method, as in the paper (see `temperature`).
"""

from __future__ import annotations

from typing import Final

import pandas as pd

from emoviews.configs import LabelBudget
from emoviews.experiments import Experiment, Plan
from emoviews.experiments.sparse import METHODS as SHARED
from emoviews.experiments.sparse import differs
from emoviews.experiments.temperature import interval_columns, is_of_paper_corpus, of_folds, with_paper_scores
from emoviews.jobs import RANDOM, BaselineJob, FineTuningJob, Job, PretrainingJob
from emoviews.results import Results
from emoviews.seeds import derive_seed

SIMCLR_TUNED: Final = "single-view SimCLR, tuned"
SIMCLR_FROZEN: Final = "single-view SimCLR, frozen"

_KEYS: Final = (
    ("finetuning", RANDOM, False),
    ("finetuning", "pretrained", False),
    ("finetuning", "simclr", False),
    ("finetuning", "pretrained", True),
    ("finetuning", "simclr", True),
    ("finetuning", RANDOM, True),
    ("logistic_regression", "pretrained", False),
    ("logistic_regression", RANDOM, False),
    ("logistic_regression", "", False),
)
_OWN: Final = {("finetuning", "simclr", False): SIMCLR_TUNED, ("finetuning", "simclr", True): SIMCLR_FROZEN}
METHODS: Final = {key: _OWN.get(key) or SHARED[key] for key in _KEYS}
"""(method, init, frozen) → what the table calls it, in the order of its rows: trained encoders, frozen ones, linear models."""

SCORES: Final = "Tuned and frozen encoders"


class Frozen(Experiment):
    """Tuned against frozen encoders."""

    name = "frozen"
    title = "Tuned or frozen"
    source = "Table 2"

    def jobs(self, plan: Plan) -> list[Job]:
        found: list[Job] = []
        for fold, pretraining in plan.pretrainings().items():
            found.append(pretraining)
            for view in plan.views.items():
                # The seed of the shared pre-training: both start from the same encoder.
                simclr = PretrainingJob(*plan.common(fold, pretraining.seed), (view,), plan.pretraining)
                found.append(simclr)
                for repeat in plan.seeds:
                    common = plan.common(fold, derive_seed(plan.seed, "classifier", fold, repeat))
                    found += [
                        FineTuningJob(
                            *common, view, plan.finetuning, init, frozen, LabelBudget(), plan.validation, repeat
                        )
                        for init in (RANDOM, pretraining.id, simclr.id)
                        for frozen in (False, True)
                    ]
                    found += [
                        BaselineJob(*common, view, "logistic_regression", LabelBudget(), plan.validation, repeat, init)
                        for init in ("", RANDOM, pretraining.id)
                        if repeat == 0 or differs(LabelBudget(), plan.validation, init)
                    ]
        return found

    def tables(self, results: Results) -> dict[str, pd.DataFrame]:
        tidy = classifiers(results)
        if tidy.empty:
            return {}
        rows = []
        for (view, name), group in tidy.groupby(["view", "name"], sort=False):
            row = {"view": view, "method": name, "temperature": group["temperature"].iloc[0]}
            for measure in ("uar", "wa"):
                row |= interval_columns(measure, of_folds(group, measure))
            rows.append(row | {"folds": group["fold"].nunique(), "trainings": int(group["fold"].value_counts().max())})
        order = {name: number for number, name in enumerate(METHODS.values())}
        table = pd.DataFrame(rows).sort_values(
            ["view", "method"], key=lambda c: c.map(order) if c.name == "method" else c, ignore_index=True
        )
        if is_of_paper_corpus(results):
            table = with_paper_scores(results, table, {"uar": "test_uar", "wa": "test_wa"})
        return {SCORES: table}


def classifiers(results: Results) -> pd.DataFrame:
    """The experiment's finished classifiers: the tidy rows of their test parts, with the method's `name` of `METHODS`."""
    tidy = results.tidy(Frozen.name)
    tidy = tidy[(tidy["split"] == "test") & tidy["uar"].notna()]
    described = zip(tidy["method"], tidy["init"].fillna(""), tidy["frozen"].fillna(False).astype(bool), strict=True)
    return tidy.assign(name=[METHODS[key] for key in described])


EXPERIMENT = Frozen()
