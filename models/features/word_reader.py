"""The words of a caption, as a frozen CLIP's text tower sees them, read when a network asks.

77 x 768 numbers per caption would be many times its picture, so nothing of them is stored: token
ids come with the data, and what was read is kept for captions that come again.

Legend: N captions, T token ids, D width of the tower.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from models.features.text_tower import TextTower
from models.interfaces import Condition

Layer = Literal["penultimate", "last"]
"""Which tokens: before the tower's last block, or after it and its last norm."""

CACHE_NUMBERS = 2**24  # float32: 64 MiB


def word_dim(architecture: Mapping[str, Any]) -> int:
    """Return D of a CLIP with this architecture (its card's)."""
    return int(architecture["text_cfg"]["width"])


class WordReader:
    """Fill in `tokens_NTD` and `mask_NT` of conditions that hold token ids.

    It is no module, and a copy of a network that holds it shares it: the tower is neither saved nor
    averaged with the network.

    Args:
        clip: `ClipNet` or `ClipText`.
        layer: which tokens are read.
    """

    def __init__(self, clip: Any, layer: Layer) -> None:
        self.clip, self.layer = clip, layer
        self._known: OrderedDict[bytes, Tensor] = OrderedDict()

    def __deepcopy__(self, memo: Any) -> WordReader:
        return self

    def __call__(self, condition: Condition) -> Condition:
        """Return the condition with words; one that has them, or no ids, is returned as it is."""
        ids_NT = condition.ids_NT
        if ids_NT is None or condition.tokens_NTD is not None:
            return condition
        place = torch.arange(ids_NT.shape[1], device=ids_NT.device)
        # The end of a text is its highest id.
        mask_NT = place[None] <= ids_NT.argmax(dim=1)[:, None]
        return replace(condition, tokens_NTD=self.read(ids_NT), mask_NT=mask_NT)

    def read(self, ids_NT: Tensor) -> Tensor:
        """Return words [N, T, D], float32, without a gradient."""
        rows = [row.tobytes() for row in ids_NT.cpu().numpy()]
        new = list(dict.fromkeys(row for row in rows if row not in self._known))
        found = {row: self._known[row] for row in rows if row in self._known}
        if new:
            where = torch.tensor([rows.index(row) for row in new], device=ids_NT.device)
            # Caption by caption where the sums could differ with the batch: see `hidden_states`.
            with torch.no_grad(), torch.autocast(ids_NT.device.type, enabled=False):
                read_NTD = hidden_states(self.clip.network, ids_NT[where], self.layer)
            found.update(zip(new, read_NTD.float(), strict=True))
        for row in dict.fromkeys(rows):
            self._known[row] = found[row]
            self._known.move_to_end(row)
        while sum(1 for _ in self._known) * found[rows[0]].numel() > CACHE_NUMBERS:
            self._known.popitem(last=False)
        return torch.stack([found[row] for row in rows])


def hidden_states(tower: Any, ids_NT: Tensor, layer: Layer) -> Tensor:
    """Return the tokens [N, T, D] of open_clip's text tower or of ours.

    One caption at a time on a CPU, whose sums over a batch may be split otherwise for another
    batch: a run that is resumed, and so finds fewer captions in the cache, gets the same bits.
    """
    if ids_NT.device.type == "cpu" and len(ids_NT) > 1:
        return torch.cat([hidden_states(tower, row[None], layer) for row in ids_NT])
    length = ids_NT.shape[1]
    x_NTD = tower.token_embedding(ids_NT) + tower.positional_embedding[:length]
    mask_TT = tower.attn_mask[:length, :length].to(x_NTD.dtype)
    blocks = list(tower.transformer.resblocks)
    for block in blocks if layer == "last" else blocks[:-1]:
        if isinstance(tower, TextTower):
            x_NTD = block(x_NTD, mask_TT)
        else:
            x_NTD = block(x_NTD, attn_mask=mask_TT)
    return tower.ln_final(x_NTD) if layer == "last" else x_NTD  # type: ignore[no-any-return]
