"""Interactive Emotional Dyadic Motion Capture database (IEMOCAP): ten actors in five dyadic sessions, scripted and improvised.

`Session*/dialog/EmoEvaluation/<dialogue>.txt` holds one line an utterance, `[start -
end]<tab>turn<tab>emotion<tab>[valence, activation, dominance]`, between the single annotators' lines; its recording is
`Session*/sentences/wav/<dialogue>/<turn>.wav`. Folders beside these files (`Categorical`, `Attribute`,
`Self-evaluation`) are not read. Codes and format are those of the release's README.

Who talks stands in the last part of a turn's name: `Ses01M_impro02_F003` is spoken by the woman of session 1. The
letter of the dialogue (`Ses01M`) says who of the two wore the motion-capture markers, and differs from the talker in
half of the corpus.

The presets are those of the paper (section 3.1): IEMOCAP-4 to fine-tune on, IEMOCAP-10 to pre-train on without labels.
Both leave out dialogue Ses05M_script01_1, a second trial of a script that session 5 already holds, and both give an
utterance the same id and the same recording, so one store serves both. The table of `iemocap-10` alone does for both,
too: a label map `excited` → `happy` and the four labels to keep leave every other row unlabelled, while the column
`original_emotion` keeps what it was. That is how the experiment on pre-training data (the paper, section 4.2 and figure 4)
tells the 2 001 utterances with another emotion from the 2 507 without an agreed one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Final

from emoviews.corpora import Corpus, ParsedCorpus
from emoviews.corpora._common import (
    Row,
    compare_counts,
    decode,
    find_release,
    index_by_stem,
    report_missing,
    visible_files,
    visible_folders,
)
from emoviews.errors import CorpusError
from emoviews.table import UNDECIDED, make_table

EMOTIONS: Final = {
    "neu": "neutral",
    "ang": "angry",
    "sad": "sad",
    "hap": "happy",
    "exc": "excited",
    "fru": "frustration",
    "sur": "surprise",
    "fea": "fear",
    "dis": "disgust",
    "oth": "other",
    "xxx": UNDECIDED,
}
"""Code → label. `xxx`, where the annotators did not agree, gets a label of its own: these utterances are not unlabelled, and
have no other emotion either (see `emoviews.table.UNDECIDED`)."""
PUBLISHED: Final = {
    "neutral": 1708,
    "angry": 1103,
    "sad": 1084,
    "happy": 595,
    "excited": 1041,
    "frustration": 1849,
    "surprise": 107,
    "fear": 40,
    "disgust": 2,
    "other": 3,
    UNDECIDED: 2507,
}
"""10 039 in all, the excluded dialogue included."""
FOUR: Final = {"neutral": "neutral", "angry": "angry", "sad": "sad", "happy": "happy", "excited": "happy"}
"""The labels of IEMOCAP-4: which of the corpus' labels it keeps, and what they become."""
FOUR_PUBLISHED: Final = 5499
"""1708 + 1103 + 1084 + 1636 = 5531 utterances, less 32 of the excluded dialogue."""
EXCLUDED_DIALOGUE: Final = "Ses05M_script01_1"

_UTTERANCE: Final = re.compile(
    r"\[(?P<start>[\d.]+) - (?P<end>[\d.]+)\]\t(?P<dialogue>(?P<session>Ses0[1-5])[FM]_\w+)_(?P<talker>[FM])(?P<number>\w+)"
    r"\t(?P<emotion>[a-z]{3})\t\[(?P<valence>[\d.]+), (?P<arousal>[\d.]+), (?P<dominance>[\d.]+)\]\s*"
)
_TRANSCRIPT: Final = re.compile(r"(Ses0[1-5][FM]_\w+) \[[\d. -]+\]: ?(.*)")
_GENDERS: Final = {"F": "female", "M": "male"}
_SUFFIXES: Final = (".wav", ".flac")


