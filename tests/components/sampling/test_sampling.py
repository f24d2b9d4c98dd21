"""Same prompt and seed, same image: alone, in a batch, in any order; bad requests are one line."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from components.errors import ConfigError, NonFiniteError
from components.requests.images import ImageRequest
from components.sampling import (
    from_uint8,
    generate,
    generate_batches,
    generate_from,
    seed_noise,
    to_uint8,
)
from components.sampling.draw import layer_noise
from models.interfaces import Condition, ConditionShape
from models.stylegan_t.generator import StyleGANTGenerator
from models.text_to_image import TextToImage

PROMPTS = ["a", "bb", "ccc", "dddd", "eeeee"]


def test_an_image_is_the_same_alone_and_in_a_batch(model: TextToImage) -> None:
    seeds = [3, 3, 4, 0, 2**40]
    together = generate(model, PROMPTS, seeds, 0.8, batch=4)
    assert together.shape == (5, 16, 16, 3)
    assert together.dtype == np.uint8
    assert together.std() > 5
    for row, (prompt, seed) in enumerate(zip(PROMPTS, seeds, strict=True)):
        alone = generate(model, [prompt], [seed], 0.8)[0]
        assert np.abs(alone.astype(int) - together[row]).max() <= 1


@pytest.mark.parametrize("noise", ["random", "none"])
def test_every_kind_of_noise_is_the_same_alone_and_in_a_batch(model: TextToImage, noise) -> None:
    together = generate(model, PROMPTS, [3, 3, 4, 0, 9], batch=4, noise=noise)
    alone = generate(model, PROMPTS[1:2], [3], noise=noise)[0]
    assert np.abs(alone.astype(int) - together[1]).max() <= 1
    assert np.abs(alone.astype(int) - generate(model, PROMPTS[1:2], [3])[0]).max() > 5


def test_random_noise_is_a_function_of_the_seed(model: TextToImage) -> None:
    first, again, other = (layer_noise(model.generator, [s], "random") for s in (5, 5, 6))
    assert [x.shape[-1] for x in first] == model.generator.synthesis.noise_sizes()
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    with pytest.raises(ConfigError, match="noise is 'pink'"):
        layer_noise(model.generator, [5], "pink")  # type: ignore[arg-type]


def test_each_image_may_have_its_own_psi(model: TextToImage) -> None:
    swept = generate(model, ["a"] * 3, [1] * 3, [0.0, 1.0, -1.0])
    for image, psi in zip(swept, (0.0, 1.0, -1.0), strict=True):
        assert np.abs(image.astype(int) - generate(model, ["a"], [1], psi)[0]).max() <= 1
    assert not np.array_equal(swept[1], swept[2])


def test_batches_come_one_after_the_other(model: TextToImage) -> None:
    batches = list(generate_batches(model, PROMPTS, range(5), batch=2))
    assert [len(images) for images in batches] == [2, 2, 1]
    assert np.array_equal(np.concatenate(batches), generate(model, PROMPTS, range(5), batch=2))


def test_seed_prompt_and_truncation_each_change_the_image(model: TextToImage) -> None:
    base = generate(model, ["a"], [1])
    assert not np.array_equal(base, generate(model, ["a"], [2]))
    assert not np.array_equal(base, generate(model, ["bb"], [1]))
    assert not np.array_equal(base, generate(model, ["a"], [1], 0.3))
    mean = generate(model, ["a", "a"], [1, 2], 0.0)
    assert np.array_equal(mean[0], mean[1]), "psi 0 is the prompt's mean image for every seed"


def test_sampling_leaves_modes_and_buffers_alone(model: TextToImage) -> None:
    model.generator.mapping.layers[0].eval()
    modes = [part.training for part in model.modules()]
    buffers = {name: x.clone() for name, x in model.named_buffers()}
    generate(model, ["a"], [1])
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(x, buffers[name]) for name, x in model.named_buffers())


def test_noise_is_a_function_of_its_own_seed() -> None:
    z = seed_noise([7, 8, 7], 5)
    assert torch.equal(z[0], z[2])
    assert not torch.equal(z[0], z[1])
    assert torch.equal(seed_noise([8], 5)[0], z[1])


def test_uint8_survives_the_round_trip() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    assert np.array_equal(to_uint8(from_uint8(pixels)), pixels)
    assert to_uint8(torch.tensor([-3.0, 3.0, 0.0]).reshape(1, 3, 1, 1)).tolist() == [
        [[[0, 255, 128]]]
    ]


def test_nonfinite_images_are_refused() -> None:
    with pytest.raises(NonFiniteError):
        to_uint8(torch.full((1, 3, 2, 2), float("nan")))


@pytest.mark.parametrize(
    ("prompts", "seeds", "truncation", "says"),
    [
        ([], [], 1.0, "0 prompts"),
        (["a"], [1, 2], 1.0, "1 prompts and 2 seeds"),
        ([""], [1], 1.0, "prompt is empty"),
        (["  \n"], [1], 1.0, "prompt is empty"),
        ([None], [1], 1.0, "prompt is a NoneType"),
        ([b"a"], [1], 1.0, "prompt is a bytes"),
        (["x" * 10_000], [1], 1.0, "10000 characters"),
        (["a\0b"], [1], 1.0, "NUL"),
        (["a\ud800"], [1], 1.0, "surrogate"),
        (["a"], [-1], 1.0, "seed is -1"),
        (["a"], [2**70], 1.0, "seed is 1180591620717411303424"),
        (["a"], [1.5], 1.0, "seed is a float"),
        (["a"], [True], 1.0, "seed is a bool"),
        (["a"], [1], 2.01, "truncation is 2.01"),
        (["a"], [1], -2.1, "truncation is -2.1"),
        (["a"], [1], [0.5, 1.0], "2 psis for 1 images"),
        (["a"], [1], float("nan"), "truncation is nan"),
        (["a"], [1], "1", "truncation is '1'"),
    ],
)
def test_bad_input_is_one_line(model: TextToImage, prompts, seeds, truncation, says) -> None:
    with pytest.raises(ConfigError) as caught:
        generate(model, prompts, seeds, truncation)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("count", [0, -1, 17, 1.0, "3", None, True])
def test_the_number_of_images_is_checked(count) -> None:
    with pytest.raises(ConfigError, match="n"):
        ImageRequest(prompts=("a",), images_per_prompt=count, images_limit=16)


def test_a_request_lists_one_row_per_image() -> None:
    request = ImageRequest(prompts=("a", "b"), seed=5, images_per_prompt=2)
    assert request.rows() == (["a", "a", "b", "b"], [5, 6, 5, 6])
    listed = ImageRequest(prompts=("a",), seeds=(9, 2))
    assert listed.rows() == (["a", "a"], [9, 2])
    with pytest.raises(ConfigError, match="seed 9 is listed twice"):
        ImageRequest(prompts=("a",), seeds=(9, 2, 9))


def test_conditions_without_text_are_sampled_too() -> None:
    generator = StyleGANTGenerator(
        resolution=8, shape=ConditionShape(), z_dim=8, channel_base=64, channel_max=8, num_groups=2
    )
    assert generate_from(generator, Condition(), [1, 2, 3], batch=2).shape == (3, 8, 8, 3)
