"""What to expect of a recogniser on speakers it has never heard, from cross-validation over groups."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.pool import ThreadPool
from typing import Any, Final

import numpy as np
import pandas as pd
import scipy.sparse.csgraph
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from emoviews import calibration, metrics, splits, statistics
from emoviews.audio import MINIMUM_SECONDS
from emoviews.doubts import gender_of
from emoviews.fusion import Fusion, apart, rows_by
from emoviews.processes import worker_count
from emoviews.progress import Progress, counted
from emoviews.recognition import (
    OVERLAP,
    TRANSDUCTIVE,
    TRANSDUCTIVE_ALONE,
    FitReport,
    Floats,
    Hidden,
    ModeReport,
    has_trained,
    mode_alone,
)
from emoviews.semisupervised import SemiSupervised, SemiSupervisedConfig, fit_semisupervised
from emoviews.table import ORIGINAL

FEWEST_LABELS: Final = 10
"""Of a test group's labelled recordings in all folds together: below, an expected UAR would mean nothing and none is given."""

ADAPTIVELY: Final = ("inductive", "speaker-adaptive", TRANSDUCTIVE, TRANSDUCTIVE_ALONE)
"""The modes of a recogniser that knows something relative to speakers."""

ALONE: Final = ("inductive", TRANSDUCTIVE_ALONE)
"""The modes of one that does not: each recording is judged alone."""

RELATIVE: Final = ("speaker-adaptive", TRANSDUCTIVE)
"""The modes in which a recording is judged relative to its speaker, who must be known."""

UNCALIBRATED: Final = "Probabilities are not calibrated, since nothing was tested."
"""Ends the notes where nothing was tested."""

FEW_FILES: Final = (1, 3, 10)
"""Of so many recordings of a speaker it is said apart what to expect in the speaker-adaptive mode."""

MOSTLY: Final = 0.6
"""Share of the tested labels from which one speaker's are pointed out."""

CHANCE_DRAWS: Final = 100
"""Of labels by the very probabilities, to know the calibration error that chance gives."""

MOST_THREADS: Final = 4
"""Each fits to recordings of its own, which takes memory: 0.4 GB for 2 000 with the default views."""

DRAWS_AT_ONCE: Final = 64
"""So many recordings are judged at a time, each with those drawn for it, since views may have thousands of features."""


@dataclass(frozen=True)
class Recordings:
    """What is learnt from: everything has a row a recording.

    Attributes:
        table: utterances.
        fusion: their views, speakers and texts, and copies at other speeds.
        targets: `(rows,)` numbers of classes, -1 where there is no label.
        keys: `(rows,)` hashes of the samples.
    """

    table: pd.DataFrame
    fusion: Fusion
    targets: NDArray[np.int64]
    keys: Sequence[str]

    @property
    def speakers(self) -> list[str]:
        """`(rows,)`, empty where unknown."""
        return self.fusion.speakers

    @property
    def known(self) -> NDArray[np.int64]:
        """The rows with a label."""
        return np.flatnonzero(self.targets >= 0)

    @property
    def missing(self) -> NDArray[np.int64]:
        """The rows whose emotion nobody knows. One whose label was dropped (`table.keep_labels`) is of none that is learnt."""
        unknown = self.targets < 0
        return np.flatnonzero(unknown & (self.table[ORIGINAL] == "") if ORIGINAL in self.table.columns else unknown)

    def at(self, rows: NDArray[np.int64]) -> Recordings:
        """Some of them."""
        table = self.table.iloc[rows].reset_index(drop=True)
        return Recordings(table, self.fusion.at(rows), self.targets[rows], [self.keys[row] for row in rows.tolist()])

    def without_labels(self, rows: NDArray[np.int64]) -> Recordings:
        """All of them, and no label of these."""
        targets = self.targets.copy()
        targets[rows] = -1
        return replace(self, targets=targets)

    def without_speakers(self, rows: NDArray[np.int64]) -> Recordings:
        """All of them, and no speaker of these."""
        speakers = list(self.speakers)
        for row in rows.tolist():
            speakers[row] = ""
        if speakers == self.speakers:
            return self  # with what its fusion has found
        return replace(self, fusion=Fusion(self.fusion.views, speakers, self.fusion.texts, self.fusion.copies))

    def fitted(self, n_classes: int, config: SemiSupervisedConfig) -> SemiSupervised:
        """The classifier that they give."""
        return fit_semisupervised(self.fusion, self.targets, n_classes, config)


@dataclass(frozen=True)
class _Asked:
    """What is to be found out, of which recordings; see `evaluated`."""

    data: Recordings
    labels: tuple[str, ...]
    config: SemiSupervisedConfig
    modes: Sequence[str]
    allow_overlap: bool
    threads: int


