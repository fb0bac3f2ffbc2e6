"""EmotionRecognizer: recordings and a few labels in, emotions out, with scikit-learn's conventions.

    recognizer = EmotionRecognizer().fit(table)            # columns path, speaker, emotion (empty: no label)
    recognizer.predict(["call.wav"])                       # one recording of an unknown speaker
    recognizer.set_params(mode="speaker-adaptive").predict(table)     # all recordings of each speaker together

It extracts the views at hand, learns from all recordings and from the labels there are (`semisupervised`), calibrates its
probabilities on speakers who did not train, and says what unweighted average recall to expect on new ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError

from emoviews import metrics
from emoviews.errors import AudioError, TableError, UsageError
from emoviews.expectation import evaluated
from emoviews.labelled_map import fit_map
from emoviews.novelty import fit_limits
from emoviews.recognition import (
    SPEEDS,
    Digest,
    Extracted,
    Fitted,
    Floats,
    Recognised,
    as_table,
    copies_of,
    made_views,
    may_be_copied,
    recognise,
    require_mode,
    short_key,
    views_of,
)
from emoviews.semisupervised import (
    CONFOUNDED,
    Mode,
    SemiSupervised,
    SemiSupervisedConfig,
    fit_semisupervised,
)
from emoviews.views import ViewRequest

WITH_OPENSMILE: Final = ("egemaps", "compare_2016", "mfcc")

WITHOUT_OPENSMILE: Final = ("mfcc", "mel_spectrogram")


def default_views() -> tuple[str, ...]:
    """The views at hand: with openSMILE its functionals and MFCC, else MFCC and the mel spectrogram."""
    return WITH_OPENSMILE if find_spec("opensmile") else WITHOUT_OPENSMILE


class EmotionRecognizer(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of recordings.

    X is an utterance table, or paths; y the emotions, `""` or None where there is no label (default: the table's column
    `emotion`). Speakers are `groups`, or the table's column `speaker`: they are what folds leave out and what the
    speaker-adaptive mode goes by. With metadata routing, `groups` can be routed to `fit`, `speakers` to `predict`.

    >>> EmotionRecognizer(views=("mfcc",)).get_params()["mode"]
    'inductive'
    """

    def __init__(
        self,
        views: Sequence[str] | None = None,
        mode: Mode = "inductive",
        store: str | Path | None = None,
        workers: int | None = None,
        evaluate: bool = True,
        allow_speaker_overlap: bool = False,
        strength: float = SemiSupervisedConfig.strength,
        unlabelled_weight: float = SemiSupervisedConfig.unlabelled_weight,
        neighbours: int = SemiSupervisedConfig.neighbours,
        remove_text: bool = True,
        speeds: Sequence[float] = SPEEDS,
    ) -> None:
        """Keep the parameters; nothing is checked or computed before `fit`.

        Args:
            views: as the command line takes them; `default_views` when None.
            mode: of `predict`: `inductive` judges every recording alone, `speaker-adaptive` all of a speaker together.
            store: where extracted views are kept; a temporary folder when None.
            workers: processes of the extraction; all cores when None.
            evaluate: whether `fit` cross-validates, which takes most of its time; without, probabilities are not calibrated.
            allow_speaker_overlap: cross-validate by recording where speakers are unknown. The scores are then too good.
            speeds: of the copies that stand for other voices in the inductive mode (see `semisupervised`); none with ().
            strength, unlabelled_weight, neighbours, remove_text: see `semisupervised.SemiSupervisedConfig`.
        """
        self.views = views
        self.mode = mode
        self.store = store
        self.workers = workers
        self.evaluate = evaluate
        self.allow_speaker_overlap = allow_speaker_overlap
        self.strength = strength
        self.unlabelled_weight = unlabelled_weight
        self.neighbours = neighbours
        self.remove_text = remove_text
        self.speeds = speeds

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> EmotionRecognizer:
        """Learn from recordings, of which a few are labelled.

        Raises:
            TableError: a table without labels, or with labels of one class alone.
            UsageError: X, y and groups of different lengths, an unknown view or mode.
            AudioError: none of the recordings, or none of the labelled, can be used.
        """
        require_mode(self.mode)
        table = as_table(X, y, groups)
        requests = tuple(ViewRequest.parse(text) for text in (self.views or default_views()))
        _require_classes(table)
        copied = tuple(copy for speed in self.speeds for copy in copies_of(requests, speed))
        store = Path(self.store) if self.store is not None else None
        found = views_of(table, [*requests, *copied], store, self.workers)
        usable = np.array([not problem for problem in found.problems], dtype=bool)
        left_out = {name: why for name, why in zip(table["id"], found.problems, strict=True) if why}
        if not usable.any():
            raise AudioError(f"None of the {len(table)} recordings can be used. The first: {found.problems[0]}")
        table = table[usable].reset_index(drop=True)
        _require_classes(table, " once recordings that can't be used are left out")
        self._learn(table, found, requests, left_out)
        return self

    def _learn(
        self,
        table: pd.DataFrame,
        found: Extracted,
        requests: tuple[ViewRequest, ...],
        left_out: Mapping[str, str],
    ) -> None:
        vectors = {request.label: found.vectors[request.label] for request in requests}
        names = [request.label for request in requests if may_be_copied(request)]
        at_speeds = [
            {name: found.vectors[copy.label] for name, copy in zip(names, copies_of(requests, speed), strict=True)}
            for speed in self.speeds
            if names
        ]
        config = SemiSupervisedConfig(
            strength=self.strength,
            unlabelled_weight=self.unlabelled_weight,
            neighbours=self.neighbours,
            remove_text=self.remove_text,
        )
        labels = tuple(sorted(set(table["emotion"]) - {""}))
        targets = np.array([labels.index(e) if e else -1 for e in table["emotion"]], dtype=np.int64)
        speakers, texts = list(table["speaker"]), list(table["text"])
        model = fit_semisupervised(vectors, targets, len(labels), speakers, texts, config, at_speeds)
        report, temperatures = evaluated(
            table,
            vectors,
            labels,
            targets,
            config,
            at_speeds,
            keys=[key for key, problem in zip(found.keys, found.problems, strict=True) if not problem],
            run=self.evaluate,
            allow_overlap=self.allow_speaker_overlap,
        )
        report = replace(report, left_out=dict(left_out), notes=(*_notes(model), *report.notes))
        specs = {label: view.spec for label, view in made_views(requests).items()}
        inductive = model.modes["inductive"]
        used = {n: vectors[n] for n in inductive.maps}
        limits = fit_limits(used, list(table["group"]), speakers, at_speeds)
        known = targets >= 0
        own = inductive.vectors({label: values[known] for label, values in vectors.items()})
        labelled = fit_map(own, targets[known], inductive.linear)
        heard = frozenset(short_key(key) for key in found.keys if key)
        self.fitted_ = Fitted(requests, specs, labels, model, temperatures, limits, heard, report, labelled)
        self.classes_ = np.array(labels, dtype=object)

    def predict_proba(self, X: Any, speakers: Any = None) -> Floats:
        """`(rows, classes)` calibrated probabilities, columns in the order of `classes_`.

        Raises:
            AudioError: a recording can't be used. (`recognise` says so row by row, and of what is no speech, which is judged
                here like everything else.)
            UsageError: the speaker-adaptive mode without speakers.
        """
        found = self._recognised(X, speakers, judge_all=True)
        for why in found.problems:
            if why:
                raise AudioError(why)
        return found.probabilities

    def predict(self, X: Any, speakers: Any = None) -> NDArray[np.object_]:
        """`(rows,)` the most probable emotion of each recording; errors as `predict_proba`."""
        best: NDArray[np.object_] = self.predict_proba(X, speakers).argmax(axis=1)
        chosen: NDArray[np.object_] = self.classes_[best]
        return chosen

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """UAR on labelled recordings (not accuracy: emotions are seldom equally frequent).

        Raises:
            UsageError: `sample_weight`, which UAR has no place for.
        """
        if sample_weight is not None:
            raise UsageError("UAR weighs classes equally and takes no sample_weight.")
        table = as_table(X, y)
        labelled = table[table["emotion"] != ""]
        return metrics.uar(list(labelled["emotion"]), list(self.predict(labelled.reset_index(drop=True))))

    def recognise(self, X: Any, speakers: Any = None, *, graph: Digest | None = None) -> Recognised:
        """Probabilities of every recording, or why there are none.

        Args:
            X: table or paths.
            speakers: `(rows,)`.
            graph: what judges each recording in place of the model: `inference.Graph.judge`.

        Raises:
            UsageError: the speaker-adaptive mode without speakers, or with a graph.
        """
        return self._recognised(X, speakers, graph=graph)

    def _recognised(self, X: Any, speakers: Any, **options: Any) -> Recognised:
        if not hasattr(self, "fitted_"):
            raise NotFittedError("This EmotionRecognizer is not fitted yet. Call fit first, or load a bundle.")
        table, store = as_table(X, None, speakers), Path(self.store) if self.store is not None else None
        return recognise(self.fitted_, table, self.mode, store=store, workers=self.workers, **options)


def _notes(model: SemiSupervised) -> tuple[str, ...]:
    notes = []
    if model.speaker_confounding >= CONFOUNDED:
        notes.append(
            "Labelled recordings of one speaker mostly show one emotion, so what is usual for a speaker was not removed: it "
            "would erase the emotion. Both modes judge recordings as they are."
        )
    return tuple(notes)


def _require_classes(table: pd.DataFrame, when: str = "") -> None:
    found = sorted(set(table["emotion"]) - {""})
    if len(found) < 2:
        have = ", ".join(found) or "none"
        raise TableError(
            f"Learning needs labels of at least 2 emotions; the table's{when}: {have}. Label more recordings."
        )
