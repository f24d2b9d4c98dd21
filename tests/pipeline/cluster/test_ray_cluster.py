"""ray_cluster.yaml against Ray's own schema and validator, offline."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

REPOSITORY = Path(__file__).parents[3]
FILE = REPOSITORY / "ray_cluster.yaml"


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text())


def validate(config: dict[str, Any]) -> None:
    """Do what `ray up` does before it talks to the cloud."""
    import ray
    from ray.autoscaler._private.util import prepare_config, validate_config

    schema = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    validate_config(prepare_config(copy.deepcopy(config)))


def test_the_file_is_valid(cluster):
    validate(cluster)


def set_in(config: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(config)
    inner = changed
    *parents, last = path.split(".")
    for key in parents:
        inner = inner[key]
    inner[last] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("max_worker", 4),
        ("max_workers", "four"),
        ("provider.region", 3),
        ("head_node_type", "no_such_type"),
        ("available_node_types.gpu.max_worker", 2),
        ("available_node_types.gpu.resources", {"GPU": "all"}),
        ("setup_commands", "pip install torch"),
        ("docker.image_name", "x"),
    ],
)
def test_a_wrong_line_is_refused(cluster, path, value):
    with pytest.raises((jsonschema.ValidationError, ValueError)):
        validate(set_in(cluster, path, value))


def test_image_and_lock_name_the_same_ray(cluster):
    locked = re.search(
        r"^ray(?:\[[^]]*\])?==([\d.]+)", (REPOSITORY / "requirements.lock").read_text(), re.M
    )
    assert locked and f"ray:{locked[1]}-py311" in cluster["docker"]["image"]


def test_gpu_workers_come_on_demand_and_the_head_has_no_gpu(cluster):
    types = cluster["available_node_types"]
    assert types["gpu"]["min_workers"] == 0 and types["gpu"]["resources"]["GPU"] > 0
    assert "GPU" not in types[cluster["head_node_type"]]["resources"]


def test_the_shared_folder_is_mounted_where_runs_are_written(cluster):
    options = " ".join(cluster["docker"]["run_options"])
    runs = re.search(r"GANLINE_RUNS_DIR=(\S+)", options)[1]
    mount = re.search(r"--volume (\S+):(\S+)", options)
    assert mount[1] == mount[2] and Path(mount[2]) in Path(runs).parents
    assert any(
        "mount -t nfs4" in c and c.endswith(mount[1]) for c in cluster["initialization_commands"]
    )


def test_setup_installs_the_lock_on_every_node(cluster):
    target = next(k for k, v in cluster["file_mounts"].items() if v == ".")
    assert any(f"-r {target}/requirements.lock" in c for c in cluster["setup_commands"])


def test_no_source_folder_is_left_behind(cluster):
    # rsync matches a pattern without a leading slash at any depth.
    folders = {p.name for p in (REPOSITORY / "components").iterdir() if p.is_dir()}
    assert not (folders - {"__pycache__"}) & set(cluster["rsync_exclude"])
