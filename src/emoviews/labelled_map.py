"""The labelled recordings on a plane, and where a new one lies among them.

The plane is cut through what the inductive mode sees (`ModeModel.vectors`) along the two directions in which its logits
differ most between the labelled recordings. It is one linear map, so a new recording is placed exactly as the others were.
The labelled ones trained the classifier, so they lie a little further apart than new recordings would. No recording and no
name is kept, only positions and labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emoviews.fusion import principal_axes
from emoviews.propagation import Softmax

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LabelledMap:
    """A plane with the labelled recordings on it.

    Attributes:
        center: `(dim,)` of the labelled recordings in the common space: the plane's origin.
        matrix: `(dim, 2)` from the common space onto the plane.
        positions: `(labelled, 2)`.
        classes: `(labelled,)` the number of each one's label.
    """

    center: Floats
    matrix: Floats
    positions: Floats
    classes: NDArray[np.int64]

    def place(self, vectors: Floats) -> Floats:
        """`(rows, dim)` of the common space → `(rows, 2)`."""
        placed: Floats = (vectors - self.center) @ self.matrix
        return placed


def fit_map(vectors: Floats, classes: NDArray[np.int64], classifier: Softmax) -> LabelledMap:
    """Choose the plane.

    Args:
        vectors: `(labelled, dim)` in the common space.
        classes: `(labelled,)`.
        classifier: of that space.
    """
    center = vectors.mean(axis=0)
    centered = vectors - center
    weights = classifier.weights - classifier.weights.mean(axis=1, keepdims=True)  # what softmax ignores goes
    matrix = weights @ principal_axes(centered @ weights, 2)
    if matrix.shape[1] == 1:  # two classes have one direction between them; across it, what varies most otherwise
        along = matrix / max(float(np.linalg.norm(matrix)), 1e-12)
        matrix = np.hstack([matrix, principal_axes(centered - centered @ along @ along.T, 1)])
    matrix = np.pad(matrix, ((0, 0), (0, 2 - matrix.shape[1])))
    largest = matrix[np.abs(matrix).argmax(axis=0), np.arange(2)]
    matrix = matrix * np.where(largest < 0, -1.0, 1.0)  # eigenvectors have no sign; the map should not flip
    return LabelledMap(center, matrix, centered @ matrix, classes)
