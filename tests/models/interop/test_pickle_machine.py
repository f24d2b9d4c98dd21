"""The pickle reader: plain values as Python reads them, everything else as told."""

import io
import pickle
import struct
import sys
import time
from collections import OrderedDict

import numpy as np
import pytest
import torch

from models.interop.checkpoint_file import TORCH_MAGIC, read_checkpoint
from models.interop.foreign_network import ForeignNetwork, networks_in
from models.interop.import_request import first_number
from models.interop.pickle_machine import Budget, World, read_pickle
from models.interop.pickle_values import Record, Refused
from models.interop.stored_tensors import NumpyArray, Storage, StoredTensor

VALUE = {
    "words": ["a", "\u00fc", "b" * 300],
    "numbers": (1, -3, 300, 70_000, 2**40, -(2**70), 0.5, float("inf")),
    "nothing": [None, True, False, (), (1,), (1, 2), (1, 2, 3), b"bytes", bytearray(b"x")],
    "sets": [set(), {1, 2}, frozenset({"x"})],
    7: {"deeper": OrderedDict([("b", 1), ("a", 2)])},
}


def read(data, tmp_path, suffix=".pkl", inert=()):
    file = tmp_path / f"x{suffix}"
    file.write_bytes(data)
    return read_checkpoint(file, inert)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_are_those_that_pickle_reads(protocol, tmp_path):
    value = {name: x for name, x in VALUE.items() if protocol == 5 or name != "nothing"}
    found = read(pickle.dumps(value, protocol), tmp_path)
    assert found == value
    assert list(found[7]["deeper"]) == ["b", "a"]


def test_a_shared_value_is_one_value(tmp_path):
    inner = [1]
    found = read(pickle.dumps([inner, inner]), tmp_path)
    assert found[0] is found[1]
    inner.append(inner)
    found = read(pickle.dumps(inner), tmp_path)
    assert found[1] is found


@pytest.mark.parametrize("protocol", [2, 4])
def test_numbers_of_numpy_come_as_numbers(protocol, tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    values = {"x": np.float64(2.5), "n": np.int64(-3), "a": array, "big": array.astype(">f4").T}
    found = read(pickle.dumps(values, protocol), tmp_path)
    assert (found["x"], found["n"]) == (2.5, -3)
    assert type(found["x"]) is float
    for name in ("a", "big"):
        assert type(found[name]) is NumpyArray
        np.testing.assert_array_equal(found[name].value, values[name])


TENSORS = {
    "plain": torch.randn(3, 4),
    "half": torch.randn(5).half(),
    "brain": torch.randn(5).bfloat16(),
    "whole": torch.arange(4),
    "truth": torch.tensor([True, False]),
    "number": torch.tensor(2.5),
    "none": torch.empty(0, 3),
    "turned": torch.randn(3, 4).t(),
    "part": torch.randn(100)[10:20],
    "parameter": torch.nn.Parameter(torch.randn(2)),
    "spread": torch.randn(1, 3).expand(1, 3),
}


@pytest.mark.parametrize("kind", ["zip", "old", "pickle"])
def test_tensors_are_those_that_torch_wrote(kind, tmp_path):
    buffer = io.BytesIO()
    if kind == "pickle":
        pickle.dump(TENSORS, buffer)
    else:
        torch.save(TENSORS, buffer, _use_new_zipfile_serialization=kind == "zip")
    found = read(buffer.getvalue(), tmp_path)
    assert found.keys() == TENSORS.keys()
    for name, wanted in TENSORS.items():
        assert type(found[name]) is StoredTensor
        tensor = found[name].read()
        assert tensor.dtype == wanted.dtype
        assert tensor.is_contiguous()
        assert torch.equal(tensor, wanted.detach()), name


def test_modules_become_records_with_their_state_dict(tmp_path):
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.BatchNorm2d(3))
    net[1].register_buffer("scratch", torch.zeros(9), persistent=False)
    found = read(pickle.dumps({"G_ema": net}), tmp_path)
    assert found["G_ema"].kind == "torch.nn.modules.container.Sequential"
    network, discriminator = networks_in(found)
    assert discriminator is None
    own = net.state_dict()
    assert {n: x.tolist() for n, x in network.read().items()} == {
        n: x.tolist() for n, x in own.items()
    }
    assert network.facts["1.momentum"] == 0.1
    assert network.outline()["0.weight"].is_meta


