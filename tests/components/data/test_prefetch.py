import time

import pytest
import torch

from components.data.batches import BatchSource
from components.data.prefetch import Prefetched
from tests.components.data.makers import write_numbered_set


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("train")
    write_numbered_set(out, 500, side=8, shard_rows=100)
    return out


class Counted:
    """Write down the calls."""

    def __init__(self, source):
        self.source, self.calls = source, []
        self.num_rows, self.shape = source.num_rows, source.shape
        self.content_hash = source.content_hash

    def atom(self, position, size):
        self.calls.append((position, size))
        return self.source.atom(position, size)

    def first(self, count):
        return self.source.first(count)


# Steady, with the stride of two ranks, with a jump back, and with another size at the end.
WALKS = [
    [(at, 8) for at in range(0, 800, 8)],
    [(at, 4) for at in range(4, 1200, 8)],
    [(0, 8), (8, 8), (16, 8), (0, 8), (8, 8), (480, 8), (488, 30), (518, 30)],
]


@pytest.mark.parametrize("walk", WALKS)
def test_the_same_batches_in_the_same_order(folder, walk):
    plain, ahead = (
        BatchSource(folder, "train", 8, 3),
        Prefetched(BatchSource(folder, "train", 8, 3)),
    )
    for place in walk:
        one, two = plain.atom(*place), ahead.atom(*place)
        assert one.keys == two.keys and torch.equal(one.image_NCHW, two.image_NCHW)
    ahead.close()


def test_reading_overlaps_with_work(folder):
    source = Counted(BatchSource(folder, "train", 8, 0))
    ahead = Prefetched(source, depth=2)
    for at in range(0, 80, 8):
        ahead.atom(at, 8)
        # The next two come without being asked for, while this thread would train.
        deadline = time.monotonic() + 20
        while (at + 16, 8) not in source.calls and time.monotonic() < deadline:
            time.sleep(0.001)
        assert source.calls[-1] == (at + 16, 8)
    ahead.close()
    assert source.calls == [(at, 8) for at in range(0, 96, 8)]  # each read once


def test_an_error_comes_when_its_atom_is_asked_for(folder):
    class Broken(Counted):
        def atom(self, position, size):
            if position >= 16:
                raise RuntimeError("broken disk")
            return super().atom(position, size)

    ahead = Prefetched(Broken(BatchSource(folder, "train", 8, 0)))
    assert ahead.atom(0, 8).size == 8 and ahead.atom(8, 8).size == 8
    with pytest.raises(RuntimeError, match="broken disk"):
        ahead.atom(16, 8)
    ahead.close()
