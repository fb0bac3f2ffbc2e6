"""Recordings → what a fitted recogniser says of them, or why not. Without scikit-learn: a first answer need not import it.

    views of every recording → vectors → probabilities in one of the modes → `Recognised`, a row a recording

What lies far outside the training recordings, or has no voiced segment, is no speech the recogniser knows, and gets a reason in
place of an emotion.
"""

from __future__ import annotations

import concurrent.futures
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoviews import audio, calibration, novelty, statistics
from emoviews.errors import EmoViewsError, UsageError
from emoviews.extraction import extract, locate, refuse_sessions
from emoviews.fusion import apart, time_statistics
from emoviews.labelled_map import LabelledMap
from emoviews.processes import worker_count
from emoviews.progress import Progress, counted
from emoviews.semisupervised import (
    MODES,
    Mode,
    SemiSupervised,
)
from emoviews.store import ViewStore, to_storage
from emoviews.table import make_table
from emoviews.types import LAYERS, ViewSpec
from emoviews.views import SPEED, VIEWS, View, ViewRequest

Floats = NDArray[np.float64]
T = TypeVar("T")

Digest = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, Floats]]
"""What is kept of a recording: its views as they are stored → arrays that have one shape for all recordings, by name."""

TRANSDUCTIVE: Final = "transductive"
"""What the mode of a recording is called that is itself among those that trained, without its label: a table's own unlabelled
recordings. It is judged better than one that is new, so it is never counted with the others."""

TRANSDUCTIVE_ALONE: Final = "transductive, alone"
"""Likewise, of one that is judged alone, which is a good deal less sure than together with its speaker's others."""

LONG_SECONDS: Final = 20.0
"""A recording that lasts longer is hardly one utterance, and may well hold several emotions."""

SPEEDS: Final = (0.9, 1.1)
"""At which copies of the recordings are played that stand for other voices; usual in speech recognition (Ko et al., 2015)."""

OVERLAP: Final = "SPEAKER OVERLAP"
"""Begins the note that tests were on speakers who may have trained."""

NO_COPIES: Final = ("compare_2016",)
"""Views that are not computed of copies: ComParE's 6 373 functionals take as long as the other default views together. Nor are
views with layers: speech models take longest."""

DIRECTLY: Final = 16
"""So few recordings are computed in this process, without a store."""

TOO_FAR: Final = 1.0
"""Times `Fitted.limits` from which a recording is taken for no speech, and recordings as a whole for another channel's."""

UNLIKE: Final = "as a whole, these recordings are unlike those learnt from: another channel?"
"""In the column `warning`, of recordings that are shifted (`shifts`) by more than `TOO_FAR`."""

NARROW: Final = "fewer samples a second than those learnt from: high frequencies are missing"
"""Likewise, of a recording of another band, as a telephone's; of which a single one can be known."""


Hidden = Literal["labels_kept", "no_label", "nameless"]
"""Of recordings whose labels are hidden: their speakers keep other labels; keep none; or are hidden as well."""


@dataclass(frozen=True)
class ModeReport:
    """What a mode is expected to do on new speakers, from group cross-validation.

    Attributes:
        uar: with a 95 % interval that resamples speakers (files where they are unknown); NaN ends for one.
        calibration_error: expected calibration error of the calibrated probabilities. Of few recordings it is above 0 by chance
            alone (`error_by_chance`).
        by_speaker: speaker → its UAR and number of labelled recordings.
        by_gender: gender → likewise.
        warnings: sub-groups that differ beyond chance.
        resampled: what the interval resamples, in words.
        folds: of the cross-validation.
        hidden: of a mode of what trained, what is not known of those that are tested, as it is not of most recordings without a
            label.
        error_by_chance: the calibration error that so many recordings show if every probability is right; NaN where unknown.
    """

    uar: statistics.Interval
    calibration_error: float
    by_speaker: Mapping[str, tuple[float, int]]
    by_gender: Mapping[str, tuple[float, int]]
    warnings: tuple[str, ...] = ()
    resampled: str = "speakers"
    folds: int = 0
    hidden: Hidden = "no_label"
    error_by_chance: float = np.nan

    @property
    def new_speaker(self) -> statistics.Interval:
        """The UAR of one new speaker, in 19 of 20 cases, if speakers are like those tested; NaN ends for fewer than two."""
        if len(self.by_speaker) < 2:
            return statistics.Interval(self.uar.estimate, np.nan, np.nan, self.uar.level)
        found = statistics.prediction_interval([score for score, _ in self.by_speaker.values()], self.uar.level)
        return replace(found, low=max(0.0, found.low), high=min(1.0, found.high))


