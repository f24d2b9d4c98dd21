"""Similarity of image and caption by the CLIP in a folder.

Legend: N images, D width of the embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
from PIL import Image

from components.data.clip_net import open_clip
from components.data.decode import cut_square
from components.data.scorers.base import ColumnScorer

_REDUCING_GAP = 3.0


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
        image_NCHW = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(self.device)
        with torch.inference_mode():
            embedding_ND = self.net(image_NCHW.float() / 127.5 - 1)["pooled"]
            return np.asarray(embedding_ND.float().cpu().numpy())

    def cosines(self, embedding_ND: np.ndarray, captions: Sequence[str]) -> np.ndarray:
        """Return the cosine of each embedding and its caption, float32 [N]."""
        torch = self._torch
        with torch.inference_mode():
            text_ND = self.net.encode_text(list(captions))
            image_ND = torch.from_numpy(embedding_ND).to(text_ND)
            return np.asarray((image_ND * text_ND).sum(1).float().cpu().numpy())
