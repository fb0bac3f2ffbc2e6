"""The page's sections: one file an experiment, named like it, and what every page has (`_training`, `_run`, `_others`).

An experiment's file defines `section(run, experiment, made) → (the section, what the summary takes from it)`. An experiment
without a file here is shown by its own tables as they are.
"""

from __future__ import annotations

from importlib import import_module, util

from emoviews.experiments import Experiment
from emoviews.report.blocks import Block, Made, Section
from emoviews.report.run import Run
from emoviews.report.tables import Table, slug


def section_of(run: Run, experiment: Experiment, made: Made) -> tuple[Section, list[Block]]:
    """An experiment's section, and what the summary takes from it.

    Args:
        run: what was read of the run.
        experiment: which.
        made: its tables that are not empty.
    """
    name = f"{__name__}.{experiment.name.replace('-', '_')}"
    if util.find_spec(name) is None:
        return plain_section(experiment, made), []
    found: tuple[Section, list[Block]] = import_module(name).section(run, experiment, made)
    return found


def plain_section(experiment: Experiment, made: Made) -> Section:
    """The experiment's own tables as they are."""
    blocks = [
        Table.plain(f"{slug(experiment.name)}-{slug(title)}", f"{title}.", table) for title, table in made.items()
    ]
    return Section(experiment.title, tuple(blocks))
