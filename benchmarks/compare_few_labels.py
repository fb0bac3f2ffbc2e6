"""Ways to learn from few labels, beside plain baselines, each in both modes; prints Markdown tables.

    python benchmarks/compare_few_labels.py TABLE --store STORE --labels anger,happiness --train Ann,Bob --test Cy,Dee

It needs real recordings, extracted: `emoviews extract TABLE --store STORE --views "egemaps,compare_2016,mfcc,
egemaps(speed=0.9),egemaps(speed=1.1),mfcc(speed=0.9),mfcc(speed=1.1)"`. Without `--test`
every training speaker tests once, and the others train. Labels are drawn by share and class from the training speakers'
recordings; what is not drawn stays there without a label. Recordings with other emotions than `--labels` are left out.

`--shift few-files` cuts every speaker into several of 14 recordings, `skewed` thins the classes to shares of 8:4:2:1,
`one-emotion` makes a speaker of what each says with one emotion, `sentences` keeps of each sentence the recordings with one
emotion, everybody's the same, and a fifth of the others.

All methods see the same recordings and labels. Inductive: one recording of an unknown speaker. Speaker-adaptive: all of the
test speaker's recordings, unlabelled (`--files k`: k of them, the one that is judged included). `--transductive`: the test
recordings train as well, without labels, and are then judged in the speaker-adaptive mode. Intervals resample the test
speakers, tests flip the signs of the speakers' differences to the best baseline of the same mode and share.
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from _common import drawn_targets, names_in, recordings_parser, table
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from emoviews.fusion import Fusion, principal_axes, rows_by
from emoviews.metrics import uar
from emoviews.propagation import softmax, squared_distances
from emoviews.recognition import SPEEDS, copies_of, may_be_copied, read_vectors
from emoviews.seeds import derive_seed
from emoviews.semisupervised import MODES, Mode, SemiSupervisedConfig, fit_semisupervised
from emoviews.splits import merge_groups
from emoviews.statistics import clustered_bootstrap, sign_flip_test
from emoviews.table import read_table
from emoviews.views import ViewRequest

Floats = NDArray[np.float64]
Views = dict[str, Floats]
# training recordings, targets (-1: none); test views, test speakers, classes → probabilities by mode
Method = Callable[[Fusion, NDArray[np.int64], Views, list[str], int], dict[Mode, Floats]]


def standard(train: Floats, test: Floats) -> tuple[Floats, Floats]:
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    deviation = np.where(deviation > 1e-9, deviation, 1.0)
    return (train - mean) / deviation, (test - mean) / deviation


def by_speaker(values: Floats, speakers: list[str]) -> Floats:
    scaled = np.empty_like(values)
    for rows in rows_by(speakers):
        deviation = values[rows].std(axis=0)
        scaled[rows] = (values[rows] - values[rows].mean(axis=0)) / np.where(deviation > 1e-9, deviation, 1.0)
    return scaled


def regression(strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=300, class_weight="balanced")


def plain(names: tuple[str, ...], strengths: tuple[float, ...], self_training: bool) -> Method:
    """Logistic regressions on single views, log-averaged, with or without a round of self-training."""

    def run(recordings, targets, test, test_speakers, classes):  # type: ignore[no-untyped-def]
        views, speakers = recordings.views, recordings.speakers
        found: dict[Mode, Floats] = {}
        for mode in MODES:
            logs, guessed = [], []
            known = np.flatnonzero(targets >= 0)
            inputs = []
            for name, strength in zip(names, strengths, strict=True):
                if mode == "inductive":
                    x, z = standard(views[name], test[name])
                else:
                    x, z = by_speaker(views[name], speakers), by_speaker(test[name], test_speakers)
                if x.shape[1] > len(x):  # onto the span of the training rows: the same classifier, in less time
                    axes = principal_axes(x, len(x))
                    x, z = x @ axes, z @ axes
                inputs.append((x, z, strength))
                model = regression(strength).fit(x[known], targets[known])
                logs.append(np.log(model.predict_proba(z) + 1e-9))
                guessed.append(np.log(model.predict_proba(x) + 1e-9))
            if self_training:
                labels = np.mean(guessed, axis=0).argmax(axis=1)
                labels[known] = targets[known]
                weights = np.where(targets >= 0, 1.0, 0.3)
                logs = [
                    np.log(regression(c).fit(x, labels, sample_weight=weights).predict_proba(z) + 1e-9)
                    if len(set(labels)) == classes
                    else log
                    for (x, z, c), log in zip(inputs, logs, strict=True)
                ]
            mean = np.exp(np.mean(logs, axis=0))
            found[mode] = mean / mean.sum(axis=1, keepdims=True)
        return found

    return run


def fewer(recordings: Fusion, names: tuple[str, ...], copied: bool) -> Fusion:
    """The recordings with some of their views, with or without copies."""
    views, *copies = (
        {name: values for name, values in some.items() if name in names}
        for some in (recordings.views, *(recordings.copies if copied else ()))
    )
    return Fusion(views, recordings.speakers, recordings.texts, copies)


def ours(config: SemiSupervisedConfig, only: tuple[str, ...] = (), copied: bool = True) -> Method:
    def run(recordings, targets, test, test_speakers, classes):  # type: ignore[no-untyped-def]
        part = recordings if copied and not only else fewer(recordings, only or tuple(recordings.views), copied)
        model = fit_semisupervised(part, targets, classes, config)
        return {mode: model.probabilities(test, mode, test_speakers) for mode in MODES}

    return run


def prototypes(recordings, targets, test, test_speakers, classes):  # type: ignore[no-untyped-def]
    """The nearest mean of a class's labelled recordings, in the space of all views."""
    found: dict[Mode, Floats] = {}
    for mode in MODES:
        views = list(recordings.views)
        space, vectors = recordings.space(views, adaptive=mode == "speaker-adaptive", remove_text=True)
        means = np.stack([vectors[targets == label].mean(axis=0) for label in range(classes)])
        found[mode] = softmax(-squared_distances(space.vectors(test, test_speakers), means))
    return found


