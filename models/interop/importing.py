"""Turn a foreign checkpoint into our networks: find the family and sizes, load all tensors.

Which importers there are is the families' business (`models.families`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.families import blamed, importers
from models.interop.foreign_network import ForeignNetwork, networks_in
from models.interop.import_request import Asked, Importer, Sizes
from models.interop.wrappers import Undecided

SEED = 0  # of what a checkpoint does not hold, as FastGAN's stored noise: the same every time


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What came out of a checkpoint.

    Attributes:
        title: of the published network.
        sizes: of ours; its fields are those of the recipe.
        generator: the averaged one, by our names.
        discriminator: by our names; None if it is left out.
        text_encoder: the checkpoint's own; None if it has none.
        remarks: what was left out or assumed, a line each.
    """

    title: str
    sizes: Sizes
    generator: dict[str, Tensor]
    discriminator: dict[str, Tensor] | None
    text_encoder: nn.Module | None
    remarks: list[str]


def import_networks(
    checkpoint: Any, asked: Asked, make_generator: Callable[[Sizes], nn.Module]
) -> Imported:
    """Return our networks with a checkpoint's tensors in them.

    Args:
        checkpoint: what `read_checkpoint` returned.
        asked: what the user says about it.
        make_generator: sizes -> a fresh generator of the recipe that they name, with the fields
            that the user overrides.

    Raises:
        Undecided: a size is neither in the file nor asked for.
        ValueError: no family of ours, tensors that do not fit, or NaN among them.
    """
    network, critic = networks_in(checkpoint, asked.network)
    importer = _importer(network)
    if importer.licence and not asked.licence:
        raise Undecided(
            f"{importer.title}'s file does not name its licence ({importer.licence}): give "
            "--licence NAME, which the card will keep"
        )
    sizes = importer.sizes(network, asked)
    if asked.resolution not in (0, sizes.resolution):
        raise ValueError(f"its images have {sizes.resolution} px, not {asked.resolution}")
    generator = _filled(lambda: make_generator(sizes), importer.load, network, "the generator")
    remarks = [network.note] if network.note else []
    remarks += [f"assumed, the file does not tell: {words}" for words in sizes.assumed]
    discriminator, fields = None, {}
    if critic is not None:
        try:
            part = importer.discriminator(critic, sizes)
            discriminator = _filled(part.build, part.load, critic, "the discriminator")
            fields = part.fields
        except ValueError as error:
            remarks.append(f"left out: the discriminator ({str(error)[:200]})")
    return Imported(
        title=importer.title,
        sizes=Sizes(
            recipe=sizes.recipe,
            fields={**sizes.fields, **fields},
            resolution=sizes.resolution,
            shape=sizes.shape,
            assumed=sizes.assumed,
        ),
        generator=generator,
        discriminator=discriminator,
        text_encoder=importer.text_encoder(network, sizes),
        remarks=remarks,
    )


def _importer(network: ForeignNetwork) -> Importer:
    """Return the importer of the network's family; ValueError where there is none."""
    titles = []
    for name, importer in importers():
        with blamed(name, "its importer"):
            titles.append(importer.title)
            if importer.matches(network.tensors):
                return importer
    known = ", ".join(titles)
    shown = ", ".join(sorted(network.tensors)[:4])
    raise ValueError(f"a network that is none of {known}: its tensors are {shown[:160]}, ...")


def _filled(
    build: Callable[[], nn.Module],
    load: Callable[[Any, Any], None],
    network: ForeignNetwork,
    what: str,
) -> dict[str, Tensor]:
    """Return the tensors of our network, filled; nothing is allocated before all names fit.

    Raises:
        ValueError: tensors that do not fit, or that are not finite.
    """
    with torch.device("meta"):
        load(build(), network.outline())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        module = build()
    load(module, network.read())
    state = module.state_dict()
    bad = [n for n, x in state.items() if x.is_floating_point() and not x.isfinite().all()]
    if bad:
        raise ValueError(f"NaN or infinity in {what}: {', '.join(sorted(bad)[:6])}")
    return state
