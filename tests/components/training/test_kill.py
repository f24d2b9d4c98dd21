"""kill -9 at any moment, signals, and ranks: the same command again gives the weights of a run
never disturbed.
"""

import json
import multiprocessing
import os
import random
import signal
import socket
import time
from multiprocessing import forkserver
from pathlib import Path

import pytest
import torch

from components.training.fitting import sizes_of
from components.training.store import StateStore
from tests.components.training import fake_run
from tests.fuzz.mutations import count

pytestmark = pytest.mark.slow
KILLED, TERMED = -signal.SIGKILL, 7
# The fork server imports torch once; every rank is a fork of it, killed without harm to the others.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.components.training.fake_run"])


@pytest.fixture(scope="module", autouse=True)
def fork_server():
    """Start it where it finds what to preload: before Python 3.13 it looks at PYTHONPATH alone."""
    root = Path(__file__).parents[3]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(root))
        forkserver.ensure_running()


def start(folder, rank=0, size=1, port=0, **options):
    """Start one rank in a process of its own."""
    process = PROCESSES.Process(target=fake_run.rank_main, args=(folder, options, rank, size, port))
    process.start()
    process.folder, process.rank = folder, rank
    return process


def finish(process):
    """Return exit code, stdout, stderr."""
    process.join(timeout=200)
    texts = [(process.folder / f"{name}-{process.rank}").read_text() for name in ("out", "err")]
    return process.exitcode, *texts


def final(folder, nimg=80):
    saved = StateStore(folder=folder / "states").newest()
    assert saved.facts["nimg"] == nimg
    return saved.tensors


def assert_same(one, two):
    assert one.keys() == two.keys()
    assert not [name for name in one if not torch.equal(one[name], two[name])]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    code, _, err = finish(start(folder))
    assert code == 0, err
    return final(folder)


@pytest.mark.row("A1", "A4")
def test_killed_in_every_part_of_a_save_and_at_random_steps(undisturbed, tmp_path):
    """Every kill in its own folder, and then all of them one after another in a single one."""
    dice = random.Random(11)
    kills = [{"crash": [point, dice.randint(1, 3)]} for point in fake_run.POINTS]
    kills += [{"kill_at": dice.randint(1, 9)} for _ in range(2)]
    folders = [tmp_path / str(number) for number in range(len(kills))]
    for folder, kill in zip(folders, kills, strict=True):
        code, _, err = finish(start(folder, **kill))
        assert code == KILLED, (kill, err)
    for folder, kill in zip(folders, kills, strict=True):
        code, _, err = finish(start(folder))
        assert code == 0, (kill, err)
        assert_same(undisturbed, final(folder))


@pytest.mark.row("A2")
def test_killed_inside_a_step(undisturbed, tmp_path):
    """Between the steps of two networks, in the accumulation over micro-batches, in the average."""
    kills = [["make", 40, 1], ["judge", 48, 3], ["smooth", 32, 4], ["ema", 56]]
    folders = [tmp_path / kill[0] for kill in kills]
    for folder, kill in zip(folders, kills, strict=True):
        code, _, err = finish(start(folder, inside=kill))
        assert code == KILLED, (kill, err)
    for folder in folders:
        code, _, err = finish(start(folder))
        assert code == 0, err
        assert_same(undisturbed, final(folder))


@pytest.mark.row("A3")
def test_stopped_five_times_twice_in_an_epoch_and_at_the_end_of_one(tmp_path):
    """An epoch is 64 images: stops at 16, 24, 64, 72 and 128 of 160, and the same ticks in all."""
    long = {"config": {"total_kimg": 0.16}}
    code, whole, err = finish(start(tmp_path / "whole", **long))
    assert code == 0, err
    told = []
    for polls in (2, 1, 5, 1, 7, None):
        stop = {"term_at": polls} if polls else {}
        code, out, err = finish(start(tmp_path / "cut", **long, **stop))
        assert code == (TERMED if polls else 0), err
        told += out.splitlines()
    assert_same(final(tmp_path / "whole", 160), final(tmp_path / "cut", 160))

    def losses(lines):
        ticks = (record for record in map(json.loads, lines) if record["kind"] == "tick")
        return [
            {k: v for k, v in tick.items() if k.startswith(("loss/", "nimg"))} for tick in ticks
        ]

    assert losses(told) == losses(whole.splitlines()) and len(losses(told)) == 20


@pytest.mark.fuzz
@pytest.mark.row("A1", "A4")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["step", "save"])
def test_a_campaign_of_sixty_kills(undisturbed, tmp_path, kind):
    """Five kills one after another in a folder, then its run ends as if nothing had been."""
    dice, killed, folders = random.Random(f"{kind} 1"), 0, 0
    while killed < count(60):
        folders += 1
        folder = tmp_path / str(folders)
        for _ in range(5):
            crash = {"crash": [dice.choice(list(fake_run.POINTS)), dice.randint(1, 3)]}
            code, _, err = finish(
                start(folder, **(crash if kind == "save" else {"kill_at": dice.randint(1, 9)}))
            )
            assert code in (KILLED, 0), err
            killed += code == KILLED
            if code == 0:  # the moment never came
                break
        code, _, err = finish(start(folder))
        assert code == 0, err
        assert_same(undisturbed, final(folder))
        left = {path.name for path in (folder / "states").iterdir()}
        assert not [name for name in left if name.endswith((".tmp", ".old", ".damaged"))], left
        assert len(left) == 3, left  # two states and the pointer


