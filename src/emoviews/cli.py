"""The command line: one thin function a command. The function is also the Python API; its signature is the command line.

Exit codes: 0 done, 1 failed, 2 wrong use. What a user did wrong is one message, never a traceback.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import yaml
from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Dict
from cyclopts.exceptions import CoercionError
from rich.console import Console
from rich.table import Table

from emoviews import __version__
from emoviews.configs import FineTuningConfig, LabelBudget, Precision, PretrainingConfig, Validation
from emoviews.errors import EmoViewsError, UsageError
from emoviews.processes import worker_count
from emoviews.progress import counted, shorten
from emoviews.terminal import (
    fail,
    modes_named,
    print_counts,
    print_fit,
    print_merge,
    print_predictions,
    print_scores,
    say,
    show,
    warn,
)

if TYPE_CHECKING:
    import pandas as pd

    from emoviews.jobs import Job, JobResult
    from emoviews.recognizer import EmotionRecognizer
    from emoviews.semisupervised import Mode
    from emoviews.views import ViewRequest
    from emoviews.workspace import Workspace

app = App(
    name="emoviews",
    version=__version__,
    help="Recognise emotion in speech from a few labelled recordings.",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
app.meta.suppress_keyboard_interrupt = False
_panel = Console(stderr=True, highlight=False)  # what cyclopts draws has to wrap


def _split_commas(kind: Any, tokens: Sequence[Any]) -> tuple[Any, ...]:
    """`a,b c` → (a, b, c); numbers where the parameter holds numbers."""
    number = next((kind_of for name, kind_of in (("float", float), ("int", int)) if name in str(kind)), str)
    parts = [part.strip() for token in tokens for part in token.value.split(",") if part.strip()]
    try:
        return tuple(number(part) for part in parts)
    except ValueError as error:
        raise CoercionError(msg=f"expected numbers separated by commas: {error}.", token=tokens[0]) from error


def _split_views(kind: Any, tokens: Sequence[Any]) -> tuple[str, ...]:
    from emoviews.views import split_view_list

    return tuple(part for token in tokens for part in split_view_list(token.value))


Names = Annotated[tuple[str, ...], Parameter(converter=_split_commas, negative=(), n_tokens=1)]
Counts = Annotated[tuple[int, ...], Parameter(converter=_split_commas, negative=(), n_tokens=1)]
Numbers = Annotated[tuple[float, ...], Parameter(converter=_split_commas, negative=(), n_tokens=1)]
Views = Annotated[tuple[str, ...], Parameter(converter=_split_views, negative=(), n_tokens=1)]
Workers = Annotated[int | None, Parameter(validator=lambda _, given: worker_count(given))]
LabelMap = Annotated[dict[str, str] | None, Parameter(negative=())]
DEMO_CORPUS = "synthetic speech (made by a synthesiser; shows how the page reads, not how well people are recognised)"
Preset = Literal["default", "paper-text", "paper-table"]


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """What the commands that train have in common.

    Attributes:
        store: folder of the extracted views; the user's cache folder if not given.
        corpus: what reports call the recordings; what the table's column corpus says, or its file name, if not given.
        test_table: another corpus' table; all of TABLE then trains and validates, and the labelled recordings of this one test.
        labels: emotions to learn, separated by commas; other labels are dropped (their recordings still serve pre-training).
        label_map: rename or merge emotions, e.g. --label-map.excited happiness; an empty target drops the label.
        folds: merge the groups into so many folds, groups for one each, or official for the table's column split; by default
            official where that column marks rows to train and to test, groups elsewhere.
        fold: run these folds only (names of test groups).
        preset: architecture and inputs; paper-text and paper-table follow the paper's two descriptions.
        scaling: zscore by the fold's training part, or none.
        seed: from which all random choices derive.
        device: cpu, cuda, ….
        precision: of pre-training: float32, or on a GPU mixed (bfloat16 and TF32).
        workers: processes; by default all cores, on a GPU as many as it has room for.
        threads: of each training on the CPU; the results' last bits depend on it, but not on the number of processes.
        allow_speaker_overlap: go on although a speaker is on both sides of a split.
    """

    store: Path | None = None
    corpus: str | None = None
    test_table: Path | None = None
    labels: Names = ()
    label_map: LabelMap = None
    folds: int | Literal["official", "groups"] | None = None
    fold: Names = ()
    preset: Preset = "default"
    scaling: Literal["zscore", "none"] = "zscore"
    seed: int = 0
    device: str = "cpu"
    precision: Precision = "float32"
    workers: Workers = None
    threads: int = 1
    allow_speaker_overlap: Annotated[bool, Parameter(negative=())] = False


@app.command
def corpus(name: str, root: Path, *, out: Path, preset: str | None = None, speaker: str | None = None) -> Path:
    """Parse a published corpus (or a folder of recordings) into an utterance table.

    Args:
        name: one of `emoviews list corpora`; `folder` takes one sub-folder a class, `table` checks a table.
        root: the corpus' folder; for `synthetic`, where its recordings are written.
        out: the table to write: .csv, .tsv or .parquet.
        preset: a selection the corpus defines, e.g. iemocap-4.
        speaker: where a path names its speaker, as a regular expression searched in it: the bracketed part, or all of the
            match, e.g. "S[0-9]+" for anger/S07_12.wav. For corpora that do not know their speakers, such as `folder`.
    """
    from emoviews.corpora import CORPORA
    from emoviews.table import CORPUS, write_table

    parser = CORPORA.load(name)
    parsed = parser.parse(root.absolute(), preset)
    table, warnings = parsed.table, list(parsed.warnings)
    if speaker is not None:
        table = _name_speakers(table, root.absolute(), speaker)
        warnings = [warning for warning in warnings if "speaker" not in warning]
    write_table(table if CORPUS in table.columns else table.assign(**{CORPUS: name}), out)
    show(f"{parser.title}: {counted(len(table), 'utterance')} written to {out}")
    print_counts(table)
    for warning in warnings:
        warn(warning)
    show(f"Licence:  {parser.licence}")
    show(f"Citation: {parser.citation}")
    return out


@app.command
def check(table: Path, *, store: Path | None = None, workers: Workers = None) -> bool:
    """Check a table and its recordings: counts, what may not be meant, durations, unusable or duplicate audio, leakage.

    Args:
        table: the utterance table.
        store: where what is found is remembered; the user's cache folder if not given.
        workers: processes; all cores by default.
    """
    import numpy as np

    from emoviews import doubts
    from emoviews.extraction import extract as run_extraction
    from emoviews.extraction import locate
    from emoviews.splits import audit_groups
    from emoviews.table import UNDECIDED, read_table

    frame, folder = read_table(table), _store(store)
    show(f"{table}: {counted(len(frame), 'utterance')}")
    print_counts(frame)
    decided = frame.assign(emotion=frame["emotion"].where(frame["emotion"] != UNDECIDED, ""))
    doubtful = [*doubts.of_labels(decided), *doubts.of_people(frame)]
    for doubt in doubtful:
        warn(doubt)
    for remark in doubts.of_parts(frame):
        say(remark)
    report = run_extraction(frame, folder, [], workers=workers, warn=warn)
    sources = locate(frame, folder)
    usable = np.array([not s.error for s in sources])
    seconds = np.array([s.duration_seconds for s in sources])[usable]
    if len(seconds):
        low, middle, high = np.quantile(seconds, [0, 0.5, 1])
        show(f"Durations: {low:.2f} to {high:.2f} s, median {middle:.2f} s, together {seconds.sum() / 3600:.2f} h")
    for failure in report.failures:
        warn(f"{failure.id}: {failure.error}")
    keys: dict[str, list[str]] = {}
    for name, source in zip(frame["id"], sources, strict=True):
        if source.key:
            keys.setdefault(source.key, []).append(name)
    duplicates = [names for names in keys.values() if len(names) > 1]
    emotion_of = dict(zip(frame["id"], frame["emotion"], strict=True))
    for names in duplicates[:10]:
        emotions = sorted({emotion_of[name] for name in names} - {""})
        warn(
            f"the same recording: {', '.join(names)}" + (f", labelled {' and '.join(emotions)}" if emotions[1:] else "")
        )
    if len(duplicates) > 10:
        warn(f"… and {len(duplicates) - 10} more recordings that occur more than once")
    groups = sorted(set(frame["group"]) - {""})
    leaks = audit_groups(frame, [s.key for s in sources]) if len(groups) > 1 else []
    for leak in leaks:
        (warn if leak.severity == "error" else say)(str(leak))
    if len(groups) < 3:
        warn(
            f"{len(groups)} group(s): training, validating and testing on different speakers needs at least 3. Fill in the "
            "column 'speaker', e.g. by: emoviews corpus folder ROOT --out TABLE --speaker PATTERN"
        )
    healthy = (
        not report.failures
        and not duplicates
        and not doubtful
        and len(groups) >= 3
        and not any(leak.severity == "error" for leak in leaks)
    )
    show("No problem found." if healthy else "There are problems; see above.")
    if not healthy:
        raise SystemExit(1)
    return True


@app.command
def extract(
    table: Path,
    *,
    store: Path | None = None,
    views: Views = ("mel_spectrogram", "egemaps"),
    preset: Preset = "default",
    workers: Workers = None,
    device: str = "cpu",
    strict: Annotated[bool, Parameter(negative=())] = False,
) -> Path:
    """Compute views of every recording and keep them in a store. What is there already is not computed again.

    Args:
        table: the utterance table.
        store: folder of the extracted views; the user's cache folder if not given.
        views: names separated by commas, with parameters in parentheses: mel_spectrogram,wav2vec2(model=FOLDER).
        preset: view parameters; paper-text and paper-table zero-pad to 15 s as the paper does.
        workers: processes; all cores by default.
        device: cpu, cuda, …; of views that are computed by a model.
        strict: stop at the first recording that can't be used.
    """
    from emoviews.extraction import extract as run_extraction
    from emoviews.progress import readable_seconds
    from emoviews.table import read_table

    requests = _requests(views, preset)
    folder = _store(store)
    report = run_extraction(
        read_table(table), folder, requests, workers=workers, strict=strict, device=device, warn=warn
    )
    rate = report.wall_seconds / report.audio_seconds if report.audio_seconds else 0.0
    show(
        f"{counted(report.n_computed, 'recording')} computed ({report.audio_seconds:.0f} s of audio in "
        f"{readable_seconds(report.wall_seconds)}, {rate:.4f} s a second), {report.n_present} already there, "
        f"{len(report.failures)} can't be used. Store: {folder}"
    )
    if report.n_cropped:
        warn(
            f"{counted(report.n_cropped, 'recording')} longer than a view takes (15 s by default): it sees the start alone. "
            "Views take maximum_seconds, e.g. mel_spectrogram(maximum_seconds=30)."
        )
    for failure in report.failures[:10]:
        warn(f"{failure.id}: {failure.error}")
    if report.failures:
        warn(f"All {len(report.failures)} that can't be used are listed in {folder / 'failed.csv'}")
        if len(report.failures) == report.n_utterances:
            raise EmoViewsError("None of the recordings can be used.")
    return folder


@app.command
def pretrain(
    table: Path,
    *,
    out: Path,
    views: Views = ("mel_spectrogram", "egemaps"),
    training: PretrainingConfig = PretrainingConfig(),  # noqa: B008 (frozen)
    label_fraction: float | None = None,
    labels_per_class: int | None = None,
    validation: Validation | None = None,
    repeat: int | None = None,
    options: Options = Options(),
) -> list[Path]:
    """Align the views' encoders on unlabelled recordings: one checkpoint a fold, in OUT/FOLD, its test group left out.

    Args:
        table: the utterance table; its labels are used by losses that use labels (supcon) and by no other.
        out: folder of the checkpoints.
        views: at least two, as given to `emoviews extract`.
        training: the optimisation; a loss takes its own settings alone (`--training.loss vicreg`).
        label_fraction: for a loss that uses labels, as for `emoviews finetune`, which must then be given the same: share of
            each class's training labels; all of them by default.
        labels_per_class: likewise.
        validation: likewise; full by default.
        repeat: likewise, the number of the label subset, 0 being the first.
        options: what the commands that train have in common.
    """
    from emoviews.experiments import plan_for, with_labels

    uses_labels = _require_pretrainable(views, training)
    given = {
        "label_fraction": label_fraction,
        "labels_per_class": labels_per_class,
        "validation": validation,
        "repeat": repeat,
    }
    if not uses_labels and (named := [name for name, value in given.items() if value is not None]):
        raise UsageError(f"The loss {training.loss} uses no labels. Leave --{named[0].replace('_', '-')} out.")
    budget = LabelBudget(label_fraction, labels_per_class)
    if repeat is not None and repeat < 0:
        raise UsageError(f"repeat must be 0 or more; got {repeat}.")
    settings = {"views": views, "training": training, **given}
    workspace = _workspace(table, out, views, options, "pretrain", settings)
    plan = plan_for(workspace, workspace.config.corpus, preset=options.preset, pretraining=training, seed=options.seed)
    jobs = plan.pretrainings()
    if uses_labels:
        _require_labels(workspace)
        jobs = {fold: with_labels(plan, job, budget, validation or "full", repeat or 0) for fold, job in jobs.items()}
    chosen = {fold: jobs[fold] for fold in _folds(workspace, options.fold)}
    folders = {job.id: out / _folder_name(fold) for fold, job in chosen.items()}
    workspace.config = dataclasses.replace(workspace.config, checkpoints=folders)
    planned = {"pretrain": list(chosen.values())}
    rows, failed = _run(workspace, "pretrain", planned, options, settings=settings)
    _require_success(failed, out)
    summary = rows[rows["experiment"] == "pretrain"].set_index("fold")
    for fold, job in chosen.items():
        row = summary.loc[[fold]].iloc[0]
        show(f"{fold}: {row['epochs_run']:.0f} epochs, best {row['best_epoch']:.0f}, in {folders[job.id]}")
    return list(folders.values())


@app.command
def finetune(
    table: Path,
    *,
    view: str,
    out: Path = Path("emoviews-run"),
    init: Path | None = None,
    frozen: Annotated[bool, Parameter(negative=())] = False,
    label_fraction: float | None = None,
    labels_per_class: int | None = None,
    validation: Validation = "full",
    repeats: int = 1,
    save_models: Annotated[bool, Parameter(negative=())] = False,
    training: FineTuningConfig = FineTuningConfig(),  # noqa: B008 (frozen)
    options: Options = Options(),
) -> Path:
    """Train a classifier on one view with few labels, and test it on speakers it has never heard.

    Args:
        table: the utterance table.
        view: the view to classify from.
        out: the run folder; results.sqlite, results.csv and results.parquet are kept there.
        init: folder that `emoviews pretrain` wrote; without it the encoder starts from random weights.
        frozen: train the classification head only.
        label_fraction: share of each class's training labels to use, e.g. 0.05.
        labels_per_class: number of labels a class to use, instead of a share.
        validation: full (the whole validation group's labels, as in the paper), budget (out of the same few labels) or none.
        repeats: label subsets to draw.
        save_models: keep each encoder with its classifier in OUT/models/FOLD-REPEAT, for `emoviews export`.
        training: the optimisation.
        options: what the commands that train have in common.
    """
    from emoviews.experiments import plan_for
    from emoviews.jobs import RANDOM, FineTuningJob
    from emoviews.results import Results
    from emoviews.seeds import derive_seed

    budget = LabelBudget(label_fraction, labels_per_class)
    if repeats < 1:
        raise UsageError(f"repeats must be 1 or more; got {repeats}.")
    settings = {
        "view": view,
        "init": init,
        "frozen": frozen,
        "label_fraction": label_fraction,
        "labels_per_class": labels_per_class,
        "validation": validation,
        "repeats": repeats,
        "save_models": save_models,
        "training": training,
    }
    workspace = _workspace(table, out, (view,), options, "finetune", settings)
    _require_labels(workspace)
    folds = _folds(workspace, options.fold)
    inits, folders = dict.fromkeys(folds, RANDOM), dict[str, Path]()
    if init is not None:
        inits, folders = _checkpoints(init, folds)
    plan = plan_for(workspace, workspace.config.corpus, preset=options.preset, seed=options.seed)
    label = next(iter(workspace.specs))
    jobs = [
        FineTuningJob(
            *plan.common(fold, derive_seed(options.seed, "classifier", fold, repeat)),
            (label, workspace.specs[label].fingerprint),
            training,
            start,
            frozen,
            budget,
            validation,
            repeat,
            keep=save_models,
        )
        for fold, start in inits.items()
        for repeat in range(repeats)
    ]
    if save_models:
        folders |= {job.id: out / "models" / _folder_name(f"{job.fold}-{job.repeat}") for job in jobs}
    workspace.config = dataclasses.replace(workspace.config, checkpoints=folders)
    workspace.require_learnable(jobs)
    rows, failed = _run(workspace, "finetune", {"finetune": jobs}, options, settings=settings)
    rows = rows[rows["job_id"].isin({job.id for job in jobs})]
    with Results(out) as results:
        if (rows["split"] == "test").any():
            print_scores(rows, results, workspace)
    _require_success(failed, out)
    return out


@app.command
def reproduce(
    table: Path,
    *,
    out: Path,
    views: Views = ("mel_spectrogram", "egemaps"),
    experiments: Names = (),
    fractions: Numbers = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0),
    per_class: Counts = (5, 10, 20, 40),
    repeats: int = 10,
    validations: Names = ("full", "budget"),
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    pretraining: PretrainingConfig = PretrainingConfig(),  # noqa: B008 (frozen)
    finetuning: FineTuningConfig = FineTuningConfig(),  # noqa: B008 (frozen)
    options: Options = Options(),
) -> Path:
    """Run the paper's experiments, or others, and write OUT/report.html. Finished jobs are never run again.

    Args:
        table: the utterance table.
        out: the run folder.
        views: at least two, as given to `emoviews extract`.
        experiments: names separated by commas (see `emoviews list experiments`); all of the paper's by default.
        fractions: shares of each class's training labels, separated by commas.
        per_class: numbers of labels a class, separated by commas.
        repeats: label subsets for each share or number, and fold.
        validations: what stops a training with few labels, each shown apart: full (the whole validation group's labels, as in
            the paper), budget (out of the same few labels), none. The first holds for the experiments with all labels too.
        dry_run: print the jobs, and how long they will take, and stop.
        pretraining: how encoders are aligned.
        finetuning: how classifiers are trained.
        options: what the commands that train have in common.
    """
    from emoviews.experiments import EXPERIMENTS, plan_for
    from emoviews.presets import encoder_description
    from emoviews.report import write_report

    for fraction in fractions:
        LabelBudget(fraction)
    for number in per_class:
        LabelBudget(None, number)
    if unknown := sorted(set(validations) - set(get_args(Validation))):
        raise UsageError(f"There is no validation {unknown[0]!r}; expected {', '.join(get_args(Validation))}.")
    if not validations:
        raise UsageError("Name at least one validation: full, budget or none.")
    if repeats < 1:
        raise UsageError(f"repeats must be 1 or more; got {repeats}.")
    if _require_pretrainable(views, pretraining):
        raise UsageError(
            f"The loss {pretraining.loss} uses labels, and the paper's experiments pre-train without any. Compare it with "
            "others by --experiments objectives, or use it in: emoviews pretrain"
        )
    every = {name: EXPERIMENTS.load(name) for name in experiments or EXPERIMENTS.names()}
    chosen = {name: experiment for name, experiment in every.items() if experiments or experiment.source}
    settings = {
        "views": views,
        "experiments": tuple(chosen),
        "fractions": fractions,
        "per_class": per_class,
        "repeats": repeats,
        "validations": validations,
        "pretraining": pretraining,
        "finetuning": finetuning,
    }
    workspace = _workspace(table, out, views, options, "reproduce", settings)
    _require_labels(workspace)
    plan = plan_for(
        workspace,
        workspace.config.corpus,
        preset=options.preset,
        pretraining=pretraining,
        finetuning=finetuning,
        validation=validations[0],
        validations=validations,
        fractions=fractions,
        per_class=per_class,
        repeats=repeats,
        seed=options.seed,
    )
    plan = dataclasses.replace(plan, folds={f: plan.folds[f] for f in _folds(workspace, options.fold)})
    jobs = {name: experiment.jobs(plan) for name, experiment in chosen.items()}
    for name, listed in jobs.items():
        kinds = {kind: sum(job.kind == kind for job in listed) for kind in dict.fromkeys(job.kind for job in listed)}
        told = ", ".join(f"{n} {kind}" for kind, n in kinds.items()) or chosen[name].why_no_jobs(plan)
        show(f"{name}: {counted(len(listed), 'job')} ({told})")
    claim = {
        "corpus": plan.corpus,
        "table": workspace.table_hash,
        "folds": dict(plan.folds),
        "views": dict(plan.views),
        **{name: getattr(options, name) for name in ("preset", "scaling", "seed", "threads")},
        "pretraining": pretraining.description,
        "finetuning": dataclasses.asdict(finetuning),
        "encoders": {label: encoder_description(spec, options.preset) for label, spec in workspace.specs.items()},
    }
    workspace.require_learnable(job for listed in jobs.values() for job in listed)
    _print_estimate([job for listed in jobs.values() for job in listed], workspace, options, claim)
    if dry_run:
        return out
    _, failed = _run(workspace, "reproduce", jobs, options, claim, plan.budgets_asked(), settings=settings)
    _warn_of_refusals(out)
    page: Path = write_report(out)
    show(f"Report: {page}")
    _require_success(failed, out)
    return page


@app.command
def fit(
    table: Path,
    *,
    out: Path,
    views: Views = (),
    labels: Names = (),
    label_map: LabelMap = None,
    store: Path | None = None,
    workers: Workers = None,
    allow_speaker_overlap: Annotated[bool, Parameter(negative=())] = False,
) -> Path:
    """Make the best recogniser that these recordings and labels allow, and say how good it will be on new speakers.

    Args:
        table: the utterance table; recordings without an emotion are learnt from as well.
        out: folder of the recogniser, which replaces one that is there.
        views: as given to `emoviews extract`; those at hand by default.
        labels: emotions to learn, separated by commas; other labels are dropped (their recordings are still learnt from).
        label_map: rename or merge emotions, e.g. --label-map.excited happiness; an empty target drops the label.
        store: folder of the extracted views; the user's cache folder if not given.
        workers: processes; all cores by default.
        allow_speaker_overlap: where speakers are unknown, test by file all the same. The scores are then too good, and
            probabilities too sure.
    """
    import time

    from emoviews.bundles import save_recognizer
    from emoviews.checkpoints import NOTES
    from emoviews.progress import readable_seconds
    from emoviews.recognizer import EmotionRecognizer, default_views
    from emoviews.table import read_table, relabel, table_hash
    from emoviews.views import VIEWS, parse_requests

    started = time.monotonic()
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: expected a folder, or a name for a new one; it is a file.")
    if out.is_dir() and any(out.iterdir()) and not (out / NOTES).is_file():
        raise UsageError(
            f"--out {out} is there and holds no recogniser; name a new folder, so that nothing of yours is lost."
        )
    (frame,) = relabel([read_table(table)], label_map or {}, labels)
    chosen = views or default_views()
    for request in parse_requests(chosen):  # before anything is said of views that do not exist
        VIEWS.load(request.name)
    say(f"Views: {', '.join(chosen)}.")
    if not _has_opensmile():
        warn(
            "opensmile is not installed; its functionals are what few labels go furthest with: pip install 'emoviews[egemaps]'"
        )
    if not any(view.startswith(("wav2vec2", "speech_model")) for view in chosen):
        say(
            "No speech model among them. Where its weights are at hand, a further view may help: "
            f"--views {','.join(chosen)},wav2vec2"
        )
    recognizer = EmotionRecognizer(
        views=tuple(chosen), store=_store(store), workers=workers, allow_speaker_overlap=allow_speaker_overlap
    )
    recognizer.fit(frame)
    fitted = recognizer.fitted_
    licences = _corpus_licences(frame)
    made = {
        "corpus": _corpus_name(frame),  # not the file's name: a card is for others, and files are called after patients
        "corpus_licences": licences,
        "table": table_hash(frame),
        "languages": sorted(set(frame["language"]) - {""}),
        "seconds": time.monotonic() - started,
    }
    recognizer.fitted_ = dataclasses.replace(fitted, provenance=made)
    save_recognizer(out, recognizer)
    print_fit(fitted.report)
    for label, spec in fitted.specs.items():
        if spec.licence:
            say(f"Licence of {label}: {spec.licence}")
    for name, licence in licences.items():
        say(f"Licence of the corpus {name}: {licence}")
    show(f"Saved in {out} after {readable_seconds(time.monotonic() - started)}")
    return out


@app.command
def predict(
    model: str,
    recordings: Annotated[list[Path], Parameter(negative=())],
    *,
    format: Literal["table", "csv", "json"] = "table",
    out: Path | None = None,
    mode: Literal["inductive", "speaker-adaptive"] | None = None,
    same_speaker: Annotated[bool, Parameter(negative=())] = False,
    window_seconds: float | None = None,
    hop_seconds: float | None = None,
    split_channels: Annotated[bool, Parameter(negative=())] = False,
    backend: Literal["numpy", "onnx"] = "numpy",
    store: Path | None = None,
    workers: Workers = None,
) -> Any:
    """Recognise the emotion of recordings. A run that was stopped goes on where it was when it is given again.

    Args:
        model: folder that `emoviews fit` wrote, or one on the Hugging Face hub: hf://OWNER/NAME@COMMIT.
        recordings: files, folders or utterance tables.
        format: table, csv, or json (one object a line).
        out: file to write to, instead of printing; its suffix says how: .csv, .tsv, .parquet, .jsonl (one object a line) or
            .json (one array); csv where it has none. Only earlier answers are replaced.
        mode: inductive judges each recording alone, speaker-adaptive all of a speaker together. By default speaker-adaptive
            where every recording has a speaker, inductive elsewhere, also if some have one; which it was stands in the column
            mode (transductive: a recording that fit learnt from; transductive, alone: one that was judged alone).
        same_speaker: all recordings are of one speaker, and judged together.
        window_seconds: length of windows that slide over each recording; whole recordings if not given. A part of a recording
            that fit learnt from counts as new.
        hop_seconds: from one window to the next; the length of a window if not given.
        split_channels: judge each channel of a stereo recording by itself, as in calls; their mean if not given.
        backend: numpy, or onnx: the graph that `emoviews export` left in the folder, by onnxruntime; inductive alone.
        store: folder of the extracted views, used for more than 16 recordings; the user's cache folder if not given.
        workers: processes; all cores by default.
    """
    from emoviews.answers import kind_of, require_replaceable, written
    from emoviews.bundles import load_fitted
    from emoviews.hub import located
    from emoviews.inference import Graph
    from emoviews.predicting import by_channel, gather, longer, windows
    from emoviews.recognition import DIRECTLY, LONG_SECONDS, has_trained, recognise

    if hop_seconds is not None and window_seconds is None:
        raise UsageError("--hop-seconds says how far windows move; give their length too: --window-seconds 4")
    if hop_seconds is not None and window_seconds is not None and hop_seconds > window_seconds > 0:
        warn(
            f"Windows of {window_seconds:g} s every {hop_seconds:g} s leave gaps that nothing judges. Give a hop that is not "
            "longer than the window."
        )
    if same_speaker and (mode == "inductive" or backend == "onnx"):
        against = "--mode inductive" if mode == "inductive" else "--backend onnx, which is inductive"
        raise UsageError(
            f"--same-speaker asks to judge all recordings together, {against}, to judge each alone. Leave one of them out."
        )
    kind = None if out is None else kind_of(out, format)
    frame = gather(recordings)
    folder = located(str(model), warn)
    fitted = load_fitted(folder)
    if out is not None:
        read = (*recordings, *map(Path, dict.fromkeys(frame["path"])))
        require_replaceable(out, read, (("recogniser", folder), ("store", store or _default_store())))
    if same_speaker:
        frame["speaker"] = "this speaker"
    if split_channels:
        frame = by_channel(frame)
    if window_seconds is not None:
        frame = windows(frame, window_seconds, window_seconds if hop_seconds is None else hop_seconds)
    nameless = int((frame["speaker"] == "").sum())
    adaptive = not nameless and backend == "numpy"
    if mode is None and backend == "numpy" and 0 < nameless < len(frame):
        warn(
            f"{nameless} of {len(frame)} recordings have no speaker, so all are judged alone (inductive). Fill in the column "
            "'speaker' to have each judged with its speaker's others, or say --mode inductive."
        )
    graph = Graph.of(folder).judge if backend == "onnx" else None
    if unknown := sorted(set(frame["emotion"]) - {"", *fitted.labels}):
        warn(
            f"The table has labels that {model} does not know: {shorten(unknown)}. These recordings too get one of what it "
            f"knows: {', '.join(fitted.labels)}."
        )
    found = recognise(
        fitted,
        frame,
        mode or ("speaker-adaptive" if adaptive else "inductive"),
        store=_store(store) if store or len(frame) > DIRECTLY else None,
        workers=workers,
        graph=graph,
    )
    results = found.frame(frame)
    if out is not None and kind is not None:
        _write(out, written(results, kind))
        say(f"{counted(len(results), 'row')} written to {out} ({modes_named(found.modes)})")
    elif format != "table":
        show(written(results, "lines" if format == "json" else format).decode(), end="")
    else:
        print_predictions(results)
    if trained := [mode for mode in found.modes if has_trained(mode)]:
        say(
            f"fit learnt from {len(trained)} of {counted(len(results), 'recording')}, so what is said of these is no test: "
            f'they are not judged as new ones would be. Their mode is "{trained[0]}".'
        )
    if window_seconds is None and (long := longer(frame[(results["problem"] == "").to_numpy()], LONG_SECONDS)):
        say(
            f"Longer than {LONG_SECONDS:.0f} s, and yet judged as one utterance: {counted(long, 'recording')}. "
            "For emotions over time: --window-seconds 4"
        )
    for warning in found.warnings:
        warn(warning)
    if bad := sum(bool(problem) for problem in found.problems):
        warn(f"{bad} of {len(results)} recordings get no emotion; the column problem says why.")
        if bad == len(results):
            first = next(problem for problem in found.problems if problem)
            raise EmoViewsError(f"No recording could be judged. The first: {first}")
    return results


@app.command
def verify(folder: Path) -> bool:
    """Re-check a store, a recogniser, a checkpoint or a run folder: all is read and compared with its checksums.

    A description (emoviews.json) that an older version wrote has no checksum; that is said. Cards and graphs are not compared.

    Args:
        folder: what another command wrote.
    """
    from emoviews.verification import verify as run_verification

    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder.")
    bad = 0
    for found in run_verification(folder):
        show(f"{found.folder}: {found.what}: {'damaged' if found.problems else 'as it was written'}")
        for problem in found.problems:
            warn(problem)
        bad += len(found.problems)
    if bad:
        raise EmoViewsError(f"{counted(bad, 'problem')}; see above.")
    return True


@app.command
def suggest(
    model: str,
    table: Path,
    *,
    budget: int = 50,
    strategy: Literal["random", "margin", "core_set", "mixture"] = "random",
    out: Path | None = None,
    seed: int = 0,
    store: Path | None = None,
    workers: Workers = None,
) -> Any:
    """Say which recordings to label next, in which order; then label them, and fit again.

    Args:
        model: folder that `emoviews fit` wrote, or one on the Hugging Face hub: hf://OWNER/NAME@COMMIT.
        table: the utterance table; recordings with an emotion count as labelled.
        budget: how many recordings to suggest.
        strategy: random (which judges nothing, so it may draw recordings in which nobody speaks); margin (those the recogniser
            is least sure of); core_set (those farthest from all that is labelled); mixture (both, the speakers with the fewest
            labels first). Where it was measured, none did better than random.
        out: file for the suggested rows of the table, in their order; printed if not given. All strategies but random judge the
            whole table and add what the recogniser guesses.
        seed: of random, and of the first recording where nothing is labelled.
        store: folder of the extracted views; the user's cache folder if not given.
        workers: processes; all cores by default.
    """
    from emoviews.annotation import drawn, suggested
    from emoviews.bundles import load_fitted
    from emoviews.hub import located
    from emoviews.table import read_table, require_table_name, write_table

    if out is not None and out.resolve() == table.resolve():
        raise UsageError(f"--out {out} is the table itself, whose other rows would be lost; name another file.")
    if out is not None and out.is_dir():
        raise UsageError(f"--out {out}: expected a name for a file; it is a folder.")
    if out is not None:
        require_table_name(out)
    frame = read_table(table)
    if strategy == "random":
        load_fitted(located(str(model), warn))  # it is not asked, but a wrong name is not passed over
        chosen, left_out = drawn(frame, budget, seed=seed)
        if left_out:
            warn(f"{counted(left_out, 'recording')} that can't be used passed over. See: emoviews check {table}")
    else:
        found = _recognizer_for(frame, model, store, workers).recognise(frame)
        chosen = suggested(frame, found, budget, strategy, seed=seed)
        if left_out := sum(bool(problem) for problem in found.problems):
            warn(f"{left_out} of {len(frame)} recordings can't be judged and are not suggested.")
    if len(chosen) < budget:
        say(f"Asked for {budget}, {len(chosen)} suggested: no others without a label can be.")
    if out is not None:
        write_table(chosen, out)
        say(f"{len(chosen)} rows written to {out}, the first to label first")
    else:
        columns = ["id", "speaker", *(["guess", "confidence"] if strategy != "random" else [])]
        shown = Table("", *columns, box=None, pad_edge=False)
        for number, row in enumerate(chosen[columns].itertuples(index=False), 1):
            shown.add_row(str(number), *(f"{x:.2f}" if isinstance(x, float) else str(x) for x in row))
        show(shown)
    return chosen


@app.command(name="app")
def app_(
    model: str,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    max_seconds: float = 600.0,
    max_megabytes: int = 200,
) -> None:
    """Open a page in the browser that recognises the emotion of recordings: one, over time, or a folder full.

    Args:
        model: folder that `emoviews fit` wrote, or one on the Hugging Face hub: hf://OWNER/NAME@COMMIT.
        host: address to listen at; 0.0.0.0 lets other computers in.
        port: of the page; 0 takes any that is free.
        max_seconds: longer recordings are refused.
        max_megabytes: larger files are refused.
    """
    from emoviews.app import is_local
    from emoviews.app.archives import Limits
    from emoviews.app.judging import require_limits
    from emoviews.app.recognition import serve_recognition
    from emoviews.bundles import load_recognizer
    from emoviews.hub import located

    limits = Limits(seconds=max_seconds, megabytes=max_megabytes)
    require_limits(limits)
    recognizer = load_recognizer(located(str(model), warn))
    if not is_local(host):
        warn(f"Whoever reaches {host} over the network can use the page; there is no password.")
    serve_recognition(recognizer, limits, host, port, say)


@app.command
def label(
    table: Path,
    *,
    model: str | None = None,
    labels: Names = (),
    strategy: Literal["random", "margin", "core_set", "mixture"] = "random",
    merge: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 7861,
    seed: int = 0,
    store: Path | None = None,
    workers: Workers = None,
) -> Any:
    """Listen and label in the browser, by keyboard. Every label is on disk at once, in TABLE.labels.jsonl.

    Args:
        table: the utterance table; its recordings without an emotion are labelled. The table itself is not changed.
        model: folder that `emoviews fit` wrote, or hf://OWNER/NAME@COMMIT; strategies other than random need one.
        labels: the emotions to choose from, separated by commas; by default those of the model, or those in the table.
        strategy: of the order, see `emoviews suggest`.
        merge: no page: write the table with the labels given so far to this file, and say how well annotators agree. A label
            counts where all who gave one agree. A file that is there is kept beside it.
        host: address to listen at; 0.0.0.0 lets other computers in, who then hear the recordings.
        port: of the page; 0 takes any that is free.
        seed: of the order.
        store: folder of the extracted views; the user's cache folder if not given.
        workers: processes; all cores by default.
    """
    from emoviews.app import is_local, require
    from emoviews.app.labels import serve_labels
    from emoviews.labelling import Journal, journal_of, labelling_order, merged, read_journal, write_merged
    from emoviews.table import read_table

    frame, entries = read_table(table), read_journal(journal_of(table))
    if merge is not None:
        if merge.resolve() == journal_of(table).resolve():
            raise UsageError(f"--merge {merge} is where the labels are kept as they are given; name another file.")
        if not entries:
            raise UsageError(f"{journal_of(table)} has no labels yet. Give some first: emoviews label {table}")
        found = merged(frame, entries)
        kept = write_merged(found, merge)
        print_merge(found, merge, kept)
        return found
    require("starlette")
    require("uvicorn")
    order, known = _labelling_order(frame, model, strategy, seed, store, workers)
    chosen = tuple(dict.fromkeys(labels or known or sorted(set(frame["emotion"]) - {""})))
    if len(chosen) < 2:
        raise UsageError("Say which emotions there are to choose from, e.g. --labels anger,joy,neutral,sadness")
    if others := sorted(set(frame["emotion"]) - {"", *chosen}):
        warn(f"The table has {', '.join(others)}, which is not offered here. To offer it, name all: --labels")
    journal = Journal(table, labelling_order(frame, entries, order), chosen)
    try:
        if not is_local(host):
            warn(
                f"Whoever reaches {host} over the network hears the recordings and can label them; there is no password."
            )
        serve_labels(frame, journal, host, port, say)
    finally:
        journal.close()
    return journal.path


@app.command
def export(
    folder: Path,
    *,
    format: Literal["onnx", "hub", "tensorboard", "mlflow"],
    to: str | None = None,
    branch: str | None = None,
    private: Annotated[bool, Parameter(negative=())] = False,
) -> Any:
    """Take a recogniser, encoders or the rows of a run elsewhere.

    Args:
        folder: that `emoviews fit`, `pretrain` or `finetune --save-models` wrote; for tensorboard and mlflow, a run folder.
        format: onnx (graphs for onnxruntime in any language), hub (a recogniser with its card to the Hugging Face hub),
            tensorboard or mlflow (curves and scores of a run).
        to: onnx: a folder, by default the same. hub: OWNER/NAME, which must be given. tensorboard: a folder, by default
            FOLDER/tensorboard. mlflow: a tracking URI, by default a database in FOLDER.
        branch: on the hub; main by default.
        private: make a new repository on the hub a private one.
    """
    if format != "hub" and (branch or private):
        raise UsageError(f"--branch and --private are for --format hub, not for {format}. Leave them out.")
    if format == "onnx":
        from emoviews.exporting import export_onnx

        written = export_onnx(folder, Path(to) if to else None)
        for path in written:
            show(f"{path}: {path.stat().st_size / 1000:.0f} kB")
        return written
    if format == "hub":
        from emoviews.hub import SCHEME, push_to_hub

        if to is None:
            raise UsageError("Name the repository on the hub: --to OWNER/NAME")
        commit = push_to_hub(folder, to, branch=branch, private=private or None)
        show(f"Pushed: {SCHEME}{to.removeprefix(SCHEME)}@{commit}")
        return commit
    from emoviews.tracking import to_mlflow, to_tensorboard

    if format == "tensorboard":
        place = to or str(folder / "tensorboard")
        new, present = to_tensorboard(folder, Path(place))
    else:
        place = to or f"sqlite:///{(folder / 'mlflow.db').resolve()}"
        new, present = to_mlflow(folder, place)
    show(f"{counted(new, 'job')} written to {place}, {present} already there")
    return place


@app.command
def demo(*, out: Path = Path("emoviews-demo"), workers: Workers = None) -> Path:
    """The whole main job on a built-in synthetic corpus: recordings, views, pre-training, few labels, one page of results.

    Args:
        out: folder for everything it makes.
        workers: processes; all cores by default.
    """
    table, store = out / "table.csv", out / "store"
    corpus("synthetic", out / "recordings", out=table)
    views = ("mel_spectrogram", "egemaps") if _has_opensmile() else ("mel_spectrogram", "mfcc")
    if "egemaps" not in views:
        warn(
            "opensmile is not installed: mfcc is used in place of egemaps. For egemaps: pip install 'emoviews[egemaps]'"
        )
    extract(table, store=store, views=views, workers=workers)
    return reproduce(
        table,
        out=out / "run",
        views=views,
        experiments=("sparse", "representations", "alignment", "parameters"),
        fractions=(0.05, 0.2, 1.0),
        per_class=(),
        repeats=2,
        pretraining=PretrainingConfig(epochs=40, patience=10),
        finetuning=FineTuningConfig(epochs=40, patience=10),
        options=Options(store=store, corpus=DEMO_CORPUS, folds=5, workers=workers),
    )


@app.command(name="list")
def list_(what: Literal["views", "corpora", "encoders", "losses", "experiments"]) -> list[str]:
    """List the registered views, corpora, encoders, losses or experiments.

    Args:
        what: which.
    """
    from importlib import import_module

    from emoviews.registry import Registry

    package = import_module(f"emoviews.{what}")
    registry = next(value for value in vars(package).values() if isinstance(value, Registry))
    names = registry.names()
    for name in names:
        show(f"{name:20}{_summary(registry, name)}")
    return names


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)], config: Path | None = None
) -> Any:
    """EmoViews.

    Args:
        config: a YAML file with values for the command's options, as the effective configuration is printed.
    """
    if config is not None and not config.is_file():
        raise UsageError(f"--config {config}: there is no such file.")
    app.config = () if config is None else (Dict(_settings(config), source=str(config), use_commands_as_keys=False),)
    return app(tokens, exit_on_error=False, print_error=True, error_console=_panel, result_action="return_value")


def _settings(config: Path) -> dict[str, Any]:
    """What a configuration file says; a label map as one text, so that its labels may be numbers and have dots.

    Raises:
        UsageError: it is no YAML, or no mapping of options.
    """
    try:
        found = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {config}: expected YAML. {error}") from error
    if not isinstance(found, dict):
        raise UsageError(f"--config {config}: expected a value for each option, got {type(found).__name__}.")
    settings = {str(name): value for name, value in found.items()}
    for name in {"label_map", "label-map"} & settings.keys():
        if isinstance(settings[name], dict):
            settings[name] = json.dumps({str(old): str(new or "") for old, new in settings[name].items()})
    return settings


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    try:
        _refuse_dots(sys.argv[1:] if arguments is None else arguments)
        app.meta(arguments, exit_on_error=False, print_error=True, error_console=_panel, result_action="return_value")
    except CycloptsError:
        raise SystemExit(2) from None
    except EmoViewsError as error:
        fail(error)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        say("Stopped. What is on disk is kept, and the same command goes on from there.")
        raise SystemExit(130) from None
    except BrokenPipeError:
        raise SystemExit(1) from None
    except OSError as error:  # a full disk, a folder without permission: the user's machine, not a defect of ours
        fail(error)
        raise SystemExit(1) from None


def _refuse_dots(arguments: Sequence[str]) -> None:
    """Refuse `--label-map.a.b c`: the parser takes what stands behind a dot for a key within a key."""
    for argument in arguments:
        option, _, name = argument.partition("=")[0].partition(".")
        if option == "--label-map" and "." in name:
            raise UsageError(
                f"--label-map can't name {name!r}, which has a dot. Write all as one: --label-map "
                f"'{json.dumps({name: 'NEW'})}'"
            )


_store_said = False


def _store(store: Path | None) -> Path:
    """The store's folder; the default is said once."""
    global _store_said
    if store is not None:
        return store
    folder = _default_store()
    if not _store_said:
        say(f"Store: {folder} (name another with --store)")
        _store_said = True
    return folder


def _default_store() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("emoviews")) / "store"


