"""The recipe: what trains, what stays, where it goes, and when it stops."""

import pytest
import torch
from torch.nn import functional as F

from models.families import recipes, small_fields
from models.interfaces import Batch, Condition, ConditionShape, Site, Start
from models.stylegan_nada.adaptation import Adaptation, Asked
from models.stylegan_nada.recipe import StyleGANNADA
from models.stylegan_nada.watch import spread
from tests.models.conftest import SIZE, TEXT_DIM, FakeClip, FakeCnn, small_clip

NOTHING = ConditionShape()
PARENTS = {
    "stylegan2": (
        "projected_gan",
        {"generator_network": "stylegan2", "w_dim": 8, "channel_base": 64, "channel_max": 8},
    ),
    "fastgan": ("projected_gan", {"generator_network": "fastgan"}),
    "stylegan_t": ("stylegan_t", {}),
    "stylegan_xl": ("stylegan_xl", {}),
    "stylegan3": ("stylegan_xl", {"generator_network": "stylegan3"}),
    "gigagan": ("gigagan", {}),
}


def parent(name):
    family, fields = PARENTS[name]
    return {"name": family, **small_fields(family), **fields}


def recipe_of(name="stylegan2", **fields):
    values = {**small_fields("stylegan_nada"), "parent": parent(name), **fields}
    return StyleGANNADA(**values)


def built(recipe, shape=NOTHING, text_encoder=None, pictures=None):
    torch.manual_seed(5)
    tensors = recipe.generator(SIZE, shape).state_dict()
    nets = {"clip": FakeClip(), "other": FakeClip(), "words": small_clip(), "blind": FakeCnn()}
    start = Start(card={"resolution_px": SIZE}, generator=tensors, text_encoder=text_encoder)
    site = Site(resolution=SIZE, shape=shape, encoder=nets.__getitem__, start=start)
    if pictures is not None:
        site = Site(
            resolution=SIZE,
            shape=shape,
            encoder=nets.__getitem__,
            start=start,
            pictures=lambda folder: pictures,
        )
    networks = recipe.build(site)
    for net in networks.frozen.values():
        net.requires_grad_(False)
    return networks


def one_step(recipe, networks, condition=None, nimg=0):
    """Take one step as the loop does; return the names of what changed."""
    model = networks.trained["generator"].train()
    (phase,) = recipe.phases(networks)
    parameters = phase.parameters(nimg)
    model.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)
    adam = torch.optim.Adam(parameters, recipe.learning_rate, (recipe.beta1, recipe.beta2))
    before = {n: x.clone() for n, x in model.state_dict().items()}
    batch = Batch(size=4, condition=condition or Condition())
    terms = phase.loss(batch, nimg, torch.Generator().manual_seed(1)).terms
    assert all(x.isfinite().all() and x.shape == (4,) for x in terms.values())
    sum(terms.values()).mean().backward()
    adam.step()
    return {n for n, x in model.state_dict().items() if not torch.equal(x, before[n])}, terms


@pytest.mark.parametrize("name", PARENTS)
@pytest.mark.parametrize("selected", [0, 2])
def test_only_convolutions_change(name, selected):
    recipe = recipe_of(name, selected_layers=selected)
    if name == "fastgan" and selected:
        with pytest.raises(ValueError, match="selected_layers to 0"):
            built(recipe)
        return
    networks = built(recipe)
    changed, _ = one_step(recipe, networks)
    assert changed
    apart = ("mapping.", "style.", "to_rgb", "affine.", "select.", "token.", "text.")
    assert [n for n in changed if any(word in n for word in apart)] == []
    if name in ("stylegan_xl", "stylegan3"):
        last = networks.trained["generator"].style_layers()[-1].name
        assert not any(n.startswith(last) for n in changed)
    if selected:
        layers = {n.rsplit(".", 1)[0].removesuffix(".norm") for n in changed}
        assert len(layers) == selected


def test_affine_layers_train_if_asked():
    recipe = recipe_of(train_affine=True, selected_layers=0)
    changed, _ = one_step(recipe, built(recipe))
    assert any("style.weight" in n for n in changed)


