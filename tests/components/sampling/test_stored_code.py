"""A stored code draws the image it came from; files that are none are one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from components.errors import ConfigError, StorageError
from components.sampling import (
    StoredCode,
    check_codes,
    draw_codes,
    generate,
    read_code,
    walk_codes,
    write_code,
)
from components.sampling.draw import codes, conditions


def stored(model, prompt: str, seed: int) -> StoredCode:
    """Return the code that `generate` would draw."""
    ws_LD = codes(model.generator, conditions(model, [prompt]), [seed], [1.0])[0]
    return StoredCode(ws_LD=ws_LD, subject=prompt, generator_sha256="ab" * 32, facts={"steps": 3})


def test_a_code_comes_back_and_draws_its_image(model, tmp_path) -> None:
    code = stored(model, "a", 1)
    for name in ("one", "two"):
        write_code(tmp_path / name, code)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    back = read_code(tmp_path / "one")
    assert torch.equal(back.ws_LD, code.ws_LD)
    assert (back.subject, back.facts) == ("a", {"steps": 3})
    assert np.abs(draw_codes(model, [back])[0].astype(int) - generate(model, ["a"], [1])).max() <= 1


def test_codes_are_truncated_as_seeds_are(model) -> None:
    pair = [stored(model, "a", 1), stored(model, "bb", 2)]
    for psi in (0.0, 0.5, -1.0):
        expected = generate(model, ["a", "bb"], [1, 2], psi)
        assert np.abs(draw_codes(model, pair, psi, batch=1).astype(int) - expected).max() <= 1
    assert not np.array_equal(draw_codes(model, pair, noise="none"), draw_codes(model, pair))


def test_a_walk_meets_its_codes_and_closes(model) -> None:
    pair = [stored(model, "a", 1), stored(model, "bb", 2)]
    frames = np.concatenate(list(walk_codes(model, pair, 5, batch=2))).astype(int)
    assert np.abs(frames[[0, 4]] - draw_codes(model, pair)).max() <= 1
    middle = (pair[0].ws_LD + pair[1].ws_LD) / 2
    between = StoredCode(ws_LD=middle, subject="bb", generator_sha256="")
    assert np.abs(frames[2] - draw_codes(model, [between])[0]).max() <= 1
    loop = np.concatenate(list(walk_codes(model, pair, 4, loop=True))).astype(int)
    assert np.abs(loop[3] - loop[1]).max() <= 1
    with pytest.raises(ConfigError, match="nothing to walk between"):
        list(walk_codes(model, pair[:1], 4))


def test_the_code_of_another_model_is_refused(model) -> None:
    code = stored(model, "a", 1)
    check_codes([code], ["cd" * 32, "ab" * 32])
    with pytest.raises(ConfigError, match="of weights abababababab, the model has cdcd"):
        check_codes([code], ["cd" * 32])
    short = StoredCode(ws_LD=code.ws_LD[1:], subject="a", generator_sha256="")
    with pytest.raises(ConfigError, match="the code has the shape"):
        draw_codes(model, [short])


def test_files_that_hold_no_code_are_one_line(model, tmp_path) -> None:
    record = {"subject": "a", "generator_sha256": "", "facts": {}}
    good = {"ganline_code": json.dumps(record)}
    ws = torch.zeros(2, 3)
    save_file({"ws": ws}, tmp_path / "plain")
    save_file({"ws": ws}, tmp_path / "words", {"ganline_code": "no json"})
    save_file({"ws": ws}, tmp_path / "list", {"ganline_code": "[1]"})
    save_file({"w": ws}, tmp_path / "name", good)
    save_file({"ws": ws * float("nan")}, tmp_path / "nan", good)
    save_file({"ws": ws[0]}, tmp_path / "flat", good)
    (tmp_path / "text").write_text("no tensors")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for path in (*tmp_path.iterdir(), tmp_path / "absent"):
        with pytest.raises(StorageError) as caught:
            read_code(path)
        assert path.name in str(caught.value)
        assert "\n" not in str(caught.value)
