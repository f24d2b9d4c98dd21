"""Upsamplers whose worth is known: one that knows the originals, bicubic itself, a shifted one."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from components.evaluation.bench import Bench
from components.evaluation.config import EvaluateConfig
from components.evaluation.enlarging import measure_enlarging, patches
from components.sampling import to_uint8
from models.interfaces import Batch, Condition
from tests.components.evaluation.conftest import measuring

SIDE, FACTOR, ROWS = 32, 4, 40


class Textures:
    """Noise on flat grounds: all detail is lost when an image is shrunk."""

    content_hash, num_rows, resolution, seed = "c0", ROWS, SIDE, 0

    def atom(self, position: int, size: int) -> Batch:
        rows = [torch.Generator().manual_seed(i % ROWS) for i in range(position, position + size)]
        image = torch.stack(
            [0.2 * torch.randn(3, SIDE, SIDE, generator=r) + torch.rand(1, generator=r) - 0.5
             for r in rows]
        ).clamp(-1, 1)  # fmt: skip
        return Batch(size=size, image_NCHW=image, condition=Condition())


class Contrast(nn.Module):
    """Mean and deviation of each colour, of images of 16 px."""

    image_size = 16

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        small = F.adaptive_avg_pool2d(image, self.image_size)
        return {"pooled": torch.cat([small.mean(dim=(2, 3)), small.std(dim=(2, 3))], dim=1)}


class Upscaler(nn.Module):
    """Enlarges by a function; stands for a generator of images as well."""

    factor, z_dim = FACTOR, 2

    def __init__(self, function) -> None:
        super().__init__()
        self.function, self.place = function, nn.Parameter(torch.zeros(1))

    @property
    def upscaler(self) -> Upscaler:
        return self

    def upscale(self, small, z, condition):
        return self.function(small)


def known(small: torch.Tensor) -> torch.Tensor:
    images = Textures().atom(0, ROWS).image_NCHW
    shrunk = F.avg_pool2d(images, FACTOR)
    return torch.stack([images[(shrunk - one).flatten(1).norm(dim=1).argmin()] for one in small])


def bicubic(small: torch.Tensor) -> torch.Tensor:
    return F.interpolate(small, scale_factor=FACTOR, mode="bicubic")


def scores_of(function) -> dict[str, float]:
    config = EvaluateConfig(num_fake=ROWS, batch=16)
    bench = Bench(source=Textures(), config=config, net=measuring(Contrast(), "judge"))
    measured = measure_enlarging(bench, Upscaler(function))
    assert measured["cards"]["upscaling"]["num_fake"] == ROWS
    return measured["scores"]["upscaling"]


def test_one_that_knows_the_originals_is_at_distance_zero_and_bicubic_is_not() -> None:
    found = scores_of(known)
    assert found["patches"] == pytest.approx(0, abs=1e-9)
    assert found["frechet"] == pytest.approx(0, abs=1e-9)
    assert found["drift"] < 1 / 255
    assert found["patches_bicubic"] > 1e-3  # the deviation of its patches is far too small


def test_bicubic_is_worth_what_bicubic_is() -> None:
    found = scores_of(bicubic)
    for kind in ("patches", "frechet", "drift"):
        assert found[kind] == pytest.approx(found[f"{kind}_bicubic"], abs=1e-12)


def test_what_leaves_its_input_drifts_by_as_much() -> None:
    assert scores_of(lambda small: known(small) * 0 + 0.5)["drift"] > 0.2
    shifted = scores_of(lambda small: (known(small) + 0.1).clamp(-1, 1))
    assert shifted["drift"] == pytest.approx(0.1, abs=0.01)


def test_a_model_without_an_upsampler_has_no_such_number() -> None:
    bench = Bench(source=Textures(), config=EvaluateConfig(), net=measuring(Contrast(), "judge"))
    assert measure_enlarging(bench, nn.Linear(1, 1))["scores"] == {}


def test_patches_are_squares_of_the_image_row_by_row() -> None:
    images = to_uint8(Textures().atom(0, 2).image_NCHW)
    cut = patches(images, 16)
    assert cut.shape == (8, 16, 16, 3)
    assert (cut[1] == images[0, :16, 16:]).all()
    assert (cut[6] == images[1, 16:, :16]).all()
