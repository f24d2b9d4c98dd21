"""The registry: its own families, those of installed packages, and the ones that do not load."""

import dataclasses
import sys

import pytest

from components.artifacts.family import recipe_from
from components.errors import ConfigError
from models import families
from models.families import FAMILIES, part
from tests.plug_in import install, install_toy

GOOD = "from models.families import Family\n"
RECIPE = """
from dataclasses import dataclass
class R: pass
@dataclass(frozen=True)
class Bare:
    name = 'bare'
"""
FULL = f"""{RECIPE}
@dataclass(frozen=True)
class Full(Bare):
    tunable, needs_data, grows, encoder_roles = {{}}, True, True, ()
    x: int = 1
    misfits = generator = build = phases = lambda *a: 1 / 0
"""
UNKNOWN_TYPE = "FAMILY = Family(recipe='plug_in_x:Full')\nFull.__annotations__['x'] = 'Nope'"
# Text of the module -> the entry, and what the line says.
BROKEN = {
    "no such module": ("", "elsewhere:FAMILY", "ModuleNotFoundError: No module named 'elsewhere'"),
    "no such name": ("", "plug_in_x:FAMILY", "AttributeError"),
    "fails when imported": ("1 / 0", "plug_in_x:FAMILY", "ZeroDivisionError: division by zero"),
    "exits": ("raise SystemExit(3)", "plug_in_x:FAMILY", "SystemExit: 3"),
    "no Family": ("FAMILY = {}", "plug_in_x:FAMILY", "got a dict; wanted a models.families.Family"),
    "no recipe": (
        GOOD + "FAMILY = Family(recipe='plug_in_x:Recipe')",
        "plug_in_x:FAMILY",
        "module plug_in_x has no Recipe",
    ),
    "a path of another form": (
        GOOD + "FAMILY = Family(recipe='plug_in_x.Recipe')",
        "plug_in_x:FAMILY",
        "got the path 'plug_in_x.Recipe'; wanted package.module:name",
    ),
    "a value of another form": ("", "???", "'???' is not of the form module:name"),
    "a field of an unknown type": (
        GOOD
        + FULL
        + "FAMILY = Family(recipe='plug_in_x:Full')\nFull.__annotations__['x'] = 'Nope'",
        "plug_in_x:FAMILY",
        "NameError: name 'Nope' is not defined",
    ),
    "importers that are no tuple": (
        GOOD + FULL + "FAMILY = Family(recipe='plug_in_x:Full', importers='plug_in_x:I')",
        "plug_in_x:FAMILY",
        "importers is 'plug_in_x:I'; wanted a tuple of paths",
    ),
    "an importer in no module": (
        GOOD + FULL + "FAMILY = Family(recipe='plug_in_x:Full', importers=('none_x:I',))",
        "plug_in_x:FAMILY",
        "no module none_x, which importers name",
    ),
    "no dataclass": (
        GOOD + RECIPE + "FAMILY = Family(recipe='plug_in_x:R')",
        "plug_in_x:FAMILY",
        "plug_in_x:R is no dataclass",
    ),
    "another name": (
        GOOD + RECIPE + "Bare.name = 'other'\nFAMILY = Family(recipe='plug_in_x:Bare')",
        "plug_in_x:FAMILY",
        "plug_in_x:Bare has the name 'other'",
    ),
    "a recipe without methods": (
        GOOD + RECIPE + "FAMILY = Family(recipe='plug_in_x:Bare')",
        "plug_in_x:FAMILY",
        "plug_in_x:Bare has no tunable, needs_data, grows",
    ),
}


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on sys.path, as site-packages; what was read of it is forgotten again."""
    monkeypatch.syspath_prepend(tmp_path)
    families.installed.cache_clear()
    yield tmp_path
    families.installed.cache_clear()
    part.cache_clear()
    for name in [name for name in sys.modules if name.startswith(("toy_gan", "plug_in_x"))]:
        del sys.modules[name]


def test_an_installed_package_adds_a_family(site):
    install_toy(site)
    assert [*families.families()] == [*FAMILIES, "toy"]
    assert families.recipes()["toy"].__name__ == "Toy"
    assert families.small_fields("toy") == {}
    assert [(name, importer.title) for name, importer in families.importers()][-1] == ("toy", "Toy")
    assert dataclasses.asdict(recipe_from({"name": "toy", "z_dim": 5}))["z_dim"] == 5
    assert families.installed().broken == {}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_package_is_one_line_and_ours_go_on(site, case):
    text, entry, line = BROKEN[case]
    (site / "plug_in_x.py").write_text(text)
    install(site, "strange-gans", {"bare": entry})
    assert [*families.families()] == [*FAMILIES]
    said = families.why_unknown("bare")
    assert said.startswith(f"strange-gans registers it as {entry}: ") and line in said
    assert "\n" not in said
    with pytest.raises(ConfigError, match="strange-gans registers it as") as error:
        recipe_from({"name": "bare"})
    assert "mend or uninstall" in str(error.value)


def test_a_name_of_ours_cannot_be_taken(site):
    install_toy(site)
    install(site, "thief", {"stylegan_t": "toy_gan:FAMILY"})
    assert part(families.families()["stylegan_t"].recipe).__module__ == "models.stylegan_t.recipe"
    assert "the name of a family of ganline's own" in families.why_unknown("stylegan_t")


def test_two_packages_of_one_name_are_both_left_out(site):
    install_toy(site)
    install(site, "twin", {"toy": "toy_gan:FAMILY"})
    assert "toy" not in families.families()
    assert "2 installed packages register it" in families.why_unknown("toy")


def test_an_importer_that_does_not_load_stops_only_what_no_other_knows(site):
    install_toy(site)
    (site / "toy_gan" / "networks.py").write_text("1 / 0")
    titles = []
    line = r"family toy fails, importer toy_gan\.networks:IMPORTER: ZeroDivisionError"
    with pytest.raises(ValueError, match=line):
        titles.extend(importer.title for _, importer in families.importers())
    assert titles == [
        importer.title for f in FAMILIES.values() for importer in map(part, f.importers)
    ]


def test_every_path_of_ours_leads_somewhere():
    for name, family in FAMILIES.items():
        recipe = part(family.recipe)
        assert recipe.name == name
        recipe(**families.small_fields(name))
        assert all(importer.title for importer in map(part, family.importers))
        assert all(part(path) for path in family.parity)


def test_parity_of_ours_stands_whatever_a_package_registers(site):
    ours = families.parity_checks()
    text = "CHECKS = {'stylegan_t_mapping': 3, 'strange': 4}\n"
    text += GOOD + FULL + "FAMILY = Family(recipe='plug_in_x:Full', parity=PATHS)"
    text = text.replace("PATHS", "('plug_in_x:NOPE', 'plug_in_x:CHECKS')")
    (site / "plug_in_x.py").write_text(text)
    install(site, "strange-gans", {"bare": "plug_in_x:FAMILY"})
    families.installed.cache_clear()
    assert families.installed().broken == {}
    assert families.parity_checks() == {**ours, "strange": 4}


def test_a_recipe_that_fails_while_params_are_read_is_one_line(site):
    from pipeline.params.recipes import recipe_findings

    (site / "plug_in_x.py").write_text(GOOD + FULL + "FAMILY = Family(recipe='plug_in_x:Full')")
    install(site, "strange-gans", {"bare": "plug_in_x:FAMILY"})
    ((path, what),) = recipe_findings({"train_base": {"recipe": {"name": "bare"}}})
    assert path == ("train_base", "recipe", "name")
    assert what == "family bare fails, its recipe: ZeroDivisionError: division by zero"
