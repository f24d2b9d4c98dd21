"""What goes wrong in public: the adapted images lose their variety, or please their CLIP alone.

Legend: N images, E width of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.editing.clip_view import Embed
from models.editing.directions import along
from models.interfaces import Condition

BATCH = 16


@torch.no_grad()
def spread(embeddings_NE: Tensor) -> float:
    """Return the mean of 1 minus the cosine over all pairs of different images."""
    unit_NE = F.normalize(embeddings_NE, dim=1)
    cosine_NN = unit_NE @ unit_NE.t()
    count = len(unit_NE)
    off = cosine_NN.sum() - cosine_NN.diagonal().sum()
    return float(1 - off / (count * (count - 1)))


class Watch:
    """Compares a model with the original on the same codes.

    Args:
        original: the frozen generator.
        embed: by a net that, if possible, does not guide.
        direction: returns where that net wants the images to go [E]; None: gain is not watched.
        condition: count -> of the images.
        count: N.
        seed: of the codes.
    """

    def __init__(
        self,
        original: Any,
        embed: Embed,
        direction: Callable[[], Tensor] | None,
        condition: Callable[[int], Condition],
        *,
        count: int,
        seed: int = 0,
    ) -> None:
        self._original, self._embed, self._direction = original, embed, direction
        self._condition, self._count, self._seed = condition, count, seed
        self._before_NE: Tensor | None = None

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Return {"diversity": share of the original's, "gain": mean cosine of the way with the
        wanted one, if there is one}.
        """
        modes = [(part, part.training) for part in model.modules()]
        model.eval()
        try:
            after_NE = self._embeddings(model)
        finally:
            for part, training in modes:
                part.training = training
        if self._before_NE is None:
            self._before_NE = self._embeddings(self._original)
        found = {"diversity": spread(after_NE) / max(spread(self._before_NE), 1e-12)}
        if self._direction is not None:
            found["gain"] = float(along(self._before_NE, after_NE, self._direction()).mean())
        return found

    def _embeddings(self, generator: Any) -> Tensor:
        """Return [N, E] of the same codes for every generator: those that the original maps."""
        device = next(self._original.parameters()).device
        rng = torch.Generator().manual_seed(self._seed)
        z_NZ = torch.randn(self._count, self._original.z_dim, generator=rng).to(device)
        condition = self._condition(self._count).to(device)
        found = []
        for start in range(0, self._count, BATCH):
            part = slice(start, start + BATCH)
            ws_NLD = self._original.map(z_NZ[part], condition[part])
            found.append(self._embed(generator.synthesize(ws_NLD, condition[part])))
        return torch.cat(found)
