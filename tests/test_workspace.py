"""The workspace across corpora and with official partitions: who trains, validates and tests, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emoviews.configs import FineTuningConfig, PretrainingConfig
from emoviews.engine import run_jobs
from emoviews.errors import LeakageError, StoreError, UsageError
from emoviews.experiments import plan_for
from emoviews.jobs import FineTuningJob, Job, JobResult, PretrainingJob
from emoviews.store import Source, Sources
from emoviews.table import apply_label_map, keep_labels
from emoviews.workspace import Workspace

TEST_ROWS = range(96, 120)  # speaker E is the other corpus


def halves(toy: Any) -> tuple[Any, Any]:
    """The corpus of speakers A to D, and E's table, whose ids are its own."""
    rows = toy.table
    own = dataclasses.replace(toy, table=rows[rows["speaker"] != "E"].reset_index(drop=True))
    return own, rows[rows["speaker"] == "E"].reset_index(drop=True)


def across(toy: Any, folder: Path, test: Any = None, **changes: Any) -> Workspace:
    own, other = halves(toy)
    changes = {"test_table": other if test is None else test, "test_corpus": "elsewhere", **changes}
    return own.workspace(folder, **changes)


def jobs(workspace: Workspace) -> list[Job]:
    plan = plan_for(workspace, "toy")
    (fold,) = plan.folds
    views = tuple(plan.views.items())
    pretraining = PretrainingJob(*plan.common(fold, 1), views, PretrainingConfig(batch_size=16, epochs=2))
    config = FineTuningConfig(batch_size=8, epochs=8)
    return [pretraining, FineTuningJob(*plan.common(fold, 2), views[0], config, init=pretraining.id)]


def run(workspace: Workspace) -> tuple[JobResult, JobResult]:
    first, second = run_jobs(jobs(workspace), workspace)
    assert not first.error, first.error
    assert not second.error, second.error
    return first, second


def ids(workspace: Workspace, rows: Any) -> list[str]:
    return workspace.table["id"].iloc[rows].tolist()


# Across corpora


def test_one_fold_trains_on_the_table_and_tests_on_the_other(toy: Any, tmp_path: Path) -> None:
    workspace = across(toy, tmp_path)
    assert list(workspace.folds) == ["elsewhere"]
    fold = workspace.folds["elsewhere"]
    assert ids(workspace, fold.test) == toy.table["id"].iloc[TEST_ROWS].tolist()
    assert ids(workspace, fold.train) == toy.table["id"].iloc[:72].tolist()
    assert ids(workspace, fold.validation) == toy.table["id"].iloc[72:96].tolist()
    assert "its last group, D, validates and does not train" in workspace.warnings[0]
    assert set(workspace.table["corpus"]) == {"toy", "elsewhere"}
    pretraining, tuned = run(workspace)
    assert workspace.checkpoint(pretraining.job.id).made["n_train"] == 72
    assert tuned.predictions is not None
    assert list(tuned.predictions.ids) == ids(workspace, fold.test)
    assert {(s, n): v for s, n, v in tuned.metrics}["test", "n"] == 24


def test_nothing_of_the_test_corpus_reaches_a_training(toy: Any, tmp_path: Path) -> None:
    def trained(corpus: Any, folder: Path) -> Any:
        workspace = across(corpus, folder)
        first, second = run(workspace)
        scaler = workspace.scaler(next(iter(workspace.specs)), workspace.folds["elsewhere"])
        views = workspace.checkpoint(first.job.id).views
        tensors = [view.tensors[name] for view in views.values() for name in sorted(view.tensors)]
        return tensors, scaler, [first.curves, second.curves], second.predictions

    arrays = {
        label: [9 - 3 * array if n in TEST_ROWS else array for n, array in enumerate(found)]
        for label, found in toy.arrays.items()
    }
    poisoned = dataclasses.replace(toy, arrays=arrays).write(tmp_path / "store")
    clean, other = trained(toy, tmp_path / "a"), trained(poisoned, tmp_path / "b")
    assert all(bool((x == y).all()) for x, y in zip(clean[0], other[0], strict=True))
    assert np.array_equal(clean[1].mean, other[1].mean)
    assert clean[2] == other[2]
    assert not np.array_equal(clean[3].probabilities, other[3].probabilities), "the poison did not take"


def test_the_hashes_cover_both_tables(toy: Any, tmp_path: Path) -> None:
    _, other = halves(toy)
    here = across(toy, tmp_path)
    swapped = other.assign(emotion=np.roll(other["emotion"], 3))
    fewer = other.iloc[:-1]
    assert len({w.table_hash for w in (here, across(toy, tmp_path, swapped), across(toy, tmp_path, fewer))}) == 3
    assert here.hashes["elsewhere"] != across(toy, tmp_path, fewer).hashes["elsewhere"]
    assert across(toy, tmp_path).table_hash == here.table_hash
    # The same recordings, another division: another split.
    assert toy.workspace(tmp_path).hashes["E"] != here.hashes["elsewhere"]


