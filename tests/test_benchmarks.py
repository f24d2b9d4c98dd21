"""The benchmark of StyleGAN-T runs every part in every mode; how fast is no business of a test."""

from __future__ import annotations

import json

import pytest

from benchmarks.stylegan_t import main


@pytest.mark.slow
def test_every_part_is_measured_in_every_mode(tmp_path, capsys) -> None:
    out = tmp_path / "speed.json"
    sizes = ["--preset", "tiny", "--resolution", "16", "--rounds", "1", "--guidance", "none"]
    assert main([*sizes, "--checkpoint", "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    assert {"device", "threads", "torch"} <= result["machine"].keys()
    cases = {(row["part"], row["case"]) for row in result["rows"]}
    assert len(cases) == len(result["rows"]) == 2 * 6 + 3 * 5
    assert all(row["seconds"] > 0 and row["ratio"] > 0 for row in result["rows"])
    assert all(row["ratio"] == 1 for row in result["rows"] if row["case"] == "textbook fp32")
    assert "discriminator step" in capsys.readouterr().out
