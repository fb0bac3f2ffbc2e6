"""Speed of a bank of fine-tunings against training its models one by one, in one run; prints a Markdown table.

    python benchmarks/bench_ensembles.py [--models 16] [--rounds 5] [--only mlp|cnn]

The plain reference is `finetuning.finetune`: no data loader, features in memory, Adam fused, the same schedule, the same
batches, one thread. Each round trains all models once in every way, in turns; medians over the rounds. No model stops early, so
that both ways do the same work. Before they are timed, the two are compared: they must arrive at the same losses.

Where Lightning is installed (the dependency group `bench`), models of 100 examples are also trained as its users write it: a
LightningModule, a DataLoader over a TensorDataset, a Trainer without logger and progress bar; Adam fused, one thread. Where
there is something to validate on, the UAR is logged each epoch, and ModelCheckpoint keeps the best.

The floor is what the bank's arithmetic costs at the rate of a matrix product, plus Adam's traffic (28 bytes a parameter and
step: four arrays read, three written) at the bandwidth of memory, both measured at the start. Nothing that keeps the models
apart can be faster than the floor of its matrix products.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import threadpoolctl
import torch
from torch.utils.flop_counter import FlopCounterMode

from emoviews.batching import ViewData
from emoviews.configs import FineTuningConfig
from emoviews.encoders import make_encoder
from emoviews.ensembles import Member, finetune_many
from emoviews.finetuning import FineTuningHistory, finetune, validation_uar
from emoviews.heads import Classifier
from emoviews.store import ViewStore, to_storage
from emoviews.types import FEATURES, FRAMES, ViewSpec

CLASSES, BATCH = 6, 32
ADAM_BYTES = 28


@dataclass(frozen=True)
class Case:
    """What is trained: a view, so many labelled utterances, so many that validate, so many epochs."""

    name: str
    spec: ViewSpec
    train: int
    validation: int
    epochs: int


FUNCTIONALS = ViewSpec("functionals", 1, {}, (FEATURES,), (88,), "float32", None)
SPECTROGRAM = ViewSpec("spectrogram", 1, {}, (FRAMES, FEATURES), (0, 64), "float16", 100.0)
FRAMES_AN_UTTERANCE = 250
CASES = {
    "mlp": [
        Case("MLP, 100 examples", FUNCTIONALS, 100, 0, 20),
        Case("MLP, 1 300 examples", FUNCTIONALS, 1300, 0, 4),
        Case("MLP, 100 examples, 500 validate", FUNCTIONALS, 100, 500, 20),
    ],
    "cnn": [
        Case("CNN, 27 utterances", SPECTROGRAM, 27, 0, 8),
        Case("CNN, 270 utterances", SPECTROGRAM, 270, 0, 2),
        Case("CNN, 27 utterances, 500 validate", SPECTROGRAM, 27, 500, 2),
    ],
}


def made_up(case: Case, folder: Path) -> tuple[ViewData, np.ndarray]:
    """Noise, in a store; lengths differ by half either way."""
    rng = np.random.default_rng(0)
    n = 2 * case.train + case.validation
    store = ViewStore(folder, case.spec)
    arrays = {}
    for i in range(n):
        frames = rng.integers(FRAMES_AN_UTTERANCE // 2, FRAMES_AN_UTTERANCE * 3 // 2)
        shape = [frames if size == 0 else size for size in case.spec.shape]
        arrays[f"{i:032x}"] = to_storage(rng.normal(size=shape).astype(np.float32), case.spec)
    store.add(arrays)
    return ViewData(store, list(arrays)), rng.integers(0, CLASSES, n)


def members(case: Case, count: int) -> list[Member]:
    """Models with weights, labels and seeds of their own; all validate on the same utterances."""
    made = []
    for m in range(count):
        torch.manual_seed(m)
        encoder = make_encoder(case.spec)
        rows = np.random.default_rng(m).permutation(2 * case.train)[: case.train]
        validation = np.arange(2 * case.train, 2 * case.train + case.validation)
        made.append(Member(encoder, Classifier(encoder.dim, CLASSES), np.sort(rows), validation, m))
    return made


def operations(case: Case, data: ViewData, member: Member) -> float:
    """Floating-point operations of the matrix products of one model in one epoch."""
    rows = np.asarray(member.train)[:BATCH]
    with FlopCounterMode(display=False) as counter:
        member.classifier(member.encoder(data.batch(rows))).sum().backward()
    training = counter.get_total_flops() * case.train / len(rows)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        member.classifier(member.encoder(data.batch(rows)))
    return float(training + counter.get_total_flops() * case.validation / len(rows))


def machine_rates() -> tuple[float, float]:
    """Bytes a second of reading memory, operations a second of a matrix product, both float32."""
    large, a, b = torch.ones(2**26), torch.randn(4096, 512), torch.randn(512, 512)
    read = min(seconds(large.sum) for _ in range(5))
    multiply = min(seconds(lambda: a @ b) for _ in range(20))
    return large.nbytes / read, 2 * 4096 * 512 * 512 / multiply


def lightning_seconds(case: Case, data: ViewData, labels: np.ndarray, epochs: int) -> float | None:
    """Seconds an epoch of one model takes in a Lightning Trainer, the second of two counted; None where there is none."""
    try:
        import lightning
    except ImportError:
        return None
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")

    class Model(lightning.LightningModule):
        def __init__(self, member: Member) -> None:
            super().__init__()
            self.model = torch.nn.Sequential(*member.encoder.layers, member.classifier)

        def training_step(self, batch: list[torch.Tensor], number: int) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(self.model(batch[0]), batch[1])

        def on_validation_epoch_start(self) -> None:
            self.said: list[torch.Tensor] = []

        def validation_step(self, batch: list[torch.Tensor], number: int) -> None:
            self.said.append(torch.stack([batch[1], self.model(batch[0]).argmax(1)]))

        def on_validation_epoch_end(self) -> None:
            truth, said = torch.cat(self.said, 1).numpy()
            self.log("uar", float(validation_uar(truth[None], said[None], CLASSES)[0]))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-3, fused=True)

    def loader(rows: np.ndarray, size: int, shuffle: bool) -> torch.utils.data.DataLoader:
        dataset = torch.utils.data.TensorDataset(data.batch(rows).values, torch.from_numpy(labels[rows]))
        return torch.utils.data.DataLoader(dataset, batch_size=size, shuffle=shuffle)

    taken = []
    for member in members(case, 2):
        parts = [loader(np.asarray(member.train), BATCH, True)]
        with tempfile.TemporaryDirectory() as folder:
            callbacks = []
            if case.validation:
                parts.append(loader(np.asarray(member.validation), 256, False))
                best = lightning.pytorch.callbacks.ModelCheckpoint(folder, monitor="uar", mode="max")
                callbacks = [best]
            quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
            given = {"enable_checkpointing": bool(callbacks), "callbacks": callbacks, "num_sanity_val_steps": 0}
            trainer = lightning.Trainer(accelerator="cpu", devices=1, max_epochs=epochs, **quiet, **given)
            taken.append(seconds(partial(trainer.fit, Model(member), *parts)))
    return taken[-1] / epochs


def seconds(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def run(case: Case, models: int, rounds: int, rates: tuple[float, float]) -> str:
    """A row of the table."""
    config = FineTuningConfig(batch_size=BATCH, epochs=case.epochs, patience=case.epochs)
    with tempfile.TemporaryDirectory() as folder:
        data, labels = made_up(case, Path(folder))

        def plain() -> list[FineTuningHistory]:
            return [
                finetune(
                    *(data, labels, m.encoder, m.classifier, m.train, m.validation, config),
                    scaler=None,
                    frozen=False,
                    seed=m.seed,
                )
                for m in members(case, models)
            ]

        def bank() -> list[FineTuningHistory]:
            found = finetune_many(data, labels, members(case, models), config, scaler=None, frozen=False)
            return [history for history in found if isinstance(history, FineTuningHistory)]

        for one, other in zip(plain(), bank(), strict=True):
            losses = [[row["train_loss"] for row in history.curves] for history in (one, other)]
            np.testing.assert_allclose(*losses, rtol=1e-3)
        times = [(seconds(plain), seconds(bank)) for _ in range(rounds)]
        member = members(case, 1)[0]
        parameters = sum(p.numel() for m in (member.encoder, member.classifier) for p in m.parameters())
        steps = -(-case.train // BATCH)
        products = operations(case, data, member) / rates[1]
        trainer = lightning_seconds(case, data, labels, 5 * case.epochs) if case.train == 100 else None
        floor = products + ADAM_BYTES * parameters * steps / rates[0]
    alone, together = (models * case.epochs / statistics.median(t[way] for t in times) for way in (0, 1))
    against = f"{together * trainer:.0f}" if trainer else "–"
    return (
        f"| {case.name} | {alone:.1f} | {together:.1f} | {together / alone:.1f} | {against} | {1 / floor:.1f} | "
        f"{together * floor:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=list(CASES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with threadpoolctl.threadpool_limits(1):
        rates = machine_rates()
        print(
            f"One thread; {rates[0] / 1e9:.0f} GB/s read, {rates[1] / 1e9:.0f} GFLOP/s. Banks of {arguments.models} models.\n"
        )
        print("Models · epochs a second.\n")
        head = "| training | one by one | bank | faster by | than Lightning by | floor | share of the floor |"
        print(f"{head}\n|---|--:|--:|--:|--:|--:|--:|")
        for kind, cases in CASES.items():
            if arguments.only in (None, kind):
                for case in cases:
                    print(run(case, arguments.models, arguments.rounds, rates), flush=True)


if __name__ == "__main__":
    main()
