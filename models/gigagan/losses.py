"""GigaGAN's losses on one micro-batch (Kang et al. 2023, section 3.3 and equations 6 to 9).

High logits are real. Legend: N samples, K outputs of the discriminator, i the size where an image
enters, j the level that it leaves after, E width of the text embedding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.gigagan.discriminator import GigaGANDiscriminator, pyramid
from models.gigagan.fields import GigaGANFields
from models.gigagan.perceptual import perceptual
from models.gigagan.synthesis import resolutions
from models.gigagan.text_head import Text
from models.gigagan.vision_aided import taps_of, vision_loss
from models.interfaces import Batch, Condition, Losses, Networks
from models.layers.augment import diff_augment
from models.layers.precision import full_precision
from models.losses.seen_fakes import SeenFakes

LOGIT_SCALE = 100.0  # of a CLIP that does not say its own


def output_weights(
    recipe: GigaGANFields, discriminator: GigaGANDiscriminator, early: float
) -> Tensor:
    """Return [K]: the weight of each output, by where it entered and whether it left early."""
    levels = recipe.level_weights
    last = len(discriminator.levels)
    return torch.tensor(
        [
            levels[min(i, len(levels) - 1)] * (1.0 if j == last else early)
            for i, j in discriminator.pairs
        ]
    )


def same_captions(condition: Condition) -> Tensor:
    """Return [N, N]: whether two samples have the same caption, or the same embedding."""
    for x in (condition.ids_NT, condition.pooled_ND, condition.label_N):
        if x is not None:
            rows = x.flatten(1) if x.ndim > 1 else x[:, None]
            return _equal(rows, rows)
    raise ValueError("matching_weight is above 0, and the data has no text: set it to 0")


def _equal(rows_NK: Tensor, others_MK: Tensor) -> Tensor:
    """Return [N, M]: whether two rows are the same."""
    return (rows_NK[:, None] == others_MK[None]).all(dim=2)


def mismatch(same_NN: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return for each sample another with a different caption, and whether there is one (1 or 0).

    Each draws on its own and evenly, so that equal captions are never paired.
    """
    score = torch.rand(same_NN.shape, generator=rng, device=rng.device)
    score = score.masked_fill(same_NN, -1.0)
    best, other_N = score.max(dim=1)
    return other_N, (best >= 0).float()


def discriminator_loss(
    recipe: GigaGANFields,
    networks: Networks,
    batch: Batch,
    rng: torch.Generator,
    kept: SeenFakes | None = None,
) -> Losses:
    """Real images and fakes with their captions, fresh ones or those `kept`, and both with others'
    captions.
    """
    assert batch.image_NCHW is not None
    discriminator: Any = networks.trained["discriminator"]
    condition = read_words(networks, batch.condition)
    reals = real_pyramid(discriminator, batch.image_NCHW)
    with torch.no_grad():
        if kept is None:
            fakes, _ = fake_pyramid(recipe, networks, batch, condition, rng)
            fakes = fakes[: discriminator.entries]
            both = [torch.cat([r.to(f), f]) for r, f in zip(reals, fakes, strict=True)]
            both = [diff_augment(x, recipe.diff_augment, rng) for x in both]
        else:
            seen = kept.next().values()
            reals = [diff_augment(x, recipe.diff_augment, rng) for x in reals]
            both = [torch.cat([r.to(f), f]) for r, f in zip(reals, seen, strict=True)]
    features, text = discriminator.features(both), discriminator.read(condition)
    real, fake = discriminator.judge(features, twice(text)).chunk(2)
    weights = output_weights(recipe, discriminator, recipe.early_weight).to(real)
    terms = {"adversarial": (F.softplus(-real) + F.softplus(fake)) @ weights}
    stats = {"real_logit": real[:, -1].detach(), "fake_logit": fake[:, -1].detach()}
    if recipe.matching_weight:
        other_N, valid_N = mismatch(same_captions(condition), rng)
        wrong = discriminator.judge(features, twice(text[other_N]))
        weights = output_weights(recipe, discriminator, recipe.early_matching_weight).to(wrong)
        loss = sum(F.softplus(x) @ weights for x in wrong.chunk(2))
        terms["matching"] = recipe.matching_weight * valid_N * loss
        stats["mismatched_logit"] = wrong.chunk(2)[0][:, -1].detach()
    if "vision_heads" in networks.trained:
        terms["vision"] = _vision_discriminator(recipe, networks, both[0], condition)
    return Losses(terms=terms, stats=stats)


