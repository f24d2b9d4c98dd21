"""What the evaluate stage measures and with how many images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from models.fields import Between


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Section `evaluate` of params.yaml."""

    model: str = "px64"
    """Name of the artifact that is measured: artifacts/<model>."""

    feature_role: str = "judge"
    """Encoder whose features the distances use; without a judge: classifier, dino or clip."""

    num_prompts: Annotated[int, Between(1, None)] = 1000
    """Held-out prompts to judge; when there are fewer, they come again with other seeds."""

    num_fake: Annotated[int, Between(2, None)] = 1000
    """Generated images for the distances."""

    num_real: Annotated[int, Between(2, None)] = 10_000
    """Most held-out images for the distances; fewer rows mean all of them."""

    num_curve: Annotated[int, Between(2, None)] = 500
    """Generated images for each point of the truncation curve."""

    truncations: tuple[Annotated[float, Between(0.0, 1.0)], ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """Values of psi on the truncation curve."""

    batch: Annotated[int, Between(1, None)] = 50
    """Images per forward pass; the results do not depend on it."""

    seed: Annotated[int, Between(0, 2**31 - 1)] = 0
    """First noise seed; image i is made with seed + i."""

    neighbours: Annotated[int, Between(1, None)] = 3
    """k of precision, recall, density and coverage."""

    kernel_subset_size: Annotated[int, Between(2, None)] = 500
    """Images on each side of one estimate of the kernel distance."""

    kernel_subsets: Annotated[int, Between(1, None)] = 20
    """Estimates of the kernel distance that are averaged."""

    sheet_prompts: Annotated[int, Between(1, 64)] = 8
    """Rows of the sample sheet."""

    sheet_seeds: Annotated[int, Between(1, 16)] = 6
    """Columns of the sample sheet."""
