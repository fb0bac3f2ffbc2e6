"""What the embeddings know: linear probes and retrieval, before and after pre-training."""

from __future__ import annotations

from typing import Any

import pandas as pd
from markupsafe import Markup

from emoviews.experiments import Experiment
from emoviews.report import figures
from emoviews.report.blocks import Block, Made, Panel, Picture, Section, Text
from emoviews.report.run import Run
from emoviews.report.tables import (
    Column,
    Table,
    count,
    percent,
)


def section(run: Run, experiment: Experiment, made: Made) -> tuple[Section, list[Block]]:
    """Of the experiment `representations`."""
    probes = made.get("Linear probes on unseen speakers", pd.DataFrame())
    retrieval = made.get("Retrieval across views, top 1", pd.DataFrame())
    intro = (
        "A linear probe is a simple model that tries to read one property off an encoder's output: it shows what the encoder "
        "keeps. It is trained on training recordings and tested on speakers whom neither the encoder nor the probe has met; "
        "the probe for speakers on one half of the unseen speakers' sentences, tested on the other half. Retrieval asks what "
        "the contrastive loss asks for: is the nearest projection in another view that of the same recording?"
    )
    compared = _before_and_after(probes, retrieval)
    blocks: list[Block] = [Text((intro,))]
    if not compared.empty:
        told = [
            f"{row['what']}, {row['where']}: {percent(row['before'])} to {percent(row['after'])} %"
            for row in compared.to_dict("records")
        ]
        alt = f"Dot chart of probes and retrieval, random encoder to pre-trained encoder. {'; '.join(told)}."
        folds = int(max([*probes.get("folds", []), *retrieval.get("folds", [])]))
        caption = (
            "What the encoders' outputs tell of unseen speakers' recordings before pre-training (random weights) and after; "
            f"mean over {folds} folds. R² of duration: share of the variance of log duration that is predicted; below 0 it "
            "is worse than always answering the mean, and drawn at the edge with its value."
        )
        blocks.append(Picture(caption, (Panel("representations", figures.before_and_after(compared), alt),)))
    if not probes.empty:
        names = {"random": "random", "pretrained": "pre-trained"}
        columns = {
            "probe": Column("Probe"),
            "view": Column("View"),
            "encoder": Column("Encoder", lambda encoder: names.get(encoder, str(encoder))),
            "mean": Column("Mean %", percent, True),
            "lowest fold": Column("Lowest fold", percent, True),
            "highest fold": Column("Highest fold", percent, True),
            "chance": Column("Chance", percent, True),
            "folds": Column("Folds", count, True),
        }
        blocks.append(Table.of("probes", "Linear probes on unseen speakers, in per cent.", probes, columns))
    if not retrieval.empty:
        columns = {
            "pair": Column("From view to view"),
            "random": Column("Random %", percent, True),
            "pre-trained": Column("Pre-trained %", percent, True),
            "chance": Column("Chance %", percent, True),
            "folds": Column("Folds", count, True),
        }
        caption = (
            "How often an unseen recording's nearest projection in the other view is its own (top 1), in per cent."
        )
        blocks.append(Table.of("retrieval", caption, retrieval, columns))
    return Section(experiment.title, tuple(blocks)), _knowledge(compared)


def _before_and_after(probes: pd.DataFrame, retrieval: pd.DataFrame) -> pd.DataFrame:
    """`what, where, before, after, chance` of all probes and retrievals that have both."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in probes.to_dict("records"):
        entry = found.setdefault((row["probe"], row["view"]), {"what": row["probe"], "where": row["view"]})
        entry |= {"before" if row["encoder"] == "random" else "after": row["mean"], "chance": row["chance"]}
    rows = list(found.values())
    for row in retrieval.to_dict("records"):
        ends = {"before": row["random"], "after": row["pre-trained"], "chance": row["chance"]}
        rows.append({"what": "retrieval (top 1)", "where": row["pair"], **ends})
    frame = pd.DataFrame(rows, columns=["what", "where", "before", "after", "chance"])
    return frame.dropna(ignore_index=True)


def _knowledge(compared: pd.DataFrame) -> list[Block]:
    """What pre-training changed in the encoders, in words."""
    probes = compared[compared["what"].str.contains("UAR|accuracy")]
    lines = []
    for view in dict.fromkeys(probes["where"]):
        told = [
            f"{row['what'].partition(' (')[0]} {percent(row['before'])} → {percent(row['after'])} %"
            for row in probes[probes["where"] == view].to_dict("records")
        ]
        lines.append(Markup("<strong>{}</strong>: {}.").format(view, ", ".join(told)))
    if not lines:
        return []
    intro = "What a linear probe reads off the encoders for unseen speakers, before → after pre-training:"
    return [Text((intro,)), Text(tuple(lines), is_list=True)]
