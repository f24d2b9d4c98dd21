"""What was seen on generated images: features, captions, logits, looks.

Legend: M generated images, D width of a feature.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from components.evaluation.looks import Looks


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """What the nets saw on M generated images; a net that is absent leaves its part empty."""

    feature_MD: Tensor
    captions: list[str]
    image_MD: Tensor | None = None
    text_MD: Tensor | None = None
    logits: dict[str, Tensor] = field(default_factory=dict)
    looks: Looks | None = None

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
