"""EmotionRecognizer: recordings and a few labels in, emotions out, with scikit-learn's conventions.

    recognizer = EmotionRecognizer().fit(table)            # columns path, speaker, emotion (empty: no label)
    recognizer.predict(["call.wav"])                       # one recording of an unknown speaker
    recognizer.set_params(mode="speaker-adaptive").predict(table)     # all recordings of each speaker together

It extracts the views at hand, learns from all recordings and from the labels there are (`semisupervised`), calibrates its
probabilities on speakers who did not train, and says what unweighted average recall to expect on new ones.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError

from emoviews import audio, calibration, metrics, splits, statistics
from emoviews.errors import AudioError, EmoViewsError, TableError, UsageError
from emoviews.extraction import MAXIMUM_SECONDS, extract, locate
from emoviews.fusion import CLIP, rows_by, time_statistics
from emoviews.labelled_map import LabelledMap, fit_map
from emoviews.progress import Progress
from emoviews.semisupervised import (
    CONFOUNDED,
    MODES,
    Mode,
    SemiSupervised,
    SemiSupervisedConfig,
    apart,
    fit_semisupervised,
)
from emoviews.store import ViewStore, to_storage
from emoviews.table import make_table
from emoviews.types import LAYERS, ViewSpec
from emoviews.views import SPEED, VIEWS, View, ViewRequest

Floats = NDArray[np.float64]
Digest = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, Floats]]
"""What is kept of a recording: its views as they are stored → arrays that have one shape for all recordings, by name."""

WITH_OPENSMILE: Final = ("egemaps", "compare_2016", "mfcc")
WITHOUT_OPENSMILE: Final = ("mfcc", "mel_spectrogram")

SPEEDS: Final = (0.9, 1.1)
"""At which copies of the recordings are played that stand for other voices; usual in speech recognition (Ko et al., 2015)."""

NO_COPIES: Final = ("compare_2016",)
"""Views that are not computed of copies, and so not used in the inductive mode where there are copies: ComParE's 6 373
functionals take as long as the other default views together and add nothing there. Nor are views with layers: speech models
take longest."""

FEWEST_LABELS: Final = 10
"""Of a test group's labelled recordings in all folds together: below, an expected UAR would mean nothing and none is given."""

MOST_FOLDS: Final = 10
"""More groups are merged into so many folds (`splits.merge_groups`)."""

OUTLIER_FACTOR: Final = 1.3
"""How many times farther out than 99 % of the recordings of any speaker who did not count a recording must lie to be
called unlike them. None of 1 305 recordings of nEMO by speakers who did not count does, at most 0.88 as
far; noise, clicks, tones, chords and a melody lie 1.08 times as far, or farther."""


TRANSDUCTIVE: Final = "transductive"
"""What the mode of a recording is called that is itself among those that trained, without its label: a table's own unlabelled
recordings. It is judged better than one that is new, so it is never counted with the others."""


def default_views() -> tuple[str, ...]:
    """The views at hand: with openSMILE its functionals and MFCC, else MFCC and the mel spectrogram."""
    return WITH_OPENSMILE if find_spec("opensmile") else WITHOUT_OPENSMILE


