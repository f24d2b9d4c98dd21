"""Check plain values against a configuration dataclass and say in words what each field allows.

pydantic does the checking, strictly and through its JSON mode, where a list may fill a tuple and a
whole number a float but nothing else is converted. The messages are ours: what was given, what is
allowed, and the nearest known name.
"""

import dataclasses
import difflib
import functools
import json
import re
import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pydantic

from models.fields import Between

STRICT = pydantic.ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

# (path below the section, what is wrong)
Finding = tuple[tuple[str, ...], str]


@functools.cache
def field_types(config: type) -> dict[str, Any]:
    """Return the type of every field of a dataclass, bounds included."""
    hints = get_type_hints(config, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(config)}


def check(config: type, raw: Any) -> tuple[Any, list[Finding]]:
    """Build the dataclass from plain values.

    Returns:
        the frozen dataclass and no findings, or None and everything that is wrong.
    """
    try:
        return _adapter(config).validate_json(_as_json(raw)), []
    except pydantic.ValidationError as error:
        return None, _explain(config, error)


def check_overrides(config: type, raw: dict[str, Any]) -> list[Finding]:
    """Check some of a dataclass's fields, each for itself; none is required."""
    findings: list[Finding] = []
    known = field_types(config)
    for name, value in raw.items():
        if name not in known:
            findings.append(((name,), unknown_key(name, known)))
            continue
        try:
            _adapter(known[name]).validate_json(_as_json(value))
        except pydantic.ValidationError as error:
            findings += [((name, *path), what) for path, what in _explain(known[name], error)]
    return findings


def unknown_key(name: str, known: Iterable[str]) -> str:
    """Say that a key is unknown, with the nearest known name or else all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.55)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    return f"unknown key; {hint}"


def describe(kind: Any) -> str:
    """Say in words what a field of this type allows."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        bounds = [extra for extra in arguments[1:] if isinstance(extra, Between)]
        return describe(arguments[0]) + "".join(_range(bound) for bound in bounds)
    if origin is Literal:
        several = "one of " if len(arguments) > 1 else ""
        return several + ", ".join(json.dumps(value) for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(argument) for argument in arguments)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return f"a list, each {describe(arguments[0])}"
    if origin is tuple:
        return "a list of " + ", ".join(describe(argument) for argument in arguments)
    if origin is list:
        return f"a list, each {describe(arguments[0])}"
    if origin is dict:
        return f"keys with values, each {describe(arguments[1])}"
    if _is_config(kind):
        return "a section with " + ", ".join(field.name for field in dataclasses.fields(kind))
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    names |= {type(None): "null", dict: "keys with values", list: "a list", Any: "anything"}
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def given(value: Any) -> str:
    """Show a value as the user wrote it, shortened."""
    if value is None:
        return "nothing"
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _is_config(kind: Any) -> bool:
    """Whether this is a dataclass, not one of its instances (a bound is one)."""
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def _range(bound: Between) -> str:
    if bound.low is not None and bound.high is not None:
        return f" from {bound.low} to {bound.high}"
    if bound.low is not None:
        return f", at least {bound.low}"
    return f", at most {bound.high}" if bound.high is not None else ""


def _as_json(raw: Any) -> str:
    return json.dumps(raw, default=str)


@functools.cache
def _adapter(kind: Any) -> pydantic.TypeAdapter[Any]:
    # pydantic takes no config argument for a dataclass; it reads this attribute, also of nested
    # ones.
    for config in _dataclasses_in(kind):
        config.__pydantic_config__ = STRICT  # type: ignore[attr-defined]
    if _is_config(kind):
        return pydantic.TypeAdapter(kind)
    return pydantic.TypeAdapter(kind, config=None if list(_dataclasses_in(kind)) else STRICT)


def _dataclasses_in(kind: Any) -> Iterable[Any]:
    if _is_config(kind):
        yield kind
        for inner in field_types(kind).values():  # type: ignore[arg-type]
            yield from _dataclasses_in(inner)
    for argument in get_args(kind):
        yield from _dataclasses_in(argument)


def _explain(kind: Any, error: pydantic.ValidationError) -> list[Finding]:
    findings: dict[tuple[str, ...], str] = {}
    for detail in error.errors(include_url=False):
        path, inner, parent = _follow(kind, detail["loc"])
        if detail["type"] == "unexpected_keyword_argument":
            what = unknown_key(path[-1], field_types(parent))
        elif detail["type"] == "missing":
            what = f"missing; allowed: {describe(inner)}"
        elif detail["type"] == "value_error":
            what = str(detail["ctx"]["error"])
        else:
            what = f"got {given(detail['input'])}; allowed: {describe(inner)}"
            what += _hint(detail["input"], inner)
        findings.setdefault(path, what)  # each arm of a union complains; one line is enough
    return list(findings.items())


def _follow(kind: Any, location: tuple[int | str, ...]) -> tuple[tuple[str, ...], Any, Any]:
    """Walk a location of pydantic's down the types.

    Returns:
        the path without pydantic's own words (names of union arms), the type at its end, and the
        dataclass around it.
    """
    path: list[str] = []
    parent: Any = kind
    for part in location:
        inner = _bare(kind)
        if _is_config(inner):
            parent, kind = inner, field_types(inner).get(str(part), Any)  # type: ignore[arg-type]
        elif get_origin(inner) in (list, tuple) and isinstance(part, int):
            arguments = get_args(inner)
            variadic = get_origin(inner) is list or arguments[-1] is Ellipsis
            kind = arguments[0] if variadic else arguments[min(part, len(arguments) - 1)]
        elif get_origin(inner) is dict:
            kind = get_args(inner)[1]
        elif get_origin(inner) in (Union, types.UnionType):
            continue
        path.append(str(part))
    return tuple(path), kind, parent


def _bare(kind: Any) -> Any:
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        arms = [argument for argument in get_args(kind) if argument is not type(None)]
        return _bare(arms[0]) if len(arms) == 1 else kind
    return kind


def _hint(value: Any, kind: Any) -> str:
    words = describe(kind)
    if isinstance(value, str) and "a number" in words:
        match = re.fullmatch(r"([+-]?\d+)(e[+-]?\d+)", value.strip(), flags=re.IGNORECASE)
        if match:
            return f" (YAML reads {value} as text: write {match[1]}.0{match[2]})"
        if re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", value.strip(), flags=re.IGNORECASE):
            return " (a number in quotes is text: remove the quotes, write an exponent as 1.0e-4)"
    if isinstance(value, bool) and ("text" in words or "one of" in words):
        return " (YAML reads on, off, yes and no as true or false: put quotes around it)"
    return ""
