"""A private Ray has a folder for its sockets whatever TMPDIR is, or says what is missing."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.errors import ConfigError, ResourceError
from pipeline.cluster import temp_folder
from pipeline.cluster.config import ClusterConfig, ray_environment
from pipeline.cluster.failures import not_joined
from pipeline.cluster.soft_stop import keeping_handlers
from pipeline.cluster.temp_folder import LONGEST, NAME, RAYS_PART, ray_folder
from pipeline.exit_codes import guarded


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAME, raising=False)
    monkeypatch.delenv("TMPDIR", raising=False)


@pytest.fixture
def short() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="r") as folder:
        yield Path(folder)


def test_the_longest_folder_that_is_taken_has_room_for_a_socket(short: Path) -> None:
    """The kernel itself is asked: one byte more and it refuses."""
    folder = short / ("x" * (LONGEST - len(str(short)) - 1))
    for more, fits in (("", True), ("x", False)):
        path = f"{folder}{more}".ljust(LONGEST + len(more)) + "y" * RAYS_PART
        with socket.socket(socket.AF_UNIX) as one:
            reason = ""
            try:
                one.bind(path)
            except OSError as error:
                reason = str(error)
        assert ("too long" not in reason) == fits, reason


@pytest.mark.row("G22")
@pytest.mark.parametrize("kind", ["long", "missing", "with a space", "relative", "a file"])
def test_a_tmpdir_that_ray_cannot_use_is_replaced(
    short: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    name = {"long": "x" * 46, "with a space": "my own"}.get(kind, "other")
    folder = short / name
    if kind == "a file":
        folder.write_text("")
    elif kind != "missing":
        folder.mkdir()
    monkeypatch.setenv("TMPDIR", "other" if kind == "relative" else str(folder))
    found = ray_folder()
    assert found != str(folder) and len(found) <= LONGEST and os.access(found, os.W_OK)
    assert ray_environment("", ClusterConfig())[NAME] == found
    assert NAME not in ray_environment("auto", ClusterConfig())


def test_one_that_ray_can_use_is_used(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(short))
    assert ray_folder() == str(short)
    (short / "b").mkdir()
    monkeypatch.setenv(NAME, str(short / "b"))
    assert ray_folder() == str(short / "b")


@pytest.mark.row("G22")
def test_what_the_user_names_is_not_replaced_but_refused(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NAME, str(short / "none"))
    with pytest.raises(ConfigError, match=r"there is no such folder .*RAY_TMPDIR.*unset it"):
        ray_folder()


@pytest.mark.row("G22")
def test_without_any_folder_the_line_says_what_to_set(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temp_folder, "_OTHERS", (str(short / "a b"),))
    monkeypatch.setenv("TMPDIR", str(short / ("x" * 60)))
    with pytest.raises(ConfigError, match=f"set {NAME} to a writable folder") as caught:
        ray_folder()
    assert "\n" not in str(caught.value)


@pytest.mark.row("G5")
def test_a_node_that_is_late_is_a_lack_of_resources_with_what_to_do() -> None:
    late = Exception("The current node timed out during startup. This could happen because")
    error = not_joined("local", late)
    assert isinstance(error, ResourceError)
    assert "Ray did not start: The current node timed out" in str(error) and "again" in error.todo
    assert "RAY_ADDRESS=head:1" in str(not_joined("head:1", ConnectionError("refused")))


@pytest.mark.row("G5")
def test_sigterm_while_ray_starts_ends_as_every_signal(capsys) -> None:
    """Ray sets a handler of its own that calls sys.exit(15)."""

    def start() -> None:
        with keeping_handlers():
            signal.signal(signal.SIGTERM, lambda number, _: exit(number))
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    assert guarded(start) == 7
    assert capsys.readouterr().err.startswith("error: stopped by SIGTERM")
    assert signal.getsignal(signal.SIGTERM) == before