def as_vectors(views: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
    """Views of a recording → a vector each, `(features,)`; frames by their statistics over time."""
    return {label: _vector(array) for label, array in views.items()}


def read_vectors(
    table: pd.DataFrame, store: Path, requests: Sequence[ViewRequest], digest: Digest = as_vectors
) -> dict[str, Floats]:
    """What a store holds of every row, digested: view label → `(rows, features)`.

    Raises:
        StoreError: a recording has not been extracted.
    """
    keys = [source.key for source in locate(table, store)]
    stores = {request.label: ViewStore(store, request.make().spec) for request in requests}
    return _stacked([digest({n: np.asarray(held[key]) for n, held in stores.items()}) for key in keys])


@dataclass(frozen=True)
class ModeReport:
    """What a mode is expected to do on new speakers, from group cross-validation.

    Attributes:
        uar: with a 95 % interval that resamples speakers; NaN ends for one speaker.
        calibration_error: expected calibration error of the calibrated probabilities.
        by_speaker: speaker → its UAR and number of labelled recordings.
        by_gender: gender → likewise.
        warnings: sub-groups that differ beyond chance.
    """

    uar: statistics.Interval
    calibration_error: float
    by_speaker: Mapping[str, tuple[float, int]]
    by_gender: Mapping[str, tuple[float, int]]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class FitReport:
    """What `fit` used and found.

    Attributes:
        n_recordings: that trained, labelled or not.
        n_labels: of each class.
        n_speakers: of all recordings.
        n_labelled_speakers: with at least one label.
        folds: of the cross-validation; 0 where there was none.
        modes: mode → what to expect: `MODES` of new speakers, `TRANSDUCTIVE` of the unlabelled recordings that trained.
        split_hash: of the cross-validation's folds, empty where there were none.
        notes: what whoever reads the scores must know.
        left_out: recordings that could not be used, id → why.
    """

    n_recordings: int
    n_labels: Mapping[str, int]
    n_speakers: int
    n_labelled_speakers: int
    folds: int = 0
    modes: Mapping[str, ModeReport] = field(default_factory=dict)
    split_hash: str = ""
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fitted:
    """What a recogniser knows once it is fitted: all that a bundle keeps.

    Attributes:
        requests: the views, by label.
        specs: of each, pinned.
        labels: the classes, in the order of the probabilities' columns.
        model: the classifier.
        temperatures: mode (`TRANSDUCTIVE` too) → of its probabilities.
        outlier: mode-free: distance from the training recordings beyond which a recording is unlike them.
        heard: `short_key` of every recording that trained, labelled or not.
        report: what `fit` found.
        labelled: the labelled recordings on a plane of the inductive mode's space.
        provenance: anything else that made it (corpus, licences, split hash), JSON values.
    """

    requests: tuple[ViewRequest, ...]
    specs: Mapping[str, ViewSpec]
    labels: tuple[str, ...]
    model: SemiSupervised
    temperatures: Mapping[str, float]
    outlier: float
    heard: frozenset[int]
    report: FitReport
    labelled: LabelledMap
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def needed(self, mode: Mode) -> tuple[ViewRequest, ...]:
        """The views that judging in a mode takes. Those of the inductive one tell what is unlike the training recordings."""
        used = {n for m in ("inductive", mode) for space, _ in self.model.modes[m].members for n in space.maps}
        return tuple(request for request in self.requests if request.label in used)


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
        _require_mode(self.mode)
        table = as_table(X, y, groups)
        requests = tuple(ViewRequest.parse(text) for text in (self.views or default_views()))
        _require_classes(table)
        copied = tuple(copy for speed in self.speeds for copy in copies_of(requests, speed))
        found = self._extracted(table, [*requests, *copied])
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
            run=self.evaluate,
            allow_overlap=self.allow_speaker_overlap,
        )
        report = replace(report, left_out=dict(left_out), notes=(*_notes(model), *report.notes))
        specs = {label: view.spec for label, view in made_views(requests).items()}
        space, classifier = model.modes["inductive"].members[0]
        limit = outlier_limit({n: vectors[n] for n in space.maps}, list(table["group"]), at_speeds)
        known = targets >= 0
        own = space.vectors({label: values[known] for label, values in vectors.items()})
        labelled = fit_map(own, targets[known], classifier)
        heard = frozenset(short_key(key) for key in found.keys if key)
        self.fitted_ = Fitted(requests, specs, labels, model, temperatures, limit, heard, report, labelled)
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

    def recognise(self, X: Any, speakers: Any = None, *, graph: Digest | None = None, **options: Any) -> Recognised:
        """Probabilities of every recording, or why there are none.

        Args:
            X: table or paths.
            speakers: `(rows,)`.
            graph: what judges each recording in place of the model: `inference.Graph.judge`.
            options: those of `extracted`.

        Raises:
            UsageError: the speaker-adaptive mode without speakers, or with a graph.
        """
        if graph is None:
            return self._recognised(X, speakers, judge_all=False, **options)
        if self.mode != "inductive":
            raise UsageError(f"An exported graph judges each recording alone; got the mode {self.mode}. Use inductive.")
        table = as_table(X, None, speakers)
        needed = self.fitted_.needed("inductive")
        return judged(self.fitted_, table, self._extracted(table, needed, digest=graph, **options))

    def _recognised(self, X: Any, speakers: Any, *, judge_all: bool, **options: Any) -> Recognised:
        if not hasattr(self, "fitted_"):
            raise NotFittedError("This EmotionRecognizer is not fitted yet. Call fit first, or load a bundle.")
        _require_mode(self.mode)
        table = as_table(X, None, speakers)
        if self.mode == "speaker-adaptive" and (missing := int((table["speaker"] == "").sum())):
            raise UsageError(
                f"The speaker-adaptive mode needs to know who speaks; {missing} of {len(table)} recordings have no speaker. "
                "Fill in the column 'speaker', say that all are of one speaker (--same-speaker), or use the inductive mode."
            )
        found = self._extracted(table, self.fitted_.needed(self.mode), **options)
        return recognised(self.fitted_, table, found, self.mode, judge_all=judge_all)

    def _extracted(self, table: pd.DataFrame, requests: Sequence[ViewRequest], **options: Any) -> Extracted:
        if self.store is None and len(table) <= DIRECTLY:
            return computed(table, made_views(requests), **options)
        with tempfile.TemporaryDirectory() as folder:
            return extracted(table, requests, Path(self.store or folder), workers=self.workers, **options)


