"""`source` as a list: the stages read all of them, and say of each row where it came from."""

import json
import re

import pyarrow.parquet as pq
import pytest
import yaml

from components.errors import ConfigError
from pipeline.params.sections import ParamsError, load_params
from pipeline.stages import source as source_stage
from tests.components.data.makers import encoded, picture, write_plain_tar
from tests.pipeline.stages.test_own_data import run, world, write_params, write_pictures

__all__ = ["world"]


def write_both(folder, **second):
    """Write class folders and a tar with the same keys and classes; return the params file."""
    write_pictures(folder / "folders", 40)
    members = []
    for i in range(12):
        name = "cat" if i % 2 else "dog"
        members += [(f"{name}/{i:03d}.png", encoded(picture(24, seed=900 + i)))]
        members += [(f"{name}/{i:03d}.cls", name.encode())]
    write_plain_tar(folder / "tars/a.tar", members)
    path = write_params(folder, folder / "folders")
    values = yaml.safe_load(path.read_text())
    first = values["source"] | {"weight": 2.0}
    values["source"] = [first, first | {"path": str(folder / "tars"), "weight": 1.0} | second]
    path.write_text(yaml.safe_dump(values))
    return path


def test_ledger_shards_manifest_and_report_tell_the_source(world, capsys):
    write_both(world)
    assert run(world, "score") == 0 and run(world, "filter") == 0
    assert "source.kind: webdataset" in capsys.readouterr().err
    report = json.loads((world / "out/filter.json").read_text())
    counts = report["sources"]
    assert {name: one["in"] for name, one in counts.items()} == {"folders": 40, "tars": 12}
    assert report["rejected"] == {"filter.weight": 16} == counts["folders"]["rejected"]
    assert counts["folders"]["kept"] + counts["folders"]["heldout"] == 24
    ledger = pq.read_table(world / "out/decisions.parquet").to_pylist()
    assert all(row["key"].startswith(f"{row['source']}/") for row in ledger) and len(ledger) == 52
    manifest = json.loads((world / "out/filter/manifest.json").read_text())
    assert manifest["label_names"] == ["cat", "dog"]
    for split in ("train", "heldout"):
        shards = [shard["file"] for shard in manifest["splits"][split]["shards"]]
        rows = [
            r for file in shards for r in pq.read_table(world / "out/filter" / file).to_pylist()
        ]
        found = {name: sum(row["source"] == name for row in rows) for name in counts}
        assert found == {name: one[split] for name, one in manifest["sources"].items()}
        assert len({row["key"] for row in rows}) == len(rows)


def test_a_list_of_one_gives_the_same_files_as_the_source_itself(world):
    write_pictures(world / "folders", 20)
    path = write_params(world, world / "folders")
    files = []
    for out in ("alone", "list"):
        assert run(world, "score", out) == 0 and run(world, "filter", out) == 0
        made = sorted((world / out).rglob("*.*"))
        files.append({str(f.relative_to(world / out)): f.read_bytes() for f in made if f.is_file()})
        values = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump(values | {"source": [values["source"]]}))
    assert files[0] == files[1] and len(files[0]) > 6


def test_a_change_in_any_source_is_seen(world):
    path = write_both(world)
    (world / "held").mkdir()
    write_pictures(world / "held", 4)

    def look():
        assert source_stage.main(["--out", str(world / "s.json"), "--params", str(path)]) == 0
        return (world / "s.json").read_text()

    first = look()
    assert look() == first and [s["name"] for s in json.loads(first)["source"]] == [
        "folders",
        "tars",
    ]
    write_plain_tar(world / "tars/b.tar", [("x.png", encoded(picture(24, seed=1)))])
    second = look()
    assert second != first
    values = yaml.safe_load(path.read_text())
    values["source"][1]["heldout_path"] = str(world / "held")
    path.write_text(yaml.safe_dump(values))
    assert json.loads(look())["heldout"][0]["files"] == 4


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"condition": "none"}, "source.1.condition: .* as the first source"),
        ({"weight": 0.0}, "source.1.weight: got 0; allowed: above 0"),
        ({"name": "folders"}, "source.1.name: two sources called folders"),
        ({"name": "a:b"}, "source.1.name: .* allowed: letters"),
        ({"path": "ftp://x/y"}, "source.1.path: .* allowed: file://"),
        ({"kinds": "auto"}, "source.1.kinds: unknown key; did you mean kind"),
    ],
)
def test_what_does_not_fit_together_is_said_before_anything_runs(world, second, message):
    path = write_both(world, **second)
    with pytest.raises(ParamsError) as found:
        load_params(path)
    assert any(re.search(message, line) for line in found.value.lines), found.value.lines


def test_one_of_a_list_is_set_by_its_number(world):
    path = write_both(world)
    params = load_params(path, ["source.1.weight=4.0"])
    assert [source.weight for source in params.sources] == [2.0, 4.0]
    with pytest.raises(ConfigError, match="a list of 2"):
        load_params(path, ["source.2.weight=4.0"])
    assert len(load_params(path, ["source.0.kind=auto"]).sources) == 2
