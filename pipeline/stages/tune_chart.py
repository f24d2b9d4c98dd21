"""The picture of a search: every trial by its metrics, the front, and the winner."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_NO_FIELDS = {"key", "status", "kimg", "score", "frechet", "alignment", "seed_variety", "error"}


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
            Where one field alone was searched, its value stands beside each trial.
        front: those on the Pareto front, by rising Frechet distance.
        chosen: key of the winner.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set(
        xlabel="Frechet distance (lower is better)", ylabel="CLIP alignment (higher is better)"
    )
    fields = sorted(set().union(*rows) - _NO_FIELDS)
    if len(fields) == 1:
        axes.set_title(f"each trial with its {fields[0]}", fontsize="medium")
        aside: dict[str, Any] = {"xytext": (6, 4), "textcoords": "offset points", "fontsize": 8}
        for row in rows:
            axes.annotate(f"{row[fields[0]]:.2g}", (row["frechet"], row["alignment"]), **aside)
    # As real images is the best there is: the scale ends there.
    least = math.floor(10 * min((row["seed_variety"] for row in rows), default=0)) / 10
    scale: dict[str, Any] = {"vmin": min(max(least, 0.0), 0.9), "vmax": 1}
    if not rows:
        axes.text(0.5, 0.5, "no trials", ha="center", transform=axes.transAxes)
    for status, marker in (("finished", "o"), ("stopped", "x")):
        some = [row for row in rows if row["status"] == status]
        if some:
            places = [row["frechet"] for row in some], [row["alignment"] for row in some]
            varied = [row["seed_variety"] for row in some]
            marks = axes.scatter(*places, c=varied, marker=marker, label=status, **scale)
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
