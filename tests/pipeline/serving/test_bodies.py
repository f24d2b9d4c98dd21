"""Bodies of requests: what is read, and the one line that names what is wrong."""

import json

import pytest

from components.errors import ConfigError
from components.requests.subjects import NOTHING
from pipeline.serving.bodies import BODY_BYTES, read_images, read_mix, read_walk

LIMITS = {"release": {"limits": {"prompt_chars": 20, "images": 6}}}
TEXT = {"shape": {"pooled_dim": 8}, **LIMITS}
LABELS = {"shape": {"num_labels": 3}, "label_names": ["cat", "dog", "owl"], **LIMITS}
NONE = {"shape": {}, **LIMITS}


def body(**values) -> bytes:
    return json.dumps(values).encode()


def test_prompts_seeds_and_truncations_are_multiplied():
    asked = read_images(body(prompts=["a", "b"], seeds=[7], truncation=[0, 0.5, 1]), TEXT)
    assert asked.subjects == ["a"] * 3 + ["b"] * 3
    assert asked.seeds == [7] * 6 and asked.truncations == [0.0, 0.5, 1.0] * 2
    asked = read_images(body(prompt="a", seed=3, n=2, noise="none"), TEXT)
    assert (asked.seeds, asked.noise, asked.format) == ([3, 4], "none", "")
    assert read_images(body(label="dog"), LABELS).subjects == ["dog"]
    assert read_images(b"", NONE).subjects == [NOTHING]


@pytest.mark.parametrize(
    ("card", "values", "says"),
    [
        (TEXT, {"prompt": "a", "sedes": [1]}, "unknown key 'sedes' (sedes): use prompt, "),
        (TEXT, {}, "no prompt (prompt)"),
        (TEXT, {"prompt": "a" * 21}, "prompt has 21 characters"),
        (TEXT, {"prompt": 3}, "prompt is a int"),
        (TEXT, {"prompt": "a", "prompts": ["b"]}, "prompt and prompts (prompts)"),
        (TEXT, {"prompts": "a"}, "prompts is a str (prompts): give a list"),
        (TEXT, {"prompt": "a", "n": 7}, "n is 7 (n): use an integer from 1 to 6"),
        (TEXT, {"prompt": "a", "n": 3, "truncation": [0, 0.5, 1]}, "9 images (truncation)"),
        (TEXT, {"prompt": "a", "seeds": [1], "n": 2}, "seeds with seed or n"),
        (TEXT, {"prompt": "a", "seed": -1}, "seed is -1"),
        (TEXT, {"prompt": "a", "seed": True}, "seed is a bool"),
        (TEXT, {"prompt": "a", "truncation": 3}, "truncation is 3"),
        (TEXT, {"prompt": "a", "truncation": []}, "truncation is []"),
        (TEXT, {"prompt": "a", "noise": "loud"}, 'noise is "loud" (noise): use one of "const"'),
        (TEXT, {"prompt": "a", "format": ["png"]}, 'format is ["png"]'),
        (TEXT, {"label": "cat"}, "the model takes prompts (label)"),
        (LABELS, {"prompt": "a"}, "the model takes labels (prompt)"),
        (LABELS, {}, "no label (label): give one of cat, dog, owl"),
        (LABELS, {"label": "cow"}, "label 'cow' is not known"),
        (NONE, {"prompt": "a"}, "the model takes neither prompt nor label (prompt)"),
    ],
)
def test_a_wrong_request_names_the_key(card, values, says):
    with pytest.raises(ConfigError) as caught:
        read_images(body(**values), card)
    assert says in str(caught.value)


@pytest.mark.parametrize("sent", [b"{", b"[1]", b"[" * 100_000, b"\xff"])
def test_what_is_no_json_object_is_said(sent):
    assert len(sent) < BODY_BYTES
    with pytest.raises(ConfigError, match="the body is"):
        read_images(sent, TEXT)


def test_mixes_and_walks():
    mix = read_mix(body(prompt="a", seed=1, style="b", style_seeds=[2, 3], layers=[0]), TEXT)
    assert (mix.style, mix.style_seeds, mix.layers) == ("b", [2, 3], [0])
    assert read_mix(body(label="cat", style_seeds=[2]), LABELS).style == "cat"
    walk = read_walk(body(prompts=["a", "b"], seeds=[5], frames=4, loop=True), TEXT)
    assert (walk.subjects, walk.seeds, walk.loop) == (["a", "b"], [5, 5], True)
    assert read_walk(body(seeds=[1, 2], frames=4), NONE).subjects == [NOTHING, NOTHING]
    for read, values, says in (
        (read_mix, {"prompt": "a"}, "0 seeds (style_seeds)"),
        (read_mix, {"prompt": "a", "style_seeds": [1], "layers": ["x"]}, "not all are integers"),
        (read_mix, {"prompt": "a", "style_seeds": [1, 1]}, "listed twice"),
        (read_walk, {"prompts": ["a"], "seeds": [1]}, "nothing to walk between"),
        (read_walk, {"prompts": ["a", "b"], "frames": 241}, "frames is 241 (frames): use 1 to 240"),
        (read_walk, {"prompts": ["a", "b"], "seeds": [1, 2, 3]}, "2 prompts and 3 seeds"),
        (read_walk, {"prompts": ["a", "b"], "fps": 0}, "fps is 0"),
        (read_walk, {"prompts": ["a", "b"], "loop": 1}, "loop is 1"),
    ):
        with pytest.raises(ConfigError) as caught:
            read(body(**values), TEXT)
        assert says in str(caught.value)
