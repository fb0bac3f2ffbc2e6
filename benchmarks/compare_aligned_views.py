"""Are aligned encoders worth a place beside the views they are made of? Prints Markdown tables.

    python benchmarks/compare_aligned_views.py TABLE --store STORE --labels anger,happiness --speakers Ann,Bob,Cy

It needs real recordings, extracted: `emoviews extract TABLE --store STORE --views mel_spectrogram,egemaps,compare_2016,mfcc`.
Every speaker tests once. Encoders of the mel spectrogram and of eGeMAPS are pre-trained by the paper's loss on all recordings
of the other speakers, whatever their emotion; their embeddings are then further views of the recogniser, each with the weight
of a view that is not known, or its only views. Compared are untrained encoders, the paper's pre-training, the same with every
batch from one speaker (so that knowing the speaker no longer helps to find the partner), and that with each speaker's features
relative to the speaker's own mean and deviation. SupCon draws recordings with the same label together as well, so its encoders
are trained anew for each drawing of the labels.

Embeddings of the last kind know the test speaker's other recordings: they count in the speaker-adaptive mode alone.
"""

from __future__ import annotations

import time
from collections import defaultdict

import numpy as np
import torch
from _common import drawn_targets, names_in, recordings_parser, table
from numpy.typing import NDArray

from emoviews.encoders import Encoder, make_encoder
from emoviews.extraction import locate
from emoviews.fusion import Fusion, rows_by
from emoviews.heads import ProjectionHead
from emoviews.losses import make_loss
from emoviews.metrics import uar
from emoviews.recognition import read_vectors
from emoviews.semisupervised import MODES, fit_semisupervised
from emoviews.store import ViewStore
from emoviews.table import read_table
from emoviews.types import ViewBatch
from emoviews.views import ViewRequest

Floats = NDArray[np.float64]
Frames = dict[str, list[torch.Tensor]]  # view → (frames, features) of every recording
ALIGNED = ("mel_spectrogram", "egemaps")
BASE = ("egemaps", "compare_2016", "mfcc")
BATCH = 128
CLIP = 5.0
# name → batches of one speaker?, features relative to the speaker?, loss
KINDS = {
    "untrained": (False, False, ""),
    "Pairwise-CL": (False, False, "pairwise_nt_xent"),
    "within speakers": (True, False, "pairwise_nt_xent"),
    "within speakers and relative": (True, True, "pairwise_nt_xent"),
    "SupCon": (False, False, "supcon"),
    "SupCon within speakers and relative": (True, True, "supcon"),
}


def scaled(frames: Frames, train: NDArray[np.int64], speakers: list[str], relative: bool) -> Frames:
    """z-scores by the training recordings, or by each speaker's own."""
    parts = rows_by(speakers) if relative else [np.arange(len(speakers))]
    found: Frames = {}
    for view, arrays in frames.items():
        own: list[torch.Tensor] = list(arrays)
        for rows in parts:
            known = torch.cat([arrays[row] for row in (rows if relative else train)])
            mean, deviation = known.mean(0), known.std(0).clamp_min(1e-4)
            for row in rows:
                own[row] = ((arrays[row] - mean) / deviation).clamp(-CLIP, CLIP)
        found[view] = own
    return found


def gathered(arrays: list[torch.Tensor], rows: NDArray[np.int64]) -> ViewBatch:
    chosen = [arrays[row] for row in rows]
    return ViewBatch(torch.cat(chosen), torch.tensor([0, *np.cumsum([len(values) for values in chosen])]))


def batches(rows: NDArray[np.int64], speakers: list[str], within: bool, random: np.random.Generator) -> list:  # type: ignore[type-arg]
    """Shuffled batches; of one speaker each, the last of a speaker may be half as large."""
    groups = [rows[own] for own in rows_by([speakers[row] for row in rows])] if within else [rows]
    least = BATCH // 2 if within else BATCH
    found = []
    for group in groups:
        shuffled = random.permutation(group)
        found += [shuffled[k : k + BATCH] for k in range(0, len(shuffled) - least + 1, BATCH)]
    random.shuffle(found)
    return found


