"""Look at one piece of an evaluation: draw or read its images, and let the nets see them."""

from __future__ import annotations

from typing import Any

import torch

from components.evaluation import pieces
from components.evaluation.enlarging import compared
from components.evaluation.features import features_of
from components.evaluation.looks import Looks
from components.evaluation.memorisation import with_pixels
from components.evaluation.pieces import Piece, Seen
from components.evaluation.seed_variety import sample_seeds
from components.sampling import generate_from, to_uint8


def look(bench: Any, piece: Piece, generator: Any = None) -> Seen:
    """Return what is seen on a piece.

    Args:
        bench: the measuring bench.
        piece: which images, and who looks.
        generator: draws them, unless they are real.
    """
    if piece.of == pieces.SEEDS:
        return {"seeds": sample_seeds(bench, generator)}
    if piece.of == pieces.ENLARGED:
        return {"measures": compared(bench, generator.upscaler)}
    if piece.of in (pieces.REAL, pieces.TRAINING):
        return _real(bench, piece)
    return _drawn(bench, piece, generator)


def _real(bench: Any, piece: Piece) -> Seen:
    trained_on = piece.of == pieces.TRAINING
    rows = (bench.training if trained_on else bench.source).atom(piece.start, piece.size)
    assert rows.image_NCHW is not None, "a stored row has an image"
    images = to_uint8(rows.image_NCHW)
    nets = {name: bench.nets[name] for name in piece.by}
    if trained_on:
        nets = {name: with_pixels(net) for name, net in nets.items()}
    return {"features": {name: features_of(net.network, images) for name, net in nets.items()}}


def _drawn(bench: Any, piece: Piece, generator: Any) -> Seen:
    """Draw images from held-out conditions; image i has the noise seed + i."""
    rows = bench.source.atom(piece.start, piece.size)
    first = bench.config.seed + piece.start
    seeds = range(first, first + rows.size)
    images = generate_from(generator, rows.condition, seeds, piece.truncation, bench.config.batch)
    seen: Seen = {"captions": rows.captions, "looks": None, "texts": None}
    if piece.pictured:
        seen["looks"] = Looks.of(images, rows.captions, outlined=piece.outlined)
    nets = {name: bench.nets[name].network for name in piece.by}
    seen["features"] = {name: features_of(network, images) for name, network in nets.items()}
    if "clip" in nets:
        with torch.inference_mode():
            seen["texts"] = nets["clip"].encode_text(list(rows.captions)).float().cpu()
    return seen