@dataclass(frozen=True)
class FitReport:
    """What `fit` used and found.

    Attributes:
        n_recordings: that trained, labelled or not.
        n_labels: of each class.
        n_speakers: of all recordings.
        n_labelled_speakers: with at least one label.
        folds: of the cross-validation over groups; 0 where there was none.
        modes: mode → what to expect: `MODES` of new speakers (inductive alone, where nothing is known relative to them),
            `TRANSDUCTIVE` or `TRANSDUCTIVE_ALONE` of the unlabelled recordings that trained, as `predict` judges the table.
        by_files: k → UAR to expect of new speakers in the speaker-adaptive mode with k recordings of each, the one that is
            judged included; for numbers that most speakers have more of.
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
    by_files: Mapping[int, statistics.Interval] = field(default_factory=dict)
    split_hash: str = ""
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def overlap(self) -> bool:
        """Whether speakers who trained were tested: one of the notes begins with `OVERLAP`."""
        return any(note.startswith(OVERLAP) for note in self.notes)

    @property
    def strangers(self) -> str:
        """On whom it was tested, in words."""
        if self.overlap:
            return "recordings whose speakers may have trained"
        grouped = any("groups" in found.resampled for found in self.modes.values())
        return "recordings of other groups" if grouped else "new speakers"


@dataclass(frozen=True)
class Fitted:
    """What a recogniser knows once it is fitted: all that a bundle keeps.

    Attributes:
        requests: the views, by label.
        specs: of each, pinned.
        classes: as they were given to `fit` (text, integers, floats or booleans), in the order of the probabilities' columns.
        model: the classifier.
        temperatures: mode, of `MODES` and of what trained → of its probabilities.
        speeds: of the copies that it learnt from as well.
        limits: mode-free: what is still like the training recordings.
        sampling_rate: the lowest of a recording that trained, in Hz, and at most what all are brought to (`SAMPLING_RATE`);
            0 where it is not known.
        heard: `short_key` of every recording that trained, labelled or not.
        report: what `fit` found.
        labelled: the labelled recordings on a plane of the inductive mode's space.
        provenance: anything else that made it (corpus, licences, split hash), JSON values.
    """

    requests: tuple[ViewRequest, ...]
    specs: Mapping[str, ViewSpec]
    classes: tuple[str | float, ...]
    model: SemiSupervised
    temperatures: Mapping[str, float]
    limits: novelty.Limits
    heard: frozenset[int]
    report: FitReport
    labelled: LabelledMap
    provenance: Mapping[str, Any] = field(default_factory=dict)
    sampling_rate: int = 0
    speeds: tuple[float, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes as text."""
        return tuple(map(str, self.classes))

    def needed(self, mode: Mode) -> tuple[ViewRequest, ...]:
        """The views that judging in a mode takes. Those of the inductive one tell what is unlike the training recordings."""
        used = {name for judging in ("inductive", mode) for name in self.model.modes[judging].maps}
        return tuple(request for request in self.requests if request.label in used)


@dataclass(frozen=True)
class Recognised:
    """What became of each recording.

    Attributes:
        labels: the classes.
        probabilities: `(rows, classes)`; NaN where there is a problem.
        problems: `(rows,)` empty, or why no emotion is given (silence, no voice, no audio, …).
        modes: `(rows,)` in which each was judged: the one asked for (inductive where the recogniser knows nothing relative to
            a speaker), or, if the recording is one that trained, `TRANSDUCTIVE` or `TRANSDUCTIVE_ALONE`.
        embedded: `(rows, dim)` what the mode's classifiers see of each (`ModeModel.vectors`): alike recordings are near each
            other; NaN where there is a problem.
        unlike: `(rows,)` what makes each unlike those that trained, `UNLIKE` or `NARROW`; empty where nothing is known to.
        warnings: what whoever reads the emotions must know of them all (`shifted`, `narrowed`).
    """

    labels: tuple[str, ...]
    probabilities: Floats
    problems: tuple[str, ...]
    modes: tuple[str, ...]
    embedded: Floats
    unlike: tuple[str, ...]
    warnings: tuple[str, ...]

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
            "warning": list(self.unlike),
        }
        return pd.DataFrame(columns, index=table.index)


