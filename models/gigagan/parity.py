"""Recompute what Aurora's code computed, from a parity file's weights and inputs.

All sizes come from the file. Gradients are of the sum over the outputs k of <out/k, in/cotangent_k>
for the inputs, and for the parameters that the file names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from models.gigagan import names
from models.gigagan.adaptive_conv import AdaptiveConv
from models.gigagan.attention import CrossAttention, SelfAttention
from models.gigagan.blocks import AttentionBlock, AttentionStyle
from models.gigagan.checkpoint import aurora_generator
from models.gigagan.feed_forward import Experts, feed_forward, router_loss
from models.gigagan.generator import TextMapping
from models.gigagan.parity_gradients import fill, variables, with_gradients
from models.gigagan.text_head import Text, TextHead
from models.interop.names import Rule, load_translated
from models.interop.parity_file import ParityCheck, ParityFile
from models.layers.fourier import FourierInput


def _supported(config: Mapping[str, Any], **wanted: Any) -> None:
    for name, value in wanted.items():
        if config.get(name, value) != value:
            raise ValueError(f"{name} is {config[name]}, ours has {value}")


def adaptive_conv(file: ParityFile) -> dict[str, Tensor]:
    """Aurora's adaptive convolution: banks, doubling, toRGB, deformable taps."""
    config = file.config
    _supported(config, lr_mul=1.0, wscale_gain=1.0, use_wscale=True, conv_clamp=None)
    module = AdaptiveConv(
        *(config["in_channels"], config["out_channels"], config["modulate_dim"]),
        kernel_size=config["kernel_size"],
        num_kernels=config["num_kernels"],
        demodulate=config["demodulate"],
        up=config["scale_factor"] == 2,
        leaky=config["activation_type"] == "lrelu",
        deformable=config["mtm"],
    )
    fill(module, file, names.CONV_RULES)
    given = variables(file)
    y = module(given["x"], given["w"])
    return with_gradients(file, module, names.CONV_RULES, given, {"y": y})


def _likeness(config: Mapping[str, Any]) -> Any:
    return "distance" if config["l2_attention"] else "dot"


def self_attention(file: ParityFile) -> dict[str, Tensor]:
    """Aurora's self-attention on an image."""
    config = file.config
    _supported(config, lr_mul=1.0, wscale_gain=1.0, demodulate=True)
    module = SelfAttention(
        *(config["in_channels"], config["num_heads"], config["head_dim"], config["w_dim"]),
        likeness=_likeness(config),
        tied=config["tie"] and config["l2_attention"],
        style="output",
        mask_self=config["mask_self"] and config["l2_attention"],
        scale_inside=config["scale_in"],
    )
    fill(module, file, names.SELF_RULES)
    given = variables(file)
    size = given["x"].shape[2:]
    y = module(given["x"].flatten(2).transpose(1, 2), given["w"])
    y = y.transpose(1, 2).unflatten(2, size)
    return with_gradients(file, module, names.SELF_RULES, given, {"y": y})


def cross_attention(file: ParityFile) -> dict[str, Tensor]:
    """Aurora's attention to words."""
    config = file.config
    _supported(config, lr_mul=1.0, wscale_gain=1.0, mask_self=False)
    module = CrossAttention(
        *(config["query_dim"], config["context_dim"], config["num_heads"], config["head_dim"]),
        likeness=_likeness(config),
        scale_inside=config["scale_in"],
    )
    fill(module, file, names.CROSS_RULES)
    given = variables(file)
    y = module(given["x"], given["context"])
    return with_gradients(file, module, names.CROSS_RULES, given, {"y": y})


def layers_after(file: ParityFile) -> dict[str, Tensor]:
    """Aurora's gated layers or experts, with the router's loss."""
    config = file.config
    _supported(config, lr_mul=1.0, wscale_gain=1.0)
    experts = names.experts_of(config["num_experts"])
    module = feed_forward(
        *(config["in_dim"], config["w_dim"]),
        experts=experts,
        kind="plain" if config["glu"] else "gated",
        ratio=config["mlp_ratio"],
    )
    rules = names.EXPERT_RULES if experts else names.FEED_FORWARD_RULES
    fill(module, file, rules)
    given = variables(file)
    if not isinstance(module, Experts):
        return with_gradients(file, module, rules, given, {"y": module(given["x"])})
    outputs = {"y": module(given["x"], given["w"])}
    if "moe_loss_x1000" in file.output:
        outputs["moe_loss_x1000"] = 1000 * router_loss(module.logits(given["x"], given["w"])).mean()
    return with_gradients(file, module, rules, given, outputs)


