"""Files in exactly the published formats, with the weights of the parity files, and their CLIP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from components.artifacts.artifact import write_artifact
from components.artifacts.family import recipe_from
from models.features import FeatureCard, build_feature_net, save_feature_net
from models.gigagan.small import SMALL
from models.interfaces import ConditionShape
from models.interop.parity_file import ParityFile
from pipeline.commands.import_model import main as import_model
from tests.models.interop.authors_files import parity

WORDS = ["a", "red", "blue", "ring"]
EMBEDDING, CONTEXT = 10, 7
# What no tensor tells, as the parity file's network has it.
HEADS = ["--set", "attention_heads=2", "--set", "head_dim=4"]


UP = {
    "up_dim": 4,
    "up_mults": (1, 2),
    "up_down_mults": (2,),
    "up_attention_depths": (0, 1),
    "up_middle_depth": 1,
    "up_kernels": 2,
    "up_blocks": 1,
    "up_heads": 2,
    "up_style_dim": 8,
    "up_style_layers": 2,
    "up_text_depth": 1,
}
CLIP = {"words": "last", "vision_weight": 0.0}


def aurora() -> ParityFile:
    return parity("aurora_generator")


def aura() -> ParityFile:
    return parity("aura_pipeline")


def photo(folder: Path, width: int, height: int) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path = folder / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def aurora_file(folder: Path, **changes: Any) -> Path:
    """Write a training file: the averaged generator beside the raw one."""
    tensors = {n: x.clone() for n, x in {**aurora().param, **changes}.items() if x is not None}
    raw = {name: torch.zeros_like(x) for name, x in tensors.items()}
    path = folder / "aurora_v1.pth"
    torch.save({"generator_smooth": tensors, "generator": raw, "step": 5}, path)
    return path


def aura_file(folder: Path, config: Any = None, **changes: Any) -> Path:
    """Write model.safetensors, and config.json beside it; "" leaves that out."""
    folder.mkdir(exist_ok=True)
    tensors = {n: x for n, x in {**aura().param, **changes}.items() if x is not None}
    tensors = {name: x.clone().contiguous() for name, x in tensors.items()}
    save_file(tensors, folder / "model.safetensors")
    config = aura().config if config is None else config
    if config != "":
        text = config if isinstance(config, str) else json.dumps(config)
        (folder / "config.json").write_text(text)
    return folder / "model.safetensors"


def write_clip(folder: Path, width: int | None = None) -> Path:
    """Write encoders/clip, whose words are as wide as the generator wants them."""
    width = width or aurora().config["clip_out_dim"]
    architecture = {
        "embed_dim": EMBEDDING,
        "vision_cfg": {
            "layers": 1,
            "width": 16,
            "head_width": 8,
            "patch_size": 8,
            "image_size": 16,
        },
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": 16,
            "width": width,
            "heads": 2,
            "layers": 2,
        },
        "quick_gelu": True,
        "tokenizer": {"kind": "words", "words": WORDS, "context_length": CONTEXT},
    }
    card = FeatureCard(
        role="clip",
        kind="clip",
        architecture=architecture,
        image_size_px=16,
        mean=[0.5] * 3,
        std=[0.5] * 3,
        source="random",
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = build_feature_net(card)
    save_feature_net(folder / "clip", net, role="clip", source="random")
    return folder


def words_world(folder: Path) -> Path:
    """Write encoders, both published networks imported, and models of our own, never trained."""
    write_clip(folder / "encoders")
    # Its tile is the base's picture, and its noise vector has room in the base's code.
    config = {**aura().config, "input_image_size": 16, "image_size": 64}
    config["style_network"] = {**config["style_network"], "dim_in": 8}
    first = "style_network.net.0.weight"
    file = aura_file(folder / "published", config, **{first: aura().param[first][:, :8]})
    licence = ["--licence", "CC-BY-SA-4.0"]
    assert import_model([str(file), "--out", str(folder / "aura"), *licence]) == 0
    words = [str(aurora_file(folder)), *HEADS, "--licence", "research only"]
    words += ["--encoders", str(folder / "encoders"), "--out", str(folder / "aurora")]
    assert import_model(words) == 0
    shape = ConditionShape(pooled_dim=EMBEDDING, token_dim=aurora().config["clip_out_dim"])
    for name, size, fields in (
        ("base", 8, {}),
        ("up", 16, {"parts": "upsampler", "base_px": 8, **UP}),
        ("both", 16, {"parts": "cascade", "base_px": 8, **UP}),
        ("wide", 16, {"parts": "upsampler", "base_px": 8, **UP, "text_width": 4}),
    ):
        own(folder / name, size, shape, **fields)
    return folder


def own(folder: Path, size: int, shape: ConditionShape, **fields: Any) -> None:
    recipe = recipe_from({"name": "gigagan", **SMALL, **CLIP, **fields})
    torch.manual_seed(5)
    state = recipe.generator(size, shape).state_dict()
    card = json.loads((folder.parent / "encoders" / "clip" / "card.json").read_text())
    write_artifact(
        folder,
        recipe=recipe,
        resolution=size,
        shape=shape,
        generator_state={n: x + 0.1 * torch.randn_like(x) for n, x in state.items()},
        nimg=7,
        seed=0,
        encoders={"clip": card["sha256"]},
    )
