"""Two scores that take seconds, for the trials of a search.

The judge is never asked here: a search would fit it, and nothing independent would be left to
measure with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from components.evaluation.alignment import prompt_sensitivity
from components.evaluation.distances import Moments, frechet_distance
from components.evaluation.features import features_of, generated, held_out_images, stack
from components.evaluation.nets import open_net
from components.sampling import device_of

BATCH = 32


def quick_scores(
    generator: Any, batches: Any, encoders_dir: Path, *, num: int, seed: int, role: str
) -> dict[str, float]:
    """Return the Frechet distance on a training encoder's features, and the alignment by CLIP.

    Args:
        generator: a Generator.
        batches: a BatchSource; its first `num` samples are the real side and give the prompts.
        encoders_dir: folder of the frozen nets.
        num: images on each side; distances of different `num` are not comparable.
        seed: first noise seed.
        role: encoder of the distance: dino, classifier or clip.

    Returns:
        `frechet`, lower is better; `alignment`, higher is better: CLIP's cosine with the own prompt
        minus that with the others' (0 without captions or without a CLIP). A plain cosine would
        reward a generator that ignores its prompt and draws what CLIP likes.

    Raises:
        ValueError: role is the judge.
        StorageError: an encoder is missing or damaged.
    """
    if role == "judge":
        raise ValueError("the judge takes no part in a search: use dino, classifier or clip")
    device = device_of(generator)
    net = open_net(encoders_dir, role, device)
    with_text = batches.shape.pooled_dim and (encoders_dir / "clip").is_dir()
    clip = open_net(encoders_dir, "clip", device) if with_text else None
    real = stack(
        features_of(net.network, pixels) for pixels in held_out_images(batches, num, BATCH)
    )
    fake, images, texts = [], [], []
    prompts: list[str] = []
    for pixels, captions in generated(generator, batches, count=num, batch=BATCH, seed=seed):
        fake.append(features_of(net.network, pixels))
        if clip is not None and captions:
            prompts += captions
            images.append(features_of(clip.network, pixels)["pooled"])
            with torch.inference_mode():
                texts.append(clip.network.encode_text(list(captions)).float().cpu())
    distance = frechet_distance(Moments.of(real["pooled"]), Moments.of(stack(fake)["pooled"]))
    aligned = None
    if texts:
        aligned = prompt_sensitivity(torch.cat(images), torch.cat(texts), prompts)
    return {"frechet": distance, "alignment": aligned or 0.0}
