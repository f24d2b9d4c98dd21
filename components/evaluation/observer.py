"""Open what an evaluation needs, and look at its pieces: the work that another machine can do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from components.artifacts.artifact import load_generator
from components.data.at_hand import at_hand
from components.data.batches import BatchSource
from components.evaluation.bench import Bench
from components.evaluation.config import EvaluateConfig
from components.evaluation.features import cached_file
from components.evaluation.memorisation import training_looks, with_pixels
from components.evaluation.pieces import AFTER, BEFORE, ENLARGED, REAL, SEEDS, TRAINING, Piece
from components.evaluation.scores import untrained_generator

# (items, worker class, constructor arguments) -> (number of the item, its one row).
MapPieces = Callable[[Iterable[dict[str, Any]], type, dict[str, Any]], Iterable[tuple[int, Any]]]


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A model and all that measures it.

    Attributes:
        bench: nets and rows.
        after, before: the trained generator, and a fresh one of the same recipe.
        card: the artifact's.
    """

    bench: Bench
    after: Any
    before: Any
    card: dict[str, Any]

    @classmethod
    def of(
        cls,
        *,
        model: Path,
        data: Path,
        encoders: Path,
        config: EvaluateConfig,
        cache: Path | None = None,
    ) -> Opened:
        """Open an artifact, a training set and frozen nets.

        Args:
            model, data, encoders: their folders.
            config: the stage's.
            cache: folder of cached real features, or None.

        Raises:
            GanlineError: as `load_generator`, `BatchSource` and `Bench.open`.
        """
        device = "cuda" if torch.cuda.is_available() else "cpu"
        generator, card = load_generator(model)
        generator = generator.to(device)
        shrink = getattr(generator, "shrinks", 1)
        source = BatchSource(data, "heldout", card["resolution_px"], config.seed, shrink)
        training = BatchSource(data, "train", card["resolution_px"], config.seed)
        same = card.get("data_content_hash") == source.content_hash
        bench = Bench.open(
            source,
            encoders,
            config,
            cache=cache,
            device=device,
            takes_text=bool(card["shape"]["pooled_dim"]),
            takes_label=bool(card["shape"]["num_labels"]),
            training=training if same else None,
        )
        before = untrained_generator(card, config.seed).to(device)
        for one in (generator, before):
            bench.give_words(one)
        return cls(bench=bench, after=generator, before=before, card=card)


class Observer:
    """Look at pieces.

    Args:
        model, data, encoders: folders, or their addresses in a store.
        config: the stage's.
        threads: of torch's CPU kernels. The order of a sum may depend on it, so it is that of the
            machine which asks.
    """

    def __init__(
        self, *, model: str, data: str, encoders: str, config: EvaluateConfig, threads: int
    ) -> None:
        torch.set_num_threads(threads)
        places = {"model": at_hand(model), "data": at_hand(data), "encoders": at_hand(encoders)}
        self.opened = Opened.of(config=config, **places)

    def __call__(self, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return what is seen on each piece, given as its fields."""
        bench, before = self.opened.bench, self.opened.before
        pieces = [Piece(**item) for item in items]
        return [
            bench.look(piece, before if piece.of == BEFORE else self.opened.after)
            for piece in pieces
        ]


def planned(opened: Opened) -> list[Piece]:
    """Return the pieces that an evaluation looks at, but for what its cache tells already."""
    bench, config = opened.bench, opened.bench.config
    most = max(config.num_fake, config.num_prompts)
    found = bench.drawn_pieces(AFTER, most, looked=True)
    found += bench.drawn_pieces(BEFORE, config.num_fake, aligned=False, looked=False)
    for psi in config.truncations:
        if psi != 1.0 or most < config.num_curve:
            found += bench.drawn_pieces(AFTER, config.num_curve, truncation=psi, looked=False)
    if getattr(opened.after, "shrinks", 1) == 1:
        found.append(Piece(of=SEEDS))
    if getattr(opened.after, "upscaler", None) is not None:
        found.append(Piece(of=ENLARGED))
    return list(dict.fromkeys([*found, *_real_pieces(bench)]))


def _real_pieces(bench: Bench) -> Iterator[Piece]:
    """Yield the pieces of real images whose features are not cached."""
    for net in bench.nets.values():
        count = bench.num_held_out
        if not _is_cached(cached_file(bench.source, net, count, bench.cache)):
            yield from bench.real_pieces(REAL, net, count)
    if bench.training is None or not bench.training.num_rows:
        return
    for net, count in training_looks(bench):
        if not _is_cached(cached_file(bench.training, with_pixels(net), count, bench.cache)):
            yield from bench.real_pieces(TRAINING, net, count)


def _is_cached(path: Path | None) -> bool:
    return path is not None and path.is_file()


def look_ahead(opened: Opened, build: dict[str, Any], map_pieces: MapPieces) -> int:
    """Let other machines look at all pieces; the bench then knows what they saw.

    Args:
        opened: the model and its bench.
        build: arguments of an `Observer`, as those machines see them.
        map_pieces: hands pieces to observers; one that is lost is handed to another.

    Returns:
        number of pieces.

    Raises:
        GanlineError: what an observer raised.
    """
    pieces = planned(opened)
    for number, (seen,) in map_pieces([asdict(one) for one in pieces], Observer, build):
        opened.bench.seen[pieces[number]] = seen
    return len(pieces)
