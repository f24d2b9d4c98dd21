"""Read params.yaml into plain values, and remember the line of every key.

PyYAML's own loader keeps the last of two equal keys in silence and forgets where each one stood.
Here the composed nodes are walked instead, so that a duplicate key is a problem with a line number
and every later message can point at the file.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from components.errors import ConfigError

KeyPath = tuple[str, ...]


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
        if not equals or not all(dotted.split(".")):
            raise ConfigError(f"got {setting!r}", "--set", "write --set section.key=value")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(
                f"{text!r} is not YAML", f"--set {dotted}", "quote the value"
            ) from None
        path = tuple(dotted.split("."))
        target = self.values
        for part in path[:-1]:
            inner = target.get(part)
            if not isinstance(inner, dict):
                inner = target[part] = {}
            target = inner
        target[path[-1]] = value
        self.lines[path] = 0


def read_params_file(path: Path) -> ParamsFile:
    """Read a YAML file of sections.

    Raises:
        ConfigError: when the file is missing, not text, not YAML, or not a mapping.
    """
    name = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError("no such file", name, "give it with --params FILE") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", name, "give a UTF-8 YAML file") from None
    file = ParamsFile(name=name)
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        values = _Reader(loader, file).read(node, ()) if node is not None else {}
    except yaml.MarkedYAMLError as error:
        raise ConfigError(*_syntax_error(error, name)) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {error}".splitlines()[0], name, "save it as UTF-8") from None
    finally:
        loader.dispose()
    if not isinstance(values, dict):
        raise ConfigError("holds no sections", name, "write `section:` with indented keys below")
    file.values = values
    return file


def _syntax_error(error: yaml.MarkedYAMLError, name: str) -> tuple[str, str, str]:
    mark = error.problem_mark or error.context_mark
    what = re.sub(r"\s+", " ", str(error.problem or error.context or "not YAML"))
    todo = "correct the YAML there"
    if "\\t" in what:
        todo = "indent with spaces, YAML takes no tabs"
    return what, f"{name}:{mark.line + 1}" if mark else name, todo


class _Reader:
    """Turn composed YAML nodes into values and note lines and duplicates on the way."""

    def __init__(self, loader: yaml.SafeLoader, file: ParamsFile) -> None:
        self.loader, self.file = loader, file
        self.open_nodes: set[int] = set()

    def read(self, node: yaml.Node, path: KeyPath) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return self.loader.construct_object(node, deep=True)
        if id(node) in self.open_nodes:
            raise yaml.MarkedYAMLError(
                problem="an alias that contains itself", problem_mark=node.start_mark
            )
        self.open_nodes.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.read(item, (*path, str(i))) for i, item in enumerate(node.value)]
            assert isinstance(node, yaml.MappingNode)
            return self._read_mapping(node, path)
        finally:
            self.open_nodes.discard(id(node))

    def _read_mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        first_line: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(
                    problem="a key must be text", problem_mark=key.start_mark
                )
            if key.value in first_line and key.value != "<<":
                what = f"given twice, first in line {first_line[key.value]}"
                self.file.problems.append(Problem(".".join((*path, key.value)), what, line))
            first_line.setdefault(key.value, line)
        self.loader.flatten_mapping(node)  # `<<: *anchor`; the mapping's own keys come last and win
        values: dict[str, Any] = {}
        for key, value in node.value:
            here = (*path, key.value)
            self.file.lines[here] = first_line.get(key.value, key.start_mark.line + 1)
            values[key.value] = self.read(value, here)
        return values
