"""Which rows of several sources are kept, so that each has its share of the training images.

Nothing is drawn twice: the source with the fewest rows for its weight is taken whole, and of the
others as many as the shares allow. Which ones depends on the seed and the row's key alone. Legend:
N rows, S sources.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from components.data.decisions import Decisions
from components.data.origins import Origin, names_of_rows
from components.data.reasons import Reason
from components.data.score_files import ScoreFiles


def sources_of_rows(scores: ScoreFiles, origins: Sequence[Origin]) -> np.ndarray:
    """Return the number of the source of each row, uint8 or uint16 [N].

    Args:
        scores: of all sources.
        origins: the sources.
    """
    found = np.zeros(scores.num_rows, dtype=np.uint8 if len(origins) < 256 else np.uint16)
    if len(origins) > 1:
        for at, batch in scores.batches(["shard"]):
            found[at : at + len(batch)] = names_of_rows(batch["shard"], origins)
    return found


def counts_for(weights: Sequence[float], there: Sequence[int]) -> list[int]:
    """Return how many rows of each source are kept, in proportion to the weights.

    Args:
        weights: of the sources, each above 0.
        there: rows that each has.
    """
    most = min(count / weight for weight, count in zip(weights, there, strict=True))
    pairs = zip(weights, there, strict=True)
    return [min(count, round(weight * most)) for weight, count in pairs]


def with_shares(
    decisions: Decisions,
    source_N: np.ndarray,
    weights: Sequence[float],
    keys: Iterable[str],
    seed: int,
) -> Decisions:
    """Return the decisions with the rows rejected that are too many for their source's weight.

    Args:
        decisions: of all rows.
        source_N: number of each row's source.
        weights: of the sources; all 0: nothing is rejected.
        keys: of the kept rows, in order.
        seed: of the choice.
    """
    if not any(weights):
        return decisions
    rows = np.flatnonzero(decisions.kept_N)
    places = np.fromiter((_place(seed, key) for key in keys), dtype=np.uint64, count=len(rows))
    of_kept = source_N[rows]
    wanted = counts_for(weights, np.bincount(of_kept, minlength=len(weights)).tolist())
    codes, reasons = decisions.codes_N.copy(), (*decisions.reasons, Reason.FILTER_WEIGHT.value)
    for number, count in enumerate(wanted):
        own = np.flatnonzero(of_kept == number)
        order = own[np.argsort(places[own], kind="stable")]
        codes[rows[order[count:]]] = len(reasons) - 1
    return replace(decisions, reasons=reasons, codes_N=codes)


def report_of_sources(
    decisions: Decisions, heldout_N: np.ndarray, source_N: np.ndarray, names: Sequence[str]
) -> dict[str, Any]:
    """Count every row once, under its source: {name: {in, kept, heldout, rejected}}."""
    kept = decisions.kept_N
    found: dict[str, Any] = {}
    for number, name in enumerate(names):
        own = source_N == number
        some = Decisions(decisions.reasons, decisions.codes_N[own])
        found[name] = {
            "in": int(own.sum()),
            "kept": int((kept & own & ~heldout_N).sum()),
            "heldout": int((kept & own & heldout_N).sum()),
            "rejected": some.rejected(),
        }
    return found


def _place(seed: int, key: str) -> int:
    mark = hashlib.sha256(f"weight {seed}:{key}".encode()).digest()[:8]
    return int.from_bytes(mark, "big")
