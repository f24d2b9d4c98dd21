"""Path-length regularisation: a fixed step in w should change the image by a fixed amount.

Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", section 3.2. The step
has a fixed length.

Legend: N samples, C channels, H W pixels, L entries of w, D width of w.
"""

from __future__ import annotations

import torch
from torch import Tensor


def path_lengths(image_NCHW: Tensor, ws_NLD: Tensor, direction_NCHW: Tensor) -> Tensor:
    """Return [N]: |J^T y|, the length of the image's gradient along y with respect to w.

    The square is summed over D and averaged over the L entries, as published. The result can be
    differentiated once more.

    Args:
        image_NCHW: made from `ws_NLD`.
        ws_NLD: the codes, part of the graph.
        direction_NCHW: y, standard normal; scaled here by 1 / sqrt(H W).
    """
    scale = (image_NCHW.shape[2] * image_NCHW.shape[3]) ** -0.5
    along = (image_NCHW * direction_NCHW).sum() * scale
    (gradient_NLD,) = torch.autograd.grad(along, ws_NLD, create_graph=True)
    return gradient_NLD.square().sum(dim=2).mean(dim=1).sqrt()


def path_length_penalty(length_N: Tensor, mean: Tensor) -> Tensor:
    """Return [N]: the square of each length's distance from their running mean."""
    return (length_N - mean).square()
