"""The plain text tower of a CLIP (Radford et al. 2021), as open_clip builds it by default.

The same weights give the same embeddings bit for bit, and the same seed the same fresh weights, but
it needs torch alone: importing open_clip takes longer than drawing an image. Names of weights are
open_clip's, and so a file of one is a file of the other.

Legend: N samples, T ids per caption, C width, D width of the embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

# What a text_cfg may say; anything else (other blocks, poolings, masks) is left to open_clip.
PLAIN = frozenset({"context_length", "vocab_size", "width", "heads", "layers"})
_MLP_RATIO = 4


def is_plain(architecture: Mapping[str, Any]) -> bool:
    """Whether `TextTower` is the text tower of a CLIP with this architecture."""
    words = architecture["tokenizer"]["kind"] == "words"
    return words and not architecture["quick_gelu"] and set(architecture["text_cfg"]) == PLAIN


class TextTower(nn.Module):
    """A causal transformer; the embedding is read at the highest id, the end of the caption.

    Args:
        embed_dim: D.
        context_length: T.
        vocab_size: number of ids.
        width, heads, layers: of the transformer.
    """

    attn_mask: Tensor

    def __init__(
        self,
        embed_dim: int,
        *,
        context_length: int,
        vocab_size: int,
        width: int,
        heads: int,
        layers: int,
    ) -> None:
        super().__init__()
        # Made and initialised in open_clip's order, for each draws from the same random numbers.
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(context_length, width))
        self.transformer = _Blocks(width, heads, layers)
        self.ln_final = nn.LayerNorm(width)
        mask_TT = torch.full((context_length, context_length), -torch.inf).triu(1)
        self.register_buffer("attn_mask", mask_TT, persistent=False)
        self.text_projection = nn.Parameter(torch.empty(width, embed_dim))
        self._initialise(width, layers)

    def _initialise(self, width: int, layers: int) -> None:
        # Radford et al. 2021, section 2.5, in numbers: those of OpenAI's and open_clip's code.
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        read = width**-0.5
        write = read * (2 * layers) ** -0.5
        for block in self.transformer.resblocks:
            nn.init.normal_(block.attn.in_proj_weight, std=read)
            nn.init.normal_(block.attn.out_proj.weight, std=write)
            nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.mlp.c_proj.weight, std=write)
        nn.init.normal_(self.text_projection, std=read)

    def forward(self, ids_NT: Tensor) -> Tensor:
        """Return embeddings [N, D], not normalised, of token ids."""
        length, dtype = ids_NT.shape[1], self.text_projection.dtype
        x_NTC = self.token_embedding(ids_NT) + self.positional_embedding[:length]
        mask_TT = self.attn_mask[:length, :length].to(dtype)
        for block in self.transformer.resblocks:
            x_NTC = block(x_NTC, mask_TT)
        rows = torch.arange(ids_NT.shape[0], device=ids_NT.device)
        end_NC = self.ln_final(x_NTC)[rows, ids_NT.argmax(dim=1)]
        return end_NC @ self.text_projection


class _Blocks(nn.Module):
    """The list of blocks, under the name that open_clip gives it."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.resblocks: Any = nn.ModuleList(_Block(width, heads) for _ in range(layers))


class _Block(nn.Module):
    """Attention, then two layers, each after a norm and beside a residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, _MLP_RATIO * width))
        self.mlp.add_module("gelu", nn.GELU())
        self.mlp.add_module("c_proj", nn.Linear(_MLP_RATIO * width, width))

    def forward(self, x_NTC: Tensor, mask_TT: Tensor) -> Tensor:
        y_NTC = self.ln_1(x_NTC)
        read_NTC, _ = self.attn(y_NTC, y_NTC, y_NTC, need_weights=False, attn_mask=mask_TT)
        x_NTC = x_NTC + read_NTC
        return x_NTC + self.mlp(self.ln_2(x_NTC))
