"""Speed of the frame-level encoders against plain formulations in one run; prints Markdown tables.

    python benchmarks/bench_encoders.py [--batch 32 128] [--threads 1] [--only mix|cnn]

A step is forward and backward in training mode, dropout off. Medians of 5 steps. All formulations are checked against each
other before they are timed. Floors: bytes that must be read over the memory bandwidth plus operations over the rate of a
matrix product, both measured at the start.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from _common import Limits, measure_limits, medians
from _common import table as markdown
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from emoviews.encoders.layer_mix import LayerMix
from emoviews.encoders.temporal_cnn import TemporalCNN
from emoviews.types import ViewBatch

LAYERS, FEATURES, BANDS = 13, 768, 64


def ragged(lengths: Tensor) -> Tensor:
    return F.pad(lengths.cumsum(0), (1, 0))


def compare(title: str, encoder: torch.nn.Module, ways: dict[str, Callable[[], Tensor]], floor: float) -> None:
    parameters = list(encoder.parameters())

    def gradients(way: Callable[[], Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(way().square().sum(), parameters)

    ours = ways["emoviews"]
    expected = gradients(ours)
    for name, way in ways.items():
        torch.testing.assert_close(way(), ours(), rtol=1e-4, atol=1e-4, msg=name)
        for got, want in zip(gradients(way), expected, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-2, atol=1e-3 * float(want.abs().max()), msg=name)
    steps = medians({name: lambda way=way: gradients(way) for name, way in ways.items()})  # type: ignore[misc]
    with torch.no_grad():
        forward = medians(ways)
    rows = [
        [way, f"{1e3 * forward[way]:.1f}", f"{1e3 * t:.1f}", f"{t / steps['emoviews']:.2f}"] for way, t in steps.items()
    ]
    rows.append(["floor", "", f"{1e3 * floor:.1f}", f"{floor / steps['emoviews']:.2f}"])
    head = ["formulation", "forward, ms", "step, ms", "emoviews' step is faster by"]
    print(title, markdown(head, rows), sep="\n\n", end="\n\n", flush=True)


def mix(batch: int, limits: Limits) -> None:
    """All layers of a speech model, 100 to 350 frames an utterance (2 to 7 s)."""
    offsets = ragged(torch.randint(100, 351, (batch,)))
    lengths, frames = offsets.diff(), int(offsets[-1])
    values = torch.randn(LAYERS, frames, FEATURES)
    narrow = values.half()
    values = narrow.float()
    encoder = LayerMix((LAYERS, 0, FEATURES), dropout=0.0)
    first, second = encoder.pointwise[0], encoder.pointwise[3]

    def convolutions(mixed: Tensor) -> Tensor:
        """`(batch, frames, features)` → `(batch, dim, frames)`."""
        hidden = F.relu(F.conv1d(mixed.transpose(1, 2), first.weight.unsqueeze(2), first.bias))
        return F.relu(F.conv1d(hidden, second.weight.unsqueeze(2), second.bias))

    def mean(hidden: Tensor) -> Tensor:
        mask = (torch.arange(hidden.shape[2]) < lengths.unsqueeze(1)).unsqueeze(1)
        return (hidden * mask).sum(2) / lengths.unsqueeze(1)

    # (batch, layers, frames, features), padded to the longest: how features are commonly batched
    padded = pad_sequence([u.transpose(0, 1) for u in values.split(lengths.tolist(), 1)], batch_first=True).transpose(
        1, 2
    )

    def weights() -> Tensor:
        return encoder.layer_weights / encoder.layer_weights.sum()

    def multiply_and_sum() -> Tensor:
        return mean(convolutions((padded * weights()[None, :, None, None]).sum(1)))

    def einsum() -> Tensor:
        mixed = torch.einsum("l,lfd->fd", weights(), values)
        hidden = encoder.pointwise(mixed)
        return torch.stack([u.mean(0) for u in hidden.split(lengths.tolist())])

    ways = {
        "padded, multiply and sum, Conv1d": multiply_and_sum,
        "end to end, einsum, linear": einsum,
        "emoviews on float16, widened first": lambda: encoder(ViewBatch(narrow.float(), offsets)),
        "emoviews on float16": lambda: encoder(ViewBatch(narrow, offsets)),
        "emoviews": lambda: encoder(ViewBatch(values, offsets)),
    }
    operations = 2 * frames * (2 * FEATURES * 128 + 3 * 128 * 128 + FEATURES * 128)
    floor = limits.seconds(2 * values.nbytes, operations)
    compare(f"Layer mix, batch {batch}, {frames} frames, {LAYERS} × {FEATURES}", encoder, ways, floor)


def cnn(batch: int, limits: Limits) -> None:
    """Spectrograms of 80 to 1500 frames (0.8 to 15 s)."""
    offsets = ragged(torch.randint(80, 1501, (batch,)))
    lengths, frames = offsets.diff(), int(offsets[-1])
    values = torch.randn(frames, BANDS)
    encoder = TemporalCNN((0, BANDS), dropout=0.0)
    layers = [(layer.weight, layer.bias) for layer in encoder.layers]
    utterances = values.split(lengths.tolist())

    def padded(chosen: Tensor) -> Tensor:
        """Conv1d over the chosen utterances, padded to the longest of them, what is beyond each masked after each layer."""
        left = lengths[chosen]
        hidden = pad_sequence([utterances[i] for i in chosen.tolist()], batch_first=True).transpose(1, 2)
        for weight, bias in layers:
            left = (left + 1) // 2
            hidden = F.relu(F.conv1d(hidden, weight, bias, stride=2, padding=1))
            hidden = hidden * (torch.arange(hidden.shape[2]) < left.unsqueeze(1)).unsqueeze(1)
        return hidden.sum(2) / left.unsqueeze(1)

    def grouped() -> Tensor:
        order = lengths.argsort()
        return torch.cat([padded(chosen) for chosen in order.split(8)])[order.argsort()]

    def end_to_end() -> Tensor:
        """One Conv1d over all utterances, each in a slot that starts at a multiple of 8 and ends in zeros at every layer."""
        valid = [lengths]
        for _ in layers:
            valid.append((valid[-1] + 1) // 2)
        slots = torch.stack([(valid[0] + 8) // 8, (valid[1] + 4) // 4, (valid[2] + 2) // 2, valid[3]]).amax(0)
        starts = ragged(slots)
        hidden = values.new_zeros(1, BANDS, 8 * int(starts[-1]))
        hidden[0, :, _rows(8 * starts, valid[0])] = values.T
        for (weight, bias), scale, count in zip(layers, (4, 2, 1), valid[1:], strict=True):
            mask = torch.zeros(scale * int(starts[-1]))
            mask[_rows(scale * starts, count)] = 1
            hidden = F.relu(F.conv1d(hidden, weight, bias, stride=2, padding=1)) * mask
        slot = torch.repeat_interleave(slots)
        return hidden.new_zeros(batch, hidden.shape[1]).index_add(0, slot, hidden[0].T) / valid[3].unsqueeze(1)

    ways = {
        "padded to the longest, Conv1d": lambda: padded(torch.arange(batch)),
        "padded in groups of 8 of like length, Conv1d": grouped,
        "end to end with gaps, Conv1d": end_to_end,
        "emoviews": lambda: encoder(ViewBatch(values, offsets)),
    }
    channels = [BANDS, *(weight.shape[0] for weight, _ in layers)]
    products = [3 * a * b * frames / 2 ** (i + 1) for i, (a, b) in enumerate(pairwise(channels))]
    operations = 2 * (3 * sum(products) - products[0])  # the first layer's input needs no gradient
    floor = limits.seconds(values.nbytes, operations)
    compare(f"Temporal CNN, batch {batch}, {frames} frames, {BANDS} bands", encoder, ways, floor)


def _rows(starts: Tensor, counts: Tensor) -> Tensor:
    """`starts[i] … starts[i] + counts[i] − 1` of every utterance i."""
    utterance = torch.repeat_interleave(counts)
    return torch.arange(len(utterance)) - ragged(counts)[utterance] + starts[utterance]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=["mix", "cnn"])
    arguments = parser.parse_args()
    torch.manual_seed(0)
    limits = measure_limits(arguments.threads)
    print(f"threads: {arguments.threads}; {limits}\n")
    for batch in arguments.batch:
        if arguments.only != "cnn":
            mix(batch, limits)
        if arguments.only != "mix":
            cnn(batch, limits)


if __name__ == "__main__":
    main()
