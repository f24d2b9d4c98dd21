"""The only list of families: each name, and where the parts of that family are.

A family names its parts by dotted path, "package.module:name". So nothing here loads torch, and a
new family is a folder and one line. An installed package adds families by entry points of the group
`ganline.families`, each of them a `Family`; one that does not load is told in a line and left out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.metadata
import importlib.util
import typing
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.interfaces import Recipe

GROUP = "ganline.families"  # of the entry points
# What a recipe has beside its fields: see models/interfaces.py.
PROMISED = ("tunable", "needs_data", "grows", "encoder_roles", "misfits")
METHODS = ("generator", "build", "phases")


@dataclass(frozen=True, kw_only=True)
class Family:
    """Where the parts of a family are, each by its dotted path "package.module:name".

    Attributes:
        recipe: class of the recipe, whose `name` is the family's; its module does not load torch.
        importers: of published checkpoints (`models.interop.import_request.Importer`); the first
            one that knows a checkpoint takes it.
        parity: of dicts, name of a parity fixture -> `models.interop.parity_file.ParityCheck`.
        mappers: of what reads published latent mappers: a checkpoint's content -> mapper and text,
            None when it holds none; "" = there are none.
        small: of a dict of the recipe's fields, sizes at which a test trains in seconds; "" = the
            recipe's defaults are small.
    """

    recipe: str
    importers: tuple[str, ...] = ()
    parity: tuple[str, ...] = ()
    mappers: str = ""
    small: str = ""


FAMILIES: dict[str, Family] = {
    "stylegan_t": Family(
        recipe="models.stylegan_t.recipe:StyleGANT",
        importers=("models.stylegan_t.checkpoint:IMPORTER",),
        parity=("models.stylegan_t.parity:CHECKS",),
        small="models.stylegan_t.fields:SMALL",
    ),
    "projected_gan": Family(
        recipe="models.projected_gan.recipe:ProjectedGAN",
        importers=(
            "models.projected_gan.checkpoint:FASTGAN",
            "models.projected_gan.checkpoint:STYLEGAN2",
            "models.stylegan2.rosinality:IMPORTER",
        ),
        parity=(
            "models.projected_gan.parity:CHECKS",
            "models.stylegan2.parity:CHECKS",
            "models.stylegan2.rosinality_parity:CHECKS",
        ),
        small="models.projected_gan.fields:SMALL",
    ),
    "stylegan_xl": Family(
        recipe="models.stylegan_xl.recipe:StyleGANXL",
        importers=(
            "models.stylegan_xl.checkpoint:STYLEGAN_XL",
            "models.stylegan_xl.checkpoint:STYLEGAN3",
        ),
        parity=("models.stylegan_xl.parity:CHECKS",),
        small="models.stylegan_xl.fields:SMALL",
    ),
    "stylegan_nada": Family(
        recipe="models.stylegan_nada.recipe:StyleGANNADA",
        parity=(
            "models.stylegan_nada.parity:CHECKS",
            "models.stylegan_nada.editing_parity:CHECKS",
        ),
        mappers="models.stylegan_nada.mapper_names:mapper_in",
        small="models.stylegan_nada.fields:SMALL",
    ),
    "gigagan": Family(
        recipe="models.gigagan.recipe:GigaGAN",
        importers=(
            "models.gigagan.aurora_import:IMPORTER",
            "models.gigagan.aura_import:IMPORTER",
        ),
        parity=(
            "models.gigagan.parity:CHECKS",
            "models.gigagan.aura_parity:CHECKS",
            "models.gigagan.vision_parity:CHECKS",
        ),
        small="models.gigagan.small:SMALL",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Installed:
    """What installed packages register: families that load, and why the others do not."""

    families: Mapping[str, Family] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)


def families() -> dict[str, Family]:
    """Return name -> family: ours, then those of installed packages by name."""
    return {**FAMILIES, **installed().families}


def recipes() -> dict[str, type[Recipe]]:
    """Return name -> class of the recipe."""
    return {name: part(family.recipe) for name, family in families().items()}


def importers() -> Iterator[tuple[str, Any]]:
    """Yield (family, importer) in the order in which importers are asked, ours first.

    Raises:
        ValueError: an installed package's importer does not load.
    """
    for name, family in families().items():
        for path in family.importers:
            with blamed(name, f"importer {path}"):
                importer = part(path)
            yield name, importer


def mapper_in(content: Any) -> Any:
    """Return mapper and text of a checkpoint that holds a latent mapper; None when it does not.

    Raises:
        ValueError: it holds one that does not fit.
    """
    for name, family in families().items():
        if family.mappers:
            with blamed(name, "its mappers"):
                found = part(family.mappers)(content)
            if found is not None:
                return found
    return None


def parity_checks() -> dict[str, Any]:
    """Return name of a parity fixture -> how it is recomputed, of all families.

    A name of ours is not replaced, and what an installed package cannot load is left out.
    """
    checks: dict[str, Any] = {}
    for name, family in families().items():
        for path in family.parity:
            ours = name in FAMILIES
            with contextlib.nullcontext() if ours else contextlib.suppress(Exception):
                checks = {**part(path), **checks}
    return checks


@contextlib.contextmanager
def blamed(name: str, what: str) -> Iterator[None]:
    """Turn any error of an installed package's family into a ValueError that names it.

    Args:
        name: of the family; an error of ours is left as it is.
        what: was asked of it.
    """
    try:
        yield
    except Exception as error:  # whatever a stranger's code does
        if name in FAMILIES:
            raise
        raise ValueError(f"family {name} fails, {what}: {one_line(error)}") from error


def small_fields(name: str) -> dict[str, Any]:
    """Return the fields at which a test trains this family in seconds."""
    path = families()[name].small
    return dict(part(path)) if path else {}


def why_unknown(name: str) -> str:
    """Return what is wrong with the installed package that registers this family, "" if none
    does.
    """
    return installed().broken.get(name, "")


@cache
def part(path: str) -> Any:
    """Return what stands at "package.module:name".

    Raises:
        ImportError: no such module, or it has no such name.
        ValueError: the path is of another form.
    """
    module, colon, name = path.partition(":")
    if not (module and colon and name):
        raise ValueError(f"got the path {path!r}; wanted package.module:name")
    loaded = importlib.import_module(module)
    if not hasattr(loaded, name):
        raise ImportError(f"module {module} has no {name}")
    return getattr(loaded, name)


@cache
def installed() -> Installed:
    """Return the families of installed packages; read once per process."""
    points = list(importlib.metadata.entry_points(group=GROUP))
    count = Counter(point.name for point in points)
    found: dict[str, Family] = {}
    broken: dict[str, str] = {}
    for point in sorted(points, key=lambda point: point.name):
        try:
            if count[point.name] > 1:
                raise ValueError(f"{count[point.name]} installed packages register it")
            if not point.pattern.match(point.value):
                raise ValueError(f"{point.value!r} is not of the form module:name")
            found[point.name] = _checked(point.name, point.load())
        except (Exception, SystemExit) as error:  # whatever a stranger's module does
            package = point.dist.name if point.dist else "an installed package"
            broken[point.name] = f"{package} registers it as {point.value}: {one_line(error)}"
    return Installed(families=found, broken=broken)


def one_line(error: BaseException) -> str:
    """Return kind and text of an error, shortened to a line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _checked(name: str, family: Any) -> Family:
    """Return a registered family; TypeError or ValueError says what is wrong with it."""
    if not isinstance(family, Family):
        raise TypeError(f"got a {type(family).__name__}; wanted a models.families.Family")
    if name in FAMILIES:
        raise ValueError(f"{name} is the name of a family of ganline's own")
    recipe = part(family.recipe)
    if not (isinstance(recipe, type) and dataclasses.is_dataclass(recipe)):
        raise TypeError(f"{family.recipe} is no dataclass")
    if getattr(recipe, "name", None) != name:
        raise ValueError(f"{family.recipe} has the name {getattr(recipe, 'name', None)!r}")
    if missing := [word for word in PROMISED + METHODS if not hasattr(recipe, word)]:
        raise TypeError(f"{family.recipe} has no {', '.join(missing)}")
    typing.get_type_hints(recipe, include_extras=True)
    for word, paths in (("importers", family.importers), ("parity", family.parity)):
        if not isinstance(paths, tuple):
            raise TypeError(f"{word} is {paths!r}; wanted a tuple of paths")
        for path in paths:
            module = path.partition(":")[0]
            if importlib.util.find_spec(module) is None:
                raise ImportError(f"no module {module}, which {word} name")
    return family
