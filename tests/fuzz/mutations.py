"""Seeded mutations of texts, bytes and JSON values; the same number gives the same mutant."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from typing import Any

SNIPPETS = ("&a ", "*a", "<<: *a", "!!python/name:os.system ''", "[" * 60, "{" * 60, "\t", "\x00")
SNIPPETS += ('"\\0"', '"\\ud800"', "9" * 5_000, "1e999", ".nan", "-.inf", "on", "~", "- x", "? ")
SNIPPETS += ("2026-13-45", "0x" + "f" * 99, "'", '"', "#", "|", ">", "%", "@", "x" * 9_999)
VALUES: tuple[Any, ...] = (None, True, -1, 0, 10**9, 10**30, 0.5, float("nan"), "", "x", [], [1])
VALUES += ({}, {"a": 1}, "\x1b[2J", "\u202e", "a" * 9_999, [[[[]]]], "../../x", "/dev/zero", "\x00")


def count(wanted: int) -> int:
    """Return how many mutants to try: GANLINE_FUZZ is a share of what is wanted, 1 by default."""
    return max(1, int(wanted * float(os.environ.get("GANLINE_FUZZ", "1"))))


def texts(text: str, wanted: int) -> Iterator[tuple[int, str]]:
    """Yield (number, mutant) of a text of lines."""
    for number in range(count(wanted)):
        rng, lines = random.Random(number), text.splitlines()
        for _ in range(rng.choice((1, 1, 2, 4))):
            _change(rng, lines)
        yield number, "\n".join(lines) + "\n"


def _change(rng: random.Random, lines: list[str]) -> None:
    at = rng.randrange(len(lines))
    name, colon, _ = lines[at].partition(":")
    kind = rng.randrange(7)
    if kind == 0 and len(lines) > 2:
        del lines[at]
    elif kind == 1:
        lines.insert(at, lines[rng.randrange(len(lines))])
    elif kind == 2:
        lines[at] = f"{name}{colon} {rng.choice(SNIPPETS)}"
    elif kind == 3:
        place = rng.randrange(len(lines[at]) + 1)
        lines[at] = lines[at][:place] + chr(rng.randrange(1, 0x2100)) + lines[at][place:]
    elif kind == 4:
        lines[at] = " " * rng.randrange(9) + lines[at].lstrip()
    elif kind == 5:
        lines.insert(at, rng.choice(SNIPPETS))
    else:
        lines[at] = f"{name}{colon} {json.dumps(rng.choice(VALUES))}"


def files(content: bytes, wanted: int) -> Iterator[tuple[int, bytes]]:
    """Yield (number, mutant) of a file's bytes: flipped, cut, repeated, overwritten."""
    for number in range(count(wanted)):
        rng, data = random.Random(number), bytearray(content)
        for _ in range(rng.choice((1, 1, 2, 8, 64))):
            at = rng.randrange(max(1, len(data)))
            kind = rng.randrange(5)
            if kind < 2 and data:
                data[min(at, len(data) - 1)] ^= 1 << rng.randrange(8)
            elif kind == 2:
                data[at : at + rng.randrange(9)] = rng.randbytes(rng.randrange(9))
            elif kind == 3 and rng.random() < 0.1:
                del data[at:]
            else:
                data[at:at] = data[at : at + rng.randrange(64)]
        yield number, bytes(data)


def objects(value: dict[str, Any], wanted: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number, mutant) of a JSON object: a value somewhere in it replaced, lost or added."""
    for number in range(count(wanted)):
        rng, mutant = random.Random(number), json.loads(json.dumps(value))
        for _ in range(rng.choice((1, 1, 2))):
            inner: Any = mutant
            while isinstance(inner, dict) and inner:
                key = rng.choice(sorted(inner))
                if isinstance(inner[key], dict) and inner[key] and rng.random() < 0.7:
                    inner = inner[key]
                    continue
                kind = rng.randrange(4)
                if kind == 0:
                    del inner[key]
                elif kind == 1:
                    inner[rng.choice(("x", "", "name", "\x1b", "z_dim"))] = rng.choice(VALUES)
                else:
                    inner[key] = rng.choice(VALUES)
                break
        yield number, mutant
