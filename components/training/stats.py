"""The report of a tick: mean losses and statistics since the last one, speed, memory, time left."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch

from components.training.config import TrainConfig
from components.training.distributed import World
from components.training.state import TrainState
from components.training.step import StepResult


class Ticker:
    """Gathers step results between ticks, in the state, so that a break loses none.

    Times count iterations only: not samples, saves or reports. `session` has those of this process:
    {"first_step": since the epoch, "learning": s}.
    """

    def __init__(
        self, config: TrainConfig, state: TrainState, device: torch.device, world: World
    ) -> None:
        self.last: dict[str, Any] = {}
        self.session: dict[str, float] = {}
        self._config, self._state, self._device, self._world = config, state, device, world
        self._started = time.perf_counter()
        if not state.tick:  # else what a state brings along from the run before a break
            self._clear()

    def start(self) -> None:
        """Begin to time an iteration."""
        self._started = time.perf_counter()
        if not self.session:
            self.session = {"first_step": time.time(), "learning": 0.0}

    def stop(self, results: Mapping[str, StepResult]) -> None:
        """End to time the iteration and take in what it gave."""
        seconds = time.perf_counter() - self._started
        since = self._state.tick
        since["seconds"] += seconds
        self._state.seconds += seconds
        self.session["learning"] += seconds
        since["images"] += self._config.batch
        for phase, result in results.items():
            if result.skipped:
                continue
            named = {f"loss/{name}": value for name, value in result.losses.items()}
            named |= {f"stat/{name}": value for name, value in result.stats.items()}
            named[f"gradient_norm/{phase}"] = result.gradient_norm
            for name, value in named.items():
                since["sums"][name] = since["sums"].get(name, 0.0) + value
                since["counts"][name] = since["counts"].get(name, 0) + 1

    def tick(self, goal_nimg: int, distances: Mapping[str, float]) -> dict[str, Any]:
        """Return the record of the time since the last tick: {"kind": "tick", "nimg", ...}; equal
        keys on all ranks. `distances` were measured at this very nimg, if they were.
        """
        nimg = self._state.nimg
        since = self._state.tick
        seconds_per_image = since["seconds"] / max(since["images"], 1)
        self.last = {
            "kind": "tick",
            "nimg": nimg,
            "kimg": nimg / 1000,
            "goal_kimg": goal_nimg / 1000,
            "seconds": round(self._state.seconds, 3),
            "seconds_per_kimg": round(seconds_per_image * 1000, 3),
            "images_per_s": round(1 / max(seconds_per_image, 1e-9), 2),
            "eta_s": round(max(goal_nimg - nimg, 0) * seconds_per_image, 1),
            "memory_gib": round(_memory_gib(), 3),
            "gpu_memory_gib": round(_gpu_memory_gib(self._device), 3),
            "world_size": self._world.size,
            "nonfinite_total": self._state.nonfinite_total,
            **{name: value / since["counts"][name] for name, value in since["sums"].items()},
            **distances,
        }
        self._clear()
        return self.last

    def _clear(self) -> None:
        self._state.tick = {"seconds": 0.0, "images": 0, "sums": {}, "counts": {}}


def _memory_gib() -> float:
    """Return the peak resident memory of this process (Linux counts in KiB, macOS in bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _gpu_memory_gib(device: torch.device) -> float:
    """Return the peak memory allocated on a CUDA device, 0 on the CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0
