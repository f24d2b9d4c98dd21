"""`ganline app`: a page to type a prompt and see pictures, on 127.0.0.1.

ganline app
ganline app artifacts/release
ganline app --port 8000

Two processes answer: one loads the model while the other loads Gradio, which takes as long.
"""

from __future__ import annotations

import argparse
import gc
import os
import socket
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from components.errors import ConfigError
from pipeline.commands.serve import check_request, say_address, serve, server_parser
from pipeline.commands.ui import HOST
from pipeline.exit_codes import guarded
from pipeline.places import set_quiet_environment
from pipeline.serving.kept_up import BACKLOG, Part, all_kept_up, end_with_parent

PORT = 7860
LAST_ANSWERS_S = 3  # for what is open at the end
EXAMPLES = """\
  ganline app                                        # then open the address that it prints
  ganline app artifacts/release
  ganline app --port 8000"""


def main(argv: list[str] | None = None) -> int:
    """Run `ganline app`."""
    argv = sys.argv[1:] if argv is None else argv
    parser = server_parser("app", EXAMPLES, PORT)
    # How the command calls itself: the process of the page, or that of the models.
    parser.add_argument("--part", choices=("page", "models"), help=argparse.SUPPRESS)
    parser.add_argument("--models-port", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--files", type=Path, default=Path(), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    set_quiet_environment()
    if options.part == "models":
        return guarded(lambda: serve(options, for_page=True), options.debug)
    if options.part == "page":
        return guarded(lambda: _answer(options), options.debug)
    codes: list[int] = []
    return guarded(lambda: codes.append(_run(options, argv)), options.debug) or codes[0]


def _run(options: argparse.Namespace, argv: list[str]) -> int:
    """Keep both processes up until stopped.

    Raises:
        ConfigError: Gradio is not installed, or an option is not allowed.
        StorageError: the folder holds no model.
    """
    if find_spec("gradio") is None:
        todo = "install it: pip install 'ganline[app]'"
        raise ConfigError("Gradio is not installed", "ganline app", todo)
    check_request(options)
    with (
        tempfile.TemporaryDirectory(prefix="ganline-app-") as files,
        socket.create_server((HOST, options.port), backlog=BACKLOG) as seen,
        socket.create_server((HOST, 0), backlog=BACKLOG) as behind,
    ):
        words = ["--models-port", str(behind.getsockname()[1]), "--files", files]
        page = Part(["app", *argv, "--part", "page", *words], seen, "the process of the page")
        models = Part(["app", *argv, "--part", "models"], behind, "the process that draws")
        return all_kept_up([page, models], say=print)


def _answer(options: argparse.Namespace) -> None:
    """Answer with the page on the socket that this process was given, until stopped."""
    end_with_parent()
    # Gradio reads these when it is imported.
    os.environ["GRADIO_TEMP_DIR"] = str(options.files)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    gc.disable()  # a fifth of the time of an import that keeps nearly all it makes
    import uvicorn

    from pipeline.serving.page.front import front
    from pipeline.serving.page.gradio_door import page
    from pipeline.serving.page.model_client import ModelClient

    gc.freeze()
    gc.enable()
    client = ModelClient(HOST, options.models_port)
    shown, end_streams = page(client, options.files)
    web = front(shown, client)
    facts = client.facts()  # waits for the model: a broken one ends the command before
    say_address(facts, options)
    settings = uvicorn.Config(
        web, log_level="critical", access_log=False, timeout_graceful_shutdown=LAST_ANSWERS_S
    )

    class Server(uvicorn.Server):
        def handle_exit(self, *signalled: Any) -> None:
            end_streams()
            super().handle_exit(*signalled)

    try:
        with socket.socket(fileno=options.socket) as listening:
            Server(settings).run(sockets=[listening])
    except KeyboardInterrupt:
        print("stopped", flush=True)


if __name__ == "__main__":
    sys.exit(main())
