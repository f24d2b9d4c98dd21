"""A complete valid params file as plain values, made from the dataclasses alone."""

import dataclasses
from typing import Annotated, Any, Literal, get_args, get_origin

from models.fields import Between
from models.recipes import RECIPES
from pipeline.params import SECTIONS, validate
from pipeline.params_file import ParamsError, ParamsFile
from pipeline.params_schema import field_types

RECIPE = "stylegan_t"


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


def valid() -> dict[str, Any]:
    """Return a complete valid params file as plain values."""
    values: dict[str, Any] = {"seed": 1}
    values |= {name: complete(config) for name, config in SECTIONS.items()}
    train = values["train_base"]
    train |= {"resolution_px": 32, "batch": 32, "micro_batch": 16, "total_kimg": 1.0}
    values["train_base"]["recipe"] = {"name": RECIPE, **complete(RECIPES[RECIPE])}
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
        found += list(walk(("superres", "64") if name == "superres" else (name,), config))
    found += list(walk(("train_base", "recipe"), RECIPES[RECIPE]))
    return found


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
