"""The page without Gradio: fields become settings or sentences, settings become requests."""

from __future__ import annotations

import dataclasses
import json
import shlex

import pytest

from components.requests.images import ImageRequest
from pipeline.serving.bodies import read_images, read_mix, read_walk
from pipeline.serving.page.asked import TABS, Asked, asked_of
from pipeline.serving.page.copies import as_command, as_python
from pipeline.serving.page.fields import FIELDS, filled, read_fields

TEXT = {
    "takes": "prompt",
    "labels": [],
    "words": ["red", "ring"],
    "layers": 5,
    "draws_noise": True,
    "limits": {"prompt_chars": 40, "images": 4},
    "folder": "artifacts/it's here",
    "resolution_px": 64,
    "family": "stylegan_t",
}
CLASSES = TEXT | {"takes": "label", "labels": ["cat", "dog"], "draws_noise": False, "layers": 1}
PLAIN = CLASSES | {"takes": "", "labels": []}
CARD_OF_TEXT = {"shape": {"pooled_dim": 8}}


def read(tab: str, facts=TEXT, **values) -> tuple[Asked | None, dict[str, str]]:
    given = FIELDS | {"prompt": "a 'red' ring", "psis": "0, 1"} | values
    return read_fields(tab, "a_model", given, facts)


@pytest.mark.parametrize(
    ("tab", "field", "value", "said"),
    [
        ("draw", "prompt", "  ", "Say what the picture shows."),
        ("draw", "prompt", "x" * 41, "At most 40 characters."),
        ("draw", "seed", None, "Seed: a whole number from 0 to 9007199254740991."),
        ("draw", "seed", -1, "Seed: a whole number from 0 to 9007199254740991."),
        ("draw", "seed", 1.5, "Seed: a whole number from 0 to 9007199254740991."),
        ("draw", "number", 5, "Number: a whole number from 1 to 4."),
        ("draw", "psi", None, "psi: a number from -2 to 2."),
        ("mix", "psi", 2.1, "psi: a number from -2 to 2."),
        ("sweep", "psis", "0, much", "psi: a number from -2 to 2."),
        ("sweep", "psis", "0, nan", "psi: a number from -2 to 2."),
        ("sweep", "psis", "0,0,0,0,0", "At most 4 values."),
        ("mix", "layers", "3-5", "Layers from 0 to 4, as 0-3 or 0,2."),
        ("mix", "layers", "2-1", "Layers from 0 to 4, as 0-3 or 0,2."),
        ("mix", "layers", "all", "Layers from 0 to 4, as 0-3 or 0,2."),
        ("mix", "mix_seed", None, "Second seed: a whole number from 0 to 9007199254740991."),
        ("walk", "walk_second", "x" * 41, "At most 40 characters."),
        ("walk", "frames", 1, "Frames: a whole number from 2 to 240."),
    ],
)
def test_a_wrong_field_is_a_sentence_beside_it(tab, field, value, said):
    assert read(tab, **{field: value}) == (None, {field: said})
    others = [one for one in TABS if field in ("number", "psis", "frames") and one != tab]
    assert all(read(one, **{field: value})[1] == {} for one in others)  # not that tab's


def test_what_is_asked_for_is_what_the_server_reads():
    asked, _ = read("draw", seed=3.0, number=2, psi=0.5, noise="random")
    path, body = asked.request()
    images = read_images(json.dumps(body).encode(), CARD_OF_TEXT)
    assert path == "images" and images.subjects == ["a 'red' ring"] * 2
    assert (images.seeds, images.truncations, images.noise) == ([3, 4], [0.5, 0.5], "random")
    asked, _ = read("sweep")
    images = read_images(json.dumps(asked.request()[1]).encode(), CARD_OF_TEXT)
    assert (images.seeds, images.truncations) == ([0, 0], [0.0, 1.0])
    asked, _ = read("mix", mix_second="a disc", mix_seed=7, layers="0-1, 3")
    mix = read_mix(json.dumps(asked.request()[1]).encode(), CARD_OF_TEXT)
    assert (mix.style, mix.style_seeds, mix.layers) == ("a disc", [7], [0, 1, 3])
    assert asked.request((8, 9))[1]["style_seeds"] == [8, 9]
    asked, _ = read("walk", walk_second="", walk_seed=7, frames=9)
    walk = read_walk(json.dumps(asked.request()[1]).encode(), CARD_OF_TEXT)
    assert (walk.subjects, walk.seeds) == (["a 'red' ring"] * 2, [0, 7])
    assert walk.frames == 9 and walk.loop


def test_a_model_is_asked_for_what_it_takes():
    asked, _ = read("draw", CLASSES, label="dog")
    assert asked.request()[1] == {
        "label": "dog", "seed": 0, "n": 4, "truncation": 1.0, "format": "json"
    }  # fmt: skip
    asked, _ = read("walk", CLASSES, label="dog")
    assert asked.request()[1]["labels"] == ["dog", "dog"]
    asked, _ = read("draw", PLAIN)
    assert not {"label", "prompt", "noise"} & asked.request()[1].keys()
    assert asked.said() == "seed 0, psi 1"


@pytest.mark.parametrize("facts", [TEXT, CLASSES, PLAIN], ids=["text", "classes", "plain"])
@pytest.mark.parametrize("tab", TABS)
def test_settings_survive_the_browser_and_fill_the_form_again(tab, facts):
    given = {"label": "dog", "seed": 5, "psi": 0.5, "layers": "", "mix_seed": 9, "frames": 8}
    asked, _ = read(tab, facts, **given)
    kept = asked_of(json.loads(json.dumps(dataclasses.asdict(asked))))
    assert kept == asked
    again, _ = read(tab, facts, **(given | filled(asked)))
    assert again == asked


@pytest.mark.parametrize(
    "values",
    [None, [], "x", {}, {"tab": "draw"}]
    + [
        dataclasses.asdict(Asked(tab="draw", model="m", folder="f", takes="", depth=1)) | wrong
        for wrong in ({"tab": "x"}, {"seed": "3"}, {"layers": ["a"]}, {"psi": None}, {"seed": True})
    ],
)
def test_what_a_browser_did_not_get_from_here_is_refused(values):
    with pytest.raises(ValueError):
        asked_of(values)


@pytest.mark.parametrize("facts", [TEXT, CLASSES, PLAIN], ids=["text", "classes", "plain"])
@pytest.mark.parametrize("tab", TABS)
def test_copies_are_a_command_line_and_python(tab, facts):
    asked, _ = read(tab, facts, label="dog", mix_second="a disc", noise="none")
    words = shlex.split(as_command(asked))
    verb = {"draw": "generate", "sweep": "sweep", "mix": "mix", "walk": "interpolate"}[tab]
    assert words[:2] == ["ganline", verb] and TEXT["folder"] in words
    assert ("a 'red' ring" in words) == (facts is TEXT) == ("--noise" in words)
    assert ("--label" in words) == (facts is CLASSES)
    compile(as_python(asked), "copy", "exec")
    assert repr(TEXT["folder"]) in as_python(asked)


def test_a_variation_keeps_the_coarse_layers():
    asked, _ = read("draw")
    assert asked.variation().layers == (3, 4) and asked.variation().tab == "mix"
    assert ImageRequest(prompts=("x",), seed=asked.seed).rows()[1] == [0]
    assert len(asked.file_name("png")) <= 124 and "/" not in asked.file_name("png")
