"""The truncation curve as a picture and as a table."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_curve(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write one row (truncation, series, value) per score; absent scores are left out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("truncation", "series", "value"))
        for row in rows:
            scores = {name: value for name, value in row.items() if name != "truncation"}
            writer.writerows(
                (row["truncation"], name, value)
                for name, value in scores.items()
                if value is not None
            )


def draw_curve(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw alignment against distance, each point marked with its psi. Without an alignment (a
    model of classes, or of nothing): the distance against psi. Without rows there is no file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not rows:
        path.unlink(missing_ok=True)  # that of an earlier run would pass for this one's
        return
    figure = Figure(figsize=(6, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    distance = next(name for name in rows[0] if name.startswith(("frechet_", "fid")))
    aligned = "judge_all" if rows[0]["judge_all"] is not None else "clip_score"
    if rows[0][aligned] is not None:
        across, up = distance, aligned
        labels = (f"{distance} (lower is better)", f"{aligned} (higher is better)")
    else:
        across, up = "truncation", distance
        labels = ("psi (1 = full variety)", f"{distance} (lower is better)")
    points = [(row[across], row[up]) for row in rows]
    axes.plot(*zip(*points, strict=True), marker="o", color="#2b5fb8")
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    if across == distance:  # psi stands on no axis
        for row, point in zip(rows, points, strict=True):
            label = f"psi {row['truncation']:g}"
            axes.annotate(label, point, textcoords="offset points", xytext=(6, 6))
    axes.set_title("Truncation")
    axes.grid(alpha=0.3)
    figure.savefig(path)
