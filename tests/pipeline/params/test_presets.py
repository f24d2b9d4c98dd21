"""Presets: each states what it changes; those of papers come out at the published values."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.artifacts.family import recipe_from
from components.training.config import StageConfig
from models.gigagan.recipe import GigaGAN
from models.interfaces import ConditionShape
from models.stylegan_t.recipe import StyleGANT
from models.stylegan_xl.recipe import StyleGANXL
from pipeline.params.file import ParamsError, read_params_file
from pipeline.params.sections import load_params
from tests.house_source import presets

ROOT = Path(__file__).parents[3]
PAPER = ("stylegan_t_lite_64_256", "stylegan_t_full_64_512")
XL = "stylegan_xl_imagenet"
GIGA = "gigagan_64_512"


def stages_of(values: dict) -> dict[str, dict]:
    grown = {f"superres.{key}": stage for key, stage in values["superres"].items()}
    return {"train_base": values["train_base"], **grown, "text_encoder": values["text_encoder"]}


def read(name: str) -> dict:
    return yaml.safe_load((ROOT / "presets" / f"{name}.yaml").read_text())


def recipe_fields(name: str) -> dict[str, Any]:
    """Return the fields of a preset's base, those too that it leaves at their defaults."""
    return plain(recipe_from(read(name)["train_base"]["recipe"]))


def plain(recipe: Any) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(recipe)))


def watched(values: dict) -> set[tuple[str, ...]]:
    """Return the keys that dvc.yaml names: these must be in the file, whatever they hold."""
    found = set()
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items():
        keys = [str(key) for key in values[name]] if "foreach" in stage else [""]
        names = stage.get("do", stage).get("params", [])
        found |= {tuple(n.replace("${key}", k).split(".")) for n in names for k in keys}
        templates = re.findall(r"\$\{([a-z_.]+)\}", json.dumps(stage))
        found |= {tuple(template.split(".")) for template in templates}
    return found - {("key",), ("item", "start")}


@pytest.mark.parametrize("path", presets(), ids=lambda p: p.stem)
def test_a_preset_states_what_it_changes(path: Path) -> None:
    """A value that is the default's stands there only if DVC reads it or a comment says why."""
    file, lines = read_params_file(path), path.read_text().splitlines()
    base = dataclasses.asdict(recipe_from(file.values["train_base"]["recipe"]))
    defaults = dataclasses.asdict(type(recipe_from({"name": recipe_name(file.values)}))())
    needed, said_twice = watched(file.values), []
    for name, value in file.values["train_base"]["recipe"].items():
        key = ("train_base", "recipe", name)
        if (
            name != "name"
            and base[name] == defaults[name]
            and "#" not in lines[file.lines[key] - 1]
        ):
            said_twice.append((name, value))
    for stage, values in stages_of(file.values).items():
        for field in dataclasses.fields(StageConfig):
            key = (*stage.split("."), field.name)
            if field.name in values and key not in needed and field.name != "recipe":
                same = values[field.name] == field.default
                if same and "#" not in lines[file.lines[key] - 1]:
                    said_twice.append((*key, values[field.name]))
    assert said_twice == []


@pytest.mark.parametrize("path", [ROOT / "params.yaml", *presets()], ids=lambda p: p.stem)
def test_dvc_finds_every_key_that_its_graph_names(path: Path) -> None:
    values = read_params_file(path).values
    for key in watched(values):
        value = values
        for part in key:
            assert part in value, f"{path.name} has no {'.'.join(key)}"
            value = value[part]


def recipe_name(values: dict) -> str:
    return values["train_base"]["recipe"]["name"]


