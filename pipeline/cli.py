"""`ganline`: one sub-command per stage of dvc.yaml, and the tools around them.

Nothing heavy is imported here; a sub-command imports what it needs, after its arguments are read.
"""

from __future__ import annotations

import argparse
import difflib
import os
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from components.errors import ConfigError
from pipeline.exit_codes import Parser, guarded
from pipeline.graph import find_node, keyed_stages, read_graph, stage_titles

Main = Callable[[list[str] | None], int]

TRAINING = ("train_base", "superres", "text_encoder", "adapt")
# `ganline tune --trials 20` is short for `--set tune.trials=20`.
TUNE_OPTIONS = ("trials", "concurrent", "kimg", "search")
EXAMPLES = """examples:
  ganline generate "a large red ring on a blue background" --seed 3 -n 4 --out ring.png
  ganline interpolate "a red ring" "a blue cross" --seed 3 --loop --out walk.mp4
  ganline train_base --dry-run
  ganline superres 64 --dry-run
  ganline tune --trials 20
  ganline report
"""


def main(argv: list[str] | None = None) -> int:
    """Run one sub-command and return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    tools = _tools()
    name = argv[0] if argv else ""
    if name in tools:
        return tools[name][1]()(argv[1:])
    try:
        stages = stage_titles()
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if name in stages:
        return run_stage_command(name, argv[1:])
    if name and not name.startswith("-"):
        print(f"error: {_unknown(name, [*tools, *stages])}", file=sys.stderr)
        return ConfigError.exit_code
    parser = _parser(tools, stages)
    parser.parse_args(argv)  # prints help or says what is wrong
    parser.print_help()
    return 0


def _unknown(name: str, known: list[str]) -> str:
    """Say that a word is no command, and which one it may stand for."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    todo = f"did you mean {near[0]}?" if near else "ganline --help lists all"
    return f"no command {name[:40]!r}: {todo}"


def run_stage_command(stage: str, argv: list[str]) -> int:
    """Run a stage's command of dvc.yaml, outside DVC, with more arguments appended."""
    parser = _stage_parser(stage)
    options = parser.parse_args(argv)
    extra = ["--params", str(options.params)]
    for setting in options.set:
        extra += ["--set", setting]
    for name in TUNE_OPTIONS if stage == "tune" else ():
        if getattr(options, name) is not None:
            extra += ["--set", f"tune.{name}={getattr(options, name)}"]
    flags = ("dry_run", "debug", "no_fallback", "quiet")
    extra += [f"--{flag.replace('_', '-')}" for flag in flags if getattr(options, flag, False)]
    return guarded(lambda: _become(stage, options, extra), options.debug)


def _become(stage: str, options: argparse.Namespace, extra: list[str]) -> None:
    """Replace this process by the stage's command, so that signals and exit code are its own."""
    node = find_node(read_graph(options.params), stage, getattr(options, "key", ""))
    words = shlex.split(node.command)
    if words[0] == "python":
        words[0] = sys.executable
    if not options.dry_run:
        print(
            f"{node.name}: run outside DVC; `dvc repro` would run it again as params.yaml says",
            file=sys.stderr,
        )
    sys.stdout.flush()
    sys.stderr.flush()
    os.environ["PYTHONPATH"] = os.pathsep.join(
        part for part in (os.getcwd(), os.environ.get("PYTHONPATH")) if part
    )
    os.execvp(words[0], [*words, *extra])


def _tools() -> dict[str, tuple[str, Callable[[], Main]]]:
    """Return sub-command -> what it does, and a function that imports its `main`."""
    named = {
        "attributes": "say which style channels move with a text",
        "blend": "interpolate the weights of two models of one parent",
        "edit": "change an image by words",
        "generate": "draw what a prompt says with the published model",
        "interpolate": "animate a walk between prompts or seeds",
        "invert": "find the code of an image, and tune the model around it",
        "mix": "mix the styles of two sets of seeds",
        "sweep": "draw the same seeds at several truncations",
        "upscale": "enlarge a picture with a model's upsampler",
        "cascade": "join a base and upsamplers to one model",
        "app": "open a page to type a prompt and see pictures",
        "serve": "answer prompts with images over HTTP on 127.0.0.1",
        "export": "write the model as ONNX files, or for torch.export",
        "init": "look at your pictures and write a params.yaml for them",
        "import": "make an artifact of a published network's file",
        "benchmark_coco": "measure FID and CLIP score on COCO, zero-shot",
        "repro": "check params.yaml, then run what has changed, as make demo does",
        "report": "write one HTML page about the last run",
        "summary": "say in short what the last run did, and write it as JSON",
        "data": "say what is in a folder of images, and how to set source",
        "doctor": "check versions, GPU, disk, memory, encoders, DVC, git, ports",
        "ui": "show the runs in MLflow on 127.0.0.1",
        "states": "list and verify the resumable states of a run",
        "sync": "send to MLflow what could not be sent during a run",
    }
    return {name: (title, partial(_main_of, name)) for name, title in named.items()}


