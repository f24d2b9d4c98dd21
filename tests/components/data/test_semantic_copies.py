"""Copies in meaning: found within clusters, the same on any machine, bounded in a crowd."""

import numpy as np
import pytest

from components.data import semantic_copies
from components.data.semantic_copies import semantic_pairs, whole_numbers


def planted(rows, width=48, copies=0.2, seed=0):
    """Return directions of which the second half has copies, and the pairs that are copies."""
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(rows, width))
    pairs = []
    for row in range(rows // 2, rows):
        if rng.random() < copies:
            source = int(rng.integers(rows // 2))
            found[row] = found[source] + 0.1 * rng.normal(size=width)
            pairs.append((source, row))
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found.astype(np.float16), pairs


def blocks(embedding, size=700, first=0):
    for at in range(0, len(embedding), size):
        yield (
            np.arange(first + at, first + min(len(embedding), at + size)),
            embedding[at : at + size],
        )


def by_definition(embedding, cosine):
    values = whole_numbers(embedding).astype(float)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    close = np.triu(values @ values.T >= cosine, 1)
    return set(map(tuple, np.argwhere(close).tolist()))


def test_few_are_compared_each_with_each(tmp_path):
    embedding, pairs = planted(900)
    found = semantic_pairs(blocks(embedding), 0.95, tmp_path)
    assert set(map(tuple, found.tolist())) == by_definition(embedding, 0.95) >= set(pairs)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("most_rows", [1 << 16, 2_000])
def test_many_are_found_in_clusters_in_memory_and_on_disk(tmp_path, most_rows):
    embedding, pairs = planted(6_000)
    found = set(map(tuple, semantic_pairs(blocks(embedding), 0.95, tmp_path, most_rows).tolist()))
    true = by_definition(embedding, 0.95)
    assert found <= true and len(found & set(pairs)) >= 0.95 * len(pairs)
    assert not list(tmp_path.iterdir())


def test_neither_blocks_nor_the_order_of_sums_change_a_pair(tmp_path):
    embedding, _ = planted(3_000, width=32)
    first = semantic_pairs(blocks(embedding), 0.9, tmp_path)
    assert np.array_equal(first, semantic_pairs(blocks(embedding, size=61), 0.9, tmp_path))
    mixed = embedding[:, np.random.default_rng(1).permutation(32)]
    assert np.array_equal(first, semantic_pairs(blocks(mixed), 0.9, tmp_path))
    assert np.array_equal(first + 7, semantic_pairs(blocks(embedding, first=7), 0.9, tmp_path))


def test_crowds_cost_no_more_than_others(tmp_path, monkeypatch):
    monkeypatch.setattr(semantic_copies, "LEAF_ROWS", 64)
    equal = np.tile(planted(2)[0][:1], (5_000, 1))
    pairs = semantic_pairs(blocks(equal), 0.99, tmp_path, most_rows=1_000_000)
    assert np.array_equal(pairs[:, 0], np.zeros(4_999)) and len(set(pairs[:, 1])) == 4_999
    rng = np.random.default_rng(0)
    alike = np.ones((2_000, 16)) + 0.05 * rng.normal(size=(2_000, 16))
    pairs = semantic_pairs(blocks(alike), 0.9, tmp_path, most_rows=500)
    assert len(pairs) < 2_000 * 200


def test_what_has_no_direction_is_no_copy(tmp_path):
    embedding = np.zeros((4, 8))
    embedding[1, 0] = embedding[3, 0] = np.nan
    assert len(semantic_pairs(blocks(embedding), 0.5, tmp_path)) == 0
    assert len(semantic_pairs([], 0.5, tmp_path)) == 0
    with pytest.raises(ValueError, match="at most 1024"):
        whole_numbers(np.zeros((1, 1_025)))
