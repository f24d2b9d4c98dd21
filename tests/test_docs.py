"""docs/architecture.md says what the code is, and the site builds from docs/ alone.

The page is read as text: the lines of its two Mermaid diagrams and the rows of its tables.
"""

import ast
import re
import shutil
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from tests.house_source import PACKAGES, ROOT, files, import_graph, module_of, python_files, tree_of

PAGE = ROOT / "docs" / "architecture.md"
# What fills dvc.yaml's templates in the embedded default; params.yaml itself is the user's to edit.
FILLED = {
    "source.path": "data/raw/train",
    "text_encoder.start": "px64",
    "evaluate.model": "aligned",
    "item.start": "base",
    "key": "64",
}
# What a browser fetches on its own: all but plain links.
FETCHED = (
    r"<(?:script|img|iframe|source|video|link)\b[^>]*?(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)"
)


def section(heading: str) -> str:
    """Return the text of the page from a heading to the next one of the same level."""
    level = heading.split(" ")[0]
    found = re.search(
        rf"^{re.escape(heading)}\n(.*?)(?=^{level} |\Z)", PAGE.read_text(), flags=re.M | re.S
    )
    assert found, f"{PAGE.name} has no heading {heading!r}"
    return found[1]


def diagram(heading: str) -> list[str]:
    """Return the lines of the Mermaid diagram below a heading."""
    block = re.search(r"^```mermaid\n(.*?)^```", section(heading), flags=re.M | re.S)
    assert block, f"no diagram below {heading!r}"
    return [line.strip() for line in block[1].splitlines()]


def table(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its head."""
    text = section(heading)
    rows = [line.strip("| ").split(" |") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def in_ticks(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def arrows(lines: list[str]) -> set[tuple[str, str]]:
    """Return the arrows of a diagram, `a --> b & c` being two of them."""
    found = set()
    for line in lines:
        if " --> " in line:
            start, ends = line.split(" --> ")
            for end in ends.split(" & "):
                assert (start, end) not in found, f"two arrows {start} --> {end}"
                found.add((start, end))
    return found


def labels(lines: list[str]) -> dict[str, list[str]]:
    """Return box -> the lines of its label, subgraphs included."""
    boxes = [re.fullmatch(r'(?:subgraph )?(\w+)\[\(?"(.+?)"\)?\]', line) for line in lines]
    found = [(box[1], box[2].split("<br>")) for box in boxes if box]
    assert len(dict(found)) == len(found), "two boxes of one name"
    return dict(found)


@cache
def rooms() -> dict[str, str]:
    """Return module -> its room: `models/layers/`, or the file itself if it is in no folder."""
    found = {}
    for file in python_files(*PACKAGES):
        package, name, *rest = file.split("/")
        if rest or name != "__init__.py":
            found[module_of(file)] = f"{package}/{name}/" if rest else file
    return found


@cache
def room_imports() -> set[tuple[str, str]]:
    """Return (room, room that it imports) for all imports, those of types too."""
    pairs = {
        (rooms()[module], rooms()[other])
        for module, others in import_graph().items()
        for other in others
        if module in rooms() and other in rooms()
    }
    return {(room, other) for room, other in pairs if room != other}


def package(room: str) -> str:
    return room.split("/")[0]


def boxes_of_rooms(lines: list[str]) -> dict[str, str]:
    """Return room -> its box; small files share one."""
    found: dict[str, str] = {}
    inside = ""
    for line in lines:
        if line.startswith("subgraph "):
            inside = line.split()[1].split("[")[0]
        for box, names in labels([line]).items() if inside and "subgraph" not in line else ():
            found |= {f"{inside}/{name}": box for name in names}
        inside = "" if line == "end" else inside
    return found


def check(what: str, shown: set[str], real: set[str]) -> None:
    """Fail with the lines to add and to remove, ready to be copied."""
    todo = [f"add     {line}" for line in sorted(real - shown)]
    todo += [f"remove  {line}" for line in sorted(shown - real)]
    assert not todo, f"{what} in docs/architecture.md:\n" + "\n".join(todo)


def written(pairs: set[tuple[str, str]]) -> set[str]:
    return {f"{start} --> {end}" for start, end in pairs}


def test_the_diagram_of_rooms_has_every_room_once():
    boxes = boxes_of_rooms(diagram("## The rooms"))
    assert sorted(set(rooms().values()) - set(boxes)) == [], "these rooms have no box"
    assert sorted(set(boxes) - set(rooms().values())) == [], "these boxes have no room"


def test_the_diagram_of_rooms_is_the_real_imports():
    """Arrows between the rooms of a package, and one for all imports from package to package."""
    lines = diagram("## The rooms")
    boxes = boxes_of_rooms(lines)
    real = set()
    for room, other in room_imports():
        inside = package(room) == package(other)
        ends = (boxes[room], boxes[other]) if inside else (package(room), package(other))
        if ends[0] != ends[1]:
            real.add(ends)
    check("the diagram of rooms", written(arrows(lines)), written(real))


@pytest.mark.parametrize("name", PACKAGES)
def test_the_tables_of_rooms_say_purpose_and_imports(name):
    """A purpose is the first paragraph of a docstring; imports are those from packages below."""
    below = PACKAGES[PACKAGES.index(name) + 1 :]
    real = set()
    for room in {room for room in rooms().values() if package(room) == name}:
        file = f"{room}__init__.py" if room.endswith("/") else room
        summary = " ".join((ast.get_docstring(tree_of(file)) or "").split("\n\n")[0].split())
        cells = [f"`{room.partition('/')[2]}`", summary]
        for other in below:
            used = [end for start, end in room_imports() if start == room and package(end) == other]
            cells.append(", ".join(sorted(f"`{end.partition('/')[2]}`" for end in used)))
        real.add(f"| {' | '.join(cells)} |")
    lines = section(f"### {name}/").splitlines()
    shown = {line for line in lines if line.startswith("| `")}
    check(f"the table of {name}/", shown, real)


def filled(text: str) -> str:
    return re.sub(r"\$\{([^}]+)\}", lambda match: FILLED[match[1]], text)


def graph() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return stage -> what it reads and stage -> what it writes, as dvc.yaml has it; no reports."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    reads, writes = {}, {}
    for name, entry in stages.items():
        key = f"{name}@{FILLED['key']}" if "foreach" in entry else name
        entry = entry.get("do", entry)
        outs = [next(iter(x)) if isinstance(x, dict) else x for x in entry.get("outs", [])]
        reads[key] = [filled(path) for path in entry["deps"]]
        writes[key] = [path for path in map(filled, outs) if not path.startswith("reports/")]
    return reads, writes


def test_the_diagram_of_the_graph_is_dvc_yaml():
    lines = diagram("## The graph")
    names = {box: label[0] for box, label in labels(lines).items()}
    reads, writes = graph()
    real = {(stage, out) for stage, outs in writes.items() for out in outs}
    for out in [out for outs in writes.values() for out in outs]:
        for stage, paths in reads.items():
            if any(path == out or path.startswith(f"{out}/") for path in paths):
                real.add((out, stage))
    shown = {(names[start], names[end]) for start, end in arrows(lines)}
    check("the diagram of the graph", written(shown), written(real))
    assert set(names.values()) == {end for arrow in real for end in arrow}


def test_the_steps_of_a_sample_name_functions_that_exist():
    rows = table("## The life of one sample")
    assert len(rows) > 8
    stages = set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    for step, _, file, function, stage in rows:
        (path,), (name,) = in_ticks(file), in_ticks(function)
        assert (ROOT / path).is_file(), f"{step}: there is no {path}"
        scope = tree_of(path).body
        for part in name.split("."):
            found = [node for node in scope if getattr(node, "name", "") == part]
            assert found, f"{step}: {path} has no {name}"
            scope = found[0].body
        assert stage.startswith("none") or in_ticks(stage) <= stages, f"{step}: {stage}"


def test_what_a_row_of_the_last_table_points_to_exists():
    for line, place in table("## Where does my line of code go?"):
        for path in in_ticks(place):
            there = (ROOT / path).exists() or path in ("names.py", "checkpoint.py", "__init__.py")
            assert there, f"{line}: there is no {path}"


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, which names Python functions, without importing them."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/name:", lambda *_: None)


def pages_of(nav: list | dict | str) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in pages_of(part)]


def test_every_page_is_in_the_menu_once():
    pages = {file.removeprefix("docs/") for file in files() if re.match(r"docs/.+\.md$", file)}
    menu = pages_of(yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)["nav"])
    assert len(set(menu)) == len(menu)
    assert sorted(pages - set(menu)) == [], "these pages are not in the nav of mkdocs.yml"
    assert sorted(page for page in menu if not (ROOT / "docs" / page).is_file()) == []


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site: from the tracked files alone, as strictly as `make docs` builds it."""
    if find_spec("mkdocs") is None:
        pytest.skip("no mkdocs here: make setup installs it")
    folder = tmp_path_factory.mktemp("docs")
    for file in files():
        if file == "mkdocs.yml" or file.split("/")[0] in ("docs", *PACKAGES):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, folder / file)
    # No --quiet: with it, --strict counts no warnings and every dead link passes.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@pytest.mark.slow
