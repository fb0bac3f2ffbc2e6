"""The store: what is written is read back, what is damaged is refused, and nothing is ever half there."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from emoviews.errors import StoreError
from emoviews.store import FORMAT, Source, Sources, ViewStore, remove_leftovers, to_storage, write_failed
from emoviews.types import ViewSpec

LAYERED = ViewSpec("layered", 1, {}, ("layers", "frames", "features"), (3, 0, 4), "float16", 50.0)
FRAMED = ViewSpec("framed", 1, {"bands": 4}, ("frames", "features"), (0, 4), "float16", 100.0)
FUNCTIONAL = ViewSpec("functional", 2, {}, ("features",), (5,), "float32", None)
SPECS = (LAYERED, FRAMED, FUNCTIONAL)


def make_arrays(spec: ViewSpec, n: int = 4, seed: int = 0, prefix: str = "k") -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = [[size or 2 + 3 * i for size in spec.shape] for i in range(n)]
    values = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    return {f"{prefix}{i}": to_storage(v, spec) for i, v in enumerate(values)}


def shards(store: ViewStore) -> list[Path]:
    return sorted(store.folder.glob("*.safetensors"))


@pytest.fixture
def filled(tmp_path: Path) -> ViewStore:
    """A store of two shards."""
    store = ViewStore(tmp_path, FRAMED)
    store.add(make_arrays(FRAMED, 2, prefix="a"))
    store.add(make_arrays(FRAMED, 2, seed=1, prefix="b"))
    return store


# What is written is read back


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_round_trip(tmp_path: Path, spec: ViewSpec) -> None:
    arrays = make_arrays(spec)
    ViewStore(tmp_path, spec).add(arrays)
    store = ViewStore(tmp_path, spec)
    assert sorted(store) == sorted(arrays)
    assert len(store) == len(arrays)
    for key, array in arrays.items():
        assert key in store
        assert store[key].dtype == np.dtype(spec.dtype)
        assert store[key].shape == array.shape
        assert store[key].tobytes() == array.tobytes()
    assert "other" not in store
    with pytest.raises(KeyError):
        store["other"]


def test_shards_are_plain_safetensors(tmp_path: Path) -> None:
    """Any reader of the format reads them; ours relies on nothing that only our writer does."""
    arrays = make_arrays(LAYERED)
    store = ViewStore(tmp_path, LAYERED)
    store.add(arrays)
    read = safetensors.numpy.load_file(shards(store)[0])
    assert {k: v.tobytes() for k, v in read.items()} == {k: v.tobytes() for k, v in arrays.items()}


def test_arrays_that_are_no_contiguous_block(tmp_path: Path) -> None:
    whole = np.arange(24, dtype=np.float16).reshape(4, 6)
    store = ViewStore(tmp_path, FRAMED)
    store.add({"turned": whole.T, "strided": np.arange(64, dtype=np.float16).reshape(8, 8)[::2, ::2]})
    assert np.array_equal(store["turned"], whole.T)
    assert np.array_equal(ViewStore(tmp_path, FRAMED)["strided"], np.arange(64).reshape(8, 8)[::2, ::2])


def test_arrays_are_read_only(filled: ViewStore) -> None:
    with pytest.raises(ValueError, match="read-only"):
        filled["a0"][0, 0] = 1.0


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_lengths_come_from_the_index_alone(tmp_path: Path, spec: ViewSpec) -> None:
    arrays = make_arrays(spec)
    ViewStore(tmp_path, spec).add(arrays)
    store = ViewStore(tmp_path, spec)
    for path in shards(store):
        path.unlink()  # so that nothing can be read
    expected = [a.shape[spec.axes.index("frames")] if spec.has_frames else 1 for a in arrays.values()]
    lengths = store.lengths(list(arrays))
    assert lengths.tolist() == expected
    assert lengths.dtype == np.int64
    assert store.lengths(["k3", "k0", "k3"]).tolist() == [expected[3], expected[0], expected[3]]


def test_opening_creates_nothing(tmp_path: Path) -> None:
    store = ViewStore(tmp_path / "new", FRAMED)
    store.add({})
    Sources(tmp_path / "new").flush()
    assert len(store) == 0
    assert not (tmp_path / "new").exists()


def test_the_folder_names_view_and_fingerprint_and_describes_itself(filled: ViewStore) -> None:
    assert filled.folder.name == f"framed-{FRAMED.fingerprint}"
    described = json.loads((filled.folder / "spec.json").read_text())
    assert described.pop("format") == FORMAT
    assert described == json.loads(json.dumps(dataclasses.asdict(FRAMED)))


def test_the_index_is_rebuilt_from_the_shards_alone(filled: ViewStore, tmp_path: Path) -> None:
    (filled.folder / "spec.json").unlink()
    again = ViewStore(tmp_path, FRAMED)
    assert sorted(again) == sorted(filled)
    assert again.verify() == []


def test_other_parameters_are_another_folder(tmp_path: Path) -> None:
    other = dataclasses.replace(FRAMED, parameters={"bands": 4, "floor": 1e-10})
    ViewStore(tmp_path, FRAMED).add(make_arrays(FRAMED))
    assert len(ViewStore(tmp_path, other)) == 0


def test_hundreds_of_shards_need_no_file_descriptors(tmp_path: Path) -> None:
    """One a map, as `np.memmap` keeps it, would end a long extraction's store at the usual limits of 256 or 1024."""
    resource = pytest.importorskip("resource")
    store = ViewStore(tmp_path, FUNCTIONAL)
    for i in range(80):
        store.add({f"k{i}": np.full(5, i, dtype=np.float32)})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = max(map(int, os.listdir("/proc/self/fd"))) if os.path.isdir("/proc/self/fd") else 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 20, hard))
    try:
        store = ViewStore(tmp_path, FUNCTIONAL)
        assert [store[f"k{i}"][0] for i in range(80)] == list(range(80))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# float16