def test_nothing_outside_the_lists_passes(tmp_path):
    """A class that is nearly on the list, a listed name that is called as it must not be."""
    for module, name in [
        ("torch.nn.modules.module", "register_module_forward_hook"),
        ("torch.nn.modules.conv", "Conv2d.forward"),
        ("torch.nn.modules", "Conv2d.x.Y"),
        ("dnnlib.util", "EasyDictX"),
        ("timm.models", "create_model"),
        ("training.networks.os", "system"),
        ("builtins", "object"),
    ]:
        words = b"".join(b"\x8c" + bytes([len(w)]) + w.encode() for w in (module, name))
        with pytest.raises(Refused, match=f"^{module}.{name}$"):
            read(b"\x80\x04" + words + b"\x93.", tmp_path)
    storage = b"\x80\x02ctorch\nFloatStorage\n)R."
    with pytest.raises(Refused, match=r"^a call of torch\.FloatStorage$"):
        read(storage, tmp_path)


def test_a_record_is_never_called(tmp_path):
    """What an inert class would return is nothing that can be called, extended or completed."""
    relu = b"ctorch.nn.modules.activation\nReLU\n)\x81"
    found = read(b"\x80\x02" + relu + b".", tmp_path)
    assert type(found) is Record
    for end, says in [
        (b")R.", "a call of a record of torch.nn.modules.activation.ReLU"),
        (b"(K\x01\x90.", "members added to a record"),
    ]:
        with pytest.raises(Refused, match=says):
            read(b"\x80\x04" + relu + end, tmp_path)
    for start in (b"]", b"K\x05", b"N"):
        with pytest.raises(Refused, match="attributes set on a"):
            read(b"\x80\x02" + start + b"}b.", tmp_path)


def named(dotted):
    """Return the operations that push a global."""
    module, _, name = dotted.rpartition(".")
    return (
        b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name)) + b"\x93"
    )


def test_the_hooks_that_dill_writes_are_records_when_let_through(tmp_path):
    """The operations of dill 0.4: a bound method is a call of what `_load_type` returns, a closure
    is code and globals, and its cell is filled by a call of what `getattr` returns.
    """
    relu = b"ctorch.nn.modules.activation\nReLU\n)\x81"
    bound_type = named("dill._dill._load_type") + b"\x8c\x0aMethodType\x85R"
    bound = bound_type + named("feature_networks.vit.forward_flex") + relu + b"\x86R"
    code = named("dill._dill._create_code") + b"(K\x01C\x04abcdtR"
    closure = named("dill._dill._create_function") + b"(" + code
    closure += named("feature_networks.vit.__dict__") + b"\x8c\x04hookN)tR}\x8c\x01aK\x01sb"
    found_by = named("builtins.getattr") + named("dill._dill") + b"\x8c\x08_setattr"
    filled = found_by + named("builtins.setattr") + b"\x87R" + relu + b"\x8c\x01aK\x01\x87R"
    hooks = b"\x80\x04]" + bound + b"a" + closure + b"a" + filled + b"a."
    inert = ()
    for more, says in [
        ("dill.*", "dill._dill._load_type"),
        ("feature_networks.*", "feature_networks.vit.forward_flex"),
        ("*.[gs]etattr", "builtins.getattr"),
    ]:
        with pytest.raises(Refused, match=f"^{says}$"):
            read(hooks, tmp_path, inert=inert)
        inert += (more,)
    found = read(hooks, tmp_path, inert=inert)
    kinds = ["dill._dill._load_type", "dill._dill._create_function", "builtins.getattr"]
    assert [record.kind for record in found] == kinds
    assert type(found[0].args[1]) is Record
    assert found[1].args[0].args == (1, b"abcd")
    assert found[1].state == {"a": 1}
    assert found[2].args[1:] == ("a", 1)


def test_a_broken_stack_is_no_pickle(tmp_path):
    for data in (b"\x80\x02.", b"\x80\x020.", b"\x80\x02(t", b"\x80\x02h\x07."):
        with pytest.raises(Refused, match=r"no whole pickle|without an end"):
            read(data, tmp_path)
    with pytest.raises(Refused, match="a key without a value"):
        read(b"\x80\x02(K\x01d.", tmp_path)


def test_operations_are_counted_over_all_pickles():
    world = World(calls={}, tokens=frozenset(), is_record=lambda _: False, budget=Budget(10))
    assert read_pickle(io.BytesIO(b"]]]]]]]."), world) == []
    with pytest.raises(Refused, match="operations"):
        read_pickle(io.BytesIO(b"]]]."), world)


