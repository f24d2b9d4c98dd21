"""Write animations: a GIF with Pillow, or an MP4 (H.264) with PyAV.

The same frames give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = (".gif", ".mp4")
FPS_RANGE = (1, 60)
SIDE_PX = 256  # smaller frames are enlarged by a whole factor: video players blur small ones
_PALETTE_FRAMES = 16  # as many frames, evenly spread, choose a GIF's 256 colours


def write_animation(frames: Iterable[np.ndarray], path: Path, fps: int) -> int:
    """Write frames to `path`, whose suffix says how; return how many there were.

    Args:
        frames: uint8 [H, W, 3] each, all of one size, sides even for MP4; at least one.
        path: ends in .gif (repeats for ever, 256 colours, all frames in memory) or .mp4 (streamed).
        fps: frames per second. A GIF counts in hundredths of a second: it takes the nearest.
    """
    if path.suffix.lower() == ".gif":
        return _write_gif(list(frames), path, fps)
    return _write_mp4(frames, path, fps)


def enlarge(frame_HWC: np.ndarray) -> np.ndarray:
    """Return a small frame larger, each pixel a sharp square, at least `SIDE_PX` wide."""
    factor = max(1, -(-SIDE_PX // frame_HWC.shape[1]))
    return frame_HWC.repeat(factor, axis=0).repeat(factor, axis=1)


def _write_gif(frames: list[np.ndarray], path: Path, fps: int) -> int:
    import numpy as np
    from PIL import Image

    # One palette for all frames and no dithering: what stands still must not shimmer.
    spread = frames[:: -(-len(frames) // _PALETTE_FRAMES)]
    palette = Image.fromarray(np.concatenate(spread)).quantize(256, Image.Quantize.MEDIANCUT)
    pictures = [
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in frames
    ]
    duration_ms = max(2, round(100 / fps)) * 10
    pictures[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=duration_ms,
        loop=0,
        optimize=False,
    )
    return len(frames)


def _write_mp4(frames: Iterable[np.ndarray], path: Path, fps: int) -> int:
    import av

    count, stream = 0, None
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        for frame in frames:
            if stream is None:
                stream = _stream(container, frame.shape, fps)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            count += 1
        if stream is not None:
            container.mux(stream.encode())
    return count


def _stream(container: Any, shape: tuple[int, ...], fps: int) -> Any:
    height, width, _ = shape
    # One thread: x264 splits a frame by threads, and the bytes would follow the machine.
    options = {"crf": "18", "preset": "medium", "threads": "1"}
    stream = container.add_stream("libx264", rate=fps, options=options)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    return stream
