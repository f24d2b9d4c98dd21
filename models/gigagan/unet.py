"""The upsampler: a U-Net whose convolutions are chosen and modulated by w (Kang et al. 2023, 3.4).

Its layers are those of AuraSR, the open model of this kind, whose published weights it reads: no
norm in the convolution blocks, one linear map from w to all modulations, attention at the coarsest
sizes alone. Ours, all off for AuraSR: w also follows from the text, attention reads the words, and
every size above the input's has an image, a sum that starts from the input.

Legend: B samples, C channels, H W pixels, D width of w, Z width of z, T tokens.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.gigagan.text_head import Text
from models.gigagan.unet_blocks import Modulations, PixelAttention, ResidualBlock, StyleNetwork


class Stage(nn.Module):
    """Blocks of one size, and what changes the size: before them on the way up, after them down.

    Args:
        in_channels, out_channels: widths at the stage's two ends.
        up: on the way up.
        joins: each block also takes a skip of the way down.
        blocks, num_kernels: how many, and of their banks.
        attention: layers of attention after the blocks.
        rgb: whether there is an image of this size.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        up: bool,
        joins: bool = False,
        blocks: int,
        num_kernels: int,
        attention: list[PixelAttention],
        rgb: bool = False,
    ) -> None:
        super().__init__()
        self.joins = joins
        width = out_channels if up else in_channels
        self.resize = nn.Conv2d(in_channels, out_channels, 3, padding=1, stride=1 if up else 2)
        self.blocks = nn.ModuleList(
            ResidualBlock(width * (2 if joins else 1), width, num_kernels) for _ in range(blocks)
        )
        self.attention = nn.ModuleList(attention)
        self.to_rgb: nn.Conv2d | None = None
        if rgb:
            self.to_rgb = faint_rgb(width)


