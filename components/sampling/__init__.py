"""Draw, mix and walk between images from prompts, classes, codes or nothing; nothing is trained.

Example:

    from components.artifacts.release import load_release
    from components.sampling import generate

    model, card = load_release("artifacts/release")
    images = generate(model, ["a red ring"] * 4, seeds=[0, 1, 2, 3], truncation=0.7)
"""

from components.sampling.draw import (
    BATCH,
    Noise,
    from_uint8,
    generate,
    generate_batches,
    generate_from,
    seed_noise,
    to_uint8,
)
from components.sampling.mixing import mix, num_layers
from components.sampling.modes import device_of, evaluation_mode
from components.sampling.stored_code import (
    StoredCode,
    check_codes,
    draw_codes,
    read_code,
    walk_codes,
    write_code,
)
from components.sampling.truncation import Towards, fit_centroids
from components.sampling.upscaling import Blend, beside_bicubic, upscale, upscaler_of
from components.sampling.walk import Keyframe, Space, slerp, walk

__all__ = [
    "BATCH",
    "Blend",
    "Keyframe",
    "Noise",
    "Space",
    "StoredCode",
    "Towards",
    "beside_bicubic",
    "check_codes",
    "device_of",
    "draw_codes",
    "evaluation_mode",
    "fit_centroids",
    "from_uint8",
    "generate",
    "generate_batches",
    "generate_from",
    "mix",
    "num_layers",
    "read_code",
    "seed_noise",
    "slerp",
    "to_uint8",
    "upscale",
    "upscaler_of",
    "walk",
    "walk_codes",
    "write_code",
]
