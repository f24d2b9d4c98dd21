"""Clusters of a test, that end with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def begin(monkeypatch) -> Iterator[Any]:
    """Start a cluster; what was started ends with the test."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")
    started: list[Any] = []

    def start_one(kind: type) -> Any:
        started.append(kind())
        return started[-1]

    yield start_one
    for one in started:
        one.kill()
