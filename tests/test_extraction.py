"""Extraction: one bad recording, a killed process, a second extraction or a moved corpus never cost more than they must.

Where a test says so, real processes are started and killed.
"""

from __future__ import annotations

import contextlib
import csv
import ctypes
import errno
import json
import os
import platform
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import soundfile

from emoviews import audio, cli, extraction
from emoviews.errors import AudioError, EmoViewsError, StoreError, UsageError
from emoviews.extraction import ExtractionReport, extract, locate, write_failures
from emoviews.processes import keep_freed_memory, worker_processes
from emoviews.store import ViewStore
from emoviews.table import make_table, write_table
from emoviews.views import View, ViewRequest, make_view

RATE = 16_000
MFCC = ViewRequest.parse("mfcc")
MEL = ViewRequest.parse("mel_spectrogram")
N_MANY = 200


def make_sound(seed: int, seconds: float = 0.2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(round(seconds * RATE))).astype(np.float32)


def make_files(folder: Path, n: int, *, first_seed: int = 0) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:03}.wav" for i in range(n)]
    for i, path in enumerate(paths):
        soundfile.write(path, make_sound(first_seed + i, 0.15 + 0.01 * (i % 7)), RATE, subtype="PCM_16")
    return paths


def table_of(*paths: Path | str, **columns: list[object]) -> pd.DataFrame:
    rows = pd.DataFrame({"path": [str(p) for p in paths], "id": [f"u{i}" for i in range(len(paths))]} | columns)
    return make_table(rows)


def run(table: pd.DataFrame, store: str | Path, *views: ViewRequest, **options) -> ExtractionReport:
    return extract(table, store, views or (MFCC,), **{"workers": 1, **options})


def contents(store: Path, request: ViewRequest = MFCC) -> dict[str, bytes]:
    view = ViewStore(store, request.make().spec)
    assert view.verify() == []
    return {key: view[key].tobytes() for key in view}


def shards(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.glob("*/*.safetensors")}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 200 recordings and a table of them."""
    folder = tmp_path_factory.mktemp("many")
    write_table(table_of(*make_files(folder, N_MANY)), folder / "t.csv")
    return folder


@pytest.fixture(scope="module")
def undisturbed(many: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an extraction of `many` that nobody disturbs leaves."""
    store = tmp_path_factory.mktemp("undisturbed")
    run(table_of(*sorted(many.glob("*.wav"))), store)
    return contents(store)


# Views for the tests, made in this process.


@dataclass(frozen=True)
class OwnRequest(ViewRequest):
    """Asks for a view class that is not registered."""

    view: type[View]

    @classmethod
    def of(cls, view: type[View]) -> OwnRequest:
        return cls(view.name, {}, view.name, view)

    def make(self, device: str = "cpu") -> View:
        return self.view()


class Peak(View):
    """Largest value; counts how often it is computed."""

    name = "peak"
    version = 1
    axes = ("features",)
    computed: ClassVar[list[int]] = []

    @property
    def shape(self) -> tuple[int, ...]:
        return (1,)

    def compute(self, samples: np.ndarray) -> np.ndarray:
        self.computed.append(len(samples))
        return np.array([samples.max()], dtype=np.float32)


class Loud(View):
    """Too much for float16 where the recording is loud."""

    name = "loud"
    version = 1
    axes = ("frames", "features")

    @property
    def shape(self) -> tuple[int, ...]:
        return (0, 1)

    def compute(self, samples: np.ndarray) -> np.ndarray:
        return np.full((3, 1), 1e6 if np.abs(samples).max() > 0.9 else 1.0, dtype=np.float32)


@pytest.fixture
def peak() -> OwnRequest:
    Peak.computed.clear()
    return OwnRequest.of(Peak)


# The main path


