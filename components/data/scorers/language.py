"""How surely a caption is of one language, by py3langid and its packaged model (Lui, Baldwin 2012).

Short captions hold little evidence: "cat" is of many languages. A threshold is best chosen by what
`ganline data check` and the table of scores show.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pyarrow as pa

from components.data.decode import Decoded
from components.data.records import Record
from components.data.scorers.base import ColumnScorer, Setting
from components.errors import ConfigError


class Language(ColumnScorer):
    """Probability in [0, 1] that the caption is of `score.language`; of several the smallest.

    Raises:
        ConfigError: the model does not know that language.
    """

    columns: ClassVar = {"caption_language": pa.float64()}

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        self._model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        known = sorted(name for name, _ in self._model.rank(""))
        if setting.language not in known:
            todo = f"give one of {', '.join(known)}"
            raise ConfigError(f"no language {setting.language!r}", "score.language", todo)

    def of_sample(self, record: Record, image: Decoded) -> dict[str, Any]:
        """Return the probability of the least sure of a sample's captions."""
        texts = record.captions or (record.caption,)
        sure = (dict(self._model.rank(text))[self.setting.language] for text in texts)
        return {"caption_language": float(min(sure))}
