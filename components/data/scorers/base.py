"""What every scorer is: columns, and how their values come from a sample or from its embedding.

Legend: N images of a batch, D width of CLIP's embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import pyarrow as pa
from PIL import Image

from components.data.decode import Decoded
from components.data.records import Record
from components.data.scorers import SCORERS


class EmbeddingNet(Protocol):
    """What scorers need of a CLIP."""

    def small(self, image: Image.Image) -> np.ndarray:
        """Return what is kept of an RGB image until its batch is full."""

    def embed(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return L2-normalised embeddings of images as `small` returns them, float32 [N, D]."""

    def similarity(self, images: Sequence[np.ndarray], captions: Sequence[str]) -> np.ndarray:
        """Return the cosine of each pair, float32 [N]."""

    def cosines(self, embedding_ND: np.ndarray, captions: Sequence[str]) -> np.ndarray:
        """Return the same for images that are embedded already."""

    def lengths(self, captions: Sequence[str]) -> list[int]:
        """Return how many tokens each caption has, start and end included, before any is cut."""


@dataclass(frozen=True)
class Setting:
    """What a scorer is built with.

    Attributes:
        embedding_dim: width of CLIP's embedding; 0: no CLIP.
        weights: its file.
        language: `score.language`.
    """

    embedding_dim: int = 0
    weights: Path | None = None
    language: str = ""


class ColumnScorer:
    """A scorer of readable samples; one overrides `of_sample`, `of_embeddings` or `of_captions`.

    Attributes:
        columns: name -> type of what it writes; no other scorer writes them.
        cost: "cheap" (below a hundredth of decoding), "pixels" (about as decoding) or "net".
        device: "cpu", or "net" where it runs beside CLIP.
        embeds: it takes CLIP's embedding of the image.
        reads: it takes the captions together with CLIP.
    """

    columns: ClassVar[Mapping[str, pa.DataType]]
    cost: ClassVar[Literal["cheap", "pixels", "net"]] = "cheap"
    device: ClassVar[Literal["cpu", "net"]] = "cpu"
    embeds: ClassVar[bool] = False
    reads: ClassVar[bool] = False

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def of_sample(self, record: Record, image: Decoded) -> dict[str, Any]:
        """Return values of one sample."""
        return {}

    def of_embeddings(self, embedding_ND: np.ndarray) -> dict[str, Sequence[Any]]:
        """Return values of a batch: column -> one value for each image."""
        return {}

    def of_captions(
        self, captions: Sequence[Sequence[str]], net: EmbeddingNet
    ) -> dict[str, Sequence[Any]]:
        """Return values of a batch, of all captions of each image: column -> one value each."""
        return {}


def scorer_class(name: str) -> type[ColumnScorer]:
    """Return the class of a scorer."""
    module, _, kind = SCORERS[name].place.partition(".")
    found: type[ColumnScorer] = getattr(import_module(f"{__package__}.{module}"), kind)
    return found
