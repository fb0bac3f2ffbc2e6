"""A job's id: a hash of everything it describes, the same in every process, and equal for equal jobs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from typing import Any

import pytest

from emoviews.configs import FineTuningConfig, LabelBudget, PretrainingConfig
from emoviews.jobs import BaselineJob, FineTuningJob, Job, PretrainingJob, ProbeJob

COMMON = ("corpus", "table", "fold", "split", "default", 7, "zscore")
VIEW = ("mfcc", "0123456789ab")
VIEWS = (VIEW, ("egemaps", "ba9876543210"))
SUPCON = PretrainingJob(
    *COMMON, VIEWS, PretrainingConfig("supcon"), budget=LabelBudget(0.05), validation="full", repeat=2, label_seed=8
)
LABELS = {"budget", "validation", "repeat", "label_seed"}
JOBS = (
    PretrainingJob(*COMMON, VIEWS, PretrainingConfig()),
    SUPCON,
    FineTuningJob(*COMMON, VIEW, FineTuningConfig(), budget=LabelBudget(0.05)),
    BaselineJob(*COMMON, VIEW, "linear_svm", LabelBudget(None, 3)),
    ProbeJob(*COMMON, VIEW, "random"),
)


def test_the_id_is_sha_256_over_sorted_json() -> None:
    """Written out by hand: a change of this id would run every saved job again."""
    text = (
        '{"corpus":"corpus","fold":"fold","init":"random","kind":"probe","preset":"default","scaling":"zscore","seed":7,'
        '"split":"split","table":"table","view":["mfcc","0123456789ab"]}'
    )
    assert json.loads(text) == json.loads(json.dumps(JOBS[-1].description))
    assert JOBS[-1].id == hashlib.sha256(text.encode()).hexdigest()[:16] == "f3941b41dee4eb58"


def test_pretrainings_without_labels_are_the_jobs_they_were() -> None:
    """Their ids from before other losses and labels came: what is saved under them is not run again."""
    assert JOBS[0].id == "f370cbc7462a9045"
    other = PretrainingConfig(temperature=0.1, negatives="cross_view")
    assert PretrainingJob(*COMMON, VIEWS, other, "target", 12).id == "60cace5b901ef0e7"
    assert not LABELS & set(JOBS[0].description)
    assert list(JOBS[0].description["config"]) == [
        *("loss", "temperature", "negatives", "batch_size", "epochs", "patience", "learning_rate")
    ]
    assert set(SUPCON.description) >= LABELS
    assert PretrainingConfig("supcon").description == SUPCON.description["config"]


def test_another_process_gives_the_same_ids() -> None:
    code = f"from emoviews.configs import *; from emoviews.jobs import *; print(*(job.id for job in {list(JOBS)!r}))"
    for hash_seed in ("1", "2"):
        other = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": hash_seed}
        )
        assert other.stdout.split() == [job.id for job in JOBS]


def changed(value: Any) -> Any:
    """Another value of the same kind; of a configuration, one for each of its fields."""
    if isinstance(value, PretrainingConfig):
        own = {"batch_size", "epochs", "patience", "learning_rate", *value.loss_settings}
        for name in sorted(own):
            others = ("cross_view",) if name == "negatives" else changed(getattr(value, name))
            yield from (dataclasses.replace(value, **{name: other}) for other in others)
        yield from (value.with_loss(loss) for loss in ("vicreg", "barlow_twins"))
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            if isinstance(value, LabelBudget):
                continue
            for other in changed(getattr(value, field.name)):
                yield dataclasses.replace(value, **{field.name: other})  # type: ignore[type-var]
        if isinstance(value, LabelBudget):
            yield from (LabelBudget(0.5), LabelBudget(None, 9), LabelBudget())
    elif value is None:
        yield 5
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield value + 1
    elif isinstance(value, str):
        yield value + "x"
    elif isinstance(value, tuple) and isinstance(value[0], str):
        yield from ((value[0] + "x", value[1]), (value[0], value[1] + "x"))
    else:
        yield from (value[:1], value[::-1])


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.kind)
def test_every_field_changes_the_id(job: Job) -> None:
    ids = [job.id]
    for field in dataclasses.fields(job):
        others = (
            [LabelBudget()] if (field.name, job) == ("budget", JOBS[0]) else list(changed(getattr(job, field.name)))
        )
        assert others, field.name
        ids += [dataclasses.replace(job, **{field.name: other}).id for other in others]
    assert len(set(ids)) == len(ids) > len(dataclasses.fields(job))
    assert all(len(i) == 16 and int(i, 16) >= 0 for i in ids)


def test_jobs_of_another_kind_are_others() -> None:
    assert len({job.id for job in JOBS}) == len(JOBS)


def test_equal_jobs_are_one() -> None:
    a = FineTuningJob(*COMMON, VIEW, FineTuningConfig(learning_rate=1), budget=LabelBudget(1))  # whole numbers for
    b = FineTuningJob(*COMMON, VIEW, FineTuningConfig(learning_rate=1.0), budget=LabelBudget(1.0))  # what is a float
    assert a == b
    assert a.id == b.id
    assert len({a, b}) == 1


def test_a_description_is_json_and_reads_back() -> None:
    for job in JOBS:
        read = json.loads(json.dumps(job.description))
        assert read["kind"] == job.kind
        names = {"kind", *(field.name for field in dataclasses.fields(job))}
        assert set(read) == (names - LABELS if job is JOBS[0] else names)
        order = dict(reversed(list(read.items())))
        assert json.dumps(order, sort_keys=True) == json.dumps(job.description, sort_keys=True)