def attention_block(file: ParityFile) -> dict[str, Tensor]:
    """Aurora's block of attention layers on an image."""
    config = file.config
    _supported(config, lr_mul=1.0, use_w_cond=False, include_ff=True)
    style = AttentionStyle(
        heads=config["num_heads"],
        head_dim=config["head_dim"],
        norm_groups=config["group_channels"],
        likeness=_likeness(config),
        tied=config["tie"] and config["l2_attention"],
        style="output",
        mask_self=config["mask_self"] and config["l2_attention"],
        scale_inside=config["scale_in"],
        gain=config["attn_gain"],
        gain_on="sum",
        feed_forward="plain" if config["glu"] else "gated",
        mlp_ratio=config["mlp_ratio"],
    )
    word_dim = config["context_dim"] if config["use_text_cond"] else 0
    module = AttentionBlock(
        *(config["in_channels"], config["w_dim"], word_dim, config["depth"], style),
        names.experts_of(config["num_experts"]),
    )
    fill(module, file, names.ATTENTION_RULES)
    given = variables(file)
    y = module(given["x"], given["w"], Text(words_BTC=given.get("context")))
    return with_gradients(file, module, names.ATTENTION_RULES, given, {"y": y})


def text_head(file: ParityFile) -> dict[str, Tensor]:
    """Aurora's text head as published: it attends across the prompts of a batch."""
    config = file.config
    module = TextHead(
        *(config["in_dim"], config["context_dim"]),
        depth=config["num_layers"],
        heads=config["num_heads"],
        lr_multiplier=config["lr_mul"],
        mixing="batch",
        likeness=_likeness(config),
        scale_inside=config["scale_in"],
        mask_self=config["mask_self"],
        gain=config["attn_gain"],
        mlp_ratio=config["mlp_ratio"],
        aligns=config["in_dim"] != config["context_dim"],
    )
    fill(module, file, names.TEXT_RULES)
    given = variables(file)
    pooled, words = module(given["text_features"], given["eot_index"])
    outputs = {"global": pooled, "local": words}
    return with_gradients(file, module, names.TEXT_RULES, given, outputs)


def mapping(file: ParityFile) -> dict[str, Tensor]:
    """Aurora's mapping network."""
    config = file.config
    text_dim = config["context_dim"] if config["use_text_cond"] else 0
    module = TextMapping(
        *(config["input_dim"], text_dim, config["output_dim"]),
        num_layers=config["num_layers"],
        hidden_dim=config["hidden_dim"],
        lr_multiplier=config["lr_mul"],
    )
    module.mean.tracks = False
    load_translated(
        module,
        {**file.param, "mean": module.mean.value},
        (*names.MAPPING_RULES, Rule("mean", "mean.value")),
        file.stem,
    )
    given = variables(file)
    w = module(given["z"], given.get("global_text"))
    outputs = {"w": w, "wp": w[:, None].expand(-1, config["num_outputs"], -1)}
    return with_gradients(file, module, names.MAPPING_RULES, given, outputs)


def fourier_input(file: ParityFile) -> dict[str, Tensor]:
    """Aurora's plane waves, which do not fade."""
    config = file.config
    module = FourierInput(
        *(config["w_dim"], config["channels"]),
        size=config["size"],
        sampling_rate=config["sampling_rate"],
        bandwidth=config["bandwidth"],
        fades=False,
    )
    fill(module, file, names.FOURIER_RULES)
    given = variables(file)
    return with_gradients(file, module, names.FOURIER_RULES, given, {"x": module(given["w"])})


def generator(file: ParityFile) -> dict[str, Tensor]:
    """Aurora's whole generator: all images, a truncation, the routers' loss."""
    config = file.config
    module = aurora_generator(config)
    names.load_aurora(module, file.param)
    module.mapping.mean.tracks = False
    given = variables(file, "z_mean")
    assert module.text.head is not None
    pooled, words = module.text.head(given["text_features"], given["eot_index"])
    text = Text(pooled_BC=pooled, words_BTC=words)
    w = module.mapping(given["z"], pooled)
    logits: list[Tensor] = []
    hooks = [
        part.register_forward_pre_hook(lambda m, given: logits.append(m.logits(*given)))
        for part in module.modules()
        if isinstance(part, Experts)
    ]
    images = module.pyramid(w[:, None].expand(-1, module.num_ws, -1), text)
    for hook in hooks:
        hook.remove()
    outputs = {"img": images[0], "w": w}
    outputs |= {f"img_res_{x.shape[-1]}x{x.shape[-1]}": x for x in images}
    if "moe_loss_x1000" in file.output:
        outputs["moe_loss_x1000"] = 1000 * sum(router_loss(x).mean() for x in logits)  # type: ignore[assignment]
    for name in file.output:
        if name.startswith("wp_truncated_"):
            psi = float(name.removeprefix("wp_truncated_"))
            drawn = module.mapping.truncated(w, pooled, psi, given["z_mean"])
            outputs[name] = drawn[:, None].expand(-1, module.num_ws, -1)
    return with_gradients(file, module, names.GENERATOR_RULES, given, outputs)


CHECKS = {
    "aurora_adaptive_conv": ParityCheck(adaptive_conv),
    "aurora_self_attention": ParityCheck(self_attention),
    "aurora_cross_attention": ParityCheck(cross_attention),
    "aurora_feed_forward": ParityCheck(layers_after),
    "aurora_attention_block": ParityCheck(attention_block),
    "aurora_text_head": ParityCheck(text_head),
    "aurora_mapping": ParityCheck(mapping),
    "aurora_fourier_input": ParityCheck(fourier_input),
    "aurora_generator": ParityCheck(generator),
}
