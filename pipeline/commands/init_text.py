"""The text of a params file for pictures that were looked at: a comment on each line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from components.errors import StorageError
from pipeline.places import bundled_folder

if TYPE_CHECKING:
    from components.data.survey import Survey

LARGE_PX, SMALL_PX = 64, 32
MOST_SMALL = 0.2  # share of pictures that may be too small for LARGE_PX
HELD_OUT = 50  # pictures that a distance wants at least
PRESET = "captioned_pictures.yaml"  # whose family and fields are taken: few pictures, two cores
SAYS = {
    "name": "the family: docs/families/",
    "channel_base": "width of the layers: 2048 for four times the work",
    "channel_max": "most of it",
    "num_res_blocks": "depth",
    "group_norm_groups": "divides every width",
    "z_dim": "numbers of noise",
    "clip_weight": "how hard the words pull",
    "blur_init_sigma_px": "no blur in the beginning",
    "blur_fade_kimg": "of no effect without blur",
    "diff_augment": "makes few pictures go further",
    "generator_learning_rate": "lower it if training breaks",
    "discriminator_learning_rate": "likewise",
}
SOURCE = {
    "kind": "what was found there",
    "path": "your folder",
    "condition": "text, label (classes) or none",
    "heldout_fraction": "kept apart, to measure with",
    "captions_file": "the table with the captions",
    "captions": "some pictures have several: another in each epoch",
}
# key, value, what it is; a key that ends in ":" opens a part, and two spaces are one level.
Line = tuple[str, Any, str]


def written(found: Survey) -> str:
    """Return the text of a params file for a source."""
    source, size = found.source, size_of(found)
    head = f"# Written by ganline init for {source.path}; docs/configuration.md has every key.\n"
    parts = [[("seed", 1, "another one gives another model")], _source(found)]
    parts += [_nets(source.condition == "text"), _filter(size), _train(source.condition, size)]
    parts += [_rest(source.condition)]
    return head + "\n".join(_text(lines) for lines in parts)


def recipe_of() -> dict[str, Any]:
    """Return the family's name and fields, as the preset has them; StorageError without it."""
    path = bundled_folder().parent / "presets" / PRESET
    try:
        recipe: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["train_base"]
        return dict(recipe["recipe"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        todo = "bring it back: git checkout presets"
        raise StorageError(f"no preset to begin with: {error!r}"[:120], str(path), todo) from error


def size_of(found: Survey) -> int:
    """Return the side of the pictures to draw: 64, or 32 where many are smaller than that."""
    small = sum(side < LARGE_PX for side in found.sides)
    return SMALL_PX if small > MOST_SMALL * len(found.sides) else LARGE_PX


def pictures(found: Survey) -> int:
    """Return how many pictures the source has; of tars and tables that are large, at least."""
    if is_counted(found) and not found.is_whole:
        return max(len(found.sides), found.files[found.source.kind])
    return len(found.sides)


def is_counted(found: Survey) -> bool:
    """Return whether it is known how many there are: a file each, or all of them looked at."""
    return found.is_whole or found.source.kind == "image_folder"


def _source(found: Survey) -> list[Line]:
    from components.data.survey import section

    held_out = min(0.3, max(0.1, round(HELD_OUT / max(pictures(found), 1), 2)))
    lines: list[Line] = [("source:", None, "where the pictures are")]
    fields = section(found)
    if not found.source.heldout_path:
        fields.setdefault("heldout_fraction", held_out)
    lines += [(f"  {name}", value, SOURCE.get(name, "read so")) for name, value in fields.items()]
    return [*lines, ("synthesize:", None, "no made-up pictures"), ("  pairs", 0, "none")]


def _nets(text: bool) -> list[Line]:
    lines: list[Line] = [("encoders:", None, "the frozen networks: nothing is downloaded")]
    lines.append(("  clip:", None, "knows words and pictures"))
    lines.append(("    source", "train" if text else "none", "on your pairs" if text else "none"))
    if text:
        lines += [("    train:", None, "how"), ("      fit:", None, "length and steps")]
        lines += _fit(70, 128)
        lines.append(("      mirror", True, "mirrored pictures are as good; not for writing"))
    lines += [
        ("  dino:", None, "knows pictures; drives the discriminator and measures"),
        ("    source", "train", "on your pictures"),
        ("    train:", None, "how"),
        ("      fit:", None, "length and steps"),
        *_fit(12, 32),
        ("  classifier:", None, "not needed here"),
        ("    source", "none", "or pretrained, with a local file"),
        ("  judge:", None, "knows made-up shapes alone"),
        ("    source", "none", "nothing here for it to judge"),
    ]
    return lines


def _fit(kimg: int, batch: int) -> list[Line]:
    return [
        ("        total_kimg", kimg, "thousands of pictures to see"),
        ("        batch", batch, "pictures per step"),
        ("        learning_rate", 0.002, "of Adam"),
    ]


def _filter(size: int) -> list[Line]:
    return [
        ("score:", None, "every picture is looked at once"),
        ("  revision", 1, "raise it to score again"),
        ("filter:", None, "what is kept; reports/filter.json says why the others are not"),
        ("  resolution_px", size, "side of the pictures that are stored"),
        ("  min_side_px", SMALL_PX, "smaller ones are left out"),
        ("  clip_similarity_min", -1.0, "no rule yet: a CLIP of few pictures judges badly"),
        ("  near_duplicate_bits", -1, "near copies stay; 4 finds them"),
        ("tune:", None, "no search for better settings"),
        ("  trials", 0, "20 for a search of the guidance weight"),
        ("  features", "dino", "what a search would measure with"),
    ]


def _train(condition: str, size: int) -> list[Line]:
    fields = recipe_of()
    if condition != "text":
        fields = {**fields, "clip_weight": 0.0}
    recipe: list[Line] = [
        ("train_base:", None, "the first GAN"),
        ("  recipe:", None, "the family and its fields, as in presets/captioned_pictures.yaml"),
        *((f"    {name}", value, SAYS.get(name, "a field")) for name, value in fields.items()),
        *_run(SMALL_PX, 40, 5.0, "  "),
    ]
    grown: list[Line] = [("superres:", {}, "no growth: many pictures are small")]
    if size == LARGE_PX:
        grown = [
            ("superres:", None, "growth, one entry per size"),
            (f'  "{LARGE_PX}":', None, "its name is its size"),
            ("    start", "base", "what it grows from"),
            *_run(LARGE_PX, 10, 2.0, "    "),
        ]
    start = f"px{LARGE_PX}" if size == LARGE_PX else "base"
    last = [("text_encoder:", None, "passes the model on"), ("  start", start, "the last stage")]
    return [*recipe, *grown, *last, *_run(size, 0, 1.0, "  ")]


def _run(size: int, kimg: int, half_life: float, indent: str) -> list[Line]:
    every = max(1.0, kimg / 10)
    return [
        (f"{indent}resolution_px", size, "side of the pictures"),
        (f"{indent}total_kimg", kimg, "thousands of pictures to see: more is better"),
        (f"{indent}batch", 16, "pictures per step"),
        (f"{indent}micro_batch", 8, "pictures at once"),
        (f"{indent}ema_half_life_kimg", half_life, "how slowly the averaged model follows"),
        (f"{indent}report_every_kimg", every, "a line of losses"),
        (f"{indent}sample_every_kimg", every, "a sheet of samples, below runs/"),
        (f"{indent}save_every_kimg", every, "a state to continue from"),
    ]


def _rest(condition: str) -> list[Line]:
    asked = {"text": "prompts", "label": "classes", "none": "nothing"}[condition]
    return [
        ("adapt:", {}, "no changed copies of the model"),
        ("evaluate:", None, f"asked with {asked} of held-out pictures"),
        ("  model", "aligned", "the last stage"),
        ("  feature_role", "dino", "whose distance is the headline"),
        ("  num_prompts", 300, "for alignment"),
        ("  num_fake", 1000, "pictures drawn to measure"),
        ("  num_real", 3000, "held-out ones, at most"),
        ("publish:", None, "the release, artifacts/release"),
        ("  model_name", "ganline-mine", "in the registry"),
        ("  thresholds", {}, "no bar that a model must reach"),
        ("  licence", "all rights reserved", "of the model: yours to say"),
        ("cluster:", None, "how stages run here"),
        ("  num_workers", 2, "training processes"),
        ("  cpus_per_worker", 1, "cores that each reserves"),
        ("  threads_per_worker", 1, "threads of each"),
        ("tracking:", None, "MLflow, below runs/; make ui shows it"),
        ("  experiment", "ganline", "its name"),
    ]


def _text(lines: list[Line]) -> str:
    """Return lines as YAML, each with its comment."""
    made = []
    for key, value, comment in lines:
        start = key if key.endswith(":") else f"{key}:"
        if value is not None:
            start += f" {json.dumps(value, ensure_ascii=False)}"
        made.append(f"{start:<42} # {comment}\n")
    return "".join(made)