@dataclass(frozen=True)
class Extracted:
    """What could be computed of recordings.

    Attributes:
        vectors: view label → `(usable rows, features)`.
        problems: `(rows,)` why a row can't be used, empty where it can.
        keys: `(rows,)` hash of the decoded samples, empty where they can't be used.
        rates: `(rows,)` the file's sampling rate in Hz; 0 where it is not known.
    """

    vectors: dict[str, Floats]
    problems: list[str]
    keys: list[str]
    rates: list[int]

    def of_usable(self, values: Sequence[T]) -> list[T]:
        """`(usable rows,)` of `(rows,)`."""
        return [value for value, problem in zip(values, self.problems, strict=True) if not problem]


def as_table(X: Any, y: Any = None, speakers: Any = None) -> pd.DataFrame:
    """What `fit` and `predict` were given, as an utterance table.

    Raises:
        UsageError: neither a table nor paths, another number of labels or speakers, or labels as `labels_of` refuses them.
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
    named = None if speakers is None else ["" if _missing(v) else str(v) for v in flat(speakers)]
    said = None if y is None else ["" if v is None else str(v) for v in labels_of(y)]
    for name, texts in (("emotion", said), ("speaker", named)):
        if texts is None:
            continue
        if len(texts) != len(table):
            raise UsageError(
                f"Expected one {name} a recording: {counted(len(table), 'recording')}, {counted(len(texts), name)}."
            )
        table[name] = pd.Series(texts, dtype=object)
        if name == "speaker":  # the folds of `evaluated` leave speakers out, those that were given
            table["group"] = table["speaker"]
    return table


def labels_of(y: Any) -> list[Any]:
    """`(rows,)` labels as plain Python values of one type, None where there is none.

    No label is None, NaN, pandas' NA, blank text, and -1 among whole numbers, as in scikit-learn's semi-supervised learners
    (among floats too, which pandas makes of integers with gaps).

    Raises:
        UsageError: labels of several types, or of another type than text, integers, floats or booleans.

    >>> labels_of(["joy", None, " "]), labels_of([2, -1, 0]), labels_of([1.0, -1.0, float("nan")])
    (['joy', None, None], [2, None, 0], [1.0, None, None])
    """
    values = [None if _missing(v) or (isinstance(v, str) and not v.strip()) else v for v in flat(y)]
    # bool before int, which it is one of
    kinds = {next((k.__name__ for k in (str, bool, int, float) if isinstance(v, k)), type(v).__name__) for v in values}
    kinds -= {"NoneType"}
    if len(kinds) > 1 or not kinds <= {"str", "bool", "int", "float"}:
        raise UsageError(
            f"Expected labels of one type: text, integers, floats or booleans; got {' and '.join(sorted(kinds))}. Convert "
            "them, e.g. by: [str(label) for label in y]"
        )
    whole = kinds == {"int"} or (kinds == {"float"} and all(v is None or v.is_integer() for v in values))
    return [None if whole and v == -1 else v for v in values]


def flat(given: Any) -> list[Any]:
    """Any sequence, array or series as plain Python values."""
    return [v.item() if isinstance(v, np.generic) else v for v in np.asarray(given, dtype=object).ravel().tolist()]


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or bool(value != value)


def as_vectors(views: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
    """Views of a recording → a vector each, `(features,)`; frames by their statistics over time."""
    return {label: _vector(array) for label, array in views.items()}


def recognise(
    fitted: Fitted,
    table: pd.DataFrame,
    mode: Mode,
    *,
    store: Path | None = None,
    workers: int | None = None,
    graph: Digest | None = None,
    judge_all: bool = False,
) -> Recognised:
    """Probabilities of every recording of a table, or why there are none.

    Args:
        fitted: what judges.
        table: the recordings.
        mode: inductive judges every recording alone, speaker-adaptive all of a speaker together.
        store: where extracted views are kept; a temporary folder when None, and none for few recordings.
        workers: processes of the extraction; all cores when None.
        graph: what judges each recording in place of `fitted`: `inference.Graph.judge`.
        judge_all: judge what is no speech as well.

    Raises:
        UsageError: the speaker-adaptive mode without speakers, or with a graph; an unknown mode.
    """
    require_mode(mode)
    if mode != "inductive" and graph is not None:
        raise UsageError(f"An exported graph judges each recording alone; got the mode {mode}. Use inductive.")
    if mode == "speaker-adaptive" and (missing := int((table["speaker"] == "").sum())):
        raise UsageError(
            f"The speaker-adaptive mode needs to know who speaks; {missing} of {len(table)} recordings have no speaker. "
            "Fill in the column 'speaker', say that all are of one speaker (--same-speaker), or use the inductive mode."
        )
    if graph is None:
        return recognised(
            fitted, table, views_of(table, fitted.needed(mode), store, workers), mode, judge_all=judge_all
        )

    def both(views: Mapping[str, NDArray[Any]]) -> Mapping[str, Floats]:
        return {**as_vectors(views), **graph(views)}

    return judged(fitted, table, views_of(table, fitted.needed(mode), store, workers, both))


def views_of(
    table: pd.DataFrame,
    requests: Sequence[ViewRequest],
    store: Path | None = None,
    workers: int | None = None,
    digest: Digest = as_vectors,
) -> Extracted:
    """What is kept of every row that can be used: by way of a store, or directly where there is none and the rows are few.

    Raises:
        UsageError: fewer than one worker.
    """
    workers = worker_count(workers)
    if store is None and len(table) <= DIRECTLY:
        return computed(table, made_views(requests), digest=digest)
    with tempfile.TemporaryDirectory() as folder:
        return extracted(table, requests, store or Path(folder), workers=workers, digest=digest)


def extracted(
    table: pd.DataFrame,
    requests: Sequence[ViewRequest],
    store: Path,
    *,
    workers: int | None = None,
    digest: Digest = as_vectors,
) -> Extracted:
    """Every row that can be used, by way of a store."""
    report = extract(table, store, requests, workers=workers)
    failed = {failure.id: failure.error for failure in report.failures}
    problems = [failed.get(name, "") for name in table["id"]]
    usable = table[[not problem for problem in problems]]
    keys = iter([source.key for source in locate(usable, store)])
    vectors = read_vectors(usable, store, requests, digest)
    rate_of = {path: _rate(path) for path in dict.fromkeys(table["path"])}
    rates = [rate_of[path] for path in table["path"]]
    return Extracted(vectors, problems, ["" if problem else next(keys) for problem in problems], rates)


def computed(table: pd.DataFrame, views: Mapping[str, View], *, digest: Digest = as_vectors) -> Extracted:
    """As `extracted`, in this process and without a store; the views of a recording on a thread each."""
    rows: list[Mapping[str, Floats]] = []
    problems, keys, rates = [], [], []
    specs = {label: view.spec for label, view in views.items()}
    with (
        Progress(len(table) if len(table) > 1 else 0, "recognise", "recordings") as progress,
        concurrent.futures.ThreadPoolExecutor(max(1, len(views))) as threads,
    ):
        columns = ["path", "start_seconds", "end_seconds", "channel"]
        for path, start, end, channel in table[columns].itertuples(index=False, name=None):
            try:
                refuse_sessions(path, start, end)
                decoded = audio.decode(path, start, end, channel)
                samples = audio.prepare(decoded.samples, decoded.sampling_rate)
                audio.check_usable(samples, path)
                started = {label: threads.submit(view, samples) for label, view in views.items()}
                rows.append(digest({n: to_storage(f.result(), specs[n]) for n, f in started.items()}))
                problems.append("")
                keys.append(audio.content_hash(decoded.samples, decoded.sampling_rate))
                rates.append(decoded.sampling_rate)
            except EmoViewsError as error:
                message = str(error)
                problems.append(message if str(path) in message else f"{path}: {message}")
                keys.append("")
                rates.append(0)
            progress.advance()
    return Extracted(_stacked(rows), problems, keys, rates)


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
    vectors, problems, asked = found.vectors, list(found.problems), mode
    mode = "speaker-adaptive" if asked == "speaker-adaptive" and fitted.model.modes[asked].adaptive else "inductive"
    modes = modes_of(fitted, found, mode)
    usable = np.flatnonzero([not problem for problem in problems])
    model = fitted.model.modes[mode]
    probabilities = np.full((len(table), len(fitted.labels)), np.nan)
    embedded = np.full((len(table), model.dimensions), np.nan)
    far = np.full(len(table), np.nan)
    if len(usable):
        for row, why in zip(usable, [] if judge_all else strange(fitted, vectors), strict=not judge_all):
            problems[row] = f"{table['path'].iloc[row]}: {why}" if why else ""
        voice = np.array([not problems[row] for row in usable], dtype=bool)
        if voice.any():
            rows = usable[voice]
            spoken = {label: values[voice] for label, values in vectors.items()}
            speakers = list(table["speaker"].iloc[rows])
            given = fitted.model.probabilities(spoken, mode, speakers)
            temperatures = np.array([fitted.temperatures[modes[row]] for row in rows])
            if mode == "speaker-adaptive":
                # fitted on speakers with many recordings; of few, each is judged nearly alone
                by_themselves = np.array([fitted.temperatures[mode_alone(modes[row])] for row in rows])
                weights = fitted.model.weight_alone(speakers)
                temperatures = calibration.between(temperatures, by_themselves, weights)
            probabilities[rows] = calibration.scaled(given, temperatures[:, None])
            embedded[rows] = model.vectors(spoken, apart(speakers))
            far = _shifts(fitted, table, rows, modes, spoken)
    unlike, warnings = told(fitted, table, problems, far, found.rates, mode)
    if mode != asked:
        warnings = (_ALL_ALONE, *warnings)
    return Recognised(fitted.labels, probabilities, tuple(problems), modes, embedded, unlike, warnings)


def judged(fitted: Fitted, table: pd.DataFrame, found: Extracted) -> Recognised:
    """As `recognised` in the inductive mode, of what an exported graph gave for every row that could be extracted.

    Args:
        fitted: what the graph was made from.
        table: the recordings.
        found: beside the vectors `probabilities` `(usable rows, classes)` and `distance` `(usable rows,)`.
    """
    problems = list(found.problems)
    usable = np.flatnonzero([not problem for problem in problems])
    probabilities = np.full((len(table), len(fitted.labels)), np.nan)
    if len(usable):
        outputs = found.vectors
        for row, why, given in zip(usable, reasons(outputs["distance"]), outputs["probabilities"], strict=True):
            problems[row] = f"{table['path'].iloc[row]}: {why}" if why else ""
            probabilities[row] = np.nan if why else given
    nowhere, modes = np.full((len(table), 0), np.nan), modes_of(fitted, found, "inductive")
    trained = np.array([has_trained(mode) for mode in modes], dtype=bool)
    of_graph = fitted.temperatures["inductive"]  # which does not know what trained
    probabilities[trained] = calibration.scaled(
        probabilities[trained], fitted.temperatures[TRANSDUCTIVE_ALONE] / of_graph
    )
    voice = np.array([not problems[row] for row in usable], dtype=bool)
    spoken = {r.label: found.vectors[r.label][voice] for r in fitted.needed("inductive")} if voice.any() else {}
    far = _shifts(fitted, table, usable[voice], modes, spoken)
    unlike, warnings = told(fitted, table, problems, far, found.rates, "inductive")
    return Recognised(fitted.labels, probabilities, tuple(problems), modes, nowhere, unlike, warnings)


def _shifts(
    fitted: Fitted,
    table: pd.DataFrame,
    rows: NDArray[np.int64],
    modes: Sequence[str],
    vectors: Mapping[str, Floats],
) -> Floats:
    """`shifts` of all rows; NaN of those that trained. `vectors` are those of `rows`, view → `(rows, features)`."""
    far = np.full(len(table), np.nan)
    new = np.array([not has_trained(modes[row]) for row in rows], dtype=bool)
    own = {label: values[new] for label, values in vectors.items()}
    far[rows[new]] = shifts(fitted, own, list(table["speaker"].iloc[rows[new]]))
    return far


def told(
    fitted: Fitted,
    table: pd.DataFrame,
    problems: Sequence[str],
    far: Floats,
    rates: Sequence[int],
    mode: Mode,
    what: str = "these recordings",
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What makes each row unlike those that trained (`Recognised.unlike`), and warnings of them all.

    Args:
        fitted: what judged.
        table: the recordings.
        problems: `(rows,)` as `Recognised.problems`; where there is one, nothing else is said.
        far: `(rows,)` as `shifts`; NaN also where there is a problem, and of recordings that trained.
        rates: `(rows,)` as `Extracted.rates`.
        mode: in which they were judged.
        what: they are called where their speakers are unknown.
    """
    good = np.array([not problem for problem in problems], dtype=bool)
    narrow = good & (np.array(rates) > 0) & (np.array(rates) < fitted.sampling_rate)
    rows = zip((far > TOO_FAR).tolist(), narrow.tolist(), strict=True)
    unlike = tuple(NARROW if band else UNLIKE if shift else "" for shift, band in rows)
    heard = [rate for rate, band in zip(rates, narrow, strict=True) if band]
    return unlike, (
        *shifted(far, list(table["speaker"]), mode, what),
        *narrowed(heard, int(good.sum()), fitted.sampling_rate, mode),
    )