def test_the_site_fetches_nothing_from_the_net(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        assert re.findall(FETCHED, page.read_text()) == [], page.name
    for style in site.rglob("*.css"):
        assert re.findall(r"url\([\"']?(?:https?:)?//[^)]+", style.read_text()) == [], style.name


@pytest.mark.slow
def test_a_page_with_a_diagram_brings_mermaid_itself(site):
    """Without it Material fetches Mermaid from a CDN."""
    with_diagram = []
    for page in site.rglob("*.html"):
        text = page.read_text()
        scripts = re.findall(r'<script src="([^"]*mermaid[^"]*)"', text)
        assert bool(scripts) == ('class="mermaid"' in text), page.name
        assert all((page.parent / script).is_file() for script in scripts), page.name
        with_diagram += [page.name] * bool(scripts)
    assert "architecture.html" in with_diagram


@pytest.mark.slow
def test_no_text_is_lost_as_a_tag(site):
    """Markdown takes `<name>` for HTML unless it stands in backticks: nobody closes that tag."""
    lost = set()
    for page in site.rglob("*.html"):
        article = re.search(r"<article.*?</article>", page.read_text(), flags=re.S)
        text = article[0] if article else ""
        for tag in set(re.findall(r"<([a-z][\w-]*)[^>]*(?<!/)>", text)) - {"br", "hr", "img"}:
            opened = len(re.findall(rf"<{tag}(?:\s[^>]*)?(?<!/)>", text))
            if opened != text.count(f"</{tag}>"):
                lost.add(f"{page.name}: <{tag}>")
    assert sorted(lost) == []
