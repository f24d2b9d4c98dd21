import io

import numpy as np
import pytest
from PIL import Image

from components.data.fingerprints import later_copies, near_pairs, perceptual_hash, thumbnail
from tests.components.data.makers import picture


def bits_apart(a, b):
    return (
        (int(a) ^ int(b)).bit_count() if (a < 0) == (b < 0) else (a % 2**64 ^ b % 2**64).bit_count()
    )


@pytest.mark.row("B13")
@pytest.mark.parametrize("max_bits", [0, 3, 8])
def test_near_pairs_equal_all_pairs(max_bits):
    rng = np.random.default_rng(max_bits)
    hashes = rng.integers(-(2**63), 2**63, 150)
    for copy in range(60):  # flip 0 to 10 bits of some
        flips = rng.choice(64, copy % 11, replace=False)
        hashes[90 + copy] = hashes[copy] ^ np.bitwise_or.reduce(np.int64(1) << flips, initial=0)
    want = [
        (i, j)
        for i in range(150)
        for j in range(i + 1, 150)
        if bits_apart(hashes[i].item(), hashes[j].item()) <= max_bits
    ]
    assert near_pairs(hashes, max_bits).tolist() == [list(pair) for pair in want]
    assert len(want) >= 5


def test_copies_are_near_and_others_are_far():
    images = [picture(64, seed=i) for i in range(30)]
    hashes = [perceptual_hash(image) for image in images]
    apart = [bits_apart(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert np.mean(apart) > 24
    found = []
    for image, own in zip(images, hashes, strict=True):
        buffer = io.BytesIO()
        Image.fromarray(image).resize((96, 96)).save(buffer, "JPEG", quality=80)
        copy = np.asarray(Image.open(buffer))
        found.append(bits_apart(own, perceptual_hash(copy)))
        gap = np.frombuffer(thumbnail(copy), np.uint8).astype(int) - list(thumbnail(image))
        assert np.abs(gap).max() <= 4
    assert np.mean(np.array(found) <= 8) >= 0.9 and max(found) <= 12
    assert len(thumbnail(images[0])) == 192


def test_colour_decides_where_brightness_does_not():
    red = np.zeros((32, 32, 3), np.uint8)
    red[8:20, 8:20, 0] = 200
    blue = red[..., ::-1].copy()
    thumbs = np.array([list(thumbnail(image)) for image in (red, blue, red)], np.uint8)
    same = np.zeros(3, np.int64)
    assert later_copies(same, thumbs, 0, 4.0).tolist() == [False, False, True]


def test_a_marked_image_marks_no_other():
    # 0 is near 1, 1 is near 2, but 0 is not near 2: 2 stays.
    hashes = np.array([0b0, 0b11, 0b1111], np.int64)
    thumbs = np.zeros((3, 192), np.uint8)
    assert later_copies(hashes, thumbs, 2, 0.0).tolist() == [False, True, False]
