"""Tiny families that use everything the loop offers: noise, running mean, power iteration, a lazy
phase, no data.
"""

from __future__ import annotations

import dataclasses
from dataclasses import InitVar, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

import models.families
from components.training import site as site_module
from components.training.config import TrainConfig
from components.training.job import TrainingJob
from models.families import Family
from models.interfaces import (
    Batch,
    Condition,
    ConditionShape,
    Losses,
    Networks,
    OptimizerSettings,
    Phase,
    Site,
)
from models.layers.running_mean import RunningMean

SIDE = 8


class FakeGenerator(nn.Module):
    """z and label -> image; noise per pixel, a running mean of w, a part that never trains."""

    def __init__(self, num_labels: int = 0) -> None:
        super().__init__()
        self.z_dim, self.resolution = 4, SIDE
        self.mapping = nn.Linear(4, 6)
        self.label = nn.Embedding(max(num_labels, 1), 6)
        self.stem = nn.Linear(6, 8 * 4 * 4)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.rgb = nn.Conv2d(8, 3, 1)
        self.strength = nn.Parameter(torch.tensor(0.1))
        self.unused = nn.Parameter(torch.ones(3))
        self.mean = RunningMean(6, 0.9)
        self.register_buffer("const", torch.randn(1, 1, SIDE, SIDE))

    def map(self, z_ND: Any, condition: Condition, truncation: Any = 1.0) -> Any:
        w = self.mapping(z_ND)
        self.mean.observe(w)
        w = self.mean.value + truncation * (w - self.mean.value)
        if condition.label_N is not None:
            w = w + self.label(condition.label_N)
        return w[:, None]

    def synthesize(self, ws_NLD: Any, condition: Condition, noise: Any = "const") -> Any:
        x = F.leaky_relu(self.stem(ws_NLD[:, 0])).view(-1, 8, 4, 4)
        x = self.conv(F.interpolate(x, scale_factor=2))
        x = x + self.strength * (self.const if isinstance(noise, str) else noise)
        return self.rgb(F.leaky_relu(x)).tanh()


class FakeDiscriminator(nn.Module):
    """A convolution and a linear layer over its largest singular value (power iteration in
    `advance`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)
        self.linear = nn.Parameter(torch.randn(4, 128) * 0.1)
        self.register_buffer("u", F.normalize(torch.randn(4), dim=0))

    @torch.no_grad()
    def advance(self) -> None:
        v = F.normalize(self.linear.T @ self.u, dim=0)
        self.u.copy_(F.normalize(self.linear @ v, dim=0))

    def forward(self, image: Any) -> Any:
        v = F.normalize(self.linear.detach().T @ self.u, dim=0)
        weight = self.linear / (self.u @ (self.linear @ v))
        return F.leaky_relu(self.conv(image)).flatten(1) @ weight.T


@dataclass(frozen=True, kw_only=True)
class FakeGAN:
    """Two networks, three phases. poison: (phase, nimg) -> factor; seen: what the losses drew."""

    name: ClassVar[str] = "fake_gan"
    tunable: ClassVar[dict[str, tuple[float, float]]] = {"weight": (0.1, 2.0)}
    needs_data: ClassVar[bool] = True
    grows: ClassVar[bool] = True
    encoder_roles: ClassVar[tuple[str, ...]] = ()

    weight: float = 1.0
    learning_rate: float = 0.002
    widths: tuple[int, ...] = (1, 2)
    poison: InitVar[Any] = None

    def __post_init__(self, poison: Any) -> None:
        object.__setattr__(self, "poison", poison)
        object.__setattr__(self, "seen", [])

    def generator(self, resolution: int, shape: ConditionShape) -> nn.Module:
        if resolution != SIDE:
            raise ValueError(f"resolution {resolution}: the fake makes {SIDE} px only")
        return FakeGenerator(shape.num_labels)

    def build(self, site: Site) -> Networks:
        generator = self.generator(site.resolution, site.shape)
        if site.start is not None:
            generator.load_state_dict(dict(site.start.generator))
        return Networks(trained={"generator": generator, "discriminator": FakeDiscriminator()})

    def phases(self, networks: Networks) -> list[Phase]:
        generator, discriminator = networks.trained["generator"], networks.trained["discriminator"]
        settings = OptimizerSettings(learning_rate=self.learning_rate)

        def fake(batch: Batch, nimg: int, rng: Any, phase: str) -> Any:
            z = torch.randn(batch.size, 4, generator=rng, device=rng.device)
            noise = torch.randn(z.shape[0], 1, SIDE, SIDE, generator=rng, device=rng.device)
            self.seen.append(
                {"phase": phase, "nimg": nimg, "keys": batch.keys, "z": z, "noise": noise}
            )
            ws = generator.map(z, batch.condition)
            factor = self.poison(phase, nimg) if self.poison else 1.0
            return generator.synthesize(ws, batch.condition, noise) * factor

        def judge(batch: Batch, nimg: int, rng: Any) -> Losses:
            real = discriminator(batch.image_NCHW)
            made = discriminator(fake(batch, nimg, rng, "judge").detach())
            term = (F.relu(1 - real) + F.relu(1 + made)).mean(1)
            return Losses(terms={"hinge": term}, stats={"real_sign": real.sign().mean(1)})

        def make(batch: Batch, nimg: int, rng: Any) -> Losses:
            image = fake(batch, nimg, rng, "make")
            terms = {"adversarial": -self.weight * discriminator(image).mean(1)}
            return Losses(terms=terms | {"size": 0.1 * image.square().mean((1, 2, 3))})

        def smooth(batch: Batch, nimg: int, rng: Any) -> Losses:
            image = fake(batch, nimg, rng, "smooth")
            return Losses(
                terms={"edges": (image[..., 1:] - image[..., :-1]).square().mean((1, 2, 3))}
            )

        some = [p for n, p in generator.named_parameters() if not n.startswith("label")]
        return [
            Phase(
                name="judge",
                parameters=lambda nimg: list(discriminator.parameters()),
                loss=judge,
                optimizer=settings,
                begin=lambda nimg: discriminator.advance(),
            ),
            Phase(name="make", parameters=lambda nimg: some, loss=make, optimizer=settings),
            Phase(
                name="smooth",
                parameters=lambda nimg: some[:4] if nimg >= 8 else [],
                loss=smooth,
                optimizer=settings,
                every=2,
            ),
        ]


@dataclass(frozen=True, kw_only=True)
class FakeAdaptation:
    """No discriminator, no data: moves a generator's images towards a colour."""

    name: ClassVar[str] = "fake_adaptation"
    tunable: ClassVar[dict[str, tuple[float, float]]] = {}
    needs_data: ClassVar[bool] = False
    grows: ClassVar[bool] = False
    encoder_roles: ClassVar[tuple[str, ...]] = ()

    colour: tuple[float, float, float] = (1.0, -1.0, -1.0)

    def generator(self, resolution: int, shape: ConditionShape) -> nn.Module:
        return FakeGenerator(shape.num_labels)

    def build(self, site: Site) -> Networks:
        generator = self.generator(site.resolution, site.shape)
        if site.start is None:
            raise ValueError("adaptation needs a start artifact")
        generator.load_state_dict(dict(site.start.generator))
        return Networks(trained={"generator": generator})

    def phases(self, networks: Networks) -> list[Phase]:
        generator = networks.trained["generator"]

        def loss(batch: Batch, nimg: int, rng: Any) -> Losses:
            assert batch.image_NCHW is None
            z = torch.randn(batch.size, 4, generator=rng, device=rng.device)
            image = generator.synthesize(generator.map(z, batch.condition), batch.condition)
            target = torch.tensor(self.colour).view(1, 3, 1, 1)
            return Losses(terms={"colour": (image - target).square().mean((1, 2, 3))})

        settings = OptimizerSettings(learning_rate=0.01, beta1=0.9)
        return [
            Phase(
                name="adapt",
                parameters=lambda nimg: list(generator.parameters()),
                loss=loss,
                optimizer=settings,
            )
        ]


