"""A recogniser on disk: a folder with one safetensors file, `emoviews.json` and a model card. Never pickle.

Laid out as a checkpoint of encoders is (`checkpoints`), with `"kind": "recognizer"`. `emoviews.json` names the views with
their fingerprints and licences, the labels in their order, how probabilities are calibrated, what `fit` found, and the versions
of all packages that decide about a prediction; its own digest and that of the weights. Loading compares, and refuses with both
values what does not match.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from emoviews.calibration import FARTHEST
from emoviews.card import CARD, model_card
from emoviews.checkpoints import NOTES, compare_notes, pinned_spec, read_weights, versions, write_folder
from emoviews.errors import CheckpointError, UsageError
from emoviews.fusion import CLIP, Space, ViewMap
from emoviews.labelled_map import LabelledMap
from emoviews.novelty import OUTLIER_FACTOR, Limits
from emoviews.propagation import Softmax
from emoviews.recognition import (
    SPEEDS,
    TRANSDUCTIVE,
    TRANSDUCTIVE_ALONE,
    FitReport,
    Fitted,
    ModeReport,
    made_views,
)
from emoviews.semisupervised import MODES, Mode, ModeModel, SemiSupervised, SemiSupervisedConfig
from emoviews.statistics import Interval
from emoviews.store import write_atomically, write_failed
from emoviews.types import SAMPLING_RATE
from emoviews.views import ViewRequest

if TYPE_CHECKING:
    from emoviews.recognizer import EmotionRecognizer

FORMAT: Final = 5
"""5: labels of any type, what to expect of few recordings of a speaker, and what is still like the training recordings."""
KIND: Final = "recognizer"

COMPUTE_VIEWS: Final = ("opensmile",)
"""Packages of which another version may give other views, without another fingerprint."""

_PARTS: Final = ("mean", "deviation", "within", "prior", "center", "matrix")
_MAP_PARTS: Final = ("center", "matrix", "positions", "classes")


def save_recognizer(folder: str | Path, recognizer: EmotionRecognizer) -> None:
    """Write a fitted recogniser and its model card; one that is there is replaced, and stays whole until the new one is.

    Raises:
        StoreError: the disk is full or the folder can't be written.
    """
    folder = Path(folder)
    fitted: Fitted = recognizer.fitted_
    tensors: dict[str, NDArray[Any]] = {"heard": np.array(sorted(fitted.heard), dtype=np.uint64)}
    tensors["labels"] = np.frombuffer(json.dumps(fitted.labels).encode(), dtype=np.uint8)  # under the weights' digest
    tensors |= {f"map/{part}": np.array(getattr(fitted.labelled, part), order="C") for part in _MAP_PARTS}
    modes: dict[str, Any] = {}
    for mode, model in fitted.model.modes.items():
        for number, (space, classifier) in enumerate(model.members):
            for label, view in space.maps.items():
                place = f"{label}/{mode}/{number}"
                tensors |= {f"{place}/{part}": np.array(getattr(view, part), order="C") for part in _PARTS}
            tensors[f"{mode}/{number}/weights"] = np.array(classifier.weights, order="C")
            tensors[f"{mode}/{number}/intercept"] = np.array(classifier.intercept, order="C")
        modes[mode] = {
            "adaptive": model.adaptive,
            "members": [list(space.maps) for space, _ in model.members],
            "bandwidth": model.bandwidth,
        }
    views = {
        request.label: {
            "request": str(request),
            "spec": dataclasses.asdict(fitted.specs[request.label]),
            "fingerprint": fitted.specs[request.label].fingerprint,
            "licence": fitted.specs[request.label].licence,
        }
        for request in fitted.requests
    }
    notes = {
        "views": views,
        "labels": list(fitted.classes),
        "modes": modes,
        "temperatures": dict(fitted.temperatures),
        "configuration": dataclasses.asdict(fitted.model.config),
        "confounding": {"speaker": fitted.model.speaker_confounding, "text": fitted.model.text_confounding},
        "limits": dataclasses.asdict(fitted.limits),
        "sampling_rate": fitted.sampling_rate,
        "speeds": list(fitted.speeds),
        "report": dataclasses.asdict(fitted.report),
        "made": dict(fitted.provenance),
    }
    write_folder(folder, safetensors.numpy.save(tensors), KIND, FORMAT, notes)
    card = model_card(fitted).encode()
    try:
        write_atomically(folder / CARD, card)
    except OSError as error:
        raise write_failed(folder / CARD, error, len(card)) from error


def load_recognizer(folder: str | Path, mode: Mode = "inductive") -> EmotionRecognizer:
    """Read a recogniser, ready to predict in this mode; errors as `load_fitted`. How it learnt is kept, for another `fit`."""
    from emoviews.recognizer import EmotionRecognizer  # with scikit-learn, which a first answer need not wait for

    fitted = load_fitted(folder)
    config = fitted.model.config
    recognizer = EmotionRecognizer(
        views=tuple(str(request) for request in fitted.requests),
        mode=mode,
        speeds=fitted.speeds,
        strength=config.strength,
        unlabelled_weight=config.unlabelled_weight,
        neighbours=config.neighbours,
        remove_text=config.remove_text,
    )
    recognizer.fitted_ = fitted
    recognizer.classes_ = np.array(fitted.classes, dtype=object if isinstance(fitted.classes[0], str) else None)
    return recognizer


def load_fitted(folder: str | Path) -> Fitted:
    """Read what a recogniser knows.

    Raises:
        CheckpointError: the folder holds none, one of another format, one that is damaged, or one whose views this
            installation would compute otherwise; both values are named.
        MissingExtraError: a view needs a package that is not installed.
    """
    folder = Path(folder)
    path = folder / NOTES
    if not path.is_file():
        raise CheckpointError(
            f"{folder} holds no recogniser (no {NOTES}). Make one with: emoviews fit TABLE --out {folder}"
        )
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
        for name, mine in (("kind", KIND), ("format", FORMAT)):
            if notes[name] != mine:
                raise CheckpointError(
                    f"{folder} has {name} {notes[name]!r}; expected {mine!r}. Make it again with: emoviews fit"
                )
        remedy = "Get a whole copy, or fit again."
        compare_notes(path, notes, remedy)
        weights = notes["weights"]
        tensors = safetensors.numpy.load(read_weights(folder / weights["file"], weights["sha256"], remedy))
        requests = tuple(ViewRequest.parse(view["request"]) for view in notes["views"].values())
        specs = {label: pinned_spec(path, label, view, "Fit again.") for label, view in notes["views"].items()}
        fitted = Fitted(
            requests=requests,
            specs=specs,
            classes=tuple(notes["labels"]),
            model=_model(notes, tensors),
            temperatures=_temperatures(notes["temperatures"]),
            limits=Limits(float(notes["limits"]["outlier"]), float(notes["limits"]["shift"])),
            heard=frozenset(tensors["heard"].tolist()),
            report=_report(notes["report"]),
            labelled=LabelledMap(*(tensors[f"map/{part}"] for part in _MAP_PARTS)),
            provenance=notes["made"],
            sampling_rate=int(notes.get("sampling_rate", 0)),  # older bundles say neither
            speeds=tuple(notes.get("speeds", SPEEDS)),
        )
        trained = tuple(json.loads(tensors["labels"].tobytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UsageError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"{folder} can't be read as a recogniser ({type(error).__name__}: {error}). Make it again with: emoviews fit"
        ) from error
    if fitted.labels != trained:
        raise CheckpointError(
            f"{folder} names the labels {', '.join(fitted.labels)}; its classifier was trained on {', '.join(trained)}. They "
            "were changed; make it again with: emoviews fit"
        )
    _refuse_impossible(folder, fitted)
    _compare_views(folder, fitted)
    here = versions()
    for package in COMPUTE_VIEWS:
        made_with = notes["versions"].get(package)
        if any(spec.name in ("egemaps", "compare_2016") for spec in specs.values()) and made_with != here.get(package):
            raise CheckpointError(
                f"{folder} was made with {package} {made_with}; here it is {here.get(package, 'not installed')}, which may "
                f"compute its views otherwise. Install {package}=={made_with}, or fit again."
            )
    return fitted


def _temperatures(saved: Mapping[str, Any]) -> dict[str, float]:
    """Older bundles have none for what trained and is judged alone: it had the inductive one."""
    found = {mode: float(saved[mode]) for mode in (*MODES, TRANSDUCTIVE)}
    return {**found, TRANSDUCTIVE_ALONE: float(saved.get(TRANSDUCTIVE_ALONE, saved["inductive"]))}


def _refuse_impossible(folder: Path, fitted: Fitted) -> None:
    """Refuse numbers that no `fit` comes to: older bundles bear no digest by which a change would show."""
    temperatures, limits, report = fitted.temperatures, fitted.limits, fitted.report
    coldest, hottest = np.exp(-FARTHEST), np.exp(FARTHEST)
    farthest = OUTLIER_FACTOR**2 * CLIP  # z-scores are clipped, so distances are at most CLIP
    modes = fitted.model.modes
    adaptive = {mode: model.adaptive for mode, model in modes.items()}
    bandwidths = {mode: model.bandwidth for mode, model in modes.items()}
    uars = [found.uar.estimate for found in report.modes.values()] + [
        found.estimate for found in report.by_files.values()
    ]
    checks = (
        (
            f"the temperatures {dict(temperatures)}",
            f"numbers from {coldest:.2f} to {hottest:.0f}",
            all(coldest <= temperature <= hottest for temperature in temperatures.values()),
        ),
        (
            f"the {limits}",
            f"an outlier from 0 to {farthest:.2f} and a shift above 0",
            0 <= limits.outlier <= farthest and limits.shift > 0,
        ),
        (f"the bandwidths {bandwidths}", "finite numbers from 0", all(0 <= b < np.inf for b in bandwidths.values())),
        (f"the modes' adaptive {adaptive}", "False for the inductive one", not adaptive["inductive"]),
        (f"the expected UARs {uars}", "numbers from 0 to 1", all(0 <= uar <= 1 for uar in uars)),
        (
            f"the sampling rate {fitted.sampling_rate}",
            f"a number from 0 to {SAMPLING_RATE}",
            0 <= fitted.sampling_rate <= SAMPLING_RATE,
        ),
    )
    for found, expected, holds in checks:
        if not holds:
            raise CheckpointError(
                f"{folder} has {found}; expected {expected}. It was changed; make it again with: emoviews fit"
            )


def _compare_views(folder: Path, fitted: Fitted) -> None:
    for label, view in made_views(fitted.requests).items():
        here, there = view.spec, fitted.specs[label]
        if here.fingerprint != there.fingerprint:
            raise CheckpointError(
                f"{folder} was fitted on {label} with fingerprint {there.fingerprint}; this installation computes "
                f"{here.fingerprint}. Use the version of EmoViews and the weights that made it, or fit again."
            )


def _model(notes: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> SemiSupervised:
    modes: dict[Mode, ModeModel] = {}
    for mode in MODES:
        own, members = notes["modes"][mode], []
        for number, labels in enumerate(own["members"]):
            maps = {n: ViewMap(*(tensors[f"{n}/{mode}/{number}/{part}"] for part in _PARTS)) for n in labels}
            classifier = Softmax(tensors[f"{mode}/{number}/weights"], tensors[f"{mode}/{number}/intercept"])
            members.append((Space(bool(own["adaptive"]), maps), classifier))
        modes[mode] = ModeModel(tuple(members), float(own["bandwidth"]))
    config = SemiSupervisedConfig(**notes["configuration"])
    return SemiSupervised(modes, config, notes["confounding"]["speaker"], notes["confounding"]["text"])


def _report(saved: Mapping[str, Any]) -> FitReport:
    modes = {}
    for mode, own in saved["modes"].items():
        speaker, gender = ({n: (v[0], v[1]) for n, v in own[key].items()} for key in ("by_speaker", "by_gender"))
        unsaid = {"resampled": "speakers" if speaker else "files", "folds": saved["folds"]}  # by older bundles
        read = {"uar": Interval(**own["uar"]), "warnings": tuple(own["warnings"])}
        said = {**unsaid, **own, **read, "by_speaker": speaker, "by_gender": gender}
        modes[mode] = ModeReport(**_known(ModeReport, said))
    by_files = {int(k): Interval(**interval) for k, interval in saved["by_files"].items()}
    return FitReport(
        **_known(FitReport, {**saved, "modes": modes, "by_files": by_files, "notes": tuple(saved["notes"])})
    )


def _known(kind: type[ModeReport] | type[FitReport], said: dict[str, Any]) -> dict[str, Any]:
    """What a report says, less what only other versions say: it informs, and decides about no answer."""
    return {name: value for name, value in said.items() if name in kind.__dataclass_fields__}
