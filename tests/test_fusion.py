"""One space: equal to the parts it is made of, relative to the speaker where asked, blind to the sentence where told."""

from __future__ import annotations

import numpy as np
import pytest

from emoviews import fusion
from emoviews.errors import UsageError
from emoviews.fusion import (
    Fusion,
    Space,
    confounding,
    principal_axes,
    rows_by,
    time_statistics,
    vectors_in,
)


def world(speakers: int = 6, each: int = 20) -> tuple[dict[str, np.ndarray], list[str], list[str], np.ndarray]:
    """Views in which speaker, sentence and emotion add up."""
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(speakers), each)
    said = np.tile(np.arange(each) % 5, speakers)
    felt = np.tile(np.arange(each) // 5 % 2, speakers)
    latent = 4 * rng.normal(size=(speakers, 8))[who] + 2 * rng.normal(size=(5, 8))[said] + rng.normal(size=(2, 8))[felt]
    latent = latent + 0.2 * rng.normal(size=latent.shape)
    views = {"egemaps": latent @ rng.normal(size=(8, 12)), "mfcc": latent @ rng.normal(size=(8, 30)) + 5}
    return views, [f"S{w}" for w in who], [f"text {s}" for s in said], felt


def fit_space(
    views: dict[str, np.ndarray], speakers: list[str], texts: list[str] | None = None, *, adaptive: bool
) -> Space:
    recordings = Fusion(views, speakers, texts)
    return recordings.space(list(views), adaptive=adaptive, remove_text=texts is not None)[0]


def explained(vectors: np.ndarray, names: list[str]) -> float:
    """Share of the variance between groups."""
    vectors = vectors - vectors.mean(axis=0)
    between = sum(len(rows) * np.sum(vectors[rows].mean(axis=0) ** 2) for rows in rows_by(names))
    return float(between / np.sum(vectors**2))


def test_adaptive_vectors_forget_the_speaker_and_text_shrinkage_the_sentence() -> None:
    views, speakers, texts, _ = world()
    plain = fit_space(views, speakers, adaptive=False).vectors(views)
    relative = fit_space(views, speakers, adaptive=True)
    assert explained(plain, speakers) > 0.6
    assert explained(relative.vectors(views, speakers), speakers) < 0.1
    blind = fit_space(views, speakers, texts, adaptive=True).vectors(views, speakers)
    assert explained(blind, texts) < explained(relative.vectors(views, speakers), texts) - 0.2


def test_unrepeated_texts_change_nothing() -> None:
    views, speakers, _, _ = world()
    texts = [str(row) for row in range(len(speakers))]
    with_text, without = (fit_space(views, speakers, t, adaptive=True).vectors(views, speakers) for t in (texts, None))
    assert with_text == pytest.approx(without)


def test_one_recording_of_a_speaker_is_shrunk_to_the_training_statistics() -> None:
    views, speakers, _, _ = world()
    space = fit_space(views, speakers, adaptive=True)
    one = {name: values[:1] for name, values in views.items()}
    alone = space.vectors(one, ["new"])
    assert np.isfinite(alone).all()
    assert np.abs(alone).sum() > 0, "its own mean alone would make it 0"
    many = space.vectors({name: values[:20] for name, values in views.items()}, ["new"] * 20)
    assert np.linalg.norm(many[0] - space.vectors(views, speakers)[0]) < 1e-9


def test_rows_are_independent_without_speakers() -> None:
    views, speakers, _, _ = world()
    space = fit_space(views, speakers, adaptive=False)
    whole = space.vectors(views)
    assert space.vectors({name: values[3:5] for name, values in views.items()}) == pytest.approx(whole[3:5])


@pytest.mark.parametrize("adaptive", [True, False])
def test_spaces_fitted_together_are_those_fitted_one_by_one(adaptive: bool) -> None:
    views, speakers, texts, _ = world()
    looked_at = [["egemaps", "mfcc"], ["mfcc"], ["mfcc", "egemaps"]]
    recordings = Fusion(views, speakers, texts)
    found = [recordings.space(names, adaptive=adaptive, remove_text=True) for names in looked_at]
    for names, (space, vectors) in zip(looked_at, found, strict=True):
        own = fit_space({name: views[name] for name in names}, speakers, texts, adaptive=adaptive)
        assert list(space.maps) == names
        assert vectors == pytest.approx(own.vectors(views, speakers), abs=1e-9)
    new = {name: values[:7] + 1 for name, values in views.items()}
    at_once = vectors_in([space for space, _ in found], new, speakers[:7])
    for (space, _), vectors in zip(found, at_once, strict=True):
        assert vectors == pytest.approx(space.vectors(new, speakers[:7]), abs=1e-12)


def test_adaptive_and_plain_spaces_do_not_share_scores() -> None:
    views, speakers, _, _ = world()
    spaces = [fit_space(views, speakers, adaptive=adaptive) for adaptive in (True, False)]
    for space, vectors in zip(spaces, vectors_in(spaces, views, speakers), strict=True):
        assert vectors == pytest.approx(space.vectors(views, speakers), abs=1e-12)


def test_an_adaptive_space_needs_speakers() -> None:
    views, speakers, _, _ = world()
    with pytest.raises(UsageError, match="needs to know which recordings are of one speaker"):
        fit_space(views, speakers, adaptive=True).vectors(views)


def test_constant_features_are_harmless() -> None:
    views, speakers, texts, _ = world()
    views["egemaps"][:, 0] = 7.0
    assert np.isfinite(fit_space(views, speakers, texts, adaptive=True).vectors(views, speakers)).all()


def test_only_recordings_do_not_hide_how_much_a_speakers_differ() -> None:
    """Nine speakers with one recording each beside two with many: variance within is that of the two."""
    rng = np.random.default_rng(0)
    values = np.vstack([rng.normal(size=(100, 3)), 5 + rng.normal(size=(100, 3)), 5 * rng.normal(size=(100, 3))])
    speakers = ["Ann"] * 100 + ["Bob"] * 100 + [f"S{row}" for row in range(100)]
    space, _ = Fusion({"mfcc": values}, speakers).space(["mfcc"], adaptive=True)
    within = space.maps["mfcc"].within * space.maps["mfcc"].deviation ** 2
    assert within == pytest.approx((values[:100].var(axis=0) + values[100:200].var(axis=0)) / 2)


def test_of_nothing_there_are_no_principal_axes() -> None:
    assert principal_axes(np.zeros((5, 0)), 4).shape == (0, 0)
    assert principal_axes(np.zeros((5, 3)), 4).shape[0] == 3


@pytest.mark.parametrize("shape", [(10, 40), (40, 10)])
def test_principal_axes_are_those_of_the_svd(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    axes = principal_axes(x, 4)
    assert axes.T @ axes == pytest.approx(np.eye(4), abs=1e-9)
    assert np.linalg.norm(x @ axes, axis=0) == pytest.approx(np.linalg.svd(x, compute_uv=False)[:4])


def test_confounding_tells_crossed_from_nested() -> None:
    rng = np.random.default_rng(0)
    who = [f"S{n}" for n in range(8) for _ in range(10)]
    assert confounding(who, ["abcd"[n // 2] for n in range(8) for _ in range(10)]) == 1.0
    assert confounding(who, ["abcd"[rng.integers(4)] for _ in who]) < 0.2
    assert confounding([""] * 4, list("abab")) == 0.0
    assert confounding(["S1", "S2", "S3"], list("aab")) == 0.0, "no speaker has two labels"


def test_time_statistics_of_one_frame() -> None:
    found = time_statistics(np.array([[1.0, 2.0]]))
    assert found.tolist() == [1, 2, 0, 0, 1, 2, 1, 2, 1, 2, 0, 0, 0, 0]


def test_what_is_found_of_a_view_serves_all_spaces_that_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Principal components take longest; another set of labels must not need them again."""
    views, speakers, texts, _ = world()
    copy = {"mfcc": views["mfcc"] + 1}
    recordings, asked = Fusion(views, speakers, texts, [copy]), []
    find = fusion.spread
    monkeypatch.setattr(fusion, "spread", lambda x: asked.append(x.shape) or find(x))
    for _ in range(2):
        for names in (["egemaps", "mfcc"], ["mfcc"]):
            recordings.space(names, adaptive=True)
    rows = len(speakers)
    assert asked == [(rows, 12), (rows, 30)]
    _, plain = recordings.space(["mfcc"], adaptive=False)
    _, stacked = recordings.space(["mfcc"], adaptive=False, copied=True)
    assert asked[2:] == [(rows, 30), (2 * rows, 30)], "with copies it is another space"
    assert len(stacked) == 2 * len(plain)
    both = {"mfcc": np.vstack([views["mfcc"], copy["mfcc"]])}
    assert stacked == pytest.approx(Fusion(both, speakers * 2).space(["mfcc"], adaptive=False)[1], abs=1e-9)


def test_some_of_the_recordings_span_their_own_spaces() -> None:
    views, speakers, texts, _ = world()
    rows = np.arange(0, 100, 2)
    part = Fusion(views, speakers, texts).at(rows)
    own = fit_space(
        {n: v[rows] for n, v in views.items()}, [speakers[r] for r in rows], [texts[r] for r in rows], adaptive=True
    )
    assert part.space(list(views), adaptive=True, remove_text=True)[1] == pytest.approx(
        own.vectors(part.views, part.speakers), abs=1e-9
    )