def test_what_float16_cannot_hold_is_refused() -> None:
    limit = np.array([[65504.0, -65504.0, 0.0, 1.0]], dtype=np.float32)
    assert np.array_equal(to_storage(limit, FRAMED).astype(np.float32), limit)
    for value in (65505.0, -1e6, np.inf):
        with pytest.raises(StoreError, match=r"'framed' has a value of .* overflows the float16 .*65504"):
            to_storage(np.full((1, 4), value, dtype=np.float32), FRAMED)


def test_functionals_keep_float32() -> None:
    values = np.array([1e13, -1e30, 1e-30, 0.1, 3.0], dtype=np.float32)
    assert to_storage(values, FUNCTIONAL).tobytes() == values.tobytes()


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 4), np.float32),
        np.zeros((2, 5), np.float16),
        np.zeros(4, np.float16),
        np.zeros((0, 4), np.float16),
    ],
    ids=["type", "features", "axes", "empty"],
)
def test_an_array_that_no_reader_would_accept_is_not_written(filled: ViewStore, array: np.ndarray) -> None:
    before = shards(filled)
    with pytest.raises(ValueError, match=r"stored as float16 of shape \(0, 4\)"):
        filled.add({"new": array})
    assert shards(filled) == before


# Damage


def corrupt(path: Path, position: int) -> None:
    blob = bytearray(path.read_bytes())
    blob[position] ^= 1
    path.write_bytes(blob)


def test_a_flipped_bit_is_found_at_first_touch(filled: ViewStore, tmp_path: Path) -> None:
    corrupt(shards(filled)[0], -1)  # the last value of the last utterance
    store = ViewStore(tmp_path, FRAMED)
    assert store["a0"].shape == (2, 4)
    with pytest.raises(StoreError) as error:
        store["a1"]
    assert str(shards(filled)[0]) in str(error.value)
    assert "a1 do not match their checksum" in str(error.value)
    assert "Delete that file and run `emoviews extract` again" in str(error.value)
    assert store["b1"].shape == (5, 4)  # the other shard


