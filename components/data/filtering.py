"""The filter's rules, in one fixed order: they decide which scored samples are kept.

They are pure functions of the table of scores.

A sample is counted under the first rule it breaks; later rules do not see it, so a rejected image
never rejects its copy. NaN is never kept: every rule asks what is good and rejects the rest.
Legend: N samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from components.data.config import FilterConfig
from components.data.fingerprints import later_copies
from components.data.reasons import Reason
from components.errors import DataError

REPORT_TOP = 5
# Below these, a training repeats its images, and a distance depends on which ones are held out.
FEW_TRAINING, FEW_HELD_OUT = 1000, 200


@dataclass(frozen=True)
class Columns:
    """The columns that rules look at, each [N], in the order of the table."""

    width: np.ndarray
    height: np.ndarray
    caption_chars: np.ndarray
    clip_similarity: np.ndarray
    sha256: np.ndarray
    phash: np.ndarray
    thumbnail: list[bytes | None]


# (columns, parameters, rows still in [M]) -> which of those rows are good, bool [M].
Rule = Callable[[Columns, FilterConfig, np.ndarray], np.ndarray]


def in_stored_order(scores: pa.Table) -> pa.Table:
    """Sort scores by place in the source: no result depends on the order they were made in."""
    return scores.sort_by([("shard", "ascending"), ("offset", "ascending"), ("key", "ascending")])


def decide(scores: pa.Table, config: FilterConfig, *, text: bool = True) -> np.ndarray:
    """Return the reason of each row, "" for the kept ones, [N] of str.

    Args:
        scores: as `in_stored_order` returns it; of two copies the first is kept.
        config: the thresholds.
        text: whether the rules of captions count.
    """
    reasons = np.array([r or "" for r in scores["reason"].to_pylist()], dtype=object)
    columns = _columns(scores)
    for reason, rule in RULES.items():
        if reason in TEXT_RULES and not text:
            continue
        alive = np.flatnonzero(reasons == "")
        if len(alive):
            reasons[alive[~rule(columns, config, alive)]] = reason.value
    return reasons


def in_heldout(groups: list[str], keys: list[str], seed: int, fraction: float) -> np.ndarray:
    """Choose whole groups for the held-out split, bool [N]; a row without a group is its own.

    A group's side depends on the seed and its name alone: more data moves nobody across.
    """
    names = [group or key for group, key in zip(groups, keys, strict=True)]
    marks = [hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8] for name in names]
    places = np.array([int.from_bytes(mark, "big") for mark in marks], dtype=np.float64)
    return places / 2.0**64 < fraction


def make_report(reasons: np.ndarray, heldout: np.ndarray) -> dict[str, Any]:
    """Count every row once.

    Args:
        reasons: as `decide` returns them.
        heldout: which of the kept rows are held out, bool [N].
    """
    names, counts = np.unique(reasons[reasons != ""].astype(str), return_counts=True)
    rejected = dict(zip(names.tolist(), counts.tolist(), strict=True))
    kept = reasons == ""
    report: dict[str, Any] = {
        "in": len(reasons),
        "kept": int((kept & ~heldout).sum()),
        "heldout": int((kept & heldout).sum()),
        "rejected": rejected,
    }
    assert report["in"] == report["kept"] + report["heldout"] + sum(rejected.values())
    return report


def check_enough(report: dict[str, Any], config: FilterConfig, where: str) -> None:
    """Refuse an empty result and a source of which too much was rejected.

    Raises:
        DataError: naming the most frequent reasons.
    """
    rejected = sum(report["rejected"].values())
    top = sorted(report["rejected"].items(), key=lambda item: (-item[1], item[0]))[:REPORT_TOP]
    text = ", ".join(f"{reason} {count:,}" for reason, count in top) or "the source is empty"
    if not report["kept"]:
        raise DataError(f"nothing is left of {report['in']:,} samples: {text}", where, _TODO)
    if rejected > config.max_reject_fraction * report["in"]:
        what = f"{rejected:,} of {report['in']:,} samples rejected, more than max_reject_fraction"
        raise DataError(f"{what} {config.max_reject_fraction}: {text}", where, _TODO)


def too_few(train: int, heldout: int) -> list[str]:
    """Return what so few images mean, a line each; nothing where there are enough.

    Args:
        train, heldout: images of the two splits.
    """
    lines = []
    if train < FEW_TRAINING:
        lines.append(
            f"{train:,} images to train on, fewer than {FEW_TRAINING:,}: expect copies of "
            "them; docs/presets.md names a preset for few"
        )
    if heldout < FEW_HELD_OUT:
        lines.append(
            f"{heldout:,} images held out, fewer than {FEW_HELD_OUT}: distances will say little; "
            "raise source.heldout_fraction or bring more images"
        )
    return lines


_TODO = "mend the source or loosen the thresholds under filter in params.yaml"


def _columns(scores: pa.Table) -> Columns:
    def numbers(name: str, missing: float) -> np.ndarray:
        return np.asarray(scores[name].fill_null(missing).to_numpy())

    return Columns(
        width=numbers("width", 0),
        height=numbers("height", 0),
        caption_chars=numbers("caption_chars", 0),
        clip_similarity=numbers("clip_similarity", float("nan")),
        sha256=np.array(scores["sha256"].to_pylist(), dtype=object),
        phash=numbers("phash", 0),
        thumbnail=scores["thumbnail"].to_pylist(),
    )


def _large_enough(columns: Columns, config: FilterConfig, alive: np.ndarray) -> np.ndarray:
    short = np.minimum(columns.width[alive], columns.height[alive])
    return short >= config.min_side_px


def _even_enough(columns: Columns, config: FilterConfig, alive: np.ndarray) -> np.ndarray:
    width, height = columns.width[alive], columns.height[alive]
    return np.maximum(width, height) <= config.max_aspect * np.minimum(width, height)


def _caption_not_short(columns: Columns, config: FilterConfig, alive: np.ndarray) -> np.ndarray:
    return columns.caption_chars[alive] >= config.min_caption_chars


def _caption_not_long(columns: Columns, config: FilterConfig, alive: np.ndarray) -> np.ndarray:
    return columns.caption_chars[alive] <= config.max_caption_chars


def _has_score(columns: Columns, config: FilterConfig, alive: np.ndarray) -> np.ndarray:
    return np.isfinite(columns.clip_similarity[alive])


def _similar_enough(columns: Columns, config: FilterConfig, alive: np.ndarray) -> np.ndarray:
    values = columns.clip_similarity[alive]
    return values >= similarity_threshold(values, config)


def similarity_threshold(values: np.ndarray, config: FilterConfig) -> float:
    """Return the smallest cosine that is kept.

    Args:
        values: cosines of the samples that reach the rule, finite.
        config: keeps a fixed share when clip_keep_fraction < 1, else what reaches
            clip_similarity_min.
    """
    if config.clip_keep_fraction >= 1.0 or not len(values):
        return config.clip_similarity_min
    count = round(config.clip_keep_fraction * len(values))
    return float(np.sort(values)[-count]) if count else float("inf")


def _not_seen(columns: Columns, config: FilterConfig, alive: np.ndarray) -> np.ndarray:
    good = np.ones(len(alive), dtype=bool)
    if config.exact_duplicates:
        _, first = np.unique(columns.sha256[alive].astype(str), return_index=True)
        good[:] = False
        good[first] = True
    return good


def _not_near(columns: Columns, config: FilterConfig, alive: np.ndarray) -> np.ndarray:
    if config.near_duplicate_bits < 0:
        return np.ones(len(alive), dtype=bool)
    joined = b"".join(columns.thumbnail[row] or b"" for row in alive)
    thumbnails = np.frombuffer(joined, dtype=np.uint8).reshape(len(alive), -1)
    bits, levels = config.near_duplicate_bits, config.near_duplicate_levels
    return ~later_copies(columns.phash[alive], thumbnails, bits, levels)


# In this order. What `score` could not read comes before all of them.
RULES: dict[Reason, Rule] = {
    Reason.FILTER_TOO_SMALL: _large_enough,
    Reason.FILTER_ASPECT: _even_enough,
    Reason.FILTER_CAPTION_SHORT: _caption_not_short,
    Reason.FILTER_CAPTION_LONG: _caption_not_long,
    Reason.FILTER_SCORE_NAN: _has_score,
    Reason.FILTER_CLIP_SIMILARITY: _similar_enough,
    Reason.FILTER_EXACT_DUPLICATE: _not_seen,
    Reason.FILTER_NEAR_DUPLICATE: _not_near,
}
TEXT_RULES = frozenset(
    [
        Reason.FILTER_CAPTION_SHORT,
        Reason.FILTER_CAPTION_LONG,
        Reason.FILTER_SCORE_NAN,
        Reason.FILTER_CLIP_SIMILARITY,
    ]
)
