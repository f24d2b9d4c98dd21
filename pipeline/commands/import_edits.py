"""Import what is published for editing: latent mappers and matrices of directions, never run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from components.errors import ConfigError, StorageError

MATRIX = ".npy"
TODO = "give the file that was published with the matrix"


def import_mapper(content: Any, options: argparse.Namespace) -> bool:
    """Write the mapper that a checkpoint holds; return whether it holds one.

    Raises:
        ConfigError: --out is no file of its kind.
        StorageError: the mapper does not fit.
    """
    from models.families import mapper_in

    try:
        found = mapper_in(content)
    except ValueError as error:
        what = " ".join(str(error).split())[:400]
        raise StorageError(what, str(options.file), "give a mapper as it was published") from error
    if found is None:
        return False
    from components.editing import StoredMapper, write_mapper

    mapper, text = found
    check_out(options.out)
    facts = {"imported_from": options.file.name}
    stored = StoredMapper(mapper=mapper, text=text, generator_sha256="", facts=facts)
    write_mapper(options.out, stored)
    count = sum(p.numel() for p in mapper.parameters())
    print(f"read   {options.file}: mapper to {text!r}, {count:,} numbers")
    print(f"as     {stored.shape}")
    print(f"wrote  {options.out}: fits any model of that shape, since the file names none")
    return True


def import_directions(options: argparse.Namespace) -> None:
    """Write a matrix of channel directions with its means and deviations.

    Raises:
        ConfigError: an option is missing, or the matrix is not of the model.
        StorageError: a file cannot be read.
    """
    import torch

    from components.artifacts.artifact import GENERATOR, load_generator
    from components.editing import Channels, write_channels

    for name, value in (("--statistics", options.statistics), ("--model", options.model)):
        if value is None:
            raise ConfigError("a matrix of directions alone", name, f"give {name} too")
    check_out(options.out)
    matrix = _matrix(options.file)
    generator, card = load_generator(options.model)
    if not hasattr(generator, "style_layers"):
        raise ConfigError("this model has no styles", "--model", "give the one of the matrix")
    try:
        layers = generator.style_layers()  # type: ignore[operator]
    except ValueError as error:
        todo = "give the model of the matrix"
        raise ConfigError(str(error).partition(":")[0], "--model", todo) from error
    layers = [x for x in layers if x.kind != "input"]
    convs = [x for x in layers if x.kind == "conv"]
    wanted = sum(x.channels for x in convs)
    if len(matrix) != wanted:
        what = f"{len(matrix)} channels, the model's convolutions have {wanted}"
        raise ConfigError(what, str(options.file), "give the model that was swept")
    means, deviations = _statistics(options.statistics, [x.channels for x in layers])
    picked = [i for i, layer in enumerate(layers) if layer.kind == "conv"]
    channels = Channels(
        widths={x.name: x.channels for x in convs},
        direction_CE=torch.from_numpy(matrix),
        mean_C=torch.cat([means[i] for i in picked]),
        deviation_C=torch.cat([deviations[i] for i in picked]),
        generator_sha256=str(card["files"][GENERATOR]),
        facts={"imported_from": options.file.name},
    )
    write_channels(options.out, channels)
    print(f"read   {options.file}: directions of {wanted} channels, {matrix.shape[1]} wide")
    print(f"wrote  {options.out}: for {options.model}")


def _matrix(path: Path) -> Any:
    import numpy as np

    try:
        matrix = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        what = f"no readable array: {' '.join(str(error).split())[:160]}"
        raise StorageError(what, str(path), TODO) from error
    if matrix.ndim != 2 or matrix.dtype.kind != "f" or not np.isfinite(matrix).all():
        what = f"an array {list(matrix.shape)} of {matrix.dtype}, wanted finite numbers [C, E]"
        raise StorageError(what, str(path), TODO)
    return matrix.astype(np.float32)


def _statistics(path: Path, widths: list[int]) -> tuple[list[Any], list[Any]]:
    """Return means and deviations of all layers, ToRGB included, each [C]."""
    import numpy as np
    import torch

    from models.interop.checkpoint_file import read_checkpoint
    from models.interop.pickle_values import Refused

    try:
        content = read_checkpoint(path)
    except (Refused, OSError) as error:
        raise StorageError(f"refused {error}", str(path), TODO) from error
    parts = []
    for part in content if isinstance(content, (list, tuple)) else ():
        rows = [getattr(x, "value", x) for x in part] if isinstance(part, (list, tuple)) else []
        parts.append([np.asarray(x, np.float32).reshape(-1) for x in rows if x is not None])
    if len(parts) != 2 or any([len(x) for x in part] != widths for part in parts):
        what = f"no two lists of {len(widths)} arrays of the widths {widths[:6]}, ..."
        raise StorageError(what, str(path), TODO)
    if not all(np.isfinite(x).all() for part in parts for x in part):
        raise StorageError("NaN or infinity", str(path), TODO)
    means, deviations = ([torch.from_numpy(x.copy()) for x in part] for part in parts)
    return means, deviations


def check_out(path: Path) -> None:
    """Raise ConfigError unless --out is a file of tensors in a folder that is there."""
    if path.suffix != ".safetensors" or path.is_dir():
        raise ConfigError(f"cannot write {path.name} there", "--out", "name a .safetensors file")
    if not path.parent.is_dir():
        raise ConfigError(f"no folder {path.parent}", "--out", "make it, or name another")
