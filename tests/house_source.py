"""The repository's own files as the house tests read them: lists, syntax trees, imports, words."""

import ast
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("pipeline", "components", "models")


@cache
def files() -> tuple[str, ...]:
    """Return every file of the repository that git tracks: a user's own files are not judged."""
    command = ["git", "-C", str(ROOT), "ls-files"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip("no git here, so no list of the repository's files", allow_module_level=True)
    return tuple(sorted(f for f in set(result.stdout.splitlines()) if (ROOT / f).is_file()))


def presets() -> list[Path]:
    """Return the params files of presets/ that belong to the repository."""
    return [ROOT / f for f in files() if f.startswith("presets/") and f.count("/") == 1]


def python_files(*folders: str) -> list[str]:
    """Return the Python files below the folders, or all of them."""
    chosen = [f for f in files() if f.endswith(".py")]
    return [f for f in chosen if not folders or f.split("/")[0] in folders]


@cache
def tree_of(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"), file)


def imports(file: str) -> set[str]:
    """Return the full names of all modules that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
    return names


def documentation(tree: ast.AST) -> set[int]:
    """Return the ids of strings that stand alone: docstrings and the doc lines of fields."""
    lone = (node.value for node in ast.walk(tree) if isinstance(node, ast.Expr))
    return {id(value) for value in lone if isinstance(value, ast.Constant)}


def words_in_code(file: str) -> list[tuple[int, str]]:
    """Return (line, word) of every name and every string that is not documentation."""
    tree, found = tree_of(file), []
    lone = documentation(tree)
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in lone:
            found.append((line, node.value))
        elif isinstance(node, ast.Name):
            found.append((line, node.id))
        elif isinstance(node, ast.Attribute):
            found.append((line, node.attr))
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.append((line, node.name))
        elif isinstance(node, ast.ImportFrom):
            found.append((line, node.module or ""))
    return found


def module_of(file: str) -> str:
    """Return the dotted name of a Python file."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@cache
def import_graph() -> dict[str, frozenset[str]]:
    """Return module -> the modules of the three packages that it imports, type-only ones too."""
    modules = {module_of(file): file for file in python_files(*PACKAGES)}
    graph = {}
    for module, file in modules.items():
        found = set()
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= names & modules.keys()
                if names - modules.keys():
                    found.add(node.module)
        graph[module] = frozenset((found & modules.keys()) - {module})
    return graph


def circles(graph: dict[str, frozenset[str]]) -> list[list[str]]:
    """Return the groups of nodes that reach each other (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found
