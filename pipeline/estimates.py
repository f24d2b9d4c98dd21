"""What a training will take: sizes counted, speed and memory from an earlier run like it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.progress import read_ticks

if TYPE_CHECKING:
    from torch import nn

    from components.training.job import TrainingJob

JOB = "job.json"
# What speed and memory depend on, beside the recipe.
_DECIDES = (
    "resolution_px",
    "batch",
    "micro_batch",
    "precision",
    "channels_last",
    "compile",
    "checkpoint_activations",
)


def estimate(job: TrainingJob, runs: Path) -> dict[str, Any]:
    """Return network sizes in parameters, and time and memory as far as they are known.

    Args:
        job: what would be trained; nothing is written.
        runs: folder of run folders, where a like run may have been measured.
    """
    sizes = network_sizes(job)
    trained = sum(sizes["trained"].values())
    frozen = sum(sizes["frozen"].values())
    # Weight, gradient and Adam's two moments of what trains; one weight of what does not; the EMA.
    state_gib = 4 * (4 * trained + frozen + sizes["trained"].get("generator", 0)) / 2**30
    like = measured_like(job, runs)
    if like is None:
        unknown = "unknown: no run of this size in the runs folder yet"
        return {
            "parameters": sizes,
            "time": unknown,
            "memory": f"{state_gib:.2f} GiB for weights and optimizers, activations {unknown}",
        }
    name, tick = like
    minutes = job.train["total_kimg"] * 1000 / tick["images_per_s"] / 60
    gpu_gib = tick.get("gpu_memory_gib") or 0.0
    peak = f"{gpu_gib:.1f} GiB on the GPU" if gpu_gib else f"{tick['memory_gib']:.1f} GiB"
    return {
        "parameters": sizes,
        "time": f"{minutes:.1f} min at {tick['images_per_s']:.0f} images/s, as measured in {name}",
        "memory": f"{peak} per worker at the peak, as measured in {name}",
    }


def network_sizes(job: TrainingJob) -> dict[str, dict[str, int]]:
    """Return the number of parameters of every network, built without memory for its weights."""
    import torch

    from components.training.config import TrainConfig
    from components.training.site import build_site

    recipe, site, _ = build_site(job, TrainConfig(**job.train))
    load = site.encoder

    def encoder(role: str) -> nn.Module:
        with torch.device("cpu"):  # Loaded from disk, and asked for its sizes.
            return load(role)

    # Without the start: its tensors could not be copied into networks that have no memory.
    with torch.device("meta"):
        networks = recipe.build(dataclasses.replace(site, encoder=encoder, start=None))
    return {"trained": _sizes(networks.trained), "frozen": _sizes(networks.frozen)}


def _sizes(modules: Mapping[str, nn.Module]) -> dict[str, int]:
    return {name: sum(p.numel() for p in m.parameters()) for name, m in modules.items()}


def measured_like(job: TrainingJob, runs: Path) -> tuple[str, dict[str, Any]] | None:
    """Return name and last tick of the newest run with the same sizes and family, None without."""
    for path in sorted(runs.glob(f"*/{JOB}"), key=lambda p: p.stat().st_mtime, reverse=True):
        try:
            other = json.loads(path.read_text())
            same_sizes = all(other["train"].get(key) == job.train.get(key) for key in _DECIDES)
            same_family = other["recipe"].get("name") == job.recipe.get("name")
        except (OSError, ValueError, KeyError, AttributeError):
            continue
        ticks = read_ticks(path.parent)
        if same_sizes and same_family and ticks:
            return path.parent.name, ticks[-1]
    return None
