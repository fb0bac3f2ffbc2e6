"""Banks: every model gets what training it alone would have given it."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from emoviews import ensembles
from emoviews.batching import ViewData
from emoviews.configs import FineTuningConfig
from emoviews.encoders import Encoder, make_encoder
from emoviews.ensembles import Member, finetune_many, predict_many
from emoviews.errors import TrainingError, UsageError
from emoviews.finetuning import FineTuningHistory, finetune, predict_probabilities
from emoviews.heads import Classifier
from emoviews.store import ViewStore, to_storage
from emoviews.types import FEATURES, FRAMES, LAYERS, ViewSpec

SPECS = {
    "mlp": ViewSpec("flat", 1, {}, (FEATURES,), (10,), "float32", None),
    "temporal_cnn": ViewSpec("framed", 1, {}, (FRAMES, FEATURES), (0, 16), "float16", 100.0),
    "layer_mix": ViewSpec("layered", 1, {}, (LAYERS, FRAMES, FEATURES), (3, 0, 8), "float16", 50.0),
}
EVERY = pytest.mark.parametrize("name", list(SPECS))
N, CLASSES = 90, 3
LABELS = np.arange(N) % CLASSES
SIZES: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": (12,), "dim": 7},
    "temporal_cnn": {"channels": (16, 16), "kernels": (3, 3), "strides": (2, 2)},
    "layer_mix": {"hidden": 9, "dim": 5},
}


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ViewData]:
    """A made-up view for each encoder: a class moves every feature a little; utterances differ in length."""
    rng = np.random.default_rng(0)
    found = {}
    for name, spec in SPECS.items():
        store = ViewStore(tmp_path_factory.mktemp(name), spec)
        keys = [f"{i:032x}" for i in range(N)]
        arrays = {}
        for key, label in zip(keys, LABELS, strict=True):
            shape = [
                rng.integers(3, 12) if axis == FRAMES else size
                for axis, size in zip(spec.axes, spec.shape, strict=True)
            ]
            arrays[key] = to_storage(
                (rng.normal(size=shape) + 0.4 * np.sin(label + np.arange(shape[-1]))).astype("f4"), spec
            )
        store.add(arrays)
        found[name] = ViewData(store, keys)
    return found


def members(
    name: str,
    count: int = 4,
    train: int = 20,
    dropout: float = 0.0,
    validation: str = "full",
    dtype: Any = torch.float64,
) -> list[Member]:
    """Each with weights, labels and a seed of its own; the first and the last share labels and seed."""
    made = []
    for m in range(count):
        torch.manual_seed(m)
        encoder = make_encoder(SPECS[name], dropout=dropout, **SIZES[name]).to(dtype)
        number = m % max(count - 1, 1)
        rows = np.random.default_rng(number).permutation(60)
        held = {"full": np.arange(60, 75), "budget": np.sort(rows[train : train + 6]), "none": np.arange(0)}[validation]
        made.append(
            Member(encoder, Classifier(encoder.dim, CLASSES).to(dtype), np.sort(rows[:train]), held, 10 + number)
        )
    return made


def alone(data: ViewData, bank: list[Member], config: FineTuningConfig, **named: Any) -> list[FineTuningHistory]:
    return [
        finetune(data, LABELS, m.encoder, m.classifier, m.train, m.validation, config, seed=m.seed, **named)
        for m in bank
    ]


def same(a: list[Member], b: list[Member], tolerance: float) -> None:
    for one, other in zip(a, b, strict=True):
        for mine, its in ((one.encoder, other.encoder), (one.classifier, other.classifier)):
            for (name, p), q in zip(mine.named_parameters(), its.parameters(), strict=True):
                torch.testing.assert_close(p, q, rtol=0, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}")


@EVERY
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(("validation", "dropout"), [("full", 0.0), ("budget", 0.0), ("none", 0.0), ("full", 0.3)])
def test_a_bank_is_its_models_one_by_one(
    views: dict[str, ViewData],
    name: str,
    frozen: bool,
    validation: str,
    dropout: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ensembles, "EVALUATION_FRAMES", 30)  # so that what validates comes in several blocks
    config = FineTuningConfig(batch_size=8, epochs=5, learning_rate=0.01, decay=0.5, decay_patience=1)
    data = views[name]
    scaler = data.fit_scaler(range(60))
    bank = members(name, validation=validation, dropout=dropout)
    single = copy.deepcopy(bank)
    want = alone(data, single, config, scaler=scaler, frozen=frozen)
    got = finetune_many(data, LABELS, bank, config, scaler=scaler, frozen=frozen)
    same(bank, single, 1e-9)
    for mine, its in zip(got, want, strict=True):
        assert isinstance(mine, FineTuningHistory)
        assert mine.best_epoch == its.best_epoch
        assert len(mine.curves) == len(its.curves) == 5
        for row, other in zip(mine.curves, its.curves, strict=True):
            assert row == pytest.approx(other, abs=1e-9)
    if validation != "none":
        assert len({row["learning_rate"] for h in want for row in h.curves}) > 2, "the rates did not come apart"


@EVERY
@pytest.mark.parametrize("frozen", [False, True])
def test_answers_are_those_of_the_models_one_by_one(views: dict[str, ViewData], name: str, frozen: bool) -> None:
    data, bank = views[name], members(name)
    if frozen:  # some share an encoder
        bank = [Member(bank[m // 2].encoder, b.classifier, b.train, b.validation, b.seed) for m, b in enumerate(bank)]
    scaler = data.fit_scaler(range(60))
    shared, own = [np.arange(70, 90)] * 4, [np.arange(m, 60 + m, 7) for m in range(4)]
    for rows in (shared, own):
        given = predict_many(data, bank, rows, scaler=scaler)
        for member, index, answer in zip(bank, rows, given, strict=True):
            want = predict_probabilities(data, member.encoder, member.classifier, index, scaler=scaler)
            np.testing.assert_allclose(answer, want, atol=1e-12)
    with pytest.raises(UsageError, match=r"equally many utterances each; got \[3, 4\]"):
        predict_many(data, bank[:2], [[1, 2, 3], [1, 2, 3, 4]], scaler=scaler)


@EVERY
def test_models_stop_each_in_its_own_epoch_and_keep_their_best(views: dict[str, ViewData], name: str) -> None:
    config = FineTuningConfig(batch_size=8, epochs=40, patience=3, learning_rate=0.02)
    bank = members(name, count=9, dropout=0.2)
    single = copy.deepcopy(bank)
    got = finetune_many(views[name], LABELS, bank, config, scaler=None, frozen=False)
    want = alone(views[name], single, config, scaler=None, frozen=False)
    assert [len(h.curves) for h in got if isinstance(h, FineTuningHistory)] == [len(h.curves) for h in want]
    assert len({len(h.curves) for h in want}) > 1, "they all stopped together"
    assert len({h.best_epoch for h in want}) > 1
    same(bank, single, 1e-7)


def test_in_float32_company_changes_no_bit(views: dict[str, ViewData]) -> None:
    """So that a run that was interrupted, or asked for more, gives the rows of an undisturbed one."""
    for name in SPECS:
        config = FineTuningConfig(batch_size=8, epochs=6)
        many, few = (members(name, 8, dropout=0.2, dtype=torch.float32) for _ in range(2))
        whole = finetune_many(views[name], LABELS, many, config, scaler=None, frozen=False)
        part = finetune_many(views[name], LABELS, few[1:3], config, scaler=None, frozen=False)
        same(many[1:3], few[1:3], 0.0)
        for one, other in zip(whole[1:3], part, strict=True):  # the losses that are told of are sums over other vectors
            assert isinstance(one, FineTuningHistory)
            assert isinstance(other, FineTuningHistory)
            assert one.best_epoch == other.best_epoch
            for row, its in zip(one.curves, other.curves, strict=True):
                assert row == pytest.approx(its, rel=1e-6)


def test_the_order_of_members_changes_nothing(views: dict[str, ViewData]) -> None:
    config, data = FineTuningConfig(batch_size=8, epochs=3), views["mlp"]
    bank, other = members("mlp", 5), members("mlp", 5)[::-1]
    assert finetune_many(data, LABELS, bank, config, scaler=None, frozen=False) == finetune_many(
        data, LABELS, other, config, scaler=None, frozen=False
    )[::-1]  # fmt: skip
    same(bank, other[::-1], 0.0)


def test_models_on_the_same_utterances_share_one_read(
    views: dict[str, ViewData], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    plain = ViewData.batch

    def counted(self: ViewData, indices: Any, *rest: Any) -> Any:
        read.append(len(indices))
        return plain(self, indices, *rest)

    monkeypatch.setattr(ViewData, "batch", counted)
    monkeypatch.setattr("emoviews.ensembles.RESIDENT_BYTES", 0)  # as a view that is too large to be kept
    config = FineTuningConfig(batch_size=8, epochs=1)
    finetune_many(views["layer_mix"], LABELS, members("layer_mix", 4), config, scaler=None, frozen=False)
    # Two at a time: the first and the last model share their batches, the others do not; both pairs share the validation group.
    assert read == [8, 8, 4, 15, 2 * 8, 2 * 8, 2 * 4, 15]


@EVERY
@pytest.mark.parametrize("stored", [False, True])
def test_what_does_not_fit_into_memory_is_read_batch_by_batch(
    views: dict[str, ViewData], name: str, stored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where not even the data are in memory: the layer mix then reads all its passes from the store."""
    config, data = FineTuningConfig(batch_size=8, epochs=2), views[name]
    scaler = data.fit_scaler(range(60))
    kept, read = members(name), members(name)
    finetune_many(data, LABELS, kept, config, scaler=scaler, frozen=False)
    monkeypatch.setattr("emoviews.ensembles.RESIDENT_BYTES", 0)
    if stored:
        data = ViewData(data._store, data.keys, resident_bytes=0)
    finetune_many(data, LABELS, read, config, scaler=scaler, frozen=False)
    # There the features are scaled in float64 as they are read, elsewhere in float32.
    same(kept, read, 1e-7 if stored and name == "layer_mix" else 0.0)
    given = [predict_many(d, read, [np.arange(75, N)] * 4, scaler=scaler) for d in (data, views[name])]
    np.testing.assert_allclose(*given, rtol=0, atol=1e-7)


