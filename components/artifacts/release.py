"""The release: everything that turns a prompt into an image, in one folder that explains itself.

    generator.safetensors  text_encoder/  card.json  MODEL_CARD.md  samples.png

It is an artifact (components/artifacts/artifact.py) without what only training needs, plus the text
encoder: the model's own, or else CLIP's text part; none for a model of classes or of nothing. Plain
files, no pickle, every one checked by hash when it is opened.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.artifacts.artifact import (
    CARD,
    GENERATOR,
    SAMPLES,
    TEXT_ENCODER,
    TEXT_WEIGHTS,
    load_generator,
    read_card,
    weights_hash,
)
from components.artifacts.model_card import model_card
from components.artifacts.publishing import PublishConfig
from components.durable_files import file_hash, publish_folder, sync
from components.errors import ConfigError, DataError, StorageError
from components.requests.card import no_model
from components.requests.subjects import kind_of

if TYPE_CHECKING:
    import torch
    from torch import nn

    from components.artifacts.label_to_image import LabelToImage
    from models.text_to_image import TextToImage

MODEL_CARD = "MODEL_CARD.md"
TUNED_NOTE = (
    "\n## Tuned around one image\n\nThe generator was tuned by `ganline invert --pivotal`; all "
    "numbers above are of the model it was tuned from.\n"
)


def write_release(
    folder: Path,
    *,
    artifact: Path,
    encoders: Path,
    metrics: Mapping[str, Any],
    samples: Path,
    config: PublishConfig,
) -> dict[str, Any]:
    """Write a release whole or not at all, replacing an older one; return its card.

    Args:
        folder: where.
        artifact: the trained generator.
        encoders: the frozen nets; the text part of `clip` is taken where the model has no own.
        metrics: what evaluation wrote, for the model card.
        samples: the sample sheet, a PNG.
        config: licence, limits, name.

    Raises:
        DataError: `encoders` holds another CLIP than the one the generator was trained with.
        StorageError: the artifact or the CLIP is damaged.
    """
    card = read_card(artifact)
    temporary = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    text_sha256 = ""
    if kind_of(card) == "text":
        text_sha256 = _write_text_encoder(temporary / TEXT_ENCODER, artifact, encoders, card)
    shutil.copyfile(artifact / GENERATOR, temporary / GENERATOR)
    shutil.copyfile(samples, temporary / SAMPLES)
    card["files"] = {GENERATOR: card["files"][GENERATOR]}
    card["release"] = {
        "model_name": config.model_name,
        "licence": config.licence,
        "text_encoder_sha256": text_sha256,
        "limits": {"prompt_chars": config.prompt_chars_limit, "images": config.images_limit},
        "content_hash": content_hash(card, text_sha256),
    }
    (temporary / CARD).write_text(json.dumps(card, indent=1) + "\n")
    (temporary / MODEL_CARD).write_text(model_card(card, metrics, config), encoding="utf-8")
    for path in sorted(temporary.rglob("*")):
        sync(path)
    publish_folder(temporary, folder)
    return card


def content_hash(card: Mapping[str, Any], text_encoder_sha256: str) -> str:
    """Return the hash of what decides the images: the weights and how to rebuild the networks."""
    decisive = {
        "generator": card["files"][GENERATOR],
        "text_encoder": text_encoder_sha256,
        "recipe": card["recipe"],
        "resolution_px": card["resolution_px"],
        "shape": card["shape"],
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def model_hash(card: Mapping[str, Any]) -> str:
    """Return what tells this model from others: a release's content hash, or its weights'."""
    if "release" in card:
        return str(card["release"]["content_hash"])
    return weights_hash(card)


def load_release(
    folder: Path, device: torch.device | str = "cpu", *, draws: bool = True
) -> tuple[TextToImage | LabelToImage, dict[str, Any]]:
    """Return the model of a release, ready to sample, and its card.

    An artifact will do where it has all that sampling needs: a text encoder of its own, or no text.
    A model of classes, or of nothing, is asked for their names (components/requests/subjects.py).

    Args:
        folder: of the release or artifact.
        device: where the model is put.
        draws: refuse one that only enlarges pictures.

    Raises:
        ConfigError: it is wanted to draw, and does not.
        StorageError: the folder is missing or no model, or a file is not the one its card names.
    """
    from components.artifacts.label_to_image import LabelToImage
    from models.features import load_feature_net
    from models.text_to_image import AlignedGenerator, TextToImage

    folder = Path(folder)
    if not folder.is_dir():
        raise no_model(folder)
    generator, card = load_generator(folder)
    if draws and getattr(generator, "shrinks", 1) > 1:
        todo = "use ganline upscale, or join it to a base by ganline cascade"
        raise ConfigError("the model enlarges pictures and draws none", str(folder), todo)
    if kind_of(card) != "text":
        return LabelToImage(generator, card).eval().to(device), card
    if isinstance(generator, AlignedGenerator):
        return TextToImage.of(generator, generator.text_encoder).eval().to(device), card
    if "release" not in card:
        raise StorageError(
            "this is an artifact without a text encoder, not a release",
            str(folder),
            "run ganline publish first",
        )
    try:
        text_encoder = load_feature_net(folder / TEXT_ENCODER)
    except ValueError as error:
        raise StorageError(str(error), str(folder), "run ganline publish again") from error
    return TextToImage(text_encoder, generator).eval().to(device), card


def write_tuned_release(
    folder: Path, *, source: Path, generator: nn.Module, samples: Any, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Write a release whose generator was tuned around one image; return its card.

    Args:
        folder: where; must not exist.
        source: the release, or artifact that samples by itself, it was tuned from.
        generator: the tuned one.
        samples: a PIL image of what it was tuned to.
        facts: how it was tuned.
    """
    from safetensors.torch import save_file

    card = read_card(source)
    folder.mkdir()
    if (source / TEXT_ENCODER).is_dir():
        shutil.copytree(source / TEXT_ENCODER, folder / TEXT_ENCODER)
    state = {k: v.detach().cpu().contiguous() for k, v in generator.state_dict().items()}
    save_file(state, folder / GENERATOR)
    (folder / GENERATOR).chmod(0o644)  # the library leaves it readable by its owner alone
    samples.save(folder / SAMPLES)
    release, text_sha256 = card.get("release", {}), card["files"].get(TEXT_WEIGHTS, "")
    text_sha256 = release.get("text_encoder_sha256", text_sha256)
    card["parent_sha256"] = card["files"][GENERATOR]
    card["files"] = {GENERATOR: file_hash(folder / GENERATOR)}
    card["tuned"] = dict(facts)
    card["release"] = {
        **release,
        "text_encoder_sha256": text_sha256,
        "content_hash": content_hash(card, text_sha256),
    }
    (folder / CARD).write_text(json.dumps(card, indent=1) + "\n")
    if (source / MODEL_CARD).is_file():
        text = (source / MODEL_CARD).read_text(encoding="utf-8")
        (folder / MODEL_CARD).write_text(text + TUNED_NOTE, encoding="utf-8")
    return card


