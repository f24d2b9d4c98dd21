"""`make ui`: open MLflow's pages on this machine, with links that compare the last runs."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from components.errors import ConfigError, ResourceError
from pipeline.exit_codes import Parser, guarded
from pipeline.places import runs_folder, set_quiet_environment
from pipeline.tracking.config import TrackingConfig
from pipeline.tracking.pages import UI_HOST as HOST
from pipeline.tracking.pages import UI_PORT, compare_link, experiment_link

START_LIMIT_S = 300  # seconds on an idle machine, minutes on an overloaded one


def serve(config: TrackingConfig, port: int, say: Callable[[str], None]) -> None:
    """Start MLflow on the default store and wait until it is stopped.

    Raises:
        ConfigError: when the runs are on another server, or the port is none or taken.
        ResourceError: when MLflow does not come up.
    """
    check_port(port)
    from pipeline.tracking.mlflow_door import open_door

    door = open_door(config, runs_folder())
    if door.is_remote:
        raise ConfigError(f"the runs are at {door.uri}", "MLFLOW_TRACKING_URI", "open that address")
    if not port_is_free(port):
        todo = "stop what listens there, or give another with --port"
        raise ConfigError(f"port {port} is taken", "--port", todo)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", door.uri]
    command += ["--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--uvicorn-opts", "--log-level warning"]  # the links stand alone on the screen
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment.setdefault("PYTHONWARNINGS", "ignore")  # MLflow, about its own libraries
    # Its own session: MLflow starts servers of its own, and they have to end with it.
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    )
    address = f"http://{HOST}:{port}"
    try:
        _wait_until_up(address, process)
        for line in links(address, door.experiments, _newest(door, config)):
            say(line)
        process.wait()
    except KeyboardInterrupt:
        say("stopped")
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def links(address: str, experiments: dict[str, str], runs: dict[str, list[str]]) -> list[str]:
    """Return the lines that are printed: the address and deep links.

    Args:
        address: of the server.
        experiments: name -> id.
        runs: name of an experiment -> ids of its newest runs.
    """
    lines = [f"MLflow          {address}", ""]
    for name, number in experiments.items():
        lines.append(f"{name:<15} {experiment_link(address, number)}")
        if len(runs.get(name, [])) > 1:
            lines.append(f"{'  compared':<15} {compare_link(address, number, runs[name])}")
    return [*lines, "", "stop with Ctrl-C"]


def check_port(port: int) -> None:
    """Raise ConfigError for a number that is no port."""
    if not 1 <= port <= 65535:
        raise ConfigError(f"port is {port}", "--port", "give one from 1 to 65535")


def port_is_free(port: int) -> bool:
    """Return whether a server could listen on this port of the loopback interface."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _newest(door: object, config: TrackingConfig) -> dict[str, list[str]]:
    """Return the newest runs to compare: whole pipelines, and the trials of a search."""
    client, experiments = door.client, door.experiments  # type: ignore[attr-defined]
    stages = client.search_runs([experiments[config.experiment]], max_results=200)
    whole = [run for run in stages if run.data.tags.get("stage") == "pipeline"]
    search = client.search_runs([experiments[config.search_experiment]], max_results=200)
    trials = [run for run in search if run.data.tags.get("stage") == "trial"]
    return {
        config.experiment: [run.info.run_id for run in whole[:8]],
        config.search_experiment: [run.info.run_id for run in trials[:20]],
    }


def _wait_until_up(address: str, process: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + START_LIMIT_S
    pause = threading.Event()
    while time.monotonic() < limit and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except OSError:
            pause.wait(0.3)
    raise ResourceError(
        "MLflow did not come up", address, "its message stands above; or try another --port"
    )


def main(argv: list[str] | None = None) -> int:
    """Run `ganline ui`."""
    parser = Parser(
        prog="ganline ui",
        description=__doc__,
        epilog="examples:\n"
        "  ganline ui\n"
        "  ganline ui --port 5056\n"
        "  MLFLOW_TRACKING_URI=sqlite:////data/mlflow.db ganline ui\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), metavar="FILE")
    parser.add_argument("--port", type=int, default=UI_PORT, help="port on 127.0.0.1")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(argv)

    def work() -> None:
        from pipeline.params.sections import load_params

        set_quiet_environment()
        serve(
            load_params(options.params).tracking, options.port, lambda text: print(text, flush=True)
        )

    return guarded(work, options.debug)


if __name__ == "__main__":
    sys.exit(main())
