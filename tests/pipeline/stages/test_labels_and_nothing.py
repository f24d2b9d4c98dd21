"""Class labels, and no condition at all: from a folder of pictures to drawn images, by each family
that grows.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from components.artifacts.artifact import GENERATOR, load_generator, read_card, read_weights
from components.artifacts.family import recipe_from
from components.artifacts.frozen_nets import ABSENT
from components.artifacts.publishing import PublishConfig
from components.data.batches import BatchSource
from components.data.origins import Origin
from components.pictures.sheets import image_grid
from components.pretraining.class_features import class_features, logit_names, write_classes
from components.sampling import generate_from
from components.training.distributed import World
from components.training.run import run_job
from models.interfaces import Condition
from pipeline.commands.generate import main as generate
from pipeline.params.sections import load_params
from pipeline.stages import filter as filter_stage
from pipeline.stages import score, train
from tests.components.data.makers import encoded, picture
from tests.pipeline.tiny_world import (
    RECIPE,
    SIDE,
    TRAIN,
    write_encoders,
    write_params,
    write_projected_nets,
)
from tests.pipeline.trained_world import EVALUATE, context, run_evaluate, run_publish

CLASSES = ("blue", "green", "red")
PARTS = {
    "filter": {
        "min_side_px": 8,
        "near_duplicate_bits": -1,
        "clip_similarity_min": 0.9,  # a rule of captions: not asked
        "max_reject_fraction": 0.5,
    },
    "train_base": {
        "resolution_px": SIDE // 2,
        "total_kimg": 0.032,
        "sample_every_kimg": 0.016,
    },
    "superres": {str(SIDE): {**TRAIN, "start": "base", "total_kimg": 0.032}},
    "text_encoder": {"start": f"px{SIDE}"},
    "encoders": {role: {"source": "none"} for role in ("clip", "classifier", "judge")},
    "evaluate": {"feature_role": "dino"},
}
# Family -> its recipe for the first stage, and what changes where it grows.
RECIPES = {
    "stylegan_t": ({**RECIPE, "clip_weight": 0.0, "label_dim": 4}, {}),
    "stylegan_xl": (
        {
            "name": "stylegan_xl",
            "stem_px": SIDE // 2,
            "stem_layers": 4,
            "channel_base": 128,
            "channel_max": 8,
            "margin_px": 2,
            "z_dim": 8,
            "w_dim": 8,
            "projection_width": 8,
            "discriminator_max": 8,
            "cmap_dim": 4,
            "feature_size_px": 64,
            "path_length_start_kimg": 0.0,
            "path_length_every": 1,
        },
        {"heads": [[SIDE, 4]]},
    ),
}
CUT = {
    "stylegan_t": (".to_rgb.",),
    "stylegan_xl": tuple(f"synthesis.layers.{i}." for i in (2, 3, 4)),  # two critical ones, ToRGB
}


def write_pictures(folder: Path) -> None:
    """Write 16 pictures per class in a folder of that name, and one that belongs to no class."""
    for number, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for i in range(16):
            pixels = picture(SIDE, seed=100 * number + i)
            pixels[..., number] = 255
            (folder / name / f"{i:02d}.png").write_bytes(encoded(pixels))
    (folder / "lone.png").write_bytes(encoded(picture(SIDE, seed=999)))


def write_classifier(folder: Path, params: Path) -> None:
    """Write the nets of projected discriminators, and what the CNN knows of the classes."""
    encoders, source = folder / "artifacts" / "encoders", load_params(params).source
    net = write_projected_nets(encoders, len(CLASSES))
    if source.condition == "label":  # as the encoders stage does
        names, feature_KE = class_features(net, [Origin(source, folder / "pictures")], 8)
        write_classes(encoders / "classifier", names, feature_KE, logit_names(net, CLASSES))


def command(stage, folder: Path, params: Path, *paths: str) -> None:
    arguments = ["--source", str(folder / "pictures"), "--params", str(params)]
    arguments += [f for p in paths for f in (f"--{p.split('=')[0]}", str(folder / p.split("=")[1]))]
    assert stage.main(arguments) == 0


@pytest.fixture(
    scope="module",
    params=[(kind, family) for family in RECIPES for kind in ("label", "none")],
    ids=" ".join,
)
def world(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    """(condition, family, folder) after source -> score -> filter -> train -> evaluate ->
    publish.
    """
    (kind, family), folder = request.param, tmp_path_factory.mktemp("world")
    write_pictures(folder / "pictures")
    encoders = folder / "artifacts" / "encoders"
    write_encoders(encoders)
    shutil.rmtree(encoders / "clip")  # as the encoders stage leaves a role whose source is none
    (encoders / "clip").mkdir()
    (encoders / "clip" / ABSENT).write_text("{}")
    source = {"kind": "image_folder", "condition": kind, "heldout_fraction": 0.2}
    params = write_params(folder, source={**source, "path": str(folder / "pictures")}, **PARTS)
    _set_recipe(params, family, kind)
    if "classifier" in recipe_from(RECIPES[family][0]).encoder_roles:
        write_classifier(folder, params)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANLINE_RUNS_DIR", str(folder / "runs"))
        command(score, folder, params, "encoders=artifacts/encoders", "out=data/scores")
        places = ("encoders=artifacts/encoders", "scores=data/scores", "out=data/train")
        reports = ("decisions=decisions.parquet", "report=reports/filter.json", "plots=plots")
        command(filter_stage, folder, params, *places, *reports)
        _train(folder, params)
        _train(folder, params, px=str(SIDE))
        run_evaluate(folder)
        run_publish(folder, PublishConfig(register=False))
    return kind, family, folder


def _set_recipe(params: Path, family: str, kind: str) -> None:
    """Put the family's recipe in place of the params file's."""
    values = yaml.safe_load(params.read_text())
    base, grown = RECIPES[family]
    off = {"guidance_weight": 0.0} if family == "stylegan_xl" and kind == "none" else {}
    values["train_base"]["recipe"] = base | off
    values["superres"][str(SIDE)]["recipe"] = grown
    params.write_text(yaml.safe_dump(values, sort_keys=False))


def _train(folder: Path, params: Path, px: str = "") -> None:
    """Train the base, or grow it to `px`."""
    loaded, artifacts = load_params(params), folder / "artifacts"
    sections = {"train_base": loaded.train_base, "superres": loaded.superres}
    stage, _ = context(
        {**sections, "seed": 1, "cluster": loaded.cluster},
        stage="superres" if px else "train_base",
        key=px,
        start=artifacts / "base" if px else None,
        guidance=None, report=None, curve=None,
        data=folder / "data" / "train",
        encoders=artifacts / "encoders",
        out=artifacts / (f"px{px}" if px else "base"),
    )  # fmt: skip
    job = train.make_job(stage)
    Path(job.run_dir).mkdir(parents=True)
    run_job(job, World(), lambda record: None, "cpu")
    train._publish(job, stage)


def test_every_picture_is_counted_and_captions_are_not_asked(world) -> None:
    kind, _, folder = world
    report = json.loads((folder / "reports/filter.json").read_text())
    assert report["in"] == 49
    assert report["rejected"] == ({"sample.missing_label": 1} if kind == "label" else {})
    data = BatchSource(folder / "data/train", "train", SIDE, 0)
    assert data.shape.pooled_dim == 0
    assert data.shape.num_labels == (3 if kind == "label" else 0)
    batch = data.atom(0, 4)
    assert batch.condition.pooled_ND is None and batch.condition.ids_NT is None
    if kind == "label":
        assert data.label_names == list(CLASSES)
        assert [CLASSES[i] for i in batch.condition.label_N] == list(batch.captions)


def test_artifact_metrics_and_card_tell_the_kind(world) -> None:
    kind, family, folder = world
    card = read_card(folder / "artifacts/base")
    assert card["label_names"] == (list(CLASSES) if kind == "label" else [])
    roles = recipe_from(RECIPES[family][0]).encoder_roles
    assert set(card["encoders"]) == set(roles) - {"clip"}
    metrics = json.loads((folder / "artifacts/evaluation/metrics.json").read_text())
    assert metrics["clip_score"] is None and metrics["judge"] is None
    text = (folder / "artifacts/release/MODEL_CARD.md").read_text()
    assert ("--label" in text) == (kind == "label")
    assert "text-to-image" not in text and '"a prompt"' not in text
    assert not (folder / "artifacts/release/text_encoder").exists()


def test_the_sheet_shows_each_class_in_one_row(world) -> None:
    kind, _, folder = world
    if kind != "label":
        return
    run_evaluate(folder, dataclasses.replace(EVALUATE, sheet_prompts=8))
    rows = BatchSource(folder / "data/train", "heldout", SIDE // 2, EVALUATE.seed)
    held_out = rows.atom(0, rows.num_rows)
    assert rows.num_rows > len(CLASSES), "some class comes twice"
    names = list(dict.fromkeys(held_out.captions))
    label_N = torch.tensor([CLASSES.index(name) for name in names]).repeat_interleave(2)
    generator, _ = load_generator(folder / "artifacts/base")
    seeds = [EVALUATE.seed, EVALUATE.seed + 1] * len(names)
    drawn = generate_from(generator, Condition(label_N=label_N), seeds)
    with Image.open(folder / "artifacts/evaluation/samples.png") as sheet:
        assert sheet.size == image_grid(drawn, 2, names).size
        assert sheet.tobytes() == image_grid(drawn, 2, names).tobytes()


def test_it_grows(world) -> None:
    _, family, folder = world
    small, large = (folder / "artifacts" / name for name in ("base", f"px{SIDE}"))
    assert read_card(large)["resolution_px"] == 2 * read_card(small)["resolution_px"] == SIDE
    assert read_card(large)["shape"] == read_card(small)["shape"]
    assert read_card(large)["label_names"] == read_card(small)["label_names"]
    before, after = read_weights(small / GENERATOR), read_weights(large / GENERATOR)
    cut = [name for name in before if any(part in name for part in CUT[family])]
    frozen = [name for name in before if name not in cut]
    assert [name for name in frozen if not torch.equal(before[name], after[name])] == []
    again = [name for name in cut if name in after and name.endswith(".weight")]
    assert again and not any(torch.equal(before[name], after[name]) for name in again)
    assert len(after) > len(before) > len(frozen) > 0


def test_it_draws_what_is_asked(world, tmp_path: Path, capsys) -> None:
    kind, _, folder = world
    model = ["--model", str(folder / "artifacts/release"), "--out", str(tmp_path / "a.png")]
    asked = ["--label", "red", "--label", "blue"] if kind == "label" else []
    assert generate([*asked, "-n", "2", *model]) == 0
    assert ("4 images" if kind == "label" else "2 images") in capsys.readouterr().out
    with Image.open(tmp_path / "a.png") as image:
        assert np.asarray(image).std() > 0


MISTAKES = {
    "label": [
        ([], "no label", "one of blue, green, red"),
        (["--label", "pink"], "label 'pink' is not known", "one of blue, green, red"),
        (["a red ring"], "class labels, not prompts", "--label"),
    ],
    "none": [
        (["a red ring"], "neither prompt nor label", "leave it out"),
        (["--label", "red"], "neither prompt nor label", "leave it out"),
    ],
}


def test_a_wrong_question_is_one_line_and_writes_nothing(world, tmp_path: Path, capsys) -> None:
    kind, _, folder = world
    for arguments, says, todo in MISTAKES[kind]:
        out = ["--out", str(tmp_path / "b.png"), "--model", str(folder / "artifacts/release")]
        assert generate([*arguments, *out]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and says in line and todo in line
    assert list(tmp_path.iterdir()) == []
