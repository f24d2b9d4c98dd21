"""Who imports whom: one way through the packages, one door to each framework, no circle."""

import pytest

from models.families import FAMILIES
from tests.house_source import PACKAGES, circles, import_graph, imports, python_files

# Package -> what it may import among the three.
MAY_IMPORT = {
    "pipeline": {"pipeline", "components", "models"},
    "components": {"components", "models"},
    "models": {"models"},
}
# Library -> the only files that import it.
DOORS = {
    "ray": {f"pipeline/cluster/{name}_door.py" for name in ("ray", "search", "serve")},
    "mlflow": {"pipeline/tracking/mlflow_door.py", "pipeline/tracking/served_model.py"},
    "gradio": {"pipeline/serving/page/gradio_door.py"},
    "dvc": set(),
}


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


def room_of(module: str) -> str:
    """Return the folder below a package that a module is in, or the loose module itself."""
    return ".".join(module.split(".")[:2])


def rooms() -> dict[str, frozenset[str]]:
    """Return room -> the rooms that it imports from."""
    graph: dict[str, set[str]] = {}
    for module, imported in import_graph().items():
        others = {room_of(other) for other in imported} - {room_of(module)}
        graph.setdefault(room_of(module), set()).update(others)
    return {room: frozenset(others) for room, others in graph.items()}


def test_there_is_no_circle_of_imports():
    """Type-only imports count: whoever reads one file needs the other."""
    assert circles(import_graph()) == []
    assert circles(rooms()) == []


def test_a_circle_would_be_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"d2"}, "e": {"a"}}
    assert circles({node: frozenset(others) for node, others in graph.items()}) == [["a", "b", "c"]]


def test_commands_and_stages_are_needed_by_nobody_below():
    below = ("params", "tracking", "cluster", "graph", "progress", "live", "exit_codes", "places")
    for room in (f"pipeline.{name}" for name in below):
        assert not rooms()[room] & {"pipeline.commands", "pipeline.stages", "pipeline.cli"}, room


@pytest.mark.parametrize("family", FAMILIES)
def test_only_families_take_from_a_family(family):
    """Shared parts know no family, and `families.py` knows them by dotted path alone."""
    named = {path.split(":")[0] for f in FAMILIES.values() for path in (f.recipe, *f.parity)}
    folders = {room_of(module) for module in named}
    takers = {room for room, others in rooms().items() if f"models.{family}" in others}
    assert takers <= folders


def test_a_family_is_one_folder():
    """All parts that the registry names stand in the family's folder, or in that of a part which
    has no line of its own.
    """
    homes = {f"models.{name}" for name in FAMILIES}
    for name, family in FAMILIES.items():
        paths = [family.recipe, *family.importers, *family.parity, family.small]
        found = {room_of(path.split(":")[0]) for path in paths}
        assert found & homes == {f"models.{name}"}, name
