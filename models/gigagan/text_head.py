"""The trainable layers on a frozen text encoder (Kang et al. 2023, section 3.1).

Generator and discriminator have one each: word features -> one global vector, at the end of the
text, and the local words. Without words, a pooled embedding or a class is all there is.

Legend: B samples, T tokens, E width of the frozen features, C width of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from models.gigagan.attention import (
    Likeness,
    TokenLinear,
    attend,
    join_heads,
    logit_scale,
    split_heads,
)
from models.interfaces import Condition, ConditionShape
from models.layers.condition import ConditionEmbedding

_MLP_RATIO = 4


@dataclass(frozen=True, kw_only=True)
class Text:
    """What a text says: `pooled_BC`, and its words [B, T - 1, C] (None without words), of which
    `seen_BT` are attended to (None: all). No text at all: all three are None.
    """

    pooled_BC: Tensor | None = None
    words_BTC: Tensor | None = None
    seen_BT: Tensor | None = None

    def __getitem__(self, rows: object) -> Text:
        found = (self.pooled_BC, self.words_BTC, self.seen_BT)
        pooled, words, seen = (None if x is None else x[rows] for x in found)  # type: ignore[index]
        return Text(pooled_BC=pooled, words_BTC=words, seen_BT=seen)


Mixing = Literal["words", "none", "batch"]
"""What a token's attention reads: the other words; nothing but itself; or, as in Aurora's code, the
tokens of its place in the batch's other prompts."""


class TextBlock(nn.Module):
    """Attention and two layers, each after a norm and beside a residual.

    Args:
        width: C.
        heads: of the attention.
        lr_multiplier: of all layers.
        mixing: see `Mixing`.
        scale_inside, mask_self, likeness: of mixing "batch"; see `SelfAttention`.
        gain: of both residual branches' sums.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        lr_multiplier: float,
        mixing: Mixing = "words",
        likeness: Likeness = "dot",
        scale_inside: bool = True,
        mask_self: bool = False,
        gain: float = 1.0,
        mlp_ratio: int = _MLP_RATIO,
    ) -> None:
        super().__init__()
        self.heads, self.mixing, self.likeness = heads, mixing, likeness
        self.scale_inside, self.mask_self, self.gain = scale_inside, mask_self, gain
        rate = {"lr_multiplier": lr_multiplier}
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_qkv = TokenLinear(width, 3 * width, **rate)  # type: ignore[arg-type]
        self.out = TokenLinear(width, width, **rate)  # type: ignore[arg-type]
        self.expand = TokenLinear(width, mlp_ratio * width, **rate)  # type: ignore[arg-type]
        self.contract = TokenLinear(mlp_ratio * width, width, **rate)  # type: ignore[arg-type]

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Return [B, T, C]."""
        x_BTC = (x_BTC + self.out(self._read(self.ln_1(x_BTC)))) * self.gain
        y = self.expand(self.ln_2(x_BTC))
        # The sigmoid form of GELU, that of the frozen encoder.
        return (x_BTC + self.contract(y * (1.702 * y).sigmoid())) * self.gain

    def _read(self, x_BTC: Tensor) -> Tensor:
        qkv = self.to_qkv(x_BTC)
        if self.mixing == "none":
            own: Tensor = qkv.chunk(3, dim=2)[2]
            return own
        if self.mixing == "words":
            query, key, value = (split_heads(x, self.heads) for x in qkv.chunk(3, dim=2))
            return join_heads(attend(query, key, value, likeness=self.likeness))
        return self._read_across(qkv)

    def _read_across(self, qkv_BTC: Tensor) -> Tensor:
        """Attend among the prompts of a batch, each place for itself."""
        parts = qkv_BTC.transpose(0, 1).chunk(3, dim=2)
        query, key, value = (split_heads(x, self.heads) for x in parts)
        count, scale = query.shape[2], 0.0  # the code takes its switch for the scale
        if self.scale_inside:
            scale = logit_scale(self.likeness, query.shape[-1], scale_inside=True)
        seen = ~torch.eye(count, dtype=torch.bool) if self.mask_self else None
        y = attend(query, key, value, likeness=self.likeness, scale=scale, seen_TS=seen)
        return join_heads(y).transpose(0, 1)