def test_verify_finds_every_damaged_utterance(filled: ViewStore, tmp_path: Path) -> None:
    assert filled.verify() == []  # also has every utterance touched
    corrupt(shards(filled)[0], -1)
    corrupt(shards(filled)[1], -1)
    for store in (filled, ViewStore(tmp_path, FRAMED)):
        problems = store.verify()
        assert len(problems) == 2
        assert all(str(path) in problem for path, problem in zip(shards(store), sorted(problems), strict=True))


def test_the_remedy_works(filled: ViewStore, tmp_path: Path) -> None:
    corrupt(shards(filled)[0], -1)
    shards(filled)[0].unlink()
    store = ViewStore(tmp_path, FRAMED)
    assert sorted(store) == ["b0", "b1"]
    store.add(make_arrays(FRAMED, 2, prefix="a"))
    assert store.verify() == []
    assert len(store) == 4


def cut_off(blob: bytes) -> bytes:
    return blob[:-2]


def cut_in_header(blob: bytes) -> bytes:
    return blob[:40]


def cut_to_nothing(blob: bytes) -> bytes:
    return b""


def longer(blob: bytes) -> bytes:
    return blob + b"\0\0"


def huge_header(blob: bytes) -> bytes:
    return struct.pack("<Q", 2**63) + blob[8:]


def no_json(blob: bytes) -> bytes:
    return blob[:8] + b"\xff" + blob[9:]


def with_header(change):
    def apply(blob: bytes) -> bytes:
        (n,) = struct.unpack("<Q", blob[:8])
        header = json.loads(blob[8 : 8 + n])
        changed = json.dumps(change(header)).encode()
        return struct.pack("<Q", len(changed)) + changed + blob[8 + n :]

    return apply


def of(**metadata):
    def change(header):
        return header | {"__metadata__": header["__metadata__"] | metadata}

    return with_header(change)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (cut_off, r"it has \d+ bytes, its header says \d+"),
        (longer, r"it has \d+ bytes, its header says \d+"),
        (cut_in_header, "it is cut off, with 40 bytes"),
        (cut_to_nothing, "it is cut off, with 0 bytes"),
        (huge_header, "it is cut off"),
        (no_json, "its header can't be read"),
        (with_header(lambda header: [header]), "its header can't be read"),
        (with_header(lambda header: {"__metadata__": header["__metadata__"]}), "its header can't be read"),
        (with_header(lambda header: {k: v for k, v in header.items() if k[0] != "_"}), "its header can't be read"),
        (of(crc32="{}"), "its header can't be read"),
        (of(crc32="0"), "its header can't be read"),
        (of(fingerprint="0123456789ab"), "fingerprint 0123456789ab, not [0-9a-f]{12}"),
        (
            with_header(lambda h: {k: v | {"dtype": "F32"} if "dtype" in v else v for k, v in h.items()}),
            "F32, expected F16",
        ),
        (with_header(lambda h: {k: v | {"shape": [8]} if "shape" in v else v for k, v in h.items()}), r"shape \(8,\)"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_damaged_shard_is_refused_before_it_is_mapped(filled: ViewStore, tmp_path: Path, damage, why) -> None:
    path = shards(filled)[1]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StoreError, match=why) as error:
        ViewStore(tmp_path, FRAMED)
    assert f"The shard {path} is damaged" in str(error.value)
    assert "Delete that file and run `emoviews extract` again" in str(error.value)


@pytest.mark.parametrize("damage", [cut_off, cut_to_nothing, longer])
def test_a_shard_that_changed_its_size_after_opening_is_not_mapped(filled: ViewStore, damage) -> None:
    """Reading a map beyond its file's end is no exception but the death of the process (SIGBUS)."""
    for path in shards(filled):
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StoreError, match=r"damaged: it has \d+ bytes, and had \d+ when it was opened"):
        filled["a0"]


def test_a_shard_of_another_extraction_is_refused(tmp_path: Path) -> None:
    other = dataclasses.replace(FRAMED, version=2)
    store = ViewStore(tmp_path, other)
    store.add(make_arrays(FRAMED))
    right = ViewStore(tmp_path, FRAMED)
    right.add(make_arrays(FRAMED, prefix="x"))
    shards(store)[0].rename(right.folder / "moved.safetensors")
    with pytest.raises(StoreError, match=f"{other.fingerprint}, not {FRAMED.fingerprint}"):
        ViewStore(tmp_path, FRAMED)


