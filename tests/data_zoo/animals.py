"""What an animal of the zoo is, and how it is led through score and filter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from components.data.config import FilterConfig, ScoreConfig, SourceConfig
from components.data.decisions import decide
from components.data.filtering import copy_rules_of, in_heldout, make_report, rules_of
from components.data.origins import Origin
from components.data.score_files import open_scores
from components.data.score_parts import score_source
from components.data.scoring import SCORE_SCHEMA
from tests.components.data.makers import FlatNet, encoded, picture, read_back, write_plain_tar

FILTER = FilterConfig(near_duplicate_bits=6)
TARS = SourceConfig(path="", kind="webdataset", heldout_fraction=0.2)
Members = list[tuple[str, bytes]]


@dataclass(frozen=True)
class Animal:
    """One kind of bad data.

    Attributes:
        row: of the fault matrix.
        what: what it is, and what must become of it.
        make: writes it to a folder.
        want: reason -> rows, "" for those that are good.
        source: how the folder is read.
        net: stands in for CLIP.
    """

    row: str
    what: str
    make: Callable[[Path], None]
    want: dict[str, int]
    source: SourceConfig = TARS
    net: FlatNet = field(default_factory=FlatNet)


@dataclass(frozen=True)
class Seen:
    """What became of an animal: the report, and its rows by reason, both splits as good."""

    report: dict[str, object]
    reasons: Counter[str]
    rows: list[dict[str, object]]


def lead_through(animal: Animal, place: Path) -> Seen:
    """Score and filter an animal; the report has asserted that each row counts once."""
    animal.make(place / "src")
    places = place, ScoreConfig(batch=8), place / "work", place / "scores"
    score_source([Origin(animal.source, place / "src")], *places, net=animal.net)
    scores = open_scores(place / "scores", SCORE_SCHEMA, place / "engine")
    decisions = decide(scores, rules_of(FILTER), copy_rules_of(FILTER), place / "engine")
    rows = read_back(place / "scores", "scores").to_pylist()
    sides = in_heldout([r["group"] for r in rows], [r["key"] for r in rows], 1, 0.2)
    report = make_report(decisions, sides if rows else np.zeros(0, dtype=bool))
    return Seen(report, Counter(decisions.texts().tolist()), rows)


def tar(members: Members, name: str = "a.tar") -> Callable[[Path], None]:
    """Return what writes one tar of these members."""
    return lambda folder: write_plain_tar(folder / name, members)


def raw(content: bytes, name: str = "a.tar") -> Callable[[Path], None]:
    """Return what writes one file of these bytes."""

    def make(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return make


def images(contents: Sequence[bytes], suffix: str = "jpg") -> Callable[[Path], None]:
    """Return what writes a tar of these image files, each with a caption of its own."""
    return tar(
        [
            member
            for number, content in enumerate(contents)
            for member in ((f"k{number}.{suffix}", content), (f"k{number}.txt", b"a picture"))
        ]
    )


def captions(texts: Sequence[bytes]) -> Callable[[Path], None]:
    """Return what writes a tar of good pictures with these captions."""
    return tar(
        [
            member
            for number, text in enumerate(texts)
            for member in (
                (f"k{number}.png", encoded(picture(seed=number))),
                (f"k{number}.txt", text),
            )
        ]
    )