DEFAULT = SemiSupervisedConfig()
BASELINES: dict[str, Method] = {
    "egemaps, logistic regression": plain(("egemaps",), (0.1,), False),
    "log-average of 3 views": plain(("egemaps", "compare_2016", "mfcc"), (0.1, 0.002, 0.1), False),
    "the same, self-trained once": plain(("egemaps", "compare_2016", "mfcc"), (0.1, 0.002, 0.1), True),
}
METHODS: dict[str, Method] = {
    "EmoViews": ours(DEFAULT),
    "without copies": ours(DEFAULT, copied=False),
    "without text": ours(dataclasses.replace(DEFAULT, remove_text=False)),
    "without smoothed predictions": ours(dataclasses.replace(DEFAULT, smooth_predictions=False)),
    "without the unlabelled": ours(dataclasses.replace(DEFAULT, unlabelled_weight=0.0)),
    "without neighbours": ours(dataclasses.replace(DEFAULT, neighbours=0)),
    "without class shares": ours(dataclasses.replace(DEFAULT, match_shares=False)),
    "views together alone": ours(dataclasses.replace(DEFAULT, views_apart=False)),
    "egemaps alone": ours(DEFAULT, ("egemaps",)),
    "egemaps and mfcc": ours(DEFAULT, ("egemaps", "mfcc")),
    "C 3": ours(dataclasses.replace(DEFAULT, strength=3.0, inductive_strength=3.0)),
    "C 30": ours(dataclasses.replace(DEFAULT, strength=30.0, inductive_strength=30.0)),
    "soft labels not sharpened": ours(dataclasses.replace(DEFAULT, sharpness=1.0)),
    "unlabelled weigh 1": ours(dataclasses.replace(DEFAULT, unlabelled_weight=1.0)),
    "prototypes": prototypes,
    "1 round": ours(dataclasses.replace(DEFAULT, rounds=1)),
    "own prediction weighs 3": ours(dataclasses.replace(DEFAULT, self_weight=3.0)),
    "4 neighbours": ours(dataclasses.replace(DEFAULT, neighbours=4)),
    "16 neighbours": ours(dataclasses.replace(DEFAULT, neighbours=16)),
}


