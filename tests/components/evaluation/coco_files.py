"""A made-up COCO: a caption file in COCO's own form, and a folder of pictures."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def picture_file(pixels: np.ndarray, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return buffer.getvalue()


def noise(seed: int, height: int = 40, width: int = 56) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def write_coco(
    folder: Path, files: dict[str, bytes | None], captions: dict[str, Sequence[str]]
) -> tuple[Path, Path]:
    """Write annotations/captions_val2014.json and val2014/; return both paths.

    Args:
        folder: where.
        files: name -> content; None is listed but not there.
        captions: name -> its captions.
    """
    (folder / "val2014").mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    images, annotations = [], []
    for number, (name, content) in enumerate(files.items()):
        if content is not None:
            (folder / "val2014" / name).write_bytes(content)
        image = {"license": 3, "file_name": name, "id": 100 + number, "height": 40, "width": 56}
        images.append(image | {"coco_url": f"http://example.org/{name}"})
        for caption in captions.get(name, ()):
            note = {"image_id": 100 + number, "id": 7000 + len(annotations), "caption": caption}
            annotations.append(note)
    content = {
        "info": {"description": "made up", "year": 2014},
        "images": images,
        "licenses": [{"id": 3, "name": "none"}],
        "annotations": annotations,
    }
    path = folder / "annotations" / "captions_val2014.json"
    path.write_text(json.dumps(content))
    return path, folder / "val2014"
