"""Sampling: prompts, classes or nothing to images, alone, mixed, or as a walk between them.

from components.release import load_release
from components.sampling import generate

model, card = load_release("artifacts/release")
images = generate(model, ["a red ring"] * 4, seeds=[0, 1, 2, 3], truncation=0.7)
"""

from components.sampling.draw import (
    BATCH,
    Noise,
    device_of,
    evaluation_mode,
    from_uint8,
    generate,
    generate_batches,
    generate_from,
    seed_noise,
    to_uint8,
)
from components.sampling.mixing import mix, num_layers
from components.sampling.walk import Keyframe, Space, slerp, walk

__all__ = [
    "BATCH",
    "Keyframe",
    "Noise",
    "Space",
    "device_of",
    "evaluation_mode",
    "from_uint8",
    "generate",
    "generate_batches",
    "generate_from",
    "mix",
    "num_layers",
    "seed_noise",
    "slerp",
    "to_uint8",
    "walk",
]
