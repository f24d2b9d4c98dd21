"""Pieces of the report page: escaped text, tables, bars, curves and pictures without any server.

Everything is inline (styles, pictures as data, a few lines of script), so the page can be mailed.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, MARGIN = 320, 150, 34
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2rem auto;padding:0 1rem;
color:#1d2330;background:#fff}
h1{font-size:1.6rem}h2{margin-top:2.4rem;border-bottom:1px solid #ccd}h3{margin-bottom:.3rem}
table{border-collapse:collapse;margin:.5rem 0}td,th{padding:.15rem .8rem .15rem 0;text-align:left;
vertical-align:top}td.n{text-align:right;font-variant-numeric:tabular-nums}
pre{background:#f3f4f8;padding:.6rem;overflow:auto;font-size:13px}img{max-width:100%;
image-rendering:pixelated;border:1px solid #ccd}figure{margin:.6rem 0}figcaption{color:#556}
.row{display:flex;flex-wrap:wrap;gap:1rem}.bar{fill:#4a6fd0}.line{fill:none;stroke:#4a6fd0;
stroke-width:1.5}svg text{font-size:11px;fill:#556}summary{cursor:pointer}
@media(prefers-color-scheme:dark){body{background:#15181f;color:#dde}pre{background:#20242e}
figcaption,svg text{color:#99a;fill:#99a}}
"""
# One range input per series of pictures; arrow keys work because it is a plain input.
SCRIPT = """
for (const box of document.querySelectorAll('[data-frames]')) {
  const frames = box.querySelectorAll('figure'), input = box.querySelector('input');
  const show = () => frames.forEach((f, i) => { f.hidden = i !== Number(input.value); });
  input.addEventListener('input', show);
  show();
}
"""


def page(title: str, sections: Sequence[str]) -> str:
    """Return the whole document; `sections` are HTML already."""
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n" + "\n".join(sections) + f"\n<script>{SCRIPT}</script>"
        "\n</body>\n</html>\n"
    )


def heading(text: str, level: int = 2) -> str:
    """Return a heading."""
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return f"<p>{escape(text)}</p>"


def preformatted(text: str, title: str = "") -> str:
    """Return text as it stands; with a title it is folded."""
    block = f"<pre>{escape(text)}</pre>"
    return f"<details><summary>{escape(title)}</summary>{block}</details>" if title else block


def table(values: Mapping[str, Any]) -> str:
    """Return names and values in two columns; nested mappings get dotted names."""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td class=n>{escape(number(value))}</td></tr>"
        for name, value in flatten(values).items()
    )
    return f"<table>{rows}</table>"


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, names joined by dots."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def number(value: Any) -> str:
    """Return a value short enough for a table."""
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e5 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def bars(counts: Mapping[str, float], title: str) -> str:
    """Return horizontal bars, the longest first."""
    rows = sorted(counts.items(), key=lambda row: -row[1])
    most = max([count for _, count in rows], default=0) or 1
    height, lines = 20 * len(rows) + 6, []
    for index, (name, count) in enumerate(rows):
        y, length = 20 * index + 4, 360 * count / most
        lines.append(f'<text x="170" y="{y + 11}" text-anchor="end">{escape(name)}</text>')
        lines.append(f'<rect class="bar" x="178" y="{y}" width="{length:.1f}" height="14"/>')
        lines.append(f'<text x="{184 + length:.1f}" y="{y + 11}">{escape(number(count))}</text>')
    return _svg(640, height, title, lines)


def curve(x: Sequence[float], y: Sequence[float], title: str) -> str:
    """Return one line chart; points that are not finite leave a gap."""
    points = [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    if not points:
        return ""
    left, right = min(a for a, _ in points), max(a for a, _ in points)
    low, high = min(b for _, b in points), max(b for _, b in points)
    wide, tall = WIDTH - MARGIN - 8, HEIGHT - MARGIN - 14

    def place(a: float, b: float) -> str:
        across = (a - left) / (right - left) if right > left else 0.5
        up = (b - low) / (high - low) if high > low else 0.5
        return f"{MARGIN + wide * across:.1f},{14 + tall * (1 - up):.1f}"

    coordinates = " ".join(place(a, b) for a, b in points)
    lines = [f'<polyline class="line" points="{coordinates}"/>']
    if len(points) == 1:
        cx, cy = coordinates.split(",")
        lines = [f'<circle class="bar" cx="{cx}" cy="{cy}" r="3"/>']
    lines += [
        f'<text x="2" y="20">{high:.3g}</text>',
        f'<text x="2" y="{14 + tall}">{low:.3g}</text>',
        f'<text x="{MARGIN}" y="{HEIGHT - 4}">{left:.4g}</text>',
        f'<text x="{WIDTH - 8}" y="{HEIGHT - 4}" text-anchor="end">{right:.4g}</text>',
    ]
    chart = _svg(WIDTH, HEIGHT, title, lines)
    return f"<figure>{chart}<figcaption>{escape(title)}</figcaption></figure>"


def picture(path: Path, caption: str) -> str:
    """Return a picture with its data inside the page."""
    kind = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}[path.suffix.lower()]
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return (
        f'<figure><img src="data:image/{kind};base64,{data}" alt="{escape(caption, quote=True)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def slider(pictures: Sequence[tuple[str, Path]]) -> str:
    """Return pictures of one series behind a slider, the last one shown first."""
    last = len(pictures) - 1
    frames = "".join(picture(path, caption) for caption, path in pictures)
    control = f'<input type="range" min="0" max="{last}" value="{last}" aria-label="step">'
    return f"<div data-frames>{control}{frames}</div>"


def _svg(width: int, height: int, title: str, lines: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
        f"<title>{escape(title)}</title>{''.join(lines)}</svg>"
    )
