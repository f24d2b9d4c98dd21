"""CLIP with the project's image convention, and its text tower alone.

This is the only place of CLIP preprocessing.

The networks are open_clip's own (imported when one is built); QuickGELU and the like come with the
configuration. A text tower alone that has nothing of that is ours.

Legend: N samples, D width of the embedding, T ids per caption.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.features.conv_trunk import ConvTrunk
from models.features.frozen import FrozenNet
from models.features.text_tower import TextTower, is_plain
from models.features.word_reader import Layer, WordReader
from models.features.words import WordTokenizer

# open_clip's tokenizer repairs text with a slow cleaner before it cuts to the context length: cut
# before.
_MAX_CHARACTERS = 4_000
# Ids are cut to a multiple of so many: then sums over places come in the same order as without a
# cut, and on the processors tried the embeddings are equal to the bit.
_PLACES = 16
TAPPED = (4, 8)  # blocks whose tokens vision-aided heads judge. Code of Kumari et al.: 4, 8


class Tokenizer(Protocol):
    """Captions -> ids [N, context_length]; a longer caption is cut."""

    context_length: int

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return ids, int64."""

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return how many ids each caption has, start and end included, before it is cut."""

    def unknown(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the words of each caption that have no id of their own, each once."""


class BytePairs:
    """OpenAI's byte pairs, by open_clip; longer captions are cut and keep their end.

    Args:
        context_length: ids per caption.
    """

    def __init__(self, context_length: int) -> None:
        from open_clip.tokenizer import SimpleTokenizer

        self.context_length = context_length
        self._pairs = SimpleTokenizer(context_length=context_length)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return ids [N, context_length], int64."""
        ids: Tensor = self._pairs(_clean(texts))
        return ids

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return how many ids each caption has, start and end included, before it is cut."""
        return [len(self._pairs.encode(text)) + 2 for text in _clean(texts)]

    def unknown(self, texts: Sequence[str]) -> list[list[str]]:
        """Return no words: byte pairs spell all of them."""
        return [[] for _ in texts]


def _clean(texts: Sequence[str]) -> list[str]:
    # A lone surrogate cannot be written as UTF-8, on which byte pairs are built.
    return [text[:_MAX_CHARACTERS].encode("utf-8", "replace").decode() for text in texts]


def build_tokenizer(settings: dict[str, Any]) -> Tokenizer:
    """Return the tokenizer that a card names.

    Args:
        settings: {kind: words, words, context_length}, or {kind: open_clip, context_length} for
            OpenAI's byte-pair vocabulary (its file is part of the open_clip package).
    """
    if settings["kind"] == "words":
        return WordTokenizer(settings["words"], settings["context_length"])
    if settings["kind"] != "open_clip":
        raise ValueError(f"tokenizer kind {settings['kind']!r}: wanted words or open_clip")
    return BytePairs(settings["context_length"])


