"""The artifact: a folder that explains itself and can rebuild its generator.

    generator.safetensors (EMA)  discriminator.safetensors (when a next stage may warm-start)
    text_encoder/ (the model's own, once stage text_encoder has trained one, EMA)
    card.json  samples.png  metrics.json

Weights are safetensors, facts are JSON: nothing here is executed on load.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from components.artifacts.family import recipe_fields
from components.artifacts.rebuild import broken, check_outline, fresh_generator, load_strictly
from components.artifacts.saved_states import save_states, save_text_encoder
from components.code_version import git_commit
from components.durable_files import file_hash, publish_folder, sync
from components.requests.card import CARD, read_card_file

if TYPE_CHECKING:
    from torch import Tensor, nn

    from models.interfaces import ConditionShape, Recipe, Start

FORMAT = 1
GENERATOR, DISCRIMINATOR = "generator.safetensors", "discriminator.safetensors"
SAMPLES, METRICS = "samples.png", "metrics.json"
TEXT_ENCODER = "text_encoder"
TEXT_WEIGHTS = f"{TEXT_ENCODER}/model.safetensors"


def write_artifact(
    folder: Path,
    *,
    recipe: Recipe,
    resolution: int,
    shape: ConditionShape,
    generator_state: Mapping[str, Tensor],
    nimg: int,
    seed: int,
    parent_sha256: str = "",
    data_content_hash: str = "",
    encoders: Mapping[str, str] | None = None,
    fingerprint: str = "",
    discriminator_state: Mapping[str, Tensor] | None = None,
    text_encoder: nn.Module | None = None,
    label_names: Sequence[str] = (),
    imported_from: Mapping[str, Any] | None = None,
    joined_from: Mapping[str, Any] | None = None,
    best: Mapping[str, Any] | None = None,
    samples: Any = None,
    metrics: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write an artifact folder whole or not at all, replacing an older one; return its card.

    Args:
        folder: where.
        recipe, resolution, shape: rebuild the generator.
        generator_state: the averaged weights.
        nimg, seed: images of the stage that these weights have seen; the run's seed.
        parent_sha256: hash of the generator this one started from.
        data_content_hash: of the training data.
        encoders: role -> sha256 of the frozen nets used.
        fingerprint: hash of configuration and inputs of the run.
        discriminator_state: kept when a next stage may warm-start.
        text_encoder: the averaged model's own, if it has one.
        label_names: of the data's classes, in their order; empty where they are numbers.
        imported_from: the file that the weights come from, if they were not trained here.
        joined_from: the artifacts that this one was joined of, if it was.
        best: at which nimg and distance, by which net, if the weights are the best measured.
        samples: a PIL image of the fixed prompts.
        metrics: the last tick and other numbers.
    """
    temporary = _empty_beside(folder)
    save_states(temporary, {GENERATOR: generator_state, DISCRIMINATOR: discriminator_state})
    if text_encoder is not None:
        made = "imported with the generator" if imported_from else "trained by ganline"
        save_text_encoder(temporary / TEXT_ENCODER, text_encoder, made)
    if samples is not None:
        samples.save(temporary / SAMPLES)
    (temporary / METRICS).write_text(json.dumps(dict(metrics or {}), indent=1))
    fields = recipe_fields(recipe)
    card = {
        "format": FORMAT,
        "recipe": {"name": fields.pop("name"), "fields": fields},
        "resolution_px": resolution,
        "shape": dataclasses.asdict(shape),
        "label_names": list(label_names),
        "nimg": nimg,
        "seed": seed,
        "imported_from": dict(imported_from or {}),
        **({"joined_from": dict(joined_from)} if joined_from else {}),
        "best": dict(best or {}),
        "parent_sha256": parent_sha256,
        "data_content_hash": data_content_hash,
        "encoders": dict(encoders or {}),
        "git_commit": git_commit() or "unknown",
        "fingerprint": fingerprint,
        "files": _hashes(temporary),
    }
    _publish(temporary, folder, card)
    return card


def _empty_beside(folder: Path) -> Path:
    """Return an empty folder that becomes `folder` when all is in it."""
    temporary = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    return temporary


