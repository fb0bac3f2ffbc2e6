"""Batches: what comes out is the stored arrays end to end, z-scored as numpy would, in the order asked for."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emoviews.batching import Scaler, StoredValues, ViewData, _size_in_bytes, prefetched, shuffled_batches
from emoviews.errors import UsageError
from emoviews.store import ViewStore, to_storage
from emoviews.types import ViewBatch, ViewSpec

# torch warns, once a process, about tensors on memory that can't be written to. A batch is never one: nobody should read of it.
pytestmark = pytest.mark.filterwarnings("error:The given NumPy array is not writable")

SPECS = {
    "layered": ViewSpec("layered", 1, {}, ("layers", "frames", "features"), (3, 0, 4), "float16", 50.0),
    "framed": ViewSpec("framed", 1, {}, ("frames", "features"), (0, 4), "float16", 100.0),
    "functional": ViewSpec("functional", 1, {}, ("features",), (5,), "float32", None),
}
N = 12


def make_data(folder: Path, spec: ViewSpec, arrays: list[np.ndarray], resident_bytes: int = 10**9) -> ViewData:
    store = ViewStore(folder, spec)
    stored = {f"k{i}": to_storage(array.astype(np.float32), spec) for i, array in enumerate(arrays)}
    store.add(dict(list(stored.items())[::2]))
    store.add(dict(list(stored.items())[1::2]))
    return ViewData(store, list(stored), resident_bytes)


def make_arrays(spec: ViewSpec, n: int = N, mean: float = 0.0, deviation: float = 1.0) -> list[np.ndarray]:
    """Lengths 1 to n; as they are stored, float16 rounding included."""
    rng = np.random.default_rng(0)
    lengths = 1 + rng.permutation(n)
    shapes = [[size or int(length) for size in spec.shape] for length in lengths]
    return [(mean + deviation * rng.standard_normal(shape)).astype(spec.dtype) for shape in shapes]


def by_hand(spec: ViewSpec, arrays: list[np.ndarray]) -> np.ndarray:
    """Float64, end to end along frames; functionals one row each."""
    if not spec.has_frames:
        return np.stack(arrays).astype(np.float64)
    return np.concatenate(arrays, axis=spec.axes.index("frames")).astype(np.float64)


@pytest.fixture(
    params=[(name, size) for name in SPECS for size in (10**9, 0)], ids=lambda p: f"{p[0]}-{p[1] and 'resident'}"
)
def case(request, tmp_path: Path) -> tuple[ViewSpec, list[np.ndarray], ViewData]:
    """Each kind of axes, in memory and from the memory map."""
    name, resident_bytes = request.param
    spec = SPECS[name]
    arrays = make_arrays(spec)
    data = make_data(tmp_path, spec, arrays, resident_bytes)
    assert data.in_memory == (resident_bytes > 0)
    return spec, arrays, data


# Batches


@pytest.mark.parametrize("indices", [[0], [3, 1, 2], [5, 5, 0, 5], list(range(N))], ids=str)
def test_a_view_that_is_kept_on_a_device_gives_the_same_batches(case, indices: list[int]) -> None:
    """On the CPU here, where numbers can be compared; tests/test_gpu.py has it on a GPU."""
    _, _, data = case
    assert data.held("cpu") is None  # memory is memory there
    held = data.hold(torch.device("cpu"))
    assert held.values.dtype == {"float16": torch.float16, "float32": torch.float32}[data.spec.dtype]
    assert held.values.nbytes == data.stored_bytes
    for scaler in (None, data.fit_scaler(range(N))):
        want, got = data.batch(indices, scaler), held.batch(indices, scaler)
        assert torch.equal(got.offsets, want.offsets)
        assert got.values.dtype == torch.float32
        torch.testing.assert_close(got.values, want.values, rtol=0, atol=0 if scaler is None else 2e-6)


def test_int8_is_kept_as_int8_on_a_device(stored: ViewData) -> None:
    held = stored.hold(torch.device("cpu"))
    assert held.values.nbytes == stored.stored_bytes
    assert held.values.dtype == getattr(torch, stored.spec.dtype)
    for scaler in (None, stored.fit_scaler(range(4))):
        torch.testing.assert_close(
            held.batch([2, 0], scaler).values, stored.batch([2, 0], scaler).values, rtol=0, atol=2e-6
        )


@pytest.mark.parametrize(("layers", "dtype"), [(False, "int8"), (True, "int8")])
def test_int8_of_a_spectrogram_is_kept_too(tmp_path: Path, layers: bool, dtype: str) -> None:
    axes, shape = (("layers", "frames", "features"), (2, 0, 5)) if layers else (("frames", "features"), (0, 5))
    spec = ViewSpec("narrow", 1, {}, axes, shape, dtype, 50.0)
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal([n if size == 0 else size for size in shape]).astype(np.float32) for n in (7, 1, 4)]
    data = make_data(tmp_path, spec, arrays, resident_bytes=0)
    want, got = data.batch([2, 1, 2]), data.hold(torch.device("cpu")).batch([2, 1, 2])
    assert torch.equal(got.values, want.values)


@pytest.mark.parametrize("indices", [[0], [3, 1, 2], [5, 5, 0, 5], list(range(N)), [N - 1]], ids=str)
def test_a_batch_is_the_arrays_end_to_end_in_the_order_asked_for(case, indices: list[int]) -> None:
    spec, arrays, data = case
    chosen = [arrays[i] for i in indices]
    for given_as in (indices, np.array(indices, dtype=np.int64)):
        batch = data.batch(given_as)
        assert batch.values.dtype == torch.float32
        assert np.array_equal(batch.values.numpy(), by_hand(spec, chosen))
        lengths = [a.shape[spec.axes.index("frames")] if spec.has_frames else 1 for a in chosen]
        assert batch.offsets.dtype == torch.int64
        assert batch.offsets.tolist() == [0, *np.cumsum(lengths)]
        assert len(batch) == len(indices)


def test_keys_may_come_in_any_order_and_repeat(tmp_path: Path) -> None:
    spec = SPECS["framed"]
    arrays = make_arrays(spec)
    make_data(tmp_path, spec, arrays)
    order = [4, 0, 4, 7]
    for resident_bytes in (10**9, 0):
        data = ViewData(ViewStore(tmp_path, spec), [f"k{i}" for i in order], resident_bytes)
        assert len(data) == 4
        assert data.lengths.tolist() == [len(arrays[i]) for i in order]
        assert np.array_equal(data.batch([2, 3]).values.numpy(), np.concatenate([arrays[4], arrays[7]]))


def test_a_scaled_batch(case) -> None:
    spec, arrays, data = case
    shape = [size for size in spec.shape if size]
    rng = np.random.default_rng(1)
    scaler = Scaler(rng.standard_normal(shape).astype(np.float32), rng.uniform(0.5, 2, shape).astype(np.float32))
    indices = [3, 1, 3]
    mean, deviation = (np.expand_dims(v, 0) if v.ndim == 1 else v[:, None] for v in (scaler.mean, scaler.deviation))
    expected = (by_hand(spec, [arrays[i] for i in indices]) - mean) / deviation
    assert np.allclose(data.batch(indices, scaler).values.numpy(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("resident_bytes", [10**9, 0])
@pytest.mark.parametrize("shape", [(3, 0, 700), (0, 700), (0, 40_000)], ids=str)
def test_scaling_in_pieces_is_three_passes_over_everything(
    tmp_path: Path, shape: tuple[int, ...], resident_bytes: int
) -> None:
    """Bit for bit, for utterances of many pieces, of one, and for rows larger than a piece."""
    axes = ("layers", "frames", "features")[-len(shape) :]
    spec = ViewSpec("large", 1, {}, axes, shape, "float16", 50.0)
    rng = np.random.default_rng(0)
    lengths = [230, 1, 47, 46] if shape[-1] < 1000 else [3, 1]
    arrays = [(5 + rng.standard_normal([n or m for n in shape])).astype(np.float16) for m in lengths]
    data = make_data(tmp_path, spec, arrays, resident_bytes)
    order = [1, 0, 1, *range(2, len(lengths))]
    scaler = data.fit_scaler(order)
    expected = np.concatenate([arrays[i].astype(np.float32) for i in order], axis=-2)
    expected -= np.expand_dims(scaler.mean, -2)
    expected /= np.expand_dims(scaler.deviation, -2)
    assert np.array_equal(data.batch(order, scaler).values.numpy(), expected)
    assert np.array_equal(data.batch(order).values.numpy(), np.concatenate([arrays[i] for i in order], axis=-2))


# Batches that stay in the store


@pytest.fixture(params=["float16", "int8"])
def stored(tmp_path: Path, request: pytest.FixtureRequest) -> ViewData:
    """Utterances of many blocks and of one, not in memory."""
    spec = ViewSpec("large", 1, {}, ("layers", "frames", "features"), (3, 0, 700), request.param, 50.0)
    rng = np.random.default_rng(0)
    arrays = [(5 + rng.standard_normal((3, n, 700))).astype(np.float32) for n in (300, 1, 124, 125)]
    return make_data(tmp_path, spec, arrays, resident_bytes=0)


def read_in_blocks(values: StoredValues) -> torch.Tensor:
    found = torch.full(values.shape, torch.nan)
    for where, matrix in values.blocks(torch.float32):
        assert torch.isnan(found[:, where]).all(), "read twice"
        found[:, where] = matrix.view(3, -1, 700)
    return found


@pytest.mark.parametrize("scaled", [True, False])
def test_a_stored_batch_is_read_as_the_same_numbers(stored: ViewData, scaled: bool) -> None:
    order = [2, 0, 1, 0, 3]
    scaler = stored.fit_scaler([0, 3]) if scaled else None
    plain, batch = stored.batch(order, scaler), stored.stored_batch(order, scaler)
    assert isinstance(batch.values, StoredValues)
    assert batch.values.dtype == {"float16": torch.float16, "int8": torch.int8}[stored.spec.dtype]
    assert batch.values.shape == plain.values.shape
    assert torch.equal(batch.offsets, plain.offsets)
    for _ in range(2):  # a backward pass reads once more
        torch.testing.assert_close(read_in_blocks(batch.values), plain.values, rtol=1e-6, atol=2e-6)
    assert batch.to("cpu").values is batch.values
    elsewhere = batch.to("meta").values
    assert (elsewhere.device.type, elsewhere.dtype, elsewhere.shape) == ("meta", torch.float32, plain.values.shape)


def test_a_stored_batch_is_read_ahead(stored: ViewData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever draws it, on another thread, waits for the disk, and not the training."""
    touched: list[int] = []
    monkeypatch.setattr(StoredValues, "touch", lambda self: touched.append(len(self._utterances)))
    stored.stored_batch([0, 2, 1])
    assert touched == [3]


