"""A card says what `fit` found, and what the recogniser must not be used for; nobody is named in it."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import yaml

from emoviews.card import anonymous, model_card
from emoviews.novelty import Limits
from emoviews.recognition import FitReport, Fitted, ModeReport
from emoviews.statistics import Interval
from emoviews.types import FEATURES, ViewSpec

SPEAKERS = {"Ann": (0.9, 10), "Ann-Marie": (0.5, 12), "Bob": (0.7, 11)}
WARNING = "UAR differs by speaker beyond chance (p = 0.010): 50 % for Ann-Marie, 90 % for Ann."


def fitted(licence: str = "", **changes: object) -> Fitted:
    found = ModeReport(Interval(0.7123, 0.61, 0.81, 0.95), 0.05, SPEAKERS, {"female": (0.65, 22)}, (WARNING,))
    values: dict[str, object] = {
        "folds": 3,
        "modes": {"inductive": found, "transductive": replace(found, uar=Interval(0.999, 0.99, 1.0, 0.95))},
        "left_out": {"Ann 7": "/home/ann/7.wav: silent"},
    }
    report = FitReport(40, {"anger": 16, "joy": 17}, 3, 3, **{**values, **changes})  # type: ignore[arg-type]
    spec = ViewSpec("made_up", 1, {}, (FEATURES,), (7,), "float32", None, licence=licence)
    made = {"corpus": "My corpus", "table": "abc", "languages": ["pl", "Klingon"], "corpus_licences": {"one": "free"}}
    return Fitted(
        requests=tuple(SimpleNamespace(label=label) for label in ("made_up", "silent")),  # type: ignore[arg-type]
        specs={"made_up": spec},
        classes=("anger", "joy"),
        model=SimpleNamespace(modes={"inductive": SimpleNamespace(maps={"made_up": None})}),  # type: ignore[arg-type]
        temperatures={},
        limits=Limits(1.0, 1.0),
        heard=frozenset(),
        report=report,
        labelled=None,  # type: ignore[arg-type]
        provenance=made,
    )


def test_it_says_what_was_found() -> None:
    card = model_card(fitted())
    assert "transductive" not in card, "nobody else has the recordings that trained"
    assert "- the corpus one: free" in card
    unknown = replace(fitted(), provenance={})
    assert "- the recordings: not known" in model_card(unknown)
    assert "not known; ask" not in card
    for line in (
        "| inductive | 0.712 | 0.610 to 0.810 | 0.050 |",
        "| inductive | female | 0.650 | 22 |",
        "| inductive | worst of 3 speakers | 0.500 | 12 |",
        "| inductive | best of 3 speakers | 0.900 | 10 |",
        "| Views | made_up; a recording by itself is judged by made_up |",
        "| Labels | 33, of 3 speakers: anger 16, joy 17 |",
        "| Left out | 1 recording that could not be used |",
        "leaving out each of 3 groups",
        "0.500. The interval",
        "emoviews predict MODEL recording.wav",
    ):
        assert line in card


def test_few_recordings_of_a_speaker_stand_apart() -> None:
    few = {1: Interval(0.41, 0.35, 0.47, 0.95), 10: Interval(0.56, math.nan, math.nan, 0.95)}
    both = {**fitted().report.modes, "speaker-adaptive": fitted().report.modes["inductive"]}
    card = model_card(fitted(modes=both, by_files=few))
    assert "| speaker-adaptive, 1 recording of a speaker | 0.410 | 0.350 to 0.470 | | |\n" in card
    assert "| speaker-adaptive, 10 recordings of a speaker | 0.560 | none (one speaker) | | |\n" in card
    assert "judged together, unless they say how many. It needs" in card.replace("\n ", "")
    alone = model_card(fitted())
    assert "of a speaker |" not in alone
    assert "Speaker-adaptive: the numbers" not in alone
    assert "With one to five of them it is hardly better" in model_card(fitted(modes=both))


def test_it_forbids_what_the_law_forbids() -> None:
    card = model_card(fitted())
    assert "article\n  5(1)(f)" in card
    assert "at work or in education" in card
    assert "What a voice sounds like is not what a person feels." in card


def test_its_metadata() -> None:
    data = yaml.safe_load(model_card(fitted(), "someone/voices").split("---")[1])
    assert data["pipeline_tag"] == "audio-classification"
    assert data["language"] == ["pl"]
    (index,) = data["model-index"]
    (result,) = index["results"]
    assert index["name"] == "voices"
    assert result["dataset"] == {"name": "My corpus", "type": "my-corpus"}
    assert result["metrics"][0]["value"] == 0.7123


def test_nobody_is_named() -> None:
    card = model_card(fitted())
    assert not any(name in card for name in ("Ann", "Bob", "/home"))
    assert "50 % for speaker 2, 90 % for speaker 1." in card
    report = anonymous(fitted().report)
    assert list(report.modes["inductive"].by_speaker.items()) == [
        ("speaker 1", (0.9, 10)),
        ("speaker 2", (0.5, 12)),
        ("speaker 3", (0.7, 11)),
    ]
    assert len(report.left_out) == 1


def test_numbers_of_speakers_who_are_called_like_numbers_are_not_mixed_up() -> None:
    scores = {"Zed": (0.1, 10), "speaker 1": (0.3, 12), "speaker 10": (0.7, 9)}
    warning = "UAR differs by speaker beyond chance (p = 0.010): 10 % for Zed (n 10), 70 % for speaker 10 (n 9)."
    found = replace(
        fitted().report.modes["inductive"], by_speaker=scores, warnings=(warning, warning.replace(" (n 9)", ""))
    )
    [said, older] = anonymous(replace(fitted().report, modes={"inductive": found})).modes["inductive"].warnings
    assert said.endswith("10 % for speaker 1 (n 10), 70 % for speaker 3 (n 9).")
    assert older.endswith("10 % for speaker 1 (n 10), 70 % for speaker 3.")


def anonymised(scores: dict[str, tuple[float, int]], warning: str) -> str:
    found = replace(fitted().report.modes["inductive"], by_speaker=scores, warnings=(warning,))
    return anonymous(replace(fitted().report, modes={"inductive": found})).modes["inductive"].warnings[0]


def test_a_name_that_another_begins_with_is_not_taken_for_it() -> None:
    """The longest is tried first: what follows the shorter one here is what may follow a whole name."""
    scores = {
        "Dr": (0.1, 10),
        "Dr. No": (0.7, 9),
        "Mr (n 1) X": (0.2, 9),
        "Mr": (0.3, 9),
        "A": (0.3, 9),
        "A, B": (0.3, 9),
    }
    said = anonymised(scores, "beyond chance: 10 % for Dr (n 10), 70 % for Dr. No (n 9).")
    assert said == "beyond chance: 10 % for speaker 1 (n 10), 70 % for speaker 2 (n 9)."
    said = anonymised(scores, "beyond chance: 20 % for Mr (n 1) X (n 9), 30 % for A, B (n 9).")
    assert said == "beyond chance: 20 % for speaker 3 (n 9), 30 % for speaker 6 (n 9)."


def test_words_that_begin_or_stand_like_a_name_are_left() -> None:
    scores = {"f": (0.1, 10), "m": (0.7, 9), "interval": (0.5, 9)}
    gender = "UAR differs by gender beyond chance (p = 0.010): 10 % for female (n 10), 70 % for male (n 9)."
    guessing = "It may do no better than guessing (0.250), which lies in the interval."
    assert anonymised(scores, gender) == gender
    assert anonymised(scores, guessing) == guessing


def test_what_chance_gives_stands_beside_the_calibration_error() -> None:
    assert "| inductive | 0.712 | 0.610 to 0.810 | 0.050 |  |\n" in model_card(fitted())
    found = replace(fitted().report.modes["inductive"], error_by_chance=0.0412)
    assert "| 0.610 to 0.810 | 0.050 | 0.041 |\n" in model_card(fitted(modes={"inductive": found}))


def test_licences_of_views_stand_in_it() -> None:
    card = model_card(fitted("Computed with openSMILE: non-commercial"))
    assert "- made_up: Computed with openSMILE: non-commercial" in card
    assert 'pip install "emoviews[egemaps] @ git+https://github.com/emoviews/emoviews"' in card
    assert 'pip install "emoviews @ git+https://github.com/emoviews/emoviews"' in model_card(fitted())


@pytest.mark.parametrize("modes", [{}, {"inductive": ModeReport(Interval(0.5, math.nan, math.nan, 0.95), 0.1, {}, {})}])
def test_what_is_not_known_is_said(modes: dict[str, ModeReport]) -> None:
    card = model_card(fitted(modes=modes, notes=("Labels from 1 speaker.",)))
    assert ("**Not known.**" in card) == (not modes)
    assert ("none (one speaker)" in card) == bool(modes)
    assert ("model-index" in card) == bool(modes)
    assert "- Labels from 1 speaker." in card


def test_a_single_new_speaker_is_less_certain_than_the_mean() -> None:
    """Three speakers of 0.5, 0.7 and 0.9: 0.7 ± 4.303 · 0.2 · √(4/3), and no UAR leaves 0 to 1."""
    spread = ModeReport(Interval(0.7, 0.61, 0.81, 0.95), 0.05, {"Ann": (0.69, 9), "Bob": (0.7, 9), "Cy": (0.71, 9)}, {})
    assert spread.new_speaker.low == pytest.approx(0.7 - 4.3027 * 0.01 * math.sqrt(4 / 3), abs=1e-4)
    assert (
        fitted().report.modes["inductive"].new_speaker.low,
        fitted().report.modes["inductive"].new_speaker.high,
    ) == (0, 1)
    assert "| inductive, one new speaker, in 19 of 20 cases | | 0.650 to 0.750 | |" in model_card(
        fitted(modes={"inductive": spread})
    )
    assert "transductive, one new speaker" not in model_card(fitted())
    assert "one new speaker" not in model_card(fitted(notes=("SPEAKER OVERLAP: too good",)))


def test_what_intervals_resample_is_said_of_each_mode() -> None:
    found = fitted().report.modes["inductive"]
    assert "0.500. The interval resamples speakers.\n" in model_card(fitted())
    modes = {"inductive": replace(found, resampled="speakers and groups"), "speaker-adaptive": found}
    said = "The interval resamples speakers (speaker-adaptive); speakers and groups (inductive).\n"
    assert said in model_card(fitted(modes=modes))


def test_an_overlap_of_speakers_is_said() -> None:
    assert "(no speaker is in two)" in model_card(fitted())
    assert "(speakers may be in several)" in model_card(fitted(notes=("SPEAKER OVERLAP: too good",)))
