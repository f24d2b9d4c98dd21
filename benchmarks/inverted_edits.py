"""Invert drawings of the corpus and edit them: a picture for the page, and what the judge says.

python -m benchmarks.inverted_edits bundled/release --out edited.png [--num 5]

Drawings are held out. Each is inverted (a model of text is asked for its caption), and searched
for the same caption with a blue ground, as `ganline edit --image` does. Rows of the picture: the
drawing, the image of the code that was found, that image edited. The first drawings without blue
are taken, none is left out. Needs the embedded drawings. The same command gives the same bytes on a
CPU.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.judged import Eyes

GROUND = "blue"
WORDS = ("size", "colour", "shape", "background")
SPLIT = "edited"  # a split that no model was trained on


def main(argv: list[str] | None = None) -> int:
    """Invert, edit, write the picture, print a line for each drawing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inverted_edits")
    parser.add_argument("model", type=Path, help="artifact or release")
    parser.add_argument("--encoders", type=Path, default=None, help="default: the bundled ones")
    parser.add_argument("--num", type=int, default=5, help="drawings")
    parser.add_argument("--inversion-steps", type=int, default=100)
    parser.add_argument("--steps", type=int, default=60, help="of the edit")
    parser.add_argument("--space", default="w", choices=("w", "w+", "s"), help="of the edit")
    parser.add_argument("--learning-rate", type=float, default=0.08, help="of the edit")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG")
    options = parser.parse_args(argv)
    from components.artifacts.release import load_release
    from components.evaluation.nets import open_net
    from components.pictures.sheets import image_grid
    from components.requests.subjects import kind_of
    from pipeline.places import bundled_folder

    torch.set_num_threads(1)
    encoders = options.encoders or bundled_folder() / "encoders"
    model, card = load_release(options.model)
    nets = {role: open_net(encoders, role).network for role in ("clip", "dino")}
    eyes, rows, of_text = Eyes(encoders), [], kind_of(card) == "text"
    for shown, image in drawings(options.num, card["resolution_px"]):
        rows.append(np.stack([image, *edited(model, image, shown, nets, of_text, options)]))
        seen = eyes.look(rows[-1]).values
        _, found, after = [" ".join(seen[name][i] for name in WORDS) for i in range(3)]
        drawn = " ".join(shown[name] for name in WORDS)
        print(f"drawn {drawn}; found {found}; edited {after}", flush=True)
    pictures = np.stack(rows, axis=1)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    image_grid(pictures.reshape(-1, *pictures.shape[2:]), len(rows)).save(options.out)
    return 0


def drawings(count: int, resolution: int) -> list[tuple[dict[str, str], np.ndarray]]:
    """Return (what it shows, uint8 [H, W, 3]) of the first drawings without the wanted colour."""
    from components.data.synthetic import draw, sample_pairs

    pairs = sample_pairs(0, SPLIT, range(4 * count + 8))
    images = draw(pairs.attributes, pairs.generators, resolution)
    told = [pairs.values(index) for index in range(len(images))]
    found = [x for x in zip(told, images, strict=True) if GROUND not in x[0].values()]
    return found[:count]


def edited(
    model: Any,
    image: np.ndarray,
    shown: dict[str, str],
    nets: dict[str, Any],
    of_text: bool,
    options: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the image of the code that was found, and that image edited, uint8 [H, W, 3]."""
    from components.data.synthetic import prompt
    from components.editing import ClipText, OptimiseConfig, draw, edit_by_optimising
    from components.inversion import ImageDistance, InversionConfig, find_code
    from components.requests.subjects import NOTHING
    from components.sampling import from_uint8

    condition = model.condition([prompt(**shown) if of_text else NOTHING])
    distance = ImageDistance(from_uint8(image[None]), nets["dino"])
    inversion = InversionConfig(steps=options.inversion_steps)
    ws_1LD = find_code(model.generator, condition, distance, inversion).ws_LD[None]
    config = OptimiseConfig(
        steps=options.steps,
        space=options.space,
        learning_rate=options.learning_rate,
        distance_weight=0.0,
    )
    wanted = prompt(**{**shown, "background": GROUND})
    clip = ClipText(nets["clip"])
    edit = edit_by_optimising(model.generator, ws_1LD, condition, clip, wanted, config)
    before, after = draw(model.generator, edit, condition, [0.0, 1.0])
    return before, after


if __name__ == "__main__":
    raise SystemExit(main())
