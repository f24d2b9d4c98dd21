import io

import numpy as np
from PIL import Image

from components.data.fingerprints import overview, perceptual_hash, thumbnail
from tests.components.data.makers import picture


def bits_apart(a, b):
    return (
        (int(a) ^ int(b)).bit_count() if (a < 0) == (b < 0) else (a % 2**64 ^ b % 2**64).bit_count()
    )


def test_copies_are_near_and_others_are_far():
    images = [Image.fromarray(picture(64, seed=i)) for i in range(30)]
    hashes = [perceptual_hash(image) for image in images]
    apart = [bits_apart(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert np.mean(apart) > 24
    found = []
    for image, own in zip(images, hashes, strict=True):
        buffer = io.BytesIO()
        image.resize((96, 96)).save(buffer, "JPEG", quality=80)
        copy = Image.open(buffer)
        found.append(bits_apart(own, perceptual_hash(copy)))
        gap = np.frombuffer(thumbnail(copy), np.uint8).astype(int) - list(thumbnail(image))
        assert np.abs(gap).max() <= 4
    assert np.mean(np.array(found) <= 8) >= 0.9 and max(found) <= 12
    assert len(thumbnail(images[0])) == 192


def test_large_images_are_looked_at_in_small():
    for seed in range(10):
        large = Image.fromarray(picture(640, seed=seed)).crop((0, 0, 640, 500))
        small = overview(large)
        assert min(small.size) >= 128 and max(small.size) < 256
        assert bits_apart(perceptual_hash(small), perceptual_hash(large)) <= 8
        gap = np.frombuffer(thumbnail(small), np.uint8).astype(int) - list(thumbnail(large))
        assert np.abs(gap).max() <= 1
    image = Image.fromarray(picture(255))
    assert overview(image) is image