@dataclass(frozen=True)
class _Judged:
    """What classifiers said of recordings that were left out, or whose labels were.

    Attributes:
        folds: those that had something to learn from and something to test.
        by_mode: mode → `(rows, classes)`, NaN in rows that were not tested, and in modes relative to the speaker in those of
            unknown speakers; either of modes of what trained, or of others.
        by_files: k → likewise, with k recordings of a speaker (`FEW_FILES`).
        weights: `(rows,)` as `SemiSupervised.weight_alone`, in the modes relative to the speaker.
    """

    folds: list[splits.Fold]
    by_mode: dict[str, Floats]
    by_files: dict[int, Floats]
    weights: Floats


def evaluated(
    data: Recordings,
    labels: tuple[str, ...],
    config: SemiSupervisedConfig,
    *,
    run: bool,
    allow_overlap: bool,
    modes: Sequence[str] = ADAPTIVELY,
    workers: int | None = None,
) -> tuple[FitReport, dict[str, float]]:
    """The UAR to expect in these modes, on new speakers and on what trained without a label, and temperatures for calibration.

    New speakers: each group is left out, and judged by what learns from the others. Groups that share a speaker or a recording
    (by the hash of its samples, or by times of a file that overlap) are left out together; recordings without a group are not
    used where two groups have labels. Otherwise, with `allow_overlap`, folds are by file, and test no mode relative to the
    speaker. The modes relative to the speaker are tested on recordings that have one; in the speaker-adaptive mode each of
    these is also judged with few others of its speaker (`FEW_FILES`, where most speakers have more).

    What trained is tested where some recordings have no label: all train, and those that are tested without their labels, which
    are hidden a part at a time as the missing ones are missing (`_hidden_together`).

    Nothing is chosen by these scores: every choice (what to remove, what the unlabelled recordings are) is made again inside
    each fold from its training part. The calibration error of a fold is that of the temperatures which the other folds give,
    applied as `predict` applies them.

    Folds are judged on several threads (`workers`, at most `MOST_THREADS`; one a core when None), which changes nothing but the
    time.
    """
    if not run:
        note = "Not evaluated: what to expect on new speakers is not known."
        return _untested(data, labels, note), dict.fromkeys(ADAPTIVELY, 1.0)
    asked = _Asked(data, labels, config, modes, allow_overlap, worker_count(workers))
    report, temperatures = _of_new_speakers(asked)
    if report.modes and len(data.missing):
        found, fitted, notes = _of_what_trained(asked)
        report = replace(report, modes={**report.modes, **found}, notes=(*report.notes, *notes))
        temperatures |= fitted
    return report, temperatures


def _untested(data: Recordings, labels: tuple[str, ...], *notes: str) -> FitReport:
    """What there is to learn from, and why it is not known what to expect."""
    counts = {label: int((data.targets == number).sum()) for number, label in enumerate(labels)}
    labelled = {data.speakers[row] for row in data.known} - {""}
    return FitReport(
        len(data.table), counts, len(set(data.speakers) - {""}), len(labelled), notes=(*notes, UNCALIBRATED)
    )


def _groups(data: Recordings) -> list[str]:
    """`(rows,)` as the table gives them; where speakers are unknown, groups of one recording each are none."""
    groups = list(data.table["group"])
    if not any(data.speakers) and any(groups) and np.median(list(Counter(filter(None, groups)).values())) == 1:
        return [""] * len(groups)
    return groups


def _tested_by_file(asked: _Asked) -> bool:
    """Whether speakers can't be left out, since not all are known, and need not be."""
    data, groups = asked.data, _groups(asked.data)
    of_labels = [(groups[row], data.targets[row]) for row in data.known if groups[row]]
    testable = len(of_labels) >= FEWEST_LABELS and min(len(set(part)) for part in zip(*of_labels, strict=True)) > 1
    return asked.allow_overlap and not all(groups) and not testable