def _requests(views: Sequence[str], preset: str) -> tuple[ViewRequest, ...]:
    from emoviews.presets import get_preset
    from emoviews.views import parse_requests

    return parse_requests(views, get_preset(preset).views)


def _workspace(
    table: Path, out: Path, views: Sequence[str], options: Options, command: str, settings: Mapping[str, Any]
) -> Workspace:
    """Open the table, its folds and its views, and say what is about to run (`settings`: the command's own)."""
    from emoviews.table import read_table, relabel
    from emoviews.workspace import Workspace, WorkspaceConfig

    if _require_device(options.device) == "cpu" and options.precision == "mixed":
        raise UsageError(
            "--precision mixed is for GPUs; on a CPU it would be slower. Leave it out, or give --device cuda."
        )
    worker_count(options.workers)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: expected a folder, or a name for a new one; it is a file.")
    tables = [read_table(path) for path in (table, options.test_table) if path is not None]
    frame, *other = relabel(tables, options.label_map or {}, options.labels)
    config = WorkspaceConfig(
        table=frame,
        corpus=options.corpus or _corpus_name(frame) or table.stem,
        store=_store(options.store),
        views=_requests(views, options.preset),
        folder=out,
        folds=options.folds,
        scaling=options.scaling,
        device=options.device,
        precision=options.precision,
        threads=options.threads,
        allow_speaker_overlap=options.allow_speaker_overlap,
        test_table=other[0] if other else None,
        test_corpus=(_corpus_name(other[0]) or options.test_table.stem) if options.test_table else "test",
    )
    workspace = Workspace(config)
    say(f"# {command} {table} with views {', '.join(views)}; effective configuration:")
    say(yaml.safe_dump(_effective(options, settings), sort_keys=False, default_flow_style=None).rstrip())
    if workspace.official and options.folds is None:
        say("Folds: the table's own partition, from its column 'split' (--folds groups leaves each group out instead).")
    for warning in workspace.warnings:
        warn(warning)
    kinds = {leak.column: leak for found in workspace.leaks.values() for leak in found}
    for leak in kinds.values():
        warn(str(leak))
    return workspace