def test_stored_values_go_to_a_device_as_a_tensor(stored: ViewData) -> None:
    """As they would go to a GPU, onto the CPU here."""
    for scaler in (None, stored.fit_scaler(range(4))):
        values: Any = stored.stored_batch([2, 0], scaler).values
        want = stored.batch([2, 0], scaler).values
        torch.testing.assert_close(values.tensor_on(torch.device("cpu")), want, rtol=0, atol=2e-6)


def test_lengths_are_known_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SPECS["framed"]
    arrays = make_arrays(spec)
    data = make_data(tmp_path, spec, arrays, 10**9)
    monkeypatch.setattr(ViewStore, "__getitem__", lambda self, key: pytest.fail(f"{key} was read"))
    assert data.lengths.tolist() == [len(array) for array in arrays]
    assert data.stored_bytes == 2 * sum(array.size for array in arrays)


def test_a_stored_batch_takes_no_memory(stored: ViewData) -> None:
    """Its utterances are the map's bytes, and what waits of them does not count as memory."""
    batch = stored.stored_batch([0, 2])
    pieces = [stored._store.stored(stored.keys[i])[0].ctypes.data for i in (0, 2)]
    assert [piece.data_ptr() for piece in batch.values._utterances] == pieces
    assert _size_in_bytes({"a": batch, "b": stored.batch([1])}) == 4 * 3 * 700


