"""MSP-Podcast: turns cut from podcast recordings, labelled by crowd-sourced listeners; official speaker-independent partition.

`Labels/labels_consensus.csv` holds one row a turn: file name, the listeners' plurality emotion as a letter, the means
of arousal, valence and dominance (1 to 7), speaker, gender and partition; the recordings lie in `Audios` (`Audio` in
older releases). Columns, letters and counts are those of the releases' readme and web page.

Partitions. `Train`, `Development` and `Test1` become train, val and test. `Test2` (podcasts chosen at random) and
`Test3` (balanced over emotions; its labels are hidden in some releases) have no place in a three-way split: their rows
keep an empty `split` and their name in the column `partition`. They share speakers with Test1, so they must never be
trained or pre-trained on; the presets `test1` and `test2` make tables without that danger.

Speakers. Where a turn's speaker is `Unknown`, the column `speaker` is empty, as one name for all of them would make
thousands of people one, and a name for each would make one person many. Its group is then its podcast, so that no fold
parts the turns of a recording. `make_table` gives all others their speaker as group.

Texts are not read: the release keeps them in one small file a turn.
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Final

import pandas as pd

from emoviews.corpora import Corpus, ParsedCorpus
from emoviews.corpora._common import (
    GENDERS,
    compare_counts,
    find_release,
    index_by_stem,
    read_columns,
    report_missing,
    stem_of,
    walk_files,
)
from emoviews.errors import CorpusError
from emoviews.progress import counted, shorten
from emoviews.table import make_table

UNDECIDED: Final = "undecided"
"""The label of code `X`: no emotion has more votes than every other. A label of its own, as these turns are not unlabelled."""
EMOTIONS: Final = {
    "A": "angry",
    "S": "sad",
    "H": "happy",
    "U": "surprise",
    "F": "fear",
    "D": "disgust",
    "C": "contempt",
    "N": "neutral",
    "O": "other",
    "X": UNDECIDED,
}
SPLITS: Final = {
    "Train": "train",
    "Development": "val",
    "Validation": "val",  # its name in releases up to 1.8
    "Test1": "test",
    "Test2": "",
    "Test3": "",
}
TURNS: Final = {"1.11": 151_654, "1.12": 207_136, "2.0": 264_705}
"""Release → its recordings, those of Test3 included."""
PUBLISHED_1_11: Final = {"Train": 84_030, "Development": 19_815, "Test1": 30_647, "Test2": 14_815}
"""Labelled turns a partition; the labels of the 2347 turns of Test3 are hidden in this release."""
_FILES: Final = ("labels_consensus.csv", "labels_concensus.csv")
"""The second is how releases up to 1.8 spell it."""
_COLUMNS: Final = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")
_FOLDERS: Final = ("Audios", "Audio")
_SUFFIXES: Final = (".wav", ".flac")
_UNKNOWN: Final = frozenset({"", "unknown"})


class MspPodcast(Corpus):
    """Columns beyond the contract's: `partition` (the corpus' own), `valence`, `arousal`, `dominance` (1 to 7), `podcast`."""

    name = "msp_podcast"
    title = "MSP-Podcast corpus"
    licence = (
        "academic licence of the University of Texas at Dallas, to be signed by the institution; no redistribution"
    )
    citation = (
        "R. Lotfian, C. Busso: Building naturalistic emotionally balanced speech corpus by retrieving emotional speech from "
        "existing podcast recordings. IEEE Transactions on Affective Computing 10(4):471-483, 2019."
    )
    url = "https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html"
    presets = MappingProxyType(
        {
            "test1": "Train, Development and Test1 alone, as train, val and test",
            "test2": "Train, Development and Test2 alone, as train, val and test",
        }
    )

    def parse(self, root: Path, preset: str | None = None) -> ParsedCorpus:
        """Parse the label table and list the recordings, each folder once.

        Raises:
            CorpusError: there is no label table or folder of recordings, the table lacks a column or holds an unknown code, or
                not one of its recordings is there.
            UsageError: `preset` is not one of `presets`.
        """
        self.check_preset(preset)
        release = find_release(
            root,
            lambda folder: _label_table(folder) is not None and _audio_folder(folder) is not None,
            title=self.title,
            looked_for="Labels/labels_consensus.csv and the folder 'Audios' (or 'Audio')",
            inner=("Labels", *_FOLDERS),
        )
        table, folder = _label_table(release), _audio_folder(release)
        assert table is not None, release  # `find_release` has seen both
        assert folder is not None, release
        listed = read_columns(table, _COLUMNS, title="MSP-Podcast")
        _check_codes(listed["EmoClass"], {*EMOTIONS, ""}, "emotion", table)
        _check_codes(listed["Split_Set"], set(SPLITS), "partition", table)
        listed.index = pd.Index([stem_of(name) for name in listed["FileName"]])
        listed = listed.sort_index()
        audio = index_by_stem(walk_files(folder, _SUFFIXES), _SUFFIXES)
        warnings = _compare_with_releases(len(audio), listed["Split_Set"])
        there = listed.index.isin(list(audio))
        warnings += report_missing(listed.index[~there].tolist(), len(listed), "MSP-Podcast")
        if unlisted := sorted(set(audio) - set(listed.index)):
            warnings.append(f"{counted(len(unlisted), 'recording')} without labels left out: {shorten(unlisted)}.")
        listed = listed[there]
        splits = dict(SPLITS)
        if preset == "test2":
            splits |= {"Test1": "", "Test2": "test"}
        split = listed["Split_Set"].map(splits)
        if preset is not None:
            listed, split = listed[split != ""], split[split != ""]
            if listed.empty:
                raise CorpusError(f"The preset {preset!r} leaves no turn of {release}; is the release complete?")
        elif (unsplit := int((split == "").sum())) > 0:
            warnings.append(
                f"{unsplit} turns of Test2 and Test3 have no split. They share speakers with Test1: don't train or pre-train "
                "on them. The presets test1 and test2 leave them out."
            )
        is_unknown = listed["SpkrID"].str.lower().isin(_UNKNOWN)
        if is_unknown.any():
            warnings.append(
                f"{int(is_unknown.sum())} turns have an unknown speaker: their 'speaker' is empty, their 'group' the podcast."
            )
        # MSP-PODCAST_0001_0008 is turn 8 of podcast 1.
        podcast = pd.Series([stem.split("_")[1] if "_" in stem else stem for stem in listed.index], index=listed.index)
        rows = pd.DataFrame(
            {
                "id": listed.index,
                "path": [audio[stem] for stem in listed.index],
                "speaker": listed["SpkrID"].mask(is_unknown, ""),
                "group": ("podcast_" + podcast).where(is_unknown, ""),
                "split": split,
                "emotion": listed["EmoClass"].map({**EMOTIONS, "": ""}),
                "language": "en",
                "gender": listed["Gender"].str.lower().map(GENDERS).fillna(""),
                "partition": listed["Split_Set"],
                "valence": listed["EmoVal"],
                "arousal": listed["EmoAct"],
                "dominance": listed["EmoDom"],
                "podcast": podcast,
            },
            dtype=object,  # `make_table` walks over the cells, which is slower where they are Arrow strings
        )
        return ParsedCorpus(make_table(rows, release), tuple(warnings))


def _label_table(release: Path) -> Path | None:
    """The table of consensus labels, if the folder holds it."""
    places = (release / "Labels" / name for name in _FILES)
    return next((path for path in places if path.is_file()), None)


def _audio_folder(release: Path) -> Path | None:
    """The folder of recordings, if there is one."""
    return next((release / name for name in _FOLDERS if (release / name).is_dir()), None)


def _check_codes(codes: pd.Series[str], known: set[str], kind: str, table: Path) -> None:
    if unknown := sorted(set(codes) - known):
        raise CorpusError(
            f"{table} holds the {kind} {unknown[0]!r}; expected one of {', '.join(sorted(known - {''}))}. "
            "Is it the table of a newer release?"
        )


def _compare_with_releases(recordings: int, partitions: pd.Series[str]) -> list[str]:
    """A sentence if the number of recordings is that of no known release, or the partitions are not those of release 1.11."""
    if recordings == TURNS["1.11"]:
        return compare_counts(partitions, PUBLISHED_1_11, "MSP-Podcast 1.11")
    if recordings in TURNS.values():
        return []
    known = ", ".join(f"{count} in release {release}" for release, count in TURNS.items())
    return [f"MSP-Podcast has {known} recordings as published, this copy {recordings}."]


CORPUS = MspPodcast()
