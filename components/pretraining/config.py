"""Parameters of the encoders stage: where each frozen net comes from, and how it is trained.

Plain dataclasses without torch, so that params.yaml is checked before anything heavy loads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from models.fields import AddedLater, Between

# bundled: the net that comes with the project; it knows the embedded drawings and nothing else.
Source = Literal["train", "bundled", "pretrained", "none"]
Fraction = Annotated[float, Between(0.0, 1.0)]
Positive = Annotated[int, Between(1, None)]


@dataclass(frozen=True, kw_only=True)
class PretrainedConfig:
    """A published network, used with `source: pretrained`.

    Attributes:
        name: of open_clip for the clip role (ViT-L-14), else of timm (tf_efficientnet_lite1).
        tag: open_clip's name of the weights (openai, laion2b_s32b_b82k); timm has it in the name.
        file: local .safetensors with the weights; "" fetches them from the model hub.
        heads: with `name: lpips`, `vgg.pth` of the lpips package; `file` is then VGG-16.
        sha256: what `file` must hash to; "" is not checked.
        strict: false allows tensors in the file that the network has no place for (a classifier).
        arguments: further arguments of timm.create_model, such as pad_type: same.
        hooks: blocks of a vision transformer that are tapped; empty = four, evenly spaced.
        image_size_px: side of the network's input; 0 = its own.
        mean, std: per channel, of images in [0, 1]; empty = the network's own, timm's of that name.
    """

    name: str = ""
    tag: str = ""
    file: str = ""
    sha256: str = ""
    heads: Annotated[str, AddedLater("")] = ""
    strict: bool = True
    arguments: dict[str, bool | int | float | str] = field(default_factory=dict)
    hooks: tuple[int, ...] = ()
    image_size_px: Annotated[int, Between(0, None)] = 0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How long and how fast a net is trained (AdamW, warm-up over a tenth, then cosine to zero).

    Attributes:
        total_kimg: training images in thousands, repeats included.
        batch: images per step.
        learning_rate: at the peak.
        weight_decay: of matrices and kernels alone.
    """

    total_kimg: Annotated[float, Between(0.001, None)]
    batch: Annotated[int, Between(2, None)] = 128
    learning_rate: Annotated[float, Between(0.0, 1.0)] = 2.0e-3
    weight_decay: Fraction = 0.02


@dataclass(frozen=True, kw_only=True)
class ClipTraining:
    """A small CLIP: a few convolutions against a small text transformer.

    Attributes:
        fit: length and speed of the training.
        image_size_px: side of the image tower's input.
        image_widths, image_strides: channels and steps of its convolutions.
        embedding_dim: width of the common space.
        text_width, text_layers, text_heads: size of the text transformer.
        context_length: ids per caption, start and end included.
        max_words: size of the vocabulary; rarer words become one unknown word.
        noise, brightness: largest deviation of the noise, and shift of the brightness, that
            training images get (of [-1, 1]); so that guidance is not brittle.
        adversary: largest change of a value of [-1, 1] by which training images are moved against
            the loss, reached after two thirds of the training; without it guidance learns to fool
            the net instead of pleasing it. 0 = off.
        soften: share of the training images that are seen at half of their resolution, as those of
            a stage of lower resolution are.
        mirror: flip half of the images left to right (wrong where captions say left and right).
        class_weight: of naming an image's class by its embedding, where the data has classes: two
            texts that no batch tells apart would fall together early. 0 = captions alone.
    """

    fit: FitConfig = FitConfig(total_kimg=70, batch=64, learning_rate=2.0e-3)
    image_size_px: Annotated[int, Between(16, 512)] = 32
    image_widths: tuple[int, ...] = (32, 64, 96, 96)
    image_strides: tuple[int, ...] = (2, 1, 2, 1)
    embedding_dim: Positive = 64
    text_width: Positive = 64
    text_layers: Positive = 2
    text_heads: Positive = 2
    context_length: Annotated[int, Between(4, 512)] = 24
    max_words: Positive = 4_000
    noise: Fraction = 0.1
    brightness: Fraction = 0.1
    adversary: Fraction = 0.2
    soften: Fraction = 0.0
    mirror: bool = True
    class_weight: Annotated[float, Between(0.0, None)] = 0.0