class Iemocap(Corpus):
    """Columns beyond the contract's.

    `valence`, `arousal`, `dominance` (1 to 5, means over annotators; the release calls arousal activation), `dialogue`,
    `scenario` (scripted, improvised), `dialogue_start_seconds` and `dialogue_end_seconds` (where the utterance stands in the
    recording of its dialogue; `path` is already cut).
    """

    name = "iemocap"
    title = "Interactive Emotional Dyadic Motion Capture database (IEMOCAP)"
    licence = "academic research only, after signing the release form of the University of Southern California"
    citation = (
        "C. Busso, M. Bulut, C.-C. Lee, A. Kazemzadeh, E. Mower, S. Kim, J. N. Chang, S. Lee, S. S. Narayanan: IEMOCAP: "
        "Interactive emotional dyadic motion capture database. Language Resources and Evaluation 42(4):335-359, 2008."
    )
    url = "https://sail.usc.edu/iemocap/"
    presets = MappingProxyType(
        {
            "iemocap-4": f"neutral, angry, sad and happy (happy and excited merged), without dialogue {EXCLUDED_DIALOGUE}",
            "iemocap-10": f"all utterances with all their labels, without dialogue {EXCLUDED_DIALOGUE}",
        }
    )

    def parse(self, root: Path, preset: str | None = None) -> ParsedCorpus:
        """Parse all sessions below `root`; without a preset, all utterances with all labels.

        Raises:
            CorpusError: there is no session with label files, a label line can't be read, a preset leaves nothing, or not
                one recording is listed or there.
            UsageError: `preset` is not one of `presets`.
        """
        self.check_preset(preset)
        release = find_release(
            root,
            lambda folder: bool(_sessions(folder)),
            title=self.title,
            looked_for="the folders Session1 to Session5, each with dialog/EmoEvaluation/*.txt",
        )
        rows: list[Row] = []
        missing: list[str] = []
        labels: list[str] = []
        for session in _sessions(release):
            texts = dict(_transcripts(session))
            audio = _recordings(session)
            for line in _utterances(session):
                turn = f"{line['dialogue']}_{line['talker']}{line['number']}"
                emotion = EMOTIONS[line["emotion"]]
                labels.append(emotion)
                if turn not in audio:
                    missing.append(turn)
                    continue
                rows.append(
                    {
                        "id": turn,
                        "path": audio[turn],
                        "speaker": f"{line['session']}_{line['talker']}",
                        "group": line["session"],
                        "emotion": emotion,
                        "text": texts.get(turn, ""),
                        "language": "en",
                        "gender": _GENDERS[line["talker"]],
                        "dialogue": line["dialogue"],
                        "scenario": "scripted" if "_script" in line["dialogue"] else "improvised",
                        "valence": line["valence"],
                        "arousal": line["arousal"],
                        "dominance": line["dominance"],
                        "dialogue_start_seconds": line["start"],
                        "dialogue_end_seconds": line["end"],
                    }
                )
        warnings = compare_counts(labels, PUBLISHED, "IEMOCAP") + report_missing(missing, len(labels), "IEMOCAP")
        if preset is not None:
            rows = [row for row in rows if row["dialogue"] != EXCLUDED_DIALOGUE]
        if preset == "iemocap-4":
            rows = [{**row, "emotion": FOUR[str(row["emotion"])]} for row in rows if row["emotion"] in FOUR]
            if len(rows) != FOUR_PUBLISHED:
                warnings.append(f"IEMOCAP-4 has {FOUR_PUBLISHED} utterances in the paper, this copy {len(rows)}.")
        if not rows:
            raise CorpusError(f"The preset {preset!r} leaves no utterance of {release}; is the release complete?")
        return ParsedCorpus(make_table(sorted(rows, key=lambda row: str(row["id"])), release), tuple(warnings))


def _sessions(folder: Path) -> list[Path]:
    """The session folders that hold labels."""
    numbered = (folder / f"Session{number}" for number in range(1, 6))
    return [session for session in numbered if (session / "dialog" / "EmoEvaluation").is_dir()]


def _utterances(session: Path) -> Iterator[re.Match[str]]:
    """The summary lines of a session's label files: those that begin with a time."""
    for path in visible_files(session / "dialog" / "EmoEvaluation", (".txt",)):
        for number, line in enumerate(decode(Path(path).read_bytes()).splitlines(), start=1):
            if not line.startswith("["):
                continue
            matched = _UTTERANCE.fullmatch(line)
            if matched is None or matched["emotion"] not in EMOTIONS:
                raise CorpusError(
                    f"{path}, line {number}: can't read {line!r}; expected '[start - end]<tab>turn<tab>emotion<tab>[valence, "
                    f"activation, dominance]' with an emotion of {', '.join(EMOTIONS)}. Unpack the release again."
                )
            yield matched


def _transcripts(session: Path) -> Iterator[tuple[str, str]]:
    """Turn and what is said in it, from the session's transcriptions, where the copy holds them."""
    folder = session / "dialog" / "transcriptions"
    if folder.is_dir():
        for path in visible_files(folder, (".txt",)):
            for line in decode(Path(path).read_bytes()).splitlines():
                if matched := _TRANSCRIPT.fullmatch(line.strip()):
                    yield matched[1], matched[2]


def _recordings(session: Path) -> dict[str, str]:
    """Turn → path of its recording."""
    wav = session / "sentences" / "wav"
    folders = visible_folders(wav) if wav.is_dir() else []
    return index_by_stem([path for folder in folders for path in visible_files(folder, _SUFFIXES)], _SUFFIXES)


CORPUS = Iemocap()
