"""The same fine-tuning for many small models at once: what `finetuning.finetune` does to each, in a fraction of the time.

Training one small model leaves a processor mostly idle between its hundred little operations a step. A bank trains many in
step with each other: one operation for all of them, through the ordinary modules with stacked parameters
(`encoders._stacked`). Each model keeps what is its own: initial weights, labels, order of batches, learning rate, best weights
and the epoch in which it stops. One that stops leaves the bank, so that no work is done for it any more. Utterances that all
models look at, the validation group's, are read once for all.

A bank's models must take steps of the same size at the same time: equally many utterances to train on, one configuration.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.adam import adam

from emoviews.batching import Indices, Scaler, ViewData, shuffled_batches
from emoviews.configs import FineTuningConfig
from emoviews.encoders import Encoder
from emoviews.encoders._dropout import draw_apart
from emoviews.encoders._stacked import BankBatch, GatheredRows, stack
from emoviews.errors import TrainingError, UsageError
from emoviews.finetuning import EVALUATION_BATCH, FineTuningHistory, Plateau, check_labelled, no_number, validation_uar
from emoviews.seeds import derive_seed, torch_seed
from emoviews.types import FRAMES

Result = TypeVar("Result")

EVALUATION_FRAMES: Final = 8192
"""Rows that a bank is applied to at a time where nothing is learnt: what lies between its layers then stays in the cache."""

GPU_EVALUATION_FRAMES: Final = 65_536
"""The same on a GPU, which a few rows keep waiting; of more than 8 models as many fewer, so that it has room for all."""

RESIDENT_BYTES: Final = 500_000_000
"""The part of a view that a bank uses is scaled once and kept, if it fits into this."""


@dataclass(frozen=True)
class Member:
    """One model of a bank, and what is its own.

    Attributes:
        encoder: pre-trained or freshly initialised; the same object in several members is applied once where it is frozen.
        classifier: `(batch, dim)` → `(batch, classes)` logits.
        train: indices of the labelled utterances to train on.
        validation: indices whose UAR decides when to stop; empty to train all epochs and keep the last.
        seed: decides batch orders.
    """

    encoder: Encoder
    classifier: nn.Module
    train: Indices
    validation: Indices
    seed: int


def finetune_many(
    data: ViewData,
    labels: NDArray[np.int64],
    members: Sequence[Member],
    config: FineTuningConfig,
    *,
    scaler: Scaler | None,
    frozen: bool,
    device: str = "cpu",
) -> list[FineTuningHistory | TrainingError]:
    """Train all classifiers (and, unless frozen, encoders) in place; on return they hold their best epochs' weights.

    Each model goes through what `finetuning.finetune` would do to it, on the same batches and, on a CPU, with the same
    dropout (a GPU draws it for all models of a bank together). On a CPU it does not matter which models are in the bank with
    it, not even for the last bit, where features and layers are multiples of 16 wide and nobody shares its batches. Where a
    GPU has no room for them all, they are trained in halves.

    Args:
        data: the view of all utterances.
        labels: `(n,)` class numbers of all utterances, -1 for unlabelled.
        members: the models. Alike but for their weights, their encoders `banks`; equally many utterances to train on and to
            validate on.
        config: the optimisation.
        scaler: z-scores of the encoders' input.
        frozen: only heads are trained; the encoders are applied once, without dropout.
        device: of the training.

    Returns:
        What became of each member: its history, or why its training ended without a result (its loss stopped being a number).

    Raises:
        UsageError: no utterance to train on, one without a label, different numbers of them, or an encoder that can't be
            stacked.
    """
    if not members:
        return []
    for member in members:
        check_labelled(labels, member.train, member.validation)
        if not member.encoder.banks:
            raise UsageError(
                f"Encoder {member.encoder.name!r} does not take stacked weights (`banks`); train its models one at a time."
            )
    sizes = {(len(member.train), len(member.validation)) for member in members}
    if len(sizes) > 1:
        raise UsageError(
            "The models of a bank train on equally many utterances, and validate on equally many; got (train, validation) "
            f"{sorted(sizes)}. Put them into different banks."
        )
    # Members that see the same batches stand together, so that a batch is read once for all of them.
    order = sorted(range(len(members)), key=lambda m: (members[m].seed, tuple(members[m].train)))
    features = _Features(data, _rows_of(members), scaler, device, members[0].encoder)
    # Heads on frozen encoders are small; encoders take what fits the cache.
    parts = _parts(order, members[0].encoder, device) if not frozen else [order]

    def train(part: list[int]) -> list[FineTuningHistory | TrainingError]:
        return _Bank(features, labels, [members[m] for m in part], config, frozen=frozen).run()

    outcomes = _halved_where_needed(parts, train)
    return [outcomes[m] for m in range(len(members))]


def predict_many(
    data: ViewData,
    members: Sequence[Member],
    rows: Sequence[Indices],
    *,
    scaler: Scaler | None,
    device: str = "cpu",
) -> list[NDArray[np.float32]]:
    """Softmax probabilities `(len(rows[m]), classes)` of each member on its rows; equal rows are read once for all.

    Args:
        data: the view of all utterances.
        members: as for `finetune_many`.
        rows: indices for each member, equally many.
        scaler: z-scores of the encoders' input.
        device: of the computing.

    Raises:
        UsageError: different numbers of rows.
    """
    wanted = _same_length(rows)  # (models, n)
    features = _Features(data, np.unique(wanted), scaler, device, members[0].encoder)

    def predict(part: list[int]) -> list[NDArray[np.float32]]:
        own = wanted[part]
        encoders, of_model = [members[m].encoder for m in part], np.arange(len(part))
        if bool((own == own[0]).all()):
            encoders, of_model = _distinct(encoders)
        embedded = _apply(encoders, features, own[: len(encoders)])
        classifier = stack([members[m].classifier for m in part]).to(device).eval()
        with torch.inference_mode():
            logits: Tensor = classifier(embedded[torch.from_numpy(of_model)])  # (models, n, classes)
            return list(logits.softmax(dim=2).cpu().numpy())

    found = _halved_where_needed([list(range(len(members)))], predict)
    return [found[m] for m in range(len(members))]


class _Model(nn.Module):
    """Encoder and classifier, of one model or stacked."""

    def __init__(self, encoder: Encoder, classifier: nn.Module) -> None:
        super().__init__()
        self.encoder, self.classifier = encoder, classifier

    def forward(self, batch: BankBatch) -> Tensor:
        """`(models, batch, classes)`."""
        encoded: Tensor = self.encoder(batch)
        logits: Tensor = self.classifier(encoded.reshape(batch.models, -1, encoded.shape[-1]))
        return logits


class _Features:
    """The part of a view that a bank uses.

    On a GPU that keeps the whole view it is read there (`batching.HeldView`). Else the part is scaled once and kept on the
    device where it fits, and read batch by batch where it does not.
    """

    def __init__(
        self, data: ViewData, rows: NDArray[np.int64], scaler: Scaler | None, device: str, encoder: Encoder
    ) -> None:
        """`rows`: all that will be asked for; `encoder`: whose kind decides how they are read (`Encoder.read`)."""
        self.data, self.scaler, self.device, self.encoder = data, scaler, device, encoder
        self.axis = data.spec.axes.index(FRAMES) if data.spec.has_frames else 0
        self.lengths = torch.from_numpy(np.asarray(data.lengths, dtype=np.int64))
        per_frame = math.prod(size for size in data.spec.shape if size)
        self.values: Tensor | None = None
        self.held = data.held(device)
        # What an encoder reads in the store, on a CPU, it reads there also for a single model, and as fast.
        from_store = encoder.reads_stored and not data.in_memory and torch.device(device).type == "cpu"
        if self.held is None and not from_store and int(self.lengths[rows].sum()) * per_frame * 4 <= _room(device):
            held = data.batch(rows, scaler)
            self.values = held.values.to(device)
            self.starts = torch.zeros(len(data), dtype=torch.int64)
            self.starts[rows] = held.offsets[:-1]

    def batch(self, rows: NDArray[np.int64], models: Sequence[int] = ()) -> BankBatch:
        """A batch a model, `(models, n)`; neighbours with equal rows share theirs."""
        runs = [list(run) for _, run in groupby(range(len(rows)), key=lambda m: rows[m].tobytes())]
        index = np.concatenate([rows[run[0]] for run in runs])
        sharing = tuple(map(len, runs))
        if self.held is not None:
            gathered = self.held.batch(index, self.scaler)
            return BankBatch(gathered.values, gathered.offsets, sharing)
        if self.values is None:
            read = self.encoder.read(self.data, index, self.scaler, self.device).to(self.device)
            return BankBatch(read.values, read.offsets, sharing)
        chosen = torch.from_numpy(index)
        lengths = self.lengths[chosen]
        offsets = nn.functional.pad(lengths.cumsum(0), (1, 0))
        first = self.starts[chosen]
        if len(runs) == 1 and torch.equal(first[1:] - first[:-1], lengths[:-1]):  # they lie there as they are wanted
            values = self.values.narrow(self.axis, int(first[0]), int(offsets[-1]))
        else:
            frames = torch.arange(int(offsets[-1])) + (first - offsets[:-1]).repeat_interleave(lengths)
            if self.encoder.gathers:
                return BankBatch(cast(Tensor, GatheredRows(self.values, frames)), offsets, sharing)
            values = self.values.index_select(self.axis, frames.to(self.device))
        return BankBatch(values, offsets, sharing)

    def blocks(self, rows: NDArray[np.int64], models: Sequence[int] = ()) -> Iterator[BankBatch]:
        """`(models, n)` rows, some at a time: on a CPU `EVALUATION_BATCH` at most and `EVALUATION_FRAMES` frames a model."""
        mean_frames = float(self.lengths[torch.from_numpy(rows[0])].double().mean())
        if torch.device(self.device).type == "cpu":
            step = min(EVALUATION_BATCH, int(EVALUATION_FRAMES / mean_frames))
        else:
            step = int(GPU_EVALUATION_FRAMES / mean_frames / max(1, len(rows) // 8))
        step = max(1, step)
        yield from (self.batch(rows[:, start : start + step]) for start in range(0, rows.shape[1], step))


class _Embedded:
    """The outputs of frozen encoders; they take the place of `_Features`."""

    def __init__(self, features: _Features, encoders: Sequence[Encoder], rows: NDArray[np.int64]) -> None:
        distinct, self.of_model = _distinct(encoders)
        self.values = _apply(distinct, features, np.tile(rows, (len(distinct), 1)))
        self.position = np.zeros(len(features.data), dtype=np.int64)
        self.position[rows] = np.arange(len(rows))

    def batch(self, rows: NDArray[np.int64], models: Sequence[int]) -> Tensor:
        """`(models, n)` → `(models, n, dim)`."""
        of_model = torch.from_numpy(self.of_model[list(models)]).unsqueeze(1)
        return self.values[of_model, torch.from_numpy(self.position[rows])]

    def blocks(self, rows: NDArray[np.int64], models: Sequence[int]) -> Iterator[Tensor]:
        """All at once: embeddings are small."""
        yield self.batch(rows, models)


class _Adam:
    """Adam with a learning rate for each model: the fused step of torch, over the models of one rate at a time."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.steps = 0
        self.state = [list(parameters), *([torch.zeros_like(p) for p in parameters] for _ in range(2))]
        self._slice()

    def _slice(self) -> None:
        self.tensors = [self._sliced(stacked) for stacked in self.state]  # once, and not at every step

    @staticmethod
    def _sliced(stacked: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        """`[model]`: the model's part of each stacked tensor."""
        return list(zip(*(t.unbind() for t in stacked), strict=True))

    def step(self, gradients: Sequence[Tensor], rates: Sequence[float]) -> None:
        """Move each model's parameters along its gradient, `(models, ...)` each, at its rate."""
        gradients = [gradient.contiguous() for gradient in gradients]
        models: dict[float, list[int]] = {}
        for model, rate in enumerate(rates):
            models.setdefault(rate, []).append(model)
        of_each = (*self.tensors, self._sliced(gradients)) if len(models) > 1 else ()
        for rate, some in models.items():
            parameters, first, second, along = (
                ([t for m in some for t in tensors[m]] for tensors in of_each) if of_each else (*self.state, gradients)
            )
            steps = torch.full((len(along),), float(self.steps), device=along[0].device).unbind()
            adam(
                *(parameters, list(along), first, second, [], list(steps)),
                fused=True, amsgrad=False, beta1=0.9, beta2=0.999, lr=rate, weight_decay=0.0, eps=1e-8, maximize=False,
            )  # fmt: skip
        self.steps += 1

    def keep(self, models: Sequence[int]) -> list[Tensor]:
        """Only these models go on; their parameters."""
        self.state = [[t[list(models)] for t in stacked] for stacked in self.state]
        self._slice()
        return self.state[0]


class _Bank:
    """A bank in training. `live` numbers the members that still are, in the order of the stacked parameters."""

    def __init__(
        self,
        features: _Features,
        labels: NDArray[np.int64],
        members: Sequence[Member],
        config: FineTuningConfig,
        *,
        frozen: bool,
    ) -> None:
        device = features.device
        self.members, self.config, self.labels, self.device = members, config, labels, device
        self.train = [np.asarray(member.train, dtype=np.int64) for member in members]
        self.validation = _same_length([member.validation for member in members])  # (models, n)
        for member in members:
            member.encoder.to(device)
            member.classifier.to(device)
        self.inputs: _Features | _Embedded = features
        if frozen:
            self.inputs = _Embedded(features, [member.encoder for member in members], _rows_of(members))
        self.single = [m.classifier if frozen else _Model(m.encoder, m.classifier) for m in members]
        self.model = stack(self.single)
        self.parameters = list(self.model.parameters())
        self.targets = torch.from_numpy(labels).to(device)
        self.live = list(range(len(members)))
        # On a CPU every model draws its own dropout, the same in whichever company it is trained.
        on_cpu = torch.device(device).type == "cpu"
        seeds = [derive_seed(member.seed, "dropout") for member in members] if on_cpu else []
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        draw_apart(self.model, self.generators)

    def run(self) -> list[FineTuningHistory | TrainingError]:
        """Train until every model has stopped."""
        plateaus = [Plateau(self.config) for _ in self.members]
        histories = [FineTuningHistory() for _ in self.members]
        failures: dict[int, TrainingError] = {}
        optimizer = _Adam([parameter.data for parameter in self.parameters])
        best = [parameter.data.clone() for parameter in self.parameters]
        with torch_seed(derive_seed("dropout", *(member.seed for member in self.members))):
            for epoch in range(self.config.epochs):
                rates = [plateaus[m].learning_rate for m in self.live]
                losses = self._train(epoch, optimizer, rates)
                scores = self._scores() if self.validation.shape[1] else None
                improved: list[int] = []  # places in the stack
                going: list[int] = []
                for place, m in enumerate(self.live):
                    row = {"train_loss": losses[place], "learning_rate": rates[place]}
                    if not math.isfinite(losses[place]):
                        failures[m] = no_number(losses[place], epoch, self.config)
                        continue
                    better = epoch + 1 == self.config.epochs
                    if scores is not None:
                        row["validation_uar"] = scores[place]
                        better = plateaus[m].update(scores[place])
                    if better:
                        improved.append(place)
                    if better or scores is None:
                        histories[m].best_epoch = epoch + 1
                    histories[m].curves.append(row)
                    if not plateaus[m].exhausted:
                        going.append(place)
                if improved:
                    which = [self.live[place] for place in improved]
                    for kept, parameter in zip(best, self.parameters, strict=True):
                        kept[which] = parameter.data[improved]
                if not going:
                    break
                if len(going) < len(self.live):
                    self.live = [self.live[place] for place in going]
                    for parameter, kept in zip(self.parameters, optimizer.keep(going), strict=True):
                        parameter.data = kept
                    if self.generators:
                        draw_apart(self.model, [self.generators[m] for m in self.live])
        for m, module in enumerate(self.single):
            module.eval()
            if m not in failures:
                with torch.no_grad():
                    for parameter, kept in zip(module.parameters(), best, strict=True):
                        parameter.copy_(kept[m])
        return [failures.get(m, history) for m, history in enumerate(histories)]

    def _train(self, epoch: int, optimizer: _Adam, rates: Sequence[float]) -> list[float]:
        """An epoch; the mean loss of each live model."""
        self.model.train()
        totals: Any = 0.0
        orders = [np.random.default_rng(derive_seed(self.members[m].seed, "batches", epoch)) for m in self.live]
        batches = [
            shuffled_batches(self.train[m], self.config.batch_size, order, drop_last=False)
            for m, order in zip(self.live, orders, strict=True)
        ]
        for each in zip(*batches, strict=True):
            rows = np.stack(each)  # (models, batch)
            targets = self.targets[torch.from_numpy(rows)]
            logits = self.model(self.inputs.batch(rows, self.live))  # (models, batch, classes)
            losses = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
            means = losses.view(rows.shape).mean(dim=1)  # (models,)
            optimizer.step(torch.autograd.grad(means.sum(), self.parameters), rates)
            totals = totals + means.detach().double() * rows.shape[1]
        mean: list[float] = (totals / len(self.train[0])).tolist()
        return mean

    def _scores(self) -> list[float]:
        """The validation UAR of each live model."""
        self.model.eval()
        rows = self.validation[self.live]
        with torch.inference_mode():
            said = torch.cat([self.model(b).argmax(dim=2) for b in self.inputs.blocks(rows, self.live)], dim=1).cpu()
        scores: list[float] = validation_uar(self.labels[rows], said.numpy(), int(self.labels.max()) + 1).tolist()
        return scores


def _apply(encoders: Sequence[Encoder], features: _Features, rows: NDArray[np.int64]) -> Tensor:
    """Each encoder's output, without dropout, on its rows `(encoders, n)`: `(encoders, n, dim)`."""
    found = []
    with torch.inference_mode():
        for part in _parts(range(len(encoders)), encoders[0], features.device):
            encoder = stack([encoders[i] for i in part]).to(features.device).eval()
            blocks = [encoder(b).reshape(len(part), -1, encoder.dim) for b in features.blocks(rows[part])]
            found.append(torch.cat(blocks, dim=1))
        return torch.cat(found)


def _parts(models: Sequence[int], encoder: Encoder, device: str) -> list[list[int]]:
    """Models that are computed with at a time: on a CPU as many as the kind of encoder wants, elsewhere all."""
    step = encoder.together if torch.device(device).type == "cpu" else len(models)
    return [list(models[start : start + step]) for start in range(0, len(models), step)]


def _rows_of(members: Sequence[Member]) -> NDArray[np.int64]:
    """The utterances that members learn from or validate on, each once.

    Those that validate come first and in order: where all members share them, a batch of them is a slice of what is kept.
    """
    parts = [*(member.validation for member in members), *(member.train for member in members)]
    rows = np.concatenate([np.asarray(part, dtype=np.int64) for part in parts])
    return rows[np.sort(np.unique(rows, return_index=True)[1])]


def _distinct(encoders: Sequence[Encoder]) -> tuple[list[Encoder], NDArray[np.int64]]:
    """The different ones, and which of them each is."""
    found = list({id(encoder): encoder for encoder in encoders}.values())
    place = {id(encoder): number for number, encoder in enumerate(found)}
    return found, np.array([place[id(encoder)] for encoder in encoders])


def _same_length(rows: Sequence[Indices]) -> NDArray[np.int64]:
    if len(sizes := sorted({len(index) for index in rows})) > 1:
        raise UsageError(f"The models of a bank need equally many utterances each; got {sizes}. Ask for them apart.")
    return np.stack([np.asarray(index, dtype=np.int64) for index in rows])


def _room(device: str) -> int:
    """Bytes of a view that may be kept."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) // 2
    return RESIDENT_BYTES


def _halved_where_needed(parts: list[list[int]], run: Callable[[list[int]], Sequence[Result]]) -> dict[int, Result]:
    """What `run` gives for each model of each part; a part that a GPU has no room for is run in halves.

    Raises:
        torch.cuda.OutOfMemoryError: there is no room for a single model.
    """
    found: dict[int, Result] = {}
    waiting = list(parts)
    while waiting:
        part = waiting.pop(0)
        try:
            found |= dict(zip(part, run(part), strict=True))
        except torch.cuda.OutOfMemoryError:
            if len(part) == 1:
                raise
            _say_halved(len(part))
        else:
            continue
        torch.cuda.empty_cache()
        half = len(part) // 2
        waiting = [part[:half], part[half:], *waiting]
    return found


_said_halved = False


def _say_halved(models: int) -> None:
    """Once a process: which banks fit is a matter of the machine, and repeats with every one."""
    global _said_halved
    if not _said_halved:
        _said_halved = True
        print(f"The GPU has no room for {models} models at a time; they are trained in halves.", file=sys.stderr)
