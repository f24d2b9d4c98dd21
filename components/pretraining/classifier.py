"""Train a small timm CNN to tell classes apart: feature maps at four strides, and class logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from components.errors import DataError
from components.pretraining import augment
from components.pretraining.config import ClassifierTraining
from components.pretraining.fitting import Say, fit, freeze, thaw
from components.pretraining.images import ImageSet
from models.features import CnnNet

MEAN, STD = [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]
NOISE, BRIGHTNESS = 0.1, 0.1
_CHUNK = 500


def train_classifier(
    images: ImageSet, config: ClassifierTraining, rng: torch.Generator, say: Say
) -> tuple[CnnNet, dict[str, float]]:
    """Train a CNN on images and labels; return it frozen, with its last training loss.

    Raises:
        DataError: an image has no label.
    """
    if images.num_labels < 2:
        todo = "set source.label_column, or encoders.classifier.source: pretrained or none"
        raise DataError("the images have no labels", "encoders.classifier", todo)
    architecture = {
        "name": config.name,
        "arguments": {"num_classes": images.num_labels, "global_pool": "max"},
    }
    net = CnnNet.build(architecture, image_size_px=config.image_size_px, mean=MEAN, std=STD)
    model = thaw(net.network)

    def loss(rows: Tensor, progress: float) -> Tensor:
        x = augment.mirror(images.images(rows), rng)
        if config.soften:
            x = augment.soften(x, config.soften, rng, 2)
            x = augment.soften(x, config.soften, rng, 4)
        x = augment.shift_brightness(x, BRIGHTNESS, rng)
        x = augment.add_noise(x, NOISE, rng)

        def entropy(image_NCHW: Tensor) -> Tensor:
            return F.cross_entropy(model(net.preprocess(image_NCHW)), images.label_N[rows])

        if config.adversary:
            x = augment.worst_nearby(x, entropy, augment.grown(config.adversary, progress), rng)
        return entropy(x)

    value = fit([model], loss, num_images=len(images), config=config.fit, rng=rng, say=say)
    freeze(model)
    return net, {"loss": value}


@torch.no_grad()
def label_guesses(net: CnnNet, images: ImageSet) -> Tensor:
    """Return the class of the largest logit of each image, [N]."""
    rows = torch.arange(len(images)).split(_CHUNK)
    return torch.cat([net(images.images(part))["logits"].argmax(dim=1) for part in rows])


def label_accuracy(net: CnnNet, images: ImageSet) -> dict[str, float]:
    """Measure the share of images whose class is right; nothing where there are no labels."""
    if not images.num_labels:
        return {}
    right = label_guesses(net, images) == images.label_N
    return {"accuracy": float(right.float().mean())}
