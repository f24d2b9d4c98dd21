"""The sweep: where CLIP sees every style channel move the image, and the file that keeps it.

Legend: N codes, C channels of all convolutions, I images per channel, E width of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from components.editing.clip_text import ClipText
from components.editing.edits import by_turns, styles_of
from components.editing.tensor_file import read_tensors, write_tensors
from components.errors import ConfigError
from components.requests.editing import SweepConfig
from components.sampling import device_of, evaluation_mode, seed_noise
from models.editing.directions import channel_directions
from models.interfaces import Condition

_RECORD = "ganline_channels"
MapChunks = Callable[[list[dict[str, Any]]], Iterator[tuple[int, list[dict[str, Any]]]]]
"""Chunks {channels: numbers} -> (place in the list, [{direction: array}]), in any order."""


@dataclass(frozen=True, kw_only=True)
class Channels:
    """Directions and statistics of all channels, in the order in which the layers run.

    Attributes:
        widths: layer -> its channels.
        direction_CE: of unit length.
        mean_C, deviation_C: of the channels over codes.
        generator_sha256, clip_sha256: what they were swept with; "" where a file does not say.
        facts: how; strings and numbers.
    """

    widths: Mapping[str, int]
    direction_CE: Tensor
    mean_C: Tensor
    deviation_C: Tensor
    generator_sha256: str = ""
    clip_sha256: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def split(self, values_C: Tensor) -> dict[str, Tensor]:
        """Return layer -> its part of one number for each channel."""
        return dict(zip(self.widths, values_C.split(list(self.widths.values())), strict=True))

    def place(self, index: int) -> tuple[str, int]:
        """Return layer and channel of a place in the order."""
        for name, width in self.widths.items():
            if index < width:
                return name, index
            index -= width
        raise IndexError(index)


class ChannelSweep:
    """Moves one channel after another and embeds what comes out.

    Args:
        generator: with styles; it stays as it is.
        condition: one row for all images, or several, by turns: where the text decides most of a
            style, codes of one text say little about how far a channel goes.
        clip: whose eyes count.
        config: codes, images, how far.

    Raises:
        ConfigError: a family without styles.
    """

    def __init__(
        self, generator: Any, condition: Condition, clip: ClipText, config: SweepConfig
    ) -> None:
        self._generator, self._condition, self._clip = generator, condition, clip
        self._config = config
        with torch.no_grad(), evaluation_mode(generator):
            codes_NLD = self._codes(config.codes)
            styles = styles_of(generator, codes_NLD)
            convs = [x for x in generator.style_layers() if x.kind == "conv"]
            self.widths = {x.name: x.channels for x in convs}
            values_NC = torch.cat([styles[name] for name in self.widths], dim=1)
            self.mean_C, self.deviation_C = values_NC.mean(dim=0), values_NC.std(dim=0)
            self._styles = {name: x[: config.images].clone() for name, x in styles.items()}

    def _codes(self, count: int) -> Tensor:
        device = device_of(self._generator)
        seeds = range(self._config.seed, self._config.seed + count)
        z_NZ = seed_noise(list(seeds), self._generator.z_dim).to(device)
        rows = by_turns(self._condition, range(count)).to(device)
        codes_NLD: Tensor = self._generator.map(z_NZ, rows, self._config.psi)
        return codes_NLD

    def __len__(self) -> int:
        return len(self.mean_C)

    def rows(self, channels: Sequence[int]) -> Tensor:
        """Return the directions [len(channels), E] of these channels; a function of them alone."""
        return torch.cat([self._row(channel) for channel in channels])

    @torch.no_grad()
    def _row(self, channel: int) -> Tensor:
        start, layer = 0, ""
        for name, width in self.widths.items():
            if channel < start + width:
                layer = name
                break
            start += width
        count, far = self._config.images, self._config.deviations * self.deviation_C[channel]
        moved = {name: x.repeat(2, 1) for name, x in self._styles.items()}
        column = moved[layer][:, channel - start]
        column[:count] = self.mean_C[channel] - far
        column[count:] = self.mean_C[channel] + far
        found = []
        with evaluation_mode(self._generator):
            for first in range(0, 2 * count, self._config.batch):
                part = {name: x[first : first + self._config.batch] for name, x in moved.items()}
                codes = [(first + i) % count for i in range(len(part[layer]))]
                rows = by_turns(self._condition, codes)
                image = self._generator.synthesize_from_styles(part, rows, noise="const")
                found.append(self._clip.images(image))
        low_IE, high_IE = torch.cat(found).split(count)
        return channel_directions(torch.stack([low_IE, high_IE], dim=1)[None])

    def run(
        self,
        folder: Path,
        *,
        chunk: int = 32,
        report: Callable[[int, int], object] = lambda done, total: None,
        map_chunks: MapChunks | None = None,
    ) -> Tensor:
        """Return all directions [C, E], going on from what `folder` already holds.

        Args:
            folder: made if absent; a file for each chunk of channels.
            chunk: channels in a file.
            report: is told how many channels are done, and of how many.
            map_chunks: makes the missing chunks elsewhere; None: here, one after the other.
        """
        folder.mkdir(parents=True, exist_ok=True)
        starts = range(0, len(self), chunk)
        paths = {first: folder / f"channels-{first:06d}.safetensors" for first in starts}
        missing = [first for first in starts if not paths[first].is_file()]
        listed = {first: list(range(first, min(first + chunk, len(self)))) for first in starts}
        done = len(self) - sum(len(listed[first]) for first in missing)
        chunks = [{"channels": listed[first]} for first in missing]
        for number, (row,) in (map_chunks or self._here)(chunks) if chunks else ():
            first = missing[number]
            direction = torch.as_tensor(row["direction"])
            write_tensors(paths[first], {"direction": direction}, _RECORD, {"first": first})
            done += len(listed[first])
            report(done, len(self))
        found = [read_tensors(path, _RECORD)[0]["direction"] for path in paths.values()]
        return torch.cat(found).to(self.mean_C.device)

    def _here(self, chunks: list[dict[str, Any]]) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        for number, part in enumerate(chunks):
            yield number, [{"direction": self.rows(part["channels"])}]

    def channels(self, direction_CE: Tensor, generator_sha256: str, clip_sha256: str) -> Channels:
        """Return the finished sweep."""
        return Channels(
            widths=self.widths,
            direction_CE=direction_CE,
            mean_C=self.mean_C,
            deviation_C=self.deviation_C,
            generator_sha256=generator_sha256,
            clip_sha256=clip_sha256,
            facts=asdict(self._config),
        )


def write_channels(path: Path, channels: Channels) -> None:
    """Write a sweep's file; the same sweep gives the same bytes."""
    tensors = {
        "direction": channels.direction_CE,
        "mean": channels.mean_C,
        "deviation": channels.deviation_C,
    }
    record = {
        "widths": [[name, width] for name, width in channels.widths.items()],
        "generator_sha256": channels.generator_sha256,
        "clip_sha256": channels.clip_sha256,
        "facts": dict(channels.facts),
    }
    write_tensors(path, tensors, _RECORD, record)


def read_channels(path: Path) -> Channels:
    """Return the sweep of a file; StorageError when it is none."""
    tensors, record = read_tensors(path, _RECORD)
    return Channels(
        widths={str(name): int(width) for name, width in record["widths"]},
        direction_CE=tensors["direction"],
        mean_C=tensors["mean"],
        deviation_C=tensors["deviation"],
        generator_sha256=str(record["generator_sha256"]),
        clip_sha256=str(record["clip_sha256"]),
        facts=dict(record["facts"]),
    )


def check_channels(channels: Channels, generator: Any, hashes: Sequence[str]) -> None:
    """Raise ConfigError unless a sweep is of this generator.

    Args:
        channels: as read.
        generator: whose styles are to move.
        hashes: of the weights that it is allowed to be of (`release.code_hashes`).
    """
    wanted = {x.name: x.channels for x in generator.style_layers() if x.kind == "conv"}
    if dict(channels.widths) != wanted or (
        channels.generator_sha256 and channels.generator_sha256 not in hashes
    ):
        raise ConfigError(
            f"the channels are of weights {channels.generator_sha256[:12] or 'unknown'}, the model "
            f"has {hashes[0][:12]}",
            "--channels",
            "give the model that was swept, or sweep this one",
        )
