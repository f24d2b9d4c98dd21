"""A model of random weights whose images follow prompt and seed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.interfaces import ConditionShape
from models.stylegan_t.generator import StyleGANTGenerator
from models.text_to_image import TextToImage

SIZES = {"z_dim": 8, "channel_base": 512, "channel_max": 32, "num_groups": 4}


class Words(nn.Module):
    def encode_text(self, prompts: list[str]) -> torch.Tensor:
        rows = [torch.randn(6, generator=torch.Generator().manual_seed(len(p))) for p in prompts]
        return nn.functional.normalize(torch.stack(rows), dim=1)


def make_generator(shape: ConditionShape, **sizes: int) -> StyleGANTGenerator:
    """Return a generator with noise and styles that show."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = StyleGANTGenerator(resolution=16, shape=shape, **{**SIZES, **sizes})
        for name, parameter in generator.named_parameters():
            if name.endswith("noise_strength"):
                nn.init.constant_(parameter, 0.3)
    return generator


@pytest.fixture(scope="package")
def model() -> TextToImage:
    return TextToImage(Words(), make_generator(ConditionShape(pooled_dim=6))).train()
