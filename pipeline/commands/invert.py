"""`ganline invert`: find the code of an image, to draw it, mix it or walk from it.

The published model does this.

    ganline invert photo.png "a red ring" --out photo/ --pivotal 350
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable
from dataclasses import astuple, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.artifacts.artifact import read_card
from components.errors import ConfigError, DataError, StorageError
from components.pictures.picture_files import check_work_folder, written_beside
from components.requests.images import check_prompt
from components.requests.inversion import InversionConfig
from components.requests.subjects import kind_of, label_names
from pipeline.commands.default_folders import chosen, frozen_nets, tell_whose
from pipeline.commands.sampling_options import asked_for
from pipeline.exit_codes import Parser, guarded
from pipeline.places import set_quiet_environment

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from components.inversion import ImageDistance, Inversion, Step

CODE, PAIR, CURVE, TUNED = "code.safetensors", "reconstruction.png", "distance.csv", "tuned"
ROLES = ("classifier", "dino")  # in this order, unless --features names another
EXAMPLES = """\
  ganline invert photo.png "a red ring" --out photo/
  ganline invert photo.png "a red ring" --layers each --pivotal 350 --out photo/
  ganline invert photo.png --label 3 --out photo/   # a model of classes; without --label: guessed
  ganline generate --code photo/code.safetensors --psi 0.8 --out again.png
  ganline generate --code photo/code.safetensors --model photo/tuned --out tuned.png"""


def main(argv: list[str] | None = None) -> int:
    """Run `ganline invert`."""
    options = _parser().parse_intermixed_args(argv)  # the prompt may stand behind the options
    set_quiet_environment()
    return guarded(lambda: invert(options), options.debug)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="ganline invert",
        description="Find the code whose image is nearest to the given one; with --pivotal, also "
        "tune the generator around it, into a release of its own.",
        epilog=f"examples:\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = InversionConfig()
    parser.add_argument("image", type=Path, metavar="IMAGE", help="a JPEG, PNG or WebP file")
    parser.add_argument(
        "prompt", nargs="?", metavar="PROMPT", help="what the image shows, for a model of text"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="to be made")
    parser.add_argument("--force", action="store_true", help="replace an earlier result there")
    parser.add_argument(
        "--label", metavar="NAME|INDEX", help="for a model of classes; default: guessed"
    )
    parser.add_argument("--steps", type=int, default=default.steps, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=default.seed, help="default %(default)s")
    parser.add_argument(
        "--layers",
        choices=("one", "each"),
        default=default.layers,
        help="one code for all layers (default), or one for each: closer, and mixes worse",
    )
    parser.add_argument(
        "--pivotal",
        type=int,
        default=default.pivotal_steps,
        metavar="STEPS",
        help="tune the generator around the code, as 350; default: do not",
    )
    parser.add_argument(
        "--features",
        metavar="ROLE",
        help="frozen net of the distance, or none: pixels alone; default: the first of "
        f"{', '.join(ROLES)}",
    )
    parser.add_argument(
        "--encoders",
        type=Path,
        metavar="DIR",
        help="frozen nets; default: the encoders stage's, or bundled",
    )
    parser.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        help="a release; default: what publish made, or bundled",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def invert(options: argparse.Namespace) -> None:
    """Check the request, search, tune if asked, write one folder, say what was found.

    Raises:
        ConfigError: an option is not allowed; nothing is written.
        DataError: the image cannot be read.
        NonFiniteError: the distance became NaN or infinite.
        StorageError: the model or a frozen net is missing or damaged.
    """
    config = InversionConfig(
        steps=options.steps,
        layers=options.layers,
        seed=options.seed,
        pivotal_steps=options.pivotal,
    )
    check_work_folder(options.out, (CODE, PAIR, CURVE, TUNED), replace=options.force)
    options.prompts = [options.prompt] if options.prompt else []
    options.label = [options.label] if options.label is not None else []
    if not options.image.is_file():
        raise DataError("no such file", str(options.image), "give a JPEG, PNG or WebP file")
    options.model = chosen(options.model)
    asked = _asked(options)
    tell_whose(options.model)

    import torch

    from components.artifacts.release import load_release
    from components.inversion import ImageDistance, invert_image, read_target
    from components.sampling import from_uint8

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, card = load_release(options.model, device)
    pixels_HWC, remark = read_target(options.image, card["resolution_px"])
    if remark:
        _say(f"{options.image}: {remark}")
    folder, net = _feature_net(options, device)
    _say(f"distance: pixels{f' and the features of {folder.name}' if folder else ' alone'}")
    distance = ImageDistance(from_uint8(pixels_HWC[None]).to(device), net)
    subject = asked or _guessed(model, card, distance, folder)
    result = invert_image(model, card, subject, distance, config, _progress(config))
    with written_beside(options.out, folder=True) as out:
        out.mkdir()
        _write(out, result, pixels_HWC, model, options.model)
    _report(options.out, result)


def _feature_net(options: argparse.Namespace, device: str) -> tuple[Path | None, Any]:
    """Return the net of the distance's features and its folder; (None, None) for pixels alone."""
    from models.features import load_feature_net

    if options.features == "none":
        return None, None
    folder = options.encoders or frozen_nets()
    roles = (options.features,) if options.features else ROLES
    there = [role for role in roles if (folder / role / "card.json").is_file()]
    if not there:
        raise StorageError(
            f"no frozen net for {' or '.join(roles)}",
            str(folder),
            "run the encoders stage, name --encoders, or compare pixels with --features none",
        )
    try:
        return folder / there[0], load_feature_net(folder / there[0]).to(device)
    except ValueError as error:
        raise StorageError(str(error), str(folder), "run the encoders stage again") from error


