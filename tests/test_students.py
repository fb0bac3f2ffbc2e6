"""Which classifiers are averaged is decided by speakers who were left out, and by nobody else."""

from __future__ import annotations

import numpy as np
import pytest

from emoviews import students
from emoviews.fusion import Fusion
from emoviews.students import fit_students, mixtures

Views = dict[str, np.ndarray]


def world(voices: int, *, good: str, seed: int = 0) -> tuple[Views, np.ndarray, list[str]]:
    """Two emotions; one view shows them, the other only how each speaker happened to say them."""
    rng = np.random.default_rng(seed)
    who, felt = np.repeat(np.arange(voices), 40), np.tile(np.arange(40) % 2, voices)
    sign = 2.0 * felt - 1
    shown = sign[:, None] * np.ones(6) + 3 * rng.normal(size=(len(felt), 6))
    # Each speaker's emotions lie apart on an axis of the speaker's own: what was learnt from others says nothing.
    own = 6 * sign[:, None] * rng.normal(size=(voices, 6))[who] + rng.normal(size=(len(felt), 6))
    other = "wide" if good == "egemaps" else "egemaps"
    return {good: shown, other: own}, np.eye(2)[felt], [f"S{w}" for w in who]


def used(views: Views, copies: list[Views], speakers: list[str], soft: np.ndarray) -> set[tuple[str, ...]]:
    members = fit_students(Fusion(views, speakers, copies=copies), soft, 10.0, 20, remove_text=False)
    return {tuple(space.maps) for space, _ in members}


def test_speakers_who_were_left_out_decide() -> None:
    """The view without copies joins where it tells emotions of new speakers, though it always does those it learnt from."""
    for good, expected in (("egemaps", {("egemaps",)}), ("wide", {("egemaps",), ("wide",)})):
        views, soft, speakers = world(20, good=good)
        assert used(views, [{"egemaps": views["egemaps"]}], speakers, soft) == expected


def test_a_recording_without_a_soft_label_neither_teaches_nor_decides() -> None:
    views, soft, speakers = world(6, good="wide")
    wrong, _, others = world(6, good="egemaps", seed=1)
    both = {name: np.vstack([views[name], wrong[name]]) for name in ("egemaps", "wide")}
    untaught = np.vstack([soft, np.zeros((len(others), 2))])
    names = [*speakers, *(f"other {name}" for name in others)]
    assert used(both, [{"egemaps": both["egemaps"]}], names, untaught) == {("egemaps",), ("wide",)}


@pytest.mark.parametrize("speakers", [["Ann"] * 240, [""] * 240, ["Ann"] * 120 + [""] * 120])
def test_without_two_known_speakers_nobody_can_decide(speakers: list[str]) -> None:
    views, soft, _ = world(6, good="wide")
    assert used(views, [{"egemaps": views["egemaps"]}], speakers, soft) == {("egemaps",)}


def test_many_speakers_are_left_out_in_a_few_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits grow with the members and parts, not with the speakers."""
    fits: list[int] = []
    fit = students.fit_softmax
    monkeypatch.setattr(students, "fit_softmax", lambda *given: fits.append(len(given[0])) or fit(*given))
    views, soft, speakers = world(12, good="wide")
    used(views, [{"egemaps": views["egemaps"]}], speakers, soft)
    assert len(fits) == 2 * (1 + students.PARTS)
    assert max(fits) == 2 * len(soft), "the copies teach as well"


def test_the_choice_does_not_hang_on_the_order_of_recordings() -> None:
    views, soft, speakers = world(7, good="wide")
    order = np.random.default_rng(3).permutation(len(soft))
    moved = {name: values[order] for name, values in views.items()}
    first = used(views, [{"egemaps": views["egemaps"]}], speakers, soft)
    assert used(moved, [{"egemaps": moved["egemaps"]}], [speakers[row] for row in order], soft[order]) == first


def test_a_single_view_leaves_nothing_to_choose() -> None:
    assert mixtures(["mfcc"]) == [(("mfcc",),)]
    assert mixtures(["egemaps"], ["egemaps"]) == [(("egemaps",),)]


def test_the_default_views() -> None:
    first, with_wide, apart = mixtures(["egemaps", "compare_2016", "mfcc"], ["egemaps", "mfcc"])
    assert first == (("egemaps", "mfcc"), ("egemaps",))
    assert with_wide == (*first, ("compare_2016",))
    assert apart == (("egemaps",), ("compare_2016",), ("mfcc",))
