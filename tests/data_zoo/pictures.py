"""Image files that are cut, huge, turned, of other colours, or no images at all."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from tests.components.data.makers import chunk, encoded, picture, png_bytes
from tests.data_zoo.animals import Animal, images


def cut_jpegs() -> list[bytes]:
    whole = encoded(picture(64), "JPEG")
    return [whole[: len(whole) * share // 100] for share in (10, 50, 90, 99)]


def bombs() -> list[bytes]:
    jpeg = bytearray(encoded(picture(), "JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 30_000, 30_000)
    wide = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", wide) + chunk(b"IDAT", zlib.compress(b"\0" * 99))
    return [bytes(jpeg), png + chunk(b"IEND", b"")]


def text_bomb() -> list[bytes]:
    """A whole PNG with 64 MB of compressed text: the pixels count, the text is left out."""
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(64 * 2**20)))
    lines = b"".join(picture().reshape(40, -1)[row].tobytes() for row in range(40))
    return [png_bytes(40, 40, 8, 2, lines, text)]


def other_modes() -> list[bytes]:
    found = []
    for seed, mode in enumerate(("L", "LA", "P", "1", "RGBA", "I;16")):
        image = Image.fromarray(picture(seed=seed))
        if mode == "I;16":
            grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
            image = Image.fromarray(grey)
        else:
            image = image.convert(mode)
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        found.append(buffer.getvalue())
    buffer = io.BytesIO()
    Image.fromarray(picture(seed=9)).convert("CMYK").save(buffer, "JPEG")
    return [*found, buffer.getvalue()]


def lab_tiff() -> list[bytes]:
    buffer = io.BytesIO()
    Image.fromarray(picture()).convert("LAB").save(buffer, "TIFF")
    return [buffer.getvalue()]


def turned() -> list[bytes]:
    """The same picture, stored in the eight ways of EXIF."""
    upright = Image.fromarray(picture(64))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation -> how it is stored (Pillow)
    found = []
    for orientation in range(1, 9):
        image = upright
        if orientation in undo:
            image = upright.transpose(Image.Transpose(undo[orientation]))
        exif, buffer = Image.Exif(), io.BytesIO()
        exif[0x0112] = orientation
        image.save(buffer, "PNG", exif=exif)
        found.append(buffer.getvalue())
    return found


def profiled() -> list[bytes]:
    return [
        encoded(picture(seed=number), "JPEG", icc_profile=profile)
        for number, profile in enumerate((b"broken", bytes(60_000), b"\0" * 5_000_000))
    ]


def moving() -> list[bytes]:
    found = []
    for number, kind in enumerate(("GIF", "PNG", "WEBP")):
        frames = [Image.fromarray(picture(seed=10 * number + i)) for i in range(3)]
        buffer = io.BytesIO()
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=50)
        found.append(buffer.getvalue())
    return found


def odd_sizes() -> list[bytes]:
    sizes = ((1, 1), (20_000, 1), (40, 400), (40, 40), (41, 41))
    return [encoded(np.full((*size, 3), 9 * n, np.uint8)) for n, size in enumerate(sizes)]


def no_images() -> list[bytes]:
    heads = [b"<html><body>404</body></html>", b'<svg xmlns="http://www.w3.org/2000/svg"/>']
    heads += [b"just text", b"8BPS\0\1" + bytes(99), b"%!PS-Adobe-3.0 EPSF-3.0", b"SIMPLE  = T"]
    return [*heads, encoded(picture(), "BMP"), encoded(picture())]


def mutants(count: int) -> list[bytes]:
    rng = np.random.default_rng(3)
    kinds = ["PNG", "JPEG", "WEBP", "GIF", "AVIF"]
    good = [encoded(picture(34, seed=i), kinds[i % 5]) for i in range(10)]
    found = []
    for _ in range(count):
        data = bytearray(good[rng.integers(len(good))])
        for _ in range(int(rng.integers(1, 8))):
            data[rng.integers(len(data))] = rng.integers(256)
        found.append(bytes(data))
    return found


ANIMALS = [
    Animal(
        "B2",
        "JPEG cut at 10, 50, 90, 99 %: never filled up",
        images(cut_jpegs()),
        {"image.truncated": 4},
    ),
    Animal(
        "B3",
        "30,000 x 30,000 JPEG, 50,000 x 50,000 PNG: refused from the header",
        images(bombs()),
        {"image.too_many_pixels": 2},
    ),
    Animal("B3", "PNG with 64 MB of text: the pixels count", images(text_bomb()), {"": 1}),
    Animal("B4", "L, LA, P, 1, RGBA, 16 bit, CMYK: read", images(other_modes()), {"": 7}),
    Animal("B4", "LAB TIFF: no format of ours", images(lab_tiff()), {"image.format": 1}),
    Animal(
        "B5",
        "one picture in all 8 orientations: the 7 others are copies of the first",
        images(turned(), "png"),
        {"": 1, "filter.near_duplicate": 7},
    ),
    Animal("B6", "broken, empty and 5 MB profiles: read", images(profiled()), {"": 3}),
    Animal("B7", "GIF, APNG, WebP that move: their first picture", images(moving()), {"": 3}),
    Animal(
        "B8",
        "1 x 1, 1 x 20,000, 10 to 1; one colour is allowed",
        images(odd_sizes(), "png"),
        {"filter.too_small": 2, "filter.aspect": 1, "": 2},
    ),
    Animal(
        "B9",
        "HTML, SVG, text, PSD, EPS, FITS, BMP named .jpg; PNG named .jpg is one",
        images(no_images()),
        {"image.format": 7, "": 1},
    ),
]