def test_a_store_of_another_format_is_refused_with_both_versions(filled: ViewStore, tmp_path: Path) -> None:
    path = filled.folder / "spec.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(StoreError, match=rf"store format 99; this version .* format {FORMAT}\. Use the version"):
        ViewStore(tmp_path, FRAMED)


def test_a_shard_of_another_format_is_refused_too(filled: ViewStore, tmp_path: Path) -> None:
    (filled.folder / "spec.json").unlink()
    path = shards(filled)[0]
    path.write_bytes(of(format="99")(path.read_bytes()))
    with pytest.raises(StoreError, match=rf"store format 99; this version .* format {FORMAT}\."):
        ViewStore(tmp_path, FRAMED)


@pytest.mark.parametrize("text", [b"", b"garbage", b"[1]", b"{}", b"\xff\xfe", b"null"])
def test_a_garbled_spec_is_refused_with_the_remedy(filled: ViewStore, tmp_path: Path, text: bytes) -> None:
    (filled.folder / "spec.json").write_bytes(text)
    with pytest.raises(StoreError, match=r"spec\.json is damaged.*Delete the folder"):
        ViewStore(tmp_path, FRAMED)


def test_what_only_cannot_be_read_is_not_called_damaged(filled: ViewStore, tmp_path: Path, monkeypatch) -> None:
    """Nobody should delete good shards because of a missing permission."""
    real = Path.open

    def denied(self: Path, *args, **kwargs):
        if self.suffix == ".safetensors":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(StoreError, match="can't be read: Permission denied") as error:
        ViewStore(tmp_path, FRAMED)
    assert "Delete" not in str(error.value)


def test_a_store_that_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.write_text("")
    with pytest.raises(StoreError, match="can't be written"):
        ViewStore(path, FRAMED).add(make_arrays(FRAMED))
    sources = Sources(path)
    sources.add(Source("a.wav", 1, 1, 0.0, 1.0, 0.0, key="k"))
    with pytest.raises(StoreError, match="can't be written"):
        sources.flush()


# Several writers


def test_writers_see_each_other_and_write_nothing_twice(tmp_path: Path) -> None:
    first, second = ViewStore(tmp_path, FRAMED), ViewStore(tmp_path, FRAMED)
    arrays = make_arrays(FRAMED, 6)
    for number, (key, array) in enumerate(arrays.items()):
        (first, second)[number % 2].add({key: array})
    assert sorted(first) == ["k0", "k2", "k4"]
    first.refresh()
    second.refresh()
    assert sorted(first) == sorted(second) == sorted(arrays)
    assert all(np.array_equal(store[key], array) for store in (first, second) for key, array in arrays.items())
    n_shards = len(shards(first))
    first.add(arrays)
    second.add(arrays | {"new": arrays["k0"]})
    assert len(shards(first)) == n_shards + 1
    first.refresh()
    assert sorted(first) == sorted([*arrays, "new"])


def test_what_two_wrote_at_the_same_moment_is_there_once(tmp_path: Path) -> None:
    first, second = ViewStore(tmp_path, FRAMED), ViewStore(tmp_path, FRAMED)
    arrays = make_arrays(FRAMED)
    first.add(arrays)
    second.add(arrays)
    store = ViewStore(tmp_path, FRAMED)
    assert len(store) == len(arrays)
    assert store.verify() == []


def test_temporary_files_are_no_shards_and_are_cleared_away_after_a_day(filled: ViewStore, tmp_path: Path) -> None:
    whole = shards(filled)[0]
    old, new = (filled.folder / f".{whole.name}.{name}.tmp" for name in ("0ld", "new"))
    for path in (old, new):
        path.write_bytes(whole.read_bytes()[:50])  # as a killed writer leaves it
    os.utime(old, (1, 1))
    assert len(ViewStore(tmp_path, FRAMED)) == 4
    remove_leftovers(filled.folder)
    assert not old.exists()
    assert new.exists()
    assert len(shards(filled)) == 2
    remove_leftovers(tmp_path / "missing")


