"""Base and upsampler as one generator, and an upsampler alone.

Legend: N samples, L entries of the base's w, D its width, Z width of z.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.features.word_reader import WordReader
from models.gigagan.generator import GigaGANGenerator
from models.gigagan.text_head import Text, TextReader
from models.gigagan.unet import Upsampler
from models.interfaces import Condition


class UpsamplerModel(nn.Module):
    """An upsampler with what it reads of a text; images in [-1, 1].

    Args:
        network: the U-Net.
        text: condition -> text; one of no text for AuraSR.
        unit_range: the network takes and gives images in [0, 1].

    Attributes:
        tile_px, factor: side of its input, and how often larger its output is.
        words: see `GigaGANGenerator`.
    """

    def __init__(
        self, network: Upsampler, text: TextReader, *, tile_px: int, unit_range: bool, words: str
    ) -> None:
        super().__init__()
        self.network, self.text = network, text
        self.tile_px, self.factor, self.unit_range = tile_px, network.factor, unit_range
        self.z_dim, self.resolution = network.z_dim, tile_px * network.factor
        self.words = words if text.head is not None else ""
        self.reader: WordReader | None = None

    @property
    def upscaler(self) -> UpsamplerModel:
        """Return what enlarges pictures: itself."""
        return self

    def pyramid(self, image_N3HW: Tensor, z_NZ: Tensor, text: Text) -> list[Tensor]:
        """Return the images above the input's size, from the largest down."""
        if not self.unit_range:
            return self.network(image_N3HW, z_NZ, text)  # type: ignore[no-any-return]
        small = (image_N3HW / 2 + 0.5).clamp(0, 1)
        return [image * 2 - 1 for image in self.network(small, z_NZ, text)]

    def upscale(self, image_N3HW: Tensor, z_NZ: Tensor, condition: Condition) -> Tensor:
        """Return images `factor` times as large, about [-1, 1] and not clamped."""
        read = condition if self.reader is None else self.reader(condition)
        return self.pyramid(image_N3HW, z_NZ, self.text(read))[0]


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
        z_NZ = ws_NLD[:, -1, : self.upsampler.z_dim]
        return self.upsampler.upscale(small, z_NZ, condition)

    def _worded(self, condition: Condition) -> Condition:
        return condition if self.reader is None else self.reader(condition)