def test_an_official_partition_of_the_training_table_is_respected(toy: Any, tmp_path: Path) -> None:
    own, other = halves(toy)
    split = ["train"] * 48 + ["val"] * 24 + ["test"] * 20 + [""] * 4
    marked = dataclasses.replace(own, table=own.table.assign(split=split))
    other = other.assign(split="train")  # the test corpus' own partition is not asked
    workspace = marked.workspace(tmp_path, test_table=other, test_corpus="elsewhere")
    fold = workspace.folds["elsewhere"]
    assert ids(workspace, fold.train) == toy.table["id"].iloc[:48].tolist()
    assert ids(workspace, fold.validation) == toy.table["id"].iloc[48:72].tolist()
    assert len(fold.test) == 24
    assert fold.validation_group == ""
    assert workspace.warnings == ["24 rows of toy left out, as its column 'split' says."]
    everywhere = np.concatenate(list(fold.parts.values()))
    assert not {72, 95} & set(everywhere)


def test_unlabelled_test_utterances_are_in_no_part_and_absent_classes_are_said(toy: Any, tmp_path: Path) -> None:
    _, other = halves(toy)
    workspace = across(toy, tmp_path, keep_labels(other, ["anger", "sadness"]))
    fold = workspace.folds["elsewhere"]
    assert len(fold.test) == 16
    assert sum(map(len, fold.parts.values())) == 96 + 16
    assert any(w.startswith("Fold elsewhere: no test utterance is labelled neutral;") for w in workspace.warnings)
    _, tuned = run(workspace)
    assert {(s, n): v for s, n, v in tuned.metrics}["test", "n"] == 16


def test_ids_and_groups_that_both_tables_have_are_told_apart(toy: Any, tmp_path: Path) -> None:
    own, other = halves(toy)
    other = other.assign(id=own.table["id"].iloc[:24].tolist(), group=["A", *[""] * 23])
    workspace = across(toy, tmp_path, other)
    fold = workspace.folds["elsewhere"]
    assert ids(workspace, fold.test)[0] == f"elsewhere/{own.table['id'].iloc[0]}"
    assert workspace.table["id"].is_unique
    assert set(workspace.table["group"].iloc[fold.test]) == {"elsewhere/A", "elsewhere/elsewhere"}
    assert {leak.column for leak in workspace.leaks["elsewhere"]} == {"text"}


def test_speakers_and_recordings_in_both_are_leaks(toy: Any, tmp_path: Path) -> None:
    own, other = halves(toy)
    with pytest.raises(
        LeakageError, match=r"share 1 speaker, e\.g\. 'A'.*toy and elsewhere merely give two people the same"
    ):
        across(toy, tmp_path, other.assign(speaker="A"))
    allowed = across(toy, tmp_path, other.assign(speaker="A"), allow_speaker_overlap=True)
    assert any(leak.column == "speaker" for leak in allowed.leaks["elsewhere"])
    copies = own.table.iloc[:24].assign(speaker="Z", group="Z").reset_index(drop=True)
    with pytest.raises(LeakageError, match="share 24 recordings"):
        across(toy, tmp_path, copies, allow_speaker_overlap=True)


def test_labels_that_nobody_trains_are_refused(toy: Any, tmp_path: Path) -> None:
    _, other = halves(toy)
    foreign = apply_label_map(other, {"anger": "angry", "sadness": "sad"})
    with pytest.raises(UsageError) as caught:
        across(toy, tmp_path, foreign)
    message = str(caught.value)
    assert "elsewhere has labels that toy does not train: angry (8 utterances), sad (8 utterances)" in message
    assert "it trains anger, neutral, sadness" in message
    assert "--label-map.angry LABEL" in message


def test_what_a_test_across_corpora_can_not_be_made_of(toy: Any, tmp_path: Path) -> None:
    _, other = halves(toy)
    for folds in (3, "official"):
        with pytest.raises(
            UsageError, match=rf"folds={folds!r} divides one corpus; with a test table there is one fold"
        ):
            across(toy, tmp_path, folds=folds)
    with pytest.raises(UsageError, match="No utterance of elsewhere that can be used has a label"):
        across(toy, tmp_path, other.assign(emotion=""))
    single = dataclasses.replace(toy, table=toy.table.assign(speaker="A", group="A").iloc[:24])
    with pytest.raises(UsageError, match=r"at least 2 groups to train on .*or rows marked 'val'.*got 1: A"):
        single.workspace(tmp_path, test_table=other)


