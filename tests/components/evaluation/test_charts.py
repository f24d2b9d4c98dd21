"""The truncation curve is drawn of what was measured, and not at all where nothing was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.evaluation.charts import draw_curve

BLUE = (0x2B, 0x5F, 0xB8)


def row(psi: float, distance: float, clip: float | None = None) -> dict[str, Any]:
    return {"truncation": psi, "frechet_dino": distance, "clip_score": clip, "judge_all": None}


def places(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return height and place across of all pixels of the line and its points."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    return np.nonzero(np.abs(pixels - BLUE).max(-1) < 20)


@pytest.mark.parametrize("clip", [None, 0.2])
def test_the_curve_crosses_the_chart(tmp_path: Path, clip: float | None) -> None:
    path = tmp_path / "truncation.png"
    rows = [row(psi, 30 - 10 * psi, clip and clip + psi) for psi in (0.0, 0.5, 1.0)]
    draw_curve(path, rows)
    down, across = places(path)
    assert np.ptp(across) > 300 and np.ptp(down) > 200
    # Without an alignment the distance falls from left to right, as it was measured over psi.
    left, right = down[across.argmin()], down[across.argmax()]
    assert left < right


def test_a_distance_without_an_alignment_is_drawn_over_psi(tmp_path: Path) -> None:
    draw_curve(tmp_path / "a.png", [row(psi, 30 - psi) for psi in (0.0, 0.1, 1.0)])
    draw_curve(tmp_path / "b.png", [row(psi, 30 - psi) for psi in (0.0, 0.9, 1.0)])
    assert not np.array_equal(places(tmp_path / "a.png")[1], places(tmp_path / "b.png")[1])


def test_no_curve_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "truncation.png"
    path.write_bytes(b"of an earlier run")
    draw_curve(path, [])
    assert not path.exists()
