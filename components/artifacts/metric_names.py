"""The numbers that evaluation writes about a model, by the names that thresholds use.

What stands in angle brackets is open: a net, an attribute, a kind of image. Numbers about the data
(`real`, counts) are left out: no model misses them.
"""

from __future__ import annotations

import difflib
import re

# Needs a caption to compare with; needs a class; needs the judge.
ABOUT_PROMPTS = ("clip_score", "prompt_sensitivity")
ABOUT_CLASSES = ("class_right", "class_right_real")
# Needs drawings of two objects; needs drawings of one.
ABOUT_TWO_OBJECTS = (
    "two_objects",
    "judge.size_2",
    "judge.colour_2",
    "judge.shape_2",
    "judge.relation",
)
ABOUT_ONE_OBJECT = ("silhouette", "silhouette_cells")
BY_JUDGE = ("judge", "judge_variety", "two_objects")

METRICS = {
    "judge.all": "prompts with every attribute right, by the judge",
    "judge.background": "background right",
    "judge.size": "size right",
    "judge.colour": "colour right",
    "judge.shape": "shape right",
    "judge.size_2": "size of the second of two objects right",
    "judge.colour_2": "its colour right",
    "judge.shape_2": "its shape right",
    "judge.relation": "whether they stand side by side or one above the other right",
    "two_objects.attribute": "of two objects: an attribute of one right, the mean over all six",
    "two_objects.both": "both objects right, each in its place",
    "two_objects.exchanged": "both right in shape and colour, each in the other's place",
    "two_objects.swapped_colours": "each with the other's colour, not exchanged",
    "silhouette.shape": "shape right by its outline",
    "silhouette.worst": "the same for the kind of image that it draws worst",
    "silhouette_cells.<kind>": "the same for one kind of image, as `large ring`",
    "seed_variety": "how much the seeds of a prompt differ; 1 = as real images",
    "seed_variety_pixels": "the same by pixels",
    "seed_variety_centre": "the same by the place of the object",
    "memorised": "images as near to a training one as 5 % of held-out images are, by features",
    "memorised_pixels": "the same by pixels",
    "memorised_held_out": "held-out images that are as near: what to compare it with",
    "class_right": "images of the class asked for, by a classifier of real images alone",
    "class_right_real": "the same of held-out images: the ceiling",
    "upscaling.patches": "Frechet distance of patches of enlarged images to real ones",
    "upscaling.patches_bicubic": "the same of bicubic interpolation: what to compare it with",
    "upscaling.frechet": "the distance of whole enlarged images",
    "upscaling.frechet_bicubic": "the same of bicubic interpolation",
    "upscaling.drift": "mean difference of an enlarged image, shrunk again, from its input",
    "upscaling.drift_bicubic": "the same of bicubic interpolation",
    "clip_score": "CLIP score, a mean cosine",
    "prompt_sensitivity": "CLIP score minus that of shuffled prompts",
    "precision": "share of the model's images that look like real ones (Kynkaanniemi et al. 2019)",
    "recall": "share of real images that the model's images cover (Kynkaanniemi et al. 2019)",
    "density": "density",
    "coverage": "coverage",
    "frechet_<net>.after": "Frechet distance to held-out images",
    "frechet_<net>.before": "the same before training",
    "frechet_<net>.ratio": "the first over the second",
    "frechet_<net>.training": "the distance of as many training images",
    "fid.after": "the Frechet distance on Inception",
    "fid.before": "the same before training",
    "fid.ratio": "the first over the second",
    "fid.training": "the distance of as many training images",
    "kernel_<net>": "kernel distance to held-out images",
    "kid": "the kernel distance on Inception",
    "judge_variety.<attribute>": "overlap of the classes that the judge sees with the real ones'",
    "judge_variety.missing": "classes that held-out images have and no generated one",
    "filter_truth.swapped_rejected": "swapped captions that the filter rejected",
    "filter_truth.clean_kept": "clean pairs that the filter kept",
    "truncation.nearest": "the psi of the lowest distance",
    "truncation.clearest": "the psi of the best alignment",
}


def is_metric(name: str) -> bool:
    """Return whether evaluation writes a number of this dotted name, of whatever net or kind."""
    return any(re.fullmatch(_pattern(known), name) for known in METRICS)


def why_no_metric(name: str) -> str:
    """Say that a name is no metric's, with the nearest one and all of them."""
    near = difflib.get_close_matches(name, METRICS, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"unknown metric; {hint}known: {', '.join(METRICS)}"


def _pattern(known: str) -> str:
    return re.sub(r"<\w+>", "[a-z0-9_ ]+", re.escape(known))
