"""One click from `make ui`: the guidance weight against score and distance, with pictures."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from pipeline.tracking.config import TrackingConfig
from pipeline.tracking.tracker import open_stage_tracker
from tests.pipeline.params.params_example import valid
from tests.pipeline.serving.browser import CHROMIUM, browser_page
from tests.pipeline.tracking.test_served_model import _free_port

ROOT = Path(__file__).resolve().parents[3]
CONFIG = TrackingConfig(system_every_s=0.0, flush_timeout_s=120.0)


def search(weights: list[float]) -> None:
    """Record a search with a trial per weight, as the tune stage does."""
    above = open_stage_tracker(
        CONFIG, stage="tune", fingerprint="f", config={}, tags={"stage": "tune"}, say=print
    )
    for i, weight in enumerate(weights):
        name, tags = f"clip_weight {weight:g}", {"trial": str(i)}
        trial = above.trial(str(i), name, tags, 1_700_000_000_000)
        trial.log_params({"guidance_weight": weight, "clip_weight": weight})
        scores = {"score": 3 - weight, "frechet": 50 + weight, "alignment": weight / 4}
        trial.log_metrics(scores | {"seed_variety": 1 / (1 + weight)}, step=1600)
        trial.log_image("samples", Image.new("RGB", (64, 64), (60 * i, 80, 160)), step=0)
        trial.close(ended_ms=1_700_000_060_000)
    above.close()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
def test_the_weight_is_one_click_away(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    search([0.5, 1.0, 2.0])
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(valid()))
    command = [sys.executable, "-m", "pipeline.commands.ui", "--port", str(_free_port())]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        lines: list[str] = []
        while not lines or "Ctrl-C" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], "ended before it was up"
        link = next(line.split()[1] for line in lines if line.startswith("ganline-search"))
        shown = asyncio.run(look(link, tmp_path))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.stdout.close()
    assert shown["sections"] == ["Guidance weight", "Pictures"]
    assert shown["scatters"] == 4 and shown["pictures"] == 3
    for words in ("guidance_weight", "score", "frechet", "clip_weight 0.5", "clip_weight 2"):
        assert words in shown["text"]
    assert "workflowType=machine_learning" in shown["address"]  # not the mode of traces and tokens


async def look(link: str, folder: Path) -> dict:
    async with browser_page(folder) as page:
        await page.show(1600, 1400)
        await page.open(link)
        await page.until("document.querySelectorAll('.js-plotly-plot').length >= 4")
        await page.until("[...document.images].filter((i) => /artifact/.test(i.src)).length >= 3")
        text = await page.run("document.body.innerText")
        await page.picture(folder / "mlflow_search.png")
        if pictures := os.environ.get("GANLINE_DOC_PICTURES"):
            await page.picture(Path(pictures) / "mlflow_search.png")
        return {
            "text": text,
            "address": await page.run("location.href"),
            "sections": [name for name in ("Guidance weight", "Pictures") if name in text],
            "scatters": await page.run("document.querySelectorAll('.js-plotly-plot').length"),
            "pictures": await page.run(
                "[...document.images].filter((i) => /artifact/.test(i.src)).length"
            ),
        }
