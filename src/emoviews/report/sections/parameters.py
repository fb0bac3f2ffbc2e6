"""How many parameters are trained: this run's models, and the paper's table counted again."""

from __future__ import annotations

import math

import pandas as pd

from emoviews.experiments import Experiment
from emoviews.experiments.parameters import HERE, PAPER_PRESETS, RECOUNTED
from emoviews.report.blocks import Block, Made, Section, Text
from emoviews.report.run import Run
from emoviews.report.tables import Cell, Column, Table


def section(run: Run, experiment: Experiment, made: Made) -> tuple[Section, list[Block]]:
    """Of the experiment `parameters`."""
    intro = (
        "What is trained is small beside a speech model: only a view's encoder and a head, or the head alone where the encoder "
        "is frozen. The model that gives the layers of wav2vec 2.0 is never trained. All numbers are in millions (M)."
    )
    blocks: list[Block] = [Text((intro,))]
    if HERE in made:
        blocks.append(_own_table(run, made[HERE]))
    blocks.append(_paper_table(made[RECOUNTED]))
    return Section(experiment.title, tuple(blocks)), []


def millions(value: float) -> str:
    """A count in millions, to thousands; below a thousand with one digit more; a dash for NaN.

    >>> millions(94371712.0), millions(17028), millions(516), millions(0), millions(float("nan"))
    ('94.372', '0.017', '0.0005', '0', '–')
    """
    if math.isnan(value):
        return "–"
    return "0" if value == 0 else f"{value / 1e6:.{3 if value >= 1000 else 4}f}"


def _as_printed(value: float) -> str:
    """A number of millions with the digits that the paper gives it."""
    return f"{value:g}"


def _own_table(run: Run, table: pd.DataFrame) -> Table:
    columns = {
        "view": Column("View"),
        "encoder": Column("Encoder"),
        "training": Column("Training"),
        "frozen": Column("Frozen, M", millions, True),
        "trainable": Column("Trainable, M", millions, True),
        "extractor_parameters": Column("Speech model, M", millions, True),
        "encoder_parameters": Column("Encoder, M", millions, True),
        "head_parameters": Column("Head, M", millions, True),
    }
    preset = run.description["configuration"]["preset"]
    caption = (
        f"Parameters of this run's models: preset “{preset}”, {len(run.labels)} classes. Head: the classifier, or in "
        "pre-training the projection heads."
    )
    if table["extractor_parameters"].isna().any():
        caption += " A dash: a speech model whose parameters this page does not know."
    return Table.of("parameters", caption, table, columns)


def _paper_table(table: pd.DataFrame) -> Table:
    numbers = {
        "paper_frozen_millions": ("Paper\nfrozen", _as_printed),
        "paper_trainable_millions": ("Paper\ntrainable", _as_printed),
    }
    for preset in PAPER_PRESETS:
        for kind in ("frozen", "trainable"):
            numbers[f"{preset}_{kind}"] = (f"{preset}\n{kind}", millions)
    headings = (Cell("View"), *(Cell(heading, True) for heading, _ in numbers.values()), Cell("Where they differ"))
    rows = [
        (
            Cell(f"{row['view']}\n{row['training'].removeprefix('fine-tuning, ')}"),
            *(Cell(show(row[name]), True) for name, (_, show) in numbers.items()),
            Cell(row["note"]),
        )
        for row in table.to_dict("records")
    ]
    caption = (
        "The paper's table 5, and the same counted from our modules for its three views and four classes, whatever this run "
        "used; in millions. The paper's text and its table describe different models, so there are two presets: “paper-text” "
        "has the text's MLP (256 and 128) for eGeMAPS and a linear classifier, “paper-table” one layer of 128 and a classifier "
        "with a hidden layer of 128."
    )
    return Table("parameters-paper", caption, table, headings, tuple(rows))
