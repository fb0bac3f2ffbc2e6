"""How each kind of job is run, one file a kind, the file's name the kind; a runner never writes to the results database.

A kind whose jobs are run one at a time has `run(job, workspace, on_epoch) → JobResult`, one whose jobs are run in banks
`run_bank(jobs, workspace) → one JobResult a job`.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module

from emoviews.errors import EmoViewsError, TooFewError
from emoviews.jobs import Job, JobResult
from emoviews.workspace import Workspace

OnEpoch = Callable[[Mapping[str, float]], None]
"""Is told an epoch's numbers."""


def run_bank(
    bank: Sequence[Job], workspace: Workspace, on_epoch: Callable[[Job, Mapping[str, float]], None]
) -> list[JobResult]:
    """Run jobs of one kind together; a result each, in their order, whose time is not yet in it.

    What goes wrong in one of them is recorded in its result.
    """
    (kind,) = {job.kind for job in bank}
    runner = import_module(f"emoviews.runners.{kind}")
    if hasattr(runner, "run_bank"):
        together: list[JobResult] = runner.run_bank(bank, workspace)
        return together
    results: dict[str, JobResult] = {}
    for job in bank:
        with recorded([job], workspace, results):
            results[job.id] = runner.run(job, workspace, lambda row, job=job: on_epoch(job, row))
    return [results[job.id] for job in bank]


@contextlib.contextmanager
def recorded(jobs: Sequence[Job], workspace: Workspace, results: dict[str, JobResult]) -> Iterator[None]:
    """What goes wrong inside becomes the result of these jobs.

    The error is a message where EmoViews has one, else the traceback: a defect, or a device out of memory, in one of a
    thousand jobs must not cost the rest of the night.
    """
    refused = False
    try:
        yield
    except EmoViewsError as caught:
        error, refused = str(caught), isinstance(caught, TooFewError)
    except Exception:
        error = traceback.format_exc()
    else:
        return
    results |= {job.id: JobResult(job, 0.0, workspace.config.device, error=error, refused=refused) for job in jobs}
