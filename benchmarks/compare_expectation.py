"""What `fit` expects on new speakers, beside what new speakers give; prints a Markdown table.

    python benchmarks/compare_expectation.py TABLE --store STORE --labels anger,happiness --train Ann,Bob --test Cy,Dee

Labels are drawn by share and class from the training speakers' recordings, `--repeats` times; the recogniser is fitted with its
cross-validation and judges the test speakers' recordings. `within` counts the draws whose interval holds the mean UAR of the
test speakers, and how many of the test speakers lie in that of a single new one; calibration errors are those that `fit`
reports and those of the test speakers' recordings.
"""

from __future__ import annotations

import time

import numpy as np
from _common import names_in, recordings_parser, table

from emoviews import EmotionRecognizer, metrics
from emoviews.seeds import derive_seed
from emoviews.semisupervised import MODES
from emoviews.splits import select_budget
from emoviews.table import read_table


def main() -> None:
    parser = recordings_parser(__doc__ or "")
    parser.add_argument("--train", required=True, help="speakers, separated by commas")
    parser.add_argument("--test", required=True, help="speakers, separated by commas")
    parser.add_argument("--fractions", default="0.05,0.1,1")
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    frame = read_table(options.table)
    wanted = names_in(options.labels, frame["emotion"])
    frame = frame[frame["emotion"].isin(wanted)]
    train, test = (
        frame[frame["speaker"].isin(names.split(","))].reset_index(drop=True) for names in (options.train, options.test)
    )
    rows, started = [], time.monotonic()
    for fraction in map(float, options.fractions.split(",")):
        found: dict[str, list[list[float]]] = {mode: [] for mode in MODES}
        for repeat in range(options.repeats if fraction < 1 else 1):
            seed = derive_seed("few labels", "all", repeat)
            budget = select_budget(list(train["emotion"]), fraction=fraction, seed=seed)
            few = train.assign(emotion=train["emotion"].where(train.index.isin(budget), ""))
            recogniser = EmotionRecognizer(store=options.store).fit(few)
            for mode in MODES:
                expected = recogniser.fitted_.report.modes[mode]
                p = recogniser.set_params(mode=mode).predict_proba(test, speakers=list(test["speaker"]))
                guess = recogniser.classes_[p.argmax(axis=1)]
                scores = [
                    metrics.uar(own["emotion"], guess[own.index.to_numpy()]) for _, own in test.groupby("speaker")
                ]
                given, one = np.mean(scores), expected.new_speaker
                single = np.mean([one.low <= score <= one.high for score in scores])
                error = metrics.expected_calibration_error(list(test["emotion"]), p, list(recogniser.classes_))
                bounds = [expected.uar.estimate, expected.uar.low, expected.uar.high]
                inside = expected.uar.low <= given <= expected.uar.high
                found[mode].append(
                    [
                        *bounds,
                        float(given),
                        float(inside),
                        one.low,
                        one.high,
                        float(single),
                        expected.calibration_error,
                        error,
                    ]
                )
            print(f"# {100 * fraction:g} %, draw {repeat + 1}: {time.monotonic() - started:.0f} s", flush=True)
        for mode, own in found.items():
            estimate, low, high, given_, inside_, least, most, single_, promised, had = np.mean(own, axis=0)
            rows.append(
                [
                    *(f"{100 * fraction:g} % ({len(budget)})", mode),
                    f"{100 * estimate:.1f} ({100 * low:.1f} to {100 * high:.1f})",
                    *(f"{100 * given_:.1f}", f"{round(inside_ * len(own))} of {len(own)}"),
                    f"{100 * least:.0f} to {100 * most:.0f}; {100 * single_:.0f} %",
                    *(f"{promised:.3f}", f"{had:.3f}"),
                ]
            )
    head = [
        "Labels",
        "Mode",
        "Expected UAR % (interval)",
        "Test speakers",
        "within",
        "Single new speaker; within",
        "Calibration error expected",
        "found",
    ]
    print(table(head, rows))


if __name__ == "__main__":
    main()
