"""Seeds: every random choice has a seed of its own, derived from what it is for, so that runs repeat bit for bit."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator


def derive_seed(*parts: object) -> int:
    """A 63-bit seed that depends on all parts, the same on every machine.

    >>> derive_seed(0, "weights") == derive_seed(0, "weights"), derive_seed(0, "weights") == derive_seed(1, "weights")
    (True, False)
    """
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@contextlib.contextmanager
def torch_seed(seed: int) -> Iterator[None]:
    """Seed torch's global generators inside the block, and put those of the CPU and of CUDA back as they were after it."""
    import torch

    # Asking an idle GPU for its generator's state would start it, in every worker process that trains on the CPU.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield
