"""A tiny world with a generator that was never trained, and the stages after training run on it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from components.artifacts.artifact import CARD, write_artifact
from components.artifacts.family import recipe_from
from components.artifacts.publishing import PublishConfig
from components.data.captions import ATTRIBUTES
from components.data.shards import read_manifest
from components.evaluation.config import EvaluateConfig
from models.features import FeatureCard, build_feature_net, read_card, save_feature_net
from models.interfaces import ConditionShape
from pipeline.stages import evaluate, publish
from pipeline.stages.frame import StageContext
from pipeline.tracking.config import TrackingConfig
from pipeline.tracking.tracker import Tracker
from tests.pipeline.tiny_world import RECIPE, SIDE, WIDTH, write_world

EVALUATE = EvaluateConfig(
    model="base",
    feature_role="dino",
    num_prompts=20,
    num_fake=20,
    num_curve=10,
    truncations=(0.0, 1.0),
    batch=8,
    kernel_subset_size=10,
    kernel_subsets=2,
    sheet_prompts=3,
    sheet_seeds=2,
)


def trained_world(folder: Path, seed: int = 0, *, text: bool = True) -> Path:
    """Write data, encoders (a random judge too) and artifacts/base below the folder.

    Without `text` the generator takes none, as an unconditional family's.
    """
    write_world(folder)
    encoders = folder / "artifacts" / "encoders"
    card = FeatureCard(
        role="judge",
        kind="attributes",
        architecture={
            "widths": [8, 8],
            "strides": [2, 2],
            "pooled_dim": 8,
            "classes": ATTRIBUTES,
        },
        image_size_px=SIDE,
        mean=[0.5] * 3,
        std=[0.5] * 3,
        source="random",
    )
    recipe = recipe_from(RECIPE)
    shape = ConditionShape(pooled_dim=WIDTH if text else 0)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        save_feature_net(encoders / "judge", build_feature_net(card), role="judge", source="random")
        generator = recipe.generator(SIDE, shape)
    write_artifact(
        folder / "artifacts" / "base",
        recipe=recipe,
        resolution=SIDE,
        shape=shape,
        generator_state=generator.state_dict(),
        nimg=1000,
        seed=0,
        data_content_hash=read_manifest(folder / "data" / "train")["content_hash"],
        encoders={"clip": read_card(encoders / "clip").sha256},
    )
    return folder


def textless_release(folder: Path, names: list[str], recipe: Any = None, seed: int = 0) -> Path:
    """Write a release of classes, or of nothing without names; never trained."""
    shape = ConditionShape(num_labels=len(names))
    recipe = recipe or recipe_from(RECIPE)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator = recipe.generator(SIDE, shape)
    write_artifact(
        folder, recipe=recipe, resolution=SIDE, shape=shape, nimg=0, seed=0,
        generator_state=generator.state_dict(), label_names=names,
    )  # fmt: skip
    card = json.loads((folder / CARD).read_text())
    card["release"] = {"content_hash": "ab" * 32}
    (folder / CARD).write_text(json.dumps(card))
    return folder


def context(params: dict[str, Any], **arguments: Path) -> tuple[StageContext, list[str]]:
    """Return a stage's context with these sections and paths, and the list of what it says."""
    said: list[str] = []
    sections = SimpleNamespace(tracking=TrackingConfig(enabled=False), **params)
    paths = argparse.Namespace(**arguments)
    return StageContext(sections, paths, Tracker.silent(), said.append), said  # type: ignore[arg-type]


def run_evaluate(world: Path, config: EvaluateConfig = EVALUATE, model: str = "base") -> list[str]:
    """Run the evaluate stage's work; return what it said."""
    stage, said = context(
        {"evaluate": config},
        data=world / "data" / "train",
        encoders=world / "artifacts" / "encoders",
        truth=world / "data" / "truth",
        decisions=world / "data" / "decisions.parquet",
        model=world / "artifacts" / model,
        out=world / "artifacts" / "evaluation",
        report=world / "reports" / "evaluation.json",
        curve=world / "reports" / "truncation.csv",
        metrics=world / "reports" / "metrics.json",
    )
    evaluate._work(stage)
    return said


def run_publish(
    world: Path,
    config: PublishConfig,
    *,
    out: Path | None = None,
    tracking: TrackingConfig | None = None,
    tracker: Tracker | None = None,
) -> list[str]:
    """Run the publish stage's work; return what it said."""
    stage, said = context(
        {"publish": config},
        model=world / "artifacts" / "base",
        encoders=world / "artifacts" / "encoders",
        evaluation=world / "artifacts" / "evaluation",
        out=out or world / "artifacts" / "release",
        report=world / "reports" / "publish.json",
    )
    if tracking is not None:
        stage.params.tracking = tracking
    if tracker is not None:
        object.__setattr__(stage, "tracker", tracker)
    publish._work(stage)
    return said
