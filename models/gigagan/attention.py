"""Attention by distance, for the generator, the discriminator and the text head.

Kang et al. 2023, section 3.2: the dot product has no Lipschitz constant, so queries and keys are
compared by their squared distance, and share one projection. Logits are scaled by 1 / sqrt(8 d),
which gives them unit deviation for standard normal queries and keys.

Since a softmax does not see what is added to a whole row, -s |q - k|^2 acts as 2 s q.k - s |k|^2: a
dot product with one more entry. So torch's fused kernels serve, and its plain path (which R1's
second derivative needs) as well.

Legend: B samples, T tokens, C width of a token, h heads, d width of a head, D width of w, S words.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.gigagan.adaptive_conv import AdaptiveConv
from models.layers.style_space import Steering

Likeness = Literal["squared", "distance", "dot"]
"""How a query is compared to a key: minus the squared distance, minus the distance, or by q.k."""


class TokenLinear(nn.Module):
    """A linear layer with an equalised learning rate, in the precision of its input.

    Args:
        in_features, out_features: widths.
        bias: whether there is one.
        lr_multiplier: learning rate relative to other layers.
        bias_init: effective initial bias.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias: nn.Parameter | None = None
        if bias:
            self.bias = nn.Parameter(torch.full((out_features,), bias_init / lr_multiplier))
        self.gain, self.bias_gain = lr_multiplier / math.sqrt(in_features), lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        """Map the last axis."""
        bias = None if self.bias is None else self.bias * self.bias_gain
        return F.linear(x, self.weight * self.gain, bias)


def logit_scale(likeness: Likeness, head_dim: int, scale_inside: bool = False) -> float:
    """Return the factor of the logits: 1 / sqrt(8 d) of squared distances, else 1 / sqrt(d).

    Aurora's option to scale queries and keys by 1 / sqrt(d) each makes 1 / d of a dot product, and
    changes nothing for a distance.
    """
    if scale_inside and likeness == "dot":
        return 1 / head_dim
    return (8 * head_dim if likeness == "squared" else head_dim) ** -0.5  # type: ignore[no-any-return]


def attend(
    query_BhTd: Tensor,
    key_BhSd: Tensor,
    value_BhSd: Tensor,
    *,
    likeness: Likeness = "squared",
    scale: float | None = None,
    seen_TS: Tensor | None = None,
    same: bool = False,
) -> Tensor:
    """Return the attended values [B, h, T, d].

    Args:
        query_BhTd, key_BhSd, value_BhSd: by heads.
        likeness: how they are compared.
        scale: of the logits; None: `logit_scale`.
        seen_TS: True where a query sees a key (broadcast); None: it sees all.
        same: queries and keys share a projection: the distance of a token to itself is exactly 0.
    """
    scale = logit_scale(likeness, query_BhTd.shape[-1]) if scale is None else scale
    if likeness == "distance":
        mode = "donot_use_mm_for_euclid_dist" if same else "use_mm_for_euclid_dist_if_necessary"
        logits = -scale * torch.cdist(query_BhTd.float(), key_BhSd.float(), compute_mode=mode)
        if seen_TS is not None:
            logits = logits.masked_fill(~seen_TS, -torch.inf)
        return logits.softmax(dim=-1).to(value_BhSd.dtype) @ value_BhSd
    if likeness == "squared":
        norm = key_BhSd.square().sum(dim=-1, keepdim=True)
        query_BhTd = torch.cat([query_BhTd, torch.ones_like(query_BhTd[..., :1])], dim=-1)
        key_BhSd = torch.cat([2 * scale * key_BhSd, -scale * norm], dim=-1)
        value_BhSd, scale = F.pad(value_BhSd, (0, 1)), 1.0
        y = F.scaled_dot_product_attention(
            query_BhTd, key_BhSd, value_BhSd, attn_mask=seen_TS, scale=scale
        )
        return y[..., :-1]
    return F.scaled_dot_product_attention(
        query_BhTd, key_BhSd, value_BhSd, attn_mask=seen_TS, scale=scale
    )


def split_heads(x_BTC: Tensor, heads: int) -> Tensor:
    """Return [B, h, T, d] of tokens whose width holds the heads one after the other."""
    return x_BTC.unflatten(2, (heads, -1)).transpose(1, 2)


