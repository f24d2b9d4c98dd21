"""The filter's rules in one fixed order, the held-out split, and what is refused or told.

A sample is counted under the first rule it breaks; later rules do not see it, so a rejected image
never rejects its copy. NaN is never kept: every rule asks what is good and rejects the rest. How
they are asked of millions of rows: decisions.py. Legend: N samples.
"""

from __future__ import annotations

import array
import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from components.data.config import ColumnRule, FilterConfig
from components.data.decisions import CopyRules, Decisions, Rule
from components.data.reasons import Reason
from components.errors import DataError

REPORT_TOP = 5
LEAST_HELDOUT = 2
# Below these, a training repeats its images, and a distance depends on which ones are held out.
FEW_TRAINING, FEW_HELD_OUT = 1000, 200


def rules_of(config: FilterConfig, *, text: bool = True, similarity: bool = True) -> list[Rule]:
    """Return the rules on single rows, in the order in which they are asked.

    Args:
        config: the thresholds.
        text: whether the rules of captions count.
        similarity: whether those of CLIP's similarity do, of captions.
    """
    size = ("width", "height")
    even = f"greatest(width, height) <= {config.max_aspect!r}::DOUBLE * least(width, height)"
    rules = [
        Rule(Reason.FILTER_TOO_SMALL, f"least(width, height) >= {config.min_side_px}", size),
        Rule(Reason.FILTER_ASPECT, even, size),
    ]
    if text:
        rules += _rules_of_length(config)
    if text and similarity:
        rules += _rules_of_similarity(config)
    for rule in config.rules:
        rules += _rules_of_column(rule)
    return rules


def _rules_of_length(config: FilterConfig) -> list[Rule]:
    length = ("caption_chars",)
    short = f"caption_chars >= {config.min_caption_chars}"
    long = f"caption_chars <= {config.max_caption_chars}"
    return [
        Rule(Reason.FILTER_CAPTION_SHORT, short, length),
        Rule(Reason.FILTER_CAPTION_LONG, long, length),
    ]


def _rules_of_similarity(config: FilterConfig) -> list[Rule]:
    cosine = ("clip_similarity",)
    # The threshold is rounded as the cosines are.
    similar = f"clip_similarity >= CAST({config.clip_similarity_min!r}::DOUBLE AS FLOAT)"
    rules = [Rule(Reason.FILTER_SCORE_NAN, "isfinite(clip_similarity)", cosine)]
    if config.clip_keep_fraction >= 1.0:
        return [*rules, Rule(Reason.FILTER_CLIP_SIMILARITY, similar, cosine)]
    best = Rule(
        Reason.FILTER_CLIP_SIMILARITY, "", cosine, "clip_similarity", config.clip_keep_fraction
    )
    return [*rules, best]


def _rules_of_column(rule: ColumnRule) -> list[Rule]:
    reason, column = f"filter.{rule.column}", f'"{rule.column}"'
    good = [f"isfinite({column}::DOUBLE)"]  # NaN is never kept
    if rule.min is not None:
        good.append(f"{column} >= {rule.min!r}::DOUBLE")
    if rule.max is not None:
        good.append(f"{column} <= {rule.max!r}::DOUBLE")
    rules = [Rule(reason, " AND ".join(good), (rule.column,))]
    if rule.keep_fraction < 1.0:
        rules.append(Rule(reason, "", (rule.column,), rule.column, rule.keep_fraction))
    return rules


def copy_rules_of(config: FilterConfig) -> CopyRules:
    """Return which copies are rejected, after all other rules."""
    return CopyRules(
        config.exact_duplicates,
        config.near_duplicate_bits,
        config.near_duplicate_levels,
        config.semantic_duplicate_cosine,
    )


def in_heldout(
    groups: Iterable[str], keys: Iterable[str], seed: int, fraction: float
) -> np.ndarray:
    """Choose whole groups for the held-out split, bool [N]; a row without a group is its own.

    A group's side depends on the seed and its name alone: more data moves nobody across.
    """
    return _places_of_groups(groups, keys, seed) < fraction


def _places_of_groups(groups: Iterable[str], keys: Iterable[str], seed: int) -> np.ndarray:
    """Return a number in [0, 1) for each row, a function of the seed and its group, [N]."""
    start, places = f"{seed}:".encode(), array.array("d")
    for group, key in zip(groups, keys, strict=True):
        mark = hashlib.sha256(start + (group or key).encode()).digest()[:8]
        places.append(int.from_bytes(mark, "big") / 2.0**64)
    return np.frombuffer(places, dtype=np.float64)


def make_report(decisions: Decisions, heldout_N: np.ndarray) -> dict[str, Any]:
    """Count every row once.

    Args:
        decisions: on all rows.
        heldout_N: which of the kept rows are held out, bool [N].
    """
    kept, rejected = decisions.kept_N, decisions.rejected()
    report: dict[str, Any] = {
        "in": len(kept),
        "kept": int((kept & ~heldout_N).sum()),
        "heldout": int((kept & heldout_N).sum()),
        "rejected": rejected,
    }
    assert report["in"] == report["kept"] + report["heldout"] + sum(rejected.values())
    return report


def check_enough(report: dict[str, Any], config: FilterConfig, where: str) -> None:
    """Refuse an empty result and a source of which too much was rejected.

    Raises:
        DataError: naming the most frequent reasons.
    """
    # What is left out for the sake of shares is no fault of the source.
    rejected = sum(report["rejected"].values()) - report["rejected"].get(Reason.FILTER_WEIGHT, 0)
    top = sorted(report["rejected"].items(), key=lambda item: (-item[1], item[0]))[:REPORT_TOP]
    text = ", ".join(f"{reason} {count:,}" for reason, count in top) or "the source is empty"
    if not report["kept"] and report["heldout"]:
        what = f"all {report['heldout']:,} samples that are left are held out, none is to train on"
        raise DataError(what, where, "lower source.heldout_fraction, or set it to 0")
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


def check_heldout(
    report: dict[str, Any], groups: Iterable[str], keys: Iterable[str], seed: int
) -> None:
    """Refuse a split that leaves too little to measure on, and say which fraction would do.

    Args:
        report: as `make_report` returns it.
        groups, keys: of the kept rows.
        seed: of the split.

    Raises:
        DataError: one or no row is held out, though some should be.
    """
    if report["heldout"] >= LEAST_HELDOUT:
        return
    places = np.sort(_places_of_groups(groups, keys, seed))
    count = report["kept"] + report["heldout"]
    what = f"{report['heldout']} of {count:,} rows held out, measuring takes {LEAST_HELDOUT}"
    todo = "add images, or set it to 0 and measure nothing"
    if len(places) > LEAST_HELDOUT and places[LEAST_HELDOUT - 1] < places[-1]:
        enough = np.ceil(places[LEAST_HELDOUT - 1] * 1_000 + 1e-6) / 1_000
        if enough <= places[-1]:
            todo = f"set it to {enough:.3f}"
    raise DataError(what, "source.heldout_fraction", todo)


def grey_facts(largest_N: Iterable[np.ndarray]) -> dict[str, Any]:
    """Return what the report says of images with 16 bits of grey, {} where there are none.

    A largest value far below 65,535 means a camera of fewer bits: source.grey_range says so.

    Args:
        largest_N: the largest value of each such image, in pieces.
    """
    images, largest = 0, 0
    for values in largest_N:
        images += len(values)
        largest = max(largest, int(values.max(initial=0)))
    return {"grey_16_bit": {"images": images, "largest_value": largest}} if images else {}


_TODO = "mend the source or loosen the thresholds under filter in params.yaml"
