"""The rules of docs and design that a reader relies on, kept true by reading the source itself."""

import ast
import re

import yaml

from models.families import FAMILIES
from tests.house_source import (
    PACKAGES,
    ROOT,
    files,
    imports,
    python_files,
    tree_of,
    words_in_code,
)

BANNED_NAMES = {"utils", "util", "common", "misc", "helpers", "helper"}
LONGEST_FILE, LONGEST_FUNCTION = 300, 60
# The one visible training loop may fill more than a screen.
LONGER = {("components/training/loop.py", "train"): 120}
FAMILY_NAMES = r"stylegan[-_]?(t\b|xl|2|3|nada)|projected[-_ ]?gan|fastgan|gigagan|\bis_stylegan"
FAMILY_NAMES += r"|styleclip"
FAMILY_PLACES = (*(f"models/{name}/" for name in FAMILIES), "models/stylegan2/")
FAMILY_PLACES += ("models/families.py",)
# Ray's rows travel pickled between our own processes; what lies in a file on its way is sealed with
# a key that lies in none.
UNPICKLES = {"pipeline/cluster/mailbox.py", "pipeline/cluster/row_batches.py"}


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
    for file in python_files("models"):
        if file.startswith(FAMILY_PLACES):
            continue
        for line, word in words_in_code(file):
            if re.search(FAMILY_NAMES, word, flags=re.IGNORECASE):
                wrong.append(f"{file}:{line} {word[:60]}")
    assert wrong == []


def test_pipeline_and_components_name_no_family_at_all():
    """Not in code, strings, docstrings or comments: a paper is cited by authors and year."""
    wrong = []
    for file in python_files("pipeline", "components"):
        for number, line in enumerate((ROOT / file).read_text(encoding="utf-8").splitlines(), 1):
            if re.search(FAMILY_NAMES, line, flags=re.IGNORECASE):
                wrong.append(f"{file}:{number} {line.strip()[:60]}")
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
    # The first line is a whole sentence; more stands below a blank line.
    cut = {}
    for file in python_files(*PACKAGES):
        first = (ast.get_docstring(tree_of(file)) or ".").split("\n")[0]
        if not first.endswith("."):
            cut[file] = first
    assert cut == {}


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


def test_a_package_has_few_files_of_its_own():
    for package in PACKAGES:
        loose = [f for f in files() if f.startswith(f"{package}/") and f.count("/") == 1]
        assert len(loose) <= 7, loose


def test_every_stage_is_a_module_and_a_section():
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for name, stage in stages.items():
        assert f"pipeline/stages/{name}.py" in files(), name
        assert name in params, name
        command = stage.get("do", stage)["cmd"]
        assert command.startswith(f"python -m pipeline.stages.{name} "), command


def purpose_of(folder: str) -> str:
    """Return the first line of a package's docstring, up to where a family's title ends."""
    doc = ast.get_docstring(tree_of(f"{folder}/__init__.py")) or ""
    return doc.split("\n\n")[0].replace("\n", " ").rstrip(".")


def test_every_room_says_what_is_in_it():
    folders = {f.rpartition("/")[0] for f in python_files(*PACKAGES)}
    assert [folder for folder in sorted(folders) if not purpose_of(folder)] == []


def readme_tree() -> dict[str, str]:
    """Return folder -> purpose from the code block under `## The tree`.

    One line per folder: two spaces per level, the name with `/`, at least two spaces, its purpose.
    """
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"^## The tree\n.*?^```\w*\n(.*?)^```", readme, flags=re.M | re.S)
    assert block, "README.md has no code block under `## The tree`"
    found, above = {}, []
    for row in block[1].splitlines():
        match = re.fullmatch(r"((?:  )*)(\S+)/  +(\S.*)", row)
        assert match, f"README tree: {row!r} is not `folder/  purpose`"
        depth, name = len(match[1]) // 2, match[2]
        assert depth <= len(above), f"README tree: {row!r} is indented too far"
        above = [*above[:depth], name]
        found["/".join(above)] = match[3]
    return found


def test_readme_shows_the_rooms_in_their_own_words():
    shown = readme_tree()
    rooms = {f.rpartition("/")[0] for f in python_files(*PACKAGES)}
    tracked = {folder for f in files() for folder in ("/".join(f.split("/")[:n]) for n in (1, 2))}
    assert rooms <= shown.keys(), "these rooms are missing in README's tree"
    assert {f for f in tracked if "/" not in f and (ROOT / f).is_dir()} <= shown.keys()
    assert [folder for folder in shown if not (ROOT / folder).is_dir()] == []
    assert {
        room: shown[room] for room in rooms if not purpose_of(room).startswith(shown[room])
    } == {}


def test_readme_is_read_in_five_minutes():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 250
    assert len(text.encode()) <= 16 * 1024
    assert max(map(len, text.splitlines())) <= 120
    assert len(readme_tree()) <= 47  # every folder has its row, each family one
