"""The section on representations: its numbers are those of the rows, its maps those of the points."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from emoviews.experiments import EXPERIMENTS, Plan
from emoviews.jobs import RANDOM, FineTuningJob, JobResult, MapJob, PretrainingJob, ProbeJob
from emoviews.report import write_report
from emoviews.report.blocks import Block, Picture, Section, Text
from emoviews.report.run import Run
from emoviews.report.sections.representations import maps_figure, probe_dots, section
from emoviews.report.tables import Table
from emoviews.results import Results

REPRESENTATIONS = EXPERIMENTS.load("representations")
VIEWS = {"mel_spectrogram": "a" * 12, "egemaps": "b" * 12}
PLAN = Plan("toy", "table", {"A": "1", "B": "2"}, VIEWS)
LABELS = ("anger", "sadness")
NAMES = {"random": "random", "pretrained": "pre-trained", "supervised": "supervised"}
PROBES = ("probe_emotion_uar", "probe_speaker_accuracy", "probe_sentence_accuracy", "probe_duration_r2")
GROUPS = ("silhouette_emotion", "purity_emotion", "silhouette_speaker", "purity_speaker")
Made = tuple[Section, list[Block]]


def utterances(n: int = 30, speakers: int = 3) -> pd.DataFrame:
    rows = [(f"u{i}", f"s{i % speakers}", "B", ("", *LABELS)[i % 3], "") for i in range(n)]
    return pd.DataFrame(rows, columns=["id", "speaker", "group", "emotion", "gender"])


def fill(folder: Path, *, without: tuple[type, ...] = (), speakers: int = 3, drawn_of: int = 30) -> None:
    table = utterances(speakers=speakers)
    with Results(folder) as results:
        jobs = REPRESENTATIONS.jobs(PLAN)
        results.plan("representations", jobs)
        results.describe(corpus="toy", labels=list(LABELS))
        results.add_utterances(table, [1.0] * len(table))
        for job in jobs:
            rng = np.random.default_rng(int(job.id, 16) % 2**32)
            values: dict[str, float] = {}
            points: Any = ()
            if isinstance(job, without):
                continue
            if isinstance(job, ProbeJob):
                values = {name: float(rng.random()) for name in (*PROBES, *GROUPS)}
                values |= {f"{name}_chance": 0.25 for name in ("probe_emotion", "probe_speaker", "probe_sentence")}
                values |= {"purity_emotion_chance": 0.4, "purity_speaker_chance": 0.3}
            elif isinstance(job, MapJob):
                values = {"n": float(len(table)), "map_of": float(drawn_of), "map_perplexity": 29 / 3}
                points = [(name, *map(float, rng.normal(size=2))) for name in table["id"]]
            elif isinstance(job, FineTuningJob):
                values = {"uar": 0.5, "n": 10.0}
            elif isinstance(job, PretrainingJob):
                pairs = ("mel_spectrogram to egemaps", "egemaps to mel_spectrogram")
                values = {
                    f"{kind} {p}": float(rng.random()) for kind in ("retrieval", "retrieval_random") for p in pairs
                }
                values |= {"retrieval_chance": 0.1, "epochs_run": 3.0, "best_epoch": 2.0}
            metrics = tuple(("test", name, value) for name, value in values.items())
            results.add([JobResult(job, 1.0, "cpu", metrics=metrics, points=tuple(points))])


def make(folder: Path, **how: Any) -> Made:
    fill(folder, **how)
    with Results(folder) as results:
        found = {title: table for title, table in REPRESENTATIONS.tables(results).items() if not table.empty}
        return section(Run.of(results), REPRESENTATIONS, found)


def rows(folder: Path, kind: str) -> dict[tuple[str, str], dict[str, Mapping[str, float]]]:
    """(view, encoder) → fold → name → value, straight from the database."""
    with sqlite3.connect(folder / "results.sqlite") as database:
        described = {name: json.loads(text) for name, text in database.execute("SELECT job_id, description FROM jobs")}
        found = list(database.execute("SELECT job_id, name, value FROM metrics"))
    kinds = {"pretraining": "pretrained", "finetuning": "supervised"}
    values: dict[tuple[str, str], dict[str, Any]] = {}
    for name, metric, value in found:
        job = described[name]
        if job["kind"] == kind:
            init = job.get("init", RANDOM)
            encoder = RANDOM if init == RANDOM else kinds[described[init]["kind"]]
            key = (job["view"][0] if "view" in job else "", encoder)
            values.setdefault(key, {}).setdefault(job["fold"], {})[metric] = value
    return values


def tables(made: Made) -> dict[str, Table]:
    return {block.slug: block for block in made[0].blocks if isinstance(block, Table)}


def cells(table: Table) -> list[dict[str, str]]:
    headings = [cell.text for cell in table.headings]
    return [dict(zip(headings, (cell.text for cell in row), strict=True)) for row in table.rows]


def number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def key(row: dict[str, str]) -> tuple[str, str]:
    return row["View"], next(kind for kind, name in NAMES.items() if name == row["Encoder"])


def test_every_number_is_that_of_the_rows(tmp_path: Path) -> None:
    made = make(tmp_path)
    shown, probes = tables(made), rows(tmp_path, "probe")
    columns = {
        "emotion (UAR)": "probe_emotion_uar",
        "speaker (accuracy)": "probe_speaker_accuracy",
        "sentence (accuracy)": "probe_sentence_accuracy",
    }
    assert len(shown["probes"].rows) == 3 * 2 * 3
    for row in cells(shown["probes"]):
        values = [fold[columns[row["Probe"]]] for fold in probes[key(row)].values()]
        assert row["Mean %"] == f"{100 * np.mean(values):.1f}"
        assert (row["Lowest fold"], row["Highest fold"]) == (f"{100 * min(values):.1f}", f"{100 * max(values):.1f}")
        assert (row["Chance"], row["Folds"]) == ("25.0", "2")
    assert len(shown["probes-duration"].rows) == 2 * 3
    for row in cells(shown["probes-duration"]):
        values = [fold["probe_duration_r2"] for fold in probes[key(row)].values()]
        assert row["Mean"] == number(np.mean(values)), "R2 is no percentage"
    assert len(shown["groups"].rows) == 2 * 2 * 3
    for row in cells(shown["groups"]):
        label = row["Groups by"]
        values = [fold[f"silhouette_{label}"] for fold in probes[key(row)].values()]
        assert row["Silhouette"] == number(np.mean(values))
        values = [fold[f"purity_{label}"] for fold in probes[key(row)].values()]
        assert row["Purity %"] == f"{100 * np.mean(values):.1f}"
        assert row["Chance %"] == {"emotion": "40.0", "speaker": "30.0"}[label]
    for row in cells(shown["maps"]):
        mine = probes[key(row)]["B"]
        for label in ("emotion", "speaker"):
            assert row[f"Silhouette, {label}"] == number(mine[f"silhouette_{label}"])
            assert row[f"Purity %, {label}"] == f"{100 * mine[f'purity_{label}']:.1f}"
    pretraining = rows(tmp_path, "pretraining")["", RANDOM]
    for row in cells(shown["retrieval"]):
        pair = row["From view to view"]
        for heading, name in (("Random %", "retrieval_random"), ("Pre-trained %", "retrieval")):
            assert row[heading] == f"{100 * np.mean([fold[f'{name} {pair}'] for fold in pretraining.values()]):.1f}"
    told = " ".join(str(item) for block in made[1] if isinstance(block, Text) for item in block.items)
    for view in VIEWS:
        before, after = (
            100 * np.mean([fold["probe_speaker_accuracy"] for fold in probes[view, encoder].values()])
            for encoder in ("random", "pretrained")
        )
        assert f"speaker {before:.1f} → {after:.1f} %" in told


def drawn(figure: Figure) -> dict[str, set[tuple[float, float]]]:
    """Title of each panel → the points in it."""
    found = {}
    for axes in figure.axes:
        points = [np.column_stack([line.get_xdata(), line.get_ydata()]) for line in axes.lines]
        found[axes.get_title(loc="left")] = {tuple(point) for block in points for point in block.tolist()}
    return found


def test_the_maps_are_the_points(tmp_path: Path) -> None:
    made = make(tmp_path)
    pictures = [block for block in made[0].blocks if isinstance(block, Picture) and block.whole]
    assert [picture.panels[0].slug for picture in pictures] == ["map-egemaps", "map-mel_spectrogram"]
    with sqlite3.connect(tmp_path / "results.sqlite") as database:
        query = "SELECT description, x, y FROM points JOIN jobs USING (job_id)"
        found = [(json.loads(text), x, y) for text, x, y in database.execute(query)]
    for picture, view in zip(pictures, ("egemaps", "mel_spectrogram"), strict=True):
        for panel in (picture.panels[0], picture.whole):
            assert panel is not None
            by_title = drawn(panel.figure)
            assert set(by_title) == {
                f"{name}, by {label}" for name in NAMES.values() for label in ("emotion", "speaker")
            }
            random = {(x, y) for job, x, y in found if job["view"][0] == view and job["init"] == RANDOM}
            assert by_title["random, by emotion"] == by_title["random, by speaker"] == random
            assert by_title["supervised, by speaker"] != random
            assert panel.svg.startswith(b"<?xml")
        assert f"{view}: all 30 test recordings of fold B" in picture.caption
        assert "perplexity 9.67" in picture.caption
        assert "pre-trained: purity by emotion" in picture.panels[0].alt


def test_emotions_and_speakers_have_colours_and_markers_of_their_own() -> None:
    table = utterances(60, speakers=12).assign(x=np.arange(60.0), y=1.0)
    figure = maps_figure({"random": table, "pretrained": table}, LABELS, "no label")
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    looks = [(line.get_color(), line.get_marker()) for line in panels["random, by speaker"].lines[1:]]
    assert len(looks) == len(set(looks)) == 12
    of_speaker = panels["random, by speaker"].lines[1]
    names = table["speaker"].drop_duplicates().sort_values().tolist()
    np.testing.assert_array_equal(of_speaker.get_xdata(), table["x"][table["speaker"] == names[0]])
    unknown, *emotions = panels["random, by emotion"].lines
    np.testing.assert_array_equal(unknown.get_xdata(), table["x"][table["emotion"] == ""])
    for line, label in zip(emotions, LABELS, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), table["x"][table["emotion"] == label])
    legends = [[text.get_text() for text in half.legends[0].get_texts()] for half in figure.subfigs]
    assert legends == [[*LABELS, "no label"], names]
    assert unknown.get_markersize() >= 3.4
    assert unknown.get_color() < "#808080", "dark enough to be seen"


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ([], "another emotion or no label"),
        ([(0, 0)], "another emotion or no label"),
        ([(0, 0), (0, 0)], "no label"),
        ([(0, 5), (0, 5)], "no label"),
        ([(4, 4), (3, 3)], "another emotion"),
        ([(4, 5), (3, 3)], "another emotion or no label"),
    ],
)
def test_what_recordings_without_a_target_are_is_said_as_far_as_known(
    tmp_path: Path, sizes: list[tuple[int, int]], said: str
) -> None:
    fill(tmp_path)
    with Results(tmp_path) as results:
        described = {
            f"fold {i}": {"out_of_distribution": [a, 0], "out_of_distribution+undecided": [b, 0]}
            for i, (a, b) in enumerate(sizes)
        }
        results.describe(pretraining_sizes=described)
        found = {title: table for title, table in REPRESENTATIONS.tables(results).items() if not table.empty}
        made = section(Run.of(results), REPRESENTATIONS, found)
    picture = next(block for block in made[0].blocks if isinstance(block, Picture) and block.whole)
    assert [text.get_text() for text in picture.panels[0].figure.axes[-2].get_legend().get_texts()] == [*LABELS, said]


def test_a_drawn_map_and_many_speakers_are_said(tmp_path: Path) -> None:
    made = make(tmp_path, speakers=20, drawn_of=3204)
    captions = [block.caption for block in made[0].blocks if isinstance(block, Picture)]
    assert "30 of the 3204 test recordings, drawn at random," in captions[0]
    assert "The speakers are too many to be named." in captions[0]


@pytest.mark.parametrize("without", [(MapJob,), (ProbeJob,), (MapJob, PretrainingJob), (ProbeJob, PretrainingJob)])
def test_what_was_not_run_is_not_shown(tmp_path: Path, without: tuple[type, ...]) -> None:
    shown = tables(make(tmp_path, without=without))
    assert ("maps" in shown) == (MapJob not in without)
    assert ("probes" in shown) == ("groups" in shown) == (ProbeJob not in without)
    assert ("retrieval" in shown) == (PretrainingJob not in without)


def test_probes_are_in_per_cent_and_r2_is_apart_with_its_number_at_the_edge() -> None:
    frame = pd.DataFrame(
        {
            "what": ["duration (R²)", "retrieval (top 1)"],
            "where": ["a", "a to b"],
            "random": [-4.25, 0.1],
            "pretrained": [-4.0, 0.1],
            "supervised": [-0.1, np.nan],
            "chance": [0.0, 0.05],
        }
    )
    shares, r2 = probe_dots(frame).axes
    low = r2.get_xlim()[0]
    assert low == pytest.approx(-0.34)
    assert [float(np.asarray(line.get_xdata())[0]) for line in r2.lines] == [low, low, -0.1]
    np.testing.assert_allclose([line.get_xdata() for line in shares.lines], [[10.0], [10.0], [np.nan]])
    for axes in (shares, r2):
        heights = [float(np.asarray(line.get_ydata())[0]) for line in axes.lines]
        assert len(set(heights)) == 3, "equal scores hide none"
    # Each number stands at its own encoder's height, in its colour.
    assert [text.get_text() for text in r2.texts] == ["◂ −4.25", "◂ −4.00"]
    for text, line in zip(r2.texts, r2.lines, strict=False):
        assert (text.get_color(), text.xy[1]) == (line.get_color(), np.asarray(line.get_ydata())[0])
    assert shares.get_xlabel().startswith("score in %")
    assert r2.get_xlabel().startswith("R²")


def test_whom_the_speaker_probe_tells_apart(tmp_path: Path) -> None:
    made = make(tmp_path)
    told = " ".join(str(item) for block in made[0].blocks if isinstance(block, Text) for item in block.items)
    assert "the speakers of the validation and of the test group from each other" in told, "how many is not known here"
    assert "the supervised one by its UAR on their labels" in told
    with Results(tmp_path) as results:
        groups = {"A": ["1"], "B": ["2", "3"], "C": ["4"]}
        results.describe(folds=dict.fromkeys(groups, ""), test_groups=groups)
        names = [name for found in groups.values() for name in found]
        table = pd.DataFrame([(f"x{i}", f"s{i}", name, "", "") for i, name in enumerate(names)])
        results.add_utterances(table.set_axis(["id", "speaker", "group", "emotion", "gender"], axis=1), [1.0] * 4)
        found = {title: table for title, table in REPRESENTATIONS.tables(results).items() if not table.empty}
        blocks = section(Run.of(results), REPRESENTATIONS, found)[0].blocks
    told = " ".join(str(item) for block in blocks if isinstance(block, Text) for item in block.items)
    assert "the test group (2 to 3, by fold) from each other" in told  # A and B, B and C, C and A


def test_the_page_and_its_files(tmp_path: Path) -> None:
    fill(tmp_path)
    page = write_report(tmp_path).read_text()
    for name in ("map-egemaps", "map-mel_spectrogram", "representations"):
        assert (tmp_path / "figures" / f"{name}.svg").is_file()
        assert (tmp_path / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert 'id="table-groups"' in page
    assert "Maps of the speakers of fold B" in page