def _of_new_speakers(asked: _Asked) -> tuple[FitReport, dict[str, float]]:
    """The report without what trained, and temperatures of all modes; see `evaluated`."""
    data, labels, modes = asked.data, asked.labels, asked.modes
    table, targets, groups = data.table, data.targets, _groups(data)
    speakers, known = data.speakers, data.known
    even: dict[str, float] = dict.fromkeys(ADAPTIVELY, 1.0)
    by_file = _tested_by_file(asked)
    if not all(groups) and not by_file:
        if not any(groups):
            note = (
                "Recordings without a speaker: folds by file would test on voices that trained, so what to expect on new "
                "speakers is not known. Fill in the column 'speaker', or allow it (--allow-speaker-overlap)."
            )
            return _untested(data, labels, note), even
        if not any(groups[row] for row in known):
            note = (
                "No labelled recording has a speaker, so what to expect on new speakers is not known. Fill in the column "
                "'speaker', or allow tests by file (--allow-speaker-overlap)."
            )
            return _untested(data, labels, note), even
        own = data.at(np.flatnonzero(table["group"] != ""))
        rest, temperatures = _of_new_speakers(replace(asked, data=own, allow_overlap=False))
        note = (
            f"{counted(len(table) - len(own.table), 'recording')} without a speaker: not used to find out what to expect of "
            "new speakers."
        )
        if not rest.modes:
            note += " Fill in the column 'speaker' of more, or allow tests by file (--allow-speaker-overlap)."
        whole = replace(
            _untested(data, labels),
            folds=rest.folds,
            modes=rest.modes,
            by_files=rest.by_files,
            split_hash=rest.split_hash,
            notes=(note, *rest.notes),
        )
        return whole, temperatures
    files = _joined(list(table["path"]), data.keys)
    notes: list[str] = []
    groups, used = (_parts(targets, files), ALONE) if by_file else (_left_out_together(data, notes), modes)
    if len(testable := {groups[row] for row in known}) < 2:
        some = counted(len({files[row] for row in known}), "file") if by_file else counted(len(testable), "speaker")
        remedy = "Label recordings of others."
        if not by_file and len({speakers[row] for row in known} - {""}) > 1:
            some = "one group (column 'group'), or from groups that share speakers or recordings"
            remedy = "Leave the column out to test by speaker."
        notes.append(f"Labels from {some}: what to expect on new speakers can't be known. {remedy}")
        return _untested(data, labels, *notes), even
    groups = splits.at_most(groups, splits.MOST_FOLDS)
    ordered = [
        fold for fold in splits.leave_one_group_out(groups, validation="none") if (targets[fold.test] >= 0).any()
    ]
    named = Counter(speaker for speaker in speakers if speaker)
    few = [k for k in FEW_FILES if "speaker-adaptive" in used and named and k < np.median(list(named.values()))]
    new = [mode for mode in used if not has_trained(mode)]
    judged = _leave_each_out(asked, ordered, partial(_judge_new, asked, new, few))
    tested = known[~np.isnan(judged.by_mode["inductive"][known, 0])] if judged.folds else known[:0]
    if skipped := len(ordered) - len(judged.folds):
        notes.append(
            f"{skipped} of {counted(len(ordered), 'fold')} could not be tested: what is left to learn from has labels of one "
            "class."
        )
    if len(tested) < FEWEST_LABELS or min(len({of[row] for row in tested}) for of in (groups, targets.tolist())) < 2:
        notes.append(
            f"{counted(len(tested), 'labelled recording')} could be tested; at least {FEWEST_LABELS} are needed to say what to "
            f"expect, of two {'files' if by_file else 'speakers'} and two emotions."
        )
        return replace(_untested(data, labels, *notes), folds=len(judged.folds)), even
    notes = [*_caveats(data, tested, labels, by_file=by_file), *notes]
    kinds, sources = _sources(data, files, by_file=by_file)
    reports, by_files, temperatures = _scored(data, judged, groups, kinds, sources, labels)
    temperatures |= {TRANSDUCTIVE: temperatures["speaker-adaptive"], TRANSDUCTIVE_ALONE: temperatures["inductive"]}
    if "speaker-adaptive" in modes and "speaker-adaptive" not in reports:
        notes.append(
            "What to expect where recordings are judged relative to their speaker is not known, and they are calibrated as if "
            f"judged alone: to know takes {FEWEST_LABELS} labelled recordings with a speaker, of two at least."
        )
    hashes = "".join(splits.split_hash(fold, list(table["id"])) for fold in judged.folds)
    report = replace(
        _untested(data, labels),
        folds=len(judged.folds),
        modes=reports,
        by_files=by_files,
        split_hash=hashlib.sha256(hashes.encode()).hexdigest()[:12],
        notes=tuple(notes),
    )
    return report, temperatures


def _of_what_trained(asked: _Asked) -> tuple[dict[str, ModeReport], dict[str, float], list[str]]:
    """Reports, temperatures and notes of recordings that trained without a label; nothing where too few test it."""
    data, groups = asked.data, _groups(asked.data)
    named = np.array([row for row in data.missing if groups[row]], dtype=np.int64)
    how, reports, temperatures = _tested_hidden(asked, data.missing)
    if how == "nameless":
        # Those whose speaker is known are judged relative to the speaker, which hidden speakers can't test.
        _, of_named, fitted = (
            _tested_hidden(asked, named) if len(named) and TRANSDUCTIVE in asked.modes else (how, {}, {})
        )
        temperatures.pop(TRANSDUCTIVE, None)
        if TRANSDUCTIVE in of_named:
            reports[TRANSDUCTIVE], temperatures[TRANSDUCTIVE] = of_named[TRANSDUCTIVE], fitted[TRANSDUCTIVE]
    if TRANSDUCTIVE_ALONE not in reports:
        return {}, {}, []
    labelled = {groups[row] for row in data.known}
    notes = []
    if others := sum(groups[row] not in labelled for row in data.missing) if how == "labels_kept" else 0:
        notes.append(
            f"{others} of the {counted(len(data.missing), 'recording')} without a label are of speakers who have none at all, "
            "or of unknown ones. Of these expect less than is said of what was learnt from, and probabilities that are too "
            "sure."
        )
    if any(data.speakers) and how == "nameless":
        notes.append(
            f"Who speaks is not known of {counted(len(data.missing) - len(named), 'recording')} without a label. What is said "
            "of what was learnt from holds if they are of people who have labels; else expect what is said of new speakers, "
            "and probabilities that are too sure."
        )
    return {mode: reports[mode] for mode in asked.modes if mode in reports}, temperatures, notes


