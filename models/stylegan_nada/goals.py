"""Where CLIP wants the images to go: directions, and the ends that they lead to.

Legend: N images, T templates, P pairs of sentences, E width of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from models.editing.clip_view import Embed
from models.editing.directions import mean_direction, text_direction
from models.editing.templates import filled

NUM_SOURCE_IMAGES = 16  # of the original, that stand for the source of target pictures
CHUNK = 256  # sentences that are read at once


@dataclass(frozen=True)
class Sentences:
    """What images may show, and where each goes then: all of unit length [P, E].

    Attributes:
        before_PE: what an image may show.
        ways_PE: from there to its end; zeros where both are the same sentence.
        ends_PE: the same sentence with the target in it.
    """

    before_PE: Tensor
    ways_PE: Tensor
    ends_PE: Tensor


@dataclass(frozen=True)
class Goal:
    """What one CLIP wants.

    Attributes:
        embed: images -> embeddings.
        weight: of this CLIP.
        direction_E: of unit length.
        end_E: embedding of the target, of unit length.
        text_cosine: of the two texts' mean embeddings; 0 with pictures, where it is not used.
        sentences: of several sources: then each image goes its own way.
    """

    embed: Embed
    weight: float
    direction_E: Tensor
    end_E: Tensor
    text_cosine: float
    sentences: Sentences | None = None

    def toward(self, before_NE: Tensor) -> tuple[Tensor, Tensor]:
        """Return the way and the end of images that were embedded: of all [E], or of each [N, E],
        from the sentence that it is nearest to.
        """
        if self.sentences is None:
            return self.direction_E, self.end_E
        own_N = (before_NE @ self.sentences.before_PE.T).argmax(dim=1)
        return self.sentences.ways_PE[own_N], self.sentences.ends_PE[own_N]


def between_texts(
    net: Any, embed: Embed, weight: float, source: str, target: str, templates: Sequence[str]
) -> Goal:
    """Return the goal of two texts; the end is the target alone, without a template."""
    source_TE = net.encode_text(filled(templates, source))
    target_TE = net.encode_text(filled(templates, target))
    means = [F.normalize(x.mean(dim=0), dim=0) for x in (source_TE, target_TE)]
    return Goal(
        embed=embed,
        weight=weight,
        direction_E=text_direction(source_TE, target_TE),
        end_E=net.encode_text([target])[0],
        text_cosine=float(means[0] @ means[1]),
    )


def from_each(
    net: Any,
    embed: Embed,
    weight: float,
    sources: Sequence[str],
    target: str,
    templates: Sequence[str],
) -> Goal:
    """Return the goal of one target and several sources: a pair of sentences for every source in
    every template. `direction_E` is the mean of their ways.
    """
    ends_TE = _read(net, filled(templates, target))
    before_STE = torch.stack([_read(net, filled(templates, source)) for source in sources])
    ways_STE = F.normalize(ends_TE - before_STE, dim=-1)
    return Goal(
        embed=embed,
        weight=weight,
        direction_E=F.normalize(ways_STE.flatten(0, 1).mean(dim=0), dim=0),
        end_E=net.encode_text([target])[0],
        text_cosine=0.0,
        sentences=Sentences(
            before_PE=before_STE.flatten(0, 1),
            ways_PE=ways_STE.flatten(0, 1),
            ends_PE=ends_TE.expand_as(before_STE).flatten(0, 1),
        ),
    )


def shared_by(
    net: Any,
    embed: Embed,
    pictures: Sequence[Tensor],
    words: Sequence[str],
    templates: Sequence[str],
) -> str:
    """Return the word that a CLIP reads in pictures: of each word the template that fits a picture
    best counts, and the sum over the pictures.

    Args:
        net, embed: the CLIP, for texts and for images.
        pictures: each [1, 3, H, W] in [-1, 1].
        words: to choose from.
        templates: sentences with {}.
    """
    texts_STE = torch.stack([_read(net, filled(templates, word)) for word in words])
    seen_NE = torch.cat([embed(picture.to(texts_STE.device)) for picture in pictures])
    cosine_STN = texts_STE @ F.normalize(seen_NE, dim=1).T
    return words[int(cosine_STN.amax(dim=1).sum(dim=1).argmax())]


def _read(net: Any, sentences: Sequence[str]) -> Tensor:
    parts = [list(sentences[i : i + CHUNK]) for i in range(0, len(sentences), CHUNK)]
    return F.normalize(torch.cat([net.encode_text(part) for part in parts]), dim=1)


def to_pictures(embed: Embed, weight: float, source_NE: Tensor, pictures: Sequence[Tensor]) -> Goal:
    """Return the goal of a few pictures.

    Args:
        embed: images -> embeddings.
        weight: of this CLIP.
        source_NE: embeddings of the original's images, or of other pictures.
        pictures: each [1, 3, H, W] in [-1, 1].
    """
    target_NE = torch.cat([embed(picture.to(source_NE.device)) for picture in pictures])
    return Goal(
        embed=embed,
        weight=weight,
        direction_E=mean_direction(source_NE, target_NE),
        end_E=F.normalize(target_NE.mean(dim=0), dim=0),
        text_cosine=0.0,
    )
