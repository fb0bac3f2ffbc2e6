"""Exported graphs by onnxruntime beside the models they were made from: how far apart, how large, how fast.

    python benchmarks/bench_onnx.py [--model FOLDER] [--encoders FOLDER ...]

On up to 100 recordings, of the folder that EMOVIEWS_BENCHMARK_RECORDINGS names or else synthetic ones. Without folders of
models, a recogniser is fitted and encoders are fine-tuned on the synthetic corpus. Views are computed beforehand and not timed;
every recording is judged alone, on one thread.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from _common import medians, recorded, table

from emoviews import audio, calibration, cli
from emoviews.bundles import load_recognizer
from emoviews.checkpoints import ViewCheckpoint, load_checkpoint
from emoviews.encoders import make_encoder
from emoviews.exporting import export_onnx
from emoviews.heads import Classifier
from emoviews.inference import Graph
from emoviews.recognition import as_vectors, made_views
from emoviews.store import to_storage
from emoviews.types import FRAMES, ViewBatch
from emoviews.views import ViewRequest

ROUNDS = 5
Row = tuple[str, str, str, str, str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a recogniser")
    parser.add_argument("--encoders", type=Path, nargs="*", default=[], help="folders of fine-tuned encoders")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recordings = recorded(100) or sorted(made_up(folder).rglob("*.wav"))
        model, encoders = options.model, options.encoders
        if model is None and not encoders:
            model, encoders = trained(folder)
        rows = [of_recogniser(copied(model, folder), recordings)] if model else []
        rows += [row for encoder in encoders for row in of_encoders(copied(encoder, folder), recordings)]
    print(f"{len(recordings)} recordings.\n")
    head = [
        "model",
        "safetensors, kB",
        "ONNX, kB",
        "farthest apart",
        "numpy or torch, ms a recording",
        "ONNX, ms a recording",
    ]
    print(table(head, rows))


def made_up(folder: Path) -> Path:
    """The synthetic corpus."""
    cli.main(["corpus", "synthetic", str(folder / "audio"), "--preset", "tiny", "--out", str(folder / "t.csv")])
    return folder / "audio"


def trained(folder: Path) -> tuple[Path, list[Path]]:
    """A recogniser and encoders of two views, fine-tuned."""
    if not (folder / "t.csv").is_file():
        made_up(folder)
    shared = [str(folder / "t.csv"), "--store", str(folder / "store")]
    cli.main(["fit", *shared, "--out", str(folder / "model")])
    for view in ("mel_spectrogram", "mfcc"):
        cli.main(["extract", *shared, "--views", view])
        training = ["--folds", "3", "--fold", "S01+S04", "--training.epochs", "3", "--save-models"]
        cli.main(["finetune", *shared, "--view", view, "--out", str(folder / view), *training])
    return folder / "model", sorted(folder.glob("*/models/*"))


def copied(model: Path, folder: Path) -> Path:
    """A copy to write graphs into."""
    return Path(shutil.copytree(model, Path(tempfile.mkdtemp(dir=folder)) / model.name))


def of_recogniser(folder: Path, recordings: list[Path]) -> Row:
    """The inductive mode."""
    fitted = load_recognizer(folder).fitted_
    export_onnx(folder)
    graph, temperature = Graph.of(folder), fitted.temperatures["inductive"]
    views = made_views(fitted.requests)
    inputs = []
    for recording in recordings:
        samples = audio.load(recording)
        inputs.append({label: to_storage(view(samples), view.spec) for label, view in views.items()})

    def plain() -> list[np.ndarray]:
        vectors = [{label: v[np.newaxis] for label, v in as_vectors(found).items()} for found in inputs]
        return [calibration.scaled(fitted.model.probabilities(v, "inductive"), temperature)[0] for v in vectors]

    named = f"recogniser: {', '.join(views)}"
    return compared(
        named, folder, "model.onnx", plain, lambda: [graph.judge(found)["probabilities"] for found in inputs]
    )


def of_encoders(folder: Path, recordings: list[Path]) -> Iterator[Row]:
    """Encoder and classifier of each view."""
    for (label, view), path in zip(load_checkpoint(folder).views.items(), export_onnx(folder), strict=True):
        yield of_encoder(label, view, path, recordings)


def of_encoder(label: str, kept: ViewCheckpoint, path: Path, recordings: list[Path]) -> Row:
    """Encoder and classifier of one view."""
    import onnxruntime

    assert kept.head is not None
    view, spec, (name, parameters) = ViewRequest.parse(label).make(), kept.spec, kept.encoder
    encoder = make_encoder(spec, name, **parameters).eval()
    encoder.load_state_dict(dict(kept.tensors))
    classifier = Classifier(encoder.dim, len(kept.head.labels), kept.head.hidden).eval()
    classifier.load_state_dict(dict(kept.head.tensors))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options)
    (feed,) = (given.name for given in session.get_inputs())
    arrays = [to_storage(view(audio.load(recording)), spec).astype(np.float32) for recording in recordings]
    mean, deviation = (np.float32(0), np.float32(1))
    if kept.scaler is not None:
        mean, deviation = (
            a[..., None, :] if FRAMES in spec.axes else a for a in (kept.scaler.mean, kept.scaler.deviation)
        )

    def plain() -> list[np.ndarray]:
        found = []
        with torch.inference_mode():
            for array in arrays:
                rows = torch.from_numpy((array - mean) / deviation)
                rows = rows if FRAMES in spec.axes else rows[None]
                batch = ViewBatch(rows, torch.tensor([0, rows.shape[-2]]))
                found.append(classifier(encoder(batch)).softmax(1)[0].numpy())
        return found

    def graph() -> list[np.ndarray]:
        return [session.run(["probabilities"], {feed: array[None]})[0][0] for array in arrays]

    return compared(f"encoder and classifier: {spec.name}", path.parent, path.name, plain, graph)


def compared(
    name: str, folder: Path, graph: str, plain: Callable[[], list[np.ndarray]], exported: Callable[[], list[np.ndarray]]
) -> Row:
    """A row of the table."""
    expected, found = np.stack(plain()), np.stack(exported())
    taken = medians({"plain": plain, "exported": exported}, ROUNDS)
    (weights,) = folder.glob("model-*.safetensors")
    sizes = [f"{path.stat().st_size / 1000:.0f}" for path in (weights, folder / graph)]
    times = [f"{1000 * seconds / len(expected):.3f}" for seconds in taken.values()]
    return name, sizes[0], sizes[1], f"{np.abs(expected - found).max():.1e}", times[0], times[1]


if __name__ == "__main__":
    main()