def generator_loss(
    recipe: GigaGANFields,
    networks: Networks,
    batch: Batch,
    rng: torch.Generator,
    keep: SeenFakes | None = None,
) -> Losses:
    """What deceives the discriminator and the heads, and what CLIP finds like its caption.

    `keep` takes the images, for the discriminator's phase.
    """
    discriminator: Any = networks.trained["discriminator"]
    condition = read_words(networks, batch.condition)
    fakes, of_real_N = fake_pyramid(recipe, networks, batch, condition, rng)
    seen = [diff_augment(x, recipe.diff_augment, rng) for x in fakes[: discriminator.entries]]
    if keep is not None:
        keep.keep({str(x.shape[-1]): x for x in seen})
    features, text = discriminator.features(seen), discriminator.read(condition)
    fake = discriminator.judge(features, text)
    weights = output_weights(recipe, discriminator, recipe.early_weight).to(fake)
    terms = {"adversarial": F.softplus(-fake) @ weights}
    stats = {"fake_logit": fake[:, -1].detach()}
    if recipe.generator_matching_weight:
        other_N, valid_N = mismatch(same_captions(condition), rng)
        wrong = discriminator.judge(features, text[other_N])
        weights = output_weights(recipe, discriminator, recipe.early_matching_weight).to(wrong)
        terms["matching"] = (
            recipe.generator_matching_weight * valid_N * (F.softplus(wrong) @ weights)
        )
    if "vision_heads" in networks.trained:
        logits = _vision(recipe, networks, seen[0], condition)
        terms["vision"] = recipe.vision_weight * vision_loss(logits, real=True)
    if recipe.clip_weight and condition.pooled_ND is not None:
        clip, rivals_RD = networks.frozen["clip"], batch.rivals_RD
        loss = contrastive(clip, fakes[0], condition.pooled_ND, rivals_RD, recipe.clip_scale)
        terms["clip"] = recipe.clip_weight * loss
        stats["clip"] = loss.detach()
    if "perceptual" in networks.frozen:
        assert batch.image_NCHW is not None
        distance = perceptual(networks.frozen["perceptual"], fakes[0], batch.image_NCHW)
        distance = distance * of_real_N  # what the base drew is of no real image
        terms["perceptual"] = recipe.perceptual_weight * distance
        stats["perceptual"] = distance.detach()
    return Losses(terms=terms, stats=stats)


def r1_loss(
    recipe: GigaGANFields, networks: Networks, batch: Batch, rng: torch.Generator
) -> Losses:
    """gamma / 2 |gradient|^2 of the weighted logits for the real images of every size (Mescheder et
    al. 2018), times the number of iterations that it stands for.

    Attention takes the plain path, for the fused kernels have no second derivative.
    """
    assert batch.image_NCHW is not None
    discriminator: Any = networks.trained["discriminator"]
    condition = read_words(networks, batch.condition)
    images = real_pyramid(discriminator, batch.image_NCHW.float())
    # Detached: the batch itself must not ask for a gradient in the phases after this one.
    images = [diff_augment(x, recipe.diff_augment, rng).detach().requires_grad_() for x in images]
    with full_precision(images[0]), sdpa_kernel(SDPBackend.MATH):
        logits = discriminator.judge(discriminator.features(images), discriminator.read(condition))
        weights = output_weights(recipe, discriminator, recipe.early_weight).to(logits)
        total = (logits @ weights).sum()
        gradients = torch.autograd.grad(total, images, create_graph=True)
    length_N = sum(g.square().sum(dim=(1, 2, 3)) for g in gradients)
    assert isinstance(length_N, Tensor)
    penalty = recipe.r1_weight / 2 * recipe.r1_every * length_N
    return Losses(terms={"r1": penalty}, stats={"gradient": length_N.detach().sqrt()})


def contrastive(
    clip: Any,
    image_NCHW: Tensor,
    text_ND: Tensor,
    rivals_RD: Tensor | None = None,
    scale: float = 0.0,
) -> Tensor:
    """Return [N]: cross-entropy of each image to its own caption among those of the batch (equation
    9); captions equal to its own do not count against it.

    Args:
        clip: the frozen net.
        image_NCHW: in [-1, 1].
        text_ND: pooled embeddings of their captions.
        rivals_RD: those of the whole batch; None = the images' own. Four captions teach much less
            than eight, so a micro-batch must not be all that an image is held against.
        scale: of the cosines; 0 = the net's own.
    """
    own_scale = getattr(getattr(clip, "network", None), "logit_scale", None)
    factor: Any = scale
    if not scale:
        factor = LOGIT_SCALE
        if own_scale is not None:
            factor = own_scale.detach().exp().clamp(max=LOGIT_SCALE)
    rivals_RD = text_ND if rivals_RD is None else rivals_RD
    image_ND = clip(image_NCHW)["pooled"].float()
    own_N1 = (image_ND * text_ND).sum(dim=1, keepdim=True)
    same_NR = _equal(text_ND, rivals_RD)
    others_NR = (image_ND @ rivals_RD.float().t()).masked_fill(same_NR, -torch.inf)
    return -(torch.cat([own_N1, others_NR], dim=1) * factor).log_softmax(dim=1)[:, 0]