def test_what_was_not_extracted_is_named_with_its_table(toy: Any, tmp_path: Path) -> None:
    own, other = halves(toy)
    missing = dataclasses.replace(toy, table=own.table, keys=toy.keys[:96])
    arrays = {label: found[:96] for label, found in toy.arrays.items()}
    store = dataclasses.replace(missing, arrays=arrays).write(tmp_path / "s").store
    sources = Sources(store)
    for row in TEST_ROWS:  # decoded once, but no view was computed
        path = Path(toy.table["path"][row])
        status = path.stat()
        known = Source(str(path), status.st_size, status.st_mtime_ns, *(float("nan"),) * 3)
        sources.add(dataclasses.replace(known, key=toy.keys[row], duration_seconds=1.0))
    sources.flush()
    with pytest.raises(StoreError, match=r"24 of 120 utterances have no .*Run: emoviews extract TEST_TABLE --store"):
        dataclasses.replace(own, store=store).workspace(tmp_path, test_table=other)


# Official partitions


@pytest.mark.parametrize(
    ("split", "train", "validation"),
    [
        (["test"] * 24 + ["val"] * 24 + ["train"] * 48 + [""] * 24, range(48, 96), range(24, 48)),
        (["test"] * 24 + [""] * 24 + ["train"] * 48 + [""] * 24, range(48, 72), range(72, 96)),  # its last group
        (["test"] * 24 + [""] * 24 + ["train"] * 24 + [""] * 48, range(48, 72), range(0)),  # there is one alone
    ],
)
@pytest.mark.parametrize("asked", [True, False])
def test_an_official_partition_is_respected(
    toy: Any, tmp_path: Path, split: list[str], train: range, validation: range, asked: bool
) -> None:
    """Also where nobody asks for it."""
    corpus, has_validation = dataclasses.replace(toy, table=toy.table.assign(split=split)), len(validation) > 0
    workspace = corpus.workspace(tmp_path, **({"folds": "official"} if asked else {}))
    assert workspace.official
    fold = workspace.folds["official"]
    assert fold.train.tolist() == list(train)
    assert fold.validation.tolist() == list(validation)
    assert fold.test.tolist() == list(range(24))
    said = [warning for warning in workspace.warnings if "its last group, D, validates" in warning]
    assert len(said) == (fold.validation_group == "D") == (72 in validation)
    first, second = jobs(workspace)
    second = dataclasses.replace(second, validation="full" if has_validation else "budget")
    pretrained, tuned = run_jobs([first, second], workspace)
    assert not pretrained.error, pretrained.error
    assert not tuned.error, tuned.error
    made = workspace.checkpoint(first.id).made
    assert (made["n_train"], made["n_validation"]) == (len(train), len(validation))
    assert tuned.predictions is not None
    assert list(tuned.predictions.ids) == toy.table["id"][:24].tolist()
    if not has_validation:
        assert {"validation_loss"}.isdisjoint({name for _, name, _ in pretrained.curves})
        (refused,) = run_jobs([dataclasses.replace(second, validation="full")], workspace)
        assert "no utterance of its validation part has a label" in refused.error
        with pytest.raises(UsageError, match="no utterance of its validation part has a label"):
            workspace.require_learnable([dataclasses.replace(second, validation="full")])
    workspace.require_learnable([first, second])
    assert workspace.pretraining_sizes["official"]["all"] == (len(train), len(validation))


def test_groups_may_be_asked_for_in_its_place(toy: Any, tmp_path: Path) -> None:
    split = ["test"] * 24 + ["val"] * 24 + ["train"] * 72
    corpus = dataclasses.replace(toy, table=toy.table.assign(split=split))
    assert list(corpus.workspace(tmp_path, folds="groups").folds) == list("ABCDE")
    assert list(corpus.workspace(tmp_path, folds=3).folds) != ["official"]
    only_train = dataclasses.replace(toy, table=toy.table.assign(split=["train"] * 120))
    assert list(only_train.workspace(tmp_path).folds) == list("ABCDE")  # there is no partition in it


def test_a_partition_without_train_or_test_is_refused(toy: Any, tmp_path: Path) -> None:
    corpus = dataclasses.replace(toy, table=toy.table.assign(split=["train"] * 120))
    with pytest.raises(UsageError, match="has 120 'train' and 0 'test'"):
        corpus.workspace(tmp_path, folds="official")


def test_across_corpora_the_page_names_both(toy: Any, tmp_path: Path) -> None:
    from emoviews.report.run import Run
    from emoviews.results import Results

    with Results(tmp_path) as results:
        results.describe(corpus="iemocap", experiments=["parameters"])
        assert Run.of(results).title == "iemocap"
        results.describe(test_corpus="emodb")
        assert Run.of(results).title == "iemocap → emodb"
