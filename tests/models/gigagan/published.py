"""Files in exactly the published formats, with the weights of the parity files, and their CLIP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from models.features import FeatureCard, build_feature_net, save_feature_net
from models.interop.parity_file import ParityFile
from tests.models.interop.authors_files import parity

WORDS = ["a", "red", "blue", "ring"]
EMBEDDING, CONTEXT = 10, 7
# What no tensor tells, as the parity file's network has it.
HEADS = ["--set", "attention_heads=2", "--set", "head_dim=4"]


def aurora() -> ParityFile:
    return parity("aurora_generator")


def aura() -> ParityFile:
    return parity("aura_pipeline")


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
