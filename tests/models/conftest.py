"""Tiny stand-ins for the frozen nets, with the interface of models/features."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

TEXT_DIM = 12


class FakeVit(nn.Module):
    """Two taps [N, 16, L] by fixed random convolutions on a 16-px image."""

    def __init__(self, image_size: int = 16, tap_dim: int = 16, tokens: int = 16) -> None:
        super().__init__()
        self.num_taps, self.tap_dim, self.image_size = 2, tap_dim, image_size
        self.side = int(tokens**0.5)
        self.filters = nn.ModuleList(nn.Conv2d(3, tap_dim, 3, padding=1) for _ in range(2))
        self.requires_grad_(False)

    def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        x = F.interpolate(image_NCHW, (self.image_size, self.image_size), mode="area")
        taps = [F.adaptive_avg_pool2d(f(x), self.side).flatten(2) for f in self.filters]
        return {f"tap_{i}": tap for i, tap in enumerate(taps)}


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


@pytest.fixture
def encoder():
    """Role -> fake frozen net, each built once."""
    torch.manual_seed(7)
    nets = {"dino": FakeVit(), "clip": FakeClip()}
    return nets.__getitem__


@pytest.fixture
def fake_vit_class():
    return FakeVit
