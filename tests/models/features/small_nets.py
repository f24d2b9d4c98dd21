"""One small net of each kind, with random weights."""

from models.features import AttributeNet, ClipNet, CnnNet, VitNet
from models.features.lpips import LpipsNet

PREPROCESSING = {"image_size_px": 32, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
WORDS = ["a", "blue", "circle", "red"]


def small_clip(context_length: int = 8, **text) -> ClipNet:
    """Return a CLIP; `text` is added to its text_cfg."""
    architecture = {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": 32,
            "patch_size": 8,
            "width": 32,
            "head_width": 16,
            "layers": 2,
        },
        "text_cfg": {
            "context_length": context_length,
            "vocab_size": 8,
            "width": 32,
            "heads": 2,
            "layers": 2,
        }
        | text,
        "tokenizer": {"kind": "words", "words": WORDS, "context_length": context_length},
    }
    return ClipNet.build(architecture, **PREPROCESSING)


def small_vit(num_classes: int = 0, **arguments) -> VitNet:
    arguments = {
        "img_size": 32,
        "patch_size": 8,
        "embed_dim": 24,
        "depth": 8,
        "num_heads": 2,
        "num_classes": num_classes,
    } | arguments
    return VitNet.build({"name": None, "arguments": arguments, "hooks": None}, **PREPROCESSING)


def small_cnn() -> CnnNet:
    architecture = {"name": "test_efficientnet", "arguments": {"num_classes": 7}}
    return CnnNet.build(architecture, **PREPROCESSING)


def small_judge() -> AttributeNet:
    architecture = {
        "widths": [8, 12],
        "strides": [2, 2],
        "pooled_dim": 6,
        "classes": {"shape": ["circle", "ring", "cross"], "size": ["small", "large"]},
    }
    return AttributeNet.build(architecture, **PREPROCESSING)


def small_lpips() -> LpipsNet:
    return LpipsNet.build({"widths": [4, 4, 6, 6, 8]}, **PREPROCESSING)


SMALL_NETS = {
    "clip": small_clip,
    "vit": small_vit,
    "cnn": small_cnn,
    "attributes": small_judge,
    "lpips": small_lpips,
}
