"""What TensorBoard and MLflow show is what the rows say, written once."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest

from emoviews import cli
from emoviews.errors import EmoViewsError, MissingExtraError, UsageError
from emoviews.results import Results
from emoviews.tracking import JOB_TAG, to_mlflow, to_tensorboard, tracked


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tracking")
    table, store = str(folder / "t.csv"), str(folder / "store")
    cli.main(["corpus", "synthetic", str(folder / "audio"), "--out", table, "--preset", "tiny"])
    cli.main(["extract", table, "--store", store, "--views", "mfcc,mel_spectrogram(bands=8)", "--workers", "1"])
    shared = [
        "--store",
        store,
        "--out",
        str(folder / "run"),
        "--folds",
        "3",
        "--workers",
        "1",
        "--training.epochs",
        "3",
    ]
    cli.main(["pretrain", table, "--views", "mfcc,mel_spectrogram(bands=8)", *shared])
    cli.main(["finetune", table, "--view", "mel_spectrogram(bands=8)", "--label-fraction", "0.5", *shared])
    return folder / "run"


def rows(run: Path, query: str) -> list[tuple]:
    with sqlite3.connect(run / "results.sqlite") as connection:
        return connection.execute(query).fetchall()


def plain(name: str) -> str:
    """As MLflow takes it."""
    return name.replace("(bands=8)", "_bands_8_").replace("|", "_")


def test_jobs_are_named_by_what_they_are(run: Path) -> None:
    jobs = list(tracked(run))
    done = {job for (job,) in rows(run, "SELECT job_id FROM jobs WHERE status = 'done'")}
    assert {job.job_id for job in jobs} == done
    assert len({job.name for job in jobs}) == len(jobs)
    tuned = next(job for job in jobs if job.parameters["kind"] == "finetuning")
    fold = tuned.parameters["fold"]
    assert tuned.name == f"finetune/finetuning/mel_spectrogram_bands=8_/random/0.5/{fold}/0/{tuned.job_id[:8]}"
    assert tuned.parameters["label_fraction"] == "0.5"
    assert "uar" not in tuned.parameters


def test_tensorboard_reads_the_rows_back(run: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    number = len(list(tracked(run)))
    assert to_tensorboard(run, tmp_path) == (number, 0)
    curves = {(j, n): [] for j, n in rows(run, "SELECT DISTINCT job_id, name FROM curves")}
    for job, name, epoch, value in rows(run, "SELECT job_id, name, epoch, value FROM curves ORDER BY epoch"):
        curves[job, name].append((epoch, pytest.approx(value, rel=1e-6)))
    scores = {(j, f"{s}/{n}"): v for j, s, n, v in rows(run, "SELECT job_id, split, name, value FROM metrics")}
    for job in tracked(run):
        events = EventAccumulator(str(tmp_path / job.name)).Reload()
        found = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
        own = {name: points for (name_of, name), points in curves.items() if name_of == job.job_id}
        own |= {n: [(0, pytest.approx(v, rel=1e-6))] for (of, n), v in scores.items() if of == job.job_id}
        assert found == own
        data = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
        start = plugin_data_pb2.HParamsPluginData.FromString(data).session_start_info
        assert start.hparams["fold"].string_value == job.parameters["fold"]
    assert to_tensorboard(run, tmp_path) == (0, number)
    assert not list(tmp_path.glob(".*"))


def test_mlflow_reads_the_rows_back(run: Path, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    uri, jobs = f"sqlite:///{tmp_path / 'mlflow.db'}", list(tracked(run))
    assert to_mlflow(run, uri) == (len(jobs), 0)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.get_experiment_by_name(run.name)
    assert experiment is not None
    found = {r.data.tags[JOB_TAG]: r for r in client.search_runs([experiment.experiment_id], max_results=1000)}
    for job in jobs:
        entry = found[job.job_id]
        assert entry.data.params == job.parameters
        for name, value in job.scores.items():
            assert entry.data.metrics[plain(name)] == pytest.approx(value)
        for name in {name for _, name, _ in job.curves}:
            history = client.get_metric_history(entry.info.run_id, plain(name))
            assert [(m.step, m.value) for m in history] == [
                (epoch, pytest.approx(value)) for epoch, n, value in job.curves if n == name
            ]
    assert to_mlflow(run, uri) == (0, len(jobs))


def test_mlflow_gets_again_what_a_killed_export_left(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    uri, jobs = f"sqlite:///{tmp_path / 'mlflow.db'}", list(tracked(run))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_terminated", killed)
        with pytest.raises(KeyboardInterrupt):
            to_mlflow(run, uri)
    assert to_mlflow(run, uri) == (len(jobs), 0)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.get_experiment_by_name(run.name)
    assert experiment is not None
    entries = client.search_runs([experiment.experiment_id], max_results=1000)
    assert [entry.info.status for entry in entries].count("FINISHED") == len(entries) - 1 == len(jobs)


def test_a_server_that_mlflow_can_not_reach_is_said(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(
        EmoViewsError, match=r"MLflow can't write to http://127\.0\.0\.1:9: .* the same command goes on"
    ):
        to_mlflow(run, "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("package", "write"), [("torch.utils.tensorboard", to_tensorboard), ("mlflow.entities", to_mlflow)]
)
def test_without_the_extra_it_says_how_to_install_it(
    package: str, write: object, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"emoviews\[track\]"):
        write(run, tmp_path)  # type: ignore[operator]


def test_a_folder_without_rows_is_refused_and_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="holds no results"):
        list(tracked(tmp_path / "nothing"))
    with pytest.raises(SystemExit) as left:
        cli.main(["export", str(tmp_path / "nothing"), "--format", "tensorboard"])
    assert left.value.code == 2
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("tracker", ["tensorboard", "mlflow"])
def test_on_the_command_line(tracker: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(tmp_path / "events") if tracker == "tensorboard" else f"sqlite:///{tmp_path / 'mlflow.db'}"
    with Results(run) as results:
        number = len(results.finished())
    for new in (number, 0):
        cli.main(["export", str(run), "--format", tracker, "--to", place])
        assert f"{new} jobs written to {place}, {number - new} already there" in " ".join(
            capsys.readouterr().out.split()
        )