def shifted(frame: pd.DataFrame, shift: str) -> pd.DataFrame:
    """A made-up shift: which recordings are left, and whose they are said to be."""

    def order(row: pd.Series) -> int:
        return derive_seed("shift", row["id"])

    frame = frame.assign(order=frame.apply(order, axis=1)).sort_values("order")
    if shift == "few-files":
        part = frame.groupby("speaker").cumcount() // 14
        whole = frame.groupby(["speaker", part])["id"].transform("size") == 14
        frame = frame.assign(voice=frame["speaker"], speaker=frame["speaker"] + "/" + part.astype(str))[whole]
    if shift == "skewed":
        kept = {label: 1.0 / 2**number for number, label in enumerate(sorted(frame["emotion"].unique()))}
        rank = frame.groupby(["speaker", "emotion"]).cumcount() / frame.groupby(["speaker", "emotion"])["id"].transform(
            "size"
        )
        frame = frame[rank < frame["emotion"].map(kept)]
    if shift == "sentences":
        classes = sorted(frame["emotion"].unique())
        own = frame["text"].map(lambda text: classes[derive_seed("sentence", text) % len(classes)])
        frame = frame[(frame["emotion"] == own) | (frame["order"] % 5 == 0)]
    if shift == "one-emotion":
        frame = frame.assign(voice=frame["speaker"], speaker=frame["speaker"] + "/" + frame["emotion"])
    return frame.sort_index()


def divisions(
    frame: pd.DataFrame, train: list[str], test: list[str], folds: int
) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.int64]]]:
    """Name, training rows, test rows; voices that were cut into several speakers stay together."""
    voice = frame["voice"] if "voice" in frame else frame["speaker"]
    if test:
        yield "all", np.flatnonzero(voice.isin(train)), np.flatnonzero(voice.isin(test))
        return
    groups = np.array(merge_groups(list(voice), folds) if folds else voice, dtype=object)
    for name in dict.fromkeys(groups):
        yield name, np.flatnonzero(groups != name), np.flatnonzero(groups == name)


def with_few_files(method: Method, k: int) -> Method:
    """Each test recording with k - 1 others of its speaker, drawn at random."""

    def run(recordings, targets, test, test_speakers, classes):  # type: ignore[no-untyped-def]
        random = np.random.default_rng(0)
        rows, names = [], []
        for own in rows_by(test_speakers):
            for row in own:
                others = random.permutation(own[own != row])[: k - 1]
                rows += [row, *others]
                names += [str(row)] * (1 + len(others))
        first = np.flatnonzero(np.r_[True, np.array(names[1:]) != np.array(names[:-1])])
        order = np.argsort(np.array(rows)[first])
        many = {name: values[rows] for name, values in test.items()}
        found = method(recordings, targets, many, names, classes)
        return {mode: p[first][order] for mode, p in found.items()}

    return run


