"""What was seen on generated images: features, captions, logits, looks.

Legend: M generated images, D width of a feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from components.evaluation.features import stack
from components.evaluation.looks import Looks
from components.evaluation.pieces import Seen


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """What the nets saw on M generated images; a net that is absent leaves its part empty."""

    feature_MD: Tensor
    captions: list[str]
    image_MD: Tensor | None = None
    text_MD: Tensor | None = None
    logits: dict[str, Tensor] = field(default_factory=dict)
    looks: Looks | None = None

    @classmethod
    def joined(cls, parts: Sequence[Seen], judge: str) -> Sampled:
        """Return what was seen on pieces of drawn images, in order; `judge` names who judges."""
        seen = {name: stack(p["features"][name] for p in parts) for name in parts[0]["features"]}
        texts = [part["texts"] for part in parts if part["texts"] is not None]
        looks = [part["looks"] for part in parts if part["looks"] is not None]
        return cls(
            feature_MD=seen["net"]["pooled"],
            captions=[caption for part in parts for caption in part["captions"]],
            image_MD=seen["clip"]["pooled"] if "clip" in seen else None,
            text_MD=torch.cat(texts) if texts else None,
            logits={k: x for k, x in seen.get(judge, {}).items() if k != "pooled"},
            looks=Looks.joined(looks) if looks else None,
        )

    def first(self, count: int) -> Sampled:
        """Return the same for the first `count` images."""
        return Sampled(
            feature_MD=self.feature_MD[:count],
            captions=self.captions[:count],
            image_MD=None if self.image_MD is None else self.image_MD[:count],
            text_MD=None if self.text_MD is None else self.text_MD[:count],
            logits={name: x[:count] for name, x in self.logits.items()},
            looks=None if self.looks is None else self.looks.first(count),
        )
