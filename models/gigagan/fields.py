"""GigaGAN's hyper-parameters, and what follows from them before any network is built.

Sources: "Paper" is Kang et al. 2023 (table A2: its 64 px text-to-image model, and its upsampler
where a field begins with `up_`); "AuraSR" and "Aurora" are the two published checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from models.fields import AddedLater, Augmentation, Between

Sizes = tuple[Annotated[int, Between(0, None)], ...]
Counts = tuple[Annotated[int, Between(1, None)], ...]


@dataclass(frozen=True, kw_only=True)
class GigaGANFields:
    """The fields of the recipe, `models.gigagan.recipe.GigaGAN`."""

    name: ClassVar[str] = "gigagan"
    needs_data: ClassVar[bool] = True
    tunable: ClassVar[dict[str, tuple[float, float]]] = {
        "clip_weight": (0.05, 5.0),
        "r1_weight": (0.02, 20.0),
    }

    # --- What it is made of.
    parts: Literal["base", "cascade", "upsampler"] = "base"
    """base: text to image. cascade: a base of base_px, frozen, and an upsampler. upsampler: small
    images to large ones, alone; it trains on shrunk pictures, and `ganline upscale` runs it."""
    base_px: Annotated[int, Between(0, None)] = 0
    """Side of the images that the upsampler enlarges; 0 where there is none."""

    # --- Text.
    words: Literal["none", "penultimate", "last"] = "penultimate"
    """Tokens of the frozen text tower that are read: before its last block (Paper), after it
    (Aurora), or none: then the pooled embedding is all there is."""
    cross_attention: bool = True
    """Whether the image attends to the words; without, only the text's global vector steers."""
    mask_padding: bool = False
    """Whether what follows the end of a text is hidden. Paper: no."""
    text_width: Annotated[int, Between(1, None)] = 1024
    """Width of the trainable layers on the words. Aurora: 1024."""
    text_depth: Annotated[int, Between(0, None)] = 4
    """Number of these layers, in generator and discriminator each. Paper: 4."""
    text_heads: Annotated[int, Between(1, None)] = 8
    """Heads of their attention. Aurora: 8."""
    text_mixing: Literal["words", "none"] = "words"
    """none: each word for itself, which is what Aurora's code does with one prompt."""

    # --- Generator.
    z_dim: Annotated[int, Between(1, None)] = 128
    """Width of the noise vector. Paper: 128."""
    w_dim: Annotated[int, Between(1, None)] = 1024
    """Width of w and of the mapping's layers. Paper: 1024."""
    mapping_layers: Annotated[int, Between(1, None)] = 4
    """Layers of the mapping. Paper: 4."""
    channel_base: Annotated[int, Between(8, None)] = 16384
    """A block at r px is min(channel_base / r, channel_max) wide. Paper: 16384."""
    channel_max: Annotated[int, Between(1, None)] = 1600
    """Largest width. Paper: 1600."""
    kernels: Counts = (1, 1, 2, 4, 8)
    """Kernels in each bank, from 4 px up; the last number goes on. Paper: 1, 1, 2, 4, 8."""
    blocks: Counts = (3, 3, 3, 2, 2)
    """Convolution blocks, likewise. Paper: 3, 3, 3, 2, 2."""
    attention_depths: Sizes = (0, 2, 2, 1, 0)
    """Layers of attention after each of them, likewise. Paper: 2, 2, 1 at 8, 16 and 32 px."""
    experts: Sizes = (0,)
    """Experts in each of these layers, likewise; 0 = plain layers. Aurora: 0, 4, 8, 16, 16."""
    deformable_up_to_px: Annotated[int, Between(0, None)] = 0
    """Up to this size the second convolution of a block is deformable. Aurora: 16."""
    fourier_input: bool = False
    """Plane waves instead of a learned constant. Aurora: yes."""
    residual_gain: Annotated[float, Between(0.0, None)] = 0.4
    """Of convolution blocks. Paper: 0.4."""
    attention_gain: Annotated[float, Between(0.0, None)] = 0.3
    """Of blocks of attention. Paper: 0.3."""
    gain_on: Literal["branch", "sum"] = "branch"
    """What the gains multiply: f in x + f (ours), or x + f (Aurora)."""

    # --- Attention, in generator and discriminator.
    attention_heads: Annotated[int, Between(1, None)] = 8
    """Heads. Aurora: 8."""
    head_dim: Annotated[int, Between(1, None)] = 64
    """Width of a head. Aurora: 64."""
    mlp_ratio: Annotated[int, Between(1, None), AddedLater(4)] = 4
    """Inner width of the two layers after attention, in units of the channels. Paper: 4."""
    norm_groups: Annotated[int, Between(1, None)] = 32
    """Groups of the group norm before attention; divides every width there. Aurora: 32."""
    likeness: Literal["squared", "distance", "dot"] = "squared"
    """How queries and keys are compared. Paper: by L2 distance; Aurora: unsquared."""
    tied: bool = True
    """Queries and keys share a projection. Paper: yes; Aurora: no."""
    style_in_attention: Literal["token", "output"] = "token"
    """w is one more token (Paper), or modulates the output (Aurora)."""
    mask_self: bool = False
    """A token does not see itself."""

    # --- Discriminator.
    discriminator_channel_base: Annotated[int, Between(8, None)] = 16384
    """As channel_base. Paper: 16384."""
    discriminator_channel_max: Annotated[int, Between(1, None)] = 1536
    """As channel_max. Paper: 1536."""
    discriminator_blocks: Counts = (2, 2, 2, 2, 1)
    """As blocks. Paper: 2, 2, 2, 2, 1."""
    discriminator_depths: Sizes = (0, 2, 2, 1, 0)
    """As attention_depths. Paper: 2, 2, 1 at 8, 16 and 32 px."""
    judge_layers: Annotated[int, Between(1, None), AddedLater(4)] = 4
    """Layers with which each output meets the text. Paper: 4."""

    # --- Losses. A weight of 0 switches a loss off and frees its networks.
    level_weights: tuple[Annotated[float, Between(0.0, None)], ...] = (0.33, 0.17)
    """Weight of the images of each size, from the largest; the last goes on. Paper: 0.33, 0.17."""
    early_weight: Annotated[float, Between(0.0, None)] = 0.01
    """Factor of the outputs before the trunk's end. Paper: 0.01."""
    early_matching_weight: Annotated[float, Between(0.0, None)] = 0.05
    """The same for the matching loss. Paper: 0.05."""
    matching_weight: Annotated[float, Between(0.0, None)] = 1.0
    """Of the discriminator's loss on images with another caption. Paper: 1."""
    generator_matching_weight: Annotated[float, Between(0.0, None)] = 0.0
    """Of the same for the generator; the paper does not tell whether it has one."""
    r1_weight: Annotated[float, Between(0.0, None)] = 0.2048
    """Of the gradient penalty on real images. Paper: 0.2048 to 2.048."""
    r1_every: Annotated[int, Between(1, None)] = 16
    """Iterations from one penalty to the next. Paper: 16."""
    clip_weight: Annotated[float, Between(0.0, None)] = 0.2
    """Of the contrastive loss between images and captions. Paper: 0.2 to 1."""
    clip_scale: Annotated[float, Between(0.0, None), AddedLater(0.0)] = 0.0
    """Factor of the cosines in that loss; 0 = what the frozen CLIP learnt (30 to 100), with which a
    caption that is easy to tell apart is no rival, and little is left to learn; with 1 or 2 all
    captions of the micro-batch stay rivals."""
    vision_weight: Annotated[float, Between(0.0, None)] = 1.0
    """Of the heads on a frozen network. Paper: has them, does not tell the weight."""
    vision_encoder: Literal["clip", "dino", "classifier"] = "clip"
    """That network. Paper: CLIP ViT-B/32. The text meets pooled vectors: not with dino."""
    vision_width: Annotated[int, Between(1, None), AddedLater(256)] = 256
    """Inner width of these heads. Code of Kumari et al.: 256."""
    diff_augment: tuple[Augmentation, ...] = ()
    """Augmentations of the discriminator's images, real and fake. Paper: none."""
    reuse_fakes: Annotated[bool, AddedLater(False)] = False
    """The generator steps first and the discriminator judges the same images. Paper: not told."""

    # --- Optimizers.
    generator_learning_rate: Annotated[float, Between(0.0, 1.0)] = 0.0025
    """Adam. Paper: 0.0025."""
    discriminator_learning_rate: Annotated[float, Between(0.0, 1.0)] = 0.0025
    """Adam. Paper: 0.0025."""
    beta1: Annotated[float, Between(0.0, 0.999)] = 0.0
    """Adam, all networks. Paper: 0."""
    beta2: Annotated[float, Between(0.0, 0.99999)] = 0.99
    """Adam, all networks. Paper: 0.99."""
    weight_decay: Annotated[float, Between(0.0, 1.0), AddedLater(0.0)] = 1.0e-5
    """Of all weights, times the learning rate at each step (AdamW). Paper: 1e-5."""
    attention_weight_decay: Annotated[float, Between(0.0, 1.0), AddedLater(0.0)] = 0.01
    """Of attention's projections in its place. Paper: 0.01."""

    # --- Upsampler.
    up_dim: Annotated[int, Between(1, None)] = 64
    """Channels of the largest size. AuraSR: 64."""
    up_mults: Counts = (1, 2, 4, 8, 16)
    """Channels of each size on the way up, in units of up_dim, from the largest size. AuraSR."""
    up_down_mults: Counts = (4, 8, 16)
    """The same on the way down, from the input's half. AuraSR."""
    up_attention_depths: Sizes = (0, 0, 0, 2, 4)
    """Layers of attention, ordered as up_mults. AuraSR: 4 at 16 px, 2 at 32 px."""
    up_middle_depth: Annotated[int, Between(0, None)] = 4
    """Layers of attention at the coarsest size. AuraSR: 4."""
    up_kernels: Annotated[int, Between(1, None)] = 4
    """Kernels in each bank. Paper, AuraSR: 4."""
    up_blocks: Annotated[int, Between(1, None)] = 6
    """Blocks of a size. AuraSR: 6."""
    up_heads: Annotated[int, Between(1, None)] = 8
    """Heads of its attention. AuraSR: 8."""
    up_head_dim: Annotated[int, Between(0, None), AddedLater(0)] = 0
    """Width of each; 0 = head_dim. AuraSR: 64."""
    up_z_dim: Annotated[int, Between(0, None), AddedLater(0)] = 0
    """Width of its noise vector; 0 = z_dim. AuraSR: 128."""
    up_style_dim: Annotated[int, Between(1, None)] = 512
    """Width of its w. Paper: 512."""
    up_style_layers: Annotated[int, Between(1, None)] = 4
    """Layers of its mapping. Paper: 4."""
    up_skip_scale: Annotated[float, Between(0.0, None)] = 0.4
    """Of the features that cross from the way down. AuraSR's config.json: 0.4."""
    up_text: Annotated[bool, AddedLater(True)] = True
    """Whether it is told the text. AuraSR: no."""
    up_text_depth: Annotated[int, Between(0, None)] = 2
    """Trainable layers on the words. Paper: 2."""
    up_pyramid: bool = True
    """An image at every size above the input's, summed on top of the input. AuraSR: no."""
    up_range: Literal["-1..1", "0..1"] = "-1..1"
    """What it takes and gives. AuraSR: 0..1."""
    up_noise: Annotated[float, Between(0.0, None)] = 0.05
    """Largest standard deviation of the noise on its input in training. Paper: not told."""
    up_base_share: Annotated[float, Between(0.0, 1.0), AddedLater(0.0)] = 0.0
    """Share of a cascade's upsampler's input that the base draws, not real. Paper: not told."""
    up_learning_rate: Annotated[float, Between(0.0, 1.0)] = 2.0e-4
    """Adam. Its weights have no equalised learning rate; gigagan-pytorch: 2e-4."""
    perceptual_weight: Annotated[float, Between(0.0, None)] = 10.0
    """Of the distance of features to the real image. Paper: 10, of LPIPS."""
    perceptual_encoder: Literal["classifier", "guide", "dino", "clip"] = "classifier"
    """Whose features: maps of a CNN, or a transformer's of patches of its own size."""

    @property
    def grows(self) -> bool:
        """Whether a stage may start from a lower resolution: a cascade does, from its base."""
        return True

    @property
    def shrinks(self) -> int:
        """How much larger an upsampler alone makes the pictures that it is given; 1 = it draws."""
        factor: int = 2 ** (len(self.up_mults) - len(self.up_down_mults))
        return factor if self.parts == "upsampler" else 1

    @property
    def reads_words(self) -> str:
        """Which words of the frozen text tower the networks want, "" for none."""
        return "" if self.words == "none" else self.words

    @property
    def encoder_roles(self) -> tuple[str, ...]:
        """The frozen nets that `build` will ask for, with these fields."""
        roles = []
        if self.clip_weight or self.reads_words:
            roles.append("clip")
        if self.vision_weight and self.parts == "base":
            roles.append(self.vision_encoder)
        if self.perceptual_weight and self.parts != "base":
            roles.append(self.perceptual_encoder)
        return tuple(dict.fromkeys(roles))

    def misfits(self, condition: str, resolution: int | None = None) -> dict[str, str]:
        """Return what asks for text that the data does not have, and sizes that do not fit."""
        wrong: dict[str, str] = {}
        if condition != "text":
            for field in ("clip_weight", "matching_weight", "generator_matching_weight"):
                if value := getattr(self, field):
                    wrong[field] = f"got {value:g}; allowed: 0, for the data has no text"
        lengths = {
            "up_attention_depths": len(self.up_attention_depths) != len(self.up_mults),
            "up_down_mults": not 0 < len(self.up_down_mults) < len(self.up_mults),
            "blocks": not self.blocks,
            "kernels": not self.kernels,
            "discriminator_blocks": not self.discriminator_blocks,
            "level_weights": not self.level_weights,
        }
        what = "allowed: as many as up_mults has, fewer in up_down_mults, elsewhere 1 or more"
        for field, bad in lengths.items():
            if bad:
                wrong[field] = f"got {len(getattr(self, field))} numbers; {what}"
        if self.up_base_share and self.parts != "cascade":
            wrong["up_base_share"] = (
                f"got {self.up_base_share}; allowed: 0, for parts is no cascade"
            )
        if self.parts == "base":
            if self.base_px:
                wrong["base_px"] = f"got {self.base_px}; allowed: 0, for parts is base"
        elif resolution is not None and "up_down_mults" not in wrong:
            factor = 2 ** (len(self.up_mults) - len(self.up_down_mults))
            if self.base_px * factor != resolution:
                wrong["base_px"] = (
                    f"got {self.base_px}; allowed: {resolution // factor}, for up_mults and "
                    f"up_down_mults make {resolution} px of a {factor}th"
                )
        if resolution is not None and (resolution < 8 or resolution & (resolution - 1)):
            wrong["parts"] = f"got {resolution} px; allowed: powers of two from 8"
        return wrong

    def start_misfits(self, before: Mapping[str, Any], before_px: int) -> dict[str, str]:
        """Return what keeps a larger stage with these fields from starting at an artifact whose
        recipe has the fields `before`, of resolution `before_px`.
        """
        found = before.get("parts", "base")
        if self.parts != "cascade" or found != "base":
            what = f"got {self.parts} on a {found}; allowed: cascade on a base, for images grow by "
            return {"parts": f"{what}an upsampler, and by one alone"}
        if self.base_px != before_px:
            return {"base_px": f"got {self.base_px}; allowed: {before_px}, as the start"}
        return {}
