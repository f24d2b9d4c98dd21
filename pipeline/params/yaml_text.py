"""Read YAML that nobody trusts into plain values: bounded in size, depth and aliases, in seconds.

PyYAML's own loader keeps the last of two equal keys in silence and forgets where each one stood.
Here the composed nodes are walked instead, so that a duplicate key is told with its line and every
later message can point at the file. Aliases are counted before they are followed: nine lines of
them can stand for more values than memory holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import yaml

from components.errors import printable

KeyPath = tuple[str, ...]
# (path, line of the key, or what is wrong with it)
Note = Callable[[KeyPath, int, str], None]

BYTES_LIMIT = 64 * 2**10  # the longest preset has a tenth of it
VALUES_LIMIT, ENTRIES_LIMIT, DEPTH_LIMIT = 20_000, 1_000, 30
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class BadYaml(ValueError):
    """Text that is not YAML, or more of it than is read.

    Args:
        what: what was found.
        line: from 1; None where it is no single one.
        todo: what to do about it.
    """

    def __init__(self, what: str, line: int | None = None, todo: str = "correct the YAML there"):
        super().__init__(what)
        self.what, self.line, self.todo = what, line, todo


def read_yaml(text: str, note: Note | None = None) -> Any:
    """Return the plain value of a YAML text; an empty text is None, keys of mappings are text.

    Args:
        text: the YAML.
        note: called for every key with its path, its line and '', and for one that is given twice
            with what is wrong.

    Raises:
        BadYaml: it is no YAML, or larger, deeper or longer than any parameters are.
    """
    if len(text) > BYTES_LIMIT:
        raise BadYaml(f"{len(text):,} characters, more than {BYTES_LIMIT:,}", todo="shorten it")
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if (count := _values(node, {})) > VALUES_LIMIT:
            what = f"aliases that stand for {_about(count)} values, more than {VALUES_LIMIT:,}"
            raise BadYaml(what, todo="write the values out")
        return _Reader(loader, note or _ignore).read(node, ())
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error) from None
    except yaml.YAMLError as error:
        raise BadYaml(f"not YAML: {error}".splitlines()[0], todo="save it as UTF-8") from None
    except RecursionError:
        raise BadYaml("nested too deeply", todo="nest less") from None
    finally:
        if loader is not None:
            loader.dispose()


def _ignore(path: KeyPath, line: int, what: str) -> None:
    """Take no notes."""


def _about(count: int) -> str:
    return f"{count:,}" if count < 10**12 else f"10^{len(str(min(count, 10**4000))) - 1}"


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many values a node stands for, every alias followed; linear in the nodes."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = 1  # an alias that contains itself is refused by the reader
    if isinstance(node, yaml.MappingNode):
        count = 1 + sum(_values(value, known) for _, value in node.value)
    else:
        count = 1 + sum(_values(item, known) for item in node.value)
    known[id(node)] = min(count, 10**30)
    return known[id(node)]


def _syntax_error(error: yaml.MarkedYAMLError) -> BadYaml:
    mark = error.problem_mark or error.context_mark
    what = printable(re.sub(r"\s+", " ", str(error.problem or error.context or "not YAML")))
    todo = "correct the YAML there"
    if "\\t" in what:
        todo = "indent with spaces, YAML takes no tabs"
    return BadYaml(what[:200], mark.line + 1 if mark else None, todo)


class _Reader:
    """Turn composed YAML nodes into values and note lines and duplicates on the way."""

    def __init__(self, loader: yaml.SafeLoader, note: Note) -> None:
        self.loader, self.note = loader, note
        self.open_nodes: set[int] = set()

    def read(self, node: yaml.Node, path: KeyPath) -> Any:
        line = node.start_mark.line + 1
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, line)
        if id(node) in self.open_nodes:
            raise BadYaml("an alias that contains itself", line)
        if len(self.open_nodes) >= DEPTH_LIMIT:
            raise BadYaml(f"nested deeper than {DEPTH_LIMIT} levels", line, "nest less")
        if len(node.value) > ENTRIES_LIMIT:
            what = f"{len(node.value):,} entries, more than {ENTRIES_LIMIT:,}"
            raise BadYaml(what, line, "give fewer")
        self.open_nodes.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.read(item, (*path, str(i))) for i, item in enumerate(node.value)]
            assert isinstance(node, yaml.MappingNode)
            return self._mapping(node, path)
        finally:
            self.open_nodes.discard(id(node))

    def _scalar(self, node: yaml.ScalarNode, line: int) -> Any:
        if _CONTROL.search(node.value):
            what = f"control characters in {printable(node.value)[:40]!r}"
            raise BadYaml(what, line, "write plain text")
        try:
            return self.loader.construct_object(node, deep=True)
        except (ValueError, OverflowError) as error:  # a number too long, a day that is none
            what = f"{node.value[:20]!r} is no value that can be read ({str(error)[:80]})"
            raise BadYaml(what, line, "correct it") from None

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        first_line: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise BadYaml("a key must be text", line)
            if _CONTROL.search(key.value):
                what = f"control characters in {printable(key.value)[:40]!r}"
                raise BadYaml(what, line, "write plain text")
            if key.value in first_line and key.value != "<<":
                what = f"given twice, first in line {first_line[key.value]}"
                self.note((*path, key.value), line, what)
            first_line.setdefault(key.value, line)
        self.loader.flatten_mapping(node)  # `<<: *anchor`; the mapping's own keys come last and win
        values: dict[str, Any] = {}
        for key, value in node.value:
            here = (*path, key.value)
            self.note(here, first_line.get(key.value, key.start_mark.line + 1), "")
            values[key.value] = self.read(value, here)
        return values