@dataclass(frozen=True, kw_only=True)
class DinoTraining:
    """A small vision transformer trained by self-distillation (DINO, arXiv 2104.14294).

    Attributes:
        fit: length and speed of the training.
        image_size_px, patch_px: side of the input and of a patch.
        width, depth, heads, mlp_ratio: size of the transformer.
        local_size_px: side of the local crops; a multiple of patch_px.
        num_local: local crops per image, beside two global ones.
        prototypes: outputs of the projection head.
        student_temperature, teacher_temperature: of the two softmaxes.
        teacher_momentum: of the moving average at the start; it rises to 1.
        centre_momentum: of the centre that the teacher's outputs are moved by.
        caption_weight: of the contrast of whole images with their captions beside the distillation;
            then the transformer also knows what captions tell apart. 0 = images alone.
        distilled: share of a batch whose crops are distilled, where captions are learnt too: a
            crop costs four times what a caption costs.
    """

    fit: FitConfig = FitConfig(total_kimg=12, batch=32, learning_rate=2.0e-3)
    image_size_px: Annotated[int, Between(16, 512)] = 32
    patch_px: Positive = 4
    width: Positive = 64
    depth: Annotated[int, Between(4, 64)] = 4
    heads: Positive = 2
    mlp_ratio: Annotated[float, Between(0.5, 8.0)] = 2.0
    local_size_px: Annotated[int, Between(4, 512)] = 16
    num_local: Annotated[int, Between(0, 16)] = 2
    prototypes: Positive = 256
    student_temperature: Annotated[float, Between(0.01, 1.0)] = 0.1
    teacher_temperature: Annotated[float, Between(0.01, 1.0)] = 0.04
    teacher_momentum: Fraction = 0.98
    centre_momentum: Fraction = 0.9
    caption_weight: Annotated[float, Between(0.0, None)] = 0.0
    distilled: Annotated[float, Between(0.01, 1.0)] = 1.0


@dataclass(frozen=True, kw_only=True)
class ClassifierTraining:
    """A small CNN that tells the classes apart (embedded default: shape x colour).

    Attributes:
        fit: length and speed of the training.
        name: timm name.
        image_size_px: side of the input.
        soften: share of the training images that are seen at half of their resolution, and again
            of those at a quarter; for a classifier that guides smaller generators. 0 = off.
        adversary: as ClipTraining's; a classifier that guides is pleased by noise without it.
    """

    fit: FitConfig = FitConfig(total_kimg=20, batch=64, learning_rate=3.0e-3)
    name: str = "test_resnet"
    image_size_px: Annotated[int, Between(32, 512)] = 64
    soften: Fraction = 0.0
    adversary: Fraction = 0.0


@dataclass(frozen=True, kw_only=True)
class JudgeTraining:
    """The judge: names the attributes of a drawing; used by evaluation alone.

    Attributes:
        fit: length and speed of the training.
        image_size_px: side of the input.
        widths: channels of each convolution.
        strides: step of each convolution, 2 halves the side.
        pooled_dim: width of the features that distances are measured on.
    """

    fit: FitConfig = FitConfig(total_kimg=64, batch=64, learning_rate=3.0e-3)
    image_size_px: Annotated[int, Between(16, 512)] = 32
    widths: tuple[int, ...] = (32, 64, 96, 96)
    strides: tuple[int, ...] = (2, 1, 2, 1)
    pooled_dim: Positive = 64


@dataclass(frozen=True, kw_only=True)
class ClipEncoderConfig:
    """The CLIP that scores, guides and embeds captions.

    Attributes:
        source: train it, take the bundled or a published one, or have none.
        train, pretrained: how, for either source.
    """

    source: Source = "train"
    train: ClipTraining = ClipTraining()
    pretrained: PretrainedConfig = PretrainedConfig(name="ViT-L-14", tag="openai")


