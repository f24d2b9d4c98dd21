"""The rules of docs and design that a reader relies on, kept true by reading the source itself."""

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGES = ("pipeline", "components", "models")
# Package -> what it may import among the three.
MAY_IMPORT = {
    "pipeline": {"pipeline", "components", "models"},
    "components": {"components", "models"},
    "models": {"models"},
}
# Library -> the only files that import it.
DOORS = {
    "ray": {"pipeline/cluster/ray_door.py"},
    "mlflow": {"pipeline/tracking/mlflow_door.py", "pipeline/tracking/served_model.py"},
    "dvc": set(),
}
BANNED_NAMES = {"utils", "util", "common", "misc", "helpers", "helper"}
LONGEST_FILE, LONGEST_FUNCTION = 300, 60
# The one visible training loop may fill more than a screen.
LONGER = {("components/training/loop.py", "train"): 120}
FAMILIES = r"stylegan[-_]?(t\b|xl|2|3|nada)|projected[-_ ]?gan|fastgan|gigagan|\bis_stylegan"
FAMILY_PLACES = ("models/recipes/", "models/generators/", "models/discriminators/")
FAMILY_PLACES += ("models/interop/", "tests/", "benchmarks/")
# Ray's rows travel pickled between our own processes; nothing is read from a file.
UNPICKLES = {"pipeline/cluster/row_batches.py"}
# Folders that README shows in one line, `name/*`: what is in them is data, not something to read.
FOLDED = {"tests/fixtures", "reports", "docs/images"}


@cache
def files() -> tuple[str, ...]:
    """Return every file of the repository that git knows or would take."""
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip("no git here, so no list of the repository's files")
    return tuple(sorted(f for f in set(result.stdout.splitlines()) if (ROOT / f).is_file()))


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


def test_imports_run_one_way():
    wrong = []
    for file in python_files(*PACKAGES):
        allowed = MAY_IMPORT[file.split("/")[0]]
        for name in imports(file):
            top = name.split(".")[0]
            if (top in PACKAGES and top not in allowed) or top == "tests":
                wrong.append(f"{file} imports {name}")
    assert wrong == []


def test_one_door_to_each_framework():
    wrong = []
    for file in python_files(*PACKAGES, "benchmarks"):
        tops = {name.split(".")[0] for name in imports(file)}
        wrong += [
            f"{file} imports {lib}"
            for lib, doors in DOORS.items()
            if lib in tops and file not in doors
        ]
        if "pydantic" in tops and not file.startswith("pipeline/"):
            wrong.append(f"{file} imports pydantic")
    assert wrong == []
    for library, doors in DOORS.items():
        for door in doors:
            assert library in {name.split(".")[0] for name in imports(door)}, f"{door} is no door"


def test_no_file_is_longer_than_the_stop():
    wrong = {}
    for file in python_files():
        lines = len((ROOT / file).read_text(encoding="utf-8").splitlines())
        if lines > LONGEST_FILE:
            wrong[file] = lines
    assert wrong == {}


