"""Similarity of image and caption by the CLIP in a folder.

Legend: N images, D width of the embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
from PIL import Image

from components.data.clip_net import open_clip
from components.data.decode import cut_square
from components.data.scorers.base import ColumnScorer

_REDUCING_GAP = 3.0
_AT_ONCE = 64  # images in the tower: of more, what lies between its layers leaves a CPU's cache


class Clip(ColumnScorer):
    """Cosine of image and caption; of several captions the smallest. Filled in by the batch."""

    columns: ClassVar = {"clip_similarity": pa.float32()}
    cost, device = "net", "net"


class ClipSimilarity:
    """Cosine of image and caption by the CLIP in a folder; NaN is handed on, not hidden."""

    def __init__(self, folder: Path) -> None:
        import torch

        self._torch = torch
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.net = open_clip(folder).to(self.device)
        self.side = int(self.net.preprocess.image_size_px)
        self.embedding_dim = int(self.net.embedding_dim)

    def small(self, image: Image.Image) -> np.ndarray:
        """Return what is looked at of an RGB image, uint8 [side, side, 3]."""
        return np.asarray(cut_square(image, self.side, _REDUCING_GAP))

    def similarity(self, images: Sequence[np.ndarray], captions: Sequence[str]) -> np.ndarray:
        """Return the cosine of each pair, float32 [N]; images as `small` returns them."""
        return self.cosines(self.embed(images), captions)

    def lengths(self, captions: Sequence[str]) -> list[int]:
        """Return the number of tokens of each caption, before any is cut."""
        return list(self.net.tokenize.lengths(list(captions)))

    def embed(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return L2-normalised embeddings of images as `small` returns them, float32 [N, D]."""
        torch = self._torch
        pieces = max(1, len(images) // _AT_ONCE) if self.device == "cpu" else 1
        # The last one takes the rest: alone, a few images give other last digits.
        marks = [*(_AT_ONCE * piece for piece in range(pieces)), len(images)]
        found = []
        with torch.inference_mode():
            for start, stop in pairwise(marks):
                image_NHWC = torch.from_numpy(np.stack(images[start:stop]))
                image_NCHW = image_NHWC.permute(0, 3, 1, 2).to(self.device)
                embedding_ND = self.net(image_NCHW.float() / 127.5 - 1)["pooled"]
                found.append(embedding_ND.float().cpu().numpy())
        return np.concatenate(found)

    def cosines(self, embedding_ND: np.ndarray, captions: Sequence[str]) -> np.ndarray:
        """Return the cosine of each embedding and its caption, float32 [N]."""
        torch = self._torch
        with torch.inference_mode():
            text_ND = self.net.encode_text(list(captions))
            image_ND = torch.from_numpy(embedding_ND).to(text_ND)
            return np.asarray((image_ND * text_ND).sum(1).float().cpu().numpy())
