"""Decode an image file that nobody has checked, into pixels or a reason why not.

The outcome is a value in both cases.

Only the bytes decide the format, only three decoders are open, the size is judged from the header,
and a cut file is refused, never filled up with grey. Everything becomes RGB uint8, upright.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from components.data.reasons import Reason

MAX_PIXELS = 64_000_000
Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)

# Pillow warns from 89 million pixels on; our own limit is lower and refuses.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Decoded:
    """A readable image: pixels_HWC uint8 RGB, upright; format and mode are those of the file."""

    pixels_HWC: np.ndarray
    format: str
    mode: str

    @property
    def width(self) -> int:
        """Width in pixels, after turning upright."""
        return int(self.pixels_HWC.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels, after turning upright."""
        return int(self.pixels_HWC.shape[0])


def decode(
    data: bytes, background: Colour = WHITE, max_pixels: int = MAX_PIXELS
) -> Decoded | Reason:
    """Decode the bytes of one file.

    Args:
        data: the whole file.
        background: what transparent pixels are laid on.
        max_pixels: a larger image is refused before its pixels are read.
    """
    kind = sniff(data)
    if kind is None:
        return Reason.IMAGE_FORMAT if data else Reason.IMAGE_TRUNCATED
    try:
        image = Image.open(io.BytesIO(data), formats=[kind])
        if image.width * image.height > max_pixels:
            return Reason.IMAGE_TOO_MANY_PIXELS
        if _is_cut(data, kind):
            return Reason.IMAGE_TRUNCATED
        mode = image.mode
        image.load()
        return Decoded(np.asarray(_to_rgb(_upright(image), background)), kind, mode)
    except Image.DecompressionBombError:
        return Reason.IMAGE_TOO_MANY_PIXELS
    # Pillow's decoders raise these, and no narrower family, on bytes that break the format.
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, TypeError):
        return Reason.IMAGE_TRUNCATED if _is_cut(data, kind) else Reason.IMAGE_BROKEN


def sniff(data: bytes) -> str | None:
    """Return "JPEG", "PNG" or "WEBP" by the first bytes; None for all else."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return None


def centre_square(pixels_HWC: np.ndarray, side: int) -> np.ndarray:
    """Cut the middle square and resize it to `side` pixels (Lanczos, antialiased).

    Returns:
        uint8 [side, side, 3].
    """
    height, width = pixels_HWC.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    square = pixels_HWC[top : top + short, left : left + short]
    if short == side:
        return square
    image = Image.fromarray(np.ascontiguousarray(square))
    return np.asarray(image.resize((side, side), Image.Resampling.LANCZOS))


def encode_png(pixels_HWC: np.ndarray) -> bytes:
    """Encode RGB uint8 pixels; the same pixels give the same bytes."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels_HWC)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def parse_colour(text: str) -> Colour:
    """Read "#rrggbb".

    Raises:
        ValueError: the text has another form.
    """
    digits = text.removeprefix("#")
    if len(digits) != 6 or any(c not in "0123456789abcdefABCDEF" for c in digits):
        raise ValueError(f'a colour must look like "#ffffff"; got {text!r}')
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


def _is_cut(data: bytes, kind: str) -> bool:
    """Tell whether the file ends before its format's end mark."""
    if kind == "JPEG":
        # The end of the image comes after its scan; an embedded thumbnail's end comes before.
        return data.rfind(b"\xff\xd9") <= data.rfind(b"\xff\xda")
    if kind == "PNG":
        return data.rfind(b"IEND") < 0
    return len(data) < 16 or struct.unpack("<I", data[4:8])[0] + 8 > len(data)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error):
        return image  # broken EXIF says nothing about the pixels


def _to_rgb(image: Image.Image, background: Colour) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey: scaled to 8, where convert() would clip
        grey = np.asarray(image).astype(np.float64) / 257.0
        return Image.fromarray(np.clip(grey + 0.5, 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, (*background, 255))
        return Image.alpha_composite(canvas, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
