"""A training set, frozen nets and a params file so small that a whole training takes a second."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import yaml

SIDE, ROWS, WIDTH, CONTEXT = 16, 64, 16, 8
WORDS = ["a", "red", "blue", "green", "circle", "square"]

RECIPE = {
    "name": "stylegan_t",
    "channel_base": 256,
    "channel_max": 16,
    "num_res_blocks": 1,
    "z_dim": 8,
    "group_norm_groups": 4,
    "cmap_dim": 8,
    "head_kernel_size": 3,
    "clip_weight": 1.0,
    "guidance_crop_px": 16,
    "blur_init_sigma_px": 2.0,
    "blur_fade_kimg": 0.1,
}

TRAIN = {
    "resolution_px": SIDE,
    "total_kimg": 0.256,
    "batch": 16,
    "micro_batch": 8,
    "ema_half_life_kimg": 0.05,
    "channels_last": False,
    "report_every_kimg": 0.032,
    "sample_every_kimg": 0.128,
    "save_every_kimg": 0.064,
}


def write_world(folder: Path, seed: int = 0) -> Path:
    """Write data/train and artifacts/encoders/{clip,dino} below the folder; return it."""
    write_encoders(folder / "artifacts" / "encoders")
    write_data(folder / "data" / "train", seed)
    return folder


def write_data(folder: Path, seed: int = 0, rows: int = ROWS) -> None:
    """Write a training set of coloured noise with captions and random embeddings."""
    import pyarrow as pa
    from PIL import Image

    from components.data.shards import ShardWriter, write_manifest
    from models.features.words import WordTokenizer

    schema = pa.schema(
        [
            ("key", pa.string()),
            ("image", pa.binary()),
            ("caption", pa.string()),
            ("text_embedding", pa.list_(pa.float16(), WIDTH)),
            ("token_ids", pa.list_(pa.int32(), CONTEXT)),
            ("label", pa.int32()),
            ("group", pa.string()),
        ]
    )
    rng = np.random.default_rng(seed)
    tokenize = WordTokenizer(WORDS, CONTEXT)
    splits = {}
    for split, count in {"train": rows, "heldout": 16}.items():
        writer = ShardWriter(folder, split, schema, shard_rows=32, group_rows=16)
        for i in range(count):
            colour, shape = rng.choice(WORDS[1:4]), rng.choice(WORDS[4:])
            pixels = rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
            pixels[4:12, 4:12, WORDS.index(colour) - 1] = 255
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            embedding, caption = rng.normal(size=WIDTH), f"a {colour} {shape}"
            writer.write(
                {
                    "key": f"{split}{i:04d}",
                    "image": file.getvalue(),
                    "caption": caption,
                    "token_ids": tokenize([caption])[0].tolist(),
                    "text_embedding": (embedding / np.linalg.norm(embedding)).astype(np.float16),
                    "label": -1,
                    "group": "",
                }
            )
        splits[split] = writer.close()
    facts = {"resolution_px": SIDE, "embedding_dim": WIDTH, "num_labels": 0, "splits": splits}
    write_manifest(folder, facts)


def write_encoders(folder: Path) -> None:
    """Write a random CLIP and a random ViT."""
    import torch

    from models.features import build_feature_net, save_feature_net
    from models.features.folder import FeatureCard

    vision = {"layers": 1, "width": 16, "head_width": 8, "patch_size": 8, "image_size": SIDE}
    text = {"context_length": CONTEXT, "vocab_size": 16, "width": 16, "heads": 2, "layers": 1}
    clip = {
        "embed_dim": WIDTH,
        "vision_cfg": vision,
        "text_cfg": text,
        "quick_gelu": False,
        "tokenizer": {"kind": "words", "words": WORDS, "context_length": CONTEXT},
    }
    vit = {
        "name": None,
        "arguments": {
            "img_size": SIDE,
            "patch_size": 8,
            "embed_dim": 16,
            "depth": 4,
            "num_heads": 2,
            "num_classes": 0,
        },
        "hooks": None,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for role, kind, architecture in (("clip", "clip", clip), ("dino", "vit", vit)):
            card = FeatureCard(
                role=role,
                kind=kind,
                architecture=architecture,
                image_size_px=SIDE,
                mean=[0.5] * 3,
                std=[0.5] * 3,
                source="random",
            )
            save_feature_net(folder / role, build_feature_net(card), role=role, source="random")


def write_projected_nets(folder: Path, num_classes: int) -> Any:
    """Write a random CNN, and a ViT of as many patches as a projection asks for; return the CNN."""
    import torch

    from models.features import FeatureCard, build_feature_net, save_feature_net

    sizes = {"img_size": SIDE, "patch_size": 4, "embed_dim": 16, "depth": 4, "num_heads": 2}
    vit = {"name": None, "arguments": {**sizes, "num_classes": 0}, "hooks": None}
    cnn = {"name": "test_resnet", "arguments": {"num_classes": num_classes}}
    nets = {}
    for role, kind, architecture, side in (
        ("dino", "vit", vit, SIDE),
        ("classifier", "cnn", cnn, 2 * SIDE),
    ):
        card = FeatureCard(
            role=role,
            kind=kind,
            architecture=architecture,
            image_size_px=side,
            mean=[0.5] * 3,
            std=[0.5] * 3,
            source="random",
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            nets[role] = build_feature_net(card)
        save_feature_net(folder / role, nets[role], role=role, source="random")
    return nets["classifier"]


def write_params(folder: Path, **sections: dict[str, Any]) -> Path:
    """Write a complete params file; a given section's keys replace the defaults."""
    from tests.pipeline.params.params_example import valid

    values = valid()
    values["train_base"] = {**TRAIN, "recipe": dict(RECIPE), "start": "", "revision": 1}
    values["superres"], values["adapt"] = {}, {}
    values["text_encoder"] = {**TRAIN, "recipe": {}, "start": "base", "total_kimg": 0.0}
    values["filter"]["resolution_px"] = SIDE
    values["cluster"] |= {"num_workers": 1, "cpus_per_worker": 1.0, "threads_per_worker": 1}
    values["tracking"]["enabled"] = False
    for name, changes in sections.items():
        _merge(values[name], changes)
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def _merge(values: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, change in changes.items():
        if isinstance(change, dict) and isinstance(values.get(key), dict):
            _merge(values[key], change)
        else:
            values[key] = change


class Sizer:
    """Adds to every row how many came with it: tells one way of batching from another."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**item, "together": len(items) * self.factor} for item in items]


class Crasher:
    """Ends its process without a word at one item, as a crash in a decoder's C code does."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __call__(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if any(item["key"] == self.key for item in items):
            os.kill(os.getpid(), signal.SIGSEGV)
        return items
