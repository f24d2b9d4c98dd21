"""Train a vision transformer by self-distillation without labels (DINO, Caron et al., 2104.14294).

A student sees all crops of an image, a teacher (the student's moving average) the two global ones;
the student learns to say what the teacher says of another crop. Centring and a low temperature keep
the teacher from one answer for all and from no answer at all. Legend: N samples, K prototypes.
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.pretraining import augment
from components.pretraining.clip import MAX_LOG_SCALE, clip_architecture
from components.pretraining.config import ClipTraining, DinoTraining
from components.pretraining.fitting import Say, fit, freeze
from components.pretraining.images import ImageSet
from models.features import VitNet
from models.features.clip import ClipText
from models.features.preprocess import area_resize
from models.features.words import count_words

MEAN, STD = [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]
GLOBAL_AREA, LOCAL_AREA = (0.4, 1.0), (0.08, 0.4)
BRIGHTNESS, CONTRAST, SATURATION, NOISE = 0.15, 0.3, 0.3, 0.1
_BOTTLENECK = 64
_CHUNK = 500


class DinoHead(nn.Module):
    """Projection to prototypes: two layers, a unit-length bottleneck, unit-length prototypes."""

    def __init__(self, width: int, prototypes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, _BOTTLENECK)
        )
        self.prototypes = nn.Parameter(torch.randn(prototypes, _BOTTLENECK))

    def forward(self, x_NC: Tensor) -> Tensor:
        """Return cosines [N, K] to the prototypes."""
        unit = F.normalize(self.layers(x_NC), dim=-1)
        return unit @ F.normalize(self.prototypes, dim=-1).T


def teacher_targets(output_NK: Tensor, centre_K: Tensor, temperature: float) -> Tensor:
    """Return the teacher's distribution: centred, then sharpened (paper, section 3.1)."""
    return F.softmax((output_NK - centre_K) / temperature, dim=-1).detach()


def update_centre(centre_K: Tensor, output_NK: Tensor, momentum: float) -> Tensor:
    """Return the moving average of the teacher's mean output (paper, equation 4)."""
    return momentum * centre_K + (1 - momentum) * output_NK.detach().mean(dim=0)


def dino_loss(student_VNK: list[Tensor], target_VNK: list[Tensor], temperature: float) -> Tensor:
    """Return the cross-entropy [N] of the student to the teacher over all pairs of different views.

    Args:
        student_VNK: student outputs per view, the teacher's views first and in the same order.
        target_VNK: teacher distributions per global view.
        temperature: of the student's softmax.
    """
    logs = [F.log_softmax(x / temperature, dim=-1) for x in student_VNK]
    pairs = [
        -(target * log).sum(dim=-1)
        for i, target in enumerate(target_VNK)
        for j, log in enumerate(logs)
        if i != j
    ]
    return torch.stack(pairs).mean(dim=0)


def momentum_at(progress: float, start: float) -> float:
    """Return the teacher's momentum: a cosine from `start` to 1."""
    return 1 - (1 - start) * (math.cos(math.pi * progress) + 1) / 2


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move the teacher's weights towards the student's."""
    for old, new in zip(teacher.parameters(), student.parameters(), strict=True):
        old.lerp_(new, 1 - momentum)


class _Branch(nn.Module):
    """Transformer and head: image at any multiple of the patch -> prototype cosines."""

    def __init__(self, vit: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.vit, self.head = vit, head

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.head(self.vit(x_NCHW))


class _Captions(nn.Module):
    """The contrast of whole images with their captions, beside the distillation (SLIP, Mu et al.,
    arXiv 2112.12750): what captions tell apart, the tokens then know.
    """

    def __init__(self, images: ImageSet, config: DinoTraining, rng: torch.Generator) -> None:
        super().__init__()
        from open_clip import ClipLoss

        sizes = ClipTraining()
        texts, self.drawn = images.texts(rng)
        text = ClipText.build(clip_architecture(sizes, count_words(texts, sizes.max_words)))
        self.text, self.ids_MT = text.network, text.tokenize(texts)
        self.size_px = config.image_size_px
        self.project = nn.Linear(config.width, text.embedding_dim)
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.contrast = ClipLoss()

    def forward(self, vit: nn.Module, x_NCHW: Tensor, rows: Tensor) -> Tensor:
        image = F.normalize(self.project(vit(area_resize(x_NCHW, self.size_px))), dim=-1)
        text = F.normalize(self.text(self.ids_MT[self.drawn(rows)]), dim=-1)
        return self.contrast(image, text, self.scale.clamp(0, MAX_LOG_SCALE).exp())


def vit_architecture(config: DinoTraining) -> dict:
    """Return the arguments of timm's VisionTransformer as a card holds them."""
    arguments = {
        "img_size": config.image_size_px,
        "patch_size": config.patch_px,
        "embed_dim": config.width,
        "depth": config.depth,
        "num_heads": config.heads,
        "mlp_ratio": config.mlp_ratio,
        "num_classes": 0,
        # Local crops have fewer patches: the position embedding is resampled to them.
        "dynamic_img_size": True,
    }
    return {"name": None, "arguments": arguments, "hooks": None}


