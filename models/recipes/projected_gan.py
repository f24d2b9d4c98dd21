"""Projected GAN: "Projected GANs Converge Faster" (Sauer et al. 2021).

Implemented: the FastGAN generator (full and lite) and StyleGAN2's, the projected discriminator on a
frozen CNN with mixing across channels and scales, hinge loss, DiffAugment, unconditional and
class-conditional. For ablations the parts change by fields: StyleGAN-T's generator stands in for
FastGAN, StyleGAN-T's heads on a vision transformer or the same networks on the pixels for the
projected discriminator, and the projection has three levels.

Deviations:
- Power iterations advance once per phase (models/layers/spectral_norm.py); batch norm's running
  statistics are folded once per phase and over all ranks, and the averaged generator measures its
  own instead of taking the trained one's (models/layers/tracked_batch_norm.py).
- Both learning rates are the paper's. The published code keeps an empty phase of lazy
  regularisation, which scales the discriminator's by 16/17 (1.88e-4) and its beta2 to 0.9906.
- The class embeddings have as many rows as the data has classes (the published code: always 1000);
  data with text conditions on the text in the same place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from models.fields import Between

if TYPE_CHECKING:
    from torch import nn

    from models.interfaces import ConditionShape, Networks, Phase, Site, Start

Policy = Literal["color", "translation", "cutout"]


@dataclass(frozen=True, kw_only=True)
class ProjectedGAN:
    """Fields are the family's hyper-parameters; defaults are the published "fastgan" with lite1."""

    name: ClassVar[str] = "projected_gan"
    needs_data: ClassVar[bool] = True
    grows: ClassVar[bool] = False
    tunable: ClassVar[dict[str, tuple[float, float]]] = {
        "generator_learning_rate": (5e-5, 5e-3),
        "discriminator_learning_rate": (5e-5, 5e-3),
    }

    generator_network: Literal["fastgan", "fastgan_lite", "stylegan2", "stylegan_t"] = "fastgan"
    """Code: fastgan for large data, fastgan_lite for a few thousand images; stylegan2 with z_dim
    64, learning rates of 0.002 and separable discriminators.
    """
    discriminator_network: Literal["cnn", "vit", "pixels"] = "cnn"
    """cnn: the projected discriminator on the classifier's maps. vit: StyleGAN-T's heads on the
    dino encoder's taps. pixels: the same networks as cnn on the image, nothing frozen, to compare.
    """
    z_dim: Annotated[int, Between(1, None)] = 256
    """Width of the noise vector. Code: 256, stylegan2 64. StyleGAN2-ADA: 512."""
    base_channels: Annotated[int, Between(1, None)] = 128
    """fastgan: width at 128 px; 16 times that at 4 px. Code: 128."""
    channel_base: Annotated[int, Between(8, None)] = 32768
    """stylegan2, stylegan_t: min(channel_base / r, channel_max) channels at r px. Code: 32768."""
    channel_max: Annotated[int, Between(1, None)] = 512
    """stylegan2, stylegan_t: largest width. Code: 512."""
    w_dim: Annotated[int, Between(1, None)] = 128
    """stylegan2: width of w. Code: 128. StyleGAN2-ADA: 512."""
    num_mapping_layers: Annotated[int, Between(1, None)] = 2
    """stylegan2: of the mapping network. Code: 2. StyleGAN2-ADA: 8, or 2 by its "auto" settings."""
    mean_beta: Annotated[float, Between(0.0, 1.0)] = 0.998
    """stylegan2: decay of the running mean of w, per phase. Code: 0.998. StyleGAN2-ADA: 0.995."""
    activation_clamp: Annotated[float, Between(0.0, None)] = 256.0
    """stylegan2: bound of the activations; 0 = none. Code: 256."""
    num_res_blocks: Annotated[int, Between(0, None)] = 2
    """stylegan_t: pairs of a plain and a residual layer in a block."""
    group_norm_groups: Annotated[int, Between(1, None)] = 32
    """stylegan_t: groups of the residual layers' group norm; divides every width."""
    feature_size_px: Annotated[int, Between(32, None)] = 224
    """cnn: smaller images are enlarged to this, larger ones seen as they are. Code: 224."""
    projection_level: Annotated[int, Between(0, 2)] = 2
    """cnn: 0 no mixing, 1 across channels, 2 across channels and scales. Paper, table 2: 2."""
    projection_width: Annotated[int, Between(1, None)] = 64
    """cnn: channels of the largest map after mixing. Code: 64."""
    projection_expand: bool = True
    """cnn: smaller maps are wider. Code: yes."""
    projection_kernel_size: Literal[1, 3] = 1
    """cnn: of the mixing across scales. Code: 1, paper: 3."""
    projection_seed: Annotated[int, Between(0, 2**31 - 1)] = 0
    """cnn: of the random weights, apart from the run's seed."""
    discriminator_max: Annotated[int, Between(1, None)] = 512
    """cnn, pixels: largest width of D, which doubles from 64 with each halving. Code: 512."""
    separable: bool = False
    """cnn, pixels: depthwise convolutions in D. Code: only with its StyleGAN2 generator."""
    pixel_scales: Annotated[int, Between(1, 8)] = 1
    """pixels: sizes at which the image is judged, each half of the one before. Ours."""
    label_dim: Annotated[int, Between(1, None)] = 128
    """Width of the discriminators' class embeddings. Code: 128."""
    cmap_dim: Annotated[int, Between(1, None)] = 64
    """Width in which features meet the condition. Code: 64."""
    head_kernel_size: Annotated[int, Between(1, None)] = 9
    """vit: taps of the heads' convolution along the tokens, odd."""
    norm_batch: Annotated[int, Between(1, None)] = 8
    """Samples that share batch-norm statistics in training. Code: its batch per GPU, 8."""
    generator_learning_rate: Annotated[float, Between(0.0, 1.0)] = 2e-4
    """Adam. Paper: 2e-4."""
    discriminator_learning_rate: Annotated[float, Between(0.0, 1.0)] = 2e-4
    """Adam. Paper: 2e-4."""
    beta1: Annotated[float, Between(0.0, 0.999)] = 0.0
    """Adam, both networks. Code: 0."""
    beta2: Annotated[float, Between(0.0, 0.99999)] = 0.99
    """Adam, both networks. Code: 0.99."""
    diff_augment: tuple[Policy, ...] = ("color", "translation", "cutout")
    """Augmentations of D's inputs, real and fake. Code: all three."""
    mirror: bool = False
    """Flip every other real image left to right. Code: an option, on in the published runs."""

    @property
    def encoder_roles(self) -> tuple[str, ...]:
        """The frozen net behind the discriminator; none behind one that sees pixels."""
        return {"cnn": ("classifier",), "vit": ("dino",), "pixels": ()}[self.discriminator_network]

    def misfits(self, condition: str, resolution: int | None = None) -> dict[str, str]:
        """Return nothing: it draws from text, from classes and from neither."""
        return {}

    # --- Networks.

    def generator(self, resolution: int, shape: ConditionShape) -> nn.Module:
        """Return a fresh generator, weights from torch's global generator.

        Raises:
            ValueError: a resolution or width that cannot be built.
        """
        from models.recipes.projected_gan_networks import make_generator

        return make_generator(self, resolution, shape)

    def discriminator(self, features: Any, resolution: int, shape: ConditionShape) -> nn.Module:
        """Return a fresh discriminator that reads `features`, the net of its encoder role or None.

        Raises:
            ValueError: the net's maps cannot be projected at this size, or a scale is too small.
        """
        from models.recipes.projected_gan_networks import make_discriminator

        return make_discriminator(self, features, resolution, shape)

    def build(self, site: Site) -> Networks:
        """Return generator, discriminator and the frozen net, if there is one; a start of the same
        size continues.

        Raises:
            ValueError: the start has another resolution, or does not fit.
        """
        from models.interfaces import Networks

        if site.start is not None and site.start.card["resolution_px"] != site.resolution:
            raise ValueError(
                f"the start has {site.start.card['resolution_px']} px and this stage "
                f"{site.resolution} px: {self.name} does not grow; train it at {site.resolution} "
                "px from nothing"
            )
        # First, so that it starts from the same weights before any discriminator.
        generator = self.generator(site.resolution, site.shape)
        frozen = {role: site.encoder(role) for role in self.encoder_roles}
        features = next(iter(frozen.values()), None)
        discriminator = self.discriminator(features, site.resolution, site.shape)
        if site.start is not None:
            _continue_from(site.start, generator, discriminator)
        trained = {"generator": generator, "discriminator": discriminator}
        return Networks(trained=trained, frozen=frozen)

    # --- Training.

    def phases(self, networks: Networks) -> list[Phase]:
        """Return the generator's phase, then the discriminator's (the published order)."""
        from models.interfaces import OptimizerSettings, Phase
        from models.layers.spectral_norm import advance_power_iteration
        from models.recipes.projected_gan_losses import discriminator_loss, generator_loss

        # Both phases use both networks, whose weights moved since the last one.
        def begin(nimg: int) -> None:
            for network in networks.trained.values():
                advance_power_iteration(network)

        def settings(learning_rate: float) -> OptimizerSettings:
            return OptimizerSettings(
                learning_rate=learning_rate, beta1=self.beta1, beta2=self.beta2
            )

        return [
            Phase(
                name="generator",
                parameters=lambda nimg: list(networks.trained["generator"].parameters()),
                loss=lambda batch, nimg, rng: generator_loss(self, networks, batch, rng),
                optimizer=settings(self.generator_learning_rate),
                begin=begin,
            ),
            Phase(
                name="discriminator",
                parameters=lambda nimg: list(networks.trained["discriminator"].parameters()),
                loss=lambda batch, nimg, rng: discriminator_loss(self, networks, batch, rng),
                optimizer=settings(self.discriminator_learning_rate),
                begin=begin,
            ),
        ]


def _continue_from(start: Start, generator: nn.Module, discriminator: nn.Module) -> None:
    """Copy the start's tensors, all of them by name."""
    from models.warm_start import copy_by_name

    copy_by_name(generator, start.generator, what="the generator")
    if start.discriminator is not None:
        copy_by_name(discriminator, start.discriminator, what="the discriminator")
