"""Three scores that take seconds, for the trials of a search.

Neither the judge nor the scorer is asked here: a search would fit them, and nothing independent
would be left to measure with. Legend: N images, D width.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.artifacts.frozen_nets import is_absent
from components.data.captions import attributes_of, attributes_of_class
from components.evaluation.alignment import prompt_sensitivity
from components.evaluation.distances import Moments, frechet_distance
from components.evaluation.features import features_of, generated, held_out, stack
from components.evaluation.held_out_looks import what_is_shown
from components.evaluation.looks import small_pictures
from components.evaluation.nets import MeasuringNet, open_net
from components.evaluation.seed_variety import Against, grouped, variety
from components.sampling import device_of, from_uint8, generate_from, to_uint8
from models.text_to_image import give_words

BATCH = 32
PROMPTS, SEEDS = 8, 6  # images whose seeds are compared: 120 pairs
# Real images that they are compared with: of 512 drawings of the embedded corpus some 230 pairs
# show the same, of 256 barely as many as are needed.
REAL = 512


def quick_scores(
    generator: Any, batches: Any, encoders_dir: Path, *, num: int, seed: int, role: str
) -> dict[str, float]:
    """Return a Frechet distance and the seeds' variety on a training encoder's features, and the
    alignment by CLIP.

    Args:
        generator: a Generator.
        batches: a BatchSource; its first `num` samples are the real side and give the prompts.
        encoders_dir: folder of the frozen nets.
        num: images on each side; distances of different `num` are not comparable.
        seed: first noise seed.
        role: encoder of the distance and the variety: dino, classifier or clip.

    Returns:
        `frechet`, lower is better; `alignment`, higher is better: CLIP's cosine with the own prompt
        minus that with the others' (0 without captions or without a CLIP). A plain cosine would
        reward a generator that ignores its prompt and draws what CLIP likes. `seed_variety`: how
        much the seeds of a prompt differ, by features or by pixels (at 32 px), whichever says less;
        1 = as real images (1 too where nothing can be compared, so that nothing is held against a
        trial). Two views, for the features of a net that never saw noise may take noise for
        variety, and pixels may take brightness for it.

    Raises:
        ValueError: role is the judge.
        StorageError: an encoder is missing or damaged.
    """
    if role == "judge":
        raise ValueError("the judge takes no part in a search: use dino, classifier or clip")
    device = device_of(generator)
    net = open_net(encoders_dir, role, device)
    with_text = batches.shape.pooled_dim and not is_absent(encoders_dir, "clip")
    clip = open_net(encoders_dir, "clip", device) if with_text else None
    if clip is not None:
        give_words(generator, clip.network)
    real, shown = _real(batches, net, max(num, min(REAL, batches.num_rows)))
    fake, images, texts = [], [], []
    prompts: list[str] = []
    for pixels, captions in generated(generator, batches, count=num, batch=BATCH, seed=seed):
        fake.append(features_of(net.network, pixels))
        if clip is not None and captions:
            prompts += captions
            images.append(features_of(clip.network, pixels)["pooled"])
            with torch.inference_mode():
                texts.append(clip.network.encode_text(list(captions)).float().cpu())
    distance = frechet_distance(Moments.of(real.pooled_ND[:num]), Moments.of(stack(fake)["pooled"]))
    aligned = None
    if texts:
        aligned = prompt_sensitivity(torch.cat(images), torch.cat(texts), prompts)
    varied = _seed_variety(generator, batches, net, real, Against.of(shown), seed)
    return {"frechet": distance, "alignment": aligned or 0.0, "seed_variety": varied}


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """N images as the two views see them: features of a net, and small pictures."""

    pooled_ND: Tensor
    pixel_ND: Tensor

    @classmethod
    def of(cls, net: MeasuringNet, parts: Iterable[np.ndarray]) -> _Seen:
        """See uint8 images [N, H, W, 3], batch by batch."""
        pairs = [
            (features_of(net.network, part)["pooled"], small_pictures(from_uint8(part)))
            for part in parts
        ]
        pooled, pixels = zip(*pairs, strict=True)
        return cls(pooled_ND=torch.cat(pooled), pixel_ND=torch.cat(pixels))


def _real(batches: Any, net: MeasuringNet, count: int) -> tuple[_Seen, list[Hashable]]:
    """Return how real images look, and what each of them shows."""
    read = attributes_of if batches.shape.pooled_dim else attributes_of_class
    parts, shown = [], []
    for rows in held_out(batches, count, BATCH):
        assert rows.image_NCHW is not None, "a held-out row has an image"
        parts.append(to_uint8(rows.image_NCHW))
        shown += what_is_shown(rows, read)
    return _Seen.of(net, parts), shown


def _seed_variety(
    generator: Any, batches: Any, net: MeasuringNet, real: _Seen, against: Against, seed: int
) -> float:
    """Return how much the seeds of a few prompts differ; 1 where nothing can be compared.

    Where nothing is asked for, all images are of one prompt, each of its own seed.
    """
    asked = batches.shape.pooled_dim or batches.shape.num_labels
    (rows,) = held_out(batches, PROMPTS, PROMPTS)
    each = torch.arange(PROMPTS).repeat_interleave(SEEDS)
    seeds = list(range(seed, seed + SEEDS)) * PROMPTS if asked else range(seed, seed + len(each))
    images = generate_from(generator, rows.condition[each], seeds, batch=BATCH)
    parts = np.array_split(images, -(-len(images) // BATCH))
    drawn = _Seen.of(net, parts)
    own = grouped(each.tolist() if asked else [0] * len(each))
    views = (
        variety(drawn.pooled_ND, own, real.pooled_ND, against),
        variety(drawn.pixel_ND, own, real.pixel_ND, against),
    )
    return min((view for view in views if view is not None), default=1.0)
