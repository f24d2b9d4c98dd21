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

from components.artifacts.family import recipe_fields, recipe_from
from components.artifacts.saved_states import save_states, save_text_encoder
from components.code_version import git_commit
from components.durable_files import file_hash, publish_folder, sync
from components.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from models.interfaces import ConditionShape, Recipe, Start

FORMAT = 1
CARD, GENERATOR, DISCRIMINATOR = "card.json", "generator.safetensors", "discriminator.safetensors"
SAMPLES, METRICS = "samples.png", "metrics.json"
TEXT_ENCODER = "text_encoder"
TEXT_WEIGHTS = f"{TEXT_ENCODER}/model.safetensors"
NEEDED = ("format", "recipe", "resolution_px", "shape", "nimg", "seed", "files")


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
        best: at which nimg and distance, by which net, if the weights are the best measured.
        samples: a PIL image of the fixed prompts.
        metrics: the last tick and other numbers.
    """
    temporary = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_states(temporary, {GENERATOR: generator_state, DISCRIMINATOR: discriminator_state})
    if text_encoder is not None:
        save_text_encoder(temporary / TEXT_ENCODER, text_encoder)
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
        "best": dict(best or {}),
        "parent_sha256": parent_sha256,
        "data_content_hash": data_content_hash,
        "encoders": dict(encoders or {}),
        "git_commit": git_commit() or "unknown",
        "fingerprint": fingerprint,
        "files": {
            p.relative_to(temporary).as_posix(): file_hash(p)
            for p in sorted(temporary.rglob("*"))
            if p.is_file()
        },
    }
    (temporary / CARD).write_text(json.dumps(card, indent=1))
    for path in (*temporary.rglob("*"), temporary):
        sync(path)
    publish_folder(temporary, folder)
    return card


def read_card(folder: Path) -> dict[str, Any]:
    """Return the card of an artifact whose files all have the sizes and hashes the card names.

    Raises:
        StorageError: the folder, its card or one of its files is missing, unreadable or changed.
    """
    folder = Path(folder)
    try:
        card = json.loads((folder / CARD).read_text())
    except FileNotFoundError:
        raise _broken(folder, f"there is no {CARD}") from None
    except (OSError, ValueError) as error:
        raise _broken(folder, f"{CARD} is not readable: {error}") from error
    missing = [key for key in NEEDED if not isinstance(card, dict) or key not in card]
    if missing:
        raise _broken(folder, f"{CARD} lacks {', '.join(missing)}")
    if card["format"] != FORMAT:
        raise _broken(folder, f"{CARD} has format {card['format']}, wanted {FORMAT}")
    if GENERATOR not in card["files"]:
        raise _broken(folder, f"{CARD} does not list {GENERATOR}")
    for name, wanted in card["files"].items():
        path = folder / name
        inside = PurePosixPath(name)
        if inside.is_absolute() or ".." in inside.parts or not path.is_file():
            raise _broken(folder, f"{name} is missing")
        if file_hash(path) != wanted:
            raise _broken(folder, f"{name} is not the file the card names (other sha256)")
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
    module = _fresh_generator(folder, card)
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
    import torch

    from models.interfaces import Start

    folder = Path(folder)
    card = read_card(folder)
    _expect(folder, "family", card["recipe"]["name"], family)
    weights = read_weights(folder / GENERATOR)
    with torch.device("meta"):
        check_fit(_fresh_generator(folder, card), weights, folder / GENERATOR)

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
        raise _broken(path, "the release's text encoder is missing, or not the one its card names")
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
        raise _broken(path, f"not readable as safetensors: {error}") from error
    bad = [n for n, t in tensors.items() if t.is_floating_point() and not t.isfinite().all()]
    if bad:
        raise _broken(path, f"NaN or infinity in {', '.join(sorted(bad)[:10])}")
    return tensors


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Load weights, all of them or none; StorageError as `check_fit`."""
    check_fit(module, tensors, where)
    module.load_state_dict(dict(tensors), strict=True)


def check_fit(module: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Compare names and shapes.

    Raises:
        StorageError: lists up to ten unknown, missing or misshapen names each.
    """
    own = module.state_dict()
    shapes = [n for n in own if n in tensors and own[n].shape != tensors[n].shape]
    problems = {
        "unknown": sorted(tensors.keys() - own.keys()),
        "missing": sorted(own.keys() - tensors.keys()),
        "other shape": [f"{n} {list(tensors[n].shape)} not {list(own[n].shape)}" for n in shapes],
    }
    found = [f"{kind}: {', '.join(names[:10])}" for kind, names in problems.items() if names]
    if found:
        raise _broken(where, f"weights do not fit the network; {'; '.join(found)}")


def _fresh_generator(folder: Path, card: Mapping[str, Any]) -> nn.Module:
    """Build the network that a card describes."""
    from models.interfaces import ConditionShape

    try:
        recipe = recipe_from({"name": card["recipe"]["name"], **card["recipe"]["fields"]})
        return recipe.generator(card["resolution_px"], ConditionShape(**card["shape"]))
    except ConfigError as error:
        raise _broken(folder, f"{CARD}: {error.what}; {error.todo}") from error
    except (ValueError, TypeError) as error:
        raise _broken(folder, f"{CARD} describes no network: {error}") from error


def _load_text_encoder(folder: Path) -> nn.Module:
    from models.features import load_feature_net

    try:
        net: nn.Module = load_feature_net(folder)
    except ValueError as error:
        raise _broken(folder, str(error)) from error
    return net


def _expect(folder: Path, what: str, found: Any, wanted: Any) -> None:
    if wanted and found != wanted:
        raise _broken(folder, f"{what} is {found}, wanted {wanted}")


def _broken(path: Path, problem: str) -> StorageError:
    return StorageError(problem, str(path), "make the artifact again with the stage that wrote it")
