"""Options of the published code that no released file has: named in its configuration, and read."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from models.gigagan.adaptive_conv import AdaptiveConv
from models.gigagan.aura import RULES, upsampler_fields
from models.gigagan.checkpoint import aurora_generator
from models.gigagan.names import FEED_FORWARD_RULES, heads_of, load_aurora, split_qkv
from models.gigagan.parity import attention_block
from models.gigagan.text_head import Text
from models.gigagan.unet import Upsampler
from models.gigagan.vision_parity import heads as vision_heads
from models.interop.names import rename
from tests.models.interop.authors_files import parity

LAYER = "attn_blocks.0."


def joined(param, heads):
    """Join queries and keys with values, head by head, as the code stores them for dot products."""
    found = dict(param)
    for name in [n for n in param if n.endswith("self_attn.to_qk.weight")]:
        prefix = name.removesuffix("to_qk.weight")
        parts = (found.pop(name), found.pop(f"{prefix}to_v.weight"))
        by_head = [x.unflatten(0, (heads, -1)) for x in parts]
        found[f"{prefix}to_qkv.weight"] = torch.cat(by_head, dim=1).flatten(0, 1)
    return found


def test_a_tensor_of_queries_keys_and_values_is_cut_head_by_head():
    param = parity("aurora_attention_block").param
    whole = joined(param, 2)
    assert f"{LAYER}self_attn.to_qkv.weight" in whole
    cut = split_qkv(whole, 2)
    assert cut.keys() == param.keys()
    assert all(torch.equal(cut[name], x) for name, x in param.items())


def test_a_block_of_dot_products_is_read_and_gives_the_gradient_of_the_joined_tensor():
    file = parity("aurora_attention_block")
    name = f"{LAYER}self_attn.to_qkv.weight"
    config = {**file.config, "l2_attention": False, "tie": True, "mask_self": True}
    param = joined(file.param, config["num_heads"])
    wanted = {"y": file.output["y"], f"grad_{name}": param[name]}
    dotted = dataclasses.replace(file, config=config, param=param, output=wanted)
    found = attention_block(dotted)
    assert found[f"grad_{name}"].shape == param[name].shape

    def total(change):
        """Return what the gradient is of, after a change of the joined tensor."""
        moved = dataclasses.replace(dotted, param={**param, name: param[name] + change})
        moved = dataclasses.replace(moved, output={"y": file.output["y"]})
        return (attention_block(moved)["y"] * file.input["cotangent_y"]).sum().item()

    step = 1e-2 * F.normalize(found[f"grad_{name}"], dim=(0, 1))
    slope = (total(step) - total(-step)) / 2
    assert slope == pytest.approx(float((found[f"grad_{name}"] * step).sum()), rel=0.02)


def test_a_block_without_text_needs_no_words():
    file = parity("aurora_attention_block")
    apart = {n: x for n, x in file.param.items() if "cross_attn" not in n and "norm2" not in n}
    given = {n: x for n, x in file.input.items() if n != "context"}
    config = {**file.config, "use_text_cond": False}
    plain = dataclasses.replace(
        file, config=config, param=apart, input=given, output={"y": file.output["y"]}
    )
    assert attention_block(plain)["y"].isfinite().all()


def dot_products(config, param):
    return {**config, "l2_attention": False}, joined(param, config["num_heads"])


def constant_input(config, param):
    kept = {n: x for n, x in param.items() if not n.startswith("synthesis.net.0.0.")}
    width = param["synthesis.net.0.0.weight"].shape[0]
    constant = torch.randn(1, width, 4, 4)
    return {**config, "fourier_feat": False}, {**kept, "synthesis.net.0.0.const": constant}


def words_of_the_heads_width(config, param):
    kept = {n: x for n, x in param.items() if "align_dim" not in n}
    return {**config, "clip_out_dim": config["context_dim"]}, kept


def wider_mapping(config, param):
    wide = {f"mapping.dense{i}.weight": torch.randn(20, 20) for i in (1, 2)}
    wide |= {f"mapping.dense{i}.bias": torch.randn(20) for i in (0, 1, 2)}
    wide["mapping.dense0.weight"] = torch.randn(20, config["z_dim"] + config["context_dim"])
    wide["mapping.dense3.weight"] = torch.randn(config["w_dim"], 20)
    return {**config, "mapping_fmaps": 20}, {**param, **wide}


def one_expert_is_none(config, param):
    """Keep the first expert of the layers at 8 px, under the names of plain layers."""
    found = {}
    for name, tensor in param.items():
        before, ff, after = name.partition(".ff.")
        if not ff or not before.startswith("synthesis.net.3."):
            found[name] = tensor
        elif after.startswith("net.0."):
            found[f"{before}.ff.net.{after.removeprefix('net.0.')}"] = tensor
    return {**config, "num_experts": {**config["num_experts"], "8": 1}}, found


def wider_input(config, param):
    """With fmaps_base 64, 2 px have 32 channels and 4 px have 16."""
    config = {**config, "fmaps_base": 64, "attn_resolutions": [], "mtm": False}
    return config, None


OPTIONS = [dot_products, constant_input, words_of_the_heads_width, wider_mapping]
OPTIONS += [one_expert_is_none, wider_input]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.__name__)
def test_other_options_of_the_published_generator_are_read(option):
    torch.manual_seed(0)
    file = parity("aurora_generator")
    config, param = option(file.config, file.param)
    module = aurora_generator(config)
    if param is not None:
        load_aurora(module, param)  # strict: every name and shape
        module.mapping.mean.tracks = False
    features = torch.randn(2, 8, config["clip_out_dim"])
    pooled, words = module.text.head(features, torch.tensor([5, 7]))
    w = module.mapping(file.input["z"], pooled)
    ws = w[:, None].expand(-1, module.num_ws, -1)
    image = module.pyramid(ws, Text(pooled_BC=pooled, words_BTC=words))[0]
    assert image.shape == (2, 3, 16, 16) and image.isfinite().all()
    if option is wider_input:
        assert module.synthesis.layers[0].conv.weight.shape[:2] == (16, 32)
    assert heads_of(module) == (1 if option is wider_input else config["num_heads"])


def test_a_class_moves_the_last_of_the_heads_by_its_vector():
    file = parity("vision_aided_head_clip")
    config, width = {**file.config, "num_classes": 4}, file.config["out_ch"]
    param = {**file.param, "embed.weight": torch.zeros(4, width)}
    given = {**file.input, "label": torch.tensor([3, 0, 1])}
    outputs = {name: x for name, x in file.output.items() if name.startswith("logits")}
    asked = dataclasses.replace(file, config=config, param=param, input=given, output=outputs)
    plain = vision_heads(asked)
    assert all(torch.allclose(plain[name], x, atol=1e-5) for name, x in outputs.items())
    param["embed.weight"][3] = 1.0
    moved = vision_heads(asked)
    changed = moved["logits_2"] != plain["logits_2"]
    assert changed.flatten().tolist() == [True, False, False]
    assert torch.equal(moved["logits_1"], plain["logits_1"])


def test_layers_without_a_gate_have_names_of_their_own():
    assert rename("project_in.0.weight", FEED_FORWARD_RULES) == "expand.weight"
    assert rename("net.0.0.bias", FEED_FORWARD_RULES) == "expand.bias"
    assert rename("net.2.weight", FEED_FORWARD_RULES) == "contract.weight"


def test_a_kernel_of_one_pixel_doubles_as_the_middle_of_a_larger_one():
    torch.manual_seed(0)
    small = AdaptiveConv(4, 6, 8, kernel_size=1, num_kernels=3, up=True)
    large = AdaptiveConv(4, 6, 8, num_kernels=3, up=True)
    state = small.state_dict()
    large.load_state_dict({**state, "weight": F.pad(state["weight"], (1, 1, 1, 1))})
    x, w = torch.randn(2, 4, 5, 5), torch.randn(2, 8)
    torch.testing.assert_close(small(x, w), large(x, w), rtol=1e-5, atol=1e-5)


def test_attention_on_the_way_down_is_read_from_the_front_of_the_same_list():
    style = {"dim_in": 4, "dim_out": 8, "depth": 1}
    config = {"style_network": style, "dim": 4, "up_dim_mults": [1, 2], "down_dim_mults": [2]}
    config |= {"full_attn": [True, False], "attn_depths": [1, 1], "num_conv_kernels": 2}
    config |= {"mid_attn_depth": 1, "self_attn_heads": 2, "self_attn_dim_head": 4}
    torch.manual_seed(0)
    net = Upsampler(**upsampler_fields(config))
    assert [len(stage.attention) for stage in net.downs] == [1]
    assert [len(stage.attention) for stage in net.ups] == [0, 1]
    theirs = "downs.0.1.0.layers.0.0.to_qkv.weight"
    assert rename(theirs, RULES) == "downs.0.attention.0.to_qkv.weight"
    image, z = torch.rand(1, 3, 8, 8), torch.randn(1, 4)
    before = net(image, z)[0]
    with torch.no_grad():
        net.downs[0].attention[0].out.weight.mul_(2)
    assert not torch.equal(net(image, z)[0], before)
