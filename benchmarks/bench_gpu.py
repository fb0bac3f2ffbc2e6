"""Pre-training and fine-tuning on a GPU, at the size of IEMOCAP; prints Markdown tables, or that there is no GPU.

    python benchmarks/bench_gpu.py [--utterances 10039] [--folds 1] [--limit 600]

Everything is made up on the device: 10 039 utterances of 2 to 7 s (4.5 s in the mean), all layers of wav2vec 2.0 (13 × 768, 50
frames a second, float16: 45 GB), a spectrogram of 64 bands and 100 frames a second, 88 functionals. A class moves each feature
a little, so that trainings take about as long as real ones to stop; their scores mean nothing.

Pre-training is an epoch of the three views on three of five sessions, beside the plain step that most code has: all
utterances padded to 15 s in float32 (already on the device), layers multiplied and summed, Conv1d. Fine-tuning is what the
sparse experiment does to one fold of a view: 7 shares of the labels, 10 repeats, two initialisations, each to its own early
stop on a whole validation session, in banks of 20. One share is also trained one model at a time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from _common import ROUNDS, Limits, measure_limits, table
from torch import Tensor

from emoviews.batching import HeldView, Scaler, ViewData
from emoviews.configs import FineTuningConfig, Precision, PretrainingConfig
from emoviews.encoders import make_encoder
from emoviews.encoders.layer_mix import LayerMix
from emoviews.ensembles import Member, finetune_many, predict_many
from emoviews.finetuning import FineTuningHistory, finetune
from emoviews.heads import Classifier, ProjectionHead
from emoviews.pretraining import ViewModel, pretrain
from emoviews.types import ViewSpec

DEVICE = "cuda"
SPECS = {
    "wav2vec2": ViewSpec("wav2vec2", 1, {}, ("layers", "frames", "features"), (13, 0, 768), "float16", 50.0),
    "mel_spectrogram": ViewSpec("mel_spectrogram", 1, {}, ("frames", "features"), (0, 64), "float16", 100.0),
    "egemaps": ViewSpec("egemaps", 1, {}, ("features",), (88,), "float32", None),
}
CLASSES, SESSIONS, SHARES, REPEATS = 4, 5, (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0), 10
PADDED_FRAMES = 749  # of 15 s


class MadeUp(ViewData):
    """A view that is nowhere but on the device."""

    def __init__(self, spec: ViewSpec, seconds: np.ndarray, labels: np.ndarray) -> None:
        """`seconds`: of each utterance, `(n,)`; `labels`: class numbers, `(n,)`."""
        self.spec, self.keys = spec, [str(i) for i in range(len(seconds))]
        frames = seconds * spec.frame_rate if spec.frame_rate else np.ones(len(seconds))
        self.lengths, self.in_memory = frames.astype(np.int64), False
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)])
        lengths = torch.from_numpy(self.lengths)
        shape = [size or int(lengths.sum()) for size in spec.shape]
        dtype = torch.float16 if spec.dtype == "float16" else torch.float32
        values = torch.empty([len(seconds), *shape] if not spec.has_frames else shape, dtype=dtype, device=DEVICE)
        of_class = 0.1 * torch.randn(CLASSES, values.shape[-1], dtype=dtype, device=DEVICE)
        of_row = torch.from_numpy(labels).repeat_interleave(lengths).to(DEVICE)
        for layer in values if values.ndim == 3 else [values]:
            for part, classes in zip(layer.split(2**19), of_row.split(2**19), strict=True):
                part.normal_().add_(of_class[classes])
        self._held = {torch.device(DEVICE): HeldView(values, lengths)}

    def scaler(self) -> Scaler:
        """z-scores that do nothing, at full price."""
        shape = [size for size in self.spec.shape if size]
        return Scaler(np.zeros(shape, np.float32), np.ones(shape, np.float32))


def seconds_of(way: Callable[[], object]) -> float:
    """Wall-clock seconds until the device has done it."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    way()
    torch.cuda.synchronize()
    return time.perf_counter() - started