def code_hashes(card: Mapping[str, Any]) -> list[str]:
    """Return the hashes of the weights whose codes a release draws: its own, and, tuned around an
    image, those it was tuned from.
    """
    own = str(card["files"][GENERATOR])
    return [own, str(card["parent_sha256"])] if "tuned" in card else [own]


def _write_text_encoder(
    folder: Path, artifact: Path, encoders: Path, card: Mapping[str, Any]
) -> str:
    """Save the artifact's own text encoder, or the text part of CLIP; return the sha256."""
    if TEXT_WEIGHTS in card["files"]:
        shutil.copytree(artifact / TEXT_ENCODER, folder)
        return str(card["files"][TEXT_WEIGHTS])
    return _write_clip_text(folder, encoders / "clip", card)


def _write_clip_text(folder: Path, clip: Path, card: Mapping[str, Any]) -> str:
    """Save the text part of a CLIP; return the sha256 of its weights."""
    from models.features import load_feature_net, save_feature_net
    from models.features import read_card as read_net_card

    try:
        clip_card = read_net_card(clip)
        net = load_feature_net(clip)
    except ValueError as error:
        raise StorageError(str(error), str(clip), "run the encoders stage again") from error
    width = card["shape"]["pooled_dim"]
    if net.embedding_dim != width:
        raise DataError(
            f"the model wants text in {width} numbers, this CLIP gives {net.embedding_dim}",
            str(clip),
            "give the CLIP that the model was trained with",
        )
    trained_with = card.get("encoders", {}).get("clip", clip_card.sha256)
    if trained_with != clip_card.sha256:
        raise DataError(
            f"the model was trained with CLIP {trained_with[:12]}, this is {clip_card.sha256[:12]}",
            str(clip),
            "run the training stages again",
        )
    saved = save_feature_net(folder, net.text_part(), role="text_encoder", source=clip_card.source)
    return saved.sha256
