"""Base and upsamplers as one generator, and an upsampler alone.

Legend: N samples, L entries of the base's w, D its width, Z width of z.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.features.word_reader import WordReader
from models.gigagan.generator import GigaGANGenerator
from models.gigagan.text_head import Text, TextReader
from models.gigagan.tiles import upscale_strips
from models.gigagan.unet import Upsampler
from models.interfaces import Blend, Condition


class UpsamplerModel(nn.Module):
    """An upsampler with what it reads of a text; images in [-1, 1].

    Args:
        network: the U-Net.
        text: condition -> text; one of no text for AuraSR.
        unit_range: the network takes and gives images in [0, 1].

    As a Generator it enlarges the picture of its condition; its one code is z.

    Attributes:
        tile_px, factor: side of its input, and how often larger its output is.
        shrinks: the factor, for it draws nothing by itself.
        takes_condition: it is told what the image shows.
        words: see `GigaGANGenerator`.
    """

    def __init__(
        self, network: Upsampler, text: TextReader, *, tile_px: int, unit_range: bool, words: str
    ) -> None:
        super().__init__()
        self.network, self.text = network, text
        self.tile_px, self.factor, self.unit_range = tile_px, network.factor, unit_range
        self.z_dim, self.resolution = network.z_dim, tile_px * network.factor
        self.shrinks, self.num_ws, self.w_dim = self.factor, 1, self.z_dim
        self.takes_condition = text.dim > 0
        self.words = words if text.head is not None else ""
        self.reader: WordReader | None = None

    @property
    def upscaler(self) -> UpsamplerModel:
        """Return what enlarges pictures: itself."""
        return self

    def map(self, z_NZ: Tensor, condition: Condition, truncation: float | Tensor = 1.0) -> Tensor:
        """Return z as ws [N, 1, Z]; it is never truncated."""
        return z_NZ[:, None]

    def synthesize(self, ws_NLD: Tensor, condition: Condition, noise: Any = "const") -> Tensor:
        """Return the condition's pictures `factor` times as large, about [-1, 1], not clamped."""
        if condition.picture_NCHW is None:
            raise ValueError("an upsampler alone enlarges pictures, and the condition has none")
        return self.upscale(condition.picture_NCHW.to(ws_NLD), ws_NLD[:, 0], condition)

    def pyramid(self, image_N3HW: Tensor, z_NZ: Tensor, text: Text) -> list[Tensor]:
        """Return the images above the input's size, from the largest down."""
        if not self.unit_range:
            return self.network(image_N3HW, z_NZ, text)  # type: ignore[no-any-return]
        small = (image_N3HW / 2 + 0.5).clamp(0, 1)
        return [image * 2 - 1 for image in self.network(small, z_NZ, text)]

    def upscale(self, image_N3HW: Tensor, z_NZ: Tensor, condition: Condition) -> Tensor:
        """Return images `factor` times as large, about [-1, 1] and not clamped."""
        return self.pyramid(image_N3HW, z_NZ, self._read(condition))[0]

    def strips(
        self,
        image_3HW: Tensor,
        z_1Z: Tensor,
        condition: Condition,
        *,
        blend: Blend = "smooth",
        batch: int = 4,
    ) -> Iterator[Tensor]:
        """Yield a picture of any size enlarged, as strips [3, h, f W] in [-1, 1] from the top.

        Args:
            image_3HW: uint8.
            z_1Z: one for all tiles, so that they fit together.
            condition: of one sample.
            blend, batch: see `upscale_strips`.
        """
        text = self._read(condition)

        def enlarge(tiles: Tensor) -> Tensor:
            rows = [0] * len(tiles)
            images = self.pyramid(tiles.float() / 127.5 - 1, z_1Z[rows], text[rows])
            return images[0].clamp(-1, 1)

        sizes = {"side": self.tile_px, "factor": self.factor}
        return upscale_strips(image_3HW, enlarge, **sizes, blend=blend, batch=batch)

    def _read(self, condition: Condition) -> Text:
        read = condition if self.reader is None else self.reader(condition)
        text: Text = self.text(read)
        return text


