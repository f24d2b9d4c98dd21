"""`ganline export`: write the published model for programs that have none of our code.

ganline export --onnx --out exported
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from components.errors import ConfigError
from pipeline.commands.default_folders import chosen, tell_whose
from pipeline.commands.sampling_options import add_model
from pipeline.exit_codes import Parser, guarded
from pipeline.places import set_quiet_environment

EXAMPLES = """examples:
  ganline export --onnx
  ganline export --onnx --torch --out exported/shapes
  ganline export --onnx --model artifacts/release --force
"""


def main(argv: list[str] | None = None) -> int:
    """Run `ganline export`."""
    parser = Parser(
        prog="ganline export",
        description="Write generator and text encoder as ONNX files, as programs of torch.export, "
        "or both, for batches of 1 to 8 images. Each file is run and compared with the network "
        "before it is kept; a family that cannot be exported is refused.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--onnx", action="store_true", help="write .onnx files")
    parser.add_argument("--torch", action="store_true", help="write .pt2 files of torch.export")
    parser.add_argument(
        "--out", type=Path, default=Path("exported"), metavar="DIR", help="default exported"
    )
    parser.add_argument("--force", action="store_true", help="replace what --out names")
    add_model(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(argv)
    set_quiet_environment()
    return guarded(lambda: _export(options), options.debug)


def _export(options: argparse.Namespace) -> None:
    if not (options.onnx or options.torch):
        raise ConfigError("no form to export", "--onnx", "say --onnx, --torch or both")
    out: Path = options.out
    if out.is_symlink() or out.is_file() or (out.exists() and not options.force):
        raise ConfigError("there is something already", str(out), "name another folder, or --force")
    folder = chosen(options.model)

    from components.artifacts.portable import INDEX, export_model
    from components.artifacts.release import load_release

    if out.exists() and not (out / INDEX).is_file():
        todo = "name another folder; --force replaces only what ganline export wrote"
        raise ConfigError("this folder is no export", str(out), todo)
    tell_whose(folder)
    model, card = load_release(folder)
    index = export_model(model, card, out, onnx=options.onnx, program=options.torch)
    for name, network in index["networks"].items():
        differences = network["largest_difference"]
        found = ", ".join(f"{form} {worst:.1e}" for form, worst in differences.items())
        print(f"{name}: largest difference from the network over batches of 1 to 8: {found}")
    print(f"{out}: {', '.join(index['files'])}, {INDEX}")


if __name__ == "__main__":
    sys.exit(main())
