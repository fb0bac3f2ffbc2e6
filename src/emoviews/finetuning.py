"""Encoder + labels → classifier: one model at a time, the plain reference (the paper, sections 2.2 and 3.3).

A classification head on the encoder, softmax cross-entropy, Adam at 1e-3, the learning rate times 0.9 after every 5 epochs
without a better validation UAR; the encoder is frozen or tuned. The weights of the epoch with the best validation UAR are
kept. The paper does not give batch size, epochs and patience; ours are 32, 100 and 30.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emoviews.batching import Indices, Scaler, ViewData, shuffled_batches
from emoviews.configs import FineTuningConfig
from emoviews.encoders import Encoder
from emoviews.errors import TrainingError, UsageError
from emoviews.metrics import mean_recall
from emoviews.pretraining import snapshot
from emoviews.seeds import derive_seed, torch_seed

EVALUATION_BATCH = 256


@dataclass
class FineTuningHistory:
    """A row of numbers an epoch (`train_loss`, `learning_rate`, `validation_uar`), and the epoch whose weights are kept."""

    curves: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0


@dataclass
class Plateau:
    """The paper's rule for stopping, keeping and slowing down, apart from any model.

    >>> plateau = Plateau(FineTuningConfig(decay_patience=2))
    >>> [plateau.update(score) for score in (0.5, 0.4, 0.4, 0.6)]
    [True, False, False, True]
    >>> round(plateau.learning_rate, 6), plateau.bad_epochs
    (0.0009, 0)
    """

    config: FineTuningConfig
    best: float = -math.inf
    bad_epochs: int = 0

    def __post_init__(self) -> None:
        self.learning_rate = self.config.learning_rate

    def update(self, score: float) -> bool:
        """Take an epoch's validation score; whether it is the best so far (ties are not)."""
        if score > self.best:
            self.best, self.bad_epochs = score, 0
            return True
        self.bad_epochs += 1
        if self.bad_epochs % self.config.decay_patience == 0:
            self.learning_rate *= self.config.decay
        return False

    @property
    def exhausted(self) -> bool:
        """Whether training should stop."""
        return self.bad_epochs >= self.config.patience


