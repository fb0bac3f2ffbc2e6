"""What in a table may not be as it is meant: `fit` learns from it all the same, so it says so, and `emoviews check` before.

Each is a sentence or two, with a remedy. `fit`'s go to model cards, so they name emotions, but nobody who speaks; `check`'s do.
"""

from __future__ import annotations

import json
import shlex
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import pandas as pd

from emoviews.progress import counted, listed, shorten
from emoviews.table import UNDECIDED, alike

NO_LABEL: Final = frozenset(
    ("-1", "-1.0", "-", "nan", "none", "null", "n/a", "na", "unknown", "unlabelled", "unlabeled", "xxx", "?", UNDECIDED)
)
"""Texts (in lower case) that often mean that there is no label; in some corpora they are a class, so they are learnt."""

_DIFFER: Final = "differ in upper and lower case, spaces or the coding of accents alone"
_GENDERS: Final = {"f": "female", "m": "male"}


def of_labels(table: pd.DataFrame) -> Iterator[str]:
    """What may be wrong with the labels of the recordings that are learnt from."""
    labelled = table[table["emotion"] != ""]
    counts = labelled["emotion"].value_counts()
    renamed: dict[str, str] = {}
    if spellings := alike(counts.index):
        usual = [max(names, key=counts.__getitem__) for names in spellings]
        renamed = {n: to for names, to in zip(spellings, usual, strict=True) for n in names if n != to}
        yield (
            f"The emotions {'; '.join(map(_quoted, spellings))} {_DIFFER}, and are learnt as {sum(map(len, spellings))}. If "
            f"they are one{' each' * (len(spellings) > 1)}, rename: {_label_map(renamed)}"
        )
    if none := [label for label in sorted(counts.index) if label.strip().casefold() in NO_LABEL]:
        said = [f"{label!r} ({counted(counts[label], 'label')})" for label in none]
        which = (
            f"{none[0]!r} is learnt as an emotion like any other ({counted(counts[none[0]], 'label')}). If it means"
            if len(none) == 1
            else f"{listed(said)} are learnt as emotions like any other. If they mean"
        )
        yield (
            f"{which} that there is no label, leave the cell empty (in Python: None), or say "
            f"{'both this and the renaming' if renamed else 'so'}: {_label_map({**renamed, **dict.fromkeys(none, '')})}"
        )
    if once := sorted(counts.index[counts == 1]):
        yield f"Only one recording each is labelled {shorten(once)}: too few to learn from. Label more of them." + (
            f" These are {len(once)} of {len(counts)} emotions; are they ratings or words, to be grouped into a few?"
            if 2 * len(once) > len(counts)
            else ""
        )
    voices = {str(emotion): set(own["speaker"]) for emotion, own in labelled.groupby("emotion")}
    alone = [e for e, names in voices.items() if len(names) == 1 and names != {""} and counts[e] > 1]
    if alone and len(set().union(*voices.values())) > 1:
        yield (
            f"All labels of {', '.join(alone)} come from one speaker{' each' * (len(alone) > 1)}, so the voice may be learnt "
            "in place of the emotion. Label recordings of others."
        )
    if len(labelled) and {"confidence", "mode"} <= set(table) and any(str(name).startswith("p_") for name in table):
        yield "The labels look like answers of `predict`. Tested on them, it seems better than it is. Give labels by people."


def of_recordings(table: pd.DataFrame, keys: Sequence[str]) -> Iterator[str]:
    """What else may not be meant, without a name.

    Args:
        table: of the recordings that are learnt from.
        keys: `(rows,)` hashes of their samples.
    """
    if alike(table["speaker"]):
        yield (
            f"Names of speakers that {_DIFFER} count as different speakers. If they are one, a voice that trained is tested, "
            "and the scores are too good. See: emoviews check TABLE"
        )
    labels: dict[str, set[str]] = {}
    for key, emotion in zip(keys, table["emotion"], strict=True):
        if emotion:
            labels.setdefault(key, set()).add(emotion)
    if contradicted := sum(len(own) > 1 for own in labels.values()):
        yield (
            f"{counted(contradicted, 'recording')} with several labels that contradict each other: each row is learnt from. "
            "Decide for one label of each recording."
        )


def of_parts(table: pd.DataFrame) -> Iterator[str]:
    """What is learnt from though the table keeps it for tests. Commands that make folds keep it."""
    if held := int((table["split"] == "test").sum()):
        yield (
            f"{counted(held, 'recording')} of the part 'test' (column 'split'): `fit` learns from what is in the table, these "
            "too, and on what trained nothing can be tested any more. To test on them, leave them out of the table."
        )


def of_people(table: pd.DataFrame) -> Iterator[str]:
    """Speakers and genders that may not be as they are meant, by name."""
    for names in alike(table["speaker"]):
        yield (
            f"The speakers {_quoted(names)} {_DIFFER}, and count as {len(names)}. If they are one, spell them alike: else a "
            "voice that trained is tested."
        )
    for names in _alike_genders(table["gender"]):
        yield f"The genders {_quoted(names)} may count as {len(names)} in scores by gender. If they are one, spell them alike."
    known = table[(table["speaker"] != "") & (table["gender"] != "")]
    for speaker, genders in known.groupby("speaker")["gender"]:
        if len(kinds := {gender_of(name): name for name in sorted(set(genders), reverse=True)}) > 1:
            yield (
                f"The speaker {speaker!r} has the genders {_quoted(sorted(kinds.values()))}. If these are several people of "
                "one name, tell them apart in the column 'speaker'; else correct the column 'gender'."
            )


def _alike_genders(genders: Iterable[str]) -> list[list[str]]:
    """Names of one gender, together.

    >>> _alike_genders(["f", "Female", "male", "male", ""])
    [['Female', 'f']]
    """
    found: dict[str, list[str]] = {}
    for name in sorted(set(genders) - {""}):
        found.setdefault(gender_of(name), []).append(name)
    return [same for same in found.values() if len(same) > 1]


def gender_of(name: str) -> str:
    """One text for all that is written for a gender.

    >>> gender_of(" F"), gender_of("Female"), gender_of("diverse")
    ('female', 'female', 'diverse')
    """
    plain = " ".join(unicodedata.normalize("NFC", name).split()).casefold()
    return _GENDERS.get(plain, plain)


def _quoted(names: Sequence[str]) -> str:
    r"""Names in quotation marks; those that look the same by their codes.

    >>> print(_quoted(["Ann", "ann "]), _quoted(["Jose\u0301", "Jos\u00e9"]))
    'Ann', 'ann ' 'Jose\u0301', 'Jos\xe9'
    """
    same = len({unicodedata.normalize("NFC", name) for name in names}) < len(names)
    return ", ".join(map(ascii if same else repr, names))


def _label_map(names: Mapping[str, str]) -> str:
    """The option that renames labels, in ASCII where a name may not survive being copied."""
    codes = any(not unicodedata.is_normalized("NFC", name) for name in (*names, *names.values()))
    return f"--label-map {shlex.quote(json.dumps(names, ensure_ascii=codes))}"
