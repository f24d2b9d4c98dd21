"""The errors (dirt) that the embedded corpus has on purpose; every damaged row is known.

Which row gets what is decided once for the whole split; how a row is damaged is a function of
(seed, row) alone.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from components.data.config import SynthesizeConfig
from components.png import encode_png

# Kind of dirt -> the field that says how much of it; what is left over is clean ("").
KINDS = {
    "swapped": "swapped_fraction",
    "exact_duplicate": "exact_duplicate_fraction",
    "near_duplicate": "near_duplicate_fraction",
    "truncated": "truncated_fraction",
    "tiny": "tiny_fraction",
    "extreme_aspect": "extreme_aspect_fraction",
    "cmyk": "cmyk_fraction",
    "deep": "deep_fraction",
    "palette": "palette_fraction",
    "empty_caption": "empty_caption_fraction",
}


@dataclass(frozen=True)
class Plan:
    """What each row of a split shows and says.

    kind: "" or a key of KINDS. image_of: the row whose drawing it shows (itself, unless it is a
    copy).
    caption_of: the row whose caption it carries.
    """

    kind: list[str]
    image_of: np.ndarray
    caption_of: np.ndarray


def clean_plan(count: int) -> Plan:
    """Return a plan without dirt."""
    return Plan([""] * count, np.arange(count), np.arange(count))


def plan_dirt(config: SynthesizeConfig, seed: int, attributes: dict[str, np.ndarray]) -> Plan:
    """Share out the dirt over the rows of `train`; every row gets at most one kind.

    Args:
        config: the fractions.
        seed: of the run.
        attributes: what each row's own drawing shows, so that a swapped caption is always wrong.
    """
    count = len(attributes["shape"])
    rng = np.random.default_rng((seed, zlib.crc32(b"dirt")))
    plan, free = clean_plan(count), rng.permutation(count)
    told = np.stack([attributes[name] for name in sorted(attributes)], axis=1)
    for kind, field in KINDS.items():
        number, copies = round(getattr(config, field) * count), kind.endswith("duplicate")
        rows, free = np.split(free, [number * (2 if copies else 1)])
        if copies:
            # In pairs: the earlier row stays clean and lends its drawing and caption to the later.
            pairs = np.sort(rows[: len(rows) // 2 * 2].reshape(-1, 2), axis=1)
            plan.image_of[pairs[:, 1]] = plan.caption_of[pairs[:, 1]] = pairs[:, 0]
            rows = pairs[:, 1]
        for row in rows.tolist():
            if kind == "swapped":
                others = np.roll(np.arange(count), -int(rng.integers(count)))
                wrong = others[(told[others] != told[row]).any(axis=1)]
                if not len(wrong):
                    continue
                plan.caption_of[row] = wrong[0]
            plan.kind[row] = kind
    return plan


def image_file(pixels: np.ndarray, kind: str, png: bool, seed: int, row: int) -> tuple[str, bytes]:
    """Encode one drawing, damaged as `kind` says.

    Args:
        pixels: uint8 [H, W, 3].
        kind: "" or a key of KINDS.
        png: store as PNG where the kind leaves the choice, else as JPEG.
        seed: of the run.
        row: number of the row in its split.

    Returns:
        the file's extension and its bytes.
    """
    rng = np.random.default_rng((seed, zlib.crc32(b"damage"), row))
    image = Image.fromarray(pixels)
    width, height = image.size
    if kind == "cmyk":
        return "jpg", _jpeg(image.convert("CMYK"), 95)
    if kind == "deep":
        return "png", deep_png(pixels, rng)
    if kind == "palette":
        return "png", _png(image.quantize(64, dither=Image.Dither.NONE))
    if kind == "tiny":
        side = int(rng.integers(4, 13))
        return "png", _png(image.resize((side, side), Image.Resampling.BOX))
    if kind == "extreme_aspect":
        times = int(rng.integers(8, 11))
        return "jpg", _jpeg(image.resize((width * times, height), Image.Resampling.BILINEAR), 85)
    if kind == "near_duplicate":
        return _near_copy(image, png, rng)
    extension, data = ("png", encode_png(np.asarray(image))) if png else ("jpg", _jpeg(image, 95))
    if kind == "truncated":
        data = data[: int(len(data) * rng.uniform(0.1, 0.95))]
    return extension, data


def empty_caption(row: int) -> str:
    """Return an empty or a blank caption."""
    return ("", "   ", " \n")[row % 3]


def deep_png(pixels: np.ndarray, rng: np.random.Generator) -> bytes:
    """Encode RGB with 16 bits per channel, the low bytes random; Pillow cannot write this."""
    height, width = pixels.shape[:2]
    deep = pixels.astype(np.uint16) * 256 + rng.integers(0, 256, pixels.shape, dtype=np.uint16)
    lines = deep.astype(">u2").view(np.uint8).reshape(height, width * 6)
    filtered = np.concatenate([np.zeros((height, 1), np.uint8), lines], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 1)), (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def _near_copy(image: Image.Image, png: bool, rng: np.random.Generator) -> tuple[str, bytes]:
    """Encode again, resize by a few pixels, or brighten by 1 or 2 levels."""
    way = int(rng.integers(3))
    if way == 0:
        return "jpg", _jpeg(image, int(rng.integers(75, 93)))
    if way == 1:
        side = image.width + int(rng.choice([-4, -3, -2, 2, 3, 4]))
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    else:
        levels = np.asarray(image).astype(np.int16) + int(rng.integers(1, 3))
        image = Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))
    return ("png", _png(image)) if png else ("jpg", _jpeg(image, 95))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()
