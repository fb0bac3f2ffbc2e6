"""What keeping a view as int8 does to the UAR; prints a Markdown table.

    python benchmarks/compare_int8.py TABLE --store STORE [--view mel_spectrogram] [--labels anger,happiness] [--seeds 3]

It needs real recordings, extracted (`emoviews extract TABLE --store STORE --views VIEW`). The view is stored once more as int8,
in a temporary folder, from what the store has in float16. Models are trained in pairs, one on each store: the same initial
weights, labels, batches and dropout, so that nothing but the rounding tells them apart. UAR is that of the test groups, which
decide nothing here.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from _common import recordings_parser, table

from emoviews.batching import ViewData
from emoviews.configs import FineTuningConfig, LabelBudget
from emoviews.encoders import make_encoder
from emoviews.ensembles import Member, finetune_many, predict_many
from emoviews.heads import Classifier
from emoviews.metrics import uar
from emoviews.runners._common import budget_indices
from emoviews.store import ViewStore, to_storage
from emoviews.table import read_table, relabel
from emoviews.views import ViewRequest
from emoviews.workspace import Workspace, WorkspaceConfig

BUDGETS = {"10 % of the labels": LabelBudget(0.1), "all labels": LabelBudget()}


def rounded(data: ViewData, folder: Path) -> ViewData:
    """The same utterances, stored as int8."""
    spec = replace(data.spec, dtype="int8")
    store = ViewStore(folder, spec)
    for i, key in enumerate(data.keys):
        store.add({key: to_storage(data.batch([i]).values.numpy(), spec)})
    return ViewData(store, data.keys)


def compared(workspace: Workspace, views: tuple[ViewData, ViewData], budget: LabelBudget, seeds: int) -> list[str]:
    """Mean test UAR of each store, the difference, and how many predictions differ."""
    scores: list[tuple[float, float]] = []  # a fold
    changed = total = 0
    for fold in workspace.folds.values():
        parts = [budget_indices(workspace, fold, budget, "full", seed) for seed in range(seeds)]
        test = fold.test[workspace.targets[fold.test] >= 0]
        said = []
        for data in views:
            bank = []
            for seed, (train, validation) in enumerate(parts):
                torch.manual_seed(seed)
                encoder = make_encoder(views[0].spec)
                bank.append(Member(encoder, Classifier(encoder.dim, len(workspace.labels)), train, validation, seed))
            scaler = data.fit_scaler(fold.train)
            finetune_many(data, workspace.targets, bank, FineTuningConfig(), scaler=scaler, frozen=False)
            given = predict_many(data, bank, [test] * seeds, scaler=scaler)
            said.append([probabilities.argmax(axis=1) for probabilities in given])
        truth = workspace.targets[test]
        scores.append(tuple(float(np.mean([uar(truth, one) for one in of])) for of in said))  # type: ignore[arg-type]
        changed += sum(int((a != b).sum()) for a, b in zip(*said, strict=True))
        total += seeds * len(test)
    first, second = 100 * np.array(scores).T
    lowest, highest = (second - first).min(), (second - first).max()
    difference = f"{(second - first).mean():+.1f} ({lowest:+.1f} to {highest:+.1f})"
    return [f"{first.mean():.1f}", f"{second.mean():.1f}", difference, f"{100 * changed / total:.0f} %"]


def main() -> None:
    parser = recordings_parser(__doc__ or "")
    parser.add_argument("--view", default="mel_spectrogram")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    (frame,) = relabel([read_table(options.table)], {}, tuple(filter(None, options.labels.split(","))))
    request = ViewRequest.parse(options.view)
    with tempfile.TemporaryDirectory() as folder:
        config = WorkspaceConfig(frame, "corpus", options.store, (request,), Path(folder), folds=options.folds)
        workspace = Workspace(config)
        data = workspace.data(request.label)
        views = data, rounded(data, Path(folder) / "int8")
        rows = [[name, *compared(workspace, views, budget, options.seeds)] for name, budget in BUDGETS.items()]
    head = [
        "labels",
        f"{data.spec.dtype}, UAR %",
        "int8, UAR %",
        "difference (lowest to highest fold)",
        "predictions that differ",
    ]
    print(table(head, rows))
    sizes = " and ".join(f"{view.stored_bytes / 1e6:.0f} MB" for view in views)
    print(f"\n{options.view}: {sizes}; mean test UAR of {len(workspace.folds)} folds, {options.seeds} seeds each.")


if __name__ == "__main__":
    main()