def _without_padding(ids_NT: Tensor, network: Any) -> Tensor:
    """Return the ids without most of the padding behind the longest caption's end.

    No place of a causal tower looks at those behind it, and the embedding is read at the end.
    """
    if network.attn_mask is None or network.text_pool_type != "argmax" or not len(ids_NT):
        return ids_NT
    end = int(ids_NT.argmax(dim=1).max()) + 1
    return ids_NT[:, : -(-end // _PLACES) * _PLACES]


def _embedded(network: Any, ids_NT: Tensor) -> Tensor:
    """Return open_clip's embeddings [N, D] of ids, which may be fewer than its context has."""
    length = ids_NT.shape[1]
    if length == len(network.positional_embedding):
        return cast("Tensor", network.encode_text(ids_NT))
    dtype = network.transformer.get_cast_dtype()
    x_NTC = network.token_embedding(ids_NT).to(dtype)
    x_NTC = x_NTC + network.positional_embedding[:length].to(dtype)
    x_NTC = network.transformer(x_NTC, attn_mask=network.attn_mask[:length, :length])
    rows = torch.arange(len(ids_NT), device=ids_NT.device)
    end_NC = network.ln_final(x_NTC)[rows, ids_NT.argmax(dim=1)]
    projection = network.text_projection
    if isinstance(projection, nn.Linear):
        return cast("Tensor", projection(end_NC))
    return cast("Tensor", end_NC if projection is None else end_NC @ projection)


class ClipText(nn.Module):
    """CLIP's text tower alone: what a published text-to-image model needs of CLIP.

    Unlike the feature nets it is not frozen by its class: StyleGAN-T's second phase trains it.
    """

    kind: ClassVar[str] = "clip_text"

    def __init__(self, network: nn.Module, architecture: dict[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.architecture = architecture
        self.embedding_dim: int = architecture["embed_dim"]
        self.tokenize = build_tokenizer(architecture["tokenizer"])

    @classmethod
    def build(cls, architecture: dict[str, Any], **_: Any) -> ClipText:
        """Return the tower with fresh weights; `architecture` is that of the whole CLIP."""
        if is_plain(architecture):
            plain = TextTower(architecture["embed_dim"], **architecture["text_cfg"])
            return cls(plain, architecture)
        from open_clip.model import _build_text_tower

        arguments = (
            architecture["embed_dim"],
            architecture["text_cfg"],
            architecture["quick_gelu"],
        )
        return cls(_build_text_tower(*arguments), architecture)

    def forward(self, ids_NT: Tensor) -> Tensor:
        """Return L2-normalised embeddings [N, D] (float32) of token ids."""
        return F.normalize(self.network(ids_NT).float(), dim=-1)

    def word_reader(self, layer: Layer) -> WordReader:
        """Return what fills in the words of conditions that hold token ids."""
        return WordReader(self, layer)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Return L2-normalised embeddings [N, D] of captions, on the weights' device."""
        return self(self.tokenize(texts).to(next(self.network.parameters()).device))


class ClipNet(FrozenNet):
    """A whole CLIP: {"pooled": [N, D]}, L2-normalised, and `encode_text` into the same space."""

    kind: ClassVar[str] = "clip"

    def __init__(
        self, network: nn.Module, architecture: dict[str, Any], **preprocessing: Any
    ) -> None:
        super().__init__(network, architecture, **preprocessing)
        self.embedding_dim: int = architecture["embed_dim"]
        self.tokenize = build_tokenizer(architecture["tokenizer"])

    @classmethod
    def build(cls, architecture: dict[str, Any], **preprocessing: Any) -> ClipNet:
        """Return the net with fresh weights.

        Args:
            architecture: embed_dim, vision_cfg, text_cfg, quick_gelu as open_clip.CLIP takes them,
                and tokenizer. A vision_cfg {widths, strides} is a ConvTrunk instead.
            preprocessing: image_size_px, mean, std.
        """
        from open_clip import CLIP

        names = ("embed_dim", "text_cfg", "quick_gelu")
        arguments = {name: architecture[name] for name in names}
        vision = architecture["vision_cfg"]
        if "widths" not in vision:
            return cls(CLIP(vision_cfg=vision, **arguments), architecture, **preprocessing)
        # open_clip's own small towers end on a map of one place, which learns shapes badly: build
        # the least tower there is and put ours in its place.
        least = {"image_size": 1, "patch_size": 1, "layers": 1, "width": 8, "head_width": 8}
        network = CLIP(vision_cfg=least, **arguments)
        trunk = ConvTrunk(**vision)
        network.visual = nn.Sequential(trunk, nn.Linear(trunk.width, arguments["embed_dim"]))
        return cls(network, architecture, **preprocessing)

    def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        """Return {"pooled"}: embeddings of images in [-1, 1] of any size.

        The norm is taken in float32: differences of two close embeddings lose too much in bfloat16.
        """
        pooled = self.network.encode_image(self.preprocess(image_NCHW))
        return {"pooled": F.normalize(pooled.float(), dim=-1)}

    def vision_taps(self, image_NCHW: Tensor) -> list[Tensor]:
        """Return the image's tokens after 4 and after 8 blocks, as maps [N, width, s, s], and its
        embedding [N, D], not normalised: what vision-aided heads judge (Kumari et al. 2022).

        Raises:
            ValueError: the image tower is no transformer of at least 8 blocks.
        """
        visual = self.network.visual
        blocks = getattr(getattr(visual, "transformer", None), "resblocks", ())
        if len(blocks) < TAPPED[-1]:
            raise ValueError(
                f"that CLIP's image tower has {len(blocks)} transformer blocks, wanted at least "
                f"{TAPPED[-1]}: judge the dino encoder, or set vision_weight to 0"
            )
        x = visual.conv1(self.preprocess(image_NCHW))
        side = x.shape[-1]
        x_NTC = x.flatten(2).transpose(1, 2)
        start = visual.class_embedding.expand(len(x_NTC), 1, -1)
        x_NTC = visual.ln_pre(torch.cat([start, x_NTC], dim=1) + visual.positional_embedding)
        taps = []
        for number, block in enumerate(blocks, start=1):
            x_NTC = block(x_NTC)
            if number in TAPPED:
                taps.append(x_NTC[:, 1:].transpose(1, 2).unflatten(2, (side, side)))
        return [*taps, visual.ln_post(x_NTC[:, 0]) @ visual.proj]

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Return L2-normalised embeddings [N, D] of captions, on the weights' device.

        What stands behind the longest caption's end is not computed.
        """
        ids_NT = _without_padding(self.tokenize(texts), self.network)
        ids_NT = ids_NT.to(next(self.network.parameters()).device)
        return F.normalize(_embedded(self.network, ids_NT).float(), dim=-1)

    def word_reader(self, layer: Layer) -> WordReader:
        """Return what fills in the words of conditions that hold token ids."""
        return WordReader(self, layer)

    def text_part(self) -> ClipText:
        """Return a copy of the text tower that does not hold the image tower."""
        text = ClipText.build(copy.deepcopy(self.architecture))
        names = set(text.network.state_dict())
        weights = self.network.state_dict()
        text.network.load_state_dict({name: weights[name] for name in sorted(names)})
        return text.requires_grad_(False).eval()