def test_every_row_gets_what_the_view_computes(tmp_path: Path) -> None:
    paths = make_files(tmp_path / "a", 5)
    report = run(table_of(*paths), str(tmp_path / "store"), MFCC, MEL)
    assert (report.n_utterances, report.n_present, report.n_computed, report.failures) == (5, 0, 5, ())
    seconds = [len(soundfile.read(p)[0]) / RATE for p in paths]
    assert report.audio_seconds == pytest.approx(sum(seconds))
    for source, path, length in zip(locate(table_of(*paths), str(tmp_path / "store")), paths, seconds, strict=True):
        samples = soundfile.read(path, dtype="float32")[0]
        assert source.key == audio.content_hash(samples, RATE)
        assert source.duration_seconds == pytest.approx(length)
        for request in (MFCC, MEL):
            view = request.make()
            stored = ViewStore(str(tmp_path / "store"), view.spec)[source.key]
            assert stored.tobytes() == view(samples).astype(np.float16).tobytes()
    assert not (tmp_path / "store" / "failed.csv").exists()


def test_segments_and_channels_are_utterances_of_their_own(tmp_path: Path) -> None:
    left, right = make_sound(1, 1.0), make_sound(2, 1.0)
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    table = table_of(
        path, path, path, start_seconds=["", "0.25", ""], end_seconds=["", "0.5", ""], channel=["", "", "1"]
    )
    run(table, tmp_path / "store")
    view, store = make_view("mfcc"), ViewStore(tmp_path / "store", make_view("mfcc").spec)
    whole, part, one = (store[source.key] for source in locate(table, tmp_path / "store"))
    mean = (left + right) / 2
    assert np.array_equal(whole, view(mean).astype(np.float16))
    assert np.array_equal(part, view(mean[4000:8000]).astype(np.float16))
    assert np.array_equal(one, view(right).astype(np.float16))


