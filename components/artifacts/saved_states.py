"""Write the tensors of an artifact: safetensors, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


def save_states(folder: Path, states: Mapping[str, Mapping[str, Tensor] | None]) -> None:
    """Write file name -> tensors by name into a folder; None writes nothing."""
    from safetensors.torch import save_file

    for name, state in states.items():
        if state is not None:
            save_file({k: v.detach().cpu().contiguous() for k, v in state.items()}, folder / name)


def save_text_encoder(folder: Path, text_encoder: nn.Module, source: str) -> None:
    """Write a model's own text encoder, and where it comes from, as a frozen net's folder."""
    from models.features import save_feature_net

    save_feature_net(folder, text_encoder, role=folder.name, source=source)
