"""The boundary between which jobs there are and how they are run.

    run_jobs(jobs, workspace) → one JobResult a job

Which jobs there are is decided by `emoviews.experiments`; where they run by `emoviews.executors`.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from emoviews.errors import EmoViewsError
from emoviews.jobs import Job, JobResult
from emoviews.runners import run_job
from emoviews.workspace import Workspace


def run_jobs(
    jobs: Sequence[Job],
    workspace: Workspace,
    on_epoch: Callable[[Job, Mapping[str, float]], None] = lambda job, row: None,
) -> Iterator[JobResult]:
    """Run jobs in this process, in order. A job that fails is recorded with its error; the others go on.

    The error is a message where EmoViews has one, else the traceback: a defect, or a device out of memory, in one of a
    thousand jobs must not cost the rest of the night.
    """
    for job in jobs:
        started = time.perf_counter()
        try:
            result = run_job(job, workspace, partial(on_epoch, job))
        except EmoViewsError as error:
            result = JobResult(job, 0.0, workspace.config.device, error=str(error))
        except Exception:
            result = JobResult(job, 0.0, workspace.config.device, error=traceback.format_exc())
        yield replace(result, seconds=time.perf_counter() - started)