def _corpus_name(table: pd.DataFrame) -> str:
    """What the table's column `corpus` says, where it says one thing; else empty."""
    from emoviews.table import CORPUS

    named = set(table[CORPUS]) - {""} if CORPUS in table.columns else set()
    return str(next(iter(named))) if len(named) == 1 else ""


def _corpus_licences(table: pd.DataFrame) -> dict[str, str]:
    """Corpus → licence, of those that the table's column `corpus` names and EmoViews knows."""
    from emoviews.corpora import CORPORA
    from emoviews.table import CORPUS

    named = sorted(set(table[CORPUS]) - {""}) if CORPUS in table.columns else []
    return {name: CORPORA.load(name).licence for name in named if name in CORPORA.names()}


def _folds(workspace: Workspace, chosen: Sequence[str]) -> list[str]:
    if unknown := [name for name in chosen if name not in workspace.folds]:
        raise UsageError(f"There is no fold {unknown[0]!r}. Folds: {', '.join(workspace.folds)}.")
    return list(chosen) or list(workspace.folds)


def _require_device(name: str) -> str:
    """The kind of a device that is there."""
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"There is no device {name!r}; expected cpu, cuda or cuda:N.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"--device {name}: torch {torch.__version__} sees no CUDA device here. Use cpu, or install another."
        )
    return device.type