def narrowed(rates: Sequence[int], count: int, trained: int, mode: Mode) -> tuple[str, ...]:
    """A warning where recordings have fewer samples a second than any that trained; empty where none have.

    Args:
        rates: theirs, in Hz.
        count: of all recordings that were judged.
        trained: the lowest of those that trained.
        mode: in which they were judged.
    """
    if not rates:
        return ()
    expect = "Don't rely on" if mode == "inductive" else "Expect less of"
    some = f"the answers for {len(rates)} of {count} recordings"
    which = some if len(rates) < count else "these answers" if count > 1 else "this answer"
    ends = sorted({min(rates), max(rates)})
    return (
        f"{expect} {which}: with {' to '.join(map(str, ends))} samples a second, where those it learnt from have {trained} or "
        f"more, all above {' to '.join(f'{end / 2000:g}' for end in ends)} kHz is missing, as over a telephone.",
    )


_ALL_ALONE: Final = (
    "Every recording is judged alone (inductive): this recogniser knows nothing relative to a speaker. When it learnt, no "
    "speaker was known, or each mostly showed one emotion."
)


def modes_of(fitted: Fitted, found: Extracted, mode: Mode) -> tuple[str, ...]:
    """`(rows,)` the mode in which each counts: a recording that trained is transductive, however it is judged."""
    own = TRANSDUCTIVE if mode == "speaker-adaptive" else TRANSDUCTIVE_ALONE
    return tuple(own if key and short_key(key) in fitted.heard else mode for key in found.keys)


