"""An evaluation whose images are looked at elsewhere gives the numbers of one that looks here."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from components.errors import NonFiniteError
from components.evaluation import bench as bench_module
from components.evaluation.observer import Observer, Opened, look_ahead, planned
from components.evaluation.pieces import AFTER, BEFORE, REAL, SEEDS, TRAINING
from components.evaluation.scores import score_generator
from pipeline.cluster.config import ClusterConfig
from pipeline.stages import evaluate
from tests.pipeline.actors import KillsOne, by_actor
from tests.pipeline.trained_world import EVALUATE, context, trained_world

LOOKED = ("metrics.json", "truncation.csv", "samples.png", "reals.png", "memorised.png")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny trained world, of which copies of training images are told as well."""
    monkeypatch.setattr("components.evaluation.memorisation.FEWEST", 16)
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    return trained_world(tmp_path)


def places(world: Path) -> dict[str, Path]:
    model, data = world / "artifacts/base", world / "data/train"
    return {"model": model, "data": data, "encoders": world / "artifacts/encoders"}


def plain(world: Path) -> dict[str, Any]:
    build: dict[str, Any] = {name: str(path) for name, path in places(world).items()}
    return build | {"config": EVALUATE, "threads": torch.get_num_threads()}


@pytest.mark.parametrize("judged", [False, True])
def test_all_that_scores_need_was_seen_ahead_and_is_the_same(
    world: Path, monkeypatch: pytest.MonkeyPatch, judged: bool
) -> None:
    config = dataclasses.replace(EVALUATE, feature_role="judge" if judged else "dino")
    here = Opened.of(config=config, **places(world))
    expected = score_generator(here.bench, here.after, here.before)

    opened = Opened.of(config=config, cache=world / "cache", **places(world))
    kinds = {piece.of for piece in planned(opened)}
    assert kinds == {AFTER, BEFORE, REAL, TRAINING, SEEDS}
    assert look_ahead(opened, plain(world) | {"config": config}, by_actor) == len(opened.bench.seen)

    def nobody(*_: Any) -> None:
        raise AssertionError("a piece was not planned")

    monkeypatch.setattr(bench_module, "look", nobody)
    assert score_generator(opened.bench, opened.after, opened.before) == expected
    assert {piece.of for piece in planned(opened)} == {AFTER, BEFORE, SEEDS}  # the rest is cached


def test_what_an_observer_raises_is_raised_here(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise NonFiniteError("feature pooled is NaN", "evaluate", "check the encoder")

    monkeypatch.setattr("components.evaluation.looking.features_of", broken)
    opened = Opened.of(config=EVALUATE, **places(world))
    with pytest.raises(NonFiniteError, match="pooled is NaN"):
        look_ahead(opened, plain(world), by_actor)
    with pytest.raises(NonFiniteError, match="pooled is NaN"):
        Observer(**plain(world))([dataclasses.asdict(planned(opened)[0])])


def run(world: Path, name: str, backend: str, **cluster: Any) -> dict[str, bytes]:
    """Run the stage; return what it wrote."""
    config = dataclasses.replace(EVALUATE, backend=backend, num_fake=160, num_curve=80)
    out = world / name
    paths = places(world) | {"truth": world / "none", "decisions": world / "none"}
    paths |= {"out": out, "report": out / "report.json", "curve": out / "curve.csv"}
    sections = {"evaluate": config, "cluster": ClusterConfig(cpus_per_worker=1.0, **cluster)}
    stage, said = context(sections, **paths, metrics=out / "short.json")
    evaluate._work(stage)
    assert any("on Ray" in line for line in said) == (backend == "ray")
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.fuzz
@pytest.mark.timeout(1_500)
def test_the_stage_on_ray_writes_the_same_bytes_also_when_an_actor_is_killed(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = run(world, "local", "local")
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(world / "other"))  # no features from before
    monkeypatch.setenv("GANLINE_TEST_MARK", str(world))
    begun: list[int] = []
    take = dict.__setitem__

    class Seen(dict):  # type: ignore[type-arg]
        def __setitem__(self, piece: Any, seen: Any) -> None:
            begun.append(1)
            take(self, piece, seen)

    original = Opened.of

    def counting(**options: Any) -> Opened:
        opened = original(**options)
        object.__setattr__(opened.bench, "seen", Seen())
        return opened

    monkeypatch.setattr(Opened, "of", counting)
    killer = KillsOne(str(world), lambda: len(begun) >= 3)
    killer.start()
    found = run(world, "ray", "ray", scoring_workers=2)
    killer.join(1)
    assert killer.killed and len(begun) > 20
    assert found.keys() == local.keys() and set(LOOKED) <= found.keys()
    assert {name for name in found if found[name] != local[name]} == set()
