"""What the last commit before the move of the modules left: it loads, goes on and is published.

fixtures/before_the_move/README.md says what the files are and how they were made.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from components.artifacts.artifact import (
    DISCRIMINATOR,
    GENERATOR,
    load_generator,
    load_start,
    read_card,
)
from components.artifacts.family import recipe_from
from components.artifacts.publishing import PublishConfig, Threshold
from components.artifacts.release import load_release
from components.errors import Interrupted
from components.sampling import generate, generate_from
from components.training.config import TrainConfig
from components.training.distributed import World
from components.training.job import TrainingJob
from components.training.run import run_job
from components.training.run_log import RunLog
from models.fields import without_later
from models.interfaces import Condition
from pipeline.params.sections import load_params
from pipeline.stages.train import is_finished, make_job
from tests.pipeline.command import REPOSITORY, run
from tests.pipeline.tiny_world import write_params
from tests.pipeline.trained_world import context, run_publish

KEPT = Path(__file__).parent / "fixtures" / "before_the_move"
COMMIT = "6d018c220c26bfbfcd2e67486653071564aa2abd"
RUN = next((KEPT / "half_finished").iterdir()).name
FAMILIES = {"base": "stylegan_t", "projected": "projected_gan", "classes_px16": "stylegan_xl"}
STOPPED_AT, GOAL = 144, 256  # images that the half-finished and the finished run have seen
SEEDS, PROMPTS = [0, 1, 2], ["a red circle", "a blue square", "a green circle"]
# Another kind of processor adds in another order: at most so many of 255 levels in an image, and
LEVELS = 2
# so much in weights,
NEAR = {"rtol": 1e-4, "atol": 1e-5}
# but for biases of the discriminator whose gradient is zero but for rounding, which Adam makes as
# large as any: a normalisation takes them out again, or the hinge's reals and fakes cancel.
ROUNDED = (".enter.conv.bias", ".residual.conv.bias", ".classify.bias")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the old project at a new place; its params.yaml is completed with today's defaults."""
    folder = tmp_path / "project"
    shutil.copytree(KEPT, folder)
    (folder / "half_finished").rename(folder / "runs")  # git ignores folders of that name
    params, old = write_params(folder), yaml.safe_load((KEPT / "params.yaml").read_text())
    values = yaml.safe_load(params.read_text()) | old
    params.write_text(yaml.safe_dump(values, sort_keys=False))
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(folder / "runs"))
    return folder


