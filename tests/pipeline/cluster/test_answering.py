"""An address that nobody answers is said in seconds, before Ray tries for minutes."""

import socket
import time

import pytest

from components.errors import ResourceError
from pipeline.cluster.answering import check_answers


def test_nobody_there_is_one_line_in_seconds():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        check_answers(f"127.0.0.1:{port}")
        check_answers(f"http://127.0.0.1:{port}")
    started = time.monotonic()
    for address in (f"localhost:{port}", f"http://localhost:{port}"):
        with pytest.raises(ResourceError, match=r"no Ray cluster takes it: .*\(RAY_ADDRESS="):
            check_answers(address)
    assert time.monotonic() - started < 10
    check_answers(f"127.0.0.1:{port}")  # it answered before: not asked again


@pytest.mark.parametrize("address", ["nonsense", "http://", "host:port", "[::1"])
def test_what_is_no_address_is_said(address):
    with pytest.raises(ResourceError, match="unset RAY_ADDRESS to run here"):
        check_answers(address)


def test_rays_own_words_are_left_to_ray():
    for address in ("", "auto", "local"):
        check_answers(address)
