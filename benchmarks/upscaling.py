"""How much time and memory `ganline upscale` takes as the picture grows.

python -m benchmarks.upscaling [--sizes 256x256 1024x256 256x1024 1024x1024] [--json FILE]

The upsampler is random and small: AuraSR's shape, 64 px tiles made 4 times as large, 8 channels at
the largest size. Each size (width x height of the input) is a command of its own, on one thread;
its seconds are the processor's, its peak is that of the whole process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TILE_PX, FACTOR = 64, 4
SMALL: dict[str, Any] = {
    "parts": "upsampler",
    "base_px": TILE_PX,
    "words": "none",
    "up_text": False,
    "up_pyramid": False,
    "up_range": "0..1",
    "up_dim": 8,
    "up_blocks": 1,
    "up_heads": 2,
    "up_head_dim": 16,
    "up_attention_depths": (0, 0, 0, 0, 1),
    "up_middle_depth": 1,
    "up_style_dim": 32,
}


def main(argv: list[str] | None = None) -> int:
    """Measure all sizes, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.upscaling", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    sizes = ["256x256", "1024x256", "256x1024", "1024x1024"]
    parser.add_argument("--sizes", nargs="+", default=sizes, metavar="WxH", help="of the inputs")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.case:
        print(json.dumps(_measure(*map(Path, options.case))))
        return 0
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        _write_model(model)
        for size in options.sizes:
            picture = Path(folder) / f"{size}.png"
            _write_picture(picture, *map(int, size.split("x")))
            case = [str(picture), str(model), str(Path(folder) / "big.png")]
            command = [sys.executable, "-m", "benchmarks.upscaling", "--case", *case]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                command, check=True, capture_output=True, text=True, env=environment
            )
            rows.append({"input": size, **json.loads(done.stdout.splitlines()[-1])})
            print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


def _measure(picture: Path, model: Path, out: Path) -> dict[str, Any]:
    """Enlarge the picture by the command; say what that took beyond a picture of one tile."""
    import time

    from pipeline.commands.upscale import main as upscale

    tile = picture.with_name("tile.png")
    _write_picture(tile, TILE_PX, TILE_PX)
    small, big = (
        [str(x), "--model", str(model), "--force", "--out", str(out)] for x in (tile, picture)
    )
    assert upscale(small) == 0
    before, started = _peak_mib(), time.process_time()
    assert upscale(big) == 0
    return {
        "cpu_s": round(time.process_time() - started, 1),
        "peak_mib": round(_peak_mib()),
        "beyond_one_tile_mib": round(_peak_mib() - before),
        "file_mib": round(out.stat().st_size / 2**20, 1),
    }


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _write_model(folder: Path) -> None:
    import torch

    from components.artifacts.artifact import write_artifact
    from models.gigagan.recipe import GigaGAN
    from models.interfaces import ConditionShape

    torch.manual_seed(0)
    recipe = GigaGAN(**SMALL)
    network = recipe.generator(TILE_PX * FACTOR, ConditionShape())
    write_artifact(
        folder,
        recipe=recipe,
        resolution=TILE_PX * FACTOR,
        shape=ConditionShape(),
        generator_state=network.state_dict(),
        nimg=0,
        seed=0,
    )


def _write_picture(path: Path, width: int, height: int) -> None:
    import numpy as np
    from PIL import Image

    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    noise = np.random.default_rng(0).integers(0, 40, (height, width))
    pixels = np.stack([200 * x + noise, 200 * y + noise, 200 * x * y + noise], axis=2)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


if __name__ == "__main__":
    sys.exit(main())
