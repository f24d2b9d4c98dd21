"""One private Ray per command: shared by its stages, gone with it, never somebody else's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.cluster.guardian import Guardian, command_above, is_dvc
from pipeline.cluster.shared_ray import FOLDER, Card, end, ray_key, sweep
from tests.pipeline import tiny_world
from tests.pipeline.command import PATIENCE_S, checkout, environment, train_words, undisturbed

# A command as `make demo` is one: it announces itself and runs what it is told, one after another.
COMMAND = """
import json, os, subprocess, sys
from pipeline.cluster.guardian import Guardian
Guardian.of_this_process().announce()
for line in sys.stdin:
    words, extra = json.loads(line)
    done = subprocess.run(words, env={**os.environ, **extra}, stdout=subprocess.PIPE, text=True)
    print(json.dumps([done.returncode, done.stdout.strip()]), flush=True)
"""
# A stage: says where its Ray is, and which process is its raylet, and may wait in it.
STAGE = """
import sys, time
from pipeline.cluster.config import ClusterConfig
from pipeline.cluster.ray_door import connect
with connect("", ClusterConfig(), 1.0, "ray"):
    import psutil, ray
    @ray.remote
    def parent():
        import os
        return os.getppid()
    print(ray.get_runtime_context().gcs_address, ray.get(parent.remote()), flush=True)
    time.sleep(float(sys.argv[1]))
"""


class Command:
    """A running stand-in for `make demo`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        words = [sys.executable, "-c", COMMAND]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        quiet = environment(PYTHONPATH=str(folder))
        self.process = subprocess.Popen(words, cwd=folder, env=quiet, **pipes)
        self.guardian = Guardian.of(psutil.Process(self.process.pid))

    def ask(self, *words: str, **extra: str) -> None:
        self.process.stdin.write(json.dumps([[sys.executable, *words], extra]) + "\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        code, said = json.loads(self.process.stdout.readline())
        assert code == 0, said
        return said

    def stage(self, **extra: str) -> str:
        """Run a stage; return the address of its Ray and the raylet's process id."""
        self.ask("-c", STAGE, "0", **extra)
        return self.answer()

    def card(self) -> Card:
        """Return what is known of its Ray."""
        found = (self.folder / "runs" / FOLDER).glob(f"*-{self.process.pid}-*")
        return Card.read(next(found))

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def commands(tmp_path) -> Iterator[list[Command]]:
    """Two commands of two checkouts, as of two users of one machine."""
    started = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        started.append(Command(checkout(tmp_path / name)))
    yield started
    for command in started:
        command.end()


def wait_gone(guardians: list[Guardian]) -> None:
    limit = time.monotonic() + 60
    while left := [one for one in guardians if one.alive()]:
        assert time.monotonic() < limit, f"left behind: {left}"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_stages_share_one_ray_that_ends_with_their_command_alone(commands):
    one, two = commands
    first = one.stage()
    assert one.stage(DVC_STAGE="another", SHLVL="9") == first
    other = two.stage()
    assert other != first
    # kill -9 of a stage, in the middle: its workers end, Ray stays for the next stage.
    one.ask("-c", STAGE, "600")
    card = one.card()
    limit = time.monotonic() + PATIENCE_S
    while not (held := workers_of(card)):
        assert time.monotonic() < limit, "no worker came up"
        time.sleep(0.1)
    stage = next(p for p in psutil.Process(one.process.pid).children() if "600" in p.cmdline())
    everything = [*all_of(card), *held, Guardian.of(stage)]
    stage.kill()
    json.loads(one.process.stdout.readline())
    wait_gone(held)
    assert one.stage() == first
    # kill -9 of the command.
    one.process.kill()
    one.process.wait()
    wait_gone(everything)
    assert two.stage() == other
    left = all_of(two.card())
    assert len(left) > 5 and all(one.alive() for one in left)
    two.end()
    wait_gone(left)


def workers_of(card: Card) -> list[Guardian]:
    """Return the workers that a Ray has now."""
    raylet = next(p for p in map(by_id, card.guardians()) if p.name() == "raylet")
    found = [(p, p.cmdline()[:1]) for p in raylet.children()]
    return [
        Guardian.of(process)
        for process, title in found
        if title and title[0].startswith("ray::") and not title[0].strip().endswith("Agent")
    ]


def all_of(card: Card) -> list[Guardian]:
    """Return the keeper, Ray's daemons and their helpers."""
    return [*card.guardians(), *map(Guardian.parse, card.helpers)]


def by_id(guardian: Guardian) -> psutil.Process:
    return psutil.Process(guardian.pid)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_dead_or_a_different_ray_is_replaced(commands):
    command, _ = commands
    first = command.stage()
    old = all_of(command.card())
    raylet = next(p for p in map(by_id, old) if p.name() == "raylet")
    raylet.kill()
    second = command.stage()
    assert second != first
    wait_gone(old)
    # Workers take their environment from Ray: another one needs another Ray, and none is left over.
    older = all_of(command.card())
    third = command.stage(OMP_NUM_THREADS="2")
    assert third not in (first, second)
    wait_gone(older)
    left = all_of(command.card())
    command.end()
    wait_gone(left)
    # The keeper itself goes too, and takes its folder with it.
    limit = time.monotonic() + 60
    while list((command.folder / "runs" / FOLDER).iterdir()):
        assert time.monotonic() < limit, "the folder was left"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_stage_alone_starts_and_ends_its_own_ray(tmp_path):
    folder = checkout(tmp_path)
    quiet = environment(PYTHONPATH=str(folder))
    words = [sys.executable, "-c", STAGE, "0"]
    said = subprocess.run(words, cwd=folder, env=quiet, stdout=subprocess.PIPE, text=True).stdout
    assert not (folder / "runs" / FOLDER).exists()
    _, raylet = said.split()
    limit = time.monotonic() + 60
    while psutil.pid_exists(int(raylet)) and psutil.Process(int(raylet)).name() == "raylet":
        assert time.monotonic() < limit, "the stage's Ray outlives it"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_training_after_another_in_one_ray_has_the_bits_of_one_by_itself(tmp_path):
    world = checkout(tmp_path / "world")
    tiny_world.write_world(world)
    tiny_world.write_params(world)
    command = Command(world)
    command.ask("-m", *train_words("--set", "seed=7", out="artifacts/other"))
    command.answer()
    card = command.card()
    command.ask("-m", *train_words())
    command.answer()
    assert command.card() == card
    command.end()
    wait_gone(all_of(card))
    made = (world / "artifacts/base/generator.safetensors").read_bytes()
    assert made == undisturbed(world, tmp_path).read_bytes()
    other = (world / "artifacts/other/generator.safetensors").read_bytes()
    assert made != other
    record = json.loads((world / "runs/stages/train_base.json").read_text())
    assert list(record["phases"]) == ["start", "learning", "saving", "end"]
    assert sum(record["phases"].values()) == pytest.approx(record["seconds"], abs=0.05)
    assert all(seconds > 0 for seconds in record["phases"].values())


# Without Ray


def test_only_an_ancestor_is_a_command(monkeypatch):
    """A variable that a shell has kept names nobody; a process that runs somewhere else neither."""
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    Guardian.of(psutil.Process(stranger.pid)).announce()
    monkeypatch.setenv("GANLINE_COMMAND", os.environ.pop("GANLINE_COMMAND"))
    found = command_above()
    assert found is None or found.pid != stranger.pid
    parent = Guardian.of(psutil.Process(os.getppid()))
    monkeypatch.setenv("GANLINE_COMMAND", str(parent))
    assert command_above() == parent
    stranger.communicate()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["/x/bin/python", "-m", "dvc", "repro"], True),
        (["/x/bin/python", "/x/bin/dvc", "exp", "run"], True),
        (["dvc", "repro"], True),
        (["python", "-m", "pipeline.stages.train_base", "--data", "dvc"], False),
        (["vim", "dvc.yaml"], False),
        ([], False),
    ],
)
def test_dvc_is_known_by_its_command_line(words, found):
    assert is_dvc(words) is found


