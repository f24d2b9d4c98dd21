"""The evaluate stage measures models that attend to words: as trained, joined, and as a cascade."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from components.artifacts.artifact import write_artifact
from components.artifacts.family import recipe_from
from components.artifacts.joining import join
from models.features import read_card
from models.gigagan.small import SMALL
from models.interfaces import ConditionShape
from tests.pipeline.tiny_world import SIDE, WIDTH
from tests.pipeline.trained_world import run_evaluate, trained_world

UP: dict[str, Any] = {
    "parts": "upsampler",
    "base_px": SIDE // 2,
    "up_dim": 4,
    "up_mults": (1, 2),
    "up_down_mults": (2,),
    "up_attention_depths": (0, 1),
    "up_middle_depth": 1,
    "up_blocks": 1,
    "up_heads": 2,
}


@pytest.mark.parametrize("whole", [True, False])
def test_a_cascade_is_measured_like_any_model(tmp_path: Path, monkeypatch, whole: bool) -> None:
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    world = trained_world(tmp_path)
    encoders = world / "artifacts" / "encoders"
    token_dim = read_card(encoders / "clip").architecture["text_cfg"]["width"]
    shape = ConditionShape(pooled_dim=WIDTH, token_dim=token_dim)
    for name, size, fields in (("small", SIDE // 2, {}), ("up", SIDE, UP)):
        recipe = recipe_from({"name": "gigagan", **SMALL, "vision_weight": 0.0, **fields})
        torch.manual_seed(0)
        write_artifact(
            world / "artifacts" / name,
            recipe=recipe,
            resolution=size,
            shape=shape,
            generator_state=recipe.generator(size, shape).state_dict(),
            nimg=0,
            seed=0,
            encoders={"clip": read_card(encoders / "clip").sha256},
        )
    small, up = (world / "artifacts" / name for name in ("small", "up"))
    join(small, [up], world / "artifacts" / "cascade", encoders if whole else None)
    run_evaluate(world, model="cascade")
    report = json.loads((world / "artifacts/evaluation/metrics.json").read_text())
    assert report["model"]["family"] == "gigagan"
    assert report["frechet_dino"]["after"] > 0
    assert -1 <= report["clip_score"] <= 1
