"""Build StyleGAN-XL's networks from what the data and the stage bring.

They are generator, class embeddings, discriminator, guide and start.

Legend: K classes, E width of a class embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from models.features.class_guide import ClassGuide
from models.interfaces import ConditionShape, Site
from models.projected_gan.discriminator import ProjectedDiscriminator
from models.projected_gan.sentences import Choices
from models.stylegan_xl.choosing import ChoosingXLGenerator
from models.stylegan_xl.discriminator import StyleGANXLDiscriminator
from models.stylegan_xl.fields import StyleGANXLFields
from models.stylegan_xl.generator import StyleGANXLGenerator
from models.stylegan_xl.stylegan3 import StyleGAN3Generator
from models.stylegan_xl.token_reassembly import TokenReassembly
from models.warm_start import copy_by_name


def generator_of(recipe: StyleGANXLFields, resolution: int, shape: ConditionShape) -> nn.Module:
    """Return a fresh generator, weights from torch's global generator.

    Raises:
        ValueError: a resolution or width that cannot be built, or that the heads do not end at.
    """
    sizes: dict[str, Any] = {
        "shape": shape,
        "z_dim": recipe.z_dim,
        "w_dim": recipe.w_dim,
        "num_mapping_layers": recipe.mapping_layers,
        "mean_beta": recipe.mean_beta,
        "channel_base": recipe.channel_base,
        "channel_max": recipe.channel_max,
        "num_critical": recipe.num_critical,
        "margin_px": recipe.margin_px,
        "input_shift": recipe.input_shift,
        "kernel": recipe.kernel_size,
        "radial": recipe.radial,
    }
    if recipe.generator_network == "stylegan3":
        if recipe.heads:
            raise ValueError("stylegan3 does not grow: leave heads empty")
        return StyleGAN3Generator(resolution=resolution, num_layers=recipe.stem_layers, **sizes)
    last_px = recipe.heads[-1][0] if recipe.heads else recipe.stem_px
    if last_px != resolution:
        raise ValueError(
            f"the stage makes {resolution} px, but stem_px and heads end at {last_px} px: list "
            f"every growth in heads, the last one as [{resolution}, convolutions]"
        )
    features = recipe.class_embedding != "random" and shape.class_dim
    sizes |= {
        "stem_resolution": recipe.stem_px,
        "stem_layers": recipe.stem_layers,
        "heads": recipe.heads,
        "embed_dim": shape.class_dim if features else recipe.embed_dim,
        "train_embedding": recipe.train_embedding,
    }
    if recipe.sentence:
        return ChoosingXLGenerator(Choices(recipe.sentence, recipe.z_dim), **sizes)
    return StyleGANXLGenerator(**sizes)


def embedding_of(recipe: StyleGANXLFields, site: Site) -> Tensor | None:
    """Return the class embeddings [K, E]; None where the recipe or the data has none.

    Raises:
        ValueError: the frozen classifier knows nothing of the classes.
    """
    if recipe.class_embedding == "random" or not site.shape.num_labels:
        return None
    table = site.classes("classifier")
    if table is None:
        raise ValueError(
            f"class_embedding is {recipe.class_embedding}, but the encoders stage left no features "
            "of the classes: run it on this data, or set class_embedding to random"
        )
    if recipe.class_embedding == "features":
        return table.feature_KE
    return table.feature_KE - table.feature_KE.mean(dim=0)


def discriminator_of(
    recipe: StyleGANXLFields, features: Mapping[str, Any], site: Site, embedding_KE: Tensor | None
) -> StyleGANXLDiscriminator:
    """Return a fresh discriminator that reads the frozen nets.

    Raises:
        ValueError: a net's maps cannot be projected.
    """
    vit, cnn = features["dino"], features["classifier"]
    size_px = max(site.resolution, recipe.feature_size_px)
    shape = site.shape
    if embedding_KE is not None:
        shape = ConditionShape(pooled_dim=embedding_KE.shape[1])
    try:
        reassembly = TokenReassembly(vit.tap_dim, vit.map_side, seed=recipe.projection_seed)
        tokens = _projected(recipe, reassembly.out_channels, reassembly.out_sides, shape)
    except ValueError as error:
        raise ValueError(
            f"the transformer (dino) cannot be projected: {error}; take one of more patches"
        ) from error
    try:
        maps = _projected(recipe, cnn.stage_channels, cnn.stage_sides(size_px), shape)
    except ValueError as error:
        raise ValueError(
            f"the CNN (classifier) cannot be projected at {size_px} px: {error}; set "
            "feature_size_px to a multiple of its largest stride, or take another network"
        ) from error
    projected = {"dino": tokens, "classifier": maps}
    return StyleGANXLDiscriminator(
        projected,
        {"dino": reassembly},
        embedding_KE,
        pixel_head=recipe.pixel_head,
        shape=shape,
    )


def _projected(
    recipe: StyleGANXLFields, channels: list[int], sides: list[int], shape: ConditionShape
) -> ProjectedDiscriminator:
    return ProjectedDiscriminator(
        channels=channels,
        sides=sides,
        shape=shape,
        level=recipe.projection_level,
        width=recipe.projection_width,
        expand=recipe.projection_expand,
        kernel_size=recipe.projection_kernel_size,
        seed=recipe.projection_seed,
        width_max=recipe.discriminator_max,
        cmap_dim=recipe.cmap_dim,
        label_dim=recipe.embed_dim,
        virtual_batch=recipe.norm_batch,
    )


def guide_of(recipe: StyleGANXLFields, site: Site) -> ClassGuide:
    """Return the frozen classifier that guides.

    Raises:
        ValueError: there are no classes, or the net was trained on others.
    """
    asked = f"guidance_weight is {recipe.guidance_weight}, but"
    if not site.shape.num_labels:
        raise ValueError(f"{asked} the data has no classes: set guidance_weight to 0")
    table = site.classes(recipe.guidance_role)
    if table is None or table.logit_K is None:
        raise ValueError(
            f"{asked} the encoder {recipe.guidance_role} does not tell the data's classes apart: "
            "train it on them, or set guidance_weight to 0"
        )
    return ClassGuide(site.encoder(recipe.guidance_role), table.logit_K)


def start_from(
    recipe: StyleGANXLFields, site: Site, generator: Any, discriminator: nn.Module
) -> None:
    """Copy the start's tensors: all of them at the same resolution, else what growth keeps.

    Raises:
        ValueError: the heads need a start that made the smaller images, and it is another one.
    """
    start = site.start
    if start is None:
        if recipe.heads:
            raise ValueError(
                "heads are grown from a start of lower resolution: set start, or leave heads empty"
            )
        return
    before = start.card["resolution_px"]
    if before == site.resolution:
        copy_by_name(generator, start.generator, what="the generator")
        if recipe.heads:
            generator.freeze_stem()
    else:
        if recipe.generator_network != "stylegan_xl":
            raise ValueError(f"{recipe.generator_network} does not grow: start at {before} px")
        _check_chain(recipe, start.card)
        generator.grow_from(start.generator)
    if start.discriminator is not None and _fits(discriminator, start.discriminator):
        copy_by_name(discriminator, start.discriminator, what="the discriminator")


def _check_chain(recipe: StyleGANXLFields, card: Mapping[str, Any]) -> None:
    """Raise ValueError unless the recipe's heads are the start's and one more, and its sentence the
    start's.
    """
    fields = card["recipe"]["fields"]
    told = fields.get("sentence", "")
    if told != recipe.sentence:
        raise ValueError(
            f"the start has the sentence {told!r}: this stage's must be the same, for its choices "
            f"are part of the stem; got {recipe.sentence!r}"
        )
    grown = [tuple(head) for head in fields.get("heads", ())]
    wanted = (fields.get("stem_px"), grown)
    found = (recipe.stem_px, list(recipe.heads[:-1]))
    if wanted != found:
        listed = [list(head) for head in grown]
        raise ValueError(
            f"the start has stem_px {wanted[0]} and heads {listed}: this stage's heads must be "
            "those and one more"
        )


def _fits(module: nn.Module, tensors: Mapping[str, Tensor]) -> bool:
    own = module.state_dict()
    return own.keys() == tensors.keys() and all(own[n].shape == tensors[n].shape for n in own)
