"""`ganline serve` and `ganline app`: answer prompts with images on 127.0.0.1.

ganline serve
ganline serve artifacts/release --port 8080
ganline serve models:/ganline-shapes@champion
ganline app
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from components.errors import ConfigError, GanlineError, StorageError
from pipeline.commands.default_folders import folder_of, published
from pipeline.commands.ui import HOST, port_is_free
from pipeline.exit_codes import guarded
from pipeline.places import bundled_folder, runs_folder, set_quiet_environment
from pipeline.serving.kept_up import end_with_parent, kept_up

REGISTERED = "models:/"
FOLLOW_S = 5.0  # between two looks at where an alias points
SERVE_PORT, APP_PORT = 5001, 7860
Places = dict[str, tuple[str, Callable[[], Path]]]
SERVE_EXAMPLES = """\
  ganline serve                                      # what publish made, else the bundled model
  ganline serve models:/ganline-shapes@champion      # from the project's registry
  ganline serve artifacts/release --port 8080 --timeout 10"""
APP_EXAMPLES = """\
  ganline app                                        # then open the address that it prints
  ganline app artifacts/release
  ganline app --port 8000"""


def main(argv: list[str] | None = None) -> int:
    """Run `ganline serve`."""
    return _command(_parser("serve", SERVE_EXAMPLES, SERVE_PORT), argv, with_page=False)


def app_main(argv: list[str] | None = None) -> int:
    """Run `ganline app`."""
    return _command(_parser("app", APP_EXAMPLES, APP_PORT), argv, with_page=True)


def _parser(name: str, examples: str, port: int) -> argparse.ArgumentParser:
    what = {
        "serve": "Answer prompts with images over HTTP, on this machine: docs/serving.md.",
        "app": "Open a page to type a prompt and see pictures; no request leaves this machine.",
    }[name]
    parser = argparse.ArgumentParser(
        prog=f"ganline {name}",
        description=what,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model",
        nargs="?",
        default="",
        metavar="MODEL",
        help="a folder, or models:/NAME@ALIAS or models:/NAME/VERSION of the registry; default: "
        "what publish made, else the bundled one",
    )
    parser.add_argument("--port", type=int, default=port, help="default %(default)s")
    parser.add_argument(
        "--timeout",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="a request that waits longer is refused; default %(default)g",
    )
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), metavar="FILE")
    # How the command calls itself: the process that answers, on a socket which is open already.
    parser.add_argument("--socket", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _command(parser: argparse.ArgumentParser, argv: list[str] | None, *, with_page: bool) -> int:
    argv = sys.argv[1:] if argv is None else argv
    options = parser.parse_args(argv)
    set_quiet_environment()
    if options.socket >= 0:
        return guarded(lambda: serve(options, with_page=with_page), options.debug)
    codes: list[int] = []
    name = "app" if with_page else "serve"

    def work() -> None:
        _check(options)
        codes.append(kept_up([name, *argv], (HOST, options.port), say=print))

    return guarded(work, options.debug) or codes[0]


def _check(options: argparse.Namespace) -> None:
    """Raise ConfigError when the port is taken, or an option is not allowed."""
    if not 0 < options.timeout <= 3600:
        raise ConfigError(f"timeout is {options.timeout:g}", "--timeout", "use up to 3600 seconds")
    if not 1 <= options.port <= 65535 or not port_is_free(options.port):
        todo = "stop what listens there, or give another with --port"
        raise ConfigError(f"port {options.port} is taken", "--port", todo)


def serve(options: argparse.Namespace, *, with_page: bool) -> None:
    """Open the model, then answer on the socket that this process was given, until stopped.

    Raises:
        StorageError: there is no such model, or it is damaged.
    """
    end_with_parent()
    places = places_of(options.model, options.params, everything=with_page)

    import uvicorn

    from pipeline.serving.models import Models
    from pipeline.serving.web import web_app

    models = Models(places)
    first = models.get().facts()  # a broken model ends the command, not the first request
    if options.model.startswith(REGISTERED) and "@" in options.model:
        models.follow(options.model, _version_of(options.model, options.params), FOLLOW_S)
    web = web_app(models, timeout_s=options.timeout, with_page=with_page)
    address = f"http://{HOST}:{options.port}"
    size, name = first["resolution_px"], first["name"] or options.model or "the model"
    print(f"{name}, {size} px: {address}{'' if with_page else '/v1/images'}", flush=True)
    print("stop with Ctrl-C", flush=True)
    settings = uvicorn.Config(web, log_level="warning", access_log=False, lifespan="off")
    try:
        with socket.socket(fileno=options.socket) as listening:
            uvicorn.Server(settings).run(sockets=[listening])
    except KeyboardInterrupt:  # uvicorn has answered what was open, and hands the signal on
        print("stopped", flush=True)
    finally:
        models.close()


def places_of(model: str, params: Path, *, everything: bool) -> Places:
    """Return where the models are, the default first.

    Args:
        model: as typed; "" = the default.
        params: names the tracking store.
        everything: also list what else can be drawn with here.
    """
    places: Places = {}
    if model:
        places[model] = (model, _finder(model, params))
    else:
        folder = published()
        bundled = folder == bundled_folder() / "release"
        places["bundled" if bundled else "release"] = (
            "bundled model" if bundled else "last release",
            lambda: folder,
        )
    if everything:
        places = {**places, **_others(params), **places}
    return places


def _others(params: Path) -> Places:
    """Return every model that this project has: bundled, released, registered, on disk."""
    found: Places = {}
    release, bundled = _release(), bundled_folder() / "release"
    if release and release.is_dir():
        found["release"] = ("last release", lambda: release)
    if bundled.is_dir():
        found["bundled"] = ("bundled model", lambda: bundled)
    for name, title in _registered(params):
        found[name] = (title, _finder(name, params))
    for card in sorted(release.parent.glob("*/card.json")) if release else ():
        if card.parent != release and _draws(card):
            found[str(card.parent)] = (f"artifact {card.parent.name}", partial(Path, card.parent))
    return found


def _release() -> Path | None:
    try:
        return folder_of("publish", "--model")
    except ConfigError:
        return None


def _draws(card: Path) -> bool:
    """Whether a folder can be drawn with by itself: a release, or one that needs no CLIP."""
    try:
        content: dict[str, Any] = json.loads(card.read_text())
        text = bool(content["shape"].get("pooled_dim"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return "release" in content or not text or (card.parent / "text_encoder").is_dir()


def _registered(params: Path) -> list[tuple[str, str]]:
    """Return the registry's versions, the newest first; none where there is no registry here."""
    if not (runs_folder() / "mlflow.db").is_file():
        return []
    try:
        from pipeline.params.sections import load_params
        from pipeline.tracking.registry import registered_versions

        return registered_versions(load_params(params).tracking, runs_folder())
    except GanlineError:
        return []


def _version_of(model: str, params: Path) -> Callable[[], str]:
    """Return what asks the registry for the version of an alias."""

    def ask() -> str:
        from pipeline.params.sections import load_params
        from pipeline.tracking.registry import version_at

        return version_at(load_params(params).tracking, runs_folder(), model)

    return ask


def _finder(model: str, params: Path) -> Callable[[], Path]:
    """Return what finds a model's folder: the registry's is looked up in the tracking store."""

    def find() -> Path:
        if not model.startswith(REGISTERED):
            return Path(model)
        from pipeline.params.sections import load_params
        from pipeline.tracking.mlflow_door import fetch_registered

        folder = fetch_registered(load_params(params).tracking, runs_folder(), model)
        for card in sorted(folder.rglob("card.json"), key=lambda path: len(path.parts)):
            return card.parent
        raise StorageError("it holds no release", model, "run the publish stage again")

    return find


if __name__ == "__main__":
    sys.exit(main())
