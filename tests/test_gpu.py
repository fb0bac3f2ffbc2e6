"""On a GPU: the same numbers as on a CPU, and what happens where it has too little memory. Skipped where there is none."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.test_ensembles import EVERY, LABELS, SPECS, N, alone, members, same, views  # noqa: F401

from emoviews import batching, ensembles
from emoviews.batching import ViewData
from emoviews.configs import FineTuningConfig, PretrainingConfig
from emoviews.encoders import make_encoder
from emoviews.encoders._dropout import Dropout
from emoviews.ensembles import finetune_many, predict_many
from emoviews.finetuning import embed
from emoviews.heads import Classifier, ProjectionHead
from emoviews.pretraining import PretrainingHistory, ViewModel, pretrain
from emoviews.store import ViewStore, to_storage

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def on(members_: list[Any]) -> list[Any]:
    for member in members_:
        member.encoder.cpu()
        member.classifier.cpu()
    return members_


@EVERY
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("share", [batching.HELD_SHARE, 0.0], ids=["kept there", "moved"])
def test_a_bank_gives_what_a_cpu_gives(
    views: dict[str, ViewData],  # noqa: F811
    name: str,
    frozen: bool,
    share: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batching, "HELD_SHARE", share)
    data = ViewData(views[name]._store, views[name].keys)
    assert (data.held("cuda") is None) == (share == 0)
    config = FineTuningConfig(batch_size=8, epochs=5, learning_rate=0.01, decay=0.5, decay_patience=1)
    scaler = data.fit_scaler(range(60))
    bank = members(name)
    single = copy.deepcopy(bank)
    want = alone(data, single, config, scaler=scaler, frozen=frozen)
    got = finetune_many(data, LABELS, bank, config, scaler=scaler, frozen=frozen, device="cuda")
    # Scaling is in float32, in another order of operations where it is not kept there.
    same(on(bank), single, 1e-5)
    assert [len(h.curves) for h in got] == [len(h.curves) for h in want]  # type: ignore[union-attr]
    rows = [np.arange(75, N)] * 4
    here = predict_many(data, single, rows, scaler=scaler)
    there = predict_many(data, bank, rows, scaler=scaler, device="cuda")
    np.testing.assert_allclose(here, there, rtol=0, atol=1e-5)


def trained(data: dict[str, ViewData], **named: Any) -> tuple[PretrainingHistory, dict[str, ViewModel]]:
    models = {}
    for name, view in data.items():
        torch.manual_seed(1)
        encoder = make_encoder(SPECS[name], dropout=0.0)
        models[name] = ViewModel(encoder, ProjectionHead(encoder.dim), view.fit_scaler(range(60)))
    config = PretrainingConfig(epochs=6, batch_size=20)
    return pretrain(data, models, range(60), range(60, 80), config, seed=0, **named), models


@pytest.mark.parametrize("share", [batching.HELD_SHARE, 0.0], ids=["kept there", "moved"])
def test_pre_training_gives_what_a_cpu_gives(
    views: dict[str, ViewData],  # noqa: F811
    share: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batching, "HELD_SHARE", share)
    data = {name: ViewData(view._store, view.keys) for name, view in views.items()}
    want, here = trained(data)
    got, there = trained(data, device="cuda")
    exact = [[row[name] for name in sorted(row)] for row in want.curves]
    np.testing.assert_allclose([[row[n] for n in sorted(row)] for row in got.curves], exact, rtol=1e-4)
    rough, _ = trained(data, device="cuda", precision="mixed")
    found = np.array([[row[n] for n in sorted(row)] for row in rough.curves])
    np.testing.assert_allclose(found, exact, rtol=0.02)
    assert not np.allclose(found, exact, rtol=1e-6)  # it is another precision
    for name, view in data.items():
        rows = [embed(view, models[name].encoder, scaler=models[name].scaler, device=device).cpu()
                for models, device in ((here, "cpu"), (there, "cuda"))]  # fmt: skip
        torch.testing.assert_close(*rows, rtol=1e-3, atol=1e-4)


@EVERY
def test_a_view_that_is_kept_gives_the_batches_of_the_cpu(views: dict[str, ViewData], name: str) -> None:  # noqa: F811
    data, index = views[name], [5, 2, 2, 88, 0]
    for scaler in (None, data.fit_scaler(range(60))):
        want, got = data.batch(index, scaler), data.batch_on("cuda", index, scaler)
        assert got.values.device.type == "cuda"
        torch.testing.assert_close(got.values.cpu(), want.values, rtol=0, atol=1e-6)
        assert torch.equal(got.offsets, want.offsets)


def test_dropout_drops_its_share() -> None:
    values = torch.ones(1000, 1000, device="cuda")
    for dtype in (torch.float32, torch.bfloat16):
        dropped = Dropout(0.2)(values.to(dtype))
        assert abs(float((dropped == 0).float().mean()) - 0.2) < 0.005
        assert abs(float(dropped.float().mean()) - 1) < 0.01
    draws = Dropout(0.2).draw((1000, 1000), values)
    assert draws is not None
    assert abs(float((draws.apply_(values.clone()) == 0).float().mean()) - 0.2) < 0.005


def test_a_bank_without_room_is_halved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real one: the process may have a few hundred megabytes, and the bank wants more."""
    spec = SPECS["layer_mix"]
    wide = type(spec)("wide", 1, {}, spec.axes, (4, 0, 512), "float16", 50.0)
    store, keys, rng = ViewStore(tmp_path, wide), [f"{i:032x}" for i in range(N)], np.random.default_rng(0)
    store.add({key: to_storage(rng.normal(size=(4, 200, 512)).astype("f4"), wide) for key in keys})
    data, config = ViewData(store, keys), FineTuningConfig(batch_size=20, epochs=2)

    def bank() -> list[Any]:
        made = []
        for m, member in enumerate(members("layer_mix", 16, dtype=torch.float32)):
            torch.manual_seed(m)
            encoder = make_encoder(wide, dropout=0.0)
            made.append(type(member)(encoder, Classifier(encoder.dim, 3), member.train, member.validation, m))
        return made

    assert data.held("cuda") is not None
    whole, halved = bank(), bank()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    finetune_many(data, LABELS, whole, config, scaler=None, frozen=False, device="cuda")
    needed = torch.cuda.max_memory_allocated() - before
    torch.cuda.empty_cache()
    monkeypatch.setattr(ensembles, "_said_halved", False)
    total = torch.cuda.get_device_properties(0).total_memory
    try:
        torch.cuda.set_per_process_memory_fraction((before + 0.6 * needed) / total)
        finetune_many(data, LABELS, halved, config, scaler=None, frozen=False, device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "The GPU has no room for 16 models at a time; they are trained in halves." in capsys.readouterr().err
    same(on(halved), on(whole), 1e-4)
