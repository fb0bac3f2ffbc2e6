"""What the commands say on the terminal: results on standard output; remarks, warnings and errors beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from emoviews.progress import counted, whose

if TYPE_CHECKING:
    import pandas as pd

    from emoviews.statistics import Interval
    from emoviews.workspace import Workspace

# Names, labels and paths are shown as they are, square brackets included.
_out = Console(highlight=False, soft_wrap=True, markup=False)
_note = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


def show(what: object, end: str = "\n", style: str | None = None) -> None:
    """A result."""
    _out.print(what, end=end, style=style)


def say(message: str) -> None:
    """A remark."""
    _note.print(message)


def warn(message: str) -> None:
    """What the user should know before relying on the result."""
    _note.print(f"Warning: {message}", style="yellow")


def fail(error: object) -> None:
    """Why there is no result."""
    _note.print(f"Error: {error}", style="red")


def print_counts(table: pd.DataFrame) -> None:
    """How many recordings each emotion, group, speaker, gender and part has."""
    for column in ("emotion", "group", "speaker", "gender", "split"):
        counts = table[column].value_counts(sort=False)
        if set(counts.index) == {""}:
            continue
        if column == "speaker" and (table["speaker"] == table["group"]).all():
            continue
        named = sorted(counts.items(), key=lambda item: str(item[0]))
        shown = ", ".join(f"{name or '(none)'} {count}" for name, count in named[:20])
        more = f", … ({len(named)} in all)" if len(named) > 20 else ""
        show(f"  by {column}: {shown}{more}")


def print_scores(rows: pd.DataFrame, results: Any, workspace: Workspace) -> None:
    """What the fine-tunings reached on their test parts, by fold and together."""
    import pandas as pd

    from emoviews.experiments.sparse import pooled_interval

    test = rows[rows["split"] == "test"]
    shown = Table("fold", "test n", "labels", "UAR", "WA", "macro F1", "epochs", box=None, pad_edge=False)
    for fold, group in test.groupby("fold"):
        cells = [group["n"].iloc[0], group["n_labels"].mean(), *(group[c].mean() for c in ("uar", "wa", "macro_f1"))]
        shown.add_row(
            str(fold),
            f"{cells[0]:.0f}",
            f"{cells[1]:.0f}",
            *(f"{c:.3f}" for c in cells[2:]),
            f"{group['epochs_run'].mean():.0f}",
        )
    show(shown)
    predictions = results.frame("SELECT job_id, id, y_true, y_pred FROM predictions")
    by_job = {str(job): found for job, found in predictions.groupby("job_id")}
    pooled = pd.concat([by_job[job] for job in test["job_id"]])
    interval = pooled_interval(test, by_job, results.speakers())
    show(
        f"mean UAR {test['uar'].mean():.3f} over {counted(test['fold'].nunique(), 'fold')} and "
        f"{counted(test['repeat'].nunique(), 'repeat')}; pooled "
        f"{interval.estimate:.3f}, {_said(interval, 'speakers')}; "
        f"chance {1 / len(workspace.labels):.3f}"
    )
    _print_confusion(pooled["y_true"], pooled["y_pred"], workspace.labels)
    show(f"Saved in {results.path.parent}")


def _print_confusion(y_true: pd.Series[str], y_pred: pd.Series[str], labels: Sequence[str]) -> None:
    """Counts over all folds and repeats, a row a true emotion."""
    from emoviews.metrics import confusion

    counts = confusion(y_true, y_pred, labels)
    shown = Table("said \\ recognised", *labels, "recall", box=None, pad_edge=False)
    for label, row in zip(labels, counts, strict=True):
        shown.add_row(
            label, *(str(count) for count in row), f"{row[list(labels).index(label)] / max(row.sum(), 1):.3f}"
        )
    show(shown)


def print_fit(report: Any) -> None:
    """What `fit` learnt from, and what to expect."""
    from emoviews.recognition import OVERLAP, has_trained

    counts = ", ".join(f"{label} {count}" for label, count in report.n_labels.items())
    show(
        f"Learnt from {counted(report.n_recordings, 'recording')} of {whose(report.n_speakers)}, "
        f"{sum(report.n_labels.values())} of them labelled ({counts}), of {whose(report.n_labelled_speakers)}"
    )
    for name, why in list(report.left_out.items())[:10]:
        warn(f"left out: {name}: {why}")
    if len(report.left_out) > 10:
        warn(f"… and {len(report.left_out) - 10} more")
    for note in report.notes:
        if note.startswith(OVERLAP):
            show(note, style="red")
        else:
            warn(note)
    for mode, found in report.modes.items():
        where, tested = report.strangers, ""
        if has_trained(mode):
            where = "the unlabelled recordings learnt from"
            who = "speaker" if "speakers" in found.resampled else "group"
            tested = {
                "labels_kept": f"; other labels of the {who} are known",
                "no_label": f"; no label of the {who} is known",
                "nameless": "; who speaks is not known",
            }[found.hidden]
        folds = counted(found.folds, "fold") + tested
        by_chance = "" if math.isnan(found.error_by_chance) else f", {found.error_by_chance:.3f} by chance alone"
        show(
            f"Expected on {where}, {mode}: UAR {found.uar.estimate:.3f}, {_said(found.uar, found.resampled)}; chance "
            f"{1 / len(report.n_labels):.3f}; calibration error {found.calibration_error:.3f}{by_chance} ({folds})"
        )
        for what, groups in (("speaker", found.by_speaker), ("gender", found.by_gender)):
            if groups:
                shown = ", ".join(f"{name} {score:.2f} (n {n})" for name, (score, n) in list(groups.items())[:20])
                show(f"  by {what}: {shown}{', …' if len(groups) > 20 else ''}")
        one = found.new_speaker
        if not has_trained(mode) and not report.overlap and not math.isnan(one.low):
            show(f"  of a single new speaker: UAR {_bounds(one)} in 19 of 20 cases, if speakers are like these")
        if mode == "speaker-adaptive" and report.by_files:
            few = ", ".join(f"{k}: UAR {uar.estimate:.3f} ({_bounds(uar)})" for k, uar in report.by_files.items())
            show(f"  with few recordings of a speaker, the one that is judged included: {few}")
        for warning in found.warnings:
            warn(f"{mode}: {warning}")


def print_predictions(results: pd.DataFrame) -> None:
    """A row a recording or window, and the mode, in a column where it is not the same for all."""
    timed, several = bool(results["start_seconds"].notna().any()), len(set(results["mode"])) > 1
    columns = [*(["from", "to"] if timed else []), "emotion", "confidence", *(["mode"] if several else [])]
    shown = Table("id", *columns, box=None, pad_edge=False)
    for row in results.to_dict("records"):
        ends = [row["start_seconds"], row["end_seconds"]] if timed else []
        times = ["" if math.isnan(end) else f"{end:.2f}" for end in ends]
        said = [row["emotion"], f"{row['confidence']:.2f}"] if not row["problem"] else ["–", row["problem"]]
        shown.add_row(str(row["id"]), *times, *said, *([row["mode"]] if several else []))
    show(shown)
    show(f"Mode: {modes_named(results['mode'])}")


def modes_named(modes: Iterable[str]) -> str:
    """The modes of recordings, each once; the name of one has a comma in it.

    >>> modes_named(["transductive, alone", "inductive", "inductive"])
    'inductive; transductive, alone'
    """
    return "; ".join(sorted(set(modes)))


def print_merge(found: Any, out: Path, kept: Path | None) -> None:
    """What became of the labels that people gave."""
    show(f"{counted(found.filled, 'recording')} got an emotion; written to {out}")
    if kept is not None:
        say(f"What stood there is now {kept}")
    show(str(found.agreement))
    for name, said in list(found.agreement.disagreements.items())[:20]:
        show(f"  {name}: " + ", ".join(f"{who} {emotion}" for who, emotion in said.items()))
    if (n := len(found.agreement.disagreements)) > 20:
        show(f"  … and {n - 20} more")
    if found.cannot_tell:
        say(f"{counted(found.cannot_tell, 'recording')} of which nobody could tell: left as before.")
    for name, (before, said) in list(found.conflicts.items())[:20]:
        warn(f"{name} has the emotion {before}, which stays; the annotators say {said}.")
    for name in found.unknown[:5]:
        warn(f"{name} has a label, but the table does not have it (any more).")


def _said(interval: Interval, resampled: str) -> str:
    if math.isnan(interval.low):
        return "no interval, as there is one test speaker"
    return f"95 % interval {_bounds(interval)} (bootstrap over {resampled})"


def _bounds(interval: Interval) -> str:
    return "no interval" if math.isnan(interval.low) else f"{interval.low:.3f} to {interval.high:.3f}"
