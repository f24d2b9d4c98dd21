"""The discriminator: images enter at every size, and are judged at every size after.

Kang et al. 2023, section 3.3 (multi-scale input, multi-scale output): L sizes give L (L + 1) / 2
outputs. The trunk runs once: what enters late joins what came from above along the batch.

Legend: N samples, L sizes, K outputs, S streams at a level, C channels, H W pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.gigagan.adaptive_conv import AdaptiveConv
from models.gigagan.blocks import AttentionBlock, AttentionStyle, PlainConv
from models.gigagan.synthesis import FIRST_RESOLUTION, resolutions, table
from models.gigagan.text_head import Text, TextReader
from models.interfaces import Condition
from models.layers.equalized import LEAK


def leaky(x: Tensor) -> Tensor:
    """Return leaky ReLU times sqrt(2)."""
    return F.leaky_relu(x, LEAK) * 2**0.5


class PlainBlock(nn.Module):
    """Two 3x3 convolutions beside a skip, and half the size if `down`.

    Args:
        in_channels, out_channels: widths.
        down: halve the resolution at the end.
        gain: of the residual.
    """

    def __init__(self, in_channels: int, out_channels: int, *, down: bool, gain: float) -> None:
        super().__init__()
        self.down, self.gain = down, gain
        self.conv1 = PlainConv(in_channels, in_channels, 3)
        self.conv2 = PlainConv(in_channels, out_channels, 3)
        self.skip: PlainConv | None = None
        if in_channels != out_channels:
            self.skip = PlainConv(in_channels, out_channels, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return features, of half the size if `down`."""
        branch = leaky(self.conv2(leaky(self.conv1(x_BCHW))))
        if self.down:
            x_BCHW, branch = F.avg_pool2d(x_BCHW, 2), F.avg_pool2d(branch, 2)
        skip = x_BCHW if self.skip is None else self.skip(x_BCHW)
        return skip + self.gain * branch


