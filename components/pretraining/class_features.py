"""What a frozen net knows of the data's classes, in one file beside the net.

For each class: the mean pooled features of its own images, and which of the net's logits speaks of
it.

Legend: N samples, K classes, E width of the pooled features, H W pixels.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from components.data.at_hand import at_hand
from components.data.decode import Decoded, centre_square, decode, parse_colour
from components.data.labels import in_order
from components.data.origins import (
    Origin,
    OriginImages,
    origin_at,
    origin_of,
    parts_of,
    records_of,
)
from components.data.records import Record
from components.data.score_parts import MapParts
from components.errors import ConfigError, StorageError
from models.features import load_feature_net
from models.features.cnn import NUM_STAGES
from models.interfaces import ClassTable

FILE = "classes.safetensors"
_RECORD = "ganline_classes"
_BATCH = 64

Row = dict[str, Any]


@dataclass(frozen=True)
class Elsewhere:
    """Another place where images are looked at.

    Attributes:
        map_parts: hands pieces of work to workers there, and gives their rows in order.
        net: folder of the frozen net.
    """

    map_parts: MapParts
    net: Path


def class_features(
    net: Any, origins: Sequence[Origin], per_class: int, elsewhere: Elsewhere | None = None
) -> tuple[list[str], Tensor]:
    """Return the names of the source's classes, sorted, and their mean pooled features [K, E].

    Args:
        net: a frozen net with "pooled" features.
        origins: the user's data; unreadable samples and those without a class are left out.
        per_class: images read of each class, the first ones.
        elsewhere: None: the net looks here. The features are the same.
    """
    sums: dict[str, Tensor] = {}
    count = _Count()
    lacking: set[str] | None = None  # classes of which images are still wanted; None = of all
    while lacking is None or lacking:  # more than once only where an image could not be read
        count.there.clear()
        batches = _in_batches(_wanted(origins, per_class, count, lacking))
        for labels, seen in _seen(net, origins, batches, elsewhere):
            for label, pooled_E in zip(labels, seen, strict=True):
                if pooled_E is not None:
                    count.read[label] += 1
                    sums[label] = sums.get(label, 0) + pooled_E.double()
        lacking = {
            label
            for label, there in count.there.items()
            if count.read[label] < per_class and there > count.asked[label]
        }
    names = in_order(sums)
    return names, torch.stack([sums[name] / count.read[name] for name in names]).float()


@dataclass
class _Count:
    """Images of each class: those that there are, those that were looked at, and of these those
    that could be read.
    """

    there: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    read: Counter[str] = field(default_factory=Counter)


def _wanted(
    origins: Sequence[Origin], per_class: int, count: _Count, lacking: set[str] | None
) -> Iterator[Record]:
    """Yield the next images of each class, as many as it lacks, in stored order; count them."""
    before, read = Counter(count.asked), Counter(count.read)
    for part in parts_of(origins):
        for record in records_of(origins, part):
            label = record.label
            if record.reason or not label or (lacking is not None and label not in lacking):
                continue
            count.there[label] += 1
            is_new = count.there[label] > before[label]
            if is_new and count.asked[label] - before[label] < per_class - read[label]:
                count.asked[label] += 1
                yield record


def _in_batches(records: Iterator[Record]) -> Iterator[list[Record]]:
    while some := list(islice(records, _BATCH)):
        yield some


Seen = list[Tensor | None]


def _seen(
    net: Any,
    origins: Sequence[Origin],
    batches: Iterator[list[Record]],
    elsewhere: Elsewhere | None,
) -> Iterator[tuple[list[str], Seen]]:
    """Yield classes and pooled features of each batch; None for what could not be read."""
    build: Row = {"origins": [origin.plain() for origin in origins]}
    if elsewhere is None:
        eyes = ClassEyes(net=net, **build)
        for some in batches:
            files = ((record.shard, record.image) for record in some)
            yield [record.label for record in some], eyes.look(files)
        return
    build |= {"net": str(elsewhere.net), "threads": torch.get_num_threads()}
    waiting: deque[list[str]] = deque()

    def items() -> Iterator[Row]:
        for some in batches:
            waiting.append([record.label for record in some])
            yield {"places": [(one.shard, one.offset, len(one.image)) for one in some]}

    for _, (row,) in elsewhere.map_parts(items(), ClassEyes, build):
        pooled = iter(row["pooled_NE"])
        yield waiting.popleft(), [next(pooled) if read else None for read in row["read"]]


class ClassEyes:
    """A frozen net that looks at images of the source.

    Args:
        origins: the sources, each as `Origin.plain` gives it.
        net: the net, or the folder that holds it, or that folder's address in a store.
        threads: of torch's CPU kernels, on which the order of a sum may depend; 0 = as they are.
    """

    def __init__(self, *, origins: Sequence[Row], net: Any, threads: int = 0) -> None:
        if threads:
            torch.set_num_threads(threads)
        self._device = "cpu"
        if isinstance(net, str):
            self._device = "cuda" if torch.cuda.is_available() else "cpu"
            net = load_feature_net(at_hand(net)).to(self._device)
        self._net = net
        self._origins = [origin_of(one) for one in origins]
        self._images = OriginImages(self._origins)

    def __call__(self, items: Sequence[Row]) -> list[Row]:
        """Return {read, one bool an image; pooled_NE of those that could be read} of each item.

        Args:
            items: {places: (shard, offset, bytes) of each image}.

        Raises:
            DataError: the source is not what it was.
        """
        rows = []
        for item in items:
            files = ((place[0], self._images.read(*place)) for place in item["places"])
            seen = self.look(files)
            pooled = [pooled_E for pooled_E in seen if pooled_E is not None]
            pooled_NE = torch.stack(pooled) if pooled else torch.empty(0, 0)
            rows.append({"read": [one is not None for one in seen], "pooled_NE": pooled_NE})
        return rows

    def look(self, files: Iterable[tuple[str, bytes]]) -> Seen:
        """Return the pooled features of images, given as shard and bytes; None = unreadable."""
        squares: list[np.ndarray] = []
        read: list[bool] = []
        for shard, file in files:
            source = origin_at(self._origins, shard)[0].config
            found = decode(file, parse_colour(source.background_rgb), grey_range=source.grey_range)
            read.append(isinstance(found, Decoded))
            if isinstance(found, Decoded):
                squares.append(centre_square(found.pixels_HWC, self._net.image_size))
        if not squares:
            return [None] * len(read)
        image_NCHW = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.inference_mode():
            pooled_NE = mean_pooled(self._net(image_NCHW.to(self._device))).cpu()
        rows = iter(pooled_NE)
        return [next(rows) if one else None for one in read]


def mean_pooled(features: Mapping[str, Tensor]) -> Tensor:
    """Return [N, E]: a CNN's last map averaged over its pixels (Sauer et al. 2022, section
    3.1: 320 numbers of EfficientNet-lite0), or what else a net pools.
    """
    last = features.get(f"stage_{NUM_STAGES - 1}")
    return features["pooled"] if last is None else last.mean(dim=(2, 3))


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
    # One entry: the library writes several in an order that changes from file to file.
    facts = {_RECORD: json.dumps({"classes": names, "logits": logits})}
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
        entries, feature_KE = file.metadata() or {}, file.get_tensor("feature_KE")
    classes, logits = _classes_and_logits(entries)
    rows = {name: row for row, name in enumerate(classes)}
    columns = {name: column for column, name in enumerate(logits)}
    if missing := [name for name in names if name not in rows]:
        listed = ", ".join(missing[:8])
        todo = "run the encoders stage on the data that is trained on"
        raise ConfigError(f"no features of the classes {listed}", str(folder / FILE), todo)
    known = all(name in columns for name in names)
    return ClassTable(
        feature_KE=feature_KE[[rows[name] for name in names]],
        logit_K=torch.tensor([columns[name] for name in names]) if known else None,
    )


def _classes_and_logits(entries: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the names of the rows and of the logits; older files have an entry for each."""
    record = json.loads(entries[_RECORD]) if _RECORD in entries else None
    facts = record or {name: json.loads(text) for name, text in entries.items()}
    return facts["classes"], facts["logits"]


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        what = f"not readable as safetensors: {error}"
        raise StorageError(what, str(path), "run the encoders stage again") from error