def _require_pretrainable(views: Sequence[str], training: PretrainingConfig) -> bool:
    """Whether the loss uses labels."""
    from emoviews.losses import make_loss

    if len(views) < 2:
        raise UsageError(
            f"Pre-training aligns views with each other and needs at least 2; got {', '.join(views) or 'none'}."
        )
    return make_loss(training.loss, **training.loss_settings).uses_labels


def _folder_name(fold: str) -> str:
    """The fold's name where it can name a folder, else a legible part of it and a hash of all of it.

    >>> _folder_name("Ses01"), _folder_name("a/b")
    ('Ses01', 'a_b-c14cdd')
    """
    plain = re.sub(r"[^\w+. -]", "_", fold).lstrip(".")[:80]
    return plain if plain == fold else f"{plain}-{hashlib.sha256(fold.encode()).hexdigest()[:6]}"


def _name_speakers(table: pd.DataFrame, root: Path, pattern: str) -> pd.DataFrame:
    """Fill in the speakers (and groups) that the corpus leaves empty, from the paths below `root`."""
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise UsageError(f"--speaker {pattern!r} is no regular expression: {error}.") from error
    paths = [Path(path) for path in table["path"]]
    names = [p.relative_to(root).as_posix() if p.is_relative_to(root) else p.name for p in paths]
    found = [search(name) for name in names]
    speakers = [(m[1] if m.re.groups else m[0]) if m else "" for m in found]
    if missing := [name for name, named in zip(names, speakers, strict=True) if not named]:
        raise UsageError(
            f"--speaker {pattern!r} finds no speaker in {len(missing)} of {len(names)} paths, e.g. {missing[0]}. Give a "
            "pattern that every path has, or fill in the column 'speaker' of the table."
        )
    speaker = table["speaker"].where(table["speaker"] != "", speakers)
    return table.assign(speaker=speaker, group=table["group"].where(table["group"] != "", speaker))