class Level(nn.Module):
    """One size: where images of it enter, blocks, and the way to the next size."""

    def __init__(
        self,
        size: int,
        width: int,
        out: int,
        *,
        enters: bool,
        blocks: int,
        depth: int,
        attention: AttentionStyle,
        gain: float,
    ) -> None:
        super().__init__()
        self.from_rgb = PlainConv(3, width) if enters else None
        self.blocks = nn.ModuleList(
            PlainBlock(width, width, down=False, gain=gain) for _ in range(blocks - 1)
        )
        self.attention: AttentionBlock | None = None
        if depth:
            self.attention = AttentionBlock(width, 0, 0, depth, attention)
        self.last = size == FIRST_RESOLUTION
        self.leave: nn.Module
        if self.last:
            self.leave = PlainBlock(width, width, down=False, gain=gain)
            self.flatten = PlainConv(width * size * size, out)
        else:
            self.leave = PlainBlock(width, out, down=True, gain=gain)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return features of half the size; of one pixel after the last size."""
        for block in self.blocks:
            x_BCHW = block(x_BCHW)
        if self.attention is not None:
            x_BCHW = self.attention(x_BCHW, None, Text())
        x_BCHW = self.leave(x_BCHW)
        if not self.last:
            return x_BCHW
        return leaky(self.flatten(x_BCHW.flatten(1)[:, :, None, None]))


class Judge(nn.Module):
    """Features of one level -> logits: with a text, and without.

    Args:
        width: C.
        text_dim: width of the text's vector; 0: the unconditional part alone.
        layers: of the conditional part.
    """

    def __init__(self, width: int, text_dim: int, layers: int) -> None:
        super().__init__()
        self.plain = PlainConv(width, 1)
        self.asked = nn.ModuleList()
        if text_dim:
            inner = [AdaptiveConv(width, width, text_dim, kernel_size=1) for _ in range(layers - 1)]
            end = AdaptiveConv(width, 1, text_dim, kernel_size=1, demodulate=False, leaky=False)
            self.asked = nn.ModuleList([*inner, end])

    def forward(self, x_BCHW: Tensor, pooled_BC: Tensor | None) -> Tensor:
        """Return [B], the mean over the positions."""
        logits = self.plain(x_BCHW)
        if pooled_BC is not None and self.asked:
            for layer in self.asked:
                x_BCHW = layer(x_BCHW, pooled_BC)
            logits = logits + x_BCHW
        return logits.float().mean(dim=(1, 2, 3))


class GigaGANDiscriminator(nn.Module):
    """The text head, the trunk, and a judge after each level.

    Args:
        resolution: of the largest images, in pixels.
        text: condition -> text.
        channel_base, channel_max: a level at r px is min(channel_base // r, channel_max) wide.
        blocks, depths: of convolution and of attention, from 4 px up; the last value goes on.
        attention: how.
        gain: of the convolution blocks' residuals.
        judge_layers: of each output's conditional part.
        entries: sizes at which images enter, from the largest; 0 = all.

    Attributes:
        pairs: (i, j) of each output, as in equation 6: entered at size i, left after level j, both
            counted from the largest, j from 1.
    """

    def __init__(
        self,
        *,
        resolution: int,
        text: TextReader,
        channel_base: int,
        channel_max: int,
        blocks: tuple[int, ...],
        depths: tuple[int, ...],
        attention: AttentionStyle,
        gain: float,
        judge_layers: int = 4,
        entries: int = 0,
    ) -> None:
        super().__init__()
        self.text = text
        sizes = resolutions(resolution)[::-1]
        widths = [min(channel_base // r, channel_max) for r in sizes]
        counts, attended = table(resolution, blocks), table(resolution, depths)
        ends = [*widths[1:], widths[-1]]
        self.levels: Any = nn.ModuleList(
            Level(
                *(size, width, out),
                enters=number < (entries or len(sizes)),
                blocks=counts[size],
                depth=attended[size],
                attention=attention,
                gain=gain,
            )
            for number, (size, width, out) in enumerate(zip(sizes, widths, ends, strict=True))
        )
        self.judges = nn.ModuleList(Judge(out, text.dim, judge_layers) for out in ends)
        self.entries = entries or len(sizes)
        self.pairs = [(i, j + 1) for j in range(len(sizes)) for i in range(self._streams(j))]

    def _streams(self, level: int) -> int:
        """Return how many images of a sample leave a level."""
        return min(level + 1, self.entries)

    def read(self, condition: Condition) -> Text:
        """Return what its text head makes of a condition."""
        text: Text = self.text(condition)
        return text

    def features(self, pyramid: list[Tensor]) -> list[Tensor]:
        """Return each level's features [S N, C, H, W], where level j has the streams 0 to j.

        Args:
            pyramid: images of every size that enters, from the largest down.
        """
        found: list[Tensor] = []
        for number, level in enumerate(self.levels):
            x = found[-1:]
            if number < self.entries:
                x = [*x, leaky(level.from_rgb(pyramid[number]))]
            found.append(level(torch.cat(x)))
        return found

    def judge(self, features: list[Tensor], text: Text) -> Tensor:
        """Return the logits [N, K] in the order of `pairs`."""
        pooled = text.pooled_BC
        columns = []
        for number, (judge, x) in enumerate(zip(self.judges, features, strict=True)):
            streams = self._streams(number)
            asked = None if pooled is None else pooled.repeat(streams, 1)
            columns.append(judge(x, asked).view(streams, -1).t())
        return torch.cat(columns, dim=1)


def pyramid(image_N3HW: Tensor, sizes: list[int]) -> list[Tensor]:
    """Return the image and its averages of the smaller sizes, from the largest down."""
    side = image_N3HW.shape[-1]
    return [image_N3HW if r == side else F.avg_pool2d(image_N3HW, side // r) for r in sizes]
