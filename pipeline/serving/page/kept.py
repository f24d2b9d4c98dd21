"""The gallery: files beside the page while it runs, and a list in the browser that outlives it."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.serving.page.asked import Asked, asked_of

KEEP = 60
# A browser keeps 5 million characters for an address, and the page's list is a third longer there.
BROWSER_CHARS = 3_000_000
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """A picture or a film of the gallery."""

    path: Path
    asked: Asked

    @property
    def is_film(self) -> bool:
        """Return whether it is a film."""
        return self.path.suffix == ".mp4"


class Kept:
    """Keeps pictures as files below a folder, which whoever made it deletes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def added(
        self, pictures: Sequence[Picture], drawn: Sequence[tuple[bytes, Asked]]
    ) -> list[Picture]:
        """Return a gallery with new pictures before the others; of more than KEEP the last go."""
        gallery = [*(self._written(content, asked) for content, asked in drawn), *pictures]
        self.dropped(gallery[KEEP:])
        return gallery[:KEEP]

    def dropped(self, pictures: Sequence[Picture]) -> None:
        """Delete the files of pictures that nobody sees any more."""
        for picture in pictures:
            with suppress(OSError):
                picture.path.unlink()
                picture.path.parent.rmdir()

    def restored(self, rows: Any) -> list[Picture]:
        """Return the gallery that a browser kept; what is no picture of it is left out."""
        drawn = []
        for row in rows[:KEEP] if isinstance(rows, list) else ():
            with suppress(ValueError, TypeError, KeyError, binascii.Error):
                content = base64.b64decode(row["png"], validate=True)
                if content.startswith(_PNG):
                    drawn.append((content, asked_of(row["asked"])))
        return self.added([], drawn)

    def for_browser(self, pictures: Sequence[Picture]) -> list[dict[str, Any]]:
        """Return what a browser keeps: the newest pictures that fit there, and no films."""
        rows, chars = [], 0
        for picture in pictures:
            if picture.is_film:
                continue
            png = base64.b64encode(picture.path.read_bytes()).decode("ascii")
            chars += len(png)
            if chars > BROWSER_CHARS:
                break
            rows.append({"png": png, "asked": dataclasses.asdict(picture.asked)})
        return rows

    def _written(self, content: bytes, asked: Asked) -> Picture:
        # A folder each: the name is what a browser calls the file when it is saved.
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        path = folder / asked.file_name("png" if content.startswith(_PNG) else "mp4")
        path.write_bytes(content)
        return Picture(path, asked)
