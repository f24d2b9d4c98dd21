"""Train the judge, the attribute classifier that measures generated images and does nothing else.

Its training images are noised, softened and shifted, so that it also reads the images of a young
generator: what it is asked about is the shape, not the grain.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from components.data.captions import PAIR_ATTRIBUTES
from components.errors import DataError
from components.pretraining import augment
from components.pretraining.config import JudgeTraining
from components.pretraining.fitting import Say, fit, freeze, thaw
from components.pretraining.images import ImageSet
from models.features import AttributeNet
from models.features.preprocess import area_resize

MEAN, STD = [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]
NOISE, BRIGHTNESS, CONTRAST, SOFT_SHARE = 0.15, 0.15, 0.2, 0.3
_CHUNK = 500


def train_judge(
    images: ImageSet, config: JudgeTraining, rng: torch.Generator, say: Say
) -> tuple[AttributeNet, dict[str, float]]:
    """Train the judge; return it frozen, with its last training loss.

    Raises:
        DataError: some caption does not tell all attributes.
    """
    if images.attributes is None:
        todo = "set encoders.judge.source: none for real data"
        raise DataError("captions without known attributes", "encoders.judge", todo)
    truth = images.attributes
    mirrored = "relation" not in truth  # a mirror makes left right
    architecture: dict[str, Any] = {
        "widths": list(config.widths),
        "strides": list(config.strides),
        "pooled_dim": config.pooled_dim,
        "classes": {name: PAIR_ATTRIBUTES[name] for name in truth},
    }
    if not mirrored:
        architecture["places"] = True
    net = AttributeNet.build(architecture, image_size_px=config.image_size_px, mean=MEAN, std=STD)
    model = thaw(net.network)

    def loss(rows: Tensor, progress: float) -> Tensor:
        x = _disturb(area_resize(images.images(rows), config.image_size_px), rng, mirrored=mirrored)
        logits = model(net.preprocess(x))
        terms = [F.cross_entropy(logits[name], truth[name][rows]) for name in truth]
        return torch.stack(terms).sum()

    value = fit([model], loss, num_images=len(images), config=config.fit, rng=rng, say=say)
    freeze(model)
    return net, {"loss": value}


def _disturb(x_NCHW: Tensor, rng: torch.Generator, *, mirrored: bool) -> Tensor:
    x = augment.mirror(x_NCHW, rng) if mirrored else x_NCHW
    x = augment.soften(x, SOFT_SHARE, rng)
    x = augment.scale_contrast(x, CONTRAST, rng)
    x = augment.shift_brightness(x, BRIGHTNESS, rng)
    return augment.add_noise(x, NOISE, rng)


@torch.no_grad()
def attribute_guesses(net: AttributeNet, images: ImageSet) -> dict[str, Tensor]:
    """Return what the judge says of each image: attribute -> index of its value [N]."""
    guesses: dict[str, list[Tensor]] = {name: [] for name in net.classes}
    for rows in torch.arange(len(images)).split(_CHUNK):
        logits = net(images.images(rows))
        for name, parts in guesses.items():
            parts.append(logits[name].argmax(dim=1))
    return {name: torch.cat(parts) for name, parts in guesses.items()}


def attribute_accuracy(net: AttributeNet, images: ImageSet) -> dict[str, float]:
    """Measure the share of images for which each attribute, and all together, is right."""
    if images.attributes is None:
        return {}
    guesses = attribute_guesses(net, images)
    known = images.attributes
    right = {name: guess == known[name] for name, guess in guesses.items() if name in known}
    right["all"] = torch.stack(list(right.values())).all(dim=0)
    return {f"accuracy_{name}": float(hit.float().mean()) for name, hit in right.items()}
