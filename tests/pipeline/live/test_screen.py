"""The display of `ganline repro`: on a terminal one place that changes, elsewhere plain lines."""

import errno
import io
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from pipeline.commands.demo import stages_of
from pipeline.graph import needed_for, read_graph
from pipeline.live.board import Board, board_of, read_board
from pipeline.live.left import Expected, all_left, expected
from pipeline.live.screen import Screen
from pipeline.live.view import stage_view
from pipeline.params.sections import load_params

ROOT = Path(__file__).parents[3]
TICK = {
    "kind": "tick", "nimg": 12000, "kimg": 12.0, "goal_kimg": 24.0, "images_per_s": 99.0,
    "eta_s": 130.0, "memory_gib": 1.5, "seconds_per_kimg": 10.1, "loss/discriminator/adversarial":
    1.25, "loss/generator/clip": 2.5, "stat/discriminator/real_sign": 0.995, "look/seed": 0.2,
}  # fmt: skip
# A stage as DVC runs it: it posts what a training would, and says a line.
STAGE = """
import json, pathlib, time
from pipeline.live.board import board_of
with board_of("train_base") as board:
    tick = json.loads(pathlib.Path("tick.json").read_text())
    board.post(tick=tick, sheet="runs/x/samples/000012000.png")
    print("sample sheet written", flush=True)
    time.sleep(2)
open("model", "w").write("x")
"""
GRAPH = {
    "stages": {
        "filter": {"cmd": "python -c 1", "params": ["filter"]},
        "train_base": {"cmd": "python work.py", "params": ["train_base"], "outs": ["model"]},
        "evaluate": {
            "cmd": "python -c \"open('reports/m.json', 'w').write('{}')\"",
            "deps": ["model"],
            "metrics": [{"reports/m.json": {"cache": False}}],
        },
    }
}


def drawn(view, width=100) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(view)
    return console.export_text()


def test_numbers_stand_beside_their_healthy_range():
    facts = {"stage": "train_base", "tick": TICK, "largest": {"look/seed": 3.0}, "batch": 16}
    text = drawn(stage_view(facts), width=120)
    assert "step 750" in text
    assert "12 of 24 kimg" in text and "12,000 images seen" in text and "99 images/s" in text
    assert "2 min left" in text
    assert re.search(r"loss discriminator adversarial +1.25 +healthy above 0.01 *\n", text)
    assert re.search(r"real sign +0.995 +healthy below 0.99: NOT HEALTHY", text)
    assert re.search(r"look seed +0.2 +healthy above 0.3: NOT HEALTHY", text)
    assert re.search(r"loss generator clip +2.5 *\n", text)  # nobody knows a range of it


def test_a_search_shows_its_trials():
    trials = [{"number": 1, "values": "clip_weight 3", "kimg": 1.0, "score": 2.5, "frechet": 812.0}]
    trials.append({"number": 2, "values": "clip_weight 0.7"})
    text = drawn(stage_view({"stage": "tune", "trials": trials, "of": 4}))
    assert re.search(r"trial 1 of 4 +clip_weight 3 +kimg 1  score 2.5  distance 812", text)
    assert re.search(r"trial 2 of 4 +clip_weight 0.7 +training", text)


def test_what_is_left_of_everything():
    now = [0.0]
    stages = {name: Expected(seconds, False) for name, seconds in (("a", 30), ("b", 60), ("c", 90))}
    said: list[str] = []
    screen = Screen(stages, print_line=said.append, clock=lambda: now[0])
    assert "looking" in drawn(screen.view())
    screen.skip("a")
    screen.begin("b")
    now[0] = 20.0
    text = drawn(screen.view())
    assert "b  stage 2 of 3" in text
    assert "this stage about 40 s (running for 20 s); everything 2 min at most" in text
    screen.begin("c")
    assert "everything" not in drawn(screen.view())
    assert said == ["-- a: up to date", "\n== b", "\n== c"]