def _require_labels(workspace: Workspace) -> None:
    if len(workspace.labels) < 2:
        have = ", ".join(workspace.labels) or "none"
        raise UsageError(f"Learning needs utterances of at least 2 emotions; the table's labels: {have}.")


def _run(
    workspace: Workspace,
    what: str,
    planned: Mapping[str, Sequence[Job]],
    options: Options,
    claim: Mapping[str, Any] | None = None,
    budgets: Mapping[str, Any] | None = None,
    *,
    settings: Mapping[str, Any],
) -> tuple[pd.DataFrame, list[JobResult]]:
    """Run the jobs planned for each experiment against the run folder's results; the tidy rows, and the jobs that failed.

    Args:
        workspace: against which they run.
        what: the command, for the progress bar.
        planned: experiment → its jobs.
        options: what the commands that train have in common.
        claim: the configuration that the folder is for; none for what belongs to no configuration.
        budgets: what was asked of the experiments with few labels.
        settings: the command's own, as the effective configuration has them.

    All in one list: which jobs are trained together follows from the whole of it.
    """
    from emoviews.checkpoints import versions
    from emoviews.executors import processes_for, run_planned
    from emoviews.processes import hardware
    from emoviews.results import Results

    with Results(workspace.config.folder) as results:
        results.claim(claim or {})
        for name, jobs in planned.items():
            results.plan(name, jobs)
        results.remember(workspace.foreign_jobs())
        results.add_utterances(workspace.table, list(workspace.durations))
        results.describe(
            experiments=list(planned),
            budgets=budgets or {},
            pretraining_sizes=workspace.pretraining_sizes,
            corpus=workspace.config.corpus,
            test_corpus=workspace.config.test_corpus if workspace.config.test_table is not None else None,
            table=workspace.table_hash,
            n_utterances=len(workspace.table),
            labels=list(workspace.labels),
            folds={fold: workspace.hashes[fold] for fold in workspace.folds},
            test_groups={
                fold: sorted(set(workspace.table["group"].iloc[part.test])) for fold, part in workspace.folds.items()
            },
            views={label: dataclasses.asdict(spec) for label, spec in workspace.specs.items()},
            licences={label: spec.licence for label, spec in workspace.specs.items() if spec.licence},
            warnings=workspace.warnings,
            leaks={fold: [str(leak) for leak in leaks] for fold, leaks in workspace.leaks.items()},
            versions=versions(),
            seed=options.seed,
            configuration=_effective(options, settings),
            hardware=hardware(),
        )
        every = [job for jobs in planned.values() for job in jobs]
        with results.session(processes_for(workspace, options.workers)):
            failed = run_planned(every, workspace, results, workers=options.workers, what=what)
        results.export()
        return results.tidy(), failed


