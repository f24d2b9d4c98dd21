"""Copy tensors of an earlier artifact into fresh networks, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def check_family(card: Mapping[str, Any], family: str) -> None:
    """Raise ValueError when the card of a start names another family."""
    found = card.get("recipe", {}).get("name", family)
    if found != family:
        raise ValueError(f"the start is of the family {found}, wanted {family}: name another start")


@torch.no_grad()
def copy_by_name(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    fresh: Callable[[str], bool] = lambda name: False,
    what: str = "the network",
) -> None:
    """Overwrite the tensors of `module` with those of the same name.

    Args:
        module: freshly built.
        tensors: of the artifact that the stage starts from.
        fresh: name -> True if the tensor may be missing in the artifact and keeps its fresh value.
        what: for the message.

    Raises:
        ValueError: names missing on either side or of another shape; all are listed.
    """
    own = module.state_dict()
    faults = {
        "not in the start": [n for n in own if n not in tensors and not fresh(n)],
        "only in the start": [n for n in tensors if n not in own],
        "of another shape": [
            f"{n} {list(tensors[n].shape)}, wanted {list(own[n].shape)}"
            for n in own
            if n in tensors and tensors[n].shape != own[n].shape
        ],
    }
    if any(faults.values()):
        listed = "; ".join(f"{k}: {', '.join(v[:8])}" for k, v in faults.items() if v)
        raise ValueError(
            f"the start does not fit {what} (same recipe fields and data widths are needed): "
            f"{listed}"
        )
    for name, tensor in own.items():
        if name in tensors:
            tensor.copy_(tensors[name])