def has_trained(mode: str) -> bool:
    """Whether a recording's mode (`modes_of`) says that it trained."""
    return mode in (TRANSDUCTIVE, TRANSDUCTIVE_ALONE)


def mode_alone(mode: str) -> str:
    """The mode in which recordings count that are judged alone, and have trained if those of this mode have."""
    return TRANSDUCTIVE_ALONE if has_trained(mode) else "inductive"


def require_mode(mode: str) -> None:
    """Refuse a mode that there is not."""
    if mode not in get_args(Mode):
        raise UsageError(f"There is no mode {mode!r}; expected {' or '.join(MODES)}.")


def short_key(key: str) -> int:
    """64 bits of the hash of a recording: enough to know it again.

    >>> short_key("00000000000000ff" + "0" * 16)
    255
    """
    return int(key[:16], 16)


def strange(fitted: Fitted, vectors: Mapping[str, Floats]) -> list[str]:
    """For each row why it is taken for no speech, empty where it may be speech.

    Without a voiced segment (eGeMAPS) nobody speaks; and what lies far outside the training recordings (music, noise, tones)
    is nothing the recogniser knows.
    """
    return reasons(distances(fitted, vectors))


def distances(fitted: Fitted, vectors: Mapping[str, Floats]) -> Floats:
    """`(rows,)` how far from the training recordings, over the farthest that is taken for speech; infinite: nobody speaks."""
    far = novelty.distances(_spreads(fitted), vectors) / fitted.limits.outlier
    place = voiced_feature(fitted.specs)
    if place and place[0] in vectors:
        label, feature = place
        far[vectors[label][:, feature] <= 0] = np.inf
    return far


