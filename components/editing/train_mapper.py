"""Train a latent mapper: a text, once; then any code is edited in one pass.

Patashnik et al. 2021, section 5, with the norm loss of Gal et al. 2021. The same arguments give the
same bytes on a CPU, stopped and continued or not.

Legend: N codes, L entries of ws, D width of w, E width of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from components.editing.captions import Captions
from components.editing.clip_text import ClipText
from components.editing.edits import by_turns, direction_term, identity_term
from components.editing.methods import goal_of
from components.editing.stored_mapper import StoredMapper
from components.editing.tensor_file import read_tensors, write_tensors
from components.errors import ConfigError, NonFiniteError
from components.requests.editing import MapperConfig
from components.sampling import device_of, evaluation_mode, seed_noise
from models.editing.mapper import LatentMapper, level_groups
from models.editing.ranger import Ranger
from models.interfaces import Condition

_STATE = "ganline_mapper_state"
Report = Callable[[int, Mapping[str, float]], object]


def train_mapper(
    generator: Any,
    condition: Condition,
    clip: ClipText,
    text: str | Captions,
    config: MapperConfig,
    *,
    generator_sha256: str,
    neutral: str = "",
    state: Path | None = None,
    identity: Any | None = None,
    report: Report = lambda step, terms: None,
) -> StoredMapper:
    """Return the trained mapper.

    Args:
        generator: implements `models.interfaces.Generator`; it stays as it is.
        condition: one row for all codes, or several, by turns.
        clip, text: what images are to show; with `Captions` each goes to its own sentence.
        config: how to train.
        generator_sha256: of the generator's weights.
        neutral: what images show now; for `config.direction_weight`.
        state: file to go on from, written every `config.save_every` steps; None: not kept.
        identity: a frozen net whose features are to stay; None: no such term.
        report: is told of every step.

    Raises:
        ConfigError: the state is of another training; a direction from no text.
        NonFiniteError: a loss is NaN or infinite.
        StorageError: the state is damaged.
    """
    device = device_of(generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        groups = level_groups(generator.num_ws, config.levels)
        mapper = LatentMapper(generator.w_dim, groups).to(device)
    optimizer = Ranger(mapper.parameters(), lr=config.learning_rate)
    facts = _facts(config, clip, text, neutral)
    identifies = {**facts, "generator_sha256": generator_sha256}
    done = _resume(state, mapper, optimizer, identifies)
    aims = Aims(generator, clip, text, neutral, config, identity)
    with evaluation_mode(generator):
        for step in range(done, config.steps):
            ws_NLD, rows = _codes(generator, condition, config, step)
            terms = aims.losses(mapper, ws_NLD, rows)
            loss = torch.stack(list(terms.values())).sum()
            report(step, {name: float(x.detach()) for name, x in terms.items()})
            if not bool(torch.isfinite(loss)):
                where = f"step {step} of the mapper"
                raise NonFiniteError("the loss is no number", where, "lower the learning rate")
            _descend(mapper, optimizer, loss)
            now = step + 1
            if state is not None and (now % config.save_every == 0 or now == config.steps):
                _save(state, mapper, optimizer, now, identifies)
    return StoredMapper(
        mapper=mapper.eval().requires_grad_(False),
        text=facts["text"],
        generator_sha256=generator_sha256,
        facts=facts,
    )


def _facts(
    config: MapperConfig, clip: ClipText, text: str | Captions, neutral: str
) -> dict[str, Any]:
    """Return how the mapper is trained, and what for, ready for JSON."""
    name = text.name if isinstance(text, Captions) else text
    facts = {**asdict(config), "levels": list(config.levels), "text": name}
    if isinstance(text, Captions):
        facts["captions"] = [list(pair) for pair in text.pairs]
    elif config.direction_weight:
        facts |= {"neutral": neutral, "templates": list(clip.templates)}
    return facts


def _descend(mapper: LatentMapper, optimizer: Ranger, loss: Tensor) -> None:
    """Take one step of the optimizer down the loss."""
    parameters = list(mapper.parameters())
    grads = torch.autograd.grad(loss, parameters)
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = grad
    optimizer.step()


@torch.no_grad()
def _codes(
    generator: Any, condition: Condition, config: MapperConfig, step: int
) -> tuple[Tensor, Condition]:
    """Return the codes of a step: a function of the seed and the step."""
    rng = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    picked = torch.randint(config.codes, (config.batch,), generator=rng)
    seeds = [config.seed + int(number) for number in picked]
    device = device_of(generator)
    rows = by_turns(condition, picked.tolist()).to(device)
    z_NZ = seed_noise(seeds, generator.z_dim).to(device)
    ws_NLD: Tensor = generator.map(z_NZ, rows, config.psi)
    return ws_NLD.clone(), rows


class Aims:
    """What a mapper is asked for.

    Args:
        generator, clip, text, neutral, config, identity: see `train_mapper`.
    """

    def __init__(
        self,
        generator: Any,
        clip: ClipText,
        text: str | Captions,
        neutral: str,
        config: MapperConfig,
        identity: Any | None,
    ) -> None:
        self._generator, self._clip, self._config = generator, clip, config
        self._text, self._neutral, self._identity = text, neutral, identity
        self._one: tuple[Tensor, Tensor | None] | None = None
        weights = config.norm_weight, config.direction_weight, config.identity_weight
        self._compares = any(weights) or isinstance(text, Captions)

    def _goal(self, before_NCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the text and the way to it; one text is read once."""
        if isinstance(self._text, Captions) or self._one is None:
            directed = self._config.direction_weight > 0
            asked = self._clip, self._text, self._neutral, before_NCHW
            self._one = goal_of(*asked, directed=directed)
        return self._one

    def losses(self, mapper: LatentMapper, ws_NLD: Tensor, rows: Condition) -> dict[str, Tensor]:
        """Return name -> weighted mean over the codes, each drawn with its row of a condition."""
        config, clip, identity = self._config, self._clip, self._identity
        edited_NLD = mapper.edit(ws_NLD)
        image = self._generator.synthesize(edited_NLD, rows, noise="const")
        before = image.detach()
        if self._compares:
            with torch.no_grad():
                before = self._generator.synthesize(ws_NLD, rows, noise="const")
        text_E, way_E = self._goal(before)
        found = {
            "clip": config.clip_weight * clip.distance(image, text_E).mean(),
            "distance": config.distance_weight * (edited_NLD - ws_NLD).square().mean(),
        }
        if config.norm_weight:
            lengths = [_lengths(clip, x) for x in (before, image)]
            gap = (lengths[0] - lengths[1]).square().mean()
            found["norm"] = config.norm_weight * gap
        if identity is not None and config.identity_weight:
            term = identity_term(identity, before, config.identity_weight)
            found["identity"] = term(image).mean()
        if way_E is not None:
            term = direction_term(clip, before, way_E, config.direction_weight)
            found["direction"] = term(image).mean()
        return found


