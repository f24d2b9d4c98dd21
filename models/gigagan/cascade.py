"""Base and upsampler as one generator, and an upsampler alone.

Legend: N samples, L entries of the base's w, D its width, Z width of z.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
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
    """A base and an upsampler on its images; implements `models.interfaces.Generator`.

    Its codes are the base's and one more entry, which holds z for the upsampler.

    Args:
        base: text to small images.
        upsampler: those to large ones; its z is as wide as the base's or narrower.
    """

    def __init__(self, base: GigaGANGenerator, upsampler: UpsamplerModel) -> None:
        super().__init__()
        if upsampler.z_dim > base.w_dim:
            raise ValueError(
                f"the upsampler's z has {upsampler.z_dim} numbers and the base's w {base.w_dim}: "
                "raise w_dim or lower z_dim"
            )
        self.base, self.upsampler = base, upsampler
        self.z_dim, self.w_dim = max(base.z_dim, upsampler.z_dim), base.w_dim
        self.resolution, self.num_ws = upsampler.resolution, base.num_ws + 1
        self.words = base.words or upsampler.words
        self.reader: WordReader | None = None

    @property
    def upscaler(self) -> UpsamplerModel:
        """Return what enlarges pictures."""
        return self.upsampler

    def map(self, z_NZ: Tensor, condition: Condition, truncation: float | Tensor = 1.0) -> Tensor:
        """Return ws [N, L + 1, D]; the last entry holds z, which is never truncated."""
        condition = self._worded(condition)
        ws_NLD = self.base.map(z_NZ[:, : self.base.z_dim], condition, truncation)
        z = z_NZ[:, : self.upsampler.z_dim].to(ws_NLD)
        last = F.pad(z, (0, self.w_dim - z.shape[1]))
        return torch.cat([ws_NLD, last[:, None]], dim=1)

    def synthesize(self, ws_NLD: Tensor, condition: Condition, noise: Any = "const") -> Tensor:
        """Return images [N, 3, resolution, resolution], about [-1, 1] and not clamped."""
        condition = self._worded(condition)
        small = self.base.synthesize(ws_NLD[:, :-1], condition)
        return self._enlarged(small, ws_NLD, condition)

    def synthesize_mixed(
        self, ws_NLD: Tensor, own: Condition, style: Condition, layers: Collection[int]
    ) -> Tensor:
        """Return images whose `layers` read the words of `style`; the last layer is the upsampler.

        See `models.interfaces.Generator`.
        """
        own, style = self._worded(own), self._worded(style)
        small = self.base.synthesize_mixed(ws_NLD[:, :-1], own, style, layers)
        last = style if self.num_ws - 1 in layers else own
        return self._enlarged(small, ws_NLD, last)

    def _enlarged(self, small_N3HW: Tensor, ws_NLD: Tensor, condition: Condition) -> Tensor:
        z_NZ = ws_NLD[:, -1, : self.upsampler.z_dim]
        return self.upsampler.upscale(small_N3HW, z_NZ, condition)

    def _worded(self, condition: Condition) -> Condition:
        return condition if self.reader is None else self.reader(condition)
