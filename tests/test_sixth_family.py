"""A sixth family comes as an installed package: everything works, and no line of ours changes.

The toy (tests/fixtures/toy_gan, 68 lines with its imports) is copied to a folder and registered by
an entry point; the commands run in a copy of the three packages as they are.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from components.artifacts.artifact import read_card
from tests.pipeline import tiny_world
from tests.pipeline.command import checkout, kill, nimg_of, run, start, train_words, wait_for
from tests.pipeline.trained_world import EVALUATE, trained_world
from tests.plug_in import install_toy, python_path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

KIMG = 1.024


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> dict[str, str]:
    """The environment in which the toy is installed."""
    return python_path(install_toy(tmp_path_factory.mktemp("site-packages")))


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = trained_world(checkout(tmp_path_factory.mktemp("world")))
    (folder / "dvc.yaml").write_text("stages: {}\n")
    write_params(folder)
    return folder


def write_params(folder: Path, **recipe: object) -> None:
    """Write params of the toy, with these fields of its recipe."""
    file = tiny_world.write_params(
        folder,
        train_base={"total_kimg": KIMG, "sample_every_kimg": 0.0},
        evaluate=json.loads(json.dumps(dataclasses.asdict(EVALUATE))) | {"model": "aligned"},
        publish={"register": False},
    )
    values = yaml.safe_load(file.read_text())
    values["train_base"]["recipe"] = {"name": "toy", **recipe}
    file.write_text(yaml.safe_dump(values, sort_keys=False))


def test_its_params_are_strict(world, path):
    write_params(world)
    code, log = run(world, "pipeline.params", **path)
    assert code == 0, log
    write_params(world, z_dimm=3, learning_rate=2.0)
    code, log = run(world, "pipeline.params", **path)
    assert code == 2
    assert "train_base.recipe.z_dimm" in log and "did you mean z_dim?" in log
    assert "train_base.recipe.learning_rate" in log and "from 0.0 to 1.0" in log
    write_params(world)
    code, log = run(world, "pipeline.params")  # not installed here
    assert code == 2 and "unknown recipe 'toy'" in log


def test_a_dry_run_counts_its_networks(world, path):
    write_params(world)
    code, log = run(world, *train_words("--dry-run"), **path)
    assert code == 0, log
    pixels = 3 * tiny_world.SIDE**2
    inputs = 4 + tiny_world.WIDTH + 1
    assert f"generator: {pixels * inputs}" in log and f"discriminator: {pixels + 1}" in log


def test_two_iterations_without_ray_are_a_function_of_the_seed(world, path, tmp_path):
    job = {
        "stage": "train_base",
        "seed": 1,
        "recipe": {"name": "toy"},
        "train": {**tiny_world.TRAIN, "total_kimg": 0.032},
        "data_dir": str(world / "data/train"),
        "encoders_dir": str(world / "artifacts/encoders"),
    }
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        (tmp_path / "job.json").write_text(json.dumps({**job, "run_dir": str(folder)}))
        code, log = run(world, "components.training", str(tmp_path / "job.json"), **path)
        assert code == 0, log
        made.append(load_file(folder / "artifact" / "generator.safetensors"))
    fresh, drawn = made[0]["draw.weight"], made[1]["draw.weight"]
    assert torch.equal(fresh, drawn) and fresh.isfinite().all()


@pytest.fixture(scope="module")
def trained(world, path) -> Path:
    """artifacts/base by the stage's command on Ray, killed in the middle and continued."""
    write_params(world)
    words = train_words("--report", "reports/base.json", "--curve", "reports/base.csv")

    def run_dir() -> Path:
        found = [f for f in (world / "runs").glob("train_base-*") if (f / "states").is_dir()]
        return next(iter(found), world / "none")

    command = start(world, *words, **path)
    wait_for(lambda: nimg_of(run_dir()) >= 128, command)
    kill(command.pid)
    command.wait()
    assert nimg_of(run_dir()) < KIMG * 1000
    # Go on without Ray, as a bare machine does; the stage's command then takes what is finished.
    code, log = run(world, "components.training", str(run_dir() / "job.json"), **path)
    assert code == 0 and '"resumed_from_nimg": 0' not in log, log
    code, log = run(world, *words, **path)
    assert code == 0 and "is finished" in log, log
    return world / "artifacts" / "base"


def test_a_killed_run_ends_bit_equal_to_one_that_was_not(world, path, trained, tmp_path):
    assert read_card(trained)["recipe"] == {
        "name": "toy",
        "fields": {"z_dim": 4, "learning_rate": 0.01},
    }
    (job,) = (world / "runs").glob("train_base-*/job.json")
    values = {**json.loads(job.read_text()), "run_dir": str(tmp_path / "run"), "artifact_dir": ""}
    (tmp_path / "job.json").write_text(json.dumps(values))
    code, log = run(world, "components.training", str(tmp_path / "job.json"), **path)
    assert code == 0, log
    alone = tmp_path / "run" / "artifact" / "generator.safetensors"
    assert alone.read_bytes() == (trained / "generator.safetensors").read_bytes()


def test_it_is_measured_published_and_drawn(world, path, trained):
    stage = ["--data", "data/train", "--encoders", "artifacts/encoders", "--truth", "none"]
    stage += ["--decisions", "none", "--model", str(trained), "--out", "artifacts/evaluation"]
    stage += ["--report", "reports/evaluation.json", "--curve", "reports/truncation.csv"]
    code, log = run(world, "pipeline.stages.evaluate", *stage, **path)
    assert code == 0, log
    report = json.loads((world / "reports/evaluation.json").read_text())
    assert report["frechet_dino"]["after"] > 0

    words = ["--model", str(trained), "--encoders", "artifacts/encoders", "--report", "reports/p"]
    words += ["--evaluation", "artifacts/evaluation", "--out", "artifacts/release"]
    code, log = run(world, "pipeline.stages.publish", *words, **path)
    assert code == 0, log

    words = ["generate", "a red circle", "--model", "artifacts/release", "--out", "drawn.png"]
    code, log = run(world, "pipeline.cli", *words, **path)
    assert code == 0, log
    with Image.open(world / "drawn.png") as image:
        assert image.size[0] >= tiny_world.SIDE
    code, log = run(world, "pipeline.cli", *words[:-1], "again.png")  # not installed here
    assert code == 5 and "family 'toy'" in log and "Traceback" not in log


def test_a_plain_state_dict_of_it_is_imported(world, path, tmp_path):
    inputs, pixels = 3 + tiny_world.WIDTH, 3 * 8**2
    weight, bias = torch.randn(pixels, inputs), torch.randn(pixels)
    torch.save({"toy.weight": weight, "toy.bias": bias, "toy.z": torch.ones(3)}, tmp_path / "t.pt")
    words = ["import", str(tmp_path / "t.pt"), "--out", "imported"]
    words += ["--encoders", "artifacts/encoders"]
    code, log = run(world, "pipeline.cli", *words, **path)
    assert code == 0, log
    assert read_card(world / "imported")["recipe"]["fields"]["z_dim"] == 3
    assert torch.equal(load_file(world / "imported/generator.safetensors")["draw.bias"], bias)
    code, log = run(world, "pipeline.cli", *words, "--force")  # not installed here
    assert code == 5 and "none of StyleGAN-T" in log
