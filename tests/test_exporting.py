"""What onnxruntime makes of an exported graph is what numpy and torch make of the model, for any number and length."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from emoviews import cli
from emoviews.batching import Scaler
from emoviews.bundles import load_recognizer, save_recognizer
from emoviews.checkpoints import Checkpoint, Head, ViewCheckpoint, described, save_checkpoint
from emoviews.encoders import ENCODERS, Encoder, make_encoder
from emoviews.errors import CheckpointError, MissingExtraError, UsageError
from emoviews.exporting import _time_statistics, export_onnx
from emoviews.fusion import time_statistics
from emoviews.heads import Classifier
from emoviews.inference import Graph, made_from
from emoviews.recognition import UNLIKE, Extracted, recognised
from emoviews.recognizer import EmotionRecognizer
from emoviews.table import read_table
from emoviews.types import FEATURES, FRAMES, LAYERS, ViewBatch, ViewSpec

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

TOLERANCE = 1e-5
"""A tenth of what is promised: graphs are a hundred times nearer, unless something in them is wrong."""
VIEWS = ("mfcc", "mel_spectrogram(bands=8)")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exporting")
    cli.main(["corpus", "synthetic", str(folder / "audio"), "--out", str(folder / "t.csv"), "--preset", "tiny"])
    recognizer = EmotionRecognizer(views=VIEWS, store=folder / "store", workers=1)
    save_recognizer(folder / "model", recognizer.fit(read_table(folder / "t.csv")))
    export_onnx(folder / "model")
    return folder


def session(path: Path) -> Any:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("trained", [True, False])
def test_a_recogniser_answers_alike_on_every_recording(world: Path, trained: bool) -> None:
    table = read_table(world / "t.csv")
    recognizer = load_recognizer(world / "model").set_params(store=world / "store", workers=1)
    fitted = recognizer.fitted_
    temperatures = {**fitted.temperatures, "transductive, alone": 0.6 * fitted.temperatures["inductive"]}
    heard = fitted.heard if trained else frozenset()
    recognizer.fitted_ = replace(fitted, temperatures=temperatures, heard=heard)
    plain = recognizer.recognise(table)
    graph = recognizer.recognise(table, graph=Graph.of(world / "model").judge)
    assert np.abs(plain.probabilities - graph.probabilities).max() < TOLERANCE
    assert plain.problems == graph.problems
    assert set(plain.modes) == set(graph.modes) == {"transductive, alone" if trained else "inductive"}
    assert plain.probabilities.std(axis=0).min() > 100 * TOLERANCE  # answers differ, so agreement means something


def test_a_certain_recogniser_answers_alike(world: Path, tmp_path: Path) -> None:
    """Where a class is next to impossible, the floor under its probability decides, and exporters drop small summands."""
    recognizer = load_recognizer(world / "model").set_params(store=world / "store", workers=1)
    fitted, modes = recognizer.fitted_, {}
    for mode, model in fitted.model.modes.items():
        certain = [(space, replace(judge, weights=10 * judge.weights)) for space, judge in model.members]
        modes[mode] = replace(model, members=tuple(certain))
    model = replace(fitted.model, modes=modes)
    recognizer.fitted_ = replace(fitted, model=model, temperatures=dict.fromkeys(fitted.temperatures, 5.0))
    save_recognizer(tmp_path, recognizer)
    export_onnx(tmp_path)
    table = read_table(world / "t.csv").iloc[::4].reset_index(drop=True)
    plain, graph = recognizer.recognise(table), recognizer.recognise(table, graph=Graph.of(tmp_path).judge)
    assert np.nanmax(np.abs(plain.probabilities - graph.probabilities)) < 10 * TOLERANCE


def test_egemaps_say_that_nobody_speaks_in_the_graph_too(world: Path, tmp_path: Path) -> None:
    pytest.importorskip("opensmile")
    recognizer = EmotionRecognizer(views=("egemaps", "mfcc"), store=world / "store", workers=1, evaluate=False)
    table = read_table(world / "t.csv").iloc[::3].reset_index(drop=True)
    save_recognizer(tmp_path, recognizer.fit(table))
    export_onnx(tmp_path)
    graph = Graph.of(tmp_path)
    values = np.zeros(88, np.float32)
    assert graph.judge({"egemaps": values, "mfcc": np.zeros((9, mfccs(graph)))})["distance"] == np.inf
    again = load_recognizer(tmp_path).set_params(store=world / "store", workers=1)
    plain, other = again.recognise(table), again.recognise(table, graph=graph.judge)
    assert plain.problems == other.problems
    assert np.nanmax(np.abs(plain.probabilities - other.probabilities)) < TOLERANCE


def mfccs(graph: Graph) -> int:
    (shape,) = (i.shape for i in graph._session.get_inputs() if i.name == "mfcc")
    return int(shape[-1])


def test_what_is_far_from_all_training_is_as_far_in_the_graph(world: Path) -> None:
    fitted = load_recognizer(world / "model").fitted_
    random = np.random.default_rng(0)
    views = {label: random.normal(size=(11, spec.shape[-1])) * 1e3 for label, spec in fitted.specs.items()}
    vectors = {label: time_statistics(values.astype(np.float32))[None] for label, values in views.items()}
    found = Extracted(vectors, [""], [""], [0])
    far = recognised(fitted, pd.DataFrame({"path": ["x"], "speaker": [""]}), found, "inductive").problems[0]
    distance = float(Graph.of(world / "model").judge(views)["distance"])
    assert f"({distance:.2f} times too far" in far


def test_it_says_what_it_is(world: Path) -> None:
    graph = Graph.of(world / "model")
    notes = json.loads((world / "model" / "emoviews.json").read_text())
    assert list(graph.labels) == notes["labels"]
    assert float(graph.metadata["temperature"]) == notes["temperatures"]["inductive"]
    views = json.loads(graph.metadata["views"])
    assert views["mel_spectrogram(bands=8)"]["input"] == "mel_spectrogram_bands_8"
    assert {n: v["fingerprint"] for n, v in views.items()} == {n: v["fingerprint"] for n, v in notes["views"].items()}
    inputs = {i.name: i.shape for i in session(world / "model" / "model.onnx").get_inputs()}
    assert inputs["mfcc"][0] == "batch"
    assert inputs["mfcc"][1] == "mfcc_frames"


def test_recordings_of_one_length_can_be_a_batch(world: Path) -> None:
    graph, random = Graph.of(world / "model"), np.random.default_rng(1)
    widths = {i.name: i.shape[-1] for i in graph._session.get_inputs()}
    fed = {name: random.normal(size=(5, 31, width)).astype(np.float32) for name, width in widths.items()}
    together = graph._session.run(None, fed)[0]
    alone = [graph._session.run(None, {n: v[i : i + 1] for n, v in fed.items()})[0][0] for i in range(5)]
    assert together == pytest.approx(np.stack(alone), abs=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 3, 10, 131])
def test_time_statistics_are_those_of_fusion(frames: int) -> None:
    values = np.random.default_rng(frames).normal(size=(frames, 4)).astype(np.float32)
    found = _time_statistics(torch.from_numpy(values)[None])[0].numpy()
    assert found == pytest.approx(time_statistics(values), abs=1e-5)


def spec_of(axes: tuple[str, ...], shape: tuple[int, ...]) -> ViewSpec:
    return ViewSpec("made_up", 1, {}, axes, shape, "float32", 50.0 if FRAMES in axes else None)


CASES = [
    ("mlp", (FEATURES,), (7,), {}),
    ("mlp", (FEATURES,), (7,), {"hidden": ()}),
    ("temporal_cnn", (FRAMES, FEATURES), (0, 6), {}),
    ("temporal_cnn", (FRAMES, FEATURES), (0, 6), {"channels": (5, 9), "kernels": (4, 2), "strides": (3, 1)}),
    ("layer_mix", (LAYERS, FRAMES, FEATURES), (3, 0, 10), {}),
]


@pytest.mark.parametrize(("name", "axes", "shape", "parameters"), CASES)
def test_an_encoder_s_plain_form_is_the_encoder(
    name: str, axes: tuple[str, ...], shape: tuple[int, ...], parameters: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    encoder = make_encoder(spec_of(axes, shape), name, **parameters).eval()
    if name == "layer_mix":
        torch.nn.init.uniform_(encoder.layer_weights)
    with torch.no_grad():
        for frames in (1, 2, 7, 8, 33):
            values = torch.randn(*(size or frames for size in shape))
            rows = values if FRAMES in axes else values[None]
            expected = encoder(ViewBatch(rows, torch.tensor([0, rows.shape[-2]])))
            torch.testing.assert_close(encoder.plain()(values[None]), expected, atol=1e-6, rtol=1e-5)


def test_every_encoder_here_can_be_exported() -> None:
    assert {name for name, *_ in CASES} == {
        name for name in ENCODERS.names() if ENCODERS.load(name).__module__.startswith("emoviews.")
    }


@pytest.mark.parametrize(("name", "axes", "shape", "parameters"), CASES)
def test_encoder_and_classifier_answer_alike(
    name: str, axes: tuple[str, ...], shape: tuple[int, ...], parameters: dict[str, Any], tmp_path: Path
) -> None:
    torch.manual_seed(1)
    spec = spec_of(axes, shape)
    encoder = make_encoder(spec, name, **parameters).eval()
    classifier = Classifier(encoder.dim, 3, hidden=(16,)).eval()
    one = tuple(size for size in shape if size)
    scaler = Scaler(np.full(one, 0.5, np.float32), np.full(one, 2.0, np.float32))
    head = Head(("a", "b", "c"), (16,), classifier.state_dict())
    view = ViewCheckpoint(spec, (name, parameters), encoder.state_dict(), scaler, head)
    save_checkpoint(tmp_path, Checkpoint({"made_up(x=1)": view}, {}))
    (path,) = export_onnx(tmp_path, tmp_path / "out")
    assert path == tmp_path / "out" / "made_up_x_1.onnx"
    run = session(path)
    assert json.loads(run.get_modelmeta().custom_metadata_map["labels"]) == ["a", "b", "c"]
    for frames in (1, 5, 40):
        values = torch.randn(*(size or frames for size in shape))
        scaled = (values - 0.5) / 2.0
        rows = scaled if FRAMES in axes else scaled[None]
        with torch.no_grad():
            embedded = encoder(ViewBatch(rows, torch.tensor([0, rows.shape[-2]])))
            expected = embedded.numpy(), classifier(embedded).softmax(1).numpy()
        found = run.run(["embedding", "probabilities"], {"made_up_x_1": values[None].numpy()})
        for one_found, one_expected in zip(found, expected, strict=True):
            assert np.abs(one_found - one_expected).max() < TOLERANCE


def test_a_fine_tuned_model_is_kept_and_exported(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, table = str(world / "store"), str(world / "t.csv")
    shared = ["--store", store, "--folds", "3", "--workers", "1", "--training.epochs", "2"]
    cli.main(["finetune", table, "--view", "mfcc", "--save-models", "--out", str(tmp_path / "run"), *shared])
    folders = sorted((tmp_path / "run" / "models").iterdir())
    assert len(folders) == 3
    cli.main(["export", str(folders[0]), "--format", "onnx"])
    assert "mfcc.onnx" in capsys.readouterr().out
    run = session(folders[0] / "mfcc.onnx")
    assert [output.name for output in run.get_outputs()] == ["embedding", "probabilities"]
    assert json.loads(run.get_modelmeta().custom_metadata_map["labels"]) == sorted(
        set(read_table(world / "t.csv")["emotion"]) - {""}
    )
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_an_encoder_without_plain_form_is_refused() -> None:
    class Other(Encoder):
        name = "other"

    with pytest.raises(UsageError, match="'other' can't be exported"):
        Other((3,)).plain()


def test_what_holds_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds nothing to export"):
        export_onnx(tmp_path)


@pytest.fixture
def bundle(world: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(world / "model", tmp_path / "model"))


def test_another_channel_is_noticed_by_the_graph_as_well(world: Path, tmp_path: Path) -> None:
    table = read_table(world / "t.csv").head(8)
    for number, path in enumerate(table["path"]):
        samples, rate = soundfile.read(path)
        soundfile.write(tmp_path / f"{number}.wav", np.diff(samples, append=0), rate)
    bent = table.assign(path=[str(tmp_path / f"{number}.wav") for number in range(8)], speaker="")
    recognizer = load_recognizer(world / "model").set_params(workers=1)
    fitted = recognizer.fitted_
    # Of those that pass one by one: what is moved that far may be called no speech.
    judge = Graph.of(world / "model").judge
    found = recognizer.recognise(bent), recognizer.recognise(bent, graph=judge)
    assert found[0].problems == found[1].problems
    assert found[0].warnings == found[1].warnings
    told = [list(one.frame(bent)["warning"]) for one in found]
    assert told[0] == told[1] == [UNLIKE * (not problem) for problem in found[0].problems]
    assert "unlike those it learnt from" in found[0].warnings[0], fitted.limits
    assert recognizer.recognise(table, graph=judge).warnings == (), "these trained"


def test_what_a_graph_was_made_from_does_not_hang_on_what_was_expected_of_it(bundle: Path) -> None:
    """A copy on the hub names no speaker, so its description has another digest; older ones have none."""
    notes = json.loads((bundle / "emoviews.json").read_text())
    before = made_from(bundle)
    (bundle / "emoviews.json").write_bytes(described({**notes, "report": {**notes["report"], "left_out": {"a": "b"}}}))
    assert json.loads((bundle / "emoviews.json").read_text())["sha256"] != notes["sha256"]
    assert made_from(bundle) == before
    (bundle / "emoviews.json").write_text(json.dumps({k: v for k, v in notes.items() if k != "sha256"}))
    assert made_from(bundle) == before
    Graph.of(bundle)


def test_a_missing_a_foreign_and_a_damaged_graph_are_refused(bundle: Path) -> None:
    notes = json.loads((bundle / "emoviews.json").read_text())
    notes["temperatures"]["inductive"] += 1
    (bundle / "emoviews.json").write_text(json.dumps(notes))
    with pytest.raises(CheckpointError, match=r"was made from another recogniser \(\w{12}; the folder's is \w{12}\)"):
        Graph.of(bundle)
    (bundle / "model.onnx").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="is no graph of a recogniser"):
        Graph.of(bundle)
    (bundle / "model.onnx").unlink()
    with pytest.raises(CheckpointError, match=r"holds no graph .* emoviews export .* --format onnx"):
        Graph.of(bundle)


@pytest.mark.parametrize(("package", "action"), [("onnxscript", "write"), ("onnxruntime", "read")])
def test_without_the_extra_it_says_how_to_install_it(
    package: str, action: str, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"needs the package {package}.*emoviews\[onnx\]"):
        export_onnx(bundle) if action == "write" else Graph.of(bundle)


def test_predict_by_the_graph_imports_no_torch(world: Path, tmp_path: Path) -> None:
    recordings = sorted((world / "audio").rglob("*.wav"))[:3]
    code = (
        "import sys; from emoviews import cli\n"
        f"cli.main(['predict', {str(world / 'model')!r}, *{[str(r) for r in recordings]!r}, '--backend', 'onnx',"
        f" '--format', 'csv', '--out', {str(tmp_path / 'p.csv')!r}])\n"
        "print(*(m for m in ('torch', 'transformers', 'onnx', 'onnxruntime') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["onnxruntime"]
    by_graph = pd.read_csv(tmp_path / "p.csv")
    cli.main(
        ["predict", str(world / "model"), *map(str, recordings), "--format", "csv", "--out", str(tmp_path / "q.csv")]
    )
    plain = pd.read_csv(tmp_path / "q.csv")
    pd.testing.assert_frame_equal(by_graph, plain, atol=TOLERANCE, check_exact=False)
    assert set(plain["mode"]) == {"transductive, alone"}, "these recordings trained"


def test_the_graph_is_inductive_alone(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "predict",
        str(world / "model"),
        str(world / "t.csv"),
        "--backend",
        "onnx",
        "--store",
        str(world / "store"),
    ]
    with pytest.raises(SystemExit) as left:
        cli.main([*command, "--mode", "speaker-adaptive"])
    assert left.value.code == 2
    assert "judges each recording alone" in " ".join(capsys.readouterr().err.split())
    cli.main(command)
    assert "Mode: transductive, alone" in capsys.readouterr().out
