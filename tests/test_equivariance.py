"""EQ-T against closed forms; -t layers move with their input, StyleGAN2's do not."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from benchmarks.equivariance import networks, translation

SIDE, IMAGES = 32, 40


class Drawing:
    """A wave at the input's coordinates, which moves with it, on a ramp, which stands still."""

    num_ws = 1

    def __init__(self, slope: float, contrast: float = 1.0) -> None:
        self.input = SimpleNamespace(transform=torch.eye(3))
        self.slope, self.contrast = slope, contrast
        self.shifts: list[tuple[float, float]] = []

    def __call__(self, ws, noise):
        x = torch.arange(SIDE, dtype=torch.float64)
        shift = self.input.transform[:2, 2].double() * SIDE  # in pixels
        self.shifts.append(tuple(shift.tolist()))
        wave = torch.sin(0.7 * (x + shift[0])) * torch.cos(0.4 * (x + shift[1]))[:, None]
        image = self.contrast * (wave + self.slope * x)
        return image.expand(1, 3, SIDE, SIDE)


def measured(drawing: Drawing):
    return translation(drawing, IMAGES, torch.Generator().manual_seed(0))


def test_what_stands_still_costs_what_the_formula_says() -> None:
    drawing = Drawing(slope=0.01)
    found = measured(drawing)
    # The ramp moved by dx differs by slope dx from the ramp that stood still, everywhere.
    moves = drawing.shifts[1::2]
    known = [(SIDE - abs(dx)) * (SIDE - abs(dy)) for dx, dy in moves]
    errors = [(0.01 * dx) ** 2 for dx, _ in moves]
    mean = sum(n * e for n, e in zip(known, errors, strict=True)) / sum(known)
    assert found.db == pytest.approx(10 * math.log10(4 / mean), abs=1e-4)
    assert len(set(moves)) > 20
    assert max(abs(d) for move in moves for d in move) == pytest.approx(SIDE / 8, abs=0.5)


def test_what_moves_costs_nothing_and_contrast_counts_once() -> None:
    assert measured(Drawing(slope=0.0)).db == math.inf
    full, faint = measured(Drawing(slope=0.01)), measured(Drawing(slope=0.01, contrast=0.1))
    assert faint.db == pytest.approx(full.db + 20, abs=1e-6)
    assert faint.scaled_db == pytest.approx(full.scaled_db, abs=1e-6)


def test_t_layers_move_with_their_input_20_db_better_than_stylegan2() -> None:
    nets = networks(32)
    t, plain = (
        translation(nets[name], 4, torch.Generator().manual_seed(1))
        for name in ("alias-free -t", "StyleGAN2, Fourier input")
    )
    assert t.scaled_db - plain.scaled_db >= 20
    assert t.scaled_db > 40
    assert t.db - plain.db >= 20
    assert math.isfinite(plain.db)
