"""EmotionRecognizer: recordings and a few labels in, emotions out, with scikit-learn's conventions.

    recognizer = EmotionRecognizer().fit(table)            # columns path, speaker, emotion (empty: no label)
    recognizer.predict(["call.wav"])                       # one recording of an unknown speaker
    recognizer.set_params(mode="speaker-adaptive").predict(table)     # all recordings of each speaker together

It extracts the views at hand, learns from all recordings and from the labels there are (`semisupervised`), calibrates its
probabilities on speakers who did not train, and says what unweighted average recall to expect on new ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import threadpoolctl
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError

from emoviews import doubts, metrics
from emoviews.errors import AudioError, TableError, UsageError
from emoviews.expectation import ADAPTIVELY, ALONE, Recordings, evaluated
from emoviews.fusion import Fusion
from emoviews.labelled_map import fit_map
from emoviews.novelty import FEWEST, FEWEST_SPEAKERS, fit_limits
from emoviews.progress import counted, shorten
from emoviews.recognition import (
    SPEEDS,
    Digest,
    Extracted,
    Fitted,
    Floats,
    Recognised,
    as_table,
    copies_of,
    flat,
    labels_of,
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
    SemiSupervisedConfig,
)
from emoviews.table import COLUMNS, CORPUS, ORIGINAL, UNDECIDED
from emoviews.types import SAMPLING_RATE
from emoviews.views import ViewRequest, parse_requests

WITH_OPENSMILE: Final = ("egemaps", "compare_2016", "mfcc")

WITHOUT_OPENSMILE: Final = ("mfcc", "mel_spectrogram")


def default_views() -> tuple[str, ...]:
    """The views at hand: with openSMILE its functionals and MFCC, else MFCC and the mel spectrogram."""
    return WITH_OPENSMILE if find_spec("opensmile") else WITHOUT_OPENSMILE


class EmotionRecognizer(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of recordings.

    X is an utterance table, or paths; y the emotions (default: the table's column `emotion`): text, integers, floats or
    booleans, which `classes_` and `predict` then give back. No label is None, NaN, pandas' NA, blank text, and among whole
    numbers -1, as in scikit-learn's semi-supervised learners (the report's notes say how many). Speakers are `groups`, or the
    table's column `speaker`: they are what folds leave out and what the speaker-adaptive mode goes by. With metadata routing,
    `groups` can be routed to `fit`, `speakers` to `predict` and `score`.

    >>> EmotionRecognizer(views=("mfcc",)).get_params()["mode"]
    'inductive'
    """

    def __init__(
        self,
        views: str | Sequence[str] | None = None,
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
            views: as the command line takes them, one text each or all in one; `default_views` when None.
            mode: of `predict`: `inductive` judges every recording alone, `speaker-adaptive` all of a speaker together.
            store: where extracted views are kept; a temporary folder when None.
            workers: processes of the extraction, and threads of the cross-validation; one a core when None.
            evaluate: whether `fit` cross-validates, which takes most of its time; without, probabilities are not calibrated.
            allow_speaker_overlap: cross-validate by file where speakers are unknown. The scores are then too good, and
                probabilities too sure.
            speeds: of the copies that stand for other voices in the inductive mode (see `semisupervised`), from 0.5 to 2; none
                with ().
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
            UsageError: X, y and groups of different lengths, labels of several types, ratings in place of emotions, an unknown
                view or mode, or another parameter that can't be used.
            AudioError: none of the recordings, or none of the labelled, can be used.
        """
        require_mode(self.mode)
        requests, speeds = parse_requests(default_views() if self.views is None else self.views), _speeds(self.speeds)
        config = SemiSupervisedConfig(
            strength=self.strength,
            unlabelled_weight=self.unlabelled_weight,
            neighbours=self.neighbours,
            remove_text=self.remove_text,
        )
        table = as_table(X, y, groups)
        if undecided := int((table["emotion"] == UNDECIDED).sum()) if y is None else 0:
            table["emotion"] = table["emotion"].where(table["emotion"] != UNDECIDED, "")
        _refuse_ratings(table)
        _require_classes(table, y)
        copied = tuple(copy for speed in speeds for copy in copies_of(requests, speed))
        store = Path(self.store) if self.store is not None else None
        found = views_of(table, [*requests, *copied], store, self.workers)
        usable = np.array([not problem for problem in found.problems], dtype=bool)
        left_out = {name: why for name, why in zip(table["id"], found.problems, strict=True) if why}
        if not usable.any():
            raise AudioError(f"None of the {len(table)} recordings can be used. The first: {found.problems[0]}")
        table = table[usable].reset_index(drop=True)
        _require_classes(table, y, " once recordings that can't be used are left out")
        given = None if y is None else found.of_usable(labels_of(y))
        classes = _classes(table, given, getattr(y, "dtype", None))
        # NumPy's BLAS and SciPy's take turns here on small matrices; with a thread a core each, they wait for each other and
        # take three times as long as with one.
        with threadpoolctl.threadpool_limits(1, user_api="blas"):
            fitted = self._learnt(table, classes, found, requests, speeds, config)
        no_label = f"{counted(undecided, 'recording')} whose annotators did not agree ({UNDECIDED!r}): no label."
        notes = (
            *([no_label] if undecided else []),
            *_notes_of_minus_ones(y),
            *doubts.of_labels(table),
            *doubts.of_recordings(table, found.of_usable(found.keys)),
            *doubts.of_parts(table),
            *_notes_of_model(fitted),
            *fitted.report.notes,
        )
        self.fitted_ = replace(fitted, report=replace(fitted.report, left_out=left_out, notes=notes))
        self.classes_ = classes
        return self

    def _learnt(
        self,
        table: pd.DataFrame,
        classes: NDArray[Any],
        found: Extracted,
        requests: tuple[ViewRequest, ...],
        speeds: Sequence[float],
        config: SemiSupervisedConfig,
    ) -> Fitted:
        vectors = {request.label: found.vectors[request.label] for request in requests}
        names = [request.label for request in requests if may_be_copied(request)]
        at_speeds = [
            {name: found.vectors[copy.label] for name, copy in zip(names, copies_of(requests, speed), strict=True)}
            for speed in speeds
            if names
        ]
        labels = tuple(str(label) for label in classes.tolist())
        targets = np.array([labels.index(e) if e else -1 for e in table["emotion"]], dtype=np.int64)
        speakers, texts, keys = list(table["speaker"]), list(table["text"]), found.of_usable(found.keys)
        data = Recordings(table, Fusion(vectors, speakers, texts, at_speeds), targets, keys)
        model = data.fitted(len(labels), config)
        report, temperatures = evaluated(
            data,
            labels,
            config,
            run=self.evaluate,
            allow_overlap=self.allow_speaker_overlap,
            modes=ADAPTIVELY if model.modes["speaker-adaptive"].adaptive else ALONE,
            workers=self.workers,
        )
        specs = {label: view.spec for label, view in made_views(requests).items()}
        inductive = model.modes["inductive"]
        used = {n: vectors[n] for n in inductive.maps}
        limits = fit_limits(used, list(table["group"]), speakers, at_speeds)
        known = targets >= 0
        own = inductive.vectors({label: values[known] for label, values in vectors.items()})
        labelled = fit_map(own, targets[known], inductive.linear)
        heard = frozenset(short_key(key) for key in found.keys if key)
        given = tuple(classes.tolist())
        return Fitted(
            requests,
            specs,
            given,
            model,
            temperatures,
            limits,
            heard,
            report,
            labelled,
            sampling_rate=_lowest(found.of_usable(found.rates)),
            speeds=tuple(speeds),
        )

    def predict_proba(self, X: Any, speakers: Any = None) -> Floats:
        """`(rows, classes)` calibrated probabilities, columns in the order of `classes_`.

        Warns with a `UserWarning` of recordings that are unlike those of training (`recognition.told`).

        Raises:
            AudioError: a recording can't be used. (`recognise` says so row by row, and of what is no speech, which is judged
                here like everything else.)
            UsageError: the speaker-adaptive mode without speakers.
        """
        return self._judged(X, speakers)

    def predict(self, X: Any, speakers: Any = None) -> NDArray[Any]:
        """`(rows,)` the most probable emotion of each recording, as `fit` was given it; errors as `predict_proba`."""
        best = self._judged(X, speakers).argmax(axis=1)
        chosen: NDArray[Any] = self.classes_[best]
        return chosen

    def score(self, X: Any, y: Any = None, sample_weight: Any = None, speakers: Any = None) -> float:
        """UAR on labelled recordings (not accuracy: emotions are seldom equally frequent).

        In the speaker-adaptive mode recordings without a label are judged together with their speaker's others; only those with
        one count.

        Raises:
            UsageError: `sample_weight`, which UAR has no place for, or no label; else as `predict_proba`.
        """
        if sample_weight is not None:
            raise UsageError("UAR weighs classes equally and takes no sample_weight.")
        table = as_table(X, y, speakers)
        truth = list(table["emotion"]) if y is None else labels_of(y)
        known = np.array(table["emotion"] != "", dtype=bool)
        if not known.any():
            raise UsageError(
                f"None of the {len(table)} recordings has a label to compare with. Give y, or fill in the column 'emotion'."
            )
        text_of = dict(zip(self.fitted_.classes, self.fitted_.labels, strict=True))  # to Python 1, 1.0 and True are one
        asked = [text_of.get(truth[row], str(truth[row])) for row in np.flatnonzero(known)]
        if unknown := sorted(set(asked) - set(self.fitted_.labels)):
            warnings.warn(
                f"{', '.join(unknown)} did not train, so recordings of it count as missed. What trained: "
                f"{', '.join(self.fitted_.labels)}.",
                stacklevel=2,
            )
        counts = known if self.mode == "inductive" else np.ones(len(table), dtype=bool)
        best = self._judged(table[counts].reset_index(drop=True)).argmax(axis=1)[known[counts]]
        return metrics.uar(asked, [self.fitted_.labels[n] for n in best])

    def _judged(self, X: Any, speakers: Any = None) -> Floats:
        """As `predict_proba`, for the methods that are called from outside: a warning names the line that called them."""
        found = self._recognised(X, speakers, judge_all=True)
        for why in found.problems:
            if why:
                raise AudioError(why)
        for warning in found.warnings:
            warnings.warn(warning, stacklevel=3)
        return found.probabilities

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


def _lowest(rates: Sequence[int]) -> int:
    """Of sampling rates in Hz, 0 where one is not known; what is above `SAMPLING_RATE` is brought to it.

    >>> _lowest([48_000, 44_100, 0]), _lowest([48_000, 8_000]), _lowest([0])
    (16000, 8000, 0)
    """
    known = [min(rate, SAMPLING_RATE) for rate in rates if rate]
    return min(known, default=0)


def _speeds(given: Any) -> tuple[float, ...]:
    """The speeds of copies, checked.

    Raises:
        UsageError: what is no list of numbers from 0.5 to 2, 1 left out.
    """
    values = [given] if isinstance(given, str) or not np.iterable(given) else flat(given)
    found = tuple(float(v) for v in values if isinstance(v, int | float) and 0.5 <= v <= 2 and v != 1)
    if len(found) < len(values) or not np.iterable(given):
        raise UsageError(
            f"speeds: expected numbers from 0.5 to 2 other than 1, e.g. {SPEEDS}, or () for no copies; got {given!r}."
        )
    return tuple(dict.fromkeys(found))


def _classes(table: pd.DataFrame, given: Sequence[Any] | None, dtype: Any) -> NDArray[Any]:
    """`(classes,)` the labels in their order, of the type in which they were given; of a table, text.

    Args:
        table: of the recordings that are learnt from.
        given: `(rows,)` their labels (`labels_of`), where they did not stand in the table.
        dtype: of what they were given in, where it has one.
    """
    if given is None:
        return np.array(sorted(set(table["emotion"]) - {""}), dtype=object)
    found = sorted({label for label in given if label is not None})
    # An array of objects that are numbers (with None among them) has no type that scikit-learn's metrics know.
    kept = isinstance(dtype, np.dtype) and (dtype.kind != "O" or isinstance(found[0], str))
    return np.array(found, dtype=dtype if kept else None)


def _notes_of_model(fitted: Fitted) -> Iterator[str]:
    if np.isinf(fitted.limits.shift):
        yield (
            f"Whether recordings come over another channel can't be noticed later: that takes {FEWEST_SPEAKERS} speakers with "
            f"{FEWEST} recordings each, labelled or not, in more than one group."
        )
    if fitted.model.text_confounding > 0:
        yield (
            "Labelled recordings of one sentence show the same emotion more often than chance would have it, so the words may "
            "be learnt in place of the voice. Test it on recordings of other sentences."
        )
    if fitted.model.speaker_confounding >= CONFOUNDED:
        yield (
            "Labelled recordings of one speaker mostly show one emotion, so what is usual for a speaker was not removed: it "
            "would erase the emotion. Every recording will be judged alone, as it is."
        )
    elif not fitted.model.modes["speaker-adaptive"].adaptive:
        why, remedy = "No recording has a speaker", "Fill in the column 'speaker'."
        if fitted.report.n_speakers:
            why, remedy = "Hardly a speaker has several recordings", "Add more recordings of each; they need no label."
        yield (
            f"{why}, so nothing was learnt relative to speakers: every recording will be judged alone, also with "
            f"--same-speaker. {remedy}"
        )


def _refuse_ratings(table: pd.DataFrame) -> None:
    """Refuse numbers that are not whole, as scikit-learn's classifiers do ("Unknown label type: continuous").

    Raises:
        UsageError: every label is a number, with a decimal point or comma, and one at least is not whole.
    """
    labels = table["emotion"][(table["emotion"] != "") & ~table["emotion"].str.casefold().isin(doubts.NO_LABEL)]
    numbers = pd.to_numeric(labels.str.replace(",", ".", regex=False), errors="coerce")
    rated = labels[numbers % 1 != 0]
    if numbers.notna().all() and len(rated):
        raise UsageError(
            f"Expected emotions, a few classes; got ratings: {len(rated)} of {len(labels)} labels are numbers that are not "
            f"whole, the first {rated.iloc[0]}. Emotions are learnt, no arousal or valence; make classes of the numbers, such "
            "as low, middle and high."
        )


def _require_classes(table: pd.DataFrame, y: Any, when: str = "") -> None:
    found = sorted(set(table["emotion"]) - {""})
    if len(found) < 2:
        have = ", ".join(found) or "none"
        hint = " Among whole numbers -1 means that there is no label." if _minus_ones(y) else ""
        if others := [] if found else [str(name) for name in table.columns if name not in (*COLUMNS, ORIGINAL, CORPUS)]:
            hint += f" Labels stand in the column 'emotion'; other columns are {shorten(others)}."
        raise TableError(
            f"Learning needs labels of at least 2 emotions; the table's{when}: {have}.{hint} Label more recordings."
        )


def _notes_of_minus_ones(y: Any) -> Iterator[str]:
    if unlabelled := _minus_ones(y):
        yield (
            f"-1 among whole numbers means that there is no label ({counted(unlabelled, 'label')}), as in scikit-learn's "
            "semi-supervised learners. If it is an emotion, give it another number or a name."
        )


def _minus_ones(y: Any) -> int:
    """How many labels are -1 and so none."""
    if y is None:
        return 0
    pairs = zip(flat(y), labels_of(y), strict=True)
    return sum(label is None and isinstance(given, int | float) and given == -1 for given, label in pairs)
