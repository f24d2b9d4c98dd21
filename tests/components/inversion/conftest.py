"""A small generator of classes, a small frozen net, and a search that takes a second."""

from __future__ import annotations

import pytest
import torch

from components.inversion import InversionConfig
from models.features import VitNet
from models.interfaces import ConditionShape
from models.stylegan_t.generator import StyleGANTGenerator
from tests.components.sampling.conftest import make_generator

QUICK = InversionConfig(steps=120, samples=200, candidates=8)


@pytest.fixture
def generator() -> StyleGANTGenerator:
    """16 px, three classes."""
    generator = make_generator(ConditionShape(num_labels=3))
    return generator.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def net() -> VitNet:
    arguments = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 4, "num_heads": 2}
    architecture = {"name": None, "arguments": {**arguments, "num_classes": 0}, "hooks": None}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return VitNet.build(architecture, image_size_px=16, mean=[0.5] * 3, std=[0.5] * 3)
