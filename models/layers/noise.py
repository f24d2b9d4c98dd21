"""Noise that a generator's layers add: stored, none, or drawn by the caller.

Legend: N samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from models.interfaces import Condition
from models.layers.style_space import StyledGenerator


class NoisyLayer(Protocol):
    """A layer that adds noise to a square map."""

    noise_const: Tensor


def layer_noises(layers: Sequence[NoisyLayer], noise: Any) -> list[Tensor | None]:
    """Return one noise per layer.

    Args:
        layers: those that take noise, in order.
        noise: "const" (stored buffers), "none", or one tensor per layer.

    Raises:
        ValueError: another word, or as many tensors as there are no layers for.
    """
    if isinstance(noise, str):
        if noise == "const":
            return [layer.noise_const for layer in layers]
        if noise == "none":
            return [None] * len(layers)
        raise ValueError(f"noise must be 'const', 'none' or a list of tensors, got {noise!r}")
    if len(noise) != len(layers):
        raise ValueError(f"{len(layers)} layers take noise, got {len(noise)} tensors")
    return list(noise)


class NoisyGenerator(StyledGenerator):
    """What every generator does alike, given `map`, `synthesize` and `noise_sizes`."""

    map: Any

    def noise_sizes(self) -> list[int]:
        """Return the resolution of each noisy layer, in order."""
        raise NotImplementedError

    def draw_noise(self, n: int, rng: torch.Generator) -> list[Tensor]:
        """Draw noise, one [n, 1, r, r] per noisy layer, on the device of `rng`."""
        return [
            torch.randn(n, 1, r, r, generator=rng, device=rng.device) for r in self.noise_sizes()
        ]

    def forward(
        self,
        z_NZ: Tensor,
        condition: Condition,
        truncation: float | Tensor = 1.0,
        noise: Any = "const",
    ) -> Tensor:
        """Return images for z and condition: `synthesize(map(...))`."""
        image: Tensor = self.synthesize(self.map(z_NZ, condition, truncation), condition, noise)
        return image

    def trainable(self) -> list[nn.Parameter]:
        """Return the parameters that train."""
        return list(self.parameters())
