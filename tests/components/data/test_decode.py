import io
import resource
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, PngImagePlugin

from components.data.decode import (
    Decoded,
    centre_square,
    cut_square,
    decode,
    encode_jpeg,
    parse_colour,
    sniff,
)
from components.data.dirt import deep_png
from components.data.reasons import Reason
from components.png import encode_png
from tests.components.data.makers import chunk, encoded, picture, png_bytes


def pixels_of(data: bytes, **options) -> np.ndarray:
    found = decode(data, **options)
    assert isinstance(found, Decoded), found
    assert found.pixels_HWC.dtype == np.uint8 and found.pixels_HWC.shape[2] == 3
    return found.pixels_HWC


def test_hand_made_rgb_is_read_exactly():
    values = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 14
    found = decode(png_bytes(3, 2, 8, 2, values.tobytes()))
    assert (found.pixels_HWC == values).all()
    assert (found.format, found.mode, found.width, found.height) == ("PNG", "RGB", 3, 2)


@pytest.mark.row("B4")
def test_sixteen_bit_grey_is_scaled_not_clipped():
    values = np.array([[0, 256, 32768, 65535]], dtype=np.uint16)
    found = pixels_of(png_bytes(4, 1, 16, 0, values.astype(">u2").tobytes()))
    assert found[0, :, 0].tolist() == [0, 1, 128, 255]


def test_sixteen_bit_rgb_is_scaled():
    pixels = picture(20)
    found = pixels_of(deep_png(pixels, np.random.default_rng(0)))
    assert np.abs(found.astype(int) - pixels).max() <= 1


def test_palette_with_transparency_and_grey_with_alpha():
    colours = chunk(b"PLTE", bytes([10, 20, 30, 200, 100, 0])) + chunk(b"tRNS", bytes([255, 0]))
    found = pixels_of(png_bytes(2, 1, 8, 3, bytes([0, 1]), colours), background=(1, 2, 3))
    assert found.tolist() == [[[10, 20, 30], [1, 2, 3]]]
    found = pixels_of(png_bytes(2, 1, 8, 4, bytes([100, 255, 100, 0])))
    assert found.tolist() == [[[100] * 3, [255] * 3]]


@pytest.mark.row("B4")
def test_alpha_is_blended_onto_the_colour():
    found = pixels_of(png_bytes(1, 1, 8, 6, bytes([200, 0, 0, 128])), background=(0, 0, 100))
    share = 128 / 255
    want = [200 * share, 0, 100 * (1 - share)]
    assert np.abs(found[0, 0] - np.array(want)).max() <= 1


def test_one_bit_and_grey():
    found = pixels_of(png_bytes(8, 1, 1, 0, bytes([0b10110001])))
    assert (found[0, :, 1] // 255).tolist() == [1, 0, 1, 1, 0, 0, 0, 1]
    assert pixels_of(encoded(picture()[..., 0])).shape == (40, 40, 3)


@pytest.mark.row("B4")
def test_cmyk_jpeg_equals_its_formula():
    flat = np.zeros((16, 16, 4), np.uint8)
    flat[:] = (30, 90, 200, 40)
    buffer = io.BytesIO()
    Image.frombytes("CMYK", (16, 16), flat.tobytes()).save(buffer, "JPEG", quality=100)
    found = decode(buffer.getvalue())
    want = [(255 - ink) * (255 - 40) / 255 for ink in (30, 90, 200)]
    assert found.mode == "CMYK"
    assert np.abs(found.pixels_HWC - np.array(want)).max() <= 2


@pytest.mark.row("B5")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation):
    upright = picture(12)[:8]
    # The stored form of each value, from the EXIF definition: where row 0 and column 0 lie.
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(np.ascontiguousarray(turned), exif=exif)
    assert (pixels_of(data) == upright).all()


@pytest.mark.row("B2")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99, 0.999])
def test_a_cut_file_is_never_filled_up(kind, share):
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    data = encoded(picture(64), kind)
    cut = data[: int(len(data) * share)]
    assert decode(cut) == Reason.IMAGE_TRUNCATED
    assert isinstance(decode(data), Decoded)


