"""Build the networks that the fields of Projected GAN's recipe choose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.projected_gan.discriminator import ProjectedDiscriminator
from models.projected_gan.fastgan import FastGANGenerator
from models.projected_gan.fields import ProjectedGANFields
from models.projected_gan.pixel_scales import PixelDiscriminator
from models.projected_gan.sentences import Choices, ChoosingGenerator, ChoosingMapping
from models.stylegan2.generator import StyleGAN2Generator
from models.stylegan_t.discriminator import StyleGANTDiscriminator, channels_of
from models.stylegan_t.generator import StyleGANTGenerator

if TYPE_CHECKING:
    from torch import nn

    from models.interfaces import ConditionShape


def make_generator(recipe: ProjectedGANFields, resolution: int, shape: ConditionShape) -> nn.Module:
    """Return the generator that `generator_network` names; see `ProjectedGAN.generator`."""
    if recipe.generator_network == "stylegan_t":
        options: dict[str, Any] = {
            "resolution": resolution,
            "shape": shape,
            "z_dim": recipe.z_dim,
            "channel_base": recipe.channel_base,
            "channel_max": recipe.channel_max,
            "num_res_blocks": recipe.num_res_blocks,
            "num_groups": recipe.group_norm_groups,
            "input_shift": recipe.input_shift,
        }
        if recipe.sentence:
            return ChoosingGenerator(Choices(recipe.sentence, recipe.z_dim), **options)
        return StyleGANTGenerator(**options)
    if recipe.generator_network == "stylegan2":
        generator = StyleGAN2Generator(
            resolution=resolution,
            shape=shape,
            z_dim=recipe.z_dim,
            w_dim=recipe.w_dim,
            num_mapping_layers=recipe.num_mapping_layers,
            mean_beta=recipe.mean_beta,
            channel_base=recipe.channel_base,
            channel_max=recipe.channel_max,
            clamp=recipe.activation_clamp or None,
        )
        if recipe.sentence:
            generator.mapping = ChoosingMapping(
                Choices(recipe.sentence, recipe.z_dim),
                recipe.z_dim,
                recipe.w_dim,
                num_layers=recipe.num_mapping_layers,
                mean_beta=recipe.mean_beta,
            )
        return generator
    return FastGANGenerator(
        resolution=resolution,
        shape=shape,
        z_dim=recipe.z_dim,
        base_channels=recipe.base_channels,
        lite=recipe.generator_network == "fastgan_lite",
        virtual_batch=recipe.norm_batch,
    )


def make_discriminator(
    recipe: ProjectedGANFields,
    features: Any,
    resolution: int,
    shape: ConditionShape,
    classifier: Any = None,
) -> nn.Module:
    """Return the discriminator that `discriminator_network` names; see
    `ProjectedGAN.discriminator`.
    """
    if recipe.discriminator_network == "vit":
        return StyleGANTDiscriminator(
            num_taps=features.num_taps,
            tap_dim=features.tap_dim,
            shape=shape,
            cmap_dim=recipe.cmap_dim,
            kernel_size=recipe.head_kernel_size,
            label_dim=recipe.label_dim,
            virtual_batch=recipe.norm_batch,
            pixel_head=recipe.pixel_head,
            map_channels=channels_of(classifier, recipe.cnn_heads),
        )
    shared: dict[str, Any] = {
        "shape": shape,
        "width_max": recipe.discriminator_max,
        "separable": recipe.separable,
        "cmap_dim": recipe.cmap_dim,
        "label_dim": recipe.label_dim,
        "virtual_batch": recipe.norm_batch,
    }
    if recipe.discriminator_network == "pixels":
        return PixelDiscriminator(resolution=resolution, num_scales=recipe.pixel_scales, **shared)
    size_px = max(resolution, recipe.feature_size_px)
    try:
        return ProjectedDiscriminator(
            channels=features.stage_channels,
            sides=features.stage_sides(size_px),
            level=recipe.projection_level,
            width=recipe.projection_width,
            expand=recipe.projection_expand,
            kernel_size=recipe.projection_kernel_size,
            seed=recipe.projection_seed,
            **shared,
        )
    except ValueError as error:
        raise ValueError(
            f"the classifier cannot be projected at {size_px} px: {error}; set "
            "feature_size_px to a multiple of its largest stride, or take another network"
        ) from error
