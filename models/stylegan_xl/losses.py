"""StyleGAN-XL's losses on one micro-batch; the recipe decides which parameters they train.

Legend: N samples, T logits of a sample. Images are NCHW in [-1, 1]. Every loss is one value per
sample [N]; the hinge is the mean over logits, then over the frozen networks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from models.interfaces import Batch, Losses, Networks
from models.layers.augment import diff_augment, mirror_half
from models.layers.blur import blur
from models.losses.adversarial import hinge_discriminator, hinge_generator
from models.losses.alignment import spherical_distance_squared
from models.losses.path_length import path_length_penalty, path_lengths
from models.losses.schedules import blur_sigma_px
from models.losses.seen_fakes import SeenFakes
from models.stylegan_t.discriminator import PIXELS
from models.stylegan_xl.fields import StyleGANXLFields


def generator_loss(
    recipe: StyleGANXLFields,
    networks: Networks,
    batch: Batch,
    nimg: int,
    rng: torch.Generator,
    seen: SeenFakes | None = None,
) -> Losses:
    """Hinge loss on fresh fakes, the classifier's cross entropy where it guides, and the angle to
    the sentence where there is one; `seen` keeps the fakes for the discriminator's phase.
    """
    z, image = _generate(recipe, networks, batch, rng)
    if seen is not None:
        seen.keep({"image": image})
    maps = _features(recipe, networks, image, nimg, rng)
    logits = networks.trained["discriminator"](maps, batch.condition)
    terms = {"adversarial": _mean([hinge_generator(x) for x in logits.values()])}
    stats = {"fake_sign": _mean([x.detach().sign().mean(dim=1) for x in logits.values()])}
    if "guide" in networks.frozen:
        unlike = networks.frozen["guide"](image, batch.condition.label_N)
        terms["guidance"] = recipe.guidance_weight * unlike
        stats["cross_entropy"] = unlike.detach()
    if recipe.sentence:
        wanted = networks.frozen["sentences"](z, batch.condition.label_N)
        distance = spherical_distance_squared(networks.frozen["clip"](image)["pooled"], wanted)
        terms["clip"] = recipe.sentence_weight * distance
        stats["clip_distance"] = distance.detach()
    return Losses(terms=terms, stats=stats)


def discriminator_loss(
    recipe: StyleGANXLFields,
    networks: Networks,
    batch: Batch,
    nimg: int,
    rng: torch.Generator,
    seen: SeenFakes | None = None,
) -> Losses:
    """Hinge loss on real images and fakes of the same classes: fresh ones, or those `seen`."""
    assert batch.image_NCHW is not None
    real = mirror_half(batch.image_NCHW, rng) if recipe.mirror else batch.image_NCHW
    with torch.no_grad():
        fake = _generate(recipe, networks, batch, rng)[1] if seen is None else seen.next()["image"]
        # One pass for both; the discriminators keep their statistics apart (parts=2).
        maps = _features(recipe, networks, torch.cat([real.to(fake), fake]), nimg, rng)
    logits = networks.trained["discriminator"](maps, batch.condition, parts=2)
    pairs = [x.chunk(2) for x in logits.values()]
    stats = {}
    for name, (real_NT, fake_NT) in zip(logits, pairs, strict=True):
        stats[f"real_sign_{name}"] = real_NT.detach().sign().mean(dim=1)
        stats[f"fake_sign_{name}"] = fake_NT.detach().sign().mean(dim=1)
    stats["real_sign"] = _mean([x for name, x in stats.items() if name.startswith("real")])
    stats["fake_sign"] = _mean([x for name, x in stats.items() if name.startswith("fake")])
    return Losses(
        terms={"adversarial": _mean([hinge_discriminator(*pair) for pair in pairs])}, stats=stats
    )


def path_length_loss(
    recipe: StyleGANXLFields, networks: Networks, batch: Batch, rng: torch.Generator
) -> Losses:
    """Path-length penalty on a part of the micro-batch; the other samples' loss is zero, and the
    part counts for them.
    """
    part = max(batch.size // recipe.path_length_shrink, 1)
    generator: Any = networks.trained["generator"]
    mean: Any = networks.trained["path_length"]
    condition = batch.condition[:part]
    z = torch.randn(part, recipe.z_dim, generator=rng, device=rng.device)
    # A copy of each code for each layer, so that its gradient is a tensor of its own.
    ws = generator.map(z, condition).contiguous()
    image = generator.synthesize(ws, condition, "none")
    direction = torch.randn(image.shape, generator=rng, device=rng.device)
    length_N = path_lengths(image, ws, direction)
    mean.observe(length_N[:, None])
    penalty = path_length_penalty(length_N, mean.value) * (batch.size / part)
    term = F.pad(recipe.path_length_weight * penalty, (0, batch.size - part))
    return Losses(terms={"path_length": term}, stats={"length": length_N.detach()})


def _generate(
    recipe: StyleGANXLFields, networks: Networks, batch: Batch, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return fresh z, and fakes of them for the batch's conditions."""
    generator: Any = networks.trained["generator"]
    z = torch.randn(batch.size, recipe.z_dim, generator=rng, device=rng.device)
    image: Tensor = generator.synthesize(generator.map(z, batch.condition), batch.condition, "none")
    return z, image


def _features(
    recipe: StyleGANXLFields, networks: Networks, image: Tensor, nimg: int, rng: torch.Generator
) -> dict[str, dict[str, Tensor]]:
    """Blur, augment anew for each frozen net, and read it; a pixel head sees what the transformer
    does.
    """
    vit: Any = networks.frozen["dino"]
    cnn: Any = networks.frozen["classifier"]
    sigma_px = blur_sigma_px(nimg, recipe.blur_init_sigma_px, recipe.blur_fade_kimg)
    image = blur(image, sigma_px)
    for_vit = diff_augment(image, recipe.diff_augment, rng)
    maps = {
        "dino": vit.patch_maps(for_vit),
        "classifier": cnn.pyramid(
            diff_augment(image, recipe.diff_augment, rng), recipe.feature_size_px
        ),
    }
    return maps | {PIXELS: {PIXELS: for_vit}} if recipe.pixel_head else maps


def _mean(values: list[Tensor]) -> Tensor:
    """Return the mean over networks, [N]."""
    return torch.stack(values).mean(dim=0)
