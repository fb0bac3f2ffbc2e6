"""Pre-training: the paper's optimisation against an independent loop, repeatability and resumption to the bit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from emoviews import pretraining
from emoviews.augmentation import Augmentation
from emoviews.batching import StoredValues, ViewData, shuffled_batches
from emoviews.configs import PretrainingConfig
from emoviews.encoders import make_encoder
from emoviews.errors import CheckpointError, TrainingError, UsageError
from emoviews.heads import ProjectionHead
from emoviews.losses import make_loss
from emoviews.losses.supcon import SupCon
from emoviews.pretraining import PretrainingHistory, ViewModel, computed_in, pretrain
from emoviews.seeds import derive_seed
from emoviews.store import ViewStore
from emoviews.types import ViewSpec

QUICK = PretrainingConfig(batch_size=16, epochs=4)
TRAIN, VALIDATION = np.arange(72), np.arange(72, 96)


class Stop(Exception):
    """As if the process were killed."""


@pytest.fixture(scope="module")
def data(toy: Any) -> dict[str, ViewData]:
    views = {"mel": 0, "cepstrum": 1}
    requests = [request.make().spec for request in toy.config(Path()).views]
    return {label: ViewData(ViewStore(toy.store, requests[number]), toy.keys) for label, number in views.items()}


def fresh(data: Mapping[str, ViewData], seed: int = 0, dropout: float = 0.2) -> dict[str, ViewModel]:
    torch.manual_seed(seed)
    models = {}
    for label, view in data.items():
        encoder = make_encoder(view.spec, channels=(16, 16), kernels=(3, 3), strides=(1, 1), dropout=dropout)
        models[label] = ViewModel(encoder, ProjectionHead(encoder.dim, 32, 16), view.fit_scaler(TRAIN))
    return models


def weights(models: Mapping[str, ViewModel]) -> dict[str, Tensor]:
    modules = nn.ModuleDict({v: nn.ModuleList([m.encoder, m.head]) for v, m in models.items()})
    return {name: tensor.clone() for name, tensor in modules.state_dict().items()}


def run(
    data: Mapping[str, ViewData], config: PretrainingConfig = QUICK, init: int = 0, **changes: Any
) -> tuple[dict[str, Tensor], PretrainingHistory]:
    models = fresh(data, init)
    settings = {"train": TRAIN, "validation": VALIDATION, "seed": 0, **changes}
    history = pretrain(data, models, config=config, **settings)
    return weights(models), history


def equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def naive_loss(first: Tensor, second: Tensor, temperature: float, negatives: str) -> Tensor:
    """Equations 1 and 2, an anchor at a time."""
    u, v = nn.functional.normalize(first, dim=1), nn.functional.normalize(second, dim=1)
    total = torch.zeros((), dtype=u.dtype)
    for anchors, others in ((u, v), (v, u)):
        for i in range(len(u)):
            terms = [anchors[i] @ others[j] / temperature for j in range(len(u))]
            if negatives == "both":
                terms += [anchors[i] @ anchors[j] / temperature for j in range(len(u)) if j != i]
            total = total + torch.logsumexp(torch.stack(terms), 0) - anchors[i] @ others[i] / temperature
    return total / (2 * len(u))


class Spy(ViewData):
    """Notes which utterances are read."""

    def __init__(self, view: ViewData, log: list[list[int]]) -> None:
        self.__dict__.update(view.__dict__)
        self.log = log

    def batch(self, indices: Any, scaler: Any = None) -> Any:
        self.log.append([int(i) for i in indices])
        return super().batch(indices, scaler)


def test_equal_seeds_give_equal_bits(data: dict[str, ViewData]) -> None:
    (a, first), (b, second), (c, third) = run(data), run(data), run(data, seed=1)
    assert equal(a, b)
    assert first == second
    assert not equal(a, c)
    assert first.curves[0]["train_loss"] != third.curves[0]["train_loss"]


def test_training_leaves_the_global_generator_alone(data: dict[str, ViewData]) -> None:
    models = fresh(data)
    before = torch.random.get_rng_state()
    pretrain(data, models, TRAIN, VALIDATION, dataclasses.replace(QUICK, epochs=1), seed=0)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(("temperature", "negatives"), [(0.5, "both"), (0.1, "both"), (1.0, "cross_view")])
def test_an_independent_loop_gives_the_same_weights(
    data: dict[str, ViewData], temperature: float, negatives: Any
) -> None:
    config = PretrainingConfig(temperature=temperature, negatives=negatives, batch_size=30, epochs=2, patience=5)
    # In float64: Adam divides by the gradient's size, and makes much of the last digit of a gradient near zero.
    models, mine = fresh(data, dropout=0.0), fresh(data, dropout=0.0)
    for model in (*models.values(), *mine.values()):
        model.encoder.double()
        model.head.double()
    history = pretrain(data, models, TRAIN, VALIDATION[:20], config, seed=3)

    modules = nn.ModuleList([nn.ModuleList([m.encoder, m.head]) for m in mine.values()])
    optimizer = torch.optim.Adam(modules.parameters(), lr=1e-3)
    snapshots, curve = [], []
    for epoch in range(2):
        order = np.random.default_rng(derive_seed(3, "batches", epoch)).permutation(TRAIN)
        losses = []
        for batch in (order[:30], order[30:60]):  # 12 are left over
            projected = [m.head(m.encoder(data[v].batch(batch, m.scaler))) for v, m in mine.items()]
            loss = naive_loss(*projected, temperature, negatives)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        curve.append(np.mean(losses))
        with torch.no_grad():
            projected = [m.head(m.encoder(data[v].batch(VALIDATION[:20], m.scaler))) for v, m in mine.items()]
            snapshots.append((naive_loss(*projected, temperature, negatives).item(), weights(mine)))
    assert [row["train_loss"] for row in history.curves] == pytest.approx(curve, abs=1e-12)
    assert [row["validation_loss"] for row in history.curves] == pytest.approx([s[0] for s in snapshots], abs=1e-12)
    best = min(snapshots, key=lambda s: s[0])[1]
    for name, tensor in weights(models).items():
        torch.testing.assert_close(tensor, best[name], atol=1e-9, rtol=0)


def test_batches_are_full_shuffled_and_never_of_others(data: dict[str, ViewData]) -> None:
    logs: dict[str, list[list[int]]] = {label: [] for label in data}
    run({label: Spy(view, logs[label]) for label, view in data.items()}, dataclasses.replace(QUICK, batch_size=10))
    assert logs["mel"] == logs["cepstrum"], "the views of a batch are not of the same utterances"
    epochs = [logs["mel"][i : i + 9] for i in range(0, len(logs["mel"]), 9)]
    assert len(epochs) == QUICK.epochs
    for batches in epochs:
        assert all(len(batch) == 10 for batch in batches)
        trained = [i for batch in batches[:7] for i in batch]
        assert len(set(trained)) == 70
        assert set(trained) <= set(TRAIN)
        assert set(batches[7] + batches[8]) <= set(VALIDATION)
        assert batches[7:] == epochs[0][7:], "the composition of validation batches changed"
    assert epochs[0][:7] != epochs[1][:7]


def test_fewer_utterances_than_a_batch_are_one_batch(data: dict[str, ViewData]) -> None:
    logs: list[list[int]] = []
    spied = {label: Spy(view, logs) for label, view in data.items()}
    run(spied, dataclasses.replace(QUICK, batch_size=128, epochs=1))
    assert sorted(map(len, logs)) == [24, 24, 72, 72]


@pytest.mark.parametrize("stop_after", [1, 3, 4])
def test_a_stopped_training_goes_on_to_the_same_bits(
    data: dict[str, ViewData], tmp_path: Path, stop_after: int
) -> None:
    undisturbed = run(data, init=1)
    told: list[dict[str, float]] = []

    def stop(row: dict[str, float]) -> None:
        told.append(row)
        if len(told) == stop_after:
            raise Stop

    state = tmp_path / "state"
    with pytest.raises(Stop):
        run(data, init=1, state=state, state_of="job", on_epoch=stop)
    assert [p.name for p in state.iterdir()] == [pretraining.STATE]
    (state / f".{pretraining.STATE}.1234.tmp").touch()  # left by a write that was killed
    resumed = run(data, init=2, state=state, state_of="job", on_epoch=told.append)  # other initial weights: overwritten
    assert equal(undisturbed[0], resumed[0])
    assert undisturbed[1] == resumed[1]
    assert told == undisturbed[1].curves
    assert not state.exists()


def test_what_decides_when_to_stop_is_resumed_too(data: dict[str, ViewData], tmp_path: Path) -> None:
    config = dataclasses.replace(QUICK, epochs=60, patience=2, learning_rate=0.02)
    undisturbed = run(data, config)
    assert undisturbed[1].epochs_run < 60

    def stop(row: dict[str, float]) -> None:
        raise Stop

    for _ in range(undisturbed[1].epochs_run):  # killed after every single epoch
        with pytest.raises(Stop):
            run(data, config, state=tmp_path / "s", on_epoch=stop)
    resumed = run(data, config, state=tmp_path / "s", on_epoch=stop)
    assert equal(undisturbed[0], resumed[0])
    assert undisturbed[1] == resumed[1]


@pytest.mark.parametrize(
    ("changes", "config", "named"),
    [
        ({"state_of": "other"}, QUICK, ("job", "other")),
        ({"seed": 1}, QUICK, ("seed 0", "seed 1")),
        ({"train": TRAIN[1:]}, QUICK, ("utterances",)),
        ({"validation": VALIDATION[1:]}, QUICK, ("utterances",)),
        ({}, dataclasses.replace(QUICK, temperature=0.1), ("'temperature': 0.5", "'temperature': 0.1")),
    ],
)
def test_the_state_of_another_training_is_refused(
    data: dict[str, ViewData], tmp_path: Path, changes: dict[str, Any], config: PretrainingConfig, named: Any
) -> None:
    def stop(row: dict[str, float]) -> None:
        raise Stop

    with pytest.raises(Stop):
        run(data, state=tmp_path / "s", state_of="job", on_epoch=stop)
    with pytest.raises(CheckpointError, match="another training") as caught:
        run(data, config, **{"state": tmp_path / "s", "state_of": "job", **changes})
    assert all(value in str(caught.value) for value in named)
    assert (tmp_path / "s" / pretraining.STATE).exists()


def test_stops_after_patience_and_leaves_the_best_epoch(data: dict[str, ViewData]) -> None:
    config = dataclasses.replace(QUICK, epochs=60, patience=3, learning_rate=0.02)
    models = fresh(data)
    history = pretrain(data, models, TRAIN, VALIDATION, config, seed=0)
    losses = [row["validation_loss"] for row in history.curves]
    assert history.epochs_run == history.best_epoch + 3 < 60
    assert history.best_epoch == int(np.argmin(losses)) + 1
    batches = shuffled_batches(VALIDATION, 16, np.random.default_rng(derive_seed("validation")), drop_last=True)
    with torch.no_grad():
        assert not any(m.encoder.training or m.head.training for m in models.values())
        again = [
            naive_loss(*(m.head(m.encoder(data[v].batch(b, m.scaler))) for v, m in models.items()), 0.5, "both")
            for b in batches
        ]
    assert float(np.mean(again)) == pytest.approx(min(losses), abs=1e-5)


def test_without_validation_every_epoch_is_trained_and_the_last_kept(data: dict[str, ViewData]) -> None:
    config = dataclasses.replace(QUICK, epochs=3, patience=1)
    kept, history = run(data, config, validation=[])
    assert (history.epochs_run, history.best_epoch) == (3, 3)
    assert "validation_loss" not in history.curves[0]
    assert not equal(kept, run(data, dataclasses.replace(config, epochs=2), validation=[])[0])


def test_it_learns_what_unseen_utterances_have_in_common(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    latent = rng.normal(size=(460, 6))
    views: dict[str, ViewData] = {}
    for label, size in (("one", 20), ("two", 12)):
        values = np.tanh(latent @ rng.normal(size=(6, size))) + 0.1 * rng.normal(size=(460, size))
        store = ViewStore(tmp_path, ViewSpec(label, 1, {}, ("features",), (size,), "float32", None))
        store.add({str(i): row.astype(np.float32) for i, row in enumerate(values)})
        views[label] = ViewData(store, [str(i) for i in range(460)])
    torch.manual_seed(0)
    models = {}
    for label, view in views.items():
        encoder = make_encoder(view.spec, hidden=(32,), dim=32)
        models[label] = ViewModel(encoder, ProjectionHead(32, 32, 16), view.fit_scaler(range(360)))
    unseen = np.arange(400, 460)

    def retrieval() -> float:
        with torch.no_grad():
            a, b = (
                nn.functional.normalize(m.head(m.encoder(views[v].batch(unseen, m.scaler))), dim=1)
                for v, m in models.items()
            )
        return float(((a @ b.T).argmax(dim=1) == torch.arange(60)).float().mean())

    before = retrieval()
    config = PretrainingConfig(batch_size=60, epochs=60, learning_rate=0.003)
    history = pretrain(views, models, np.arange(360), np.arange(360, 400), config, seed=0)
    assert before < 0.15  # chance is 1/60
    assert retrieval() > 0.6
    assert history.curves[-1]["train_loss"] < 0.75 * history.curves[0]["train_loss"]


def test_layers_that_stay_in_the_store_are_trained_on_as_those_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layered = ViewSpec("layered", 1, {}, ("layers", "frames", "features"), (3, 0, 40), "float16", 50.0)
    flat = ViewSpec("flat", 1, {}, ("features",), (6,), "float32", None)
    stores, rng, keys = {s.name: ViewStore(tmp_path, s) for s in (layered, flat)}, np.random.default_rng(0), []
    for i in range(48):
        keys.append(f"k{i}")
        stores["layered"].add({keys[-1]: rng.standard_normal((3, rng.integers(2, 30), 40)).astype(np.float16)})
        stores["flat"].add({keys[-1]: rng.standard_normal(6).astype(np.float32)})
    read: list[int] = []
    blocks = StoredValues.blocks

    def counted(self: StoredValues, dtype: torch.dtype) -> Any:
        read.append(self.shape[1])
        return blocks(self, dtype)

    monkeypatch.setattr(StoredValues, "blocks", counted)
    found = []
    for resident_bytes in (10**9, 0):
        read.clear()
        views = {name: ViewData(store, keys, resident_bytes) for name, store in stores.items()}
        torch.manual_seed(0)
        models = {}
        for name, view in views.items():
            encoder = make_encoder(view.spec)
            models[name] = ViewModel(encoder, ProjectionHead(encoder.dim, 32, 16), view.fit_scaler(range(32)))
        history = pretrain(views, models, range(32), range(32, 48), QUICK, seed=0)
        found.append((weights(models), history.curves))
    # two training batches, each read forwards and backwards, and one to validate, an epoch
    assert len(read) == QUICK.epochs * (2 * 2 + 1)
    (a, kept), (b, stored) = found
    for row, other in zip(kept, stored, strict=True):
        assert row == pytest.approx(other, rel=1e-4)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=2e-4)


def test_the_curves_name_every_pair(data: dict[str, ViewData]) -> None:
    third = {**data, "again": data["mel"]}
    row = run(third, dataclasses.replace(QUICK, epochs=1))[1].curves[0]
    pairs = [name.removeprefix("train_loss ") for name in row if name.startswith("train_loss ")]
    assert pairs == ["mel|cepstrum", "mel|again", "cepstrum|again"]
    assert row["train_loss"] == pytest.approx(np.mean([row[f"train_loss {pair}"] for pair in pairs]), rel=1e-5)


def test_what_can_not_be_trained_is_refused(data: dict[str, ViewData]) -> None:
    with pytest.raises(UsageError, match="at least 2; got mel"):
        run({"mel": data["mel"]})
    with pytest.raises(UsageError, match="at least 2 utterances; got 1"):
        run(data, train=[4])
    with pytest.raises(UsageError, match=r"needs at least 2 of them \(or none\); got 1"):
        run(data, validation=[80])


def test_a_loss_that_is_no_number_ends_it_and_is_not_in_the_way(data: dict[str, ViewData], tmp_path: Path) -> None:
    wild = dataclasses.replace(QUICK, learning_rate=1e30)
    with pytest.raises(TrainingError, match=r"loss is nan in epoch .*now 1e\+30.*now 0.5"):
        run(data, wild, state=tmp_path / "s")
    assert not (tmp_path / "s").exists()
    assert math.isfinite(run(data, state=tmp_path / "s")[1].curves[-1]["train_loss"])


def test_only_a_loss_with_a_temperature_is_told_to_raise_it(data: dict[str, ViewData]) -> None:
    wild = dataclasses.replace(QUICK, learning_rate=1e30)
    with pytest.raises(TrainingError, match=r"higher temperature \(now 0.1\)"):
        run(data, wild.with_loss("supcon"), labels=np.arange(120) % 3)
    with pytest.raises(TrainingError) as caught:
        run(data, wild.with_loss("vicreg"))
    assert "lower learning rate (now 1e+30)." in str(caught.value)
    assert "temperature" not in str(caught.value)


# Other losses, and labels


def test_the_settings_of_a_loss_reach_it(data: dict[str, ViewData]) -> None:
    """Each of them changes what is trained; none is set and then ignored."""
    for loss, changes in {
        "supcon": {"temperature": 0.5},
        "vicreg": {"invariance_weight": 1.0, "variance_weight": 1.0, "covariance_weight": 5.0},
        "barlow_twins": {"redundancy_weight": 1.0},
    }.items():
        labels = {"labels": np.arange(120) % 3} if loss == "supcon" else {}
        plain, history = run(data, QUICK.with_loss(loss), **labels)
        assert history.epochs_run == 4
        for name, value in changes.items():
            assert not equal(plain, run(data, QUICK.with_loss(loss, **{name: value}), **labels)[0]), (loss, name)


def test_every_batch_gets_its_own_labels(data: dict[str, ViewData], monkeypatch: pytest.MonkeyPatch) -> None:
    """With labels that name the utterance, the loss is told exactly the batches that are drawn."""
    seen: list[list[int]] = []
    forward = SupCon.forward

    def spy(self: Any, projections: Any, labels: Any = None, present: Any = None) -> Any:
        seen.append(labels.tolist())
        return forward(self, projections, labels, present)

    monkeypatch.setattr(SupCon, "forward", spy)
    labels = np.arange(120)
    labels[1] = 0  # two that share one
    run(data, dataclasses.replace(QUICK, epochs=1).with_loss("supcon"), labels=labels)
    generator = np.random.default_rng(derive_seed(0, "batches", 0))
    expected = [labels[batch].tolist() for batch in shuffled_batches(TRAIN, 16, generator, drop_last=True)]
    generator = np.random.default_rng(derive_seed("validation"))
    expected += [labels[batch].tolist() for batch in shuffled_batches(VALIDATION, 16, generator, drop_last=True)]
    assert seen == expected


def test_labels_change_what_is_trained_and_others_are_another_training(
    data: dict[str, ViewData], tmp_path: Path
) -> None:
    supcon, labels = QUICK.with_loss("supcon"), np.arange(120) % 3

    def stop(row: dict[str, float]) -> None:
        raise Stop

    with pytest.raises(Stop):
        run(data, supcon, labels=labels, state=tmp_path / "s", on_epoch=stop)
    with pytest.raises(CheckpointError, match="another training"):
        run(data, supcon, labels=(labels + 1) % 3, state=tmp_path / "s")
    resumed, _ = run(data, supcon, labels=labels, state=tmp_path / "s")
    assert equal(resumed, run(data, supcon, labels=labels)[0])
    few = np.where(np.isin(np.arange(120), [3, 6]), 0, -1)
    assert not equal(resumed, run(data, supcon, labels=few)[0])


def test_labels_that_do_not_suit_the_loss_are_refused(data: dict[str, ViewData]) -> None:
    supcon, labels = QUICK.with_loss("supcon"), np.arange(120) % 3
    with pytest.raises(UsageError, match="pairwise_nt_xent uses no labels, but labels are given"):
        run(data, labels=labels)
    with pytest.raises(UsageError, match="supcon uses labels; none are given"):
        run(data, supcon)
    with pytest.raises(UsageError, match=r"for each of 120 utterances; got \(119,\)"):
        run(data, supcon, labels=labels[1:])
    held_out = np.where(np.arange(120) < 72, -1, labels)
    with pytest.raises(UsageError, match="of 72 utterances to train on 0 have a label"):
        run(data, supcon, labels=held_out)
    held_out[:3] = [0, 1, 2]
    with pytest.raises(UsageError, match="3 have a label, and no two of them the same"):
        run(data, supcon, labels=held_out)
    with pytest.raises(UsageError, match="vicreg has no bogus"):
        make_loss("vicreg", bogus=1.0)


# One view: two augmented versions of each utterance


@pytest.fixture(scope="module")
def single(data: dict[str, ViewData]) -> dict[str, ViewData]:
    return {"mel": data["mel"]}


FRAMEWISE = Augmentation(("frames", "features"))


def copies(view: ViewData, batch: Any, scaler: Any, *seeded_by: object) -> list[Any]:
    """By hand: the seeds that the two versions of a batch are promised to have."""
    seeds = [derive_seed("augmentation", *seeded_by, f"copy {n}") for n in (1, 2)]
    return [FRAMEWISE(view.batch(batch, scaler), np.random.default_rng(seed)) for seed in seeds]


def test_one_view_is_the_training_of_two_augmented_versions(single: dict[str, ViewData]) -> None:
    config = PretrainingConfig(batch_size=30, epochs=2, patience=5)
    models, mine = fresh(single, dropout=0.0), fresh(single, dropout=0.0)["mel"]
    for model in (models["mel"], mine):
        model.encoder.double()
        model.head.double()
    history = pretrain(single, models, TRAIN, VALIDATION[:20], config, seed=3, augment=FRAMEWISE)

    view, both = single["mel"], nn.ModuleList([mine.encoder, mine.head])
    optimizer = torch.optim.Adam(both.parameters(), lr=1e-3)

    def loss(batch: Any, *seeded_by: object) -> Tensor:
        a, b = (mine.head(mine.encoder(copy)) for copy in copies(view, batch, mine.scaler, *seeded_by))
        return naive_loss(a, b, 0.5, "both")

    # Validation batches are drawn without the job's seed, and so are their augmented versions.
    (fixed,) = shuffled_batches(VALIDATION[:20], 30, np.random.default_rng(derive_seed("validation")), drop_last=True)
    snapshots = []
    for epoch in range(2):
        order = np.random.default_rng(derive_seed(3, "batches", epoch)).permutation(TRAIN)
        for number, batch in enumerate((order[:30], order[30:60])):
            value = loss(batch, 3, epoch, number)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        with torch.no_grad():
            snapshots.append((loss(fixed, "validation", 0).item(), weights({"mel": mine})))
    assert [row["validation_loss"] for row in history.curves] == pytest.approx([s[0] for s in snapshots], abs=1e-12)
    best = min(snapshots, key=lambda s: s[0])[1]
    for name, tensor in weights(models).items():
        torch.testing.assert_close(tensor, best[name], atol=1e-9, rtol=0)
    assert {name for name in history.curves[0] if "|" in name} == {
        "train_loss mel copy 1|mel copy 2",
        "validation_loss mel copy 1|mel copy 2",
    }


class Counting(Augmentation):
    """Notes what the generators that it is given draw first."""

    def __call__(self, batch: Any, generator: np.random.Generator) -> Any:
        self.__dict__.setdefault("first", []).append(generator.bit_generator.state["state"]["state"])
        return super().__call__(batch, generator)


def test_every_copy_batch_and_epoch_is_drawn_anew_and_validation_never(single: dict[str, ViewData]) -> None:
    def drawn(seed: int) -> list[list[int]]:
        counting = Counting(FRAMEWISE.axes)
        run(single, dataclasses.replace(QUICK, epochs=3), augment=counting, seed=seed)
        per_epoch = 2 * (4 + 1)  # copies, batches of 16 to train and one to validate
        first = counting.__dict__["first"]
        assert len(first) == 3 * per_epoch
        return [first[i : i + per_epoch] for i in range(0, len(first), per_epoch)]

    epochs, others = drawn(0), drawn(1)
    trained = [state for epoch in epochs for state in epoch[:8]]
    assert len(set(trained)) == len(trained)
    assert not set(trained) & {state for epoch in others for state in epoch[:8]}
    assert epochs[0][8:] == epochs[1][8:] == epochs[2][8:] == others[0][8:]
    assert epochs[0][8] != epochs[0][9]


@pytest.mark.parametrize("stop_after", [1, 2])
def test_a_stopped_training_of_one_view_goes_on_to_the_same_bits(
    single: dict[str, ViewData], tmp_path: Path, stop_after: int
) -> None:
    config = dataclasses.replace(QUICK, epochs=3)
    undisturbed = run(single, config, init=1, augment=FRAMEWISE)
    assert undisturbed[1] == run(single, config, init=1, augment=FRAMEWISE)[1]
    told: list[Any] = []

    def stop(row: dict[str, float]) -> None:
        told.append(row)
        if len(told) == stop_after:
            raise Stop

    state = tmp_path / "s"
    with pytest.raises(Stop):
        run(single, config, init=1, augment=FRAMEWISE, state=state, on_epoch=stop)
    with pytest.raises(CheckpointError, match=r"another training .*crop=0\.6.*crop=0\.9"):
        run(single, config, augment=Augmentation(FRAMEWISE.axes, crop=0.9), state=state)
    resumed = run(single, config, init=2, augment=FRAMEWISE, state=state)
    assert equal(undisturbed[0], resumed[0])
    assert undisturbed[1] == resumed[1]


def test_augmented_versions_are_of_one_view_alone(data: dict[str, ViewData]) -> None:
    with pytest.raises(UsageError, match="versions of one view are aligned; got 2 views: mel, cepstrum"):
        run(data, augment=FRAMEWISE)
    with pytest.raises(UsageError, match="got 0 views: none"):
        run({}, augment=FRAMEWISE)


def test_one_view_learns_to_tell_utterances_apart_however_they_are_augmented(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    values = np.tanh(rng.normal(size=(300, 8)) @ rng.normal(size=(8, 40))) + 0.1 * rng.normal(size=(300, 40))
    store = ViewStore(tmp_path, ViewSpec("one", 1, {}, ("features",), (40,), "float32", None))
    store.add({str(i): row.astype(np.float32) for i, row in enumerate(values)})
    view = {"one": ViewData(store, [str(i) for i in range(300)])}
    torch.manual_seed(0)
    encoder = make_encoder(view["one"].spec, hidden=(32,), dim=32)
    model = ViewModel(encoder, ProjectionHead(32, 32, 16), view["one"].fit_scaler(range(200)))
    augment, unseen = Augmentation(("features",)), np.arange(240, 300)

    def retrieval() -> float:
        batch = view["one"].batch(unseen, model.scaler)
        with torch.no_grad():
            a, b = (
                nn.functional.normalize(model.head(model.encoder(augment(batch, np.random.default_rng(n)))), dim=1)
                for n in (1, 2)
            )
        return float(((a @ b.T).argmax(dim=1) == torch.arange(60)).float().mean())

    before = retrieval()
    config = PretrainingConfig(batch_size=50, epochs=60, learning_rate=0.003)
    pretrain(view, {"one": model}, np.arange(200), np.arange(200, 240), config, seed=0, augment=augment)
    assert retrieval() > before + 0.15


def test_mixed_precision_is_refused_on_a_cpu() -> None:
    with computed_in("float32", "cpu"):
        pass
    with pytest.raises(UsageError, match="Mixed precision is for GPUs"), computed_in("mixed", "cpu"):
        pass