def aligned(
    frames: Frames,
    train: NDArray[np.int64],
    speakers: list[str],
    targets: NDArray[np.int64],
    within: bool,
    name: str,
    epochs: int,
) -> dict[str, Encoder]:
    """Encoders trained on the rows `train`; `targets` `(rows,)` are of all, -1 where there is no label."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    specs = {view: ViewRequest.parse(view).make().spec for view in frames}
    encoders = {view: make_encoder(specs[view]) for view in frames}
    heads = {view: ProjectionHead(encoders[view].dim) for view in frames}
    modules = torch.nn.ModuleList([*encoders.values(), *heads.values()])
    optimizer = torch.optim.Adam(modules.parameters(), lr=1e-3, fused=True)
    if not name:
        return encoders
    labelled = name == "supcon"
    loss = make_loss(name) if labelled else make_loss(name, temperature=0.5, negatives="both")
    modules.train()
    for _ in range(epochs):
        for rows in batches(train, speakers, within, random):
            projections = {view: heads[view](encoders[view](gathered(frames[view], rows))) for view in frames}
            value, _ = loss(projections, labels=torch.from_numpy(targets[rows])) if labelled else loss(projections)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
    return encoders


@torch.inference_mode()
def embedded(encoder: Encoder, arrays: list[torch.Tensor]) -> Floats:
    encoder.eval()
    rows = np.arange(len(arrays))
    return torch.cat([encoder(gathered(arrays, rows[k : k + BATCH])) for k in rows[::BATCH]]).double().numpy()


def main() -> None:
    parser = recordings_parser(__doc__ or "")
    parser.add_argument("--speakers", default="", help="separated by commas; all by default")
    parser.add_argument("--fractions", default="0.02,0.05,0.1,1")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--kinds", default=",".join(KINDS), help="of encoders, separated by commas")
    options = parser.parse_args()
    chosen = options.kinds.split(",")
    frame = read_table(options.table)
    wanted = names_in(options.labels, frame["emotion"])
    voices = names_in(options.speakers, frame["speaker"])
    frame = frame[frame["speaker"].isin(voices)].reset_index(drop=True)
    speakers = list(frame["speaker"])
    plain = read_vectors(frame, options.store, [ViewRequest.parse(name) for name in BASE])
    keys = [source.key for source in locate(frame, options.store)]
    raw: Frames = {}
    for view in ALIGNED:
        store = ViewStore(options.store, ViewRequest.parse(view).make().spec)
        raw[view] = [torch.from_numpy(np.atleast_2d(np.array(store[key], dtype=np.float32))) for key in keys]
    learnt = np.flatnonzero(frame["emotion"].isin(wanted))
    code = np.array([wanted.index(e) if e in wanted else -1 for e in frame["emotion"]])
    fractions = [float(text) for text in options.fractions.split(",")]
    said: defaultdict[tuple[str, str, float, str], list[float]] = defaultdict(list)
    started = time.monotonic()
    for voice in voices:
        others = np.flatnonzero(frame["speaker"] != voice)

        def views_of(kind: str, others: NDArray[np.int64], targets: NDArray[np.int64]) -> dict[str, dict[str, Floats]]:
            within, relative, loss = KINDS[kind]
            frames = scaled(raw, others, speakers, relative)
            encoders = aligned(frames, others, speakers, targets, within, loss, options.epochs)
            own = {f"{view} encoder": embedded(encoders[view], frames[view]) for view in ALIGNED}
            return {f"+ {kind}": {**plain, **own}, f"{kind} alone": own}

        nothing = np.full(len(frame), -1)
        offered = {"none": plain}
        for kind in (kind for kind in chosen if KINDS[kind][2] != "supcon"):
            offered |= views_of(kind, others, nothing)
        train, test = (np.intersect1d(rows, learnt) for rows in (others, np.flatnonzero(frame["speaker"] == voice)))
        for fraction in fractions:
            for repeat in range(options.repeats if fraction < 1 else 1):
                targets = drawn_targets(code[train], list(frame["emotion"].iloc[train]), fraction, voice, repeat)
                names, texts = [list(frame[column].iloc[train]) for column in ("speaker", "text")]
                seen = nothing.copy()
                seen[train] = targets
                every = dict(offered)
                for kind in (kind for kind in chosen if KINDS[kind][2] == "supcon"):
                    every |= views_of(kind, others, seen)
                for name, views in every.items():
                    part = {view: values[train] for view, values in views.items()}
                    model = fit_semisupervised(Fusion(part, names, texts), targets, len(wanted))
                    held = {view: values[test] for view, values in views.items()}
                    for mode in MODES:
                        guess = model.probabilities(held, mode, [voice] * len(test)).argmax(axis=1)
                        said[mode, name, fraction, voice].append(uar(code[test], guess))
        print(f"# {voice}: {time.monotonic() - started:.0f} s", flush=True)
    for mode in MODES:
        lines = []
        for name in dict.fromkeys(name for _, name, _, _ in said):
            if mode == "inductive" and "relative" in name:
                continue
            each = [[np.mean(said[mode, name, fraction, voice]) for voice in voices] for fraction in fractions]
            lines.append([name, *(f"{100 * np.mean(values):.1f}" for values in each)])
        print(f"\n{table([f'{mode}, UAR %', *(f'{100 * f:g} %' for f in fractions)], lines)}")
    print(f"\n{len(frame)} recordings, {len(voices)} speakers, {options.repeats} repeats, {options.epochs} epochs.")


if __name__ == "__main__":
    main()
