"""What a user may ask a model for, checked before any network is loaded.

The command line, the served model and `components.sampling` refuse the same things with the same
one-line errors. Needs no torch, so a bad request is answered at once.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

from components.errors import ConfigError

PROMPT_CHARS_LIMIT = (
    10_000  # CLIP reads 77 tokens at most; more than this is a mistake or an attack
)
SEED_LIMIT = 2**63  # seeds are int64 in the served model's schema
IMAGES_LIMIT = 10_000


@dataclass(frozen=True, kw_only=True)
class ImageRequest:
    """Images wanted: every prompt with the seeds `seed`, `seed` + 1, ...

    Raises ConfigError when a field is not allowed.

    Attributes:
        prompts: at least one text.
        seed: first seed, in [0, 2^63).
        images_per_prompt: how many images of each prompt.
        truncation: 1 is the model's full variety, 0 the mean image of the prompt.
        prompt_chars_limit: longest prompt allowed.
        images_limit: most images allowed, all prompts together.
    """

    prompts: tuple[str, ...]
    seed: int = 0
    images_per_prompt: int = 1
    truncation: float = 1.0
    prompt_chars_limit: int = PROMPT_CHARS_LIMIT
    images_limit: int = IMAGES_LIMIT

    def __post_init__(self) -> None:
        if not self.prompts:
            raise ConfigError("no prompt", "prompt", "give at least one text")
        for prompt in self.prompts:
            check_prompt(prompt, self.prompt_chars_limit)
        count = _integer(self.images_per_prompt, "n")
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
        check_truncation(self.truncation)

    def rows(self) -> tuple[list[str], list[int]]:
        """Return one prompt and one seed per image, all images of a prompt together."""
        seeds = range(self.seed, self.seed + self.images_per_prompt)
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


def check_truncation(truncation: Any) -> None:
    """Raise ConfigError unless `truncation` is a number in [0, 1]."""
    number = isinstance(truncation, (int, float)) and not isinstance(truncation, bool)
    if not number or not math.isfinite(truncation) or not 0.0 <= truncation <= 1.0:
        raise ConfigError(
            f"truncation is {_short(truncation)}", "truncation", "use a number from 0 to 1"
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