class TextHead(nn.Module):
    """Frozen word features -> global vector and local words.

    Args:
        in_dim: E.
        width: C.
        depth: number of blocks; 4 in the paper's base, 2 in its upsampler.
        heads: of the attention.
        lr_multiplier: of all layers. Aurora: 0.01.
        aligns: False: no first layer from E to C, which are equal.
        blocks: further arguments of `TextBlock`.
    """

    def __init__(
        self,
        in_dim: int,
        width: int,
        *,
        depth: int,
        heads: int,
        lr_multiplier: float = 0.01,
        align_bias: float = 0.0,
        aligns: bool = True,
        **blocks: object,
    ) -> None:
        super().__init__()
        rate = {"lr_multiplier": lr_multiplier}
        self.align: nn.Module = nn.Identity()
        if aligns:
            self.align = TokenLinear(in_dim, width, bias_init=align_bias, **rate)  # type: ignore[arg-type]
        self.blocks = nn.ModuleList(
            TextBlock(width, heads, **rate, **blocks)  # type: ignore[arg-type]
            for _ in range(depth)
        )

    def forward(self, features_BTE: Tensor, end_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return the token at `end_B` [B, C] and all others in order [B, T - 1, C]."""
        x = self.align(features_BTE)
        for block in self.blocks:
            x = block(x)
        length = x.shape[1]
        place = torch.arange(length - 1, device=x.device)[None]
        others_BT = place + (place >= end_B[:, None])
        rows = torch.arange(len(x), device=x.device)
        return x[rows, end_B], x[rows[:, None], others_BT]


class TextReader(nn.Module):
    """Condition -> `Text`: by a text head where there are words, else the pooled embedding or the
    class.

    Args:
        shape: widths that the data dictates.
        width: C.
        depth, heads, lr_multiplier, mixing: of the head.
        mask_padding: what follows the end of the text is not attended to; the paper attends to it.
        head: further arguments of `TextHead`.

    Attributes:
        dim: of `Text.pooled_BC`; 0 where there is no text and no class.
        word_dim: of `Text.words_BTC`; 0 without words.
    """

    def __init__(
        self,
        shape: ConditionShape,
        width: int,
        *,
        depth: int,
        heads: int,
        lr_multiplier: float = 0.01,
        mixing: Mixing = "words",
        mask_padding: bool = False,
        **head: object,
    ) -> None:
        super().__init__()
        self.mask_padding = mask_padding
        self.head: TextHead | None = None
        self.embedding: ConditionEmbedding | None = None
        self.dim = self.word_dim = 0
        if shape.token_dim:
            kinds = {"depth": depth, "heads": heads, "lr_multiplier": lr_multiplier, **head}
            # Aurora's stored bias starts at 1 / lr_multiplier.
            bias = 0.0 if mixing == "words" else 1.0
            self.head = TextHead(
                shape.token_dim,
                width,
                align_bias=bias,
                mixing=mixing,
                **kinds,  # type: ignore[arg-type]
            )
            self.dim = self.word_dim = width
            return
        self.embedding = ConditionEmbedding(shape, width)
        self.dim = self.embedding.dim

    def forward(self, condition: Condition) -> Text:
        """Return what the condition says.

        Raises:
            ValueError: the condition has no words, and the network wants them.
        """
        if self.head is None:
            assert self.embedding is not None
            return Text(pooled_BC=self.embedding(condition))
        tokens, mask = condition.tokens_NTD, condition.mask_NT
        if tokens is None or mask is None:
            raise ValueError("the network attends to words, and the condition has none")
        end_B = mask.sum(dim=1) - 1
        pooled, words = self.head(tokens, end_B)
        # The end is cut out, so one word fewer is valid.
        seen = torch.arange(words.shape[1], device=words.device) < end_B[:, None]
        return Text(pooled_BC=pooled, words_BTC=words, seen_BT=seen if self.mask_padding else None)
