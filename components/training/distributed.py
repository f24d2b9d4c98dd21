"""The ranks of one run, and the few collective operations that the loop needs.

With one process, each of them is the identity.

No DDP: gradients are summed in flat buckets after the backward passes, so parameter names stay
clean and double backward (R1, path length) is undisturbed. gloo on CPU, nccl on CUDA; the caller
(Ray, torchrun) starts the group.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from components.errors import known_error

BUCKET_ELEMENTS = (
    16 * 1024 * 1024
)  # 64 MiB of fp32: large enough to fill a link, small beside the networks
Result = TypeVar("Result")


@dataclass(frozen=True)
class World:
    """Rank and number of ranks; `device` is where collectives of numbers run (CUDA for nccl).

    `mark` is told what the rank does next, for whoever watches it (pulse.py).
    """

    rank: int = 0
    size: int = 1
    device: torch.device | str = "cpu"
    mark: Callable[[str], None] = field(default=lambda phase: None, compare=False, repr=False)

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of `tensor` over all ranks; the argument is left alone."""
        if self.size == 1:
            return tensor
        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite every tensor by rank 0's, in place."""
        if self.size == 1:
            return
        with torch.no_grad():
            for tensor in tensors:
                staged = tensor.detach().to(self.device).contiguous()
                dist.broadcast(staged, src=0)
                tensor.copy_(staged)

    def share(self, value: Any) -> Any:
        """Return rank 0's value (small and picklable: facts, never weights)."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device(self.device))
        return box[0]

    def everyones(self, value: Result) -> list[Result]:
        """Return the values of all ranks, in their order (small and picklable)."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def first(self, work: Callable[[], Result]) -> Result:
        """Run `work` on rank 0 and return its (small) result on all; its error is raised on all
        alike, for a rank that waits for a failed one would wait long.
        """
        if self.size == 1:
            return work()
        outcome: tuple[Any, Exception | None] = (None, None)
        if self.rank == 0:
            try:
                outcome = (work(), None)
            except Exception as error:
                # What may not survive the way to the other ranks goes as its words.
                known = known_error(error)
                self.share(
                    (None, known or RuntimeError(f"rank 0: {type(error).__name__}: {error}"))
                )
                raise
        result, raised = self.share(outcome)
        if raised is not None:
            raise raised
        return result

    def any(self, flag: bool) -> bool:
        """Return whether the flag is up on at least one rank."""
        if self.size == 1:
            return flag
        return bool(self.all_reduce_sum(torch.tensor(float(flag), device=self.device)).item())

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            dist.barrier()

    def sum_in_place(self, tensors: Sequence[Tensor]) -> None:
        """Replace every tensor by its sum over ranks, in flat buckets of one dtype."""
        if self.size == 1:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            dist.all_reduce(flat)
            parts = flat.split([tensor.numel() for tensor in bucket])
            for tensor, part in zip(bucket, parts, strict=True):
                tensor.copy_(part.view(tensor.shape))

    def assert_equal(self, named: dict[str, Tensor], what: str) -> None:
        """Raise when a tensor is not bit-equal on all ranks: the run would drift apart silently."""
        if self.size == 1:
            return
        sums = torch.stack([_checksum(tensor) for tensor in named.values()]).to(self.device)
        lowest, highest = sums.clone(), sums.clone()
        dist.all_reduce(lowest, op=dist.ReduceOp.MIN)
        dist.all_reduce(highest, op=dist.ReduceOp.MAX)
        different = (lowest != highest).tolist()
        names = [name for name, differs in zip(named, different, strict=True) if differs]
        if names:
            raise RuntimeError(f"{what} differ between ranks: {', '.join(names[:10])}")


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Split into runs of one dtype of at most BUCKET_ELEMENTS, in the given order (equal on all
    ranks).
    """
    bucket: list[Tensor] = []
    for tensor in tensors:
        full = sum(t.numel() for t in bucket) + tensor.numel() > BUCKET_ELEMENTS
        if bucket and (full or bucket[0].dtype != tensor.dtype):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def _checksum(tensor: Tensor) -> Tensor:
    """Return a position-weighted int64 sum of the tensor's bits."""
    word = torch.int32 if tensor.element_size() % 4 == 0 else torch.uint8
    values = tensor.detach().contiguous().reshape(-1).view(word).to(torch.int64)
    weights = torch.arange(values.numel(), device=values.device) % 65521 + 1
    return (values * weights).sum()


@contextlib.contextmanager
def world_from_environment(device: torch.device | str) -> Iterator[World]:
    """Yield the world that torchrun's environment variables describe, or that of one process."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(device=device)
        return
    backend = "nccl" if torch.device(device).type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=datetime.timedelta(minutes=10))
    try:
        yield World(rank=dist.get_rank(), size=size, device=device)
    finally:
        dist.destroy_process_group()
