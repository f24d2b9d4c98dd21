"""Rows that a submitted job makes: messages through a folder, and whole stages on two nodes."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from components.errors import DataError, ResourceError, StorageError
from pipeline.cluster import mailbox, ray_door, row_job
from pipeline.cluster.config import ClusterConfig
from pipeline.cluster.inputs import share_folder
from pipeline.cluster.mailbox import LIMIT, Mailbox
from pipeline.stages import synthesize
from tests.pipeline import tiny_world
from tests.pipeline.actors import by_actor
from tests.pipeline.cluster.test_lost_nodes import Jobs
from tests.pipeline.command import checkout, run
from tests.pipeline.stages import test_filter
from tests.pipeline.trained_world import trained_world

ITEMS = [{"key": str(i), "value": (None, i, i / 3)[i % 3]} for i in range(3 * LIMIT)]
ROWS = [(i, [{**item, "together": 3}]) for i, item in enumerate(ITEMS)]


def test_messages_come_in_order_and_few_lie_unread(tmp_path: Path) -> None:
    box = Mailbox(tmp_path / "box", "key", lambda: None)
    most = 0

    def send() -> None:
        for item in ITEMS:
            box.put(item)
        box.close()

    sender = threading.Thread(target=send)
    sender.start()
    time.sleep(0.3)
    found = []
    for message in Mailbox(tmp_path / "box", "key", lambda: None):
        most = max(most, sum(path.name.isdigit() for path in (tmp_path / "box").iterdir()))
        found.append(message)
    sender.join()
    assert found == ITEMS and LIMIT // 2 < most <= LIMIT
    assert [path.name for path in (tmp_path / "box").iterdir()] == ["end"]


def test_a_message_that_nobody_has_sent_is_not_opened(tmp_path: Path) -> None:
    def box(key: str) -> Mailbox:
        return Mailbox(tmp_path / "box", key, lambda: None)

    sender = box("key")
    sender.put("one")
    sender.put("two")
    sender.close()
    first, second = tmp_path / "box/00000000", tmp_path / "box/00000001"
    with pytest.raises(StorageError, match="nobody has sent"):
        next(iter(box("another key")))
    first.write_bytes(second.read_bytes())  # a good one, at another place
    with pytest.raises(StorageError, match="nobody has sent"):
        next(iter(box("key")))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Submit a job to a thread of this process: no cluster, the rest as on one."""
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path))
    monkeypatch.setattr(mailbox, "_POLL_S", 0.01)

    def rows(items: Any, worker: type, arguments: dict[str, Any], *_: Any) -> Any:
        return by_actor(items, worker, arguments)

    monkeypatch.setattr(ray_door, "map_batches", rows)
    return lambda task, folder, key: row_job.serve(folder, ClusterConfig(), key=key, **task)


def test_rows_of_a_job_are_those_of_a_loop_and_leave_nothing(here: Any, tmp_path: Path) -> None:
    made = row_job.rows_of_job(ITEMS, tiny_world.Sizer, {"factor": 3}, True, here)
    assert list(made) == ROWS
    assert list((tmp_path / "rows").iterdir()) == []


def test_what_the_job_or_the_items_raise_is_raised_here(here: Any, tmp_path: Path) -> None:
    def torn() -> Any:
        yield ITEMS[0]
        raise DataError("no rows", "scores", "score again")

    with pytest.raises(DataError, match="no rows"):
        list(row_job.rows_of_job(torn(), tiny_world.Sizer, {"factor": 3}, True, here))

    def refused(task: dict[str, Any], folder: Path, key: str) -> None:
        raise ResourceError("no Ray cluster takes it", "RAY_ADDRESS", "start it")

    with pytest.raises(ResourceError, match="no Ray cluster"):
        list(row_job.rows_of_job(ITEMS, tiny_world.Sizer, {"factor": 3}, True, refused))
    assert list((tmp_path / "rows").iterdir()) == []


def test_a_job_ends_when_the_command_that_asked_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_job, "_GONE_S", 0.2)
    sign = tmp_path / row_job.SIGN
    sign.touch()
    watch = row_job._Watch(tmp_path)
    watch()
    time.sleep(0.3)
    with pytest.raises(ResourceError, match="is gone"):
        watch()
    sign.unlink()
    with pytest.raises(ResourceError, match="is gone"):
        row_job._Watch(tmp_path)()


def test_what_a_stage_wrote_is_shared_by_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = tmp_path / "clip"
    net.mkdir()
    (net / "card.json").write_text('{"sha256": "a"}')
    (net / "model.safetensors").write_bytes(b"1234")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert share_folder(net) == str(net)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    first = Path(share_folder(net))
    assert first.parent == tmp_path / "runs/inputs" and written(first) == written(net)
    assert share_folder(net) == str(first)
    (net / "card.json").unlink()  # the copy is a link: a stage writes its files anew
    (net / "card.json").write_text('{"sha256": "b"}')
    assert written(Path(share_folder(net))) == written(net) != written(first)


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.fuzz
@pytest.mark.timeout(3_000)
def test_score_and_evaluate_as_jobs_on_two_nodes_write_the_same_bytes(
    begin, tmp_path: Path
) -> None:
    world = checkout(tmp_path)
    trained_world(world)
    more = {"feature_role": "dino", "num_fake": 64, "num_prompts": 64, "num_curve": 16}
    evaluate = {"model": "aligned", "batch": 8, "truncations": [0.0, 1.0], **more}
    evaluate["kernel_subset_size"] = 10
    small = {"pairs": 60, "shard_pairs": 20}
    test_filter.write_params(world, synthesize=small, evaluate=evaluate)
    raw, truth = str(world / "raw"), str(world / "truth")
    assert test_filter.run(synthesize, world, "--raw", raw, "--truth", truth) == 0
    url = begin(Jobs).address
    encoders = ("--encoders", "artifacts/encoders")
    score = ("pipeline.stages.score", "--source", "raw/train", *encoders)
    measure = ("pipeline.stages.evaluate", "--data", "data/train", *encoders, "--truth", "none")
    measure += ("--decisions", "none", "--model", "artifacts/base", "--report", "report.json")
    measure += ("--curve", "curve.csv")
    for stage, words in (("score", score), ("evaluate", measure)):
        on_ray = ("--set", f"{stage}.backend=ray", "--set", "cluster.cpus_per_worker=1")
        on_ray += ("--set", "cluster.scoring_workers=2")
        here, there = world / f"{stage}_here", world / f"{stage}_there"
        code, log = run(world, *words, "--out", str(here), GANLINE_RUNS_DIR=str(world / "first"))
        assert code == 0, log
        places = {"RAY_ADDRESS": url, "GANLINE_RUNS_DIR": str(world / "second")}
        code, log = run(world, *words, "--out", str(there), *on_ray, **places)
        assert code == 0, log
        assert written(there) == written(here), stage
        assert list((world / "second/rows").iterdir()) == []
