"""Charts of the filter, as PNG and CSV: similarities with the threshold, and reject reasons."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.data.score_files import ScoreFiles

_BINS = 60


def write_charts(
    folder: Path, scores: ScoreFiles, kept_N: np.ndarray, report: dict[str, Any]
) -> list[Path]:
    """Write similarity.{csv,png} and reasons.{csv,png}; return the PNGs.

    Args:
        folder: created if missing.
        scores: the cosine of each sample is read from there, piece by piece.
        kept_N: bool [N].
        report: as filtering.make_report returns it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    low, high, threshold = _range(scores, kept_N)
    edges = np.linspace(low, max(high, low + 1e-6), _BINS + 1)
    good, bad = np.zeros(_BINS, dtype=np.int64), np.zeros(_BINS, dtype=np.int64)
    for values, kept in _cosines(scores, kept_N):
        good += np.histogram(values[kept], edges)[0]
        bad += np.histogram(values[~kept], edges)[0]
    middle = (edges[1:] + edges[:-1]) / 2
    rows = [(f"{m:.4f}", int(g), int(b)) for m, g, b in zip(middle, good, bad, strict=True)]
    _write_csv(folder / "similarity.csv", ("clip_similarity", "kept", "rejected"), rows)
    reasons = sorted(report["rejected"].items(), key=lambda item: (-item[1], item[0]))
    _write_csv(folder / "reasons.csv", ("reason", "samples"), reasons)
    return [
        _draw_similarity(folder / "similarity.png", edges, good, bad, threshold),
        _draw_reasons(folder / "reasons.png", reasons, report),
    ]


def _cosines(scores: ScoreFiles, kept_N: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the finite cosines of some samples, and which of those are kept."""
    for at, batch in scores.batches(["clip_similarity"]):
        values = batch["clip_similarity"].fill_null(float("nan")).to_numpy(zero_copy_only=False)
        finite = np.isfinite(values)
        yield values[finite], kept_N[at : at + len(values)][finite]


def _range(scores: ScoreFiles, kept_N: np.ndarray) -> tuple[float, float, float]:
    """Return smallest and largest cosine (0, 1 where there is none), and the smallest kept."""
    low, high, threshold = np.inf, -np.inf, np.inf
    for values, kept in _cosines(scores, kept_N):
        low, high = min(low, values.min(initial=np.inf)), max(high, values.max(initial=-np.inf))
        threshold = min(threshold, values[kept].min(initial=np.inf))
    if low > high:
        low, high = 0, 1
    return low, high, float(threshold)


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _figure(height: float) -> tuple[Any, Any]:
    # The figure without pyplot: no display, no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _draw_similarity(
    path: Path, edges: np.ndarray, good: np.ndarray, bad: np.ndarray, threshold: float
) -> Path:
    figure, axes = _figure(3.5)
    axes.stairs(good + bad, edges, fill=True, color="#d9694a", label="rejected (for any reason)")
    axes.stairs(good, edges, fill=True, color="#3b7dbf", label="kept")
    if np.isfinite(threshold):
        label = f"smallest kept: {threshold:.3f}"
        axes.axvline(threshold, color="black", linestyle="--", linewidth=1, label=label)
    axes.set_xlabel("CLIP similarity of image and caption")
    axes.set_ylabel("samples")
    axes.legend(frameon=False, loc="upper left")
    figure.savefig(path, metadata={"Software": None})
    return path


def _draw_reasons(path: Path, reasons: Sequence[tuple[str, int]], report: dict[str, Any]) -> Path:
    figure, axes = _figure(1.6 + 0.28 * max(1, len(reasons)))
    names, counts = [r for r, _ in reasons][::-1], [n for _, n in reasons][::-1]
    bars = axes.barh(names, counts, color="#d9694a")
    axes.bar_label(bars, labels=[f"{n:,}" for n in counts], padding=3)
    axes.margins(x=0.12)
    kept = report["kept"] + report["heldout"]
    axes.set_title(f"{report['in']:,} samples, {kept:,} kept", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Software": None})
    return path