DIRECTLY: Final = 16
"""So few recordings are computed in this process, without a store."""


@dataclass(frozen=True)
class Recognised:
    """What became of each recording.

    Attributes:
        labels: the classes.
        probabilities: `(rows, classes)`; NaN where there is a problem.
        problems: `(rows,)` empty, or why no emotion is given (silence, no voice, no audio, …).
        modes: `(rows,)` in which each was judged: the one asked for, or `TRANSDUCTIVE` if the recording is one that trained.
        embedded: `(rows, dim)` in the space of all views, where alike recordings are near each other; NaN where there is a
            problem.
    """

    labels: tuple[str, ...]
    probabilities: Floats
    problems: tuple[str, ...]
    modes: tuple[str, ...]
    embedded: Floats

    def frame(self, table: pd.DataFrame) -> pd.DataFrame:
        """The columns of `emoviews predict`, a row a recording; those that every user relies on come first."""
        good = np.array([not problem for problem in self.problems], dtype=bool)
        best = np.where(good, np.nan_to_num(self.probabilities).argmax(axis=1), 0)
        names = np.array(self.labels, dtype=object)[best]
        columns = {
            **{name: table[name] for name in ("id", "path", "start_seconds", "end_seconds")},
            "emotion": np.where(good, names, ""),
            "confidence": np.where(good, np.nan_to_num(self.probabilities).max(axis=1), np.nan),
            **{f"p_{label}": self.probabilities[:, number] for number, label in enumerate(self.labels)},
            "channel": table["channel"],
            "speaker": table["speaker"],
            "mode": list(self.modes),
            "problem": list(self.problems),
        }
        return pd.DataFrame(columns, index=table.index)


def as_table(X: Any, y: Any = None, speakers: Any = None) -> pd.DataFrame:
    """What `fit` and `predict` were given, as an utterance table.

    Raises:
        UsageError: neither a table nor paths, or another number of labels or speakers.
    """
    if isinstance(X, pd.DataFrame):
        table = make_table(X.reset_index(drop=True))
    else:
        values = [X] if isinstance(X, str | Path) else list(np.asarray(X, dtype=object).ravel().tolist())
        if not all(isinstance(value, str | Path) for value in values):
            raise UsageError(
                f"Expected an utterance table or paths of recordings, got values of type {type(values[0]).__name__}."
            )
        if not values:
            raise UsageError("Expected at least one recording, got none.")
        numbers = range(len(values))
        table = make_table([{"id": f"{n} {path}", "path": str(path)} for n, path in zip(numbers, values, strict=True)])
    for name, given in (("emotion", y), ("speaker", speakers)):
        if given is None:
            continue
        values = ["" if v is None or v != v else str(v) for v in np.asarray(given, dtype=object).ravel().tolist()]
        if len(values) != len(table):
            raise UsageError(f"Expected one {name} a recording: {len(table)} recordings, {len(values)} {name}s.")
        table[name] = pd.Series(values, dtype=object)
    return table


