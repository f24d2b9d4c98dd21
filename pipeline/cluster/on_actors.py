"""Rows of a data stage, made by Ray's actors wherever RAY_ADDRESS says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.fingerprint import digest

if TYPE_CHECKING:
    from components.data.score_parts import MapParts
    from pipeline.cluster.config import ClusterConfig


def rows_on_ray(
    config: ClusterConfig, say: Callable[[str], None], *, ordered: bool = False
) -> MapParts:
    """Return what maps items to rows on actors, an item a call: it is what an actor does by itself.

    Args:
        config: number and size of the actors.
        say: receives the log of a submitted job.
        ordered: give the answers in the order of the items.
    """

    def map_parts(
        items: Iterable[dict[str, Any]], worker: type, arguments: dict[str, Any]
    ) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        from pipeline.cluster.launch import is_distant, ray_address, submit_rows
        from pipeline.cluster.ray_door import map_batches
        from pipeline.cluster.row_job import rows_of_job

        stream = iter(items)
        if (first := next(stream, None)) is None:
            return iter(())  # no Ray for nothing to do
        items, address = chain([first], stream), ray_address()
        if is_distant(address):
            submit = submit_rows(config, address, say)
            return rows_of_job(items, worker, arguments, ordered, submit)
        return map_batches(items, worker, arguments, 1, config, address, ordered)

    return map_parts


def shared(folder: Path) -> Path:
    """Return where actors find a folder that a stage wrote: for a cluster, in the shared folder.

    Cards and manifests hold the hashes of the large files beside them.
    """
    from pipeline.cluster.launch import share_input

    files = sorted(path for path in folder.rglob("*") if path.is_file())
    facts = [
        (str(path.relative_to(folder)), path.stat().st_size)
        if path.suffix != ".json"
        else (str(path.relative_to(folder)), path.read_text(encoding="utf-8"))
        for path in files
    ]
    return share_input(folder, digest(facts))