def _main_of(command: str) -> Main:
    """Import one command; the others, and what they load, stay out of this process."""
    match command:
        case "attributes":
            from pipeline.commands.attributes import main
        case "blend":
            from pipeline.commands.blend import main
        case "edit":
            from pipeline.commands.edit import main
        case "generate":
            from pipeline.commands.generate import main
        case "interpolate":
            from pipeline.commands.interpolate import main
        case "invert":
            from pipeline.commands.invert import main
        case "mix":
            from pipeline.commands.mix import main
        case "sweep":
            from pipeline.commands.sweep import main
        case "serve":
            from pipeline.commands.serve import main
        case "export":
            from pipeline.commands.export import main
        case "init":
            from pipeline.commands.init import main
        case "benchmark_coco":
            from pipeline.commands.benchmark_coco import main
        case "report":
            from pipeline.commands.report import main
        case "summary":
            from pipeline.commands.summary import main
        case "data":
            from pipeline.commands.data import main
        case "doctor":
            from pipeline.commands.doctor import main
        case "ui":
            from pipeline.commands.ui import main
        case "states":
            from pipeline.commands.states import main
        case "upscale":
            from pipeline.commands.upscale import main
        case "cascade":
            from pipeline.commands.cascade import main
        case "sync":
            from pipeline.commands.sync import main
        case "app":
            from pipeline.commands.app import main
        case "import":
            from pipeline.commands.import_model import main
        case "repro":
            from pipeline.commands.demo import main
        case _:
            raise AssertionError(command)
    return main


def _parser(
    tools: dict[str, tuple[str, Callable[[], Main]]], stages: dict[str, str]
) -> argparse.ArgumentParser:
    parser = Parser(
        prog="ganline",
        description="Train fast text-to-image GANs on your own image-text pairs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print it and exit")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    for name, (title, _) in tools.items():
        commands.add_parser(name, help=title)
    for name, title in stages.items():
        commands.add_parser(name, help=_without_templates(title))
    if not stages:
        parser.epilog = "The stages of the pipeline appear here in a folder with a dvc.yaml."
    return parser


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from importlib.metadata import version

        print(f"ganline {version('ganline')}")
        parser.exit()


EXAMPLE_KEYS = {"superres": " 64", "adapt": " sketch"}


def _stage_parser(stage: str) -> argparse.ArgumentParser:
    title = _without_templates(stage_titles()[stage])
    named = f"ganline {stage}{EXAMPLE_KEYS.get(stage, '')}"
    examples = ("", " --set seed=2", " --params presets/shapes_long.yaml")
    parser = Parser(
        prog=f"ganline {stage}",
        description=title,
        epilog="examples:\n" + "\n".join(f"  {named}{more} --dry-run" for more in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if stage in keyed_stages():
        parser.add_argument("key", metavar="KEY", help="entry of the section, as 64")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), metavar="FILE")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override one parameter"
    )
    for name in TUNE_OPTIONS if stage == "tune" else ():
        parser.add_argument(f"--{name}", help=f"short for --set tune.{name}=...")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the resolved parameters, sizes and estimates; write nothing",
    )
    if stage in TRAINING:
        parser.add_argument(
            "--no-fallback", action="store_true", help="refuse an older state than the newest"
        )
    parser.add_argument("--quiet", action="store_true", help="say nothing but warnings and errors")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _without_templates(text: str) -> str:
    return text.replace("${key}", "<key>")


if __name__ == "__main__":
    sys.exit(main())