def _tested_hidden(asked: _Asked, missing: NDArray[np.int64]) -> tuple[Hidden, dict[str, ModeReport], dict[str, float]]:
    """What is hidden together with labels, as it is not known of most of these rows; and what that says of what trained."""
    data = asked.data
    files, by_file = _joined(list(data.table["path"]), data.keys), _tested_by_file(asked)
    hidden, how = _hidden_together(data, missing, files, by_file=by_file)
    ordered = splits.leave_one_group_out(hidden, validation="none")
    trained = [mode for mode in asked.modes if has_trained(mode)]
    judged = _leave_each_out(asked, ordered, partial(_judge_trained, asked, trained, how == "nameless"))
    if not judged.folds:
        return how, {}, {}
    reports, _, temperatures = _scored(data, judged, hidden, *_sources(data, files, by_file=by_file), asked.labels)
    if TRANSDUCTIVE_ALONE not in reports:
        return how, {}, {}
    return how, {mode: replace(found, hidden=how) for mode, found in reports.items()}, temperatures


def _sources(data: Recordings, files: Sequence[str], *, by_file: bool) -> tuple[list[str], list[str]]:
    """`(rows,)` what intervals resample, in words, and which of them a recording is from."""
    groups = list(data.table["group"])
    kinds = [
        "speakers" if speaker else "groups" if group and not by_file else "files"
        for speaker, group in zip(data.speakers, groups, strict=True)
    ]
    names_of = {"speakers": data.speakers, "groups": groups, "files": files}
    return kinds, [names_of[kind][row] for row, kind in enumerate(kinds)]


def _caveats(data: Recordings, tested: NDArray[np.int64], labels: tuple[str, ...], *, by_file: bool) -> list[str]:
    """What whoever reads the scores of the tested rows must know; speakers who may have trained come first."""
    notes = []
    if by_file:
        notes.append(
            f"{OVERLAP}: tested on recordings whose speakers may have trained. The scores are too good for new speakers, and "
            "probabilities too sure."
        )
    if missing := [label for number, label in enumerate(labels) if number not in data.targets[tested]]:
        notes.append(
            f"None of the tested recordings is labelled {', '.join(missing)}: the numbers are of the other emotions."
        )
    if len(tested) < 100:
        notes.append(f"Only {len(tested)} labelled recordings test it; the interval is as wide as it says.")
    (most, n), *others = Counter(data.speakers[row] for row in tested).most_common()
    if most and len(others) > 1 and n > MOSTLY * len(tested):
        notes.append(
            f"{n} of the {len(tested)} labelled recordings that test it are of one speaker, judged by what learnt from the few "
            "of others. Label recordings of more speakers evenly."
        )
    genders = _genders(rows := data.table.iloc[tested])
    if len(set(genders) - {""}) > 1 and _least_p(list(rows["speaker"]), genders) >= 0.05:
        few = f"{counted(rows['speaker'].nunique(), 'speaker')}: too few to tell whether genders are recognised equally well."
        unknown = "Whether genders are recognised equally well can't be told where speakers are unknown."
        notes.append(few if all(rows["speaker"]) else unknown)
    if not by_file and not all(data.speakers[row] for row in tested):
        notes.append(
            "Recordings without a speaker are taken to be of different ones where their groups differ; if a speaker is in two "
            "groups, the scores are too good."
        )
    return notes


def _hidden_together(
    data: Recordings, missing: NDArray[np.int64], files: Sequence[str], *, by_file: bool
) -> tuple[list[str], Hidden]:
    """`(rows,)` whose labels are hidden together to test what trained, and what else is (`recognition.Hidden`).

    As most of the rows without a label are, so are those that are tested: of speakers who have other labels, or of unknown
    ones, in five parts by file; or of speakers who have none, by group.
    """
    groups = _groups(data)
    labelled, of_missing = {groups[row] for row in data.known} - {""}, [groups[row] for row in missing]
    if np.mean([group == "" for group in of_missing]) >= 0.5:
        how: Hidden = "nameless"
    else:
        how = "labels_kept" if by_file or np.mean([group in labelled for group in of_missing]) >= 0.5 else "no_label"
    if how != "no_label" and len(set(parts := _parts(data.targets, files))) > 1:
        return parts, how
    return splits.at_most(_left_out_together(data, []), splits.MOST_FOLDS), "no_label"


