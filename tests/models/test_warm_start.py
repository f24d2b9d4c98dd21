import pytest
import torch
from torch import nn

from models.warm_start import copy_by_name


def test_copies_by_name_and_keeps_what_is_fresh():
    old = nn.Linear(2, 2)
    target = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    before = target["b"].weight.clone()
    source = {f"a.{k}": v for k, v in old.state_dict().items()}
    copy_by_name(target, source, fresh=lambda name: name.startswith("b."))
    assert torch.equal(target["a"].weight, old.weight)
    assert torch.equal(target["b"].weight, before)


def test_lists_every_fault():
    target = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    tensors = {"a.weight": torch.zeros(3, 2), "a.bias": torch.zeros(2), "c": torch.zeros(1)}
    with pytest.raises(ValueError) as error:
        copy_by_name(target, tensors, what="the generator")
    for word in ("the generator", "b.weight", "b.bias", "only in the start: c", "[3, 2]", "[2, 2]"):
        assert word in str(error.value)
    assert target["a"].bias.abs().sum() > 0  # nothing was copied
