"""Read the bodies of requests: every key is known and of its type, or the answer says which is not.

    {"prompt": "a red ring", "seed": 3, "n": 4, "truncation": 0.7}

One body asks for prompts x seeds x truncations. Needs no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.errors import ConfigError
from components.requests.images import (
    ImageRequest,
    check_prompt,
    check_seed,
    check_seeds,
    check_truncation,
    check_walk,
)
from components.requests.subjects import NOTHING, check_subject, kind_of, label_names

BODY_BYTES = 2**20
NOISES = ("const", "random", "none")
IMAGES = ("prompt", "prompts", "label", "seed", "seeds", "n", "truncation", "noise", "format")
MIX = ("prompt", "label", "seed", "style", "style_seeds", "layers", "truncation", "noise")
WALK = ("prompts", "labels", "seeds", "frames", "fps", "loop", "truncation", "noise")
FRAMES_LIMIT = 240


@dataclass(frozen=True, kw_only=True)
class Images:
    """Rows of images: `subjects[i]` with `seeds[i]` at `truncations[i]`, all of them drawable."""

    subjects: list[str]
    seeds: list[int]
    truncations: list[float]
    noise: str
    format: str


@dataclass(frozen=True, kw_only=True)
class Mix:
    """One image, with the codes of some layers taken from each of the style's seeds."""

    subject: str
    seed: int
    style: str
    style_seeds: list[int]
    layers: list[int]
    truncation: float
    noise: str


@dataclass(frozen=True, kw_only=True)
class Walk:
    """A film between keyframes, one subject and one seed each."""

    subjects: list[str]
    seeds: list[int]
    frames: int
    fps: int
    loop: bool
    truncation: float
    noise: str


def read_body(body: bytes, known: tuple[str, ...]) -> dict[str, Any]:
    """Return the JSON object of a body.

    Raises:
        ConfigError: it is no JSON object, or has a key that is not `known`.
    """
    try:
        values = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise ConfigError("the body is no JSON", "body", "send a JSON object") from None
    if not isinstance(values, dict):
        raise ConfigError(f"the body is a {type(values).__name__}", "body", "send a JSON object")
    if unknown := sorted(set(values) - set(known)):
        raise ConfigError(
            f"unknown key {unknown[0][:40]!r}", unknown[0][:40], f"use {', '.join(known)}"
        )
    return values


def read_images(body: bytes, card: Mapping[str, Any]) -> Images:
    """Return what a request for images asks for.

    Args:
        body: as it was sent.
        card: of the model; its limits count all images of the request.

    Raises:
        ConfigError: naming the key.
    """
    values = read_body(body, IMAGES)
    psis = _truncations(values.get("truncation", 1.0))
    limits = limits_of(card)
    subjects = _subjects(values, card)
    if "seeds" in values and ("seed" in values or "n" in values):
        raise ConfigError("seeds with seed or n", "seeds", "give seeds, or seed and n")
    request = ImageRequest(
        prompts=tuple(subjects),
        seed=values.get("seed", 0),
        images_per_prompt=values.get("n", 1),
        seeds=tuple(_list(values.get("seeds", []), "seeds")),
        prompt_chars_limit=limits["prompt_chars"],
        images_limit=limits["images"],
    )
    prompts, seeds = request.rows()
    if len(prompts) * len(psis) > limits["images"]:
        what = f"{len(prompts) * len(psis)} images"
        raise ConfigError(what, "truncation", f"ask for at most {limits['images']} at once")
    return Images(
        subjects=[prompt for prompt in prompts for _ in psis],
        seeds=[seed for seed in seeds for _ in psis],
        truncations=psis * len(prompts),
        noise=_noise(values),
        format=_choice(values, "format", ("", "png", "json")),
    )


def read_mix(body: bytes, card: Mapping[str, Any]) -> Mix:
    """Return what a request for style mixing asks for; ConfigError names the key."""
    values = read_body(body, MIX)
    (subject,) = _subjects(values, card)
    style = values.get("style", subject)
    check_prompt(style, limits_of(card)["prompt_chars"])
    check_subject(card, style)
    styles = _list(values.get("style_seeds", []), "style_seeds")
    check_seed(values.get("seed", 0))
    check_seeds(styles, "style_seeds")
    most = limits_of(card)["images"]
    if not 1 <= len(styles) <= most:
        raise ConfigError(f"{len(styles)} seeds", "style_seeds", f"give 1 to {most}")
    layers = _list(values.get("layers", []), "layers")
    if any(isinstance(layer, bool) or not isinstance(layer, int) for layer in layers):
        raise ConfigError("not all are integers", "layers", "give layers, as [0, 1, 2]")
    return Mix(
        subject=subject,
        seed=values.get("seed", 0),
        style=style,
        style_seeds=styles,
        layers=layers,
        truncation=_truncation(values),
        noise=_noise(values),
    )


