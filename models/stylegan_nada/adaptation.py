"""The act of adapting: codes of the original, images of both, and the layers that train.

Legend: N images, L entries of ws, D width of w, E width of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from models.editing.clip_view import Embed, embedder
from models.editing.templates import alternatives, imagenet_templates
from models.interfaces import Batch, Condition, Losses, Networks, Site
from models.layers.precision import full_precision
from models.layers.style_space import StyleLayer
from models.stylegan_nada.goals import (
    NUM_SOURCE_IMAGES,
    Goal,
    between_texts,
    from_each,
    shared_by,
    to_pictures,
)
from models.stylegan_nada.losses import weighted
from models.stylegan_nada.selection import chosen, displacement, parameters_of, scores
from models.stylegan_nada.watch import Watch
from models.text_to_image import AlignedGenerator

if TYPE_CHECKING:
    from models.stylegan_nada.fields import StyleGANNADAFields

# Of a deviation on the original's image: a network without noise draws two equal ones at first, and
# equal images have no direction. Code: 5e-4, for such networks alone.
STAND_IN_NOISE = 5e-4
SEED = 2  # of the source images and of the codes that rank layers, with nimg. Code: 2


class Asked:
    """An endless stream of conditions, by turns: prompts, classes, or nothing.

    Args:
        site: whose start says what it is asked with.
        prompts: for a text-to-image model.
    """

    def __init__(self, site: Site, prompts: Sequence[str]) -> None:
        assert site.start is not None
        self.label_names = tuple(site.start.card.get("label_names") or ())
        self._classes, self._prompts = site.shape.num_labels, tuple(prompts)
        self._clip: Any = site.encoder("clip") if site.shape.pooled_dim else None
        self._own_text = site.start.text_encoder is not None

    @cached_property
    def _asked(self) -> Condition:
        """Of every prompt, embedded when first asked for: sizes are also asked for without it."""
        prompts = list(self._prompts)
        with torch.no_grad():
            pooled_ND = self._clip.encode_text(prompts).cpu()
        ids_NT = self._clip.tokenize(prompts) if self._own_text else None
        return Condition(pooled_ND=pooled_ND, ids_NT=ids_NT)

    def atom(self, position: int, size: int) -> Batch:
        """Return the conditions [position, position + size), without images."""
        rows = torch.arange(position, position + size)
        if self._clip is not None:
            rows = rows % len(self._prompts)
            captions = tuple(self._prompts[int(row)] for row in rows)
            return Batch(size=size, condition=self._asked[rows], captions=captions)
        if self._classes:
            return Batch(size=size, condition=Condition(label_N=rows % self._classes))
        return Batch(size=size)


class Ends(nn.Module):
    """What the phase needs beside networks: they are handed on together.

    Args:
        pictures: "source" and "target" -> pictures, as far as there are some.
        ask: count -> conditions by turns, for codes that are no part of a batch.
    """

    def __init__(
        self, pictures: Mapping[str, Sequence[Tensor]], ask: Callable[[int], Condition]
    ) -> None:
        super().__init__()
        self.pictures, self.ask = pictures, ask


class Adaptation:
    """What a recipe's phase does with its networks.

    Args:
        fields: of the recipe.
        networks: as built; `Ends` among the frozen ones.
    """

    def __init__(self, fields: StyleGANNADAFields, networks: Networks) -> None:
        ends: Any = networks.frozen["ends"]
        self._fields, self._pictures, self._ask = fields, ends.pictures, ends.ask
        self._frozen = networks.frozen
        self._original: Any = networks.frozen["original"]
        self._model: Any = networks.trained["generator"]
        self._goals: list[Goal] = []
        self._ranked: tuple[int, list[nn.Parameter]] = (-1, [])

    # --- Where to.

    def goals(self) -> list[Goal]:
        """Return what each CLIP wants; found once, on the device of the networks."""
        if not self._goals:
            pairs = zip(self._fields.clips, self._fields.clip_weights, strict=True)
            self._goals = [self._goal(role, weight) for role, weight in pairs]
        return self._goals

    @torch.no_grad()
    def _goal(self, role: str, weight: float = 1.0) -> Goal:
        fields, net = self._fields, self._frozen[role]
        embed = embedder(net, fields.resize)
        templates = alternatives(fields.templates or imagenet_templates())
        pictures = self._pictures.get("target", ())
        if fields.sources:
            target = fields.target
            if pictures:
                target = shared_by(net, embed, pictures, fields.sources, templates)
            return from_each(net, embed, weight, fields.sources, target, templates)
        if pictures:
            return to_pictures(embed, weight, self._source(embed), pictures)
        return between_texts(net, embed, weight, fields.source, fields.target, templates)

    def _source(self, embed: Embed) -> Tensor:
        """Return embeddings of the source: its pictures, or images of the original."""
        device = next(self._original.parameters()).device
        if "source" in self._pictures:
            return torch.cat([embed(picture.to(device)) for picture in self._pictures["source"]])
        ws_NLD, condition = self._codes(NUM_SOURCE_IMAGES, torch.Generator().manual_seed(SEED))
        return embed(self._original.synthesize(ws_NLD, condition))

    # --- Layers.

    def check(self) -> None:
        """Raise ValueError where a net does not do what is asked of it."""
        if self._fields.selected_layers:
            self.layers()
        for role in self._fields.clips:
            if not hasattr(self._frozen[role], "encode_text"):
                raise ValueError(f"clips: {role} reads no text; name roles of CLIPs")
        watching = self._fields.watch_role
        if watching and getattr(self._frozen[watching], "kind", "") == "vit":
            raise ValueError(f"watch_role: {watching} has no one vector for an image; name a CLIP")

    def layers(self) -> tuple[StyleLayer, ...]:
        """Return the layers with styles of the network that trains."""
        model = _plain(self._model)
        if not hasattr(model, "style_layers"):
            raise ValueError("this family has no S-space: set selected_layers to 0")
        try:
            found: tuple[StyleLayer, ...] = model.style_layers()
        except ValueError as error:
            raise ValueError(f"{error}; set selected_layers to 0") from error
        return found

    def parameters(self, nimg: int) -> list[nn.Parameter]:
        """Return what trains in the step that begins at `nimg`."""
        if not self._fields.selected_layers:
            return self._all()
        if self._ranked[0] != nimg:
            self._ranked = (nimg, self._selected(nimg))
        return self._ranked[1]

    def _all(self) -> list[nn.Parameter]:
        """Return every convolution and where they begin, without mapping, styles and ToRGB."""
        model = _plain(self._model)
        try:
            layers = [x for x in model.style_layers() if x.kind in ("conv", "input")]
        except (AttributeError, ValueError):  # no styles: what a name tells
            apart = ("mapping.", "condition.", "to_rgb.")
            return [p for name, p in model.named_parameters() if not name.startswith(apart)]
        found = parameters_of(layers, train_affine=self._fields.train_affine)
        constant = getattr(model.synthesis, "input", None)
        if constant is not None and not hasattr(constant, "style_kind"):
            found += list(constant.parameters())
        return found

    def _selected(self, nimg: int) -> list[nn.Parameter]:
        fields, layers = self._fields, self.layers()
        if next(self._model.parameters()).device.type == "meta":  # sizes are asked for, no step
            everything = [x for x in layers if x.kind == "conv"]
            return parameters_of(everything, train_affine=fields.train_affine)
        rng = torch.Generator().manual_seed(SEED + nimg)
        with torch.enable_grad():
            ws_NLD, condition = self._codes(fields.selection_batch, rng)
            moved_NLD = displacement(
                ws_NLD,
                lambda codes_NLD: self._to_end(codes_NLD, condition),
                steps=fields.selection_steps,
                rate=fields.selection_rate,
            )
        found = chosen(layers, scores(moved_NLD), fields.selected_layers, fields.layer_map)
        return parameters_of(found, train_affine=fields.train_affine)

    def _to_end(self, ws_NLD: Tensor, condition: Condition) -> Tensor:
        """Return the sum over CLIPs of the mean distance to the target."""
        image = self._model.synthesize(ws_NLD, condition)
        distances = [(1 - g.embed(image) @ g.end_E).mean() * g.weight for g in self.goals()]
        return torch.stack(distances).sum()

    # --- The loss.

    def loss(self, batch: Batch, rng: torch.Generator) -> Losses:
        """Return the losses of one micro-batch, summed over the CLIPs."""
        fields, size, condition = self._fields, batch.size, batch.condition
        device = next(self._model.parameters()).device
        with torch.no_grad():
            ws_NLD, condition = self._mixed(size, condition, rng)
            before = self._original.synthesize(ws_NLD, condition, _noise(self._original, size, rng))
            drawn = torch.randn(before.shape, generator=rng, device=rng.device).to(device)
            before = before + STAND_IN_NOISE * drawn
        after = self._model.synthesize(ws_NLD, condition, _noise(self._model, size, rng))
        weights = (fields.directional_weight, fields.global_weight, fields.angle_weight)
        terms: dict[str, Tensor] = {}
        for goal in self.goals():
            with torch.no_grad():
                before_NE = goal.embed(before)
            after_NE = goal.embed(after)
            with full_precision(after_NE):
                found = weighted(goal, before_NE, after_NE, weights)
            terms = {name: terms.get(name, 0) + x for name, x in found.items()}
        return Losses(terms=terms)

    def _codes(self, size: int, rng: torch.Generator) -> tuple[Tensor, Condition]:
        """Return codes [N, L, D] of the original, of conditions by turns."""
        device = next(self._original.parameters()).device
        z_NZ = torch.randn(size, self._original.z_dim, generator=rng).to(device)
        condition = self._ask(size).to(device)
        with torch.no_grad():
            return self._original.map(z_NZ, condition).detach().clone(), condition

    def _mixed(
        self, size: int, condition: Condition, rng: torch.Generator
    ) -> tuple[Tensor, Condition]:
        """Return codes of the batch's conditions; some take a second code from a layer on."""
        device = next(self._original.parameters()).device

        def draw() -> Tensor:
            z_NZ = torch.randn(size, self._original.z_dim, generator=rng, device=rng.device)
            ws_NLD: Tensor = self._original.map(z_NZ.to(device), condition)
            return ws_NLD

        ws_NLD = draw()
        if not self._fields.mixing:
            return ws_NLD, condition
        other_NLD, count = draw(), ws_NLD.shape[1]
        cut_N1 = torch.randint(1, max(count, 2), (size, 1), generator=rng, device=rng.device)
        mixes_N1 = torch.rand(size, 1, generator=rng, device=rng.device) < self._fields.mixing
        second_NL = mixes_N1 & (torch.arange(count, device=rng.device) >= cut_N1)
        return torch.where(second_NL.to(device)[..., None], other_NLD, ws_NLD), condition

    def watch(self) -> Watch:
        """Return what compares a model with the original."""
        role = self._fields.watch_role or self._fields.clips[0]
        net: Any = self._frozen[role]
        shown = "target" in self._pictures and not self._fields.sources
        directed = hasattr(net, "encode_text") or shown
        return Watch(
            self._original,
            embedder(net),
            (lambda: self._goal(role).direction_E) if directed else None,
            self._ask,
            count=self._fields.watch_images,
        )


def _plain(model: Any) -> Any:
    """Return the generator without a text encoder of its own around it."""
    return model.generator if isinstance(model, AlignedGenerator) else model


def _has_noise(model: Any) -> bool:
    generator = _plain(model)
    return hasattr(generator, "draw_noise") and bool(generator.noise_sizes())


def _noise(model: Any, size: int, rng: torch.Generator) -> Any:
    """Return fresh noise for a batch where the network takes some."""
    if not _has_noise(model):
        return "const"
    device = next(model.parameters()).device
    return [x.to(device) for x in _plain(model).draw_noise(size, rng)]