class Clock:
    """Notes when it was made, and when it was called."""

    def __init__(self) -> None:
        self.times = [time.perf_counter()]

    def __call__(self, row: object) -> None:
        """Whatever there is to tell."""
        self.times.append(time.perf_counter())


def plain_step(data: MadeUp, batch_size: int) -> float:
    """Median seconds of forward and backward of the wav2vec 2.0 encoder on a padded batch."""
    layers, _, features = data.spec.shape
    encoder = LayerMix(data.spec.shape).to(DEVICE)
    first, second = encoder.pointwise[0], encoder.pointwise[3]
    padded = torch.randn(batch_size, layers, PADDED_FRAMES, features, device=DEVICE)
    lengths = torch.from_numpy(data.lengths[:batch_size]).to(DEVICE).unsqueeze(1)
    mask = (torch.arange(PADDED_FRAMES, device=DEVICE) < lengths).unsqueeze(1)

    def step() -> tuple[Tensor, ...]:
        weights = encoder.layer_weights / encoder.layer_weights.sum()
        mixed = (padded * weights[None, :, None, None]).sum(1)  # (batch, frames, features)
        hidden = F.dropout(F.relu(F.conv1d(mixed.transpose(1, 2), first.weight.unsqueeze(2), first.bias)), 0.2)
        hidden = F.dropout(F.relu(F.conv1d(hidden, second.weight.unsqueeze(2), second.bias)), 0.2)
        pooled = (hidden * mask).sum(2) / lengths
        return torch.autograd.grad(pooled.square().sum(), list(encoder.parameters()))

    step()
    return float(np.median([seconds_of(step) for _ in range(ROUNDS)]))


def pretraining(views: dict[str, MadeUp], train: np.ndarray, limits: Limits) -> str:
    """Seconds an epoch, with the loss, the optimiser and everything; the first of six warms up."""
    config = PretrainingConfig(epochs=1 + ROUNDS)
    steps = len(train) // config.batch_size
    frames = int(views["wav2vec2"].lengths[train].sum())
    rows = []
    plain = plain_step(views["wav2vec2"], config.batch_size) * steps
    rows.append(["plain: the wav2vec 2.0 encoder alone, padded to 15 s, float32", f"{plain:.2f}", "1.0"])
    precisions: tuple[Precision, ...] = ("float32", "mixed")
    for names in (("wav2vec2", "egemaps"), ("wav2vec2", "mel_spectrogram", "egemaps")):
        for precision in precisions:
            models = {}
            for name in names:
                torch.manual_seed(0)
                encoder = make_encoder(SPECS[name])
                models[name] = ViewModel(encoder, ProjectionHead(encoder.dim), views[name].scaler())
            ends = Clock()
            chosen = {name: views[name] for name in names}
            pretrain(chosen, models, train, [], config, seed=0, device=DEVICE, precision=precision, on_epoch=ends)
            taken = float(np.median(np.diff(ends.times)[1:]))
            rows.append([f"`pretrain`: {' + '.join(names)}, {precision}", f"{taken:.2f}", f"{plain / taken:.1f}"])
    bytes_read = 2 * frames * 13 * 768 * 2
    floor = bytes_read / limits.bytes_a_second
    rows.append(["floor: reading the layers twice, as stored", f"{floor:.2f}", f"{plain / floor:.1f}"])
    title = f"An epoch of pre-training: {len(train)} utterances, {frames} frames of wav2vec 2.0, batches of {config.batch_size}"
    return f"{title}\n\n{table(['way', 'seconds an epoch', 'plain / this'], rows)}"


