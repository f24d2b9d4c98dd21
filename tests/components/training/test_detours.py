"""A run that meets NaN again and again goes back to its last state and on along another way."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from components.artifacts.artifact import read_card
from components.errors import Interrupted, NonFiniteError, StorageError
from components.training.detours import FILE, detours_of, seed_after
from components.training.distributed import World
from components.training.job import TrainingJob
from components.training.run import run_job
from components.training.run_log import RunLog
from tests.components.training.fake_recipes import FakeGAN, fake_job, use_family

NAN = float("nan")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Poisoned(FakeGAN):
    """Asks `Poisoned.when` whether a step is NaN."""

    name: ClassVar[str] = "poisoned_gan"
    when: ClassVar[Callable[[int], bool]]

    def __post_init__(self, poison: Any) -> None:
        super().__post_init__(
            lambda phase, nimg: NAN if phase == "make" and Poisoned.when(nimg) else 1.0
        )


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    use_family(monkeypatch, "poisoned_gan", f"{__name__}:Poisoned")


def job(folder: Path, **train: Any) -> TrainingJob:
    sizes = {"save_every_kimg": 0.016, "report_every_kimg": 0.008, "max_nonfinite_skips": 1}
    return fake_job(folder, "poisoned_gan", **sizes | train)


def start(the_job: TrainingJob, **options: Any) -> dict[str, str]:
    result = run_job(the_job, World(), lambda line: None, "cpu", **options)
    return read_card(Path(result["artifact"]))["files"]


def until_it_turns(folder: Path, turns: int = 1) -> Callable[[int], bool]:
    return lambda nimg: nimg >= 48 and len(detours_of(folder)) < turns


@pytest.mark.row("A11")
def test_it_goes_back_and_arrives(tmp_path):
    Poisoned.when = until_it_turns(tmp_path / "a")
    start(job(tmp_path / "a"))
    (turn,) = detours_of(tmp_path / "a")
    assert turn["from"] == "nimg-000000000048" and "NaN or infinity in 2 steps" in turn["why"]
    records = RunLog(tmp_path / "a" / "metrics.jsonl").records()
    (notice,) = [r for r in records if r["kind"] == "notice"]
    assert "back to nimg-000000000048, on with other data" in notice["text"]
    ticks = [r["nimg"] for r in records if r["kind"] == "tick"]
    assert ticks == list(range(8, 81, 8))


def test_before_the_turn_all_is_as_it_was_and_after_it_other_numbers_are_drawn(tmp_path):
    Poisoned.when = until_it_turns(tmp_path / "a")
    start(job(tmp_path / "a"))
    Poisoned.when = lambda nimg: False
    start(job(tmp_path / "b"))
    one, two = (
        {r["nimg"]: r["loss/judge/hinge"] for r in RunLog(path).records() if r["kind"] == "tick"}
        for path in (tmp_path / "a" / "metrics.jsonl", tmp_path / "b" / "metrics.jsonl")
    )
    before = (8, 16, 24, 32, 40, 48)
    assert [one[nimg] for nimg in before] == [two[nimg] for nimg in before]
    assert all(one[nimg] != two[nimg] for nimg in (56, 64, 80))
    assert seed_after(3, 0) == 3 and len({seed_after(3, n) for n in range(4)}) == 4


@pytest.mark.row("A11")
@pytest.mark.parametrize("polls", [3, 7, 9])
def test_a_run_that_is_stopped_before_or_after_its_turn_leaves_the_same(tmp_path, polls):
    Poisoned.when = until_it_turns(tmp_path / "whole")
    whole = start(job(tmp_path / "whole"))
    Poisoned.when = until_it_turns(tmp_path / "cut")
    asked = []
    with pytest.raises(Interrupted):
        start(job(tmp_path / "cut"), stop=lambda: len(asked) == polls or asked.append(1))
    cut = start(job(tmp_path / "cut"))
    assert cut | {"metrics.json": ""} == whole | {"metrics.json": ""}  # it holds seconds


@pytest.mark.row("A11")
def test_after_two_turns_it_stops(tmp_path):
    Poisoned.when = until_it_turns(tmp_path / "a", turns=9)
    with pytest.raises(NonFiniteError, match="NaN or infinity"):
        start(job(tmp_path / "a"))
    assert len(detours_of(tmp_path / "a")) == 2
    with pytest.raises(NonFiniteError):
        start(job(tmp_path / "a"))
    Poisoned.when = lambda nimg: nimg >= 48
    with pytest.raises(NonFiniteError):
        start(job(tmp_path / "b", max_rollbacks=0))
    assert not (tmp_path / "b" / FILE).exists()


def test_without_a_state_there_is_nothing_to_go_back_to(tmp_path):
    Poisoned.when = lambda nimg: True
    with pytest.raises(NonFiniteError):
        start(job(tmp_path / "a"))
    assert not (tmp_path / "a" / FILE).exists()


@pytest.mark.parametrize("text", ["{", "3", json.dumps([1])])
def test_a_broken_count_is_one_line(tmp_path, text):
    Poisoned.when = lambda nimg: False
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / FILE).write_text(text)
    with pytest.raises(StorageError, match=r"not readable.*detours.json"):
        start(job(tmp_path / "a"))
