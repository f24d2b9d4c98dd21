"""The page without Gradio: what a press changes, and which pictures are kept."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest

from components.png import encode_png
from pipeline.serving.page import kept as kept_module
from pipeline.serving.page.asked import Asked
from pipeline.serving.page.copies import as_command
from pipeline.serving.page.events import Change, Events
from pipeline.serving.page.fields import FIELDS
from pipeline.serving.page.kept import KEEP, Kept
from pipeline.serving.page.model_client import Drawn, ModelClient, Refused
from tests.pipeline.serving.page.test_form import CLASSES, TEXT

PNG = encode_png(np.zeros((2, 2, 3), np.uint8))
ASKED = Asked(tab="draw", model="text", folder="f", takes="prompt", depth=5, subject="a ring")
FORM = ("draw", "text", *(FIELDS | {"prompt": "a <b>ring"}).values())


class Fake(ModelClient):
    """Stands for the models' process: two models, and drawings that take no time."""

    def __init__(self) -> None:
        self.refuses: Refused | None = None

    def models(self):
        return [("the text", "text"), ("the classes", "classes")]

    def facts(self, model=""):
        return {"text": TEXT, "classes": CLASSES}[model]

    def draw(self, asked, second_seeds=()):
        if self.refuses:
            raise self.refuses
        count = len(second_seeds) or 1
        return Drawn(pictures=[(PNG, asked)] * count, words_not_known=["<b>"], number_not_known=1)


@pytest.fixture
def events(tmp_path) -> Events:
    return Events(Fake(), Kept(tmp_path))


def test_what_a_model_cannot_do_is_not_there(events):
    text = events.choose("text", "mix")
    assert text["tab"] == "mix" and text["tab_mix"]["visible"] and text["prompt"]["visible"]
    assert text["noise"]["visible"] and not text["label"]["visible"]
    classes = events.choose("classes", "mix")
    assert classes["tab"] == "draw" == classes["tabs"]["selected"]
    hidden = ("tab_mix", "prompt", "noise", "mix_second", "walk_second")
    assert not any(classes[name]["visible"] for name in hidden)
    assert classes["label"] == Change(choices=["cat", "dog"], value="cat", visible=True)


def test_a_page_opens_with_what_was_there_before(events):
    drawn = events.draw([], *FORM)
    stored, rows = drawn["form_store"], events.store(drawn["pictures"])["store"]
    opened = events.start(stored, rows)
    assert opened["prompt"] == Change(visible=True, value="a <b>ring")
    assert opened["model"]["value"] == "text"
    (picture,) = opened["pictures"]
    assert picture.path.read_bytes() == PNG and picture.asked == drawn["pictures"][0].asked
    for stored, rows in ((None, None), ([], {}), ({"model": "gone", "tab": 3}, [{"png": "x"}])):
        opened = events.start(stored, rows)
        assert opened["model"]["value"] == "text" and opened["pictures"] == []


def test_a_drawing_is_shown_and_a_refusal_is_said(events):
    drawn = events.draw([], *FORM)
    ((path, said),) = drawn["gallery"]["value"]
    assert Path(path).is_file() and said == "a <b>ring, seed 0, psi 1"
    assert drawn["status"] == "1 picture. The model never learned: &lt;b&gt;."  # no HTML of theirs
    varied = events.vary(drawn["pictures"], 0)
    assert len(varied["pictures"]) == 5
    events._client.refuses = Refused("too many images are waiting", "queue", "try again")
    refused = events.draw([], *FORM)
    assert refused == {"error": "too many images are waiting (queue): try again", "status": ""}
    assert events.vary(drawn["pictures"], 0)["error"] == refused["error"]


def test_a_picture_of_the_gallery_can_be_used_again(events):
    pictures = events.draw([], *FORM)["pictures"]
    assert events.chosen(pictures, "text", 0)["vary"]["visible"]
    assert not events.chosen(pictures, "classes", 0)["vary"]["visible"]
    used = events.use(pictures, 0)
    assert used["model"] == "text" and used["prompt"]["value"] == "a <b>ring"
    copy = events.copy_one(as_command, pictures, 0)
    assert copy == events.copy(as_command, *FORM) and "ganline generate" in copy["copied"]["value"]
    gone = events._kept.added([], [(PNG, Asked(**(vars(ASKED) | {"model": "gone"})))])
    assert events.use(gone, 0) == {"error": "The model gone is no longer here."}


def test_the_gallery_keeps_the_newest_and_no_file_of_others(events, tmp_path):
    kept = events._kept
    pictures = kept.added([], [(PNG, ASKED)] * (KEEP + 3))
    assert len(pictures) == KEEP == len(list(tmp_path.iterdir()))
    newer = kept.added(pictures, [(b"a film", ASKED)])
    assert newer[0].is_film and newer[1:] == pictures[:-1] and not pictures[-1].path.exists()
    assert len(kept.for_browser(newer)) == KEEP - 1  # a film is not kept there
    events.clear(newer)
    assert list(tmp_path.iterdir()) == []


def test_a_browser_gets_what_fits_there(events, monkeypatch):
    pictures = events._kept.added([], [(PNG, ASKED)] * 5)
    chars = len(base64.b64encode(PNG))
    monkeypatch.setattr(kept_module, "BROWSER_CHARS", 3 * chars + 1)
    assert len(events._kept.for_browser(pictures)) == 3
