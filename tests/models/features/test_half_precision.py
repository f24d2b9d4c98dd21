"""Half precision is on disk alone, is said by the card, and leaves vectors and statistics alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.features import load_feature_net, read_card, save_feature_net
from models.features.folder import HALF, halve, write_net
from tests.models.features.small_nets import SMALL_NETS


@pytest.mark.parametrize("kind", SMALL_NETS)
def test_every_net_comes_back_as_float32_with_its_statistics(kind: str, tmp_path: Path) -> None:
    net = SMALL_NETS[kind]()
    for name, buffer in net.network.named_buffers():
        if "running" in name:  # as a training leaves them: of any size
            buffer.copy_(torch.rand_like(buffer) * 1e6 + 1e-6)
    full = save_feature_net(tmp_path / "full", net, role="a test", source="random")
    card = write_net(tmp_path / "half", net.network, replace(full, stored=HALF))
    sizes = [(tmp_path / x / "model.safetensors").stat().st_size for x in ("full", "half")]
    assert sizes[1] < 0.75 * sizes[0]
    loaded = load_feature_net(tmp_path / "half").network.state_dict()
    for name, tensor in net.network.state_dict().items():
        assert loaded[name].dtype == tensor.dtype, name
        if tensor.ndim < 2:
            assert torch.equal(loaded[name], tensor), name
        else:
            assert torch.equal(loaded[name], tensor.half().float()), name
    assert read_card(tmp_path / "half") == card != full


def test_the_same_net_is_the_same_file(tmp_path: Path) -> None:
    net = SMALL_NETS["attributes"]()
    card = save_feature_net(tmp_path / "full", net, role="a test", source="random")
    for name in ("one", "two"):
        write_net(tmp_path / name, net.network, replace(card, stored=HALF))
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    # Stored once more after loading it is itself: rounding twice is rounding once.
    again = load_feature_net(tmp_path / "one")
    twice = write_net(tmp_path / "three", again.network, replace(card, stored=HALF))
    assert twice.sha256 == read_card(tmp_path / "one").sha256


def test_a_value_beyond_half_precision_keeps_its_tensor() -> None:
    tensors = {"large": torch.tensor([[7e4, 1.0]]), "small": torch.tensor([[1.0]])}
    dtypes = {name: tensor.dtype for name, tensor in halve(tensors).items()}
    assert dtypes == {"large": torch.float32, "small": torch.float16}
    counter = {"num_batches_tracked": torch.tensor(3), "ids": torch.tensor([[1, 2]])}
    assert halve(counter) == counter


def test_a_file_of_another_precision_than_its_card_says_is_refused(tmp_path: Path) -> None:
    net = SMALL_NETS["attributes"]()
    card = save_feature_net(tmp_path, net, role="a test", source="random")
    write_net(tmp_path, net.network, replace(card, stored=HALF))
    facts = json.loads((tmp_path / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps(facts | {"stored": "float32"}))
    with pytest.raises(ValueError, match=r"is torch.float16, its card says float32"):
        load_feature_net(tmp_path)


def test_a_card_from_before_opens(tmp_path: Path) -> None:
    net = SMALL_NETS["attributes"]()
    save_feature_net(tmp_path, net, role="a test", source="random")
    facts = json.loads((tmp_path / "card.json").read_text())
    old = {name: value for name, value in facts.items() if name not in ("stored", "origin")}
    (tmp_path / "card.json").write_text(json.dumps(old))
    assert read_card(tmp_path).stored == "float32"
    load_feature_net(tmp_path)
    (tmp_path / "card.json").write_text(json.dumps(old | {"colour": "red"}))
    with pytest.raises(ValueError, match="not the card of a feature net"):
        load_feature_net(tmp_path)
