"""Zero-shot COCO: FID at 64 and 256 px and CLIP score of a published text-to-image model.

The protocol of Sauer et al. (2023): 30,000 images from the captions of COCO's
validation pictures, which training has not seen, against all of these pictures. Every number has a
name of its own (the published code gives both sizes the same). Legend: N pictures, M images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.evaluation.alignment import clip_score, prompt_sensitivity
from components.evaluation.cards import LOW_RANK, SAME_CLIP, metric_card, sensitivity_note
from components.evaluation.coco import CocoPictures, shrink
from components.evaluation.config import CocoConfig
from components.evaluation.distances import Moments, frechet_distance
from components.evaluation.features import features_of, real_features
from components.evaluation.nets import MeasuringNet
from components.sampling import generate

SAID_EVERY = 1_000  # images between two lines of progress
FEW_CAPTIONS = "fewer captions than images: they come again, with other seeds"


@dataclass(frozen=True, kw_only=True)
class ZeroShot:
    """Pictures and nets of one benchmark.

    Attributes:
        pictures: the real side, and the prompts.
        config: counts, sizes and seed.
        inception: for the FID; None does not measure it.
        scorer: CLIP for the score; None does not measure it.
        guides: the scorer also took part in the training.
        cache: folder of cached real features, or None.
    """

    pictures: CocoPictures
    config: CocoConfig
    inception: MeasuringNet | None
    scorer: MeasuringNet | None
    guides: bool = False
    cache: Path | None = None

    def scores(self, model: Any, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
        """Return plain values: metric names -> numbers, real, not_measured, cards, data.

        Args:
            model: a `TextToImage`.
            say: prints one line of progress.
        """
        resolution = int(model.generator.resolution)
        sides = [side for side in self.config.resolutions_px if side <= resolution]
        seen = self._look(model, sides if self.inception else [], say)
        report: dict[str, Any] = {"real": {}, "not_measured": {}, "cards": {}}
        for side in self.config.resolutions_px:
            self._distance(report, side, seen.pooled.get(side), resolution)
        self._alignment(report, seen, min(resolution, self.pictures.resolution))
        report["data"] = {
            "content_hash": self.pictures.content_hash,
            "listed": self.pictures.listed,
            "used": self.pictures.num_rows,
            "left_out": self.pictures.left_out,
        }
        return report

    def _look(self, model: Any, sides: list[int], say: Callable[[str], None]) -> Seen:
        """Generate all images, batch by batch; keep what the nets see of them."""
        config, seen = self.config, Seen({side: [] for side in sides})
        seen.prompts += self.pictures.prompts(config.num_fake, config.seed)
        for start in range(0, config.num_fake, config.batch):
            prompts = seen.prompts[start : start + config.batch]
            seeds = range(config.seed + start, config.seed + start + len(prompts))
            images = generate(model, prompts, seeds, config.truncation, config.batch)
            for side, parts in seen.pooled.items():
                smaller = np.stack([shrink(image, side) for image in images])
                parts.append(features_of(self.inception.network, smaller)["pooled"])  # type: ignore[union-attr]
            if self.scorer is not None:
                seen.image.append(features_of(self.scorer.network, images)["pooled"])
                seen.text.append(self._text(prompts))
            done = start + len(prompts)
            if done // SAID_EVERY > start // SAID_EVERY or done == config.num_fake:
                say(f"benchmark_coco: {done:,} of {config.num_fake:,} images")
        return seen

    def _distance(
        self, report: dict[str, Any], side: int, fake: list[Tensor] | None, resolution: int
    ) -> None:
        name = f"fid{counted(self.config.num_fake)}_coco_{side}"
        report[name] = None
        if self.inception is None:
            report["not_measured"][name] = "no inception_file given"
        elif fake is None:
            report["not_measured"][name] = f"the model draws {resolution} px"
        else:
            real_ND, fake_MD = self._real(self.inception, side), torch.cat(fake)
            report[name] = frechet_distance(Moments.of(real_ND), Moments.of(fake_MD))
            low_rank = min(len(real_ND), len(fake_MD)) <= real_ND.shape[1]
            notes = [LOW_RANK if low_rank else "", self._repeated()]
            report["cards"][name] = self._card(self.inception, len(real_ND), notes)

    def _alignment(self, report: dict[str, Any], seen: Seen, side: int) -> None:
        names = ("clip_score_coco", "prompt_sensitivity_coco")
        report |= dict.fromkeys(names)
        if self.scorer is None:
            report["not_measured"] |= dict.fromkeys(names, "no clip_scorer given, no encoders")
            return
        image_MD, text_MD = torch.cat(seen.image), torch.cat(seen.text)
        report[names[0]] = clip_score(image_MD, text_MD)
        report[names[1]] = prompt_sensitivity(image_MD, text_MD, seen.prompts)
        captions = [picture.caption for picture in self.pictures.pictures]
        batches = range(0, len(captions), self.config.batch)
        text_ND = torch.cat([self._text(captions[i : i + self.config.batch]) for i in batches])
        real_ND = self._real(self.scorer, side)
        report["real"] = {
            names[0]: clip_score(real_ND, text_ND),
            names[1]: prompt_sensitivity(real_ND, text_ND, captions),
        }
        notes = [SAME_CLIP if self.guides else "", self._repeated()]
        ignores = sensitivity_note(report[names[1]], report["real"][names[1]])
        for name, more in ((names[0], []), (names[1], [ignores])):
            report["cards"][name] = self._card(self.scorer, len(real_ND), [*notes, *more])
        if report[names[1]] is None:
            report["not_measured"][names[1]] = "all captions are equal"

    def _real(self, net: MeasuringNet, side: int) -> Tensor:
        source, batch = self.pictures.at(side), self.config.batch
        found = real_features(source, net, count=source.num_rows, batch=batch, cache=self.cache)
        return found["pooled"]

    def _text(self, captions: list[str]) -> Tensor:
        with torch.inference_mode():
            return self.scorer.network.encode_text(captions).float().cpu()  # type: ignore[union-attr]

    def _repeated(self) -> str:
        return FEW_CAPTIONS if self.pictures.num_rows < self.config.num_fake else ""

    def _card(self, net: MeasuringNet, num_real: int, notes: list[str]) -> dict[str, Any]:
        return metric_card(
            net,
            note="; ".join(filter(None, notes)),
            num_real=num_real,
            num_fake=self.config.num_fake,
            data_content_hash=self.pictures.content_hash,
            seed=self.config.seed,
            truncation=self.config.truncation,
        )


@dataclass
class Seen:
    """What the nets saw of the generated images, in batches; `pooled` by side in pixels."""

    pooled: dict[int, list[Tensor]]
    image: list[Tensor] = field(default_factory=list)
    text: list[Tensor] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)


def counted(number: int) -> str:
    """Return 30000 as "30k", as FID-30k is written, and 1234 as "1234"."""
    return f"{number // 1000}k" if number % 1000 == 0 else str(number)
