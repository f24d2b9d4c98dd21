"""The averaged model: weights move, buffers are copied, statistics of the weights are its own."""

import copy

import pytest
import torch
from torch import nn

from components.training import ema as ema_module
from components.training.distributed import World
from components.training.ema import average, averaged_copy, settle_statistics
from models.layers.tracked_batch_norm import TrackedBatchNorm
from tests.components.training.fake_recipes import FakeSource

CPU = torch.device("cpu")
IMAGES, MICRO_BATCH = 24, 4


class Painter(nn.Module):
    """z -> image by a linear layer and a batch norm."""

    z_dim = 5

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(self.z_dim, 3)
        self.norm = TrackedBatchNorm(3)
        self.seen = []

    def map(self, z_NZ, condition, truncation=1.0):
        self.seen.append((z_NZ, condition.label_N))
        return z_NZ[:, None]

    def synthesize(self, ws_NLD, condition=None, noise="const"):
        return self.norm(self.layer(ws_NLD[:, 0])[:, :, None, None])


class OneOfTwo(World):
    """A rank of two whose sums are made with what the other one sent."""

    def __init__(self, rank, sent):
        super().__init__(rank=rank, size=2)
        object.__setattr__(self, "sent", sent)

    def all_reduce_sum(self, tensor):
        self.sent[self.rank] = tensor.clone()
        return torch.stack(list(self.sent.values())).sum(dim=0)


@pytest.fixture
def painter(monkeypatch):
    monkeypatch.setattr(ema_module, "STATISTICS_IMAGES", IMAGES)
    torch.manual_seed(0)
    return averaged_copy(Painter())


def settle(model, world=None, seed=1):
    settle_statistics(
        model, FakeSource(), size=MICRO_BATCH, seed=seed, world=world or World(), device=CPU
    )


def test_parameters_move_and_buffers_are_copied():
    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    ema = averaged_copy(model)
    weight = model[0].weight.detach().clone()
    with torch.no_grad():
        model[0].weight += 1
        model[1].running_mean += 1
    average(ema, model, 0.75, [model[0].weight])
    torch.testing.assert_close(ema[0].weight, weight + 0.25)
    assert torch.equal(ema[1].running_mean, torch.ones(1))
    average(ema, model, 0.75, [])
    torch.testing.assert_close(ema[0].weight, weight + 0.25)


def test_statistics_are_those_of_its_own_images(painter):
    """The mean over groups of each group's mean and unbiased variance, in float64."""
    settle(painter)
    z = torch.cat([z for z, _ in painter.seen])
    labels = torch.cat([label for _, label in painter.seen])
    assert len(z) == len(torch.unique(z, dim=0)) == IMAGES
    assert torch.equal(labels, FakeSource().atom(0, IMAGES).condition.label_N)
    x = copy.deepcopy(painter.layer).double()(z.double()).view(-1, MICRO_BATCH, 3)
    torch.testing.assert_close(painter.norm.running_mean, x.mean((0, 1)).float())
    torch.testing.assert_close(painter.norm.running_var, x.var(1).mean(0).float())
    assert not painter.norm.training and not painter.norm.gathered.any()


def test_the_same_again_whatever_was_there_before(painter):
    settle(painter)
    first = copy.deepcopy(painter.norm.state_dict())
    painter.norm.running_mean += 3
    settle(painter)
    assert all(torch.equal(first[name], t) for name, t in painter.norm.state_dict().items())
    settle(painter, seed=2)
    assert not torch.equal(first["running_mean"], painter.norm.running_mean)


@pytest.mark.row("A20")
def test_ranks_share_the_images_and_agree(painter):
    alone, sent = copy.deepcopy(painter), {}
    settle(alone)
    ranks = [copy.deepcopy(painter), copy.deepcopy(painter)]
    settle(ranks[1], OneOfTwo(1, sent))
    settle(ranks[0], OneOfTwo(0, sent))
    assert [len(rank.seen) for rank in ranks] == [IMAGES // MICRO_BATCH // 2] * 2
    for name in ("running_mean", "running_var"):
        one, two = (getattr(model.norm, name) for model in (alone, ranks[0]))
        torch.testing.assert_close(one, two)


def test_a_model_without_statistics_draws_nothing():
    model = averaged_copy(nn.Linear(2, 2))  # has no `map` to call
    settle(model)
