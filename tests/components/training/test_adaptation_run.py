"""An adaptation as a job: from an artifact to one that names its parent, continued and stopped."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from components.artifacts.artifact import GENERATOR, load_generator, load_start, read_card
from components.data.pictures import picture_files, pictures_hash, read_picture
from components.errors import DataError
from components.training.distributed import World
from components.training.job import TrainingJob
from components.training.run import run_job
from pipeline.places import bundled_folder
from pipeline.stages.train import resolve_recipe
from tests.pipeline.commands.test_editing_commands import artifact

RECIPE = {
    "name": "stylegan_nada",
    "source": "a red circle",
    "target": "a blue circle",
    "templates": ["{}"],
    "selected_layers": 2,
    "selection_batch": 2,
    "watch_role": "scorer",
    "watch_images": 4,
    "watch_every_kimg": 0.004,
}


class Config:
    recipe = RECIPE


def job_of(folder, start, kimg=0.012, **recipe):
    Config.recipe = {**RECIPE, **recipe}
    fields = json.loads(json.dumps(resolve_recipe(Config, None, read_card(start))))
    train = {"resolution_px": 16, "total_kimg": kimg, "batch": 2, "micro_batch": 2}
    train |= {"ema_half_life_kimg": 0.0, "report_every_kimg": 0.004, "sample_every_kimg": 0.0}
    return TrainingJob(
        stage="adapt_blue",
        seed=3,
        recipe=fields,
        train=train | {"save_every_kimg": 0.004},
        run_dir=str(folder),
        encoders_dir=str(bundled_folder() / "encoders"),
        start_dir=str(start),
        pictures_dir=str(folder.parent),
        fingerprint=f"{recipe}",
    )


def run(job):
    told = []
    run_job(job, World(), told.append, "cpu")
    return [line for line in told if line["kind"] == "tick"]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return artifact(tmp_path_factory.mktemp("start") / "start", 0)


def test_an_artifact_names_its_parent_and_is_bit_equal_when_continued(start, tmp_path):
    whole = run(job_of(tmp_path / "whole", start))
    assert {"watch/diversity", "watch/gain", "loss/generator/directional"} <= set(whole[-1])
    run(job_of(tmp_path / "parts", start, kimg=0.006))
    (tmp_path / "parts" / "artifact" / "card.json").unlink()
    run(job_of(tmp_path / "parts", start))
    folders = [tmp_path / name / "artifact" for name in ("whole", "parts")]
    assert (folders[0] / GENERATOR).read_bytes() == (folders[1] / GENERATOR).read_bytes()
    card = read_card(folders[0])
    assert card["parent_sha256"] == read_card(start)["files"][GENERATOR]
    assert card["recipe"]["fields"]["parent"]["name"] == "projected_gan"
    with Image.open(folders[0] / "samples.png") as sheet:
        tiles = np.asarray(sheet)
    assert tiles.std() > 0
    # It is adapted again, and its parent's family goes with it.
    again = resolve_recipe(Config, None, card)
    assert again["parent"] == card["recipe"]["fields"]["parent"]
    before, after = (
        load_generator(start)[0].state_dict(),
        load_generator(folders[0])[0].state_dict(),
    )
    changed = {n for n, x in after.items() if not torch.equal(x, before[n])}
    assert changed and all(".layers." in n and "style" not in n for n in changed)


def test_a_collapse_leaves_the_last_good_weights(start, tmp_path):
    """A rate that destroys the images: the run ends early, and what it leaves is still varied."""
    job = job_of(tmp_path / "run", start, kimg=0.4, learning_rate=1.0, stop_below_diversity=0.98)
    ticks = run(job)
    assert ticks[-1]["nimg"] < 400 and ticks[-1]["watch/diversity"] < 0.98
    card = read_card(tmp_path / "run" / "artifact")
    if card["best"].get("diversity") is not None:
        assert card["best"]["diversity"] >= 0.98
    assert card["best"]["stopped_at_nimg"] == ticks[-1]["nimg"]
    assert card["nimg"] < ticks[-1]["nimg"]
    assert run(job) == []  # finished: nothing goes on from a collapsed state


def test_pictures_are_read_and_their_bytes_count(start, tmp_path):
    folder = tmp_path / "three"
    folder.mkdir()
    for i in range(3):
        Image.new("RGB", (20 + i, 24), (0, 0, 80 * i)).save(folder / f"{i}.png")
    ticks = run(
        job_of(tmp_path / "run", start, kimg=0.004, source="", target="", target_pictures="three")
    )
    assert np.isfinite(ticks[-1]["loss/generator/directional"])
    before = pictures_hash(folder)
    Image.new("RGB", (9, 9)).save(folder / "1.png")
    assert pictures_hash(folder) != before and len(picture_files(folder)) == 3
    (folder / "2.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="not an image"):
        read_picture(folder / "2.png")
    with pytest.raises(DataError, match="no such folder"):
        picture_files(tmp_path / "none")


def test_a_release_brings_its_text_encoder():
    release = load_start(bundled_folder() / "release")
    card = read_card(bundled_folder() / "release")
    assert card["shape"]["pooled_dim"] and release.text_encoder