@dataclass(frozen=True)
class Extracted:
    """What could be computed of recordings.

    Attributes:
        vectors: view label → `(usable rows, features)`.
        problems: `(rows,)` why a row can't be used, empty where it can.
        keys: `(rows,)` hash of the decoded samples, empty where they can't be used.
    """

    vectors: dict[str, Floats]
    problems: list[str]
    keys: list[str]


def short_key(key: str) -> int:
    """64 bits of the hash of a recording: enough to know it again.

    >>> short_key("00000000000000ff" + "0" * 16)
    255
    """
    return int(key[:16], 16)


def extracted(
    table: pd.DataFrame,
    requests: Sequence[ViewRequest],
    store: Path,
    *,
    workers: int | None = None,
    warn: Callable[[str], None] = lambda message: None,
    digest: Digest = as_vectors,
) -> Extracted:
    """Every row that can be used, by way of a store."""
    report = extract(table, store, requests, workers=workers, warn=warn)
    failed = {failure.id: failure.error for failure in report.failures}
    problems = [failed.get(name, "") for name in table["id"]]
    usable = table[[not problem for problem in problems]]
    keys = iter([source.key for source in locate(usable, store)])
    vectors = read_vectors(usable, store, requests, digest)
    return Extracted(vectors, problems, ["" if problem else next(keys) for problem in problems])


def computed(table: pd.DataFrame, views: Mapping[str, View], *, digest: Digest = as_vectors, **_: Any) -> Extracted:
    """As `extracted`, in this process and without a store; the views of a recording on a thread each."""
    rows: list[Mapping[str, Floats]] = []
    problems, keys = [], []
    specs = {label: view.spec for label, view in views.items()}
    with (
        Progress(len(table) if len(table) > 1 else 0, "recognise", "recordings") as progress,
        concurrent.futures.ThreadPoolExecutor(max(1, len(views))) as threads,
    ):
        columns = ["path", "start_seconds", "end_seconds", "channel"]
        for path, start, end, channel in table[columns].itertuples(index=False, name=None):
            try:
                _refuse_sessions(path, start, end)
                decoded = audio.decode(path, start, end, channel)
                samples = audio.prepare(decoded.samples, decoded.sampling_rate)
                audio.check_usable(samples, path)
                started = {label: threads.submit(view, samples) for label, view in views.items()}
                rows.append(digest({n: to_storage(f.result(), specs[n]) for n, f in started.items()}))
                problems.append("")
                keys.append(audio.content_hash(decoded.samples, decoded.sampling_rate))
            except EmoViewsError as error:
                message = str(error)
                problems.append(message if str(path) in message else f"{path}: {message}")
                keys.append("")
            progress.advance()
    return Extracted(_stacked(rows), problems, keys)


def recognised(
    fitted: Fitted,
    table: pd.DataFrame,
    found: Extracted,
    mode: Mode,
    *,
    judge_all: bool = False,
) -> Recognised:
    """Judge what could be extracted; say of what is no voice, or unlike anything heard in training, that it is so.

    With `judge_all` such recordings get probabilities as well.
    """
    vectors, problems = found.vectors, list(found.problems)
    modes = modes_of(fitted, found, mode)
    usable = np.flatnonzero([not problem for problem in problems])
    space = fitted.model.modes[mode].members[0][0]
    probabilities = np.full((len(table), len(fitted.labels)), np.nan)
    embedded = np.full((len(table), space.dimensions), np.nan)
    if len(usable):
        for row, why in zip(usable, [] if judge_all else strange(fitted, vectors), strict=not judge_all):
            problems[row] = f"{table['path'].iloc[row]}: {why}" if why else ""
        voice = np.array([not problems[row] for row in usable], dtype=bool)
        if voice.any():
            rows = usable[voice]
            spoken = {label: values[voice] for label, values in vectors.items()}
            speakers = list(table["speaker"].iloc[rows])
            given = fitted.model.probabilities(spoken, mode, speakers)
            # What the transductive mode's was fitted on were judgements relative to the speaker.
            named = [modes[row] if mode == "speaker-adaptive" else mode for row in rows]
            temperatures = np.array([fitted.temperatures[name] for name in named])
            probabilities[rows] = calibration.scaled(given, temperatures[:, None])
            embedded[rows] = space.vectors(spoken, apart(speakers))
    return Recognised(fitted.labels, probabilities, tuple(problems), modes, embedded)


