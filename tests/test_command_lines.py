"""Every line of README and docs that is a command is run: here, elsewhere, or not for a reason.

All lines of `ganline` are given to their own parsers. Those in HERE are run as they stand, in an
empty folder, on the bundled model.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import cli

ROOT = Path(__file__).parents[1]
STARTS = [
    "ganline",
    "make",
    "dvc",
    "python",
    "curl",
    "mlflow",
    "ray",
    "git",
    "source",
    "cp",
    "cat",
    "pip",
    "export",
    "mkdir",
]
# Run by this file; the files that they need are made first.
HERE = [
    "ganline generate *ring.png",
    "ganline generate *sheet.png",
    "ganline generate *pictures/",
    "ganline mix *--cols 4-8 *",
    "ganline sweep *",
    'ganline interpolate "*walk.mp4',
    "ganline data check ../pictures --picture pairs.png",
    "ganline init ../pictures --force",
    "python -m pipeline.params",
]
# Command -> the test that runs it, by name or with other files.
ELSEWHERE = {
    "ganline data check ../pictures --set *": "pipeline/commands/test_data.py",
    "make demo": "pipeline/commands/test_demo.py",
    "make test": "conftest.py",
    "ganline app": "pipeline/serving/test_page.py",
    "ganline serve*": "pipeline/serving/test_kept_up.py",
    "ganline report": "pipeline/commands/test_report.py",
    "ganline report . *": "pipeline/commands/test_report.py",
    "ganline summary": "pipeline/commands/test_summary.py",
    "ganline doctor": "pipeline/commands/test_tools.py",
    "ganline states *": "pipeline/commands/test_states.py",
    "ganline export *": "pipeline/commands/test_export.py",
    "ganline * --dry-run*": "pipeline/stages/test_train_commands.py",
    "ganline generate --label *": "pipeline/commands/test_generate.py",
    "ganline generate *lighthouse.png": "pipeline/commands/test_cascade.py",
    "ganline generate -n *": "pipeline/commands/test_generate.py",
    "ganline generate --code *": "pipeline/commands/test_sampling_commands.py",
    "ganline interpolate *": "pipeline/commands/test_sampling_commands.py",
    "ganline invert *": "pipeline/commands/test_invert.py",
    "ganline mix *--mix-layers 8-22 *": "pipeline/commands/test_import_words.py",
    "ganline cascade *": "pipeline/commands/test_cascade.py",
    "ganline upscale *": "pipeline/commands/test_upscale.py",
    "ganline import *": "pipeline/commands/test_import_model.py",
    "ganline edit *": "pipeline/commands/test_editing_commands.py",
    "ganline attributes *": "pipeline/commands/test_editing_commands.py",
    "ganline blend *": "pipeline/commands/test_editing_commands.py",
    "ganline benchmark_coco *": "pipeline/commands/test_benchmark_coco.py",
    "make ui": "pipeline/tracking/test_mlflow_page.py",
    "curl *": "pipeline/serving/test_server.py",
    "mlflow models serve *": "pipeline/tracking/test_served_model.py",
    "dvc dag": "pipeline/test_graph.py",
    "dvc exp *": "pipeline/test_own_data_in_experiments.py",
    "dvc repro *": "test_end_to_end.py",
    "dvc plots show": "test_dvc_plots.py",
    "python -m benchmarks.serving *": "pipeline/serving/test_server.py",
    "python -m dvc repro": "test_end_to_end.py",
    "python -m dvc pull": "test_dvcignore.py",
    "python -m components.training *": "components/training/test_job.py",
    "python -m models.interop.parity *": "models/interop/test_parity.py",
    "python -m pipeline.stages.*": "pipeline/stages/test_train_commands.py",
    "python -m pipeline.commands.bundle *": "pipeline/commands/test_bundle.py",
    "python -m benchmarks.images_to_distance *": "test_benchmarks.py",
    "python -m benchmarks.growth *": "test_class_benchmarks.py",
    "cp presets/*": "pipeline/params/test_presets.py",
}
NOT_RUN = {
    "source .venv/bin/activate": "sets up the shell",
    "export": "sets up the shell",
    "cat reports/filter.json": "shows a file that a test of the filter reads",
    "make setup": "what CI starts with",
    "make encoders": "trains for an hour",
    "git clone *": "needs a server",
    "python -m benchmarks.adaptation *": "trains for minutes: a measurement",
    "python -m benchmarks.editing *": "trains for minutes: a measurement",
    "python -m benchmarks.inverted_edits *": "searches for minutes: a picture of the docs",
    "dvc metrics show": "DVC's own printout of a file that tests read",
}


def commands() -> Iterator[tuple[str, str]]:
    """Yield (page, command) of every indented line that begins with a program's name."""
    pages = [
        p for p in (ROOT / "docs").rglob("*.md") if p.name != "log.md" and "api" not in p.parts
    ]
    for page in [ROOT / "README.md", *sorted(pages)]:
        text = page.read_text().replace("\\\n", " ")
        for line in re.findall(r"^    ((?:[A-Z_]+=\S+ )*[a-z]+ .+|make)$", text, re.MULTILINE):
            for part in line.split(" #")[0].split(" && "):
                words = [word for word in part.split() if not re.match(r"[A-Z_]+=", word)]
                if words and words[0] in STARTS:
                    yield page.name, " ".join(words)


