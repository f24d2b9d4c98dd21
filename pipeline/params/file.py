"""Read params.yaml into plain values, and remember the line of every key."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.errors import ConfigError
from pipeline.params.yaml_text import BYTES_LIMIT, DEPTH_LIMIT, BadYaml, KeyPath, read_yaml


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one key.

    Args:
        key: the dotted key, as `train_base.batch`; '' for the file as a whole.
        what: what was given and what is allowed.
        line: the line in the file, or None when the value came from the command line.
    """

    key: str
    what: str
    line: int | None = None

    def text(self, file: str) -> str:
        """Return the line a user reads."""
        place = f"{file}:{self.line}" if self.line else f"{file}"
        return f"{place}: {self.key}: {self.what}" if self.key else f"{place}: {self.what}"


class ParamsError(ConfigError):
    """Everything that is wrong with a params file, listed at once."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{count} in the parameters", file, "correct each line above")
        self.problems = problems
        self.lines = [problem.text(file) for problem in problems]


@dataclass
class ParamsFile:
    """The plain content of a params file.

    Args:
        name: the path as the user gave it, for messages.
        values: the sections; every key is text, also where YAML would read a number (`64:`).
        lines: line number (from 1) of every key, by its path.
        problems: duplicate keys and the like, found while reading.
    """

    name: str
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line_of(self, path: KeyPath) -> int | None:
        """Return the line of the key, or of the nearest section around it."""
        while path:
            if path in self.lines:
                return self.lines[path] or None
            path = path[:-1]
        return None

    def override(self, setting: str) -> None:
        """Apply one `section.key=value` from the command line; the value is read as YAML.

        Raises:
            ConfigError: when the text has no `=`, no key, or a value that is not YAML.
        """
        dotted, equals, text = setting.partition("=")
        path = tuple(dotted.split("."))
        if not equals or not all(path) or len(path) > DEPTH_LIMIT:
            raise ConfigError(f"got {setting[:60]!r}", "--set", "write --set section.key=value")
        try:
            value = read_yaml(text)
        except BadYaml as error:
            what = f"{text[:60]!r} is not YAML: {error.what}"
            raise ConfigError(what, f"--set {dotted[:60]}", "quote the value") from None
        target: Any = self.values
        for part in path[:-1]:
            inner = target.get(part) if isinstance(target, dict) else _item(target, part, dotted)
            if not isinstance(inner, dict | list):
                inner = target[part] = {}
            target = inner
        if isinstance(target, list):
            _item(target, path[-1], dotted)
            target[int(path[-1])] = value
        else:
            target[path[-1]] = value
        self.lines[path] = 0


def _item(values: list[Any], number: str, dotted: str) -> Any:
    """Return one of a list, by its number from 0."""
    if number.isdigit() and int(number) < len(values):
        return values[int(number)]
    what = f"got {number[:20]!r}; it is a list of {len(values)}"
    raise ConfigError(what, f"--set {dotted[:60]}", f"allowed: 0 to {len(values) - 1}")


def read_params_file(path: Path) -> ParamsFile:
    """Read a YAML file of sections.

    Raises:
        ConfigError: when the file is missing, not text, not YAML, or not a mapping.
    """
    name = str(path)
    try:
        if path.exists() and not path.is_file():
            raise ConfigError("no regular file", name, "give a UTF-8 YAML file")
        with path.open("rb") as stream:  # one byte more than is read: a longer file is refused
            text = stream.read(BYTES_LIMIT + 1).decode("utf-8")
    except FileNotFoundError:
        raise ConfigError("no such file", name, "give it with --params FILE") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot be read: {error}", name, "give a UTF-8 YAML file") from None
    file = ParamsFile(name=name)

    def note(path: KeyPath, line: int, what: str) -> None:
        if what:
            file.problems.append(Problem(".".join(path), what, line))
        else:
            file.lines[path] = line

    try:
        values = read_yaml(text, note)
    except BadYaml as error:
        where = f"{name}:{error.line}" if error.line else name
        raise ConfigError(error.what, where, error.todo) from None
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise ConfigError("holds no sections", name, "write `section:` with indented keys below")
    file.values = values
    return file
