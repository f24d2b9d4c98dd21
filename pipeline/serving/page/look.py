"""How the page looks and what it says: labels, sentences, colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

STYLE = Path(__file__).with_name("page.css").read_text()
HELP = {
    "draw": "Pictures of one prompt, one seed each, from the seed upwards.",
    "sweep": "The same seed at several truncations: 0 is the mean picture, 1 the full variety.",
    "mix": "The first picture, with the codes of some layers taken from the second.",
    "walk": "A film from the first prompt and seed to the second, and back.",
}
NOISE_NAMES = {"const": "as trained", "random": "from the seed", "none": "none"}
_SAME = "the first prompt again"
FIELD_LOOKS: dict[str, dict[str, Any]] = {
    "prompt": {"label": "Prompt", "placeholder": "what the picture shows", "autofocus": True},
    "label": {"label": "Class", "visible": False},
    "seed": {"label": "Seed", "min_width": 110},
    "psi": {"label": "Truncation psi", "step": 0.05, "min_width": 110},
    "noise": {"label": "Noise", "min_width": 140},
    "number": {"label": "Number"},
    "psis": {"label": "Values of psi"},
    "mix_second": {"label": "Second prompt", "placeholder": _SAME, "min_width": 260},
    "mix_seed": {"label": "Second seed", "min_width": 110},
    "layers": {"label": "Layers of the second", "placeholder": "first half", "min_width": 110},
    "walk_second": {"label": "Second prompt", "placeholder": _SAME, "min_width": 260},
    "walk_seed": {"label": "Second seed", "min_width": 110},
    "frames": {"label": "Frames", "min_width": 110},
}
_FONT = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
# Gradio's own greys and its orange are too pale for text of this size (WCAG AA asks for 4.5).
THEME: dict[str, dict[str, Any]] = {
    "hues": {"primary_hue": "blue", "secondary_hue": "blue", "neutral_hue": "slate", **_FONT},
    "colours": {
        "body_text_color_subdued": "#475569",
        "body_text_color_subdued_dark": "#cbd5e1",
        "block_label_text_color": "#334155",
        "block_label_text_color_dark": "#e2e8f0",
        "block_title_text_color": "#334155",
        "block_title_text_color_dark": "#e2e8f0",
        "input_placeholder_color": "#64748b",
        "input_placeholder_color_dark": "#94a3b8",
        "button_primary_background_fill": "#1d4ed8",
        "button_primary_background_fill_hover": "#1e40af",
        "button_primary_background_fill_dark": "#1d4ed8",
        "button_primary_background_fill_hover_dark": "#2563eb",
        "button_primary_text_color": "white",
        "button_primary_text_color_dark": "white",
        "color_accent": "#1d4ed8",
        "error_text_color": "#a31621",
        "error_text_color_dark": "#ffb4b4",
    },
}