def test_a_stage_takes_what_it_took_last_time_scaled_by_its_length():
    record = {"seconds": 100.0, "config": {"train_base": {"total_kimg": 4.0}}}
    assert expected("train_base", 8.0, record) == Expected(200.0, guessed=False)
    assert expected("filter", 0.0, {"seconds": 9.0}).seconds == 9.0
    guess = expected("superres@64", 8.0, {})
    assert guess.guessed and guess.seconds == pytest.approx(109.8)
    assert expected("adapt@sketch", 1.0, {}) == Expected(None, guessed=True)
    words = all_left([guess, Expected(None, guessed=True)], 20.0)
    assert words.startswith("2 min and 1 stage of unknown length at most (a guess")


def test_only_the_stages_of_the_targets_count(project):
    nodes = read_graph(project / "params.yaml")
    assert [node.name for node in needed_for(nodes, ["train_base"])] == ["filter", "train_base"]
    params = load_params(project / "params.yaml")
    assert list(stages_of(params, project / "params.yaml", ["-s", "train_base"])) == ["train_base"]
    assert len(stages_of(params, project / "params.yaml", ["--force"])) == len(nodes)


def test_quiet_keeps_the_last_words_of_a_stage():
    said: list[str] = []
    screen = Screen({}, quiet=True, print_line=said.append)
    screen.begin("a")
    screen.begin("b")
    screen.say("   error: x")
    assert said == [] and screen.last_words() == ["\n== b", "   error: x"]


def test_a_board_is_read_by_the_command_above(tmp_path, monkeypatch):
    assert read_board(tmp_path) == {}
    monkeypatch.setenv("GANLINE_LIVE", str(tmp_path))
    with board_of("tune") as board:
        board.post(left_s=3)
        board.post(of=2)
        assert board.is_watched and read_board(tmp_path) == {"stage": "tune", "left_s": 3, "of": 2}
    monkeypatch.setenv("GANLINE_LIVE", "off")
    with board_of("tune") as board:
        assert not board.is_watched
    gone = Board("tune", tmp_path / "gone")
    gone.post(of=2)  # nobody is left to read it, and that is no error


def in_a_terminal(folder: Path, *words: str, **extra: str) -> tuple[int, str]:
    """Run a command on a terminal of 100 columns; return its exit code and all that it wrote."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}
    environment = {k: v for k, v in environment.items() if k != "NO_COLOR"} | extra
    command = [sys.executable, "-m", "pipeline.commands.demo", *words]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    found, limit = b"", time.monotonic() + 120
    while time.monotonic() < limit:
        ready, _, _ = select.select([ours], [], [], 0.2)
        try:
            part = os.read(ours, 65536) if ready else b""
        except OSError as error:  # the other end is closed
            assert error.errno == errno.EIO
            break
        found += part
        if not part and process.poll() is not None:
            break
    os.close(ours)
    return process.wait(10), found.decode(errors="replace")


@pytest.fixture
def graph(project):
    (project / "dvc.yaml").write_text(yaml.safe_dump(GRAPH))
    (project / "work.py").write_text(STAGE)
    (project / "tick.json").write_text(json.dumps(TICK))
    start = [sys.executable, "-m", "dvc", "init", "-q", "--no-scm"]
    subprocess.run(start, check=True, timeout=60)
    return project


@pytest.mark.slow
def test_on_a_terminal_the_graph_is_one_display(graph):
    code, text = in_a_terminal(graph)
    assert code == 0, text
    assert "== train_base" in text and "sample sheet written" in text  # lines stay above it
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    for part in ("stage 1 of 3", "12 of 24 kimg", "NOT HEALTHY", "newest sheet", "time left"):
        assert part in plain, part
    assert "\x1b[1A" in text and "\x1b[1;31m" in text  # it is redrawn, and what is wrong is red
    assert "3 stages ran in" in text


@pytest.mark.slow
def test_without_colour_and_without_a_word(graph):
    code, text = in_a_terminal(graph, NO_COLOR="1")
    assert code == 0 and "NOT HEALTHY" in text
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", text)
    (graph / "work.py").write_text("print('so it was'); raise SystemExit(3)")
    code, text = in_a_terminal(graph, "--quiet", "--", "--force")
    assert code == 3 and "== filter" not in text and "time left" not in text
    assert "== train_base" in text and "so it was" in text  # what the failed stage said