def _scored(
    data: Recordings,
    judged: _Judged,
    groups: Sequence[str],
    kinds: Sequence[str],
    sources: Sequence[str],
    labels: tuple[str, ...],
) -> tuple[dict[str, ModeReport], dict[int, statistics.Interval], dict[str, float]]:
    """What to expect in each mode that enough recordings test, with few recordings of a speaker, and the modes' temperatures.

    Args:
        data: the recordings.
        judged: what classifiers said of them.
        groups: `(rows,)` what was left out together.
        kinds: `(rows,)` what intervals resample: speakers, groups or files.
        sources: `(rows,)` which of them a recording is from.
        labels: the classes.
    """
    by_itself = mode_alone(next(iter(judged.by_mode)))
    tested = data.known[~np.isnan(judged.by_mode[by_itself][data.known, 0])]
    alone = _Alone.of(judged.by_mode[by_itself], tested, groups, data.targets, labels)
    together = TRANSDUCTIVE if has_trained(by_itself) else "speaker-adaptive"
    temperatures, reports = {by_itself: alone.whole, together: alone.whole}, {}
    for mode, said in judged.by_mode.items():
        rows = tested[~np.isnan(said[tested, 0])]
        if len(rows) < FEWEST_LABELS or min(len({of[row] for row in rows}) for of in (groups, sources)) < 2:
            continue  # too few have a speaker
        truth, weights = data.targets[rows], judged.weights[rows] if mode in RELATIVE else np.ones(len(rows))
        if mode in RELATIVE:
            temperatures[mode] = _temperature(truth, said[rows], alone.whole, weights, labels)
        crossed = _cross_calibrated(truth, said[rows], alone, weights, [groups[row] for row in rows], labels)
        resampled = " and ".join(sorted({kinds[row] for row in rows}, reverse=True))  # speakers first
        clusters, names = [sources[row] for row in rows], [labels[number] for number in truth]
        report = _mode_report(data.table.iloc[rows], clusters, names, crossed, labels, resampled)
        reports[mode] = replace(report, folds=len(judged.folds))
    by_files = {}
    for k, said in judged.by_files.items() if "speaker-adaptive" in reports else ():
        rows = tested[~np.isnan(said[tested, 0])]
        names, guess = ([labels[n] for n in numbers] for numbers in (data.targets[rows], said[rows].argmax(axis=1)))
        by_files[k] = statistics.uar_interval(names, guess, [sources[row] for row in rows])
    return reports, by_files, temperatures


def _left_out_together(data: Recordings, notes: list[str]) -> list[str]:
    """`(rows,)` the groups, those that share something under one name, of which a note tells."""
    given = list(data.table["group"])
    groups = _joined(given, data.speakers, data.keys, _stretches(data.table))
    if len(set(groups)) < len(set(given)):
        notes.append(
            f"Some of the {len(set(given))} groups share a speaker or a recording and are left out together, which leaves "
            f"{len(set(groups))}."
        )
    return groups


def _leave_each_out(
    asked: _Asked, folds: Sequence[splits.Fold], judge: Callable[[splits.Fold], _Judged | None]
) -> _Judged:
    """What is said of every fold's test part, in the rows of all."""
    rows = len(asked.data.speakers)
    found = _Judged([], {}, {}, np.zeros(rows))
    # Threads, since the arrays are large and what takes time is NumPy's; a pool whose threads end with the process, so that
    # Ctrl-C does not wait for a fold.
    with (
        Progress(len(folds), "cross-validate", "folds") as progress,
        ThreadPool(max(1, min(asked.threads, MOST_THREADS, len(folds)))) as pool,
    ):
        for fold, said in zip(folds, pool.imap(judge, folds), strict=True):
            progress.advance()
            if said is None:
                continue
            found.folds.append(fold)
            found.weights[fold.test] = said.weights
            for mode, values in said.by_mode.items():
                found.by_mode.setdefault(mode, np.full((rows, values.shape[1]), np.nan))[fold.test] = values
            for k, values in said.by_files.items():
                found.by_files.setdefault(k, np.full((rows, values.shape[1]), np.nan))[fold.test] = values
    return found


def _judge_new(asked: _Asked, modes: Sequence[str], few: Sequence[int], fold: splits.Fold) -> _Judged | None:
    """A fold's test part in each mode, by what learnt from the others; and its labelled recordings with few others of their
    speaker. None where there is nothing to learn from or to test.
    """
    train, test = asked.data.at(fold.train), asked.data.at(fold.test)
    if len(set(train.targets[train.known])) < 2 or not len(test.known):
        return None
    model = train.fitted(len(asked.labels), asked.config)
    by_mode, weights = _in_modes(model, test, modes)
    named = np.array([row for row in test.known.tolist() if test.speakers[row]], dtype=np.int64)
    random = np.random.default_rng(0)
    by_files = _with_few_files(model, test.fusion.views, test.speakers, named, few, random) if len(named) else {}
    rows = len(test.speakers)
    return _Judged([fold], by_mode, {k: _placed(rows, named, said) for k, said in by_files.items()}, weights)


