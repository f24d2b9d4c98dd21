"""The images that the frozen nets train on and are measured on: clean splits, or the source."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from components.data.config import SourceConfig
from components.data.far_files import Folder
from components.data.origins import Origin
from components.errors import DataError
from components.pretraining.config import ROLES, EncodersConfig
from components.pretraining.images import ImageSet, hold_out, read_clean_split, read_images

_MAX_HELD_OUT = 1_000


@dataclass
class TrainingData:
    """The splits that the roles train on and are measured on, each read when first asked for.

    Without clean splits (real data) the user's source stands in, one part of it held out.

    Attributes:
        raw: folder with the clean splits encoders, judge and test, if any.
        source, source_folder: the user's data.
        config: sizes and limits.
        seed: of the held-out part.
        bundled: folder with the project's own trained nets, one sub-folder per role.
        several: the user's sources, where there are several; `source` is the first of them.
    """

    raw: Path
    source: SourceConfig
    source_folder: Folder
    config: EncodersConfig
    seed: int
    bundled: Path
    several: tuple[Origin, ...] = ()

    @property
    def origins(self) -> tuple[Origin, ...]:
        """The user's data: one source, or several."""
        return self.several or (Origin(self.source, self.source_folder),)

    @cached_property
    def _side_px(self) -> int:
        # An absent guide does not decide at what size the others' images are read.
        roles = [r for r in ROLES if r != "guide" or self.config.guide.source != "none"]
        return max(getattr(self.config, role).train.image_size_px for role in roles)

    @cached_property
    def _from_source(self) -> tuple[ImageSet, ImageSet]:
        limit = self.config.max_images
        images = read_images(self.origins, self._side_px, limit)
        rng = torch.Generator().manual_seed(self.seed)
        return hold_out(images, min(_MAX_HELD_OUT, -(-len(images) // 10)), rng)

    def _split(self, name: str) -> ImageSet | None:
        folder = self.raw / name
        if not any(folder.glob("*.tar")):
            return None
        # By the classes that are trained on, where they have a name of their own.
        return read_clean_split(folder, self._side_px, self.source.label_columns or "label")

    @cached_property
    def train(self) -> ImageSet:
        """Images for clip, dino, classifier and guide."""
        return self._split("encoders") or self._from_source[0]

    @cached_property
    def judge(self) -> ImageSet:
        """Images for the judge; no role that guides has seen them."""
        images = self._split("judge")
        if images is None:
            todo = "run synthesize, or set encoders.judge.source: none for real data"
            raise DataError("no drawings to train the judge on", str(self.raw / "judge"), todo)
        return images

    @cached_property
    def scorer(self) -> ImageSet:
        """Images for the scorer: the judge's, which guide nothing; without drawings the source."""
        drawn = any((self.raw / "judge").glob("*.tar"))
        return self.judge if drawn else self._from_source[0]

    @cached_property
    def test(self) -> ImageSet:
        """Images that no role has trained on."""
        return self._split("test") or self._from_source[1]
