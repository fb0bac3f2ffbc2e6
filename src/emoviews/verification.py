"""Re-check what was written: the arrays of a store, a recogniser or checkpoint, the database of a run. Nothing is changed."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from emoviews import results
from emoviews.bundles import KIND, load_fitted
from emoviews.checkpoints import DIGEST, NOTES, load_checkpoint
from emoviews.errors import EmoViewsError, StoreError, UsageError
from emoviews.store import SPEC, ViewStore
from emoviews.types import ViewSpec


@dataclass(frozen=True)
class Verified:
    """What was found in one folder.

    Attributes:
        folder: that was looked at.
        what: it holds, and what of that was compared, in words.
        problems: a sentence each; empty if all that was compared is as it was written.
    """

    folder: Path
    what: str
    problems: tuple[str, ...]


def verify(folder: Path) -> list[Verified]:
    """Read all of a store (or of one view of it), a bundle, a checkpoint or a run folder, and compare it with its checksums.

    Raises:
        UsageError: it is none of these.
    """
    if (folder / NOTES).is_file():
        return [_weights(folder)]
    if (folder / results.FILE).is_file():
        return [_database(folder), *(_weights(path.parent) for path in sorted(folder.rglob(NOTES)))]
    places = [folder] if (folder / SPEC).is_file() else sorted(path.parent for path in folder.glob(f"*/{SPEC}"))
    if not places:
        raise UsageError(
            f"{folder} is no store, recogniser, checkpoint or run folder: it holds no {NOTES}, no {results.FILE} and no view."
        )
    return [_view(place) for place in places]


def _view(folder: Path) -> Verified:
    what = "a view of a store"
    try:
        said = json.loads((folder / SPEC).read_text(encoding="utf-8"))
        spec = ViewSpec.of({name: value for name, value in said.items() if name != "format"})
        if folder.name != (expected := f"{spec.name}-{spec.fingerprint}"):
            return Verified(folder, what, (f"{folder} holds {expected} by its {SPEC}; one of them was changed.",))
        store = ViewStore(folder.parent, spec)
    except StoreError as error:
        return Verified(folder, what, (str(error),))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Verified(folder, what, (f"{folder / SPEC} can't be read ({type(error).__name__}: {error}).",))
    return Verified(folder, f"{what}, arrays of {len(store)} recordings", tuple(store.verify()))


def _weights(folder: Path) -> Verified:
    what, compared = "a checkpoint", ""
    load: Callable[[Path], object] = load_checkpoint
    with contextlib.suppress(OSError, ValueError, AttributeError):  # what can't be read is said by `load`
        notes = json.loads((folder / NOTES).read_text(encoding="utf-8"))
        if notes.get("kind") == KIND:
            what, load = "a recogniser", load_fitted
        compared = (
            f"weights and description ({NOTES})"
            if DIGEST in notes
            else f"weights alone (its description, {NOTES}, can't be compared: it has no checksum, as older versions wrote it)"
        )
    try:
        load(folder)
    except EmoViewsError as error:
        return Verified(folder, what, (str(error),))
    return Verified(folder, f"{what}, {compared}", ())


def _database(folder: Path) -> Verified:
    what, path = "results", folder / results.FILE
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
            jobs = connection.execute("SELECT count(*) FROM jobs").fetchone()[0]
    except sqlite3.Error as error:
        return Verified(folder, what, (f"{path} can't be read as a results database: {error}.",))
    problems = [f"{path}: {problem}" for problem in found if problem != "ok"]
    if version != results.SCHEMA_VERSION:
        problems.append(f"{path} has schema version {version}; this version of EmoViews uses {results.SCHEMA_VERSION}.")
    return Verified(folder, f"{what} of {jobs} jobs", tuple(problems))