def test_a_stored_batch_is_split_between_utterances(stored: ViewData) -> None:
    order = [2, 0, 1, 3]
    batch = stored.stored_batch(order, stored.fit_scaler([0]))
    parts = batch.values.split([424, 126], 1)
    assert [tuple(part.shape) for part in parts] == [(3, 424, 700), (3, 126, 700)]
    assert torch.equal(torch.cat([read_in_blocks(part) for part in parts], dim=1), read_in_blocks(batch.values))
    for frames, axis in (([424, 126], 0), ([423, 127], 1), ([424], 1)):
        with pytest.raises(ValueError, match="end where utterances do"):
            batch.values.split(frames, axis)


def test_what_is_in_memory_or_has_no_layers_is_no_stored_batch(case) -> None:
    _, _, data = case
    batch = data.stored_batch([3, 1])
    if data._resident is not None or data.spec.name != "layered":
        assert torch.equal(batch.values, data.batch([3, 1]).values)
    else:
        assert isinstance(batch.values, StoredValues)


def test_batches_do_not_share_memory_with_the_data(case) -> None:
    """Neither scaling nor a training that changes its input may reach what later batches are made of."""
    _, _, data = case
    everything = list(range(N))
    before = data.batch(everything).values.clone()
    data.batch(everything, data.fit_scaler(everything)).values.zero_()
    data.batch([1]).values.fill_(torch.nan)
    assert torch.equal(data.batch(everything).values, before)


