"""Unlabelled views → aligned encoders: Pairwise-CL (the paper, sections 2.1 and 3.3).

One encoder and one projection head a view; the loss pulls the projections of one utterance's views together. Adam at 1e-3,
batches of 128 (the last incomplete one dropped: the loss depends on the batch's size), at most 100 epochs, stopped after 30
without a lower validation loss; the weights of the best epoch are kept. Validation batches are the same in every epoch.

One view alone is trained by the same loop as two, which are then two augmented versions of it: SimCLR (Chen et al. 2020),
the baseline of a single view. Both pass through the one encoder and the one head.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emoviews.augmentation import Augmentation
from emoviews.batching import Indices, Scaler, ViewData, prefetched, shuffled_batches
from emoviews.checkpoints import load_tensors, save_tensors
from emoviews.configs import Precision, PretrainingConfig
from emoviews.encoders import Encoder
from emoviews.errors import CheckpointError, TrainingError, UsageError
from emoviews.losses import make_loss
from emoviews.seeds import derive_seed, torch_seed
from emoviews.types import ViewBatch

STATE: Final = "state.safetensors"

COPIES: Final = ("copy 1", "copy 2")
"""What the augmented versions of a view are called."""


@dataclass(frozen=True)
class ViewModel:
    """What is trained for one view, and the z-scores its input gets.

    The two modules are changed in place by `pretrain`.
    """

    encoder: Encoder
    head: nn.Module
    scaler: Scaler | None


@dataclass
class PretrainingHistory:
    """What happened: a row of numbers an epoch (`train_loss`, `validation_loss`, one loss a pair of views)."""

    curves: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0

    @property
    def epochs_run(self) -> int:
        return len(self.curves)


def pretrain(
    data: Mapping[str, ViewData],
    models: Mapping[str, ViewModel],
    train: Indices,
    validation: Indices,
    config: PretrainingConfig,
    *,
    seed: int,
    labels: NDArray[np.int64] | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
    state: str | Path | None = None,
    state_of: str = "",
    augment: Augmentation | None = None,
    on_epoch: Callable[[dict[str, float]], None] = lambda row: None,
) -> PretrainingHistory:
    """Align the encoders of the views; on return they (and their heads) hold the weights of the best epoch.

    Args:
        data: view → its utterances, all views in the same order; with `augment` one view.
        models: view → encoder, projection head and scaler.
        train: indices of the utterances to train on; never any of a test group.
        validation: indices that decide when to stop; empty to train `epochs` epochs and keep the last.
        config: the optimisation.
        seed: decides batch orders and dropout; initial weights are the caller's.
        labels: `(n,)` for a loss that uses them: the label of each utterance of `data`, −1 where it has none or must not be
            seen; None for other losses.
        device: of the training.
        precision: of the matrix products (`computed_in`); `mixed` needs a GPU.
        state: folder in which each epoch's state is kept, so that a killed training goes on where it stopped, bit for bit; it
            is removed at the end. None keeps no state.
        state_of: what the state belongs to (e.g. a job's id); a state of something else is refused, and so is one of other
            views, utterances, labels, seed, configuration or augmentation.
        augment: makes two versions of each utterance of a single view, called its `COPIES` in what is told of each epoch. They
            are drawn anew in every epoch; those of the validation batches are the same in all epochs and for all seeds. None
            aligns the views with each other.
        on_epoch: is told each epoch's row of numbers.

    Raises:
        UsageError: fewer than two views without `augment`, another number than one with it; fewer than two utterances to train
            on, or exactly one to validate on; labels for a loss that uses none; for one that does, not one label for each
            utterance, or no two utterances to train on that share one; mixed precision on a CPU.
        TrainingError: the loss stopped being a number.
        CheckpointError: `state` belongs to another training.
    """
    views = list(data)
    if augment is not None and len(views) != 1:
        raise UsageError(
            f"Augmented versions of one view are aligned; got {len(views)} views: {', '.join(views) or 'none'}."
        )
    if augment is None and len(views) < 2:
        raise UsageError(
            f"Pre-training aligns views with each other and needs at least 2; got {', '.join(views) or 'none'}."
        )
    if len(train) < 2:
        raise UsageError(f"Pre-training needs at least 2 utterances; got {len(train)}. Add recordings.")
    if len(validation) == 1:
        raise UsageError(
            "Pre-training validates by telling utterances apart and needs at least 2 of them (or none); got 1. Merge groups "
            "(--folds), or add recordings to that group."
        )
    loss = make_loss(config.loss, **config.loss_settings).to(device)
    targets = None if labels is None else torch.from_numpy(np.array(labels, dtype=np.int64))
    _check_labels(config.loss, loss.uses_labels, targets, len(data[views[0]]), train)
    modules = nn.ModuleList([nn.ModuleList([models[v].encoder, models[v].head]) for v in views]).to(device)
    optimizer = torch.optim.Adam(modules.parameters(), lr=config.learning_rate, fused=True)
    history, bad_epochs = PretrainingHistory(), 0
    best_loss, best = math.inf, snapshot(modules)
    # Of one size and composition in every epoch, since the loss depends on both.
    fixed = shuffled_batches(
        validation, config.batch_size, np.random.default_rng(derive_seed("validation")), drop_last=True
    )
    rows = hashlib.sha256(repr((np.asarray(train).tolist(), np.asarray(validation).tolist())).encode()).hexdigest()
    state = Path(state) if state is not None else None
    made_by = f"{state_of or 'no name'}, seed {seed}, {' + '.join(views)}, utterances {rows[:12]}, {config.description}"
    if targets is not None:
        made_by += f", labels {hashlib.sha256(repr(targets.tolist()).encode()).hexdigest()[:12]}"
    if augment is not None:
        made_by += f", {augment}"
    if state is not None and state.exists():
        best_loss, bad_epochs, best = _restore(state, made_by, modules, optimizer, history)
    scalers = {v: models[v].scaler for v in views}

    def read(batches: list[NDArray[np.int64]], *seeded_by: object) -> Iterator[dict[str, ViewBatch]]:
        for number, indices in enumerate(batches):
            if augment is None:
                found = {v: models[v].encoder.read(data[v], indices, scalers[v], device) for v in views}
            else:
                found = {views[0]: data[views[0]].batch(indices, scalers[views[0]])}
                found = augmented_copies(found[views[0]], views[0], augment, "augmentation", *seeded_by, number)
            yield found

    def forward(batch: dict[str, ViewBatch], indices: NDArray[np.int64]) -> tuple[Tensor, dict[str, Tensor]]:
        # The copies of a single view share its model.
        of = {v: models[v if augment is None else views[0]] for v in batch}
        projected = {v: of[v].head(of[v].encoder(batch[v].to(device))) for v in batch}
        known = None if targets is None else targets[torch.from_numpy(indices)].to(device)
        result: tuple[Tensor, dict[str, Tensor]] = loss(projected, labels=known)
        return result

    for epoch in range(history.epochs_run, config.epochs):
        if bad_epochs >= config.patience:
            break
        batches = shuffled_batches(
            train, config.batch_size, np.random.default_rng(derive_seed(seed, "batches", epoch)), drop_last=True
        )
        modules.train()
        steps: list[dict[str, Tensor]] = []
        with torch_seed(derive_seed(seed, "dropout", epoch)):
            for indices, batch in zip(batches, prefetched(read(batches, seed, epoch)), strict=True):
                with computed_in(precision, device):
                    value, parts = forward(batch, indices)
                optimizer.zero_grad(set_to_none=True)
                value.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                steps.append(
                    {"train_loss": value.detach()} | {f"train_loss {name}": part for name, part in parts.items()}
                )
        row = _means(steps)
        modules.eval()
        steps = []
        with torch.inference_mode(), computed_in(precision, device):
            for indices, batch in zip(fixed, prefetched(read(fixed, "validation")), strict=True):
                value, parts = forward(batch, indices)
                steps.append(
                    {"validation_loss": value} | {f"validation_loss {name}": part for name, part in parts.items()}
                )
        row |= _means(steps)
        watched = row.get("validation_loss", row["train_loss"])
        if not math.isfinite(watched) or not math.isfinite(row["train_loss"]):
            if state is not None:
                _discard(state)  # it leads here again, and would be in the way of another learning rate
            warmer = "" if config.temperature is None else f" or a higher temperature (now {config.temperature:g})"
            raise TrainingError(
                f"The pre-training loss is {row['train_loss']} in epoch {epoch + 1} (on the validation part {watched}). Try a "
                f"lower learning rate (now {config.learning_rate:g}){warmer}."
            )
        history.curves.append(row)
        if not fixed or watched < best_loss:  # without validation, the last epoch is kept
            best_loss, bad_epochs, history.best_epoch = watched, 0, epoch + 1
            best = snapshot(modules)
        else:
            bad_epochs += 1
        if state is not None:
            _save(state, made_by, modules, optimizer, history, best_loss, bad_epochs, best)
        on_epoch(row)
    modules.load_state_dict(best)
    modules.eval()
    if state is not None:
        _discard(state)
    return history


def augmented_copies(batch: ViewBatch, view: str, augment: Augmentation, *seeded_by: object) -> dict[str, ViewBatch]:
    """Two versions of each utterance of a batch, by name (`mel_spectrogram copy 1`), each with a seed of its own.

    Args:
        batch: of the view, scaled.
        view: its name.
        augment: makes them.
        seeded_by: what their seeds are derived from.
    """
    return {f"{view} {copy}": augment(batch, np.random.default_rng(derive_seed(*seeded_by, copy))) for copy in COPIES}


def _check_labels(loss: str, uses_labels: bool, labels: Tensor | None, n: int, train: Indices) -> None:
    """Refuse labels that nothing reads, and a loss that uses labels with none that it could learn from."""
    if not uses_labels:
        if labels is not None:
            raise UsageError(
                f"The loss {loss} uses no labels, but labels are given. Leave them out, or name another loss."
            )
        return
    if labels is None:
        raise UsageError(f"The loss {loss} uses labels; none are given. Give them, or name another loss.")
    if labels.shape != (n,):
        raise UsageError(f"There must be a label, or -1, for each of {n} utterances; got {tuple(labels.shape)}.")
    known = labels[torch.from_numpy(np.asarray(train, dtype=np.int64))]
    known = known[known >= 0]
    if len(set(known.tolist())) == len(known):
        raise UsageError(
            f"The loss {loss} draws utterances of one label together; of {len(train)} utterances to train on {len(known)} have "
            "a label, and no two of them the same. Use more labels, or a loss without."
        )


def _means(steps: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    """Each number's mean over the steps of an epoch. A GPU is asked for them once, at the end, so that no step waits."""
    if not steps:
        return {}
    numbers = torch.stack([torch.stack([step[name] for name in steps[0]]) for step in steps]).double().cpu()
    return {name: sum((column / len(steps)).tolist()) for name, column in zip(steps[0], numbers.T, strict=True)}


@contextlib.contextmanager
def computed_in(precision: Precision, device: str) -> Iterator[None]:
    """Compute matrix products in this precision inside the block.

    `mixed` is bfloat16 where torch's autocast allows it, and TF32 (10 bits of mantissa) in the other products; weights, sums
    over frames, the layer mix' sums and the loss stay float32. For encoders as small as the paper's it gains nothing even on a
    large GPU (`benchmarks/RESULTS-GPU.md`): reading the layers is what takes time. On a CPU it is refused.

    Raises:
        UsageError: `mixed` on a CPU.
    """
    if precision == "float32":
        yield
        return
    kind = torch.device(device).type
    if kind == "cpu":
        raise UsageError(
            "Mixed precision is for GPUs; on a CPU it would be slower. Leave --precision out, or name a GPU (--device cuda)."
        )
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with torch.autocast(kind, dtype=torch.bfloat16):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """A copy of a module's state, which later steps do not change."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def _save(
    folder: Path,
    made_by: str,
    modules: nn.Module,
    optimizer: torch.optim.Optimizer,
    history: PretrainingHistory,
    best_loss: float,
    bad_epochs: int,
    best: Mapping[str, Tensor],
) -> None:
    """Everything the next epoch depends on, in one file, so that a kill never leaves half of it."""
    tensors = {f"now/{name}": tensor for name, tensor in modules.state_dict().items()}
    tensors |= {f"best/{name}": tensor for name, tensor in best.items()}
    for number, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{name}": tensor for name, tensor in slots.items()}
    notes = {
        "made_by": made_by,
        "curves": history.curves,
        "best_epoch": history.best_epoch,
        "best_loss": best_loss,
        "bad_epochs": bad_epochs,
    }
    save_tensors(folder / STATE, tensors, notes)


def _discard(folder: Path) -> None:
    """Remove the state, with what a write that was killed left of it; anything else in the folder is not ours."""
    for file in [folder / STATE, *folder.glob(f".{STATE}.*.tmp")]:
        file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _restore(
    folder: Path, made_by: str, modules: nn.Module, optimizer: torch.optim.Optimizer, history: PretrainingHistory
) -> tuple[float, int, dict[str, Tensor]]:
    path = folder / STATE
    if not path.exists():
        return math.inf, 0, snapshot(modules)
    tensors, notes = load_tensors(path)
    if notes["made_by"] != made_by:
        raise CheckpointError(
            f"{folder} holds the unfinished state of another training ({notes['made_by']}; this one is {made_by}). "
            "Delete that folder, or name another --out."
        )
    modules.load_state_dict({name[4:]: t for name, t in tensors.items() if name.startswith("now/")})
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer/"):
            _, number, slot = name.split("/")
            slots.setdefault(int(number), {})[slot] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
    history.curves, history.best_epoch = notes["curves"], notes["best_epoch"]
    best = {name[5:]: t for name, t in tensors.items() if name.startswith("best/")}
    return notes["best_loss"], notes["bad_epochs"], best
