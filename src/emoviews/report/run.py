"""What the sections of a page are made of, read once from a run folder's database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from emoviews.errors import UsageError
from emoviews.report import tables
from emoviews.results import Results


@dataclass(frozen=True)
class Run:
    """What the sections are made of, read once.

    Attributes:
        results: the open database.
        description: what `Results.describe` noted.
        jobs: of `tables.planned_jobs`.
        n_left_out: finished jobs that no experiment asks for any more.
        experiments: which experiment planned how many jobs.
        utterances: who said what is predicted.
        labels: the classes.
    """

    results: Results
    description: Mapping[str, Any]
    jobs: pd.DataFrame
    n_left_out: int
    experiments: Mapping[str, int]
    utterances: pd.DataFrame
    labels: tuple[str, ...]

    @classmethod
    def of(cls, results: Results) -> Run:
        """Read a run.

        Raises:
            UsageError: nothing has been planned in it.
        """
        jobs, description = tables.planned_jobs(results), results.description()
        if jobs.empty and not description.get("experiments"):  # some experiments have nothing to train
            raise UsageError(
                f"{results.path} holds no planned job. Fill it with: emoviews reproduce TABLE --out {results.path.parent}"
            )
        plans = results.frame("SELECT experiment, COUNT(*) AS n FROM plans GROUP BY 1")
        utterances = results.frame('SELECT id, speaker, "group", emotion, gender, duration_seconds FROM utterances')
        labels = description.get("labels") or sorted(set(utterances["emotion"]) - {""})
        counts = dict(zip(plans["experiment"], plans["n"], strict=True))
        n_left_out = len(results.finished() - set(jobs["job_id"]))
        return cls(results, description, jobs, n_left_out, counts, utterances, tuple(labels))

    @cached_property
    def versions(self) -> pd.DataFrame:
        """Of `tables.version_sets`."""
        return tables.version_sets(self.jobs)

    @property
    def title(self) -> str:
        """The corpus; of a test across corpora both, the one that tests last."""
        names = [self.description.get("corpus", "a run"), self.description.get("test_corpus")]
        return " → ".join(str(name) for name in names if name)

    @property
    def chance(self) -> float:
        """UAR of guessing."""
        return 1.0 / max(1, len(self.labels))

    @cached_property
    def folds(self) -> pd.DataFrame:
        """Of `tables.folds`."""
        return tables.folds(self.description, self.utterances, self.labels)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The finished jobs' tidy rows; a job of two experiments stands there twice, one of none is left out."""
        tidy = self.results.tidy()
        return tidy[tidy["experiment"] != ""]

    @property
    def tidy(self) -> pd.DataFrame:
        """The finished jobs' tidy rows, each once."""
        return self.rows.drop_duplicates(["job_id", "split"])

    @cached_property
    def fold_of_speaker(self) -> pd.Series[str]:
        """Fold that tests each known speaker; several, joined by commas, for one who occurs in several."""
        fold_of = {g: fold for fold, groups in self.description.get("test_groups", {}).items() for g in groups}
        known = self.utterances[self.utterances["speaker"] != ""]
        folds = known["group"].map(lambda group: fold_of.get(group, ""))
        return folds.groupby(known["speaker"]).agg(lambda found: ", ".join(sorted(set(found))))

    @property
    def shared_speakers(self) -> int:
        """Speakers whom one fold tests and another trains on."""
        return int(self.fold_of_speaker.str.contains(", ", regex=False).sum())

    @property
    def unknown_speakers(self) -> int:
        """Recordings without a speaker."""
        return int((self.utterances["speaker"] == "").sum())