# Scaling


def test_a_scaler_is_numpys_mean_and_deviation_over_the_chosen_utterances(case) -> None:
    spec, arrays, data = case
    indices = [7, 2, 9, 4, 0]
    values = by_hand(spec, [arrays[i] for i in indices])
    axis = spec.axes.index("frames") if spec.has_frames else 0
    scaler = data.fit_scaler(indices)
    assert scaler.mean.shape == scaler.deviation.shape == tuple(size for size in spec.shape if size)
    assert scaler.mean.dtype == scaler.deviation.dtype == np.float32
    assert np.allclose(scaler.mean, values.mean(axis), rtol=1e-6, atol=1e-7)
    assert np.allclose(scaler.deviation, values.std(axis), rtol=1e-6)
    scaled = data.batch(indices, scaler).values.double().numpy()
    assert np.allclose(scaled.mean(axis), 0, atol=1e-6)
    assert np.allclose(scaled.std(axis), 1, rtol=1e-6)


def functionals(tmp_path: Path, columns: list[np.ndarray]) -> tuple[np.ndarray, Scaler, ViewData]:
    values = np.stack(columns, axis=1).astype(np.float32)  # (utterances, features)
    spec = ViewSpec("functional", 1, {}, ("features",), (values.shape[1],), "float32", None)
    data = make_data(tmp_path, spec, list(values))
    return values.astype(np.float64), data.fit_scaler(range(len(values))), data