@pytest.fixture
def one_thread():
    """Compute as a worker of the old run did."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def new_job(project: Path) -> TrainingJob:
    """Return the training for which the stage command stands today."""
    params = load_params(project / "params.yaml")
    stage, _ = context(
        {"seed": params.seed, "train_base": params.train_base, "cluster": params.cluster},
        stage="train_base", px="", start=None, guidance=None,
        data=project / "data" / "train",
        encoders=project / "artifacts" / "encoders",
        out=project / "artifacts" / "again",
    )  # fmt: skip
    return make_job(stage)


def old_job(project: Path, run_dir: Path) -> TrainingJob:
    """Return the training of the old job file, its paths those of the new place."""
    return dataclasses.replace(
        TrainingJob.read(project / "runs" / RUN / "job.json"),
        run_dir=str(run_dir),
        data_dir=str(project / "data" / "train"),
        encoders_dir=str(project / "artifacts" / "encoders"),
    )


def records_of(runs: Path) -> list[dict]:
    """Return what the run has logged."""
    return RunLog(runs / RUN / "metrics.jsonl").records()


def weights_of(artifact: Path) -> dict[str, torch.Tensor]:
    read_card(artifact)  # compares the files' hashes
    names = (GENERATOR, DISCRIMINATOR)
    return {f"{n} {k}": t for n in names for k, t in load_file(artifact / n).items()}


def assert_close(made: dict[str, torch.Tensor], old: dict[str, torch.Tensor]) -> None:
    """Compare all tensors, as near as another kind of processor comes."""
    assert made.keys() == old.keys()
    for name, tensor in old.items():
        far = {"rtol": 0.0, "atol": 0.05} if name.endswith(ROUNDED) else NEAR
        torch.testing.assert_close(
            made[name], tensor, **far, msg=lambda text, name=name: f"{name}: {text}"
        )


def assert_drawn(images: np.ndarray, name: str) -> None:
    """Compare images with those that the old code drew."""
    with Image.open(KEPT / "drawn" / f"{name}.png") as picture:
        old = np.asarray(picture).astype(int)
    assert old.std() > 10
    assert np.abs(np.concatenate(list(images), axis=1) - old).max() <= LEVELS


@pytest.mark.parametrize("name", FAMILIES)
def test_an_artifact_of_each_family_loads_and_draws_the_same_images(name):
    model, card = load_generator(KEPT / "artifacts" / name, family=FAMILIES[name], resolution=16)
    assert card["git_commit"] == COMMIT
    if width := card["shape"]["pooled_dim"]:
        condition = Condition(pooled_ND=torch.eye(width)[:3])
    else:
        condition = Condition(label_N=torch.arange(3))
    assert_drawn(generate_from(model, condition, SEEDS), name)


@pytest.mark.parametrize("name", FAMILIES)
def test_an_artifact_of_each_family_is_a_start_for_the_next_stage(name):
    start = load_start(KEPT / "artifacts" / name, family=FAMILIES[name])
    assert start.discriminator


def test_the_stage_command_means_the_half_finished_run(project: Path):
    job, old = new_job(project), old_job(project, project / "runs" / RUN)
    assert Path(job.run_dir) == project / "runs" / RUN and (project / "runs" / RUN).is_dir()
    assert job.fingerprint == read_card(KEPT / "artifacts" / "base")["fingerprint"]
    apart = {"artifact_dir": "", "code_version": ""}
    # Fields that came later stand in a new job; they must act as before, or be another run.
    assert without_later(type(recipe_from(job.recipe)), job.recipe) == old.recipe
    assert without_later(TrainConfig, job.train) == old.train
    apart |= {"recipe": {}, "train": {}}
    assert dataclasses.replace(job, **apart) == dataclasses.replace(old, **apart)
    assert not is_finished(job)


def test_the_half_finished_run_ends_where_the_old_code_ended(project, one_thread, caplog):
    job, records = new_job(project), []
    result = run_job(job, World(), records.append, "cpu")
    assert (result["resumed_from_nimg"], result["nimg"]) == (STOPPED_AT, GOAL)
    assert not result["cached"] and is_finished(job)
    assert f"was made by code {COMMIT}" in caplog.text
    log = records_of(project / "runs")
    assert [r["nimg"] for r in log if r["kind"] == "tick"] == list(range(32, GOAL + 1, 32))
    assert log == records_of(KEPT / "half_finished") + records
    made = weights_of(Path(result["artifact"]))
    assert_close(made, weights_of(KEPT / "artifacts" / "base"))
    assert run_job(job, World(), records.append, "cpu")["cached"]


def test_going_on_by_the_old_job_file_is_equal_to_the_bit_with_another_stop(project, one_thread):
    """Of two runs that go on from the old state, one is stopped once more."""
    polls: list[int] = []

    def stop() -> bool:
        polls.append(1)
        return len(polls) == 3

    jobs = [old_job(project, project / "runs" / name) for name in ("through", "stopped")]
    for job in jobs:
        shutil.copytree(project / "runs" / RUN, job.run_dir)
    run_job(jobs[0], World(), lambda record: None, "cpu")
    with pytest.raises(Interrupted):
        run_job(jobs[1], World(), lambda record: None, "cpu", stop=stop)
    again = run_job(jobs[1], World(), lambda record: None, "cpu")
    assert STOPPED_AT < again["resumed_from_nimg"] < GOAL
    one, two = (weights_of(Path(job.run_dir) / "artifact") for job in jobs)
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


@pytest.mark.slow
def test_the_command_itself_goes_on_and_leaves_the_artifact(project: Path):
    words = ["pipeline.stages.train_base", "--data", "data/train", "--out", "artifacts/again"]
    words += ["--encoders", "artifacts/encoders", "--report", "reports/train_base.json"]
    runs = {"PYTHONPATH": str(REPOSITORY), "GANLINE_RUNS_DIR": str(project / "runs")}
    code, log = run(project, *words, **runs)
    assert code == 0, log
    before = records_of(KEPT / "half_finished")
    assert records_of(project / "runs")[: len(before)] == before
    again = project / "artifacts" / "again"
    assert read_card(again)["nimg"] == GOAL
    assert_close(weights_of(again), weights_of(KEPT / "artifacts" / "base"))
    assert [p.name for p in (project / "runs").glob("train_base-*")] == [RUN]
    report = json.loads((project / "reports" / "train_base.json").read_text())
    assert report["nimg"] == GOAL


def test_a_release_opens_and_draws_the_same_images():
    model, card = load_release(KEPT / "artifacts" / "release")
    assert card["git_commit"] == COMMIT
    assert_drawn(generate(model, PROMPTS, SEEDS), "release")


def test_an_artifact_is_published_as_the_old_code_published_it(project: Path):
    shutil.rmtree(project / "artifacts" / "release")
    thresholds = {"frechet_dino.after": Threshold(min=0.0)}
    run_publish(project, PublishConfig(register=False, thresholds=thresholds))
    made, old = project / "artifacts" / "release", KEPT / "artifacts" / "release"
    assert {p.relative_to(made) for p in made.rglob("*")} == {
        p.relative_to(old) for p in old.rglob("*")
    }
    new_card, old_card = read_card(made), read_card(old)
    assert new_card["release"] == old_card["release"]
    assert new_card["files"] == old_card["files"]
    model, _ = load_release(made)
    assert_drawn(generate(model, PROMPTS, SEEDS), "release")
