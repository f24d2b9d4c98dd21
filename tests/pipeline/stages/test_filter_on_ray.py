"""Shards that Ray's actors make are those of a loop here, also when an actor is killed."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import psutil
import pytest

from components.data import scoring
from components.data.config import FilterConfig
from components.data.labels import Labels
from components.data.shard_tables import ShardTables
from components.errors import DataError
from pipeline.cluster.row_batches import BatchActor, unpack, windows
from pipeline.stages import synthesize
from tests.components.data.makers import HashedText
from tests.pipeline.stages.test_filter import (
    real_similarity,
    run,
    run_filter,
    run_score,
    write_params,
)
from tests.pipeline.tiny_world import write_encoders

LOOSE = ("--set", "filter.clip_similarity_min=-1.0", "--set", "filter.shard_rows=40")
ON_RAY = ("--set", "filter.backend=ray", "--set", "cluster.scoring_workers=2")


@pytest.fixture()
def scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with 500 rows of scores by a real, random CLIP."""
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setattr(scoring, "ClipSimilarity", real_similarity)
    write_encoders(tmp_path / "encoders")
    write_params(tmp_path)
    raw, truth = tmp_path / "raw", tmp_path / "truth"
    assert run(synthesize, tmp_path, "--raw", str(raw), "--truth", str(truth)) == 0
    assert run_score(tmp_path) == 0
    return tmp_path


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "train").iterdir()}


class KillsOne(threading.Thread):
    """End one of the actors, which have `mark` in their environment, once a shard is there."""

    def __init__(self, work: Path, mark: str) -> None:
        super().__init__(daemon=True)
        self.work, self.mark, self.killed = work, mark, ""

    def run(self) -> None:
        limit = time.monotonic() + 120
        while not self.killed and time.monotonic() < limit:
            if list(self.work.glob("filter-*/train-*.parquet")):
                self.killed = self._kill()
            time.sleep(0.005)

    def _kill(self) -> str:
        for process in psutil.process_iter(["cmdline"]):
            words = " ".join(process.info["cmdline"] or [])
            if words.startswith("ray::MapWorker") and self.mark in process.environ().values():
                process.kill()
                return words
        return ""


@pytest.mark.fuzz
@pytest.mark.row("B17")
def test_shards_made_on_ray_are_the_same_also_when_an_actor_is_killed(
    scored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_filter(scored, *LOOSE) == 0
    local = shards(scored)
    monkeypatch.setenv("GANLINE_TEST_MARK", str(scored))
    killer = KillsOne(scored / "runs", str(scored))
    killer.start()
    assert run_filter(scored, *LOOSE, *ON_RAY) == 0
    killer.join(1)
    assert killer.killed
    found = shards(scored)
    assert found.keys() == local.keys() and len(found) > 8
    assert {name for name in found if found[name] != local[name]} == set()


def test_a_sample_that_is_gone_is_told_in_words(tmp_path: Path) -> None:
    source = {"config": {"path": "", "kind": "image_folder"}, "folder": str(tmp_path), "name": ""}
    build = {"origins": [source], "config": FilterConfig(), "labels": Labels.of([])}
    actor = BatchActor(ShardTables, build | {"text_encoder": HashedText()})
    row = dict.fromkeys(("caption", "group", "label", "sha256"), "") | {"captions": None}
    row |= {"key": "k", "shard": "gone.png", "offset": 0, "num_bytes": 9}
    ((packed,),) = windows([{"rows": [row]}], 1)
    made = actor({name: [value] for name, value in packed.items()})
    with pytest.raises(DataError, match="gone"):
        unpack({name: value[0] for name, value in made.items()})