def _judge_trained(asked: _Asked, modes: Sequence[str], nameless: bool, fold: splits.Fold) -> _Judged | None:
    """A fold's test part in each mode, by what learnt from all recordings, from these without their labels, and `nameless`
    without their speakers. None where there is nothing to learn from or to test.
    """
    learnt = asked.data.without_labels(fold.test)
    if len(set(learnt.targets[learnt.known])) < 2 or len(learnt.known) == len(asked.data.known):
        return None
    if nameless:
        learnt = learnt.without_speakers(fold.test)
    whose = {learnt.speakers[row] for row in fold.test} - {""}
    # Recordings are judged with their speaker's others.
    others = [row for row, speaker in enumerate(learnt.speakers) if speaker in whose]
    near = np.union1d(fold.test, others).astype(np.int64)
    by_mode, weights = _in_modes(learnt.fitted(len(asked.labels), asked.config), learnt.at(near), modes)
    tested = np.searchsorted(near, fold.test)
    return _Judged([fold], {mode: said[tested] for mode, said in by_mode.items()}, {}, weights[tested])


def _in_modes(model: SemiSupervised, data: Recordings, modes: Sequence[str]) -> tuple[dict[str, Floats], Floats]:
    """What is said of recordings in each mode (`_Judged.by_mode`), and how much each alone counts (`_Judged.weights`)."""
    rows = len(data.speakers)
    named = np.flatnonzero([bool(speaker) for speaker in data.speakers])
    whose, views = [data.speakers[row] for row in named.tolist()], data.fusion.views
    of_named = {label: values[named] for label, values in views.items()}
    by_mode = {}
    for mode in modes:
        if mode in RELATIVE:
            by_mode[mode] = _placed(rows, named, model.probabilities(of_named, "speaker-adaptive", whose))
        else:
            by_mode[mode] = model.probabilities(views, "inductive")
    weights = np.zeros(rows)
    weights[named] = model.weight_alone(whose)
    return by_mode, weights


def _placed(count: int, rows: NDArray[np.int64], values: Floats) -> Floats:
    """`(count, classes)` these values in these rows, NaN elsewhere."""
    whole = np.full((count, values.shape[1]), np.nan)
    whole[rows] = values
    return whole


@dataclass(frozen=True)
class _Alone:
    """The temperature of what is judged alone, which counts in the mode relative to the speaker too, as much as judging alone.

    Attributes:
        whole: of all that was tested.
        without: group → of the others.
    """

    whole: float
    without: Mapping[str, float]

    @classmethod
    def of(
        cls,
        said: Floats,
        tested: NDArray[np.int64],
        groups: Sequence[str],
        targets: NDArray[np.int64],
        labels: tuple[str, ...],
    ) -> _Alone:
        """Fitted on what was said of the tested rows."""
        own = np.array([groups[row] for row in tested], dtype=object)

        def fitted(rows: NDArray[np.int64]) -> float:
            return _temperature(targets[rows], said[rows], 1.0, np.zeros(len(rows)), labels)

        return cls(fitted(tested), {group: fitted(tested[own != group]) for group in dict.fromkeys(own.tolist())})


def _temperature(
    truth: NDArray[np.int64], said: Floats, alone: float, weights: Floats, labels: tuple[str, ...]
) -> float:
    """Of a mode, with which `calibration.between` makes the truth the likeliest."""
    halfway = calibration.scaled(said, calibration.between(1.0, alone, weights)[:, None])
    return calibration.fit_temperature([labels[number] for number in truth], halfway, labels, 1 - weights)


def _cross_calibrated(
    truth: NDArray[np.int64],
    said: Floats,
    alone: _Alone,
    weights: Floats,
    groups: Sequence[str],
    labels: tuple[str, ...],
) -> Floats:
    """`(rows, classes)` what was said of each group, with the temperatures that the others give."""
    crossed = np.empty_like(said)
    for rows in rows_by(groups):
        others, without = np.setdiff1d(np.arange(len(truth)), rows), alone.without[groups[rows[0]]]
        together = _temperature(truth[others], said[others], without, weights[others], labels)
        crossed[rows] = calibration.scaled(said[rows], calibration.between(together, without, weights[rows])[:, None])
    return crossed


