"""What every frozen net promises: it stays frozen, and its folder opens to the same net."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.features import KINDS, load_feature_net, read_card, save_feature_net
from tests.models.features.small_nets import SMALL_NETS

IMAGE = torch.linspace(-1, 1, 2 * 3 * 48 * 48).view(2, 3, 48, 48).sin()


@pytest.fixture(params=SMALL_NETS)
def net(request):
    torch.manual_seed(0)
    return SMALL_NETS[request.param]()


def test_every_image_net_is_covered():
    assert set(SMALL_NETS) == set(KINDS) - {"clip_text"}


def test_gradient_reaches_the_image_and_no_weight(net):
    image = IMAGE.clone().requires_grad_(True)
    sum(x.sum() for x in net(image).values()).backward()
    assert image.grad.abs().amax(dim=(1, 2, 3)).min() > 0
    assert all(p.grad is None and not p.requires_grad for p in net.parameters())


def test_stays_in_eval_mode_inside_a_training_module(net):
    before = net(IMAGE)
    outer = torch.nn.Sequential(net).train()
    assert not any(module.training for module in net.modules())
    after = outer[0](IMAGE)
    assert all(torch.equal(before[name], after[name]) for name in before)


PROGRAM = """
import sys
from pathlib import Path
from safetensors.torch import load_file, save_file
from models.features import load_feature_net

root = Path(sys.argv[1])
image = load_file(root / "image.safetensors")["image"]
for folder in sorted(root.glob("*/card.json")):
    net = load_feature_net(folder.parent)
    assert not any(p.requires_grad for p in net.parameters())
    out = {name: x.contiguous() for name, x in net(image).items()}
    save_file(out, folder.with_name("out.safetensors"))
"""


@pytest.mark.slow
def test_a_folder_gives_the_same_net_in_a_fresh_process(tmp_path):
    save_file({"image": IMAGE}, tmp_path / "image.safetensors")
    nets = {kind: build() for kind, build in SMALL_NETS.items()}
    cards = {
        kind: save_feature_net(tmp_path / kind, net, role="dino", source="a test")
        for kind, net in nets.items()
    }
    subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], check=True, timeout=240)
    for kind, net in nets.items():
        there, here = load_file(tmp_path / kind / "out.safetensors"), net(IMAGE)
        assert set(there) == set(here)
        for name in here:
            torch.testing.assert_close(there[name], here[name], rtol=1e-5, atol=1e-6)
        assert read_card(tmp_path / kind) == cards[kind]


@pytest.fixture
def folder(tmp_path):
    save_feature_net(tmp_path, SMALL_NETS["attributes"](), role="judge", source="a test")
    return tmp_path


def test_damaged_weights_are_refused(folder):
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"sha256 .* its card says"):
        load_feature_net(folder)


def test_a_card_of_another_net_is_refused(folder):
    card = json.loads((folder / "card.json").read_text())
    card["architecture"]["pooled_dim"] = 7
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="does not fit its card"):
        load_feature_net(folder)


@pytest.mark.parametrize("content", ["", "[]", '{"role": "clip"}'])
def test_what_is_no_card_is_refused(folder, content):
    (folder / "card.json").write_text(content)
    with pytest.raises(ValueError, match=r"card"):
        load_feature_net(folder)


def test_an_unknown_kind_is_refused(folder):
    card = json.loads((folder / "card.json").read_text()) | {"kind": "oracle"}
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="kind 'oracle': wanted one of clip"):
        load_feature_net(folder)
