"""What longest takes starts first: two processes share the tests, a file goes to one of them."""

from __future__ import annotations

import os

import pytest

# Before torch is imported. The tests' networks are too small for two threads to help, and threads
# that wait for each other while another process has their core are ten times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

LONGEST = (  # files, as they are to start
    "test_end_to_end.py",
    "test_cluster.py",
    "test_train_commands.py",
    "test_shared_ray.py",
    "test_tune.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; all others keep their order."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONGEST)))
