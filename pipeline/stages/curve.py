"""The curve of a training as DVC plots it: one row per metric of each tick."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from pipeline.progress import metrics_of, of_the_model

CURVE = ("kimg", "series", "value")  # its columns


def write_curve(path: Path, ticks: list[dict[str, Any]]) -> None:
    """Write one row (kimg, series, value) per metric of each tick; none of the machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(CURVE)
        for tick in ticks:
            metrics = of_the_model(metrics_of(tick))
            kimg = metrics.pop("kimg")
            writer.writerows((kimg, name, metrics[name]) for name in sorted(metrics))
