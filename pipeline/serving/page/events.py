"""What the page does when something is pressed, typed or chosen; knows the parts by their names."""

from __future__ import annotations

import html
import random
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.serving.page.asked import TABS, Asked
from pipeline.serving.page.fields import FIELDS, filled, read_fields
from pipeline.serving.page.kept import Kept, Picture
from pipeline.serving.page.model_client import ModelClient, Refused

VARIATIONS = 4


class Change(dict[str, Any]):
    """New properties of a part, such as `visible`; "value" is what it holds."""


# Name of a part -> what it holds now, or a Change.
Changes = dict[str, Any]


class Events:
    """Answers the events of all visitors; what one of them has drawn comes and goes with each.

    Args:
        client: the models.
        kept: the files of the gallery.
    """

    def __init__(self, client: ModelClient, kept: Kept) -> None:
        self._client, self._kept = client, kept

    def start(self, stored: Any, rows: Any) -> Changes:
        """Fill the page when it is opened: models, what was typed last, what was drawn.

        Args:
            stored: what `draw` gave the browser to store.
            rows: what the gallery gave it.
        """
        models = self._client.models()
        stored = stored if isinstance(stored, dict) else {}
        ids = [name for _, name in models]
        model = stored["model"] if stored.get("model") in ids else ids[0]
        found = self.choose(model, str(stored.get("tab", "draw")))
        found = _with_values(found, {name: stored[name] for name in FIELDS if name in stored})
        gallery = _shown(self._kept.restored(rows), "")
        found |= {"model": Change(choices=models, value=model)}
        return found | {name: gallery[name] for name in ("pictures", "gallery")}

    def choose(self, model: str, tab: str) -> Changes:
        """Fit the page to a model: what it cannot do is not there."""
        try:
            facts = self._client.facts(model)
        except Refused as error:
            return _refused(error)
        labels, words = facts["labels"], facts["words"]
        known = f" It knows {len(words)} words: {', '.join(words)}." if words else ""
        said = f"{facts['resolution_px']} px, {facts['family']}.{known}"
        mixes, of_text = facts["layers"] > 1, facts["takes"] == "prompt"
        if tab not in TABS or (tab == "mix" and not mixes):
            tab = "draw"
        of_class: dict[str, Any] = {"choices": labels, "value": labels[0]} if labels else {}
        return {
            "tab": tab,
            "tabs": Change(selected=tab),
            "tab_mix": Change(visible=mixes),
            "prompt": Change(visible=of_text),
            "label": Change(visible=bool(labels), **of_class),
            "noise": Change(visible=bool(facts["draws_noise"])),
            "mix_second": Change(visible=of_text),
            "walk_second": Change(visible=of_text),
            "status": html.escape(said),
            "error": "",
        }

    def wrong(self, tab: str, model: str, *values: Any) -> dict[str, str]:
        """Return what is wrong with the form: sentences by the names of fields."""
        try:
            return self._read(tab, model, values)[1]
        except Refused:
            return {}  # the event itself meets it, and says so

    def draw(self, pictures: list[Picture], tab: str, model: str, *values: Any) -> Changes:
        """Draw what the form asks for, which is right."""
        try:
            asked, _ = self._read(tab, model, values)
            assert asked is not None
            stored = dict(zip(("tab", "model", *FIELDS), (tab, model, *values), strict=True))
            return self._drawn(pictures, asked) | {"form_store": stored}
        except Refused as error:
            return _refused(error)

    def vary(self, pictures: list[Picture], chosen: int) -> Changes:
        """Draw others of the same coarse layers: the fine ones are taken from new seeds."""
        seeds = tuple(random.sample(range(1_000_000), VARIATIONS))
        try:
            return self._drawn(pictures, pictures[chosen].asked.variation(), seeds)
        except Refused as error:
            return _refused(error)

    def clear(self, pictures: list[Picture]) -> Changes:
        """Empty the gallery."""
        self._kept.dropped(pictures)
        return _shown([], "The gallery is empty.")

    def store(self, pictures: list[Picture]) -> Changes:
        """Give the browser what it keeps."""
        return {"store": self._kept.for_browser(pictures)}

    def chosen(self, pictures: list[Picture], model: str, index: int) -> Changes:
        """Show what can be done with a picture of the gallery."""
        asked = pictures[index].asked
        varied = asked.tab == "draw" and asked.depth > 1 and asked.model == model
        return {"chosen": index, "of_one": Change(visible=True), "vary": Change(visible=varied)}

    def use(self, pictures: list[Picture], chosen: int) -> Changes:
        """Fill the form with a picture's settings."""
        asked = pictures[chosen].asked
        if asked.model not in [name for _, name in self._client.models()]:
            return {"error": html.escape(f"The model {asked.model} is no longer here.")}
        fitted = self.choose(asked.model, asked.tab)
        return _with_values(fitted, filled(asked)) | {"model": asked.model}

    def copy(self, text: Callable[[Asked], str], tab: str, model: str, *values: Any) -> Changes:
        """Show the form, which is right, as a text to copy."""
        try:
            asked, _ = self._read(tab, model, values)
        except Refused as error:
            return _refused(error)
        assert asked is not None
        return {"copied": Change(value=text(asked), visible=True)}

    def copy_one(
        self, text: Callable[[Asked], str], pictures: list[Picture], chosen: int
    ) -> Changes:
        """Show a picture of the gallery as a text to copy."""
        return {"copied": Change(value=text(pictures[chosen].asked), visible=True)}

    def _read(
        self, tab: str, model: str, values: Sequence[Any]
    ) -> tuple[Asked | None, dict[str, str]]:
        facts = self._client.facts(model)
        return read_fields(tab, model, dict(zip(FIELDS, values, strict=True)), facts)

    def _drawn(
        self, pictures: list[Picture], asked: Asked, second_seeds: tuple[int, ...] = ()
    ) -> Changes:
        drawn = self._client.draw(asked, second_seeds)
        count = len(drawn.pictures)
        one, several = {"mix": ("mix", "mixes"), "walk": ("walk", "walks")}.get(
            asked.tab, ("picture", "pictures")
        )
        said = f"{count} {one if count == 1 else several}."
        if drawn.words_not_known:
            said += f" The model never learned: {', '.join(drawn.words_not_known)}."
        elif drawn.number_not_known:
            said += f" The model never learned {drawn.number_not_known} of the words."
        return _shown(self._kept.added(pictures, drawn.pictures), said)


def _shown(pictures: list[Picture], said: str) -> Changes:
    rows = [(str(one.path), one.asked.said()) for one in pictures]
    return {
        "pictures": pictures,
        "gallery": Change(value=rows, selected_index=None),
        "of_one": Change(visible=False),
        "status": html.escape(said),
        "error": "",
    }


def _refused(error: Refused) -> Changes:
    return {"error": html.escape(str(error)), "status": ""}


def _with_values(changes: Changes, values: dict[str, Any]) -> Changes:
    """Return changes of the page that also give some fields their values."""
    return changes | {
        name: Change(changes.get(name, {}), value=value) for name, value in values.items()
    }
