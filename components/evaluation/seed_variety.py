"""Measure how much the images of one prompt differ from seed to seed, against real images.

A generator that draws one picture per prompt is a lookup table, and a distance between whole sets
hardly shows it. 1 means: as different as real images that show the same. Legend: N images, D width.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.evaluation.cards import SAME_SEEDS
from components.evaluation.features import features_of, held_out, stack
from components.evaluation.looks import Looks
from components.evaluation.pieces import SEEDS, Piece
from components.sampling import generate_from

REAL_PAIRS = 50  # fewer pairs of real images that show the same say nothing
ENLARGES = "the model only enlarges: its seeds differ in detail alone"
LOW = 0.3  # below it the seeds of a prompt draw nearly the same, by that measure

BY = {
    "seed_variety": "by features",
    "seed_variety_pixels": "by pixels",
    "seed_variety_centre": "by place",
}
THE_SAME = "real images that show the same"
ANY = "all real images"
TOO_FEW = f"{ANY}, of which too few show the same"


@dataclass(frozen=True, kw_only=True)
class Against:
    """Real images to compare with.

    Attributes:
        groups: rows that show the same, two or more in each.
        words: which real images these are, in words.
    """

    groups: tuple[tuple[int, ...], ...]
    words: str

    @classmethod
    def of(cls, shown: Sequence[Hashable]) -> Against:
        """Group rows by what they show (None = nothing that is known); all of them together where
        too few show the same.
        """
        together = (tuple(range(len(shown))),)
        if all(key is None for key in shown):
            return cls(groups=together, words=ANY)
        groups = grouped(shown)
        if sum(len(group) * (len(group) - 1) // 2 for group in groups) >= REAL_PAIRS:
            return cls(groups=groups, words=THE_SAME)
        return cls(groups=together, words=TOO_FEW)


def grouped(keys: Sequence[Hashable]) -> tuple[tuple[int, ...], ...]:
    """Return the rows of each key that two rows or more have, in the keys' order."""
    rows: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    return tuple(tuple(group) for group in rows.values() if len(group) > 1)


def spread(vector_ND: Tensor, groups: Sequence[Sequence[int]]) -> float | None:
    """Return the mean distance between two vectors of one group, over all such pairs.

    Vectors with NaN are left out.

    Returns:
        None where no pair is left.
    """
    total, pairs = 0.0, 0
    for group in groups:
        inside_MD = vector_ND[list(group)].double()
        inside_MD = inside_MD[inside_MD.isfinite().all(dim=1)]
        distances = torch.nn.functional.pdist(inside_MD)
        total, pairs = total + float(distances.sum()), pairs + distances.numel()
    return total / pairs if pairs else None


def variety(
    drawn_ND: Tensor, own: Sequence[Sequence[int]], real_ND: Tensor, against: Against
) -> float | None:
    """Return the spread of drawn images within their prompts over that of real images.

    Args:
        drawn_ND: vectors of the drawn images.
        own: their rows, a group for each prompt.
        real_ND: vectors of the real images.
        against: their groups.

    Returns:
        None where one side has no pair, or real images do not differ.
    """
    ours, theirs = spread(drawn_ND, own), spread(real_ND, against.groups)
    if ours is None or not theirs:
        return None
    return ours / theirs


def sample_seeds(bench: Any, generator: Any) -> tuple[Tensor, Looks, list[int]]:
    """Generate some held-out prompts with several seeds each.

    Where nothing is asked for, every image has a seed of its own and all are of one prompt.

    Returns:
        features by `measuring_net` and looks of M images, and the prompt that each is of.
    """
    config = bench.config
    count = min(config.variety_prompts, bench.source.num_rows)
    (rows,) = held_out(bench.source, count, count)
    each = torch.arange(count).repeat_interleave(config.variety_seeds)
    seeds = list(range(config.seed, config.seed + config.variety_seeds)) * count
    if not bench.asked:
        seeds = list(range(config.seed, config.seed + len(each)))
    images = generate_from(generator, rows.condition[each], seeds, batch=config.batch)
    parts = np.array_split(images, -(-len(images) // config.batch))
    network = measuring_net(bench).network
    feature_MD = stack(features_of(network, part) for part in parts)["pooled"]
    looks = Looks.of(images, (), outlined=bench.held_out.outlines is not None)
    return feature_MD, looks, each.tolist() if bench.asked else [0] * len(each)


def measuring_net(bench: Any) -> Any:
    """Return the net that tells images of one prompt apart: the scorer, else the distances'."""
    return bench.clip or bench.net


def measure_seeds(bench: Any, generator: Any) -> dict[str, Any]:
    """Return how much the seeds of a prompt differ, by features, pixels and objects' centres.

    Args:
        bench: the measuring bench.
        generator: a Generator.

    Returns:
        scores: `seed_variety`, `seed_variety_pixels` and, where captions tell of a shape,
        `seed_variety_centre`; 1 = as much as real images. cards, missing and warnings beside them.
    """
    if getattr(generator, "shrinks", 1) > 1:
        nothing = dict.fromkeys(("seed_variety", "seed_variety_pixels"))
        missing = dict.fromkeys(nothing, ENLARGES)
        return {"scores": nothing, "cards": {}, "missing": missing, "warnings": []}
    drawn_MD, looks, prompts = bench.look(Piece(of=SEEDS), generator)["seeds"]
    real, net = bench.held_out, measuring_net(bench)
    against, own = Against.of(real.shown), grouped(prompts)
    real_ND = bench.real(net)["pooled"][: len(real.shown)]
    scores = {
        "seed_variety": variety(drawn_MD, own, real_ND, against),
        "seed_variety_pixels": variety(looks.pixel_ND, own, real.looks.pixel_ND, against),
    }
    if real.outlines is not None:  # there are objects
        places = variety(looks.centre_N2, own, real.looks.centre_N2, against)
        scores["seed_variety_centre"] = places
    why = "no two images to compare, or no object that stands out"
    missing = {name: why for name, value in scores.items() if value is None}
    warnings = _warnings(scores, against)
    note = "; ".join([f"compared with {against.words}", *warnings])
    measured = {
        "seed_variety": net,
        "seed_variety_pixels": "pixels",
        "seed_variety_centre": "places",
    }
    cards = {
        name: bench.card(measured[name], len(prompts), num_real=len(real.shown), note=note)
        for name in scores
        if name not in missing
    }
    return {"scores": scores, "cards": cards, "missing": missing, "warnings": warnings}


def _warnings(scores: Mapping[str, float | None], against: Against) -> list[str]:
    """Return a line that names each measure by which the seeds are nearly the same.

    Real images that do not show the same are no yardstick for that.
    """
    low = [
        f"{BY[name]} {value:.2f}"
        for name, value in scores.items()
        if value is not None and value < LOW and against.words != TOO_FEW
    ]
    return [f"{SAME_SEEDS}, {' and '.join(low)} of {against.words}"] if low else []