def test_the_published_both_that_keep_the_best_weights_do() -> None:
    """By a net that no discriminator reads; stages without a training of their own are left out."""
    behind = {
        "stylegan_xl_imagenet": {"dino", "classifier"},
        "projected_gan_few_shot": {"classifier"},
    }
    for path in presets():
        stages = stages_of(yaml.safe_load(path.read_text())).values()
        kept = {stage.get("keep_weights", "last") for stage in stages if stage["total_kimg"]}
        assert kept == ({"best"} if path.stem in behind else {"last"}), path.stem
        roles = {stage["measure_role"] for stage in stages if "measure_role" in stage}
        assert not roles & behind.get(path.stem, roles)


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_presets_hold_the_published_values(name: str) -> None:
    given, published = recipe_fields(name), plain(StyleGANT())
    if "full" in name:
        published |= {"channel_base": 65536, "channel_max": 2048, "num_res_blocks": 3}
    assert given == published
    params = load_params(ROOT / "presets" / f"{name}.yaml")
    for stage in (params.train_base, *params.superres.values(), params.text_encoder):
        assert stage.ema_half_life_kimg == stage.batch * 10 / 32
        assert stage.ema_ramp == 0.05
    assert params.superres["128"].start == "aligned", "the text encoder trains at 64 px"


def test_the_imagenet_preset_holds_the_published_values_but_four() -> None:
    given, published = recipe_fields(XL), plain(StyleGANXL()) | {"heads": []}
    chosen = {"guidance_role": "guide", "guidance_min_px": 64, "mirror": True}
    assert given == published | chosen | {"guidance_max_px": 1024}
    for stage in stages_of(read(XL)).values():
        assert stage["ema_half_life_kimg"] == stage["batch"] * 10 / 32


def test_the_imagenet_chain_grows_through_the_published_networks() -> None:
    import torch

    values = read(XL)
    stages = [values["train_base"], *values["superres"].values()]
    fields = {key: value for stage in stages for key, value in stage["recipe"].items()}
    heads = [tuple(head) for head in fields["heads"]]
    for count, stage in enumerate(stages):
        assert [tuple(head) for head in stage["recipe"].get("heads", ())] == heads[:count]
        assert stage["resolution_px"] == 16 * 2**count
    with torch.device("meta"):
        shape = ConditionShape(num_labels=1000, class_dim=320)
        net: Any = recipe_from(fields).generator(1024, shape)
    assert [len(plan) for plan in net.plans] == [11, 16, 21, 26, 31, 36, 39]
    assert sum(p.numel() for p in net.parameters()) == 235_799_929
    net.stem_frozen = True
    assert sum(p.numel() for p in net.trainable()) == 861_299


def test_the_gigagan_preset_holds_the_published_values_and_sizes() -> None:
    """Base and upsampler, 652.5 M and 359.1 M in the paper; its discriminators 381.4 M, 130.1 M."""
    import torch

    values, given = read(GIGA), recipe_fields(GIGA)
    assert given == plain(GigaGAN())
    both_ = [recipe_from({"name": "gigagan", **given})]
    both_.append(recipe_from({"name": "gigagan", **given, **values["superres"]["512"]["recipe"]}))
    shape = ConditionShape(pooled_dim=768, token_dim=768)

    def count(net: Any) -> float:
        return sum(p.numel() for p in net.parameters()) / 1e6

    with torch.device("meta"):
        base, cascade = (r.generator(r.base_px * 8 or 64, shape) for r in both_)
        judges = [r.discriminator(r.base_px * 8 or 64, shape) for r in both_]
    assert cascade.resolution == 512
    found = [count(base), count(cascade.upsampler), *map(count, judges)]
    assert found == pytest.approx([652.5, 359.1, 381.4, 130.1], rel=0.03)


@pytest.mark.parametrize("path", [ROOT / "params.yaml", *presets()], ids=lambda p: p.stem)
def test_no_stage_after_the_base_blurs_again(path: Path) -> None:
    """StyleGAN-T's published code fades a blur of 32 px out again at every start (pitfall 5).
    StyleGAN-XL's 2 px in every stage, whose head is new, are meant.
    """
    values = yaml.safe_load(path.read_text())
    stages, sigma = stages_of(values), {}
    sigma["base"] = stages["train_base"]["recipe"].get("blur_init_sigma_px", 0.0)
    left = {"text_encoder": "aligned"} | {f"superres.{k}": f"px{k}" for k in values["superres"]}
    for _ in left:  # in any order: each round knows at least one more start
        for stage, artifact in left.items():
            if stages[stage]["start"] in sigma:
                own = stages[stage].get("recipe", {}).get("blur_init_sigma_px")
                sigma[artifact] = sigma[stages[stage]["start"]] if own is None else own
    assert set(sigma) == {"base", *left.values()}
    assert {name: s for name, s in sigma.items() if name != "base" and s > 2} == {}


