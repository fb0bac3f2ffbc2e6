"""A small made-up corpus that has been "extracted": arrays written straight through the store, no audio decoded.

Five speakers, three emotions, eight sentences: 120 utterances. Emotion, speaker and sentence are points in a latent space,
and each view is another random linear picture of it with noise of its own, so that the views of an utterance have something
in common, and emotions are easy.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from emoviews.store import Source, Sources, ViewStore, to_storage
from emoviews.table import make_table
from emoviews.views import ViewRequest
from emoviews.workspace import Workspace, WorkspaceConfig

SPEAKERS = "ABCDE"
EMOTIONS = ("anger", "neutral", "sadness")
SENTENCES = 8
REQUESTS = tuple(
    ViewRequest.parse(text) for text in ("mel_spectrogram(bands=8)", "mfcc(bands=8, coefficients=6)", "egemaps")
)


@dataclasses.dataclass(frozen=True)
class Toy:
    """The corpus, as a test changes it with `dataclasses.replace` and then writes it to a store of its own.

    Attributes:
        table: the utterance table.
        keys: of each utterance in the store.
        arrays: view label → an array an utterance.
        errors: row → why its recording could not be used.
        store: where it was written.
    """

    table: pd.DataFrame
    keys: Sequence[str]
    arrays: Mapping[str, Sequence[np.ndarray]]
    errors: Mapping[int, str] = dataclasses.field(default_factory=dict)
    store: Path = Path()

    def write(self, store: Path) -> Toy:
        """The same corpus in this store."""
        sources = Sources(store)
        for row, path in enumerate(self.table["path"]):
            status = os.stat(path)
            known = Source(path, status.st_size, status.st_mtime_ns, *(float("nan"),) * 3)
            error = self.errors.get(row, "")
            sources.add(dataclasses.replace(known, key=self.keys[row], duration_seconds=1.0 + row % 7, error=error))
        sources.flush()
        for request in REQUESTS:
            spec = request.make().spec
            arrays = zip(self.keys, self.arrays[request.label], strict=True)
            ViewStore(store, spec).add(
                {k: to_storage(a, spec) for n, (k, a) in enumerate(arrays) if n not in self.errors}
            )
        return dataclasses.replace(self, store=store)

    def config(self, folder: Path, views: int = 2, **changes: Any) -> WorkspaceConfig:
        """A workspace configuration with the first `views` views."""
        return WorkspaceConfig(self.table, "toy", self.store, REQUESTS[:views], folder, **changes)

    def workspace(self, folder: Path, views: int = 2, **changes: Any) -> Workspace:
        """An open workspace; `folder` is the run folder."""
        return Workspace(self.config(folder, views, **changes))


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """The corpus in a store. Nothing may write to it."""
    folder = tmp_path_factory.mktemp("toy")
    rng = np.random.default_rng(0)
    points = {name: rng.normal(size=12) for name in (*SPEAKERS, *EMOTIONS, *map(str, range(SENTENCES)))}
    rows, latent = [], []
    for speaker in SPEAKERS:
        for emotion in EMOTIONS:
            for sentence in range(SENTENCES):
                name = f"{speaker}_{emotion}_{sentence}"
                (folder / f"{name}.wav").touch()
                rows.append(
                    {"path": f"{name}.wav", "speaker": speaker, "emotion": emotion, "text": f"sentence {sentence}"}
                )
                near = 3 * points[emotion] + 0.4 * points[speaker] + points[str(sentence)]
                latent.append(near + rng.normal(size=12) / 2)
    arrays: dict[str, list[np.ndarray]] = {}
    for request in REQUESTS:
        spec = request.make().spec
        picture = rng.normal(size=(12, spec.shape[-1]))
        means = 3.0 + np.stack(latent) @ picture
        lengths = rng.integers(6, 13, size=len(rows))
        arrays[request.label] = [
            (mean + rng.normal(size=(length, len(mean))) if spec.has_frames else mean).astype(np.float32)
            for mean, length in zip(means, lengths, strict=True)
        ]
    corpus = Toy(make_table(rows, folder), [f"{i:032x}" for i in range(len(rows))], arrays)
    return corpus.write(folder / "store")