def test_the_chosen_layers_are_those_of_the_largest_gradient():
    """One plain step ranks as the gradient of the distance to the target does."""
    recipe = recipe_of(selected_layers=1, selection_batch=3)
    networks = built(recipe)
    model = networks.trained["generator"]
    adaptation = Adaptation(recipe, networks)
    (chosen,) = {id(p) for p in adaptation.parameters(8) if p.ndim == 4}
    ws, condition = adaptation._codes(3, torch.Generator().manual_seed(2 + 8))
    ws.requires_grad_()
    clip = networks.frozen["clip"]
    end = clip.encode_text([recipe.target])[0]
    distance = 1 - F.normalize(clip(model.synthesize(ws, condition))["pooled"], dim=1) @ end
    (grad,) = torch.autograd.grad(distance.mean(), ws)
    size = grad.abs().mean(dim=(0, 2))
    convs = [x for x in model.style_layers() if x.kind == "conv"]
    best = max(convs, key=lambda layer: float(size[layer.code]))
    assert id(best.module.weight) == chosen


def test_an_unchanged_image_gives_no_nan_and_all_the_gradient_it_needs():
    from models.editing.directions import along

    before = F.normalize(torch.randn(3, 6), dim=1)
    after = before.clone().requires_grad_()
    direction = F.normalize(torch.randn(6), dim=0)
    moved = torch.cat([after[:1] + 0.1 * direction, after[1:]])
    cosine = along(before, moved, direction)
    assert cosine.tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-5)
    cosine.sum().backward()
    assert after.grad.isfinite().all() and (after.grad[1:] @ direction > 0).all()


def test_losses_of_known_embeddings():
    from models.stylegan_nada.losses import angle, directional, to_end

    eye = torch.eye(4)
    before, after = eye[:2] * 1.0, torch.stack([eye[2], eye[1]])
    direction = F.normalize(eye[2] - eye[0], dim=0)
    assert directional(before, after, direction).tolist() == pytest.approx([0.0, 1.0], abs=1e-5)
    assert directional(after, before, direction)[0] == pytest.approx(2.0, abs=1e-5)
    assert to_end(after, eye[1]).tolist() == pytest.approx([1.0, 0.0])
    # The first image's cosine with its original is 0, the second's 1.
    assert angle(before, after, 0.25).tolist() == pytest.approx([0.25, 0.75])


def test_pictures_stand_for_either_end():
    pictures = [torch.rand(1, 3, 20, 24) * 2 - 1 for _ in range(3)]
    recipe = recipe_of(target="", source="", target_pictures="three", selected_layers=1)
    networks = built(recipe, pictures=pictures)
    changed, _ = one_step(recipe, networks)
    assert changed
    (goal,) = Adaptation(recipe, networks).goals()
    clip = networks.frozen["clip"]
    end = F.normalize(torch.cat([clip(x)["pooled"] for x in pictures]).mean(dim=0), dim=0)
    assert torch.allclose(goal.end_E, end, atol=1e-6)
    both = recipe_of(target="", source="", target_pictures="a", source_pictures="b")
    (goal,) = Adaptation(both, built(both, pictures=pictures)).goals()
    assert goal.direction_E.abs().sum() == 0  # the same pictures at both ends: nowhere to go


def test_two_clips_add_up():
    single, double = recipe_of(), recipe_of(clips=("clip", "clip"), clip_weights=(1.0, 0.5))
    _, one = one_step(single, built(single))
    _, two = one_step(double, built(double))
    assert torch.allclose(1.5 * one["directional"], two["directional"], atol=1e-5)


def test_a_text_to_image_model_is_asked_for_the_prompts():
    shape = ConditionShape(pooled_dim=TEXT_DIM)
    recipe = recipe_of("stylegan_t", prompts=("a", "b c"))
    networks = built(recipe, shape)
    clip = networks.frozen["clip"]
    condition = networks.frozen["ends"].ask(5)
    wanted = clip.encode_text(["a", "b c", "a", "b c", "a"])
    assert torch.equal(condition.pooled_ND, wanted)
    changed, _ = one_step(recipe, networks, condition[:4])
    assert changed and not any("condition" in n for n in changed)


