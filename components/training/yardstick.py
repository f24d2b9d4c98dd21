"""The distance of a model in training from held-out images.

It decides which weights a stage keeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from components.evaluation.bench import Bench
from components.evaluation.config import EvaluateConfig
from components.evaluation.nets import open_net
from components.training.config import TrainConfig
from components.training.seeds import derived_seed


@dataclass
class Yardstick:
    """The Frechet distance by which a stage's weights are compared.

    Conditions, noise and held-out images are the same at every measurement. What is drawn on the
    way (a net's first weights) is not drawn from the training's random numbers.

    Attributes:
        source: a BatchSource of the held-out rows.
        encoders: folder of the frozen nets.
        config: of the run.
        seed: the run's seed.
        device: where to measure.
    """

    source: Any
    encoders: Path
    config: TrainConfig
    seed: int
    device: torch.device | str

    @cached_property
    def bench(self) -> Bench:
        """Held-out rows and net; a forward pass has as many images as one of the training."""
        sizes = EvaluateConfig(
            num_real=self.config.measure_images,
            num_fake=self.config.measure_images,
            batch=self.config.atom_size,
            seed=derived_seed(self.seed, "measure") % 2**31,
        )
        net = open_net(self.encoders, self.config.measure_role, self.device)
        return Bench(source=self.source, config=sizes, net=net)

    def distance(self, model: Any) -> float:
        """Return the Frechet distance of a Generator's images from the held-out ones."""
        device = torch.device(self.device)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            sampled = self.bench.sample(model, self.config.measure_images, aligned=False)
            return self.bench.frechet(sampled)

    def card(self) -> dict[str, Any]:
        """Return what the distances were measured with, as plain values."""
        count = self.config.measure_images
        return self.bench.card(self.bench.net, count, num_real=min(self.source.num_rows, count))
