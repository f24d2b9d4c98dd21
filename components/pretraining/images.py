"""Training images of the encoders, in memory: uint8 tensors, captions and what is known of them.

Legend: N samples, H W pixels. Images are kept as uint8 [N, 3, H, W] and handed out in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from components.data.captions import PAIR_ATTRIBUTES, attributes_of
from components.data.config import SourceConfig
from components.data.decode import Decoded, centre_square, decode, parse_colour
from components.data.labels import Labels
from components.data.origins import Origin
from components.data.sources import parts, read_part
from components.errors import DataError


@dataclass(frozen=True)
class ImageSet:
    """Images with their captions.

    Attributes:
        pixels_NCHW: uint8.
        captions: one per image, the first where it has several.
        label_N: class index, int64; -1 where there is none.
        label_names: of the classes, in their order; empty where they are numbers.
        attributes: name -> index into PAIR_ATTRIBUTES[name] [N], where every caption tells of them;
            of two objects only where every caption tells of two.
        all_captions: every caption of each image, where some have several; else empty.
    """

    pixels_NCHW: Tensor
    captions: list[str]
    label_N: Tensor
    attributes: dict[str, Tensor] | None
    label_names: tuple[str, ...] = ()
    all_captions: tuple[tuple[str, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def num_labels(self) -> int:
        """Number of classes; 0 if some image has no label."""
        return int(self.label_N.max()) + 1 if len(self) and bool((self.label_N >= 0).all()) else 0

    def images(self, rows: Tensor) -> Tensor:
        """Return the images of these rows, float in [-1, 1]."""
        return self.pixels_NCHW[rows].float() / 127.5 - 1

    def texts(self, rng: torch.Generator) -> tuple[list[str], Callable[[Tensor], Tensor]]:
        """Return all captions of all images, and a function that draws one caption for each of
        some images: their rows [N] -> numbers of captions [N]. Where each image has one, nothing is
        drawn.
        """
        if not self.all_captions:
            return self.captions, lambda rows: rows
        counts = torch.tensor([len(several) for several in self.all_captions])
        starts = counts.cumsum(0) - counts

        def drawn(rows: Tensor) -> Tensor:
            part = torch.rand(len(rows), generator=rng)
            return starts[rows] + (part * counts[rows]).long()

        return [text for several in self.all_captions for text in several], drawn

    def subset(self, rows: Tensor) -> ImageSet:
        """Return these rows as a set of their own."""
        known = self.attributes and {k: v[rows] for k, v in self.attributes.items()}
        return ImageSet(
            self.pixels_NCHW[rows],
            [self.captions[row] for row in rows.tolist()],
            self.label_N[rows],
            known,
            self.label_names,
            tuple(self.all_captions[row] for row in rows.tolist()) if self.all_captions else (),
        )

    def numbered_as(self, label_names: tuple[str, ...]) -> ImageSet:
        """Return the same set with the classes in another set's order; -1 where it has them not."""
        if self.label_names == label_names or not self.label_names:
            return self
        order = [label_names.index(n) if n in label_names else -1 for n in self.label_names]
        known = self.label_N >= 0
        label_N = self.label_N.clone()
        label_N[known] = torch.tensor(order)[label_N[known]]
        return replace(self, label_N=label_N, label_names=label_names)


def image_set(
    pixels_NHWC: np.ndarray, captions: list[str], labels: list[str], label_kind: str = "name"
) -> ImageSet:
    """Build a set from arrays.

    Args:
        pixels_NHWC: uint8.
        captions: one per image.
        labels: class of each image as text, "" for none.
        label_kind: "name" numbers them in the order of their names; "index" keeps whole numbers.
    """
    pixels = torch.from_numpy(pixels_NHWC).permute(0, 3, 1, 2).contiguous()
    numbers = Labels.of(labels, label_kind)
    label_N = torch.tensor([numbers.number(label) for label in labels], dtype=torch.long)
    told = [values for values in map(attributes_of, captions) if values]
    known = None
    if told and len(told) == len(captions) and all(one.keys() == told[0].keys() for one in told):
        known = {
            name: torch.tensor([PAIR_ATTRIBUTES[name].index(one[name]) for one in told])
            for name in told[0]
        }
    return ImageSet(pixels, captions, label_N, known, tuple(numbers.names))


def read_images(origins: Sequence[Origin], side_px: int, max_images: int) -> ImageSet:
    """Read the readable samples of sources, cut to their middle square.

    Args:
        origins: the sources.
        side_px: side of the images.
        max_images: stop after so many, an equal share from each source.

    Raises:
        DataError: there is no source, or nothing in it can be read.
    """
    each = -(-max_images // len(origins))
    found = [sample for origin in origins for sample in islice(_readable(origin, side_px), each)]
    found = found[:max_images]
    if len(found) < 2:
        where = ", ".join(map(str, origins))
        todo = "give at least two to train encoders on"
        raise DataError(f"{len(found)} readable images", where, todo)
    pixels, captions, labels, several = zip(*found, strict=True)
    kind = origins[0].config.label_kind
    images = image_set(np.stack(pixels), list(captions), list(labels), kind)
    if not any(several):
        return images
    every = (more or (first,) for first, more in zip(captions, several, strict=True))
    return replace(images, all_captions=tuple(every))


_Sample = tuple[np.ndarray, str, str, tuple[str, ...]]


def _readable(origin: Origin, side_px: int) -> Iterator[_Sample]:
    """Yield the middle square, caption and class of each readable sample, and all its captions
    where one is drawn from several.
    """
    config = origin.config
    background = parse_colour(config.background_rgb)
    for part in parts(config, origin.folder):
        for record in read_part(config, origin.folder, part):
            if record.reason:
                continue
            image = decode(record.image, background, grey_range=config.grey_range)
            if isinstance(image, Decoded):
                square = centre_square(image.pixels_HWC, side_px)
                yield square, record.caption, record.label, record.captions


def read_clean_split(
    folder: Path, side_px: int, label_column: str | tuple[str, ...] = "label"
) -> ImageSet:
    """Read a split that `synthesize` wrote: tars whose json holds the label, and each attribute."""
    # `label` numbers shape and colour; every other column holds words.
    kind: Literal["name", "index"] = "index" if label_column == "label" else "name"
    config = SourceConfig(
        kind="webdataset", path=str(folder), label_column=label_column, label_kind=kind
    )
    return read_images([Origin(config, folder)], side_px, max_images=1_000_000)


def hold_out(images: ImageSet, count: int, rng: torch.Generator) -> tuple[ImageSet, ImageSet]:
    """Split off `count` images at random; return (the rest, the ones split off)."""
    order = torch.randperm(len(images), generator=rng)
    return images.subset(order[count:].sort().values), images.subset(order[:count].sort().values)