def read_words(networks: Networks, condition: Condition) -> Condition:
    """Return the condition with the words that the networks attend to, if they do."""
    reader = networks.trained["generator"].reader  # type: ignore[union-attr]
    return condition if reader is None else reader(condition)  # type: ignore[no-any-return, operator]


def real_pyramid(discriminator: GigaGANDiscriminator, image_NCHW: Tensor) -> list[Tensor]:
    """Return the real images at each size that enters the discriminator."""
    sizes = resolutions(image_NCHW.shape[-1])[::-1]
    return pyramid(image_NCHW, sizes[: discriminator.entries])


def fake_pyramid(
    recipe: GigaGANFields,
    networks: Networks,
    batch: Batch,
    condition: Condition,
    rng: torch.Generator,
) -> tuple[list[Tensor], Tensor]:
    """Return fakes of the captions at every size, or small images enlarged, and [N]: 1 where those
    are the real images shrunk, 0 where the base drew them.
    """
    model: Any = networks.trained["generator"]
    z_NZ = torch.randn(batch.size, model.z_dim, generator=rng, device=rng.device)
    of_real_N = torch.ones(batch.size, device=rng.device)
    if recipe.parts == "base":
        return _drawn(model, z_NZ, condition), of_real_N
    assert batch.image_NCHW is not None
    upsampler = model if recipe.parts == "upsampler" else model.upsampler
    small = F.avg_pool2d(batch.image_NCHW.float(), upsampler.factor)
    if recipe.up_base_share:
        of_real_N = (
            torch.rand(batch.size, generator=rng, device=rng.device) >= recipe.up_base_share
        ).float()
        with torch.no_grad():
            own = _drawn(model.base, z_NZ[:, : model.base.z_dim], condition)[0]
        small = torch.where(of_real_N[:, None, None, None] > 0, small, own.to(small).clamp(-1, 1))
    # Bridges the gap between shrunk photographs and what a base draws.
    sigma = recipe.up_noise * torch.rand(batch.size, 1, 1, 1, generator=rng, device=rng.device)
    small = small + sigma * torch.randn(small.shape, generator=rng, device=rng.device)
    z_NZ = z_NZ[:, : upsampler.z_dim]
    found: list[Tensor] = upsampler.pyramid(small, z_NZ, upsampler.text(condition))
    return found, of_real_N


def _drawn(base: Any, z_NZ: Tensor, condition: Condition) -> list[Tensor]:
    """Return what a base draws of the captions, at every size, the largest first."""
    text = base.text(condition)
    images: list[Tensor] = base.pyramid(base.codes(z_NZ, text), text)
    return images


def twice(text: Text) -> Text:
    """Return the text for two rows of images, real and fake."""
    found = (text.pooled_BC, text.words_BTC, text.seen_BT)
    pooled, words, seen = (None if x is None else torch.cat([x, x]) for x in found)
    return Text(pooled_BC=pooled, words_BTC=words, seen_BT=seen)


def _vision(
    recipe: GigaGANFields, networks: Networks, image_NCHW: Tensor, condition: Condition
) -> list[Tensor]:
    heads: Any = networks.trained["vision_heads"]
    taps = taps_of(networks.frozen[recipe.vision_encoder], image_NCHW)
    found: list[Tensor] = heads(taps, condition.pooled_ND)
    return found


def _vision_discriminator(
    recipe: GigaGANFields, networks: Networks, both_NCHW: Tensor, condition: Condition
) -> Tensor:
    """Return [N]: the heads' loss on real images and fakes."""
    pooled = condition.pooled_ND
    asked = Condition(pooled_ND=None if pooled is None else torch.cat([pooled, pooled]))
    logits = [x.chunk(2) for x in _vision(recipe, networks, both_NCHW, asked)]
    real = vision_loss([x[0] for x in logits], real=True)
    return recipe.vision_weight * (real + vision_loss([x[1] for x in logits], real=False))
