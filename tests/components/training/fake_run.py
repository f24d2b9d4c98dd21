"""A process that trains the fake and kills itself where told; started by test_kill.py from a fork
server.

Options: kill_at (step edge), crash (point in a save, occurrence) or inside (phase or "ema", nimg,
how many micro-batches it has begun), term_at (SIGTERM to itself),
sleep_s per micro-batch, config, learning_rate, seen (write down what the losses saw).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
import torch._dynamo  # Adam imports it; once in the fork server instead of in every child

from components import durable_files
from components.errors import GanlineError
from components.training import store as store_module
from components.training.distributed import world_from_environment
from components.training.loop import train
from components.training.run import run_job
from components.training.store import StateStore
from tests.components.training.fake_recipes import FakeGAN, FakeSource, fake_config, fake_site

POINTS = {
    "tensors written": (store_module, "save_file", "after"),
    "before the manifest": (store_module, "write_manifest", "before"),
    "manifest written": (store_module, "write_manifest", "after"),
    "before the rename": (store_module, "publish_folder", "before"),
    "renamed": (store_module, "publish_folder", "after"),
    "before the pointer": (durable_files.os, "replace", "before"),
    "pointer written": (store_module, "replace_file", "after"),
    "before pruning": (store_module.StateStore, "_prune", "before"),
    "pruned": (store_module.StateStore, "_prune", "after"),
    "in the pruning": (store_module.shutil, "rmtree", "within"),
}

KEPT = {"save_every_kimg": 0.016, "measure_every_kimg": 0.008, "keep_weights": "best"}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point, occurrence):
    """Kill this process at the n-th passage of a named point of a save."""
    module, name, when = POINTS[point]
    real, passed, due = getattr(module, name), [], []

    def wrapped(*arguments, **options):
        passed.append(1)
        if when == "within" and arguments[0].suffix == ".old" and arguments[0].is_dir():
            due.append(1)
            if len(due) == occurrence:  # some files are gone, the others are not
                next(arguments[0].iterdir()).unlink()
                die()
        if when == "before" and len(passed) == occurrence:
            die()
        result = real(*arguments, **options)
        if when == "after" and len(passed) == occurrence:
            die()
        return result

    setattr(module, name, wrapped)


class Source(FakeSource):
    """Waits a little per micro-batch, so that a signal from outside lands in the middle."""

    def __init__(self, seconds):
        self.seconds = seconds

    def atom(self, position, size):
        time.sleep(self.seconds)
        return super().atom(position, size)


def rank_main(folder, options, rank, size, port):
    """Run one rank to its end; stdout and stderr go to files in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    sys.stdout = (folder / f"out-{rank}").open("w")
    sys.stderr = (folder / f"err-{rank}").open("w")
    torch.set_num_threads(1)
    os.environ |= {"WORLD_SIZE": str(size), "RANK": str(rank), "MASTER_PORT": str(port)}
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    work = train_greedy if "greedy" in options else train_fake
    work(Path(folder), options)


def train_greedy(folder, options):
    """Run a job whose second rank has memory for three images at once."""
    from tests.components.training.test_fitting import Greedy, fake_job, use_family

    with pytest.MonkeyPatch.context() as patch, world_from_environment("cpu") as world:
        use_family(patch, "greedy_gan", "tests.components.training.test_fitting:Greedy")
        Greedy.room = lambda nimg: (8, 3)[world.rank]
        job = fake_job(folder / "run", "greedy_gan", micro_batch=options["greedy"])
        run_job(job, world, lambda line: None, "cpu")


def killer(phase, at, calls):
    """Return what FakeGAN asks in every loss: it kills this process in the n-th call at nimg."""
    made = []

    def poison(now, nimg):
        made.extend([1] * ((now, nimg) == (phase, at)))
        if len(made) == calls:
            die()
        return 1.0

    return poison


def arm_average(at):
    """Kill this process in the middle of the averaging at nimg."""
    foreach, seen = torch._foreach_lerp_, []

    def lerp(pasts, nows, weight):
        seen.append(1)
        if len(seen) == at // 8 + 1:
            foreach(pasts[:1], nows[:1], weight)
            die()
        foreach(pasts, nows, weight)

    torch._foreach_lerp_ = lerp


def train_fake(folder, options):
    if "crash" in options:
        arm(*options["crash"])
    phase, *where = options.get("inside", [""])
    if phase == "ema":
        arm_average(where[0])

    def poll():
        polls.append(1)
        if len(polls) == options.get("kill_at"):
            die()
        if len(polls) == options.get("term_at"):
            os.kill(os.getpid(), signal.SIGTERM)
        return False

    polls = []
    poison = killer(phase, *where) if phase not in ("", "ema") else None
    recipe = FakeGAN(learning_rate=options.get("learning_rate", 0.002), poison=poison)
    records = []
    with world_from_environment("cpu") as world:
        torch.manual_seed(5 + world.rank)  # ranks build different weights; rank 0's count
        try:
            train(
                recipe=recipe,
                networks=recipe.build(fake_site()),
                config=fake_config(**KEPT | options.get("config", {})),
                seed=5,
                batches=Source(options.get("sleep_s", 0.0)),
                state_store=StateStore(folder=folder / "states") if world.rank == 0 else None,
                world=world,
                report=lambda r: (records.append(r), print(json.dumps(r), flush=True)),
                device="cpu",
                stop=poll,
                measure=lambda model: abs(float(model.strength) - 0.0835),  # lowest at nimg 48
            )
        except GanlineError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(error.exit_code)
        if "seen" in options:
            facts = {"seen": recipe.seen, "records": records}
            torch.save(facts, folder / f"seen-{world.size}-{world.rank}.pt")
