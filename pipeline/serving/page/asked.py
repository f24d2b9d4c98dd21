"""What one drawing was asked for: its settings, what is said of it, and the request for it."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

TABS = ("draw", "sweep", "mix", "walk")
NAME_CHARS = 120  # of a file's name


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The settings of a drawing; those that its tab does not have keep their defaults.

    Attributes:
        tab: one of TABS.
        model, folder: the model's id in the picker, and where it lies.
        takes: "prompt", "label" or "" (neither).
        depth: how many layers the model has.
        subject: a prompt or a label.
        noise: "" = the model draws none.
        psis: of a sweep.
        second, second_seed: of a mix or a walk; "" = the same subject.
        layers: of a mix, from the second; () = the first half.
    """

    tab: str
    model: str
    folder: str
    takes: str
    depth: int
    subject: str = ""
    seed: int = 0
    psi: float = 1.0
    noise: str = ""
    number: int = 1
    psis: tuple[float, ...] = ()
    second: str = ""
    second_seed: int = 0
    layers: tuple[int, ...] = ()
    frames: int = 40

    def said(self) -> str:
        """Return the settings in words: a picture's caption and its text for who cannot see it."""
        parts = [self.subject, f"seed {self.seed}", f"psi {self.psi:g}"]
        second = f"{self.second or 'the same'}, seed {self.second_seed}"
        if self.tab == "mix":
            parts.append(f"layers of {second}")
        if self.tab == "walk":
            parts.append(f"to {second}")
        return ", ".join(filter(None, parts))

    def file_name(self, ending: str) -> str:
        """Return what a picture is called when it is saved."""
        words = re.sub(r"[^a-z0-9.]+", "_", self.said(), flags=re.IGNORECASE)
        return f"{words[-NAME_CHARS:]}.{ending}"

    def request(self, second_seeds: tuple[int, ...] = ()) -> tuple[str, dict[str, Any]]:
        """Return path and body of the request to the model's process.

        Args:
            second_seeds: of a mix, one picture each; () = its own.
        """
        subject = {self.takes: self.subject} if self.takes else {}
        common: dict[str, Any] = {"noise": self.noise} if self.noise else {}
        if self.tab == "draw":
            asked: dict[str, Any] = {"seed": self.seed, "n": self.number, "truncation": self.psi}
            return "images", subject | common | asked | {"format": "json"}
        if self.tab == "sweep":
            asked = {"seed": self.seed, "truncation": list(self.psis)}
            return "images", subject | common | asked | {"format": "json"}
        common["truncation"] = self.psi
        if self.tab == "mix":
            common |= {"seed": self.seed, "style_seeds": [*second_seeds] or [self.second_seed]}
            if self.second:
                common["style"] = self.second
            if self.layers:
                common["layers"] = [*self.layers]
            return "mix", subject | common
        common |= {"seeds": [self.seed, self.second_seed], "frames": self.frames, "loop": True}
        if self.takes:
            common[f"{self.takes}s"] = [self.subject, self.second or self.subject]
        return "walk", common

    def alone(self, seed: int, psi: float) -> Asked:
        """Return the settings of one picture of several."""
        return dataclasses.replace(self, tab="draw", seed=seed, psi=psi, number=1, psis=())

    def variation(self) -> Asked:
        """Return a mix that keeps the coarse half of the layers and takes the fine half anew."""
        fine = tuple(range((self.depth + 1) // 2, self.depth))
        return dataclasses.replace(self, tab="mix", second="", layers=fine)


def asked_of(values: Any) -> Asked:
    """Return the settings that a browser kept, as `dataclasses.asdict` gave them.

    Raises:
        ValueError: they are not of that form.
    """
    try:
        known = {field.name: values[field.name] for field in dataclasses.fields(Asked)}
    except (TypeError, KeyError) as error:
        raise ValueError("no settings of a drawing") from error
    defaults = Asked(tab="", model="", folder="", takes="", depth=0)
    for name, value in known.items():
        wanted: Any = getattr(defaults, name)
        kinds = {tuple: (list, tuple), float: (int, float)}.get(type(wanted), (type(wanted),))
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise ValueError(f"{name} is a {type(value).__name__}")
        if isinstance(value, list):
            known[name] = tuple(value)
    found = Asked(**known)
    if found.tab not in TABS or not all(isinstance(one, int) for one in found.layers):
        raise ValueError("no settings of a drawing")
    return found
