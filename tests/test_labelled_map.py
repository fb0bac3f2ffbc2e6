"""The map of the labelled recordings: linear, turned the same way every time, and spread by what tells classes apart."""

from __future__ import annotations

import numpy as np
import pytest

from emoviews.labelled_map import fit_map
from emoviews.propagation import Softmax


def corpus(classes: int, dim: int = 6):
    random = np.random.default_rng(0)
    centres = 4 * np.eye(classes, dim)
    labels = np.repeat(np.arange(classes), 20)
    vectors = centres[labels] + random.normal(size=(len(labels), dim))
    vectors[:, -1] *= 50  # varies most, and tells nothing
    return vectors, labels, Softmax(np.eye(dim, classes), np.zeros(classes))


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_classes_lie_apart_although_another_direction_varies_more(classes):
    vectors, labels, classifier = corpus(classes)
    found = fit_map(vectors, labels, classifier)
    assert found.positions.shape == (len(labels), 2)
    means = np.stack([found.positions[labels == c, 0].mean() for c in range(classes)])
    within = np.mean([found.positions[labels == c, 0].std() for c in range(classes)])
    assert np.ptp(means) > 2 * within
    assert found.positions.std(axis=0).min() > 1e-6


def test_a_recording_is_placed_as_those_that_made_the_map():
    vectors, labels, classifier = corpus(4)
    found = fit_map(vectors, labels, classifier)
    assert found.place(vectors) == pytest.approx(found.positions)
    halfway = found.place((vectors[:1] + vectors[30:31]) / 2)
    assert halfway == pytest.approx((found.positions[:1] + found.positions[30:31]) / 2)


def test_it_is_not_flipped_by_rounding():
    vectors, labels, classifier = corpus(3)
    again = fit_map(vectors + 1e-9, labels, classifier)
    assert again.positions == pytest.approx(fit_map(vectors, labels, classifier).positions, abs=1e-5)


def test_a_space_of_one_dimension_has_a_map_too():
    found = fit_map(np.array([[0.0], [1.0]]), np.array([0, 1]), Softmax(np.array([[1.0, -1.0]]), np.zeros(2)))
    assert found.positions[:, 1].tolist() == [0.0, 0.0]
    assert found.positions[0, 0] != found.positions[1, 0]