def test_functions_fit_a_screen():
    wrong = {}
    for file in python_files(*PACKAGES, "benchmarks"):
        for node in ast.walk(tree_of(file)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            length = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                length -= node.body[0].end_lineno - node.body[0].lineno + 1
            if length > LONGER.get((file, node.name), LONGEST_FUNCTION):
                wrong[f"{file}:{node.lineno} {node.name}"] = length
    assert wrong == {}


def test_no_file_is_named_for_nothing():
    parts = {(file, part) for file in files() for part in re.split(r"[/.]", file)}
    assert [file for file, part in parts if part in BANNED_NAMES] == []


def test_families_are_named_only_where_families_live():
    wrong = []
    for file in python_files():
        if file.startswith(FAMILY_PLACES):
            continue
        for line, word in words_in_code(file):
            if re.search(FAMILIES, word, flags=re.IGNORECASE):
                wrong.append(f"{file}:{line} {word[:60]}")
    assert wrong == []


def test_paths_of_data_stand_in_dvc_yaml_only():
    pattern = re.compile(r"^(data|artifacts|reports)(/|$)")
    wrong = []
    for file in python_files(*PACKAGES):
        # `data` alone is also a word; a path has a slash, or is handed to Path.
        for line, word in words_in_code(file):
            if pattern.match(word) and "/" in word and " " not in word:
                wrong.append(f"{file}:{line} {word}")
    assert wrong == []


def test_nothing_unsafe_or_dishonest_is_called():
    """No pickles are read, and NaN is never painted over."""
    wrong = []
    for file in python_files(*PACKAGES):
        tops = {name.split(".")[0] for name in imports(file)}
        if tops & {"pickle", "dill", "cloudpickle"} and file not in UNPICKLES:
            wrong.append(f"{file} imports a pickler")
        for node in ast.walk(tree_of(file)):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            safe = any(
                k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords
            )
            if (called == "torch.load" and not safe) or called.endswith("nan_to_num"):
                wrong.append(f"{file}:{node.lineno} {called}")
    assert wrong == []


def test_code_is_ascii():
    wrong = []
    for file in python_files():
        text = (ROOT / file).read_text(encoding="utf-8")
        wrong += [f"{file}:{n}" for n, row in enumerate(text.splitlines(), 1) if not row.isascii()]
    assert wrong == []


def test_every_module_says_what_it_is():
    silent = [
        file
        for file in python_files(*PACKAGES, "benchmarks")
        if tree_of(file).body and ast.get_docstring(tree_of(file)) is None
    ]
    assert silent == []


def test_every_parameter_that_dvc_watches_exists():
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for name, stage in stages.items():
        keys = [""]
        if "foreach" in stage:
            keys, stage = [str(key) for key in params[name]], stage["do"]
        for watched in stage.get("params", []):
            for key in keys:
                value = params
                for part in watched.replace("${key}", key).split("."):
                    value = {str(k): v for k, v in value.items()}
                    assert part in value, f"{name} watches {watched}, which params.yaml has not"
                    value = value[part]


def test_hardware_and_tracking_rerun_nothing():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    watched = {p for stage in stages.values() for p in stage.get("do", stage).get("params", [])}
    assert not watched & {"cluster", "tracking"}


def readme_tree() -> dict[str, str]:
    """Return path -> purpose from the code block under `## The tree`.

    One line per file or folder: two spaces per level, a folder ends with `/`, then at least two
    spaces and what it is for. `name/*` stands for a whole folder of data.
    """
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"^## The tree\n.*?^```\w*\n(.*?)^```", readme, flags=re.M | re.S)
    assert block, "README.md has no code block under `## The tree`"
    found, above = {}, []
    for row in block[1].splitlines():
        if not row.strip():
            continue
        match = re.fullmatch(r"((?:  )*)(\S+)  +(\S.*)", row)
        assert match, f"README tree: {row!r} is not `name  purpose`"
        depth, name = len(match[1]) // 2, match[2]
        assert depth <= len(above), f"README tree: {row!r} is indented too far"
        above = above[:depth]
        path = "".join(above) + name
        assert path not in found, f"README tree: {path} twice"
        found[path] = match[3]
        if name.endswith("/"):
            above.append(name)
    return found


def test_readme_shows_the_whole_tree():
    shown = {path for path in readme_tree() if not path.endswith("/")}
    folded = {path.removesuffix("/*") for path in shown if path.endswith("/*")}
    assert folded <= FOLDED
    there = set()
    for file in files():
        inside = next((f for f in folded if file.startswith(f + "/")), None)
        empty = file.endswith("__init__.py") and not (ROOT / file).read_text().strip()
        if not empty:
            there.add(f"{inside}/*" if inside else file)
    assert sorted(there - shown) == [], "these are missing in README's tree"
    assert sorted(shown - there) == [], "README's tree names what is not there"
