"""A file of named tensors and nothing else: safetensors, or a state dict of torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from models.interop.checkpoint_file import read_checkpoint
from models.interop.foreign_network import ForeignNetwork
from models.interop.pickle_values import Record, Refused
from models.interop.stored_tensors import StoredTensor


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name; nothing in it is run.

    Raises:
        ValueError: there is no such file, or it holds something else; it says which in one line.
    """
    if not path.is_file():
        raise ValueError(f"no file {path}")
    try:
        content = read_checkpoint(path)
        content = content.items if type(content) is Record else content
        if not isinstance(content, Mapping) or not all(
            type(name) is str and isinstance(x, StoredTensor | Tensor)
            for name, x in content.items()
        ):
            raise ValueError(f"{path} holds a {type(content).__name__}, wanted names with tensors")
        return ForeignNetwork(content).read()
    except (Refused, OSError) as error:
        raise ValueError(f"{path} is not a file of tensors alone ({error})") from error
