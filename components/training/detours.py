"""Take a run around what it cannot pass: back to the last state, then on with other data and noise.

A few steps in a row that are not finite are cancelled (step.py). When more follow, the same samples
would give the same numbers again, so the run goes back to its last saved state and takes another
order of the data. `detours.json` in the run folder counts these turns: a run that is killed later
goes on along the same way, bit for bit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from components.durable_files import replace_file
from components.errors import StorageError
from components.training.seeds import derived_seed
from models.untrusted.json_file import read_json

FILE = "detours.json"


def detours_of(run_dir: Path) -> list[dict[str, Any]]:
    """Return the turns of a run so far, in order: {"from": state, "why": error}.

    Raises:
        StorageError: the file is not readable; without it the run's seed is not known.
    """
    path = run_dir / FILE
    try:
        found = read_json(path)
        if not isinstance(found, list) or not all(isinstance(turn, dict) for turn in found):
            raise ValueError("no list of turns")
        return found
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        todo = "bring it back from a copy, or delete the run folder to train anew"
        raise StorageError(f"not readable: {error}", str(path), todo) from error


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
