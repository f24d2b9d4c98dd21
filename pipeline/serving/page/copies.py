"""What is on the screen as a command and as Python, to draw it elsewhere."""

from __future__ import annotations

import shlex

from pipeline.serving.page.asked import Asked


def as_command(asked: Asked) -> str:
    """Return the command of `ganline` that draws it; it names the folder of the model."""
    subject = {"prompt": [asked.subject], "label": ["--label", asked.subject]}.get(asked.takes, [])
    second = [asked.second] if asked.second else []
    sweeps = asked.tab == "sweep"
    more = [f"--psis={','.join(f'{psi:g}' for psi in asked.psis)}" if sweeps else _psi(asked)]
    if asked.noise not in ("", "const"):
        more += ["--noise", asked.noise]
    if asked.model != "release":
        more += ["--model", asked.folder]
    seeds = f"{asked.seed},{asked.second_seed}"
    layers = ["--mix-layers", ",".join(map(str, asked.layers))] if asked.layers else []
    of_mix = ["--rows", str(asked.seed), "--cols", str(asked.second_seed), *layers]
    of_walk = ["--seeds", seeds, "--frames", str(asked.frames), "--loop"]
    words = {
        "draw": ["generate", *subject, "--seed", str(asked.seed), "-n", str(asked.number)],
        "sweep": ["sweep", *subject, "--seed", str(asked.seed)],
        "mix": ["mix", *subject, *second, *of_mix],
        "walk": ["interpolate", *subject, *second, *of_walk],
    }[asked.tab]
    file = {"draw": "drawn.png", "sweep": "sweep.png", "mix": "mix.png", "walk": "walk.mp4"}
    return shlex.join(["ganline", *words, *more, "--out", file[asked.tab]])


def as_python(asked: Asked) -> str:
    """Return lines of Python that draw it."""
    subject = repr(asked.subject) if asked.takes else repr("no prompt")
    second = repr(asked.second) if asked.second else subject
    noise = f", noise={asked.noise!r}" if asked.noise not in ("", "const") else ""
    last = f", truncation={asked.psi:g}{noise})"
    release = "from components.artifacts.release import load_release"
    opened = f"\nmodel, card = load_release({asked.folder!r})"
    if asked.tab == "mix":
        layers = list(asked.layers or range((asked.depth + 1) // 2))
        pair = f"[{subject}], [{asked.seed}], [{second}], [{asked.second_seed}]"
        lines = [release, "from components.sampling import mix", opened]
        lines += [f"images = mix(model, {pair}, {layers}{last}", "# uint8 [1, H, W, 3]"]
        return "\n".join(lines)
    if asked.tab == "walk":
        stops = f"Keyframe(prompt={subject}, seed={asked.seed})"
        stops += f", Keyframe(prompt={second}, seed={asked.second_seed})"
        return "\n".join(
            [
                "from pathlib import Path\n",
                release,
                "from components.pictures.animation import enlarge, write_animation",
                "from components.sampling import Keyframe, walk",
                opened,
                f"stops = [{stops}]",
                f"batches = walk(model, stops, {asked.frames}, loop=True{last}",
                "frames = (enlarge(image) for images in batches for image in images)",
                'write_animation(frames, Path("walk.mp4"), 20)',
            ]
        )
    psis = list(asked.psis) if asked.tab == "sweep" else [asked.psi] * asked.number
    step = 0 if asked.tab == "sweep" else 1
    seeds = [asked.seed + step * index for index in range(len(psis))]
    values = f"[{', '.join(f'{psi:g}' for psi in psis)}]"
    rest = f"seeds={seeds}, truncation={values}{noise})"
    return "\n".join(
        [
            release,
            "from components.sampling import generate",
            opened,
            f"images = generate(model, [{subject}] * {len(seeds)}, {rest}",
            "# uint8 [N, H, W, 3]",
        ]
    )


def _psi(asked: Asked) -> str:
    return f"--psi={asked.psi:g}"
