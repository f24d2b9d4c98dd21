"""A search that runs for minutes says what its trials do, and how long is left."""

import json
from pathlib import Path

from pipeline.stages.tune_progress import TrialWatch

SCORES = {"score": 3.25, "frechet": 812.4, "alignment": 0.5, "seed_variety": 0.9}


def write(folder: Path, name: str, content: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def test_each_thing_is_told_once_with_the_time_left(tmp_path: Path):
    said: list[str] = []
    now = [100.0]
    watch = TrialWatch(tmp_path, 4, 2, said.append, clock=lambda: now[0])
    watch.look()
    assert said == []
    write(tmp_path / "aa", "values.json", {"clip_weight": 1.2345, "blur_fade_kimg": 2})
    watch.look()
    assert said == ["tune: trial 1 of 4: clip_weight 1.23, blur_fade_kimg 2"]
    write(tmp_path / "aa", "rung-0.json", {"kimg": 0.8, **SCORES})
    (tmp_path / "aa" / "rung-1.json").write_text('{"kimg": 1.6, "sc')  # still in writing
    now[0] += 120.0
    watch.look()
    watch.look()
    assert said[1:] == [
        "tune: trial 1 of 4 at 0.8 kimg: score 3.250, distance 812.4, seed variety 0.90; "
        "at most 14 min left"  # seven more of two minutes each
    ]
    write(tmp_path / "aa", "rung-1.json", {"kimg": 1.6, **SCORES})
    watch.look()
    assert said[-1].startswith("tune: trial 1 of 4 at 1.6 kimg") and len(said) == 3


def test_a_continued_search_counts_what_was_done_before_as_no_time(tmp_path: Path):
    write(tmp_path / "aa", "values.json", {"w": 1})
    write(tmp_path / "aa", "rung-0.json", {"kimg": 1, **SCORES})
    said: list[str] = []
    now = [0.0]
    watch = TrialWatch(tmp_path, 2, 1, said.append, clock=lambda: now[0])
    watch.look()
    assert "left" not in said[-1]
    write(tmp_path / "bb", "values.json", {"w": 2})
    with watch.following():
        pass
    assert said[-1] == "tune: trial 2 of 2: w 2"
