"""The model card: what a release is, how good it is, its data, its use and its limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.artifacts.artifact import GENERATOR
from components.artifacts.family import recipe_from
from components.artifacts.metric_names import ABOUT_CLASSES, ABOUT_PROMPTS, METRICS
from components.artifacts.publishing import PublishConfig, is_champion, metric_at
from components.requests.subjects import example_subject, kind_of

SHOWN = (
    *(
        name
        for name in METRICS
        if name.startswith(("judge.", "two_objects.", "silhouette.", "seed_variety"))
    ),
    *("memorised", "memorised_pixels", "memorised_held_out"),
    *(*ABOUT_CLASSES, *ABOUT_PROMPTS),
    *("precision", "recall", "density", "coverage"),
)


def model_card(card: Mapping[str, Any], metrics: Mapping[str, Any], config: PublishConfig) -> str:
    """Return the Markdown text of a release's model card.

    Args:
        card: the release's card.
        metrics: what evaluation wrote; what was not measured is left out.
        config: name, licence and description.
    """
    sections = [
        _head(card, config),
        _use(card, metrics, config),
        _quality(metrics),
        _training(card),
        _limits(card, config),
        _licence(config),
    ]
    return "\n\n".join(sections) + "\n"


def enlarges(card: Mapping[str, Any]) -> int:
    """Return how many times larger the model of a card makes pictures, where it does nothing else;
    1 = it draws.
    """
    recipe = recipe_from({"name": card["recipe"]["name"], **card["recipe"]["fields"]})
    return int(getattr(recipe, "shrinks", 1))


def _head(card: Mapping[str, Any], config: PublishConfig) -> str:
    size = card["resolution_px"]
    if (times := enlarges(card)) > 1:
        text = config.description or f"Makes pictures of any size {times} times as large."
        return (
            f"---\nlicense: {config.licence.lower()}\npipeline_tag: image-to-image\n---\n\n"
            f"# {config.model_name}\n\n{text} A GAN upsampler ({card['recipe']['name']}), trained "
            f"at {size} px.\n\n![From the left: the input, bicubic, the model, the real picture]"
            "(samples.png)"
        )
    tag, does, what = _KINDS[kind_of(card)]
    text = config.description or does
    return (
        f"---\nlicense: {config.licence.lower()}\npipeline_tag: {tag}\n---\n\n"
        f"# {config.model_name}\n\n{text} {what} ({card['recipe']['name']}) "
        f"that makes {size} x {size} images in one forward pass.\n\n![samples](samples.png)"
    )


# kind -> the hub's tag, what the model does, what it is
_KINDS = {
    "text": ("text-to-image", "Draws what a text prompt says.", "A text-to-image GAN"),
    "label": (
        "unconditional-image-generation",
        "Draws an image of a class.",
        "A class-conditional GAN",
    ),
    "none": (
        "unconditional-image-generation",
        "Draws images like those it was trained on.",
        "An unconditional GAN",
    ),
}


def _use(card: Mapping[str, Any], metrics: Mapping[str, Any], config: PublishConfig) -> str:
    if enlarges(card) > 1:
        told = ' "what it shows"' if kind_of(card) == "text" else ""
        return f"""## How to use it

    ganline upscale photo.png{told} --model PATH_OF_THIS_FOLDER --out big.png

It draws nothing by itself; `ganline cascade` joins it to a base that does."""
    kind = kind_of(card)
    subject = example_subject(card)
    asked = {"text": f'"{subject}" ', "label": f'--label "{subject}" ', "none": ""}[kind]
    served = _by_mlflow(subject, metrics, config)
    body = {"text": f'"prompt": "{subject}", ', "label": f'"label": "{subject}", '}.get(kind, "")
    return f"""## How to use it

    ganline generate {asked}--model PATH_OF_THIS_FOLDER --seed 3 -n 4 --out images.png

In Python:

    from pathlib import Path
    from components.artifacts.release import load_release
    from components.sampling import generate

    model, card = load_release(Path("PATH_OF_THIS_FOLDER"))
    images = generate(model, ["{subject}"], seeds=[3], truncation=1.0)  # uint8 [N, H, W, 3]

As a server, in the project's folder (`docs/serving.md` has more):

    ganline serve PATH_OF_THIS_FOLDER
    curl 127.0.0.1:5001/v1/images -H 'Content-Type: application/json' \\
      -d '{{{body}"seed": 3}}' --output image.png

{served}\
The same question, seed and truncation give the same image, alone or in a batch. Truncation 1 is
full variety; lower values give more typical images, 0 the mean image."""


def _by_mlflow(subject: str, metrics: Mapping[str, Any], config: PublishConfig) -> str:
    """Return how MLflow serves the registered version; nothing where none is registered."""
    if not config.register:
        return ""
    # A candidate must not send its reader to the champion, which is another model, or none yet.
    alias = "champion" if is_champion(metrics, config) else "candidate"
    return f"""\
