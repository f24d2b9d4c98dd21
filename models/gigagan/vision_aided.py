"""Heads that judge the features of a frozen network (Kumari et al. 2022, as in GigaGAN, 3.3).

One head per map of features and one on the pooled vector. Each logit is compared to a target of 0.8
for real images, by the generator too; positions are averaged, heads summed.

Legend: N samples, C channels of a map, E width of the pooled vector, I inner width, s side.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.equalized import LEAK
from models.layers.spectral_norm import SpectralConv2d, SpectralLinear

TARGET = 0.8
CNN_MAPS = ("stage_1", "stage_2")  # of a CNN, the two with shapes and without single edges


def smooth(x_NCHW: Tensor, padding: int = 1) -> Tensor:
    """Filter with [1, 3, 3, 1] and so many zeros around, before a convolution of stride 2."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x_NCHW.device, dtype=x_NCHW.dtype) / 8
    kernel = torch.outer(taps, taps).expand(x_NCHW.shape[1], 1, 4, 4)
    return F.conv2d(x_NCHW, kernel, padding=padding, groups=x_NCHW.shape[1])


class MapHead(nn.Module):
    """Map of features -> a map of logits.

    Args:
        channels: C.
        inner: I.
        halves: the first convolution halves the size, after a filter (maps of 14 and more).
    """

    def __init__(self, channels: int, inner: int, *, halves: bool) -> None:
        super().__init__()
        self.halves = halves
        stride, padding = (2, 0) if halves else (1, 1)
        self.conv = SpectralConv2d(channels, inner, 3, stride=stride, padding=padding, bias=True)
        self.classify = SpectralConv2d(inner, 1, 1, stride=2, bias=True)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return [N, h, w]."""
        x = self.conv(smooth(x_NCHW, 2) if self.halves else x_NCHW)
        return self.classify(smooth(F.leaky_relu(x, LEAK)))[:, 0]  # type: ignore[no-any-return]


class VisionHeads(nn.Module):
    """One head per map, and one on the pooled vector, which alone sees the text.

    Args:
        map_dims: C of each map.
        pooled_dim: E; 0: no pooled vector.
        inner: I.
        text_dim: width of the text; 0 without.
        halves: see `MapHead`.
    """

    def __init__(
        self,
        map_dims: list[int],
        pooled_dim: int,
        *,
        inner: int = 256,
        text_dim: int = 0,
        halves: bool = False,
    ) -> None:
        super().__init__()
        self.maps = nn.ModuleList(MapHead(c, inner, halves=halves) for c in map_dims)
        self.pooled: SpectralLinear | None = None
        self.text: nn.Linear | None = None
        if pooled_dim:
            self.pooled = SpectralLinear(pooled_dim, inner)
            self.out = SpectralLinear(inner, 1)
            if text_dim:
                self.text = nn.Linear(text_dim, inner)

    def forward(self, taps: list[Tensor], text_NE: Tensor | None = None) -> list[Tensor]:
        """Return the logits of each head, [N, ...].

        Args:
            taps: maps [N, C, s, s], then the pooled vector [N, E] if there is one.
            text_NE: what the images are to show.
        """
        logits = [head(x) for head, x in zip(self.maps, taps, strict=False)]
        if self.pooled is not None:
            x = F.leaky_relu(self.pooled(taps[len(self.maps)]), LEAK)
            last = self.out(x)
            if self.text is not None and text_NE is not None:
                last = last + (x * self.text(text_NE)).mean(dim=1, keepdim=True)
            logits.append(last)
        return logits


def vision_loss(logits: list[Tensor], *, real: bool, target: float = TARGET) -> Tensor:
    """Return [N]: cross-entropy to `target` (real, or the generator's wish) or to 0 (fake)."""
    goal = target if real else 0.0
    total = torch.zeros((), device=logits[0].device)
    for x in logits:
        wanted = torch.full_like(x, goal)
        loss = F.binary_cross_entropy_with_logits(x, wanted, reduction="none")
        total = total + loss.flatten(1).mean(dim=1)
    return total


def taps_of(net: Any, image_NCHW: Tensor) -> list[Tensor]:
    """Return the maps of a frozen network, and its pooled vector if it has one.

    Raises:
        ValueError: the net is neither a CLIP with word taps, nor a vision transformer, nor a CNN.
    """
    if hasattr(net, "vision_taps"):
        found: list[Tensor] = net.vision_taps(image_NCHW)
        return found
    seen = net(image_NCHW)
    if CNN_MAPS[0] in seen:
        return [*(seen[name] for name in CNN_MAPS), seen["pooled"]]
    taps = [x for name, x in seen.items() if name.startswith("tap_")]
    if not taps:
        raise ValueError("vision_weight: that network has no maps to judge; set it to 0")
    side = int(taps[0].shape[2] ** 0.5)
    return [x[:, :, : side * side].unflatten(2, (side, side)) for x in taps]
