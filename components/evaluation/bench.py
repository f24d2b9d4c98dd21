"""The measuring bench: frozen nets, held-out rows, and what they say about a generator.

Every number leaves with a card that says what it was measured with, for a distance means nothing
without its net, its resize and its counts. Legend: N real images, M generated images, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from components.data.captions import attributes_of
from components.errors import ConfigError, DataError
from components.evaluation.alignment import attribute_accuracy, clip_score, prompt_sensitivity
from components.evaluation.config import EvaluateConfig
from components.evaluation.distances import Moments, frechet_distance
from components.evaluation.features import (
    MeasuringNet,
    features_of,
    generated,
    open_net,
    real_features,
    stack,
)


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


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """What the nets saw on M generated images; a net that is absent leaves its part empty."""

    feature_MD: Tensor
    captions: list[str]
    image_MD: Tensor | None = None
    text_MD: Tensor | None = None
    logits: dict[str, Tensor] = field(default_factory=dict)

    def first(self, count: int) -> Sampled:
        """Return the same for the first `count` images."""
        return Sampled(
            feature_MD=self.feature_MD[:count],
            captions=self.captions[:count],
            image_MD=None if self.image_MD is None else self.image_MD[:count],
            text_MD=None if self.text_MD is None else self.text_MD[:count],
            logits={name: x[:count] for name, x in self.logits.items()},
        )


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Nets and held-out rows of one evaluation.

    Attributes:
        source: a BatchSource of the held-out rows at the generator's resolution, order by
            `config.seed`.
        config: counts and seeds.
        net: the net of the distances.
        clip: for the CLIP score; None without text.
        judge: for the attributes; None on real data.
        cache: folder of cached real features, or None.
    """

    source: Any
    config: EvaluateConfig
    net: MeasuringNet
    clip: MeasuringNet | None
    judge: MeasuringNet | None
    cache: Path | None

    @classmethod
    def open(
        cls,
        source: Any,
        encoders: Path,
        config: EvaluateConfig,
        *,
        cache: Path | None,
        device: torch.device | str = "cpu",
    ) -> Bench:
        """Load the nets that `encoders` holds.

        Raises:
            ConfigError: the encoder named by feature_role is not there.
            DataError: fewer than two held-out rows.
            StorageError: an encoder is damaged.
        """
        present = sorted(path.parent.name for path in encoders.glob("*/card.json"))
        if config.feature_role not in present:
            raise ConfigError(
                f"feature_role is {config.feature_role}, encoders here: {', '.join(present)}",
                "evaluate.feature_role",
                "name one of them",
            )
        if source.num_rows < 2:
            raise DataError(
                f"{source.num_rows} held-out rows", "evaluate", "hold out at least 2 rows"
            )
        nets = {
            role: open_net(encoders, role, device)
            for role in {config.feature_role, "clip", "judge"} & set(present)
        }
        # A model that takes no text is not asked how well it follows one.
        text = bool(source.shape.pooled_dim)
        return cls(
            source=source,
            config=config,
            net=nets[config.feature_role],
            clip=nets.get("clip") if text else None,
            judge=nets.get("judge"),
            cache=cache,
        )

    def real(self, net: MeasuringNet) -> dict[str, Tensor]:
        """Return what a net sees on the held-out images: N = min(rows, num_real)."""
        return real_features(
            self.source,
            net,
            count=min(self.source.num_rows, self.config.num_real),
            batch=self.config.batch,
            cache=self.cache,
        )

    @cached_property
    def real_ND(self) -> Tensor:
        """Features of the held-out images by the distances' net."""
        return self.real(self.net)["pooled"]

    @cached_property
    def real_moments(self) -> Moments:
        """Their moments."""
        return Moments.of(self.real_ND)

    def sample(
        self, generator: Any, count: int, *, truncation: float = 1.0, aligned: bool = True
    ) -> Sampled:
        """Generate `count` images from held-out prompts and let the nets look at them.

        Args:
            generator: a Generator.
            count: images; prompts come again, with other seeds, when there are fewer.
            truncation: psi.
            aligned: also ask CLIP and the judge, not only the distances' net.
        """
        nets = {"net": self.net, "clip": self.clip, "judge": self.judge}
        wanted = {name: net for name, net in nets.items() if net and (aligned or name == "net")}
        parts: dict[str, list[dict[str, Tensor]]] = {name: [] for name in wanted}
        captions: list[str] = []
        texts: list[Tensor] = []
        pictures = generated(
            generator,
            self.source,
            count=count,
            batch=self.config.batch,
            seed=self.config.seed,
            truncation=truncation,
        )
        for images, rows in pictures:
            captions += rows
            for name, net in wanted.items():
                same = name == "judge" and net.sha256 == self.net.sha256
                parts[name].append(parts["net"][-1] if same else features_of(net.network, images))
            if "clip" in wanted:
                texts.append(self._text(rows))
        seen = {name: stack(part) for name, part in parts.items()}
        logits = {k: x for k, x in seen.get("judge", {}).items() if k != "pooled"}
        return Sampled(
            feature_MD=seen["net"]["pooled"],
            captions=captions,
            image_MD=seen["clip"]["pooled"] if "clip" in seen else None,
            text_MD=torch.cat(texts) if texts else None,
            logits=logits,
        )

    def frechet(self, sampled: Sampled) -> float:
        """Return the Frechet distance of generated images from the held-out ones."""
        return frechet_distance(self.real_moments, Moments.of(sampled.feature_MD))

    def judged(self, sampled: Sampled) -> dict[str, float] | None:
        """Return the judge's shares per attribute; None without a judge or readable captions."""
        if self.judge is None or not sampled.logits:
            return None
        classes = self.judge.network.classes
        return attribute_accuracy(sampled.logits, classes, sampled.captions, attributes_of)

    def clip_scores(self, sampled: Sampled) -> tuple[float, float] | None:
        """Return (CLIP score, prompt sensitivity), None without CLIP or without captions."""
        if sampled.image_MD is None or sampled.text_MD is None:
            return None
        pair = (sampled.image_MD, sampled.text_MD)
        return clip_score(*pair), prompt_sensitivity(*pair)

    def real_reference(self, sampled: Sampled) -> dict[str, Any]:
        """Return what judge and CLIP say about the real images of the same rows: the ceiling."""
        reference: dict[str, Any] = {"judge": None, "clip_score": None}
        count = min(len(sampled.captions), len(self.real_ND))
        if self.judge is not None:
            logits = {k: x[:count] for k, x in self.real(self.judge).items() if k != "pooled"}
            rows = Sampled(
                feature_MD=self.real_ND, captions=sampled.captions[:count], logits=logits
            )
            reference["judge"] = self.judged(rows)
        if self.clip is not None and sampled.text_MD is not None:
            images = self.real(self.clip)["pooled"][:count]
            reference["clip_score"] = clip_score(images, sampled.text_MD[:count])
        return reference

    def card(self, net: MeasuringNet, num_fake: int, *, num_real: int = 0, note: str = "") -> dict:
        """Return the card of a metric, as plain values."""
        return asdict(
            MetricCard(
                net=net.name,
                net_sha256=net.sha256,
                resizer=net.resizer,
                dtype=net.dtype,
                num_real=num_real,
                num_fake=num_fake,
                data_content_hash=self.source.content_hash,
                seed=self.config.seed,
                note=note,
            )
        )

    def _text(self, captions: Sequence[str]) -> Tensor:
        with torch.inference_mode():
            return self.clip.network.encode_text(list(captions)).float().cpu()  # type: ignore[union-attr]
