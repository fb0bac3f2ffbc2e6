"""How each kind of job is run, one file a kind: `run(job, workspace, on_epoch) → JobResult`.

The file's name is the kind. A runner reads the workspace and never writes to the results database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from emoviews.jobs import Job, JobResult
from emoviews.workspace import Workspace

OnEpoch = Callable[[Mapping[str, float]], None]
"""Is told an epoch's numbers."""


def run_job(job: Job, workspace: Workspace, on_epoch: OnEpoch = lambda row: None) -> JobResult:
    """Run one job; its time is not yet in the result.

    Raises:
        EmoViewsError: what the job's kind raises.
    """
    run: Callable[[Job, Workspace, OnEpoch], JobResult] = import_module(f"emoviews.runners.{job.kind}").run
    return run(job, workspace, on_epoch)
