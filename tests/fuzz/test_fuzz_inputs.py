"""Seeded mutants of what comes from outside: tars, pictures, requests."""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import tarfile
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.data.config import SourceConfig
from components.data.decode import Decoded, decode
from components.data.reasons import Reason
from components.data.tar_samples import read_tar
from pipeline.serving.models import Models
from pipeline.serving.web import web_app
from tests.fuzz.mutations import VALUES, count, files, objects
from tests.fuzz.test_fuzz import quickly, refused

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(1800)]
BUNDLED = Path(__file__).parents[2] / "bundled" / "release"
PATHS = ("images", "mix", "walk")
REQUESTS: dict[str, dict[str, Any]] = {
    "images": {"prompt": "a red ring", "seed": 3, "n": 2, "truncation": 0.7, "noise": "none"},
    "mix": {"prompt": "a red ring", "seed": 3, "style_seeds": [4], "layers": [0, 1]},
    "walk": {"prompts": ["a red ring", "a blue disc"], "seeds": [1, 2], "frames": 3, "fps": 5},
}


def picture(kind: str, seed: int, **options: Any) -> bytes:
    rng, file = np.random.default_rng(seed), io.BytesIO()
    waves = np.add.outer(np.arange(40), np.arange(36))[..., None] * rng.integers(1, 5, 3)
    Image.fromarray((waves % 256).astype(np.uint8)).save(file, format=kind, **options)
    return file.getvalue()


@pytest.mark.row("B24")
@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("WEBP", {}), ("GIF", {})],
)
def test_pictures(kind: str, options: dict[str, Any]) -> None:
    ends: Counter[str] = Counter()
    for number, data in files(picture(kind, 1, **options), 10_000 // 5):
        with quickly(f"mutant {number}"):
            found = decode(data, max_pixels=2**20)
        assert isinstance(found, Decoded | Reason)
        if isinstance(found, Decoded):
            assert found.pixels_HWC.shape[2] == 3 and found.width * found.height <= 2**20
        ends["read" if isinstance(found, Decoded) else found.value] += 1
    assert len(ends) > 1 and sum(ends.values()) == count(10_000 // 5), ends


def shard() -> bytes:
    """Return a tar of three samples, with names of every kind of header."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for key in ("a", "long/" + "b" * 140, "\u00fc"):
            parts = {"png": picture("PNG", 2), "txt": b"a red ring", "json": b'{"group": "g"}'}
            for ending, content in parts.items():
                member = tarfile.TarInfo(f"{key}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


@pytest.mark.row("B14", "B15")
def test_tars(tmp_path: Path) -> None:
    config, ends = SourceConfig(kind="webdataset", path=str(tmp_path)), Counter()
    path = tmp_path / "x.tar"
    path.write_bytes(shard())
    assert [record.reason for record in read_tar(tmp_path, "x.tar", config)] == [""] * 3
    before = set(os.listdir("/tmp")) | set(os.listdir(tmp_path))
    for number, data in files(shard(), 2_000):
        path.write_bytes(_headers(data, random.Random(-number)))
        tracemalloc.start()
        with quickly(f"mutant {number}"):
            records = list(read_tar(tmp_path, "x.tar", config))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert records and peak < 32 * 2**20, number  # a sample, or a reason: nothing in silence
        for record in records:
            assert record.reason == "" or record.reason in set(Reason), number
            ends["kept" if record.reason == "" else record.reason] += 1
    assert len(ends) > 3, ends
    assert set(os.listdir(tmp_path)) <= before  # nothing is unpacked


def _headers(data: bytes, rng: random.Random) -> bytes:
    """Change a field of a header and mend its sum, in half of the mutants: others break the sum."""
    if rng.random() < 0.5 or len(data) < 512:
        return data
    content = bytearray(data)
    at = rng.randrange(len(content) // 512) * 512
    block = content[at : at + 512]
    if len(block) == 512 and block[257:262] == b"ustar":
        start, width = rng.choice(((124, 12), (156, 1), (100, 8), (0, 100), (157, 100)))
        block[start : start + width] = rng.choice((b"7", b"\xff", b"\x80", b"0", b"5")) * width
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        content[at : at + 512] = block
    return bytes(content)


async def ask(app: Any, path: str, body: bytes) -> tuple[int, bytes]:
    """Send one request to an ASGI application, as a server does."""
    sent: list[dict[str, Any]] = []
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode()}
    scope |= {"headers": [], "query_string": b"", "scheme": "http", "http_version": "1.1"}
    scope |= {"server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2), "root_path": ""}
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return left.pop() if left else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], b"".join(part.get("body", b"") for part in sent[1:])


@pytest.mark.row("F1", "G20")
@pytest.mark.parametrize("name", PATHS)
def test_requests(name: str) -> None:
    models = Models({"bundled": ("bundled model", lambda: BUNDLED)})
    app, ends = web_app(models, timeout_s=60.0), Counter()
    path, content = f"/v1/{name}", json.dumps(REQUESTS[name]).encode()
    half = 2_000 // (2 * len(PATHS)) + 1
    values = [json.dumps(mutant).encode() for _, mutant in objects(REQUESTS[name], half)]
    bodies = values + [data for _, data in files(content, half)]
    bodies += [json.dumps({key: value}).encode() for key in REQUESTS[name] for value in VALUES]
    try:
        assert asyncio.run(ask(app, path, content))[0] == 200  # and torch is warm
        for number, body in enumerate(bodies):
            with quickly(f"mutant {number}: {body[:200]!r}"):
                status, answer = asyncio.run(ask(app, path, body))
            assert status in (200, 400), (number, body[:200], answer[:200])
            if status == 400:
                said = json.loads(answer)
                assert isinstance(said["where"], str) and refused(ValueError(said["error"])), (
                    number,
                    answer,
                )
            ends[status] += 1
    finally:
        models.close()
    assert ends[400] > len(bodies) / 10 and ends[200], ends
