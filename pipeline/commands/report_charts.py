"""Charts of the report as SVG for the page itself: drawn by matplotlib, read aloud by their title.

Text stays text, colours follow the page, and nothing refers to another address.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

Series = Mapping[str, Sequence[tuple[float, float]]]
TEXT = "#123456"  # stands for the page's own colour of text


def curves(series: Series, x: str, title: str, dashed: str = "\0") -> str:
    """Return one chart of some series against one axis; "" when there is nothing to draw.

    Args:
        series: name -> points; what is not finite leaves a gap.
        x: name of the axis.
        title: what the chart shows, for people who cannot see it.
        dashed: series whose names begin so have a dashed line.
    """
    kept = {name: points for name, points in series.items() if points}
    if not kept:
        return ""
    figure, axes = _figure(6.4, 3.4)
    for name, points in kept.items():
        marker = "o" if len(points) == 1 else None
        style: dict[str, Any] = {"linestyle": "--" if name.startswith(dashed) else "-"}
        style |= {"label": name, "linewidth": 1.4, "marker": marker}
        axes.plot(*zip(*points, strict=True), **style)
    axes.set_xlabel(x)
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="best")
    return _svg(figure, title)


def bars(counts: Mapping[str, float], title: str, unit: str) -> str:
    """Return horizontal bars, the longest first, each with its number; "" without any."""
    rows = sorted(counts.items(), key=lambda row: row[1])
    if not rows:
        return ""
    figure, axes = _figure(6.4, 0.9 + 0.28 * len(rows))
    drawn = axes.barh([name for name, _ in rows], [count for _, count in rows])
    axes.bar_label(drawn, [f"{count:,g}" for _, count in rows], padding=3, fontsize=8)
    axes.margins(x=0.12)
    axes.set_xlabel(unit)
    axes.set_title(title, fontsize=10)
    return _svg(figure, title)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    figure.patch.set_alpha(0.0)
    axes = figure.subplots()
    axes.patch.set_alpha(0.0)
    axes.tick_params(colors=TEXT, labelsize=8)
    for part in (axes.xaxis.label, axes.yaxis.label, axes.title):
        part.set_color(TEXT)
    for spine in axes.spines.values():
        spine.set_color(TEXT)
    return figure, axes


def _svg(figure: Any, title: str) -> str:
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)  # HTML knows them
    svg = svg.replace(TEXT, "currentColor").replace("#000000", "currentColor")
    # Two charts of a page must not share the names of their parts.
    mark = f"{abs(hash_of(title)):x}"
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{mark}-\1"', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{mark}-", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(title, quote=True)}"', 1)


def hash_of(text: str) -> int:
    """Return a number that is the same in every process."""
    import zlib

    return zlib.crc32(text.encode())