def test_the_key_knows_cores_and_environment_but_not_the_stage(monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "tune")
    key = ray_key(2)
    monkeypatch.setenv("DVC_STAGE", "train_base")
    assert ray_key(2) == key != ray_key(3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert ray_key(2) != key


def test_what_a_dead_command_left_is_swept_and_a_living_ones_is_not(tmp_path):
    import socket

    here, dead = Guardian.of_this_process(), subprocess.Popen(["true"])
    dead.wait()
    names = {
        "living": f"{socket.gethostname()}-{here.pid}-{here.started:.2f}",
        "reused": f"{socket.gethostname()}-{here.pid}-{here.started - 500:.2f}",
        "dead": f"{socket.gethostname()}-{dead.pid}-{here.started:.2f}",
        "elsewhere": f"another-host-{dead.pid}-{here.started:.2f}",
        "a user's": "notes",
    }
    for name in names.values():
        (tmp_path / name).mkdir()
    sweep(tmp_path)
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {names[name] for name in ("living", "elsewhere", "a user's")}


def test_all_of_a_card_are_ended_and_never_a_reused_id():
    keeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    real = Guardian.of(psutil.Process(keeper.pid))
    reused = Guardian(pid=real.pid, started=real.started - 500)
    end(Card(address="a:1", key="k", processes=[str(reused)], helpers=[]))
    assert real.alive()
    end(Card(address="a:1", key="k", processes=[str(real)], helpers=[]))
    assert keeper.wait(30) == -signal.SIGKILL


def test_half_a_card_is_none(tmp_path):
    assert Card.read(tmp_path) is None
    card = Card(address="a:1", key="k", processes=["1:2.5"], helpers=[])
    card.write(tmp_path)
    assert Card.read(tmp_path) == card
    (tmp_path / "ray.json").write_text('{"address": "a:1"')
    assert Card.read(tmp_path) is None
