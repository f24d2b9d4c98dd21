"""Second-order styles (StyleGAN-T, section 3.1): products of two linear functions of w.

Legend: N samples, D width of w, C channels modulated.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.layers.equalized import EqualizedLinear


class SecondOrderStyle(nn.Module):
    """style = m1 * m2 + m3 with [m1, m2, m3] = linear(w): multiplicative use of the text.

    All three start with bias 1, so a fresh style has mean about 2, not 1; demodulation removes the
    factor, and ToRGB's small initial weights absorb it.
    """

    def __init__(self, w_dim: int, channels: int) -> None:
        super().__init__()
        self.projection = EqualizedLinear(w_dim, 3 * channels, bias_init=1.0)

    def forward(self, w_ND: Tensor) -> Tensor:
        """Map w [N, D] to styles [N, C], float32."""
        m1_NC, m2_NC, m3_NC = self.projection(w_ND).chunk(3, dim=1)
        return m1_NC * m2_NC + m3_NC