class FakeSource:
    """64 images whose pixels, label and key are functions of the index; endless by wrapping."""

    content_hash = "fake"
    num_rows, resolution, seed = 64, SIDE, 0
    shape = ConditionShape(num_labels=3)
    label_names = ()

    def atom(self, position: int, size: int) -> Batch:
        index = torch.arange(position, position + size) % self.num_rows
        wave = torch.arange(3 * SIDE * SIDE).view(1, 3, SIDE, SIDE) * (index + 1).view(-1, 1, 1, 1)
        return Batch(
            size=size,
            image_NCHW=torch.sin(wave / 50.0),
            condition=Condition(label_N=index % 3),
            captions=tuple(f"image {i}" for i in index.tolist()),
            keys=tuple(f"key-{i}" for i in index.tolist()),
        )

    def first(self, count: int) -> Batch:
        return self.atom(0, count)


def fake_config(**changes: Any) -> TrainConfig:
    """Return a run of 10 iterations of 8 images in micro-batches of 2, a line per iteration."""
    values: dict[str, Any] = {
        "resolution_px": SIDE,
        "total_kimg": 0.08,
        "batch": 8,
        "micro_batch": 2,
        "ema_half_life_kimg": 0.02,
        "report_every_kimg": 0.008,
        "sample_every_kimg": 0.0,
        "save_every_kimg": 0.0,
    }
    return TrainConfig(**values | changes)


def fake_site(**changes: Any) -> Site:
    """Return a site of 8 px with three classes and no encoders."""
    values: dict[str, Any] = {"resolution": SIDE, "shape": FakeSource.shape, "encoder": None}
    return Site(**values | changes)


def use_family(monkeypatch: Any, name: str, recipe: str) -> None:
    """Let this family be the only one, and fake images the data of every job."""
    monkeypatch.setattr(models.families, "FAMILIES", {name: Family(recipe=recipe)})
    monkeypatch.setattr(site_module, "_open", lambda *_: FakeSource())


def fake_job(folder: Path, family: str, **train: Any) -> TrainingJob:
    """Return a job of a fake family with the sizes of `fake_config`."""
    return TrainingJob(
        stage="train_base",
        seed=3,
        recipe={"name": family},
        train=dataclasses.asdict(fake_config(**train)),
        run_dir=str(folder),
        data_dir="fake",
        fingerprint="1",
    )
