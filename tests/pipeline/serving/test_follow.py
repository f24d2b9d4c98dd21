"""A model that is served by its alias: when the alias moves, the new one draws what comes next."""

import asyncio
import json
import threading
import time
from pathlib import Path
from types import MappingProxyType

import pytest

from components.errors import StorageError
from pipeline.serving import models as models_module
from pipeline.serving.draw_queue import DrawQueue, Job, QueueClosed
from pipeline.serving.models import Models
from pipeline.serving.web import _Answers


class Fake:
    """Stands for an opened model: draws its folder's name, slowly."""

    def __init__(self, folder: Path) -> None:
        self.card = {"shape": {"pooled_dim": 8}}
        self.name, self.queue = folder.name, DrawQueue(self._draw)

    def _draw(self, rows, key):
        time.sleep(0.02)
        return [self.name] * len(rows)


@pytest.fixture
def moving(monkeypatch):
    monkeypatch.setattr(models_module, "Drawer", Fake)
    version = ["1"]
    models = Models({"m": ("the model", lambda: Path(version[0]))})
    models.get()
    yield models, version
    models.close()


def drawn(models: Models) -> str:
    while True:
        try:
            return models.get().queue.submit(Job(["row"], key="x")).result(20)[0]
        except QueueClosed:
            continue


def test_a_moved_alias_is_followed_and_no_request_is_lost(moving):
    models, version = moving
    models.follow("m", lambda: version[0], every_s=0.05)
    answers: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answers.append(drawn(models))

    clients = [threading.Thread(target=ask) for _ in range(8)]
    for client in clients:
        client.start()
    while len(answers) < 20:
        time.sleep(0.01)
    version[0] = "2"
    limit = time.monotonic() + 20
    while "2" not in answers and time.monotonic() < limit:
        time.sleep(0.01)
    stop.set()
    for client in clients:
        client.join(20)
        assert not client.is_alive()
    assert set(answers) == {"1", "2"} and drawn(models) == "2"


def test_a_registry_that_is_away_changes_nothing(moving):
    models, _ = moving
    asked = []

    def away() -> str:
        asked.append(1)
        if len(asked) > 1:
            raise StorageError("the registry is away", "MLflow", "wait")
        return "1"

    models.follow("m", away, every_s=0.01)
    while len(asked) < 3:
        time.sleep(0.01)
    assert drawn(models) == "1"


def test_a_request_that_met_a_closed_queue_asks_the_next_model(moving):
    """What `_answer` does between looking up a model and queueing for it."""
    models, _ = moving
    tried = []

    async def work(drawer, body):
        tried.append(drawer)
        if len(tried) == 1:
            raise QueueClosed
        return "answered"

    class Request:
        query_params = MappingProxyType({})

        async def stream(self):
            yield json.dumps({}).encode()

    answers = _Answers(models, timeout_s=5)
    assert asyncio.run(answers._answer(Request(), work)) == "answered" and len(tried) == 2