def judged(fitted: Fitted, table: pd.DataFrame, found: Extracted) -> Recognised:
    """As `recognised` in the inductive mode, of what an exported graph gave for every row that could be extracted.

    Args:
        fitted: what the graph was made from.
        table: the recordings.
        found: `probabilities` `(usable rows, classes)` and `distance` `(usable rows,)` in place of vectors.
    """
    problems = list(found.problems)
    usable = np.flatnonzero([not problem for problem in problems])
    probabilities = np.full((len(table), len(fitted.labels)), np.nan)
    if len(usable):
        outputs = found.vectors
        for row, why, given in zip(usable, reasons(outputs["distance"]), outputs["probabilities"], strict=True):
            problems[row] = f"{table['path'].iloc[row]}: {why}" if why else ""
            probabilities[row] = np.nan if why else given
    nowhere = np.full((len(table), 0), np.nan)
    return Recognised(fitted.labels, probabilities, tuple(problems), modes_of(fitted, found, "inductive"), nowhere)


def modes_of(fitted: Fitted, found: Extracted, mode: Mode) -> tuple[str, ...]:
    """`(rows,)` the mode in which each counts: a recording that trained is transductive."""
    return tuple(TRANSDUCTIVE if key and short_key(key) in fitted.heard else mode for key in found.keys)


def strange(fitted: Fitted, vectors: Mapping[str, Floats]) -> list[str]:
    """For each row why it is taken for no speech, empty where it may be speech.

    Without a voiced segment (eGeMAPS) nobody speaks; and what lies far outside the training recordings (music, noise, tones)
    is nothing the recogniser knows.
    """
    far = _distances(_spreads(fitted.model), vectors) / fitted.outlier
    place = voiced_feature(fitted.specs)
    if place and place[0] in vectors:
        label, feature = place
        far[vectors[label][:, feature] <= 0] = np.inf
    return reasons(far)


def voiced_feature(specs: Mapping[str, ViewSpec]) -> tuple[str, int] | None:
    """The view, by its label, and the feature of it that counts voiced segments, where there is one."""
    for label, spec in specs.items():
        if spec.name == "egemaps" and "VoicedSegmentsPerSec" in spec.feature_names:
            return label, spec.feature_names.index("VoicedSegmentsPerSec")
    return None


def reasons(far: Floats) -> list[str]:
    """For each row why it is taken for no speech, empty where it may be.

    Args:
        far: `(rows,)` distance from the training recordings over the farthest that is taken for speech; infinite where nobody
            speaks.
    """
    found = ["" for _ in far]
    for row in np.flatnonzero(far > 1).tolist():
        found[row] = (
            "nobody speaks in it (no voiced segment), so no emotion is given."
            if np.isinf(far[row])
            else f"no speech like that of the training recordings ({far[row]:.1f} times too far from them: music, noise, or "
            "another kind of recording?), so no emotion is given."
        )
    return found


