"""Inputs of a training on their way to workers that see nothing of this machine but a store."""

from __future__ import annotations

import pickle

import pytest
import torch

from components.data.at_hand import NODE, at_hand
from components.data.batches import BatchSource
from components.data.far_files import place_of
from components.data.far_objects import folders_in, names_in
from components.data.shard_store import CACHE, move_to_store
from components.data.shard_tables import ClipText
from components.errors import ConfigError
from components.training.job import TrainingJob
from pipeline.cluster import inputs, launch, on_actors, ray_door
from pipeline.cluster.config import ClusterConfig
from tests.pipeline import tiny_world


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setenv(NODE, str(tmp_path / "node"))
    monkeypatch.setenv(CACHE, str(tmp_path / "rows"))
    return f"file://{tmp_path}/store"


def first_batch(folder):
    return BatchSource(folder, "train", tiny_world.SIDE, seed=3).atom(0, 16)


def test_shards_go_as_rows_that_workers_stream_and_once(store, tmp_path):
    tiny_world.write_data(tmp_path / "train")
    address = inputs.share_folder(tmp_path / "train", store)
    assert address.startswith(f"{store}/inputs/train-")
    assert len(folders_in(place_of(f"{store}/shards"))) > 0
    there = at_hand(address)
    assert sorted(path.name for path in there.iterdir()) == ["manifest.json", "store.json"]
    assert torch.equal(first_batch(there).image_NCHW, first_batch(tmp_path / "train").image_NCHW)
    before = names_in(place_of(f"{store}/inputs"))
    assert inputs.share_folder(tmp_path / "train", store) == address
    assert names_in(place_of(f"{store}/inputs")) == before


def test_a_set_that_lies_in_a_store_already_is_only_listed(store, tmp_path):
    tiny_world.write_data(tmp_path / "train")
    kept = first_batch(tmp_path / "train").image_NCHW
    plain = inputs.share_folder(tmp_path / "train", store)
    move_to_store(tmp_path / "train", f"file://{tmp_path}/shards")
    address = inputs.share_folder(tmp_path / "train", store)
    assert address != plain and torch.equal(first_batch(at_hand(address)).image_NCHW, kept)


def test_a_job_has_addresses_for_all_that_a_worker_reads(store, tmp_path, monkeypatch):
    world = tiny_world.write_world(tmp_path / "world")
    plain = {"stage": "base", "seed": 0, "recipe": tiny_world.RECIPE, "train": tiny_world.TRAIN}
    paths = {"data_dir": f"{world}/data/train", "encoders_dir": f"{world}/artifacts/encoders"}
    job = TrainingJob(**plain, run_dir=str(tmp_path / "runs"), **paths)
    shared = inputs.share_job(job, store)
    assert shared.data_dir.startswith(store) and shared.encoders_dir.startswith(store)
    clip = at_hand(shared.encoders_dir) / "clip/card.json"
    assert clip.read_bytes() == (world / "artifacts/encoders/clip/card.json").read_bytes()
    monkeypatch.delenv("RAY_ADDRESS")
    assert inputs.share_job(job, store) == job  # one machine reads its own files


def test_the_text_side_of_clip_is_opened_where_an_actor_has_fetched_it(store, tmp_path):
    world = tiny_world.write_world(tmp_path / "world")
    clip, words = world / "artifacts/encoders/clip", ["a red circle", "a blue square"]
    here = ClipText(clip)
    here.place = inputs.share_folder(clip, store)
    assert here.place.startswith(f"{store}/inputs/clip-")
    clip.rename(tmp_path / "hidden")
    there = pickle.loads(pickle.dumps(here))  # as it travels to an actor
    assert (there(words) == here(words)).all()


def test_actors_of_a_data_stage_are_told_addresses(store, tmp_path, monkeypatch):
    told = {}

    def actors(items, worker, arguments, *more):
        told.update(arguments)
        return iter(())

    monkeypatch.setattr(ray_door, "map_batches", actors)
    monkeypatch.setattr(launch, "check_answers", lambda address: None)
    world = tiny_world.write_world(tmp_path / "world")
    config, encoders = ClusterConfig(store=store), world / "artifacts/encoders"
    mapped = on_actors.rows_on_ray(config, print, folders=("encoders",))
    arguments = {"encoders": str(encoders), "threads": 3}
    assert list(mapped([], object, arguments)) == [] and not told  # nothing to do, nothing sent
    list(mapped([{"part": 0}], object, arguments))
    assert told["threads"] == 3 and told["encoders"].startswith(f"{store}/inputs/encoders-")
    monkeypatch.setenv("RAY_ADDRESS", "http://head:8265")
    with pytest.raises(ConfigError, match="do not travel through a store"):
        mapped([{"part": 0}], object, arguments)


def test_pictures_outside_of_the_working_folder_are_refused(store, tmp_path):
    world = tiny_world.write_world(tmp_path / "world")
    recipe = {"name": "stylegan_nada", "target_pictures": "../pictures"}
    job = TrainingJob(
        stage="adapt",
        seed=0,
        recipe=recipe,
        train={},
        run_dir="x",
        encoders_dir=f"{world}/artifacts/encoders",
        pictures_dir=str(tmp_path),
    )
    with pytest.raises(ConfigError, match="inside the working folder"):
        inputs.share_job(job, store)
