"""The two layers after attention: a gated GELU, or one of several experts for each token.

The paper has plain layers of four times the width. Experts are Aurora's (its published weights
cannot be read without them): a router picks one expert for each token, whose output counts by the
router's probability (Fedus et al. 2022, "Switch Transformers", section 2).

Legend: B samples, T tokens, C width, M experts, D width of w.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.gigagan.adaptive_conv import AdaptiveConv
from models.gigagan.attention import TokenLinear

Z_WEIGHT = BALANCE_WEIGHT = 1e-3  # Aurora's code


class GatedLayers(nn.Module):
    """C -> 2 x ratio C, one half gates the other through GELU, -> C; or plain GELU.

    Args:
        width: C.
        ratio: of the inner width.
        gated: False: one plain inner layer, as in the paper.
    """

    def __init__(self, width: int, ratio: int = 4, *, gated: bool = True) -> None:
        super().__init__()
        self.gated = gated
        self.expand = TokenLinear(width, (2 if gated else 1) * ratio * width)
        self.contract = TokenLinear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map the last axis."""
        y = self.expand(x)
        if not self.gated:
            return self.contract(F.gelu(y))  # type: ignore[no-any-return]
        value, gate = y.chunk(2, dim=-1)
        return self.contract(value * F.gelu(gate))  # type: ignore[no-any-return]


class Experts(nn.Module):
    """M pairs of gated layers, one for each token.

    Args:
        width: C.
        w_dim: D; the router is modulated by w.
        num_experts: M.
        ratio, gated: see `GatedLayers`.
    """

    def __init__(
        self, width: int, w_dim: int, num_experts: int, ratio: int = 4, *, gated: bool = True
    ) -> None:
        super().__init__()
        self.router = AdaptiveConv(width, num_experts, w_dim, kernel_size=1)
        self.experts = nn.ModuleList(
            GatedLayers(width, ratio, gated=gated) for _ in range(num_experts)
        )

    def logits(self, x_BTC: Tensor, w_BD: Tensor) -> Tensor:
        """Return the router's logits [B, T, M], float32."""
        image = self.router(x_BTC.transpose(1, 2)[:, :, None], w_BD)
        return image[:, :, 0].transpose(1, 2).float()

    def forward(self, x_BTC: Tensor, w_BD: Tensor) -> Tensor:
        """Return [B, T, C]: the chosen expert's output times its probability."""
        share_BT, chosen_BT = self.logits(x_BTC, w_BD).softmax(dim=-1).max(dim=-1)
        y = torch.zeros_like(x_BTC)
        for number, expert in enumerate(self.experts):
            picked = chosen_BT == number
            y = y.masked_scatter(picked[..., None], expert(x_BTC[picked]))
        return y * share_BT.to(y.dtype)[..., None]


def router_loss(logits_BTM: Tensor) -> Tensor:
    """Return [B]: what keeps a router's logits small and its experts equally busy.

    Fedus et al. 2022, equation 4, and Zoph et al. 2022, equation 5, both with weight 0.001.
    """
    z = logits_BTM.logsumexp(dim=-1).square().mean(dim=1)
    share_BTM = logits_BTM.softmax(dim=-1)
    experts = logits_BTM.shape[-1]
    busy_BM = F.one_hot(share_BTM.argmax(dim=-1), experts).float().mean(dim=1)
    balance = experts * (busy_BM * share_BTM.mean(dim=1)).sum(dim=-1)
    return Z_WEIGHT * z + BALANCE_WEIGHT * balance


Kind = Literal["plain", "gated"]


def feed_forward(width: int, w_dim: int, *, experts: int, kind: Kind, ratio: int = 4) -> nn.Module:
    """Return the layers after attention: experts if there are any (0 = none), else one pair."""
    if experts:
        return Experts(width, w_dim, experts, ratio, gated=kind == "gated")
    return GatedLayers(width, ratio, gated=kind == "gated")