def test_a_storage_that_the_file_does_not_hold(tmp_path):
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(77)}, buffer, _use_new_zipfile_serialization=False)
    whole = buffer.getvalue()
    with pytest.raises(Refused, match="that the file does not hold"):
        read(whole[:-4], tmp_path)
    count = struct.pack("<q", 77)
    assert whole.count(count) == 1
    with pytest.raises(Refused, match="that the file does not hold"):
        read(whole.replace(count, struct.pack("<q", 78)), tmp_path)


def test_tensors_that_share_bytes_too_often_are_not_read(tmp_path):
    weight = torch.zeros(100)
    buffer = io.BytesIO()
    torch.save({f"x{i}": weight for i in range(5)}, buffer)
    network, _ = networks_in(read(buffer.getvalue(), tmp_path))
    assert isinstance(network, ForeignNetwork)
    with pytest.raises(Refused, match="share the same bytes"):
        network.read()


def test_buffers_are_skipped_by_a_set_of_their_names_alone():
    """A number where torch keeps that set skips nothing, and stops nothing."""
    tensor = StoredTensor(Storage(torch.float32, 2), torch.float32, 0, (2,), (1,))
    for told, found in (({"a"}, ["b"]), (5, ["a", "b"]), (None, ["a", "b"])):
        state = {"_buffers": {"a": tensor, "b": tensor}, "_non_persistent_buffers_set": told}
        assert list(networks_in(Record("Net", state=state))[0].tensors) == found


def test_a_fact_of_no_usual_size_is_no_number():
    facts = (float("inf"), float("nan"), 2**60, 10**400, True, "3", None)
    assert first_number(*facts, 7, otherwise=1.0) == 7
    assert first_number(*facts, otherwise=1.0) == 1.0


def test_modules_without_an_end(tmp_path):
    state = {"_modules": {}, "_parameters": {}}
    record = Record("Loop", state=state)
    state["_modules"]["again"] = record
    with pytest.raises(Refused, match="without an end"):
        networks_in(record)


P = sys.hash_info.modulus  # all its multiples have the hash 0


def whole(number):
    data = number.to_bytes(number.bit_length() // 8 + 1, "little")
    return b"\x8a" + bytes([len(data)]) + data


COSTLY = {
    "keys of one hash": b"}(" + b"".join(whole(P * n) + b"N" for n in range(1, 60_000)) + b"u.",
    "members of one hash": b"\x8f(" + b"".join(whole(P * n) for n in range(1, 60_000)) + b"\x90.",
    "a frozen set": b"(" + b"".join(whole(P * n) for n in range(1, 60_000)) + b"\x91.",
    "a set by name": b"cbuiltins\nset\n](" + whole(P) + whole(2 * P) + b"e\x85R.",
    "an ordered one": b"ccollections\nOrderedDict\n]]" + whole(P) + b"aNaa\x85R.",
    "places in the memo": b"N" + b"".join(b"p%d\n" % (P * n) for n in range(1, 60_000)) + b".",
    "one list, copied on and on": b"]("
    + b"N" * 200_000
    + b"e\x94ctorch\nSize\n\x94"
    + b"h\x01h\x00\x85R0" * 50_000
    + b".",
    "one text, encoded on and on": b"X"
    + struct.pack("<I", 2**20)
    + b"x" * 2**20
    + b"\x94c_codecs\nencode\n\x94"
    + b"h\x01h\x00\x85R0" * 50_000
    + b".",
    "one long name, looked up on and on": b"X"
    + struct.pack("<I", 2**20)
    + b"x" * 2**20
    + b"\x94"
    + b"h\x00h\x00\x930" * 50_000
    + b".",
    "a huge version": b"\x8a\x0a"
    + TORCH_MAGIC.to_bytes(10, "little")
    + b"."
    + whole(10**300)
    + b"."
    + b"}.",
}


@pytest.mark.row("G16")
@pytest.mark.parametrize("name", COSTLY)
def test_no_byte_costs_more_than_a_little(name, tmp_path):
    started = time.process_time()
    with pytest.raises(Refused) as caught:
        read(b"\x80\x04" + COSTLY[name], tmp_path)
    assert time.process_time() - started < 2
    assert len(str(caught.value)) < 200


def test_keys_of_usual_size_pass(tmp_path):
    value = {n * 2**33: n for n in range(200)} | {-1: 0, -2: 0, 0.5: 2, None: 3}
    assert read(pickle.dumps(value), tmp_path) == value
