"""`ganline generate`: prompts to images with the published model; needs neither MLflow nor Ray.

ganline generate "a large red ring on a blue background" --seed 3 -n 4 --out ring.png
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from components.errors import ConfigError
from components.image_request import ImageRequest
from components.subjects import subjects
from pipeline.places import repository, set_quiet_environment
from pipeline.stage import guarded

FORMATS = (".png", ".webp", ".jpg", ".jpeg")


def main(argv: list[str] | None = None) -> int:
    """Draw what the prompts say and save one grid."""
    options = _parser().parse_args(argv)
    set_quiet_environment()
    return guarded(lambda: generate(options), options.debug)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ganline generate", description="Draw what a prompt says with the published model."
    )
    parser.add_argument("prompts", nargs="*", metavar="PROMPT", help="one row of images each")
    parser.add_argument(
        "--prompts", dest="file", type=Path, metavar="FILE", help="more prompts, one per line"
    )
    parser.add_argument(
        "--label", action="append", default=[], metavar="NAME", help="a class, for a model of them"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the first image of a row")
    parser.add_argument("-n", "--number", type=int, default=1, help="images per prompt")
    parser.add_argument(
        "--psi", type=float, default=1.0, help="truncation: 1 full variety, 0 the mean image"
    )
    parser.add_argument("--out", type=Path, default=Path("images.png"), help="where to save")
    parser.add_argument(
        "--model", type=Path, metavar="DIR", help="a release; default: what publish made"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def generate(options: argparse.Namespace) -> None:
    """Check the request, load the model, draw, save, say where.

    Raises:
        ConfigError: the request or the output's name is not allowed; nothing is written.
        StorageError: there is no model.
    """
    folder = options.model or published()
    asked = (*options.prompts, *_read_prompts(options.file))
    request = ImageRequest(
        prompts=subjects(folder, asked, options.label),
        seed=options.seed,
        images_per_prompt=options.number,
        truncation=options.psi,
    )
    if options.out.suffix.lower() not in FORMATS or options.out.is_dir():
        raise ConfigError(
            f"cannot save an image as {options.out.name}",
            "--out",
            f"end it in {', '.join(FORMATS)}",
        )
    import torch

    from components.release import load_release
    from components.sampling import generate as sample

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, _ = load_release(folder, device)
    prompts, seeds = request.rows()
    started = time.monotonic()
    images = sample(model, prompts, seeds, request.truncation)
    seconds = (time.monotonic() - started) / len(images)
    _save(images, request, options.out)
    plural = "s" if len(images) > 1 else ""
    print(f"{options.out}: {len(images)} image{plural}, {seconds:.3f} s per image")


def published() -> Path:
    """Return the folder that the publish stage writes, as dvc.yaml has it."""
    import yaml

    graph = repository() / "dvc.yaml"
    try:
        (out, *_) = yaml.safe_load(graph.read_text())["stages"]["publish"]["outs"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        raise ConfigError(
            "no model named", "--model", "name one, or run this in the repository"
        ) from None
    return graph.parent / (out if isinstance(out, str) else next(iter(out)))


def _read_prompts(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot be read: {type(error).__name__}", str(file), "give a UTF-8 text file"
        ) from error
    return [line for line in lines if line.strip()]


def _save(images: Any, request: ImageRequest, out: Path) -> None:
    """Save one image as it is, several as a grid: a captioned row per prompt when they differ."""
    from PIL import Image

    from components.sheets import image_grid

    if len(images) == 1:
        picture = Image.fromarray(images[0])
    elif len(request.prompts) == 1:
        columns = min(len(images), max(4, round(len(images) ** 0.5)))
        picture = image_grid(images, columns)
    else:
        picture = image_grid(images, request.images_per_prompt, request.prompts)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.stem}.tmp{out.suffix}")
    picture.save(temporary)
    os.replace(temporary, out)


if __name__ == "__main__":
    sys.exit(main())