def read_walk(body: bytes, card: Mapping[str, Any]) -> Walk:
    """Return what a request for a walk asks for; ConfigError names the key."""
    values = read_body(body, WALK)
    key = "labels" if kind_of(card) == "label" else "prompts"
    named = _list(values.get(key, []), key) or ([NOTHING] if kind_of(card) == "none" else [])
    seeds = _list(values.get("seeds", [0]), "seeds")
    if not named or not seeds:
        raise ConfigError("nothing to walk between", key, "give two, or two seeds")
    count = max(len(named), len(seeds))
    if {len(named), len(seeds)} - {1, count}:
        what = f"{len(named)} {key} and {len(seeds)} seeds"
        raise ConfigError(what, "seeds", "give one, or as many of both")
    for subject in named:
        check_prompt(subject, limits_of(card)["prompt_chars"])
        check_subject(card, subject)
    for seed in seeds:
        check_seed(seed)
    frames, fps = values.get("frames", 40), values.get("fps", 20)
    check_walk(count, frames)
    for name, value, most in (("frames", frames, FRAMES_LIMIT), ("fps", fps, 60)):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise ConfigError(f"{name} is {str(value)[:40]}", name, f"use 1 to {most}")
    return Walk(
        subjects=[named[0]] * count if len(named) == 1 else named,
        seeds=[seeds[0]] * count if len(seeds) == 1 else seeds,
        frames=frames,
        fps=fps,
        loop=_choice(values, "loop", (False, True)),
        truncation=_truncation(values),
        noise=_noise(values),
    )


def limits_of(card: Mapping[str, Any]) -> dict[str, int]:
    """Return the limits of one request: the release's, or those of publish's defaults."""
    limits: dict[str, int] = {"prompt_chars": 1000, "images": 16}
    return limits | card.get("release", {}).get("limits", {})


def _subjects(values: Mapping[str, Any], card: Mapping[str, Any]) -> list[str]:
    """Return what to draw: prompts, one class, or nothing in particular."""
    kind = kind_of(card)
    key = "label" if kind == "label" else "prompt"
    for other in {"prompt", "prompts", "label"} & values.keys():
        if kind == "none" or (other == "label") != (kind == "label"):
            takes = {"text": "prompts", "label": "labels", "none": "neither prompt nor label"}
            raise ConfigError(f"the model takes {takes[kind]}", other, "leave it out")
    if kind == "none":
        return [NOTHING]
    if "prompt" in values and "prompts" in values:
        raise ConfigError("prompt and prompts", "prompts", "give one of them")
    asked: list[Any] = [values.get(key)]
    if "prompts" in values:
        asked = _list(values["prompts"], "prompts")
    if kind == "label" and asked == [None]:
        raise ConfigError("no label", "label", f"give one of {', '.join(label_names(card)[:12])}")
    if asked == [None]:
        raise ConfigError("no prompt", "prompt", "say what the image shows")
    limit = limits_of(card)["prompt_chars"]
    for subject in asked:
        check_prompt(subject, limit)
        check_subject(card, subject)
    return asked


def _truncations(value: Any) -> list[float]:
    psis = value if isinstance(value, list) and value else [value]
    for psi in psis:
        check_truncation(psi)
    return [float(psi) for psi in psis]


def _truncation(values: Mapping[str, Any]) -> float:
    check_truncation(values.get("truncation", 1.0))
    return float(values.get("truncation", 1.0))


def _noise(values: Mapping[str, Any]) -> str:
    return str(_choice(values, "noise", NOISES))


def _choice(values: Mapping[str, Any], key: str, allowed: tuple[Any, ...]) -> Any:
    """Return one of the allowed values; the first where the key is missing."""
    value = values.get(key, allowed[0])
    if not any(value is one or (isinstance(value, str) and value == one) for one in allowed):
        listed = ", ".join(json.dumps(one) for one in allowed)
        raise ConfigError(f"{key} is {json.dumps(value)[:40]}", key, f"use one of {listed}")
    return value


def _list(value: Any, key: str) -> list[Any]:
    if not isinstance(value, list):
        raise ConfigError(f"{key} is a {type(value).__name__}", key, "give a list")
    return value