@EVERY
def test_a_bank_is_its_models_one_by_one_where_nothing_is_in_memory(views: dict[str, ViewData], name: str) -> None:
    config = FineTuningConfig(batch_size=8, epochs=5, learning_rate=0.05)
    data = ViewData(views[name]._store, views[name].keys, resident_bytes=0)
    scaler = data.fit_scaler(range(60))
    bank = members(name)
    single = copy.deepcopy(bank)
    alone(data, single, config, scaler=scaler, frozen=False)
    finetune_many(data, LABELS, bank, config, scaler=scaler, frozen=False)
    same(bank, single, 1e-9)


@EVERY
def test_predictions_without_room_are_made_in_halves(
    views: dict[str, ViewData], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, rows = members(name, 7), [np.arange(75, N)] * 7
    want = predict_many(views[name], bank, rows, scaler=None)
    plain, sizes = ensembles._apply, []

    def small(encoders: Any, *given: Any) -> Any:
        sizes.append(len(encoders))
        if len(encoders) > 2:
            raise torch.cuda.OutOfMemoryError
        return plain(encoders, *given)

    monkeypatch.setattr(ensembles, "_apply", small)
    np.testing.assert_array_equal(predict_many(views[name], bank, rows, scaler=None), want)
    assert sizes == [7, 3, 1, 2, 4, 2, 2]


@EVERY
def test_a_loss_that_is_no_number_ends_that_model_only(views: dict[str, ViewData], name: str) -> None:
    config = FineTuningConfig(batch_size=8, epochs=4)
    bank, single = members(name), members(name)
    with torch.no_grad():
        next(iter(bank[1].classifier.parameters()))[0, 0] = torch.nan
    got = finetune_many(views[name], LABELS, bank, config, scaler=None, frozen=False)
    assert isinstance(got[1], TrainingError)
    assert "The fine-tuning loss is nan in epoch 1; try a lower learning rate (now 0.001)" in str(got[1])
    want = alone(views[name], single, config, scaler=None, frozen=False)
    others = [0, 2, 3]
    same([bank[m] for m in others], [single[m] for m in others], 1e-9)
    for m in others:
        history = got[m]
        assert isinstance(history, FineTuningHistory)
        assert len(history.curves) == len(want[m].curves) == 4


def test_out_of_memory_halves_the_bank_and_is_said_once(
    views: dict[str, ViewData], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ensembles, "_said_halved", False)
    sizes: list[int] = []
    plain = ensembles._Bank._train

    def small(self: Any, *given: Any) -> Any:
        sizes.append(len(self.live))
        if len(self.live) > 2:
            raise torch.cuda.OutOfMemoryError
        return plain(self, *given)

    config = FineTuningConfig(batch_size=8, epochs=2)
    bank, whole = members("mlp", 7), members("mlp", 7)
    want = finetune_many(views["mlp"], LABELS, whole, config, scaler=None, frozen=False)
    monkeypatch.setattr(ensembles._Bank, "_train", small)
    got = finetune_many(views["mlp"], LABELS, bank, config, scaler=None, frozen=False)
    assert sizes == [7, 3, 1, 1, 2, 2, 4, 2, 2, 2, 2]
    same(bank, whole, 1e-12)
    assert [len(h.curves) for h in got if isinstance(h, FineTuningHistory)] == [2] * 7 == [len(h.curves) for h in want]  # type: ignore[union-attr]
    said = capsys.readouterr().err
    assert said == "The GPU has no room for 7 models at a time; they are trained in halves.\n"

    def never(self: Any, *given: Any) -> Any:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(ensembles._Bank, "_train", never)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        finetune_many(views["mlp"], LABELS, members("mlp", 2), config, scaler=None, frozen=False)


def test_what_can_not_be_a_bank_is_refused(views: dict[str, ViewData]) -> None:
    config, data = FineTuningConfig(), views["mlp"]

    def refused(*bank: Member) -> Any:
        return finetune_many(data, LABELS, bank, config, scaler=None, frozen=False)

    assert refused() == []
    one, other = members("mlp", 2)
    shorter = dataclasses.replace(other, train=other.train[1:])
    with pytest.raises(
        UsageError, match=r"train on equally many .* got \(train, validation\) \[\(19, 15\), \(20, 15\)\]"
    ):
        refused(one, shorter)
    with pytest.raises(UsageError, match="needs labelled utterances; got none"):
        refused(one, dataclasses.replace(other, train=[]))

    class Plain(Encoder):
        name = "plain"
        axes = (FEATURES,)

    with pytest.raises(UsageError, match="Encoder 'plain' does not take stacked weights"):
        refused(dataclasses.replace(one, encoder=Plain((10,))))


def test_adam_is_that_of_torch_with_a_rate_for_each_model() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 3), (4,), (2, 4)]
    stacked = [torch.randn(5, *shape, dtype=torch.float64, generator=generator) for shape in shapes]
    single = [[nn.Parameter(s[m].clone()) for s in stacked] for m in range(5)]
    optimizers = [torch.optim.Adam(parameters) for parameters in single]
    mine, going = ensembles._Adam(stacked), [0, 1, 2, 3, 4]
    for step in range(6):
        if step == 3:
            going = [0, 2, 4]
            stacked = mine.keep(going)
        rates = [1e-3 * (1 + (m % 3) * (step > 0)) for m in going]  # all one rate at first
        gradients = [torch.randn(s.shape, dtype=torch.float64, generator=generator) for s in stacked]
        mine.step(gradients, rates)
        for place, (m, rate) in enumerate(zip(going, rates, strict=True)):
            for parameter, gradient in zip(single[m], gradients, strict=True):
                parameter.grad = gradient[place].clone()
            optimizers[m].param_groups[0]["lr"] = rate
            optimizers[m].step()
    for place, m in enumerate(going):
        for s, parameter in zip(stacked, single[m], strict=True):
            torch.testing.assert_close(s[place], parameter.detach(), rtol=0, atol=1e-12)
