"""Batch norm in small groups, its running statistics, and its conditional form."""

import pytest
import torch
from torch import nn

from models.layers.tracked_batch_norm import ConditionalBatchNorm, TrackedBatchNorm

X = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 + 1


def identity(total):
    return total.clone()


def test_one_group_and_its_running_statistics_are_torchs():
    ours, torchs = TrackedBatchNorm(3), nn.BatchNorm2d(3)
    torch.testing.assert_close(ours(X), torchs(X))
    assert torch.equal(ours.running_mean, torch.zeros(3)), "a forward pass only gathers"
    ours.commit(identity)
    torch.testing.assert_close(ours.running_mean, torchs.running_mean)
    torch.testing.assert_close(ours.running_var, torchs.running_var)
    torch.testing.assert_close(ours.eval()(X), torchs.eval()(X))


def test_groups_and_parts_do_not_mix():
    norm = TrackedBatchNorm(3, virtual_batch=2)
    pieces = torch.cat([norm(piece) for piece in X.chunk(4)])
    torch.testing.assert_close(norm(X), pieces)
    torch.testing.assert_close(norm(X, parts=2), pieces)
    whole = TrackedBatchNorm(3)
    torch.testing.assert_close(whole(X, parts=2), torch.cat([whole(X[:4]), whole(X[4:])]))
    assert not torch.allclose(whole(X, parts=2), whole(X))
    with pytest.raises(ValueError, match="micro-batch of 9, which does not split into 2 equal"):
        TrackedBatchNorm(3)(torch.zeros(9, 3, 4, 4))


def test_commit_folds_the_mean_of_all_forwards_once():
    """However many micro-batches, or ranks, a phase is cut into, and never for nothing."""
    one, ranks = TrackedBatchNorm(3), [TrackedBatchNorm(3), TrackedBatchNorm(3)]
    for piece in X.chunk(2):
        one(piece)
    for norm, piece in zip(ranks, X.chunk(2), strict=True):
        norm(piece)
    total = ranks[0].gathered + ranks[1].gathered
    one.commit(identity)
    ranks[0].commit(lambda gathered: total)
    torch.testing.assert_close(one.running_var, ranks[0].running_var)
    before = one.running_mean.clone()
    one.commit(identity)
    assert torch.equal(one.running_mean, before)
    assert "gathered" not in one.state_dict()


def test_conditional_gain_and_shift():
    torch.manual_seed(0)
    norm, e = ConditionalBatchNorm(3, 5), torch.randn(8, 5)
    x = X.double()
    plain = (x - x.mean((0, 2, 3), keepdim=True)) / (
        x.var((0, 2, 3), keepdim=True, correction=0) + 1e-5
    ).sqrt()

    def linear(layer):
        weight = layer.weight.double()
        sigma = layer.u.double() @ weight @ layer.v.double()
        return (e.double() @ (weight / sigma).t() + layer.bias.double())[:, :, None, None]

    wanted = plain * (1 + linear(norm.gain)) + linear(norm.shift)
    torch.testing.assert_close(norm(X, e).double(), wanted, rtol=1e-4, atol=1e-5)
