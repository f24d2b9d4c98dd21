"""The sweep of a model's channels: from a file, from the cache, or made now, here or on Ray."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import ConfigError
from components.requests.editing import SweepConfig
from pipeline.commands.default_folders import frozen_nets
from pipeline.commands.editing_options import Opened, open_net, say
from pipeline.places import runs_folder

if TYPE_CHECKING:
    from components.editing import Channels, ChannelSweep
    from components.editing.channels import MapChunks

ON_A_CLUSTER = 2  # processes where RAY_ADDRESS names one and nobody says how many


def add_sweep_options(parser: argparse.ArgumentParser) -> None:
    """Let a command sweep style channels."""
    default = SweepConfig()
    sweep = parser.add_argument_group("the sweep of channels (kept, and continued)")
    sweep.add_argument("--channels", type=Path, metavar="FILE", help="one that is there already")
    sweep.add_argument(
        "--sweep-prompt",
        action="append",
        default=[],
        metavar="TEXT",
        help="draw its codes of such texts, by turns; default: of the prompt alone",
    )
    sweep.add_argument("--codes", type=int, default=default.codes, help="default %(default)s")
    sweep.add_argument("--images", type=int, default=default.images, help="default %(default)s")
    sweep.add_argument(
        "--sweep-workers",
        type=int,
        metavar="N",
        help=f"processes on Ray that share it; default: none, or {ON_A_CLUSTER} with RAY_ADDRESS",
    )


def channels_for(options: argparse.Namespace, opened: Opened) -> Channels:
    """Return the sweep of the model's channels: of a file, or from the cache, or made now.

    Raises:
        ConfigError: the file is of another model, or the family has no styles.
        ResourceError: no Ray answers where RAY_ADDRESS says.
    """
    from components.artifacts.release import code_hashes
    from components.editing import read_channels, write_channels

    if options.channels is not None:
        return _of_file(options, opened)
    workers = _workers(options.sweep_workers)
    hashes = code_hashes(opened.card)
    config = SweepConfig(codes=options.codes, images=options.images)
    asked = options.sweep_prompt or [opened.subject]
    key = [hashes[0], opened.clip_sha256, "\n".join(asked), asdict(config)]
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
    folder = runs_folder() / f"channels-{digest}"
    path = folder / "channels.safetensors"
    if path.is_file():
        return read_channels(path)
    sweep = _sweep(opened, asked, config)
    say(f"sweeping {len(sweep)} channels, kept in {folder}")

    def report(done: int, total: int) -> None:
        say(f"{done} of {total} channels")

    map_chunks: MapChunks | None = None
    if workers:
        facts: dict[str, Any] = {
            "model": str(options.model.absolute()),
            "encoders": str((options.encoders or frozen_nets()).absolute()),
            "role": options.clip_role,
            "templates": tuple(options.template),
            "asked": asked,
            "config": asdict(config),
        }
        map_chunks = partial(_on_ray, facts, workers)
    found = sweep.run(folder, report=report, map_chunks=map_chunks)
    channels = sweep.channels(found, hashes[0], opened.clip_sha256)
    write_channels(path, channels)
    return channels


def _of_file(options: argparse.Namespace, opened: Opened) -> Channels:
    from components.artifacts.release import code_hashes
    from components.editing import read_channels
    from components.editing.channels import check_channels

    channels = read_channels(options.channels)
    check_channels(channels, opened.model.generator, code_hashes(opened.card))
    width = channels.direction_CE.shape[1]
    if width != opened.clip.net.embedding_dim:
        what = f"directions {width} wide, this CLIP has {opened.clip.net.embedding_dim}"
        raise ConfigError(what, "--channels", "give the CLIP that the sweep was made with")
    return channels


def _sweep(opened: Opened, asked: list[str], config: SweepConfig) -> ChannelSweep:
    from components.editing import ChannelSweep
    from components.sampling import device_of

    generator = opened.model.generator
    condition = opened.model.condition(asked).to(device_of(generator))
    return ChannelSweep(generator, condition, opened.clip, config)


def _workers(wanted: int | None) -> int:
    """Return how many processes on Ray share the sweep; 0 = it is made here."""
    if wanted is None:
        return ON_A_CLUSTER if os.environ.get("RAY_ADDRESS") else 0
    if not 0 <= wanted <= 1024:
        raise ConfigError(f"sweep-workers is {wanted}", "--sweep-workers", "use 0 to 1024")
    return wanted


def _on_ray(
    facts: dict[str, Any], workers: int, chunks: list[dict[str, Any]]
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Yield the rows of chunks of channels as they are ready, made by processes on Ray."""
    from pipeline.cluster.config import ClusterConfig
    from pipeline.cluster.ray_door import map_batches

    config = ClusterConfig(scoring_workers=min(workers, len(chunks)), cpus_per_worker=1.0)
    address = os.environ.get("RAY_ADDRESS", "")
    yield from map_batches(chunks, SweepWorker, facts, 1, config, address)


class SweepWorker:
    """Holds model and CLIP in a process on Ray, and sweeps what chunks of channels it is given.

    Args:
        model, encoders: folders that every machine of the cluster sees.
        role, templates: of the CLIP.
        asked: what the codes are drawn for, by turns.
        config: fields of SweepConfig.
    """

    def __init__(
        self,
        model: str,
        encoders: str,
        role: str,
        templates: Sequence[str],
        asked: Sequence[str],
        config: dict[str, Any],
    ) -> None:
        from components.artifacts.release import load_release
        from components.editing import ClipText

        release, card = load_release(Path(model))
        net, sha256 = open_net(argparse.Namespace(encoders=Path(encoders)), role)
        condition = release.condition(list(asked))
        clip = ClipText(net.cpu(), templates)
        opened = Opened(release, card, clip, sha256, asked[0], condition, "")
        self._sweep = _sweep(opened, list(asked), SweepConfig(**config))

    def __call__(self, chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return a row for each chunk: `direction`, float32 [channels, E]."""
        return [{"direction": self._sweep.rows(x["channels"]).cpu().numpy()} for x in chunks]