SCORER_TRAINING = ClipTraining(
    fit=FitConfig(total_kimg=12, batch=64, learning_rate=2.0e-3), adversary=0.0
)


@dataclass(frozen=True, kw_only=True)
class ScorerEncoderConfig:
    """A second CLIP, for the CLIP score alone: the one that guides can be fooled by what it guided.

    Attributes:
        source: train it (on the judge's drawings, or else on the source), take the bundled or a
            published one, or none; evaluate.clip_scorer names one without running this stage again.
        train, pretrained: how, for either source.
    """

    source: Source = "none"
    train: ClipTraining = SCORER_TRAINING
    pretrained: PretrainedConfig = PretrainedConfig(name="ViT-g-14", tag="laion2b_s12b_b42k")


@dataclass(frozen=True, kw_only=True)
class DinoEncoderConfig:
    """The vision transformer that a discriminator sees through.

    Attributes:
        source: train it, take the bundled or a published one, or have none.
        train, pretrained: how, for either source.
    """

    source: Source = "train"
    train: DinoTraining = DinoTraining()
    pretrained: PretrainedConfig = PretrainedConfig(name="vit_small_patch16_224.dino")


@dataclass(frozen=True, kw_only=True)
class ClassifierEncoderConfig:
    """The CNN behind projected discriminators and classifier guidance.

    Attributes:
        source: train it, take the bundled or a published one, or have none.
        train, pretrained: how, for either source.
    """

    source: Source = "train"
    train: ClassifierTraining = ClassifierTraining()
    pretrained: PretrainedConfig = PretrainedConfig(name="tf_efficientnet_lite1")


@dataclass(frozen=True, kw_only=True)
class GuideEncoderConfig:
    """A second classifier, for guidance alone: the one behind a discriminator need not be it.

    Attributes:
        source: train it, take a published one, or have none; none is bundled.
        train, pretrained: how, for either source.
    """

    source: Literal["train", "pretrained", "none"] = "none"
    train: ClassifierTraining = ClassifierTraining()
    pretrained: PretrainedConfig = PretrainedConfig(name="deit_small_distilled_patch16_224.fb_in1k")


@dataclass(frozen=True, kw_only=True)
class JudgeEncoderConfig:
    """The judge; with real data there is none, for it needs drawings whose attributes are known.

    Attributes:
        source: train it, take the bundled one, or have none.
        train: how.
    """

    source: Literal["train", "bundled", "none"] = "train"
    train: JudgeTraining = JudgeTraining()


@dataclass(frozen=True, kw_only=True)
class EncodersConfig:
    """The frozen nets that later stages use.

    Attributes:
        max_images: training images read at most, of a source without a clean split.
        class_images: images of each class that its mean features are of (source.condition: label).
        backend: where these are taken: "local" (in this process) or "ray" (an actor pool, sized by
            the cluster section), to the same bytes; all else is made here.
        clip, dino, classifier, guide, judge, scorer: the six roles.
    """

    max_images: Positive = 100_000
    class_images: Positive = 200
    backend: Literal["local", "ray"] = "local"
    clip: ClipEncoderConfig = ClipEncoderConfig()
    dino: DinoEncoderConfig = DinoEncoderConfig()
    classifier: ClassifierEncoderConfig = ClassifierEncoderConfig()
    guide: GuideEncoderConfig = GuideEncoderConfig()
    judge: JudgeEncoderConfig = JudgeEncoderConfig()
    scorer: ScorerEncoderConfig = ScorerEncoderConfig()


ROLES: tuple[str, ...] = ("clip", "dino", "classifier", "guide", "judge", "scorer")
BUNDLED: tuple[str, ...] = ("clip", "dino", "classifier", "judge", "scorer")  # come with it
# The roles that measure train on drawings of their own, which no net that guides has seen.
OTHER_DRAWINGS: tuple[str, ...] = ("judge", "scorer")
