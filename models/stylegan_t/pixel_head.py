"""A head that sees the picture itself, beside those that see a transformer's tokens.

Ours, off in the published recipe. Tokens of a small frozen transformer hardly tell how many objects
there are and where; a few strided convolutions that train along do (docs/log.md, 2026-11-26). Its
one logit is a projection on the condition (Miyato and Koyama 2018, equation 4).

Legend: N samples, H W pixels, E width of the conditioning vector.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.features.preprocess import area_resize
from models.layers.equalized import LEAK
from models.layers.precision import full_precision
from models.layers.spectral_norm import SpectralConv2d, SpectralLinear

SIDE_PX = 32  # the layout of a picture, not its grain: at any resolution the same weights fit
CODE_DIM = 128


class PixelHead(nn.Module):
    """A picture -> one logit: three strided convolutions, one linear layer over the whole map.

    Args:
        width: channels of the first convolution; the others have twice as many.
        condition_dim: E; 0 = unconditional.
    """

    def __init__(self, width: int, condition_dim: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            SpectralConv2d(before, after, 4, stride=2, padding=1, bias=True)
            for before, after in ((3, width), (width, 2 * width), (2 * width, 2 * width))
        )
        self.look = SpectralLinear(2 * width * (SIDE_PX // 8) ** 2, CODE_DIM)
        self.judge = nn.Linear(CODE_DIM, 1)
        self.match = nn.Linear(CODE_DIM, condition_dim) if condition_dim else None

    def forward(self, x_N3HW: Tensor, vector_NE: Tensor | None) -> Tensor:
        """Return logits [N, 1], float32.

        Args:
            x_N3HW: pictures in [-1, 1], of any size.
            vector_NE: conditioning vector; None if unconditional.
        """
        x = area_resize(x_N3HW, SIDE_PX)
        for convolution in self.convolutions:
            x = F.leaky_relu(convolution(x), LEAK)
        code = F.leaky_relu(self.look(x.flatten(1)), LEAK)
        with full_precision(code):
            code = code.float()
            logit_N1: Tensor = self.judge(code)
            if self.match is None or vector_NE is None:
                return logit_N1
            return logit_N1 + torch.sum(self.match(code) * vector_NE, dim=1, keepdim=True)
