"""Put trained nets and a release into the box: `bundled/`, which comes with the project.

    python -m pipeline.commands.bundle --encoders DIR --preset presets/bundled_encoders.yaml
    python -m pipeline.commands.bundle --release DIR --preset presets/shapes_long.yaml

`make encoders` trains the nets and calls the first. Either folder is replaced whole or not at all;
roles that DIR does not hold stay as they are.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from components.code_version import git_commit
from components.durable_files import publish_folder
from components.errors import ConfigError, ResourceError
from components.pretraining.config import BUNDLED
from pipeline.exit_codes import Parser, guarded
from pipeline.places import bundled_folder, set_quiet_environment

LICENCE = "Apache-2.0"
# They are cloned with the code by everybody, and stay in git's history for ever.
MOST_BYTES = {"encoders": 12_000_000, "release": 4_000_000}


def main(argv: list[str] | None = None) -> int:
    """Bundle what the command line names."""
    options = _parser().parse_args(argv)
    set_quiet_environment()
    return guarded(lambda: bundle(options), options.debug)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m pipeline.commands.bundle",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--encoders", type=Path, metavar="DIR", help="nets of the encoders stage")
    parser.add_argument("--release", type=Path, metavar="DIR", help="a release of publish")
    parser.add_argument(
        "--preset", type=Path, required=True, metavar="FILE", help="params file they were made by"
    )
    parser.add_argument(
        "--raw", type=Path, metavar="DIR", help="its drawings; default: they are drawn again"
    )
    parser.add_argument("--commit", help="of the code that trained the nets; default: this one")
    parser.add_argument("--out", type=Path, default=bundled_folder(), help="default %(default)s")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def bundle(options: argparse.Namespace) -> None:
    """Write the nets, the release, or both.

    Raises:
        ConfigError: neither is named, or the preset is wrong.
        ResourceError: they are larger than allowed; nothing is replaced.
        StorageError: a net or the release is missing or damaged.
    """
    from pipeline.params.sections import load_params

    if not options.encoders and not options.release:
        raise ConfigError("nothing to bundle", "--encoders, --release", "name one, or both")
    params = load_params(options.preset)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.encoders:
        with _replaced(options.out / "encoders") as folder:
            _bundle_encoders(options, params, folder)
    if options.release:
        with _replaced(options.out / "release") as folder:
            _bundle_release(options, folder)


@contextmanager
def _replaced(target: Path) -> Iterator[Path]:
    """Give a folder to fill beside the target; it takes the target's place if it is small enough.

    Raises:
        ResourceError: it is larger than allowed.
    """
    building = target.with_name(f"{target.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    try:
        yield building
        size = sum(path.stat().st_size for path in building.rglob("*") if path.is_file())
        most = MOST_BYTES[target.name]
        if size > most:
            what = f"{target.name} has {size:,} bytes, at most {most:,} are allowed"
            raise ResourceError(what, str(target), "train smaller networks")
        publish_folder(building, target)
        print(f"{target}: {size:,} bytes of at most {most:,}")
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _bundle_encoders(options: argparse.Namespace, params: Any, folder: Path) -> None:
    from components.pretraining.bundling import bundle_net, told_data

    old = options.out / "encoders"
    if old.is_dir():
        shutil.copytree(old, folder)
    present = [role for role in BUNDLED if (options.encoders / role / "card.json").is_file()]
    if not present:
        todo = "name what the encoders stage wrote"
        raise ConfigError("no frozen net in it", f"--encoders {options.encoders}", todo)
    with _drawings(options, params) as data:
        for role in present:
            origin = {
                "preset": options.preset.stem,
                "commit": options.commit or git_commit() or "unknown",
                "data": told_data(role, params.synthesize, params.seed),
                "licence": LICENCE,
            }
            shutil.rmtree(folder / role, ignore_errors=True)
            card = bundle_net(role, options.encoders / role, folder / role, data, origin)
            numbers = ", ".join(f"{name} {value:.3f}" for name, value in card.metrics.items())
            print(f"{role}: {card.stored}, {numbers}", flush=True)


@contextmanager
def _drawings(options: argparse.Namespace, params: Any) -> Iterator[Any]:
    """Give the preset's drawings as the encoders stage reads them."""
    from components.data.corpus import write_corpus
    from components.pretraining.training_data import TrainingData

    with tempfile.TemporaryDirectory() as place:
        raw = options.raw
        if raw is None:
            raw = Path(place) / "raw"
            print("drawing again what the preset names", file=sys.stderr, flush=True)
            # Nothing is measured on the other splits, and each is drawn from numbers of its own.
            config = replace(params.synthesize, judge_pairs=0, validation_pairs=0)
            write_corpus(config, params.seed, raw, Path(place) / "truth")
        source = Path(params.source.path)
        yield TrainingData(raw, params.source, source, params.encoders, params.seed, options.out)


def _bundle_release(options: argparse.Namespace, folder: Path) -> None:
    from components.artifacts.bundled_release import bundle_release
    from components.artifacts.release import load_release
    from components.pretraining.clip import all_prompts
    from components.sampling import generate

    _, prompts = all_prompts()

    def draw(release: Path) -> Any:
        model, _ = load_release(release)
        return generate(model, prompts, seeds=list(range(len(prompts))), truncation=1.0)

    card = bundle_release(options.release, folder, {"preset": options.preset.stem}, draw)
    told = ", ".join(f"{name} {value}" for name, value in card["bundled"].items())
    print(f"release: {told}")


if __name__ == "__main__":
    sys.exit(main())
