"""The micro-batches of this rank, prepared one iteration ahead on a background thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from components.errors import ConfigError
from components.training.config import TrainConfig
from components.training.distributed import World
from models.interfaces import Batch

Atom = tuple[int, Batch]


class BatchSource(Protocol):
    """An endless, seekable stream of samples (components/data/batches.py)."""

    def atom(self, position: int, size: int) -> Batch:
        """Return the samples [position, position + size) of the stream."""


def atoms_of_rank(config: TrainConfig, world: World) -> range:
    """Return the indices of the micro-batches that this rank computes, a contiguous share.

    Raises:
        ConfigError: micro_batch does not divide batch, or the number of ranks does not divide the
            micro-batches.
    """
    count, rest = divmod(config.batch, config.atom_size)
    if rest:
        raise ConfigError(
            f"batch {config.batch} is no multiple of micro_batch {config.micro_batch}",
            "train.micro_batch",
            "choose a micro_batch that divides the batch",
        )
    share, rest = divmod(count, world.size)
    if rest:
        raise ConfigError(
            f"{count} micro-batches (batch {config.batch} / micro_batch {config.micro_batch}) "
            f"cannot be shared by {world.size} workers",
            "cluster.num_workers",
            f"use a number of workers that divides {count}",
        )
    return range(world.rank * share, (world.rank + 1) * share)


class Feed:
    """Hand out (index, micro-batch) pairs of one iteration on the device, fetching the next in the
    background.

    Args:
        sum_over_ranks: of a tensor, called in `take`; given, each micro-batch brings the captions
            of the whole batch (`Batch.rivals_RD`), whatever its size and the number of ranks.
    """

    def __init__(
        self,
        source: BatchSource,
        indices: range,
        config: TrainConfig,
        device: torch.device,
        sum_over_ranks: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self._source, self._indices, self._config, self._device = source, indices, config, device
        self._sum_over_ranks = sum_over_ranks
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._ahead: tuple[int, Future[list[Batch]]] | None = None

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def take(self, nimg: int) -> list[Atom]:
        """Return this rank's micro-batches of the iteration that begins at `nimg`."""
        if self._ahead is None or self._ahead[0] != nimg:
            self._ahead = (nimg, self._thread.submit(self._fetch, nimg))
        batches = self._ahead[1].result()
        following = nimg + self._config.batch
        self._ahead = (following, self._thread.submit(self._fetch, following))
        atoms = list(zip(self._indices, map(self._place, batches), strict=True))
        if self._sum_over_ranks is None:
            return atoms
        rivals_RD = self._captions(atoms, self._sum_over_ranks)
        return [(index, replace(batch, rivals_RD=rivals_RD)) for index, batch in atoms]

    def _fetch(self, nimg: int) -> list[Batch]:
        size = self._config.atom_size
        batches = [self._source.atom(nimg + index * size, size) for index in self._indices]
        return [_pinned(b) for b in batches] if self._device.type == "cuda" else batches

    def _captions(
        self, atoms: Sequence[Atom], sum_over_ranks: Callable[[Tensor], Tensor]
    ) -> Tensor | None:
        """Return the pooled embeddings [batch, D] of all ranks' captions; None = there are none."""
        size, told = self._config.atom_size, [batch.condition.pooled_ND for _, batch in atoms]
        own = [pooled_ND for pooled_ND in told if pooled_ND is not None]
        if not own:
            return None
        # Each rank fills its rows; zeros of the others make the sum exact.
        rows_RD = own[0].new_zeros(self._config.batch, own[0].shape[1])
        for (index, _), pooled_ND in zip(atoms, own, strict=True):
            rows_RD[index * size : (index + 1) * size] = pooled_ND
        return sum_over_ranks(rows_RD)

    def _place(self, batch: Batch) -> Batch:
        batch = batch.to(self._device)
        if batch.image_NCHW is None or not self._config.channels_last:
            return batch
        image = batch.image_NCHW.contiguous(memory_format=torch.channels_last)
        return replace(batch, image_NCHW=image)


def _pinned(batch: Batch) -> Batch:
    """Move to page-locked memory, from which copies to the GPU run beside the computation."""
    image = None if batch.image_NCHW is None else batch.image_NCHW.pin_memory()
    return replace(batch, image_NCHW=image, condition=batch.condition.map(torch.Tensor.pin_memory))
