"""Fine-tuning: the paper's rules against torch's scheduler and an independent loop, repeatability, what is kept."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor, nn

from emoviews.batching import Scaler, ViewData
from emoviews.configs import FineTuningConfig
from emoviews.encoders import Encoder, make_encoder
from emoviews.errors import TrainingError, UsageError
from emoviews.finetuning import FineTuningHistory, Plateau, embed, finetune, predict_probabilities
from emoviews.heads import Classifier
from emoviews.seeds import derive_seed
from emoviews.store import ViewStore

TRAIN, VALIDATION, TEST = np.arange(0, 72, 2), np.arange(72, 96), np.arange(96, 120)
QUICK = FineTuningConfig(batch_size=16, epochs=6)


@pytest.fixture(scope="module")
def data(toy: Any) -> ViewData:
    return ViewData(ViewStore(toy.store, toy.config(Path()).views[0].make().spec), toy.keys)


@pytest.fixture(scope="module")
def labels(toy: Any) -> np.ndarray:
    return np.unique(toy.table["emotion"].to_numpy().astype(str), return_inverse=True)[1].astype(np.int64)


@pytest.fixture(scope="module")
def scaler(data: ViewData) -> Scaler:
    return data.fit_scaler(TRAIN)


def fresh(data: ViewData, dropout: float = 0.2) -> tuple[Encoder, Classifier]:
    torch.manual_seed(0)
    encoder = make_encoder(data.spec, channels=(16, 16), kernels=(3, 3), strides=(1, 1), dropout=dropout)
    return encoder, Classifier(16, 3)


def run(
    data: ViewData, labels: np.ndarray, config: FineTuningConfig = QUICK, **changes: Any
) -> tuple[Encoder, Classifier, FineTuningHistory]:
    encoder, classifier = fresh(data)
    settings = {"train": TRAIN, "validation": VALIDATION, "scaler": None, "frozen": False, "seed": 0, **changes}
    return encoder, classifier, finetune(data, labels, encoder, classifier, config=config, **settings)


def equal(a: nn.Module, b: nn.Module) -> bool:
    other = b.state_dict()
    return all(torch.equal(tensor, other[name]) for name, tensor in a.state_dict().items())


@pytest.mark.parametrize("seed", range(20))
def test_the_plateau_rule_is_that_of_torch(seed: int) -> None:
    """After every 5 epochs without a better UAR: torch's scheduler with a patience of 4, which counts one epoch more."""
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1e-3)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.9, patience=4, threshold=0.0, eps=0.0
    )
    plateau, best, since = Plateau(FineTuningConfig(patience=30)), -np.inf, 0
    for score in np.random.default_rng(seed).integers(0, 40, size=120) / 40:  # coarse, so that there are ties
        improved = plateau.update(float(score))
        scheduler.step(float(score))
        assert plateau.learning_rate == pytest.approx(scheduler.get_last_lr()[0], rel=1e-12)
        assert improved == (score > best)
        since = 0 if improved else since + 1
        best = max(best, score)
        assert plateau.exhausted == (since >= 30)


@pytest.mark.parametrize("frozen", [False, True])
def test_an_independent_loop_gives_the_same_weights(
    data: ViewData, labels: np.ndarray, scaler: Scaler, frozen: bool
) -> None:
    config = FineTuningConfig(batch_size=16, epochs=12, patience=9, decay_patience=2, decay=0.5, learning_rate=0.01)
    encoder, classifier = (module.double() for module in fresh(data, dropout=0.0))
    mine, head = copy.deepcopy(encoder), copy.deepcopy(classifier)
    if frozen:  # embeddings are kept in float32
        classifier, head = classifier.float(), head.float()
        encoder, mine = encoder.float(), mine.float()
    validation = VALIDATION[::3]  # few, so that epochs tie
    history = finetune(
        *(data, labels, encoder, classifier, TRAIN, validation, config), scaler=scaler, frozen=frozen, seed=4
    )

    parameters = list(head.parameters()) + ([] if frozen else list(mine.parameters()))
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    scores: list[float] = []
    best: dict[str, Tensor] = {}
    rates = []
    for epoch in range(12):
        rates.append(optimizer.param_groups[0]["lr"])
        order = np.random.default_rng(derive_seed(4, "batches", epoch)).permutation(TRAIN)
        for batch in (order[:16], order[16:32], order[32:]):
            logits = head(mine(data.batch(batch, scaler)))
            target = nn.functional.one_hot(torch.from_numpy(labels[batch]), 3)
            loss = -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            said = head(mine(data.batch(validation, scaler))).argmax(dim=1).numpy()
        scores.append(float(balanced_accuracy_score(labels[validation], said)))
        if scores[-1] > max(scores[:-1], default=-1.0):
            best = copy.deepcopy({**head.state_dict(), **{f"encoder.{k}": v for k, v in mine.state_dict().items()}})
            bad = 0
        else:
            bad += 1
            if bad % 2 == 0:
                optimizer.param_groups[0]["lr"] *= 0.5
            if bad == 9:
                break
    assert [row["validation_uar"] for row in history.curves] == pytest.approx(scores)
    assert [row["learning_rate"] for row in history.curves] == pytest.approx(rates)
    assert len(set(scores)) < len(scores)
    assert history.best_epoch == int(np.argmax(scores)) + 1  # argmax gives the first of equals
    kept = {**classifier.state_dict(), **{f"encoder.{k}": v for k, v in encoder.state_dict().items()}}
    for name, tensor in kept.items():
        torch.testing.assert_close(tensor, best[name], atol=1e-5 if frozen else 1e-10, rtol=0)


