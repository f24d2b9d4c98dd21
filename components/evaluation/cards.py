"""The card of a metric: the net, the resize and the counts that gave the number.

A number means nothing without them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from components.evaluation.nets import MeasuringNet

SAME_CLIP = "this CLIP also took part in the training: the score may flatter, ask the judge"
LOW_RANK = "fewer images than feature dimensions: compare only at equal counts"
IGNORES_TEXT = "nearly the same with shuffled prompts: the generator ignores its text"
UNTOLD = (
    "nearly the same with shuffled prompts, of real images too: this CLIP cannot tell whether "
    "prompts do anything"
)
FOOLED_JUDGE = "the judge is being fooled"
SAME_SEEDS = "the seeds of a prompt draw nearly the same"
COPIES = "the generator repeats training images"
GUIDE_LOOKS = "the net may also guide the training: read it beside the pixels"
NAMES_ALL = "the judge names something in every image: read this beside the distance"
# Below this share of what real images reach, a generator is said to ignore its text.
IGNORING_SHARE = 0.1
# A cosine that shuffled prompts must cost at least: below it there is no margin, whatever real
# images reach. The drawings of the default reach 0.9.
LEAST_MARGIN = 0.01


@dataclass(frozen=True, kw_only=True)
class MetricCard:
    """What one metric was measured with."""

    net: str
    net_sha256: str
    resizer: str
    dtype: str
    num_real: int
    num_fake: int
    data_content_hash: str
    seed: int
    truncation: float = 1.0
    note: str = ""


def metric_card(net: MeasuringNet | str, *, note: str = "", **facts: Any) -> dict[str, Any]:
    """Return the card of a metric that was measured with `net`, as plain values.

    Args:
        net: the net; what it says of itself comes first in the note. A word, as "outlines", where
            no net measured.
        note: what a reader of the number must know.
        facts: num_real, num_fake, data_content_hash, seed; truncation if it is not 1.
    """
    if isinstance(net, str):
        known = {"net": f"none: {net}", "net_sha256": "", "resizer": "none", "dtype": "float64"}
    else:
        known = {
            "net": net.name,
            "net_sha256": net.sha256,
            "resizer": net.resizer,
            "dtype": net.dtype,
        }
        note = "; ".join(filter(None, (net.note, note)))
    return asdict(MetricCard(**{**known, **facts}, note=note))


def sensitivity_note(sensitivity: float | None, real: float | None) -> str:
    """Return a note when shuffled prompts change next to nothing, measured on real images.

    Args:
        sensitivity: prompt sensitivity of the generated images.
        real: that of real images with their own captions; None when it is not known.

    Returns:
        IGNORES_TEXT; UNTOLD where real images show no margin either; '' where prompts count.
    """
    if sensitivity is None or real is None:
        return ""
    if sensitivity >= max(LEAST_MARGIN, IGNORING_SHARE * real):
        return ""
    return IGNORES_TEXT if real >= LEAST_MARGIN else UNTOLD
