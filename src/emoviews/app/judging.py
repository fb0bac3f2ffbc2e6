"""What a recogniser makes of one recording (altogether, view by view, over time, on the map) and of many.

Inductive throughout: nobody tells a page who speaks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoviews import audio, calibration
from emoviews.app.archives import Limits
from emoviews.errors import AudioError, EmoViewsError, UsageError
from emoviews.extraction import MAXIMUM_SECONDS
from emoviews.predicting import distinct, windows
from emoviews.recognition import Fitted, Recognised, computed, has_trained, made_views, recognised, shifts, told
from emoviews.recognizer import EmotionRecognizer
from emoviews.table import make_table
from emoviews.types import SAMPLING_RATE

Floats = NDArray[np.float64]
Advance = Callable[[float], None]
"""Is told which share of the work is done, 0 to 1."""

WINDOW_SECONDS: Final = 4.0
"""About as long as an utterance."""

TIMED_SECONDS: Final = 6.0
"""From this length on a recording is judged over time as well."""

HOP_SECONDS: Final = 2.0

MOST_OVERLAPPING: Final = 45
"""Windows of a longer recording overlap less, until one begins where another ends: every second is judged."""


@dataclass(frozen=True)
class Judgement:
    """What was made of one recording.

    Attributes:
        labels: the classes.
        samples: `(samples,)` at 16 000 Hz.
        cropped: view → how many seconds of the recording's start it hears; only views that do not hear all.
        problem: why no emotion is given; empty where one is.
        probabilities: `(classes,)` calibrated; NaN where there is a problem.
        trained: whether the recogniser learnt from this very recording.
        alone: view → `(classes,)` what it says by itself (`SemiSupervised.alone`), at the same temperature; empty where
            there is a problem, or one view only.
        place: `(2,)` on the map of the labelled recordings; NaN where there is a problem.
        times_seconds: `(windows, 2)` start and end; no rows for a short recording.
        over_time: `(windows, classes)`; NaN where no emotion is given.
        warnings: what whoever reads the emotions must know: that the windows are, as a whole, unlike the training recordings.
    """

    labels: tuple[str, ...]
    samples: NDArray[np.float32]
    cropped: Mapping[str, float]
    problem: str
    probabilities: Floats
    trained: bool
    alone: Mapping[str, Floats]
    place: Floats
    times_seconds: Floats
    over_time: Floats
    warnings: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How long the recording lasts."""
        return len(self.samples) / SAMPLING_RATE

    @property
    def best(self) -> str:
        """The most probable emotion; empty where there is a problem."""
        return "" if self.problem else self.labels[int(self.probabilities.argmax())]


def require_limits(limits: Limits) -> None:
    """Refuse limits that can't be kept.

    Raises:
        UsageError: one is not above 0, or recordings longer than one emotion makes sense for.
    """
    if not 0 < limits.seconds <= MAXIMUM_SECONDS:
        raise UsageError(
            f"--max-seconds: expected more than 0 and at most {MAXIMUM_SECONDS:.0f}, got {limits.seconds:g}. For longer "
            "recordings: emoviews predict MODEL FILE --window-seconds 4"
        )
    if limits.megabytes < 1:
        raise UsageError(f"--max-megabytes: expected at least 1, got {limits.megabytes}.")


def hears_first(fitted: Fitted) -> dict[str, float]:
    """View → how many seconds of a recording's start it hears at most; only views that have such a limit."""
    limits = {name: spec.parameters.get("maximum_seconds") for name, spec in fitted.specs.items()}
    return {name: float(most) for name, most in limits.items() if most is not None}


def judge(
    recognizer: EmotionRecognizer, path: Path, limits: Limits, advance: Advance = lambda share: None
) -> Judgement:
    """Judge one recording.

    Raises:
        AudioError: it can't be used (no audio, silent, too short, too long).
        MissingExtraError: its format needs a package that is not installed.
    """
    fitted: Fitted = recognizer.fitted_
    _refuse_long(path, limits)
    advance(0.0)  # that something goes on is in sight before the first share is done
    samples = audio.load(path)
    table = make_table([{"id": path.stem, "path": str(path)}])
    computed_ = computed(table, made_views(fitted.needed("inductive")))
    found, vectors = recognised(fitted, table, computed_, "inductive"), computed_.vectors
    problem = without_place(found.problems[0], path, path.name)
    alone: dict[str, Floats] = {}
    place = np.full(2, np.nan)
    if not problem:
        place = fitted.labelled.place(found.embedded)[0]
        if len(vectors) > 1:
            temperature = fitted.temperatures[found.modes[0]]
            alone = {n: calibration.scaled(fitted.model.alone(vectors, n), temperature)[0] for n in vectors}
    times, over_time, warnings = np.zeros((0, 2)), np.zeros((0, len(fitted.labels))), found.warnings
    seconds = len(samples) / SAMPLING_RATE
    if seconds > TIMED_SECONDS:
        hop = min(WINDOW_SECONDS, max(HOP_SECONDS, (seconds - WINDOW_SECONDS) / (MOST_OVERLAPPING - 1)))
        parts = windows(table.assign(start_seconds=0.0, end_seconds=seconds), WINDOW_SECONDS, hop)
        in_time = _one_by_one(recognizer, parts, advance, what="the stretches of this recording")
        over_time, warnings = in_time.probabilities, in_time.warnings
        times = parts[["start_seconds", "end_seconds"]].to_numpy(dtype=float)
    trained = has_trained(found.modes[0])
    cropped = {name: most for name, most in hears_first(fitted).items() if most < seconds}
    whole = found.probabilities[0]
    return Judgement(fitted.labels, samples, cropped, problem, whole, trained, alone, place, times, over_time, warnings)


