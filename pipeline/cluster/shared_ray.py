"""One private Ray for all stages of one command (`make demo`, `dvc repro`, `dvc exp run`).

The first stage that needs Ray starts a keeper (keeper.py), which starts Ray and ends it when the
command is gone, whatever ended it. Later stages find it by its card in the runs folder:

    runs/shared_ray/<host>-<pid>-<start time of the command>/ray.json

One stage at a time has it, so that two never wait for each other's cores; a second one of the same
command starts a Ray of its own. A stage that its user has started by itself is such a command, too,
and its Ray ends with it: what ends a whole process group (`timeout`, a shell) or everything of a
service or a job (systemd, Slurm) must not end Ray before the training has saved its state.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from components.durable_files import replace_file
from pipeline.cluster.answering import check_answers
from pipeline.cluster.config import (
    ClusterConfig,
    cluster_options,
    own_options,
    ray_environment,
)
from pipeline.cluster.guardian import VARIABLE, Guardian, command_above, end_with_command
from pipeline.places import runs_folder

FOLDER, CARD, LOG = "shared_ray", "ray.json", "log.txt"
# Differ between two stages of one command, and change nothing in a worker.
_OF_THE_STAGE = ("DVC_STAGE", "_", "SHLVL", "PWD", "OLDPWD", "COLUMNS", "LINES", VARIABLE)
_END_S = 10.0
CODE = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Card:
    """A running Ray: where it listens, what it was started with, and the processes it needs.

    The first of `processes` is the keeper: the others end with it. So do `helpers`, once they are
    up: one that waits for a Ray which died under it would stay for minutes.
    """

    address: str
    key: str
    processes: list[str]
    helpers: list[str]

    def guardians(self) -> list[Guardian]:
        """Return the processes that must all live."""
        return [Guardian.parse(text) for text in self.processes]

    def write(self, folder: Path) -> None:
        """Write the card into the command's folder, in one step."""
        replace_file(folder / CARD, json.dumps(dataclasses.asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> Card | None:
        """Return the card in the command's folder; None without a whole one."""
        try:
            return cls(**json.loads((folder / CARD).read_text()))
        except (OSError, ValueError, TypeError):
            return None


def ray_key(cpus: int) -> str:
    """Return what a worker takes from the Ray that starts it, as a hash: cores, environment, place.

    Args:
        cpus: cores that Ray may give to workers.
    """
    environment = {k: v for k, v in os.environ.items() if k not in _OF_THE_STAGE}
    parts = [cpus, sys.executable, os.getcwd(), os.nice(0), sorted(environment.items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class SharedRay:
    """The Ray of a command, for the stage that holds it."""

    def __init__(self, folder: Path, command: Guardian, cpus: int) -> None:
        self._folder, self.command, self._cpus = folder, command, cpus
        self._keeper: Guardian | None = None

    def begin(self) -> None:
        """Let Ray start, unless the right one runs; return at once."""
        card, key = Card.read(self._folder), ray_key(self._cpus)
        if card and card.key == key and all(one.alive() for one in card.guardians()):
            return
        if card:
            end(card)
        (self._folder / CARD).unlink(missing_ok=True)
        self._keeper = _start_keeper(self._folder, key, self._cpus, self.command)

    def address(self) -> str:
        """Wait until Ray is up and return where; '' when it could not be started."""
        while (card := Card.read(self._folder)) is None:
            if self._keeper is None or not self._keeper.alive():
                return ""
            time.sleep(0.02)
        return card.address

    def end(self) -> None:
        """End the Ray, started or still starting, and remove the command's folder."""
        if card := Card.read(self._folder):
            end(card)
        elif self._keeper:
            self._keeper.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self._folder.parent.rmdir()  # the last one


@contextmanager
def held(cpus: int) -> Iterator[SharedRay | None]:
    """Hold the Ray of the command that this process is a stage of, or that it is itself; None when
    it has to start its own.

    Args:
        cpus: cores that it must have.
    """
    above = command_above()
    command = above or Guardian.of_this_process()
    folder = runs_folder() / FOLDER / f"{socket.gethostname()}-{command.pid}-{command.started:.2f}"
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder.parent)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield None
            return
        shared = SharedRay(folder, command, cpus)
        try:
            yield shared
        finally:
            if above is None:
                shared.end()


@contextmanager
def place(
    address: str, config: ClusterConfig, cpus: float, meanwhile: Callable[[], object]
) -> Iterator[dict[str, Any]]:
    """Set Ray's switches, and give what `ray.init` needs to join a Ray or to start one.

    A private Ray ends with the command, or with this process where it started its own.

    Args:
        address: "" = the private Ray of the command that this is a stage of, or one that lives as
            long as the with block; "auto" = the cluster that this machine is a node of;
            "host:port" = that one.
        config: the cluster section.
        cpus: logical cores that the caller's workers need; a private Ray has at least these.
        meanwhile: called while a private Ray starts.
    """
    for name, value in ray_environment(address, config).items():
        os.environ.setdefault(name, value)
    if address:
        check_answers(address)
        yield cluster_options(address)
        return
    cores = max(os.cpu_count() or 1, round(cpus + 0.5))
    with held(cores) as shared:
        if shared:
            shared.begin()
        meanwhile()
        address = shared.address() if shared else ""
        # Not this stage beside it: Ray keeps helpers of the first stage for those after it.
        owner = shared.command if shared and address else Guardian.of_this_process()
        # The hook is called before workers know where the driver's code lies: another checkout
        # that the environment knows would be imported.
        paths = [str(CODE), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            VARIABLE: str(owner),
            "PYTHONPATH": os.pathsep.join(paths),
        }
        guarded = {"env_vars": environment, "worker_process_setup_hook": end_with_command}
        yield {**({"address": address} if address else own_options(cores)), "runtime_env": guarded}


def sweep(parent: Path) -> None:
    """Remove what keepers that were killed have left; only of commands of this machine."""
    for folder in parent.iterdir():
        host, pid, started = [*folder.name.rsplit("-", 2), "", ""][:3]
        if host != socket.gethostname() or not pid.isdigit():
            continue
        if not Guardian(pid=int(pid), started=float(started)).alive():
            if card := Card.read(folder):
                end(card)
            shutil.rmtree(folder, ignore_errors=True)


def end(card: Card) -> None:
    """End the Ray of a card and wait, up to ten seconds, until it is gone."""
    everything = [*card.guardians(), *map(Guardian.parse, card.helpers)]
    for one in everything:
        one.kill()
    limit = time.monotonic() + _END_S
    while any(one.alive() for one in everything) and time.monotonic() < limit:
        time.sleep(0.05)


def _start_keeper(folder: Path, key: str, cpus: int, command: Guardian) -> Guardian | None:
    """Start the keeper; None when it has ended already.

    A shell in between makes it nobody's child: it outlives the stage, and who ends a command with
    all that is below it does not end Ray under a training that still has to save its state.
    """
    words = [sys.executable, "-m", "pipeline.cluster.keeper", str(folder), key, str(cpus)]
    script = '"$@" < /dev/null > "$0" 2>&1 & echo $!'
    shell = subprocess.run(
        ["/bin/sh", "-c", script, str(folder / LOG), *words],
        env={**os.environ, VARIABLE: str(command)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        start_new_session=True,  # Ctrl-C is for the stage.
    )
    try:
        return Guardian.of(psutil.Process(int(shell.stdout)))
    except psutil.NoSuchProcess:
        return None
