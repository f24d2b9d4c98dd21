"""StyleGAN-XL's generator, told what z has chosen of a sentence (projected_gan.sentences).

Legend: N samples, Z width of z, O options of all choices.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from models.interfaces import Condition
from models.projected_gan.sentences import Choices
from models.stylegan_xl.generator import StyleGANXLGenerator


class ChoosingXLGenerator(StyleGANXLGenerator):
    """Class embedding and choices of z stand behind w, which truncation leaves as they are: the
    mapping network would squeeze both into as many numbers as z has. Ours, not of a paper.
    """

    def __init__(self, choices: Choices, *, embed_dim: int, **options: Any) -> None:
        of_class = embed_dim if options["shape"].num_labels else 0
        told_dim = of_class + sum(choices.counts)
        super().__init__(embed_dim=embed_dim, told_dim=told_dim, **options)
        self.choices = choices

    def told(self, z_NZ: Tensor, condition: Condition) -> Tensor:
        """Return the class's embedding, if there are classes, then what z chose, each of unit
        length.
        """
        marked_NO = F.normalize(self.choices.marked(self.choices(z_NZ)), dim=1)
        if self.embedding is None:
            return marked_NO
        return torch.cat([F.normalize(self.embedding[condition.label_N], dim=1), marked_NO], dim=1)
