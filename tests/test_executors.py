"""Executors: the same numbers wherever and however often a run is started, and one bad job never takes the others down."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import threadpoolctl
import torch

from emoviews import executors
from emoviews.configs import FineTuningConfig, LabelBudget, PretrainingConfig
from emoviews.errors import EmoViewsError
from emoviews.executors import run_planned
from emoviews.experiments import plan_for
from emoviews.jobs import BaselineJob, FineTuningJob, Job, JobResult, ProbeJob
from emoviews.results import Results
from emoviews.workspace import Workspace


@pytest.fixture(autouse=True)
def one_thread_a_job(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sums on two threads differ from those on one in the last bits; on a machine of two cores, two workers get one each."""
    monkeypatch.setattr("emoviews.processes.available_cores", lambda: 2)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpoolctl.threadpool_limits(1):
        yield
    torch.set_num_threads(before)


def planned(workspace: Workspace, folds: str = "AB", learning_rate: float = 1e-3) -> list[Job]:
    """Dependents first, so that the order is the executor's doing."""
    plan = plan_for(
        workspace, "toy", pretraining=PretrainingConfig(batch_size=16, epochs=3, learning_rate=learning_rate)
    )
    first = plan.pretrainings()
    view = next(iter(plan.views.items()))
    dependents: list[Job] = []
    for fold in folds:
        common = plan.common(fold, 1)
        budget, config = LabelBudget(0.25), FineTuningConfig(batch_size=8, epochs=2)
        dependents += [FineTuningJob(*common, view, config, init, False, budget) for init in ("random", first[fold].id)]
        dependents += [BaselineJob(*common, view, "linear_svm", budget), ProbeJob(*common, view, first[fold].id)]
    return [*dependents, *(first[fold] for fold in folds)]


def saved(results: Results) -> dict[str, list[Any]]:
    """Everything that was saved, but for how long it took."""
    queries = {
        "jobs": "SELECT job_id, description, status, error, device FROM jobs ORDER BY 1",
        "metrics": "SELECT * FROM metrics ORDER BY 1, 2, 3",
        "curves": "SELECT * FROM curves ORDER BY 1, 2, 3",
        "predictions": "SELECT * FROM predictions ORDER BY 1, 2",
    }
    return {name: results.frame(query).to_numpy().tolist() for name, query in queries.items()}


