"""The table of seconds: what a run took, what it did not run, and nothing that it does not know."""

from __future__ import annotations

import json
import re

import pytest

from pipeline.commands.seconds import LastCommand, seconds_table
from pipeline.commands.summary import read_sources, summarize
from pipeline.stages.phases import phases

PHASES = {"start": 20.0, "learning": 70.0, "saving": 8.0, "end": 2.0}


def record(seconds, started="2026-01-02T10:00:00+00:00", **more):
    return {"seconds": seconds, "started_utc": started} | more


RECORDS = {
    "filter": record(2.5, "2026-01-01T09:00:00+00:00"),
    "train_base": record(100.0, phases=PHASES),
    "evaluate": record(30.0, "2026-01-02T10:02:00+00:00", phases={}),
}
LAST = LastCommand(
    stages=("train_base", "evaluate"), started_utc="2026-01-02T09:59:58+00:00", seconds=141.0
)


def test_each_second_of_the_run_is_in_one_row_and_cached_stages_say_when_they_ran():
    head, cached, trained, evaluated, between, whole = seconds_table(RECORDS, LAST)
    assert head.split() == ["stages", "total", "start", "learning", "saving", "end"]
    assert cached.split("  cached, of ")[1] == "2026-01-01T09:00"
    assert " ".join(trained.split()) == "train_base 1 min 40 s 20.0 s 1 min 10 s 8.0 s 2.0 s"
    assert evaluated.split() == ["evaluate", "30.0", "s"]
    assert between.split() == ["between", "(DVC)", "11.0", "s"]
    assert whole.split() == ["this", "run", "2", "min", "21", "s"]


def test_long_times_stay_apart():
    spent = {"start": 21.3, "learning": 3599.0, "saving": 15.9, "end": 0.9}
    row = seconds_table({"train_base": record(7512.0, phases=spent)}, LAST)[1].strip()
    cells = ["train_base", "2 h 05 min", "21.3 s", "59 min 59 s", "15.9 s", "0.9 s"]
    assert re.split(r"\s{2,}", row)[:6] == cells


@pytest.mark.parametrize(
    "last",
    [
        LastCommand(),
        LastCommand.of({"peak_memory_gib": 1.0, "stages": ["train_base"]}),
        # `dvc repro` ran a stage after `make demo`.
        LastCommand(stages=("train_base",), started_utc=LAST.started_utc, seconds=120.0),
        # `make demo` ran a stage whose record is of an earlier run.
        LastCommand(
            stages=("filter", "train_base", "evaluate"), started_utc=LAST.started_utc, seconds=150.0
        ),
    ],
)
def test_what_lay_between_is_left_out_where_it_is_not_known(last):
    assert last.between(RECORDS) is None
    rows = seconds_table(RECORDS, last)
    assert rows[-1].split() == ["total", "2", "min", "12", "s"]
    assert not any("between" in row for row in rows)


def test_the_phases_add_up_to_the_stage():
    session = {"first_step": 1020.5, "learning": 70.0, "ended": 1098.5}
    spent = phases(1000.0, session, 1100.0)
    assert spent == {"start": 20.5, "learning": 70.0, "saving": 8.0, "end": 1.5}
    assert phases(1000.0, {}, 1100.0) == {}


def test_the_summary_takes_phases_and_the_last_command_from_the_runs_folder(finished):
    path = finished / "runs/stages/train_base.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"phases": PHASES}))
    note = {"peak_memory_gib": 3.25, "seconds": 170.0, "started_utc": "2025-12-31T23:59:59+00:00"}
    note["stages"] = ["filter", "train_base", "superres@64"]
    (finished / "runs/peak_memory.json").write_text(json.dumps(note))
    summary = summarize(read_sources(finished / "params.yaml"))
    assert summary["phases"] == {"train_base": PHASES}
    assert summary["seconds_between"] == 6.5
