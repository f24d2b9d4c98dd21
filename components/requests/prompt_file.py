"""Read prompts from a text file, one per line; bad lines are left out and listed by number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from components.errors import ConfigError
from components.requests.images import PROMPT_CHARS_LIMIT, check_prompt

FILE_BYTES_LIMIT = 64 * 2**20
_LISTED = 10  # line numbers named in one message


@dataclass(frozen=True, kw_only=True)
class PromptFile:
    """What a file of prompts holds.

    prompts: the good lines, stripped. blank: line numbers, from 1. bad: (line number, why).
    """

    path: Path
    prompts: tuple[str, ...]
    blank: tuple[int, ...] = ()
    bad: tuple[tuple[int, str], ...] = ()

    def remarks(self) -> list[str]:
        """Return one line about the blank lines and one about the bad ones, where there are any."""
        said = []
        if self.blank:
            said.append(f"{self.path}: {_count(len(self.blank), 'blank line')} {_at(self.blank)}")
        if self.bad:
            numbers, reasons = zip(*self.bad, strict=True)
            first = f"line {numbers[0]}: {reasons[0]}"
            said.append(f"{self.path}: {_count(len(self.bad), 'bad line')} {_at(numbers)}; {first}")
        return said


def read_prompts(path: Path, limit: int = PROMPT_CHARS_LIMIT) -> PromptFile:
    """Read a UTF-8 file, one prompt per line; bad and blank lines are left out and listed.

    Raises:
        ConfigError: the file is missing, no UTF-8 text or too long, or no line of it is a prompt.
    """
    found: dict[int, str] = {}
    blank, bad = [], []
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            blank.append(number)
            continue
        try:
            check_prompt(line, limit)
        except ConfigError as error:
            bad.append((number, error.what))
        else:
            found[number] = line.strip()
    read = PromptFile(path=path, prompts=tuple(found.values()), blank=tuple(blank), bad=tuple(bad))
    if not found:
        said = "; ".join(remark.removeprefix(f"{path}: ") for remark in read.remarks())
        raise ConfigError(
            f"no prompt in the file{f' ({said})' if said else ''}",
            str(path),
            "write one prompt per line",
        )
    return read


def _lines(path: Path) -> list[str]:
    """Return the lines without their ends; a last line that is empty is none."""
    todo = "give a UTF-8 text file, one prompt per line"
    if not path.is_file():
        what = "is not a file" if path.exists() else "cannot be read: there is no such file"
        raise ConfigError(what, str(path), todo)
    try:
        if path.stat().st_size > FILE_BYTES_LIMIT:
            raise ConfigError("the file is longer than 64 MiB", str(path), "split it")
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", str(path), todo) from error
    if b"\0" in content:
        raise ConfigError("the file is binary: it holds a NUL byte", str(path), todo)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"line {line} is not UTF-8", str(path), todo) from error
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''} left out"


def _at(numbers: tuple[int, ...]) -> str:
    shown = ", ".join(str(number) for number in numbers[:_LISTED])
    more = f" and {len(numbers) - _LISTED} more" if len(numbers) > _LISTED else ""
    return f"({'lines' if len(numbers) > 1 else 'line'} {shown}{more})"
