"""Shards that Ray's actors make are those of a loop here, also when an actor is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.data import scoring
from components.data.config import FilterConfig
from components.data.labels import Labels
from components.data.shard_tables import ShardTables
from components.errors import DataError
from pipeline.stages import synthesize
from tests.components.data.makers import HashedText
from tests.pipeline.actors import KillsOne, by_actor
from tests.pipeline.stages.test_filter import (
    real_similarity,
    run,
    run_filter,
    run_score,
    write_params,
)
from tests.pipeline.tiny_world import write_encoders

LOOSE = ("--set", "filter.clip_similarity_min=-1.0", "--set", "filter.shard_rows=10")
ON_RAY = ("--set", "filter.backend=ray", "--set", "cluster.scoring_workers=2")


@pytest.fixture()
def scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with 120 rows of scores by a real, random CLIP."""
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setattr(scoring, "ClipSimilarity", real_similarity)
    write_encoders(tmp_path / "encoders")
    write_params(tmp_path, synthesize={"pairs": 120, "shard_pairs": 50})
    raw, truth = tmp_path / "raw", tmp_path / "truth"
    assert run(synthesize, tmp_path, "--raw", str(raw), "--truth", str(truth)) == 0
    assert run_score(tmp_path) == 0
    return tmp_path


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "train").iterdir()}


@pytest.mark.fuzz
@pytest.mark.row("B17")
def test_shards_made_on_ray_are_the_same_also_when_an_actor_is_killed(
    scored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_filter(scored, *LOOSE) == 0
    local = shards(scored)
    monkeypatch.setenv("GANLINE_TEST_MARK", str(scored))
    shard = "filter-*/train-*.parquet"
    killer = KillsOne(str(scored), lambda: any((scored / "runs").glob(shard)))
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
    build["text_encoder"] = HashedText()
    row = dict.fromkeys(("caption", "group", "label", "sha256"), "") | {"captions": None}
    row |= {"key": "k", "shard": "gone.png", "offset": 0, "num_bytes": 9}
    with pytest.raises(DataError, match="gone"):
        list(by_actor([{"rows": [row]}], ShardTables, build))
