"""Measure whether an image shows what its prompt says, by CLIP's cosine and by the judge.

The judge names attributes.

CLIP score: Hessel et al. 2021 (arXiv 2104.08718) without its factor 2.5: a plain mean cosine. A
CLIP that also guided the training can be fooled by the generator; the judge, which no gradient and
no filter ever used, cannot. Legend: N images, D width of the joint space.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

ATTRIBUTES = ("background", "size", "colour", "shape")


def clip_score(image_ND: Tensor, text_ND: Tensor) -> float:
    """Return the mean cosine in [-1, 1] of L2-normalised images and their own prompts."""
    return float((image_ND.double() * text_ND.double()).sum(1).mean())


def prompt_sensitivity(image_ND: Tensor, text_ND: Tensor, captions: Sequence[str]) -> float | None:
    """Return the CLIP score minus what it is with shuffled prompts, in [-2, 2].

    About 0: the generator ignores its text, however high its CLIP score. Shuffled means that every
    image gets the prompt of another, never one equal to its own (`same_caption`). The value is the
    mean over all such pairs: the expectation over shuffles, without drawing one.

    Args:
        image_ND, text_ND: L2-normalised embeddings of images and of their own prompts.
        captions: the prompts.

    Returns:
        None when all prompts are equal: there is nothing to shuffle.
    """
    image_ND, text_ND = image_ND.double(), text_ND.double()
    names: dict[str, int] = {}
    group_N = torch.tensor([names.setdefault(same_caption(c), len(names)) for c in captions])
    if len(names) < 2:
        return None
    sums = torch.zeros(2, len(names), image_ND.shape[1], dtype=torch.float64)
    sums[0].index_add_(0, group_N, image_ND)
    sums[1].index_add_(0, group_N, text_ND)
    size_G = torch.bincount(group_N, minlength=len(names)).double()
    other_pairs = len(captions) ** 2 - size_G.square().sum()
    everything = (sums[0].sum(0) * sums[1].sum(0)).sum()
    shuffled = (everything - (sums[0] * sums[1]).sum()) / other_pairs
    return clip_score(image_ND, text_ND) - float(shuffled)


def same_caption(caption: str) -> str:
    """Return what equal captions share: the words, whatever the case, spaces and punctuation."""
    return " ".join(re.findall(r"\w+", caption.casefold())) or caption.strip()


def in_order(classes: Iterable[str]) -> list[str]:
    """Return a judge's attributes, the common ones first."""
    return [*ATTRIBUTES, *sorted(set(classes) - set(ATTRIBUTES))]


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
        attributes_of: caption -> attribute -> name, None for a caption that is not of this kind; a
            class' name may tell of some attributes only.

    Returns:
        One share in [0, 1] per attribute that all captions tell of, `all` (each of those right),
        and `num`, the images judged; None when no caption could be read.
    """
    truths = [attributes_of(caption) for caption in captions]
    rows = [index for index, truth in enumerate(truths) if truth is not None]
    if not rows:
        return None
    every_N = torch.ones(len(rows), dtype=torch.bool)
    shares: dict[str, float] = {}
    for attribute in in_order(classes):
        if any(attribute not in truths[row] for row in rows):  # type: ignore[operator]
            continue
        names = list(classes[attribute])
        wanted = torch.tensor([names.index(truths[row][attribute]) for row in rows])  # type: ignore[index]
        right_N = logits[attribute][rows].argmax(1).cpu() == wanted
        shares[attribute] = float(right_N.double().mean())
        every_N &= right_N
    return {**shares, "all": float(every_N.double().mean()), "num": len(rows)}