def validation_uar(truth: NDArray[np.int64], said: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """UAR of several models at once: `(models, rows)` class numbers, true and predicted → `(models,)`.

    The one that a training of one model and a bank of many compare epochs by, so that they agree to the last bit: a tie is no
    improvement.

    >>> validation_uar(np.array([[0, 0, 1], [0, 0, 1]]), np.array([[0, 1, 1], [1, 1, 1]]), classes=2)
    array([0.75, 0.5 ])
    """
    cells = truth + classes * np.arange(len(truth))[:, np.newaxis]  # a range of class numbers for each model
    totals, hits = (np.bincount(c, minlength=classes * len(truth)) for c in (cells.ravel(), cells[said == truth]))
    return mean_recall(hits.reshape(-1, classes), totals.reshape(-1, classes))


def check_labelled(labels: NDArray[np.int64], train: Indices, validation: Indices) -> None:
    """Refuse what nothing can be learnt from.

    Raises:
        UsageError: no utterance to train on, or one without a label.
    """
    if len(train) == 0:
        raise UsageError("Fine-tuning needs labelled utterances; got none. Label some, or raise the budget.")
    for part, indices in (("train", train), ("validate", validation)):
        if len(unlabelled := [int(i) for i in indices if labels[i] < 0]):
            raise UsageError(
                f"Fine-tuning was to {part} on {len(unlabelled)} utterances without a label (the first: row {unlabelled[0]}). "
                "Leave them out."
            )


def no_number(loss: float, epoch: int, config: FineTuningConfig) -> TrainingError:
    """The error of a training whose loss stopped being a number in `epoch`, counted from 0."""
    return TrainingError(
        f"The fine-tuning loss is {loss} in epoch {epoch + 1}; try a lower learning rate (now {config.learning_rate:g})."
    )


def finetune(
    data: ViewData,
    labels: NDArray[np.int64],
    encoder: Encoder,
    classifier: nn.Module,
    train: Indices,
    validation: Indices,
    config: FineTuningConfig,
    *,
    scaler: Scaler | None,
    frozen: bool,
    seed: int,
    device: str = "cpu",
) -> FineTuningHistory:
    """Train the classifier (and, unless frozen, the encoder) in place; on return they hold the best epoch's weights.

    Args:
        data: the view of all utterances.
        labels: `(n,)` class numbers of all utterances, -1 for unlabelled.
        encoder: pre-trained or freshly initialised.
        classifier: `(batch, dim)` → `(batch, classes)` logits.
        train: indices of the labelled utterances to train on.
        validation: indices whose UAR decides when to stop; empty to train all epochs and keep the last.
        config: the optimisation.
        scaler: z-scores of the encoder's input.
        frozen: only the head is trained; the encoder is applied once, without dropout.
        seed: decides batch orders and dropout.
        device: of the training.

    Raises:
        UsageError: no utterance to train on, or one without a label.
        TrainingError: the loss stopped being a number.
    """
    check_labelled(labels, train, validation)
    encoder.to(device)
    classifier.to(device)
    embedded = None
    if frozen:
        embedded = embed(data, encoder, scaler=scaler, device=device, indices=np.union1d(train, validation))
    trained = nn.ModuleList([classifier] if frozen else [encoder, classifier])
    optimizer = torch.optim.Adam(trained.parameters(), lr=config.learning_rate, fused=True)
    plateau, history, best = Plateau(config), FineTuningHistory(), snapshot(trained)
    targets = torch.from_numpy(labels).to(device)

    def logits(indices: NDArray[np.int64]) -> Tensor:
        if embedded is not None:
            return classifier(embedded[torch.from_numpy(indices)])  # type: ignore[no-any-return]
        return classifier(encoder(encoder.read(data, indices, scaler, device).to(device)))  # type: ignore[no-any-return]

    def validate() -> float:
        trained.eval()
        index = np.asarray(validation, dtype=np.int64)
        with torch.inference_mode():
            blocks = [logits(block).argmax(dim=1).cpu() for block in _blocks(index)]
        said = torch.cat(blocks).numpy()
        return float(validation_uar(labels[index][None], said[None], int(labels.max()) + 1)[0])

    with torch_seed(derive_seed(seed, "dropout")):
        for epoch in range(config.epochs):
            for group in optimizer.param_groups:
                group["lr"] = plateau.learning_rate
            order = np.random.default_rng(derive_seed(seed, "batches", epoch))
            total = 0.0
            trained.train()
            for batch in shuffled_batches(train, config.batch_size, order, drop_last=False):
                loss = nn.functional.cross_entropy(logits(batch), targets[torch.from_numpy(batch)])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                total += loss.item() * len(batch)
            row = {"train_loss": total / len(train), "learning_rate": plateau.learning_rate}
            if not math.isfinite(total):
                raise no_number(row["train_loss"], epoch, config)
            if len(validation) == 0:
                history.best_epoch, best = epoch + 1, snapshot(trained) if epoch + 1 == config.epochs else best
            else:
                row["validation_uar"] = validate()
                if plateau.update(row["validation_uar"]):
                    history.best_epoch, best = epoch + 1, snapshot(trained)
            history.curves.append(row)
            if plateau.exhausted:
                break
    trained.load_state_dict(best)
    encoder.eval()
    classifier.eval()
    return history


def embed(
    data: ViewData,
    encoder: Encoder,
    *,
    scaler: Scaler | None,
    device: str = "cpu",
    indices: NDArray[np.int64] | None = None,
) -> Tensor:
    """`(n, dim)` encoder outputs without dropout, on `device`; rows outside `indices` are zero. All rows when None."""
    index = np.arange(len(data)) if indices is None else np.asarray(indices, dtype=np.int64)
    encoder.to(device).eval()
    with torch.inference_mode():
        blocks = [encoder(encoder.read(data, block, scaler, device).to(device)) for block in _blocks(index)]
    if indices is None:
        return torch.cat(blocks)
    rows = torch.zeros(len(data), blocks[0].shape[1], device=device, dtype=blocks[0].dtype)
    rows[torch.from_numpy(index)] = torch.cat(blocks)
    return rows


def predict_probabilities(
    data: ViewData,
    encoder: Encoder,
    classifier: nn.Module,
    indices: Indices,
    *,
    scaler: Scaler | None,
    device: str = "cpu",
) -> NDArray[np.float32]:
    """Softmax probabilities `(len(indices), classes)`."""
    index = np.asarray(indices, dtype=np.int64)
    embedded = embed(data, encoder, scaler=scaler, device=device, indices=index)[torch.from_numpy(index)]
    classifier.to(device).eval()
    with torch.inference_mode():
        probabilities: NDArray[np.float32] = classifier(embedded).softmax(dim=1).cpu().numpy()
    return probabilities


def _blocks(index: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [index[i : i + EVALUATION_BATCH] for i in range(0, len(index), EVALUATION_BATCH)]
