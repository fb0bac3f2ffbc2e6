"""The page: an experiment's sections and what every page has, rendered as one HTML file that needs nothing else.

What the page says of a run in words follows from the rows as well: which method was best, whether an interval includes 0,
what the audit let pass, which jobs failed. Words that hold for every run stand in the template.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Final

from jinja2 import Environment, StrictUndefined

from emoviews.errors import UsageError
from emoviews.experiments import EXPERIMENTS, Experiment
from emoviews.progress import counted
from emoviews.report import figures
from emoviews.report.blocks import Block, Picture, Section
from emoviews.report.run import Run
from emoviews.report.sections import _others, _run, _training, section_of
from emoviews.report.tables import (
    Table,
    count,
    listed,
    share,
)
from emoviews.results import FILE, Results
from emoviews.store import write_atomically, write_failed

PAGE: Final = "report.html"
ORDER: Final = (
    *("sparse", "temperature", "frozen", "pretraining-data", "representations", "alignment", "parameters"),
    "objectives",
)
"""Few labels first, for which it is all done; then as in the paper; then what the paper does not have."""


def write_report(folder: Path) -> Path:
    """Write `report.html`, `tables/` and `figures/` into a run folder, from its saved rows alone; files there are replaced.

    Args:
        folder: the run folder, which holds `results.sqlite`.

    Returns:
        The page.

    Raises:
        UsageError: the folder holds no results, or nothing was planned in it.
        StoreError: the files can't be written.
    """
    if not (folder / FILE).is_file():
        raise UsageError(
            f"{folder} holds no results ({FILE} is missing). Make them with: emoviews reproduce TABLE --out {folder}"
        )
    with Results(folder) as results:
        run = Run.of(results)
        sections, headline = _sections(run)
        page = _render(run, sections, headline)
    try:
        for name in ("tables", "figures"):
            (folder / name).mkdir(exist_ok=True)
        for block in (*headline, *(block for section in sections for block in section.blocks)):
            if isinstance(block, Table):
                block.write(folder / "tables")
            elif isinstance(block, Picture):
                for panel in block.files:
                    write_atomically(folder / "figures" / f"{panel.slug}.svg", panel.svg)
                    write_atomically(folder / "figures" / f"{panel.slug}.png", figures.png(panel.figure))
        write_atomically(folder / PAGE, page)
    except OSError as error:
        raise write_failed(folder / PAGE, error, len(page)) from error
    return folder / PAGE


def _sections(run: Run) -> tuple[list[Section], list[Block]]:
    """The run's sections, and what the summary takes from them."""
    made: list[Section] = []
    headline: list[Block] = []
    for name in _registered(run):
        experiment: Experiment = EXPERIMENTS.load(name)
        found = {title: table for title, table in experiment.tables(run.results).items() if not table.empty}
        if found:
            section, summary = section_of(run, experiment, found)
            made.append(section)
            headline += summary
    others = [_others.section(run), _training.section(run), _run.section(run)]
    return [*made, *(section for section in others if section is not None)], headline


def _registered(run: Run) -> list[str]:
    """The run's experiments that are registered, in the paper's order; others come after these."""
    chosen = {*run.experiments, *run.description.get("experiments", ())} & set(EXPERIMENTS.names())
    return sorted(chosen, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def _render(run: Run, sections: Sequence[Section], headline: Sequence[Block]) -> bytes:
    source = resources.files("emoviews.report").joinpath("page.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(source).render(
        corpus=run.title,
        version=run.description.get("versions", {}).get("emoviews", ""),
        experiments=[
            f"{e.title} ({e.source} of the paper)" if e.source else e.title
            for e in map(EXPERIMENTS.load, _registered(run))
        ],
        labels=run.labels,
        chance=share(run.chance),
        shared_speakers=run.shared_speakers,
        notices=list(_notices(run)),
        any_done=bool((run.jobs["status"] == "done").any()),
        headline=headline,
        sections=sections,
        leaks=_leaks(run),
        warnings=list(_warnings(run)),
        rules=_validation_rules(run),
        licences=run.description.get("licences", {}),
    )
    return page.encode()


def _notices(run: Run) -> Iterator[str]:
    status, n = run.jobs["status"].value_counts(), len(run.jobs)
    if failed := int(status.get("failed", 0)):
        yield f"{failed} of {n} jobs failed; their scores are missing below. The errors stand under “What was run”."
    if waiting := int(status.get("not run", 0)):
        yield f"{waiting} of {n} jobs have not been run yet; the numbers below are of the others."
    if shared := run.shared_speakers:
        yield (
            f"{counted(shared, 'speaker')} in training and in test: the scores below are not those for an "
            "unknown speaker, and probably higher."
        )
    if unknown := run.unknown_speakers:
        yield (
            f"{counted(unknown, 'recording')} without a speaker. Those of one group count as one speaker, so the intervals may "
            "be too narrow, and nobody can check whether training and test share speakers."
        )
    yield from map(str, run.description.get("warnings", []))


def _warnings(run: Run) -> Iterator[str]:
    """What the run noted itself, and what follows from its jobs."""
    yield from map(str, run.description.get("warnings", []))
    few = run.jobs[run.jobs["status"] == "refused"]
    for kind, rows in few.groupby("kind"):
        n = len(rows)
        yield (
            f"{n} job{'s' * (n > 1)} ({kind}) had too few data: {rows['error'].iloc[0]}"
            f"{' Likewise the others.' * (n > 1)}"
        )
    if (n := len(run.versions)) > 1:
        yield (
            f"The jobs were made with {n} different sets of package versions, which may differ in their last digits or more. "
            "They stand under “What was run”."
        )


def _leaks(run: Run) -> list[str] | None:
    """What the leakage audit let pass, each with its folds; None where the run does not say."""
    if "leaks" not in run.description:
        return None
    by_fold = run.description["leaks"]
    found: dict[str, list[str]] = {}
    for fold, leaks in by_fold.items():
        for leak in leaks:
            found.setdefault(str(leak), []).append(fold)
    return [
        f"{leak} ({'every fold' if len(folds) == len(by_fold) else f'fold {listed(folds)}'})"
        for leak, folds in found.items()
    ]


def _validation_rules(run: Run) -> list[dict[str, str]]:
    """The rules by which trainings were stopped, with the labels that they used: `name, used, fewest`."""
    rows = run.tidy[run.tidy["kind"].isin(["finetuning", "baseline"])]
    found = []
    for rule in sorted(set(rows["validation"].dropna())):
        mine = rows[rows["validation"] == rule]
        used = mine.loc[mine["split"] == "validation", "n"].mean()
        found.append({"name": rule, "used": count(used), "fewest": count(mine["n_labels"].min())})
    return found
