"""Style mixing: all layers give the style's image, some give something between."""

from __future__ import annotations

import numpy as np
import pytest

from components.errors import ConfigError
from components.sampling import generate, mix, num_layers


def test_layers_decide_whose_image_it_is(model) -> None:
    own, style = generate(model, ["a", "bb"], [1, 2])
    count = num_layers(model, "a")
    assert count == model.generator.num_ws

    def mixed(layers) -> np.ndarray:
        return mix(model, ["a"], [1], ["bb"], [2], layers)[0].astype(int)

    assert np.abs(mixed(range(count)) - style).max() <= 1
    early, late = mixed(range(count // 2)), mixed(range(count // 2, count))
    for image in (early, late):
        assert np.abs(image - own).mean() > 1
        assert np.abs(image - style).mean() > 1
    assert np.abs(early - late).mean() > 1
    assert np.abs(mix(model, ["a"], [1], ["a"], [1], [0])[0].astype(int) - own).max() <= 1


def test_a_mixture_is_the_same_alone_and_in_a_batch(model) -> None:
    prompts, seeds, styles = ["a"] * 3, [1, 2, 3], [7, 8, 9]
    together = mix(model, prompts, seeds, prompts, styles, [0, 1], 0.7, batch=2, noise="random")
    for row in range(3):
        alone = mix(model, ["a"], [seeds[row]], ["a"], [styles[row]], [0, 1], 0.7, noise="random")
        assert np.abs(alone[0].astype(int) - together[row]).max() <= 1


@pytest.mark.parametrize(
    ("layers", "says"), [([], "no layers"), ([0, 99], "no layer 99"), ([-1], "no layer -1")]
)
def test_layers_that_are_not_there_are_named(model, layers, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        mix(model, ["a"], [1], ["a"], [2], layers)
    with pytest.raises(ConfigError, match="1 images and 2 styles"):
        mix(model, ["a"], [1], ["a", "a"], [2, 3], [0])
