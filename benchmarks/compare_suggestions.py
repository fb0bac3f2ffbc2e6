"""UAR against the number of labels, by how the recordings to label were chosen; prints a Markdown table, draws a figure.

    python benchmarks/compare_suggestions.py TABLE --store STORE --labels anger,happiness --folds 5 --figure suggest.svg

It needs real recordings, extracted: `emoviews extract TABLE --store STORE --views egemaps,compare_2016,mfcc`. Every fold's
speakers test once; only recordings of the others are labelled. A run starts with a few labels of half of the emotions, so that
the others must first be found, and goes on in rounds: fit, ask which recordings to label next, label them. All strategies start
from the same labels; nothing of them is tuned here. A test speaker's recordings are judged in the speaker-adaptive mode.
Intervals resample the test speakers, tests flip the signs of the speakers' differences to `random`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
from _common import names_in, recordings_parser, table
from numpy.typing import NDArray

from emoviews.annotation import STRATEGIES, Pool, Strategy, suggest
from emoviews.fusion import Fusion, apart
from emoviews.metrics import uar
from emoviews.recognition import read_vectors
from emoviews.seeds import derive_seed
from emoviews.semisupervised import SemiSupervised, fit_semisupervised
from emoviews.splits import leave_one_group_out, merge_groups
from emoviews.statistics import clustered_bootstrap, sign_flip_test
from emoviews.table import read_table
from emoviews.views import ViewRequest

MODE = "speaker-adaptive"


class Session:
    """One annotator at work: which training recordings have a label, and what that teaches."""

    def __init__(self, recordings: Fusion, emotions: list[str]) -> None:
        self.recordings = recordings
        self.emotions = np.array(emotions, dtype=object)
        self.labelled = np.zeros(len(emotions), dtype=bool)

    def fit(self) -> tuple[SemiSupervised, list[str]]:
        """A classifier of the emotions met so far."""
        names = sorted(set(self.emotions[self.labelled]))
        code = {name: number for number, name in enumerate(names)}
        targets = np.array([code[e] if k else -1 for e, k in zip(self.emotions, self.labelled, strict=True)])
        return fit_semisupervised(self.recordings, targets, len(names)), names

    def label(self, model: SemiSupervised, budget: int, strategy: Strategy, seed: int) -> None:
        """Label what the strategy suggests."""
        views, speakers = self.recordings.views, self.recordings.speakers
        embedded = model.modes[MODE].vectors(views, apart(speakers))
        pool = Pool(embedded, self.labelled, speakers, model.probabilities(views, MODE, speakers))
        self.labelled[suggest(pool, budget, strategy, seed=seed)] = True


def start(emotions: list[str], wanted: list[str], per_class: int, seed: int) -> NDArray[np.int64]:
    """A few recordings of half of the emotions."""
    random = np.random.default_rng(seed)
    known = random.permutation(wanted)[: len(wanted) // 2]
    rows = [random.permutation(np.flatnonzero(np.array(emotions) == name))[:per_class] for name in sorted(known)]
    return np.concatenate(rows)


def draw(scores: pd.DataFrame, counts: list[int], path: Path) -> None:
    """UAR against labels, a line a strategy, with 95 % intervals over test speakers."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    styles = zip(STRATEGIES, ["#000000", "#E69F00", "#56B4E9", "#009E73"], ["o", "s", "^", "D"], strict=True)
    for number, (strategy, colour, marker) in enumerate(styles):
        own = [scores.loc[strategy, count] for count in counts]
        middle, low, high = (np.array(x) for x in zip(*(interval(values) for values in own), strict=True))
        x = np.array(counts) * 1.02 ** (number - 1.5)
        spread = [middle - low, high - middle]
        axes.errorbar(x, middle, yerr=spread, color=colour, marker=marker, capsize=2, label=strategy)
    axes.set(xlabel="labels", ylabel="UAR %", xscale="log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.legend(title="labels chosen by")
    figure.savefig(path)


def interval(values: pd.Series) -> tuple[float, float, float]:
    """Mean over test speakers, in %, and its 95 % interval."""
    percent = 100 * values.to_numpy()
    found = clustered_bootstrap(lambda r: float(percent[r].mean()), list(values.index), n_resamples=2000)
    return found.estimate, found.low, found.high


def main() -> None:
    parser = recordings_parser(__doc__ or "")
    parser.add_argument("--views", default="egemaps,compare_2016,mfcc")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--start", type=int, default=4, help="labels of each emotion that is known at the start")
    parser.add_argument("--counts", default="20,40,80,160", help="labels after each round")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    frame = read_table(options.table)
    wanted = names_in(options.labels, frame["emotion"])
    frame = frame[frame["emotion"].isin(wanted)].reset_index(drop=True)
    names = [name for name in options.views.split(",") if name]
    views = read_vectors(frame, options.store, [ViewRequest.parse(name) for name in names])
    groups = merge_groups(list(frame["group"]), options.folds)
    counts = [int(text) for text in options.counts.split(",")]
    columns = [list(frame[name]) for name in ("emotion", "speaker", "text")]
    said: defaultdict[tuple[str, int, str], list[float]] = defaultdict(list)  # strategy, labels, test speaker → UAR
    found: defaultdict[tuple[str, int], list[int]] = defaultdict(list)  # strategy, labels → emotions met
    started = time.monotonic()
    for fold in leave_one_group_out(groups, validation="none"):
        held = {name: values[fold.test] for name, values in views.items()}
        truth, voices, _ = ([column[row] for row in fold.test] for column in columns)
        own = {name: values[fold.train] for name, values in views.items()}
        emotions, speakers, texts = ([column[row] for row in fold.train] for column in columns)
        recordings = Fusion(own, speakers, texts)
        for repeat in range(options.repeats):
            for strategy in STRATEGIES:
                session = Session(recordings, emotions)
                seed = derive_seed("suggestions", fold.name, repeat)
                session.labelled[start(list(session.emotions), wanted, options.start, seed)] = True
                model, known = session.fit()
                for count in counts:
                    session.label(model, count - int(session.labelled.sum()), strategy, derive_seed(seed, count))
                    model, known = session.fit()
                    guess = [known[best] for best in model.probabilities(held, MODE, voices).argmax(axis=1)]
                    found[strategy, count].append(len(known))
                    for voice in sorted(set(voices)):
                        rows = [row for row, name in enumerate(voices) if name == voice]
                        said[strategy, count, voice].append(uar([truth[r] for r in rows], [guess[r] for r in rows]))
        print(f"# {fold.name}: {time.monotonic() - started:.0f} s", flush=True)
    scores = pd.Series({key: float(np.mean(values)) for key, values in said.items()}).sort_index()
    lines = []
    for strategy in STRATEGIES:
        cells = []
        for count in counts:
            middle, low, high = interval(scores.loc[strategy, count])
            text = f"{middle:.1f} ({low:.1f} to {high:.1f})"
            if strategy != "random":
                gap = scores.loc[strategy, count] - scores.loc["random", count]
                text += f"; {100 * gap.mean():+.1f}, p {sign_flip_test(gap.to_numpy()).p_value:.3f}"
            cells.append(f"{text}; {np.mean(found[strategy, count]):.1f} emotions")
        lines.append([strategy, *cells])
    print(f"\n{table(['labels chosen by', *(f'{count} labels' for count in counts)], lines)}")
    print(
        f"\n{len(frame)} recordings, {frame['speaker'].nunique()} test speakers in {options.folds} folds, "
        f"{options.repeats} repeats; {options.start} labels of each of {len(wanted) // 2} emotions at the start."
    )
    if options.figure:
        draw(scores, counts, options.figure)


if __name__ == "__main__":
    main()
