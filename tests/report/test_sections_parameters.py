"""The section on parameters shows the counts of the modules, in millions."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from emoviews.encoders import make_encoder
from emoviews.experiments import EXPERIMENTS, Plan
from emoviews.experiments.parameters import PAPER_VIEWS
from emoviews.heads import Classifier, ProjectionHead
from emoviews.jobs import JobResult
from emoviews.report.blocks import Section
from emoviews.report.run import Run
from emoviews.report.sections import section_of
from emoviews.report.sections.parameters import millions
from emoviews.report.tables import Table
from emoviews.results import Results
from emoviews.types import ViewSpec

PARAMETERS = EXPERIMENTS.load("parameters")
SPARSE = EXPERIMENTS.load("sparse")


def spec(name: str) -> ViewSpec:
    return ViewSpec(name, 1, {}, *PAPER_VIEWS[name], "float32", None)


def section(folder: Path, *views: str, **described: Any) -> Section:
    """Of a run with these views; another experiment has one job in it."""
    with Results(folder) as results:
        plan = Plan("toy", "table", {"A": "1"}, dict.fromkeys(views, "2"))
        job = SPARSE.jobs(plan)[0]
        results.plan("sparse", [job])
        results.add([JobResult(job, 1.0, "cpu")])
        specs = {view: dataclasses.asdict(spec(view.partition("(")[0])) for view in views}
        results.describe(views=specs, labels=list("abcdef"), **described)
        return section_of(Run.of(results), PARAMETERS, PARAMETERS.tables(results))[0]


def tables(of: Section) -> dict[str, Table]:
    return {block.slug: block for block in of.blocks if isinstance(block, Table)}


def size(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_runs_own_models_are_counted(tmp_path: Path) -> None:
    table = tables(section(tmp_path, "egemaps", "mel_spectrogram", configuration={"preset": "default"}))["parameters"]
    encoders = {view: size(make_encoder(spec(view))) for view in ("egemaps", "mel_spectrogram")}
    head, projection = size(Classifier(128, 6)), size(ProjectionHead(128))
    shown = [[cell.text for cell in row] for row in table.rows]
    for place, (view, n) in enumerate(encoders.items()):
        parts = ["0", f"{n / 1e6:.3f}", f"{head / 1e6:.4f}"]
        tuned, frozen = shown[2 * place], shown[2 * place + 1]
        assert tuned[0] == frozen[0] == view
        assert tuned[2:] == ["fine-tuning, encoder tuned", "0", f"{(n + head) / 1e6:.3f}", *parts]
        assert frozen[2:] == ["fine-tuning, encoder frozen", f"{n / 1e6:.3f}", f"{head / 1e6:.4f}", *parts]
    both = sum(encoders.values())
    together = [both + 2 * projection, both, 2 * projection]
    expected = ["0", f"{together[0] / 1e6:.3f}", "0", *(f"{n / 1e6:.3f}" for n in together[1:])]
    assert shown[-1] == ["all", "all encoders", "pre-training", *expected]
    assert "preset “default”, 6 classes" in table.caption
    assert "dash" not in table.caption


def test_a_speech_model_that_is_not_known_is_a_dash(tmp_path: Path) -> None:
    with Results(tmp_path / "other") as results:
        job = SPARSE.jobs(Plan("toy", "table", {"A": "1"}, {"speech_model": "2"}))[0]
        results.plan("sparse", [job])
        described = dataclasses.asdict(dataclasses.replace(spec("wav2vec2"), name="speech_model"))
        results.describe(views={"speech_model": described}, labels=["a", "b"], configuration={"preset": "default"})
        found, summary = section_of(Run.of(results), PARAMETERS, PARAMETERS.tables(results))
    table = tables(found)["parameters"]
    assert [row[3].text for row in table.rows] == ["–", "–", "–"]
    assert "A dash" in table.caption
    assert summary == []


def test_the_papers_table_stands_beside_ours(tmp_path: Path) -> None:
    found = tables(section(tmp_path, "egemaps", "mel_spectrogram"))
    assert list(found) == ["parameters-paper"], "a run that does not say its preset has no table of its own"
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in found["parameters-paper"].rows}
    assert rows["wav2vec2\nencoder tuned"][:6] == ["94.4", "0.132", "94.372", "0.132", "94.372", "0.115"]
    assert rows["wav2vec2\nencoder frozen"][:6] == ["94.515", "0.017", "94.487", "0.017", "94.487", "0.0005"]
    assert rows["mel_spectrogram\nencoder frozen"][:2] == ["0.035", "0.026"]
    assert rows["egemaps\nencoder tuned"][:2] == ["0", "0.029"]
    assert rows["all\npre-training"][:2] == ["94.5", "0.202"]
    assert all(cells[-1].endswith(".") for cells in rows.values())
    headings = [heading.text for heading in found["parameters-paper"].headings]
    assert headings[1:5] == ["Paper\nfrozen", "Paper\ntrainable", "paper-table\nfrozen", "paper-table\ntrainable"]


@pytest.mark.parametrize(("value", "text"), [(999, "0.0010"), (1000, "0.001"), (35_000_000, "35.000")])
def test_millions(value: int, text: str) -> None:
    assert millions(value) == text