def evaluated(
    table: pd.DataFrame,
    vectors: Mapping[str, Floats],
    labels: tuple[str, ...],
    targets: NDArray[np.int64],
    config: SemiSupervisedConfig,
    copies: Sequence[Mapping[str, Floats]] = (),
    *,
    run: bool,
    allow_overlap: bool,
) -> tuple[FitReport, dict[str, float]]:
    """Leave each group out, fit on the others, judge it in both modes; the expected UAR, and temperatures for calibration.

    For the transductive mode the group's recordings train as well, without their labels, and are judged in the
    speaker-adaptive mode, as `predict` judges them where the table names speakers.

    Nothing is chosen by these scores: every choice (what to remove, what the unlabelled recordings are) is made again inside
    each fold from its training part. The calibration error of a fold is that of the temperature which the other folds give.
    """
    speakers, groups = list(table["speaker"]), list(table["group"])
    known = np.flatnonzero(targets >= 0)
    counts = {label: int((targets == number).sum()) for number, label in enumerate(labels)}
    labelled_speakers = {speakers[row] for row in known} - {""}
    report = FitReport(len(table), counts, len(set(speakers) - {""}), len(labelled_speakers))
    even: dict[str, float] = dict.fromkeys((*MODES, TRANSDUCTIVE), 1.0)
    if not run:
        return replace(report, notes=("Not evaluated: what to expect on new speakers is not known.",)), even
    notes: list[str] = []
    if any(not group for group in groups):
        if not allow_overlap:
            note = (
                "Recordings without a speaker: folds by recording would test on voices that trained, so what to expect on new "
                "speakers is not known. Fill in the column 'speaker', or allow it (--allow-speaker-overlap)."
            )
            return replace(report, notes=(note,)), even
        groups = [f"part {number % 5}" for number in range(len(groups))]
        notes.append(
            "SPEAKER OVERLAP: tested on recordings whose speakers may have trained. The scores are too good for new speakers."
        )
    testable = {groups[row] for row in known}
    if len(testable) < 2:
        notes.append(
            f"Labels from {len(testable)} speaker: what to expect on new speakers can't be known. Label recordings of others."
        )
        return replace(report, notes=tuple(notes)), even
    if len(set(groups)) > MOST_FOLDS:
        groups = splits.merge_groups(groups, MOST_FOLDS)
    known_speakers = all(speakers)
    wanted: tuple[str, ...] = (*MODES, TRANSDUCTIVE) if known_speakers else ("inductive",)
    probabilities = {mode: np.full((len(table), len(labels)), np.nan) for mode in wanted}
    folds: list[splits.Fold] = []
    ordered = splits.leave_one_group_out(groups, validation="none")

    def fitted(rows: NDArray[np.int64], hidden: NDArray[np.int64]) -> SemiSupervised:
        """A classifier that learns from these rows, and sees no label of the hidden ones."""
        seen = np.where(np.isin(rows, hidden), -1, targets[rows])
        own = {label: values[rows] for label, values in vectors.items()}
        said = list(table["text"].iloc[rows])
        others = [{label: values[rows] for label, values in copy.items()} for copy in copies]
        return fit_semisupervised(own, seen, len(labels), [speakers[row] for row in rows], said, config, others)

    with Progress(len(ordered), "cross-validate", "folds") as progress:
        for fold in ordered:
            inner = targets[fold.train]
            if len(set(inner[inner >= 0])) >= 2 and (targets[fold.test] >= 0).any():
                test = {label: values[fold.test] for label, values in vectors.items()}
                own = [speakers[row] for row in fold.test]
                model = fitted(fold.train, fold.test)
                for judged_in in MODES if known_speakers else MODES[:1]:
                    probabilities[judged_in][fold.test] = model.probabilities(test, judged_in, own)
                if known_speakers:
                    model = fitted(np.arange(len(table)), fold.test)
                    probabilities[TRANSDUCTIVE][fold.test] = model.probabilities(test, "speaker-adaptive", own)
                folds.append(fold)
            progress.advance()
    judged = known[~np.isnan(probabilities["inductive"][known, 0])]
    if skipped := len(ordered) - len(folds):
        notes.append(f"{skipped} of {len(ordered)} folds have no label to test, or labels of one class to learn from.")
    if len(judged) < FEWEST_LABELS:
        notes.append(
            f"{len(judged)} labelled recordings could be tested; at least {FEWEST_LABELS} are needed to say what to expect."
        )
        return replace(report, notes=tuple(notes), folds=len(folds)), even
    if len(judged) < 100:
        notes.append(f"Only {len(judged)} labelled recordings test it; the interval is as wide as it says.")
    modes: dict[str, ModeReport] = {}
    temperatures = dict(even)
    truth = [labels[targets[row]] for row in judged]
    for mode in wanted:
        given = probabilities[mode][judged]
        fold_of = [groups[row] for row in judged]
        temperatures[mode] = calibration.fit_temperature(truth, given, labels)
        crossed = np.empty_like(given)
        for rows in rows_by(fold_of):
            others = np.setdiff1d(np.arange(len(judged)), rows)
            temperature = calibration.fit_temperature([truth[row] for row in others], given[others], labels)
            crossed[rows] = calibration.scaled(given[rows], temperature)
        modes[mode] = _mode_report(table.iloc[judged], truth, crossed, labels)
    hashes = "".join(splits.split_hash(fold, list(table["id"])) for fold in folds)
    whole = hashlib.sha256(hashes.encode()).hexdigest()[:12]
    return replace(report, modes=modes, split_hash=whole, notes=tuple(notes), folds=len(folds)), temperatures


