"""The page of the report: one file, no server, no other address; right on a phone and on paper."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
:root{color-scheme:light dark;--text:#1d2330;--back:#fff;--soft:#f1f3f8;--line:#8a93a6;
--note:#50586a}
@media(prefers-color-scheme:dark){:root{--text:#e6e9f2;--back:#14171e;--soft:#1f2430;
--note:#b3bbcc}}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;padding:1rem;max-width:90rem;
color:var(--text);background:var(--back);overflow-wrap:anywhere}
h1{font-size:1.6rem;margin:.2rem 0}h2{margin-top:2.5rem;border-bottom:1px solid var(--line)}
.first{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:1.5rem}
.wide{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));gap:1.5rem}
@media(max-width:60rem){.first{grid-template-columns:minmax(0,1fr)}}
.numbers{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.8rem;margin:0}
.numbers div{background:var(--soft);border-radius:.4rem;padding:.6rem}
.numbers dt{font-size:.9rem}.numbers dd{margin:0;font-size:1.5rem}
.numbers small,figcaption,.note{color:var(--note);font-size:.85rem}
img,svg{max-width:100%;height:auto}figure{margin:0}
img{image-rendering:pixelated;border:1px solid var(--line)}
table{border-collapse:collapse}
td,th{padding:.15rem .6rem .15rem 0;text-align:left;vertical-align:top;font-weight:normal}
td{font-variant-numeric:tabular-nums}
pre{background:var(--soft);padding:.6rem;white-space:pre-wrap;font-size:.85rem}
input[type=range]{width:100%}summary{cursor:pointer}
@media print{details>*{display:block}figure,.numbers div{break-inside:avoid}input{display:none}}
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p class="note">{{ whose }}</p>
<div{% if sheet %} class="first"{% endif %}>
<div>
{% for line in verdict %}<p>{{ line }}</p>
{% endfor %}
<dl class="numbers">
{% for number in numbers %}<div><dt>{{ number.name }}</dt><dd>{{ number.value }}</dd>
<small>{{ number.meaning }}</small></div>
{% endfor %}
</dl>
</div>
{% if sheet %}{{ picture(sheet) }}{% endif %}
</div>
{% for section in sections %}
<h2 id="{{ section.name }}">{{ section.name }}</h2>
{% if section.desc %}<p>{{ section.desc }}</p>{% endif %}
{% for note in section.notes %}<p>{{ note }}</p>
{% endfor %}
<div class="wide">
{% for chart in section.charts %}<figure>{{ chart | safe }}</figure>
{% endfor %}
{% for one in section.pictures %}{{ picture(one) }}
{% endfor %}
{% if section.steps %}<div data-frames>
<input type="range" min="0" max="{{ section.steps | length - 1 }}"
 value="{{ section.steps | length - 1 }}" aria-label="step of {{ section.name }}">
{% for one in section.steps %}{{ picture(one) }}
{% endfor %}</div>{% endif %}
</div>
{% if section.table %}<details{% if section.open %} open{% endif %}><summary>numbers</summary>
<table>{% for name, value in section.table.items() %}<tr><th scope="row">{{ name }}</th>
<td>{{ value }}</td></tr>
{% endfor %}</table></details>{% endif %}
{% if section.rows is defined and section.rows %}<table><tr><th></th><th scope="col">A</th>
<th scope="col">B</th><th scope="col">B - A</th></tr>
{% for row in section.rows %}<tr><th scope="row">{{ row[0] }}</th>
{% for cell in row[1:] %}<td>{{ cell }}</td>
{% endfor %}</tr>
{% endfor %}</table>{% endif %}
{% for fold in section.folds %}<details><summary>{{ fold.title }}</summary>
<pre>{{ fold.text }}</pre></details>
{% endfor %}
{% endfor %}
<script>
for (const box of document.querySelectorAll("[data-frames]")) {
  const frames = box.querySelectorAll("figure"), input = box.querySelector("input");
  const show = () => frames.forEach((f, i) => { f.hidden = i !== Number(input.value); });
  input.addEventListener("input", show);
  show();
}
</script>
</body>
</html>
"""
PICTURE = """{% macro picture(one) %}<figure>
{% if one.data %}<img src="{{ one.data }}" alt="{{ one.caption }}">{% endif %}
<figcaption>{{ one.caption }}{% if not one.data %}: too large for this page{% endif %}</figcaption>
</figure>{% endmacro %}"""


def render_page(content: Mapping[str, Any]) -> str:
    """Return the document; every text that is put in is escaped, except the charts' SVG."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(PICTURE + TEMPLATE).render(content)


def write_page(path: Path, page: str) -> None:
    """Write a page in one step, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(page, encoding="utf-8")
    os.replace(temporary, path)
