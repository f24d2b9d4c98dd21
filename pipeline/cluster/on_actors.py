"""Rows of a data stage, made by Ray's actors wherever RAY_ADDRESS says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import ConfigError

if TYPE_CHECKING:
    from components.data.score_parts import MapParts
    from pipeline.cluster.config import ClusterConfig


def rows_on_ray(
    config: ClusterConfig,
    say: Callable[[str], None],
    *,
    folders: tuple[str, ...] = (),
    ordered: bool = False,
) -> MapParts:
    """Return what maps items to rows on actors, an item a call: it is what an actor does by itself.

    Args:
        config: number and size of the actors.
        say: receives the log of a submitted job.
        folders: arguments of an actor that name folders of this machine; it gets them from where
            it sees them, and calls `at_hand` on them.
        ordered: give the answers in the order of the items.
    """

    def map_parts(
        items: Iterable[dict[str, Any]], worker: type, arguments: dict[str, Any]
    ) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        from pipeline.cluster.inputs import share_folder
        from pipeline.cluster.launch import is_distant, ray_address, submit_rows
        from pipeline.cluster.ray_door import map_batches
        from pipeline.cluster.row_job import rows_of_job

        stream = iter(items)
        if (first := next(stream, None)) is None:
            return iter(())  # no Ray for nothing to do
        items, address = chain([first], stream), ray_address()
        if is_distant(address) and config.store:
            raise ConfigError(
                "rows of a data stage do not travel through a store",
                f"RAY_ADDRESS={address} and cluster.store",
                "run it on the head with RAY_ADDRESS=auto, or with backend: local",
            )
        places = {name: share_folder(Path(arguments[name]), config.store) for name in folders}
        arguments = arguments | places
        if is_distant(address):
            submit = submit_rows(config, address, say)
            return rows_of_job(items, worker, arguments, ordered, submit)
        return map_batches(items, worker, arguments, 1, config, address, ordered)

    return map_parts
