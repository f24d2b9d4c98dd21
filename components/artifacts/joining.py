"""The artifact of a base and upsamplers that were made apart: one generator, drawn as one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.artifacts.artifact import TEXT_ENCODER, load_start, write_artifact
from components.artifacts.family import recipe_from
from components.artifacts.frozen_nets import encoder_hashes
from components.artifacts.imported_artifact import text_part
from components.artifacts.rebuild import check_fit
from components.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from models.interfaces import Joined, Start


def join(
    base: Path, upsamplers: Sequence[Path], folder: Path, encoders: Path | None = None
) -> dict[str, Any]:
    """Write the cascade of a base and upsamplers, artifacts or releases; return its card.

    Args:
        base: text, a class or nothing to small images, or a cascade that gets more upsamplers; its
            text encoder comes along.
        upsamplers: one or more, each for the images of the one before; of another cascade, its
            upsamplers are taken.
        folder: where; an older artifact there is replaced.
        encoders: has the CLIP of a base that attends to words and holds no text encoder; None:
            what publishes the cascade has to know it.

    Raises:
        ConfigError: they do not fit together, or the CLIP is not the base's.
        StorageError: one of them is missing or damaged.
    """
    small = start = load_start(base)
    origins = _origins(base, small.card)
    for path in upsamplers:
        large = load_start(path)
        made = _joined(start, large, base, path)
        added = _origins(path, large.card)
        origins += added[1:] or added  # of a cascade the base is not taken
        fields = dataclasses.asdict(made.recipe)  # type: ignore[call-overload]
        now = {"name": made.recipe.name, "fields": fields}
        card = {**small.card, "recipe": now, "resolution_px": made.resolution}
        start = dataclasses.replace(start, card=card, generator=made.generator)
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
        joined_from=dict(zip(_part_names(len(origins)), origins, strict=True)),
    )


def _joined(small: Start, large: Start, base: Path, upsampler: Path) -> Joined:
    """Return one upsampler on what there is, compared with the network that it describes."""
    import torch

    recipe: Any = recipe_from({**small.card["recipe"]["fields"], "name": _family(small.card)})
    recipe_from({**large.card["recipe"]["fields"], "name": _family(large.card)})
    if not hasattr(recipe, "joined"):
        todo = "give a base of a family that has upsamplers"
        raise ConfigError(f"family {recipe.name} has no cascades", str(base), todo)
    try:
        made: Joined = recipe.joined(small, large)
        with torch.device("meta"):
            network: Any = made.recipe.generator(made.resolution, made.shape)
    except ValueError as error:
        what, _, todo = str(error).rpartition(": ")
        raise ConfigError(what or todo, str(upsampler), todo if what else "give others") from error
    check_fit(network, made.generator, upsampler)
    return made


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


def _origins(folder: Path, card: Any) -> list[dict[str, Any]]:
    """Return what each part of a model came from, the base first; a trained one is one part."""
    whole = _origin(folder, card)
    parts = card.get("joined_from") or {}
    known = [parts[name] for name in _part_names(len(parts)) if name in parts]
    return [{**part, "licence": part["licence"] or whole["licence"]} for part in known] or [whole]


def _part_names(count: int) -> list[str]:
    """Return base, upsampler, upsampler 2 and so on."""
    return ["base", "upsampler", *(f"upsampler {n}" for n in range(2, count))][:count]


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
