"""Rows of a data stage, made by Ray's actors wherever RAY_ADDRESS says."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from components.data.score_parts import MapParts
    from pipeline.cluster.config import ClusterConfig


def rows_on_ray(config: ClusterConfig, *, ordered: bool = False) -> MapParts:
    """Return what maps items to rows on actors, an item a call: it is what an actor does by itself.

    Args:
        config: number and size of the actors.
        ordered: give the answers in the order of the items.
    """

    def map_parts(
        items: Iterable[dict[str, Any]], worker: type, arguments: dict[str, Any]
    ) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        from pipeline.cluster.inputs import share_arguments
        from pipeline.cluster.ray_door import map_batches

        address = os.environ.get("RAY_ADDRESS", "")
        arguments = share_arguments(arguments, config.store)
        return map_batches(items, worker, arguments, 1, config, address, ordered)

    return map_parts
