"""Linear layers with an equalised learning rate (Karras et al. 2018, section 4.1).

Legend: N samples, I inputs, O outputs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.precision import full_precision

LEAK = 0.2  # negative slope of every leaky ReLU in the StyleGAN family


def normalize_second_moment(x_ND: Tensor, eps: float = 1e-8) -> Tensor:
    """Scale each row to unit mean square, shape kept."""
    return x_ND * (x_ND.square().mean(dim=1, keepdim=True) + eps).rsqrt()


class EqualizedLinear(nn.Module):
    """y = x (weight * gain)^T + bias * lr_multiplier, gain = lr_multiplier / sqrt(I), in float32.

    Weights are stored at unit scale and multiplied at run time, so that Adam's step is the same
    relative change for every layer.

    Args:
        in_features: I.
        out_features: O.
        lr_multiplier: learning rate of this layer relative to the others.
        weight_init: standard deviation of the effective weight, times sqrt(I).
        bias_init: effective initial bias, one number or one per output.
        leaky: apply leaky ReLU (slope 0.2) times sqrt(2), which keeps the second moment.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        lr_multiplier: float = 1.0,
        weight_init: float = 1.0,
        bias_init: float | list[float] = 0.0,
        leaky: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            torch.randn(out_features, in_features) * (weight_init / lr_multiplier)
        )
        bias = torch.tensor(bias_init, dtype=torch.float32).expand(out_features)
        self.bias = nn.Parameter(bias.clone() / lr_multiplier)
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier
        self.leaky = leaky

    def forward(self, x_NI: Tensor) -> Tensor:
        """Map [N, I] to [N, O], float32."""
        with full_precision(x_NI):
            bias = self.bias if self.bias_gain == 1 else self.bias * self.bias_gain
            y = F.linear(x_NI.float(), self.weight * self.weight_gain, bias)
            return F.leaky_relu(y, LEAK) * math.sqrt(2) if self.leaky else y
