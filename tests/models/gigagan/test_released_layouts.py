"""The importers at released size, without memory: every name and shape that was published.

tests/fixtures/published holds them: name, shape, and how many tensors a row stands for, with {a..b}
or {a,b} for every value. They were taken from the authors' classes, not from the weight files.
"""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.gigagan import aura_import, aurora_import
from models.gigagan.recipe import GigaGAN
from models.interop.foreign_network import ForeignNetwork
from models.interop.import_request import Asked

PUBLISHED = Path(__file__).parents[2] / "fixtures" / "published"
PARAMETERS = {"aurora": 1_166_329_387, "aura": 617_554_917}


def values(braces: str) -> list[str]:
    first, dots, last = braces.partition("..")
    return [str(n) for n in range(int(first), int(last) + 1)] if dots else braces.split(",")


def published(name: str) -> dict[str, Tensor]:
    """Return the tensors of a released file, without memory."""
    found = {}
    for line in (PUBLISHED / f"{name}.txt").read_text().splitlines():
        pattern, shape, count = line.split()
        parts = re.split(r"\{([^}]*)\}", pattern)
        choices = [values(x) if i % 2 else [x] for i, x in enumerate(parts)]
        names = ["".join(words) for words in itertools.product(*choices)]
        assert len(names) == int(count), line
        size = [int(n) for n in shape[1:-1].split(",")]
        found |= {n: torch.empty(size, device="meta") for n in names}
    return found


@pytest.mark.parametrize("name", ["aurora", "aura"])
def test_every_published_name_and_shape_is_read(name: str) -> None:
    importer = {"aurora": aurora_import.IMPORTER, "aura": aura_import.IMPORTER}[name]
    tensors = published(name)
    assert importer.matches(tensors)
    sizes = importer.sizes(ForeignNetwork(tensors), Asked())
    recipe = GigaGAN(**sizes.fields)
    assert sizes.resolution == {"aurora": 64, "aura": 256}[name]
    with torch.device("meta"):
        module = recipe.generator(sizes.resolution, sizes.shape)
    importer.load(module, tensors)
    count = sum(p.numel() for p in module.parameters())
    unused = sum(math.prod(x.shape) for n, x in tensors.items() if n.endswith("attend.scale"))
    assert count + unused == PARAMETERS[name]
    tensors.popitem()
    with pytest.raises(ValueError, match="missing"):
        importer.load(module, tensors)


def test_the_released_sizes_are_the_published_ones() -> None:
    fields = aurora_import.aurora_sizes(ForeignNetwork(published("aurora")), Asked()).fields
    wanted = {
        "z_dim": 128,
        "w_dim": 1024,
        "channel_base": 16384,
        "channel_max": 1600,
        "kernels": (1, 1, 2, 4, 8),
        "blocks": (3, 3, 3, 2, 2),
        "attention_depths": (0, 2, 2, 2, 1),
        "experts": (0, 4, 8, 16, 16),
        "attention_heads": 8,
        "head_dim": 64,
        "deformable_up_to_px": 16,
        "tied": False,
        "text_depth": 4,
    }
    assert {name: fields[name] for name in wanted} == wanted
    up = aura_import.aura_sizes(ForeignNetwork(published("aura")), Asked())
    assert up.fields["up_mults"] == (1, 2, 4, 8, 16)
    assert up.fields["up_down_mults"] == (4, 8, 16)
    assert up.fields["up_attention_depths"] == (0, 0, 0, 2, 4)
    assert (up.fields["up_heads"], up.fields["up_head_dim"]) == (8, 64)
    assert up.fields["up_skip_scale"] == 0.4
    # Joined, they are a cascade of 64 to 256 px.
    assert up.fields["base_px"] == 64