def _mode_report(
    tested: pd.DataFrame, truth: Sequence[str], probabilities: Floats, labels: tuple[str, ...]
) -> ModeReport:
    guess = [labels[best] for best in probabilities.argmax(axis=1)]
    names = [speaker or name for speaker, name in zip(tested["speaker"], tested["id"], strict=True)]
    interval = statistics.uar_interval(truth, guess, names)
    error = metrics.expected_calibration_error(truth, probabilities, labels)

    def scores(column: Sequence[str]) -> dict[str, tuple[float, int]]:
        found = {}
        for rows in rows_by(column):
            if name := column[rows[0]]:
                found[name] = (metrics.uar([truth[r] for r in rows], [guess[r] for r in rows]), len(rows))
        return dict(sorted(found.items()))

    by_speaker, by_gender = scores(list(tested["speaker"])), scores(list(tested["gender"]))
    right = np.array([t == g for t, g in zip(truth, guess, strict=True)])
    warnings = []
    for what, column, clusters in (("speaker", "speaker", None), ("gender", "gender", list(tested["speaker"]))):
        p = _differ_by_chance(right, truth, list(tested[column]), clusters)
        if p < 0.05:
            scored = by_speaker if what == "speaker" else by_gender
            worst, best = min(scored, key=lambda n: scored[n][0]), max(scored, key=lambda n: scored[n][0])
            warnings.append(
                f"UAR differs by {what} beyond chance (p = {p:.3f}): {100 * scored[worst][0]:.0f} % for {worst}, "
                f"{100 * scored[best][0]:.0f} % for {best}."
            )
    return ModeReport(interval, error, by_speaker, by_gender, tuple(warnings))


def _differ_by_chance(
    right: NDArray[np.bool_], truth: Sequence[str], column: Sequence[str], clusters: Sequence[str] | None
) -> float:
    """How often shuffled names give sub-groups that differ as much: a permutation test of the variance of their UARs.

    Of speakers, the names are shuffled among recordings of one emotion; of genders, among speakers (`clusters`), since the
    recordings of one are not independent. 1 where there are not two sub-groups.
    """
    names = np.array(column, dtype=object)
    if len(set(names) - {""}) < 2:
        return 1.0
    values, true = sorted(set(names) - {""}), np.array(truth, dtype=object)

    def spread(of: NDArray[Any]) -> float:
        scores = []
        for value in values:
            own = [right[(of == value) & (true == label)].mean() for label in set(true[of == value])]
            scores.append(float(np.mean(own)) if own else np.nan)
        return float(np.nanvar(scores))

    random, observed, hits, rounds = np.random.default_rng(0), spread(names) - 1e-12, 0, 400
    whose = np.array(clusters, dtype=object) if clusters is not None else None
    for _ in range(rounds):
        if whose is None:
            shuffled = names.copy()
            for label in set(true):
                rows = np.flatnonzero(true == label)
                shuffled[rows] = names[random.permutation(rows)]
        else:
            people = sorted(set(whose))
            of = {person: names[whose == person][0] for person in people}
            moved = dict(zip(people, random.permutation([of[p] for p in people]), strict=True))
            shuffled = np.array([moved[person] for person in whose], dtype=object)
        hits += spread(shuffled) >= observed
    return (1 + hits) / (1 + rounds)


def _notes(model: SemiSupervised) -> tuple[str, ...]:
    notes = []
    if model.speaker_confounding >= CONFOUNDED:
        notes.append(
            "Labelled recordings of one speaker mostly show one emotion, so what is usual for a speaker was not removed: it "
            "would erase the emotion. Both modes judge recordings as they are."
        )
    return tuple(notes)


