"""The artifact of a base and an upsampler that were made apart: one generator, drawn as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.artifacts.artifact import TEXT_ENCODER, load_start, write_artifact
from components.artifacts.family import recipe_from
from components.artifacts.frozen_nets import encoder_hashes
from components.artifacts.imported_artifact import text_part
from components.artifacts.rebuild import check_fit
from components.errors import ConfigError, StorageError


def join(base: Path, upsampler: Path, folder: Path, encoders: Path | None = None) -> dict[str, Any]:
    """Write the cascade of two artifacts, or releases; return its card.

    Args:
        base: text, a class or nothing to small images; its text encoder comes along.
        upsampler: those to large ones; of another cascade, that one's upsampler is taken.
        folder: where; an older artifact there is replaced.
        encoders: has the CLIP of a base that attends to words and holds no text encoder; None:
            what publishes the cascade has to know it.

    Raises:
        ConfigError: the two do not fit together, or the CLIP is not the base's.
        StorageError: one of them is missing or damaged.
    """
    import torch

    small, large = load_start(base), load_start(upsampler)
    recipe: Any = recipe_from({**small.card["recipe"]["fields"], "name": _family(small.card)})
    recipe_from({**large.card["recipe"]["fields"], "name": _family(large.card)})
    if not hasattr(recipe, "joined"):
        todo = "give a base of a family that has upsamplers"
        raise ConfigError(f"family {recipe.name} has no cascades", str(base), todo)
    try:
        made = recipe.joined(small, large)
        with torch.device("meta"):
            network = made.recipe.generator(made.resolution, made.shape)
    except ValueError as error:
        what, _, todo = str(error).rpartition(": ")
        raise ConfigError(what or todo, str(upsampler), todo if what else "give others") from error
    check_fit(network, made.generator, upsampler)
    return write_artifact(
        folder,
        recipe=made.recipe,
        resolution=made.resolution,
        shape=made.shape,
        generator_state=made.generator,
        nimg=large.card["nimg"],
        seed=large.card["seed"],
        parent_sha256=small.card["files"]["generator.safetensors"],
        data_content_hash=small.card.get("data_content_hash", ""),
        encoders=small.card.get("encoders", {}),
        text_encoder=_text_encoder(base, small.card, encoders),
        label_names=small.card.get("label_names", ()),
        joined_from={
            "base": _origin(base, small.card),
            "upsampler": _origin(upsampler, large.card),
        },
    )


def _family(card: dict[str, Any] | Any) -> str:
    return str(card["recipe"]["name"])


def _origin(folder: Path, card: Any) -> dict[str, Any]:
    """Return what a card says of where a part came from, its licence too."""
    kept = ("imported_from", "git_commit", "nimg", "data_content_hash")
    licence = card.get("release", {}).get("licence") or card.get("imported_from", {}).get("licence")
    return {
        "folder": folder.name,
        "sha256": card["files"]["generator.safetensors"],
        "licence": licence or "",
        **{name: card[name] for name in kept if card.get(name)},
    }


def _text_encoder(base: Path, card: Any, encoders: Path | None) -> Any:
    """Return the base's text encoder, or that of its CLIP; None where it has none or needs none."""
    if (base / TEXT_ENCODER).is_dir():
        from models.features import load_feature_net

        try:
            return load_feature_net(base / TEXT_ENCODER)
        except ValueError as error:
            raise StorageError(str(error), str(base), "make the base again") from error
    if encoders is None:
        return None
    found = encoder_hashes(encoders, ["clip"]).get("clip", "")
    wanted = card.get("encoders", {}).get("clip", "")
    if wanted and found != wanted:
        raise ConfigError(
            f"that CLIP is {found[:12]}, the base was trained with {wanted[:12]}",
            "--encoders",
            "give the CLIP that the base was trained with",
        )
    return text_part(encoders)