# A full disk


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_nothing_half_written(filled: ViewStore, tmp_path: Path, monkeypatch, call: str) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = sorted(filled.folder.iterdir())
    with monkeypatch.context() as patch:
        if call == "write":
            patch.setattr(Path, "open", full)
        else:
            patch.setattr(os, call, full)
        with pytest.raises(StoreError) as error:
            filled.add(make_arrays(FRAMED, prefix="new"))
    assert "No space left for" in str(error.value)
    assert "MB wanted" in str(error.value)
    assert "MB free" in str(error.value)
    assert "make room and run the same command again" in str(error.value)
    assert sorted(filled.folder.iterdir()) == before
    assert "new0" not in filled
    filled.add(make_arrays(FRAMED, prefix="new"))
    assert ViewStore(tmp_path, FRAMED).verify() == []
    assert len(ViewStore(tmp_path, FRAMED)) == 8


def test_other_failures_of_writing_keep_their_reason(tmp_path: Path) -> None:
    error = write_failed(tmp_path / "x", PermissionError(errno.EACCES, "Permission denied"), 5)
    assert str(error) == f"{tmp_path / 'x'} can't be written: Permission denied."


# Sources


def source(**changes) -> Source:
    return dataclasses.replace(
        Source("/a.wav", 100, 5, float("nan"), float("nan"), float("nan"), "key", 1.5), **changes
    )


def test_sources_are_found_by_file_size_time_and_segment(tmp_path: Path) -> None:
    first = Sources(tmp_path)
    first.add(source())
    first.add(source(start_seconds=1.0, end_seconds=2.0, channel=1.0, key="part"))
    first.flush()
    again = Sources(tmp_path)
    assert again.find(source(key="", duration_seconds=0.0)).key == "key"
    assert again.find(source(start_seconds=1.0, end_seconds=2.0, channel=1.0)).key == "part"
    others = [{"path": "/b.wav"}, {"size": 101}, {"mtime_ns": 6}, {"start_seconds": 1.0}, {"channel": 0.0}]
    assert all(again.find(source(**other)) is None for other in others)


def test_odd_file_names_survive(tmp_path: Path) -> None:
    names = ["/é ü 日本.wav", '/"quote"\n.wav', os.fsdecode(b"/latin-\xe9.wav")]
    first = Sources(tmp_path)
    for name in names:
        first.add(source(path=name))
    first.flush()
    assert all(Sources(tmp_path).find(source(path=name)) for name in names)


def test_sources_of_other_writers_come_with_refresh_and_half_lines_later(tmp_path: Path) -> None:
    first, second = Sources(tmp_path), Sources(tmp_path)
    second.add(source())
    second.flush()
    assert first.find(source()) is None
    first.refresh()
    assert first.find(source())
    (own,) = (tmp_path / "sources").iterdir()
    line = json.dumps({"noted": 0.0, **vars(source(path="/later.wav"))})
    with own.open("a") as file:
        file.write(line[:30])
        file.flush()
        first.refresh()
        file.write(line[30:] + "\n")
    first.refresh()
    assert first.find(source(path="/later.wav"))


@pytest.mark.parametrize("line", [b"{", b"\xff\xfe", b"[1, 2]", b"7", b'{"path": 1}', b'{"unknown": 1}', b"\0" * 9])
def test_garbage_among_the_sources_is_passed_over(tmp_path: Path, line: bytes) -> None:
    sources = Sources(tmp_path)
    sources.add(source())
    sources.flush()
    (path,) = (tmp_path / "sources").iterdir()
    path.write_bytes(line + b"\n" + path.read_bytes() + line)
    assert Sources(tmp_path).find(source())


def test_what_is_known_is_not_written_again(tmp_path: Path) -> None:
    """Failures are tried at every run; without this each would add a line, and a file."""
    failed = source(key="", error="/a.wav is silent.")
    for _ in range(3):
        sources = Sources(tmp_path)
        sources.add(failed)
        sources.flush()
    (path,) = (tmp_path / "sources").iterdir()
    assert len(path.read_text().splitlines()) == 1


