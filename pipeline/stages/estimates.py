"""Estimate a training: network sizes, and speed and memory from an earlier run like it."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.progress import read_ticks

if TYPE_CHECKING:
    from torch import nn

    from components.training.job import TrainingJob
    from models.interfaces import Networks, Recipe

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
    networks, recipe = _build(job)
    sizes = {"trained": _sizes(networks.trained), "frozen": _sizes(networks.frozen)}
    learning = {id(p): p.numel() for f in recipe.phases(networks) for p in f.parameters(0)}
    # One weight of everything, the EMA, and gradient and Adam's two moments of what learns.
    counts = sum(sum(part.values()) for part in sizes.values()) + 3 * sum(learning.values())
    state_gib = 4 * (counts + sizes["trained"][networks.model]) / 2**30
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


def _build(job: TrainingJob) -> tuple[Networks, Recipe]:
    """Return the job's networks, built without memory for their weights, and its recipe."""
    import torch

    from components.training.config import TrainConfig
    from components.training.run import build_networks
    from components.training.site import build_site

    recipe, site, _ = build_site(job, TrainConfig(**job.train))
    load = site.encoder

    def encoder(role: str) -> nn.Module:
        with torch.device("cpu"):  # Loaded from disk, and asked for its sizes.
            return load(role)

    # Copies into networks that have no memory do nothing, of which torch warns.
    with torch.device("meta"), warnings.catch_warnings(action="ignore", category=UserWarning):
        return build_networks(job, recipe, dataclasses.replace(site, encoder=encoder)), recipe


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
