"""Animations: frames come back in order and at their pace; the same frames give the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.pictures.animation import SIDE_PX, enlarge, write_animation


def _frames(count: int = 8) -> list[np.ndarray]:
    ramp = np.linspace(40, 215, count).astype(np.uint8)
    frames = np.zeros((count, 64, 64, 3), np.uint8)
    frames[..., 0], frames[..., 1] = ramp[:, None, None], 90
    return list(frames)


def _read(path: Path) -> tuple[np.ndarray, float]:
    """Return the frames and the seconds."""
    if path.suffix == ".mp4":
        import av

        with av.open(str(path)) as container:
            frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
            return np.stack(frames), container.duration / av.time_base
    with Image.open(path) as image:
        frames, total_ms = [], 0
        for index in range(image.n_frames):
            image.seek(index)
            frames.append(np.asarray(image.convert("RGB")))
            total_ms += image.info["duration"]
        assert image.info["loop"] == 0, "repeats for ever"
    return np.stack(frames), total_ms / 1000


@pytest.mark.parametrize("name", ["walk.gif", "walk.mp4"])
def test_frames_come_back(tmp_path: Path, name: str) -> None:
    frames = _frames()
    assert write_animation(iter(frames), tmp_path / name, fps=20) == len(frames)
    read, seconds = _read(tmp_path / name)
    assert read.shape == (8, 64, 64, 3)
    assert np.abs(read.astype(int) - np.stack(frames)).max() <= 6
    assert seconds == pytest.approx(0.4, abs=0.06)


@pytest.mark.parametrize("name", ["a.gif", "a.mp4"])
def test_the_same_frames_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    for other in ("one", "two"):
        (tmp_path / other).mkdir()
        write_animation(_frames(), tmp_path / other / name, fps=20)
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_small_frames_grow_by_whole_pixels() -> None:
    frame = np.arange(20 * 20 * 3, dtype=np.uint8).reshape(20, 20, 3)
    big = enlarge(frame)
    factor = big.shape[1] // 20
    assert big.shape[1] >= SIDE_PX
    assert np.array_equal(big[::factor, ::factor], frame)
    assert enlarge(np.zeros((300, 300, 3), np.uint8)).shape == (300, 300, 3)
