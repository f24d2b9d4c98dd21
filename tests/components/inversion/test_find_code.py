"""An image that the generator drew is found again; the search is a function of its arguments."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from components.errors import ConfigError, DataError, NonFiniteError
from components.inversion import ImageDistance, InversionConfig, find_code, guess_label, read_target
from components.inversion.start import code_space
from components.sampling import seed_noise
from models.families import recipes, small_fields
from models.interfaces import Condition, ConditionShape
from tests.components.inversion.conftest import QUICK


def one_of_class(label: int) -> Condition:
    return Condition(label_N=torch.tensor([label]))


@torch.no_grad()
def drawn(generator: Any, condition: Condition, seed: int) -> torch.Tensor:
    """Return what the generator draws for a seed, and so what can be found."""
    ws_NLD = generator.map(seed_noise([seed], generator.z_dim), condition)
    return generator.synthesize(ws_NLD, condition)


@pytest.mark.parametrize("layers", ["one", "each"])
def test_an_image_of_the_generator_is_found_again(generator, net, layers) -> None:
    condition = one_of_class(1)
    distance = ImageDistance(drawn(generator, condition, 77), net)
    config = dataclasses.replace(QUICK, layers=layers)
    found = find_code(generator, condition, distance, config)
    assert found.distance < 0.05 * found.mean_distance
    image = generator.synthesize(found.ws_LD[None], condition)
    assert float(distance(image).total_N) == pytest.approx(found.distance, rel=1e-5)
    assert [step.step for step in found.steps] == list(range(QUICK.steps + 1))
    spread = (found.ws_LD - found.ws_LD[:1]).abs().max()
    assert (spread == 0) == (layers == "one")
    again = find_code(generator, condition, distance, config)
    assert torch.equal(again.ws_LD, found.ws_LD)
    assert again.steps == found.steps
    other = find_code(generator, condition, distance, dataclasses.replace(config, seed=1))
    assert not torch.equal(other.ws_LD, found.ws_LD)


@pytest.mark.parametrize("name", recipes())
def test_every_family_comes_nearer(name, net) -> None:
    shape, condition = ConditionShape(num_labels=3), one_of_class(2)
    torch.manual_seed(0)
    generator = recipes()[name](**small_fields(name)).generator(16, shape)  # type: ignore[abstract]
    generator.eval().requires_grad_(False)
    distance = ImageDistance(drawn(generator, condition, 5), net)
    found = find_code(generator, condition, distance, dataclasses.replace(QUICK, steps=60))
    assert found.distance < 0.3 * found.mean_distance


def test_the_condition_in_a_code_is_left_alone(generator) -> None:
    condition = one_of_class(1)
    space = code_space(generator, condition, QUICK)
    assert space.moves_LD[:, : generator.z_dim].all()
    assert not space.moves_LD[:, generator.z_dim :].any()
    codes_ND = generator.map(seed_noise(range(400), generator.z_dim), condition[[0] * 400])[:, 0]
    torch.testing.assert_close(space.mean_LD[0, generator.z_dim :], codes_ND[0, generator.z_dim :])
    expected = (codes_ND - codes_ND.mean(dim=0)).square().sum(dim=1).mean().sqrt()
    assert space.distance == pytest.approx(float(expected), rel=0.1)
    distance = ImageDistance(torch.rand(1, 3, 16, 16), None)
    found = find_code(generator, condition, distance, dataclasses.replace(QUICK, steps=5))
    torch.testing.assert_close(
        found.ws_LD[:, generator.z_dim :], space.mean_LD[:, generator.z_dim :]
    )


def test_the_distance_is_that_of_unit_vectors_and_of_pixels() -> None:
    def net(image):
        return {"map": image[:, :2], "pooled": image.mean(dim=(2, 3))}

    target = torch.zeros(1, 3, 1, 2)
    target[0, :2, 0] = torch.tensor([[3.0, 0.0], [0.0, 2.0]])  # places along the rows
    image = torch.zeros(1, 3, 1, 2)
    image[0, :2, 0] = torch.tensor([[5.0, 1.0], [0.0, 0.0]])  # equal direction; a right angle
    found = ImageDistance(target, net, feature_weight=2.0, pixel_weight=0.5)(image)
    assert float(found.features_N) == pytest.approx((0 + 2) / 2, abs=1e-6)
    assert float(found.pixels_N) == pytest.approx((4 + 1 + 4) / 6)
    assert float(found.total_N) == pytest.approx(2 * 1 + 0.5 * 9 / 6, abs=1e-6)
    pooled = ImageDistance(target, lambda image: {"pooled": image.mean(dim=(2, 3))})
    assert float(pooled(-target).features_N) == pytest.approx(4, abs=1e-5)
    with pytest.raises(ValueError, match="a net of logits gives no features"):
        ImageDistance(target, lambda image: {"logits": image[:, 0, 0]})


def test_the_class_is_guessed(generator, net) -> None:
    for label in range(3):
        target = generator.synthesize(
            generator.map(torch.zeros(1, generator.z_dim), one_of_class(label), 0.0), Condition()
        )
        distance = ImageDistance(target, net)
        assert guess_label(generator, 3, distance) == label

        def classifier(image, logit=(4, 0, 2)[label]):
            likes = torch.eye(5)[logit] + 2 * torch.eye(5)[3]  # 3 is no class of ours
            return {"stage_0": image, "logits": likes[None]}

        logit_K = torch.tensor([4, 0, 2])
        assert guess_label(generator, 3, ImageDistance(-target, classifier), logit_K) == label


def test_what_is_not_finite_stops_the_search(generator) -> None:
    distance = ImageDistance(torch.full((1, 3, 16, 16), float("nan")), None)
    with pytest.raises(NonFiniteError, match=r"the distance is nan \(code, step 0\)"):
        find_code(generator, one_of_class(0), distance, QUICK)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"steps": 0}, "--steps is 0"),
        ({"steps": 10**6}, "--steps is 1000000"),
        ({"pivotal_steps": -1}, "--pivotal is -1"),
        ({"layers": "two"}, "layers is 'two'"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"samples": 1}, "samples is 1"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_a_search_that_cannot_be_is_one_line(fields, says) -> None:
    with pytest.raises(ConfigError) as caught:
        InversionConfig(**fields)
    assert says in str(caught.value)


def test_any_picture_becomes_a_square_and_no_other_file_does(tmp_path) -> None:
    from PIL import Image

    image = Image.new("RGB", (40, 20), (0, 0, 255))
    image.paste((255, 0, 0), (10, 0, 30, 20))
    image.save(tmp_path / "wide.png")
    pixels, done = read_target(tmp_path / "wide.png", 10)
    assert pixels.shape == (10, 10, 3)
    assert (pixels == (255, 0, 0)).all(), "the middle square alone"
    assert done == "40 x 20 px: cut to its middle square, resized to 10 x 10"
    image.crop((0, 0, 16, 16)).save(tmp_path / "fits.png")
    assert read_target(tmp_path / "fits.png", 16)[1] == ""
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match=r"not an image: image.format"):
        read_target(tmp_path / "text.png", 10)
    with pytest.raises(DataError, match="No such file"):
        read_target(tmp_path / "absent.png", 10)
