"""The blocks of generator, upsampler and discriminator: convolutions, attention, their residuals.

Kang et al. 2023, equation 5: f -> attention to words (self-attention (adaptive convolution f)).

Legend: B samples, C channels, H W pixels, D width of w.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from models.gigagan.adaptive_conv import AdaptiveConv
from models.gigagan.attention import CrossAttention, Likeness, SelfAttention, TokenLinear
from models.gigagan.feed_forward import Experts, Kind, feed_forward
from models.gigagan.text_head import Text
from models.layers.resampling import upsample_rgb

Gain = Literal["branch", "sum"]
"""What a residual gain multiplies: the branch (x + gain f(x)), or all, as in Aurora."""


def join(skip: Tensor, branch: Tensor, gain: float, on: Gain) -> Tensor:
    """Return skip + gain branch, or gain (skip + branch)."""
    branch = branch.to(skip.dtype)
    return skip + gain * branch if on == "branch" else (skip + branch) * gain


class PlainConv(nn.Module):
    """A convolution with an equalised learning rate, size kept.

    Args:
        in_channels, out_channels: widths.
        kernel_size: odd.
        bias: whether there is one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        size = (out_channels, in_channels, kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.randn(size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.gain, self.padding = 1 / math.sqrt(in_channels * kernel_size**2), kernel_size // 2

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return [B, out_channels, H, W]."""
        weight = self.weight * self.gain
        return nn.functional.conv2d(x_BCHW, weight, self.bias, padding=self.padding)


@dataclass(frozen=True, kw_only=True)
class AttentionStyle:
    """How attention is done, the same in all blocks of a network.

    Attributes:
        heads, head_dim: of every attention.
        norm_groups: groups of the group norm in front; must divide every width.
        likeness, tied, style, mask_self: see `SelfAttention`.
        gain, gain_on: of the residual.
        feed_forward: see `feed_forward`.
    """

    heads: int = 8
    head_dim: int = 64
    norm_groups: int = 32
    likeness: Likeness = "squared"
    tied: bool = True
    style: Literal["token", "output"] = "token"
    mask_self: bool = False
    scale_inside: bool = False
    gain: float = 0.3
    gain_on: Gain = "branch"
    feed_forward: Kind = "gated"
    mlp_ratio: int = 4


class AttentionLayer(nn.Module):
    """Self-attention, attention to words if there are any, two layers; each with a norm before it
    and a residual beside it.

    Args:
        width: C.
        w_dim: D; 0 without a style.
        word_dim: width of a word; 0: no attention to words.
        style: see `AttentionStyle`.
        experts: see `feed_forward`.
    """

    def __init__(
        self, width: int, w_dim: int, word_dim: int, style: AttentionStyle, experts: int = 0
    ) -> None:
        super().__init__()
        self.norm1, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width)
        common = {"likeness": style.likeness, "scale_inside": style.scale_inside}
        self.self_attention = SelfAttention(
            *(width, style.heads, style.head_dim, w_dim),
            tied=style.tied,
            style=style.style,
            mask_self=style.mask_self,
            **common,  # type: ignore[arg-type]
        )
        self.norm2: nn.LayerNorm | None = None
        self.cross_attention: CrossAttention | None = None
        if word_dim:
            self.norm2 = nn.LayerNorm(width)
            self.cross_attention = CrossAttention(
                *(width, word_dim, style.heads, style.head_dim),
                **common,  # type: ignore[arg-type]
            )
        self.feed_forward = feed_forward(
            width, w_dim, experts=experts, kind=style.feed_forward, ratio=style.mlp_ratio
        )

    def forward(self, x_BTC: Tensor, w_BD: Tensor | None, text: Text) -> Tensor:
        """Return [B, T, C]."""
        x_BTC = x_BTC + self.self_attention(self.norm1(x_BTC), w_BD)
        if self.norm2 is not None and self.cross_attention is not None:
            assert text.words_BTC is not None
            x_BTC = x_BTC + self.cross_attention(self.norm2(x_BTC), text.words_BTC, text.seen_BT)
        y = self.norm3(x_BTC)
        if isinstance(self.feed_forward, Experts):
            assert w_BD is not None
            return x_BTC + self.feed_forward(y, w_BD)
        return x_BTC + self.feed_forward(y)  # type: ignore[no-any-return]


class AttentionBlock(nn.Module):
    """Layers of attention on an image, from and back to its own width, beside a residual.

    Args:
        channels: C.
        w_dim: D; 0 without a style.
        word_dim: width of a word; 0: no attention to words.
        depth: number of layers.
        style: see `AttentionStyle`.
        experts: see `feed_forward`.
    """

    def __init__(
        self,
        channels: int,
        w_dim: int,
        word_dim: int,
        depth: int,
        style: AttentionStyle,
        experts: int = 0,
    ) -> None:
        super().__init__()
        inner = style.heads * style.head_dim
        if channels % style.norm_groups:
            raise ValueError(
                f"{channels} channels do not split into {style.norm_groups} groups: change "
                "channel_base, channel_max or norm_groups"
            )
        self.gain, self.gain_on = style.gain, style.gain_on
        self.norm = nn.GroupNorm(style.norm_groups, channels)
        self.enter = TokenLinear(channels, inner, bias=False)
        self.layers = nn.ModuleList(
            AttentionLayer(inner, w_dim, word_dim, style, experts) for _ in range(depth)
        )
        self.leave = TokenLinear(inner, channels, bias=False)

    def forward(self, x_BCHW: Tensor, w_BD: Tensor | None, text: Text) -> Tensor:
        """Return [B, C, H, W]."""
        size = x_BCHW.shape[2:]
        tokens = self.enter(self.norm(x_BCHW).flatten(2).transpose(1, 2))
        for layer in self.layers:
            tokens = layer(tokens, w_BD, text)
        y = self.leave(tokens).transpose(1, 2).unflatten(2, size)
        return join(x_BCHW, y, self.gain, self.gain_on)


class ConvBlock(nn.Module):
    """Two adaptive convolutions beside a skip; the first may double the resolution.

    Args:
        in_channels, out_channels: widths.
        w_dim: D.
        num_kernels: of both convolutions.
        up: double the resolution.
        gain, gain_on: of the residual.
        deformable: of the second convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        *,
        num_kernels: int,
        up: bool = False,
        gain: float = 0.4,
        gain_on: Gain = "branch",
        deformable: bool = False,
    ) -> None:
        super().__init__()
        self.up, self.gain, self.gain_on = up, gain, gain_on
        self.conv1 = AdaptiveConv(in_channels, out_channels, w_dim, num_kernels=num_kernels, up=up)
        self.conv2 = AdaptiveConv(
            *(out_channels, out_channels, w_dim), num_kernels=num_kernels, deformable=deformable
        )
        self.skip: PlainConv | None = None
        if up or in_channels != out_channels:
            self.skip = PlainConv(in_channels, out_channels, bias=False)

    def forward(self, x_BCHW: Tensor, w_BD: Tensor) -> Tensor:
        """Return features, of twice the size if `up`."""
        skip = x_BCHW if self.skip is None else self.skip(x_BCHW)
        if self.up:
            skip = upsample_rgb(skip)
        branch = self.conv2(self.conv1(x_BCHW, w_BD), w_BD)
        return join(skip, branch, self.gain, self.gain_on)
