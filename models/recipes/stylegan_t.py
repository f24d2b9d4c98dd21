"""StyleGAN-T: "StyleGAN-T: Unlocking the Power of GANs for Fast Large-Scale Text-to-Image
Synthesis" (Sauer et al. 2023).

Implemented: generator and discriminator as published, hinge loss on the taps of a frozen DINO
transformer, CLIP guidance, DiffAugment, fading blur, progressive growth. Left to a later stage: the
phase that trains the text encoder.

Deviations, all so that a step is a function of its samples and not of how they are cut:
- Loss: the mean over logits, then over samples. The published code divides the adversarial term,
  but not the guidance, once more by its micro-batch (`batch_gpu`). Our clip_weight is therefore
  theirs times their batch_gpu.
- Power iterations advance once per phase (models/layers/spectral_norm.py); running means once per
  phase and over all ranks (models/layers/running_mean.py).
- Random crops are drawn per sample (models/layers/crops.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from models.fields import Between

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from models.discriminators.stylegan_t import StyleGANTDiscriminator
    from models.generators.stylegan_t import StyleGANTGenerator
    from models.interfaces import Batch, ConditionShape, Losses, Networks, Phase, Site, Start

Policy = Literal["color", "translation", "cutout"]


@dataclass(frozen=True, kw_only=True)
class StyleGANT:
    """Fields are the family's hyper-parameters; defaults are the published "lite" configuration."""

    name: ClassVar[str] = "stylegan_t"
    needs_data: ClassVar[bool] = True
    encoder_roles: ClassVar[tuple[str, ...]] = ("clip", "dino")
    tunable: ClassVar[dict[str, tuple[float, float]]] = {
        "clip_weight": (0.1, 20.0),
        "blur_fade_kimg": (1.0, 1000.0),
    }

    channel_base: Annotated[int, Between(8, None)] = 32768
    """A block at r px is min(channel_base / r, channel_max) wide. Code: lite 32768, full 65536."""
    channel_max: Annotated[int, Between(1, None)] = 512
    """Largest width. Paper: lite 512, full 2048."""
    num_res_blocks: Annotated[int, Between(0, None)] = 2
    """Pairs of a plain and a residual layer in a block. Paper: lite 2, full 3."""
    z_dim: Annotated[int, Between(1, None)] = 64
    """Width of the noise vector. Paper: 64."""
    group_norm_groups: Annotated[int, Between(1, None)] = 32
    """Groups of the residual layers' group norm; divides every width. Code: 32."""
    label_dim: Annotated[int, Between(0, None)] = 0
    """Width of a learned class embedding, for data with classes and no text; 0 = one-hot. Ours."""
    cmap_dim: Annotated[int, Between(1, None)] = 64
    """Width in which a head's tokens meet the condition. Code: 64."""
    head_kernel_size: Annotated[int, Between(1, None)] = 9
    """Taps of the heads' convolution along the tokens, odd. Code: 9."""
    generator_learning_rate: Annotated[float, Between(0.0, 1.0)] = 0.002
    """Adam. Code: 0.002."""
    discriminator_learning_rate: Annotated[float, Between(0.0, 1.0)] = 0.002
    """Adam. Code: 0.002."""
    beta1: Annotated[float, Between(0.0, 0.999)] = 0.0
    """Adam, both networks. Code: 0."""
    beta2: Annotated[float, Between(0.0, 0.99999)] = 0.99
    """Adam, both networks. Code: 0.99."""
    clip_weight: Annotated[float, Between(0.0, None)] = 1.6
    """Weight of the guidance against a mean-reduced hinge loss. Paper: 0.2, times batch_gpu 8."""
    guidance_crop_px: Annotated[int, Between(8, None)] = 64
    """CLIP sees random crops of this side of larger images. Paper: 64."""
    blur_init_sigma_px: Annotated[float, Between(0.0, None)] = 32.0
    """Blur of D's inputs at the start, in pixels of THIS stage. Code: 32, at 64 px; growth: 0."""
    blur_fade_kimg: Annotated[float, Between(0.0, None)] = 1000.0
    """The blur falls linearly to zero within this many thousand images. Code: 1000."""
    diff_augment: tuple[Policy, ...] = ("color", "translation", "cutout")
    """Augmentations of D's inputs, real and fake. Code: all three."""
    growth: Literal["new_blocks", "all"] = "new_blocks"
    """What trains after a start of lower resolution. Paper: only the new blocks and every ToRGB."""

    # --- Networks.

    def generator(self, resolution: int, shape: ConditionShape) -> StyleGANTGenerator:
        """Return a fresh generator, weights from torch's global generator.

        Raises:
            ValueError: a resolution or width that cannot be built.
        """
        from models.generators.stylegan_t import StyleGANTGenerator

        return StyleGANTGenerator(
            resolution=resolution,
            shape=shape,
            z_dim=self.z_dim,
            channel_base=self.channel_base,
            channel_max=self.channel_max,
            num_res_blocks=self.num_res_blocks,
            num_groups=self.group_norm_groups,
            label_dim=self.label_dim,
        )

    def build(self, site: Site) -> Networks:
        """Return generator, heads and frozen nets, warm-started from `site.start`.

        A start of lower resolution grows: its tensors are copied by name, new blocks are fresh, and
        `growth` says what trains. A start of the same resolution continues everything.

        Raises:
            ValueError: the start does not fit, or guidance is asked for without text.
        """
        from models.discriminators.stylegan_t import StyleGANTDiscriminator
        from models.interfaces import Networks

        if self.clip_weight > 0 and not site.shape.pooled_dim:
            raise ValueError(
                f"clip_weight is {self.clip_weight}, but the data has no text: set clip_weight to 0"
            )
        dino: Any = site.encoder("dino")
        frozen: dict[str, nn.Module] = {"dino": dino}
        if self.clip_weight > 0:
            frozen["clip"] = site.encoder("clip")
        generator = self.generator(site.resolution, site.shape)
        discriminator = StyleGANTDiscriminator(
            num_taps=dino.num_taps,
            tap_dim=dino.tap_dim,
            shape=site.shape,
            cmap_dim=self.cmap_dim,
            kernel_size=self.head_kernel_size,
            label_dim=self.label_dim,
        )
        if site.start is not None:
            self._warm_start(generator, discriminator, site.start, site.resolution)
        trained = {"generator": generator, "discriminator": discriminator}
        return Networks(trained=trained, frozen=frozen)

    def _warm_start(
        self,
        generator: StyleGANTGenerator,
        discriminator: StyleGANTDiscriminator,
        start: Start,
        resolution: int,
    ) -> None:
        """Copy the start's tensors; freeze what growth does not train."""
        from models.warm_start import copy_by_name

        before = start.card["resolution_px"]
        if before > resolution:
            raise ValueError(
                f"the start has {before} px and this stage {resolution} px: a stage can only "
                "grow or stay"
            )

        def is_new(name: str) -> bool:
            path = name.split(".")
            return path[:2] == ["synthesis", "blocks"] and int(path[2]) > before

        copy_by_name(generator, start.generator, fresh=is_new, what="the generator")
        if start.discriminator is not None:
            copy_by_name(discriminator, start.discriminator, what="the discriminator")
        if before < resolution and self.growth == "new_blocks":
            generator.freeze_up_to(before)

    # --- Training.

    def phases(self, networks: Networks) -> list[Phase]:
        """Return the discriminator's phase, then the generator's (the published order)."""
        from models.interfaces import OptimizerSettings, Phase

        generator = cast("StyleGANTGenerator", networks.trained["generator"])
        discriminator = cast("StyleGANTDiscriminator", networks.trained["discriminator"])
        betas = {"beta1": self.beta1, "beta2": self.beta2}

        # Both phases judge with the heads, whose weights moved since the last one.
        def begin(nimg: int) -> None:
            discriminator.advance()

        return [
            Phase(
                name="discriminator",
                parameters=lambda nimg: list(discriminator.parameters()),
                loss=lambda batch, nimg, rng: self._discriminator_loss(networks, batch, nimg, rng),
                optimizer=OptimizerSettings(
                    learning_rate=self.discriminator_learning_rate, **betas
                ),
                begin=begin,
            ),
            Phase(
                name="generator",
                parameters=lambda nimg: generator.trainable(),
                loss=lambda batch, nimg, rng: self._generator_loss(networks, batch, nimg, rng),
                optimizer=OptimizerSettings(learning_rate=self.generator_learning_rate, **betas),
                begin=begin,
            ),
        ]

    def _discriminator_loss(
        self, networks: Networks, batch: Batch, nimg: int, rng: torch.Generator
    ) -> Losses:
        """Hinge loss on real images and fresh fakes of the same captions."""
        import torch

        from models.interfaces import Losses
        from models.losses.adversarial import hinge_discriminator

        assert batch.image_NCHW is not None
        with torch.no_grad():
            fake = self._generate(networks, batch, rng)
            # One pass for both; the heads keep their statistics apart (parts=2).
            taps = self._taps(networks, torch.cat([batch.image_NCHW.to(fake), fake]), nimg, rng)
        logits = networks.trained["discriminator"](taps, batch.condition, parts=2)
        real, fake = logits.chunk(2)
        stats = {
            "real_sign": real.detach().sign().mean(dim=1),
            "fake_sign": fake.detach().sign().mean(dim=1),
            "real_logit": real.detach().mean(dim=1),
            "fake_logit": fake.detach().mean(dim=1),
        }
        return Losses(terms={"adversarial": hinge_discriminator(real, fake)}, stats=stats)

    def _generator_loss(
        self, networks: Networks, batch: Batch, nimg: int, rng: torch.Generator
    ) -> Losses:
        """Hinge loss, plus the squared angle between image and caption in CLIP's space."""
        from models.interfaces import Losses
        from models.layers.crops import random_crop
        from models.losses.adversarial import hinge_generator
        from models.losses.alignment import spherical_distance_squared

        text_ND = batch.condition.pooled_ND
        image = self._generate(networks, batch, rng)
        taps = self._taps(networks, image, nimg, rng)
        logits = networks.trained["discriminator"](taps, batch.condition)
        terms = {"adversarial": hinge_generator(logits)}
        stats = {"fake_sign": logits.detach().sign().mean(dim=1)}
        if self.clip_weight > 0 and text_ND is not None:
            crop = random_crop(image, self.guidance_crop_px, rng)
            embedding = networks.frozen["clip"](crop)["pooled"]
            distance = spherical_distance_squared(embedding, text_ND)
            terms["clip"] = self.clip_weight * distance
            stats["clip_distance"] = distance.detach()
        return Losses(terms=terms, stats=stats)

    def _generate(self, networks: Networks, batch: Batch, rng: torch.Generator) -> Tensor:
        """Return fakes for the batch's captions, of fresh z and fresh noise."""
        import torch

        generator = cast("StyleGANTGenerator", networks.trained["generator"])
        z = torch.randn(batch.size, self.z_dim, generator=rng, device=rng.device)
        ws = generator.map(z, batch.condition)
        return generator.synthesize(ws, batch.condition, generator.draw_noise(batch.size, rng))

    def _taps(
        self, networks: Networks, image: Tensor, nimg: int, rng: torch.Generator
    ) -> dict[str, Tensor]:
        """Blur, augment, crop or shrink to the transformer's size, and read its taps."""
        from models.layers.augment import diff_augment
        from models.layers.blur import blur
        from models.layers.crops import crop_or_shrink
        from models.schedules import blur_sigma_px

        dino: Any = networks.frozen["dino"]
        image = blur(image, blur_sigma_px(nimg, self.blur_init_sigma_px, self.blur_fade_kimg))
        image = diff_augment(image, self.diff_augment, rng)
        return dino(crop_or_shrink(image, dino.image_size, rng))