class Cascade(nn.Module):
    """A base and upsamplers on its images; implements `models.interfaces.Generator`.

    Its codes are the base's and one more entry for each upsampler, which holds its z.

    Args:
        base: text to small images.
        upsamplers: one or more; each takes the images of the one before. No z is wider than the
            base's w.

    Raises:
        ValueError: a z is wider than w, or one makes other sizes than the next takes.
    """

    def __init__(self, base: GigaGANGenerator, *upsamplers: UpsamplerModel) -> None:
        super().__init__()
        side = base.resolution
        for one in upsamplers:
            if one.z_dim > base.w_dim:
                raise ValueError(
                    f"the upsampler's z has {one.z_dim} numbers and the base's w {base.w_dim}: "
                    "raise w_dim or lower z_dim"
                )
            if one.tile_px != side:
                raise ValueError(
                    f"an upsampler takes {one.tile_px} px and is given {side} px: give one that "
                    f"takes {side} px"
                )
            side = one.resolution
        self.base, self.upsampler = base, upsamplers[0]
        self.further = nn.ModuleList(upsamplers[1:])
        self.z_dim, self.w_dim = max(base.z_dim, *(u.z_dim for u in upsamplers)), base.w_dim
        self.resolution, self.num_ws = side, base.num_ws + len(upsamplers)
        self.words = next((part.words for part in (base, *upsamplers) if part.words), "")
        self.reader: WordReader | None = None

    @property
    def upsamplers(self) -> list[UpsamplerModel]:
        """Return all upsamplers, the first first."""
        return [self.upsampler, *self.further]  # type: ignore[list-item]

    @property
    def upscaler(self) -> UpsamplerModel:
        """Return what enlarges pictures: the last, which has learnt the largest ones."""
        return self.upsamplers[-1]

    def map(self, z_NZ: Tensor, condition: Condition, truncation: float | Tensor = 1.0) -> Tensor:
        """Return ws [N, L + 1, D] (L + 2 with two upsamplers, and so on).

        The last entries hold the upsamplers' z, which is never truncated.
        """
        condition = self._worded(condition)
        ws_NLD = self.base.map(z_NZ[:, : self.base.z_dim], condition, truncation)
        noises = [z_NZ[:, : one.z_dim].to(ws_NLD) for one in self.upsamplers]
        last = [F.pad(z, (0, self.w_dim - z.shape[1]))[:, None] for z in noises]
        return torch.cat([ws_NLD, *last], dim=1)

    def synthesize(self, ws_NLD: Tensor, condition: Condition, noise: Any = "const") -> Tensor:
        """Return images [N, 3, resolution, resolution], about [-1, 1] and not clamped."""
        condition = self._worded(condition)
        small = self.base.synthesize(ws_NLD[:, : self.base.num_ws], condition)
        return self._enlarged(small, ws_NLD, [condition] * len(self.upsamplers))

    def synthesize_mixed(
        self, ws_NLD: Tensor, own: Condition, style: Condition, layers: Collection[int]
    ) -> Tensor:
        """Return images whose `layers` read the words of `style`; the last are the upsamplers.

        See `models.interfaces.Generator`.
        """
        own, style = self._worded(own), self._worded(style)
        first = self.base.num_ws
        small = self.base.synthesize_mixed(ws_NLD[:, :first], own, style, layers)
        told = [style if layer in layers else own for layer in range(first, self.num_ws)]
        return self._enlarged(small, ws_NLD, told)

    def _enlarged(self, image_N3HW: Tensor, ws_NLD: Tensor, told: Sequence[Condition]) -> Tensor:
        """Return images that have gone through each upsampler, told its own condition."""
        codes = ws_NLD[:, self.base.num_ws :].unbind(dim=1)
        for one, code_ND, condition in zip(self.upsamplers, codes, told, strict=True):
            image_N3HW = one.upscale(image_N3HW, code_ND[:, : one.z_dim], condition)
        return image_N3HW

    def _worded(self, condition: Condition) -> Condition:
        return condition if self.reader is None else self.reader(condition)