def test_a_jpeg_with_a_thumbnail_is_cut_too():
    data = encoded(picture(64), "JPEG")
    small = encoded(picture(16), "JPEG")
    marker = b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small
    whole = data[:2] + marker + data[2:]
    assert isinstance(decode(whole), Decoded)
    assert decode(whole[:-40]) == Reason.IMAGE_TRUNCATED


@pytest.mark.row("B3")
def test_bombs_are_refused_from_the_header():
    rows = zlib.compress(bytes(1000))
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert decode(bomb) == Reason.IMAGE_TOO_MANY_PIXELS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
    large = encoded(picture(90))
    assert decode(large, max_pixels=8099) == Reason.IMAGE_TOO_MANY_PIXELS
    assert isinstance(decode(large, max_pixels=8100), Decoded)


@pytest.mark.row("B7", "B9")
@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM", "TGA", "ICO"])
def test_only_five_formats_are_open(kind):
    assert decode(encoded(picture(), kind)) == Reason.IMAGE_FORMAT


@pytest.mark.row("B9")
def test_bytes_decide_not_names():
    assert sniff(encoded(picture())) == "PNG"
    assert decode(b"<html>not found</html>") == Reason.IMAGE_FORMAT
    assert decode(b"") == Reason.IMAGE_TRUNCATED
    broken = bytearray(encoded(picture(64)))
    broken[60:90] = bytes(30)
    assert decode(bytes(broken)) == Reason.IMAGE_BROKEN


@pytest.mark.row("B24")
def test_mutated_files_never_raise():
    rng = np.random.default_rng(0)
    kinds = ["PNG", "JPEG", "WEBP", "GIF", "AVIF"]
    good = [encoded(picture(24, seed=i), kind) for i, kind in enumerate(kinds)]
    good.append(encoded(picture(24), "JPEG", progressive=True))
    for _ in range(900):
        data = bytearray(good[rng.integers(len(good))])
        for _ in range(int(rng.integers(1, 8))):
            data[rng.integers(len(data))] = rng.integers(256)
        assert isinstance(decode(bytes(data)), Decoded | Reason)


def test_centre_square_cuts_the_middle():
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    assert (centre_square(wide, 10) == 200).all()
    assert centre_square(picture(33), 8).shape == (8, 8, 3)
    # Shrinking averages: no single pixel survives.
    fine = np.indices((64, 64)).sum(0) % 2 * 255
    small = centre_square(np.repeat(fine[..., None], 3, 2).astype(np.uint8), 8)
    assert np.abs(small.astype(int) - 127.5).max() < 8


def test_an_image_holds_pixels_alone():
    """What stood beside the pixels of a file is not stored again with them."""
    text = PngImagePlugin.PngInfo()
    text.add_text("where", "at home")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    bare = encode_png(picture())
    for extra in ({"pnginfo": text}, {"icc_profile": profile}, {"dpi": (72, 72)}):
        found = decode(encoded(picture(), **extra))
        assert encode_png(found.pixels_HWC) == bare
    turned = Image.Exif()
    turned[0x0112] = 6
    found = decode(encoded(picture(), "JPEG", exif=turned, icc_profile=profile, comment=b"mine"))
    plain = Image.fromarray(found.pixels_HWC)
    assert encode_jpeg(found.image, 90) == encode_jpeg(plain, 90)


def test_a_large_square_is_nearly_the_same_by_the_quick_way():
    image = Image.fromarray(picture(700)).crop((0, 0, 700, 640))
    quick, exact = (np.asarray(cut_square(image, 64, gap)).astype(int) for gap in (3.0, None))
    assert np.abs(quick - exact).max() <= 2 and quick.shape == (64, 64, 3)
    assert (exact == centre_square(np.asarray(image), 64)).all()


def test_png_round_trip_and_colours():
    assert (pixels_of(encode_png(picture())) == picture()).all()
    assert parse_colour("#0a10ff") == (10, 16, 255)
    with pytest.raises(ValueError, match="must look like"):
        parse_colour("white")
