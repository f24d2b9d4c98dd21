"""A small generator, a small CLIP, and a code."""

import pytest
import torch

from components.editing import ClipText
from models.families import recipes, small_fields
from models.interfaces import Condition, ConditionShape
from tests.models.conftest import FakeClip

SMALL = {"generator_network": "stylegan2", "w_dim": 8, "z_dim": 6, "num_mapping_layers": 2}
SMALL |= {"channel_base": 64, "channel_max": 8}


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(1)
    recipe = recipes()["projected_gan"](**{**small_fields("projected_gan"), **SMALL})
    return recipe.generator(16, ConditionShape()).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(2)
    return ClipText(FakeClip(), ["{}", "the {}"])


@pytest.fixture
def ws(generator):
    z = torch.randn(1, generator.z_dim, generator=torch.Generator().manual_seed(3))
    return generator.map(z, Condition()).clone()
