"""The mapping network of StyleGAN2, StyleGAN3 and StyleGAN-XL, with truncation.

It maps z and a vector to w.

Legend: N samples, Z width of z, E width of the conditioning vector, D width of w, M centroids.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.layers.equalized import EqualizedLinear, normalize_second_moment
from models.layers.running_mean import RunningMean


class StyleMapping(nn.Module):
    """Perceptron on [z, embedded vector], both scaled to unit mean square (Karras et al. 2020b).

    Args:
        z_dim: Z.
        w_dim: D, also the width of every layer.
        num_layers: all have a leaky ReLU.
        vector_dim: E; 0 = unconditional.
        embed_dim: width to which the vector is embedded; 0 = w_dim (StyleGAN2 and 3).
        embed_leaky: the embedding has a leaky ReLU (StyleGAN-XL).
        lr_multiplier: of the layers' equalised learning rate; the embedding's is 1.
        mean_beta: of the running mean of w.
        num_classes: one running mean per class; 0 = one for all.
    """

    def __init__(
        self,
        z_dim: int,
        w_dim: int,
        *,
        num_layers: int,
        vector_dim: int = 0,
        embed_dim: int = 0,
        embed_leaky: bool = False,
        lr_multiplier: float = 0.01,
        mean_beta: float = 0.998,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        self.embed: EqualizedLinear | None = None
        width = z_dim
        if vector_dim:
            embed_dim = embed_dim or w_dim
            self.embed = EqualizedLinear(vector_dim, embed_dim, leaky=embed_leaky)
            width += embed_dim
        self.layers = nn.ModuleList(
            EqualizedLinear(w_dim if i else width, w_dim, lr_multiplier=lr_multiplier, leaky=True)
            for i in range(num_layers)
        )
        self.mean = RunningMean(w_dim, mean_beta, num_classes)

    def forward(
        self, z_NZ: Tensor, vector_NE: Tensor | None = None, label_N: Tensor | None = None
    ) -> Tensor:
        """Return w [N, D], float32, not truncated.

        Args:
            z_NZ: standard normal.
            vector_NE: what the network is conditioned on; None for an unconditional one.
            label_N: whose running mean the samples count for, where there is one per class.
        """
        x = normalize_second_moment(z_NZ.float())
        if self.embed is not None:
            assert vector_NE is not None
            x = torch.cat([x, normalize_second_moment(self.embed(vector_NE))], dim=1)
        for layer in self.layers:
            x = layer(x)
        self.mean.observe(x, label_N)
        return x


def truncate(w_ND: Tensor, centre: Tensor, truncation: float | Tensor) -> Tensor:
    """Draw w towards the centre ([D] or [N, D]); truncation is one number or [N], 1 = off."""
    if isinstance(truncation, Tensor):
        return torch.lerp(centre.expand_as(w_ND), w_ND, truncation.to(w_ND).view(-1, 1))
    return w_ND if truncation == 1 else torch.lerp(centre.expand_as(w_ND), w_ND, truncation)


def nearest_centroid(w_ND: Tensor, centroids_MD: Tensor) -> Tensor:
    """Return the centroid nearest to each w, [N, D].

    Multi-modal truncation (Mokady et al. 2022): data of many kinds has no one mean, and truncation
    towards the nearest of many keeps the variety.
    """
    return centroids_MD[torch.cdist(w_ND, centroids_MD).argmin(dim=1)]


@torch.no_grad()
def fit_centroids(
    w_ND: Tensor, num_centroids: int, rng: torch.Generator, iterations: int = 20
) -> Tensor:
    """Return [M, D]: k-means of the samples by Lloyd's iteration from M random ones.

    A centroid that loses all its samples stays where it is.

    Raises:
        ValueError: fewer samples than centroids.
    """
    if not 1 <= num_centroids <= len(w_ND):
        raise ValueError(f"{num_centroids} centroids need as many samples, got {len(w_ND)}")
    chosen = torch.randperm(len(w_ND), generator=rng, device=w_ND.device)[:num_centroids]
    centroids_MD = w_ND[chosen].clone()
    for _ in range(iterations):
        nearest_N = torch.cdist(w_ND, centroids_MD).argmin(dim=1)
        total_MD = torch.zeros_like(centroids_MD).index_add_(0, nearest_N, w_ND)
        count_M1 = torch.bincount(nearest_N, minlength=num_centroids)[:, None]
        mean_MD = total_MD / count_M1.clamp(min=1)
        centroids_MD = torch.where(count_M1 > 0, mean_MD, centroids_MD)
    return centroids_MD
