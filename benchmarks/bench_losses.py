"""Speed of the pairwise loss, forward and backward, against plain formulations in one run; prints a Markdown table.

    python benchmarks/bench_losses.py [--views 3] [--batch 128] [--dim 128] [--threads 1]

Medians of 5 rounds, each over enough steps to last a tenth of a second. All formulations are checked against each other
before they are timed. The floor is the matrix products alone: one for the Gram matrix, two for its gradient.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import combinations

import torch
import torch.nn.functional as F
from _common import medians, repeated, table
from torch import Tensor

from emoviews.losses import make_loss

TEMPERATURE = 0.5


def naive_loop(vectors: list[Tensor]) -> Tensor:
    """Equations 1 to 3 an anchor at a time."""
    losses = []
    for v, w in combinations(range(len(vectors)), 2):
        for anchors, others in ((vectors[v], vectors[w]), (vectors[w], vectors[v])):
            for i, anchor in enumerate(anchors):
                across = F.cosine_similarity(anchor.unsqueeze(0), others) / TEMPERATURE
                within = F.cosine_similarity(anchor.unsqueeze(0), anchors) / TEMPERATURE
                rest = torch.cat([across, within[:i], within[i + 1 :]])
                losses.append(rest.logsumexp(0) - across[i])
    return torch.stack(losses).mean()


def pairs_with_masks(vectors: list[Tensor]) -> Tensor:
    """A pair at a time, positives and negatives picked by boolean masks: the common SimCLR code."""
    losses = []
    for a, b in combinations(vectors, 2):
        n = len(a)
        u = F.normalize(torch.cat([a, b]), dim=1)
        similarities = u @ u.T
        same = (torch.arange(2 * n).unsqueeze(0) % n) == (torch.arange(2 * n).unsqueeze(1) % n)
        off_diagonal = ~torch.eye(2 * n, dtype=torch.bool)
        same = same[off_diagonal].view(2 * n, -1)
        similarities = similarities[off_diagonal].view(2 * n, -1)
        positives, negatives = similarities[same].view(2 * n, -1), similarities[~same].view(2 * n, -1)
        logits = torch.cat([positives, negatives], dim=1) / TEMPERATURE
        losses.append(F.cross_entropy(logits, torch.zeros(2 * n, dtype=torch.int64)))
    return torch.stack(losses).mean()


def pairs_by_cross_entropy(vectors: list[Tensor]) -> Tensor:
    """A pair at a time, the diagonal filled with −∞."""
    losses = []
    for a, b in combinations(vectors, 2):
        n = len(a)
        u = F.normalize(torch.cat([a, b]), dim=1)
        logits = (u @ u.T / TEMPERATURE).masked_fill(torch.eye(2 * n, dtype=torch.bool), -torch.inf)
        losses.append(F.cross_entropy(logits, (torch.arange(2 * n) + n) % (2 * n)))
    return torch.stack(losses).mean()


def one_gram_by_autograd(vectors: list[Tensor]) -> Tensor:
    """The same formulas as ours, the gradient left to autograd."""
    views, batch = len(vectors), len(vectors[0])
    u = F.normalize(torch.cat(vectors), dim=1)
    gram = (u @ u.T / TEMPERATURE).masked_fill(torch.eye(len(u), dtype=torch.bool), -torch.inf)
    gram = gram.view(views, batch, views, batch)
    blocks = gram.logsumexp(-1).transpose(1, 2)  # (views, views, batch)
    within = blocks.diagonal(dim1=0, dim2=1).T.unsqueeze(1)
    positives = gram.diagonal(dim1=1, dim2=3)
    other = ~torch.eye(views, dtype=torch.bool)
    return (torch.logaddexp(blocks, within)[other] - positives[other]).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    vectors = [torch.randn(arguments.batch, arguments.dim, requires_grad=True) for _ in range(arguments.views)]
    module = make_loss("pairwise_nt_xent", temperature=TEMPERATURE)

    def ours(vectors: list[Tensor]) -> Tensor:
        loss: Tensor = module({str(v): x for v, x in enumerate(vectors)})[0]
        return loss

    def one_missing(vectors: list[Tensor]) -> Tensor:
        present = {"0": torch.arange(arguments.batch) > 0}
        loss: Tensor = module({str(v): x for v, x in enumerate(vectors)}, present=present)[0]
        return loss

    formulations = {
        "an anchor at a time": naive_loop,
        "a pair at a time, boolean masks": pairs_with_masks,
        "a pair at a time, cross-entropy": pairs_by_cross_entropy,
        "one Gram matrix, autograd": one_gram_by_autograd,
        "emoviews": ours,
    }
    expected = torch.autograd.grad(naive_loop(vectors), vectors)
    for name, loss in formulations.items():
        for got, want in zip(torch.autograd.grad(loss(vectors), vectors), expected, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6, msg=name)
    formulations["emoviews, one utterance without one view"] = one_missing

    steps: dict[str, Callable[[], object]] = {
        name: lambda loss=loss: torch.autograd.grad(loss(vectors), vectors)  # type: ignore[misc]
        for name, loss in formulations.items()
    }
    u = torch.randn(arguments.views * arguments.batch, arguments.dim)
    gram = torch.empty(len(u), len(u))
    steps["floor: matrix products alone"] = lambda: (torch.mm(u, u.T, out=gram), torch.mm(gram, u), torch.mm(gram.T, u))
    often = {name: repeated(step) for name, step in steps.items()}  # each long enough for the clock
    taken = medians({name: many for name, (many, _) in often.items()})
    times = {name: 1e3 * taken[name] / count for name, (_, count) in often.items()}
    rows = [[name, f"{time_ms:.2f}", f"{time_ms / times['emoviews']:.2f}"] for name, time_ms in times.items()]
    print(
        f"NT-Xent, {arguments.views} views × {arguments.batch} × {arguments.dim}, forward + backward, "
        f"threads: {arguments.threads}\n"
    )
    print(table(["formulation", "ms", "emoviews is faster by"], rows))


if __name__ == "__main__":
    main()
