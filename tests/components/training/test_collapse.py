"""Collapse is noticed at the next look, acted on as asked, and never seen in a healthy run."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from components.artifacts.artifact import read_card
from components.errors import CollapseError
from components.training.collapse import (
    CONDITIONS,
    SEEDS,
    Looker,
    grown,
    judge,
    spreads,
)
from components.training.detours import detours_of
from components.training.distributed import World
from components.training.job import TrainingJob
from components.training.run import run_job
from components.training.run_log import RunLog
from models.interfaces import Batch, Condition
from tests.components.training.fake_recipes import FakeGAN, FakeGenerator, fake_job, use_family

REPORTS = Path(__file__).parents[3] / "reports"
HEALTHY = {"look/spread": 0.3, "look/prompt": 0.2, "look/seed": 0.2}


class Spoilt(FakeGenerator):
    """Draws one picture, or goes blind, from the moment that `Spoiling.when` says."""

    def synthesize(self, ws_NLD: Any, condition: Condition, noise: Any = "const") -> Any:
        image = super().synthesize(ws_NLD, condition, noise)
        return image * 0 + 0.25 if Spoiling.when() and not self.training else image


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spoiling(FakeGAN):
    name: ClassVar[str] = "spoiling_gan"
    when: ClassVar[Callable[[], bool]] = lambda: False

    def generator(self, resolution: int, shape: Any) -> nn.Module:
        return Spoilt(shape.num_labels)


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    use_family(monkeypatch, "spoiling_gan", f"{__name__}:Spoiling")


def job(folder: Path, **train: Any) -> TrainingJob:
    sizes = {"save_every_kimg": 0.016, "report_every_kimg": 0.008, "look_every_kimg": 0.016}
    return fake_job(folder, "spoiling_gan", **sizes | train)


def start(the_job: TrainingJob) -> tuple[dict[str, Any], list[str]]:
    """Return the artifact's card, and the notices of the run."""
    run_job(the_job, World(), lambda line: None, "cpu")
    folder = Path(the_job.run_dir)
    records = RunLog(folder / "metrics.jsonl").records()
    notices = [f"{r['nimg']} {r['text']}" for r in records if r["kind"] == "notice"]
    return read_card(folder / "artifact"), notices


def seen(folder: Path) -> int:
    """Return the images seen, by the run's log."""
    records = RunLog(folder / "metrics.jsonl").records()
    return max((int(r["nimg"]) for r in records), default=0)


def test_a_healthy_run_is_told_nothing_and_the_looks_change_no_weight(tmp_path):
    Spoiling.when = lambda: False
    looked, notices = start(job(tmp_path / "a"))
    assert notices == []
    plain, _ = start(job(tmp_path / "b", collapse="off"))
    assert looked["files"]["generator.safetensors"] == plain["files"]["generator.safetensors"]
    ticks = [r for r in RunLog(tmp_path / "a" / "metrics.jsonl").records() if r["kind"] == "tick"]
    assert [r["nimg"] for r in ticks if "look/spread" in r] == [16, 32, 48, 64, 80]


@pytest.mark.row("A12")
def test_warn_tells_and_goes_on(tmp_path):
    Spoiling.when = lambda: seen(tmp_path / "a") >= 24
    card, notices = start(job(tmp_path / "a"))
    assert card["nimg"] == 80
    assert [int(text.split()[0]) for text in notices] == [32, 48, 64, 80]  # from the next look on
    assert "sign of collapse at nimg 32: all pictures are the same (spread 0.0000" in notices[0]


@pytest.mark.row("A12")
def test_stop_leaves_the_weights_of_the_last_healthy_look(tmp_path):
    Spoiling.when = lambda: seen(tmp_path / "a") >= 40
    card, notices = start(job(tmp_path / "a", collapse="stop"))
    assert card["nimg"] == 32 and len(notices) == 1 and "nimg 48" in notices[0]
    assert "the stage ends" in notices[0]
    Spoiling.when = lambda: False
    healthy, _ = start(job(tmp_path / "b", collapse="stop", total_kimg=0.032))
    assert card["files"]["generator.safetensors"] == healthy["files"]["generator.safetensors"]


