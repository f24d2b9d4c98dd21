"""Projected GAN's losses on one micro-batch; the recipe decides which parameters they train.

Legend: N samples, T logits of a sample. Images are NCHW in [-1, 1]. Every loss is one value per
sample [N], the mean over its logits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.interfaces import Batch, Losses, Networks
from models.layers.augment import diff_augment, mirror_half
from models.layers.crops import crop_or_shrink
from models.losses.adversarial import hinge_discriminator, hinge_generator
from models.losses.alignment import spherical_distance_squared
from models.losses.seen_fakes import SeenFakes
from models.projected_gan.fields import ProjectedGANFields
from models.stylegan_t.discriminator import seen_by


def generator_loss(
    recipe: ProjectedGANFields,
    networks: Networks,
    batch: Batch,
    rng: torch.Generator,
    seen: SeenFakes | None = None,
) -> Losses:
    """Hinge loss on fresh fakes; `seen` keeps what the discriminator sees, for its own phase."""
    z, image = _generate(recipe, networks, batch, rng)
    features = _features(recipe, networks, image, rng)
    if seen is not None:
        seen.keep(features)
    logits_NT = networks.trained["discriminator"](features, batch.condition)
    stats = {"fake_sign": logits_NT.detach().sign().mean(dim=1)}
    terms = {"adversarial": hinge_generator(logits_NT)}
    if recipe.guidance > 0:
        wanted: Any = batch.condition.pooled_ND
        if recipe.sentence:
            wanted = networks.frozen["sentences"](z, batch.condition.label_N)
        distance = spherical_distance_squared(networks.frozen["clip"](image)["pooled"], wanted)
        terms["clip"] = recipe.guidance * distance
        stats["clip_distance"] = distance.detach()
    return Losses(terms=terms, stats=stats)


def discriminator_loss(
    recipe: ProjectedGANFields,
    networks: Networks,
    batch: Batch,
    rng: torch.Generator,
    seen: SeenFakes | None = None,
) -> Losses:
    """Hinge loss on real images and fakes of the same conditions: fresh ones, or those `seen`."""
    assert batch.image_NCHW is not None
    real = mirror_half(batch.image_NCHW, rng) if recipe.mirror else batch.image_NCHW
    with torch.no_grad():
        if seen is None:
            _, fake = _generate(recipe, networks, batch, rng)
            # One pass for both; the discriminators keep their statistics apart (parts=2).
            features = _features(recipe, networks, torch.cat([real.to(fake), fake]), rng)
        else:
            kept = seen.next()
            of_real = _features(recipe, networks, real.to(next(iter(kept.values()))), rng)
            features = {name: torch.cat([x, kept[name]]) for name, x in of_real.items()}
    logits_NT = networks.trained["discriminator"](features, batch.condition, parts=2)
    real_NT, fake_NT = logits_NT.chunk(2)
    stats = {
        "real_sign": real_NT.detach().sign().mean(dim=1),
        "fake_sign": fake_NT.detach().sign().mean(dim=1),
        "real_logit": real_NT.detach().mean(dim=1),
        "fake_logit": fake_NT.detach().mean(dim=1),
    }
    return Losses(terms={"adversarial": hinge_discriminator(real_NT, fake_NT)}, stats=stats)


def _generate(
    recipe: ProjectedGANFields, networks: Networks, batch: Batch, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return fresh z, and fakes of them for the batch's conditions, with fresh noise."""
    generator: Any = networks.trained["generator"]
    z = torch.randn(batch.size, recipe.z_dim, generator=rng, device=rng.device)
    ws = generator.map(z, batch.condition)
    image: Tensor = generator.synthesize(ws, batch.condition, generator.draw_noise(batch.size, rng))
    return z, image


def _features(
    recipe: ProjectedGANFields, networks: Networks, image: Tensor, rng: torch.Generator
) -> dict[str, Tensor]:
    """Augment, and read the frozen nets: four maps, or the transformer's taps with the maps that
    get heads too; or the pixels."""
    image = diff_augment(image, recipe.diff_augment, rng)
    if recipe.discriminator_network == "pixels":
        return {"pixels": image}
    net: Any = networks.frozen[recipe.encoder_roles[0]]
    if recipe.discriminator_network == "vit":
        seen = crop_or_shrink(image, net.image_size, rng)
        return seen_by(net, networks.frozen.get("classifier"), seen, recipe.cnn_heads)
    maps: dict[str, Tensor] = net.pyramid(image, recipe.feature_size_px)
    return maps