def _with_few_files(
    model: SemiSupervised,
    views: Mapping[str, Floats],
    speakers: Sequence[str],
    asked: NDArray[np.int64],
    counts: Sequence[int],
    random: np.random.Generator,
) -> dict[int, Floats]:
    """What is said of recordings, speaker-adaptively, with k - 1 others of their speaker: k → `(asked, classes)`.

    The others are drawn at random; those of a smaller k are among those of a larger one. Every draw goes by a speaker's name
    of its own, so that many are judged at once.

    Args:
        model: what judges.
        views: view → `(rows, features)`.
        speakers: `(rows,)`.
        asked: the rows to judge.
        counts: each k.
        random: draws.
    """
    rows_of = {speakers[rows[0]]: rows for rows in rows_by(speakers)}
    drawn = []
    for row in asked.tolist():
        others = rows_of[speakers[row]]
        drawn.append([row, *random.permutation(others[others != row]).tolist()])
    found = {}
    for k in counts:
        parts = []
        for start in range(0, len(drawn), DRAWS_AT_ONCE):
            sets = [rows[:k] for rows in drawn[start : start + DRAWS_AT_ONCE]]
            names = [str(number) for number, rows in enumerate(sets) for _ in rows]
            own = {label: values[np.concatenate(sets)] for label, values in views.items()}
            first = np.cumsum([0, *map(len, sets[:-1])])
            parts.append(model.probabilities(own, "speaker-adaptive", names)[first])
        found[k] = np.concatenate(parts)
    return found


def _parts(targets: NDArray[np.int64], files: Sequence[str]) -> list[str]:
    """Five parts of the recordings, drawn at random: about the same share of each class in each, and no file in two."""
    count = min(5, len(set(files)), int(np.bincount(targets + 1).max()))
    if count < 2:
        return ["part 0"] * len(targets)
    part = np.empty(len(targets), dtype=np.int64)
    with warnings.catch_warnings():  # classes with fewer recordings than parts are not in every part
        warnings.filterwarnings("ignore", "The least populated class")
        folds = StratifiedGroupKFold(count, shuffle=True, random_state=0).split(targets, targets, files)
        for number, (_, rows) in enumerate(folds):
            part[rows] = number
    return [f"part {number}" for number in part]


def _stretches(table: pd.DataFrame) -> list[str]:
    """`(rows,)` names; rows of one file and channel share one where their times overlap, or others' between them do.

    Where people talk, one may begin a little before another ends: what is shorter than any utterance does not count.
    """
    starts = table["start_seconds"].fillna(0.0).to_numpy()
    ends = table["end_seconds"].fillna(np.inf).to_numpy()
    files = [f"{path} {channel}" for path, channel in zip(table["path"], table["channel"], strict=True)]
    names = [""] * len(table)
    for own in rows_by(files):
        rows = own[np.argsort(starts[own], kind="stable")]
        over = np.maximum.accumulate(ends[rows])[:-1] - MINIMUM_SECONDS < starts[rows[1:]]
        for row, number in zip(rows.tolist(), np.cumsum([0, *over]), strict=True):
            names[row] = f"{files[row]} {number}"
    return names


def _joined(groups: Sequence[str], *shared: Sequence[str]) -> list[str]:
    """The groups, those that share something (a speaker, a recording) under the name of the first of them.

    >>> _joined(["a", "a", "b", "c"], ["Ann", "Bob", "Bob", "Cy"], ["1", "2", "3", "4"])
    ['a', 'a', 'a', 'c']
    """
    number = {name: n for n, name in enumerate(dict.fromkeys(groups))}
    first_with: dict[tuple[int, str], int] = {}
    edges = [(n, n) for n in number.values()]
    for what, values in enumerate(shared):
        for group, value in zip(groups, values, strict=True):
            if value:
                edges.append((number[group], first_with.setdefault((what, value), number[group])))
    here, there = zip(*edges, strict=True)
    links = scipy.sparse.coo_array((np.ones(len(edges)), (here, there)), shape=(len(number), len(number)))
    _, part = scipy.sparse.csgraph.connected_components(links, directed=False)
    name_of: dict[int, str] = {}
    return [name_of.setdefault(int(part[number[group]]), group) for group in groups]


def _mode_report(
    tested: pd.DataFrame,
    sources: Sequence[str],
    truth: Sequence[str],
    probabilities: Floats,
    labels: tuple[str, ...],
    resampled: str = "speakers",
) -> ModeReport:
    """Scores of the tested recordings; the interval resamples `sources`, which are called `resampled`."""
    guess = [labels[best] for best in probabilities.argmax(axis=1)]
    interval = statistics.uar_interval(truth, guess, sources)
    error = metrics.expected_calibration_error(truth, probabilities, labels)

    def scores(column: Sequence[str]) -> dict[str, tuple[float, int]]:
        found = {}
        for rows in rows_by(column):
            if name := column[rows[0]]:
                found[name] = (metrics.uar([truth[r] for r in rows], [guess[r] for r in rows]), len(rows))
        return dict(sorted(found.items()))

    genders = _genders(tested)
    by_speaker, by_gender = scores(list(tested["speaker"])), scores(genders)
    right = np.array([t == g for t, g in zip(truth, guess, strict=True)])
    chance = 1 / len(labels)
    warnings = []
    if interval.estimate <= chance:
        warnings.append(f"It does no better than guessing ({chance:.3f}).")
    elif interval.low <= chance:
        warnings.append(f"It may do no better than guessing ({chance:.3f}), which lies in the interval.")
    tests = {}
    if len(by_speaker) > 1 and max(n for _, n in by_speaker.values()) > 1:  # else shuffling them changes nothing
        tests["speaker"] = _differ_by_chance(right, truth, list(tested["speaker"]), None)
    if len(by_gender) > 1 and _least_p(list(tested["speaker"]), genders) < 0.05:
        tests["gender"] = _differ_by_chance(right, truth, genders, list(tested["speaker"]))
    for what, p in zip(tests, statistics.holm(list(tests.values())).tolist() if tests else (), strict=True):
        if p < 0.05:
            scored = by_speaker if what == "speaker" else by_gender
            worst, best = min(scored, key=lambda n: scored[n][0]), max(scored, key=lambda n: scored[n][0])
            ends = (f"{100 * scored[name][0]:.0f} % for {name} (n {scored[name][1]})" for name in (worst, best))
            warnings.append(f"UAR differs by {what} beyond chance (p = {p:.3f}): {', '.join(ends)}.")
    by_chance = _calibration_error_by_chance(probabilities, labels)
    return ModeReport(interval, error, by_speaker, by_gender, tuple(warnings), resampled, error_by_chance=by_chance)


