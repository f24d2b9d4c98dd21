"""Measure whether a generator repeats training images, by the nearest one of each sample.

How near is too near, real images of the same kind say: held-out ones, which the training never saw,
have nearest training images too. Three sets and their nearest distances are compared as by Meehan,
Chaudhuri and Dasgupta 2020 (arXiv 2004.05675, section 2); they rank all distances, which shows a
generator that copies everywhere, while few copies among many new images stand in the low tail.
That tail is counted here. Legend: M samples, H held-out images, T training images, D width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.evaluation.cards import COPIES, GUIDE_LOOKS
from components.evaluation.distances import block_rows
from components.evaluation.features import real_features
from components.evaluation.looks import THUMBNAIL_PX, small_pictures
from components.evaluation.nets import MeasuringNet
from components.evaluation.pieces import TRAINING
from components.evaluation.sampled import Sampled
from components.evaluation.seed_variety import measuring_net

IMAGES_LIMIT = 1000  # samples and held-out images that are compared, at most so many of each
# The share of held-out images that count as near. Low, for copies are in the tail; not lower, for
# with the fewest images that are measured it is the nearest one alone.
NEAR = 0.05
FEWEST = 20
# So many times the held-out share is a warning. With 20 held-out images the nearest one lies by
# chance above 15 % of all distances in 0.85 ** 20 = 4 % of cases, in both spaces more seldom.
TIMES = 3.0
POOLED = 2  # of the looks' small pictures: 16 px tell images apart at a quarter of the time
PAIRS = 10  # columns of the sheet

SPACES = {"memorised": "by features", "memorised_pixels": "by pixels"}


@dataclass(frozen=True, kw_only=True)
class Space:
    """Vectors of the three sets in one space.

    Attributes:
        sample_MD: of generated images.
        held_out_HD: of real images that were not trained on.
        training_TD: of those that were.
    """

    sample_MD: Tensor
    held_out_HD: Tensor
    training_TD: Tensor


@dataclass(frozen=True, kw_only=True)
class Nearness:
    """How near training images are, in one space.

    Attributes:
        index_M: the training image that is nearest to each sample.
        ratio_M: its distance over the threshold; at most 1 is near, 0 a copy.
        share: of the samples that are near.
        expected: of the held-out images, `NEAR` unless several lie at the very threshold.
    """

    index_M: Tensor
    ratio_M: Tensor
    share: float
    expected: float

    @classmethod
    def of(cls, space: Space) -> Nearness:
        """Measure a space; the threshold is the `NEAR` quantile of the held-out distances."""
        real_H, _ = nearest(space.held_out_HD, space.training_TD)
        drawn_M, index_M = nearest(space.sample_MD, space.training_TD)
        threshold = real_H.sort().values[math.ceil(NEAR * len(real_H)) - 1]
        ratio_M = torch.where(drawn_M > 0, drawn_M / threshold, 0.0)  # 0 / 0 is a copy
        return cls(
            index_M=index_M,
            ratio_M=ratio_M,
            share=float((drawn_M <= threshold).double().mean()),
            expected=float((real_H <= threshold).double().mean()),
        )


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A sample and its nearest training image in each space.

    Attributes:
        sample: its number; made with the seed of that number from the held-out condition there.
        training: name of the space -> position in the stream of training images.
        ratio: name of the space -> distance over the threshold.
    """

    sample: int
    training: dict[str, int]
    ratio: dict[str, float]


