"""Train a small CLIP with open_clip's own class and loss (Radford et al., arXiv 2103.00020).

Legend: N samples, D width of the embedding, P prompts.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.data.captions import ATTRIBUTES, prompt
from components.pretraining import augment
from components.pretraining.config import ClipTraining
from components.pretraining.fitting import Say, fit, freeze, thaw
from components.pretraining.images import ImageSet
from models.features import ClipNet
from models.features.preprocess import area_resize
from models.features.words import WordTokenizer, count_words

MEAN, STD = [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]
_CHUNK = 500
CLASS_SCALE = 10.0  # an embedding has length 1: logits between classes need room
MAX_LOG_SCALE = math.log(100)  # as in the paper


def clip_architecture(config: ClipTraining, words: list[str]) -> dict:
    """Return the arguments of open_clip.CLIP and the tokenizer."""
    tokenizer = {"kind": "words", "words": words, "context_length": config.context_length}
    vocab_size = WordTokenizer(words, config.context_length).vocab_size
    return {
        "embed_dim": config.embedding_dim,
        "quick_gelu": False,
        "vision_cfg": {
            "widths": list(config.image_widths),
            "strides": list(config.image_strides),
        },
        "text_cfg": {
            "context_length": config.context_length,
            "vocab_size": vocab_size,
            "width": config.text_width,
            "heads": config.text_heads,
            "layers": config.text_layers,
        },
        "tokenizer": tokenizer,
    }


def train_clip(
    images: ImageSet, config: ClipTraining, rng: torch.Generator, say: Say
) -> tuple[ClipNet, dict[str, float]]:
    """Train a CLIP on images and captions; return it frozen, with its last training loss."""
    from open_clip import ClipLoss

    texts, drawn = images.texts(rng)
    words = count_words(texts, config.max_words)
    architecture = clip_architecture(config, words)
    net = ClipNet.build(architecture, image_size_px=config.image_size_px, mean=MEAN, std=STD)
    ids_MT = net.tokenize(texts)
    resized = _resized(images, config.image_size_px)
    model = thaw(net.network)
    contrast = ClipLoss()
    # Reads the class off an embedding while both train; thrown away at the end.
    reads_class = config.class_weight > 0 and images.num_labels > 1
    reader = nn.Linear(config.embedding_dim, images.num_labels) if reads_class else None

    def loss(rows: Tensor, progress: float) -> Tensor:
        x = resized[rows].float() / 127.5 - 1
        x = augment.mirror(x, rng) if config.mirror else x
        x = augment.soften(x, config.soften, rng) if config.soften else x
        x = augment.shift_brightness(x, config.brightness, rng)
        x = augment.add_noise(x, config.noise, rng)
        text = model.encode_text(ids_MT[drawn(rows)], normalize=True)
        scale = model.logit_scale.exp()

        def contrast_with(image_NCHW: Tensor, text_ND: Tensor, by: Tensor) -> Tensor:
            # The net's own normalisation, so that training and use agree.
            image = model.encode_image(net.preprocess(image_NCHW), normalize=True)
            value: Tensor = contrast(image, text_ND, by)
            if reader is None:
                return value
            logits = CLASS_SCALE * reader(image)
            return value + config.class_weight * F.cross_entropy(logits, images.label_N[rows])

        if config.adversary:
            x = augment.worst_nearby(
                x,
                lambda y: contrast_with(y, text.detach(), scale.detach()),
                augment.grown(config.adversary, progress),
                rng,
            )
        return contrast_with(x, text, scale)

    def limit_scale(progress: float) -> None:
        with torch.no_grad():
            model.logit_scale.clamp_(0, MAX_LOG_SCALE)

    value = fit(
        [model] if reader is None else [model, reader],
        loss,
        num_images=len(images),
        config=config.fit,
        rng=rng,
        say=say,
        after_step=limit_scale,
    )
    freeze(model)
    return net, {"loss": value}


def _resized(images: ImageSet, size: int) -> Tensor:
    """Return all images as uint8 at the net's size, so that a step does not resize them again."""
    chunks = [area_resize(x.float(), size).round().byte() for x in images.pixels_NCHW.split(_CHUNK)]
    return torch.cat(chunks)


@torch.no_grad()
def embed_images(net: ClipNet, images: ImageSet) -> Tensor:
    """Return the embeddings [N, D] of all images."""
    rows = torch.arange(len(images)).split(_CHUNK)
    return torch.cat([net(images.images(part))["pooled"] for part in rows])


@torch.no_grad()
def retrieval(net: ClipNet, images: ImageSet) -> dict[str, float]:
    """Measure whether the nearest caption is the right one.

    With known attributes of one object: the nearest among the plain captions of all combinations,
    and the share of images for which each attribute of it is right. Else: the share of images whose
    own caption is the nearest among at most 500.
    """
    if images.attributes is None or "relation" in images.attributes:
        few = images.subset(torch.arange(min(len(images), _CHUNK)))
        similarity = embed_images(net, few) @ net.encode_text(few.captions).T
        best = similarity.argmax(dim=1)
        same = [
            few.captions[int(j)] == caption for j, caption in zip(best, few.captions, strict=True)
        ]
        return {"retrieval_top1": sum(same) / len(same), "retrieval_among": float(len(few))}
    combinations, _ = all_prompts()
    best = nearest_prompt(net, images)
    right = {name: combinations[name][best] == images.attributes[name] for name in ATTRIBUTES}
    right["all"] = torch.stack(list(right.values())).all(dim=0)
    return {f"retrieval_{name}": float(hit.float().mean()) for name, hit in right.items()}


@torch.no_grad()
def nearest_prompt(net: ClipNet, images: ImageSet) -> Tensor:
    """Return which of `all_prompts` is nearest to each image, [N]."""
    _, prompts = all_prompts()
    return (embed_images(net, images) @ net.encode_text(prompts).T).argmax(dim=1)


def all_prompts() -> tuple[dict[str, Tensor], list[str]]:
    """Return every combination of attributes (name -> index [P]) and its plain caption."""
    rows = [
        dict(zip(ATTRIBUTES, values, strict=True))
        for values in itertools.product(*ATTRIBUTES.values())
    ]
    rows = [row for row in rows if row["colour"] != row["background"]]
    index = {
        name: torch.tensor([values.index(row[name]) for row in rows])
        for name, values in ATTRIBUTES.items()
    }
    return index, [prompt(**row) for row in rows]