def shifts(fitted: Fitted, vectors: Mapping[str, Floats], speakers: Sequence[str]) -> Floats:
    """`(rows,)` how far a speaker's recordings, or those of unknown speakers, are as a whole from those of training.

    In units of the farthest that is taken for usual: above `TOO_FAR` they come over another channel, or are otherwise unlike.
    NaN for those of whom there are fewer than `novelty.FEWEST`, which say nothing.

    Args:
        fitted: what judges.
        vectors: view → `(rows, features)` of recordings that did not train.
        speakers: `(rows,)`, empty where unknown.
    """
    spreads, far = _spreads(fitted), np.full(len(speakers), np.nan)
    for _, rows in novelty.by_speaker(speakers):
        far[rows] = novelty.shift(spreads, {n: vectors[n][rows] for n in spreads}) / fitted.limits.shift
    return far


def shifted(far: Floats, speakers: Sequence[str], mode: Mode, what: str = "these recordings") -> tuple[str, ...]:
    """A warning where recordings as a whole are unlike those of training; empty where none are.

    Args:
        far: `(rows,)`, as `shifts`.
        speakers: `(rows,)`, empty where unknown.
        mode: in which they are judged: relative to the speaker more of them are right.
        what: they are called where their speakers are unknown.
    """
    rows = np.flatnonzero(far > TOO_FAR)
    if not len(rows):
        return ()
    names = sorted({speakers[row] for row in rows.tolist()} - {""})
    some = f"{', '.join(names[:5])}{' and others' if len(names) > 5 else ''}"
    told, wrong = (
        ("Don't rely on these answers", "it may be wrong, and surer than it should be")
        if mode == "inductive"
        else ("Expect fewer of these answers to be right", "it may be surer than it should be")
    )
    return (
        f"{told}: {f'the recordings of {some}' if names else what} are, as a whole, unlike those it learnt from, so {wrong}. "
        "Another microphone, a telephone, a room, noise, or one emotion throughout? (Up to "
        f"{far[rows].max() * novelty.SHIFT_FACTOR:.2f} times as far from them as any of its speakers is.)",
    )


