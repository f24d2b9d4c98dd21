"""What images show and what they are to show, in whole sentences.

A text that tells of one thing ("a blue background") is near other images too (a blue shape). Whole
sentences leave no doubt: the one that an image is nearest to says what it shows, and its partner
the same with one word changed.

Legend: N images, P pairs, E width of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from components.errors import ConfigError

if TYPE_CHECKING:
    from components.editing.clip_text import ClipText

_CHUNK = 256  # sentences that are read at once


class Captions:
    """Pairs of sentences: what an image may show, and what it is to show then.

    Args:
        clip: who reads them, and whose eyes say which an image shows.
        pairs: (before, after).
        name: of what changes, for people.

    Raises:
        ConfigError: no pair, or none whose sentences differ.
    """

    def __init__(self, clip: ClipText, pairs: Sequence[tuple[str, str]], name: str) -> None:
        if not any(before != after for before, after in pairs):
            what, todo = "no pair of sentences that differ", "give lines of BEFORE, a tab, AFTER"
            raise ConfigError(what, name, todo)
        self.pairs, self.name, self._clip = tuple(pairs), name, clip
        self.before_PE, self.after_PE = (self._read(side) for side in zip(*pairs, strict=True))

    @torch.no_grad()
    def _read(self, sentences: Sequence[str]) -> Tensor:
        parts = [sentences[i : i + _CHUNK] for i in range(0, len(sentences), _CHUNK)]
        return torch.cat([self._clip.net.encode_text(list(part)) for part in parts])

    @torch.no_grad()
    def own(self, images_NCHW: Tensor) -> Tensor:
        """Return the pair of each image [N]: whose first sentence CLIP finds nearest."""
        return (self._clip.images(images_NCHW) @ self.before_PE.T).argmax(dim=1)

    def texts(self, own_N: Tensor) -> Tensor:
        """Return the sentences that images are to show, of unit length [N, E]."""
        return self.after_PE[own_N]

    def ways(self, own_N: Tensor) -> Tensor:
        """Return the ways from one sentence of a pair to the other, of unit length [N, E]."""
        return F.normalize(self.after_PE[own_N] - self.before_PE[own_N], dim=1)
