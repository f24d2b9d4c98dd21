"""What StyleGAN2, StyleGAN3 and StyleGAN-XL share: mapping, truncation, synthesis.

Legend: N samples, Z width of z, E width of the conditioning vector, D width of w, L entries of w.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.interfaces import Condition
from models.layers.noise import NoisyGenerator
from models.layers.style_mapping import StyleMapping, nearest_centroid, truncate


class StyleBasedGenerator(NoisyGenerator):
    """Implements `models.interfaces.Generator`; a family overrides `vector`.

    Args:
        mapping: z and a vector -> w.
        synthesis: ws [N, L, D] and noise -> image; has `num_ws` and `noise_sizes`.
        z_dim: Z.
        resolution: of the images, in pixels.
    """

    mapping: StyleMapping
    synthesis: Any

    def __init__(
        self, mapping: StyleMapping, synthesis: nn.Module, *, z_dim: int, resolution: int
    ) -> None:
        super().__init__()
        self.mapping, self.synthesis = mapping, synthesis
        self.z_dim, self.resolution = z_dim, resolution
        self.w_dim: int = mapping.mean.value.shape[-1]
        self.num_ws: int = self.synthesis.num_ws

    def vector(self, condition: Condition) -> Tensor | None:
        """Return the conditioning vector [N, E]; None for an unconditional network."""
        return None

    def told(self, z_NZ: Tensor, condition: Condition) -> Tensor | None:
        """Return what stands behind w in every entry [N, E], which truncation leaves as it is; None
        for nothing.
        """
        return None

    def map(
        self,
        z_NZ: Tensor,
        condition: Condition,
        truncation: float | Tensor = 1.0,
        *,
        cutoff: int | None = None,
        centroids_MD: Tensor | None = None,
    ) -> Tensor:
        """Return ws [N, L, D].

        Args:
            z_NZ: standard normal.
            condition: what the images are to show.
            truncation: one number or [N]; 1 = off, 0 = the mean image, of the class if there are
                classes with a mean each.
            cutoff: truncate only so many leading entries; None = all.
            centroids_MD: draw towards the nearest of these instead of the mean.
        """
        w_ND = self.mapping(z_NZ, self.vector(condition), condition.label_N)
        if centroids_MD is None:
            centre = self.mapping.mean.centre(condition.label_N)
        else:
            centre = nearest_centroid(w_ND, centroids_MD[:, : w_ND.shape[1]])
        drawn_ND = truncate(w_ND, centre, truncation)
        if cutoff is None or cutoff >= self.num_ws:
            ws_NLD = drawn_ND[:, None, :].expand(-1, self.num_ws, -1)
        else:
            parts = [drawn_ND[:, None, :].expand(-1, cutoff, -1)]
            parts.append(w_ND[:, None, :].expand(-1, self.num_ws - cutoff, -1))
            ws_NLD = torch.cat(parts, dim=1)
        told_NE = self.told(z_NZ, condition)
        if told_NE is None:
            return ws_NLD
        return torch.cat([ws_NLD, told_NE[:, None, :].expand(-1, self.num_ws, -1)], dim=2)

    def synthesize(
        self, ws_NLD: Tensor, condition: Condition | None = None, noise: Any = "const"
    ) -> Tensor:
        """Return images [N, 3, resolution, resolution], about [-1, 1] and not clamped, float32.

        Args:
            ws_NLD: codes, one entry per layer.
            condition: unused; it is in the codes.
            noise: "const" (stored buffers), "none", or a list from `draw_noise`.
        """
        image: Tensor = self.synthesis(ws_NLD, noise)
        return image

    def noise_sizes(self) -> list[int]:
        """Return the resolution of each noisy layer, in order."""
        sizes: list[int] = self.synthesis.noise_sizes()
        return sizes