@pytest.mark.parametrize(
    ("preset", "fields"),
    [("projected_gan_shapes", {}), ("stylegan_xl_shapes", {"generator_network": "stylegan3"})],
)
def test_a_network_that_does_not_grow_has_no_superres(
    preset: str, fields: dict[str, str], tmp_path: Path
) -> None:
    """Said at once, not after the base has trained for days."""
    values, path = read(preset), tmp_path / "params.yaml"
    values["train_base"]["recipe"] |= fields
    values["superres"] = {"128": values["text_encoder"] | {"resolution_px": 128}}
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    lines = {problem.key: problem.what for problem in caught.value.problems}
    name = values["train_base"]["recipe"]["name"]
    assert lines["superres.128"].startswith(f"{name} does not grow: remove the entry")


@pytest.mark.parametrize("condition", ["label", "none"])
def test_guidance_by_text_is_refused_where_the_data_has_none(tmp_path: Path, condition) -> None:
    """Said at once too, in the words of the family."""

    def said(values: dict) -> dict[str, str]:
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(values))
        with pytest.raises(ParamsError) as caught:
            load_params(path)
        return {problem.key: problem.what for problem in caught.value.problems}

    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["source"]["condition"] = condition
    values["train_base"]["recipe"]["clip_weight"] = 1.6
    values["superres"]["64"]["recipe"] = {"trains": "text_encoder"}
    assert said(values) == {
        "train_base.recipe.clip_weight": "got 1.6; allowed: 0, for the data has no text",
        "superres.64.recipe.trains": "got text_encoder; allowed: generator, for the data has no "
        "text",
    }
    values["train_base"]["recipe"]["clip_weight"] = 0.0
    values["superres"]["64"]["recipe"] = {"clip_weight": 2.0}  # of text_encoder nothing is asked
    assert set(said(values)) == {"superres.64.recipe.clip_weight"}


@pytest.mark.parametrize("condition", ["text", "none"])
def test_guidance_by_classes_is_refused_where_the_data_has_none(tmp_path: Path, condition) -> None:
    values = yaml.safe_load((ROOT / "presets/stylegan_xl_shapes.yaml").read_text())
    values["source"]["condition"] = condition
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    lines = {problem.key: problem.what for problem in caught.value.problems}
    what = "got 0.5; allowed: 0, for the data has no classes"
    assert lines["train_base.recipe.guidance_weight"] == what


@pytest.mark.parametrize(("size", "allowed"), [(9, "8 or 16"), (17, "16 or 24"), (12, ""), (4, "")])
def test_a_micro_batch_that_batch_norm_cannot_split_is_refused(tmp_path: Path, size, allowed):
    """The published code fails on it in the first step (pitfall 14); here every stage is named."""
    values, path = yaml.safe_load((ROOT / "params.yaml").read_text()), tmp_path / "params.yaml"
    for stage in stages_of(values).values():
        stage |= {"batch": 2 * size, "micro_batch": size}
    path.write_text(yaml.safe_dump(values))
    if not allowed:
        load_params(path)
        return
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    said = {problem.key: problem.what for problem in caught.value.problems}
    assert set(said) == {f"{name}.micro_batch" for name in stages_of(values)}
    assert all(f"groups of at most 8 for batch norm, such as {allowed}" in x for x in said.values())


def test_a_family_says_by_a_field_how_many_share_batch_norm(tmp_path: Path) -> None:
    values, path = read("projected_gan_shapes"), tmp_path / "params.yaml"
    values["train_base"]["recipe"]["norm_batch"] = 3
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    said = {problem.key: problem.what for problem in caught.value.problems}
    assert set(said) == {"train_base.micro_batch", "text_encoder.micro_batch"}
    for key, sizes in (("train_base", "30 or 33"), ("text_encoder", "6 or 9")):
        wanted = f"equal groups of at most 3 for batch norm, such as {sizes}"
        assert wanted in said[f"{key}.micro_batch"]
