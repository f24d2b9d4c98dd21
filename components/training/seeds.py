"""Counter-based randomness: every draw depends on what it is for, not on who draws it or when.

Because the seed of a micro-batch derives from (seed, purpose, nimg, phase, index) alone, a resumed
run, and a run on another number of ranks, draw the same numbers, and there is no generator state to
save.
"""

from __future__ import annotations

import hashlib

import torch


def derived_seed(
    seed: int, purpose: str, nimg: int = 0, phase: str = "", micro_batch: int = 0
) -> int:
    """Return a seed in [0, 2^63) that is independent for every different argument tuple.

    Args:
        seed: the run's seed.
        purpose: what the numbers are for ("loss", "build", "sample"), so that uses never share a
            stream.
        nimg: images seen when the iteration begins.
        phase: name of the phase.
        micro_batch: index of the micro-batch within the global batch.
    """
    counter = f"{seed}|{purpose}|{nimg}|{phase}|{micro_batch}".encode()
    return int.from_bytes(hashlib.blake2b(counter, digest_size=8).digest(), "big") >> 1


def generator(
    device: torch.device | str,
    seed: int,
    purpose: str,
    nimg: int = 0,
    phase: str = "",
    micro_batch: int = 0,
) -> torch.Generator:
    """Return a fresh torch.Generator on `device`, seeded by `derived_seed`."""
    value = derived_seed(seed, purpose, nimg, phase, micro_batch)
    return torch.Generator(device).manual_seed(value)
