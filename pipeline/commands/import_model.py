"""`ganline import`: turn a published network's file into an artifact.

Nothing in the file is run.

    ganline import ffhq.pkl --out artifacts/imported
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import ConfigError, StorageError, printable
from pipeline.commands.import_edits import MATRIX, import_directions, import_mapper
from pipeline.exit_codes import Parser, guarded
from pipeline.places import set_quiet_environment

if TYPE_CHECKING:
    from models.interfaces import Recipe
    from models.interop.import_request import Sizes
    from models.interop.importing import Imported

LICENCE_CHARS = 200
EXAMPLES = """\
  ganline import network-snapshot.pkl --out artifacts/imported
  ganline import weights.safetensors --resolution 256 --out artifacts/imported
  ganline import text_model.pkl --encoders artifacts/encoders --out artifacts/imported
  ganline import upsampler/model.safetensors --licence CC-BY-SA-4.0 --out artifacts/upsampler"""


def main(argv: list[str] | None = None) -> int:
    """Run `ganline import`."""
    options = _parser().parse_args(argv)
    set_quiet_environment()
    return guarded(lambda: import_model(options), options.debug)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="ganline import",
        description="Make an artifact of a published network: a snapshot that its authors' code "
        "pickled, or a state dict (.pt, .pth, .pkl, .safetensors). The averaged generator is "
        "taken, and the discriminator if it is one of ours. The file is read without running it.",
        epilog=f"examples:\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the checkpoint")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the artifact")
    parser.add_argument("--force", action="store_true", help="replace what --out names")
    parser.add_argument(
        "--encoders", type=Path, metavar="DIR", help="has the CLIP of a model that takes text"
    )
    parser.add_argument(
        "--statistics", type=Path, metavar="FILE", help="of a direction matrix: S_mean_std"
    )
    parser.add_argument(
        "--model", type=Path, metavar="DIR", help="of a direction matrix: its model"
    )
    parser.add_argument(
        "--licence", default="", metavar="NAME", help="under which the file came; kept in the card"
    )
    told = parser.add_argument_group("what a state dict does not tell")
    told.add_argument("--resolution", type=int, default=0, metavar="PX", help="of the images")
    told.add_argument("--classes", type=int, default=0, metavar="N", help="how many there are")
    told.add_argument(
        "--network", default="", metavar="NAME", help="which one, where it holds several"
    )
    told.add_argument(
        "--labels", type=Path, metavar="FILE", help="names of the classes, UTF-8, one per line"
    )
    told.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="a field of the recipe"
    )
    parser.add_argument(
        "--inert",
        action="append",
        default=[],
        metavar="NAME",
        help="also keep objects of this class as inert records, never run; * for any text",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def import_model(options: argparse.Namespace) -> None:
    """Check the request, read the file, build our networks, write the artifact, say what it is.

    Raises:
        ConfigError: an option is wrong or missing; nothing is written.
        StorageError: the file cannot be read, holds something that is refused, or does not fit.
    """
    from components.artifacts.imported_artifact import with_text_encoder, write_imported

    _check(options)
    if options.file.suffix == MATRIX:
        import_directions(options)
        return
    overrides = _overrides(options.set)
    content = _content(options)
    if import_mapper(content, options):
        return
    if options.out.is_file():
        raise ConfigError(f"{options.out} is a file", "--out", "name a folder")
    imported = _read(content, options, overrides)
    recipe = _recipe(imported.sizes, overrides)
    imported, clip_sha256 = with_text_encoder(imported, options.encoders)
    card = write_imported(
        options.out,
        source=options.file,
        imported=imported,
        recipe=recipe,
        clip_sha256=clip_sha256,
        licence=options.licence,
        label_names=_label_names(options.labels, imported.sizes.shape.num_labels),
    )
    for line in _told(options, imported, card):
        print(printable(line))


def _check(options: argparse.Namespace) -> None:
    if not options.file.is_file():
        raise StorageError("there is no such file", str(options.file), "name a checkpoint")
    if options.out.exists() and not options.force:
        raise ConfigError(f"{options.out} exists", "--out", "name another folder, or add --force")
    for name, value in (("--resolution", options.resolution), ("--classes", options.classes)):
        if value < 0:
            raise ConfigError(f"got {value}", name, "give a number from 1")
    if len(options.licence) > LICENCE_CHARS or not options.licence.isprintable():
        todo = f"give one line of at most {LICENCE_CHARS} characters"
        raise ConfigError("no name of a licence", "--licence", todo)


def _content(options: argparse.Namespace) -> Any:
    """Return what the file holds."""
    from models.interop.checkpoint_file import read_checkpoint
    from models.interop.pickle_values import Refused

    try:
        return read_checkpoint(options.file, options.inert)
    except Refused as error:
        raise _refused(options, error) from error


def _refused(options: argparse.Namespace, error: Exception) -> StorageError:
    todo = "nothing of it was run; --inert NAME keeps a class of that name as an inert record"
    return StorageError(f"refused {error}", str(options.file), todo)


def _read(content: Any, options: argparse.Namespace, overrides: Mapping[str, Any]) -> Imported:
    """Return the file's networks as ours."""
    from models.interop.config_file import config_beside
    from models.interop.import_request import Asked
    from models.interop.importing import import_networks
    from models.interop.pickle_values import Refused
    from models.interop.wrappers import Undecided

    where = str(options.file)
    asked = Asked(
        resolution=options.resolution,
        num_labels=options.classes,
        network=options.network,
        config=config_beside(options.file),
        licence=options.licence,
    )
    try:
        return import_networks(
            content,
            asked,
            lambda sizes: _recipe(sizes, overrides).generator(sizes.resolution, sizes.shape),
        )
    except Refused as error:
        raise _refused(options, error) from error
    except Undecided as error:
        what, _, todo = str(error).rpartition(": ")
        raise ConfigError(what, where, todo) from error
    except ValueError as error:
        todo = "give a checkpoint of a family that ganline has, and the options it needs"
        raise StorageError(" ".join(str(error).split())[:600], where, todo) from error


