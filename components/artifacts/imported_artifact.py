"""The artifact of an imported network: like a trained one, but its card names the source file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.artifacts.artifact import write_artifact
from components.artifacts.frozen_nets import encoder_hashes
from components.durable_files import file_hash
from components.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from models.interfaces import Recipe
    from models.interop.importing import Imported


def check_text_encoder(imported: Imported, encoders: Path | None) -> str:
    """Return the sha256 of the CLIP that embeds the model's text; '' where none is needed.

    Raises:
        ConfigError: the model takes text, the file holds no text encoder, and `encoders` is not
            given or has a CLIP of another width.
        StorageError: the CLIP's folder cannot be read.
    """
    width = imported.sizes.shape.pooled_dim
    if not width or imported.text_encoder is not None:
        return ""
    todo = f"give --encoders DIR, whose clip embeds text in {width} numbers as in its training"
    if encoders is None:
        raise ConfigError("the model takes text, and the file has no text encoder", "import", todo)
    from models.features import read_card

    try:
        card = read_card(encoders / "clip")
    except ValueError as error:
        raise StorageError(str(error), str(encoders), "run the encoders stage") from error
    if card.architecture.get("embed_dim") != width:
        found = card.architecture.get("embed_dim")
        raise ConfigError(f"that CLIP embeds text in {found} numbers", str(encoders), todo)
    return encoder_hashes(encoders, ["clip"])["clip"]


def write_imported(
    folder: Path,
    *,
    source: Path,
    imported: Imported,
    recipe: Recipe,
    clip_sha256: str = "",
    label_names: Sequence[str] = (),
) -> dict[str, Any]:
    """Write the artifact whole or not at all, replacing an older one; return its card.

    Args:
        folder: where.
        source: the file that was imported; its name and hash go on the card.
        imported: the networks.
        recipe: of the family, with the fields of these networks.
        clip_sha256: of the CLIP that embeds the text, if it is not in the artifact.
        label_names: of the classes; empty where they are numbers.
    """
    return write_artifact(
        folder,
        recipe=recipe,
        resolution=imported.sizes.resolution,
        shape=imported.sizes.shape,
        generator_state=imported.generator,
        nimg=0,
        seed=0,
        encoders={"clip": clip_sha256} if clip_sha256 else {},
        discriminator_state=imported.discriminator,
        text_encoder=imported.text_encoder,
        label_names=label_names,
        imported_from={
            "file": source.name,
            "sha256": file_hash(source),
            "network": imported.title,
            "remarks": imported.remarks,
        },
    )