def _print_estimate(jobs: Sequence[Job], workspace: Workspace, options: Options, claim: Mapping[str, Any]) -> None:
    """How many jobs are left to run, and how long that will take; a run folder of another configuration is refused first."""
    from emoviews.estimates import estimate
    from emoviews.executors import processes_for
    from emoviews.results import FILE, Results

    finished: set[str] = set()
    if (workspace.config.folder / FILE).is_file():
        with Results(workspace.config.folder) as results:
            results.check_claim(claim)
            finished = results.finished()
    unique = {job.id: job for job in jobs}
    pending = [job for name, job in unique.items() if name not in finished]
    show(f"{len(unique)} different jobs in all, {len(unique) - len(pending)} of them finished")
    if pending:
        time = estimate(pending, workspace, processes_for(workspace, options.workers))
        show(f"Estimated time: {time}")


def _warn_of_refusals(folder: Path) -> None:
    """Say which measures had too little data."""
    from emoviews.results import Results

    with Results(folder) as results:
        planned = "job_id IN (SELECT job_id FROM plans)"
        reasons = results.frame(f"SELECT error FROM jobs WHERE status = 'refused' AND {planned}")["error"]
    if len(reasons):
        warn(f"{len(reasons)} measures had too little data. The first: {reasons.iloc[0]}")