def test_a_second_run_computes_and_decodes_nothing(tmp_path: Path, peak: OwnRequest, monkeypatch) -> None:
    table = table_of(*make_files(tmp_path / "a", 6))
    run(table, tmp_path / "store", peak)
    before = shards(tmp_path / "store")

    def decode(*args: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(audio, "decode", decode)
    report = run(table, tmp_path / "store", peak)
    assert (report.n_present, report.n_computed, report.failures) == (6, 0, ())
    assert all(source.key for source in locate(table, tmp_path / "store"))
    assert shards(tmp_path / "store") == before
    assert len(Peak.computed) == 6


def test_only_the_missing_view_is_computed(tmp_path: Path, peak: OwnRequest) -> None:
    table = table_of(*make_files(tmp_path / "a", 3))
    run(table, tmp_path / "store", peak)
    before = shards(tmp_path / "store")
    report = run(table, tmp_path / "store", peak, MFCC)
    assert report.n_computed == 3
    assert len(Peak.computed) == 3
    assert before.items() < shards(tmp_path / "store").items()


def test_no_views_only_checks_the_recordings(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"")
    report = extract(table_of(*make_files(tmp_path / "a", 2), tmp_path / "bad.wav"), tmp_path / "store", [], workers=1)
    assert report.n_computed == 2
    assert [failure.id for failure in report.failures] == ["u2"]


def test_an_empty_table(tmp_path: Path) -> None:
    report = run(make_table(pd.DataFrame({"path": []})), tmp_path / "store")
    assert (report.n_utterances, report.n_computed, report.n_present) == (0, 0, 0)


def test_a_file_of_many_rows_is_looked_at_once(tmp_path: Path, monkeypatch) -> None:
    (path,) = make_files(tmp_path / "a", 1)
    starts = [f"{i / 1000:.3f}" for i in range(50)]
    table = table_of(*[path] * 50, start_seconds=starts)
    looked, real = [], extraction._status
    monkeypatch.setattr(extraction, "_status", lambda path: looked.append(path) or real(path))
    run(table, tmp_path / "store")
    locate(table, tmp_path / "store")
    assert looked == [str(path)] * 2


def test_fewer_than_one_worker(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 1 worker, got 0"):
        run(table_of(), tmp_path / "store", workers=0)


# What is stored once


def test_a_moved_corpus_is_decoded_but_not_computed(tmp_path: Path, peak: OwnRequest) -> None:
    table = table_of(*make_files(tmp_path / "old", 5))
    run(table, tmp_path / "store", peak)
    before = shards(tmp_path / "store")
    (tmp_path / "old").rename(tmp_path / "new")
    moved = table_of(*sorted((tmp_path / "new").iterdir()))
    report = run(moved, tmp_path / "store", peak)
    assert (report.n_computed, report.n_present, len(Peak.computed)) == (5, 0, 5)
    assert shards(tmp_path / "store") == before
    assert run(moved, tmp_path / "store", peak).n_present == 5


def test_training_needs_the_store_not_the_recordings(tmp_path: Path) -> None:
    table = table_of(*make_files(tmp_path / "a", 3))
    run(table, tmp_path / "store", MFCC, workers=1)
    before = locate(table, tmp_path / "store")
    for path in table["path"]:
        Path(path).unlink()
    assert locate(table, tmp_path / "store") == before
    (unknown,) = locate(table_of(tmp_path / "never.wav"), tmp_path / "store")
    assert "no such file" in unknown.error


def test_locate_alone_finds_a_moved_corpus_and_remembers_it(tmp_path: Path, monkeypatch) -> None:
    paths = make_files(tmp_path / "old", 3)
    run(table_of(*paths), tmp_path / "store")
    keys = [source.key for source in locate(table_of(*paths), tmp_path / "store")]
    (tmp_path / "old").rename(tmp_path / "new")
    moved = table_of(*sorted((tmp_path / "new").iterdir()))
    assert [source.key for source in locate(moved, tmp_path / "store")] == keys
    monkeypatch.setattr(audio, "decode", None)  # not called again
    assert [source.key for source in locate(moved, tmp_path / "store")] == keys


def test_two_tables_share_a_recording(tmp_path: Path, peak: OwnRequest) -> None:
    paths = make_files(tmp_path / "a", 4)
    run(table_of(*paths[:3]), tmp_path / "store", peak)
    report = run(table_of(*paths[2:]), tmp_path / "store", peak)
    assert (report.n_present, report.n_computed, len(Peak.computed)) == (1, 1, 4)


def test_the_same_audio_under_two_names_is_stored_once(tmp_path: Path) -> None:
    sound = make_sound(0)
    soundfile.write(tmp_path / "a.wav", sound, RATE, subtype="PCM_16")
    read = soundfile.read(tmp_path / "a.wav")[0]
    soundfile.write(tmp_path / "b.flac", read, RATE, subtype="PCM_16")
    report = run(table_of(tmp_path / "a.wav", tmp_path / "b.flac"), tmp_path / "store")
    assert report.n_computed == 2
    assert len(contents(tmp_path / "store")) == 1
    first, second = locate(table_of(tmp_path / "a.wav", tmp_path / "b.flac"), tmp_path / "store")
    assert first.key == second.key


def test_fixed_padding_is_another_extraction(tmp_path: Path) -> None:
    table = table_of(*make_files(tmp_path / "a", 2))
    fixed = ViewRequest.parse("mel_spectrogram(padding=fixed, mask_padding=False)")
    run(table, tmp_path / "store", MEL, fixed)
    folders = sorted(path.name for path in (tmp_path / "store").glob("mel_spectrogram-*"))
    assert folders == sorted(f"mel_spectrogram-{request.make().spec.fingerprint}" for request in (MEL, fixed))
    assert len(folders) == 2
    keys = [source.key for source in locate(table, tmp_path / "store")]
    assert ViewStore(tmp_path / "store", fixed.make().spec).lengths(keys).tolist() == [1501, 1501]  # 15 s, hop 10 ms
    assert max(ViewStore(tmp_path / "store", MEL.make().spec).lengths(keys)) < 20


# Bad recordings


@pytest.fixture
def bad(tmp_path: Path) -> dict[str, Path]:
    """One recording for each thing that can be wrong with one."""
    folder = tmp_path / "bad"
    folder.mkdir()
    sound = make_sound(0)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("not audio\n" * 100)
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(
        folder / "nan.wav", np.where(np.arange(RATE) == 7, np.nan, 0.1 * np.sin(np.arange(RATE))), RATE, "FLOAT"
    )
    soundfile.write(folder / "one_sample.wav", sound[:1], RATE)
    soundfile.write(folder / "whole.wav", np.tile(sound, 20), RATE, subtype="PCM_16")
    (folder / "truncated.wav").write_bytes((folder / "whole.wav").read_bytes()[:-20_000])
    (folder / "whole.wav").unlink()
    (folder / "folder.wav").mkdir()
    names = ["missing", "empty", "text", "silent", "nan", "one_sample", "truncated", "folder"]
    return {name: folder / f"{name}.wav" for name in names} | {"nul": Path("/a\0b.wav")}


REASONS = {
    "missing": "there is no such file",
    "empty": "is empty (0 bytes)",
    "text": "is no audio that can be read",
    "silent": "is silent",
    "nan": "not finite",
    "one_sample": "(1 samples at 16000 Hz); at least 0.1 s",
    "truncated": "cut off",
    "folder": "is a folder",
    "nul": "embedded null byte",
}


def test_bad_recordings_are_listed_and_the_others_are_done(tmp_path: Path, bad: dict[str, Path]) -> None:
    good = make_files(tmp_path / "good", 6)
    mixed = [p for pair in zip(good, [*bad.values()][:6], strict=True) for p in pair] + [*bad.values()][6:]
    table, store = table_of(*mixed), tmp_path / "store"
    report = run(table, store)
    assert (report.n_computed, report.n_present) == (6, 0)
    assert len(contents(store)) == 6
    ids = {str(path): name for name, path in zip(table["id"], table["path"], strict=True)}
    assert [failure.path for failure in report.failures] == [str(path) for path in bad.values()]  # in the table's order
    for name, failure in zip(bad, report.failures, strict=True):
        assert failure.id == ids[failure.path]
        assert REASONS[name] in failure.error
        assert failure.path in failure.error
    with (store / "failed.csv").open(newline="") as file:
        rows = list(csv.reader(file.read().replace("\0", "").splitlines()))
    assert rows[0] == ["id", "path", "error"]
    assert rows[1:] == [[f.id, f.path.replace("\0", ""), f.error.replace("\0", "")] for f in report.failures]
    again = run(table, store)
    assert (again.n_computed, again.n_present) == (0, 6)
    assert again.failures == report.failures
    located = locate(table, store)
    assert [bool(source.error) for source in located] == [str(path) not in map(str, good) for path in mixed]


@pytest.mark.parametrize("name", [name for name in REASONS if name != "nul"])
def test_strict_stops_at_a_bad_recording_and_keeps_what_is_done(
    tmp_path: Path, bad: dict[str, Path], name: str
) -> None:
    good = make_files(tmp_path / "good", 3)
    run(table_of(*good), tmp_path / "store")
    with pytest.raises(AudioError) as error:
        run(table_of(*good, bad[name]), tmp_path / "store", strict=True)
    assert REASONS[name] in str(error.value)
    assert str(bad[name]) in str(error.value)
    assert len(contents(tmp_path / "store")) == 3


def test_strict_keeps_what_was_computed_before(tmp_path: Path, bad: dict[str, Path], monkeypatch) -> None:
    monkeypatch.setattr(random.SystemRandom, "shuffle", lambda self, groups: None)
    with pytest.raises(AudioError):
        run(table_of(*make_files(tmp_path / "good", 3), bad["silent"]), tmp_path / "store", strict=True)
    assert len(contents(tmp_path / "store")) == 3


def test_a_repaired_recording_is_taken(tmp_path: Path, bad: dict[str, Path]) -> None:
    table, store = table_of(bad["missing"], bad["text"], bad["silent"]), tmp_path / "store"
    assert len(run(table, store).failures) == 3
    for seed, name in enumerate(("missing", "text", "silent")):
        soundfile.write(bad[name], make_sound(seed, 0.3), RATE)
    report = run(table, store)
    assert (report.n_computed, report.failures) == (3, ())
    assert not (store / "failed.csv").exists()
    assert all(source.key and not source.error for source in locate(table, store))


def test_a_changed_recording_is_extracted_anew(tmp_path: Path) -> None:
    (path,) = make_files(tmp_path / "a", 1)
    run(table_of(path), tmp_path / "store")
    soundfile.write(path, make_sound(9, 0.3), RATE)
    assert run(table_of(path), tmp_path / "store").n_computed == 1
    assert len(contents(tmp_path / "store")) == 2


def test_a_view_that_fails_costs_only_that_view_of_that_recording(tmp_path: Path, peak: OwnRequest) -> None:
    paths = make_files(tmp_path / "a", 2)
    soundfile.write(tmp_path / "loud.wav", 9 * make_sound(5), RATE, subtype="FLOAT")
    table, store, loud = table_of(*paths, tmp_path / "loud.wav"), tmp_path / "store", OwnRequest.of(Loud)
    report = run(table, store, loud, peak)
    assert report.n_computed == 2
    assert [failure.id for failure in report.failures] == ["u2"]
    assert "'loud' has a value of 1e+06, which overflows the float16" in report.failures[0].error
    assert str(tmp_path / "loud.wav") in report.failures[0].error
    assert (len(contents(store, loud)), len(contents(store, peak))) == (2, 3)
    again = run(table, store, loud, peak)
    assert again.failures == report.failures
    assert len(Peak.computed) == 3
    only_peak = run(table, store, peak)
    assert (only_peak.n_present, only_peak.failures) == (3, ())
    assert locate(table, store)[2].error == report.failures[0].error


def test_a_session_that_nobody_cut_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch) -> None:
    (path,) = make_files(tmp_path / "a", 1)
    monkeypatch.setattr(extraction, "MAXIMUM_SECONDS", 0.1)
    monkeypatch.setattr(audio, "decode", None)
    (failure,) = run(table_of(path), tmp_path / "store").failures
    assert (
        "one row an utterance, with start_seconds and end_seconds, or let predict slide windows over it:"
        in failure.error
    )


def test_a_segment_beyond_the_end_of_its_file_is_not_called_long(tmp_path: Path) -> None:
    (path,) = make_files(tmp_path / "a", 1)
    (failure,) = run(table_of(path).assign(start_seconds=0.0, end_seconds=99999.0), tmp_path / "store").failures
    assert "an utterance may last at most" not in failure.error, "the file is short"
    assert "end" in failure.error


def test_the_list_of_failures_takes_file_names_that_are_no_utf8(tmp_path: Path) -> None:
    write_failures(tmp_path, [extraction.Failure("a", os.fsdecode(b"/\xe4rger.wav"), "is silent, or so")])
    assert (tmp_path / "failed.csv").read_bytes() == b'id,path,error\r\na,/\xe4rger.wav,"is silent, or so"\r\n'
    write_failures(tmp_path, [])
    assert not (tmp_path / "failed.csv").exists()


def test_the_list_of_failures_on_a_full_disk(tmp_path: Path, monkeypatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(extraction, "write_atomically", full)
    with pytest.raises(StoreError, match="No space left for"):
        write_failures(tmp_path, [extraction.Failure("a", "a.wav", "silent")])


# A full disk


def test_a_full_disk_is_one_message_and_the_next_run_goes_on(tmp_path: Path, monkeypatch, capsys) -> None:
    folder, store = tmp_path / "audio", tmp_path / "store"
    write_table(table_of(*make_files(folder, 12)), folder / "t.csv")
    arguments = ["extract", str(folder / "t.csv"), "--store", str(store), "--views", "mfcc", "--workers", "1"]
    room, real = [15], os.fsync

    def fsync(descriptor: int) -> None:
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(extraction, "FLUSH_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(SystemExit) as left:
            cli.main(arguments)
    assert left.value.code == 1
    said = capsys.readouterr().err
    assert said.count("No space left for") == 1
    assert "Traceback" not in said
    kept = contents(store)
    assert 0 < len(kept) < 12
    assert list(store.rglob("*.tmp")) == []
    cli.main(arguments)
    assert f"{12 - len(kept)} recordings computed" in capsys.readouterr().out
    assert kept.items() < contents(store).items()
    assert len(contents(store)) == 12


# Several processes


def test_one_process_or_two_no_difference(tmp_path: Path) -> None:
    """Also for a network whose first layer normalises over time, and whose sums depend on the number of threads."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        hidden_size=256,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=1024,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    assert config.feat_extract_norm == "group"
    transformers.Wav2Vec2Model(config).save_pretrained(tmp_path / "model")
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path / "model")
    request = ViewRequest("wav2vec2", {"model": str(tmp_path / "model")}, "wav2vec2")
    paths = make_files(tmp_path / "a", 16)
    found = []
    threads = torch.get_num_threads()
    for workers in (1, 2):
        torch.set_num_threads(2)
        report = run(table_of(*paths[::workers], *paths[1::2]), tmp_path / f"store{workers}", request, workers=workers)
        assert torch.get_num_threads() == 2
        assert report.failures == ()
        found.append(contents(tmp_path / f"store{workers}", request))
    torch.set_num_threads(threads)
    assert len(found[0]) == 16
    assert found[0] == found[1]
    alone = tmp_path / "store-alone"
    run(table_of(paths[3]), alone, request)
    ((key, value),) = contents(alone, request).items()
    assert found[0][key] == value


def test_the_next_recording_is_read_while_one_is_computed(tmp_path: Path, monkeypatch) -> None:
    """Each view waits, in its computation, until the next recording was opened; the last has no next. No more is read ahead."""
    n, opened = 5, threading.Semaphore(0)
    computed: list[bool] = []
    reading: list[str] = []
    decode = audio.decode

    def noted(path: str, *args: object) -> audio.Decoded:
        reading.append(threading.current_thread().name)
        if len(reading) > 1:
            opened.release()
        return decode(path, *args)

    class Waiting(Peak):
        name = "waiting"

        def compute(self, samples: np.ndarray) -> np.ndarray:
            computed.append(len(computed) == n - 1 or opened.acquire(timeout=30))
            assert len(reading) <= len(computed) + 1
            return super().compute(samples)

    monkeypatch.setattr(audio, "decode", noted)
    report = run(table_of(*make_files(tmp_path / "a", n)), tmp_path / "store", OwnRequest.of(Waiting))
    assert report.failures == ()
    assert computed == [True] * n
    assert all(name.startswith("emoviews-reader") for name in reading)


def page_faults_of_the_second_array() -> int:
    """Pages that the system had to give for an array of 64 MB, right after one of that size was freed."""
    import resource

    np.ones(8_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(8_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="an option of the GNU C library")
def test_worker_processes_keep_the_memory_that_they_have_freed() -> None:
    with worker_processes(1, int, ()) as executor:
        kept = executor.submit(page_faults_of_the_second_array).result()
    given_back = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path}; from {__name__} import *; "
         "print(page_faults_of_the_second_array())"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert kept < 200  # of the 15 625 pages of 4 KiB
    assert int(given_back.stdout) > 20 * max(kept, 1)  # else the test shows nothing


def test_other_c_libraries_are_left_alone(monkeypatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(ctypes, "CDLL", None)
    keep_freed_memory()


DEADLY = '''
import multiprocessing
import os
import numpy as np
from emoviews.views import View

class Deadly(View):
    """Takes its process down where the first sample says so."""
    name = "deadly"
    version = 1
    axes = ("features",)
    shape = (1,)
    def compute(self, samples):
        if samples[0] == 0.75:
            os._exit(9)
        return samples[:1].copy()

class Unstartable(Deadly):
    name = "unstartable"
    def __init__(self, parameters=None):
        super().__init__(parameters)
        if multiprocessing.parent_process() is not None:
            os._exit(9)
'''


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch) -> None:
    """An installed package with two views, as other people would write one; worker processes find it as well."""
    site = tmp_path / "site"
    info = site / "deadly-1.dist-info"
    info.mkdir(parents=True)
    (site / "deadly.py").write_text(DEADLY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: deadly\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[emoviews.views]\ndeadly = deadly:Deadly\nunstartable = deadly:Unstartable\n"
    )
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


@pytest.mark.usefixtures("deadly")
def test_a_recording_that_kills_its_process_is_listed_and_the_others_are_done(tmp_path: Path) -> None:
    paths = make_files(tmp_path / "a", 24)
    killer = paths[10]
    sound = make_sound(10)
    sound[0] = 0.75
    soundfile.write(killer, sound, RATE, subtype="FLOAT")
    warnings: list[str] = []
    report = run(table_of(*paths), tmp_path / "store", ViewRequest.parse("deadly"), workers=2, warn=warnings.append)
    assert report.n_computed == 23
    assert [failure.path for failure in report.failures] == [str(killer)]
    assert "the process that computed its views died" in report.failures[0].error
    assert warnings == ["A worker process died; looking for the recording that ends it."]
    assert len(contents(tmp_path / "store", ViewRequest.parse("deadly"))) == 23


@pytest.mark.usefixtures("deadly")
def test_processes_that_do_not_start_are_no_fault_of_the_recordings(tmp_path: Path) -> None:
    table = table_of(*make_files(tmp_path / "a", 16))
    with pytest.raises(EmoViewsError, match="Worker processes can't be started") as error:
        run(table, tmp_path / "store", ViewRequest.parse("unstartable"), workers=2)
    assert "if __name__ == '__main__':" in str(error.value)
    assert not (tmp_path / "store" / "failed.csv").exists()


EXTRACTION = """
import json
import signal
import sys
import time
from pathlib import Path
from emoviews import extraction
from emoviews.progress import Progress
from emoviews.table import read_table
from emoviews.views import ViewRequest

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in a shell's background
    folder, store, workers, pause = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    extraction.FLUSH_SECONDS = 0.0
    advance = Progress.advance
    Progress.advance = lambda self, n=1: (time.sleep(pause), advance(self, n))
    table = read_table(folder / "t.csv")
    print("ready", flush=True)
    sys.stdin.readline()
    report = extraction.extract(table, store, [ViewRequest.parse("mfcc")], workers=workers)
    print(json.dumps([report.n_computed, report.n_present, len(report.failures)]))
"""


@pytest.fixture
def start(tmp_path: Path):
    """`start(folder, store, workers, pause)`: an extraction in a process of its own, which waits for a line on its input."""
    script = tmp_path / "extraction_script.py"
    script.write_text(EXTRACTION)
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path, store: Path, workers: int, pause: float = 0.0) -> subprocess.Popen[str]:
        arguments = [sys.executable, str(script), str(folder), str(store), str(workers), str(pause)]
        process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def wait_for_shard(store: Path, process: subprocess.Popen[str]) -> None:
    while not list(store.glob("*/*.safetensors")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_killed_and_resumed_equals_undisturbed(
    many: Path, undisturbed: dict[str, bytes], tmp_path: Path, start
) -> None:
    store = tmp_path / "store"
    process = start(many, store, workers=2, pause=0.01)
    go(process)
    wait_for_shard(store, process)
    time.sleep(random.uniform(0.0, 0.5))
    workers = children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = contents(store)
    assert 0 < len(kept) < N_MANY
    assert kept.items() < undisturbed.items()
    assert len(workers) >= 2
    deadline = time.monotonic() + 30
    while (orphans := [pid for pid in workers if is_alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in orphans:
        os.kill(pid, signal.SIGKILL)
    assert orphans == [], "worker processes outlive their driver"
    # As a writer leaves it that is killed between writing and renaming.
    whole = next(store.glob("*/*.safetensors"))
    whole.with_name(f".{whole.name}.0123abcd.tmp").write_bytes(whole.read_bytes()[:100])
    report = run(table_of(*sorted(many.glob("*.wav"))), store)
    assert report.failures == ()
    # A shard may have been renamed whose sources were not yet noted: those recordings are decoded, not computed.
    assert report.n_present > 0
    assert N_MANY - len(kept) <= report.n_computed <= N_MANY - len(kept) + 2
    assert contents(store) == undisturbed


def test_two_extractions_share_the_work(many: Path, undisturbed: dict[str, bytes], tmp_path: Path, start) -> None:
    processes = [start(many, tmp_path / "store", workers=1, pause=0.002) for _ in range(2)]
    for process in processes:
        go(process)
    reports = []
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        reports.append(json.loads(out))
    assert contents(tmp_path / "store") == undisturbed
    assert all(computed + present == N_MANY and failed == 0 for computed, present, failed in reports)
    assert sum(computed for computed, _, _ in reports) < 1.3 * N_MANY
    assert list(tmp_path.rglob("*.tmp")) == []


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_ctrl_c_keeps_what_is_done_and_shows_no_traceback_of_workers(
    many: Path, undisturbed: dict[str, bytes], tmp_path: Path, start
) -> None:
    process = start(many, tmp_path / "store", workers=2, pause=0.01)
    go(process)
    wait_for_shard(tmp_path / "store", process)
    for pid in [process.pid, *(children(process.pid) if sys.platform == "linux" else [])]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)  # a terminal sends it to the whole group
    _, err = process.communicate(timeout=60)
    # The driver's own, of which the command line makes a sentence; it may come while a dead worker is noticed.
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert "Process Spawn" not in err, "a worker's traceback"
    assert 0 < len(contents(tmp_path / "store")) < N_MANY
