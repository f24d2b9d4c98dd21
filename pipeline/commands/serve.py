"""`ganline serve`: answer prompts with images on 127.0.0.1.

ganline serve
ganline serve artifacts/release --port 8080
ganline serve models:/ganline-shapes@champion
ganline serve --ray --replicas 2
"""

from __future__ import annotations

import argparse
import gc
import os
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import ConfigError
from pipeline.commands.default_folders import chosen
from pipeline.commands.model_places import REGISTERED, places_of, version_of
from pipeline.commands.ui import HOST, check_port, port_is_free
from pipeline.exit_codes import Parser, guarded
from pipeline.places import set_quiet_environment
from pipeline.serving.kept_up import end_with_parent, kept_up

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from pipeline.serving.models import Models

FOLLOW_S = 5.0  # between two looks at where an alias points
PORT = 5001
REPLICAS = 2
EXAMPLES = """\
  ganline serve                                      # what publish made, else the bundled model
  ganline serve models:/ganline-shapes@champion      # from the project's registry
  ganline serve artifacts/release --port 8080 --timeout 10
  ganline serve --ray --replicas 2                   # two processes behind one address"""


def main(argv: list[str] | None = None) -> int:
    """Run `ganline serve`."""
    parser = server_parser("serve", EXAMPLES, PORT)
    parser.add_argument(
        "--ray", action="store_true", help="answer from several processes, by Ray Serve"
    )
    parser.add_argument(
        "--replicas",
        type=int,
        metavar="N",
        help=f"with --ray: how many processes, a core and a model each; default {REPLICAS}",
    )
    argv = sys.argv[1:] if argv is None else argv
    options = parser.parse_args(argv)
    set_quiet_environment()
    if options.ray:
        return guarded(lambda: _serve_with_ray(options), options.debug)
    if options.socket >= 0:
        return guarded(lambda: serve(options, for_page=False), options.debug)
    codes: list[int] = []

    def work() -> None:
        check_request(options)
        codes.append(kept_up(["serve", *argv], (HOST, options.port), say=print))

    return guarded(work, options.debug) or codes[0]


def server_parser(name: str, examples: str, port: int) -> argparse.ArgumentParser:
    """Return the options that `ganline serve` and `ganline app` share."""
    what = {
        "serve": "Answer prompts with images over HTTP, on this machine: docs/serving.md.",
        "app": "Open a page to type a prompt and see pictures; no request leaves this machine.",
    }[name]
    parser = Parser(
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


def check_request(options: argparse.Namespace) -> None:
    """Check the request before torch is loaded.

    Raises:
        ConfigError: the port is taken, or an option is not allowed.
        StorageError: the folder holds no model.
    """
    if options.model and not options.model.startswith(REGISTERED):
        chosen(Path(options.model))
    if not 0 < options.timeout <= 3600:
        raise ConfigError(f"timeout is {options.timeout:g}", "--timeout", "use up to 3600 seconds")
    replicas = getattr(options, "replicas", None)
    if replicas is not None and not (options.ray and 1 <= replicas <= 256):
        raise ConfigError(f"got {replicas}", "--replicas", "give 1 to 256 together with --ray")
    check_port(options.port)
    if not port_is_free(options.port):
        todo = "stop what listens there, or give another with --port"
        raise ConfigError(f"port {options.port} is taken", "--port", todo)


def serve(options: argparse.Namespace, *, for_page: bool) -> None:
    """Open the model, then answer on the socket that this process was given, until stopped.

    Args:
        options: the command's.
        for_page: whether a page is asking: it may draw with all models, and speaks to the user.

    Raises:
        StorageError: there is no such model, or it is damaged.
    """
    end_with_parent()
    gc.disable()  # a fifth of the time of imports that keep nearly all they make
    models = _opened(options.model, options.params, everything=for_page)
    gc.freeze()
    gc.enable()

    import uvicorn

    from pipeline.serving.web import web_app

    web = web_app(models, timeout_s=options.timeout, for_page=for_page)
    if not for_page:
        _say_images_address(options, models)
    settings = uvicorn.Config(web, log_level="warning", access_log=False, lifespan="off")
    try:
        with socket.socket(fileno=options.socket) as listening:
            uvicorn.Server(settings).run(sockets=[listening])
    except KeyboardInterrupt:  # uvicorn has answered what was open, and hands the signal on
        if not for_page:
            print("stopped", flush=True)
    finally:
        models.close()


def _opened(model: str, params: Path, *, everything: bool) -> Models:
    """Open the default model, and follow its alias where it is served by one."""
    from pipeline.serving.models import Models

    models = Models(places_of(model, params, everything=everything))
    models.get()  # a broken model ends the command, not the first request
    if model.startswith(REGISTERED) and "@" in model:
        models.follow(model, version_of(model, params), FOLLOW_S)
    return models


def _say_images_address(options: argparse.Namespace, models: Models) -> None:
    say_address(models.get().facts(), options, "/v1/images")


def say_address(facts: Mapping[str, Any], options: argparse.Namespace, path: str = "") -> None:
    """Say which model answers where."""
    name = facts["name"] or options.model or "the model"
    address = f"http://{HOST}:{options.port}{path}"
    print(f"{name}, {facts['resolution_px']} px: {address}", flush=True)
    print("stop with Ctrl-C", flush=True)


def _serve_with_ray(options: argparse.Namespace) -> None:
    """Answer from several processes until stopped; each opens and follows the model by itself."""
    check_request(options)
    from pipeline.cluster.launch import ray_address
    from pipeline.cluster.serve_door import serving

    address = ray_address()
    models = _opened(options.model, options.params, everything=False)
    models.close()
    where = (options.model, options.params.absolute(), Path.cwd(), options.timeout)
    build, at = partial(application, *where), (HOST, options.port)
    with (
        suppress(KeyboardInterrupt),
        serving(build, options.replicas or REPLICAS, at, options.timeout, address),
    ):
        _say_images_address(options, models)
        threading.Event().wait()
    print("stopped", flush=True)


def application(model: str, params: Path, folder: Path, timeout_s: float) -> Starlette:
    """Return the application of one process, as the command would make it in that folder."""
    os.chdir(folder)
    from pipeline.serving.web import web_app

    return web_app(_opened(model, params, everything=False), timeout_s=timeout_s)


if __name__ == "__main__":
    sys.exit(main())
