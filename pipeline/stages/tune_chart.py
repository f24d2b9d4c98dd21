"""The picture of a search: every trial by its metrics, the front, and the winner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def draw_trials(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    front: Sequence[Mapping[str, Any]],
    chosen: str,
) -> None:
    """Write a PNG; without trials it says so.

    Args:
        path: the file.
        rows: trials with `key`, `status`, `frechet`, `alignment`, `seed_variety` (their colour).
        front: those on the Pareto front, by rising Frechet distance.
        chosen: key of the winner.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set(
        xlabel="Frechet distance (lower is better)", ylabel="CLIP alignment (higher is better)"
    )
    if not rows:
        axes.text(0.5, 0.5, "no trials", ha="center", transform=axes.transAxes)
    for status, marker in (("finished", "o"), ("stopped", "x")):
        some = [row for row in rows if row["status"] == status]
        if some:
            places = [row["frechet"] for row in some], [row["alignment"] for row in some]
            varied = [row["seed_variety"] for row in some]
            # As real images is the best there is: the scale ends there.
            marks = axes.scatter(*places, c=varied, vmin=0, vmax=1, marker=marker, label=status)
            if marker == "o":
                figure.colorbar(marks, label="seed variety (1 = as real images)")
    if front:
        places = [row["frechet"] for row in front], [row["alignment"] for row in front]
        axes.scatter(*places, s=90, facecolors="none", edgecolors="grey", label="Pareto front")
    for row in rows:
        if row["key"] == chosen:
            place = (row["frechet"], row["alignment"])
            axes.scatter(*place, s=200, facecolors="none", edgecolors="red", label="chosen")
    if rows:
        axes.legend()
    figure.savefig(path, dpi=110)
