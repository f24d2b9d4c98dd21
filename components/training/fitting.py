"""Find the size of the micro-batch that fits into memory (`micro_batch: auto`).

A run begins with all of a rank's images at once. Where memory runs out, on any rank, all of them go
back to the last state and on with half the size; the batch stays what it is. Another size is
another training, not only another speed: noise is drawn per micro-batch, and statistics of a batch
are those of a micro-batch. So the sizes stand in `micro_batch.json` in the run folder, and a run
that is killed later goes on along the same way, bit for bit.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from components.durable_files import replace_file
from components.errors import ConfigError, OutOfMemory, known_error
from components.training.config import TrainConfig
from components.training.detours import read_turns, unreadable
from components.training.run_log import Record, RunLog

if TYPE_CHECKING:
    from components.training.distributed import World

FILE = "micro_batch.json"
Result = TypeVar("Result")


def on_all_ranks(work: Callable[[], Result], world: World) -> Result:
    """Run `work` on every rank; when memory runs out on one, raise OutOfMemory on all alike.

    The others would wait for it in the next sum for ever.
    """
    problem = ""
    try:
        found = work()
    except (RuntimeError, MemoryError) as error:
        known = known_error(error)
        if not isinstance(known, OutOfMemory):
            raise
        problem = known.what  # the error itself holds all that was in memory
    if not world.any(bool(problem)):
        return found
    todo = "set micro_batch to auto or lower, or lower batch"
    raise OutOfMemory(problem or "another worker ran out of memory", "training", todo)


def settled(config: TrainConfig, run_dir: Path, groups: int, world: World) -> TrainConfig:
    """Return the configuration with the size of the micro-batch that the run has come to.

    Args:
        config: of the run; a size that is a number stays.
        run_dir: its folder; the first size is written down there.
        groups: how many samples share the statistics of a batch norm at most; 0 = no such norm.
        world: the ranks.
    """
    if config.micro_batch != "auto":
        return config

    def newest() -> int:
        sizes = sizes_of(run_dir)
        if not sizes:
            sizes = [{"size": possible_sizes(config.batch, world.size, groups)[0], "from": "none"}]
            _write(run_dir, sizes)
        return int(sizes[-1]["size"])

    size = world.first(newest)
    _free()
    return replace(config, micro_batch=size)


def go_on_smaller(
    run_dir: Path,
    asked: TrainConfig,
    config: TrainConfig,
    groups: int,
    world: World,
    last_state: Callable[[], str],
    error: Exception,
    report: Callable[[Record], None],
    log: RunLog,
) -> bool:
    """Let the run go on from its last state with smaller micro-batches, and tell it.

    Args:
        run_dir: the run's folder.
        asked: the run's configuration.
        config: the same with the size that did not fit.
        groups: as in `settled`.
        world: the ranks.
        last_state: returns the state's name, "none" for the beginning.
        error: what ended the attempt.
        report: passes the notice on.
        log: of the run.

    Returns:
        False where that is no remedy: another error, a size that was asked for, no smaller one, or
        other ranks that do not know of the error.
    """
    alone = world.size == 1 and isinstance(known_error(error), OutOfMemory)
    if asked.micro_batch != "auto" or not (alone or isinstance(error, OutOfMemory)):
        return False
    smaller = possible_sizes(config.batch, world.size, groups)
    smaller = [size for size in smaller if size <= config.atom_size // 2]
    if not smaller:
        return False
    state = world.first(last_state)
    before = world.first(lambda: sizes_of(run_dir))
    world.first(lambda: _write(run_dir, [*before, {"size": smaller[0], "from": state}]))
    tried = ", ".join(str(turn["size"]) for turn in before)
    since = "the beginning" if state == "none" else state
    text = f"micro_batch {tried} did not fit into memory: on with {smaller[0]} from {since}"
    log.go_back(state, text, report)
    return True


def sizes_of(run_dir: Path) -> list[dict[str, Any]]:
    """Return the sizes of a run so far, in order: {"size": images, "from": state}.

    Raises:
        StorageError: the file is not readable; without it the run's numbers are not known.
    """
    path = run_dir / FILE
    found = read_turns(path)
    sizes = [turn.get("size") for turn in found]
    if not all(type(size) is int and size > 0 for size in sizes):
        raise unreadable(path, "a size is no whole number above 0")
    return found


def _free() -> None:
    """Give back what the attempt before has held; its networks refer to each other."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _write(run_dir: Path, sizes: list[dict[str, Any]]) -> None:
    replace_file(run_dir / FILE, json.dumps(sizes, indent=1))


def possible_sizes(batch: int, ranks: int, groups: int) -> list[int]:
    """Return the sizes that divide a rank's share of the batch and a batch norm can split, largest
    first.
    """
    share, rest = divmod(batch, ranks)
    if rest:
        what = f"batch {batch} cannot be shared by {ranks} workers"
        todo = f"use a number of workers that divides {batch}"
        raise ConfigError(what, "cluster.num_workers", todo)
    divisors = (size for size in range(share, 0, -1) if share % size == 0)
    return [size for size in divisors if not groups or size % -(-size // groups) == 0]
