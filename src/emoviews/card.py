"""The model card of a recogniser: what it learnt from, what to expect of it, what it is for and what it must not be used for.

Every number in it is `fit`'s. It names no speaker and no file: a card is read by people whom these do not concern.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from typing import Final

from jinja2 import Environment, StrictUndefined

from emoviews import __version__
from emoviews.progress import counted, listed, whose
from emoviews.recognition import FitReport, Fitted, ModeReport, has_trained
from emoviews.statistics import Interval

CARD: Final = "README.md"
"""A card's file, where the hub looks for it."""

SOURCE: Final = "https://github.com/emoviews/emoviews"


def model_card(fitted: Fitted, repository: str = "") -> str:
    """The card, as Markdown with the hub's metadata in front.

    Args:
        fitted: what the recogniser knows.
        repository: its name on the hub, where it has one.
    """
    # Whoever reads it judges new recordings; what is expected of those that trained concerns its maker.
    new = {mode: found for mode, found in fitted.report.modes.items() if not has_trained(mode)}
    fitted = replace(fitted, report=replace(fitted.report, modes=new))
    report, made = anonymous(fitted.report), fitted.provenance
    opensmile = any("opensmile" in spec.licence.lower() for spec in fitted.specs.values())
    notes = [*report.notes, *(f"{mode}: {text}" for mode, found in report.modes.items() for text in found.warnings)]
    terms: dict[str, list[str]] = {}
    for label, spec in fitted.specs.items():
        if spec.licence:
            terms.setdefault(spec.licence, []).append(label)
    text = resources.files("emoviews").joinpath("card.md.jinja").read_text(encoding="utf-8")
    template = Environment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(text)
    return template.render(
        card_data=_metadata(fitted, repository),
        title=repository.rpartition("/")[2] or "A recogniser of emotion in speech",
        source=SOURCE,
        version=__version__,
        report=report,
        labels=", ".join(fitted.labels),
        n_labels=sum(report.n_labels.values()),
        counts=", ".join(f"{label} {count}" for label, count in report.n_labels.items()),
        chance=f"{1 / len(fitted.labels):.3f}",
        corpus=made.get("corpus") or "recordings of its maker",
        languages=", ".join(made.get("languages", ())),
        views=", ".join(fitted.specs),
        judging=listed(request.label for request in fitted.needed("inductive")),
        sub_groups=list(_sub_groups(report)),
        interval=_interval,
        counted=counted,
        whose=whose,
        notes=notes,
        overlap=report.overlap,
        licences=[
            *(f"{', '.join(labels)}: {licence}" for licence, labels in terms.items()),
            *(f"the corpus {name}: {licence}" for name, licence in made.get("corpus_licences", {}).items()),
            *(
                []
                if made.get("corpus_licences")
                else ["the recordings: not known; ask whoever made them before you share this"]
            ),
        ],
        extras="[egemaps]" if opensmile else "",
        repository=repository,
        place=f"hf://{repository}@COMMIT" if repository else "MODEL",
        table=made.get("table", "unknown"),
        fingerprints=", ".join(f"{label} {spec.fingerprint}" for label, spec in fitted.specs.items()),
    )


def anonymous(report: FitReport) -> FitReport:
    """The report with numbers in place of speakers' names and files that were left out."""

    def of_mode(found: ModeReport) -> ModeReport:
        if not found.by_speaker:
            return found
        numbers = {name: f"speaker {n}" for n, name in enumerate(found.by_speaker, 1)}
        named = "|".join(map(re.escape, sorted(numbers, key=len, reverse=True)))
        place = re.compile(rf"(?<= for )({named})(?= \(n |[,.])")
        texts = tuple(place.sub(lambda match: numbers[match[1]], text) for text in found.warnings)
        by_speaker = {numbers[name]: score for name, score in found.by_speaker.items()}
        return replace(found, by_speaker=by_speaker, warnings=texts)

    left_out = {f"recording {n}": "left out" for n in range(1, len(report.left_out) + 1)}
    return replace(report, left_out=left_out, modes={mode: of_mode(found) for mode, found in report.modes.items()})


def _metadata(fitted: Fitted, repository: str) -> str:
    """The hub's metadata, as YAML."""
    from huggingface_hub import EvalResult, ModelCardData

    corpus = str(fitted.provenance.get("corpus") or "unnamed")
    results = [
        EvalResult(
            task_type="audio-classification",
            task_name="speech emotion recognition",
            dataset_type=re.sub(r"[^\w-]+", "-", corpus.lower()).strip("-") or "unnamed",
            dataset_name=corpus,
            metric_type="recall",
            metric_name=f"unweighted average recall, {mode}, {fitted.report.strangers}",
            metric_value=round(found.uar.estimate, 4),
            metric_args={"average": "macro"},
        )
        for mode, found in fitted.report.modes.items()
    ]
    codes = [code for code in fitted.provenance.get("languages", ()) if re.fullmatch(r"[a-z]{2,3}", code)]
    data = ModelCardData(
        language=codes or None,
        license="other",
        license_name="see-licences-in-the-card",
        library_name="emoviews",
        pipeline_tag="audio-classification",
        tags=["emoviews", "speech", "emotion-recognition", "few-labels"],
        model_name=repository.rpartition("/")[2] or "recogniser",
        eval_results=results or None,
    )
    return str(data.to_yaml())


def _sub_groups(report: FitReport) -> Iterator[tuple[str, str, float, int]]:
    """Mode, who, UAR and number of recordings: genders; of speakers the worst, the median and the best."""
    for mode, found in report.modes.items():
        for name, (score, n) in found.by_gender.items():
            yield mode, name, score, n
        ranked = sorted(found.by_speaker.values())
        places = {"worst": 0, "median": len(ranked) // 2, "best": len(ranked) - 1} if len(ranked) > 2 else {}
        for place, row in places.items():
            yield mode, f"{place} of {len(ranked)} speakers", *ranked[row]


def _interval(found: Interval) -> str:
    return "none (one speaker)" if math.isnan(found.low) else f"{found.low:.3f} to {found.high:.3f}"
