"""Our modules against numbers that the authors' own code computed."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from models.interop.parity import TOLERANCE, check, main, max_relative_error
from tests.house_source import ROOT, files

FOLDER = "tests/fixtures/parity/"
FILES = [ROOT / f for f in files() if f.startswith(FOLDER) and f.endswith(".safetensors")]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_fixture_agrees(path):
    result = check(path)
    assert result.ok, result.error
    assert result.max_relative_error <= TOLERANCE / 10  # 2e-6 measured: a slow drift should show


def changed(path, folder, change):
    """Write a copy of a fixture after `change(tensors, config)`."""
    with safe_open(str(path), "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        config = json.loads(file.metadata()["config"])
    change(tensors, config)
    copy = folder / path.name
    save_file(tensors, copy, metadata={"config": json.dumps(config)})
    return copy


def small(name):
    return next(path for path in FILES if path.stem == name)


def test_a_wrong_number_fails_and_sets_the_exit_code(tmp_path, capsys):
    def spoil(tensors, config):
        tensors["out/w_psi0.7"] += 1e-3

    bad = changed(small("stylegan_t_mapping"), tmp_path, spoil)
    assert main([str(small("stylegan_t_mapping"))]) == 0
    assert main([str(small("stylegan_t_mapping")), str(bad)]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["ok"] for line in lines] == [True, True, False]
    assert set(lines[0]) >= {"file", "module", "max_relative_error", "ok"}
    assert lines[2]["max_relative_error"] > TOLERANCE


def test_a_wrong_layer_table_fails(tmp_path):
    def spoil(tensors, config):
        tensors["spec/cutoffs"][3] *= 1 + 1e-5

    path = small("stylegan3_synthesis")
    assert check(path).max_spec_error < 1e-12
    bad = check(changed(path, tmp_path, spoil))
    assert not bad.ok
    assert bad.max_relative_error <= TOLERANCE
    assert bad.max_spec_error == pytest.approx(1e-5, rel=0.01)


def test_a_gradient_counts_as_much_as_an_output(tmp_path):
    def spoil(tensors, config):
        tensors["out/grad_none/b8.convs1.1.weight"][0] += 1e-3

    assert not check(changed(small("stylegan_t_synthesis"), tmp_path, spoil)).ok


@pytest.mark.parametrize("fault", ["unknown", "missing", "misshapen"])
def test_names_that_do_not_fit_are_listed(tmp_path, fault):
    def spoil(tensors, config):
        weight = tensors.pop("param/mlp.fc1.weight")
        if fault == "unknown":
            tensors["param/mlp.fc1.wait"] = weight
        elif fault == "misshapen":
            tensors["param/mlp.fc1.weight"] = weight[:5].clone()

    result = check(changed(small("stylegan_t_mapping"), tmp_path, spoil))
    assert not result.ok
    expected = {"unknown": "mlp.fc1.wait", "missing": "layers.1.weight", "misshapen": "[5, 32]"}
    assert expected[fault] in result.error


def test_foreign_files_are_a_result_not_a_crash(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "stylegan_t_mapping.safetensors")
    assert "none of the groups" in check(tmp_path / "stylegan_t_mapping.safetensors").error
    assert "no module for 'nothing'" in check(tmp_path / "nothing.safetensors").error
    assert not check(tmp_path / "stylegan_t_losses_gone.safetensors").ok


def test_not_a_number_never_passes():
    nan = {"x": torch.tensor([float("nan"), 0.0])}
    assert max_relative_error(nan, {"x": torch.zeros(2)}) == float("inf")
    with pytest.raises(ValueError, match="'y'"):
        max_relative_error({"x": torch.zeros(1)}, {"x": torch.zeros(1), "y": torch.zeros(1)})