def test_the_latest_word_on_a_source_holds_whoever_wrote_it(tmp_path: Path) -> None:
    """File names are random, so that their order means nothing; nor does the order of reading."""
    failed, early = source(error="/a.wav: the process died."), Sources(tmp_path)
    for number in range(8):  # each a writer with a file of its own
        writer = Sources(tmp_path)
        writer.add(failed if number % 2 == 0 else source())
        writer.flush()
    assert Sources(tmp_path).find(source()).error == ""
    early.add(failed)
    early.refresh()
    assert early.find(source()).error == failed.error


def test_sources_on_a_full_disk(tmp_path: Path, monkeypatch) -> None:
    sources = Sources(tmp_path)
    sources.add(source())

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(StoreError, match="No space left for"):
            sources.flush()
    sources.flush()
    assert Sources(tmp_path).find(source())


# Int8

EIGHT = {spec.name: dataclasses.replace(spec, dtype="int8") for spec in (LAYERED, FRAMED)}


@pytest.mark.parametrize("spec", EIGHT.values(), ids=lambda s: s.name)
def test_int8_is_within_half_a_step_of_each_layers_own(tmp_path: Path, spec: ViewSpec) -> None:
    rng = np.random.default_rng(0)
    arrays = {f"k{n}": rng.standard_normal([size or n for size in spec.shape]).astype(np.float32) for n in (1, 7, 30)}
    for array in arrays.values():
        array[0] *= 100.0  # a layer (or a frame) much larger than the others
    ViewStore(tmp_path, spec).add({key: to_storage(array, spec) for key, array in arrays.items()})
    store = ViewStore(tmp_path, spec)
    assert sorted(store) == sorted(arrays), "scales are no utterances"
    assert store.lengths(["k7"]).tolist() == [7]
    for key, array in arrays.items():
        values, scale = store.stored(key)
        assert values.dtype == np.int8
        axes = (1, 2) if array.ndim == 3 else None
        step = np.abs(array).max(axis=axes, keepdims=True) / 127
        np.testing.assert_allclose(scale, step.ravel(), rtol=1e-6)
        assert (np.abs(store[key] - array) <= step / 2 * (1 + 1e-5)).all()
        assert np.abs(values).max() == 127
    read = safetensors.numpy.load_file(shards(store)[0])
    assert set(read) == {*arrays, *(f"{key}.scale" for key in arrays)}
    assert store.verify() == []


def test_int8_of_a_silent_layer_is_zero(tmp_path: Path) -> None:
    spec = EIGHT["layered"]
    store = ViewStore(tmp_path, spec)
    store.add({"k": np.zeros((3, 5, 4), np.float32)})
    assert not store["k"].any()


@pytest.mark.parametrize("name", ["k", "k.scale"])
def test_a_flipped_bit_is_found_in_the_numbers_and_in_the_scales(tmp_path: Path, name: str) -> None:
    spec = EIGHT["layered"]
    ViewStore(tmp_path, spec).add({"k": np.random.default_rng(0).standard_normal((3, 5, 4)).astype(np.float32)})
    store = ViewStore(tmp_path, spec)
    (path,) = shards(store)
    header = int.from_bytes(path.read_bytes()[:8], "little")
    start, _ = json.loads(path.read_bytes()[8 : 8 + header])[name]["data_offsets"]
    corrupt(path, 8 + header + start)
    with pytest.raises(StoreError, match="the bytes of k do not match their checksum"):
        ViewStore(tmp_path, spec)["k"]


def test_int8_is_another_store_and_everything_else_keeps_its_own(tmp_path: Path) -> None:
    assert EIGHT["layered"].fingerprint != LAYERED.fingerprint
    # As it was before there was int8: stores that exist must be found.
    assert LAYERED.fingerprint == "6846dbbabf4b"
    store = ViewStore(tmp_path, EIGHT["framed"])
    with pytest.raises(ValueError, match=r"k is float16 of shape .* is stored as int8, from float32, of shape"):
        store.add({"k": np.zeros((2, 4), np.float16)})
