"""Taps of a vision transformer against timm's own intermediates and against forward hooks."""

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer

from models.features.vit import even_hooks, vit_taps
from tests.models.features.small_nets import small_vit

IMAGE = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_hooks_are_evenly_spaced_and_end_at_the_last_block():
    assert even_hooks(12) == [2, 5, 8, 11]
    assert even_hooks(24) == [5, 11, 17, 23]
    assert even_hooks(4) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="3 blocks cannot be tapped 4 times"):
        even_hooks(3)


@pytest.mark.parametrize("prefix", [{}, {"reg_tokens": 2}, {"class_token": False}])
def test_taps_equal_timms_intermediates(prefix):
    pool = {"global_pool": "avg"} if "class_token" in prefix else {}
    net = small_vit(**prefix, **pool)
    vit, hooks = net.network, [1, 3, 5, 7]
    maps = vit.forward_intermediates(
        IMAGE, indices=hooks, output_fmt="NLC", return_prefix_tokens=True, intermediates_only=True
    )
    taps = vit_taps(vit, IMAGE, hooks)
    assert len(taps) == 5
    for tap, tokens in zip(taps, maps, strict=False):
        wanted = tokens if "class_token" in prefix else tokens[0] + tokens[1][:, :1]
        torch.testing.assert_close(tap, wanted.transpose(1, 2))


def test_last_tap_is_what_leaves_the_position_dropout():
    vit, caught = small_vit().network, []
    handle = vit.pos_drop.register_forward_hook(lambda module, given, out: caught.append(out))
    taps = vit_taps(vit, IMAGE, [7])
    handle.remove()
    patches = vit.patch_embed.proj(IMAGE).flatten(2) + vit.pos_embed[:, 1:].transpose(1, 2)
    cls = (vit.cls_token + vit.pos_embed[:, :1]).transpose(1, 2)
    torch.testing.assert_close(taps[-1], patches + cls)
    torch.testing.assert_close(taps[-1], (caught[0][:, 1:] + caught[0][:, :1]).transpose(1, 2))
    assert len(vit_taps(vit, IMAGE, [7], hook_patch=False)) == 1


def test_net_normalises_and_pools_as_timm_does():
    net = small_vit(num_classes=5)
    x = IMAGE.clamp(-1, 1)
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])
    normalised = ((x + 1) / 2 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    out = net(x)
    torch.testing.assert_close(out["logits"], net.network(normalised))
    torch.testing.assert_close(
        out["pooled"], net.network.forward_head(net.network.forward_features(normalised), True)
    )
    assert sorted(name for name in out if name.startswith("tap_")) == [f"tap_{i}" for i in range(5)]
    assert (net.num_taps, net.tap_dim) == (5, 24)
    assert out["tap_0"].shape == (2, 24, 16)
    torch.testing.assert_close(out["tap_2"], vit_taps(net.network, normalised, [5])[0])


def test_local_size_flag_does_not_change_the_taps():
    torch.manual_seed(0)
    fixed = small_vit()
    dynamic = small_vit(dynamic_img_size=True)
    dynamic.network.load_state_dict(fixed.network.state_dict())
    for name, tap in fixed(IMAGE).items():
        torch.testing.assert_close(dynamic(IMAGE)[name], tap)


def test_distilled_transformers_lose_both_prefix_tokens():
    vit = timm.create_model("deit_tiny_distilled_patch16_224", img_size=32).eval()
    assert isinstance(vit, VisionTransformer)
    taps = vit_taps(vit, IMAGE, even_hooks(12))
    assert {tuple(tap.shape) for tap in taps} == {(2, 192, 4)}


def test_hooks_outside_the_network_are_refused():
    from models.features import VitNet

    architecture = small_vit().architecture | {"hooks": [0, 8]}
    with pytest.raises(ValueError, match="wanted block indices from 0 to 7"):
        VitNet.build(architecture, image_size_px=32, mean=[0.5] * 3, std=[0.5] * 3)


def test_compiles_without_a_break():
    torch._dynamo.reset()
    net = small_vit()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(IMAGE)["tap_1"], net(IMAGE)["tap_1"])
