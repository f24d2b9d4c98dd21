"""Columns of the table of scores: one small class in one file for each scorer, named here.

A scorer is chosen by its name in `score.scorers`. Only names stand here, so that params.yaml is
checked before anything heavy is imported.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Named:
    """Where a scorer is, and which columns it writes.

    Attributes:
        place: "module.Class" in this folder.
        columns: numbers that a rule of the filter may ask for.
        weights: it reads a file, named by `score.heads`.
    """

    place: str
    columns: tuple[str, ...]
    weights: bool = False


SCORERS = {
    "clip": Named("clip.Clip", ("clip_similarity",)),
    "phash": Named("phash.Phash", ()),
    "sharpness": Named("sharpness.Sharpness", ("sharpness",)),
    "entropy": Named("entropy.Entropy", ("entropy",)),
    "caption": Named("caption.Caption", ("caption_words", "caption_distinct", "caption_letters")),
    "tokens": Named("tokens.Tokens", ("caption_tokens",)),
    "language": Named("language.Language", ("caption_language",)),
    "embedding": Named("embedding.Embedding", ()),
    "aesthetic": Named("heads.Aesthetic", ("aesthetic",), weights=True),
    "nsfw": Named("heads.Nsfw", ("nsfw",), weights=True),
    "watermark": Named("heads.Watermark", ("watermark",), weights=True),
}
ALWAYS = ("width", "height", "num_bytes", "caption_chars")  # columns of every table of scores
REPEATS = "caption_repeats"  # rows with the same caption, itself included: counted by the filter


def columns_for_rules(scorers: tuple[str, ...]) -> list[str]:
    """Return the columns that rules may ask for, where these scorers are chosen."""
    return [*ALWAYS, REPEATS, *(name for scorer in scorers for name in SCORERS[scorer].columns)]
