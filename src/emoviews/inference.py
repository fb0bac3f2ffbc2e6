"""An exported graph, run by onnxruntime: what `exporting` writes, read back without torch.

What a graph is (inputs, outputs, metadata) stands in docs/share.md, for users of onnxruntime in other languages.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emoviews.checkpoints import DIGEST, NOTES
from emoviews.errors import CheckpointError, MissingExtraError

Floats = NDArray[np.float64]

GRAPH: Final = "model.onnx"
"""The graph of a recogniser, in its folder."""


def input_name(label: str) -> str:
    """The input of a view: its label, as an identifier.

    >>> input_name("mfcc(bands=8, coefficients=6)")
    'mfcc_bands_8_coefficients_6'
    """
    return re.sub(r"\W+", "_", label).strip("_")


def made_from(folder: Path) -> str:
    """SHA-256 over what of a folder's `emoviews.json` decides about answers; it names the weights by their content."""
    notes = json.loads((folder / NOTES).read_text(encoding="utf-8"))
    deciding = {name: value for name, value in notes.items() if name not in ("report", "made", "versions", DIGEST)}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


class Graph:
    """The graph of a recogniser: views of a recording in, calibrated probabilities out; inductive.

    Attributes:
        labels: the classes, in the order of the probabilities.
    """

    labels: tuple[str, ...]

    def __init__(self, path: Path) -> None:
        """Open a graph.

        Raises:
            MissingExtraError: onnxruntime is not installed.
            CheckpointError: the file is no graph, or none that `emoviews export` wrote of a recogniser.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError("--backend onnx", package="onnxruntime", extra="onnx") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # the graphs are small; other threads would only wait
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
            self.labels = tuple(json.loads(self.metadata["labels"]))
            self._inputs = {name: view["input"] for name, view in json.loads(self.metadata["views"]).items()}
        except Exception as error:  # onnxruntime's errors have no common class of their own
            raise CheckpointError(
                f"{path} is no graph of a recogniser ({type(error).__name__}: {error}). Make it again with: emoviews export "
                f"{path.parent} --format onnx"
            ) from error

    @classmethod
    def of(cls, folder: Path) -> Graph:
        """The graph in a recogniser's folder.

        Raises:
            CheckpointError: there is none, or it was made from another recogniser; both hashes are named.
        """
        command = f"emoviews export {folder} --format onnx"
        if not (folder / GRAPH).is_file():
            raise CheckpointError(f"{folder} holds no graph ({GRAPH}). Make it with: {command}")
        graph, here = cls(folder / GRAPH), made_from(folder)
        if graph.metadata.get("source") != here:
            raise CheckpointError(
                f"{folder / GRAPH} was made from another recogniser ({str(graph.metadata.get('source'))[:12]}; the folder's is "
                f"{here[:12]}). Make it again with: {command}"
            )
        return graph

    def judge(self, views: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
        """Judge one recording.

        Args:
            views: view label → array with the view's axes.

        Returns:
            `probabilities` `(classes,)` and `distance` `()`: above 1 it is no speech like that of the training recordings;
            infinite, nobody speaks.
        """
        fed = {name: np.asarray(views[label], dtype=np.float32)[np.newaxis] for label, name in self._inputs.items()}
        names = ("probabilities", "distance")
        return {name: out[0].astype(np.float64) for name, out in zip(names, self._session.run(names, fed), strict=True)}