def outlier_limit(
    vectors: Mapping[str, Floats], groups: Sequence[str], copies: Sequence[Mapping[str, Floats]] = ()
) -> float:
    """The distance beyond which a recording is unlike the training recordings.

    Each group's recordings are measured against the others', so that a new voice is not taken for noise; without two groups the
    training recordings are measured against themselves, which is too near, and the factor is squared.

    Args:
        vectors: view → `(rows, features)` of the training recordings.
        groups: `(rows,)`, empty where unknown.
        copies: of the same recordings, that train as well.
    """

    def spreads_of(kept: NDArray[np.int64]) -> dict[str, tuple[Floats, Floats]]:
        heard = {n: np.vstack([v[kept], *(copy[n][kept] for copy in copies)]) for n, v in vectors.items()}
        return {n: (v.mean(axis=0), _deviation(v)) for n, v in heard.items()}

    every = np.arange(len(groups))
    known = all(groups)
    merged = splits.merge_groups(groups, MOST_FOLDS) if known and len(set(groups)) > MOST_FOLDS else groups
    parts = rows_by(merged)
    if len(parts) < 2 or not known:
        return OUTLIER_FACTOR**2 * float(np.quantile(_distances(spreads_of(every), vectors), 0.99))
    farthest = 0.0
    for rows in parts:
        own = _distances(spreads_of(np.delete(every, rows)), {n: v[rows] for n, v in vectors.items()})
        farthest = max(farthest, float(np.quantile(own, 0.99)))
    return OUTLIER_FACTOR * farthest


def _deviation(values: Floats) -> Floats:
    deviation: Floats = values.std(axis=0)
    return np.where(deviation > 1e-7 * (1 + np.abs(values.mean(axis=0))), deviation, 1.0)


def _spreads(model: SemiSupervised) -> dict[str, tuple[Floats, Floats]]:
    """View → mean and deviation of the training recordings."""
    return {name: (view.mean, view.deviation) for name, view in model.modes["inductive"].members[0][0].maps.items()}


def _distances(spreads: Mapping[str, tuple[Floats, Floats]], vectors: Mapping[str, Floats]) -> Floats:
    """`(rows,)` root mean square z-score over all views, each view counting as one.

    Clipped, since a feature that hardly varies in training would decide alone.
    """
    each = [np.mean(np.clip((vectors[n] - m) / d, -CLIP, CLIP) ** 2, axis=1) for n, (m, d) in spreads.items()]
    distances: Floats = np.sqrt(np.mean(each, axis=0))
    return distances


def _vector(array: NDArray[Any]) -> Floats:
    """One vector of an utterance: functionals as they are."""
    values = array.astype(np.float64)
    if values.ndim == 3:  # layers: their mean, as the encoder of speech models starts
        values = values.mean(axis=0)
    return time_statistics(values) if values.ndim == 2 else values


def _stacked(rows: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    return {name: np.stack([row[name] for row in rows]) for name in (rows[0] if rows else {})}


def may_be_copied(request: ViewRequest) -> bool:
    """Whether a view is computed of copies at other speeds."""
    return (
        request.name not in NO_COPIES
        and LAYERS not in VIEWS.load(request.name).axes
        and SPEED not in request.parameters
    )


def copies_of(requests: Sequence[ViewRequest], speed: float) -> list[ViewRequest]:
    """The views that are computed of copies, of copies at this speed."""
    chosen = [request for request in requests if may_be_copied(request)]
    return [replace(r, parameters={**r.parameters, SPEED: speed}, label=f"{r.label} at {speed:g}") for r in chosen]


_constructed: dict[str, View] = {}


def made_views(requests: Sequence[ViewRequest]) -> dict[str, View]:
    """The views by label, constructed once a process: openSMILE takes a while to read its configuration."""
    for request in requests:
        if str(request) not in _constructed:
            _constructed[str(request)] = request.make()
    return {request.label: _constructed[str(request)] for request in requests}


def _refuse_sessions(path: str, start: float, end: float) -> None:
    first = 0.0 if np.isnan(start) else start
    last = audio.probe(path).duration_seconds if np.isnan(end) else end
    if last - first > MAXIMUM_SECONDS:
        raise AudioError(
            f"{path} lasts {last - first:.0f} s; one emotion for more than {MAXIMUM_SECONDS:.0f} s means nothing. Slide "
            "windows over it: --window-seconds 4 --hop-seconds 1"
        )


def _require_classes(table: pd.DataFrame, when: str = "") -> None:
    found = sorted(set(table["emotion"]) - {""})
    if len(found) < 2:
        have = ", ".join(found) or "none"
        raise TableError(
            f"Learning needs labels of at least 2 emotions; the table's{when}: {have}. Label more recordings."
        )


def _require_mode(mode: str) -> None:
    if mode not in get_args(Mode):
        raise UsageError(f"There is no mode {mode!r}; expected {' or '.join(MODES)}.")
