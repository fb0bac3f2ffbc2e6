"""Where the time of a bank of fine-tunings goes, by kind of work; prints a Markdown table.

    python benchmarks/bench_profile.py [--models 16]

torch's profiler watches one bank of each case of `bench_ensembles` on one thread. Shares are of the time on the clock; what is
not an operator of torch is Python and the profiler itself.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import threadpoolctl
import torch
from _common import table
from bench_ensembles import BATCH, CASES, Case, made_up, members
from torch.profiler import ProfilerActivity, profile

from emoviews.configs import FineTuningConfig
from emoviews.ensembles import finetune_many

KINDS = {
    "matrix products": ("mm", "addmm", "bmm", "baddbmm"),
    "Adam": ("_fused_adam_",),
    "random numbers of dropout": ("random_",),
    "gathering batches": ("index_select", "index", "index_fill_", "repeat_interleave"),
    "ReLU, dropout, sums over frames, loss": (
        "relu_", "clamp_min_", "threshold_backward", "index_add_", "index_add", "sum", "div", "mul", "mul_", "add_", "add",
        "_log_softmax", "_log_softmax_backward_data", "nll_loss_forward", "nll_loss_backward", "mean",
    ),
    "copies": ("copy_", "cat", "fill_", "zero_", "clone"),
}  # fmt: skip


def shares(case: Case, models: int) -> list[str]:
    """The share of each kind, in percent, and of what is none of them."""
    config = FineTuningConfig(batch_size=BATCH, epochs=case.epochs, patience=case.epochs)
    with tempfile.TemporaryDirectory() as folder:
        data, labels = made_up(case, Path(folder))
        finetune_many(data, labels, members(case, models), config, scaler=None, frozen=False)
        bank = members(case, models)
        with profile(activities=[ProfilerActivity.CPU]) as found:
            started = time.perf_counter()
            finetune_many(data, labels, bank, config, scaler=None, frozen=False)
            total = time.perf_counter() - started
    kind_of = {f"aten::{name}": kind for kind, names in KINDS.items() for name in names}
    seconds = dict.fromkeys(KINDS, 0.0)
    for event in found.key_averages():
        if (kind := kind_of.get(event.key)) is not None:
            seconds[kind] += event.self_cpu_time_total / 1e6
    parts = [*seconds.values(), total - sum(seconds.values())]
    return [f"{100 * part / total:.0f} %" for part in parts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with threadpoolctl.threadpool_limits(1):
        columns = {case.name: shares(case, options.models) for cases in CASES.values() for case in cases}
    names = [*KINDS, "other operators, Python, the profiler"]
    print(
        table(
            ["kind of work", *columns],
            [[name, *row] for name, row in zip(names, zip(*columns.values(), strict=True), strict=True)],
        )
    )


if __name__ == "__main__":
    main()