def _asked(options: argparse.Namespace) -> str:
    """Return the prompt or class that is asked for, before anything is loaded; "" = guess it.

    Raises:
        ConfigError: the model is asked with something else.
    """
    if not (options.label or options.prompts) and kind_of(read_card(options.model)) == "label":
        return ""
    asked = asked_for(options)
    if not asked:
        raise ConfigError("no prompt", "PROMPT", "say behind the file what the image shows")
    check_prompt(asked[0])
    return asked[0]


def _guessed(
    model: Any, card: dict[str, Any], distance: ImageDistance, net_folder: Path | None
) -> str:
    """Return the class that the image seems to show."""
    from components.inversion import guess_label

    names = label_names(card)
    logit_K = _logits_of(names, net_folder)
    name = names[guess_label(model.generator, len(names), distance, logit_K)]
    by = "the nearest mean image" if logit_K is None else "the classifier"
    _say(f"label: {name}, by {by}; --label names another")
    return name


def _logits_of(names: list[str], net_folder: Path | None) -> Tensor | None:
    """Return which logits of the frozen net stand for these classes; None where it knows others."""
    from components.pretraining.class_features import read_classes

    try:
        table = read_classes(net_folder, names) if net_folder else None
    except ConfigError:
        return None
    return table.logit_K if table else None


def _write(
    folder: Path, result: Inversion, original_HWC: np.ndarray, model: Any, source: Path
) -> None:
    """Write the code, the pictures side by side, the record and the tuned release."""
    from components.artifacts.release import write_tuned_release
    from components.inversion import Step
    from components.pictures.sheets import image_grid
    from components.sampling import write_code

    write_code(folder / CODE, result.code)
    pictures = {"original": original_HWC, **result.pictures}
    sheet = image_grid(list(pictures.values()), len(pictures), list(pictures))
    sheet.save(folder / PAIR)
    with (folder / CURVE).open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(field.name for field in fields(Step))
        rows.writerows(astuple(step) for step in result.steps)
    if "tuned" in result.pictures:
        write_tuned_release(
            folder / TUNED,
            source=source,
            generator=model.generator,
            samples=sheet,
            facts={**result.code.facts, "distance": result.steps[-1].distance},
        )


def _report(out: Path, result: Inversion) -> None:
    found, last = result.code.facts["distance"], result.steps[-1]
    print(f"{out}: distance {found:.4g} (mean image {result.mean_distance:.4g})", end="")
    print(f", tuned {last.distance:.4g}" if "tuned" in result.pictures else "")


def _progress(config: InversionConfig) -> Callable[[Step], None]:
    """Return what says every tenth of the way."""
    totals = {"code": config.steps, "pivotal": config.pivotal_steps}

    def report(step: Step) -> None:
        total = totals[step.phase]
        if step.step * 10 // total > (step.step - 1) * 10 // total:
            _say(f"{step.phase}: step {step.step} of {total}, distance {step.distance:.4g}")

    return report


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
