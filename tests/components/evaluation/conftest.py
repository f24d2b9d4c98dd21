"""A tiny world with a known truth: an image is its attributes, painted; nets read them back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from components.data.captions import ATTRIBUTES, prompt
from components.evaluation.nets import MeasuringNet
from components.sampling import from_uint8
from models.interfaces import Batch, Condition, ConditionShape

NAMES = tuple(ATTRIBUTES)  # the order of the four painted bands


def paint(values: dict[str, str]) -> np.ndarray:
    """An 8 x 8 image: two rows of pixels per attribute, their brightness is the class."""
    image = np.zeros((8, 8, 3), np.uint8)
    for band, name in enumerate(NAMES):
        image[2 * band : 2 * band + 2] = 30 * ATTRIBUTES[name].index(values[name])
    return image


def code(values: dict[str, str]) -> list[float]:
    """A stand-in for the text embedding: one number per attribute."""
    return [30.0 * ATTRIBUTES[name].index(values[name]) for name in NAMES]


class PerfectJudge(nn.Module):
    """Reads the bands; its features are the mean colours of the image's four bands."""

    classes = ATTRIBUTES

    def __init__(self) -> None:
        super().__init__()
        self.images_seen = 0

    def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        self.images_seen += len(image_NCHW)
        level = (image_NCHW[:, 0].mean(2) + 1) * 127.5
        bands = level.unflatten(1, (4, 2)).mean(2)
        out = {"pooled": torch.cat([bands, image_NCHW.mean((2, 3)) * 100], 1)}
        for band, name in enumerate(NAMES):
            steps = 30.0 * torch.arange(len(ATTRIBUTES[name]))
            out[name] = -(bands[:, band, None] - steps).abs()
        return out


class BandClip(nn.Module):
    """An image and a caption meet in the unit vector of their attributes."""

    def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        level = (image_NCHW[:, 0].mean(2) + 1) * 127.5
        return {"pooled": _unit(level.unflatten(1, (4, 2)).mean(2))}

    def encode_text(self, texts: list[str]) -> Tensor:
        from components.data.captions import attributes_of

        return _unit(torch.tensor([code(attributes_of(text)) for text in texts]))


def _unit(x: Tensor) -> Tensor:
    return nn.functional.normalize(x - 60, dim=1)


class Painter(nn.Module):
    """A generator: the condition's bands, plus noise of strength `spread` times psi."""

    z_dim, resolution = 6, 8

    def __init__(self, spread: float = 0.0, *, blind: bool = False) -> None:
        super().__init__()
        self.spread, self.blind = spread, blind

    def map(self, z_ND: Tensor, condition: Condition, truncation: float = 1.0) -> Tensor:
        bands = torch.full_like(condition.pooled_ND, 90.0) if self.blind else condition.pooled_ND
        return torch.cat([bands, z_ND * self.spread * truncation], 1)[:, None]

    def synthesize(self, ws_NLD: Tensor, condition: Condition, noise: object = "const") -> Tensor:
        bands = ws_NLD[:, 0, :4] + ws_NLD[:, 0, 4:5]
        image = bands.repeat_interleave(2, 1)[:, None, :, None].expand(-1, 3, 8, 8)
        return image / 127.5 - 1


@dataclass
class Rows:
    """A BatchSource of `num_rows` painted rows in a fixed order, going round."""

    num_rows: int = 60
    content_hash: str = "c0"
    seed: int = 0
    resolution: int = 8

    @property
    def shape(self) -> ConditionShape:
        return ConditionShape(pooled_dim=4)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(list(self.content_hash.encode()))
        self.values = [
            {name: str(rng.choice(options)) for name, options in ATTRIBUTES.items()}
            for _ in range(self.num_rows)
        ]

    def atom(self, position: int, size: int) -> Batch:
        chosen = [self.values[(position + i) % self.num_rows] for i in range(size)]
        return Batch(
            size=size,
            condition=Condition(pooled_ND=torch.tensor([code(values) for values in chosen])),
            image_NCHW=from_uint8(np.stack([paint(values) for values in chosen])),
            captions=tuple(prompt(**values) for values in chosen),
        )


def measuring(network: nn.Module, role: str) -> MeasuringNet:
    sha256 = hashlib.sha256(json.dumps([role]).encode()).hexdigest()
    return MeasuringNet(network=network, role=role, name=role, sha256=sha256, resizer="none")


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def judge() -> MeasuringNet:
    return measuring(PerfectJudge(), "judge")


@pytest.fixture
def clip() -> MeasuringNet:
    return measuring(BandClip(), "clip")


@pytest.fixture
def painter() -> type[Painter]:
    return Painter


@pytest.fixture
def make_rows() -> type[Rows]:
    return Rows


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"