def main() -> None:
    parser = recordings_parser(__doc__ or "")
    parser.add_argument("--views", default="egemaps,compare_2016,mfcc")
    parser.add_argument("--train", default="", help="speakers, separated by commas; all by default")
    parser.add_argument("--test", default="", help="speakers; each training speaker in turn by default")
    parser.add_argument("--fractions", default="0.01,0.02,0.05,0.1,1")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--methods", default="EmoViews", help="separated by commas, or all")
    parser.add_argument("--files", type=int, default=0, help="unlabelled files of a test speaker; all by default")
    parser.add_argument(
        "--folds", type=int, default=0, help="merge the speakers into so many; each tests in turn by default"
    )
    parser.add_argument("--transductive", action="store_true")
    parser.add_argument("--shift", choices=["", "few-files", "skewed", "one-emotion", "sentences"], default="")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    split = lambda text: [part for part in text.split(",") if part]  # noqa: E731
    frame = read_table(options.table)
    wanted = names_in(options.labels, frame["emotion"])
    train = split(options.train) or sorted(set(frame["speaker"]))
    test = split(options.test)
    frame = frame[frame["emotion"].isin(wanted) & frame["speaker"].isin(train + test)].reset_index(drop=True)
    frame = shifted(frame, options.shift).reset_index(drop=True)
    requests = [ViewRequest.parse(name) for name in split(options.views)]
    views = read_vectors(frame, options.store, requests)
    names = [request.label for request in requests if may_be_copied(request)]
    copies = [
        dict(zip(names, read_vectors(frame, options.store, copies_of(requests, speed)).values(), strict=True))
        for speed in SPEEDS
    ]
    code = np.array([wanted.index(emotion) for emotion in frame["emotion"]])
    chosen = {
        **BASELINES,
        **{n: m for n, m in METHODS.items() if options.methods == "all" or n in split(options.methods)},
    }
    if options.files:
        chosen = {name: with_few_files(method, options.files) for name, method in chosen.items()}
    fractions = [float(text) for text in split(options.fractions)]
    voice = np.array(frame["voice"] if "voice" in frame else frame["speaker"])
    # mode, fraction, method → rows of (voice, repeat, truth, guess)
    said: defaultdict[tuple[str, float, str], list[pd.DataFrame]] = defaultdict(list)
    started = time.monotonic()
    for name, rows, tested in divisions(frame, train, test, options.folds):
        learnt = np.concatenate([rows, tested]) if options.transductive else rows
        part = {view: values[learnt] for view, values in views.items()}
        others = [{view: values[learnt] for view, values in copy.items()} for copy in copies]
        held = {view: values[tested] for view, values in views.items()}
        speakers, texts = [list(frame[column].iloc[learnt]) for column in ("speaker", "text")]
        recordings = Fusion(part, speakers, texts, others)
        for fraction in fractions:
            for repeat in range(options.repeats if fraction < 1 else 1):
                given = drawn_targets(code[rows], list(frame["emotion"].iloc[rows]), fraction, name, repeat)
                targets = np.concatenate([given, np.full(len(learnt) - len(rows), -1)])  # tested recordings have none
                for method, run in chosen.items():
                    found = run(recordings, targets, held, list(frame["speaker"].iloc[tested]), len(wanted))
                    if options.transductive:
                        found = {"transductive": found["speaker-adaptive"]}
                    for mode, p in found.items():
                        columns = {
                            "voice": voice[tested],
                            "repeat": repeat,
                            "truth": code[tested],
                            "guess": p.argmax(axis=1),
                        }
                        said[mode, fraction, method].append(pd.DataFrame(columns))
            print(f"# {name}, {100 * fraction:g} %: {time.monotonic() - started:.0f} s", flush=True)
    show(said, fractions, list(chosen))
    print(
        f"\n{len(frame)} recordings; test speakers: {', '.join(test or train)}; {options.repeats} repeats; "
        f"{options.shift or 'no'} shift."
    )


def per_voice(rows: pd.DataFrame) -> pd.Series:
    """UAR of each test speaker, the mean over repeats."""
    scores = {key: uar(own["truth"], own["guess"]) for key, own in rows.groupby(["voice", "repeat"])}
    return pd.Series(scores).groupby(level=0).mean()


def show(said: dict[tuple[str, float, str], list[pd.DataFrame]], fractions: list[float], methods: list[str]) -> None:
    scores = {key: per_voice(pd.concat(rows)) for key, rows in said.items()}

    def cell(mode: str, fraction: float, method: str) -> str:
        own = scores[mode, fraction, method]
        values = 100 * own.to_numpy()
        interval = clustered_bootstrap(lambda r: float(values[r].mean()), list(own.index), n_resamples=2000)
        text = f"{interval.estimate:.1f} ({interval.low:.1f} to {interval.high:.1f})"
        if method in BASELINES:
            return text
        best = max(BASELINES, key=lambda name: scores[mode, fraction, name].mean())
        gap = 100 * (own - scores[mode, fraction, best]).to_numpy()
        bounds = clustered_bootstrap(lambda r: float(gap[r].mean()), list(own.index), n_resamples=2000)
        p = sign_flip_test(gap).p_value
        return f"{text}; {bounds.estimate:+.1f} ({bounds.low:+.1f} to {bounds.high:+.1f}), p {p:.3f}"

    for mode in dict.fromkeys(mode for mode, _, _ in said):
        head = [f"{mode}, UAR %", *(f"{100 * fraction:g} %" for fraction in fractions)]
        print(f"\n{table(head, [[method, *(cell(mode, f, method) for f in fractions)] for method in methods])}")


if __name__ == "__main__":
    main()
