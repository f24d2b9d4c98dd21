import time

import numpy as np
import pytest
from PIL import Image

from components.data import near_search
from components.data.fingerprints import thumbnail
from components.data.near_copies import LEAF_ROWS, later_copies, near_pairs
from components.data.near_search import pairs_in_stream


def world(rows, seed, copies=0.1, spread=3, cells=12):
    """Return hashes and thumbnails as drawings give them, a share of which copy an earlier one."""
    rng = np.random.default_rng(seed)
    thumbs = rng.integers(0, 256, (rows, cells), dtype=np.uint8)
    thumbs[:, : cells // 2] = rng.choice([0, 255, 255, 255], (rows, cells // 2))
    hashes = rng.integers(-(2**63), 2**63, rows)
    for row in np.flatnonzero(rng.random(rows) < copies):
        source = rng.integers(max(1, row))
        moved = thumbs[source].astype(int) + rng.integers(-spread, spread + 1, cells)
        thumbs[row] = np.clip(moved, 0, 255)
        flips = rng.choice(64, rng.integers(6), replace=False)
        hashes[row] = hashes[source] ^ np.bitwise_or.reduce(np.int64(1) << flips, initial=0)
    return hashes, thumbs


def all_pairs(hashes, thumbs, bits, levels):
    """Return the near pairs by comparing each with each."""
    found = []
    for i in range(len(hashes) - 1):
        near = np.bitwise_count((hashes[i + 1 :] ^ hashes[i]).view(np.uint64)) <= bits
        gap = np.abs(thumbs[i + 1 :].astype(int) - thumbs[i]).max(axis=1)
        found += [[i, i + 1 + j] for j in np.flatnonzero(near & (gap <= levels)).tolist()]
    return found


@pytest.mark.parametrize("bits", [0, 3, 8])
def test_pairs_are_those_of_comparing_each_with_each(bits):
    hashes, thumbs = world(2_000, bits)
    assert len(hashes) > 4 * LEAF_ROWS
    want = all_pairs(hashes, thumbs, bits, 3.0)
    assert near_pairs(hashes, thumbs, bits, 3.0).tolist() == want
    assert len(want) >= 20


@pytest.mark.parametrize("most_rows", [50, 300, 5_000])
def test_pieces_on_disk_give_the_same_pairs(tmp_path, most_rows):
    hashes, thumbs = world(3_000, 4)
    places = np.arange(3_000) * 7 + 3
    cut = (slice(0, 7), slice(7, 2_000), slice(2_000, None))
    blocks = [(places[rows], hashes[rows], thumbs[rows]) for rows in cut]
    found = pairs_in_stream(blocks, 6, 3.0, tmp_path, most_rows)
    assert found.tolist() == places[near_pairs(hashes, thumbs, 6, 3.0)].tolist()
    assert len(found) > 100 and list(tmp_path.iterdir()) == []
    assert pairs_in_stream([], 6, 3.0, tmp_path).shape == (0, 2)


def test_the_disk_holds_the_images_about_once(tmp_path, monkeypatch):
    hashes, thumbs = world(60_000, 4)
    held, blocks_of = [], near_search._taken_blocks

    def watched(path, kind, rows):
        for found in blocks_of(path, kind, 500):
            held.append(sum(file.stat().st_size for file in tmp_path.iterdir()))
            yield found

    monkeypatch.setattr(near_search, "_taken_blocks", watched)
    pairs_in_stream([(np.arange(60_000), hashes, thumbs)], 6, 3.0, tmp_path, 5_000)
    assert len(held) > 100 and max(held) < 1.5 * (thumbs.nbytes + 16 * len(hashes))


def test_pictures_of_one_colour_on_disk_end_in_bounded_pairs(tmp_path):
    rng = np.random.default_rng(0)
    thumbs = rng.integers(252, 256, (1_000, 192), dtype=np.uint8)
    hashes = np.zeros(1_000, np.int64)
    found = pairs_in_stream([(np.arange(1_000), hashes, thumbs)], 8, 4.0, tmp_path, 300)
    assert 900 < later_copies(found, 1_000).sum() < 1_000
    assert len(found) < 1_000 * 256 and list(tmp_path.iterdir()) == []


def test_marks_are_those_of_going_through_one_by_one():
    hashes, thumbs = world(1_500, 7, copies=0.4, spread=1)
    pairs = all_pairs(hashes, thumbs, 6, 2.0)
    want = np.zeros(len(hashes), bool)
    for i, j in pairs:
        want[j] |= not want[i]
    assert (later_copies(np.array(pairs), len(hashes)) == want).all() and want.sum() > 300


def test_equal_hashes_and_pictures_of_one_colour_cost_no_pairs():
    """Comparing all would be 200 million pairs."""
    rng = np.random.default_rng(0)
    rows = 20_000
    thumbs = rng.integers(0, 256, (rows, 192), dtype=np.uint8)
    start = time.process_time()
    assert not len(near_pairs(np.zeros(rows, np.int64), thumbs, 8, 4.0))
    nearly = rng.integers(253, 256, (3_000, 192), dtype=np.uint8)
    pairs = near_pairs(np.zeros(3_000, np.int64), nearly, 8, 4.0)
    assert later_copies(pairs, 3_000).sum() > 2_900
    assert time.process_time() - start < 20


def test_colour_decides_where_brightness_does_not():
    red = np.zeros((32, 32, 3), np.uint8)
    red[8:20, 8:20, 0] = 200
    blue = red[..., ::-1].copy()
    thumbs = np.array(
        [list(thumbnail(Image.fromarray(image))) for image in (red, blue, red)], np.uint8
    )
    assert near_pairs(np.zeros(3, np.int64), thumbs, 0, 4.0).tolist() == [[0, 2]]


def test_a_marked_image_marks_no_other():
    # 0 is near 1, 1 is near 2, but 0 is not near 2: 2 stays.
    hashes = np.array([0b0, 0b11, 0b1111], np.int64)
    pairs = near_pairs(hashes, np.zeros((3, 192), np.uint8), 2, 0.0)
    assert later_copies(pairs, 3).tolist() == [False, True, False]
