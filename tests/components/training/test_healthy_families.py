"""The watch over collapse is silent while real families train as they should."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from components.training.collapse import SPREADS, Looker
from components.training.config import TrainConfig
from components.training.distributed import World
from components.training.loop import train
from models.families import recipes, small_fields
from models.interfaces import Batch, Condition, ConditionShape, Site
from tests.models import conftest as model_fakes

KIMG = 2.0


class Colours:
    """Pictures of eight colours, each with a text of its own, and a square somewhere."""

    shape = ConditionShape(pooled_dim=model_fakes.TEXT_DIM)

    def __init__(self) -> None:
        rng = torch.Generator().manual_seed(1)
        self.colour_CX = torch.rand(8, 3, generator=rng) * 1.6 - 0.8
        self.text_CD = F.normalize(torch.randn(8, self.shape.pooled_dim, generator=rng), dim=1)

    def atom(self, position: int, size: int) -> Batch:
        index = torch.arange(position, position + size)
        colour = index % 8
        image = self.colour_CX[colour][:, :, None, None].repeat(1, 1, 16, 16)
        for row, number in enumerate(index.tolist()):
            x, y = (number * 7) % 11, (number * 5) % 11
            image[row, :, y : y + 5, x : x + 5] *= -1
        return Batch(
            size=size, image_NCHW=image, condition=Condition(pooled_ND=self.text_CD[colour])
        )


@pytest.mark.fuzz
@pytest.mark.row("A12")
@pytest.mark.timeout(1_800)
def test_no_false_alarm_in_two_hundred_healthy_looks_at_real_families():
    looks, told = 0, []
    families = [name for name, recipe in recipes().items() if recipe.needs_data]
    for name in families:
        records: list[dict[str, Any]] = []
        recipe, batches = recipes()[name](**small_fields(name)), Colours()
        torch.manual_seed(7)
        nets = {
            "dino": model_fakes.FakeVit(),
            "clip": model_fakes.FakeClip(),
            "classifier": model_fakes.FakeCnn(),
        }
        site = Site(resolution=16, shape=batches.shape, encoder=nets.__getitem__)
        config = TrainConfig(
            resolution_px=16,
            total_kimg=KIMG,
            batch=8,
            micro_batch=8,
            ema_half_life_kimg=0.05,
            report_every_kimg=KIMG / 50,
            look_every_kimg=KIMG / 50,
        )
        train(
            recipe=recipe,
            networks=recipe.build(site),
            config=config,
            seed=1,
            batches=batches,
            state_store=None,
            world=World(),
            report=records.append,
            device="cpu",
            look=Looker.of(batches, 1).look,
        )
        ticks = [r for r in records if "look/spread" in r]
        looks += len(ticks)
        told += [(name, r["text"]) for r in records if r["kind"] == "notice"]
        print(name, {k: round(ticks[-1][k], 3) for k in SPREADS})
    assert looks >= 200 and told == [], (looks, told)
