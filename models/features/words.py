"""A word-level tokenizer for CLIPs that are trained here; the card lists its whole vocabulary."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

PADDING, UNKNOWN, NUM_RESERVED = 0, 1, 2
_WORD = re.compile(r"[^\W_]+")
# A caption longer than this has filled any context long before; cutting first keeps hostile input
# cheap.
_MAX_CHARACTERS = 4_000


def words_of(text: str) -> list[str]:
    """Return the lower-case words of a caption: runs of letters and digits of any script."""
    return _WORD.findall(text[:_MAX_CHARACTERS].lower())


def count_words(captions: Iterable[str], max_words: int) -> list[str]:
    """Return the most frequent words of the captions, alphabetically, at most `max_words`."""
    counts = Counter(word for caption in captions for word in words_of(caption))
    # Ties are broken by the word itself, so that the vocabulary does not depend on the order of
    # captions.
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return sorted(ranked[:max_words])


class WordTokenizer:
    """Map captions to ids: start, words, end, padding. Never fails: what it does not know is one
    id.

    The end id is the highest, because open_clip's text tower pools at the position of the highest
    id.

    Args:
        words: the vocabulary.
        context_length: ids per caption; longer captions are cut and keep their end.
    """

    def __init__(self, words: Sequence[str], context_length: int) -> None:
        self.words = list(words)
        self.context_length = context_length
        self._ids = {word: index + NUM_RESERVED for index, word in enumerate(self.words)}
        self.start = NUM_RESERVED + len(self.words)
        self.end = self.start + 1

    @property
    def vocab_size(self) -> int:
        """Number of ids, start, end, padding and unknown included."""
        return self.end + 1

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return how many ids each caption has, start and end included, before it is cut."""
        return [len(words_of(text)) + 2 for text in texts]

    def unknown(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the words of each caption that have no id of their own, each once."""
        found = (dict.fromkeys(words_of(text)) for text in texts)
        return [[word for word in words if word not in self._ids] for words in found]

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return ids [N, context_length], int64."""
        ids: list[int] = []
        for text in texts:
            inner = [self._ids.get(word, UNKNOWN) for word in words_of(text)]
            line = [self.start, *inner[: self.context_length - 2], self.end]
            ids += line + [PADDING] * (self.context_length - len(line))
        return torch.tensor(ids, dtype=torch.long).view(len(texts), self.context_length)
