"""The weights of the lowest measured distance: found, kept through kills and left as the artifact;
measuring changes nothing else.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch

import models.families
from components.artifacts.artifact import load_generator, read_card
from components.errors import ConfigError, Interrupted
from components.evaluation.nets import MeasuringNet
from components.sampling import from_uint8, generate_from
from components.training import site as site_module
from components.training import yardstick
from components.training.distributed import World
from components.training.job import TrainingJob
from components.training.run import run_job
from components.training.run_log import RunLog
from components.training.seeds import derived_seed
from components.training.state import TrainState
from models.families import Family
from tests.components.training.fake_loop import assert_same, run, weights
from tests.components.training.fake_recipes import FakeGAN, FakeSource, fake_config
from tests.pipeline.tiny_world import RECIPE, TRAIN, write_world

IMAGES, SEED = 40, 6
BEST = {"measure_every_kimg": 0.016, "measure_images": IMAGES, "keep_weights": "best"}
FILES = ("generator.safetensors", "discriminator.safetensors", "samples.png")


class Colours(torch.nn.Module):
    """Features that a test can take itself: mean and deviation of each channel."""

    def forward(self, image_NCHW):
        return {"pooled": torch.cat([image_NCHW.mean((2, 3)), image_NCHW.std((2, 3))], 1)}


@pytest.fixture
def fakes(monkeypatch, tmp_path):
    def open_net(folder, role, device):
        torch.randn(7)  # a real net draws its first weights
        net = MeasuringNet(network=Colours(), role=role, name=role, sha256="c0", resizer="none")
        return net

    family = Family(recipe="tests.components.training.fake_recipes:FakeGAN")
    monkeypatch.setattr(models.families, "FAMILIES", {"fake_gan": family})
    monkeypatch.setattr(site_module, "_open", lambda *_: FakeSource())
    monkeypatch.setattr(yardstick, "open_net", open_net)
    (tmp_path / "dino").mkdir()
    (tmp_path / "dino" / "card.json").write_text("{}")


def job(tmp_path, name, **train):
    return TrainingJob(
        stage="train_base",
        seed=SEED,
        recipe={"name": "fake_gan", "learning_rate": 0.02},
        train=dataclasses.asdict(fake_config(**train)),
        run_dir=str(tmp_path / name),
        data_dir="fake",
        encoders_dir=str(tmp_path),
    )


def start(the_job, **options):
    result = run_job(the_job, World(), lambda line: None, "cpu", **options)
    return Path(result["artifact"])


def frechet(artifact):
    """The distance by the textbook's formula, with scipy's square root of a matrix."""
    generator, _ = load_generator(artifact)
    rows, first = FakeSource().atom(0, IMAGES), derived_seed(SEED, "measure") % 2**31
    fake = generate_from(generator, rows.condition, range(first, first + IMAGES))
    real = np.round((rows.image_NCHW.numpy().transpose(0, 2, 3, 1) + 1) * 127.5).astype(np.uint8)
    a, b = (Colours()(from_uint8(x))["pooled"].double().numpy() for x in (real, fake))
    root = scipy.linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    spread = np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    return float(np.square(a.mean(0) - b.mean(0)).sum() + spread)


def test_the_artifact_is_that_of_a_stage_that_ended_at_the_lowest_distance(tmp_path, fakes):
    best = start(job(tmp_path, "best", **BEST))
    points = (16, 32, 48, 64, 80)
    ended = {n: start(job(tmp_path, f"at{n}", total_kimg=n / 1000)) for n in points}
    truth = {n: frechet(artifact) for n, artifact in ended.items()}
    lowest = min(truth, key=truth.__getitem__)
    assert lowest not in (points[0], points[-1]), truth

    card, other = read_card(best), read_card(ended[lowest])
    assert {n: card["files"][n] for n in FILES} == {n: other["files"][n] for n in FILES}
    assert card["nimg"] == card["best"]["nimg"] == lowest
    assert card["best"]["frechet"] == pytest.approx(truth[lowest], rel=1e-6)
    assert (card["best"]["net"], card["best"]["num_fake"]) == ("dino", IMAGES)
    assert other["best"] == {} and other["nimg"] == lowest

    ticks = RunLog(tmp_path / "best" / "metrics.jsonl").records()
    measured = {r["nimg"]: r["measure/frechet"] for r in ticks if "measure/frechet" in r}
    assert measured == pytest.approx(truth, rel=1e-6)
    left = json.loads((best / "metrics.json").read_text())
    assert left["nimg"] == 80 and left["measure/best_kimg"] == lowest / 1000
    assert left["measure/best_frechet"] == measured[lowest]


@pytest.mark.parametrize("polls", [2, 6])
def test_a_stage_that_is_stopped_before_or_after_its_best_leaves_the_same(tmp_path, fakes, polls):
    seen = []
    with pytest.raises(Interrupted):
        start(job(tmp_path, "cut", **BEST), stop=lambda: len(seen) == polls or seen.append(1))
    one, two = (start(job(tmp_path, name, **BEST)) for name in ("cut", "whole"))
    assert read_card(one)["files"] | {"metrics.json": ""} == (
        read_card(two)["files"] | {"metrics.json": ""}  # it holds seconds
    )
    assert read_card(one)["best"] == read_card(two)["best"]


def test_distances_that_do_not_fall_change_nothing():
    """The first of equal ones counts; the networks that go on training are never touched."""
    distances = iter([5.0, 3.0, 3.0, 4.0, 6.0])
    config = fake_config(**BEST)
    kept, records = run(config=config, measure=lambda model: next(distances))
    assert kept.best == {"nimg": 32, "frechet": 3.0} and kept.nimg == 32
    bests = [r["measure/best_frechet"] for r in records if "measure/frechet" in r]
    assert bests == [5.0, 3.0, 3.0, 3.0, 3.0]
    plain, _ = run()
    model = kept.networks.trained["generator"].state_dict()
    assert_same(model, plain.networks.trained["generator"].state_dict())
    watched, _ = run(
        config=dataclasses.replace(config, keep_weights="last"), measure=lambda model: 1.0
    )
    assert watched.best == {} and watched.nimg == 80
    assert_same(weights(watched), weights(plain))


@pytest.mark.row("E7", "G19")
def test_a_distance_that_is_not_finite_is_never_the_best():
    """After one NaN every comparison is false: without a look the next one would be taken."""
    distances = iter([float("nan"), 5.0, float("nan"), 3.0, float("inf")])
    kept, records = run(config=fake_config(**BEST), measure=lambda model: next(distances))
    assert kept.best == {"nimg": 64, "frechet": 3.0} and kept.nimg == 64
    told = [r for r in records if r["kind"] == "notice"]
    assert [r["nimg"] for r in told] == [16, 48, 80]
    assert all("not measured" in r["text"] for r in told)
    measured = [r["nimg"] for r in records if "measure/frechet" in r]
    assert measured == [32, 64]


@pytest.mark.row("E7", "G19")
def test_an_error_while_measuring_is_told_and_ends_nothing():
    counts = []

    def measure(model):
        counts.append(1)
        if len(counts) != 2:
            raise RuntimeError("out of memory\nwhile measuring")
        return 2.0

    kept, records = run(config=fake_config(**BEST), measure=measure)
    assert len(counts) == 5 and kept.best == {"nimg": 32, "frechet": 2.0}
    texts = [r["text"] for r in records if r["kind"] == "notice"]
    assert len(texts) == 4 and "RuntimeError: out of memory while measuring" in texts[0]
    plain, _ = run()
    model = kept.networks.trained["generator"].state_dict()
    assert_same(model, plain.networks.trained["generator"].state_dict())


def test_a_run_that_was_never_measured_leaves_its_last_weights():
    def measure(model):
        raise ValueError("no net")

    kept, _ = run(config=fake_config(**BEST), measure=measure)
    plain, _ = run()
    assert kept.best == {} and kept.nimg == 80
    assert_same(kept.ema.state_dict(), plain.ema.state_dict())


@pytest.mark.row("E5")
def test_measuring_a_real_family_by_a_real_net_leaves_its_training_alone(tmp_path):
    world = write_world(tmp_path)
    sizes = TRAIN | {"total_kimg": 0.064, "sample_every_kimg": 0.0}
    measuring = {"measure_every_kimg": 0.032, "measure_role": "clip", "measure_images": 24}
    files, states = [], []
    for name, more in {"plain": {}, "measured": measuring}.items():
        torch.manual_seed(0)
        the_job = TrainingJob(
            stage="train_base",
            seed=1,
            recipe=RECIPE,
            train=sizes | more,
            run_dir=str(tmp_path / name),
            data_dir=str(world / "data" / "train"),
            encoders_dir=str(world / "artifacts" / "encoders"),
        )
        files.append(read_card(start(the_job))["files"])
        states.append(torch.get_rng_state())
    assert all(files[0][name] == files[1][name] for name in FILES)
    assert torch.equal(*states)
    last = RunLog(tmp_path / "measured" / "metrics.jsonl").last_tick()
    assert 0 < last["measure/best_frechet"] <= last["measure/frechet"]


def test_a_state_of_before_there_was_a_best_goes_on():
    networks = FakeGAN().build(site_module.Site(resolution=8, shape=FakeSource.shape, encoder=None))
    state = TrainState.build(networks, FakeGAN().phases(networks))
    facts = {name: value for name, value in state.facts().items() if name not in ("best", "tick")}
    state.load(state.tensors(), facts | {"nimg": 24})
    assert state.nimg == 24 and state.best == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"measure_role": "guide"}, "no encoder .*guide.*encoders.guide.source"),
        ({"measure_every_kimg": 0.0}, "the best weights, but never measured"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_training(tmp_path, fakes, changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        start(job(tmp_path, "run", **BEST | changes))
    assert "\n" not in str(caught.value) and not (tmp_path / "run" / "states").exists()


def test_data_without_held_out_images_are_refused(tmp_path, fakes, monkeypatch):
    monkeypatch.setattr(FakeSource, "num_rows", 1)
    with pytest.raises(ConfigError, match=r"1 held-out images.*source\.heldout_fraction"):
        start(job(tmp_path, "run", **BEST))
