"""Take a run around what it cannot pass: back to the last state, then on with other data and noise.

A few steps in a row that are not finite are cancelled (step.py). When more follow, the same samples
would give the same numbers again, so the run goes back to its last saved state and takes another
order of the data. `detours.json` in the run folder counts these turns: a run that is killed later
goes on along the same way, bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.durable_files import replace_file
from components.errors import CollapseError, NonFiniteError, StorageError
from components.training.run_log import Record, RunLog
from components.training.seeds import derived_seed
from models.untrusted.json_file import read_json

if TYPE_CHECKING:
    from components.training.config import TrainConfig
    from components.training.distributed import World
    from components.training.store import StateStore

FILE = "detours.json"


def detours_of(run_dir: Path) -> list[dict[str, Any]]:
    """Return the turns of a run so far, in order: {"from": state, "why": error}.

    Raises:
        StorageError: the file is not readable; without it the run's seed is not known.
    """
    return read_turns(run_dir / FILE)


def read_turns(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON list that a run adds to; none yet where there is no file.

    Raises:
        StorageError: the file is not readable.
    """
    try:
        found = read_json(path)
        if not isinstance(found, list) or not all(isinstance(turn, dict) for turn in found):
            raise ValueError("no list of turns")
        return found
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise unreadable(path, str(error)) from error


def unreadable(path: Path, what: str) -> StorageError:
    """Return what to tell the user of a run whose own list cannot be read."""
    todo = "bring it back from a copy, or delete the run folder to train anew"
    return StorageError(f"not readable: {what}", str(path), todo)


def turn(run_dir: Path, at_most: int, state: str, error: Exception) -> bool:
    """Write down one more turn; False where there is no state to go back to, or were enough."""
    before = detours_of(run_dir)
    if state == "none" or len(before) >= at_most:
        return False
    replace_file(
        run_dir / FILE, json.dumps([*before, {"from": state, "why": str(error)}], indent=1)
    )
    return True


def seed_after(seed: int, turns: int) -> int:
    """Return the seed of samples, noise and augmentation: the run's own before the first turn."""
    return derived_seed(seed, "detour", turns) % 2**31 if turns else seed


def go_back(
    store: StateStore,
    run_dir: Path,
    config: TrainConfig,
    world: World,
    log: RunLog,
    report: Callable[[Record], None],
    error: NonFiniteError,
) -> None:
    """Turn to another order of the data from the last state; raise the error if there is none, or
    the run has turned too often.
    """
    if isinstance(error, CollapseError):
        world.first(lambda: _drop_spoiled(store, run_dir))
    state = world.first(store.last_name)
    if not world.first(lambda: turn(run_dir, config.max_rollbacks, state, error)):
        raise error
    text = f"{error.what} ({error.where}): back to {state}, on with other data"
    log.go_back(state, text, report)


def _drop_spoiled(store: StateStore, run_dir: Path) -> None:
    """Remove the newest state when the model has collapsed from it before, and there is an older
    one.
    """
    turns = detours_of(run_dir)
    if turns and turns[-1]["from"] == store.last_name():
        store.drop_newest()
