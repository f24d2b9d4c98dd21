"""`ganline init DATA`: look at your pictures and write a params.yaml for them.

    ganline init ../pictures

It asks nothing and changes nothing in DATA. Every line that is written has a comment; what is not
there has its default (docs/configuration.md).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import ConfigError, DataError
from pipeline.exit_codes import guarded

if TYPE_CHECKING:
    from components.data.survey import Survey

EXAMPLES = """examples:
  ganline init ../pictures
  ganline init ../pictures --out mine.yaml
  ganline init data/clothes --force
"""
FEW, VERY_FEW = 1_000, 200  # pictures; below: what is learned is said to be little
LARGE_PX, SMALL_PX = 64, 32
MOST_SMALL = 0.2  # share of pictures that may be too small for LARGE_PX
HELD_OUT = 50  # pictures that a distance wants at least
# key, value, what it is; a key that ends in ":" opens a part, and two spaces are one level.
Line = tuple[str, Any, str]


def main(argv: list[str] | None = None) -> int:
    """Run `ganline init`."""
    parser = argparse.ArgumentParser(
        prog="ganline init",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="your folder; it is not changed")
    parser.add_argument(
        "--out", type=Path, default=Path("params.yaml"), metavar="FILE", help="default params.yaml"
    )
    parser.add_argument("--force", action="store_true", help="replace FILE; it goes to FILE.before")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(argv)
    return guarded(lambda: _init(options), options.debug)


def _init(options: argparse.Namespace) -> None:
    from components.data.config import SourceConfig
    from components.data.survey import survey
    from pipeline.params.sections import load_params

    out: Path = options.out
    if out.exists() and not options.force:
        todo = "name another with --out, or say --force (it is kept as a copy)"
        raise ConfigError("there is a file already", str(out), todo)
    found = survey(options.data, SourceConfig(path=str(options.data)))
    if not found.sides:
        todo = "ganline data check says what is there"
        raise DataError("no picture that can be read", str(options.data), todo)
    text = written(found)
    temporary = out.with_name(f"{out.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    try:
        load_params(temporary)
        if out.exists():
            out.replace(out.with_name(f"{out.name}.before"))
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    print("\n".join(told(found, out)))


def written(found: Survey) -> str:
    """Return the text of a params file for a source."""
    source, size = found.source, size_of(found)
    head = f"# Written by ganline init for {source.path}; docs/configuration.md has every key.\n"
    parts = [[("seed", 1, "another one gives another model")], _source(found)]
    parts += [_nets(source.condition == "text"), _filter(size), _train(source.condition, size)]
    parts += [_rest(source.condition)]
    return head + "\n".join(_text(lines) for lines in parts)


def size_of(found: Survey) -> int:
    """Return the side of the pictures to draw: 64, or 32 where many are smaller than that."""
    small = sum(side < LARGE_PX for side in found.sides)
    return SMALL_PX if small > MOST_SMALL * len(found.sides) else LARGE_PX


def pictures(found: Survey) -> int:
    """Return about how many pictures the source has."""
    from components.data.survey import SAMPLED

    if found.looked_at < SAMPLED:
        return len(found.sides)
    return max(len(found.sides), found.files.get("images", 0))


def told(found: Survey, out: Path) -> Iterator[str]:
    """Say what was found, what will happen, for how long, and what to expect of it."""
    source, count, size = found.source, pictures(found), size_of(found)
    seen, classes = len(found.sides), len(set(found.labels) - {""})
    what = {
        "text": f"captions: {found.captioned / seen:.0%} have one",
        "label": f"{classes} classes, no captions",
        "none": "neither captions nor classes",
    }[source.condition]
    yield f"{count:,} pictures in {source.path} ({source.kind}); {what}"
    for reason, number in found.reasons.most_common(5):
        yield f"  {number:,} of those looked at will be left out: {reason}"
    small = sum(side < SMALL_PX for side in found.sides)
    if small:
        yield f"  {small:,} are smaller than {SMALL_PX} px and will be left out"
    yield (
        f"written: {out}, StyleGAN-T, {size} px"
        + {
            "text": ", drawn by prompts",
            "label": ", drawn by classes (--label)",
            "none": ", drawn by nothing but a seed",
        }[source.condition]
    )
    yield "what will happen: frozen networks learn from the pictures, a GAN is trained at 32 px" + (
        ", grown to 64 px," if size == LARGE_PX else ","
    )
    yield "  measured and published; about 12 minutes on 2 CPU cores (measured: presets/emoji.yaml)"
    if count < VERY_FEW:
        yield f"warning: {count} pictures are very few: it will draw them again, not new ones like"
        yield "  them; presets/projected_gan_few_shot.yaml is made for so few"
    elif count < FEW:
        yield f"warning: {count} pictures are few: expect colours and rough shapes; distances are"
        yield "  of few held-out pictures and say little"
    if source.condition == "none":
        yield "note: to draw by words, put KEY.txt beside each picture, or a captions.csv"
    if source.condition == "text" and found.captioned < 0.9 * seen:
        yield f"warning: {1 - found.captioned / seen:.0%} have no caption and will be left out"
    yield "next: python -m pipeline.params" + (
        "" if out.name == "params.yaml" else f" --params {out}"
    )
    yield "      make demo                     # or: dvc repro"


def _source(found: Survey) -> list[Line]:
    source, count = found.source, pictures(found)
    held_out = min(0.3, max(0.1, round(HELD_OUT / max(count, 1), 2)))
    lines: list[Line] = [
        ("source:", None, "where the pictures are"),
        ("  kind", source.kind, "what was found there"),
        ("  path", source.path, "your folder"),
        ("  condition", source.condition, "text, label (classes) or none"),
        ("  heldout_fraction", held_out, "kept apart, to measure with"),
    ]
    if source.captions_file:
        lines.append(("  captions_file", source.captions_file, "the table with the captions"))
    if source.condition == "text" and found.several:
        lines.append(("  captions", "random", "some pictures have several: another in each epoch"))
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
        ("  classifier:", None, "not needed by StyleGAN-T"),
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
    recipe: list[Line] = [
        ("train_base:", None, "the first GAN"),
        ("  recipe:", None, "the family and its fields"),
        ("    name", "stylegan_t", "docs/families/stylegan_t.md"),
        ("    channel_base", 1024, "width of the layers: 2048 for four times the work"),
        ("    channel_max", 64, "most of it"),
        ("    num_res_blocks", 1, "depth"),
        ("    group_norm_groups", 8, "divides every width"),
        ("    z_dim", 16, "numbers of noise"),
        ("    clip_weight", 0.2 if condition == "text" else 0.0, "how hard the words pull"),
        ("    blur_init_sigma_px", 0.0, "no blur in the beginning"),
        ("    blur_fade_kimg", 1.0, "of no effect without blur"),
        ("    diff_augment", ["translation", "cutout"], "makes few pictures go further"),
        ("    generator_learning_rate", 0.003, "lower it if training breaks"),
        ("    discriminator_learning_rate", 0.003, "likewise"),
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
