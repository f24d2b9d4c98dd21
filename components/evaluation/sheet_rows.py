"""The held-out rows of a sample sheet: no two of them ask for the same."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch

from models.interfaces import Condition

MOST_READ = 2000  # held-out rows that are looked through where classes or captions repeat


@dataclass(frozen=True, kw_only=True)
class SheetRows:
    """What the rows of a sheet ask for.

    Attributes:
        condition: of each row.
        captions: beside it, '' where the data has none.
    """

    condition: Condition
    captions: tuple[str, ...]


def distinct_rows(source: Any, count: int, *, num_labels: int = 0) -> SheetRows:
    """Return the first rows of a source that differ in what they ask for, `count` at most.

    Rows that ask for the same would show the same pictures, for all have the same seeds.

    Args:
        source: the held-out rows.
        count: rows wanted.
        num_labels: classes of a model that is asked for one; when each is found there is nothing
            more to look for. 0: it is asked for captions.
    """
    wanted = min(count, num_labels or count)
    seen: set[str | int] = set()
    conditions: list[Condition] = []
    captions: list[str] = []
    limit = min(source.num_rows, max(count, MOST_READ))
    for start in range(0, limit, count):
        rows = source.atom(start, min(count, limit - start))
        label_N = rows.condition.label_N
        by_label = num_labels and label_N is not None
        asked: list[str | int] = label_N.tolist() if by_label else list(rows.captions)
        new = [i for i, key in enumerate(asked) if key not in seen and asked.index(key) == i]
        new = new[: wanted - len(seen)]
        seen.update(asked[i] for i in new)
        conditions += [rows.condition[new]] if new else []
        captions += [rows.captions[i] for i in new]
        if len(seen) == wanted:
            break
    return SheetRows(condition=_joined(conditions), captions=tuple(captions))


def _joined(conditions: list[Condition]) -> Condition:
    parts = {f.name: [getattr(one, f.name) for one in conditions] for f in fields(Condition)}
    present = {name: values for name, values in parts.items() if values[0] is not None}
    return Condition(**{name: torch.cat(values) for name, values in present.items()})