@pytest.mark.row("A12")
def test_rollback_goes_back_twice_and_then_gives_up(tmp_path):
    Spoiling.when = lambda: seen(tmp_path / "a") >= 40 and len(detours_of(tmp_path / "a")) < 1
    card, notices = start(job(tmp_path / "a", collapse="rollback"))
    assert card["nimg"] == 80 and len(notices) == 1
    assert "back to nimg-000000000032, on with other data" in notices[0]
    Spoiling.when = lambda: seen(tmp_path / "b") >= 40
    with pytest.raises(CollapseError, match="the model has collapsed: all pictures"):
        start(job(tmp_path / "b", collapse="rollback"))
    states = [turn["from"] for turn in detours_of(tmp_path / "b")]
    assert states == ["nimg-000000000032", "nimg-000000000016"]  # the second one is older


@pytest.mark.fuzz
@pytest.mark.row("A12")
def test_no_false_alarm_in_two_hundred_healthy_looks(tmp_path):
    Spoiling.when = lambda: False
    looks = 0
    for seed in range(4):
        sizes = {"total_kimg": 0.4, "look_every_kimg": 0.008, "save_every_kimg": 0.0}
        run = dataclasses.replace(job(tmp_path / str(seed), **sizes), seed=seed)
        _, notices = start(run)
        assert notices == []
        records = RunLog(tmp_path / str(seed) / "metrics.jsonl").records()
        looks += sum("look/spread" in record for record in records)
    assert looks == 200


# Signs


@pytest.mark.row("A12")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"look/spread": 0.02, "look/prompt": 0.0, "look/seed": 0.0}, "all pictures are the same"),
        ({"look/prompt": 0.01}, "another prompt or class changes nothing"),
        ({"look/seed": 0.019}, "another seed changes nothing"),
        (
            {"stat/discriminator/real_sign": 0.995, "stat/discriminator/fake_sign": -1.0},
            "never wrong",
        ),
        ({"loss/discriminator/adversarial": 0.001}, "never wrong"),
        ({"measure/frechet": 91.0, "measure/best_frechet": 30.0}, "91.0, its best was 30.0"),
    ],
)
def test_every_sign_alone_is_seen_at_once(change, says):
    largest = grown({}, HEALTHY)
    assert judge(HEALTHY, largest, progress=0.5) == {}
    (words,) = judge({**HEALTHY, **change}, largest, progress=0.1).values()
    assert says in words


def test_what_never_showed_is_held_against_a_model_only_later():
    record = {"look/spread": 0.3, "look/prompt": 0.001, "look/seed": 0.3}
    assert judge(record, {}, progress=0.1) == {}
    assert list(judge(record, {}, progress=0.3)) == ["look/prompt"]


def test_spreads_of_known_pictures():
    prompt, seed = torch.randn(8, 1, 30), torch.randn(1, 4, 30)
    blind = spreads(seed.expand(8, 4, 30))
    assert blind["look/prompt"] == 0 and blind["look/seed"] == pytest.approx(blind["look/spread"])
    assert spreads(prompt.expand(8, 4, 30))["look/seed"] == 0
    both = spreads(prompt + seed)  # variances of independent parts add up
    parts = both["look/prompt"] ** 2 + both["look/seed"] ** 2
    assert both["look/spread"] ** 2 == pytest.approx(parts, rel=1e-4)


def test_different_conditions_with_the_same_seeds():
    class Text:
        def atom(self, position: int, size: int) -> Batch:
            rows = torch.nn.functional.one_hot(torch.arange(size) // 3, 64).float()
            return Batch(size=size, condition=Condition(pooled_ND=rows))

    looker = Looker.of(Text(), 1)
    rows = looker.condition.pooled_ND.argmax(dim=1).view(CONDITIONS, SEEDS)
    assert torch.equal(rows[:, 0], torch.arange(CONDITIONS)) and (rows == rows[:, :1]).all()
    seeds = torch.tensor(looker.seeds).view(CONDITIONS, SEEDS)
    assert (seeds == seeds[:1]).all() and len(set(looker.seeds)) == SEEDS


@pytest.mark.row("A12")
def test_no_false_alarm_in_the_recorded_runs():
    """Ticks of the default's stages in git; their spreads were not recorded yet."""
    judged = 0
    for path in sorted(REPORTS.glob("*.csv")):
        ticks: dict[str, dict[str, float]] = {}
        for row in csv.DictReader(path.open()):
            if "kimg" in row:
                ticks.setdefault(row["kimg"], {})[row["series"]] = float(row["value"])
        for record in ticks.values():
            assert judge(record, {}, progress=1.0) == {}, (path, record)
            judged += 1
    assert judged > 30


# Real families