def _require_success(failed: Sequence[JobResult], folder: Path) -> None:
    if failed:
        raise EmoViewsError(
            f"{counted(len(failed), 'job')} failed; the others are saved in {folder}. The first: {failed[0].error}"
        )


def _effective(options: Options, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is in force, as plain values that --config takes back; what was not given and has no default is left out."""
    # Lists that are empty unless given; elsewhere an empty list is what somebody asked for.
    given = {f.name: getattr(options, f.name) for f in dataclasses.fields(options) if getattr(options, f.name) != ()}
    return {n: _plain(value) for n, value in {**settings, **given}.items() if not (value is None or value is False)}


def _plain(value: Any) -> Any:
    """As YAML and JSON have it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: found for name, found in dataclasses.asdict(value).items() if found is not None}
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value


def _checkpoints(init: Path, folds: Sequence[str]) -> tuple[dict[str, str], dict[str, Path]]:
    """Fold → pre-training job, and job → folder, of what `emoviews pretrain` left."""
    from emoviews.checkpoints import load_checkpoint
    from emoviews.errors import CheckpointError

    inits, folders = {}, {}
    others: list[str] = []
    for folder in sorted(
        path.parent for path in [init / "emoviews.json", *init.glob("*/emoviews.json")] if path.is_file()
    ):
        made = load_checkpoint(folder).made
        fold = made["job"]["fold"]
        others.append(fold)
        if fold in folds:
            inits[fold], folders[made["job_id"]] = made["job_id"], folder
    if not inits:
        raise CheckpointError(
            f"{init} holds no checkpoint for the folds {', '.join(folds)}; its folds: {', '.join(others) or 'none'}. Give the "
            f"same --folds, or make them with: emoviews pretrain TABLE --out {init}"
        )
    if missing := [fold for fold in folds if fold not in inits]:
        warn(f"{init} has no checkpoint for {', '.join(missing)}; only {', '.join(inits)} is tested.")
    return inits, folders


