"""StyleGAN-T: "StyleGAN-T: Unlocking the Power of GANs for Fast Large-Scale Text-to-Image
Synthesis" (Sauer et al. 2023).

Implemented: generator and discriminator as published, hinge loss on the taps of a frozen DINO
transformer, CLIP guidance, DiffAugment, fading blur, progressive growth, and the secondary phase
(section 3.4), in which generator and discriminator are frozen and the text encoder trains.

Deviations, all so that a step is a function of its samples and not of how they are cut:
- Loss: the mean over logits, then over samples. The published code divides the adversarial term,
  but not the guidance, once more by its micro-batch (`batch_gpu`):
      theirs(w) = adversarial / batch_gpu + w * guidance
      ours(w * batch_gpu) = adversarial + w * batch_gpu * guidance = batch_gpu * theirs(w)
  Our clip_weight is therefore theirs times their batch_gpu; Adam does not see the common factor.
- Power iterations advance once per phase (models/layers/spectral_norm.py); running means once per
  phase and over all ranks (models/layers/running_mean.py).
- Random crops are drawn per sample (models/layers/crops.py).
- The discriminator is frozen in the secondary phase, as in the paper; the code goes on training it.

A model whose text encoder was trained (`AlignedGenerator`) is grown with that encoder, frozen
again: the generator sees what it will see when it is used. Discriminator and guidance always see
the original encoder's embedding, so that what they ask for does not drift with the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from models.fields import Between

if TYPE_CHECKING:
    import torch
    from torch import nn

    from models.discriminators.stylegan_t import StyleGANTDiscriminator
    from models.generators.stylegan_t import StyleGANTGenerator
    from models.interfaces import Batch, ConditionShape, Losses, Networks, Phase, Site, Start

Policy = Literal["color", "translation", "cutout"]


@dataclass(frozen=True, kw_only=True)
class StyleGANT:
    """Fields are the family's hyper-parameters; defaults are the published "lite" configuration.

    "full" is in presets/stylegan_t_full_64_512.yaml; any other values are what the code calls
    "custom".
    """

    name: ClassVar[str] = "stylegan_t"
    needs_data: ClassVar[bool] = True
    grows: ClassVar[bool] = True
    encoder_roles: ClassVar[tuple[str, ...]] = ("clip", "dino")
    norm_batch: ClassVar[int] = 8  # of the heads' local batch norm. Code: 8
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
    """Weight of the guidance against a hinge loss that is a mean over logits and samples. Paper:
    0.2, times batch_gpu 8: the code trains on adversarial / batch_gpu + w * guidance, so its w is
    our w / batch_gpu."""
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
    trains: Literal["generator", "text_encoder"] = "generator"
    """text_encoder is the secondary phase: generator and discriminator are frozen. Paper: section
    3.4."""
    text_learning_rate: Annotated[float, Between(0.0, 1.0)] = 3.0e-6
    """Adam, text encoder. Code: 3e-6."""
    text_clip_weight: Annotated[float, Between(0.0, None)] = 400.0
    """clip_weight while the text encoder trains. Paper: 50, times batch_gpu 8, as clip_weight."""

    @property
    def guidance(self) -> float:
        """Weight of the CLIP guidance in the phase that this recipe stands for."""
        return self.text_clip_weight if self.trains == "text_encoder" else self.clip_weight

    def misfits(self, condition: str, resolution: int | None = None) -> dict[str, str]:
        """Return what asks for text that the data does not have."""
        if condition == "text":
            return {}
        if self.trains == "text_encoder":
            return {"trains": "got text_encoder; allowed: generator, for the data has no text"}
        if self.clip_weight > 0:
            return {
                "clip_weight": f"got {self.clip_weight:g}; allowed: 0, for the data has no text"
            }
        return {}

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
        `growth` says what trains. A start of the same resolution continues everything, or trains
        the text encoder alone.

        Raises:
            ValueError: the start does not fit, or text is asked for where the data has none.
        """
        from models.interfaces import Networks
        from models.text_to_image import AlignedGenerator

        self._check(site)
        dino: Any = site.encoder("dino")
        frozen: dict[str, nn.Module] = {"dino": dino}
        if self.guidance > 0:
            frozen["clip"] = site.encoder("clip")
        generator = self.generator(site.resolution, site.shape)
        discriminator = self._discriminator(dino, site.shape)
        if site.start is not None:
            self._warm_start(generator, discriminator, site.start, site.resolution)
        model: nn.Module = generator
        text_encoder = self._text_encoder(site)
        if text_encoder is not None:
            model = AlignedGenerator(text_encoder, generator)
        if self.trains == "text_encoder":
            generator.freeze_up_to(site.resolution)
            return Networks(
                trained={"generator": model}, frozen={**frozen, "discriminator": discriminator}
            )
        return Networks(trained={"generator": model, "discriminator": discriminator}, frozen=frozen)

    def _check(self, site: Site) -> None:
        """Raise ValueError where the recipe asks for what data or start do not have."""
        condition = "text" if site.shape.pooled_dim else "none"
        for field, what in self.misfits(condition).items():
            raise ValueError(f"{field}: {what}")
        if self.trains != "text_encoder":
            return
        if site.start is None or site.start.card["resolution_px"] != site.resolution:
            raise ValueError(
                "trains is text_encoder, which wants a start of the stage's own resolution: to "
                "grow, set trains to generator"
            )

    def _discriminator(self, dino: Any, shape: ConditionShape) -> StyleGANTDiscriminator:
        from models.discriminators.stylegan_t import StyleGANTDiscriminator

        return StyleGANTDiscriminator(
            num_taps=dino.num_taps,
            tap_dim=dino.tap_dim,
            shape=shape,
            cmap_dim=self.cmap_dim,
            kernel_size=self.head_kernel_size,
            label_dim=self.label_dim,
        )

    def _text_encoder(self, site: Site) -> nn.Module | None:
        """Return the model's own text encoder; None where the data's embedding will do."""
        from models.warm_start import copy_by_name

        own = site.start.text_encoder if site.start is not None else None
        if own is None and self.trains != "text_encoder":
            return None
        clip: Any = site.encoder("clip")
        text_encoder: nn.Module = clip.text_part()
        if own is not None:
            copy_by_name(text_encoder.network, own, what="the text encoder")  # type: ignore[arg-type]
        return text_encoder

    def _warm_start(
        self,
        generator: StyleGANTGenerator,
        discriminator: StyleGANTDiscriminator,
        start: Start,
        resolution: int,
    ) -> None:
        """Copy the start's tensors; freeze what growth does not train."""
        from models.warm_start import check_family, copy_by_name

        check_family(start.card, self.name)
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
        """Return the discriminator's phase, then the generator's (the published order), or the one
        of the text encoder.
        """
        from models.interfaces import OptimizerSettings, Phase
        from models.recipes.stylegan_t_losses import (
            discriminator_loss,
            generator_loss,
            plain_generator,
        )

        model: Any = networks.trained["generator"]
        generator = plain_generator(networks)
        betas = {"beta1": self.beta1, "beta2": self.beta2}

        def loss(batch: Batch, nimg: int, rng: torch.Generator) -> Losses:
            return generator_loss(self, networks, batch, nimg, rng)

        if self.trains == "text_encoder":
            return [
                Phase(
                    name="text_encoder",
                    parameters=lambda nimg: list(model.text_encoder.parameters()),
                    loss=loss,
                    optimizer=OptimizerSettings(learning_rate=self.text_learning_rate, **betas),
                )
            ]
        discriminator = cast("StyleGANTDiscriminator", networks.trained["discriminator"])

        # Both phases judge with the heads, whose weights moved since the last one.
        def begin(nimg: int) -> None:
            discriminator.advance()

        return [
            Phase(
                name="discriminator",
                parameters=lambda nimg: list(discriminator.parameters()),
                loss=lambda batch, nimg, rng: discriminator_loss(self, networks, batch, nimg, rng),
                optimizer=OptimizerSettings(
                    learning_rate=self.discriminator_learning_rate, **betas
                ),
                begin=begin,
            ),
            Phase(
                name="generator",
                parameters=lambda nimg: generator.trainable(),
                loss=loss,
                optimizer=OptimizerSettings(learning_rate=self.generator_learning_rate, **betas),
                begin=begin,
            ),
        ]
