"""Recompute what vision-aided-gan's code computed, from a parity file's weights and inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.gigagan.parity_gradients import fill, variables, with_gradients
from models.gigagan.vision_aided import VisionHeads, vision_loss
from models.interop.names import Rule
from models.interop.parity_file import ParityCheck, ParityFile
from models.layers.equalized import LEAK
from models.losses.adversarial import hinge_generator


def rules_of(maps: int) -> tuple[Rule, ...]:
    """Return the names of heads on so many maps and a pooled vector."""
    found: list[Rule] = [Rule(r"decoder\.\d+\.\d+\.filt", None)]
    places = [(rf"decoder\.{i}\.1", f"maps.{i}.conv") for i in range(maps)]
    places += [(rf"decoder\.{i}\.4", f"maps.{i}.classify") for i in range(maps)]
    places += [(rf"decoder\.{maps}\.0", "pooled"), ("out", "out")]
    for theirs, ours in places:
        found += [
            Rule(theirs + r"\.weight_orig", f"{ours}.weight"),
            Rule(theirs + r"\.weight_(u|v)", ours + r".\1"),
            Rule(theirs + r"\.bias", f"{ours}.bias"),
        ]
    return tuple(found)


def heads(file: ParityFile) -> dict[str, Tensor]:
    """The heads, and every loss on their logits."""
    config = file.config
    maps = config["level"] - 1
    module: Any = VisionHeads(
        [config["in_ch1"]] * maps,
        config["in_ch2"],
        inner=config["out_ch"],
        halves=config["down"] == 2,
    )
    rules = rules_of(maps)
    if config["num_classes"]:  # theirs learns a vector for each class; ours maps a text
        module.embed = nn.Embedding(config["num_classes"], config["out_ch"])
        rules = (*rules, Rule(r"embed\.weight", "embed.weight"))
    fill(module, file, rules)
    given = variables(file)
    taps = [given[f"tap_{i}"] for i in range(config["level"])]
    logits = module(taps)
    if config["num_classes"]:
        (label_N,) = (x for x in given.values() if not x.is_floating_point())
        inner = nn.functional.leaky_relu(module.pooled(taps[-1]), LEAK)
        logits[-1] = logits[-1] + (module.embed(label_N) * inner).sum(dim=1, keepdim=True)
    outputs = {f"logits_{i}": x for i, x in enumerate(logits)}
    for suffix, target in (("", 1.0), ("_s", 0.8)):
        outputs[f"loss_real{suffix}"] = vision_loss(logits, real=True, target=target)[:, None]
        outputs[f"loss_g{suffix}"] = vision_loss(logits, real=True, target=target)[:, None]
        outputs[f"loss_fake{suffix}"] = vision_loss(logits, real=False)[:, None]
    relu = torch.nn.functional.relu
    outputs["hinge_real"] = sum(relu(1 - x).mean() for x in logits)  # type: ignore[assignment]
    outputs["hinge_fake"] = sum(relu(1 + x).mean() for x in logits)  # type: ignore[assignment]
    outputs["hinge_g"] = sum(hinge_generator(x).mean() for x in logits)  # type: ignore[assignment]
    return with_gradients(file, module, rules, given, outputs)


def clip_taps(file: ParityFile) -> dict[str, Tensor]:
    """Taps of CLIP's image tower."""
    from models.features.clip import ClipNet

    config = file.config
    vision = {
        "image_size": config["input_resolution"],
        "patch_size": config["patch_size"],
        "width": config["width"],
        "layers": config["layers"],
        "head_width": config["width"] // config["heads"],
    }
    text = {"context_length": 4, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1}
    net = ClipNet.build(
        {
            "embed_dim": config["output_dim"],
            "quick_gelu": True,
            "vision_cfg": vision,
            "text_cfg": text,
            "tokenizer": {"kind": "words", "words": ["a"], "context_length": 4},
        },
        image_size_px=config["input_resolution"],
        mean=[0.48145466, 0.4578275, 0.40821073],
        std=[0.26862954, 0.26130258, 0.27577711],
    )
    own = net.network.state_dict()
    net.network.load_state_dict({**own, **file.param})
    given = variables(file)
    taps = net.vision_taps(given["img"])
    outputs = {f"tap_{i}": x for i, x in enumerate(taps)}
    return with_gradients(file, net, (), given, outputs)


CHECKS = {
    "vision_aided_head": ParityCheck(heads),
    "vision_aided_clip_taps": ParityCheck(clip_taps),
}
