"""What a frozen net knows of the data's classes, in one file beside the net.

For each class: the mean pooled features of its own images, and which of the net's logits speaks of
it.

Legend: N samples, K classes, E width of the pooled features, H W pixels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from components.data.decode import Decoded, centre_square, decode, parse_colour
from components.data.labels import in_order
from components.data.origins import Origin, origin_at, parts_of, records_of
from components.errors import ConfigError, StorageError
from models.features.cnn import NUM_STAGES
from models.interfaces import ClassTable

FILE = "classes.safetensors"
_BATCH = 64


def class_features(net: Any, origins: Sequence[Origin], per_class: int) -> tuple[list[str], Tensor]:
    """Return the names of the source's classes, sorted, and their mean pooled features [K, E].

    Args:
        net: a frozen net with "pooled" features.
        origins: the user's data; unreadable samples and those without a class are left out.
        per_class: images read of each class, the first ones.
    """
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    labels: list[str] = []
    pixels: list[np.ndarray] = []

    def add() -> None:
        image_NCHW = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.inference_mode():
            pooled_NE = mean_pooled(net(image_NCHW)).double()
        for label, pooled_E in zip(labels, pooled_NE, strict=True):
            sums[label] = sums.get(label, 0) + pooled_E
        labels.clear()
        pixels.clear()

    for label, image_HWC in _labelled(origins, net.image_size, counts, per_class):
        labels.append(label)
        pixels.append(image_HWC)
        if len(labels) == _BATCH:
            add()
    if labels:
        add()
    names = in_order(sums)
    return names, torch.stack([sums[name] / counts[name] for name in names]).float()


def mean_pooled(features: Mapping[str, Tensor]) -> Tensor:
    """Return [N, E]: a CNN's last map averaged over its pixels (Sauer et al. 2022, section
    3.1: 320 numbers of EfficientNet-lite0), or what else a net pools.
    """
    last = features.get(f"stage_{NUM_STAGES - 1}")
    return features["pooled"] if last is None else last.mean(dim=(2, 3))


def _labelled(
    origins: Sequence[Origin], side_px: int, counts: dict[str, int], per_class: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield class and middle square of readable samples; count them by class."""
    for part in parts_of(origins):
        source = origin_at(origins, part.shard)[0].config
        background = parse_colour(source.background_rgb)
        for record in records_of(origins, part):
            seen = counts.get(record.label, 0)
            if record.reason or not record.label or seen >= per_class:
                continue
            image = decode(record.image, background, grey_range=source.grey_range)
            if isinstance(image, Decoded):
                counts[record.label] = seen + 1
                yield record.label, centre_square(image.pixels_HWC, side_px)


def logit_names(net: Any, trained_on: Sequence[str]) -> list[str]:
    """Return the class that each logit stands for, [] for a net without logits.

    Args:
        net: a frozen net.
        trained_on: names of the classes it was trained on; empty where they are numbers, as a
            published net's are.
    """
    count = getattr(net.network, "num_classes", 0)
    return list(trained_on) if count and trained_on else [str(i) for i in range(count)]


def write_classes(folder: Path, names: list[str], feature_KE: Tensor, logits: list[str]) -> None:
    """Write what `read_classes` reads, beside a net's card."""
    facts = {"classes": json.dumps(names), "logits": json.dumps(logits)}
    save_file({"feature_KE": feature_KE.contiguous()}, folder / FILE, metadata=facts)
    (folder / FILE).chmod(0o644)  # the library leaves it readable by its owner alone


def class_dim(folder: Path) -> int:
    """Return E of a net's folder, 0 where no classes were looked at."""
    if not (folder / FILE).is_file():
        return 0
    with _opened(folder / FILE) as file:
        return int(file.get_slice("feature_KE").get_shape()[1])


def read_classes(folder: Path, names: Sequence[str]) -> ClassTable | None:
    """Return what the net in `folder` knows of these classes, None if nothing was written.

    Args:
        folder: of a net.
        names: of the data's classes, in the data's order; numbers as text.

    Raises:
        ConfigError: there was no image of one of the classes.
        StorageError: the file is damaged.
    """
    if not (folder / FILE).is_file():
        return None
    with _opened(folder / FILE) as file:
        facts, feature_KE = file.metadata() or {}, file.get_tensor("feature_KE")
    rows = {name: row for row, name in enumerate(json.loads(facts["classes"]))}
    columns = {name: column for column, name in enumerate(json.loads(facts["logits"]))}
    if missing := [name for name in names if name not in rows]:
        listed = ", ".join(missing[:8])
        todo = "run the encoders stage on the data that is trained on"
        raise ConfigError(f"no features of the classes {listed}", str(folder / FILE), todo)
    known = all(name in columns for name in names)
    return ClassTable(
        feature_KE=feature_KE[[rows[name] for name in names]],
        logit_K=torch.tensor([columns[name] for name in names]) if known else None,
    )


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        what = f"not readable as safetensors: {error}"
        raise StorageError(what, str(path), "run the encoders stage again") from error