def _hashes(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file below a folder, by its path there."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in paths}


def _publish(temporary: Path, folder: Path, card: Mapping[str, Any]) -> None:
    """Write the card, bring all files to the disk, and put the folder in its place."""
    (temporary / CARD).write_text(json.dumps(card, indent=1))
    for path in (*temporary.rglob("*"), temporary):
        sync(path)
    publish_folder(temporary, folder)


def read_card(folder: Path) -> dict[str, Any]:
    """Return the card of an artifact whose files all have the sizes and hashes the card names.

    Raises:
        StorageError: the folder, its card or one of its files is missing, unreadable or changed.
    """
    folder = Path(folder)
    try:
        card = read_card_file(folder)
    except FileNotFoundError:
        raise broken(folder, f"there is no {CARD}") from None
    except OSError as error:
        raise broken(folder, f"{CARD} is not readable: {error.strerror or error}") from error
    except ValueError as error:
        raise broken(folder, f"{CARD} is not readable: {error}") from error
    if card["format"] != FORMAT:
        raise broken(folder, f"{CARD} has format {card['format']}, wanted {FORMAT}")
    if GENERATOR not in card["files"]:
        raise broken(folder, f"{CARD} does not list {GENERATOR}")
    for name, wanted in card["files"].items():
        path = folder / name
        inside = PurePosixPath(name)
        if "\0" in name or inside.is_absolute() or ".." in inside.parts or not path.is_file():
            raise broken(folder, f"{name} is missing")
        if file_hash(path) != wanted:
            raise broken(folder, f"{name} is not the file the card names (other sha256)")
    return card


def weights_hash(card: Mapping[str, Any]) -> str:
    """Return one hash of the weights that decide the images: generator and own text encoder."""
    generator, text_encoder = card["files"][GENERATOR], card["files"].get(TEXT_WEIGHTS)
    if text_encoder is None:
        return str(generator)
    return hashlib.sha256(f"{generator} {text_encoder}".encode()).hexdigest()


def load_generator(
    folder: Path, *, family: str = "", resolution: int = 0
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the averaged generator in evaluation mode, gradients off, and the card.

    One with a text encoder of its own comes with it, as an `AlignedGenerator`.

    Args:
        folder: the artifact.
        family: refuse another family than this, if given.
        resolution: refuse another resolution than this, if given.

    Raises:
        StorageError: as `read_card`; another family or resolution; names, shapes or values do not
            fit.
    """
    folder = Path(folder)
    card = read_card(folder)
    _expect(folder, "family", card["recipe"]["name"], family)
    _expect(folder, "resolution", card["resolution_px"], resolution)
    check_outline(folder / GENERATOR, card)
    module = fresh_generator(folder, card)
    load_strictly(module, read_weights(folder / GENERATOR), folder / GENERATOR)
    if TEXT_WEIGHTS in card["files"]:
        from models.text_to_image import AlignedGenerator

        module = AlignedGenerator(_load_text_encoder(folder / TEXT_ENCODER), module)
    return module.eval().requires_grad_(False), card


def load_start(folder: Path, *, family: str = "") -> Start:
    """Return what a next stage starts from: the card and the tensors by name.

    Raises:
        StorageError: as `read_card`; an unknown family, or another than wanted; NaN or infinite
            weights; weights that are not those of the card's network.
    """
    from models.interfaces import Start

    folder = Path(folder)
    card = read_card(folder)
    _expect(folder, "family", card["recipe"]["name"], family)
    check_outline(folder / GENERATOR, card)
    weights = read_weights(folder / GENERATOR)

    def kept(name: str) -> dict[str, Tensor] | None:
        return read_weights(folder / name) if name in card["files"] else None

    return Start(
        card=card,
        generator=weights,
        discriminator=kept(DISCRIMINATOR),
        text_encoder=kept(TEXT_WEIGHTS) or _released_text(folder, card),
    )


def _released_text(folder: Path, card: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """Return the text encoder that a release carries; None for all that is no release of text."""
    wanted = card.get("release", {}).get("text_encoder_sha256", "")
    if not wanted:
        return None
    path = folder / TEXT_WEIGHTS
    if not path.is_file() or file_hash(path) != wanted:
        raise broken(path, "the release's text encoder is missing, or not the one its card names")
    return read_weights(path)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, all finite.

    Raises:
        StorageError: the file is not safetensors, or a tensor holds NaN or infinity.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise broken(path, f"not readable as safetensors: {error}") from error
    bad = [n for n, t in tensors.items() if t.is_floating_point() and not t.isfinite().all()]
    if bad:
        raise broken(path, f"NaN or infinity in {', '.join(sorted(bad)[:10])}")
    return tensors


def _load_text_encoder(folder: Path) -> nn.Module:
    from models.features import load_feature_net

    try:
        net: nn.Module = load_feature_net(folder)
    except ValueError as error:
        raise broken(folder, str(error)) from error
    return net


def _expect(folder: Path, what: str, found: Any, wanted: Any) -> None:
    if wanted and found != wanted:
        raise broken(folder, f"{what} is {found}, wanted {wanted}")