def train_dino(
    images: ImageSet, config: DinoTraining, rng: torch.Generator, say: Say
) -> tuple[VitNet, dict[str, float]]:
    """Train a vision transformer on images alone; return the teacher, frozen, and the last loss."""
    architecture = vit_architecture(config)
    net = VitNet.build(architecture, image_size_px=config.image_size_px, mean=MEAN, std=STD)
    student = _Branch(net.network, DinoHead(config.width, config.prototypes)).requires_grad_(True)
    teacher = copy.deepcopy(student).requires_grad_(False).eval()
    student.train()
    captions = _Captions(images, config, rng) if config.caption_weight else None
    centre = torch.zeros(config.prototypes)

    def loss(rows: Tensor, progress: float) -> Tensor:
        nonlocal centre
        cropped = rows[: math.ceil(len(rows) * config.distilled)] if captions else rows
        crops = _crops(images.images(cropped), config, rng)
        local = [student(torch.cat(crops[2:]))] if len(crops) > 2 else []
        both = torch.cat(crops[:2])
        with torch.no_grad():
            output = teacher(both)
        targets = teacher_targets(output, centre, config.teacher_temperature)
        centre = update_centre(centre, output, config.centre_momentum)
        views = [view for part in [student(both), *local] for view in part.split(len(cropped))]
        distilled = dino_loss(views, list(targets.chunk(2)), config.student_temperature).mean()
        if captions is None:
            return distilled
        x = augment.add_noise(augment.mirror(images.images(rows), rng), NOISE, rng)
        return distilled + config.caption_weight * captions(student.vit, x, rows)

    def follow(progress: float) -> None:
        update_teacher(teacher, student, momentum_at(progress, config.teacher_momentum))

    value = fit(
        [student] if captions is None else [student, captions],
        loss,
        num_images=len(images),
        config=config.fit,
        rng=rng,
        say=say,
        after_step=follow,
    )
    net.network.load_state_dict(teacher.vit.state_dict())
    freeze(net.network)
    return net, {"loss": value}


def _crops(x_NCHW: Tensor, config: DinoTraining, rng: torch.Generator) -> list[Tensor]:
    """Return two global crops and the local ones, each augmented on its own, normalised."""
    sizes = [(config.image_size_px, GLOBAL_AREA)] * 2
    sizes += [(config.local_size_px, LOCAL_AREA)] * config.num_local
    crops = []
    for size, area in sizes:
        x = augment.mirror(augment.random_crop(x_NCHW, size, area, rng), rng)
        x = augment.scale_saturation(x, SATURATION, rng)
        x = augment.shift_brightness(augment.scale_contrast(x, CONTRAST, rng), BRIGHTNESS, rng)
        # Mean and deviation 0.5 of [0, 1] images: [-1, 1] is normalised already.
        crops.append(augment.add_noise(x, NOISE, rng))
    return crops


def neighbour_accuracy(
    net: VitNet, train: ImageSet, test: ImageSet, k: int = 10
) -> dict[str, float]:
    """Measure the pooled features by a vote of the k nearest training images, without training.

    Returns:
        accuracy per attribute where attributes are known, of the label where there are labels.
    """
    truths = (test.attributes or {}) | {"label": test.label_N}
    return {
        f"neighbours_{name}": float((votes == truths[name]).float().mean())
        for name, votes in neighbour_votes(net, train, test, k).items()
    }


@torch.no_grad()
def neighbour_votes(net: VitNet, train: ImageSet, test: ImageSet, k: int = 10) -> dict[str, Tensor]:
    """Return what the k nearest training images say of each test image, [N] per attribute that both
    sets know, and of the label where both have labels.
    """
    base, query = (F.normalize(_pooled(net, part), dim=-1) for part in (train, test))
    nearest = (query @ base.T).topk(min(k, len(base)), dim=1).indices
    mine, theirs = train.attributes or {}, test.attributes or {}
    known = {name: mine[name] for name in mine.keys() & theirs.keys()}
    if train.num_labels and test.num_labels:
        known["label"] = train.label_N
    return {name: voters[nearest].mode(dim=1).values for name, voters in sorted(known.items())}


def _pooled(net: VitNet, images: ImageSet) -> Tensor:
    rows = torch.arange(len(images)).split(_CHUNK)
    return torch.cat([net(images.images(part))["pooled"] for part in rows])
