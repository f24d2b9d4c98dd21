"""Files that are whole, cut, or more than an image: told by what is decoded."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from components.data.decode import Decoded, decode, parse_colour
from components.data.image_bytes import look_at, sniff
from tests.components.data.makers import chunk, encoded, picture, png_bytes

END = b"\xff\xd9"


def pixels_of(data, **options):
    found = decode(data, **options)
    assert isinstance(found, Decoded), found
    return found.pixels_HWC


@pytest.mark.row("G7")
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_a_cut_jpeg_with_an_end_mark_is_cut(share, options):
    data = encoded(picture(128), "JPEG", quality=90, **options)
    start = data.rfind(b"\xff\xda") if not options.get("progressive") else data.find(b"\xff\xda")
    cut = data[: start + int(share * (len(data) - start))].rstrip(b"\xff")
    assert decode(cut + END) == "image.truncated"
    assert decode(cut + END + b"and more" + END) in ("image.truncated", "image.broken")
    assert isinstance(decode(data), Decoded)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_cut_jpeg_of_another_mode(mode):
    buffer = io.BytesIO()
    Image.fromarray(picture(128)).convert(mode).save(buffer, "JPEG", quality=90)
    data = buffer.getvalue()
    assert isinstance(decode(data), Decoded)
    assert decode(data[: len(data) // 2].rstrip(b"\xff") + END) == "image.truncated"


@pytest.mark.parametrize("colour", [0, 128, 255])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_a_plain_jpeg_is_whole(colour, options):
    """Its last block is flat, as a missing one would be."""
    pixels = np.full((50, 70, 3), colour, np.uint8)
    pixels[:20, :20] = picture(20)
    assert pixels_of(encoded(pixels, "JPEG", **options)).shape == (50, 70, 3)


def test_what_stands_behind_the_image_is_left_alone():
    film = b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 40 + b"\xff\xda\x00\x0c" + b"\xff" * 9
    data = encoded(picture(64), "JPEG")
    assert (pixels_of(data + film) == pixels_of(data)).all()
    two = io.BytesIO()
    first, second = (Image.fromarray(picture(64, seed=i)) for i in range(2))
    first.save(two, "MPO", save_all=True, append_images=[second], quality=95)
    want = np.asarray(Image.open(io.BytesIO(two.getvalue())).convert("RGB"))
    assert (pixels_of(two.getvalue() + film) == want).all()
    png = encoded(picture(64))
    assert (pixels_of(png + film) == picture(64)).all()


def test_text_and_large_profiles_of_a_png_are_no_pixels():
    data = encoded(picture(20))
    head, rest = data[:33], data[33:]
    bomb = zlib.compress(bytes(80 * 2**20), 9)
    texts = chunk(b"zTXt", b"Comment\0\0" + bomb) + chunk(b"iTXt", b"a\0\1\0\0\0" + bomb)
    profile = chunk(b"iCCP", b"huge\0\0" + bomb) + chunk(b"tEXt", b"k\0" + b"x" * 2_000_000)
    assert (pixels_of(head + texts + profile + rest) == picture(20)).all()


def srgb_to(profile, pixels):
    """Return the pixels as a file with that profile holds them."""
    image = Image.fromarray(pixels)
    return ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), profile)


SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
# Of Display P3, and of Adobe RGB (1998), whose curve is a power of 563 / 256; adapted to D50.
PRIMARIES = {
    "display_p3": ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)),
    "adobe_rgb": ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)),
}


def wide_profile(space="display_p3", padding=0):
    """Return a profile of a wider space than sRGB, made by hand; padded by so many bytes."""

    def fixed(*values):
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    def xyz(*values):
        return b"XYZ \0\0\0\0" + fixed(*values)

    curve = b"para\0\0\0\0\0\3\0\0" + fixed(*SRGB_CURVE)
    if space == "adobe_rgb":
        curve = b"para\0\0\0\0\0\0\0\0" + fixed(563 / 256)
    red, green, blue = PRIMARIES[space]
    name = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"wide\0" + bytes(78)
    tags = {
        b"desc": name,
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(*red),
        b"gXYZ": xyz(*green),
        b"bXYZ": xyz(*blue),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
        b"cprt": b"text\0\0\0\0CC0\0" + bytes(padding),
    }
    at, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for tag, content in tags.items():
        content += bytes(-len(content) % 4)
        table += tag + struct.pack(">II", at + len(body), len(content))
        body += content
    size = at + len(body)
    head = struct.pack(">I4sI", size, b"lcms", 0x02100000) + b"mntrRGB XYZ " + bytes(12) + b"acsp"
    head += bytes(28) + fixed(0.9642, 1.0, 0.8249)
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + table + body


def lab(pixels):
    """Return CIE L*a*b* of sRGB pixels (D65, CIE 1976)."""
    value = pixels / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    m = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    t = linear @ np.array(m).T / np.array([0.9505, 1.0, 1.089])
    f = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    return np.stack(
        [116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1
    )


@pytest.mark.row("B6", "G8")
@pytest.mark.parametrize("padding", [0, 5_000_000])
@pytest.mark.parametrize("space", PRIMARIES)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_other_colour_spaces_become_srgb(kind, space, padding):
    profile = wide_profile(space, padding)
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    want = picture(48) // 2 + 64  # muted colours: both spaces hold them
    stored = np.asarray(srgb_to(opened, want))
    options = {"PNG": {}, "JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}[
        kind
    ]
    found = pixels_of(encoded(stored, kind, icc_profile=profile, **options))
    difference = np.linalg.norm(lab(found.astype(float)) - lab(want.astype(float)), axis=-1)
    before = np.linalg.norm(lab(stored.astype(float)) - lab(want.astype(float)), axis=-1)
    assert difference.mean() < 2 and difference.mean() < before.mean() / 2


@pytest.mark.row("B6", "G8")
@pytest.mark.parametrize("profile", [b"no profile", wide_profile()[:300], bytes(500)])
def test_a_broken_profile_changes_nothing(profile):
    for kind in ("PNG", "WEBP"):
        data = encoded(picture(20), kind, icc_profile=profile, lossless=True)
        assert (pixels_of(data) == picture(20)).all()


def test_grey_of_twelve_bits_is_scaled_by_its_range():
    values = np.array([[0, 1024, 2048, 4095]], dtype=np.uint16)
    data = png_bytes(4, 1, 16, 0, values.astype(">u2").tobytes())
    assert pixels_of(data)[0, :, 0].tolist() == [0, 4, 8, 16]
    assert pixels_of(data, grey_range=4095)[0, :, 0].tolist() == [0, 64, 128, 255]
    assert decode(data).grey_max == 4095 and decode(encoded(picture())).grey_max == 0


@pytest.mark.parametrize("kind", ["GIF", "AVIF"])
def test_first_picture_of_a_film_and_cut_files(kind):
    frames = [Image.fromarray(picture(40, seed=i)) for i in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], quality=90)
    data = buffer.getvalue()
    assert sniff(data) == kind
    assert np.abs(pixels_of(data).astype(int) - picture(40)).mean() < 12
    for share in (0.05, 0.2):
        assert decode(data[: int(share * len(data))]) == "image.truncated"
    assert not look_at(data, kind).is_cut


def test_transparency_is_refused_by_name():
    for text in ("none", "transparent", "#ffffff00"):
        with pytest.raises(ValueError, match=r"laid on a colour"):
            parse_colour(text)