def sparse(view: MadeUp, labels: np.ndarray, session: np.ndarray, folds: int, limit: float) -> list[list[str]]:
    """The fine-tunings of the sparse experiment in so many folds: a row a share, until `limit` seconds are over."""
    config, scaler = FineTuningConfig(), view.scaler()

    def member(fold: int, repeat: int, number: int, share: float) -> Member:
        torch.manual_seed(1000 * fold + 10 * repeat + number)
        encoder = make_encoder(view.spec)
        drawn = np.random.default_rng(repeat)
        inside = np.flatnonzero((session != fold) & (session != (fold + 1) % SESSIONS) & (labels >= 0))
        # as many of each class in every repeat
        rows = [drawn.permutation(inside[labels[inside] == c])[: max(1, round(share * 800))] for c in range(CLASSES)]
        held = np.flatnonzero((session == (fold + 1) % SESSIONS) & (labels >= 0))
        return Member(encoder, Classifier(encoder.dim, CLASSES), np.sort(np.concatenate(rows)), held, repeat)

    rows, total, all_jobs = [], 0.0, 0
    for share in SHARES:
        if total > limit:
            rows.append([f"{view.spec.name}, {100 * share:g} %: not run", "", "", "", "", ""])
            continue
        taken, epochs, jobs = 0.0, [], 0
        for fold in range(folds):
            bank = [member(fold, repeat, number, share) for repeat in range(REPEATS) for number in range(2)]
            test = np.flatnonzero((session == fold) & (labels >= 0))
            histories: list[FineTuningHistory] = []

            def train(bank: list[Member] = bank, test: np.ndarray = test, histories: list = histories) -> None:
                found = finetune_many(view, labels, bank, config, scaler=scaler, frozen=False, device=DEVICE)
                histories.extend(h for h in found if isinstance(h, FineTuningHistory))
                predict_many(view, bank, [test] * len(bank), scaler=scaler, device=DEVICE)

            taken += seconds_of(train)
            jobs += len(bank)
            epochs += [len(history.curves) for history in histories]
        total, all_jobs = total + taken, all_jobs + jobs
        one_by_one = "–"
        if share == 0.1:
            few = [member(0, 0, number, share) for number in range(2)]
            passes = [0]

            def alone(few: list[Member] = few, passes: list[int] = passes) -> None:
                for m in few:
                    passes[0] += len(
                        finetune(
                            view, labels, m.encoder, m.classifier, m.train, m.validation, config,
                            scaler=scaler, frozen=False, seed=m.seed, device=DEVICE,
                        ).curves
                    )  # fmt: skip

            apart = seconds_of(alone) / passes[0]
            one_by_one = f"{apart / (taken / sum(epochs)):.1f}"
        numbers = [len(bank[0].train), jobs, f"{np.mean(epochs):.0f}", f"{taken:.1f}", one_by_one]
        rows.append([f"{view.spec.name}, {100 * share:g} %", *map(str, numbers)])
    rows.append([f"{view.spec.name}, all of these", "", str(all_jobs), "", f"{total:.1f}", ""])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=10_039)
    parser.add_argument("--folds", type=int, default=1, help="of the five, in which fine-tuning is timed")
    parser.add_argument(
        "--limit", type=float, default=600, help="seconds of a view after which no further share is begun"
    )
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no GPU here.")
        return
    torch.manual_seed(0)
    limits = measure_limits(1, DEVICE)
    generator = np.random.default_rng(0)
    seconds = generator.uniform(2, 7, options.utterances)
    session = np.arange(options.utterances) % SESSIONS
    kinds = generator.integers(0, CLASSES, options.utterances)
    labels = np.where(generator.random(options.utterances) < 0.55, kinds, -1)
    views = {name: MadeUp(spec, seconds, kinds) for name, spec in SPECS.items()}
    held = torch.cuda.memory_allocated() / 1e9
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}; {limits}; {held:.1f} GB of views on the device\n"
    )
    print(pretraining(views, np.flatnonzero(session >= 2), limits), flush=True)
    head = ["share of the labels", "labels", "trainings", "epochs, mean", "seconds", "one at a time / bank"]
    print(
        f"\nFine-tuning as in the sparse experiment, {options.folds} of {SESSIONS} folds, float32, with validation and test. "
        "The last column: seconds a training and epoch, one model at a time against a bank of 20."
    )
    for name in ("wav2vec2", "mel_spectrogram", "egemaps"):
        print(f"\n{table(head, sparse(views[name], labels, session, options.folds, options.limit))}", flush=True)
    print(f"\nPeak of the device's memory: {torch.cuda.max_memory_allocated() / 1e9:.1f} GB.")


if __name__ == "__main__":
    main()
