"""GigaGAN's recipe: which networks its fields choose, and what each phase trains."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from models.fields import AddedLater
from models.gigagan.fields import GigaGANFields

if TYPE_CHECKING:
    from torch import nn

    from models.gigagan.blocks import AttentionStyle
    from models.gigagan.cascade import UpsamplerModel
    from models.gigagan.discriminator import GigaGANDiscriminator
    from models.gigagan.generator import GigaGANGenerator
    from models.gigagan.text_head import TextReader
    from models.interfaces import ConditionShape, Joined, Networks, Phase, Site, Start

Value = bool | int | float | str | tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class GigaGAN(GigaGANFields):
    """Fields are the family's hyper-parameters; defaults are the paper's 64 px text-to-image model
    and AuraSR's upsampler.
    """

    further: Annotated[tuple[dict[str, Value], ...], AddedLater(())] = ()
    """Of a cascade, the up_ fields of each upsampler after the first, in order: `ganline cascade`
    writes them. No stage trains one with any; each upsampler trains by itself."""

    def misfits(self, condition: str, resolution: int | None = None) -> dict[str, str]:
        """See `GigaGANFields.misfits`; and further upsamplers, which no stage trains."""
        wrong = super().misfits(condition, resolution)
        if self.further:
            what = "allowed: none, train each upsampler alone and join them by `ganline cascade`"
            wrong["further"] = f"got {len(self.further)} of them; {what}"
            wrong.pop("base_px", None)  # it speaks of one upsampler
        return wrong

    @property
    def compares_captions(self) -> bool:
        """Whether a loss holds each image against the captions of the whole batch."""
        return self.clip_weight > 0

    # --- Networks.

    def generator(self, resolution: int, shape: ConditionShape) -> nn.Module:
        """Return a fresh base, cascade or upsampler, weights from torch's global generator.

        Raises:
            ValueError: a resolution or width that cannot be built.
        """
        if self.parts == "base":
            return self.base(resolution, shape)
        if self.parts == "upsampler":
            return self.upsampler(shape)
        from models.gigagan.cascade import Cascade

        chain = [one.upsampler(shape) for one in self.upsamplers()]
        return Cascade(self.base(self.base_px, shape), *chain)

    def upsamplers(self) -> list[GigaGAN]:
        """Return for each upsampler, the first first, the recipe whose `upsampler` it is.

        Raises:
            TypeError: `further` has names that are no fields.
        """
        chain = [replace(self, further=())]
        for fields in self.further:
            known = {k: tuple(x) if isinstance(x, list) else x for k, x in fields.items()}
            px = chain[-1].base_px * chain[-1].up_factor
            chain.append(replace(chain[0], base_px=px, **known))  # type: ignore[arg-type]
        return chain

    @property
    def up_factor(self) -> int:
        """How much larger the first upsampler makes an image."""
        return int(2 ** (len(self.up_mults) - len(self.up_down_mults)))

    def base(self, resolution: int, shape: ConditionShape) -> GigaGANGenerator:
        """Return a fresh text-to-image generator."""
        from models.gigagan.generator import GigaGANGenerator
        from models.gigagan.synthesis import resolutions, table

        sizes = resolutions(resolution)
        return GigaGANGenerator(
            resolution=resolution,
            text=self._text(shape, self.text_depth),
            z_dim=self.z_dim,
            w_dim=self.w_dim,
            mapping_layers=self.mapping_layers,
            attends=self.cross_attention,
            words=self.reads_words,  # type: ignore[arg-type]
            widths={r: min(self.channel_base // r, self.channel_max) for r in sizes},
            kernels=table(resolution, self.kernels),
            blocks=table(resolution, self.blocks),
            depths=table(resolution, self.attention_depths),
            experts=table(resolution, self.experts),
            attention=self._attention(),
            gain=self.residual_gain,
            gain_on=self.gain_on,
            waves=self.fourier_input,
            deformable_up_to=self.deformable_up_to_px,
        )

    def upsampler(self, shape: ConditionShape) -> UpsamplerModel:
        """Return a fresh upsampler from `base_px`."""
        from models.gigagan.cascade import UpsamplerModel
        from models.gigagan.unet import Upsampler
        from models.interfaces import ConditionShape

        told = shape if self.up_text else ConditionShape()
        text = self._text(told, self.up_text_depth)
        network = Upsampler(
            z_dim=self.up_z_dim or self.z_dim,
            text_dim=text.dim,
            word_dim=text.word_dim if self.cross_attention else 0,
            style_dim=self.up_style_dim,
            style_layers=self.up_style_layers,
            dim=self.up_dim,
            up_mults=self.up_mults,
            down_mults=self.up_down_mults,
            depths=self.up_attention_depths,
            middle_depth=self.up_middle_depth,
            num_kernels=self.up_kernels,
            heads=self.up_heads,
            head_dim=self.up_head_dim or self.head_dim,
            blocks=self.up_blocks,
            skip_scale=self.up_skip_scale,
            pyramid=self.up_pyramid,
        )
        return UpsamplerModel(
            *(network, text),
            tile_px=self.base_px,
            unit_range=self.up_range == "0..1",
            words=self.reads_words,
        )

    def discriminator(self, resolution: int, shape: ConditionShape) -> GigaGANDiscriminator:
        """Return a fresh discriminator; an upsampler's is not shown the sizes of its input."""
        from models.gigagan.discriminator import GigaGANDiscriminator

        steps = self.up_factor.bit_length() - 1 if self.up_pyramid else 1
        return GigaGANDiscriminator(
            resolution=resolution,
            text=self._text(shape, self.text_depth),
            channel_base=self.discriminator_channel_base,
            channel_max=self.discriminator_channel_max,
            blocks=self.discriminator_blocks,
            depths=self.discriminator_depths,
            attention=self._attention(),
            gain=self.residual_gain,
            judge_layers=self.judge_layers,
            entries=0 if self.parts == "base" else steps,
        )

    def _text(self, shape: ConditionShape, depth: int) -> TextReader:
        from models.gigagan.text_head import TextReader

        return TextReader(
            *(shape, self.text_width),
            depth=depth,
            heads=self.text_heads,
            mixing=self.text_mixing,
            mask_padding=self.mask_padding,
        )

    def _attention(self) -> AttentionStyle:
        from models.gigagan.blocks import AttentionStyle

        return AttentionStyle(
            heads=self.attention_heads,
            head_dim=self.head_dim,
            norm_groups=self.norm_groups,
            likeness=self.likeness,
            tied=self.tied,
            style=self.style_in_attention,
            mask_self=self.mask_self,
            mlp_ratio=self.mlp_ratio,
            gain=self.attention_gain,
            gain_on=self.gain_on,
        )

    def build(self, site: Site) -> Networks:
        """Return generator, discriminator, heads and frozen nets, warm-started from `site.start`.

        Raises:
            ValueError: the start does not fit, or the fields do not fit the data.
        """
        from models.gigagan.warm_start import continue_from
        from models.interfaces import Networks

        shape = site.shape
        condition = "text" if shape.pooled_dim else "label" if shape.num_labels else "none"
        for field, what in self.misfits(condition, site.resolution).items():
            raise ValueError(f"{field}: {what}")
        model: Any = self.generator(site.resolution, shape)
        discriminator = self.discriminator(site.resolution, shape)
        if site.start is not None:
            continue_from(site.start, model, discriminator, site.resolution, self.parts)
        elif self.parts == "cascade":
            raise ValueError("parts is cascade, which starts from its base: set `start`")
        frozen: dict[str, nn.Module] = {}
        if self.clip_weight or (self.reads_words and shape.token_dim):
            frozen["clip"] = site.encoder("clip")
        if self.reads_words and shape.token_dim:
            clip: Any = frozen["clip"]
            model.reader = clip.word_reader(self.reads_words)
        trained: dict[str, nn.Module] = {"generator": model, "discriminator": discriminator}
        if self.vision_weight and self.parts == "base":
            frozen[self.vision_encoder] = net = site.encoder(self.vision_encoder)
            trained["vision_heads"] = self._vision_heads(net, shape)
        if self.perceptual_weight and self.parts != "base":
            frozen["perceptual"] = site.encoder(self.perceptual_encoder)
        return Networks(trained=trained, frozen=frozen)

    def _vision_heads(self, net: Any, shape: ConditionShape) -> nn.Module:
        """Return heads on what the frozen net gives of an image."""
        import torch

        from models.gigagan.vision_aided import VisionHeads, taps_of

        where = next(net.parameters()).device  # also where all else has no memory (a dry run)
        with torch.no_grad(), where:
            taps = taps_of(net, torch.zeros(1, 3, net.image_size, net.image_size))
        maps = [x for x in taps if x.ndim == 4]
        pooled = taps[-1].shape[1] if taps[-1].ndim == 2 else 0
        return VisionHeads(
            [x.shape[1] for x in maps],
            pooled,
            inner=self.vision_width,
            text_dim=shape.pooled_dim if pooled else 0,
            halves=maps[0].shape[-1] >= 14,
        )

    def joined(self, base: Start, upsampler: Start) -> Joined:
        """Return the cascade of a base or cascade of this recipe and an upsampler.

        Raises:
            ValueError: they do not fit together.
        """
        from models.gigagan.joining import joined

        return joined(self, base, upsampler)

    # --- Training.

    def phases(self, networks: Networks) -> list[Phase]:
        """Return the discriminator's phase, its lazy gradient penalty, then the generator's."""
        from models.gigagan.decay import adam
        from models.gigagan.losses import discriminator_loss, generator_loss, r1_loss
        from models.interfaces import Phase
        from models.layers.spectral_norm import advance_power_iteration
        from models.losses.seen_fakes import SeenFakes

        model: Any = networks.trained["generator"]
        judges = [net for name, net in networks.trained.items() if name != "generator"]
        part: Any = model.upsampler if self.parts == "cascade" else model
        kept = SeenFakes() if self.reuse_fakes else None
        rate = self.generator_learning_rate if self.parts == "base" else self.up_learning_rate

        def begin(nimg: int) -> None:
            if "vision_heads" in networks.trained:
                advance_power_iteration(networks.trained["vision_heads"])

        phases = [
            Phase(
                name="discriminator",
                parameters=lambda nimg: [p for net in judges for p in net.parameters()],
                loss=lambda batch, nimg, rng: discriminator_loss(self, networks, batch, rng, kept),
                optimizer=adam(self, self.discriminator_learning_rate, judges),
                begin=begin,
            ),
            Phase(
                name="generator",
                parameters=lambda nimg: list(part.parameters()),
                loss=lambda batch, nimg, rng: generator_loss(self, networks, batch, rng, kept),
                optimizer=adam(self, rate, [part]),
                begin=begin,
            ),
        ]
        if kept is not None:
            phases.reverse()
        if self.r1_weight:
            penalty = Phase(
                name="r1",
                parameters=lambda nimg: list(networks.trained["discriminator"].parameters()),
                loss=lambda batch, nimg, rng: r1_loss(self, networks, batch, rng),
                optimizer=adam(self, self.discriminator_learning_rate),
                every=self.r1_every,
                steps_of="discriminator",
            )
            phases.insert(1 if kept is None else 2, penalty)
        return phases