def _lengths(clip: ClipText, image: Tensor) -> Tensor:
    """Return the lengths of CLIP's embeddings before they are normalised, [N]."""
    net = clip.net
    lengths: Tensor = net.network.encode_image(net.preprocess(image)).float().norm(dim=1)
    return lengths


def _save(
    path: Path, mapper: LatentMapper, optimizer: Ranger, step: int, identifies: Mapping[str, Any]
) -> None:
    tensors = {f"mapper/{name}": x for name, x in mapper.state_dict().items()}
    for name, parameter in mapper.named_parameters():
        slots = optimizer.state[parameter].items()
        tensors |= {f"ranger/{name}/{slot}": x for slot, x in slots}
    write_tensors(path, tensors, _STATE, {"step": step, "identifies": dict(identifies)})


def _resume(
    path: Path | None, mapper: LatentMapper, optimizer: Ranger, identifies: Mapping[str, Any]
) -> int:
    """Take over a saved state; return how many steps it has behind it."""
    if path is None or not path.is_file():
        return 0
    tensors, record = read_tensors(path, _STATE)
    if record["identifies"] != dict(identifies):
        todo = "name another --out, or remove the state"
        raise ConfigError("the state is of another mapper's training", str(path), todo)
    own = {n.removeprefix("mapper/"): x for n, x in tensors.items() if n.startswith("mapper/")}
    mapper.load_state_dict(own)
    for name, parameter in mapper.named_parameters():
        prefix = f"ranger/{name}/"
        slots = {n.removeprefix(prefix): x for n, x in tensors.items() if n.startswith(prefix)}
        optimizer.state[parameter] = slots
    return int(record["step"])
