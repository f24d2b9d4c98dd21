"""The artifact of an imported network: like a trained one, but its card names the source file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.artifacts.artifact import write_artifact
from components.artifacts.frozen_nets import encoder_hashes
from components.durable_files import file_hash
from components.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from models.interfaces import Recipe
    from models.interop.importing import Imported


def with_text_encoder(imported: Imported, encoders: Path | None) -> tuple[Imported, str]:
    """Return the networks with what embeds their text, and the sha256 of the CLIP it came from.

    A model that attends to words takes the CLIP's text tower with it: it draws by itself then. One
    of pooled text keeps the hash alone ('' where no CLIP is needed).

    Raises:
        ConfigError: the model takes text, the file holds no text encoder, and `encoders` is not
            given or has a CLIP of another width.
        StorageError: the CLIP's folder cannot be read.
    """
    shape = imported.sizes.shape
    if not shape.pooled_dim or imported.text_encoder is not None:
        return imported, ""
    width, what = shape.pooled_dim, "embeds text in"
    if shape.token_dim:
        width, what = shape.token_dim, "has words of"
    todo = f"give --encoders DIR, whose clip {what} {width} numbers as in its training"
    if encoders is None:
        raise ConfigError("the model takes text, and the file has no text encoder", "import", todo)
    from models.features import read_card
    from models.features.word_reader import word_dim

    try:
        card = read_card(encoders / "clip")
        found = card.architecture.get("embed_dim")
        if shape.token_dim:
            found = word_dim(card.architecture)
    except (ValueError, LookupError, TypeError) as error:
        raise StorageError(str(error), str(encoders), "run the encoders stage") from error
    if found != width:
        raise ConfigError(f"that CLIP {what} {found} numbers", str(encoders), todo)
    sha256 = encoder_hashes(encoders, ["clip"])["clip"]
    if not shape.token_dim:
        return imported, sha256
    text_encoder = text_part(encoders)
    embedded = replace(shape, pooled_dim=text_encoder.embedding_dim)
    sizes = replace(imported.sizes, shape=embedded)
    return replace(imported, sizes=sizes, text_encoder=text_encoder), sha256


def text_part(encoders: Path) -> Any:
    """Return the text tower of the CLIP among the encoders; StorageError when it is damaged."""
    from models.features import load_feature_net

    try:
        return load_feature_net(encoders / "clip").text_part()
    except ValueError as error:
        raise StorageError(str(error), str(encoders), "run the encoders stage") from error


def write_imported(
    folder: Path,
    *,
    source: Path,
    imported: Imported,
    recipe: Recipe,
    clip_sha256: str = "",
    licence: str = "",
    label_names: Sequence[str] = (),
) -> dict[str, Any]:
    """Write the artifact whole or not at all, replacing an older one; return its card.

    Args:
        folder: where.
        source: the file that was imported; its name and hash go on the card.
        imported: the networks.
        recipe: of the family, with the fields of these networks.
        clip_sha256: of the CLIP that embeds the text, if it is not the file's own.
        licence: under which the file came, as the user says; '' = not told.
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
            **({"licence": licence} if licence else {}),
            "remarks": imported.remarks,
        },
    )
