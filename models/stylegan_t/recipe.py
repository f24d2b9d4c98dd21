"""StyleGAN-T's recipe: which networks its fields choose, and what each phase trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from models.stylegan_t.fields import StyleGANTFields

if TYPE_CHECKING:
    import torch
    from torch import nn

    from models.interfaces import Batch, ConditionShape, Losses, Networks, Phase, Site, Start
    from models.stylegan_t.discriminator import StyleGANTDiscriminator
    from models.stylegan_t.generator import StyleGANTGenerator


@dataclass(frozen=True, kw_only=True)
class StyleGANT(StyleGANTFields):
    """Fields are the family's hyper-parameters; defaults are the published "lite" configuration.

    "full" is in presets/stylegan_t_full_64_512.yaml; any other values are what the code calls
    "custom".
    """

    # --- Networks.

    def generator(self, resolution: int, shape: ConditionShape) -> StyleGANTGenerator:
        """Return a fresh generator, weights from torch's global generator.

        Raises:
            ValueError: a resolution or width that cannot be built.
        """
        from models.stylegan_t.generator import StyleGANTGenerator

        return StyleGANTGenerator(
            resolution=resolution,
            shape=shape,
            z_dim=self.z_dim,
            channel_base=self.channel_base,
            channel_max=self.channel_max,
            num_res_blocks=self.num_res_blocks,
            num_groups=self.group_norm_groups,
            label_dim=self.label_dim,
            input_shift=self.input_shift,
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
        cnn: Any = None
        if self.cnn_heads:
            frozen["classifier"] = cnn = site.encoder("classifier")
        discriminator = self._discriminator(dino, cnn, site.shape)
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

    def _discriminator(self, dino: Any, cnn: Any, shape: ConditionShape) -> StyleGANTDiscriminator:
        from models.stylegan_t.discriminator import StyleGANTDiscriminator, channels_of

        return StyleGANTDiscriminator(
            num_taps=dino.num_taps,
            tap_dim=dino.tap_dim,
            shape=shape,
            cmap_dim=self.cmap_dim,
            kernel_size=self.head_kernel_size,
            label_dim=self.label_dim,
            pixel_head=self.pixel_head,
            map_channels=channels_of(cnn, self.cnn_heads),
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
        """Return the discriminator's phase, then the generator's (the published order; the other
        with `reuse_fakes`), or the one of the text encoder.
        """
        from models.interfaces import OptimizerSettings, Phase
        from models.losses.seen_fakes import SeenFakes
        from models.stylegan_t.losses import (
            discriminator_loss,
            generator_loss,
            plain_generator,
        )

        model: Any = networks.trained["generator"]
        generator = plain_generator(networks)
        betas: dict[str, Any] = {"beta1": self.beta1, "beta2": self.beta2}

        seen = SeenFakes() if self.reuse_fakes and self.trains == "generator" else None

        def loss(batch: Batch, nimg: int, rng: torch.Generator) -> Losses:
            return generator_loss(self, networks, batch, nimg, rng, seen)

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

        phases = [
            Phase(
                name="discriminator",
                parameters=lambda nimg: list(discriminator.parameters()),
                loss=lambda batch, nimg, rng: discriminator_loss(
                    self, networks, batch, nimg, rng, seen
                ),
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
        return phases if seen is None else phases[::-1]
