"""Errors a user can act on: each says what was expected, what came, and what to do.

The command line prints the message alone and leaves with the error's exit code (0 done, 1 failed, 2 wrong use); anything
that is not an `EmoViewsError` is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

from typing import ClassVar


class EmoViewsError(Exception):
    """Something went wrong that the message explains. Exit code 1."""

    exit_code: ClassVar[int] = 1


class UsageError(EmoViewsError):
    """The command, a parameter or a name is wrong. Exit code 2."""

    exit_code: ClassVar[int] = 2


class TableError(UsageError):
    """The utterance table breaks its contract; the message names the row or the column. Exit code 2."""


class AudioError(EmoViewsError):
    """One recording can't be used (missing, empty, corrupt, silent, too short, not finite); the message names the file."""


class CorpusError(UsageError):
    """A folder does not look like the corpus it was said to be. Exit code 2."""


class StoreError(EmoViewsError):
    """A store is damaged, of another version, or can't be written."""


class CheckpointError(EmoViewsError):
    """A checkpoint does not fit what it is used for; the message names both values."""


class HubError(EmoViewsError):
    """The Hugging Face hub can't be reached, or refuses what was asked; nothing was changed here."""


class LeakageError(EmoViewsError):
    """Training and test data share a speaker, a group or a recording."""


class MissingExtraError(EmoViewsError):
    """An optional package is not installed.

    >>> print(MissingExtraError("The view 'egemaps'", package="opensmile", extra="egemaps"))
    The view 'egemaps' needs the package opensmile, which is not installed. Install it with: pip install 'emoviews[egemaps]'
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, what: str, *, package: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the package {package}, which is not installed. Install it with: pip install 'emoviews[{extra}]'"
        )


class TrainingError(EmoViewsError):
    """A training can't go on, e.g. its loss stopped being a number."""


class TooFewError(EmoViewsError):
    """A measure refuses so few utterances that its value would mean nothing; the message names how many it needs."""
