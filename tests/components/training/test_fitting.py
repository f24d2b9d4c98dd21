"""`micro_batch: auto`: what does not fit is halved and told, and the size found is kept."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from components.artifacts.artifact import read_card
from components.errors import ConfigError, Interrupted, OutOfMemory, StorageError
from components.training.distributed import World
from components.training.fitting import FILE, possible_sizes, sizes_of
from components.training.job import TrainingJob
from components.training.run import run_job
from components.training.run_log import RunLog
from components.training.store import StateStore
from models.interfaces import Batch, Networks, Phase
from tests.components.training.fake_recipes import FakeGAN, fake_job, use_family


@dataclasses.dataclass(frozen=True, kw_only=True)
class Greedy(FakeGAN):
    """Finds no memory for more than `Greedy.room(nimg)` images at once, in the second phase."""

    name: ClassVar[str] = "greedy_gan"
    room: ClassVar[Any]
    error: ClassVar[type[BaseException]] = torch.OutOfMemoryError

    def phases(self, networks: Networks) -> list[Phase]:
        judge, make, smooth = super().phases(networks)

        def loss(batch: Batch, nimg: int, rng: Any) -> Any:
            if batch.size > Greedy.room(nimg):
                raise Greedy.error("out of memory: tried to allocate 3.00 GiB")
            return make.loss(batch, nimg, rng)

        return [judge, dataclasses.replace(make, loss=loss), smooth]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grouped(Greedy):
    """Has a batch norm of three samples at most."""

    name: ClassVar[str] = "grouped_gan"
    norm_batch: ClassVar[int] = 3


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    use_family(monkeypatch, "greedy_gan", f"{__name__}:Greedy")
    monkeypatch.setattr(Greedy, "error", torch.OutOfMemoryError)


def job(folder: Path, **train: Any) -> TrainingJob:
    sizes = {"micro_batch": "auto", "save_every_kimg": 0.016}
    return fake_job(folder, "greedy_gan", **sizes | train)


def start(the_job: TrainingJob, **options: Any) -> dict[str, str]:
    result = run_job(the_job, World(), lambda line: None, "cpu", **options)
    return read_card(Path(result["artifact"]))["files"]


def weights(files: dict[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in files.items() if name.endswith(".safetensors")}


def notices(folder: Path) -> list[str]:
    records = RunLog(folder / "metrics.jsonl").records()
    return [record["text"] for record in records if record["kind"] == "notice"]


@pytest.mark.row("A19")
@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_it_halves_until_it_fits_and_ends_as_that_size_would_have(tmp_path, monkeypatch, error):
    monkeypatch.setattr(Greedy, "error", error)
    Greedy.room = lambda nimg: 3
    found = start(job(tmp_path / "auto"))
    assert [turn["size"] for turn in sizes_of(tmp_path / "auto")] == [8, 4, 2]
    (text,) = notices(tmp_path / "auto")
    assert text == (
        "warning: micro_batch 8, 4 did not fit into memory: on with 2 from the beginning"
    )
    assert weights(found) == weights(start(job(tmp_path / "two", micro_batch=2)))
    metrics = json.loads((tmp_path / "auto" / "artifact" / "metrics.json").read_text())
    assert metrics["micro_batch"] == 2 and metrics["nimg"] == 80


def test_what_fits_at_once_is_not_cut(tmp_path):
    Greedy.room = lambda nimg: 8
    found = start(job(tmp_path / "auto"))
    assert weights(found) == weights(start(job(tmp_path / "eight", micro_batch=8)))
    assert notices(tmp_path / "auto") == []


@pytest.mark.row("A19")
@pytest.mark.parametrize("polls", [3, 6, 8])
def test_later_it_goes_on_from_its_last_state_and_a_stop_changes_nothing(tmp_path, polls):
    """Memory for half runs out at nimg 40: on from the state of 32, whether stopped or not."""
    Greedy.room = lambda nimg: 8 if nimg < 40 else 4
    whole = start(job(tmp_path / "whole"))
    assert sizes_of(tmp_path / "whole") == [
        {"size": 8, "from": "none"},
        {"size": 4, "from": "nimg-000000000032"},
    ]
    asked: list[int] = []
    with pytest.raises(Interrupted):
        start(job(tmp_path / "cut"), stop=lambda: len(asked) == polls or asked.append(1))
    Greedy.room = lambda nimg: 8 if nimg < 40 else 4
    assert weights(start(job(tmp_path / "cut"))) == weights(whole)
    assert sizes_of(tmp_path / "cut")[-1]["size"] == 4
    ticks = [
        r["nimg"]
        for r in RunLog(tmp_path / "cut" / "metrics.jsonl").records()
        if r["kind"] == "tick"
    ]
    assert ticks == list(range(8, 81, 8))


@pytest.mark.row("A19")
@pytest.mark.parametrize("size", ["auto", 8])
def test_what_never_fits_ends_with_6_and_leaves_the_last_state(tmp_path, size):
    Greedy.room = lambda nimg: 8 if nimg < 40 else 0
    with pytest.raises(OutOfMemory, match=r"tried to allocate 3.00 GiB.*: set micro_batch to"):
        start(job(tmp_path, micro_batch=size))
    assert OutOfMemory.exit_code == 6
    (state,) = [s for s in StateStore(folder=tmp_path / "states").examine() if s["nimg"] == 32]
    assert state["problem"] == ""
    Greedy.room = lambda nimg: 8
    assert start(job(tmp_path, micro_batch=size))


def test_a_batch_norm_is_never_cut_into_unequal_groups(tmp_path, monkeypatch):
    """Of 12: 12 is four groups of 3; 6 two; 4 (two of 2) is more than half; then 3."""
    use_family(monkeypatch, "grouped_gan", f"{__name__}:Grouped")
    Greedy.room = lambda nimg: 2
    start(fake_job(tmp_path, "grouped_gan", micro_batch="auto", batch=12))
    assert [turn["size"] for turn in sizes_of(tmp_path)] == [12, 6, 3, 1]


@pytest.mark.parametrize("text", ["{", "3", "[1]", '[{"size": "a"}]', '[{"size": 0}]'])
def test_a_broken_list_of_sizes_is_one_line(tmp_path, text):
    Greedy.room = lambda nimg: 8
    (tmp_path / FILE).write_text(text)
    with pytest.raises(StorageError, match=r"not readable.*micro_batch.json"):
        start(job(tmp_path))


def test_sizes_divide_a_ranks_share_of_the_batch():
    assert possible_sizes(24, 2, 0) == [12, 6, 4, 3, 2, 1]
    with pytest.raises(ConfigError, match="batch 8 cannot be shared by 3 workers"):
        possible_sizes(8, 3, 0)


@pytest.mark.fuzz
@pytest.mark.row("A19")
def test_memory_that_the_system_really_refuses(tmp_path):
    """A process that may take 200 MiB more: 64 images of 8 MiB at once do not fit, some do."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    sizes = [turn["size"] for turn in sizes_of(tmp_path)]
    assert sizes[0] == 64 and 1 <= sizes[-1] < 64, sizes
    (text,) = notices(tmp_path)
    assert f"on with {sizes[-1]} from the beginning" in text


LIMITED = """
import resource, sys
from pathlib import Path
import pytest, torch
from tests.components.training import test_fitting as t

torch.set_num_threads(1)

def room(nimg):
    return 1000

t.Greedy.room = room
real = t.FakeGAN.phases

def phases(self, networks):
    import dataclasses
    judge, make, smooth = real(self, networks)
    def loss(batch, nimg, rng):
        held = torch.zeros(batch.size, 8 * 2**18)  # 8 MiB an image
        assert held.sum() == 0
        return make.loss(batch, nimg, rng)
    return [judge, dataclasses.replace(make, loss=loss), smooth]

t.FakeGAN.phases = phases
with pytest.MonkeyPatch.context() as patch:
    t.use_family(patch, "greedy_gan", "tests.components.training.test_fitting:Greedy")
    t.start(t.fake_job(Path(sys.argv[1]) / "warm", "greedy_gan", micro_batch=1, batch=1,
                       total_kimg=0.002))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 2**20, resource.RLIM_INFINITY))
    t.start(t.fake_job(Path(sys.argv[1]), "greedy_gan", micro_batch="auto", batch=64,
                       total_kimg=0.128))
"""
