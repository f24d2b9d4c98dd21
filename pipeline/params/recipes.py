"""Check every `recipe` of params.yaml against the family that it names, and against the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.params.schema import Finding, check, check_overrides, unknown_key

if TYPE_CHECKING:
    from models.interfaces import Recipe

ALIGNED = "aligned"  # the artifact that stage text_encoder leaves


def recipe_findings(values: dict[str, Any]) -> list[Finding]:
    """Check every `recipe` against the dataclass its name stands for.

    train_base states a whole recipe; a later stage states only what differs from the artifact it
    starts from, so its keys are checked one by one against the family of its base.
    """
    findings: list[Finding] = []
    base = _recipe_at(values.get("train_base"))
    family = None
    if base is not None:
        wrong, family = _check_base(base)
        findings += [(("train_base", "recipe", *path), what) for path, what in wrong]
    if base is not None and family is not None and not findings:
        findings = _check_recipe(family, base, values)
    grown = values.get("superres")
    later = {("superres", k): v for k, v in grown.items()} if isinstance(grown, dict) else {}
    later[("text_encoder",)] = values.get("text_encoder")  # type: ignore[index]
    for place, stage in later.items():
        overrides = _recipe_at(stage)
        if overrides and family is not None:
            findings += [
                ((*place, "recipe", *path), what) for path, what in _check_growth(overrides, family)
            ]
    return findings + adapt_findings(values.get("adapt"))


def adapt_findings(entries: Any) -> list[Finding]:
    """Check the recipe of every entry of `adapt`: a whole one, of a family that adapts another."""
    from models.families import recipes

    findings: list[Finding] = []
    known = {name: cls for name, cls in recipes().items() if getattr(cls, "adapts", False)}
    for key, stage in entries.items() if isinstance(entries, dict) else ():
        recipe, here = _recipe_at(stage) or {}, ("adapt", key, "recipe")
        family = known.get(str(recipe.get("name")))
        if family is None:
            got = f"got {recipe['name']!r}" if "name" in recipe else "missing"
            what = f"{got}; allowed: one of {', '.join(sorted(known))}"
            findings.append(((*here, "name"), what))
            continue
        built, wrong = check(family, _fields(recipe))
        findings += [((*here, *path), what) for path, what in wrong]
        if built is not None:
            findings += [((*here, field), what) for field, what in built.misfits("none").items()]
        if isinstance(stage, dict) and not stage.get("start"):
            what = "missing; allowed: the artifact to adapt, as px64, release or imported"
            findings.append((("adapt", key, "start"), what))
    return findings


def _recipe_at(stage: Any) -> dict[str, Any] | None:
    recipe = stage.get("recipe") if isinstance(stage, dict) else None
    return recipe if isinstance(recipe, dict) else None


def _fields(recipe: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in recipe.items() if key != "name"}


def _check_base(recipe: dict[str, Any]) -> tuple[list[Finding], type[Recipe] | None]:
    from models.families import recipes, why_unknown

    name, known = recipe.get("name"), recipes()
    if name is None:
        return [(("name",), f"missing; allowed: one of {', '.join(sorted(known))}")], None
    if name not in known:
        what = unknown_key(str(name), known).replace("unknown key", f"unknown recipe {name!r}")
        return [(("name",), why_unknown(str(name)) or what)], None
    if getattr(known[name], "adapts", False):
        what = f"got {name!r}, which changes a finished model; allowed: a family that trains one"
        return [(("name",), what)], None
    return check(known[name], _fields(recipe))[1], known[name]


def _check_recipe(
    family: type[Recipe], base: dict[str, Any], values: dict[str, Any]
) -> list[Finding]:
    """Ask the recipe what it thinks of the stages and the data."""
    from models.families import blamed

    try:
        with blamed(family.name, "its recipe"):
            findings = _check_grows(family, base, values.get("superres"))
            return findings or _check_fit(family, base, values)
    except ValueError as error:
        return [(("train_base", "recipe", "name"), str(error))]


def _check_grows(family: type[Recipe], base: dict[str, Any], superres: Any) -> list[Finding]:
    """Refuse every later resolution of a network that has only one, before days are spent on it."""
    recipe = family(**_fields(base))
    if recipe.grows or not isinstance(superres, dict):
        return []
    what = f"{family.name} does not grow: remove the entry and raise train_base.resolution_px"
    return [(("superres", key), what) for key in superres]


def _check_fit(family: type[Recipe], base: dict[str, Any], values: dict[str, Any]) -> list[Finding]:
    """Ask the recipe of every resolution, as its start hands it on, about the data's kind and the
    images' size; what the start is told already is not told again.
    """
    source = values.get("source")
    if isinstance(source, list) and source:
        source = source[0]  # all sources are conditioned on the same
    condition = source.get("condition", "text") if isinstance(source, dict) else "text"
    fields = _fields(base)
    wrong = family(**fields).misfits(condition, _resolution_of(values["train_base"]))
    findings: list[Finding] = [(("train_base", "recipe", key), what) for key, what in wrong.items()]
    base_px = _resolution_of(values["train_base"])
    handed = {"base": (fields, wrong, base_px)}
    superres = values.get("superres")
    grown = superres if isinstance(superres, dict) else {}
    for px, stage in sorted(grown.items(), key=lambda item: str(item[0]).zfill(6)):
        changed = _recipe_at(stage) or {}
        if not isinstance(stage, dict) or _check_growth(changed, family):
            continue
        start = stage.get("start")
        if start == ALIGNED and isinstance(values.get("text_encoder"), dict):
            start = values["text_encoder"].get("start")
        before, known, before_px = handed.get(str(start), handed["base"])
        own = before | changed
        recipe = family(**own)
        wrong = recipe.misfits(condition, _resolution_of(stage))
        asked = getattr(recipe, "start_misfits", None)
        if asked is not None and before_px is not None:
            wrong = wrong or asked(before, before_px)
        handed[f"px{px}"] = (own, wrong, _resolution_of(stage))
        findings += [
            (("superres", px, "recipe", key), what)
            for key, what in wrong.items()
            if key in changed or key not in known
        ]
    return findings


def _resolution_of(stage: dict[str, Any]) -> int | None:
    resolution = stage.get("resolution_px")
    return resolution if isinstance(resolution, int) else None


def _check_growth(overrides: dict[str, Any], family: type[Recipe]) -> list[Finding]:
    if "name" in overrides:
        return [(("name",), "a later stage keeps the family of its base: remove the key")]
    return check_overrides(family, overrides)
