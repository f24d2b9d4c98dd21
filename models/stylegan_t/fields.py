"""StyleGAN-T's hyper-parameters, and what follows from them before any network is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from models.fields import AddedLater, Augmentation, Between

Stage = Literal["stage_0", "stage_1", "stage_2", "stage_3"]


@dataclass(frozen=True, kw_only=True)
class StyleGANTFields:
    """The fields of the recipe, `models.stylegan_t.recipe.StyleGANT`."""

    name: ClassVar[str] = "stylegan_t"
    needs_data: ClassVar[bool] = True
    grows: ClassVar[bool] = True
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
    diff_augment: tuple[Augmentation, ...] = ("color", "translation", "cutout")
    """Augmentations of D's inputs, real and fake. Code: these three. shift is ours:
    a translation that repeats the edge instead of leaving grey."""
    growth: Literal["new_blocks", "all"] = "new_blocks"
    """What trains after a start of lower resolution. Paper: only the new blocks and every ToRGB."""
    trains: Literal["generator", "text_encoder"] = "generator"
    """text_encoder is the secondary phase: generator and discriminator are frozen. Paper: section
    3.4."""
    text_learning_rate: Annotated[float, Between(0.0, 1.0)] = 3.0e-6
    """Adam, text encoder. Code: 3e-6."""
    text_clip_weight: Annotated[float, Between(0.0, None)] = 400.0
    """clip_weight while the text encoder trains. Paper: 50, times batch_gpu 8, as clip_weight."""

    input_shift: Annotated[float, Between(0.0, 1.0), AddedLater(0.0)] = 0.0
    """Standard deviation, of the image's side, by which z shifts the Fourier input at the start, so
    that seeds differ in place from the first step. Code: 0."""
    pixel_head: Annotated[int, Between(0, None), AddedLater(0)] = 0
    """Width of a head that sees the picture itself, with as much say as all tokens together; 0 =
    none. Ours."""

    cnn_heads: Annotated[tuple[Stage, ...], AddedLater(())] = ()
    """Maps of the frozen classifier that get heads too, together with as much say as all tokens: a
    second network of another kind, as StyleGAN-XL has (Sauer et al. 2022). Code: none."""

    reuse_fakes: Annotated[bool, AddedLater(False)] = False
    """The generator steps first, and the discriminator then judges the same images instead of fresh
    ones: a fifth less time a step. Code: false."""

    @property
    def encoder_roles(self) -> tuple[str, ...]:
        """Frozen networks that are read."""
        return ("clip", "dino", "classifier") if self.cnn_heads else ("clip", "dino")

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


# Sizes at which a test trains the family in seconds.
SMALL = {
    "channel_base": 128,
    "channel_max": 16,
    "num_res_blocks": 1,
    "z_dim": 8,
    "group_norm_groups": 4,
    "cmap_dim": 8,
    "head_kernel_size": 3,
    "guidance_crop_px": 8,
    "blur_init_sigma_px": 1.0,
}