def entries() -> dict[str, str]:
    return dict.fromkeys(HERE, "here") | ELSEWHERE | NOT_RUN


def test_every_command_is_run_or_has_its_reason():
    found = list(commands())
    assert len(found) > 100
    unknown = {c for _, c in found if not any(fnmatch(c, pattern) for pattern in entries())}
    assert not unknown, "add them to this file"
    unused = [p for p in entries() if not any(fnmatch(c, p) for _, c in found)]
    assert not unused, "no page says these any more"


@pytest.mark.parametrize("pattern", ELSEWHERE)
def test_the_test_that_runs_it_is_there(pattern):
    assert (ROOT / "tests" / ELSEWHERE[pattern]).is_file()


def test_every_line_of_ganline_is_read_by_its_parser(monkeypatch, capsys):
    """All options of the pages exist; nothing is run but doctor, which has no other way."""
    monkeypatch.chdir(ROOT)
    tools = cli._tools()
    lines = sorted({c for _, c in commands() if c.startswith("ganline ")})
    assert len(lines) > 40
    for _, load in tools.values():  # all before the first change, or one would keep a changed name
        load()
    for line in lines:
        words = shlex.split(line)[1:]
        for name, module in list(sys.modules.items()):
            if name.startswith("pipeline.") and hasattr(module, "guarded"):
                monkeypatch.setattr(module, "guarded", lambda action, debug=False: 99)
        try:
            assert cli.main(words) == (0 if words == ["doctor"] else 99), line
        except SystemExit as error:
            raise AssertionError(f"{line}: {capsys.readouterr().err}") from error


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_lines_that_need_only_the_bundled_model_run(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    (folder / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    (folder / "prompts.txt").write_text("a red ring\na blue cross\n")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 255, (70, 70, 3), np.uint8)
        Image.fromarray(pixels).save(pictures / f"{number}.png")
        (pictures / f"{number}.txt").write_text(f"picture {number}")
    done = set()
    for pattern in HERE:
        for line in sorted({c for _, c in commands() if fnmatch(c, pattern)} - done):
            done.add(line)
            words = shlex.split(line)
            if words[0] == "python":
                from pipeline.params.__main__ import main

                assert main(words[3:]) == 0, line
                continue
            out = [words[i + 1] for i, word in enumerate(words) if word in ("--out", "--picture")]
            again = ["--force"] if out and Path(out[0]).exists() else []
            assert cli.main([*words[1:], *again]) == 0, line
            assert all(Path(place).exists() for place in out), line
    assert (folder / "params.yaml").is_file() and len(done) >= len(HERE)
