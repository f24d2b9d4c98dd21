"""What a healthy training shows: the limits that the watch over collapse judges by; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LOST = 0.1  # of the largest spread so far
FAINT = 0.01  # of images in [-1, 1]: about one of 255 levels, below it nobody sees a difference
SURE = 0.99  # mean sign of a discriminator that is never wrong
NOTHING_LEFT = 0.01  # loss of one that is
WORSE = 3.0  # times the best distance
REAL_SIGN, FAKE_SIGN = "stat/discriminator/real_sign", "stat/discriminator/fake_sign"
ADVERSARIAL = "loss/discriminator/adversarial"


def healthy_ranges(
    record: Mapping[str, Any], largest: Mapping[str, float]
) -> dict[str, tuple[float, float]]:
    """Return name -> (lowest, highest) healthy value, for what a tick has and a range is known of.

    Args:
        record: a tick.
        largest: name -> the largest spread that this run has shown.
    """
    inf = float("inf")
    ranges = {
        REAL_SIGN: (-inf, SURE),
        FAKE_SIGN: (-SURE, inf),
        ADVERSARIAL: (NOTHING_LEFT, inf),
        "measure/frechet": (0.0, WORSE * float(record.get("measure/best_frechet") or inf)),
    }
    ranges |= {name: (max(FAINT, LOST * value), inf) for name, value in largest.items()}
    return {name: found for name, found in ranges.items() if name in record}
