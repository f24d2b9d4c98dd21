"""The fields of the page: what each holds becomes settings, or a sentence that stands beside it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from pipeline.serving.bodies import FRAMES_LIMIT
from pipeline.serving.page.asked import Asked

SEED_LIMIT = 2**53 - 1  # the largest whole number of a browser
# Name -> what it holds at first. Mix and walk have a second subject and seed each.
FIELDS: dict[str, Any] = {
    "prompt": "",
    "label": None,
    "seed": 0,
    "psi": 1,
    "noise": "const",
    "number": 4,
    "psis": "0, 0.25, 0.5, 0.75, 1",
    "mix_second": "",
    "mix_seed": 1,
    "layers": "",
    "walk_second": "",
    "walk_seed": 1,
    "frames": 40,
}


class _Reader:
    """Reads fields by name and collects what is wrong with them."""

    def __init__(self, values: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        self._values, self._facts, self.errors = values, facts, dict[str, str]()

    def whole(self, name: str, low: int, high: int, called: str) -> int:
        value = self._values[name]
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.errors[name] = f"{called}: a whole number from {low} to {high}."
            return low
        return value

    def psi(self, name: str, value: Any) -> float:
        try:
            found = float(value)
        except (TypeError, ValueError):
            found = math.nan
        if not -2 <= found <= 2:
            self.errors[name] = "psi: a number from -2 to 2."
        return found

    def text(self, name: str) -> str:
        text = str(self._values[name] or "").strip()
        if len(text) > (most := self._facts["limits"]["prompt_chars"]):
            self.errors[name] = f"At most {most} characters."
        return text

    def subject(self) -> str:
        takes = self._facts["takes"]
        if takes == "label":
            return str(self._values["label"] or self._facts["labels"][0])
        if takes == "prompt" and not (text := self.text("prompt")):
            self.errors["prompt"] = "Say what the picture shows."
        return text if takes == "prompt" else ""

    def psis(self) -> tuple[float, ...]:
        parts = str(self._values["psis"] or "").split(",")
        found = tuple(self.psi("psis", part) for part in parts)
        if len(found) > (most := self._facts["limits"]["images"]):
            self.errors["psis"] = f"At most {most} values."
        return found

    def layers(self) -> tuple[int, ...]:
        text, depth = str(self._values["layers"] or "").strip(), self._facts["layers"]
        found: set[int] = set()
        for part in text.split(",") if text else ():
            match = re.fullmatch(r"\s*(\d{1,4})(?:-(\d{1,4}))?\s*", part)
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, depth)
            if not first <= last < depth:
                self.errors["layers"] = f"Layers from 0 to {depth - 1}, as 0-3 or 0,2."
                return ()
            found.update(range(first, last + 1))
        return tuple(sorted(found))


def read_fields(
    tab: str, model: str, values: Mapping[str, Any], facts: Mapping[str, Any]
) -> tuple[Asked | None, dict[str, str]]:
    """Return what the fields of a tab ask for, and what is wrong with them by their names.

    Args:
        tab: one of TABS; fields of other tabs are not read.
        model: its id in the picker.
        values: of all of FIELDS.
        facts: of the model, as its process tells them.

    Returns:
        The settings, or None where a field is wrong.
    """
    reader = _Reader(values, facts)
    asked: dict[str, Any] = {"subject": reader.subject()}
    asked["seed"] = reader.whole("seed", 0, SEED_LIMIT, "Seed")
    if facts["draws_noise"]:
        asked["noise"] = str(values["noise"] or "const")
    if tab == "sweep":
        asked["psis"] = reader.psis()
    else:
        asked["psi"] = reader.psi("psi", values["psi"])
    if tab == "draw":
        asked["number"] = reader.whole("number", 1, facts["limits"]["images"], "Number")
    elif tab != "sweep":
        asked |= _second(tab, reader, facts)
    if reader.errors:
        return None, reader.errors
    where = {"model": model, "folder": facts["folder"], "depth": facts["layers"]}
    return Asked(tab=tab, takes=facts["takes"], **where, **asked), {}


def _second(tab: str, reader: _Reader, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a mix or a walk takes from its second picture."""
    found: dict[str, Any] = {}
    if facts["takes"] == "prompt":
        found["second"] = reader.text(f"{tab}_second")
    found["second_seed"] = reader.whole(f"{tab}_seed", 0, SEED_LIMIT, "Second seed")
    if tab == "mix":
        return found | {"layers": reader.layers()}
    return found | {"frames": reader.whole("frames", 2, FRAMES_LIMIT, "Frames")}


def filled(asked: Asked) -> dict[str, Any]:
    """Return what the fields hold for these settings; other fields are left as they are."""
    found: dict[str, Any] = {"seed": asked.seed, "psi": asked.psi}
    if asked.takes:
        found[asked.takes] = asked.subject
    if asked.noise:
        found["noise"] = asked.noise
    if asked.tab == "draw":
        found["number"] = asked.number
    if asked.tab in ("mix", "walk"):
        found |= {f"{asked.tab}_second": asked.second, f"{asked.tab}_seed": asked.second_seed}
    if asked.tab == "mix":
        found["layers"] = ",".join(map(str, asked.layers))
    if asked.tab == "walk":
        found["frames"] = asked.frames
    return found
