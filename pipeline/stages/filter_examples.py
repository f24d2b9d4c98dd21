"""What the filter has rejected, as pictures: a few examples of each reason on one sheet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from components.data.origins import Origin

PICTURE = "rejected.png"
EACH, SIDE_PX = 5, 96
UNREADABLE = 200  # grey where there is no picture to show


def write_examples(
    folder: Path, rejected: Iterable[Mapping[str, Any]], origins: Sequence[Origin]
) -> Path | None:
    """Write rejected.png: a row per reason, the first samples of each; None without any.

    Args:
        folder: of the charts.
        rejected: rows of the scores in stored order, at most EACH of each reason are used; each has
            reason, shard, offset, num_bytes and caption.
        origins: the sources.
    """
    import numpy as np

    from components.data.names import shown
    from components.data.origins import OriginImages
    from components.pictures.picture_files import save_picture
    from components.pictures.sheets import image_grid

    rows: dict[str, list[tuple[np.ndarray, str]]] = {}
    with OriginImages(origins) as reader:
        for row in rejected:
            found = rows.setdefault(row["reason"], [])
            if len(found) < EACH:
                text = shown(row["caption"] or "", 40)
                words = ": ".join(part for part in (_in_words(row["reason"]), text) if part)
                found.append((_picture(reader, row), words))
    if not rows:
        return None
    blank = (np.full((SIDE_PX, SIDE_PX, 3), 255, np.uint8), "")
    cells = [cell for _, found in sorted(rows.items()) for cell in (found + [blank] * EACH)[:EACH]]
    sheet = image_grid(np.stack([image for image, _ in cells]), EACH, [text for _, text in cells])
    path = folder / PICTURE
    path.unlink(missing_ok=True)
    save_picture(sheet, path)
    return path


def _in_words(reason: str) -> str:
    """Return "clip similarity" of filter.clip_similarity, "caption empty" of caption.empty: the
    narrow column has room for words, not for one of them that long.
    """
    return reason.removeprefix("filter.").replace(".", " ").replace("_", " ")


def _picture(reader: Any, row: Mapping[str, Any]) -> np.ndarray:
    """Return the middle of a sample's picture, grey where it cannot be read."""
    import numpy as np

    from components.data.decode import Decoded, centre_square, decode
    from components.errors import DataError

    grey = np.full((SIDE_PX, SIDE_PX, 3), UNREADABLE, np.uint8)
    if not row["num_bytes"]:
        return grey
    try:
        decoded = decode(reader.read(row["shard"], row["offset"], row["num_bytes"]))
    except DataError:  # an example is not worth the stage
        return grey
    return centre_square(decoded.pixels_HWC, SIDE_PX) if isinstance(decoded, Decoded) else grey
