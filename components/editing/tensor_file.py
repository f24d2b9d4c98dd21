"""A safetensors file with one JSON record in its header; nothing is executed on load."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from components.errors import StorageError


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], kind: str, record: Mapping[str, Any]
) -> None:
    """Write a file whole or not at all; `kind` names the record and so the kind of file."""
    from safetensors.torch import save_file

    plain = {name: x.detach().cpu().contiguous() for name, x in sorted(tensors.items())}
    temporary = path.with_name(f"{path.name}.tmp")
    save_file(plain, temporary, metadata={kind: json.dumps(record, sort_keys=True)})
    temporary.chmod(0o644)  # the library leaves it readable by its owner alone
    os.replace(temporary, path)


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a file, all finite, and its record.

    Raises:
        StorageError: the file is missing, of another kind, or holds NaN or infinity.
    """
    from safetensors import SafetensorError, safe_open

    where, todo = str(path), "name a file that ganline wrote for this"
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {})[kind])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise StorageError("there is no such file", where, todo) from error
    except OSError as error:
        raise StorageError(f"not readable: {error.strerror or error}", where, todo) from error
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise StorageError(f"this is no file of the kind {kind}", where, todo) from error
    bad = [n for n, x in tensors.items() if x.is_floating_point() and not x.isfinite().all()]
    if bad or not isinstance(record, dict):
        raise StorageError(f"NaN or infinity in {', '.join(sorted(bad)[:6])}", where, todo)
    return tensors, record
