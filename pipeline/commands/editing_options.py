"""What `ganline edit` and `ganline attributes` share: options, model, CLIP, the image to edit."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import ConfigError, StorageError
from components.requests.images import check_prompt, check_seed
from components.requests.subjects import NOTHING, kind_of
from pipeline.commands.default_folders import chosen, frozen_nets, tell_whose
from pipeline.commands.sampling_options import asked_for

if TYPE_CHECKING:
    from torch import Tensor

    from components.editing import ClipText
    from models.interfaces import Condition

PLAIN_IMAGE = "an image"  # what a model of nothing draws, where no text says it


@dataclass(frozen=True)
class Opened:
    """What an edit works with.

    Attributes:
        model, card: of the release, not in its fast form.
        clip: with its sentences; clip_sha256: of its weights.
        subject: what the model is asked for.
        condition: of it, one row.
        neutral: the text that stands for the unedited image.
    """

    model: Any
    card: dict[str, Any]
    clip: ClipText
    clip_sha256: str
    subject: str
    condition: Condition
    neutral: str


def add_editing_options(parser: argparse.ArgumentParser) -> None:
    """Let a command take a model, its CLIP, and what the images show."""
    parser.add_argument("--label", metavar="NAME|INDEX", help="for a model of classes")
    parser.add_argument(
        "--template",
        action="append",
        default=[],
        metavar="TEXT",
        help="sentence with {} for a text, any number of them; default: ImageNet's 79, or the "
        "text alone for a CLIP with a list of words",
    )
    parser.add_argument(
        "--clip-role", default="clip", metavar="ROLE", help="frozen net; default clip"
    )
    parser.add_argument(
        "--encoders", type=Path, metavar="DIR", help="frozen nets; default: the encoders stage's"
    )
    parser.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        help="default: what publish made, or bundled",
    )
    parser.add_argument("--force", action="store_true", help="replace what --out names")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def open_all(options: argparse.Namespace, prompt: str) -> Opened:
    """Return model and CLIP; errors as `load_release` and `open_net`."""
    if any("{}" not in text for text in options.template):
        raise ConfigError("a template without {}", "--template", "put {} where the text goes")
    options.model = chosen(options.model)
    card = _card(options.model)
    options.prompts = [prompt] if prompt and kind_of(card) == "text" else []
    options.label = [options.label] if options.label is not None else []
    asked = asked_for(options)
    if not asked:
        raise ConfigError("no prompt", "prompt", "say what the image shows before the edit")
    tell_whose(options.model)

    import torch

    from components.artifacts.release import load_release
    from components.editing import ClipText

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, card = load_release(options.model, device)
    net, sha256 = open_net(options, options.clip_role)
    if not hasattr(net, "encode_text"):
        todo = "name the role of a CLIP"
        raise ConfigError(f"{options.clip_role} reads no text", "--clip-role", todo)
    neutral = prompt or (asked[0] if asked[0] != NOTHING else PLAIN_IMAGE)
    with torch.no_grad():
        condition = model.condition([asked[0]]).to(device)
    return Opened(
        model, card, ClipText(net, options.template), sha256, asked[0], condition, neutral
    )


def _card(folder: Path) -> dict[str, Any]:
    from components.artifacts.artifact import read_card

    return read_card(folder)


def open_net(options: argparse.Namespace, role: str) -> tuple[Any, str]:
    """Return a frozen net and the hash of its weights; StorageError when there is none."""
    import torch

    from components.artifacts.frozen_nets import encoder_hashes
    from models.features import load_feature_net

    folder = options.encoders or frozen_nets()
    (sha256,) = encoder_hashes(folder, [role]).values() or ("",)
    try:
        net = load_feature_net(folder / role)
    except ValueError as error:
        raise StorageError(str(error), str(folder / role), "run the encoders stage") from error
    return net.to("cuda" if torch.cuda.is_available() else "cpu"), sha256


def identity_net(options: argparse.Namespace) -> Any | None:
    """Return the net whose features of the image are to stay, None where none is asked for.

    Raises:
        ConfigError: it has no one vector for an image.
        StorageError: there is none of this role.
    """
    if not options.identity:
        return None
    net, _ = open_net(options, options.identity)
    if net.kind == "vit":
        todo = "name a CLIP or a classifier"
        raise ConfigError(f"{options.identity} has no one vector for an image", "--identity", todo)
    return net


def code_of(options: argparse.Namespace, opened: Opened) -> Tensor:
    """Return the code [1, L, D] that is edited: of a seed, a file or a picture.

    Raises:
        ConfigError: more than one of them is given, or the code is of another model.
        DataError: the picture cannot be read.
        StorageError: the file holds no code.
    """
    from components.artifacts.release import code_hashes
    from components.sampling import check_codes, device_of, read_code
    from components.sampling.draw import codes

    if options.code is not None and options.image is not None:
        raise ConfigError("a code and an image", "--code", "give one or the other")
    generator = opened.model.generator
    if options.code is not None:
        stored = read_code(options.code)
        check_codes([stored], code_hashes(opened.card))
        return stored.ws_LD[None].to(device_of(generator))
    if options.image is not None:
        return _inverted(options, opened)
    check_seed(options.seed)
    found = codes(generator, opened.condition, [options.seed], [options.psi])
    return found.clone()


def _inverted(options: argparse.Namespace, opened: Opened) -> Tensor:
    """Return the code of a picture, found first."""
    from components.inversion import ImageDistance, InversionConfig, find_code, read_target
    from components.sampling import device_of, from_uint8

    generator = opened.model.generator
    pixels_HWC, remark = read_target(options.image, opened.card["resolution_px"])
    if remark:
        say(f"{options.image}: {remark}")
    net, _ = open_net(options, options.features)
    distance = ImageDistance(from_uint8(pixels_HWC[None]).to(device_of(generator)), net)
    config = InversionConfig(steps=options.inversion_steps)
    found = find_code(generator, opened.condition, distance, config)
    say(f"inverted: distance {found.distance:.4g} (mean image {found.mean_distance:.4g})")
    return found.ws_LD[None]


def check_text(text: str | None, name: str) -> str:
    """Return a text that CLIP is to read; ConfigError unless it is one."""
    if text is None:
        raise ConfigError("no text", name, "say what the image is to show")
    check_prompt(text)
    return text


def say(text: str) -> None:
    """Print one line for the user, beside the command's own output."""
    print(text, file=sys.stderr, flush=True)
