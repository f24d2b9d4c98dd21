"""The code of docs/python_api.md runs as written, and does what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

PAGE = Path(__file__).parent.parent / "docs/python_api.md"


def test_the_page_runs_from_top_to_bottom(capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 6
    names: dict[str, Any] = {}
    for block in blocks[:-1]:
        exec(block, names)  # the page itself
    assert names["image"].shape == (8, 3, 16, 16)
    assert names["found"].distance < 0.5 * names["found"].mean_distance
    assert names["row"].shape == (3, 16, 16, 3) and (names["row"][0] != names["row"][2]).any()
    assert all(term.shape == (8,) for term in names["losses"].terms.values())
    gradients = [p.grad for p in names["generator"].parameters() if p.grad is not None]
    assert any(bool(g.abs().sum() > 0) for g in gradients)
    before = {n: p.detach().clone() for n, p in names["generator"].named_parameters()}
    exec(blocks[-1], names)
    after = dict(names["generator"].named_parameters())
    assert any(not torch.equal(before[n], after[n]) for n in before)
    assert "generator/adversarial" in capsys.readouterr().out