class Upsampler(nn.Module):
    """Small images -> large ones.

    Args:
        z_dim, text_dim, word_dim: widths; 0 = no text, no words.
        style_dim, style_layers: D and depth of the perceptron.
        dim: channels of the largest size.
        up_mults: channels in units of `dim`, from the largest size to the coarsest but one.
        num_downs: halvings of the input before the coarsest size.
        depths: layers of attention, ordered as `up_mults`.
        down_depths: the same on the way down, from the input's size; () = none.
        middle_depth: at the coarsest size.
        num_kernels: of all banks.
        heads, head_dim: of all attention.
        blocks: of a stage.
        skip_scale: of the features that the way up takes from the way down.
        pyramid: an image at every size above the input's, summed; False: only the last.
    """

    def __init__(
        self,
        *,
        z_dim: int,
        text_dim: int = 0,
        word_dim: int = 0,
        style_dim: int,
        style_layers: int,
        dim: int,
        up_mults: tuple[int, ...],
        down_mults: tuple[int, ...],
        depths: tuple[int, ...],
        down_depths: tuple[int, ...] = (),
        middle_depth: int,
        num_kernels: int,
        heads: int = 8,
        head_dim: int = 64,
        blocks: int = 6,
        skip_scale: float = 0.4,
        pyramid: bool = True,
    ) -> None:
        super().__init__()
        _check_lengths(up_mults, down_mults, depths)
        self.z_dim, self.factor = z_dim, 2 ** (len(up_mults) - len(down_mults))
        self.skip_scale, self.pyramid, self.kernels = skip_scale, pyramid, num_kernels

        def attention(width: int, depth: int) -> list[PixelAttention]:
            return [PixelAttention(width, word_dim, heads, head_dim) for _ in range(depth)]

        common: dict[str, Any] = {"blocks": blocks, "num_kernels": num_kernels}
        widths = [dim, *[dim * m for m in up_mults]]
        first = widths[len(up_mults) - len(down_mults)]
        self.style = StyleNetwork(z_dim, text_dim, style_dim, style_layers)
        self.enter = nn.Conv2d(3, first, 7, padding=3)
        downs = [first, *[dim * m for m in down_mults]]
        ways = zip(pairwise(downs), [*down_depths, *[0] * len(downs)], strict=False)
        self.downs: Any = nn.ModuleList(
            Stage(a, b, up=False, attention=attention(a, n), **common) for (a, b), n in ways
        )
        self.middle1 = ResidualBlock(downs[-1], downs[-1], num_kernels)
        self.middle = nn.ModuleList(attention(downs[-1], middle_depth))
        self.middle2 = ResidualBlock(downs[-1], downs[-1], num_kernels)
        self.ups: Any = nn.ModuleList()
        for number in reversed(range(len(up_mults))):
            low = len(up_mults) - 1 - number < len(down_mults)
            self.ups.append(
                Stage(
                    *(widths[number + 1], widths[number]),
                    up=True,
                    joins=low,
                    attention=attention(widths[number], depths[number]),
                    rgb=pyramid and not low and number > 0,
                    **common,
                )
            )
        self.last = ResidualBlock(dim, dim, num_kernels)
        self.to_rgb = faint_rgb(dim) if pyramid else nn.Conv2d(dim, 3, 1)
        sizes = [(w, b.num_kernels) for b in self._blocks() for w in b.widths]
        self.splits = [part for w, n in sizes for part in ((w, n) if n > 1 else (w,))]
        self.modulate = nn.Linear(style_dim, sum(self.splits))

    def _blocks(self) -> list[ResidualBlock]:
        """Return the convolution blocks in the order in which they run."""
        found: list[ResidualBlock] = []
        for part in (self.downs, self.middle1, self.middle2, self.ups, self.last):
            found += [b for b in part.modules() if isinstance(b, ResidualBlock)]
        return found

    def forward(self, image_B3HW: Tensor, z_BZ: Tensor, text: Text | None = None) -> list[Tensor]:
        """Return the images from the largest down, float32; one alone without `pyramid`.

        Args:
            image_B3HW: sides that halve `downs` times without a rest.
            z_BZ: standard normal.
            text: what it shows; None without text.
        """
        text = text or Text()
        w_BD = self.style(z_BZ, text.pooled_BC)
        modulations = self._modulations(w_BD)
        x, skips = self.enter(image_B3HW), []
        for stage in self.downs:
            for block in stage.blocks:
                x = block(x, modulations)
                skips.append(x)
            x = stage.resize(self._attend(x, stage.attention, text))
        x = self.middle1(x, modulations)
        x = self._attend(x, self.middle, text)
        x = self.middle2(x, modulations)
        images, image = [], image_B3HW
        for stage in self.ups:
            x = stage.resize(F.interpolate(x, scale_factor=2, mode="nearest"))
            for block in stage.blocks:
                if stage.joins:
                    x = torch.cat([x, skips.pop() * self.skip_scale], dim=1)
                x = block(x, modulations)
            x = self._attend(x, stage.attention, text)
            if stage.to_rgb is not None:
                image = enlarge(image) + stage.to_rgb(x).float()
                images.append(image)
        own = self.to_rgb(self.last(x, modulations)).float()
        images.append(enlarge(image) + own if self.pyramid else own)
        return images[::-1]

    def _modulations(self, w_BD: Tensor) -> Modulations:
        """Yield each convolution's scales, less one, and kernel logits."""
        parts = iter(self.modulate(w_BD).split(self.splits, dim=1))
        for scale in parts:
            yield scale, next(parts) if self.kernels > 1 else None

    def _attend(self, x_BCHW: Tensor, layers: nn.ModuleList, text: Text) -> Tensor:
        if not layers:
            return x_BCHW
        tokens = x_BCHW.flatten(2).transpose(1, 2)
        for layer in layers:
            tokens = layer(tokens, text)
        return tokens.transpose(1, 2).unflatten(2, x_BCHW.shape[2:])


def _check_lengths(
    up_mults: tuple[int, ...], down_mults: tuple[int, ...], depths: tuple[int, ...]
) -> None:
    if not len(up_mults) == len(depths) > len(down_mults) > 0:
        raise ValueError(
            f"{len(up_mults)} widths on the way up, {len(down_mults)} down and {len(depths)} "
            "depths of attention: as many depths as widths up, and fewer widths down"
        )


def faint_rgb(channels: int) -> nn.Conv2d:
    """Return a layer whose images are faint at the start, so that training begins at the input."""
    layer = nn.Conv2d(channels, 3, 1)
    with torch.no_grad():
        layer.weight.mul_(0.01)
        layer.bias.zero_()  # type: ignore[union-attr]
    return layer


def enlarge(image_B3HW: Tensor) -> Tensor:
    """Return the image at twice its size, bicubic."""
    return F.interpolate(image_B3HW, scale_factor=2, mode="bicubic", align_corners=False)