def judge_all(
    recognizer: EmotionRecognizer,
    recordings: Sequence[tuple[str, Path]],
    limits: Limits,
    advance: Advance = lambda share: None,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Judge many recordings: the columns of `emoviews predict`, where `path` is the name that was given; and its warnings.

    A recording that can't be used is a row with its problem.

    Args:
        recognizer: a fitted one.
        recordings: name and file of each.
        limits: how long and how many.
        advance: see `Advance`.

    Raises:
        UsageError: none, or too many.
    """
    if not recordings:
        raise UsageError(f"There are no recordings among these files ({', '.join(sorted(audio.AUDIO_SUFFIXES))}).")
    if len(recordings) > limits.files:
        raise UsageError(f"These are {len(recordings)} recordings; at most {limits.files} are taken at a time.")
    names = [name for name, _ in recordings]
    table = make_table([{"id": f"{n} {name}", "path": str(path)} for n, (name, path) in enumerate(recordings)])
    found = _one_by_one(recognizer, table, advance, limits)
    results = found.frame(table)
    problems = [
        without_place(why, path, name) for why, (name, path) in zip(results["problem"], recordings, strict=True)
    ]
    return results.assign(id=distinct(names), path=names, problem=problems), found.warnings


def without_place(why: str, path: Path, name: str) -> str:
    """What is wrong with a recording, without where it lies on the computer that serves the page.

    >>> without_place("/tmp/x/a.wav is silent.", Path("/tmp/x/a.wav"), "a.wav")
    'a.wav is silent.'
    """
    return why.replace(str(path), name).removeprefix(f"{name}: ")


def _one_by_one(
    recognizer: EmotionRecognizer,
    table: pd.DataFrame,
    advance: Advance,
    limits: Limits | None = None,
    what: str = "these recordings",
) -> Recognised:
    """`recognised` of every row by itself, with the progress told in between; `what` the rows are called in warnings."""
    fitted: Fitted = recognizer.fitted_
    views, classes = made_views(fitted.needed("inductive")), len(fitted.labels)
    dimensions = fitted.model.modes["inductive"].dimensions
    probabilities, embedded = np.full((len(table), classes), np.nan), np.full((len(table), dimensions), np.nan)
    problems, modes = [""] * len(table), ["inductive"] * len(table)
    rates = [0] * len(table)
    new: dict[int, Mapping[str, Floats]] = {}
    for row in range(len(table)):
        try:
            if limits is not None:
                _refuse_long(table["path"].iloc[row], limits)
            one = table.iloc[[row]].reset_index(drop=True)
            made = computed(one, views)
            found = recognised(fitted, one, made, "inductive")
            problems[row], modes[row], rates[row] = found.problems[0], found.modes[0], made.rates[0]
            probabilities[row], embedded[row] = found.probabilities[0], found.embedded[0]
            if not problems[row] and not has_trained(modes[row]):
                new[row] = made.vectors
        except EmoViewsError as error:
            problems[row] = str(error)
        advance((row + 1) / len(table))
    together = {label: np.vstack([vectors[label] for vectors in new.values()]) for label in (views if new else ())}
    far = np.full(len(table), np.nan)
    far[list(new)] = shifts(fitted, together, [""] * len(new))
    unlike, warnings = told(fitted, table.assign(speaker=""), problems, far, rates, "inductive", what)
    return Recognised(fitted.labels, probabilities, tuple(problems), tuple(modes), embedded, unlike, warnings)


def _refuse_long(path: str | Path, limits: Limits) -> None:
    seconds = audio.probe(path).duration_seconds
    if seconds > limits.seconds:
        raise AudioError(
            f"It lasts {seconds:.0f} s; this page takes up to {limits.seconds:.0f} s. Cut it, or use: emoviews predict MODEL "
            f"FILE --window-seconds {WINDOW_SECONDS:.0f}"
        )
