"""The three ways to edit: search for a code, map a code, move style channels.

Patashnik et al. 2021, sections 4 to 6.

Legend: L entries of ws, D width of w, C channels of a style.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from components.editing.captions import Captions
from components.editing.channels import Channels
from components.editing.clip_text import ClipText
from components.editing.edits import (
    CODES,
    Edit,
    direction_term,
    draw_values,
    identity_term,
    styles_of,
)
from components.errors import ConfigError
from components.requests.editing import OptimiseConfig
from components.sampling import evaluation_mode
from models.editing.directions import Selection, select_channels
from models.editing.mapper import StyleMapper, by_place
from models.editing.optimise import OptimiseStep, Parts, optimise
from models.interfaces import Condition

Report = Callable[[OptimiseStep], object]


def quiet(step: OptimiseStep) -> None:
    """Say nothing."""


def edit_by_optimising(
    generator: Any,
    ws_1LD: Tensor,
    condition: Condition,
    clip: ClipText,
    text: str | Captions,
    config: OptimiseConfig,
    *,
    neutral: str = "",
    identity: Any | None = None,
    report: Report = quiet,
) -> Edit:
    """Return the edit that brings an image to a text, near its code.

    Several codes, with a row of `condition` for each, are searched for at once, each by itself.

    Args:
        generator: implements `models.interfaces.Generator`; it stays as it is.
        ws_1LD: the image's code.
        condition: one row.
        clip, text: what the image is to show; with `Captions` each goes to its own sentence.
        config: how to search.
        neutral: what it shows now; for `config.direction_weight`, where text is one.
        identity: a frozen net whose features are to stay; None: no such term.
        report: is told of every step; of sums where there are several codes.

    Raises:
        ConfigError: space s of a family without styles; a direction from no text.
    """
    ws_1LD = ws_1LD.detach()
    with evaluation_mode(generator):
        start, sizes, moves, parts = _space(generator, ws_1LD, config.space)

        def image_of(values: dict[str, Tensor]) -> Tensor:
            return draw_values(generator, parts(values), condition)

        with torch.no_grad():
            first = image_of(start)
        text_E, way_E = goal_of(clip, text, neutral, first, directed=config.direction_weight > 0)
        terms = []
        if identity is not None and config.identity_weight:
            terms.append(identity_term(identity, first, config.identity_weight))
        if way_E is not None:
            terms.append(direction_term(clip, first, way_E, config.direction_weight))
        found = optimise(
            start,
            moves=moves,
            draw=image_of,
            clip=lambda image: clip.distance(image, text_E),
            clip_weight=config.clip_weight,
            extra=_sum(terms) if terms else None,
            distance_weight=config.distance_weight,
            steps=config.steps,
            learning_rate=config.learning_rate,
            starts=config.starts,
            sizes=sizes,
            report=report,
        )
    before, after = parts(start), parts(found)
    return Edit(before, {name: after[name] - x for name, x in before.items()})


def goal_of(
    clip: ClipText, text: str | Captions, neutral: str, before_NCHW: Tensor, *, directed: bool
) -> tuple[Tensor, Tensor | None]:
    """Return where images go: a text [E] and, if directed, the way to it [E]; with captions one for
    each image [N, E].
    """
    if isinstance(text, Captions):
        own_N = text.own(before_NCHW)
        return text.texts(own_N), text.ways(own_N) if directed else None
    return clip.text(text), direction_of(clip, neutral, text) if directed else None


def direction_of(clip: ClipText, neutral: str, text: str) -> Tensor:
    """Return the way from one text to another [E]; ConfigError where one of them is empty."""
    if not neutral or not text:
        what, todo = "a direction from no text", "say what the image shows before the edit"
        raise ConfigError(what, "--direction-weight", todo)
    return clip.direction(neutral, text)


def _sum(terms: Sequence[Callable[[Tensor], Tensor]]) -> Callable[[Tensor], Tensor]:
    return lambda image: torch.stack([term(image) for term in terms]).sum(dim=0)


def _space(
    generator: Any, ws_1LD: Tensor, space: str
) -> tuple[Parts, Parts, set[str], Callable[[Parts], Parts]]:
    """Return where the search starts, how large its numbers are, what moves, and how that becomes
    codes or styles.
    """
    if space == "s":
        with torch.no_grad():
            styles = styles_of(generator, ws_1LD)
        moves = {x.name for x in generator.style_layers() if x.kind == "conv"}
        return styles, styles, moves, dict
    if space == "w+":
        return {CODES: ws_1LD}, {CODES: ws_1LD}, {CODES}, dict
    start, sizes = {"shift": torch.zeros_like(ws_1LD[:, :1])}, {"shift": ws_1LD[:, :1]}
    return start, sizes, {"shift"}, lambda values: {CODES: ws_1LD + values["shift"]}


@torch.no_grad()
def edit_by_mapper(mapper: Any, ws_1LD: Tensor, generator: Any = None) -> Edit:
    """Return the edit of a mapper (`models.editing.mapper`).

    Args:
        mapper: of codes, or of styles.
        ws_1LD: the image's code.
        generator: whose styles change; a mapper of codes needs none.
    """
    if not isinstance(mapper, StyleMapper):
        return Edit({CODES: ws_1LD}, {CODES: mapper.edit(ws_1LD) - ws_1LD})
    styles = styles_of(generator, ws_1LD)
    edited = mapper.edit(by_place(styles.values()))
    pairs = zip(styles.items(), edited.values(), strict=True)
    return Edit(styles, {name: after - before for (name, before), after in pairs})


def edit_by_channels(
    generator: Any,
    ws_1LD: Tensor,
    channels: Channels,
    direction_E: Tensor,
    *,
    beta: float = 0.0,
    top: int = 0,
) -> tuple[Edit, Selection]:
    """Return the edit that moves the relevant channels, at strength 1, and which these are.

    Args:
        generator: whose styles move.
        ws_1LD: the image's code.
        channels: from a sweep of this generator by the CLIP of `direction_E`.
        direction_E: from `ClipText.direction`.
        beta, top: see `models.editing.directions.select_channels`.

    Raises:
        ConfigError: no channel is that relevant, or the family has no styles.
    """
    try:
        # A sweep from a file lies on the CPU.
        directions_CE = channels.direction_CE.to(ws_1LD.device)
        text_E = direction_E.to(ws_1LD.device)
        selection = select_channels(directions_CE, text_E, beta=beta, top=top)
    except ValueError as error:
        what, _, todo = str(error).partition("; ")
        raise ConfigError(what, "--beta", todo) from error
    with torch.no_grad():
        styles = styles_of(generator, ws_1LD)
    parts = channels.split(selection.move_C * channels.deviation_C.to(ws_1LD.device))
    moved = {name: parts.get(name, torch.zeros_like(x[0]))[None] for name, x in styles.items()}
    return Edit(styles, moved), selection
