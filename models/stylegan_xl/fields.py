"""StyleGAN-XL's hyper-parameters, and what follows from them before any network is built."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from models.fields import AddedLater, Augmentation, Between
from models.projected_gan.sentence_rules import misfits_of_sentence

FACTORS = (2, 4, 8, 16)  # of a growth
NETWORKS = ("dino", "classifier")  # roles of the transformer and of the CNN


@dataclass(frozen=True, kw_only=True)
class StyleGANXLFields:
    """The fields of the recipe, `models.stylegan_xl.recipe.StyleGANXL`."""

    name: ClassVar[str] = "stylegan_xl"
    needs_data: ClassVar[bool] = True
    tunable: ClassVar[dict[str, tuple[float, float]]] = {
        "guidance_weight": (0.05, 8.0),
        "generator_learning_rate": (5e-4, 1e-2),
        "discriminator_learning_rate": (5e-4, 1e-2),
    }

    generator_network: Literal["stylegan_xl", "stylegan3"] = "stylegan_xl"
    """stylegan3: the plain generator, with the class as a one-hot vector; it does not grow."""
    stem_px: Annotated[int, Between(4, 1024)] = 16
    """Resolution of the first stage. Code: 16 for ImageNet, 64 for small data."""
    stem_layers: Annotated[int, Between(3, None)] = 10
    """Convolutions of the first stage. Code: 10, StyleGAN3: 14."""
    heads: tuple[tuple[int, int], ...] = ()
    """Every growth so far, this stage's included: [resolution_px, convolutions]. A head makes
    images 2, 4 or 8 times as large. Code: 7 convolutions, 5 in the last one, to 1024."""
    channel_base: Annotated[int, Between(8, None)] = 65536
    """A layer that passes f cycles per image has min(channel_base / 2 / f, channel_max) channels.
    Code: 65536, -r 131072."""
    channel_max: Annotated[int, Between(8, None)] = 1024
    """Largest width. Code: 1024, -r 2048."""
    kernel_size: Literal[1, 3] = 3
    """Of the convolutions. Code: 3 (-t), 1 (-r)."""
    radial: bool = False
    """Downsample by radially symmetric filters. Code: -r."""
    num_critical: Annotated[int, Between(1, None)] = 2
    """Last convolutions at the image's own limit, which growth cuts. Code: 2."""
    margin_px: Annotated[int, Between(0, None)] = 10
    """Features beyond the image's border, on each side. Code: 10."""
    input_shift: Annotated[float, Between(0.0, 1.0), AddedLater(0.0)] = 0.0
    """Standard deviation, of the image's side, by which w shifts the Fourier input at the start, so
    that seeds differ in place from the first step. Code: 0."""
    z_dim: Annotated[int, Between(1, None)] = 64
    """Width of the noise vector. Paper: 64; StyleGAN3: 512."""
    w_dim: Annotated[int, Between(1, None)] = 512
    """Width of the codes. Code: 512."""
    mapping_layers: Annotated[int, Between(1, None)] = 2
    """Of the mapping network. Code: 2."""
    mean_beta: Annotated[float, Between(0.0, 1.0)] = 0.998
    """Of the running mean of w, one per class. Code: 0.998."""
    class_embedding: Literal["features", "centred", "random"] = "features"
    """features: each class' mean features of the classifier. Paper: section 3.1. centred: without
    what all classes share, which for few and similar classes is most of it. random: no features."""
    embed_dim: Annotated[int, Between(1, None)] = 320
    """Width of a random class embedding; features bring their own. Code: 320."""
    train_embedding: bool = False
    """Train the generator's class embeddings. Paper: no; the code does."""
    feature_size_px: Annotated[int, Between(32, None)] = 224
    """CNN: smaller images are enlarged to this, larger ones seen as they are. Code: 224."""
    projection_level: Annotated[int, Between(0, 2)] = 2
    """0 no mixing, 1 across channels, 2 across channels and scales. Code: 2."""
    projection_width: Annotated[int, Between(1, None)] = 64
    """Channels of the largest map after mixing. Code: 64."""
    projection_expand: bool = True
    """Smaller maps are wider. Code: yes."""
    projection_kernel_size: Literal[1, 3] = 1
    """Of the mixing across scales. Code: 1, paper: 3."""
    projection_seed: Annotated[int, Between(0, 2**31 - 1)] = 0
    """Of the random weights, apart from the run's seed."""
    discriminator_max: Annotated[int, Between(1, None)] = 512
    """Largest width of D, which doubles from 64 with each halving. Code: 512."""
    cmap_dim: Annotated[int, Between(1, None)] = 64
    """Width in which features meet the condition. Code: 64."""
    pixel_head: Annotated[int, Between(0, None), AddedLater(0)] = 0
    """Width of a head that sees the picture itself, with as much say as each frozen network; 0 =
    none. Ours, as `stylegan_t` has."""
    reuse_fakes: Annotated[bool, AddedLater(False)] = False
    """The discriminator judges the images that the generator just learnt by instead of fresh ones:
    one pass of the generator less. Ours, as `stylegan_t` has. Code: false."""
    norm_batch: Annotated[int, Between(1, None)] = 8
    """Samples that share batch-norm statistics in training. Code: its batch per GPU, 8."""
    generator_learning_rate: Annotated[float, Between(0.0, 1.0)] = 0.0025
    """Adam, before the scaling below. Code: 0.0025."""
    discriminator_learning_rate: Annotated[float, Between(0.0, 1.0)] = 0.002
    """Adam, before the scaling below. Code: 0.002."""
    beta1: Annotated[float, Between(0.0, 0.999)] = 0.0
    """Adam, both networks. Code: 0."""
    beta2: Annotated[float, Between(0.0, 0.99999)] = 0.99
    """Adam, both networks, before the scaling below. Code: 0.99."""
    generator_lazy: Annotated[int, Between(0, None)] = 4
    """k: learning rate and log beta2 of G times k / (k + 1), for the steps of a regulariser every k
    iterations; 0 = off. Code: 4, so 0.002."""
    discriminator_lazy: Annotated[int, Between(0, None)] = 16
    """Likewise for D, whose regulariser is empty. Code: 16, so 0.00188."""
    path_length_weight: Annotated[float, Between(0.0, None)] = 0.125
    """Of the stem's path length; 0 after growth. Code: 2, divided by 2 batch_gpu 8."""
    path_length_start_kimg: Annotated[float, Between(0.0, None)] = 1000.0
    """When it begins. Code: 1000, paper: 200."""
    path_length_every: Annotated[int, Between(1, None)] = 4
    """On every k-th iteration, in a step of its own. Code: 4."""
    path_length_shrink: Annotated[int, Between(1, None)] = 2
    """On this part of the batch. Code: 2, a half."""
    path_length_beta: Annotated[float, Between(0.0, 1.0)] = 0.99
    """Of the running mean of the lengths. Code: 0.99."""
    guidance_weight: Annotated[float, Between(0.0, None)] = 0.5
    """Of the classifier's cross entropy; needs classes. Paper: 8, divided by 2 batch_gpu 8."""
    guidance_role: Literal["classifier", "dino", "guide"] = "classifier"
    """Whose logits guide. Code: a network of its own, DeiT-small: encoders.guide."""
    guidance_min_px: Annotated[int, Between(0, None)] = 0
    """Guide from this resolution on. Paper: only above 32 px, where it helped, so 64."""
    guidance_max_px: Annotated[int, Between(0, None)] = 4096
    """Guide up to this resolution."""
    sentence: Annotated[str, AddedLater("")] = ""
    """stylegan_xl: what images may show, as "a [small|large] {}": z chooses an option of each
    bracket, the generator is told, and CLIP pulls there (choosing.py). {} stands for the class.
    Ours, as `projected_gan` has."""
    sentence_weight: Annotated[float, Between(0.0, None), AddedLater(0.0)] = 0.0
    """Of the squared angle, in CLIP's space, between an image and its sentence. Ours."""
    blur_init_sigma_px: Annotated[float, Between(0.0, None)] = 2.0
    """Blur of D's inputs at the start of a stage. Code: 2."""
    blur_fade_kimg: Annotated[float, Between(0.0, None)] = 300.0
    """The blur falls linearly to zero within this many thousand images. Code: 300."""
    diff_augment: tuple[Augmentation, ...] = ("color", "translation", "cutout")
    """Augmentations of D's inputs, real and fake, drawn for each network. Code: these three. shift,
    ours: a translation that repeats the edge instead of leaving grey."""
    mirror: bool = False
    """Flip every other real image left to right. Code: an option, on for ImageNet."""

    @property
    def grows(self) -> bool:
        """Say whether the generator can be given a head: StyleGAN3's cannot."""
        return self.generator_network == "stylegan_xl"

    @property
    def encoder_roles(self) -> tuple[str, ...]:
        """The networks of the discriminator, the guide where it is another one, and CLIP where
        it pulls to a sentence.
        """
        guide = (self.guidance_role,) if self.guidance_weight > 0 else ()
        clip = ("clip",) if self.sentence else ()
        return tuple(dict.fromkeys((*NETWORKS, *guide, *clip)))

    def guides(self, resolution: int) -> bool:
        """Say whether the classifier guides at this resolution."""
        inside = self.guidance_min_px <= resolution <= self.guidance_max_px
        return self.guidance_weight > 0 and inside

    def misfits(self, condition: str, resolution: int | None = None) -> dict[str, str]:
        """Return what asks for classes that the data does not have, or grows to another size."""
        found = self._misfits_of_sentence(condition)
        if condition != "label" and self.guidance_weight > 0:
            weight = f"got {self.guidance_weight:g}; allowed: 0, for the data has no classes"
            found["guidance_weight"] = weight
        if self.generator_network == "stylegan3":
            return found | ({"heads": "got some; allowed: [], stylegan3"} if self.heads else {})
        px = [self.stem_px, *(px for px, _ in self.heads)]
        if any(large not in (small * k for k in FACTORS) for small, large in pairwise(px)):
            found["heads"] = f"got sizes {px}; allowed: each 2, 4, 8 or 16 times the one before"
        elif resolution is not None and px[-1] != resolution:
            wanted = f"[..., [{resolution}, convolutions]], every growth so far"
            found["heads" if resolution > self.stem_px else "stem_px"] = (
                f"stem_px and heads end at {px[-1]} px, resolution_px is {resolution}; "
                f"allowed: {wanted if resolution > self.stem_px else resolution}"
            )
        return found

    def _misfits_of_sentence(self, condition: str) -> dict[str, str]:
        if not self.sentence:
            if not self.sentence_weight:
                return {}
            return {
                "sentence": "got ''; allowed: one with a choice, for sentence_weight is above 0"
            }
        return misfits_of_sentence(
            self.sentence,
            condition,
            network=self.generator_network,
            readers=("stylegan_xl",),
            weight=("sentence_weight", self.sentence_weight),
        )


# Sizes at which a test trains the family in seconds.
SMALL = {
    "stem_layers": 4,
    "channel_base": 64,
    "channel_max": 8,
    "margin_px": 2,
    "z_dim": 8,
    "w_dim": 8,
    "projection_width": 8,
    "discriminator_max": 8,
    "cmap_dim": 8,
    "feature_size_px": 32,
    "norm_batch": 4,
    "path_length_start_kimg": 0.0,
    "path_length_every": 1,
    "guidance_weight": 0.0,
    "blur_init_sigma_px": 1.0,
}
