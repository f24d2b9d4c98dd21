"""Checkpoints in whatever people wrap them in: the averaged generator is found, and named."""

from __future__ import annotations

from collections import OrderedDict
from itertools import permutations
from typing import Any

import pytest
import torch
from torch import Tensor

from models.interop.foreign_network import networks_in
from models.interop.pickle_values import Record, Refused
from models.interop.wrappers import Undecided, unwrap

NAMES = ("synthesis.b4.const", "synthesis.b4.conv.weight", "mapping.w_avg")


def tensors(value: float = 1.0) -> dict[str, Tensor]:
    return {name: torch.full((2,), value) for name in NAMES}


def prefixed(prefix: str, content: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{name}": x for name, x in content.items()}


def found(content: Any, chosen: str = "") -> tuple[float, str]:
    """Return the value that marks the network which was taken, and what is said about it."""
    network, _ = networks_in(content, chosen)
    assert set(network.tensors) == set(NAMES)
    (value,) = {float(x[0]) for x in network.read().values()}
    return value, network.note


WRAPS = {
    "module": lambda x: prefixed("module.", x),
    "compiled": lambda x: prefixed("_orig_mod.", x),
    "state_dict": lambda x: {"state_dict": x, "epoch": 3},
    "ema": lambda x: {"ema": x, "optimizer": {"state": {0: {"exp_avg": torch.ones(1)}}}},
}


@pytest.mark.row("G24")
@pytest.mark.parametrize("order", list(permutations(WRAPS)), ids="-".join)
def test_wrappers_are_peeled_in_any_order(order: tuple[str, ...]) -> None:
    """A prefix goes on names, so it is only put on where there still are names."""
    content: dict[str, Any] = tensors()
    for name in order:
        if name in ("module", "compiled") and not all(
            isinstance(x, Tensor) for x in content.values()
        ):
            inner = "state_dict" if "state_dict" in content else "ema"
            content = content | {inner: _deep(name, content[inner])}
        else:
            content = WRAPS[name](content)
    assert found(content)[0] == 1


def _deep(name: str, content: dict[str, Any]) -> dict[str, Any]:
    if all(isinstance(x, Tensor) for x in content.values()):
        return WRAPS[name](content)
    return {k: _deep(name, x) if k in ("state_dict", "ema") else x for k, x in content.items()}


@pytest.mark.row("G24")
@pytest.mark.parametrize(
    "name", ["ema", "generator_ema", "G_ema", "g_ema", "netG_ema", "ema_model", "params_ema"]
)
@pytest.mark.parametrize("raw", ["generator", "G", "g", "netG", "online_model", "model"])
@pytest.mark.parametrize("flat", [False, True])
def test_the_averaged_one_is_taken_and_named(name: str, raw: str, flat: bool) -> None:
    content: dict[str, Any] = {raw: tensors(1.0), name: tensors(2.0), "step": 7}
    if flat:
        content = prefixed(f"{raw}.", tensors(1.0)) | prefixed(f"{name}.", tensors(2.0))
    value, note = found(content)
    assert value == 2 and note.startswith(f"took {name}, the averaged generator")
    assert raw == "model" or note.endswith(f"; left {raw}")


def test_the_snapshot_of_averaging_libraries() -> None:
    swa = prefixed("module.", tensors()) | {"n_averaged": torch.tensor(3)}
    assert found(swa)[0] == 1
    tracked = prefixed("ema_model.", tensors(2.0)) | prefixed("online_model.", tensors(1.0))
    assert found({"ema": tracked | {"initted": torch.tensor(True)}})[0] == 2


def test_a_compiled_part_inside_is_peeled_too() -> None:
    inside = {n.replace("b4.", "_orig_mod.b4."): x for n, x in tensors().items()}
    assert found(OrderedDict(inside))[0] == 1


def test_a_raw_generator_alone_is_taken_and_said_to_be_one() -> None:
    for content in ({"generator": tensors()}, prefixed("generator.", tensors())):
        assert found(content) == (1, "no averaged generator is named: took generator as it is")
    assert found(tensors()) == (1, "")


@pytest.mark.row("G24")
@pytest.mark.parametrize(
    "content",
    [
        {"ema": tensors(1.0), "g_ema": tensors(2.0)},
        {"G": tensors(1.0), "generator": tensors(2.0)},
        {"model": tensors(1.0), "state_dict": tensors(2.0)},
        prefixed("ema.", tensors(1.0)) | prefixed("g_ema.", tensors(2.0)),
    ],
)
def test_a_doubt_is_asked_and_the_answer_taken(content: dict[str, Any]) -> None:
    with pytest.raises(Undecided, match=r"several .*: say --network NAME with one of them"):
        networks_in(content)
    name = [n.partition(".")[0] for n in content][-1]
    assert found(content, name) == (2, f"took {name}, as asked")


def test_a_name_of_ones_own_can_be_told() -> None:
    with pytest.raises(ValueError, match="--network NAME"):
        networks_in({"my_net": tensors()})
    assert found({"my_net": tensors()}, "my_net")[0] == 1


def test_the_discriminator_comes_along() -> None:
    content = {"G_ema": tensors(), "D": {"module.b4.weight": torch.ones(1)}}
    assert list(networks_in(content)[1].tensors) == ["b4.weight"]


def test_what_holds_no_network_is_said() -> None:
    loop: dict[str, Any] = {"x": tensors()}
    loop["model"] = loop
    for content in (loop, {}, [], 3, {"a": 1}, Record("X"), {"model": {"a": {"b": {}}}}):
        with pytest.raises((ValueError, Refused)):
            networks_in(content)
    assert unwrap({"model": {"net": {"params": tensors()}}}).note == ""
