"""Files of an object store or a cluster's file system, read in pieces: never copied whole.

pyarrow's file systems do the reading (s3, gs, abfs, hdfs); keys and endpoint come from the
environment, as its tools read them. A piece that does not come is asked for again, later and later.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import unquote, urlsplit

from components.data.far_systems import system_of
from components.errors import DataError

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
CHECK = "check the address, and the keys and endpoint in the environment"
PIECE_BYTES = 4 * 2**20  # what is asked for at once
TRIES, FIRST_WAIT_S = 5, 0.5  # of one piece; the wait doubles

# What S3, Google and Azure say where no waiting helps: wrong keys or none, no such bucket.
_FINAL = re.compile(
    "ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|"
    "OAuth2 access token|AuthenticationException"
)

Got = TypeVar("Got")


class Unreachable(OSError):
    """A piece did not come after all tries, or is not what the store said it is."""


@dataclass(frozen=True)
class FarPath:
    """A place in a store; `/` goes down from it, as with pathlib.Path.

    Attributes:
        uri: with its scheme, without a slash at the end.
    """

    uri: str

    def __truediv__(self, name: str) -> FarPath:
        bare, mark, query = self.uri.partition("?")
        return FarPath(f"{bare}/{_quoted(name)}{mark}{query}")

    def __str__(self) -> str:
        """Return it without what a log must not hold: a name and password, or a query."""
        return re.sub(r"//[^/@]*@", "//", self.uri.partition("?")[0])

    @property
    def name(self) -> str:
        """The last part."""
        return unquote(self.uri.partition("?")[0].rpartition("/")[2])

    @property
    def suffix(self) -> str:
        """The ending of the name, with its dot; "" without one."""
        return Path(self.name).suffix

    def read_bytes(self) -> bytes:
        """Return the whole content."""
        return far_bytes(self)


Folder = Path | FarPath


@dataclass(frozen=True)
class FarFacts:
    """What a store says of a file: bytes, and when it was written, in ns since 1970."""

    size: int
    mtime_ns: int


def is_far(place: str | Folder) -> bool:
    """Tell whether a text or path names a store and not this machine's file system."""
    return isinstance(place, FarPath) or str(place).partition("://")[0].lower() in SCHEMES


def place_of(text: str | Path) -> Folder:
    """Return where a `source.path` points: a folder here, or one of a store.

    Raises:
        DataError: it is a URI that nothing here reads.
    """
    written = str(text)
    scheme, mark, rest = written.partition("://")
    if isinstance(text, Path) or not mark or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        return Path(text)
    if scheme.lower() == "file":
        return Path(unquote(urlsplit(written).path))
    nameless = rest.startswith("/") and scheme.lower() not in ("hdfs", "viewfs")
    if scheme.lower() not in SCHEMES or nameless or not rest.strip("/"):
        allowed = ", ".join(f"{name}://" for name in ("file", *SCHEMES))
        raise DataError("no such kind of place", shown_uri(written), f"allowed: {allowed}")
    bare, query_mark, query = rest.partition("?")
    return FarPath(f"{scheme.lower()}://{bare.rstrip('/')}{query_mark}{query}")


def shown_uri(text: str) -> str:
    """Return a path or URI as a log may hold it."""
    return str(FarPath(text))[:200] if "://" in text else text[:200]


@lru_cache(maxsize=4)
def far_listing(folder: FarPath) -> dict[str, FarFacts]:
    """Return all files below a place, by their path inside it.

    Raises:
        DataError: the store does not answer, or there is no such place.
    """
    from pyarrow import fs

    system, path = opened(folder)
    selector = fs.FileSelector(path, recursive=True)
    try:
        found = again(lambda: system.get_file_info(selector))
    except (OSError, ValueError) as error:
        raise DataError(_line(error), str(folder), CHECK) from None
    start = len(path) + 1
    return {
        info.path[start:]: FarFacts(int(info.size or 0), int(info.mtime_ns or 0))
        for info in sorted(found, key=lambda info: info.path)
        if info.type == fs.FileType.File and len(info.path) > start
    }


def open_far(place: FarPath) -> IO[bytes]:
    """Open a file of a store; what is read is fetched in pieces, each with several tries.

    Raises:
        Unreachable: it cannot be opened.
    """
    return io.BufferedReader(_Pieces(place), PIECE_BYTES)  # type: ignore[return-value]


def far_bytes(place: FarPath) -> bytes:
    """Return the content of a file of a store.

    Raises:
        Unreachable: it did not come, or is not there.
    """
    with open_far(place) as file:
        return file.read(far_size(file) or 0)  # without a number Python asks for 8 kB at a time


def far_size(file: IO[bytes]) -> int | None:
    """Return the bytes of a file that `open_far` has opened, None of any other.

    Asked here, what was read ahead is kept; looking for the end would throw it away.
    """
    raw = getattr(file, "raw", None)
    return raw.size if isinstance(raw, _Pieces) else None


class _Pieces(io.RawIOBase):
    """Read a file of a store by ranges; one that is shorter than the store said is an error."""

    def __init__(self, place: FarPath) -> None:
        self.name = place.name
        system, self._path = opened(place)
        self._open: Callable[[], Any] = lambda: system.open_input_file(self._path)
        self._file = again(self._open)
        self.size = int(again(lambda: self._file.size()))
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = max(0, min(len(buffer), PIECE_BYTES, self.size - self._at))
        if not wanted:
            return 0

        def fetch() -> bytes:
            try:
                piece = bytes(self._file.read_at(wanted, self._at))
            except OSError:
                self._file = self._open()  # a broken connection is not used again
                raise
            if len(piece) != wanted:
                raise OSError(f"{len(piece)} bytes came of {wanted}")
            return piece

        buffer[:wanted] = again(fetch)
        self._at += wanted
        return wanted


def again(call: Callable[[], Got]) -> Got:
    """Call until it works, at most TRIES times, with a wait that doubles between.

    Raises:
        Unreachable: it did not work, or the store has refused it.
    """
    for number in range(TRIES):
        try:
            return call()
        except Exception as error:
            if not isinstance(error, OSError) and not _is_of_arrow(error):
                raise
            if isinstance(error, FileNotFoundError | PermissionError) or _FINAL.search(str(error)):
                raise Unreachable(_line(error)) from None  # waiting changes nothing
            if number == TRIES - 1:
                raise Unreachable(f"{_line(error)} ({TRIES} tries)") from None
            time.sleep(FIRST_WAIT_S * 2**number)
    raise AssertionError("TRIES is 0")


def _is_of_arrow(error: Exception) -> bool:
    """Tell whether pyarrow has raised it: its Azure errors are no OSError."""
    return any(kind.__name__ == "ArrowException" for kind in type(error).__mro__)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _quoted(name: str) -> str:
    """Return a name as a part of an address: what would end it is written as %NN."""
    return name.replace("%", "%25").replace("?", "%3F").replace("#", "%23")


def opened(place: FarPath) -> tuple[Any, str]:
    """Return the file system of a place, and the path in it.

    Raises:
        DataError: pyarrow cannot read such an address.
    """
    try:
        return system_of(place.uri)
    except Exception as error:
        if not isinstance(error, OSError | ValueError) and not _is_of_arrow(error):
            raise
        raise DataError(_line(error), str(place), CHECK) from None
