"""Does an image show what its prompt says? By CLIP's cosine, and by the judge's attributes.

CLIP score: Hessel et al. 2021 (arXiv 2104.08718) without its factor 2.5: a plain mean cosine. A
CLIP that also guided the training can be fooled by the generator; the judge, which no gradient and
no filter ever used, cannot. Legend: N images, D width of the joint space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

ATTRIBUTES = ("background", "size", "colour", "shape")


def clip_score(image_ND: Tensor, text_ND: Tensor) -> float:
    """Return the mean cosine in [-1, 1] of L2-normalised images and their own prompts."""
    return float((image_ND.double() * text_ND.double()).sum(1).mean())


def prompt_sensitivity(image_ND: Tensor, text_ND: Tensor) -> float:
    """Return the CLIP score minus its expectation under shuffled prompts, in [-2, 2].

    0 means that the prompt does not matter. The expectation over all pairs of an image with another
    image's prompt is exact: no shuffle is drawn.
    """
    count = len(image_ND)
    if count < 2:
        raise ValueError(f"{count} image: prompts of others are needed")
    image_ND, text_ND = image_ND.double(), text_ND.double()
    own = (image_ND * text_ND).sum()
    all_pairs = image_ND.sum(0) @ text_ND.sum(0)
    return float(own / count - (all_pairs - own) / (count * (count - 1)))


def attribute_accuracy(
    logits: Mapping[str, Tensor],
    classes: Mapping[str, Sequence[str]],
    captions: Sequence[str],
    attributes_of: Callable[[str], Mapping[str, str] | None],
) -> dict[str, float] | None:
    """Return the share of images on which the judge sees what the caption says.

    Args:
        logits: attribute -> [N, classes] of the judge.
        classes: attribute -> names of its classes, in the order of the logits.
        captions: what each image should show.
        attributes_of: caption -> attribute -> name, None for a caption that is not of this kind.

    Returns:
        One share in [0, 1] per attribute, `all` (every attribute right), and `num`, the images
        judged; None when no caption could be read.
    """
    truths = [attributes_of(caption) for caption in captions]
    rows = [index for index, truth in enumerate(truths) if truth is not None]
    if not rows:
        return None
    every_N = torch.ones(len(rows), dtype=torch.bool)
    shares: dict[str, float] = {}
    for attribute in ATTRIBUTES:
        names = list(classes[attribute])
        wanted = torch.tensor([names.index(truths[row][attribute]) for row in rows])  # type: ignore[index]
        right_N = logits[attribute][rows].argmax(1).cpu() == wanted
        shares[attribute] = float(right_N.double().mean())
        every_N &= right_N
    return {**shares, "all": float(every_N.double().mean()), "num": len(rows)}
