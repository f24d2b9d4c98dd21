"""A complete valid params file as plain values, made from the dataclasses alone."""

import dataclasses
from typing import Annotated, Any, Literal, get_args, get_origin

from models.families import recipes
from models.fields import Between
from pipeline.params.file import ParamsError, ParamsFile
from pipeline.params.schema import field_types
from pipeline.params.sections import SECTIONS, validate

RECIPE = "stylegan_t"
ADAPTING = "stylegan_nada"


def example(kind: Any) -> Any:
    """Return some valid plain value of a field's type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        bounds = next((extra for extra in arguments[1:] if isinstance(extra, Between)), None)
        plain = example(arguments[0])
        if bounds is None or isinstance(plain, list | dict):
            return plain
        low = bounds.low if bounds.low is not None else 0
        return int(low) if arguments[0] is int else float(low)
    if origin is Literal:
        return arguments[0]
    if origin in (tuple, list):
        return []
    if origin is dict or kind is dict:
        return {}
    if dataclasses.is_dataclass(kind):
        return complete(kind)
    return {int: 1, float: 1.0, bool: True, str: "text"}.get(kind)


def complete(config: type) -> dict[str, Any]:
    """Return every field of a dataclass as plain values, its defaults where it has them."""
    values = {}
    for field in dataclasses.fields(config):
        if field.default is not dataclasses.MISSING:
            values[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            values[field.name] = field.default_factory()
        else:
            values[field.name] = example(field_types(config)[field.name])
    return values


# Family -> what its defaults ask for and captions of 32 px do not have.
OFF = {"stylegan_xl": {"guidance_weight": 0.0, "stem_px": 32}}


# What an adapting family cannot do without.
OFF[ADAPTING] = {"source": "a photo", "target": "a sketch"}


def adapts(family: str) -> bool:
    return getattr(recipes()[family], "adapts", False)


def home_of(family: str) -> tuple[str, ...]:
    """Return where a family's recipe stands in a params file."""
    return ("adapt", "made", "recipe") if adapts(family) else ("train_base", "recipe")


def valid_of(family: str) -> dict[str, Any]:
    """Return a complete valid params file of any family, one resolution of it."""
    values = valid()
    recipe = {"name": family, **complete(recipes()[family]), **OFF.get(family, {})}
    put(values, home_of(family), plain(recipe))
    values["superres"] = {}
    values["text_encoder"] |= {
        "start": "base",
        "resolution_px": 32,
        "recipe": {},
        "total_kimg": 0.0,
    }
    return values


def valid() -> dict[str, Any]:
    """Return a complete valid params file as plain values."""
    values: dict[str, Any] = {"seed": 1}
    values |= {name: complete(config) for name, config in SECTIONS.items()}
    train = values["train_base"]
    train |= {"resolution_px": 32, "batch": 32, "micro_batch": 16, "total_kimg": 1.0}
    values["train_base"]["recipe"] = {"name": RECIPE, **complete(recipes()[RECIPE])}
    values["superres"] = {
        "64": {
            **train,
            "start": "base",
            "recipe": {"clip_weight": 2},
            "resolution_px": 64,
        }
    }
    values["text_encoder"] = {
        **train,
        "start": "px64",
        "recipe": {"trains": "text_encoder", "text_clip_weight": 2},
        "resolution_px": 64,
    }
    recipe = {"name": ADAPTING, **complete(recipes()[ADAPTING]), **OFF[ADAPTING]}
    values["adapt"] = {"made": {**train, "start": "px64", "recipe": recipe, "resolution_px": 64}}
    values["filter"]["resolution_px"] = 64
    values["evaluate"]["model"] = "aligned"
    return plain(values)


def plain(values: Any) -> Any:
    if dataclasses.is_dataclass(values):
        return plain(dataclasses.asdict(values))
    if isinstance(values, dict):
        return {key: plain(value) for key, value in values.items()}
    if isinstance(values, tuple | list):
        return [plain(value) for value in values]
    return values


def schema() -> list[tuple[tuple[str, ...], Any]]:
    """Return (path, type) of every key that a params file may hold."""

    def walk(path, config):
        for name, kind in field_types(config).items():
            yield (*path, name), kind
            inner = get_args(kind)[0] if get_origin(kind) is Annotated else kind
            if dataclasses.is_dataclass(inner):
                yield from walk((*path, name), inner)

    found = []
    for name, config in SECTIONS.items():
        path = {"superres": ("superres", "64"), "adapt": ("adapt", "made")}.get(name, (name,))
        found += list(walk(path, config))
    found += list(walk(("train_base", "recipe"), recipes()[RECIPE]))
    return found


def fields_of_families() -> list[tuple[str, str, Any]]:
    """Return (family, field, type) of every recipe but the one of `schema`."""
    others = [name for name in recipes() if name != RECIPE]
    return [(name, *field) for name in others for field in field_types(recipes()[name]).items()]


def put(values, path, value):
    for part in path[:-1]:
        values = values[part]
    values[path[-1]] = value


def wrong_keys(values) -> dict[str, str]:
    """Return what is wrong with these values, dotted key -> what, without going through a file."""
    try:
        validate(ParamsFile(name="params.yaml", values=values))
    except ParamsError as error:
        return {problem.key: problem.what for problem in error.problems}
    return {}


def check_mutations(make, path, kind):
    """Put every kind of wrong value at a path of a valid file: each is named by its dotted key."""
    key = ".".join(path)
    wrong_type: Any = [{"not": "this"}]
    mutations = {"wrong type": wrong_type}
    bare, bounds = kind, None
    if get_origin(kind) is Annotated:
        bare = get_args(kind)[0]
        bounds = next((e for e in get_args(kind)[1:] if isinstance(e, Between)), None)
    if bare in (int, float):
        mutations |= {"bool": True, "text": "1e-4", "infinite": float("inf")}
        mutations |= {"not a number": float("nan")}
    if bare is str:
        mutations |= {"bool": True, "number": 3}
    if bare is bool:
        mutations |= {"number": 1, "text": "yes"}
    if bounds is not None and bounds.low is not None:
        mutations["too low"] = bounds.low - 1
    if bounds is not None and bounds.high is not None:
        mutations["too high"] = bounds.high + 1
    if get_origin(bare) is Literal:
        mutations["not listed"] = "no such choice"
    for name, value in mutations.items():
        values = make()
        put(values, path, value)
        found = wrong_keys(values)
        hit = [k for k in found if k == key or k.startswith(key + ".")]
        assert hit, f"{key} {name} was not named: {found}"
    misspelt = (*path[:-1], path[-1] + "x")
    values = make()
    put(values, misspelt, 1)
    assert f"did you mean {path[-1]}?" in wrong_keys(values)[".".join(misspelt)]
