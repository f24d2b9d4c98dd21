"""Small heads on CLIP's embedding of an image: one number each, weights from a file.

Three forms of file are read, and each is named in the error when none fits:

- LAION's linear predictor, as published: a state dict with `weight` [1, D] and `bias` [1];
- LAION's second predictor, as published: `layers.N.weight` and `layers.N.bias`, one linear layer
  after the other with nothing between them (what trained it had dropout there);
- a safetensors file of either form whose metadata may say `activation` (none or relu, between the
  layers) and `output` (none or sigmoid).

Legend: N images, D width of the embedding.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from components.data.scorers.base import ColumnScorer, Setting
from components.errors import ConfigError, StorageError

_LAYER = re.compile(r"(?:layers\.)?(\d+)\.(weight|bias)")
_WANTED = "`weight` and `bias`, or `layers.N.weight` and `layers.N.bias`, ending in one number"


@dataclass(frozen=True)
class Head:
    """Linear layers (weight [O, I], bias [O]) from an embedding to one number."""

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    relu: bool = False
    sigmoid: bool = False

    def __call__(self, embedding_ND: np.ndarray) -> np.ndarray:
        """Return one number for each embedding, float32 [N]."""
        values = embedding_ND.astype(np.float32)
        for number, (weight, bias) in enumerate(self.layers):
            if number and self.relu:
                values = np.maximum(values, 0)
            values = values @ weight.T + bias
        values = values[:, 0]
        return 1 / (1 + np.exp(-values)) if self.sigmoid else values


class _HeadScorer(ColumnScorer):
    """One column, the name of the scorer, from the head in its file."""

    name: ClassVar[str]
    cost, device, embeds = "cheap", "net", True

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        if setting.weights is None:
            what = f"the scorer {self.name} has no file of weights"
            raise ConfigError(what, f"score.heads.{self.name}", "give its path")
        self.head = read_head(setting.weights)
        wanted, given = self.head.layers[0][0].shape[1], setting.embedding_dim
        if wanted != given:
            what = f"the head takes embeddings of {wanted} numbers, this CLIP gives {given}"
            todo = "take the CLIP it was trained on (encoders.clip)"
            raise ConfigError(what, str(setting.weights), todo)

    def of_embeddings(self, embedding_ND: np.ndarray) -> dict[str, Sequence[Any]]:
        """Return the numbers of a batch."""
        return {self.name: self.head(embedding_ND).tolist()}


class Aesthetic(_HeadScorer):
    """How much people like such pictures; LAION's predictors give about 1 to 10."""

    name = "aesthetic"
    columns: ClassVar = {"aesthetic": pa.float32()}


class Nsfw(_HeadScorer):
    """How likely a picture is not for everybody's eyes, by the head that is given."""

    name = "nsfw"
    columns: ClassVar = {"nsfw": pa.float32()}


class Watermark(_HeadScorer):
    """How likely a picture bears a watermark, by the head that is given."""

    name = "watermark"
    columns: ClassVar = {"watermark": pa.float32()}


def read_head(path: Path) -> Head:
    """Read a head; nothing in the file is run.

    Raises:
        StorageError: no such file, or none of the forms that are known.
    """
    tensors, told = _tensors(path)
    if set(tensors) == {"weight", "bias"}:
        tensors = {f"layers.0.{name}": value for name, value in tensors.items()}
    numbered: dict[int, dict[str, np.ndarray]] = {}
    for name, value in tensors.items():
        match = _LAYER.fullmatch(name)
        if match is None:
            raise _unknown(path, f"a tensor {name[:60]!r}")
        numbered.setdefault(int(match[1]), {})[match[2]] = value
    layers = [(one.get("weight"), one.get("bias")) for _, one in sorted(numbered.items())]
    width = None
    for weight, bias in layers:
        if weight is None or bias is None or weight.ndim != 2 or bias.shape != weight.shape[:1]:
            raise _unknown(path, "a layer without a fitting weight and bias")
        if width not in (None, weight.shape[1]) or not np.isfinite(weight).all():
            raise _unknown(path, "layers that do not fit each other")
        width = weight.shape[0]
    if width != 1:
        raise _unknown(path, f"{width} outputs")
    wrong = {"activation": {"none", "relu"}, "output": {"none", "sigmoid"}}
    for name, known in wrong.items():
        if told.get(name, "none") not in known:
            raise _unknown(path, f"{name} {told[name][:20]!r}")
    relu, sigmoid = told.get("activation") == "relu", told.get("output") == "sigmoid"
    return Head(tuple(layers), relu, sigmoid)  # type: ignore[arg-type]


def _tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    from models.interop.tensor_file import read_tensors

    if not path.is_file():
        todo = "give the path of a safetensors file or of LAION's .pth"
        raise StorageError("no such file", str(path), todo)
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="np") as file:
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                told = file.metadata() or {}
        else:
            state, told = read_tensors(path), {}
            found = {name: value.float().numpy() for name, value in state.items()}
        return {name: np.asarray(value, dtype=np.float32) for name, value in found.items()}, told
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise _unknown(path, " ".join(str(error).split())[:80]) from None


def _unknown(path: Path, what: str) -> StorageError:
    return StorageError(f"no head on an embedding: {what}", str(path), f"wanted {_WANTED}")