By MLflow alone (`n` images per prompt, base64 PNG in the answer). MLflow asks the store that the
variable names, here the project's own; with a tracking server it is the server's address:

    export MLFLOW_TRACKING_URI=sqlite:///runs/mlflow.db
    mlflow models serve -m "models:/{config.model_name}@{alias}" --env-manager local --port 5001
    curl 127.0.0.1:5001/invocations -H 'Content-Type: application/json' \\
      -d '{{"dataframe_records": [{{"prompt": "{subject}"}}], "params": {{"seed": 3, "n": 2}}}}'

"""


def _quality(metrics: Mapping[str, Any]) -> str:
    lines = ["## How good it is", "", "| metric | value | meaning |", "|---|---|---|"]
    for name, score in metrics.items():
        if name.startswith("frechet_") or name == "fid":
            lines.append(
                f"| {name} | {_number(score['after'])} | Frechet distance to held-out images, "
                f"lower is better; {_number(score['before'])} before training |"
            )
        if name.startswith("kernel_") or name == "kid":
            lines.append(f"| {name} | {_number(score)} | kernel distance, lower is better |")
    for name in SHOWN:
        value = metric_at(metrics, name)
        if value is not None:
            lines.append(f"| {name} | {_number(value)} | {METRICS[name]} |")
    lines += ["", "Measured with:", ""]
    seen: dict[tuple, tuple[dict, list[str]]] = {}
    for metric, facts in metrics.get("cards", {}).items():
        key = (facts["net"], facts["net_sha256"], facts["num_real"], facts["num_fake"])
        seen.setdefault(key, (facts, []))[1].append(metric)
    for facts, names in seen.values():
        note = f" Note: {facts['note']}." if facts["note"] else ""
        weights = f" (sha256 {facts['net_sha256'][:12]})" if facts["net_sha256"] else ""
        lines.append(
            f"- {', '.join(names)}: net {facts['net']}{weights}, "
            f"{facts['dtype']}, resize {facts['resizer']}, {facts['num_real']} real and "
            f"{facts['num_fake']} generated images, data {facts['data_content_hash'][:12]}, "
            f"seed {facts['seed']}.{note}"
        )
    left_out = sorted(metrics.get("not_measured", {}).items())
    lines += [f"- {name} was not measured: {why}." for name, why in left_out]
    lines += [f"- Warning: {text}." for text in metrics.get("warnings", [])]
    return "\n".join(lines)


def _origin(source: Mapping[str, Any]) -> str:
    """Return lines about the file that weights came from; none for a trained model."""
    if not source:
        return ""
    licence = f"- licence of that file: {source['licence']}\n" if "licence" in source else ""
    return (
        f"- imported from {source['file']} ({source['network']}, sha256 {source['sha256']}): "
        f"not trained by ganline\n{licence}"
    )


def _training(card: Mapping[str, Any]) -> str:
    encoders = ", ".join(f"{k} {v[:12]}" for k, v in sorted(card.get("encoders", {}).items()))
    fields = ", ".join(f"{k} {v}" for k, v in sorted(card["recipe"]["fields"].items()))
    origin = _origin(card.get("imported_from") or {})
    for part, facts in card.get("joined_from", {}).items():
        licence = f", licence {facts['licence']}" if facts.get("licence") else ""
        origin += f"- {part}: {facts['folder']} (sha256 {facts['sha256']}{licence})\n"
        origin += _origin(facts.get("imported_from") or {})
    best, kept = card.get("best"), ""
    if best:
        kept = (
            f"- weights: those of the lowest Frechet distance that the training measured, "
            f"{best['frechet']:.4g} ({best['net']}, {best['num_fake']:,} images)\n"
        )
    return f"""## What it was trained on

{origin}- data: content hash {card.get("data_content_hash") or "unknown"}
- images seen in the last stage: {card["nimg"]:,}; seed {card["seed"]}
{kept}- family {card["recipe"]["name"]}: {fields or "defaults"}
- frozen networks: {encoders or "none"}
- code: git commit {card.get("git_commit") or "unknown"}
- generator weights: sha256 {card["files"][GENERATOR]}"""


def _limits(card: Mapping[str, Any], config: PublishConfig) -> str:
    if enlarges(card) > 1:
        return """## Limits

- What it adds is made up: it looks like its training pictures, and was not in yours.
- It repeats the biases of its data. Do not use it to make out people or writing."""
    knows = {
        "text": "what its training captions talk about; other words change images at random",
        "label": f"{card['shape']['num_labels']} classes and no words",
        "none": "one kind of image, that of its training data",
    }[kind_of(card)]
    return f"""## Limits

- It knows {knows}.
- Attributes of several objects get mixed up, and text inside images is not legible.
- It repeats the biases of its data. Do not use it to show real people or events.
- Images are {card["resolution_px"]} px; the served model takes prompts of at most
  {config.prompt_chars_limit} characters and {config.images_limit} images per request."""


def _licence(config: PublishConfig) -> str:
    return f"## Licence\n\n{config.licence}. {config.licence_text}".rstrip()


def _number(value: Any) -> str:
    return "not measured" if value is None else f"{value:.4g}"
