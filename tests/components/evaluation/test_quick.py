"""The search's quick scores rank generators rightly and never ask the judge."""

from __future__ import annotations

import pytest

from components.evaluation import quick


@pytest.fixture
def encoders(judge, clip, tmp_path, monkeypatch):
    (tmp_path / "clip").mkdir()
    nets = {"dino": judge, "clip": clip}
    monkeypatch.setattr(quick, "open_net", lambda folder, role, device: nets[role])
    return tmp_path


def test_the_better_generator_wins_both(rows, painter, encoders) -> None:
    settings = {"num": 50, "seed": 0, "role": "dino"}
    good = quick.quick_scores(painter(5.0), rows, encoders, **settings)
    bad = quick.quick_scores(painter(40.0, blind=True), rows, encoders, **settings)
    assert set(good) == {"frechet", "alignment"}
    assert good["frechet"] < bad["frechet"]
    assert good["alignment"] > bad["alignment"] + 0.2
    assert good == quick.quick_scores(painter(5.0), rows, encoders, **settings)


def test_the_judge_is_refused(rows, painter, tmp_path) -> None:
    with pytest.raises(ValueError, match="judge"):
        quick.quick_scores(painter(), rows, tmp_path, num=8, seed=0, role="judge")