@pytest.mark.parametrize(
    ("mean", "deviation"), [(1e6, 1.0), (-1e6, 0.5), (1e13, 1e12), (3e13, 1e8), (0.0, 1e-8), (1e-6, 1e-9), (0.0, 1e15)]
)
def test_large_offsets_and_odd_scales(tmp_path: Path, mean: float, deviation: float) -> None:
    """ComParE has features up to 1e13 and down to 1e-8; what varies, as float32 holds it, is scaled whatever its size."""
    rng = np.random.default_rng(0)
    column = mean + deviation * rng.standard_normal(1500)  # more than one block
    outlier = np.where(np.arange(1500) == 0, 1e13, column)  # first, where a shift by it would drown the others
    values, scaler, data = functionals(tmp_path, [column, column[::-1], outlier])
    assert np.allclose(scaler.mean, values.mean(0), rtol=1e-6, atol=1e-7 * deviation)
    assert np.allclose(scaler.deviation, values.std(0), rtol=1e-6)
    scaled = data.batch(range(1500), scaler).values.double().numpy()
    assert np.allclose(scaled.std(0), 1, rtol=1e-4)


@pytest.mark.parametrize("constant", [0.0, 1.0, -0.1, 1e-20, 1e6 / 3, 1e13])
def test_a_constant_feature_becomes_zero(tmp_path: Path, constant: float) -> None:
    values, scaler, data = functionals(tmp_path, [np.full(700, constant), np.arange(700.0)])
    assert scaler.deviation[0] == 1.0
    assert scaler.deviation[1] == pytest.approx(values[:, 1].std())
    assert np.array_equal(data.batch([0, 699], scaler).values[:, 0].numpy(), [0.0, 0.0])


def test_rounding_of_a_constant_is_no_variation(tmp_path: Path) -> None:
    """Values that differ by float32's last bit are one value computed in two ways."""
    one = np.float32(0.1)
    _, scaler, _ = functionals(tmp_path, [np.where(np.arange(100) % 2, one, np.nextafter(one, np.float32(1)))])
    assert scaler.deviation[0] == 1.0


def test_constant_bands_of_a_spectrogram(tmp_path: Path) -> None:
    spec = SPECS["framed"]
    arrays = make_arrays(spec)
    for array in arrays:
        array[:, 2] = -23.03  # silence at the floor, in float16
    data = make_data(tmp_path, spec, arrays)
    scaled = data.batch(range(N), data.fit_scaler(range(N))).values.numpy()
    assert np.abs(scaled[:, 2]).max() < 1e-5
    assert np.allclose(scaled[:, [0, 1, 3]].std(axis=0), 1, rtol=1e-5)


def test_a_scaler_of_one_utterance(case) -> None:
    spec, arrays, data = case
    scaler = data.fit_scaler([3])
    if not spec.has_frames:
        assert np.array_equal(scaler.mean, arrays[3])
        assert (scaler.deviation == 1).all()
    else:
        assert np.allclose(scaler.mean, arrays[3].astype(np.float64).mean(spec.axes.index("frames")), atol=1e-6)


def test_scaling_by_nothing(case) -> None:
    with pytest.raises(UsageError, match="needs utterances to take its statistics from; got none"):
        case[2].fit_scaler([])


# Shuffled batches


@given(
    n=st.integers(0, 300),
    batch_size=st.integers(1, 70),
    drop_last=st.booleans(),
    seed=st.integers(0, 5),
    start=st.integers(0, 9),
)
def test_shuffled_batches_are_a_partition(n: int, batch_size: int, drop_last: bool, seed: int, start: int) -> None:
    indices = np.arange(start, start + n)
    batches = shuffled_batches(indices, batch_size, np.random.default_rng(seed), drop_last)
    together = np.concatenate([np.array([], dtype=np.int64), *batches])
    assert len(set(together.tolist())) == len(together)
    assert set(together.tolist()) <= set(indices.tolist())
    assert all(len(batch) == batch_size for batch in batches[:-1])
    if not drop_last or n <= batch_size:
        assert sorted(together) == indices.tolist()
        assert len(batches) == -(-n // batch_size)
    else:
        assert len(together) == n - n % batch_size
        assert all(len(batch) == batch_size for batch in batches)
    again = shuffled_batches(list(indices), batch_size, np.random.default_rng(seed), drop_last)
    assert [b.tolist() for b in again] == [b.tolist() for b in batches]


def test_shuffled_batches_are_shuffled() -> None:
    orders = {tuple(shuffled_batches(range(50), 50, np.random.default_rng(seed), False)[0]) for seed in range(5)}
    assert len(orders) == 5
    assert tuple(range(50)) not in orders


# Prefetching


def prefetch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "emoviews-prefetch"]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert prefetch_threads() == []


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_prefetching_keeps_the_order(depth: int) -> None:
    assert list(prefetched(range(100), depth)) == list(range(100))
    assert list(prefetched([], depth)) == []
    assert list(prefetched([None, 0, None], depth)) == [None, 0, None]