def test_a_model_with_its_own_text_encoder_keeps_it():
    shape = ConditionShape(pooled_dim=TEXT_DIM)
    recipe = recipe_of("stylegan_t", clips=("words",), source="a", target="b", prompts=("a b",))
    own = {n: x + 0.01 for n, x in small_clip().text_part().network.state_dict().items()}
    torch.manual_seed(5)
    tensors = recipe.generator(SIZE, shape).state_dict()
    nets = {"clip": small_clip(), "words": small_clip()}
    start = Start(card={"resolution_px": SIZE}, generator=tensors, text_encoder=own)
    site = Site(resolution=SIZE, shape=shape, encoder=nets.__getitem__, start=start)
    networks = recipe.build(site)
    model = networks.trained["generator"]
    kept = model.text_encoder.network.state_dict()
    assert all(torch.equal(kept[n], x) for n, x in own.items())
    condition = Asked(site, ("a b",)).atom(0, 4).condition
    changed, _ = one_step(recipe, networks, condition)
    assert changed and all(n.startswith("generator.synthesis") for n in changed)


def test_what_is_watched_is_one_at_the_start_and_falls_with_collapse():
    recipe = recipe_of(watch_every_kimg=0.1, stop_below_diversity=0.5, watch_role="other")
    networks = built(recipe)
    watching, model = networks.watching, networks.trained["generator"]
    found = watching.measure(model)
    assert found["diversity"] == pytest.approx(1.0, abs=1e-4) and found["gain"] == 0.0
    assert watching.stop_below == {"diversity": 0.5}
    with torch.no_grad():  # all images alike
        for layer in model.style_layers():
            layer.style.weight.zero_()
        for name, parameter in model.named_parameters():
            if name.endswith("noise_strength"):
                parameter.zero_()
    assert watching.measure(model)["diversity"] < 0.01


def test_spread_of_known_embeddings():
    assert spread(torch.eye(3)) == pytest.approx(1.0)
    assert spread(torch.ones(4, 2)) == pytest.approx(0.0, abs=1e-6)


PICTURES = {"target_pictures": "x", "source_pictures": "y"}


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"target": ""}, "target"),
        ({"target_pictures": "x"}, "target"),
        ({"source": ""}, "source"),
        ({"sources": ("a", "b")}, "sources"),
        ({"source": "", "sources": ("a", "b"), "angle_weight": 1.0}, "angle_weight"),
        ({"source": "", "sources": ("a", "b"), "target": "", **PICTURES}, "sources"),
        ({"source_pictures": "x"}, "source_pictures"),
        ({"clips": ("clip", "b")}, "clip_weights"),
        ({"templates": ("no hole",)}, "templates"),
        ({"directional_weight": 0.0}, "directional_weight"),
        ({"stop_below_diversity": 0.7, "watch_every_kimg": 0.0}, "stop_below_diversity"),
        ({"target": "", "target_pictures": "x", "angle_weight": 1.0}, "angle_weight"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_runs(fields, key):
    recipe = recipe_of(**fields)
    assert key in recipe.misfits("none")
    with pytest.raises(ValueError, match=key):
        built(recipe, pictures=[torch.zeros(1, 3, 8, 8)])


def test_a_start_of_another_size_and_no_start_are_refused():
    recipe = recipe_of()
    tensors = recipe.generator(SIZE, NOTHING).state_dict()
    start = Start(card={"resolution_px": SIZE}, generator=tensors)
    site = Site(resolution=32, shape=NOTHING, encoder=lambda role: FakeClip(), start=start)
    with pytest.raises(ValueError, match="16 px and this stage 32"):
        recipe.build(site)
    with pytest.raises(ValueError, match="set `start`"):
        recipe.build(Site(resolution=16, shape=NOTHING, encoder=lambda role: FakeClip()))
    with pytest.raises(ValueError, match="set `start`"):
        StyleGANNADA(source="a", target="b").generator(16, NOTHING)


def test_a_net_that_reads_no_text_cannot_guide():
    with pytest.raises(ValueError, match="clips: blind reads no text"):
        built(recipe_of(clips=("blind",)))


def test_there_are_79_templates():
    from models.editing.templates import filled, imagenet_templates

    texts = filled(imagenet_templates(), "cat")
    assert len(set(texts)) == 79 and all("cat" in text for text in texts)
    assert "stylegan_nada" in recipes()
