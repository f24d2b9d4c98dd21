"""The longest run starts first: it waits most of its time, so other tests go on beside it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest

# Before torch is imported. The tests' networks are too small for two threads to help, and threads
# that wait for each other while another process has their core are ten times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.whole_graph import STARTED, WholeGraph

MANY = 500  # tests: a shorter selection starts the whole graph when it comes to it


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start `dvc repro` for tests/test_end_to_end.py, when all tests are to run."""
    wanted = any(item.path.name == "test_end_to_end.py" for item in session.items)
    if wanted and len(session.items) > MANY and not session.config.option.collectonly:
        folder = Path(tempfile.mkdtemp(prefix="ganline-e2e-")) / "project"
        with contextlib.suppress(pytest.skip.Exception):  # no git here: the test itself says so
            session.config.stash[STARTED] = WholeGraph(folder)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop what still runs and remove its folder, also when the tests are interrupted."""
    started = session.config.stash.get(STARTED, None)
    if started is not None:
        started.end()
        shutil.rmtree(started.folder.parent, ignore_errors=True)
