"""Check a user's request for images before any network is loaded.

The command line, the served model and `components.sampling` refuse the same things with the same
one-line errors. Needs no torch, so a bad request is answered at once.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.errors import ConfigError

# CLIP reads 77 tokens at most, and its tokenizer nothing behind so many characters: a longer prompt
# is a mistake or an attack.
PROMPT_CHARS_LIMIT = 4_000
SEED_LIMIT = 2**63  # seeds are int64 in the served model's schema
IMAGES_LIMIT = 10_000
FRAMES_LIMIT = 3_600  # a GIF's frames are held in memory
CENTROIDS_LIMIT = 1_000  # k-means compares each with 60 times as many codes
TRUNCATION_RANGE = (-2.0, 2.0)  # beyond it, a number is taken for a mistake


@dataclass(frozen=True, kw_only=True)
class ImageRequest:
    """Images wanted: every prompt with the seeds `seed`, `seed` + 1, ..., or with listed ones.

    Raises ConfigError when a field is not allowed.

    Attributes:
        prompts: at least one text.
        seed: first seed, in [0, 2^63).
        images_per_prompt: how many images of each prompt.
        seeds: the seeds themselves, each once, instead of the two above; empty: not given.
        truncation: 1 is the model's full variety, 0 the mean image of the prompt, in [-2, 2].
        prompt_chars_limit: longest prompt allowed.
        images_limit: most images allowed, all prompts together.
    """

    prompts: tuple[str, ...]
    seed: int = 0
    images_per_prompt: int = 1
    seeds: tuple[int, ...] = ()
    truncation: float = 1.0
    prompt_chars_limit: int = PROMPT_CHARS_LIMIT
    images_limit: int = IMAGES_LIMIT

    def __post_init__(self) -> None:
        if not self.prompts:
            raise ConfigError("no prompt", "prompt", "give at least one text")
        for prompt in self.prompts:
            check_prompt(prompt, self.prompt_chars_limit)
        count = len(self.seeds) or _integer(self.images_per_prompt, "n")
        if not 1 <= count <= self.images_limit:
            raise ConfigError(
                f"n is {_short(count)}", "n", f"use an integer from 1 to {self.images_limit}"
            )
        if count * len(self.prompts) > self.images_limit:
            raise ConfigError(
                f"{len(self.prompts)} prompts with n {count}",
                "n",
                f"ask for at most {self.images_limit} images at once",
            )
        check_seed(self.seed)
        check_seed(self.seed + count - 1)
        check_seeds(self.seeds)
        check_truncation(self.truncation)

    def seeds_of_each(self) -> tuple[int, ...]:
        """Return the seeds that every prompt is drawn with."""
        return self.seeds or tuple(range(self.seed, self.seed + self.images_per_prompt))

    def rows(self) -> tuple[list[str], list[int]]:
        """Return one prompt and one seed per image, all images of a prompt together."""
        seeds = self.seeds_of_each()
        return (
            [prompt for prompt in self.prompts for _ in seeds],
            [seed for _ in self.prompts for seed in seeds],
        )


def check_prompt(prompt: Any, limit: int = PROMPT_CHARS_LIMIT) -> None:
    """Raise ConfigError unless `prompt` is valid text of 1 to `limit` characters."""
    if not isinstance(prompt, str):
        raise ConfigError(f"prompt is a {type(prompt).__name__}", "prompt", "give a text")
    if not prompt.strip():
        raise ConfigError("prompt is empty", "prompt", "say what the image shows")
    if len(prompt) > limit:
        raise ConfigError(
            f"prompt has {len(prompt)} characters", "prompt", f"use at most {limit} characters"
        )
    if "\0" in prompt or any(0xD800 <= ord(c) <= 0xDFFF for c in prompt):
        raise ConfigError(
            "prompt has a NUL or half a surrogate pair", "prompt", "give valid UTF-8 text"
        )


def check_seed(seed: Any) -> None:
    """Raise ConfigError unless `seed` is an integer in [0, 2^63)."""
    if not 0 <= _integer(seed, "seed") < SEED_LIMIT:
        raise ConfigError(f"seed is {_short(seed)}", "seed", "use an integer from 0 to 2^63 - 1")


def check_seeds(seeds: Sequence[Any], name: str = "seeds") -> None:
    """Raise ConfigError unless every seed is allowed and none is listed twice."""
    known = set()
    for seed in seeds:
        check_seed(seed)
        if seed in known:
            raise ConfigError(f"seed {seed} is listed twice", name, "list each seed once")
        known.add(seed)


def check_truncation(truncation: Any, name: str = "truncation") -> None:
    """Raise ConfigError unless `truncation` is a number in `TRUNCATION_RANGE`.

    Args:
        truncation: as asked.
        name: the key or option that it was asked by.
    """
    low, high = TRUNCATION_RANGE
    number = isinstance(truncation, (int, float)) and not isinstance(truncation, bool)
    if not number or not math.isfinite(truncation) or not low <= truncation <= high:
        raise ConfigError(
            f"{name.lstrip('-')} is {_short(truncation)}",
            name,
            f"use a number from {low:g} to {high:g}: 1 full variety, 0 the mean image",
        )


def check_walk(keyframes: int, frames: Any) -> None:
    """Raise ConfigError unless a walk of so many keyframes can have so many frames."""
    if keyframes < 2:
        raise ConfigError(
            "nothing to walk between", "keyframes", "give two prompts, or two seeds, or more"
        )
    if not keyframes <= _integer(frames, "frames") <= FRAMES_LIMIT:
        raise ConfigError(
            f"{_short(frames)} frame{'s' if frames != 1 else ''} for {keyframes} stops",
            "frames",
            f"use {keyframes} to {FRAMES_LIMIT} frames",
        )


def _integer(value: Any, name: str) -> int:
    if isinstance(value, bool):
        raise ConfigError(f"{name} is a bool", name, "use an integer")
    try:
        return operator.index(value)
    except TypeError:
        raise ConfigError(f"{name} is a {type(value).__name__}", name, "use an integer") from None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
