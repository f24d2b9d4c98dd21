"""The micro-batches of a rank: what each knows of the whole batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from components.training.distributed import World
from components.training.feed import Feed, atoms_of_rank
from models.interfaces import Batch, Condition
from tests.components.training.fake_recipes import FakeSource, fake_config

CPU = torch.device("cpu")


class Told(FakeSource):
    """The embedding of sample i holds i."""

    def atom(self, position: int, size: int) -> Batch:
        index = torch.arange(position, position + size).float()
        pooled_ND = torch.stack([index, -index], dim=1)
        return replace(super().atom(position, size), condition=Condition(pooled_ND=pooled_ND))


def rivals(rank: int, ranks: int, micro_batch: int, sent: list[torch.Tensor]) -> torch.Tensor:
    """Return what a rank's micro-batches know of the batch of 8 at 16, one and the same."""
    config = fake_config(micro_batch=micro_batch)

    def sum_over_ranks(tensor: torch.Tensor) -> torch.Tensor:
        sent.append(tensor.clone())
        return torch.stack(sent).sum(dim=0)

    indices = atoms_of_rank(config, World(rank=rank, size=ranks))
    with Feed(Told(), indices, config, CPU, sum_over_ranks) as feed:
        first, *rest = [batch.rivals_RD for _, batch in feed.take(16)]
    assert first is not None and all(x is first for x in rest)
    return first


@pytest.mark.parametrize("micro_batch", [1, 2, 4])
def test_captions_of_the_whole_batch_are_those_of_any_micro_batch_and_any_ranks(micro_batch):
    whole = torch.arange(16, 24).float()
    whole = torch.stack([whole, -whole], dim=1)
    assert torch.equal(rivals(0, 1, micro_batch, []), whole)
    sent: list[torch.Tensor] = []
    rivals(0, 2, micro_batch, sent)
    assert torch.equal(rivals(1, 2, micro_batch, sent), whole)


def test_a_recipe_that_compares_nothing_and_data_without_text_get_none():
    config = fake_config()
    with Feed(Told(), range(4), config, CPU) as feed:
        assert all(batch.rivals_RD is None for _, batch in feed.take(0))
    with Feed(FakeSource(), range(4), config, CPU, lambda tensor: tensor) as feed:
        assert all(batch.rivals_RD is None for _, batch in feed.take(0))