def join_heads(x_BhTd: Tensor) -> Tensor:
    """Return [B, T, h d]."""
    return x_BhTd.transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Tokens attend to each other, and to w.

    Args:
        width: C.
        heads, head_dim: h, d.
        w_dim: D; 0: w has no part (the discriminator).
        likeness: how tokens are compared.
        tied: queries and keys share a projection.
        style: "token": w is one more token to attend to, as in the paper; "output": it modulates
            the output projection, as in Aurora.
        mask_self: a token does not see itself.
        scale_inside: see `logit_scale`.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        head_dim: int,
        w_dim: int,
        *,
        likeness: Likeness = "squared",
        tied: bool = True,
        style: Literal["token", "output"] = "token",
        mask_self: bool = False,
        scale_inside: bool = False,
    ) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads, self.likeness, self.tied = heads, likeness, tied
        self.mask_self, self.scale = mask_self, logit_scale(likeness, head_dim, scale_inside)
        self.to_qk = TokenLinear(width, inner if tied else 2 * inner, bias=False)
        self.to_v = TokenLinear(width, inner, bias=False)
        self.token: Steering | None = None
        if w_dim and style == "token":
            self.token = Steering(w_dim, width)
        self.out: nn.Module
        if w_dim and style == "output":
            self.out = AdaptiveConv(inner, width, w_dim, kernel_size=1, leaky=False)
        else:
            self.out = TokenLinear(inner, width)

    def forward(self, x_BTC: Tensor, w_BD: Tensor | None = None) -> Tensor:
        """Return [B, T, C]."""
        tokens = x_BTC.shape[1]
        source = x_BTC
        if self.token is not None:
            assert w_BD is not None
            source = torch.cat([x_BTC, self.token(w_BD).to(x_BTC.dtype)[:, None]], dim=1)
        # Each head holds its query and its key one after the other.
        projected = split_heads(self.to_qk(source), self.heads)
        query, key = (projected, projected) if self.tied else projected.chunk(2, dim=3)
        value, seen = split_heads(self.to_v(source), self.heads), None
        if self.mask_self:
            seen = ~torch.eye(tokens, source.shape[1], dtype=torch.bool, device=x_BTC.device)
        y = attend(
            *(query[:, :, :tokens], key, value),
            likeness=self.likeness,
            scale=self.scale,
            seen_TS=seen,
            same=self.tied,
        )
        y = join_heads(y)
        if not isinstance(self.out, AdaptiveConv):
            out: Tensor = self.out(y)
            return out
        # A 1x1 convolution takes the tokens as an image of one row.
        image = self.out(y.transpose(1, 2)[:, :, None], w_BD)
        return image[:, :, 0].transpose(1, 2)


class CrossAttention(nn.Module):
    """Tokens of the image attend to the words.

    Args:
        width: C.
        context_dim: width of a word.
        heads, head_dim: h, d.
        likeness: how they are compared.
        scale_inside: see `logit_scale`.
    """

    def __init__(
        self,
        width: int,
        context_dim: int,
        heads: int,
        head_dim: int,
        *,
        likeness: Likeness = "squared",
        scale_inside: bool = False,
    ) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads, self.likeness = heads, likeness
        self.scale = logit_scale(likeness, head_dim, scale_inside)
        self.to_q = TokenLinear(width, inner, bias=False)
        self.to_kv = TokenLinear(context_dim, 2 * inner, bias=False)
        self.out = TokenLinear(inner, width)

    def forward(self, x_BTC: Tensor, words_BSE: Tensor, seen_BS: Tensor | None = None) -> Tensor:
        """Return [B, T, C]; words where `seen_BS` is False are not attended to."""
        key, value = self.to_kv(words_BSE).chunk(2, dim=2)
        query, key = split_heads(self.to_q(x_BTC), self.heads), split_heads(key, self.heads)
        seen = None if seen_BS is None else seen_BS[:, None, None, :]
        value = split_heads(value, self.heads)
        y = attend(query, key, value, likeness=self.likeness, scale=self.scale, seen_TS=seen)
        return self.out(join_heads(y))  # type: ignore[no-any-return]
