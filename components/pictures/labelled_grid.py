"""A table of images with a label to the left of every row and above every column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from components.pictures.sheets import GAP_PX, INK, MARGIN_PX, PAPER, lettering, tiles_of, wrap

LABEL_PX = 168  # width of the column of row labels


def labelled_grid(
    cells: Sequence[Sequence[np.ndarray | None]],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
) -> Image.Image:
    """Return a table of images on white.

    Args:
        cells: rows of uint8 [H, W, 3], all of one size and at least one of them; None stays empty.
        row_labels: one per row, written left of it on as many lines as it has room for.
        column_labels: one per column, written above it on one line.

    Returns:
        An RGB image, small images enlarged by a whole factor.

    Raises:
        ValueError: the number of labels does not fit, or the rows differ in length.
    """
    if len(row_labels) != len(cells) or {len(row) for row in cells} != {len(column_labels)}:
        raise ValueError(
            f"{len(row_labels)} row and {len(column_labels)} column labels for rows of "
            f"{sorted({len(row) for row in cells})} images, {len(cells)} rows"
        )
    flat = [cell for row in cells for cell in row if cell is not None]
    tiles = tiles_of(np.stack(flat))
    width, height = tiles[0].size
    font_px = max(13, width // 9)
    font: Any = lettering(font_px)
    line_px = int(font_px * 1.35)
    left, upper = MARGIN_PX + LABEL_PX + GAP_PX, MARGIN_PX + line_px + GAP_PX // 2
    sheet = Image.new(
        "RGB",
        (
            left + (width + GAP_PX) * len(column_labels) - GAP_PX + MARGIN_PX,
            upper + (height + GAP_PX) * len(cells) - GAP_PX + MARGIN_PX,
        ),
        PAPER,
    )
    draw = ImageDraw.Draw(sheet)
    for column, label in enumerate(column_labels):
        _write(draw, (left + column * (width + GAP_PX), MARGIN_PX), label, font, width, 1)
    next_tile = iter(tiles)
    for row, label in enumerate(row_labels):
        y = upper + row * (height + GAP_PX)
        _write(draw, (MARGIN_PX, y), label, font, LABEL_PX, max(1, height // line_px))
        for column, cell in enumerate(cells[row]):
            if cell is not None:
                sheet.paste(next(next_tile), (left + column * (width + GAP_PX), y))
    return sheet


def _write(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    text: str,
    font: Any,
    width_px: int,
    lines: int,
) -> None:
    broken = wrap(text, font, width_px, most_lines=lines)
    draw.multiline_text(corner, "\n".join(broken), fill=INK, font=font, spacing=font.size * 0.2)
