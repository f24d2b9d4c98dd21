"""Parameters of the publish stage: name and licence of a release, and the metrics it must reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from models.fields import Between


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """What one metric must reach; at least one side is given."""

    min: float | None = None
    """The metric must be at least this."""

    max: float | None = None
    """The metric must be at most this."""


@dataclass(frozen=True, kw_only=True)
class PublishConfig:
    """Section `publish` of params.yaml."""

    model_name: str = "ganline"
    """Name of the registered model."""

    thresholds: dict[str, Threshold] = field(default_factory=dict)
    """Name of a metric (judge.all, frechet_judge.ratio) -> what it must reach; all names below."""

    least_held_out: Annotated[int, Between(0, None)] = 50
    """A champion was measured on at least so many held-out images; with fewer: a candidate."""

    register: bool = True
    """Also register with MLflow: alias `candidate`, and `champion` when all thresholds hold."""

    licence: str = "Apache-2.0"
    """SPDX identifier of the weights' licence; the training data may demand another."""

    licence_text: str = ""
    """A sentence on the licence or the data's terms for the model card."""

    description: str = ""
    """A sentence on what the model draws, for the model card."""

    prompt_chars_limit: Annotated[int, Between(1, 4_000)] = 1000
    """Longest prompt that the served model takes."""

    images_limit: Annotated[int, Between(1, 1000)] = 16
    """Most images of one request to the served model."""


def metric_at(metrics: Mapping[str, Any], name: str) -> float | None:
    """Return the metric with a dotted name; None when it was not measured."""
    value: Any = metrics
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if number else None


def held_out_images(metrics: Mapping[str, Any]) -> int:
    """Return how many held-out images the distances were measured on; 0 where none was.

    The cards of memorisation count training images.
    """
    cards = metrics.get("cards", {}).items()
    seen = [int(card["num_real"]) for name, card in cards if not name.startswith("memorised")]
    return max(seen, default=0)


def few_held_out(metrics: Mapping[str, Any], config: PublishConfig) -> str:
    """Say why a model is no champion though it misses no threshold; '' where it may be one."""
    number, least = held_out_images(metrics), config.least_held_out
    if number >= least:
        return ""
    return f"measured on {number} held-out images, publish.least_held_out is {least}"


def is_champion(metrics: Mapping[str, Any], config: PublishConfig) -> bool:
    """Return whether a version of this model becomes the champion; every one is a candidate."""
    return not (missed_thresholds(metrics, config.thresholds) or few_held_out(metrics, config))


def missed_thresholds(metrics: Mapping[str, Any], thresholds: Mapping[str, Threshold]) -> list[str]:
    """Return one line per missed threshold: the metric, its value and what was wanted.

    A metric that was not measured, or is not a number, misses its threshold.
    """
    missed = []
    for name, threshold in thresholds.items():
        value = metric_at(metrics, name)
        low, high = threshold.min, threshold.max
        wanted = [f"at least {low:g}" if low is not None else ""]
        wanted += [f"at most {high:g}" if high is not None else ""]
        if value is None:
            missed.append(f"{name} was not measured, wanted {_and(wanted)}")
        elif not ((low is None or value >= low) and (high is None or value <= high)):
            missed.append(f"{name} is {value:.4g}, wanted {_and(wanted)}")
    return missed


def _and(parts: list[str]) -> str:
    return " and ".join(part for part in parts if part) or "any value"