def _recipe(sizes: Sizes, overrides: Mapping[str, Any]) -> Recipe:
    """Return the recipe that a checkpoint and the user's fields describe; ConfigError if wrong."""
    from components.artifacts.family import recipe_from
    from models.families import recipes
    from pipeline.params.schema import check

    fields = {**sizes.fields, **overrides}
    if sizes.recipe in (known := recipes()):
        _, wrong = check(known[sizes.recipe], fields)
        if wrong:
            keys, what = wrong[0]
            where = f"recipe {sizes.recipe}"
            raise ConfigError(f"{'.'.join(keys)}: {what}", where, "correct --set")
    return recipe_from({"name": sizes.recipe, **fields})


def _overrides(settings: list[str]) -> dict[str, Any]:
    """Return the fields given by --set, their values read as YAML."""
    from pipeline.params.yaml_text import BadYaml, read_yaml

    fields = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        try:
            fields[name] = read_yaml(text)
        except BadYaml:
            equals = ""
        if not equals or not name.isidentifier():
            raise ConfigError(f"got {setting[:60]!r}", "--set", "write --set FIELD=VALUE")
    return fields


def _label_names(path: Path | None, num_labels: int) -> list[str]:
    """Return the names of the classes in a file; none without one."""
    if path is None:
        return []
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"not readable: {error}", "--labels", "give a UTF-8 text file") from error
    if len(names) != num_labels or len({*names, ""}) != num_labels + 1:
        raise ConfigError(
            f"{len({*names} - {''})} names for {num_labels} classes",
            "--labels",
            "give one name per line, each once",
        )
    return names


def _told(options: argparse.Namespace, imported: Imported, card: Mapping[str, Any]) -> list[str]:
    """Return what was read and written, a line each."""
    sizes = imported.sizes
    asked = "nothing else"
    if sizes.shape.pooled_dim:
        asked = f"text ({sizes.shape.pooled_dim} wide)"
    elif sizes.shape.num_labels:
        asked = f"{sizes.shape.num_labels} classes"
    count = sum(x.numel() for x in imported.generator.values())
    decided = ", ".join(f"{name} {value}" for name, value in sorted(sizes.fields.items()))
    return [
        f"read   {options.file}: {imported.title}, {sizes.resolution} px, asked with {asked}, "
        f"{count:,} numbers in the averaged generator",
        f"as     {sizes.recipe}: {decided}",
        *(f"note   {remark}" for remark in imported.remarks),
        f"wrote  {options.out}: {', '.join(sorted(card['files']))}",
    ]


if __name__ == "__main__":
    sys.exit(main())
