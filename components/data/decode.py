"""Decode an image file that nobody has checked, into pixels or a reason why not.

The outcome is a value in both cases.

Only the bytes decide the format, only five decoders are open, the size is judged from the header,
and a cut file is refused, never filled up with grey. Everything becomes RGB uint8, upright, sRGB;
of a film the first picture.
"""

from __future__ import annotations

import io
import struct
import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import numpy as np
from PIL import Image, ImageOps

from components.data.colours import to_srgb
from components.data.config import Colour, parse_colour
from components.data.image_bytes import Found, look_at, sniff
from components.data.reasons import Reason

__all__ = [
    "Decoded",
    "centre_square",
    "cut_square",
    "decode",
    "encode_jpeg",
    "encode_webp",
    "parse_colour",
    "sniff",
]

MAX_PIXELS = 64_000_000
FULL_GREY = 65_535
WHITE: Colour = (255, 255, 255)
# Put before the end mark of a JPEG to see whether its pixels were all there; no byte is a marker.
_FILLING = bytes((37 * i * i + 101 * i + 71) % 251 for i in range(64))
_BLOCK_PX, _FLAT_LEVELS = 8, 2

# Where Pillow looks for the way up; asking it takes as long as decoding a small image.
_TURNED_BY = frozenset(["exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"])

# Pillow warns from 89 million pixels on; our own limit is lower and refuses.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# What Pillow's decoders raise, and no narrower family, on bytes that break the format.
_BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, TypeError, KeyError),
    *(AttributeError, OverflowError, ZeroDivisionError, RuntimeError, MemoryError),
)


@dataclass(frozen=True)
class Decoded:
    """A readable image, RGB and upright; format and mode are those of the file.

    grey_max is the largest value of an image with 16 bits of grey, 0 for all others. The image
    holds pixels alone: no profile, text or film of the file.
    """

    image: Image.Image
    format: str
    mode: str
    grey_max: int = 0

    @property
    def pixels_HWC(self) -> np.ndarray:
        """A copy of the pixels, uint8 [H, W, 3]."""
        return np.asarray(self.image)

    @property
    def width(self) -> int:
        """Width in pixels, after turning upright."""
        return self.image.width

    @property
    def height(self) -> int:
        """Height in pixels, after turning upright."""
        return self.image.height


def decode(
    data: bytes,
    background: Colour = WHITE,
    max_pixels: int = MAX_PIXELS,
    grey_range: int = FULL_GREY,
) -> Decoded | Reason:
    """Decode the bytes of one file.

    Args:
        data: the whole file.
        background: what transparent pixels are laid on.
        max_pixels: a larger image is refused before its pixels are read.
        grey_range: value of 16-bit grey that becomes white.
    """
    kind = sniff(data)
    if kind is None:
        return Reason.IMAGE_FORMAT if data else Reason.IMAGE_TRUNCATED
    found = look_at(data, kind)
    try:
        image = Image.open(io.BytesIO(found.data), formats=[kind])
        if image.width * image.height > max_pixels:
            return Reason.IMAGE_TOO_MANY_PIXELS
        if found.is_cut:
            return Reason.IMAGE_TRUNCATED
        mode, profile = image.mode, found.profile or image.info.get("icc_profile") or b""
        image.load()
        if kind == "JPEG" and _ends_early(image, found):
            return Reason.IMAGE_TRUNCATED
        grey_max = _brightest(image)
        rgb = _to_rgb(to_srgb(_upright(image), profile), background, grey_range)
        rgb.info = {}  # an encoder would repeat what the file said beside its pixels
        return Decoded(rgb, kind, mode, grey_max)
    except Image.DecompressionBombError:
        return Reason.IMAGE_TOO_MANY_PIXELS
    except _BROKEN:
        return Reason.IMAGE_TRUNCATED if found.is_cut else Reason.IMAGE_BROKEN


def centre_square(pixels_HWC: np.ndarray, side: int) -> np.ndarray:
    """Cut the middle square and resize it to `side` pixels (Lanczos, antialiased).

    Returns:
        uint8 [side, side, 3].
    """
    height, width = pixels_HWC.shape[:2]
    if height == width == side:
        return pixels_HWC
    return np.asarray(cut_square(Image.fromarray(np.ascontiguousarray(pixels_HWC)), side))


def cut_square(image: Image.Image, side: int, reducing_gap: float | None = None) -> Image.Image:
    """Do the same to an image.

    Args:
        image: RGB.
        side: in pixels.
        reducing_gap: a much larger image is first reduced by a whole number, to so many times
            `side` at least: quicker, and nearly the same from 3 on. None: Lanczos alone.
    """
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    if image.width != image.height:
        image = image.crop((left, top, left + short, top + short))
    if short == side:
        return image
    return image.resize((side, side), Image.Resampling.LANCZOS, reducing_gap=reducing_gap)


def encode_jpeg(image: Image.Image, quality: int) -> bytes:
    """Encode an RGB image as JPEG with all of its chroma."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def encode_webp(image: Image.Image, quality: int) -> bytes:
    """Encode an RGB image as lossy WebP."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality)
    return buffer.getvalue()


def _ends_early(image: Image.Image, found: Found) -> bool:
    """Tell whether a JPEG's pixels end before its end mark does.

    libjpeg fills what is missing without a word: with one flat colour per block. So a file whose
    last block has one brightness is decoded again with other bytes before the end mark, which a
    whole image does not read.
    """
    if not found.is_progressive:
        width, height = image.size
        left = (width - 1) // _BLOCK_PX * _BLOCK_PX
        top = (height - 1) // _BLOCK_PX * _BLOCK_PX
        corner = image.crop((left, top, width, height))
        light = corner.getchannel("K") if image.mode == "CMYK" else corner.convert("L")
        darkest, brightest = cast("tuple[int, int]", light.getextrema())
        if brightest - darkest > _FLAT_LEVELS:
            return False
    other = Image.open(io.BytesIO(found.data[:-2] + _FILLING + b"\xff\xd9"), formats=["JPEG"])
    other.load()
    return image.tobytes() != other.tobytes()


def _brightest(image: Image.Image) -> int:
    if not image.mode.startswith("I"):
        return 0
    return int(np.asarray(image).max(initial=0))


def _upright(image: Image.Image) -> Image.Image:
    # Broken EXIF says nothing about the pixels.
    with suppress(OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error):
        if _TURNED_BY & image.info.keys():
            ImageOps.exif_transpose(image, in_place=True)  # no second copy of the pixels
    return image


def _to_rgb(image: Image.Image, background: Colour, grey_range: int) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey: scaled to 8, where convert() would clip
        values = np.arange(FULL_GREY + 1) * (255.0 / grey_range) + 0.5
        table = np.clip(values, 0, 255).astype(np.uint8)
        grey = np.clip(np.asarray(image), 0, FULL_GREY).astype(np.uint16)
        return Image.fromarray(table[grey]).convert("RGB")
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, (*background, 255))
        return Image.alpha_composite(canvas, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
