"""Speed of a bank of fine-tunings against training its models one by one, in one run; prints a Markdown table.

    python benchmarks/bench_ensembles.py [--models 16] [--rounds 5] [--only mlp|cnn|frozen|layers]

The plain reference is `finetuning.finetune`: no data loader, features in memory, Adam fused, the same schedule, the same
batches, one thread. Each round trains all models once in every way, in turns; medians over the rounds. No model stops early, so
that both ways do the same work. Before they are timed, the two are compared: they must arrive at the same losses.

Where Lightning is installed (the dependency group `bench`), models of 100 examples are also trained as its users write it: a
LightningModule, a DataLoader over a TensorDataset, a Trainer without logger and progress bar; Adam fused, one thread. Where
there is something to validate on, the UAR is logged each epoch, and ModelCheckpoint keeps the best on the disk (we keep it in
memory).

The floor is what the bank's arithmetic costs at the rate of a matrix product, plus Adam's traffic (28 bytes a parameter and
step: four arrays read, three written) and the stored layers that are read, at the bandwidth of memory, both measured at the
start. Nothing that keeps the models
apart can be faster than the floor of its matrix products.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import threadpoolctl
import torch
from _common import Limits, measure_limits, medians
from torch.utils.flop_counter import FlopCounterMode

from emoviews.batching import ViewData
from emoviews.configs import FineTuningConfig
from emoviews.encoders import make_encoder
from emoviews.ensembles import Member, finetune_many
from emoviews.finetuning import FineTuningHistory, finetune, validation_uar
from emoviews.heads import Classifier
from emoviews.store import ViewStore, to_storage
from emoviews.types import FEATURES, FRAMES, LAYERS, ViewSpec

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
    frozen: bool = False
    sharing: int = 1  # so many models have the same labels and seed, as pre-trained and supervised ones do


FUNCTIONALS = ViewSpec("functionals", 1, {}, (FEATURES,), (88,), "float32", None)
SPECTROGRAM = ViewSpec("spectrogram", 1, {}, (FRAMES, FEATURES), (0, 64), "float16", 100.0)
SPEECH = ViewSpec("speech", 1, {}, (LAYERS, FRAMES, FEATURES), (13, 0, 768), "float16", 50.0)
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
    "frozen": [Case("heads on frozen MLPs, 100 examples, 500 validate", FUNCTIONALS, 100, 500, 20, frozen=True)],
    "layers": [
        Case(
            "layer mix of 13 × 768, read from the store, 32 utterances, 32 validate, in pairs",
            SPEECH,
            32,
            32,
            1,
            sharing=2,
        )
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
    resident = {} if len(case.spec.shape) < 3 else {"resident_bytes": 0}
    return ViewData(store, list(arrays), **resident), rng.integers(0, CLASSES, n)


def members(case: Case, count: int) -> list[Member]:
    """Models with weights, labels and seeds of their own; all validate on the same utterances."""
    made = []
    for m in range(count):
        torch.manual_seed(m)
        encoder = make_encoder(case.spec)
        rows = np.random.default_rng(m // case.sharing).permutation(2 * case.train)[: case.train]
        validation = np.arange(2 * case.train, 2 * case.train + case.validation)
        made.append(Member(encoder, Classifier(encoder.dim, CLASSES), np.sort(rows), validation, m // case.sharing))
    return made


def operations(case: Case, data: ViewData, member: Member) -> float:
    """Floating-point operations of the matrix products of one model in one epoch."""
    rows = np.asarray(member.train)[:BATCH]
    if case.frozen:  # applied once, so only the head's products count
        inputs = torch.zeros(len(rows), member.encoder.dim)
        forwards, backwards = (lambda: member.classifier(inputs), lambda: member.classifier(inputs).sum().backward())
    else:
        batch = data.batch(rows)
        forwards = lambda: member.classifier(member.encoder(batch))  # noqa: E731
        backwards = lambda: member.classifier(member.encoder(batch)).sum().backward()  # noqa: E731
    with FlopCounterMode(display=False) as counter:
        backwards()
    training = counter.get_total_flops() * case.train / len(rows)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        forwards()
    return float(training + counter.get_total_flops() * case.validation / len(rows))


def passed_bytes(case: Case, data: ViewData, member: Member) -> float:
    """Bytes of stored layers that one model reads in one epoch: twice in training, once in validation; others are kept."""
    if len(case.spec.shape) < 3:
        return 0.0
    a_frame = 2 * case.spec.shape[0] * case.spec.shape[2]
    frames = [int(data.lengths[np.asarray(rows)].sum()) for rows in (member.train, member.validation)]
    return float(a_frame * (2 * frames[0] + frames[1]))


def lightning_training(case: Case, data: ViewData, labels: np.ndarray, epochs: int) -> Callable[[], None] | None:
    """Trains one model in a Lightning Trainer; None where there is no Lightning."""
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

    def train() -> None:
        (member,) = members(case, 1)
        parts = [loader(np.asarray(member.train), BATCH, True)]
        with tempfile.TemporaryDirectory() as folder:
            callbacks = []
            if case.validation:
                parts.append(loader(np.asarray(member.validation), 256, False))
                callbacks = [lightning.pytorch.callbacks.ModelCheckpoint(folder, monitor="uar", mode="max")]
            quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
            given = {"enable_checkpointing": bool(callbacks), "callbacks": callbacks, "num_sanity_val_steps": 0}
            trainer = lightning.Trainer(accelerator="cpu", devices=1, max_epochs=epochs, **quiet, **given)
            trainer.fit(Model(member), *parts)

    return train


def run(case: Case, models: int, rounds: int, limits: Limits) -> str:
    """A row of the table."""
    config = FineTuningConfig(batch_size=BATCH, epochs=case.epochs, patience=case.epochs)
    with tempfile.TemporaryDirectory() as folder:
        data, labels = made_up(case, Path(folder))

        def plain() -> list[FineTuningHistory]:
            return [
                finetune(
                    *(data, labels, m.encoder, m.classifier, m.train, m.validation, config),
                    scaler=None,
                    frozen=case.frozen,
                    seed=m.seed,
                )
                for m in members(case, models)
            ]

        def bank() -> list[FineTuningHistory]:
            found = finetune_many(data, labels, members(case, models), config, scaler=None, frozen=case.frozen)
            return [history for history in found if isinstance(history, FineTuningHistory)]

        for one, other in zip(plain(), bank(), strict=True):
            for name in ("train_loss", *(["validation_uar"] if case.validation else [])):
                curves = [[row[name] for row in history.curves] for history in (one, other)]
                np.testing.assert_allclose(*curves, rtol=1e-3, atol=0.02)  # of 500, ten predictions
        ways: dict[str, Callable[[], object]] = {"alone": plain, "bank": bank}
        epochs = 5 * case.epochs
        if case.train == 100 and not case.frozen and (fit := lightning_training(case, data, labels, epochs)):
            ways["Lightning"] = fit
        times = medians(ways, rounds)
        member = members(case, 1)[0]
        parameters = sum(p.numel() for p in member.classifier.parameters())
        if not case.frozen:
            parameters += sum(p.numel() for p in member.encoder.parameters())
        steps = -(-case.train // BATCH)
        n_bytes = ADAM_BYTES * parameters * steps + passed_bytes(case, data, member)
        floor = limits.seconds(n_bytes, operations(case, data, member))
    alone, together = (models * case.epochs / times[way] for way in ("alone", "bank"))
    against = f"{together * times['Lightning'] / epochs:.0f}" if "Lightning" in times else "–"
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
    with threadpoolctl.threadpool_limits(1):
        limits = measure_limits(1)
        print(f"One thread; {limits}. Banks of {arguments.models} models.\n")
        print("Models · epochs a second.\n")
        head = "| training | one by one | bank | faster by | than Lightning by | floor | share of the floor |"
        print(f"{head}\n|---|--:|--:|--:|--:|--:|--:|")
        for kind, cases in CASES.items():
            if arguments.only in (None, kind):
                for case in cases:
                    print(run(case, arguments.models, arguments.rounds, limits), flush=True)


if __name__ == "__main__":
    main()
