"""The averaged model: weights move, buffers are copied, but statistics of the weights move too."""

import torch
from torch import nn

from components.training.ema import average, averaged_copy


class Statistics(nn.Module):
    averaged_buffers = ("mean",)

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("direction", torch.zeros(2))


def test_only_named_buffers_are_averaged():
    model = nn.Sequential(nn.Linear(1, 1), Statistics())
    ema = averaged_copy(model)
    weight = model[0].weight.detach().clone()
    with torch.no_grad():
        model[0].weight += 1
        model[1].mean += 1
        model[1].direction += 1
    average(ema, model, 0.75, list(model.parameters()))
    torch.testing.assert_close(ema[0].weight, weight + 0.25)
    assert torch.equal(ema[1].mean, torch.full((2,), 0.25))
    assert torch.equal(ema[1].direction, torch.ones(2))
    average(ema, model, 0.75, [])
    assert torch.equal(ema[1].mean, torch.full((2,), 0.4375))
