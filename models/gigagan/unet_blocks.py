"""The parts of the upsampler's U-Net: its mapping, its convolution blocks, its attention.

Legend: B samples, C channels, H W pixels, D width of w, Z width of z, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.gigagan.adaptive_conv import adaptive_convolution
from models.gigagan.attention import join_heads, split_heads
from models.gigagan.text_head import Text
from models.layers.equalized import LEAK, normalize_second_moment

Modulations = Iterator[tuple[Tensor, Tensor | None]]


class StyleNetwork(nn.Module):
    """z, and a text if there is one, -> w: a perceptron whose weights count by `lr_multiplier`.

    Args:
        z_dim: Z.
        text_dim: width of the text; 0 without.
        width: D.
        depth: number of layers.
        lr_multiplier: of weights and biases, without a factor for the number of inputs.
    """

    def __init__(
        self, z_dim: int, text_dim: int, width: int, depth: int, lr_multiplier: float = 0.1
    ) -> None:
        super().__init__()
        self.lr_multiplier = lr_multiplier
        inputs = [z_dim + text_dim, *[width] * (depth - 1)]
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(width, i)) for i in inputs)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(width)) for _ in inputs)

    def forward(self, z_BZ: Tensor, pooled_BC: Tensor | None = None) -> Tensor:
        """Return w [B, D]; z counts by its direction alone."""
        x = F.normalize(z_BZ.float(), dim=1)
        if pooled_BC is not None:
            text = normalize_second_moment(pooled_BC.float())
            x = torch.cat([x, text * text.shape[1] ** -0.5], dim=1)
        rate = self.lr_multiplier
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = F.leaky_relu(F.linear(x, weight * rate, bias * rate), LEAK)
        return x


class ResidualBlock(nn.Module):
    """Two adaptive convolutions, each with a SiLU, beside a skip.

    Args:
        in_channels, out_channels: widths.
        num_kernels: of both banks.
    """

    def __init__(self, in_channels: int, out_channels: int, num_kernels: int) -> None:
        super().__init__()
        self.num_kernels = num_kernels
        self.widths = (in_channels, out_channels)
        self.bank1, self.bank2 = (
            nn.Parameter(torch.randn(num_kernels * out_channels, i, 3, 3) * (9 * i) ** -0.5)
            for i in self.widths
        )
        self.skip: nn.Conv2d | None = None
        if in_channels != out_channels:
            self.skip = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x_BCHW: Tensor, modulations: Modulations) -> Tensor:
        """Return [B, out_channels, H, W]; takes two of the modulations."""
        skip = x_BCHW if self.skip is None else self.skip(x_BCHW)
        for bank in (self.bank1, self.bank2):
            scale, logits = next(modulations)
            share = None if logits is None else logits.softmax(dim=1)
            kernels = bank.unflatten(0, (self.num_kernels, -1))
            x_BCHW = F.silu(adaptive_convolution(x_BCHW, kernels, scale + 1, share))
        return x_BCHW + skip


class ChannelNorm(nn.Module):
    """Each pixel's channels to unit mean square, times a learned gain."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Map tokens."""
        return F.normalize(x_BTC, dim=2) * (self.gain * x_BTC.shape[2] ** 0.5)


class PixelAttention(nn.Module):
    """Pixels attend to each other, to the words if there are any, and pass two layers.

    Args:
        channels: C.
        word_dim: width of a word; 0 without.
        heads, head_dim: of the attention.
        mlp_ratio: of the two layers.
    """

    def __init__(
        self, channels: int, word_dim: int, heads: int, head_dim: int, mlp_ratio: int = 4
    ) -> None:
        super().__init__()
        inner, self.heads = heads * head_dim, heads
        self.norm, self.norm_mlp = ChannelNorm(channels), ChannelNorm(channels)
        self.to_qkv = nn.Linear(channels, 3 * inner, bias=False)
        self.out = nn.Linear(inner, channels)
        self.expand = nn.Linear(channels, mlp_ratio * channels)
        self.contract = nn.Linear(mlp_ratio * channels, channels)
        self.norm_words: ChannelNorm | None = None
        if word_dim:
            self.norm_words = ChannelNorm(channels)
            self.to_q = nn.Linear(channels, inner, bias=False)
            self.to_kv = nn.Linear(word_dim, 2 * inner, bias=False)
            self.out_words = nn.Linear(inner, channels)

    def forward(self, x_BTC: Tensor, text: Text) -> Tensor:
        """Map tokens."""
        parts = self.to_qkv(self.norm(x_BTC)).chunk(3, dim=2)
        query, key, value = (split_heads(p, self.heads) for p in parts)
        read = F.scaled_dot_product_attention(query, key, value)
        x_BTC = x_BTC + self.out(join_heads(read))
        if self.norm_words is not None:
            x_BTC = x_BTC + self._read_words(self.norm_words(x_BTC), text)
        return x_BTC + self.contract(F.gelu(self.expand(self.norm_mlp(x_BTC))))  # type: ignore[no-any-return]

    def _read_words(self, x_BTC: Tensor, text: Text) -> Tensor:
        assert text.words_BTC is not None
        key, value = self.to_kv(text.words_BTC).chunk(2, dim=2)
        seen = None if text.seen_BT is None else text.seen_BT[:, None, None]
        parts = (self.to_q(x_BTC), key, value)
        query, key, value = (split_heads(p, self.heads) for p in parts)
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return self.out_words(join_heads(read))  # type: ignore[no-any-return]
