"""Projected GAN's hyper-parameters, and what follows from them before any network is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from models.fields import AddedLater, Augmentation, Between
from models.projected_gan.sentence_rules import misfits_of_sentence

Stage = Literal["stage_0", "stage_1", "stage_2", "stage_3"]


@dataclass(frozen=True, kw_only=True)
class ProjectedGANFields:
    """The fields of the recipe, `models.projected_gan.recipe.ProjectedGAN`."""

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
    cnn_heads: Annotated[tuple[Stage, ...], AddedLater(())] = ()
    """vit: maps of the frozen classifier that get heads too, together with as much say as all
    tokens. Ours, as `stylegan_t` has."""
    pixel_head: Annotated[int, Between(0, None), AddedLater(0)] = 0
    """vit: width of a head that sees the picture itself, with as much say as all tokens together; 0
    = none. Ours."""
    reuse_fakes: Annotated[bool, AddedLater(False)] = False
    """The discriminator judges the images that the generator just learnt by instead of fresh ones:
    one pass of the generator less. Ours, as `stylegan_t` has. Code: false."""
    sentence: Annotated[str, AddedLater("")] = ""
    """stylegan2, stylegan_t: what images may show, as "a [small|large] ring": z chooses an option
    of each bracket, and the generator reads it (sentences.py). {} stands for the class where the
    data has classes (stylegan_t alone). Ours, for data without captions."""
    guidance: Annotated[float, Between(0.0, None), AddedLater(0.0)] = 0.0
    """Weight of the squared angle, in CLIP's space, between an image and its caption or `sentence`.
    Ours, as `stylegan_t` has."""
    input_shift: Annotated[float, Between(0.0, 1.0), AddedLater(0.0)] = 0.0
    """stylegan_t: standard deviation, of the image's side, by which z shifts the Fourier input at
    the start. Ours, as `stylegan_t` has."""
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
    diff_augment: tuple[Augmentation, ...] = ("color", "translation", "cutout")
    """Augmentations of D's inputs, real and fake. Code: these three. shift is ours:
    a translation that repeats the edge instead of leaving grey."""
    mirror: bool = False
    """Flip every other real image left to right. Code: an option, on in the published runs."""

    @property
    def encoder_roles(self) -> tuple[str, ...]:
        """The frozen nets behind the discriminator; none behind one that sees pixels."""
        vit = ("dino", "classifier") if self.cnn_heads else ("dino",)
        seen = {"cnn": ("classifier",), "vit": vit, "pixels": ()}[self.discriminator_network]
        return (*seen, "clip") if self.guidance else seen

    def misfits(self, condition: str, resolution: int | None = None) -> dict[str, str]:
        """Return what of the sentence does not fit; it draws from text, classes and neither."""
        if not self.sentence:
            if self.guidance and condition != "text":
                return {"sentence": "got ''; allowed: one with a choice, as [small|large]"}
            return {}
        return misfits_of_sentence(
            self.sentence,
            condition,
            network=self.generator_network,
            readers=("stylegan_t",) if condition == "label" else ("stylegan2", "stylegan_t"),
            weight=("guidance", self.guidance),
        )


# Sizes at which a test trains the family in seconds.
SMALL = {
    "base_channels": 2,
    "z_dim": 8,
    "projection_width": 8,
    "discriminator_max": 8,
    "cmap_dim": 8,
    "label_dim": 8,
    "feature_size_px": 32,
    "norm_batch": 4,
}
