"""Three designs of the spectrogram encoder, by cost and by what they reach on validation groups; prints a Markdown table.

    python benchmarks/compare_spectrogram_encoders.py TABLE --store STORE [--folds 5] [--labels anger,happiness] [--seeds 3]

It needs real recordings, extracted (`emoviews extract TABLE --store STORE --views mel_spectrogram`). Each design is trained
from random weights on the training part of every fold, with all labels and with a tenth of them. What counts is the UAR of the
best epoch on the fold's validation group, the same for all; test groups are never looked at. It is a little too high, as is
that of every choice made on what it is scored on.

Cost is that of a training pass of one utterance of 2.5 s (250 frames): the operations of its matrix products, forwards and
backwards, and passes a second of banks of 8 models on one thread, all designs in turns.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import recordings_parser, table
from torch.utils.flop_counter import FlopCounterMode

from emoviews.configs import FineTuningConfig, LabelBudget
from emoviews.encoders.temporal_cnn import TemporalCNN
from emoviews.ensembles import Member, finetune_many
from emoviews.finetuning import FineTuningHistory
from emoviews.heads import Classifier
from emoviews.runners._common import budget_indices
from emoviews.table import read_table, relabel
from emoviews.types import ViewBatch
from emoviews.views import ViewRequest
from emoviews.workspace import Workspace, WorkspaceConfig

DESIGNS: dict[str, dict[str, Any]] = {
    "3 frames at a time, strides 2 2 2 (the default)": {},
    "4 frames without overlap, then 3, then 1": {"channels": (64, 64, 128), "kernels": (4, 3, 1), "strides": (4, 2, 1)},
    "5 frames by 5, then 3, then 3": {"channels": (48, 48, 128), "kernels": (5, 3, 3), "strides": (5, 2, 1)},
}
FRAMES = 250
MODELS, ROUNDS = 8, 5
BUDGETS = {"all labels": LabelBudget(), "10 % of them": LabelBudget(0.1)}


def operations(encoder: TemporalCNN) -> float:
    """Of a training pass of one utterance."""
    batch = ViewBatch(torch.zeros(FRAMES, encoder.shape[-1]), torch.tensor([0, FRAMES]))
    with FlopCounterMode(display=False) as counter:
        encoder(batch).sum().backward()
    return float(counter.get_total_flops())


def members(design: dict[str, Any], shape: tuple[int, ...], classes: int, parts: list[tuple[Any, Any]]) -> list[Member]:
    """A model for each (train, validation), from weights of its own."""
    made = []
    for seed, (train, validation) in enumerate(parts):
        torch.manual_seed(seed)
        encoder = TemporalCNN(shape, **design)
        made.append(Member(encoder, Classifier(encoder.dim, classes), train, validation, seed))
    return made


def speeds(workspace: Workspace, label: str) -> dict[str, float]:
    """Passes a second of each design: banks that train for one epoch, without validation."""
    fold = next(iter(workspace.folds.values()))
    train, _ = budget_indices(workspace, fold, LabelBudget(0.25), "none", 0)
    config = FineTuningConfig(epochs=1)
    data, scaler = workspace.data(label), workspace.scaler(label, fold)
    taken: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS + 1):
        for name, design in DESIGNS.items():
            bank = members(design, data.spec.shape, len(workspace.labels), [(train, np.arange(0))] * MODELS)
            started = time.perf_counter()
            finetune_many(data, workspace.targets, bank, config, scaler=scaler, frozen=False)
            taken[name].append(time.perf_counter() - started)
    return {name: MODELS * len(train) / statistics.median(times[1:]) for name, times in taken.items()}


def reached(workspace: Workspace, label: str, design: dict[str, Any], budget: LabelBudget, seeds: int) -> list[float]:
    """The best validation UAR of each fold, the mean over seeds."""
    data = workspace.data(label)
    found = []
    for fold in workspace.folds.values():
        parts = [budget_indices(workspace, fold, budget, "full", seed) for seed in range(seeds)]
        bank = members(design, data.spec.shape, len(workspace.labels), parts)
        scaler = workspace.scaler(label, fold)
        histories = finetune_many(data, workspace.targets, bank, FineTuningConfig(), scaler=scaler, frozen=False)
        best = [h.curves[h.best_epoch - 1]["validation_uar"] for h in histories if isinstance(h, FineTuningHistory)]
        found.append(float(np.mean(best)))
    return found


def main() -> None:
    parser = recordings_parser(__doc__ or "")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    (frame,) = relabel([read_table(options.table)], {}, tuple(filter(None, options.labels.split(","))))
    request = ViewRequest.parse("mel_spectrogram")
    with tempfile.TemporaryDirectory() as folder:
        config = WorkspaceConfig(frame, "corpus", options.store, (request,), Path(folder), folds=options.folds)
        workspace = Workspace(config)
        fast = speeds(workspace, request.label)
        rows = []
        for name, design in DESIGNS.items():
            encoder = TemporalCNN(workspace.specs[request.label].shape, **design)
            row = [
                name,
                sum(p.numel() for p in encoder.parameters()),
                f"{operations(encoder) / 1e6:.1f}",
                f"{fast[name]:.0f}",
            ]
            for budget in BUDGETS.values():
                scores = reached(workspace, request.label, design, budget, options.seeds)
                row.append(f"{100 * np.mean(scores):.1f} ({100 * min(scores):.1f} to {100 * max(scores):.1f})")
            rows.append(row)
            print(table(["design", "parameters", "MFLOP a pass", "passes/s", *BUDGETS], rows[-1:]), flush=True)
    head = ["design", "parameters", "MFLOP a pass", "passes a second", *(f"UAR %, {name}" for name in BUDGETS)]
    folds = len(workspace.folds)
    what = f"Validation UAR: mean over {folds} folds (lowest to highest), each the mean of {options.seeds} seeds."
    print(f"\n{table(head, rows)}\n\n{what}")


if __name__ == "__main__":
    main()