@pytest.fixture(scope="module")
def undisturbed(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    workspace = toy.workspace(folder)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with Results(folder) as results, threadpoolctl.threadpool_limits(1):
        assert run_planned(planned(workspace), workspace, results, workers=1) == []
        torch.set_num_threads(before)
        return saved(results)


def test_two_processes_give_the_same_rows(toy: Any, tmp_path: Path, undisturbed: dict[str, list[Any]]) -> None:
    workspace = toy.workspace(tmp_path)
    with Results(tmp_path) as results:
        assert run_planned(planned(workspace), workspace, results, workers=2) == []
        found = saved(results)
    assert [len(rows) for rows in found.values()] == [len(rows) for rows in undisturbed.values()]
    assert found == undisturbed


@pytest.mark.parametrize("stop_after", [2, 4, 6])
def test_a_stopped_run_goes_on_to_the_same_rows(
    toy: Any, tmp_path: Path, undisturbed: dict[str, list[Any]], stop_after: int
) -> None:
    """Stopped in the first pre-training, in the second, and after both."""
    told = []

    def stop(job: Job, row: dict[str, float]) -> None:
        told.append(job.id)
        if len(told) == stop_after:
            raise KeyboardInterrupt

    with Results(tmp_path) as results:
        workspace = toy.workspace(tmp_path)
        with pytest.raises(KeyboardInterrupt):
            run_planned(planned(workspace), workspace, results, workers=1, on_epoch=stop)
        assert len(results.finished()) == (stop_after - 1) // 3
    with Results(tmp_path) as results:
        workspace = toy.workspace(tmp_path)
        assert (
            run_planned(planned(workspace), workspace, results, workers=1, on_epoch=lambda j, r: told.append(j.id))
            == []
        )
        assert saved(results) == undisturbed
    assert len(told) == 6, "an epoch was trained twice"


class Spy:
    """Notes which jobs are run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.jobs: list[Job] = []
        plain = executors.run_jobs

        def spied(jobs: Any, *rest: Any) -> Iterator[JobResult]:
            for result in plain(jobs, *rest):
                self.jobs.append(result.job)
                yield result

        monkeypatch.setattr(executors, "run_jobs", spied)

    def kinds(self) -> list[str]:
        kinds = [job.kind for job in self.jobs]
        self.jobs.clear()
        return kinds


def test_pretraining_first_and_every_job_once(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, spy = toy.workspace(tmp_path), Spy(monkeypatch)
    jobs = planned(workspace, "A")
    with Results(tmp_path) as results:
        assert run_planned([*jobs, *jobs], workspace, results, workers=1) == []
        assert spy.kinds() == ["pretraining", "finetuning", "finetuning", "baseline", "probe"]
        assert run_planned(jobs, workspace, results, workers=1) == []
        assert spy.kinds() == []
        results.add([JobResult(jobs[2], 0.0, "cpu", error="as if it had failed")])
        assert run_planned(jobs, workspace, results, workers=1) == []
        assert spy.kinds() == ["baseline"]


def test_a_lost_checkpoint_is_made_again_where_it_is_needed(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, spy = toy.workspace(tmp_path), Spy(monkeypatch)
    *dependents, first = planned(workspace, "A")
    tuned = dependents[1]
    with Results(tmp_path) as results:
        run_planned([first, tuned], workspace, results, workers=1)
        before, _ = saved(results), spy.kinds()
        shutil.rmtree(workspace.checkpoint_folder(first.id))
        assert run_planned([first, tuned], workspace, results, workers=1) == []
        assert spy.kinds() == [], "everything that starts from it is finished"
        again = dataclasses.replace(tuned, repeat=1)  # type: ignore[type-var]
        assert run_planned([first, tuned, again], workspace, results, workers=1) == []
        assert spy.kinds() == ["pretraining", "finetuning"]
        shutil.rmtree(workspace.checkpoint_folder(first.id))
        assert run_planned([first], workspace, results, workers=1) == []
        assert spy.kinds() == ["pretraining"], "asked for by itself"
        after = saved(results)
        for name in before:
            assert all(row in after[name] for row in before[name])


def test_a_failed_pretraining_fails_what_starts_from_it_and_nothing_else(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)
    wild, tame = planned(workspace, "A", learning_rate=1e30), planned(workspace, "B")
    with Results(tmp_path) as results:
        failed = run_planned([*wild, *tame], workspace, results, workers=1)
        assert results.finished() == {job.id for job in [*tame, wild[0], wild[2]]}
        first, *others = failed
        assert first.job == wild[-1]
        assert "loss is nan" in first.error
        assert [result.job for result in others] == [wild[1], wild[3]]
        for result in others:
            assert f"The pre-training it starts from (job {first.job.id}) failed: The pre-training loss" in result.error
        stored = dict(results.frame("SELECT job_id, error FROM jobs WHERE status = 'failed'").to_numpy().tolist())
        assert stored == {result.job.id: result.error for result in failed}
        assert [r.job for r in run_planned(wild, workspace, results, workers=1)] == [r.job for r in failed]


class Deadly(str):
    """A text that ends the process which unpickles it: a job that takes its worker down."""

    def __reduce__(self) -> Any:
        return os._exit, (1,)

    def __deepcopy__(self, memo: Any) -> str:
        return str(self)


def test_a_job_whose_process_dies_is_recorded_and_the_others_finish(
    toy: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workspace = toy.workspace(tmp_path)
    alive = [job for job in planned(workspace, "ABC") if job.kind == "baseline"]
    deadly = dataclasses.replace(alive[0], preset=Deadly("deadly"))  # type: ignore[type-var]
    with Results(tmp_path) as results:
        (failed,) = run_planned([deadly, *alive], workspace, results, workers=2)
        assert failed.job == deadly
        assert "its process died" in failed.error
        assert results.finished() == {job.id for job in alive}
        together = saved(results)
    assert "jobs are tried again" in capfd.readouterr().err
    with Results(tmp_path / "alone") as results:
        run_planned(alive, workspace, results, workers=1)
        assert saved(results)["predictions"] == together["predictions"]


def chained(workspace: Workspace) -> list[Job]:
    """Pre-training, a kept training on its encoder, one that starts from that; and a probe of it. The last first."""
    plan = plan_for(workspace, "toy", pretraining=PretrainingConfig(batch_size=16, epochs=3))
    first = plan.pretrainings()["A"]
    common, view = plan.common("A", 1), next(iter(plan.views.items()))
    config = FineTuningConfig(batch_size=8, epochs=2)
    kept = FineTuningJob(*common, view, config, first.id, keep=True)
    follower = FineTuningJob(*common, view, config, kept.id)
    return [ProbeJob(*common, view, kept.id), follower, kept, first]


def test_kept_trainings_come_before_what_starts_from_them(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, spy = toy.workspace(tmp_path), Spy(monkeypatch)
    jobs = chained(workspace)
    probe, follower, kept, first = jobs
    with Results(tmp_path) as results:
        assert run_planned(jobs, workspace, results, workers=1) == []
        assert [job.id for job in spy.jobs] == [first.id, kept.id, follower.id, probe.id]
        spy.jobs.clear()
        before = saved(results)
        for job in (kept, first):
            shutil.rmtree(workspace.checkpoint_folder(job.id))
        assert run_planned(jobs, workspace, results, workers=1) == []
        assert spy.jobs == [], "everything that starts from them is finished"
        results.add([JobResult(follower, 0.0, "cpu", error="as if it had failed")])
        assert run_planned(jobs, workspace, results, workers=1) == []
        assert [job.id for job in spy.jobs] == [first.id, kept.id, follower.id]
        assert saved(results) == before


def test_a_failure_goes_down_the_chain(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)
    probe, follower, kept, first = chained(workspace)
    wild = dataclasses.replace(kept, config=dataclasses.replace(kept.config, learning_rate=1e30))  # type: ignore[type-var, attr-defined]
    after = dataclasses.replace(follower, init=wild.id)  # type: ignore[type-var]
    last = dataclasses.replace(probe, init=after.id)  # type: ignore[type-var]
    with Results(tmp_path) as results:
        failed = run_planned([last, after, wild, first], workspace, results, workers=1)
        assert [result.job for result in failed] == [wild, after, last]
        assert results.finished() == {first.id}
    assert "The fine-tuning loss is nan" in failed[0].error
    assert failed[1].error == f"The training it starts from (job {wild.id}) failed: {failed[0].error}"
    assert failed[2].error.startswith(f"The training it starts from (job {after.id}) failed: The training it starts")


def banked(workspace: Workspace, repeats: int = 3) -> list[Job]:
    """Two banks of trainings, of two folds."""
    plan = plan_for(workspace, "toy")
    view, config = next(iter(plan.views.items())), FineTuningConfig(batch_size=8, epochs=2)
    return [
        FineTuningJob(*plan.common(fold, repeat), view, config, budget=LabelBudget(0.25), repeat=repeat)
        for repeat in range(repeats)
        for fold in "AB"
    ]


def test_a_bank_is_one_transaction_and_is_lost_or_kept_whole(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = toy.workspace(tmp_path)
    jobs = banked(workspace)
    sizes: list[int] = []
    plain = Results.add

    def counted(self: Results, found: Any) -> None:
        found = list(found)
        sizes.append(len(found))
        if len(sizes) == 2:
            raise KeyboardInterrupt
        plain(self, found)

    monkeypatch.setattr(Results, "add", counted)
    with Results(tmp_path) as results:
        with pytest.raises(KeyboardInterrupt):
            run_planned(jobs, workspace, results, workers=1)
        assert sizes == [3, 3]
        assert results.finished() == {job.id for job in jobs if job.fold == "A"}
        assert run_planned(jobs, workspace, results, workers=1) == []
        assert sizes == [3, 3, 3]
        interrupted = saved(results)
    with Results(tmp_path / "other") as results:
        assert run_planned(jobs, workspace, results, workers=2) == []
        assert saved(results) == interrupted


def test_the_rest_of_a_bank_gets_the_rows_of_the_whole(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, spy = toy.workspace(tmp_path), Spy(monkeypatch)
    jobs = banked(workspace)
    with Results(tmp_path) as results:
        assert run_planned(jobs[2:3], workspace, results, workers=1) == []
        spy.jobs.clear()
        assert run_planned(jobs, workspace, results, workers=1) == []
        assert [job.id for job in spy.jobs] == [jobs[i].id for i in (0, 4, 1, 3, 5)]
        found = saved(results)
    with Results(tmp_path / "whole") as results:
        assert run_planned(jobs, workspace, results, workers=1) == []
        assert saved(results) == found


def test_banks_with_most_labels_go_first(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, spy = toy.workspace(tmp_path), Spy(monkeypatch)
    budgets = [LabelBudget(per_class=2), LabelBudget(0.1), LabelBudget(), LabelBudget(0.5)]
    job = banked(workspace)[0]
    jobs = [dataclasses.replace(job, budget=budget) for budget in budgets]  # type: ignore[type-var]
    with Results(tmp_path) as results:
        assert run_planned(jobs, workspace, results, workers=1) == []
    assert [job.budget for job in spy.jobs] == [budgets[i] for i in (2, 3, 1, 0)]  # type: ignore[attr-defined]


def test_a_bank_whose_process_dies_is_tried_once_more(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process that gets the job dies; the one that tries it again does not."""
    workspace = toy.workspace(tmp_path)
    jobs = banked(workspace, 2)
    mark = tmp_path / "died once"
    dying = DeadlyOnce("default")
    dying.mark = mark
    jobs[0] = dataclasses.replace(jobs[0], preset=dying)  # type: ignore[type-var]
    with Results(tmp_path) as results:
        assert run_planned(jobs, workspace, results, workers=2) == []
        assert results.finished() == {job.id for job in jobs}
    assert mark.exists()


class DeadlyOnce(str):
    """A text that ends the first process which unpickles it."""

    mark: Path

    def __reduce__(self) -> Any:
        return die_once, (str(self), self.mark)

    def __deepcopy__(self, memo: Any) -> str:
        return str(self)


def die_once(text: str, mark: Path) -> str:
    if not mark.exists():
        mark.touch()
        os._exit(1)
    return text


def test_a_long_pretraining_says_how_it_goes(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(executors, "LINE_EVERY_SECONDS", 0.0)
    workspace = toy.workspace(tmp_path)
    jobs = [job for job in planned(workspace) if job.kind == "pretraining"][:1]
    with Results(tmp_path) as results:
        assert run_planned(jobs, workspace, results, workers=1) == []
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("pre-train without")]
    assert len(lines) == jobs[0].config.epochs
    assert lines[0].startswith(f"pre-train without {jobs[0].fold}: 1 epochs (of at most {jobs[0].config.epochs})")


def test_processes_that_can_not_start_are_one_error(toy: Any, tmp_path: Path) -> None:
    workspace = toy.workspace(tmp_path)
    jobs = [job for job in planned(workspace, "ABC") if job.kind == "baseline"]
    workspace.config = dataclasses.replace(workspace.config, store=tmp_path / "nowhere")
    with Results(tmp_path) as results:
        with pytest.raises(EmoViewsError, match=r"Worker processes can't be started.*__main__.*--workers 1"):
            run_planned(jobs, workspace, results, workers=2)
        assert results.finished() == set()


def test_a_gpu_gets_as_many_processes_as_it_has_room_for(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = toy.workspace(tmp_path)
    assert executors.processes_for(workspace, 7) == 7
    assert executors.processes_for(workspace, None) == 2  # cores
    monkeypatch.setattr(workspace, "config", dataclasses.replace(workspace.config, device="cuda"))
    monkeypatch.setattr(executors, "available_cores", lambda: 3)
    for gigabytes, processes in ((80, 3), (6, 2), (1, 1)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, n=gigabytes: (n * 10**9, 80 * 10**9))
        assert executors.processes_for(workspace, None) == processes
    assert executors.processes_for(workspace, 7) == 7
