"""The distance of an image to its text in an embedding space, for CLIP guidance.

StyleGAN-T, section 3.3.

Legend: N samples, D width of the embedding.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

# arccos has an infinite slope at +-1; this far inside, its square's slope is at most 2 pi /
# sqrt(2e-6), about 4.4e3.
COSINE_MARGIN = 1e-6


def spherical_distance_squared(a_ND: Tensor, b_ND: Tensor) -> Tensor:
    """Return [N]: the squared angle (rad) between rows, in [0, pi^2]; its gradient is finite.

    Args:
        a_ND: embeddings of any length; normalised here.
        b_ND: likewise.
    """
    a, b = F.normalize(a_ND.float(), dim=1), F.normalize(b_ND.float(), dim=1)
    cosine = (a * b).sum(dim=1).clamp(-1 + COSINE_MARGIN, 1 - COSINE_MARGIN)
    return cosine.arccos().square()
