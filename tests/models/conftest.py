"""Tiny stand-ins: frozen nets with the interface of models/features, and one recipe per kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.features import ClipNet
from models.interfaces import Losses, Networks, OptimizerSettings, Phase

TEXT_DIM, SIZE, CLASSES = 12, 16, 4


class FakeVit(nn.Module):
    """Two taps [N, 16, L] by fixed random convolutions on a 16-px image."""

    def __init__(self, image_size: int = 16, tap_dim: int = 16, tokens: int = 16) -> None:
        super().__init__()
        self.num_taps, self.tap_dim, self.image_size = 2, tap_dim, image_size
        self.side = int(tokens**0.5)
        self.filters = nn.ModuleList(nn.Conv2d(3, tap_dim, 3, padding=1) for _ in range(2))
        self.map_side, self.embed = self.side, nn.Conv2d(3, tap_dim, 4, stride=4)
        self.requires_grad_(False)

    def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        x = F.interpolate(image_NCHW, (self.image_size, self.image_size), mode="area")
        taps = [F.adaptive_avg_pool2d(f(x), self.side).flatten(2) for f in self.filters]
        return {f"tap_{i}": tap for i, tap in enumerate(taps)}

    def patch_maps(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        x = self.embed(F.interpolate(image_NCHW, (self.image_size, self.image_size)))
        return {f"tap_{i}": x.roll(i, dims=1) for i in range(4)}


class FakeCnn(nn.Module):
    """Four maps at strides 1, 2, 4, 8, by fixed random convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stage_channels, self.stage_strides = [4, 6, 8, 12], [1, 2, 4, 8]
        self.image_size = SIZE
        self.filters = nn.ModuleList(nn.Conv2d(3, c, 3, padding=1) for c in self.stage_channels)
        self.requires_grad_(False)

    def pyramid(self, image_NCHW: Tensor, least_px: int) -> dict[str, Tensor]:
        steps = zip(self.filters, self.stage_strides, strict=True)
        maps = [f(F.avg_pool2d(image_NCHW, stride)) for f, stride in steps]
        return {f"stage_{i}": x for i, x in enumerate(maps)}

    def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        pooled = self.filters[3](image_NCHW).mean(dim=(2, 3))
        return {"pooled": pooled, "logits": pooled[:, : 2 * CLASSES]}

    def stage_sides(self, size_px: int) -> list[int]:
        return [SIZE // stride for stride in self.stage_strides]  # never enlarges


class FakeClip(nn.Module):
    """Image and text embeddings of unit length."""

    def __init__(self) -> None:
        super().__init__()
        self.image_size, self.embedding_dim = 8, TEXT_DIM
        self.filter = nn.Conv2d(3, TEXT_DIM, 4, stride=4)
        self.requires_grad_(False)

    def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        x = F.interpolate(image_NCHW, (8, 8), mode="area")
        return {"pooled": F.normalize(self.filter(x).mean(dim=(2, 3)), dim=1)}

    def encode_text(self, prompts: list[str]) -> Tensor:
        rows = [torch.tensor([len(p) + i for i in range(TEXT_DIM)]) for p in prompts]
        return F.normalize(torch.stack(rows).float().sin(), dim=1)


def small_clip() -> ClipNet:
    """A real CLIP into the same space, whose text tower can be taken out and trained."""
    vision = {"image_size": 8, "patch_size": 4, "width": 8, "head_width": 8, "layers": 1}
    text = {"context_length": 6, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1}
    architecture = {
        "embed_dim": TEXT_DIM,
        "quick_gelu": False,
        "vision_cfg": vision,
        "text_cfg": text,
        "tokenizer": {"kind": "words", "words": ["a", "b", "c", "d"], "context_length": 6},
    }
    return ClipNet.build(architecture, image_size_px=8, mean=[0.5] * 3, std=[0.5] * 3)


class PlainGenerator(nn.Module):
    """z and a vector -> image."""

    def __init__(self, condition_dim: int) -> None:
        super().__init__()
        self.z_dim, self.resolution = 4, SIZE
        self.first = nn.Linear(4 + condition_dim, 8)
        self.last = nn.Linear(8, 3 * SIZE * SIZE)

    def map(self, z, condition, truncation=1.0):
        parts = [z * truncation, vector_of(condition)]
        return self.first(torch.cat([p for p in parts if p is not None], dim=1))[:, None]

    def synthesize(self, ws, condition, noise="const"):
        return self.last(ws[:, 0].tanh()).view(-1, 3, SIZE, SIZE).tanh()


def vector_of(condition):
    if condition.label_N is not None:
        return F.one_hot(condition.label_N, CLASSES).float()
    if condition.tokens_NTD is not None:
        return (condition.tokens_NTD * condition.mask_NT[..., None]).sum(dim=1)
    return condition.pooled_ND


@dataclass(frozen=True, kw_only=True)
class FakeGan:
    """Discriminator and generator, conditioned on nothing, classes or words; D every 2nd time."""

    name: ClassVar[str] = "fake_gan"
    tunable: ClassVar[dict[str, tuple[float, float]]] = {"weight": (0.5, 2.0)}
    needs_data: ClassVar[bool] = True
    grows: ClassVar[bool] = True
    encoder_roles: ClassVar[tuple[str, ...]] = ()
    weight: float = 1.0

    def generator(self, resolution, shape):
        return PlainGenerator(max(shape.pooled_dim, shape.num_labels, shape.token_dim))

    def build(self, site):
        generator = self.generator(site.resolution, site.shape)
        judge = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 1))
        return Networks(trained={"generator": generator, "discriminator": judge})

    def phases(self, networks):
        generator, judge = networks.trained["generator"], networks.trained["discriminator"]

        def fake(batch, rng):
            z = torch.randn(batch.size, 4, generator=rng)
            return generator.synthesize(generator.map(z, batch.condition), batch.condition)

        def judge_loss(batch, nimg, rng):
            term = F.softplus(judge(fake(batch, rng).detach())) + F.softplus(
                -judge(batch.image_NCHW)
            )
            return Losses(terms={"adversarial": self.weight * term[:, 0]})

        def generator_loss(batch, nimg, rng):
            return Losses(terms={"adversarial": F.softplus(-judge(fake(batch, rng)))[:, 0]})

        adam = OptimizerSettings(learning_rate=0.01)
        return [
            Phase(
                name="generator",
                parameters=lambda nimg: list(generator.parameters()),
                loss=generator_loss,
                optimizer=adam,
            ),
            Phase(
                name="discriminator",
                parameters=lambda nimg: list(judge.parameters()),
                loss=judge_loss,
                optimizer=adam,
                every=2,
            ),
        ]


