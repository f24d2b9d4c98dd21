"""The door to Ray Serve: one web application in several processes behind one address.

Each copy is a Serve replica with its own model and its own queue. Serve spreads the requests over
them and starts one anew when it dies; whatever else an answer is made of is the application's.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from components.errors import ConfigError, ResourceError
from pipeline.cluster.config import ClusterConfig
from pipeline.cluster.ray_door import connect

NAME = "ganline"
OF_THE_EXTRA = "grpc_reflection"  # what ray[serve] installs and ray alone does not
# An application refuses by itself what it cannot keep, so Serve hands it more than that.
MOST_OPEN = 1024
# Serve's own limit on a request comes after the application's, which knows what to answer.
SPARE_S = 30.0
# Serve's own patience with its proxy is 5 s and 10 s: too little where the machine is busy.
PATIENT = {
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
}
_SILENT = {"log_level": "ERROR", "enable_access_log": False}


class _Copy:
    """A replica: the application that `build` returns in its process."""

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build

    def __serve_build_asgi_app__(self) -> Any:
        return self._build()


@contextmanager
def serving(
    build: Callable[[], Any],
    replicas: int,
    at: tuple[str, int],
    timeout_s: float,
    address: str = "",
) -> Iterator[None]:
    """Answer HTTP for the time of the with block; at its end, what is open is answered first.

    Args:
        build: returns an ASGI application; picklable, called once in each replica.
        replicas: how many; each reserves one core, and its torch uses one thread.
        at: host and port.
        timeout_s: after which the application itself gives a request up.
        address: of a running Ray, "" = a private one that ends with the block.

    Raises:
        ConfigError: Ray Serve is not installed.
        ResourceError: no Ray answers, or a replica does not come up.
    """
    if find_spec(OF_THE_EXTRA) is None:
        todo = "install it: pip install 'ganline[serve]'"
        raise ConfigError("Ray Serve is not installed", "--ray", todo)
    for name, value in PATIENT.items():
        os.environ.setdefault(name, value)
    with connect(address, ClusterConfig(), replicas, "ray.serve"):
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        http = {"host": at[0], "port": at[1], "request_timeout_s": timeout_s + SPARE_S}
        copy = serve.deployment(
            serve.ingress()(_Copy),
            name=NAME,
            num_replicas=replicas,
            ray_actor_options={"num_cpus": 1},
            max_ongoing_requests=MOST_OPEN,
            max_queued_requests=MOST_OPEN,
            graceful_shutdown_timeout_s=timeout_s,
            health_check_period_s=2,
            health_check_timeout_s=60,
            logging_config=_SILENT,
        )
        try:
            serve.start(proxy_location="HeadOnly", http_options=http, logging_config=_SILENT)
            serve.run(copy.bind(build), name=NAME)
        except Exception as error:  # Ray raises bare ones, and those of its actors.
            what = " ".join(str(error).split())[:160] or type(error).__name__
            todo = "the machine may be busy or short of memory: run the same command again"
            raise ResourceError(f"Ray Serve did not start: {what}", "--ray", todo) from error
        try:
            yield
        finally:
            serve.delete(NAME)  # it lets each replica answer what is open
