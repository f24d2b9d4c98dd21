"""StyleGAN-T's losses on one micro-batch; the recipe decides which parameters they train.

Legend: N samples, E width of the text embedding. Images are NCHW in [-1, 1]. Every loss is one
value per sample [N]; the guidance is weighted against a hinge loss that is a mean over logits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from models.interfaces import Batch, Losses, Networks
from models.layers.augment import diff_augment
from models.layers.blur import blur
from models.layers.crops import crop_or_shrink, random_crop
from models.losses.adversarial import hinge_discriminator, hinge_generator
from models.losses.alignment import spherical_distance_squared
from models.losses.schedules import blur_sigma_px
from models.losses.seen_fakes import SeenFakes
from models.stylegan_t.discriminator import PIXELS, seen_by
from models.stylegan_t.fields import StyleGANTFields
from models.text_to_image import AlignedGenerator

if TYPE_CHECKING:
    from models.stylegan_t.generator import StyleGANTGenerator


def discriminator_loss(
    recipe: StyleGANTFields,
    networks: Networks,
    batch: Batch,
    nimg: int,
    rng: torch.Generator,
    seen: SeenFakes | None = None,
) -> Losses:
    """Hinge loss on real images, and on fakes of the same captions: fresh ones, or those `seen`."""
    assert batch.image_NCHW is not None
    with torch.no_grad():
        if seen is None:
            fake = _generate(recipe, networks, batch, rng)
            # One pass for both; the heads keep their statistics apart (parts=2).
            both = torch.cat([batch.image_NCHW.to(fake), fake])
            taps = _taps(recipe, networks, both, nimg, rng)
        else:
            kept = seen.next()
            real = _taps(recipe, networks, batch.image_NCHW.to(kept[PIXELS]), nimg, rng)
            taps = {name: torch.cat([x, kept[name]]) for name, x in real.items()}
    logits = _heads(networks)(taps, batch.condition, parts=2)
    real, fake = logits.chunk(2)
    stats = {
        "real_sign": real.detach().sign().mean(dim=1),
        "fake_sign": fake.detach().sign().mean(dim=1),
        "real_logit": real.detach().mean(dim=1),
        "fake_logit": fake.detach().mean(dim=1),
    }
    return Losses(terms={"adversarial": hinge_discriminator(real, fake)}, stats=stats)


def generator_loss(
    recipe: StyleGANTFields,
    networks: Networks,
    batch: Batch,
    nimg: int,
    rng: torch.Generator,
    seen: SeenFakes | None = None,
) -> Losses:
    """Hinge loss, plus the squared angle between image and caption in CLIP's space.

    It also trains the text encoder: its gradient then passes through the frozen generator. `seen`
    keeps what the discriminator sees, for its own phase.
    """
    target_NE = batch.condition.pooled_ND  # by the frozen encoder, whatever the generator reads
    image = _generate(recipe, networks, batch, rng)
    taps = _taps(recipe, networks, image, nimg, rng)
    if seen is not None:
        seen.keep(taps)
    logits = _heads(networks)(taps, batch.condition)
    terms = {"adversarial": hinge_generator(logits)}
    stats = {"fake_sign": logits.detach().sign().mean(dim=1)}
    if recipe.guidance > 0 and target_NE is not None:
        crop = random_crop(image, recipe.guidance_crop_px, rng)
        distance = spherical_distance_squared(networks.frozen["clip"](crop)["pooled"], target_NE)
        terms["clip"] = recipe.guidance * distance
        stats["clip_distance"] = distance.detach()
    return Losses(terms=terms, stats=stats)


def plain_generator(networks: Networks) -> StyleGANTGenerator:
    """Return the generator itself, without the text encoder around it."""
    model: Any = networks.trained["generator"]
    return model.generator if isinstance(model, AlignedGenerator) else model


def _heads(networks: Networks) -> Any:
    """Return the discriminator, which trains or, while the text encoder does, is frozen."""
    return {**networks.frozen, **networks.trained}["discriminator"]


def _generate(
    recipe: StyleGANTFields, networks: Networks, batch: Batch, rng: torch.Generator
) -> Tensor:
    """Return fakes for the batch's captions, of fresh z and fresh noise."""
    model: Any = networks.trained["generator"]
    z = torch.randn(batch.size, recipe.z_dim, generator=rng, device=rng.device)
    ws = model.map(z, batch.condition)
    noise = plain_generator(networks).draw_noise(batch.size, rng)
    return model.synthesize(ws, batch.condition, noise)


def _taps(
    recipe: StyleGANTFields, networks: Networks, image: Tensor, nimg: int, rng: torch.Generator
) -> dict[str, Tensor]:
    """Blur, augment, crop or shrink to the transformer's size; return that picture and its taps."""
    dino: Any = networks.frozen["dino"]
    sigma_px = blur_sigma_px(nimg, recipe.blur_init_sigma_px, recipe.blur_fade_kimg)
    image = diff_augment(blur(image, sigma_px), recipe.diff_augment, rng)
    seen = crop_or_shrink(image, dino.image_size, rng)
    return seen_by(dino, networks.frozen.get("classifier"), seen, recipe.cnn_heads)