def voiced_feature(specs: Mapping[str, ViewSpec]) -> tuple[str, int] | None:
    """The view, by its label, and the feature of it that counts voiced segments, where there is one."""
    for label, spec in specs.items():
        if spec.name == "egemaps" and "VoicedSegmentsPerSec" in spec.feature_names:
            return label, spec.feature_names.index("VoicedSegmentsPerSec")
    return None


def _spreads(fitted: Fitted) -> novelty.Spreads:
    return {name: (view.mean, view.deviation) for name, view in fitted.model.modes["inductive"].maps.items()}


def reasons(far: Floats) -> list[str]:
    """For each row why it is taken for no speech, empty where it may be.

    Args:
        far: as `distances`.
    """
    found = ["" for _ in far]
    for row in np.flatnonzero(far > TOO_FAR).tolist():
        found[row] = (
            "nobody speaks in it (no voiced segment), so no emotion is given."
            if np.isinf(far[row])
            else f"no speech like that of the training recordings ({far[row]:.2f} times too far from them: music, noise, "
            "long pauses, or another kind of recording?), so no emotion is given."
        )
    return found


def _rate(path: str) -> int:
    """Of a file, in Hz; 0 where it is gone or no audio."""
    try:
        return audio.sampling_rate(path)
    except EmoViewsError:
        return 0


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