@dataclass(frozen=True, kw_only=True)
class FakeAdaptation:
    """No discriminator, no data: a copy of the start moves towards a direction of CLIP's space."""

    name: ClassVar[str] = "fake_adaptation"
    tunable: ClassVar[dict[str, tuple[float, float]]] = {}
    needs_data: ClassVar[bool] = False
    grows: ClassVar[bool] = False
    encoder_roles: ClassVar[tuple[str, ...]] = ("clip",)

    def generator(self, resolution, shape):
        return PlainGenerator(shape.pooled_dim)

    def build(self, site):
        if site.start is None:
            raise ValueError("adaptation starts from an artifact: set `start`")
        nets = [self.generator(site.resolution, site.shape) for _ in range(2)]
        for net in nets:
            net.load_state_dict(dict(site.start.generator))
        frozen = {"clip": site.encoder("clip"), "original": nets[1]}
        return Networks(trained={"generator": nets[0]}, frozen=frozen)

    def phases(self, networks):
        generator, original = networks.trained["generator"], networks.frozen["original"]
        clip = networks.frozen["clip"]
        text = clip.encode_text(["a photo", "a sketch"])

        def loss(batch, nimg, rng):
            z = torch.randn(batch.size, 4, generator=rng)
            ws = generator.map(z, batch.condition)
            with torch.no_grad():
                before = clip(original.synthesize(ws, batch.condition))["pooled"]
            after = clip(generator.synthesize(ws, batch.condition))["pooled"]
            aligned = F.cosine_similarity(after - before.mean(dim=0), (text[1] - text[0])[None])
            return Losses(terms={"direction": 1 - aligned})

        def parameters(nimg):
            return list(generator.last.parameters())  # layers are chosen; the mapping stays

        adam = OptimizerSettings(learning_rate=0.01)
        return [Phase(name="generator", parameters=parameters, loss=loss, optimizer=adam)]


@pytest.fixture
def encoder():
    """Role -> fake frozen net, each built once."""
    torch.manual_seed(7)
    nets = {"dino": FakeVit(), "clip": FakeClip(), "classifier": FakeCnn()}
    return nets.__getitem__


@pytest.fixture
def reading_encoder():
    """The same with a CLIP that has a text tower."""
    torch.manual_seed(7)
    nets = {"dino": FakeVit(), "clip": small_clip(), "classifier": FakeCnn()}
    return nets.__getitem__


@pytest.fixture
def fake_recipes():
    """Name -> a tiny recipe of a kind that the interface must hold."""
    return {
        "fake_unconditional": FakeGan(),
        "fake_classes": FakeGan(),
        "fake_words": FakeGan(weight=0.5),
        "fake_adaptation": FakeAdaptation(),
    }


@pytest.fixture
def parity_folder():
    return Path(__file__).parents[1] / "fixtures" / "parity"