def nearest(vector_MD: Tensor, among_TD: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Euclidean distance to the nearest vector, float64 [M], and its index, [M].

    The search is in float32, in blocks of bounded memory; the distance that is found is exact, so
    that a copy is at 0.
    """
    centre_D = among_TD.mean(dim=0)  # float32 has few digits for differences far from 0
    centred_TD = (among_TD - centre_D).float()
    parts = [
        torch.cdist((rows - centre_D).float(), centred_TD).argmin(dim=1)
        for rows in vector_MD.split(block_rows(len(among_TD)))
    ]
    index_M = torch.cat(parts)
    return (vector_MD.double() - among_TD[index_M].double()).norm(dim=1), index_M


def closest_pairs(found: Mapping[str, Nearness], count: int) -> list[Pair]:
    """Return the samples that are nearest to a training image in either space, the nearest first.

    A sample is counted in each space by itself, so the smaller of its two ratios decides: the sheet
    shows those that were counted before any other. Equals are ordered by the larger one.
    """
    ratio_SM = torch.stack([one.ratio_M for one in found.values()])
    by_larger_M = ratio_SM.amax(dim=0).argsort(stable=True)
    order_M = by_larger_M[ratio_SM.amin(dim=0)[by_larger_M].argsort(stable=True)]
    return [
        Pair(
            sample=sample,
            training={name: int(one.index_M[sample]) for name, one in found.items()},
            ratio={name: float(one.ratio_M[sample]) for name, one in found.items()},
        )
        for sample in order_M[:count].tolist()
    ]


class WithPixels(nn.Module):
    """A frozen net that also tells the pixels of a small picture: one pass over images for both."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        """Return `pooled` of the net and `pixels` of images in [-1, 1]."""
        pooled_ND = self.network(image_NCHW)["pooled"]
        return {"pooled": pooled_ND, "pixels": coarse(small_pictures(image_NCHW))}


def coarse(pixel_ND: Tensor) -> Tensor:
    """Return still smaller pictures of the looks' small pictures."""
    small = pixel_ND.unflatten(1, (3, THUMBNAIL_PX, THUMBNAIL_PX))
    return F.avg_pool2d(small, POOLED).flatten(1)


def measure_memorisation(bench: Any, sampled: Sampled) -> dict[str, Any]:
    """Return how many samples are nearer to a training image than held-out images are.

    Args:
        bench: the measuring bench.
        sampled: what was seen on generated images, looks included.

    Returns:
        scores: `memorised` (by features of the net that measures seed variety) and
        `memorised_pixels`, shares of samples in [0, 1], and `memorised_held_out`, the share of
        held-out images that count as near by the same thresholds. cards, missing, warnings and
        pairs (for the sheet) beside them.
    """
    spaces = _spaces(bench, sampled)
    if isinstance(spaces, str):
        scores = dict.fromkeys((*SPACES, "memorised_held_out"))
        missing = dict.fromkeys(scores, spaces)
        return {"scores": scores, "cards": {}, "missing": missing, "warnings": [], "pairs": []}
    found = {name: Nearness.of(space) for name, space in spaces.items()}
    expected = max(one.expected for one in found.values())
    warnings = _warnings(found)
    scores = {name: one.share for name, one in found.items()}
    scores["memorised_held_out"] = expected
    net, one = measuring_net(bench), next(iter(spaces.values()))
    seen, held = len(one.training_TD), len(one.held_out_HD)
    note = (
        f"nearest of {seen} of {bench.training.num_rows} training images; "
        f"{expected:.3f} of {held} held-out images are as near"
    )
    measured = {"memorised": net, "memorised_pixels": "pixels", "memorised_held_out": net}
    notes = {"memorised": GUIDE_LOOKS if net.role == "clip" else ""}
    cards = {
        name: bench.card(
            by,
            len(one.sample_MD),
            num_real=seen,
            note="; ".join(filter(None, (note, notes.get(name), *warnings))),
        )
        for name, by in measured.items()
    }
    pairs = closest_pairs(found, PAIRS)
    return {"scores": scores, "cards": cards, "missing": {}, "warnings": warnings, "pairs": pairs}


def _spaces(bench: Any, sampled: Sampled) -> dict[str, Space] | str:
    """Return the two spaces, or why there are none."""
    training, real = bench.training, bench.held_out.looks.pixel_ND[:IMAGES_LIMIT]
    if training is None or not training.num_rows:
        return "the images that the model was trained on are not at hand"
    if len(real) < FEWEST:
        return f"{len(real)} held-out images say too little about nearness: hold out {FEWEST}"
    assert sampled.looks is not None, "sampled with looks"
    net = measuring_net(bench)
    told = training_vectors(bench, net, num_compared(bench))
    drawn_MD = sampled.feature_MD if sampled.image_MD is None else sampled.image_MD
    return {
        "memorised": Space(
            sample_MD=drawn_MD[:IMAGES_LIMIT],
            held_out_HD=bench.real(net)["pooled"][: len(real)],
            training_TD=told["pooled"],
        ),
        "memorised_pixels": Space(
            sample_MD=coarse(sampled.looks.pixel_ND[:IMAGES_LIMIT]),
            held_out_HD=coarse(real),
            training_TD=told["pixels"],
        ),
    }


def with_pixels(net: MeasuringNet) -> MeasuringNet:
    """Return a net that tells of training images what is asked of them, under a name of its own."""
    return replace(net, network=WithPixels(net.network), sha256=f"{net.sha256} and pixels")


def num_compared(bench: Any) -> int:
    """Return how many training images are looked at."""
    return min(bench.training.num_rows, bench.config.memorised_images)


def training_features(bench: Any) -> Tensor:
    """Return what the distances' net sees on the first training images [N, D]."""
    count = num_for_distance(bench)
    looked = [n for net, n in training_looks(bench) if net.sha256 == bench.net.sha256]
    among = next(n for n in looked if n >= count)
    return training_vectors(bench, bench.net, among)["pooled"][:count]


def training_looks(bench: Any) -> list[tuple[MeasuringNet, int]]:
    """Return which net looks at how many training images: for memorisation, for the probe of
    classes, and for their distance where neither of them asks the distances' net.
    """
    compared = num_compared(bench)
    found = [(measuring_net(bench), compared)]
    if bench.probes_classes:
        found.append((bench.net, compared))
    count = num_for_distance(bench)
    if not any(net.sha256 == bench.net.sha256 and n >= count for net, n in found):
        found.append((bench.net, count))
    return found


def num_for_distance(bench: Any) -> int:
    """Return how many training images the distance of such images takes: as many as are drawn."""
    return min(bench.training.num_rows, bench.config.num_fake)


def training_vectors(bench: Any, net: MeasuringNet, count: int) -> dict[str, Tensor]:
    """Return `pooled` and `pixels` of training images, from the cache if it has them."""
    parts = bench.real_vectors(bench.real_pieces(TRAINING, net, count))
    both = with_pixels(net)
    return real_features(bench.training, both, count=count, parts=parts, cache=bench.cache)


def _warnings(found: Mapping[str, Nearness]) -> list[str]:
    """Return a line where many more samples than held-out images are near, in both spaces."""
    if not all(one.share >= TIMES * one.expected for one in found.values()):
        return []
    shares = [f"{SPACES[name]} {100 * one.share:.0f} %" for name, one in found.items()]
    real = max(one.expected for one in found.values())
    return [
        f"{COPIES}: {' and '.join(shares)} of the images are as near to one as "
        f"{100 * real:.0f} % of held-out images are"
    ]
