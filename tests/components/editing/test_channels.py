"""The sweep of a small generator's channels, and edits by them."""

import pytest
import torch

from components.editing import (
    ChannelSweep,
    SweepConfig,
    channels_of,
    edit_by_channels,
    read_channels,
    write_channels,
)
from components.editing.channels import check_channels
from components.errors import ConfigError
from models.interfaces import Condition


@pytest.fixture(scope="module")
def swept(generator, clip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    sweep = ChannelSweep(generator, Condition(), clip, SweepConfig(codes=50, images=3, batch=4))
    return sweep, sweep.run(folder, chunk=16), folder


def test_a_sweep_is_continued_and_is_the_same(swept, generator, clip, tmp_path):
    sweep, rows, folder = swept
    assert len(sweep) == sum(x.channels for x in generator.style_layers() if x.kind == "conv")
    assert torch.allclose(rows.norm(dim=1), torch.ones(len(sweep)), atol=1e-5)
    last = sorted(folder.iterdir())[-1]
    told = []
    last.unlink()
    assert torch.equal(sweep.run(folder, chunk=16, report=lambda *x: told.append(x)), rows)
    assert told[-1] == (len(sweep), len(sweep))
    other = ChannelSweep(generator, Condition(), clip, SweepConfig(codes=50, images=3, batch=64))
    assert torch.allclose(other.rows([3]), rows[3:4], atol=1e-5)


def test_chunks_made_elsewhere_in_any_order_are_the_same_sweep(swept, tmp_path):
    sweep, rows, _ = swept
    asked = []

    def elsewhere(chunks):
        asked.extend(chunks)
        for number in reversed(range(len(chunks))):
            row = {"direction": sweep.rows(chunks[number]["channels"]).numpy()}
            yield number, [row]

    told = []
    found = sweep.run(tmp_path, chunk=16, report=lambda *x: told.append(x), map_chunks=elsewhere)
    assert torch.equal(found, rows) and told[-1] == (len(sweep), len(sweep))
    listed = [channel for chunk in asked for channel in chunk["channels"]]
    assert listed == list(range(len(sweep)))
    sorted(tmp_path.iterdir())[1].unlink()
    assert torch.equal(sweep.run(tmp_path, chunk=16, map_chunks=elsewhere), rows)
    assert asked[-1]["channels"] == list(range(16, min(32, len(sweep))))


def test_directions_move_the_chosen_channels_alone(swept, generator, clip, ws, tmp_path):
    sweep, rows, _ = swept
    channels = sweep.channels(rows, "g" * 64, "c" * 64)
    write_channels(tmp_path / "c.safetensors", channels)
    again = read_channels(tmp_path / "c.safetensors")
    assert again.widths == channels.widths and torch.equal(again.direction_CE, rows)
    check_channels(again, generator, ["g" * 64])
    with pytest.raises(ConfigError, match="give the model that was swept"):
        check_channels(again, generator, ["h" * 64])
    direction = clip.direction("a cat", "a green dog")
    edit, selection = edit_by_channels(generator, ws, again, direction, top=4)
    moved = sum(int((x != 0).sum()) for x in edit.change.values())
    assert moved == selection.count == 4
    with pytest.raises(ConfigError, match="selects no channel") as error:
        edit_by_channels(generator, ws, again, direction, beta=0.999)
    assert "would select" in error.value.todo
    found = channels_of(again, direction, 3)
    sizes = [abs(x.relevance) for x in found]
    assert sizes == sorted(sizes, reverse=True)
    single = found[0].edit(generator, ws)
    assert sum(int((x != 0).sum()) for x in single.change.values()) == 1