def _recognizer_for(frame: pd.DataFrame, model: str, store: Path | None, workers: int | None) -> EmotionRecognizer:
    """A recogniser in the mode that suits the table: speaker-adaptive where it names every speaker."""
    from emoviews.bundles import load_recognizer
    from emoviews.hub import located

    mode: Mode = "speaker-adaptive" if (frame["speaker"] != "").all() else "inductive"
    recognizer = load_recognizer(located(str(model), warn), mode)
    recognizer.set_params(workers=workers, store=_store(store))
    return recognizer


def _labelling_order(
    frame: pd.DataFrame, model: str | None, strategy: Any, seed: int, store: Path | None, workers: int | None
) -> tuple[list[str], tuple[str, ...]]:
    """The ids without an emotion, the best to label first, and the labels that the model knows.

    A random order asks no recogniser: to judge all recordings takes long, and would only leave out what can't be judged. The
    page takes no label for what can't be played.
    """
    import numpy as np

    from emoviews.annotation import shuffled, suggested
    from emoviews.bundles import load_fitted
    from emoviews.hub import located

    unlabelled = np.array(frame["emotion"] == "", dtype=bool)
    if strategy == "random":
        known = () if model is None else load_fitted(located(str(model), warn)).labels
        return list(frame["id"].iloc[shuffled(~unlabelled, seed)]), known
    if model is None:
        raise UsageError(
            f"--strategy {strategy} goes by what a recogniser says; give one (--model MODEL), or use random."
        )
    recognizer = _recognizer_for(frame, model, store, workers)
    if not unlabelled.any():
        return [], recognizer.fitted_.labels
    chosen = suggested(frame, recognizer.recognise(frame), len(frame), strategy, seed=seed)
    return list(chosen["id"]), recognizer.fitted_.labels


def _write(path: Path, blob: bytes) -> None:
    from emoviews.store import write_atomically, write_failed

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, blob)
    except OSError as error:
        raise write_failed(path, error, len(blob)) from error


def _summary(registry: Any, name: str) -> str:
    """First line of what a member says of itself."""
    member = registry.load(name)
    title = getattr(member, "title", "")
    return str(title) or (member.__doc__ or "").strip().split("\n")[0]


def _has_opensmile() -> bool:
    from importlib.util import find_spec

    return find_spec("opensmile") is not None