def test_frozen_leaves_the_encoder_and_is_a_head_on_its_embeddings(
    data: ViewData, labels: np.ndarray, tmp_path: Path
) -> None:
    before, _ = fresh(data)
    encoder, classifier, history = run(data, labels, frozen=True)
    assert equal(before, encoder)
    assert not encoder.training
    embedded = embed(data, encoder, scaler=None)
    store = ViewStore(tmp_path, dataclasses.replace(data.spec, axes=("features",), shape=(16,), dtype="float32"))
    store.add({key: row.numpy() for key, row in zip(data.keys, embedded, strict=True)})
    given = ViewData(store, data.keys)

    class Identity(Encoder):
        def forward(self, batch: Any) -> Tensor:
            return batch.values

    _, other = fresh(data)
    again = Identity((16,))
    curves = finetune(
        *(given, labels, again, other, TRAIN, VALIDATION, QUICK), scaler=None, frozen=False, seed=0
    ).curves
    assert [row["train_loss"] for row in curves] == pytest.approx([row["train_loss"] for row in history.curves])
    for name, tensor in classifier.state_dict().items():
        torch.testing.assert_close(tensor, other.state_dict()[name], atol=1e-6, rtol=0)


def test_tuned_changes_the_encoder(data: ViewData, labels: np.ndarray) -> None:
    assert not equal(fresh(data)[0], run(data, labels)[0])


def test_equal_seeds_give_equal_bits(data: ViewData, labels: np.ndarray) -> None:
    (a, head_a, first), (b, head_b, second), (c, _, third) = (run(data, labels, seed=seed) for seed in (0, 0, 1))
    assert equal(a, b)
    assert equal(head_a, head_b)
    assert first == second
    assert not equal(a, c)
    assert first.curves != third.curves


def test_the_best_epoch_is_left_and_training_stops(data: ViewData, labels: np.ndarray, scaler: Scaler) -> None:
    config = FineTuningConfig(epochs=200, patience=4)
    encoder, classifier, history = run(data, labels, config, scaler=scaler)
    scores = [row["validation_uar"] for row in history.curves]
    assert len(scores) == history.best_epoch + 4 < 200
    said = predict_probabilities(data, encoder, classifier, VALIDATION, scaler=scaler).argmax(axis=1)
    assert balanced_accuracy_score(labels[VALIDATION], said) == pytest.approx(max(scores))


def test_without_validation_every_epoch_is_trained_and_the_last_kept(data: ViewData, labels: np.ndarray) -> None:
    config = dataclasses.replace(QUICK, patience=1, decay_patience=1)
    encoder, _, history = run(data, labels, config, validation=[])
    assert (len(history.curves), history.best_epoch) == (6, 6)
    assert "validation_uar" not in history.curves[0]
    assert {row["learning_rate"] for row in history.curves} == {1e-3}
    assert not equal(encoder, run(data, labels, dataclasses.replace(config, epochs=5), validation=[])[0])


def test_it_learns_what_an_unseen_speaker_says(data: ViewData, labels: np.ndarray, scaler: Scaler) -> None:
    encoder, classifier, _ = run(
        data, labels, FineTuningConfig(batch_size=8, epochs=40, learning_rate=0.005), scaler=scaler
    )
    said = predict_probabilities(data, encoder, classifier, TEST, scaler=scaler).argmax(axis=1)
    assert balanced_accuracy_score(labels[TEST], said) > 0.85


def test_probabilities_are_the_softmax_in_the_order_asked(data: ViewData, scaler: Scaler) -> None:
    encoder, classifier = fresh(data)
    asked = [100, 3, 50, 3]
    given = predict_probabilities(data, encoder, classifier, asked, scaler=scaler)
    assert given.shape == (4, 3)
    np.testing.assert_allclose(given.sum(axis=1), 1.0, atol=1e-6)
    encoder.eval()
    with torch.no_grad():
        for row, index in zip(given, asked, strict=True):
            logits = classifier(encoder(data.batch([index], scaler)))[0].double().numpy()
            np.testing.assert_allclose(row, np.exp(logits) / np.exp(logits).sum(), atol=1e-6)


def test_embeddings_of_others_are_zero(data: ViewData) -> None:
    encoder, _ = fresh(data)
    whole, some = embed(data, encoder, scaler=None), embed(data, encoder, scaler=None, indices=np.array([7, 2]))
    assert torch.equal(some.abs().sum(dim=1).nonzero().flatten(), torch.tensor([2, 7]))
    torch.testing.assert_close(some[[2, 7]], whole[[2, 7]])


def test_what_can_not_be_learnt_from_is_refused(data: ViewData, labels: np.ndarray) -> None:
    with pytest.raises(UsageError, match="needs labelled utterances; got none"):
        run(data, labels, train=[])
    unlabelled = labels.copy()
    unlabelled[[4, 80]] = -1
    with pytest.raises(UsageError, match=r"to train on 1 utterances without a label .*row 4"):
        run(data, unlabelled)
    with pytest.raises(UsageError, match=r"to validate on 1 utterances without a label .*row 80"):
        run(data, unlabelled, train=[0, 2])


def test_a_loss_that_is_no_number_ends_it(data: ViewData, labels: np.ndarray) -> None:
    with pytest.raises(TrainingError, match=r"loss is nan in epoch .*now 1e\+30"):
        run(data, labels, dataclasses.replace(QUICK, learning_rate=1e30))
