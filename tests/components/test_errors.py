"""What a command says and returns at its end, whatever the error."""

from __future__ import annotations

import errno
import os

import pytest

from components.errors import DataError, GanlineError, known_error, printable, say_error


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


CODES: list[tuple[BaseException, int]] = [
    (DataError("a", "b", "c"), 3),
    (KeyboardInterrupt("SIGTERM"), 7),
    (MemoryError(), 6),
    (OutOfMemoryError("CUDA out of memory"), 6),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), 6),
    (RuntimeError("could not create a primitive"), 6),
    (RuntimeError("I/O error: No space left on device (os error 28)"), 6),
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x"), 6),
    (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "/x"), 6),
    (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), 6),
    (OSError(errno.EACCES, os.strerror(errno.EACCES), "/x"), 5),
    (OSError(errno.EROFS, os.strerror(errno.EROFS), "/x"), 5),
    (OSError(errno.EIO, os.strerror(errno.EIO), "/x"), 5),
    (OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), "/x"), 5),
    (OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), "/x"), 5),
    (ZeroDivisionError("division by zero"), 1),
    (FileNotFoundError(errno.ENOENT, "No such file", "/x"), 1),
]


@pytest.mark.row("A18", "A19")
@pytest.mark.parametrize(("error", "code"), CODES, ids=lambda value: str(value)[:30])
def test_every_error_has_its_code_and_one_line(error, code, capsys) -> None:
    assert say_error(error) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and ("(unexpected)" in line) == (code == 1)


def test_only_bugs_are_not_known() -> None:
    assert known_error(ZeroDivisionError()) is None
    assert isinstance(known_error(MemoryError()), GanlineError)


@pytest.mark.row("G18")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;pwned\x07", r"\x1b[2J\x1b]0;pwned\x07"),
        ("a\rb\x00c\x7f\x9b", r"a\x0db\x00c\x7f\x9b"),
        ("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066"),
        ("half \ud800", r"half \ud800"),
        ("line\nline\tpl\u00e4tze \u65e5\u672c", "line\nline\tpl\u00e4tze \u65e5\u672c"),
    ],
)
def test_text_of_others_moves_no_cursor(text, shown) -> None:
    assert printable(text) == shown


def test_an_error_stays_one_line_and_harmless(capsys) -> None:
    assert say_error(DataError("a\x1b[2J\nb", "c\u202e", "d")) == 3
    assert capsys.readouterr().err == "error: a\\x1b[2J b (c\\u202e): d\n"
    assert say_error(ValueError("\x1b]0;x\x07\nmore")) == 1
    assert "\x1b" not in capsys.readouterr().err