@pytest.mark.row("A13")
def test_sigterm_saves_ends_with_7_and_the_same_command_goes_on(undisturbed, tmp_path):
    code, _, err = finish(start(tmp_path, term_at=5))
    assert code == TERMED
    assert "stopped by SIGTERM at nimg 40" in err and "continue from nimg 40" in err
    code, out, err = finish(start(tmp_path))
    assert code == 0, err
    assert json.loads(out.splitlines()[0])["nimg"] == 48
    assert_same(undisturbed, final(tmp_path))


@pytest.mark.row("A13")
def test_a_second_interrupt_ends_at_once(tmp_path):
    process = start(tmp_path, sleep_s=5.0)
    time.sleep(0.1)
    deadline = time.monotonic() + 60
    while not (tmp_path / "states").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)  # now it waits for data, inside an iteration of 20 s
    begun = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGINT)
    code, _, _ = finish(process)
    assert code == 128 + signal.SIGINT and time.monotonic() - begun < 5


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.row("A8")
def test_two_ranks_do_what_one_does(tmp_path):
    """50 steps: the same samples, z and noise in all; losses within 1e-5; rank 0's weights count;
    equal on both.
    """
    options = {"config": {"total_kimg": 0.4}, "seen": True, "learning_rate": 0.0005}
    port = free_port()
    processes = [start(tmp_path / "two", rank, 2, port, **options) for rank in range(2)]
    processes.append(start(tmp_path / "one", **options))
    for process in processes:
        code, _, err = finish(process)
        assert code == 0, err
    one = torch.load(tmp_path / "one" / "seen-1-0.pt", weights_only=True)
    two = [torch.load(tmp_path / "two" / f"seen-2-{rank}.pt", weights_only=True) for rank in (0, 1)]

    def by_place(seen):
        return {(s["phase"], s["nimg"], s["keys"]): (s["z"], s["noise"]) for s in seen}

    alone = by_place(one["seen"])
    shared = [by_place(part["seen"]) for part in two]
    assert not shared[0].keys() & shared[1].keys()
    together = shared[0] | shared[1]
    assert alone.keys() == together.keys() and len(alone) == 50 * 2 * 4 + 24 * 4
    for place, (z, noise) in alone.items():
        assert torch.equal(z, together[place][0]) and torch.equal(noise, together[place][1])

    for first, second, third in zip(
        one["records"], *(part["records"] for part in two), strict=True
    ):
        for name in (n for n in first if n.startswith("loss/")):
            assert second[name] == third[name]
            # The smallest terms carry the rounding of weights that the large ones moved.
            assert second[name] == pytest.approx(first[name], rel=1e-5, abs=1e-8)


@pytest.mark.row("A1")
def test_two_ranks_killed_resume_bit_equal_and_one_rank_takes_over(tmp_path):
    def both(folder, **options):
        port = free_port()
        processes = [start(folder, rank, 2, port, **options) for rank in range(2)]
        return [finish(process)[0] for process in processes]

    assert both(tmp_path / "straight") == [0, 0]
    codes = both(tmp_path / "killed", kill_at=5)
    assert codes == [KILLED, KILLED]
    assert both(tmp_path / "killed") == [0, 0]
    straight = final(tmp_path / "straight")
    assert_same(straight, final(tmp_path / "killed"))

    assert both(tmp_path / "handed", kill_at=5) == [KILLED, KILLED]
    assert finish(start(tmp_path / "handed"))[0] == 0
    for name, tensor in final(tmp_path / "handed").items():
        torch.testing.assert_close(tensor, straight[name], rtol=1e-3, atol=1e-5)


@pytest.mark.row("A19")
def test_memory_of_one_rank_runs_out_and_both_take_the_smaller_size(tmp_path):
    files = {}
    for size in ("auto", 2):
        folder, port = tmp_path / str(size), free_port()
        processes = [start(folder, rank, 2, port, greedy=size) for rank in range(2)]
        ends = [finish(process) for process in processes]
        assert [code for code, _, _ in ends] == [0, 0], ends
        files[size] = (folder / "run" / "artifact" / "generator.safetensors").read_bytes()
    sizes = [turn["size"] for turn in sizes_of(tmp_path / "auto" / "run")]
    assert sizes == [4, 2] and files["auto"] == files[2]


@pytest.mark.row("A7")
def test_what_the_first_of_two_ranks_left_half_written_is_never_restored(tmp_path):
    """Rank 0 dies in its second save: the next attempt goes on from the first."""
    codes = {}
    for attempt, options in enumerate(({"crash": ["tensors written", 2]}, {})):
        port = free_port()
        processes = [start(tmp_path / "run", rank, 2, port, **options) for rank in range(2)]
        codes[attempt] = [finish(process)[0] for process in processes]
        if attempt == 0:
            names = {path.name for path in (tmp_path / "run" / "states").iterdir()}
            assert names == {"nimg-000000000016", "nimg-000000000032.tmp", "newest.json"}
    assert codes[0][0] == KILLED and codes[0][1] != 0 and codes[1] == [0, 0]
    left = sorted(path.name for path in (tmp_path / "run" / "states").iterdir())
    assert left == ["newest.json", "nimg-000000000064", "nimg-000000000080"]
    port = free_port()
    straight = [start(tmp_path / "straight", rank, 2, port) for rank in range(2)]
    assert [finish(process)[0] for process in straight] == [0, 0]
    assert_same(final(tmp_path / "straight"), final(tmp_path / "run"))
