"""dvc.yaml is read as DVC reads it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from components.errors import ConfigError
from pipeline.graph import find_node, read_graph, stage_titles, stale_stages
from tests.house_source import presets

ROOT = Path(__file__).parents[2]


def test_templates_and_foreach_are_filled(project):
    nodes = read_graph(Path("params.yaml"))
    assert [node.name for node in nodes] == [
        "filter",
        "train_base",
        "superres@64",
        "text_encoder",
        "evaluate",
    ]
    grown = find_node(nodes, "superres", "64")
    assert grown.command == "python -m pipeline.stages.superres 64 --start artifacts/base"
    assert grown.outs == (Path("artifacts/px64"),)
    assert find_node(nodes, "evaluate", "").command.endswith("--model artifacts/aligned")
    assert find_node(nodes, "filter", "").metrics == (Path("reports/filter.json"),)
    assert stage_titles()["superres"] == "Grow to ${key} px"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages: [", "no readable stages"),
        ("a: 1", "no readable stages"),
        (None, "no dvc.yaml"),
    ],
)
def test_a_broken_or_missing_graph_is_one_error(project, text, message):
    Path("dvc.yaml").unlink() if text is None else Path("dvc.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_graph(Path("params.yaml"))


@pytest.mark.row("C2")
def test_an_unknown_entry_or_template_is_named(project):
    nodes = read_graph(Path("params.yaml"))
    with pytest.raises(ConfigError, match="these entries: 64"):
        find_node(nodes, "superres", "128")
    text = Path("dvc.yaml").read_text().replace("${evaluate.model}", "${evaluate.modell}")
    Path("dvc.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"\$\{evaluate.modell\} is not in the parameters"):
        read_graph(Path("params.yaml"))


@pytest.mark.slow
def test_dvc_resolves_the_real_graph_to_the_same_commands(monkeypatch):
    monkeypatch.chdir(ROOT)
    code = (
        "import json\nfrom dvc.repo import Repo\n"
        "stages = [s for s in Repo().index.stages if s.cmd]\n"
        "print(json.dumps({s.addressing: ' '.join(s.cmd.split()) for s in stages}))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    theirs = json.loads(result.stdout.splitlines()[-1])
    assert {node.name: node.command for node in read_graph(Path("params.yaml"))} == theirs


@pytest.mark.parametrize("preset", presets(), ids=lambda p: p.stem)
def test_every_preset_fills_in_the_whole_graph(preset):
    nodes = read_graph(preset, ROOT / "dvc.yaml")
    params = yaml.safe_load(preset.read_text())
    grown = {f"superres@{key}" for key in params["superres"]}
    always = {"score", "filter", "train_base", "text_encoder", "evaluate", "publish"}
    assert always | grown <= {n.name for n in nodes}
    assert not [n.command for n in nodes if "${" in n.command]


def test_a_stage_is_stale_when_what_it_read_was_written_anew(tmp_path):
    """The lock of the default, in which `filter` has ended with other data since."""
    nodes = read_graph(ROOT / "params.yaml", ROOT / "dvc.yaml")
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text())
    path = tmp_path / "dvc.lock"

    def stale() -> list[str]:
        path.write_text(yaml.safe_dump(lock))
        return sorted(stale_stages(nodes, path))

    assert stale_stages(nodes, tmp_path / "none.lock") == [] == stale()
    behind = ["evaluate", "publish", "superres@64", "text_encoder", "train_base", "tune"]
    for out in lock["stages"]["filter"]["outs"]:
        out["md5"] = "0" * 32
    assert stale() == behind
    # Its training came to an end on the new data; what is behind it waits still.
    for name in ("tune", "train_base"):
        for read in lock["stages"][name]["deps"]:
            if read["path"] == "data/train":
                read["md5"] = "0" * 32
    assert stale() == [name for name in behind if name not in ("tune", "train_base")]
    # A stage that never ran has nothing that could be of another time.
    del lock["stages"]["publish"]
    assert "publish" not in stale() and "evaluate" in stale()