def test_prefetching_starts_no_thread_before_it_is_used() -> None:
    prefetched(range(3))
    assert prefetch_threads() == []


def failing(n: int, error: BaseException) -> Iterator[int]:
    yield from range(n)
    raise error


@pytest.mark.parametrize(
    "error", [ValueError("in the thread"), KeyError(3), SystemExit(2)], ids=lambda e: type(e).__name__
)
def test_an_error_comes_after_the_items_before_it(error: BaseException) -> None:
    seen = []
    with pytest.raises(type(error)) as raised:
        seen.extend(x for x in prefetched(failing(5, error)) if seen.append(x))
    assert raised.value is error
    assert seen == [0, 1, 2, 3, 4]


def test_leaving_early_ends_the_thread() -> None:
    drawn = []

    def endless() -> Iterator[int]:
        while True:
            drawn.append(len(drawn))
            yield drawn[-1]

    for item in prefetched(endless(), depth=2):
        if item == 3:
            break
    assert prefetch_threads() == []
    assert len(drawn) <= 3 + 1 + 2 + 1  # up to the last item taken, those waiting, and one that found no room


def test_an_error_in_the_loop_ends_the_thread() -> None:
    def loop() -> None:
        for item in prefetched(range(1000)):
            if item == 2:
                raise RuntimeError("in the loop")

    try:
        loop()
    except RuntimeError:
        pass
    else:
        pytest.fail("the loop's error was lost")
    assert prefetch_threads() == []


def wait_for(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)
    return condition()


@pytest.mark.parametrize(("depth", "size", "ahead"), [(1, 0, 1), (3, 0, 3), (9, 40, 2), (9, 100, 1), (9, 101, 1)])
def test_reading_overlaps_with_computing_as_far_as_depth_and_bytes_allow(depth: int, size: int, ahead: int) -> None:
    """`ahead` items wait while one is in use; the next is not drawn before there is room for it. At most 100 bytes wait."""
    drawn: list[int] = []

    def items() -> Iterator[dict[str, ViewBatch]]:
        for number in range(9):
            drawn.append(number)
            values = torch.zeros(size, 1, dtype=torch.int8)
            yield {
                "a": ViewBatch(values[: size // 2], torch.tensor([0])),
                "b": ViewBatch(values[size // 2 :], torch.tensor([0])),
            }

    stream = prefetched(items(), depth, maximum_bytes=100)
    for number in range(3):
        next(stream)
        assert wait_for(lambda number=number: len(drawn) == number + 1 + ahead)
        time.sleep(0.02)
        assert len(drawn) == number + 1 + ahead
    assert len(list(stream)) == 6


def test_items_are_freed_as_soon_as_they_are_used() -> None:
    """Batches are as large as gigabytes: while one is drawn, nothing keeps the one that its user has let go."""

    class Item:
        pass

    freed: list[bool] = []

    def items() -> Iterator[Item]:
        for _ in range(4):
            item = Item()
            reference = weakref.ref(item)
            yield item
            del item
            freed.append(wait_for(lambda reference=reference: reference() is None))

    for item in prefetched(items(), depth=1):
        del item
    assert freed == [True] * 4