def _calibration_error_by_chance(probabilities: Floats, labels: tuple[str, ...]) -> float:
    """The mean calibration error of as many recordings, were these probabilities exactly right."""
    random = np.random.default_rng(0)
    reached = np.cumsum(probabilities, axis=1)
    errors = []
    for _ in range(CHANCE_DRAWS):
        drawn = (random.random(len(reached))[:, None] * reached[:, -1:] > reached).sum(axis=1)
        truth = [labels[number] for number in drawn]
        errors.append(metrics.expected_calibration_error(truth, probabilities, labels))
    return float(np.mean(errors))


def _differ_by_chance(
    right: NDArray[np.bool_], truth: Sequence[str], column: Sequence[str], clusters: Sequence[str] | None
) -> float:
    """How often shuffled names give sub-groups that differ as much: a permutation test of the variance of their UARs.

    Of speakers, the names are shuffled among recordings of one emotion; of genders, of which a speaker has one (`_genders`),
    among speakers (`clusters`), since the recordings of one are not independent.
    """
    names = np.array(column, dtype=object)
    values, true = sorted(set(names) - {""}), np.array(truth, dtype=object)

    def spread(of: NDArray[Any]) -> float:
        scores = []
        for value in values:
            own = [right[(of == value) & (true == label)].mean() for label in sorted(set(true[of == value]))]
            scores.append(float(np.mean(own)) if own else np.nan)
        return float(np.nanvar(scores))

    random, observed, hits, rounds = np.random.default_rng(0), spread(names) - 1e-12, 0, 400
    whose = np.array(clusters, dtype=object) if clusters is not None else None
    for _ in range(rounds):
        if whose is None:
            shuffled = names.copy()
            for label in sorted(set(true)):  # in the same order each time, so that the draw is the same
                rows = np.flatnonzero(true == label)
                shuffled[rows] = names[random.permutation(rows)]
        else:
            people = sorted(set(whose))
            of = {person: names[whose == person][0] for person in people}
            moved = dict(zip(people, random.permutation([of[p] for p in people]), strict=True))
            shuffled = np.array([moved[person] for person in whose], dtype=object)
        hits += spread(shuffled) >= observed
    return (1 + hits) / (1 + rounds)


def _genders(table: pd.DataFrame) -> list[str]:
    """`(rows,)` one gender a speaker: the one that most of the speaker's recordings have, of those that tell, spelt as most
    recordings of that gender spell it. Empty where none tells, or two as often.
    """
    usual: dict[str, str] = {}
    for spelling, _ in Counter(table["gender"]).most_common():
        usual.setdefault(gender_of(spelling), spelling)
    given = [usual[gender_of(spelling)] for spelling in table["gender"]]
    found = [""] * len(table)
    for rows in rows_by(apart(list(table["speaker"]))):
        counts = Counter(given[row] for row in rows.tolist() if given[row]).most_common(2)
        if counts and (len(counts) == 1 or counts[0][1] > counts[1][1]):
            for row in rows.tolist():
                found[row] = counts[0][0]
    return found


def _least_p(speakers: Sequence[str], genders: Sequence[str]) -> float:
    """The least p that shuffling genders among speakers can give, however much they differ; 1 where speakers are unknown.

    >>> round(_least_p(["Ann", "Bea", "Cy", "Ann"], ["female", "female", "male", "female"]), 3)
    0.333
    """
    if not all(speakers):  # whose recordings depend on each other is not known
        return 1.0
    counts = Counter(dict(zip(speakers, genders, strict=True)).values())
    ways = math.factorial(counts.total()) // math.prod(math.factorial(n) for n in counts.values())
    # With as many of each, those that are exchanged wholesale differ as much.
    alike = math.prod(math.factorial(n) for n in Counter(n for name, n in counts.items() if name).values())
    return alike / ways
