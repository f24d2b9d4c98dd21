"""Sheets of images: a plain grid, or one with captions, as the reports and the README show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAP_PX = 8
MARGIN_PX = 16
PAPER = (255, 255, 255)
INK = (40, 40, 46)
SMALLEST_CELL_PX = 96  # smaller images are enlarged by a whole factor, each pixel a sharp square


def image_grid(
    images: Any, columns: int, captions: Sequence[str] | None = None, title: str = ""
) -> Image.Image:
    """Lay images out row by row on white.

    Args:
        images: uint8 [N, H, W, 3], an array or a CPU tensor; N >= 1.
        columns: images per row; the last row may be shorter.
        captions: one per image (written under it), or one per row (written under the row), or none.
        title: a line above all.

    Returns:
        An RGB image, small images enlarged by a whole factor.

    Raises:
        ValueError: the shape, the dtype or the number of captions does not fit.
    """
    tiles = tiles_of(images)
    num_rows = -(-len(tiles) // columns)
    if captions is not None and len(captions) not in (len(tiles), num_rows):
        raise ValueError(
            f"{len(captions)} captions for {len(tiles)} images in {num_rows} rows: "
            "give one per image or per row"
        )
    layout = _Layout.of(tiles[0].size, columns, num_rows, len(tiles), captions, title)
    sheet = Image.new("RGB", layout.size, PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        room_px = sheet.width - 2 * MARGIN_PX
        layout.write(draw, (MARGIN_PX, MARGIN_PX), wrap(title, layout.font, room_px, most_lines=1))
    for index, tile in enumerate(tiles):
        left, upper = layout.corner(index)
        sheet.paste(tile, (left, upper))
        layout.write(draw, (left, upper + tile.height + GAP_PX // 2), layout.lines_under(index))
    return sheet


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Where each tile and each line of text goes, in pixels."""

    cell: tuple[int, int]
    columns: int
    num_rows: int
    title_px: int
    text_px: int
    texts: list[list[str]]
    per_image: bool
    font: Any

    @classmethod
    def of(
        cls,
        cell: tuple[int, int],
        columns: int,
        num_rows: int,
        num_tiles: int,
        captions: Sequence[str] | None,
        title: str,
    ) -> _Layout:
        font_px = max(13, cell[0] // 8)
        font = lettering(font_px)
        per_image = captions is not None and len(captions) == num_tiles
        span_px = cell[0] if per_image else cell[0] * columns + GAP_PX * (columns - 1)
        texts = [wrap(caption, font, span_px) for caption in captions or ()]
        line_px = int(font_px * 1.35)
        return cls(
            cell=cell,
            columns=columns,
            num_rows=num_rows,
            title_px=line_px + GAP_PX if title else 0,
            text_px=max((len(lines) for lines in texts), default=0) * line_px,
            texts=texts,
            per_image=per_image,
            font=font,
        )

    @property
    def row_px(self) -> int:
        return self.cell[1] + GAP_PX + (self.text_px + GAP_PX // 2 if self.texts else 0)

    @property
    def size(self) -> tuple[int, int]:
        width = self.cell[0] * self.columns + GAP_PX * (self.columns - 1)
        return (
            2 * MARGIN_PX + width,
            2 * MARGIN_PX + self.title_px + self.row_px * self.num_rows - GAP_PX,
        )

    def corner(self, index: int) -> tuple[int, int]:
        row, column = divmod(index, self.columns)
        left = MARGIN_PX + column * (self.cell[0] + GAP_PX)
        return left, MARGIN_PX + self.title_px + row * self.row_px

    def lines_under(self, index: int) -> list[str]:
        if not self.texts:
            return []
        if self.per_image:
            return self.texts[index]
        row, column = divmod(index, self.columns)
        return self.texts[row] if column == 0 else []

    def write(self, draw: ImageDraw.ImageDraw, corner: tuple[int, int], lines: list[str]) -> None:
        spacing = self.font.size * 0.2
        draw.multiline_text(corner, "\n".join(lines), fill=INK, font=self.font, spacing=spacing)


def tiles_of(images: Any) -> list[Image.Image]:
    """Return pictures of uint8 [N, H, W, 3], small ones enlarged by a whole factor."""
    pixels_NHWC = np.asarray(images)
    if pixels_NHWC.ndim != 4 or pixels_NHWC.shape[-1] != 3 or pixels_NHWC.dtype != np.uint8:
        raise ValueError(
            f"images are {pixels_NHWC.dtype} {pixels_NHWC.shape}: want uint8 [N, H, W, 3]"
        )
    if not len(pixels_NHWC):
        raise ValueError("no image to show")
    factor = max(1, -(-SMALLEST_CELL_PX // pixels_NHWC.shape[2]))
    big = pixels_NHWC.repeat(factor, axis=1).repeat(factor, axis=2)
    return [Image.fromarray(pixels) for pixels in big]


def lettering(size_px: int) -> ImageFont.FreeTypeFont:
    """Return the font of all labels: DejaVu Sans, which comes with matplotlib.

    Pillow's own has no letter beyond ASCII. This one has those of Europe, Greek, Cyrillic, Hebrew
    and Arabic; of Chinese, Japanese and Korean it has none.
    """
    found = find_spec("matplotlib")
    assert found is not None and found.origin is not None  # a dependency of the project
    path = Path(found.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size_px)


def wrap(text: str, font: Any, width_px: int, most_lines: int = 3) -> list[str]:
    """Break at words; what does not fit on `most_lines` lines ends in an ellipsis."""
    words = text.split()[:200] or [""]
    lines = [words[0]]
    for word in words[1:]:
        longer = f"{lines[-1]} {word}"
        if font.getlength(longer) <= width_px:
            lines[-1] = longer
        else:
            lines.append(word)
    cut = len(lines) > most_lines
    lines = lines[:most_lines]
    return [
        _fit(line, font, width_px, shortened=cut and index == most_lines - 1)
        for index, line in enumerate(lines)
    ]


def _fit(line: str, font: Any, width_px: int, *, shortened: bool) -> str:
    """Cut letters off the end until the line is narrow enough."""
    line = line[:400]
    while line and font.getlength(line + "..." * shortened) > width_px:
        line, shortened = line[:-1], True
    return line + "..." * shortened
